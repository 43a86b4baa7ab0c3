/* say.h - what quernd tells people: the story of its life on stdout, events and complaints on
 * stderr. */
#ifndef SERVER_SAY_H
#define SERVER_SAY_H

#include "base/attr.h"

#include <stddef.h>
#include <stdint.h>

/* One line on stdout, flushed at once. */
void say(const char *format, ...) PRINTF_LIKE(1, 2);

/* "quernd: ..." on stderr: why it does not start, or ends badly. */
void complain(const char *format, ...) PRINTF_LIKE(1, 2);

/* "2026-11-22T12:00:00.123Z ..." on stderr: an event. Control bytes are shown as '?'.
 * Threads: any. */
void say_event(const char *format, ...) PRINTF_LIKE(1, 2);

/* 48210 -> "48,210"; 6396313 -> "6.1 MiB". `to` is returned. */
#define SAID_BYTES 32
const char *said_count(uint64_t n, char to[SAID_BYTES]);
const char *said_bytes(uint64_t n, char to[SAID_BYTES]);

#endif
