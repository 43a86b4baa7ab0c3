/* buf.h - bytes that grow. Zero-initialised is empty; buf_done() frees. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/attr.h"

#include <quern/types.h>

#include <string.h>

struct buf {
    uint8_t *data;
    size_t len, capacity;
};

/* Room for `more` bytes after the first `len`. Errors: NO_MEMORY; the buffer stands as it was. */
MUST_USE enum quern_code buf_reserve(struct buf *b, size_t more, struct quern_error *err);

MUST_USE enum quern_code buf_append(struct buf *b, const void *data, size_t len,
                                    struct quern_error *err);

static inline void buf_clear(struct buf *b)
{
    b->len = 0; /* keeps its memory for the next use */
}

/* Hold these bytes in the place of what was there: no call while they fit. */
MUST_USE static inline enum quern_code buf_assign(struct buf *b, struct quern_slice bytes,
                                                  struct quern_error *err)
{
    b->len = 0;
    if (UNLIKELY(bytes.len > b->capacity))
        return buf_append(b, bytes.data, bytes.len, err);
    if (bytes.len != 0)
        memcpy(b->data, bytes.data, bytes.len);
    b->len = bytes.len;
    return QUERN_OK;
}

static inline struct quern_slice buf_slice(const struct buf *b)
{
    return (struct quern_slice){b->data, b->len};
}

void buf_done(struct buf *b); /* empty and without memory; may be used again */
#define OWNED_BUF __attribute__((cleanup(buf_done)))

#endif
