/* verb.h - what a write under /v1 asks for, from its request to its reply. */
#ifndef SERVER_VERB_H
#define SERVER_VERB_H

#include "server/rest/conditions.h"
#include "server/conn.h"
#include "server/rest/lifetime.h"

enum verb_kind {
    VERB_PUT,
    VERB_DELETE,
    VERB_INCR,
    VERB_APPEND,
    VERB_GETSET,
    VERB_TOUCH,
    VERB_PERSIST,
    VERB_BATCH,
};

/* Why a function of quern_update_async() said no. */
enum verb_trouble {
    VERB_WELL,
    VERB_CONDITION, /* If-Match, If-None-Match, or a check of a batch */
    VERB_NOT_AN_INTEGER,
    VERB_OVERFLOW,
    VERB_TOO_LARGE,
};

/* The loop's, but for the time that an update of it is with the store. */
struct verb {
    enum verb_kind kind;
    const struct server *server;
    uint8_t database;
    struct buf key, value; /* of a batch: `value` has the bytes of all its keys and values */
    struct buf tags;       /* the bytes of `conditions` */
    struct conditions conditions;
    struct lifetime lifetime;
    bool wants_old;
    int64_t number; /* to add; then the sum */
    unsigned attempts;

    /* What came of it. */
    bool there; /* before the write, at `revision` */
    quern_seq revision;
    uint64_t expires_ms; /* when the value that is there now expires; 0: never */
    bool unchanged;      /* nothing had to be written */
    struct buf
        result; /* the value before (DELETE, GETSET) or after (APPEND), or what a batch read */
    enum verb_trouble trouble;

    /* Of a batch. */
    struct buf steps; /* struct step, batch.c */
    size_t step_count, failed_step;
};

/* A verb for the request at hand, with its conditions and the key in loop->key; NULL: no memory. */
struct verb *verb_new(const struct conn *c, enum verb_kind kind);
void verb_free(struct verb *v); /* NULL is fine */

/* Begin it; its op frees it. The reply follows from verb_completed(). Without memory the connection
 * is cut. */
void verb_write(struct conn *c, struct manner manner, struct verb *v); /* PUT, DELETE */
/* The others: `fn` is run with the verb. */
void verb_update(struct conn *c, struct manner manner, struct verb *v, quern_update_fn fn);

/* Is the write of the request at hand to be synced? kv_check_sync() saw to the word. */
bool verb_sync_asked(const struct conn *c);

/* Answer one that has finished. */
void verb_completed(struct write_op *op);

/* INCR, APPEND, GETSET, TOUCH, PERSIST. */
enum quern_code verb_change(void *op, struct quern_update *u, struct quern_error *err);

/* Read what a batch will read, so that no writer waits for the disk inside it. False: with opts->cached
 * something was not in memory. */
bool batch_read_ahead(const struct verb *v, const struct quern_read_opts *opts,
                      struct quern_value *value);
/* BATCH: batch.c. `extra`: fields of a write that went well. */
void batch_answer(struct conn *c, const struct write_op *op, const char *extra);
void batch_answer_trouble(struct conn *c, const struct write_op *op);

/* "-12" as Redis reads it: no space, no plus, no leading zero. */
bool integer_read(struct quern_slice s, int64_t *out);

#endif
