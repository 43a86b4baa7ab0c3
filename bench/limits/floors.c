/* floors.c - the models. Each counts what cannot be spared by any store that keeps the promises of
 * the row: cache lines that are not near, bytes that must be moved or hashed, syncs, disk reads.
 *
 *     heads(n)   8 bytes an entry, for whatever finds the place of a key; the levels above them
 *                are in the near caches and cost nothing here
 *     data       keys and values, packed
 *     dep, fl-N  a dependent load, or one of N under way, in a working set of this size
 *     read       bytes one after the other, from memory to where they are used
 *     put        a record of the entry and 16 bytes: its checksum, its copy in a warm mapped log,
 *                and the entry's copy in memory
 *
 * Left out, so that a floor stays one: instructions that do none of this, comparing, versions, the
 * harness, and all that another core can do meanwhile. Working sets between those that were
 * measured are taken on a straight line over the logarithm of the size, of small and huge pages the
 * better. */
#include "floors.h"

#include <math.h>
#include <string.h>

#define HEAD_BYTES 8.0
#define RECORD_HEAD 16.0
#define MEMDB_HEADS (4.0 * 1048576) /* of a MemDB of 64 MiB with entries of 116 B, a few more */
#define FILTER_BYTES 1.25           /* 10 bits a key */
#define PAGE 4096.0
#define COLD 0.9 /* of the data is not in a cache of a tenth of it */
#define ZIPF 0.99

/* ------------------------------------------------------------------ memory -- */

static double memory_at(const struct limits *l, enum memory_limit what, unsigned set)
{
    /* fmin() passes over a NAN. */
    return fmin(l->ns[limit_memory(what, PAGES_SMALL, set)],
                l->ns[limit_memory(what, PAGES_HUGE, set)]);
}

/* Beyond the smallest and the largest working set measured, theirs. */
static double memory(const struct limits *l, enum memory_limit what, double bytes)
{
    double low, high, part;
    unsigned set = 0;

    while (set + 1 < WORKING_SETS && bytes > (double)working_set_bytes[set] &&
           !isnan(memory_at(l, what, set + 1)))
        set++;
    high = memory_at(l, what, set);
    if (set == 0 || bytes >= (double)working_set_bytes[set])
        return high;
    low = memory_at(l, what, set - 1);
    part = log(bytes / (double)working_set_bytes[set - 1]) /
           log((double)working_set_bytes[set] / (double)working_set_bytes[set - 1]);
    return low + part * (high - low);
}

static double entry(const struct floor_shape *s)
{
    return (double)s->key_bytes + s->value_bytes;
}

static double data(const struct floor_shape *s)
{
    return (double)s->num * entry(s);
}

static double heads(const struct floor_shape *s)
{
    return (double)s->num * HEAD_BYTES;
}

static double read_on(const struct limits *l, const struct floor_shape *s, double bytes)
{
    return bytes * memory(l, MEMORY_READ, data(s));
}

/* To find an entry: its head and itself. */
static double find(const struct limits *l, const struct floor_shape *s, enum memory_limit how)
{
    return memory(l, how, heads(s)) + memory(l, how, data(s));
}

/* To walk over an entry as the bench does, looking at its key and both ends of its value: the lines
 * that this touches. A whole line in between is there when 63 bytes more than one fit. */
static double step(const struct limits *l, const struct floor_shape *s)
{
    return read_on(l, s, entry(s) - fmax(0, s->value_bytes - 2 * 8.0 - 63));
}

/* ------------------------------------------------------------------ bytes -- */

/* Of two kinds of work that go on side by side, the longer. Unlike fmax() it keeps a NAN. */
static double side_by_side(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : fmax(a, b);
}

static double on_line(double x, double x0, double y0, double x1, double y1)
{
    return y0 + (x - x0) / (x1 - x0) * (y1 - y0);
}

static double checksum(const struct limits *l, double bytes)
{
    double h16 = l->ns[LIMIT_XXH3_16], h132 = l->ns[LIMIT_XXH3_132], h4k = l->ns[LIMIT_XXH3_4K];

    if (bytes <= 16)
        return h16;
    if (bytes <= RECORD_BYTES)
        return on_line(bytes, 16, h16, RECORD_BYTES, h132);
    if (bytes <= PAGE)
        return on_line(bytes, RECORD_BYTES, h132, PAGE, h4k);
    return bytes / PAGE * h4k;
}

static double put(const struct limits *l, double bytes)
{
    double record = bytes + RECORD_HEAD;

    return checksum(l, record) + record / RECORD_BYTES * l->ns[LIMIT_LOG_MAPPED] +
           bytes * memory(l, MEMORY_COPY, MEMDB_HEADS);
}

/* The place of a key in the MemDB. */
static double place(const struct limits *l, const struct floor_shape *s, enum memory_limit how)
{
    return memory(l, how, fmin(MEMDB_HEADS, heads(s)));
}

static double disk_read(const struct limits *l, double bytes, bool many)
{
    double small = l->ns[many ? LIMIT_DISK_RANDOM_4K_8 : LIMIT_DISK_RANDOM_4K];
    double large = l->ns[many ? LIMIT_DISK_RANDOM_64K_8 : LIMIT_DISK_RANDOM_64K];
    double pages = ceil(bytes / PAGE) * PAGE;

    if (pages > 16 * PAGE)
        return pages / (16 * PAGE) * large;
    return on_line(pages, PAGE, small, 16 * PAGE, large);
}

/* ------------------------------------------------------------------ writes -- */

static double fill_in_order(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return put(l, entry(s));
}

static double fill_shuffled(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return put(l, entry(s)) + place(l, s, MEMORY_DEPENDENT);
}

static double fill_batch(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return put(l, entry(s)) + place(l, s, MEMORY_FLIGHT_32);
}

static double delete_shuffled(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return put(l, s->key_bytes) + place(l, s, MEMORY_DEPENDENT);
}

/* The disk and the processor work side by side. */
static double load(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    double write = fmin(l->ns[LIMIT_DISK_WRITE], l->ns[LIMIT_DISK_WRITE_AGAIN]);

    (void)n;
    return side_by_side(fill_shuffled(l, s, 0),
                        2 * entry(s) * fmin(write, l->ns[LIMIT_DISK_WRITE_CACHED]));
}

static double sync_direct(const struct limits *l, double bytes)
{
    double pages = ceil(bytes / PAGE) * PAGE;
    double k4 = l->ns[LIMIT_SYNC_DIRECT_4K], k16 = l->ns[LIMIT_SYNC_DIRECT_16K];
    double k64 = l->ns[LIMIT_SYNC_DIRECT_64K];

    if (pages <= 4 * PAGE)
        return on_line(pages, PAGE, k4, 4 * PAGE, k16);
    if (pages <= 16 * PAGE)
        return on_line(pages, 4 * PAGE, k16, 16 * PAGE, k64);
    return pages / (16 * PAGE) * k64;
}

/* The other two ways were measured with short records: longer ones take no less. */
static double fill_synced(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    unsigned group = n >= 16 ? 2 : n >= 4 ? 1 : 0;
    double cached = fmin(l->ns[LIMIT_SYNC_WRITTEN + group], l->ns[LIMIT_SYNC_APPEND + group]);
    double sync = fmin(sync_direct(l, n * (entry(s) + RECORD_HEAD)), cached);

    return (n == 1 ? sync : sync + l->ns[LIMIT_WAKE_FUTEX]) / n;
}

/* ------------------------------------------------------------------ reads -- */

static double read_one(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return find(l, s, MEMORY_DEPENDENT) + read_on(l, s, s->value_bytes);
}

static double read_missing(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return checksum(l, s->key_bytes) + memory(l, MEMORY_DEPENDENT, (double)s->num * FILTER_BYTES);
}

/* The caches hold what is read most. So the entry that is k-th in favour costs what one of k such
 * entries costs; the k are taken by doublings, each at its least. The share of the first k is
 * (k^(1-z) - 1) / (n^(1-z) - 1) nearly. */
static double read_hot(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    double all = pow((double)s->num, 1 - ZIPF) - 1, before = 0, sum = 0;

    (void)n;
    for (double k = 1; k < (double)s->num; k *= 2) {
        struct floor_shape near = {(uint64_t)k, s->key_bytes, s->value_bytes};
        double share = (pow(fmin(2 * k, (double)s->num), 1 - ZIPF) - 1) / all;

        sum += (share - before) * read_one(l, &near, 0);
        before = share;
    }
    return sum;
}

static enum memory_limit under_way(unsigned n)
{
    return n >= 32 ? MEMORY_FLIGHT_32 : n >= 16 ? MEMORY_FLIGHT_16 : MEMORY_FLIGHT_8;
}

static double read_many(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    return find(l, s, under_way(n)) + read_on(l, s, s->value_bytes);
}

static double seek_and_walk(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    return find(l, s, MEMORY_DEPENDENT) + n * step(l, s);
}

static double walk(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return step(l, s);
}

static double count(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return 2 * memory(l, MEMORY_FLIGHT_8, heads(s));
}

static double read_beside_writer(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return read_one(l, s, 0) + place(l, s, MEMORY_DEPENDENT);
}

/* ------------------------------------------------------------------ not resident -- */

static double read_one_cold(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return COLD * (disk_read(l, entry(s), false) + checksum(l, fmax(entry(s), PAGE))) +
           read_one(l, s, 0);
}

static double read_many_cold(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    return COLD * (disk_read(l, entry(s), true) + checksum(l, fmax(entry(s), PAGE))) +
           read_many(l, s, n);
}

static double seek_cold(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    double bytes = (n + 1) * entry(s);

    return COLD * (disk_read(l, bytes, false) + checksum(l, fmax(bytes, PAGE))) +
           seek_and_walk(l, s, n);
}

static double walk_cold(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    double disk = fmin(l->ns[LIMIT_DISK_ROW_64K], l->ns[LIMIT_DISK_ROW_64K_8]);

    (void)n;
    return side_by_side(COLD * entry(s) * disk,
                        COLD * entry(s) / PAGE * checksum(l, PAGE) + step(l, s));
}

/* ------------------------------------------------------------------ mixtures, large values -- */

static double ycsb(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    double read = read_hot(l, s, 0), write = fill_shuffled(l, s, 0);

    switch (n) {
    case 'a':
        return 0.5 * read + 0.5 * write;
    case 'b':
    case 'd':
        return 0.95 * read + 0.05 * write;
    case 'c':
        return read;
    case 'e':
        return 0.95 * (read + 50 * step(l, s)) + 0.05 * write;
    default: /* f: half of the operations read, change and write */
        return read + 0.5 * write;
    }
}

static double queue(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    (void)n;
    return put(l, entry(s)) + put(l, s->key_bytes) + memory(l, MEMORY_DEPENDENT, 0);
}

/* As many bytes in values of n KiB. */
static struct floor_shape large(const struct floor_shape *s, unsigned n)
{
    struct floor_shape large = {0, s->key_bytes, n * 1024};

    large.num = (uint64_t)(data(s) / entry(&large)) + 1;
    return large;
}

static double fill_large(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    struct floor_shape of = large(s, n);

    return fill_shuffled(l, &of, 0);
}

static double read_large(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    struct floor_shape of = large(s, n);

    return read_one(l, &of, 0);
}

static double recover(const struct limits *l, const struct floor_shape *s, unsigned n)
{
    double record = entry(s) + RECORD_HEAD;
    double disk = fmin(l->ns[LIMIT_DISK_ROW_64K], l->ns[LIMIT_DISK_ROW_64K_8]);

    (void)n;
    return side_by_side(record * disk,
                        checksum(l, record) + entry(s) * memory(l, MEMORY_COPY, MEMDB_HEADS));
}

/* ------------------------------------------------------------------ the rows -- */

#define NONE LIMIT_COUNT

const struct floor_row floor_rows[] = {
    {"fillseq", "put", fill_in_order, 0, LIMIT_INSERT},
    {"fillrandom", "put + dep heads(MemDB)", fill_shuffled, 0, NONE},
    {"fillbatch", "put + fl-32 heads(MemDB)", fill_batch, 0, NONE},
    {"overwrite", "as fillrandom", fill_shuffled, 0, NONE},
    {"load", "as fillrandom; no less than 2 entries written to disk", load, 0, NONE},
    {"fillsync", "sync of a record, the fastest way", fill_synced, 1, NONE},
    {"fillsync-4", "(sync of 4 records + futex wake) / 4", fill_synced, 4, NONE},
    {"fillsync-16", "(sync of 16 records + futex wake) / 16", fill_synced, 16, NONE},
    {"deleterandom", "put of a key + dep heads(MemDB)", delete_shuffled, 0, NONE},
    {"readrandom", "dep heads + dep data + read value", read_one, 0, LIMIT_LOOKUP},
    {"readmissing", "XXH3 of the key + dep 10 bits a key", read_missing, 0, NONE},
    {"readhot", "as readrandom, the k-th in favour among k; zipfian 0.99", read_hot, 0, NONE},
    {"multiget-8", "fl-8 heads + fl-8 data + read value", read_many, 8, NONE},
    {"multiget-32", "fl-32 heads + fl-32 data + read value", read_many, 32, LIMIT_LOOKUP_32},
    {"multiget-128", "as multiget-32", read_many, 128, NONE},
    {"seekrandom-10", "dep heads + dep data + 10 steps of readseq", seek_and_walk, 10, NONE},
    {"seekrandom-10-reverse", "as seekrandom-10", seek_and_walk, 10, NONE},
    {"seekrandom-100", "dep heads + dep data + 100 steps", seek_and_walk, 100, NONE},
    {"seekrandom-100-reverse", "as seekrandom-100", seek_and_walk, 100, NONE},
    {"readseq", "read the lines looked at", walk, 0, LIMIT_SCAN},
    {"readreverse", "as readseq", walk, 0, LIMIT_SCAN_BACK},
    {"count", "2 bounds: fl-8 heads each", count, 0, NONE},
    {"readwhilewriting", "readrandom + dep heads(MemDB)", read_beside_writer, 0, NONE},
    {"readwhilewriting-writer", "as overwrite", fill_shuffled, 0, NONE},
    {"ycsb-a", "1/2 readhot, 1/2 overwrite", ycsb, 'a', NONE},
    {"ycsb-b", "95 % readhot, 5 % overwrite", ycsb, 'b', NONE},
    {"ycsb-c", "readhot", ycsb, 'c', NONE},
    {"ycsb-d", "95 % readhot, 5 % fillrandom", ycsb, 'd', NONE},
    {"ycsb-e", "95 % readhot + 50 steps, 5 % fillrandom", ycsb, 'e', NONE},
    {"ycsb-f", "readhot + 1/2 overwrite", ycsb, 'f', NONE},
    {"queue", "put + put of a key + near load", queue, 0, NONE},
    {"readrandom-cold", "0.9 x (disk 4K + XXH3) + readrandom", read_one_cold, 0, NONE},
    {"multiget-32-cold", "0.9 x (disk 4K, 8 threads, + XXH3) + multiget-32", read_many_cold, 32,
     NONE},
    {"seekrandom-10-cold", "0.9 x (disk 11 entries + XXH3) + seekrandom-10", seek_cold, 10, NONE},
    {"readseq-cold", "more of 0.9 x disk in a row, 0.9 x XXH3 + readseq", walk_cold, 0, NONE},
    {"fill-64K", "as fillrandom, values of 64 KiB", fill_large, 64, NONE},
    {"read-64K", "as readrandom, values of 64 KiB", read_large, 64, NONE},
    {"fill-1M", "as fillrandom, values of 1 MiB", fill_large, 1024, NONE},
    {"read-1M", "as readrandom, values of 1 MiB", read_large, 1024, NONE},
    {"recover", "of a record: more of disk in a row, XXH3 + copy", recover, 0, NONE},
};
const unsigned floor_row_count = sizeof(floor_rows) / sizeof(floor_rows[0]);

double floor_ns(const struct limits *l, const char *row, const struct floor_shape *s)
{
    for (unsigned i = 0; i < floor_row_count; i++)
        if (strcmp(floor_rows[i].name, row) == 0)
            return floor_rows[i].ns(l, s, floor_rows[i].n);
    return NAN;
}
