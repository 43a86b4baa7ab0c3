/* ticks.h - a clock for measuring how long things take, at the price of one instruction.
 *
 * Where the processor's cycle counter runs at one rate on all cores, whatever they do, it is read
 * directly, which takes a third of the time of a call of the system's clock. Elsewhere a tick is a
 * nanosecond of that clock. Ticks of different cores may be a few apart: what is measured over two
 * of them may come out negative, so differences are taken with ticks_between().
 *
 * Lengths are told in units of 1/1024 us, so that the powers of two are round numbers of
 * microseconds. */
#ifndef BASE_TICKS_H
#define BASE_TICKS_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define TICK_UNITS_PER_US 1024u

struct ticks {
    bool counter;            /* the cycle counter is what is read */
    uint64_t units_per_tick; /* times 2^32 */
};
extern struct ticks ticks_; /* ticks_init()'s */

/* Once, before other threads are. Takes some milliseconds. */
void ticks_init(void);

static inline uint64_t ticks_now(void)
{
    struct timespec now;

#if defined(__x86_64__)
    if (LIKELY(ticks_.counter))
        return __builtin_ia32_rdtsc();
#endif
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t ticks_between(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

/* In units of 1/1024 us. */
static inline uint64_t ticks_units(uint64_t ticks)
{
    return (uint64_t)(((unsigned __int128)ticks * ticks_.units_per_tick) >> 32);
}

static inline uint64_t ticks_us(uint64_t ticks)
{
    return ticks_units(ticks) / TICK_UNITS_PER_US;
}

/* The other way, for limits; what is beyond any length is UINT64_MAX. */
uint64_t ticks_of_us(uint64_t us);

#endif
