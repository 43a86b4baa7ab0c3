/* params.c - reads queries and form bodies. A parameter that is not known, or given twice, is
 * refused: a mistyped name must not be lost without a word. */
#include "server/params.h"

#include <string.h>

#define NAME_BYTES_MAX 32

static bool refuse(struct http_bad *bad, const char *code, const char *detail)
{
    *bad = (struct http_bad){400, code, detail};
    return false;
}

static bool bad_escape(struct http_bad *bad)
{
    return refuse(
        bad, "bad_percent_encoding",
        "a % in the query must be followed by two hexadecimal digits; write %25 for itself");
}

static bool take(struct params *p, struct quern_slice name, unsigned taken, struct param **out)
{
    *out = NULL;
    if (taken & PARAM_KEY && http_same_word(name, "key"))
        *out = &p->key;
    else if (taken & PARAM_VALUE && http_same_word(name, "value"))
        *out = &p->value;
    return *out != NULL;
}

static bool read_sync(struct quern_slice value, bool *seen, bool *sync, struct http_bad *bad)
{
    if (*seen)
        return refuse(bad, "duplicate_parameter", "sync is given twice");
    *seen = true;
    if (http_same_word(value, "1") || http_same_word(value, "true"))
        *sync = true;
    else if (!http_same_word(value, "0") && !http_same_word(value, "false"))
        return refuse(bad, "bad_parameter", "sync must be 1 or 0");
    return true;
}

bool params_read(struct quern_slice query, const void *base, unsigned taken, struct params *out,
                 struct http_bad *bad)
{
    struct quern_slice name, value;
    bool has_value, sync_seen = false;

    memset(out, 0, sizeof(*out));
    while (http_query_next(&query, &name, &value, &has_value)) {
        char plain[NAME_BYTES_MAX];
        size_t len = name.len <= sizeof(plain) ? http_form_decode(name, plain) : 0;
        struct param *p;

        if (len == SIZE_MAX)
            return bad_escape(bad);
        name = (struct quern_slice){plain, len};
        if (taken & PARAM_SYNC && http_same_word(name, "sync")) {
            if (!read_sync(value, &sync_seen, &out->sync, bad))
                return false;
            continue;
        }
        if (!take(out, name, taken, &p))
            return refuse(
                bad, "unknown_parameter",
                "a parameter that this route does not know; write & inside a value as %26");
        if (p->given)
            return refuse(bad, "duplicate_parameter", "a parameter is given twice");
        if (!has_value)
            return refuse(bad, "missing_parameter",
                          "a parameter without =; write value= for an empty value");
        p->at = (uint32_t)((const uint8_t *)value.data - (const uint8_t *)base);
        p->len = (uint32_t)value.len;
        p->given = true;
    }
    return true;
}

bool params_decode(const void *base, struct param p, struct buf *out, struct http_bad *bad)
{
    struct quern_error err;

    buf_clear(out);
    if (buf_reserve(out, p.len + 1u, &err) != QUERN_OK) {
        *bad = (struct http_bad){500, "no_memory", "memory ran out; nothing was done"};
        return false;
    }
    out->len =
        http_form_decode((struct quern_slice){(const uint8_t *)base + p.at, p.len}, out->data);
    if (out->len == SIZE_MAX) {
        out->len = 0;
        return bad_escape(bad);
    }
    return true;
}
