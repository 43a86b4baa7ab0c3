/* chunked.c - reads a chunked body, one state per place in its grammar.
 *
 *     size [;extension] CRLF  data CRLF  ...  0 [;extension] CRLF  [trailer CRLF]...  CRLF
 *
 *      +--------------------------------------------------------------+
 *      v                                                              |
 *     SIZE --;--> EXT_* --CR--> SIZE_LF --(size>0)--> DATA -> DATA_CR -> DATA_LF
 *      |                          ^  |
 *      +----------- CR -----------+  +--(size=0)--> T_START --CR--> END_LF --> DONE
 *                                                    |  ^
 *                                                    v  | LF
 *                                                 T_NAME --:--> T_VALUE --CR--> T_LF
 *
 *     EXT_NAME --=--> EXT_VALUE ---------- ; ----------> EXT_NAME
 *                      |  " --> EXT_QUOTED --"--> EXT_END --;--^
 *
 * Sizes are 1 to 16 hex digits with nothing before or after; every line ends in CRLF; extensions
 * (names and values are tokens, or quoted without a backslash, and no blanks stand between) and
 * trailers are checked, bounded and dropped. A trailer may not speak of framing: who merges trailers
 * into the head would see another request. */
#include "http/http.h"

#include "http/chars_priv.h"

#include "base/attr.h"

enum {
    SIZE,
    EXT_START, /* of a name */
    EXT_NAME,
    EXT_VALUE_START,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_END, /* of a quoted value */
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
    c->state = byte == ';' ? EXT_START : SIZE_LF;
    return HTTP_MORE;
}

static enum http_verdict extension_byte(struct http_chunked *c, uint8_t byte)
{
    bool token = char_is(byte, CHAR_TOKEN);

    if (++c->extension_bytes > HTTP_CHUNK_EXTENSION_BYTES_MAX)
        return bad(c, "chunk extensions over 4 KiB");
    if (c->state == EXT_QUOTED) {
        if (byte == '"')
            c->state = EXT_END;
        else if (!char_is(byte, CHAR_VALUE) || byte == '\\')
            return bad(c, "a control byte or a backslash in a chunk extension");
        return HTTP_MORE;
    }
    if (token && c->state != EXT_END) {
        if (c->state == EXT_START)
            c->state = EXT_NAME;
        else if (c->state == EXT_VALUE_START)
            c->state = EXT_VALUE;
        return HTTP_MORE;
    }
    if (c->state == EXT_VALUE_START && byte == '"')
        c->state = EXT_QUOTED;
    else if (c->state == EXT_NAME && byte == '=')
        c->state = EXT_VALUE_START;
    else if (c->state == EXT_START || c->state == EXT_VALUE_START || (byte != ';' && byte != '\r'))
        return bad(c, "a malformed chunk extension");
    else
        c->state = byte == ';' ? EXT_START : SIZE_LF;
    return HTTP_MORE;
}

/* One more byte of a trailer's name, or its ':'. False: it is a name that frames bodies. */
static bool trailer_name_byte(struct http_chunked *c, uint8_t byte)
{
    static const struct quern_slice forbidden[] = {{"content-length", 14},
                                                   {"transfer-encoding", 17}};

    for (unsigned i = 0; i < ARRAY_LEN(forbidden); i++) {
        const char *name = forbidden[i].data;
        bool at_end = c->name_bytes == forbidden[i].len;

        if ((c->names & 1u << i) == 0)
            continue;
        if (byte == ':' && at_end)
            return false;
        if (at_end || (byte | 0x20) != name[c->name_bytes])
            c->names &= ~(1u << i);
    }
    c->name_bytes++;
    return true;
}

static enum http_verdict trailer_byte(struct http_chunked *c, uint8_t byte)
{
    if (++c->trailer_bytes > HTTP_TRAILER_BYTES_MAX)
        return bad(c, "trailers over 8 KiB");
    switch (c->state) {
    case T_START:
        c->name_bytes = 0;
        c->names = ~0u;
        if (byte == '\r')
            c->state = END_LF;
        else if (char_is(byte, CHAR_TOKEN) && trailer_name_byte(c, byte))
            c->state = T_NAME;
        else
            return bad(c, "a malformed trailer");
        return HTTP_MORE;
    case T_NAME:
        if (byte != ':' && !char_is(byte, CHAR_TOKEN))
            return bad(c, "a malformed trailer");
        if (!trailer_name_byte(c, byte))
            return bad(c, "a trailer must not be Content-Length or Transfer-Encoding");
        if (byte == ':')
            c->state = T_VALUE;
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
    case EXT_START:
    case EXT_NAME:
    case EXT_VALUE_START:
    case EXT_VALUE:
    case EXT_QUOTED:
    case EXT_END:
        return extension_byte(c, byte);
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
