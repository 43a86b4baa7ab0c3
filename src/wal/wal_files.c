/* wal_files.c - segments come and go: made durable before they are used, recycled or removed when
 * nobody needs them.
 *
 *                       wal_begin_segment()              wal_begin_segment()
 *     (new NNNNNN.wal.tmp) -----> current ------------------------> full
 *                                   ^                                 | wal_release()
 *              wal_begin_segment()  |                                 v
 *                                 spare <------------------------- recyclable?  --no--> removed
 *                                   ^ wal_adopt()
 *
 * A segment is begun in this order: header and LINK are written (into a temporary file, or into a
 * spare under its old, released name); file sync; rename; directory sync; on_begin. So a file that
 * the manifest names was whole before it was named, and a bad header in it is damage, never a
 * crash.
 *
 * A file is filled with zeros an extent at a time before records go there: the mapping then never
 * meets a block that is not allocated, and a full disk is an error code. A segment of this log that
 * is recycled was filled already. An adopted one may have been copied here by a tool that makes
 * holes: it is filled again.
 *
 * wal_release() and wal_adopt() only move files between lists, and remove. Renaming is left to the
 * writer, which takes a spare off its list first, so no two threads ever handle one file. */
#include "wal/wal_priv.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>

#define EXTENT_BYTES_MAX (UINT64_C(8) << 20)
#define ZERO_BYTES (256u << 10)
#define TMP_NAME_BYTES (WAL_NAME_BYTES + 4)

static uint8_t zeros[ZERO_BYTES]; /* never written */

enum quern_code wal_write_zeros(struct os_file *file, uint64_t from, uint64_t upto,
                                struct quern_error *err)
{
    struct iovec pieces[EXTENT_BYTES_MAX / ZERO_BYTES];

    while (from < upto) {
        uint64_t here = from;
        int n = 0;

        for (; from < upto && n < (int)ARRAY_LEN(pieces); n++) {
            size_t len = upto - from < ZERO_BYTES ? (size_t)(upto - from) : ZERO_BYTES;

            pieces[n] = (struct iovec){zeros, len};
            from += len;
        }
        if (os_file_write(file, pieces, n, here, err))
            return err->code;
    }
    return QUERN_OK;
}

enum quern_code segment_prepare(struct segment *s, uint64_t upto, bool sync,
                                struct quern_error *err)
{
    uint64_t prepared = segment_prepared(s), target;

    ensure(upto <= s->bytes);
    if (upto <= prepared)
        return QUERN_OK;
    target = round_up(upto, RECORD_PAGE_BYTES);
    if (target - prepared < s->extent_bytes)
        target = prepared + s->extent_bytes;
    if (target > s->bytes)
        target = s->bytes;
    if (wal_write_zeros(s->file, prepared, target, err))
        return err_in(err, "prepare log segment %06" PRIu64, s->no);
    segment_set_prepared(s, target);
    if (sync) { /* small steps: somebody waits for each */
        s->extent_bytes = WAL_EXTENT_BYTES_MIN;
        return os_file_sync(s->file, err);
    }
    if (s->extent_bytes < EXTENT_BYTES_MAX)
        s->extent_bytes *= 2;
    return QUERN_OK;
}

void segment_drop(struct segment *s)
{
    if (s->map != NULL)
        os_file_unmap(s->file, s->map, s->bytes);
    if (s->direct != NULL)
        os_file_drop(s->direct);
    if (s->file != NULL)
        os_file_drop(s->file);
    *s = (struct segment){0};
}

/* ---- the lists ---- */

static void push_locked(struct wal *w, struct wal_file **list, uint64_t *count, struct wal_file *f)
{
    mutex_assert_held(&w->mu);
    f->next = *list;
    *list = f;
    (*count)++;
    w->files_bytes += f->bytes;
}

static struct wal_file *pop_locked(struct wal *w, struct wal_file **at, uint64_t *count)
{
    struct wal_file *f = *at;

    mutex_assert_held(&w->mu);
    *at = f->next;
    (*count)--;
    w->files_bytes -= f->bytes;
    return f;
}

/* A spare if one more is welcome, or in the place of one that is not filled. Returns the file that
 * the caller is to remove; NULL: none. */
static struct wal_file *keep_as_spare_locked(struct wal *w, struct wal_file *f)
{
    struct wal_file **at = &w->spares, *less = NULL;

    if (!f->recyclable)
        return f;
    if (w->spare_count >= WAL_SPARES_MAX) {
        if (f->prepared < w->segment_bytes)
            return f;
        while (*at != NULL && ((*at)->no == 0 || (*at)->prepared >= w->segment_bytes))
            at = &(*at)->next;
        if (*at == NULL)
            return f;
        less = pop_locked(w, at, &w->spare_count);
    }
    push_locked(w, &w->spares, &w->spare_count, f);
    return less;
}

void wal_remove_name(struct wal *w, const char *name)
{
    struct quern_error err;

    if (os_dir_remove(w->dir, name, &err))
        err_clear(&err); /* the next open clears the directory */
}

void wal_add_next(struct wal *w, struct wal_file *f)
{
    mutex_lock(&w->mu);
    push_locked(w, &w->spares, &w->spare_count, f);
    w->next_waits = true;
    mutex_unlock(&w->mu);
}

/* No file has the name WAL_NEXT_NAME any more. */
static void next_is_gone(struct wal *w)
{
    mutex_lock(&w->mu);
    w->next_waits = false;
    mutex_unlock(&w->mu);
}

/* The name a file on a list has now. */
static void name_of(char name[TMP_NAME_BYTES], const struct wal_file *f)
{
    if (f->no == 0)
        snprintf(name, TMP_NAME_BYTES, "%s", WAL_NEXT_NAME);
    else
        wal_name(name, f->no);
}

/* Keep or remove; `f` is given away. */
static void dispose(struct wal *w, struct wal_file *f)
{
    char name[WAL_NAME_BYTES];

    if (f->unsynced != NULL)
        os_file_drop(GIVE(f->unsynced)); /* tables hold what is in it: no sync is owed any more */
    mutex_lock(&w->mu);
    f = keep_as_spare_locked(w, f);
    mutex_unlock(&w->mu);
    if (f == NULL)
        return;
    wal_name(name, f->no);
    wal_remove_name(w, name);
    alloc_free(f);
}

void wal_release(struct wal *w, uint64_t segment_no)
{
    struct wal_file *released = NULL;

    mutex_lock(&w->mu);
    for (struct wal_file **at = &w->full; *at != NULL;) {
        if ((*at)->no >= segment_no) {
            at = &(*at)->next;
            continue;
        }
        struct wal_file *f = pop_locked(w, at, &w->full_count);

        f->next = released;
        released = f;
    }
    mutex_unlock(&w->mu);
    while (released != NULL) {
        struct wal_file *next = released->next;

        dispose(w, released);
        released = next;
    }
}

void wal_adopt(struct wal *w, uint64_t first_segment, uint64_t last_segment)
{
    char name[WAL_NAME_BYTES];
    struct quern_error ignored;

    for (uint64_t no = first_segment; no <= last_segment; no++) {
        struct wal_file *f;
        uint64_t bytes;

        wal_name(name, no);
        if (os_dir_stat(w->dir, name, &bytes, &ignored))
            continue;
        f = NEW(struct wal_file);
        if (f == NULL) {
            wal_remove_name(w, name);
            continue;
        }
        f->no = no;
        f->bytes = bytes;
        f->recyclable = bytes <= w->segment_bytes;
        dispose(w, f);
    }
}

void wal_files_done(struct wal *w)
{
    struct wal_file *lists[] = {w->full, w->spares};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        while (lists[i] != NULL) {
            struct wal_file *next = lists[i]->next;

            if (lists[i]->unsynced != NULL)
                os_file_drop(lists[i]->unsynced);
            if (lists[i]->no == 0)
                wal_remove_name(w, WAL_NEXT_NAME);
            alloc_free(lists[i]);
            lists[i] = next;
        }
    }
    w->full = w->spares = NULL;
}

/* Take the oldest open file off the list of full segments; the file alone, its segment stays. */
static struct os_file *take_unsynced(struct wal *w, uint64_t *no)
{
    struct os_file *file = NULL;
    struct wal_file *oldest = NULL;

    mutex_lock(&w->mu);
    for (struct wal_file *f = w->full; f != NULL; f = f->next) {
        if (f->unsynced != NULL)
            oldest = f; /* newest first: the last one met is the oldest */
    }
    if (oldest != NULL) {
        file = GIVE(oldest->unsynced);
        *no = oldest->no;
    }
    mutex_unlock(&w->mu);
    return file;
}

enum quern_code wal_sync_full(struct wal *w, struct quern_error *err)
{
    struct os_file *file;
    uint64_t no = 0;

    while ((file = take_unsynced(w, &no)) != NULL) {
        if (os_file_sync(file, err)) {
            os_file_drop(file);
            return err_in(err, "sync log segment %06" PRIu64, no);
        }
        os_file_drop(file); /* nothing was written since the sync */
    }
    return QUERN_OK;
}

enum quern_code wal_sync_left(struct os_dir *dir, uint64_t first_segment, uint64_t last_segment,
                              struct quern_error *err)
{
    for (uint64_t no = first_segment; no <= last_segment; no++) {
        struct os_file *file OWNED(os_file_drop) = NULL;
        char name[WAL_NAME_BYTES];

        wal_name(name, no);
        if (os_file_open(dir, name, OS_WRITE, &file, err) || os_file_sync(file, err))
            return err_in(err, "sync log segment %s", name);
    }
    return QUERN_OK;
}

/* ---- beginning a segment ---- */

bool wal_has_whole_spare_locked(struct wal *w)
{
    mutex_assert_held(&w->mu);
    for (const struct wal_file *f = w->spares; f != NULL; f = f->next)
        if (f->prepared >= w->segment_bytes)
            return true;
    return false;
}

bool wal_has_whole_spare(struct wal *w)
{
    bool has;

    mutex_lock(&w->mu);
    has = wal_has_whole_spare_locked(w);
    mutex_unlock(&w->mu);
    return has;
}

/* One that is filled already, if there is one. */
static struct wal_file *take_spare(struct wal *w)
{
    struct wal_file *f = NULL, **at;

    mutex_lock(&w->mu);
    for (at = &w->spares; *at != NULL && (*at)->prepared < w->segment_bytes;)
        at = &(*at)->next;
    if (*at == NULL)
        at = &w->spares;
    if (*at != NULL)
        f = pop_locked(w, at, &w->spare_count);
    mutex_unlock(&w->mu);
    return f;
}

void wal_trim(struct wal *w)
{
    struct wal_file *f;

    mutex_lock(&w->mu);
    w->trimmed = true;
    w->trimmed_no = counter_get(&w->cur_no);
    w->trimmed_at = counter_get(&w->cur_used);
    mutex_unlock(&w->mu);
    while ((f = take_spare(w)) != NULL) {
        char name[TMP_NAME_BYTES];

        name_of(name, f);
        wal_remove_name(w, name);
        if (f->no == 0)
            next_is_gone(w);
        alloc_free(f);
    }
    if (w->on_low != NULL && counter_get(&w->next_bytes) != 0)
        w->on_low(w->on_low_arg);
}

/* Put header and LINK of the segment into the staging area. */
static struct iovec first_pages(struct wal *w, struct segment *s)
{
    struct wal_header header = {w->store_id, s->no, s->bytes, s->salt};
    struct wal_link link = {w->cur.no, record_start(w->cur.end), w->cur.last_checksum, w->last_seq};
    quern_seq durable_seq = counter_get(&w->durable_seq);

    wal_header_write(w->staging, &header);
    s->last_checksum = wal_link_write(w->staging + WAL_LINK_AT, &link, durable_seq, s->salt);
    s->end = WAL_START;
    return (struct iovec){w->staging, WAL_START};
}

/* A spare that is filled, or begun to be, gets its first pages by one direct write: a sync of the
 * file would also write out all that its earlier life left unsynced, which nobody needs, while a
 * writer waits. Errors: UNSUPPORTED: then take the other way. */
static enum quern_code lay_down_direct(struct wal *w, struct segment *s, const char *name,
                                       struct quern_error *err)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    struct iovec pages;

    if (os_file_open(w->dir, name, OS_WRITE | OS_DIRECT_SYNC, &file, err))
        return err->code;
    pages = first_pages(w, s);
    return os_file_write(file, &pages, 1, 0, err);
}

/* Write the first pages and prepare the first extent, durably. */
static enum quern_code lay_down(struct wal *w, struct segment *s, const char *name, bool fresh,
                                struct quern_error *err)
{
    uint64_t first_extent = s->bytes < WAL_EXTENT_BYTES_MIN ? s->bytes : WAL_EXTENT_BYTES_MIN;
    enum quern_code code;
    struct os_file *file;
    struct iovec pages;

    if (!fresh && segment_prepared(s) >= first_extent &&
        (code = lay_down_direct(w, s, name, err)) != QUERN_UNSUPPORTED)
        return code;
    if (os_file_open(w->dir, name, OS_WRITE | (fresh ? OS_CREATE : 0u), &s->file, err))
        return err->code;
    pages = first_pages(w, s);
    if (os_file_write(s->file, &pages, 1, 0, err))
        return err->code;
    if (segment_prepared(s) < WAL_START)
        segment_set_prepared(s, WAL_START);
    if (segment_prepare(s, first_extent, false, err))
        return err->code;
    if (os_file_sync(s->file, err))
        return err->code;
    file = GIVE(s->file);
    return os_file_close(file, err);
}

/* Give the file its name, durably, and open it under it: messages then name the right file. */
static enum quern_code name_segment(struct wal *w, struct segment *s, const char *from,
                                    struct quern_error *err)
{
    char name[WAL_NAME_BYTES];
    void *map;

    wal_name(name, s->no);
    if (strcmp(from, name) != 0 && os_dir_rename(w->dir, from, name, err))
        return err->code;
    if (os_dir_sync(w->dir, err)) { /* never tried again, so nothing more may rest on this one */
        (void)wal_poison(w, false, err);
        return err->code;
    }
    if (os_file_open(w->dir, name, OS_WRITE, &s->file, err))
        return err->code;
    switch (os_file_map(s->file, s->bytes, &map, err)) {
    case QUERN_OK:
        s->map = map;
        return QUERN_OK;
    case QUERN_UNSUPPORTED:
        err_clear(err);
        return QUERN_OK;
    default:
        return err->code;
    }
}

/* Put the segment in the place of the current one. Cannot fail. */
static void install(struct wal *w, struct segment *s, struct wal_file *old)
{
    uint64_t prepared;

    mutex_lock(&w->prepare_mu);
    prepared = segment_prepared(&w->cur);
    if (w->cur.file != NULL) {
        *old = (struct wal_file){.no = w->cur.no,
                                 .bytes = segment_on_disk(prepared, w->cur.file_bytes),
                                 .prepared = prepared,
                                 .recyclable = w->cur.bytes == w->segment_bytes};
        if (w->cur.map != NULL)
            os_file_unmap(w->cur.file, GIVE(w->cur.map), w->cur.bytes);
        if (w->cur.unsynced)
            old->unsynced = GIVE(w->cur.file);
        segment_drop(&w->cur);
    }
    mutex_lock(&w->mu);
    if (old != NULL)
        push_locked(w, &w->full, &w->full_count, old);
    w->cur = *s;
    counter_set(&w->cur_no, s->no);
    counter_set(&w->cur_bytes, segment_prepared(s));
    counter_set(&w->cur_file_bytes, s->file_bytes);
    counter_set(&w->cur_used, s->end);
    mutex_unlock(&w->mu);
    mutex_unlock(&w->prepare_mu);
    wal_low_next(w);
    w->said_durable = counter_get(&w->durable_seq); /* the LINK tells it */
}

/* What was begun is not used. The file goes, under whichever of the two names it has: as a spare it
 * would hold the name that the next beginning gives to another. Only a name that the manifest may
 * know stays; then the log is poisoned, and nothing more is begun. */
static void abandon(struct wal *w, struct segment *s, const char *from, const char *own)
{
    segment_drop(s);
    if (atomic_load_explicit(&w->poisoned, memory_order_relaxed))
        return;
    wal_remove_name(w, from);
    if (strcmp(from, own) != 0)
        wal_remove_name(w, own);
}

enum quern_code wal_begin_segment(struct wal *w, uint64_t record_bytes_min, struct quern_error *err)
{
    uint64_t no = w->cur.file != NULL ? w->cur.no + 1 : w->first_no;
    uint64_t bytes = round_up(WAL_START + record_bytes_min, RECORD_PAGE_BYTES);
    struct segment s = {.no = no, .extent_bytes = WAL_EXTENT_BYTES_MIN};
    char from[TMP_NAME_BYTES], own[WAL_NAME_BYTES];
    struct wal_file *old OWNED(alloc_free) = NULL;
    struct wal_file *spare OWNED(alloc_free) = NULL;
    bool next = false;

    s.bytes = bytes > w->segment_bytes ? bytes : w->segment_bytes;
    s.salt = os_random_u64(os_of(w->dir));
    if (w->cur.file != NULL && (old = NEW(struct wal_file)) == NULL)
        return err_memory(err, "log segment");
    wal_name(own, no);
    if (s.bytes == w->segment_bytes)
        spare = take_spare(w);
    if (spare != NULL) {
        name_of(from, spare);
        next = spare->no == 0;
        segment_set_prepared(&s, spare->prepared);
        s.file_bytes = spare->bytes;
    } else {
        snprintf(from, sizeof(from), "%s.tmp", own);
        /* An earlier beginning may have left one. */
        if (os_dir_remove(w->dir, from, err) && err->code != QUERN_NO_STORE)
            return err_in(err, "begin log segment %s", own);
        err_clear(err);
    }
    if (lay_down(w, &s, from, spare == NULL, err) == QUERN_OK &&
        name_segment(w, &s, from, err) == QUERN_OK) {
        if (w->on_begin == NULL || w->on_begin(w->on_begin_arg, no, err) == QUERN_OK) {
            install(w, &s, GIVE(old));
            if (next)
                next_is_gone(w);
            return QUERN_OK;
        }
        /* The manifest may name it after all: then nothing may be appended to the one before. */
        if (err->code == QUERN_UNKNOWN || err->code == QUERN_READ_ONLY)
            (void)wal_poison(w, false, err);
    }
    abandon(w, &s, from, own);
    if (next)
        next_is_gone(w);
    return err_in(err, "begin log segment %s", own);
}
