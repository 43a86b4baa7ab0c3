/* histogram.h - how often what length of time was taken, in a fixed number of buckets.
 *
 *      0 1 .. 7 | 8 9 .. 15 | 16 18 .. 30 | 32 36 .. 60 | ... up to 2^40
 *       exact   |   exact   |   of two    |   of four   |
 *
 * Each doubling is cut into eight buckets of one width: what is read from it is at most an eighth
 * wide, so its middle is at most a sixteenth off. Every power of two is a border. One thread adds,
 * with plain loads and stores; any thread may read meanwhile, and sees each number as it was at some
 * moment of the reading. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_CUT_BITS 3u
#define HISTOGRAM_TOP_BITS 40u
#define HISTOGRAM_BUCKETS ((HISTOGRAM_TOP_BITS - HISTOGRAM_CUT_BITS + 1) << HISTOGRAM_CUT_BITS)

struct histogram {
    _Atomic uint64_t count[HISTOGRAM_BUCKETS];
};

/* What several came to, for reading. */
struct histogram_sum {
    uint64_t count[HISTOGRAM_BUCKETS], total;
};

/* Add to a number that no other thread writes. */
static inline void count_own(_Atomic uint64_t *n, uint64_t by)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned top;

    if (value < 1u << HISTOGRAM_CUT_BITS)
        return (unsigned)value;
    if (value >> HISTOGRAM_TOP_BITS != 0)
        return HISTOGRAM_BUCKETS - 1;
    top = 63u - (unsigned)__builtin_clzll(value);
    return ((top - HISTOGRAM_CUT_BITS) << HISTOGRAM_CUT_BITS) +
           (unsigned)(value >> (top - HISTOGRAM_CUT_BITS));
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    count_own(&h->count[histogram_bucket(value)], 1);
}

/* The smallest value of a bucket; of HISTOGRAM_BUCKETS: 2^40. */
uint64_t histogram_floor(unsigned bucket);

void histogram_merge(struct histogram_sum *to, const struct histogram *from);
/* Take away what was there earlier. */
void histogram_less(struct histogram_sum *from, const struct histogram_sum *earlier);

/* How many values were below 2^bits: exact. */
uint64_t histogram_below(const struct histogram_sum *h, unsigned bits);

/* The value that `part` of all (0..1) do not exceed, to a sixteenth; 0 when there are none. */
uint64_t histogram_quantile(const struct histogram_sum *h, double part);

#endif
