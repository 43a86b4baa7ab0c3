/* reply.c - replies in the protocol that the client asked for.
 *
 *                 RESP2            RESP3
 *     null        $-1              _
 *     null array  *-1              _
 *     map         *2n              %n
 *     set         *n               ~n
 *     verbatim    $len text        =len txt:text
 *
 * Everything else is the same in both. */
#include "resp/resp.h"

#include "base/decimal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define ERROR_BYTES_MAX 1024

void resp_put_raw(struct resp_out *o, const void *data, size_t len)
{
    struct quern_error err;

    if (buf_append(o->to, data, len, &err) != QUERN_OK)
        o->failed = true;
}

/* One letter, a number, CRLF. Returns how many bytes. */
#define NUMBER_BYTES_MAX (1 + 1 + DECIMAL_BYTES_MAX + 2)
static inline size_t number_line(char *to, char kind, int64_t v)
{
    size_t at = 0;

    to[at++] = kind;
    if (v < 0)
        to[at++] = '-';
    at += decimal_write(to + at, v < 0 ? (uint64_t)0 - (uint64_t)v : (uint64_t)v);
    to[at++] = '\r';
    to[at++] = '\n';
    return at;
}

static void put_number(struct resp_out *o, char kind, int64_t v)
{
    char line[NUMBER_BYTES_MAX];

    resp_put_raw(o, line, number_line(line, kind, v));
}

void resp_put_simple(struct resp_out *o, const char *text)
{
    resp_put_raw(o, "+", 1);
    resp_put_raw(o, text, strlen(text));
    resp_put_raw(o, "\r\n", 2);
}

void resp_put_error(struct resp_out *o, const char *format, ...)
{
    char text[ERROR_BYTES_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++) {
        if (*c == '\r' || *c == '\n')
            *c = ' ';
    }
    resp_put_raw(o, "-", 1);
    resp_put_raw(o, text, strlen(text));
    resp_put_raw(o, "\r\n", 2);
}

void resp_put_int(struct resp_out *o, int64_t v)
{
    put_number(o, ':', v);
}

void resp_put_bulk_head(struct resp_out *o, size_t len)
{
    put_number(o, '$', (int64_t)len);
}

void resp_put_bulk(struct resp_out *o, struct quern_slice s)
{
    struct quern_error err;
    char *to;
    size_t at;

    if (buf_reserve(o->to, NUMBER_BYTES_MAX + s.len + 2, &err) != QUERN_OK) {
        o->failed = true;
        return;
    }
    to = (char *)o->to->data + o->to->len;
    at = number_line(to, '$', (int64_t)s.len);
    if (s.len > 0)
        memcpy(to + at, s.data, s.len);
    memcpy(to + at + s.len, "\r\n", 2);
    o->to->len += at + s.len + 2;
}

void resp_put_text(struct resp_out *o, const char *text)
{
    resp_put_bulk(o, (struct quern_slice){text, strlen(text)});
}

void resp_put_verbatim(struct resp_out *o, struct quern_slice s)
{
    if (o->proto < 3) {
        resp_put_bulk(o, s);
        return;
    }
    put_number(o, '=', (int64_t)s.len + 4);
    resp_put_raw(o, "txt:", 4);
    resp_put_raw(o, s.data, s.len);
    resp_put_raw(o, "\r\n", 2);
}

void resp_put_null(struct resp_out *o)
{
    if (o->proto < 3)
        resp_put_raw(o, "$-1\r\n", 5);
    else
        resp_put_raw(o, "_\r\n", 3);
}

void resp_put_null_array(struct resp_out *o)
{
    if (o->proto < 3)
        resp_put_raw(o, "*-1\r\n", 5);
    else
        resp_put_raw(o, "_\r\n", 3);
}

void resp_put_array(struct resp_out *o, size_t count)
{
    put_number(o, '*', (int64_t)count);
}

void resp_put_set(struct resp_out *o, size_t count)
{
    put_number(o, o->proto < 3 ? '*' : '~', (int64_t)count);
}

void resp_put_map(struct resp_out *o, size_t pairs)
{
    if (o->proto < 3)
        put_number(o, '*', 2 * (int64_t)pairs);
    else
        put_number(o, '%', (int64_t)pairs);
}
