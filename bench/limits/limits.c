/* limits.c - the names of the limits, their medians, and how they are told.
 *
 * Medians and not the best: a floor that the machine reaches once in ten rounds is none that a
 * store could stand on. The extremes are printed beside them. */
#include "limits.h"

#include "bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

const uint64_t working_set_bytes[WORKING_SETS] = {MIB, 32 * MIB, 256 * MIB, 1024 * MIB};

static const char *const memory_names[MEMORY_LIMITS] = {"read",     "copy",      "dependent",
                                                        "flight-8", "flight-16", "flight-32"};
static const char *const set_names[WORKING_SETS] = {"1M", "32M", "256M", "1G"};

/* What one step is; "byte" is told as GB a second too. */
static const struct {
    const char *name, *step, *what;
} about[LIMIT_COUNT] = {
    [LIMIT_LOG_MAPPED] = {"log-mapped", "record", "memcpy of 132 B into a log mapped and dirty"},
    [LIMIT_LOG_MAPPED_SYNCED] = {"log-mapped-synced", "record",
                                 "the same where a sync has cleaned the pages"},
    [LIMIT_LOG_MAPPED_ANEW] = {"log-mapped-anew", "record",
                               "the same file, in a mapping just made"},
    [LIMIT_LOG_HOLES] = {"log-holes", "record", "a mapping of a file whose blocks do not exist"},
    [LIMIT_LOG_WRITE] = {"log-write", "record", "write(2) of 132 B into the written file"},
    [LIMIT_SYNC_APPEND] = {"sync-append", "sync", "132 B at the end of a file, fdatasync"},
    [LIMIT_SYNC_APPEND_4] = {"sync-append-4", "sync", "4 records in one write"},
    [LIMIT_SYNC_APPEND_16] = {"sync-append-16", "sync", "16 records in one write"},
    [LIMIT_SYNC_WRITTEN] = {"sync-written", "sync", "132 B over written blocks, fdatasync"},
    [LIMIT_SYNC_WRITTEN_4] = {"sync-written-4", "sync", "4 records in one write"},
    [LIMIT_SYNC_WRITTEN_16] = {"sync-written-16", "sync", "16 records in one write"},
    [LIMIT_SYNC_DIRECT_4K] = {"sync-direct-4K", "sync", "O_DIRECT|O_DSYNC over written blocks"},
    [LIMIT_SYNC_DIRECT_16K] = {"sync-direct-16K", "sync", "the same, 16 KiB"},
    [LIMIT_SYNC_DIRECT_64K] = {"sync-direct-64K", "sync", "the same, 64 KiB"},
    [LIMIT_DISK_RANDOM_4K] = {"disk-random-4K", "read", "O_DIRECT, one at a time"},
    [LIMIT_DISK_RANDOM_4K_8] = {"disk-random-4K-8", "read", "8 threads"},
    [LIMIT_DISK_RANDOM_64K] = {"disk-random-64K", "read", "one at a time"},
    [LIMIT_DISK_RANDOM_64K_8] = {"disk-random-64K-8", "read", "8 threads"},
    [LIMIT_DISK_ROW_4K] = {"disk-row-4K", "byte", "reads in a row, one at a time"},
    [LIMIT_DISK_ROW_4K_8] = {"disk-row-4K-8", "byte", "8 threads"},
    [LIMIT_DISK_ROW_64K] = {"disk-row-64K", "byte", "one at a time"},
    [LIMIT_DISK_ROW_64K_8] = {"disk-row-64K-8", "byte", "8 threads"},
    [LIMIT_DISK_WRITE] = {"disk-write", "byte", "1 MiB O_DIRECT into a new file, fdatasync"},
    [LIMIT_DISK_WRITE_AGAIN] = {"disk-write-again", "byte", "the same over written blocks"},
    [LIMIT_DISK_WRITE_CACHED] = {"disk-write-cached", "byte",
                                 "1 MiB write(2), a new file, fdatasync"},
    [LIMIT_XXH3_16] = {"xxh3-16", "key", "hash of a key"},
    [LIMIT_XXH3_132] = {"xxh3-132", "record", "checksum of a record"},
    [LIMIT_XXH3_4K] = {"xxh3-4K", "block", "checksum of 4 KiB"},
    [LIMIT_LZ4_4K] = {"lz4-4K", "block", "decompress to 4 KiB"},
    [LIMIT_ZSTD_4K] = {"zstd-4K", "block", "the same"},
    [LIMIT_WAKE_FUTEX] = {"wake-futex", "wake", "from futex wake to running on the other core"},
    [LIMIT_WAKE_SPIN] = {"wake-spin", "wake", "the same for a thread that spins"},
    [LIMIT_LOOKUP] = {"lookup", "key", "search among 1M heads, 8 a line, one value load"},
    [LIMIT_LOOKUP_32] = {"lookup-32", "key", "32 of them level by level, prefetched"},
    [LIMIT_SCAN] = {"scan", "entry", "walk over 1M packed entries of 116 B"},
    [LIMIT_SCAN_BACK] = {"scan-back", "entry", "the same backwards"},
    [LIMIT_INSERT] = {"insert", "record", "append to memory, checksum, memcpy to the log"},
};

static bool is_memory(enum limit limit)
{
    return limit <= LIMIT_MEMORY_LAST;
}

static unsigned memory_what(enum limit limit)
{
    return (unsigned)(limit - LIMIT_MEMORY_FIRST) / (PAGE_KINDS * WORKING_SETS);
}

void limit_name(enum limit limit, char name[LIMIT_NAME_BYTES])
{
    unsigned at = (unsigned)(limit - LIMIT_MEMORY_FIRST);

    if (is_memory(limit))
        (void)snprintf(name, LIMIT_NAME_BYTES, "memory-%s-%s%s", memory_names[memory_what(limit)],
                       set_names[at % WORKING_SETS],
                       at / WORKING_SETS % PAGE_KINDS == PAGES_HUGE ? "-huge" : "");
    else
        (void)snprintf(name, LIMIT_NAME_BYTES, "%s", about[limit].name);
}

static const char *step_of(enum limit limit)
{
    if (!is_memory(limit))
        return about[limit].step;
    return memory_what(limit) <= MEMORY_COPY ? "byte" : "load";
}

/* ------------------------------------------------------------------ samples -- */

void samples_add(struct samples *s, enum limit limit, uint64_t ns, double steps)
{
    if (s->count[limit] < ROUNDS_AT_MOST && steps > 0)
        s->ns[limit][s->count[limit]++] = (double)ns / steps;
}

struct hist *samples_hist(struct samples *s, enum limit limit)
{
    if (s->hist[limit] == NULL)
        s->hist[limit] = must_alloc(sizeof(*s->hist[limit]));
    return s->hist[limit];
}

void samples_done(struct samples *s)
{
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        free(s->hist[i]);
}

struct spread {
    double median, min, max; /* NAN: nothing was measured */
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct spread spread_of(const struct samples *s, enum limit limit)
{
    unsigned n = s->count[limit];
    double sorted[ROUNDS_AT_MOST];

    if (n == 0)
        return (struct spread){NAN, NAN, NAN};
    memcpy(sorted, s->ns[limit], n * sizeof(sorted[0]));
    qsort(sorted, n, sizeof(sorted[0]), compare_doubles);
    return (struct spread){(sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
}

void limits_of(const struct samples *s, struct limits *out)
{
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        out->ns[i] = spread_of(s, (enum limit)i).median;
}

/* ------------------------------------------------------------------ the table -- */

/* Bandwidth in GB/s, all else in ns; so the least time is the greatest bandwidth. */
static void memory_lines(const struct samples *s, enum memory_limit what, enum page_kind pages)
{
    bool bytes = what <= MEMORY_COPY;
    char label[LIMIT_NAME_BYTES];

    (void)snprintf(label, sizeof(label), "%s, %s", memory_names[what],
                   pages == PAGES_HUGE ? "huge pages" : "4 KiB pages");
    (void)printf("%-24s %-5s", label, bytes ? "GB/s" : "ns");
    for (unsigned set = 0; set < WORKING_SETS; set++) {
        struct spread t = spread_of(s, limit_memory(what, pages, set));
        char text[64];

        if (isnan(t.median))
            (void)snprintf(text, sizeof(text), "-");
        else
            (void)snprintf(text, sizeof(text), "%.1f (%.1f-%.1f)", bytes ? 1 / t.median : t.median,
                           bytes ? 1 / t.max : t.min, bytes ? 1 / t.min : t.max);
        (void)printf("  %20s", text);
    }
    (void)printf("\n");
}

static void memory_table(const struct samples *s)
{
    (void)printf("%-30s", "memory, working set");
    for (unsigned set = 0; set < WORKING_SETS; set++)
        (void)printf("  %17s %s", "", set_names[set]);
    (void)printf("\n");
    for (unsigned what = 0; what < MEMORY_LIMITS; what++)
        for (unsigned pages = 0; pages < PAGE_KINDS; pages++)
            memory_lines(s, (enum memory_limit)what, (enum page_kind)pages);
}

static void limit_line(const struct samples *s, enum limit limit)
{
    struct spread t = spread_of(s, limit);
    bool bytes = strcmp(about[limit].step, "byte") == 0;
    double unit = bytes || t.median < 10000 ? 1 : 1000;
    const char *unit_name = bytes ? "GB/s" : unit > 1 ? "us" : "ns";
    char spread[64];

    if (isnan(t.median)) {
        (void)printf("%-18s %9s      %-22s %-7s %s\n", about[limit].name, "-", "",
                     about[limit].step, about[limit].what);
        return;
    }
    (void)snprintf(spread, sizeof(spread), "(%.2f-%.2f)", bytes ? 1 / t.max : t.min / unit,
                   bytes ? 1 / t.min : t.max / unit);
    (void)printf("%-18s %9.2f %-4s %-22s %-7s %s\n", about[limit].name,
                 bytes ? 1 / t.median : t.median / unit, unit_name, spread, about[limit].step,
                 about[limit].what);
}

static void hist_lines(const struct samples *s)
{
    (void)printf("\n%-18s %10s %9s %9s %9s %9s  us, of all rounds\n", "", "a second", "p50", "p99",
                 "p99.9", "max");
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        if (s->hist[i] != NULL && s->hist[i]->count > 0)
            (void)printf("%-18s %10.0f %9.1f %9.1f %9.1f %9.1f\n", about[i].name,
                         1e9 / spread_of(s, (enum limit)i).median,
                         hist_quantile(s->hist[i], 0.5) / 1e3,
                         hist_quantile(s->hist[i], 0.99) / 1e3,
                         hist_quantile(s->hist[i], 0.999) / 1e3, (double)s->hist[i]->max / 1e3);
}

void limits_table(const struct samples *s)
{
    memory_table(s);
    (void)printf("\n%-18s %9s %-4s %-22s %-7s\n", "limit", "median", "", "(least-most)", "of a");
    for (unsigned i = LIMIT_MEMORY_LAST + 1; i < LIMIT_COUNT; i++)
        limit_line(s, (enum limit)i);
    hist_lines(s);
}

/* ------------------------------------------------------------------ JSON lines -- */

void limits_json(void *file, const struct samples *s)
{
    FILE *f = file;

    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        struct spread t = spread_of(s, (enum limit)i);
        char name[LIMIT_NAME_BYTES];

        if (isnan(t.median))
            continue;
        limit_name((enum limit)i, name);
        (void)fprintf(f,
                      "{\"limit\":\"%s\",\"median_ns\":%.6g,\"min_ns\":%.6g,\"max_ns\":%.6g,"
                      "\"step\":\"%s\",\"rounds\":%u",
                      name, t.median, t.min, t.max, step_of((enum limit)i), s->count[i]);
        if (s->hist[i] != NULL && s->hist[i]->count > 0)
            (void)fprintf(f,
                          ",\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"longest_us\":%.3f,"
                          "\"steps\":%" PRIu64,
                          hist_quantile(s->hist[i], 0.5) / 1e3,
                          hist_quantile(s->hist[i], 0.99) / 1e3,
                          hist_quantile(s->hist[i], 0.999) / 1e3, (double)s->hist[i]->max / 1e3,
                          s->hist[i]->count);
        (void)fprintf(f, "}\n");
    }
}

static enum limit limit_by_name(const char *name)
{
    unsigned i;

    for (i = 0; i < LIMIT_COUNT; i++) {
        char candidate[LIMIT_NAME_BYTES];

        limit_name((enum limit)i, candidate);
        if (strcmp(candidate, name) == 0)
            break;
    }
    return (enum limit)i;
}

bool limits_read(void *file, struct limits *out)
{
    char line[1024], name[LIMIT_NAME_BYTES];
    bool found = false;
    double ns;

    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        out->ns[i] = NAN;
    while (fgets(line, sizeof(line), file) != NULL) {
        enum limit limit = LIMIT_COUNT;

        if (sscanf(line, "{\"limit\":\"%39[^\"]\",\"median_ns\":%lf", name, &ns) == 2)
            limit = limit_by_name(name);
        if (limit == LIMIT_COUNT)
            continue;
        out->ns[limit] = ns;
        found = true;
    }
    return found;
}
