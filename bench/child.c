/* child.c - one engine, one round: every workload in turn, in a process of its own.
 *
 *     fresh store   fillseq                                       removed
 *     fresh store   fillsync, fillsync-16                         removed
 *     fresh store   fillrandom, overwrite, settle, reopen, warm   kept for the reads
 *                   readrandom ... readwhilewriting, deleterandom
 *
 * Before each measurement the file system is synced, so that no workload pays for another's dirty
 * pages. After each one that writes, the bench waits until the engine's threads are quiet before it
 * reads how much was written. Between load and reads the engine compacts all it has, is closed and
 * opened again, and one whole scan fills its caches. */
#include "work.h"

#include "clock.h"
#include "usage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUIET_SECONDS_MAX 60.0

struct child {
    struct bench bench;
    char store[512];
    int out_fd;
};

void row_init(struct row *row, enum workload workload)
{
    *row = (struct row){.workload = (uint32_t)workload,
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
                        .peak_rss_bytes = -1,
                        .peak_anon_bytes = -1};
}

static void send_row(struct child *c, const struct row *row)
{
    if (!c->bench.config->only[row->workload])
        return;
    if (write(c->out_fd, row, sizeof(*row)) != (ssize_t)sizeof(*row))
        die("cannot report: %s", strerror(errno));
}

static bool wants(const struct child *c, enum workload first, enum workload last)
{
    for (unsigned w = first; w <= (unsigned)last; w++)
        if (c->bench.config->only[w])
            return true;
    return false;
}

static void store_open(struct child *c, bool durable)
{
    const struct config *config = c->bench.config;
    struct setup setup = {
        .cache_bytes = config->cache_bytes,
        .write_buffer_bytes = config->write_buffer_bytes,
        .data_bytes = config->num * (KEY_BYTES + config->value_bytes),
        .durable = durable,
        .variant = c->bench.engine->variant,
    };

    if (mkdir(c->store, 0755) != 0 && errno != EEXIST)
        die("%s: %s", c->store, strerror(errno));
    c->bench.db = c->bench.engine->adapter->open(c->store, &setup);
}

static void store_close(struct child *c)
{
    c->bench.engine->adapter->close(c->bench.db);
    c->bench.db = NULL;
}

static void store_remove(struct child *c)
{
    store_close(c);
    usage_remove_tree(c->store);
}

static void take_peaks(struct row *row)
{
    row->peak_rss_bytes = (double)usage_peak_rss_bytes();
    row->peak_anon_bytes = (double)usage_peak_anon_bytes();
}

static void take_cpu(struct row *row, uint64_t since_ns)
{
    if (row->ops > 0)
        row->cpu_us_per_op = (double)(usage_cpu_ns() - since_ns) / 1e3 / (double)row->ops;
}

/* Run a workload that writes; *row gets everything, including what its background did after it. */
static void measure_writes(struct child *c, enum workload workload, unsigned threads,
                           struct row *row)
{
    struct job *jobs = must_alloc(threads * sizeof(*jobs));
    struct worker *workers;
    uint64_t written, cpu;
    double put_bytes;

    row_init(row, workload);
    fill_jobs(&c->bench, workload, jobs, threads);
    usage_flush_disk(c->store);
    usage_peak_reset();
    written = usage_written_bytes();
    cpu = usage_cpu_ns();
    workers = work_run(&c->bench, jobs, threads);
    work_sum(workers, threads, row);
    row->settle_seconds = usage_wait_quiet(QUIET_SECONDS_MAX);
    take_cpu(row, cpu);
    usage_flush_disk(c->store);
    put_bytes = (double)row->ops * (KEY_BYTES + c->bench.config->value_bytes);
    if (workload != W_DELETERANDOM)
        row->bytes_written_per_byte_put = (double)(usage_written_bytes() - written) / put_bytes;
    take_peaks(row);
    free(workers);
    free(jobs);
    send_row(c, row);
}

typedef void (*jobs_fn)(const struct bench *b, enum workload workload, struct job *jobs,
                        unsigned threads);

static void measure_reads(struct child *c, enum workload workload, jobs_fn fill_in)
{
    unsigned threads = c->bench.config->threads;
    struct job *jobs;
    struct worker *workers;
    struct row row;
    uint64_t cpu;

    if (!c->bench.config->only[workload])
        return;
    jobs = must_alloc(threads * sizeof(*jobs));
    row_init(&row, workload);
    fill_in(&c->bench, workload, jobs, threads);
    usage_flush_disk(c->store);
    usage_peak_reset();
    cpu = usage_cpu_ns();
    workers = work_run(&c->bench, jobs, threads);
    work_sum(workers, threads, &row);
    take_cpu(&row, cpu);
    take_peaks(&row);
    free(workers);
    free(jobs);
    send_row(c, &row);
}

/* --threads readers and one writer that never pauses, on one store: two rows. */
static void measure_reads_while_writing(struct child *c)
{
    unsigned readers = c->bench.config->threads;
    struct job *jobs = must_alloc((readers + 1) * sizeof(*jobs));
    struct worker *workers;
    struct row reads, writes;

    row_init(&reads, W_READWHILEWRITING);
    row_init(&writes, W_WRITER);
    read_jobs(&c->bench, W_READRANDOM, jobs, readers);
    fill_jobs(&c->bench, W_WRITER, jobs + readers, 1);
    usage_flush_disk(c->store);
    usage_peak_reset();
    workers = work_run(&c->bench, jobs, readers + 1);
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

/* Fill the store that the reads will use, and bring it to rest. */
static void load(struct child *c)
{
    const struct config *config = c->bench.config;
    struct row random, over, all;
    uint64_t begun, written;
    double put_bytes;

    store_open(c, false);
    usage_flush_disk(c->store);
    written = usage_written_bytes();
    row_init(&over, W_OVERWRITE);
    over.ops = 0;
    over.seconds = 0;
    measure_writes(c, W_FILLRANDOM, config->threads, &random);
    if (config->only[W_OVERWRITE])
        measure_writes(c, W_OVERWRITE, config->threads, &over);

    begun = clock_ns();
    usage_peak_reset();
    c->bench.engine->adapter->settle(c->bench.db);
    store_close(c);
    usage_flush_disk(c->store);

    row_init(&all, W_LOAD);
    all.settle_seconds = (double)(clock_ns() - begun) / 1e9 +
                         (over.ops > 0 ? over.settle_seconds : random.settle_seconds);
    all.ops = random.ops + over.ops;
    all.seconds = random.seconds + over.seconds + all.settle_seconds;
    all.ops_per_s = (double)all.ops / all.seconds;
    put_bytes = (double)all.ops * (KEY_BYTES + config->value_bytes);
    all.bytes_written_per_byte_put = (double)(usage_written_bytes() - written) / put_bytes;
    take_peaks(&all);
    if (random.peak_rss_bytes > all.peak_rss_bytes)
        all.peak_rss_bytes = random.peak_rss_bytes;
    if (random.peak_anon_bytes > all.peak_anon_bytes)
        all.peak_anon_bytes = random.peak_anon_bytes;
    if (over.peak_rss_bytes > all.peak_rss_bytes)
        all.peak_rss_bytes = over.peak_rss_bytes;
    if (over.peak_anon_bytes > all.peak_anon_bytes)
        all.peak_anon_bytes = over.peak_anon_bytes;

    store_open(c, false);
    (void)usage_wait_quiet(QUIET_SECONDS_MAX);
    all.disk_bytes = (double)usage_disk_bytes(c->store);
    send_row(c, &all);
}

/* One scan from end to end, not measured: afterwards what fits a cache is in it. */
static void warm(struct child *c)
{
    struct job job;
    struct worker *worker;

    scan_jobs(&c->bench, W_READSEQ, &job, 1);
    job.to = c->bench.config->num;
    job.seconds = 1e9;
    worker = work_run(&c->bench, &job, 1);
    free(worker);
}

void child_run(const struct config *config, const struct engine *engine, const char *dir,
               unsigned round, int out_fd)
{
    struct child c = {.out_fd = out_fd};
    struct row row;

    c.bench.config = config;
    c.bench.engine = engine;
    c.bench.seed = config->seed + UINT64_C(1000003) * round;
    (void)snprintf(c.store, sizeof(c.store), "%s/store", dir);
    data_init(&c.bench.data, config->num, config->value_bytes, config->random_keys);
    usage_watch_start();

    if (wants(&c, W_FILLSEQ, W_FILLSEQ)) {
        store_open(&c, false);
        measure_writes(&c, W_FILLSEQ, config->threads, &row);
        store_remove(&c);
    }
    if (wants(&c, W_FILLSYNC, W_FILLSYNC_MANY)) {
        store_open(&c, true);
        if (config->only[W_FILLSYNC])
            measure_writes(&c, W_FILLSYNC, 1, &row);
        if (config->only[W_FILLSYNC_MANY])
            measure_writes(&c, W_FILLSYNC_MANY, SYNC_THREADS, &row);
        store_remove(&c);
    }
    if (wants(&c, W_FILLRANDOM, W_DELETERANDOM)) {
        load(&c);
        if (wants(&c, W_READRANDOM, W_READWHILEWRITING))
            warm(&c);
        measure_reads(&c, W_READRANDOM, read_jobs);
        measure_reads(&c, W_READMISSING, read_jobs);
        measure_reads(&c, W_MULTIGET, read_jobs);
        measure_reads(&c, W_SEEKRANDOM, scan_jobs);
        measure_reads(&c, W_READSEQ, scan_jobs);
        measure_reads(&c, W_READREVERSE, scan_jobs);
        if (config->only[W_READWHILEWRITING])
            measure_reads_while_writing(&c);
        if (config->only[W_DELETERANDOM])
            measure_writes(&c, W_DELETERANDOM, config->threads, &row);
        store_remove(&c);
    }
    usage_watch_stop();
    data_done(&c.bench.data);
}
