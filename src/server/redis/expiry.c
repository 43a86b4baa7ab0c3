/* expiry.c - when keys expire: EXPIRE and its kin set it, TTL and its kin tell it.
 *
 * To the store an expiry belongs to the value: to change it is to put the value anew, with another
 * revision. A time that has passed deletes the key. */
#include "server/redis/handlers.h"

#include "base/error.h"

/* ------------------------------------------------------------------ EXPIRE -- */

struct expire_conditions {
    bool nx, xx, gt, lt;
};

static bool read_conditions(struct call *k, struct expire_conditions *c)
{
    *c = (struct expire_conditions){false, false, false, false};
    for (size_t i = 3; i < k->argc; i++) {
        if (call_arg_is(k, i, "NX")) {
            c->nx = true;
        } else if (call_arg_is(k, i, "XX")) {
            c->xx = true;
        } else if (call_arg_is(k, i, "GT")) {
            c->gt = true;
        } else if (call_arg_is(k, i, "LT")) {
            c->lt = true;
        } else {
            (void)call_about(k, "ERR Unsupported option ", k->args[i], "");
            return false;
        }
    }
    if (c->nx && (c->xx || c->gt || c->lt)) {
        (void)call_error(k, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (c->gt && c->lt) {
        (void)call_error(k, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* `is`: when it expires now, 0: never, which is later than any time. */
static bool conditions_hold(const struct expire_conditions *c, int64_t is, int64_t to)
{
    return !(c->nx && is != 0) && !(c->xx && is == 0) && !(c->gt && (is == 0 || to <= is)) &&
           !(c->lt && is != 0 && to >= is);
}

static enum quern_code expire(struct call *k, int64_t unit_ms, int64_t from_ms)
{
    struct expire_conditions c;
    enum quern_code code;
    int64_t at;

    if (!read_conditions(k, &c) || !call_integer(k, 2, &at))
        return QUERN_OK;
    if (__builtin_mul_overflow(at, unit_ms, &at) || __builtin_add_overflow(at, from_ms, &at))
        return call_expire_error(k);
    code = call_get(k, k->args[1]);
    if (code == QUERN_NOT_FOUND ||
        (code == QUERN_OK && !conditions_hold(&c, (int64_t)k->value->expires_ms, at)))
        return call_int(k, 0);
    if (code == QUERN_OK && at <= call_now_ms(k))
        code = call_delete(k, k->args[1]);
    else if (code == QUERN_OK)
        code = call_put_until(k, k->args[1], call_value(k), (uint64_t)at);
    return code != QUERN_OK ? code : call_int(k, 1);
}

enum quern_code cmd_expire(struct call *k)
{
    return expire(k, 1000, call_now_ms(k));
}

enum quern_code cmd_pexpire(struct call *k)
{
    return expire(k, 1, call_now_ms(k));
}

enum quern_code cmd_expireat(struct call *k)
{
    return expire(k, 1000, 0);
}

enum quern_code cmd_pexpireat(struct call *k)
{
    return expire(k, 1, 0);
}

enum quern_code cmd_persist(struct call *k)
{
    enum quern_code code = call_get(k, k->args[1]);

    if (code == QUERN_NOT_FOUND || (code == QUERN_OK && k->value->expires_ms == 0))
        return call_int(k, 0);
    if (code == QUERN_OK)
        code = call_put(k, k->args[1], call_value(k));
    return code != QUERN_OK ? code : call_int(k, 1);
}

/* ------------------------------------------------------------------ TTL -- */

#define NO_KEY (-2)
#define NEVER (-1)

static enum quern_code tell_expiry(struct call *k, int64_t unit_ms, bool from_now)
{
    enum quern_code code = call_get(k, k->args[1]);
    int64_t ms;

    if (code == QUERN_NOT_FOUND)
        return call_int(k, NO_KEY);
    if (code != QUERN_OK)
        return code;
    if (k->value->expires_ms == 0)
        return call_int(k, NEVER);
    ms = (int64_t)k->value->expires_ms - (from_now ? call_now_ms(k) : 0);
    if (ms < 0)
        ms = 0;
    return call_int(k, ms / unit_ms + (ms % unit_ms >= unit_ms - unit_ms / 2 && unit_ms > 1));
}

enum quern_code cmd_ttl(struct call *k)
{
    return tell_expiry(k, 1000, true);
}

enum quern_code cmd_pttl(struct call *k)
{
    return tell_expiry(k, 1, true);
}

enum quern_code cmd_expiretime(struct call *k)
{
    return tell_expiry(k, 1000, false);
}

enum quern_code cmd_pexpiretime(struct call *k)
{
    return tell_expiry(k, 1, false);
}
