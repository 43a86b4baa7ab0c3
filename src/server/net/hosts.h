/* hosts.h - whose requests these are: which names this server goes by, and which pages may talk to
 * it.
 *
 * A web page the user happens to visit can make the browser send requests to localhost. Two checks
 * stop it: the Host field must be a name of ours (a page that points its own name at 127.0.0.1
 * fails), and what a browser says of the page's origin must be us, or an origin that the operator
 * listed. docs/design/80-http.md. */
#ifndef SERVER_HOSTS_H
#define SERVER_HOSTS_H

#include "server/options/options.h"

#include "http/http.h"

#include <sys/socket.h>

struct hosts {
    const struct server_options *options;
    const char *scheme; /* what a page of ours is asked for by: "http" or "https" */
    bool any_number;    /* listening everywhere: any numeric address may be ours, and none can be
                      * rebound */
};

void hosts_init(struct hosts *h, const struct server_options *options);

/* Is this authority ("localhost:8080") a name of ours? Ports are not compared:
 * tunnels change them. */
bool hosts_known(const struct hosts *h, struct quern_slice authority);

/* Whose page a browser says sent this request. */
enum site {
    SITE_OURS,   /* ours, or no page at all */
    SITE_LISTED, /* of an origin that --cors-origin names */
    SITE_FOREIGN,
};
/* `data` is what `r` was read from. */
enum site hosts_site(const struct hosts *h, const struct http_request *r, const void *data);

/* The listed origin that the request comes from, as the options have it; or NULL. */
const char *hosts_listed(const struct hosts *h, const struct http_request *r, const void *data);

/* Does a browser say that nobody asked for this yet, it only fetches ahead? */
bool hosts_prefetch(const struct http_request *r);

/* "127.0.0.1:51234", "[::1]:51234", or "unix". */
void address_name(const struct sockaddr *address, char *to, size_t room);

/* 127.0.0.0/8, ::1, also as ::ffff:127.x.x.x; or a path of the file system. */
bool address_is_loopback(const struct sockaddr *address);

#endif
