/* guard.c - the list of tokens, from its file to the loops; and what HTTP requests may do. */
#include "server/guard.h"

#include "server/rest/route.h"
#include "server/observe/say.h"

#include "base/error.h"

/* ------------------------------------------------------------------ the list -- */

struct access *guard_now(struct guard *g)
{
    struct access *a;

    mutex_lock(&g->mu);
    a = access_ref(g->now);
    mutex_unlock(&g->mu);
    return a;
}

void guard_publish(struct guard *g, struct access *a)
{
    struct access *before;

    mutex_lock(&g->mu);
    before = g->now;
    g->now = a;
    atomic_fetch_add(&g->generation, 1);
    mutex_unlock(&g->mu);
    access_unref(before);
}

static enum quern_code load(struct guard *g, struct access_stamp *stamp, struct quern_error *err)
{
    struct buf text OWNED_BUF = {0};
    struct access *a = NULL;

    if (access_load(g->path, &text, stamp, err))
        return err->code;
    if (access_read(buf_slice(&text), &a, err))
        return err_in(err, "%s", g->path);
    guard_publish(g, a);
    return QUERN_OK;
}

enum quern_code guard_load(struct guard *g, struct quern_error *err)
{
    struct access_stamp ignored;
    enum quern_code code;

    mutex_lock(&g->changing);
    code = load(g, &ignored, err);
    mutex_unlock(&g->changing);
    return code;
}

enum quern_code guard_open(struct guard *g, const char *path, struct quern_error *err)
{
    g->path = path;
    mutex_init(&g->changing);
    mutex_init(&g->mu);
    return path == NULL ? QUERN_OK : load(g, &g->stamp, err);
}

void guard_close(struct guard *g)
{
    access_unref(g->now);
    mutex_done(&g->mu);
    mutex_done(&g->changing);
}

void guard_reload(struct guard *g)
{
    struct quern_error err;
    struct access *now;
    enum quern_code code;

    if (g->path == NULL)
        return;
    (void)access_stamp_now(g->path, &g->stamp);
    mutex_lock(
        &g->changing); /* or ACL SETUSER would publish what was before, with one user changed */
    code = load(g, &g->stamp, &err);
    mutex_unlock(&g->changing);
    if (code != QUERN_OK) {
        say_event(SAY_ERROR, "tokens", "%s; those from before stay", err.text);
        return;
    }
    now = guard_now(g);
    say_event(SAY_INFO, "tokens", "%zu read from %s", access_count(now), g->path);
    access_unref(now);
}

void guard_look(struct guard *g)
{
    struct access_stamp now;
    bool there;

    if (g->path == NULL)
        return;
    there = access_stamp_now(g->path, &now);
    if (there && (now.changed_ns != g->stamp.changed_ns || now.number != g->stamp.number ||
                  now.size != g->stamp.size))
        guard_reload(g);
    else if (!there && !g->missing)
        say_event(SAY_ERROR, "tokens", "%s is gone; those from before stay", g->path);
    g->missing = !there;
}

void guard_keep(struct loop *loop)
{
    struct guard *g = &loop->server->guard;
    unsigned generation = atomic_load_explicit(&g->generation, memory_order_acquire);

    if (LIKELY(generation == loop->access_generation))
        return;
    access_unref(loop->access);
    loop->access = guard_now(g);
    loop->access_generation = generation;
}

void guard_forget(struct conn *c)
{
    access_unref(c->access);
    c->access = NULL;
    c->user = NULL;
}

/* ------------------------------------------------------------------ HTTP -- */

static const char ask_for_token[] = "WWW-Authenticate: Bearer realm=\"quern\"\r\n";
static const char bad_token[] =
    "WWW-Authenticate: Bearer realm=\"quern\", error=\"invalid_token\"\r\n";

static bool deny(struct conn *c, int status, const char *code, const char *detail,
                 const char *extra)
{
    refuse(c, status, code, detail);
    c->refusal.extra = extra;
    return false;
}

static bool deny_scope(struct conn *c, unsigned scope)
{
#define SCOPE_FIELD(name)                                                                          \
    "WWW-Authenticate: Bearer realm=\"quern\", error=\"insufficient_scope\", scope=\"" name "\"\r" \
    "\n"
    if (scope & ACCESS_ADMIN)
        return deny(c, 403, "insufficient_scope", "this token has no scope admin",
                    SCOPE_FIELD("admin"));
    if (scope & ACCESS_WRITE)
        return deny(c, 403, "insufficient_scope", "this token has no scope write",
                    SCOPE_FIELD("write"));
    return deny(c, 403, "insufficient_scope", "this token has no scope read", SCOPE_FIELD("read"));
}

static bool deny_keys(struct conn *c)
{
    return deny(c, 403, "key_not_allowed", "this token does not reach that key or range", NULL);
}

/* "Bearer TOKEN", the scheme in any case; an empty slice: something else. */
static struct quern_slice token_of(struct quern_slice field)
{
    const char *s = field.data;

    if (field.len < 8 || !http_same_word((struct quern_slice){s, 6}, "bearer") || s[6] != ' ')
        return (struct quern_slice){"", 0};
    return (struct quern_slice){s + 7, field.len - 7};
}

/* What a route asks of its tokens; 0: one of read and write, the rest is judged later. */
static unsigned scopes_of(const struct route *route)
{
    if (route->traits & ROUTE_EITHER)
        return 0;
    if ((route->traits & (ROUTE_READS | ROUTE_WRITES)) == 0)
        return ACCESS_ADMIN;
    return (route->traits & ROUTE_READS ? ACCESS_READ : 0u) |
           (route->traits & ROUTE_WRITES ? ACCESS_WRITE : 0u);
}

bool guard_request(struct conn *c)
{
    struct access *list = c->loop->access;
    const struct http_request *r = &c->request;
    struct quern_slice token;
    unsigned lacking;

    c->user = NULL;
    if (list == NULL || c->route->traits & ROUTE_OPEN)
        return true;
    if (c->access != list) {
        guard_forget(c);
        c->access = access_ref(list);
    }
    if (!http_has(r, HTTP_AUTHORIZATION))
        return deny(c, 401, "token_required",
                    "this server asks for a token; send Authorization: Bearer TOKEN",
                    ask_for_token);
    token = token_of(http_bytes(conn_request_bytes(c), r->field[HTTP_AUTHORIZATION]));
    c->user = access_of_token(list, token, c->loop->date_at);
    if (c->user == NULL)
        return deny(c, 401, "invalid_token", "this token is not known, is off or has expired",
                    bad_token);
    lacking = scopes_of(c->route) & ~c->user->scopes;
    if (lacking != 0)
        return deny_scope(c, lacking);
    if (c->route->traits & ROUTE_EITHER && (c->user->scopes & (ACCESS_READ | ACCESS_WRITE)) == 0)
        return deny_scope(c, ACCESS_READ);
    if ((c->route->traits & (ROUTE_JUDGES_KEYS | ROUTE_NO_KEYS)) == 0 &&
        !access_reaches_all(c->user))
        return deny_keys(c);
    return true;
}

bool guard_scope(struct conn *c, enum access_scope scope)
{
    return c->user == NULL || (c->user->scopes & scope) != 0 || deny_scope(c, scope);
}

bool guard_key(struct conn *c, struct quern_slice key)
{
    return c->user == NULL || access_reaches(c->user, key) || deny_keys(c);
}

bool guard_range(struct conn *c, struct quern_slice prefix, struct quern_slice start,
                 struct quern_slice end)
{
    return c->user == NULL || (prefix.len > 0 && access_reaches_prefix(c->user, prefix)) ||
           access_reaches_range(c->user, start, end) || deny_keys(c);
}
