/* call.h - a command of the Redis protocol: its row in the table, and one call of it.
 *
 * A handler replies into call->out and returns OK, or returns the failure of the store, which is
 * then the reply. What a client did wrong is a reply of the handler's, not a failure.
 *
 *     where     runs on                   reads by             in a transaction
 *     HERE      the connection's loop     quern_get, iterators after it, on the loop
 *     READ      the connection's loop     quern_get            in its update
 *               or, where that would wait for the disk, aside from it
 *     WALK      aside from the loops      iterators, counts    after it, aside
 *               (one that is FAST: on the loop first, as a READ)
 *     UPDATE    whoever leads the commit  quern_update_get     in its update
 *
 * LCS takes too long for an update: in a transaction it reads there, is `unfinished`, and goes on as a
 * WALK does.
 *
 * A handler of READ, WALK or UPDATE may run on any thread and must not touch `conn`, which is NULL
 * then. What a READ has begun on the loop is forgotten when a read is BUSY. A blind
 * one reads nothing: it fills a batch on the loop, and the commit leader has nothing to run. */
#ifndef SERVER_RESP_CALL_H
#define SERVER_RESP_CALL_H

#include "server/server.h"

#include "resp/resp.h"

#include <quern/quern.h>

struct conn;
struct call;
struct found;

typedef enum quern_code (*command_fn)(struct call *k);

enum where {
    HERE,
    READ,
    WALK,
    UPDATE,
};

/* As COMMAND names them; the order is that of its reply. */
enum {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_NOSCRIPT = 1 << 4,
    CMD_LOADING = 1 << 5,
    CMD_STALE = 1 << 6,
    CMD_FAST = 1 << 7,
    CMD_NO_AUTH = 1 << 8,
    CMD_NO_MULTI = 1 << 9,
    CMD_ALLOW_BUSY = 1 << 10,
    /* Not shown. */
    CMD_AT_ONCE = 1 << 16, /* carried out, not queued, inside MULTI */
    CMD_ALONE = 1 << 17,   /* not inside MULTI, though Redis would */
    CMD_LABOUR =
        1
        << 18, /* takes long, so that it waits behind those that do not; of a READ: aside anyway */
};

enum group {
    GROUP_STRING,
    GROUP_GENERIC,
    GROUP_CONNECTION,
    GROUP_SERVER,
    GROUP_TRANSACTIONS,
    GROUP_SCRIPTING,
};

#define MGET_AT_ONCE 64u                      /* values that a loop keeps memory for: LOOP_VALUES */
#define REPLY_BYTES_MAX (UINT64_C(256) << 20) /* of a command that replies with many things */

struct command {
    const char *name; /* "get"; of a subcommand "list" */
    int arity;        /* the name counts; negative: at least so many */
    unsigned flags;
    int first_key, last_key, key_step; /* in the arguments; last -1: the last one; 0, 0, 0: none */
    enum group group;
    const char *since, *summary;
    enum where where;
    bool (*blind)(const struct call *k); /* is it, called so? NULL: never */
    command_fn run;
    const struct command *subs; /* of a container */
    unsigned sub_count;
    const char *parent; /* of a subcommand: "client" */
};

struct call {
    struct server *server;
    struct conn *conn;           /* NULL on another thread than its loop's */
    struct quern_update *update; /* NULL: reads go to the store */
    struct quern_batch *batch;   /* takes writes; NULL: there are none */
    const struct command *command;
    const struct quern_slice *args; /* the command's name is the first */
    size_t argc;
    struct resp_out out;
    struct quern_value *value; /* what call_get() found */
    struct quern_value *many;  /* MGET_AT_ONCE values that keep their memory, or NULL */
    struct quern_error *err;
    size_t fetched_at;            /* behind the one that was asked for last */
    const struct found *fetched;  /* what was read for it already; keys are those of `args` */
    struct quern_read_opts reads; /* of which database, and may it wait for the disk? */
    bool may_hand_over;           /* a large value may follow the output, uncopied */
    bool sees_all;                /* of a WALK: its client's token reaches all keys */
    struct transaction *noted;    /* of a WATCH aside: takes what it notes */
    bool later;                   /* the reply comes when a write completes */
    bool unfinished; /* in a transaction: it is to be called again behind the commit, aside, */
    struct quern_slice left; /* with what it has replied so far, which is gone when it replies */
    bool failed;             /* the store could not: the reply is its failure */
    uint64_t puts, put_bytes, deletes;
};

/* ---- the table: redis/table.c ---- */

extern const struct command commands[];
extern const unsigned command_count;

/* Commands and subcommands are numbered from 0. */
unsigned command_numbers(void); /* how many there are */
unsigned command_number(const struct command *command);
const struct command *command_numbered(unsigned number);

/* NULL: there is none. *unknown_sub: a container, but no such subcommand. */
const struct command *command_find(const struct quern_slice *args, size_t argc, bool *unknown_sub);
const struct command *command_named(struct quern_slice name, const struct command *from,
                                    unsigned count);
bool command_arity_fits(const struct command *command, size_t argc);
/* "client|list"; `to` is returned. */
#define COMMAND_NAME_BYTES 48
const char *command_full_name(const struct command *command, char to[COMMAND_NAME_BYTES]);
const char *command_group_name(enum group group);
/* In a transaction: does it run in its update, or after it? */
static inline bool command_in_update(const struct command *command)
{
    return command->where == READ || command->where == UPDATE;
}
/* May it read on the loop? Then what is not in memory is BUSY, and it goes aside. Of those that concern
 * the connection it is WATCH alone. */
static inline bool command_reads_here(const struct command *command)
{
    return command->where == READ || (command->where == HERE && command->first_key != 0);
}
/* "key value [NX|XX]"; empty: no arguments. redis/syntax.c */
const char *command_syntax(const struct command *command);
void command_put_arguments(struct resp_out *out,
                           const struct command *command); /* as DOCS has them */
/* From here on the arguments are secret, and never told to anybody; 0: none is. */
size_t command_secret_from(const struct command *command, const struct quern_slice *args,
                           size_t argc);
/* The last argument that is a key; 0: none. */
size_t command_last_key(const struct command *command, size_t argc);

/* ---- for handlers: redis/call.c ---- */

#define DATABASES 16u

/* Of another database from here on, reads and writes; the caller goes back. */
void call_select(struct call *k, uint8_t database);

/* The value under a key, into k->value: OK, NOT_FOUND, or a failure. What cannot be a key, since it
 * is empty or too long, is not found. */
MUST_USE enum quern_code call_get(struct call *k, struct quern_slice key);
/* call_put() is one that never expires. To put what has expired already is to delete. */
MUST_USE enum quern_code call_put(struct call *k, struct quern_slice key, struct quern_slice value);
MUST_USE enum quern_code call_put_until(struct call *k, struct quern_slice key,
                                        struct quern_slice value, uint64_t expires_ms);
MUST_USE enum quern_code call_delete(struct call *k, struct quern_slice key);

MUST_USE enum quern_code call_delete_range(struct call *k, const struct quern_range *range);
int64_t call_now_ms(const struct call *k); /* quern_time_ms(): what expires is judged by it */

/* The argument as an integer; false: replied that it is none. */
MUST_USE bool call_integer(struct call *k, size_t arg, int64_t *out);
/* The number of a database, if it is one. */
bool database_of(struct quern_slice s, uint8_t *out);
/* The argument as the number of a database; false: replied that it is none. */
MUST_USE bool call_database(struct call *k, size_t arg, uint8_t *out);
/* A name of ours, however the client wrote it, in capitals; `to` is returned. */
const char *upper_case(struct quern_slice name, char to[COMMAND_NAME_BYTES]);
bool call_arg_is(const struct call *k, size_t arg, const char *word);
struct quern_slice call_value(const struct call *k); /* what was read */

/* Replies, for a last line of a handler: each returns OK. */
enum quern_code call_ok(struct call *k);
enum quern_code call_int(struct call *k, int64_t v);
enum quern_code call_null(struct call *k);
enum quern_code call_error(struct call *k, const char *text);
/* An error that names something of the client's, of which it shows 128 bytes. */
enum quern_code call_about(struct call *k, const char *before, struct quern_slice what,
                           const char *after);
enum quern_code call_syntax_error(struct call *k);
enum quern_code call_wrong_arity(struct call *k);
enum quern_code call_sub_error(struct call *k); /* a subcommand's arguments do not fit */
enum quern_code call_expire_error(struct call *k);

/* Reply with the failure of the store. */
void reply_failure(struct resp_out *out, enum quern_code code, const struct quern_error *err);

#endif
