/* fuzz_fields.c - the values of Accept-Encoding and Origin, and what --cors-origin takes: all in one
 * input. A coding is chosen only if the client named it, and what counts as an origin can stand in a
 * reply's head. */
#include "http/http.h"

#include "fuzz.h"

#include <strings.h>

/* Does `word` stand anywhere in s, whatever the case? */
static bool mentions(struct quern_slice s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.len; i++) {
        if (strncasecmp((const char *)s.data + i, word, n) == 0)
            return true;
    }
    return false;
}

static void check_encoding(struct quern_slice s)
{
    enum http_encoding e = http_encoding_of(s);

    must(e == HTTP_IDENTITY || e == HTTP_GZIP || e == HTTP_ZSTD);
    if (e == HTTP_ZSTD)
        must(mentions(s, "zstd"));
    if (e == HTTP_GZIP)
        must(mentions(s, "gzip") || mentions(s, "*"));
}

/* By another way: cut at the marks, then judge the parts. */
static bool plainly_origin(const char *s)
{
    const char *mark = strstr(s, "://"), *host, *end;

    if (mark == NULL || mark == s || s[0] < 'a' || s[0] > 'z')
        return false;
    host = mark + 3;
    if (strpbrk(host, "/?#@ ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL || *host == '\0')
        return false;
    end = *host == '[' ? strchr(host, ']') : host + strcspn(host, ":");
    if (end == NULL || end == host)
        return false;
    end += *host == '[';
    return *end == '\0' ||
           (*end == ':' && end[1] != '\0' && strspn(end + 1, "0123456789") == strlen(end + 1));
}

static void check_origin(struct quern_slice s, const uint8_t *data, size_t size)
{
    static const char *const schemes[] = {"http", "https"};
    bool is_origin = http_is_origin(s);

    for (size_t i = 0; is_origin && i < size; i++)
        must(data[i] > 0x20 && data[i] < 0x7f && !(data[i] >= 'A' && data[i] <= 'Z'));
    if (is_origin) {
        char *text = malloc(size + 1);

        must(text != NULL);
        memcpy(text, data, size);
        text[size] = '\0';
        must(plainly_origin(text));
        free(text);
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t cut = 0; cut <= size && cut < 64; cut++) {
            struct quern_slice host = {data + cut, size - cut};

            if (http_origin_is(s, schemes[i], host))
                must(cut == strlen(schemes[i]) + 3 && memcmp(data + cut - 3, "://", 3) == 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = exact(data, size);
    struct quern_slice s = {copy, size};

    check_encoding(s);
    check_origin(s, copy, size);
    free(copy);
    return 0;
}
