/* conn.c - the life of a connection: its socket, its turns, its end.
 *
 *     conn_open -> bytes arrive (on_read) -> conn_run: step ... step -> flush -> bytes arrive ...
 *                                             |  the last reply is given
 *                                             '--> linger --> conn_cut --> on_closed
 *
 * What a step does is the protocol's: rest/conn.c for HTTP, redis/conn.c for the Redis protocol.
 *
 * Replies leave in the order of the requests. Writes are handed to the store and stand in `ops`
 * until they complete; further writes may follow them at once, while any other request waits until
 * `ops` is empty, so it sees what its connection wrote before.
 *
 * What bounds memory, per connection:
 *   in      a head (48 KiB), or what has arrived of a body (never what was announced), or 64 KiB of
 *           requests that wait; beyond that the socket is not read. All connections together:
 *           intake.h
 *   ops     1024 writes or 1 MiB of keys and values, or one write of any allowed size
 *   import  a body that is longer than any value, piece by piece: import.h
 *   out     1 MiB of replies, or one value, or pages of a long reply (outflow.h): beyond that no
 *   request is begun until the client reads
 *
 * Linger: after a last reply the sending side is shut, and what the client still sends is read and
 * dropped for a moment. Closing at once would make the kernel send a reset that may overtake the
 * reply. */
#include "server/conn.h"

#include "server/intake.h"
#include "server/rest/bounds.h"
#include "server/rest/conn.h"
#include "server/rest/import.h"
#include "server/rest/outflow.h"
#include "server/pool.h"
#include "server/redis/redis.h"
#include "server/rest/serve.h"
#include "server/rest/shutdown.h"
#include "server/net/tls.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IN_BYTES_FIRST 16384u
#define IN_BYTES_WAITING_MAX 65536u
#define IN_BYTES_PASSED_MAX 262144u
#define OUT_BYTES_MAX (1u << 20)
#define LINGER_MS 2000u
#define LINGER_DRAIN_MS 200u

/* ------------------------------------------------------------------ open and close -- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct server *server = c->loop->server;

    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->loop->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->closed = true;
    if (c->resp != NULL)
        resp_closed(c);
    import_close(c);
    outflow_close(c);
    intake_forget(c);
    if (c->watching)
        atomic_fetch_sub(&server->watchers, 1);
    atomic_fetch_sub(&server->connections, 1);
    if (!c->dirty && c->ops == NULL)
        pool_put_conn(c);
}

/* Replies that were not sent whole, or that are still to come. */
static bool owes_replies(const struct conn *c)
{
    return c->writing || c->ops != NULL || c->out.len > 0 || c->big.len > 0 || c->outflow != NULL ||
           (c->import != NULL && import_ended(c->import));
}

bool conn_is_busy(const struct conn *c)
{
    return !c->closing && (owes_replies(c) || (!c->last && c->phase != CONN_HEAD));
}

void conn_cut(struct conn *c)
{
    if (c->closing)
        return;
    if (c->tls != NULL)
        tls_bye(c);
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

bool conn_peer(struct conn *c, char *to, size_t room)
{
    struct sockaddr_storage peer;
    int len = sizeof(peer);

    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &len) != 0) {
        (void)snprintf(to, room, "a client that is gone");
        return false;
    }
    address_name((struct sockaddr *)&peer, to, room);
    return address_is_loopback((struct sockaddr *)&peer);
}

/* ------------------------------------------------------------------ input -- */

uv_buf_t conn_room(struct conn *c)
{
    struct quern_error err;

    if (c->lingering || c->in_at == c->in.len) {
        c->in_at = 0;
        pool_give_back(&c->in);
    }
    if (c->in.capacity - c->in.len < 2048 && c->in_at > 0) {
        memmove(c->in.data, c->in.data + c->in_at, conn_arrived(c));
        c->in.len -= c->in_at;
        c->in_at = 0;
    }
    if (c->in.capacity - c->in.len < 2048 &&
        buf_reserve(&c->in, c->in.len < IN_BYTES_FIRST ? IN_BYTES_FIRST : c->in.len / 4, &err))
        return uv_buf_init(NULL, 0);
    return uv_buf_init((char *)c->in.data + c->in.len,
                       (unsigned)(c->in.capacity - c->in.len < (1u << 30)
                                      ? c->in.capacity - c->in.len
                                      : 1u << 30));
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
    struct conn *c = handle->data;

    (void)suggested;
    /* Of length 0: libuv reports ENOBUFS, and the connection is cut. */
    *room = c->tls != NULL ? tls_room(c) : conn_room(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room)
{
    struct conn *c = stream->data;

    (void)room;
    if (n == 0)
        return;
    if (n == UV_EOF) {
        c->eof = true;
        (void)uv_read_stop(stream);
        c->reading = false;
        loop_mark(c->loop, c);
        return;
    }
    if (n < 0) {
        conn_cut(c);
        return;
    }
    count(&c->loop->server->counters.bytes_in, (uint64_t)n);
    if (c->lingering || c->watching || c->last)
        return; /* read and dropped */
    c->loop->measure.now = ticks_now();
    if (c->tls != NULL)
        n = (ssize_t)tls_take(c, (size_t)n);
    else
        c->in.len += (size_t)n;
    heard_more(&c->heard, (uint64_t)n, c->loop->measure.now);
    if (c->phase == CONN_BODY)
        c->body_bytes += (uint64_t)n;
    if (c->passes_body && conn_arrived(c) > IN_BYTES_PASSED_MAX) { /* what is here goes on first */
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
        c->reading = false;
    }
    loop_mark(c->loop, c);
}

/* ------------------------------------------------------------------ its turns -- */

static bool output_is_full(const struct conn *c)
{
    return c->big.len > 0 || c->out.len + (c->writing ? c->sending.len : 0) >= OUT_BYTES_MAX;
}

/* One step with what has arrived; false when it must wait. */
static bool step(struct conn *c)
{
    if (c->last || c->closing || c->watching || c->outflow != NULL || output_is_full(c))
        return false;
    if (c->phase == CONN_HEAD && conn_arrived(c) == 0) /* between requests, of either protocol */
        return false;
    return c->resp != NULL ? resp_step(c) : rest_step(c);
}

/* Answer the writes that completed, in order. */
static void reap(struct conn *c)
{
    while (c->ops != NULL && c->ops->finished) {
        if (c->resp != NULL)
            resp_completed(c->ops);
        else
            serve_completed(c->ops);
        pool_put_op(c);
    }
}

/* ------------------------------------------------------------------ output -- */

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = write->data;

    c->writing = false;
    buf_clear(&c->sending);
    quern_value_done(&c->big);
    c->big_tail = 0;
    if (status < 0)
        conn_cut(c);
    else
        loop_mark(c->loop, c);
}

#define PIECES_MAX 3

/* What is to be sent, but for its first `skip` bytes. */
static unsigned pieces(const struct conn *c, const struct buf *head, size_t skip,
                       uv_buf_t out[PIECES_MAX])
{
    static const char crlf[] = "\r\n";
    const struct quern_slice all[PIECES_MAX] = {
        buf_slice(head), {c->big.data, c->big.len}, {crlf, c->big_tail}};
    unsigned n = 0;

    if (LIKELY(c->big.len == 0 && skip < head->len)) {
        out[0] = uv_buf_init((char *)head->data + skip, (unsigned)(head->len - skip));
        return 1;
    }

    for (unsigned i = 0; i < PIECES_MAX; i++) {
        size_t skipped = skip < all[i].len ? skip : all[i].len;

        skip -= skipped;
        if (skipped < all[i].len)
            out[n++] = uv_buf_init((char *)(uintptr_t)all[i].data + skipped,
                                   (unsigned)(all[i].len - skipped));
    }
    return n;
}

static void flush(struct conn *c)
{
    size_t all = c->out.len + c->big.len + c->big_tail;
    uv_buf_t parts[PIECES_MAX];
    struct buf swap;
    int sent;

    if (c->tls != NULL) {
        tls_flush(c);
        return;
    }
    if (c->writing || all == 0)
        return;
    sent = uv_try_write((uv_stream_t *)&c->tcp, parts, pieces(c, &c->out, 0, parts));
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0) {
        conn_cut(c);
        return;
    }
    count(&c->loop->server->counters.bytes_out, all);
    if ((size_t)sent == all) {
        pool_give_back(&c->out);
        quern_value_done(&c->big);
        c->big_tail = 0;
        return;
    }
    swap = c->sending;
    c->sending = c->out;
    c->out = swap;
    c->writing = true;
    c->left_unsent = all - (size_t)sent;
    c->progress_at = c->loop->clock_ms;
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, parts,
                 pieces(c, &c->sending, (size_t)sent, parts), on_written) != 0) {
        c->writing = false;
        conn_cut(c);
    }
}

/* ------------------------------------------------------------------ what to wait for -- */

static void linger(struct conn *c)
{
    if (c->tls != NULL)
        tls_bye(c);
    if (c->closing)
        return;
    if (c->eof || uv_shutdown(&c->fin, (uv_stream_t *)&c->tcp, NULL) != 0) {
        conn_cut(c);
        return;
    }
    c->lingering = true;
    c->in_at = 0; /* what it sent is of no use any more */
    pool_give_back(&c->in);
    pool_give_back(&c->body);
    c->wait_since = c->loop->clock_ms;
}

/* Is there more of a body than could be handed on so far? */
static bool body_waits(const struct conn *c)
{
    return c->import != NULL && conn_arrived(c) > c->request.head_bytes;
}

/* Everything said, nothing pending: is this the end? */
static void see_to_the_end(struct conn *c)
{
    bool draining = atomic_load(&c->loop->server->draining);

    if (c->closing || owes_replies(c))
        return;
    if (c->lingering) {
        if (c->eof)
            conn_cut(c);
    } else if (c->last && c->watching) {
        conn_cut(c); /* it said nothing more: what was sent arrives, and the process may end */
    } else if (c->last) {
        linger(c);
    } else if (!c->watching && c->phase == CONN_HEAD && (c->eof || draining)) {
        conn_cut(c); /* between requests, or in a head that is of no use any more */
    } else if (c->eof && c->phase == CONN_BODY && !body_waits(c)) {
        conn_cut(c);
    }
}

static void choose_wait(struct conn *c, bool progressed)
{
    enum conn_wait wait = WAIT_OTHERS;

    if (!output_is_full(c) && !c->watching && !c->last && c->outflow == NULL) {
        if (c->resp != NULL) {
            if (resp_waits_for_more(c))
                wait = WAIT_BODY;
            else if (conn_arrived(c) == 0)
                wait = WAIT_QUIET;
        } else if (c->phase == CONN_BODY && (c->import == NULL || import_has_room(c->import)))
            wait = WAIT_BODY;
        else if (c->phase == CONN_HEAD && c->ops == NULL && !c->writing)
            wait = conn_arrived(c) == 0 ? WAIT_IDLE : WAIT_HEAD;
    }
    if (!c->lingering && (wait != c->wait || progressed))
        c->wait_since = c->loop->clock_ms;
    c->wait = wait;
}

static void choose_reading(struct conn *c)
{
    bool want = !c->eof && (c->lingering || c->watching || c->last ||
                            (!output_is_full(c) &&
                             (c->wait != WAIT_OTHERS || conn_arrived(c) < IN_BYTES_WAITING_MAX)));

    if (want == c->reading)
        return;
    c->reading = want;
    if (!want)
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
    else if (uv_read_start((uv_stream_t *)&c->tcp, on_room, on_read) != 0)
        conn_cut(c);
}

/* For the times of requests that stand here whole and were not begun. */
static void note_what_waits(struct conn *c)
{
    bool whole =
        c->resp != NULL ? c->resp->parsed : c->phase == CONN_READY || c->phase == CONN_REFUSED;

    c->heard.by_client = output_is_full(c);
    c->heard.held = whole || c->heard.by_client;
}

void conn_run(struct conn *c)
{
    bool progressed = false, was_full, ended;

    if (!c->closing)
        intake_count(c);
    reap(c);
    if (c->closing) {
        if (c->closed && c->ops == NULL)
            pool_put_conn(c);
        return;
    }
    do { /* what was too much output may leave at once: then there is more to do, and nobody to say
          * so */
        while (step(c)) {
            progressed = true;
            reap(c);
        }
        if (c->closing)
            return;
        if (c->handed ||
            c->gathered > 0) { /* what completes at once leaves together with what is there */
            c->handed = false;
            loop_mark_later(c->loop, c);
            return;
        }
        if (c->watching && !c->last)
            shutdown_words(c);
        ended = c->outflow != NULL && outflow_give(c);
        was_full = output_is_full(c);
        flush(c);
    } while ((was_full || ended) && !c->closing && !output_is_full(c));
    see_to_the_end(c);
    if (c->closing)
        return;
    if (conn_arrived(c) == 0) { /* an idle connection does not keep what a large request took */
        c->in_at = 0;
        pool_give_back(&c->in);
    }
    intake_count(c);
    choose_wait(c, progressed);
    choose_reading(c);
    note_what_waits(c);
}

/* The client is too slow with its request: say so, and end. */
static void too_slow(struct conn *c, const char *detail)
{
    count(&c->loop->server->counters.timeouts, 1);
    if (c->resp != NULL) {
        conn_cut(c); /* there is no reply that such a client would wait for */
        return;
    }
    rest_refuse(c, (struct http_bad){408, "request_timeout", detail});
    loop_mark(c->loop, c);
}

/* It holds what others need, and does not get on. */
static void give_way(struct conn *c)
{
    count(&c->loop->server->counters.timeouts, 1);
    if (c->phase != CONN_BODY) {
        conn_cut(c);
        return;
    }
    import_close(c);
    rest_refuse_for_others(c);
    loop_mark(c->loop, c);
}

void conn_check_time(struct conn *c)
{
    uint64_t now = c->loop->clock_ms;
    const struct server_options *o = c->loop->server->options;
    uint64_t waited = now - c->wait_since;

    if (c->closing)
        return;
    if (c->resp != NULL)
        resp_tick(c);
    if (c->writing) {
        size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);

        if (left != c->left_unsent) {
            c->left_unsent = left;
            c->progress_at = now;
        } else if (now - c->progress_at > o->idle_ms) {
            count(&c->loop->server->counters.timeouts, 1);
            conn_cut(c);
            return;
        }
    }
    if (intake_is_hoarded(c, c->wait != WAIT_OTHERS || output_is_full(c))) {
        give_way(c);
    } else if (c->tls != NULL && tls_is_late(c)) {
        count(&c->loop->server->counters.timeouts, 1);
        conn_cut(c);
    } else if (c->lingering) {
        if (waited > (atomic_load(&c->loop->server->draining) ? LINGER_DRAIN_MS : LINGER_MS))
            conn_cut(c);
    } else if (c->wait == WAIT_IDLE) {
        if (waited > o->idle_ms)
            conn_cut(c);
    } else if (c->wait == WAIT_HEAD && c->phase == CONN_HEAD) {
        if (waited > o->header_ms)
            too_slow(c, "the request head did not arrive in time");
    } else if (c->wait == WAIT_BODY && (c->phase == CONN_BODY || c->resp != NULL)) {
        uint64_t arrived = c->resp != NULL ? conn_arrived(c) : c->body_bytes;

        if (waited > o->header_ms &&
            arrived < (waited - o->header_ms) * BODY_RATE_BYTES_PER_S / 1000 + 1)
            too_slow(c, "the request body arrives at less than 1 KiB a second");
    }
}

bool conn_open(struct loop *loop, int fd, enum door door, bool tls)
{
    struct conn *c = pool_take_conn(loop);

    if (c == NULL)
        return false;
    c->loop = loop;
    c->ops_last = &c->ops;
    if (uv_tcp_init(&loop->uv, &c->tcp) != 0) {
        pool_put_conn(c);
        return false;
    }
    c->tcp.data = c;
    c->next = loop->conns;
    if (c->next != NULL)
        c->next->prev = c;
    loop->conns = c;
    c->opened_at = c->wait_since = loop->clock_ms;
    if (uv_tcp_open(&c->tcp, fd) != 0) {
        /* Not a socket of ours after all: it counts as a connection until on_closed(). */
        (void)close(fd);
        conn_cut(c);
        return true;
    }
    (void)uv_tcp_nodelay(&c->tcp, 1);
    if ((door == DOOR_RESP && !resp_open(c)) || (tls && !tls_open(c))) {
        conn_cut(c);
        return true;
    }
    loop_mark(loop, c);
    return true;
}
