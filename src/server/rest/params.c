/* params.c - reads queries and form bodies. A parameter that is not known, or given twice, is
 * refused: a mistyped name must not be lost without a word. */
#include "server/rest/params.h"

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

/* What is wrong is said in constant text, so it is there for each by its name. */
#define PARAM(name)                                                                                \
    {                                                                                              \
        name, "the parameter " name " is given twice",                                             \
            "the parameter " name " has no =; write " name "= for an empty value"                  \
    }
static const struct {
    const char *name, *twice, *bare;
} known[PARAM_KINDS] = {
    [PARAM_KEY] = PARAM("key"),
    [PARAM_VALUE] = PARAM("value"),
    [PARAM_SYNC] = PARAM("sync"),
    [PARAM_ENC] = PARAM("enc"),
    [PARAM_META] = PARAM("meta"),
    [PARAM_RETURN] = PARAM("return"),
    [PARAM_OP] = PARAM("op"),
    [PARAM_BY] = PARAM("by"),
    [PARAM_TTL] = PARAM("ttl"),
    [PARAM_EXPIRES_AT] = PARAM("expires_at"),
    [PARAM_KEEPTTL] = PARAM("keepttl"),
    [PARAM_PREFIX] = PARAM("prefix"),
    [PARAM_START] = PARAM("start"),
    [PARAM_END] = PARAM("end"),
    [PARAM_LIMIT] = PARAM("limit"),
    [PARAM_CURSOR] = PARAM("cursor"),
    [PARAM_REVERSE] = PARAM("reverse"),
    [PARAM_DELIMITER] = PARAM("delimiter"),
    [PARAM_VALUES] = PARAM("values"),
    [PARAM_COUNT] = PARAM("count"),
    [PARAM_MAX_SCAN_MS] = PARAM("max_scan_ms"),
    [PARAM_VERBOSE] = PARAM("verbose"),
    [PARAM_SNAPSHOT] = PARAM("snapshot"),
    [PARAM_WAIT] = PARAM("wait"),
    [PARAM_DIR] = PARAM("dir"),
    [PARAM_ALL] = PARAM("all"),
    [PARAM_DRY_RUN] = PARAM("dry_run"),
    [PARAM_DB] = PARAM("db"),
};

/* These may stand without a value: ?verbose. */
#define FLAGS                                                                                      \
    (PARAM_BIT(PARAM_KEEPTTL) | PARAM_BIT(PARAM_REVERSE) | PARAM_BIT(PARAM_VALUES) |               \
     PARAM_BIT(PARAM_COUNT) | PARAM_BIT(PARAM_VERBOSE) | PARAM_BIT(PARAM_WAIT) |                   \
     PARAM_BIT(PARAM_ALL) | PARAM_BIT(PARAM_DRY_RUN))

static int kind_of(struct quern_slice name, unsigned taken)
{
    for (int kind = 0; kind < PARAM_KINDS; kind++) {
        if (taken & PARAM_BIT(kind) && http_same_word(name, known[kind].name))
            return kind;
    }
    return -1;
}

bool params_read(struct quern_slice query, const void *base, unsigned taken, struct params *out,
                 struct http_bad *bad)
{
    struct quern_slice name, value;
    bool has_value;

    memset(out, 0, sizeof(*out));
    while (http_query_next(&query, &name, &value, &has_value)) {
        char plain[NAME_BYTES_MAX];
        size_t len = name.len <= sizeof(plain) ? http_form_decode(name, plain) : 0;
        struct param *p;
        int kind;

        if (len == SIZE_MAX)
            return bad_escape(bad);
        kind = kind_of((struct quern_slice){plain, len}, taken);
        if (kind < 0)
            return refuse(
                bad, "unknown_parameter",
                "a parameter that this route does not know; write & inside a value as %26");
        p = &out->each[kind];
        if (p->given)
            return refuse(bad, "duplicate_parameter", known[kind].twice);
        if (!has_value && !(PARAM_BIT(kind) & FLAGS))
            return refuse(bad, "missing_parameter", known[kind].bare);
        p->at = (uint32_t)((const uint8_t *)value.data - (const uint8_t *)base);
        p->len = (uint32_t)value.len;
        p->given = true;
        p->bare = !has_value;
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

bool params_word(const void *base, struct param p, char to[PARAM_WORD_BYTES])
{
    size_t n;

    if (p.len >= PARAM_WORD_BYTES)
        return false;
    n = http_form_decode((struct quern_slice){(const uint8_t *)base + p.at, p.len}, to);
    if (n == SIZE_MAX || memchr(to, '\0', n) != NULL)
        return false;
    to[n] = '\0';
    return true;
}

bool params_flag(const void *base, struct param p, bool *out)
{
    struct quern_slice word = {(const uint8_t *)base + p.at, p.len};

    *out = p.given && (p.bare || http_same_word(word, "1") || http_same_word(word, "true"));
    return *out || !p.given || http_same_word(word, "0") || http_same_word(word, "false");
}
