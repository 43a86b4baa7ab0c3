/* chunked.c - reads a chunked body, one state per place in its grammar.
 *
 *     size [;extension] CRLF  data CRLF  ...  0 [;extension] CRLF  [trailer CRLF]...  CRLF
 *
 *      +--------------------------------------------------------------+
 *      v                                                              |
 *     SIZE --;--> EXT --CR--> SIZE_LF --(size>0)--> DATA -> DATA_CR -> DATA_LF
 *      |                        ^  |
 *      +---------- CR ----------+  +--(size=0)--> T_START --CR--> END_LF --> DONE
 *                                                  |  ^
 *                                                  v  | LF
 *                                               T_NAME --:--> T_VALUE --CR--> T_LF
 *
 * Sizes are 1 to 16 hex digits with nothing before or after; every line ends in CRLF; extensions
 * and trailers are checked, bounded and dropped. */
#include "http/http.h"

#include "http/chars_priv.h"

enum {
    SIZE,
    EXT,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    T_START,
    T_NAME,
    T_VALUE,
    T_LF,
    END_LF,
};

static enum http_verdict bad(struct http_chunked *c, const char *detail)
{
    c->bad = (struct http_bad){400, "bad_chunk", detail};
    return HTTP_BAD;
}

static enum http_verdict size_byte(struct http_chunked *c, uint8_t byte)
{
    int digit = hex_digit(byte);

    if (digit >= 0) {
        if (++c->digits > 16)
            return bad(c, "a chunk size of more than 16 digits");
        c->left = c->left << 4 | (unsigned)digit;
        return HTTP_MORE;
    }
    if (c->digits == 0 || (byte != '\r' && byte != ';'))
        return bad(c, "a chunk size must be hexadecimal digits and nothing else");
    c->state = byte == ';' ? EXT : SIZE_LF;
    return HTTP_MORE;
}

static enum http_verdict trailer_byte(struct http_chunked *c, uint8_t byte)
{
    if (++c->trailer_bytes > HTTP_TRAILER_BYTES_MAX)
        return bad(c, "trailers over 8 KiB");
    switch (c->state) {
    case T_START:
        if (byte == '\r')
            c->state = END_LF;
        else if (char_is(byte, CHAR_TOKEN))
            c->state = T_NAME;
        else
            return bad(c, "a malformed trailer");
        return HTTP_MORE;
    case T_NAME:
        if (byte == ':')
            c->state = T_VALUE;
        else if (!char_is(byte, CHAR_TOKEN))
            return bad(c, "a malformed trailer");
        return HTTP_MORE;
    case T_VALUE:
        if (byte == '\r')
            c->state = T_LF;
        else if (!char_is(byte, CHAR_VALUE))
            return bad(c, "a control byte in a trailer");
        return HTTP_MORE;
    default: /* T_LF */
        if (byte != '\n')
            return bad(c, "a CR without LF in a trailer");
        c->state = T_START;
        return HTTP_MORE;
    }
}

/* One byte of framing; DATA itself is taken in stretches by the caller. */
static enum http_verdict framing_byte(struct http_chunked *c, uint8_t byte)
{
    switch (c->state) {
    case SIZE:
        return size_byte(c, byte);
    case EXT:
        if (++c->extension_bytes > HTTP_CHUNK_EXTENSION_BYTES_MAX)
            return bad(c, "chunk extensions over 4 KiB");
        if (byte == '\r')
            c->state = SIZE_LF;
        else if (!char_is(byte, CHAR_VALUE))
            return bad(c, "a control byte in a chunk extension");
        return HTTP_MORE;
    case SIZE_LF:
        if (byte != '\n')
            return bad(c, "a chunk size line must end in CRLF");
        c->digits = 0;
        c->state = c->left != 0 ? DATA : T_START;
        return HTTP_MORE;
    case DATA_CR:
        if (byte != '\r')
            return bad(c, "a chunk must be followed by CRLF");
        c->state = DATA_LF;
        return HTTP_MORE;
    case DATA_LF:
        if (byte != '\n')
            return bad(c, "a chunk must be followed by CRLF");
        c->state = SIZE;
        return HTTP_MORE;
    case END_LF:
        if (byte != '\n')
            return bad(c, "a CR without LF after the trailers");
        return HTTP_DONE;
    default:
        return trailer_byte(c, byte);
    }
}

enum http_verdict http_chunked_read(struct http_chunked *c, const void *bytes, size_t len,
                                    size_t *used, struct quern_slice *piece)
{
    const uint8_t *data = bytes;
    size_t at = 0;

    *piece = (struct quern_slice){data, 0};
    while (at < len) {
        enum http_verdict verdict;

        if (c->state == DATA) {
            size_t take = len - at;

            if (take > c->left)
                take = (size_t)c->left;
            *piece = (struct quern_slice){data + at, take};
            c->left -= take;
            if (c->left == 0)
                c->state = DATA_CR;
            *used = at + take;
            return HTTP_MORE;
        }
        verdict = framing_byte(c, data[at++]);
        if (verdict != HTTP_MORE) {
            *used = at;
            return verdict;
        }
    }
    *used = at;
    return HTTP_MORE;
}
