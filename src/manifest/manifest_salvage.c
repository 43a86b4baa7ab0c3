/* manifest_salvage.c - what the remains of CURRENT and of a manifest still tell of a store.
 *
 *     CURRENT and its manifest read   all is known
 *     CURRENT does not                the manifest with the highest number that reads: all is known
 *     no manifest reads               edits are taken wherever one stands whole: of each table, the
 *                                     last edit that speaks of it counts. What a lost edit said is
 *                                     not known, and the caller is told so
 *
 * Writes nothing. */
#include "manifest/manifest_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdlib.h>

#define SALT_AT 40u

struct salvage {
    struct os_dir *dir;
    manifest_damage_fn damage;
    void *arg;
    struct manifest_remains *out;
    struct buf file;   /* of the manifest at hand */
    struct buf events; /* struct event ... */
};

/* What one edit says of one table; `body` lies in the file. */
struct event {
    uint64_t table_no, order;
    enum edit_tag tag; /* EDIT_REMOVE, EDIT_ADD, EDIT_TRIM */
    struct quern_slice body;
};

static void tell(struct salvage *s, const char *name, uint64_t at, const char *what, bool lost)
{
    if (s->damage != NULL)
        s->damage(s->arg, name, at, what, lost);
}

static enum quern_code read_file(struct salvage *s, const char *name, struct quern_error *err)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    uint64_t bytes;

    buf_clear(&s->file);
    if (os_file_open(s->dir, name, OS_READ, &file, err) || os_file_size(file, &bytes, err) ||
        buf_reserve(&s->file, bytes, err) || os_file_read(file, s->file.data, bytes, 0, err))
        return err->code;
    s->file.len = bytes;
    return QUERN_OK;
}

/* ---- a manifest that reads ---- */

/* Take manifest `no` as a whole. Errors: CORRUPT, NO_STORE (no such file), UNSUPPORTED, ... */
static enum quern_code take_whole(struct salvage *s, uint64_t no, uint64_t store_id,
                                  struct quern_error *err)
{
    char name[MANIFEST_NAME_BYTES];
    struct manifest_image image;

    manifest_name(name, no);
    if (read_file(s, name, err) || manifest_replay(buf_slice(&s->file), &image, err))
        return err_in(err, "%s", name);
    if (image.header.manifest_no == no && (store_id == 0 || image.header.store_id == store_id)) {
        s->out->whole = true;
        s->out->state = image.state;
        return QUERN_OK;
    }
    state_done(&image.state);
    return err_set(err, QUERN_CORRUPT, "%s: is of another store, or of another number", name);
}

static enum quern_code see_name(void *arg, const char *name, struct quern_error *err)
{
    uint64_t *highest = arg, no;

    (void)err;
    if (manifest_name_parse(name, &no) && no > *highest)
        *highest = no;
    return QUERN_OK;
}

/* ---- edits one by one ---- */

static enum quern_code add_event(struct salvage *s, enum edit_tag tag, uint64_t table_no,
                                 struct quern_slice body, struct quern_error *err)
{
    struct event e = {table_no, s->events.len / sizeof(e), tag, body};

    return buf_append(&s->events, &e, sizeof(e), err);
}

/* All that any edit has named: one that had nothing left to hide hides nothing here either. */
static enum quern_code take_cuts(struct salvage *s, struct quern_slice body,
                                 struct quern_error *err)
{
    struct manifest_state *state = &s->out->state;
    struct cuts *more OWNED(cuts_unref) = NULL, *all;

    if (cuts_decode(body, &more, err))
        return err->code == QUERN_CORRUPT ? QUERN_OK : err->code;
    if (more == NULL)
        return QUERN_OK;
    if (cuts_new(state->cuts, more->piece, more->count, (struct cut_pins){NULL, 0}, &all, err))
        return err->code;
    cuts_unref(state->cuts);
    state->cuts = all;
    return QUERN_OK;
}

static enum quern_code take_field(struct salvage *s, const struct field *f, struct quern_error *err)
{
    const uint8_t *end = (const uint8_t *)f->body.data + f->body.len, *key;
    struct manifest_state *state = &s->out->state;
    struct manifest_table t;
    uint64_t v;

    if (f->tag == EDIT_ADD) {
        if (table_decode(f->body, &t, err) == QUERN_OK)
            return add_event(s, EDIT_ADD, t.meta.table_no, f->body, err);
        return err->code == QUERN_CORRUPT ? QUERN_OK : err->code;
    }
    if (f->tag == EDIT_TRIM) {
        key = get_varint(f->body.data, end, &v);
        return key == NULL ? QUERN_OK
                           : add_event(s, EDIT_TRIM, v, slice_of(key, (size_t)(end - key)), err);
    }
    if (f->tag == EDIT_CUTS)
        return take_cuts(s, f->body, err);
    if (!field_number(f->body, &v))
        return f->tag > EDIT_LIVE ? field_unknown(f->tag, err) : QUERN_OK;
    if (f->tag == EDIT_REMOVE)
        return add_event(s, EDIT_REMOVE, v, (struct quern_slice){0}, err);
    if (f->tag == EDIT_LOG_FIRST && v > state->log_first)
        state->log_first = v;
    if (f->tag == EDIT_LOG_LAST && v > state->log_last)
        state->log_last = v;
    if (f->tag == EDIT_FLUSHED_SEQ && v > state->flushed_seq)
        state->flushed_seq = v;
    if (f->tag == EDIT_DATABASES && db_map_is_valid(v))
        state->map = v; /* the last that any edit has named */
    return QUERN_OK;
}

/* Every record that reads, at the places where one may begin. */
static enum quern_code gather(struct salvage *s, struct quern_error *err)
{
    uint64_t salt, page = 0;
    const uint8_t *bytes = s->file.data;

    if (s->file.len < MANIFEST_HEADER_BYTES)
        return QUERN_OK;
    salt = get_u64le(bytes + SALT_AT);
    for (; page < s->file.len; page += RECORD_PAGE_BYTES) {
        const uint64_t starts[] = {page == 0 ? MANIFEST_HEADER_BYTES : page,
                                   page + RECORD_HEAD_BYTES};

        for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
            struct field_cursor c;
            struct record r;
            struct field f;

            if (starts[i] >= s->file.len ||
                !record_read(bytes + starts[i], s->file.len - starts[i], salt, starts[i], &r))
                continue;
            if (r.type != RECORD_EDIT || r.payload.len < 8)
                continue;
            c = (struct field_cursor){(const uint8_t *)r.payload.data + 8,
                                      (const uint8_t *)r.payload.data + r.payload.len, false};
            while (field_next(&c, &f))
                if (take_field(s, &f, err))
                    return err->code;
        }
    }
    return QUERN_OK;
}

static int by_table(const void *x, const void *y)
{
    const struct event *a = x, *b = y;

    if (a->table_no != b->table_no)
        return a->table_no < b->table_no ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static enum quern_code add_table(struct salvage *s, const struct manifest_table *t,
                                 struct quern_error *err)
{
    struct manifest_state *state = &s->out->state;
    struct manifest_table *more =
        alloc_resize(state->tables, (state->table_count + 1) * sizeof(*more));

    if (more == NULL)
        return err_memory(err, "the remains of a manifest");
    state->tables = more;
    more[state->table_count] = *t;
    if (table_meta_copy(&more[state->table_count].meta, &t->meta, err))
        return err->code;
    state->table_count++;
    return QUERN_OK;
}

/* Events to tables: the last word on each number counts. */
static enum quern_code settle(struct salvage *s, struct quern_error *err)
{
    struct event *events = (struct event *)(void *)s->events.data;
    size_t n = s->events.len / sizeof(*events);
    struct manifest_table t = {0};
    bool live = false;

    if (n != 0)
        qsort(events, n, sizeof(*events), by_table);
    for (size_t i = 0; i < n; i++) {
        const struct event *e = &events[i];

        if (e->tag == EDIT_ADD)
            live = table_decode(e->body, &t, err) == QUERN_OK;
        else if (e->tag == EDIT_REMOVE)
            live = false;
        else if (live)
            t.meta.smallest =
                (struct buf){.data = (uint8_t *)(uintptr_t)e->body.data, .len = e->body.len};
        if (i + 1 < n && events[i + 1].table_no == e->table_no)
            continue;
        if (live && add_table(s, &t, err))
            return err->code;
        if (!live && buf_append(&s->out->removed, &e->table_no, sizeof(e->table_no), err))
            return err->code;
        live = false;
    }
    return QUERN_OK;
}

static enum quern_code take_pieces(struct salvage *s, uint64_t no, struct quern_error *err)
{
    char name[MANIFEST_NAME_BYTES];

    manifest_name(name, no);
    if (read_file(s, name, err))
        return err->code == QUERN_NO_STORE ? QUERN_OK : err->code;
    return gather(s, err) || settle(s, err) ? err->code : QUERN_OK;
}

/* ---- which ---- */

/* A finding; anything that is no damage ends the salvage. */
static bool is_damage(const struct quern_error *err)
{
    return err->code == QUERN_CORRUPT || err->code == QUERN_NO_STORE;
}

/* The manifest that CURRENT names, then one above it that CURRENT does not know yet. A lower one is
 * older and never taken as a whole. */
static enum quern_code take_best(struct salvage *s, const struct manifest_current *current,
                                 uint64_t highest, struct quern_error *err)
{
    const uint64_t numbers[] = {current->manifest_no, highest};
    char name[MANIFEST_NAME_BYTES];

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (numbers[i] == 0 || (i == 1 && numbers[1] <= numbers[0]))
            continue;
        if (take_whole(s, numbers[i], i == 0 ? current->store_id : 0, err) == QUERN_OK)
            return QUERN_OK;
        if (!is_damage(err))
            return err->code;
        manifest_name(name, numbers[i]);
        tell(s, name, 0, err->text, true);
    }
    return highest != 0 ? take_pieces(s, highest, err) : QUERN_OK;
}

static enum quern_code salvage(struct salvage *s, struct quern_error *err)
{
    struct manifest_current current = {0};
    uint64_t highest = 0;

    if (current_read(s->dir, &current, err)) {
        if (!is_damage(err))
            return err->code;
        tell(s, CURRENT_NAME, 0, err->code == QUERN_NO_STORE ? "is missing" : "is damaged", false);
        current = (struct manifest_current){0};
    }
    if (os_dir_list(s->dir, see_name, &highest, err))
        return err->code;
    if (current.manifest_no == 0 && highest == 0)
        tell(s, CURRENT_NAME, 0, "and there is no manifest", true);
    return take_best(s, &current, highest, err);
}

enum quern_code manifest_salvage(struct os_dir *dir, manifest_damage_fn damage, void *arg,
                                 struct manifest_remains *out, struct quern_error *err)
{
    struct salvage s = {.dir = dir, .damage = damage, .arg = arg, .out = out};
    enum quern_code code;

    *out = (struct manifest_remains){0};
    code = salvage(&s, err);
    buf_done(&s.file);
    buf_done(&s.events);
    if (code != QUERN_OK)
        manifest_remains_done(out);
    return code;
}

void manifest_remains_done(struct manifest_remains *r)
{
    state_done(&r->state);
    buf_done(&r->removed);
}
