/* batch.c - batches as the public interface knows them, encoded while filled (base/batch.h). */
#include "engine/engine_priv.h"

#include <inttypes.h>

struct quern_batch *quern_batch_new(void)
{
    return NEW(struct quern_batch);
}

void quern_batch_free(struct quern_batch *batch)
{
    if (batch == NULL)
        return;
    buf_done(&batch->ops);
    buf_done(&batch->checks);
    alloc_free(batch);
}

void quern_batch_clear(struct quern_batch *batch)
{
    buf_clear(&batch->ops);
    buf_clear(&batch->checks);
    batch->database = 0;
    batch->map = 0;
    batch->count = 0;
    batch->puts = batch->cuts = batch->swaps = 0;
    batch->user_bytes = 0;
    batch->clears++;
}

void quern_batch_select(struct quern_batch *batch, uint8_t database)
{
    batch->database = database;
}

static enum quern_code append(struct quern_batch *batch, enum entry_kind kind,
                              struct quern_slice key, struct quern_slice value, uint64_t expires_ms,
                              struct quern_error *err)
{
    uint8_t *at;

    if (batch->ops.len + OP_HEAD_BYTES_MAX + 1 + key.len + value.len > QUERN_BATCH_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "the batch would have more than %u bytes",
                       QUERN_BATCH_BYTES_MAX);
    if (buf_reserve(&batch->ops, OP_HEAD_BYTES_MAX + 1 + key.len + value.len, err))
        return err->code;
    at = op_put_head(batch->ops.data + batch->ops.len, kind, 1 + key.len, value.len, expires_ms);
    at = inner_put(at, db_map_get(batch->map, batch->database), key);
    if (value.len != 0)
        memcpy(at, value.data, value.len);
    batch->ops.len = (size_t)(at + value.len - batch->ops.data);
    batch->count++;
    batch->puts += kind == ENTRY_PUT;
    batch->cuts += kind == ENTRY_RANGE_DELETE;
    batch->user_bytes += key.len + value.len;
    return QUERN_OK;
}

static enum quern_code add(struct quern_batch *batch, enum entry_kind kind, struct quern_slice key,
                           struct quern_slice value, uint64_t expires_ms, struct quern_error *err)
{
    if (check_key(batch->database, key, err) || check_expiry(expires_ms, err))
        return err->code;
    if (value.len > QUERN_VALUE_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "the value has %zu bytes; at most %u are possible",
                       value.len, QUERN_VALUE_BYTES_MAX);
    return append(batch, kind, key, value, expires_ms, err);
}

enum quern_code quern_batch_put(struct quern_batch *batch, struct quern_slice key,
                                struct quern_slice value, struct quern_error *err)
{
    struct quern_error local;

    return add(batch, ENTRY_PUT, key, value, 0, ERR_OR(err, local));
}

enum quern_code quern_batch_put_until(struct quern_batch *batch, struct quern_slice key,
                                      struct quern_slice value, uint64_t expires_ms,
                                      struct quern_error *err)
{
    struct quern_error local;

    return add(batch, ENTRY_PUT, key, value, expires_ms, ERR_OR(err, local));
}

enum quern_code quern_batch_delete(struct quern_batch *batch, struct quern_slice key,
                                   struct quern_error *err)
{
    struct quern_error local;

    return add(batch, ENTRY_DELETE, key, slice_of(NULL, 0), 0, ERR_OR(err, local));
}

/* Up to the end of the database where the range has none. */
static enum quern_code range_end(const struct quern_batch *batch, struct quern_slice end,
                                 struct buf *inner, struct quern_error *err)
{
    bool open = end.len == 0;

    return inner_assign(inner, (uint8_t)(db_map_get(batch->map, batch->database) + open), end, err);
}

enum quern_code quern_batch_delete_range(struct quern_batch *batch, const struct quern_range *range,
                                         struct quern_error *err)
{
    struct buf end OWNED_BUF = {0};
    struct quern_error local;
    struct cut cut;

    err = ERR_OR(err, local);
    if (range == NULL)
        return err_set(err, QUERN_INVALID,
                       "the range is NULL; one with both bounds empty has all keys");
    cut = (struct cut){range->start, range->end, 0};
    if (cut.start.len > QUERN_KEY_BYTES_MAX || cut.end.len > QUERN_KEY_BYTES_MAX)
        return err_set(
            err, QUERN_INVALID, "a bound of the range has %zu bytes; keys are 1 to %u bytes",
            cut.start.len > cut.end.len ? cut.start.len : cut.end.len, QUERN_KEY_BYTES_MAX);
    if (check_database(batch->database, err))
        return err->code;
    if (cut_is_empty(&cut))
        return QUERN_OK;
    if (range_end(batch, cut.end, &end, err))
        return err->code;
    return append(batch, ENTRY_RANGE_DELETE, cut.start, buf_slice(&end), 0, err);
}

/* check := u8 what | u64 revision | u32 key_len | key */
#define CHECK_HEAD_BYTES 13

enum quern_code quern_batch_require(struct quern_batch *batch, enum quern_require what,
                                    struct quern_slice key, quern_seq revision,
                                    struct quern_error *err)
{
    struct quern_error local;
    uint8_t *at;

    err = ERR_OR(err, local);
    if (check_key(batch->database, key, err))
        return err->code;
    if (what < QUERN_REQUIRE_ABSENT || what > QUERN_REQUIRE_REVISION)
        return err_set(err, QUERN_INVALID, "there is no check of number %d", (int)what);
    if (buf_reserve(&batch->checks, CHECK_HEAD_BYTES + 1 + key.len, err))
        return err->code;
    at = batch->checks.data + batch->checks.len;
    *at = (uint8_t)what;
    put_u64le(at + 1, revision);
    put_u32le(at + 9, 1 + (uint32_t)key.len);
    at = inner_put(at + CHECK_HEAD_BYTES, batch->database, key); /* of before the batch */
    batch->checks.len = (size_t)(at - batch->checks.data);
    return QUERN_OK;
}

bool batch_check_next(struct quern_slice *checks, struct batch_check *c)
{
    const uint8_t *at = checks->data;

    if (checks->len == 0)
        return false;
    c->what = (enum quern_require)at[0];
    c->revision = get_u64le(at + 1);
    c->key = slice_of(at + CHECK_HEAD_BYTES, get_u32le(at + 9));
    *checks =
        slice_of(at + CHECK_HEAD_BYTES + c->key.len, checks->len - CHECK_HEAD_BYTES - c->key.len);
    return true;
}

uint32_t quern_batch_count(const struct quern_batch *batch)
{
    return batch->count;
}

size_t quern_batch_bytes(const struct quern_batch *batch)
{
    return batch->ops.len;
}
