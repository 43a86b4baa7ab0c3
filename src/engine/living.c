/* living.c - how many keys live by the clock; see living.h.
 *
 *     now_ms                      now_ms + reach_ms
 *       |-----------------------------|- - - - - - x - - - - -
 *         each millisecond has a place             the first beyond: until_ms is before it
 *
 * As time passes, the ring's far end moves on. What is added when it lies beyond is not noted when the end
 * has come to it, so until_ms stays before it; what lies within until_ms was within reach when it was
 * added. So where lifetimes are no longer than the reach, until_ms never comes. */
#include "engine/living.h"

#include "base/alloc.h"

#define REACH_MIN 4096
#define REACH_MAX (UINT32_C(1) << 22)

void living_begin(struct living *l, int64_t keys, uint64_t now_ms, uint64_t reach_ms)
{
    uint32_t reach = REACH_MIN;

    while (reach < REACH_MAX && 2 * (uint64_t)reach <= reach_ms)
        reach *= 2;
    *l = (struct living){.keys = keys, .now_ms = now_ms, .until_ms = UINT64_MAX, .reach_ms = reach};
}

void living_done(struct living *l)
{
    alloc_free(l->due);
    *l = (struct living){.keys = 0};
}

/* More than a place can hold is as if it lay beyond. */
static void note(struct living *l, uint64_t expires_ms, int32_t by)
{
    int32_t *due = &l->due[expires_ms % l->reach_ms];

    if (by == 0)
        return;
    if (expires_ms > l->last_ms)
        l->last_ms = expires_ms;
    if (__builtin_add_overflow(*due, by, due) && expires_ms <= l->until_ms)
        l->until_ms = expires_ms - 1;
}

void living_add(struct living *l, uint64_t expires_ms, int by)
{
    if (expires_ms != 0 && expires_ms <= l->now_ms)
        return;
    l->keys += by;
    l->expiring += by * (expires_ms != 0);
    l->expires_sum += (uint64_t)by * expires_ms;
    if (expires_ms == 0 || expires_ms > l->until_ms)
        return;
    if (l->due == NULL)
        l->due = alloc_array(l->reach_ms, sizeof(*l->due));
    if (l->due == NULL || expires_ms - l->now_ms > l->reach_ms)
        l->until_ms = expires_ms - 1;
    else
        note(l, expires_ms, by);
}

bool living_pass(struct living *l, uint64_t now_ms)
{
    uint64_t last;

    if (now_ms > l->until_ms)
        return false;
    if (now_ms <= l->now_ms)
        return true;
    last = now_ms < l->last_ms ? now_ms : l->last_ms;
    for (uint64_t t = l->now_ms; t < last;) {
        int32_t *due = &l->due[++t % l->reach_ms];

        if (*due == 0) /* its page may be nobody's yet */
            continue;
        l->keys -= *due;
        l->expiring -= *due;
        l->expires_sum -= (uint64_t)*due * t;
        *due = 0;
    }
    l->now_ms = now_ms;
    return true;
}

uint64_t living_ttl_ms(const struct living *l)
{
    uint64_t n = (uint64_t)l->expiring;

    return n != 0 ? (l->expires_sum - n * l->now_ms) / n : 0;
}

void living_join(struct living *l, const struct living *more)
{
    l->keys += more->keys;
    l->expiring += more->expiring;
    l->expires_sum += more->expires_sum;
    if (more->until_ms < l->until_ms)
        l->until_ms = more->until_ms;
    if (more->due == NULL)
        return;
    if (l->due == NULL)
        l->due = alloc_array(l->reach_ms, sizeof(*l->due));
    if (l->due == NULL)
        l->until_ms = l->now_ms;
    for (uint64_t t = l->now_ms + 1; l->due != NULL && t <= more->last_ms; t++)
        note(l, t, more->due[t % l->reach_ms]);
}

uint64_t living_bytes(const struct living *l)
{
    return l->due != NULL ? l->reach_ms * sizeof(*l->due) : 0;
}
