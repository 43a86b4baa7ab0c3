/* pool.c - spare connections and writes of a loop, so that after warming up a request allocates
 * nothing.
 *
 * What is kept is bounded: 64 connections with buffers up to 256 KiB each, 1024 writes with batches
 * up to 64 KiB. Larger memory goes back to the heap as soon as it is done with. */
#include "server/pool.h"

#include "server/redis/redis.h"
#include "server/net/tls.h"
#include "server/rest/verb.h"

#include "base/alloc.h"

#include <string.h>

#define BUFFER_BYTES_KEPT_MAX 262144u
#define BATCH_BYTES_KEPT_MAX 65536u
#define SPARE_CONNS_MAX 64u
#define SPARE_OPS_MAX 1024u

static void conn_free(struct conn *c)
{
    tls_done(c);
    resp_done(c);
    guard_forget(c);
    buf_done(&c->in);
    buf_done(&c->body);
    buf_done(&c->out);
    buf_done(&c->sending);
    quern_value_done(&c->big);
    quern_value_done(&c->fetched.value);
    alloc_free(c);
}

void pool_give_back(struct buf *b)
{
    buf_clear(b);
    if (b->capacity > BUFFER_BYTES_KEPT_MAX)
        buf_done(b);
}

void pool_put_value(struct loop *loop)
{
    if (loop->value.len > BUFFER_BYTES_KEPT_MAX)
        quern_value_done(&loop->value);
}

void pool_put_conn(struct conn *c)
{
    struct loop *loop = c->loop;

    if (loop->spare_conn_count == SPARE_CONNS_MAX || loop->quitting) {
        conn_free(c);
        return;
    }
    tls_done(c);
    resp_done(c);
    guard_forget(c);
    pool_give_back(&c->in);
    pool_give_back(&c->body);
    pool_give_back(&c->out);
    pool_give_back(&c->sending);
    quern_value_done(&c->big);
    quern_value_done(&c->fetched.value);
    c->next = loop->spare_conns;
    loop->spare_conns = c;
    loop->spare_conn_count++;
}

struct conn *pool_take_conn(struct loop *loop)
{
    struct conn *c = loop->spare_conns;
    struct buf in, body, out, sending;

    if (c == NULL)
        return NEW(struct conn);
    loop->spare_conns = c->next;
    loop->spare_conn_count--;
    in = c->in;
    body = c->body;
    out = c->out;
    sending = c->sending;
    memset(c, 0, sizeof(*c));
    c->in = in;
    c->body = body;
    c->out = out;
    c->sending = sending;
    return c;
}

static void op_free(struct write_op *op)
{
    quern_batch_free(op->batch);
    buf_done(&op->key);
    resp_call_free(op->call);
    alloc_free(op);
}

struct write_op *pool_take_op(struct conn *c)
{
    struct loop *loop = c->loop;
    struct write_op *op = loop->spare_ops;
    struct quern_batch *batch;
    struct resp_call *call = NULL;
    struct buf key = {0};

    if (op != NULL) {
        loop->spare_ops = op->next;
        loop->spare_op_count--;
        batch = op->batch;
        call = op->call;
        key = op->key;
        quern_batch_clear(batch);
        buf_clear(&key);
    } else {
        op = NEW(struct write_op);
        batch = quern_batch_new();
        if (op == NULL || batch == NULL) {
            alloc_free(op);
            quern_batch_free(batch);
            return NULL;
        }
    }
    memset(op, 0, sizeof(*op));
    op->batch = batch;
    op->call = call;
    op->key = key;
    op->conn = c;
    *c->ops_last = op;
    c->ops_last = &op->next;
    c->op_count++;
    atomic_fetch_add(&loop->server->writes, 1);
    return op;
}

void pool_put_op(struct conn *c)
{
    struct loop *loop = c->loop;
    struct write_op *op = c->ops;

    c->ops = op->next;
    if (c->ops == NULL)
        c->ops_last = &c->ops;
    c->op_count--;
    c->op_bytes -= op->bytes;
    atomic_fetch_sub_explicit(&loop->server->write_bytes, op->bytes, memory_order_relaxed);
    verb_free(op->verb);
    op->verb = NULL;
    quern_value_done(&op->value);
    if (loop->spare_op_count == SPARE_OPS_MAX || op->bytes > BATCH_BYTES_KEPT_MAX) {
        op_free(op);
    } else {
        op->next = loop->spare_ops;
        loop->spare_ops = op;
        loop->spare_op_count++;
    }
    atomic_fetch_sub(&loop->server->writes, 1);
}

void pool_free(struct loop *loop)
{
    while (loop->spare_conns != NULL) {
        struct conn *c = loop->spare_conns;

        loop->spare_conns = c->next;
        conn_free(c);
    }
    while (loop->spare_ops != NULL) {
        struct write_op *op = loop->spare_ops;

        loop->spare_ops = op->next;
        op_free(op);
    }
}
