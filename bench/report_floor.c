/* report_floor.c - a set's last table: what the machine could do at best, and what part of it is done.
 *
 * The floor of a row is a model of limits/floors.c, in nanoseconds for one operation of one thread. On
 * a set with several threads it is taken as if they were not in each other's way; rows that say how
 * many threads they have, have it in the model. */
#include "report.h"

#include "floors.h"

#include <math.h>
#include <string.h>

#define LABEL_WIDTH 27

/* Values so large have floors of their own names. */
static const struct {
    uint32_t value_bytes;
    const char *fill, *read;
} large[] = {{64 * 1024, "fill-64K", "read-64K"}, {1024 * 1024, "fill-1M", "read-1M"}};

static const char *large_name(uint32_t value_bytes, unsigned workload)
{
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        if (value_bytes != large[i].value_bytes)
            continue;
        if (workload == W_FILLRANDOM || workload == W_OVERWRITE)
            return large[i].fill;
        if (workload == W_READRANDOM)
            return large[i].read;
    }
    return NULL;
}

static double floor_rate(const struct results *r, unsigned workload)
{
    const struct set *s = &r->set;
    struct floor_shape shape = {s->num, s->key_bytes, s->value_bytes};
    const char *name = large_name(s->value_bytes, workload);
    unsigned threads = workloads[workload].threads == 0 ? s->threads : 1;
    char cold[64];

    if (name == NULL)
        name = workloads[workload].name;
    if (s->cold) {
        (void)snprintf(cold, sizeof(cold), "%s-cold", name);
        name = cold;
    }
    return threads * 1e9 / floor_ns(r->config->limits, name, &shape);
}

void report_floors(const struct results *r)
{
    unsigned ours = 0;
    bool any = false;

    while (ours < r->config->engine_count && !r->config->engine[ours]->ours)
        ours++;
    if (r->config->limits == NULL || ours == r->config->engine_count)
        return;
    for (unsigned w = 0; w < W_COUNT; w++) {
        struct spread s = SPREAD(r, ours, w, ops_per_s);
        double best = floor_rate(r, w);

        if (s.count == 0 || isnan(best))
            continue;
        if (!any)
            (void)printf("%-*s%12s%16s%8s\n", LABEL_WIDTH, "from the floor, k/s", "at best",
                         r->config->engine[ours]->name, "part");
        any = true;
        (void)printf("%-*s%12.1f%16.1f%8.2f\n", LABEL_WIDTH, workloads[w].name, best / 1e3,
                     s.median / 1e3, s.median / best);
    }
    if (any)
        (void)printf("\n");
}
