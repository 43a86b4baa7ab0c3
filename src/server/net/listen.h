/* listen.h - the listening sockets, and dealing accepted ones round the loops. Main thread only. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "server/server.h"
#include "server/net/unix_socket.h"

#include <netinet/in.h>
#include <uv.h>

#define LISTENERS_MAX (2 * LISTEN_MAX)

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
};

struct listeners {
    struct server *server;
    struct listener {
        uv_poll_t poll;
        /* As planned. */
        enum door door;
        bool tls;
        const char *text; /* as the option has it */
        char host[INET6_ADDRSTRLEN];
        union address address;
        socklen_t address_len;
        bool may_miss;
        /* Once bound. */
        int fd; /* -1 before */
        uint16_t port;
        struct unix_file file;
        char url[160]; /* "http://127.0.0.1:8080", "redis://[::1]:6380", "unix:/p (HTTP)" */
    } each[LISTENERS_MAX];
    unsigned count;
    uv_timer_t rest; /* accepting pauses while the process is out of descriptors */
    unsigned turn;   /* whose turn among the loops */
    bool open;
};

/* What the options ask for, without touching a socket. Returns an exit status: 0, EXIT_USAGE,
 * EXIT_CONFIG (not loopback); what is wrong was said. */
int listeners_plan(struct listeners *l, const struct server_options *options);

/* Bind and listen, before the store is opened: a second server must fail at once and harmlessly.
 * Returns an exit status: 0, EXIT_BIND; what is wrong was said. */
int listeners_bind(struct listeners *l);

/* The port of the first listener of that door; 0: there is none. */
uint16_t listeners_port(const struct listeners *l, enum door door);

/* Accept from now on, on the main loop. */
void listeners_start(struct listeners *l, struct server *server, uv_loop_t *uv);

/* "curl http://127.0.0.1:8080/shutdown". False: there is no address from where that is taken. */
bool listeners_say_how_to_stop(const struct listeners *l, char *to, size_t room);

/* Close the sockets. Handles are closed on the loop's next turn. */
void listeners_close(struct listeners *l);

#endif
