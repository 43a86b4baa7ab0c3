/* bytes.c - bytes as text and back; see bytes_priv.h. Pure functions over slices. */
#include "cli/bytes_priv.h"

#include "base/error.h"
#include "base/utf8.h"

#include <string.h>

static const char hex_digits[] = "0123456789ABCDEF";

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum quern_code bytes_of_hex(struct quern_slice text, struct buf *out, struct quern_error *err)
{
    const uint8_t *from = text.data;

    if (text.len == 0)
        return QUERN_OK;
    if (text.len % 2 != 0)
        return err_set(err, QUERN_INVALID, "an odd number of hex digits: \"%.*s\"",
                       text.len > 40 ? 40 : (int)text.len, (const char *)text.data);
    if (buf_reserve(out, text.len / 2, err))
        return err->code;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_value(from[i]), low = hex_value(from[i + 1]);

        if (high < 0 || low < 0)
            return err_set(err, QUERN_INVALID, "not hex: \"%.*s\"",
                           text.len > 40 ? 40 : (int)text.len, (const char *)text.data);
        out->data[out->len++] = (uint8_t)(high << 4 | low);
    }
    return QUERN_OK;
}

static uint8_t *put_hex(uint8_t *to, uint8_t c)
{
    *to++ = (uint8_t)hex_digits[c >> 4];
    *to++ = (uint8_t)hex_digits[c & 15];
    return to;
}

enum quern_code bytes_to_percent(struct quern_slice s, struct buf *out, struct quern_error *err)
{
    const uint8_t *from = s.data;
    uint8_t *to;

    if (s.len == 0)
        return QUERN_OK;
    if (buf_reserve(out, s.len * 3, err))
        return err->code;
    to = out->data + out->len;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = from[i];

        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~') {
            *to++ = c;
        } else {
            *to++ = '%';
            to = put_hex(to, c);
        }
    }
    out->len = (size_t)(to - out->data);
    return QUERN_OK;
}

enum quern_code bytes_to_escaped(struct quern_slice s, struct buf *out, struct quern_error *err)
{
    const uint8_t *at = s.data, *end;
    uint8_t *to;

    if (s.len == 0)
        return QUERN_OK;
    end = at + s.len;
    if (buf_reserve(out, s.len * 4, err))
        return err->code;
    to = out->data + out->len;
    while (at < end) {
        size_t length = utf8_length(at, end);
        /* U+0080 to U+009F are controls as well, and a terminal may obey them. */
        bool control =
            at[0] < 0x20 || at[0] == 0x7f || (length == 2 && at[0] == 0xc2 && at[1] < 0xa0);

        if (length == 0 || control || at[0] == '\\') {
            size_t escaped = length == 0 ? 1 : length;

            for (size_t i = 0; i < escaped; i++) {
                *to++ = '\\';
                *to++ = 'x';
                to = put_hex(to, at[i]);
            }
            at += escaped;
        } else {
            memcpy(to, at, length);
            to += length;
            at += length;
        }
    }
    out->len = (size_t)(to - out->data);
    return QUERN_OK;
}

bool decimal_parse(const char *text, uint64_t *out)
{
    uint64_t v = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}
