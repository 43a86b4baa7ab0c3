/* base64.c - bytes as letters: RFC 4648.
 *
 * Three bytes are four letters of six bits. Bits that encode nothing are refused: every text has one
 * meaning. */
#include "base/base64.h"

enum quern_code base64_append(struct buf *out, struct quern_slice from, enum base64 kind,
                              struct quern_error *err)
{
    bool url = kind == BASE64_URL;
    const char *letters = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                              : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *s = from.data;

    if (buf_reserve(out, (from.len / 3 + 1) * 4, err))
        return err->code;
    for (size_t at = 0; at < from.len; at += 3) {
        size_t n = from.len - at < 3 ? from.len - at : 3;
        uint32_t bits = (uint32_t)s[at] << 16;

        if (n > 1)
            bits |= (uint32_t)s[at + 1] << 8;
        if (n > 2)
            bits |= s[at + 2];
        for (size_t i = 0; i < 4; i++) {
            if (i <= n)
                out->data[out->len++] = (uint8_t)letters[bits >> (18 - 6 * i) & 63];
            else if (!url)
                out->data[out->len++] = '=';
        }
    }
    return QUERN_OK;
}

/* 0 to 63, or -1. *standard and *url note an alphabet that only one has. */
static int letter_value(uint8_t c, bool *standard, bool *url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    *standard |= c == '+' || c == '/';
    *url |= c == '-' || c == '_';
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

size_t base64_decode(struct quern_slice from, enum base64 kind, void *to)
{
    const uint8_t *s = from.data;
    uint8_t *out = to;
    size_t len = from.len, n = 0;
    bool standard = false, url = false;
    uint32_t bits = 0;
    unsigned have = 0;

    if (kind == BASE64_STANDARD && len % 4 != 0)
        return SIZE_MAX;
    if (len > 0 && len % 4 == 0 && s[len - 1] == '=')
        len -= s[len - 2] == '=' ? 2 : 1;
    if (len % 4 == 1)
        return SIZE_MAX;
    for (size_t i = 0; i < len; i++) {
        int value = letter_value(s[i], &standard, &url);

        if (value < 0)
            return SIZE_MAX;
        bits = (bits << 6 | (uint32_t)value) & 0xffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    if ((standard && url) || (url && kind == BASE64_STANDARD) || (standard && kind == BASE64_URL) ||
        (bits & ((1u << have) - 1)) != 0)
        return SIZE_MAX;
    return n;
}
