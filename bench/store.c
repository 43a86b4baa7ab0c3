/* store.c - fresh, filled, settled: what stands where while rows are measured.
 *
 * Settled means: the engine compacted all it has by its own command, was closed and opened again,
 * and one whole scan filled its caches. In a cold set it means the opposite of that scan. Another
 * process fills and compacts the store, so that nothing of it is left on the heap. Then this one
 * gets a limit on its memory, page cache included, of the cache, two write buffers and
 * FENCE_SPARE_BYTES for the program itself. Before each row the store is closed, its files are
 * dropped from memory, and it is opened again. */
#include "store.h"

#include "clock.h"
#include "fence.h"
#include "usage.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUIET_SECONDS_MAX 60.0
#define FENCE_SPARE_BYTES (UINT64_C(24) << 20)

void store_open(struct child *c, bool synced)
{
    const struct set *s = c->bench.set;
    struct setup setup = {
        .cache_bytes = s->cache_bytes,
        .write_buffer_bytes = s->write_buffer_bytes,
        .data_bytes = s->num * set_entry_bytes(s),
        .durable = synced,
        .variant = c->bench.engine->variant,
    };

    if (mkdir(c->dir, 0755) != 0 && errno != EEXIST)
        die("%s: %s", c->dir, strerror(errno));
    c->bench.db = c->bench.engine->adapter->open(c->dir, &setup);
    c->open = true;
}

void store_close(struct child *c)
{
    c->bench.engine->adapter->close(c->bench.db);
    /* libc keeps what a cache was made of, scattered over the heaps of its threads. */
    (void)malloc_trim(0);
    c->bench.db = NULL;
    c->open = false;
}

void store_remove(struct child *c)
{
    if (c->open)
        store_close(c);
    usage_remove_tree(c->dir);
    c->stand = S_NONE;
    c->bench.live = c->bench.data.num;
    c->bench.inserted = 0;
}

void store_chill(struct child *c)
{
    store_close(c);
    usage_drop_cache(c->dir);
    store_open(c, false);
}

static void run_alone(struct child *c, enum workload_no workload, uint64_t ops)
{
    struct job job;

    work_jobs(&c->bench, &workloads[workload], 1e9, &job, 1);
    job.to = ops > 0 ? ops : job.to;
    free(work_run(&c->bench, &job, 1));
}

void store_fill(struct child *c)
{
    run_alone(c, W_FILLBATCH, 0);
}

void store_scan(struct child *c)
{
    run_alone(c, W_READSEQ, c->bench.live + 1); /* the last step ends the walk and begins anew */
}

void store_apart(struct child *c, void (*work)(struct child *c))
{
    pid_t pid;
    int status = 1;

    usage_watch_stop(); /* no thread but this one while the process is doubled */
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        work(c);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("%s: its store could not be made", c->bench.engine->name);
    usage_watch_start(c->dir);
}

static void store_fresh(struct child *c, bool synced)
{
    store_remove(c);
    store_open(c, synced);
    usage_flush_disk(c->dir);
    row_init(&c->loaded, W_LOAD);
    c->loaded.ops = 0;
    c->loaded.seconds = 0;
    c->loaded.settle_seconds = 0;
    c->loaded_since_written = usage_written_bytes();
}

static void fill_quickly(struct child *c)
{
    store_fresh(c, false);
    store_fill(c);
    (void)usage_wait_quiet(QUIET_SECONDS_MAX);
    usage_flush_disk(c->dir);
    c->loaded_since_written = usage_written_bytes();
}

static void settle(struct child *c)
{
    struct row *all = &c->loaded;
    const struct set *s = c->bench.set;
    uint64_t begun = clock_ns(), written;

    usage_peak_reset();
    c->bench.engine->adapter->settle(c->bench.db);
    store_close(c);
    usage_flush_disk(c->dir);
    written = usage_written_bytes() - c->loaded_since_written;

    all->settle_seconds += (double)(clock_ns() - begun) / 1e9;
    all->seconds += all->settle_seconds;
    all->peak_rss_bytes = fmax(all->peak_rss_bytes, (double)usage_peak_rss_bytes());
    all->peak_anon_bytes = fmax(all->peak_anon_bytes, (double)usage_peak_anon_bytes());
    all->peak_disk_bytes = fmax(all->peak_disk_bytes, (double)usage_peak_disk_bytes());

    store_open(c, false);
    (void)usage_wait_quiet(QUIET_SECONDS_MAX);
    all->disk_bytes = (double)usage_disk_bytes(c->dir);
    if (all->ops > 0) {
        all->ops_per_s = (double)all->ops / all->seconds;
        all->bytes_written_per_byte_put = (double)written / (double)(all->ops * set_entry_bytes(s));
        send_row(c, all);
    }
    store_scan(c);
}

/* ------------------------------------------------------------------ cold -- */

static void fill_and_settle(struct child *c)
{
    fill_quickly(c);
    c->bench.engine->adapter->settle(c->bench.db);
    store_close(c);
}

static void make_cold(struct child *c)
{
    const struct set *s = c->bench.set;
    uint64_t bytes = s->cache_bytes + 2 * s->write_buffer_bytes + FENCE_SPARE_BYTES;

    store_remove(c);
    store_apart(c, fill_and_settle);
    usage_drop_cache(c->dir);
    if (c->fenced && !fence_limit(bytes))
        die("the limit on memory is refused");
    store_open(c, false);
}

void store_stand(struct child *c, enum stand needed)
{
    switch (needed) {
    case S_NONE:
        store_remove(c);
        break;
    case S_EMPTY:
    case S_EMPTY_SYNCED:
        store_fresh(c, needed == S_EMPTY_SYNCED);
        break;
    case S_FILLED:
        if (c->stand != S_FILLED)
            fill_quickly(c);
        break;
    case S_SETTLED:
        if (c->stand == S_SETTLED)
            break;
        if (c->bench.set->cold) {
            make_cold(c);
            break;
        }
        if (c->stand != S_FILLED)
            fill_quickly(c);
        settle(c);
        break;
    }
    c->stand = needed;
}
