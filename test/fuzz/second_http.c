/* second_http.c - asks http_parser, which served Node.js for years (Debian: libhttp-parser-dev). In
 * a file of its own, since both name their methods HTTP_GET. */
#include "second_http.h"

#include <http_parser.h>
#include <string.h>

static int on_head(http_parser *p)
{
    struct second_http *s = p->data;

    s->head = true;
    s->minor = p->http_minor;
    s->keep_alive = http_should_keep_alive(p) != 0;
    s->chunked = (p->flags & F_CHUNKED) != 0;
    s->content_length = p->content_length;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t len)
{
    struct second_http *s = p->data;

    for (size_t i = 0; i < len; i++)
        s->body_sum = s->body_sum * 31 + (uint8_t)at[i];
    s->body_bytes += len;
    return 0;
}

static int on_whole(http_parser *p)
{
    ((struct second_http *)p->data)->whole = true;
    http_parser_pause(p, 1);
    return 0;
}

void second_http_read(const uint8_t *data, size_t len, struct second_http *out)
{
    static const http_parser_settings settings = {
        .on_headers_complete = on_head, .on_body = on_body, .on_message_complete = on_whole};
    http_parser parser;

    memset(out, 0, sizeof(*out));
    out->body_sum = 1;
    parser.data = out;
    http_parser_init(&parser, HTTP_REQUEST);
    out->taken = http_parser_execute(&parser, &settings, (const char *)data, len);
    out->upgrade = parser.upgrade != 0;
    out->form_refused = !out->head && (HTTP_PARSER_ERRNO(&parser) == HPE_INVALID_URL ||
                                       HTTP_PARSER_ERRNO(&parser) == HPE_INVALID_METHOD ||
                                       HTTP_PARSER_ERRNO(&parser) == HPE_INVALID_HEADER_TOKEN);
}
