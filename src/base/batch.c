/* batch.c - operations as bytes; see batch.h. */
#include "base/batch.h"

#include "base/codec.h"
#include "base/error.h"

uint8_t *op_put_head(uint8_t *to, enum entry_kind kind, size_t key_len, size_t value_len,
                     uint64_t expires_ms)
{
    *to++ = (uint8_t)((unsigned)kind | (expires_ms ? OP_HAS_EXPIRY : 0u));
    to = put_varint(to, key_len);
    to = put_varint(to, value_len);
    if (expires_ms != 0) {
        put_u64le(to, expires_ms);
        to += 8;
    }
    return to;
}

enum quern_code op_append(struct buf *ops, enum entry_kind kind, struct quern_slice key,
                          struct quern_slice value, uint64_t expires_ms, struct quern_error *err)
{
    uint8_t *at;

    if (buf_reserve(ops, OP_HEAD_BYTES_MAX + key.len + value.len, err))
        return err->code;
    at = op_put_head(ops->data + ops->len, kind, key.len, value.len, expires_ms);
    if (key.len != 0)
        memcpy(at, key.data, key.len);
    at += key.len;
    if (value.len != 0)
        memcpy(at, value.data, value.len);
    ops->len = (size_t)(at + value.len - ops->data);
    return QUERN_OK;
}

struct op_cursor op_cursor_of(const struct batch_ref *batch)
{
    const uint8_t *at = batch->ops.data;

    return (struct op_cursor){
        .at = at, .end = at == NULL ? at : at + batch->ops.len, .tail = batch->tail};
}

static bool op_bad(struct op_cursor *c)
{
    c->bad = true;
    c->at = c->end;
    return false;
}

/* Of an operation of this kind. */
static bool sizes_fit(enum entry_kind kind, uint64_t key_len, uint64_t value_len)
{
    if (kind == ENTRY_DATABASES)
        return key_len == 0 && value_len == OP_DB_MAP_BYTES;
    if (kind == ENTRY_RANGE_DELETE)
        return key_len <= ENTRY_KEY_BYTES_MAX && value_len <= ENTRY_KEY_BYTES_MAX;
    return key_len != 0 && key_len <= ENTRY_KEY_BYTES_MAX && value_len <= ENTRY_VALUE_BYTES_MAX;
}

bool op_next(struct op_cursor *c, struct entry *e)
{
    uint64_t key_len, value_len;
    unsigned kind;

    if (c->at >= c->end)
        return false;
    kind = *c->at++;
    e->kind = (enum entry_kind)(kind & ~OP_HAS_EXPIRY);
    e->seq = 0;
    e->expires_ms = 0;
    if (e->kind < ENTRY_PUT || e->kind > ENTRY_DATABASES)
        return op_bad(c);
    c->at = get_varint(c->at, c->end, &key_len);
    if (c->at == NULL || (c->at = get_varint(c->at, c->end, &value_len)) == NULL)
        return op_bad(c);
    if (!sizes_fit(e->kind, key_len, value_len))
        return op_bad(c);
    if (kind & OP_HAS_EXPIRY) {
        if (c->end - c->at < 8)
            return op_bad(c);
        e->expires_ms = get_u64le(c->at);
        c->at += 8;
    }
    if ((uint64_t)(c->end - c->at) < key_len)
        return op_bad(c);
    e->key = slice_of(c->at, key_len);
    c->at += key_len;
    if (c->at == c->end && value_len != 0) {
        if (c->tail.len != value_len)
            return op_bad(c);
        e->value = c->tail;
    } else {
        if ((uint64_t)(c->end - c->at) < value_len)
            return op_bad(c);
        e->value = slice_of(c->at, value_len);
        c->at += value_len;
    }
    if (UNLIKELY(e->kind == ENTRY_DATABASES) && !db_map_is_valid(op_db_map(e)))
        return op_bad(c);
    return true;
}

bool batch_db_map(const struct batch_ref *batch, db_map *map)
{
    struct op_cursor c = op_cursor_of(batch);
    bool found = false;
    struct entry e;

    while (op_next(&c, &e))
        if (UNLIKELY(e.kind == ENTRY_DATABASES)) {
            *map = op_db_map(&e);
            found = true;
        }
    return found;
}
