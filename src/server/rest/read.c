/* read.c - see rest/read.h.
 *
 *     read_value() --has company--> reads.c --told------------------> then()
 *          |                           '--not in memory, or large-.
 *          '--alone--> quern_get() with `cached` <----------------'
 *                         |--told-----------------------------------> then()
 *                         '--BUSY--> aside --> the request once more -> then()
 *
 * A connection waits with one request at a time, which stays at hand; those behind it join the next
 * batch of the same turn, before anything is sent. */
#include "server/rest/read.h"

#include "server/pool.h"
#include "server/rest/serve.h"
#include "server/writes.h"

#include "base/error.h"

#include <string.h>

static void keep_fetched(struct write_op *op)
{
    struct fetched *f = &op->conn->fetched;

    quern_value_done(&f->value);
    f->value = op->value;
    memset(&op->value, 0, sizeof(op->value));
    f->code = op->completion.code;
    f->error = op->completion.error;
    f->here = true;
    snapshots_give(&op->conn->loop->server->snapshots, op->held);
    write_finish(op, f->code);
}

static void fetch(struct conn *c, struct manner manner, struct quern_slice key,
                  struct held_snapshot *held)
{
    struct write_op *op = write_new(c, manner, 0, false);
    struct quern_error err;

    if (op == NULL || buf_append(&op->key, key.data, key.len, &err) != QUERN_OK) {
        conn_cut(c);
        snapshots_give(&c->loop->server->snapshots, held);
        if (op != NULL)
            write_finish(op, QUERN_NO_MEMORY);
        return;
    }
    op->is_read = true;
    op->held = held;
    aside_read(op, buf_slice(&op->key), keep_fetched);
}

/* False: it is fetched. */
static bool read_alone(struct conn *c, struct manner manner, struct quern_slice key,
                       struct held_snapshot *held, enum quern_code *code, struct quern_error *err)
{
    err_clear(err);
    *code = read_in_memory(c->loop, c->database, key, held, err);
    if (*code == QUERN_BUSY) {
        fetch(c, manner, key, held);
        return false;
    }
    snapshots_give(&c->loop->server->snapshots, held);
    return true;
}

static void swap_values(struct quern_value *a, struct quern_value *b)
{
    struct quern_value other = *a;

    *a = *b;
    *b = other;
}

static void answer(struct read *read, const struct found *found)
{
    struct conn *c = read->conn;
    struct loop *loop = c->loop;
    bool told = found_all(found);
    enum quern_code code = found->codes[0];
    struct quern_error err;

    if (buf_assign(&loop->key, found->keys[0], &err) != QUERN_OK) {
        conn_cut(c);
    } else if (told) {
        err_clear(&err);
        swap_values(&loop->value, &found->values[0]);
        serve_found(c, read->http.manner, read->http.then, code, &err);
        swap_values(&loop->value, &found->values[0]);
    } else if (read_alone(c, read->http.manner, found->keys[0], NULL, &code, &err)) {
        serve_found(c, read->http.manner, read->http.then, code, &err);
    }
}

/* Does it wait for the batch? */
static bool joins(struct conn *c, struct manner manner, struct quern_slice key, read_then then)
{
    struct quern_slice kept;
    struct read *read;

    if (!reads_have_company(c) || !reads_have_room(c->loop, c->database, 1, 1))
        return false;
    kept = reads_keep(c->loop, key);
    if (kept.data == NULL)
        return false;
    read = reads_take(c, c->database, &kept, 1, 0, 1);
    read->answer = answer;
    read->http.manner = manner;
    read->http.then = then;
    return true;
}

void read_value(struct conn *c, struct manner manner, struct quern_slice key,
                struct held_snapshot *held, read_then then)
{
    struct fetched *f = &c->fetched;
    struct quern_error err;
    enum quern_code code;

    if (f->here) {
        quern_value_done(&c->loop->value);
        c->loop->value = f->value;
        memset(&f->value, 0, sizeof(f->value));
        f->here = false;
        then(c, manner, f->code, &f->error);
    } else if ((held != NULL || !joins(c, manner, key, then)) &&
               read_alone(c, manner, key, held, &code, &err)) {
        then(c, manner, code, &err);
    }
}
