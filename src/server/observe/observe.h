/* observe.h - what is told of single requests: a line of the access log, and what was slow.
 *
 * Called when a reply stands, for requests that are to be told of (observe_wants()); the others pay
 * for two comparisons. Keys and values are never in the access log; the slow log has them, cut. */
#ifndef SERVER_OBSERVE_H
#define SERVER_OBSERVE_H

#include "server/conn.h"

static inline bool observe_wants(const struct loop *loop, const struct asked *a)
{
    const struct server *server = loop->server;

    return atomic_load_explicit(&server->access_log_on, memory_order_relaxed) ||
           ticks_between(a->arrived, loop->measure.now) >=
               atomic_load_explicit(&server->slowlog.look_ticks, memory_order_relaxed);
}

/* The reply at hand: while writes are under way it is that of the oldest, else that of the request
 * that is being carried out. */
COLD void observe_http(struct conn *c, const struct manner *manner, int status,
                       enum outcome outcome, uint64_t bytes_out);
/* `word`: the first of an error, or empty. */
COLD void observe_resp(struct conn *c, const struct asked *asked, enum outcome outcome,
                       struct quern_slice word, uint64_t bytes_out);

/* Give the lines of this turn away. */
void observe_flush(struct loop *loop);

#endif
