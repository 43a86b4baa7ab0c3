/* pool.h - spare connections and writes of a loop. The loop's thread alone. */
#ifndef SERVER_POOL_H
#define SERVER_POOL_H

#include "server/conn.h"

/* A connection of zeros, with buffers of an earlier one; NULL: no memory. Back with
 * pool_put_conn(), when it is closed and has no write under way. */
struct conn *pool_take_conn(struct loop *loop);
void pool_put_conn(struct conn *c);

/* A write at the end of the connection's queue, with an empty batch; NULL: no memory. */
struct write_op *pool_take_op(struct conn *c);
/* Take the oldest write out of the connection's queue; it has finished. */
void pool_put_op(struct conn *c);

void pool_give_back(struct buf *b);     /* empty it, and keep its memory unless that is large */
void pool_put_value(struct loop *loop); /* the same for the value that was read last */
void pool_free(struct loop *loop);      /* everything spare; the loop has ended */

#endif
