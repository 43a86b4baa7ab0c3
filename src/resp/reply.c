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

/* One letter, a number, CRLF. */
static void put_number(struct resp_out *o, char kind, int64_t v)
{
    char line[32], digits[20];
    uint64_t rest = v < 0 ? (uint64_t)0 - (uint64_t)v : (uint64_t)v;
    size_t n = 0, at = 0;

    do
        digits[n++] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    line[at++] = kind;
    if (v < 0)
        line[at++] = '-';
    while (n > 0)
        line[at++] = digits[--n];
    line[at++] = '\r';
    line[at++] = '\n';
    resp_put_raw(o, line, at);
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
    resp_put_bulk_head(o, s.len);
    resp_put_raw(o, s.data, s.len);
    resp_put_raw(o, "\r\n", 2);
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
