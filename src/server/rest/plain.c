/* plain.c - /set, /get and /del: a key, a value, and nothing else to know.
 *
 *     POST    /set?key=K&value=V   or the body as the value, or a form as the body
 *     GET     /get?key=K           also HEAD
 *     DELETE  /del?key=K
 *
 * They take no conditions and show no tags; /v1/kv does both (kv.c). */
#include "server/rest/conditions.h"
#include "server/rest/lifetime.h"
#include "server/rest/read.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/writes.h"

#include "base/error.h"

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

void plain_set(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct params p = c->params;
    const void *base = conn_request_bytes(c);
    bool form = !params_given(&p, PARAM_KEY) && is_form(c), sync = false, sync_in_form = false;
    struct quern_slice value = body;
    struct lifetime lifetime;

    (void)params_flag(base, p.each[PARAM_SYNC], &sync); /* plain_check() saw to it */

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

void plain_get(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    if (decode_key(c, conn_request_bytes(c), c->params.each[PARAM_KEY], false))
        read_value(c, manner, buf_slice(&c->loop->key), NULL, got);
}

void plain_del(struct conn *c, struct manner manner, struct quern_slice body)
{
    const void *base = conn_request_bytes(c);
    bool sync;

    (void)body;
    (void)params_flag(base, c->params.each[PARAM_SYNC], &sync); /* plain_check() saw to it */
    if (!decode_key(c, base, c->params.each[PARAM_KEY], false) || !may_overwrite(c))
        return;
    if (!write_delete(c, manner, buf_slice(&c->loop->key), sync))
        conn_cut(c);
}

void plain_completed(struct write_op *op)
{
    static const struct http_bad none = {404, "key_not_found", "key not found"};
    struct conn *c = op->conn;
    struct counters *n = &c->loop->server->counters;
    enum quern_code code = op->completion.code;

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

/* The parameters of /set, /get and /del, as far as they can be judged without a body. */
void plain_check(struct conn *c)
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
