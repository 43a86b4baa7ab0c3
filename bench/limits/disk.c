/* disk.c - how fast does the disk answer, past the page cache?
 *
 * Reads are O_DIRECT from a file of 256 MiB, at random or in a row, one at a time or by 8 threads,
 * of which each has one under way. A disk of a virtual machine may have a cache of its own behind
 * it, and then this is what it serves. Writes are 1 MiB each, with the sync at the end counted. */
#include "limits.h"

#include "bench.h"
#include "clock.h"
#include "data.h"
#include "scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define READ_FILE_BYTES (UINT64_C(256) << 20)
#define WRITE_FILE_BYTES (UINT64_C(64) << 20)
#define READ_BYTES_MAX (UINT64_C(64) << 10)
#define WRITE_BYTES (UINT64_C(1) << 20)
#define READERS_MAX 8u
#define READ_SLICE_NS UINT64_C(120000000)
#define WRITE_SLICE_NS UINT64_C(400000000)

struct reading {
    enum limit limit;
    unsigned readers;
    uint64_t bytes; /* of one read */
    bool random;
};

/* One measurement under way. */
struct turn {
    const struct reading *reading;
    uint64_t begun;
    _Atomic uint64_t reads;
};

static int read_fd;
static uint8_t *source;

static void setup(void)
{
    int fd = scratch_open("disk-read", 0);

    source = aligned_alloc(4096, WRITE_BYTES);
    if (source == NULL)
        die("no memory");
    memset(source, 0x5a, WRITE_BYTES);
    for (uint64_t at = 0; at < READ_FILE_BYTES; at += WRITE_BYTES)
        scratch_write(fd, source, WRITE_BYTES, at);
    scratch_sync(fd);
    scratch_close(fd);
    read_fd = scratch_open("disk-read", O_DIRECT);
}

static void *read_until_over(void *arg)
{
    struct turn *turn = arg;
    const struct reading *r = turn->reading;
    uint64_t places = READ_FILE_BYTES / r->bytes, random = clock_ns() ^ (uintptr_t)&random;
    uint8_t *to = aligned_alloc(4096, READ_BYTES_MAX);

    if (to == NULL)
        die("no memory");
    while (clock_ns() - turn->begun < READ_SLICE_NS) {
        uint64_t no = atomic_fetch_add_explicit(&turn->reads, 1, memory_order_relaxed);
        uint64_t place = r->random ? random_below(&random, places) : no % places;

        scratch_read(read_fd, to, r->bytes, place * r->bytes);
    }
    free(to);
    return NULL;
}

static void time_reading(struct samples *s, const struct reading *r)
{
    struct turn turn = {.reading = r, .begun = clock_ns()};
    pthread_t threads[READERS_MAX];
    uint64_t reads, ns;

    for (unsigned i = 1; i < r->readers; i++)
        if (pthread_create(&threads[i], NULL, read_until_over, &turn) != 0)
            die("cannot start a thread");
    (void)read_until_over(&turn);
    for (unsigned i = 1; i < r->readers; i++)
        (void)pthread_join(threads[i], NULL);
    ns = clock_ns() - turn.begun;
    reads = atomic_load(&turn.reads);
    samples_add(s, r->limit, ns, (double)reads * (r->random ? 1.0 : (double)r->bytes));
}

static void time_writing(struct samples *s, enum limit limit, int flags, bool anew)
{
    int fd = scratch_open("disk-write", flags);
    uint64_t begun, now, at = 0;

    if (fd < 0)
        return;
    if (anew)
        scratch_truncate(fd, 0);
    scratch_sync(fd);
    begun = now = clock_ns();
    while (now - begun < WRITE_SLICE_NS && at < WRITE_FILE_BYTES) {
        scratch_write(fd, source, WRITE_BYTES, at);
        at += WRITE_BYTES;
        now = clock_ns();
    }
    scratch_sync(fd);
    samples_add(s, limit, clock_ns() - begun, (double)at);
    scratch_close(fd);
}

static void round_once(struct samples *s)
{
    static const struct reading readings[] = {
        {LIMIT_DISK_RANDOM_4K, 1, 4096, true},   {LIMIT_DISK_RANDOM_4K_8, 8, 4096, true},
        {LIMIT_DISK_RANDOM_64K, 1, 65536, true}, {LIMIT_DISK_RANDOM_64K_8, 8, 65536, true},
        {LIMIT_DISK_ROW_4K, 1, 4096, false},     {LIMIT_DISK_ROW_4K_8, 8, 4096, false},
        {LIMIT_DISK_ROW_64K, 1, 65536, false},   {LIMIT_DISK_ROW_64K_8, 8, 65536, false},
    };

    for (unsigned i = 0; read_fd >= 0 && i < sizeof(readings) / sizeof(readings[0]); i++)
        time_reading(s, &readings[i]);
    time_writing(s, LIMIT_DISK_WRITE_CACHED, 0, true);
    time_writing(s, LIMIT_DISK_WRITE, O_DIRECT, true);
    time_writing(s, LIMIT_DISK_WRITE_AGAIN, O_DIRECT, false);
}

const struct probe probe_disk = {"disk", setup, round_once};
