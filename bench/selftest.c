/* selftest.c - can the bench's own figures and checks be trusted? Speaks TAP. */
#include "bench.h"

#include "data.h"
#include "hist.h"

#include <inttypes.h>
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

static void test_keys(bool random_keys, const char *promise)
{
    struct data d;
    uint8_t a[KEY_BYTES], b[KEY_BYTES];
    unsigned rises = 0;

    data_init(&d, 1000, 100, random_keys);
    for (uint64_t slot = 0; slot < 2000; slot++) {
        key_make(&d, slot, a);
        key_make(&d, slot + 1, b);
        rises += memcmp(a, b, KEY_BYTES) < 0;
    }
    tell(random_keys ? rises > 800 && rises < 1200 : rises == 2000, promise);
    data_done(&d);
}

static void test_values(uint32_t value_bytes)
{
    struct data d;
    uint8_t *value = must_alloc(value_bytes);
    bool good = true;

    data_init(&d, 1000, value_bytes, false);
    for (uint64_t slot = 0; slot < 1000; slot++) {
        struct bytes v = {value, value_bytes};

        value_make(&d, slot, slot % 7, value);
        good = good && value_is_of(&d, slot, v) && !value_is_of(&d, slot + 1, v);
        value[value_bytes - 1] ^= 1;
        good = good && !value_is_whole(&d, v);
        value[value_bytes - 1] ^= 1;
        v.len--;
        good = good && !value_is_whole(&d, v);
        v.data = NULL;
        good = good && !value_is_whole(&d, v);
    }
    tell(good, "a value of another key, a changed, a cut and a missing one are told apart");
    data_done(&d);
    free(value);
}

int selftest_run(void)
{
    test_shuffles();
    test_buckets();
    test_quantiles();
    test_keys(false, "decimal keys rise with their number");
    test_keys(true, "random keys do not");
    test_values(16);
    test_values(100);
    test_values(5000);
    (void)printf("1..%d\n", test_no);
    return failures == 0 ? 0 : 1;
}
