/* events.h - the last things that the store told of itself: flushes, merges, full disks. */
#ifndef SERVER_EVENTS_H
#define SERVER_EVENTS_H

#include "base/buf.h"
#include "base/thread.h"

#include <quern/quern.h>

#define EVENTS_KEPT 256u
#define EVENT_TEXT_BYTES 240

struct events {
    struct mutex mu;
    uint64_t count; /* guarded by mu, as is the rest */
    struct happened {
        uint64_t at_ms; /* since 1970 */
        enum quern_event_kind kind;
        uint64_t bytes_in, bytes_out, duration_us;
        char text[EVENT_TEXT_BYTES];
    } kept[EVENTS_KEPT]; /* number n stands at n % EVENTS_KEPT */
};

void events_init(struct events *e);
void events_done(struct events *e);
void events_note(struct events *e, const struct quern_event *event); /* any thread */
const char *event_name(enum quern_event_kind kind);

/* Append {"events":[...]}, the oldest first. */
MUST_USE enum quern_code events_text(struct events *e, struct buf *out, struct quern_error *err);

#endif
