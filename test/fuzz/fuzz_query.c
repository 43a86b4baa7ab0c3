/* fuzz_query.c - queries and form encoding: what comes apart covers all there was, what decodes
 * encodes back, and the judges of field values read no byte too far. */
#include "fuzz.h"

#include "http/http.h"

#include <stdio.h>

/* Everything as %XX: decoding that must give the bytes back. */
static void check_round_trip(const uint8_t *bytes, size_t len)
{
    char *encoded = malloc(3 * len + 1);
    uint8_t *back = malloc(3 * len + 1);

    must(encoded != NULL && back != NULL);
    for (size_t i = 0; i < len; i++)
        (void)snprintf(encoded + 3 * i, 4, i % 2 ? "%%%02x" : "%%%02X", bytes[i]);
    must(http_form_decode((struct quern_slice){encoded, 3 * len}, back) == len);
    must(len == 0 || memcmp(bytes, back, len) == 0);
    free(encoded);
    free(back);
}

static void check_decode(struct quern_slice s)
{
    uint8_t *apart = malloc(s.len + 1), *in_place = malloc(s.len + 1);
    size_t len;

    must(apart != NULL && in_place != NULL);
    len = http_form_decode(s, apart);
    if (s.len > 0)
        memcpy(in_place, s.data, s.len);
    must(http_form_decode((struct quern_slice){in_place, s.len}, in_place) == len);
    must(len == SIZE_MAX || (len <= s.len && memcmp(apart, in_place, len) == 0));
    if (len != SIZE_MAX)
        check_round_trip(apart, len);
    free(apart);
    free(in_place);
}

static void check_query(struct quern_slice query)
{
    struct quern_slice rest = query, name, value;
    size_t covered = 0, ampersands = 0;
    bool has_value;

    for (size_t i = 0; i < query.len; i++)
        ampersands += ((const uint8_t *)query.data)[i] == '&';
    while (http_query_next(&rest, &name, &value, &has_value)) {
        must(has_value || value.len == 0);
        must(name.len == 0 || memchr(name.data, '=', name.len) == NULL);
        must(value.len == 0 || memchr(value.data, '&', value.len) == NULL);
        covered += name.len + value.len + has_value;
        check_decode(name);
        check_decode(value);
    }
    must(rest.len == 0 && covered + ampersands == query.len);
}

/* One byte at a time, by the definition. */
static bool plainly_utf8(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t need = s[i] < 0x80       ? 1
                      : s[i] >> 5 == 6  ? 2
                      : s[i] >> 4 == 14 ? 3
                      : s[i] >> 3 == 30 ? 4
                                        : 0;
        uint32_t c = need == 1 ? s[i] : s[i] & (0xffu >> (need + 1));

        if (need == 0 || len - i < need)
            return false;
        for (size_t k = 1; k < need; k++) {
            if (s[i + k] >> 6 != 2)
                return false;
            c = c << 6 | (s[i + k] & 0x3fu);
        }
        if ((need == 2 && c < 0x80) || (need == 3 && c < 0x800) || (need == 4 && c < 0x10000) ||
            c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
        i += need;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + (size == 0));
    struct quern_slice s = {copy, size}, name;

    must(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    check_query(s);
    check_round_trip(copy, size);
    must(http_is_utf8(copy, size) == plainly_utf8(copy, size));
    name = http_host_name(s);
    must(name.len <= size);
    (void)http_prefers(s, "application/json", "application/*");
    (void)http_media_is(s, "text/plain");
    free(copy);
    return 0;
}
