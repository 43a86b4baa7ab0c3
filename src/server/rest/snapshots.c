/* snapshots.c - a short list under one lock. */
#include "server/rest/snapshots.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <uv.h>

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

void snapshots_init(struct snapshots *s)
{
    memset(s, 0, sizeof(*s));
    mutex_init(&s->mu);
}

static void held_free(struct held_snapshot *held)
{
    quern_snapshot_free(held->snapshot);
    alloc_free(held);
}

void snapshots_done(struct snapshots *s)
{
    mutex_done(&s->mu);
}

/* Take out of the list those that have ended and are in use nowhere; they are freed without the
 * lock. */
static struct held_snapshot *pick_dead_locked(struct snapshots *s)
{
    struct held_snapshot *dead = NULL;

    mutex_assert_held(&s->mu);
    for (struct held_snapshot **at = &s->first; *at != NULL;) {
        struct held_snapshot *held = *at;

        held->ended |= now_ms() >= held->ends_at_ms;
        if (!held->ended || held->users > 0) {
            at = &held->next;
            continue;
        }
        *at = held->next;
        held->next = dead;
        dead = held;
        s->count--;
    }
    return dead;
}

static void free_all(struct held_snapshot *dead)
{
    while (dead != NULL) {
        struct held_snapshot *next = dead->next;

        held_free(dead);
        dead = next;
    }
}

void snapshots_clear(struct snapshots *s)
{
    struct held_snapshot *all;

    mutex_lock(&s->mu);
    all = s->first;
    s->first = NULL;
    s->count = 0;
    mutex_unlock(&s->mu);
    free_all(all);
}

void snapshots_sweep(struct snapshots *s)
{
    struct held_snapshot *dead;

    mutex_lock(&s->mu);
    dead = pick_dead_locked(s);
    mutex_unlock(&s->mu);
    free_all(dead);
}

enum quern_code snapshots_make(struct snapshots *s, struct quern *db, const char *run,
                               uint64_t ttl_ms, struct held_snapshot **out, struct quern_error *err)
{
    struct held_snapshot *held = NEW(struct held_snapshot);

    if (held == NULL)
        return err_memory(err, "a snapshot");
    if (quern_snapshot_new(db, &held->snapshot, err)) {
        alloc_free(held);
        return err->code;
    }
    held->expires_ms = when_now() + ttl_ms;
    held->ends_at_ms = now_ms() + ttl_ms;
    held->users = 1;
    snapshots_sweep(s);
    mutex_lock(&s->mu);
    if (s->count == SNAPSHOTS_MAX) {
        mutex_unlock(&s->mu);
        held_free(held);
        return err_set(err, QUERN_BUSY, "there are %u snapshots already", SNAPSHOTS_MAX);
    }
    (void)snprintf(held->id, sizeof(held->id), "%s%" PRIu64, run, ++s->made);
    held->next = s->first;
    s->first = held;
    s->count++;
    mutex_unlock(&s->mu);
    *out = held;
    return QUERN_OK;
}

static struct held_snapshot *find_locked(struct snapshots *s, struct quern_slice id)
{
    mutex_assert_held(&s->mu);
    for (struct held_snapshot *held = s->first; held != NULL; held = held->next) {
        if (!held->ended && now_ms() < held->ends_at_ms && strlen(held->id) == id.len &&
            memcmp(held->id, id.data, id.len) == 0)
            return held;
    }
    return NULL;
}

struct held_snapshot *snapshots_take(struct snapshots *s, struct quern_slice id)
{
    struct held_snapshot *held;

    mutex_lock(&s->mu);
    held = find_locked(s, id);
    if (held != NULL)
        held->users++;
    mutex_unlock(&s->mu);
    return held;
}

void snapshots_give(struct snapshots *s, struct held_snapshot *held)
{
    struct held_snapshot *dead;

    if (held == NULL)
        return;
    mutex_lock(&s->mu);
    held->users--;
    dead = pick_dead_locked(s);
    mutex_unlock(&s->mu);
    free_all(dead);
}

bool snapshots_end(struct snapshots *s, struct quern_slice id)
{
    struct held_snapshot *held, *dead;

    mutex_lock(&s->mu);
    held = find_locked(s, id);
    if (held != NULL)
        held->ended = true;
    dead = pick_dead_locked(s);
    mutex_unlock(&s->mu);
    free_all(dead);
    return held != NULL;
}

unsigned snapshots_count(struct snapshots *s)
{
    unsigned n;

    mutex_lock(&s->mu);
    n = s->count;
    mutex_unlock(&s->mu);
    return n;
}
