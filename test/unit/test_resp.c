/* test_resp.c - the Redis protocol as bytes: what is taken, what is refused and with which words,
 * however the network cut it. */
#include "resp/resp_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include "tap.h"

#include <stdio.h>

static const struct resp_limits small = {1000, 4000, false};

/* Everything at once, then in pieces of one byte, each in memory of exactly its size: the verdicts
 * must agree. Leaves what was read in *r, placed over `bytes`. */
static enum resp_verdict read_cut(const char *bytes, size_t len, struct resp_request *r)
{
    enum resp_verdict whole, verdict = RESP_MORE;
    struct resp_request pieces = {0};

    memset(r, 0, sizeof(*r));
    whole = resp_request_read(r, &small, bytes, len);
    for (size_t n = 1; n <= len && verdict == RESP_MORE; n++) {
        uint8_t *exact = alloc_bytes(n);

        if (!EXPECT(exact != NULL))
            return RESP_NO_MEMORY;
        memcpy(exact, bytes, n);
        verdict = resp_request_read(&pieces, &small, exact, n);
        alloc_free(exact);
    }
    EXPECT(verdict == whole);
    EXPECT(whole != RESP_BAD || strcmp(pieces.bad, r->bad) == 0);
    EXPECT(whole != RESP_DONE || (pieces.count == r->count && pieces.bytes == r->bytes));
    resp_request_done(&pieces);
    return whole;
}

struct request_case {
    const char *bytes;
    size_t len;       /* 0: strlen */
    const char *want; /* arguments, each in <>; "..." for MORE; else the words of the refusal */
};

static const struct request_case cases[] = {
    /* arrays of bulks */
    {"*1\r\n$4\r\nPING\r\n", 0, "<PING>"},
    {"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n", 0, "<GET><a>"},
    {"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n", 0, "<SET><><\r\n>"},
    {"*0\r\n", 0, ""},
    {"*-1\r\n", 0, ""},
    {"*-5\r\n", 0, ""},
    {"*", 0, "..."},
    {"*1", 0, "..."},
    {"*1\r", 0, "..."},
    {"*1\r\n", 0, "..."},
    {"*1\r\n$", 0, "..."},
    {"*1\r\n$4\r\nPIN", 0, "..."},
    {"*1\r\n$4\r\nPING", 0, "..."},
    {"*1\r\n$4\r\nPING\r", 0, "..."},
    {"*x\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*1x\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*+1\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*01\r\n", 0, "Protocol error: invalid multibulk length"},
    {"* 1\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*1\rx", 0, "Protocol error: invalid multibulk length"},
    {"*1048577\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*3000000000\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*99999999999999999999\r\n", 0, "Protocol error: invalid multibulk length"},
    {"*1048576\r\n", 0, "..."},
    {"*1\r\n:4\r\n", 0, "Protocol error: expected '$', got ':'"},
    {"*1\r\nPING\r\n", 0, "Protocol error: expected '$', got 'P'"},
    {"*1\r\n$-1\r\n", 0, "Protocol error: invalid bulk length"},
    {"*1\r\n$\r\n", 0, "Protocol error: invalid bulk length"},
    {"*1\r\n$x\r\n", 0, "Protocol error: invalid bulk length"},
    {"*1\r\n$1001\r\n", 0, "Protocol error: invalid bulk length"},
    {"*1\r\n$9223372036854775807\r\n", 0, "Protocol error: invalid bulk length"},
    {"*1\r\n$9223372036854775808\r\n", 0, "Protocol error: invalid bulk length"},
    {"*1\r\n$4\r\nPINGxx", 0, "Protocol error: expected CRLF after a bulk"},
    {"*1\r\n$3\r\nPING\r\n", 0, "Protocol error: expected CRLF after a bulk"},
    /* lines */
    {"PING\r\n", 0, "<PING>"},
    {"PING\n", 0, "<PING>"},
    {"  SET  a   b\t\r\n", 0, "<SET><a><b>"},
    {"\r\n", 0, ""},
    {"\n", 0, ""},
    {" \r\n", 0, ""},
    {"PING", 0, "..."},
    {"PING\r", 0, "..."},
    {"SET \"a b\" 'c d'\r\n", 0, "<SET><a b><c d>"},
    {"SET a\"b c\" \"\"\r\n", 0, "<SET><ab c><>"},
    {"x \"\\x41\\x7a\\n\\r\\t\\b\\a\\\\\\\"\\q\"\n", 0, "<x><Az\n\r\t\b\a\\\"q>"},
    {"x \"\\x4\" '\\n\\''\n", 0, "<x><x4><\\n'>"},
    {"x \"a\n", 0, "Protocol error: unbalanced quotes in request"},
    {"x 'a\n", 0, "Protocol error: unbalanced quotes in request"},
    {"x \"a\"b\n", 0, "Protocol error: unbalanced quotes in request"},
    {"x 'a'b\n", 0, "Protocol error: unbalanced quotes in request"},
    {"x \"a\0\"\n", 7, "Protocol error: unbalanced quotes in request"},
    {"a b\0c d\n", 8, "<a><b>"},
    {"\"\"\n", 0, "<>"},
    {"\xff\xfe\n", 0, "<\xff\xfe>"},
};

static void check_request(const struct request_case *c)
{
    struct resp_request r;
    char got[256];
    size_t at = 0, len = c->len != 0 ? c->len : strlen(c->bytes);

    switch (read_cut(c->bytes, len, &r)) {
    case RESP_MORE:
        at = (size_t)snprintf(got, sizeof(got), "...");
        break;
    case RESP_BAD:
        at = (size_t)snprintf(got, sizeof(got), "%s", r.bad);
        break;
    default:
        resp_request_place(&r, c->bytes);
        for (size_t i = 0; i < r.count; i++) {
            got[at++] = '<';
            if (r.args[i].len > 0)
                memcpy(got + at, r.args[i].data, r.args[i].len);
            at += r.args[i].len;
            got[at++] = '>';
        }
        got[at] = '\0';
    }
    if (strcmp(got, c->want) != 0)
        tap_fail(__FILE__, __LINE__, "'%s' is '%s', not '%s'", c->bytes, got, c->want);
    resp_request_done(&r);
}

TEST(requests_are_read_as_redis_reads_them_wherever_they_are_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_request(&cases[i]);
}

TEST(requests_behind_one_another_are_read_one_by_one)
{
    static const char bytes[] = "*1\r\n$1\r\na\r\nb c\r\n*0\r\n*2\r\n$1\r\nd\r\n$1\r\ne\r\n";
    static const char *const want[] = {"a", "b", NULL, "d"};
    struct resp_request r = {0};
    size_t at = 0;

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        CHECK_EQ(resp_request_read(&r, &small, bytes + at, sizeof(bytes) - 1 - at), RESP_DONE);
        CHECK(want[i] == NULL ? r.count == 0 : tap_bytes_are(r.args[0], want[i]));
        at += r.bytes;
        resp_request_next(&r);
    }
    CHECK_EQ(at, sizeof(bytes) - 1);
    resp_request_done(&r);
}

/* `n` letters behind `head`, then `tail`. */
static enum resp_verdict read_long(const char *head, size_t n, const char *tail, char bad[96])
{
    struct resp_request r = {0};
    size_t len = strlen(head) + n + strlen(tail);
    char *bytes = alloc_bytes(len + 1);
    enum resp_verdict verdict;

    if (!EXPECT(bytes != NULL))
        return RESP_NO_MEMORY;
    memcpy(bytes, head, strlen(head));
    memset(bytes + strlen(head), '1', n);
    memcpy(bytes + strlen(head) + n, tail, strlen(tail));
    verdict = resp_request_read(&r, &small, bytes, len);
    (void)snprintf(bad, 96, "%s", verdict == RESP_BAD ? r.bad : "");
    alloc_free(bytes);
    resp_request_done(&r);
    return verdict;
}

TEST(lines_end_within_64_kib)
{
    char bad[96];

    CHECK_EQ(read_long("", RESP_LINE_BYTES_MAX, "", bad), RESP_MORE);
    CHECK_EQ(read_long("", RESP_LINE_BYTES_MAX, "\n", bad), RESP_DONE);
    CHECK_EQ(read_long("", RESP_LINE_BYTES_MAX + 1, "", bad), RESP_BAD);
    CHECK(strcmp(bad, "Protocol error: too big inline request") == 0);
    CHECK_EQ(read_long("", RESP_LINE_BYTES_MAX + 1, "\n", bad), RESP_BAD);
    CHECK_EQ(read_long("*", RESP_LINE_BYTES_MAX + 1, "", bad), RESP_BAD);
    CHECK(strcmp(bad, "Protocol error: too big mbulk count string") == 0);
    CHECK_EQ(read_long("*1\r\n$", RESP_LINE_BYTES_MAX + 1, "", bad), RESP_BAD);
    CHECK(strcmp(bad, "Protocol error: too big bulk count string") == 0);
}

TEST(a_request_is_bounded_as_a_whole)
{
    struct resp_request r = {0};
    struct buf bytes OWNED_BUF = {0};
    struct quern_error err;
    char bulk[1100];
    int head = snprintf(bulk, sizeof(bulk), "$1000\r\n");

    memset(bulk + head, 'x', 1000);
    memcpy(bulk + head + 1000, "\r\n", 2);
    CHECK_OK(buf_append(&bytes, "*9\r\n", 4, &err), &err);
    for (int i = 0; i < 4; i++)
        CHECK_OK(buf_append(&bytes, bulk, (size_t)head + 1002, &err), &err);
    CHECK_EQ(resp_request_read(&r, &small, bytes.data, bytes.len), RESP_BAD);
    CHECK(strcmp(r.bad, "Protocol error: too big request") == 0);
    resp_request_done(&r);
}

TEST(no_memory_is_told_and_leaves_nothing)
{
    static const char *const bytes[] = {"*1\r\n$4\r\nPING\r\n", "PING \"a\"\r\n"};

    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        for (uint64_t n = 0;; n++) {
            struct resp_request r = {0};
            enum resp_verdict verdict;

            alloc_fail_once_after(n);
            verdict = resp_request_read(&r, &small, bytes[i], strlen(bytes[i]));
            alloc_fail_never();
            resp_request_done(&r);
            if (verdict == RESP_DONE)
                break;
            CHECK_EQ(verdict, RESP_NO_MEMORY);
            CHECK(n < 10);
        }
    }
}

static bool integer_is(const char *text, int64_t want)
{
    int64_t v = 0;

    return resp_integer((struct quern_slice){text, strlen(text)}, &v) && v == want;
}

static bool no_integer(const char *text)
{
    int64_t v;

    return !resp_integer((struct quern_slice){text, strlen(text)}, &v);
}

TEST(integers_are_taken_as_redis_would_write_them_and_no_other_way)
{
    CHECK(integer_is("0", 0) && integer_is("1", 1) && integer_is("-1", -1));
    CHECK(integer_is("9223372036854775807", INT64_MAX));
    CHECK(integer_is("-9223372036854775808", INT64_MIN));
    CHECK(no_integer("9223372036854775808") && no_integer("-9223372036854775809"));
    CHECK(no_integer("") && no_integer("-") && no_integer("+1") && no_integer("01"));
    CHECK(no_integer("-0") && no_integer("-01") && no_integer(" 1") && no_integer("1 "));
    CHECK(no_integer("1.0") && no_integer("0x1") && no_integer("99999999999999999999999"));
}

struct glob_case {
    const char *pattern, *text;
    bool matches;
};

static const struct glob_case globs[] = {
    {"*", "", true},
    {"*", "abc", true},
    {"", "", true},
    {"", "a", false},
    {"a", "a", true},
    {"a", "b", false},
    {"a?c", "abc", true},
    {"a?c", "ac", false},
    {"a*c", "abbbc", true},
    {"a*c", "abbbd", false},
    {"*b*", "abc", true},
    {"a**", "a", true},
    {"[abc]", "b", true},
    {"[abc]", "d", false},
    {"[^abc]", "d", true},
    {"[^abc]", "a", false},
    {"[a-c]x", "bx", true},
    {"[c-a]x", "bx", true},
    {"[a-c]x", "dx", false},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"[\\]]", "]", true},
    {"a\\", "a\\", true},
    {"[a", "a", true},
    {"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    {"user:*:name", "user:12:name", true},
    {"user:*:name", "user:12:nam", false},
    {"h[^e]llo", "hello", false},
    {"h[^e]llo", "hallo", true},
    {"?", "", false},
};

TEST(globs_match_as_in_redis)
{
    for (size_t i = 0; i < ARRAY_LEN(globs); i++) {
        const struct glob_case *g = &globs[i];

        if (resp_glob_matches((struct quern_slice){g->pattern, strlen(g->pattern)},
                              (struct quern_slice){g->text, strlen(g->text)}) != g->matches)
            tap_fail(__FILE__, __LINE__, "%s against %s", g->pattern, g->text);
    }
}

static bool prefix_is(const char *pattern, const char *want)
{
    struct buf out OWNED_BUF = {0};
    struct quern_error err;

    return resp_glob_prefix((struct quern_slice){pattern, strlen(pattern)}, &out, &err) ==
               QUERN_OK &&
           tap_bytes_are(buf_slice(&out), want);
}

TEST(the_prefix_of_a_glob_is_what_every_match_begins_with)
{
    CHECK(prefix_is("*", "") && prefix_is("abc", "abc") && prefix_is("a*c", "a"));
    CHECK(prefix_is("a?c", "a") && prefix_is("a[bc]", "a") && prefix_is("a\\*b*", "a*b"));
    CHECK(prefix_is("a\\", "a\\"));
}

static void put_all(struct resp_out *o)
{
    resp_put_simple(o, "OK");
    resp_put_error(o, "ERR a\r\nb %d", 7);
    resp_put_int(o, 0);
    resp_put_int(o, INT64_MIN);
    resp_put_text(o, "text");
    resp_put_bulk(o, (struct quern_slice){NULL, 0});
    resp_put_null(o);
    resp_put_null_array(o);
    resp_put_array(o, 2);
    resp_put_set(o, 3);
    resp_put_map(o, 4);
    resp_put_verbatim(o, (struct quern_slice){"say", 3});
}

struct dumped {
    const char *body; /* before the version */
    size_t len;
    const char *value; /* NULL: refused */
};

/* What Redis 7.0 dumps, and what it would not. */
static const struct dumped dumps[] = {
    {"\x00\x05hello", 7, "hello"},
    {"\x00\x00", 2, ""},
    {"\x00\xc0\x7b", 3, "123"},
    {"\x00\xc0\x80", 3, "-128"},
    {"\x00\xc1\x00\x80", 4, "-32768"},
    {"\x00\xc2\xff\xff\xff\x7f", 6, "2147483647"},
    {"\x00\x40\x03"
     "abc",
     6, "abc"},
    {"\x00\x80\x00\x00\x00\x03"
     "abc",
     9, "abc"},
    {"\x00\xc3\x09\x40\x40\x01zz\xe0\x33\x00\x01zz", 14,
     "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"},
    {"\x00\x06hello", 7, NULL},
    {"\x00\x04hello", 7, NULL},
    {"\x00", 1, NULL},
    {"\x01\x00", 2, NULL},
    {"\x00\xc0", 2, NULL},
    {"\x00\xc2\xff", 3, NULL},
    {"\x00\xc4\x00", 3, NULL},
    {"\x00\x82\x00", 3, NULL},
    {"\x00\xc3\x02\x03\x20\x00", 6, NULL},                      /* goes back before the beginning */
    {"\x00\xc3\x09\x40\x41\x01zz\xe0\x33\x00\x01zz", 14, NULL}, /* one byte too few */
    {"\x00\xc3\x09\x40\x3f\x01zz\xe0\x33\x00\x01zz", 14, NULL}, /* one too many */
    {"\x00\xc3\x01\x80\x7f\xff\xff\xff\x00", 9, NULL},          /* announces 2 GiB */
    {"\x00\xc3\x02\x05\x04z", 6, NULL},
};

static struct buf with_foot(const char *body, size_t len)
{
    struct buf all = {0};
    struct quern_error err;
    uint64_t sum;

    EXPECT(buf_append(&all, body, len, &err) == QUERN_OK);
    EXPECT(buf_append(&all, "\x0a", 2, &err) == QUERN_OK);
    sum = resp_crc64(buf_slice(&all));
    for (unsigned i = 0; i < 8; i++) {
        uint8_t byte = (uint8_t)(sum >> 8 * i);

        EXPECT(buf_append(&all, &byte, 1, &err) == QUERN_OK);
    }
    return all;
}

TEST(values_are_restored_from_what_redis_dumps_and_from_nothing_else)
{
    EXPECT(resp_crc64((struct quern_slice){"123456789", 9}) == UINT64_C(0xe9c6d914c4b8d9ca));
    for (unsigned i = 0; i < ARRAY_LEN(dumps); i++) {
        struct buf all = with_foot(dumps[i].body, dumps[i].len), value = {0};
        enum resp_dump how = resp_dump_read(buf_slice(&all), 1 << 20, &value);

        if (dumps[i].value == NULL) {
            EXPECT(how == RESP_DUMP_FORMAT);
        } else {
            EXPECT(how == RESP_DUMP_WELL && value.len == strlen(dumps[i].value) &&
                   (value.len == 0 || memcmp(value.data, dumps[i].value, value.len) == 0));
        }
        for (size_t at = 0; at < all.len; at++) {
            all.data[at] ^= 1;
            buf_clear(&value);
            EXPECT(resp_dump_read(buf_slice(&all), 1 << 20, &value) == RESP_DUMP_SUM);
            all.data[at] ^= 1;
        }
        buf_done(&all);
        buf_done(&value);
    }
}

TEST(replies_have_the_bytes_of_their_protocol)
{
    struct buf text OWNED_BUF = {0};
    struct resp_out o = {&text, 2, false};

    put_all(&o);
    CHECK_BYTES(buf_slice(&text),
                "+OK\r\n-ERR a  b 7\r\n:0\r\n:-9223372036854775808\r\n$4\r\ntext\r\n$0\r\n\r\n"
                "$-1\r\n*-1\r\n*2\r\n*3\r\n*8\r\n$3\r\nsay\r\n");
    buf_clear(&text);
    o.proto = 3;
    put_all(&o);
    CHECK_BYTES(buf_slice(&text),
                "+OK\r\n-ERR a  b 7\r\n:0\r\n:-9223372036854775808\r\n$4\r\ntext\r\n$0\r\n\r\n"
                "_\r\n_\r\n*2\r\n~3\r\n%4\r\n=7\r\ntxt:say\r\n");
    CHECK(!o.failed);
}

TEST(a_reply_without_memory_is_remembered_as_failed)
{
    struct buf text OWNED_BUF = {0};
    struct resp_out o = {&text, 2, false};

    alloc_fail_once_after(0);
    resp_put_int(&o, 1);
    alloc_fail_never();
    resp_put_int(&o, 2);
    CHECK(o.failed);
}
