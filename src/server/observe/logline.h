/* logline.h - one line of a log: fields in order, as logfmt or as a JSON object, well formed whatever
 * bytes are put in and however many.
 *
 *     ts=2026-11-22T12:00:00.123Z level=info event=flushed msg="12 entries"
 *     {"ts":"2026-11-22T12:00:00.123Z","level":"info","event":"flushed","msg":"12 entries"}
 *
 * In logfmt a text stands bare where it can, else in quotes with the escapes of JSON. Control
 * characters are escaped in both; so are bytes that are not UTF-8, each by itself, as the character
 * of that number. What does not fit the line is cut. */
#ifndef SERVER_LOGLINE_H
#define SERVER_LOGLINE_H

#include <quern/quern.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_format {
    LOG_TEXT, /* for people: of an event time, name and words; else as logfmt */
    LOG_LOGFMT,
    LOG_JSON,
};

#define LOGLINE_BYTES 2048u

struct logline {
    char text[LOGLINE_BYTES];
    size_t len;
    bool json;
};

/* With "ts", the time now. */
void logline_begin(struct logline *l, enum log_format format);
void logline_text(struct logline *l, const char *name, struct quern_slice value);
void logline_number(struct logline *l, const char *name, uint64_t value);
/* The line, with its end. */
struct quern_slice logline_end(struct logline *l);

/* "2026-11-22T12:00:00.123Z" */
#define LOG_TIME_BYTES 32
const char *log_time(char to[LOG_TIME_BYTES]);

#endif
