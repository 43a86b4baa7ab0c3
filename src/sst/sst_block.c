/* sst_block.c - a data block: columns first, then every key and value whole.
 *
 *      0  u32 count            1 or more
 *      4  u8  flags            BLOCK_*: which columns are there
 *      5  u8  prefix_len       bytes that all keys begin with
 *      6  u16 zero
 *      8  u32 key_len          of every key, or 0 with BLOCK_KEY_LENS
 *     12  u32 zero
 *     16  prefix, zeros up to a multiple of 8
 *         u64 head[count]      key_head(key, prefix_len)
 *         u64 seq              the one, or the base of the deltas; or u64 seq[count]
 *         u64 expires[count]   if any entry expires
 *         u32 delta[count]     seq = base + delta
 *         w   offset[count+1]  of each key from byte 0; the last one is the block's length
 *         w   key_len[count]   if they differ          (w: u16, or u32 in a block of 64 KiB up)
 *         u8  kind[count]      if not all are puts
 *         key, value, key, value ...
 *
 * The columns fall in width, so each is aligned when the block is. Any entry is one step away; a
 * search touches the head column, which is dense, and then as a rule one key. */
#include "sst/block_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <assert.h>

struct block_note {
    quern_seq seq;
    uint64_t expires_ms;
    uint32_t at, key_len; /* of the key in `data` */
    uint8_t kind;
};

/* ---- checking ---- */

const char *block_check(const uint8_t *bytes, size_t len)
{
    struct block b;
    uint64_t n, width, columns;

    if (len < BLOCK_HEAD_BYTES || len > UINT32_MAX)
        return "block of impossible size";
    n = get_u32le(bytes);
    if (n == 0 || (bytes[4] & ~BLOCK_FLAGS) != 0 || get_u16le(bytes + 6) != 0 ||
        get_u32le(bytes + 12) != 0 || bytes[5] > BLOCK_PREFIX_MAX)
        return "block head out of shape";
    if ((bytes[4] & BLOCK_SEQ_DELTA) && (bytes[4] & BLOCK_SEQ_WIDE))
        return "block head out of shape";
    width = (bytes[4] & BLOCK_WIDE) ? 4 : 2;
    columns = 8 * n + ((bytes[4] & BLOCK_SEQ_WIDE) ? 8 * n : 8) +
              ((bytes[4] & BLOCK_EXPIRIES) ? 8 * n : 0) +
              ((bytes[4] & BLOCK_SEQ_DELTA) ? 4 * n : 0) + width * (n + 1) +
              ((bytes[4] & BLOCK_KEY_LENS) ? width * n : 0) + ((bytes[4] & BLOCK_KINDS) ? n : 0);
    if (BLOCK_HEAD_BYTES + round_up(bytes[5], 8) + columns > len)
        return "block columns reach past its end";
    block_view(&b, bytes);
    if (block_offset(&b, 0) != (size_t)(b.data - bytes) || block_offset(&b, b.count) != len)
        return "block entries do not fill it";
    for (uint32_t i = 0; i < b.count; i++) {
        uint64_t at = block_offset(&b, i), end = block_offset(&b, i + 1);
        size_t key_len = block_key(&b, i).len;

        if (at > end || end > len || key_len > end - at)
            return "block entry reaches past its end";
        if (key_len == 0 || key_len < b.prefix_len || key_len > ENTRY_KEY_BYTES_MAX ||
            end - at - key_len > ENTRY_VALUE_BYTES_MAX)
            return "block entry of impossible size";
        if ((b.flags & BLOCK_KINDS) && (b.kinds[i] < ENTRY_PUT || b.kinds[i] > ENTRY_RANGE_DELETE))
            return "block entry of unknown kind";
    }
    return NULL;
}

/* ---- searching ---- */

/* The first of heads[0, n) that is not below `head`. No branch depends on what is compared, so
 * nothing is mispredicted. */
static uint32_t heads_search(const uint8_t *heads, uint32_t n, uint64_t head)
{
    uint32_t low = 0;

    while (n > 1) {
        uint32_t half = n / 2;

        low += half & -(uint32_t)(get_u64le(heads + 8 * (size_t)(low + half - 1)) < head);
        n -= half;
    }
    return low + (get_u64le(heads + 8 * (size_t)low) < head);
}

uint32_t block_search_heads(const struct block *b, struct quern_slice key)
{
    struct quern_slice prefix = slice_of(b->bytes + BLOCK_HEAD_BYTES, b->prefix_len);

    if (UNLIKELY(!key_begins(key, prefix.data, prefix.len)))
        return key_compare(key, prefix) < 0 ? 0 : b->count;
    return heads_search(b->heads, b->count, key_head(key, b->prefix_len));
}

/* Does entry i come before (key, seq)? */
static bool entry_before(const struct block *b, uint32_t i, struct quern_slice key, quern_seq seq)
{
    int order = key_compare(block_key(b, i), key);

    return order < 0 || (order == 0 && block_seq(b, i) > seq);
}

uint32_t block_search_from(const struct block *b, uint32_t i, struct quern_slice key, quern_seq seq)
{
    uint32_t low = i, high = b->count, step = 1;

    if (i == b->count || !entry_before(b, i, key, seq))
        return i;
    /* Equal heads, or several versions. The answer is near as a rule:
     * double the step, then halve. */
    while (low + step < high && entry_before(b, low + step, key, seq)) {
        low += step;
        step *= 2;
    }
    if (low + step < high)
        high = low + step;
    while (low + 1 < high) { /* low is before, high is not (or is the end) */
        uint32_t middle = low + (high - low) / 2;

        if (entry_before(b, middle, key, seq))
            low = middle;
        else
            high = middle;
    }
    return high;
}

uint32_t block_search(const struct block *b, struct quern_slice key, quern_seq seq)
{
    return block_search_from(b, block_search_heads(b, key), key, seq);
}

/* ---- building ---- */

static enum quern_code grow_notes(struct block_builder *b, struct quern_error *err)
{
    uint32_t capacity = b->capacity == 0 ? 64 : b->capacity * 2;
    struct block_note *notes = alloc_resize(b->notes, sizeof(*notes) * (size_t)capacity);

    if (notes == NULL)
        return err_memory(err, "a block");
    b->notes = notes;
    b->capacity = capacity;
    return QUERN_OK;
}

/* The columns that the entries would ask for with `e` among them, those of the numbers left out. */
static uint8_t flags_with(const struct block_builder *b, const struct entry *e)
{
    uint32_t flags = b->flags;

    flags |= e->expires_ms != 0 ? BLOCK_EXPIRIES : 0;
    flags |= e->kind != ENTRY_PUT ? BLOCK_KINDS : 0;
    flags |= b->count != 0 && e->key.len != b->notes[0].key_len ? BLOCK_KEY_LENS : 0;
    return (uint8_t)flags;
}

enum quern_code block_builder_add(struct block_builder *b, const struct entry *e, bool outside,
                                  struct quern_error *err)
{
    size_t value_len = outside ? 0 : e->value.len;
    struct block_note *note;
    uint8_t *to;

    if (b->count == b->capacity && grow_notes(b, err))
        return err->code;
    if (e->key.len + value_len > b->data.capacity - b->data.len &&
        buf_reserve(&b->data, e->key.len + value_len, err))
        return err->code;
    note = &b->notes[b->count];
    note->seq = e->seq;
    note->expires_ms = e->expires_ms;
    note->at = (uint32_t)b->data.len;
    note->key_len = (uint32_t)e->key.len;
    note->kind = (uint8_t)e->kind;
    to = b->data.data + b->data.len;
    if (value_len != 0 && e->value.data == (const uint8_t *)e->key.data + e->key.len) {
        memcpy(to, e->key.data, e->key.len + value_len); /* as MemDBs and tables hold them */
    } else {
        memcpy(to, e->key.data, e->key.len);
        if (value_len != 0)
            memcpy(to + e->key.len, e->value.data, value_len);
    }
    b->data.len += e->key.len + value_len;
    b->outside_bytes = outside ? e->value.len : 0;
    b->flags = flags_with(b, e);
    b->seq_min = b->count == 0 || e->seq < b->seq_min ? e->seq : b->seq_min;
    b->seq_max = e->seq > b->seq_max ? e->seq : b->seq_max;
    b->count++;
    return QUERN_OK;
}

static uint32_t seq_flags(quern_seq min, quern_seq max)
{
    if (min == max)
        return 0;
    return max - min <= UINT32_MAX ? BLOCK_SEQ_DELTA : BLOCK_SEQ_WIDE;
}

static size_t columns_bytes(size_t n, uint32_t flags)
{
    size_t width = (flags & BLOCK_WIDE) ? 4 : 2;
    size_t each = 8 + width; /* head and offset of an entry, and what else it has */

    each += (flags & BLOCK_SEQ_WIDE) ? 8 : 0;
    each += (flags & BLOCK_EXPIRIES) ? 8 : 0;
    each += (flags & BLOCK_SEQ_DELTA) ? 4 : 0;
    each += (flags & BLOCK_KEY_LENS) ? width : 0;
    each += (flags & BLOCK_KINDS) ? 1 : 0;
    return n * each + ((flags & BLOCK_SEQ_WIDE) ? 0 : 8) + width;
}

size_t block_builder_bytes(const struct block_builder *b, const struct entry *e)
{
    size_t n = b->count, data = b->data.len, bytes;
    quern_seq min = b->seq_min, max = b->seq_max;
    uint32_t flags = b->flags;

    if (e != NULL) {
        data += e->key.len + e->value.len;
        flags = flags_with(b, e);
        min = n == 0 || e->seq < min ? e->seq : min;
        max = e->seq > max ? e->seq : max;
        n++;
    }
    bytes = BLOCK_HEAD_BYTES + data + columns_bytes(n, seq_flags(min, max) | flags);
    /* Wide offsets and key lengths cost two bytes more each. */
    return bytes + BLOCK_PREFIX_MAX + b->outside_bytes < 65536 ? bytes : bytes + 4 * n + 2;
}

static struct quern_slice note_key(const struct block_builder *b, uint32_t i)
{
    return slice_of(b->data.data + b->notes[i].at, b->notes[i].key_len);
}

static void put_width(uint8_t *column, bool wide, size_t i, uint32_t v)
{
    if (wide)
        put_u32le(column + 4 * i, v);
    else
        put_u16le(column + 2 * i, (uint16_t)v);
}

static void build_columns(const struct block_builder *b, const struct block *to, uint32_t data_at)
{
    bool wide = (to->flags & BLOCK_WIDE) != 0;

    put_u64le((uint8_t *)to->seqs, b->seq_min);
    for (uint32_t i = 0; i < b->count; i++) {
        const struct block_note *note = &b->notes[i];

        put_u64le((uint8_t *)to->heads + 8 * (size_t)i, key_head(note_key(b, i), to->prefix_len));
        put_width((uint8_t *)to->offsets, wide, i, data_at + note->at);
        if (to->flags & BLOCK_SEQ_WIDE)
            put_u64le((uint8_t *)to->seqs + 8 * (size_t)i, note->seq);
        if (to->flags & BLOCK_SEQ_DELTA)
            put_u32le((uint8_t *)to->deltas + 4 * (size_t)i, (uint32_t)(note->seq - b->seq_min));
        if (to->flags & BLOCK_EXPIRIES)
            put_u64le((uint8_t *)to->expiries + 8 * (size_t)i, note->expires_ms);
        if (to->flags & BLOCK_KEY_LENS)
            put_width((uint8_t *)to->key_lens, wide, i, note->key_len);
        if (to->flags & BLOCK_KINDS)
            ((uint8_t *)to->kinds)[i] = note->kind;
    }
}

size_t block_build(struct block_builder *b, uint8_t *to)
{
    uint32_t flags = seq_flags(b->seq_min, b->seq_max) | b->flags;
    size_t prefix = key_common_prefix(note_key(b, 0), note_key(b, b->count - 1));
    size_t before;
    uint64_t end;
    struct block view;

    assert(b->count > 0);
    prefix = prefix < BLOCK_PREFIX_MAX ? prefix : BLOCK_PREFIX_MAX;
    before = BLOCK_HEAD_BYTES + (size_t)round_up(prefix, 8);
    end = before + columns_bytes(b->count, flags) + b->data.len + b->outside_bytes;
    if (end > UINT16_MAX) {
        flags |= BLOCK_WIDE;
        end = before + columns_bytes(b->count, flags) + b->data.len + b->outside_bytes;
    }
    ensure(end <= UINT32_MAX);
    memset(to, 0, before);
    put_u32le(to, b->count);
    to[4] = (uint8_t)flags;
    to[5] = (uint8_t)prefix;
    put_u32le(to + 8, (flags & BLOCK_KEY_LENS) ? 0 : b->notes[0].key_len);
    memcpy(to + BLOCK_HEAD_BYTES, b->data.data, prefix);
    block_view(&view, to);
    build_columns(b, &view, (uint32_t)(view.data - to));
    put_width((uint8_t *)view.offsets, (flags & BLOCK_WIDE) != 0, b->count, (uint32_t)end);
    memcpy((uint8_t *)view.data, b->data.data, b->data.len);
    return (size_t)(end - b->outside_bytes);
}

struct quern_slice block_builder_last_key(const struct block_builder *b)
{
    return note_key(b, b->count - 1);
}

uint64_t block_builder_first_head(const struct block_builder *b)
{
    return key_head(note_key(b, 0), 0);
}

void block_builder_clear(struct block_builder *b)
{
    buf_clear(&b->data);
    b->count = 0;
    b->flags = 0;
    b->seq_min = b->seq_max = 0;
    b->outside_bytes = 0;
}

void block_builder_done(struct block_builder *b)
{
    buf_done(&b->data);
    alloc_free(b->notes);
    *b = (struct block_builder){0};
}
