/* report.h - results become tables and JSON lines. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "results.h"

#include <stdio.h>

/* What is measured and how, before it begins. */
void report_head(const struct config *config, const char *machine);

/* The tables of one set, to standard output. */
void report_set(const struct results *r);

/* report_json.c: the lines of one set. For each row and engine one for each round, with "round" as
 * a number, and one of the medians, with "round":null and the ratios. `json` NULL: none. */
void report_json(FILE *json, const struct results *r);

/* report_floor.c: how far each row of the first engine that is ours is from its floor. */
void report_floors(const struct results *r);

#endif
