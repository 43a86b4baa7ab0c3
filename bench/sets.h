/* sets.h - what is measured: the workloads, and the sets that say which of them are run on which
 * shape of data, for how long, and in which order.
 *
 * A workload stands on a store of a certain condition and leaves it in another:
 *
 *     S_EMPTY ------ fillrandom ----> S_FILLED -- settle, reopen, warm --> S_SETTLED -- reads
 *        |                             |     ^                               ^  |       writes
 *        '- fillseq, queue: S_NONE     '-----'                               '--'
 *                                     overwrite
 *
 * S_NONE is no store at all, or one that no other workload can use. child.c walks along a set's
 * steps and makes what the next one needs: a workload that is not preceded by the one that fills
 * gets a store that was filled quickly, by batches. */
#ifndef BENCH_SETS_H
#define BENCH_SETS_H

#include "bench.h"

struct worker;

enum stand { S_NONE, S_EMPTY, S_EMPTY_SYNCED, S_FILLED, S_SETTLED };

/* How long one goes on. */
enum bound {
    BY_TIME,
    BY_NUM,     /* every entry once */
    BY_BATCHES, /* the same, many at a time */
    BY_HALF,    /* every second entry */
    BY_STRETCH, /* the entries of the stretch that is deleted, many at a time */
    BY_STEADY,  /* every entry as often as it takes to write 10 x both write buffers */
};

enum runner {
    RUN_JOBS,     /* the same operation in all threads */
    RUN_BESIDE,   /* `threads` readers, and a writer: two rows */
    RUN_OPEN,     /* opens and closes the store */
    RUN_RECOVERY, /* leaves a store by death, and opens it */
    RUN_DERIVED,  /* comes with another row */
};

struct workload {
    const char *name, *what;
    enum stand needs, leaves;
    enum runner runner;
    enum bound bound;
    void (*begin)(struct worker *w); /* before the clock is started; may be NULL */
    void (*op)(struct worker *w, uint64_t i);
    void (*finish)(struct worker *w); /* after it was stopped; may be NULL */
    unsigned arg;                     /* for op */
    unsigned threads;                 /* 0: as many as the set says */
    unsigned sample_every;            /* the latency of one op in so many is taken; 0: 16 */
    unsigned units;                   /* what one op counts for; 0: 1 */
    enum workload_no after;           /* what must have been run before it; 0: nothing */
    bool whole;                       /* has no limit in time: others stand on it */
    bool writes;                      /* there is a background to wait for */
    bool puts;                        /* each op is one put: written/put means something */
    bool hot;                         /* asks for some entries more than for others */
};

extern const struct workload workloads[W_COUNT];

#define STEPS_MAX 40

/* One row of a set. `seconds`: as long as that when it is bounded by time, at most when it is
 * bounded by count; what is planned for one that is `whole`. */
struct step {
    enum workload_no workload;
    double seconds;
};

struct set {
    const char *name, *what;
    uint64_t num;
    uint32_t key_bytes, value_bytes;
    unsigned threads;
    uint64_t cache_bytes, write_buffer_bytes;
    bool cold;           /* a cache of a tenth of the data, and no page cache to speak of */
    bool in_quick;       /* measured with --quick too */
    bool by_name;        /* measured only when --sets names it */
    uint64_t ops_max;    /* of each thread of a row bounded by time; 0: no bound */
    double load_seconds; /* planned for filling by batches, settling, reopening, warming */
    struct step steps[STEPS_MAX]; /* up to one with 0 seconds */
};

extern const struct set sets[];
extern const unsigned set_count;

/* The set as the command line changes it, with the steps that it asks for, and those that they
 * need. */
struct set set_for(const struct config *c, unsigned set_no);

static inline uint64_t set_entry_bytes(const struct set *s)
{
    return s->key_bytes + s->value_bytes;
}

/* Ops of a workload that is bounded by count, in all threads together; `batch` entries at a time
 * where that is said. */
uint64_t set_ops(const struct set *s, const struct workload *w, unsigned batch);

/* What one turn of one engine is planned to take, everything included. */
double set_turn_seconds(const struct set *s);

/* All wanted sets with all their rounds. */
double plan_seconds(const struct config *c);

#endif
