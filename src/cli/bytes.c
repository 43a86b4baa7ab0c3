/* bytes.c - bytes as text and back; see bytes_priv.h. Pure functions over slices.
 *
 * The readers are strict, since what they read was written by a machine: base64 has exactly one
 * spelling for any bytes, and anything else is refused rather than guessed at. */
#include "cli/bytes_priv.h"

#include "base/error.h"

#include <string.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_digits[] = "0123456789ABCDEF";

enum quern_code bytes_to_base64(struct quern_slice s, struct buf *out, struct quern_error *err)
{
    const uint8_t *from = s.data;
    size_t groups = s.len / 3 + (s.len % 3 != 0);
    uint8_t *to;

    if (s.len == 0)
        return QUERN_OK;
    if (buf_reserve(out, groups * 4, err))
        return err->code;
    to = out->data + out->len;
    for (size_t i = 0; i < s.len; i += 3, to += 4) {
        size_t left = s.len - i;
        uint32_t v = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                     (left > 2 ? from[i + 2] : 0);

        to[0] = (uint8_t)base64_digits[v >> 18];
        to[1] = (uint8_t)base64_digits[v >> 12 & 63];
        to[2] = left > 1 ? (uint8_t)base64_digits[v >> 6 & 63] : '=';
        to[3] = left > 2 ? (uint8_t)base64_digits[v & 63] : '=';
    }
    out->len += groups * 4;
    return QUERN_OK;
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum quern_code bytes_of_base64(struct quern_slice text, struct buf *out, struct quern_error *err)
{
    const uint8_t *from = text.data;
    size_t pad = 0;
    uint8_t *to;

    if (text.len % 4 != 0)
        return err_set(err, QUERN_INVALID, "base64 of %zu characters is cut short", text.len);
    if (text.len == 0)
        return QUERN_OK;
    pad = from[text.len - 1] != '=' ? 0 : from[text.len - 2] != '=' ? 1 : 2;
    if (buf_reserve(out, text.len / 4 * 3, err))
        return err->code;
    to = out->data + out->len;
    for (size_t i = 0; i < text.len; i += 4) {
        size_t digits = i + 4 == text.len ? 4 - pad : 4;
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            int digit = k < digits ? base64_value(from[i + k]) : 0;

            if (digit < 0)
                return err_set(err, QUERN_INVALID, "no base64 digit at %zu", i + k);
            v = v << 6 | (uint32_t)digit;
        }
        if ((digits == 3 && (v & 0xff) != 0) || (digits == 2 && (v & 0xffff) != 0))
            return err_set(err, QUERN_INVALID, "bits left over at the end of base64");
        to[0] = (uint8_t)(v >> 16);
        if (digits > 2)
            to[1] = (uint8_t)(v >> 8);
        if (digits > 3)
            to[2] = (uint8_t)v;
        to += digits - 1;
    }
    out->len = (size_t)(to - out->data);
    return QUERN_OK;
}

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

size_t utf8_length(const uint8_t *at, const uint8_t *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length;
    uint32_t point;

    if (at == end)
        return 0;
    if (at[0] < 0x80)
        return 1;
    length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || (size_t)(end - at) < length)
        return 0;
    point = at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (at[i] & 0x3fu);
    }
    if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    return length;
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

enum quern_code prefix_end(struct quern_slice prefix, struct buf *out, bool *exists,
                           struct quern_error *err)
{
    const uint8_t *from = prefix.data;
    size_t len = prefix.len;

    while (len > 0 && from[len - 1] == 0xff)
        len--;
    *exists = len > 0;
    if (len == 0)
        return QUERN_OK;
    if (buf_append(out, from, len, err))
        return err->code;
    out->data[out->len - 1]++;
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
