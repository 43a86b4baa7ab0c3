/* slices.c - merges, one slice at a time: from a slice of compact/slice.c to tables and a manifest
 * edit.
 *
 * In the middle of a slice a flush may go first (merge_yield) and change the manifest, so all that
 * a slice needs later is copied or counted before the merge begins. A full disk lets the slice be
 * tried again later; damage in an input ends merging until the next open: nothing damaged is
 * carried on. */
#include "engine/work_priv.h"

#include <inttypes.h>

/* Free space that a merge must leave behind. */
#define SPACE_RESERVE_BYTES (UINT64_C(16) << 20)

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
        if (work_flush_oldest(db, err) == QUERN_OK)
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

    s->version = work_version(db);
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
        code =
            tables_iter(s->tables + from, s->run_end[count] - from, SST_WHOLE, &inputs[count], err);
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

/* Would the slice's output fit on the disk? Rewriting needs its input's size again, for a
 * moment. */
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

/* What is read from the cache now should be so afterwards: all, if most of the input is there. */
static enum sst_warm slice_warmth(const struct slice_work *s)
{
    uint64_t blocks = 0, cached = 0;

    for (size_t i = 0; i < s->table_count; i++) {
        uint64_t has, holds;

        sst_count_cached(s->tables[i]->sst, &has, &holds);
        blocks += has;
        cached += holds;
    }
    if (cached == 0)
        return SST_COLD;
    return 2 * cached >= blocks ? SST_WARM_ALL : SST_WARM_INDEX;
}

static enum quern_code merge_slice(struct quern *db, struct compact_job *job,
                                   const struct compact_slice *slice, struct quern_error *err)
{
    bool bottom = job->target_tier == TIER_BOTTOM;
    struct compact_rules rules = work_rules(db, bottom, bottom);
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
        rules.cuts = s.version->cuts;
        rules.horizon_ms = engine_horizon_ms(db);
        rules.warm = slice_warmth(&s);
        rules.yield = merge_yield;
        rules.yield_arg = db;
        code = compact_merge(db->dir, db->manifest, in, buf_slice(&slice->end), &rules, &out, err);
    }
    iter_free(in);
    if (code == QUERN_OK)
        code = work_list_tables(&out, job->target_tier, job->target_run, compact_cut_seq(&rules),
                                &list, err);
    if (code == QUERN_OK) {
        struct manifest_edit edit = {.remove = s.remove,
                                     .remove_count = s.remove_count,
                                     .add = list,
                                     .add_count = out.count,
                                     .trim = s.trim,
                                     .trim_count = s.trim_count};
        uint64_t live[QUERN_DATABASES];

        edit.live = live_merge_edit(db, out.expired_databases, live);

        code = engine_apply_edit(db, &edit, &out, false, err);
    }
    if (work_edit_refused(code) && !atomic_load(&db->failed))
        work_remove_tables(db, &out);
    ns = os_now_ns(db->os) - began;
    if (code == QUERN_OK) {
        atomic_fetch_add(&db->compactions, 1);
        atomic_fetch_add(&db->compact_read_bytes, slice->bytes_in);
        atomic_fetch_add(&db->compact_write_bytes, out.bytes_written);
        atomic_fetch_add(&db->expired_entries, out.entries_expired);
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
        code = engine_apply_edit(db, &edit, NULL, false, err);
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
enum quern_code work_job_step(struct quern *db, struct compact_job *job, uint64_t *bytes,
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

/* What of the store goes without being read. */
struct dead {
    const struct manifest_state *state;
    uint64_t horizon_ms;
    struct cut_pins pins;
    uint64_t *numbers;
    size_t count;
    uint64_t bytes, expired; /* expired: entries, of tables that go for that alone */
    uint32_t databases;      /* of those: as compact_output.expired_databases */
};

static uint32_t databases_of(const struct table_meta *meta)
{
    uint32_t bits = 0;

    for (unsigned d = inner_database(buf_slice(&meta->smallest));
         d <= inner_database(buf_slice(&meta->largest)) && d < QUERN_DATABASES; d++)
        bits |= UINT32_C(1) << d;
    return bits;
}

static enum quern_code list_dead(struct dead *d, struct quern_error *err)
{
    d->numbers = alloc_array(d->state->table_count + 1, sizeof(*d->numbers));
    if (d->numbers == NULL)
        return err_memory(err, "a compaction");
    for (size_t i = 0; i < d->state->table_count; i++) {
        const struct manifest_table *t = &d->state->tables[i];
        bool cut = compact_is_cut(t, d->state->cuts, d->pins);

        if (!cut && !compact_is_expired(t, d->horizon_ms))
            continue;
        d->expired += cut ? 0 : t->meta.entry_count - t->meta.duplicate_count;
        d->databases |= cut ? 0 : databases_of(&t->meta);
        d->numbers[d->count++] = t->meta.table_no;
        d->bytes += t->meta.file_bytes;
    }
    return QUERN_OK;
}

static enum quern_code drop_dead(struct quern *db, struct dead *d, struct quern_error *err)
{
    struct manifest_edit edit = {.remove_count = 0};
    uint64_t live[QUERN_DATABASES];
    enum quern_code code = list_dead(d, err);

    if (code != QUERN_OK || d->count == 0)
        return code;
    edit.remove = d->numbers;
    edit.remove_count = d->count;
    edit.live = live_merge_edit(db, d->databases, live);
    if (engine_apply_edit(db, &edit, NULL, false, err))
        return err_in(err, "compaction");
    atomic_fetch_add(&db->expired_entries, d->expired);
    engine_event(db, QUERN_EVENT_COMPACTED, d->bytes, 0, 0,
                 "dropped %zu tables unread: all in them has expired or was deleted", d->count);
    return QUERN_OK;
}

enum quern_code work_drop_dead(struct quern *db, uint64_t horizon_ms, size_t *dropped,
                               struct quern_error *err)
{
    struct dead d = {.state = manifest_state(db->manifest), .horizon_ms = horizon_ms};
    quern_seq *pins = NULL;
    enum quern_code code = engine_pins(db, &pins, &d.pins.count, err);

    d.pins.seqs = pins;
    if (code == QUERN_OK)
        code = drop_dead(db, &d, err);
    *dropped = code == QUERN_OK ? d.count : 0;
    alloc_free(d.numbers);
    alloc_free(pins);
    return code;
}

enum quern_code work_drop_cuts(struct quern *db, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct cuts *left OWNED(cuts_unref) = NULL;
    struct manifest_edit edit = {.set_cuts = true};
    size_t count = state->cuts != NULL ? state->cuts->count : 0;

    if (count == 0)
        return QUERN_OK;
    if (compact_live_cuts(state, NULL, 0, state->cuts, &left, err))
        return err->code;
    if (left != NULL && left->count == count)
        return QUERN_OK;
    edit.cuts = left;
    if (engine_apply_edit(db, &edit, NULL, false, err))
        return err_in(err, "compaction");
    return QUERN_OK;
}

/* A step failed: say so, and see to it that the next does not run into the same wall at once. */
void work_merge_failed(struct quern *db, const struct quern_error *err)
{
    switch (err->code) {
    case QUERN_CLOSED:
        return;
    case QUERN_NO_SPACE:
    case QUERN_NO_MEMORY:
        db->merge_again_ns = os_now_ns(db->os) + UINT64_C(5000000000);
        engine_event(db, err->code == QUERN_NO_SPACE ? QUERN_EVENT_NO_SPACE : QUERN_EVENT_SLOWED, 0,
                     0, 0, "will be tried again: %s", err->text);
        return;
    case QUERN_CORRUPT:
    case QUERN_IO: /* the inputs stand as they were, so reading and writing can go on */
        db->merge_again_ns = MERGE_NEVER;
        atomic_store(&db->over_bytes, 0);
        engine_note_damage(db, err);
        engine_event(db, QUERN_EVENT_CORRUPT, 0, 0, 0, "merging stops until the next open: %s",
                     err->text);
        return;
    default:
        engine_fail(db, err);
    }
}

void work_job_failed(struct quern *db, struct compact_job *job, const struct quern_error *err)
{
    job->active = false;
    work_merge_failed(db, err);
}

/* One step of the most urgent merge. False: there is nothing to merge now. */
bool work_merge_step(struct quern *db, enum compact_urge urge)
{
    struct compact_need need = {
        .urge = urge, .oldest_pin = engine_oldest_pin(db), .horizon_ms = engine_horizon_ms(db)};
    uint64_t bytes, passed = engine_passed(db);
    bool none = compact_active(&db->jobs) == NULL;
    struct compact_job *job;
    struct quern_error err;
    size_t dropped;

    need.read_bytes = (passed - db->passed_paid) * PASS_BYTES;
    if (atomic_load(&db->failed) || os_now_ns(db->os) < db->merge_again_ns)
        return false;
    if (work_drop_dead(db, need.horizon_ms, &dropped, &err) || work_drop_cuts(db, &err)) {
        work_merge_failed(db, &err);
        return true;
    }
    if (dropped != 0)
        return true;
    job = compact_pick(manifest_state(db->manifest), &db->jobs, &db->compact_config, &need,
                       db->manifest);
    if (job == NULL)
        return false;
    if (none && job->run_count != 0 && (urge != COMPACT_NORMAL || job->target_tier == TIER_BOTTOM))
        db->passed_paid = passed; /* all upper runs are merged now */
    if (work_job_step(db, job, &bytes, &err))
        work_job_failed(db, job, &err);
    return true;
}
