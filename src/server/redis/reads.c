/* reads.c - see redis/reads.h.
 *
 *     GET a, GET b, MGET c d      with what other connections ask for: one batched get
 *     each handler runs, and call_get() finds its values fetched
 *
 * The arguments of a typed line stand where the next line would overwrite them: such a command runs
 * alone. Where something is not told, the connection is put back to where that command begins, and
 * what it sent behind it is parsed once more. */
#include "server/redis/reads.h"

#include "server/conn.h"
#include "server/loop.h"
#include "server/reads.h"
#include "server/redis/redis.h"

#include "base/error.h"

#define KEYS_EACH_MAX 64u

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

unsigned read_suits(const struct call *k)
{
    const struct conn *c = k->conn;
    const struct resp_conn *rc = c->resp;
    unsigned n;

    if (k->command->where != READ || c->ops != NULL || rc->alone || rc->request.is_inline ||
        rc->reply != REPLY_ON || rc->monitor != NULL ||
        (conn_arrived(c) == rc->request.bytes && !reads_have_company(c)))
        return 0;
    n = keys_of(k);
    return n > 0 && reads_have_room(c->loop, k->reads.database, k->argc, n) ? n : 0;
}

static void put_back(const struct read *read)
{
    struct conn *c = read->conn;
    struct resp_conn *rc = c->resp;

    if (!rc->put_back) {
        c->in_at = read->resp.in_at;
        resp_request_next(&rc->request);
        rc->parsed = rc->more = false;
        rc->alone = rc->put_back = true;
    }
    atomic_fetch_sub_explicit(&c->loop->server->resp->counters.commands, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->loop->server->counters.requests, 1, memory_order_relaxed);
}

static void answer(struct read *read, const struct found *found)
{
    struct conn *c = read->conn;
    size_t mark = c->out.len;
    struct quern_error err;
    struct call k = {.server = c->loop->server,
                     .conn = c,
                     .command = read->resp.command,
                     .args = read->args,
                     .argc = read->argc,
                     .out = {&c->out, c->resp->proto, false},
                     .value = &c->loop->value,
                     .fetched = found,
                     .err = &err};
    enum quern_code code;

    if (c->resp->put_back || !found_all(found)) {
        put_back(read);
        return;
    }
    err_clear(&err);
    code = k.command->run(&k);
    if (code != QUERN_OK)
        reply_failure(&k.out, code, &err);
    if (k.out.failed)
        conn_cut(c);
    c->resp->answered = k.args;
    c->resp->answered_count = k.argc;
    resp_count(c, &read->resp.asked, mark, code != QUERN_OK ? OUTCOME_FAILED : OUTCOME_OK);
    c->resp->answered = NULL;
}

void read_later(struct call *k, unsigned n)
{
    struct conn *c = k->conn;
    struct read *read =
        reads_take(c, k->reads.database, k->args, k->argc, (size_t)k->command->first_key, n);

    read->answer = answer;
    read->resp.command = k->command;
    read->resp.in_at = c->in_at;
    read->resp.asked = c->resp->asked;
    k->later = true;
}
