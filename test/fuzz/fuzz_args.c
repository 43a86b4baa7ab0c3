/* fuzz_args.c - the command line of quern, one word a line; and keys and values as text.
 *
 * What is understood keeps inside its limits; each way of writing bytes as text reads back. */
#include "fuzz.h"

#include "base/base64.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/prefix.h"
#include "cli/bytes_priv.h"
#include "cli/cli_priv.h"
#include "http/http.h"

#define WORDS_MAX 24

static void check_args(char *text)
{
    static const struct cli_environment nothing = {NULL, NULL, NULL};
    char quern[] = "quern", *argv[WORDS_MAX + 1] = {quern}, *rest = text;
    struct quern_error err = {0};
    struct cli_args args;
    int argc = 1;

    while (argc < WORDS_MAX && rest != NULL)
        argv[argc++] = strsep(&rest, "\n");
    if (!args_parse(argc, argv, &nothing, &args, &err)) {
        must(err.code != QUERN_OK && err.text[0] != '\0');
    } else if (!args.help && !args.version) {
        must(args.verb != VERB_NONE && (args.db != NULL) != (args.url != NULL));
        must(args.word_count <= ARRAY_LEN(args.words) && !(args.json && args.nul));
        if (args.verb & (VERB_GET | VERB_SET | VERB_DEL))
            must(args.key.len >= 1 && args.key.len <= QUERN_KEY_BYTES_MAX);
    }
    args_done(&args);
}

static void check_base64(struct quern_slice s)
{
    for (int kind = BASE64_STANDARD; kind <= BASE64_URL; kind++) {
        struct buf text OWNED_BUF = {0}, again OWNED_BUF = {0};
        struct quern_error err;
        size_t n;

        must(base64_append(&text, s, (enum base64)kind, &err) == QUERN_OK);
        must(base64_decode(buf_slice(&text), BASE64_EITHER, text.data) == s.len);
        must(s.len == 0 || memcmp(text.data, s.data, s.len) == 0);
        buf_clear(&text);
        must(buf_append(&text, s.data, s.len, &err) == QUERN_OK);
        n = base64_decode(s, (enum base64)kind, text.data);
        if (kind == BASE64_URL || n == SIZE_MAX)
            continue;
        /* And the other way: what reads, has one spelling. */
        text.len = n;
        must(base64_append(&again, buf_slice(&text), BASE64_STANDARD, &err) == QUERN_OK);
        must(key_equal(buf_slice(&again), s));
    }
}

/* What the command writes into a URL, the server reads. */
static void check_percent(struct quern_slice s)
{
    struct buf text OWNED_BUF = {0};
    struct quern_error err;

    must(bytes_to_percent(s, &text, &err) == QUERN_OK);
    must(http_form_decode(buf_slice(&text), text.data) == s.len);
    must(s.len == 0 || memcmp(text.data, s.data, s.len) == 0);
}

/* Above the prefix, above all that begins so, and nothing between. */
static void check_prefix(struct quern_slice prefix)
{
    struct buf end OWNED_BUF = {0}, below OWNED_BUF = {0};
    struct quern_error err;

    must(prefix_end(prefix, &end, &err) == QUERN_OK);
    must(buf_append(&below, prefix.data, prefix.len, &err) == QUERN_OK);
    must(buf_append(&below, "\xff\xff\xff\xff", 4, &err) == QUERN_OK);
    if (end.len != 0)
        must(key_compare(buf_slice(&below), buf_slice(&end)) < 0 && end.len <= prefix.len);
    else
        must(prefix.len == 0 || ((const uint8_t *)prefix.data)[0] == 0xff);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf shown OWNED_BUF = {0};
    struct quern_error err;
    uint8_t *bytes;
    char *text;

    if (size > 1 << 16)
        return 0;
    bytes = exact(data, size);
    check_base64(slice_of(bytes, size));
    check_percent(slice_of(bytes, size));
    check_prefix(slice_of(bytes, size));
    must(bytes_to_escaped(slice_of(bytes, size), &shown, &err) == QUERN_OK);
    for (size_t i = 0; i < shown.len; i++)
        must(shown.data[i] >= 0x20 && shown.data[i] != 0x7f);
    free(bytes);
    text = malloc(size + 1);
    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    check_args(text);
    free(text);
    return 0;
}
