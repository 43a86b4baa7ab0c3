/* linear_hand.h - a thread that does all kinds of things to a store and records them for linear.h.
 *
 * Keys b/0 .. b/7 are written by batches, each with a key j/ID of its own in the journal; s/0 ..
 * s/3 by single puts and deletes. test_linear_threads.c tells the whole. */
#ifndef TEST_LINEAR_HAND_H
#define TEST_LINEAR_HAND_H

#include "linear.h"
#include "sim.h"

#include <quern/quern.h>

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 4
#define IDS 1200 /* of one thread in one life */
#define SINGLES 4

struct world {
    struct sim *sim; /* NULL: the disk of this machine */
    const char *path;
    struct quern_options options;
    struct quern *db;
    uint64_t random;
    unsigned sync_one_in; /* writes */
    unsigned steps;       /* of one thread in one life */
    uint64_t *journal;    /* numbers by id, of all lives before; 0: lost or never written */
    uint32_t first_id;    /* of this life */
    uint32_t single[SINGLES];
    struct linear_history h;
    pthread_barrier_t start;
    _Atomic bool failed;
    uint64_t operations, histories; /* for the summary */
};

struct hand {
    struct world *w;
    unsigned no;
    uint64_t random, synced;
    uint32_t used; /* ids */
    bool off;      /* no more answers come */
    struct linear_read *reads;
    size_t read_count;
    struct linear_op *ops[SINGLES];
    size_t op_count[SINGLES];
};

uint64_t hand_now(void);
/* Say what is wrong, once, and stop all. Returns false. */
bool hand_wrong(struct world *w, const char *what);

void hand_init(struct hand *t, struct world *w, unsigned no);
void hand_done(struct hand *t);
void *hand_run(void *arg); /* a struct hand */

/* All b/ keys by a cursor, in r->id; the id under s/K, 0 if there is no such key. */
void hand_scan(struct hand *t, struct linear_read *r, const struct quern_snapshot *snapshot);
uint32_t hand_get_single(struct hand *t, unsigned k, uint64_t *ended);

#endif
