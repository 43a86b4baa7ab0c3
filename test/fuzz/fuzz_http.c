/* fuzz_http.c - a request head and a chunked body: how the bytes are cut must not matter, and what
 * is found must lie inside them.
 *
 * The first byte chooses how a second reading is cut; the rest is a request. */
#include "http/http.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void must(int cond)
{
    if (!cond)
        abort();
}

/* A copy of exact size, so that a sanitizer sees a byte read too far. */
static uint8_t *exact(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + (size == 0));

    must(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

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

static void check_body(const uint8_t *data, size_t size, size_t step)
{
    struct decoded once = body_in_pieces(data, size, 0);
    struct decoded cut = body_in_pieces(data, size, step);

    must(once.verdict == cut.verdict && once.len == cut.len && once.sum == cut.sum);
    must(once.taken == cut.taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
        if (once.chunked)
            check_body(data + once.head_bytes, size - once.head_bytes, step == 0 ? 1 : step);
    }
    check_body(data, size, step == 0 ? 1 : step);
    free(whole);
    return 0;
}
