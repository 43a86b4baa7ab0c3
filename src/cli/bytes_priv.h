/* bytes_priv.h - bytes as text and back: hex, percent-encoding, escapes for the eye. Pure. */
#ifndef CLI_BYTES_PRIV_H
#define CLI_BYTES_PRIV_H

#include "base/buf.h"

/* Each appends to `out`. Errors: NO_MEMORY; the readers also INVALID, naming what is wrong. */
MUST_USE enum quern_code bytes_of_hex(struct quern_slice text, struct buf *out,
                                      struct quern_error *err);
/* All but A-Z a-z 0-9 - . _ ~ become %XX. */
MUST_USE enum quern_code bytes_to_percent(struct quern_slice s, struct buf *out,
                                          struct quern_error *err);
/* Printable UTF-8 stands; everything else, and the backslash, becomes \xNN. */
MUST_USE enum quern_code bytes_to_escaped(struct quern_slice s, struct buf *out,
                                          struct quern_error *err);

/* A decimal number, digits only, no overflow. */
MUST_USE bool decimal_parse(const char *text, uint64_t *out);

#endif
