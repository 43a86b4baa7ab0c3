/* conn.h - one connection: bytes in, requests carried out in order, replies out.
 *
 * What is common to both protocols is here and in conn.c; `resp` is what the Redis protocol needs
 * beside it (redis/conn.c), and NULL for HTTP (rest/conn.c). All of it belongs to its loop's thread. */
#ifndef SERVER_CONN_H
#define SERVER_CONN_H

#include "server/loop.h"
#include "server/observe/measure.h"
#include "server/rest/params.h"

/* How a reply is to be given: what the request said of it, kept until a write completes. */
struct manner {
    bool json;                   /* Accept rates application/json highest */
    bool problem;                /* errors as application/problem+json */
    bool head;                   /* HEAD: no body */
    bool close;                  /* the connection ends after it */
    bool keep;                   /* an HTTP/1.0 client wants to hear that it does not */
    enum http_encoding encoding; /* what text may be compressed by */
    const char *reader;          /* the listed origin whose page asks, or NULL */
    char request_id[HTTP_REQUEST_ID_BYTES_MAX + 1];
    struct asked asked;
    const char *trace; /* HTTP_TRACE_BYTES of it, for the access log; or NULL */
    const char *code;  /* of an error, when the reply is given */
};

struct verb;

/* A write on its way through the store, or a read that waits for the disk. In order of arrival in its
 * connection's queue. */
struct write_op {
    struct task task; /* first: its letter tells the loop that it completed */
    struct quern_completion completion;
    struct quern_batch *batch;
    struct conn *conn;
    struct write_op *next;
    struct buf key; /* of a delete, to be read aside; else its beginning, for the slow log */
    struct manner manner;
    size_t bytes;                 /* key and value */
    char trace[HTTP_TRACE_BYTES]; /* where manner.trace points to */
    uint64_t expires_ms;          /* of a set; 0: never */
    bool is_delete, synced, finished;
    bool too_much;          /* it came while as much was under way as may be */
    quern_update_fn update; /* what to run with the op instead of writing its batch, or NULL */
    struct resp_call *call; /* of the Redis protocol; kept for the next write, as the batch is */

    /* Aside: aside.h. */
    void (*work)(struct write_op *op), (*then)(struct write_op *op);
    void (*after)(struct write_op *op); /* called on the loop when it was written, and finishes it;
                                         * NULL: then it is finished */
    struct quern_slice aside_key;       /* what aside_read() reads */
    struct quern_value value;           /* what it found */
    size_t read_bytes;                  /* of values that were read ahead for an update */
    bool is_read;                       /* nothing is written */
    bool alone;                         /* nothing may follow it before it is finished */
    struct held_snapshot *held;         /* as of which aside_read() reads; NULL: now */
    uint8_t database;                   /* of its key */

    /* Under /v1 alone. */
    struct verb *verb;                   /* what it asks, or NULL; the op's */
    void (*again)(struct write_op *op);  /* called on the loop when a check of the batch failed */
    void (*answer)(struct write_op *op); /* how it is answered, if that is not a write's way */
    uint64_t job;                        /* waited for */
    bool created;
    void *about; /* what `answer` needs */
};

/* What a connection is about; see the drawing in rest/conn.c. */
enum conn_phase {
    CONN_HEAD,
    CONN_BODY,
    CONN_READY,   /* a whole request stands in `in` */
    CONN_REFUSED, /* `refusal` is to be answered, then the end */
};

enum conn_wait {
    WAIT_IDLE,   /* for the first byte of a request */
    WAIT_HEAD,   /* for the rest of a head */
    WAIT_BODY,   /* for the rest of a body */
    WAIT_OTHERS, /* for the store, or for the client to read */
    WAIT_QUIET,  /* for a request, as long as it takes: Redis' clients keep connections in pools */
};

struct refusal {
    struct http_bad bad;
    const char *extra; /* further header lines, or NULL */
};

struct route;
struct import;
struct outflow;

struct conn {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_shutdown_t fin;
    struct loop *loop;
    struct resp_conn *resp; /* NULL: it speaks HTTP */
    struct tls *tls;        /* NULL: in the clear */
    struct conn *prev, *next, *dirty_next;
    bool dirty;
    unsigned gathered; /* requests of it that wait for the batch of reads: reads.h */
    bool handed;       /* writes of it wait in the loop's hand */

    /* Input: the current request begins at in_at and has `used` bytes so far. */
    struct buf in;
    size_t in_at, used;
    struct buf body; /* of a chunked request, decoded */
    struct http_request request;
    struct http_chunked chunked;
    struct heard heard;
    char peer[64]; /* "127.0.0.1:51234" once somebody wanted to know */
    enum conn_phase phase;
    const struct route *route;
    struct access *access;          /* where `user` stands; NULL: nobody was asked for */
    const struct access_user *user; /* whose token was shown; NULL: nobody's, or nobody asks */
    struct params params;           /* of the query */
    uint8_t database;               /* that the request at hand means */
    uint64_t body_max, body_left;   /* left: of one with a length that is taken as it comes */
    struct refusal refusal;
    char host[40]; /* the last that was found to be ours, and its length; 0: none, or a long one */
    uint8_t host_bytes;

    /* Writes under way, oldest first. */
    struct write_op *ops, **ops_last;
    unsigned op_count, asides; /* asides: how many of them are with the threads beside the loops */
    size_t op_bytes;
    /* What was read from disk for the request at hand, which is carried out once more then. */
    struct fetched {
        bool here;
        enum quern_code code;
        struct quern_value value;
        struct quern_error error;
    } fetched;

    struct import *import;   /* takes the body at hand, or NULL */
    struct outflow *outflow; /* makes the reply at hand, or NULL: then no other request is begun */

    /* Output: `out` gathers replies, `big` is a large value to follow it, and CRLF that if
     * `big_tail` is 2; while `writing`, `sending` (and `big`) belong to libuv. */
    struct buf out, sending;
    struct quern_value big;
    size_t big_tail;
    size_t left_unsent; /* of the write under way, when last looked at */

    enum conn_wait wait;
    uint64_t opened_at, wait_since, progress_at; /* by the loop's clock_ms */
    uint64_t body_bytes;                         /* arrived since the head */
    uint64_t intake;                             /* what it holds, as counted: intake.h */
    struct held {                                /* the same over some time: intake_is_hoarded() */
        uint64_t since, bytes, refusals;
    } held;
    size_t words_told; /* of the shutdown */
    bool passes_body;  /* that of the request at hand goes to `import` */
    bool reading, writing, eof, last, lingering, watching, chunked_words, continued, closing,
        closed;
};

/* Take over `fd` as a connection of the loop. False: no memory; `fd` is still the caller's. */
bool conn_open(struct loop *loop, int fd, enum door door, bool tls);

/* Do all that can be done now: answer what completed, carry out requests, send, and see what to
 * wait for. Called by the loop for each connection that was marked. May free the connection. */
void conn_run(struct conn *c);

/* Is there a request that has begun and was not answered whole? A head that has not arrived whole
 * is none. */
bool conn_is_busy(const struct conn *c);
void conn_cut(struct conn *c);        /* close at once; what was not sent is lost */
void conn_check_time(struct conn *c); /* at every tick of the loop: has it waited too long? */

/* "127.0.0.1:51234"; whether that is this machine. */
bool conn_peer(struct conn *c, char *to, size_t room);

#define OPS_MAX 1024u
#define OPS_BYTES_MAX (1u << 20)

/* May a write of so many bytes join those under way? */
static inline bool conn_may_add(const struct conn *c, uint64_t bytes)
{
    return c->op_count < OPS_MAX && c->op_bytes + bytes <= OPS_BYTES_MAX;
}

/* Room for bytes of the client's behind conn->in; of length 0: no memory. */
uv_buf_t conn_room(struct conn *c);

/* Bytes that have arrived from the start of the request at hand. */
static inline size_t conn_arrived(const struct conn *c)
{
    return c->in.len - c->in_at;
}

/* The bytes of the request at hand, and its body once READY. */
static inline uint8_t *conn_request_bytes(const struct conn *c)
{
    return c->in.data + c->in_at;
}

#endif
