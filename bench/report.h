/* report.h - rounds of rows become a table and JSON lines: medians, and ratios of pairs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench.h"

struct results {
    const struct config *config;
    unsigned rounds; /* done */
    bool have[ROUNDS_MAX][ENGINES_MAX][W_COUNT];
    struct row row[ROUNDS_MAX][ENGINES_MAX][W_COUNT];
    char machine[256];
    double harness_put_ns, harness_get_ns; /* what the bench itself costs an operation */
};

/* Measure the bench's own part: keys, values and checks without a store. */
void report_calibrate(struct results *r);

void report_head(const struct results *r);  /* what is measured and how, before it begins */
void report_table(const struct results *r); /* to standard output */

/* One line for each workload and engine to config->json_path. False: it could not be written. */
bool report_json(const struct results *r);

/* Write `text` as a JSON string, quotes included. `file` is a FILE. */
void json_string(void *file, const char *text);

#endif
