/* slowlog.c - keeping what was slow; see slowlog.h. */
#include "server/observe/slowlog.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* What a cut argument ends in: "... (12345 more bytes)". */
#define CUT_BYTES 48u

void slowlog_init(struct slowlog *log, int64_t slower_than_us, uint64_t length_max)
{
    mutex_init(&log->mu);
    atomic_init(&log->length_max, length_max);
    slowlog_set_slower_than(log, slower_than_us);
}

void slowlog_done(struct slowlog *log)
{
    slowlog_reset(log);
    mutex_done(&log->mu);
}

static void set_look(struct slowlog *log)
{
    int64_t slower = atomic_load(&log->slower_than_us);
    uint64_t latency = atomic_load(&log->latency_ms), us = UINT64_MAX;

    if (slower >= 0)
        us = (uint64_t)slower;
    if (latency != 0 && latency < us / 1000)
        us = latency * 1000;
    atomic_store(&log->look_ticks, us == UINT64_MAX ? us : ticks_of_us(us));
}

void slowlog_set_slower_than(struct slowlog *log, int64_t us)
{
    atomic_store(&log->slower_than_us, us);
    set_look(log);
}

void slowlog_set_latency(struct slowlog *log, uint64_t ms)
{
    atomic_store(&log->latency_ms, ms);
    set_look(log);
}

static void trim_locked(struct slowlog *log, uint64_t most)
{
    while (log->length > most) {
        struct slow *old = log->oldest;

        log->oldest = old->newer;
        if (log->oldest != NULL)
            log->oldest->older = NULL;
        else
            log->newest = NULL;
        log->length--;
        alloc_free(old);
    }
}

void slowlog_set_length(struct slowlog *log, uint64_t length_max)
{
    atomic_store(&log->length_max, length_max);
    mutex_lock(&log->mu);
    trim_locked(log, length_max);
    mutex_unlock(&log->mu);
}

void slowlog_reset(struct slowlog *log)
{
    mutex_lock(&log->mu);
    trim_locked(log, 0);
    mutex_unlock(&log->mu);
}

/* Copy an argument to `at`, cut as Redis cuts it; returns its length. */
static size_t copy_arg(uint8_t *at, struct quern_slice arg)
{
    size_t n = arg.len;

    if (n > SLOW_ARG_BYTES_MAX)
        n = SLOW_ARG_BYTES_MAX;
    if (n > 0)
        memcpy(at, arg.data, n);
    if (n < arg.len)
        n += (size_t)snprintf((char *)at + n, CUT_BYTES, "... (%zu more bytes)", arg.len - n);
    return n;
}

static struct slow *slow_new(const struct slow *about, const struct quern_slice *args, size_t argc)
{
    size_t kept = argc < SLOW_ARGS_MAX ? argc : SLOW_ARGS_MAX;
    size_t bytes = sizeof(struct slow) + kept * sizeof(*args);
    struct slow *s;
    uint8_t *at;

    for (size_t i = 0; i < kept; i++)
        bytes += CUT_BYTES +
                 (args[i].len < SLOW_ARG_BYTES_MAX ? args[i].len : (size_t)SLOW_ARG_BYTES_MAX);
    s = alloc_bytes(bytes);
    if (s == NULL)
        return NULL;
    *s = *about;
    s->argc = kept;
    s->at = time(NULL);
    at = (uint8_t *)&s->args[kept];
    for (size_t i = 0; i < kept; i++) {
        size_t n = argc > kept && i + 1 == kept
                       ? (size_t)snprintf((char *)at, CUT_BYTES, "... (%zu more arguments)",
                                          argc - kept + 1)
                       : copy_arg(at, args[i]);

        s->args[i] = (struct quern_slice){at, n};
        at += n;
    }
    return s;
}

void slowlog_add(struct slowlog *log, const struct slow *about, const struct quern_slice *args,
                 size_t argc)
{
    struct slow *s = slow_new(about, args, argc);

    if (s == NULL)
        return;
    atomic_fetch_add(&log->total, 1);
    mutex_lock(&log->mu);
    s->id = log->next_id++;
    s->older = log->newest;
    s->newer = NULL;
    if (s->older != NULL)
        s->older->newer = s;
    else
        log->oldest = s;
    log->newest = s;
    log->length++;
    trim_locked(log, atomic_load(&log->length_max));
    mutex_unlock(&log->mu);
}

/* ------------------------------------------------------------------ latency -- */

void slowlog_latency(struct slowlog *log, enum latency_event event, uint64_t ms)
{
    struct latency_series *s = &log->series[event];
    int64_t now = time(NULL);
    unsigned last;

    mutex_lock(&log->mu);
    last = (s->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES;
    if (s->count > 0 && s->sample[last].at == now) {
        if (s->sample[last].ms < ms)
            s->sample[last].ms = ms;
    } else {
        s->sample[s->next].at = now;
        s->sample[s->next].ms = ms;
        s->next = (s->next + 1) % LATENCY_SAMPLES;
        s->count += s->count < LATENCY_SAMPLES;
    }
    if (s->worst_ms < ms)
        s->worst_ms = ms;
    mutex_unlock(&log->mu);
}

bool slowlog_latency_reset(struct slowlog *log, enum latency_event event)
{
    bool any;

    mutex_lock(&log->mu);
    any = log->series[event].count > 0;
    memset(&log->series[event], 0, sizeof(log->series[event]));
    mutex_unlock(&log->mu);
    return any;
}

const char *latency_event_name(enum latency_event event)
{
    static const char *const names[] = {"command", "fast-command"};

    return names[event];
}
