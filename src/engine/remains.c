/* remains.c - looks at the files of a store that nobody has open, and verifies them.
 *
 *     quern_check
 *       remains_open      lock, if there is one; CURRENT, manifest; which files there are
 *       check_tables      every table that is named: open, then sst_verify; others by salvage;
 *                         then what they hold against the numbers of keys (remains_count.c)
 *       check_log         replay says whether it is sound; if not, every damaged place is told
 *
 * Nothing is written, and one damage does not hide the next: a store that cannot be opened is
 * looked through to its end. Repair (repair.c) begins with the same look. */
#include "engine/remains_priv.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/inner.h"
#include "iter/iter.h"
#include "wal/wal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOCK_NAME "LOCK"
#define CACHE_BYTES (UINT64_C(1) << 20)

static bool is_damage(enum quern_code code)
{
    return code == QUERN_CORRUPT || code == QUERN_NO_STORE;
}

/* ---- findings ---- */

void findings_add(struct findings *f, const char *file, uint64_t offset,
                  struct quern_slice first_key, struct quern_slice last_key, const char *what,
                  bool lost)
{
    struct inner_span keys = inner_span_of(f->map, first_key, last_key);
    struct quern_damage damage = {.file = file,
                                  .offset = offset,
                                  .first_key = keys.first_key,
                                  .last_key = keys.last_key,
                                  .first_database = keys.first_database,
                                  .last_database = keys.last_database,
                                  .what = what,
                                  .lost = lost};

    f->damages++;
    f->losses += lost;
    if (f->first.code == QUERN_OK)
        (void)err_set(&f->first, QUERN_CORRUPT, "%s: at %" PRIu64 ": %s", file, offset, what);
    if (f->opts != NULL && f->opts->on_damage != NULL)
        f->opts->on_damage(f->opts->on_damage_arg, &damage);
}

static void on_manifest_damage(void *arg, const char *file, uint64_t offset, const char *what,
                               bool lost)
{
    struct quern_slice none = {0};

    findings_add(arg, file, offset, none, none, what, lost);
}

/* ---- which files there are ---- */

size_t numbers_count(const struct buf *numbers)
{
    return numbers->len / sizeof(uint64_t);
}

uint64_t numbers_at(const struct buf *numbers, size_t i)
{
    uint64_t no;

    memcpy(&no, numbers->data + i * sizeof(no), sizeof(no));
    return no;
}

static int rising(const void *x, const void *y)
{
    uint64_t a, b;

    memcpy(&a, x, sizeof(a));
    memcpy(&b, y, sizeof(b));
    return (a > b) - (a < b);
}

bool numbers_have(const struct buf *numbers, uint64_t no)
{
    return numbers->len != 0 &&
           bsearch(&no, numbers->data, numbers_count(numbers), sizeof(no), rising) != NULL;
}

static bool table_name_parse(const char *name, uint64_t *no)
{
    char again[TABLE_NAME_BYTES];

    return sscanf(name, "%" SCNu64, no) == 1 && *no != 0 && *no <= UINT64_MAX / 2 &&
           (table_name(again, *no), strcmp(again, name) == 0);
}

static enum quern_code see_file(void *arg, const char *name, struct quern_error *err)
{
    struct remains *r = arg;
    uint64_t no;

    if (table_name_parse(name, &no))
        return buf_append(&r->tables, &no, sizeof(no), err);
    if (wal_name_parse(name, &no))
        return buf_append(&r->segments, &no, sizeof(no), err);
    return QUERN_OK;
}

static enum quern_code lock(struct remains *r, struct quern_error *err)
{
    uint64_t bytes;

    if (os_dir_stat(r->dir, LOCK_NAME, &bytes, err))
        return err->code == QUERN_NO_STORE ? QUERN_OK : err->code;
    if (os_dir_lock(r->dir, LOCK_NAME, &r->lock, err) == QUERN_OK)
        return QUERN_OK;
    return err->code == QUERN_DENIED ? QUERN_OK : err->code; /* on a medium that takes no writes */
}

/* ---- where the databases are ---- */

static enum quern_code see_map(void *arg, const struct batch_ref *batch, quern_seq seq,
                               uint64_t segment_no, struct quern_error *err)
{
    struct findings *f = arg;

    (void)seq;
    (void)segment_no;
    (void)err;
    IGNORE(batch_db_map(batch, &f->map));
    return QUERN_OK;
}

/* What is in tables already was there before as well: the last map of the log is the last of all.
 * What is damaged in it is told later. */
static enum quern_code last_map(struct remains *r, struct findings *f, struct quern_error *err)
{
    const struct manifest_state *state = &r->manifest.state;

    for (size_t i = 0; i < numbers_count(&r->segments); i++) {
        uint64_t no = numbers_at(&r->segments, i);
        struct wal_remains out;

        if (no >= state->log_first && no <= state->log_last &&
            wal_salvage(r->dir, state->store_id, no, see_map, f, NULL, NULL, &out, err) &&
            !is_damage(err->code))
            return err->code;
    }
    return QUERN_OK;
}

static enum quern_code look(struct remains *r, struct findings *f, struct quern_error *err)
{
    uint64_t bytes;
    bool found;

    if (lock(r, err) || os_dir_list(r->dir, see_file, r, err))
        return err->code;
    if (r->tables.len == 0 && r->segments.len == 0 &&
        os_dir_stat(r->dir, "CURRENT", &bytes, err) == QUERN_NO_STORE &&
        manifest_find(r->dir, &found, err) == QUERN_OK)
        return err_set(err, QUERN_NO_STORE, "there is no store in this directory");
    if (r->tables.len != 0)
        qsort(r->tables.data, numbers_count(&r->tables), sizeof(uint64_t), rising);
    if (r->segments.len != 0)
        qsort(r->segments.data, numbers_count(&r->segments), sizeof(uint64_t), rising);
    if (manifest_salvage(r->dir, on_manifest_damage, f, &r->manifest, err))
        return err->code;
    f->map = r->manifest.state.map;
    return r->manifest.whole ? last_map(r, f, err) : QUERN_OK;
}

enum quern_code remains_open(struct os *os, const char *path, struct findings *f, struct remains *r,
                             struct quern_error *err)
{
    *r = (struct remains){0};
    if (os_dir_open(os, path, false, &r->dir, err))
        return err->code;
    return look(r, f, err);
}

void remains_done(struct remains *r)
{
    manifest_remains_done(&r->manifest);
    buf_done(&r->tables);
    buf_done(&r->segments);
    os_unlock(r->lock);
    os_dir_close(r->dir);
}

const struct manifest_table *remains_known(const struct remains *r, uint64_t table_no)
{
    for (size_t i = 0; i < r->manifest.state.table_count; i++)
        if (r->manifest.state.tables[i].meta.table_no == table_no)
            return &r->manifest.state.tables[i];
    return NULL;
}

/* ---- tables ---- */

struct table_check {
    struct findings *f;
    char name[TABLE_NAME_BYTES];
};

static void on_table_damage(void *arg, uint64_t table_no, uint64_t offset,
                            struct quern_slice first_key, struct quern_slice last_key,
                            const char *what)
{
    struct table_check *c = arg;

    (void)table_no;
    findings_add(c->f, c->name, offset, first_key, last_key, what, true);
}

static void on_table_loss(void *arg, uint64_t offset, struct quern_slice first,
                          struct quern_slice last, const char *what, bool lost)
{
    struct table_check *c = arg;

    findings_add(c->f, c->name, offset, first, last, what, lost);
}

/* A table that the manifest names. */
static enum quern_code check_named(struct os_dir *dir, struct sst_cache *cache,
                                   const struct table_meta *meta, struct findings *f,
                                   struct quern_verify_report *report, struct quern_error *err)
{
    struct table_check c = {.f = f};
    struct sst *t OWNED(sst_unref) = NULL;
    uint64_t bytes = 0;

    table_name(c.name, meta->table_no);
    report->tables++;
    if (sst_open(dir, meta, cache, &t, err)) {
        if (!is_damage(err->code))
            return err->code;
        findings_add(f, c.name, 0, buf_slice(&meta->smallest), buf_slice(&meta->largest), err->text,
                     true);
        return QUERN_OK;
    }
    report->entries += meta->entry_count;
    if (sst_verify(t, on_table_damage, &c, &bytes, err) && !is_damage(err->code))
        return err->code;
    report->bytes += bytes;
    return QUERN_OK;
}

/* A table of which the manifest, being damaged, may have spoken. */
static enum quern_code check_unknown(struct os_dir *dir, uint64_t table_no, struct findings *f,
                                     struct quern_verify_report *report, struct quern_error *err)
{
    struct table_check c = {.f = f};
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_slice none = {0};

    table_name(c.name, table_no);
    report->tables++;
    if (sst_salvage(dir, table_no, 0, on_table_loss, &c, &it, err)) {
        if (!is_damage(err->code))
            return err->code;
        findings_add(f, c.name, 0, none, none, err->text, true);
        return QUERN_OK;
    }
    for (iter_first(it); it->valid; iter_next(it)) {
        report->entries++;
        report->bytes += it->at.key.len + it->at.value.len;
    }
    *err = it->err;
    return err->code;
}

static enum quern_code check_tables(struct remains *r, struct findings *f,
                                    struct quern_verify_report *report, struct quern_error *err)
{
    const struct manifest_state *state = &r->manifest.state;
    struct sst_cache *cache OWNED(sst_cache_free) = NULL;
    uint64_t total = 0;

    if (sst_cache_new(CACHE_BYTES, &cache, err))
        return err->code;
    for (size_t i = 0; i < state->table_count; i++)
        total += state->tables[i].meta.file_bytes;
    for (size_t i = 0; i < state->table_count; i++) {
        if (check_named(r->dir, cache, &state->tables[i].meta, f, report, err))
            return err->code;
        if (f->opts != NULL && f->opts->on_progress != NULL)
            f->opts->on_progress(f->opts->on_progress_arg,
                                 report->bytes < total ? report->bytes : total, total);
    }
    for (size_t i = 0; !r->manifest.whole && i < numbers_count(&r->tables); i++) {
        uint64_t no = numbers_at(&r->tables, i);

        if (remains_known(r, no) == NULL && check_unknown(r->dir, no, f, report, err))
            return err->code;
    }
    return remains_check_counts(r, cache, f, err);
}

/* ---- the log ---- */

#define PENDING_MAX 16 /* of one segment; more are not told one by one */

/* What was found in one segment, until it is known whether it counts. */
struct segment_check {
    const struct log_row *row;
    uint64_t no;
    size_t count;
    struct {
        uint64_t offset;
        char text[160];
    } pending[PENDING_MAX];
};

static void on_log_damage(void *arg, uint64_t offset, quern_seq before, quern_seq behind,
                          const char *what)
{
    struct segment_check *c = arg;
    char *text = c->pending[c->count].text;

    if (before >= c->row->settled || c->count == PENDING_MAX)
        return;
    c->pending[c->count++].offset = offset;
    if (behind > before + 1)
        (void)snprintf(text, sizeof(c->pending[0].text),
                       "%s; writes %" PRIu64 " to %" PRIu64 " are missing", what, before + 1,
                       behind - 1);
    else
        (void)snprintf(text, sizeof(c->pending[0].text), "%s; it reads to write %" PRIu64, what,
                       before);
}

static void tell_pending(const struct segment_check *c, struct findings *f)
{
    char name[WAL_NAME_BYTES];
    struct quern_slice none = {0};

    if (c->count == 0 || (c->row->is_live != NULL && !c->row->is_live(c->row->arg, c->no)))
        return;
    wal_name(name, c->no);
    for (size_t i = 0; i < c->count; i++)
        findings_add(f, name, c->pending[i].offset, none, none, c->pending[i].text, true);
}

enum quern_code verify_segments(struct os_dir *dir, const struct log_row *row, struct findings *f,
                                uint64_t *bytes, struct quern_error *err)
{
    quern_seq last_seq = 0; /* of the segment before; 0: not known */

    for (uint64_t no = row->first; no != 0 && no <= row->last; no++) {
        struct segment_check c = {.row = row, .no = no}, before = {.row = row, .no = no - 1};
        struct wal_remains out;

        if (wal_salvage(dir, row->store_id, no, NULL, NULL, on_log_damage, &c, &out, err)) {
            if (!is_damage(err->code))
                return err->code;
            on_log_damage(&c, 0, last_seq, 0,
                          err->code == QUERN_NO_STORE ? "is missing" : "ends while it is read");
        } else if (out.linked && last_seq != 0 && out.prev_last_seq > last_seq) {
            on_log_damage(&before, 0, last_seq, out.prev_last_seq + 1, "its end is gone");
        }
        tell_pending(&before, f);
        tell_pending(&c, f);
        last_seq = out.last_seq;
        *bytes += out.bytes;
    }
    return QUERN_OK;
}

static enum quern_code look_at(void *arg, const struct batch_ref *batch, quern_seq seq,
                               uint64_t segment_no, struct quern_error *err)
{
    (void)arg;
    return inner_check_batch(batch, seq, segment_no, err);
}

/* Replay is the judge: what it calls torn was never promised. */
static enum quern_code check_log(struct remains *r, struct findings *f,
                                 struct quern_verify_report *report, struct quern_error *err)
{
    const struct manifest_state *state = &r->manifest.state;
    uint64_t damages = f->damages, first = state->log_first, last = state->log_last;
    struct log_row row = {state->store_id, first, last, UINT64_MAX, NULL, NULL};
    char name[WAL_NAME_BYTES];
    struct quern_slice none = {0};
    struct wal_replay replay;
    struct quern_error why;

    if (first == 0 || first > last)
        return QUERN_OK;
    if (wal_replay(r->dir, state->store_id, first, last, state->flushed_seq, WAL_TAIL, look_at,
                   NULL, &replay, err) == QUERN_OK) {
        report->bytes += replay.bytes;
        return QUERN_OK;
    }
    if (err->code != QUERN_CORRUPT)
        return err->code;
    why = *err;
    if (verify_segments(r->dir, &row, f, &report->bytes, err))
        return err->code;
    wal_name(name, first);
    if (f->damages == damages)
        findings_add(f, name, 0, none, none, why.text, true);
    return QUERN_OK;
}

/* ---- all of it ---- */

enum quern_code engine_check_files(struct os *os, const char *path,
                                   const struct quern_verify_opts *opts,
                                   struct quern_verify_report *report, struct quern_error *err)
{
    struct quern_verify_report none, *out = report != NULL ? report : &none;
    struct findings f = {.opts = opts};
    struct remains r;
    enum quern_code code;

    *out = (struct quern_verify_report){0};
    code = remains_open(os, path, &f, &r, err);
    if (code == QUERN_OK)
        code = check_tables(&r, &f, out, err);
    if (code == QUERN_OK)
        code = check_log(&r, &f, out, err);
    remains_done(&r);
    out->damages = f.damages;
    if (code == QUERN_OK && f.damages != 0)
        *err = f.first;
    else if (code == QUERN_OK)
        return QUERN_OK;
    return err_in(err, "verify %s", path);
}

enum quern_code quern_check(const char *path, const struct quern_verify_opts *opts,
                            struct quern_verify_report *report, struct quern_error *err)
{
    struct quern_error local;

    if (err == NULL)
        err = &local;
    if (path == NULL || path[0] == '\0')
        return err_set(err, QUERN_INVALID, "the path of the store is empty");
    return engine_check_files(os_local(), path, opts, report, err);
}
