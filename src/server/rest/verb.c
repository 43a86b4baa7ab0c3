/* verb.c - writes under /v1: each depends on what is there.
 *
 *     PUT, DELETE     quern_get(): is it there, at which revision? Do the conditions hold?
 *                     -> batch with a check that it still is so -> quern_write_async()
 *                     -> CONFLICT: somebody was faster: look again
 *     POST            quern_update_async(): the function sees the value and puts the next one
 *
 * A check costs the store's writers less than an update does, since it only looks at revisions; so
 * the two that need not compute anything go that way. What is read on the loop before either is in
 * the cache then, and nobody waits for the disk while all writers do.
 *
 * Such a write may be carried out later than one that follows it on its connection: nothing joins
 * it there. */
#include "server/rest/verb.h"

#include "server/pool.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ATTEMPTS_MAX 64          /* beyond, the key is so busy that the client may as well wait */
#define LOCATION_BYTES_MAX 8192u /* clients bound the fields they read */

void verb_free(struct verb *v)
{
    if (v == NULL)
        return;
    buf_done(&v->key);
    buf_done(&v->value);
    buf_done(&v->tags);
    buf_done(&v->result);
    buf_done(&v->steps);
    alloc_free(v);
}

struct verb *verb_new(const struct conn *c, enum verb_kind kind)
{
    struct verb *v = NEW(struct verb);
    struct conditions seen;
    struct quern_error err;

    if (v == NULL)
        return NULL;
    v->kind = kind;
    v->server = c->loop->server;
    v->database = c->database;
    IGNORE(conditions_read(&c->request, conn_request_bytes(c), &seen)); /* kv_check() saw to it */
    if (buf_append(&v->key, c->loop->key.data, c->loop->key.len, &err) ||
        buf_append(&v->tags, seen.match.data, seen.match.len, &err) ||
        buf_append(&v->tags, seen.none_match.data, seen.none_match.len, &err)) {
        verb_free(v);
        return NULL;
    }
    v->conditions = seen;
    v->conditions.match.data = v->tags.data;
    if (seen.has_none_match)
        v->conditions.none_match.data = v->tags.data + seen.match.len;
    return v;
}

/* ------------------------------------------------------------------ PUT and DELETE -- */

static bool holds(struct verb *v)
{
    if (conditions_judge(&v->conditions, v->server, v->there, v->revision) == CONDITIONS_HOLD)
        return true;
    v->trouble = VERB_CONDITION;
    return false;
}

/* Put the write and the check that it depends on into the batch. */
static enum quern_code fill(struct write_op *op, struct quern_error *err)
{
    struct verb *v = op->verb;
    struct quern_slice key = buf_slice(&v->key);
    bool exactly = v->wants_old || v->lifetime.kind == LIFETIME_KEEP || v->conditions.has_match ||
                   v->conditions.has_none_match;
    enum quern_require what = !v->there ? QUERN_REQUIRE_ABSENT
                              : exactly ? QUERN_REQUIRE_REVISION
                                        : QUERN_REQUIRE_PRESENT;

    quern_batch_clear(op->batch);
    quern_batch_select(op->batch, v->database);
    if (v->kind == VERB_PUT
            ? quern_batch_put_until(op->batch, key, buf_slice(&v->value), v->expires_ms, err)
            : quern_batch_delete(op->batch, key, err))
        return err->code;
    return quern_batch_require(op->batch, what, key, v->revision, err);
}

/* The value that was looked for, if it is there, is `value`. */
static void attempt_with(struct write_op *op, enum quern_code code, const struct quern_value *value)
{
    struct verb *v = op->verb;
    struct quern_error *err = &op->completion.error;

    v->there = code == QUERN_OK;
    v->revision = v->there ? value->seq : 0;
    v->expires_ms = lifetime_end(&v->lifetime, v->there ? value->expires_ms : 0);
    if (code == QUERN_NOT_FOUND && v->kind == VERB_PUT)
        code = QUERN_OK;
    if (code == QUERN_OK && !holds(v))
        code = QUERN_CONFLICT;
    if (code == QUERN_OK && v->wants_old && v->there)
        code = buf_assign(&v->result, (struct quern_slice){value->data, value->len}, err);
    if (code == QUERN_OK)
        code = fill(op, err);
    if (code == QUERN_OK)
        write_submit(op);
    else
        write_finish(op, code);
}

static void attempt_with_fetched(struct write_op *op)
{
    attempt_with(op, op->completion.code, &op->value);
}

static void attempt(struct write_op *op)
{
    struct verb *v = op->verb;
    struct loop *loop = op->conn->loop;
    enum quern_code code;

    if (op->conn->closing || ++v->attempts > ATTEMPTS_MAX) {
        write_finish(op, op->conn->closing ? QUERN_CLOSED : QUERN_BUSY);
        return;
    }
    code = read_in_memory(loop, v->database, buf_slice(&v->key), NULL, &op->completion.error);
    if (code == QUERN_BUSY)
        aside_read(op, buf_slice(&v->key), attempt_with_fetched);
    else
        attempt_with(op, code, &loop->value);
    pool_put_value(loop);
}

bool verb_sync_asked(const struct conn *c)
{
    struct param sync = c->params.each[PARAM_SYNC];
    char word[PARAM_WORD_BYTES];

    if (sync.given && params_word(conn_request_bytes(c), sync, word))
        return strcmp(word, "always") == 0;
    return c->loop->server->options->durability == DURABLE_ALWAYS;
}

static struct write_op *begin(struct conn *c, struct manner manner, struct verb *v)
{
    struct write_op *op = write_new(c, manner, v->key.len + v->value.len, verb_sync_asked(c));

    if (op == NULL) {
        verb_free(v);
        conn_cut(c);
        return NULL;
    }
    op->verb = v;
    op->alone = true;
    return op;
}

void verb_write(struct conn *c, struct manner manner, struct verb *v)
{
    struct write_op *op = begin(c, manner, v);

    if (op == NULL)
        return;
    op->again = attempt;
    attempt(op);
}

/* ------------------------------------------------------------------ POST -- */

/* Is all that the update will read in memory now? A failure shows again there. */
static bool read_ahead(const struct verb *v, const struct quern_read_opts *opts,
                       struct quern_value *value)
{
    struct quern_error ignored;

    if (v->kind == VERB_BATCH)
        return batch_read_ahead(v, opts, value);
    return quern_get(v->server->db, buf_slice(&v->key), opts, value, &ignored) != QUERN_BUSY;
}

static void work_read_ahead(struct write_op *op)
{
    const struct quern_read_opts opts = {.database = op->verb->database};

    (void)read_ahead(op->verb, &opts, &op->value);
}

void verb_update(struct conn *c, struct manner manner, struct verb *v, quern_update_fn fn)
{
    const struct quern_read_opts in_memory = {.cached = true, .database = v->database};
    struct write_op *op = begin(c, manner, v);

    if (op == NULL)
        return;
    op->update = fn;
    if (read_ahead(v, &in_memory, &c->loop->value))
        write_submit(op);
    else
        aside_submit(op, work_read_ahead, write_submit);
    pool_put_value(c->loop);
}

bool integer_read(struct quern_slice s, int64_t *out)
{
    const uint8_t *c = s.data;
    size_t at = s.len > 0 && c[0] == '-';
    bool negative = at == 1;
    uint64_t v = 0, most = (uint64_t)INT64_MAX + negative;

    if (at == s.len || (c[at] == '0' && s.len > 1))
        return false;
    for (; at < s.len; at++) {
        unsigned digit = (unsigned)(c[at] - '0');

        if (digit > 9 || v > (most - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static enum quern_code no(struct verb *v, enum verb_trouble why, struct quern_error *err)
{
    v->trouble = why;
    return err_set(err, why == VERB_CONDITION ? QUERN_CONFLICT : QUERN_INVALID, "refused");
}

static enum quern_code add(struct verb *v, struct quern_slice old, struct quern_error *err)
{
    char text[24];
    int64_t now = 0;

    if (v->there && !integer_read(old, &now))
        return no(v, VERB_NOT_AN_INTEGER, err);
    if (__builtin_add_overflow(now, v->number, &v->number))
        return no(v, VERB_OVERFLOW, err);
    (void)snprintf(text, sizeof(text), "%" PRId64, v->number);
    return buf_assign(&v->value, QUERN_STR(text), err);
}

/* From what is there to what is to be there: *next, and v->result for an APPEND. */
static enum quern_code compute(struct verb *v, struct quern_slice old, struct quern_slice *next,
                               struct quern_error *err)
{
    switch (v->kind) {
    case VERB_INCR:
        if (add(v, old, err))
            return err->code;
        break;
    case VERB_APPEND:
        if (old.len + v->value.len > v->server->options->value_bytes_max)
            return no(v, VERB_TOO_LARGE, err);
        if (buf_assign(&v->result, old, err) ||
            buf_append(&v->result, v->value.data, v->value.len, err))
            return err->code;
        *next = buf_slice(&v->result);
        return QUERN_OK;
    case VERB_TOUCH:
    case VERB_PERSIST:
        *next = old;
        return QUERN_OK;
    default:
        if (buf_assign(&v->result, old, err))
            return err->code;
    }
    *next = buf_slice(&v->value);
    return QUERN_OK;
}

/* When the next value expires: what changes a value in place leaves its end where it was. */
static uint64_t next_end(const struct verb *v, uint64_t old_ms)
{
    switch (v->kind) {
    case VERB_INCR:
    case VERB_APPEND:
        return old_ms;
    case VERB_PERSIST:
        return 0;
    default:
        return lifetime_end(&v->lifetime, old_ms);
    }
}

enum quern_code verb_change(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct verb *v = ((struct write_op *)arg)->verb;
    struct quern_value old = {0};
    struct quern_slice next = {NULL, 0};
    enum quern_code code;

    quern_batch_select(quern_update_batch(u), v->database);
    code = quern_update_get(u, buf_slice(&v->key), &old, err);
    v->there = code == QUERN_OK;
    v->revision = v->there ? old.seq : 0;
    v->expires_ms = next_end(v, v->there ? old.expires_ms : 0);
    v->unchanged = v->kind == VERB_PERSIST && old.expires_ms == 0;
    if (code == QUERN_NOT_FOUND && v->kind != VERB_TOUCH && v->kind != VERB_PERSIST)
        code = QUERN_OK;
    if (code == QUERN_OK && !holds(v))
        code = no(v, VERB_CONDITION, err);
    if (code == QUERN_OK)
        code = compute(v, (struct quern_slice){old.data, old.len}, &next, err);
    if (code == QUERN_OK && !v->unchanged)
        code = quern_batch_put_until(quern_update_batch(u), buf_slice(&v->key), next, v->expires_ms,
                                     err);
    quern_value_done(&old);
    return code;
}

/* ------------------------------------------------------------------ replies -- */

static void answer_trouble(struct conn *c, const struct write_op *op)
{
    static const struct http_bad integer = {409, "not_an_integer",
                                            "the value is not a decimal number of 64 bits"},
                                 overflow = {409, "integer_overflow",
                                             "the sum does not fit a number of 64 bits"},
                                 large = {413, "value_too_large",
                                          "the value would be larger than this server takes "
                                          "(--max-value)"};
    const struct verb *v = op->verb;

    if (v->kind == VERB_BATCH)
        batch_answer_trouble(c, op);
    else if (v->trouble == VERB_CONDITION)
        reply_precondition_failed(c, op->manner, v->there, v->revision);
    else
        reply_error(c, op->manner,
                    v->trouble == VERB_NOT_AN_INTEGER ? &integer
                    : v->trouble == VERB_OVERFLOW     ? &overflow
                                                      : &large,
                    NULL);
}

/* "." and ".." mean something else in a path to many clients. */
static enum quern_code add_location(struct buf *out, const struct verb *v, struct quern_error *err)
{
    struct quern_slice key = buf_slice(&v->key);
    const char *s = key.data;
    bool dots = s[0] == '.' && (key.len == 1 || (key.len == 2 && s[1] == '.'));
    size_t before = out->len;
    char database[16] = "";

    if (v->database != 0)
        (void)snprintf(database, sizeof(database), "%cdb=%u", dots ? '&' : '?', v->database);
    if (buf_append(out, "Location: /v1/kv", 16, err) ||
        buf_append(out, dots ? "?key=" : "/", dots ? 5 : 1, err) ||
        http_path_encode(out, key, err) || buf_append(out, database, strlen(database), err))
        return err->code;
    if (out->len - before > LOCATION_BYTES_MAX) {
        out->len = before;
        return QUERN_OK;
    }
    return buf_append(out, "\r\n", 2, err);
}

/* The number of the write, or of the one that the value came with if nothing was written. */
static quern_seq revision_after(const struct write_op *op)
{
    return op->verb->unchanged ? op->verb->revision : op->completion.seq;
}

/* The fields of a write that went well, with a zero behind. */
static enum quern_code describe(struct buf *out, const struct write_op *op, struct quern_error *err)
{
    char pressure[PRESSURE_FIELD_BYTES];
    size_t pressure_bytes;
    const struct verb *v = op->verb;
    char text[ETAG_BYTES + 128 + LIFETIME_FIELD_BYTES], etag[ETAG_BYTES];
    quern_seq revision = revision_after(op);
    int n = snprintf(text, sizeof(text), "Quern-Rev: %" PRIu64 "\r\nQuern-Durability: %s\r\n",
                     revision, durability_name(op->synced));

    buf_clear(out);
    if (v->kind != VERB_DELETE && v->kind != VERB_BATCH) {
        (void)etag_write(v->server, revision, etag);
        n += snprintf(text + n, sizeof(text) - (size_t)n, "ETag: %s\r\n", etag);
        n += (int)lifetime_field(v->expires_ms, text + n);
    }
    pressure_bytes = pressure_field(v->server, pressure);
    if (buf_append(out, text, (size_t)n, err) || buf_append(out, pressure, pressure_bytes, err) ||
        (v->kind == VERB_PUT && !v->there && add_location(out, v, err)))
        return err->code;
    return buf_append(out, "", 1, err);
}

/* Bytes that were a value. */
static void answer_old(struct conn *c, const struct write_op *op, struct buf *extra)
{
    static const char guard[] = "Content-Security-Policy: default-src 'none'; sandbox\r\n"
                                "Cache-Control: no-store\r\n";
    struct quern_error err;

    extra->len--; /* the zero */
    if (buf_append(extra, guard, sizeof(guard), &err))
        conn_cut(c);
    else
        reply_with(c, op->manner, 200, "application/octet-stream", buf_slice(&op->verb->result),
                   (const char *)extra->data);
}

/* {"rev":17,"expires_at":null}. Returns its length. */
static int end_text(const struct write_op *op, char *to, size_t room)
{
    char moment[WHEN_BYTES + 1];

    if (op->verb->expires_ms == 0)
        return snprintf(to, room, "{\"rev\":%" PRIu64 ",\"expires_at\":null}\n",
                        revision_after(op));
    (void)when_write(op->verb->expires_ms, moment);
    return snprintf(to, room, "{\"rev\":%" PRIu64 ",\"expires_at\":\"%s\"}\n", revision_after(op),
                    moment);
}

static void answer_well(struct conn *c, const struct write_op *op)
{
    struct buf *extra = &c->loop->key; /* the loop's scratch: no request is at hand now */
    const struct verb *v = op->verb;
    struct quern_slice none = {NULL, 0};
    struct quern_error err;
    char text[96];
    int n = 0;

    if (describe(extra, op, &err)) {
        conn_cut(c);
        return;
    }
    if (v->kind == VERB_INCR)
        n = snprintf(text, sizeof(text), "{\"value\":%" PRId64 ",\"rev\":%" PRIu64 "}\n", v->number,
                     op->completion.seq);
    else if (v->kind == VERB_APPEND)
        n = snprintf(text, sizeof(text), "{\"size\":%zu,\"rev\":%" PRIu64 "}\n", v->result.len,
                     op->completion.seq);
    else if (v->kind == VERB_TOUCH || v->kind == VERB_PERSIST)
        n = end_text(op, text, sizeof(text));
    if (v->kind == VERB_BATCH)
        batch_answer(c, op, (const char *)extra->data);
    else if (n > 0)
        reply_with(c, op->manner, 200, "application/json", (struct quern_slice){text, (size_t)n},
                   (const char *)extra->data);
    else if (v->there && (v->wants_old || v->kind == VERB_GETSET))
        answer_old(c, op, extra);
    else
        reply_with(c, op->manner, v->kind == VERB_PUT && !v->there ? 201 : 204, NULL, none,
                   (const char *)extra->data);
}

void verb_completed(struct write_op *op)
{
    struct conn *c = op->conn;
    const struct verb *v = op->verb;
    struct counters *n = &c->loop->server->counters;
    enum quern_code code = op->completion.code;
    static const struct http_bad none = {404, "key_not_found", "key not found"};

    if (v->kind == VERB_DELETE) {
        count(&n->deletes, 1);
        count(&n->deletes_found, code == QUERN_OK);
    } else if (code == QUERN_OK && v->kind <= VERB_GETSET) {
        count(&n->sets, 1);
        count(&n->set_bytes, v->key.len + (v->kind == VERB_APPEND ? v->result.len : v->value.len));
    }
    if (c->closing)
        return;
    if (code == QUERN_OK)
        answer_well(c, op);
    else if (code == QUERN_NOT_FOUND)
        reply_error(c, op->manner, &none, NULL);
    else if (v->trouble != VERB_WELL && (code == QUERN_CONFLICT || code == QUERN_INVALID))
        answer_trouble(c, op);
    else
        reply_store_error(c, op->manner, code, &op->completion.error);
}
