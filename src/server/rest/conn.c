/* conn.c - the steps of an HTTP connection: from the bytes of a request to its being carried out.
 *
 *      +-------------------------- keep-alive -------------------------------+
 *      v                                                                     |
 *     HEAD --whole head--> BODY --whole body--> READY --carried out----------+
 *      |  '--no body-------------------------->  ^  '--last reply--> the end
 *      |  '--not to be done, no body ------------'
 *      +--malformed, too large, too slow--> REFUSED --answered-----> the end
 *
 * What a whole head asks for is judged in serve.c, and carried out there; a body that is longer than any
 * value is handed on piece by piece (import.h). */
#include "server/rest/conn.h"

#include "server/intake.h"
#include "server/pool.h"
#include "server/rest/import.h"
#include "server/rest/serve.h"

#include "base/error.h"

#include <string.h>

void rest_refuse(struct conn *c, struct http_bad bad)
{
    c->refusal = (struct refusal){bad, NULL};
    c->phase = CONN_REFUSED;
}

static void refuse_large(struct conn *c)
{
    rest_refuse(c, (struct http_bad){413, "value_too_large",
                                     "the body is larger than this server takes (--max-value)"});
}

void rest_refuse_for_others(struct conn *c)
{
    rest_refuse(
        c, (struct http_bad){503, "busy", "too much is arriving already; try again in a moment"});
    c->refusal.extra = "Retry-After: 1\r\n";
}

/* The client waits to hear whether it may send the body. */
static void send_continue(struct conn *c)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct quern_error err;

    if (!c->request.expect_continue || c->continued || c->ops != NULL)
        return;
    c->continued = true;
    if (conn_arrived(c) <= c->request.head_bytes &&
        buf_append(&c->out, interim, sizeof(interim) - 1, &err) != QUERN_OK)
        conn_cut(c);
}

/* Decode what has arrived of a chunked body. */
static bool read_chunks(struct conn *c)
{
    struct quern_error err;

    while (c->used < conn_arrived(c)) {
        struct quern_slice piece;
        size_t n;
        enum http_verdict verdict = http_chunked_read(&c->chunked, conn_request_bytes(c) + c->used,
                                                      conn_arrived(c) - c->used, &n, &piece);

        c->used += n;
        if (verdict == HTTP_BAD) {
            rest_refuse(c, c->chunked.bad);
            return true;
        }
        if (c->chunked.left > c->body_max ||
            c->body.len + piece.len > c->body_max - c->chunked.left) {
            refuse_large(c);
            return true;
        }
        if (buf_append(&c->body, piece.data, piece.len, &err) != QUERN_OK) {
            conn_cut(c);
            return false;
        }
        if (verdict == HTTP_DONE) {
            c->phase = CONN_READY;
            return true;
        }
    }
    c->in.len = c->in_at + c->request.head_bytes; /* the framing was read; only the head stays */
    c->used = c->request.head_bytes;
    return false;
}

void rest_pass_on(struct conn *c)
{
    c->in_at += c->used;
    c->used = 0;
    if (UNLIKELY(c->fetched.here)) { /* it was refused meanwhile: nobody else is to get that */
        quern_value_done(&c->fetched.value);
        c->fetched.here = false;
    }
    pool_give_back(&c->body);
    memset(&c->request, 0, sizeof(c->request));
    c->phase = CONN_HEAD;
}

/* The next bytes of a body that is taken as it comes, from `at` on; false: the framing is bad. */
static bool next_piece(struct conn *c, size_t *at, struct quern_slice *piece)
{
    size_t n = conn_arrived(c) - *at;
    enum http_verdict verdict;

    if (!c->request.chunked) {
        n = n < c->body_left ? n : (size_t)c->body_left;
        *piece = (struct quern_slice){conn_request_bytes(c) + *at, n};
        c->body_left -= n;
        if (c->body_left == 0)
            import_end(c->import);
    } else {
        verdict = http_chunked_read(&c->chunked, conn_request_bytes(c) + *at, n, &n, piece);
        if (verdict == HTTP_BAD)
            return false;
        if (verdict == HTTP_DONE)
            import_end(c->import);
    }
    *at += n;
    return true;
}

/* A body that is taken as it comes: hand on what has arrived, as far as there is room. What was
 * handed on leaves the buffer; the head stays in it until the reply. */
static bool pass_body(struct conn *c)
{
    size_t head = c->request.head_bytes, at = head;
    struct quern_slice piece;

    if (c->ops != NULL)
        return false;
    if (c->import == NULL && !import_begin(c)) {
        conn_cut(c);
        return false;
    }
    while (at < conn_arrived(c) && import_has_room(c->import)) {
        if (!next_piece(c, &at, &piece)) {
            import_close(c);
            rest_refuse(c, c->chunked.bad);
            return true;
        }
        if (!import_take(c->import, piece)) {
            conn_cut(c);
            return false;
        }
    }
    if (at > head) {
        memmove(conn_request_bytes(c) + head, conn_request_bytes(c) + at, conn_arrived(c) - at);
        c->in.len -= at - head;
    }
    if (intake_is_too_much(c))
        import_give_up(c->import);
    if (!import_turn(c))
        return false;
    import_answer(c);
    rest_pass_on(c);
    return true;
}

static bool has_whole_body(struct conn *c)
{
    if (conn_arrived(c) - c->request.head_bytes < c->request.content_length)
        return false;
    c->used = c->request.head_bytes + (size_t)c->request.content_length;
    c->phase = CONN_READY;
    return true;
}

/* One that is here whole is carried out, however much there is: then there is less. */
static bool read_body(struct conn *c)
{
    send_continue(c);
    if (c->passes_body)
        return pass_body(c);
    if (c->request.chunked ? read_chunks(c) : has_whole_body(c))
        return true;
    if (c->closing || !intake_is_too_much(c))
        return false;
    rest_refuse_for_others(c);
    return true;
}

static bool read_head(struct conn *c)
{
    struct http_request *r = &c->request;

    switch (http_request_read(r, conn_request_bytes(c), conn_arrived(c))) {
    case HTTP_MORE:
        return false;
    case HTTP_BAD:
        rest_refuse(c, r->bad);
        return true;
    default:
        break;
    }
    c->used = r->head_bytes;
    c->body_bytes = 0;
    c->body_left = r->content_length;
    c->continued = false;
    buf_clear(&c->body);
    memset(&c->chunked, 0, sizeof(c->chunked));
    c->refusal.bad.status = 0;
    serve_begin(c);
    if (!r->chunked && r->content_length == 0) {
        c->phase = CONN_READY; /* a refusal is answered in its turn, and the connection stays */
    } else if (c->refusal.bad.status != 0) {
        c->phase = CONN_REFUSED; /* the body is not wanted: answer and close */
    } else if (r->content_length > c->body_max) {
        refuse_large(c);
    } else if (!c->passes_body && intake_would_be_too_much(c, r->content_length)) {
        rest_refuse_for_others(c);
    } else {
        c->phase = CONN_BODY;
    }
    return true;
}

static bool carry_out(struct conn *c)
{
    struct quern_slice body = buf_slice(&c->body);

    if (c->ops != NULL &&
        (!serve_may_join(c) || !conn_may_add(c, c->request.content_length + c->body.len)))
        return false;
    if (!c->request.chunked)
        body = (struct quern_slice){conn_request_bytes(c) + c->request.head_bytes,
                                    (size_t)c->request.content_length};
    if (!serve_request(c, body))
        return false;
    rest_pass_on(c);
    return true;
}

bool rest_step(struct conn *c)
{
    bool went_on = false;

    if (c->phase == CONN_HEAD) {
        if (!read_head(c))
            return false;
        went_on = true; /* and mostly all of it is here, and carried out at once */
    }
    if (c->phase == CONN_BODY) {
        if (!read_body(c))
            return went_on;
        went_on = true;
    }
    if (c->phase == CONN_READY)
        return (c->gathered == 0 && !c->closing && carry_out(c)) || went_on;
    if (went_on)
        return true;
    if (c->ops != NULL)
        return false;
    serve_refusal(c);
    return true;
}
