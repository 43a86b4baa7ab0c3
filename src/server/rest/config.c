/* config.c - GET and PATCH /v1/admin/config: the options, and those that change while it runs.
 *
 * {"log-level":"debug","slow-log":"20ms"}: all of them or none. It is done aside, since an access log
 * may have to be opened. */
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_BYTES 24
#define NAME_TOLD_MAX 64

struct patch {
    json_t *root; /* what the wishes point into */
    struct config_wish wishes[OPTIONS_MAX];
    char numbers[OPTIONS_MAX][NUMBER_BYTES];
    size_t count;
    enum config_answer answer;
    struct config_trouble trouble;
};

static void patch_free(struct patch *p)
{
    json_decref(p->root);
    alloc_free(p);
}

static void reply_config(struct conn *c, struct manner manner)
{
    struct buf *text = &c->loop->text;
    struct quern_error err;

    buf_clear(text);
    if (config_text(c->loop->server, text, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(text),
                   "Cache-Control: no-store\r\n");
}

void config_get(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    reply_config(c, manner);
}

/* ------------------------------------------------------------------ PATCH -- */

/* A number or a truth value may stand as such. NULL: neither, nor text. */
static const char *text_of(struct patch *p, const json_t *value)
{
    char *number = p->numbers[p->count];

    if (json_is_boolean(value))
        return json_is_true(value) ? "true" : "false";
    if (!json_is_integer(value))
        return json_string_value(value);
    (void)snprintf(number, NUMBER_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return number;
}

/* False: it is not of that shape. */
static bool read_wishes(struct patch *p)
{
    const char *name;
    json_t *value;

    if (!json_is_object(p->root) || json_object_size(p->root) > OPTIONS_MAX)
        return false;
    json_object_foreach(p->root, name, value)
    {
        const char *text = text_of(p, value);

        if (text == NULL)
            return false;
        p->wishes[p->count++] = (struct config_wish){
            .name = name, .text = text, .source = FROM_CHANGE, .bare = !json_is_string(value)};
    }
    return true;
}

static void work(struct write_op *op)
{
    struct patch *p = op->about;

    p->answer = config_change(op->conn->loop->server, p->wishes, p->count, &p->trouble);
}

static void then_finish(struct write_op *op)
{
    write_finish(op, QUERN_OK);
}

static void answer_trouble(struct conn *c, struct manner manner, const struct patch *p)
{
    static const char *const codes[] = {[CONFIG_UNKNOWN] = "unknown_option",
                                        [CONFIG_FIXED] = "option_not_changeable",
                                        [CONFIG_WRONG] = "bad_option"};
    struct http_bad bad = {422, codes[p->answer], p->trouble.detail};
    struct quern_slice name = QUERN_STR(p->wishes[p->trouble.which].name);
    struct buf members OWNED_BUF = {0};
    struct quern_error err;

    if (name.len <= NAME_TOLD_MAX &&
        (buf_append(&members, ",", 1, &err) || http_json_bytes(&members, "option", name, &err)))
        buf_clear(&members);
    if (buf_append(&members, "", 1, &err))
        conn_cut(c);
    else
        reply_problem(c, manner, &bad, NULL, (const char *)members.data);
}

static void answer(struct write_op *op)
{
    struct patch *p = op->about;
    struct conn *c = op->conn;

    if (!c->closing && p->answer == CONFIG_DONE)
        reply_config(c, op->manner);
    else if (!c->closing)
        answer_trouble(c, op->manner, p);
    patch_free(p);
}

void config_patch(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct patch *p = NEW(struct patch);
    struct write_op *op;

    if (p == NULL) {
        conn_cut(c);
        return;
    }
    p->root =
        json_loadb(body.data != NULL ? body.data : "", body.len, JSON_REJECT_DUPLICATES, NULL);
    if (p->root == NULL || !read_wishes(p)) {
        patch_free(p);
        refuse(c, 400, "bad_json",
               "write {\"NAME\":\"VALUE\",...}, with names of options and each of them once");
        return;
    }
    op = write_new(c, manner, 0, false);
    if (op == NULL) {
        patch_free(p);
        conn_cut(c);
        return;
    }
    op->alone = true;
    op->about = p;
    op->answer = answer;
    aside_submit(op, work, then_finish);
}
