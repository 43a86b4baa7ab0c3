/* latency.c - LATENCY: the slowest of each second in which something was slow, and how long commands
 * took, in Redis' forms. */
#include "server/redis/handlers.h"

#include "base/error.h"
#include "base/when.h"

#include <inttypes.h>
#include <stdio.h>

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

/* ------------------------------------------------------------------ GRAPH -- */

/* As Redis draws it: four rows in three steps each, and under every sample how long ago it was, one
 * letter a row.
 *
 *        #
 *       o|
 *      #||
 *     _|||
 *
 *     7641
 *     ssss */
#define GRAPH_COLUMNS 80
#define GRAPH_ROWS 4
#define LABEL_BYTES 8

static const char steps[] = {'_', 'o', '#'};

struct column {
    uint64_t ms;
    char label[LABEL_BYTES];
};

static void put_label(char to[LABEL_BYTES], int64_t seconds)
{
    unsigned s = seconds < 0 ? 0 : seconds > 999 * 86400 ? 999 * 86400 : (unsigned)seconds;

    if (s < 60)
        (void)snprintf(to, LABEL_BYTES, "%us", s);
    else if (s < 3600)
        (void)snprintf(to, LABEL_BYTES, "%um", s / 60);
    else if (s < 86400)
        (void)snprintf(to, LABEL_BYTES, "%uh", s / 3600);
    else
        (void)snprintf(to, LABEL_BYTES, "%ud", s / 86400 % 1000);
}

/* What stands in a row, the uppermost being 0, for a sample of so many of all steps. */
static char letter_at(unsigned row, unsigned step)
{
    unsigned below = (GRAPH_ROWS - row - 1) * (unsigned)sizeof(steps);

    if (step < below)
        return ' ';
    return step - below < sizeof(steps) ? steps[step - below] : '|';
}

static void put_rows(struct resp_out *to, const struct column *columns, unsigned n, uint64_t low,
                     uint64_t high)
{
    unsigned all = GRAPH_ROWS * (unsigned)sizeof(steps);
    char row[GRAPH_COLUMNS + 1];
    size_t label_bytes = 0;

    row[n] = '\n';
    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(columns[i].label);

        label_bytes = len > label_bytes ? len : label_bytes;
    }
    for (unsigned r = 0; r < GRAPH_ROWS + 1 + label_bytes; r++) {
        for (unsigned i = 0; i < n; i++) {
            const struct column *c = &columns[i];
            uint64_t step = high > low ? (c->ms - low) * all / (high - low) : 0;
            size_t in_label = r - GRAPH_ROWS - 1;

            row[i] = ' ';
            if (r < GRAPH_ROWS)
                row[i] = letter_at(r, step < all ? (unsigned)step : all - 1);
            else if (r > GRAPH_ROWS && in_label < strlen(c->label))
                row[i] = c->label[in_label];
        }
        resp_put_raw(to, row, n + 1);
    }
}

static void draw(const struct latency_series *s, const char *name, struct resp_out *to)
{
    struct column columns[LATENCY_SAMPLES];
    uint64_t low = UINT64_MAX, high = 0;
    int64_t now = (int64_t)(when_now() / 1000);
    char text[160];
    int len;

    for (unsigned i = 0; i < s->count; i++) {
        unsigned at = (first_sample(s) + i) % LATENCY_SAMPLES;

        columns[i].ms = s->sample[at].ms;
        put_label(columns[i].label, now - s->sample[at].at);
        low = columns[i].ms < low ? columns[i].ms : low;
        high = columns[i].ms > high ? columns[i].ms : high;
    }
    len = snprintf(text, sizeof(text),
                   "%s - high %" PRIu64 " ms, low %" PRIu64 " ms (all time high %" PRIu64 " ms)\n",
                   name, high, low, s->worst_ms);
    resp_put_raw(to, text, (size_t)len);
    for (unsigned i = 0; i < GRAPH_COLUMNS; i++)
        resp_put_raw(to, "-", 1);
    resp_put_raw(to, "\n", 1);
    for (unsigned i = 0; i < s->count; i += GRAPH_COLUMNS) {
        if (i > 0)
            resp_put_raw(to, "\n", 1);
        put_rows(to, columns + i, s->count - i < GRAPH_COLUMNS ? s->count - i : GRAPH_COLUMNS, low,
                 high);
    }
}

enum quern_code cmd_latency_graph(struct call *k)
{
    enum latency_event event = event_named(k, 2);
    struct slowlog *log = &k->server->slowlog;
    struct buf text OWNED_BUF = {0};
    struct resp_out to = {&text, 2, false};

    mutex_lock(&log->mu);
    if (event != LATENCY_EVENTS && log->series[event].count > 0)
        draw(&log->series[event], latency_event_name(event), &to);
    mutex_unlock(&log->mu);
    if (text.len == 0)
        return call_about(k, "ERR No samples available for event '", k->args[2], "'");
    resp_put_verbatim(&k->out, buf_slice(&text));
    k->out.failed |= to.failed;
    return QUERN_OK;
}

/* ------------------------------------------------------------------ DOCTOR -- */

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
