/* care.c - what a user may ask for: flush, compact, checkpoint, verify. */
#include "engine/engine_priv.h"
#include "engine/remains_priv.h"
#include "engine/scan_priv.h"

#include <stdio.h>

/* Close the MemDB, so that the worker has all that was acknowledged so far, and hand it the
 * request. */
static enum quern_code seal_and_ask(struct quern *db, struct request *r, struct quern_error *err)
{
    struct waiter seal = {.seal = true, .err = err};

    if (engine_check(db, err) || engine_refusal(db, err) || engine_commit(db, &seal))
        return err->code;
    r->err = err;
    return engine_ask(db, r);
}

enum quern_code quern_flush(struct quern *db, struct quern_error *err)
{
    struct request r = {.kind = REQUEST_FLUSH};
    struct quern_error local;

    return seal_and_ask(db, &r, ERR_OR(err, local));
}

/* Where the databases are now. */
static db_map present_map(struct quern *db)
{
    struct pin now;

    pin_add(db, &now);
    pin_remove(db, &now);
    return now.map;
}

/* A range of one database as one of inside keys. */
static enum quern_code inside_range(struct quern *db, const struct quern_compact_opts *opts,
                                    struct buf *start, struct buf *end, struct quern_error *err)
{
    bool open = opts->range->end.len == 0;
    uint8_t inside;

    if (check_database(opts->database, err))
        return err->code;
    inside = db_map_get(present_map(db), opts->database);
    if (inner_assign(start, inside, opts->range->start, err) ||
        inner_assign(end, (uint8_t)(inside + open), opts->range->end, err))
        return err->code;
    return QUERN_OK;
}

enum quern_code quern_compact(struct quern *db, const struct quern_compact_opts *opts,
                              struct quern_error *err)
{
    struct request r = {.kind = REQUEST_COMPACT};
    struct buf start OWNED_BUF = {0}, end OWNED_BUF = {0};
    struct quern_error local;

    err = ERR_OR(err, local);
    if (engine_check(db, err))
        return err->code;
    if (opts != NULL) {
        r.progress = opts->on_progress;
        r.progress_arg = opts->on_progress_arg;
    }
    if (opts != NULL && opts->range != NULL) {
        if (inside_range(db, opts, &start, &end, err))
            return err->code;
        r.range = (struct quern_range){buf_slice(&start), buf_slice(&end)};
    }
    return seal_and_ask(db, &r, err);
}

enum quern_code quern_checkpoint(struct quern *db, const char *path, struct quern_error *err)
{
    struct request r = {.kind = REQUEST_CHECKPOINT, .path = path};
    struct quern_error local;

    err = ERR_OR(err, local);
    if (path == NULL || path[0] == '\0')
        return err_set(err, QUERN_INVALID, "the path of the checkpoint is empty");
    if (seal_and_ask(db, &r, err))
        return err_in(err, "checkpoint to %s", path);
    return QUERN_OK;
}

/* ---- verify ---- */

/* Files that change while they are read look damaged for moments; damage stays. */
#define LOOKS 3
#define LOOK_AGAIN_NS UINT64_C(20000000)

struct verify {
    struct findings findings;
    struct quern_verify_report report;
};

static void on_damage(void *arg, uint64_t table_no, uint64_t offset, struct quern_slice first_key,
                      struct quern_slice last_key, const char *what)
{
    struct verify *v = arg;
    char name[TABLE_NAME_BYTES];

    table_name(name, table_no);
    findings_add(&v->findings, name, offset, first_key, last_key, what, true);
}

static uint64_t version_bytes(const struct version *version)
{
    uint64_t bytes = 0;

    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++)
            bytes += sst_meta(version->runs[r].tables[i]->sst)->file_bytes;
    return bytes;
}

static void verify_table(struct verify *v, struct sst *sst, struct quern_error *first)
{
    struct quern_error err;
    uint64_t bytes = 0;

    if (sst_verify(sst, on_damage, v, &bytes, &err) && first->code == QUERN_OK)
        *first = err;
    v->report.tables++;
    v->report.bytes += bytes;
    v->report.entries += sst_meta(sst)->entry_count;
}

static void on_manifest_damage(void *arg, const char *file, uint64_t offset, const char *what,
                               bool lost)
{
    findings_add(arg, file, offset, (struct quern_slice){0}, (struct quern_slice){0}, what, lost);
}

/* CURRENT and the manifest as they are on disk now; *out is manifest_remains_done()'s. */
static enum quern_code verify_manifest(struct quern *db, struct verify *v,
                                       struct manifest_remains *out, struct quern_error *err)
{
    for (int look = 1;; look++) {
        struct findings quiet = {0};
        struct findings *f = look < LOOKS ? &quiet : &v->findings;

        if (manifest_salvage(db->dir, on_manifest_damage, f, out, err))
            return err->code;
        if (look == LOOKS || quiet.damages == 0)
            return QUERN_OK;
        manifest_remains_done(out);
        thread_sleep_ns(LOOK_AGAIN_NS);
    }
}

/* Segments are released in order, and what is released does not come back under its number. */
static bool is_live(void *arg, uint64_t segment_no)
{
    struct quern *db = arg;
    bool live = true, whole = false;

    for (int look = 0; look < LOOKS && !whole; look++) {
        struct manifest_remains m;
        struct quern_error err;

        if (look > 0)
            thread_sleep_ns(LOOK_AGAIN_NS);
        if (manifest_salvage(db->dir, NULL, NULL, &m, &err))
            return true;
        whole = m.whole;
        live = !whole || segment_no >= m.state.log_first;
        manifest_remains_done(&m);
    }
    return live;
}

static enum quern_code verify_files(struct quern *db, struct verify *v, struct quern_error *err)
{
    struct log_row row = {.settled = atomic_load(&db->visible_seq), .is_live = is_live, .arg = db};
    struct manifest_remains m;
    enum quern_code code;

    if (verify_manifest(db, v, &m, err))
        return err->code;
    row.store_id = m.state.store_id;
    row.first = m.state.log_first;
    row.last = m.whole ? m.state.log_last : 0;
    code = verify_segments(db->dir, &row, &v->findings, &v->report.bytes, err);
    manifest_remains_done(&m);
    return code;
}

/* What is kept of the number of keys of a database, if anything is, against a walk; what is wrong is
 * mended. */
static enum quern_code verify_count(struct quern *db, uint8_t database, struct verify *v,
                                    struct quern_error *err)
{
    struct live_look look;
    uint64_t keys = 0;
    enum quern_code code = QUERN_OK;
    bool wrong, late;

    if (live_look(db, database, LIVE_ALL, &look, err))
        return err->code;
    if (look.known || look.by_clock)
        code = count_walk(db, &look, &keys, err);
    wrong = look.known && (uint64_t)look.keys != keys;
    late = look.by_clock && look.living != (uint64_t)look.walked.keys;
    if (code == QUERN_OK && (wrong || late) && live_learn(db, &look, keys)) {
        if (wrong)
            findings_add_count(&v->findings, database, (uint64_t)look.keys, keys);
        else
            findings_add_count(&v->findings, database, look.living, (uint64_t)look.walked.keys);
    }
    live_end(db, &look);
    return code;
}

enum quern_code quern_verify(struct quern *db, const struct quern_verify_opts *opts,
                             struct quern_verify_report *report, struct quern_error *err)
{
    struct verify v = {.findings = {.opts = opts}};
    struct view *view OWNED(view_unref) = NULL;
    struct quern_error local, files;
    uint64_t total;

    err = ERR_OR(err, local);
    if (engine_check(db, err))
        return err->code;
    err_clear(err);
    v.findings.map = present_map(db);
    view = engine_view(db);
    total = version_bytes(view->version);
    for (size_t r = 0; r < view->version->run_count; r++)
        for (size_t i = 0; i < view->version->runs[r].count; i++) {
            verify_table(&v, view->version->runs[r].tables[i]->sst, err);
            if (opts != NULL && opts->on_progress != NULL)
                opts->on_progress(opts->on_progress_arg, v.report.bytes, total);
        }
    if (verify_files(db, &v, &files) && err->code == QUERN_OK)
        *err = files;
    for (uint8_t d = 0; d < QUERN_DATABASES; d++)
        if (verify_count(db, d, &v, &files) && err->code == QUERN_OK)
            *err = files;
    if (err->code == QUERN_OK && v.findings.damages != 0)
        *err = v.findings.first;
    v.report.damages = v.findings.damages;
    if (report != NULL)
        *report = v.report;
    return err->code;
}
