/* base64.h - bytes as letters and back: RFC 4648. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

enum base64 {
    BASE64_STANDARD, /* section 4: + and /, padded */
    BASE64_URL,      /* section 5: - and _; padded or not when read, bare when written */
    BASE64_EITHER,   /* to be read only: clients have either at hand; one text keeps to one */
};

MUST_USE enum quern_code base64_append(struct buf *out, struct quern_slice from, enum base64 kind,
                                       struct quern_error *err);

/* `to` has room for from.len bytes and may be from.data. Returns the length, or SIZE_MAX: a letter
 * or padding that the kind has not, a length that none has, bits left over. */
MUST_USE size_t base64_decode(struct quern_slice from, enum base64 kind, void *to);

#endif
