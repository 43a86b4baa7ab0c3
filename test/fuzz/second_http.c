/* second_http.c - asks llhttp, which serves Node.js, in its strict mode (Debian: node-llhttp, whose C
 * sources the build compiles where they are installed). In a file of its own, since both name their
 * methods HTTP_GET. */
#include "second_http.h"

#include <llhttp.h>
#include <string.h>

static int on_head(llhttp_t *p)
{
    struct second_http *s = p->data;

    s->head = true;
    s->minor = p->http_minor;
    s->keep_alive = llhttp_should_keep_alive(p) != 0;
    s->chunked = (p->flags & F_CHUNKED) != 0;
    s->has_length = (p->flags & F_CONTENT_LENGTH) != 0;
    s->content_length = p->content_length;
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
    struct second_http *s = p->data;

    for (size_t i = 0; i < len; i++)
        s->body_sum = s->body_sum * 31 + (uint8_t)at[i];
    s->body_bytes += len;
    return 0;
}

static int on_whole(llhttp_t *p)
{
    ((struct second_http *)p->data)->whole = true;
    return HPE_PAUSED;
}

void second_http_read(const uint8_t *data, size_t len, struct second_http *out)
{
    llhttp_settings_t settings;
    llhttp_t parser;
    llhttp_errno_t result;

    llhttp_settings_init(&settings);
    settings.on_headers_complete = on_head;
    settings.on_body = on_body;
    settings.on_message_complete = on_whole;
    memset(out, 0, sizeof(*out));
    out->body_sum = 1;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = out;
    result = llhttp_execute(&parser, (const char *)data, len);
    out->taken =
        result == HPE_OK ? len : (size_t)(llhttp_get_error_pos(&parser) - (const char *)data);
    out->upgrade = llhttp_get_upgrade(&parser) != 0;
    out->refused = result != HPE_OK && result != HPE_PAUSED && result != HPE_PAUSED_UPGRADE;
    out->form_refused = !out->head && (result == HPE_INVALID_URL || result == HPE_INVALID_METHOD);
    out->why = out->refused ? llhttp_get_error_reason(&parser) : "";
}
