/* params.h - the parameters that the routes know, from a query or a form. */
#ifndef SERVER_PARAMS_H
#define SERVER_PARAMS_H

#include "http/http.h"

enum param_kind {
    PARAM_KEY,
    PARAM_VALUE,
    PARAM_SYNC,
    PARAM_ENC,
    PARAM_META,
    PARAM_RETURN,
    PARAM_OP,
    PARAM_BY,
    PARAM_TTL,
    PARAM_EXPIRES_AT,
    PARAM_KEEPTTL,
    PARAM_PREFIX,
    PARAM_START,
    PARAM_END,
    PARAM_LIMIT,
    PARAM_CURSOR,
    PARAM_REVERSE,
    PARAM_DELIMITER,
    PARAM_VALUES,
    PARAM_COUNT,
    PARAM_MAX_SCAN_MS,
    PARAM_VERBOSE,
    PARAM_SNAPSHOT,
    PARAM_WAIT,
    PARAM_DIR,
    PARAM_ALL,
    PARAM_DRY_RUN,
    PARAM_DB,
    PARAM_KINDS,
};

/* Which of them a route takes: a set of bits. */
#define PARAM_BIT(kind) (1u << (kind))

/* Still encoded, by offset: the buffer they stand in may move before they are used. */
struct param {
    uint32_t at, len;
    bool given, bare; /* bare: without = */
};

struct params {
    struct param each[PARAM_KINDS];
};

static inline bool params_given(const struct params *p, enum param_kind kind)
{
    return p->each[kind].given;
}

/* Read `query`, whose offsets are counted from `base`. False: *bad says why not. */
bool params_read(struct quern_slice query, const void *base, unsigned taken, struct params *out,
                 struct http_bad *bad);

/* Decode one into `out`, replacing what was there. False: a bad escape, or no memory; *bad says
 * which. */
bool params_decode(const void *base, struct param p, struct buf *out, struct http_bad *bad);

/* One that is a word or a number, decoded, with a zero. False: longer than that, or a bad escape. */
#define PARAM_WORD_BYTES 32
bool params_word(const void *base, struct param p, char to[PARAM_WORD_BYTES]);

/* "1", "true", or bare; "0", "false", or not given. False: something else. */
bool params_flag(const void *base, struct param p, bool *out);

#endif
