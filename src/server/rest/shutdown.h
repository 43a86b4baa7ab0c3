/* shutdown.h - what a client that asked for the end still hears. */
#ifndef SERVER_SHUTDOWN_H
#define SERVER_SHUTDOWN_H

#include "server/conn.h"

/* Pass on what was said of the shutdown since; also to a client of the Redis protocol, which waits for
 * its end alone. */
void shutdown_words(struct conn *c);

#endif
