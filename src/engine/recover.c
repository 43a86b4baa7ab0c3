/* recover.c - from what the log holds to a store that takes writes.
 *
 *     recover_replay     wal_replay -> MemDBs, oldest first (db->recovered); full ones are flushed
 *     recover_finish     MemDBs -> tables; what is dropped is copied aside; the edit that says that
 *                        the old log is not needed; orphans go; the new log, with the old one's files
 *
 * The second half needs space, and waits for it when there is none: the store is open meanwhile.
 * What was replayed is in memory and is read as sealed MemDBs are, db->wal is NULL and writes get
 * NO_SPACE, and the worker tries recover_resume() twice a second. Until the edit the old log is
 * what counts, whole and untouched, so a crash at any moment finds what this one found. Replay is
 * not cut short by a full disk: it goes on into memory, which holds at most what the MemDBs of the
 * store held that wrote the log. */
#include "engine/work_priv.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- replay ---- */

struct recover {
    struct quern *db;
    db_map map; /* of what was replayed so far */
    bool full;  /* the disk is: keep all in memory */
};

/* The oldest MemDB becomes a run of tier 0, and leaves the list. */
static enum quern_code flush_recovered(struct quern *db, struct quern_error *err)
{
    struct memdb oldest = db->recovered[0];
    enum quern_code code = engine_flush_mem(db, &oldest, 0, err);

    if (code == QUERN_NO_SPACE && ballast_give_up(db))
        code = engine_flush_mem(db, &oldest, 0, err);
    return code;
}

static enum quern_code add_mem(struct quern *db, uint64_t bytes, struct quern_error *err)
{
    uint64_t capacity = db->options.memdb_bytes;
    struct memdb *more, fresh = {0};

    fresh.capacity = bytes > capacity ? bytes : capacity;
    if (mem_new(fresh.capacity, &db->spare, &fresh.mem, err))
        return err->code;
    mutex_lock(&db->mu);
    more = alloc_resize(db->recovered, (db->recovered_count + 1) * sizeof(*more));
    if (more != NULL) {
        db->recovered = more;
        more[db->recovered_count++] = fresh;
    }
    mutex_unlock(&db->mu);
    if (more != NULL)
        return QUERN_OK;
    mem_unref(fresh.mem);
    return err_memory(err, "recovery");
}

/* The MemDB that takes the next batch: the last one, or a new one when it is full. */
static enum quern_code recover_mem(struct recover *r, uint64_t bytes, struct memdb **out,
                                   struct quern_error *err)
{
    struct quern *db = r->db;
    size_t n = db->recovered_count;

    if (n == 0 || !mem_fits(db->recovered[n - 1].mem, bytes) ||
        memdb_has_many_cuts(&db->recovered[n - 1])) {
        if (n != 0 && !r->full && flush_recovered(db, err)) {
            if (err->code != QUERN_NO_SPACE)
                return err->code;
            err_clear(err);
            r->full = true;
        }
        if (add_mem(db, bytes, err))
            return err->code;
    }
    *out = &db->recovered[db->recovered_count - 1];
    return QUERN_OK;
}

/* Its range deletes join those of the MemDB, and *own has them for it. */
static enum quern_code recover_cuts(struct memdb *memdb, const struct batch_ref *batch,
                                    quern_seq seq, struct cuts **own, struct quern_error *err)
{
    struct buf list OWNED_BUF = {0};
    struct cuts *all, *before = memdb->cuts;

    if (cuts_own(batch, own, err))
        return err->code;
    if (*own == NULL)
        return QUERN_OK;
    if (cuts_gather(&list, batch, seq, err) ||
        cuts_new(before, (const struct cut *)(const void *)list.data, list.len / sizeof(struct cut),
                 (struct cut_pins){NULL, 0}, &all, err))
        return err->code;
    memdb->cuts = all;
    cuts_unref(before);
    return QUERN_OK;
}

static enum quern_code recover_batch(void *arg, const struct batch_ref *batch, quern_seq seq,
                                     uint64_t segment_no, struct quern_error *err)
{
    struct recover *r = arg;
    struct cuts *own OWNED(cuts_unref) = NULL;
    struct memdb *memdb = NULL;

    if (inner_check_batch(batch, seq, segment_no, err) ||
        recover_mem(r, mem_bytes_needed(batch), &memdb, err) ||
        recover_cuts(memdb, batch, seq, &own, err))
        return err->code;
    mem_apply_cut(memdb->mem, batch, seq, own);
    if (batch_db_map(batch, &r->map)) {
        memdb->map = r->map;
        memdb->map_seq = seq;
    }
    r->db->last_seq = seq;
    return QUERN_OK;
}

enum quern_code recover_replay(struct quern *db, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct recover r = {.db = db, .full = db->options.read_only, .map = state->map};
    enum quern_code code = QUERN_OK;

    db->last_seq = state->flushed_seq;
    if (state->log_first <= state->log_last)
        code = wal_replay(db->dir, state->store_id, state->log_first, state->log_last,
                          state->flushed_seq, (enum wal_recover)db->options.recover, recover_batch,
                          &r, &db->recovery, err);
    if (code == QUERN_OK) {
        mutex_lock(&db->mu);
        db->places.now = db->places.before = r.map;
        code = engine_publish_locked(db, NULL, err);
        mutex_unlock(&db->mu);
    }
    atomic_store(&db->visible_seq, db->last_seq);
    return code;
}

/* ---- the rest ---- */

/* Copy aside what is about to go: the tail that replay cut; and segments that the manifest has
 * lost, when recovery to a point in time goes on without them. */
static void keep_dropped(struct quern *db)
{
    struct wal_replay *r = &db->recovery;
    struct wal_piece lost = {.segment_no = db->lost_first, .offset = WAL_FIRST_RECORD_AT};
    struct wal_piece tail = {r->torn_segment, r->torn_offset, r->torn_bytes};

    db->torn_kept = (struct torn_kept){0};
    if (r->torn && (db->lost_last == 0 || r->torn_segment < db->lost_first))
        torn_keep(db, &tail, manifest_state(db->manifest)->log_last, &db->torn_kept);
    if (db->lost_last == 0)
        return;
    if (!r->torn) {
        r->torn = true;
        r->torn_segment = db->lost_first;
        (void)snprintf(r->torn_text, sizeof(r->torn_text),
                       "log segment %06" PRIu64 ": not named by the manifest; dropped",
                       db->lost_first);
    }
    torn_keep(db, &lost, db->lost_last, &db->torn_kept);
}

static enum quern_code begin_segment(void *arg, uint64_t segment_no, struct quern_error *err)
{
    struct quern *db = arg;
    struct manifest_edit edit = {.set_log_last = true, .log_last = segment_no};

    return manifest_apply(db->manifest, &edit, err);
}

/* The new log, whose first segment comes with the first write. It takes a file of the old one, if
 * there is any, so that it needs no space. */
static enum quern_code start_log(struct quern *db, const struct store_files *files,
                                 struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct wal_config config = {
        .store_id = state->store_id,
        .segment_bytes = db->options.log_segment_bytes,
        .first_segment = (files->log_max > state->log_last ? files->log_max : state->log_last) + 1,
        .spare_first = files->log_min,
        .spare_last = files->log_max,
        .last_seq = db->last_seq,
        .on_begin = begin_segment,
        .on_begin_arg = db,
        .on_low = engine_ahead_call,
        .on_low_arg = db,
    };
    struct wal *wal;

    if (wal_open(db->dir, &config, &wal, err))
        return err->code;
    mutex_lock(&db->mu);
    db->active.log_first = wal_segment_no(wal);
    mutex_unlock(&db->mu);
    atomic_store_explicit(&db->wal, wal, memory_order_release);
    return QUERN_OK;
}

static enum quern_code finish(struct quern *db, struct store_files *files, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct manifest_edit edit = {.set_log_first = true, .log_first = state->log_last + 1};
    bool as_seen = db->recovered_count == 0 && state->log_first > state->log_last;

    while (db->recovered_count != 0)
        if (flush_recovered(db, err))
            return err->code;
    keep_dropped(db);
    if (state->log_first <= state->log_last && manifest_apply(db->manifest, &edit, err))
        return err->code;
    if (!as_seen) { /* an edit may have taken a name, as that of CURRENT.tmp, and given it up */
        files_done(files);
        if (files_look(db, files, err))
            return err->code;
    }
    if (files_clean(db, files, err))
        return err->code;
    return start_log(db, files, err);
}

enum quern_code recover_finish(struct quern *db, struct store_files *files, struct quern_error *err)
{
    enum quern_code code = finish(db, files, err);

    if (code == QUERN_NO_SPACE && ballast_give_up(db))
        code = finish(db, files, err);
    return code == QUERN_OK ? QUERN_OK : err_in(err, "recovery");
}

enum quern_code recover_keep_log(struct quern *db, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);

    /* Where replay to a point in time met a hole there is no row of files to sync. */
    if (db->options.recover == QUERN_RECOVER_POINT_IN_TIME)
        return QUERN_OK;
    if (wal_sync_left(db->dir, state->log_first, state->log_last, err))
        return err_in(err, "recovery");
    db->log_kept = true;
    return QUERN_OK;
}

enum quern_code recover_resume(struct quern *db, struct quern_error *err)
{
    struct store_files files;
    enum quern_code code = files_look(db, &files, err);

    if (code == QUERN_OK)
        code = recover_finish(db, &files, err);
    files_done(&files);
    if (code == QUERN_OK) {
        db->unfinished = false;
        engine_share_memory(db);
        work_set_no_space(db, false, NULL);
    } else if (code == QUERN_NO_SPACE) {
        work_set_no_space(db, true, err);
    } else if (code == QUERN_NO_MEMORY && !atomic_load(&db->failed)) {
        thread_sleep_ns(UINT64_C(100000000)); /* nothing was done; others may free some */
    } else {
        engine_fail(db, err);
    }
    return code;
}
