/* log.c - what does it cost to hand the kernel a log record without a sync? By memcpy into a
 * mapping of a file in four states, and by a system call.
 *
 *     warm      written, mapped, dirty: nothing is left to do but the copy
 *     synced    its pages are clean, and the first store into each tells the kernel again
 *     anew      a new mapping of pages that are in the page cache: each is mapped on first touch
 *     holes     a new file: each page is made, and its block reserved, on first touch
 *
 * Processor time, the kernel's for us included. src/wal/ writes a recycled segment (the first three
 * states); one that was never written would be the fourth. */
#include "limits.h"

#include "bench.h"
#include "scratch.h"

#include <string.h>
#include <sys/mman.h>

#define LOG_BYTES (UINT64_C(16) << 20)
#define RECORDS (LOG_BYTES / RECORD_STRIDE)
#define WRITES 20000u

static int written_fd;
static uint8_t *warm_map;
static uint8_t record[RECORD_BYTES];

static uint8_t *map_file(int fd)
{
    uint8_t *map = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED)
        die("cannot map a file below %s", scratch_dir());
    return map;
}

static void setup(void)
{
    memset(record, 0x5a, sizeof(record));
    written_fd = scratch_open("log", 0);
    scratch_fill(written_fd, LOG_BYTES);
    warm_map = map_file(written_fd);
}

static uint64_t append_all(uint8_t *map)
{
    uint64_t begun = thread_ns();

    for (uint64_t i = 0; i < RECORDS; i++) {
        memcpy(map + i * RECORD_STRIDE, record, RECORD_BYTES);
        keep(0); /* one record is one copy, not a part of a larger one */
    }
    return thread_ns() - begun;
}

static void append_to_new_mapping(struct samples *s, enum limit limit, int fd)
{
    uint8_t *map = map_file(fd);

    samples_add(s, limit, append_all(map), (double)RECORDS);
    (void)munmap(map, LOG_BYTES);
}

static void append_to_holes(struct samples *s)
{
    int fd = scratch_open("log-holes", 0);

    scratch_truncate(fd, LOG_BYTES);
    append_to_new_mapping(s, LIMIT_LOG_HOLES, fd);
    scratch_truncate(fd, 0); /* what is dirty need not reach the disk */
    scratch_close(fd);
}

static void append_by_write(struct samples *s)
{
    uint64_t begun = thread_ns();

    for (uint64_t i = 0; i < WRITES; i++)
        scratch_write(written_fd, record, RECORD_BYTES, i * RECORD_STRIDE);
    samples_add(s, LIMIT_LOG_WRITE, thread_ns() - begun, WRITES);
}

static void round_once(struct samples *s)
{
    (void)append_all(warm_map);
    samples_add(s, LIMIT_LOG_MAPPED, append_all(warm_map), (double)RECORDS);
    scratch_sync(written_fd);
    samples_add(s, LIMIT_LOG_MAPPED_SYNCED, append_all(warm_map), (double)RECORDS);
    append_to_new_mapping(s, LIMIT_LOG_MAPPED_ANEW, written_fd);
    append_to_holes(s);
    append_by_write(s);
    scratch_sync(written_fd);
}

const struct probe probe_log = {"log", setup, round_once};
