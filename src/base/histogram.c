/* histogram.c - reading histograms. */
#include "base/histogram.h"

uint64_t histogram_floor(unsigned bucket)
{
    unsigned doubling = bucket >> HISTOGRAM_CUT_BITS;
    uint64_t step = bucket & ((1u << HISTOGRAM_CUT_BITS) - 1);

    if (doubling == 0)
        return step;
    return (step + (1u << HISTOGRAM_CUT_BITS)) << (doubling - 1);
}

void histogram_merge(struct histogram_sum *to, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&from->count[i], memory_order_relaxed);

        to->count[i] += n;
        to->total += n;
    }
}

void histogram_less(struct histogram_sum *from, const struct histogram_sum *earlier)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        from->count[i] -= earlier->count[i];
    from->total -= earlier->total;
}

uint64_t histogram_below(const struct histogram_sum *h, unsigned bits)
{
    unsigned end =
        bits >= HISTOGRAM_TOP_BITS ? HISTOGRAM_BUCKETS : histogram_bucket((uint64_t)1 << bits);
    uint64_t n = 0;

    for (unsigned i = 0; i < end; i++)
        n += h->count[i];
    return n;
}

uint64_t histogram_quantile(const struct histogram_sum *h, double part)
{
    double wanted = part * (double)h->total;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (h->count[i] > 0 && (double)seen >= wanted)
            return histogram_floor(i) + (histogram_floor(i + 1) - histogram_floor(i)) / 2;
    }
    return 0;
}
