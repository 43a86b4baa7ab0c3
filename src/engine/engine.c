/* engine.c - small things that all parts of the engine share: checks, events, failures, views. */
#include "engine/engine_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const char *quern_version(void)
{
    return QUERN_VERSION;
}

const char *quern_code_name(enum quern_code code)
{
    return err_code_name(code);
}

uint64_t quern_store_id(const struct quern *db)
{
    return manifest_state(db->manifest)->store_id; /* constant from the first edit on */
}

quern_seq quern_visible_seq(const struct quern *db)
{
    return atomic_load_explicit(&db->visible_seq, memory_order_acquire);
}

/* What flushes and merges need beside MemDBs and cache:
 * read-ahead, blocks and filters being built. */
#define WORK_BYTES_MAX (UINT64_C(16) << 20)

/* ---- forks: a child has the handle but not the threads behind it ---- */

static _Atomic uint32_t fork_generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    atomic_fetch_add(&fork_generation, 1);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

void engine_forks_watch(void)
{
    (void)pthread_once(&fork_once, watch_forks);
}

uint32_t engine_fork_generation(void)
{
    return atomic_load_explicit(&fork_generation, memory_order_relaxed);
}

/* ---- checks ---- */

enum quern_code check_database(uint8_t database, struct quern_error *err)
{
    if (database >= QUERN_DATABASES)
        return err_set(err, QUERN_INVALID, "there is no database %u; they are 0 to %u", database,
                       QUERN_DATABASES - 1);
    return QUERN_OK;
}

enum quern_code engine_check(const struct quern *db, struct quern_error *err)
{
    if (UNLIKELY(db == NULL))
        return err_set(err, QUERN_INVALID, "the store handle is NULL");
    if (UNLIKELY(db->fork_generation != engine_fork_generation()))
        return err_set(err, QUERN_INVALID,
                       "the store was opened by the parent process; open it again in the child");
    return QUERN_OK;
}

enum quern_code key_refused(uint8_t database, struct quern_slice key, struct quern_error *err)
{
    if (check_database(database, err))
        return err->code;
    if (key.len == 0)
        return err_set(err, QUERN_INVALID, "the key is empty; keys are 1 to %u bytes",
                       QUERN_KEY_BYTES_MAX);
    return err_set(err, QUERN_INVALID, "the key has %zu bytes; keys are 1 to %u bytes", key.len,
                   QUERN_KEY_BYTES_MAX);
}

enum quern_code check_expiry(uint64_t expires_ms, struct quern_error *err)
{
    if (UNLIKELY(expires_ms > INT64_MAX))
        return err_set(err, QUERN_INVALID, "an expiry of %" PRIu64 " ms; 0 is never", expires_ms);
    return QUERN_OK;
}

/* ---- events and failures ---- */

void engine_event(struct quern *db, enum quern_event_kind kind, uint64_t bytes_in,
                  uint64_t bytes_out, uint64_t duration_ns, const char *format, ...)
{
    char text[512];
    struct quern_event event = {.kind = kind,
                                .text = text,
                                .bytes_in = bytes_in,
                                .bytes_out = bytes_out,
                                .duration_us = duration_ns / 1000};
    va_list args;

    if (db->options.on_event == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mutex_lock(&db->event_mu);
    db->options.on_event(db->options.on_event_arg, &event);
    mutex_unlock(&db->event_mu);
}

void engine_fail(struct quern *db, const struct quern_error *why)
{
    bool first;

    mutex_lock(&db->mu);
    first = db->failure.code == QUERN_OK;
    if (first)
        db->failure = *why;
    atomic_store(&db->failed, true);
    cond_broadcast(&db->flushed);
    mutex_unlock(&db->mu);
    if (first)
        engine_event(db, QUERN_EVENT_FAILED, 0, 0, 0,
                     "writes are refused until the store is opened again: %s", why->text);
}

enum quern_code engine_refusal(struct quern *db, struct quern_error *err)
{
    if (LIKELY(!atomic_load_explicit(&db->failed, memory_order_relaxed)))
        return QUERN_OK;
    mutex_lock(&db->mu);
    *err = db->failure;
    mutex_unlock(&db->mu);
    if (err->code != QUERN_READ_ONLY)
        (void)err_in(err, "writes are refused since an earlier failure; open the store again");
    return err->code = QUERN_READ_ONLY;
}

void engine_note_damage(struct quern *db, const struct quern_error *err)
{
    if (err->code != QUERN_CORRUPT)
        return;
    atomic_fetch_add(&db->corrupt_blocks, 1);
    engine_event(db, QUERN_EVENT_CORRUPT, 0, 0, 0, "%s", err->text);
}

/* ---- time ---- */

uint64_t engine_time_ms(struct quern *db)
{
    uint64_t now = os_wall_ms(db->os), latest = atomic_load(&db->time_ms);

    while (now > latest)
        if (atomic_compare_exchange_weak(&db->time_ms, &latest, now))
            return now;
    return latest;
}

uint64_t quern_time_ms(struct quern *db)
{
    return engine_time_ms(db);
}

/* ---- counters ---- */

struct counters *engine_counters(struct quern *db)
{
    static _Atomic unsigned next_stripe;
    static __thread unsigned stripe; /* 0: this thread has none yet */

    if (UNLIKELY(stripe == 0))
        stripe = 1 + atomic_fetch_add(&next_stripe, 1) % COUNTER_STRIPES;
    return &db->counters[stripe - 1];
}

uint64_t engine_passed(struct quern *db)
{
    uint64_t passed = 0;

    for (size_t i = 0; i < COUNTER_STRIPES; i++)
        passed += atomic_load_explicit(&db->counters[i].passed, memory_order_relaxed);
    return passed;
}

/* ---- views ---- */

static void view_retire(struct rcu_node *node)
{
    view_unref((struct view *)node);
}

void engine_publish_in_locked(struct quern *db, struct version *version, struct view *now)
{
    struct view *old = atomic_load_explicit(&db->view, memory_order_relaxed);

    mutex_assert_held(&db->mu);
    view_set_active(now, db->active.mem, db->active.cuts);
    for (size_t i = 0; i < db->recovered_count; i++)
        view_add_sealed(now, db->recovered[i].mem, db->recovered[i].cuts);
    for (size_t i = 0; i < db->sealed_count; i++)
        view_add_sealed(now, db->sealed[i].mem, db->sealed[i].cuts);
    view_set_version(now, version != NULL ? version : old->version);
    now->places = db->places;
    atomic_store_explicit(&db->view, now, memory_order_release);
    if (!db->shared) /* the reaper need not run beside the first reads */
        view_unref(old);
    else
        rcu_retire(&old->retire, view_retire);
}

enum quern_code engine_publish_locked(struct quern *db, struct version *version,
                                      struct quern_error *err)
{
    struct view *now;

    if (view_new(db->recovered_count + db->sealed_count, &now, err))
        return err->code;
    engine_publish_in_locked(db, version, now);
    return QUERN_OK;
}

struct view *engine_view(struct quern *db)
{
    struct view *view;

    rcu_enter();
    view = atomic_load_explicit(&db->view, memory_order_acquire);
    view_ref(view); /* its published reference lasts at least until rcu_leave() */
    rcu_leave();
    return view;
}

size_t engine_sealed_count(struct quern *db)
{
    size_t count;

    rcu_enter();
    count = atomic_load_explicit(&db->view, memory_order_acquire)->sealed_count;
    rcu_leave();
    return count;
}

void engine_share_memory(struct quern *db)
{
    uint64_t budget = db->options.memory_bytes, floor = budget / 16;
    uint64_t taken = budget / 8 < WORK_BYTES_MAX ? budget / 8 : WORK_BYTES_MAX, mems;

    mutex_lock(&db->mu);
    mems = db->active.capacity;
    for (size_t i = 0; i < db->sealed_count; i++)
        mems += db->sealed[i].capacity;
    for (size_t i = 0; i < db->recovered_count; i++)
        mems += db->recovered[i].capacity;
    mutex_unlock(&db->mu);
    taken += mems + mem_spare_bytes(&db->spare, mems) + atomic_load(&db->live.clock_bytes);
    /* A huge value may take more than the budget for a while; the cache keeps a working minimum. */
    sst_cache_set_capacity(db->cache, taken + floor < budget ? budget - taken : floor);
}
