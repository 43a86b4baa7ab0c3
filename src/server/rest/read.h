/* read.h - the value of a key, for the request at hand. */
#ifndef SERVER_READ_H
#define SERVER_READ_H

#include "server/reads.h"

/* The value of a key as of `held` (NULL: now), which is given back, into loop->value; then then().
 * That is now, or with the batch of this turn, or when it was fetched from disk: in the last case the
 * request is left as it is, and carried out once more, without a snapshot. Without memory for that
 * the connection is cut. */
void read_value(struct conn *c, struct manner manner, struct quern_slice key,
                struct held_snapshot *held, read_then then);

/* Does the request at hand wait for its value? Then it stays at hand. */
static inline bool read_waits(const struct conn *c)
{
    return c->gathered > 0 || (c->asides != 0 && c->ops->is_read && c->ops->answer == NULL);
}

#endif
