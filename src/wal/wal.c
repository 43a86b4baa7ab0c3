/* wal.c - the one writer: groups of batches become records at the end of the current segment.
 *
 *     wal_append(sync = false)   memcpy + seal in the mapping                       [unsynced]
 *     wal_append(sync = true)    [synced]   -> direct: GROUP + PAD in one write     [synced]
 *                                [unsynced] -> mapped, then as wal_sync()           [synced]
 *     wal_sync()                 PAD, fdatasync of older segments, then of this one [synced]
 *     wal_mark()                 a MARK in the mapping                              [unsynced]
 *
 * Invariants:
 *   (1) cur.unsynced is false only where cur.end stands on a page boundary: whatever is synced was
 *       padded to the end of its page before. So no page that was acknowledged is written again,
 *       by either way.
 *   (2) a direct write begins at such a boundary, with nothing unsynced before it in the log: all
 *       that leads to it is durable when it begins. Its pages were never touched through the
 *       mapping in this life of the segment, so mapping and direct write cannot disagree.
 *   (3) records lie in [8192, cur.prepared): blocks that exist. The mapping is not touched
 *       elsewhere.
 *   (4) before the first append there is no segment: cur is all zero, and has no room;
 *   (5) cur.end moves only over whole records; what a failed call left behind it is written over
 *       by the next.
 *
 * Without mapping, "mapped" is a plain write of the same bytes; without direct writes, a sync
 * always takes the mapped way. The format does not show which way was taken. */
#include "wal/wal_priv.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/error.h"

#include <inttypes.h>

#define SEGMENT_BYTES_MIN (UINT64_C(16) << 10)
#define PAYLOAD_BYTES_MAX (UINT64_C(0xffffffff) - 2 * RECORD_PAGE_BYTES)

/* ---- failing ---- */

enum quern_code wal_poison(struct wal *w, bool unknown, struct quern_error *err)
{
    if (unknown)
        err->code = QUERN_UNKNOWN;
    if (!atomic_load_explicit(&w->poisoned, memory_order_relaxed)) {
        w->failed = *err;
        atomic_store_explicit(&w->poisoned, true, memory_order_relaxed);
    }
    return err->code;
}

static bool is_poisoned(const struct wal *w)
{
    return atomic_load_explicit(&w->poisoned, memory_order_relaxed);
}

static enum quern_code refuse(const struct wal *w, struct quern_error *err)
{
    enum quern_code code =
        err_set(err, QUERN_READ_ONLY, "the log failed earlier: %s", w->failed.text);

    err->sys_errno = w->failed.sys_errno;
    return code;
}

/* ---- writing bytes ---- */

/* Have room for a record of `bytes` at record_start(cur.end), in a new segment if need be. */
static enum quern_code make_room(struct wal *w, uint64_t bytes, bool sync, struct quern_error *err)
{
    struct segment *s = &w->cur;
    uint64_t end = record_start(s->end) + bytes;
    enum quern_code code;

    if (UNLIKELY(end > w->low_at))
        wal_tell_low(w);
    if (LIKELY(end <= segment_prepared(s)))
        return QUERN_OK;
    /* Whoever syncs had better go on in a file that is filled than wait while this one grows. */
    if (end > s->bytes || (sync && wal_has_whole_spare(w))) {
        if (wal_begin_segment(w, bytes, err))
            return err->code;
        end = record_start(s->end) + bytes;
    }
    /* Whoever prepares ahead may be at it: then most of it is done when the lock is had. */
    mutex_lock(&w->prepare_mu);
    code = segment_prepare(s, end, sync, err);
    counter_set(&w->cur_bytes, segment_prepared(s));
    mutex_unlock(&w->prepare_mu);
    /* A failed sync, unlike a failed write, leaves nothing that may be trusted. */
    return code != QUERN_OK && end <= segment_prepared(s) ? wal_poison(w, false, err) : code;
}

/* Does the file lack the head of this record? Then a write of it that failed has left nothing. */
static bool head_is_absent(struct wal *w, const void *bytes, uint64_t at)
{
    uint8_t there[RECORD_BRIEF_HEAD_BYTES];
    struct quern_error ignored;

    return os_file_read(w->cur.file, there, sizeof(there), at, &ignored) == QUERN_OK &&
           memcmp(there, bytes, sizeof(there)) != 0;
}

/* The plain way, where nothing can be mapped. A failure that cannot be undone poisons. */
static enum quern_code write_plain(struct wal *w, const void *bytes, size_t len, uint64_t at,
                                   struct quern_error *err)
{
    static const uint8_t nothing[RECORD_BRIEF_HEAD_BYTES]; /* what both heads have */
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    struct iovec blank = {(void *)(uintptr_t)nothing, sizeof(nothing)};
    struct quern_error second;

    if (os_file_write(w->cur.file, &piece, 1, at, err) == QUERN_OK)
        return QUERN_OK;
    /* Where a file system copies on write, a full disk refuses the blank too. */
    if (head_is_absent(w, bytes, at))
        return err->code;
    if (os_file_write(w->cur.file, &blank, 1, at, &second))
        return wal_poison(w, true, err); /* the whole record may stand there */
    return err->code;
}

/* A record whose bytes are made at `at`, to stand at `offset`. */
struct draft {
    const struct batch_ref *batches; /* NULL: a MARK */
    size_t n;
    quern_seq first_seq;
    bool brief;
    uint64_t payload;
};

static struct draft draft_of(const struct wal *w, const struct batch_ref *batches, size_t n,
                             quern_seq first_seq)
{
    struct draft d = {.batches = batches, .n = n, .first_seq = first_seq};
    quern_seq durable_seq = counter_get(&w->durable_seq);

    /* The one that tells of a new durable_seq must have room for it. */
    d.brief = n == 1 &&
              (first_seq - 1 - durable_seq < RECORD_LAG_UNTOLD || w->said_durable == durable_seq);
    for (size_t i = 0; i < n; i++)
        d.payload += (d.brief ? 0 : WAL_BATCH_HEAD_BYTES) + batch_bytes(&batches[i]);
    return d;
}

static uint64_t draft_bytes(const struct draft *d)
{
    return d->brief ? record_brief_bytes(d->payload) : record_bytes(d->payload);
}

static void copy_batches(uint8_t *to, const struct draft *d)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct batch_ref *b = &d->batches[i];

        if (!d->brief) {
            put_u32le(to, (uint32_t)batch_bytes(b));
            put_u32le(to + 4, b->op_count);
            to += WAL_BATCH_HEAD_BYTES;
        }
        if (b->ops.len != 0)
            memcpy(to, b->ops.data, b->ops.len);
        to += b->ops.len;
        if (b->tail.len != 0)
            memcpy(to, b->tail.data, b->tail.len);
        to += b->tail.len;
    }
}

static uint64_t seal_draft(const struct wal *w, const struct draft *d, uint8_t *at, uint64_t offset)
{
    uint8_t *payload = at + (d->brief ? RECORD_BRIEF_HEAD_BYTES : RECORD_HEAD_BYTES);
    struct record r = {d->brief    ? RECORD_BRIEF
                       : d->n != 0 ? RECORD_GROUP
                                   : RECORD_MARK,
                       d->first_seq,
                       (uint32_t)d->n,
                       counter_get(&w->durable_seq),
                       {payload, d->payload}};

    copy_batches(payload, d);
    record_seal(at, &r, w->cur.salt, offset);
    return get_u64le(at);
}

/* Append without a sync. Room was made. */
static enum quern_code append_mapped(struct wal *w, const struct draft *d, struct quern_error *err)
{
    struct segment *s = &w->cur;
    uint64_t start = record_start(s->end), bytes = draft_bytes(d), checksum;
    uint8_t *large OWNED(alloc_free) = NULL;
    uint8_t *at = w->staging;

    if (LIKELY(s->map != NULL)) {
        checksum = seal_draft(w, d, s->map + start, start);
    } else {
        if (bytes > WAL_STAGING_BYTES && (at = large = alloc_bytes(bytes)) == NULL)
            return err_memory(err, "log record");
        checksum = seal_draft(w, d, at, start);
        if (write_plain(w, at, bytes, start, err))
            return err_in(err, "append to log segment %06" PRIu64, s->no);
    }
    s->unsynced = true;
    s->end = start + bytes;
    s->last_checksum = checksum;
    w->said_durable = counter_get(&w->durable_seq); /* only now: it is there */
    counter_add(&w->bytes_appended, bytes);
    return QUERN_OK;
}

/* Fill the page, so that what is about to be synced is never written again. */
static enum quern_code pad_page(struct wal *w, struct quern_error *err)
{
    struct segment *s = &w->cur;
    uint64_t end = round_up(s->end, RECORD_PAGE_BYTES);

    if (wal_wants_pad(s->end)) {
        uint8_t *at = s->map != NULL ? s->map + s->end : w->staging;
        quern_seq durable_seq = counter_get(&w->durable_seq);
        uint64_t checksum = wal_pad_write(at, s->end, w->last_seq, durable_seq, s->salt);

        if (s->map == NULL && write_plain(w, at, end - s->end, s->end, err))
            return err->code;
        s->last_checksum = checksum;
    }
    counter_add(&w->bytes_padded, end - s->end);
    s->end = end;
    return QUERN_OK;
}

static unsigned sync_time(uint64_t ns)
{
    unsigned bits = ns == 0 ? 0 : 64u - (unsigned)__builtin_clzll(ns),
             first = WAL_SYNC_TIME_BITS_FIRST;
    unsigned at = bits > first ? bits - first : 0;

    return at < WAL_SYNC_TIMES ? at : WAL_SYNC_TIMES - 1;
}

static void count_sync(struct wal *w, uint64_t began_ns)
{
    uint64_t ns = os_now_ns(os_of(w->dir)) - began_ns;

    counter_add(&w->syncs, 1);
    counter_add(&w->sync_ns_total, ns);
    counter_add(&w->sync_times[sync_time(ns)], 1);
    if (ns > counter_get(&w->sync_ns_max))
        counter_set(&w->sync_ns_max, ns);
}

static enum quern_code sync_all(struct wal *w, struct quern_error *err)
{
    struct segment *s = &w->cur;
    uint64_t began_ns = os_now_ns(os_of(w->dir));

    if (wal_sync_full(w, err))
        return wal_poison(w, true, err);
    if (s->unsynced) {
        if (pad_page(w, err) || os_file_sync(s->file, err)) {
            (void)err_in(err, "sync log segment %06" PRIu64, s->no);
            return wal_poison(w, true, err);
        }
        s->unsynced = false;
    }
    counter_set(&w->durable_seq, w->last_seq);
    count_sync(w, began_ns);
    return QUERN_OK;
}

/* ---- the direct way ---- */

static bool can_go_direct(struct wal *w, uint64_t bytes)
{
    struct segment *s = &w->cur;
    struct quern_error ignored;
    char name[WAL_NAME_BYTES];

    if (s->unsynced || round_up(bytes, RECORD_PAGE_BYTES) > WAL_STAGING_BYTES)
        return false;
    if (!s->direct_tried) {
        s->direct_tried = true; /* any failure means: not with this segment */
        wal_name(name, s->no);
        if (os_file_open(w->dir, name, OS_WRITE | OS_DIRECT_SYNC, &s->direct, &ignored))
            s->direct = NULL;
    }
    return s->direct != NULL;
}

/* Errors: also UNSUPPORTED: then nothing is known to be written, and the mapped way writes all of
 * it anew at the same place. */
static enum quern_code append_direct(struct wal *w, const struct draft *d, struct quern_error *err)
{
    struct segment *s = &w->cur;
    uint64_t start = s->end, bytes = draft_bytes(d), end = start + bytes;
    uint64_t pages_end = round_up(end, RECORD_PAGE_BYTES);
    struct iovec piece = {w->staging, pages_end - start};
    uint64_t began_ns = os_now_ns(os_of(w->dir));
    uint64_t checksum;

    ensure(start % RECORD_PAGE_BYTES == 0 && pages_end <= segment_prepared(s));
    if (wal_sync_full(w, err))
        return wal_poison(w, true, err);
    checksum = seal_draft(w, d, w->staging, start);
    if (wal_wants_pad(end))
        checksum = wal_pad_write(w->staging + bytes, end, d->first_seq + d->n - 1,
                                 counter_get(&w->durable_seq), s->salt);
    else
        memset(w->staging + bytes, 0, pages_end - end);
    if (os_file_write(s->direct, &piece, 1, start, err)) {
        bool full = err->code == QUERN_NO_SPACE;
        struct iovec blank = {w->staging, RECORD_PAGE_BYTES};
        struct quern_error second;

        if (err->code == QUERN_UNSUPPORTED) { /* found out here, not when it was opened */
            os_file_drop(GIVE(s->direct));
            return err->code;
        }
        (void)err_in(err, "append to log segment %06" PRIu64, s->no);
        /* The blocks exist, but a file system that copies on write may still want space. Then
         * nothing is lost if what was written of the group can be taken back. */
        memset(w->staging, 0, RECORD_PAGE_BYTES);
        if (full && os_file_write(s->direct, &blank, 1, start, &second) == QUERN_OK)
            return err->code;
        return wal_poison(w, true, err);
    }
    s->end = pages_end;
    s->last_checksum = checksum;
    w->said_durable = counter_get(&w->durable_seq); /* what it was before this group */
    counter_add(&w->bytes_appended, bytes);
    counter_add(&w->bytes_padded, pages_end - end);
    counter_add(&w->groups_direct, 1);
    count_sync(w, began_ns);
    return QUERN_OK;
}

/* ---- the interface ---- */

enum quern_code wal_append(struct wal *w, const struct batch_ref *batches, size_t n,
                           quern_seq first_seq, bool sync, struct quern_error *err)
{
    struct draft d = draft_of(w, batches, n, first_seq);
    enum quern_code code = QUERN_UNSUPPORTED;
    bool direct;

    ensure(n >= 1 && n <= UINT32_MAX && first_seq > w->last_seq);
    if (UNLIKELY(is_poisoned(w)))
        return refuse(w, err);
    if (UNLIKELY(d.payload > PAYLOAD_BYTES_MAX))
        return err_set(err, QUERN_INVALID, "a group of %" PRIu64 " bytes", d.payload);
    if (make_room(w, draft_bytes(&d), sync, err))
        return err->code;
    if (sync && can_go_direct(w, draft_bytes(&d)))
        code = append_direct(w, &d, err);
    direct = code != QUERN_UNSUPPORTED;
    if (direct ? code : append_mapped(w, &d, err))
        return err->code;
    w->last_seq = first_seq + n - 1;
    counter_add(&w->groups, 1);
    counter_add(&w->batches, n);
    if (direct)
        counter_set(&w->durable_seq, w->last_seq);
    else
        counter_add(&w->groups_mapped, 1);
    return sync && !direct ? sync_all(w, err) : QUERN_OK;
}

bool wal_has_room(const struct wal *w, size_t n, uint64_t bytes)
{
    const struct segment *s = &w->cur;

    return s->map != NULL &&
           record_start(s->end) + record_bytes(n * WAL_BATCH_HEAD_BYTES + bytes) <=
               segment_prepared(s);
}

enum quern_code wal_sync(struct wal *w, struct quern_error *err)
{
    if (is_poisoned(w))
        return refuse(w, err);
    if (counter_get(&w->durable_seq) == w->last_seq)
        return QUERN_OK; /* a MARK at most is unsynced, and nobody waits for one */
    return sync_all(w, err);
}

enum quern_code wal_mark(struct wal *w, struct quern_error *err)
{
    struct draft d = {.first_seq = w->last_seq};
    quern_seq durable_seq = counter_get(&w->durable_seq);

    if (is_poisoned(w))
        return refuse(w, err);
    if (durable_seq != w->last_seq || w->said_durable == durable_seq)
        return QUERN_OK;
    if (make_room(w, record_bytes(0), false, err))
        return err->code;
    return w->said_durable == durable_seq ? QUERN_OK /* a new segment's LINK told it */
                                          : append_mapped(w, &d, err);
}

uint64_t wal_segment_no(const struct wal *w)
{
    return counter_get(&w->cur_no);
}

quern_seq wal_durable_seq(const struct wal *w)
{
    return counter_get(&w->durable_seq);
}

void wal_stats(struct wal *w, struct wal_stats *out)
{
    *out = (struct wal_stats){
        .groups = counter_get(&w->groups),
        .batches = counter_get(&w->batches),
        .bytes_appended = counter_get(&w->bytes_appended),
        .bytes_padded = counter_get(&w->bytes_padded),
        .syncs = counter_get(&w->syncs),
        .sync_ns_total = counter_get(&w->sync_ns_total),
        .sync_ns_max = counter_get(&w->sync_ns_max),
        .groups_direct = counter_get(&w->groups_direct),
        .groups_mapped = counter_get(&w->groups_mapped),
        .poisoned = is_poisoned(w),
    };
    for (unsigned i = 0; i < WAL_SYNC_TIMES; i++)
        out->sync_times[i] = counter_get(&w->sync_times[i]);
    mutex_lock(&w->mu);
    out->segments_live = w->full_count + (counter_get(&w->cur_bytes) != 0);
    out->segments_spare = w->spare_count;
    out->bytes_on_disk =
        w->files_bytes + counter_get(&w->next_bytes) +
        segment_on_disk(counter_get(&w->cur_bytes), counter_get(&w->cur_file_bytes));
    mutex_unlock(&w->mu);
}

enum quern_code wal_open(struct os_dir *dir, const struct wal_config *config, struct wal **out,
                         struct quern_error *err)
{
    uint64_t bytes = config->segment_bytes, exists;
    struct wal *w OWNED(wal_drop) = NULL;
    char name[WAL_NAME_BYTES];

    ensure(config->first_segment != 0);
    wal_name(name, config->first_segment);
    if (os_dir_stat(dir, name, &exists, err) == QUERN_OK)
        return err_set(err, QUERN_EXISTS, "log segment %s is there already", name);
    if (err->code != QUERN_NO_STORE)
        return err->code;
    err_clear(err);
    if ((w = NEW(struct wal)) == NULL)
        return err_memory(err, "log");
    mutex_init(&w->mu);
    mutex_init(&w->prepare_mu);
    if ((w->staging = alloc_aligned(OS_DIRECT_BYTES, WAL_STAGING_BYTES)) == NULL)
        return err_memory(err, "log");
    w->dir = dir;
    w->store_id = config->store_id;
    w->first_no = config->first_segment;
    w->segment_bytes = round_up(bytes == 0                  ? WAL_SEGMENT_BYTES_DEFAULT
                                : bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN
                                                            : bytes,
                                RECORD_PAGE_BYTES);
    w->on_begin = config->on_begin;
    w->on_begin_arg = config->on_begin_arg;
    w->on_low = config->on_low;
    w->on_low_arg = config->on_low_arg;
    w->low_at = UINT64_MAX; /* until there is a segment */
    w->last_seq = w->said_durable = config->last_seq;
    counter_set(&w->cur_no, w->first_no);
    /* What came before this log is in tables, or was replayed from another one: durable already. */
    counter_set(&w->durable_seq, config->last_seq);
    ensure(config->spare_last < config->first_segment);
    if (config->spare_first != 0)
        wal_adopt(w, config->spare_first, config->spare_last);
    *out = GIVE(w);
    return QUERN_OK;
}

void wal_drop(struct wal *w)
{
    if (w == NULL)
        return;
    segment_drop(&w->cur);
    wal_next_drop(w);
    wal_files_done(w);
    mutex_done(&w->prepare_mu);
    mutex_done(&w->mu);
    alloc_free(w->staging);
    alloc_free(w);
}

enum quern_code wal_close(struct wal *w, struct quern_error *err)
{
    enum quern_code code = wal_sync(w, err);
    struct segment *s = &w->cur;
    struct os_file *file;

    if (s->map != NULL)
        os_file_unmap(s->file, GIVE(s->map), s->bytes);
    file = GIVE(s->file);
    if (code != QUERN_OK || file == NULL)
        os_file_drop(file);
    else if ((code = os_file_close(file, err)) != QUERN_OK)
        code = wal_poison(w, true, err);
    wal_drop(w);
    return code;
}
