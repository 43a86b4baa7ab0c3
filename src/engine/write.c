/* write.c - what a group of writes goes through, and the doors that lead to the commit queue.
 *
 *    engine_judge_group (update.c)        where writes depend on what is there
 *    databases_settle                     where databases have changed places
 *    room in the MemDB (engine_seal)      may wait for the worker
 *    pressure_wait                        the smooth slow-down
 *    wal_append                           once for the group; with a sync if one asks
 *    mem_apply_cut                        batch by batch
 *    change_publish                       a view, where the group changes more than entries
 *    spans_applied                        what scans remember as empty is cut off
 *    visible_seq = last                   release: readers see the whole group
 *
 * Durable before visible: a group that syncs is applied after its sync (docs/decisions/0006). */
#include "engine/engine_priv.h"

#include <inttypes.h>

#define LOG_FACTOR 4 /* the log of a MemDB may be so many times as long as that can hold */

/* ---- making room ---- */

/* Wait until fewer than SEALED_MAX MemDBs wait for the worker. */
static enum quern_code wait_for_place_locked(struct quern *db, bool wait, struct quern_error *err)
{
    uint64_t began;

    if (db->sealed_count < SEALED_MAX)
        return QUERN_OK;
    if (!wait)
        return err_set(err, QUERN_BUSY, "the MemDBs before this one are still being flushed");
    began = os_now_ns(db->os);
    while (db->sealed_count == SEALED_MAX) {
        if (db->failure.code != QUERN_OK) {
            *err = db->failure;
            return err->code = QUERN_READ_ONLY;
        }
        if (db->no_space)
            return err_set(err, QUERN_NO_SPACE,
                           "the disk is full: nothing was written; writing resumes by itself when "
                           "there is space");
        if (db->no_memory)
            return err_memory(err, "the flush that must come first");
        cond_wait(&db->flushed, &db->mu);
    }
    began = os_now_ns(db->os) - began;
    atomic_fetch_add(&db->slowed_writes, 1);
    atomic_fetch_add(&db->slowed_ns, began);
    atomic_fetch_add(&db->stalled_writes, 1);
    atomic_fetch_add(&db->stalled_ns, began);
    db->was_slowed = true;
    return QUERN_OK;
}

/* Put `fresh` in the place of the active MemDB; what was active waits for the worker. */
static enum quern_code replace_active(struct quern *db, struct mem *fresh, uint64_t capacity,
                                      bool wait, struct quern_error *err)
{
    struct memdb before,
        now = {.mem = fresh, .log_first = wal_segment_no(engine_wal(db)), .capacity = capacity};
    bool empty = memdb_is_empty(&db->active);

    mutex_lock(&db->mu);
    if (!empty && wait_for_place_locked(db, wait, err)) {
        mutex_unlock(&db->mu);
        return err->code;
    }
    before = db->active;
    db->active = now;
    if (!empty)
        db->sealed[db->sealed_count++] = before;
    if (engine_publish_locked(db, NULL, err)) {
        db->sealed_count -= !empty;
        db->active = before;
        mutex_unlock(&db->mu);
        return err->code;
    }
    mem_ref(fresh); /* the caller drops its own */
    cond_signal(&db->work);
    mutex_unlock(&db->mu);
    if (empty)
        mem_unref(before.mem);
    return QUERN_OK;
}

enum quern_code engine_seal(struct quern *db, uint64_t bytes, bool wait, struct quern_error *err)
{
    struct mem *fresh OWNED(mem_unref) = NULL;
    uint64_t capacity = db->options.memdb_bytes;

    if (memdb_is_empty(&db->active) && mem_fits(db->active.mem, bytes))
        return QUERN_OK;
    if (bytes > capacity)
        capacity = bytes;
    if (mem_new(capacity, &db->spare, &fresh, err) ||
        replace_active(db, fresh, capacity, wait, err))
        return err->code;
    engine_share_memory(db);
    return QUERN_OK;
}

/* ---- a group ---- */

struct group {
    struct batch_ref batches[GROUP_COUNT_MAX];
    size_t count;
    uint64_t bytes, mem_bytes;
    bool sync, seal, deletes, cuts, swaps;
};

static bool group_depends(const struct waiter *first)
{
    for (const struct waiter *w = first; w != NULL; w = w->next)
        if (waiter_depends(w))
            return true;
    return false;
}

static void sum_up(struct group *g, const struct waiter *first)
{
    g->count = 0;
    g->bytes = g->mem_bytes = 0;
    g->sync = g->seal = g->deletes = g->cuts = g->swaps = false;
    for (const struct waiter *w = first; w != NULL; w = w->next) {
        g->sync |= w->sync;
        g->seal |= w->seal;
        if (w->batch.op_count == 0)
            continue;
        g->deletes |= w->puts < w->batch.op_count;
        g->cuts |= w->cuts != 0;
        g->swaps |= w->swaps != 0;
        g->batches[g->count++] = w->batch;
        g->bytes += batch_bytes(&w->batch);
        g->mem_bytes += mem_bytes_needed(&w->batch);
    }
}

void engine_check_log(struct quern *db, const struct quern_error *err)
{
    struct wal_stats log;

    wal_stats(engine_wal(db), &log);
    if (log.poisoned)
        engine_fail(db, err);
}

/* A full disk may be met by the first segment of a log, when no flush is due that would make room:
 * then too the ballast is what was set aside for it. */
static enum quern_code append_group(struct quern *db, struct wal *wal, const struct group *g,
                                    struct quern_error *err)
{
    enum quern_code code = wal_append(wal, g->batches, g->count, db->last_seq + 1, g->sync, err);
    struct wal_stats log;

    if (LIKELY(code != QUERN_NO_SPACE))
        return code;
    wal_stats(wal, &log);
    if (log.segments_live != 0 || !ballast_give_up(db))
        return code;
    return wal_append(wal, g->batches, g->count, db->last_seq + 1, g->sync, err);
}

static enum quern_code log_group(struct quern *db, const struct group *g, struct quern_error *err)
{
    uint64_t began_ns = g->sync ? os_now_ns(db->os) : 0;
    struct wal *wal = engine_wal(db);
    enum quern_code code;

    if (g->count != 0)
        code = append_group(db, wal, g, err);
    else
        code = g->sync && wal != NULL ? wal_sync(wal, err) : QUERN_OK;
    if (g->sync)
        db->log_sync_ns = os_now_ns(db->os) - began_ns;
    if (code != QUERN_OK)
        engine_check_log(db, err);
    return code;
}

/* ---- what changes in the view, beside entries ---- */

/* Made before the group is logged, so that nothing can fail after. */
struct change {
    struct view *view; /* NULL: nothing changes */
    struct cut_group cuts;
};

static enum quern_code change_make(struct quern *db, const struct group *g, struct change *out,
                                   struct quern_error *err)
{
    struct change c = {.view = NULL};

    if (view_new(SEALED_MAX, &c.view, err))
        return err->code;
    if (g->cuts && cut_group_make(db, g->batches, g->count, &c.cuts, err)) {
        view_unref(c.view);
        return err->code;
    }
    *out = c;
    return QUERN_OK;
}

/* A change of places ends its group: the group's last number is its own. */
static void change_publish(struct quern *db, const struct group *g, struct change *c)
{
    db_map map;

    mutex_lock(&db->mu);
    if (g->cuts)
        cut_group_take_locked(db, &c->cuts);
    if (g->swaps && batch_db_map(&g->batches[g->count - 1], &map))
        databases_take_locked(db, map, db->last_seq);
    engine_publish_in_locked(db, NULL, GIVE(c->view));
    mutex_unlock(&db->mu);
}

static void change_done(struct change *c)
{
    cut_group_done(&c->cuts);
    view_unref(c->view);
}

/* ---- log and MemDB ---- */

static void apply_group(struct quern *db, const struct group *g, struct change *change)
{
    struct mem *mem = db->active.mem;

    if (db->active.born_ns == 0) {
        mutex_lock(&db->mu);
        db->active.born_ns = os_now_ns(db->os);
        mutex_unlock(&db->mu);
    }
    for (size_t i = 0; i < g->count; i++)
        mem_apply_cut(mem, &g->batches[i], ++db->last_seq, g->cuts ? change->cuts.own[i] : NULL);
    if (UNLIKELY(change->view != NULL))
        change_publish(db, g, change);
    spans_applied(&db->spans, g->batches, g->count);
    atomic_store_explicit(&db->visible_seq, db->last_seq, memory_order_release);
}

/* Every synced group takes whole pages, so a log may be many times as long as what it holds. Then
 * the MemDB goes before it is full, and its log with it. True once in a segment: when the worker is
 * behind, asking again at each group would not help. */
static bool log_is_long(struct quern *db)
{
    uint64_t no = wal_segment_no(engine_wal(db));

    if (LIKELY(no == db->looked_at_no))
        return false;
    db->looked_at_no = no;
    return (no - db->active.log_first) * db->options.log_segment_bytes >=
           LOG_FACTOR * db->active.capacity;
}

/* Walks pass over each tombstone, and no merge takes those of a MemDB: so they do not wait until
 * it is full, if they are many beside what they may hide, and the worker is free. */
static bool has_many_dead(struct quern *db)
{
    struct mem_info info;

    mem_info(db->active.mem, &info);
    return info.tombstone_count >= atomic_load_explicit(&db->dead_due, memory_order_relaxed) &&
           engine_sealed_count(db) == 0;
}

/* Has the MemDB no room for them: of bytes or, if there are range deletes, in its list of those? */
static bool is_full(const struct quern *db, uint64_t mem_bytes, bool cuts)
{
    return !mem_fits(db->active.mem, mem_bytes) || (cuts && memdb_has_many_cuts(&db->active));
}

/* Leading, nobody else counts writes: no need for one step that others cannot split. */
static void counter_raise(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

/* Give out the numbers after `seq`, and count what was written. */
static void number_group(struct quern *db, struct waiter *first, const struct group *g,
                         quern_seq seq)
{
    uint64_t puts = 0, cuts = 0, swaps = 0, ops = 0, bytes = 0;

    for (struct waiter *w = first; w != NULL; w = w->next) {
        seq += w->batch.op_count != 0;
        w->seq = seq;
        puts += w->puts;
        cuts += w->cuts;
        swaps += w->swaps;
        ops += w->batch.op_count;
        bytes += w->user_bytes;
    }
    if (g->count == 0)
        return;
    counter_raise(&db->batches, g->count);
    counter_raise(&db->puts, puts);
    counter_raise(&db->deletes, ops - puts - cuts - swaps);
    counter_raise(&db->range_deletes, cuts);
    counter_raise(&db->user_bytes, bytes);
}

/* Room is made: log the group and apply it. */
static enum quern_code log_and_apply(struct quern *db, const struct group *g,
                                     struct quern_error *err)
{
    struct change change = {.view = NULL};
    enum quern_code code;

    if (UNLIKELY(g->cuts || g->swaps) && change_make(db, g, &change, err))
        return err->code;
    code = log_group(db, g, err);
    if (code == QUERN_OK && g->count != 0)
        apply_group(db, g, &change);
    if (UNLIKELY(g->cuts || g->swaps))
        change_done(&change);
    return code;
}

/* Their completions will say so. */
static void note_slowed(struct quern *db, struct waiter *first)
{
    for (struct waiter *w = first; w != NULL; w = w->next)
        w->slowed = true;
    db->was_slowed = false;
}

/* All of it is in inside numbers. */
static enum quern_code write_settled(struct quern *db, struct waiter *first,
                                     struct quern_error *err)
{
    struct group g;
    quern_seq seq = db->last_seq;

    sum_up(&g, first);
    /* Nothing to append to; what was replayed is durable or not. */
    if (UNLIKELY(engine_wal(db) == NULL) && (g.count != 0 || (g.sync && !db->log_kept)))
        return err_set(
            err, QUERN_NO_SPACE,
            "the disk is full: recovery waits for space, and nothing was written; writing "
            "resumes by itself when there is some");
    if (g.count != 0) {
        pressure_wait(db, g.bytes);
        if (is_full(db, g.mem_bytes, g.cuts)) {
            mem_spare_want(&db->spare, db->options.memdb_bytes);
            if (engine_seal(db, g.mem_bytes, true, err))
                return err->code;
        }
        if (UNLIKELY(db->was_slowed))
            note_slowed(db, first);
    }
    if (log_and_apply(db, &g, err))
        return err->code;
    number_group(db, first, &g, seq);
    if (g.seal)
        return engine_seal(db, 0, true, err);
    if (UNLIKELY(atomic_load_explicit(&db->seal_wanted, memory_order_relaxed) ||
                 (g.count != 0 && log_is_long(db)) ||
                 (g.deletes && (memdb_has_many_cuts(&db->active) || has_many_dead(db))))) {
        struct quern_error later;

        atomic_store(&db->seal_wanted, false);
        IGNORE(engine_seal(db, 0, false, &later)); /* BUSY: the worker has enough to do */
    }
    return QUERN_OK;
}

/* What is to be written is known now. */
static enum quern_code write_judged(struct quern *db, struct waiter *first, struct quern_error *err)
{
    struct buf copies = {0};
    enum quern_code code;

    if (LIKELY(db->places.now == 0))
        return write_settled(db, first, err);
    code = databases_settle(db, first, &copies, err);
    if (code == QUERN_OK)
        code = write_settled(db, first, err);
    buf_done(&copies);
    return code;
}

bool engine_can_write_now(struct quern *db, const struct waiter *first)
{
    const struct wal *wal = engine_wal(db);
    uint64_t bytes = 0, mem_bytes = 0;
    bool cuts = false;
    size_t n = 0;

    for (const struct waiter *w = first; w != NULL; w = w->next, n++) {
        if (w->sync || waiter_depends(w) || w->swaps != 0)
            return false;
        bytes += batch_bytes(&w->batch);
        mem_bytes += mem_bytes_needed(&w->batch);
        cuts |= w->cuts != 0;
    }
    return wal != NULL && wal_has_room(wal, n, bytes) && !is_full(db, mem_bytes, cuts) &&
           !pressure_is_on(db);
}

enum quern_code engine_write_group(struct quern *db, struct waiter *first, struct waiter **rest,
                                   struct quern_error *err)
{
    enum quern_code code;

    *rest = NULL;
    if (engine_refusal(db, err))
        return err->code;
    if (LIKELY(!group_depends(first)))
        return write_judged(db, first, err);
    engine_judge_group(db, first, rest);
    code = write_judged(db, first, err);
    engine_judged_done(db);
    return code;
}

/* ---- the public doors ---- */

/* One operation: its head and key are put together on the stack when small; the value stays where
 * it is. */
static enum quern_code write_one(struct quern *db, enum entry_kind kind, struct quern_slice key,
                                 struct quern_slice value, const struct quern_write_opts *opts,
                                 struct quern_error *err)
{
    uint8_t small[512];
    void *large OWNED(alloc_free) = NULL;
    uint8_t *ops = small, *at;
    uint64_t expires_ms = opts != NULL && kind == ENTRY_PUT ? opts->expires_ms : 0;
    uint8_t database = opts != NULL ? opts->database : 0;
    struct waiter w = {.sync = opts != NULL && opts->sync, .err = err};

    if (engine_check(db, err) || check_key(database, key, err) || check_expiry(expires_ms, err))
        return err->code;
    if (value.len > QUERN_VALUE_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "the value has %zu bytes; at most %u are possible",
                       value.len, QUERN_VALUE_BYTES_MAX);
    if (OP_HEAD_BYTES_MAX + 1 + key.len > sizeof(small)) {
        large = alloc_bytes(OP_HEAD_BYTES_MAX + 1 + key.len);
        if (large == NULL)
            return err_memory(err, "a key");
        ops = large;
    }
    at = op_put_head(ops, kind, 1 + key.len, value.len, expires_ms);
    at = inner_put(at, database, key);
    w.batch = (struct batch_ref){slice_of(ops, (size_t)(at - ops)), value, 1};
    w.puts = kind == ENTRY_PUT;
    w.user_bytes = key.len + value.len;
    return engine_commit(db, &w);
}

enum quern_code quern_put(struct quern *db, struct quern_slice key, struct quern_slice value,
                          const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_error local;

    return write_one(db, ENTRY_PUT, key, value, opts, ERR_OR(err, local));
}

enum quern_code quern_delete(struct quern *db, struct quern_slice key,
                             const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_error local;

    return write_one(db, ENTRY_DELETE, key, slice_of(NULL, 0), opts, ERR_OR(err, local));
}

void waiter_take_batch(struct waiter *w, const struct quern_batch *batch)
{
    w->checks = buf_slice(&batch->checks);
    w->batch = (struct batch_ref){buf_slice(&batch->ops), {NULL, 0}, batch->count};
    w->puts = batch->puts;
    w->cuts = batch->cuts;
    w->swaps = batch->swaps;
    w->user_bytes = batch->user_bytes;
}

enum quern_code quern_write(struct quern *db, const struct quern_batch *batch,
                            const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_error local;
    struct waiter w = {.sync = opts != NULL && opts->sync, .err = ERR_OR(err, local)};

    if (engine_check(db, w.err))
        return w.err->code;
    waiter_take_batch(&w, batch);
    if (batch->count == 0 && !w.sync && w.checks.len == 0)
        return QUERN_OK;
    return engine_commit(db, &w);
}

enum quern_code quern_delete_range(struct quern *db, const struct quern_range *range,
                                   const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_error local;
    struct quern_batch one = {.count = 0};
    enum quern_code code;

    err = ERR_OR(err, local);
    if (opts != NULL)
        quern_batch_select(&one, opts->database);
    code = quern_batch_delete_range(&one, range, err);
    if (code == QUERN_OK)
        code = quern_write(db, &one, opts, err);
    buf_done(&one.ops);
    return code;
}

enum quern_code quern_sync(struct quern *db, struct quern_error *err)
{
    struct quern_error local;
    struct waiter w = {.sync = true, .err = ERR_OR(err, local)};

    if (engine_check(db, w.err))
        return w.err->code;
    return engine_commit(db, &w);
}

_Static_assert(sizeof(struct waiter) <= sizeof(((struct quern_completion *)0)->internal_),
               "a waiter fits into a completion");

/* `what` says what is to be written. */
static enum quern_code write_async(struct quern *db, const struct waiter *what,
                                   const struct quern_write_opts *opts,
                                   struct quern_completion *completion, struct quern_error *err)
{
    struct quern_error local;
    struct waiter *w = (struct waiter *)completion->internal_;

    err = ERR_OR(err, local);
    if (engine_check(db, err) || engine_refusal(db, err))
        return err->code;
    completion->ready_ = 0;
    *w = *what;
    w->sync = opts != NULL && opts->sync;
    w->async = completion;
    if (opts == NULL || opts->hand == NULL)
        return engine_commit_async(db, w, err);
    w->hand = opts->hand;
    if (opts->hand->count_++ == 0)
        opts->hand->first_ = w;
    else
        ((struct waiter *)opts->hand->last_)->next = w;
    opts->hand->last_ = w;
    return QUERN_OK;
}

enum quern_code quern_write_async(struct quern *db, const struct quern_batch *batch,
                                  const struct quern_write_opts *opts,
                                  struct quern_completion *completion, struct quern_error *err)
{
    struct waiter w = {.async = NULL};

    waiter_take_batch(&w, batch);
    return write_async(db, &w, opts, completion, err);
}

enum quern_code quern_update_async(struct quern *db, quern_update_fn fn, void *arg,
                                   const struct quern_write_opts *opts,
                                   struct quern_completion *completion, struct quern_error *err)
{
    struct waiter w = {.update = fn, .update_arg = arg};

    return write_async(db, &w, opts, completion, err);
}

bool quern_completion_ready(const struct quern_completion *c)
{
    return __atomic_load_n(&c->ready_, __ATOMIC_ACQUIRE) != 0;
}
