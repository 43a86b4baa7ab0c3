/* number.c - integers and words, as strictly as Redis reads them. */
#include "resp/resp.h"

#include <strings.h>

bool resp_integer(struct quern_slice s, int64_t *out)
{
    const uint8_t *at = s.data, *end = at + s.len;
    bool negative = s.len > 1 && *at == '-';
    uint64_t v = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

    at += negative;
    if (at == end || (*at == '0' && s.len > 1))
        return false;
    for (; at < end; at++) {
        unsigned digit = (unsigned)*at - '0';

        if (digit > 9 || v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = negative ? -(int64_t)(v - 1) - 1 : (int64_t)v;
    return true;
}

bool resp_same_word(struct quern_slice s, const char *word)
{
    return strlen(word) == s.len && strncasecmp(s.data, word, s.len) == 0;
}
