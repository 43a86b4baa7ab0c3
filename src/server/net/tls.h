/* tls.h - TLS on the server's ports, for both doors.
 *
 *      socket --records--> tls_take() --bytes--> conn->in      tls.c: a connection
 *      socket <--records-- tls_flush() <--bytes-- conn->out
 *      files --main thread, once a second--> SSL_CTX           tls_keys.c: certificate and key
 *
 * A connection's part belongs to its loop's thread; struct tls_keys locks itself. */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include "server/options/options.h"

#include "base/buf.h"

#include <openssl/ssl.h>
#include <uv.h>

struct conn;
struct tls;
struct tls_keys;

/* ------------------------------------------------------------------ certificate and key -- */

/* Read the files that the options name. Errors, with what to do about it: CORRUPT, INVALID, DENIED,
 * NO_STORE (no such file), NO_MEMORY. */
MUST_USE enum quern_code tls_keys_new(const struct server_options *options, struct tls_keys **out,
                                      struct quern_error *err);
void tls_keys_free(struct tls_keys *k); /* NULL is fine; no connection is left */

/* Have the files changed, and come to rest since the last call? Then take them up, or say why not
 * and keep what there was. `anyway`: do so without asking. Main thread alone. */
void tls_keys_look(struct tls_keys *k, bool anyway);

/* One connection's state by what is valid now; NULL: no memory. */
SSL *tls_keys_session(struct tls_keys *k);

enum tls_outcome {
    TLS_SHAKEN,  /* a handshake went well */
    TLS_RESUMED, /* of them: by a session's ticket */
    TLS_FAILED,
};
void tls_keys_tally(struct tls_keys *k, enum tls_outcome outcome);

/* When the certificate ends: unix seconds. */
int64_t tls_keys_not_after(struct tls_keys *k);

/* Append what there is to tell, as a JSON object without a newline. */
MUST_USE enum quern_code tls_keys_text(struct tls_keys *k, struct buf *out,
                                       struct quern_error *err);

/* ------------------------------------------------------------------ a connection -- */

MUST_USE bool tls_open(struct conn *c); /* it speaks TLS from its first byte; false: no memory */
void tls_done(struct conn *c);          /* also if it does not */

/* Room for records from the socket, and what to do with the `n` bytes that came there: returns how
 * many bytes of the client's they put behind conn->in. It may find that the client has ended, or end
 * the connection itself. */
uv_buf_t tls_room(struct conn *c);
size_t tls_take(struct conn *c, size_t n);

/* Send what there is to send, as flush() of conn.c does without TLS. */
void tls_flush(struct conn *c);

/* Tell the client that nothing more follows, so that it can tell the end from a cut. It may find that
 * there is no connection any more, and close it. */
void tls_bye(struct conn *c);

/* Is the handshake late? */
bool tls_is_late(const struct conn *c);

#endif
