/* outflow.h - a reply that is made page by page while the client reads it.
 *
 *     outflow_begin() -> fill() on a thread aside -> letter -> outflow_give(): the page into the
 *     output,
 *                            ^                               |
 *                            '------- not the last ----------'
 *
 * While a page is being sent the next one is made, and compressed for who asked for that; a client
 * that does not read holds those two, and what fill() needs. All but these happens on the
 * connection's loop. */
#ifndef SERVER_OUTFLOW_H
#define SERVER_OUTFLOW_H

#include "server/conn.h"

#define OUTFLOW_PAGE_BYTES 131072u /* a page ends with the entry that makes it so large */
#define OUTFLOWS_MAX 64u           /* at once, of all connections */

struct outflow {
    struct task task;  /* first */
    struct conn *conn; /* NULL: it is gone */
    struct buf page;
    struct squeeze *squeeze; /* compresses the pages, or NULL */
    struct buf packed;
    bool over; /* set by fill(): `page` is the last */
    bool busy; /* with a thread aside, or on its way back */
    bool chunked, closes;
    struct quern_error err; /* what fill() failed with */
    bool failed;

    /* Append to `page`. A failure ends the reply, in a way that the client sees. */
    enum quern_code (*fill)(struct outflow *o, struct quern_error *err);
    void (*free)(struct outflow *o); /* all of it, `page` too */
};

/* May another one begin? Else the request is refused. The place is taken: outflow_begin() must
 * follow, or outflow_give_up(). */
bool outflow_may_begin(struct conn *c);
void outflow_give_up(struct conn *c);

/* Begin the reply with its head. `o` is the connection's now. */
void outflow_begin(struct conn *c, struct manner manner, const char *type, const char *extra,
                   struct outflow *o);

/* Put a page that is ready into the output, unless one is being sent. True: the reply is whole, and
 * the connection may go on. */
bool outflow_give(struct conn *c);

void outflow_close(struct conn *c); /* the connection is closed; without one nothing happens */

#endif
