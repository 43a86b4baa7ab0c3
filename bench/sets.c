/* sets.c - the two tables that say what is measured, and the time that they take.
 *
 * The plan: rounds x engines x the turns of all sets. A turn is what its steps say, plus what each
 * of them costs around it (waiting for the background, syncing the file system), plus load_seconds.
 * Rows that are bounded by count are planned at a part of their limit: it is there for the slowest
 * engines, and the others are done before. With five engines and five rounds the plan has to leave
 * of an hour what the floors and the plots take, and of five minutes the quick run; selftest.c adds
 * it up, and each table's head has the plan beside what a turn took. */
#include "sets.h"

#include "work.h"

#include <inttypes.h>
#include <string.h>

#define WRITE_AROUND_SECONDS 0.4
#define READ_AROUND_SECONDS 0.1
#define COUNT_PART 0.85
#define WHOLE_PART 0.6
#define STEADY_FACTOR 10   /* bytes of `overwrite` as a multiple of all write buffers */
#define WRITE_BUFFERS 2    /* of each engine: one is filled while the other is written out */
#define COLD_CACHE_PART 10 /* of the data */
#define QUICK_NUM_PART 4
#define QUICK_COLD_PART 2
#define QUICK_TIME_PART 2
#define NUM_MIN 40

/* ------------------------------------------------------------------ workloads -- */

#define READS S_SETTLED, S_SETTLED, RUN_JOBS, BY_TIME
#define CALLS(keys) .arg = (keys), .units = (keys), .sample_every = 1
#define MIX(letter) .op = mix, .arg = (letter), .writes = (letter) != 'c', .hot = true

const struct workload workloads[W_COUNT] = {
    [W_FILLSEQ] = {"fillseq", "put, keys rising, into a fresh store", S_EMPTY, S_NONE, RUN_JOBS,
                   BY_NUM, .op = fill_in_order, .writes = true, .puts = true},
    [W_FILLBATCH] = {"fillbatch", "put, in atomic batches of 100, shuffled, into a fresh store",
                     S_EMPTY, S_NONE, RUN_JOBS, BY_BATCHES, .op = fill_batch, .sample_every = 1,
                     .writes = true, .puts = true},
    [W_FILLSYNC] = {"fillsync", "put that survives a loss of power, into a fresh store",
                    S_EMPTY_SYNCED, S_NONE, RUN_JOBS, BY_TIME, .op = fill_synced, .threads = 1,
                    .sample_every = 1, .writes = true, .puts = true},
    [W_FILLSYNC_4] = {"fillsync-4", "the same by 4 threads", S_EMPTY_SYNCED, S_NONE, RUN_JOBS,
                      BY_TIME, .op = fill_synced, .threads = 4, .sample_every = 1, .writes = true,
                      .puts = true},
    [W_FILLSYNC_16] = {"fillsync-16", "the same by 16 threads", S_EMPTY_SYNCED, S_NONE, RUN_JOBS,
                       BY_TIME, .op = fill_synced, .threads = 16, .sample_every = 1, .writes = true,
                       .puts = true},
    [W_FILLRANDOM] = {"fillrandom", "put, every key once, shuffled, into a fresh store", S_EMPTY,
                      S_FILLED, RUN_JOBS, BY_NUM, .op = fill_shuffled, .whole = true,
                      .writes = true, .puts = true},
    [W_OVERWRITE] = {"overwrite", "put, all keys again and again, each time in another order",
                     S_FILLED, S_FILLED, RUN_JOBS, BY_STEADY, .op = overwrite, .writes = true,
                     .puts = true},
    [W_LOAD] = {"load", "fillrandom, overwrite and all compaction after them", S_NONE, S_NONE,
                RUN_DERIVED, .bound = BY_TIME},
    [W_READRANDOM] = {"readrandom", "get of a key that is there", READS, .op = read_one},
    [W_READMISSING] = {"readmissing", "get of a key that lies between two that are there", READS,
                       .op = read_missing},
    [W_READHOT] = {"readhot", "get of a key that is there, zipfian 0.99", READS, .op = read_hot,
                   .hot = true},
    [W_MULTIGET_8] = {"multiget-8", "key got by calls of 8", READS, .op = read_many, CALLS(8)},
    [W_MULTIGET_32] = {"multiget-32", "key got by calls of 32", READS, .op = read_many, CALLS(32)},
    [W_MULTIGET_128] = {"multiget-128", "key got by calls of 128", READS, .op = read_many,
                        CALLS(128)},
    [W_SEEK_10] = {"seekrandom-10", "new iterator, seek to a random key, 10 steps", READS,
                   .op = seek_and_walk, .arg = 10},
    [W_SEEK_100] = {"seekrandom-100", "the same with 100 steps", READS, .op = seek_and_walk,
                    .arg = 100},
    [W_SEEKBACK_10] = {"seekrandom-10-reverse", "new iterator, seek to a random key, 10 steps back",
                       READS, .op = seek_and_walk_back, .arg = 10},
    [W_SEEKBACK_100] = {"seekrandom-100-reverse", "the same with 100 steps", READS,
                        .op = seek_and_walk_back, .arg = 100},
    /* a step may take less than the clock */
    [W_READSEQ] = {"readseq", "step of a walk through everything", READS, .op = step_forward,
                   .finish = step_finish, .sample_every = 64},
    [W_READREVERSE] = {"readreverse", "step of a walk backwards", READS, .op = step_back,
                       .finish = step_finish, .sample_every = 64},
    [W_COUNTRANGE] = {"count", "count of the keys of a random range of 10 000", READS,
                      .op = count_range, .sample_every = 1},
    [W_OPEN] = {"open", "opening of the store and a first get", S_SETTLED, S_SETTLED, RUN_OPEN,
                .bound = BY_TIME},
    [W_BESIDE] = {"readwhilewriting", "get by 1 thread beside one that overwrites without pause",
                  S_SETTLED, S_SETTLED, RUN_BESIDE, BY_TIME, .op = read_one, .threads = 1,
                  .writes = true},
    [W_BESIDE_WRITER] = {"readwhilewriting-writer", "put of that one", S_NONE, S_NONE, RUN_DERIVED,
                         BY_TIME, .op = overwrite_any},
    [W_BESIDE_4] = {"readwhilewriting-4", "get by 4 threads beside the one", S_SETTLED, S_SETTLED,
                    RUN_BESIDE, BY_TIME, .op = read_one, .threads = 4, .writes = true},
    [W_BESIDE_4_WRITER] = {"readwhilewriting-4-writer", "put of that one", S_NONE, S_NONE,
                           RUN_DERIVED, BY_TIME, .op = overwrite_any},
    [W_YCSB_A] = {"ycsb-a", "50 reads, 50 updates of a hundred; zipfian, as the next ones", READS,
                  MIX('a')},
    [W_YCSB_B] = {"ycsb-b", "95 reads, 5 updates", READS, MIX('b')},
    [W_YCSB_C] = {"ycsb-c", "reads", READS, MIX('c')},
    [W_YCSB_D] = {"ycsb-d", "95 reads of the latest, 5 insertions", READS, MIX('d')},
    [W_YCSB_E] = {"ycsb-e", "95 scans of 1 to 100, 5 insertions", READS, MIX('e')},
    [W_YCSB_F] = {"ycsb-f", "50 reads, 50 reads each followed by an update", READS, MIX('f')},
    [W_DELETERANDOM] = {"deleterandom", "delete, half of the keys, shuffled", S_SETTLED, S_SETTLED,
                        RUN_JOBS, BY_HALF, .op = delete_shuffled, .writes = true},
    [W_DELETERANGE] = {"deleterange",
                       "delete, keys rising, in batches, all but 1 in 20 at each end", S_SETTLED,
                       S_SETTLED, RUN_JOBS, BY_STRETCH, .op = delete_stretch, .threads = 1,
                       .sample_every = 1, .whole = true, .writes = true},
    [W_SCANDELETED] = {"scandeleted", "step of a walk through what deleterange left", READS,
                       .op = step_forward, .finish = step_finish, .sample_every = 64,
                       .after = W_DELETERANGE},
    [W_SEEKDELETED] = {"seekdeleted", "seek to a key that deleterange deleted", READS,
                       .op = seek_deleted, .sample_every = 1, .after = W_DELETERANGE},
    [W_QUEUE] = {"queue", "put at the tail, seek to first, delete it; the length stays", S_EMPTY,
                 S_NONE, RUN_JOBS, BY_TIME, .begin = queue_begin, .op = queue_turn, .threads = 1,
                 .writes = true},
    [W_RECOVERY] = {"recover", "entry replayed from the log of a store that ended without close",
                    S_NONE, S_NONE, RUN_RECOVERY, .bound = BY_TIME},
};

/* ------------------------------------------------------------------ sets -- */

#define MIB(n) (UINT64_C(n) << 20)
#define K(n) (UINT64_C(n) * 1000)

#define YCSB_STEPS                                                                                 \
    {W_YCSB_A, 0.3}, {W_YCSB_B, 0.3}, {W_YCSB_C, 0.2}, {W_YCSB_D, 0.3}, {W_YCSB_E, 0.3},           \
    {                                                                                              \
        W_YCSB_F, 0.3                                                                              \
    }
#define COLD_STEPS                                                                                 \
    {W_READRANDOM, 0.4}, {W_READMISSING, 0.2}, {W_READHOT, 0.3}, {W_MULTIGET_32, 0.3},             \
        {W_SEEK_10, 0.3}, {W_READSEQ, 0.3}, {W_OPEN, 0.2},                                         \
    {                                                                                              \
        W_YCSB_A, 0.4                                                                              \
    }

const struct set sets[] = {
    {.name = "small",
     .what = "keys of 16 bytes, values of 100",
     .num = K(1000),
     .key_bytes = 16,
     .value_bytes = 100,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(64),
     .in_quick = true,
     .load_seconds = 1,
     .steps = {{W_FILLSEQ, 1.6},      {W_FILLBATCH, 1},     {W_FILLSYNC, 0.5},
               {W_FILLSYNC_4, 0.5},   {W_FILLSYNC_16, 0.5}, {W_FILLRANDOM, 7},
               {W_READRANDOM, 0.5},   {W_READMISSING, 0.3}, {W_READHOT, 0.4},
               {W_MULTIGET_8, 0.3},   {W_MULTIGET_32, 0.4}, {W_MULTIGET_128, 0.3},
               {W_SEEK_10, 0.4},      {W_SEEK_100, 0.3},    {W_SEEKBACK_10, 0.3},
               {W_SEEKBACK_100, 0.3}, {W_READSEQ, 0.4},     {W_READREVERSE, 0.4},
               {W_COUNTRANGE, 0.2},   {W_OPEN, 0.2},        {W_BESIDE, 0.5},
               {W_BESIDE_4, 0.5},     YCSB_STEPS,           {W_DELETERANDOM, 1},
               {W_QUEUE, 0.5}}},
    {.name = "steady",
     .what = "the same, overwritten until the shape of the store no longer changes",
     .num = K(1000),
     .key_bytes = 16,
     .value_bytes = 100,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(16),
     .in_quick = true,
     .load_seconds = 6.8,
     .steps = {{W_OVERWRITE, 4}}},
    {.name = "threads",
     .what = "the same, two threads",
     .num = K(300),
     .key_bytes = 16,
     .value_bytes = 100,
     .threads = 2,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(16),
     .load_seconds = 1,
     .steps = {{W_FILLRANDOM, 2.4},
               {W_READRANDOM, 0.5},
               {W_MULTIGET_32, 0.4},
               {W_SEEK_10, 0.4},
               {W_READSEQ, 0.4},
               {W_YCSB_A, 0.5}}},
    {.name = "kilobyte",
     .what = "keys of 16 bytes, values of 1 KB",
     .num = K(100),
     .key_bytes = 16,
     .value_bytes = 1000,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(16),
     .in_quick = true,
     .load_seconds = 0.5,
     .steps = {{W_FILLBATCH, 0.7},
               {W_FILLSYNC, 0.5},
               {W_FILLRANDOM, 2},
               {W_OVERWRITE, 2},
               {W_READRANDOM, 0.5},
               {W_READMISSING, 0.3},
               {W_READHOT, 0.4},
               {W_MULTIGET_32, 0.4},
               {W_SEEK_10, 0.4},
               {W_SEEKBACK_10, 0.3},
               {W_READSEQ, 0.4},
               {W_BESIDE_4, 0.5},
               YCSB_STEPS}},
    {.name = "prefixed",
     .what = "keys of 40 bytes with long common prefixes, values of 400",
     .num = K(250),
     .key_bytes = 40,
     .value_bytes = 400,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(16),
     .load_seconds = 1.5,
     .steps = {{W_FILLRANDOM, 3},
               {W_OVERWRITE, 2},
               {W_READRANDOM, 0.5},
               {W_READMISSING, 0.3},
               {W_READHOT, 0.4},
               {W_MULTIGET_32, 0.4},
               {W_SEEK_10, 0.4},
               {W_SEEKBACK_10, 0.3},
               {W_READSEQ, 0.4},
               {W_READREVERSE, 0.4},

               {W_BESIDE_4, 0.5},
               {W_YCSB_A, 0.4}}},
    {.name = "cold-small",
     .what = "keys of 16 bytes, values of 100; not resident",
     .num = K(700),
     .key_bytes = 16,
     .value_bytes = 100,
     .threads = 1,
     .write_buffer_bytes = MIB(4),
     .cold = true,
     .in_quick = true,
     .load_seconds = 5.3,
     .steps = {COLD_STEPS}},
    {.name = "cold-kilobyte",
     .what = "keys of 16 bytes, values of 1 KB; not resident",
     .num = K(150),
     .key_bytes = 16,
     .value_bytes = 1000,
     .threads = 1,
     .write_buffer_bytes = MIB(4),
     .cold = true,
     .load_seconds = 2.5,
     .steps = {COLD_STEPS}},
    {.name = "cold-prefixed",
     .what = "keys of 40 bytes with long common prefixes, values of 400; not resident",
     .num = K(360),
     .key_bytes = 40,
     .value_bytes = 400,
     .threads = 1,
     .write_buffer_bytes = MIB(4),
     .cold = true,
     .load_seconds = 3.2,
     .steps = {COLD_STEPS}},
    {.name = "deleted",
     .what = "a walk over a million deletions",
     .num = K(1112),
     .key_bytes = 16,
     .value_bytes = 100,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(64),
     .in_quick = true,
     .load_seconds = 7,
     .steps = {{W_READSEQ, 0.4}, {W_DELETERANGE, 2}, {W_SCANDELETED, 0.4}, {W_SEEKDELETED, 0.4}}},
    {.name = "large-64k",
     .what = "keys of 16 bytes, values of 64 KiB",
     .num = 1600,
     .key_bytes = 16,
     .value_bytes = 65536,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(16),
     .in_quick = true,
     .load_seconds = 0.3,
     .steps = {{W_FILLRANDOM, 1}, {W_OVERWRITE, 1}, {W_READRANDOM, 0.4}, {W_READSEQ, 0.3}}},
    {.name = "large-1m",
     .what = "keys of 16 bytes, values of 1 MiB",
     .num = 100,
     .key_bytes = 16,
     .value_bytes = 1048576,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(16),
     .load_seconds = 0.3,
     .steps = {{W_FILLRANDOM, 1}, {W_OVERWRITE, 1}, {W_READRANDOM, 0.4}, {W_READSEQ, 0.3}}},
    {.name = "recovery",
     .what = "a log of keys of 16 bytes and values of 1 KB, all of it still needed",
     .num = K(130),
     .key_bytes = 16,
     .value_bytes = 1000,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(256),
     .in_quick = true,
     .load_seconds = 0.4,
     .steps = {{W_RECOVERY, 1.5}}},
    {.name = "scale",
     .what = "few rows, for bench/scale to run with many sizes and numbers of threads",
     .num = K(1000),
     .key_bytes = 16,
     .value_bytes = 100,
     .threads = 1,
     .cache_bytes = MIB(256),
     .write_buffer_bytes = MIB(64),
     .by_name = true,
     .load_seconds = 3,
     .steps = {{W_FILLRANDOM, 9},
               {W_OVERWRITE, 5},
               {W_READRANDOM, 1},
               {W_MULTIGET_32, 1},
               {W_SEEK_10, 1},
               {W_READSEQ, 1}}},
};
const unsigned set_count = sizeof(sets) / sizeof(sets[0]);

/* ------------------------------------------------------------------ as asked for -- */

/* Is this step asked for, or needed for a later one that is? */
static bool is_wanted(const bool only[W_COUNT], const struct step *step)
{
    bool wanted = only[step->workload];

    for (const struct step *later = step + 1; later->seconds > 0 && !wanted; later++)
        wanted = only[later->workload] && workloads[later->workload].after != W_FILLSEQ &&
                 workloads[later->workload].after == step->workload;
    return wanted;
}

/* Leave the others out. */
static void keep_wanted(struct set *s, const bool only[W_COUNT])
{
    struct step *to = s->steps;

    for (const struct step *step = s->steps; step->seconds > 0; step++)
        if (is_wanted(only, step))
            *to++ = *step;
    *to = (struct step){0};
}

struct set set_for(const struct config *c, unsigned set_no)
{
    struct set s = sets[set_no];
    double num = (double)s.num;

    if (c->num > 0)
        num *= (double)c->num / (double)sets[0].num;
    else if (c->quick) /* a smaller one would fit what a cold set leaves to the page cache */
        num /= s.cold ? QUICK_COLD_PART : QUICK_NUM_PART;
    s.load_seconds *= num / (double)s.num;
    s.num = num < NUM_MIN ? NUM_MIN : (uint64_t)num;
    if (c->threads > 0)
        s.threads = c->threads;
    if (c->quick)
        s.write_buffer_bytes /= QUICK_NUM_PART;
    if (c->write_buffer_bytes > 0)
        s.write_buffer_bytes = c->write_buffer_bytes;
    if (s.cold)
        s.cache_bytes = s.num * set_entry_bytes(&s) / COLD_CACHE_PART;
    if (c->cache_bytes > 0)
        s.cache_bytes = c->cache_bytes;
    s.ops_max = c->ops;
    keep_wanted(&s, c->only);
    for (struct step *step = s.steps; step->seconds > 0; step++) {
        bool by_time = workloads[step->workload].bound == BY_TIME;
        double asked = by_time ? c->seconds : c->write_seconds;

        if (asked > 0)
            step->seconds = asked;
        else if (c->quick)
            step->seconds /= by_time ? QUICK_TIME_PART : QUICK_NUM_PART;
    }
    return s;
}

uint64_t set_ops(const struct set *s, const struct workload *w, unsigned batch)
{
    uint64_t steady, data = s->num * set_entry_bytes(s);

    switch (w->bound) {
    case BY_NUM:
        return s->num;
    case BY_BATCHES:
        return (s->num + batch - 1) / batch;
    case BY_HALF:
        return s->num / 2;
    case BY_STRETCH:
        return (stretch_count(s->num) + batch - 1) / batch;
    case BY_STEADY:
        steady = STEADY_FACTOR * WRITE_BUFFERS * s->write_buffer_bytes;
        return s->num * ((steady + data - 1) / data);
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------ the plan -- */

double set_turn_seconds(const struct set *s)
{
    double sum = s->steps[0].seconds > 0 ? s->load_seconds : 0;

    for (const struct step *step = s->steps; step->seconds > 0; step++) {
        const struct workload *w = &workloads[step->workload];

        sum += step->seconds * (w->bound == BY_TIME ? 1 : w->whole ? WHOLE_PART : COUNT_PART);
        sum += w->writes ? WRITE_AROUND_SECONDS : READ_AROUND_SECONDS;
    }
    return sum;
}

double plan_seconds(const struct config *c)
{
    double sum = 0;

    for (unsigned i = 0; i < set_count; i++) {
        struct set s = set_for(c, i);

        if (c->set[i])
            sum += set_turn_seconds(&s);
    }
    return sum * c->engine_count * c->rounds;
}
