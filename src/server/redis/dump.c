/* dump.c - DUMP and RESTORE: a value with what proves it whole, to carry it to another server, this
 * one or a Redis. The format is in resp/dump.c. */
#include "server/redis/handlers.h"

#include "base/error.h"

enum quern_code cmd_dump(struct call *k)
{
    struct buf payload OWNED_BUF = {0};
    enum quern_code code = call_get(k, k->args[1]);

    if (code == QUERN_NOT_FOUND)
        return call_null(k);
    if (code == QUERN_OK)
        code = resp_dump_write(call_value(k), &payload, k->err);
    if (code == QUERN_OK)
        resp_put_bulk(&k->out, buf_slice(&payload));
    return code;
}

struct restore_options {
    bool replace, absolute, idle, freq;
};

static bool read_number(struct call *k, size_t arg, int64_t most, const char *error)
{
    int64_t n;

    if (!call_integer(k, arg, &n))
        return false;
    if (n >= 0 && n <= most)
        return true;
    (void)call_error(k, error);
    return false;
}

static bool read_options(struct call *k, struct restore_options *o)
{
    *o = (struct restore_options){false, false, false, false};
    for (size_t i = 4; i < k->argc; i++) {
        bool more = i + 1 < k->argc;

        if (call_arg_is(k, i, "REPLACE")) {
            o->replace = true;
        } else if (call_arg_is(k, i, "ABSTTL")) {
            o->absolute = true;
        } else if (call_arg_is(k, i, "IDLETIME") && more && !o->freq) {
            o->idle = true;
            if (!read_number(k, ++i, INT64_MAX, "ERR Invalid IDLETIME value, must be >= 0"))
                return false;
        } else if (call_arg_is(k, i, "FREQ") && more && !o->idle) {
            o->freq = true;
            if (!read_number(k, ++i, 255, "ERR Invalid FREQ value, must be >= 0 and <= 255"))
                return false;
        } else {
            (void)call_syntax_error(k);
            return false;
        }
    }
    return true;
}

static enum quern_code take_payload(struct call *k, uint64_t expires_ms)
{
    struct buf value OWNED_BUF = {0};
    enum quern_code code;

    switch (resp_dump_read(k->args[3], k->server->options->value_bytes_max, &value)) {
    case RESP_DUMP_SUM:
        return call_error(k, "ERR DUMP payload version or checksum are wrong");
    case RESP_DUMP_FORMAT:
        return call_error(k, "ERR Bad data format");
    case RESP_DUMP_NO_MEMORY:
        return err_memory(k->err, "a value to restore");
    default:
        code = call_put_until(k, k->args[1], buf_slice(&value), expires_ms);
        return code != QUERN_OK ? code : call_ok(k);
    }
}

bool restore_is_blind(const struct call *k)
{
    for (size_t i = 4; i < k->argc; i++) {
        if (call_arg_is(k, i, "REPLACE"))
            return true;
    }
    return false;
}

enum quern_code cmd_restore(struct call *k)
{
    struct restore_options o;
    int64_t ttl;

    if (!read_options(k, &o))
        return QUERN_OK;
    if (!o.replace) {
        enum quern_code code = call_get(k, k->args[1]);

        if (code == QUERN_OK)
            return call_error(k, "BUSYKEY Target key name already exists.");
        if (code != QUERN_NOT_FOUND)
            return code;
    }
    if (!call_integer(k, 2, &ttl))
        return QUERN_OK;
    if (ttl < 0 || (ttl > 0 && !o.absolute && __builtin_add_overflow(ttl, call_now_ms(k), &ttl)))
        return call_error(k, "ERR Invalid TTL value, must be >= 0");
    return take_payload(k, (uint64_t)ttl);
}
