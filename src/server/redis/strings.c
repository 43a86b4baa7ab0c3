/* strings.c - commands on values: the same bytes that HTTP reads and writes under the key. Those
 * that change a part of a value leave alone when it expires. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define HAND_OVER_BYTES_MIN 65536u /* from here on a value is sent from where it was read to */

enum quern_code reply_found(struct call *k, enum quern_code code)
{
    if (code == QUERN_NOT_FOUND)
        return call_null(k);
    if (code != QUERN_OK)
        return code;
    if (!k->may_hand_over || k->value->len < HAND_OVER_BYTES_MIN) {
        resp_put_bulk(&k->out, call_value(k));
        return QUERN_OK;
    }
    resp_put_bulk_head(&k->out, k->value->len);
    k->conn->big = *k->value;
    k->conn->big_tail = 2;
    memset(k->value, 0, sizeof(*k->value));
    return QUERN_OK;
}

enum quern_code cmd_get(struct call *k)
{
    return reply_found(k, call_get(k, k->args[1]));
}

enum quern_code cmd_strlen(struct call *k)
{
    enum quern_code code = call_get(k, k->args[1]);

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    return call_int(k, code == QUERN_OK ? (int64_t)k->value->len : 0);
}

static bool reads_through_multi_get(const struct call *k)
{
    return k->update == NULL && k->argc > 2 && k->fetched == NULL;
}

/* MGET outside a transaction, by tens: as of one moment each, and their cache misses overlap. */
#define MGET_BYTES_KEPT_MAX 1024u /* of each value, where there is memory that is kept */

static enum quern_code mget_some(struct call *k, const struct quern_slice *keys, size_t n)
{
    struct quern_value own[MGET_AT_ONCE], *values = k->many != NULL ? k->many : own;
    enum quern_code codes[MGET_AT_ONCE], code;
    struct resp_counters *counters = &k->server->resp->counters;

    if (k->many == NULL)
        memset(own, 0, n * sizeof(*own));
    code = quern_multi_get(k->server->db, keys, n, &k->reads, values, codes, k->err);
    for (size_t i = 0; i < n; i++) {
        if (code == QUERN_OK && codes[i] == QUERN_OK)
            resp_put_bulk(&k->out, (struct quern_slice){values[i].data, values[i].len});
        else if (code == QUERN_OK)
            resp_put_null(&k->out);
        count(codes[i] == QUERN_OK ? &counters->hits : &counters->misses, codes[i] != QUERN_BUSY);
        if (k->many == NULL || values[i].len > MGET_BYTES_KEPT_MAX)
            quern_value_done(&values[i]);
    }
    return code;
}

/* As of one moment only as far as one call goes: all of up to 64 keys. */
enum quern_code cmd_mget(struct call *k)
{
    size_t mark = k->out.to->len;

    resp_put_array(&k->out, k->argc - 1);
    for (size_t i = 1; i < k->argc;) {
        size_t n = k->argc - i < MGET_AT_ONCE ? k->argc - i : MGET_AT_ONCE, fit = 0;
        enum quern_code code;

        while (fit < n && k->args[i + fit].len > 0 && k->args[i + fit].len <= QUERN_KEY_BYTES_MAX)
            fit++;
        if (reads_through_multi_get(k) && fit > 1) {
            code = mget_some(k, k->args + i, fit);
            i += fit;
        } else {
            code = call_get(k, k->args[i++]);
            if (code == QUERN_OK)
                resp_put_bulk(&k->out, call_value(k));
            else if (code == QUERN_NOT_FOUND)
                resp_put_null(&k->out);
        }
        if (code == QUERN_OK && k->out.to->len - mark > REPLY_BYTES_MAX)
            code = err_set(k->err, QUERN_INVALID, "the reply is over 256 MiB");
        if (code != QUERN_OK && code != QUERN_NOT_FOUND) {
            k->out.to->len = mark;
            return code;
        }
    }
    return QUERN_OK;
}

/* ------------------------------------------------------------------ parts of a value -- */

static bool too_long(struct call *k, uint64_t bytes)
{
    if (bytes <= k->server->options->value_bytes_max)
        return false;
    (void)call_error(k, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return true;
}

/* Store the value that was read with `piece` written at `at`, zeros between, and reply with its
 * length. */
static enum quern_code put_patched(struct call *k, size_t at, struct quern_slice piece)
{
    size_t old = k->value->len, len = at + piece.len > old ? at + piece.len : old;
    struct buf whole OWNED_BUF = {0};
    enum quern_code code;

    if (buf_reserve(&whole, len, k->err) || buf_append(&whole, k->value->data, old, k->err))
        return k->err->code;
    if (at > old)
        memset(whole.data + old, 0, at - old);
    if (piece.len > 0)
        memcpy(whole.data + at, piece.data, piece.len);
    whole.len = len;
    code = call_put_until(k, k->args[1], buf_slice(&whole), k->value->expires_ms);
    return code != QUERN_OK ? code : call_int(k, (int64_t)len);
}

enum quern_code cmd_append(struct call *k)
{
    enum quern_code code = call_get(k, k->args[1]);

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (too_long(k, (uint64_t)k->value->len + k->args[2].len))
        return QUERN_OK;
    return put_patched(k, k->value->len, k->args[2]);
}

enum quern_code cmd_setrange(struct call *k)
{
    enum quern_code code;
    int64_t at;

    if (!call_integer(k, 2, &at))
        return QUERN_OK;
    if (at < 0)
        return call_error(k, "ERR offset is out of range");
    code = call_get(k, k->args[1]);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (k->args[3].len == 0) /* writes nothing, and makes nothing */
        return call_int(k, (int64_t)k->value->len);
    if (at > INT64_MAX / 2 || too_long(k, (uint64_t)at + k->args[3].len))
        return at > INT64_MAX / 2 ? call_error(k, "ERR string exceeds maximum allowed size "
                                                  "(proto-max-bulk-len)")
                                  : QUERN_OK;
    return put_patched(k, (size_t)at, k->args[3]);
}

enum quern_code cmd_getrange(struct call *k)
{
    struct quern_slice part = {"", 0};
    int64_t from, to, len;
    enum quern_code code;

    if (!call_integer(k, 2, &from) || !call_integer(k, 3, &to))
        return QUERN_OK;
    code = call_get(k, k->args[1]);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    len = code == QUERN_OK ? (int64_t)k->value->len : 0;
    if (!(from < 0 && to < 0 && from > to)) {
        from = from < 0 ? (from + len < 0 ? 0 : from + len) : from;
        to = to < 0 ? (to + len < 0 ? 0 : to + len) : to;
        if (to >= len)
            to = len - 1;
        if (from <= to && len > 0)
            part = (struct quern_slice){(const uint8_t *)k->value->data + from,
                                        (size_t)(to - from + 1)};
    }
    resp_put_bulk(&k->out, part);
    return QUERN_OK;
}

/* ------------------------------------------------------------------ numbers -- */

static enum quern_code add(struct call *k, int64_t by)
{
    enum quern_code code = call_get(k, k->args[1]);
    char text[24];
    int64_t v = 0;
    int len;

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (code == QUERN_OK && !resp_integer(call_value(k), &v))
        return call_error(k, "ERR value is not an integer or out of range");
    if (__builtin_add_overflow(v, by, &v))
        return call_error(k, "ERR increment or decrement would overflow");
    len = snprintf(text, sizeof(text), "%lld", (long long)v);
    code = call_put_until(k, k->args[1], (struct quern_slice){text, (size_t)len},
                          k->value->expires_ms);
    return code != QUERN_OK ? code : call_int(k, v);
}

enum quern_code cmd_incr(struct call *k)
{
    return add(k, 1);
}

enum quern_code cmd_decr(struct call *k)
{
    return add(k, -1);
}

enum quern_code cmd_incrby(struct call *k)
{
    int64_t by;

    return call_integer(k, 2, &by) ? add(k, by) : QUERN_OK;
}

enum quern_code cmd_decrby(struct call *k)
{
    int64_t by;

    if (!call_integer(k, 2, &by))
        return QUERN_OK;
    if (by == INT64_MIN)
        return call_error(k, "ERR decrement would overflow");
    return add(k, -by);
}

#define REAL_BYTES_MAX 5120u /* the largest long double has 4933 digits before the point */

/* A number as strtold() reads it, all of it, without spaces; neither NaN nor too large. */
static bool real_of(struct quern_slice s, long double *out)
{
    char text[REAL_BYTES_MAX], *end;

    if (s.len == 0 || s.len >= sizeof(text))
        return false;
    memcpy(text, s.data, s.len);
    text[s.len] = '\0';
    errno = 0;
    *out = strtold(text, &end);
    return isspace((unsigned char)text[0]) == 0 && end == text + s.len && !isnan(*out) &&
           !(errno == ERANGE &&
             (*out == HUGE_VALL || *out == -HUGE_VALL || fpclassify(*out) == FP_ZERO));
}

/* Seventeen digits behind the point, without zeros at the end: as Redis writes it. */
static size_t write_real(long double v, char *to, size_t room)
{
    size_t len = (size_t)snprintf(to, room, "%.17Lf", v);

    if (memchr(to, '.', len) != NULL) {
        while (to[len - 1] == '0')
            len--;
        if (to[len - 1] == '.')
            len--;
    }
    if (len == 2 && memcmp(to, "-0", 2) == 0) {
        to[0] = '0';
        len = 1;
    }
    return len;
}

enum quern_code cmd_incrbyfloat(struct call *k)
{
    enum quern_code code = call_get(k, k->args[1]);
    char text[REAL_BYTES_MAX];
    struct quern_slice written = {text, 0};
    long double v = 0, by;

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if ((code == QUERN_OK && !real_of(call_value(k), &v)) || !real_of(k->args[2], &by))
        return call_error(k, "ERR value is not a valid float");
    v += by;
    if (isnan(v) || isinf(v))
        return call_error(k, "ERR increment would produce NaN or Infinity");
    written.len = write_real(v, text, sizeof(text));
    resp_put_bulk(&k->out, written);
    return call_put_until(k, k->args[1], written, k->value->expires_ms);
}
