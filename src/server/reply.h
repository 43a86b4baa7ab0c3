/* reply.h - the shapes of quernd's replies. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "server/conn.h"

/* A short answer, whole. `extra`: header lines or NULL. Without memory the connection is cut. */
void reply_with(struct conn *c, struct manner manner, int status, const char *type,
                struct quern_slice body, const char *extra);

/* "error: detail", or as JSON {"error":{"code":...,"detail":...}}. */
void reply_error(struct conn *c, struct manner manner, const struct http_bad *bad,
                 const char *extra);

/* What the store said, as an error reply: 507, 503 or 500. */
void reply_store_error(struct conn *c, struct manner manner, enum quern_code code,
                       const struct quern_error *err);

/* A write that succeeded as number `seq`. `durable`: "synced", "interval" or "os". */
void reply_written(struct conn *c, struct manner manner, quern_seq seq, const char *durable);

/* The value in loop->value; a large one is taken from there. */
void reply_value(struct conn *c, struct manner manner);

/* The head of a body without known length: chunked, or for HTTP/1.0 up to the end of the
 * connection. */
void reply_stream_head(struct conn *c, struct manner manner, int status);

/* What the request at hand says of its reply. */
struct manner manner_of(const struct conn *c);

#endif
