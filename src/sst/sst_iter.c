/* sst_iter.c - a cursor over one table.
 *
 * It stands on entry `i` of block `b`. The block is held in one of three ways:
 *
 *      frame    pinned in the cache (all, with SST_CACHED; those found there, else)
 *      owned    memory of its own: a block that the cache does not admit, or a compressed one that
 *               was read ahead
 *      ahead    inside the piece of the file that was read ahead
 *
 * Beside it the block held before is kept, so that the entry that a step leaves stays readable for
 * as long as iter.h promises; of what was read ahead so is the piece before. The index is pinned
 * for the cursor's life. A step inside a block touches its columns and nothing else; a step across
 * goes through hold().
 *
 * Time goes to cache misses: of a block that is in the cache its head and columns are fetched
 * before the pin, whose atomic add would make the loads behind it wait, and the entries found by a
 * seek before they are looked at. */
#include "sst/table_priv.h"

#include <inttypes.h>

#define AHEAD_BYTES_MIN (UINT32_C(128) << 10)
#define AHEAD_BYTES_MAX (UINT32_C(512) << 10)
/* Entries from where a seek lands on, fetched at once. */
#define SEEK_BYTES 512u
/* Where a seek lands so near the end of a block, the next one is on its way at once. */
#define SEEK_STEPS 16u

/* Who keeps a block in memory: one of the two, or neither. */
struct holder {
    struct frame *frame; /* pinned */
    void *owned;
};

/* File bytes [at, at + len). */
struct piece {
    uint8_t *bytes;
    size_t capacity, len;
    uint64_t at;
};

struct sst_iter {
    struct iter base; /* first: a cursor is cast to it and back */
    struct sst *t;
    struct frame *index; /* pinned */
    const struct index *x;
    enum sst_walk walk;
    bool counting;       /* a whole walk is under way: */
    uint64_t count, sum; /* the entries it has met, and their hashes; */
    uint64_t hash;       /* that of the one it stands on */

    struct block block;
    uint32_t b, i;
    struct holder held, before; /* of `block`, and of the one before it */

    /* But for SST_CACHED. */
    struct piece ahead, ahead_before;
    size_t ahead_bytes; /* how much to read next time */
};

static struct sst_iter *of(struct iter *it)
{
    return (struct sst_iter *)(void *)it;
}

static void let_go(struct holder *h)
{
    frame_unpin(h->frame);
    alloc_free(h->owned);
    *h = (struct holder){0};
}

static void stop(struct sst_iter *s)
{
    s->base.valid = false;
}

static void fail(struct sst_iter *s)
{
    (void)table_error(s->t, &s->base.err);
    s->base.valid = false;
}

static inline void show(struct sst_iter *s)
{
    block_entry(&s->block, s->i, &s->base.at);
    s->base.head = key_head(s->base.at.key, 0);
    s->base.valid = true;
    if (s->counting) {
        s->count++;
        s->hash = sst_entry_hash(&s->base.at);
        s->sum += s->hash;
    }
}

/* A whole walk has come to the end: did it meet what was written? */
static void compare_sums(struct sst_iter *s)
{
    const struct table_meta *want = &s->t->meta;

    s->counting = false;
    if (s->count == want->entry_count && s->sum == want->entry_hash)
        return;
    (void)err_set(&s->base.err, QUERN_CORRUPT,
                  "%" PRIu64 " entries were read and %" PRIu64 " written, and they differ",
                  s->count, want->entry_count);
    fail(s);
}

/* ---- holding a block ---- */

/* Through the cache. */
static enum quern_code hold_cached(struct sst_iter *s, uint32_t b, struct quern_error *err)
{
    struct held_block held = {0};
    struct frame *expected;
    enum quern_code code;

    rcu_enter();
    expected = slot_get(table_slot(s->t, b));
    if (LIKELY(expected != NULL))
        frame_prefetch_columns(expected);
    code = table_block(s->t, s->x, b, false, &held, err);
    if (code == QUERN_OK && held.frame != NULL)
        frame_pin(held.frame);
    rcu_leave();
    if (code != QUERN_OK)
        return code;
    s->held = (struct holder){held.frame, held.owned};
    block_view(&s->block, held.bytes);
    return QUERN_OK;
}

/* Have the start of the block that comes next on its way while this one is walked. The frame may be
 * gone by then, or now: a prefetch of memory that is no more does no harm. */
static void expect_block(struct sst_iter *s, bool backward)
{
    uint32_t b = backward ? s->b - 1 : s->b + 1;
    struct frame *f = b < s->x->count ? slot_get(table_slot(s->t, b)) : NULL;

    if (f != NULL)
        frame_prefetch(f);
}

/* Room for `bytes`: what there is, if it is neither too small nor left by a far larger block. Memory
 * that comes anew for each large block would be pages to make and to take back. */
static enum quern_code piece_fit(struct piece *p, size_t bytes, size_t usual,
                                 struct quern_error *err)
{
    size_t capacity = bytes > usual ? bytes : usual;

    if (bytes <= p->capacity && p->capacity / 4 <= capacity)
        return QUERN_OK;
    alloc_free(p->bytes);
    p->capacity = 0;
    p->bytes = alloc_bytes(capacity);
    if (p->bytes == NULL)
        return err_memory(err, "reading ahead");
    p->capacity = capacity;
    return QUERN_OK;
}

/* Read the piece of the file that holds block b, and more in the direction of the walk, in the
 * place of the piece before the last. */
static enum quern_code read_ahead(struct sst_iter *s, uint32_t b, bool backward,
                                  struct quern_error *err)
{
    const uint64_t *at = s->x->at;
    uint32_t from = b, to = b + 1; /* blocks [from, to) */
    struct piece *p = &s->ahead, last = s->ahead;

    *p = s->ahead_before;
    s->ahead_before = last;
    if (s->ahead_bytes < AHEAD_BYTES_MAX)
        s->ahead_bytes = s->ahead_bytes == 0 ? AHEAD_BYTES_MIN : s->ahead_bytes * 2;
    while (!backward && to < s->x->count && at[to + 1] - at[from] <= s->ahead_bytes)
        to++;
    while (backward && from > 0 && at[to] - at[from - 1] <= s->ahead_bytes)
        from--;
    p->len = 0;
    if (piece_fit(p, (size_t)(at[to] - at[from]), s->ahead_bytes, err) ||
        os_file_read(s->t->file, p->bytes, (size_t)(at[to] - at[from]), at[from], err))
        return err->code;
    cache_count_read(s->t->cache, at[to] - at[from]);
    p->at = at[from];
    p->len = (size_t)(at[to] - at[from]);
    return QUERN_OK;
}

/* From the piece read ahead, which is made to hold block b. */
static enum quern_code hold_ahead(struct sst_iter *s, uint32_t b, bool backward,
                                  struct quern_error *err)
{
    uint64_t at = s->x->at[b], end = s->x->at[b + 1];
    const struct piece *p = &s->ahead;
    const uint8_t *sealed, *bytes;
    struct unsealed u;

    if ((at < p->at || end > p->at + p->len) && read_ahead(s, b, backward, err))
        return err->code;
    sealed = bytes = p->bytes + (at - p->at);
    if (table_check_sealed(s->t, s->x, b, sealed, &u, err))
        return err->code;
    if (u.codec != SST_PLAIN) {
        s->held.owned = alloc_bytes(u.raw_len);
        if (s->held.owned == NULL)
            return err_memory(err, "a block");
        bytes = s->held.owned;
        if (unseal_expand(sealed, &u, s->held.owned, err))
            return err_in(err, "block at %" PRIu64, at);
    }
    if (table_check_plain(s->x, b, bytes, u.raw_len, err))
        return err->code;
    block_view(&s->block, bytes);
    return QUERN_OK;
}

/* Hold block b instead of the one held now. False: the cursor has failed. */
static bool hold(struct sst_iter *s, uint32_t b, bool backward)
{
    enum quern_code code;

    let_go(&s->before);
    s->before = s->held;
    s->held = (struct holder){0};
    s->b = b;
    if (s->walk == SST_CACHED || slot_get(table_slot(s->t, b)) != NULL)
        code = hold_cached(s, b, &s->base.err);
    else
        code = hold_ahead(s, b, backward, &s->base.err);
    if (code != QUERN_OK)
        fail(s);
    return code == QUERN_OK;
}

/* ---- moving ---- */

/* The first entry of the block held that is not below `key`; block->count: none. What follows it is
 * on its way then. */
static uint32_t find_in_block(const struct sst_iter *s, struct quern_slice key)
{
    const struct block *b = &s->block;
    uint32_t i = block_search_heads(b, key);

    if (i < b->count)
        for (size_t at = 0; at < SEEK_BYTES; at += 64)
            __builtin_prefetch(b->bytes + block_offset(b, i) + at);
    return block_search_from(b, i, key, UINT64_MAX);
}

static void to_block_start(struct sst_iter *s, uint32_t b)
{
    if (b == s->x->count) {
        stop(s);
        if (s->counting)
            compare_sums(s);
    } else if (hold(s, b, false)) {
        s->i = 0;
        expect_block(s, false);
        show(s);
    }
}

/* To the last entry before block b. */
static void to_block_end(struct sst_iter *s, uint32_t b)
{
    if (b == 0) {
        stop(s);
    } else if (hold(s, b - 1, true)) {
        s->i = s->block.count - 1;
        expect_block(s, true);
        show(s);
    }
}

static void iter_op_first(struct iter *it)
{
    struct sst_iter *s = of(it);

    err_clear(&it->err);
    s->counting = s->walk == SST_WHOLE;
    s->count = s->sum = 0;
    to_block_start(s, 0);
}

static void iter_op_last(struct iter *it)
{
    err_clear(&it->err);
    of(it)->counting = false;
    to_block_end(of(it), of(it)->x->count);
}

static void iter_op_seek(struct iter *it, struct quern_slice key)
{
    struct sst_iter *s = of(it);
    uint32_t b = index_search(s->x, key);

    err_clear(&it->err);
    s->counting = false;
    if (b == s->x->count) {
        stop(s);
    } else if (hold(s, b, false)) {
        s->i = find_in_block(s, key);
        if (s->i == s->block.count) {
            to_block_start(s, b + 1);
        } else {
            if (s->block.count - s->i <= SEEK_STEPS)
                expect_block(s, false);
            show(s);
        }
    }
}

static void iter_op_seek_below(struct iter *it, struct quern_slice key)
{
    struct sst_iter *s = of(it);
    uint32_t b = index_search(s->x, key);

    err_clear(&it->err);
    s->counting = false;
    if (b == s->x->count) {
        to_block_end(s, b);
    } else if (hold(s, b, true)) {
        s->i = find_in_block(s, key);
        if (s->i == 0) {
            to_block_end(s, b);
        } else {
            s->i--;
            show(s);
        }
    }
}

static void iter_op_next(struct iter *it)
{
    struct sst_iter *s = of(it);

    if (LIKELY(s->i + 1 < s->block.count)) {
        s->i++;
        show(s);
    } else {
        to_block_start(s, s->b + 1);
    }
}

static void iter_op_prev(struct iter *it)
{
    struct sst_iter *s = of(it);

    s->counting = false;
    if (LIKELY(s->i > 0)) {
        s->i--;
        show(s);
    } else {
        to_block_end(s, s->b);
    }
}

static void iter_op_free(struct iter *it)
{
    struct sst_iter *s = of(it);

    let_go(&s->held);
    let_go(&s->before);
    frame_unpin(s->index);
    alloc_free(s->ahead.bytes);
    alloc_free(s->ahead_before.bytes);
    sst_unref(s->t);
    alloc_free(s);
}

static bool iter_op_hash(const struct iter *it, uint64_t *hash)
{
    const struct sst_iter *s = (const struct sst_iter *)(const void *)it;

    *hash = s->hash;
    return s->counting;
}

static const struct iter_ops ops = {
    .first = iter_op_first,
    .last = iter_op_last,
    .seek = iter_op_seek,
    .seek_below = iter_op_seek_below,
    .next = iter_op_next,
    .prev = iter_op_prev,
    .free = iter_op_free,
    .hash = iter_op_hash,
};

enum quern_code sst_iter(struct sst *t, enum sst_walk walk, struct iter **out,
                         struct quern_error *err)
{
    struct sst_iter *s = NEW(struct sst_iter);
    enum quern_code code;

    if (s == NULL)
        return err_memory(err, "a cursor");
    rcu_enter();
    code = table_index(t, false, &s->index, err);
    if (code == QUERN_OK)
        frame_pin(s->index);
    rcu_leave();
    if (code != QUERN_OK) {
        alloc_free(s);
        return table_error(t, err);
    }
    sst_ref(t);
    s->base.ops = &ops;
    s->t = t;
    s->x = frame_index(s->index);
    s->walk = walk;
    *out = &s->base;
    return QUERN_OK;
}
