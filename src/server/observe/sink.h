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

/* Where lines go: to the end of a file, which is made if it is not there; to a descriptor that stays
 * somebody else's; or, with neither, nowhere. */
struct sink_place {
    int fd;     /* negative: nowhere */
    char *path; /* of a file that is the place's own, or NULL */
};
/* "off", "-" for `standard`, or a file. Errors: NO_MEMORY, IO. */
MUST_USE enum quern_code sink_place_open(const char *text, int standard, struct sink_place *out,
                                         struct quern_error *err);
void sink_place_close(struct sink_place *place);

/* Takes the place in any case. `name` is what it is called in words ("access log"), and must outlive
 * it. Errors: NO_MEMORY. */
MUST_USE enum quern_code sink_open(struct sink_place place, const char *name, struct sink **out,
                                   struct quern_error *err);
/* Once what was given is written, go on at another place, which is taken. */
void sink_move(struct sink *sink, struct sink_place place);

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
