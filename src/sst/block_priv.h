/* block_priv.h - one data block in its plain form: building it, checking it, searching it.
 *
 * A `struct block` is a view: pointers into bytes that somebody else holds. Bytes from disk go
 * through block_check() once, when they are loaded; everything after that trusts the lengths. */
#ifndef SST_BLOCK_PRIV_H
#define SST_BLOCK_PRIV_H

#include "base/buf.h"
#include "base/entry.h"

#define BLOCK_HEAD_BYTES 16u
#define BLOCK_PREFIX_MAX 240u /* a longer common prefix is used only so far */

/* Flags of a block, on disk, do not renumber. */
#define BLOCK_SEQ_DELTA 0x01u /* u64 base, one u32 each; without this or the next: one for all */
#define BLOCK_SEQ_WIDE 0x02u  /* one u64 each */
#define BLOCK_EXPIRIES 0x04u  /* one u64 each; without: none expires */
#define BLOCK_KINDS 0x08u     /* one u8 each; without: all are puts */
#define BLOCK_KEY_LENS 0x10u  /* one each; without: the length in the head is that of all keys */
#define BLOCK_WIDE 0x20u      /* offsets and key lengths are u32, else u16 */
#define BLOCK_FLAGS 0x3fu

struct block {
    const uint8_t *bytes;
    const uint8_t *heads, *seqs, *expiries, *deltas, *offsets, *key_lens, *kinds, *data;
    uint32_t count, key_len;
    uint8_t flags, prefix_len;
};

/* Find the columns. `bytes` passed block_check(). */
static inline void block_view(struct block *b, const uint8_t *bytes)
{
    size_t n = get_u32le(bytes);
    size_t width;

    b->bytes = bytes;
    b->count = (uint32_t)n;
    b->flags = bytes[4];
    b->prefix_len = bytes[5];
    b->key_len = get_u32le(bytes + 8);
    width = (b->flags & BLOCK_WIDE) ? 4 : 2;
    b->heads = bytes + BLOCK_HEAD_BYTES + (((size_t)b->prefix_len + 7) & ~(size_t)7);
    b->seqs = b->heads + 8 * n;
    b->expiries = b->seqs + ((b->flags & BLOCK_SEQ_WIDE) ? 8 * n : 8);
    b->deltas = b->expiries + ((b->flags & BLOCK_EXPIRIES) ? 8 * n : 0);
    b->offsets = b->deltas + ((b->flags & BLOCK_SEQ_DELTA) ? 4 * n : 0);
    b->key_lens = b->offsets + width * (n + 1);
    b->kinds = b->key_lens + ((b->flags & BLOCK_KEY_LENS) ? width * n : 0);
    b->data = b->kinds + ((b->flags & BLOCK_KINDS) ? n : 0);
}

static inline uint64_t block_head(const struct block *b, uint32_t i)
{
    return get_u64le(b->heads + 8 * (size_t)i);
}

static inline uint32_t block_offset(const struct block *b, uint32_t i)
{
    return (b->flags & BLOCK_WIDE) ? get_u32le(b->offsets + 4 * (size_t)i)
                                   : get_u16le(b->offsets + 2 * (size_t)i);
}

static inline struct quern_slice block_key(const struct block *b, uint32_t i)
{
    size_t len = b->key_len;

    if (b->flags & BLOCK_KEY_LENS)
        len = (b->flags & BLOCK_WIDE) ? get_u32le(b->key_lens + 4 * (size_t)i)
                                      : get_u16le(b->key_lens + 2 * (size_t)i);
    return slice_of(b->bytes + block_offset(b, i), len);
}

static inline quern_seq block_seq(const struct block *b, uint32_t i)
{
    if (b->flags & BLOCK_SEQ_DELTA)
        return get_u64le(b->seqs) + get_u32le(b->deltas + 4 * (size_t)i);
    return get_u64le(b->seqs + ((b->flags & BLOCK_SEQ_WIDE) ? 8 * (size_t)i : 0));
}

static inline void block_entry(const struct block *b, uint32_t i, struct entry *e)
{
    const uint8_t *value;

    e->key = block_key(b, i);
    value = (const uint8_t *)e->key.data + e->key.len;
    e->value = slice_of(value, (size_t)(b->bytes + block_offset(b, i + 1) - value));
    e->seq = block_seq(b, i);
    e->expires_ms = (b->flags & BLOCK_EXPIRIES) ? get_u64le(b->expiries + 8 * (size_t)i) : 0;
    e->kind = (b->flags & BLOCK_KINDS) ? (enum entry_kind)b->kinds[i] : ENTRY_PUT;
}

/* Are these bytes a block whose every offset and length stays inside? NULL: yes; else what is
 * wrong. Order is not looked at: that is verify's part. */
const char *block_check(const uint8_t *bytes, size_t len);

/* The first entry at or after (key, seq) in entry order; count: none. */
uint32_t block_search(const struct block *b, struct quern_slice key, quern_seq seq);

/* The same in two steps, for those who prefetch between: the first entry whose head is not
 * below the key's, then the answer from there. */
uint32_t block_search_heads(const struct block *b, struct quern_slice key);
uint32_t block_search_from(const struct block *b, uint32_t i, struct quern_slice key,
                           quern_seq seq);

/* ---- building ---- */

struct block_note; /* what is remembered of one entry until the columns are written */

/* Zeros are an empty builder. Entries come in order. */
struct block_builder {
    struct buf data; /* keys and values, back to back */
    struct block_note *notes;
    uint32_t count, capacity;
    uint8_t flags; /* BLOCK_EXPIRIES, BLOCK_KINDS, BLOCK_KEY_LENS: what its entries ask for */
    quern_seq seq_min, seq_max;
    uint64_t outside_bytes; /* of the last value, which lies outside of `data` */
};

/* Copies the entry. With `outside` the value's bytes are left out: the caller puts them behind
 * what block_build() makes. Errors: NO_MEMORY; nothing was added. */
MUST_USE enum quern_code block_builder_add(struct block_builder *b, const struct entry *e,
                                           bool outside, struct quern_error *err);
/* Bytes that block_build() would write if one more entry were added (of what it has, when `e` is
 * NULL), the common prefix, at most BLOCK_PREFIX_MAX, left out. */
size_t block_builder_bytes(const struct block_builder *b, const struct entry *e);
/* Write the block (without outside bytes) to `to`, which has block_builder_bytes(b, NULL) +
 * BLOCK_PREFIX_MAX of room; returns its length. */
size_t block_build(struct block_builder *b, uint8_t *to);
/* Of its last entry; good until the builder changes. */
struct quern_slice block_builder_last_key(const struct block_builder *b);
/* key_head(first key, 0) */
uint64_t block_builder_first_head(const struct block_builder *b);
void block_builder_clear(struct block_builder *b); /* keeps its memory */
void block_builder_done(struct block_builder *b);

#endif
