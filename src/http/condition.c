/* condition.c - what conditional requests and ranges ask: RFC 9110 sections 13 and 14.
 *
 *     If-None-Match: "a-1", W/"a-2"      a list of entity tags, or *
 *     Range: bytes=0-99                  one range; 100- and -100 too
 *
 * A list that is malformed is told from one that does not match, because to write in spite of a
 * condition that was not understood would lose somebody's data. A malformed Range only costs the
 * client a longer answer, so it is ignored, as the standard has it. */
#include "http/http.h"

#include "http/chars_priv.h"

#include <string.h>

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The length of the tag at s, quotes included, or 0. */
static size_t tag_length(const uint8_t *s, size_t len)
{
    if (len == 0 || s[0] != '"')
        return 0;
    for (size_t i = 1; i < len; i++) {
        if (s[i] == '"')
            return i + 1;
        if (!char_is(s[i], CHAR_VALUE) || is_space(s[i]))
            return 0;
    }
    return 0;
}

enum http_listed http_etag_listed(struct quern_slice list, struct quern_slice etag, bool weakly)
{
    enum http_listed verdict = HTTP_LIST_BAD;
    const uint8_t *s = list.data;
    bool comma = true;

    if (http_same_word(list, "*"))
        return HTTP_LISTED_ANY;
    for (size_t at = 0; at < list.len;) {
        bool weak = list.len - at > 2 && s[at] == 'W' && s[at + 1] == '/';
        size_t n;

        if (is_space(s[at]) || s[at] == ',') {
            comma |= s[at++] == ',';
            continue;
        }
        at += weak ? 2 : 0;
        n = tag_length(s + at, list.len - at);
        if (n == 0 || !comma)
            return HTTP_LIST_BAD;
        if (verdict == HTTP_LIST_BAD)
            verdict = HTTP_NOT_LISTED;
        if ((weakly || !weak) && n == etag.len && memcmp(s + at, etag.data, n) == 0)
            verdict = HTTP_LISTED;
        at += n;
        comma = false;
    }
    return verdict;
}

/* 1*DIGIT, as large as it gets; false: none. */
static bool take_number(const uint8_t **s, size_t *len, uint64_t *out)
{
    bool any = false;

    for (*out = 0; *len > 0 && **s >= '0' && **s <= '9'; (*s)++, (*len)--) {
        unsigned digit = (unsigned)(**s - '0');

        *out = *out > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *out * 10 + digit;
        any = true;
    }
    return any;
}

enum http_range http_range_read(struct quern_slice field, uint64_t length, uint64_t *first,
                                uint64_t *count)
{
    static const char unit[] = "bytes=";
    size_t n = sizeof(unit) - 1, len = field.len;
    const uint8_t *s = field.data;
    uint64_t from, to;
    bool has_from, has_to;

    if (len < n || !http_same_word((struct quern_slice){s, n}, unit))
        return HTTP_RANGE_WHOLE;
    s += n;
    len -= n;
    has_from = take_number(&s, &len, &from);
    if (len == 0 || *s != '-')
        return HTTP_RANGE_WHOLE;
    s++;
    len--;
    has_to = take_number(&s, &len, &to);
    if (len != 0 || (!has_from && !has_to) || (has_from && has_to && to < from))
        return HTTP_RANGE_WHOLE;
    if (!has_from) { /* the last `to` bytes */
        from = to < length ? length - to : 0;
        has_to = false;
        if (to == 0)
            return HTTP_RANGE_BEYOND;
    }
    if (from >= length)
        return HTTP_RANGE_BEYOND;
    if (!has_to || to >= length)
        to = length - 1;
    *first = from;
    *count = to - from + 1;
    return HTTP_RANGE_PART;
}
