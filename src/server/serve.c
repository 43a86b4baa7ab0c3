/* serve.c - the routes.
 *
 *     POST    /set?key=K&value=V   or the body as the value, or a form as the body
 *     GET     /get?key=K           also HEAD
 *     DELETE  /del?key=K
 *     GET     /healthz  /stats     also HEAD
 *     GET     /shutdown            also POST, never HEAD
 *
 * Before a body is read: is the host ours, is there such a route, with this method, may this page
 * ask, are the parameters right? A request that fails here never costs more than its head. */
#include "server/serve.h"

#include "server/reply.h"
#include "server/writes.h"

#include "base/error.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_BODY_BYTES_MAX                                                                        \
    65536u /* a body where none is asked for is read up to this, and dropped */

struct route {
    const char *path;
    unsigned methods;
    const char *allow;
    unsigned params; /* which it takes */
    void (*carry_out)(struct conn *c, struct manner manner, struct quern_slice body);
    bool writes;       /* may join other writes of its connection */
    bool any_time;     /* answered while the server drains */
    bool needs_asking; /* not for pages of other sites, whatever the method */
};

/* Refuse the request at hand. It is answered when its turn comes: writes before it may be under
 * way. */
static void refuse(struct conn *c, int status, const char *code, const char *detail)
{
    c->refusal = (struct refusal){{status, code, detail}, NULL};
}

/* ------------------------------------------------------------------ set, get, del -- */

static bool is_form(const struct conn *c)
{
    return http_has(&c->request, HTTP_CONTENT_TYPE) &&
           http_media_is(http_bytes(conn_request_bytes(c), c->request.field[HTTP_CONTENT_TYPE]),
                         "application/x-www-form-urlencoded");
}

/* The decoded key into loop->key; false: refused. */
static bool decode_key(struct conn *c, const void *base, struct param key, bool in_body)
{
    if (!params_decode(base, key, &c->loop->key, &c->refusal.bad))
        return false;
    if (c->loop->key.len == 0) {
        refuse(c, 400, "missing_parameter", "the key is empty; write ?key=NAME");
        return false;
    }
    if (c->loop->key.len > QUERN_KEY_BYTES_MAX) {
        refuse(c, in_body ? 413 : 414, "key_too_large", "the key is over 65536 bytes");
        return false;
    }
    return true;
}

static void set(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct params p = c->params;
    const void *base = conn_request_bytes(c);
    bool form = !p.key.given && is_form(c);
    struct quern_slice value = body;

    if (form) {
        base = body.data;
        if (!params_read(body, base, PARAM_KEY | PARAM_VALUE | PARAM_SYNC, &p, &c->refusal.bad))
            return;
        p.sync |= c->params.sync;
        if (!p.key.given || !p.value.given) {
            refuse(c, 400, "missing_parameter",
                   "a form must be key=K&value=V; or write ?key=K and send the bare value");
            return;
        }
    } else if (p.value.given && body.len > 0) {
        refuse(c, 400, "value_given_twice",
               "there is a value parameter and a body; send one of them");
        return;
    }
    if (!decode_key(c, base, p.key, form))
        return;
    if (p.value.given) {
        if (!params_decode(base, p.value, &c->loop->text, &c->refusal.bad))
            return;
        value = buf_slice(&c->loop->text);
    }
    if (value.len > c->loop->server->options->value_bytes_max) {
        refuse(c, 413, "value_too_large",
               "the value is larger than this server takes (--max-value)");
        return;
    }
    if (!write_set(c, manner, buf_slice(&c->loop->key), value, p.sync))
        conn_cut(c);
    if (c->loop->text.capacity > (1u << 20))
        buf_done(&c->loop->text);
}

static void get(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct loop *loop = c->loop;
    struct quern_error err;
    enum quern_code code;

    (void)body;
    if (!decode_key(c, conn_request_bytes(c), c->params.key, false))
        return;
    count(&loop->server->counters.gets, 1);
    err_clear(&err);
    code = quern_get(loop->server->db, buf_slice(&loop->key), NULL, &loop->value, &err);
    if (code == QUERN_NOT_FOUND) {
        refuse(c, 404, "key_not_found", "key not found");
    } else if (code != QUERN_OK) {
        reply_store_error(c, manner, code, &err);
    } else {
        count(&loop->server->counters.gets_found, 1);
        reply_value(c, manner);
    }
}

static void del(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    if (!decode_key(c, conn_request_bytes(c), c->params.key, false))
        return;
    if (!write_delete(c, manner, buf_slice(&c->loop->key), c->params.sync))
        conn_cut(c);
}

void serve_completed(struct write_op *op)
{
    struct conn *c = op->conn;
    struct counters *n = &c->loop->server->counters;
    enum quern_code code = op->completion.code;
    static const char *const names[] = {"synced", "interval", "os"};
    static const struct http_bad none = {404, "key_not_found", "key not found"};

    if (code == QUERN_OK) {
        count(op->is_delete ? &n->deletes_found : &n->sets, 1);
        if (!op->is_delete)
            count(&n->set_bytes, op->bytes);
    }
    count(&n->deletes, op->is_delete);
    if (c->closing)
        return;
    if (code == QUERN_OK)
        reply_written(c, op->manner, op->completion.seq,
                      names[op->synced ? 0 : c->loop->server->options->durability]);
    else if (code == QUERN_NOT_FOUND)
        reply_error(c, op->manner, &none, NULL);
    else
        reply_store_error(c, op->manner, code, &op->completion.error);
}

/* ------------------------------------------------------------------ healthz, stats -- */

static void healthz(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct quern_stats stats;
    char detail[sizeof(stats.failure) + 64];
    struct http_bad bad = {503, "read_only", detail};

    (void)body;
    quern_stats(c->loop->server->db, &stats);
    if (!stats.read_only) {
        reply_with(c, manner, 200, "text/plain; charset=utf-8", (struct quern_slice){"ok\n", 3},
                   "Cache-Control: no-store\r\n");
        return;
    }
    (void)snprintf(detail, sizeof(detail), "the store takes no writes until it is restarted: %s",
                   stats.failure);
    reply_error(c, manner, &bad, NULL);
}

static void stats(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct server *server = c->loop->server;
    struct counters *n = &server->counters;
    struct quern_error err;
    struct quern_stats now;
    char text[1536];
    char *store;
    int len;

    (void)body;
    quern_stats(server->db, &now);
    store = quern_stats_json(&now);
    len = snprintf(text, sizeof(text),
                   "{\"server\":{\"version\":\"%s\",\"uptime_ms\":%" PRIu64 ",\"loops\":%u,"
                   "\"connections\":%" PRIu32 ",\"connections_max\":%" PRIu32
                   ",\"connections_total\":%" PRIu64 ",\"connections_refused\":%" PRIu64
                   ",\"timeouts\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"sets\":%" PRIu64
                   ",\"set_bytes\":%" PRIu64 ",\"gets\":%" PRIu64 ",\"gets_found\":%" PRIu64
                   ",\"deletes\":%" PRIu64 ",\"deletes_found\":%" PRIu64
                   ",\"writes_in_flight\":%" PRIu64 ",\"replies_2xx\":%" PRIu64
                   ",\"replies_4xx\":%" PRIu64 ",\"replies_5xx\":%" PRIu64 ",\"bytes_in\":%" PRIu64
                   ",\"bytes_out\":%" PRIu64 "},\"store\":",
                   quern_version(), uv_hrtime() / 1000000 - server->started_ms, server->loop_count,
                   server->connections, server->options->connections_max, n->connections_total,
                   n->connections_refused, n->timeouts, n->requests, n->sets, n->set_bytes, n->gets,
                   n->gets_found, n->deletes, n->deletes_found, server->writes, n->replies_ok,
                   n->replies_refused, n->replies_failed, n->bytes_in, n->bytes_out);
    buf_clear(&c->loop->text);
    if (store == NULL || buf_append(&c->loop->text, text, (size_t)len, &err) ||
        buf_append(&c->loop->text, store, strlen(store), &err) ||
        buf_append(&c->loop->text, "}\n", 2, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(&c->loop->text),
                   "Cache-Control: no-store\r\n");
    free(store);
}

/* ------------------------------------------------------------------ shutdown -- */

/* "127.0.0.1:51234", and whether that is this machine. */
static bool name_peer(struct conn *c, char *to, size_t room)
{
    struct sockaddr_storage peer;
    int len = sizeof(peer);

    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &len) != 0) {
        (void)snprintf(to, room, "a client that is gone");
        return false;
    }
    address_name((struct sockaddr *)&peer, to, room);
    return address_is_loopback((struct sockaddr *)&peer);
}

static void shut_down(struct conn *c, struct manner manner, struct quern_slice body)
{
    char peer[64], by[96];

    (void)body;
    if (!name_peer(c, peer, sizeof(peer))) {
        refuse(c, 403, "not_local", "only a client on the same machine may shut the server down");
        return;
    }
    (void)snprintf(by, sizeof(by), "%s (%s /shutdown)", peer, http_method_name(c->request.method));
    c->watching = true;
    atomic_fetch_add(&c->loop->server->watchers, 1);
    /* Whoever asks second is told so by the status, and hears the same words. */
    reply_stream_head(c, manner, stop_ask(&c->loop->server->stop, by) ? 200 : 409);
}

void serve_words(struct conn *c)
{
    struct quern_error err;
    size_t mark = c->out.len;
    bool over = stop_words(&c->loop->server->stop, &c->words_told, c->chunked_words, &c->out);

    if (c->resp != NULL)
        c->out.len = mark; /* it waits for the end alone */
    if (!over)
        return;
    c->last = true;
    if (c->chunked_words && http_reply_chunk(&c->out, (struct quern_slice){NULL, 0}, true, &err))
        conn_cut(c);
}

/* ------------------------------------------------------------------ routes -- */

#define READS "Allow: GET, HEAD, OPTIONS\r\n"

static const struct route routes[] = {
    {"/set", HTTP_POST, "Allow: POST, OPTIONS\r\n", PARAM_KEY | PARAM_VALUE | PARAM_SYNC, set, true,
     false, false},
    {"/get", HTTP_GET | HTTP_HEAD, READS, PARAM_KEY, get, false, false, false},
    {"/del", HTTP_DELETE, "Allow: DELETE, OPTIONS\r\n", PARAM_KEY | PARAM_SYNC, del, false, false,
     false},
    {"/healthz", HTTP_GET | HTTP_HEAD, READS, 0, healthz, false, false, false},
    {"/stats", HTTP_GET | HTTP_HEAD, READS, 0, stats, false, false, false},
    {"/shutdown", HTTP_GET | HTTP_POST, "Allow: GET, POST, OPTIONS\r\n", 0, shut_down, false, true,
     true},
};

static const struct route *route_of(struct quern_slice path)
{
    for (unsigned i = 0; i < ARRAY_LEN(routes); i++) {
        if (path.len == strlen(routes[i].path) && memcmp(path.data, routes[i].path, path.len) == 0)
            return &routes[i];
    }
    return NULL;
}

/* The parameters, as far as they can be judged without a body. */
static void check_params(struct conn *c, const uint8_t *base)
{
    const struct http_request *r = &c->request;
    bool has_body = r->chunked || http_has(r, HTTP_CONTENT_LENGTH);
    struct params *p = &c->params;
    struct http_bad bad;

    if (!params_read(http_bytes(base, r->query), base, c->route->params, p, &bad)) {
        c->refusal.bad = bad;
        return;
    }
    if (c->route->carry_out == set && !p->key.given && !p->value.given && has_body && is_form(c))
        return; /* key and value come in the body */
    if (c->route->params & PARAM_KEY && (!p->key.given || p->key.len == 0))
        refuse(c, 400, "missing_parameter", "the key is missing; write ?key=NAME");
    else if (c->route->carry_out == set && !p->value.given && !has_body)
        refuse(c, 400, "missing_parameter",
               "the value is missing; write &value=... or send it as the request body");
    else if (c->route->carry_out == set && p->value.given && r->content_length > 0)
        refuse(c, 400, "value_given_twice",
               "there is a value parameter and a body; send one of them");
}

void serve_begin(struct conn *c)
{
    struct server *server = c->loop->server;
    const uint8_t *base = conn_request_bytes(c);
    const struct http_request *r = &c->request;
    struct quern_slice path = http_bytes(base, r->path);
    bool safe;

    c->route = route_of(path);
    c->body_max = IDLE_BODY_BYTES_MAX;
    if ((r->minor == 1 || http_has(r, HTTP_HOST)) &&
        !hosts_known(&server->hosts, http_bytes(base, r->host))) {
        refuse(c, 421, "host_not_allowed",
               "this server does not go by that name; ask for localhost, or start it with "
               "--allowed-host NAME");
        return;
    }
    if (r->method == HTTP_OPTIONS &&
        (c->route != NULL || (path.len == 1 && base[r->path.at] == '*')))
        return;
    if (c->route == NULL) {
        refuse(c, 404, "no_such_route",
               "no such path; there are /set /get /del /stats /healthz /shutdown");
        return;
    }
    if ((c->route->methods & r->method) == 0) {
        refuse(c, 405, "method_not_allowed",
               "this path is not for that method; see the Allow field");
        c->refusal.extra = c->route->allow;
        return;
    }
    safe = (r->method & (HTTP_GET | HTTP_HEAD)) != 0 && !c->route->needs_asking;
    if (!safe && (hosts_foreign(r, base) || (c->route->needs_asking && hosts_prefetch(r)))) {
        refuse(c, 403, "cross_site", "not for a page of another site");
        return;
    }
    if (atomic_load(&server->draining) && !c->route->any_time) {
        refuse(c, 503, "shutting_down", "the server is shutting down");
        c->refusal.extra = "Retry-After: 1\r\n";
        return;
    }
    if (c->route->writes)
        c->body_max = server->options->value_bytes_max;
    check_params(c, base);
}

bool serve_may_join(const struct conn *c)
{
    /* The youngest of the writes under way: a delete that waits at the gate must not be
     * overtaken. */
    const struct write_op *last =
        (const struct write_op *)((const char *)c->ops_last - offsetof(struct write_op, next));

    return c->refusal.bad.status == 0 && c->route != NULL && c->route->writes &&
           c->request.method == HTTP_POST && !last->waits_at_gate;
}

bool serve_request(struct conn *c, struct quern_slice body)
{
    struct manner manner = manner_of(c);

    if (c->refusal.bad.status == 0) {
        if (c->request.method == HTTP_OPTIONS)
            reply_with(c, manner, 204, NULL, (struct quern_slice){NULL, 0},
                       c->route != NULL ? c->route->allow
                                        : "Allow: GET, HEAD, POST, DELETE, OPTIONS\r\n");
        else
            c->route->carry_out(c, manner, body);
        if (c->refusal.bad.status != 0 && c->ops != NULL)
            return false;
    }
    if (c->refusal.bad.status != 0)
        reply_error(c, manner, &c->refusal.bad, c->refusal.extra);
    count(&c->loop->server->counters.requests, 1);
    return true;
}

/* A client of the Redis protocol that came to the wrong port reads no HTTP. */
static bool answer_resp(struct conn *c)
{
    const struct server *server = c->loop->server;
    char text[96], where[32] = "";
    struct quern_error err;
    int len;

    if (c->request.saw_line || conn_arrived(c) == 0 || *conn_request_bytes(c) != '*')
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
