/* test_base.c - promises of src/base/: numbers as bytes, the order of keys, batches, buffers,
 * errors, memory, grace periods, threads. */
#include "base/alloc.h"
#include "base/base64.h"
#include "base/batch.h"
#include "base/buf.h"
#include "base/codec.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/prefix.h"
#include "base/rcu.h"
#include "base/table_meta.h"
#include "base/thread.h"
#include "base/when.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

static struct quern_error err;

static struct quern_slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

/* ---- codec.h ---- */

TEST(base_integers_are_little_endian_at_any_alignment)
{
    uint8_t bytes[16] = {0};

    put_u16le(bytes + 1, 0x0102);
    CHECK(bytes[1] == 2 && bytes[2] == 1 && get_u16le(bytes + 1) == 0x0102);
    put_u32le(bytes + 3, 0x01020304);
    CHECK(bytes[3] == 4 && bytes[6] == 1 && get_u32le(bytes + 3) == 0x01020304);
    put_u64le(bytes + 5, UINT64_C(0x0102030405060708));
    CHECK(bytes[5] == 8 && bytes[12] == 1);
    CHECK(get_u64le(bytes + 5) == UINT64_C(0x0102030405060708));
    CHECK(get_u64be(bytes + 5) == UINT64_C(0x0807060504030201));
}

TEST(base_varints_come_back_and_take_the_bytes_they_say)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t v = (UINT64_C(1) << shift) + (uint64_t)(int64_t)delta, got = 0;
            uint8_t bytes[VARINT_BYTES_MAX];
            uint8_t *end = put_varint(bytes, v);

            CHECK_EQ(end - bytes, varint_bytes(v));
            CHECK(get_varint(bytes, end, &got) == end);
            CHECK(got == v);
            for (const uint8_t *cut = bytes; cut < end; cut++)
                CHECK(get_varint(bytes, cut, &got) == NULL);
        }
    }
    CHECK_EQ(varint_bytes(0), 1);
    CHECK_EQ(varint_bytes(UINT64_MAX), 10);
}

TEST(base_hostile_varints_are_refused)
{
    uint8_t bytes[12];
    uint64_t v;

    memset(bytes, 0x80, sizeof(bytes)); /* never ends */
    CHECK(get_varint(bytes, bytes + 12, &v) == NULL);
    memset(bytes, 0xff, sizeof(bytes));
    bytes[9] = 2; /* bit 64 */
    CHECK(get_varint(bytes, bytes + 12, &v) == NULL);
    bytes[9] = 1; /* bit 63: the largest there is */
    CHECK(get_varint(bytes, bytes + 12, &v) == bytes + 10);
    CHECK(v == UINT64_MAX);
    CHECK(get_varint(bytes, bytes, &v) == NULL);
}

/* ---- entry.h ---- */

TEST(base_keys_order_as_bytes_with_a_prefix_first)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rising[] = {{"", 0},     {"\0", 1},   {"\0\0", 2},    {"\0\1", 2}, {"a", 1},
                  {"a\0", 2},  {"aa", 2},   {"ab", 2},      {"b", 1},    {"\x7f", 1},
                  {"\x80", 1}, {"\xff", 1}, {"\xff\xff", 2}};

    for (size_t i = 0; i < ARRAY_LEN(rising); i++) {
        for (size_t j = 0; j < ARRAY_LEN(rising); j++) {
            struct quern_slice a = slice_of(rising[i].bytes, rising[i].len);
            struct quern_slice b = slice_of(rising[j].bytes, rising[j].len);
            int order = key_compare(a, b);

            CHECK((order > 0) - (order < 0) == (i > j) - (i < j));
            CHECK(key_equal(a, b) == (i == j));
        }
    }
    CHECK(key_equal(slice_of(NULL, 0), slice_of("", 0)));
    CHECK_EQ(key_compare(slice_of(NULL, 0), slice_of("", 0)), 0);
}

/* Short keys, middling and long ones are compared in different ways, which agree. */
TEST(base_keys_of_any_length_differ_wherever_one_byte_does)
{
    uint8_t x[41], y[41];

    for (size_t len = 0; len < sizeof(x); len++) {
        struct quern_slice a = {x, len}, b = {y, len}, longer = {y, len + 1};

        memset(x, 0x80, sizeof(x));
        memset(y, 0x80, sizeof(y));
        CHECK(key_equal(a, b) && key_compare(a, b) == 0 && key_begins(a, y, len));
        if (len + 1 < sizeof(y)) {
            CHECK(!key_equal(a, longer) && key_compare(a, longer) < 0);
            CHECK(key_compare(longer, a) > 0);
            CHECK(key_begins(longer, x, len) && !key_begins(a, y, len + 1));
        }
        for (size_t at = 0; at < len; at++) {
            y[at] = 0x7f;
            CHECK(!key_equal(a, b) && !key_begins(b, x, len) && key_begins(b, x, at));
            CHECK(key_compare(a, b) > 0 && key_compare(b, a) < 0);
            y[at] = 0x81;
            memset(y + at + 1, 0, sizeof(y) - at - 1); /* the first that differs decides */
            CHECK(key_compare(a, b) < 0 && key_compare(b, a) > 0);
            memset(y + at, 0x80, sizeof(y) - at);
        }
    }
}

/* Wherever a head begins and whatever the key's length, it is these eight bytes. */
TEST(base_heads_are_eight_bytes_padded_with_zeros)
{
    uint8_t bytes[32];

    for (size_t k = 0; k < sizeof(bytes); k++)
        bytes[k] = (uint8_t)(0xf1 + k);
    for (size_t len = 0; len <= sizeof(bytes); len++)
        for (size_t skip = 0; skip < sizeof(bytes); skip++) {
            uint8_t padded[8] = {0};

            for (size_t k = 0; k < 8 && skip + k < len; k++)
                padded[k] = bytes[skip + k];
            CHECK(key_head(slice_of(bytes, len), skip) == get_u64be(padded));
        }
}

/* Unequal heads order keys of one prefix; the head of a short key is padded with zeros. */
TEST(base_heads_never_contradict_the_keys)
{
    uint64_t state = tap_seed();

    for (int round = 0; round < 200000; round++) {
        uint8_t x[24], y[24];
        size_t skip = tap_random(&state) % 9;
        struct quern_slice a = {x, skip + tap_random(&state) % 14};
        struct quern_slice b = {y, skip + tap_random(&state) % 14};
        uint64_t p, q;
        int order;

        for (size_t k = 0; k < sizeof(x); k++) {
            x[k] = (uint8_t)("\0\0\1\xff"[tap_random(&state) % 4]);
            y[k] = k < skip + tap_random(&state) % 10 ? x[k] : (uint8_t)(tap_random(&state) % 2);
        }
        memcpy(y, x, skip);
        p = key_head(a, skip);
        q = key_head(b, skip);
        order = key_compare(a, b);
        if (p != q)
            CHECK((p < q) == (order < 0));
        if (order == 0)
            CHECK(p == q);
    }
    CHECK(key_head(text("ab"), 0) == UINT64_C(0x6162) << 48);
    CHECK(key_head(text("ab"), 1) == UINT64_C(0x62) << 56);
    CHECK(key_head(text("ab"), 2) == 0);
    CHECK(key_head(text("ab"), 20) == 0);
    CHECK(key_head(text("xabcdefgh"), 1) == UINT64_C(0x6162636465666768));
    CHECK_EQ(key_common_prefix(text("abcd"), text("abx")), 2);
    CHECK_EQ(key_common_prefix(text("ab"), text("abx")), 2);
}

TEST(base_of_one_key_the_newest_entry_comes_first)
{
    struct entry old = {.key = text("k"), .seq = 1}, new = {.key = text("k"), .seq = 2};
    struct entry later = {.key = text("l"), .seq = 1};

    CHECK(entry_compare(&new, &old) < 0 && entry_compare(&old, &new) > 0);
    CHECK(entry_compare(&old, &old) == 0 && entry_compare(&old, &later) < 0);
    new.seq = UINT64_MAX;
    CHECK(entry_compare(&new, &old) < 0);
}

/* ---- batch.h ---- */

TEST(base_a_batch_comes_back_op_by_op)
{
    struct buf ops OWNED_BUF = {0};
    struct batch_ref batch;
    struct op_cursor c;
    struct entry e;

    CHECK_OK(op_append(&ops, ENTRY_PUT, text("k1"), text("v1"), 0, &err), &err);
    CHECK_OK(op_append(&ops, ENTRY_DELETE, text("k2"), text(""), 0, &err), &err);
    CHECK_OK(op_append(&ops, ENTRY_PUT, slice_of("\0", 1), slice_of(NULL, 0), 77, &err), &err);
    CHECK_OK(op_append(&ops, ENTRY_RANGE_DELETE, text("a"), text("z"), 0, &err), &err);
    batch = (struct batch_ref){.ops = buf_slice(&ops), .op_count = 4};
    CHECK_EQ(batch_bytes(&batch), ops.len);
    c = op_cursor_of(&batch);
    CHECK(op_next(&c, &e) && e.kind == ENTRY_PUT && e.expires_ms == 0 && e.seq == 0);
    CHECK_BYTES(e.key, "k1");
    CHECK_BYTES(e.value, "v1");
    CHECK(op_next(&c, &e) && e.kind == ENTRY_DELETE && e.value.len == 0);
    CHECK_BYTES(e.key, "k2");
    CHECK(op_next(&c, &e) && e.kind == ENTRY_PUT && e.expires_ms == 77 && e.key.len == 1);
    CHECK(op_next(&c, &e) && e.kind == ENTRY_RANGE_DELETE);
    CHECK_BYTES(e.value, "z");
    CHECK(!op_next(&c, &e) && !c.bad);
}

TEST(base_the_last_value_may_lie_in_the_tail)
{
    uint8_t bytes[2 * OP_HEAD_BYTES_MAX + 2];
    struct batch_ref batch = {.tail = {"a large value", 13}, .op_count = 1};
    uint8_t *end = op_put_head(bytes, ENTRY_PUT, 1, 13, 0);
    struct op_cursor c;
    struct entry e;

    *end++ = 'k';
    batch.ops = slice_of(bytes, (size_t)(end - bytes));
    CHECK_EQ(batch_bytes(&batch), batch.ops.len + 13);
    c = op_cursor_of(&batch);
    CHECK(op_next(&c, &e));
    CHECK_BYTES(e.key, "k");
    CHECK_BYTES(e.value, "a large value");
    CHECK(!op_next(&c, &e) && !c.bad);
    batch.tail.len = 12; /* not what the head says */
    c = op_cursor_of(&batch);
    CHECK(!op_next(&c, &e) && c.bad);
    batch.tail = slice_of(NULL, 0);
    c = op_cursor_of(&batch);
    CHECK(!op_next(&c, &e) && c.bad);
}

/* Every exchange of two, in every place, and back. */
TEST(base_a_map_of_databases_is_whole_and_has_a_way_back)
{
    db_map map = 0;

    for (uint8_t a = 0; a < DB_MAP_COUNT; a++)
        for (uint8_t b = 0; b < DB_MAP_COUNT; b++) {
            db_map before = map, step = db_map_swap(0, a, b);

            map = db_map_swap(map, a, b);
            CHECK_EQ(map, db_map_then(before, step));
            CHECK(db_map_is_valid(map));
            CHECK_EQ(db_map_get(map, a), db_map_get(before, b));
            CHECK_EQ(db_map_get(map, b), db_map_get(before, a));
            CHECK_EQ(db_map_swap(map, a, b), before);
            CHECK_EQ(db_map_then(map, db_map_back(map)), 0);
            for (uint8_t n = 0; n < DB_MAP_COUNT; n++)
                CHECK(n == a || n == b || db_map_get(map, n) == db_map_get(before, n));
        }
    CHECK(map != 0 && !db_map_is_valid(map ^ 1) && !db_map_is_valid(1));
}

TEST(base_a_change_of_places_is_an_op_of_one_form)
{
    struct buf ops OWNED_BUF = {0};
    struct op_cursor c;
    struct batch_ref batch;
    struct entry e;
    uint8_t bytes[9] = {0};
    db_map map = 7;

    put_u64le(bytes, db_map_swap(0, 2, 14));
    CHECK_OK(op_append(&ops, ENTRY_DATABASES, text(""), slice_of(bytes, 8), 0, &err), &err);
    CHECK_OK(op_append(&ops, ENTRY_PUT, text("k"), text("v"), 0, &err), &err);
    batch = (struct batch_ref){buf_slice(&ops), {NULL, 0}, 2};
    c = op_cursor_of(&batch);
    CHECK(op_next(&c, &e) && e.kind == ENTRY_DATABASES && op_db_map(&e) == db_map_swap(0, 2, 14));
    CHECK(op_next(&c, &e) && e.kind == ENTRY_PUT);
    CHECK(!op_next(&c, &e) && !c.bad);
    CHECK(batch_db_map(&batch, &map) && map == db_map_swap(0, 2, 14));
    for (int wrong = 0; wrong < 4; wrong++) {
        put_u64le(bytes, wrong == 3 ? 1 : 0); /* 1 is no map */
        buf_clear(&ops);
        CHECK_OK(op_append(&ops, ENTRY_DATABASES, text(wrong == 0 ? "k" : ""),
                           slice_of(bytes, wrong == 1   ? 7
                                           : wrong == 2 ? 9
                                                        : 8),
                           0, &err),
                 &err);
        batch = (struct batch_ref){buf_slice(&ops), {NULL, 0}, 1};
        c = op_cursor_of(&batch);
        CHECK(!op_next(&c, &e) && c.bad);
        CHECK(!batch_db_map(&batch, &map));
    }
}

TEST(base_an_empty_batch_has_no_ops)
{
    struct batch_ref none = {0};
    struct op_cursor c = op_cursor_of(&none);
    struct entry e;

    CHECK(!op_next(&c, &e) && !c.bad);
}

TEST(base_a_batch_cut_anywhere_is_bad_or_ends_at_an_op)
{
    struct buf ops OWNED_BUF = {0};
    size_t first;

    CHECK_OK(op_append(&ops, ENTRY_PUT, text("key"), text("value"), 5, &err), &err);
    first = ops.len;
    CHECK_OK(op_append(&ops, ENTRY_PUT, text("other"), text("thing"), 0, &err), &err);
    for (size_t cut = 0; cut < ops.len; cut++) {
        struct batch_ref batch = {.ops = {ops.data, cut}};
        struct op_cursor c = op_cursor_of(&batch);
        struct entry e;
        int n = 0;

        while (op_next(&c, &e))
            n++;
        CHECK_EQ(n, cut >= first);
        CHECK(c.bad == (cut != 0 && cut != first));
    }
}

/* Inside, a key begins with its database, and hashes and heads rely on that. */
TEST(base_an_op_without_a_key_is_bad)
{
    for (enum entry_kind kind = ENTRY_PUT; kind <= ENTRY_DELETE; kind++) {
        uint8_t bytes[OP_HEAD_BYTES_MAX];
        uint8_t *end = op_put_head(bytes, kind, 0, 0, 0);
        struct batch_ref batch = {.ops = {bytes, (size_t)(end - bytes)}, .op_count = 1};
        struct op_cursor c = op_cursor_of(&batch);
        struct entry e;

        CHECK(!op_next(&c, &e) && c.bad);
    }
}

TEST(base_hostile_ops_are_bad_and_never_read_past_their_end)
{
    uint64_t state = tap_seed();
    uint8_t bytes[40];
    struct op_cursor c;
    struct entry e;
    struct batch_ref batch = {.ops = {bytes, 0}};

    static const uint8_t kinds[] = {0, 4, 0x7f, 0x80, 0x84, 0xff};
    for (size_t k = 0; k < sizeof(kinds); k++) {
        memset(bytes, 0, sizeof(bytes));
        bytes[0] = kinds[k];
        batch.ops.len = 12;
        c = op_cursor_of(&batch);
        CHECK(!op_next(&c, &e) && c.bad);
    }
    /* Lengths over the limits, though the bytes would be "there" in the tail. */
    batch.tail = slice_of(bytes, (size_t)ENTRY_VALUE_BYTES_MAX + 1);
    batch.ops.len =
        (size_t)(op_put_head(bytes, ENTRY_PUT, 0, (size_t)ENTRY_VALUE_BYTES_MAX + 1, 0) - bytes);
    c = op_cursor_of(&batch);
    CHECK(!op_next(&c, &e) && c.bad);
    batch.tail = slice_of(NULL, 0);
    batch.ops.len = (size_t)(op_put_head(bytes, ENTRY_PUT, SIZE_MAX, 0, 0) - bytes);
    c = op_cursor_of(&batch);
    CHECK(!op_next(&c, &e) && c.bad);
    for (int round = 0; round < 100000; round++) {
        size_t len = tap_random(&state) % sizeof(bytes);
        uint8_t *exact = alloc_bytes(len); /* its end is watched by the address sanitizer */

        for (size_t k = 0; k < len; k++)
            exact[k] = (uint8_t)(tap_random(&state) % (k % 3 ? 256 : 5));
        batch.ops = slice_of(exact, len);
        c = op_cursor_of(&batch);
        while (op_next(&c, &e)) {
            const uint8_t *key = e.key.data, *value = e.value.data;

            EXPECT(key >= exact && key + e.key.len <= exact + len);
            EXPECT(e.value.len == 0 || (value >= exact && value + e.value.len <= exact + len));
        }
        alloc_free(exact);
    }
}

/* ---- buf.h, alloc.h ---- */

TEST(base_a_buffer_grows_and_stands_when_memory_fails)
{
    struct buf b OWNED_BUF = {0};
    enum quern_code code;

    for (int k = 0; k < 1000; k++)
        CHECK_OK(buf_append(&b, "0123456789", 10, &err), &err);
    CHECK_EQ(b.len, 10000);
    CHECK(memcmp(b.data + 9990, "0123456789", 10) == 0);
    CHECK_OK(buf_append(&b, NULL, 0, &err), &err);
    CHECK_CODE(buf_reserve(&b, SIZE_MAX, &err), QUERN_NO_MEMORY);
    CHECK_CODE(buf_reserve(&b, SIZE_MAX - b.len, &err), QUERN_NO_MEMORY);
    CHECK_CODE(buf_reserve(&b, SIZE_MAX / 3 * 2 + 1 - b.len, &err), QUERN_NO_MEMORY);
    alloc_fail_after(0);
    code = buf_reserve(&b, b.capacity, &err);
    alloc_fail_never();
    CHECK_EQ(code, QUERN_NO_MEMORY);
    CHECK_EQ(b.len, 10000);
    buf_clear(&b);
    CHECK(b.len == 0 && b.capacity >= 10000 && buf_slice(&b).len == 0);
    buf_done(&b);
    CHECK(b.data == NULL && b.capacity == 0);
    CHECK_OK(buf_append(&b, "x", 1, &err), &err);
}

static bool alloc_works(void)
{
    void *p = alloc_bytes(1);

    alloc_free(p);
    return p != NULL;
}

TEST(base_allocations_fail_from_the_nth_on_until_told_otherwise)
{
    bool first, second, third, fourth;

    alloc_fail_after(2);
    first = alloc_works();
    second = alloc_works();
    third = alloc_works();
    fourth = alloc_works();
    alloc_fail_never();
    CHECK(first && second && !third && !fourth);
    CHECK(alloc_works());
    CHECK(alloc_array(SIZE_MAX / 2, 3) == NULL);
    alloc_free(NULL);
}

TEST(base_memory_is_zeroed_and_aligned_as_asked)
{
    uint8_t *array OWNED(alloc_free) = alloc_array(100, 3);
    uint8_t *aligned OWNED(alloc_free) = alloc_aligned(4096, 100);
    uint8_t *pages = alloc_pages(1 << 20);

    for (int k = 0; k < 300; k++)
        CHECK(array[k] == 0);
    CHECK((uintptr_t)aligned % 4096 == 0);
    CHECK(pages != NULL && pages[0] == 0 && pages[(1 << 20) - 1] == 0);
    alloc_pages_fill(pages, 1 << 20);
    for (int k = 0; k < 1 << 20; k++)
        CHECK(pages[k] == 0);
    alloc_pages_free(pages, 1 << 20);
    alloc_pages_free(NULL, 0);
}

/* ---- error.h ---- */

TEST(base_errors_tell_their_story_outermost_first)
{
    CHECK_CODE(err_set(&err, QUERN_CORRUPT, "block at %d: bad checksum", 81920), QUERN_CORRUPT);
    CHECK_CODE(err_in(&err, "table %06d", 42), QUERN_CORRUPT);
    CHECK(strcmp(err.text, "table 000042: block at 81920: bad checksum") == 0);
    CHECK_CODE(err_sys(&err, ENOSPC, "write %s", "f"), QUERN_NO_SPACE);
    CHECK(strcmp(err.text, "write f: No space left on device") == 0);
    CHECK_EQ(err.sys_errno, ENOSPC);
    (void)err_sys(&err, EMFILE, "open f");
    CHECK(strcmp(err.text, "open f: Too many open files; raise the limit (ulimit -n)") == 0);
    CHECK_CODE(err_set(&err, QUERN_BUSY, "100%% full"), QUERN_BUSY);
    CHECK_EQ(err.sys_errno, 0);
    CHECK(strcmp(err.text, "100% full") == 0);
    CHECK_CODE(err_memory(&err, "a cache"), QUERN_NO_MEMORY);
    CHECK(strcmp(err.text, "no memory for a cache") == 0);
    err_clear(&err);
    CHECK(err.code == QUERN_OK && err.text[0] == '\0');
}

/* What an earlier failure told of a check is not told of a later one. */
TEST(base_a_failure_says_nothing_of_the_one_before_it)
{
    err.check = 7;
    err.sys_errno = EIO;
    CHECK_CODE(err_set(&err, QUERN_CONFLICT, "x"), QUERN_CONFLICT);
    CHECK(err.check == 0 && err.sys_errno == 0);
    err.check = 7;
    CHECK_CODE(err_sys(&err, EIO, "x"), QUERN_IO);
    CHECK(err.check == 0 && err.sys_errno == EIO);
}

TEST(base_each_errno_has_its_code)
{
    static const struct {
        int sys_errno;
        enum quern_code code;
    } rows[] = {{ENOSPC, QUERN_NO_SPACE},  {EDQUOT, QUERN_NO_SPACE}, {EFBIG, QUERN_NO_SPACE},
                {EACCES, QUERN_DENIED},    {EPERM, QUERN_DENIED},    {EROFS, QUERN_DENIED},
                {ENOMEM, QUERN_NO_MEMORY}, {ENOENT, QUERN_NO_STORE}, {ENOTDIR, QUERN_NO_STORE},
                {EEXIST, QUERN_EXISTS},    {EIO, QUERN_IO},          {99999, QUERN_IO}};

    for (size_t k = 0; k < ARRAY_LEN(rows); k++)
        CHECK_CODE(err_sys(&err, rows[k].sys_errno, "x"), rows[k].code);
    for (int code = QUERN_OK; code <= QUERN_CONFLICT; code++)
        CHECK(strcmp(err_code_name((enum quern_code)code), "unknown code") != 0);
    CHECK(strcmp(err_code_name((enum quern_code)99), "unknown code") == 0);
}

TEST(base_long_stories_are_cut_and_stay_strings)
{
    char longest[1000];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    (void)err_set(&err, QUERN_IO, "%s", longest);
    CHECK_EQ(strlen(err.text), sizeof(err.text) - 1);
    (void)err_in(&err, "outer");
    CHECK(strncmp(err.text, "outer: xxx", 10) == 0);
    CHECK_EQ(strlen(err.text), sizeof(err.text) - 1);
    (void)err_in(&err, "%s", longest);
    CHECK_EQ(strlen(err.text), sizeof(err.text) - 1);
    (void)err_sys(&err, EIO, "%s", longest);
    CHECK_EQ(strlen(err.text), sizeof(err.text) - 1);
    CHECK_EQ(err.code, QUERN_IO);
}

/* ---- hash.h, table_meta.h ---- */

TEST(base_placed_checksums_differ_by_place)
{
    uint64_t here = hash_placed("abc", 3, 1, 4096);

    CHECK(here == hash_placed("abc", 3, 1, 4096));
    CHECK(here != hash_placed("abc", 3, 1, 8192) && here != hash_placed("abc", 3, 2, 4096));
    CHECK(here != hash_placed("abd", 3, 1, 4096));
}

/* Whatever code the processor allows: what one machine wrote, another one reads. */
TEST(base_long_hashes_are_the_same_numbers_on_every_processor)
{
    static uint8_t bytes[70000];
    uint64_t random = 7, sum = 0;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t len = 0; len < sizeof(bytes); len += 1 + len / 23) {
        uint64_t seed = len % 3 == 0 ? 0 : tap_random(&random);
        size_t a = tap_random(&random) % (len + 1), b = a + tap_random(&random) % (len - a + 1);
        struct quern_slice pieces[] = {{bytes, a}, {bytes + a, b - a}, {bytes + b, len - b}};
        uint64_t want = XXH3_64bits_withSeed(bytes, len, seed);

        CHECK_EQ(hash_bytes(bytes, len, seed), want);
        CHECK_EQ(hash_long(bytes, len, seed), want);
        CHECK_EQ(hash_pieces(pieces, ARRAY_LEN(pieces), seed), want);
    }
    for (size_t len = 400; len < 4000; len += 400)
        sum = sum * 31 + hash_bytes(bytes + len, len, len);
    CHECK_EQ(sum, UINT64_C(892524101515451659)); /* on disk, do not change */
}

TEST(base_table_metas_copy_whole_or_not_at_all)
{
    struct table_meta from = {.table_no = 42}, to = {.table_no = 7};
    char name[TABLE_NAME_BYTES];

    CHECK_OK(buf_append(&from.smallest, "a", 1, &err), &err);
    CHECK_OK(buf_append(&from.largest, "zz", 2, &err), &err);
    for (uint64_t n = 0; n < 2; n++) {
        enum quern_code code;

        alloc_fail_after(n);
        code = table_meta_copy(&to, &from, &err);
        alloc_fail_never();
        CHECK_EQ(code, QUERN_NO_MEMORY);
        CHECK(to.table_no == 7 && to.smallest.data == NULL);
    }
    CHECK_OK(table_meta_copy(&to, &from, &err), &err);
    table_meta_done(&from);
    CHECK_BYTES(buf_slice(&to.largest), "zz");
    table_meta_done(&to);
    table_name(name, 42);
    CHECK(strcmp(name, "000042.sst") == 0);
    table_name(name, UINT64_MAX);
    CHECK(strcmp(name, "18446744073709551615.sst") == 0);
}

/* ---- rcu.h ---- */

struct thing {
    struct rcu_node node;
    uint64_t value; /* 7 while anyone may look */
};
static struct thing *_Atomic shared;
static atomic_bool stop;
static atomic_uint retired;
static atomic_bool wrong;

static void retire_thing(struct rcu_node *node)
{
    struct thing *t = (struct thing *)node;

    t->value = 0;
    alloc_free(t);
    atomic_fetch_add(&retired, 1);
}

static void *read_things(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        rcu_enter();
        for (int k = 0; k < 10; k++) {
            struct thing *t = atomic_load_explicit(&shared, memory_order_acquire);

            if (t->value != 7)
                atomic_store(&wrong, true);
        }
        rcu_leave();
    }
    return NULL;
}

static struct thing *new_thing(void)
{
    struct thing *t = NEW(struct thing);

    t->value = 7;
    return t;
}

TEST(base_what_is_retired_outlives_its_readers_and_then_goes)
{
    pthread_t readers[2];

    atomic_store(&shared, new_thing());
    for (int k = 0; k < 2; k++)
        CHECK_OK(thread_start(&readers[k], "reader", read_things, NULL, &err), &err);
    for (int k = 0; k < 2000; k++) {
        struct thing *old = atomic_exchange(&shared, new_thing());

        rcu_retire(&old->node, retire_thing);
    }
    atomic_store(&stop, true);
    for (int k = 0; k < 2; k++)
        (void)pthread_join(readers[k], NULL);
    rcu_drain();
    CHECK(!atomic_load(&wrong));
    CHECK_EQ(atomic_load(&retired), 2000);
    rcu_wait();
    alloc_free(atomic_load(&shared));
}

static atomic_int stage;

static void *linger(void *arg)
{
    (void)arg;
    rcu_enter();
    atomic_store(&stage, 1);
    while (atomic_load(&stage) != 2)
        (void)sched_yield();
    rcu_leave();
    return NULL;
}

TEST(base_a_lingering_reader_holds_back_what_was_retired)
{
    struct thing *t = new_thing();
    struct timespec while_ = {.tv_nsec = 30000000};
    pthread_t reader;
    unsigned before = atomic_load(&retired);

    CHECK_OK(thread_start(&reader, "linger", linger, NULL, &err), &err);
    while (atomic_load(&stage) != 1)
        (void)sched_yield();
    rcu_retire(&t->node, retire_thing);
    (void)nanosleep(&while_, NULL);
    CHECK_EQ(atomic_load(&retired), before);
    atomic_store(&stage, 2);
    rcu_drain();
    CHECK_EQ(atomic_load(&retired), before + 1);
    (void)pthread_join(reader, NULL);
}

/* Without a drain: true once one more is freed than `before`. */
static bool reaper_comes(unsigned before)
{
    rcu_retire(&new_thing()->node, retire_thing);
    for (int tries = 0; tries < 20000 && atomic_load(&retired) == before; tries++)
        thread_sleep_ns(1000000);
    return atomic_load(&retired) == before + 1;
}

TEST(base_what_is_retired_goes_by_itself_in_a_child_too)
{
    int status = 0;
    pid_t child;

    CHECK_OK(rcu_start(&err), &err);
    CHECK(reaper_comes(atomic_load(&retired)));
    child = fork();
    if (child == 0) {
        rcu_enter(); /* readers of the parent are not waited for, readers here are */
        rcu_leave();
        _exit(rcu_start(&err) == QUERN_OK && reaper_comes(atomic_load(&retired)) ? 0 : 1);
    }
    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

/* ---- thread.h ---- */

struct count {
    struct mutex mu;
    struct cond changed;
    int value;       /* guarded by mu */
    bool all_masked; /* likewise */
};

static void *count_up(void *arg)
{
    struct count *c = arg;
    sigset_t mask;

    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int k = 0; k < 1000; k++) {
        mutex_lock(&c->mu);
        mutex_assert_held(&c->mu);
        c->value++;
        c->all_masked &= sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
        cond_signal(&c->changed);
        mutex_unlock(&c->mu);
    }
    return NULL;
}

TEST(base_threads_share_under_a_mutex_and_take_no_signals)
{
    struct count c = {.all_masked = true};
    pthread_t threads[3];
    sigset_t mask;

    mutex_init(&c.mu);
    cond_init(&c.changed);
    for (int k = 0; k < 3; k++)
        CHECK_OK(thread_start(&threads[k], "count", count_up, &c, &err), &err);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK(sigismember(&mask, SIGTERM) == 0); /* ours is as it was */
    mutex_lock(&c.mu);
    while (c.value < 3000)
        cond_wait(&c.changed, &c.mu);
    mutex_unlock(&c.mu);
    for (int k = 0; k < 3; k++)
        (void)pthread_join(threads[k], NULL);
    CHECK(c.all_masked);
    cond_done(&c.changed);
    mutex_done(&c.mu);
}

TEST(base_a_wait_with_a_deadline_ends)
{
    struct count c = {.value = 0};
    struct timespec a, b;
    bool woken = true;

    mutex_init(&c.mu);
    cond_init(&c.changed);
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    mutex_lock(&c.mu);
    while (woken) /* a wake without cause is allowed */
        woken = cond_wait_ms(&c.changed, &c.mu, 20);
    mutex_assert_held(&c.mu);
    mutex_unlock(&c.mu);
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    CHECK((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 19);
    cond_done(&c.changed);
    mutex_done(&c.mu);
}

static struct quern_slice text_slice(const char *text)
{
    return (struct quern_slice){text, strlen(text)};
}

static void check_decodes(const char *text, enum base64 kind, struct quern_slice want)
{
    uint8_t to[16];

    CHECK_EQ(base64_decode(text_slice(text), kind, to), want.len);
    CHECK(memcmp(to, want.data, want.len) == 0);
}

TEST(base_base64_has_one_meaning)
{
    struct buf out OWNED_BUF = {0};
    uint8_t to[16];
    static const struct {
        const char *bytes, *standard, *url;
        size_t len;
    } good[] = {
        {"", "", "", 0},
        {"f", "Zg==", "Zg", 1},
        {"fo", "Zm8=", "Zm8", 2},
        {"foo", "Zm9v", "Zm9v", 3},
        {"foob", "Zm9vYg==", "Zm9vYg", 4},
        {"\xfb\xff\xfe", "+//+", "-__-", 3},
        {"\0\0", "AAA=", "AAA", 2},
    };
    static const char *const bad[] = {
        "A",    "AAAAA", "A===", "=",    "====", "AA=",  "AB",     "AB==", "AAB",
        "AAB=", "A A=",  "AA\n", "+_AA", "-/AA", "AA=A", "AA==AA", "Z*=="};
    /* The dump knows one spelling. */
    static const char *const other[] = {"Zg", "Zm8", "Zm9vYg", "-__-"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct quern_slice bytes = {good[i].bytes, good[i].len};

        buf_clear(&out);
        CHECK_OK(base64_append(&out, bytes, BASE64_STANDARD, &err), &err);
        CHECK_BYTES(buf_slice(&out), good[i].standard);
        buf_clear(&out);
        CHECK_OK(base64_append(&out, bytes, BASE64_URL, &err), &err);
        CHECK_BYTES(buf_slice(&out), good[i].url);
        check_decodes(good[i].standard, BASE64_STANDARD, bytes);
        check_decodes(good[i].standard, BASE64_EITHER, bytes);
        check_decodes(good[i].url, BASE64_EITHER, bytes);
        check_decodes(good[i].url, BASE64_URL, bytes);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        for (int kind = BASE64_STANDARD; kind <= BASE64_EITHER; kind++)
            if (base64_decode(text_slice(bad[i]), (enum base64)kind, to) != SIZE_MAX)
                tap_fail(__FILE__, __LINE__, "'%s' as %d", bad[i], kind);
    }
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        if (base64_decode(text_slice(other[i]), BASE64_STANDARD, to) != SIZE_MAX)
            tap_fail(__FILE__, __LINE__, "'%s'", other[i]);
    CHECK_EQ(base64_decode(text_slice("+/+/"), BASE64_URL, to), SIZE_MAX);
}

TEST(base_base64_reads_back_any_bytes_in_place)
{
    uint64_t random = tap_seed();

    for (size_t len = 0; len < 70; len++) {
        for (int kind = BASE64_STANDARD; kind <= BASE64_URL; kind++) {
            struct buf text OWNED_BUF = {0};
            uint8_t bytes[70];

            for (size_t i = 0; i < len; i++)
                bytes[i] = (uint8_t)tap_random(&random);
            CHECK_OK(
                base64_append(&text, (struct quern_slice){bytes, len}, (enum base64)kind, &err),
                &err);
            CHECK_EQ(base64_decode(buf_slice(&text), (enum base64)kind, text.data), len);
            CHECK(len == 0 || memcmp(text.data, bytes, len) == 0);
        }
    }
}

TEST(base_moments_are_written_and_read_back)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } same[] = {{"1970-01-01T00:00:00.000Z", 0},
                {"1970-01-01T00:00:00.001Z", 1},
                {"1972-02-29T23:59:59.999Z", UINT64_C(68255999999)},
                {"2000-02-29T00:00:00.000Z", UINT64_C(951782400000)},
                {"2000-03-01T00:00:00.000Z", UINT64_C(951868800000)},
                {"2026-11-22T12:34:56.789Z", UINT64_C(1795350896789)},
                {"2100-03-01T00:00:00.000Z", UINT64_C(4107542400000)},
                {"9999-12-31T23:59:59.999Z", WHEN_MS_MAX}},
      other[] = {{"2026-11-22T12:34:56Z", UINT64_C(1795350896000)},
                 {"2026-11-22t12:34:56.7z", UINT64_C(1795350896700)},
                 {"2026-11-22 12:34:56.789999999Z", UINT64_C(1795350896789)},
                 {"2026-11-22T14:34:56+02:00", UINT64_C(1795350896000)},
                 {"2026-11-22T07:04:56-05:30", UINT64_C(1795350896000)}};
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-22",
                                      "2026-11-22T12:34:56",
                                      "2026-11-22T12:34Z",
                                      "2026-11-22T12:34:56.Z",
                                      "2026-02-29T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2026-01-00T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:60Z",
                                      "1969-12-31T23:59:59Z",
                                      "2026-01-01T00:00:00Z ",
                                      " 2026-01-01T00:00:00Z",
                                      "2026-01-01T00:00:00+24:00",
                                      "2026-01-01T00:00:00+0100",
                                      "2026-1-1T00:00:00Z",
                                      "+026-01-01T00:00:00Z",
                                      "9999-12-31T23:59:59-00:01",
                                      "1795350896000",
                                      "2026-01-01T00:00:00ZZ",
                                      "2026-01-01X00:00:00Z"};
    char text[WHEN_BYTES + 1];
    uint64_t ms, random = tap_seed();

    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        CHECK_EQ(when_write(same[i].ms, text), WHEN_BYTES);
        if (strcmp(text, same[i].text) != 0)
            tap_fail(__FILE__, __LINE__, "%s for %s", text, same[i].text);
        CHECK(when_read(text_slice(text), &ms));
        CHECK_EQ(ms, same[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        if (!when_read(text_slice(other[i].text), &ms) || ms != other[i].ms)
            tap_fail(__FILE__, __LINE__, "%s", other[i].text);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (when_read(text_slice(bad[i]), &ms))
            tap_fail(__FILE__, __LINE__, "'%s'", bad[i]);
    }
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t any = tap_random(&random) % (WHEN_MS_MAX + 1);

        (void)when_write(any, text);
        CHECK(when_read(text_slice(text), &ms) && ms == any);
    }
    (void)when_write(UINT64_MAX, text);
    CHECK(strcmp(text, "9999-12-31T23:59:59.999Z") == 0);
}

TEST(base_spans_of_time_have_one_number_and_one_unit)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"90", 90000},     {"90s", 90000},
                {"1500ms", 1500},  {"15m", 900000},
                {"12h", 43200000}, {"30d", UINT64_C(2592000000)},
                {"0", 0},          {"253402300799", UINT64_C(253402300799000)}};
    static const char *const bad[] = {
        "",   "s",  "-1",  "+1",  "1.5",   "1 s",          " 1",
        "1S", "1x", "1sm", "0x1", "1h30m", "253402300800", "99999999999999999999999"};
    uint64_t ms;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!span_read(text_slice(good[i].text), &ms) || ms != good[i].ms)
            tap_fail(__FILE__, __LINE__, "%s", good[i].text);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (span_read(text_slice(bad[i]), &ms))
            tap_fail(__FILE__, __LINE__, "'%s'", bad[i]);
    }
}

static void check_prefix(const char *prefix, size_t len, const char *end)
{
    struct quern_slice start = {"", 0}, until = {"", 0}, lower = text_slice("b"),
                       upper = text_slice("c"), none = {"", 0};
    struct buf after OWNED_BUF = {0}, again OWNED_BUF = {0};

    CHECK_OK(prefix_end((struct quern_slice){prefix, len}, &after, &err), &err);
    CHECK_BYTES(buf_slice(&after), end);
    buf_clear(&after);
    CHECK_OK(prefix_narrow((struct quern_slice){prefix, len}, &start, &until, &after, &err), &err);
    CHECK_BYTES(until, end);
    CHECK_EQ(start.len, len);
    CHECK_OK(prefix_narrow(none, &lower, &upper, &again, &err), &err);
    CHECK_BYTES(upper, "c");
    CHECK_OK(prefix_narrow(text_slice("bb"), &lower, &upper, &again, &err), &err);
    CHECK_BYTES(lower, "bb");
    CHECK_BYTES(upper, "bc");
}

TEST(base_a_prefix_ends_above_all_its_keys)
{
    check_prefix("ab", 2, "ac");
    check_prefix("a\xff\xff", 3, "b");
    check_prefix("\xff\xff", 2, "");
}
