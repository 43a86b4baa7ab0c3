/* wal_read.c - one segment as a reader sees it: a window on the file, the record at an offset, and
 * the search for records that stand behind a broken place.
 *
 * The search tries every offset at which a record may begin. Most are passed over by looks at the
 * head alone (plausible() below); stale records of an earlier life fall to their numbers, which are
 * lower than any of this life. Bytes written by a user can imitate a head, and then the checksum
 * decides; how many bytes may be hashed for nothing is bounded, so that nobody can make an open
 * take for ever. */
#include "wal/wal_priv.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/error.h"

#include <inttypes.h>

#define WINDOW_BYTES (UINT64_C(1) << 20)
#define SEARCH_WASTE_FACTOR 16u /* times the segment: what a search may hash in vain */

void wal_reader_done(struct wal_reader *r)
{
    if (r->file != NULL)
        os_file_drop(r->file);
    alloc_free(r->window);
    r->file = NULL;
    r->window = NULL;
}

/* [at, at + len) of the file, which has them: borrowed until the next call. NULL: see *err. */
static const uint8_t *view(struct wal_reader *r, uint64_t at, uint64_t len, struct quern_error *err)
{
    uint64_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;

    if (LIKELY(at >= r->window_at && at - r->window_at <= r->window_bytes &&
               len <= r->window_bytes - (at - r->window_at)))
        return r->window + (at - r->window_at);
    if (want > r->bytes - at)
        want = r->bytes - at;
    r->window_bytes = 0;
    if (want > r->window_capacity) {
        uint8_t *grown = alloc_resize(r->window, want);

        if (grown == NULL) {
            (void)err_memory(err, "log reader");
            return NULL;
        }
        r->window = grown;
        r->window_capacity = want;
    }
    if (os_file_read(r->file, r->window, want, at, err)) {
        (void)err_in(err, "log segment %s", r->name);
        return NULL;
    }
    r->window_at = at;
    r->window_bytes = want;
    return r->window;
}

/* Bytes that the head claims for its record, or 0 where it cannot be a head of this room's. */
static uint64_t plausible(const uint8_t *head, uint64_t avail)
{
    uint64_t bytes = record_claims(head);
    quern_seq first_seq = get_u64le(head + 16);
    uint32_t type;

    if (bytes > avail)
        return 0;
    if (head[12] == RECORD_BRIEF)
        return first_seq != 0 ? bytes : 0;
    type = get_u32le(head + 12);
    if (type < RECORD_GROUP || type > RECORD_LINK || get_u64le(head + 24) > UINT32_MAX)
        return 0;
    return get_u64le(head + 32) <= first_seq ? bytes : 0;
}

/* The bytes of a head at `at`, as far as the file has them. *head is NULL where it has too few. */
static enum quern_code view_head(struct wal_reader *r, uint64_t at, const uint8_t **head,
                                 struct quern_error *err)
{
    uint64_t left = at < r->bytes ? r->bytes - at : 0;

    *head = NULL;
    if (left < RECORD_BRIEF_HEAD_BYTES)
        return QUERN_OK;
    *head = view(r, at, left < RECORD_HEAD_BYTES ? left : RECORD_HEAD_BYTES, err);
    return *head != NULL ? QUERN_OK : err->code;
}

enum quern_code wal_reader_record(struct wal_reader *r, uint64_t at, struct record *out,
                                  uint64_t *checksum, bool *found, struct quern_error *err)
{
    const uint8_t *bytes;
    uint64_t total;

    *found = false;
    if (view_head(r, at, &bytes, err))
        return err->code;
    if (bytes == NULL)
        return QUERN_OK;
    total = plausible(bytes, r->bytes - at);
    if (total == 0)
        return QUERN_OK;
    if ((bytes = view(r, at, total, err)) == NULL)
        return err->code;
    *found = record_read(bytes, total, r->header.salt, at, out);
    *checksum = get_u64le(bytes);
    return QUERN_OK;
}

/* The first two pages: both were durable before the segment had its name. */
static enum quern_code read_first_pages(struct wal_reader *r, uint64_t no, uint64_t store_id,
                                        struct quern_error *err)
{
    uint64_t pad_at = WAL_LINK_AT + record_bytes(sizeof(struct wal_link)), file_bytes = r->bytes;
    const uint8_t *page;
    struct record record;
    bool found;

    if (file_bytes < WAL_START)
        return err_set(err, QUERN_CORRUPT, "ends at %" PRIu64 ", before its header does",
                       file_bytes);
    if ((page = view(r, 0, RECORD_PAGE_BYTES, err)) == NULL)
        return err->code;
    if (wal_header_read(page, &r->header, err))
        return err->code;
    if (r->header.store_id != store_id)
        return err_set(err, QUERN_CORRUPT, "belongs to another store");
    if (r->header.segment_no != no)
        return err_set(err, QUERN_CORRUPT, "holds segment %06" PRIu64, r->header.segment_no);
    if (r->header.segment_bytes < WAL_START)
        return err_set(err, QUERN_CORRUPT, "header at 0: bad size");
    if (r->bytes > r->header.segment_bytes)
        r->bytes = r->header.segment_bytes;
    if (wal_reader_record(r, WAL_LINK_AT, &record, &r->link_checksum, &found, err))
        return err->code;
    if (!found || !wal_link_read(&record, &r->link))
        return err_set(err, QUERN_CORRUPT, "link at %" PRIu64 " is damaged", WAL_LINK_AT);
    r->link_durable_seq = record.durable_seq;
    if (wal_reader_record(r, pad_at, &record, &r->link_checksum, &found, err))
        return err->code;
    if (!found || record.type != RECORD_PAD ||
        pad_at + record_bytes(record.payload.len) != WAL_START)
        return err_set(err, QUERN_CORRUPT, "record at %" PRIu64 " is damaged", pad_at);
    return QUERN_OK;
}

enum quern_code wal_reader_open(struct wal_reader *r, struct os_dir *dir, uint64_t no,
                                uint64_t store_id, struct quern_error *err)
{
    *r = (struct wal_reader){0};
    wal_name(r->name, no);
    if (os_file_open(dir, r->name, OS_READ, &r->file, err)) {
        if (err->code == QUERN_NO_STORE)
            return err_set(err, QUERN_CORRUPT, "log segment %s is missing", r->name);
        return err_in(err, "log segment %s", r->name);
    }
    if (os_file_size(r->file, &r->bytes, err) || read_first_pages(r, no, store_id, err))
        return err_in(err, "log segment %s", r->name);
    return QUERN_OK;
}

enum quern_code wal_reader_search(struct wal_reader *r, uint64_t from, quern_seq seq_min,
                                  uint64_t records_max, struct wal_stray *out,
                                  struct quern_error *err)
{
    uint64_t at = record_start(from), waste_left = SEARCH_WASTE_FACTOR * r->bytes;

    *out = (struct wal_stray){0};
    while (out->records < records_max) {
        const uint8_t *head;
        struct record record;
        uint64_t total, checksum;
        bool found;

        if (view_head(r, at, &head, err))
            return err->code;
        if (head == NULL)
            return QUERN_OK;
        total = plausible(head, r->bytes - at);
        if (total == 0 || get_u64le(head + 16) < seq_min || total > waste_left) {
            at = record_start(at + 8);
            continue;
        }
        if (wal_reader_record(r, at, &record, &checksum, &found, err))
            return err->code;
        if (!found) {
            waste_left -= total;
            at = record_start(at + 8);
            continue;
        }
        if (out->records++ == 0)
            out->first = at;
        out->groups += record_is_group(&record);
        out->end = at + total;
        if (record.durable_seq > out->durable_seq)
            out->durable_seq = record.durable_seq;
        at = record_start(at + total);
    }
    return QUERN_OK;
}

/* The head of a group behind number `last_seq`, when nothing behind that was durable? */
static bool is_group_head(const uint8_t *head, uint64_t avail, quern_seq last_seq)
{
    quern_seq first_seq = get_u64le(head + 16);
    uint64_t lag;

    if (first_seq <= last_seq)
        return false;
    if (head[12] != RECORD_BRIEF)
        return avail >= RECORD_HEAD_BYTES && get_u32le(head + 12) == RECORD_GROUP &&
               get_u64le(head + 32) <= last_seq;
    lag = get_u32le(head + 12) >> 8;
    return lag == RECORD_LAG_UNTOLD || first_seq - 1 <= last_seq + lag;
}

enum quern_code wal_reader_torn_head(struct wal_reader *r, uint64_t at, quern_seq last_seq,
                                     uint64_t *claimed, struct quern_error *err)
{
    const uint8_t *head;

    *claimed = 0;
    if (view_head(r, at, &head, err))
        return err->code;
    if (head == NULL)
        return QUERN_OK;
    if (is_group_head(head, r->bytes - at, last_seq)) {
        /* A cut file may end before the record does. */
        *claimed = record_claims(head);
        if (*claimed > r->bytes - at)
            *claimed = r->bytes - at;
    }
    return QUERN_OK;
}

/* ---- what a group holds ---- */

struct wal_batches wal_batches_of(const struct record *r)
{
    const uint8_t *payload = r->payload.data;

    return (struct wal_batches){payload, payload + r->payload.len, r->type == RECORD_BRIEF};
}

/* How many operations; false when they do not parse. */
static bool ops_count(const struct batch_ref *batch, uint32_t *count)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry e;

    *count = 0;
    while (op_next(&c, &e))
        ++*count;
    return !c.bad;
}

bool wal_next_batch(struct wal_batches *left, struct batch_ref *batch)
{
    uint64_t bytes_left = (uint64_t)(left->end - left->at), bytes;

    if (left->brief && bytes_left != 0) {
        *batch = (struct batch_ref){.ops = slice_of(left->at, bytes_left)};
        left->at = left->end;
        (void)ops_count(batch, &batch->op_count);
        return true;
    }
    if (bytes_left < WAL_BATCH_HEAD_BYTES)
        return false;
    bytes = get_u32le(left->at);
    if (bytes > bytes_left - WAL_BATCH_HEAD_BYTES)
        return false;
    batch->op_count = get_u32le(left->at + 4);
    batch->ops = slice_of(left->at + WAL_BATCH_HEAD_BYTES, bytes);
    batch->tail = slice_of(NULL, 0);
    left->at += WAL_BATCH_HEAD_BYTES + bytes;
    return true;
}

static bool ops_parse(const struct batch_ref *batch)
{
    uint32_t count;

    return ops_count(batch, &count) && count == batch->op_count;
}

const char *wal_group_flaw(const struct record *r, quern_seq last_seq)
{
    struct wal_batches left = wal_batches_of(r);
    struct batch_ref batch;

    if (r->first_seq <= last_seq || r->count == 0 || r->first_seq > ENTRY_SEQ_MAX - r->count)
        return "its numbers do not follow";
    if (r->durable_seq >= r->first_seq)
        return "it calls itself durable";
    for (uint32_t i = 0; i < r->count; i++) {
        if (!wal_next_batch(&left, &batch) || !ops_parse(&batch))
            return "its operations do not parse";
    }
    return left.at == left.end ? NULL : "its operations do not parse";
}
