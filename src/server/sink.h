/* sink.h - lines on their way to a file, which nobody waits for.
 *
 * Whoever has a line gives it away under a lock that is held for a copy; a thread writes what has
 * gathered. A sink that is stuck (a pipe that nobody reads, a disk that hangs) fills its 1 MiB, and
 * what then comes is dropped and counted: a server must not stop answering because nobody takes its
 * log. Threads: any. */
#ifndef SERVER_SINK_H
#define SERVER_SINK_H

#include "base/attr.h"

#include <quern/types.h>

#include <stdatomic.h>

#define SINK_BYTES_MAX (1u << 20)

struct sink;

/* Lines go to the end of the file `path`, which is made if it is not there; or to `fd` if that is 0
 * or more, which stays the caller's. `name` is what it is called in words ("access log"); both texts
 * must outlive the sink. Errors: NO_MEMORY, IO. */
MUST_USE enum quern_code sink_open(const char *path, int fd, const char *name, struct sink **out,
                                   struct quern_error *err);

/* Whole lines. */
void sink_put(struct sink *sink, const void *lines, size_t len);

/* Begin a new file of the same name, once what was given is written: somebody has moved the old one
 * away. */
void sink_reopen(struct sink *sink);

/* How many lines were dropped since the start. */
uint64_t sink_dropped(const struct sink *sink);

/* Write what is there, for some seconds at most, and end. NULL is fine. */
void sink_close(struct sink *sink);

#endif
