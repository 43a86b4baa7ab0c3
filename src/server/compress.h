/* compress.h - texts of the server's own, made small for clients that ask for it. One loop's thread. */
#ifndef SERVER_COMPRESS_H
#define SERVER_COMPRESS_H

#include "server/loop.h"

struct compressor;                          /* of a loop; made when first needed */
void compressor_free(struct compressor *c); /* NULL is fine */

/* Are replies of this type and length compressed for those who ask? */
bool compress_concerns(const char *type, size_t len);

/* Put the compressed bytes in the place of *body; they stay until the next call on this loop. False:
 * no smaller, or no memory; then *body is as it was. */
MUST_USE bool compress_text(struct loop *loop, enum http_encoding encoding,
                            struct quern_slice *body);

#endif
