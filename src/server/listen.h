/* listen.h - the listening sockets, and dealing accepted ones round the loops. Main thread only. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "server/server.h"

#include <uv.h>

#define LISTENERS_MAX LISTEN_MAX

struct listeners {
    struct server *server;
    struct listener {
        uv_poll_t poll;
        int fd;
        char url[64]; /* "http://127.0.0.1:8080" */
    } each[LISTENERS_MAX];
    unsigned count;
    uv_timer_t rest; /* accepting pauses while the process is out of descriptors */
    unsigned turn;   /* whose turn among the loops */
    bool open;
};

/* Bind and listen, before the store is opened: a second server must fail at once and harmlessly.
 * Returns an exit status: 0, EXIT_BIND, EXIT_CONFIG (not loopback); what is wrong was said. */
int listeners_bind(struct listeners *l, const struct server_options *options);

/* Accept from now on, on the main loop. */
void listeners_start(struct listeners *l, struct server *server, uv_loop_t *uv);

/* Close the sockets. Handles are closed on the loop's next turn. */
void listeners_close(struct listeners *l);

#endif
