/* zipf.c - Zipf's law by the method of Gray and others (Quickly Generating Billion-Record Synthetic
 * Databases, 1994), which YCSB uses too: the sum of all likelihoods is taken once, and from then on
 * a uniform number becomes a rank by one power. The first two ranks are exact, the others follow a
 * smooth curve. */
#include "zipf.h"

#include "bench.h"
#include "data.h"

#include <math.h>

static double zeta(uint64_t n)
{
    double sum = 0;

    for (uint64_t i = 1; i <= n; i++)
        sum += pow((double)i, -ZIPF_EXPONENT);
    return sum;
}

uint32_t *zipf_draws(uint64_t n, uint64_t seed)
{
    const double theta = ZIPF_EXPONENT, all = zeta(n), two = zeta(2);
    const double alpha = 1 / (1 - theta);
    const double eta = (1 - pow(2.0 / (double)n, 1 - theta)) / (1 - two / all);
    uint32_t *draws = must_alloc(ZIPF_DRAWS * sizeof(*draws));
    uint64_t state = seed;

    for (uint32_t i = 0; i < ZIPF_DRAWS; i++) {
        double u = (double)(random_next(&state) >> 11) / 9007199254740992.0; /* 2^53 */
        uint64_t rank;

        if (u * all < 1)
            rank = 0;
        else if (u * all < two)
            rank = 1;
        else
            rank = (uint64_t)((double)n * pow(eta * u - eta + 1, alpha));
        draws[i] = (uint32_t)(rank < n ? rank : n - 1);
    }
    return draws;
}
