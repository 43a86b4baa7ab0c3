/* results.c - what the rounds say together.
 *
 * A figure is the median over the rounds. A ratio is taken within each round, of two engines that
 * ran within minutes of each other, and the median of these is given with their extremes: a slow
 * quarter of an hour of the machine then slows both sides of each pair. */
#include "results.h"

#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread spread_of(double *values, unsigned count)
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

struct spread spread_field(const struct results *r, unsigned engine, unsigned workload,
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

struct spread spread_ratio(const struct results *r, unsigned a, unsigned wa, unsigned b,
                           unsigned wb)
{
    double values[ROUNDS_MAX];
    unsigned count = 0;

    for (unsigned round = 0; round < r->rounds; round++)
        if (r->have[round][a][wa] && r->have[round][b][wb] && r->row[round][b][wb].ops_per_s > 0)
            values[count++] = r->row[round][a][wa].ops_per_s / r->row[round][b][wb].ops_per_s;
    return spread_of(values, count);
}

unsigned best_of_peers(const struct results *r, unsigned workload, bool weaker)
{
    unsigned best = r->config->engine_count;
    double best_rate = -1;

    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s = SPREAD(r, e, workload, ops_per_s);
        const struct engine *engine = r->config->engine[e];

        if (engine->ours || apart_in(engine, &r->set, workload).weaker != weaker)
            continue;
        if (s.count > 0 && s.median > best_rate) {
            best = e;
            best_rate = s.median;
        }
    }
    return best;
}

unsigned best_peer(const struct results *r, unsigned workload)
{
    unsigned best = best_of_peers(r, workload, false);

    return best < r->config->engine_count ? best : best_of_peers(r, workload, true);
}

bool row_is_empty(const struct results *r, unsigned workload)
{
    for (unsigned e = 0; e < r->config->engine_count; e++)
        if (SPREAD(r, e, workload, ops_per_s).count > 0)
            return false;
    return true;
}

bool any_cut(const struct results *r, unsigned engine, unsigned workload)
{
    for (unsigned round = 0; round < r->rounds; round++)
        if (r->have[round][engine][workload] && r->row[round][engine][workload].cut)
            return true;
    return false;
}
