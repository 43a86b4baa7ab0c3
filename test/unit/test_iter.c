/* test_iter.c - promises of src/iter/: a merge shows exactly what a sort of all inputs would. */
#include "iter/iter.h"
#include "base/alloc.h"
#include "tap.h"

#include <stdlib.h>

#define ENTRIES_MAX 512
#define INPUTS_MAX 24

/* ---- a cursor over a sorted array, which can be told to fail ---- */

struct item {
    struct entry e;
    uint8_t key[20];
    uint32_t input;
};

struct array_iter {
    struct iter base;
    struct item *items[ENTRIES_MAX];
    int n, at, moves_left; /* moves until it fails; negative: never */
    int *freed;
};

static void array_stand(struct array_iter *a, int at)
{
    a->base.err.code = QUERN_OK;
    if (a->moves_left >= 0 && a->moves_left-- == 0) {
        a->base.valid = false;
        (void)err_set(&a->base.err, QUERN_CORRUPT, "array: bad item");
        return;
    }
    a->at = at;
    a->base.valid = at >= 0 && at < a->n;
    if (a->base.valid) {
        a->base.at = a->items[at]->e;
        a->base.head = key_head(a->base.at.key, 0);
    }
}

static int array_below(const struct array_iter *a, struct quern_slice key)
{
    int n = 0;

    while (n < a->n && key_compare(a->items[n]->e.key, key) < 0)
        n++;
    return n;
}

static void array_first(struct iter *it)
{
    array_stand((struct array_iter *)it, 0);
}

static void array_last(struct iter *it)
{
    array_stand((struct array_iter *)it, ((struct array_iter *)it)->n - 1);
}

static void array_seek(struct iter *it, struct quern_slice key)
{
    array_stand((struct array_iter *)it, array_below((struct array_iter *)it, key));
}

static void array_seek_below(struct iter *it, struct quern_slice key)
{
    array_stand((struct array_iter *)it, array_below((struct array_iter *)it, key) - 1);
}

static void array_next(struct iter *it)
{
    if (EXPECT(it->valid))
        array_stand((struct array_iter *)it, ((struct array_iter *)it)->at + 1);
}

static void array_prev(struct iter *it)
{
    if (EXPECT(it->valid))
        array_stand((struct array_iter *)it, ((struct array_iter *)it)->at - 1);
}

static void array_free(struct iter *it)
{
    ++*((struct array_iter *)it)->freed;
    free(it);
}

/* Each item has its own. */
static uint64_t item_hash(const struct entry *e)
{
    return (uint64_t)(uintptr_t)e->key.data;
}

static bool array_hash(const struct iter *it, uint64_t *hash)
{
    *hash = item_hash(&it->at);
    return true;
}

/* As far as each entry may be passed over. */
static bool array_pass(struct iter *it, quern_seq seq, struct quern_slice to, bool backward)
{
    struct array_iter *a = (struct array_iter *)it;
    int at = a->at;

    for (; at >= 0 && at < a->n; at += backward ? -1 : 1) {
        const struct entry *e = &a->items[at]->e;
        int order = to.len == 0 ? (backward ? 1 : -1) : key_compare(e->key, to);

        if (e->seq >= seq || (backward ? order < 0 : order >= 0))
            break;
    }
    if (at == a->at)
        return false;
    array_stand(a, at);
    return true;
}

static const struct iter_ops array_ops = {
    .first = array_first,
    .last = array_last,
    .seek = array_seek,
    .seek_below = array_seek_below,
    .next = array_next,
    .prev = array_prev,
    .free = array_free,
    .hash = array_hash,
    .pass = array_pass,
};

/* ---- a random set of inputs and the model of their merge ---- */

struct world {
    struct item items[ENTRIES_MAX];
    struct item *sorted[ENTRIES_MAX];
    struct array_iter *arrays[INPUTS_MAX];
    struct iter *inputs[INPUTS_MAX];
    int n, input_count, freed;
};

static int item_order(const void *a, const void *b)
{
    const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
    int order = entry_compare(&x->e, &y->e);

    return order != 0 ? order : (x->input > y->input) - (x->input < y->input);
}

/* `run`: consecutive keys tend to come from one input. */
static void world_make(struct world *w, uint64_t *rnd, int input_count, int n, bool run)
{
    w->freed = 0;
    w->input_count = input_count;
    w->n = 0;
    for (int i = 0; i < input_count; i++) {
        w->arrays[i] = calloc(1, sizeof(struct array_iter));
        w->arrays[i]->base.ops = &array_ops;
        w->arrays[i]->moves_left = -1;
        w->arrays[i]->freed = &w->freed;
        w->inputs[i] = &w->arrays[i]->base;
    }
    for (int i = 0; i < n; i++) {
        struct item *it = &w->items[w->n];
        size_t len = tap_random(rnd) % 19 + 1, shared = len > 16 ? 16 : len > 8 ? 8 : 0;
        bool doubled = false;

        if (tap_random(rnd) % 2 == 0) /* heads that tie: with others of this length, or longer */
            shared = shared == 16 ? 8 : 0;
        for (size_t k = 0; k < len; k++)
            it->key[k] = k < shared ? 1 : (uint8_t)("\0\1\xff"[tap_random(rnd) % 3]);
        it->e = (struct entry){
            .key = slice_of(it->key, len), .seq = tap_random(rnd) % 4 + 1, .kind = ENTRY_PUT};
        it->input = (uint32_t)(tap_random(rnd) % (uint64_t)input_count);
        if (run)
            it->input = (uint32_t)((it->key[0] * 3 + it->key[8 < len ? 8 : 0]) % input_count);
        for (int k = 0; k < w->n; k++)
            doubled |= w->items[k].input == it->input && entry_compare(&w->items[k].e, &it->e) == 0;
        if (!doubled) {
            w->sorted[w->n] = it;
            w->n++;
        }
    }
    qsort(w->sorted, (size_t)w->n, sizeof(w->sorted[0]), item_order);
    for (int i = 0; i < w->n; i++) {
        struct array_iter *a = w->arrays[w->sorted[i]->input];

        a->items[a->n++] = w->sorted[i];
    }
}

/* The very item, not one that looks like it: ties must come in the order of the inputs. */
static bool stands_on(const struct iter *it, const struct world *w, int at)
{
    uint64_t hash;

    if (at < 0 || at >= w->n)
        return EXPECT(!it->valid) && EXPECT(it->err.code == QUERN_OK);
    return EXPECT(it->valid) && EXPECT(it->at.key.data == w->sorted[at]->key) &&
           EXPECT(it->head == key_head(it->at.key, 0)) && EXPECT(iter_hash(it, &hash)) &&
           EXPECT(hash == item_hash(&w->sorted[at]->e));
}

TEST(iter_merge_walks_both_ways_like_one_sorted_array)
{
    static struct world w;
    uint64_t rnd = tap_seed();

    for (int round = 0; round < 300; round++) {
        struct quern_error err;
        struct iter *it OWNED(iter_free) = NULL;
        int input_count = 1 + (int)(tap_random(&rnd) % INPUTS_MAX);

        world_make(&w, &rnd, input_count, (int)(tap_random(&rnd) % 200), round % 2 == 0);
        CHECK_OK(iter_merge(w.inputs, (size_t)input_count, &it, &err), &err);
        iter_first(it);
        for (int i = 0; i <= w.n; i++) {
            CHECK(stands_on(it, &w, i));
            if (it->valid)
                iter_next(it);
        }
        iter_last(it);
        for (int i = w.n - 1; i >= -1; i--) {
            CHECK(stands_on(it, &w, i));
            if (it->valid)
                iter_prev(it);
        }
    }
}

TEST(iter_merge_seeks_and_turns_round_anywhere)
{
    static struct world w;
    uint64_t rnd = tap_seed();

    for (int round = 0; round < 200; round++) {
        struct quern_error err;
        struct iter *it OWNED(iter_free) = NULL;
        int input_count = 1 + (int)(tap_random(&rnd) % INPUTS_MAX), at = -1;

        world_make(&w, &rnd, input_count, 1 + (int)(tap_random(&rnd) % 150), round % 2 == 0);
        CHECK_OK(iter_merge(w.inputs, (size_t)input_count, &it, &err), &err);
        for (int step = 0; step < 400; step++) {
            uint64_t what = tap_random(&rnd) % 16;
            struct quern_slice key = w.sorted[tap_random(&rnd) % (uint64_t)w.n]->e.key;

            if (it->valid && what < 13) { /* short walks with many turns */
                if (what < 7) {
                    iter_next(it);
                    at++;
                } else {
                    iter_prev(it);
                    at--;
                }
            } else if (what % 2 == 0) {
                key.len -= what % 4 / 2; /* also keys that are not there */
                iter_seek(it, key);
                for (at = 0; at < w.n && key_compare(w.sorted[at]->e.key, key) < 0;)
                    at++;
            } else {
                iter_seek_below(it, key);
                for (at = -1; at + 1 < w.n && key_compare(w.sorted[at + 1]->e.key, key) < 0;)
                    at++;
            }
            CHECK(stands_on(it, &w, at));
        }
    }
}

/* From sorted[at] on, in one direction: what must be met is, in order, and nothing else twice. */
static bool passes(struct iter *it, const struct world *w, int at, quern_seq seq,
                   struct quern_slice to, bool backward)
{
    int step = backward ? -1 : 1, from = at;
    bool left = iter_pass(it, seq, to, backward);

    if (!EXPECT(left == (!it->valid || it->at.key.data != w->sorted[at]->key)))
        return false;
    for (; it->valid; backward ? iter_prev(it) : iter_next(it), from += step) {
        for (; from >= 0 && from < w->n && w->sorted[from]->key != it->at.key.data; from += step) {
            const struct entry *e = &w->sorted[from]->e;
            int order = to.len == 0 ? (backward ? 1 : -1) : key_compare(e->key, to);

            if (!EXPECT(e->seq < seq) || !EXPECT(backward ? order >= 0 : order < 0))
                return false;
        }
        if (!EXPECT(from >= 0 && from < w->n))
            return false;
    }
    return true;
}

TEST(iter_merge_passes_over_what_each_input_can_and_over_nothing_else)
{
    static struct world w;
    uint64_t rnd = tap_seed();

    for (int round = 0; round < 600; round++) {
        struct quern_error err;
        struct iter *it OWNED(iter_free) = NULL;
        int input_count = 1 + (int)(tap_random(&rnd) % INPUTS_MAX), at, bound;
        struct quern_slice to = {NULL, 0};
        bool backward = tap_random(&rnd) % 2;

        world_make(&w, &rnd, input_count, 1 + (int)(tap_random(&rnd) % 200), round % 2 == 0);
        CHECK_OK(iter_merge(w.inputs, (size_t)input_count, &it, &err), &err);
        at = (int)(tap_random(&rnd) % (uint64_t)w.n);
        bound = (int)(tap_random(&rnd) % (uint64_t)(w.n + 1));
        if (bound < w.n)
            to = w.sorted[bound]->e.key;
        if (backward)
            iter_last(it);
        else
            iter_first(it);
        for (int i = backward ? w.n - 1 : 0; i != at; i += backward ? -1 : 1)
            backward ? iter_prev(it) : iter_next(it);
        CHECK(passes(it, &w, at, 1 + tap_random(&rnd) % 5, to, backward));
    }
}

TEST(iter_merge_ends_with_the_error_of_an_input_and_recovers_by_a_seek)
{
    static struct world w;
    uint64_t rnd = tap_seed();

    for (int moves = 0; moves < 20; moves++) {
        struct quern_error err;
        struct iter *it OWNED(iter_free) = NULL;

        world_make(&w, &rnd, 5, 200, false);
        CHECK(w.arrays[3]->n > moves);
        w.arrays[3]->moves_left = moves;
        CHECK_OK(iter_merge(w.inputs, 5, &it, &err), &err);
        if (moves % 2 == 0)
            for (iter_first(it); it->valid;)
                iter_next(it);
        else
            for (iter_last(it); it->valid;)
                iter_prev(it);
        CHECK_EQ(it->err.code, QUERN_CORRUPT);
        iter_first(it);
        CHECK(stands_on(it, &w, 0));
    }
}

TEST(iter_merge_frees_its_inputs_with_itself_and_when_memory_runs_out)
{
    static struct world w;
    struct quern_error err;
    uint64_t rnd = tap_seed();
    struct iter *it = NULL;

    world_make(&w, &rnd, 3, 10, false);
    alloc_fail_after(0);
    CHECK_CODE(iter_merge(w.inputs, 3, &it, &err), QUERN_NO_MEMORY);
    alloc_fail_never();
    CHECK_EQ(w.freed, 3);
    world_make(&w, &rnd, 3, 10, false);
    CHECK_OK(iter_merge(w.inputs, 3, &it, &err), &err);
    CHECK_EQ(w.freed, 0);
    iter_free(it);
    CHECK_EQ(w.freed, 3);
}

TEST(iter_merge_of_one_is_that_one_and_of_none_is_empty)
{
    static struct world w;
    struct quern_error err;
    uint64_t rnd = tap_seed();
    struct iter *it = NULL;

    world_make(&w, &rnd, 1, 10, false);
    CHECK_OK(iter_merge(w.inputs, 1, &it, &err), &err);
    CHECK(it == w.inputs[0]);
    iter_free(it);
    CHECK_OK(iter_merge(NULL, 0, &it, &err), &err);
    iter_first(it);
    CHECK(!it->valid && it->err.code == QUERN_OK);
    iter_seek(it, slice_of("x", 1));
    CHECK(!it->valid && it->err.code == QUERN_OK);
    iter_last(it);
    CHECK(!it->valid && it->err.code == QUERN_OK);
    iter_free(it);
}
