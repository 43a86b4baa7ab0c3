/* slowlog.h - the requests that took longest to answer, and when which command was slow: what
 * /v1/admin/slowlog, SLOWLOG and LATENCY show.
 *
 * Whatever took at least `slower_than_us` is kept, the last `length_max` of it, each with what it
 * was, whose it was, and what it waited for. Requests that are not slow cost one comparison. */
#ifndef SERVER_SLOWLOG_H
#define SERVER_SLOWLOG_H

#include "server/observe/measure.h"

#include "base/thread.h"

/* As Redis cuts them, so that what is kept has a bound. */
#define SLOW_ARGS_MAX 32u
#define SLOW_ARG_BYTES_MAX 128u

/* One that was slow. It is whole in one piece of memory. */
struct slow {
    struct slow *older, *newer;
    uint64_t id;
    int64_t at; /* unix seconds of its end */
    uint64_t took_us, waited_us, bytes_in, bytes_out;
    unsigned kind;
    enum waited_for waited_for; /* NOTHING: its own work was the most of it */
    char peer[64], client_name[64];
    size_t argc;
    struct quern_slice args[];
};

/* Series of slow moments, as LATENCY tells them: one for each second, the worst of it. */
enum latency_event {
    LATENCY_COMMAND,
    LATENCY_FAST_COMMAND, /* of commands that should never be slow */
    LATENCY_EVENTS,
};
#define LATENCY_SAMPLES 160u
struct latency_series {
    struct {
        int64_t at;
        uint64_t ms;
    } sample[LATENCY_SAMPLES]; /* a ring */
    unsigned next, count;
    uint64_t worst_ms;
};

struct slowlog {
    _Atomic uint64_t
        look_ticks; /* whoever took as long is to be told of: the lower of both limits */
    _Atomic int64_t slower_than_us; /* negative: nothing is kept */
    _Atomic uint64_t length_max;
    _Atomic uint64_t latency_ms; /* LATENCY's limit; 0: off */
    _Atomic uint64_t total;      /* kept since the start */
    struct mutex mu;
    struct slow *newest, *oldest; /* guarded by mu, and so is what follows */
    uint64_t length, next_id;
    struct latency_series series[LATENCY_EVENTS];
};

void slowlog_init(struct slowlog *log, int64_t slower_than_us, uint64_t length_max);
void slowlog_done(struct slowlog *log);

void slowlog_set_slower_than(struct slowlog *log, int64_t us);
void slowlog_set_length(struct slowlog *log, uint64_t length_max);
void slowlog_set_latency(struct slowlog *log, uint64_t ms);

/* Keep what `about` says, with these arguments, cut. Without memory it is not kept. */
void slowlog_add(struct slowlog *log, const struct slow *about, const struct quern_slice *args,
                 size_t argc);
void slowlog_reset(struct slowlog *log);

/* A moment for LATENCY. */
void slowlog_latency(struct slowlog *log, enum latency_event event, uint64_t ms);
/* Forget one series; was there anything? */
bool slowlog_latency_reset(struct slowlog *log, enum latency_event event);
const char *latency_event_name(enum latency_event event);

#endif
