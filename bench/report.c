/* report.c - what the rounds say together.
 *
 * A figure is the median over the rounds. A ratio is taken within each round, of two engines that
 * ran within minutes of each other, and the median of these is given with their extremes: a slow
 * quarter of an hour of the machine then slows both sides of each pair. The best peer is the one
 * whose median rate is highest in that row. */
#include "report.h"

#include "clock.h"
#include "data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_MIN 10
#define LATENCY_COLUMN_MIN 24
#define LABEL_WIDTH 24

const char *const workload_names[W_COUNT] = {
    [W_FILLSEQ] = "fillseq",
    [W_FILLSYNC] = "fillsync",
    [W_FILLSYNC_MANY] = "fillsync-16",
    [W_FILLRANDOM] = "fillrandom",
    [W_OVERWRITE] = "overwrite",
    [W_LOAD] = "load",
    [W_READRANDOM] = "readrandom",
    [W_READMISSING] = "readmissing",
    [W_MULTIGET] = "multiget-32",
    [W_SEEKRANDOM] = "seekrandom-10",
    [W_READSEQ] = "readseq",
    [W_READREVERSE] = "readreverse",
    [W_READWHILEWRITING] = "readwhilewriting",
    [W_WRITER] = "readwhilewriting-writer",
    [W_DELETERANDOM] = "deleterandom",
};

/* ------------------------------------------------------------------ medians -- */

struct spread {
    unsigned count;
    double median, min, max;
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct spread spread_of(double *values, unsigned count)
{
    struct spread s = {.count = count, .median = -1, .min = -1, .max = -1};

    if (count == 0)
        return s;
    qsort(values, count, sizeof(*values), by_size);
    s.min = values[0];
    s.max = values[count - 1];
    s.median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    return s;
}

/* Of the double that lies `field` bytes into the rows; rounds where it does not apply are left out.
 */
static struct spread spread_field(const struct results *r, unsigned engine, unsigned workload,
                                  size_t field)
{
    double values[ROUNDS_MAX];
    unsigned count = 0;

    for (unsigned round = 0; round < r->rounds; round++) {
        double v;

        if (!r->have[round][engine][workload])
            continue;
        memcpy(&v, (const uint8_t *)&r->row[round][engine][workload] + field, sizeof(v));
        if (v >= 0)
            values[count++] = v;
    }
    return spread_of(values, count);
}
#define SPREAD(r, engine, workload, field)                                                         \
    spread_field(r, engine, workload, offsetof(struct row, field))

/* Rates of engine `a` over those of `b`, round by round. */
static struct spread spread_ratio(const struct results *r, unsigned a, unsigned b,
                                  unsigned workload)
{
    double values[ROUNDS_MAX];
    unsigned count = 0;

    for (unsigned round = 0; round < r->rounds; round++)
        if (r->have[round][a][workload] && r->have[round][b][workload] &&
            r->row[round][b][workload].ops_per_s > 0)
            values[count++] =
                r->row[round][a][workload].ops_per_s / r->row[round][b][workload].ops_per_s;
    return spread_of(values, count);
}

/* The peer with the highest median; engine_count: there is none. */
static unsigned best_peer(const struct results *r, unsigned workload)
{
    unsigned best = r->config->engine_count;
    double best_rate = -1;

    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s = SPREAD(r, e, workload, ops_per_s);

        if (!r->config->engine[e]->ours && s.count > 0 && s.median > best_rate) {
            best = e;
            best_rate = s.median;
        }
    }
    return best;
}

static bool any_cut(const struct results *r, unsigned engine, unsigned workload)
{
    for (unsigned round = 0; round < r->rounds; round++)
        if (r->have[round][engine][workload] && r->row[round][engine][workload].cut)
            return true;
    return false;
}

/* ------------------------------------------------------------------ what the bench costs -- */

void report_calibrate(struct results *r)
{
    enum { TIMES = 400000 };
    struct data d;
    uint8_t key[KEY_BYTES], *value = must_alloc(r->config->value_bytes);
    uint64_t begun, random = 1, good = 0;

    data_init(&d, r->config->num, r->config->value_bytes, r->config->random_keys);
    begun = clock_ns();
    for (uint64_t i = 0; i < TIMES; i++) {
        uint64_t slot = 2 * shuffled(i % d.num, d.num, 7);

        key_make(&d, slot, key);
        value_make(&d, slot, 0, value);
        good += value[0] & key[15] & 1u;
    }
    r->harness_put_ns = (double)(clock_ns() - begun) / TIMES;
    begun = clock_ns();
    for (uint64_t i = 0; i < TIMES; i++) {
        uint64_t slot = 2 * random_below(&random, d.num);

        key_make(&d, slot, key);
        good += value_is_of(&d, slot, (struct bytes){value, d.value_bytes}) & key[15];
    }
    r->harness_get_ns = (double)(clock_ns() - begun) / TIMES;
    if (good == UINT64_MAX) /* never; it keeps the loops from being left out */
        (void)puts("");
    free(value);
    data_done(&d);
}

/* ------------------------------------------------------------------ the table -- */

void report_head(const struct results *r)
{
    const struct config *c = r->config;

    (void)printf("%s\ncommit %s\n", r->machine, c->commit);
    (void)printf("%" PRIu64 " entries, %s keys of %u bytes, values of %u bytes, %u thread%s; "
                 "%.3g s for rows bounded by time; up to %u rounds in turns\n",
                 c->num, c->random_keys ? "random" : "decimal", KEY_BYTES, c->value_bytes,
                 c->threads, c->threads == 1 ? "" : "s", c->seconds, c->rounds);
    (void)printf("cache %" PRIu64 " MiB, write buffer %" PRIu64 " MiB; the bench itself costs "
                 "%.0f ns a put and %.0f ns a get\n",
                 c->cache_bytes >> 20, c->write_buffer_bytes >> 20, r->harness_put_ns,
                 r->harness_get_ns);
    for (unsigned e = 0; e < c->engine_count; e++)
        (void)printf("  %-17s %s; %s\n", c->engine[e]->name, c->engine[e]->adapter->version(),
                     c->engine[e]->what);
    (void)printf("\n");
    (void)fflush(stdout);
}

static int column_width(const struct results *r, unsigned engine, int at_least)
{
    int width = (int)strlen(r->config->engine[engine]->name) + 2;

    return width < at_least ? at_least : width;
}

static void print_names(const struct results *r, const char *title, int at_least)
{
    (void)printf("%-*s", LABEL_WIDTH, title);
    for (unsigned e = 0; e < r->config->engine_count; e++)
        (void)printf("%*s", column_width(r, e, at_least), r->config->engine[e]->name);
}

static bool row_is_empty(const struct results *r, unsigned workload)
{
    for (unsigned e = 0; e < r->config->engine_count; e++)
        if (SPREAD(r, e, workload, ops_per_s).count > 0)
            return false;
    return true;
}

/* "  6.1x leveldb (5.8-6.3)" for each of ours. */
static void print_ratios(const struct results *r, unsigned workload)
{
    unsigned peer = best_peer(r, workload);

    for (unsigned e = 0; e < r->config->engine_count && peer < r->config->engine_count; e++) {
        struct spread s;
        char text[80];

        if (!r->config->engine[e]->ours)
            continue;
        s = spread_ratio(r, e, peer, workload);
        if (s.count == 0)
            (void)snprintf(text, sizeof(text), "-");
        else
            (void)snprintf(text, sizeof(text), "%.2fx %s (%.2f-%.2f)", s.median,
                           r->config->engine[peer]->name, s.min, s.max);
        (void)printf("  %-32s", text);
    }
}

static void print_rates(const struct results *r)
{
    print_names(r, "thousand ops a second", COLUMN_MIN);
    for (unsigned e = 0; e < r->config->engine_count; e++)
        if (r->config->engine[e]->ours && best_peer(r, W_LOAD) < r->config->engine_count)
            (void)printf("  %s / best peer%*s", r->config->engine[e]->name,
                         20 - (int)strlen(r->config->engine[e]->name), "");
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++) {
        if (row_is_empty(r, w))
            continue;
        (void)printf("%-*s", LABEL_WIDTH, workload_names[w]);
        for (unsigned e = 0; e < r->config->engine_count; e++) {
            struct spread s = SPREAD(r, e, w, ops_per_s);
            int width = column_width(r, e, COLUMN_MIN);

            if (s.count == 0)
                (void)printf("%*s", width, "-");
            else
                (void)printf("%*.1f%s", width - (any_cut(r, e, w) ? 1 : 0), s.median / 1e3,
                             any_cut(r, e, w) ? "*" : "");
        }
        print_ratios(r, w);
        (void)printf("\n");
    }
    (void)printf(
        "multiget-32 counts keys; seekrandom-10 counts seeks; load is fillrandom, overwrite "
        "and all compaction after them; * ended early by --write-seconds\n\n");
}

/* Three digits, and no more than the number has. */
static void put_us(char *text, size_t room, double us)
{
    (void)snprintf(text, room, "%.*f", us < 10 ? 2 : us < 100 ? 1 : 0, us);
}

static void print_latencies(const struct results *r)
{
    print_names(r, "p50/p99/p99.9 us", LATENCY_COLUMN_MIN);
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++) {
        if (w == W_LOAD || row_is_empty(r, w))
            continue;
        (void)printf("%-*s", LABEL_WIDTH, workload_names[w]);
        for (unsigned e = 0; e < r->config->engine_count; e++) {
            struct spread p50 = SPREAD(r, e, w, p50_us), p99 = SPREAD(r, e, w, p99_us);
            struct spread p999 = SPREAD(r, e, w, p999_us);
            char text[64] = "-", a[20], b[20], c[20];

            if (p50.count > 0) {
                put_us(a, sizeof(a), p50.median);
                put_us(b, sizeof(b), p99.median);
                put_us(c, sizeof(c), p999.median);
                (void)snprintf(text, sizeof(text), "%s/%s/%s", a, b, c);
            }
            (void)printf("%*s", column_width(r, e, LATENCY_COLUMN_MIN), text);
        }
        (void)printf("\n");
    }
    (void)printf("multiget-32 is timed by the call of 32 keys\n\n");
}

static void print_cost(const struct results *r, const char *label, unsigned workload, size_t field,
                       double unit, int decimals)
{
    bool any = false;

    for (unsigned e = 0; e < r->config->engine_count; e++)
        any = any || spread_field(r, e, workload, field).count > 0;
    if (!any)
        return;
    (void)printf("%-*s", LABEL_WIDTH, label);
    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s = spread_field(r, e, workload, field);
        int width = column_width(r, e, COLUMN_MIN);

        if (s.count == 0)
            (void)printf("%*s", width, "-");
        else
            (void)printf("%*.*f", width, decimals, s.median / unit);
    }
    (void)printf("\n");
}
#define COST(r, label, workload, field, unit, decimals)                                            \
    print_cost(r, label, workload, offsetof(struct row, field), unit, decimals)

static void print_cpu(const struct results *r)
{
    print_names(r, "processor us an op", COLUMN_MIN);
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++)
        COST(r, workload_names[w], w, cpu_us_per_op, 1, 3);
    (void)printf(
        "of all threads, the bench's and those of the background until they are quiet\n\n");
}

static void print_costs(const struct results *r)
{
    const double mib = 1 << 20;

    print_names(r, "what it costs", COLUMN_MIN);
    (void)printf("\n");
    COST(r, "written/put fillseq", W_FILLSEQ, bytes_written_per_byte_put, 1, 2);
    COST(r, "written/put fillrandom", W_FILLRANDOM, bytes_written_per_byte_put, 1, 2);
    COST(r, "written/put overwrite", W_OVERWRITE, bytes_written_per_byte_put, 1, 2);
    COST(r, "written/put load", W_LOAD, bytes_written_per_byte_put, 1, 2);
    COST(r, "settling s", W_LOAD, settle_seconds, 1, 1);
    COST(r, "disk settled MiB", W_LOAD, disk_bytes, mib, 0);
    COST(r, "load RSS peak MiB", W_LOAD, peak_rss_bytes, mib, 0);
    COST(r, "load heap peak MiB", W_LOAD, peak_anon_bytes, mib, 0);
    COST(r, "read RSS peak MiB", W_READRANDOM, peak_rss_bytes, mib, 0);
    COST(r, "read heap peak MiB", W_READRANDOM, peak_anon_bytes, mib, 0);
    COST(r, "longest put ms", W_OVERWRITE, max_us, 1e3, 1);
}

void report_table(const struct results *r)
{
    (void)printf("\nmedian of %u round%s\n", r->rounds, r->rounds == 1 ? "" : "s");
    print_rates(r);
    print_latencies(r);
    print_cpu(r);
    print_costs(r);
    (void)fflush(stdout);
}

/* ------------------------------------------------------------------ JSON -- */

void json_string(void *file, const char *text)
{
    FILE *f = file;

    (void)fputc('"', f);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fprintf(f, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            (void)fprintf(f, "\\u%04x", (unsigned)*text);
        else
            (void)fputc(*text, f);
    }
    (void)fputc('"', f);
}

static void json_number(FILE *f, const char *name, double value, int decimals)
{
    if (value >= 0)
        (void)fprintf(f, ",\"%s\":%.*f", name, decimals, value);
}

static void json_ratios(FILE *f, const struct results *r, unsigned engine, unsigned workload)
{
    bool first = true;

    if (!r->config->engine[engine]->ours)
        return;
    (void)fprintf(f, ",\"ratio_to\":{");
    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s = spread_ratio(r, engine, e, workload);

        if (r->config->engine[e]->ours || s.count == 0)
            continue;
        (void)fprintf(f, "%s\"%s\":{\"median\":%.4f,\"min\":%.4f,\"max\":%.4f}", first ? "" : ",",
                      r->config->engine[e]->name, s.median, s.min, s.max);
        first = false;
    }
    (void)fprintf(f, "}");
}

static void json_line(FILE *f, const struct results *r, unsigned e, unsigned w)
{
    const struct config *c = r->config;
    struct spread rate = SPREAD(r, e, w, ops_per_s);

    (void)fprintf(f, "{\"workload\":\"%s\",\"engine\":\"%s\",\"version\":\"%s\",\"rounds\":%u",
                  workload_names[w], c->engine[e]->name, c->engine[e]->adapter->version(),
                  rate.count);
    json_number(f, "ops_per_s", rate.median, 1);
    json_number(f, "ops_per_s_min", rate.min, 1);
    json_number(f, "ops_per_s_max", rate.max, 1);
    json_number(f, "seconds", SPREAD(r, e, w, seconds).median, 3);
    json_number(f, "p50_us", SPREAD(r, e, w, p50_us).median, 3);
    json_number(f, "p99_us", SPREAD(r, e, w, p99_us).median, 3);
    json_number(f, "p999_us", SPREAD(r, e, w, p999_us).median, 3);
    json_number(f, "max_us", SPREAD(r, e, w, max_us).median, 3);
    json_number(f, "cpu_us_per_op", SPREAD(r, e, w, cpu_us_per_op).median, 4);
    json_number(f, "bytes_written_per_byte_put", SPREAD(r, e, w, bytes_written_per_byte_put).median,
                3);
    json_number(f, "settle_seconds", SPREAD(r, e, w, settle_seconds).median, 3);
    json_number(f, "disk_bytes", SPREAD(r, e, w, disk_bytes).median, 0);
    json_number(f, "peak_rss_bytes", SPREAD(r, e, w, peak_rss_bytes).median, 0);
    json_number(f, "peak_anon_bytes", SPREAD(r, e, w, peak_anon_bytes).median, 0);
    json_ratios(f, r, e, w);
    (void)fprintf(f, ",\"cut\":%s,\"num\":%" PRIu64 ",\"key_bytes\":%u,\"value_bytes\":%u",
                  any_cut(r, e, w) ? "true" : "false", c->num, KEY_BYTES, c->value_bytes);
    (void)fprintf(f, ",\"keys\":\"%s\",\"threads\":%u,\"cache_bytes\":%" PRIu64,
                  c->random_keys ? "random" : "decimal",
                  w == W_FILLSYNC        ? 1
                  : w == W_FILLSYNC_MANY ? SYNC_THREADS
                                         : c->threads,
                  c->cache_bytes);
    (void)fprintf(f, ",\"write_buffer_bytes\":%" PRIu64 ",\"commit\":", c->write_buffer_bytes);
    json_string(f, c->commit);
    (void)fprintf(f, ",\"machine\":");
    json_string(f, r->machine);
    (void)fprintf(f, "}\n");
}

bool report_json(const struct results *r)
{
    FILE *f;
    bool written;

    if (r->config->json_path == NULL)
        return true;
    f = fopen(r->config->json_path, "w");
    if (f == NULL) {
        (void)fprintf(stderr, "quern-bench: %s: %s\n", r->config->json_path, strerror(errno));
        return false;
    }
    for (unsigned w = 0; w < W_COUNT; w++)
        for (unsigned e = 0; e < r->config->engine_count; e++)
            if (SPREAD(r, e, w, ops_per_s).count > 0)
                json_line(f, r, e, w);
    written = ferror(f) == 0;
    return fclose(f) == 0 && written;
}
