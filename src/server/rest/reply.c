/* reply.c - puts replies into a connection's output; see reply.h. */
#include "server/rest/reply.h"

#include "server/compress.h"
#include "server/rest/conditions.h"
#include "server/rest/lifetime.h"
#include "server/observe/observe.h"
#include "server/rest/route.h"
#include "server/writes.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char text_type[] = "text/plain; charset=utf-8";
static const char json_type[] = "application/json";
static const char problem_type[] = "application/problem+json";
static const char *const encoding_names[] = {NULL, "gzip", "zstd"};

static bool is_v1(struct quern_slice path)
{
    return path.len >= 3 && memcmp(path.data, "/v1", 3) == 0 &&
           (path.len == 3 || ((const char *)path.data)[3] == '/');
}

static void name_request(const struct conn *c, char to[HTTP_REQUEST_ID_BYTES_MAX + 1])
{
    const struct http_request *r = &c->request;
    struct quern_slice theirs = {"", 0};
    size_t n;

    if (http_has(r, HTTP_REQUEST_ID))
        theirs = http_bytes(conn_request_bytes(c), r->field[HTTP_REQUEST_ID]);
    if (http_is_request_id(theirs)) {
        memcpy(to, theirs.data, theirs.len);
        to[theirs.len] = '\0';
        return;
    }
    n = c->loop->id_bytes;
    memcpy(to, c->loop->id_begins, n);
    n += http_decimal(to + n, ++c->loop->ids);
    to[n] = '\0';
}

struct manner manner_of(struct conn *c)
{
    const struct http_request *r = &c->request;
    const struct hosts *hosts = &c->loop->server->hosts;
    const uint8_t *base = conn_request_bytes(c);
    struct manner m = {0};

    m.close =
        !r->keep_alive || atomic_load_explicit(&c->loop->server->draining, memory_order_relaxed);
    m.keep = !m.close && r->minor == 0;
    m.head = r->method == HTTP_HEAD;
    m.problem = is_v1(http_bytes(base, r->path));
    if (http_has(r, HTTP_ACCEPT)) {
        struct quern_slice accept = http_bytes(base, r->field[HTTP_ACCEPT]);

        m.json = http_prefers(accept, json_type, "application/*");
        m.problem |= http_prefers(accept, problem_type, "");
    }
    if (http_has(r, HTTP_ACCEPT_ENCODING) && hosts_site(hosts, r, base) != SITE_FOREIGN)
        m.encoding = http_encoding_of(http_bytes(base, r->field[HTTP_ACCEPT_ENCODING]));
    if (http_has(r, HTTP_ORIGIN))
        m.reader = hosts_listed(hosts, r, base);
    name_request(c, m.request_id);
    m.asked.method = (uint16_t)r->method;
    if (http_has(r, HTTP_TRACEPARENT) && c->loop->server->access_log_on) {
        struct quern_slice trace = http_bytes(conn_request_bytes(c), r->field[HTTP_TRACEPARENT]);

        if (http_is_trace(trace))
            m.trace = trace.data;
    }
    measure_begin(&c->loop->measure, &m.asked, &c->heard, conn_arrived(c) - c->used, route_kind(c),
                  c->used != 0 ? c->used : conn_arrived(c));
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

void reply_whole(struct conn *c, struct manner manner, struct http_reply reply,
                 struct quern_slice body)
{
    enum outcome outcome = reply.status < 400   ? OUTCOME_OK
                           : reply.status < 500 ? OUTCOME_REFUSED
                                                : OUTCOME_FAILED;
    size_t mark = c->out.len;
    struct quern_error err;

    tally(c, reply.status);
    reply.server = c->loop->server->name;
    reply.date = c->loop->date;
    reply.request_id = manner.request_id;
    reply.reader = manner.reader;
    if (c->loop->server->options->cors_origins.count > 0)
        reply.vary = reply.vary != NULL ? "Origin, Accept-Encoding" : "Origin";
    reply.close = manner.close;
    reply.keep = manner.keep;
    if (manner.close)
        c->last = true;
    if (manner.head)
        body.len = 0;
    if (http_reply_head(&c->out, &reply, &err) || buf_append(&c->out, body.data, body.len, &err))
        conn_cut(c);
    measure_done(&c->loop->measure, &manner.asked, outcome);
    if (UNLIKELY(observe_wants(c->loop, &manner.asked)))
        observe_http(
            c, &manner, reply.status, outcome,
            c->out.len - mark +
                (reply.framing == HTTP_LENGTH && !manner.head ? reply.length - body.len : 0));
}

void reply_with(struct conn *c, struct manner manner, int status, const char *type,
                struct quern_slice body, const char *extra)
{
    struct http_reply reply = {
        .status = status,
        .framing = status == 204 || status == 304 ? HTTP_NO_BODY : HTTP_LENGTH,
        .length = body.len,
        .type = type,
        .extra = extra,
    };

    if (compress_concerns(type, body.len)) {
        reply.vary = "Accept-Encoding";
        if (manner.encoding != HTTP_IDENTITY && compress_text(c->loop, manner.encoding, &body)) {
            reply.encoding = encoding_names[manner.encoding];
            reply.length = body.len;
        }
    }
    reply_whole(c, manner, reply, body);
}

MUST_USE static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

/* "key_not_found" -> type "/problems/key-not-found", title "Key not found". */
static enum quern_code problem_text(struct buf *out, struct manner manner,
                                    const struct http_bad *bad, const char *members,
                                    struct quern_error *err)
{
    char type[64], title[64], status[48];

    (void)snprintf(type, sizeof(type), "%s", bad->code);
    (void)snprintf(title, sizeof(title), "%s", bad->code);
    for (char *c = type; *c != '\0'; c++)
        *c = *c == '_' ? '-' : *c;
    for (char *c = title; *c != '\0'; c++)
        *c = *c == '_' ? ' ' : *c;
    title[0] = (char)(title[0] - 'a' + 'A');
    (void)snprintf(status, sizeof(status), "\",\"status\":%d,\"code\":\"", bad->status);
    if (add(out, "{\"type\":\"/problems/", err) || add(out, type, err) ||
        add(out, "\",\"title\":\"", err) || add(out, title, err) || add(out, status, err) ||
        add(out, bad->code, err) || add(out, "\",\"detail\":\"", err) ||
        http_json_escape(out, QUERN_STR(bad->detail), err) ||
        add(out, "\",\"request_id\":\"", err) ||
        http_json_escape(out, QUERN_STR(manner.request_id), err) || add(out, "\"", err) ||
        add(out, members, err))
        return err->code;
    return add(out, "}\n", err);
}

static enum quern_code error_text(struct buf *out, struct manner manner, const struct http_bad *bad,
                                  struct quern_error *err)
{
    if (!manner.json) {
        if (add(out, "error: ", err) || add(out, bad->detail, err))
            return err->code;
        return add(out, "\n", err);
    }
    if (add(out, "{\"error\":{\"code\":\"", err) || add(out, bad->code, err) ||
        add(out, "\",\"detail\":\"", err) || http_json_escape(out, QUERN_STR(bad->detail), err))
        return err->code;
    return add(out, "\"}}\n", err);
}

void reply_problem(struct conn *c, struct manner manner, const struct http_bad *bad,
                   const char *extra, const char *members)
{
    struct buf *text = &c->loop->text;
    struct quern_error err;

    manner.code = bad->code;
    buf_clear(text);
    if (manner.problem ? problem_text(text, manner, bad, members, &err)
                       : error_text(text, manner, bad, &err))
        conn_cut(c);
    else
        reply_with(c, manner, bad->status,
                   manner.problem ? problem_type
                   : manner.json  ? json_type
                                  : text_type,
                   buf_slice(text), extra);
}

void reply_error(struct conn *c, struct manner manner, const struct http_bad *bad,
                 const char *extra)
{
    reply_problem(c, manner, bad, extra, "");
}

void reply_precondition_failed(struct conn *c, struct manner manner, bool there, quern_seq revision)
{
    static const struct http_bad bad = {412, "precondition_failed",
                                        "what is stored under this key is not what was asked for"};
    char etag[ETAG_BYTES], extra[ETAG_BYTES + 16], members[ETAG_BYTES + 32];

    if (!there) {
        reply_problem(c, manner, &bad, NULL, ",\"current_etag\":null");
        return;
    }
    (void)etag_write(c->loop->server, revision, etag);
    (void)snprintf(extra, sizeof(extra), "ETag: %s\r\n", etag);
    /* The quotes are part of a tag. */
    (void)snprintf(members, sizeof(members), ",\"current_etag\":\"\\\"%.*s\\\"\"",
                   (int)strlen(etag) - 2, etag + 1);
    reply_problem(c, manner, &bad, extra, members);
}

size_t pressure_field(const struct server *server, char to[PRESSURE_FIELD_BYTES])
{
    unsigned pressure = write_pressure(server);

    to[0] = '\0';
    return pressure == 0
               ? 0
               : (size_t)snprintf(to, PRESSURE_FIELD_BYTES, "Quern-Pressure: %u\r\n", pressure);
}

void reply_store_error(struct conn *c, struct manner manner, enum quern_code code,
                       const struct quern_error *err)
{
    reply_store_problem(c, manner, code, err, "");
}

void reply_store_problem(struct conn *c, struct manner manner, enum quern_code code,
                         const struct quern_error *err, const char *members)
{
    char detail[sizeof(err->text) + 80], pressure[PRESSURE_FIELD_BYTES];
    char busy[PRESSURE_FIELD_BYTES + 24];
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
        (void)pressure_field(c->loop->server, pressure);
        (void)snprintf(busy, sizeof(busy), "Retry-After: 1\r\n%s", pressure);
        extra = busy;
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
    reply_problem(c, manner, &bad, extra, members);
}

static char *put(char *to, const char *text)
{
    size_t n = strlen(text);

    memcpy(to, text, n + 1);
    return to + n;
}

static char *put_number(char *to, uint64_t v)
{
    return to + http_decimal(to, v);
}

void reply_written(struct conn *c, struct manner manner, quern_seq seq, const char *durable,
                   bool stored, uint64_t expires_ms)
{
    char extra[160 + LIFETIME_FIELD_BYTES + PRESSURE_FIELD_BYTES], json[64], *at = extra;
    struct quern_slice body = {"OK\n", 3};

    at = put(at, "Quern-Rev: ");
    at = put_number(at, seq);
    at = put(at, "\r\nQuern-Durability: ");
    at = put(at, durable);
    if (stored) {
        at = put(at, "\r\nETag: ");
        at += etag_write(c->loop->server, seq, at);
    }
    at = put(at, "\r\n");
    at += lifetime_field(expires_ms, at);
    (void)pressure_field(c->loop->server, at);
    if (manner.json) {
        body.len = (size_t)snprintf(json, sizeof(json), "{\"ok\":true,\"rev\":%" PRIu64 "}\n", seq);
        body.data = json;
    }
    reply_with(c, manner, 200, manner.json ? json_type : text_type, body, extra);
}

bool reply_stream_head(struct conn *c, struct manner manner, int status, const char *type,
                       const char *extra, bool packs)
{
    struct http_reply reply = {
        .status = status,
        .framing = c->request.minor == 1 ? HTTP_CHUNKED : HTTP_TO_CLOSE,
        .type = type,
        .extra = extra,
        .vary = packs ? "Accept-Encoding" : NULL,
        .encoding = packs ? encoding_names[manner.encoding] : NULL,
    };
    bool ends;

    manner.close |= reply.framing == HTTP_TO_CLOSE;
    manner.keep &= !manner.close;
    reply_whole(c, manner, reply, (struct quern_slice){NULL, 0});
    ends = c->last;
    c->last = false;
    return ends;
}
