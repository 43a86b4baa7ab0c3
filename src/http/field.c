/* field.c - what field values mean: words, media types, hosts, origins; and whether bytes are
 * UTF-8. */
#include "http/http.h"

#include "http/chars_priv.h"

#include <string.h>

#define T CHAR_TOKEN
#define V CHAR_VALUE
#define U CHAR_TARGET
#define H CHAR_HOST

/* Ranges first, then what differs; a later entry replaces an earlier one. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
const uint8_t http_chars[256] = {
    ['\t'] = V,
    [' '] = V,
    [0x21 ... 0x7e] = V | U,
    [0x80 ... 0xff] = V,
    ['0' ... '9'] = T | V | U | H,
    ['A' ... 'Z'] = T | V | U | H,
    ['a' ... 'z'] = T | V | U | H,
    ['!'] = T | V | U,
    ['#'] = T | V,
    ['$'] = T | V | U,
    ['%'] = T | V | U,
    ['&'] = T | V | U,
    ['\''] = T | V | U,
    ['*'] = T | V | U,
    ['+'] = T | V | U,
    ['-'] = T | V | U | H,
    ['.'] = T | V | U | H,
    ['^'] = T | V | U,
    ['_'] = T | V | U | H,
    ['`'] = T | V | U,
    ['|'] = T | V | U,
    ['~'] = T | V | U | H,
    [':'] = V | U | H,
    ['['] = V | U | H,
    [']'] = V | U | H,
};
#pragma GCC diagnostic pop

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool same_letters(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (memcmp(a, b, len) == 0)
        return true;
    for (size_t i = 0; i < len; i++) {
        if (lower(a[i]) != lower(b[i]))
            return false;
    }
    return true;
}

bool http_same_word(struct quern_slice s, const char *word)
{
    return s.len == strlen(word) && same_letters(s.data, (const uint8_t *)word, s.len);
}

static struct quern_slice trimmed(const uint8_t *s, size_t len)
{
    while (len > 0 && (*s == ' ' || *s == '\t')) {
        s++;
        len--;
    }
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        len--;
    return (struct quern_slice){s, len};
}

/* Cut *rest at the first `mark`; returns the trimmed part before it. */
static struct quern_slice cut(struct quern_slice *rest, char mark)
{
    const uint8_t *s = rest->data;
    const uint8_t *end = rest->len ? memchr(s, mark, rest->len) : NULL;
    size_t part = end != NULL ? (size_t)(end - s) : rest->len;
    size_t next = end != NULL ? part + 1 : part;

    *rest = (struct quern_slice){s + next, rest->len - next};
    return trimmed(s, part);
}

/* "q=0.5" -> 500; 1000 when there is none or it makes no sense. */
static int quality_of(struct quern_slice parameters)
{
    while (parameters.len > 0) {
        struct quern_slice p = cut(&parameters, ';');
        const uint8_t *s = p.data;
        int q = 0, scale = 100;

        if (p.len < 3 || lower(s[0]) != 'q' || s[1] != '=')
            continue;
        if (s[2] != '0')
            return 1000;
        for (size_t i = 4; i < p.len && s[3] == '.' && s[i] >= '0' && s[i] <= '9'; i++) {
            q += (s[i] - '0') * scale;
            scale /= 10;
        }
        return q;
    }
    return 1000;
}

/* How an Accept value rates `type`; the most specific range that fits decides. */
static int accept_quality(struct quern_slice accept, const char *type, const char *family)
{
    int best_fit = 0, quality = 0;

    while (accept.len > 0) {
        struct quern_slice range = cut(&accept, ',');
        struct quern_slice name = cut(&range, ';');
        int fit = http_same_word(name, type)     ? 3
                  : http_same_word(name, family) ? 2
                  : http_same_word(name, "*/*")  ? 1
                                                 : 0;

        if (fit > best_fit) {
            best_fit = fit;
            quality = quality_of(range);
        }
    }
    return quality;
}

bool http_prefers(struct quern_slice accept, const char *type, const char *family)
{
    return accept_quality(accept, type, family) > accept_quality(accept, "text/plain", "text/*");
}

bool http_media_is(struct quern_slice content_type, const char *type)
{
    return http_same_word(cut(&content_type, ';'), type);
}

struct quern_slice http_host_name(struct quern_slice authority)
{
    const uint8_t *s = authority.data;
    size_t len = 0;

    if (authority.len > 0 && s[0] == '[') {
        while (len < authority.len && s[len] != ']')
            len++;
        if (len < authority.len)
            len++;
    } else {
        while (len < authority.len && s[len] != ':')
            len++;
    }
    if (len < authority.len && s[len] != ':')
        len = authority.len; /* "[::1]x" is no name of anybody's */
    return (struct quern_slice){s, len};
}

bool http_is_host_name(struct quern_slice s)
{
    const uint8_t *c = s.data;

    for (size_t i = 0; i < s.len; i++) {
        if (!char_is(c[i], CHAR_HOST))
            return false;
    }
    if (s.len == 0 || http_host_name(s).len != s.len)
        return false;
    return c[0] != '[' ? memchr(c, ']', s.len) == NULL
                       : memchr(c, ']', s.len) == c + s.len - 1 && s.len > 2;
}

bool http_origin_is(struct quern_slice origin, const char *scheme, struct quern_slice host)
{
    size_t n = strlen(scheme);
    const uint8_t *s = origin.data;

    return origin.len == n + 3 + host.len && same_letters(s, (const uint8_t *)scheme, n) &&
           memcmp(s + n, "://", 3) == 0 && same_letters(s + n + 3, host.data, host.len);
}

bool http_is_origin(struct quern_slice s)
{
    const uint8_t *c = s.data;
    const uint8_t *mark = s.len > 3 ? memmem(c, s.len, "://", 3) : NULL;
    size_t host = mark != NULL ? (size_t)(mark - c) + 3 : 0, end;

    if (host < 4 || c[0] < 'a' || c[0] > 'z')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if ((i < host - 3 ? !char_is(c[i], CHAR_TOKEN) : i >= host && !char_is(c[i], CHAR_HOST)) ||
            (c[i] >= 'A' && c[i] <= 'Z'))
            return false;
    }
    end = host + http_host_name((struct quern_slice){c + host, s.len - host}).len;
    if (end == host || (c[host] == '[' && memchr(c + host, ']', end - host) != c + end - 1))
        return false;
    if (end == s.len)
        return true;
    for (size_t i = end + 1; i < s.len; i++) { /* at `end` is a colon */
        if (c[i] < '0' || c[i] > '9')
            return false;
    }
    return end + 1 < s.len;
}

enum http_encoding http_encoding_of(struct quern_slice accept)
{
    int gzip = -1, zstd = 0, identity = -1, any = -1;

    while (accept.len > 0) {
        struct quern_slice one = cut(&accept, ',');
        struct quern_slice name = cut(&one, ';');
        int quality = quality_of(one);

        if (http_same_word(name, "gzip") || http_same_word(name, "x-gzip"))
            gzip = quality;
        else if (http_same_word(name, "zstd"))
            zstd = quality;
        else if (http_same_word(name, "identity"))
            identity = quality;
        else if (http_same_word(name, "*"))
            any = quality;
    }
    if (gzip < 0)
        gzip = any < 0 ? 0 : any;
    if (identity < 0) /* always fit, and the last choice */
        identity = 0;
    if (zstd > 0 && zstd >= gzip && zstd >= identity)
        return HTTP_ZSTD;
    return gzip > 0 && gzip >= identity ? HTTP_GZIP : HTTP_IDENTITY;
}

bool http_is_request_id(struct quern_slice s)
{
    const uint8_t *c = s.data;

    for (size_t i = 0; i < s.len; i++) {
        if (!char_is(c[i], CHAR_TOKEN))
            return false;
    }
    return s.len > 0 && s.len <= HTTP_REQUEST_ID_BYTES_MAX;
}

bool http_is_trace(struct quern_slice s)
{
    const char *c = s.data;

    if (s.len != HTTP_TRACE_BYTES)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        bool dash = i == 2 || i == 35 || i == 52;

        if (dash ? c[i] != '-' : !(c[i] >= '0' && c[i] <= '9') && !(c[i] >= 'a' && c[i] <= 'f'))
            return false;
    }
    return true;
}

/* The length of the one well-formed sequence at s, or 0. Table 3-7 of the Unicode standard. */
static size_t utf8_sequence(const uint8_t *s, size_t len)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t need;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    need = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len < need)
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return need;
}

bool http_is_utf8(const void *data, size_t len)
{
    const uint8_t *s = data;
    size_t at = 0;

    while (at < len) {
        uint64_t eight;
        size_t n;

        if (len - at >= 8) { /* most text is ASCII: eight bytes at a time */
            memcpy(&eight, s + at, 8);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }
        n = utf8_sequence(s + at, len - at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}
