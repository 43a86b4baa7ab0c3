/* reads.h - the reads of one turn of a loop: what all connections ask for becomes one batched
 * get. The loop's thread alone. */
#ifndef SERVER_RESP_READS_H
#define SERVER_RESP_READS_H

#include "server/redis/call.h"

struct loop;
struct reads;

MUST_USE struct reads *reads_new(void); /* NULL: no memory */
void reads_free(struct reads *reads);   /* NULL is fine */

/* May the command at hand wait for the batch: is it a READ of a few keys, and is there room? How
 * many keys; 0: it may not. reads_take() with that number, n, lets it wait; its reply comes with
 * reads_run(), in order with all that waits already. What does not wait must call that first. */
unsigned reads_suit(const struct call *k);
void reads_take(struct call *k, unsigned n);
/* Get all keys and carry the commands out. A connection that asked for what is not in memory, or is
 * large, stands before that command again, and will carry it out alone. */
void reads_run(struct loop *loop);

#endif
