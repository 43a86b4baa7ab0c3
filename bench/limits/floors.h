/* floors.h - from the limits of a machine to the floor of a row of quern-bench: the time that one
 * operation takes at the least, by a model that can be read in a line. */
#ifndef LIMITS_FLOORS_H
#define LIMITS_FLOORS_H

#include "limits.h"

/* What the rows are run on. */
struct floor_shape {
    uint64_t num; /* entries */
    uint32_t key_bytes, value_bytes;
};

struct floor_row {
    const char *name;
    const char *model;
    /* `n`: of keys, steps or threads, where the row's name has a number. */
    double (*ns)(const struct limits *l, const struct floor_shape *s, unsigned n);
    unsigned n;
    enum limit program; /* that does it and no more, for 1M of 16 + 100 B; LIMIT_COUNT: none */
};

extern const struct floor_row floor_rows[];
extern const unsigned floor_row_count;

/* Nanoseconds for one operation of the row, as the bench counts them. NAN: no such row, or a limit
 * that its model needs is NAN. A limit that is larger never makes it less. */
double floor_ns(const struct limits *l, const char *row, const struct floor_shape *s);

#endif
