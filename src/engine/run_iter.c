/* run_iter.c - a cursor over the tables of one run, one after the other; trims respected.
 *
 * Holds a cursor into one table at a time, and for one step the cursor into the table that was left
 * (iter.h says for whom). A trimmed table begins at its lower bound: seeks are
 * clamped to it and a backward walk leaves the table there. */
#include "engine/version.h"

#include "base/alloc.h"

struct run_iter {
    struct iter base;
    struct table *const *tables;
    size_t count, at; /* tables[at] is the one `inner` walks */
    struct iter *inner, *left;
    enum sst_walk walk;
};

static struct run_iter *of(struct iter *it)
{
    return (struct run_iter *)it;
}

/* Show what the inner cursor stands on. */
static void show(struct run_iter *r)
{
    r->base.valid = r->inner->valid;
    if (LIKELY(r->inner->valid)) {
        r->base.at = r->inner->at;
        r->base.head = r->inner->head;
    } else if (r->inner->err.code != QUERN_OK) {
        r->base.err = r->inner->err;
    }
}

/* Make tables[at] the one being walked. False: there is none, or it cannot be read. */
static bool enter(struct run_iter *r, size_t at)
{
    struct iter *inner;

    r->base.valid = false;
    if (at >= r->count)
        return false;
    if (r->inner != NULL && r->at == at)
        return true;
    if (sst_iter(r->tables[at]->sst, r->walk, &inner, &r->base.err))
        return false;
    if (r->left == NULL)
        r->left = r->inner;
    else
        iter_free(r->inner);
    r->inner = inner;
    r->at = at;
    return true;
}

/* A move begins: nothing is borrowed any more from what the move before it left. */
static inline void forget_left(struct run_iter *r)
{
    if (UNLIKELY(r->left != NULL)) {
        iter_free(r->left);
        r->left = NULL;
    }
}

static bool ended(const struct run_iter *r)
{
    return !r->base.valid && r->base.err.code == QUERN_OK;
}

/* To the first visible entry of tables[at], or of the next that has one. */
static void first_from(struct run_iter *r, size_t at)
{
    for (; enter(r, at); at++) {
        const struct table *t = r->tables[at];

        if (t->trimmed)
            iter_seek(r->inner, buf_slice(&t->smallest));
        else
            iter_first(r->inner);
        show(r);
        if (!ended(r))
            return;
    }
}

/* After a backward move inside tables[at]: stop at its lower bound. */
static void clamp_low(struct run_iter *r)
{
    const struct table *t = r->tables[r->at];

    if (r->base.valid && t->trimmed && key_compare(r->base.at.key, buf_slice(&t->smallest)) < 0)
        r->base.valid = false;
}

/* To the last visible entry of tables[at - 1], or of one before that has one. */
static void last_before(struct run_iter *r, size_t at)
{
    r->base.valid = false;
    while (at-- > 0 && enter(r, at)) {
        iter_last(r->inner);
        show(r);
        clamp_low(r);
        if (!ended(r))
            return;
    }
}

static size_t lower(const struct run_iter *r, struct quern_slice key)
{
    size_t low = 0, high = r->count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (key_compare(buf_slice(&r->tables[mid]->largest), key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void run_first(struct iter *it)
{
    forget_left(of(it));
    err_clear(&it->err);
    first_from(of(it), 0);
}

static void run_last(struct iter *it)
{
    forget_left(of(it));
    err_clear(&it->err);
    last_before(of(it), of(it)->count);
}

static void run_seek(struct iter *it, struct quern_slice key)
{
    struct run_iter *r = of(it);
    size_t at = lower(r, key);

    forget_left(r);
    err_clear(&it->err);
    if (!enter(r, at))
        return;
    if (key_compare(key, buf_slice(&r->tables[at]->smallest)) <= 0) {
        first_from(r, at);
        return;
    }
    iter_seek(r->inner, key);
    show(r);
    if (ended(r))
        first_from(r, at + 1);
}

static void run_seek_below(struct iter *it, struct quern_slice key)
{
    struct run_iter *r = of(it);
    size_t at = lower(r, key);

    forget_left(r);
    err_clear(&it->err);
    it->valid = false;
    if (at < r->count && key_compare(buf_slice(&r->tables[at]->smallest), key) < 0) {
        if (!enter(r, at))
            return;
        iter_seek_below(r->inner, key);
        show(r);
        clamp_low(r);
        if (!ended(r))
            return;
    }
    last_before(r, at);
}

static void run_next(struct iter *it)
{
    struct run_iter *r = of(it);

    forget_left(r);
    iter_next(r->inner);
    show(r);
    if (UNLIKELY(ended(r)))
        first_from(r, r->at + 1);
}

static void run_prev(struct iter *it)
{
    struct run_iter *r = of(it);

    forget_left(r);
    iter_prev(r->inner);
    show(r);
    clamp_low(r);
    if (UNLIKELY(ended(r)))
        last_before(r, r->at);
}

static bool is_older(const struct table *t, quern_seq seq)
{
    return sst_meta(t->sst)->seq_max < seq;
}

/* Tables that are older as a whole are passed over, up to the first that is not. */
static bool pass_forward(struct run_iter *r, quern_seq seq, struct quern_slice to)
{
    size_t at = r->at;

    while (at < r->count && is_older(r->tables[at], seq) &&
           (to.len == 0 || key_compare(buf_slice(&r->tables[at]->largest), to) < 0))
        at++;
    if (at < r->count && is_older(r->tables[at], seq)) {
        run_seek(&r->base, to);
        return true;
    }
    if (at == r->at)
        return false;
    forget_left(r);
    first_from(r, at);
    return true;
}

static bool pass_backward(struct run_iter *r, quern_seq seq, struct quern_slice to)
{
    size_t end = r->at + 1; /* behind the first that stays */

    while (end > 0 && is_older(r->tables[end - 1], seq) &&
           key_compare(buf_slice(&r->tables[end - 1]->smallest), to) >= 0)
        end--;
    if (end > 0 && is_older(r->tables[end - 1], seq)) {
        run_seek_below(&r->base, to);
        return true;
    }
    if (end == r->at + 1)
        return false;
    forget_left(r);
    last_before(r, end);
    return true;
}

static bool run_pass(struct iter *it, quern_seq seq, struct quern_slice to, bool backward)
{
    return backward ? pass_backward(of(it), seq, to) : pass_forward(of(it), seq, to);
}

static void run_free(struct iter *it)
{
    iter_free(of(it)->inner);
    iter_free(of(it)->left);
    alloc_free(it);
}

static bool run_hash(const struct iter *it, uint64_t *hash)
{
    return iter_hash(((const struct run_iter *)it)->inner, hash);
}

static const struct iter_ops run_iter_ops = {
    .first = run_first,
    .last = run_last,
    .seek = run_seek,
    .seek_below = run_seek_below,
    .next = run_next,
    .prev = run_prev,
    .free = run_free,
    .hash = run_hash,
    .pass = run_pass,
};

enum quern_code tables_iter(struct table *const *tables, size_t count, enum sst_walk walk,
                            struct iter **out, struct quern_error *err)
{
    struct run_iter *r;

    r = NEW(struct run_iter);
    if (r == NULL)
        return err_memory(err, "a cursor over a run");
    r->base.ops = &run_iter_ops;
    r->tables = tables;
    r->count = count;
    r->walk = walk;
    *out = &r->base;
    return QUERN_OK;
}

enum quern_code run_iter(const struct run *run, enum sst_walk walk, struct iter **out,
                         struct quern_error *err)
{
    return tables_iter(run->tables, run->count, walk, out, err);
}
