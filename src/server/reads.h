/* reads.h - the reads of one turn of a loop: what all connections ask for, at both doors, becomes
 * one batched get. The loop's thread alone. */
#ifndef SERVER_READS_H
#define SERVER_READS_H

#include "server/conn.h"

struct command;
struct reads;

/* What a read found, in the order of its keys. */
struct found {
    const struct quern_slice *keys;
    struct quern_value *values; /* theirs who read; their memory is kept */
    const enum quern_code *codes;
    size_t count;
};

/* What is done with a value under /get and /v1/kv, which is in loop->value; its key in loop->key. */
typedef void (*read_then)(struct conn *c, struct manner manner, enum quern_code code,
                          const struct quern_error *err);

/* One that waits for the batch. */
struct read {
    struct conn *conn;
    void (*answer)(struct read *read, const struct found *found);
    const struct quern_slice *args;
    unsigned argc, first_key, key_count;
    union { /* by its door */
        struct {
            struct manner manner;
            read_then then;
        } http;
        struct {
            const struct command *command;
            size_t in_at; /* where it begins in its connection's input */
            struct asked asked;
        } resp;
    };
};

MUST_USE struct reads *reads_new(void); /* NULL: no memory */
void reads_free(struct reads *reads);   /* NULL is fine */

/* Does a read of this connection have company in this turn? One that is alone need not wait. */
bool reads_have_company(const struct conn *c);
/* May so many keys of so many arguments join? All are of one database. */
bool reads_have_room(const struct loop *loop, uint8_t database, size_t argc, size_t keys);
/* It joins: the arguments from `first` on are its `keys` keys. Their bytes must stay where they are;
 * reads_keep() copies one that does not (data NULL: there is no room). The caller says how it is to
 * be answered; until then its connection is `gathered`. */
struct read *reads_take(struct conn *c, uint8_t database, const struct quern_slice *args,
                        size_t argc, size_t first, size_t keys);
struct quern_slice reads_keep(struct loop *loop, struct quern_slice key);

/* Get all keys, and answer those whose connections are still there, in the order in which they
 * joined. What is not in memory, or is large, is BUSY. */
void reads_run(struct loop *loop);

/* Is there an answer for each key? Failures of single keys are rare: whoever meets one asks alone,
 * and hears the story. */
bool found_all(const struct found *found);

#endif
