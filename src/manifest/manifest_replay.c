/* manifest_replay.c - from the bytes of a manifest file to the state.
 *
 *     page 0   header | edit 1: the snapshot, as many pages as it needs, then zeros
 *     page i   mark 1 | edit 2 | zeros          an edit is alone on its last page, so the pages of
 *     page j   mark 2 | edit 3 | zeros          an acknowledged edit are never written again
 *     page k   mark 3                           a mark says: edit n was synced when I was written
 *
 * A file that ends with a mark is settled: all that is in it was durable, and so was CURRENT's move
 * to it, when a process that did the syncs wrote the mark. It may be appended to.
 *
 * Three judgements about bytes that do not read as the record that should stand there:
 *   edit 1            CURRENT was moved to this file after it was synced: damage, CORRUPT.
 *   something behind  a record further on carries a durable number at or above the first edit
 *                     that is missing here: it was acknowledged, CORRUPT.
 *   nothing behind    a tail that a crash left, or the last mark: it ends here, silently.
 * Records behind are looked for where they can begin: at the start of a page, and after a mark
 * there.
 *
 * Edits are not applied one after the other, which would cost edits times tables. What they do to
 * table numbers is listed, sorted by number, and followed number by number; what lives at the end
 * goes through the same checks as a single edit that adds it all. */
#include "manifest/manifest_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdlib.h>

/* One thing that one edit does to one table. */
enum event_kind { EVENT_REMOVE = 0, EVENT_ADD = 1, EVENT_TRIM = 2 };

struct event {
    uint64_t table_no;
    uint64_t order;          /* edit number * 4 + kind: removes come before adds, then trims */
    struct quern_slice body; /* of EVENT_ADD: the table; of EVENT_TRIM: the key. In the file */
};

struct replay {
    struct quern_slice file;
    struct manifest_image image;
    uint64_t chain;
    struct buf events; /* struct event ... */
};

static void replay_done(struct replay *r)
{
    state_done(&r->image.state);
    buf_done(&r->events);
}

static const uint8_t *byte_at(const struct replay *r, uint64_t at)
{
    return (const uint8_t *)r->file.data + at;
}

static bool record_at(const struct replay *r, uint64_t at, struct record *rec)
{
    return at < r->file.len &&
           record_read(byte_at(r, at), r->file.len - at, r->image.header.salt, at, rec);
}

/* ---- one edit ---- */

static enum quern_code see_number(struct replay *r, uint64_t no, struct quern_error *err)
{
    if (no > MANIFEST_NO_MAX)
        return err_set(err, QUERN_CORRUPT, "number %" PRIu64 " is out of range", no);
    if (no >= r->image.next_file_no)
        r->image.next_file_no = no + 1;
    return QUERN_OK;
}

static enum quern_code add_event(struct replay *r, enum event_kind kind, uint64_t table_no,
                                 struct quern_slice body, struct quern_error *err)
{
    struct event e = {table_no, r->image.edit_count * 4 + kind, body};

    if (see_number(r, table_no, err))
        return err->code;
    return buf_append(&r->events, &e, sizeof(e), err);
}

static enum quern_code take_add(struct replay *r, struct quern_slice body, struct quern_error *err)
{
    struct manifest_table t;

    if (table_decode(body, &t, err) || see_number(r, t.run_no, err))
        return err->code;
    return add_event(r, EVENT_ADD, t.meta.table_no, body, err);
}

static enum quern_code take_trim(struct replay *r, struct quern_slice body, struct quern_error *err)
{
    const uint8_t *end = (const uint8_t *)body.data + body.len, *key;
    uint64_t table_no;

    key = get_varint(body.data, end, &table_no);
    if (key == NULL)
        return err_set(err, QUERN_CORRUPT, "a trim does not parse");
    return add_event(r, EVENT_TRIM, table_no, slice_of(key, (size_t)(end - key)), err);
}

static enum quern_code take_cuts(struct quern_slice body, struct manifest_edit *edit,
                                 struct quern_error *err)
{
    if (edit->set_cuts)
        return err_set(err, QUERN_CORRUPT, "its range deletes stand twice");
    edit->set_cuts = true;
    return cuts_decode(body, &edit->cuts, err);
}

static enum quern_code take_live(struct quern_slice body, struct manifest_edit *edit,
                                 uint64_t live[QUERN_DATABASES], struct quern_error *err)
{
    if (edit->live != NULL)
        return err_set(err, QUERN_CORRUPT, "its numbers of keys stand twice");
    edit->live = live;
    return live_decode(body, live, err);
}

static enum quern_code take_number(struct replay *r, uint64_t tag, uint64_t v, bool first_field,
                                   struct manifest_edit *edit, struct quern_error *err)
{
    switch (tag) {
    case EDIT_SNAPSHOT:
        if (r->image.edit_count != 1 || !first_field)
            return err_set(err, QUERN_CORRUPT, "a snapshot that is not the beginning");
        r->image.state.created_ms = v;
        return QUERN_OK;
    case EDIT_NEXT_FILE_NO:
        return v == 0 ? QUERN_OK : see_number(r, v - 1, err);
    case EDIT_LOG_FIRST:
        edit->set_log_first = true;
        edit->log_first = v;
        return QUERN_OK;
    case EDIT_LOG_LAST:
        edit->set_log_last = true;
        edit->log_last = v;
        return QUERN_OK;
    case EDIT_FLUSHED_SEQ:
        edit->set_flushed_seq = true;
        edit->flushed_seq = v;
        return QUERN_OK;
    case EDIT_REMOVE:
        return add_event(r, EVENT_REMOVE, v, (struct quern_slice){0}, err);
    case EDIT_DATABASES:
        edit->set_map = true;
        edit->map = v;
        return QUERN_OK;
    default:
        return field_unknown(tag, err);
    }
}

/* Odd tags that are no number; the others are checked by the number they must be. */
static enum quern_code take_field(struct replay *r, const struct field *f, bool first_field,
                                  struct manifest_edit *edit, uint64_t live[QUERN_DATABASES],
                                  struct quern_error *err)
{
    uint64_t v = 0;

    if (f->tag == EDIT_ADD)
        return take_add(r, f->body, err);
    if (f->tag == EDIT_TRIM)
        return take_trim(r, f->body, err);
    if (f->tag == EDIT_CUTS)
        return take_cuts(f->body, edit, err);
    if (f->tag == EDIT_LIVE)
        return take_live(f->body, edit, live, err);
    if ((f->tag <= EDIT_REMOVE || f->tag == EDIT_DATABASES) && f->tag % 2 == 1 &&
        !field_number(f->body, &v))
        return err_set(err, QUERN_CORRUPT, "field %" PRIu64 " is no number", f->tag);
    return take_number(r, f->tag, v, first_field, edit, err);
}

static enum quern_code take_fields(struct replay *r, struct quern_slice payload,
                                   struct manifest_edit *edit, uint64_t live[QUERN_DATABASES],
                                   struct quern_error *err)
{
    struct field_cursor c = {(const uint8_t *)payload.data + 8,
                             (const uint8_t *)payload.data + payload.len, false};
    struct field f;
    bool first_field = true, snapshot = false;

    while (field_next(&c, &f)) {
        if (take_field(r, &f, first_field, edit, live, err))
            return err->code;
        snapshot = snapshot || f.tag == EDIT_SNAPSHOT;
        first_field = false;
    }
    if (c.bad)
        return err_set(err, QUERN_CORRUPT, "its fields do not parse");
    if (r->image.edit_count == 1 && !snapshot)
        return err_set(err, QUERN_CORRUPT, "the first edit is no snapshot");
    return QUERN_OK;
}

static enum quern_code take_edit(struct replay *r, uint64_t at, const struct record *rec,
                                 struct quern_error *err)
{
    struct manifest_edit edit = {0};
    uint64_t live[QUERN_DATABASES];
    struct state_change change;
    enum quern_code code;

    if (rec->first_seq != r->image.edit_count + 1 || rec->count != 1 ||
        rec->durable_seq >= rec->first_seq)
        return err_set(err, QUERN_CORRUPT, "number %" PRIu64 " after edit %" PRIu64, rec->first_seq,
                       r->image.edit_count);
    if (rec->payload.len < 8 || get_u64le(rec->payload.data) != r->chain)
        return err_set(err, QUERN_CORRUPT, "it does not follow the edit before it");
    r->chain = get_u64le(byte_at(r, at));
    r->image.edit_count++;
    code = take_fields(r, rec->payload, &edit, live, err);
    if (code == QUERN_OK &&
        state_prepare(&r->image.state, &edit, &change, err)) /* numbers and cuts: no memory */
        code = err->code = QUERN_CORRUPT;
    if (code == QUERN_OK)
        state_commit(&r->image.state, &change);
    cuts_unref(edit.cuts);
    return code;
}

/* ---- the row of records ---- */

static enum quern_code take_record(struct replay *r, uint64_t at, const struct record *rec,
                                   struct quern_error *err)
{
    if (rec->type == RECORD_EDIT) {
        if (take_edit(r, at, rec, err))
            return err_in(err, "edit at %" PRIu64, at);
        return QUERN_OK;
    }
    if (rec->type != RECORD_MARK || rec->durable_seq != r->image.edit_count)
        return err_set(err, QUERN_CORRUPT, "record at %" PRIu64 ": not one of a manifest", at);
    return QUERN_OK;
}

/* Where the record after `rec` begins: an edit ends its page. */
static uint64_t after_record(uint64_t at, const struct record *rec)
{
    uint64_t end = at + record_bytes(rec->payload.len);

    return rec->type == RECORD_EDIT ? round_up(end, RECORD_PAGE_BYTES) : record_start(end);
}

/* Does the record at `at`, if there is one, prove that edit `n` was synced? *work is what may
 * still be read in the search: lengths are hostile, and a search is not to take hours. */
static bool proves(const struct replay *r, uint64_t at, uint64_t n, uint64_t *work)
{
    struct record rec;
    uint64_t length, type;

    if (at >= r->file.len || r->file.len - at < RECORD_HEAD_BYTES)
        return false;
    length = get_u32le(byte_at(r, at) + 8);
    type = get_u32le(byte_at(r, at) + 12);
    if (length > r->file.len - at || (type != RECORD_EDIT && type != RECORD_MARK))
        return false;
    if (length > *work) {
        *work = 0;
        return false;
    }
    *work -= length;
    return record_at(r, at, &rec) && rec.durable_seq >= n;
}

/* Nothing reads at `bad`, where edit `n` or a mark before it should be. Tail or damage? */
static enum quern_code judge_end(const struct replay *r, uint64_t bad, uint64_t n,
                                 struct quern_error *err)
{
    uint64_t work = 16 * (uint64_t)r->file.len + 4096;

    if (n == 1)
        return err_set(err, QUERN_CORRUPT, "edit at %" PRIu64 ": the first edit is damaged", bad);
    for (uint64_t page = bad & ~(uint64_t)(RECORD_PAGE_BYTES - 1); page < r->file.len;
         page += RECORD_PAGE_BYTES)
        for (uint64_t at = page; at <= page + RECORD_HEAD_BYTES; at += RECORD_HEAD_BYTES)
            if (at > bad && proves(r, at, n, &work))
                return err_set(err, QUERN_CORRUPT,
                               "edit at %" PRIu64 ": damaged, and the record at %" PRIu64
                               " proves that edit %" PRIu64 " was durable",
                               bad, at, n);
    if (work == 0)
        return err_set(err, QUERN_CORRUPT,
                       "edit at %" PRIu64 ": damaged, and what follows cannot be judged", bad);
    return QUERN_OK;
}

static enum quern_code take_records(struct replay *r, struct quern_error *err)
{
    uint64_t at = MANIFEST_HEADER_BYTES;
    struct record rec;

    while (record_at(r, at, &rec)) {
        if (take_record(r, at, &rec, err))
            return err->code;
        at = after_record(at, &rec);
        r->image.bytes = at < r->file.len ? at : r->file.len;
        if (r->image.edit_count == 1 && rec.type == RECORD_EDIT)
            r->image.snapshot_bytes = r->image.bytes;
        r->image.settled = rec.type == RECORD_MARK && at == r->file.len;
    }
    return judge_end(r, at, r->image.edit_count + 1, err);
}

/* ---- number by number ---- */

static int event_compare(const void *x, const void *y)
{
    const struct event *a = x, *b = y;

    if (a->table_no != b->table_no)
        return a->table_no < b->table_no ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static enum quern_code bad_event(const struct event *e, const char *what, struct quern_error *err)
{
    return err_set(err, QUERN_CORRUPT, "edit %" PRIu64 " %s table %06" PRIu64, e->order / 4, what,
                   e->table_no);
}

/* One more event of a number whose table is *t now if `*live`. */
static enum quern_code follow(const struct event *e, struct manifest_table *t, bool *live,
                              struct quern_error *err)
{
    switch (e->order % 4) {
    case EVENT_REMOVE:
        if (!*live)
            return bad_event(e, "removes a missing", err);
        *live = false;
        return QUERN_OK;
    case EVENT_ADD:
        if (*live)
            return bad_event(e, "adds again", err);
        *live = true;
        return table_decode(e->body, t, err);
    default:
        if (!*live || key_compare(e->body, buf_slice(&t->meta.smallest)) < 0 ||
            key_compare(e->body, buf_slice(&t->meta.largest)) > 0)
            return bad_event(e, "trims wrongly", err);
        t->meta.smallest =
            (struct buf){.data = (uint8_t *)(uintptr_t)e->body.data, .len = e->body.len};
        return QUERN_OK;
    }
}

/* Tables that live at the end, their keys in the file's bytes. */
static enum quern_code gather(struct replay *r, struct buf *tables, struct quern_error *err)
{
    struct event *events = (struct event *)(void *)r->events.data;
    size_t n = r->events.len / sizeof(*events);
    struct manifest_table t;
    bool live = false;

    if (n != 0)
        qsort(events, n, sizeof(*events), event_compare);
    for (size_t i = 0; i < n; i++) {
        if (follow(&events[i], &t, &live, err))
            return err->code;
        if (i + 1 < n && events[i + 1].table_no == events[i].table_no)
            continue;
        if (live && buf_append(tables, &t, sizeof(t), err))
            return err->code;
        live = false;
    }
    return QUERN_OK;
}

static enum quern_code take_tables(struct replay *r, struct quern_error *err)
{
    struct buf tables OWNED_BUF = {0};
    struct manifest_edit all = {0};
    struct state_change change;

    if (gather(r, &tables, err))
        return err->code;
    all.add = (const struct manifest_table *)(const void *)tables.data;
    all.add_count = tables.len / sizeof(*all.add);
    if (state_prepare(&r->image.state, &all, &change, err))
        return err->code == QUERN_INVALID ? (err->code = QUERN_CORRUPT) : err->code;
    state_commit(&r->image.state, &change);
    return QUERN_OK;
}

enum quern_code manifest_replay(struct quern_slice file, struct manifest_image *out,
                                struct quern_error *err)
{
    struct replay r = {.file = file};

    r.image.next_file_no = 1;
    if (manifest_header_get(file, &r.image.header, &r.chain, err) || take_records(&r, err) ||
        take_tables(&r, err)) {
        replay_done(&r);
        return err->code;
    }
    r.image.state.store_id = r.image.header.store_id;
    r.image.chain = r.chain;
    *out = r.image;
    r.image.state = (struct manifest_state){0};
    replay_done(&r);
    return QUERN_OK;
}
