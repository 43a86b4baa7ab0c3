/* tls.c - a connection's TLS, between the socket and the buffers of conn.c.
 *
 *     bytes in    socket -> loop->records -> SSL_read() -> conn->in
 *     bytes out   conn->out, conn->big -> SSL_write() -> tls->out -> socket
 *                                                          '-> tls->flying, while libuv has it
 *
 * OpenSSL sees no socket: its BIO, below, reads from the records at hand and writes to a buffer, so
 * the loop stays the only one that waits. All records that arrived are opened at once; what stays
 * behind is at most one that is not whole, in OpenSSL's own buffer. A large value is sealed piece
 * by piece as the client takes it, never as a whole.
 *
 * What bounds memory: 64 KiB of records a loop; per connection a record (16 KiB) each way, only
 * while one is under way, and SEAL_BYTES of sealed bytes that the client does not take; in a
 * handshake the 32 KiB of certificates that tls_keys.c allows.
 *
 * A client that does not speak TLS is told so in the words of its protocol. */
#include "server/net/tls.h"

#include "server/conn.h"
#include "server/pool.h"
#include "server/redis/redis.h"

#include "base/alloc.h"
#include "base/error.h"

#include <openssl/err.h>
#include <string.h>

#define RECORDS_BYTES 65536u
#define SEAL_BYTES 65536u /* between two writes to the socket */
#define SEALS_MAX 16u     /* one after another, before other connections have their turn */
#define OUT_BYTES_MAX 262144u
#define RECORD_HANDSHAKE 22
#define RECORD_BYTES_MAX 16384u /* of a client's bytes in one */

struct tls {
    SSL *ssl;
    struct quern_slice in; /* of the records at hand, what OpenSSL has not read */
    struct buf out;        /* records that are to be sent */
    struct buf flying;     /* records that libuv sends */
    size_t sealed;         /* of conn->sending, conn->big and its tail */
    uint64_t since;        /* by the loop's clock_ms */
    bool spoke, ready, broken, bid;
    bool failed; /* OpenSSL wrote, and there was no memory */
};

/* ------------------------------------------------------------------ what OpenSSL reads and writes
 * -- */

static int bio_read(BIO *bio, char *to, int room)
{
    struct tls *t = BIO_get_data(bio);
    size_t n = t->in.len < (size_t)room ? t->in.len : (size_t)room;

    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, t->in.data, n);
    t->in = (struct quern_slice){(const uint8_t *)t->in.data + n, t->in.len - n};
    return (int)n;
}

static int bio_write(BIO *bio, const char *from, int n)
{
    struct tls *t = BIO_get_data(bio);
    struct quern_error err;

    BIO_clear_retry_flags(bio);
    if (buf_append(&t->out, from, (size_t)n, &err) != QUERN_OK) {
        t->failed = true;
        return -1;
    }
    return n;
}

static long bio_ctrl(BIO *bio, int what, long number, void *data)
{
    (void)bio, (void)number, (void)data;
    return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "quern");
    if (bio_method != NULL) {
        (void)BIO_meth_set_read(bio_method, bio_read);
        (void)BIO_meth_set_write(bio_method, bio_write);
        (void)BIO_meth_set_ctrl(bio_method, bio_ctrl);
    }
}

static BIO *bio_of(struct tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *bio;

    (void)pthread_once(&once, make_bio_method); /* it lives as long as the process */
    bio = bio_method != NULL ? BIO_new(bio_method) : NULL;
    if (bio != NULL) {
        BIO_set_data(bio, t);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ------------------------------------------------------------------ open and close -- */

bool tls_open(struct conn *c)
{
    struct tls *t = NEW(struct tls);
    BIO *bio;

    if (t == NULL)
        return false;
    c->tls = t;
    t->since = c->loop->clock_ms;
    t->ssl = tls_keys_session(c->loop->server->tls);
    bio = bio_of(t);
    if (t->ssl == NULL || bio == NULL) {
        (void)BIO_free(bio);
        return false;
    }
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_accept_state(t->ssl);
    (void)SSL_set_app_data(t->ssl, c->resp != NULL ? "\5redis" : "\10http/1.1");
    return true;
}

void tls_done(struct conn *c)
{
    struct tls *t = c->tls;

    if (t == NULL)
        return;
    c->tls = NULL;
    SSL_free(t->ssl);
    buf_done(&t->out);
    buf_done(&t->flying);
    alloc_free(t);
}

bool tls_is_late(const struct conn *c)
{
    return !c->tls->ready &&
           c->loop->clock_ms - c->tls->since > c->loop->server->options->header_ms;
}

/* ------------------------------------------------------------------ bytes in -- */

uv_buf_t tls_room(struct conn *c)
{
    struct buf *records = &c->loop->records;
    struct quern_error err;

    if (records->capacity < RECORDS_BYTES && buf_reserve(records, RECORDS_BYTES, &err) != QUERN_OK)
        return uv_buf_init(NULL, 0);
    return uv_buf_init((char *)records->data, RECORDS_BYTES);
}

/* The first byte begins no handshake: if it may be one of our protocols in the clear, answer in
 * it. False: let OpenSSL refuse it. */
static bool answer_plain(struct conn *c, uint8_t first)
{
    static const char http[] =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Connection: close\r\nContent-Length: 42\r\n\r\n"
        "error: this port speaks TLS; use https://\n";
    static const char redis[] = "-ERR this port speaks TLS\r\n";
    bool is_word = (first | 0x20) >= 'a' && (first | 0x20) <= 'z';
    struct quern_error err;
    enum quern_code code;

    if (first != '*' && !is_word)
        return false;
    tls_keys_tally(c->loop->server->tls, TLS_FAILED);
    tls_done(c);
    c->last = true;
    if (first == '*' || c->resp != NULL)
        code = buf_append(&c->out, redis, sizeof(redis) - 1, &err);
    else
        code = buf_append(&c->out, http, sizeof(http) - 1, &err);
    if (code != QUERN_OK)
        conn_cut(c);
    return true;
}

static void note_handshake(struct conn *c)
{
    struct tls *t = c->tls;

    if (t->ready || !SSL_is_init_finished(t->ssl))
        return;
    t->ready = true;
    tls_keys_tally(c->loop->server->tls, TLS_SHAKEN);
    if (SSL_session_reused(t->ssl))
        tls_keys_tally(c->loop->server->tls, TLS_RESUMED);
}

/* Why OpenSSL has no more bytes for now. */
static void heed(struct conn *c, int reason)
{
    struct tls *t = c->tls;

    if (reason == SSL_ERROR_WANT_READ && !t->failed && t->out.len <= OUT_BYTES_MAX)
        return;
    if (reason == SSL_ERROR_ZERO_RETURN) {
        c->eof = true;
        return;
    }
    if (!t->ready)
        tls_keys_tally(c->loop->server->tls, TLS_FAILED);
    t->broken = true;
    if (reason != SSL_ERROR_SSL || t->failed)
        conn_cut(c); /* no memory; or a client that makes us talk and does not listen */
    else
        c->last = true; /* OpenSSL has written why */
}

/* Put the client's next bytes behind conn->in: where much waits already, straight; else by way of
 * the stack, so that an idle connection has no memory there for more than came. As SSL_read_ex();
 * -1: no memory. */
static int open_next(struct conn *c, size_t *got)
{
    char beside[RECORD_BYTES_MAX];
    bool straight = conn_arrived(c) >= RECORD_BYTES_MAX;
    uv_buf_t room = straight ? conn_room(c) : uv_buf_init(beside, sizeof(beside));
    struct quern_error err;
    int done;

    *got = 0;
    if (room.len == 0)
        return -1;
    done = SSL_read_ex(c->tls->ssl, room.base, room.len, got);
    if (straight) {
        c->in.len += *got;
        return done;
    }
    if (c->in_at > 0) { /* what was carried out goes */
        c->in.len = conn_arrived(c);
        memmove(c->in.data, c->in.data + c->in_at, c->in.len);
        c->in_at = 0;
    }
    if (c->in.len == 0)
        pool_give_back(&c->in);
    return buf_append(&c->in, beside, *got, &err) == QUERN_OK ? done : -1;
}

size_t tls_take(struct conn *c, size_t n)
{
    struct tls *t = c->tls;
    size_t all = 0, got;
    int done;

    t->in = (struct quern_slice){c->loop->records.data, n};
    if (!t->spoke && c->loop->records.data[0] != RECORD_HANDSHAKE &&
        answer_plain(c, c->loop->records.data[0]))
        return 0;
    t->spoke = true;
    ERR_clear_error();
    do {
        done = open_next(c, &got);
        all += got;
    } while (done == 1);
    if (done < 0) {
        conn_cut(c);
        return all;
    }
    note_handshake(c);
    heed(c, SSL_get_error(t->ssl, done));
    ERR_clear_error();
    return all;
}

/* ------------------------------------------------------------------ bytes out -- */

/* What is to be sent, but for its first `skip` bytes: the rest of the piece that these end in. */
static struct quern_slice rest_after(const struct conn *c, size_t skip)
{
    const struct quern_slice pieces[] = {
        buf_slice(&c->sending), {c->big.data, c->big.len}, {"\r\n", c->big_tail}};

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        if (skip < pieces[i].len)
            return (struct quern_slice){(const uint8_t *)pieces[i].data + skip,
                                        pieces[i].len - skip};
        skip -= pieces[i].len;
    }
    return (struct quern_slice){NULL, 0};
}

/* Seal the next SEAL_BYTES of what is to be sent. */
static bool seal(struct conn *c)
{
    struct tls *t = c->tls;
    size_t end = t->sealed + SEAL_BYTES;

    while (t->sealed < end) {
        struct quern_slice rest = rest_after(c, t->sealed);
        size_t n = rest.len < end - t->sealed ? rest.len : end - t->sealed;

        if (n == 0)
            break;
        ERR_clear_error();
        if (SSL_write_ex(t->ssl, rest.data, n, &n) != 1)
            return false;
        t->sealed += n;
    }
    return !t->failed;
}

static void on_sent(uv_write_t *write, int status);

static void all_sent(struct conn *c)
{
    struct tls *t = c->tls;

    c->writing = false;
    t->sealed = 0;
    pool_give_back(&c->sending);
    quern_value_done(&c->big);
    c->big_tail = 0;
    pool_give_back(&t->out);
    if (c->loop->sealed.capacity == 0) { /* the memory goes to whoever seals next */
        c->loop->sealed = t->out;
        t->out = (struct buf){0};
    } else {
        buf_done(&t->out);
    }
}

/* Seal and send, until all is gone or the socket takes no more. */
static void send_on(struct conn *c)
{
    struct tls *t = c->tls;

    for (unsigned seals = 0; !c->closing; seals++) {
        uv_buf_t part;
        struct buf swap;
        int sent = UV_EAGAIN;

        if (!seal(c)) {
            t->broken = true;
            conn_cut(c);
            return;
        }
        if (t->out.len == 0) {
            all_sent(c);
            return;
        }
        part = uv_buf_init((char *)t->out.data, (unsigned)t->out.len);
        if (seals < SEALS_MAX)
            sent = uv_try_write((uv_stream_t *)&c->tcp, &part, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
            conn_cut(c);
            return;
        }
        sent = sent < 0 ? 0 : sent;
        count(&c->loop->server->counters.bytes_out, t->out.len);
        if ((size_t)sent == t->out.len) {
            buf_clear(&t->out);
            continue;
        }
        swap = t->flying;
        t->flying = t->out;
        t->out = swap;
        buf_clear(&t->out);
        c->writing = true;
        c->left_unsent = t->flying.len - (size_t)sent;
        c->progress_at = c->loop->clock_ms;
        c->write.data = c;
        part = uv_buf_init((char *)t->flying.data + sent, (unsigned)(t->flying.len - (size_t)sent));
        if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &part, 1, on_sent) != 0) {
            c->writing = false;
            conn_cut(c);
        }
        return;
    }
}

static void on_sent(uv_write_t *write, int status)
{
    struct conn *c = write->data;

    buf_done(&c->tls->flying);
    if (status < 0) {
        c->writing = false;
        conn_cut(c);
        return;
    }
    send_on(c);
    if (!c->closing)
        loop_mark(c->loop, c);
}

void tls_flush(struct conn *c)
{
    struct tls *t = c->tls;
    struct buf swap;

    if (c->writing || c->out.len + c->big.len + t->out.len == 0)
        return;
    swap = c->sending;
    c->sending = c->out;
    c->out = swap;
    if (t->out.capacity == 0) {
        t->out = c->loop->sealed;
        c->loop->sealed = (struct buf){0};
    }
    send_on(c);
}

void tls_bye(struct conn *c)
{
    struct tls *t = c->tls;

    if (!t->ready || t->broken || t->bid || c->writing)
        return;
    if (c->out.len + c->big.len > 0)
        return; /* what was to be said will not be: that is a cut */
    t->bid = true;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    send_on(c);
}
