/* fuzz_http.c - a request head and a chunked body: how the bytes are cut must not matter, what is
 * found must lie inside them, and another parser must not see another request.
 *
 * The first byte chooses how a second reading is cut; the rest is a request. A short one is also
 * cut in two at every byte. */
#include "fuzz.h"

#include "http/http.h"
#include "server/net/hosts.h"

#ifdef SECOND_HTTP
#include "second_http.h"
#endif

#define EVERY_CUT_BYTES_MAX 600u /* the square of this is what trying every cut costs */

static enum http_verdict head_at_once(const uint8_t *data, size_t size, struct http_request *r)
{
    memset(r, 0, sizeof(*r));
    return http_request_read(r, data, size);
}

/* The same head in growing prefixes; `step` 0 grows by powers of two. */
static enum http_verdict head_in_pieces(const uint8_t *data, size_t size, size_t step,
                                        struct http_request *r)
{
    size_t have = 0;

    memset(r, 0, sizeof(*r));
    for (;;) {
        enum http_verdict verdict;
        uint8_t *copy;

        have = step == 0 ? 2 * have + 1 : have + step;
        if (have > size)
            have = size;
        copy = exact(data, have);
        verdict = http_request_read(r, copy, have);
        free(copy);
        if (verdict != HTTP_MORE || have == size)
            return verdict;
    }
}

/* Cut in two at every byte: the verdict, and what was found, are those of the whole. */
static void head_in_two(const uint8_t *data, size_t size, const struct http_request *whole,
                        enum http_verdict verdict)
{
    for (size_t cut = 1; cut < size && size <= EVERY_CUT_BYTES_MAX; cut++) {
        struct http_request r = {0};
        uint8_t *first = exact(data, cut);
        enum http_verdict early = http_request_read(&r, first, cut);

        free(first);
        must(early == HTTP_MORE || early == verdict);
        if (early == HTTP_MORE)
            must(http_request_read(&r, data, size) == verdict);
        must(verdict == HTTP_BAD ? r.bad.status == whole->bad.status
                                 : verdict == HTTP_MORE || memcmp(&r, whole, sizeof(r)) == 0);
    }
}

static void inside(const struct http_request *r, struct http_span span)
{
    must((size_t)span.at + span.len <= r->head_bytes);
}

static void check_head(const struct http_request *r, const uint8_t *data, size_t size)
{
    must(r->head_bytes <= size && r->head_bytes <= HTTP_HEAD_BYTES_MAX);
    must(memcmp(data + r->head_bytes - 4, "\r\n\r\n", 4) == 0);
    must(r->minor <= 1 && !(r->chunked && http_has(r, HTTP_CONTENT_LENGTH)));
    must(r->content_length <= INT64_MAX);
    must(data[r->path.at] == '/' || (data[r->path.at] == '*' && r->method == HTTP_OPTIONS));
    must(memchr(data + r->path.at, '\r', r->path.len) == NULL);
    must(http_has(r, HTTP_HOST) || r->minor == 0);
    inside(r, r->path);
    inside(r, r->query);
    inside(r, r->host);
    for (int kind = 0; kind < HTTP_FIELD_KINDS; kind++) {
        inside(r, r->field[kind]);
        must(memchr(data + r->field[kind].at, '\n', r->field[kind].len) == NULL);
        must(memchr(data + r->field[kind].at, '\0', r->field[kind].len) == NULL);
    }
}

/* A page of another origin is never taken for ours, whatever stands around it. */
static void check_origin(const struct http_request *r, const uint8_t *data)
{
    static const struct server_options none;
    static struct hosts h = {.options = &none, .scheme = "http"};
    struct quern_slice origin = http_bytes(data, r->field[HTTP_ORIGIN]);

    if (http_has(r, HTTP_ORIGIN) && hosts_site(&h, r, data) == SITE_OURS)
        must(origin.len > 7 && origin.len - 7 == r->host.len &&
             strncasecmp((const char *)origin.data, "http://", 7) == 0);
    must(hosts_prefetch(r) == (http_has(r, HTTP_PURPOSE) || http_has(r, HTTP_SEC_PURPOSE)));
}

struct decoded {
    enum http_verdict verdict;
    size_t taken, len;
    uint64_t sum; /* of the content, order and all */
};

static struct decoded body_in_pieces(const uint8_t *data, size_t size, size_t step)
{
    struct http_chunked c = {0};
    struct decoded d = {HTTP_MORE, 0, 0, 1};

    while (d.verdict == HTTP_MORE && d.taken < size) {
        size_t give = step == 0 || step > size - d.taken ? size - d.taken : step, used = 0;
        uint8_t *copy = exact(data + d.taken, give);
        struct quern_slice piece;

        d.verdict = http_chunked_read(&c, copy, give, &used, &piece);
        must(used > 0 && used <= give && piece.len <= used);
        for (size_t i = 0; i < piece.len; i++)
            d.sum = d.sum * 31 + ((const uint8_t *)piece.data)[i];
        d.len += piece.len;
        d.taken += used;
        free(copy);
    }
    return d;
}

static struct decoded body_in_two(const uint8_t *data, size_t size, size_t cut)
{
    struct http_chunked c = {0};
    struct decoded d = {HTTP_MORE, 0, 0, 1};

    while (d.verdict == HTTP_MORE && d.taken < size) {
        size_t give = d.taken < cut ? cut - d.taken : size - d.taken, used = 0;
        struct quern_slice piece;

        d.verdict = http_chunked_read(&c, data + d.taken, give, &used, &piece);
        for (size_t i = 0; i < piece.len; i++)
            d.sum = d.sum * 31 + ((const uint8_t *)piece.data)[i];
        d.len += piece.len;
        d.taken += used;
    }
    return d;
}

static bool same_body(const struct decoded *a, const struct decoded *b)
{
    return a->verdict == b->verdict && a->len == b->len && a->sum == b->sum && a->taken == b->taken;
}

static struct decoded check_body(const uint8_t *data, size_t size, size_t step)
{
    struct decoded once = body_in_pieces(data, size, 0);
    struct decoded cut = body_in_pieces(data, size, step);

    must(same_body(&once, &cut));
    for (size_t at = 1; at < size && size <= EVERY_CUT_BYTES_MAX; at++) {
        cut = body_in_two(data, size, at);
        must(same_body(&once, &cut));
    }
    return once;
}

#ifdef SECOND_HTTP
/* llhttp 8 takes no further extension behind a value that is not quoted: "1;a=b;c". */
static bool knows_no_second_extension(const struct second_http *s, const uint8_t *data)
{
    return s->refused && strcmp(s->why, "Invalid character in chunk size") == 0 && s->taken > 0 &&
           data[s->taken - 1] == ';';
}
#endif

/* What this server takes for a request, llhttp takes too, and both see it end at the same byte with
 * the same content. Where they may differ: it refuses methods that it does not know (this server
 * answers 501 or 405), and reads no body behind what it would leave HTTP for. */
static void check_second(const uint8_t *data, size_t size, const struct http_request *r)
{
#ifdef SECOND_HTTP
    struct second_http s;
    struct decoded d;

    second_http_read(data, size, &s);
    if (!s.head) {
        must(s.form_refused);
        return;
    }
    must(s.minor == r->minor && s.chunked == r->chunked);
    must(s.has_length == http_has(r, HTTP_CONTENT_LENGTH));
    if (s.upgrade)
        return;
    if (r->chunked) {
        if (knows_no_second_extension(&s, data))
            return;
        d = body_in_pieces(data + r->head_bytes, size - r->head_bytes, 0);
        must(d.verdict != HTTP_DONE || s.whole);
        must(d.verdict != HTTP_MORE || (!s.whole && !s.refused));
        must(!s.whole || d.verdict == HTTP_BAD ||
             (s.taken == r->head_bytes + d.taken && s.body_bytes == d.len && s.body_sum == d.sum));
        return;
    }
    must(!s.refused);
    must(s.whole == (r->content_length <= size - r->head_bytes));
    must(!s.whole ||
         (s.taken == r->head_bytes + r->content_length && s.body_bytes == r->content_length));
#else
    (void)data, (void)size, (void)r;
#endif
}

/* Any bytes as the body of a request whose head is well: few mutations keep both well. */
static void check_second_body(const uint8_t *data, size_t size)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t head_len = sizeof(head) - 1;
    uint8_t *whole = malloc(head_len + size);
    struct http_request r;

    must(whole != NULL);
    memcpy(whole, head, head_len);
    memcpy(whole + head_len, data, size);
    must(head_at_once(whole, head_len + size, &r) == HTTP_DONE && r.chunked);
    check_second(whole, head_len + size, &r);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request once, cut;
    size_t step;
    uint8_t *whole;
    enum http_verdict verdict;

    if (size == 0 || size > 70000)
        return 0;
    step = data[0] % 17;
    data++;
    size--;
    if (size / (step + 1) > 4096)
        step = 0; /* a long input in single bytes would take a second */
    whole = exact(data, size);
    verdict = head_at_once(whole, size, &once);
    must(head_in_pieces(data, size, step, &cut) == verdict);
    if (verdict == HTTP_BAD) {
        must(once.bad.status >= 400 && once.bad.status == cut.bad.status);
        must(strcmp(once.bad.code, cut.bad.code) == 0);
    } else if (verdict == HTTP_DONE) {
        must(memcmp(&once, &cut, sizeof(once)) == 0);
        check_head(&once, whole, size);
        check_origin(&once, whole);
        check_second(data, size, &once);
        if (once.chunked)
            (void)check_body(data + once.head_bytes, size - once.head_bytes, step == 0 ? 1 : step);
    }
    head_in_two(data, size, &once, verdict);
    (void)check_body(data, size, step == 0 ? 1 : step);
    check_second_body(data, size);
    free(whole);
    return 0;
}
