/* mem_iter.c - a cursor over a MemDB.
 *
 * It copies the refs of a whole leaf at once, checks that the leaf did not change meanwhile, and
 * walks its copy. Leaves only ever split to the right, so the copied link leads to the leaf that
 * follows the copied keys, whatever has happened since. Going backwards, the leaf before is found
 * by a descent to the greatest key below the first of the copy.
 *
 *     window:  refs[0] .. refs[at] .. refs[count - 1]  -> link
 *                          |
 *     versions:        newest -> older -> ... -> 0      `ref` is where the cursor stands
 *
 * Versions are chained from new to old only. Where the cursor must go from old to new, it lists the
 * chain of that one key in `chain`, newest first, and walks the list. Of several versions with
 * one number (one batch wrote the key twice) the first in the chain alone is shown, and nothing that
 * is older than the newest one at or below `as_of`: a key that was written a thousand times since the
 * MemDB began costs a scan of the present no more than one that was written once. */
#include "mem/mem_priv.h"

#include "base/alloc.h"

#define PREFETCH_AHEAD 8u

struct mem_iter {
    struct iter base;
    struct mem *m;
    quern_seq as_of; /* 0: all versions are shown */
    arena_ref refs[NODE_SLOTS];
    uint32_t count, at;
    arena_ref link; /* the leaf after the window */
    arena_ref ref;  /* the version it stands on */
    /* The versions shown of refs[at], newest first, when chain_len is not 0. */
    arena_ref *chain;
    size_t chain_len, chain_at, chain_capacity;
};

static struct mem_iter *mem_iter_of(struct iter *it)
{
    return (struct mem_iter *)it;
}

/* ---- standing ---- */

static void stand_nowhere(struct mem_iter *c)
{
    c->base.valid = false;
    c->base.err.code = QUERN_OK;
}

static void stand_on(struct mem_iter *c, arena_ref ref)
{
    c->ref = ref;
    mem_entry_read(mem_entry(c->m, ref), &c->base.at);
    c->base.head = key_head(c->base.at.key, 0);
    c->base.valid = true;
}

/* The version after `ref` that is shown; 0: none. */
static arena_ref shown_after(const struct mem_iter *c, arena_ref ref)
{
    const struct mem_entry *e = mem_entry(c->m, ref);
    arena_ref older = e->seq > c->as_of ? e->older : 0;

    while (older != 0 && mem_entry(c->m, older)->seq == e->seq)
        older = mem_entry(c->m, older)->older;
    return older;
}

static bool chain_append(struct mem_iter *c, arena_ref ref)
{
    if (c->chain_len == c->chain_capacity) {
        size_t capacity = c->chain_capacity == 0 ? 64 : 2 * c->chain_capacity;
        arena_ref *more = alloc_resize(c->chain, capacity * sizeof(arena_ref));

        if (more == NULL)
            return false;
        c->chain = more;
        c->chain_capacity = capacity;
    }
    c->chain[c->chain_len++] = ref;
    return true;
}

/* List the versions of the key at the window's `at`; false: no memory, and the cursor says so. */
static bool chain_list(struct mem_iter *c)
{
    c->chain_len = 0;
    for (arena_ref ref = c->refs[c->at]; ref != 0; ref = shown_after(c, ref)) {
        if (ref == c->ref)
            c->chain_at = c->chain_len;
        if (!chain_append(c, ref)) {
            c->chain_len = 0;
            c->base.valid = false;
            (void)err_memory(&c->base.err, "the versions of one key");
            return false;
        }
    }
    return true;
}

/* On the newest version of the window's slot `at`. */
static void stand_on_newest(struct mem_iter *c, uint32_t at)
{
    c->at = at;
    c->chain_len = 0;
    stand_on(c, c->refs[at]);
}

/* On the oldest version of the window's slot `at`. */
static void stand_on_oldest(struct mem_iter *c, uint32_t at)
{
    stand_on_newest(c, at);
    if (shown_after(c, c->ref) == 0 || !chain_list(c))
        return;
    c->chain_at = c->chain_len - 1;
    stand_on(c, c->chain[c->chain_at]);
}

/* ---- the window ---- */

static void window_copy(struct mem_iter *c, const struct node *leaf)
{
    c->count = shape_count(LOAD(leaf->shape));
    for (uint32_t i = 0; i < c->count; i++)
        c->refs[i] = LOAD(leaf->refs[i]);
    c->link = LOAD(leaf->link);
}

/* Copy the leaf that a descent leads to; returns the number of its keys below `key`. */
static uint32_t window_find(struct mem_iter *c, enum descent how, struct quern_slice key)
{
    for (;;) {
        uint64_t version;
        const struct node *leaf = tree_descend(c->m, how, key, &version);
        uint32_t at = 0;
        bool found;

        if (how == TO_KEY || how == TO_BELOW)
            at = node_find(c->m, leaf, key, &found);
        window_copy(c, leaf);
        if (node_unchanged(leaf, version))
            return at;
    }
}

static void window_prefetch(const struct mem_iter *c, uint32_t at)
{
    uint32_t end = at + PREFETCH_AHEAD < c->count ? at + PREFETCH_AHEAD : c->count;

    if (c->link != 0)
        node_prefetch(mem_node(c->m, c->link));
    for (; at < end; at++)
        mem_entry_prefetch(c->m, c->refs[at]);
}

/* The window is used up: on to the first key of the next leaf, if there is one. A leaf that a link
 * leads to is never empty. */
static void window_next(struct mem_iter *c)
{
    const struct node *leaf = mem_node(c->m, c->link);
    uint64_t version;

    if (c->link == 0) {
        stand_nowhere(c);
        return;
    }
    do {
        version = node_begin(leaf);
        window_copy(c, leaf);
    } while (!node_unchanged(leaf, version));
    window_prefetch(c, 0);
    stand_on_newest(c, 0);
}

/* On the last entry below `key`. */
static void window_below(struct mem_iter *c, struct quern_slice key)
{
    uint32_t at = window_find(c, TO_BELOW, key);

    if (at == 0) {
        stand_nowhere(c);
        return;
    }
    for (uint32_t i = at > PREFETCH_AHEAD ? at - PREFETCH_AHEAD : 0; i < at; i++)
        mem_entry_prefetch(c->m, c->refs[i]);
    stand_on_oldest(c, at - 1);
}

/* ---- iter_ops ---- */

static void mem_iter_seek(struct iter *it, struct quern_slice key)
{
    struct mem_iter *c = mem_iter_of(it);
    uint32_t at = window_find(c, TO_KEY, key);

    if (at == c->count) {
        window_next(c);
        return;
    }
    window_prefetch(c, at);
    stand_on_newest(c, at);
}

static void mem_iter_seek_below(struct iter *it, struct quern_slice key)
{
    window_below(mem_iter_of(it), key);
}

static void mem_iter_first(struct iter *it)
{
    struct mem_iter *c = mem_iter_of(it);

    (void)window_find(c, TO_FIRST, slice_of(NULL, 0));
    if (c->count == 0) {
        stand_nowhere(c);
        return;
    }
    window_prefetch(c, 0);
    stand_on_newest(c, 0);
}

static void mem_iter_last(struct iter *it)
{
    struct mem_iter *c = mem_iter_of(it);

    (void)window_find(c, TO_LAST, slice_of(NULL, 0));
    if (c->count == 0)
        stand_nowhere(c);
    else
        stand_on_oldest(c, c->count - 1);
}

static void mem_iter_next(struct iter *it)
{
    struct mem_iter *c = mem_iter_of(it);
    arena_ref older = shown_after(c, c->ref);

    assert(it->valid);
    if (older != 0) {
        c->chain_at++; /* means nothing while there is no list */
        stand_on(c, older);
    } else if (c->at + 1 < c->count) {
        if (c->at + 1 + PREFETCH_AHEAD < c->count)
            mem_entry_prefetch(c->m, c->refs[c->at + 1 + PREFETCH_AHEAD]);
        stand_on_newest(c, c->at + 1);
    } else {
        window_next(c);
    }
}

static void mem_iter_prev(struct iter *it)
{
    struct mem_iter *c = mem_iter_of(it);

    assert(it->valid);
    if (c->ref != c->refs[c->at]) { /* a newer version of the same key */
        if (c->chain_len == 0 && !chain_list(c))
            return;
        stand_on(c, c->chain[--c->chain_at]);
    } else if (c->at > 0) {
        if (c->at > PREFETCH_AHEAD)
            mem_entry_prefetch(c->m, c->refs[c->at - 1 - PREFETCH_AHEAD]);
        stand_on_oldest(c, c->at - 1);
    } else {
        window_below(c, it->at.key);
    }
}

static void mem_iter_free(struct iter *it)
{
    struct mem_iter *c = mem_iter_of(it);

    mem_unref(c->m);
    alloc_free(c->chain);
    alloc_free(c);
}

/* All or nothing: where the entries lie does not tell how old they are. */
static bool mem_iter_pass(struct iter *it, quern_seq seq, struct quern_slice to, bool backward)
{
    struct mem_iter *c = mem_iter_of(it);

    if (COUNTER(c->m->seq_max) >= seq)
        return false;
    if (to.len == 0)
        stand_nowhere(c);
    else if (backward)
        mem_iter_seek_below(it, to);
    else
        mem_iter_seek(it, to);
    return true;
}

static const struct iter_ops mem_iter_ops = {
    .first = mem_iter_first,
    .last = mem_iter_last,
    .seek = mem_iter_seek,
    .seek_below = mem_iter_seek_below,
    .next = mem_iter_next,
    .prev = mem_iter_prev,
    .free = mem_iter_free,
    .pass = mem_iter_pass,
};

enum quern_code mem_iter(struct mem *m, quern_seq as_of, struct iter **out, struct quern_error *err)
{
    struct mem_iter *c = NEW(struct mem_iter);

    if (c == NULL)
        return err_memory(err, "MemDB cursor");
    c->base.ops = &mem_iter_ops;
    c->m = m;
    c->as_of = as_of;
    mem_ref(m);
    *out = &c->base;
    return QUERN_OK;
}
