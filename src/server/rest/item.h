/* item.h - an entry of the store as JSON. */
#ifndef SERVER_ITEM_H
#define SERVER_ITEM_H

#include "base/buf.h"

struct item {
    struct quern_slice key, value;
    quern_seq revision;
    uint64_t expires_ms; /* 0: never */
};

/* A value above this is left out of JSON: it is to be fetched by its key. */
#define ITEM_VALUE_BYTES_MAX (1u << 20)

/* Append {"key":"a","size":3,"rev":9}, with "expires_at":"2026-11-22T12:00:00.000Z" if it expires,
 * and with `values` "value":"xyz" too. Where bytes are not UTF-8
 * the name ends in _b64 and the text is base64. */
MUST_USE enum quern_code item_text(struct buf *out, const struct item *item, bool values,
                                   struct quern_error *err);

#endif
