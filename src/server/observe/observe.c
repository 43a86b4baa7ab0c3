/* observe.c - tells of single requests; see observe.h.
 *
 * A line of the access log goes into the loop's own buffer, which is given to the writer once a
 * turn: so a turn takes its lock once, however many requests it answers. */
#include "server/observe/observe.h"

#include "server/observe/logline.h"
#include "server/rest/params.h"
#include "server/redis/redis.h"
#include "server/rest/route.h"
#include "server/observe/sink.h"
#include "server/rest/verb.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define LINES_BYTES_MAX 65536u /* that many are given away before the turn is over */

static uint64_t took_us(const struct conn *c, const struct asked *a)
{
    return ticks_us(ticks_between(a->arrived, c->loop->measure.now));
}

static const char *peer_of(struct conn *c)
{
    struct sockaddr_storage peer;
    int len = sizeof(peer);

    if (c->resp != NULL)
        return c->resp->client.peer;
    if (c->peer[0] == '\0') {
        (void)snprintf(c->peer, sizeof(c->peer), "unknown");
        if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &len) == 0)
            address_name((struct sockaddr *)&peer, c->peer, sizeof(c->peer));
    }
    return c->peer;
}

/* ------------------------------------------------------------------ the access log -- */

static const char *result_name(enum outcome outcome)
{
    return outcome == OUTCOME_OK ? "ok" : outcome == OUTCOME_FAILED ? "failed" : "refused";
}

static void line_begin(struct logline *l, struct conn *c, const char *request_id)
{
    logline_begin(l, (enum log_format)c->loop->server->options->log_format);
    logline_text(l, "request_id", QUERN_STR(request_id));
    logline_text(l, "peer", QUERN_STR(peer_of(c)));
    logline_text(l, "proto", QUERN_STR(c->resp != NULL ? "resp" : "http"));
}

static void line_end(struct logline *l, struct conn *c, const struct asked *a, enum outcome outcome,
                     struct quern_slice code, uint64_t bytes_out)
{
    struct loop *loop = c->loop;
    struct quern_error ignored;
    struct quern_slice line;

    logline_text(l, "result", QUERN_STR(result_name(outcome)));
    if (code.len > 0)
        logline_text(l, "code", code);
    logline_number(l, "bytes_in", a->bytes);
    logline_number(l, "bytes_out", bytes_out);
    logline_number(l, "dur_us", took_us(c, a));
    logline_number(l, "wait_us", ticks_us(a->waited));
    line = logline_end(l);
    IGNORE(buf_append(&loop->lines, line.data, line.len, &ignored)); /* one line less */
    if (loop->lines.len > LINES_BYTES_MAX)
        observe_flush(loop);
}

void observe_flush(struct loop *loop)
{
    if (loop->lines.len == 0)
        return;
    sink_put(loop->server->access_log, loop->lines.data, loop->lines.len);
    buf_clear(&loop->lines);
}

static void http_line(struct conn *c, const struct manner *m, int status, enum outcome outcome,
                      uint64_t bytes_out)
{
    char name[KIND_NAME_BYTES];
    const char *route = measure_kind_name(m->asked.kind, name), *space = strchr(route, ' ');
    struct logline l;

    line_begin(&l, c, m->request_id);
    logline_text(&l, "method",
                 QUERN_STR(m->asked.method != 0 ? http_method_name(m->asked.method) : "-"));
    logline_text(&l, "route", QUERN_STR(space != NULL ? space + 1 : route));
    logline_number(&l, "status", (uint64_t)status);
    if (m->trace != NULL)
        logline_text(&l, "traceparent", (struct quern_slice){m->trace, HTTP_TRACE_BYTES});
    line_end(&l, c, &m->asked, outcome, QUERN_STR(m->code != NULL ? m->code : ""), bytes_out);
}

static void resp_line(struct conn *c, const struct asked *a, enum outcome outcome,
                      struct quern_slice word, uint64_t bytes_out)
{
    char name[KIND_NAME_BYTES], id[64];
    struct logline l;

    (void)snprintf(id, sizeof(id), "%s%llu", c->loop->id_begins,
                   (unsigned long long)++c->loop->ids);
    line_begin(&l, c, id);
    logline_text(&l, "command",
                 QUERN_STR(a->kind == KIND_NONE ? "queued" : measure_kind_name(a->kind, name)));
    line_end(&l, c, a, outcome, word, bytes_out);
}

/* ------------------------------------------------------------------ what was slow -- */

static void keep(struct conn *c, const struct asked *a, const struct quern_slice *args, size_t argc,
                 uint64_t bytes_out)
{
    struct slowlog *log = &c->loop->server->slowlog;
    uint64_t took = ticks_between(a->arrived, c->loop->measure.now);
    struct slow s = {
        .took_us = ticks_us(took),
        .waited_us = ticks_us(a->waited),
        .bytes_in = a->bytes,
        .bytes_out = bytes_out,
        .kind = a->kind,
        .waited_for = a->waited < took / 2 ? WAITED_NOTHING : (enum waited_for)a->waited_for,
    };
    int64_t slower = atomic_load(&log->slower_than_us);

    if (slower < 0 || s.took_us < (uint64_t)slower)
        return;
    (void)snprintf(s.peer, sizeof(s.peer), "%s", peer_of(c));
    if (c->resp != NULL) {
        mutex_lock(&c->loop->server->resp->mu);
        (void)snprintf(s.client_name, sizeof(s.client_name), "%.*s", (int)c->resp->client.name.len,
                       (const char *)c->resp->client.name.data);
        mutex_unlock(&c->loop->server->resp->mu);
    }
    slowlog_add(log, &s, args, argc);
}

/* The key as it stands in the request, still encoded. */
static struct quern_slice key_in_request(const struct conn *c)
{
    const uint8_t *base = conn_request_bytes(c);
    struct param key = c->params.each[PARAM_KEY];
    struct quern_slice path = http_bytes(base, c->request.path);
    size_t n;

    if (c->route == NULL || (c->route->methods & c->request.method) == 0)
        return (struct quern_slice){NULL, 0};
    n = strlen(c->route->path);
    if (c->route->traits & ROUTE_BELOW && path.len > n)
        return (struct quern_slice){(const uint8_t *)path.data + n, path.len - n};
    return (struct quern_slice){base + key.at, key.given ? key.len : 0};
}

static void keep_http(struct conn *c, const struct asked *a, uint64_t bytes_out)
{
    const struct write_op *op = c->ops;
    char name[KIND_NAME_BYTES];
    struct quern_slice args[2];

    args[0] = QUERN_STR(measure_kind_name(a->kind, name));
    args[1] = op == NULL         ? key_in_request(c)
              : op->verb != NULL ? buf_slice(&op->verb->key)
                                 : buf_slice(&op->key);
    keep(c, a, args, args[1].len > 0 ? 2 : 1, bytes_out);
}

/* The request at hand, but for what is secret in it. */
static void keep_request(struct conn *c, const struct asked *a, uint64_t bytes_out)
{
    static const struct quern_slice hidden = {"(redacted)", 10};
    const struct quern_slice *args = c->resp->request.args;
    size_t argc = c->resp->request.count, secret = 1; /* AUTH, perhaps, mistyped */
    struct quern_slice told[8];
    const struct command *command;
    bool unknown_sub;

    command = argc > 0 ? command_find(args, argc, &unknown_sub) : NULL;
    if (command != NULL)
        secret = command_secret_from(command, args, argc);
    if (secret == 0 || secret >= argc) {
        keep(c, a, args, argc, bytes_out);
        return;
    }
    if (secret > ARRAY_LEN(told) - 1)
        secret = ARRAY_LEN(told) - 1;
    memcpy(told, args, secret * sizeof(*told));
    told[secret] = hidden;
    keep(c, a, told, secret + 1, bytes_out);
}

static void keep_resp(struct conn *c, const struct asked *a, uint64_t bytes_out)
{
    const struct write_op *op = c->ops;
    char name[KIND_NAME_BYTES];
    struct quern_slice args[2];

    if (c->resp->answered != NULL) {
        keep(c, a, c->resp->answered, c->resp->answered_count, bytes_out);
        return;
    }
    if (op == NULL) {
        keep_request(c, a, bytes_out);
        return;
    }
    if (op->call != NULL && op->call->command != NULL) {
        keep(c, a, op->call->command->args, op->call->command->argc, bytes_out);
        return;
    }
    args[0] = QUERN_STR(measure_kind_name(a->kind, name));
    args[1] = buf_slice(&op->key);
    keep(c, a, args, args[1].len > 0 ? 2 : 1, bytes_out);
}

static void note_latency(struct conn *c, const struct asked *a)
{
    struct slowlog *log = &c->loop->server->slowlog;
    uint64_t ms = took_us(c, a) / 1000, limit = atomic_load(&log->latency_ms);
    const struct command *command;

    if (limit == 0 || ms < limit || a->kind == measure_kind_of_command(command_numbers()))
        return;
    command = command_numbered(a->kind - measure_kind_of_command(0));
    slowlog_latency(log, command->flags & CMD_FAST ? LATENCY_FAST_COMMAND : LATENCY_COMMAND, ms);
}

/* ------------------------------------------------------------------ both -- */

static bool is_slow(const struct conn *c, const struct asked *a)
{
    return a->kind != KIND_NONE && ticks_between(a->arrived, c->loop->measure.now) >=
                                       atomic_load(&c->loop->server->slowlog.look_ticks);
}

void observe_http(struct conn *c, const struct manner *manner, int status, enum outcome outcome,
                  uint64_t bytes_out)
{
    if (c->loop->server->access_log_on)
        http_line(c, manner, status, outcome, bytes_out);
    if (is_slow(c, &manner->asked))
        keep_http(c, &manner->asked, bytes_out);
}

void observe_resp(struct conn *c, const struct asked *a, enum outcome outcome,
                  struct quern_slice word, uint64_t bytes_out)
{
    if (c->loop->server->access_log_on)
        resp_line(c, a, outcome, word, bytes_out);
    if (!is_slow(c, a))
        return;
    keep_resp(c, a, bytes_out);
    note_latency(c, a);
}
