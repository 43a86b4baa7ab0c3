/* batch.c - POST /v1/batch: several operations that happen together or not at all.
 *
 *     {"ops":[{"op":"check","key":"a","rev":9},      or "exists":false
 *             {"op":"put","key":"b","value":"x"},       and "ttl":60 or "expires_at":"..."
 *             {"op":"get","key_b64":"AAE="},
 *             {"op":"delete","key":"c"},
 *             {"op":"delete_range","prefix":"t/"}]}     or "start" and "end"
 *
 * The text becomes steps on the loop; bytes of keys and values stand one behind another in the verb.
 * One update carries the steps out in order, each in view of what those before it did, so a check
 * that fails refuses all of them. What does not keep to the shape above is refused as a whole: a
 * member that nobody reads might have been the condition that mattered. */
#include "server/rest/item.h"
#include "server/rest/lifetime.h"
#include "server/rest/bounds.h"
#include "server/pool.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"

#include "base/base64.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/prefix.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum step_kind {
    STEP_CHECK,
    STEP_PUT,
    STEP_GET,
    STEP_DELETE,
    STEP_DELETE_RANGE,
};

struct step {
    enum step_kind kind;
    enum quern_require require; /* of a check */
    quern_seq revision;
    uint64_t expires_ms;                         /* of a put; 0: never */
    size_t key_at, key_len, value_at, value_len; /* in verb.value; of a range: its bounds */
};

static struct step *steps_of(const struct verb *v)
{
    return (struct step *)(void *)v->steps.data;
}

static struct quern_slice step_key(const struct verb *v, const struct step *s)
{
    return (struct quern_slice){v->value.data + s->key_at, s->key_len};
}

/* Of a range: its end. */
static struct quern_slice step_value(const struct verb *v, const struct step *s)
{
    return (struct quern_slice){v->value.data + s->value_at, s->value_len};
}

/* ------------------------------------------------------------------ from JSON to steps -- */

/* What is wrong with the batch, or NULL. */
typedef const char *complaint;

static const char no_memory[] = "memory ran out";
static const char ranges_are[] = "delete_range needs a prefix that is not empty, or start and end";

/* The bytes of "key" or "key_b64" behind what `v` has. `names`: both names. */
static complaint take_bytes(struct verb *v, const json_t *op, const char *const names[2],
                            size_t *at, size_t *len)
{
    const json_t *plain = json_object_get(op, names[0]), *b64 = json_object_get(op, names[1]);
    const json_t *text = plain != NULL ? plain : b64;
    struct quern_error err;
    size_t n;

    if ((plain == NULL) == (b64 == NULL))
        return "an operation needs key or key_b64, and a put value or value_b64: one of each";
    if (!json_is_string(text))
        return "keys and values are strings";
    *at = v->value.len;
    *len = json_string_length(text);
    if (buf_append(&v->value, json_string_value(text), *len, &err))
        return no_memory;
    if (text == plain)
        return NULL;
    n = base64_decode((struct quern_slice){v->value.data + *at, *len}, BASE64_EITHER,
                      v->value.data + *at);
    if (n == SIZE_MAX)
        return "what stands under a name that ends in _b64 is base64";
    v->value.len = *at + n;
    *len = n;
    return NULL;
}

static complaint take_check(const json_t *op, struct step *step)
{
    const json_t *rev = json_object_get(op, "rev"), *exists = json_object_get(op, "exists");

    if ((rev == NULL) == (exists == NULL))
        return "a check needs rev or exists: one of them";
    if (exists != NULL) {
        if (!json_is_boolean(exists))
            return "exists is true or false";
        step->require = json_is_true(exists) ? QUERN_REQUIRE_PRESENT : QUERN_REQUIRE_ABSENT;
        return NULL;
    }
    if (!json_is_integer(rev) || json_integer_value(rev) < 1)
        return "rev is a number from 1 up; for a key that is not there: exists";
    step->require = QUERN_REQUIRE_REVISION;
    step->revision = (quern_seq)json_integer_value(rev);
    return NULL;
}

/* "ttl" in seconds or as text, or "expires_at"; *members counts what is there. */
static complaint take_lifetime(const struct verb *v, const json_t *op, struct step *step,
                               size_t *members)
{
    const json_t *ttl = json_object_get(op, "ttl"), *at = json_object_get(op, "expires_at");
    const json_t *text = ttl != NULL ? ttl : at;
    struct lifetime lifetime = {0};
    complaint wrong = NULL;
    char seconds[24];
    uint64_t now;

    *members += text != NULL;
    if (ttl != NULL && at != NULL)
        return "a put has ttl or expires_at, or neither";
    now = text != NULL ? quern_time_ms(v->server->db) : 0;
    if (json_is_integer(ttl)) {
        (void)snprintf(seconds, sizeof(seconds), "%" JSON_INTEGER_FORMAT, json_integer_value(ttl));
        wrong = lifetime_from_ttl(QUERN_STR(seconds), now, &lifetime);
    } else if (json_is_string(text)) {
        struct quern_slice told = {json_string_value(text), json_string_length(text)};

        wrong = text == ttl ? lifetime_from_ttl(told, now, &lifetime)
                            : lifetime_from_moment(told, now, &lifetime);
    } else if (text != NULL) {
        wrong = "ttl is a number of seconds or a text like 90s, expires_at a text";
    }
    step->expires_ms = lifetime.until_ms;
    return wrong;
}

static complaint take_kind(const json_t *op, struct step *step)
{
    static const char *const kinds[] = {"check", "put", "get", "delete", "delete_range"};
    const char *kind = json_string_value(json_object_get(op, "op"));

    for (unsigned i = 0; kind != NULL && i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            step->kind = (enum step_kind)i;
            return NULL;
        }
    }
    return "op is check, put, get, delete or delete_range";
}

static bool has_either(const json_t *op, const char *const names[2])
{
    return json_object_get(op, names[0]) != NULL || json_object_get(op, names[1]) != NULL;
}

/* "prefix", or "start" and "end"; *members counts what is there. */
static complaint take_range(struct verb *v, const json_t *op, struct step *step, size_t *members)
{
    static const char *const prefix[2] = {"prefix", "prefix_b64"},
                             *const start[2] = {"start", "start_b64"},
                             *const end[2] = {"end", "end_b64"};
    struct buf after OWNED_BUF = {0};
    struct quern_error err;
    complaint wrong;

    if (!has_either(op, prefix)) {
        wrong = has_either(op, start) && has_either(op, end) ? NULL : ranges_are;
        *members += 2;
        if (wrong == NULL)
            wrong = take_bytes(v, op, start, &step->key_at, &step->key_len);
        if (wrong == NULL)
            wrong = take_bytes(v, op, end, &step->value_at, &step->value_len);
        return wrong == NULL && (step->key_len == 0 || step->value_len == 0) ? ranges_are : wrong;
    }
    *members += 1;
    wrong = take_bytes(v, op, prefix, &step->key_at, &step->key_len);
    if (wrong == NULL && step->key_len == 0)
        wrong = ranges_are;
    if (wrong == NULL &&
        prefix_end((struct quern_slice){v->value.data + step->key_at, step->key_len}, &after, &err))
        wrong = no_memory;
    step->value_at = v->value.len;
    step->value_len = after.len;
    if (wrong == NULL && buf_append(&v->value, after.data, after.len, &err))
        wrong = no_memory;
    return wrong;
}

static complaint take_step(struct verb *v, const json_t *op)
{
    static const char *const key[2] = {"key", "key_b64"}, *const value[2] = {"value", "value_b64"};
    struct step step = {0};
    struct quern_error err;
    complaint wrong = take_kind(op, &step);
    bool range = wrong == NULL && step.kind == STEP_DELETE_RANGE;
    size_t members = range ? 1 : 2; /* op and key, which all others have */

    if (wrong == NULL)
        wrong = range ? take_range(v, op, &step, &members)
                      : take_bytes(v, op, key, &step.key_at, &step.key_len);
    if (wrong == NULL && !range && (step.key_len == 0 || step.key_len > QUERN_KEY_BYTES_MAX))
        wrong = "a key is 1 to 65536 bytes";
    if (wrong == NULL && (step.kind == STEP_CHECK || step.kind == STEP_PUT)) {
        wrong = step.kind == STEP_CHECK ? take_check(op, &step)
                                        : take_bytes(v, op, value, &step.value_at, &step.value_len);
        members++;
    }
    if (wrong == NULL && range &&
        (step.key_len > QUERN_KEY_BYTES_MAX || step.value_len > QUERN_KEY_BYTES_MAX))
        wrong = "a bound is at most 65536 bytes";
    if (wrong == NULL && step.kind == STEP_PUT)
        wrong = take_lifetime(v, op, &step, &members);
    if (wrong == NULL && step.kind == STEP_PUT &&
        step.value_len > v->server->options->value_bytes_max)
        wrong = "a value is larger than this server takes (--max-value)";
    if (wrong == NULL && json_object_size(op) != members)
        wrong = "a member that this operation does not have";
    if (wrong == NULL && buf_append(&v->steps, &step, sizeof(step), &err))
        wrong = no_memory;
    return wrong;
}

/* *failed: the operation that is wrong, or SIZE_MAX for the whole. */
static complaint take_steps(struct verb *v, const json_t *root, size_t *failed)
{
    const json_t *ops = json_object_get(root, "ops"), *atomic = json_object_get(root, "atomic");
    complaint wrong = NULL;
    size_t n = json_array_size(ops);

    *failed = SIZE_MAX;
    if (!json_is_array(ops) || json_object_size(root) != (atomic != NULL ? 2 : 1))
        return "a batch is {\"ops\":[...]}, and \"atomic\":true if you like";
    if (atomic != NULL && !json_is_true(atomic))
        return "a batch is always atomic";
    if (n > BATCH_STEPS_MAX)
        return "a batch is at most 10000 operations";
    for (size_t i = 0; i < n && wrong == NULL; i++) {
        *failed = i;
        wrong = take_step(v, json_array_get(ops, i));
    }
    v->step_count = n;
    return wrong;
}

void batch_check(struct conn *c)
{
    c->body_max = BATCH_BODY_BYTES_MAX;
    if (!kv_check_sync(c))
        return;
    if (http_has(&c->request, HTTP_IF_MATCH) || http_has(&c->request, HTTP_IF_NONE_MATCH))
        refuse(c, 400, "condition_not_supported", "a batch says its conditions by check");
    else if (!has_body(c))
        refuse(c, 400, "missing_parameter", "the batch is missing; send it as the request body");
}

/* ------------------------------------------------------------------ carrying out -- */

static enum quern_code no(struct verb *v, size_t i, enum verb_trouble why, struct quern_error *err)
{
    v->trouble = why;
    v->failed_step = i;
    return err_set(err, why == VERB_CONDITION ? QUERN_CONFLICT : QUERN_INVALID, "refused");
}

static bool fits(const struct verb *v, const struct step *s)
{
    switch (s->require) {
    case QUERN_REQUIRE_ABSENT:
        return !v->there;
    case QUERN_REQUIRE_PRESENT:
        return v->there;
    default:
        return v->there && v->revision == s->revision;
    }
}

static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

static enum quern_code add_result(struct verb *v, const struct step *s,
                                  const struct quern_value *read, struct quern_error *err)
{
    struct item item = {step_key(v, s), {read->data, read->len}, read->seq, read->expires_ms};
    struct buf *out = &v->result;

    if (out->len > 0 && add(out, ",", err))
        return err->code;
    if (s->kind != STEP_GET)
        return add(out, "{}", err);
    if (!v->there)
        return add(out, "{\"item\":null}", err);
    if (add(out, "{\"item\":", err) || item_text(out, &item, true, err))
        return err->code;
    return add(out, "}", err);
}

static enum quern_code run_step(struct verb *v, size_t i, struct quern_update *u,
                                struct quern_value *value, struct quern_error *err)
{
    const struct step *s = &steps_of(v)[i];
    struct quern_slice key = step_key(v, s);
    enum quern_code code = QUERN_OK;

    if (s->kind == STEP_PUT)
        code =
            quern_batch_put_until(quern_update_batch(u), key, step_value(v, s), s->expires_ms, err);
    else if (s->kind == STEP_DELETE_RANGE)
        code = quern_batch_delete_range(quern_update_batch(u),
                                        &(struct quern_range){key, step_value(v, s)}, err);
    else if (s->kind == STEP_DELETE)
        code = quern_batch_delete(quern_update_batch(u), key, err);
    else
        code = quern_update_get(u, key, value, err);
    v->there = code == QUERN_OK;
    v->revision = v->there ? value->seq : 0;
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (s->kind == STEP_CHECK && !fits(v, s))
        return no(v, i, VERB_CONDITION, err);
    if (add_result(v, s, value, err))
        return err->code;
    return v->result.len > BATCH_RESULT_BYTES_MAX ? no(v, i, VERB_TOO_LARGE, err) : QUERN_OK;
}

static enum quern_code run(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct verb *v = ((struct write_op *)arg)->verb;
    struct quern_value value = {0};
    enum quern_code code = QUERN_OK;

    quern_batch_select(quern_update_batch(u), v->database);
    for (size_t i = 0; i < v->step_count && code == QUERN_OK; i++)
        code = run_step(v, i, u, &value, err);
    quern_value_done(&value);
    return code;
}

/* What the update will read comes into the cache now, while nobody waits for it. */
bool batch_read_ahead(const struct verb *v, const struct quern_read_opts *opts,
                      struct quern_value *value)
{
    bool all = true;

    for (size_t i = 0; i < v->step_count; i++) {
        const struct step *s = &steps_of(v)[i];
        struct quern_error ignored;

        if (s->kind == STEP_CHECK || s->kind == STEP_GET)
            all &= quern_get(v->server->db, step_key(v, s), opts, value, &ignored) != QUERN_BUSY;
    }
    return all;
}

/* ------------------------------------------------------------------ request and reply -- */

static void refuse_batch(struct conn *c, struct manner manner, complaint wrong, size_t failed)
{
    struct http_bad bad = {422, "bad_batch", wrong};
    char members[40] = "";

    if (wrong == no_memory)
        bad = (struct http_bad){500, "no_memory", wrong};
    if (failed != SIZE_MAX)
        (void)snprintf(members, sizeof(members), ",\"op_index\":%zu", failed);
    reply_problem(c, manner, &bad, NULL, members);
}

static enum access_scope scope_of(enum step_kind kind)
{
    switch (kind) {
    case STEP_CHECK:
    case STEP_GET:
        return ACCESS_READ;
    case STEP_PUT:
    case STEP_DELETE:
    case STEP_DELETE_RANGE:
        return ACCESS_WRITE;
    }
    return ACCESS_ADMIN;
}

/* May the token at hand do each step? Else refused. */
static bool is_allowed(struct conn *c, const struct verb *v)
{
    for (size_t i = 0; i < v->step_count; i++) {
        const struct step *s = &steps_of(v)[i];

        if (!guard_scope(c, scope_of(s->kind)))
            return false;
        if (s->kind == STEP_DELETE_RANGE
                ? !guard_range(c, (struct quern_slice){"", 0}, step_key(v, s), step_value(v, s))
                : !guard_key(c, step_key(v, s)))
            return false;
    }
    return true;
}

/* Does the step change a key that is to be changed on a condition only, and the step before it is no
 * check of that key? */
static bool lacks_check(const struct server *server, const struct verb *v, size_t i)
{
    const struct step *s = &steps_of(v)[i], *before = s - 1;
    struct quern_slice key = step_key(v, s);

    if (s->kind == STEP_DELETE_RANGE)
        return conditions_required_in(server, &(struct quern_range){key, step_value(v, s)});
    return (s->kind == STEP_PUT || s->kind == STEP_DELETE) && conditions_required(server, key) &&
           (i == 0 || before->kind != STEP_CHECK || !key_equal(step_key(v, before), key));
}

/* False: refused. */
static bool is_conditional(struct conn *c, struct manner manner, const struct verb *v)
{
    char members[40];

    for (size_t i = 0; c->loop->server->options->required.count > 0 && i < v->step_count; i++) {
        if (!lacks_check(c->loop->server, v, i))
            continue;
        (void)snprintf(members, sizeof(members), ",\"op_index\":%zu", i);
        reply_problem(c, manner, &conditions_missing, NULL, members);
        return false;
    }
    return true;
}

void batch_post(struct conn *c, struct manner manner, struct quern_slice body)
{
    json_error_t where;
    json_t *root = json_loadb(body.data != NULL ? body.data : "", body.len,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    struct verb *v;
    size_t failed;
    complaint wrong;

    if (root == NULL) {
        refuse(c, 400, "bad_json", "the body is not JSON, or names a member twice");
        return;
    }
    buf_clear(&c->loop->key);
    v = verb_new(c, VERB_BATCH);
    if (v == NULL) {
        json_decref(root);
        conn_cut(c);
        return;
    }
    wrong = take_steps(v, root, &failed);
    json_decref(root);
    if (wrong != NULL) {
        verb_free(v);
        refuse_batch(c, manner, wrong, failed);
        return;
    }
    if ((c->user != NULL && !is_allowed(c, v)) || !is_conditional(c, manner, v)) {
        verb_free(v);
        return;
    }
    verb_update(c, manner, v, run);
}

void batch_answer_trouble(struct conn *c, const struct write_op *op)
{
    static const struct http_bad failed = {409, "precondition_failed",
                                           "a check does not hold, and nothing was done"},
                                 large = {413, "result_too_large",
                                          "what the batch reads is over 16 MiB; nothing was done"};
    const struct verb *v = op->verb;
    char members[96];
    int n = snprintf(members, sizeof(members), ",\"op_index\":%zu", v->failed_step);

    if (v->trouble == VERB_CONDITION && v->there)
        (void)snprintf(members + n, sizeof(members) - (size_t)n, ",\"current_rev\":%" PRIu64,
                       v->revision);
    else if (v->trouble == VERB_CONDITION)
        (void)snprintf(members + n, sizeof(members) - (size_t)n, ",\"current_rev\":null");
    reply_problem(c, op->manner, v->trouble == VERB_CONDITION ? &failed : &large, NULL, members);
}

void batch_answer(struct conn *c, const struct write_op *op, const char *extra)
{
    struct buf *text = &c->loop->text;
    struct quern_error err;
    char begin[48];
    int n =
        snprintf(begin, sizeof(begin), "{\"rev\":%" PRIu64 ",\"results\":[", op->completion.seq);

    buf_clear(text);
    if (buf_append(text, begin, (size_t)n, &err) ||
        buf_append(text, op->verb->result.data, op->verb->result.len, &err) ||
        add(text, "]}\n", &err))
        conn_cut(c);
    else
        reply_with(c, op->manner, 200, "application/json", buf_slice(text), extra);
    pool_give_back(text);
}
