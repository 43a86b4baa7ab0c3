/* reply.h - the shapes of quernd's replies. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "server/conn.h"

/* A short answer, whole. `extra`: header lines or NULL. Without memory the connection is cut. */
void reply_with(struct conn *c, struct manner manner, int status, const char *type,
                struct quern_slice body, const char *extra);

/* "error: detail", or as JSON {"error":{"code":...,"detail":...}}, or as a problem of RFC 9457. */
void reply_error(struct conn *c, struct manner manner, const struct http_bad *bad,
                 const char *extra);
/* The same, with further members for a problem: `,"op_index":3`. */
void reply_problem(struct conn *c, struct manner manner, const struct http_bad *bad,
                   const char *extra, const char *members);

/* What the store said, as an error reply: 507, 503 or 500. */
void reply_store_error(struct conn *c, struct manner manner, enum quern_code code,
                       const struct quern_error *err);
void reply_store_problem(struct conn *c, struct manner manner, enum quern_code code,
                         const struct quern_error *err, const char *members);

/* "Quern-Pressure: 42" and CRLF, or nothing where writers are not held up; with a zero. Returns its
 * length. */
#define PRESSURE_FIELD_BYTES 32
size_t pressure_field(const struct server *server, char to[PRESSURE_FIELD_BYTES]);

/* A write that succeeded as number `seq`. `durable`: durability_name(). `stored`: there is
 * a value now, whose tag and expiry (0: none) the reply tells. */
void reply_written(struct conn *c, struct manner manner, quern_seq seq, const char *durable,
                   bool stored, uint64_t expires_ms);

/* Do the conditions of the request at hand, a read of the value in loop->value, end it? Then it is
 * answered: 304, 412, or 400. value.c. */
bool conditions_answered(struct conn *c, struct manner manner);

/* A read is over: count it, and answer where there is no value. True: there is one. value.c. */
bool reply_read(struct conn *c, struct manner manner, enum quern_code code,
                const struct quern_error *err);

/* The value in loop->value, or what of it the conditions and the range of the request at hand ask
 * for; a large one is taken from there. `type` NULL: text if its bytes are. value.c. */
void reply_value(struct conn *c, struct manner manner, const char *type);

/* 412: what is there, if anything, is at this revision. */
void reply_precondition_failed(struct conn *c, struct manner manner, bool there,
                               quern_seq revision);

/* Status, head and body as they are. */
void reply_whole(struct conn *c, struct manner manner, struct http_reply reply,
                 struct quern_slice body);

/* The head of a body without known length: chunked, or for HTTP/1.0 up to the end of the
 * connection. The connection does not end before more was said; returns whether it does then. */
bool reply_stream_head(struct conn *c, struct manner manner, int status, const char *type,
                       const char *extra, bool packs);

/* What the request at hand says of its reply; it is begun now. */
struct manner manner_of(struct conn *c);

#endif
