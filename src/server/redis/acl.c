/* acl.c - AUTH and ACL: the tokens of guard.h, as users that have one password.
 *
 *     scope         as rules of Redis
 *     read          +@read
 *     write         +@write
 *     admin         +@admin +@dangerous
 *     all three     +@all
 *     a prefix      the pattern of all that begins so
 *
 * Users are the lines of the token file; redis/users.c changes them in memory. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <stdio.h>

#define GENPASS_BITS_MAX 4096

static const char wrong_pass[] = "WRONGPASS invalid username-password pair or user is disabled.";

bool auth_enter(struct call *k, struct quern_slice user, struct quern_slice password)
{
    bool entered;

    if (k->conn->loop->access != NULL)
        entered = guard_enter(k->conn, user, password);
    else /* as in a Redis without passwords: there is `default`, and any password is his */
        entered = user.len == 7 && memcmp(user.data, "default", 7) == 0;
    if (!entered) {
        refused_note(k, REFUSED_AUTH, k->args[0], user);
        (void)call_error(k, wrong_pass);
        return false;
    }
    client_note_user(k);
    return true;
}

enum quern_code cmd_auth(struct call *k)
{
    static const struct quern_slice nobody = {"", 0};

    if (k->argc > 3)
        return call_syntax_error(k);
    if (k->argc == 2 && k->conn->loop->access == NULL)
        return call_error(k, "ERR AUTH <password> called without any password configured for the "
                             "default user. Are you sure your configuration is correct?");
    return auth_enter(k, k->argc == 3 ? k->args[1] : nobody, k->args[k->argc - 1]) ? call_ok(k)
                                                                                   : QUERN_OK;
}

/* ------------------------------------------------------------------ telling -- */

static const struct access_user everybody = {.name = "default",
                                             .scopes = ACCESS_READ | ACCESS_WRITE | ACCESS_ADMIN,
                                             .expires_at = INT64_MAX};

/* Where there are no tokens there is one user, without a password. */
static size_t user_count(const struct call *k)
{
    return k->conn->loop->access == NULL ? 1 : access_count(k->conn->loop->access);
}

static const struct access_user *user_at(const struct call *k, size_t i)
{
    return k->conn->loop->access == NULL ? &everybody : access_at(k->conn->loop->access, i);
}

enum quern_code cmd_acl_whoami(struct call *k)
{
    resp_put_text(&k->out, k->conn->user != NULL ? k->conn->user->name : everybody.name);
    return QUERN_OK;
}

enum quern_code cmd_acl_users(struct call *k)
{
    resp_put_array(&k->out, user_count(k));
    for (size_t i = 0; i < user_count(k); i++)
        resp_put_text(&k->out, user_at(k, i)->name);
    return QUERN_OK;
}

static void write_hash(const struct access_user *u, char to[2 * ACCESS_HASH_BYTES + 1])
{
    for (size_t i = 0; i < ACCESS_HASH_BYTES; i++)
        (void)snprintf(to + 2 * i, 3, "%02x", u->hash[i]);
}

static const char *commands_of(const struct access_user *u)
{
    static const char *const rules[] = {
        "-@all",
        "-@all +@read",
        "-@all +@write",
        "-@all +@read +@write",
        "-@all +@admin +@dangerous",
        "-@all +@read +@admin +@dangerous",
        "-@all +@write +@admin +@dangerous",
        "+@all",
    };

    return rules[u->scopes];
}

/* The patterns of all that begins so, each after a tilde. */
static void put_keys(const struct access_user *u, struct resp_out *to)
{
    for (size_t i = 0; i < u->prefix_count; i++) {
        const char *s = u->prefixes[i].data;

        resp_put_raw(to, i > 0 ? " ~" : "~", i > 0 ? 2 : 1);
        for (size_t at = 0; at < u->prefixes[i].len; at++) {
            if (s[at] != '\0' && strchr("*?[]\\^-", s[at]) != NULL)
                resp_put_raw(to, "\\", 1);
            resp_put_raw(to, s + at, 1);
        }
        resp_put_raw(to, "*", 1);
    }
    if (u->prefix_count == 0)
        resp_put_raw(to, "~*", 2);
}

static void put_rules(struct call *k, const struct access_user *u)
{
    struct buf line OWNED_BUF = {0};
    struct resp_out to = {&line, 2, false};
    char hash[2 * ACCESS_HASH_BYTES + 1];
    const char *state = access_counts(u, k->conn->loop->date_at) ? " on " : " off ";

    resp_put_raw(&to, "user ", 5);
    resp_put_raw(&to, u->name, strlen(u->name));
    resp_put_raw(&to, state, strlen(state));
    if (u == &everybody) {
        resp_put_raw(&to, "nopass ", 7);
    } else {
        write_hash(u, hash);
        resp_put_raw(&to, "#", 1);
        resp_put_raw(&to, hash, strlen(hash));
        resp_put_raw(&to, " ", 1);
    }
    put_keys(u, &to);
    resp_put_raw(&to, " &* ", 4);
    resp_put_raw(&to, commands_of(u), strlen(commands_of(u)));
    resp_put_bulk(&k->out, buf_slice(&line));
    k->out.failed |= to.failed;
}

enum quern_code cmd_acl_list(struct call *k)
{
    resp_put_array(&k->out, user_count(k));
    for (size_t i = 0; i < user_count(k); i++)
        put_rules(k, user_at(k, i));
    return QUERN_OK;
}

static bool is_named(const struct call *k, size_t arg, const struct access_user *u)
{
    return k->args[arg].len == strlen(u->name) &&
           memcmp(k->args[arg].data, u->name, k->args[arg].len) == 0;
}

static const struct access_user *user_named(const struct call *k, size_t arg)
{
    for (size_t i = 0; i < user_count(k); i++) {
        if (is_named(k, arg, user_at(k, i)))
            return user_at(k, i);
    }
    return NULL;
}

static void put_user(struct call *k, const struct access_user *u)
{
    struct buf keys OWNED_BUF = {0};
    struct resp_out to = {&keys, 2, false};
    char hash[2 * ACCESS_HASH_BYTES + 1];

    resp_put_map(&k->out, 6);
    resp_put_text(&k->out, "flags");
    resp_put_set(&k->out, u == &everybody ? 2 : 1);
    resp_put_text(&k->out, access_counts(u, k->conn->loop->date_at) ? "on" : "off");
    if (u == &everybody)
        resp_put_text(&k->out, "nopass");
    resp_put_text(&k->out, "passwords");
    resp_put_array(&k->out, u != &everybody);
    write_hash(u, hash);
    if (u != &everybody)
        resp_put_text(&k->out, hash);
    resp_put_text(&k->out, "commands");
    resp_put_text(&k->out, commands_of(u));
    put_keys(u, &to);
    resp_put_text(&k->out, "keys");
    resp_put_bulk(&k->out, buf_slice(&keys));
    resp_put_text(&k->out, "channels");
    resp_put_text(&k->out, "&*");
    resp_put_text(&k->out, "selectors");
    resp_put_array(&k->out, 0);
    k->out.failed |= to.failed;
}

enum quern_code cmd_acl_getuser(struct call *k)
{
    const struct access_user *u = user_named(k, 2);

    if (u == NULL)
        return call_null(k);
    put_user(k, u);
    return QUERN_OK;
}

/* What would come of a command, were it that user's. */
enum quern_code cmd_acl_dryrun(struct call *k)
{
    struct call trial = *k;
    const struct access_user *u = user_named(k, 2);
    bool unknown_sub = false;
    char text[192], name[COMMAND_NAME_BYTES];
    size_t key = 0;

    if (u == NULL)
        return call_about(k, "ERR User '", k->args[2], "' not found");
    trial.args += 3;
    trial.argc -= 3;
    trial.command = command_find(trial.args, trial.argc, &unknown_sub);
    if (trial.command == NULL)
        return call_about(k, "ERR Command '", k->args[3], "' not found");
    if (!command_arity_fits(trial.command, trial.argc)) {
        (void)call_wrong_arity(&trial);
        k->out.failed |= trial.out.failed;
        return QUERN_OK;
    }
    switch (guard_judge(&trial, u, &key)) {
    case GUARD_NO_COMMAND:
        (void)snprintf(text, sizeof(text), "This user has no permissions to run the '%s' command",
                       command_full_name(trial.command, name));
        break;
    case GUARD_NO_KEY:
        (void)snprintf(text, sizeof(text), "This user has no permissions to access the '%.*s' key",
                       (int)(trial.args[key].len < 128 ? trial.args[key].len : 128),
                       (const char *)trial.args[key].data);
        break;
    default:
        return call_ok(k);
    }
    resp_put_text(&k->out, text);
    return QUERN_OK;
}

enum quern_code cmd_acl_genpass(struct call *k)
{
    uint8_t random[GENPASS_BITS_MAX / 8];
    char text[GENPASS_BITS_MAX / 4 + 1];
    int64_t bits = 256;

    if (k->argc > 3)
        return call_sub_error(k);
    if (k->argc == 3 && !call_integer(k, 2, &bits))
        return QUERN_OK;
    if (bits < 1 || bits > GENPASS_BITS_MAX)
        return call_error(k, "ERR ACL GENPASS argument must be the number of bits for the output "
                             "password, a positive number up to 4096");
    if (uv_random(NULL, NULL, random, sizeof(random), 0, NULL) != 0)
        return err_set(k->err, QUERN_IO, "the system has no random bytes");
    for (size_t i = 0; i < sizeof(random); i++)
        (void)snprintf(text + 2 * i, 3, "%02x", random[i]);
    resp_put_bulk(&k->out, (struct quern_slice){text, (size_t)(bits + 3) / 4});
    return QUERN_OK;
}

enum category {
    CATEGORY_READ,
    CATEGORY_WRITE,
    CATEGORY_ADMIN,
    CATEGORIES,
};
static const char *const categories[CATEGORIES] = {"read", "write", "admin"};

static bool is_in(const struct command *command, enum category category)
{
    if (command->run == NULL)
        return false; /* its subcommands are */
    return category == CATEGORY_READ    ? (command->flags & CMD_READONLY) != 0
           : category == CATEGORY_WRITE ? (command->flags & CMD_WRITE) != 0
                                        : guard_is_for_admins(command);
}

/* The commands of a category into `to`; how many. */
static size_t put_category(enum category category, const struct command *from, unsigned many,
                           struct resp_out *to)
{
    char name[COMMAND_NAME_BYTES];
    size_t n = 0;

    for (unsigned i = 0; i < many; i++) {
        if (is_in(&from[i], category)) {
            resp_put_text(to, command_full_name(&from[i], name));
            n++;
        }
        n += put_category(category, from[i].subs, from[i].sub_count, to);
    }
    return n;
}

enum quern_code cmd_acl_cat(struct call *k)
{
    struct buf names OWNED_BUF = {0};
    struct resp_out to = {&names, k->out.proto, false};
    size_t n = CATEGORIES;

    if (k->argc > 3)
        return call_sub_error(k);
    if (k->argc == 3) {
        unsigned i = 0;

        while (i < CATEGORIES && !call_arg_is(k, 2, categories[i]))
            i++;
        if (i == CATEGORIES) {
            return call_about(k, "ERR Unknown category '", k->args[2], "'");
        }
        n = put_category((enum category)i, commands, command_count, &to);
    } else {
        for (unsigned i = 0; i < CATEGORIES; i++)
            resp_put_text(&to, categories[i]);
    }
    resp_put_array(&k->out, n);
    resp_put_raw(&k->out, names.data, names.len);
    k->out.failed |= to.failed;
    return QUERN_OK;
}
