/* near.h - how near one word is to another, for "did you mean". */
#ifndef BASE_NEAR_H
#define BASE_NEAR_H

#include <stddef.h>

/* A word farther away than this is no typo of the other. */
#define NEAR_MAX 2

/* How many letters to add, drop or change to make `b` of the `a_len` letters at `a`; 99 for words too
 * long to be typos. */
size_t near_distance(const char *a, size_t a_len, const char *b);

#endif
