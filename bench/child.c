/* child.c - one engine, one set, one round: the set's steps in turn, in a process of its own.
 *
 * Before each measurement the file system is synced, so that no workload pays for another's dirty
 * pages; in a cold set the store is also put out of memory. After each one that writes, the bench
 * waits until the engine's threads are quiet before it reads how much was written. */
#include "store.h"

#include "clock.h"
#include "counts.h"
#include "fence.h"
#include "usage.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUIET_SECONDS_MAX 60.0
#define BATCH_ENTRIES 100
#define BATCH_BYTES_MAX (1u << 20)
#define OPENS_MIN 3

void row_init(struct row *row, enum workload_no workload)
{
    *row = (struct row){.workload = (uint32_t)workload,
                        .threads = 1,
                        .seconds = -1,
                        .ops_per_s = -1,
                        .p50_us = -1,
                        .p99_us = -1,
                        .p999_us = -1,
                        .max_us = -1,
                        .cpu_us_per_op = -1,
                        .bytes_written_per_byte_put = -1,
                        .settle_seconds = -1,
                        .disk_bytes = -1,
                        .peak_disk_bytes = -1,
                        .peak_rss_bytes = -1,
                        .peak_anon_bytes = -1,
                        .log_bytes = -1};
}

void send_row(struct child *c, const struct row *row)
{
    if (!c->config->only[row->workload])
        return;
    if (write(c->out_fd, row, sizeof(*row)) != (ssize_t)sizeof(*row))
        die("cannot report: %s", strerror(errno));
}

static void take_peaks(struct row *row)
{
    row->peak_rss_bytes = (double)usage_peak_rss_bytes();
    row->peak_anon_bytes = (double)usage_peak_anon_bytes();
    row->peak_disk_bytes = (double)usage_peak_disk_bytes();
}

/* What the rows of S_FILLED come to together. */
static void add_to_load(struct row *all, const struct row *row)
{
    all->threads = row->threads;
    all->ops += row->ops;
    all->seconds += row->seconds;
    all->settle_seconds = row->settle_seconds;
    all->cut |= row->cut;
    all->peak_rss_bytes = fmax(all->peak_rss_bytes, row->peak_rss_bytes);
    all->peak_anon_bytes = fmax(all->peak_anon_bytes, row->peak_anon_bytes);
    all->peak_disk_bytes = fmax(all->peak_disk_bytes, row->peak_disk_bytes);
}

/* ------------------------------------------------------------------ threads at work -- */

/* Threads that insert share one order of new entries: the longest share says how far it is used. */
static void note_inserted(struct bench *b, const struct worker *workers, unsigned threads)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < threads; i++)
        most = workers[i].inserted > most ? workers[i].inserted : most;
    b->inserted += most * threads;
}

static unsigned threads_of(const struct child *c, const struct workload *w)
{
    return w->threads > 0 ? w->threads : c->bench.set->threads;
}

static void measure(struct child *c, const struct step *step)
{
    const struct workload *what = &workloads[step->workload];
    unsigned threads = threads_of(c, what);
    struct job *jobs = must_alloc(threads * sizeof(*jobs));
    struct worker *workers;
    struct row row;
    uint64_t written, cpu;

    row_init(&row, step->workload);
    work_jobs(&c->bench, what, what->whole ? 1e9 : step->seconds, jobs, threads);
    usage_flush_disk(c->dir);
    usage_peak_reset();
    written = usage_written_bytes();
    cpu = usage_cpu_ns();
    workers = work_run(&c->bench, jobs, threads);
    work_sum(workers, threads, &row);
    if (what->writes)
        row.settle_seconds = usage_wait_quiet(QUIET_SECONDS_MAX);
    counts_end(what->name, row.ops);
    if (row.ops > 0)
        row.cpu_us_per_op = (double)(usage_cpu_ns() - cpu) / 1e3 / (double)row.ops;
    take_peaks(&row);
    if (what->puts) {
        usage_flush_disk(c->dir);
        row.bytes_written_per_byte_put = (double)(usage_written_bytes() - written) /
                                         (double)(row.ops * set_entry_bytes(c->bench.set));
    }
    if (what->leaves == S_FILLED)
        add_to_load(&c->loaded, &row);
    if (what->bound == BY_STRETCH)
        c->bench.live = c->bench.data.num - stretch_count(c->bench.data.num);
    note_inserted(&c->bench, workers, threads);
    free(workers);
    free(jobs);
    send_row(c, &row);
}

/* Readers, and one writer that never pauses, on one store: two rows. */
static void measure_beside(struct child *c, const struct step *step)
{
    const struct workload *what = &workloads[step->workload];
    enum workload_no writer = step->workload + 1;
    unsigned readers = threads_of(c, what);
    struct job *jobs = must_alloc((readers + 1) * sizeof(*jobs));
    struct worker *workers;
    struct row reads, writes;

    row_init(&reads, step->workload);
    row_init(&writes, writer);
    work_jobs(&c->bench, what, step->seconds, jobs, readers);
    work_jobs(&c->bench, &workloads[writer], step->seconds, jobs + readers, 1);
    usage_flush_disk(c->dir);
    usage_peak_reset();
    workers = work_run(&c->bench, jobs, readers + 1);
    counts_end(what->name, workers[0].ops);
    work_sum(workers, readers, &reads);
    work_sum(workers + readers, 1, &writes);
    take_peaks(&reads);
    take_peaks(&writes);
    free(workers);
    free(jobs);
    send_row(c, &reads);
    send_row(c, &writes);
    (void)usage_wait_quiet(QUIET_SECONDS_MAX);
}

/* ------------------------------------------------------------------ opening -- */

/* Open the store once more and get one entry of it: some engines put work off until then. */
static double open_once(struct child *c)
{
    const struct adapter *call = c->bench.engine->adapter;
    uint8_t key[KEY_BYTES_MAX];
    struct bytes value;
    uint64_t begun = clock_ns(), took;
    void *session;

    store_open(c, false);
    session = call->session_new(c->bench.db);
    key_make(&c->bench.data, 0, key);
    value = call->get(session, (struct bytes){key, c->bench.data.key_bytes});
    took = clock_ns() - begun;
    if (!value_is_of(&c->bench.data, 0, value))
        die("%s: wrong answer after an open", c->bench.engine->name);
    call->session_free(session);
    return (double)took;
}

static void measure_open(struct child *c, const struct step *step)
{
    uint64_t begun = clock_ns();
    struct hist *hist = must_alloc(sizeof(*hist));
    struct row row;
    double sum_ns = 0;

    row_init(&row, step->workload);
    row.ops = 0;
    usage_peak_reset();
    while (row.ops < OPENS_MIN || (double)(clock_ns() - begun) < step->seconds * 1e9) {
        double took;

        store_close(c);
        if (c->bench.set->cold)
            usage_drop_cache(c->dir);
        took = open_once(c);
        hist_add(hist, (uint64_t)took);
        sum_ns += took;
        row.ops++;
    }
    row.seconds = sum_ns / 1e9;
    row.ops_per_s = (double)row.ops / row.seconds;
    row.p50_us = hist_quantile(hist, 0.5) / 1e3;
    row.p99_us = hist_quantile(hist, 0.99) / 1e3;
    row.p999_us = hist_quantile(hist, 0.999) / 1e3;
    row.max_us = (double)hist->max / 1e3;
    take_peaks(&row);
    free(hist);
    send_row(c, &row);
}

static void fill_and_die(struct child *c)
{
    store_open(c, false);
    store_fill(c);
}

/* Fill a store in a process that ends without closing it, write buffers so large that all of it is
 * in the log alone; then open it. */
static void measure_recovery(struct child *c, const struct step *step)
{
    struct row row;

    row_init(&row, step->workload);
    store_apart(c, fill_and_die);
    usage_flush_disk(c->dir);
    usage_peak_reset();

    row.ops = c->bench.data.num;
    row.log_bytes = (double)(row.ops * set_entry_bytes(c->bench.set));
    row.seconds = open_once(c) / 1e9;
    row.ops_per_s = (double)row.ops / row.seconds;
    take_peaks(&row);

    store_scan(c); /* all must be there again */
    send_row(c, &row);
}

/* ------------------------------------------------------------------ a turn -- */

static void take_step(struct child *c, const struct step *step)
{
    const struct workload *what = &workloads[step->workload];

    store_stand(c, what->needs);
    if (c->bench.set->cold && what->needs == S_SETTLED)
        store_chill(c);
    switch (what->runner) {
    case RUN_JOBS:
        measure(c, step);
        break;
    case RUN_BESIDE:
        measure_beside(c, step);
        break;
    case RUN_OPEN:
        measure_open(c, step);
        break;
    case RUN_RECOVERY:
        measure_recovery(c, step);
        break;
    case RUN_DERIVED:
        die("%s is no step", what->name);
    }
    c->stand = what->leaves;
}

static bool is_hot(const struct set *set)
{
    for (const struct step *step = set->steps; step->seconds > 0; step++)
        if (workloads[step->workload].hot)
            return true;
    return false;
}

void child_run(const struct config *config, unsigned set_no, const struct engine *engine,
               const char *dir, unsigned round, int out_fd)
{
    const struct set set = set_for(config, set_no);
    struct child c = {.config = config, .out_fd = out_fd};
    struct bench *b = &c.bench;

    b->set = &set;
    b->engine = engine;
    b->seed = config->seed + UINT64_C(1000003) * round;
    b->batch = set.value_bytes < BATCH_BYTES_MAX / BATCH_ENTRIES
                   ? BATCH_ENTRIES
                   : BATCH_BYTES_MAX / set.value_bytes;
    data_init(&b->data, set.num, set.key_bytes, set.value_bytes);
    b->live = set.num;
    if (is_hot(&set))
        b->draws = zipf_draws(set.num, b->seed);
    (void)snprintf(c.dir, sizeof(c.dir), "%s/store", dir);
    c.fenced = set.cold && fence_enter();
    usage_watch_start(c.dir);

    for (const struct step *step = set.steps; step->seconds > 0; step++)
        take_step(&c, step);
    if (c.stand == S_FILLED)
        store_stand(&c, S_SETTLED); /* for the row `load` */
    store_remove(&c);

    usage_watch_stop();
    data_done(&b->data);
    free((void *)(uintptr_t)b->draws);
}
