/* lifetime.c - reads lifetimes.
 *
 *     ?ttl=90s        Quern-TTL: 90s                               from now on
 *     ?expires_at=    Quern-Expires-At: 2026-11-22T12:00:00Z       to the millisecond
 *     ?keepttl                                                     that of the value before
 *
 * From now on is by the store's clock, which judges it: the machine's may have been set back, and by
 * that the value would have expired before it was put.
 *
 * One of them, or none: a value that is put without lives for ever. One that is not understood, or
 * that is over already, is refused: to store the value for ever, or not at all, would both be
 * something else than was asked for. */
#include "server/rest/lifetime.h"

#include "server/rest/route.h"

#include "base/when.h"

#include <string.h>

static bool bad(struct conn *c, const char *detail)
{
    refuse(c, 400, "bad_ttl", detail);
    return false;
}

const char *lifetime_from_ttl(struct quern_slice text, uint64_t now, struct lifetime *out)
{
    uint64_t span;

    if (!span_read(text, &span))
        return "ttl must be a number of seconds, or have a unit: 90, 90s, 1500ms, 15m, 12h, 30d";
    if (span == 0)
        return "ttl must be above 0; to remove a key, delete it";
    if (span > WHEN_MS_MAX - now)
        return "no key lives beyond the year 9999; leave ttl out for one that does not expire";
    *out = (struct lifetime){LIFETIME_UNTIL, now + span};
    return NULL;
}

const char *lifetime_from_moment(struct quern_slice text, uint64_t now, struct lifetime *out)
{
    uint64_t at;

    if (!when_read(text, &at))
        return "expires_at must be a moment like 2026-11-22T12:00:00Z (RFC 3339)";
    if (at <= now)
        return "expires_at lies in the past; to remove a key, delete it";
    *out = (struct lifetime){LIFETIME_UNTIL, at};
    return NULL;
}

static bool field_given(const struct conn *c)
{
    return http_has(&c->request, HTTP_QUERN_TTL) || http_has(&c->request, HTTP_QUERN_EXPIRES_AT);
}

bool lifetime_given(const struct conn *c)
{
    return params_given(&c->params, PARAM_TTL) || params_given(&c->params, PARAM_EXPIRES_AT) ||
           params_given(&c->params, PARAM_KEEPTTL) || field_given(c);
}

/* The text of a parameter or a field; empty when it is neither, or no text for this. */
static struct quern_slice text_of(const struct conn *c, const void *base, struct param p,
                                  enum http_field field, char to[PARAM_WORD_BYTES])
{
    if (!p.given)
        return http_bytes(conn_request_bytes(c), c->request.field[field]);
    return params_word(base, p, to) ? (struct quern_slice){to, strlen(to)}
                                    : (struct quern_slice){"", 0};
}

bool lifetime_read(struct conn *c, const void *base, const struct params *p, struct lifetime *out)
{
    const struct http_request *r = &c->request;
    bool ttl = params_given(p, PARAM_TTL), ttl_field = http_has(r, HTTP_QUERN_TTL);
    bool at = params_given(p, PARAM_EXPIRES_AT), at_field = http_has(r, HTTP_QUERN_EXPIRES_AT),
         keep;
    char text[PARAM_WORD_BYTES];
    const char *wrong = NULL;
    uint64_t now;

    *out = (struct lifetime){LIFETIME_ENDLESS, 0};
    if (!params_flag(base, p->each[PARAM_KEEPTTL], &keep))
        return bad(c, "keepttl must be 1 or 0");
    if (ttl + ttl_field + at + at_field + keep > 1)
        return bad(c, "say once how long the value is to live: by ttl, expires_at, keepttl, "
                      "Quern-TTL or Quern-Expires-At");
    now = ttl || ttl_field || at || at_field ? quern_time_ms(c->loop->server->db) : 0;
    if (ttl || ttl_field)
        wrong =
            lifetime_from_ttl(text_of(c, base, p->each[PARAM_TTL], HTTP_QUERN_TTL, text), now, out);
    else if (at || at_field)
        wrong = lifetime_from_moment(
            text_of(c, base, p->each[PARAM_EXPIRES_AT], HTTP_QUERN_EXPIRES_AT, text), now, out);
    else if (keep)
        out->kind = LIFETIME_KEEP;
    return wrong == NULL || bad(c, wrong);
}

size_t lifetime_field(uint64_t expires_ms, char to[LIFETIME_FIELD_BYTES])
{
    static const char name[] = "Quern-Expires-At: ";
    size_t n = sizeof(name) - 1;

    to[0] = '\0';
    if (expires_ms == 0)
        return 0;
    memcpy(to, name, n);
    n += when_write(expires_ms, to + n);
    memcpy(to + n, "\r\n", 3);
    return n + 2;
}
