/* listen.c - binds, and accepts for all loops.
 *
 * One thread accepts and deals the sockets round, so that few connections still use every loop;
 * SO_REUSEPORT, the other way, deals by hash, and two servers of one user could share a port
 * without a word. */
#include "server/listen.h"

#include "server/loop.h"
#include "server/say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define REST_MS 100

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool read_address(const char *text, uint16_t port, union address *out, socklen_t *len)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        *len = sizeof(out->v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        *len = sizeof(out->v6);
        return true;
    }
    return false;
}

/* A listening socket, or minus errno. */
static int listen_on(const union address *address, socklen_t len)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, error;

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &address->any, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    error = errno;
    (void)close(fd);
    return -error;
}

static uint16_t port_of(int fd)
{
    union address bound;
    socklen_t len = sizeof(bound);

    if (getsockname(fd, &bound.any, &len) != 0)
        return 0;
    return ntohs(bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
}

static int cannot_listen(const char *text, uint16_t port, int error)
{
    if (error == EADDRINUSE)
        complain("port %u is in use; try --port %u", port, port < 65535 ? port + 1u : port - 1u);
    else if (error == EADDRNOTAVAIL)
        complain("%s is not an address of this machine", text);
    else if (error == EACCES)
        complain("port %u needs privileges; try --port 8080", port);
    else
        complain("cannot listen on %s port %u: %s", text, port, strerror(error));
    return EXIT_BIND;
}

/* May it listen where others than this machine's users are? */
static bool knows_its_clients(const struct server_options *options)
{
    return options->insecure_no_auth || options->tls_client_ca != NULL;
}

static int not_loopback(const char *option, const char *text)
{
    complain("%s %s: everybody who reaches that address could read, change and delete everything, "
             "since there are no access tokens yet; let clients show certificates "
             "(--tls-client-ca), or if that is what you want, add --insecure-no-auth",
             option, text);
    return EXIT_CONFIG;
}

/* The next listener has its socket. */
static void take(struct listeners *l, enum door door, bool tls, const union address *address,
                 const char *text)
{
    struct listener *each = &l->each[l->count++];

    each->door = door;
    each->port = port_of(each->fd);
    (void)snprintf(each->url, sizeof(each->url),
                   address->any.sa_family == AF_INET ? "%s%s://%s:%u" : "%s%s://[%s]:%u",
                   door == DOOR_HTTP ? "http" : "redis", tls ? "s" : "", text, each->port);
}

static int bind_http(struct listeners *l, const struct server_options *options)
{
    static const char *const local[] = {"127.0.0.1", "::1"};
    bool chosen = options->listen_count > 0;
    const char *const *texts = chosen ? options->listen : local;
    unsigned count = chosen ? options->listen_count : (unsigned)ARRAY_LEN(local);
    uint16_t port = options->port;

    for (unsigned i = 0; i < count; i++) {
        struct listener *each = &l->each[l->count];
        union address address;
        socklen_t len;

        if (!read_address(texts[i], port, &address, &len)) {
            complain("--listen %s: must be a numeric address, as 127.0.0.1 or ::1", texts[i]);
            return EXIT_USAGE;
        }
        if (!address_is_loopback(&address.any) && !knows_its_clients(options))
            return not_loopback("--listen", texts[i]);
        each->fd = listen_on(&address, len);
        if (each->fd < 0 && !chosen && i > 0 && each->fd != -EADDRINUSE)
            continue; /* a machine without IPv6 */
        if (each->fd < 0)
            return cannot_listen(texts[i], port, -each->fd);
        take(l, DOOR_HTTP, options->tls_cert != NULL, &address, texts[i]);
        port = each->port;
    }
    return EXIT_CLEAN;
}

/* "127.0.0.1:6380" or "[::1]:6380". */
static bool split_address(const char *text, char host[INET6_ADDRSTRLEN], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);
    unsigned long number;
    char *end;

    if (colon == NULL || colon[1] < '0' || colon[1] > '9')
        return false;
    number = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || end - colon > 6 || number > 65535)
        return false;
    *port = (uint16_t)number;
    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len >= INET6_ADDRSTRLEN)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    return true;
}

static int bind_resp(struct listeners *l, const struct server_options *options)
{
    static const char *const local[] = {RESP_LISTEN_DEFAULT};
    const char *const *texts = options->resp_count > 0 ? options->resp_listen : local;
    unsigned count = options->resp_off ? 0 : options->resp_count > 0 ? options->resp_count : 1;

    for (unsigned i = 0; i < count; i++) {
        struct listener *each = &l->each[l->count];
        char host[INET6_ADDRSTRLEN];
        union address address;
        uint16_t port;
        socklen_t len;

        if (!split_address(texts[i], host, &port) || !read_address(host, port, &address, &len)) {
            complain("--resp-listen %s: must be off, or a numeric address with a port, as "
                     "127.0.0.1:6380 or [::1]:6380",
                     texts[i]);
            return EXIT_USAGE;
        }
        if (!address_is_loopback(&address.any) && !knows_its_clients(options))
            return not_loopback("--resp-listen", texts[i]);
        each->fd = listen_on(&address, len);
        if (each->fd == -EADDRINUSE) {
            complain("port %u is in use; try --resp-listen %s:%u, or --resp-listen off", port, host,
                     port < 65535 ? port + 1u : port - 1u);
            return EXIT_BIND;
        }
        if (each->fd < 0)
            return cannot_listen(host, port, -each->fd);
        take(l, DOOR_RESP, options->tls_cert != NULL, &address, host);
    }
    return EXIT_CLEAN;
}

int listeners_bind(struct listeners *l, const struct server_options *options)
{
    int status = bind_http(l, options);

    return status != EXIT_CLEAN ? status : bind_resp(l, options);
}

uint16_t listeners_port(const struct listeners *l, enum door door)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (l->each[i].door == door)
            return l->each[i].port;
    }
    return 0;
}

/* One connection too many is told so, as far as that can be done without waiting. */
static void turn_away(int fd, enum door door, bool tls)
{
    static const char too_many[] = "-ERR max number of clients reached\r\n";
    static const char reply[] = "HTTP/1.1 503 Service Unavailable\r\n"
                                "Content-Type: text/plain; charset=utf-8\r\n"
                                "Retry-After: 1\r\nConnection: close\r\nContent-Length: 58\r\n\r\n"
                                "error: too many connections; try again, or keep fewer open";
    char drop[2048];

    if (tls)
        ; /* no word would be understood before a handshake */
    else if (door == DOOR_RESP)
        (void)send(fd, too_many, sizeof(too_many) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        (void)send(fd, reply, sizeof(reply) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    /* What has arrived is read, lest closing reset the connection over the reply. */
    (void)recv(fd, drop, sizeof(drop), MSG_DONTWAIT);
    (void)close(fd);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void listen_again(uv_timer_t *timer)
{
    struct listeners *l = timer->data;

    for (unsigned i = 0; i < l->count; i++)
        (void)uv_poll_start(&l->each[i].poll, UV_READABLE, on_acceptable);
}

static void rest(struct listeners *l)
{
    for (unsigned i = 0; i < l->count; i++)
        (void)uv_poll_stop(&l->each[i].poll);
    (void)uv_timer_start(&l->rest, listen_again, REST_MS, 0);
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct listeners *l = poll->data;
    struct listener *each = (struct listener *)poll; /* its first member */
    struct server *server = l->server;

    (void)status;
    (void)events;
    for (;;) {
        int fd = accept4(each->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                rest(l);
            return;
        }
        if (atomic_load(&server->connections) >= server->options->connections_max) {
            count(&server->counters.connections_refused, 1);
            turn_away(fd, each->door, server->tls != NULL);
            continue;
        }
        count(&server->counters.connections_total, 1);
        loop_adopt(server->loops[l->turn++ % server->loop_count], fd, each->door);
    }
}

void listeners_start(struct listeners *l, struct server *server, uv_loop_t *uv)
{
    l->server = server;
    l->open = true;
    l->rest.data = l;
    (void)uv_timer_init(uv, &l->rest);
    for (unsigned i = 0; i < l->count; i++) {
        l->each[i].poll.data = l;
        (void)uv_poll_init(uv, &l->each[i].poll, l->each[i].fd);
        (void)uv_poll_start(&l->each[i].poll, UV_READABLE, on_acceptable);
    }
}

void listeners_close(struct listeners *l)
{
    if (l->open) {
        for (unsigned i = 0; i < l->count; i++)
            uv_close((uv_handle_t *)&l->each[i].poll, NULL);
        uv_close((uv_handle_t *)&l->rest, NULL);
    }
    for (unsigned i = 0; i < l->count; i++)
        (void)close(l->each[i].fd);
    l->open = false;
    l->count = 0;
}
