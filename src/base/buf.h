/* buf.h - bytes that grow. Zero-initialised is empty; buf_done() frees. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/attr.h"

#include <quern/types.h>

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

static inline struct quern_slice buf_slice(const struct buf *b)
{
    return (struct quern_slice){b->data, b->len};
}

void buf_done(struct buf *b); /* empty and without memory; may be used again */
#define OWNED_BUF __attribute__((cleanup(buf_done)))

#endif
