/* bytes_priv.h - bytes as text and back: hex, base64, percent-encoding, escapes for the eye.
 * Pure. */
#ifndef CLI_BYTES_PRIV_H
#define CLI_BYTES_PRIV_H

#include "base/buf.h"

/* Each appends to `out`. Errors: NO_MEMORY; the readers also INVALID, naming what is wrong. */
MUST_USE enum quern_code bytes_to_base64(struct quern_slice s, struct buf *out,
                                         struct quern_error *err);
/* Strict: padding where it belongs, no space, no bits left over. */
MUST_USE enum quern_code bytes_of_base64(struct quern_slice text, struct buf *out,
                                         struct quern_error *err);
MUST_USE enum quern_code bytes_of_hex(struct quern_slice text, struct buf *out,
                                      struct quern_error *err);
/* All but A-Z a-z 0-9 - . _ ~ become %XX. */
MUST_USE enum quern_code bytes_to_percent(struct quern_slice s, struct buf *out,
                                          struct quern_error *err);
/* Printable UTF-8 stands; everything else, and the backslash, becomes \xNN. */
MUST_USE enum quern_code bytes_to_escaped(struct quern_slice s, struct buf *out,
                                          struct quern_error *err);

/* The length of the UTF-8 sequence that begins at `at`, or 0 when none does (cut short, overlong,
 * a surrogate, above U+10FFFF). */
size_t utf8_length(const uint8_t *at, const uint8_t *end);

/* The first key that is above all keys that begin with `prefix`; false when there is none (it is
 * all 0xff). Appends to `out`. */
MUST_USE enum quern_code prefix_end(struct quern_slice prefix, struct buf *out, bool *exists,
                                    struct quern_error *err);

/* A decimal number, digits only, no overflow. */
MUST_USE bool decimal_parse(const char *text, uint64_t *out);

#endif
