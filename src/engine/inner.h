/* inner.h - keys as they are inside: one byte before the user's, the number of its database.
 *
 *     user     database 3, "apple"            database 3, from "a" on to the end
 *     inside   \x03 a p p l e                 [ \x03 a , \x04 )
 *
 * So the databases of a store lie one behind the other in one order, in the same log, MemDBs and
 * tables, and nobody below the public doors need know of them: they put the byte before a key that
 * comes in, and take it off one that goes out.
 *
 * Which number that is says a map (base/db_map.h): where databases have changed places it is not
 * the user's (databases.c). */
#ifndef ENGINE_INNER_H
#define ENGINE_INNER_H

#include "base/alloc.h"
#include "base/batch.h"
#include "base/buf.h"
#include "base/db_map.h"
#include "base/entry.h"
#include "base/error.h"

#include <quern/quern.h>

/* Copy a key. Those of common lengths without a call. */
static inline void inner_copy(uint8_t *to, struct quern_slice key)
{
    const uint8_t *from = key.data;

    if (LIKELY(key.len - 8 <= 8)) {
        uint64_t first, last;

        memcpy(&first, from, 8);
        memcpy(&last, from + key.len - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + key.len - 8, &last, 8);
    } else {
        memcpy(to, from, key.len);
    }
}

/* Write the key inside at `to`, of 1 + key.len bytes; returns the byte after. */
static inline uint8_t *inner_put(uint8_t *to, uint8_t database, struct quern_slice key)
{
    *to = database;
    if (key.len != 0)
        inner_copy(to + 1, key);
    return to + 1 + key.len;
}

MUST_USE static inline enum quern_code inner_assign(struct buf *to, uint8_t database,
                                                    struct quern_slice key, struct quern_error *err)
{
    buf_clear(to);
    if (buf_reserve(to, 1 + key.len, err))
        return err->code;
    to->len = (size_t)(inner_put(to->data, database, key) - to->data);
    return QUERN_OK;
}

static inline struct quern_slice inner_user_key(struct quern_slice inner)
{
    return slice_of((const uint8_t *)inner.data + 1, inner.len - 1);
}

static inline uint8_t inner_database(struct quern_slice inner)
{
    return *(const uint8_t *)inner.data;
}

/* Keys as users know them, from one in the first database to one in the last; empty: no bound. */
struct inner_span {
    struct quern_slice first_key, last_key;
    uint8_t first_database, last_database;
};
/* The same of inside keys. An end may be a bare number: all before that database. Of several that
 * have changed places it is what lies between the lowest and the highest: more than there is. */
struct inner_span inner_span_of(db_map map, struct quern_slice first, struct quern_slice last);

/* Is all that a batch of a log has in databases that there are? Who reads logs, below, knows of none.
 * Errors: CORRUPT. */
MUST_USE enum quern_code inner_check_batch(const struct batch_ref *batch, quern_seq seq,
                                           uint64_t segment_no, struct quern_error *err);

/* A key inside, in memory of its own only if it is long. `key` borrows. */
#define INNER_SHORT_BYTES 64u
struct inner_key {
    struct quern_slice key;
    uint8_t *large;
    uint8_t small[INNER_SHORT_BYTES];
};

/* Errors: NO_MEMORY. */
MUST_USE static inline enum quern_code inner_key_init(struct inner_key *k, uint8_t database,
                                                      struct quern_slice key,
                                                      struct quern_error *err)
{
    uint8_t *to = k->small;

    k->large = NULL;
    if (UNLIKELY(key.len >= INNER_SHORT_BYTES)) {
        to = k->large = alloc_bytes(1 + key.len);
        if (to == NULL)
            return err_memory(err, "a key");
    }
    k->key = slice_of(to, 1 + key.len);
    IGNORE(inner_put(to, database, key));
    return QUERN_OK;
}

/* Another database, when that is known. */
static inline void inner_key_choose(struct inner_key *k, uint8_t database)
{
    *(UNLIKELY(k->large != NULL) ? k->large : k->small) = database;
}

static inline void inner_key_done(struct inner_key *k)
{
    if (UNLIKELY(k->large != NULL))
        alloc_free(k->large);
}

#endif
