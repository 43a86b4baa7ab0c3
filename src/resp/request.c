/* request.c - reads a request: an array of bulk strings, or a line that a person typed.
 *
 *     *2 CRLF                  so many arguments
 *     $3 CRLF GET CRLF         each with its length
 *     $4 CRLF key1 CRLF
 *
 *     START --'*'--> COUNT --> HEAD --> BULK --last--> DONE
 *       |                       ^--------'
 *       '--any other byte--> inline: everything up to LF (inline.c)
 *
 * A line is judged once its end has arrived, and the only thing judged before is how long it is; so
 * the answer depends on the bytes and never on where the network cut them.
 *
 * Where Redis is lenient this is not: it skips two bytes behind a length or a bulk, whatever they
 * are, and so goes on in the middle of a value when a client counted wrongly. Here they must be CRLF.
 *
 * Memory grows with what has arrived, never with what was announced. */
#include "resp/resp_priv.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>

#define ARGS_FIRST 8u
#define ARGS_KEPT_MAX 1024u
#define TEXT_BYTES_KEPT_MAX 4096u

enum {
    START,
    COUNT,
    HEAD,
    BULK,
    ALL_READ,
    REFUSED,
};

enum resp_verdict request_bad(struct resp_request *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(r->bad, sizeof(r->bad), format, args);
    va_end(args);
    r->state = REFUSED;
    return RESP_BAD;
}

bool request_push(struct resp_request *r, size_t at, size_t len)
{
    if (r->count == r->capacity) {
        size_t capacity = r->capacity == 0 ? ARGS_FIRST : 2 * r->capacity;
        struct resp_span *spans = alloc_resize(r->spans, capacity * sizeof(*spans));
        struct quern_slice *args;

        if (spans == NULL)
            return false;
        r->spans = spans;
        args = alloc_resize(r->args, capacity * sizeof(*args));
        if (args == NULL)
            return false;
        r->args = args;
        r->capacity = capacity;
    }
    r->spans[r->count++] = (struct resp_span){at, len};
    return true;
}

void resp_request_place(struct resp_request *r, const void *data)
{
    const uint8_t *base = r->is_inline ? r->text.data : data;

    for (size_t i = 0; i < r->count; i++) {
        struct resp_span s = r->spans[i];

        /* Of a line of "" alone there is no text at all. */
        r->args[i] = (struct quern_slice){s.len > 0 ? base + s.at : (const void *)"", s.len};
    }
}

static enum resp_verdict all_read(struct resp_request *r, const void *data)
{
    r->state = ALL_READ;
    r->bytes = r->at;
    resp_request_place(r, data);
    return RESP_DONE;
}

/* The line at r->at, without its CRLF, and go behind it. */
static enum resp_verdict take_line(struct resp_request *r, const uint8_t *data, size_t len,
                                   const char *what, struct quern_slice *line)
{
    const uint8_t *from = data + r->at, *cr;
    size_t have = len - r->at;
    size_t look = have <= RESP_LINE_BYTES_MAX ? have : RESP_LINE_BYTES_MAX + 1;

    cr = memchr(from + r->scanned, '\r', look - r->scanned);
    if (cr == NULL) {
        r->scanned = look;
        return have <= RESP_LINE_BYTES_MAX
                   ? RESP_MORE
                   : request_bad(r, "Protocol error: too big %s count string", what);
    }
    r->scanned = (size_t)(cr - from);
    if (have - r->scanned < 2)
        return RESP_MORE;
    *line = (struct quern_slice){from, r->scanned};
    r->at += r->scanned + 2;
    r->scanned = 0;
    return RESP_DONE;
}

/* What follows the first letter of a line; behind the line's CR an LF must stand. */
static bool length_of(struct quern_slice line, int64_t *out)
{
    const uint8_t *letters = line.data;

    return line.len > 0 && letters[line.len + 1] == '\n' &&
           resp_integer((struct quern_slice){letters + 1, line.len - 1}, out);
}

/* The line at r->at, as nearly all are: `letter` and a number of up to three digits, here whole. Go
 * behind it. False: it is another, and to be read with more care. */
static inline bool take_short_line(struct resp_request *r, const uint8_t *data, size_t len,
                                   uint8_t letter, int64_t *out)
{
    const uint8_t *c = data + r->at;
    unsigned v, digit;
    size_t n = 2;

    if (len - r->at < 6 || c[0] != letter || (v = (unsigned)c[1] - '0') > 9)
        return false;
    for (; v != 0 && n < 4 && (digit = (unsigned)c[n] - '0') <= 9; n++)
        v = v * 10 + digit;
    if (c[n] != '\r' || c[n + 1] != '\n')
        return false;
    r->at += n + 2;
    r->scanned = 0;
    *out = v;
    return true;
}

static enum resp_verdict read_count(struct resp_request *r, const struct resp_limits *limits,
                                    const uint8_t *data, size_t len)
{
    struct quern_slice line = {data, 0};
    int64_t count;

    if (!take_short_line(r, data, len, '*', &count)) {
        enum resp_verdict verdict = take_line(r, data, len, "mbulk", &line);

        if (verdict != RESP_DONE)
            return verdict;
        if (!length_of(line, &count) || count > (int64_t)RESP_ARGS_MAX)
            return request_bad(r, "Protocol error: invalid multibulk length");
    }
    if (limits->stranger && count > RESP_STRANGER_ARGS_MAX)
        return request_bad(r, "Protocol error: unauthenticated multibulk length");
    r->left = count > 0 ? (uint64_t)count : 0;
    r->state = HEAD;
    return RESP_DONE;
}

static enum resp_verdict read_bulk_head(struct resp_request *r, const struct resp_limits *limits,
                                        const uint8_t *data, size_t len)
{
    struct quern_slice line = {data, 0};
    int64_t bytes;
    enum resp_verdict verdict = take_line(r, data, len, "bulk", &line);

    if (verdict != RESP_DONE)
        return verdict;
    if (*(const uint8_t *)line.data != '$')
        return request_bad(r, "Protocol error: expected '$', got '%c'",
                           *(const uint8_t *)line.data);
    if (!length_of(line, &bytes) || bytes < 0 || (uint64_t)bytes > limits->bulk_bytes_max)
        return request_bad(r, "Protocol error: invalid bulk length");
    if (limits->stranger && bytes > (int64_t)RESP_STRANGER_BULK_BYTES_MAX)
        return request_bad(r, "Protocol error: unauthenticated bulk length");
    if (r->at + (uint64_t)bytes + 2 > limits->request_bytes_max)
        return request_bad(r, "Protocol error: too big request");
    r->bulk_bytes = (uint64_t)bytes;
    r->state = BULK;
    return RESP_DONE;
}

static enum resp_verdict read_bulk(struct resp_request *r, const uint8_t *data, size_t len)
{
    const uint8_t *end;

    if (len - r->at < r->bulk_bytes + 2)
        return RESP_MORE;
    end = data + r->at + r->bulk_bytes;
    if (end[0] != '\r' || end[1] != '\n')
        return request_bad(r, "Protocol error: expected CRLF after a bulk");
    if (!request_push(r, r->at, (size_t)r->bulk_bytes))
        return RESP_NO_MEMORY;
    r->at += (size_t)r->bulk_bytes + 2;
    r->left--;
    r->state = HEAD;
    return RESP_DONE;
}

static enum resp_verdict read_inline(struct resp_request *r, const uint8_t *data, size_t len)
{
    size_t look = len <= RESP_LINE_BYTES_MAX ? len : RESP_LINE_BYTES_MAX + 1;
    const uint8_t *lf = memchr(data + r->scanned, '\n', look - r->scanned);
    struct quern_slice line = {data, 0};
    enum resp_verdict verdict;

    if (lf == NULL) {
        r->scanned = look;
        return len <= RESP_LINE_BYTES_MAX
                   ? RESP_MORE
                   : request_bad(r, "Protocol error: too big inline request");
    }
    line.len = (size_t)(lf - data);
    r->at = line.len + 1;
    r->is_inline = true;
    if (line.len > 0 && data[line.len - 1] == '\r')
        line.len--;
    verdict = inline_split(r, line);
    return verdict == RESP_DONE ? all_read(r, data) : verdict;
}

/* Bulks as nearly all are, short and here whole: as many as there are, but for those that need memory
 * or that somebody has to be asked about. */
static void take_short_bulks(struct resp_request *r, const struct resp_limits *limits,
                             const uint8_t *data, size_t len)
{
    size_t at = r->at;
    int64_t bytes;

    while (r->left > 0 && r->count < r->capacity && take_short_line(r, data, len, '$', &bytes)) {
        size_t n = (size_t)bytes, end = r->at + n;

        if (n > limits->bulk_bytes_max || len - r->at < n + 2 || data[end] != '\r' ||
            data[end + 1] != '\n' || end + 2 > limits->request_bytes_max)
            break;
        r->spans[r->count++] = (struct resp_span){r->at, n};
        r->left--;
        r->at = at = end + 2;
    }
    r->at = at;
}

enum resp_verdict resp_request_read(struct resp_request *r, const struct resp_limits *limits,
                                    const void *data, size_t len)
{
    const uint8_t *bytes = data;

    if (r->state == REFUSED)
        return RESP_BAD;
    if (len == 0)
        return RESP_MORE;
    if (r->state == START && bytes[0] != '*')
        return read_inline(r, bytes, len);
    if (r->state == START)
        r->state = COUNT;
    for (;;) {
        enum resp_verdict verdict;

        if (r->state == HEAD && !limits->stranger)
            take_short_bulks(r, limits, bytes, len);
        if (r->state == HEAD && r->left == 0)
            return all_read(r, data);
        verdict = r->state == COUNT  ? read_count(r, limits, bytes, len)
                  : r->state == HEAD ? read_bulk_head(r, limits, bytes, len)
                                     : read_bulk(r, bytes, len);
        if (verdict != RESP_DONE)
            return verdict;
    }
}

void resp_request_next(struct resp_request *r)
{
    if (r->capacity > ARGS_KEPT_MAX || r->text.capacity > TEXT_BYTES_KEPT_MAX) {
        resp_request_done(r);
        return;
    }
    buf_clear(&r->text);
    r->count = 0;
    r->is_inline = false;
    r->state = START;
    r->at = r->scanned = 0;
}

void resp_request_done(struct resp_request *r)
{
    alloc_free(r->args);
    alloc_free(r->spans);
    buf_done(&r->text);
    memset(r, 0, sizeof(*r));
}
