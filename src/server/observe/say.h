/* say.h - what quernd tells people: the story of its life on stdout, events and complaints on
 * stderr; as text, or in the fields of logline.h for programs. */
#ifndef SERVER_SAY_H
#define SERVER_SAY_H

#include "server/observe/logline.h"

#include "base/attr.h"

#include <stdbool.h>

enum say_level {
    SAY_DEBUG,
    SAY_INFO,
    SAY_WARNING,
    SAY_ERROR,
};

/* Before anything is said by other threads. */
void say_as(enum log_format format, enum say_level level);
void say_from(enum say_level level); /* any thread */

/* From now on events are written by a thread of their own (sink.h), so that nobody waits for
 * stderr; until the end, which writes what is left. Errors: NO_MEMORY. */
MUST_USE enum quern_code say_begin(struct quern_error *err);
void say_end(void);
uint64_t say_dropped(void); /* events that nobody took */

/* One line on stdout, flushed at once. */
void say(const char *format, ...) PRINTF_LIKE(1, 2);

/* "quernd: ..." on stderr: why it does not start, or ends badly. Main thread. */
void complain(const char *format, ...) PRINTF_LIKE(1, 2);
/* From now on as events, for which nobody waits: it serves. Main thread. */
void complain_by_events(bool yes);

/* "2026-11-22T12:00:00.123Z flushed: ..." on stderr, unless it is below the level: an event, its name
 * in a word or two. Threads: any. */
void say_event(enum say_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

/* 48210 -> "48,210"; 6396313 -> "6.1 MiB". `to` is returned. */
#define SAID_BYTES 32
const char *said_count(uint64_t n, char to[SAID_BYTES]);
const char *said_bytes(uint64_t n, char to[SAID_BYTES]);

#endif
