/* reach.c - reads what reach.h says. */
#include "server/rest/reach.h"

#include "server/rest/route.h"

#include "base/prefix.h"

static bool read_bytes(struct conn *c, enum param_kind kind, struct buf *out)
{
    struct param p = c->params.each[kind];

    return !p.given || params_decode(conn_request_bytes(c), p, out, &c->refusal.bad);
}

bool reach_snapshot(struct conn *c, struct held_snapshot **out)
{
    struct param p = c->params.each[PARAM_SNAPSHOT];
    char id[PARAM_WORD_BYTES];

    *out = NULL;
    if (!p.given)
        return true;
    if (params_word(conn_request_bytes(c), p, id))
        *out = snapshots_take(&c->loop->server->snapshots, QUERN_STR(id));
    if (*out != NULL)
        return true;
    refuse(c, 404, "no_such_snapshot", "there is no snapshot of this name, or no more");
    return false;
}

bool reach_of(struct conn *c, struct reach *out)
{
    *out = (struct reach){.server = c->loop->server, .database = c->database};
    return read_bytes(c, PARAM_PREFIX, &out->prefix) && read_bytes(c, PARAM_START, &out->start) &&
           read_bytes(c, PARAM_END, &out->end) &&
           guard_range(c, buf_slice(&out->prefix), buf_slice(&out->start), buf_slice(&out->end)) &&
           reach_snapshot(c, &out->held);
}

void reach_done(struct reach *s)
{
    buf_done(&s->prefix);
    buf_done(&s->start);
    buf_done(&s->end);
    if (s->held != NULL)
        snapshots_give(&s->server->snapshots, s->held);
    s->held = NULL;
}

enum quern_code reach_range(const struct reach *s, struct buf *after, struct quern_range *range,
                            struct quern_error *err)
{
    *range = (struct quern_range){buf_slice(&s->start), buf_slice(&s->end)};
    return prefix_narrow(buf_slice(&s->prefix), &range->start, &range->end, after, err);
}
