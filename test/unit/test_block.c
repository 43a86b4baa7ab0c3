/* test_block.c - what a block promises: any entry one step away, and nothing read outside of it. */
#include "sst/block_priv.h"

#include "sst/filter_priv.h"
#include "sst/format_priv.h"
#include "sst/index_priv.h"
#include "sst_model.h"

/* The block of all the model's entries, in memory of exactly its size. */
static uint8_t *build(const struct model *m, size_t *len)
{
    struct block_builder b = {0};
    struct quern_error err;
    uint8_t *room, *exact;

    for (size_t i = 0; i < m->n; i++)
        if (block_builder_add(&b, &m->entries[i], false, &err))
            abort();
    room = malloc(block_builder_bytes(&b, NULL) + BLOCK_PREFIX_MAX);
    *len = block_build(&b, room);
    if (*len > block_builder_bytes(&b, NULL) + BLOCK_PREFIX_MAX)
        abort();
    exact = malloc(*len);
    memcpy(exact, room, *len);
    free(room);
    block_builder_done(&b);
    return exact;
}

/* Entries that make every column appear or not, by the bits of `shape`. */
static void shaped_model(struct model *m, unsigned shape, uint64_t *seed)
{
    uint8_t key[400];
    size_t prefix = shape & 1 ? 300 : shape & 2 ? 5 : 0;

    memset(key, 'x', sizeof(key));
    for (int i = 0; i < 60; i++) {
        size_t len = prefix + (shape & 4 ? 1 + tap_random(seed) % 12 : 8);
        quern_seq seq = shape & 8 ? 1 + tap_random(seed) % 1000 : 7;

        for (size_t k = prefix; k < len; k++)
            key[k] = (uint8_t)(tap_random(seed) % 3);
        if ((shape & 16) != 0 && tap_random(seed) % 4 == 0)
            seq += UINT64_C(1) << 50;
        model_add(m, slice_of(key, len), seq, shape & 32 ? 1 + tap_random(seed) % 3 : ENTRY_PUT,
                  shape & 64 ? tap_random(seed) % 2 : 0, shape & 128 ? 2000 : 20);
    }
    model_settle(m);
}

TEST(block_gives_back_its_entries_with_any_set_of_columns)
{
    uint64_t seed = tap_seed();

    for (unsigned shape = 0; shape < 256; shape++) {
        struct model m OWNED_MODEL = {0};
        struct block b;
        struct entry e;
        size_t len;
        uint8_t *bytes;

        shaped_model(&m, shape, &seed);
        bytes = build(&m, &len);
        CHECK(block_check(bytes, len) == NULL);
        block_view(&b, bytes);
        CHECK_EQ(b.count, m.n);
        for (uint32_t i = 0; i < b.count; i++) {
            block_entry(&b, i, &e);
            CHECK(entry_same(&e, &m.entries[i]));
            CHECK_EQ(block_search(&b, e.key, e.seq), i);
            CHECK_EQ(block_search(&b, e.key, UINT64_MAX), model_search(&m, e.key, UINT64_MAX));
            CHECK_EQ(block_search(&b, e.key, e.seq - 1), i + 1);
        }
        CHECK_EQ(block_search(&b, QUERN_STR("\xff"), 0), b.count);
        CHECK_EQ(block_search(&b, slice_of("", 1), UINT64_MAX),
                 model_search(&m, slice_of("", 1), UINT64_MAX));
        free(bytes);
    }
}

static bool lies_inside(struct quern_slice s, const uint8_t *bytes, size_t len)
{
    const uint8_t *at = s.data;

    return at >= bytes && s.len <= len && (size_t)(at - bytes) <= len - s.len;
}

/* Whatever block_check() lets pass can be walked and searched; a sanitizer sees more of it. */
TEST(block_check_lets_nothing_pass_that_reaches_outside)
{
    uint64_t seed = tap_seed();
    int passed = 0, refused = 0;
    size_t everything = 0;

    for (int round = 0; round < 100; round++) {
        struct model m OWNED_MODEL = {0};
        size_t len, used = 0;
        uint8_t *good, *bad;

        shaped_model(&m, (unsigned)tap_random(&seed) % 256, &seed);
        good = build(&m, &len);
        for (int k = 0; k < 40; k++) {
            size_t cut = k % 4 == 0 ? tap_random(&seed) % (len + 1) : len;
            struct block b;
            struct entry e;

            bad = malloc(cut + 1);
            memcpy(bad, good, cut);
            bad = realloc(bad, cut != 0 ? cut : 1);
            for (uint64_t flips = tap_random(&seed) % 3; flips > 0 && cut > 0; flips--)
                bad[tap_random(&seed) % (k % 2 && cut > 64 ? 64 : cut)] ^=
                    (uint8_t)(1u << tap_random(&seed) % 8);
            if (block_check(bad, cut) != NULL) {
                refused++;
            } else {
                passed++;
                block_view(&b, bad);
                for (uint32_t i = 0; i < b.count; i++) {
                    block_entry(&b, i, &e);
                    CHECK(lies_inside(e.key, bad, cut) && lies_inside(e.value, bad, cut));
                    used += e.key.len + e.value.len +
                            (e.value.len ? ((const uint8_t *)e.value.data)[e.value.len - 1] : 0);
                    used += block_search(&b, e.key, e.seq);
                }
            }
            free(bad);
        }
        free(good);
        everything += used;
    }
    CHECK(passed > 100 && refused > 100 && everything > 0);
}

TEST(block_separator_stands_between_its_neighbours)
{
    uint64_t seed = tap_seed();
    uint8_t x[6], y[6], room[6];

    for (int k = 0; k < 50000; k++) {
        struct quern_slice a = slice_of(x, 1 + tap_random(&seed) % 6);
        struct quern_slice b = slice_of(y, 1 + tap_random(&seed) % 6), s;

        for (size_t i = 0; i < 6; i++) {
            x[i] = (uint8_t)(tap_random(&seed) % 3 + (tap_random(&seed) % 9 == 0 ? 253 : 0));
            y[i] = (uint8_t)(tap_random(&seed) % 3 + (tap_random(&seed) % 9 == 0 ? 253 : 0));
        }
        if (key_compare(a, b) > 0)
            continue;
        s = index_separator(a, b, room);
        CHECK(s.len > 0 && key_compare(a, s) <= 0);
        CHECK(key_equal(a, b) ? key_equal(s, a) : key_compare(s, b) < 0);
        CHECK(s.len <= a.len || s.len <= b.len);
    }
}

/* The tree of cache lines finds what a walk over the separators finds. */
TEST(block_index_search_agrees_with_a_walk)
{
    uint64_t seed = tap_seed();
    static const size_t sizes[] = {1, 2, 7, 8, 9, 63, 64, 65, 511, 512, 600};

    for (size_t round = 0; round < 2 * ARRAY_LEN(sizes); round++) {
        struct model m OWNED_MODEL = {0};
        struct buf raw OWNED_BUF = {0};
        struct quern_error err;
        uint8_t head[INDEX_HEAD_BYTES] = {0}, key[20] = "same for all";
        struct index *x;
        struct index_size size;
        size_t prefix = round % 2 ? 10 : 0;
        uint8_t *memory;

        while (m.n < sizes[round / 2]) {
            size_t len = prefix + 1 + tap_random(&seed) % 10;

            for (size_t i = prefix; i < len; i++)
                key[i] = (uint8_t)(tap_random(&seed) % 4 * 85);
            model_add(&m, slice_of(key, len), 1, ENTRY_PUT, 0, 0);
            if (m.n == sizes[round / 2])
                model_settle(&m);
        }
        put_u32le(head, (uint32_t)m.n);
        CHECK_OK(buf_append(&raw, head, sizeof(head), &err), &err);
        for (size_t i = 0; i < m.n; i++) {
            struct index_row row = {100, 3, 1, 0, m.entries[i].key};

            CHECK_OK(index_row_put(&raw, &row, &err), &err);
        }
        CHECK_OK(index_check(raw.data, raw.len, m.n, m.n * 100, m.n * 3, &size, &err), &err);
        memory = alloc_aligned(64, size.memory_bytes);
        CHECK(memory != NULL);
        x = index_build(memory, raw.data, raw.len, &size);
        for (int k = 0; k < 500; k++) {
            size_t len = tap_random(&seed) % 3 ? prefix + 1 + tap_random(&seed) % 10
                                               : 1 + tap_random(&seed) % 12;

            for (size_t i = prefix; i < len; i++)
                key[i] = (uint8_t)(tap_random(&seed) % 4 * 85);
            key[0] = (uint8_t)(k % 20 == 0 && prefix ? key[0] ^ 1 : key[0]);
            CHECK_EQ(index_search(x, slice_of(key, len)),
                     model_search(&m, slice_of(key, len), UINT64_MAX));
            key[0] = prefix ? 's' : key[0];
        }
        alloc_free(memory);
    }
}

static enum quern_code check_three_of(uint32_t bytes, struct quern_slice a, struct quern_slice b,
                                      struct quern_slice c)
{
    struct quern_slice separators[] = {a, b, c};
    uint8_t head[INDEX_HEAD_BYTES] = {3};
    struct buf raw OWNED_BUF = {0};
    struct index_size size;
    struct quern_error err;

    if (buf_append(&raw, head, sizeof(head), &err))
        return err.code;
    for (size_t i = 0; i < 3; i++) {
        struct index_row row = {bytes, 3, 1, 0, separators[i]};

        if (index_row_put(&raw, &row, &err))
            return err.code;
    }
    return index_check(raw.data, raw.len, 3, 3 * (uint64_t)bytes, 9, &size, &err);
}

static enum quern_code check_three(struct quern_slice a, struct quern_slice b, struct quern_slice c)
{
    return check_three_of(100, a, b, c);
}

TEST(block_index_that_leaves_a_block_no_more_than_its_trailer_is_corrupt)
{
    for (uint32_t bytes = 0; bytes <= 2 * TRAILER_BYTES; bytes++)
        CHECK_EQ(check_three_of(bytes, QUERN_STR("a"), QUERN_STR("b"), QUERN_STR("c")),
                 bytes > TRAILER_BYTES ? QUERN_OK : QUERN_CORRUPT);
}

/* Whether heads tell it, or bytes behind them, or the lengths. */
TEST(block_index_out_of_order_is_corrupt)
{
    static const char *const rising[] = {"a", "a\377", "b", "bbbbbbbb", "bbbbbbbb1", "bbbbbbbb2"};

    for (size_t i = 0; i < ARRAY_LEN(rising); i++)
        for (size_t j = 0; j < ARRAY_LEN(rising); j++) {
            struct quern_slice a = slice_of(rising[i], strlen(rising[i]));
            struct quern_slice b = slice_of(rising[j], strlen(rising[j]));

            CHECK_EQ(check_three(a, b, QUERN_STR("c")), i <= j ? QUERN_OK : QUERN_CORRUPT);
            CHECK_EQ(check_three(QUERN_STR("A"), a, b), i <= j ? QUERN_OK : QUERN_CORRUPT);
        }
    CHECK_EQ(check_three(slice_of("a", 1), slice_of("a\0", 2), QUERN_STR("b")), QUERN_OK);
    CHECK_EQ(check_three(slice_of("a\0", 2), slice_of("a", 1), QUERN_STR("b")), QUERN_CORRUPT);
}

TEST(block_filter_never_denies_what_was_added)
{
    static uint64_t hashes[5000];
    uint64_t seed = tap_seed();

    for (uint32_t bits = 1; bits <= 24; bits += 3) {
        uint32_t lines;
        size_t len = filter_bytes(ARRAY_LEN(hashes), bits, &lines);
        uint8_t *bytes = malloc(len);
        struct filter f;

        for (size_t i = 0; i < ARRAY_LEN(hashes); i++)
            hashes[i] = tap_random(&seed);
        filter_build(bytes, lines, bits, hashes, ARRAY_LEN(hashes));
        CHECK(filter_view(&f, bytes, len));
        for (size_t i = 0; i < ARRAY_LEN(hashes); i++)
            CHECK(filter_may_hold(&f, hashes[i]));
        CHECK(!filter_view(&f, bytes, len - 1));
        free(bytes);
    }
}
