/* listen.h - the listening sockets, and dealing accepted ones round the loops. Main thread only. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "server/server.h"

#include <uv.h>

#define LISTENERS_MAX (2 * LISTEN_MAX)

struct listeners {
    struct server *server;
    struct listener {
        uv_poll_t poll;
        int fd;
        enum door door;
        uint16_t port;
        char url[64]; /* "http://127.0.0.1:8080", "redis://127.0.0.1:6380" */
    } each[LISTENERS_MAX];
    unsigned count;
    uv_timer_t rest; /* accepting pauses while the process is out of descriptors */
    unsigned turn;   /* whose turn among the loops */
    bool open;
};

/* Bind and listen, before the store is opened: a second server must fail at once and harmlessly.
 * Returns an exit status: 0, EXIT_BIND, EXIT_CONFIG (not loopback); what is wrong was said. */
int listeners_bind(struct listeners *l, const struct server_options *options);

/* The port of the first listener of that door; 0: there is none. */
uint16_t listeners_port(const struct listeners *l, enum door door);

/* Accept from now on, on the main loop. */
void listeners_start(struct listeners *l, struct server *server, uv_loop_t *uv);

/* Close the sockets. Handles are closed on the loop's next turn. */
void listeners_close(struct listeners *l);

#endif
