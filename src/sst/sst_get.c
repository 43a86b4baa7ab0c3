/* sst_get.c - point reads: filter, index, block, entry; one at a time or many in step.
 *
 *      filter line --> index lines --> slot --> block head, heads --> offset --> key, value
 *         |no                                                            (each arrow: a cache miss)
 *         '--> absent
 *
 * The last table that may hold a key most likely does. There a filter that is not in memory is
 * passed by until a search without it was in vain.
 *
 * A single read walks the arrows. Many reads walk them side by side: each stage does one step for
 * every lookup and prefetches what the next stage will touch, so that the misses of one stage
 * overlap. Blocks that must come from disk are read in file order; the reads of all of them are
 * begun before the first is waited for.
 *
 * Several versions of a key lie next to each other, newest first, and may go on in the next block:
 * a search that runs off a block's end while still on its key goes on there (table_settle()). */
#include "sst/table_priv.h"

#include "base/alloc.h"
#include "base/hash.h"

/* Is entry i what the lookup wants, and so nearly all that is found? If not, what the block says of
 * versions and of equal heads is still to be asked (block_search_from(), table_settle()). */
static inline bool take_entry(const struct block *b, uint32_t i, struct sst_lookup *l)
{
    if (UNLIKELY(i >= b->count || !key_equal(block_key(b, i), l->key) || block_seq(b, i) > l->seq))
        return false;
    l->found = true;
    block_entry(b, i, &l->entry);
    return true;
}

enum quern_code table_settle(struct sst *t, const struct index *x, uint32_t b,
                             struct held_block *held, uint32_t i, struct sst_lookup *l,
                             struct quern_error *err)
{
    for (;;) {
        struct block block;
        bool goes_on;

        block_view(&block, held->bytes);
        if (take_entry(&block, i, l)) {
            l->owned = held->owned;
            return QUERN_OK;
        }
        if (i < block.count)
            break;
        goes_on = b + 1 < x->count && key_equal(block_key(&block, block.count - 1), l->key);
        if (!goes_on)
            break;
        alloc_free(held->owned);
        held->owned = NULL;
        if (table_block(t, x, ++b, l->cached, held, err))
            return err->code;
        block_view(&block, held->bytes);
        i = block_search(&block, l->key, l->seq);
    }
    alloc_free(held->owned);
    table_want_filter(t);
    return QUERN_OK;
}

void sst_prefetch_filter(struct sst *t, uint64_t hash)
{
    struct frame *f = slot_get(&t->filter);

    if (LIKELY(f != NULL)) {
        struct filter filter = frame_filter(f);

        __builtin_prefetch(filter_line(&filter, hash));
    }
}

/* The blocks of a group of the index have their slots in one or two lines. */
void sst_prefetch_index(struct sst *t, struct quern_slice key)
{
    struct frame *f = slot_get(&t->index);

    if (LIKELY(f != NULL)) {
        const struct index *x = frame_index(f);
        uint32_t group = index_search_group(x, key);

        __builtin_prefetch(x->level[0] + (size_t)group * INDEX_FAN);
        __builtin_prefetch((const void *)table_slot(t, group * INDEX_FAN));
    }
}

void sst_prefetch_block(struct sst *t, struct quern_slice key)
{
    struct frame *f = slot_get(&t->index);
    const struct index *x;
    uint32_t b;

    if (UNLIKELY(f == NULL))
        return;
    x = frame_index(f);
    b = index_search(x, key);
    f = b < x->count ? slot_get(table_slot(t, b)) : NULL;
    if (f != NULL)
        frame_prefetch_columns(f);
}

static void prefetch_entry(const struct block *b, uint32_t i)
{
    if (LIKELY(i < b->count)) {
        const uint8_t *entry = b->bytes + block_offset(b, i);

        __builtin_prefetch(entry);
        __builtin_prefetch(entry + 64);
    }
}

enum quern_code sst_get(struct sst *t, struct sst_lookup *l, struct quern_error *err)
{
    struct frame *index, *filter;
    const struct index *x;
    struct held_block held = {0};
    struct block block;
    uint32_t b, i;

    l->found = false;
    l->owned = NULL;
    l->by_filter = table_asks_filter(t, l->last);
    if (l->by_filter) {
        struct filter view;

        if (table_filter(t, l->cached, &filter, err))
            return table_error(t, err);
        view = frame_filter(filter);
        if (!filter_may_hold(&view, l->hash)) {
            l->denied++;
            return QUERN_OK;
        }
        l->let_through++;
    }
    if (table_index(t, l->cached, &index, err))
        return table_error(t, err);
    x = frame_index(index);
    b = index_search(x, l->key);
    if (b == x->count)
        return QUERN_OK;
    held.frame = slot_get(table_slot(t, b));
    if (LIKELY(held.frame != NULL)) {
        frame_prefetch_columns(held.frame);
        cache_count_hits(t->cache, 1);
        frame_touch(held.frame, CHANCES_BLOCK);
        held.bytes = frame_block(held.frame);
    } else if (l->cached ? table_not_cached(err) : table_load_block(t, x, b, &held, err)) {
        return table_error(t, err);
    }
    block_view(&block, held.bytes);
    i = block_search_heads(&block, l->key);
    prefetch_entry(&block, i);
    if (LIKELY(take_entry(&block, i, l))) {
        l->owned = held.owned;
        return QUERN_OK;
    }
    i = block_search_from(&block, i, l->key, l->seq);
    return table_settle(t, x, b, &held, i, l, err) ? table_error(t, err) : QUERN_OK;
}

enum quern_code sst_rank(struct sst *t, struct quern_slice key, uint64_t *rank,
                         struct quern_error *err)
{
    struct held_block held = {0};
    struct frame *index;
    const struct index *x;
    enum quern_code code;
    uint32_t b;

    rcu_enter();
    code = table_index(t, false, &index, err);
    if (code == QUERN_OK) {
        x = frame_index(index);
        b = index_search(x, key);
        *rank = x->before[b];
        if (b < x->count) {
            code = table_block(t, x, b, false, &held, err);
            if (code == QUERN_OK) {
                struct block block;

                block_view(&block, held.bytes);
                *rank += block_search(&block, key, UINT64_MAX);
                alloc_free(held.owned);
            }
        }
    }
    rcu_leave();
    return code == QUERN_OK ? QUERN_OK : table_error(t, err);
}

/* ---- many ---- */

/* One lookup on its way through the stages. */
struct step {
    struct sst_lookup *l;
    const struct index *x;
    const uint8_t *filter_line; /* NULL: there is no filter */
    struct frame *frame;
    uint64_t head;
    uint32_t probes;
    uint32_t at;    /* place in the index, then block */
    uint32_t found; /* place in the block */
    struct block block;
};

/* Lookups under way are named by their place in the caller's arrays, in live[0, n). */
struct steps {
    enum quern_code *codes;
    struct quern_error *errs;
    size_t n;
    uint8_t live[SST_LOOKUPS_MAX];
    struct step step[SST_LOOKUPS_MAX];
};

/* The lookup k came to grief; its story is in errs[k]. */
static void step_failed(struct steps *s, size_t k)
{
    s->codes[k] = table_error(s->step[k].l->table, &s->errs[k]);
}

/* Take up all lookups and fetch the lines of their filters. */
static void stage_filter(struct steps *s, struct sst_lookup **lookups, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        struct sst_lookup *l = lookups[k];
        struct step *p = &s->step[k];
        struct frame *f;

        l->found = false;
        l->owned = NULL;
        s->codes[k] = QUERN_OK;
        p->l = l;
        p->filter_line = NULL;
        if (table_asks_filter(l->table, l->last)) {
            struct filter filter;

            if (UNLIKELY(table_filter(l->table, l->cached, &f, &s->errs[k]))) {
                step_failed(s, k);
                continue;
            }
            filter = frame_filter(f);
            p->filter_line = filter_line(&filter, l->hash);
            p->probes = filter.probes;
            __builtin_prefetch(p->filter_line);
        }
        s->live[s->n++] = (uint8_t)k;
    }
}

/* Keep only the lookups that their filters let through, and begin to search the index: the top of
 * the tree is one line. Returns how many levels the highest tree has. */
static uint32_t stage_index(struct steps *s)
{
    uint32_t levels_max = 0;
    size_t kept = 0;

    for (size_t j = 0; j < s->n; j++) {
        uint8_t k = s->live[j];
        struct step *p = &s->step[k];
        const struct index *x;
        struct frame *f;
        uint32_t top;

        p->l->by_filter = p->filter_line != NULL;
        if (p->l->by_filter && !filter_line_may_hold(p->filter_line, p->probes, p->l->hash)) {
            p->l->denied++;
            continue;
        }
        p->l->let_through += p->l->by_filter;
        if (UNLIKELY(table_index(p->l->table, p->l->cached, &f, &s->errs[k]))) {
            step_failed(s, k);
            continue;
        }
        p->x = x = frame_index(f);
        p->head = key_head(p->l->key, x->prefix_len);
        top = x->levels - 1;
        p->at = index_step(x->level[top], 0, p->head);
        if (top > 0)
            __builtin_prefetch(x->level[top - 1] + (size_t)p->at * INDEX_FAN);
        levels_max = x->levels > levels_max ? x->levels : levels_max;
        s->live[kept++] = k;
    }
    s->n = kept;
    return levels_max;
}

/* Down the trees side by side to their lowest level, those with fewer levels starting later. */
static void descend(struct steps *s, uint32_t levels_max)
{
    for (uint32_t level = levels_max; level-- > 1;)
        for (size_t j = 0; j < s->n; j++) {
            struct step *p = &s->step[s->live[j]];

            if (level + 1 >= p->x->levels)
                continue;
            p->at = index_step(p->x->level[level], p->at, p->head);
            __builtin_prefetch(p->x->level[level - 1] + (size_t)p->at * INDEX_FAN);
        }
}

/* Find the block of each; those past the last block are absent. */
static void stage_slots(struct steps *s)
{
    size_t kept = 0;

    for (size_t j = 0; j < s->n; j++) {
        uint8_t k = s->live[j];
        struct step *p = &s->step[k];
        const struct index *x = p->x;
        int order = index_prefix_order(x, p->l->key);

        if (UNLIKELY(order != 0)) { /* where its head led says nothing */
            p->at = order < 0 ? 0 : x->count;
        } else {
            if (LIKELY(x->levels > 1))
                p->at = index_step(x->level[0], p->at, p->head);
            p->at = index_settle(x, p->at, p->head, p->l->key);
        }
        if (p->at < x->count) {
            __builtin_prefetch((const void *)table_slot(p->l->table, p->at));
            s->live[kept++] = k;
        }
    }
    s->n = kept;
}

static bool reads_after(const struct step *a, const struct step *b)
{
    if (a->l->table != b->l->table)
        return a->l->table->meta.table_no > b->l->table->meta.table_no;
    return a->at > b->at;
}

static void sort_by_place(struct steps *s, uint8_t *missing, size_t n)
{
    for (size_t a = 1; a < n; a++) /* few: sort by insertion */
        for (size_t z = a; z > 0 && reads_after(&s->step[missing[z - 1]], &s->step[missing[z]]);
             z--) {
            uint8_t swap = missing[z];

            missing[z] = missing[z - 1];
            missing[z - 1] = swap;
        }
}

/* Begin to read the blocks of these lookups, which are sorted. A single one that is waited for next
 * gains nothing by that. */
static void start_reads(const struct steps *s, const uint8_t *missing, size_t n)
{
    const struct step *before = NULL;

    for (size_t j = 0; j < n; j++) {
        const struct step *p = &s->step[missing[j]];
        bool begun = before != NULL && before->l->table == p->l->table && before->at == p->at;
        bool may_wait = !p->l->cached;

        if (!begun && (may_wait ? n > 1 : p->l->prefetch))
            os_file_start_read(p->l->table->file, p->x->at[p->at],
                               p->x->at[p->at + 1] - p->x->at[p->at]);
        before = p;
    }
}

/* Read what is not in the cache, in file order, and finish those lookups. */
static void read_missing(struct steps *s, uint8_t *missing, size_t n)
{
    sort_by_place(s, missing, n);
    start_reads(s, missing, n);
    for (size_t j = 0; j < n; j++) {
        struct step *p = &s->step[missing[j]];
        struct quern_error *err = &s->errs[missing[j]];
        struct held_block held = {0};
        enum quern_code code = table_block(p->l->table, p->x, p->at, p->l->cached, &held, err);

        if (code == QUERN_OK) {
            block_view(&p->block, held.bytes);
            code = table_settle(p->l->table, p->x, p->at, &held,
                                block_search(&p->block, p->l->key, p->l->seq), p->l, err);
        }
        if (code != QUERN_OK)
            step_failed(s, missing[j]);
    }
}

static void stage_frames(struct steps *s)
{
    uint8_t missing[SST_LOOKUPS_MAX];
    size_t kept = 0, missed = 0;

    for (size_t j = 0; j < s->n; j++) {
        uint8_t k = s->live[j];
        struct step *p = &s->step[k];

        p->frame = slot_get(table_slot(p->l->table, p->at));
        if (p->frame == NULL) {
            missing[missed++] = k;
            continue;
        }
        frame_prefetch(p->frame);
        s->live[kept++] = k;
    }
    s->n = kept;
    if (kept != 0)
        cache_count_hits(s->step[s->live[0]].l->table->cache, (uint32_t)kept);
    if (missed != 0)
        read_missing(s, missing, missed);
}

/* Search the head column of each block, then fetch what the entry found there consists of. */
static void stage_blocks(struct steps *s)
{
    for (size_t j = 0; j < s->n; j++) {
        struct step *p = &s->step[s->live[j]];

        frame_touch(p->frame, CHANCES_BLOCK);
        block_view(&p->block, frame_block(p->frame));
        p->found = block_search_heads(&p->block, p->l->key);
        __builtin_prefetch(p->block.offsets + (size_t)p->found * 2);
        __builtin_prefetch(p->block.deltas + (size_t)p->found * 4);
    }
    for (size_t j = 0; j < s->n; j++) {
        const struct step *p = &s->step[s->live[j]];

        prefetch_entry(&p->block, p->found);
    }
    for (size_t j = 0; j < s->n; j++) {
        uint8_t k = s->live[j];
        struct step *p = &s->step[k];
        struct held_block held = {p->block.bytes, p->frame, NULL};
        uint32_t i;

        if (LIKELY(take_entry(&p->block, p->found, p->l)))
            continue;
        i = block_search_from(&p->block, p->found, p->l->key, p->l->seq);
        if (table_settle(p->l->table, p->x, p->at, &held, i, p->l, &s->errs[k]))
            step_failed(s, k);
    }
}

void sst_get_many(struct sst_lookup **lookups, size_t n, enum quern_code *codes,
                  struct quern_error *errs)
{
    struct steps s;

    ensure(n <= SST_LOOKUPS_MAX);
    s.codes = codes;
    s.errs = errs;
    s.n = 0;
    stage_filter(&s, lookups, n);
    descend(&s, stage_index(&s));
    stage_slots(&s);
    stage_frames(&s);
    stage_blocks(&s);
}
