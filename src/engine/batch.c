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
    alloc_free(batch);
}

void quern_batch_clear(struct quern_batch *batch)
{
    buf_clear(&batch->ops);
    batch->count = 0;
    batch->puts = 0;
    batch->user_bytes = 0;
}

static enum quern_code add(struct quern_batch *batch, enum entry_kind kind, struct quern_slice key,
                           struct quern_slice value, struct quern_error *err)
{
    if (check_key(key, err))
        return err->code;
    if (value.len > QUERN_VALUE_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "the value has %zu bytes; at most %u are possible",
                       value.len, QUERN_VALUE_BYTES_MAX);
    if (batch->ops.len + OP_HEAD_BYTES_MAX + key.len + value.len > QUERN_BATCH_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "the batch would have more than %u bytes",
                       QUERN_BATCH_BYTES_MAX);
    if (op_append(&batch->ops, kind, key, value, 0, err))
        return err->code;
    batch->count++;
    batch->puts += kind == ENTRY_PUT;
    batch->user_bytes += key.len + value.len;
    return QUERN_OK;
}

enum quern_code quern_batch_put(struct quern_batch *batch, struct quern_slice key,
                                struct quern_slice value, struct quern_error *err)
{
    struct quern_error local;

    return add(batch, ENTRY_PUT, key, value, ERR_OR(err, local));
}

enum quern_code quern_batch_delete(struct quern_batch *batch, struct quern_slice key,
                                   struct quern_error *err)
{
    struct quern_error local;

    return add(batch, ENTRY_DELETE, key, slice_of(NULL, 0), ERR_OR(err, local));
}

uint32_t quern_batch_count(const struct quern_batch *batch)
{
    return batch->count;
}

size_t quern_batch_bytes(const struct quern_batch *batch)
{
    return batch->ops.len;
}
