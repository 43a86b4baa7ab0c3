/* reads.c - see redis/reads.h.
 *
 *     GET a | GET b, GET c | MGET d e | EXISTS f       what four connections sent, in one turn
 *          a b c d e f  --> one quern_multi_get(), in memory alone: the cache misses overlap
 *     each handler runs, and call_get() finds its values fetched
 *
 * Arguments are not copied: nothing is read from a socket before the batch has run. Those of a typed
 * line stand elsewhere, and the next line would overwrite them: such a command runs alone. What is not
 * in memory, and what is longer than VALUE_BYTES_MAX, is BUSY: then the connection is put back to
 * where that command begins, and what it sent behind it is parsed once more. */
#include "server/redis/reads.h"

#include "server/conn.h"
#include "server/loop.h"
#include "server/redis/redis.h"

#include "base/alloc.h"
#include "base/error.h"

#define READS_MAX 256u
#define KEYS_MAX 256u
#define KEYS_EACH_MAX 64u
#define ARGS_MAX 1024u
#define VALUE_BYTES_MAX 4096u /* what values keep as their memory, times KEYS_MAX */

struct read {
    struct conn *conn;
    const struct command *command;
    size_t in_at; /* where it begins in its connection's input */
    struct asked asked;
    unsigned first_arg, argc, first_key, key_count;
};

struct reads {
    unsigned count, arg_count, key_count;
    uint8_t database; /* of all of them: what is for another one runs alone */
    struct read each[READS_MAX];
    struct quern_slice args[ARGS_MAX], keys[KEYS_MAX];
    struct quern_value values[KEYS_MAX];
    enum quern_code codes[KEYS_MAX];
};

struct reads *reads_new(void)
{
    return NEW(struct reads);
}

void reads_free(struct reads *reads)
{
    if (reads == NULL)
        return;
    for (unsigned i = 0; i < KEYS_MAX; i++)
        quern_value_done(&reads->values[i]);
    alloc_free(reads);
}

/* How many keys; 0: it is not for the batch. */
static unsigned keys_of(const struct call *k)
{
    size_t last = command_last_key(k->command, k->argc), first = (size_t)k->command->first_key;

    if (last == 0 || k->command->key_step != 1 || last - first >= KEYS_EACH_MAX ||
        k->argc > KEYS_EACH_MAX + 1)
        return 0;
    for (size_t i = first; i <= last; i++) {
        if (k->args[i].len == 0 || k->args[i].len > QUERN_KEY_BYTES_MAX)
            return 0;
    }
    return (unsigned)(last - first + 1);
}

unsigned reads_suit(const struct call *k)
{
    const struct resp_conn *rc = k->conn->resp;
    const struct reads *r = k->conn->loop->reads;
    unsigned n;

    if (k->command->where != READ || k->conn->ops != NULL || rc->alone || rc->request.is_inline ||
        rc->reply != REPLY_ON || rc->monitor != NULL)
        return 0;
    n = keys_of(k);
    return (r->count == 0 || r->database == k->reads.database) && r->count < READS_MAX &&
                   r->key_count + n <= KEYS_MAX && r->arg_count + k->argc <= ARGS_MAX
               ? n
               : 0;
}

void reads_take(struct call *k, unsigned n)
{
    struct conn *c = k->conn;
    struct reads *r = c->loop->reads;

    r->database = k->reads.database;
    r->each[r->count++] = (struct read){.conn = c,
                                        .command = k->command,
                                        .in_at = c->in_at,
                                        .asked = c->resp->asked,
                                        .first_arg = r->arg_count,
                                        .argc = (unsigned)k->argc,
                                        .first_key = r->key_count,
                                        .key_count = n};
    memcpy(&r->args[r->arg_count], k->args, k->argc * sizeof(*k->args));
    memcpy(&r->keys[r->key_count], &k->args[k->command->first_key], n * sizeof(*k->args));
    r->arg_count += (unsigned)k->argc;
    r->key_count += n;
    c->gathered++;
    k->later = true;
}

static void answer(struct reads *r, const struct read *read)
{
    struct conn *c = read->conn;
    size_t mark = c->out.len;
    struct quern_error err;
    struct call k = {.server = c->loop->server,
                     .conn = c,
                     .command = read->command,
                     .args = &r->args[read->first_arg],
                     .argc = read->argc,
                     .out = {&c->out, c->resp->proto, false},
                     .value = &c->loop->value,
                     .fetched = {&r->keys[read->first_key], &r->values[read->first_key],
                                 &r->codes[read->first_key], read->key_count},
                     .err = &err};
    enum quern_code code;

    err_clear(&err);
    code = k.command->run(&k);
    if (code != QUERN_OK)
        reply_failure(&k.out, code, &err);
    if (k.out.failed)
        conn_cut(c);
    if (c->loop->measure.handed_count == HANDED_MAX)
        measure_handed(&c->loop->measure);
    c->resp->answered = k.args;
    c->resp->answered_count = k.argc;
    resp_count(c, &read->asked, mark, code != QUERN_OK ? OUTCOME_FAILED : OUTCOME_OK);
    c->resp->answered = NULL;
}

/* Failures of single keys are rare: whoever meets one asks alone, and hears the story. */
static bool is_told(const struct reads *r, const struct read *read)
{
    for (unsigned i = read->first_key; i < read->first_key + read->key_count; i++) {
        if (r->codes[i] != QUERN_OK && r->codes[i] != QUERN_NOT_FOUND)
            return false;
    }
    return true;
}

static void put_back(const struct read *read)
{
    struct conn *c = read->conn;
    struct resp_conn *rc = c->resp;

    if (!rc->put_back) {
        c->in_at = read->in_at;
        resp_request_next(&rc->request);
        rc->parsed = rc->more = false;
        rc->alone = rc->put_back = true;
    }
    atomic_fetch_sub_explicit(&c->loop->server->resp->counters.commands, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->loop->server->counters.requests, 1, memory_order_relaxed);
}

void reads_run(struct loop *loop)
{
    struct reads *r = loop->reads;
    struct quern_read_opts opts = {
        .cached = true, .bytes_max = VALUE_BYTES_MAX, .database = r->database};
    struct quern_error ignored;

    if (r->count == 0)
        return;
    for (unsigned i = 0; i < r->key_count; i++)
        r->codes[i] = QUERN_BUSY; /* should the call fail as a whole */
    IGNORE(quern_multi_get(loop->server->db, r->keys, r->key_count, &opts, r->values, r->codes,
                           &ignored));
    for (unsigned i = 0; i < r->count; i++) {
        const struct read *read = &r->each[i];

        read->conn->gathered--;
        if (read->conn->closing)
            continue;
        if (!read->conn->resp->put_back && is_told(r, read))
            answer(r, read);
        else
            put_back(read);
    }
    r->count = r->arg_count = r->key_count = 0;
}
