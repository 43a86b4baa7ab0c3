/* serve.c - the routes.
 *
 *     POST    /set?key=K&value=V   or the body as the value, or a form as the body
 *     GET     /get?key=K           also HEAD
 *     DELETE  /del?key=K
 *     /v1/kv  /v1/keys  /v1/batch  kv.c keys.c delete_range.c batch.c
 *     /v1/export  /v1/import       export.c import.c
 *     /v1/snapshots  /v1/admin     snapshot.c admin.c
 *     /  /healthz  /stats          about.c
 *     /metrics                     metrics.c
 *     GET     /shutdown            also POST, never HEAD
 *
 * Before a body is read: is the host ours, is there such a route, with this method, may this page
 * ask, are the parameters right? A request that fails here never costs more than its head. */
#include "server/rest/serve.h"

#include "server/rest/conditions.h"
#include "server/rest/lifetime.h"
#include "server/rest/reach.h"
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

/* ------------------------------------------------------------------ set, get, del -- */

#define FORM_PARAMS                                                                                \
    (PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_VALUE) | PARAM_BIT(PARAM_SYNC) |                       \
     PARAM_BIT(PARAM_TTL) | PARAM_BIT(PARAM_EXPIRES_AT))
#define SET_PARAMS (FORM_PARAMS | PARAM_BIT(PARAM_DB))
static const char sync_detail[] = "sync must be 1 or 0";

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
    return guard_key(c, buf_slice(&c->loop->key));
}

/* What a form says, or else the query and the fields; false: refused. */
static bool set_lifetime(struct conn *c, const void *base, const struct params *p, bool form,
                         struct lifetime *out)
{
    if (!lifetime_read(c, base, p, out))
        return false;
    if (!form ||
        (!params_given(&c->params, PARAM_TTL) && !params_given(&c->params, PARAM_EXPIRES_AT)))
        return true;
    if (out->kind == LIFETIME_ENDLESS)
        return lifetime_read(c, conn_request_bytes(c), &c->params, out);
    refuse(c, 400, "bad_ttl",
           "say once how long the value is to live: in the form or in the query");
    return false;
}

/* The plain routes take no conditions. False: refused. */
static bool may_overwrite(struct conn *c)
{
    if (conditions_required(c->loop->server, buf_slice(&c->loop->key)))
        c->refusal.bad = conditions_missing;
    return c->refusal.bad.status == 0;
}

static void set(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct params p = c->params;
    const void *base = conn_request_bytes(c);
    bool form = !params_given(&p, PARAM_KEY) && is_form(c), sync = false, sync_in_form = false;
    struct quern_slice value = body;
    struct lifetime lifetime;

    (void)params_flag(base, p.each[PARAM_SYNC], &sync); /* check_plain() saw to it */

    if (form) {
        base = body.data;
        if (!params_read(body, base, FORM_PARAMS, &p, &c->refusal.bad))
            return;
        if (!params_flag(base, p.each[PARAM_SYNC], &sync_in_form)) {
            refuse(c, 400, "bad_parameter", sync_detail);
            return;
        }
        if (!params_given(&p, PARAM_KEY) || !params_given(&p, PARAM_VALUE)) {
            refuse(c, 400, "missing_parameter",
                   "a form must be key=K&value=V; or write ?key=K and send the bare value");
            return;
        }
    } else if (params_given(&p, PARAM_VALUE) && body.len > 0) {
        refuse(c, 400, "value_given_twice",
               "there is a value parameter and a body; send one of them");
        return;
    }
    if (!set_lifetime(c, base, &p, form, &lifetime) ||
        !decode_key(c, base, p.each[PARAM_KEY], form) || !may_overwrite(c))
        return;
    if (params_given(&p, PARAM_VALUE)) {
        if (!params_decode(base, p.each[PARAM_VALUE], &c->loop->text, &c->refusal.bad))
            return;
        value = buf_slice(&c->loop->text);
    }
    if (value.len > c->loop->server->options->value_bytes_max) {
        refuse(c, 413, "value_too_large",
               "the value is larger than this server takes (--max-value)");
        return;
    }
    if (!write_set(c, manner, buf_slice(&c->loop->key), value, lifetime.until_ms,
                   sync || sync_in_form))
        conn_cut(c);
    if (c->loop->text.capacity > (1u << 20))
        buf_done(&c->loop->text);
}

static void got(struct conn *c, struct manner manner, enum quern_code code,
                const struct quern_error *err)
{
    if (reply_read(c, manner, code, err))
        reply_value(c, manner, NULL);
}

static void get(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    if (decode_key(c, conn_request_bytes(c), c->params.each[PARAM_KEY], false))
        read_value(c, manner, buf_slice(&c->loop->key), NULL, got);
}

static void del(struct conn *c, struct manner manner, struct quern_slice body)
{
    const void *base = conn_request_bytes(c);
    bool sync;

    (void)body;
    (void)params_flag(base, c->params.each[PARAM_SYNC], &sync); /* check_plain() saw to it */
    if (!decode_key(c, base, c->params.each[PARAM_KEY], false) || !may_overwrite(c))
        return;
    if (!write_delete(c, manner, buf_slice(&c->loop->key), sync))
        conn_cut(c);
}

void serve_completed(struct write_op *op)
{
    struct conn *c = op->conn;
    struct counters *n = &c->loop->server->counters;
    enum quern_code code = op->completion.code;
    static const struct http_bad none = {404, "key_not_found", "key not found"};

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
    if (code == QUERN_OK) {
        count(op->is_delete ? &n->deletes_found : &n->sets, 1);
        if (!op->is_delete)
            count(&n->set_bytes, op->bytes);
    }
    count(&n->deletes, op->is_delete);
    if (c->closing)
        return;
    if (code == QUERN_OK)
        reply_written(c, op->manner, op->completion.seq, durability_name(op->synced),
                      !op->is_delete, op->expires_ms);
    else if (code == QUERN_NOT_FOUND)
        reply_error(c, op->manner, &none, NULL);
    else
        reply_store_error(c, op->manner, code, &op->completion.error);
}

/* ------------------------------------------------------------------ shutdown -- */

bool serve_peer(struct conn *c, char *to, size_t room)
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
    /* Where there are tokens, one with scope admin was shown: it may come from anywhere. */
    if (!serve_peer(c, peer, sizeof(peer)) && c->user == NULL) {
        refuse(c, 403, "not_local", "only a client on the same machine may shut the server down");
        return;
    }
    (void)snprintf(by, sizeof(by), "%s (%s /shutdown)", peer, http_method_name(c->request.method));
    c->watching = true;
    atomic_fetch_add(&c->loop->server->watchers, 1);
    manner.close = true;
    /* Whoever asks second is told so by the status, and hears the same words. */
    IGNORE(reply_stream_head(c, manner, stop_ask(&c->loop->server->stop, by) ? 200 : 409,
                             "text/plain; charset=utf-8", "Cache-Control: no-store\r\n", false));
    c->chunked_words = c->request.minor == 1;
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

/* The parameters of /set, /get and /del, as far as they can be judged without a body. */
static void check_plain(struct conn *c)
{
    const struct http_request *r = &c->request;
    const struct params *p = &c->params;
    bool sets = r->method == HTTP_POST, has_value = params_given(p, PARAM_VALUE), sync;
    struct lifetime lifetime;

    if (r->method != HTTP_GET && r->method != HTTP_HEAD &&
        (http_has(r, HTTP_IF_MATCH) || http_has(r, HTTP_IF_NONE_MATCH)))
        refuse(c, 400, "condition_not_supported",
               "/set and /del take no conditions, and nothing was done; /v1/kv does");
    else if (!params_flag(conn_request_bytes(c), p->each[PARAM_SYNC], &sync))
        refuse(c, 400, "bad_parameter", sync_detail);
    else if (!sets && lifetime_given(c))
        refuse(c, 400, "bad_ttl", "a lifetime is for /set");
    else if (sets && !lifetime_read(c, conn_request_bytes(c), p, &lifetime))
        return;
    else if (sets && !params_given(p, PARAM_KEY) && !has_value && has_body(c) && is_form(c))
        return; /* key and value come in the body */
    else if (p->each[PARAM_KEY].len == 0)
        refuse(c, 400, "missing_parameter", "the key is missing; write ?key=NAME");
    else if (sets && !has_value && !has_body(c))
        refuse(c, 400, "missing_parameter",
               "the value is missing; write &value=... or send it as the request body");
    else if (sets && has_value && r->content_length > 0)
        refuse(c, 400, "value_given_twice",
               "there is a value parameter and a body; send one of them");
}

#define READS "Allow: GET, HEAD, OPTIONS\r\n"
#define KV "Allow: GET, HEAD, PUT, DELETE, POST, OPTIONS\r\n"
#define KV_READS                                                                                   \
    (PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_ENC) | PARAM_BIT(PARAM_META) |                         \
     PARAM_BIT(PARAM_SNAPSHOT) | PARAM_BIT(PARAM_DB))
#define KV_WRITES                                                                                  \
    (PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_ENC) | PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB))
#define KV_LIVES (PARAM_BIT(PARAM_TTL) | PARAM_BIT(PARAM_EXPIRES_AT) | PARAM_BIT(PARAM_KEEPTTL))
#define KEYS                                                                                       \
    (REACH_PARAMS | PARAM_BIT(PARAM_SNAPSHOT) | PARAM_BIT(PARAM_LIMIT) | PARAM_BIT(PARAM_CURSOR) | \
     PARAM_BIT(PARAM_REVERSE) | PARAM_BIT(PARAM_DELIMITER) | PARAM_BIT(PARAM_VALUES) |             \
     PARAM_BIT(PARAM_COUNT) | PARAM_BIT(PARAM_MAX_SCAN_MS) | PARAM_BIT(PARAM_DB))
#define CONFIG "Allow: GET, HEAD, PATCH, OPTIONS\r\n"
#define JOB "Allow: POST, OPTIONS\r\n", PARAM_BIT(PARAM_WAIT)
#define KV_READ_TRAITS (ROUTE_READS | ROUTE_JUDGES_KEYS)
#define KV_WRITE_TRAITS (ROUTE_WRITES | ROUTE_JUDGES_KEYS)
#define KV_ROUTES(path, below)                                                                     \
    {path, HTTP_GET | HTTP_HEAD, KV, KV_READS, kv_get, kv_check, (below) | KV_READ_TRAITS},        \
        {path,                                                                                     \
         HTTP_PUT,                                                                                 \
         KV,                                                                                       \
         KV_WRITES | KV_LIVES,                                                                     \
         kv_put,                                                                                   \
         kv_check,                                                                                 \
         (below) | ROUTE_TAKES_VALUE | KV_WRITE_TRAITS},                                           \
        {path,                                                                                     \
         HTTP_DELETE,                                                                              \
         KV,                                                                                       \
         KV_WRITES | PARAM_BIT(PARAM_RETURN),                                                      \
         kv_delete,                                                                                \
         kv_check,                                                                                 \
         (below) | KV_WRITE_TRAITS},                                                               \
    {                                                                                              \
        path, HTTP_POST, KV, KV_WRITES | KV_LIVES | PARAM_BIT(PARAM_OP) | PARAM_BIT(PARAM_BY),     \
            kv_post, kv_check, (below) | ROUTE_TAKES_VALUE | KV_READ_TRAITS | KV_WRITE_TRAITS      \
    }

static const struct route routes[] = {
    {"/", HTTP_GET | HTTP_HEAD, READS, 0, about_index, NULL, ROUTE_OPEN},
    {"/set", HTTP_POST, "Allow: POST, OPTIONS\r\n", SET_PARAMS, set, check_plain,
     ROUTE_TAKES_VALUE | ROUTE_JOINS | ROUTE_WRITES | ROUTE_JUDGES_KEYS},
    {"/get", HTTP_GET | HTTP_HEAD, READS, PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_DB), get,
     check_plain, ROUTE_READS | ROUTE_JUDGES_KEYS},
    {"/del", HTTP_DELETE, "Allow: DELETE, OPTIONS\r\n",
     PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB), del, check_plain,
     ROUTE_WRITES | ROUTE_JUDGES_KEYS},
    KV_ROUTES("/v1/kv", 0),
    KV_ROUTES("/v1/kv/", ROUTE_BELOW),
    {"/v1/keys", HTTP_GET | HTTP_HEAD, "Allow: GET, HEAD, DELETE, OPTIONS\r\n", KEYS, keys_list,
     keys_check, ROUTE_READS | ROUTE_JUDGES_KEYS},
    {"/v1/keys", HTTP_DELETE, "Allow: GET, HEAD, DELETE, OPTIONS\r\n",
     REACH_PARAMS | PARAM_BIT(PARAM_ALL) | PARAM_BIT(PARAM_DRY_RUN) | PARAM_BIT(PARAM_SYNC) |
         PARAM_BIT(PARAM_DB),
     delete_range, delete_range_check, ROUTE_WRITES | ROUTE_JUDGES_KEYS},
    {"/v1/batch", HTTP_POST, "Allow: POST, OPTIONS\r\n",
     PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB), batch_post, batch_check,
     ROUTE_TAKES_VALUE | ROUTE_EITHER | ROUTE_JUDGES_KEYS},
    {"/v1/export", HTTP_GET | HTTP_HEAD, READS,
     REACH_PARAMS | PARAM_BIT(PARAM_SNAPSHOT) | PARAM_BIT(PARAM_DB) | PARAM_BIT(PARAM_ALL),
     export_get, export_check, ROUTE_READS | ROUTE_JUDGES_KEYS},
    {"/v1/import", HTTP_POST, "Allow: POST, OPTIONS\r\n",
     PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB), import_post, import_check,
     ROUTE_PASSES_BODY | ROUTE_WRITES},
    {"/v1/snapshots", HTTP_POST, "Allow: POST, OPTIONS\r\n", PARAM_BIT(PARAM_TTL), snapshot_make,
     snapshot_check, ROUTE_READS | ROUTE_NO_KEYS},
    {"/v1/snapshots/", HTTP_DELETE, "Allow: DELETE, OPTIONS\r\n", 0, snapshot_end, NULL,
     ROUTE_BELOW | ROUTE_READS | ROUTE_NO_KEYS},
    {"/v1/admin/flush", HTTP_POST, JOB, admin_job, admin_check_job, 0},
    {"/v1/admin/compact", HTTP_POST, JOB | PARAM_BIT(PARAM_PREFIX) | PARAM_BIT(PARAM_DB), admin_job,
     admin_check_job, 0},
    {"/v1/admin/verify", HTTP_POST, JOB, admin_job, admin_check_job, 0},
    {"/v1/admin/checkpoint", HTTP_POST, "Allow: POST, OPTIONS\r\n", PARAM_BIT(PARAM_DIR),
     admin_checkpoint, admin_check_job, 0},
    {"/v1/admin/jobs", HTTP_GET | HTTP_HEAD, READS, 0, admin_jobs, NULL, 0},
    {"/v1/admin/jobs/", HTTP_GET | HTTP_HEAD, READS, 0, admin_job_get, NULL, ROUTE_BELOW},
    {"/v1/admin/levels", HTTP_GET | HTTP_HEAD, READS, 0, admin_levels, NULL, 0},
    {"/v1/admin/files", HTTP_GET | HTTP_HEAD, READS, 0, admin_files, NULL, 0},
    {"/v1/admin/events", HTTP_GET | HTTP_HEAD, READS, 0, admin_events, NULL, 0},
    {"/v1/admin/clients", HTTP_GET | HTTP_HEAD, READS, 0, admin_clients, NULL, 0},
    {"/v1/admin/limits", HTTP_GET | HTTP_HEAD, READS, 0, admin_limits, NULL, 0},
    {"/v1/admin/stats", HTTP_GET | HTTP_HEAD, READS, 0, about_stats, NULL, 0},
    {"/v1/admin/slowlog", HTTP_GET | HTTP_HEAD, READS, 0, about_slowlog, NULL, 0},
    {"/v1/admin/config", HTTP_GET | HTTP_HEAD, CONFIG, 0, config_get, NULL, 0},
    {"/v1/admin/config", HTTP_PATCH, CONFIG, 0, config_patch, NULL, 0},
    {"/v1/admin/tls", HTTP_GET | HTTP_HEAD, READS, 0, about_tls, NULL, 0},
    {"/v1/openapi.json", HTTP_GET | HTTP_HEAD, READS, 0, about_api, NULL, ROUTE_OPEN},
    {"/healthz", HTTP_GET | HTTP_HEAD, READS, PARAM_BIT(PARAM_VERBOSE), about_health,
     about_check_health, ROUTE_OPEN},
    {"/readyz", HTTP_GET | HTTP_HEAD, READS, PARAM_BIT(PARAM_VERBOSE), about_health,
     about_check_health, ROUTE_OPEN},
    {"/livez", HTTP_GET | HTTP_HEAD, READS, 0, about_life, NULL, ROUTE_ANY_TIME | ROUTE_OPEN},
    {"/version", HTTP_GET | HTTP_HEAD, READS, 0, about_version, NULL, ROUTE_READS | ROUTE_NO_KEYS},
    {"/stats", HTTP_GET | HTTP_HEAD, READS, 0, about_stats, NULL, ROUTE_READS | ROUTE_NO_KEYS},
    {"/metrics", HTTP_GET | HTTP_HEAD, READS, 0, metrics_get, NULL, ROUTE_READS | ROUTE_NO_KEYS},
    {"/shutdown", HTTP_GET | HTTP_POST, "Allow: GET, POST, OPTIONS\r\n", 0, shut_down, NULL,
     ROUTE_ANY_TIME | ROUTE_NEEDS_ASKING},
};

/* What stands for the rest of a path. */
static const char *below(const struct route *route)
{
    return (route->traits & ROUTE_BELOW) == 0 ? "" : route->check == kv_check ? "{key}" : "{id}";
}

/* `"/v1/keys":["GET","HEAD"]` for each path; routes of one path stand together. */
enum quern_code routes_text(struct buf *out, struct quern_error *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        bool same = i > 0 && strcmp(routes[i - 1].path, r->path) == 0;
        bool goes_on = i + 1 < ARRAY_LEN(routes) && strcmp(routes[i + 1].path, r->path) == 0;
        char text[160];
        int n = same ? 0
                     : snprintf(text, sizeof(text), "%s\n    \"%s%s\": [", i > 0 ? "," : "",
                                r->path, below(r));

        for (unsigned bit = HTTP_GET, any = same; bit <= HTTP_PATCH; bit <<= 1) {
            if ((r->methods & bit) == 0)
                continue;
            n += snprintf(text + n, sizeof(text) - (size_t)n, "%s\"%s\"", any ? ", " : "",
                          http_method_name((enum http_method)bit));
            any = true;
        }
        if (buf_append(out, text, (size_t)n, err) || (!goes_on && buf_append(out, "]", 1, err)))
            return err->code;
    }
    return QUERN_OK;
}

unsigned route_count(void)
{
    return ARRAY_LEN(routes);
}

void route_name(unsigned number, char *to, size_t room)
{
    const struct route *route = &routes[number];

    if (number >= ARRAY_LEN(routes))
        (void)snprintf(to, room, "other");
    else
        (void)snprintf(to, room, "%s %s%s",
                       http_method_name(route->methods & HTTP_GET ? HTTP_GET : route->methods),
                       route->path, below(route));
}

unsigned serve_kind(const struct conn *c)
{
    if (c->route == NULL || (c->route->methods & c->request.method) == 0)
        return measure_kind_of_no_route();
    return (unsigned)(c->route - routes);
}

static bool is_at(const struct route *route, struct quern_slice path)
{
    size_t n = strlen(route->path);

    return path.len >= n && (path.len == n || route->traits & ROUTE_BELOW) &&
           memcmp(path.data, route->path, n) == 0;
}

/* The route of a path and method; with another method one of the path, or NULL. `last`: that of the
 * request before, or NULL, which it mostly is again. */
static const struct route *route_of(struct quern_slice path, enum http_method method,
                                    const struct route *last)
{
    const struct route *other = NULL;

    if (last != NULL && last->methods & method && is_at(last, path))
        return last;

    for (unsigned i = 0; i < ARRAY_LEN(routes); i++) {
        if (!is_at(&routes[i], path))
            continue;
        if (routes[i].methods & method)
            return &routes[i];
        other = &routes[i];
    }
    return other;
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

    c->route = route_of(path, r->method, c->route);
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
    const char *allow =
        c->route != NULL ? c->route->allow : "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n";
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
    conn_pass_on(c);
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
