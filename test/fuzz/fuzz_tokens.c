/* fuzz_tokens.c - the text of a token file. What is taken can be written and read again, and then says
 * the same. */
#include "fuzz.h"

#include "access/access.h"

static void check_same(const struct access_user *a, const struct access_user *b)
{
    must(strcmp(a->name, b->name) == 0 && memcmp(a->hash, b->hash, sizeof(a->hash)) == 0);
    must(a->scopes == b->scopes && a->scopes != 0 && a->scopes < 8 && a->off == b->off);
    must(a->expires_at == b->expires_at && a->prefix_count == b->prefix_count);
    for (size_t i = 0; i < a->prefix_count; i++) {
        must(a->prefixes[i].len >= 1 && a->prefixes[i].len == b->prefixes[i].len);
        must(memcmp(a->prefixes[i].data, b->prefixes[i].data, a->prefixes[i].len) == 0);
        must(access_reaches(a, a->prefixes[i]) && access_reaches_prefix(a, a->prefixes[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct access *a OWNED(access_unref) = NULL, *again OWNED(access_unref) = NULL;
    struct buf text OWNED_BUF = {0};
    struct quern_error err;
    uint8_t *copy = exact(data, size);

    if (access_read((struct quern_slice){copy, size}, &a, &err) != QUERN_OK) {
        must(err.code == QUERN_INVALID && a == NULL);
        free(copy);
        return 0;
    }
    free(copy); /* nothing of it is kept */
    must(access_count(a) <= ACCESS_TOKENS_MAX);
    for (size_t i = 0; i < access_count(a); i++)
        must(access_line(access_at(a, i), &text, &err) == QUERN_OK);
    must(access_read(buf_slice(&text), &again, &err) == QUERN_OK);
    must(access_count(again) == access_count(a));
    for (size_t i = 0; i < access_count(a); i++)
        check_same(access_at(a, i), access_at(again, i));
    return 0;
}
