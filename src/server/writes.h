/* writes.h - hands writes to the store and sees them home. */
#ifndef SERVER_WRITES_H
#define SERVER_WRITES_H

#include "server/conn.h"

/* Begin to store key and value (copied), or to delete a key that is there. `sync`: the client asks
 * for it. The reply follows from serve_completed(). False: no memory, and nothing begun. */
bool write_set(struct conn *c, struct manner manner, struct quern_slice key,
               struct quern_slice value, bool sync);
bool write_delete(struct conn *c, struct manner manner, struct quern_slice key, bool sync);

/* For the Redis protocol: a write at the end of the connection's queue (NULL: no memory), whose batch
 * is then filled and submitted, or which is submitted as an update (`fn` gets the op), or which has
 * come to its end without the store. */
struct write_op *write_begin(struct conn *c, size_t bytes, bool sync);
void write_submit(struct write_op *op);
void write_submit_update(struct write_op *op, quern_update_fn fn);
void write_finish(struct write_op *op, enum quern_code code);

#endif
