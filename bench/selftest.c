/* selftest.c - can the bench's own figures and checks be trusted? Speaks TAP. */
#include "bench.h"

#include "data.h"
#include "hist.h"
#include "results.h"
#include "sets.h"
#include "work.h"
#include "zipf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_no, failures;

static void tell(bool good, const char *promise)
{
    (void)printf("%sok %d - %s\n", good ? "" : "not ", ++test_no, promise);
    failures += !good;
}

static bool shuffle_is_whole(uint64_t n, uint64_t seed)
{
    uint8_t *seen = must_alloc(n);
    uint64_t moved = 0;
    bool good = true;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t x = shuffled(i, n, seed);

        good = good && x < n && seen[x]++ == 0;
        moved += x != i;
    }
    free(seen);
    return good && (n < 100 || moved > n / 2);
}

static void test_shuffles(void)
{
    bool good = true;

    for (uint64_t n = 1; n < 300; n++)
        good = good && shuffle_is_whole(n, n);
    tell(good && shuffle_is_whole(100000, 1) && shuffle_is_whole(131072, 2) &&
             shuffle_is_whole(131073, 3),
         "a shuffle has every number once");
}

static void test_buckets(void)
{
    bool good = true;

    for (unsigned i = 0; i + 1 < HIST_BUCKETS; i++) {
        uint64_t floor = hist_bucket_floor(i), next = hist_bucket_floor(i + 1);

        good = good && hist_bucket(floor) == i && hist_bucket(next - 1) == i && next > floor;
    }
    tell(good && hist_bucket(UINT64_MAX) == HIST_BUCKETS - 1,
         "histogram buckets neither overlap nor leave a gap");
}

static void test_quantiles(void)
{
    struct hist *h = must_alloc(sizeof(*h)), *sum = must_alloc(sizeof(*sum));
    double p50, p99;

    for (uint64_t i = 1; i <= 100000; i++)
        hist_add(h, i);
    hist_merge(sum, h);
    hist_merge(sum, h);
    p50 = hist_quantile(sum, 0.5);
    p99 = hist_quantile(sum, 0.99);
    tell(p50 > 49000 && p50 < 51000 && p99 > 97500 && p99 < 100001 && sum->max == 100000 &&
             sum->count == 200000,
         "quantiles are right to two in a hundred, also of a sum");
    free(h);
    free(sum);
}

static void test_keys(uint32_t key_bytes, const char *promise)
{
    struct data d;
    uint8_t a[KEY_BYTES_MAX], b[KEY_BYTES_MAX];
    bool good = true;

    data_init(&d, 1000, key_bytes, 100);
    for (uint64_t slot = 0; slot < 3000000; slot += slot < 5000 ? 1 : 997) {
        memset(a, 0, sizeof(a));
        key_make(&d, slot, a);
        key_make(&d, slot + 1, b);
        good = good && memcmp(a, b, key_bytes) < 0 && a[key_bytes - 1] != 0 &&
               (key_bytes == KEY_BYTES_MAX || a[key_bytes] == 0);
    }
    tell(good, promise);
    data_done(&d);
}

static void test_values(uint32_t value_bytes)
{
    struct data d;
    uint8_t *value = must_alloc(value_bytes);
    bool good = true;

    data_init(&d, 1000, KEY_BYTES, value_bytes);
    for (uint64_t slot = 0; slot < 1000; slot++) {
        struct bytes v = {value, value_bytes};

        value_make(&d, slot, slot % 7, value);
        good = good && value_is_of(&d, slot, v) && !value_is_of(&d, slot + 1, v);
        value[value_bytes - 1] ^= 1;
        good = good && !value_is_whole(&d, v);
        value[value_bytes - 1] ^= 1;
        value[value_bytes / 2] ^= 1;
        good = good && (value_bytes > 16 && value_bytes < 4096) == value_is_whole(&d, v);
        value[value_bytes / 2] ^= 1;
        v.len--;
        good = good && !value_is_whole(&d, v);
        v.data = NULL;
        good = good && !value_is_whole(&d, v);
    }
    tell(good, "a value of another key, a changed, a cut and a missing one are told apart");
    data_done(&d);
    free(value);
}

/* ------------------------------------------------------------------ draws after Zipf -- */

static void test_zipf(void)
{
    const uint64_t n = 100000;
    uint32_t *draws = zipf_draws(n, 1);
    uint64_t *seen = must_alloc(n * sizeof(*seen)), first_tenth = 0, inside = 0;
    double zeta = 0, expected_tenth = 0;

    for (uint64_t i = 1; i <= n; i++) {
        double part = pow((double)i, -ZIPF_EXPONENT);

        zeta += part;
        expected_tenth += i <= n / 10 ? part : 0;
    }
    for (uint32_t i = 0; i < ZIPF_DRAWS; i++) {
        inside += draws[i] < n;
        seen[draws[i] % n]++;
        first_tenth += draws[i] < n / 10;
    }
    tell(inside == ZIPF_DRAWS, "a rank lies among the entries");
    tell(fabs((double)seen[0] / ZIPF_DRAWS - 1 / zeta) < 0.002 &&
             fabs((double)seen[1] / ZIPF_DRAWS - pow(2, -ZIPF_EXPONENT) / zeta) < 0.002,
         "the first two ranks are drawn as often as Zipf's law says");
    tell(fabs((double)first_tenth / ZIPF_DRAWS - expected_tenth / zeta) < 0.02,
         "so is the first tenth of all");
    free(seen);
    free(draws);
}

/* ------------------------------------------------------------------ sets and plan -- */

static void test_workloads(void)
{
    bool named = true, runs = true;

    for (unsigned w = 0; w < W_COUNT; w++) {
        const struct workload *what = &workloads[w];
        bool has_jobs = what->runner == RUN_JOBS || what->runner == RUN_BESIDE;

        named = named && what->name != NULL && what->what != NULL;
        for (unsigned v = 0; v < w && named; v++)
            named = strcmp(what->name, workloads[v].name) != 0;
        runs = runs && (!has_jobs || what->op != NULL) &&
               (what->runner != RUN_BESIDE || workloads[w + 1].op != NULL) &&
               (!what->whole || what->bound != BY_TIME);
    }
    tell(named, "every workload has a name of its own");
    tell(runs, "every workload that has threads says what they do");
}

/* Steps that may stand once entries were added or deleted: they do not count what they walk over,
 * or know what is left. */
static bool follows_changes(enum workload_no w)
{
    return workloads[w].needs != S_SETTLED || workloads[w].hot || w == W_DELETERANDOM ||
           w == W_SCANDELETED || w == W_SEEKDELETED;
}

static bool set_is_sound(const struct set *s)
{
    bool changed = false, done[W_COUNT] = {false}, sound = s->steps[STEPS_MAX - 1].seconds <= 0;

    for (const struct step *step = s->steps; sound && step->seconds > 0; step++) {
        const struct workload *w = &workloads[step->workload];

        sound = w->runner != RUN_DERIVED && !done[step->workload] &&
                (!changed || follows_changes(step->workload)) &&
                (w->runner != RUN_RECOVERY || step == s->steps) && /* no threads of an engine yet */
                (!s->cold || w->needs == S_SETTLED) &&             /* filled by another process */
                (w->after == W_FILLSEQ || done[w->after]);
        done[step->workload] = true;
        if (w->needs != S_SETTLED)
            changed = false;
        else
            changed = changed || step->workload == W_DELETERANDOM ||
                      step->workload == W_DELETERANGE || (w->hot && w->writes);
    }
    return sound && (s->key_bytes == KEY_BYTES || s->key_bytes == PREFIXED_KEY_BYTES) &&
           s->value_bytes >= VALUE_BYTES_MIN && (s->cold || s->cache_bytes > 0);
}

static void test_sets(void)
{
    struct config c = {.rounds = 5, .engine_count = 5};
    struct config quick = {.rounds = 1, .engine_count = 5, .quick = true};
    struct config only = {.only = {[W_SCANDELETED] = true}}, small = {.num = 20000, .seconds = 0.1};
    bool sound = true, steady = true;
    unsigned kept = 0;

    for (unsigned w = 0; w < W_COUNT; w++)
        c.only[w] = quick.only[w] = small.only[w] = true;
    for (unsigned i = 0; i < set_count; i++) {
        struct set s = set_for(&c, i), tiny = set_for(&small, i), few = set_for(&only, i);
        uint64_t bytes = set_ops(&s, &workloads[W_OVERWRITE], 100) * set_entry_bytes(&s);

        c.set[i] = !sets[i].by_name;
        quick.set[i] = sets[i].in_quick;
        sound = sound && set_is_sound(&sets[i]);
        steady = steady && bytes >= 20 * s.write_buffer_bytes;
        for (const struct step *step = few.steps; step->seconds > 0; step++)
            kept += step->workload == W_DELETERANGE || step->workload == W_SCANDELETED ? 1 : 100;
        sound = sound && tiny.num >= 40 && tiny.num <= s.num;
    }
    tell(set_count <= SETS_MAX && sound,
         "in every set each row finds the entries that it counts on");
    tell(kept == 2, "a row that is asked for alone brings what it needs, and no more");
    tell(steady, "overwrite writes ten times what two write buffers hold");
    tell(plan_seconds(&c) < 2700 && plan_seconds(&c) > 1200,
         "five rounds of five engines are planned for what the plots leave of an hour");
    tell(plan_seconds(&quick) < 300, "and the quick run for less than five minutes");
}

static void test_ops(void)
{
    struct config c = {.num = 20000, .ops = 1000}, unbound = {.num = 20000};
    struct set s = set_for(&c, 0), free_set = set_for(&unbound, 0);
    struct bench b = {.set = &s, .batch = 100}, free_bench = {.set = &free_set, .batch = 100};
    struct job reads[2], calls[2], puts[2], free_reads[2];

    work_jobs(&b, &workloads[W_READRANDOM], 1, reads, 2);
    work_jobs(&b, &workloads[W_MULTIGET_32], 1, calls, 2);
    work_jobs(&b, &workloads[W_FILLRANDOM], 1, puts, 2);
    work_jobs(&free_bench, &workloads[W_READRANDOM], 1, free_reads, 2);
    tell(reads[0].to - reads[0].from == 1000 && reads[1].to - reads[1].from == 1000 &&
             calls[0].to == 32 && puts[0].to == 10000 && puts[1].to == 20000 &&
             free_reads[0].to == NO_END,
         "rows bounded by time end after --ops, those bounded by count do all the same");
}

static void test_ratios(void)
{
    double values[] = {5, 1, 3, 2};
    struct spread s = spread_of(values, 4), none = spread_of(values, 0);

    tell(s.median > 2.4 && s.median < 2.6 && s.min > 0.9 && s.min < 1.1 && s.max > 4.9 &&
             none.count == 0,
         "a median lies in the middle, between its extremes");
}

static void test_best_peer(void)
{
    static const struct adapter adapter;
    static const struct engine three[] = {{.name = "quern", .adapter = &adapter, .ours = true},
                                          {.name = "lmdb-writemap", .adapter = &adapter},
                                          {.name = "leveldb", .adapter = &adapter}};
    static const double rates[2][3] = {{10, 20, 5}, {8, 20, 4}};
    const struct config c = {.engine = {&three[0], &three[1], &three[2]}, .engine_count = 3};
    struct results *r = must_alloc(sizeof(*r));
    struct spread s;

    r->config = &c;
    r->rounds = 2;
    r->set = sets[0];
    for (unsigned round = 0; round < 2; round++)
        for (unsigned e = 0; e < 3; e++)
            for (unsigned w = 0; w < W_COUNT; w++) {
                r->have[round][e][w] = true;
                r->row[round][e][w].ops_per_s = rates[round][e];
            }
    s = spread_ratio(r, 0, W_FILLRANDOM, 2, W_FILLRANDOM);
    tell(best_peer(r, W_FILLRANDOM) == 2 && best_of_peers(r, W_FILLRANDOM, true) == 1 &&
             best_peer(r, W_READRANDOM) == 1 && best_peer(r, W_FILLSYNC) == 1,
         "a peer that promises less in a row is not the one to compare with, elsewhere it is");
    tell(s.count == 2 && s.min > 1.9 && s.min < 2.1 && s.max > 1.9 && s.max < 2.1,
         "a ratio is taken within each round");
    free(r);
}

int selftest_run(void)
{
    test_shuffles();
    test_buckets();
    test_quantiles();
    test_keys(KEY_BYTES, "keys of 16 bytes rise with their number, and fill 16 bytes");
    test_keys(PREFIXED_KEY_BYTES, "keys of 40 bytes do, and fill 40");
    test_values(16);
    test_values(100);
    test_values(5000);
    test_zipf();
    test_workloads();
    test_sets();
    test_ops();
    test_ratios();
    test_best_peer();
    (void)printf("1..%d\n", test_no);
    return failures == 0 ? 0 : 1;
}
