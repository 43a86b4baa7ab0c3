/* request.c - reads a request head, line by line, refusing whatever two readers could read two
 * ways.
 *
 *     GET /get?key=a HTTP/1.1 CRLF      request line: method SP target SP version
 *     Host: localhost:8080 CRLF         fields: name ":" value, no space before the colon, no
 *                                       folding
 *     CRLF                              the empty line
 *
 *        +-- no LF yet: MORE (or too long) --+
 *        v                                   |
 *     find the next LF -> is it too long? -> check and read the line -> the empty one? -> finish
 *
 * A line is judged once its LF has arrived, and the only thing judged before is how long it is; so
 * the answer depends on the bytes and never on where the network cut them. The one exception, the
 * very first byte, is judged by itself: what cannot begin a method (a TLS greeting, say) need not
 * wait for LF.
 *
 * Every refusal is final: after BAD nobody knows where the next request would begin, so the caller
 * answers and closes. */
#include "http/http.h"

#include "http/chars_priv.h"

#include <string.h>
#include <strings.h>

static enum http_verdict bad(struct http_request *r, int status, const char *code,
                             const char *detail)
{
    r->bad = (struct http_bad){status, code, detail};
    return HTTP_BAD;
}

static enum http_verdict malformed(struct http_request *r, const char *detail)
{
    return bad(r, 400, "bad_request", detail);
}

const char *http_method_name(enum http_method method)
{
    switch (method) {
    case HTTP_GET:
        return "GET";
    case HTTP_HEAD:
        return "HEAD";
    case HTTP_POST:
        return "POST";
    case HTTP_DELETE:
        return "DELETE";
    case HTTP_PUT:
        return "PUT";
    case HTTP_OPTIONS:
        return "OPTIONS";
    case HTTP_PATCH:
        return "PATCH";
    }
    return "?";
}

static bool method_of(const uint8_t *s, size_t len, enum http_method *out)
{
    for (unsigned bit = 1; bit <= HTTP_PATCH; bit <<= 1) {
        const char *name = http_method_name((enum http_method)bit);

        if (strlen(name) == len && memcmp(name, s, len) == 0) {
            *out = (enum http_method)bit;
            return true;
        }
    }
    return false;
}

static struct http_span span_of(size_t at, size_t len)
{
    return (struct http_span){(uint16_t)at, (uint16_t)len};
}

static bool is_host(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!char_is(s[i], CHAR_HOST))
            return false;
    }
    return true;
}

/* In a query any byte from 0x80 up may stand as it is: people type UTF-8 into a shell, curl sends
 * it as typed, and to us a key is bytes. The standards would have it escaped. */
static bool may_stand_here(const uint8_t *target, size_t i)
{
    return target[i] >= 0x80 && memchr(target, '?', i) != NULL;
}

/* "/path?query", "http://host/path?query" or "*", at data[at, at + len). */
static enum http_verdict read_target(struct http_request *r, const uint8_t *data, size_t at,
                                     size_t len)
{
    const uint8_t *t = data + at;
    const uint8_t *question;

    for (size_t i = 0; i < len; i++) {
        if (!char_is(t[i], CHAR_TARGET) && !may_stand_here(t, i))
            return malformed(r, "a byte that may not stand in a request target; percent-encode it");
    }
    if (len == 1 && t[0] == '*') {
        if (r->method != HTTP_OPTIONS)
            return malformed(r, "the target * is for OPTIONS only");
        r->path = span_of(at, 1);
        return HTTP_DONE;
    }
    if (len > 7 && strncasecmp((const char *)t, "http://", 7) == 0) {
        size_t host = 7;

        while (host < len && t[host] != '/' && t[host] != '?')
            host++;
        if (host == 7 || !is_host(t + 7, host - 7))
            return malformed(r, "the target's host is malformed");
        if (host == len || t[host] != '/')
            return malformed(r, "the target has no path; write http://host/");
        r->host = span_of(at + 7, host - 7);
        r->target_has_host = true;
        at += host;
        t += host;
        len -= host;
    }
    if (len == 0 || t[0] != '/')
        return malformed(r, "the request target must begin with /");
    question = memchr(t, '?', len);
    if (question == NULL) {
        r->path = span_of(at, len);
        return HTTP_DONE;
    }
    r->has_query = true;
    r->path = span_of(at, (size_t)(question - t));
    r->query = span_of(at + r->path.len + 1u, len - r->path.len - 1u);
    return HTTP_DONE;
}

/* The version, 8 bytes: HTTP/1.0 or HTTP/1.1. */
static enum http_verdict read_version(struct http_request *r, const uint8_t *v, size_t len)
{
    if (len != 8 || memcmp(v, "HTTP/", 5) != 0 || v[6] != '.' || v[5] < '0' || v[5] > '9' ||
        v[7] < '0' || v[7] > '9')
        return malformed(r, "the request line must end in HTTP/1.1 or HTTP/1.0");
    if (v[5] != '1' || v[7] > '1')
        return bad(r, 505, "version_not_supported", "only HTTP/1.1 and HTTP/1.0 are spoken here");
    r->minor = (unsigned)(v[7] - '0');
    return HTTP_DONE;
}

static enum http_verdict read_request_line(struct http_request *r, const uint8_t *data, size_t at,
                                           size_t len)
{
    const uint8_t *line = data + at;
    size_t method = 0, version;
    enum http_verdict verdict;

    while (method < len && char_is(line[method], CHAR_TOKEN))
        method++;
    if (method == 0 || method == len || line[method] != ' ')
        return malformed(r, "the request line must be: METHOD /path HTTP/1.1");
    version = len - 8; /* where it begins, if all is well */
    if (len < method + 3 + 8 || line[version - 1] != ' ')
        for (version = len; version > method + 1 && line[version - 1] != ' ';)
            version--;
    if (version < method + 3)
        return malformed(r, "the request line must be: METHOD /path HTTP/1.1");
    verdict = read_version(r, line + version, len - version);
    if (verdict != HTTP_DONE)
        return verdict;
    if (!method_of(line, method, &r->method))
        return bad(r, 501, "unknown_method", "this method is not known here");
    verdict = read_target(r, data, at + method + 1, version - 1 - (method + 1));
    r->saw_line = true;
    return verdict;
}

static enum http_field field_kind(const uint8_t *name, size_t len)
{
#define NAMED(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    static const struct {
        const char *text;
        size_t len;
    } names[HTTP_FIELD_KINDS] = {
        [HTTP_HOST] = NAMED("host"),
        [HTTP_CONTENT_LENGTH] = NAMED("content-length"),
        [HTTP_CONTENT_TYPE] = NAMED("content-type"),
        [HTTP_TRANSFER_ENCODING] = NAMED("transfer-encoding"),
        [HTTP_CONNECTION] = NAMED("connection"),
        [HTTP_EXPECT] = NAMED("expect"),
        [HTTP_ACCEPT] = NAMED("accept"),
        [HTTP_ORIGIN] = NAMED("origin"),
        [HTTP_SEC_FETCH_SITE] = NAMED("sec-fetch-site"),
        [HTTP_SEC_PURPOSE] = NAMED("sec-purpose"),
        [HTTP_PURPOSE] = NAMED("purpose"),
        [HTTP_IF_MATCH] = NAMED("if-match"),
        [HTTP_IF_NONE_MATCH] = NAMED("if-none-match"),
        [HTTP_RANGE] = NAMED("range"),
        [HTTP_IF_RANGE] = NAMED("if-range"),
        [HTTP_REQUEST_ID] = NAMED("x-request-id"),
        [HTTP_TRACEPARENT] = NAMED("traceparent"),
        [HTTP_QUERN_TTL] = NAMED("quern-ttl"),
        [HTTP_QUERN_EXPIRES_AT] = NAMED("quern-expires-at"),
        [HTTP_AUTHORIZATION] = NAMED("authorization"),
        [HTTP_ACCEPT_ENCODING] = NAMED("accept-encoding"),
        [HTTP_ACCESS_CONTROL_REQUEST_METHOD] = NAMED("access-control-request-method"),
    };
#undef NAMED

    for (int kind = 1; kind < HTTP_FIELD_KINDS; kind++) {
        if (names[kind].len == len &&
            http_same_word((struct quern_slice){name, len}, names[kind].text))
            return (enum http_field)kind;
    }
    return HTTP_FIELD_OTHER;
}

/* 1*DIGIT below 2^63. */
static bool read_length(struct quern_slice s, uint64_t *out)
{
    const uint8_t *c = s.data;
    uint64_t v = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (c[i] < '0' || c[i] > '9' || v > (uint64_t)(INT64_MAX - (c[i] - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(c[i] - '0');
    }
    *out = v;
    return true;
}

/* A tab behind what frames the body: the standard allows it, but others do not take it for blank. */
static bool tab_follows(struct quern_slice value)
{
    const uint8_t *c = (const uint8_t *)value.data + value.len;

    while (*c == ' ')
        c++;
    return *c == '\t';
}

static void read_connection(struct http_request *r, struct quern_slice value)
{
    const uint8_t *s = value.data;
    size_t at = 0;

    while (at < value.len) {
        size_t end = at, from = at, to;

        while (end < value.len && s[end] != ',')
            end++;
        to = end;
        while (from < to && (s[from] == ' ' || s[from] == '\t'))
            from++;
        while (to > from && (s[to - 1] == ' ' || s[to - 1] == '\t'))
            to--;
        if (http_same_word((struct quern_slice){s + from, to - from}, "close"))
            r->close_asked = true;
        else if (http_same_word((struct quern_slice){s + from, to - from}, "keep-alive"))
            r->keep_asked = true;
        at = end + 1;
    }
}

/* What a field means for where this request ends and whose it is. */
static enum http_verdict judge_field(struct http_request *r, enum http_field kind,
                                     struct quern_slice value)
{
    bool again = http_has(r, kind);

    switch (kind) {
    case HTTP_HOST:
        if (again)
            return malformed(r, "more than one Host field");
        if (!is_host(value.data, value.len))
            return malformed(r, "the Host field is malformed");
        return HTTP_DONE;
    case HTTP_CONTENT_LENGTH:
        if (again)
            return malformed(r, "more than one Content-Length field");
        if (!read_length(value, &r->content_length) || tab_follows(value))
            return malformed(r, "Content-Length must be one decimal number");
        return HTTP_DONE;
    case HTTP_TRANSFER_ENCODING:
        if (again || !http_same_word(value, "chunked") || tab_follows(value))
            return malformed(r, "Transfer-Encoding must be exactly: chunked");
        r->chunked = true;
        return HTTP_DONE;
    case HTTP_CONNECTION:
        read_connection(r, value);
        return HTTP_DONE;
    case HTTP_IF_MATCH:
    case HTTP_IF_NONE_MATCH:
    case HTTP_RANGE:
    case HTTP_IF_RANGE: /* only the first is kept: half a condition is another condition */
        if (again)
            return malformed(r, "a condition or range in two fields; write it in one");
        return HTTP_DONE;
    case HTTP_AUTHORIZATION:
        if (again)
            return malformed(r, "more than one Authorization field");
        return HTTP_DONE;
    case HTTP_EXPECT:
        if (!http_same_word(value, "100-continue"))
            return bad(r, 417, "expectation_failed", "only Expect: 100-continue is understood");
        r->expect_continue = true;
        return HTTP_DONE;
    default:
        return HTTP_DONE;
    }
}

static enum http_verdict read_field(struct http_request *r, const uint8_t *data, size_t at,
                                    size_t len)
{
    const uint8_t *line = data + at;
    size_t name = 0, from, to = len;
    enum http_verdict verdict;
    enum http_field kind;

    if (line[0] == ' ' || line[0] == '\t')
        return malformed(r, "a folded field line; write each field on one line");
    while (name < len && char_is(line[name], CHAR_TOKEN))
        name++;
    if (name == 0 || name == len || line[name] != ':')
        return malformed(r, "a field line must be Name: value, with nothing before the colon");
    for (from = name + 1; from < to && (line[from] == ' ' || line[from] == '\t');)
        from++;
    while (to > from && (line[to - 1] == ' ' || line[to - 1] == '\t'))
        to--;
    for (size_t i = from; i < to; i++) {
        if (!char_is(line[i], CHAR_VALUE))
            return malformed(r, "a control byte in a field value");
    }
    if (++r->field_count > HTTP_FIELDS_MAX)
        return bad(r, 431, "too_many_fields", "more than 100 header fields");
    kind = field_kind(line, name);
    if (kind == HTTP_FIELD_OTHER)
        return HTTP_DONE;
    verdict = judge_field(r, kind, (struct quern_slice){line + from, to - from});
    if (verdict == HTTP_DONE && !http_has(r, kind)) {
        r->field[kind] = span_of(at + from, to - from);
        r->has |= 1u << kind;
    }
    return verdict;
}

/* The empty line was read: do the fields agree with one another? */
static enum http_verdict finish(struct http_request *r)
{
    if (r->minor == 1 && !http_has(r, HTTP_HOST))
        return malformed(r, "HTTP/1.1 needs a Host field");
    if (r->chunked && http_has(r, HTTP_CONTENT_LENGTH))
        return malformed(r, "both Content-Length and Transfer-Encoding");
    if (r->chunked && r->minor == 0)
        return malformed(r, "Transfer-Encoding is not for HTTP/1.0");
    if (!r->target_has_host)
        r->host = r->field[HTTP_HOST];
    if (r->minor == 0)
        r->expect_continue = false; /* RFC 9110 section 10.1.1: ignore it */
    r->keep_alive = !r->close_asked && (r->minor == 1 || r->keep_asked);
    r->head_bytes = r->line_at;
    return HTTP_DONE;
}

/* Is the line that begins at line_at too long, given that it reaches at least to `end` (its LF, or
 * what has arrived)? */
static enum http_verdict judge_size(struct http_request *r, size_t end, bool ended)
{
    if (!r->saw_line) {
        if (end - r->line_at > HTTP_LINE_BYTES_MAX + 1)
            return bad(r, 414, "uri_too_long",
                       "the request line is over 16 KiB; send a large value as the request body");
    } else if (end + (ended ? 1u : 0u) - r->fields_at > HTTP_FIELDS_BYTES_MAX - (ended ? 0u : 1u)) {
        return bad(r, 431, "fields_too_large", "the header fields are over 32 KiB");
    }
    return HTTP_DONE;
}

/* One empty line before the request is forgiven (RFC 9112 section 2.2); anything else that cannot
 * begin a method is not. */
static enum http_verdict judge_start(struct http_request *r, const uint8_t *data, size_t len)
{
    if (len > r->line_at && data[r->line_at] == '\r' && r->line_at == 0) {
        if (len == 1)
            return HTTP_MORE;
        if (data[1] != '\n')
            return malformed(r, "a CR without LF");
        r->line_at = r->scanned_to = 2;
    }
    if (len <= r->line_at)
        return HTTP_MORE;
    if (!char_is(data[r->line_at], CHAR_TOKEN))
        return malformed(r, "this is not HTTP; speak plain HTTP/1.1 on this port");
    return HTTP_DONE;
}

enum http_verdict http_request_read(struct http_request *r, const void *bytes, size_t len)
{
    const uint8_t *data = bytes;
    enum http_verdict verdict;

    if (!r->saw_line) {
        verdict = judge_start(r, data, len);
        if (verdict != HTTP_DONE)
            return verdict;
    }
    for (;;) {
        const uint8_t *lf = NULL;
        size_t at = r->line_at, end;

        if (r->scanned_to < len)
            lf = memchr(data + r->scanned_to, '\n', len - r->scanned_to);
        end = lf != NULL ? (size_t)(lf - data) : len;
        verdict = judge_size(r, end, lf != NULL);
        if (verdict != HTTP_DONE)
            return verdict;
        if (lf == NULL) {
            r->scanned_to = (uint32_t)len;
            return HTTP_MORE;
        }
        if (end == at || data[end - 1] != '\r')
            return malformed(r, "a line that ends in LF without CR");
        r->line_at = r->scanned_to = (uint32_t)end + 1;
        if (!r->saw_line) {
            verdict = read_request_line(r, data, at, end - 1 - at);
            r->fields_at = r->line_at;
        } else if (end - 1 == at) {
            return finish(r);
        } else {
            verdict = read_field(r, data, at, end - 1 - at);
        }
        if (verdict != HTTP_DONE)
            return verdict;
    }
}
