/* hist.h - latencies in log-linear buckets: 64 to each power of two, so 1.6 % at worst. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 6
#define HIST_BUCKETS ((64 - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

struct hist {
    uint64_t count, max;
    uint64_t bucket[HIST_BUCKETS];
};

/* Below 64 each value has its own bucket; above, the 6 bits after the leading one choose it. */
static inline unsigned hist_bucket(uint64_t value)
{
    unsigned shift;

    if (value < (1u << HIST_SUB_BITS))
        return (unsigned)value;
    shift = 63u - HIST_SUB_BITS - (unsigned)__builtin_clzll(value);
    return ((shift + 1) << HIST_SUB_BITS) + ((unsigned)(value >> shift) - (1u << HIST_SUB_BITS));
}

static inline void hist_add(struct hist *h, uint64_t value)
{
    h->bucket[hist_bucket(value)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

/* The smallest value that falls into `bucket`. */
uint64_t hist_bucket_floor(unsigned bucket);

void hist_merge(struct hist *into, const struct hist *from);

/* The value below which `part` (0 to 1) of all lie, to the bucket's middle; 0 when empty. */
double hist_quantile(const struct hist *h, double part);

#endif
