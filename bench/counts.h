/* counts.h - where a row begins and ends, for callgrind: see bench/counts. Outside of valgrind this
 * is a handful of instructions a row; where its header is not installed, nothing. */
#ifndef BENCH_COUNTS_H
#define BENCH_COUNTS_H

#include <inttypes.h>
#include <stdio.h>

#ifdef WITH_CALLGRIND
#include <valgrind/valgrind.h>
#else
#define VALGRIND_MONITOR_COMMAND(text) ((void)(text))
#endif

/* What was counted so far is of no row. (Callgrind's own requests mean the calling thread alone.) */
static inline void counts_begin(void)
{
    VALGRIND_MONITOR_COMMAND("zero");
}

/* What was counted since is of this one, in all threads. */
static inline void counts_end(const char *row, uint64_t ops)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "dump %s:%" PRIu64, row, ops);
    VALGRIND_MONITOR_COMMAND(text);
}

#endif
