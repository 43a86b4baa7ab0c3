/* users.c - ACL SETUSER, DELUSER, LOAD and SAVE: the users that count, changed from here on.
 *
 *     the list that counts --as lines--> text --this user's line anew--> access_read() --> the list
 *
 * As in Redis the change is one of the memory: the next reading of the token file makes the list what
 * the file says. A user is always a whole line: one password, a scope, and keys. What of Redis' rules
 * has no place in a line is refused; so is a password that could be guessed, for it is hashed as the
 * tokens are (docs/security.md). */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <stdlib.h>

#define PASSWORD_BYTES_MIN 32u

static const char no_tokens[] = "ERR this server was started without --token-file, so there are no "
                                "users but 'default'";

/* A user under construction. */
struct draft {
    struct access_user user;
    bool has_password, all_keys;
};

static bool is_hex(struct quern_slice s)
{
    const char *c = s.data;

    for (size_t i = 0; i < s.len; i++) {
        if (c[i] == '\0' || strchr("0123456789abcdef", c[i]) == NULL) /* which finds a zero, too */
            return false;
    }
    return true;
}

static bool take_hash(struct draft *d, struct quern_slice hex)
{
    const char *s = hex.data;

    if (hex.len != 2 * ACCESS_HASH_BYTES || !is_hex(hex))
        return false;
    for (size_t i = 0; i < ACCESS_HASH_BYTES; i++) {
        char pair[3] = {s[2 * i], s[2 * i + 1], '\0'};

        d->user.hash[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    d->has_password = true;
    return true;
}

/* A pattern that means all that begins so; its bytes stay those of the command. */
static bool take_pattern(struct draft *d, struct quern_slice pattern)
{
    const char *s = pattern.data;

    if (pattern.len < 2 || s[pattern.len - 1] != '*' || d->all_keys ||
        d->user.prefix_count == ACCESS_PREFIXES_MAX)
        return false;
    for (size_t i = 0; i + 1 < pattern.len; i++) {
        if (s[i] != '\0' && strchr("*?[]\\", s[i]) != NULL)
            return false;
    }
    d->user.prefixes[d->user.prefix_count++] = (struct quern_slice){s, pattern.len - 1};
    return true;
}

static bool take_word(struct draft *d, struct quern_slice rule)
{
    enum { ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_ADMIN };
    static const struct {
        const char *word;
        unsigned add, drop;
    } scopes[] = {
        {"+@all", ALL, 0},
        {"allcommands", ALL, 0},
        {"-@all", 0, ALL},
        {"nocommands", 0, ALL},
        {"+@read", ACCESS_READ, 0},
        {"-@read", 0, ACCESS_READ},
        {"+@write", ACCESS_WRITE, 0},
        {"-@write", 0, ACCESS_WRITE},
        {"+@admin", ACCESS_ADMIN, 0},
        {"-@admin", 0, ACCESS_ADMIN},
        {"-@dangerous", 0, ACCESS_ADMIN},
    };

    for (unsigned i = 0; i < ARRAY_LEN(scopes); i++) {
        if (resp_same_word(rule, scopes[i].word)) {
            d->user.scopes = (d->user.scopes | scopes[i].add) & ~scopes[i].drop;
            return true;
        }
    }
    if (resp_same_word(rule, "on") || resp_same_word(rule, "off")) {
        d->user.off = resp_same_word(rule, "off");
    } else if (resp_same_word(rule, "~*") || resp_same_word(rule, "allkeys")) {
        d->all_keys = true;
        d->user.prefix_count = 0;
    } else if (resp_same_word(rule, "resetkeys")) {
        d->all_keys = false;
        d->user.prefix_count = 0;
    } else if (resp_same_word(rule, "resetpass")) {
        d->has_password = false;
    } else if (resp_same_word(rule, "reset")) {
        d->has_password = d->all_keys = false;
        d->user.off = true;
        d->user.scopes = 0;
        d->user.prefix_count = 0;
    } else {
        return false;
    }
    return true;
}

/* What is wrong with a rule, or NULL. */
static const char *take_rule(struct draft *d, struct quern_slice rule)
{
    const char *s = rule.data;

    if (rule.len > 0 && s[0] == '>') {
        if (rule.len - 1 < PASSWORD_BYTES_MIN)
            return "a password of this server has at least 32 bytes; quern token makes one";
        access_hash((struct quern_slice){s + 1, rule.len - 1}, d->user.hash);
        d->has_password = true;
        return NULL;
    }
    if (take_word(d, rule) ||
        (rule.len > 0 && s[0] == '#' && take_hash(d, (struct quern_slice){s + 1, rule.len - 1})) ||
        (rule.len > 0 && s[0] == '~' && take_pattern(d, (struct quern_slice){s + 1, rule.len - 1})))
        return NULL;
    return "Syntax error";
}

static bool is_name(struct quern_slice name, const struct access_user *u)
{
    return name.len == strlen(u->name) && memcmp(name.data, u->name, name.len) == 0;
}

/* The list without the users named, and with `more`, counts from now on. */
static enum quern_code change(struct call *k, const struct quern_slice *without, size_t n,
                              const struct access_user *more, size_t *gone)
{
    struct access *now OWNED(access_unref) = guard_now(&k->server->guard), *next = NULL;
    struct buf text OWNED_BUF = {0};

    mutex_assert_held(&k->server->guard.changing);
    *gone = 0;
    for (size_t i = 0; i < access_count(now); i++) {
        const struct access_user *u = access_at(now, i);
        bool goes = false;

        for (size_t w = 0; w < n; w++)
            goes |= is_name(without[w], u);
        *gone += goes;
        if (!goes && access_line(u, &text, k->err))
            return k->err->code;
    }
    if ((more != NULL && access_line(more, &text, k->err)) ||
        access_read(buf_slice(&text), &next, k->err))
        return k->err->code;
    guard_publish(&k->server->guard, next);
    guard_keep(k->conn->loop);
    return QUERN_OK;
}

/* What the rules make of the user that is there, or of a new one. False: replied why not. */
static bool make_draft(struct call *k, const struct access_user *before, struct draft *d)
{
    *d = (struct draft){.user = {.off = true, .expires_at = INT64_MAX}};
    if (before != NULL)
        *d = (struct draft){*before, true, access_reaches_all(before)};
    else
        memcpy(d->user.name, k->args[2].data, k->args[2].len);
    for (size_t i = 3; i < k->argc; i++) {
        const char *wrong = take_rule(d, k->args[i]);

        if (wrong != NULL) {
            resp_put_error(&k->out, "ERR Error in ACL SETUSER modifier '%.*s': %s",
                           (int)(k->args[i].len < 128 ? k->args[i].len : 128),
                           (const char *)k->args[i].data, wrong);
            return false;
        }
    }
    if (d->has_password && d->user.scopes != 0 && (d->all_keys || d->user.prefix_count > 0))
        return true;
    (void)call_error(k,
                     "ERR a user of this server has one password, at least one of +@read +@write "
                     "+@admin, and ~* or ~PREFIX*");
    return false;
}

static enum quern_code set_user_locked(struct call *k)
{
    struct access *now OWNED(access_unref) = guard_now(&k->server->guard);
    enum quern_code code;
    struct draft d;
    size_t ignored;

    if (!make_draft(k, access_named(now, k->args[2]), &d))
        return QUERN_OK;
    code = change(k, &k->args[2], 1, &d.user, &ignored);
    if (code == QUERN_INVALID) {
        resp_put_error(&k->out, "ERR %s", k->err->text);
        return QUERN_OK;
    }
    return code == QUERN_OK ? call_ok(k) : code;
}

enum quern_code cmd_acl_setuser(struct call *k)
{
    struct guard *guard = &k->server->guard;
    enum quern_code code;

    if (guard->path == NULL)
        return call_error(k, no_tokens);
    if (!access_name_is_well(k->args[2]))
        return call_error(k, "ERR a name has 1 to 64 letters, digits or . _ -");
    mutex_lock(&guard->changing);
    code = set_user_locked(k);
    mutex_unlock(&guard->changing);
    return code;
}

enum quern_code cmd_acl_deluser(struct call *k)
{
    struct guard *guard = &k->server->guard;
    enum quern_code code;
    size_t gone;

    if (guard->path == NULL)
        return call_error(k, no_tokens);
    mutex_lock(&guard->changing);
    code = change(k, k->args + 2, k->argc - 2, NULL, &gone);
    mutex_unlock(&guard->changing);
    return code == QUERN_OK ? call_int(k, (int64_t)gone) : code;
}

/* ------------------------------------------------------------------ the file -- */

static const char no_file[] =
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    "configuration file set) in order to store users in the Redis configuration.";

/* Aside, since it reads the file. */
enum quern_code cmd_acl_load(struct call *k)
{
    if (k->server->guard.path == NULL)
        return call_error(k, no_file);
    if (guard_load(&k->server->guard, k->err) != QUERN_OK)
        resp_put_error(&k->out, "ERR %s; the users from before stay", k->err->text);
    else
        return call_ok(k);
    return QUERN_OK;
}

enum quern_code cmd_acl_save(struct call *k)
{
    if (k->server->guard.path == NULL)
        return call_error(k, no_file);
    return call_error(k, "ERR this server never writes its token file; quern token changes it");
}
