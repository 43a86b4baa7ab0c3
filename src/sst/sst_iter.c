/* sst_iter.c - a cursor over one table.
 *
 * It stands on entry `i` of block `b`. The block is held in one of three ways:
 *
 *      frame    pinned in the cache (all, with SST_CACHED; those found there, else)
 *      owned    memory of its own: a large block, or a compressed one that was read ahead
 *      ahead    inside the piece of the file that was read ahead
 *
 * One block is held at a time, and the index is pinned for the cursor's life. A step inside a block
 * touches its columns and nothing else; a step across goes through hold(). */
#include "sst/table_priv.h"

#include <inttypes.h>

#define AHEAD_BYTES_MIN (UINT32_C(128) << 10)
#define AHEAD_BYTES_MAX (UINT32_C(1) << 20)

struct sst_iter {
    struct iter base; /* first: a cursor is cast to it and back */
    struct sst *t;
    struct frame *index; /* pinned */
    const struct index *x;
    enum sst_walk walk;
    bool counting;       /* a whole walk is under way: */
    uint64_t count, sum; /* the entries it has met, and their hashes */

    struct block block;
    uint32_t b, i;
    struct frame *frame; /* pinned, or NULL */
    void *owned;         /* or NULL */

    /* But for SST_CACHED: file bytes [ahead_at, ahead_at + ahead_len). */
    uint8_t *ahead;
    size_t ahead_capacity, ahead_len, ahead_bytes; /* the last: how much to read next time */
    uint64_t ahead_at;
};

static struct sst_iter *of(struct iter *it)
{
    return (struct sst_iter *)(void *)it;
}

static void let_go(struct sst_iter *s)
{
    frame_unpin(s->frame);
    s->frame = NULL;
    alloc_free(s->owned);
    s->owned = NULL;
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
        s->sum += sst_entry_hash(&s->base.at);
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
    enum quern_code code;

    rcu_enter();
    code = table_block(s->t, s->x, b, &held, err);
    if (code == QUERN_OK && held.frame != NULL)
        frame_pin(held.frame);
    rcu_leave();
    if (code != QUERN_OK)
        return code;
    s->frame = held.frame;
    s->owned = held.owned;
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

/* Read the piece of the file that holds block b, and more in the direction of the walk. */
static enum quern_code read_ahead(struct sst_iter *s, uint32_t b, bool backward,
                                  struct quern_error *err)
{
    const uint64_t *at = s->x->at;
    uint32_t from = b, to = b + 1; /* blocks [from, to) */

    if (s->ahead_bytes < AHEAD_BYTES_MAX)
        s->ahead_bytes = s->ahead_bytes == 0 ? AHEAD_BYTES_MIN : s->ahead_bytes * 2;
    while (!backward && to < s->x->count && at[to + 1] - at[from] <= s->ahead_bytes)
        to++;
    while (backward && from > 0 && at[to] - at[from - 1] <= s->ahead_bytes)
        from--;
    s->ahead_len = 0;
    if (at[to] - at[from] > s->ahead_capacity) {
        alloc_free(s->ahead);
        s->ahead_capacity = 0;
        s->ahead = alloc_bytes(s->ahead_bytes);
        if (s->ahead == NULL)
            return err_memory(err, "reading ahead");
        s->ahead_capacity = s->ahead_bytes;
    }
    if (os_file_read(s->t->file, s->ahead, (size_t)(at[to] - at[from]), at[from], err))
        return err->code;
    cache_count_read(s->t->cache, at[to] - at[from]);
    s->ahead_at = at[from];
    s->ahead_len = (size_t)(at[to] - at[from]);
    return QUERN_OK;
}

/* From the piece read ahead, which is made to hold block b. */
static enum quern_code hold_ahead(struct sst_iter *s, uint32_t b, bool backward,
                                  struct quern_error *err)
{
    uint64_t at = s->x->at[b], end = s->x->at[b + 1];
    const uint8_t *sealed, *bytes;
    struct unsealed u;

    if ((at < s->ahead_at || end > s->ahead_at + s->ahead_len) && read_ahead(s, b, backward, err))
        return err->code;
    sealed = bytes = s->ahead + (at - s->ahead_at);
    if (table_check_sealed(s->t, s->x, b, sealed, &u, err))
        return err->code;
    if (u.codec != SST_PLAIN) {
        s->owned = alloc_bytes(u.raw_len);
        if (s->owned == NULL)
            return err_memory(err, "a block");
        bytes = s->owned;
        if (unseal_expand(sealed, &u, s->owned, err))
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

    let_go(s);
    s->b = b;
    if (s->walk == SST_CACHED || slot_get(table_slot(s->t, b)) != NULL ||
        s->x->at[b + 1] - s->x->at[b] > CACHED_BLOCK_BYTES_MAX)
        code = hold_cached(s, b, &s->base.err);
    else
        code = hold_ahead(s, b, backward, &s->base.err);
    if (code != QUERN_OK)
        fail(s);
    else
        expect_block(s, backward);
    return code == QUERN_OK;
}

/* ---- moving ---- */

static void to_block_start(struct sst_iter *s, uint32_t b)
{
    if (b == s->x->count) {
        stop(s);
        if (s->counting)
            compare_sums(s);
    } else if (hold(s, b, false)) {
        s->i = 0;
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
        s->i = block_search(&s->block, key, UINT64_MAX);
        if (s->i == s->block.count)
            to_block_start(s, b + 1);
        else
            show(s);
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
        s->i = block_search(&s->block, key, UINT64_MAX);
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

    let_go(s);
    frame_unpin(s->index);
    alloc_free(s->ahead);
    sst_unref(s->t);
    alloc_free(s);
}

static const struct iter_ops ops = {
    .first = iter_op_first,
    .last = iter_op_last,
    .seek = iter_op_seek,
    .seek_below = iter_op_seek_below,
    .next = iter_op_next,
    .prev = iter_op_prev,
    .free = iter_op_free,
};

enum quern_code sst_iter(struct sst *t, enum sst_walk walk, struct iter **out,
                         struct quern_error *err)
{
    struct sst_iter *s = NEW(struct sst_iter);
    enum quern_code code;

    if (s == NULL)
        return err_memory(err, "a cursor");
    rcu_enter();
    code = table_index(t, &s->index, err);
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
