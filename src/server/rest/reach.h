/* reach.h - which keys of which moment a request means: prefix, start, end and snapshot. */
#ifndef SERVER_REACH_H
#define SERVER_REACH_H

#include "server/conn.h"
#include "server/rest/snapshots.h"

#define REACH_PARAMS (PARAM_BIT(PARAM_PREFIX) | PARAM_BIT(PARAM_START) | PARAM_BIT(PARAM_END))

struct reach {
    struct server *server;
    uint8_t database;
    struct buf prefix, start, end; /* decoded; empty: not given */
    struct held_snapshot *held;    /* NULL: now */
};

/* Read them from the query of the request at hand. False: refused. In either case reach_done(). */
bool reach_of(struct conn *c, struct reach *out);
void reach_done(struct reach *s); /* zeros are fine */

/* The same as bounds, for those who take no prefix. *range borrows from `s` and `after`. */
MUST_USE enum quern_code reach_range(const struct reach *s, struct buf *after,
                                     struct quern_range *range, struct quern_error *err);

/* The snapshot that the request names, to be given back to the server's; NULL with true: none is
 * named. False: refused. */
bool reach_snapshot(struct conn *c, struct held_snapshot **out);

static inline const struct quern_snapshot *reach_view(const struct held_snapshot *held)
{
    return held != NULL ? held->snapshot : NULL;
}

#endif
