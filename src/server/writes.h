/* writes.h - hands writes to the store and sees them home. */
#ifndef SERVER_WRITES_H
#define SERVER_WRITES_H

#include "server/conn.h"

/* Begin to store key and value (copied) until `expires_ms` (0: for ever), or to delete a key that
 * is there. `sync`: the client asks for it. The reply follows from serve_completed(). False: no
 * memory, and nothing begun. */
bool write_set(struct conn *c, struct manner manner, struct quern_slice key,
               struct quern_slice value, uint64_t expires_ms, bool sync);
bool write_delete(struct conn *c, struct manner manner, struct quern_slice key, bool sync);

/* The steps of a write of another kind (verb.c, redis/writes.c): an op at the end of the
 * connection's queue, or NULL without memory; hand its batch, or its update, to the store; or end
 * it without. `bytes`: of keys and values. */
struct write_op *write_new(struct conn *c, struct manner manner, size_t bytes, bool synced);
/* The same, synced if it is to be or if the server syncs all. */
struct write_op *write_begin(struct conn *c, struct manner manner, size_t bytes, bool sync);
/* What the slow log shows of it, if it comes to that. */
void write_note_key(struct write_op *op, struct quern_slice key);
void write_submit(struct write_op *op);
void write_finish(struct write_op *op, enum quern_code code);

/* What is true of a write that went well. */
static inline const char *durability_name(bool synced)
{
    return synced ? "synced" : "buffered";
}

/* How much writers are held up, 0 to 100: by the store's slow-down, or by what is under way. */
unsigned write_pressure(const struct server *server);

/* What it waited for, once it has finished. */
enum waited_for write_waited_for(const struct write_op *op);

#endif
