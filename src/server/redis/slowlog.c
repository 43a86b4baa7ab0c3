/* slowlog.c - SLOWLOG and LATENCY: what was slow, in Redis' forms; and what commands came to,
 * since the start or since CONFIG RESETSTAT. */
#include "server/redis/handlers.h"

#include "server/redis/redis.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>

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
        return call_error(k, "ERR unknown subcommand or wrong number of arguments for 'GET'. Try "
                             "SLOWLOG HELP.");
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

/* ------------------------------------------------------------------ LATENCY -- */

/* The oldest sample's place; the others follow. */
static unsigned first_sample(const struct latency_series *s)
{
    return (s->next + LATENCY_SAMPLES - s->count) % LATENCY_SAMPLES;
}

static unsigned last_sample(const struct latency_series *s)
{
    return (s->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES;
}

enum quern_code cmd_latency_latest(struct call *k)
{
    struct slowlog *log = &k->server->slowlog;
    size_t n = 0;

    mutex_lock(&log->mu);
    for (unsigned e = 0; e < LATENCY_EVENTS; e++)
        n += log->series[e].count > 0;
    resp_put_array(&k->out, n);
    for (unsigned e = 0; e < LATENCY_EVENTS; e++) {
        const struct latency_series *s = &log->series[e];

        if (s->count == 0)
            continue;
        resp_put_array(&k->out, 4);
        resp_put_text(&k->out, latency_event_name((enum latency_event)e));
        resp_put_int(&k->out, s->sample[last_sample(s)].at);
        resp_put_int(&k->out, (int64_t)s->sample[last_sample(s)].ms);
        resp_put_int(&k->out, (int64_t)s->worst_ms);
    }
    mutex_unlock(&log->mu);
    return QUERN_OK;
}

/* LATENCY_EVENTS: there is none of that name. */
static enum latency_event event_named(const struct call *k, size_t arg)
{
    unsigned e = 0;

    while (e < LATENCY_EVENTS && !call_arg_is(k, arg, latency_event_name((enum latency_event)e)))
        e++;
    return (enum latency_event)e;
}

enum quern_code cmd_latency_history(struct call *k)
{
    enum latency_event event = event_named(k, 2);
    struct slowlog *log = &k->server->slowlog;
    const struct latency_series *s;

    if (event == LATENCY_EVENTS) {
        resp_put_array(&k->out, 0);
        return QUERN_OK;
    }
    s = &log->series[event];
    mutex_lock(&log->mu);
    resp_put_array(&k->out, s->count);
    for (unsigned i = 0; i < s->count; i++) {
        unsigned at = (first_sample(s) + i) % LATENCY_SAMPLES;

        resp_put_array(&k->out, 2);
        resp_put_int(&k->out, s->sample[at].at);
        resp_put_int(&k->out, (int64_t)s->sample[at].ms);
    }
    mutex_unlock(&log->mu);
    return QUERN_OK;
}

enum quern_code cmd_latency_reset(struct call *k)
{
    struct slowlog *log = &k->server->slowlog;
    int64_t n = 0;

    for (unsigned e = 0; k->argc == 2 && e < LATENCY_EVENTS; e++)
        n += slowlog_latency_reset(log, (enum latency_event)e);
    for (size_t i = 2; i < k->argc; i++) {
        enum latency_event event = event_named(k, i);

        n += event != LATENCY_EVENTS && slowlog_latency_reset(log, event);
    }
    return call_int(k, n);
}

/* How many took less than each power of two of microseconds, where that is more than took less than
 * the one before. */
static void put_histogram(struct resp_out *out, const struct histogram_sum *h)
{
    uint64_t before = 0;
    size_t n = 0;

    for (unsigned bits = 10; bits <= HISTOGRAM_TOP_BITS; bits++) {
        n += histogram_below(h, bits) > before;
        before = histogram_below(h, bits);
    }
    resp_put_map(out, n);
    before = 0;
    for (unsigned bits = 10; bits <= HISTOGRAM_TOP_BITS; bits++) {
        uint64_t now = histogram_below(h, bits);

        if (now > before) {
            resp_put_int(out, (int64_t)1 << (bits - 10));
            resp_put_int(out, (int64_t)now);
        }
        before = now;
    }
}

/* A container, `client`, stands for its subcommands. */
static bool is_wanted(const struct call *k, const struct command *command)
{
    char name[COMMAND_NAME_BYTES];

    (void)command_full_name(command, name);
    for (size_t i = 2; i < k->argc; i++) {
        if (call_arg_is(k, i, name) ||
            (command->parent != NULL && call_arg_is(k, i, command->parent)))
            return true;
    }
    return k->argc == 2;
}

enum quern_code cmd_latency_histogram(struct call *k)
{
    struct buf body OWNED_BUF = {0};
    struct resp_out out = {&body, k->out.proto, false};
    struct measure_sum sum;
    size_t n = 0;

    for (unsigned i = 0; i < command_numbers(); i++) {
        char name[COMMAND_NAME_BYTES];

        if (!is_wanted(k, command_numbered(i)) || !resp_command_sum(k->server, i, &sum))
            continue;
        n++;
        resp_put_text(&out, command_full_name(command_numbered(i), name));
        resp_put_map(&out, 2);
        resp_put_text(&out, "calls");
        resp_put_int(&out, (int64_t)sum.took.total);
        resp_put_text(&out, "histogram_usec");
        put_histogram(&out, &sum.took);
    }
    resp_put_map(&k->out, n);
    resp_put_raw(&k->out, body.data, body.len);
    k->out.failed |= out.failed;
    return QUERN_OK;
}

enum quern_code cmd_latency_doctor(struct call *k)
{
    struct slowlog *log = &k->server->slowlog;
    char text[512];
    int len = 0;

    if (atomic_load(&log->latency_ms) == 0) {
        len = snprintf(text, sizeof(text),
                       "Nothing is watched: set latency-monitor-threshold to the milliseconds from "
                       "which on a command is slow. SLOWLOG GET has what was slow by "
                       "slowlog-log-slower-than, and GET /v1/admin/slowlog says what it waited "
                       "for.");
    } else {
        mutex_lock(&log->mu);
        for (unsigned e = 0; e < LATENCY_EVENTS; e++)
            len += snprintf(text + len, sizeof(text) - (size_t)len,
                            "%s: %u seconds with slow ones, the worst took %" PRIu64 " ms.\n",
                            latency_event_name((enum latency_event)e), log->series[e].count,
                            log->series[e].worst_ms);
        mutex_unlock(&log->mu);
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        "GET /v1/admin/slowlog says what each waited for.");
    }
    resp_put_verbatim(&k->out, (struct quern_slice){text, (size_t)len});
    return QUERN_OK;
}
