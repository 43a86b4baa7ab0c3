/* reply.c - puts replies into a connection's output; see reply.h. */
#include "server/reply.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BIG_BYTES_MIN                                                                              \
    65536u /* from here on a value is sent from where it was read to, not copied */

static const char text_type[] = "text/plain; charset=utf-8";
static const char json_type[] = "application/json";

struct manner manner_of(const struct conn *c)
{
    const struct http_request *r = &c->request;
    struct manner m = {0};

    m.close =
        !r->keep_alive || atomic_load_explicit(&c->loop->server->draining, memory_order_relaxed);
    m.keep = !m.close && r->minor == 0;
    m.head = r->method == HTTP_HEAD;
    m.json = http_has(r, HTTP_ACCEPT) &&
             http_prefers_json(http_bytes(conn_request_bytes(c), r->field[HTTP_ACCEPT]));
    return m;
}

static void tally(struct conn *c, int status)
{
    struct counters *n = &c->loop->server->counters;

    count(status < 400   ? &n->replies_ok
          : status < 500 ? &n->replies_refused
                         : &n->replies_failed,
          1);
}

static void head_and_body(struct conn *c, struct manner manner, struct http_reply *reply,
                          struct quern_slice body)
{
    struct quern_error err;

    tally(c, reply->status);
    reply->server = c->loop->server->name;
    reply->date = c->loop->date;
    reply->close = manner.close;
    reply->keep = manner.keep;
    if (manner.close)
        c->last = true;
    if (manner.head)
        body.len = 0;
    if (http_reply_head(&c->out, reply, &err) || buf_append(&c->out, body.data, body.len, &err))
        conn_cut(c);
}

void reply_with(struct conn *c, struct manner manner, int status, const char *type,
                struct quern_slice body, const char *extra)
{
    struct http_reply reply = {
        .status = status,
        .framing = status == 204 ? HTTP_NO_BODY : HTTP_LENGTH,
        .length = body.len,
        .type = type,
        .extra = extra,
    };

    head_and_body(c, manner, &reply, body);
}

void reply_error(struct conn *c, struct manner manner, const struct http_bad *bad,
                 const char *extra)
{
    struct buf *text = &c->loop->text;
    struct quern_error err;

    buf_clear(text);
    if (manner.json) {
        if (buf_append(text, "{\"error\":{\"code\":\"", 18, &err) ||
            buf_append(text, bad->code, strlen(bad->code), &err) ||
            buf_append(text, "\",\"detail\":\"", 12, &err) ||
            http_json_escape(text, bad->detail, &err) || buf_append(text, "\"}}\n", 4, &err)) {
            conn_cut(c);
            return;
        }
    } else if (buf_append(text, "error: ", 7, &err) ||
               buf_append(text, bad->detail, strlen(bad->detail), &err) ||
               buf_append(text, "\n", 1, &err)) {
        conn_cut(c);
        return;
    }
    reply_with(c, manner, bad->status, manner.json ? json_type : text_type, buf_slice(text), extra);
}

void reply_store_error(struct conn *c, struct manner manner, enum quern_code code,
                       const struct quern_error *err)
{
    char detail[sizeof(err->text) + 80];
    struct http_bad bad = {500, "store_error", detail};
    const char *story = err->text[0] != '\0' ? err->text : "no details", *extra = NULL;

    switch (code) {
    case QUERN_NO_SPACE:
        bad = (struct http_bad){507, "disk_full", detail};
        (void)snprintf(detail, sizeof(detail),
                       "the disk is full, nothing was written; free some space and try again: %s",
                       story);
        break;
    case QUERN_READ_ONLY:
        bad = (struct http_bad){503, "read_only", detail};
        (void)snprintf(detail, sizeof(detail),
                       "the store takes no writes until it is restarted: %s", story);
        break;
    case QUERN_BUSY:
        bad = (struct http_bad){503, "busy", detail};
        extra = "Retry-After: 1\r\n";
        (void)snprintf(detail, sizeof(detail), "the store is busy; try again in a moment");
        break;
    case QUERN_CLOSED:
        bad = (struct http_bad){503, "shutting_down", detail};
        extra = "Retry-After: 1\r\n";
        (void)snprintf(detail, sizeof(detail), "the server is shutting down");
        break;
    case QUERN_UNKNOWN:
        bad.code = "outcome_unknown";
        (void)snprintf(detail, sizeof(detail),
                       "the write may or may not survive; read it back after a restart: %s", story);
        break;
    case QUERN_CORRUPT:
        bad.code = "corrupt";
        (void)snprintf(detail, sizeof(detail),
                       "this value is damaged on disk; run quern verify: %s", story);
        break;
    case QUERN_NO_MEMORY:
        bad.code = "no_memory";
        (void)snprintf(detail, sizeof(detail), "memory ran out: %s", story);
        break;
    default:
        (void)snprintf(detail, sizeof(detail), "%s: %s", quern_code_name(code), story);
    }
    reply_error(c, manner, &bad, extra);
}

void reply_written(struct conn *c, struct manner manner, quern_seq seq, const char *durable)
{
    char extra[96], json[64];
    struct quern_slice body = {"OK\n", 3};

    (void)snprintf(extra, sizeof(extra), "Quern-Rev: %" PRIu64 "\r\nQuern-Durability: %s\r\n", seq,
                   durable);
    if (manner.json) {
        body.len = (size_t)snprintf(json, sizeof(json), "{\"ok\":true,\"rev\":%" PRIu64 "}\n", seq);
        body.data = json;
    }
    reply_with(c, manner, 200, manner.json ? json_type : text_type, body, extra);
}

void reply_value(struct conn *c, struct manner manner)
{
    /* A value is somebody's bytes: no browser may take it for a page of ours and run it. */
    static const char guard[] = "Content-Security-Policy: default-src 'none'; sandbox\r\n"
                                "Cache-Control: no-cache\r\nQuern-Rev: ";
    struct quern_value *value = &c->loop->value;
    bool is_text = http_is_utf8(value->data, value->len);
    struct http_reply reply = {.status = 200, .framing = HTTP_LENGTH, .length = value->len};
    char extra[sizeof(guard) + 24];
    size_t n = sizeof(guard) - 1;

    memcpy(extra, guard, n);
    n += http_decimal(extra + n, value->seq);
    memcpy(extra + n, "\r\n", 3);
    reply.extra = extra;
    reply.type = is_text ? text_type : "application/octet-stream";
    if (value->len < BIG_BYTES_MIN || manner.head) {
        head_and_body(c, manner, &reply, (struct quern_slice){value->data, value->len});
        return;
    }
    head_and_body(c, manner, &reply, (struct quern_slice){NULL, 0});
    c->big = *value;
    memset(value, 0, sizeof(*value));
}

void reply_stream_head(struct conn *c, struct manner manner, int status)
{
    struct http_reply reply = {
        .status = status,
        .framing = c->request.minor == 1 ? HTTP_CHUNKED : HTTP_TO_CLOSE,
        .type = text_type,
        .extra = "Cache-Control: no-store\r\n",
    };

    manner.close = true;
    head_and_body(c, manner, &reply, (struct quern_slice){NULL, 0});
    c->chunked_words = reply.framing == HTTP_CHUNKED;
    c->last = false; /* there is more to say */
}
