/* serve.c - a request, from its head to the function of its route, and to its reply.
 *
 * Before a body is read: is the host ours, is there such a route (routes.c), with this method, may this
 * page ask, are the parameters right? A request that fails here never costs more than its head. */
#include "server/rest/serve.h"

#include "server/rest/conn.h"
#include "server/rest/read.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"
#include "server/writes.h"

#include "base/error.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_BODY_BYTES_MAX                                                                        \
    65536u /* a body where none is asked for is read up to this, and dropped */

void refuse(struct conn *c, int status, const char *code, const char *detail)
{
    c->refusal = (struct refusal){{status, code, detail}, NULL};
}

void serve_completed(struct write_op *op)
{
    struct conn *c = op->conn;

    if (op->is_read && op->answer == NULL) {
        c->heard.by_disk = true;
        return; /* its request is still at hand */
    }
    measure_resume(&c->loop->measure, &op->manner.asked, write_waited_for(op));
    if (op->answer != NULL) {
        op->answer(op);
        return;
    }
    if (op->verb != NULL) {
        verb_completed(op);
        return;
    }
    plain_completed(op);
}

/* Do we go by this name? A connection mostly asks for the name that it asked for before, and what
 * our names are does not change while we run. */
static bool is_ours(struct conn *c, struct quern_slice host)
{
    if (host.len > 0 && host.len == c->host_bytes && memcmp(host.data, c->host, host.len) == 0)
        return true;
    if (!hosts_known(&c->loop->server->hosts, host))
        return false;
    c->host_bytes = host.len <= sizeof(c->host) ? (uint8_t)host.len : 0;
    memcpy(c->host, host.data, c->host_bytes);
    return true;
}

/* False: refused. */
static bool read_database(struct conn *c)
{
    struct param db = c->params.each[PARAM_DB];
    char word[PARAM_WORD_BYTES];
    int64_t n;

    c->database = 0;
    if (LIKELY(!db.given))
        return true;
    if (params_word(conn_request_bytes(c), db, word) && integer_read(QUERN_STR(word), &n) &&
        n >= 0 && n < QUERN_DATABASES) {
        c->database = (uint8_t)n;
        return true;
    }
    refuse(c, 400, "bad_parameter", "db must be a database, 0 to 15");
    return false;
}

void serve_begin(struct conn *c)
{
    struct server *server = c->loop->server;
    const uint8_t *base = conn_request_bytes(c);
    const struct http_request *r = &c->request;
    struct quern_slice path = http_bytes(base, r->path);
    bool safe, needs_asking;
    enum site site;
    struct http_bad bad;

    /* Mostly it is again that of the request before. */
    if (c->route == NULL || !(c->route->methods & r->method) || !route_is_at(c->route, path))
        c->route = route_of(path, r->method);
    c->body_max = IDLE_BODY_BYTES_MAX;
    c->passes_body = false;
    if ((r->minor == 1 || http_has(r, HTTP_HOST)) && !is_ours(c, http_bytes(base, r->host))) {
        refuse(c, 421, "host_not_allowed",
               "this server does not go by that name; ask for localhost, or start it with "
               "--allowed-host NAME");
        return;
    }
    if (r->method == HTTP_OPTIONS &&
        (c->route != NULL || (path.len == 1 && base[r->path.at] == '*')))
        return;
    if (c->route == NULL) {
        refuse(
            c, 404, "no_such_route",
            "no such path; there are /set /get /del /shutdown and /v1/kv/KEY, and / tells of all");
        return;
    }
    if ((c->route->methods & r->method) == 0) {
        refuse(c, 405, "method_not_allowed",
               "this path is not for that method; see the Allow field");
        c->refusal.extra = c->route->allow;
        return;
    }
    needs_asking = (c->route->traits & ROUTE_NEEDS_ASKING) != 0;
    safe = (r->method & (HTTP_GET | HTTP_HEAD)) != 0 && !needs_asking;
    site = safe ? SITE_OURS : hosts_site(&server->hosts, r, base);
    if (site == SITE_FOREIGN || (needs_asking && (site != SITE_OURS || hosts_prefetch(r)))) {
        refuse(c, 403, "cross_site", "not for a page of another site");
        return;
    }
    if (UNLIKELY(c->loop->access != NULL) && !guard_request(c))
        return;
    if (atomic_load(&server->draining) && !(c->route->traits & ROUTE_ANY_TIME)) {
        refuse(c, 503, "shutting_down", "the server is shutting down");
        c->refusal.extra = "Retry-After: 1\r\n";
        return;
    }
    if (c->route->traits & ROUTE_TAKES_VALUE)
        c->body_max = server->options->value_bytes_max;
    if (c->route->traits & ROUTE_PASSES_BODY) {
        c->body_max = UINT64_MAX;
        c->passes_body = true;
    }
    if (!params_read(http_bytes(base, r->query), base, c->route->params, &c->params, &bad))
        c->refusal.bad = bad;
    else if (read_database(c) && c->route->check != NULL)
        c->route->check(c);
}

bool serve_may_join(const struct conn *c)
{
    /* The youngest of the writes under way: one that may have to look again must not be overtaken. */
    const struct write_op *last =
        (const struct write_op *)((const char *)c->ops_last - offsetof(struct write_op, next));

    return c->refusal.bad.status == 0 && c->route != NULL && c->route->traits & ROUTE_JOINS &&
           c->request.method == HTTP_POST && !last->alone && c->asides == 0;
}

/* What a browser asks before a page of another origin may send such a request: it sends that only
 * if this page's origin is listed and method and fields are among those named here. */
static void reply_options(struct conn *c, struct manner manner)
{
    const char *allow = c->route != NULL
                            ? c->route->allow
                            : "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n";
    char extra[512];

    if (manner.reader == NULL || !http_has(&c->request, HTTP_ACCESS_CONTROL_REQUEST_METHOD)) {
        reply_with(c, manner, 204, NULL, (struct quern_slice){NULL, 0}, allow);
        return;
    }
    (void)snprintf(extra, sizeof(extra),
                   "%sAccess-Control-Allow-Methods%s"
                   "Access-Control-Allow-Headers: Accept, Authorization, Content-Type, If-Match, "
                   "If-None-Match, If-Range, Range, Quern-TTL, Quern-Expires-At, X-Request-Id\r\n"
                   "Access-Control-Max-Age: 600\r\n",
                   allow, strchr(allow, ':'));
    reply_with(c, manner, 204, NULL, (struct quern_slice){NULL, 0}, extra);
}

static void end_request(struct conn *c, struct manner manner)
{
    if (c->refusal.bad.status != 0)
        reply_error(c, manner, &c->refusal.bad, c->refusal.extra);
    count(&c->loop->server->counters.requests, 1);
}

bool serve_request(struct conn *c, struct quern_slice body)
{
    struct manner manner = manner_of(c);

    /* The tokens may have changed while the body came. */
    if (c->refusal.bad.status == 0 && c->user != NULL && c->access != c->loop->access)
        (void)guard_request(c);
    if (c->refusal.bad.status == 0) {
        if (c->request.method == HTTP_OPTIONS)
            reply_options(c, manner);
        else
            c->route->carry_out(c, manner, body);
        if (c->refusal.bad.status != 0 && c->ops != NULL)
            return false;
        if (read_waits(c))
            return false;
    }
    end_request(c, manner);
    return true;
}

void serve_found(struct conn *c, struct manner manner, read_then then, enum quern_code code,
                 const struct quern_error *err)
{
    then(c, manner, code, err);
    end_request(c, manner);
    rest_pass_on(c);
}

/* A client of the Redis protocol that came to the wrong port reads no HTTP. */
static bool answer_resp(struct conn *c)
{
    const struct server *server = c->loop->server;
    char text[96], where[32] = "";
    struct quern_error err;
    int len;

    if (c->request.saw_line || conn_arrived(c) == 0 ||
        (*conn_request_bytes(c) != '*' && *conn_request_bytes(c) != '+'))
        return false;
    if (server->resp_port != 0)
        (void)snprintf(where, sizeof(where), "; RESP is at :%u", server->resp_port);
    len = snprintf(text, sizeof(text), "-ERR this is quern's HTTP port%s\r\n", where);
    c->last = true;
    if (buf_append(&c->out, text, (size_t)len, &err) != QUERN_OK)
        conn_cut(c);
    return true;
}

void serve_refusal(struct conn *c)
{
    struct manner manner = manner_of(c);

    if (answer_resp(c))
        return;
    manner.close = true;
    manner.keep = false;
    reply_error(c, manner, &c->refusal.bad, c->refusal.extra);
    count(&c->loop->server->counters.requests, 1);
}
