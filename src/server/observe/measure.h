/* measure.h - how long requests take: what each loop counts of each route and command, and what
 * that comes to over all loops.
 *
 *     the last byte of a request arrives        on_read()              heard_more()
 *        |                                                                  wait: behind others on
 *        v                                                                  its connection
 *     it is begun                               serve.c, redis/conn.c   measure_begin()
 *        |                                                                  wait: for the store
 *        v
 *     its reply stands in the output            reply.c, resp_*.c      measure_done()
 *        |
 *        v
 *     the output is handed to the kernel        conn_run()             measure_handed()
 *
 * What is measured is the way from the first line to the last. Where the client does not take its
 * replies the kernel takes none from us: what then follows is the client's time and not counted.
 * The wait is what of it the loop did not work at the request: from its last byte to its beginning,
 * and from there to the completion of a write. It is exact to what the loop does for one request,
 * since the clock is read once where bytes arrive, once where a reply stands and once where replies
 * leave.
 *
 * A loop writes its own numbers without locks or atomic steps; whoever wants to know adds up those
 * of all loops (measure_sum()). */
#ifndef SERVER_MEASURE_H
#define SERVER_MEASURE_H

#include "base/histogram.h"
#include "base/ticks.h"

#include <quern/types.h>

#include <stddef.h>

struct conn;
struct loop;
struct server;

/* ---- when bytes arrived ---- */

#define HEARD_MARKS 4u

/* What a connection's bytes came with. While whole requests wait, each reading leaves a mark, so
 * that each request knows when its last byte came; beyond four the last mark stands for all that
 * follow, which then seem to have come earlier than they did. */
struct heard {
    uint64_t bytes; /* since the connection was opened */
    struct {
        uint64_t end, at; /* up to this byte; in ticks */
    } mark[HEARD_MARKS];
    unsigned count;
    bool held;      /* whole requests wait, as far as is known */
    bool by_client; /* for the client, who does not read; else for others before them */
    bool by_disk;   /* the request at hand has waited for a value */
};

static inline void heard_more(struct heard *h, uint64_t bytes, uint64_t now)
{
    h->bytes += bytes;
    if (!h->held)
        h->count = 0;
    if (h->count < HEARD_MARKS) {
        h->mark[h->count].at = now;
        h->count++;
    }
    h->mark[h->count - 1].end = h->bytes;
}

/* When the byte came that `after` more have followed. */
static inline uint64_t heard_at(struct heard *h, uint64_t after)
{
    while (h->count > 1 && h->mark[0].end < h->bytes - after) {
        h->count--;
        for (unsigned i = 0; i < h->count; i++)
            h->mark[i] = h->mark[i + 1];
    }
    return h->mark[0].at;
}

/* ---- one request ---- */

/* What a request most waited for. */
enum waited_for {
    WAITED_NOTHING,    /* it took what it took */
    WAITED_OTHERS,     /* requests before it on its connection */
    WAITED_CLIENT,     /* the client, who did not read earlier replies */
    WAITED_DISK,       /* a value that was not in memory, or a walk */
    WAITED_COMMIT,     /* the store: writes before it, or room for it */
    WAITED_SYNC,       /* the same, and the disk's word that it is durable */
    WAITED_BACKGROUND, /* flushes and merges, which the writes have left behind */
    WAITED_KINDS,
};

enum outcome {
    OUTCOME_OK,
    OUTCOME_REJECTED, /* not begun: unknown, malformed, not now */
    OUTCOME_REFUSED,  /* carried out, and the answer is the client's mistake or a condition */
    OUTCOME_FAILED,   /* the store could not */
    OUTCOMES,
};

#define KIND_NONE UINT16_MAX /* not counted */

/* What is known of a request from its arrival to its reply; goes with it through the store. */
struct asked {
    uint64_t arrived, begun; /* ticks; the second moves on when a wait is over */
    uint64_t waited;         /* ticks of it */
    uint32_t bytes;
    uint16_t kind; /* route or command */
    uint16_t method;
    uint8_t waited_for;
};

/* ---- what a loop counts ---- */

struct tally {
    struct histogram took; /* in units of 1/1024 us */
    _Atomic uint64_t took_ticks, waited_ticks;
    _Atomic uint64_t outcomes[OUTCOMES];
};

/* Errors of the Redis protocol, by their first word. */
#define ERROR_WORDS 32u
#define ERROR_WORD_BYTES 24u
struct error_word {
    char word[ERROR_WORD_BYTES];
    _Atomic uint64_t count;
};

#define HANDED_MAX 128u

struct measure {
    uint64_t now;          /* ticks: the last reading of the clock */
    struct tally *tallies; /* by kind */
    /* Replies that stand in the output of the connection at hand. */
    struct handed {
        uint64_t arrived, waited;
        uint16_t kind;
        uint16_t outcome;
    } handed[HANDED_MAX];
    unsigned handed_count;
    struct error_word errors[ERROR_WORDS];
    _Atomic unsigned error_words;
};

MUST_USE bool measure_init(struct measure *m); /* false: no memory */
void measure_free(struct measure *m);

/* The connection's next request, whole, is taken up now. `after`: bytes that have arrived behind
 * it. */
static inline void measure_begin(const struct measure *m, struct asked *a, struct heard *h,
                                 uint64_t after, unsigned kind, uint64_t bytes)
{
    a->arrived = heard_at(h, after);
    a->begun = m->now;
    a->waited = ticks_between(a->arrived, m->now);
    a->waited_for = h->by_disk     ? WAITED_DISK
                    : !h->held     ? WAITED_NOTHING
                    : h->by_client ? WAITED_CLIENT
                                   : WAITED_OTHERS;
    h->by_disk = false;
    a->kind = (uint16_t)kind;
    a->bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

/* It goes on after a wait for the store. */
void measure_resume(const struct measure *m, struct asked *a, enum waited_for what);

/* Its reply stands in the output. */
static inline void measure_done(struct measure *m, const struct asked *a, enum outcome outcome)
{
    struct handed *h;

    m->now = ticks_now();
    if (a->kind == KIND_NONE || m->handed_count == HANDED_MAX)
        return;
    h = &m->handed[m->handed_count++];
    h->arrived = a->arrived;
    h->waited = a->waited;
    h->kind = a->kind;
    h->outcome = (uint16_t)outcome;
}

/* What stands in the output was handed over. */
void measure_handed(struct measure *m);

void measure_error(struct measure *m, struct quern_slice word);

/* ---- what it comes to ---- */

/* Kinds are numbered: routes, requests without one, commands, requests that are none. */
unsigned measure_kinds(void);
unsigned measure_kind_of_no_route(void);
unsigned measure_kind_of_command(unsigned number);
bool measure_kind_is_command(unsigned kind);
#define KIND_NAME_BYTES 64
const char *measure_kind_name(unsigned kind, char to[KIND_NAME_BYTES]); /* "GET /v1/keys", "get" */

struct measure_sum {
    struct histogram_sum took;
    uint64_t took_units, waited_units, outcomes[OUTCOMES];
};

/* What all loops counted of a kind. False: nothing ever. */
bool measure_sum(struct server *server, unsigned kind, struct measure_sum *out);

/* The errors that all loops counted; returns how many different ones. */
unsigned measure_errors(struct server *server, struct error_word out[ERROR_WORDS]);

const char *waited_for_name(enum waited_for what);

#endif
