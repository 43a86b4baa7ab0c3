/* test_http.c - promises of src/http/: what is refused and with which status, that the cutting of
 * the network changes nothing, limits at N-1, N and N+1. */
#include "http/http.h"

#include "base/alloc.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define H "Host: a\r\n"
#define S(s) ((struct quern_slice){(s), sizeof(s) - 1})

/* 0: a whole head; 1: more is needed; else the status of the refusal. `cut` > 0 gives the bytes in
 * pieces of that many. The head is copied to memory of its exact size, so that a sanitizer sees any
 * byte read too far. */
static int head_verdict(const char *bytes, size_t len, size_t cut, struct http_request *r)
{
    enum http_verdict verdict = HTTP_MORE;

    memset(r, 0, sizeof(*r));
    for (size_t have = cut ? cut : len; verdict == HTTP_MORE; have += cut) {
        size_t n = have < len ? have : len;
        uint8_t *exact = alloc_bytes(n);

        memcpy(exact, bytes, n);
        verdict = http_request_read(r, exact, n);
        alloc_free(exact);
        if (n == len)
            break;
    }
    return verdict == HTTP_DONE ? 0 : verdict == HTTP_MORE ? 1 : r->bad.status;
}

struct head_case {
    const char *bytes;
    int status;
    size_t len; /* 0: strlen */
};

static const struct head_case heads[] = {
    /* whole and well */
    {"GET / HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"GET / HTTP/1.0\r\n\r\n", 0, 0},
    {"\r\nGET / HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"POST /set?key=a HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 0, 0},
    {"POST /set HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 0, 0},
    {"POST /set HTTP/1.1\r\n" H "transfer-encoding: CHUNKED\r\n\r\n", 0, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n", 0, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 00000000000000000000005\r\n\r\n", 0, 0},
    {"GET http://localhost:8080/get?key=a HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"GET HTTP://localhost/ HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 0},
    {"GET / HTTP/1.1\r\nHost:a\r\n\r\n", 0, 0},
    {"GET / HTTP/1.1\r\nhOsT: \t a \t \r\n\r\n", 0, 0},
    {"GET / HTTP/1.1\r\n" H "X: \xff\x80 ok\r\n\r\n", 0, 0},
    {"GET / HTTP/1.1\r\n" H "X:\r\nY: \r\n\r\n", 0, 0},
    {"GET / HTTP/1.1\r\n" H "!#$%&'*+-.^_`|~09aZ: x\r\n\r\n", 0, 0},
    {"GET /?\xc3\xa4=\x80\xff HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"GET /?a?b=c:d@e/f'()\"<>\\^`{|}~ HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"GET //a/../b/%2F HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", 0, 0},
    {"PUT / HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"PATCH / HTTP/1.1\r\n" H "\r\n", 0, 0},
    {"GET / HTTP/1.1\r\n" H "\r\nGARBAGE \x01\n\n", 0, 0},
    /* not all there yet */
    {"G", 1, 0},
    {"\r", 1, 0},
    {"\r\n", 1, 0},
    {"GET / HTTP/1.1", 1, 0},
    {"GET / HTTP/1.1\r", 1, 0},
    {"GET / HTTP/1.1\r\n", 1, 0},
    {"GET / HTTP/1.1\r\n" H, 1, 0},
    {"GET / HTTP/1.1\r\n" H "\r", 1, 0},
    /* not HTTP at all: known by the first byte */
    {"\x16\x03\x01\x02", 400, 0},
    {"\0", 400, 1},
    {" GET / HTTP/1.1", 400, 0},
    {"\n", 400, 0},
    {"\r\r", 400, 0},
    {"\r\n\r\n", 400, 0},
    {"\r\n\n", 400, 0},
    {"\tGET", 400, 0},
    {":GET", 400, 0},
    {"(", 400, 0},
    {"\xff\xfe", 400, 0},
    {"{\"json\":1}", 400, 0},
    /* the request line */
    {"GET\r\n", 400, 0},
    {"GET \r\n", 400, 0},
    {"GET  \r\n", 400, 0},
    {"GET /\r\n", 400, 0},
    {"GET / \r\n", 400, 0},
    {"GET  / HTTP/1.1\r\n", 400, 0},
    {"GET /  HTTP/1.1\r\n", 400, 0},
    {"GET / HTTP/1.1 \r\n", 400, 0},
    {"GET\t/ HTTP/1.1\r\n", 400, 0},
    {"GET /\tHTTP/1.1\r\n", 400, 0},
    {"GET /a b HTTP/1.1\r\n", 400, 0},
    {"GET HTTP/1.1\r\n", 400, 0},
    {"GET / http/1.1\r\n", 400, 0},
    {"GET / HTTP/1\r\n", 400, 0},
    {"GET / HTTP/1.\r\n", 400, 0},
    {"GET / HTTP/1.11\r\n", 400, 0},
    {"GET / HTTP/11.1\r\n", 400, 0},
    {"GET / HTTP/01.1\r\n", 400, 0},
    {"GET / HTTP/1,1\r\n", 400, 0},
    {"GET / HTTP/+1.1\r\n", 400, 0},
    {"GET / HTTP/x.1\r\n", 400, 0},
    {"GET / HTTP /1.1\r\n", 400, 0},
    {"GET / FTP/1.1\r\n", 400, 0},
    {"GET / HTTPS/1.1\r\n", 400, 0},
    {"GET / HTTP/1.2\r\n", 505, 0},
    {"GET / HTTP/2.0\r\n", 505, 0},
    {"GET / HTTP/0.9\r\n", 505, 0},
    {"GET / HTTP/9.9\r\n", 505, 0},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 0},
    {"BREW / HTTP/1.1\r\n", 501, 0},
    {"get / HTTP/1.1\r\n", 501, 0},
    {"GETS / HTTP/1.1\r\n", 501, 0},
    {"GE / HTTP/1.1\r\n", 501, 0},
    {"TRACE / HTTP/1.1\r\n", 501, 0},
    {"CONNECT a:80 HTTP/1.1\r\n", 501, 0},
    {"G=T / HTTP/1.1\r\n", 400, 0},
    {"G\x01T / HTTP/1.1\r\n", 400, 0},
    {"G\xc3\x84T / HTTP/1.1\r\n", 400, 0},
    {"GET get HTTP/1.1\r\n", 400, 0},
    {"GET ?key=a HTTP/1.1\r\n", 400, 0},
    {"GET * HTTP/1.1\r\n", 400, 0},
    {"OPTIONS ** HTTP/1.1\r\n", 400, 0},
    {"GET /a#b HTTP/1.1\r\n", 400, 0},
    {"GET /\x7f HTTP/1.1\r\n", 400, 0},
    {"GET /\x80 HTTP/1.1\r\n", 400, 0},
    {"GET /\xc3\xa4 HTTP/1.1\r\n", 400, 0},
    {"GET /\xc3\xa4?a HTTP/1.1\r\n", 400, 0},
    {"GET http://\xc3\xa4/?a HTTP/1.1\r\n", 400, 0},
    {"GET /?\x7f HTTP/1.1\r\n", 400, 0},
    {"GET /?a\x01 HTTP/1.1\r\n", 400, 0},
    {"GET /\x01 HTTP/1.1\r\n", 400, 0},
    {"GET /\0 HTTP/1.1\r\n", 400, 17},
    {"GET http:// HTTP/1.1\r\n", 400, 0},
    {"GET http:/// HTTP/1.1\r\n", 400, 0},
    {"GET http://a HTTP/1.1\r\n", 400, 0},
    {"GET http://a?b HTTP/1.1\r\n", 400, 0},
    {"GET http://user@a/ HTTP/1.1\r\n", 400, 0},
    {"GET https://a/ HTTP/1.1\r\n", 400, 0},
    {"GET ftp://a/ HTTP/1.1\r\n", 400, 0},
    {"GET //\n HTTP/1.1\r\n", 400, 0},
    /* line ends */
    {"GET / HTTP/1.1\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, 0},
    {"GET / HTTP/1.1\r\r\n", 400, 0},
    {"GET / HTTP/1.1\rX: y\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: a\r\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: a\rb\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "\r\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: a\rY: b\r\n", 400, 0},
    /* field lines */
    {"GET / HTTP/1.1\r\nHost : a\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost\t: a\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n Host: a\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H " folded\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n\tfolded\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H " \r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H ": x\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X y: z\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X(: z\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X\x80: z\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "\"X\": z\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: a\0b\r\n", 400, 33},
    {"GET / HTTP/1.1\r\n" H "X\0: ab\r\n", 400, 33},
    {"GET / HTTP/1.1\r\n" H "X: a\x01\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: a\x7f\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: \x0b\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H "GET / HTTP/1.1\r\n", 400, 0},
    /* whose request */
    {"GET / HTTP/1.1\r\n\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, 0},
    {"GET / HTTP/1.1\r\n" H H, 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: y\r\nhost: b\r\n", 400, 0},
    {"GET / HTTP/1.0\r\n" H H, 400, 0},
    {"GET / HTTP/1.1\r\nHost: a b\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: a,b\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n", 400, 0},
    {"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n", 400, 0},
    {"GET http://a/ HTTP/1.1\r\n\r\n", 400, 0},
    /* where it ends */
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\ncontent-length: 6\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1_000\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5.0\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: five\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551621\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\t\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5 \t \r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\t\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked,\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
     "chunked\r\n",
     400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400,
     0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n", 400, 0},
    {"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400, 0},
    {"POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n", 417, 0},
    {"POST / HTTP/1.1\r\n" H "Expect:\r\n", 417, 0},
};

TEST(http_every_head_of_the_corpus_gets_its_status_however_it_is_cut)
{
    static const size_t cuts[] = {0, 1, 2, 3, 7, 64};
    struct http_request r;

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        const struct head_case *c = &heads[i];
        size_t len = c->len ? c->len : strlen(c->bytes);

        for (size_t k = 0; k < ARRAY_LEN(cuts); k++) {
            int got = head_verdict(c->bytes, len, cuts[k], &r);

            if (got != c->status)
                tap_fail(__FILE__, __LINE__, "head %zu '%s' cut by %zu: %d, not %d", i, c->bytes,
                         cuts[k], got, c->status);
        }
    }
    tap_note("%zu heads", ARRAY_LEN(heads));
}

TEST(http_a_head_tells_what_the_request_said)
{
    static const char bytes[] = "POST http://LocalHost:80/set?key=a%20b HTTP/1.1\r\n"
                                "Host: other\r\nContent-Length: 12\r\naccept: text/plain\r\n"
                                "Accept: second\r\nContent-Type:  a/b \r\n"
                                "Expect: 100-continue\r\nConnection: foo , Close\r\n\r\nbody";
    struct http_request r;

    CHECK_EQ(head_verdict(bytes, sizeof(bytes) - 1, 0, &r), 0);
    CHECK_EQ(r.method, HTTP_POST);
    CHECK_EQ(r.minor, 1);
    CHECK_BYTES(http_bytes(bytes, r.path), "/set");
    CHECK(r.has_query);
    CHECK_BYTES(http_bytes(bytes, r.query), "key=a%20b");
    CHECK_BYTES(http_bytes(bytes, r.host), "LocalHost:80");
    CHECK_BYTES(http_bytes(bytes, r.field[HTTP_ACCEPT]), "text/plain");
    CHECK_BYTES(http_bytes(bytes, r.field[HTTP_CONTENT_TYPE]), "a/b");
    CHECK_EQ(r.content_length, 12);
    CHECK(r.expect_continue && !r.chunked && !r.keep_alive);
    CHECK_EQ(r.head_bytes, sizeof(bytes) - 1 - 4);
    CHECK(http_has(&r, HTTP_HOST) && !http_has(&r, HTTP_ORIGIN));
}

static bool keeps_alive(const char *version, const char *connection)
{
    struct http_request r;
    char bytes[200];
    int len =
        snprintf(bytes, sizeof(bytes), "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", version, connection);

    EXPECT(head_verdict(bytes, (size_t)len, 0, &r) == 0);
    return r.keep_alive;
}

TEST(http_keep_alive_follows_version_and_connection)
{
    CHECK(keeps_alive("1.1", ""));
    CHECK(keeps_alive("1.1", "Connection: keep-alive\r\n"));
    CHECK(keeps_alive("1.1", "Connection: closed\r\n"));
    CHECK(!keeps_alive("1.1", "Connection: CLOSE\r\n"));
    CHECK(!keeps_alive("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
    CHECK(!keeps_alive("1.0", ""));
    CHECK(keeps_alive("1.0", "Connection: Keep-Alive\r\n"));
    CHECK(!keeps_alive("1.0", "Connection: keep-alive, close\r\n"));
}

/* A request line of `line` letters, `fields` bytes of field lines (empty line included), in `count`
 * fields. */
static int sized_head(size_t line, size_t fields, unsigned count, size_t cut)
{
    static char bytes[HTTP_HEAD_BYTES_MAX + 4096];
    struct http_request r;
    size_t n = 0, at;

    n = (size_t)sprintf(bytes, "GET /");
    while (n < line - strlen(" HTTP/1.1"))
        bytes[n++] = 'a';
    n += (size_t)sprintf(bytes + n, " HTTP/1.1\r\n");
    at = n;
    n += (size_t)sprintf(bytes + n, H);
    for (unsigned i = 1; i < count - 1; i++)
        n += (size_t)sprintf(bytes + n, "X:\r\n");
    n += (size_t)sprintf(bytes + n, "Y:");
    while (n - at < fields - 4)
        bytes[n++] = 'b';
    n += (size_t)sprintf(bytes + n, "\r\n\r\n");
    return head_verdict(bytes, n, cut, &r);
}

TEST(http_limits_hold_at_one_below_at_and_one_above)
{
    static const size_t cuts[] = {0, 1021, 4096};

    for (size_t k = 0; k < ARRAY_LEN(cuts); k++) {
        CHECK_EQ(sized_head(HTTP_LINE_BYTES_MAX - 1, 100, 2, cuts[k]), 0);
        CHECK_EQ(sized_head(HTTP_LINE_BYTES_MAX, 100, 2, cuts[k]), 0);
        CHECK_EQ(sized_head(HTTP_LINE_BYTES_MAX + 1, 100, 2, cuts[k]), 414);
        CHECK_EQ(sized_head(40, HTTP_FIELDS_BYTES_MAX - 1, 2, cuts[k]), 0);
        CHECK_EQ(sized_head(40, HTTP_FIELDS_BYTES_MAX, 2, cuts[k]), 0);
        CHECK_EQ(sized_head(40, HTTP_FIELDS_BYTES_MAX + 1, 2, cuts[k]), 431);
        CHECK_EQ(sized_head(HTTP_LINE_BYTES_MAX, HTTP_FIELDS_BYTES_MAX, 2, cuts[k]), 0);
        CHECK_EQ(sized_head(40, 1000, HTTP_FIELDS_MAX - 1, cuts[k]), 0);
        CHECK_EQ(sized_head(40, 1000, HTTP_FIELDS_MAX, cuts[k]), 0);
        CHECK_EQ(sized_head(40, 1000, HTTP_FIELDS_MAX + 1, cuts[k]), 431);
    }
}

TEST(http_an_endless_line_is_refused_before_it_ends)
{
    static char bytes[HTTP_HEAD_BYTES_MAX + 100];
    struct http_request r;

    memset(bytes, 'a', sizeof(bytes));
    CHECK_EQ(head_verdict(bytes, HTTP_LINE_BYTES_MAX + 1, 1000, &r), 1);
    CHECK_EQ(head_verdict(bytes, HTTP_LINE_BYTES_MAX + 2, 1000, &r), 414);
    memcpy(bytes, "GET / HTTP/1.1\r\n", 16);
    CHECK_EQ(head_verdict(bytes, 16 + HTTP_FIELDS_BYTES_MAX - 1, 1000, &r), 1);
    CHECK_EQ(head_verdict(bytes, 16 + HTTP_FIELDS_BYTES_MAX, 1000, &r), 431);
}

/* ------------------------------------------------------------------ chunked -- */

struct body_case {
    const char *bytes;
    const char *body; /* NULL: refused; "?": more is needed */
    size_t left;      /* bytes behind the body */
};

static const struct body_case bodies[] = {
    {"0\r\n\r\n", "", 0},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"5\r\nhello\r\n0\r\n\r\nGET /", "hello", 5},
    {"1\r\na\r\n2\r\nbc\r\n00000\r\n\r\n", "abc", 0},
    {"a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0},
    {"A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0},
    {"0000000000000001\r\na\r\n0\r\n\r\n", "a", 0},
    {"1;ext=\"v\"\r\na\r\n0;x\r\n\r\n", "a", 0},
    {"1\r\na\r\n0\r\nTrailer: x\r\nOther:\r\n\r\n", "a", 0},
    {"1;a=b;c;d=\"x ;y\";e\r\na\r\n0\r\n\r\n", "a", 0},
    {"0\r\nContent-Lengthy: 1\r\nTransfer-Encodin: 2\r\n\r\n", "", 0},
    {"2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0},
    {"5\r\nhel", "?", 0},
    {"5", "?", 0},
    {"1\r\na\r\n0\r\n", "?", 0},
    {"1\r\na\r\n0\r\n\r", "?", 0},
    {"\r\n", NULL, 0},
    {" 5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"5 \r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"5\t;x\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"+5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"-5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"0x5\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"5_0\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"g\r\n", NULL, 0},
    {";x\r\n", NULL, 0},
    {"00000000000000001\r\na\r\n0\r\n\r\n", NULL, 0},
    {"5\nhello\r\n0\r\n\r\n", NULL, 0},
    {"5\r\nhello\n0\r\n\r\n", NULL, 0},
    {"5\r\nhello0\r\n\r\n", NULL, 0},
    {"5\r\nhelloX\r\n0\r\n\r\n", NULL, 0},
    {"5\r\nhello\r\r\n0\r\n\r\n", NULL, 0},
    {"5\rhello\r\n0\r\n\r\n", NULL, 0},
    {"5;a\nb\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"5;a\rb\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"5;\x01\r\nhello\r\n0\r\n\r\n", NULL, 0},
    {"0\r\n\n", NULL, 0},
    {"0\r\n\rx", NULL, 0},
    {"0\r\n x: y\r\n\r\n", NULL, 0},
    {"0\r\nbad trailer: y\r\n\r\n", NULL, 0},
    {"0\r\n: y\r\n\r\n", NULL, 0},
    {"0\r\nx y\r\n\r\n", NULL, 0},
    {"0\r\nx: y\n\r\n", NULL, 0},
    {"0\r\nx: \x01\r\n\r\n", NULL, 0},
    {"1;\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1; a\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1;a=\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1;=b\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1;a=\"b\"c\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1;a=\"b\\\"\"\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1;a=\"b\r\na\r\n0\r\n\r\n", NULL, 0},
    {"1;\xff\r\na\r\n0\r\n\r\n", NULL, 0},
    {"0\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, 0},
    {"0\r\nx: y\r\ncONTENT-lENGTH: 1\r\n\r\n", NULL, 0},
};

/* Decode in pieces of `cut` bytes into `body`; *taken bytes were used. */
static enum http_verdict decode(const char *bytes, size_t len, size_t cut, char *body,
                                size_t *body_len, size_t *taken)
{
    struct http_chunked c = {0};
    enum http_verdict verdict = HTTP_MORE;

    *body_len = *taken = 0;
    while (verdict == HTTP_MORE && *taken < len) {
        struct quern_slice piece;
        size_t give = cut && cut < len - *taken ? cut : len - *taken, used;

        verdict = http_chunked_read(&c, bytes + *taken, give, &used, &piece);
        EXPECT(used > 0 && used <= give);
        memcpy(body + *body_len, piece.data, piece.len);
        *body_len += piece.len;
        *taken += used;
    }
    return verdict;
}

TEST(http_every_chunked_body_is_read_or_refused_however_it_is_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        const struct body_case *b = &bodies[i];
        size_t len = strlen(b->bytes), body_len, taken;
        char body[64];

        for (size_t cut = 0; cut < 8; cut++) {
            enum http_verdict got = decode(b->bytes, len, cut, body, &body_len, &taken);
            enum http_verdict want = b->body == NULL             ? HTTP_BAD
                                     : strcmp(b->body, "?") == 0 ? HTTP_MORE
                                                                 : HTTP_DONE;

            if (got != want)
                tap_fail(__FILE__, __LINE__, "body %zu cut by %zu: %d, not %d", i, cut, (int)got,
                         (int)want);
            if (want == HTTP_DONE) {
                CHECK_EQ(body_len, strlen(b->body));
                CHECK(memcmp(body, b->body, body_len) == 0);
                CHECK_EQ(len - taken, b->left);
            }
        }
    }
}

/* A body whose one line of extension, or trailers, has this many bytes. */
static enum http_verdict sized_body(const char *before, char fill, size_t n, const char *after)
{
    static char bytes[20000], body[16];
    size_t len = (size_t)sprintf(bytes, "%s", before), body_len, taken;

    memset(bytes + len, fill, n);
    len += n;
    len += (size_t)sprintf(bytes + len, "%s", after);
    return decode(bytes, len, 0, body, &body_len, &taken);
}

TEST(http_chunk_extensions_and_trailers_are_bounded)
{
    size_t ext = HTTP_CHUNK_EXTENSION_BYTES_MAX - 1; /* its CR counts */
    size_t trailer = HTTP_TRAILER_BYTES_MAX - strlen("x:\r\n\r");

    CHECK_EQ(sized_body("0;", 'e', ext - 1, "\r\n\r\n"), HTTP_DONE);
    CHECK_EQ(sized_body("0;", 'e', ext, "\r\n\r\n"), HTTP_DONE);
    CHECK_EQ(sized_body("0;", 'e', ext + 1, "\r\n\r\n"), HTTP_BAD);
    CHECK_EQ(sized_body("0\r\nx:", 't', trailer - 1, "\r\n\r\n"), HTTP_DONE);
    CHECK_EQ(sized_body("0\r\nx:", 't', trailer, "\r\n\r\n"), HTTP_DONE);
    CHECK_EQ(sized_body("0\r\nx:", 't', trailer + 1, "\r\n\r\n"), HTTP_BAD);
}

TEST(http_a_huge_announced_chunk_is_only_a_number)
{
    struct http_chunked c = {0};
    struct quern_slice piece;
    size_t used;

    CHECK_EQ(http_chunked_read(&c, "ffffffffffffffff\r\nab", 20, &used, &piece), HTTP_MORE);
    CHECK_EQ(used, 20);
    CHECK_BYTES(piece, "ab");
    CHECK(c.left == UINT64_MAX - 2);
}

/* ------------------------------------------------------------------ queries -- */

static const char *decoded(const char *from)
{
    static char to[64];
    size_t len = http_form_decode((struct quern_slice){from, strlen(from)}, to);

    if (len == SIZE_MAX)
        return "(bad)";
    to[len] = '\0';
    return to;
}

TEST(http_form_decoding_happens_once)
{
    static const char *const cases[][2] = {
        {"", ""},         {"a", "a"},        {"a+b", "a b"},     {"a%20b", "a b"},
        {"a%2Bb", "a+b"}, {"a%2bb", "a+b"},  {"%2541", "%41"},   {"%25", "%"},
        {"%", "(bad)"},   {"%4", "(bad)"},   {"a%", "(bad)"},    {"%G1", "(bad)"},
        {"%1G", "(bad)"}, {"%%41", "(bad)"}, {"% 1", "(bad)"},   {"%+1", "(bad)"},
        {"%-1", "(bad)"}, {"%0x", "(bad)"},  {"/%2F..", "//.."}, {"%c3%A4", "\xc3\xa4"},
    };
    char nul[4];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (strcmp(decoded(cases[i][0]), cases[i][1]) != 0)
            tap_fail(__FILE__, __LINE__, "'%s' became '%s', not '%s'", cases[i][0],
                     decoded(cases[i][0]), cases[i][1]);
    }
    CHECK_EQ(http_form_decode((struct quern_slice){"a%00b", 5}, nul), 3);
    CHECK(memcmp(nul, "a\0b", 3) == 0);
    /* What stands behind the end is not looked at, though it would fit. */
    CHECK_EQ(http_form_decode((struct quern_slice){"a%41", 3}, nul), SIZE_MAX);
    CHECK_EQ(http_form_decode((struct quern_slice){"a%41", 2}, nul), SIZE_MAX);
}

TEST(http_queries_come_apart_at_ampersands_and_the_first_equals)
{
    static const char query[] = "&&key=a=b&value=&x&&=y&";
    static const struct {
        const char *name, *value;
        bool has_value;
    } want[] = {{"key", "a=b", true}, {"value", "", true}, {"x", "", false}, {"", "y", true}};
    struct quern_slice rest = {query, sizeof(query) - 1}, name, value;
    bool has_value;

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        CHECK(http_query_next(&rest, &name, &value, &has_value));
        CHECK_BYTES(name, want[i].name);
        CHECK_BYTES(value, want[i].value);
        CHECK_EQ(has_value, want[i].has_value);
    }
    CHECK(!http_query_next(&rest, &name, &value, &has_value));
    rest = (struct quern_slice){NULL, 0};
    CHECK(!http_query_next(&rest, &name, &value, &has_value));
}

/* ------------------------------------------------------------------ field values -- */

TEST(http_accept_decides_between_text_and_json)
{
    static const struct {
        const char *accept;
        bool json;
    } cases[] = {
        {"application/json", true},
        {"APPLICATION/JSON", true},
        {"*/*", false},
        {"", false},
        {"text/plain", false},
        {"text/html, application/json;q=0.5", true},
        {"application/json;q=0", false},
        {"application/json, text/plain", false},
        {"application/json, text/plain;q=0.9", true},
        {"text/plain;q=0.1, application/json;q=0.15", true},
        {"application/json, */*;q=0.5", true},
        {"*/*, application/json;q=0.2", false},
        {"application/*", true},
        {"text/*, application/*;q=0.001", false},
        {"application/jsonx", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quern_slice s = {cases[i].accept, strlen(cases[i].accept)};

        if (http_prefers(s, "application/json", "application/*") != cases[i].json)
            tap_fail(__FILE__, __LINE__, "'%s'", cases[i].accept);
    }
}

TEST(http_hosts_and_origins_are_told_apart)
{
    CHECK_BYTES(http_host_name(S("localhost:8080")), "localhost");
    CHECK_BYTES(http_host_name(S("localhost")), "localhost");
    CHECK_BYTES(http_host_name(S("[::1]:80")), "[::1]");
    CHECK_BYTES(http_host_name(S("[::1")), "[::1");
    CHECK_BYTES(http_host_name(S("[::1]x:80")), "[::1]x:80"); /* whose name, this is not */
    CHECK_BYTES(http_host_name(S("")), "");
    CHECK(http_origin_is(S("http://A:1"), "http", S("a:1")));
    CHECK(!http_origin_is(S("https://a:1"), "http", S("a:1")));
    CHECK(!http_origin_is(S("http://a:1.evil"), "http", S("a:1")));
    CHECK(!http_origin_is(S("http://a"), "http", S("a:1")));
    CHECK(!http_origin_is(S("null"), "http", S("")));
    CHECK(http_media_is(S("Text/Plain ; charset=x"), "text/plain"));
    CHECK(!http_media_is(S("text/plainx"), "text/plain"));
}

static struct quern_slice text_of(const char *s)
{
    return (struct quern_slice){s, strlen(s)};
}

TEST(http_an_origin_is_a_scheme_and_a_host_and_nothing_more)
{
    static const char *const good[] = {"https://app.example", "http://localhost:3000",
                                       "http://[::1]:80", "https://[::1]", "web+x://h"};
    static const char *const bad[] = {"*",
                                      "null",
                                      "app.example",
                                      "https://a/",
                                      "https://A",
                                      "Https://a",
                                      "https://",
                                      "https://:80",
                                      "https://a:",
                                      "https://a:x",
                                      "https://a:80/",
                                      "https://a b",
                                      "://a",
                                      "1x://a",
                                      "https://a?b",
                                      "https://a#",
                                      "https://[::1]x",
                                      "https://[::]a[::1]",
                                      "https://u@a",
                                      "https:/a",
                                      "https://a\r\nb",
                                      ""};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(http_is_origin(text_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!http_is_origin(text_of(bad[i])));
    CHECK(http_origin_is(S("https://a:1"), "https", S("a:1")));
    CHECK(!http_origin_is(S("http://a:1"), "https", S("a:1")));
}

TEST(http_a_name_of_a_host_has_neither_scheme_nor_port)
{
    static const char *const good[] = {"a",        "kv.example", "KV.example.",
                                       "10.0.0.1", "[::1]",      "a_b-c"};
    static const char *const bad[] = {"",       "a:80",     "https://a", "a/",     "a b",
                                      "u@a",    "[::1]:80", "::1",       "[::1",   "::1]",
                                      "[::1]x", "[]",       "[a]b]",     "a\r\nb", "gr\xc3\xbcn"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(http_is_host_name(text_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!http_is_host_name(text_of(bad[i])));
}

TEST(http_a_coding_is_what_the_client_rates_highest)
{
    static const struct {
        const char *asked;
        enum http_encoding want;
    } cases[] = {
        {"gzip", HTTP_GZIP},
        {"zstd", HTTP_ZSTD},
        {"gzip, deflate, br, zstd", HTTP_ZSTD},
        {"gzip;q=1.0, zstd;q=0.9", HTTP_GZIP},
        {"zstd;q=0, gzip;q=0.001", HTTP_GZIP},
        {"*", HTTP_GZIP}, /* not everybody who says so knows zstd */
        {"*;q=0, zstd", HTTP_ZSTD},
        {"*;q=0", HTTP_IDENTITY},
        {"gzip;q=0", HTTP_IDENTITY},
        {"gzip;q=0, *", HTTP_IDENTITY},
        {"gzip;q=0.5, identity;q=0.6", HTTP_IDENTITY},
        {"identity;q=0", HTTP_IDENTITY},
        {"GZip ; Q=0.8", HTTP_GZIP},
        {"gzipp, xgzip, br", HTTP_IDENTITY},
        {"", HTTP_IDENTITY},
        {",;q=1,", HTTP_IDENTITY},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(http_encoding_of(text_of(cases[i].asked)), cases[i].want);
}

TEST(http_utf8_is_what_the_standard_calls_well_formed)
{
    static const char *const good[] = {
        "",
        "ascii only, longer than eight",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
        "1234567\xc3\xa4",
    };
    static const char *const poor[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x41",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xe1\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "12345678\xff",
        "1234567\xe1\x80\x7f",
        "\xf1\x80\x80\x41",
    };

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(http_is_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(poor); i++)
        CHECK(!http_is_utf8(poor[i], strlen(poor[i])));
}

/* ------------------------------------------------------------------ replies -- */

/* RFC 9110 section 15, RFC 6585, RFC 4918. */
TEST(http_statuses_have_the_words_of_the_standards)
{
    static const struct {
        int status;
        const char *words;
    } want[] = {{417, "Expectation Failed"},
                {431, "Request Header Fields Too Large"},
                {501, "Not Implemented"},
                {505, "HTTP Version Not Supported"},
                {507, "Insufficient Storage"},
                {201, "Created"},
                {202, "Accepted"},
                {401, "Unauthorized"},
                {422, "Unprocessable Content"},
                {429, "Too Many Requests"},
                {299, "Status"}};

    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        CHECK(strcmp(http_reason(want[i].status), want[i].words) == 0);
}

TEST(http_a_reply_head_is_these_bytes)
{
    struct buf out OWNED_BUF = {0};
    struct quern_error err;
    char date[HTTP_DATE_BYTES + 1];
    struct http_reply reply = {.status = 404,
                               .framing = HTTP_LENGTH,
                               .length = 21,
                               .type = "text/plain",
                               .extra = "A: b\r\n",
                               .server = "quern/1",
                               .request_id = "r-1",
                               .date = date,
                               .close = true};

    http_date(INT64_C(784111777), date);
    CHECK_OK(http_reply_head(&out, &reply, &err), &err);
    CHECK_BYTES(
        buf_slice(&out),
        "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: quern/1\r\n"
        "X-Request-Id: r-1\r\nX-Content-Type-Options: nosniff\r\nContent-Type: text/plain\r\nA: "
        "b\r\n"
        "Connection: close\r\nContent-Length: 21\r\n\r\n");
    buf_clear(&out);
    reply = (struct http_reply){.status = 200,
                                .framing = HTTP_CHUNKED,
                                .server = "q",
                                .request_id = "2",
                                .date = date,
                                .keep = true};
    CHECK_OK(http_reply_head(&out, &reply, &err), &err);
    CHECK_OK(http_reply_chunk(&out, S("0123456789abcdef"), false, &err), &err);
    CHECK_OK(http_reply_chunk(&out, S(""), true, &err), &err);
    CHECK_BYTES(buf_slice(&out),
                "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: q\r\n"
                "X-Request-Id: 2\r\nX-Content-Type-Options: nosniff\r\nConnection: keep-alive\r\n"
                "Transfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
}

TEST(http_etag_lists_are_read_as_the_standard_has_them)
{
    static const struct {
        const char *list;
        enum http_listed strongly, weakly;
    } cases[] = {
        {"\"a-1\"", HTTP_LISTED, HTTP_LISTED},
        {"W/\"a-1\"", HTTP_NOT_LISTED, HTTP_LISTED},
        {"\"b\", \"a-1\"", HTTP_LISTED, HTTP_LISTED},
        {"\"b\",W/\"a-1\" ,\t\"c\"", HTTP_NOT_LISTED, HTTP_LISTED},
        {" , \"b\", ,\"a-1\",", HTTP_LISTED, HTTP_LISTED},
        {"\"a-1", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"a-1", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"\"a-1\" \"b\"", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"\"a-1\"\"b\"", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"\"a-1\", b", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"\"a 1\"", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"w/\"a-1\"", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"W/", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {" , ", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"\"a-1\", *", HTTP_LIST_BAD, HTTP_LIST_BAD},
        {"*", HTTP_LISTED_ANY, HTTP_LISTED_ANY},
        {"\"*\"", HTTP_NOT_LISTED, HTTP_NOT_LISTED},
        {"\"A-1\"", HTTP_NOT_LISTED, HTTP_NOT_LISTED},
        {"\"\"", HTTP_NOT_LISTED, HTTP_NOT_LISTED},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quern_slice list = {cases[i].list, strlen(cases[i].list)};

        if (http_etag_listed(list, S("\"a-1\""), false) != cases[i].strongly ||
            http_etag_listed(list, S("\"a-1\""), true) != cases[i].weakly)
            tap_fail(__FILE__, __LINE__, "'%s'", cases[i].list);
    }
}

TEST(http_ranges_ask_for_what_the_standard_says)
{
    static const struct {
        const char *field;
        uint64_t length;
        enum http_range verdict;
        uint64_t first, count;
    } cases[] = {
        {"bytes=0-0", 10, HTTP_RANGE_PART, 0, 1},
        {"bytes=0-9", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=0-10", 10, HTTP_RANGE_PART, 0, 10},
        {"Bytes=3-", 10, HTTP_RANGE_PART, 3, 7},
        {"bytes=9-", 10, HTTP_RANGE_PART, 9, 1},
        {"bytes=-3", 10, HTTP_RANGE_PART, 7, 3},
        {"bytes=-10", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=-99999999999999999999999", 10, HTTP_RANGE_PART, 0, 10},
        {"bytes=1-99999999999999999999999", 10, HTTP_RANGE_PART, 1, 9},
        {"bytes=10-", 10, HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=10-20", 10, HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=99999999999999999999999-", 10, HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=-0", 10, HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=0-", 0, HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=-1", 0, HTTP_RANGE_BEYOND, 0, 0},
        {"bytes=5-3", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=-", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=1", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=0-1,3-4", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=0-1 ", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes= 0-1", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"items=0-1", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"0-1", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=0x1-3", 10, HTTP_RANGE_WHOLE, 0, 0},
        {"bytes=+1-3", 10, HTTP_RANGE_WHOLE, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quern_slice field = {cases[i].field, strlen(cases[i].field)};
        uint64_t first = 0, count = 0;

        if (http_range_read(field, cases[i].length, &first, &count) != cases[i].verdict ||
            first != cases[i].first || count != cases[i].count)
            tap_fail(__FILE__, __LINE__, "'%s' of %d", cases[i].field, (int)cases[i].length);
    }
}

TEST(http_a_request_id_cannot_forge_a_field)
{
    char longest[HTTP_REQUEST_ID_BYTES_MAX + 1];

    memset(longest, 'a', sizeof(longest));
    CHECK(http_is_request_id((struct quern_slice){longest, HTTP_REQUEST_ID_BYTES_MAX}));
    CHECK(!http_is_request_id((struct quern_slice){longest, sizeof(longest)}));
    CHECK(http_is_request_id(S("0d9c7f1e-5f6a-4c3b-9c1e-1f2e3d4c5b6a")));
    CHECK(!http_is_request_id(S("")));
    CHECK(!http_is_request_id(S("a b")));
    CHECK(!http_is_request_id(S("a\r\nb")));
    CHECK(!http_is_request_id(S("a\"b")));
    CHECK(!http_is_request_id(S("a\xc3\xa4")));
}

TEST(http_bytes_become_text_and_come_back)
{
    struct buf out OWNED_BUF = {0};
    struct quern_error err;
    uint8_t all[256], back[768];

    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    CHECK_OK(http_path_encode(&out, (struct quern_slice){all, 256}, &err), &err);
    CHECK_EQ(http_path_decode(buf_slice(&out), back), 256);
    CHECK(memcmp(all, back, 256) == 0);
    buf_clear(&out);
    CHECK_OK(http_path_encode(&out, S("a+b/..~-_."), &err), &err);
    CHECK_BYTES(buf_slice(&out), "a%2Bb%2F..~-_.");
    CHECK_EQ(http_path_decode(S("a+b%2bc"), back), 5);
    CHECK(memcmp(back, "a+b+c", 5) == 0);
    CHECK_EQ(http_path_decode(S("%4"), back), SIZE_MAX);
    buf_clear(&out);
    CHECK_OK(http_json_bytes(&out, "key", S("a\0\"\n\xe2\x82\xac"), &err), &err);
    CHECK_BYTES(buf_slice(&out), "\"key\":\"a\\u0000\\\"\\u000a\xe2\x82\xac\"");
    buf_clear(&out);
    CHECK_OK(http_json_bytes(&out, "key", S("\xff\0"), &err), &err);
    CHECK_BYTES(buf_slice(&out), "\"key_b64\":\"/wA=\"");
    buf_clear(&out);
    CHECK_OK(http_json_bytes(&out, "key", (struct quern_slice){NULL, 0}, &err), &err);
    CHECK_BYTES(buf_slice(&out), "\"key\":\"\"");
}

TEST(http_json_strings_are_safe_and_numbers_whole)
{
    struct buf out OWNED_BUF = {0};
    struct quern_error err;
    char digits[20];

    CHECK_OK(http_json_escape(&out, S("a\"\\\n\x7f\xc3\xa4"), &err), &err);
    CHECK_BYTES(buf_slice(&out), "a\\\"\\\\\\u000a\\u007f\xc3\xa4");
    buf_clear(&out);
    CHECK_OK(http_json_escape(&out, S("\xff<"), &err), &err);
    CHECK_BYTES(buf_slice(&out), "\\u00ff<");
    CHECK_EQ(http_decimal(digits, 0), 1);
    CHECK_EQ(http_decimal(digits, UINT64_MAX), 20);
    CHECK(memcmp(digits, "18446744073709551615", 20) == 0);
}

TEST(http_replies_survive_a_heap_that_fails)
{
    struct buf out OWNED_BUF = {0};
    struct quern_error err;
    struct http_reply reply = {.status = 200, .server = "q", .request_id = "1", .date = NULL};

    alloc_fail_after(0);
    CHECK_CODE(http_reply_head(&out, &reply, &err), QUERN_NO_MEMORY);
    CHECK_CODE(http_reply_chunk(&out, S("x"), true, &err), QUERN_NO_MEMORY);
    CHECK_CODE(http_json_escape(&out, S("x"), &err), QUERN_NO_MEMORY);
    alloc_fail_never();
    CHECK_EQ(out.len, 0);
}
