/* repair.c - all that is sound of a store, copied into a new one.
 *
 *     engine_repair
 *       remains_open      the manifest as far as it reads; which files there are
 *       take_tables       every table is read; damaged places are told and become holes
 *       take_log          sound groups -> MemDBs -> tables in `to` that take part like the others
 *       write_store       one merge of everything -> the bottom run of `to`; then its manifest
 *
 * Sequence numbers decide what is newer, whatever file it stands in, so neither runs nor tiers need
 * be known. The merge sees everything at once: a deletion, of a key or of a range, does its work in
 * it and need not be kept.
 *
 * Without a whole manifest every table takes part, and a log that is still wanted is told by its
 * LINKs: the segment that calls itself the first of a log began when all before it was in tables.
 * Deleted keys may come back then, if a table that was merged away is still there; the report says
 * so.
 *
 * `to` has no CURRENT until all is written and synced: cut short, it is no store and says so. */
#include "engine/repair_priv.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/inner.h"
#include "mem/mem.h"

#include <inttypes.h>
#include <stdio.h>

#define TABLE_BYTES (UINT64_C(32) << 20)
#define BLOCK_BYTES 4096u
#define FILTER_BITS 10u
#define MEM_BYTES (UINT64_C(64) << 20)
#define CACHE_BYTES (UINT64_C(4) << 20)
#define YIELD_BYTES (UINT64_C(1) << 20) /* as compact_merge() yields */

static bool is_damage(enum quern_code code)
{
    return code == QUERN_CORRUPT || code == QUERN_NO_STORE;
}

/* ---- tables ---- */

/* The table that is being looked through. */
struct look {
    struct repair *repair;
    char name[TABLE_NAME_BYTES];
    bool quiet; /* an orphan: nobody misses what is damaged in it */
    struct quern_error err;
};

static void on_loss(void *arg, uint64_t offset, struct quern_slice first, struct quern_slice last,
                    const char *what, bool lost)
{
    struct look *l = arg;

    if (l->quiet)
        return;
    findings_add(&l->repair->findings, l->name, offset, first, last, what, lost);
    if (lost && l->err.code == QUERN_OK)
        IGNORE(hole_add(l->repair, first, true, last, &l->err));
}

/* Read a table through and, if anything in it is sound, let it take part. Errors: CORRUPT,
 * NO_STORE: nothing is. */
static enum quern_code add_source(struct repair *r, struct look *l, struct source s,
                                  struct quern_error *err)
{
    struct iter *it OWNED(iter_free) = NULL;

    if (sst_salvage(s.dir, s.file_no, s.unique_id, on_loss, l, &it, err))
        return err->code;
    for (iter_first(it); it->valid; iter_next(it)) {
        if (s.smallest.len == 0 && buf_assign(&s.smallest, it->at.key, err))
            goto fail;
        if (buf_assign(&s.largest, it->at.key, err))
            goto fail;
        if (it->at.seq > r->seq_max && !s.orphan)
            r->seq_max = it->at.seq;
    }
    *err = l->err.code != QUERN_OK ? l->err : it->err;
    if (err->code == QUERN_OK && s.smallest.len == 0)
        (void)err_set(err, QUERN_CORRUPT, "no sound block could be found");
    if (err->code == QUERN_OK && buf_append(&r->sources, &s, sizeof(s), err) == QUERN_OK)
        return QUERN_OK;
fail:
    buf_done(&s.smallest);
    buf_done(&s.largest);
    return err->code;
}

/* Another file that holds the table, if files were renamed; 0: none. */
static uint64_t find_elsewhere(struct repair *r, const struct table_meta *meta)
{
    for (size_t i = 0; i < numbers_count(&r->from.tables); i++) {
        struct iter *it OWNED(iter_free) = NULL;
        struct quern_error err;

        if (numbers_at(&r->from.tables, i) == meta->table_no)
            continue; /* it has none that is sound */
        if (sst_salvage(r->from.dir, numbers_at(&r->from.tables, i), meta->unique_id, NULL, NULL,
                        &it, &err) == QUERN_OK)
            return numbers_at(&r->from.tables, i);
    }
    return 0;
}

static enum quern_code take_named(struct repair *r, const struct manifest_table *t,
                                  struct quern_error *err)
{
    struct look l = {.repair = r};
    struct source s = {.dir = r->from.dir,
                       .file_no = t->meta.table_no,
                       .unique_id = t->meta.unique_id,
                       .trim = buf_slice(&t->meta.smallest)};
    struct quern_slice first = buf_slice(&t->meta.smallest), last = buf_slice(&t->meta.largest);

    table_name(l.name, t->meta.table_no);
    r->report->tables++;
    if (add_source(r, &l, s, err) == QUERN_OK)
        return QUERN_OK;
    if (!is_damage(err->code))
        return err->code;
    s.file_no = find_elsewhere(r, &t->meta);
    if (s.file_no != 0 && add_source(r, &l, s, err) == QUERN_OK) {
        findings_add(&r->findings, l.name, 0, first, last, "its bytes are under another name",
                     false);
        return QUERN_OK;
    }
    if (!is_damage(err->code))
        return err->code;
    findings_add(&r->findings, l.name, 0, first, last, err->text, true);
    return hole_add(r, first, false, last, err);
}

static enum quern_code take_unnamed(struct repair *r, uint64_t no, bool orphan,
                                    struct quern_error *err)
{
    struct look l = {.repair = r, .quiet = orphan};
    struct source s = {.dir = r->from.dir, .file_no = no, .orphan = orphan};
    struct quern_slice none = {0};

    table_name(l.name, no);
    r->report->tables++;
    if (add_source(r, &l, s, err) == QUERN_OK)
        return QUERN_OK;
    if (!is_damage(err->code))
        return err->code;
    if (orphan)
        return QUERN_OK;
    findings_add(&r->findings, l.name, 0, none, none, err->text, true);
    return hole_add(r, none, false, none, err);
}

static bool is_orphan(const struct repair *r, uint64_t no)
{
    const struct manifest_remains *m = &r->from.manifest;

    return m->whole || numbers_have(&m->removed, no);
}

static enum quern_code take_tables(struct repair *r, struct quern_error *err)
{
    const struct manifest_state *state = &r->from.manifest.state;
    const struct buf *numbers = &r->from.tables;

    for (size_t i = 0; i < state->table_count; i++) {
        r->bytes_total += state->tables[i].meta.raw_bytes;
        if (take_named(r, &state->tables[i], err))
            return err->code;
    }
    for (size_t i = 0; i < numbers_count(numbers); i++) {
        uint64_t no = numbers_at(numbers, i);

        if (remains_known(&r->from, no) == NULL && !is_orphan(r, no) &&
            take_unnamed(r, no, false, err))
            return err->code;
    }
    for (size_t i = 0; r->holes.len != 0 && i < numbers_count(numbers); i++) {
        uint64_t no = numbers_at(numbers, i);

        if (remains_known(&r->from, no) == NULL && is_orphan(r, no) &&
            take_unnamed(r, no, true, err))
            return err->code;
    }
    holes_settle(r);
    return QUERN_OK;
}

/* ---- the log ---- */

struct log {
    struct repair *repair;
    struct mem *mem; /* NULL: empty */
    quern_seq last_seq, flushed_seq;
    quern_seq read_seq;   /* how far the segment before could be read; 0: not known */
    uint64_t first, last; /* segments that are wanted */
    uint64_t store_id;    /* 0: not known */
    char name[WAL_NAME_BYTES];
};

static struct compact_rules rules_of(const struct repair *r, bool bottom)
{
    return (struct compact_rules){
        .bottom = bottom,
        .table_bytes = TABLE_BYTES,
        .block_bytes = BLOCK_BYTES,
        .filter_bits = FILTER_BITS,
        .codec = bottom ? SST_LZ4 : SST_PLAIN,
        .cache = r->cache,
    };
}

static void remove_tables(struct repair *r, const struct compact_output *out, size_t from)
{
    for (size_t i = from; i < out->count; i++) {
        char name[TABLE_NAME_BYTES];
        struct quern_error ignored;

        table_name(name, out->tables[i].table_no);
        IGNORE(os_dir_remove(r->to, name, &ignored));
    }
}

/* What the log has given so far becomes tables in `to`. */
static enum quern_code flush_log(struct log *log, struct quern_error *err)
{
    struct repair *r = log->repair;
    struct compact_rules rules = rules_of(r, false);
    struct iter *in OWNED(iter_free) = NULL;
    struct look l = {.repair = r};
    struct compact_output out;
    enum quern_code code = QUERN_OK;

    if (log->mem == NULL)
        return QUERN_OK;
    if (mem_iter(log->mem, 0, &in, err))
        return err->code;
    iter_first(in);
    if (compact_merge(r->to, r->numbers, in, (struct quern_slice){0}, &rules, &out, err))
        return err->code;
    for (size_t i = 0; code == QUERN_OK && i < out.count; i++) {
        struct source s = {
            .dir = r->to, .file_no = out.tables[i].table_no, .unique_id = out.tables[i].unique_id};

        table_name(l.name, s.file_no);
        code = add_source(r, &l, s, err);
        if (code != QUERN_OK)
            remove_tables(r, &out, i); /* nobody knows of them yet */
    }
    compact_output_done(&out);
    mem_unref(log->mem);
    log->mem = NULL;
    return code;
}

/* The operations whose keys are in holes: the rest is in tables. What a range delete removed may
 * come back in a hole, from older operations and tables: so none is left out. */
static enum quern_code keep_holes(struct repair *r, const struct batch_ref *batch, struct buf *ops,
                                  uint32_t *count, struct quern_error *err)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry e;

    *count = 0;
    while (op_next(&c, &e)) {
        if (e.kind == ENTRY_DATABASES || (e.kind != ENTRY_RANGE_DELETE && !in_hole(r, e.key)))
            continue;
        if (op_append(ops, e.kind, e.key, e.value, e.expires_ms, err))
            return err->code;
        ++*count;
    }
    return QUERN_OK;
}

static enum quern_code apply(struct log *log, const struct batch_ref *batch, quern_seq seq,
                             struct quern_error *err)
{
    struct cuts *own OWNED(cuts_unref) = NULL;
    uint64_t needed = mem_bytes_needed(batch);

    if (log->mem != NULL && !mem_fits(log->mem, needed) && flush_log(log, err))
        return err->code;
    if (log->mem == NULL && mem_new(needed > MEM_BYTES ? needed : MEM_BYTES, NULL, &log->mem, err))
        return err->code;
    if (cuts_take(log->repair, batch, seq, err) || cuts_own(batch, &own, err))
        return err->code;
    mem_apply_cut(log->mem, batch, seq, own);
    IGNORE(batch_db_map(batch, &log->repair->map)); /* numbers rise: the last counts */
    if (seq > log->repair->seq_max)
        log->repair->seq_max = seq;
    return QUERN_OK;
}

static enum quern_code see_batch(void *arg, const struct batch_ref *batch, quern_seq seq,
                                 uint64_t segment_no, struct quern_error *err)
{
    struct log *log = arg;
    struct buf ops OWNED_BUF = {0};
    struct quern_slice none = {0};
    struct batch_ref part;
    uint32_t count;

    if (seq <= log->last_seq)
        return QUERN_OK; /* numbers rise over all segments of a log */
    log->last_seq = seq;
    if (inner_check_batch(batch, seq, segment_no, err)) {
        findings_add(&log->repair->findings, log->name, 0, none, none, err->text, true);
        return QUERN_OK;
    }
    if (seq > log->flushed_seq)
        return apply(log, batch, seq, err);
    if (keep_holes(log->repair, batch, &ops, &count, err))
        return err->code;
    part = (struct batch_ref){buf_slice(&ops), {0}, count};
    return count != 0 ? apply(log, &part, seq, err) : QUERN_OK;
}

static void on_log_damage(void *arg, uint64_t offset, quern_seq before, quern_seq behind,
                          const char *what)
{
    struct log *log = arg;
    struct quern_slice none = {0};
    char text[200];

    if (behind != 0 && behind <= log->flushed_seq + 1) /* all of it is in tables */
        (void)snprintf(text, sizeof(text), "%s", what);
    else if (behind > before + 1)
        (void)snprintf(text, sizeof(text), "%s; writes %" PRIu64 " to %" PRIu64 " are missing",
                       what, before + 1, behind - 1);
    else
        (void)snprintf(text, sizeof(text), "%s; what followed write %" PRIu64 " is missing", what,
                       before);
    findings_add(&log->repair->findings, log->name, offset, none, none, text,
                 behind == 0 || behind > log->flushed_seq + 1);
}

/* Without a whole manifest: the newest segment that is the first of a log. */
static enum quern_code find_first(struct log *log, struct quern_error *err)
{
    const struct remains *from = &log->repair->from;

    for (size_t i = numbers_count(&from->segments); i-- > 0;) {
        struct wal_remains out;

        if (wal_salvage(from->dir, 0, numbers_at(&from->segments, i), NULL, NULL, NULL, NULL, &out,
                        err))
            return err->code;
        if (out.linked && out.prev_segment == 0) {
            if (numbers_at(&from->segments, i) > log->first)
                log->first = numbers_at(&from->segments, i);
            log->store_id = out.store_id;
            break;
        }
    }
    return QUERN_OK;
}

/* Is `no` above what the manifest knows, and yet goes on where its log ended? The edit that named
 * it is lost then. */
static enum quern_code goes_on(const struct log *log, uint64_t no, bool *on,
                               struct quern_error *err)
{
    const struct remains *from = &log->repair->from;
    struct wal_remains out;

    *on = false;
    if (!numbers_have(&from->segments, no))
        return QUERN_OK;
    if (wal_salvage(from->dir, log->store_id, no, NULL, NULL, NULL, NULL, &out, err))
        return err->code;
    *on = out.linked && out.groups != 0 && (out.prev_segment == 0 || out.prev_segment + 1 == no);
    return QUERN_OK;
}

static enum quern_code which_segments(struct log *log, struct quern_error *err)
{
    const struct remains *from = &log->repair->from;
    const struct manifest_state *state = &from->manifest.state;
    size_t n = numbers_count(&from->segments);
    bool on = true;

    log->first = state->log_first != 0 ? state->log_first : 1;
    log->last = state->log_last;
    if (!from->manifest.whole) {
        log->last = n != 0 ? numbers_at(&from->segments, n - 1) : 0;
        return find_first(log, err);
    }
    log->store_id = state->store_id;
    log->flushed_seq = state->flushed_seq;
    while (on && log->first <= log->last + 1) {
        if (goes_on(log, log->last + 1, &on, err))
            return err->code;
        log->last += on;
    }
    return QUERN_OK;
}

/* What the LINK of segment `no` says of the one before, which may have lost its end with all that
 * told of it. */
static void look_back(struct log *log, uint64_t no, const struct wal_remains *out)
{
    if (!out->linked || log->read_seq == 0 || out->prev_last_seq <= log->read_seq)
        return;
    wal_name(log->name, no - 1);
    on_log_damage(log, 0, log->read_seq, out->prev_last_seq + 1, "its end is gone");
}

static enum quern_code take_segment(struct log *log, uint64_t no, struct quern_error *err)
{
    struct remains *from = &log->repair->from;
    struct wal_remains out;

    wal_name(log->name, no);
    if (!numbers_have(&from->segments, no)) {
        log->read_seq = 0;
        if (from->manifest.whole)
            on_log_damage(log, 0, log->last_seq, 0, "is missing");
        return QUERN_OK;
    }
    log->repair->report->segments++;
    if (wal_salvage(from->dir, log->store_id, no, see_batch, log, on_log_damage, log, &out, err))
        return err->code;
    look_back(log, no, &out);
    log->read_seq = out.last_seq;
    return QUERN_OK;
}

static enum quern_code take_log(struct repair *r, struct quern_error *err)
{
    struct log log = {.repair = r};
    enum quern_code code = which_segments(&log, err);

    for (uint64_t no = log.first; code == QUERN_OK && no <= log.last; no++)
        code = take_segment(&log, no, err);
    if (code == QUERN_OK)
        code = flush_log(&log, err);
    mem_unref(log.mem);
    return code;
}

/* ---- the new store ---- */

static enum quern_code tell_progress(void *arg, struct quern_error *err)
{
    struct repair *r = arg;
    const struct quern_verify_opts *opts = r->findings.opts;

    (void)err;
    r->bytes_done += YIELD_BYTES;
    if (opts != NULL && opts->on_progress != NULL)
        opts->on_progress(opts->on_progress_arg,
                          r->bytes_done < r->bytes_total ? r->bytes_done : r->bytes_total,
                          r->bytes_total);
    return QUERN_OK;
}

/* Tables in `to` that were made of the log: the merge has read them. */
static enum quern_code remove_log_tables(struct repair *r, struct quern_error *err)
{
    const struct source *all = (const struct source *)(const void *)r->sources.data;

    for (size_t i = 0; i < r->sources.len / sizeof(*all); i++) {
        char name[TABLE_NAME_BYTES];

        table_name(name, all[i].file_no);
        if (all[i].dir == r->to && os_dir_remove(r->to, name, err))
            return err->code;
    }
    return os_dir_sync(r->to, err);
}

/* From here on `to` is a store. */
static enum quern_code publish(struct repair *r, const struct compact_output *out,
                               struct quern_error *err)
{
    struct manifest_state state = {.flushed_seq = r->seq_max,
                                   .map = r->map,
                                   .log_first = 1, /* and log_last 0: no log */
                                   .table_count = out->count};
    struct manifest *manifest OWNED(manifest_close) = NULL;
    uint64_t run_no = manifest_take_file_no(r->numbers);
    enum quern_code code;

    state.tables = alloc_array(out->count + 1, sizeof(*state.tables));
    if (state.tables == NULL)
        return err_memory(err, "repair");
    for (size_t i = 0; i < out->count; i++) {
        state.tables[i] =
            (struct manifest_table){.tier = TIER_BOTTOM, .run_no = run_no, .meta = out->tables[i]};
        if (out->tables[i].seq_max > state.flushed_seq)
            state.flushed_seq = out->tables[i].seq_max;
    }
    code = manifest_create_from(r->to, &state, &manifest, err);
    alloc_free(state.tables);
    return code;
}

static enum quern_code write_store(struct repair *r, struct quern_error *err)
{
    struct compact_rules rules = rules_of(r, true);
    struct iter *in OWNED(iter_free) = NULL;
    struct compact_output out;
    enum quern_code code;

    rules.cuts = r->cuts;
    rules.yield = tell_progress;
    rules.yield_arg = r;
    if (r->from.manifest.state.flushed_seq > r->seq_max)
        r->seq_max = r->from.manifest.state.flushed_seq;
    if (sources_merge(r, &in, err))
        return err->code;
    iter_first(in);
    if (compact_merge(r->to, r->numbers, in, (struct quern_slice){0}, &rules, &out, err))
        return err->code;
    code = remove_log_tables(r, err);
    if (code == QUERN_OK)
        code = publish(r, &out, err);
    if (code == QUERN_OK) {
        r->report->entries = out.entries_out;
        r->report->bytes = out.bytes_written;
    } else {
        remove_tables(r, &out, 0);
    }
    compact_output_done(&out);
    return code;
}

/* ---- all of it ---- */

static enum quern_code see_any(void *arg, const char *name, struct quern_error *err)
{
    (void)arg;
    return err_set(err, QUERN_EXISTS, "it is not empty: it has the file %s", name);
}

static enum quern_code open_target(struct repair *r, struct os *os, const char *to,
                                   struct quern_error *err)
{
    if (os_dir_open(os, to, true, &r->to, err) || os_dir_list(r->to, see_any, NULL, err) ||
        manifest_numbers(r->to, &r->numbers, err))
        return err_in(err, "%s", to);
    return QUERN_OK;
}

static void repair_done(struct repair *r)
{
    sources_done(r);
    holes_done(r);
    cuts_unref(r->cuts);
    sst_cache_free(r->cache);
    manifest_close(r->numbers);
    os_dir_close(r->to);
    remains_done(&r->from);
}

enum quern_code engine_repair(struct os *os, const char *from, const char *to,
                              const struct quern_verify_opts *opts,
                              struct quern_repair_report *report, struct quern_error *err)
{
    struct quern_repair_report unused;
    struct repair r = {.findings = {.opts = opts}, .report = report != NULL ? report : &unused};
    enum quern_code code;

    *r.report = (struct quern_repair_report){0};
    code = remains_open(os, from, &r.findings, &r.from, err);
    r.cuts = cuts_ref(r.from.manifest.state.cuts);
    r.map = r.from.manifest.state.map;
    if (code == QUERN_OK)
        code = sst_cache_new(CACHE_BYTES, &r.cache, err);
    if (code == QUERN_OK)
        code = open_target(&r, os, to, err);
    if (code == QUERN_OK)
        code = take_tables(&r, err);
    if (code == QUERN_OK)
        code = take_log(&r, err);
    if (code == QUERN_OK)
        code = write_store(&r, err);
    if (code != QUERN_OK && r.to != NULL && r.sources.len != 0) {
        struct quern_error ignored;

        IGNORE(remove_log_tables(&r, &ignored)); /* so that it can be tried again */
    }
    repair_done(&r);
    r.report->damages = r.findings.damages;
    r.report->losses = r.findings.losses;
    if (code == QUERN_OK && r.findings.losses != 0)
        *err = r.findings.first;
    else if (code == QUERN_OK)
        return QUERN_OK;
    return err_in(err, "repair %s", from);
}

enum quern_code quern_repair(const char *from, const char *to, const struct quern_verify_opts *opts,
                             struct quern_repair_report *report, struct quern_error *err)
{
    struct quern_error local;

    if (err == NULL)
        err = &local;
    if (from == NULL || from[0] == '\0' || to == NULL || to[0] == '\0')
        return err_set(err, QUERN_INVALID, "the path of a store is empty");
    return engine_repair(os_local(), from, to, opts, report, err);
}
