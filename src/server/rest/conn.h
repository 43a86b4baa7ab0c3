/* conn.h - the part of a connection that speaks HTTP. */
#ifndef SERVER_REST_CONN_H
#define SERVER_REST_CONN_H

#include "server/conn.h"

/* Go on with the request at hand, of which something has arrived; false: nothing can be done now. */
bool rest_step(struct conn *c);

/* The request at hand is answered, or its writes are under way: the next one begins behind it. */
void rest_pass_on(struct conn *c);

/* Answer with this, in its turn, and end. */
void rest_refuse(struct conn *c, struct http_bad bad);
/* The same: others have sent so much that there is no room for this body, or for more of it. */
void rest_refuse_for_others(struct conn *c);

#endif
