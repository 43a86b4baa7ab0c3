/* value.c - answers a read with a value, or with as much of it as was asked for.
 *
 *     If-Match fails 412 -> If-None-Match fits 304 -> If-Range does not fit, or no Range: 200, all
 *                                                  -> Range: 206, or 416 where nothing is there
 *
 * That order is RFC 9110's, section 13.2.2. */
#include "server/rest/conditions.h"
#include "server/rest/lifetime.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BIG_BYTES_MIN                                                                              \
    65536u /* from here on a value is sent from where it was read to, not copied */

/* A value is somebody's bytes: no browser may take it for a page of ours and run it. */
#define GUARD                                                                                      \
    "Content-Security-Policy: default-src 'none'; sandbox\r\n"                                     \
    "Cache-Control: no-cache\r\n"                                                                  \
    "Accept-Ranges: bytes\r\n"

/* The part of `length` bytes that the request at hand asks for. */
static enum http_range part_asked(const struct conn *c, const char *etag, uint64_t length,
                                  uint64_t *first, uint64_t *count)
{
    const struct http_request *r = &c->request;
    const uint8_t *base = conn_request_bytes(c);

    if (r->method != HTTP_GET || !http_has(r, HTTP_RANGE))
        return HTTP_RANGE_WHOLE;
    if (http_has(r, HTTP_IF_RANGE)) { /* a date there never fits: values have none */
        struct quern_slice tag = http_bytes(base, r->field[HTTP_IF_RANGE]);

        if (tag.len != strlen(etag) || memcmp(tag.data, etag, tag.len) != 0)
            return HTTP_RANGE_WHOLE;
    }
    return http_range_read(http_bytes(base, r->field[HTTP_RANGE]), length, first, count);
}

static void refuse_beyond(struct conn *c, struct manner manner, size_t length)
{
    static const struct http_bad bad = {416, "range_not_satisfiable",
                                        "the value has no byte in that range"};
    char extra[64];

    (void)snprintf(extra, sizeof(extra), "Content-Range: bytes */%zu\r\n", length);
    reply_error(c, manner, &bad, extra);
}

static void send_bytes(struct conn *c, struct manner manner, const struct http_reply *reply,
                       size_t first)
{
    struct quern_value *value = &c->loop->value;
    size_t count = (size_t)reply->length;

    if (count < BIG_BYTES_MIN || manner.head) {
        reply_whole(c, manner, *reply,
                    (struct quern_slice){(const uint8_t *)value->data + first, count});
        return;
    }
    reply_whole(c, manner, *reply, (struct quern_slice){NULL, 0});
    c->big = *value;
    c->big.data = (const uint8_t *)value->data + first;
    c->big.len = count;
    memset(value, 0, sizeof(*value));
}

/* The fields that go with any answer about a value. Returns their length. */
static size_t describe(char *to, const struct quern_value *value, const char *etag)
{
    static const char rev[] = "Quern-Rev: ", tag[] = "\r\nETag: ";
    size_t n = sizeof(GUARD) - 1;

    memcpy(to, GUARD, n);
    memcpy(to + n, rev, sizeof(rev) - 1);
    n += sizeof(rev) - 1;
    n += http_decimal(to + n, value->seq);
    memcpy(to + n, tag, sizeof(tag) - 1);
    n += sizeof(tag) - 1;
    memcpy(to + n, etag, strlen(etag));
    n += strlen(etag);
    memcpy(to + n, "\r\n", 3);
    n += 2;
    return n + lifetime_field(value->expires_ms, to + n);
}

#define FIELDS_BYTES (sizeof(GUARD) + 128 + LIFETIME_FIELD_BYTES)

bool conditions_answered(struct conn *c, struct manner manner)
{
    const struct quern_value *value = &c->loop->value;
    struct conditions conditions;
    char etag[ETAG_BYTES], extra[FIELDS_BYTES];

    if (!conditions_read(&c->request, conn_request_bytes(c), &conditions)) {
        reply_error(c, manner, &conditions_malformed, NULL);
        return true;
    }
    switch (conditions_judge(&conditions, c->loop->server, true, value->seq)) {
    case CONDITIONS_MATCH_FAILS:
        reply_precondition_failed(c, manner, true, value->seq);
        return true;
    case CONDITIONS_NONE_MATCH_FAILS:
        (void)etag_write(c->loop->server, value->seq, etag);
        (void)describe(extra, value, etag);
        reply_with(c, manner, 304, NULL, (struct quern_slice){NULL, 0}, extra);
        return true;
    default:
        return false;
    }
}

bool reply_read(struct conn *c, struct manner manner, enum quern_code code,
                const struct quern_error *err)
{
    struct counters *n = &c->loop->server->counters;

    count(&n->gets, 1);
    if (code == QUERN_OK)
        count(&n->gets_found, 1);
    else if (code == QUERN_NOT_FOUND)
        refuse(c, 404, "key_not_found", "key not found");
    else
        reply_store_error(c, manner, code, err);
    return code == QUERN_OK;
}

void reply_value(struct conn *c, struct manner manner, const char *type)
{
    struct quern_value *value = &c->loop->value;
    struct http_reply reply = {.status = 200, .framing = HTTP_LENGTH, .type = type};
    uint64_t first = 0, count = value->len;
    char etag[ETAG_BYTES], extra[FIELDS_BYTES + 96];
    size_t n;

    if (conditions_answered(c, manner))
        return;
    (void)etag_write(c->loop->server, value->seq, etag);
    n = describe(extra, value, etag);
    switch (part_asked(c, etag, value->len, &first, &count)) {
    case HTTP_RANGE_BEYOND:
        refuse_beyond(c, manner, value->len);
        return;
    case HTTP_RANGE_PART:
        reply.status = 206;
        (void)snprintf(extra + n, sizeof(extra) - n,
                       "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%zu\r\n", first,
                       first + count - 1, value->len);
        break;
    default:
        break;
    }
    if (type == NULL)
        reply.type = http_is_utf8(value->data, value->len) ? "text/plain; charset=utf-8"
                                                           : "application/octet-stream";
    reply.length = count;
    reply.extra = extra;
    send_bytes(c, manner, &reply, (size_t)first);
}
