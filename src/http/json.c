/* json.c - bytes as JSON text.
 *
 * Most of a text needs no escape: stretches of it are copied whole. */
#include "http/http.h"

#include "base/base64.h"

#include <string.h>

/* 0: as it stands. */
static size_t escape_of(uint8_t c, bool utf8, char to[6])
{
    static const char hex[] = "0123456789abcdef";

    if (c == '"' || c == '\\') {
        to[0] = '\\';
        to[1] = (char)c;
        return 2;
    }
    if (c >= 0x20 && c != 0x7f && (c < 0x80 || utf8))
        return 0;
    memcpy(to, "\\u00", 4);
    to[4] = hex[c >> 4];
    to[5] = hex[c & 15];
    return 6;
}

enum quern_code http_json_escape(struct buf *out, struct quern_slice s, struct quern_error *err)
{
    const uint8_t *c = s.data;
    bool utf8 = http_is_utf8(s.data, s.len);
    size_t from = 0;

    for (size_t i = 0; i < s.len; i++) {
        char escaped[6];
        size_t n = escape_of(c[i], utf8, escaped);

        if (n == 0)
            continue;
        if (buf_append(out, c + from, i - from, err) || buf_append(out, escaped, n, err))
            return err->code;
        from = i + 1;
    }
    return s.len == 0 ? QUERN_OK : buf_append(out, c + from, s.len - from, err);
}

enum quern_code http_json_bytes(struct buf *out, const char *name, struct quern_slice s,
                                struct quern_error *err)
{
    bool utf8 = http_is_utf8(s.data, s.len);

    if (buf_append(out, "\"", 1, err) || buf_append(out, name, strlen(name), err) ||
        buf_append(out, utf8 ? "\":\"" : "_b64\":\"", utf8 ? 3 : 7, err) ||
        (utf8 ? http_json_escape(out, s, err) : base64_append(out, s, BASE64_STANDARD, err)))
        return err->code;
    return buf_append(out, "\"", 1, err);
}
