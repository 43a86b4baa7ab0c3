/* outflow.c - see outflow.h. */
#include "server/rest/outflow.h"

#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/squeeze.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

bool outflow_may_begin(struct conn *c)
{
    struct server *server = c->loop->server;

    if (atomic_fetch_add(&server->outflows, 1) < OUTFLOWS_MAX)
        return true;
    outflow_give_up(c);
    refuse(c, 503, "busy", "too many long replies are under way; try again in a moment");
    c->refusal.extra = "Retry-After: 1\r\n";
    return false;
}

void outflow_give_up(struct conn *c)
{
    atomic_fetch_sub(&c->loop->server->outflows, 1);
}

static void end(struct outflow *o)
{
    struct server *server = o->task.loop->server;

    squeeze_free(o->squeeze);
    buf_done(&o->packed);
    o->free(o);
    atomic_fetch_sub(&server->outflows, 1);
}

/* Compress the page in its place, if that is asked for. */
static enum quern_code pack(struct outflow *o, bool last, struct quern_error *err)
{
    struct buf swap = o->packed;

    if (o->squeeze == NULL)
        return QUERN_OK;
    buf_clear(&swap);
    o->packed = o->page;
    o->page = swap;
    return squeeze_add(o->squeeze, buf_slice(&o->packed), last, &o->page, err);
}

static void run(struct task *task)
{
    struct outflow *o = (struct outflow *)task;

    err_clear(&o->err);
    o->failed = o->fill(o, &o->err) != QUERN_OK || pack(o, o->over, &o->err) != QUERN_OK;
}

static void then(struct task *task)
{
    struct outflow *o = (struct outflow *)task;

    o->busy = false;
    if (o->conn == NULL)
        end(o);
    else
        loop_mark(o->task.loop, o->conn);
}

static void submit(struct outflow *o)
{
    o->busy = true;
    aside_run(&o->task);
}

void outflow_begin(struct conn *c, struct manner manner, const char *type, const char *extra,
                   struct outflow *o)
{
    o->conn = c;
    o->task.loop = c->loop;
    o->task.run = run;
    o->task.then = then;
    o->task.takes_long = true;
    o->chunked = c->request.minor == 1;
    if (!manner.head) {
        o->squeeze = squeeze_new(manner.encoding);
        if (o->squeeze == NULL)
            manner.encoding = HTTP_IDENTITY;
    }
    o->closes = reply_stream_head(c, manner, 200, type, extra, true);
    if (manner.head) {
        c->last = o->closes;
        end(o);
        return;
    }
    c->outflow = o;
    submit(o);
}

static enum quern_code add_page(struct conn *c, struct outflow *o, struct quern_error *err)
{
    return o->chunked ? http_reply_chunk(&c->out, buf_slice(&o->page), false, err)
                      : buf_append(&c->out, o->page.data, o->page.len, err);
}

/* The head has said that all is well: what remains is to say what is not, and to break off, so that
 * no client takes the reply for whole. */
static void break_off(struct conn *c, struct outflow *o)
{
    char line[128];
    struct quern_error ignored;
    struct buf *page = &o->page;
    int n = snprintf(line, sizeof(line), "{\"error\":{\"code\":\"%s\",\"detail\":\"",
                     o->err.code == QUERN_CORRUPT ? "corrupt" : "store_error");

    if (buf_append(page, line, (size_t)n, &ignored) == QUERN_OK &&
        http_json_escape(page, QUERN_STR(o->err.text), &ignored) == QUERN_OK &&
        buf_append(page, "\"}}\n", 4, &ignored) == QUERN_OK && pack(o, false, &ignored) == QUERN_OK)
        IGNORE(add_page(c, o, &ignored));
    c->last = true;
}

bool outflow_give(struct conn *c)
{
    struct outflow *o = c->outflow;
    struct quern_error err;
    enum quern_code code;

    if (o->busy || c->writing)
        return false;
    if (o->failed) {
        break_off(c, o);
    } else {
        code = add_page(c, o, &err);
        if (code == QUERN_OK && o->over && o->chunked)
            code = http_reply_chunk(&c->out, (struct quern_slice){NULL, 0}, true, &err);
        if (code != QUERN_OK) {
            conn_cut(c);
            return false;
        }
        buf_clear(&o->page);
        if (!o->over) {
            submit(o);
            return false;
        }
        c->last = o->closes;
    }
    c->outflow = NULL;
    end(o);
    return true;
}

void outflow_close(struct conn *c)
{
    struct outflow *o = c->outflow;

    if (o == NULL)
        return;
    c->outflow = NULL;
    o->conn = NULL;
    if (!o->busy)
        end(o);
}
