/* iter.c - many cursors as one: a loser tree.
 *
 * Each input stands on its best entry; inner node k of the tree remembers the input that lost
 * there, node 0 the winner of all. After the winner has moved, only the losers on its way up can
 * beat it: log2(n) comparisons, and most of them of two heads.
 *
 *             [0] winner
 *             [1]                 input i enters at node (n + i) / 2,
 *          [2]   [3]              the parent of node k is k / 2
 *         i0 i1  i2 i3
 *
 * Runs of keys from one input are common. Where the same input wins twice in a row, the best of
 * the losers on its way is remembered as `rival`, and the first 24 bytes of its key as three
 * numbers, `bound`; while the winner keeps ahead of it, a step costs one comparison, nearly always
 * with the bound alone, and the tree stays as it is.
 *
 * Forward, every input but the winner stands on its first entry after the winner's; backward, on
 * its last entry before it. Turning round re-establishes that for the others, with the winner as
 * the mark. Inputs over a growing MemDB may show new entries on the way: hence the loops there.
 *
 * Order of the merge: entry_compare(), then the number of the input. */
#include "iter/iter.h"

#include "base/alloc.h"

#include <assert.h>

#define NO_RIVAL UINT32_MAX

struct merge {
    struct iter base;
    uint32_t n;
    bool backward;
    uint32_t rival; /* the best loser on the winner's way, or NO_RIVAL: not known */
    /* What sorts below it in the direction of travel comes before the rival: the heads of its key,
     * inverted when backward. Zeros, where nothing is known. */
    uint64_t bound[3];
    uint32_t *tree; /* [0] the winner, [1..n-1] losers; lies behind the inputs */
    struct iter *inputs[];
};

static struct merge *merge_of(struct iter *it)
{
    return (struct merge *)it;
}

/* ---- order ---- */

/* The place of entry a of input `i` against entry b of input `j`; never 0 for i != j. */
static int merge_order(const struct iter *a, uint32_t i, const struct iter *b, uint32_t j)
{
    uint64_t x, y;
    int order;

    if (a->head != b->head)
        return a->head < b->head ? -1 : 1;
    x = key_head(a->at.key, 8);
    y = key_head(b->at.key, 8);
    if (x == y) {
        x = key_head(a->at.key, 16);
        y = key_head(b->at.key, 16);
    }
    if (x != y)
        return x < y ? -1 : 1;
    order = entry_compare(&a->at, &b->at);
    return order != 0 ? order : (i > j) - (i < j);
}

/* Does input `i` come before `j` in the direction of travel? Those that ended come last. */
static bool beats(const struct merge *g, uint32_t i, uint32_t j)
{
    const struct iter *a = g->inputs[i], *b = g->inputs[j];

    if (!a->valid || !b->valid)
        return a->valid;
    return (merge_order(a, i, b, j) < 0) != g->backward;
}

/* ---- tree ---- */

/* Let input `i` climb to the root: who wins goes on, who loses stays. */
static void climb(struct merge *g, uint32_t i)
{
    for (uint32_t k = (g->n + i) / 2; k > 0; k /= 2) {
        if (beats(g, g->tree[k], i)) {
            uint32_t winner = g->tree[k];

            g->tree[k] = i;
            i = winner;
        }
    }
    g->tree[0] = i;
}

/* The winner of the subtree under node `k`, remembering the losers. The depth is log2(n). */
static uint32_t play(struct merge *g, uint32_t k)
{
    uint32_t a, b;

    if (k >= g->n)
        return k - g->n;
    a = play(g, 2 * k);
    b = play(g, 2 * k + 1);
    if (beats(g, b, a)) {
        g->tree[k] = a;
        return b;
    }
    g->tree[k] = b;
    return a;
}

static void forget_rival(struct merge *g)
{
    g->rival = NO_RIVAL;
    g->bound[0] = g->bound[1] = g->bound[2] = 0;
}

/* All bits, where what is greater comes first. */
static inline uint64_t inversion(const struct merge *g)
{
    return -(uint64_t)g->backward;
}

static void find_rival(struct merge *g)
{
    uint32_t k = (g->n + g->tree[0]) / 2;
    const struct iter *rival;

    g->rival = g->tree[k];
    for (k /= 2; k > 0; k /= 2)
        if (beats(g, g->tree[k], g->rival))
            g->rival = g->tree[k];
    rival = g->inputs[g->rival];
    g->bound[0] = rival->valid ? rival->head ^ inversion(g) : UINT64_MAX;
    g->bound[1] = rival->valid ? key_head(rival->at.key, 8) ^ inversion(g) : UINT64_MAX;
    g->bound[2] = rival->valid ? key_head(rival->at.key, 16) ^ inversion(g) : UINT64_MAX;
}

/* Does the first 24 bytes' order say that the winner, which has moved, is ahead still? */
static inline bool below_bound(const struct merge *g, const struct iter *winner)
{
    uint64_t head = winner->head ^ inversion(g);

    if (head != g->bound[0])
        return head < g->bound[0];
    head = key_head(winner->at.key, 8) ^ inversion(g);
    if (head != g->bound[1])
        return head < g->bound[1];
    return (key_head(winner->at.key, 16) ^ inversion(g)) < g->bound[2];
}

/* ---- standing ---- */

static inline void stand_on(struct merge *g, const struct iter *winner)
{
    g->base.valid = true;
    g->base.head = winner->head;
    g->base.at = winner->at;
}

/* Stand on the winner's entry, or nowhere. */
static void show(struct merge *g)
{
    const struct iter *winner = g->inputs[g->tree[0]];

    g->base.valid = false;
    if (winner->valid)
        stand_on(g, winner);
}

/* An input that ended in an error ends the merge. */
static bool failed(struct merge *g, const struct iter *input)
{
    if (LIKELY(input->valid || input->err.code == QUERN_OK))
        return false;
    g->base.valid = false;
    g->base.err = input->err;
    return true;
}

/* All inputs have been placed. */
static void restart(struct merge *g, bool backward)
{
    g->backward = backward;
    forget_rival(g);
    g->base.err.code = QUERN_OK;
    for (uint32_t i = 0; i < g->n; i++)
        if (failed(g, g->inputs[i]))
            return;
    g->tree[0] = play(g, 1);
    show(g);
}

/* The winner has moved, and may have been overtaken. */
static void contest(struct merge *g)
{
    uint32_t before = g->tree[0];

    if (failed(g, g->inputs[before]))
        return;
    if (g->rival == NO_RIVAL || !beats(g, before, g->rival)) {
        forget_rival(g);
        climb(g, before);
        if (g->tree[0] == before)
            find_rival(g);
    }
    show(g);
}

static inline void settle(struct merge *g, const struct iter *winner)
{
    if (LIKELY(winner->valid && below_bound(g, winner)))
        stand_on(g, winner);
    else
        contest(g);
}

/* ---- turning round ---- */

/* Move input `i` to its first entry after the winner's. */
static void place_after(struct merge *g, uint32_t i)
{
    struct iter *it = g->inputs[i], *mark = g->inputs[g->tree[0]];

    if (it->valid)
        iter_next(it);
    else
        iter_seek(it, mark->at.key);
    while (it->valid && merge_order(it, i, mark, g->tree[0]) < 0)
        iter_next(it);
}

/* Move input `i` to its last entry before the winner's. */
static void place_before(struct merge *g, uint32_t i)
{
    struct iter *it = g->inputs[i], *mark = g->inputs[g->tree[0]];

    if (!it->valid) { /* it has ended, but may have newer versions of the mark's key */
        iter_seek(it, mark->at.key);
        while (it->valid && merge_order(it, i, mark, g->tree[0]) < 0)
            iter_next(it);
        if (it->valid)
            iter_prev(it);
        else if (it->err.code == QUERN_OK)
            iter_last(it);
    } else {
        iter_prev(it);
    }
    while (it->valid && merge_order(it, i, mark, g->tree[0]) > 0)
        iter_prev(it);
}

COLD static void turn(struct merge *g)
{
    uint32_t winner = g->tree[0];

    for (uint32_t i = 0; i < g->n; i++) {
        if (i == winner)
            continue;
        if (g->backward)
            place_after(g, i);
        else
            place_before(g, i);
    }
    if (g->backward)
        iter_next(g->inputs[winner]);
    else
        iter_prev(g->inputs[winner]);
    restart(g, !g->backward);
}

/* ---- iter_ops ---- */

static void merge_first(struct iter *it)
{
    struct merge *g = merge_of(it);

    for (uint32_t i = 0; i < g->n; i++)
        iter_first(g->inputs[i]);
    restart(g, false);
}

static void merge_last(struct iter *it)
{
    struct merge *g = merge_of(it);

    for (uint32_t i = 0; i < g->n; i++)
        iter_last(g->inputs[i]);
    restart(g, true);
}

static void merge_seek(struct iter *it, struct quern_slice key)
{
    struct merge *g = merge_of(it);

    for (uint32_t i = 0; i < g->n; i++)
        iter_seek(g->inputs[i], key);
    restart(g, false);
}

static void merge_seek_below(struct iter *it, struct quern_slice key)
{
    struct merge *g = merge_of(it);

    for (uint32_t i = 0; i < g->n; i++)
        iter_seek_below(g->inputs[i], key);
    restart(g, true);
}

static void merge_next(struct iter *it)
{
    struct merge *g = merge_of(it);
    struct iter *winner;

    assert(it->valid);
    if (UNLIKELY(g->backward)) {
        turn(g);
        return;
    }
    winner = g->inputs[g->tree[0]];
    iter_next(winner);
    settle(g, winner);
}

static void merge_prev(struct iter *it)
{
    struct merge *g = merge_of(it);
    struct iter *winner;

    assert(it->valid);
    if (UNLIKELY(!g->backward)) {
        turn(g);
        return;
    }
    winner = g->inputs[g->tree[0]];
    iter_prev(winner);
    settle(g, winner);
}

static void merge_free(struct iter *it)
{
    struct merge *g = merge_of(it);

    for (uint32_t i = 0; i < g->n; i++)
        iter_free(g->inputs[i]);
    alloc_free(g);
}

static bool merge_hash(const struct iter *it, uint64_t *hash)
{
    const struct merge *g = (const struct merge *)it;

    return iter_hash(g->inputs[g->tree[0]], hash);
}

/* Each input passes over what it can. Those that stand behind the bound have nothing there. */
static bool merge_pass(struct iter *it, quern_seq seq, struct quern_slice to, bool backward)
{
    struct merge *g = merge_of(it);
    bool left = false, moved = false;

    if (g->backward != backward)
        return false;
    for (uint32_t i = 0; i < g->n; i++) {
        struct iter *input = g->inputs[i];
        int order = !input->valid || to.len == 0 ? 0 : key_compare(input->at.key, to);

        if (!input->valid || (to.len != 0 && (backward ? order < 0 : order >= 0)) ||
            !iter_pass(input, seq, to, backward))
            continue;
        moved = true;
        left |= i == g->tree[0];
    }
    if (moved)
        restart(g, backward);
    return left || !it->valid; /* an input may have failed */
}

static const struct iter_ops merge_ops = {
    .first = merge_first,
    .last = merge_last,
    .seek = merge_seek,
    .seek_below = merge_seek_below,
    .next = merge_next,
    .prev = merge_prev,
    .free = merge_free,
    .hash = merge_hash,
    .pass = merge_pass,
};

enum quern_code iter_merge(struct iter **inputs, size_t n, struct iter **out,
                           struct quern_error *err)
{
    struct merge *g;

    if (n == 0)
        return iter_empty(out, err);
    if (n == 1) {
        *out = inputs[0];
        return QUERN_OK;
    }
    assert(n < NO_RIVAL);
    g = alloc_zeroed(sizeof(*g) + n * (sizeof(g->inputs[0]) + sizeof(g->tree[0])));
    if (g == NULL) {
        for (size_t i = 0; i < n; i++)
            iter_free(inputs[i]);
        return err_memory(err, "merge of cursors");
    }
    g->base.ops = &merge_ops;
    g->n = (uint32_t)n;
    g->tree = (uint32_t *)(void *)(g->inputs + n);
    memcpy(g->inputs, inputs, n * sizeof(g->inputs[0]));
    *out = &g->base;
    return QUERN_OK;
}

/* ---- nothing ---- */

static void empty_move(struct iter *it)
{
    it->valid = false;
}

static void empty_seek(struct iter *it, struct quern_slice key)
{
    (void)key;
    it->valid = false;
}

static void empty_free(struct iter *it)
{
    alloc_free(it);
}

static const struct iter_ops empty_ops = {
    .first = empty_move,
    .last = empty_move,
    .seek = empty_seek,
    .seek_below = empty_seek,
    .next = empty_move,
    .prev = empty_move,
    .free = empty_free,
};

enum quern_code iter_empty(struct iter **out, struct quern_error *err)
{
    struct iter *it = NEW(struct iter);

    if (it == NULL)
        return err_memory(err, "empty cursor");
    it->ops = &empty_ops;
    *out = it;
    return QUERN_OK;
}
