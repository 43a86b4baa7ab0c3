/* loop.h - one event loop on its own thread, with its connections, timers and inbox.
 *
 * Nothing here ever waits but for the network: a write is handed to the store, and its completion
 * comes back as a letter. All of a loop belongs to its thread, but for what loop_post(),
 * loop_signal() and loop_adopt() touch. */
#ifndef SERVER_LOOP_H
#define SERVER_LOOP_H

#include "server/observe/measure.h"
#include "server/server.h"

#include "http/http.h"

#include <quern/quern.h>

#include <uv.h>

/* Something for a loop to see to, from any thread. It stands inside what it is about. */
struct letter {
    struct letter *next;
    void (*open)(struct letter *letter); /* called on the loop's thread */
};

/* Something to do aside from the loops (aside.h), and then on its own. It too stands inside what it
 * is about. */
struct task {
    struct letter letter; /* first */
    struct loop *loop;
    void (*run)(struct task *task);  /* aside; it may wait */
    void (*then)(struct task *task); /* on the loop; it may free the task */
    bool takes_long;                 /* run() does: so that others get their turn */
    struct reads_ahead reads;        /* what run() will read, if that is known */
};

/* What may be signalled to a loop: bits. */
enum {
    LOOP_DRAIN = 1,    /* end idle connections; end the others after what they wait for */
    LOOP_WORDS = 2,    /* there are new words about the shutdown */
    LOOP_CUT = 4,      /* close connections that are still there, watchers of the shutdown aside */
    LOOP_QUIT = 8,     /* close everything and end the thread */
    LOOP_CLIENTS = 16, /* clients were killed, or may go on after a pause */
};

struct compressor;
struct conn;
struct reads;
struct write_op;

#define LOOP_VALUES 64u

struct loop {
    struct server *server; /* constant */
    unsigned number;       /* constant */
    pthread_t thread;
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t tick;
    uv_prepare_t before;
    uv_check_t after;

    /* Any thread. */
    _Atomic(struct letter *) inbox; /* newest first */
    _Atomic unsigned signals;
    _Atomic uint64_t allocations; /* the loop's thread alone writes it: how often it took memory */

    /* The loop's thread alone. */
    struct conn *conns;               /* all that are open */
    struct conn *dirty, **dirty_last; /* something happened to them; each at most once */
    struct conn *later, **later_last; /* they have writes in `hand`: dirty once it is empty */
    struct quern_hand hand;           /* the writes of this turn */
    struct reads *reads;              /* the reads of this turn */
    struct task_queue asides;         /* what this turn leaves to the threads beside the loops */
    struct conn *spare_conns;
    unsigned spare_conn_count;
    struct write_op *spare_ops;
    unsigned spare_op_count;
    /* The time that clients are held to: ticks seen, times their length. A loop that is late
     * itself, on a machine too busy, sees fewer ticks, and so blames no client for it. */
    uint64_t clock_ms;
    struct quern_value value;             /* reused by reads */
    struct quern_value many[LOOP_VALUES]; /* by reads of many keys */
    struct buf key, text;                 /* scratch of the request at hand */
    struct buf lines;                     /* of the access log */
    struct buf records;            /* of TLS, as they came from the socket that is being read */
    struct compressor *compressor; /* NULL: nobody asked for it yet */
    struct buf sealed;             /* memory for the next that are made */
    struct access *access;         /* who may do what; NULL: nobody is asked (guard.h) */
    unsigned access_generation;
    char id_begins[32]; /* of request ids, constant: start and loop */
    size_t id_bytes;
    uint64_t ids;    /* request ids given */
    int64_t date_at; /* unix second of `date` */
    char date[HTTP_DATE_BYTES + 1];
    struct measure measure; /* others read its numbers */
    bool quitting;
};

/* Start a loop; on success *out is the caller's until loop_join(). Errors: NO_MEMORY, IO. */
MUST_USE enum quern_code loop_start(struct server *server, unsigned number, struct loop **out,
                                    struct quern_error *err);
void loop_join(struct loop *loop); /* after LOOP_QUIT */

void loop_post(struct loop *loop, struct letter *letter);
/* The same, but do not wake the loop: another letter follows at once that does. */
void loop_post_quietly(struct loop *loop, struct letter *letter);
void loop_signal(struct loop *loop, unsigned bits);

/* Give an accepted, non-blocking socket to the loop, which speaks TLS or not; it counts as a
 * connection from now on. Takes `fd` in any case. */
void loop_adopt(struct loop *loop, int fd, enum door door, bool tls);

/* Is this the loop's own thread? */
bool loop_is_here(const struct loop *loop);

/* The connection wants its turn before the loop sleeps next. */
void loop_mark(struct loop *loop, struct conn *conn);
/* The same, after the writes of this turn have been handed over. */
void loop_mark_later(struct loop *loop, struct conn *conn);

#endif
