/* results.h - the rows of one set: medians over the rounds, and ratios of pairs. */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include "bench.h"
#include "sets.h"

struct results {
    const struct config *config;
    const char *machine;
    unsigned set_no;
    struct set set;  /* as it was run */
    bool fenced;     /* a cold set had its memory limited */
    unsigned rounds; /* done */
    double seconds;  /* they took, all together */
    bool have[ROUNDS_MAX][ENGINES_MAX][W_COUNT];
    struct row row[ROUNDS_MAX][ENGINES_MAX][W_COUNT];
};

struct spread {
    unsigned count; /* 0: there are no values, and the rest is -1 */
    double median, min, max;
};

/* Of `values`, which are sorted. */
struct spread spread_of(double *values, unsigned count);

/* Of the double that lies `field` bytes into the rows; rounds where it does not apply are left out.
 */
struct spread spread_field(const struct results *r, unsigned engine, unsigned workload,
                           size_t field);
#define SPREAD(r, engine, workload, field)                                                         \
    spread_field(r, engine, workload, offsetof(struct row, field))

/* Rates of engine `a` in row `wa` over those of `b` in `wb`, round by round. */
struct spread spread_ratio(const struct results *r, unsigned a, unsigned wa, unsigned b,
                           unsigned wb);

/* The peer with the highest median rate among those that promise less in this row, or among those
 * that do not; engine_count: there is none. */
unsigned best_of_peers(const struct results *r, unsigned workload, bool weaker);

/* The one to compare with: of those that do not if there are any. */
unsigned best_peer(const struct results *r, unsigned workload);

bool row_is_empty(const struct results *r, unsigned workload);
bool any_cut(const struct results *r, unsigned engine, unsigned workload);

#endif
