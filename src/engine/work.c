/* work.c - the worker: one thread that flushes, merges and does what users ask; the only one that
 * changes the version.
 *
 *   what it does next, most urgent first:
 *     0. recovery waits for space       -> recover_resume (recover.c); nothing else until then
 *     1. a sealed MemDB waits           -> work_flush_oldest (flush.c)
 *     2. somebody waits for a request   -> serve
 *     3. a merge is due                 -> work_merge_step (slices.c): one slice; flushes go first
 *     4. nothing                        -> sleep until called, or until a period has passed
 *   every period: seal a MemDB that has grown old, or whose tombstones slow reads down; say in the
 * log that all is durable; when idle, settle and give spare log segments back.
 *
 * A full disk does not fail the store: what needed space is tried again, writers get NO_SPACE
 * meanwhile, and all goes on by itself when there is room. Damage met by a merge ends merging until
 * the next open: nothing damaged is carried on, everything sound is served. Any other failure
 * forbids writing (engine_fail). */
#include "engine/work_priv.h"

#define TICK_MS_MAX 1000
#define RETRY_MS 500

/* ---- requests ---- */

static void tick(struct quern *db);

static enum quern_code compact_all(struct quern *db, const struct request *r,
                                   struct quern_error *err)
{
    struct compact_job *job;
    uint64_t horizon_ms = engine_horizon_ms(db), done = 0, total = 0, bytes;
    struct compact_need need = {.oldest_pin = engine_oldest_pin(db), .horizon_ms = horizon_ms};
    size_t dropped;
    bool wait;

    if (work_drop_dead(db, horizon_ms, &dropped, err)) {
        work_merge_failed(db, err);
        return err->code;
    }
    for (;;) { /* jobs under way end first */
        job = compact_pick_range(manifest_state(db->manifest), &db->jobs, &need, r->range.start,
                                 r->range.end, db->manifest, &wait);
        if (!wait)
            break;
        job = compact_active(&db->jobs);
        if (work_job_step(db, job, &bytes, err)) {
            work_job_failed(db, job, err);
            return err->code;
        }
    }
    for (size_t i = 0; i < manifest_state(db->manifest)->table_count; i++)
        total += manifest_state(db->manifest)->tables[i].meta.file_bytes;
    while (job != NULL && job->active) {
        if (work_job_step(db, job, &bytes, err)) {
            work_job_failed(db, job, err);
            return err->code;
        }
        done += bytes;
        tick(db);
        if (r->progress != NULL)
            r->progress(r->progress_arg, done < total ? done : total, total);
    }
    if (work_drop_cuts(db, err)) {
        work_merge_failed(db, err);
        return err->code;
    }
    return QUERN_OK;
}

static enum quern_code see_any(void *arg, const char *name, struct quern_error *err)
{
    return err_set(err, QUERN_EXISTS, "%s is not empty: it has the file %s", (const char *)arg,
                   name);
}

static enum quern_code link_tables(struct quern *db, struct os_dir *to,
                                   const struct manifest_state *state, struct quern_error *err)
{
    for (size_t i = 0; i < state->table_count; i++) {
        char name[TABLE_NAME_BYTES];

        table_name(name, state->tables[i].meta.table_no);
        if (os_dir_link(db->dir, name, to, name, err))
            return err->code;
    }
    return os_dir_sync(to, err);
}

/* A store made of hard links to the present tables; all is flushed. */
static enum quern_code checkpoint(struct quern *db, const char *path, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct os_dir *to OWNED(os_dir_close) = NULL;
    struct manifest *manifest OWNED(manifest_close) = NULL;
    struct manifest_state copy = {.created_ms = state->created_ms,
                                  .flushed_seq = state->flushed_seq,
                                  .log_first = 1, /* and log_last 0: no log at all */
                                  .cuts = state->cuts,
                                  .map = state->map,
                                  .tables = state->tables,
                                  .table_count = state->table_count};
    struct quern_error ignored;
    enum quern_code code;

    if (live_save(db, err))
        return err->code;
    memcpy(copy.live, state->live, sizeof(copy.live));
    if (os_dir_open(db->os, path, true, &to, err) || os_dir_list(to, see_any, (void *)path, err))
        return err->code;
    code = link_tables(db, to, &copy, err);
    if (code == QUERN_OK)
        code = manifest_create_from(to, &copy, &manifest, err);
    for (size_t i = 0; code != QUERN_OK && i < copy.table_count; i++) {
        char name[TABLE_NAME_BYTES];

        table_name(name, copy.tables[i].meta.table_no);
        IGNORE(os_dir_remove(to, name, &ignored)); /* so that it can be tried again */
    }
    return code;
}

static void serve(struct quern *db, struct request *r)
{
    enum quern_code code = engine_refusal(db, r->err);

    if (code == QUERN_OK && r->kind == REQUEST_COMPACT)
        code = compact_all(db, r, r->err);
    else if (code == QUERN_OK && r->kind == REQUEST_CHECKPOINT)
        code = checkpoint(db, r->path, r->err);
    r->code = code;
}

static void finish_request(struct quern *db, struct request *r)
{
    mutex_lock(&db->mu);
    r->done = true;
    cond_broadcast(&db->flushed);
    mutex_unlock(&db->mu);
}

/* Nothing could be flushed: those who wait for it are told why, up to the `last` of them (NULL: there is
 * none). */
static void refuse_requests(struct quern *db, const struct request *last,
                            const struct quern_error *why)
{
    bool more = last != NULL;

    mutex_lock(&db->mu);
    while (more) {
        struct request *r = db->requests;

        more = r != last;
        db->requests = r->next;
        *r->err = *why;
        r->code = why->code;
        r->done = true;
    }
    cond_broadcast(&db->flushed);
    mutex_unlock(&db->mu);
}

enum quern_code engine_ask(struct quern *db, struct request *r)
{
    struct request **at;

    mutex_lock(&db->mu);
    for (at = &db->requests; *at != NULL; at = &(*at)->next)
        continue;
    r->next = NULL;
    r->done = false;
    *at = r;
    cond_signal(&db->work);
    while (!r->done)
        cond_wait(&db->flushed, &db->mu);
    mutex_unlock(&db->mu);
    return r->code;
}

/* ---- periods ---- */

/* Tombstones, and what cuts hide, can only go once they are in a table, and with them what they
 * hide. Walking over them has cost as much as the flush will, and nobody holds a number that needs
 * them. */
static bool reads_paid_for_flush(struct quern *db, const struct mem_info *info, bool cut)
{
    uint64_t passed = engine_passed(db);

    if ((info->tombstone_count * 4 < info->entry_count && !cut) || info->entry_count == 0) {
        db->passed_dead = passed;
        return false;
    }
    return (passed - db->passed_dead) * PASS_BYTES >= info->arena_bytes &&
           info->seq_max <= engine_oldest_pin(db);
}

/* Seal a MemDB whose oldest entry has waited long enough, or whose tombstones cost reads more than
 * they should; say in the log what is durable. */
static void tick(struct quern *db)
{
    uint64_t now = os_now_ns(db->os), born;
    struct mem_info info = {0};
    struct quern_error err;
    bool old, cut;

    mutex_lock(&db->mu);
    cut = db->active.cuts != NULL;
    born = db->active.born_ns;
    if (db->active.mem != NULL)
        mem_info(db->active.mem, &info);
    mutex_unlock(&db->mu);
    old = (born != 0 && now - born >= (uint64_t)db->options.flush_interval_ms * 1000000) ||
          reads_paid_for_flush(db, &info, cut);
    if (!engine_try_lead(db)) {
        if (old)
            atomic_store(&db->seal_wanted, true);
        return;
    }
    if (!atomic_load(&db->failed)) {
        if (old)
            IGNORE(engine_seal(db, 0, false, &err)); /* BUSY or no memory: at the next tick */
        if (engine_wal(db) != NULL &&
            wal_mark(engine_wal(db),
                     &err)) /* helps to judge damage later; nothing else depends on it */
            engine_check_log(db, &err);
    }
    engine_stop_leading(db);
    if (!atomic_load(&db->failed) && !db->unfinished)
        IGNORE(live_save(db, &err)); /* else at the next tick, or with the next flush */
}

/* Has nothing been written since the last look? */
static bool is_idle(struct quern *db)
{
    quern_seq seq = atomic_load(&db->visible_seq);
    bool idle = seq == db->last_tick_seq;

    db->last_tick_seq = seq;
    return idle;
}

static struct request *last_request_locked(struct quern *db)
{
    struct request *last = db->requests;

    while (last != NULL && last->next != NULL)
        last = last->next;
    return last;
}

/* What to do now; false: nothing, sleep. A flush that fails is the answer to those who asked before it
 * began. For others it is tried again: there may be room by now. */
static bool work_once(struct quern *db, enum compact_urge urge)
{
    struct request *request = NULL, *last;
    struct quern_error err;
    bool flush;

    mutex_lock(&db->mu);
    flush = db->sealed_count != 0 || db->unfinished;
    last = last_request_locked(db);
    if (!flush && db->requests != NULL) { /* under one lock: who asks has sealed before */
        request = db->requests;
        db->requests = request->next;
    }
    mutex_unlock(&db->mu);
    if (flush) {
        if (atomic_load(&db->failed) && engine_refusal(db, &err)) {
            refuse_requests(db, last, &err);
            return false;
        }
        if ((db->unfinished ? recover_resume : work_flush_oldest)(db, &err) == QUERN_OK)
            return true;
        refuse_requests(db, last, &err);
        return false;
    }
    if (request != NULL) {
        serve(db, request);
        finish_request(db, request);
        return true;
    }
    return work_merge_step(db, urge);
}

static uint64_t tick_ms(const struct quern *db)
{
    uint64_t ms = TICK_MS_MAX;

    if (db->options.flush_interval_ms / 4 < ms)
        ms = db->options.flush_interval_ms / 4;
    if (db->options.compact_interval_ms < ms)
        ms = db->options.compact_interval_ms;
    return ms != 0 ? ms : 1;
}

static void *worker(void *arg)
{
    struct quern *db = arg;
    uint64_t last_tick = os_now_ns(db->os), last_look = last_tick;
    enum compact_urge urge = COMPACT_NORMAL;

    mutex_lock(&db->mu);
    while (!db->stop) {
        uint64_t now;
        bool busy;

        mutex_unlock(&db->mu);
        busy = work_once(db, urge);
        if (!busy)
            urge = COMPACT_NORMAL;
        now = os_now_ns(db->os);
        if (now - last_tick >= tick_ms(db) * 1000000) {
            last_tick = now;
            tick(db);
        }
        if (now - last_look >= (uint64_t)db->options.compact_interval_ms * 1000000) {
            last_look = now;
            urge = is_idle(db) ? COMPACT_IDLE : COMPACT_LOOK;
            busy = true;
            if (urge == COMPACT_IDLE) {
                mem_spare_want(&db->spare, 0);
                engine_share_memory(db);
                if (engine_wal(db) != NULL)
                    wal_trim(engine_wal(db));
                ballast_keep(db);
                scrub_step(db);
            }
        }
        mutex_lock(&db->mu);
        if (busy || db->stop)
            continue;
        if (db->requests == NULL &&
            (db->sealed_count == 0 || db->no_space || db->failure.code != QUERN_OK))
            (void)cond_wait_ms(&db->work, &db->mu, db->no_space ? RETRY_MS : tick_ms(db));
    }
    mutex_unlock(&db->mu);
    return NULL;
}

enum quern_code engine_worker_start(struct quern *db, struct quern_error *err)
{
    if (thread_start(&db->worker, "quern-worker", worker, db, err))
        return err->code;
    db->worker_runs = true;
    return QUERN_OK;
}

void engine_worker_stop(struct quern *db)
{
    if (!db->worker_runs)
        return;
    mutex_lock(&db->mu);
    db->stop = true;
    cond_broadcast(&db->work);
    mutex_unlock(&db->mu);
    (void)pthread_join(db->worker, NULL);
    db->worker_runs = false;
}
