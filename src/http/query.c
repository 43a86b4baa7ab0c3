/* query.c - percent and form encoding undone, once: "a+b%2Bc" is the five bytes "a b+c".
 *
 * The bytes that come out may be anything, NUL and slashes included; nothing is collapsed, resolved
 * or decoded a second time. */
#include "http/http.h"

#include "http/chars_priv.h"

#include <string.h>

static size_t decode(struct quern_slice from, void *to, uint8_t plus)
{
    const uint8_t *s = from.data;
    uint8_t *out = to;
    size_t n = 0;

    if (from.len == 0)
        return 0;
    if (memchr(s, '%', from.len) == NULL && (plus == '+' || memchr(s, '+', from.len) == NULL)) {
        memmove(to, s, from.len); /* it stands for itself, as most do */
        return from.len;
    }
    for (size_t i = 0; i < from.len; i++) {
        if (s[i] == '+') {
            out[n++] = plus;
        } else if (s[i] == '%') {
            int high, low;

            if (from.len - i < 3)
                return SIZE_MAX;
            high = hex_digit(s[i + 1]);
            low = hex_digit(s[i + 2]);
            if (high < 0 || low < 0)
                return SIZE_MAX;
            out[n++] = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            out[n++] = s[i];
        }
    }
    return n;
}

size_t http_form_decode(struct quern_slice from, void *to)
{
    return decode(from, to, ' ');
}

size_t http_path_decode(struct quern_slice from, void *to)
{
    return decode(from, to, '+');
}

bool http_query_next(struct quern_slice *rest, struct quern_slice *name, struct quern_slice *value,
                     bool *has_value)
{
    const uint8_t *s = rest->data;
    size_t len = rest->len;

    while (len > 0) {
        const uint8_t *end = memchr(s, '&', len);
        size_t part = end != NULL ? (size_t)(end - s) : len;
        size_t next = end != NULL ? part + 1 : part;

        if (part > 0) {
            const uint8_t *equals = memchr(s, '=', part);
            size_t name_len = equals != NULL ? (size_t)(equals - s) : part;

            *name = (struct quern_slice){s, name_len};
            *has_value = equals != NULL;
            *value = equals != NULL ? (struct quern_slice){equals + 1, part - name_len - 1}
                                    : (struct quern_slice){s + part, 0};
            *rest = (struct quern_slice){s + next, len - next};
            return true;
        }
        s += next;
        len -= next;
    }
    *rest = (struct quern_slice){s, 0};
    return false;
}

enum quern_code http_path_encode(struct buf *out, struct quern_slice from, struct quern_error *err)
{
    static const char hex[] = "0123456789ABCDEF";
    const uint8_t *s = from.data;

    if (buf_reserve(out, 3 * from.len, err))
        return err->code;
    for (size_t i = 0; i < from.len; i++) {
        bool plain = (s[i] >= '0' && s[i] <= '9') ||
                     ((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z') || s[i] == '-' || s[i] == '.' ||
                     s[i] == '_' || s[i] == '~';

        if (plain) {
            out->data[out->len++] = s[i];
        } else {
            out->data[out->len++] = '%';
            out->data[out->len++] = (uint8_t)hex[s[i] >> 4];
            out->data[out->len++] = (uint8_t)hex[s[i] & 15];
        }
    }
    return QUERN_OK;
}
