/* multi.c - MULTI to EXEC: commands that happen as one step.
 *
 *     MULTI        commands from here on are checked, copied and queued
 *     WATCH key    notes the revision of a key: EXEC does nothing if it is another by then
 *     EXEC         one update of the store: are the watched keys as they were? then each command
 *                  in turn, seeing what those before it wrote; one batch, whole or not at all
 *
 * Commands that concern no key cannot run inside an update. When it has completed, those that walk
 * (KEYS, SCAN, DBSIZE, INFO) run aside and then the others (PING) on the connection's loop, and their
 * replies are put in their places: so SCAN sees the transaction, and whatever others wrote behind it. What
 * would make all writers wait for long (LCS) reads inside and goes on aside with what it has read. */
#include "server/redis/handlers.h"

#include "server/conn.h"
#include "server/guard.h"
#include "server/intake.h"

#include "base/alloc.h"
#include "base/error.h"

#define TRANSACTION_BYTES_MAX (UINT64_C(256) << 20)
#define TRANSACTION_COUNT_MAX (1u << 20)

struct queued *queued_new(const struct call *k, uint8_t database)
{
    const struct quern_slice *args = k->args;
    size_t argc = k->argc, bytes = sizeof(struct queued) + argc * sizeof(*args);
    struct queued *q;
    uint8_t *at;

    for (size_t i = 0; i < argc; i++)
        bytes += args[i].len;
    q = alloc_bytes(bytes);
    if (q == NULL)
        return NULL;
    *q = (struct queued){.command = k->command, .argc = argc, .bytes = bytes, .database = database};
    at = (uint8_t *)&q->args[argc];
    for (size_t i = 0; i < argc; i++) {
        if (args[i].len > 0)
            memcpy(at, args[i].data, args[i].len);
        q->args[i] = (struct quern_slice){at, args[i].len};
        at += args[i].len;
    }
    return q;
}

static void unwatch(struct transaction *t)
{
    while (t->watched != NULL) {
        struct watched *w = t->watched;

        t->watched = w->next;
        t->bytes -= sizeof(*w) + w->key.len;
        alloc_free(w);
    }
    t->watched_count = 0;
}

static void drop_commands(struct transaction *t)
{
    while (t->first != NULL) {
        struct queued *q = t->first;

        t->first = q->next;
        alloc_free(q);
    }
    t->last = &t->first;
    t->count = t->bytes = 0;
    t->open = t->refused = false;
}

void transaction_clear(struct transaction *t)
{
    unwatch(t);
    drop_commands(t);
}

static const char too_much_arrives[] = "TRYAGAIN too much is arriving already, retry in 1000 ms";

/* It stays open, for EXEC to say that nothing came of it. */
static void give_up(struct conn *c)
{
    struct transaction *t = &c->resp->transaction;

    transaction_clear(t);
    t->open = t->refused = true;
    atomic_store_explicit(&c->resp->client.watches, false, memory_order_relaxed);
}

enum quern_code transaction_add(struct call *k)
{
    struct transaction *t = &k->conn->resp->transaction;
    struct queued *q;

    if (k->command->flags & (CMD_NO_MULTI | CMD_ALONE)) {
        t->refused = true;
        return call_error(k, "ERR Command not allowed inside a transaction");
    }
    if (t->count == TRANSACTION_COUNT_MAX || t->bytes > TRANSACTION_BYTES_MAX) {
        t->refused = true;
        return call_error(k, "ERR the transaction is too large");
    }
    if (intake_is_too_much(k->conn)) {
        give_up(k->conn);
        return call_error(k, too_much_arrives);
    }
    q = queued_new(k, t->database);
    if (q == NULL) {
        k->out.failed = true;
        return QUERN_OK;
    }
    *t->last = q;
    t->last = &q->next;
    t->count++;
    t->bytes += q->bytes;
    atomic_store_explicit(&k->conn->resp->client.queued, (int)t->count, memory_order_relaxed);
    if (k->command->run == cmd_select)
        (void)database_of(k->args[1], &t->database);
    resp_put_simple(&k->out, "QUEUED");
    return QUERN_OK;
}

/* Inside the update: is any watched key not what it was? */
static enum quern_code look_at_watched(struct call *k, const struct transaction *t, bool *conflict)
{
    for (const struct watched *w = t->watched; w != NULL && !*conflict; w = w->next) {
        enum quern_code code;

        call_select(k, w->database);
        code = quern_update_get(k->update, w->key, k->value, k->err);
        if (code != QUERN_OK && code != QUERN_NOT_FOUND)
            return code;
        /* Where databases have changed places, a key of the same write may be of the other one. */
        *conflict = (code == QUERN_OK) != w->there || (w->there && k->value->seq != w->seq) ||
                    (w->there && quern_update_moved(k->update, w->database) > w->seen);
    }
    return QUERN_OK;
}

static const char too_much[] = "the transaction's replies are over 256 MiB";

static enum quern_code run_queued(struct call *k, struct resp_call *rc, struct queued *q)
{
    enum quern_code code;

    k->command = q->command;
    k->args = q->args;
    k->argc = q->argc;
    call_select(k, q->database);
    q->reply_at = rc->reply.len;
    k->unfinished = false;
    code = q->command->run(k);
    q->reply_len = rc->reply.len - q->reply_at;
    q->unfinished = k->unfinished;
    return code;
}

enum quern_code transaction_run(struct call *k, struct resp_call *rc)
{
    enum quern_code code = look_at_watched(k, &rc->transaction, &rc->conflict);

    if (code != QUERN_OK || rc->conflict)
        return code;
    for (struct queued *q = rc->transaction.first; q != NULL; q = q->next) {
        if (!command_in_update(q->command))
            continue;
        code = run_queued(k, rc, q);
        if (code != QUERN_OK)
            return code;
        if (rc->reply.len > REPLY_BYTES_MAX)
            return err_set(k->err, QUERN_INVALID, too_much);
    }
    return QUERN_OK;
}

/* What was written stays, whatever comes of these. */
void transaction_walk(struct call *k, struct resp_call *rc)
{
    for (struct queued *q = rc->transaction.first; q != NULL; q = q->next) {
        enum quern_code code = QUERN_OK;

        if (q->command->where != WALK && !q->unfinished)
            continue;
        err_clear(k->err);
        k->left = (struct quern_slice){NULL, 0};
        if (q->unfinished)
            k->left = (struct quern_slice){rc->reply.data + q->reply_at, q->reply_len};
        code = run_queued(k, rc, q);
        if (code == QUERN_OK && rc->reply.len > REPLY_BYTES_MAX)
            code = err_set(k->err, QUERN_INVALID, too_much);
        if (code == QUERN_OK)
            continue;
        rc->reply.len = q->reply_at;
        reply_failure(&k->out, code, k->err);
        q->reply_len = rc->reply.len - q->reply_at;
    }
}

static void run_queued_here(struct conn *c, struct queued *q, struct resp_out *out)
{
    struct quern_error err;
    struct call k = {.server = c->loop->server,
                     .conn = c,
                     .command = q->command,
                     .reads.database = q->database,
                     .args = q->args,
                     .argc = q->argc,
                     .out = *out,
                     .value = &c->loop->value,
                     .err = &err,
                     .sees_all = guard_sees_all(c)};
    enum quern_code code;

    err_clear(&err);
    code = q->command->run(&k);
    if (code != QUERN_OK)
        reply_failure(&k.out, code, &err);
    out->failed |= k.out.failed;
}

void transaction_reply(struct conn *c, struct resp_call *rc, struct resp_out *out)
{
    if (rc->conflict) {
        resp_put_null_array(out);
        return;
    }
    resp_put_array(out, rc->transaction.count);
    for (struct queued *q = rc->transaction.first; q != NULL; q = q->next) {
        if (q->command->where == HERE)
            run_queued_here(c, q, out);
        else
            resp_put_raw(out, rc->reply.data + q->reply_at, q->reply_len);
    }
}

bool transaction_has(const struct transaction *t, enum where where)
{
    for (const struct queued *q = t->first; q != NULL; q = q->next) {
        if (q->command->where == where)
            return true;
    }
    return false;
}

bool transaction_has_labour(const struct transaction *t)
{
    for (const struct queued *q = t->first; q != NULL; q = q->next) {
        if (q->command->flags & CMD_LABOUR)
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------ the commands -- */

enum quern_code cmd_multi(struct call *k)
{
    struct transaction *t = &k->conn->resp->transaction;

    if (t->open) /* which goes on; so it does in Redis */
        return call_error(k, "ERR MULTI calls can not be nested");
    t->open = true;
    t->refused = false;
    t->database = k->reads.database;
    atomic_store_explicit(&k->conn->resp->client.queued, 0, memory_order_relaxed);
    return call_ok(k);
}

void transaction_abandon(struct conn *c)
{
    transaction_clear(&c->resp->transaction);
    atomic_store_explicit(&c->resp->client.queued, -1, memory_order_relaxed);
    atomic_store_explicit(&c->resp->client.watches, false, memory_order_relaxed);
}

enum quern_code cmd_discard(struct call *k)
{
    if (!k->conn->resp->transaction.open)
        return call_error(k, "ERR DISCARD without MULTI");
    transaction_abandon(k->conn);
    return call_ok(k);
}

/* Nothing in it and nothing watched: no need to ask the store. */
static bool is_idle(const struct transaction *t)
{
    for (const struct queued *q = t->first; q != NULL; q = q->next) {
        if (q->command->where != HERE)
            return false;
    }
    return t->watched == NULL;
}

static void exec_here(struct call *k)
{
    struct transaction *t = &k->conn->resp->transaction;
    struct resp_call alone = {.transaction = *t};

    *t = (struct transaction){.last = &t->first};
    if (alone.transaction.first == NULL)
        alone.transaction.last = &alone.transaction.first;
    transaction_reply(k->conn, &alone, &k->out);
    transaction_clear(&alone.transaction);
}

/* Its commands; EXEC itself was told before. */
static void tell_monitors(const struct call *exec, const struct transaction *t)
{
    struct call k = *exec;

    for (const struct queued *q = t->first; q != NULL; q = q->next) {
        k.command = q->command;
        k.args = q->args;
        k.argc = q->argc;
        k.reads.database = q->database;
        monitors_tell(&k);
    }
}

enum quern_code cmd_exec(struct call *k)
{
    struct transaction *t = &k->conn->resp->transaction;

    if (!t->open)
        return call_error(k, "ERR EXEC without MULTI");
    if (t->refused) {
        transaction_abandon(k->conn);
        return call_error(k, "EXECABORT Transaction discarded because of previous errors.");
    }
    if (atomic_load_explicit(&k->server->resp->monitor_count, memory_order_relaxed) > 0)
        tell_monitors(k, t);
    if (is_idle(t))
        exec_here(k);
    else if (!resp_begin_exec(k))
        k->out.failed = true;
    transaction_abandon(k->conn);
    return QUERN_OK;
}

/* All that `from` watches is watched by `t` too. */
static void take_watched(struct transaction *t, struct transaction *from)
{
    struct watched **end = &from->watched;

    while (*end != NULL)
        end = &(*end)->next;
    *end = t->watched;
    t->watched = GIVE(from->watched);
    t->watched_count += from->watched_count;
    t->bytes += from->bytes;
    from->watched_count = from->bytes = 0;
}

void transaction_take_watched(struct conn *c, struct transaction *from)
{
    take_watched(&c->resp->transaction, from);
    atomic_store_explicit(&c->resp->client.watches, true, memory_order_relaxed);
}

static enum quern_code note_key(struct call *k, struct transaction *t, struct quern_slice key)
{
    quern_seq seen = quern_visible_seq(k->server->db);
    enum quern_code code = call_get(k, key);
    struct watched *w;

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (key.len == 0 || key.len > QUERN_KEY_BYTES_MAX)
        return QUERN_OK; /* no key can be so: it will not change */
    w = alloc_bytes(sizeof(*w) + key.len);
    if (w == NULL)
        return err_memory(k->err, "a watched key");
    memcpy(w + 1, key.data, key.len);
    *w = (struct watched){t->watched, k->reads.database, code == QUERN_OK, k->value->seq,
                          seen,       {w + 1, key.len}};
    t->watched = w;
    t->watched_count++;
    t->bytes += sizeof(*w) + key.len;
    return QUERN_OK;
}

/* On the loop, where all keys can be read from memory; else aside. */
enum quern_code cmd_watch(struct call *k)
{
    const struct transaction *t = k->conn != NULL ? &k->conn->resp->transaction : k->noted;
    struct transaction noted = {.open = false};
    enum quern_code code = QUERN_OK;

    if (t->open)
        return call_error(k, "ERR WATCH inside MULTI is not allowed");
    if (t->watched_count > TRANSACTION_COUNT_MAX || t->bytes > TRANSACTION_BYTES_MAX)
        return call_error(k, "ERR too many keys are watched");
    if (k->conn != NULL && intake_is_too_much(k->conn))
        return call_error(k, too_much_arrives);
    for (size_t i = 1; i < k->argc && code == QUERN_OK; i++)
        code = note_key(k, &noted, k->args[i]);
    if (code != QUERN_OK) {
        unwatch(&noted);
        return code;
    }
    if (k->conn != NULL)
        transaction_take_watched(k->conn, &noted);
    else
        take_watched(k->noted, &noted);
    return call_ok(k);
}

enum quern_code cmd_unwatch(struct call *k)
{
    unwatch(&k->conn->resp->transaction);
    atomic_store_explicit(&k->conn->resp->client.watches, false, memory_order_relaxed);
    return call_ok(k);
}
