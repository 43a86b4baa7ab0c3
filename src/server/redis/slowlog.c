/* slowlog.c - SLOWLOG: what was slow, in Redis' form; and what commands came to, since the start or
 * since CONFIG RESETSTAT. */
#include "server/redis/handlers.h"

#include "server/redis/redis.h"

#include "base/alloc.h"
#include "base/error.h"

/* ------------------------------------------------------------------ sums of commands -- */

/* What there was at the last CONFIG RESETSTAT; metrics go on from the start. */
struct command_base {
    struct error_word errors[ERROR_WORDS];
    unsigned error_count;
    struct measure_sum sums[]; /* by the command's number; the last is of those that are none */
};

void command_base_free(struct command_base *base)
{
    alloc_free(base);
}

bool resp_reset_sums(struct server *server)
{
    struct resp_shared *shared = server->resp;
    struct command_base *base, *old;

    base = alloc_zeroed(sizeof(*base) + (command_numbers() + 1) * sizeof(base->sums[0]));
    if (base == NULL)
        return false;
    for (unsigned i = 0; i <= command_numbers(); i++)
        (void)measure_sum(server, measure_kind_of_command(i), &base->sums[i]);
    base->error_count = measure_errors(server, base->errors);
    mutex_lock(&shared->mu);
    old = shared->base;
    shared->base = base;
    mutex_unlock(&shared->mu);
    command_base_free(old);
    return true;
}

bool resp_command_sum(struct server *server, unsigned number, struct measure_sum *out)
{
    struct resp_shared *shared = server->resp;
    uint64_t all = 0;

    if (!measure_sum(server, measure_kind_of_command(number), out))
        return false;
    mutex_lock(&shared->mu);
    if (shared->base != NULL) {
        const struct measure_sum *before = &shared->base->sums[number];

        histogram_less(&out->took, &before->took);
        out->took_units -= before->took_units;
        out->waited_units -= before->waited_units;
        for (unsigned o = 0; o < OUTCOMES; o++)
            out->outcomes[o] -= before->outcomes[o];
    }
    mutex_unlock(&shared->mu);
    for (unsigned o = 0; o < OUTCOMES; o++)
        all += out->outcomes[o];
    return all > 0;
}

unsigned resp_error_sums(struct server *server, struct error_word out[ERROR_WORDS])
{
    struct resp_shared *shared = server->resp;
    unsigned n = measure_errors(server, out);

    mutex_lock(&shared->mu);
    for (unsigned b = 0; shared->base != NULL && b < shared->base->error_count; b++) {
        for (unsigned i = 0; i < n; i++) {
            if (strcmp(out[i].word, shared->base->errors[b].word) == 0)
                out[i].count -= shared->base->errors[b].count;
        }
    }
    mutex_unlock(&shared->mu);
    return n;
}

/* ------------------------------------------------------------------ SLOWLOG -- */

static void put_slow(struct resp_out *out, const struct slow *s)
{
    resp_put_array(out, 6);
    resp_put_int(out, (int64_t)s->id);
    resp_put_int(out, s->at);
    resp_put_int(out, (int64_t)s->took_us);
    resp_put_array(out, s->argc);
    for (size_t i = 0; i < s->argc; i++)
        resp_put_bulk(out, s->args[i]);
    resp_put_text(out, s->peer);
    resp_put_text(out, s->client_name);
}

enum quern_code cmd_slowlog_get(struct call *k)
{
    struct slowlog *log = &k->server->slowlog;
    const struct slow *s;
    int64_t count = 10;
    uint64_t n;

    if (k->argc > 3)
        return call_sub_error(k);
    if (k->argc == 3 && (!resp_integer(k->args[2], &count) || count < -1))
        return call_error(k, "ERR count should be greater than or equal to -1");
    mutex_lock(&log->mu);
    n = count < 0 || (uint64_t)count > log->length ? log->length : (uint64_t)count;
    resp_put_array(&k->out, n);
    for (s = log->newest; n > 0; n--) {
        put_slow(&k->out, s);
        s = s->older;
    }
    mutex_unlock(&log->mu);
    return QUERN_OK;
}

enum quern_code cmd_slowlog_len(struct call *k)
{
    struct slowlog *log = &k->server->slowlog;
    uint64_t n;

    mutex_lock(&log->mu);
    n = log->length;
    mutex_unlock(&log->mu);
    return call_int(k, (int64_t)n);
}

enum quern_code cmd_slowlog_reset(struct call *k)
{
    slowlog_reset(&k->server->slowlog);
    return call_ok(k);
}
