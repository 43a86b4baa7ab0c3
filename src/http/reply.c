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

#include "base/attr.h"
#include "base/decimal.h"

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
    return decimal_write(to, v);
}

/* The caller reserved the room. Returns where to go on. */
static inline char *add(char *to, const char *s, size_t len)
{
    memcpy(to, s, len);
    return to + len;
}

#define ADD(to, literal) add(to, "" literal, sizeof(literal) - 1)

static char *add_text(char *to, const char *s)
{
    return add(to, s, strlen(s));
}

/* `name` is a literal with its colon and blank. */
#define ADD_FIELD(to, name, value)                                                                 \
    do {                                                                                           \
        if ((value) != NULL) {                                                                     \
            to = add_text(ADD(to, name), value);                                                   \
            to = ADD(to, "\r\n");                                                                  \
        }                                                                                          \
    } while (0)

/* "HTTP/1.1 200 OK", and the end of that line. */
static char *add_status(char *to, int status)
{
    if (LIKELY(status == 200))
        return ADD(to, "HTTP/1.1 200 OK\r\n");
    to = ADD(to, "HTTP/1.1 ");
    to += decimal_write(to, (uint64_t)status);
    to = ADD(to, " ");
    to = add_text(to, http_reason(status));
    return ADD(to, "\r\n");
}

/* The fields of ours that a page of another origin may read; it may read some others anyway. */
static const char exposed[] =
    "ETag, Location, Retry-After, Accept-Ranges, Content-Range, Quern-Rev, Quern-Durability, "
    "Quern-Expires-At, Quern-Pressure, X-Request-Id";

enum quern_code http_reply_head(struct buf *out, const struct http_reply *reply,
                                struct quern_error *err)
{
    size_t extra = reply->extra != NULL ? strlen(reply->extra) : 0;
    size_t type = reply->type != NULL ? strlen(reply->type) : 0;
    size_t server = strlen(reply->server), request_id = strlen(reply->request_id);
    size_t room = 384 + extra + type + server + request_id +
                  (reply->reader != NULL ? sizeof(exposed) + 96 + strlen(reply->reader) : 0);

    char *to;

    if (buf_reserve(out, room, err))
        return err->code;
    to = add_status((char *)out->data + out->len, reply->status);
    to = add(ADD(to, "Date: "), reply->date, HTTP_DATE_BYTES);
    to = add(ADD(to, "\r\nServer: "), reply->server, server);
    to = add(ADD(to, "\r\nX-Request-Id: "), reply->request_id, request_id);
    to = ADD(to, "\r\nX-Content-Type-Options: nosniff\r\n");
    if (reply->type != NULL) {
        to = add(ADD(to, "Content-Type: "), reply->type, type);
        to = ADD(to, "\r\n");
    }
    ADD_FIELD(to, "Content-Encoding: ", reply->encoding);
    ADD_FIELD(to, "Vary: ", reply->vary);
    if (reply->reader != NULL) {
        ADD_FIELD(to, "Access-Control-Allow-Origin: ", reply->reader);
        ADD_FIELD(to, "Access-Control-Expose-Headers: ", exposed);
    }
    if (reply->extra != NULL)
        to = add(to, reply->extra, extra);
    if (reply->close)
        to = ADD(to, "Connection: close\r\n");
    else if (reply->keep)
        to = ADD(to, "Connection: keep-alive\r\n");
    if (reply->framing == HTTP_LENGTH) {
        to = ADD(to, "Content-Length: ");
        to += decimal_write(to, reply->length);
        to = ADD(to, "\r\n");
    } else if (reply->framing == HTTP_CHUNKED) {
        to = ADD(to, "Transfer-Encoding: chunked\r\n");
    }
    to = ADD(to, "\r\n");
    out->len = (size_t)((uint8_t *)to - out->data);
    return QUERN_OK;
}

enum quern_code http_reply_chunk(struct buf *out, struct quern_slice data, bool last,
                                 struct quern_error *err)
{
    char size[24], *to;

    if (buf_reserve(out, data.len + sizeof(size) + 8, err))
        return err->code;
    to = (char *)out->data + out->len;
    if (data.len > 0) {
        (void)snprintf(size, sizeof(size), "%zx\r\n", data.len);
        to = add(add_text(to, size), data.data, data.len);
        to = ADD(to, "\r\n");
    }
    if (last)
        to = ADD(to, "0\r\n\r\n");
    out->len = (size_t)((uint8_t *)to - out->data);
    return QUERN_OK;
}
