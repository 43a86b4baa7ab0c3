/* http.h - HTTP/1.1 as pure functions over bytes: request heads, chunked bodies, queries, reply
 * heads.
 *
 * Nothing here knows a socket, a clock or the store. The parsers take what has arrived so far and
 * say MORE, DONE or BAD; how the bytes were cut into pieces on their way never changes the answer
 * (the fuzzer holds them to it). What is refused and why: docs/design/80-http.md. Threads: any, one
 * object at a time. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/buf.h"

#include <quern/types.h>

#define HTTP_LINE_BYTES_MAX 16384u   /* request line, without its CRLF: 414 beyond */
#define HTTP_FIELDS_BYTES_MAX 32768u /* all field lines and the empty line: 431 beyond */
#define HTTP_FIELDS_MAX 100u         /* field lines: 431 beyond */
/* A whole head: an empty line before it, the request line, the fields. Offsets fit 16 bits. */
#define HTTP_HEAD_BYTES_MAX (2u + HTTP_LINE_BYTES_MAX + 2u + HTTP_FIELDS_BYTES_MAX)

enum http_verdict {
    HTTP_MORE, /* all right so far, the end has not arrived */
    HTTP_DONE,
    HTTP_BAD, /* never going to be right; `bad` says why */
};

/* Why something was refused: an HTTP status, a word for programs, a line for people. */
struct http_bad {
    int status;
    const char *code;   /* "bad_request", ... */
    const char *detail; /* one line, no newline; constant text */
};

/* ------------------------------------------------------------------ request head -- */

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_DELETE = 8,
    HTTP_PUT = 16,
    HTTP_OPTIONS = 32,
    HTTP_PATCH = 64,
};

/* Fields that somebody asks for by name; the others are checked for their form and passed over. */
enum http_field {
    HTTP_FIELD_OTHER,
    HTTP_HOST,
    HTTP_CONTENT_LENGTH,
    HTTP_CONTENT_TYPE,
    HTTP_TRANSFER_ENCODING,
    HTTP_CONNECTION,
    HTTP_EXPECT,
    HTTP_ACCEPT,
    HTTP_ORIGIN,
    HTTP_SEC_FETCH_SITE,
    HTTP_SEC_PURPOSE,
    HTTP_PURPOSE,
    HTTP_IF_MATCH,
    HTTP_IF_NONE_MATCH,
    HTTP_RANGE,
    HTTP_IF_RANGE,
    HTTP_REQUEST_ID,
    HTTP_TRACEPARENT,
    HTTP_QUERN_TTL,
    HTTP_QUERN_EXPIRES_AT,
    HTTP_AUTHORIZATION,
    HTTP_ACCEPT_ENCODING,
    HTTP_ACCESS_CONTROL_REQUEST_METHOD,
    HTTP_FIELD_KINDS,
};

/* A stretch of the head, by offset: the buffer may move between calls. */
struct http_span {
    uint16_t at, len;
};

/* One request head being read. All zeros is the start of a fresh one. */
struct http_request {
    /* Valid after DONE. */
    enum http_method method;
    unsigned minor;         /* HTTP/1.minor: 0 or 1 */
    struct http_span path;  /* begins with '/'; "*" for OPTIONS * */
    struct http_span query; /* after the '?'; has_query tells "/a" from "/a?" */
    struct http_span host;  /* authority of the target if it has one, else the Host field */
    struct http_span field[HTTP_FIELD_KINDS]; /* value of the first such field */
    uint32_t has;                             /* bit n: a field of kind n was there */
    bool has_query;
    bool keep_alive; /* what the client asks for, by version and Connection */
    bool expect_continue;
    bool chunked;
    uint64_t content_length; /* 0 when there is none */
    size_t head_bytes;       /* from the start of `data` to the first byte of the body */
    struct http_bad bad;     /* valid after BAD */

    /* How far reading has come. */
    uint32_t line_at, scanned_to, fields_at, field_count;
    bool saw_line, close_asked, keep_asked, target_has_host;
};

/* Go on reading the head that begins at `data`; `len` is all that has arrived of it, never less
 * than at the call before. After DONE or BAD start over with zeros. Bytes behind the head are not
 * looked at. */
MUST_USE enum http_verdict http_request_read(struct http_request *r, const void *data, size_t len);

static inline bool http_has(const struct http_request *r, enum http_field kind)
{
    return (r->has >> kind & 1u) != 0;
}

/* A span as bytes; `data` as given to http_request_read(). */
static inline struct quern_slice http_bytes(const void *data, struct http_span span)
{
    return (struct quern_slice){(const uint8_t *)data + span.at, span.len};
}

/* "GET", ... */
const char *http_method_name(enum http_method method);

/* ------------------------------------------------------------------ chunked bodies -- */

#define HTTP_CHUNK_EXTENSION_BYTES_MAX 4096u /* of all chunks of a body together */
#define HTTP_TRAILER_BYTES_MAX 8192u         /* read, checked and dropped */

/* A chunked body being read. All zeros is the start. */
struct http_chunked {
    uint64_t left; /* bytes of the current chunk still to come: announced, not to be trusted */
    uint32_t state, digits, extension_bytes, trailer_bytes;
    uint32_t name_bytes, names; /* of the trailer at hand; bits of those forbidden that it begins */
    struct http_bad bad;
};

/* Take the next bytes of the body: *used of them were read, *piece (inside `data`, possibly empty)
 * is content. MORE with *used == len: give the bytes that follow; MORE with less: call again with
 * the rest. DONE: the body ended, trailers and all. */
MUST_USE enum http_verdict http_chunked_read(struct http_chunked *c, const void *data, size_t len,
                                             size_t *used, struct quern_slice *piece);

/* ------------------------------------------------------------------ queries -- */

/* Undo form encoding: '+' is a space, %XX one byte, whatever byte. `to` has room for from.len bytes
 * and may be from.data. Returns the decoded length, or SIZE_MAX for a bad escape. */
MUST_USE size_t http_form_decode(struct quern_slice from, void *to);

/* The same for a path, where '+' is itself. */
MUST_USE size_t http_path_decode(struct quern_slice from, void *to);

/* Append `from` so that it can stand in a path as one segment: every byte that is not unreserved as
 * %XX. */
MUST_USE enum quern_code http_path_encode(struct buf *out, struct quern_slice from,
                                          struct quern_error *err);

/* Take the first parameter off *rest ("a=1&b=2"); name and value still encoded. `has_value` tells
 * "a=" from "a". Empty parts ("&&") are passed over. False: nothing left. */
MUST_USE bool http_query_next(struct quern_slice *rest, struct quern_slice *name,
                              struct quern_slice *value, bool *has_value);

/* ------------------------------------------------------------------ field values -- */

/* Same letters, whatever their case. */
bool http_same_word(struct quern_slice s, const char *word);

/* Does this Accept value rate `type` above text/plain? `family`: "application/" and a star, of it. */
bool http_prefers(struct quern_slice accept, const char *type, const char *family);

/* The media type before any parameter, compared without case. */
bool http_media_is(struct quern_slice content_type, const char *type);

/* "localhost:8080" -> "localhost", "[::1]:80" -> "[::1]"; what has neither shape stays as it is. */
struct quern_slice http_host_name(struct quern_slice authority);

/* May this be the host of a Host field: a name, an IPv4 address, or one of IPv6 in brackets, without a
 * port? */
bool http_is_host_name(struct quern_slice s);

/* Does the Origin value name the same origin as scheme ("http") + `://` + host? */
bool http_origin_is(struct quern_slice origin, const char *scheme, struct quern_slice host);

/* May this be the origin of a page: scheme://host or scheme://host:port, in small letters, nothing
 * behind it? */
bool http_is_origin(struct quern_slice s);

enum http_encoding {
    HTTP_IDENTITY,
    HTTP_GZIP,
    HTTP_ZSTD,
};
/* What the value of Accept-Encoding rates highest: zstd before gzip before neither where it rates
 * them alike, and zstd only by its name. */
enum http_encoding http_encoding_of(struct quern_slice accept_encoding);

/* May this stand as X-Request-Id in a reply: 1 to 64 letters of a token? */
#define HTTP_REQUEST_ID_BYTES_MAX 64
bool http_is_request_id(struct quern_slice s);

/* Is it a traceparent of W3C Trace Context: version, trace, parent and flags in hexadecimal? */
#define HTTP_TRACE_BYTES 55
bool http_is_trace(struct quern_slice s);

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool http_is_utf8(const void *data, size_t len);

/* ------------------------------------------------------------------ conditions and ranges -- */

enum http_listed {
    HTTP_LIST_BAD, /* not a list of entity tags */
    HTTP_NOT_LISTED,
    HTTP_LISTED,
    HTTP_LISTED_ANY, /* the list is * */
};
/* Does the value of If-Match or If-None-Match name `etag` (its quotes included)? W/"x" counts as
 * "x" only if `weakly`. */
enum http_listed http_etag_listed(struct quern_slice list, struct quern_slice etag, bool weakly);

enum http_range {
    HTTP_RANGE_WHOLE, /* not for us: several ranges, another unit, malformed; the field is ignored */
    HTTP_RANGE_PART,
    HTTP_RANGE_BEYOND, /* nothing of it is there: 416 */
};
/* What the value of Range asks of `length` bytes: with PART the *count (at least 1) from *first. */
enum http_range http_range_read(struct quern_slice field, uint64_t length, uint64_t *first,
                                uint64_t *count);

/* ------------------------------------------------------------------ replies -- */

#define HTTP_DATE_BYTES 29 /* "Sun, 22 Nov 2026 12:00:00 GMT" */
void http_date(int64_t unix_seconds, char to[HTTP_DATE_BYTES + 1]);

/* "Not Found"; "Status" for a number that quern never sends. */
const char *http_reason(int status);

enum http_framing {
    HTTP_LENGTH,   /* Content-Length: reply.length */
    HTTP_CHUNKED,  /* for HTTP/1.1 clients */
    HTTP_TO_CLOSE, /* the body ends with the connection: for HTTP/1.0 */
    HTTP_NO_BODY,  /* 204: no framing field at all */
};

struct http_reply {
    int status;
    enum http_framing framing;
    uint64_t length;
    const char *type;     /* Content-Type, or NULL */
    const char *extra;    /* further whole lines, "Name: value\r\n...", ours alone; or NULL */
    const char *server;   /* "quern/0.1.0" */
    const char *vary;     /* Vary, or NULL */
    const char *encoding; /* Content-Encoding, or NULL */
    const char *reader; /* the origin whose pages may read this: one of http_is_origin(); or NULL */
    const char *request_id; /* one that http_is_request_id() takes */
    const char *date;       /* HTTP_DATE_BYTES letters */
    bool close;             /* say Connection: close */
    bool keep;              /* say Connection: keep-alive (HTTP/1.0 wants to hear it) */
};

/* Append status line, fields and the empty line. Errors: NO_MEMORY (nothing appended). */
MUST_USE enum quern_code http_reply_head(struct buf *out, const struct http_reply *reply,
                                         struct quern_error *err);

/* Append one chunk (nothing when `data` is empty), or with `last` the end of the body. */
MUST_USE enum quern_code http_reply_chunk(struct buf *out, struct quern_slice data, bool last,
                                          struct quern_error *err);

/* Append `s` as the inside of a JSON string: quotes, backslashes and control bytes are escaped, and
 * where it is not UTF-8 every byte from 0x80 up, as if it were Latin-1. */
MUST_USE enum quern_code http_json_escape(struct buf *out, struct quern_slice s,
                                          struct quern_error *err);

/* Append `"name":"..."`, or where the bytes are not UTF-8 `"name_b64":"..."` in base64. */
MUST_USE enum quern_code http_json_bytes(struct buf *out, const char *name, struct quern_slice s,
                                         struct quern_error *err);

/* Decimal letters of v at `to` (20 bytes of room at most); returns how many. */
size_t http_decimal(char *to, uint64_t v);

#endif
