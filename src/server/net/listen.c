/* listen.c - binds, and accepts for all loops.
 *
 * One thread accepts and deals the sockets round, so that few connections still use every loop;
 * SO_REUSEPORT, the other way, deals by hash, and two servers of one user could share a port
 * without a word. */
#include "server/net/listen.h"

#include "server/loop.h"
#include "server/observe/say.h"

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

static const char *option_of(const struct listener *each)
{
    return each->door == DOOR_HTTP ? "--listen" : "--resp-listen";
}

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

static bool is_unix(const struct listener *each)
{
    return each->address.any.sa_family == AF_UNIX;
}

static uint16_t port_in(const union address *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

static void set_port(union address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET)
        address->v4.sin_port = htons(port);
    else
        address->v6.sin6_port = htons(port);
}

static uint16_t port_of(int fd)
{
    union address bound;
    socklen_t len = sizeof(bound);

    return getsockname(fd, &bound.any, &len) == 0 ? port_in(&bound) : 0;
}

static int cannot_listen(const struct listener *each, uint16_t port, int error)
{
    bool http = each->door == DOOR_HTTP;
    unsigned next = port < 65535 ? port + 1u : port - 1u;

    if (error == EADDRINUSE && http)
        complain("port %u is in use; try --port %u", port, next);
    else if (error == EADDRINUSE)
        complain("port %u is in use; try --resp-listen %s:%u, or --resp-listen off", port,
                 each->host, next);
    else if (error == EADDRNOTAVAIL)
        complain("%s is not an address of this machine", each->host);
    else if (error == EACCES)
        complain("port %u needs privileges; try --port 8080", port);
    else
        complain("cannot listen on %s port %u: %s", each->host, port, strerror(error));
    return EXIT_BIND;
}

static int cannot_listen_at(const struct listener *each, int error)
{
    const char *path = each->address.path.sun_path;

    if (error == EADDRINUSE)
        complain("%s %s: another server listens there", option_of(each), each->text);
    else if (error == EEXIST)
        complain("%s %s: there is something that is no socket; remove it, or choose another path",
                 option_of(each), each->text);
    else if (error == ENOENT)
        complain("%s %s: the directory is missing; make it first", option_of(each), each->text);
    else
        complain("cannot listen at %s: %s", path, strerror(error));
    return EXIT_BIND;
}

/* May it listen where others than this machine's users are? */
static bool knows_its_clients(const struct server_options *options)
{
    return options->insecure_no_auth || options->token_file != NULL ||
           options->tls_client_ca != NULL;
}

static int not_loopback(const struct listener *each)
{
    complain("%s %s: everybody who reaches that address could read, change and delete everything; "
             "let clients show tokens (--token-file) or certificates (--tls-client-ca), or if that "
             "is what you want, add --insecure-no-auth",
             option_of(each), each->text);
    return EXIT_CONFIG;
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

/* ------------------------------------------------------------------ what is asked for -- */

/* Who may connect to a path the file system says, so it is as good as loopback. */
static int plan_unix(struct listeners *l, enum door door, const char *text)
{
    struct listener *each = &l->each[l->count];

    *each = (struct listener){.fd = -1, .door = door, .text = text};
    if (!unix_address(unix_path(text), &each->address.path)) {
        complain("%s %s: the path must have 1 to %zu bytes", option_of(each), text,
                 sizeof(each->address.path.sun_path) - 1);
        return EXIT_USAGE;
    }
    l->count++;
    return EXIT_CLEAN;
}

static int plan(struct listeners *l, enum door door, const char *text,
                const struct server_options *options)
{
    struct listener *each = &l->each[l->count];
    uint16_t port = (uint16_t)options->port;

    if (unix_path(text) != NULL)
        return plan_unix(l, door, text);
    *each =
        (struct listener){.fd = -1, .door = door, .text = text, .tls = options->tls_cert != NULL};
    if (door == DOOR_HTTP) {
        if (strlen(text) < sizeof(each->host))
            (void)strcpy(each->host, text);
        if (!read_address(each->host, port, &each->address, &each->address_len)) {
            complain("--listen %s: must be a numeric address, as 127.0.0.1 or ::1, or unix:PATH",
                     text);
            return EXIT_USAGE;
        }
    } else if (!split_address(text, each->host, &port) ||
               !read_address(each->host, port, &each->address, &each->address_len)) {
        complain("--resp-listen %s: must be off, or a numeric address with a port, as "
                 "127.0.0.1:6380 or [::1]:6380, or unix:PATH",
                 text);
        return EXIT_USAGE;
    }
    if (!address_is_loopback(&each->address.any) && !knows_its_clients(options))
        return not_loopback(each);
    l->count++;
    return EXIT_CLEAN;
}

int listeners_plan(struct listeners *l, const struct server_options *options)
{
    int status = EXIT_CLEAN;

    for (unsigned i = 0; i < options->listen.count && status == EXIT_CLEAN; i++)
        status = plan(l, DOOR_HTTP, options->listen.each[i], options);
    for (unsigned i = 0; i < options->resp_listen.count && status == EXIT_CLEAN; i++)
        status = plan(l, DOOR_RESP, options->resp_listen.each[i], options);
    if (!options_given(options, "listen") && l->count > 1)
        l->each[1].may_miss = true; /* a machine without IPv6 */
    return status;
}

/* ------------------------------------------------------------------ binding -- */

static int bind_unix(struct listener *each)
{
    each->fd = unix_listen(&each->address.path, BACKLOG, &each->file);
    if (each->fd < 0)
        return cannot_listen_at(each, -each->fd);
    (void)snprintf(each->url, sizeof(each->url), "%s (%s)", each->text,
                   each->door == DOOR_HTTP ? "HTTP" : "Redis protocol");
    return EXIT_CLEAN;
}

static int bind_one(struct listener *each)
{
    uint16_t wanted;

    if (is_unix(each))
        return bind_unix(each);
    wanted = port_in(&each->address);

    each->fd = listen_on(&each->address, each->address_len);
    if (each->fd < 0)
        return each->may_miss && each->fd != -EADDRINUSE ? EXIT_CLEAN
                                                         : cannot_listen(each, wanted, -each->fd);
    each->port = port_of(each->fd);
    (void)snprintf(each->url, sizeof(each->url),
                   each->address.any.sa_family == AF_INET ? "%s%s://%s:%u" : "%s%s://[%s]:%u",
                   each->door == DOOR_HTTP ? "http" : "redis", each->tls ? "s" : "", each->host,
                   each->port);
    return EXIT_CLEAN;
}

int listeners_bind(struct listeners *l)
{
    unsigned planned = l->count;
    uint16_t http_port = 0;

    l->count = 0;
    for (unsigned i = 0; i < planned; i++) {
        struct listener *each = &l->each[i];
        int status;

        if (each->door == DOOR_HTTP && http_port != 0 && !is_unix(each))
            set_port(&each->address, http_port); /* the free one that --port 0 found, for all */
        status = bind_one(each);
        if (status != EXIT_CLEAN)
            return status;
        if (each->fd < 0)
            continue;
        if (each->door == DOOR_HTTP && !is_unix(each))
            http_port = each->port;
        l->each[l->count++] = *each;
    }
    return EXIT_CLEAN;
}

uint16_t listeners_port(const struct listeners *l, enum door door)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (l->each[i].door == door && !is_unix(&l->each[i]))
            return l->each[i].port;
    }
    return 0;
}

bool listeners_say_how_to_stop(const struct listeners *l, char *to, size_t room)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (l->each[i].door != DOOR_HTTP || !address_is_loopback(&l->each[i].address.any))
            continue;
        if (is_unix(&l->each[i]))
            (void)snprintf(to, room, "curl --unix-socket %s http://localhost/shutdown",
                           l->each[i].address.path.sun_path);
        else
            (void)snprintf(to, room, "curl %s/shutdown", l->each[i].url);
        return true;
    }
    return false;
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
            turn_away(fd, each->door, each->tls);
            continue;
        }
        count(&server->counters.connections_total, 1);
        loop_adopt(server->loops[l->turn++ % server->loop_count], fd, each->door, each->tls);
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
    for (unsigned i = 0; i < l->count; i++) {
        if (is_unix(&l->each[i]))
            unix_remove(&l->each[i].address.path, &l->each[i].file);
        (void)close(l->each[i].fd);
    }
    l->open = false;
    l->count = 0;
}
