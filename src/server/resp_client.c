/* resp_client.c - commands about the connection itself: who it is, what it speaks, who else is there.
 *
 * Clients of other loops are listed from what they keep in struct client, under the lock that all
 * share; nothing of theirs is touched. */
#include "server/resp_handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REDIS_VERSION "7.2.4" /* what clients decide by; valkey says the same */

/* ------------------------------------------------------------------ PING to SELECT -- */

enum quern_code cmd_ping(struct call *k)
{
    if (k->argc > 2)
        return call_wrong_arity(k);
    if (k->argc == 2)
        resp_put_bulk(&k->out, k->args[1]);
    else
        resp_put_simple(&k->out, "PONG");
    return QUERN_OK;
}

enum quern_code cmd_echo(struct call *k)
{
    resp_put_bulk(&k->out, k->args[1]);
    return QUERN_OK;
}

enum quern_code cmd_quit(struct call *k)
{
    k->conn->last = true;
    return call_ok(k);
}

enum quern_code cmd_select(struct call *k)
{
    int64_t db;

    if (!call_integer(k, 1, &db))
        return QUERN_OK;
    return db == 0 ? call_ok(k) : call_error(k, "ERR DB index is out of range");
}

/* ------------------------------------------------------------------ HELLO, RESET -- */

static bool is_plain(struct quern_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t letter = ((const uint8_t *)s.data)[i];

        if (letter < '!' || letter > '~')
            return false;
    }
    return true;
}

static enum quern_code set_text(struct call *k, struct buf *text, struct quern_slice to)
{
    enum quern_code code;

    mutex_lock(&k->server->resp->mu);
    code = buf_assign(text, to, k->err);
    mutex_unlock(&k->server->resp->mu);
    return code;
}

void client_note_user(struct call *k)
{
    struct client *client = &k->conn->resp->client;
    const struct access_user *user = k->conn->user;

    mutex_lock(&k->server->resp->mu);
    (void)snprintf(client->user, sizeof(client->user), "%s", user != NULL ? user->name : "default");
    mutex_unlock(&k->server->resp->mu);
}

static bool name_is_well(struct call *k, struct quern_slice name)
{
    if (is_plain(name))
        return true;
    (void)call_error(k, "ERR Client names cannot contain spaces, newlines or special characters.");
    return false;
}

static void set_proto(struct call *k, int proto)
{
    k->conn->resp->proto = proto;
    k->out.proto = proto;
    atomic_store_explicit(&k->conn->resp->client.proto, proto, memory_order_relaxed);
}

enum quern_code cmd_hello(struct call *k)
{
    struct client *client = &k->conn->resp->client;
    struct quern_slice name = {NULL, 0};
    bool named = false;
    int64_t proto = 0;

    if (k->argc >= 2) {
        if (!resp_integer(k->args[1], &proto))
            return call_error(k, "ERR Protocol version is not an integer or out of range");
        if (proto != 2 && proto != 3)
            return call_error(k, "NOPROTO unsupported protocol version");
    }
    for (size_t i = 2; i < k->argc; i++) {
        size_t left = k->argc - 1 - i;

        if (left >= 2 && call_arg_is(k, i, "AUTH")) {
            if (!auth_enter(k, k->args[i + 1], k->args[i + 2]))
                return QUERN_OK;
            i += 2;
        } else if (left >= 1 && call_arg_is(k, i, "SETNAME")) {
            name = k->args[++i];
            named = true;
            if (!name_is_well(k, name))
                return QUERN_OK;
        } else {
            resp_put_error(&k->out, "ERR Syntax error in HELLO option '%.*s'",
                           (int)(k->args[i].len < 128 ? k->args[i].len : 128),
                           (const char *)k->args[i].data);
            return QUERN_OK;
        }
    }
    if (guard_is_stranger(k->conn))
        return call_error(k, "NOAUTH HELLO must be called with the client already authenticated, "
                             "otherwise the HELLO AUTH <user> <pass> option can be used to "
                             "authenticate the client and select the RESP protocol version at the "
                             "same time");
    if (named && set_text(k, &client->name, name))
        return k->err->code;
    if (proto != 0)
        set_proto(k, (int)proto);
    resp_put_map(&k->out, 7);
    resp_put_text(&k->out, "server");
    resp_put_text(&k->out, "quern");
    resp_put_text(&k->out, "version");
    resp_put_text(&k->out, REDIS_VERSION);
    resp_put_text(&k->out, "proto");
    resp_put_int(&k->out, k->out.proto);
    resp_put_text(&k->out, "id");
    resp_put_int(&k->out, (int64_t)client->id);
    resp_put_text(&k->out, "mode");
    resp_put_text(&k->out, "standalone");
    resp_put_text(&k->out, "role");
    resp_put_text(&k->out, "master");
    resp_put_text(&k->out, "modules");
    resp_put_array(&k->out, 0);
    return QUERN_OK;
}

enum quern_code cmd_reset(struct call *k)
{
    struct resp_conn *rc = k->conn->resp;

    transaction_clear(&rc->transaction);
    atomic_store_explicit(&rc->client.queued, -1, memory_order_relaxed);
    atomic_store_explicit(&rc->client.watches, false, memory_order_relaxed);
    atomic_store_explicit(&rc->client.no_evict, false, memory_order_relaxed);
    atomic_store_explicit(&rc->client.no_touch, false, memory_order_relaxed);
    rc->reply = rc->reply_next = REPLY_ON;
    k->conn->user = NULL;
    client_note_user(k);
    set_proto(k, 2);
    if (set_text(k, &rc->client.name, (struct quern_slice){NULL, 0}))
        return k->err->code;
    resp_put_simple(&k->out, "RESET");
    return QUERN_OK;
}

/* ------------------------------------------------------------------ CLIENT -- */

enum quern_code cmd_client_id(struct call *k)
{
    return call_int(k, (int64_t)k->conn->resp->client.id);
}

enum quern_code cmd_client_getname(struct call *k)
{
    const struct buf *name = &k->conn->resp->client.name; /* its own loop alone changes it */

    if (name->len == 0)
        return call_null(k);
    resp_put_bulk(&k->out, buf_slice(name));
    return QUERN_OK;
}

enum quern_code cmd_client_setname(struct call *k)
{
    if (!name_is_well(k, k->args[2]))
        return QUERN_OK;
    if (set_text(k, &k->conn->resp->client.name, k->args[2]))
        return k->err->code;
    return call_ok(k);
}

enum quern_code cmd_client_setinfo(struct call *k)
{
    struct client *client = &k->conn->resp->client;
    bool is_name = call_arg_is(k, 2, "LIB-NAME");

    if (!is_name && !call_arg_is(k, 2, "LIB-VER")) {
        resp_put_error(&k->out, "ERR Unrecognized option '%.*s'",
                       (int)(k->args[2].len < 128 ? k->args[2].len : 128),
                       (const char *)k->args[2].data);
        return QUERN_OK;
    }
    if (!is_plain(k->args[3])) {
        resp_put_error(&k->out, "ERR %s cannot contain spaces, newlines or special characters.",
                       is_name ? "lib-name" : "lib-ver");
        return QUERN_OK;
    }
    if (set_text(k, is_name ? &client->lib_name : &client->lib_version, k->args[3]))
        return k->err->code;
    return call_ok(k);
}

enum quern_code cmd_client_reply(struct call *k)
{
    struct resp_conn *rc = k->conn->resp;

    if (call_arg_is(k, 2, "ON")) {
        rc->reply = REPLY_ON;
        return call_ok(k);
    }
    if (call_arg_is(k, 2, "OFF"))
        rc->reply = REPLY_OFF;
    else if (call_arg_is(k, 2, "SKIP"))
        rc->reply_next = rc->reply == REPLY_OFF ? REPLY_ON : REPLY_SKIP;
    else
        return call_syntax_error(k);
    return QUERN_OK;
}

static enum quern_code set_switch(struct call *k, _Atomic bool *to)
{
    if (!call_arg_is(k, 2, "ON") && !call_arg_is(k, 2, "OFF"))
        return call_syntax_error(k);
    atomic_store_explicit(to, call_arg_is(k, 2, "ON"), memory_order_relaxed);
    return call_ok(k);
}

enum quern_code cmd_client_no_evict(struct call *k)
{
    return set_switch(k, &k->conn->resp->client.no_evict);
}

enum quern_code cmd_client_no_touch(struct call *k)
{
    return set_switch(k, &k->conn->resp->client.no_touch);
}

/* One line about a client, appended to `to`. */
static void describe_locked(struct call *k, struct client *client, struct resp_out *to)
{
    int64_t now = k->conn->loop->date_at;
    int64_t heard = atomic_load_explicit(&client->heard_at, memory_order_relaxed);
    const struct command *last = atomic_load_explicit(&client->last, memory_order_relaxed);
    int queued = atomic_load_explicit(&client->queued, memory_order_relaxed);
    char line[512], name[COMMAND_NAME_BYTES], flags[8];
    size_t n = 0;
    int len;

    mutex_assert_held(&k->server->resp->mu);
    if (queued >= 0)
        flags[n++] = 'x';
    if (atomic_load_explicit(&client->no_evict, memory_order_relaxed))
        flags[n++] = 'e';
    if (atomic_load_explicit(&client->no_touch, memory_order_relaxed))
        flags[n++] = 'T';
    if (n == 0)
        flags[n++] = 'N';
    flags[n] = '\0';
    len = snprintf(line, sizeof(line), "id=%" PRIu64 " addr=%s laddr=%s name=", client->id,
                   client->peer, client->here);
    resp_put_raw(to, line, (size_t)len);
    resp_put_raw(to, client->name.data, client->name.len);
    len = snprintf(line, sizeof(line),
                   " age=%" PRId64 " idle=%" PRId64 " flags=%s db=0 sub=0 psub=0 multi=%d cmd=%s "
                   "user=%s resp=%d lib-name=",
                   now > client->since ? now - client->since : 0, now > heard ? now - heard : 0,
                   flags, queued, last != NULL ? command_full_name(last, name) : "NULL",
                   client->user, atomic_load_explicit(&client->proto, memory_order_relaxed));
    resp_put_raw(to, line, (size_t)len);
    resp_put_raw(to, client->lib_name.data, client->lib_name.len);
    resp_put_raw(to, " lib-ver=", 9);
    resp_put_raw(to, client->lib_version.data, client->lib_version.len);
    resp_put_raw(to, "\n", 1);
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
        if (only != NULL ? client == only : is_wanted(k, client->id, ids_from))
            describe_locked(k, client, &to);
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

enum quern_code cmd_client_list(struct call *k)
{
    static const char *const others[] = {"master", "replica", "slave", "pubsub"};
    int64_t id;

    if (k->argc == 2)
        return reply_clients(k, NULL, k->argc);
    if (k->argc == 4 && call_arg_is(k, 2, "TYPE")) {
        if (call_arg_is(k, 3, "normal"))
            return reply_clients(k, NULL, k->argc);
        for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
            if (call_arg_is(k, 3, others[i])) {
                resp_put_verbatim(&k->out, (struct quern_slice){"", 0});
                return QUERN_OK;
            }
        }
        resp_put_error(&k->out, "ERR Unknown client type '%.*s'",
                       (int)(k->args[3].len < 128 ? k->args[3].len : 128),
                       (const char *)k->args[3].data);
        return QUERN_OK;
    }
    if (k->argc < 4 || !call_arg_is(k, 2, "ID"))
        return call_syntax_error(k);
    for (size_t i = 3; i < k->argc; i++) {
        if (!resp_integer(k->args[i], &id) || id < 1)
            return call_error(k, "ERR Invalid client ID");
    }
    return reply_clients(k, NULL, 3);
}
