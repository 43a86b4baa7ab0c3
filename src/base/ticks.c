/* ticks.c - how long a tick is. */
#include "base/ticks.h"

#include "base/thread.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define APART_NS 5000000u /* what lies between two readings is known to a ten-thousandth then */
#define READINGS 8

struct ticks ticks_ = {false, ((uint64_t)TICK_UNITS_PER_US << 32) / 1000};

#if defined(__x86_64__)

/* Does the counter run on at one rate in every state of the processor? */
static bool counter_is_even(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
}

struct reading {
    uint64_t counter, ns;
};

static uint64_t clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Both clocks at one moment: of some readings the one that nothing came between. */
static struct reading read_both(void)
{
    struct reading best = {0, 0};
    uint64_t narrowest = UINT64_MAX;

    for (unsigned i = 0; i < READINGS; i++) {
        uint64_t before = __builtin_ia32_rdtsc(), ns = clock_ns(), after = __builtin_ia32_rdtsc();

        if (after - before < narrowest) {
            narrowest = after - before;
            best = (struct reading){before + (after - before) / 2, ns};
        }
    }
    return best;
}

void ticks_init(void)
{
    struct reading from, to;

    if (!counter_is_even())
        return;
    from = read_both();
    thread_sleep_ns(APART_NS);
    to = read_both();
    if (to.counter <= from.counter || to.ns <= from.ns)
        return;
    ticks_.units_per_tick =
        (uint64_t)(((unsigned __int128)(to.ns - from.ns) * TICK_UNITS_PER_US << 32) /
                   ((unsigned __int128)(to.counter - from.counter) * 1000));
    ticks_.counter = true;
}

#else

void ticks_init(void)
{
}

#endif

uint64_t ticks_of_us(uint64_t us)
{
    unsigned __int128 ticks = ((unsigned __int128)us * TICK_UNITS_PER_US << 32);

    ticks /= ticks_.units_per_tick;
    return ticks > UINT64_MAX ? UINT64_MAX : (uint64_t)ticks;
}
