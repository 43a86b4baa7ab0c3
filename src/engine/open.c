/* open.c - from a directory to a running store, and back.
 *
 *   quern_open
 *     directory, lock
 *     manifest_find -> manifest_open (or manifest_create)      which tables are the store
 *     files_look, files_check_lost                             what is there, what should be
 *     version_build                                            every table is opened and checked
 *     recover_replay, recover_finish (recover.c)               the log becomes tables
 *     the worker starts
 *
 * Recovery may be cut short at any point and begun again: until the edit that says that the old log
 * is not needed is durable, the old log is what counts. A store opened read-only keeps what it
 * replays in memory and writes nothing. Page: docs/design/70-recovery.md. */
#include "engine/work_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
/* What lies beside bottom and waiting runs at the worst moment: the log of two MemDBs with its
 * spares, what a slice writes and has not let go of, and what comes before writers are slow enough.
 */
#define BESIDE_MEMDBS 5
#define LOCK_NAME "LOCK"

/* ---- options ---- */

static enum quern_code fill_options(struct quern *db, const struct quern_options *given,
                                    struct quern_error *err)
{
    struct quern_options *o = &db->options;

    if (given != NULL)
        *o = *given;
    if (o->must_exist && o->must_create)
        return err_set(err, QUERN_INVALID, "must_exist and must_create exclude one another");
    if (o->read_only && o->must_create)
        return err_set(err, QUERN_INVALID, "read_only and must_create exclude one another");
    if (o->memory_bytes == 0)
        o->memory_bytes = 256 * MIB;
    if (o->memory_bytes < MIB)
        return err_set(err, QUERN_INVALID, "memory_bytes is %" PRIu64 "; at least 1 MiB is needed",
                       o->memory_bytes);
    if (o->memdb_bytes == 0)
        o->memdb_bytes = o->memory_bytes / 5 < 64 * MIB ? o->memory_bytes / 5 : 64 * MIB;
    if (o->memdb_bytes < 4096)
        o->memdb_bytes = 4096;
    if (o->flush_interval_ms == 0)
        o->flush_interval_ms = 60000;
    if (o->compact_interval_ms == 0)
        o->compact_interval_ms = 10000;
    if (o->block_bytes == 0)
        o->block_bytes = 4096;
    if (o->filter_bits == 0)
        o->filter_bits = 10;
    if (o->table_bytes == 0)
        o->table_bytes = 32 * MIB;
    if (o->tier_runs == 0)
        o->tier_runs = 4;
    if (o->tier_runs < 2 || o->tier_runs > 16)
        return err_set(err, QUERN_INVALID, "tier_runs is %u; 2 to 16 are possible", o->tier_runs);
    /* What is not needed goes soon, but a writer waits for each beginning: decision 0019. */
    if (o->log_segment_bytes == 0)
        o->log_segment_bytes = o->memdb_bytes / 2 < MIB ? MIB
                               : o->memdb_bytes / 2 < WAL_SEGMENT_BYTES_DEFAULT
                                   ? o->memdb_bytes / 2
                                   : WAL_SEGMENT_BYTES_DEFAULT;
    if (o->log_segment_bytes < 64 * 1024)
        return err_set(err, QUERN_INVALID, "log_segment_bytes is %" PRIu64 "; at least 64 KiB",
                       o->log_segment_bytes);
    if ((unsigned)o->compression > QUERN_COMPRESS_ZSTD)
        return err_set(err, QUERN_INVALID, "compression is %u; 0 to %u are possible",
                       (unsigned)o->compression, (unsigned)QUERN_COMPRESS_ZSTD);
    if ((unsigned)o->recover > QUERN_RECOVER_POINT_IN_TIME)
        return err_set(err, QUERN_INVALID, "recover is %u; 0 to %u are possible",
                       (unsigned)o->recover, (unsigned)QUERN_RECOVER_POINT_IN_TIME);
    db->compact_config = (struct compact_config){
        .tier_runs = o->tier_runs,
        .table_bytes = o->table_bytes,
        .memdb_bytes = o->memdb_bytes,
        .beside_bytes = BESIDE_MEMDBS * o->memdb_bytes,
        .compress_moved = o->compression == QUERN_COMPRESS_DEFAULT,
    };
    return QUERN_OK;
}

/* ---- opening ---- */

/* Open the directory, making it if that is wished. One that was there is not synced in its parent: if
 * it has a store, that was done before. */
static enum quern_code open_dir(struct quern *db, const char *path, struct quern_error *err)
{
    enum quern_code code = os_dir_open(db->os, path, false, &db->dir, err);

    if (code != QUERN_NO_STORE || db->options.must_exist || db->options.read_only)
        return code;
    err_clear(err);
    return os_dir_open(db->os, path, true, &db->dir, err);
}

/* The directory's name is durable before there is anything in it: who made it may have died before
 * that. */
static enum quern_code make_store(struct quern *db, const char *path, struct quern_error *err)
{
    struct os_dir *dir;

    if (os_dir_open(db->os, path, true, &dir, err))
        return err->code;
    os_dir_close(dir);
    return manifest_create(db->dir, &db->manifest, err);
}

static enum quern_code find_store(struct quern *db, const char *path, struct quern_error *err)
{
    const struct quern_options *o = &db->options;
    bool found;

    if (open_dir(db, path, err))
        return err->code;
    if (!o->read_only && (os_dir_lock(db->dir, LOCK_NAME, &db->lock, err) ||
                          os_dir_may_write(db->dir, err))) /* now, not with the first write */
        return err->code;
    if (manifest_find(db->dir, &found, err))
        return err->code;
    if (found && o->must_create)
        return err_set(err, QUERN_EXISTS, "there is a store already");
    if (found)
        return manifest_open(db->dir, o->read_only, &db->manifest, err);
    if (o->must_exist || o->read_only)
        return err_set(err, QUERN_NO_STORE, "there is no store in this directory");
    return make_store(db, path, err);
}

/* The first view: the tables alone. */
static enum quern_code first_view(struct quern *db, struct quern_error *err)
{
    struct version *version OWNED(version_unref) = NULL;
    struct view *view;

    if (version_build(db->dir, db->cache, manifest_state(db->manifest), NULL,
                      (struct open_tables){0}, &version, err) ||
        view_new(0, &view, err))
        return err->code;
    view_set_version(view, version);
    atomic_store(&db->view, view);
    work_count_tables(db, version);
    return QUERN_OK;
}

/* What takes writes, except for the log. */
static enum quern_code make_active(struct quern *db, struct quern_error *err)
{
    enum quern_code code;

    if (mem_new(db->options.memdb_bytes, &db->spare, &db->active.mem, err))
        return err->code;
    db->active.capacity = db->options.memdb_bytes;
    mutex_lock(&db->mu);
    code = engine_publish_locked(db, NULL, err);
    mutex_unlock(&db->mu);
    return code;
}

/* From here on the store is open, even if the rest of recovery must wait for space. */
static enum quern_code start_writing(struct quern *db, struct store_files *files,
                                     struct quern_error *err)
{
    enum quern_code code = make_active(db, err);

    if (code == QUERN_OK)
        code = recover_finish(db, files, err);
    if (code == QUERN_NO_SPACE) {
        db->unfinished = true;
        work_set_no_space(db, true, err);
        code = recover_keep_log(db, err);
    }
    db->tables_at_open = manifest_state(db->manifest)->table_count;
    return code;
}

static void say_opened(struct quern *db)
{
    const struct wal_replay *r = &db->recovery;

    if (r->torn)
        engine_event(db, QUERN_EVENT_TORN_TAIL, 0, 0, 0, "%s%s", r->torn_text,
                     db->unfinished ? "; it stays in the log until there is space to go on"
                                    : db->torn_kept.text);
    engine_event(db, QUERN_EVENT_OPENED, 0, 0, db->recovery_us * 1000,
                 "opened %s: %zu tables; recovered %" PRIu64 " batches (%" PRIu64
                 " bytes) from the log in %" PRIu64 " ms",
                 os_dir_path(db->dir), db->tables_at_open, r->batches, r->bytes,
                 db->recovery_us / 1000);
}

static enum quern_code open_all(struct quern *db, const char *path, struct quern_error *err)
{
    struct store_files files = {0};
    uint64_t began = os_now_ns(db->os);
    enum quern_code code = find_store(db, path, err);

    if (code == QUERN_OK)
        code = files_look(db, &files, err);
    if (code == QUERN_OK)
        code = files_check_lost(db, &files, err);
    if (code == QUERN_OK)
        code = first_view(db, err);
    if (code == QUERN_OK) {
        live_open(db);
        code = recover_replay(db, err);
    }
    if (code == QUERN_OK) /* later the state is the worker's to read */
        db->tables_at_open = manifest_state(db->manifest)->table_count;
    if (code == QUERN_OK && !db->options.read_only)
        code = start_writing(db, &files, err);
    files_done(&files);
    db->recovery_us = (os_now_ns(db->os) - began) / 1000;
    if (code == QUERN_OK) /* before the worker, which may change what is told */
        say_opened(db);
    db->shared = true;
    if (code == QUERN_OK && !db->options.read_only)
        code = engine_worker_start(db, err);
    if (code == QUERN_OK)
        engine_share_memory(db);
    return code;
}

/* Give back everything; works on a handle that is only partly there. */
static void engine_free(struct quern *db)
{
    engine_worker_stop(db);
    engine_ahead_stop(db);
    wal_drop(engine_wal(db));
    view_unref(atomic_load(&db->view));
    rcu_drain(); /* retired views and frames are freed before the cache goes */
    memdb_done(&db->active);
    for (size_t i = 0; i < db->sealed_count; i++)
        memdb_done(&db->sealed[i]);
    for (size_t i = 0; i < db->recovered_count; i++)
        memdb_done(&db->recovered[i]);
    alloc_free(db->recovered);
    engine_updates_done(db);
    mem_spare_done(&db->spare);
    compact_jobs_done(&db->jobs);
    sst_cache_free(db->cache);
    manifest_close(db->manifest);
    os_unlock(db->lock);
    os_dir_close(db->dir);
    mutex_done(&db->queue_mu);
    mutex_done(&db->mu);
    mutex_done(&db->event_mu);
    spans_done(&db->spans);
    live_done(&db->live);
    mutex_done(&db->ahead_mu);
    cond_done(&db->ahead_work);
    cond_done(&db->commit_work);
    cond_done(&db->queue_idle);
    cond_done(&db->work);
    cond_done(&db->flushed);
    alloc_free(db);
}

enum quern_code engine_open(struct os *os, const char *path, const struct quern_options *options,
                            struct quern **out, struct quern_error *err)
{
    struct quern *db = alloc_aligned(64, sizeof(*db));

    if (db == NULL)
        return err_memory(err, "the store");
    memset(db, 0, sizeof(*db));
    engine_forks_watch();
    db->os = os;
    db->fork_generation = engine_fork_generation();
    db->pins.prev = db->pins.next = &db->pins;
    mutex_init(&db->queue_mu);
    mutex_init(&db->mu);
    mutex_init(&db->event_mu);
    spans_init(&db->spans);
    live_init(&db->live);
    mem_spare_init(&db->spare);
    mutex_init(&db->ahead_mu);
    cond_init(&db->ahead_work);
    cond_init(&db->commit_work);
    cond_init(&db->queue_idle);
    cond_init(&db->work);
    cond_init(&db->flushed);
    db->opened_ns = os_now_ns(os);
    if (fill_options(db, options, err) || rcu_start(err) ||
        sst_cache_new(db->options.memory_bytes / 2, &db->cache, err) || open_all(db, path, err)) {
        engine_free(db);
        return err_in(err, "open %s", path);
    }
    if (db->options.read_only)
        (void)err_set(&db->failure, QUERN_READ_ONLY, "the store was opened read-only");
    atomic_store(&db->failed, db->options.read_only);
    *out = db;
    return QUERN_OK;
}

enum quern_code quern_open(const char *path, const struct quern_options *options,
                           struct quern **out, struct quern_error *err)
{
    struct quern_error local;

    err = ERR_OR(err, local);
    if (path == NULL || path[0] == '\0')
        return err_set(err, QUERN_INVALID, "the path of the store is empty");
    return engine_open(os_local(), path, options, out, err);
}

/* ---- closing ---- */

/* Segments that the manifest does not name any more. One that stays is adopted by the next open. */
static void remove_log(struct quern *db, uint64_t from, uint64_t end)
{
    struct quern_error ignored;
    char name[WAL_NAME_BYTES];

    for (uint64_t no = from; no < end; no++) {
        wal_name(name, no);
        IGNORE(os_dir_remove(db->dir, name, &ignored));
    }
}

/* The manifest says that no log is needed, if it does not say so already. */
static enum quern_code settle_log(struct quern *db, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    uint64_t first = state->log_first;
    struct manifest_edit edit = {.set_log_first = true, .log_first = state->log_last + 1};

    if (first > state->log_last)
        return QUERN_OK;
    if (manifest_apply(db->manifest, &edit, err))
        return err->code;
    remove_log(db, first, edit.log_first);
    return QUERN_OK;
}

/* Close the MemDB. Where one before it waits on a disk that was full, that is tried first: there may be
 * room by now. */
static enum quern_code seal_last(struct quern *db, struct quern_error *err)
{
    struct request flush = {.kind = REQUEST_FLUSH, .err = err};
    enum quern_code code = engine_seal(db, 0, true, err);

    if (code == QUERN_NO_SPACE) {
        code = engine_ask(db, &flush);
        if (code == QUERN_OK)
            code = engine_seal(db, 0, true, err);
    }
    return code;
}

/* Everything into tables. A store into which nothing was written is left as it is. */
static enum quern_code settle(struct quern *db, struct quern_error *err)
{
    struct request flush = {.kind = REQUEST_FLUSH, .err = err};
    struct quern_error ignored;

    if (engine_refusal(db, err))
        return err->code;
    if (seal_last(db, err))
        return err->code;
    /* The worker is not woken for nothing; without a log, recovery has still to be finished. */
    if ((engine_sealed_count(db) != 0 || engine_wal(db) == NULL) && engine_ask(db, &flush))
        return err->code;
    engine_worker_stop(db);
    engine_ahead_stop(db);
    if (engine_refusal(db, err))
        return err->code;
    wal_trim(engine_wal(db));
    if (wal_close(atomic_exchange(&db->wal, NULL), err))
        return err->code;
    IGNORE(live_save(db, &ignored)); /* what the manifest says instead is right, or nothing */
    return settle_log(db, err);
}

enum quern_code quern_close(struct quern *db, struct quern_error *err)
{
    struct quern_error local;
    enum quern_code code = QUERN_OK;

    err = ERR_OR(err, local);
    if (db == NULL)
        return QUERN_OK;
    if (engine_check(db, err))
        return err->code;
    if (!db->options.read_only) {
        engine_writes_end(db);
        code = settle(db, err);
    }
    if (code == QUERN_OK)
        engine_event(db, QUERN_EVENT_CLOSED, 0, 0, 0, "closed; all data is safe on disk");
    else
        (void)err_in(err, "close %s", os_dir_path(db->dir));
    engine_free(db);
    return code;
}
