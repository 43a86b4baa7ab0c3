/* work.h - threads that do one operation over and over, and what came of it. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "bench.h"
#include "data.h"
#include "hist.h"
#include "sets.h"
#include "zipf.h"

/* A child's store and settings; read-only while threads run. */
struct bench {
    const struct set *set;
    const struct engine *engine;
    struct data data;
    void *db;
    uint64_t seed;         /* of this round: all engines of a round get the same operations */
    unsigned batch;        /* entries of a batch: 100, fewer if they are large */
    uint64_t live;         /* entries there are, while no mix has added to them */
    uint64_t inserted;     /* those that mixes have added; see work_mix.c */
    const uint32_t *draws; /* after Zipf; NULL in a set that asks for none */
};

/* What one thread does: op(w, i) for i = from, from + 1, ... until `to` or until `seconds` are
 * over. */
struct job {
    const struct workload *what;
    uint64_t from, to;
    double seconds;
    unsigned sample_every, units;
};

#define SAMPLE_EVERY 16
#define NO_END UINT64_MAX

struct worker {
    const struct bench *bench;
    const struct job *job;
    const struct adapter *call;
    void *session;
    unsigned no, of;    /* this thread among those of its kind */
    uint64_t random;    /* state of its stream of random numbers */
    uint32_t hot_at;    /* place in bench->draws */
    uint8_t *value;     /* room for one value */
    struct pair *batch; /* bench->batch pairs, each with room for key and value */
    uint8_t *batch_room;

    /* A scan under way. */
    bool scanning;
    uint64_t scan_seen, scan_passes;
    uint8_t scan_key[KEY_BYTES_MAX]; /* of the entry before */

    uint64_t inserted;   /* by this worker, in a mix */
    uint64_t head, tail; /* of a queue: the next to take, the next to add */

    /* What came of it. */
    struct hist hist; /* nanoseconds */
    uint64_t ops, begun_ns, ended_ns;
    bool cut; /* the time was over before `to` was reached */
};

/* The jobs of `threads` threads that share one workload; `seconds` as struct step has them. */
void work_jobs(const struct bench *b, const struct workload *what, double seconds, struct job *jobs,
               unsigned threads);

/* Run one thread for each job, all begun together. workers[i] did jobs[i]; free() the array. */
struct worker *work_run(const struct bench *b, const struct job *jobs, unsigned count);

/* Rate and latencies of workers 0 .. count - 1 together. */
void work_sum(const struct worker *workers, unsigned count, struct row *row);

/* The rank of the entry to ask for, 0 being asked for most. */
static inline uint64_t hot_rank(struct worker *w)
{
    return w->bench->draws[w->hot_at++ % ZIPF_DRAWS];
}

/* The entry of a rank: those asked for most lie scattered. */
static inline uint64_t hot_entry(const struct worker *w, uint64_t rank)
{
    return shuffled(rank, w->bench->data.num, 7);
}

/* The stretch of entries that `deleterange` deletes: all but a twentieth at either end. */
static inline uint64_t stretch_first(uint64_t num)
{
    return num / 20;
}
static inline uint64_t stretch_count(uint64_t num)
{
    return num - 2 * (num / 20);
}

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){data, len};
}

static inline struct bytes key_of(const struct worker *w, const uint8_t *key)
{
    return (struct bytes){key, w->bench->data.key_bytes};
}

/* ------------------------------------------------------------------ the operations -- */

/* work_fill.c */
void fill_in_order(struct worker *w, uint64_t i);
void fill_shuffled(struct worker *w, uint64_t i);
void fill_batch(struct worker *w, uint64_t i);
void fill_synced(struct worker *w, uint64_t i);
void overwrite(struct worker *w, uint64_t i);
void overwrite_any(struct worker *w, uint64_t i);
void delete_shuffled(struct worker *w, uint64_t i);
void delete_stretch(struct worker *w, uint64_t i);
void put_slot(struct worker *w, uint64_t slot, uint64_t generation, bool sync);
void batch_put(struct worker *w, size_t at, uint64_t slot, uint64_t generation);
void batch_write(struct worker *w, size_t n); /* what stands in w->batch */

/* work_read.c; `arg` keys at once */
void read_one(struct worker *w, uint64_t i);
void read_missing(struct worker *w, uint64_t i);
void read_hot(struct worker *w, uint64_t i);
void read_many(struct worker *w, uint64_t i);
void read_slot(struct worker *w, uint64_t slot); /* which is there */

/* work_scan.c; `arg` steps */
void step_forward(struct worker *w, uint64_t i);
void step_back(struct worker *w, uint64_t i);
void step_finish(struct worker *w);
void seek_and_walk(struct worker *w, uint64_t i);
void seek_and_walk_back(struct worker *w, uint64_t i);
void seek_deleted(struct worker *w, uint64_t i);
void count_range(struct worker *w, uint64_t i);
void seek_slot(struct worker *w, uint64_t slot, unsigned steps, bool forward);

/* work_mix.c; `arg` is the letter of the mix */
void mix(struct worker *w, uint64_t i);
void queue_begin(struct worker *w);
void queue_turn(struct worker *w, uint64_t i);

#endif
