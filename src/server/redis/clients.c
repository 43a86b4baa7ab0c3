/* clients.c - commands about all connections: who is there, away with some, let them wait.
 *
 * Clients of other loops are listed from what they keep in struct client, under the lock that all
 * share. What is to happen to one is a mark in there and a signal to its loop; nothing else of theirs
 * is touched. A command that is paused stays unread, as one behind a write does. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLAGS_MAX 8

/* As in Redis: O monitors, x in a transaction, t and B track, e and T as they asked for; N: none. */
static void put_flags(struct client *client, char to[FLAGS_MAX + 1])
{
    int tracking = atomic_load_explicit(&client->tracking, memory_order_relaxed);
    const struct {
        bool is;
        char letter;
    } all[] = {
        {atomic_load_explicit(&client->monitors, memory_order_relaxed), 'O'},
        {atomic_load_explicit(&client->queued, memory_order_relaxed) >= 0, 'x'},
        {tracking != TRACKING_OFF, 't'},
        {tracking == TRACKING_ALL, 'B'},
        {atomic_load_explicit(&client->no_evict, memory_order_relaxed), 'e'},
        {atomic_load_explicit(&client->no_touch, memory_order_relaxed), 'T'},
    };
    size_t n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].is)
            to[n++] = all[i].letter;
    }
    if (n == 0)
        to[n++] = 'N';
    to[n] = '\0';
}

/* What a line about a client says, appended to `to`. */
static void describe_locked(struct call *k, struct client *client, struct resp_out *to)
{
    int64_t now = k->conn->loop->date_at;
    int64_t heard = atomic_load_explicit(&client->heard_at, memory_order_relaxed);
    const struct command *last = atomic_load_explicit(&client->last, memory_order_relaxed);
    int queued = atomic_load_explicit(&client->queued, memory_order_relaxed);
    char line[512], name[COMMAND_NAME_BYTES], flags[FLAGS_MAX + 1];
    int len;

    mutex_assert_held(&k->server->resp->mu);
    put_flags(client, flags);
    len = snprintf(line, sizeof(line), "id=%" PRIu64 " addr=%s laddr=%s name=", client->id,
                   client->peer, client->here);
    resp_put_raw(to, line, (size_t)len);
    resp_put_raw(to, client->name.data, client->name.len);
    len = snprintf(line, sizeof(line),
                   " age=%" PRId64 " idle=%" PRId64 " flags=%s db=%u sub=0 psub=0 multi=%d cmd=%s "
                   "user=%s resp=%d lib-name=",
                   now > client->since ? now - client->since : 0, now > heard ? now - heard : 0,
                   flags, atomic_load_explicit(&client->database, memory_order_relaxed), queued,
                   last != NULL ? command_full_name(last, name) : "NULL", client->user,
                   atomic_load_explicit(&client->proto, memory_order_relaxed));
    resp_put_raw(to, line, (size_t)len);
    resp_put_raw(to, client->lib_name.data, client->lib_name.len);
    resp_put_raw(to, " lib-ver=", 9);
    resp_put_raw(to, client->lib_version.data, client->lib_version.len);
}

void client_describe(struct call *k, struct resp_out *to)
{
    mutex_lock(&k->server->resp->mu);
    describe_locked(k, &k->conn->resp->client, to);
    mutex_unlock(&k->server->resp->mu);
}

static bool is_wanted(const struct call *k, uint64_t id, size_t from)
{
    int64_t wanted;

    for (size_t i = from; i < k->argc; i++) {
        if (resp_integer(k->args[i], &wanted) && (uint64_t)wanted == id)
            return true;
    }
    return from >= k->argc;
}

static enum quern_code reply_clients(struct call *k, const struct client *only, size_t ids_from)
{
    struct resp_shared *shared = k->server->resp;
    struct buf text OWNED_BUF = {0};
    struct resp_out to = {&text, 2, false};

    mutex_lock(&shared->mu);
    for (struct client *client = shared->clients; client != NULL; client = client->next) {
        if (only != NULL ? client != only : !is_wanted(k, client->id, ids_from))
            continue;
        describe_locked(k, client, &to);
        resp_put_raw(&to, "\n", 1);
    }
    mutex_unlock(&shared->mu);
    resp_put_verbatim(&k->out, buf_slice(&text));
    k->out.failed |= to.failed;
    return QUERN_OK;
}

enum quern_code cmd_client_info(struct call *k)
{
    return reply_clients(k, &k->conn->resp->client, k->argc);
}

/* The types of Redis' clients: here all are normal ones. False: replied that there is no such type. */
static bool read_type(struct call *k, size_t arg, bool *is_normal)
{
    static const char *const others[] = {"master", "replica", "slave", "pubsub"};

    *is_normal = call_arg_is(k, arg, "normal");
    if (*is_normal)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        if (call_arg_is(k, arg, others[i]))
            return true;
    }
    (void)call_about(k, "ERR Unknown client type '", k->args[arg], "'");
    return false;
}

enum quern_code cmd_client_list(struct call *k)
{
    bool is_normal;
    int64_t id;

    if (k->argc == 2)
        return reply_clients(k, NULL, k->argc);
    if (k->argc == 4 && call_arg_is(k, 2, "TYPE")) {
        if (!read_type(k, 3, &is_normal))
            return QUERN_OK;
        if (is_normal)
            return reply_clients(k, NULL, k->argc);
        resp_put_verbatim(&k->out, (struct quern_slice){"", 0});
        return QUERN_OK;
    }
    if (k->argc < 4 || !call_arg_is(k, 2, "ID"))
        return call_syntax_error(k);
    for (size_t i = 3; i < k->argc; i++) {
        if (!resp_integer(k->args[i], &id))
            return call_error(k, "ERR Invalid client ID");
    }
    return reply_clients(k, NULL, 3);
}

/* ------------------------------------------------------------------ CLIENT KILL -- */

struct victims {
    struct quern_slice peer, here; /* empty: any */
    struct quern_slice user;       /* empty: any */
    uint64_t id;                   /* 0: any */
    bool none, myself;
};

/* Is it the name of a user? False: replied that it is none. */
static bool is_user(struct call *k, size_t arg)
{
    const struct access *list = k->conn->loop->access;

    if (list != NULL ? access_named(list, k->args[arg]) != NULL
                     : k->args[arg].len == 7 && memcmp(k->args[arg].data, "default", 7) == 0)
        return true;
    (void)call_about(k, "ERR No such user '", k->args[arg], "'");
    return false;
}

static bool read_victims(struct call *k, struct victims *v)
{
    *v = (struct victims){.myself = k->argc == 3};
    if (k->argc == 3) {
        v->peer = k->args[2];
        return true;
    }
    for (size_t i = 2; i < k->argc; i += 2) {
        bool more = i + 1 < k->argc, is_normal;
        int64_t id;

        if (more && call_arg_is(k, i, "ID")) {
            if (!resp_integer(k->args[i + 1], &id) || id < 1) {
                (void)call_error(k, "ERR client-id should be greater than 0");
                return false;
            }
            v->id = (uint64_t)id;
        } else if (more && call_arg_is(k, i, "TYPE")) {
            if (!read_type(k, i + 1, &is_normal))
                return false;
            v->none |= !is_normal;
        } else if (more && call_arg_is(k, i, "ADDR")) {
            v->peer = k->args[i + 1];
        } else if (more && call_arg_is(k, i, "LADDR")) {
            v->here = k->args[i + 1];
        } else if (more && call_arg_is(k, i, "USER")) {
            if (!is_user(k, i + 1))
                return false;
            v->user = k->args[i + 1];
        } else if (more && call_arg_is(k, i, "SKIPME") &&
                   (call_arg_is(k, i + 1, "YES") || call_arg_is(k, i + 1, "NO"))) {
            v->myself = call_arg_is(k, i + 1, "NO");
        } else {
            (void)call_syntax_error(k);
            return false;
        }
    }
    return true;
}

static bool is_text(struct quern_slice wanted, const char *text)
{
    return wanted.len == strlen(text) && memcmp(wanted.data, text, wanted.len) == 0;
}

static bool is_victim(const struct call *k, const struct victims *v, const struct client *client)
{
    return !v->none && (v->peer.data == NULL || is_text(v->peer, client->peer)) &&
           (v->here.data == NULL || is_text(v->here, client->here)) &&
           (v->user.data == NULL || is_text(v->user, client->user)) &&
           (v->id == 0 || v->id == client->id) && (v->myself || client != &k->conn->resp->client);
}

/* A client of another loop is marked, and its loop cuts it. Whoever kills itself hears the reply. */
enum quern_code cmd_client_kill(struct call *k)
{
    struct resp_shared *shared = k->server->resp;
    struct victims v;
    int64_t n = 0;

    if (!read_victims(k, &v))
        return QUERN_OK;
    mutex_lock(&shared->mu);
    for (struct client *client = shared->clients; client != NULL; client = client->next) {
        if (!is_victim(k, &v, client) ||
            atomic_load_explicit(&client->killed, memory_order_relaxed))
            continue;
        n++;
        if (client == &k->conn->resp->client) {
            k->conn->last = true;
            continue;
        }
        atomic_store_explicit(&client->killed, true, memory_order_relaxed);
        loop_signal(client->loop, LOOP_CLIENTS);
    }
    mutex_unlock(&shared->mu);
    if (k->argc > 3)
        return call_int(k, n);
    return n > 0 ? call_ok(k) : call_error(k, "ERR No such client");
}

void resp_heed(struct conn *c)
{
    if (c->resp != NULL && atomic_load_explicit(&c->resp->client.killed, memory_order_relaxed))
        conn_cut(c);
}

bool client_is_there(struct resp_shared *shared, uint64_t id)
{
    bool found = false;

    mutex_lock(&shared->mu);
    for (struct client *client = shared->clients; client != NULL && !found; client = client->next)
        found = client->id == id;
    mutex_unlock(&shared->mu);
    return found;
}

/* ------------------------------------------------------------------ CLIENT PAUSE -- */

static uint64_t clock_ms(void)
{
    return uv_hrtime() / 1000000;
}

bool resp_is_paused(struct resp_shared *shared, bool is_write)
{
    uint64_t until = atomic_load_explicit(&shared->paused_until_ms, memory_order_relaxed);

    if (until == 0 ||
        (!is_write && !atomic_load_explicit(&shared->paused_all, memory_order_relaxed)))
        return false;
    return clock_ms() < until;
}

/* What was paused already stays so, and as long. */
enum quern_code cmd_client_pause(struct call *k)
{
    struct resp_shared *shared = k->server->resp;
    bool all = k->argc == 3 || call_arg_is(k, 3, "ALL");
    uint64_t until, now = clock_ms();
    int64_t ms;

    if (k->argc > 4)
        return call_sub_error(k);
    if (!all && !call_arg_is(k, 3, "WRITE"))
        return call_error(k, "ERR CLIENT PAUSE mode must be WRITE or ALL");
    if (!resp_integer(k->args[2], &ms))
        return call_error(k, "ERR timeout is not an integer or out of range");
    if (ms < 0)
        return call_error(k, "ERR timeout is negative");
    mutex_lock(&shared->mu);
    until = atomic_load_explicit(&shared->paused_until_ms, memory_order_relaxed);
    if (until > now)
        all |= atomic_load_explicit(&shared->paused_all, memory_order_relaxed);
    if (until < now + (uint64_t)ms)
        until = now + (uint64_t)ms;
    atomic_store_explicit(&shared->paused_all, all, memory_order_relaxed);
    atomic_store_explicit(&shared->paused_until_ms, until, memory_order_relaxed);
    mutex_unlock(&shared->mu);
    return call_ok(k);
}

enum quern_code cmd_client_unpause(struct call *k)
{
    struct resp_shared *shared = k->server->resp;

    mutex_lock(&shared->mu);
    atomic_store_explicit(&shared->paused_until_ms, 0, memory_order_relaxed);
    mutex_unlock(&shared->mu);
    for (unsigned i = 0; i < k->server->loop_count; i++)
        loop_signal(k->server->loops[i], LOOP_CLIENTS);
    return call_ok(k);
}
