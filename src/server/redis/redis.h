/* redis.h - the Redis protocol's door: what a connection, the loops and main() need of it.
 *
 *     ../conn.c       bytes in and out, who waits for what; the same for both doors
 *       | resp_step()                          ^ resp_completed()
 *       v                                      |
 *     redis/conn.c    a request -> its row in the table -> on this loop, or as a write
 *     redis/writes.c  a write, to the store and home
 *     redis/table.c   the commands;  redis/strings.c redis/keys.c redis/multi.c redis/client.c
 *                    redis/admin.c redis/command.c   what they do
 *
 * A connection's part belongs to its loop's thread, but for `client`, which others list. */
#ifndef SERVER_RESP_H
#define SERVER_RESP_H

#include "server/observe/measure.h"
#include "server/redis/call.h"

#include "base/thread.h"

struct write_op;
struct cursors;
struct command_base;
struct refused;

/* ---- what all connections share ---- */

/* Since the start, or CONFIG RESETSTAT. */
struct resp_counters {
    _Atomic uint64_t commands, errors, connections, hits, misses;
};

/* How others see a connection. */
struct client {
    uint64_t id;
    struct loop *loop;                      /* constant */
    struct client *prev, *next;             /* guarded by resp_shared.mu */
    char peer[64], here[64];                /* "127.0.0.1:51234"; constant */
    int64_t since;                          /* unix seconds; constant */
    struct buf name, lib_name, lib_version; /* guarded by mu */
    char user[ACCESS_NAME_BYTES_MAX + 1];   /* guarded by mu */
    _Atomic int64_t heard_at;
    _Atomic(const struct command *) last;
    _Atomic int queued; /* commands of a transaction; -1: none is open */
    _Atomic int proto;
    _Atomic int tracking;
    _Atomic uint8_t database;
    _Atomic bool no_evict, no_touch, watches, monitors;
    _Atomic bool killed; /* its loop is to cut it */
};

enum {
    TRACKING_OFF,
    TRACKING_READ, /* of keys that were read */
    TRACKING_ALL,  /* of all keys: BCAST */
};

/* Keys, as they were counted. */
struct key_count {
    uint64_t keys, expires, ttl_ms; /* those that expire; in how long, on average */
    int64_t at_us, took_us;         /* 0: never */
};

struct resp_shared {
    struct resp_counters counters;
    struct mutex mu;
    struct client *clients; /* guarded by mu; in order of arrival */
    struct client *last_client;
    uint32_t client_count;                  /* guarded by mu */
    uint64_t last_id;                       /* guarded by mu */
    struct key_count counted[2][DATABASES]; /* guarded by mu; [1]: those that expire too */
    uint64_t asked_ms, asked_count;         /* guarded by mu; commands when INFO last took a rate */
    uint64_t per_second;                    /* guarded by mu; and that rate */
    struct cursors *cursors;                /* locks itself */
    struct refused *refused;                /* locks itself */
    _Atomic uint64_t paused_until_ms;       /* on the monotonic clock; 0: nothing is paused */
    _Atomic bool paused_all;                /* reads too */
    _Atomic uint32_t paused_count;          /* connections with a command that waits for its end */
    _Atomic uint32_t monitor_count;         /* connections that asked for MONITOR */
    struct mutex monitor_mu;
    struct monitor *monitors; /* guarded by monitor_mu */
    _Atomic uint64_t
        expired_before;        /* the store's count of what has expired, at CONFIG RESETSTAT */
    _Atomic int64_t saved_at;  /* unix seconds: all that was acknowledged before was durable */
    char run_id[41];           /* constant */
    struct command_base *base; /* guarded by mu; what RESETSTAT takes away, or NULL */
};

MUST_USE enum quern_code resp_shared_new(struct resp_shared **out, struct quern_error *err);
void resp_shared_free(struct resp_shared *shared); /* NULL is fine */

/* ---- a connection ---- */

/* A command that waits for EXEC; and, whole, a write on its way: the copy of its arguments. */
struct queued {
    struct queued *next;
    const struct command *command;
    size_t argc, bytes;
    uint8_t database;
    bool unfinished;            /* its update has left what it is to go on with aside: call.h */
    size_t reply_at, reply_len; /* where its reply stands among those of the transaction */
    struct quern_slice args[];
};

/* What a key was when it was watched. */
struct watched {
    struct watched *next;
    uint8_t database;
    bool there;
    quern_seq seq;
    quern_seq seen; /* it was read behind this write at least */
    struct quern_slice key;
};

struct transaction {
    struct queued *first, **last;
    size_t count, watched_count, bytes; /* bytes: of both */
    struct watched *watched;
    bool open, refused; /* MULTI was said; a command was not taken since */
    uint8_t database;   /* of the next command; SELECT may stand among them */
};

enum reply_mode {
    REPLY_ON,
    REPLY_OFF,
    REPLY_SKIP, /* the next one is not sent */
};

struct resp_conn {
    struct resp_request request;
    bool parsed;   /* a whole request stands in `request` */
    bool more;     /* one has begun to arrive */
    bool alone;    /* the next command takes no part in a batch of reads */
    bool put_back; /* redis/reads.c has put it back to a command that was parsed before */
    bool paused;   /* that in `request` waits for the end of CLIENT PAUSE */
    int proto;
    uint8_t database;
    enum reply_mode reply, reply_next;
    struct transaction transaction;
    struct monitor *monitor; /* NULL: it is none */
    struct client client;
    struct asked asked; /* of the request at hand */
    /* Arguments of a request that is answered when it is no longer at hand, or NULL. */
    const struct quern_slice *answered;
    size_t answered_count;
};

/* A write of this protocol, as part of a write_op: kept with it for the next one. */
struct resp_call {
    struct queued *command;         /* or */
    struct transaction transaction; /* whole, of an EXEC */
    struct buf reply;
    struct quern_value value; /* scratch of the update */
    int proto;
    bool silent, conflict, is_exec, sees_all;
    uint64_t puts, put_bytes, deletes;
};

MUST_USE bool resp_open(struct conn *c); /* false: no memory */
void resp_closed(struct conn *c);        /* it is no client any more */
void resp_done(struct conn *c);          /* free what it has */

/* Carry out the next request, of which something has arrived; false: nothing can be done now. */
bool resp_step(struct conn *c);
void resp_completed(struct write_op *op);
/* The reply to a request stands in the output from `mark` on: count it. */
void resp_count(struct conn *c, const struct asked *asked, size_t mark, enum outcome outcome);
/* Has a request begun to arrive, and not ended? */
bool resp_waits_for_more(const struct conn *c);
/* At LOOP_CLIENTS: cut it if it was killed. At each tick: is a pause over? */
void resp_heed(struct conn *c);
void resp_tick(struct conn *c);
void resp_call_free(struct resp_call *call); /* NULL is fine */
void resp_call_clear(struct resp_call *call);

/* ---- between the files of this door ---- */

/* Begin the write of the command at hand; the reply comes later. */
void resp_begin_write(struct call *k);
/* Carry the command at hand out on a thread that may wait for the disk; the reply comes later. */
void resp_begin_aside(struct call *k);
/* Begin the write of a transaction that was moved to the op's call; the reply comes later. */
bool resp_begin_exec(struct call *k);
/* Sync all that was written, then reply OK, or nothing. */
bool resp_begin_save(struct call *k, bool silent);

struct queued *queued_new(const struct call *k, uint8_t database);
void transaction_clear(struct transaction *t);
/* The commands of a transaction: those that run in its update, inside that; those that walk or were not
 * finished, aside, behind it; the others, and the reply to the whole, on the loop. */
enum quern_code transaction_run(struct call *k, struct resp_call *rc);
void transaction_walk(struct call *k, struct resp_call *rc);
void transaction_reply(struct conn *c, struct resp_call *rc, struct resp_out *out);
bool transaction_has(const struct transaction *t, enum where where);
/* Is there one that takes long? */
bool transaction_has_labour(const struct transaction *t);
void transaction_abandon(struct conn *c); /* it is closed, and nothing is watched */
/* What a WATCH aside has noted is the connection's from now on. */
void transaction_take_watched(struct conn *c, struct transaction *from);
/* Queue the command at hand. */
enum quern_code transaction_add(struct call *k);

/* Must a command wait for the end of CLIENT PAUSE? */
bool resp_is_paused(struct resp_shared *shared, bool is_write);
bool client_is_there(struct resp_shared *shared, uint64_t id);

void monitors_tell(const struct call *k);
void monitor_end(struct conn *c); /* nothing, if it is none */

struct cursors *cursors_new(void);
void cursors_free(struct cursors *cursors);
/* Remember where a scan stands; 0: no memory. `parent`: the cursor it went on from, or 0. */
uint64_t cursors_add(struct cursors *cursors, uint8_t database, struct quern_slice last_key,
                     uint64_t parent);
/* The key behind a cursor, appended to `to`. False: there is no such cursor of this database, or no
 * memory. */
MUST_USE bool cursors_find(struct cursors *cursors, uint8_t database, uint64_t id, struct buf *to);

/* Who was refused, for ACL LOG: redis/acllog.c. */
enum refusal_reason {
    REFUSED_COMMAND,
    REFUSED_KEY,
    REFUSED_AUTH,
};
struct refused *refused_new(void);
void refused_free(struct refused *refused); /* NULL is fine */
/* `object`: the command, the key, or what the password was shown to; `user`: who was refused. */
void refused_note(struct call *k, enum refusal_reason reason, struct quern_slice object,
                  struct quern_slice user);

/* How many keys a database has and how many of them expire, as of a second ago; or longer, where
 * counting takes long and was done lately. */
MUST_USE enum quern_code resp_count_keys(struct server *server, uint8_t database,
                                         struct key_count *out, struct quern_error *err);

/* What a command came to since CONFIG RESETSTAT, by its number; false: nothing. */
bool resp_command_sum(struct server *server, unsigned number, struct measure_sum *out);
unsigned resp_error_sums(struct server *server, struct error_word out[ERROR_WORDS]);
MUST_USE bool resp_reset_sums(struct server *server); /* false: no memory */
void command_base_free(struct command_base *base);    /* NULL is fine */
/* AUTH and HELLO AUTH: false: replied that it is not so. */
MUST_USE bool auth_enter(struct call *k, struct quern_slice user, struct quern_slice password);
void client_note_user(struct call *k); /* for CLIENT LIST */
/* The connection, as CLIENT INFO tells of it, but for the line's end. */
void client_describe(struct call *k, struct resp_out *to);

void resp_print_commands(void); /* the table of docs/resp.md */

#endif
