/* manifest.c - the life of a manifest: made, appended to, written anew.
 *
 *     manifest_create  write_file -> CURRENT -> mark
 *     manifest_open    see manifest_open.c
 *     manifest_apply   check -> [rewrite when long] -> write -> sync -> take into the state -> mark
 *                        |               |               |       |
 *                      INVALID     goes on with      cut back    poisoned: UNKNOWN, then
 *                                  the old file      and refuse  READ_ONLY for ever
 *
 * Invariants:
 *   (1) CURRENT names a file only after its bytes, its size and its name are durable, and the file
 *       named before is removed only after CURRENT's change is durable;
 *   (2) a file that an earlier process wrote is appended to only if it ends with a mark, hence was
 *       durable; what a crash has touched is read and never appended to: a page that the kernel
 *       failed to write may still look well in its cache;
 *   (3) the state in memory changes after the sync, in steps that cannot fail;
 *   (4) `end` is where the next record goes: the start of a page, or after a mark there. Pages
 *       before it that hold an acknowledged edit are never written again. */
#include "manifest/manifest_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>

/* A manifest is written anew when it is longer than this and than so many times what it was when it
 * held nothing but its snapshot. */
#define REWRITE_BYTES_MIN (UINT64_C(1) << 20)
#define REWRITE_FACTOR 4

/* ---- writing a whole file ---- */

/* What a new file starts from. */
struct fresh_file {
    struct os_file *file; /* owned until taken */
    uint64_t manifest_no, salt, chain, bytes;
};

static bool live_is_known(const uint64_t *live)
{
    for (size_t i = 0; i < QUERN_DATABASES; i++)
        if (live[i] != 0)
            return true;
    return false;
}

static struct manifest_edit edit_of_state(const struct manifest_state *s)
{
    return (struct manifest_edit){
        .add = s->tables,
        .add_count = s->table_count,
        .set_log_first = true,
        .log_first = s->log_first,
        .set_log_last = true,
        .log_last = s->log_last,
        .set_flushed_seq = true,
        .flushed_seq = s->flushed_seq,
        .set_cuts = s->cuts != NULL,
        .cuts = s->cuts,
        .set_map = s->map != 0,
        .map = s->map,
        .live = live_is_known(s->live) ? s->live : NULL,
    };
}

/* Add to `out`, whose end will be `at` in the file,
 * one edit record and zeros up to a page's end. */
static enum quern_code put_edit(struct buf *out, uint64_t at, uint64_t salt, uint64_t edit_no,
                                const struct edit_frame *frame, const struct manifest_edit *edit,
                                uint64_t *checksum, struct quern_error *err)
{
    static const uint8_t zeros[RECORD_PAGE_BYTES];
    size_t begin = out->len, end;
    struct record rec = {RECORD_EDIT, edit_no, 1, edit_no - 1, {NULL, 0}};

    ensure(record_start(at) == at);
    if (buf_append(out, zeros, RECORD_HEAD_BYTES, err) || edit_encode(out, frame, edit, err))
        return err->code;
    rec.payload.len = out->len - begin - RECORD_HEAD_BYTES;
    end = begin + (round_up(at + record_bytes(rec.payload.len), RECORD_PAGE_BYTES) - at);
    if (buf_append(out, zeros, end - out->len, err))
        return err->code;
    record_seal(out->data + begin, &rec, salt, at);
    *checksum = get_u64le(out->data + begin);
    return QUERN_OK;
}

static enum quern_code write_bytes(struct os_file *file, const struct buf *b, uint64_t at,
                                   struct quern_error *err)
{
    struct iovec piece = {b->data, b->len};

    return os_file_write(file, &piece, 1, at, err);
}

void manifest_remove(struct os_dir *dir, uint64_t manifest_no)
{
    char name[MANIFEST_NAME_BYTES];
    struct quern_error ignored;

    manifest_name(name, manifest_no);
    if (os_dir_remove(dir, name, &ignored))
        err_clear(&ignored);
}

/* Create a file, write it, and make bytes and name durable. */
static enum quern_code create_durably(struct os_dir *dir, uint64_t manifest_no,
                                      const struct buf *bytes, struct os_file **out,
                                      struct quern_error *err)
{
    char name[MANIFEST_NAME_BYTES];

    manifest_name(name, manifest_no);
    if (os_file_open(dir, name, OS_WRITE | OS_CREATE, out, err))
        return err_in(err, "%s", name);
    if (write_bytes(*out, bytes, 0, err) || os_file_sync(*out, err) || os_dir_sync(dir, err)) {
        os_file_drop(GIVE(*out));
        manifest_remove(dir, manifest_no);
        return err_in(err, "%s", name);
    }
    return QUERN_OK;
}

/* Make the file of m->manifest_no_last + 1, which begins with the state as it is. CURRENT does
 * not know it yet. */
static enum quern_code write_file(struct manifest *m, struct fresh_file *out,
                                  struct quern_error *err)
{
    struct buf bytes OWNED_BUF = {0};
    uint8_t head[MANIFEST_HEADER_BYTES];
    struct manifest_edit edit = edit_of_state(&m->state);
    struct fresh_file f = {0};
    struct edit_frame frame = {.snapshot = true, .created_ms = m->state.created_ms};

    f.manifest_no = ++m->manifest_no_last;
    f.salt = os_random_u64(os_of(m->dir));
    frame.next_file_no = atomic_load(&m->next_file_no);
    frame.chain = manifest_header_put(
        head, &(struct manifest_header){0, m->state.store_id, f.manifest_no, f.salt});
    if (buf_append(&bytes, head, sizeof(head), err) ||
        put_edit(&bytes, sizeof(head), f.salt, 1, &frame, &edit, &f.chain, err))
        return err->code;
    f.bytes = bytes.len;
    if (create_durably(m->dir, f.manifest_no, &bytes, &f.file, err))
        return err->code;
    *out = f;
    return QUERN_OK;
}

/* All that the file holds is durable, and so is CURRENT, which names it. Not synced, and nothing
 * waits for it: it lets a later open go on with this file, and tell damage to the edit that was
 * just synced from a tail that a crash has torn. */
static void append_mark(struct manifest *m)
{
    uint8_t bytes[RECORD_HEAD_BYTES];
    struct record rec = {RECORD_MARK, m->edit_no, 0, m->edit_no, {NULL, 0}};
    struct iovec piece = {bytes, sizeof(bytes)};
    struct quern_error ignored;

    record_seal(bytes, &rec, m->salt, m->end);
    if (os_file_write(m->file, &piece, 1, m->end, &ignored))
        m->tail_dirty = true; /* the edit itself is safe */
    else
        m->end += sizeof(bytes);
    atomic_store(&m->bytes, m->end);
}

uint64_t manifest_rewrite_bytes(uint64_t snapshot_bytes)
{
    return snapshot_bytes * REWRITE_FACTOR > REWRITE_BYTES_MIN ? snapshot_bytes * REWRITE_FACTOR
                                                               : REWRITE_BYTES_MIN;
}

/* From now on CURRENT names it, durably. */
static void adopt_file(struct manifest *m, const struct fresh_file *f)
{
    os_file_drop(m->file);
    m->file = f->file;
    m->salt = f->salt;
    m->chain = f->chain;
    m->edit_no = 1;
    m->end = f->bytes;
    m->rewrite_bytes = manifest_rewrite_bytes(f->bytes);
    m->tail_dirty = false;
    atomic_store(&m->manifest_no, f->manifest_no);
    append_mark(m);
}

/* Refuse from now on, and say that the outcome of what was under way is unknown. */
static enum quern_code poison(struct manifest *m, struct quern_error *err, const char *what)
{
    (void)err_in(err, "%s", what);
    err->code = QUERN_UNKNOWN;
    m->failed = *err;
    return err->code;
}

/* Does CURRENT surely still name another file than manifest_no? */
static bool current_stayed(struct os_dir *dir, uint64_t manifest_no)
{
    struct manifest_current c;
    struct quern_error err;
    enum quern_code code = current_read(dir, &c, &err);

    return code == QUERN_NO_STORE || (code == QUERN_OK && c.manifest_no != manifest_no);
}

enum quern_code manifest_rewrite(struct manifest *m, struct quern_error *err)
{
    uint64_t old_no = atomic_load(&m->manifest_no);
    char line[CURRENT_BYTES_MAX];
    struct manifest_current current = {.store_id = m->state.store_id};
    struct fresh_file f = {0};

    if (write_file(m, &f, err))
        return err->code;
    current.manifest_no = f.manifest_no;
    if (os_publish(m->dir, CURRENT_NAME, slice_of(line, current_format(line, &current)), err)) {
        os_file_drop(f.file);
        (void)err_in(err, CURRENT_NAME);
        if (current_stayed(m->dir, f.manifest_no))
            manifest_remove(m->dir, f.manifest_no);
        else
            m->failed = *err;
        return err->code;
    }
    adopt_file(m, &f);
    if (old_no != 0)
        manifest_remove(m->dir, old_no);
    return QUERN_OK;
}

/* ---- create ---- */

enum quern_code manifest_new(struct os_dir *dir, struct manifest **out, struct quern_error *err)
{
    struct manifest *m = NEW(struct manifest);

    if (m == NULL)
        return err_memory(err, "the manifest");
    m->dir = dir;
    mutex_init(&m->mu);
    atomic_store(&m->next_file_no, 1);
    *out = m;
    return QUERN_OK;
}

enum quern_code manifest_numbers(struct os_dir *dir, struct manifest **out, struct quern_error *err)
{
    return manifest_new(dir, out, err);
}

void manifest_close(struct manifest *m)
{
    if (m == NULL)
        return;
    os_file_drop(m->file); /* every edit was synced; a mark may be lost */
    state_done(&m->state);
    mutex_done(&m->mu);
    alloc_free(m);
}

/* Numbers that the edit names are taken. */
static void skip_numbers_of(struct manifest *m, const struct manifest_edit *edit)
{
    for (size_t i = 0; i < edit->add_count; i++) {
        manifest_skip_file_no(m, edit->add[i].meta.table_no + 1);
        manifest_skip_file_no(m, edit->add[i].run_no + 1);
    }
}

/* The first manifest of a store whose state is what `edit` adds to nothing. */
static enum quern_code create(struct os_dir *dir, const struct manifest_edit *edit,
                              struct manifest **out, struct quern_error *err)
{
    struct manifest *m OWNED(manifest_close) = NULL;
    struct state_change change;

    if (manifest_new(dir, &m, err) || state_prepare(&m->state, edit, &change, err))
        return err->code;
    state_commit(&m->state, &change);
    skip_numbers_of(m, edit);
    do
        m->state.store_id = os_random_u64(os_of(dir));
    while (m->state.store_id == 0);
    m->state.created_ms = os_wall_ms(os_of(dir));
    if (manifest_rewrite(m, err))
        return err_in(err, "create the manifest");
    *out = GIVE(m);
    return QUERN_OK;
}

enum quern_code manifest_create(struct os_dir *dir, struct manifest **out, struct quern_error *err)
{
    struct manifest_edit empty = {.set_log_first = true, .log_first = 1};
    char name[MANIFEST_NAME_BYTES];
    bool found;

    if (manifest_find(dir, &found, err))
        return err->code;
    if (found)
        return err_set(err, QUERN_EXISTS, "there is a store already");
    /* What a creation that a crash cut short has left; manifest_find() has judged it. */
    manifest_name(name, 1);
    if (os_dir_remove(dir, name, err) && err->code != QUERN_NO_STORE)
        return err->code;
    return create(dir, &empty, out, err);
}

enum quern_code manifest_create_from(struct os_dir *dir, const struct manifest_state *state,
                                     struct manifest **out, struct quern_error *err)
{
    struct manifest_edit edit = edit_of_state(state);
    uint64_t bytes;

    if (os_dir_stat(dir, CURRENT_NAME, &bytes, err) == QUERN_OK)
        return err_set(err, QUERN_EXISTS, "there is a store already");
    if (err->code != QUERN_NO_STORE)
        return err->code;
    return create(dir, &edit, out, err);
}

/* ---- apply ---- */

static enum quern_code cut_back(struct manifest *m, struct quern_error *err)
{
    if (os_file_truncate(m->file, m->end, err))
        return err->code;
    m->tail_dirty = false;
    return QUERN_OK;
}

/* Write these bytes at the end and sync. On failure the file stands as before, or is poisoned. */
static enum quern_code append(struct manifest *m, const struct buf *bytes, struct quern_error *err)
{
    struct quern_error cut_err;

    if (m->tail_dirty && cut_back(m, err))
        return err_in(err, "cut off what an earlier failure left");
    if (write_bytes(m->file, bytes, m->end, err)) {
        if (cut_back(m, &cut_err))
            return poison(m, err, "write an edit and cut it off again");
        return err_in(err, "write an edit");
    }
    if (os_file_sync(m->file, err))
        return poison(m, err, "sync an edit");
    return QUERN_OK;
}

static enum quern_code append_edit(struct manifest *m, const struct manifest_edit *edit,
                                   struct quern_error *err)
{
    struct buf bytes OWNED_BUF = {0};
    struct edit_frame frame = {.chain = m->chain};
    uint64_t checksum;

    frame.next_file_no = atomic_load(&m->next_file_no);
    if (put_edit(&bytes, m->end, m->salt, m->edit_no + 1, &frame, edit, &checksum, err) ||
        append(m, &bytes, err))
        return err->code;
    m->chain = checksum;
    m->edit_no++;
    m->end += bytes.len;
    append_mark(m);
    return QUERN_OK;
}

/* A file to append to: a new one when it is owed or the old one has grown long. That the latter
 * fails is no harm, as long as CURRENT stays: the old file serves. */
static enum quern_code ready_file_locked(struct manifest *m, struct quern_error *err)
{
    mutex_assert_held(&m->mu);
    if (m->file != NULL && m->end <= m->rewrite_bytes)
        return QUERN_OK;
    if (manifest_rewrite(m, err) == QUERN_OK)
        return QUERN_OK;
    if (m->failed.code != QUERN_OK)
        return poison(m, err, "write the manifest anew");
    if (m->file == NULL)
        return err->code;
    m->rewrite_bytes = m->end + REWRITE_BYTES_MIN; /* not with every edit from now on */
    return QUERN_OK;
}

static enum quern_code writable_locked(const struct manifest *m, struct quern_error *err)
{
    if (m->read_only)
        return err_set(err, QUERN_READ_ONLY, "the store was opened read-only");
    if (m->failed.code == QUERN_OK)
        return QUERN_OK;
    return err_set(err, QUERN_READ_ONLY, "an earlier failure forbids writing: %s", m->failed.text);
}

/* A segment that begins below log_first would not be asked for by replay: a silent hole. */
static enum quern_code segment_check(const struct manifest_edit *edit,
                                     const struct state_change *change, struct quern_error *err)
{
    if (!edit->set_log_last || change->log_last >= change->log_first)
        return QUERN_OK;
    return err_set(err, QUERN_INVALID,
                   "log segment %" PRIu64 " begins below the first needed, %" PRIu64,
                   change->log_last, change->log_first);
}

static enum quern_code apply_locked(struct manifest *m, const struct manifest_edit *edit,
                                    struct quern_error *err)
{
    struct state_change change;

    mutex_assert_held(&m->mu);
    if (writable_locked(m, err) || state_prepare(&m->state, edit, &change, err))
        return err->code;
    skip_numbers_of(m, edit);
    if (segment_check(edit, &change, err) || ready_file_locked(m, err) ||
        append_edit(m, edit, err)) {
        state_change_done(&change);
        return err->code;
    }
    state_commit(&m->state, &change);
    return QUERN_OK;
}

enum quern_code manifest_apply(struct manifest *m, const struct manifest_edit *edit,
                               struct quern_error *err)
{
    enum quern_code code;

    mutex_lock(&m->mu);
    code = apply_locked(m, edit, err);
    mutex_unlock(&m->mu);
    return code == QUERN_OK ? code : err_in(err, "manifest");
}

/* ---- small questions ---- */

const struct manifest_state *manifest_state(const struct manifest *m)
{
    return &m->state;
}

uint64_t manifest_take_file_no(struct manifest *m)
{
    return atomic_fetch_add(&m->next_file_no, 1);
}

void manifest_skip_file_no(struct manifest *m, uint64_t above)
{
    uint64_t now = atomic_load(&m->next_file_no);

    if (above > MANIFEST_NO_MAX)
        return; /* no number given out will ever be there */
    while (now < above && !atomic_compare_exchange_weak(&m->next_file_no, &now, above))
        ;
}

uint64_t manifest_bytes(const struct manifest *m)
{
    return atomic_load(&m->bytes);
}

bool manifest_owns_name(const struct manifest *m, const char *name)
{
    uint64_t manifest_no;

    if (strcmp(name, CURRENT_NAME) == 0)
        return true;
    return manifest_name_parse(name, &manifest_no) && manifest_no == atomic_load(&m->manifest_no);
}
