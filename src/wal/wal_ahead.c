/* wal_ahead.c - what another thread does beforehand, so that the writer need not wait for it.
 *
 *     the current segment                        the next one, WAL_NEXT_NAME
 *     |hdr|LINK|rec|rec|rec|  zeros  |           |  zeros   |
 *                          ^         ^                      ^
 *                       used      prepared            next_prepared
 *
 *   current   [0, prepared) has its blocks. It is kept 4 MiB ahead of `used`; in the first segment
 *             of a log by as much as was used, 1 MiB at least: a store that hardly writes takes
 *             hardly anything. A page of zeros that reaches the disk before its records is written
 *             twice, so it is not more; 16 MiB where users sync (prepare_current()).
 *   next      is begun when a quarter of a segment was used. Where users sync it is filled, and
 *             whole at three quarters; elsewhere it gets 4 MiB, and the rest when it is current.
 *             Then it is a spare like any other, and beginning a segment is one direct write of
 *             two pages, a rename, a sync of the directory and an edit of the manifest. It is not
 *             made where a spare waits already: a log whose segments come back has no need of it.
 *
 * Where users write directly no file grows under them: each time that it did, the next direct write
 * would wait for the journal, some 3 ms in place of 0.15. The first segment stays as it was begun,
 * next is made whole at once, and the writer goes on in it when the first is used up
 * (docs/decisions/0008).
 *
 * The writer calls on_low every half MiB, and takes the slow way itself when it gets there first.
 * Zeros must never be written over records: whoever raises cur.prepared holds prepare_mu from the
 * look at it to the store, and the writer's records lie below it.
 *
 * The current segment is never synced here. Its file has the writer's bytes in it: a failed sync
 * would have to be told to whoever waits for them, and the kernel tells an error once. Instead
 * write-back is started, so that by the time the writer's direct writes come, the blocks are on
 * disk. `next` has nobody's bytes; when the log's users sync, it is synced before it becomes a
 * spare, since a direct write into dirty zeros would have to allocate their blocks first. */
#include "wal/wal_priv.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/error.h"

#define STEP_BYTES WAL_EXTENT_BYTES_MIN
#define PIECE_BYTES (UINT64_C(128) << 10) /* a write of zeros keeps the file, or the disk, busy */
#define PAUSE_NS UINT64_C(1000000)
#define AHEAD_BYTES_MAX (UINT64_C(4) << 20)
#define AHEAD_SYNCED_BYTES_MAX (UINT64_C(16) << 20)
/* Prepare only where this many segments would still fit. */
#define PLENTY 4u

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

void wal_low_next(struct wal *w)
{
    uint64_t step = w->segment_bytes / 16 < STEP_BYTES / 2 ? w->segment_bytes / 16 : STEP_BYTES / 2;

    counter_set(&w->cur_used, w->cur.end);
    w->low_at = w->cur.end + step;
}

void wal_tell_low(struct wal *w)
{
    wal_low_next(w);
    if (w->on_low != NULL)
        w->on_low(w->on_low_arg);
}

static bool has_plenty(struct wal *w)
{
    struct quern_error ignored;
    uint64_t bytes;

    return os_dir_free_bytes(w->dir, &bytes, &ignored) == QUERN_OK &&
           bytes / PLENTY >= w->segment_bytes;
}

/* Do the users of this log sync? */
static bool is_synced(struct wal *w)
{
    return counter_get(&w->syncs) != w->syncs_seen;
}

/* Do they do it by direct writes? */
static bool is_direct(struct wal *w)
{
    return counter_get(&w->groups_direct) != w->direct_seen;
}

/* ---- the current segment ---- */

/* One step. False: nothing is due, or it failed. */
static bool current_step(struct wal *w, uint64_t target, bool *failed)
{
    struct segment *s = &w->cur;
    struct quern_error ignored;
    uint64_t from, upto;

    mutex_lock(&w->prepare_mu);
    from = segment_prepared(s);
    upto = clamp(from + PIECE_BYTES, 0, target < s->bytes ? target : s->bytes);
    if (upto > from) {
        /* What was written before a failure lies behind `prepared`: written again, or never
         * used. */
        *failed = wal_write_zeros(s->file, from, upto, &ignored) != QUERN_OK;
        if (!*failed) {
            segment_set_prepared(s, upto);
            counter_set(&w->cur_bytes, upto);
        }
    }
    mutex_unlock(&w->prepare_mu);
    return upto > from && !*failed;
}

/* In few large strides rather than many small ones: after each, a writer that syncs waits once for
 * the file system to record the new blocks. */
static void prepare_current(struct wal *w, bool *failed)
{
    uint64_t most = is_synced(w) ? AHEAD_SYNCED_BYTES_MAX : AHEAD_BYTES_MAX;
    uint64_t no = counter_get(&w->cur_no), from = counter_get(&w->cur_bytes);
    uint64_t used = counter_get(&w->cur_used);
    uint64_t ahead = no != w->first_no ? most : clamp(used, STEP_BYTES, most);
    uint64_t target = round_up(used + ahead, RECORD_PAGE_BYTES); /* the writer stands anywhere */

    if (is_direct(w) ||
        from >= used + ahead / 2 + STEP_BYTES / 4) /* half a step to the next call */
        return;
    while (counter_get(&w->cur_no) == no && current_step(w, target, failed))
        continue;
    if (is_synced(w)) {
        mutex_lock(&w->prepare_mu);
        os_file_start_writeback(w->cur.file, from, target - from);
        mutex_unlock(&w->prepare_mu);
    }
}

/* ---- the next one ---- */

void wal_next_drop(struct wal *w)
{
    if (w->next == NULL)
        return;
    os_file_drop(GIVE(w->next));
    wal_remove_name(w, WAL_NEXT_NAME);
    w->next_prepared = 0;
    counter_set(&w->next_bytes, 0);
}

/* How much of it is prepared before it is a spare. */
static uint64_t next_whole(struct wal *w)
{
    return is_synced(w) ? w->segment_bytes : clamp(AHEAD_BYTES_MAX, 0, w->segment_bytes);
}

/* How much of the next segment should be there; 0 when none is wanted. */
static uint64_t next_target(struct wal *w)
{
    uint64_t bytes = w->segment_bytes, used, begin_at = bytes / 4, want;
    bool wanted, trimmed_here;

    mutex_lock(&w->mu);
    used = counter_get(&w->cur_used);
    trimmed_here = w->trimmed_no == counter_get(&w->cur_no);
    if (trimmed_here)
        used = used > w->trimmed_at ? used - w->trimmed_at : 0;
    if (is_direct(w) && (!trimmed_here || counter_get(&w->cur_bytes) < bytes))
        begin_at = 0; /* at once, but not each time that a little is written into a whole one */
    wanted = (is_direct(w) ? !wal_has_whole_spare_locked(w) : w->spare_count == 0) &&
             !w->next_waits && used > begin_at;
    mutex_unlock(&w->mu);
    if (!wanted)
        return 0;
    if (is_direct(w))
        return next_whole(w);
    want = 2 * (used - begin_at);
    return clamp(want >= bytes ? bytes : want / STEP_BYTES * STEP_BYTES, 0, next_whole(w));
}

/* Is the writer on its way to be through the current segment first? */
static bool next_is_late(struct wal *w)
{
    return w->next_prepared * counter_get(&w->cur_bytes) <
           2 * counter_get(&w->cur_used) * w->segment_bytes;
}

/* From now on it is a spare. */
static enum quern_code next_done(struct wal *w, struct quern_error *err)
{
    struct wal_file *f OWNED(alloc_free) = NEW(struct wal_file);
    struct os_file *file;

    if (f == NULL)
        return err_memory(err, "log segment");
    if (is_synced(w) && os_file_sync(w->next, err))
        return err->code;
    file = GIVE(w->next);
    f->bytes = f->prepared = w->next_prepared;
    f->recyclable = true;
    w->next_prepared = 0;
    counter_set(&w->next_bytes, 0);
    if (os_file_close(file, err)) {
        wal_remove_name(w, WAL_NEXT_NAME);
        return err->code;
    }
    w->syncs_seen = counter_get(&w->syncs); /* whether they still do is seen in the next segment */
    w->direct_seen = counter_get(&w->groups_direct);
    wal_add_next(w, GIVE(f));
    return QUERN_OK;
}

static enum quern_code next_step(struct wal *w, struct quern_error *err)
{
    uint64_t from = w->next_prepared, upto = clamp(from + PIECE_BYTES, 0, w->segment_bytes);

    if (w->next == NULL) {
        wal_remove_name(w, WAL_NEXT_NAME); /* an earlier failure may have left one */
        if (os_file_open(w->dir, WAL_NEXT_NAME, OS_WRITE | OS_CREATE, &w->next, err))
            return err->code;
    }
    if (wal_write_zeros(w->next, from, upto, err))
        return err->code;
    w->next_prepared = upto;
    counter_set(&w->next_bytes, upto);
    if (is_synced(w)) { /* the writer's syncs wait for the disk to do all it was given before */
        os_file_start_writeback(w->next, from, upto - from);
        if (!next_is_late(w))
            thread_sleep_ns(PAUSE_NS);
    }
    return QUERN_OK;
}

static void prepare_next(struct wal *w, bool *failed)
{
    struct quern_error ignored;

    while (!*failed && w->next_prepared < next_target(w))
        *failed = next_step(w, &ignored) != QUERN_OK;
    if (!*failed && w->next != NULL && w->next_prepared >= next_whole(w))
        *failed = next_done(w, &ignored) != QUERN_OK;
}

/* ---- the interface ---- */

static bool take_trimmed(struct wal *w)
{
    bool trimmed;

    mutex_lock(&w->mu);
    trimmed = w->trimmed;
    w->trimmed = false;
    mutex_unlock(&w->mu);
    return trimmed;
}

void wal_prepare_ahead(struct wal *w)
{
    uint64_t no = counter_get(&w->cur_no);
    bool failed = false;

    if (take_trimmed(w))
        wal_next_drop(w);
    if (atomic_load_explicit(&w->poisoned, memory_order_relaxed) || w->ahead_gave_up == no)
        return;
    if (has_plenty(w)) {
        prepare_current(w, &failed);
        prepare_next(w, &failed);
    } else {
        failed = true;
    }
    if (failed) { /* whatever it was, the writer meets it when it gets there, and tells */
        w->ahead_gave_up = no;
        wal_next_drop(w);
    }
}
