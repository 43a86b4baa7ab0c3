/* sync.c - what does it cost until a record is on the disk? Three ways, one thread.
 *
 *     append     write(2) at the end of a file that grows, fdatasync: the length is news each time
 *     written    write(2) over blocks that were written before, fdatasync: only data
 *     direct     one O_DIRECT|O_DSYNC write of whole pages over such blocks: no page cache
 *
 * A group of threads that share a sync is as many records in one write. `written` and `direct` take
 * a new page for each sync, as src/wal/ does. Every sync is timed, for the tail. */
#include "limits.h"

#include "bench.h"
#include "clock.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES (UINT64_C(16) << 20)
#define PAGE_BYTES UINT64_C(4096)
#define GROUP_BYTES_MAX (UINT64_C(64) << 10)
#define SYNC_SLICE_NS UINT64_C(150000000)

struct way {
    enum limit limit;
    uint64_t bytes, step; /* of one write; from one to the next */
    int *fd;
    bool sync; /* by a call of its own */
};

static int append_fd, written_fd, direct_fd;
static uint8_t *group;

static void setup(void)
{
    group = aligned_alloc(PAGE_BYTES, GROUP_BYTES_MAX);
    if (group == NULL)
        die("no memory");
    memset(group, 0x5a, GROUP_BYTES_MAX);
    append_fd = scratch_open("sync-append", 0);
    written_fd = scratch_open("sync-written", 0);
    scratch_fill(written_fd, FILE_BYTES);
    direct_fd = scratch_open("sync-direct", O_DIRECT | O_DSYNC);
    if (direct_fd >= 0) {
        int fd = scratch_open("sync-direct", 0);

        scratch_fill(fd, FILE_BYTES);
        scratch_close(fd);
    }
}

static void time_way(struct samples *s, const struct way *way)
{
    struct hist *hist = samples_hist(s, way->limit);
    uint64_t at = 0, syncs = 0, begun, before, now;

    if (way->fd == &append_fd) {
        scratch_truncate(append_fd, 0);
        scratch_sync(append_fd);
    }
    begun = before = now = clock_ns();
    while (now - begun < SYNC_SLICE_NS && at + way->step <= FILE_BYTES) {
        scratch_write(*way->fd, group, way->bytes, at);
        if (way->sync)
            scratch_sync(*way->fd);
        at += way->step;
        syncs++;
        now = clock_ns();
        hist_add(hist, now - before);
        before = now;
    }
    samples_add(s, way->limit, now - begun, (double)syncs);
}

static void round_once(struct samples *s)
{
    static const struct way ways[] = {
        {LIMIT_SYNC_APPEND, RECORD_STRIDE, RECORD_STRIDE, &append_fd, true},
        {LIMIT_SYNC_WRITTEN, RECORD_STRIDE, PAGE_BYTES, &written_fd, true},
        {LIMIT_SYNC_DIRECT_4K, PAGE_BYTES, PAGE_BYTES, &direct_fd, false},
        {LIMIT_SYNC_APPEND_4, 4 * RECORD_STRIDE, 4 * RECORD_STRIDE, &append_fd, true},
        {LIMIT_SYNC_WRITTEN_4, 4 * RECORD_STRIDE, PAGE_BYTES, &written_fd, true},
        {LIMIT_SYNC_DIRECT_16K, 4 * PAGE_BYTES, 4 * PAGE_BYTES, &direct_fd, false},
        {LIMIT_SYNC_APPEND_16, 16 * RECORD_STRIDE, 16 * RECORD_STRIDE, &append_fd, true},
        {LIMIT_SYNC_WRITTEN_16, 16 * RECORD_STRIDE, PAGE_BYTES, &written_fd, true},
        {LIMIT_SYNC_DIRECT_64K, 16 * PAGE_BYTES, 16 * PAGE_BYTES, &direct_fd, false},
    };

    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (*ways[i].fd >= 0)
            time_way(s, &ways[i]);
}

const struct probe probe_sync = {"sync", setup, round_once};
