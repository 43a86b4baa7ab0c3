/* lifetime.h - how long a value is to live, as a request says it. */
#ifndef SERVER_LIFETIME_H
#define SERVER_LIFETIME_H

#include "server/conn.h"

enum lifetime_kind {
    LIFETIME_ENDLESS, /* nothing is said */
    LIFETIME_UNTIL,
    LIFETIME_KEEP, /* as what it replaces */
};

struct lifetime {
    enum lifetime_kind kind;
    uint64_t until_ms;
};

/* Does the request say anything of it, by parameters or fields? */
bool lifetime_given(const struct conn *c);

/* Read `ttl`, `expires_at` or `keepttl` of these parameters, or the fields Quern-TTL and
 * Quern-Expires-At of the request at hand; a ttl counts from now, by the store's clock. False: refused. */
bool lifetime_read(struct conn *c, const void *base, const struct params *p, struct lifetime *out);

/* A span from `now`, or a moment behind it, that is told in a batch. NULL, or what is wrong. */
const char *lifetime_from_ttl(struct quern_slice text, uint64_t now, struct lifetime *out);
const char *lifetime_from_moment(struct quern_slice text, uint64_t now, struct lifetime *out);

/* When a value with this lifetime expires that replaces one which was to expire at `old_ms`; 0:
 * never. */
static inline uint64_t lifetime_end(const struct lifetime *l, uint64_t old_ms)
{
    return l->kind == LIFETIME_KEEP ? old_ms : l->until_ms;
}

/* Append `Quern-Expires-At: ...` and CRLF, with a zero behind, or nothing for 0. Returns its
 * length. */
#define LIFETIME_FIELD_BYTES 48
size_t lifetime_field(uint64_t expires_ms, char to[LIFETIME_FIELD_BYTES]);

#endif
