/* report.c - the tables of one set: rates with ratios, latencies, processor time, and what it
 * costs. A rate that is not like the others in its row has a letter, and the letter a line below
 * the table. The ratio is to the peer whose median rate is highest among those that promise as
 * much, or among all when none does. */
#include "report.h"

#include "clock.h"
#include "data.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_MIN 10
#define LATENCY_COLUMN_MIN 24
#define LABEL_WIDTH 27
#define SUFFIX_WIDTH 2
#define REASONS_MAX 16
#define CALIBRATE_TIMES 400000
#define CALIBRATE_BYTES (UINT64_C(256) << 20)

/* ------------------------------------------------------------------ heads -- */

void report_head(const struct config *c, const char *machine)
{
    (void)printf("%s\ncommit %s; up to %u rounds in turns, planned for %.0f minutes\n", machine,
                 c->commit, c->rounds, plan_seconds(c) / 60);
    for (unsigned e = 0; e < c->engine_count; e++)
        (void)printf("  %-17s %s; %s\n", c->engine[e]->name, c->engine[e]->adapter->version(),
                     c->engine[e]->what);
    (void)printf("\n");
    (void)fflush(stdout);
}

/* What the bench itself costs an operation: keys, values and checks without a store. */
static void calibrate(const struct set *s, double *put_ns, double *get_ns)
{
    const uint64_t fits = CALIBRATE_BYTES / s->value_bytes;
    const uint64_t times = fits < CALIBRATE_TIMES ? fits : CALIBRATE_TIMES;
    struct data d;
    uint8_t key[KEY_BYTES_MAX], *value = must_alloc(s->value_bytes);
    uint64_t begun, random = 1;
    volatile uint64_t good = 0; /* keeps the loops from being left out */

    data_init(&d, s->num, s->key_bytes, s->value_bytes);
    begun = clock_ns();
    for (uint64_t i = 0; i < times; i++) {
        uint64_t slot = 2 * shuffled(i % d.num, d.num, 7);

        key_make(&d, slot, key);
        value_make(&d, slot, 0, value);
        good = good + value[0] + key[d.key_bytes - 1];
    }
    *put_ns = (double)(clock_ns() - begun) / (double)times;
    begun = clock_ns();
    for (uint64_t i = 0; i < times; i++) {
        uint64_t slot = 2 * random_below(&random, d.num);

        key_make(&d, slot, key);
        good = good + value_is_of(&d, slot, (struct bytes){value, d.value_bytes}) +
               key[d.key_bytes - 1];
    }
    *get_ns = (double)(clock_ns() - begun) / (double)times;
    free(value);
    data_done(&d);
}

static void print_set_head(const struct results *r)
{
    const struct set *s = &r->set;
    double put_ns, get_ns;

    calibrate(s, &put_ns, &get_ns);
    (void)printf("== %s: %s\n", s->name, s->what);
    (void)printf("%" PRIu64 " entries, keys of %u bytes, values of %u bytes, %.0f MiB; %u "
                 "thread%s; cache %.3g MiB, write buffer %.3g MiB; median of %u round%s\n",
                 s->num, s->key_bytes, s->value_bytes,
                 (double)(s->num * set_entry_bytes(s)) / (1 << 20), s->threads,
                 s->threads == 1 ? "" : "s", (double)s->cache_bytes / (1 << 20),
                 (double)s->write_buffer_bytes / (1 << 20), r->rounds, r->rounds == 1 ? "" : "s");
    if (s->cold)
        (void)printf("before each row the page cache is dropped; %s\n",
                     r->fenced ? "all memory of an engine, page cache included, is limited to "
                                 "cache, two write buffers and 24 MiB"
                               : "no memory cgroup can be made here, so it fills again in the row");
    (void)printf(
        "the bench itself costs %.0f ns a put and %.0f ns a get; a turn took %.0f s, planned "
        "for %.0f\n\n",
        put_ns, get_ns, r->seconds / (r->rounds * r->config->engine_count), set_turn_seconds(s));
}

/* ------------------------------------------------------------------ columns -- */

static int column_width(const struct results *r, unsigned engine, int at_least)
{
    int width = (int)strlen(r->config->engine[engine]->name) + 2;

    return width < at_least ? at_least : width;
}

static void print_names(const struct results *r, const char *title, int at_least, int suffix)
{
    (void)printf("%-*s", LABEL_WIDTH, title);
    for (unsigned e = 0; e < r->config->engine_count; e++)
        (void)printf("%*s%*s", column_width(r, e, at_least), r->config->engine[e]->name, suffix,
                     "");
}

/* Three digits at least, and no more decimals than that takes. */
static const char *number_text(char text[24], double n)
{
    (void)snprintf(text, 24, "%.*f", n < 1 ? 3 : n < 10 ? 2 : 1, n);
    return text;
}

/* ------------------------------------------------------------------ rates -- */

struct reasons {
    unsigned count;
    const char *text[REASONS_MAX];
};

/* The letter of why this engine's rate is not like the others'; 0: it is. */
static char letter_of(struct reasons *reasons, const struct results *r, unsigned engine,
                      unsigned workload)
{
    const char *why = apart_in(r->config->engine[engine], &r->set, workload).why;
    unsigned i = 0;

    if (why == NULL)
        return '\0';
    while (i < reasons->count && strcmp(reasons->text[i], why) != 0)
        i++;
    if (i == REASONS_MAX)
        return '?';
    if (i == reasons->count)
        reasons->text[reasons->count++] = why;
    return (char)('a' + (int)i);
}

/* "  6.10x leveldb (5.80-6.30)" for each of ours. */
static void print_ratios(struct reasons *reasons, const struct results *r, unsigned workload)
{
    unsigned peer = best_peer(r, workload);
    char letter[3] = " ";

    if (peer == r->config->engine_count)
        return;
    letter[1] = letter_of(reasons, r, peer, workload);
    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s;
        char text[80];

        if (!r->config->engine[e]->ours)
            continue;
        s = spread_ratio(r, e, workload, peer, workload);
        if (s.count == 0)
            (void)snprintf(text, sizeof(text), "-");
        else
            (void)snprintf(text, sizeof(text), "%.2fx %s%s (%.2f-%.2f)", s.median,
                           r->config->engine[peer]->name, letter[1] != '\0' ? letter : "", s.min,
                           s.max);
        (void)printf("  %-34s", text);
    }
}

static void print_rates(struct reasons *reasons, const struct results *r)
{
    bool cut = false;

    print_names(r, "thousand ops a second", COLUMN_MIN, SUFFIX_WIDTH);
    for (unsigned e = 0; e < r->config->engine_count; e++)
        if (r->config->engine[e]->ours)
            (void)printf("  %s / best peer%*s", r->config->engine[e]->name,
                         22 - (int)strlen(r->config->engine[e]->name), "");
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++) {
        if (row_is_empty(r, w))
            continue;
        (void)printf("%-*s", LABEL_WIDTH, workloads[w].name);
        for (unsigned e = 0; e < r->config->engine_count; e++) {
            struct spread s = SPREAD(r, e, w, ops_per_s);
            char number[24], suffix[SUFFIX_WIDTH + 1] = {letter_of(reasons, r, e, w)};

            if (any_cut(r, e, w))
                suffix[strlen(suffix)] = '*';
            cut = cut || any_cut(r, e, w);
            (void)printf("%*s%-*s", column_width(r, e, COLUMN_MIN),
                         s.count == 0 ? "-" : number_text(number, s.median / 1e3), SUFFIX_WIDTH,
                         s.count == 0 ? "" : suffix);
        }
        print_ratios(reasons, r, w);
        (void)printf("\n");
    }
    for (unsigned i = 0; i < reasons->count; i++)
        (void)printf("%c  %s\n", 'a' + (int)i, reasons->text[i]);
    if (cut)
        (void)printf("*  ended by the limit of time before all was written\n");
    (void)printf("\n");
}

/* Say so unless engine `ours` is ahead of `peer` in every round. False: it was said. */
static bool is_ahead(const struct results *r, unsigned ours, unsigned peer, unsigned workload)
{
    struct spread s = spread_ratio(r, ours, workload, peer, workload);

    if (s.count == 0 || s.min > 1)
        return true;
    (void)printf(
        "%-*s%s %s, %.2fx (%.2f-%.2f)%s\n", LABEL_WIDTH, workloads[workload].name,
        s.max < 1 ? "behind" : "no clear lead over", r->config->engine[peer]->name, s.median, s.min,
        s.max,
        apart_in(r->config->engine[peer], &r->set, workload).weaker ? ", which promises less" : "");
    return false;
}

/* Where is a peer ahead, and where is it a tie? Of the first engine that is ours. */
static void print_standing(const struct results *r)
{
    const unsigned none = r->config->engine_count;
    unsigned ours = 0, rows = 0, ahead = 0;

    while (ours < none && !r->config->engine[ours]->ours)
        ours++;
    for (unsigned w = 0; w < W_COUNT && ours < none; w++) {
        unsigned peer = best_peer(r, w), weaker = best_of_peers(r, w, true);

        if (peer == none || SPREAD(r, ours, w, ops_per_s).count == 0)
            continue;
        rows++;
        ahead += is_ahead(r, ours, peer, w);
        if (weaker < none && weaker != peer)
            (void)is_ahead(r, ours, weaker, w);
    }
    if (rows > 0)
        (void)printf("%s is ahead of the best peer in every round in %u of %u rows\n\n",
                     r->config->engine[ours]->name, ahead, rows);
}

/* ------------------------------------------------------------------ latencies -- */

/* Three digits, and no more than the number has. */
static void put_us(char *text, size_t room, double us)
{
    (void)snprintf(text, room, "%.*f", us < 10 ? 2 : us < 100 ? 1 : 0, us);
}

static void print_latencies(const struct results *r)
{
    print_names(r, "p50/p99/p99.9 us", LATENCY_COLUMN_MIN, 0);
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++) {
        if (w == W_LOAD || w == W_RECOVERY || row_is_empty(r, w))
            continue;
        (void)printf("%-*s", LABEL_WIDTH, workloads[w].name);
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
    (void)printf("batches and multi-gets are timed by the call\n\n");
}

/* ------------------------------------------------------------------ costs -- */

typedef struct spread (*cost_fn)(const struct results *r, unsigned engine, unsigned workload,
                                 size_t field);

static void print_cost(const struct results *r, const char *label, cost_fn cost, unsigned workload,
                       size_t field, double unit, int decimals)
{
    bool any = false;

    for (unsigned e = 0; e < r->config->engine_count; e++)
        any = any || cost(r, e, workload, field).count > 0;
    if (!any)
        return;
    (void)printf("%-*s", LABEL_WIDTH, label);
    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s = cost(r, e, workload, field);
        int width = column_width(r, e, COLUMN_MIN);

        if (s.count == 0)
            (void)printf("%*s", width, "-");
        else
            (void)printf("%*.*f", width, decimals, s.median / unit);
    }
    (void)printf("\n");
}
#define COST(r, label, workload, field, unit, decimals)                                            \
    print_cost(r, label, spread_field, workload, offsetof(struct row, field), unit, decimals)

static void print_cpu(const struct results *r)
{
    print_names(r, "processor us an op", COLUMN_MIN, 0);
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++)
        COST(r, workloads[w].name, w, cpu_us_per_op, 1, 3);
    (void)printf(
        "of all threads, the bench's and those of the background until they are quiet\n\n");
}

/* How much slower is a walk over what was deleted than the one before? */
static struct spread scan_slowdown(const struct results *r, unsigned engine, unsigned workload,
                                   size_t field)
{
    (void)field;
    return spread_ratio(r, engine, W_READSEQ, engine, workload);
}

static void print_costs(const struct results *r)
{
    const double mib = 1 << 20, live = (double)(r->set.num * set_entry_bytes(&r->set));

    print_names(r, "what it costs", COLUMN_MIN, 0);
    (void)printf("\n");
    for (unsigned w = 0; w < W_COUNT; w++) {
        char label[64];

        (void)snprintf(label, sizeof(label), "written/put %s", workloads[w].name);
        COST(r, label, w, bytes_written_per_byte_put, 1, 2);
    }
    COST(r, "settling s", W_LOAD, settle_seconds, 1, 1);
    COST(r, "disk settled / live", W_LOAD, disk_bytes, live, 2);
    COST(r, "disk peak / live, random", W_FILLRANDOM, peak_disk_bytes, live, 2);
    COST(r, "disk peak / live, over", W_OVERWRITE, peak_disk_bytes, live, 2);
    COST(r, "load RSS peak MiB", W_LOAD, peak_rss_bytes, mib, 0);
    COST(r, "load heap peak MiB", W_LOAD, peak_anon_bytes, mib, 0);
    COST(r, "read RSS peak MiB", W_READRANDOM, peak_rss_bytes, mib, 0);
    COST(r, "read heap peak MiB", W_READRANDOM, peak_anon_bytes, mib, 0);
    COST(r, "longest put ms", W_OVERWRITE, max_us, 1e3, 1);
    COST(r, "recovery s", W_RECOVERY, seconds, 1, 2);
    COST(r, "recovery s a GB of log", W_RECOVERY, seconds, live / 1e9, 2);
    print_cost(r, "walk before / after", scan_slowdown, W_SCANDELETED, 0, 1, 2);
    (void)printf("\n");
}

void report_set(const struct results *r)
{
    struct reasons reasons = {0};

    print_set_head(r);
    print_rates(&reasons, r);
    print_standing(r);
    print_latencies(r);
    print_cpu(r);
    print_costs(r);
    report_floors(r);
    (void)fflush(stdout);
}
