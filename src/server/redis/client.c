/* client.c - commands about the connection itself: who it is, what it speaks, what it wants. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES_MAX 4096u
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

static void set_database(struct call *k, uint8_t database)
{
    k->conn->resp->database = database;
    atomic_store_explicit(&k->conn->resp->client.database, database, memory_order_relaxed);
}

enum quern_code cmd_select(struct call *k)
{
    uint8_t database;

    if (!call_database(k, 1, &database))
        return QUERN_OK;
    set_database(k, database);
    return call_ok(k);
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

/* Of a length that CLIENT LIST and ACL LOG may show of everybody. `what`: it is told of so. */
static bool text_is_well(struct call *k, struct quern_slice text, const char *what)
{
    if (text.len > NAME_BYTES_MAX)
        resp_put_error(&k->out, "ERR %s cannot be longer than %u bytes.", what, NAME_BYTES_MAX);
    else if (!is_plain(text))
        resp_put_error(&k->out, "ERR %s cannot contain spaces, newlines or special characters.",
                       what);
    else
        return true;
    return false;
}

static bool name_is_well(struct call *k, struct quern_slice name)
{
    return text_is_well(k, name, "Client names");
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
            return call_about(k, "ERR Syntax error in HELLO option '", k->args[i], "'");
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
    atomic_store_explicit(&rc->client.tracking, TRACKING_OFF, memory_order_relaxed);
    rc->reply = rc->reply_next = REPLY_ON;
    k->conn->user = NULL;
    client_note_user(k);
    monitor_end(k->conn);
    set_database(k, 0);
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
        return call_about(k, "ERR Unrecognized option '", k->args[2], "'");
    }
    if (!text_is_well(k, k->args[3], is_name ? "lib-name" : "lib-ver"))
        return QUERN_OK;
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

/* ------------------------------------------------------------------ CLIENT TRACKING -- */

struct tracking_options {
    bool broadcast, opt_in, opt_out, prefix;
};

static bool read_tracking(struct call *k, struct tracking_options *o)
{
    *o = (struct tracking_options){false, false, false, false};
    for (size_t i = 3; i < k->argc; i++) {
        int64_t id;

        if (call_arg_is(k, i, "BCAST")) {
            o->broadcast = true;
        } else if (call_arg_is(k, i, "OPTIN")) {
            o->opt_in = true;
        } else if (call_arg_is(k, i, "OPTOUT")) {
            o->opt_out = true;
        } else if (call_arg_is(k, i, "PREFIX") && i + 1 < k->argc) {
            o->prefix = true;
            i++;
        } else if (call_arg_is(k, i, "REDIRECT") && i + 1 < k->argc) {
            if (!call_integer(k, ++i, &id))
                return false;
            if (!client_is_there(k->server->resp, (uint64_t)id)) {
                (void)call_error(k, "ERR The client ID you want redirect to does not exist");
                return false;
            }
        } else if (!call_arg_is(k, i, "NOLOOP")) {
            (void)call_syntax_error(k);
            return false;
        }
    }
    return true;
}

/* Accepted, so that libraries that ask for it start; nothing is ever invalidated, and docs/resp.md says
 * so. */
enum quern_code cmd_client_tracking(struct call *k)
{
    _Atomic int *tracking = &k->conn->resp->client.tracking;
    int before = atomic_load_explicit(tracking, memory_order_relaxed);
    struct tracking_options o;

    if (!read_tracking(k, &o))
        return QUERN_OK;
    if (call_arg_is(k, 2, "OFF")) {
        atomic_store_explicit(tracking, TRACKING_OFF, memory_order_relaxed);
        return call_ok(k);
    }
    if (!call_arg_is(k, 2, "ON"))
        return call_syntax_error(k);
    if (o.prefix && !o.broadcast)
        return call_error(k, "ERR PREFIX option requires BCAST mode to be enabled");
    if (before != TRACKING_OFF && (before == TRACKING_ALL) != o.broadcast)
        return call_error(k, "ERR You can't switch BCAST mode on/off before disabling tracking for "
                             "this client, and then re-enabling it with a different mode.");
    if (o.broadcast && (o.opt_in || o.opt_out))
        return call_error(k, "ERR OPTIN and OPTOUT are not compatible with BCAST");
    if (o.opt_in && o.opt_out)
        return call_error(k, "ERR You can't specify both OPTIN mode and OPTOUT mode");
    atomic_store_explicit(tracking, o.broadcast ? TRACKING_ALL : TRACKING_READ,
                          memory_order_relaxed);
    return call_ok(k);
}
