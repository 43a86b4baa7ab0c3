/* snapshot.c - /v1/snapshots: a client holds the store as it is now, for some requests to come. */
#include "server/rest/lifetime.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/snapshots.h"

#include "base/error.h"
#include "base/when.h"

#include <inttypes.h>
#include <stdio.h>

/* How long it is to live; false: refused. */
static bool read_ttl(struct conn *c, uint64_t *ms)
{
    struct param p = c->params.each[PARAM_TTL];
    char word[PARAM_WORD_BYTES];

    *ms = SNAPSHOT_TTL_MS_DEFAULT;
    if (!p.given || (params_word(conn_request_bytes(c), p, word) &&
                     span_read(QUERN_STR(word), ms) && *ms >= 1 && *ms <= SNAPSHOT_TTL_MS_MAX))
        return true;
    refuse(c, 400, "bad_ttl", "ttl must be above 0 and at most an hour: 90, 90s, 1500ms, 15m, 1h");
    return false;
}

void snapshot_check(struct conn *c)
{
    uint64_t ttl_ms;

    (void)read_ttl(c, &ttl_ms);
}

void snapshot_make(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct server *server = c->loop->server;
    struct held_snapshot *held;
    char text[192], extra[160], moment[WHEN_BYTES + 1];
    struct quern_error err;
    uint64_t ttl_ms;
    int n;

    (void)body;
    if (!read_ttl(c, &ttl_ms))
        return;
    switch (snapshots_make(&server->snapshots, server->db, server->run, ttl_ms, &held, &err)) {
    case QUERN_OK:
        break;
    case QUERN_BUSY:
        refuse(c, 429, "too_many_snapshots", "there are 16 snapshots already; delete one, or wait");
        c->refusal.extra = "Retry-After: 1\r\n";
        return;
    default:
        reply_store_error(c, manner, err.code, &err);
        return;
    }
    (void)when_write(held->expires_ms, moment);
    n = snprintf(text, sizeof(text), "{\"id\":\"%s\",\"rev\":%" PRIu64 ",\"expires_at\":\"%s\"}\n",
                 held->id, quern_snapshot_seq(held->snapshot), moment);
    (void)snprintf(extra, sizeof(extra),
                   "Location: /v1/snapshots/%s\r\nCache-Control: no-store\r\n", held->id);
    reply_with(c, manner, 201, "application/json", (struct quern_slice){text, (size_t)n}, extra);
    snapshots_give(&server->snapshots, held);
}

void snapshot_end(struct conn *c, struct manner manner, struct quern_slice body)
{
    static const char begin[] = "/v1/snapshots/";
    struct quern_slice path = http_bytes(conn_request_bytes(c), c->request.path);
    size_t n = sizeof(begin) - 1;

    (void)body;
    if (snapshots_end(&c->loop->server->snapshots,
                      (struct quern_slice){(const char *)path.data + n, path.len - n}))
        reply_with(c, manner, 204, NULL, (struct quern_slice){NULL, 0}, NULL);
    else
        refuse(c, 404, "no_such_snapshot", "there is no snapshot of this name, or no more");
}
