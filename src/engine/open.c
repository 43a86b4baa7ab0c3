/* open.c - from a directory to a running store, and back.
 *
 *   quern_open
 *     directory, lock
 *     manifest_find -> manifest_open (or manifest_create)      which tables are the store
 *     clean                                                    orphans of a crash go, foreign files
 * stay version_build                                            every table is opened and checked
 *     recover: wal_replay -> MemDBs -> tables                  never append to an old log
 *     wal_open, wal_adopt                                      a new segment; the old ones are
 * spares publish the first view, start the worker
 *
 * Recovery may be cut short at any point and begun again: until the edit that names the recovered
 * tables is durable, the old log is what counts. A store opened read-only keeps what it replays in
 * memory and writes nothing. Page: docs/design/70-recovery.md. */
#include "engine/work_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
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
    if (o->log_segment_bytes == 0) /* as large as a MemDB: one is filled while the other is */
        o->log_segment_bytes = o->memdb_bytes < MIB ? MIB
                               : o->memdb_bytes < WAL_SEGMENT_BYTES_DEFAULT
                                   ? o->memdb_bytes
                                   : WAL_SEGMENT_BYTES_DEFAULT;
    if (o->log_segment_bytes < 64 * 1024)
        return err_set(err, QUERN_INVALID, "log_segment_bytes is %" PRIu64 "; at least 64 KiB",
                       o->log_segment_bytes);
    if ((unsigned)o->compression > QUERN_COMPRESS_ZSTD ||
        (unsigned)o->recover > QUERN_RECOVER_POINT_IN_TIME)
        return err_set(err, QUERN_INVALID, "an option has a value that does not exist");
    db->compact_config = (struct compact_config){
        .tier_runs = o->tier_runs,
        .table_bytes = o->table_bytes,
        .compress_moved = o->compression == QUERN_COMPRESS_DEFAULT,
    };
    return QUERN_OK;
}

/* ---- files that do not belong ---- */

struct clean {
    struct quern *db;
    char (*names)[OS_NAME_BYTES_MAX];
    size_t count, capacity;
    uint64_t file_no_max;      /* among tables and manifests */
    uint64_t log_min, log_max; /* among log segments; log_min is UINT64_MAX without any */
};

/* "000042.sst" and "000012.wal.tmp" begin with digits; foreign names that end alike do not. */
static bool number_of(const char *name, const char *suffix, uint64_t *number)
{
    const char *at = name;

    *number = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
            return false;
    return at - name >= 6 && strcmp(at, suffix) == 0;
}

static bool state_has_table(const struct manifest_state *state, uint64_t table_no)
{
    for (size_t i = 0; i < state->table_count; i++)
        if (state->tables[i].meta.table_no == table_no)
            return true;
    return false;
}

static bool is_orphan(struct clean *c, const char *name)
{
    const struct manifest_state *state = manifest_state(c->db->manifest);
    uint64_t number;

    if (number_of(name, ".sst", &number)) {
        if (number > c->file_no_max)
            c->file_no_max = number;
        return !state_has_table(state, number);
    }
    if (wal_name_parse(name, &number)) {
        if (number > state->log_last && number >= state->log_first)
            return true; /* made, but never begun: nothing acknowledged can be in it */
        if (number < c->log_min)
            c->log_min = number;
        if (number > c->log_max)
            c->log_max = number;
        return false;
    }
    if (number_of(name, ".sst.tmp", &number) || number_of(name, ".wal.tmp", &number) ||
        strcmp(name, "CURRENT.tmp") == 0)
        return true;
    if (strncmp(name, "MANIFEST-", 9) == 0)
        return number_of(name + 9, ".tmp", &number) ||
               (number_of(name + 9, "", &number) && !manifest_owns_name(c->db->manifest, name));
    return false;
}

static enum quern_code see_file(void *arg, const char *name, uint64_t bytes,
                                struct quern_error *err)
{
    struct clean *c = arg;

    (void)bytes;
    if (strlen(name) >= OS_NAME_BYTES_MAX || !is_orphan(c, name))
        return QUERN_OK;
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        void *more = alloc_resize(c->names, capacity * sizeof(*c->names));

        if (more == NULL)
            return err_memory(err, "a list of files");
        c->names = more;
        c->capacity = capacity;
    }
    (void)snprintf(c->names[c->count++], OS_NAME_BYTES_MAX, "%s", name);
    return QUERN_OK;
}

/* Look through the directory: what is there, what does not belong. */
static enum quern_code look(struct quern *db, struct clean *c, struct quern_error *err)
{
    *c = (struct clean){.db = db, .log_min = UINT64_MAX};
    if (os_dir_list(db->dir, see_file, c, err))
        return err->code;
    manifest_skip_file_no(db->manifest, c->file_no_max + 1);
    return QUERN_OK;
}

/* Remove what a crash left behind. Only now that all that does belong was found sound: until then
 * an orphan may be what a repair needs. */
static enum quern_code clean(struct quern *db, struct clean *c, struct quern_error *err)
{
    for (size_t i = 0; i < c->count && !db->options.read_only; i++)
        if (os_dir_remove(db->dir, c->names[i], err))
            return err->code;
    return QUERN_OK;
}

/* ---- recovery ---- */

struct recover {
    struct quern *db;
    struct mem **mems; /* read-only: all of them; else only the last, which fills */
    size_t count;
    quern_seq last_seq;
};

static void recover_done(struct recover *r)
{
    for (size_t i = 0; i < r->count; i++)
        mem_unref(r->mems[i]);
    alloc_free(r->mems);
}

/* The MemDB that takes the next batch: the last one, or a new one when it is full. */
static enum quern_code recover_mem(struct recover *r, uint64_t bytes, struct mem **out,
                                   struct quern_error *err)
{
    uint64_t capacity = r->db->options.memdb_bytes;
    struct mem **more;

    if (r->count != 0 && mem_fits(r->mems[r->count - 1], bytes)) {
        *out = r->mems[r->count - 1];
        return QUERN_OK;
    }
    if (r->count != 0 && !r->db->options.read_only) {
        if (engine_flush_mem(r->db, r->mems[0], 0, true, err))
            return err->code;
        mem_unref(r->mems[0]);
        r->count = 0;
    }
    more = alloc_resize(r->mems, (r->count + 1) * sizeof(*more));
    if (more == NULL)
        return err_memory(err, "recovery");
    r->mems = more;
    if (mem_new(bytes > capacity ? bytes : capacity, &r->mems[r->count], err))
        return err->code;
    *out = r->mems[r->count++];
    return QUERN_OK;
}

static enum quern_code recover_batch(void *arg, const struct batch_ref *batch, quern_seq seq,
                                     uint64_t segment_no, struct quern_error *err)
{
    struct recover *r = arg;
    struct mem *mem = NULL;

    (void)segment_no;
    if (recover_mem(r, mem_bytes_needed(batch), &mem, err))
        return err->code;
    mem_apply(mem, batch, seq);
    r->last_seq = seq;
    return QUERN_OK;
}

/* After replay: what is still in memory becomes tables, and the old log is not needed any more. */
static enum quern_code recover_finish(struct quern *db, struct recover *r, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct manifest_edit edit = {.set_log_first = true, .log_first = state->log_last + 1};

    for (size_t i = 0; i < r->count; i++)
        if (engine_flush_mem(db, r->mems[i], 0, true, err))
            return err->code;
    return manifest_apply(db->manifest, &edit, err);
}

static enum quern_code recover(struct quern *db, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct recover r = {.db = db, .last_seq = state->flushed_seq};
    uint64_t began = os_now_ns(db->os);
    enum quern_code code = QUERN_OK;

    if (state->log_first <= state->log_last) {
        code = wal_replay(db->dir, state->store_id, state->log_first, state->log_last,
                          state->flushed_seq, (enum wal_recover)db->options.recover, recover_batch,
                          &r, &db->recovery, err);
        if (code == QUERN_OK && !db->options.read_only)
            code = recover_finish(db, &r, err);
    }
    if (code == QUERN_OK && db->options.read_only) {
        struct view *view = NULL, *old = atomic_load(&db->view);

        code = view_new(NULL, r.mems, r.count, old->version, &view, err);
        if (code == QUERN_OK) {
            atomic_store(&db->view, view);
            view_unref(old);
        }
    }
    recover_done(&r);
    db->last_seq = r.last_seq;
    atomic_store(&db->visible_seq, r.last_seq);
    db->recovery_us = (os_now_ns(db->os) - began) / 1000;
    return code;
}

/* ---- opening ---- */

static enum quern_code begin_segment(void *arg, uint64_t segment_no, struct quern_error *err)
{
    struct quern *db = arg;
    struct manifest_edit edit = {.set_log_last = true, .log_last = segment_no};

    return manifest_apply(db->manifest, &edit, err);
}

static enum quern_code find_store(struct quern *db, const char *path, struct quern_error *err)
{
    const struct quern_options *o = &db->options;
    bool found;

    if (os_dir_open(db->os, path, !o->must_exist && !o->read_only, &db->dir, err))
        return err->code;
    if (!o->read_only && os_dir_lock(db->dir, LOCK_NAME, &db->lock, err))
        return err->code;
    if (manifest_find(db->dir, &found, err))
        return err->code;
    if (found && o->must_create)
        return err_set(err, QUERN_EXISTS, "there is a store already");
    if (found)
        return manifest_open(db->dir, o->read_only, &db->manifest, err);
    if (o->must_exist || o->read_only)
        return err_set(err, QUERN_NO_STORE, "there is no store in this directory");
    return manifest_create(db->dir, &db->manifest, err);
}

/* The first view: the tables alone. */
static enum quern_code first_view(struct quern *db, struct quern_error *err)
{
    struct version *version OWNED(version_unref) = NULL;
    struct view *view;

    if (version_build(db->dir, db->cache, manifest_state(db->manifest), NULL, &version, err) ||
        view_new(NULL, NULL, 0, version, &view, err))
        return err->code;
    atomic_store(&db->view, view);
    return QUERN_OK;
}

static enum quern_code start_writing(struct quern *db, const struct clean *files,
                                     struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct wal_config config = {
        .store_id = state->store_id,
        .segment_bytes = db->options.log_segment_bytes,
        .first_segment = (files->log_max > state->log_last ? files->log_max : state->log_last) + 1,
        .last_seq = db->last_seq,
        .on_begin = begin_segment,
        .on_begin_arg = db,
    };
    enum quern_code code;

    if (wal_open(db->dir, &config, &db->wal, err))
        return err->code;
    if (files->log_min <= files->log_max)
        wal_adopt(db->wal, files->log_min, files->log_max);
    if (mem_new(db->options.memdb_bytes, &db->active.mem, err))
        return err->code;
    db->active.capacity = db->options.memdb_bytes;
    db->active.log_first = wal_segment_no(db->wal);
    mutex_lock(&db->mu);
    code = engine_publish_locked(db, NULL, err);
    mutex_unlock(&db->mu);
    return code == QUERN_OK ? engine_worker_start(db, err) : code;
}

static enum quern_code open_all(struct quern *db, const char *path, struct quern_error *err)
{
    struct clean files = {0};
    enum quern_code code = find_store(db, path, err);

    if (code == QUERN_OK)
        code = look(db, &files, err);
    if (code == QUERN_OK)
        code = first_view(db, err);
    if (code == QUERN_OK)
        code = recover(db, err);
    if (code == QUERN_OK)
        code = clean(db, &files, err);
    if (code == QUERN_OK) /* later the state is the worker's to read */
        db->tables_at_open = manifest_state(db->manifest)->table_count;
    if (code == QUERN_OK && !db->options.read_only)
        code = start_writing(db, &files, err);
    alloc_free(files.names);
    if (code == QUERN_OK)
        engine_share_memory(db);
    return code;
}

/* Give back everything; works on a handle that is only partly there. */
static void engine_free(struct quern *db)
{
    engine_worker_stop(db);
    wal_drop(db->wal);
    view_unref(atomic_load(&db->view));
    rcu_drain(); /* retired views and frames are freed before the cache goes */
    mem_unref(db->active.mem);
    for (size_t i = 0; i < db->sealed_count; i++)
        mem_unref(db->sealed[i].mem);
    compact_jobs_done(&db->jobs);
    sst_cache_free(db->cache);
    manifest_close(db->manifest);
    os_unlock(db->lock);
    os_dir_close(db->dir);
    mutex_done(&db->queue_mu);
    mutex_done(&db->mu);
    mutex_done(&db->event_mu);
    cond_done(&db->commit_work);
    cond_done(&db->queue_idle);
    cond_done(&db->work);
    cond_done(&db->flushed);
    alloc_free(db);
}

static void say_opened(struct quern *db)
{
    const struct wal_replay *r = &db->recovery;

    if (r->torn)
        engine_event(db, QUERN_EVENT_TORN_TAIL, 0, 0, 0, "%s", r->torn_text);
    engine_event(db, QUERN_EVENT_OPENED, 0, 0, db->recovery_us * 1000,
                 "opened %s: %zu tables; recovered %" PRIu64 " batches (%" PRIu64
                 " bytes) from the log in %" PRIu64 " ms",
                 os_dir_path(db->dir), db->tables_at_open, r->batches, r->bytes,
                 db->recovery_us / 1000);
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
    cond_init(&db->commit_work);
    cond_init(&db->queue_idle);
    cond_init(&db->work);
    cond_init(&db->flushed);
    db->opened_ns = os_now_ns(os);
    if (fill_options(db, options, err) || rcu_start(err) ||
        sst_cache_new(db->options.memory_bytes / 2, &db->cache, err) || open_all(db, path, err)) {
        bool again = err->code == QUERN_NO_SPACE && db->lock != NULL && ballast_give_up(db);

        engine_free(db);
        return again ? engine_open(os, path, options, out, err) : err_in(err, "open %s", path);
    }
    if (db->options.read_only)
        (void)err_set(&db->failure, QUERN_READ_ONLY, "the store was opened read-only");
    atomic_store(&db->failed, db->options.read_only);
    say_opened(db);
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

/* Everything into tables, and the manifest says that no log is needed. */
static enum quern_code settle(struct quern *db, struct quern_error *err)
{
    struct request flush = {.kind = REQUEST_FLUSH, .err = err};
    struct manifest_edit edit = {.set_log_first = true};

    if (engine_refusal(db, err))
        return err->code;
    if (engine_seal(db, 0, true, err) || engine_ask(db, &flush))
        return err->code;
    engine_worker_stop(db);
    if (engine_refusal(db, err) || wal_close(GIVE(db->wal), err))
        return err->code;
    edit.log_first = manifest_state(db->manifest)->log_last + 1;
    return manifest_apply(db->manifest, &edit, err);
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
