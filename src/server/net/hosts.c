/* hosts.c - the checks of hosts.h. */
#include "server/net/hosts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static bool is_wildcard(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

void hosts_init(struct hosts *h, const struct server_options *options)
{
    h->options = options;
    h->scheme = options->tls_cert != NULL ? "https" : "http";
    h->any_number = false;
    for (unsigned i = 0; i < options->listen.count; i++)
        h->any_number |= is_wildcard(options->listen.each[i]);
}

/* "10.0.0.1" or "[fe80::1]". */
static bool is_numeric(struct quern_slice name)
{
    unsigned char address[sizeof(struct in6_addr)];
    char text[INET6_ADDRSTRLEN + 2];
    int family = AF_INET;

    if (name.len == 0 || name.len >= sizeof(text))
        return false;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    if (text[0] == '[') {
        family = AF_INET6;
        memmove(text, text + 1, name.len);
        text[strcspn(text, "]")] = '\0';
    }
    return inet_pton(family, text, address) == 1;
}

bool hosts_known(const struct hosts *h, struct quern_slice authority)
{
    static const char *const always[] = {"localhost", "127.0.0.1", "[::1]"};
    struct quern_slice name = http_host_name(authority);
    char bracketed[INET6_ADDRSTRLEN + 2];

    for (unsigned i = 0; i < ARRAY_LEN(always); i++) {
        if (http_same_word(name, always[i]))
            return true;
    }
    for (unsigned i = 0; i < h->options->listen.count; i++) {
        (void)snprintf(bracketed, sizeof(bracketed), "[%s]", h->options->listen.each[i]);
        if (http_same_word(name, h->options->listen.each[i]) || http_same_word(name, bracketed))
            return true;
    }
    for (unsigned i = 0; i < h->options->hosts.count; i++) {
        if (http_same_word(name, h->options->hosts.each[i]))
            return true;
    }
    return h->any_number && is_numeric(name);
}

const char *hosts_listed(const struct hosts *h, const struct http_request *r, const void *data)
{
    struct quern_slice origin = http_bytes(data, r->field[HTTP_ORIGIN]);

    for (unsigned i = 0; i < h->options->cors_origins.count && http_has(r, HTTP_ORIGIN); i++) {
        const char *listed = h->options->cors_origins.each[i];

        if (origin.len == strlen(listed) && memcmp(origin.data, listed, origin.len) == 0)
            return listed;
    }
    return NULL;
}

enum site hosts_site(const struct hosts *h, const struct http_request *r, const void *data)
{
    if (hosts_listed(h, r, data) != NULL)
        return SITE_LISTED;
    if (http_has(r, HTTP_ORIGIN) && !http_origin_is(http_bytes(data, r->field[HTTP_ORIGIN]),
                                                    h->scheme, http_bytes(data, r->host)))
        return SITE_FOREIGN;
    if (http_has(r, HTTP_SEC_FETCH_SITE)) {
        struct quern_slice site = http_bytes(data, r->field[HTTP_SEC_FETCH_SITE]);

        if (!http_same_word(site, "same-origin") && !http_same_word(site, "none"))
            return SITE_FOREIGN;
    }
    return SITE_OURS;
}

bool hosts_prefetch(const struct http_request *r)
{
    return http_has(r, HTTP_SEC_PURPOSE) || http_has(r, HTTP_PURPOSE);
}

bool address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX)
        return true;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;

        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    }
    return false;
}

void address_name(const struct sockaddr *address, char *to, size_t room)
{
    const void *any = address;
    const struct sockaddr_in *v4 = any;
    const struct sockaddr_in6 *v6 = any;
    char number[INET6_ADDRSTRLEN] = "?";
    bool is_v6 = address->sa_family == AF_INET6;

    if (address->sa_family == AF_UNIX) {
        (void)snprintf(to, room, "unix");
        return;
    }
    if (is_v6)
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, number, sizeof(number));
    else
        (void)inet_ntop(AF_INET, &v4->sin_addr, number, sizeof(number));
    (void)snprintf(to, room, is_v6 ? "[%s]:%u" : "%s:%u", number,
                   ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
}
