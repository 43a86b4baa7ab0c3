/* events.c - a ring under a lock. */
#include "server/rest/events.h"

#include "base/error.h"
#include "base/when.h"
#include "http/http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void events_init(struct events *e)
{
    memset(e, 0, sizeof(*e));
    mutex_init(&e->mu);
}

void events_done(struct events *e)
{
    mutex_done(&e->mu);
}

const char *event_name(enum quern_event_kind kind)
{
    static const char *const names[] = {
        "opened",   "torn tail", "flushed", "compacted", "slowed",
        "no space", "resumed",   "corrupt", "failed",    "closed",
    };

    return (unsigned)kind < ARRAY_LEN(names) ? names[kind] : "event";
}

void events_note(struct events *e, const struct quern_event *event)
{
    struct happened *h;

    mutex_lock(&e->mu);
    h = &e->kept[e->count++ % EVENTS_KEPT];
    h->at_ms = when_now();
    h->kind = event->kind;
    h->bytes_in = event->bytes_in;
    h->bytes_out = event->bytes_out;
    h->duration_us = event->duration_us;
    (void)snprintf(h->text, sizeof(h->text), "%s", event->text);
    mutex_unlock(&e->mu);
}

static enum quern_code add_one(struct buf *out, uint64_t number, const struct happened *h,
                               struct quern_error *err)
{
    char text[256], moment[WHEN_BYTES + 1];
    int n;

    (void)when_write(h->at_ms, moment);
    n = snprintf(text, sizeof(text),
                 "%s{\"id\":%" PRIu64 ",\"at\":\"%s\",\"kind\":\"%s\",\"bytes_in\":%" PRIu64
                 ",\"bytes_out\":%" PRIu64 ",\"duration_us\":%" PRIu64 ",\"text\":\"",
                 out->len > 0 && out->data[out->len - 1] == '}' ? "," : "", number, moment,
                 event_name(h->kind), h->bytes_in, h->bytes_out, h->duration_us);
    if (buf_append(out, text, (size_t)n, err) ||
        http_json_escape(out, (struct quern_slice){h->text, strlen(h->text)}, err))
        return err->code;
    return buf_append(out, "\"}", 2, err);
}

enum quern_code events_text(struct events *e, struct buf *out, struct quern_error *err)
{
    enum quern_code code = buf_append(out, "{\"events\":[", 11, err);
    uint64_t first;

    mutex_lock(&e->mu);
    first = e->count > EVENTS_KEPT ? e->count - EVENTS_KEPT : 0;
    for (uint64_t n = first; n < e->count && code == QUERN_OK; n++)
        code = add_one(out, n + 1, &e->kept[n % EVENTS_KEPT], err);
    mutex_unlock(&e->mu);
    return code != QUERN_OK ? code : buf_append(out, "]}\n", 3, err);
}
