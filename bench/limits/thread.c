/* thread.c - how long from one thread's word to the other's first step? Two threads on two
 * processors hand a token to and fro, asleep in a futex or spinning; one hand-over is half of a
 * round trip. With one processor there is no other to run on: only the futex is measured then. */
#include "limits.h"

#include "bench.h"
#include "clock.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TOKENS_FUTEX 3000u
#define TOKENS_SPIN 30000u

/* 0: ours to answer, 1: theirs. Each kind of wait on a line of its own. */
static _Alignas(64) _Atomic uint32_t token;
static size_t processor[2]; /* the first two that we may run on; the same where there is one */

static void setup(void)
{
    cpu_set_t may;
    unsigned found = 0;

    if (sched_getaffinity(0, sizeof(may), &may) != 0)
        die("no answer to which processors there are");
    for (size_t i = 0; i < CPU_SETSIZE && found < 2; i++)
        if (CPU_ISSET(i, &may))
            processor[found++] = i;
    if (found == 1)
        processor[1] = processor[0];
}

/* At most one thread waits for each value, and it looks again. */
static void await(uint32_t value, bool asleep)
{
    uint32_t now;

    while ((now = atomic_load(&token)) != value)
        if (asleep)
            (void)syscall(SYS_futex, &token, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

static void hand(uint32_t value, bool asleep)
{
    atomic_store(&token, value);
    if (asleep)
        (void)syscall(SYS_futex, &token, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

struct answering {
    unsigned tokens;
    bool asleep;
};

static void stay_on(size_t where)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(where, &one);
    (void)sched_setaffinity(0, sizeof(one), &one); /* refused: the scheduler decides */
}

static void *answer(void *arg)
{
    const struct answering *a = arg;

    stay_on(processor[1]);
    for (unsigned i = 0; i < a->tokens; i++) {
        await(1, a->asleep);
        hand(0, a->asleep);
    }
    return NULL;
}

static void time_tokens(struct samples *s, enum limit limit, unsigned tokens, bool asleep)
{
    struct answering answering = {tokens, asleep};
    pthread_t other;
    uint64_t begun = 0;

    atomic_store(&token, 0);
    if (pthread_create(&other, NULL, answer, &answering) != 0)
        die("cannot start a thread");
    for (unsigned i = 0; i < tokens; i++) {
        if (i == tokens / 10)
            begun = clock_ns(); /* by now both run where they should */
        hand(1, asleep);
        await(0, asleep);
    }
    samples_add(s, limit, clock_ns() - begun, 2.0 * (tokens - tokens / 10));
    (void)pthread_join(other, NULL);
}

static void round_once(struct samples *s)
{
    cpu_set_t before;

    (void)sched_getaffinity(0, sizeof(before), &before);
    stay_on(processor[0]);
    time_tokens(s, LIMIT_WAKE_FUTEX, TOKENS_FUTEX, true);
    if (processor[0] != processor[1])
        time_tokens(s, LIMIT_WAKE_SPIN, TOKENS_SPIN, false);
    (void)sched_setaffinity(0, sizeof(before), &before);
}

const struct probe probe_thread = {"thread", setup, round_once};
