/* databases.c - databases that change places: a map says which of a user's is which inside
 * (base/db_map.h), and a new map is all that changes. No key is touched.
 *
 *     batch        "3 and 5"          what is added behind it goes where 3 and 5 were before
 *       |  databases_settle           numbers from before the batch -> inside ones; the map whole
 *       v
 *     log          the batch, with an ENTRY_DATABASES
 *       |
 *       v
 *     db->places, and the view        before the number is visible: readers of older ones find the
 *       |                             map of until then beside it
 *       v
 *     active.map -> flush -> manifest as range deletes go, with what else is in the MemDB
 *
 * So log, MemDBs and tables know inside numbers only, and what follows a lost change of places is not
 * in the wrong database: all that is lost is which name each has. A change ends its group: so one map
 * holds for all that a group judges and writes. A pin has the map of its number; an iterator has
 * inside keys from the beginning.
 *
 * While no database has ever changed places the map is 0: reads pay for a look at it, writes for a
 * comparison. Else each batch is copied by the leader, since what a user handed over stays as it is. */
#include "engine/engine_priv.h"

#include <inttypes.h>

/* ---- from a user's numbers to inside ones ---- */

/* The bytes are a copy of the leader's. */
static void renumber(struct quern_slice key, uint8_t database)
{
    *(uint8_t *)(uintptr_t)key.data = database;
}

static void renumber_batch(const struct batch_ref *batch, db_map map)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry e;

    while (op_next(&c, &e)) {
        uint8_t inside;

        if (e.kind == ENTRY_DATABASES) {
            put_u64le((uint8_t *)(uintptr_t)e.value.data, db_map_then(map, op_db_map(&e)));
            continue;
        }
        inside = db_map_get(map, inner_database(e.key));
        renumber(e.key, inside);
        if (e.kind == ENTRY_RANGE_DELETE) /* to the end of the database: the next one's number */
            renumber(e.value, (uint8_t)(inside + (e.value.len == 1)));
    }
    ensure(!c.bad);
}

enum quern_code databases_settle(struct quern *db, struct waiter *first, struct buf *copies,
                                 struct quern_error *err)
{
    size_t bytes = 0;

    for (const struct waiter *w = first; w != NULL; w = w->next)
        bytes += w->batch.ops.len;
    if (bytes == 0)
        return QUERN_OK;
    if (buf_reserve(copies, bytes, err))
        return err->code;
    for (struct waiter *w = first; w != NULL; w = w->next) {
        uint8_t *to = copies->data + copies->len;

        if (w->batch.op_count == 0)
            continue;
        memcpy(to, w->batch.ops.data, w->batch.ops.len);
        copies->len += w->batch.ops.len;
        w->batch.ops.data = to;
        renumber_batch(&w->batch, db->places.now);
    }
    return QUERN_OK;
}

/* ---- from a log ---- */

enum quern_code inner_check_batch(const struct batch_ref *batch, quern_seq seq, uint64_t segment_no,
                                  struct quern_error *err)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry e;

    while (op_next(&c, &e))
        if (e.kind != ENTRY_DATABASES &&
            (e.key.len == 0 || inner_database(e.key) >= QUERN_DATABASES))
            return err_set(err, QUERN_CORRUPT,
                           "log segment %06" PRIu64 ": write %" PRIu64
                           " is to a database that there is not",
                           segment_no, seq);
    return QUERN_OK;
}

/* ---- and back ---- */

struct inner_span inner_span_of(db_map map, struct quern_slice first, struct quern_slice last)
{
    struct inner_span span = {.first_database = QUERN_DATABASES - 1, .last_database = 0};
    uint8_t low = 0, high = QUERN_DATABASES - 1;
    db_map back = db_map_back(map);

    if (first.len != 0)
        low = inner_database(first);
    if (last.len > 1)
        high = inner_database(last);
    else if (last.len == 1 && inner_database(last) != 0)
        high = inner_database(last) - 1;
    low = low < QUERN_DATABASES ? low : QUERN_DATABASES - 1; /* of damage nothing is sure */
    high = high < QUERN_DATABASES ? high : QUERN_DATABASES - 1;
    for (uint8_t n = low; n <= high; n++) {
        uint8_t user = db_map_get(back, n);

        span.first_database = user < span.first_database ? user : span.first_database;
        span.last_database = user > span.last_database ? user : span.last_database;
    }
    if (first.len != 0 && db_map_get(back, low) == span.first_database)
        span.first_key = inner_user_key(first);
    if (last.len > 1 && db_map_get(back, high) == span.last_database)
        span.last_key = inner_user_key(last);
    return span;
}

/* ---- a new map ---- */

void databases_take_locked(struct quern *db, db_map map, quern_seq seq)
{
    db_map before = db->places.now;

    mutex_assert_held(&db->mu);
    db->places = (struct db_places){.now = map, .before = before, .since = seq};
    db->active.map = map;
    db->active.map_seq = seq;
    for (uint8_t n = 0; n < QUERN_DATABASES; n++)
        if (db_map_get(map, n) != db_map_get(before, n))
            db->moved_seq[n] = seq;
}

/* ---- the doors ---- */

enum quern_code quern_batch_swap_databases(struct quern_batch *batch, uint8_t a, uint8_t b,
                                           struct quern_error *err)
{
    struct quern_slice none = {NULL, 0};
    struct quern_error local;
    uint8_t bytes[OP_DB_MAP_BYTES];
    db_map map;

    err = ERR_OR(err, local);
    if (check_database(a, err) || check_database(b, err))
        return err->code;
    if (a == b)
        return QUERN_OK;
    if (batch->ops.len + OP_HEAD_BYTES_MAX + OP_DB_MAP_BYTES > QUERN_BATCH_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "the batch would have more than %u bytes",
                       QUERN_BATCH_BYTES_MAX);
    map = db_map_swap(batch->map, a, b);
    put_u64le(bytes, map);
    if (op_append(&batch->ops, ENTRY_DATABASES, none, slice_of(bytes, sizeof(bytes)), 0, err))
        return err->code;
    batch->map = map;
    batch->count++;
    batch->swaps++;
    return QUERN_OK;
}

enum quern_code quern_swap_databases(struct quern *db, uint8_t a, uint8_t b,
                                     const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_error local;
    struct quern_batch one = {.count = 0};
    enum quern_code code;

    err = ERR_OR(err, local);
    code = quern_batch_swap_databases(&one, a, b, err);
    if (code == QUERN_OK)
        code = quern_write(db, &one, opts, err);
    buf_done(&one.ops);
    return code;
}
