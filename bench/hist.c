/* hist.c - quantiles from log-linear buckets.
 *
 *     value        0 .. 63 | 64 .. 127 | 128 .. 255 | 256 .. 511 | ...
 *     bucket       0 .. 63 | 64 .. 127 | 128 .. 191 | 192 .. 255 | ...
 *     bucket width       1 |         1 |          2 |          4 | ...
 */
#include "hist.h"

uint64_t hist_bucket_floor(unsigned bucket)
{
    unsigned group = bucket >> HIST_SUB_BITS;
    uint64_t within = bucket & ((1u << HIST_SUB_BITS) - 1);

    if (group == 0)
        return within;
    return (within + (1u << HIST_SUB_BITS)) << (group - 1);
}

void hist_merge(struct hist *into, const struct hist *from)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

double hist_quantile(const struct hist *h, double part)
{
    double wanted = part * (double)h->count;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        if (h->bucket[i] == 0)
            continue;
        seen += h->bucket[i];
        if ((double)seen >= wanted) {
            uint64_t from = hist_bucket_floor(i);
            uint64_t to = i + 1 < HIST_BUCKETS ? hist_bucket_floor(i + 1) - 1 : from;

            if (to > h->max)
                to = h->max;
            return ((double)from + (double)to) / 2;
        }
    }
    return 0;
}
