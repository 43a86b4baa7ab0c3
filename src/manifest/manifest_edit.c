/* manifest_edit.c - the bytes of a manifest: its header, and edits as tagged fields.
 *
 *     header, 64 bytes                             payload of an edit record
 *      0  u64 magic "quernMAN"                      0  u64 chain
 *      8  u32 version                               8  field ...
 *     12  u32 64, the header's size
 *     16  u64 features that must be known          field := varint tag | varint length | bytes
 *     24  u64 store_id
 *     32  u64 manifest_no                          A number is one varint that fills its field.
 *     40  u64 salt                                 The body of EDIT_ADD is a row of fields too.
 *     48  u64 zero
 *     56  u64 checksum of bytes 0..55
 *
 * The header keeps its size, its version and its checksum where they are in every version to come,
 * so that "damaged" can always be told from "newer than this program". */
#include "manifest/manifest_priv.h"

#include "base/error.h"
#include "base/hash.h"

#include <inttypes.h>

static const char magic[8] = {'q', 'u', 'e', 'r', 'n', 'M', 'A', 'N'};

#define HEADER_CHECKED_BYTES (MANIFEST_HEADER_BYTES - 8)

uint64_t manifest_header_put(uint8_t to[MANIFEST_HEADER_BYTES], const struct manifest_header *h)
{
    uint64_t checksum;

    memset(to, 0, MANIFEST_HEADER_BYTES);
    memcpy(to, magic, sizeof(magic));
    put_u32le(to + 8, MANIFEST_VERSION);
    put_u32le(to + 12, MANIFEST_HEADER_BYTES);
    put_u64le(to + 16, h->features);
    put_u64le(to + 24, h->store_id);
    put_u64le(to + 32, h->manifest_no);
    put_u64le(to + 40, h->salt);
    checksum = hash_placed(to, HEADER_CHECKED_BYTES, 0, 0);
    put_u64le(to + HEADER_CHECKED_BYTES, checksum);
    return checksum;
}

enum quern_code manifest_header_get(struct quern_slice file, struct manifest_header *h,
                                    uint64_t *checksum, struct quern_error *err)
{
    const uint8_t *from = file.data;
    uint32_t version;

    if (file.len < MANIFEST_HEADER_BYTES)
        return err_set(err, QUERN_CORRUPT, "ends at %zu, inside its header", file.len);
    if (memcmp(from, magic, sizeof(magic)) != 0)
        return err_set(err, QUERN_CORRUPT, "header at 0: not a manifest of quern");
    *checksum = get_u64le(from + HEADER_CHECKED_BYTES);
    if (*checksum != hash_placed(from, HEADER_CHECKED_BYTES, 0, 0))
        return err_set(err, QUERN_CORRUPT, "header at 0: bad checksum");
    version = get_u32le(from + 8);
    if (version < MANIFEST_VERSION)
        return err_set(err, QUERN_UNSUPPORTED, "format version %" PRIu32 ", " ERR_OLD_FORMAT,
                       version);
    if (version > MANIFEST_VERSION)
        return err_set(err, QUERN_UNSUPPORTED,
                       "format version %" PRIu32 "; this quern knows version %u", version,
                       MANIFEST_VERSION);
    h->features = get_u64le(from + 16);
    h->store_id = get_u64le(from + 24);
    h->manifest_no = get_u64le(from + 32);
    h->salt = get_u64le(from + 40);
    if ((h->features & ~MANIFEST_FEATURES_KNOWN) != 0)
        return err_set(err, QUERN_UNSUPPORTED, "needs features 0x%" PRIx64 " of a newer quern",
                       h->features & ~MANIFEST_FEATURES_KNOWN);
    return QUERN_OK;
}

/* ---- the numbers of a table: one row each, for writing, measuring and reading ---- */

struct number_row {
    uint8_t tag;
    size_t offset; /* in struct manifest_table */
};

/* The tier, a uint32_t, is apart, and cut_seq, which need not be there. Positions are the bits of
 * `seen` in table_decode(). */
static const struct number_row numbers[] = {
    {TABLE_NO, offsetof(struct manifest_table, meta.table_no)},
    {TABLE_RUN_NO, offsetof(struct manifest_table, run_no)},
    {TABLE_UNIQUE_ID, offsetof(struct manifest_table, meta.unique_id)},
    {TABLE_FILE_BYTES, offsetof(struct manifest_table, meta.file_bytes)},
    {TABLE_FILE_HASH, offsetof(struct manifest_table, meta.file_hash)},
    {TABLE_ENTRY_COUNT, offsetof(struct manifest_table, meta.entry_count)},
    {TABLE_TOMBSTONE_COUNT, offsetof(struct manifest_table, meta.tombstone_count)},
    {TABLE_DUPLICATE_COUNT, offsetof(struct manifest_table, meta.duplicate_count)},
    {TABLE_RAW_BYTES, offsetof(struct manifest_table, meta.raw_bytes)},
    {TABLE_ENTRY_HASH, offsetof(struct manifest_table, meta.entry_hash)},
    {TABLE_SEQ_MIN, offsetof(struct manifest_table, meta.seq_min)},
    {TABLE_SEQ_MAX, offsetof(struct manifest_table, meta.seq_max)},
    {TABLE_EXPIRES_MIN_MS, offsetof(struct manifest_table, meta.expires_min_ms)},
    {TABLE_CREATED_MS, offsetof(struct manifest_table, meta.created_ms)},
    {TABLE_EXPIRING_COUNT, offsetof(struct manifest_table, meta.expiring_count)},
    {TABLE_EXPIRES_MAX_MS, offsetof(struct manifest_table, meta.expires_max_ms)},
};

/* The last rows stand in a table of which something expires, and only there. */
#define ROWS_ALWAYS (ARRAY_LEN(numbers) - 2)

#define SEEN_TIER (1u << ARRAY_LEN(numbers))
#define SEEN_SMALLEST (SEEN_TIER << 1)
#define SEEN_LARGEST (SEEN_TIER << 2)
#define SEEN_CUT_SEQ (SEEN_TIER << 3)
#define SEEN_ALWAYS (((1u << ROWS_ALWAYS) - 1) | SEEN_TIER | SEEN_SMALLEST | SEEN_LARGEST)
#define SEEN_ALL (SEEN_CUT_SEQ - 1)

static uint64_t number_of(const struct manifest_table *t, size_t row)
{
    uint64_t v;

    memcpy(&v, (const uint8_t *)t + numbers[row].offset, sizeof(v));
    return v;
}

static size_t rows_of(const struct manifest_table *t)
{
    return t->meta.expiring_count != 0 ? ARRAY_LEN(numbers) : ROWS_ALWAYS;
}

/* ---- writing ---- */

static uint64_t bytes_field_bytes(uint64_t tag, uint64_t len)
{
    return varint_bytes(tag) + varint_bytes(len) + len;
}

static uint64_t number_field_bytes(uint64_t tag, uint64_t v)
{
    return bytes_field_bytes(tag, varint_bytes(v));
}

static uint64_t table_body_bytes(const struct manifest_table *t)
{
    uint64_t bytes = number_field_bytes(TABLE_TIER, t->tier);

    for (size_t i = 0; i < rows_of(t); i++)
        bytes += number_field_bytes(numbers[i].tag, number_of(t, i));
    if (t->cut_seq != 0)
        bytes += number_field_bytes(TABLE_CUT_SEQ, t->cut_seq);
    return bytes + bytes_field_bytes(TABLE_SMALLEST, t->meta.smallest.len) +
           bytes_field_bytes(TABLE_LARGEST, t->meta.largest.len);
}

static uint8_t *put_number(uint8_t *to, uint64_t tag, uint64_t v)
{
    to = put_varint(to, tag);
    to = put_varint(to, varint_bytes(v));
    return put_varint(to, v);
}

static uint8_t *put_raw(uint8_t *to, struct quern_slice bytes)
{
    if (bytes.len != 0)
        memcpy(to, bytes.data, bytes.len);
    return to + bytes.len;
}

static uint8_t *put_bytes(uint8_t *to, uint64_t tag, struct quern_slice bytes)
{
    to = put_varint(to, tag);
    to = put_varint(to, bytes.len);
    return put_raw(to, bytes);
}

static uint8_t *put_table(uint8_t *to, const struct manifest_table *t)
{
    to = put_varint(to, EDIT_ADD);
    to = put_varint(to, table_body_bytes(t));
    to = put_number(to, TABLE_TIER, t->tier);
    for (size_t i = 0; i < rows_of(t); i++)
        to = put_number(to, numbers[i].tag, number_of(t, i));
    if (t->cut_seq != 0)
        to = put_number(to, TABLE_CUT_SEQ, t->cut_seq);
    to = put_bytes(to, TABLE_SMALLEST, buf_slice(&t->meta.smallest));
    return put_bytes(to, TABLE_LARGEST, buf_slice(&t->meta.largest));
}

static uint8_t *put_trim(uint8_t *to, const struct manifest_trim *t)
{
    to = put_varint(to, EDIT_TRIM);
    to = put_varint(to, varint_bytes(t->table_no) + t->smallest.len);
    to = put_varint(to, t->table_no);
    return put_raw(to, t->smallest);
}

static uint64_t cuts_body_bytes(const struct cuts *c)
{
    uint64_t bytes = 0;

    for (size_t i = 0; c != NULL && i < c->count; i++)
        bytes += varint_bytes(c->piece[i].seq) + varint_bytes(c->piece[i].start.len) +
                 varint_bytes(c->piece[i].end.len) + c->piece[i].start.len + c->piece[i].end.len;
    return bytes;
}

static uint8_t *put_cuts(uint8_t *to, const struct cuts *c)
{
    to = put_varint(to, EDIT_CUTS);
    to = put_varint(to, cuts_body_bytes(c));
    for (size_t i = 0; c != NULL && i < c->count; i++) {
        to = put_varint(to, c->piece[i].seq);
        to = put_varint(to, c->piece[i].start.len);
        to = put_varint(to, c->piece[i].end.len);
        to = put_raw(to, c->piece[i].start);
        to = put_raw(to, c->piece[i].end);
    }
    return to;
}

static uint64_t live_body_bytes(const uint64_t *live)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < QUERN_DATABASES; i++)
        bytes += varint_bytes(live[i]);
    return bytes;
}

static uint8_t *put_live(uint8_t *to, const uint64_t *live)
{
    to = put_varint(to, EDIT_LIVE);
    to = put_varint(to, live_body_bytes(live));
    for (size_t i = 0; i < QUERN_DATABASES; i++)
        to = put_varint(to, live[i]);
    return to;
}

static uint64_t payload_bytes(const struct edit_frame *frame, const struct manifest_edit *e)
{
    uint64_t bytes = 8 + number_field_bytes(EDIT_NEXT_FILE_NO, frame->next_file_no);

    if (frame->snapshot)
        bytes += number_field_bytes(EDIT_SNAPSHOT, frame->created_ms);
    if (e->set_log_first)
        bytes += number_field_bytes(EDIT_LOG_FIRST, e->log_first);
    if (e->set_log_last)
        bytes += number_field_bytes(EDIT_LOG_LAST, e->log_last);
    if (e->set_flushed_seq)
        bytes += number_field_bytes(EDIT_FLUSHED_SEQ, e->flushed_seq);
    for (size_t i = 0; i < e->remove_count; i++)
        bytes += number_field_bytes(EDIT_REMOVE, e->remove[i]);
    for (size_t i = 0; i < e->add_count; i++)
        bytes += bytes_field_bytes(EDIT_ADD, table_body_bytes(&e->add[i]));
    for (size_t i = 0; i < e->trim_count; i++)
        bytes += bytes_field_bytes(EDIT_TRIM,
                                   varint_bytes(e->trim[i].table_no) + e->trim[i].smallest.len);
    if (e->set_cuts)
        bytes += bytes_field_bytes(EDIT_CUTS, cuts_body_bytes(e->cuts));
    if (e->set_map)
        bytes += number_field_bytes(EDIT_DATABASES, e->map);
    if (e->live != NULL)
        bytes += bytes_field_bytes(EDIT_LIVE, live_body_bytes(e->live));
    return bytes;
}

enum quern_code edit_encode(struct buf *out, const struct edit_frame *frame,
                            const struct manifest_edit *e, struct quern_error *err)
{
    uint64_t bytes = payload_bytes(frame, e);
    uint8_t *to;

    if (bytes > MANIFEST_PAYLOAD_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "an edit of %" PRIu64 " bytes is too large", bytes);
    if (buf_reserve(out, bytes, err))
        return err->code;
    to = out->data + out->len;
    put_u64le(to, frame->chain);
    to += 8;
    if (frame->snapshot)
        to = put_number(to, EDIT_SNAPSHOT, frame->created_ms);
    to = put_number(to, EDIT_NEXT_FILE_NO, frame->next_file_no);
    if (e->set_log_first)
        to = put_number(to, EDIT_LOG_FIRST, e->log_first);
    if (e->set_log_last)
        to = put_number(to, EDIT_LOG_LAST, e->log_last);
    if (e->set_flushed_seq)
        to = put_number(to, EDIT_FLUSHED_SEQ, e->flushed_seq);
    for (size_t i = 0; i < e->remove_count; i++)
        to = put_number(to, EDIT_REMOVE, e->remove[i]);
    for (size_t i = 0; i < e->add_count; i++)
        to = put_table(to, &e->add[i]);
    for (size_t i = 0; i < e->trim_count; i++)
        to = put_trim(to, &e->trim[i]);
    if (e->set_cuts)
        to = put_cuts(to, e->cuts);
    if (e->set_map)
        to = put_number(to, EDIT_DATABASES, e->map);
    if (e->live != NULL)
        to = put_live(to, e->live);
    ensure(to == out->data + out->len + bytes);
    out->len += bytes;
    return QUERN_OK;
}

/* ---- reading: every length is hostile ---- */

bool field_next(struct field_cursor *c, struct field *f)
{
    uint64_t len;

    if (c->bad || c->at == c->end)
        return false;
    c->at = get_varint(c->at, c->end, &f->tag);
    if (c->at != NULL)
        c->at = get_varint(c->at, c->end, &len);
    if (c->at == NULL || len > (uint64_t)(c->end - c->at)) {
        c->bad = true;
        return false;
    }
    f->body = slice_of(c->at, len);
    c->at += len;
    return true;
}

bool field_number(struct quern_slice body, uint64_t *number)
{
    const uint8_t *end = (const uint8_t *)body.data + body.len;

    return get_varint(body.data, end, number) == end;
}

enum quern_code field_unknown(uint64_t tag, struct quern_error *err)
{
    if (tag % 2 == 0)
        return QUERN_OK;
    return err_set(err, QUERN_UNSUPPORTED, "field %" PRIu64 " of a newer quern", tag);
}

/* A view of bytes that belong to the file. */
static struct buf buf_borrow(struct quern_slice s)
{
    return (struct buf){.data = (uint8_t *)(uintptr_t)s.data, .len = s.len};
}

/* One field of a table. *seen_bit: which one; 0 for one that is skipped. */
static enum quern_code take_table_field(const struct field *f, struct manifest_table *t,
                                        uint32_t *seen_bit, struct quern_error *err)
{
    uint64_t v;

    *seen_bit = 0;
    if (f->tag == TABLE_SMALLEST || f->tag == TABLE_LARGEST) {
        bool smallest = f->tag == TABLE_SMALLEST;

        *(smallest ? &t->meta.smallest : &t->meta.largest) = buf_borrow(f->body);
        *seen_bit = smallest ? SEEN_SMALLEST : SEEN_LARGEST;
        return QUERN_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].tag == f->tag)
            *seen_bit = 1u << i;
    if (f->tag == TABLE_TIER)
        *seen_bit = SEEN_TIER;
    if (f->tag == TABLE_CUT_SEQ)
        *seen_bit = SEEN_CUT_SEQ;
    if (*seen_bit == 0)
        return field_unknown(f->tag, err);
    if (!field_number(f->body, &v) || (f->tag == TABLE_TIER && v > UINT32_MAX))
        return err_set(err, QUERN_CORRUPT, "field %" PRIu64 " of a table is no number", f->tag);
    if (f->tag == TABLE_TIER)
        t->tier = (uint32_t)v;
    else if (f->tag == TABLE_CUT_SEQ)
        t->cut_seq = v;
    else
        memcpy((uint8_t *)t + numbers[__builtin_ctz(*seen_bit)].offset, &v, sizeof(v));
    return QUERN_OK;
}

enum quern_code table_decode(struct quern_slice body, struct manifest_table *t,
                             struct quern_error *err)
{
    struct field_cursor c = {body.data, (const uint8_t *)body.data + body.len, false};
    struct field f;
    uint32_t seen = 0, bit;

    memset(t, 0, sizeof(*t));
    while (field_next(&c, &f)) {
        if (take_table_field(&f, t, &bit, err))
            return err->code;
        if ((seen & bit) != 0)
            return err_set(err, QUERN_CORRUPT, "field %" PRIu64 " of a table stands twice", f.tag);
        seen |= bit;
    }
    if (c.bad || (seen & SEEN_ALL) != (t->meta.expiring_count != 0 ? SEEN_ALL : SEEN_ALWAYS))
        return err_set(err, QUERN_CORRUPT, "a table of %zu bytes does not parse", body.len);
    return QUERN_OK;
}

static enum quern_code bad_cuts(struct quern_slice body, struct quern_error *err)
{
    return err_set(err, QUERN_CORRUPT, "range deletes of %zu bytes do not parse", body.len);
}

/* A key of `len` bytes at *at; false: it does not fit. */
static bool take_key(const uint8_t **at, const uint8_t *end, uint64_t len, struct quern_slice *key)
{
    if (len > ENTRY_KEY_BYTES_MAX || len > (uint64_t)(end - *at))
        return false;
    *key = slice_of(*at, len);
    *at += len;
    return true;
}

static bool take_cut(const uint8_t **at, const uint8_t *end, struct cut *c)
{
    uint64_t start_len, end_len;

    return (*at = get_varint(*at, end, &c->seq)) != NULL &&
           (*at = get_varint(*at, end, &start_len)) != NULL &&
           (*at = get_varint(*at, end, &end_len)) != NULL &&
           take_key(at, end, start_len, &c->start) && take_key(at, end, end_len, &c->end) &&
           c->seq != 0 && !cut_is_empty(c);
}

/* May `b` stand right behind `a`? */
static bool follows(const struct cut *a, const struct cut *b)
{
    if (key_equal(a->start, b->start) && key_equal(a->end, b->end))
        return b->seq < a->seq;
    return a->end.len != 0 && key_compare(a->end, b->start) <= 0;
}

enum quern_code cuts_decode(struct quern_slice body, struct cuts **out, struct quern_error *err)
{
    const uint8_t *at = body.data, *end = at + body.len;
    struct buf list OWNED_BUF = {0};
    struct cut before = {.seq = 0}, c;

    for (; at != end; before = c) {
        if (!take_cut(&at, end, &c) || (before.seq != 0 && !follows(&before, &c)))
            return bad_cuts(body, err);
        if (buf_append(&list, &c, sizeof(c), err))
            return err->code;
    }
    return cuts_new(NULL, (const struct cut *)(const void *)list.data, list.len / sizeof(c),
                    (struct cut_pins){NULL, 0}, out, err);
}

enum quern_code live_decode(struct quern_slice body, uint64_t live[QUERN_DATABASES],
                            struct quern_error *err)
{
    const uint8_t *at = body.data, *end = at + body.len;

    for (size_t i = 0; i < QUERN_DATABASES && at != NULL; i++)
        at = get_varint(at, end, &live[i]);
    if (at != end)
        return err_set(err, QUERN_CORRUPT, "numbers of keys of %zu bytes do not parse", body.len);
    return QUERN_OK;
}
