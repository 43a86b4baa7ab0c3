/* batch.h - a batch on its way from the caller through the WAL to the MemDB: operations as bytes.
 *
 *     op    := u8 kind | varint key_len | varint value_len | [u64 expires_ms] | key | value
 *
 * `kind` is an entry_kind, with OP_HAS_EXPIRY added when an expiry follows. The same bytes are
 * what the WAL stores: an append is a memcpy. A range delete carries its end key as value, empty
 * where there is none; its key, the start, may be empty too. What makes databases change places has
 * no key, and a db_map (base/db_map.h) as value: the one from this batch on, for all of it. */
#ifndef BASE_BATCH_H
#define BASE_BATCH_H

#include "base/buf.h"
#include "base/db_map.h"
#include "base/entry.h"

#define OP_HAS_EXPIRY 0x80u
/* What an op costs beside its key and value, at most. */
#define OP_HEAD_BYTES_MAX (1 + 2 * 5 + 8)

/* All operations of one batch, borrowed. The value of the last operation may lie apart in
 * `tail`, so that a large value need not be copied to stand behind its key; on disk it follows
 * directly. All operations of a batch share one sequence number. */
struct batch_ref {
    struct quern_slice ops;
    struct quern_slice tail;
    uint32_t op_count;
};

static inline uint64_t batch_bytes(const struct batch_ref *b)
{
    return (uint64_t)b->ops.len + b->tail.len;
}

/* Write the head of one op at `to` (OP_HEAD_BYTES_MAX bytes of room); returns the byte after. */
uint8_t *op_put_head(uint8_t *to, enum entry_kind kind, size_t key_len, size_t value_len,
                     uint64_t expires_ms);

/* Append one whole op. Errors: NO_MEMORY (nothing appended). */
MUST_USE enum quern_code op_append(struct buf *ops, enum entry_kind kind, struct quern_slice key,
                                   struct quern_slice value, uint64_t expires_ms,
                                   struct quern_error *err);

/* Walk the operations:   struct op_cursor c = op_cursor_of(&batch);
 *                        while (op_next(&c, &e)) ...;  if (c.bad) ...
 * `e.seq` is left 0. Every length is checked, so bytes from disk are safe to walk; `bad` is set
 * when they do not parse (unknown kind, no key, cut short, sizes over the limits). */
struct op_cursor {
    const uint8_t *at, *end;
    struct quern_slice tail;
    bool bad;
};

/* The map of an ENTRY_DATABASES. */
#define OP_DB_MAP_BYTES 8u
static inline db_map op_db_map(const struct entry *e)
{
    return get_u64le(e->value.data);
}

struct op_cursor op_cursor_of(const struct batch_ref *batch);
bool op_next(struct op_cursor *c, struct entry *e);

/* The last map in a batch; false: there is none, and *map is as it was. */
bool batch_db_map(const struct batch_ref *batch, db_map *map);

#endif
