/* buf.c - bytes that grow; see buf.h. */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/error.h"

#include <string.h>

enum quern_code buf_reserve(struct buf *b, size_t more, struct quern_error *err)
{
    size_t need, capacity;
    uint8_t *data;

    if (more <= b->capacity - b->len)
        return QUERN_OK;
    if (__builtin_add_overflow(b->len, more, &need) ||
        __builtin_add_overflow(need, need / 2, &capacity))
        return err_memory(err, "a buffer");
    data = alloc_resize(b->data, capacity);
    if (data == NULL)
        return err_memory(err, "a buffer");
    b->data = data;
    b->capacity = capacity;
    return QUERN_OK;
}

enum quern_code buf_append(struct buf *b, const void *data, size_t len, struct quern_error *err)
{
    if (buf_reserve(b, len, err))
        return err->code;
    if (len != 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return QUERN_OK;
}

void buf_done(struct buf *b)
{
    alloc_free(b->data);
    *b = (struct buf){0};
}
