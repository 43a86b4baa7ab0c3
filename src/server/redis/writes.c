/* writes.c - a command that writes, on its way through the store.
 *
 *     begin_op -> the op stands in its connection's queue
 *        |-- blind: the handler fills the op's batch ------------> write_submit()
 *        |-- else: arguments are copied, keys are read ahead ----> the same, with run_update()
 *        |         run_update(), on whoever leads the commit: the handler reads, fills the
 *        |         update's batch, and replies into the op's own buffer
 *        '-- EXEC: the same with all that was queued; when it is written, what of it walks runs aside
 *     resp_completed(), on the loop: the reply, or why nothing was written
 *
 * From its submission to its completion an op belongs to the store: nothing here touches it. */
#include "server/redis/redis.h"

#include "server/conn.h"
#include "server/guard.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"

#define REPLY_BYTES_KEPT_MAX 65536u

void resp_call_clear(struct resp_call *call)
{
    alloc_free(call->command);
    call->command = NULL;
    transaction_clear(&call->transaction);
    buf_clear(&call->reply);
    if (call->reply.capacity > REPLY_BYTES_KEPT_MAX)
        buf_done(&call->reply);
    if (call->value.len > REPLY_BYTES_KEPT_MAX)
        quern_value_done(&call->value);
    call->silent = call->conflict = call->is_exec = false;
    call->puts = call->put_bytes = call->deletes = 0;
}

void resp_call_free(struct resp_call *call)
{
    if (call == NULL)
        return;
    resp_call_clear(call);
    buf_done(&call->reply);
    quern_value_done(&call->value);
    alloc_free(call);
}

static struct write_op *begin_op(struct conn *c, size_t bytes, bool sync)
{
    struct write_op *op = write_begin(c, (struct manner){.asked = c->resp->asked}, bytes, sync);

    if (op == NULL)
        return NULL;
    if (op->call == NULL) {
        op->call = NEW(struct resp_call);
        if (op->call == NULL) {
            write_finish(op, err_memory(&op->completion.error, "a write"));
            return op;
        }
    }
    op->call->transaction.last = &op->call->transaction.first;
    op->call->proto = c->resp->proto;
    op->call->silent = c->resp->reply != REPLY_ON;
    return op;
}

static void keep_counts(struct resp_call *rc, const struct call *k)
{
    rc->puts = k->puts;
    rc->put_bytes = k->put_bytes;
    rc->deletes = k->deletes;
}

/* On whichever thread leads the commit. */
static enum quern_code run_update(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct write_op *op = arg;
    struct resp_call *rc = op->call;
    struct call k = {.server = op->conn->loop->server,
                     .update = u,
                     .batch = quern_update_batch(u),
                     .out = {&rc->reply, rc->proto, false},
                     .value = &rc->value,
                     .err = err};
    enum quern_code code;

    if (rc->is_exec) {
        code = transaction_run(&k, rc);
    } else {
        call_select(&k, rc->command->database);
        k.command = rc->command->command;
        k.args = rc->command->args;
        k.argc = rc->command->argc;
        code = k.command->run(&k);
    }
    if (code == QUERN_OK && k.out.failed)
        code = err_memory(err, "a reply");
    keep_counts(rc, &k);
    return code;
}

/* What the update will read is read now, so that no writer waits for the disk inside it. A failure
 * shows again there. The values count as bytes of the op, since its reply or its batch may be as
 * large: behind much of that no further write is begun. */
static bool read_keys(struct write_op *op, const struct queued *q, bool cached,
                      struct quern_value *value)
{
    struct quern_read_opts opts = {.cached = cached, .database = q->database};
    struct quern *db = op->conn->loop->server->db;
    size_t last = command_last_key(q->command, q->argc);
    struct quern_error ignored;
    bool all = true;

    for (size_t i = (size_t)q->command->first_key; last > 0 && i <= last;
         i += (size_t)q->command->key_step) {
        enum quern_code code = QUERN_NOT_FOUND;

        if (q->args[i].len > 0 && q->args[i].len <= QUERN_KEY_BYTES_MAX)
            code = quern_get(db, q->args[i], &opts, value, &ignored);
        op->read_bytes += code == QUERN_OK ? value->len : 0;
        all &= code != QUERN_BUSY;
    }
    return all;
}

/* False: with `cached` something was not in memory. */
static bool read_ahead(struct write_op *op, bool cached, struct quern_value *value)
{
    const struct resp_call *rc = op->call;
    struct quern_error ignored;
    bool all = true;

    op->read_bytes = 0;
    if (!rc->is_exec)
        return read_keys(op, rc->command, cached, value);
    for (const struct queued *q = rc->transaction.first; q != NULL; q = q->next) {
        if (command_in_update(q->command))
            all &= read_keys(op, q, cached, value);
    }
    for (const struct watched *w = rc->transaction.watched; w != NULL; w = w->next) {
        struct quern_read_opts opts = {.cached = cached, .database = w->database};

        all &= quern_get(op->conn->loop->server->db, w->key, &opts, value, &ignored) != QUERN_BUSY;
    }
    return all;
}

/* Of keys that stand side by side, as those of reads do. */
static void expect_keys(struct write_op *op, const struct queued *q)
{
    size_t last = command_last_key(q->command, q->argc), first = (size_t)q->command->first_key;

    if (last > 0 && q->command->key_step == 1)
        aside_expect(op, &q->args[first], last - first + 1, q->database);
}

static void work_read_ahead(struct write_op *op)
{
    (void)read_ahead(op, false, &op->call->value);
}

static void submit_update(struct write_op *op)
{
    op->bytes += op->read_bytes;
    op->conn->op_bytes += op->read_bytes;
    atomic_fetch_add_explicit(&op->conn->loop->server->write_bytes, op->read_bytes,
                              memory_order_relaxed);
    op->update = run_update;
    write_submit(op);
}

static void begin_update(struct write_op *op)
{
    if (read_ahead(op, true, &op->conn->loop->value)) {
        submit_update(op);
        return;
    }
    if (!op->call->is_exec)
        expect_keys(op, op->call->command);
    aside_submit(op, work_read_ahead, submit_update);
}

static void run_blind(struct call *k, struct write_op *op)
{
    struct resp_call *rc = op->call;
    enum quern_code code;

    k->batch = op->batch;
    call_select(k, k->reads.database);
    k->out = (struct resp_out){&rc->reply, rc->proto, false};
    k->err = &op->completion.error;
    write_note_key(op, k->args[k->command->first_key]);
    code = k->command->run(k);
    if (code == QUERN_OK && k->out.failed)
        code = err_memory(k->err, "a reply");
    keep_counts(rc, k);
    if (code != QUERN_OK || quern_batch_count(op->batch) == 0)
        write_finish(op, code); /* refused: the reply says so, in its turn */
    else
        write_submit(op);
}

/* An op for the command at hand, whose reply comes later; or NULL: nothing is to be done for it. */
static struct write_op *begin_command(struct call *k)
{
    struct conn *c = k->conn;
    struct write_op *op = begin_op(c, c->resp->request.bytes, false);

    k->later = true;
    if (op == NULL)
        conn_cut(c);
    return op != NULL && !op->finished ? op : NULL;
}

/* Its arguments, copied. False: it is finished, without memory for them. */
static bool keep_command(struct call *k, struct write_op *op)
{
    op->call->command = queued_new(k, k->reads.database);
    if (op->call->command == NULL)
        write_finish(op, err_memory(&op->completion.error, "a command"));
    return op->call->command != NULL;
}

void resp_begin_write(struct call *k)
{
    struct write_op *op = begin_command(k);

    if (op == NULL)
        return;
    if (k->command->blind != NULL && k->command->blind(k))
        run_blind(k, op);
    else if (keep_command(k, op))
        begin_update(op);
}

/* A call of an op's, on a thread that may wait for the disk. */
static struct call call_aside(struct write_op *op)
{
    struct resp_call *rc = op->call;

    err_clear(&op->completion.error);
    return (struct call){.server = op->conn->loop->server,
                         .out = {&rc->reply, rc->proto, false},
                         .value = &rc->value,
                         .err = &op->completion.error,
                         .noted = &rc->transaction,
                         .sees_all = rc->sees_all};
}

static void work_command(struct write_op *op)
{
    const struct queued *q = op->call->command;
    struct call k = call_aside(op);

    k.command = q->command;
    k.reads.database = q->database;
    k.args = q->args;
    k.argc = q->argc;
    op->completion.code = k.command->run(&k);
    if (op->completion.code == QUERN_OK && k.out.failed)
        op->completion.code = err_memory(k.err, "a reply");
}

static void then_reply(struct write_op *op)
{
    write_finish(op, op->completion.code);
}

void resp_begin_aside(struct call *k)
{
    struct write_op *op = begin_command(k);

    if (op == NULL)
        return;
    op->is_read = true;
    op->alone = k->command->where == HERE;
    op->synced = false;
    op->call->sees_all = guard_sees_all(k->conn);
    if (!keep_command(k, op))
        return;
    op->task.takes_long = k->command->flags & CMD_LABOUR;
    if (k->command->where == READ && !op->task.takes_long) /* that goes alone */
        expect_keys(op, op->call->command);
    aside_submit(op, work_command, then_reply);
}

static void work_walks(struct write_op *op)
{
    struct call k = call_aside(op);

    transaction_walk(&k, op->call);
    if (k.out.failed)
        op->completion.code = err_memory(k.err, "a reply");
}

static void walk_aside(struct write_op *op)
{
    if (op->call->conflict) {
        write_finish(op, QUERN_OK);
        return;
    }
    op->task.takes_long = transaction_has_labour(&op->call->transaction);
    aside_submit(op, work_walks, then_reply);
}

bool resp_begin_exec(struct call *k)
{
    struct conn *c = k->conn;
    struct write_op *op = begin_op(c, c->resp->transaction.bytes, false);
    struct transaction *t;

    if (op == NULL)
        return false;
    k->later = true;
    if (op->finished)
        return true;
    op->call->is_exec = true;
    op->call->sees_all = guard_sees_all(c);
    t = &op->call->transaction;
    *t = c->resp->transaction;
    if (t->first == NULL)
        t->last = &t->first;
    c->resp->transaction = (struct transaction){.last = &c->resp->transaction.first};
    if (transaction_has(t, WALK) || transaction_has_labour(t))
        op->after = walk_aside;
    /* What runs on the loop may change what a command behind EXEC means: SELECT, HELLO, AUTH. */
    op->alone = op->after != NULL || transaction_has(t, HERE);
    if (t->watched == NULL && !transaction_has(t, READ) && !transaction_has(t, UPDATE)) {
        op->synced = false;
        walk_aside(op);
    } else {
        begin_update(op);
    }
    return true;
}

bool resp_begin_save(struct call *k, bool silent)
{
    struct write_op *op = begin_op(k->conn, 0, true);
    struct resp_out out = {NULL, 2, false};

    if (op == NULL)
        return false;
    k->later = !silent;
    if (op->finished)
        return true;
    op->call->silent |= silent;
    if (silent)
        op->manner.asked.kind = KIND_NONE; /* the request has its reply */
    out.to = &op->call->reply;
    resp_put_simple(&out, "OK");
    if (out.failed)
        write_finish(op, err_memory(&op->completion.error, "a reply"));
    else
        write_submit(op); /* empty, and synced: so is all before it */
    return true;
}

void resp_completed(struct write_op *op)
{
    struct conn *c = op->conn;
    struct counters *n = &c->loop->server->counters;
    struct resp_call *rc = op->call;
    size_t mark = c->out.len;
    struct resp_out out = {&c->out, c->resp->proto, false};

    measure_resume(&c->loop->measure, &op->manner.asked, write_waited_for(op));
    if (rc != NULL && op->completion.code == QUERN_OK) {
        count(&n->sets, rc->puts);
        count(&n->set_bytes, rc->put_bytes);
        count(&n->deletes, rc->deletes);
        count(&n->deletes_found, rc->deletes);
        if (op->synced)
            atomic_store(&c->loop->server->resp->saved_at, c->loop->date_at);
    }
    if (!c->closing) {
        if (op->completion.code != QUERN_OK)
            reply_failure(&out, op->completion.code, &op->completion.error);
        else if (rc->is_exec)
            transaction_reply(c, rc, &out);
        else
            resp_put_raw(&out, rc->reply.data, rc->reply.len);
        if (rc != NULL && !rc->is_exec && rc->transaction.watched != NULL)
            transaction_take_watched(c, &rc->transaction);
        if (op->manner.asked.kind != KIND_NONE) /* else it is no request, but a part of one */
            resp_count(c, &op->manner.asked, mark,
                       op->completion.code != QUERN_OK ? OUTCOME_FAILED : OUTCOME_OK);
        if (out.failed)
            conn_cut(c);
        else if (rc != NULL && rc->silent)
            c->out.len = mark;
    }
    if (rc != NULL)
        resp_call_clear(rc);
}
