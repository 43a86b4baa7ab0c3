/* kv.c - /v1/kv: one key.
 *
 *     /v1/kv/KEY          all that follows is the key: %XX is a byte, + is itself, nothing is
 *     resolved /v1/kv?key=KEY      as in a form, + is a space: for keys that clients will not leave
 *     alone in
 *                         a path ("..", "a//b")
 *     &enc=b64u           either is base64url of the key
 *
 *     GET HEAD PUT DELETE, and POST with op=incr|append|getset|touch|persist. A path without a key
 *     is no key: a client that lost it on the way must not delete or read anything. */
#include "server/rest/item.h"
#include "server/pool.h"
#include "server/rest/reach.h"
#include "server/rest/read.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"
#include "server/writes.h"

#include "base/base64.h"
#include "base/error.h"

#include <string.h>

/* The bytes of the path after "/v1/kv/". */
static struct quern_slice path_key(const struct conn *c)
{
    static const char begin[] = "/v1/kv/";
    struct quern_slice path = http_bytes(conn_request_bytes(c), c->request.path);
    size_t n = sizeof(begin) - 1;

    return path.len > n ? (struct quern_slice){(const char *)path.data + n, path.len - n}
                        : (struct quern_slice){"", 0};
}

static bool decode_path(struct conn *c, struct quern_slice from)
{
    struct buf *key = &c->loop->key;
    struct quern_error err;

    buf_clear(key);
    if (buf_reserve(key, from.len, &err)) {
        refuse(c, 500, "no_memory", "memory ran out; nothing was done");
        return false;
    }
    key->len = http_path_decode(from, key->data);
    if (key->len != SIZE_MAX)
        return true;
    key->len = 0;
    refuse(c, 400, "bad_percent_encoding",
           "a % in the path must be followed by two hexadecimal digits; write %25 for itself");
    return false;
}

static bool decode_letters(struct conn *c)
{
    struct param enc = c->params.each[PARAM_ENC];
    struct buf *key = &c->loop->key;
    char word[PARAM_WORD_BYTES];

    if (!enc.given)
        return true;
    if (!params_word(conn_request_bytes(c), enc, word) || strcmp(word, "b64u") != 0) {
        refuse(c, 400, "bad_parameter", "enc must be b64u");
        return false;
    }
    key->len = base64_decode(buf_slice(key), BASE64_EITHER, key->data);
    if (key->len != SIZE_MAX)
        return true;
    key->len = 0;
    refuse(c, 400, "bad_parameter", "the key is not base64url, as enc=b64u says it is");
    return false;
}

/* The key into loop->key; false: refused. */
static bool take_key(struct conn *c)
{
    struct quern_slice in_path = path_key(c);
    struct param in_query = c->params.each[PARAM_KEY];

    if (in_path.len > 0 && in_query.given) {
        refuse(c, 400, "duplicate_parameter", "the key stands in the path and in the query");
        return false;
    }
    if (in_path.len > 0
            ? !decode_path(c, in_path)
            : !params_decode(conn_request_bytes(c), in_query, &c->loop->key, &c->refusal.bad))
        return false;
    if (!decode_letters(c))
        return false;
    if (c->loop->key.len == 0) {
        refuse(c, 400, "missing_parameter",
               "the key is missing; write /v1/kv/KEY or /v1/kv?key=KEY");
        return false;
    }
    if (c->loop->key.len > QUERN_KEY_BYTES_MAX) {
        refuse(c, 414, "key_too_large", "the key is over 65536 bytes");
        return false;
    }
    return guard_key(c, buf_slice(&c->loop->key));
}

/* A parameter that is one of some words, or not given. Returns its place, or -1 and refuses. */
static int word_of(struct conn *c, enum param_kind kind, const char *const *words, int n,
                   const char *detail)
{
    char word[PARAM_WORD_BYTES];

    if (params_word(conn_request_bytes(c), c->params.each[kind], word)) {
        for (int i = 0; i < n; i++) {
            if (strcmp(word, words[i]) == 0)
                return i;
        }
    }
    refuse(c, 400, "bad_parameter", detail);
    return -1;
}

static const char *const ops[] = {"incr", "append", "getset", "touch", "persist"};
static const enum verb_kind op_kinds[] = {VERB_INCR, VERB_APPEND, VERB_GETSET, VERB_TOUCH,
                                          VERB_PERSIST};
static const char ops_detail[] = "op must be incr, append, getset, touch or persist";

static bool read_by(const struct conn *c, int64_t *by)
{
    struct param p = c->params.each[PARAM_BY];
    char word[PARAM_WORD_BYTES];

    *by = 1;
    return !p.given ||
           (params_word(conn_request_bytes(c), p, word) && integer_read(QUERN_STR(word), by));
}

static void check_post(struct conn *c)
{
    int64_t by;
    int op = word_of(c, PARAM_OP, ops, ARRAY_LEN(ops), ops_detail);
    enum verb_kind kind = op < 0 ? VERB_BATCH : op_kinds[op];
    bool takes_body = kind == VERB_APPEND || kind == VERB_GETSET;

    if (op < 0)
        return;
    if (!takes_body && (c->request.chunked || c->request.content_length > 0))
        refuse(c, 400, "body_not_expected", "only op=append and op=getset take a body");
    else if (kind == VERB_INCR && !read_by(c, &by))
        refuse(c, 400, "bad_parameter", "by must be a decimal number of 64 bits");
    else if (kind != VERB_INCR && params_given(&c->params, PARAM_BY))
        refuse(c, 400, "unknown_parameter", "by is for op=incr");
    else if (takes_body && !has_body(c))
        refuse(c, 400, "missing_parameter", "the value is missing; send it as the request body");
}

/* A lifetime may stand where a value is stored or touched, and nowhere else: what is asked for and
 * not kept would be a broken promise. False: refused. */
static bool check_lifetime(struct conn *c)
{
    bool put = c->request.method == HTTP_PUT, touch = false, getset = false;
    struct lifetime lifetime;

    if (c->request.method == HTTP_POST) {
        int op = word_of(c, PARAM_OP, ops, ARRAY_LEN(ops), ops_detail);

        if (op < 0)
            return false;
        touch = op_kinds[op] == VERB_TOUCH;
        getset = op_kinds[op] == VERB_GETSET;
    }
    if (touch && (!lifetime_given(c) || params_given(&c->params, PARAM_KEEPTTL))) {
        refuse(c, 400, "bad_ttl", "op=touch needs the new lifetime: &ttl=90s, or &expires_at=");
        return false;
    }
    if (!put && !touch && !getset && lifetime_given(c)) {
        refuse(c, 400, "bad_ttl",
               "a lifetime is for PUT, op=touch and op=getset; op=incr and op=append leave the one "
               "that the key has");
        return false;
    }
    return lifetime_read(c, conn_request_bytes(c), &c->params, &lifetime);
}

bool kv_check_sync(struct conn *c)
{
    static const char *const levels[] = {"always", "os"};

    return !params_given(&c->params, PARAM_SYNC) ||
           word_of(c, PARAM_SYNC, levels, ARRAY_LEN(levels), "sync must be always or os") >= 0;
}

/* Might it put an end to a value that the client has not seen? The other POSTs go on from it. */
static bool overwrites(struct conn *c)
{
    char word[PARAM_WORD_BYTES];

    return c->request.method == HTTP_PUT || c->request.method == HTTP_DELETE ||
           (c->request.method == HTTP_POST &&
            params_word(conn_request_bytes(c), c->params.each[PARAM_OP], word) &&
            strcmp(word, "getset") == 0);
}

void kv_check(struct conn *c)
{
    static const char *const json[] = {"json"}, *const old[] = {"old"};
    struct conditions conditions;

    if (!take_key(c))
        return;
    if (!check_lifetime(c))
        return;
    if (!conditions_read(&c->request, conn_request_bytes(c), &conditions)) {
        c->refusal.bad = conditions_malformed;
        return;
    }
    if (!conditions.has_match && !conditions.has_none_match && overwrites(c) &&
        conditions_required(c->loop->server, buf_slice(&c->loop->key))) {
        c->refusal.bad = conditions_missing;
        return;
    }
    if (!kv_check_sync(c))
        return;
    if (params_given(&c->params, PARAM_META) &&
        word_of(c, PARAM_META, json, 1, "meta must be json") < 0)
        return;
    if (params_given(&c->params, PARAM_RETURN) &&
        (word_of(c, PARAM_RETURN, old, 1, "return must be old") < 0 ||
         !guard_scope(c, ACCESS_READ)))
        return;
    if (c->request.method == HTTP_PUT && !has_body(c))
        refuse(c, 400, "missing_parameter",
               "the value is missing; send it as the request body (Content-Length: 0 if empty)");
    else if (c->request.method == HTTP_POST)
        check_post(c);
}

static void reply_meta(struct conn *c, struct manner manner)
{
    struct quern_value *value = &c->loop->value;
    struct buf *text = &c->loop->text;
    struct quern_error err;
    struct item item = {
        buf_slice(&c->loop->key), {value->data, value->len}, value->seq, value->expires_ms};

    if (conditions_answered(c, manner))
        return;
    buf_clear(text);
    if (item_text(text, &item, true, &err) || buf_append(text, "\n", 1, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(text),
                   "Cache-Control: no-cache\r\n");
    pool_give_back(text);
    pool_put_value(c->loop);
}

static void kv_got(struct conn *c, struct manner manner, enum quern_code code,
                   const struct quern_error *err)
{
    if (!reply_read(c, manner, code, err))
        return;
    if (params_given(&c->params, PARAM_META))
        reply_meta(c, manner);
    else
        reply_value(c, manner, "application/octet-stream");
}

void kv_get(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct held_snapshot *held = NULL;

    (void)body;
    /* What was fetched is as of the snapshot, though that may have ended since. */
    if (take_key(c) && (c->fetched.here || reach_snapshot(c, &held)))
        read_value(c, manner, buf_slice(&c->loop->key), held, kv_got);
}

/* A verb for the key of the request, with the body as its value; NULL: refused, or cut. */
static struct verb *verb_of(struct conn *c, enum verb_kind kind, struct quern_slice body)
{
    struct verb *v;
    struct quern_error err;

    if (!take_key(c))
        return NULL;
    v = verb_new(c, kind);
    if (v != NULL && !lifetime_read(c, conn_request_bytes(c), &c->params, &v->lifetime)) {
        verb_free(v); /* its end came while the value was being sent */
        return NULL;
    }
    if (v == NULL || buf_append(&v->value, body.data, body.len, &err)) {
        verb_free(v);
        conn_cut(c);
        return NULL;
    }
    return v;
}

void kv_put(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct verb *v = verb_of(c, VERB_PUT, body);

    if (v != NULL)
        verb_write(c, manner, v);
}

void kv_delete(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct verb *v = verb_of(c, VERB_DELETE, (struct quern_slice){body.data, 0});

    if (v == NULL)
        return;
    v->wants_old = params_given(&c->params, PARAM_RETURN);
    verb_write(c, manner, v);
}

void kv_post(struct conn *c, struct manner manner, struct quern_slice body)
{
    int op = word_of(c, PARAM_OP, ops, ARRAY_LEN(ops), ops_detail);
    struct verb *v = op < 0 ? NULL : verb_of(c, op_kinds[op], body);

    if (v == NULL)
        return;
    IGNORE(read_by(c, &v->number)); /* kv_check() saw to it */
    verb_update(c, manner, v, verb_change);
}
