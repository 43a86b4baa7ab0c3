/* logline.c - puts a line of a log together; see logline.h. */
#include "server/observe/logline.h"

#include "http/http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define END_BYTES 4u /* "\"}\n", kept free */

const char *log_time(char to[LOG_TIME_BYTES])
{
    struct timespec now;
    struct tm tm;
    size_t n;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    n = strftime(to, LOG_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(to + n, LOG_TIME_BYTES - n, ".%03ldZ", now.tv_nsec / 1000000);
    return to;
}

/* All of it or nothing. */
static bool put(struct logline *l, const char *text, size_t len)
{
    if (l->len + len > LOGLINE_BYTES - END_BYTES)
        return false;
    memcpy(l->text + l->len, text, len);
    l->len += len;
    return true;
}

/* Room for the name and an empty value, or the field is left out. */
static bool put_name(struct logline *l, const char *name)
{
    char begin[64];
    bool first = l->len == (l->json ? 1u : 0u);
    int n = l->json ? snprintf(begin, sizeof(begin), "%s\"%s\":", first ? "" : ",", name)
                    : snprintf(begin, sizeof(begin), "%s%s=", first ? "" : " ", name);

    if (l->len + (size_t)n + 24 > LOGLINE_BYTES - END_BYTES)
        return false;
    return put(l, begin, (size_t)n);
}

/* How many bytes at `s` are one character of UTF-8; 0: they are none. */
static size_t character(const uint8_t *s, size_t len)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    return n <= len && http_is_utf8(s, n) ? n : 0;
}

static void put_escaped(struct logline *l, const uint8_t *s, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = character(s + at, len - at);
        char escaped[8];
        bool room;

        if (s[at] == '"' || s[at] == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)s[at];
            room = put(l, escaped, 2);
        } else if (n == 0 || s[at] < 0x20 || s[at] == 0x7f) {
            (void)snprintf(escaped, sizeof(escaped), "\\u%04x", s[at]);
            room = put(l, escaped, 6);
            n = 1;
        } else {
            room = put(l, (const char *)s + at, n);
        }
        if (!room)
            return;
        at += n;
    }
}

/* May it stand without quotes? */
static bool is_bare(struct quern_slice value)
{
    const uint8_t *s = value.data;

    for (size_t i = 0; i < value.len; i++) {
        if (s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '=' || s[i] == '\\')
            return false;
    }
    return value.len > 0;
}

void logline_begin(struct logline *l, enum log_format format)
{
    char now[LOG_TIME_BYTES];

    l->json = format == LOG_JSON;
    l->len = 0;
    if (l->json)
        (void)put(l, "{", 1);
    logline_text(l, "ts", QUERN_STR(log_time(now)));
}

void logline_text(struct logline *l, const char *name, struct quern_slice value)
{
    if (!put_name(l, name))
        return;
    if (!l->json && is_bare(value) && put(l, value.data, value.len))
        return;
    (void)put(l, "\"", 1);
    put_escaped(l, value.data, value.len);
    l->text[l->len++] = '"'; /* there is room: END_BYTES */
}

void logline_number(struct logline *l, const char *name, uint64_t value)
{
    char text[24];

    if (put_name(l, name))
        (void)put(l, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, value));
}

struct quern_slice logline_end(struct logline *l)
{
    if (l->json)
        l->text[l->len++] = '}';
    l->text[l->len++] = '\n';
    return (struct quern_slice){l->text, l->len};
}
