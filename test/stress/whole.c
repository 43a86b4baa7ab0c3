/* whole.c - what concerns whole databases, and so the keys of all threads: two change places, or one is
 * emptied. Who does it has all databases for itself; all others stay with them while they read or
 * write. What snapshots and checkpoints show is where it was: a stretch knows the places of its time.
 *
 * After a kill there is no other write that may be there or not. */
#include "stress.h"

#include <pthread.h>
#include <string.h>

static pthread_rwlock_t databases;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Else those that stay, and are always some, would keep it from whoever wants it alone. */
static void make(void)
{
    pthread_rwlockattr_t attr;

    (void)pthread_rwlockattr_init(&attr);
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&databases, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
}

void whole_stay(void)
{
    (void)pthread_once(&once, make);
    (void)pthread_rwlock_rdlock(&databases);
}

void whole_leave(void)
{
    (void)pthread_rwlock_unlock(&databases);
}

/* ---- one that is emptied ---- */

/* The version that the key has when its database is empty. It is the same at each moment of that,
 * whatever a kill leaves of the expectation. */
static uint32_t emptied(const struct expected *x, uint32_t key)
{
    uint32_t now = lowest(x, key), next = highest(x, key);

    return next != now ? next : is_gone(key, now) ? now : next_gone(key, now);
}

static void put_all(struct expected *x, uint32_t database, bool next)
{
    uint32_t from = database * database_keys(x);

    for (uint32_t key = from; key < from + database_keys(x); key++)
        atomic_store(next ? &x->cell[key].next : &x->cell[key].now, emptied(x, key));
}

static bool empty(struct worker *w, const struct quern_write_opts *opts)
{
    struct whole *whole = &w->x->whole;
    struct quern_range all = {{NULL, 0}, {NULL, 0}};
    struct quern_error err = {0};

    put_all(w->x, whole->a, true);
    if (!fine(w->x, quern_delete_range(w->db, &all, opts, &err), &err, "a database is emptied"))
        return false;
    atomic_store(&whole->state, INTENT_DONE);
    put_all(w->x, whole->a, false);
    return true;
}

/* ---- two that change places ---- */

static void change_places(struct expected *x)
{
    const struct whole *whole = &x->whole;

    atomic_store(&x->place[whole->a], whole->at_b);
    atomic_store(&x->place[whole->b], whole->at_a);
}

static bool swap(struct worker *w, const struct quern_write_opts *opts)
{
    struct whole *whole = &w->x->whole;
    struct quern_error err = {0};

    if (!fine(w->x, quern_swap_databases(w->db, whole->at_a, whole->at_b, opts, &err), &err,
              "databases change places"))
        return false;
    atomic_store(&whole->state, INTENT_DONE);
    change_places(w->x);
    return true;
}

/* ---- either ---- */

static bool alone(struct worker *w)
{
    struct whole *whole = &w->x->whole;
    struct quern_write_opts opts = {.sync = w->plan->sync_one_in != 0 && draw(&w->random, 2) == 0};
    bool ok;

    whole->a = (uint32_t)draw(&w->random, DATABASES);
    whole->b = whole->a;
    if (draw(&w->random, 4) != 0)
        whole->b = (whole->a + 1 + (uint32_t)draw(&w->random, DATABASES - 1)) % DATABASES;
    whole->at_a = atomic_load(&w->x->place[whole->a]);
    whole->at_b = atomic_load(&w->x->place[whole->b]);
    opts.database = whole->at_a;
    atomic_store(&whole->state, INTENT_BEGUN);
    ok = whole->a == whole->b ? empty(w, &opts) : swap(w, &opts);
    if (ok)
        atomic_store(&whole->state, INTENT_NONE);
    return ok;
}

bool do_whole(struct worker *w)
{
    bool ok;

    (void)pthread_once(&once, make);
    (void)pthread_rwlock_wrlock(&databases);
    ok = alone(w);
    (void)pthread_rwlock_unlock(&databases);
    atomic_fetch_add_explicit(&w->x->tally.whole, 1, memory_order_relaxed);
    return ok;
}

/* ---- after a kill ---- */

/* Which one the entries in this place are of; `otherwise` where there is none. */
static bool look_at(struct expected *x, struct quern *db, uint8_t place, uint32_t otherwise,
                    uint32_t *which)
{
    struct quern_iter_opts opts = {.database = place};
    struct quern_iter *it = NULL;
    struct quern_error err = {0};
    uint32_t key;
    bool ok = fine(x, quern_iter_new(db, &opts, &it, &err), &err, "after a kill");

    *which = otherwise;
    if (ok && quern_iter_first(it) && quern_iter_value(it).len >= 8) {
        memcpy(&key, (const uint8_t *)quern_iter_value(it).data + 4, 4);
        *which = key / database_keys(x);
    }
    ok = ok && fine(x, quern_iter_error(it, &err), &err, "after a kill");
    quern_iter_free(it);
    return ok;
}

static bool settle_swap(struct expected *x, struct quern *db, bool done, bool *changed)
{
    const struct whole *whole = &x->whole;
    uint32_t at_a, at_b;

    if (!look_at(x, db, whole->at_a, DATABASES, &at_a) ||
        !look_at(x, db, whole->at_b, DATABASES, &at_b))
        return false;
    *changed = at_a == DATABASES && at_b == DATABASES ? done : at_a == whole->b || at_b == whole->a;
    return *changed || !done ||
           failed(x, "after a kill: databases %u and %u are where they were", whole->at_a,
                  whole->at_b);
}

static bool settle_emptied(struct expected *x, struct quern *db, bool done,
                           const uint8_t place[DATABASES], bool look_only)
{
    uint32_t from = x->whole.a * database_keys(x), to = from + database_keys(x);
    bool old = !done, fresh = true;

    for (uint32_t key = from; key < to; key++)
        if (!fits(x, db, place, key, lowest(x, key), emptied(x, key), &old, &fresh))
            return false;
    if (!old && !fresh)
        return failed(x, "after a kill: a database that was emptied is there %s",
                      done ? "again" : "in part");
    for (uint32_t key = from; key < to && !look_only; key++) {
        uint32_t version = fresh ? emptied(x, key) : lowest(x, key);

        atomic_store(&x->cell[key].next, version);
        atomic_store(&x->cell[key].now, version);
    }
    return true;
}

bool whole_settle(struct expected *x, struct quern *db, uint8_t place[DATABASES], bool look_only)
{
    struct whole *whole = &x->whole;
    uint32_t state = atomic_load(&whole->state);
    bool changed = false;

    for (unsigned d = 0; d < DATABASES; d++)
        place[d] = atomic_load(&x->place[d]);
    if (state == INTENT_NONE)
        return true;
    if (whole->a == whole->b) {
        if (!settle_emptied(x, db, state == INTENT_DONE, place, look_only))
            return false;
    } else if (!settle_swap(x, db, state == INTENT_DONE, &changed)) {
        return false;
    } else {
        place[whole->a] = changed ? whole->at_b : whole->at_a;
        place[whole->b] = changed ? whole->at_a : whole->at_b;
    }
    if (look_only)
        return true;
    for (unsigned d = 0; d < DATABASES; d++)
        atomic_store(&x->place[d], place[d]);
    atomic_store(&whole->state, INTENT_NONE);
    return true;
}
