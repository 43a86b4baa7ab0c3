/* guard.c - what a command of the Redis protocol may do, by the token its connection has shown.
 *
 *     scope read    commands that read keys, and what tells of the server
 *     scope write   SET, MSET, DEL and such, that tell nothing of what was there; other writes (GETSET,
 *                   INCR ...) need both
 *     scope admin   what Redis calls admin, and what concerns all databases
 *     prefixes      every key among the arguments; of the commands that walk over keys without naming
 *                   them KEYS and SCAN with a pattern that begins with an allowed prefix, QUERN.RANGE,
 *                   COUNT and DELRANGE within one, and no other */
#include "server/guard.h"

#include "server/conn.h"
#include "server/redis/redis.h"

#include "base/error.h"

static bool same(struct quern_slice a, struct quern_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The list has changed since the connection showed its token: is it still good? What it queued was
 * allowed by another list. */
static void look_again(struct conn *c)
{
    const struct access_user *before = c->user, *now = NULL;
    struct access *list = access_ref(c->loop->access);

    if (before != NULL)
        now = access_named(list, QUERN_STR(before->name));
    if (now != NULL && memcmp(now->hash, before->hash, sizeof(now->hash)) != 0)
        now = NULL;
    access_unref(c->access);
    c->access = list;
    c->user = now;
    if (c->resp->transaction.open)
        c->resp->transaction.refused = true;
}

bool guard_is_stranger(struct conn *c)
{
    if (LIKELY(c->loop->access == NULL))
        return false;
    if (c->access != c->loop->access)
        look_again(c);
    return c->user == NULL || !access_counts(c->user, c->loop->date_at);
}

bool guard_enter(struct conn *c, struct quern_slice name, struct quern_slice token)
{
    const struct access_user *user;

    if (c->access != c->loop->access)
        look_again(c);
    user = access_of_token(c->access, token, c->loop->date_at);
    /* Clients that were given a password and no name say that they are `default`. */
    if (user == NULL ||
        (name.len > 0 && !same(name, QUERN_STR(user->name)) &&
         !(same(name, QUERN_STR("default")) && access_named(c->access, name) == NULL)))
        return false;
    c->user = user;
    return true;
}

bool guard_is_admin(struct conn *c)
{
    return c->loop->access == NULL ||
           (!guard_is_stranger(c) && guard_sees_all(c) && (c->user->scopes & ACCESS_ADMIN) != 0);
}

bool guard_sees_all(const struct conn *c)
{
    return c->loop->access == NULL || (c->user != NULL && access_reaches_all(c->user));
}

/* ------------------------------------------------------------------ scopes -- */

/* A write that tells nothing of what it overwrites, but whether it was there. */
static bool tells_nothing(const struct call *k)
{
    static const char *const names[] = {"del",     "expire",    "expireat", "flushall",
                                        "flushdb", "mset",      "msetnx",   "persist",
                                        "pexpire", "pexpireat", "psetex",   "quern.delrange",
                                        "setex",   "setnx",     "swapdb",   "unlink"};

    if (k->command->parent != NULL)
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(k->command->name, names[i]) == 0)
            return true;
    }
    if (strcmp(k->command->name, "set") != 0)
        return false;
    for (size_t i = 3; i < k->argc; i++) {
        if (call_arg_is(k, i, "GET"))
            return false;
    }
    return true;
}

bool guard_is_for_admins(const struct command *command)
{
    static const char *const names[] = {"flushall", "swapdb"};

    if (command->flags & CMD_ADMIN)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (command->parent == NULL && strcmp(command->name, names[i]) == 0)
            return true;
    }
    return false;
}

static unsigned scopes_of(const struct call *k)
{
    unsigned scopes = 0;

    if (guard_is_for_admins(k->command))
        scopes |= ACCESS_ADMIN;
    if (k->command->flags & CMD_READONLY)
        scopes |= ACCESS_READ;
    if (k->command->flags & CMD_WRITE)
        scopes |= tells_nothing(k) ? ACCESS_WRITE : ACCESS_WRITE | ACCESS_READ;
    return scopes;
}

/* ------------------------------------------------------------------ keys -- */

/* KEYS pattern, SCAN cursor MATCH pattern: is all that can match allowed? */
static bool reaches_pattern(struct call *k, const struct access_user *u)
{
    struct quern_slice pattern = {"", 0};
    struct buf prefix OWNED_BUF = {0};

    if (strcmp(k->command->name, "keys") == 0) {
        pattern = k->args[1];
    } else if (strcmp(k->command->name, "scan") == 0) {
        for (size_t i = 2; i + 1 < k->argc; i += 2) {
            if (call_arg_is(k, i, "MATCH"))
                pattern = k->args[i + 1]; /* the last one counts, there and here */
        }
    }
    return resp_glob_prefix(pattern, &prefix, k->err) == QUERN_OK && prefix.len > 0 &&
           access_reaches_prefix(u, buf_slice(&prefix));
}

/* QUERN.RANGE start end, and QUERN.COUNT and QUERN.DELRANGE. */
static bool is_range(const struct command *command)
{
    return strcmp(command->name, "quern.range") == 0 || strcmp(command->name, "quern.count") == 0 ||
           strcmp(command->name, "quern.delrange") == 0;
}

/* A command without keys among its arguments: does it stay among those that the user reaches? */
static bool reaches_unnamed(struct call *k, const struct access_user *u)
{
    const struct command *command = k->command;

    if (access_reaches_all(u))
        return true;
    if (is_range(command))
        return access_reaches_range(u, k->args[1], k->args[2]);
    return (command->flags & (CMD_WRITE | CMD_READONLY)) == 0 ? !guard_is_for_admins(command)
                                                              : reaches_pattern(k, u);
}

enum guard_verdict guard_judge(struct call *k, const struct access_user *u, size_t *key)
{
    const struct command *command = k->command;
    size_t last = command_last_key(command, k->argc);

    if (command->flags & CMD_NO_AUTH)
        return GUARD_ALLOWS;
    if ((scopes_of(k) & ~u->scopes) != 0 || (command->key_step == 0 && !reaches_unnamed(k, u)))
        return GUARD_NO_COMMAND;
    for (size_t i = (size_t)command->first_key; last > 0 && i <= last;
         i += (size_t)command->key_step) {
        if (!access_reaches(u, k->args[i])) {
            *key = i;
            return GUARD_NO_KEY;
        }
    }
    return GUARD_ALLOWS;
}

bool guard_command(struct call *k)
{
    struct conn *c = k->conn;
    char name[COMMAND_NAME_BYTES];
    bool stranger = guard_is_stranger(c);
    size_t key;

    if (k->command->flags & CMD_NO_AUTH)
        return true;
    if (stranger) {
        (void)call_error(k, "NOAUTH Authentication required.");
        return false;
    }
    switch (guard_judge(k, c->user, &key)) {
    case GUARD_NO_COMMAND:
        (void)command_full_name(k->command, name);
        refused_note(k, REFUSED_COMMAND, QUERN_STR(name), QUERN_STR(c->user->name));
        resp_put_error(&k->out, "NOPERM this user has no permissions to run the '%s' command",
                       name);
        return false;
    case GUARD_NO_KEY:
        refused_note(k, REFUSED_KEY, k->args[key], QUERN_STR(c->user->name));
        (void)call_error(k, "NOPERM this user has no permissions to access one of the keys used as "
                            "arguments");
        return false;
    default:
        return true;
    }
}
