/* writes.c - the way of a write through the server; no loop ever waits for it.
 *
 *     set      batch -> the loop's hand -> quern_hand_over() at the end of the turn -> ...
 *                    -> completed() on a thread of the store's -> letter to the loop -> finished
 *     delete   quern_get(): not there -> finished, NOT_FOUND
 *              there -> as a set, with a check that it still is: of deletes that race, through
 *              whichever door, one finds it
 *
 *     /v1      verb.c looks what is there, and at that again when somebody was faster
 *
 * When the store completes a write inside quern_hand_over(), on the loop's own thread, no letter is
 * needed: the op is marked, and its connection has its turn before the loop sleeps. */
#include "server/writes.h"

#include "server/intake.h"
#include "server/pool.h"

#include "base/error.h"
#include <string.h>

#define WRITE_BYTES_MIN (UINT64_C(64) << 20)

static void finish(struct write_op *op)
{
    if (op->is_delete && op->completion.code == QUERN_CONFLICT)
        op->completion.code = QUERN_NOT_FOUND; /* somebody was faster */
    op->finished = true;
    loop_mark(op->conn->loop, op->conn);
}

void write_finish(struct write_op *op, enum quern_code code)
{
    op->completion.code = code;
    finish(op);
}

static void go_on(struct write_op *op)
{
    if (op->after != NULL && op->completion.code == QUERN_OK)
        op->after(op);
    else
        finish(op);
}

static void open_completed(struct letter *letter)
{
    go_on((struct write_op *)letter);
}

static void open_again(struct letter *letter)
{
    struct write_op *op = (struct write_op *)letter;

    op->completion = (struct quern_completion){.seq = 0};
    op->again(op);
}

/* On any thread of the store's, or on a loop's that leads a commit group. */
static void completed(void *arg, struct quern_completion *completion)
{
    struct write_op *op = arg;
    struct loop *loop = op->conn->loop;

    op->task.letter.open = open_completed;
    if (completion->code == QUERN_CONFLICT && op->again != NULL) {
        op->task.letter.open =
            open_again; /* a letter in any case: here the store may not be called */
    } else if (loop_is_here(loop)) {
        go_on(op);
        return;
    }
    if (completion->more) /* `op` may be gone as soon as it is posted, and the last one wakes */
        loop_post_quietly(loop, &op->task.letter);
    else
        loop_post(loop, &op->task.letter);
}

void write_submit(struct write_op *op)
{
    struct loop *loop = op->conn->loop;
    struct quern_write_opts opts = {.sync = op->synced, .hand = &loop->hand};
    struct quern *db = loop->server->db;
    struct quern_completion *completion = &op->completion;
    struct quern_error err;

    if (op->too_much) {
        write_finish(op, err_set(&completion->error, QUERN_BUSY, "too much is under way already"));
        return;
    }
    completion->done = completed;
    completion->arg = op;
    if ((op->update != NULL
             ? quern_update_async(db, op->update, op, &opts, completion, &err)
             : quern_write_async(db, op->batch, &opts, completion, &err)) != QUERN_OK) {
        completion->error = err;
        write_finish(op, err.code);
    } else {
        op->conn->handed = true;
    }
}

/* What all writes under way may come to, with one more of any size. */
static uint64_t write_bytes_max(const struct server *server)
{
    uint64_t share = server->options->memory_bytes / 4;

    return share > WRITE_BYTES_MIN ? share : WRITE_BYTES_MIN;
}

unsigned write_pressure(const struct server *server)
{
    unsigned by_store = quern_pressure(server->db);
    uint64_t bytes = atomic_load_explicit(&server->write_bytes, memory_order_relaxed);
    uint64_t most = write_bytes_max(server);
    unsigned by_bytes = bytes >= most ? 100 : (unsigned)(100 * bytes / most);

    unsigned by_intake = intake_pressure(server);
    unsigned most_of = by_store > by_bytes ? by_store : by_bytes;

    return most_of > by_intake ? most_of : by_intake;
}

struct write_op *write_new(struct conn *c, struct manner manner, size_t bytes, bool synced)
{
    struct server *server = c->loop->server;
    struct write_op *op = pool_take_op(c);

    if (op == NULL)
        return NULL;
    op->too_much = atomic_fetch_add_explicit(&server->write_bytes, bytes, memory_order_relaxed) >=
                   write_bytes_max(server);
    op->manner = manner;
    if (manner.trace != NULL) {
        memcpy(op->trace, manner.trace, HTTP_TRACE_BYTES);
        op->manner.trace = op->trace;
    }
    op->database = c->database;
    op->bytes = bytes;
    c->op_bytes += bytes;
    op->synced = synced;
    return op;
}

void write_note_key(struct write_op *op, struct quern_slice key)
{
    struct quern_error ignored;
    bool whole = key.len <= SLOW_ARG_BYTES_MAX;

    if (!whole)
        key.len = SLOW_ARG_BYTES_MAX - 3;
    if (buf_assign(&op->key, key, &ignored) == QUERN_OK && !whole)
        IGNORE(buf_append(&op->key, "...", 3, &ignored));
}

enum waited_for write_waited_for(const struct write_op *op)
{
    if (op->is_read)
        return WAITED_DISK;
    if (op->completion.slowed)
        return WAITED_BACKGROUND;
    return op->synced ? WAITED_SYNC : WAITED_COMMIT;
}

struct write_op *write_begin(struct conn *c, struct manner manner, size_t bytes, bool sync)
{
    return write_new(c, manner, bytes,
                     sync || c->loop->server->options->durability == DURABLE_ALWAYS);
}

bool write_set(struct conn *c, struct manner manner, struct quern_slice key,
               struct quern_slice value, uint64_t expires_ms, bool sync)
{
    struct write_op *op = write_begin(c, manner, key.len + value.len, sync);

    if (op == NULL)
        return false;
    op->expires_ms = expires_ms;
    write_note_key(op, key);
    quern_batch_select(op->batch, op->database);
    if (quern_batch_put_until(op->batch, key, value, expires_ms, &op->completion.error) != QUERN_OK)
        write_finish(op, op->completion.error.code);
    else
        write_submit(op);
    return true;
}

static void judge_delete(struct write_op *op)
{
    if (op->completion.code != QUERN_OK)
        write_finish(op, op->completion.code);
    else
        write_submit(op);
}

bool write_delete(struct conn *c, struct manner manner, struct quern_slice key, bool sync)
{
    struct write_op *op = write_begin(c, manner, key.len, sync);
    struct quern_error *err;
    enum quern_code code;

    if (op == NULL)
        return false;
    op->is_delete = true;
    err = &op->completion.error;
    quern_batch_select(op->batch, op->database);
    if (quern_batch_require(op->batch, QUERN_REQUIRE_PRESENT, key, 0, err) ||
        quern_batch_delete(op->batch, key, err) || buf_append(&op->key, key.data, key.len, err)) {
        write_finish(op, err->code);
        return true;
    }
    /* For most of those that delete nothing, and so that the check finds the value in memory. */
    code = read_in_memory(c->loop, op->database, key, NULL, err);
    if (code == QUERN_BUSY)
        aside_read(op, buf_slice(&op->key), judge_delete);
    else if (code != QUERN_OK)
        write_finish(op, code);
    else
        write_submit(op);
    return true;
}
