/* route.h - what a route is, and the functions behind the rows of routes.c. */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include "server/conn.h"

#include <string.h>

struct route {
    const char *path;
    unsigned methods;
    const char *allow; /* of all routes with this path */
    unsigned params;   /* which it takes */
    void (*carry_out)(struct conn *c, struct manner manner, struct quern_slice body);
    /* What can be judged before a body is read, or NULL; refuses. */
    void (*check)(struct conn *c);
    unsigned traits;
};

enum {
    ROUTE_BELOW = 1,         /* every path that begins so: the rest is a key */
    ROUTE_TAKES_VALUE = 2,   /* a body may be as large as a value */
    ROUTE_JOINS = 4,         /* may join other writes of its connection */
    ROUTE_ANY_TIME = 8,      /* answered while the server drains */
    ROUTE_NEEDS_ASKING = 16, /* not for pages of other sites, whatever the method */

    /* What a token must have, where there are tokens; none of these: scope admin. */
    ROUTE_OPEN = 32,    /* nothing: it is for everybody */
    ROUTE_READS = 64,   /* scope read */
    ROUTE_WRITES = 128, /* scope write */
    ROUTE_EITHER = 256, /* read or write; its operations are judged one by one */
    /* And which keys; neither of these: all. */
    ROUTE_JUDGES_KEYS = 512, /* it calls guard_key() or guard_range() for those it names */
    ROUTE_NO_KEYS = 1024,    /* it tells of none */

    ROUTE_PASSES_BODY = 2048 /* a body of any size is taken as it comes: import.h */
};

/* Refuse the request at hand. It is answered when its turn comes: writes before it may be under
 * way. */
void refuse(struct conn *c, int status, const char *code, const char *detail);

/* Did the request announce a body, though it be empty? */
static inline bool has_body(const struct conn *c)
{
    return c->request.chunked || http_has(&c->request, HTTP_CONTENT_LENGTH);
}

/* Is this the path of the route? */
static inline bool route_is_at(const struct route *route, struct quern_slice path)
{
    size_t n = strlen(route->path);

    return path.len >= n && (path.len == n || route->traits & ROUTE_BELOW) &&
           memcmp(path.data, route->path, n) == 0;
}

/* routes.c. The route of a path and method; with another method one of the path, or NULL. */
const struct route *route_of(struct quern_slice path, enum http_method method);
/* The paths that there are, as JSON, each with its methods. */
MUST_USE enum quern_code routes_text(struct buf *out, struct quern_error *err);
/* Routes are numbered from 0; `route_name`: "GET /v1/kv/{key}", or "other" for the number behind the
 * last, which stands for requests without a route. */
unsigned route_count(void);
void route_name(unsigned number, char *to, size_t room);
/* Which of the kinds of measure.h the request at hand is. */
unsigned route_kind(const struct conn *c);

/* plain.c */
#define FORM_PARAMS                                                                                \
    (PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_VALUE) | PARAM_BIT(PARAM_SYNC) |                       \
     PARAM_BIT(PARAM_TTL) | PARAM_BIT(PARAM_EXPIRES_AT)) /* of a form; /set takes them as well */
void plain_check(struct conn *c);
void plain_set(struct conn *c, struct manner manner, struct quern_slice body);
void plain_get(struct conn *c, struct manner manner, struct quern_slice body);
void plain_del(struct conn *c, struct manner manner, struct quern_slice body);
void plain_completed(struct write_op *op); /* answer a write of theirs */

/* kv.c */
void kv_check(struct conn *c);
bool kv_check_sync(struct conn *c); /* is `sync` always or os, or not given? else refuses */
void kv_get(struct conn *c, struct manner manner, struct quern_slice body);
void kv_put(struct conn *c, struct manner manner, struct quern_slice body);
void kv_delete(struct conn *c, struct manner manner, struct quern_slice body);
void kv_post(struct conn *c, struct manner manner, struct quern_slice body);

/* keys.c */
void keys_check(struct conn *c);
void keys_list(struct conn *c, struct manner manner, struct quern_slice body);

/* delete_range.c */
void delete_range_check(struct conn *c);
void delete_range(struct conn *c, struct manner manner, struct quern_slice body);

/* batch.c */
void batch_check(struct conn *c);
void batch_post(struct conn *c, struct manner manner, struct quern_slice body);

/* export.c */
void export_check(struct conn *c);
void export_get(struct conn *c, struct manner manner, struct quern_slice body);

/* import.c */
void import_check(struct conn *c);
void import_post(struct conn *c, struct manner manner, struct quern_slice body);

/* snapshot.c */
void snapshot_check(struct conn *c);
void snapshot_make(struct conn *c, struct manner manner, struct quern_slice body);
void snapshot_end(struct conn *c, struct manner manner, struct quern_slice body);

/* admin.c */
void admin_check_job(struct conn *c);
void admin_job(struct conn *c, struct manner manner, struct quern_slice body);
void admin_checkpoint(struct conn *c, struct manner manner, struct quern_slice body);
void admin_jobs(struct conn *c, struct manner manner, struct quern_slice body);
void admin_job_get(struct conn *c, struct manner manner, struct quern_slice body);
void admin_levels(struct conn *c, struct manner manner, struct quern_slice body);
void admin_files(struct conn *c, struct manner manner, struct quern_slice body);
void admin_events(struct conn *c, struct manner manner, struct quern_slice body);
void admin_clients(struct conn *c, struct manner manner, struct quern_slice body);
void admin_limits(struct conn *c, struct manner manner, struct quern_slice body);

/* about.c */
void about_index(struct conn *c, struct manner manner, struct quern_slice body);
void about_check_health(struct conn *c);
void about_health(struct conn *c, struct manner manner, struct quern_slice body);
void about_life(struct conn *c, struct manner manner, struct quern_slice body);
void about_version(struct conn *c, struct manner manner, struct quern_slice body);
void about_api(struct conn *c, struct manner manner, struct quern_slice body);
void about_tls(struct conn *c, struct manner manner, struct quern_slice body);
void about_stats(struct conn *c, struct manner manner, struct quern_slice body);
void about_slowlog(struct conn *c, struct manner manner, struct quern_slice body);

/* config.c */
void config_get(struct conn *c, struct manner manner, struct quern_slice body);
void config_patch(struct conn *c, struct manner manner, struct quern_slice body);

/* metrics.c */
void metrics_get(struct conn *c, struct manner manner, struct quern_slice body);

/* shutdown.c */
void shutdown_ask(struct conn *c, struct manner manner, struct quern_slice body);

#endif
