/* index_priv.h - which block may hold a key: the index of one table, as read from disk and as
 * searched in memory. See sst_index.c. */
#ifndef SST_INDEX_PRIV_H
#define SST_INDEX_PRIV_H

#include "base/buf.h"
#include "base/entry.h"

/* ---- on disk ---- */

#define INDEX_HEAD_BYTES 8u
#define INDEX_ROW_BYTES 28u

/* One data block. */
struct index_row {
    uint32_t bytes, entries;      /* sealed size; entries in it */
    uint64_t checksum;            /* of the sealed block: its last 8 bytes */
    uint64_t first_head;          /* key_head(first key, 0) */
    struct quern_slice separator; /* >= its last key, < the next block's first unless that is
                                   * the same key; shortened */
};
MUST_USE enum quern_code index_row_put(struct buf *to, const struct index_row *row,
                                       struct quern_error *err);
/* Read one row at `from`; NULL when it is cut short, else the byte after it. */
MUST_USE const uint8_t *index_row_get(const uint8_t *from, const uint8_t *end,
                                      struct index_row *row);
/* Something in [a, b), short; a itself when a == b. Borrowed from a, b or `room`, which has a's
 * length. */
struct quern_slice index_separator(struct quern_slice a, struct quern_slice b, uint8_t *room);

/* ---- in memory ---- */

#define INDEX_FAN 8u /* heads per cache line */
#define INDEX_LEVELS_MAX 11u

struct index {
    uint32_t count; /* blocks */
    uint32_t levels;
    size_t prefix_len; /* common to all separators */
    const uint8_t *prefix;
    const uint64_t *level[INDEX_LEVELS_MAX]; /* [0] holds every head, the last one 8 at most */
    const uint64_t *at;           /* [count + 1] offset of each block, and where they end */
    const uint64_t *before;       /* [count + 1] entries before each block, and all */
    const uint64_t *checksums;    /* [count] */
    const uint32_t *separator_at; /* [count + 1] */
    const uint8_t *separators;
};

/* What index_build() must know of an index that was checked. */
struct index_size {
    size_t memory_bytes; /* that it needs, a multiple of 64 */
    size_t prefix_len;
};
/* Check an index as read from disk: `blocks` rows that fill [0, data_bytes) and count `entries`.
 * Errors: CORRUPT. */
MUST_USE enum quern_code index_check(const uint8_t *raw, size_t len, uint64_t blocks,
                                     uint64_t data_bytes, uint64_t entries, struct index_size *size,
                                     struct quern_error *err);
/* Build at `to`, aligned to 64 bytes. The index begins there; `raw` may go. */
struct index *index_build(uint8_t *to, const uint8_t *raw, size_t len,
                          const struct index_size *size);

static inline struct quern_slice index_separator_of(const struct index *x, uint32_t i)
{
    return slice_of(x->separators + x->separator_at[i],
                    (size_t)(x->separator_at[i + 1] - x->separator_at[i]));
}

/* -1: the key comes before every separator by their common prefix alone, +1: after every one, 0: it
 * has the prefix. */
static inline int index_prefix_order(const struct index *x, struct quern_slice key)
{
    if (LIKELY(key_begins(key, x->prefix, x->prefix_len)))
        return 0;
    return key_compare(key, slice_of(x->prefix, x->prefix_len)) < 0 ? -1 : 1;
}

/* One step down: the place in `level` of the first head not below `head`, inside group `group`. */
static inline uint32_t index_step(const uint64_t *level, uint32_t group, uint64_t head)
{
    const uint64_t *heads = level + (size_t)group * INDEX_FAN;
    uint32_t below = 0;

    for (uint32_t i = 0; i < INDEX_FAN; i++)
        below += heads[i] < head;
    return group * INDEX_FAN + below;
}

/* The first separator that is not below `key`, among those from `i` on, whose head is the key's. */
uint32_t index_settle_equal(const struct index *x, uint32_t i, struct quern_slice key);

/* The first separator that is not below `key`, where the heads, for which the key's was `head`,
 * have led to `i`; count: there is none. */
static inline uint32_t index_settle(const struct index *x, uint32_t i, uint64_t head,
                                    struct quern_slice key)
{
    if (i >= x->count)
        return x->count;
    return LIKELY(x->level[0][i] != head) ? i : index_settle_equal(x, i, key);
}

/* The group of level 0 to which the levels above it lead a search for `key`, by its head alone. */
static inline uint32_t index_search_group(const struct index *x, struct quern_slice key)
{
    uint64_t head = key_head(key, x->prefix_len);
    uint32_t at = 0;

    for (uint32_t l = x->levels; l-- > 1;)
        at = index_step(x->level[l], at, head);
    return at;
}

/* The first block that may hold `key` or what follows it; count: there is none. */
uint32_t index_search(const struct index *x, struct quern_slice key);

#endif
