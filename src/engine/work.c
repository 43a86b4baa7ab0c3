/* work.c - the worker: one thread that flushes, merges and does what users ask; the only one that
 * changes the version.
 *
 *   what it does next, most urgent first:
 *     1. a sealed MemDB waits                 -> flush_oldest
 *     2. somebody waits for a request         -> serve
 *     3. a merge is due (compact_pick)        -> one slice; in the middle of it, 1. goes first
 * (yield)
 *     4. nothing                              -> sleep until called, or until a period has passed
 *   every period: seal a MemDB that has grown old, say in the log that all is durable, settle when
 * idle.
 *
 * A full disk does not fail the store: what needed space is tried again, writers get NO_SPACE
 * meanwhile, and all goes on by itself when there is room. Damage met by a merge ends merging until
 * the next open: nothing damaged is carried on, everything sound is served. Any other failure
 * forbids writing (engine_fail). */
#include "engine/engine_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#define TICK_MS_MAX 1000
#define RETRY_MS 500
/* Free space that a merge must leave behind. */
#define SPACE_RESERVE_BYTES (UINT64_C(16) << 20)

/* ---- pins ---- */

static int compare_seqs(const void *a, const void *b)
{
    quern_seq x = *(const quern_seq *)a, y = *(const quern_seq *)b;

    return (x > y) - (x < y);
}

enum quern_code engine_pins(struct quern *db, quern_seq **out, size_t *count,
                            struct quern_error *err)
{
    quern_seq *list;
    size_t n = 0, unique = 0;

    mutex_lock(&db->mu);
    list = alloc_array((size_t)db->snapshot_count + db->iterator_count + 1, sizeof(*list));
    if (list != NULL)
        for (struct pin *p = db->pins.next; p != &db->pins; p = p->next)
            list[n++] = p->seq;
    mutex_unlock(&db->mu);
    if (list == NULL)
        return err_memory(err, "a list of snapshots");
    qsort(list, n, sizeof(*list), compare_seqs);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || list[unique - 1] != list[i])
            list[unique++] = list[i];
    *out = list;
    *count = unique;
    return QUERN_OK;
}

/* ---- edits ---- */

static void count_runs(struct quern *db, const struct version *version)
{
    uint32_t runs = 0;

    for (size_t r = 0; r < version->run_count; r++)
        runs += version->runs[r].tier == 0;
    atomic_store(&db->tier0_runs, runs);
}

/* The worker alone changes the version, so to the worker it stays; the view around it may be
 * replaced by a leader at any time, hence the lock. */
static struct version *present_version(struct quern *db)
{
    struct version *version;

    mutex_lock(&db->mu);
    version = atomic_load_explicit(&db->view, memory_order_relaxed)->version;
    mutex_unlock(&db->mu);
    return version;
}

enum quern_code engine_apply_edit(struct quern *db, const struct manifest_edit *edit, bool flushed,
                                  struct quern_error *err)
{
    struct version *version OWNED(version_unref) = NULL;
    struct version *old OWNED(version_unref) = present_version(db);
    struct memdb done = {0};
    enum quern_code code;

    version_ref(old);
    if (manifest_apply(db->manifest, edit, err))
        return err->code;
    code = version_build(db->dir, db->cache, manifest_state(db->manifest), old, &version, err);
    if (code == QUERN_OK) {
        mutex_lock(&db->mu);
        if (flushed) {
            done = db->sealed[0];
            for (size_t i = 1; i < db->sealed_count; i++)
                db->sealed[i - 1] = db->sealed[i];
            db->sealed_count--;
        }
        code = engine_publish_locked(db, version, err);
        if (flushed && code == QUERN_OK)
            cond_broadcast(&db->flushed);
        mutex_unlock(&db->mu);
    }
    if (code != QUERN_OK) { /* the disk has moved on and memory has not: only a reopen helps */
        engine_fail(db, err);
        return code;
    }
    count_runs(db, version);
    version_condemn(old, version);
    mem_unref(done.mem);
    return QUERN_OK;
}

/* ---- flush ---- */

static enum sst_codec codec_for(const struct quern *db, bool bottom)
{
    switch (db->options.compression) {
    case QUERN_COMPRESS_NONE:
        return SST_PLAIN;
    case QUERN_COMPRESS_LZ4:
        return SST_LZ4;
    case QUERN_COMPRESS_ZSTD:
        return bottom ? SST_ZSTD : SST_LZ4;
    case QUERN_COMPRESS_DEFAULT:
        break;
    }
    return bottom ? SST_LZ4 : SST_PLAIN;
}

static struct compact_rules rules_for(const struct quern *db, bool bottom, bool nothing_below)
{
    return (struct compact_rules){
        .bottom = nothing_below,
        .table_bytes = db->options.table_bytes,
        .block_bytes = db->options.block_bytes,
        .filter_bits = db->options.filter_bits == UINT32_MAX ? 0 : db->options.filter_bits,
        .codec = codec_for(db, bottom),
    };
}

/* The edit that makes new tables one run. The metas are borrowed. */
static enum quern_code list_tables(const struct compact_output *out, uint32_t tier, uint64_t run_no,
                                   struct manifest_table **list, struct quern_error *err)
{
    *list = alloc_array(out->count + 1, sizeof(**list));
    if (*list == NULL)
        return err_memory(err, "a manifest edit");
    for (size_t i = 0; i < out->count; i++)
        (*list)[i] = (struct manifest_table){tier, run_no, out->tables[i]};
    return QUERN_OK;
}

/* These leave the manifest as it was; after any other failure it may name the new tables. */
static bool edit_was_refused(enum quern_code code)
{
    return code == QUERN_NO_SPACE || code == QUERN_NO_MEMORY;
}

static void remove_tables(struct quern *db, const struct compact_output *out)
{
    for (size_t i = 0; i < out->count; i++) {
        char name[TABLE_NAME_BYTES];
        struct quern_error ignored;

        table_name(name, out->tables[i].table_no);
        IGNORE(os_dir_remove(db->dir, name, &ignored)); /* else it goes at the next open */
    }
}

enum quern_code engine_flush_mem(struct quern *db, struct mem *mem, uint64_t log_first,
                                 bool recovering, struct quern_error *err)
{
    struct compact_rules rules = rules_for(db, false, present_version(db)->run_count == 0);
    struct iter *in OWNED(iter_free) = NULL;
    struct compact_output out;
    struct manifest_table *list = NULL;
    struct manifest_edit edit = {.set_flushed_seq = true};
    struct mem_info info;
    quern_seq *pins = NULL;
    uint64_t began = os_now_ns(db->os), ns;
    enum quern_code code;

    mem_info(mem, &info);
    if (mem_iter(mem, &in, err) || engine_pins(db, &pins, &rules.snapshot_count, err))
        return err->code;
    rules.snapshots = pins;
    iter_first(in);
    code = compact_merge(db->dir, db->manifest, in, slice_of(NULL, 0), &rules, &out, err);
    alloc_free(pins);
    if (code != QUERN_OK)
        return err_in(err, "flush");
    edit.flushed_seq = info.seq_max;
    edit.set_log_first = !recovering;
    edit.log_first = log_first;
    code = list_tables(&out, 0, manifest_take_file_no(db->manifest), &list, err);
    edit.add = list;
    edit.add_count = out.count;
    if (code == QUERN_OK)
        code = engine_apply_edit(db, &edit, !recovering, err);
    if (edit_was_refused(code) && !atomic_load(&db->failed))
        remove_tables(db, &out);
    alloc_free(list);
    ns = os_now_ns(db->os) - began;
    if (code == QUERN_OK) {
        uint64_t rate = info.arena_bytes * 1000 / (ns / 1000000 + 1);
        uint64_t before = atomic_load(&db->flush_rate);

        atomic_store(&db->flush_rate, before == 0 ? rate : (3 * before + rate) / 4);
        atomic_fetch_add(&db->flushes, 1);
        atomic_fetch_add(&db->flush_bytes, out.bytes_written);
        atomic_fetch_add(&db->flush_ns, ns);
        atomic_store(&db->last_flush_ns, os_now_ns(db->os));
        engine_event(db, QUERN_EVENT_FLUSHED, info.arena_bytes, out.bytes_written, ns,
                     "flushed %" PRIu64 " entries, %" PRIu64 " bytes, in %zu tables",
                     out.entries_out, out.bytes_written, out.count);
    }
    compact_output_done(&out);
    return code == QUERN_OK ? QUERN_OK : err_in(err, "flush");
}

static void set_no_space(struct quern *db, bool no_space, const struct quern_error *why)
{
    bool changed;

    mutex_lock(&db->mu);
    changed = db->no_space != no_space;
    db->no_space = no_space;
    cond_broadcast(&db->flushed);
    mutex_unlock(&db->mu);
    if (changed && no_space)
        engine_event(db, QUERN_EVENT_NO_SPACE, 0, 0, 0, "waiting for disk space: %s", why->text);
    else if (changed)
        engine_event(db, QUERN_EVENT_RESUMED, 0, 0, 0, "disk space is back; writing goes on");
}

/* Flush the oldest sealed MemDB, if any. */
static enum quern_code flush_oldest(struct quern *db, struct quern_error *err)
{
    struct memdb oldest;
    uint64_t log_first;
    enum quern_code code;

    mutex_lock(&db->mu);
    if (db->sealed_count == 0) {
        mutex_unlock(&db->mu);
        return QUERN_OK;
    }
    oldest = db->sealed[0];
    log_first = db->sealed_count > 1 ? db->sealed[1].log_first : db->active.log_first;
    mem_ref(oldest.mem);
    mutex_unlock(&db->mu);
    code = engine_flush_mem(db, oldest.mem, log_first, false, err);
    mem_unref(oldest.mem);
    if (code == QUERN_OK) {
        wal_release(db->wal, log_first);
        engine_share_memory(db);
        set_no_space(db, false, NULL);
    } else if (code == QUERN_NO_SPACE) {
        set_no_space(db, true, err);
    } else {
        engine_fail(db, err);
    }
    return code;
}

/* ---- merges ---- */

static bool flush_waits(struct quern *db)
{
    bool waits;

    mutex_lock(&db->mu);
    waits = db->sealed_count != 0 && db->failure.code == QUERN_OK && !db->no_space;
    mutex_unlock(&db->mu);
    return waits;
}

/* In the middle of a merge: what is more urgent goes first. */
static enum quern_code merge_yield(void *arg, struct quern_error *err)
{
    struct quern *db = arg;

    while (flush_waits(db))
        if (flush_oldest(db, err) == QUERN_OK)
            continue;
        else if (err->code != QUERN_NO_SPACE)
            return err->code;
    mutex_lock(&db->mu);
    if (db->stop)
        (void)err_set(err, QUERN_CLOSED, "the store is being closed");
    else
        err_clear(err);
    mutex_unlock(&db->mu);
    return err->code;
}

/* A slice in terms that outlive changes of the manifest: numbers and copies. */
struct slice_work {
    struct version *version; /* referenced */
    struct table **tables;   /* all, run by run, newest run first; borrowed from the version */
    size_t *run_end;         /* where each run's tables end */
    size_t table_count, run_count;
    uint64_t *remove;
    size_t remove_count;
    struct manifest_trim *trim;
    size_t trim_count;
    struct buf start;
};

static void slice_work_done(struct slice_work *s)
{
    version_unref(s->version);
    alloc_free(s->tables);
    alloc_free(s->run_end);
    alloc_free(s->remove);
    alloc_free(s->trim);
    buf_done(&s->start);
}

static bool slice_names(const struct compact_slice *slice, const struct manifest_state *state,
                        uint64_t table_no)
{
    for (size_t i = 0; i < slice->table_count; i++)
        if (state->tables[slice->table[i]].meta.table_no == table_no)
            return true;
    return false;
}

/* Which tables go and which are trimmed; the open tables of the slice, grouped by run. */
static enum quern_code slice_prepare(struct quern *db, const struct compact_slice *slice,
                                     struct slice_work *s, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    size_t n = slice->table_count;

    s->version = present_version(db);
    version_ref(s->version);
    s->tables = alloc_array(n + 1, sizeof(struct table *));
    s->run_end = alloc_array(n + 1, sizeof(size_t));
    s->remove = alloc_array(n + 1, sizeof(uint64_t));
    s->trim = alloc_array(n + 1, sizeof(struct manifest_trim));
    if (s->tables == NULL || s->run_end == NULL || s->remove == NULL || s->trim == NULL)
        return err_memory(err, "a compaction");
    for (size_t i = 0; i < n; i++) {
        const struct table_meta *meta = &state->tables[slice->table[i]].meta;

        if (slice->end.len != 0 &&
            key_compare(buf_slice(&meta->largest), buf_slice(&slice->end)) >= 0)
            s->trim[s->trim_count++] =
                (struct manifest_trim){meta->table_no, buf_slice(&slice->end)};
        else
            s->remove[s->remove_count++] = meta->table_no;
    }
    for (size_t r = 0; r < s->version->run_count; r++) {
        const struct run *run = &s->version->runs[r];
        size_t before = s->table_count;

        for (size_t i = 0; i < run->count; i++)
            if (slice_names(slice, state, sst_meta(run->tables[i]->sst)->table_no))
                s->tables[s->table_count++] = run->tables[i];
        if (s->table_count != before)
            s->run_end[s->run_count++] = s->table_count;
    }
    return buf_append(&s->start, slice->start.data, slice->start.len, err);
}

static enum quern_code slice_cursor(const struct slice_work *s, struct iter **out,
                                    struct quern_error *err)
{
    struct iter **inputs = alloc_array(s->run_count + 1, sizeof(struct iter *));
    size_t from = 0, count = 0;
    enum quern_code code = QUERN_OK;

    if (inputs == NULL)
        return err_memory(err, "a compaction");
    for (; count < s->run_count && code == QUERN_OK; count++) {
        code = tables_iter(s->tables + from, s->run_end[count] - from, true, &inputs[count], err);
        if (code != QUERN_OK)
            break;
        from = s->run_end[count];
    }
    if (code == QUERN_OK)
        code = iter_merge(inputs, count, out, err); /* takes or frees the inputs */
    else
        while (count-- > 0)
            iter_free(inputs[count]);
    alloc_free(inputs);
    if (code == QUERN_OK)
        iter_seek(*out, buf_slice(&s->start));
    return code;
}

/* Would the slice's output fit on the disk? Rewriting needs its input's size again, for a moment.
 */
static enum quern_code check_space(struct quern *db, uint64_t bytes, struct quern_error *err)
{
    uint64_t free_bytes;

    if (os_dir_free_bytes(db->dir, &free_bytes, err))
        return err->code;
    if (free_bytes < bytes + SPACE_RESERVE_BYTES)
        return err_set(err, QUERN_NO_SPACE,
                       "a merge needs %" PRIu64 " bytes and %" PRIu64 " are free",
                       bytes + SPACE_RESERVE_BYTES, free_bytes);
    return QUERN_OK;
}

static enum quern_code merge_slice(struct quern *db, struct compact_job *job,
                                   const struct compact_slice *slice, struct quern_error *err)
{
    bool bottom = job->target_tier == TIER_BOTTOM;
    struct compact_rules rules = rules_for(db, bottom, bottom);
    struct slice_work s = {0};
    struct iter *in = NULL;
    struct compact_output out = {0};
    struct manifest_table *list = NULL;
    quern_seq *pins = NULL;
    uint64_t began = os_now_ns(db->os), ns;
    enum quern_code code = check_space(db, slice->bytes_in, err);

    if (code == QUERN_OK)
        code = slice_prepare(db, slice, &s, err);
    if (code == QUERN_OK)
        code = engine_pins(db, &pins, &rules.snapshot_count, err);
    if (code == QUERN_OK)
        code = slice_cursor(&s, &in, err);
    if (code == QUERN_OK) {
        rules.snapshots = pins;
        rules.yield = merge_yield;
        rules.yield_arg = db;
        code = compact_merge(db->dir, db->manifest, in, buf_slice(&slice->end), &rules, &out, err);
    }
    iter_free(in);
    if (code == QUERN_OK)
        code = list_tables(&out, job->target_tier, job->target_run, &list, err);
    if (code == QUERN_OK) {
        struct manifest_edit edit = {.remove = s.remove,
                                     .remove_count = s.remove_count,
                                     .add = list,
                                     .add_count = out.count,
                                     .trim = s.trim,
                                     .trim_count = s.trim_count};

        code = engine_apply_edit(db, &edit, false, err);
    }
    if (edit_was_refused(code) && !atomic_load(&db->failed))
        remove_tables(db, &out);
    ns = os_now_ns(db->os) - began;
    if (code == QUERN_OK) {
        atomic_fetch_add(&db->compactions, 1);
        atomic_fetch_add(&db->compact_read_bytes, slice->bytes_in);
        atomic_fetch_add(&db->compact_write_bytes, out.bytes_written);
        atomic_fetch_add(&db->compact_ns, ns);
        engine_event(db, QUERN_EVENT_COMPACTED, slice->bytes_in, out.bytes_written, ns,
                     "merged %zu tables of %zu runs into %zu of tier %u: %" PRIu64
                     " entries in, %" PRIu64 " out",
                     s.table_count, s.run_count, out.count, job->target_tier, out.entries_in,
                     out.entries_out);
    }
    alloc_free(list);
    alloc_free(pins);
    compact_output_done(&out);
    slice_work_done(&s);
    return code;
}

static enum quern_code move_slice(struct quern *db, const struct compact_job *job,
                                  const struct compact_slice *slice, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct manifest_table *list = alloc_array(slice->table_count, sizeof(*list));
    uint64_t *numbers = alloc_array(slice->table_count, sizeof(*numbers));
    struct manifest_edit edit = {.remove = numbers,
                                 .remove_count = slice->table_count,
                                 .add = list,
                                 .add_count = slice->table_count};
    enum quern_code code;

    if (list == NULL || numbers == NULL) {
        code = err_memory(err, "a compaction");
    } else {
        for (size_t i = 0; i < slice->table_count; i++) {
            list[i] = state->tables[slice->table[i]];
            list[i].tier = job->target_tier;
            list[i].run_no = job->target_run;
            numbers[i] = list[i].meta.table_no;
        }
        code = engine_apply_edit(db, &edit, false, err);
    }
    if (code == QUERN_OK) {
        atomic_fetch_add(&db->table_moves, slice->table_count);
        engine_event(db, QUERN_EVENT_COMPACTED, 0, 0, 0, "moved %zu tables to tier %u unread",
                     slice->table_count, job->target_tier);
    }
    alloc_free(list);
    alloc_free(numbers);
    return code;
}

/* One slice of a job; ends the job after its last. *bytes: what the slice read. */
static enum quern_code job_step(struct quern *db, struct compact_job *job, uint64_t *bytes,
                                struct quern_error *err)
{
    struct compact_slice slice;
    enum quern_code code;

    *bytes = 0;
    if (compact_next_slice(manifest_state(db->manifest), job, &db->compact_config, &slice, err))
        return err->code;
    if (slice.done) {
        job->active = false;
        compact_slice_done(&slice);
        return QUERN_OK;
    }
    code = slice.move ? move_slice(db, job, &slice, err) : merge_slice(db, job, &slice, err);
    if (code == QUERN_OK) {
        *bytes = slice.bytes_in;
        buf_clear(&job->position);
        code = buf_append(&job->position, slice.end.data, slice.end.len, err);
        if (slice.end.len == 0 || code != QUERN_OK)
            job->active = false; /* done; or, without memory for the place, begun anew later */
        atomic_store(&db->last_compact_ns, os_now_ns(db->os));
    }
    compact_slice_done(&slice);
    return code == QUERN_OK ? QUERN_OK : err_in(err, "compaction");
}

/* A step failed: say so, and see to it that the next does not run into the same wall at once. */
static void job_failed(struct quern *db, struct compact_job *job, const struct quern_error *err)
{
    job->active = false;
    switch (err->code) {
    case QUERN_CLOSED:
        return;
    case QUERN_NO_SPACE:
    case QUERN_NO_MEMORY:
        db->merge_again_ns = os_now_ns(db->os) + UINT64_C(5000000000);
        engine_event(db, QUERN_EVENT_NO_SPACE, 0, 0, 0, "will be tried again: %s", err->text);
        return;
    case QUERN_CORRUPT:
        db->merge_again_ns = UINT64_MAX;
        atomic_fetch_add(&db->corrupt_blocks, 1);
        engine_event(db, QUERN_EVENT_CORRUPT, 0, 0, 0, "merging stops until the next open: %s",
                     err->text);
        return;
    default:
        engine_fail(db, err);
    }
}

/* One step of the most urgent merge. False: there is nothing to merge now. */
static bool merge_step(struct quern *db, enum compact_urge urge)
{
    struct compact_job *job;
    struct quern_error err;
    uint64_t bytes;

    if (atomic_load(&db->failed) || os_now_ns(db->os) < db->merge_again_ns)
        return false;
    job = compact_pick(manifest_state(db->manifest), &db->jobs, &db->compact_config, urge,
                       db->manifest);
    if (job == NULL)
        return false;
    if (job_step(db, job, &bytes, &err))
        job_failed(db, job, &err);
    return true;
}

/* ---- requests ---- */

static enum quern_code compact_all(struct quern *db, const struct request *r,
                                   struct quern_error *err)
{
    struct compact_job *job;
    uint64_t done = 0, total = 0, bytes;
    bool wait;

    for (;;) { /* jobs under way end first */
        job = compact_pick_range(manifest_state(db->manifest), &db->jobs, r->range.start,
                                 r->range.end, db->manifest, &wait);
        if (!wait)
            break;
        job = compact_pick(manifest_state(db->manifest), &db->jobs, &db->compact_config,
                           COMPACT_NORMAL, db->manifest);
        if (job != NULL && job_step(db, job, &bytes, err)) {
            job_failed(db, job, err);
            return err->code;
        }
    }
    for (size_t i = 0; i < manifest_state(db->manifest)->table_count; i++)
        total += manifest_state(db->manifest)->tables[i].meta.file_bytes;
    while (job != NULL && job->active) {
        if (job_step(db, job, &bytes, err)) {
            job_failed(db, job, err);
            return err->code;
        }
        done += bytes;
        if (r->progress != NULL)
            r->progress(r->progress_arg, done < total ? done : total, total);
    }
    return QUERN_OK;
}

static enum quern_code see_any(void *arg, const char *name, uint64_t bytes, struct quern_error *err)
{
    (void)bytes;
    return err_set(err, QUERN_EXISTS, "%s is not empty: it has the file %s", (const char *)arg,
                   name);
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
                                  .tables = state->tables,
                                  .table_count = state->table_count};

    if (os_dir_open(db->os, path, true, &to, err) || os_dir_list(to, see_any, (void *)path, err))
        return err->code;
    for (size_t i = 0; i < copy.table_count; i++) {
        char name[TABLE_NAME_BYTES];

        table_name(name, copy.tables[i].meta.table_no);
        if (os_dir_link(db->dir, name, to, name, err))
            return err->code;
    }
    if (os_dir_sync(to, err))
        return err->code;
    return manifest_create_from(to, &copy, &manifest, err);
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

/* Nothing can be flushed now: those who wait for it are told why. */
static void refuse_requests(struct quern *db, const struct quern_error *why)
{
    mutex_lock(&db->mu);
    while (db->requests != NULL) {
        struct request *r = db->requests;

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

/* Seal a MemDB whose oldest entry has waited long enough; say in the log what is durable. */
static void tick(struct quern *db)
{
    uint64_t now = os_now_ns(db->os), born;
    struct quern_error err;
    bool old;

    mutex_lock(&db->mu);
    born = db->active.born_ns;
    mutex_unlock(&db->mu);
    old = born != 0 && now - born >= (uint64_t)db->options.flush_interval_ms * 1000000;
    if (!engine_try_lead(db)) {
        if (old)
            atomic_store(&db->seal_wanted, true);
        return;
    }
    if (!atomic_load(&db->failed)) {
        if (old)
            IGNORE(engine_seal(db, 0, false, &err)); /* BUSY or no memory: at the next tick */
        IGNORE(wal_mark(db->wal, &err)); /* helps to judge damage later; nothing depends on it */
    }
    engine_stop_leading(db);
}

/* Has nothing been written since the last look? */
static bool is_idle(struct quern *db)
{
    quern_seq seq = atomic_load(&db->visible_seq);
    bool idle = seq == db->last_tick_seq;

    db->last_tick_seq = seq;
    return idle;
}

/* What to do now; false: nothing, sleep. */
static bool work_once(struct quern *db, enum compact_urge urge)
{
    struct request *request = NULL;
    struct quern_error err;
    bool sealed;

    mutex_lock(&db->mu);
    sealed = db->sealed_count != 0;
    mutex_unlock(&db->mu);
    if (sealed) {
        if (atomic_load(&db->failed) && engine_refusal(db, &err)) {
            refuse_requests(db, &err);
            return false;
        }
        if (flush_oldest(db, &err) == QUERN_OK)
            return true;
        refuse_requests(db, &err);
        return false;
    }
    mutex_lock(&db->mu);
    if (db->requests != NULL) {
        request = db->requests;
        db->requests = request->next;
    }
    mutex_unlock(&db->mu);
    if (request != NULL) {
        serve(db, request);
        finish_request(db, request);
        return true;
    }
    return merge_step(db, urge);
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
            urge = is_idle(db) ? COMPACT_IDLE : COMPACT_NORMAL;
            if (urge == COMPACT_IDLE) {
                busy = true;
                wal_trim(db->wal);
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
