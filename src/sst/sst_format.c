/* sst_format.c - seals and unseals blocks; reads and writes properties and footer.
 *
 *      sealed block := payload | u32 raw_len | u8 codec | u8 zero[3] | u64 checksum
 *      properties   := { u16 id | u16 type | u32 len | len bytes }*     (sealed like a block)
 *      footer, 136 bytes at the end of the file:
 *        0  4 x { u64 at | u64 bytes | u64 checksum }  filter, range deletes, index, properties
 *       96  u64 unique_id
 *      104  u32 version | u32 zero
 *      112  u64 features      bits that a reader must understand
 *      120  u64 checksum      of [0, 120), placed at the footer's offset
 *      128  u64 magic
 *
 * Every checksum is seeded with the file's id and the block's offset. The footer's own checksum
 * covers those of the blocks it names, the index in turn those of the data blocks: so this one
 * number names the whole content, and is what the manifest keeps as file_hash. */
#include "sst/format_priv.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <assert.h>
#include <inttypes.h>
#include <lz4.h>
#include <zstd.h>

#define FOOTER_MAGIC UINT64_C(0x315453534e524551) /* "QERNSST1" */

/* ---- sealing ---- */

static void put_trailer(uint8_t *to, size_t raw_len, enum sst_codec codec)
{
    put_u32le(to, (uint32_t)raw_len);
    put_u32le(to + 4, (uint32_t)codec);
}

/* Bytes written, or 0 when the result would be larger than `room`. */
static size_t compress(uint8_t *to, size_t room, const uint8_t *raw, size_t raw_len,
                       enum sst_codec codec)
{
    size_t len;
    int lz4_len;

    if (codec == SST_LZ4) {
        lz4_len = LZ4_compress_default((const char *)raw, (char *)to, (int)raw_len, (int)room);
        return lz4_len > 0 ? (size_t)lz4_len : 0;
    }
    len = ZSTD_compress(to, room, raw, raw_len, 3);
    return ZSTD_isError(len) ? 0 : len;
}

size_t seal(uint8_t *to, const uint8_t *raw, size_t raw_len, enum sst_codec codec,
            uint64_t unique_id, uint64_t offset)
{
    size_t len = 0;

    if (codec != SST_PLAIN && raw_len >= 16 && raw_len <= COMPRESS_BYTES_MAX)
        len = compress(to, raw_len - raw_len / 8, raw, raw_len, codec);
    if (len == 0) {
        codec = SST_PLAIN;
        len = raw_len;
        if (raw != to)
            memcpy(to, raw, raw_len);
    }
    put_trailer(to + len, raw_len, codec);
    put_u64le(to + len + 8, hash_placed(to, len + 8, unique_id, offset));
    return len + TRAILER_BYTES;
}

void seal_pieces(uint8_t trailer[TRAILER_BYTES], struct quern_slice head, struct quern_slice tail,
                 uint64_t unique_id, uint64_t offset)
{
    struct quern_slice pieces[] = {head, tail, slice_of(trailer, 8)};

    put_trailer(trailer, head.len + tail.len, SST_PLAIN);
    put_u64le(trailer + 8, hash_pieces(pieces, ARRAY_LEN(pieces), hash_place(unique_id, offset)));
}

enum quern_code unseal_check(const uint8_t *sealed, size_t len, uint64_t checksum,
                             uint64_t unique_id, uint64_t offset, struct unsealed *u,
                             struct quern_error *err)
{
    const uint8_t *trailer;
    uint64_t raw_len;

    if (len < TRAILER_BYTES)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": impossible size", offset);
    trailer = sealed + len - TRAILER_BYTES;
    if (get_u64le(trailer + 8) != checksum ||
        hash_placed(sealed, len - 8, unique_id, offset) != checksum)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": bad checksum", offset);
    raw_len = get_u32le(trailer);
    u->payload_len = len - TRAILER_BYTES;
    u->raw_len = (size_t)raw_len;
    if (get_u32le(trailer + 4) > SST_ZSTD)
        return err_set(err, QUERN_UNSUPPORTED, "block at %" PRIu64 ": codec %" PRIu32, offset,
                       get_u32le(trailer + 4));
    u->codec = (enum sst_codec)get_u32le(trailer + 4);
    if (u->codec == SST_PLAIN ? raw_len != u->payload_len : raw_len > COMPRESS_BYTES_MAX)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": impossible size", offset);
    return QUERN_OK;
}

enum quern_code unseal_plain(const uint8_t *sealed, size_t len, uint64_t checksum,
                             uint64_t unique_id, uint64_t offset, size_t *raw_len,
                             struct quern_error *err)
{
    struct unsealed u = {0};

    if (unseal_check(sealed, len, checksum, unique_id, offset, &u, err))
        return err->code;
    if (u.codec != SST_PLAIN)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": compressed, which it never is",
                       offset);
    *raw_len = u.raw_len;
    return QUERN_OK;
}

enum quern_code unseal_expand(const uint8_t *sealed, const struct unsealed *u, uint8_t *to,
                              struct quern_error *err)
{
    size_t got = 0;
    int lz4_got;

    switch (u->codec) {
    case SST_PLAIN:
        memcpy(to, sealed, u->raw_len);
        return QUERN_OK;
    case SST_LZ4:
        if (u->payload_len > INT32_MAX)
            break;
        lz4_got = LZ4_decompress_safe((const char *)sealed, (char *)to, (int)u->payload_len,
                                      (int)u->raw_len);
        got = lz4_got < 0 ? SIZE_MAX : (size_t)lz4_got;
        break;
    case SST_ZSTD:
        got = ZSTD_decompress(to, u->raw_len, sealed, u->payload_len);
        break;
    }
    if (got != u->raw_len)
        return err_set(err, QUERN_CORRUPT, "compressed bytes do not expand");
    return QUERN_OK;
}

/* ---- footer ---- */

static void put_span(uint8_t *to, const struct span *s)
{
    put_u64le(to, s->at);
    put_u64le(to + 8, s->bytes);
    put_u64le(to + 16, s->checksum);
}

static struct span get_span(const uint8_t *from)
{
    return (struct span){get_u64le(from), get_u64le(from + 8), get_u64le(from + 16)};
}

void footer_put(uint8_t to[FOOTER_BYTES], struct footer *f, uint64_t footer_at)
{
    memset(to, 0, FOOTER_BYTES);
    put_span(to, &f->filter);
    put_span(to + 24, &f->range_deletes);
    put_span(to + 48, &f->index);
    put_span(to + 72, &f->properties);
    put_u64le(to + 96, f->unique_id);
    put_u32le(to + 104, FORMAT_VERSION);
    f->checksum = hash_placed(to, 120, f->unique_id, footer_at);
    put_u64le(to + 120, f->checksum);
    put_u64le(to + 128, FOOTER_MAGIC);
}

/* The blocks after the data follow one another without a gap, up to the footer. */
static bool spans_fit(const struct footer *f, uint64_t footer_at)
{
    const struct span *spans[] = {&f->filter, &f->range_deletes, &f->index, &f->properties};
    uint64_t at = f->filter.at;

    if (at > footer_at)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        if (spans[i]->at != at || spans[i]->bytes > footer_at - at)
            return false;
        at += spans[i]->bytes;
    }
    return at == footer_at && f->index.bytes > TRAILER_BYTES &&
           f->properties.bytes > TRAILER_BYTES && f->index.bytes <= UINT32_MAX &&
           f->filter.bytes <= UINT32_MAX && f->properties.bytes <= UINT32_MAX;
}

enum quern_code footer_get(const uint8_t from[FOOTER_BYTES], uint64_t footer_at, struct footer *f,
                           struct quern_error *err)
{
    if (get_u64le(from + 128) != FOOTER_MAGIC)
        return err_set(err, QUERN_CORRUPT, "not a table: no magic at its end");
    f->filter = get_span(from);
    f->range_deletes = get_span(from + 24);
    f->index = get_span(from + 48);
    f->properties = get_span(from + 72);
    f->unique_id = get_u64le(from + 96);
    f->checksum = get_u64le(from + 120);
    if (f->checksum != hash_placed(from, 120, f->unique_id, footer_at))
        return err_set(err, QUERN_CORRUPT, "footer at %" PRIu64 ": bad checksum", footer_at);
    if (get_u32le(from + 104) < FORMAT_VERSION)
        return err_set(err, QUERN_UNSUPPORTED, "format version %" PRIu32 ", " ERR_OLD_FORMAT,
                       get_u32le(from + 104));
    if (get_u32le(from + 104) > FORMAT_VERSION)
        return err_set(err, QUERN_UNSUPPORTED, "format version %" PRIu32 ", made by a newer quern",
                       get_u32le(from + 104));
    if (get_u64le(from + 112) != 0 || f->range_deletes.bytes != 0)
        return err_set(err, QUERN_UNSUPPORTED,
                       "needs features %#" PRIx64 " that this quern does not have",
                       get_u64le(from + 112));
    if (get_u32le(from + 108) != 0 || !spans_fit(f, footer_at))
        return err_set(err, QUERN_CORRUPT, "footer at %" PRIu64 ": out of shape", footer_at);
    return QUERN_OK;
}

/* ---- properties ---- */

enum { TYPE_U64 = 1, TYPE_BYTES = 2 }; /* on disk, do not renumber */

/* One row per property. On disk, do not renumber. Unknown ids are passed over by readers. */
#define U64_PROPERTIES(X)                                                                          \
    X(1, meta.table_no)                                                                            \
    X(2, meta.unique_id)                                                                           \
    X(3, meta.entry_count)                                                                         \
    X(4, meta.tombstone_count)                                                                     \
    X(5, meta.duplicate_count)                                                                     \
    X(6, meta.raw_bytes)                                                                           \
    X(7, meta.entry_hash)                                                                          \
    X(8, meta.seq_min)                                                                             \
    X(9, meta.seq_max)                                                                             \
    X(10, meta.expires_min_ms)                                                                     \
    X(11, meta.created_ms)                                                                         \
    X(14, block_count)                                                                             \
    X(15, block_bytes)                                                                             \
    X(16, codec)                                                                                   \
    X(17, filter_bits)
/* Where something expires, and only there. */
#define EXPIRY_PROPERTIES(X)                                                                       \
    X(19, meta.expiring_count)                                                                     \
    X(20, meta.expires_max_ms)
#define ID_SMALLEST 12
#define ID_LARGEST 13
#define ID_VERSION 18
#define ID_LAST 20
#define IDS_NEEDED ((UINT32_C(1) << 18) - 2) /* ids 1 to 17 */
#define IDS_EXPIRY (UINT32_C(3) << 19)

static enum quern_code put_property(struct buf *to, uint16_t id, uint16_t type, const void *data,
                                    size_t len, struct quern_error *err)
{
    uint8_t head[8];

    put_u16le(head, id);
    put_u16le(head + 2, type);
    put_u32le(head + 4, (uint32_t)len);
    if (buf_append(to, head, sizeof(head), err) || buf_append(to, data, len, err))
        return err->code;
    return QUERN_OK;
}

static enum quern_code put_u64_property(struct buf *to, uint16_t id, uint64_t v,
                                        struct quern_error *err)
{
    uint8_t bytes[8];

    put_u64le(bytes, v);
    return put_property(to, id, TYPE_U64, bytes, sizeof(bytes), err);
}

enum quern_code properties_put(struct buf *to, const struct properties *p, struct quern_error *err)
{
#define PUT_U64(id, field)                                                                         \
    if (put_u64_property(to, id, p->field, err))                                                   \
        return err->code;
    U64_PROPERTIES(PUT_U64)
    if (p->meta.expiring_count != 0) {
        EXPIRY_PROPERTIES(PUT_U64)
    }
#undef PUT_U64
    if (put_u64_property(to, ID_VERSION, FORMAT_VERSION, err) ||
        put_property(to, ID_SMALLEST, TYPE_BYTES, p->meta.smallest.data, p->meta.smallest.len,
                     err) ||
        put_property(to, ID_LARGEST, TYPE_BYTES, p->meta.largest.data, p->meta.largest.len, err))
        return err->code;
    return QUERN_OK;
}

/* Take one property in. *seen gathers the ids. */
static enum quern_code get_property(struct properties *p, uint16_t id, uint16_t type,
                                    const uint8_t *data, size_t len, uint32_t *seen,
                                    struct quern_error *err)
{
    if (id == 0 || id == ID_VERSION || id > ID_LAST)
        return QUERN_OK;
    if (*seen & (UINT32_C(1) << id))
        return err_set(err, QUERN_CORRUPT, "property %u twice", id);
    *seen |= UINT32_C(1) << id;
    if (id == ID_SMALLEST || id == ID_LARGEST) {
        if (type != TYPE_BYTES || len == 0 || len > ENTRY_KEY_BYTES_MAX)
            return err_set(err, QUERN_CORRUPT, "property %u out of shape", id);
        return buf_append(id == ID_SMALLEST ? &p->meta.smallest : &p->meta.largest, data, len, err);
    }
    if (type != TYPE_U64 || len != 8)
        return err_set(err, QUERN_CORRUPT, "property %u out of shape", id);
#define GET_U64(row, field)                                                                        \
    if (id == (row))                                                                               \
        p->field = get_u64le(data);
    U64_PROPERTIES(GET_U64)
    EXPIRY_PROPERTIES(GET_U64)
#undef GET_U64
    return QUERN_OK;
}

enum quern_code properties_get(const uint8_t *from, size_t len, struct properties *p,
                               struct quern_error *err)
{
    const uint8_t *end = from + len;
    struct properties got = {0};
    uint32_t seen = 0;

    while (from != end) {
        size_t data_len = 0;

        if (end - from < 8 || (data_len = get_u32le(from + 4)) > (size_t)(end - from) - 8) {
            (void)err_set(err, QUERN_CORRUPT, "properties cut short");
            goto fail;
        }
        if (get_property(&got, get_u16le(from), get_u16le(from + 2), from + 8, data_len, &seen,
                         err))
            goto fail;
        from += 8 + data_len;
    }
    if ((seen & IDS_NEEDED) != IDS_NEEDED ||
        (seen & IDS_EXPIRY) != (got.meta.expiring_count != 0 ? IDS_EXPIRY : 0)) {
        (void)err_set(err, QUERN_CORRUPT, "properties missing");
        goto fail;
    }
    *p = got;
    return QUERN_OK;
fail:
    table_meta_done(&got.meta);
    return err->code;
}
