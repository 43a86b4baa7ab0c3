/* sst_index.c - the index of one table: simple and sorted on disk, a tree of cache lines in memory.
 *
 *      on disk   u32 blocks | u32 zero, then a row per block:
 *                u32 bytes | u32 entries | u64 checksum | u64 first_head | u32 len | separator
 *                (offsets and running counts follow by adding up)
 *
 *      in memory level 2   [ 8 heads ]                       one cache line
 *                level 1   [ 8 heads ][ 8 heads ] ...        the last head of each group below
 *                level 0   [ 8 heads ][ 8 heads ] ...        the head of every separator,
 *                                                            after their common prefix
 *
 * Down the tree one line per level is read: five for 32768 blocks, of which the upper three are
 * shared by all searches and stay in the processor's cache. Unused places hold UINT64_MAX, and
 * level 0 has at least one of them, so every search finds its place inside and needs no end test.
 * Equal heads are settled by the separators themselves. */
#include "sst/index_priv.h"

#include "base/error.h"
#include "sst/format_priv.h"

#include <assert.h>
#include <inttypes.h>

/* ---- on disk ---- */

enum quern_code index_row_put(struct buf *to, const struct index_row *row, struct quern_error *err)
{
    uint8_t *at;

    if (buf_reserve(to, INDEX_ROW_BYTES + row->separator.len, err))
        return err->code;
    at = to->data + to->len;
    put_u32le(at, row->bytes);
    put_u32le(at + 4, row->entries);
    put_u64le(at + 8, row->checksum);
    put_u64le(at + 16, row->first_head);
    put_u32le(at + 24, (uint32_t)row->separator.len);
    memcpy(at + INDEX_ROW_BYTES, row->separator.data, row->separator.len);
    to->len += INDEX_ROW_BYTES + row->separator.len;
    return QUERN_OK;
}

const uint8_t *index_row_get(const uint8_t *from, const uint8_t *end, struct index_row *row)
{
    size_t len;

    if (end - from < (ptrdiff_t)INDEX_ROW_BYTES)
        return NULL;
    len = get_u32le(from + 24);
    if (len > (size_t)(end - from) - INDEX_ROW_BYTES)
        return NULL;
    row->bytes = get_u32le(from);
    row->entries = get_u32le(from + 4);
    row->checksum = get_u64le(from + 8);
    row->first_head = get_u64le(from + 16);
    row->separator = slice_of(from + INDEX_ROW_BYTES, len);
    return from + INDEX_ROW_BYTES + len;
}

struct quern_slice index_separator(struct quern_slice a, struct quern_slice b, uint8_t *room)
{
    const uint8_t *x = a.data, *y = b.data;
    size_t same = key_common_prefix(a, b);

    if (same == a.len || same == b.len)
        return a; /* a begins b, or is b */
    if (b.len > same + 1)
        return slice_of(y, same + 1); /* begins b, so below it; above a by its last byte */
    if (x[same] + 1 < y[same]) {
        memcpy(room, x, same);
        room[same] = (uint8_t)(x[same] + 1);
        return slice_of(room, same + 1);
    }
    return a;
}

/* ---- from disk to memory ---- */

/* key_head() of a separator that begins with `skip` bytes at least. Separators are short, and
 * behind them there is nearly always more before `end`. */
static inline uint64_t separator_head(struct quern_slice separator, size_t skip, const uint8_t *end)
{
    const uint8_t *at = (const uint8_t *)separator.data + skip;
    size_t left = separator.len - skip;

    if (LIKELY(left < 8 && left > 0 && end - at >= 8))
        return get_u64be(at) & UINT64_MAX << (64 - 8 * left);
    return key_head(separator, skip);
}

/* What a short separator is copied by, where there is room on both sides. */
#define PIECE_BYTES 16u

/* Where things lie in the memory of an index, in bytes from its start. */
struct plan {
    size_t level_at[INDEX_LEVELS_MAX], level_len[INDEX_LEVELS_MAX]; /* length in heads */
    uint32_t levels;
    size_t at, before, checksums, separator_at, prefix, separators, bytes;
};

/* Of an index of `blocks` rows in `len` bytes. */
static void plan_make(struct plan *p, size_t len, size_t blocks, size_t prefix_len)
{
    size_t end = (size_t)round_up(sizeof(struct index), 64);
    size_t heads = blocks + 1;

    p->levels = 0;
    do {
        heads = (size_t)round_up(heads, INDEX_FAN);
        p->level_at[p->levels] = end;
        p->level_len[p->levels++] = heads;
        end += heads * 8;
        heads /= INDEX_FAN;
    } while (heads > 1);
    p->at = end;
    p->before = p->at + 8 * (blocks + 1);
    p->checksums = p->before + 8 * (blocks + 1);
    p->separator_at = p->checksums + 8 * blocks;
    p->prefix = p->separator_at + 4 * (blocks + 1);
    p->separators = p->prefix + prefix_len;
    p->bytes =
        (size_t)round_up(p->separators + len - INDEX_HEAD_BYTES - INDEX_ROW_BYTES * blocks, 64);
}

enum quern_code index_check(const uint8_t *raw, size_t len, uint64_t blocks, uint64_t data_bytes,
                            uint64_t entries, struct index_size *size, struct quern_error *err)
{
    const uint8_t *at = raw + INDEX_HEAD_BYTES, *end = raw + len;
    struct quern_slice first = {0}, last = {0};
    uint64_t rows = 0, bytes_sum = 0, entries_sum = 0, last_head = 0;
    struct index_row row;
    struct plan plan;

    if (len < INDEX_HEAD_BYTES || len > UINT32_MAX || get_u32le(raw) != blocks || blocks == 0 ||
        get_u32le(raw + 4) != 0)
        return err_set(err, QUERN_CORRUPT, "index out of shape");
    while (at != end) {
        uint64_t head;

        at = index_row_get(at, end, &row);
        if (at == NULL || row.separator.len == 0 || row.separator.len > ENTRY_KEY_BYTES_MAX ||
            row.entries == 0 || row.bytes <= TRAILER_BYTES)
            return err_set(err, QUERN_CORRUPT, "index row %" PRIu64 " out of shape", rows);
        head = separator_head(row.separator, 0, end);
        if (head < last_head || (head == last_head && key_compare(last, row.separator) > 0))
            return err_set(err, QUERN_CORRUPT, "index row %" PRIu64 " out of shape", rows);
        if (rows == 0)
            first = row.separator;
        last = row.separator;
        last_head = head;
        bytes_sum += row.bytes;
        entries_sum += row.entries;
        rows++;
    }
    if (rows != blocks || bytes_sum != data_bytes || entries_sum != entries)
        return err_set(err, QUERN_CORRUPT, "index does not add up");
    size->prefix_len = key_common_prefix(first, last);
    plan_make(&plan, len, rows, size->prefix_len);
    size->memory_bytes = plan.bytes;
    return QUERN_OK;
}

static void fill_rows(struct index *x, uint64_t *heads, uint64_t *at, uint64_t *before,
                      uint64_t *checksums, uint32_t *separator_at, uint8_t *separators,
                      const uint8_t *raw, size_t len)
{
    const uint8_t *from = raw + INDEX_HEAD_BYTES, *end = raw + len;
    size_t room = len - INDEX_HEAD_BYTES - INDEX_ROW_BYTES * (size_t)x->count;
    uint32_t used = 0;
    struct index_row row;

    at[0] = before[0] = 0;
    separator_at[0] = 0;
    for (uint32_t i = 0; i < x->count; i++) {
        size_t n;

        from = index_row_get(from, end, &row);
        assert(from != NULL);
        n = row.separator.len;
        heads[i] = separator_head(row.separator, x->prefix_len, end);
        at[i + 1] = at[i] + row.bytes;
        before[i + 1] = before[i] + row.entries;
        checksums[i] = row.checksum;
        if (LIKELY(n <= PIECE_BYTES && room - used >= PIECE_BYTES &&
                   end - (from - n) >= (ptrdiff_t)PIECE_BYTES))
            memcpy(separators + used, row.separator.data, PIECE_BYTES);
        else
            memcpy(separators + used, row.separator.data, n);
        used += (uint32_t)n;
        separator_at[i + 1] = used;
    }
}

static void fill_levels(struct index *x, uint8_t *to, const struct plan *p)
{
    uint64_t *below = (uint64_t *)(void *)(to + p->level_at[0]);

    for (size_t i = x->count; i < p->level_len[0]; i++)
        below[i] = UINT64_MAX;
    for (uint32_t l = 1; l < p->levels; l++) {
        uint64_t *level = (uint64_t *)(void *)(to + p->level_at[l]);
        size_t groups = p->level_len[l - 1] / INDEX_FAN;

        for (size_t i = 0; i < p->level_len[l]; i++)
            level[i] = i < groups ? below[i * INDEX_FAN + INDEX_FAN - 1] : UINT64_MAX;
        below = level;
    }
}

struct index *index_build(uint8_t *to, const uint8_t *raw, size_t len,
                          const struct index_size *size)
{
    struct index *x = (struct index *)(void *)to;
    struct plan p;

    x->count = get_u32le(raw);
    plan_make(&p, len, x->count, size->prefix_len);
    assert(p.bytes == size->memory_bytes);
    x->levels = p.levels;
    x->prefix_len = size->prefix_len;
    memcpy(to + p.prefix, raw + INDEX_HEAD_BYTES + INDEX_ROW_BYTES, x->prefix_len);
    x->prefix = to + p.prefix;
    for (uint32_t l = 0; l < p.levels; l++)
        x->level[l] = (const uint64_t *)(void *)(to + p.level_at[l]);
    x->at = (const uint64_t *)(void *)(to + p.at);
    x->before = (const uint64_t *)(void *)(to + p.before);
    x->checksums = (const uint64_t *)(void *)(to + p.checksums);
    x->separator_at = (const uint32_t *)(void *)(to + p.separator_at);
    x->separators = to + p.separators;
    fill_rows(x, (uint64_t *)(void *)(to + p.level_at[0]), (uint64_t *)(void *)(to + p.at),
              (uint64_t *)(void *)(to + p.before), (uint64_t *)(void *)(to + p.checksums),
              (uint32_t *)(void *)(to + p.separator_at), to + p.separators, raw, len);
    fill_levels(x, to, &p);
    return x;
}

/* ---- searching ---- */

uint32_t index_settle_equal(const struct index *x, uint32_t i, struct quern_slice key)
{
    uint32_t low = i, high, step = 1;

    if (key_compare(index_separator_of(x, i), key) >= 0)
        return i;
    /* Many separators with one head: double the step, then halve. `low` is below the key. */
    while (low + step < x->count && key_compare(index_separator_of(x, low + step), key) < 0) {
        low += step;
        step *= 2;
    }
    high = low + step < x->count ? low + step : x->count;
    while (low + 1 < high) {
        uint32_t middle = low + (high - low) / 2;

        if (key_compare(index_separator_of(x, middle), key) < 0)
            low = middle;
        else
            high = middle;
    }
    return high;
}

uint32_t index_search(const struct index *x, struct quern_slice key)
{
    int order = index_prefix_order(x, key);
    uint64_t head;
    uint32_t at = 0;

    if (order != 0)
        return order < 0 ? 0 : x->count;
    head = key_head(key, x->prefix_len);
    for (uint32_t l = x->levels; l-- > 0;)
        at = index_step(x->level[l], at, head);
    return index_settle(x, at, head, key);
}
