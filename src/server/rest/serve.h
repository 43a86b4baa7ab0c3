/* serve.h - from a request to its reply. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "server/reads.h"

/* A head was read: find the route and check all that can be checked before the body. Fills route,
 * params and body_max, or `refusal`. */
void serve_begin(struct conn *c);

/* May this request be carried out while writes of its connection are under way? Only another write
 * may. */
bool serve_may_join(const struct conn *c);

/* Carry out the whole request at hand: reply, or begin a write whose completion replies. False: it
 * turned out that it must be refused, and that must wait for the writes before it, and it is to be
 * called again then; or it waits for a value. */
bool serve_request(struct conn *c, struct quern_slice body);
/* What the request at hand reads is here: then() answers, and the next one begins behind it. */
void serve_found(struct conn *c, struct manner manner, read_then then, enum quern_code code,
                 const struct quern_error *err);

void serve_refusal(struct conn *c); /* answer `refusal`, and let the connection end */
void serve_completed(
    struct write_op *op); /* answer a write that has finished, unless nobody listens */

#endif
