/* test_mem.c - promises of src/mem/, with one thread: against a sorted array of all versions. */
#include "mem/mem.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the model: every (key, seq) once, in the order of entries ---- */

struct model {
    struct entry *entries;
    size_t n, capacity;
};

static void model_done(struct model *md)
{
    for (size_t i = 0; i < md->n; i++) {
        free((void *)(uintptr_t)md->entries[i].key.data);
        free((void *)(uintptr_t)md->entries[i].value.data);
    }
    free(md->entries);
}

static struct quern_slice copy_of(struct quern_slice s)
{
    void *data = malloc(s.len + 1);

    if (s.len != 0)
        memcpy(data, s.data, s.len);
    return slice_of(data, s.len);
}

/* The first place whose entry is not before (key, seq). */
static size_t model_find(const struct model *md, struct quern_slice key, quern_seq seq)
{
    struct entry e = {.key = key, .seq = seq};
    size_t from = 0, to = md->n;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (entry_compare(&md->entries[middle], &e) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static void model_put(struct model *md, const struct entry *e)
{
    size_t at = model_find(md, e->key, e->seq);
    struct entry copy = *e;

    copy.key = copy_of(e->key);
    copy.value = copy_of(e->value);
    if (at < md->n && entry_compare(&md->entries[at], e) == 0) { /* the later wins */
        free((void *)(uintptr_t)md->entries[at].key.data);
        free((void *)(uintptr_t)md->entries[at].value.data);
        md->entries[at] = copy;
        return;
    }
    if (md->n == md->capacity) {
        md->capacity = md->capacity == 0 ? 256 : 2 * md->capacity;
        md->entries = realloc(md->entries, md->capacity * sizeof(md->entries[0]));
    }
    memmove(md->entries + at + 1, md->entries + at, (md->n - at) * sizeof(md->entries[0]));
    md->entries[at] = copy;
    md->n++;
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
    return key_equal(a->key, b->key) && key_equal(a->value, b->value) && a->seq == b->seq &&
           a->expires_ms == b->expires_ms && a->kind == b->kind;
}

static bool stands_on(const struct iter *it, const struct model *md, size_t at)
{
    if (at >= md->n)
        return EXPECT(!it->valid) && EXPECT(it->err.code == QUERN_OK);
    return EXPECT(it->valid) && EXPECT(same_entry(&it->at, &md->entries[at])) &&
           EXPECT(it->head == key_head(it->at.key, 0));
}

/* ---- both at once ---- */

struct both {
    struct mem *mem;
    struct model model;
    quern_seq seq;
    uint64_t needed; /* the sum of what was asked for */
};

/* Apply operations as one batch; every one is checked to fit where it must. */
static void both_apply(struct both *b, const struct entry *ops, size_t n)
{
    struct buf bytes OWNED_BUF = {0};
    struct quern_error err;
    struct batch_ref batch;
    struct mem_info info;

    b->seq++;
    for (size_t i = 0; i < n; i++) {
        struct entry e = ops[i];

        e.seq = b->seq;
        CHECK_OK(op_append(&bytes, e.kind, e.key, e.value, e.expires_ms, &err), &err);
        model_put(&b->model, &e);
    }
    batch = (struct batch_ref){.ops = buf_slice(&bytes), .op_count = (uint32_t)n};
    b->needed += mem_bytes_needed(&batch);
    CHECK(mem_fits(b->mem, mem_bytes_needed(&batch)));
    mem_apply(b->mem, &batch, b->seq);
    mem_info(b->mem, &info);
    CHECK_EQ(info.seq_max, b->seq);
    CHECK(info.arena_bytes <= b->needed + 65536);
}

static void both_check_gets(const struct both *b, struct quern_slice key, quern_seq seq)
{
    size_t at = model_find(&b->model, key, seq);
    bool want = at < b->model.n && key_equal(b->model.entries[at].key, key);
    struct entry got;

    CHECK_EQ(mem_get(b->mem, key, hash_key(key), seq, &got), want);
    CHECK(!want || same_entry(&got, &b->model.entries[at]));
}

/* Everything: both directions whole, and a walk at random. */
static void both_check_walks(struct both *b, uint64_t *rnd, int steps)
{
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_error err;
    size_t at = SIZE_MAX, n = b->model.n; /* SIZE_MAX: nowhere */

    CHECK_OK(mem_iter(b->mem, 0, &it, &err), &err);
    iter_first(it);
    for (size_t i = 0; i <= n; i++) {
        CHECK(stands_on(it, &b->model, i));
        if (it->valid)
            iter_next(it);
    }
    iter_last(it);
    for (size_t i = n; i-- > 0;) {
        CHECK(stands_on(it, &b->model, i));
        iter_prev(it);
    }
    CHECK(stands_on(it, &b->model, SIZE_MAX));
    for (int step = 0; step < steps && n > 0; step++) {
        uint64_t what = tap_random(rnd) % 32;
        struct quern_slice key = b->model.entries[tap_random(rnd) % n].key;

        if (it->valid && what < 14) {
            iter_next(it);
            at++;
        } else if (it->valid && what < 27) {
            iter_prev(it);
            at--;
        } else {
            if (key.len > 1)
                key.len -= tap_random(rnd) % 3 == 0;
            at = model_find(&b->model, key, UINT64_MAX);
            if (what % 2 == 0) {
                iter_seek(it, key);
            } else {
                iter_seek_below(it, key);
                at--;
            }
        }
        CHECK(stands_on(it, &b->model, at));
    }
}

/* ---- keys that press on prefixes and heads ---- */

enum shape_of_keys { TINY, SHARED, NESTED, DECIMAL, BYTES, SHAPES };

static struct quern_slice make_key(enum shape_of_keys shape, uint64_t *rnd, uint8_t *at)
{
    static const uint8_t letters[] = {0, 1, 'a', 0xff};
    size_t len = 0;

    switch (shape) {
    case TINY:
        for (len = 0; len < 1 + tap_random(rnd) % 3;)
            at[len++] = letters[tap_random(rnd) % 4];
        break;
    case SHARED: /* a prefix above what a node stores, now and then broken off anywhere */
        memset(at, 'p', 90);
        len = tap_random(rnd) % 8 == 0 ? 1 + tap_random(rnd) % 89 : 70 + tap_random(rnd) % 20;
        at[len - 1] = letters[tap_random(rnd) % 4];
        if (len > 60)
            at[60 + tap_random(rnd) % (len - 60)] = letters[tap_random(rnd) % 4];
        break;
    case NESTED: /* runs of NUL: each a prefix of others, all heads alike */
        len = 1 + tap_random(rnd) % 120;
        memset(at, 0, len);
        at[len - 1] = (uint8_t)(tap_random(rnd) % 2);
        break;
    case DECIMAL:
        len = (size_t)snprintf((char *)at, 128, "%016" PRIu64, tap_random(rnd) % 3000);
        break;
    case BYTES:
    case SHAPES:
        for (len = 0; len < 16; len++)
            at[len] = (uint8_t)tap_random(rnd);
        break;
    }
    return slice_of(at, len);
}

static struct entry make_op(enum shape_of_keys shape, uint64_t *rnd, uint8_t *key_bytes)
{
    static const char text[] = "the value of something or other, up to sixty-four bytes long....";
    struct entry e = {.key = make_key(shape, rnd, key_bytes), .kind = ENTRY_PUT};

    if (tap_random(rnd) % 5 == 0)
        e.kind = ENTRY_DELETE;
    else
        e.value = slice_of(text + tap_random(rnd) % 8, tap_random(rnd) % 56);
    if (e.kind == ENTRY_PUT && tap_random(rnd) % 4 == 0)
        e.expires_ms = tap_random(rnd) >> 20;
    return e;
}

static void fill(struct both *b, enum shape_of_keys shape, uint64_t *rnd, int batches)
{
    uint8_t key_bytes[8][128];

    for (int i = 0; i < batches; i++) {
        size_t n = tap_random(rnd) % 4 == 0 ? 1 + tap_random(rnd) % 8 : 1;
        struct entry ops[8];

        for (size_t k = 0; k < n; k++)
            ops[k] = make_op(shape, rnd, key_bytes[k]);
        if (n > 2 && i % 3 == 0)
            ops[n - 1].key = ops[0].key; /* one key twice in one batch */
        both_apply(b, ops, n);
    }
}

TEST(mem_finds_and_walks_every_version_of_every_kind_of_key)
{
    uint64_t rnd = tap_seed();
    uint8_t key_bytes[128];

    for (int shape = 0; shape < SHAPES; shape++) {
        struct both b = {0};
        struct quern_error err;

        CHECK_OK(mem_new(4 << 20, NULL, &b.mem, &err), &err);
        for (int stage = 0; stage < 4; stage++) {
            fill(&b, (enum shape_of_keys)shape, &rnd, 600);
            for (size_t i = 0; i < b.model.n; i++) {
                both_check_gets(&b, b.model.entries[i].key, b.model.entries[i].seq);
                both_check_gets(&b, b.model.entries[i].key, b.model.entries[i].seq - 1);
                both_check_gets(&b, b.model.entries[i].key, UINT64_MAX);
            }
            for (int i = 0; i < 500; i++)
                both_check_gets(&b, make_key((enum shape_of_keys)shape, &rnd, key_bytes),
                                tap_random(&rnd) % (b.seq + 1));
            both_check_walks(&b, &rnd, 2000);
        }
        mem_unref(b.mem);
        model_done(&b.model);
    }
}

TEST(mem_in_memory_that_another_left_begins_empty)
{
    uint64_t rnd = tap_seed();
    struct mem_spare spare;
    struct quern_error err;
    void *left = NULL;

    mem_spare_init(&spare);
    mem_spare_want(&spare, 4 << 20);
    for (int round = 0; round < SHAPES; round++) {
        struct both b = {0};

        CHECK_OK(mem_new(4 << 20, &spare, &b.mem, &err), &err);
        CHECK(spare.base == NULL && spare.arenas > 4 << 20);
        CHECK_EQ(mem_spare_bytes(&spare, spare.arenas), 0);
        both_check_walks(&b, &rnd, 0);
        fill(&b, (enum shape_of_keys)round, &rnd, 3000);
        for (size_t i = 0; i < b.model.n; i++)
            both_check_gets(&b, b.model.entries[i].key, b.model.entries[i].seq);
        both_check_walks(&b, &rnd, 3000);
        mem_unref(b.mem);
        model_done(&b.model);
        CHECK(spare.base != NULL && (left == NULL || spare.base == left));
        CHECK_EQ(spare.arenas, spare.wanted);
        CHECK_EQ(mem_spare_bytes(&spare, 0), spare.wanted);
        left = spare.base;
    }
    mem_spare_want(&spare, 8 << 20); /* of another size: what waits goes */
    CHECK(spare.base == NULL && spare.arenas == 0);
    mem_spare_done(&spare);
}

TEST(mem_takes_keys_of_64_kib_and_values_of_any_size)
{
    uint64_t rnd = tap_seed();
    struct both b = {0};
    struct quern_error err;
    void *memory OWNED(alloc_free) = alloc_zeroed(1 << 20);
    uint8_t *big = memory;
    struct mem_info info;

    CHECK(big != NULL);
    CHECK_OK(mem_new(64 << 20, NULL, &b.mem, &err), &err);
    for (int i = 0; i < 150; i++) {
        struct entry e = {.kind = ENTRY_PUT};

        big[65535] = (uint8_t)tap_random(&rnd);
        e.key = slice_of(big, i % 3 == 0 ? 65535 : 65536);
        e.value = slice_of(big, i % 7 == 0 ? 1 << 20 : 0);
        both_apply(&b, &e, 1);
    }
    for (size_t i = 0; i < b.model.n; i++)
        both_check_gets(&b, b.model.entries[i].key, b.model.entries[i].seq);
    both_check_walks(&b, &rnd, 300);
    mem_info(b.mem, &info);
    CHECK_EQ(info.entry_count, 150);
    CHECK_EQ(info.tombstone_count, 0);
    CHECK_EQ(info.seq_min, 1);
    mem_unref(b.mem);
    model_done(&b.model);
}

TEST(mem_takes_a_value_that_lies_apart_from_its_batch)
{
    struct quern_error err;
    struct mem *m OWNED(mem_unref) = NULL;
    uint8_t head[64], *end = op_put_head(head, ENTRY_PUT, 3, 5, 0);
    struct batch_ref batch;
    struct entry got;

    memcpy(end, "key", 3);
    batch = (struct batch_ref){slice_of(head, (size_t)(end + 3 - head)), slice_of("value", 5), 1};
    CHECK_OK(mem_new(mem_bytes_needed(&batch), NULL, &m, &err), &err);
    CHECK(mem_fits(m, mem_bytes_needed(&batch)));
    mem_apply(m, &batch, 9);
    CHECK(mem_get(m, slice_of("key", 3), hash_key(slice_of("key", 3)), 9, &got));
    CHECK_BYTES(got.value, "value");
}

/* Key number i of a pattern that splits as many nodes as it can. */
static uint64_t pattern_key(int pattern, uint64_t i, uint64_t *rnd)
{
    switch (pattern) {
    case 0:
        return i;
    case 1:
        return UINT32_MAX - i;
    case 2:
        return i % 2 == 0 ? i : UINT32_MAX - i;
    case 3: /* many rising streams at once */
        return (i % 97) << 32 | i;
    default:
        return tap_random(rnd);
    }
}

TEST(mem_never_runs_out_while_it_says_that_a_batch_fits)
{
    uint64_t rnd = tap_seed();

    for (int pattern = 0; pattern < 5; pattern++) {
        struct quern_error err;
        struct mem *m OWNED(mem_unref) = NULL;
        struct mem_info info;
        uint64_t i = 0;

        CHECK_OK(mem_new(1 << 20, NULL, &m, &err), &err);
        for (;; i++) {
            uint8_t op[32], *at = op_put_head(op, ENTRY_PUT, 8, 0, 0);
            uint64_t number = htobe64(pattern_key(pattern, i, &rnd));
            struct batch_ref batch = {{op, (size_t)(at + 8 - op)}, {NULL, 0}, 1};

            memcpy(at, &number, 8);
            if (!mem_fits(m, mem_bytes_needed(&batch)))
                break;
            mem_apply(m, &batch, i + 1);
        }
        mem_info(m, &info);
        CHECK_EQ(info.entry_count, i);
        CHECK(info.arena_bytes > (1 << 20) / 2); /* and it says so for long enough */
    }
}

TEST(mem_walks_back_over_many_versions_and_says_when_memory_runs_out)
{
    uint64_t rnd = tap_seed();
    struct both b = {0};
    struct quern_error err;
    struct iter *it OWNED(iter_free) = NULL;
    struct entry hot = {.key = slice_of("hot", 3), .kind = ENTRY_PUT, .value = slice_of("v", 1)};
    struct entry after = {.key = slice_of("hotter", 6), .kind = ENTRY_DELETE};

    CHECK_OK(mem_new(4 << 20, NULL, &b.mem, &err), &err);
    for (int i = 0; i < 5000; i++)
        both_apply(&b, &hot, 1);
    both_apply(&b, &after, 1);
    both_check_walks(&b, &rnd, 1000);
    CHECK_OK(mem_iter(b.mem, 0, &it, &err), &err);
    iter_last(it);
    alloc_fail_after(0);
    iter_prev(it);
    alloc_fail_never();
    CHECK(!it->valid);
    CHECK_EQ(it->err.code, QUERN_NO_MEMORY);
    iter_first(it);
    CHECK(stands_on(it, &b.model, 0));
    mem_unref(b.mem); /* the cursor keeps it */
    CHECK(stands_on(it, &b.model, 0));
    iter_next(it);
    CHECK(stands_on(it, &b.model, 1));
    model_done(&b.model);
}

/* For each number: what is left out are just the versions that nobody sees who reads as of it. */
TEST(mem_cursor_as_of_a_number_leaves_out_what_that_number_hides)
{
    uint64_t rnd = tap_seed();
    struct both b = {0};
    struct quern_error err;

    CHECK_OK(mem_new(1 << 20, NULL, &b.mem, &err), &err);
    for (int i = 0; i < 300; i++) {
        char key[2] = {(char)('a' + tap_random(&rnd) % 6), '\0'};
        struct entry e = {.key = slice_of(key, 1), .kind = ENTRY_PUT, .value = slice_of("v", 1)};

        both_apply(&b, &e, 1);
    }
    for (quern_seq as_of = 1; as_of <= 310; as_of += 1 + tap_random(&rnd) % 20) {
        struct iter *it OWNED(iter_free) = NULL;
        size_t shown[300], n = 0, i;
        bool hidden = false;

        for (i = 0; i < b.model.n; i++) {
            const struct entry *e = &b.model.entries[i];

            if (i == 0 || !key_equal(e->key, b.model.entries[i - 1].key))
                hidden = false;
            if (!hidden)
                shown[n++] = i;
            hidden |= e->seq <= as_of;
        }
        CHECK_OK(mem_iter(b.mem, as_of, &it, &err), &err);
        for (i = 0, iter_first(it); i < n; i++, iter_next(it))
            CHECK(stands_on(it, &b.model, shown[i]));
        CHECK(!it->valid);
        for (i = n, iter_last(it); i-- > 0; iter_prev(it))
            CHECK(stands_on(it, &b.model, shown[i]));
        CHECK(!it->valid);
        iter_first(it);
        i = 0;
        for (int turns = 0; turns < 1000; turns++) {
            CHECK(stands_on(it, &b.model, shown[i]));
            if (i == 0 || (i + 1 < n && tap_random(&rnd) % 2)) {
                iter_next(it);
                i++;
            } else {
                iter_prev(it);
                i--;
            }
            if (i == n)
                break;
        }
    }
    mem_unref(b.mem);
    model_done(&b.model);
}

TEST(mem_without_memory_is_an_error_and_an_empty_one_is_empty)
{
    struct quern_error err;
    struct mem *m = NULL;
    struct iter *it = NULL;
    uint64_t rnd = tap_seed();
    struct mem_spare spare;
    struct both b = {0};

    mem_spare_init(&spare);
    for (uint64_t calls = 0; calls < 2; calls++) {
        alloc_fail_after(calls);
        CHECK_CODE(mem_new(1 << 20, &spare, &m, &err), QUERN_NO_MEMORY);
        alloc_fail_never();
        CHECK_EQ(spare.arenas, 0);
    }
    mem_spare_done(&spare);
    CHECK_CODE(mem_new(UINT64_MAX, NULL, &m, &err), QUERN_NO_MEMORY);
    CHECK_OK(mem_new(0, NULL, &b.mem, &err), &err);
    alloc_fail_after(0);
    CHECK_CODE(mem_iter(b.mem, 0, &it, &err), QUERN_NO_MEMORY);
    alloc_fail_never();
    CHECK(!mem_fits(b.mem, 1));
    both_check_walks(&b, &rnd, 0);
    both_check_gets(&b, slice_of("x", 1), UINT64_MAX);
    mem_unref(b.mem);
}
