/* reply.c - writes reply heads and chunks.
 *
 *     HTTP/1.1 200 OK CRLF
 *     Date: ... CRLF  Server: ... CRLF  X-Request-Id: ... CRLF
 *     X-Content-Type-Options: nosniff CRLF
 *     [Content-Type: ... CRLF]  [Content-Encoding: ... CRLF]  [Vary: ... CRLF]
 *     [Access-Control-...: ... CRLF]  [extra lines]  [Connection: ... CRLF]
 *     Content-Length: n CRLF | Transfer-Encoding: chunked CRLF | nothing
 *     CRLF
 *
 * Every byte of a head is a constant of ours, a number, a key in percent-encoding, or of a client's
 * X-Request-Id, which is letters of a token. Nothing else that came from a client or from the store
 * is ever written into one, so no value can forge a field. */
#include "http/http.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const char *http_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 428:
        return "Precondition Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Status";
    }
}

void http_date(int64_t unix_seconds, char to[HTTP_DATE_BYTES + 1])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t when = (time_t)unix_seconds;
    char wide[96]; /* wide enough for any year the compiler can imagine */
    struct tm tm;

    (void)gmtime_r(&when, &tm);
    (void)snprintf(wide, sizeof(wide), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                   tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                   tm.tm_sec);
    memcpy(to, wide, HTTP_DATE_BYTES);
    to[HTTP_DATE_BYTES] = '\0';
}

size_t http_decimal(char *to, uint64_t v)
{
    char reversed[20];
    size_t n = 0;

    do {
        reversed[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    for (size_t i = 0; i < n; i++)
        to[i] = reversed[n - 1 - i];
    return n;
}

/* The caller reserved the room. */
static void add(struct buf *out, const char *s)
{
    size_t len = strlen(s);

    memcpy(out->data + out->len, s, len);
    out->len += len;
}

static void add_field(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    add(out, name);
    add(out, ": ");
    add(out, value);
    add(out, "\r\n");
}

static void add_number(struct buf *out, uint64_t v)
{
    out->len += http_decimal((char *)out->data + out->len, v);
}

/* The fields of ours that a page of another origin may read; it may read some others anyway. */
static const char exposed[] =
    "ETag, Location, Retry-After, Accept-Ranges, Content-Range, Quern-Rev, Quern-Durability, "
    "Quern-Expires-At, Quern-Pressure, X-Request-Id";

enum quern_code http_reply_head(struct buf *out, const struct http_reply *reply,
                                struct quern_error *err)
{
    size_t room = 384 + (reply->extra != NULL ? strlen(reply->extra) : 0) +
                  (reply->type != NULL ? strlen(reply->type) : 0) + strlen(reply->server) +
                  strlen(reply->request_id) +
                  (reply->reader != NULL ? sizeof(exposed) + 96 + strlen(reply->reader) : 0);

    if (buf_reserve(out, room, err))
        return err->code;
    add(out, "HTTP/1.1 ");
    add_number(out, (uint64_t)reply->status);
    add(out, " ");
    add(out, http_reason(reply->status));
    add(out, "\r\nDate: ");
    add(out, reply->date);
    add(out, "\r\nServer: ");
    add(out, reply->server);
    add(out, "\r\nX-Request-Id: ");
    add(out, reply->request_id);
    add(out, "\r\nX-Content-Type-Options: nosniff\r\n");
    add_field(out, "Content-Type", reply->type);
    add_field(out, "Content-Encoding", reply->encoding);
    add_field(out, "Vary", reply->vary);
    if (reply->reader != NULL) {
        add_field(out, "Access-Control-Allow-Origin", reply->reader);
        add_field(out, "Access-Control-Expose-Headers", exposed);
    }
    if (reply->extra != NULL)
        add(out, reply->extra);
    if (reply->close)
        add(out, "Connection: close\r\n");
    else if (reply->keep)
        add(out, "Connection: keep-alive\r\n");
    if (reply->framing == HTTP_LENGTH) {
        add(out, "Content-Length: ");
        add_number(out, reply->length);
        add(out, "\r\n");
    } else if (reply->framing == HTTP_CHUNKED) {
        add(out, "Transfer-Encoding: chunked\r\n");
    }
    add(out, "\r\n");
    return QUERN_OK;
}

enum quern_code http_reply_chunk(struct buf *out, struct quern_slice data, bool last,
                                 struct quern_error *err)
{
    char size[24];

    if (buf_reserve(out, data.len + sizeof(size) + 8, err))
        return err->code;
    if (data.len > 0) {
        (void)snprintf(size, sizeof(size), "%zx\r\n", data.len);
        add(out, size);
        memcpy(out->data + out->len, data.data, data.len);
        out->len += data.len;
        add(out, "\r\n");
    }
    if (last)
        add(out, "0\r\n\r\n");
    return QUERN_OK;
}
