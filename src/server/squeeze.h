/* squeeze.h - gzip and zstd of a reply that is made page by page. Any thread, one at a time. */
#ifndef SERVER_SQUEEZE_H
#define SERVER_SQUEEZE_H

#include "http/http.h"

#include "base/buf.h"

/* Of all that is compressed here: compress.c says why. */
#define SQUEEZE_GZIP_LEVEL 1
#define SQUEEZE_GZIP_WINDOW (15 + 16) /* 32 KiB, with gzip's head and end around it */
#define SQUEEZE_ZSTD_LEVEL 1

struct squeeze;

/* NULL: no memory, or HTTP_IDENTITY. */
struct squeeze *squeeze_new(enum http_encoding encoding);
void squeeze_free(struct squeeze *s); /* NULL is fine */

/* Append to *out what the page comes to, all of it: whoever has read so far can unpack it. `last`:
 * nothing follows. Errors: NO_MEMORY; then there is no going on. */
MUST_USE enum quern_code squeeze_add(struct squeeze *s, struct quern_slice page, bool last,
                                     struct buf *out, struct quern_error *err);

#endif
