/* work.h - threads that do one operation over and over, and what came of it. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "bench.h"
#include "data.h"
#include "hist.h"

/* A child's store and settings; read-only while threads run. */
struct bench {
    const struct config *config;
    const struct engine *engine;
    struct data data;
    void *db;
    uint64_t seed; /* of this round: all engines of a round get the same operations */
};

struct worker;

/* What one thread does: op(w, i) for i = from, from + 1, ... until `to` or until `seconds` are
 * over. */
struct job {
    void (*op)(struct worker *w, uint64_t i);
    void (*finish)(struct worker *w); /* after the clock was stopped; may be NULL */
    uint64_t from, to;
    double seconds;
    unsigned sample_every; /* the latency of one op in so many is taken */
    unsigned units;        /* what one op counts for */
};

#define SAMPLE_EVERY 16
#define NO_END UINT64_MAX

struct worker {
    const struct bench *bench;
    const struct job *job;
    const struct adapter *call;
    void *session;
    unsigned no, of; /* this thread among those of its kind */
    uint64_t random; /* state of its stream of random numbers */
    uint8_t *value;  /* room for one value */

    /* A scan under way. */
    bool scanning;
    uint64_t scan_seen, scan_passes;
    uint8_t scan_key[KEY_BYTES]; /* of the entry before */

    /* What came of it. */
    struct hist hist; /* nanoseconds */
    uint64_t ops, begun_ns, ended_ns;
    bool cut; /* the time was over before `to` was reached */
};

/* Run one thread for each job, all begun together. workers[i] did jobs[i]; free() the array. */
struct worker *work_run(const struct bench *b, const struct job *jobs, unsigned count);

/* Rate and latencies of workers 0 .. count - 1 together. */
void work_sum(const struct worker *workers, unsigned count, struct row *row);

/* The jobs themselves. Each fills in jobs[0 .. threads - 1]. */
void fill_jobs(const struct bench *b, enum workload workload, struct job *jobs, unsigned threads);
void read_jobs(const struct bench *b, enum workload workload, struct job *jobs, unsigned threads);
void scan_jobs(const struct bench *b, enum workload workload, struct job *jobs, unsigned threads);

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){data, len};
}

#endif
