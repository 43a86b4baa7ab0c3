/* stress.h - quern-stress: a store under many threads, killed again and again, and what must be in
 * it afterwards.
 *
 *   main.c     rounds: start a child, kill it at a random moment, look how it ended
 *   child.c    one life of the store: open with random options, verify, let threads loose
 *   work.c     what a thread does
 *   expect.c   the expected state, in a mapped file beside the store: it survives the child
 *   cut.c      the end of the process inside a call of the system, at the k-th change to a file */
#ifndef STRESS_H
#define STRESS_H

#include <quern/quern.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THREADS_MAX 64
#define BATCH_MAX 16
#define BLOCK_KEYS 64u /* neighbours that belong to one thread */
#define VALUE_BYTES_MAX 20000u

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x632be59bd9b4e019u)) * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 29;
}

/* A sequence of its own for each seed. */
static inline uint64_t draw(uint64_t *state, uint64_t n)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state, 7) % n;
}

/* ---- expect.c ---- */

/* Versions of a key rise by one with each write. What a version is (a value of which bytes, or a
 * delete) follows from key and version, so the expectation is two numbers. They differ while a
 * write is under way. Only the key's owner writes them. */
struct cell {
    _Atomic uint32_t now;  /* the store holds this one or a later one */
    _Atomic uint32_t next; /* the store holds this one or an earlier one */
};

/* The write that a thread has under way: after a kill all of it is there or nothing. */
struct intent {
    _Atomic uint32_t state;
    uint32_t count;
    uint32_t key[BATCH_MAX], version[BATCH_MAX];
};
enum { INTENT_NONE, INTENT_BEGUN, INTENT_DONE };

struct tally {
    _Atomic uint64_t operations, verified, opens, checkpoints;
};

struct expected {
    uint64_t magic;
    uint32_t keys, threads;
    _Atomic bool failed;
    struct tally tally;
    struct intent intent[THREADS_MAX];
    struct cell cell[];
};

/* Map the file, making it if it is not there. NULL: it cannot be, and that has been said. */
struct expected *expected_open(const char *path, uint32_t keys, uint32_t threads);
void expected_close(struct expected *x);

/* Say what is wrong, once, and stop everything. Returns false. */
bool failed(struct expected *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint32_t owner_of(const struct expected *x, uint32_t key)
{
    return key / BLOCK_KEYS % x->threads;
}
static inline uint32_t lowest(const struct expected *x, uint32_t key)
{
    return atomic_load_explicit(&x->cell[key].now, memory_order_acquire);
}
static inline uint32_t highest(const struct expected *x, uint32_t key)
{
    return atomic_load_explicit(&x->cell[key].next, memory_order_acquire);
}

bool is_gone(uint32_t key, uint32_t version); /* this version is a delete; version 0 too */
struct quern_slice key_text(char room[16], uint32_t key);
bool key_number(const struct expected *x, struct quern_slice text, uint32_t *key);
struct quern_slice value_of(uint8_t *room, uint32_t key, uint32_t version);
/* The store shows this under the key (NULL: nothing). Is it a version from low to high? */
bool shows(struct expected *x, uint32_t key, const struct quern_slice *value, uint32_t low,
           uint32_t high, const char *how);

/* Before and after a write of the keys in the intent. */
void intent_begin(struct expected *x, uint32_t thread);
void intent_done(struct expected *x, uint32_t thread);

/* ---- child.c ---- */

struct plan { /* of one round; all of it follows from the seed */
    uint64_t seed;
    unsigned run_ms;      /* then it closes, if nobody has killed it */
    uint64_t cut_at;      /* kill itself at this change to a file; 0: not */
    unsigned sync_one_in; /* writes; 0: none */
    bool look_only;       /* verify, change nothing */
};
/* Exit status of the child: 0 all is well, 1 a failure was said. */
int child_run(struct expected *x, const char *dir, const struct plan *plan);
void remove_tree(const char *path);

/* ---- work.c ---- */

struct worker {
    struct expected *x;
    struct quern *db;
    const char *dir;
    const struct plan *plan;
    uint32_t no;
    uint64_t random;
    _Atomic bool *stop;
};
void *worker_run(void *arg); /* a struct worker */
/* Everything in the store against the expectation: way % 4 is batched gets, gets, a cursor going
 * back, a cursor; with 0x10 the tables' checksums too. */
bool verify_all(struct expected *x, struct quern *db, uint64_t way, const uint32_t *low,
                const uint32_t *high);

/* ---- cut.c ---- */
void cut_at(uint64_t change, uint64_t seed); /* 0: never */

#endif
