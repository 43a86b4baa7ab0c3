/* test_histogram.c - what is counted of lengths of time: borders, errors, sums over threads; and the
 * clock that they are taken with. */
#include "base/histogram.h"
#include "base/thread.h"
#include "base/ticks.h"

#include "tap.h"

#include <string.h>
#include <time.h>

TEST(histogram_buckets_follow_one_another_without_gap)
{
    CHECK_EQ(histogram_floor(0), 0);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t first = histogram_floor(i), next = histogram_floor(i + 1);

        CHECK(next > first);
        CHECK_EQ(histogram_bucket(first), i);
        CHECK_EQ(histogram_bucket(next - 1), i);
        CHECK((next - first) * 8 <= first || next - first == 1); /* an eighth at most */
    }
    CHECK(histogram_floor(HISTOGRAM_BUCKETS) == UINT64_C(1) << HISTOGRAM_TOP_BITS);
    CHECK_EQ(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

/* Numbers that are spread over all magnitudes, the same in every run. */
static uint64_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 24 >> (*state >> 58) % 40;
}

TEST(histogram_counts_below_powers_of_two_are_exact)
{
    static struct histogram h;
    static struct histogram_sum sum;
    uint64_t below[HISTOGRAM_TOP_BITS + 1] = {0}, state = 1;

    for (int i = 0; i < 20000; i++) {
        uint64_t v = draw(&state);

        histogram_add(&h, v);
        for (unsigned bits = 0; bits <= HISTOGRAM_TOP_BITS; bits++)
            below[bits] += v < UINT64_C(1) << bits || bits == HISTOGRAM_TOP_BITS;
    }
    histogram_merge(&sum, &h);
    CHECK_EQ(sum.total, 20000);
    for (unsigned bits = 0; bits <= HISTOGRAM_TOP_BITS; bits++)
        CHECK_EQ(histogram_below(&sum, bits), below[bits]);
}

TEST(histogram_quantiles_are_at_most_a_sixteenth_off)
{
    static const double parts[] = {0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0};

    for (uint64_t scale = 1; scale < UINT64_C(1) << 26; scale *= 7) {
        struct histogram h;
        struct histogram_sum sum = {0};

        memset(&h, 0, sizeof(h));
        for (uint64_t v = 1; v <= 1000; v++)
            histogram_add(&h, v * scale);
        histogram_merge(&sum, &h);
        for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
            double truth = parts[i] * 1000 * (double)scale;
            double got = (double)histogram_quantile(&sum, parts[i]);

            CHECK(got >= truth * 15 / 16 - 1 && got <= truth * 17 / 16 + 1);
        }
    }
}

TEST(histogram_of_nothing_has_no_quantile)
{
    static const struct histogram_sum none;

    CHECK_EQ(histogram_quantile(&none, 0.5), 0);
    CHECK_EQ(histogram_below(&none, 20), 0);
}

#define ADDERS 3
#define ADDED 200000u

struct adder {
    pthread_t thread;
    struct histogram h;
    _Atomic bool *ready;
};

static void *add_many(void *arg)
{
    struct adder *a = arg;

    while (!atomic_load(a->ready))
        ;
    for (unsigned i = 0; i < ADDED; i++)
        histogram_add(&a->h, i);
    return NULL;
}

/* Each thread adds to its own; a reader that comes in between sees sums that only grow, and the
 * end has everything. */
TEST(histogram_sums_over_threads_lose_nothing_and_never_shrink)
{
    static struct adder adders[ADDERS];
    _Atomic bool ready = false;
    struct quern_error err;
    uint64_t before = 0;

    for (unsigned i = 0; i < ADDERS; i++) {
        adders[i].ready = &ready;
        CHECK(thread_start(&adders[i].thread, "adder", add_many, &adders[i], &err) == QUERN_OK);
    }
    atomic_store(&ready, true);
    for (unsigned round = 0; round < 200; round++) {
        static struct histogram_sum now;

        memset(&now, 0, sizeof(now));
        for (unsigned i = 0; i < ADDERS; i++)
            histogram_merge(&now, &adders[i].h);
        CHECK(now.total >= before);
        CHECK(histogram_below(&now, HISTOGRAM_TOP_BITS) == now.total);
        before = now.total;
    }
    for (unsigned i = 0; i < ADDERS; i++)
        (void)pthread_join(adders[i].thread, NULL);
    {
        static struct histogram_sum all, first;

        for (unsigned i = 0; i < ADDERS; i++)
            histogram_merge(&all, &adders[i].h);
        CHECK_EQ(all.total, ADDERS * ADDED);
        CHECK_EQ(histogram_below(&all, 10), ADDERS * 1024);
        histogram_merge(&first, &adders[0].h);
        histogram_less(&all, &first);
        CHECK_EQ(all.total, (ADDERS - 1) * ADDED);
        CHECK_EQ(histogram_below(&all, 10), (ADDERS - 1) * 1024);
    }
}

static uint64_t clock_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* What ticks say lies between what the clock said within and around them, to a thousandth. */
TEST(ticks_agree_with_the_systems_clock)
{
    uint64_t around, within, from, us;

    ticks_init();
    around = clock_us();
    from = ticks_now();
    within = clock_us();
    thread_sleep_ns(60000000);
    within = clock_us() - within;
    us = ticks_us(ticks_between(from, ticks_now()));
    around = clock_us() - around;
    CHECK(us + us / 1000 + 2 >= within);
    CHECK(us <= around + around / 1000 + 2);
    CHECK(ticks_us(ticks_of_us(1000000)) >= 999999 && ticks_us(ticks_of_us(1000000)) <= 1000000);
    CHECK_EQ(ticks_between(5, 3), 0);
}
