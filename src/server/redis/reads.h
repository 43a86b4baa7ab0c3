/* reads.h - commands that wait for the batched get of their loop's turn (server/reads.h). */
#ifndef SERVER_RESP_READS_H
#define SERVER_RESP_READS_H

#include "server/redis/call.h"

/* May the command at hand wait for the batch: is it a READ of a few keys, has it company, and is
 * there room? How many keys; 0: it may not. read_later() with that number, n, lets it wait; its reply
 * comes with reads_run(), in order with all that waits already. What does not wait must call that
 * first. A connection that asked for what is not in memory, or is large, stands before that command
 * again then, and will carry it out alone. */
unsigned read_suits(const struct call *k);
void read_later(struct call *k, unsigned n);

#endif
