/* zipf.h - which entries are asked for most: ranks drawn after Zipf's law. */
#ifndef BENCH_ZIPF_H
#define BENCH_ZIPF_H

#include <stdint.h>

#define ZIPF_DRAWS (1u << 20)
#define ZIPF_EXPONENT 0.99

/* ZIPF_DRAWS numbers of 0 .. n - 1, rank r with a likelihood in proportion to (r + 1)^-0.99. They
 * are drawn beforehand, so that a draw inside a measured loop is the reading of an array from front
 * to back, and costs what a uniform one does. free() frees it. */
uint32_t *zipf_draws(uint64_t n, uint64_t seed);

#endif
