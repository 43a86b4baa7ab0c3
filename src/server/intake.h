/* intake.h - what has arrived and was not carried out yet, of all connections together.
 *
 * Each connection is bounded by the size of a request; a thousand of them that each send a large one
 * are not. So what a connection holds beyond 64 KiB counts (bodies, requests of the Redis protocol,
 * lines of an import, commands of a transaction), and while all of it is too much, whoever needs more
 * is told to come again: 503 with Retry-After, -TRYAGAIN. It gives up what it holds at once, so the
 * others get on; to wait for them instead could mean that all wait. One that holds everything alone
 * goes on, within its own bounds.
 *
 * Nobody keeps others out by holding still: where somebody was told to come again, a connection of
 * which next to nothing came meanwhile is ended.
 *
 * All of it on the connection's loop. */
#ifndef SERVER_INTAKE_H
#define SERVER_INTAKE_H

#include "server/conn.h"

uint64_t intake_bytes_max(const struct server *server);

/* Count what the connection holds now. */
void intake_count(struct conn *c);
void intake_forget(struct conn *c); /* it is closed */

/* Does it need more than there is? Not if it holds 64 KiB at most. */
bool intake_is_too_much(const struct conn *c);
/* Would a body of that length be too much? */
bool intake_would_be_too_much(const struct conn *c, uint64_t length);

/* At every tick: has it held much for as long as a head may take, and moved little, while others were
 * turned away? by_client: it is the client that is waited for. */
bool intake_is_hoarded(struct conn *c, bool by_client);

/* 0 to 100. */
unsigned intake_pressure(const struct server *server);

#endif
