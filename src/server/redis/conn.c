/* conn.c - from the bytes of a request to its reply, in order.
 *
 *     request --> row of the table --unknown, wrong arity, bad key--> error
 *                      |
 *                      +--MULTI is open--> queued until EXEC
 *                      +--HERE, READ-----> runs on this loop, replies at once
 *                      '--UPDATE---------> write_op --> update, on whoever leads the commit
 *                                                  --> resp_completed(): its reply leaves
 *
 * Writes may follow one another while the store has them, so a pipeline of INCR is one commit
 * group; any other command waits until those before it have completed, and so sees what they wrote.
 * Replies leave in the order of the requests, gathered into one write per turn of the loop.
 *
 * What a person's browser or script sends by mistake, an HTTP request, is told so and closed: a
 * line of its body must never be taken for a command. */
#include "server/redis/handlers.h"

#include "server/conn.h"
#include "server/reads.h"
#include "server/redis/reads.h"
#include "server/observe/observe.h"
#include "server/observe/say.h"
#include "server/intake.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define REQUEST_BYTES_MIN (UINT64_C(128) << 20)
#define SAY_AGAIN_MS 60000u

/* ------------------------------------------------------------------ open and close -- */

static void enter(struct resp_shared *shared, struct client *client)
{
    mutex_lock(&shared->mu);
    client->id = ++shared->last_id;
    client->prev = shared->last_client;
    if (client->prev != NULL)
        client->prev->next = client;
    else
        shared->clients = client;
    shared->last_client = client;
    shared->client_count++;
    mutex_unlock(&shared->mu);
    count(&shared->counters.connections, 1);
}

bool resp_open(struct conn *c)
{
    struct sockaddr_storage address;
    struct resp_conn *rc = NEW(struct resp_conn);
    int len = sizeof(address);

    if (rc == NULL)
        return false;
    rc->proto = 2;
    rc->transaction.last = &rc->transaction.first;
    rc->client.loop = c->loop;
    rc->client.queued = -1;
    rc->client.proto = 2;
    (void)strcpy(rc->client.user, "default");
    rc->client.since = c->loop->date_at;
    rc->client.heard_at = c->loop->date_at;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &len) == 0)
        address_name((struct sockaddr *)&address, rc->client.peer, sizeof(rc->client.peer));
    len = sizeof(address);
    if (uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&address, &len) == 0)
        address_name((struct sockaddr *)&address, rc->client.here, sizeof(rc->client.here));
    c->resp = rc;
    enter(c->loop->server->resp, &rc->client);
    return true;
}

static void unpause(struct conn *c)
{
    if (c->resp->paused)
        atomic_fetch_sub(&c->loop->server->resp->paused_count, 1);
    c->resp->paused = false;
}

void resp_closed(struct conn *c)
{
    struct resp_shared *shared = c->loop->server->resp;
    struct client *client = &c->resp->client;

    monitor_end(c);
    unpause(c);
    mutex_lock(&shared->mu);
    if (client->prev != NULL)
        client->prev->next = client->next;
    else
        shared->clients = client->next;
    if (client->next != NULL)
        client->next->prev = client->prev;
    else
        shared->last_client = client->prev;
    shared->client_count--;
    mutex_unlock(&shared->mu);
}

void resp_done(struct conn *c)
{
    struct resp_conn *rc = c->resp;

    if (rc == NULL)
        return;
    c->resp = NULL;
    resp_request_done(&rc->request);
    transaction_clear(&rc->transaction);
    buf_done(&rc->client.name);
    buf_done(&rc->client.lib_name);
    buf_done(&rc->client.lib_version);
    alloc_free(rc);
}

/* ------------------------------------------------------------------ a request -- */

/* HTTP on this port: an answer that a browser shows, or nothing at all. */
static bool is_http(const struct resp_request *r)
{
    return r->is_inline &&
           (resp_same_word(r->args[0], "POST") || resp_same_word(r->args[0], "Host:") ||
            (r->count == 3 && r->args[2].len > 5 && memcmp(r->args[2].data, "HTTP/", 5) == 0));
}

static void answer_http(struct conn *c)
{
    static _Atomic uint64_t said_at;
    struct server *server = c->loop->server;
    struct resp_out out = {&c->out, 2, false};
    uint64_t now = c->loop->clock_ms, before = atomic_load(&said_at);
    char body[96], head[256];
    int len, head_len;

    if ((before == 0 || now - before > SAY_AGAIN_MS) &&
        atomic_compare_exchange_strong(&said_at, &before, now + 1))
        say_event(SAY_WARNING, "wrong door",
                  "%s speaks HTTP on the Redis protocol's port; the connection is closed",
                  c->resp->client.peer);
    c->last = true;
    if (c->resp->request.count != 3)
        return; /* a line of a request, not its first: nobody reads an answer */
    len =
        snprintf(body, sizeof(body), "error: this is quern's Redis protocol port; HTTP is at :%u\n",
                 server->http_port);
    head_len = snprintf(head, sizeof(head),
                        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                        "Connection: close\r\nContent-Length: %d\r\n\r\n",
                        len);
    resp_put_raw(&out, head, (size_t)head_len);
    resp_put_raw(&out, body, (size_t)len);
}

static bool keys_fit(const struct call *k)
{
    size_t last = command_last_key(k->command, k->argc);

    for (size_t i = (size_t)k->command->first_key; last > 0 && i <= last;
         i += (size_t)k->command->key_step) {
        if (k->args[i].len == 0 || k->args[i].len > QUERN_KEY_BYTES_MAX)
            return false;
    }
    return true;
}

static bool values_fit(const struct call *k)
{
    for (size_t i = 1; i < k->argc; i++) {
        if (k->args[i].len > k->server->options->value_bytes_max &&
            k->args[i].len > QUERN_KEY_BYTES_MAX)
            return false;
    }
    return true;
}

static bool is_well(const struct call *k)
{
    return k->command != NULL && command_arity_fits(k->command, k->argc) &&
           (!(k->command->flags & CMD_WRITE) || (keys_fit(k) && values_fit(k)));
}

static void say_unknown(struct call *k, bool unknown_sub)
{
    char args[160];
    size_t at = 0;

    if (unknown_sub) {
        char name[COMMAND_NAME_BYTES];

        resp_put_error(&k->out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                       (int)(k->args[1].len < 128 ? k->args[1].len : 128),
                       (const char *)k->args[1].data, upper_case(k->args[0], name));
        return;
    }
    args[0] = '\0';
    for (size_t i = 1; i < k->argc && at < 128; i++) {
        size_t len = k->args[i].len < 128 - at ? k->args[i].len : 128 - at;

        at += (size_t)snprintf(args + at, sizeof(args) - at, "'%.*s' ", (int)len,
                               (const char *)k->args[i].data);
    }
    resp_put_error(&k->out, "ERR unknown command '%.*s', with args beginning with: %s",
                   (int)(k->args[0].len < 128 ? k->args[0].len : 128),
                   (const char *)k->args[0].data, args);
}

static void say_refused(struct call *k, bool unknown_sub)
{
    k->conn->resp->transaction.refused = true;
    count(&k->server->resp->counters.errors, 1);
    if (k->command == NULL)
        say_unknown(k, unknown_sub);
    else if (k->command->run == cmd_exec) {
        transaction_abandon(k->conn);
        (void)call_error(k, "EXECABORT Transaction discarded because of: wrong number of arguments "
                            "for 'exec' command");
    } else if (!command_arity_fits(k->command, k->argc))
        (void)call_wrong_arity(k);
    else if (!keys_fit(k))
        (void)call_error(k, "ERR a key of this server has 1 to 65536 bytes");
    else
        (void)call_error(k, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
}

/* What a request is counted as. One that waits for EXEC is part of that. */
static unsigned kind_of(const struct call *k, bool well)
{
    if (k->command == NULL)
        return measure_kind_of_command(command_numbers());
    if (well && k->conn->resp->transaction.open && !(k->command->flags & CMD_AT_ONCE))
        return KIND_NONE;
    return measure_kind_of_command(command_number(k->command));
}

/* One that is most often answered at once. */
static bool is_quick_walk(const struct command *command)
{
    return command->where == WALK && (command->flags & CMD_FAST) != 0;
}

static void run_here(struct call *k)
{
    size_t mark = k->out.to->len;
    enum quern_code code;

    /* What MONITOR tells may come between a head and its value, if that is not copied. */
    k->may_hand_over = k->conn->resp->reply == REPLY_ON && k->conn->resp->monitor == NULL;
    k->reads.cached = command_reads_here(k->command) || is_quick_walk(k->command);
    err_clear(k->err);
    code = k->command->run(k);
    if (code == QUERN_BUSY && k->reads.cached) {
        k->out.to->len = mark;
        resp_begin_aside(k);
        return;
    }
    if (code != QUERN_OK)
        reply_failure(&k->out, code, k->err);
    k->failed = code != QUERN_OK;
}

static void note_heard(struct call *k)
{
    struct client *client = &k->conn->resp->client;

    atomic_store_explicit(&client->heard_at, k->conn->loop->date_at, memory_order_relaxed);
    if (k->command != NULL)
        atomic_store_explicit(&client->last, k->command, memory_order_relaxed);
    count(&k->server->resp->counters.commands, 1);
    count(&k->server->counters.requests, 1);
}

/* A transaction writes if any of its commands does. CLIENT is never paused: UNPAUSE must get
 * through. */
static bool must_wait_for_pause(const struct call *k)
{
    bool is_write = k->command->flags & CMD_WRITE;

    if (k->command->parent != NULL && strcmp(k->command->parent, "client") == 0)
        return false;
    for (const struct queued *q = k->conn->resp->transaction.first;
         q != NULL && !is_write && k->command->run == cmd_exec; q = q->next)
        is_write = q->command->flags & CMD_WRITE;
    return resp_is_paused(k->server->resp, is_write);
}

/* Is the request at hand to stay where it is until the pause is over? */
static bool waits_for_pause(struct call *k)
{
    struct resp_conn *rc = k->conn->resp;

    if (atomic_load_explicit(&k->server->resp->paused_until_ms, memory_order_relaxed) == 0 ||
        !must_wait_for_pause(k)) {
        unpause(k->conn);
        return false;
    }
    if (!rc->paused)
        atomic_fetch_add(&k->server->resp->paused_count, 1);
    rc->paused = true;
    return true;
}

void resp_tick(struct conn *c)
{
    if (c->resp->paused)
        loop_mark(c->loop, c);
}

void resp_count(struct conn *c, const struct asked *asked, size_t mark, enum outcome outcome)
{
    struct measure *m = &c->loop->measure;
    const uint8_t *reply = c->out.data + mark;
    struct quern_slice word = {NULL, 0};

    if (c->out.len > mark && *reply == '-') {
        size_t len = 1;

        while (mark + len < c->out.len && reply[len] > ' ')
            len++;
        word = (struct quern_slice){reply + 1, len - 1};
        measure_error(m, word);
        if (outcome == OUTCOME_OK)
            outcome = OUTCOME_REFUSED;
    }
    measure_done(m, asked, outcome);
    if (UNLIKELY(observe_wants(c->loop, asked)))
        observe_resp(c, asked, outcome, word, c->out.len - mark + c->big.len + c->big_tail);
}

/* The request is done with; what it replied may be not wanted. */
static void end_request(struct conn *c, size_t mark, bool later)
{
    struct resp_conn *rc = c->resp;

    if (rc->reply != REPLY_ON && !later)
        c->out.len = mark;
    if (rc->reply == REPLY_SKIP)
        rc->reply = REPLY_ON;
    if (rc->reply_next == REPLY_SKIP)
        rc->reply = REPLY_SKIP;
    rc->reply_next = REPLY_ON;
    rc->alone = false;
    c->in_at += rc->request.bytes;
    resp_request_next(&rc->request);
    rc->parsed = false;
}

/* While others are under way: writes follow writes, and reads that wait for the disk follow such
 * reads. Anything else would overtake, or see too little; behind WATCH, and a transaction that walks,
 * it would see too much; behind one that selects a database it would be in the one before. */
static bool may_join(const struct conn *c, const struct call *k, bool is_write, bool is_aside)
{
    bool with_reads = c->ops->is_read;

    if (c->ops->alone || !conn_may_add(c, c->resp->request.bytes))
        return false;
    return with_reads ? is_aside && k->command->where == READ : is_write && c->asides == 0;
}

/* Most clients send the command that they sent before: it is not looked for again. NULL: another. */
static const struct command *command_again(const struct resp_conn *rc, struct quern_slice name)
{
    const struct command *last = atomic_load_explicit(&rc->client.last, memory_order_relaxed);

    return last != NULL && last->parent == NULL && last->subs == NULL &&
                   resp_same_word(name, last->name)
               ? last
               : NULL;
}

static bool carry_out(struct conn *c)
{
    struct resp_conn *rc = c->resp;
    struct quern_error err;
    struct call k = {.server = c->loop->server,
                     .conn = c,
                     .reads.database = rc->database,
                     .args = rc->request.args,
                     .argc = rc->request.count,
                     .out = {&c->out, rc->proto, false},
                     .value = &c->loop->value,
                     .many = c->loop->many,
                     .err = &err};
    bool draining = atomic_load_explicit(&k.server->draining, memory_order_relaxed);
    bool unknown_sub = false, http, well, refused = false, is_write, is_aside;
    unsigned batched; /* how many keys it reads in a batch of reads; 0: it takes no part */
    size_t mark = c->out.len;

    if (k.argc == 0) {
        end_request(c, mark, true);
        return true;
    }
    k.command = command_again(rc, k.args[0]);
    if (k.command == NULL)
        k.command = command_find(k.args, k.argc, &unknown_sub);
    http = is_http(&rc->request);
    well = !http && is_well(&k);
    is_write = well && !draining && k.command->where == UPDATE && !rc->transaction.open;
    is_aside = well && !draining && !rc->transaction.open &&
               (k.command->where == WALK ||
                (k.command->where == READ && (c->asides > 0 || k.command->flags & CMD_LABOUR)));
    rc->put_back = false;
    batched = well && !draining && !rc->transaction.open && !is_aside ? read_suits(&k) : 0;
    if (c->gathered > 0 && (batched == 0 || c->loop->access != NULL)) {
        reads_run(c->loop); /* nothing overtakes them */
        if (rc->put_back)
            return true;
        mark = c->out.len;
    }
    if (UNLIKELY(c->loop->access != NULL) && well && !draining)
        refused = !guard_command(&k); /* before anything is read for it */
    if (c->ops != NULL && (refused || !may_join(c, &k, is_write, is_aside))) {
        c->out.len = mark; /* why it is refused is said in its turn */
        return false;
    }
    if (well && !refused && !draining && waits_for_pause(&k))
        return false;
    note_heard(&k);
    measure_begin(&c->loop->measure, &rc->asked, &c->heard, conn_arrived(c) - rc->request.bytes,
                  kind_of(&k, well), rc->request.bytes);
    if (http) {
        answer_http(c);
    } else if (draining) {
        (void)call_error(&k, "ERR the server is shutting down");
        c->last = true;
    } else if (!well) {
        say_refused(&k, unknown_sub);
    } else if (refused) {
        rc->transaction.refused = true;
        well = false;
        count(&k.server->resp->counters.errors, 1);
    } else if (rc->transaction.open && !(k.command->flags & CMD_AT_ONCE)) {
        (void)transaction_add(&k);
    } else {
        if (atomic_load_explicit(&k.server->resp->monitor_count, memory_order_relaxed) > 0)
            monitors_tell(&k);
        if (is_write)
            resp_begin_write(&k);
        else if (is_aside && !is_quick_walk(k.command))
            resp_begin_aside(&k);
        else if (batched > 0)
            read_later(&k, batched);
        else
            run_here(&k);
    }
    if (k.out.failed)
        conn_cut(c);
    if (!k.later)
        resp_count(c, &rc->asked, mark,
                   !well || draining ? OUTCOME_REJECTED
                   : k.failed        ? OUTCOME_FAILED
                                     : OUTCOME_OK);
    end_request(c, mark, k.later);
    return true;
}

bool resp_waits_for_more(const struct conn *c)
{
    return c->resp->more && !c->resp->parsed;
}

/* Answer what cannot be read with an error, and end; false: not yet. */
static bool refuse(struct conn *c, const char *words)
{
    struct resp_conn *rc = c->resp;
    struct resp_out out = {&c->out, rc->proto, false};
    size_t mark = c->out.len;

    if (c->gathered > 0) { /* what came before it is answered before it */
        reads_run(c->loop);
        return true;
    }
    if (c->ops != NULL)
        return false;
    measure_begin(&c->loop->measure, &rc->asked, &c->heard, 0,
                  measure_kind_of_command(command_numbers()), conn_arrived(c));
    resp_put_error(&out, "%s", words);
    rc->request.count = 0; /* what stands in it was not placed: nobody may look */
    resp_count(c, &rc->asked, mark, OUTCOME_REJECTED);
    c->last = true;
    return true;
}

static bool refuse_bytes(struct conn *c)
{
    char bad[160];

    (void)snprintf(bad, sizeof(bad), "ERR %s", c->resp->request.bad);
    return refuse(c, bad);
}

static struct resp_limits limits_of(struct conn *c)
{
    uint64_t value_max = c->loop->server->options->value_bytes_max, all = 2 * value_max;

    return (struct resp_limits){value_max > QUERN_KEY_BYTES_MAX ? value_max : QUERN_KEY_BYTES_MAX,
                                all > REQUEST_BYTES_MIN ? all : REQUEST_BYTES_MIN,
                                c->loop->access != NULL && guard_is_stranger(c)};
}

bool resp_step(struct conn *c)
{
    struct resp_conn *rc = c->resp;
    struct resp_limits limits;

    if (rc->parsed) {
        resp_request_place(&rc->request, conn_request_bytes(c));
        return carry_out(c);
    }
    rc->more = false;
    limits = limits_of(c);
    switch (resp_request_read(&rc->request, &limits, conn_request_bytes(c), conn_arrived(c))) {
    case RESP_DONE:
        rc->parsed = true;
        return carry_out(c);
    case RESP_MORE:
        if (intake_is_too_much(c))
            return refuse(c, "TRYAGAIN too much is arriving already, retry in 1000 ms");
        rc->more = true;
        return false;
    case RESP_NO_MEMORY:
        conn_cut(c);
        return false;
    default:
        return refuse_bytes(c);
    }
}
