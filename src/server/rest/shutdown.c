/* shutdown.c - GET or POST /shutdown: the server ends, and tells how far it is until the last line. */
#include "server/rest/shutdown.h"

#include "server/loop.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"

#include "base/error.h"

#include <stdio.h>

void shutdown_ask(struct conn *c, struct manner manner, struct quern_slice body)
{
    char peer[64], by[96];

    (void)body;
    /* Where there are tokens, one with scope admin was shown: it may come from anywhere. */
    if (!conn_peer(c, peer, sizeof(peer)) && c->user == NULL) {
        refuse(c, 403, "not_local", "only a client on the same machine may shut the server down");
        return;
    }
    (void)snprintf(by, sizeof(by), "%s (%s /shutdown)", peer, http_method_name(c->request.method));
    c->watching = true;
    atomic_fetch_add(&c->loop->server->watchers, 1);
    manner.close = true;
    /* Whoever asks second is told so by the status, and hears the same words. */
    IGNORE(reply_stream_head(c, manner, stop_ask(&c->loop->server->stop, by) ? 200 : 409,
                             "text/plain; charset=utf-8", "Cache-Control: no-store\r\n", false));
    c->chunked_words = c->request.minor == 1;
}

void shutdown_words(struct conn *c)
{
    struct quern_error err;
    size_t mark = c->out.len;
    bool over = stop_words(&c->loop->server->stop, &c->words_told, c->chunked_words, &c->out);

    if (c->resp != NULL)
        c->out.len = mark; /* it waits for the end alone */
    if (!over)
        return;
    c->last = true;
    if (c->chunked_words && http_reply_chunk(&c->out, (struct quern_slice){NULL, 0}, true, &err))
        conn_cut(c);
}
