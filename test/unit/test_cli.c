/* test_cli.c - the parts of the command that touch neither store nor server. */
#include "cli/bytes_priv.h"
#include "cli/cli_priv.h"
#include "dump/line.h"
#include "cli/progress_priv.h"

#include "base/entry.h"

#include "tap.h"

#include <string.h>

static const struct cli_environment no_environment;

/* Parse up to five words; the caller frees. */
static bool parse(struct cli_args *args, struct quern_error *err, const char *w1, const char *w2,
                  const char *w3, const char *w4, const char *w5)
{
    const char *words[] = {"quern", w1, w2, w3, w4, w5};
    int argc = 1;

    while (argc < 6 && words[argc] != NULL)
        argc++;
    return args_parse(argc, (char **)words, &no_environment, args, err);
}

TEST(cli_options_stand_before_and_after_the_verb)
{
    struct cli_args args;
    struct quern_error err;

    CHECK(parse(&args, &err, "--db", "/srv/db", "get", "--json", "key1"));
    CHECK_EQ(args.verb, VERB_GET);
    CHECK(args.json && strcmp(args.db, "/srv/db") == 0 && args.url == NULL);
    CHECK_BYTES(args.key, "key1");
    args_done(&args);
    CHECK(parse(&args, &err, "set", "k", "v", "--ttl", "90s"));
    CHECK_EQ(args.ttl_ms, 90000);
    args_done(&args);
    CHECK(!parse(&args, &err, "set", "k", "v", "--ttl=soon", NULL));
    CHECK(strstr(err.text, "--ttl wants") != NULL);
    args_done(&args);
    CHECK(!parse(&args, &err, "set", "k", "v", "--ttl=0s", NULL));
    args_done(&args);
    CHECK(parse(&args, &err, "scan", "--db=x", "--prefix=a=b", "--limit", "7"));
    CHECK_EQ(args.limit, 7);
    CHECK_BYTES(args.prefix, "a=b");
    CHECK(strcmp(args.db, "x") == 0);
    args_done(&args);
}

TEST(cli_a_key_may_begin_with_a_dash_after_two_dashes)
{
    struct cli_args args;
    struct quern_error err;

    CHECK(!parse(&args, &err, "get", "-key", NULL, NULL, NULL));
    args_done(&args);
    CHECK(parse(&args, &err, "get", "--", "-key", NULL, NULL));
    CHECK_BYTES(args.key, "-key");
    args_done(&args);
    CHECK(parse(&args, &err, "set", "a", "-", NULL, NULL));
    CHECK(strcmp(args.words[1], "-") == 0);
    args_done(&args);
}

TEST(cli_hex_keys_become_bytes)
{
    struct cli_args args;
    struct quern_error err;

    CHECK(parse(&args, &err, "get", "--hex", "00fF61", NULL, NULL));
    CHECK_EQ(args.key.len, 3);
    CHECK(memcmp(args.key.data, "\x00\xff\x61", 3) == 0);
    args_done(&args);
    CHECK(!parse(&args, &err, "get", "--hex", "0", NULL, NULL));
    args_done(&args);
    CHECK(!parse(&args, &err, "scan", "--prefix", "0g", "--hex", NULL));
    args_done(&args);
}

TEST(cli_a_mistyped_word_gets_a_hint)
{
    static const struct {
        const char *words[3];
        const char *hint;
    } typos[] = {
        {{"gte", "a"}, "\"get\""},
        {{"put", "a", "b"}, "\"set\""},
        {{"stat"}, "\"stats\""},
        {{"checkpiont", "x"}, "\"checkpoint\""},
        {{"scan", "--prefx", "a"}, "--prefix"},
        {{"scan", "--limt=3"}, "--limit"},
        {{"get", "a", "--keys-only"}, "get has no option --keys-only"},
        {{"get"}, "get takes KEY"},
        {{"scan", "--limit", "-1"}, "wants a number"},
        {{"get", "k", "--ttl=1h"}, "no option --ttl"},
        {{"scan", "--limit"}, "needs a value"},
        {{"get", "--json=1", "a"}, "takes no value"},
        {{"get", ""}, "a key has 1 to"},
        {{"del"}, "every key"},
        {{"del", "--prefix", ""}, "every key"},
        {{"del", "--start="}, "every key"},
        {{"del", "a", "--prefix=b"}, "or a range"},
        {{"del", "--all", "--end=b"}, "or --all"},
        {{"frobnicate"}, "see quern --help"},
        {{NULL}, "which verb?"},
    };

    for (size_t i = 0; i < ARRAY_LEN(typos); i++) {
        struct cli_args args;
        struct quern_error err = {0};
        bool good =
            parse(&args, &err, typos[i].words[0], typos[i].words[1], typos[i].words[2], NULL, NULL);

        args_done(&args);
        if (good || strstr(err.text, typos[i].hint) == NULL) {
            tap_fail(__FILE__, __LINE__, "case %zu: '%s' lacks '%s'", i, err.text, typos[i].hint);
            return;
        }
    }
}

TEST(cli_the_place_comes_from_option_then_environment_then_default)
{
    static const struct cli_environment both = {"/env/db", "http://env", NULL};
    static const struct cli_environment only_db = {"/env/db", "", NULL};
    static const char *count[] = {"quern", "count"}, *db[] = {"quern", "count", "--db", "d"},
                      *two[] = {"quern", "count", "--db=d", "--url=u"};
    struct cli_args args;
    struct quern_error err;

    CHECK(args_parse(2, (char **)count, &both, &args, &err));
    CHECK(args.db == NULL && strcmp(args.url, "http://env") == 0);
    CHECK(args_parse(2, (char **)count, &only_db, &args, &err));
    CHECK(args.url == NULL && strcmp(args.db, "/env/db") == 0);
    CHECK(args_parse(2, (char **)count, &no_environment, &args, &err));
    CHECK(strcmp(args.db, "data") == 0);
    CHECK(args_parse(4, (char **)db, &both, &args, &err));
    CHECK(args.url == NULL && strcmp(args.db, "d") == 0);
    CHECK(!args_parse(4, (char **)two, &both, &args, &err));
}

TEST(cli_escapes_keep_a_line_a_line)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"plain", "plain"},
        {"a\tb\n", "a\\x09b\\x0A"},
        {"back\\slash", "back\\x5Cslash"},
        {"gr\xc3\xbc", "gr\xc3\xbc"},
        {"\xff\xc3", "\\xFF\\xC3"},
        {"\xc2\x9b[31m", "\\xC2\\x9B[31m"},
        {"\xed\xa0\x80", "\\xED\\xA0\\x80"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\x7f", "\\x7F"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text OWNED_BUF = {0};
        struct quern_error err;

        CHECK_OK(bytes_to_escaped(QUERN_STR(cases[i].bytes), &text, &err), &err);
        CHECK_BYTES(buf_slice(&text), cases[i].text);
    }
}

TEST(cli_no_bytes_become_no_text)
{
    struct buf text OWNED_BUF = {0};
    struct quern_slice none = {NULL, 0};
    struct quern_error err;

    CHECK_OK(bytes_to_escaped(none, &text, &err), &err);
    CHECK_OK(bytes_to_percent(none, &text, &err), &err);
    CHECK_OK(bytes_of_hex(none, &text, &err), &err);
    CHECK_EQ(text.len, 0);
}

TEST(cli_percent_encoding_leaves_only_unreserved_letters)
{
    struct buf text OWNED_BUF = {0};
    struct quern_error err;

    CHECK_OK(bytes_to_percent(slice_of("a/b c+\xff\0~", 9), &text, &err), &err);
    CHECK_BYTES(buf_slice(&text), "a%2Fb%20c%2B%FF%00~");
}

TEST(cli_a_dump_line_reads_back_what_was_written)
{
    uint64_t random = tap_seed();

    for (int round = 0; round < 2000; round++) {
        struct dump_line line OWNED_DUMP_LINE = {0};
        struct buf text OWNED_BUF = {0};
        struct quern_error err;
        uint8_t bytes[64];
        /* Half of the rounds stay in ASCII, so that both spellings are used. */
        uint8_t mask = round % 2 != 0 ? 0x7f : 0xff;
        struct quern_slice key = slice_of(bytes, 1 + tap_random(&random) % 31);
        struct quern_slice value = slice_of(bytes + 32, tap_random(&random) % 33);
        uint64_t expires_ms = round % 3 == 0 ? 0 : tap_random(&random) >> 1;

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)tap_random(&random) & mask;
        CHECK_OK(dump_line_entry(0, key, &value, expires_ms, &text, &err), &err);
        CHECK_EQ(text.data[text.len - 1], '\n');
        CHECK(memchr(text.data, '\n', text.len - 1) == NULL);
        CHECK_OK(dump_line_parse(slice_of(text.data, text.len - 1), &line, &err), &err);
        CHECK(!line.end && key_equal(buf_slice(&line.key), key));
        CHECK(key_equal(buf_slice(&line.value), value));
        CHECK_EQ(line.expires_ms, expires_ms);
    }
}

TEST(cli_a_dump_line_spells_utf8_as_text_and_the_rest_in_base64)
{
    struct buf text OWNED_BUF = {0};
    struct quern_slice value = slice_of("\x00\xff", 2);
    struct quern_error err;

    CHECK_OK(dump_line_entry(0, QUERN_STR("gr\xc3\xbc\x01"), &value, 0, &text, &err), &err);
    CHECK_BYTES(buf_slice(&text), "{\"key\":\"gr\xc3\xbc\\u0001\",\"value_b64\":\"AP8=\"}\n");
    buf_clear(&text);
    CHECK_OK(dump_line_entry(0, QUERN_STR("a"), &value, 1700000000123, &text, &err), &err);
    CHECK_BYTES(buf_slice(&text),
                "{\"key\":\"a\",\"value_b64\":\"AP8=\",\"expires_ms\":1700000000123}\n");
    buf_clear(&text);
    CHECK_OK(dump_line_end(17, 0xabc, 0, &text, &err), &err);
    CHECK_BYTES(buf_slice(&text), "{\"end\":true,\"count\":17,\"xxh3\":\"0000000000000abc\"}\n");
    buf_clear(&text);
    CHECK_OK(dump_line_end(0, 1, 9, &text, &err), &err);
    CHECK_BYTES(buf_slice(&text),
                "{\"end\":true,\"rev\":9,\"count\":0,\"xxh3\":\"0000000000000001\"}\n");
}

TEST(cli_a_damaged_dump_line_is_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "1",
        "{}",
        "{\"key\":\"a\"}",
        "{\"value\":\"a\"}",
        "{\"key\":\"\",\"value\":\"a\"}",
        "{\"key\":1,\"value\":\"a\"}",
        "{\"key\":\"a\",\"value\":\"b\",\"ttl\":1}",
        "{\"key\":\"a\",\"value\":\"b\",\"expires_ms\":0}",
        "{\"key\":\"a\",\"value\":\"b\",\"expires_ms\":-1}",
        "{\"key\":\"a\",\"value\":\"b\",\"expires_ms\":1.5}",
        "{\"key\":\"a\",\"value\":\"b\",\"expires_ms\":\"1\"}",
        "{\"key\":\"a\",\"key\":\"b\",\"value\":\"\"}",
        "{\"key\":\"a\",\"key_b64\":\"AAAA\",\"value\":\"\"}",
        "{\"key_b64\":\"A\",\"value\":\"\"}",
        "{\"key\":\"a\",\"value\":\"b\"} x",
        "{\"end\":true}",
        "{\"end\":true,\"count\":1}",
        "{\"end\":false,\"count\":1,\"xxh3\":\"0123456789abcdef\"}",
        "{\"end\":true,\"count\":-1,\"xxh3\":\"0123456789abcdef\"}",
        "{\"end\":true,\"count\":1,\"xxh3\":\"0123456789abcde\"}",
        "{\"end\":true,\"count\":1,\"xxh3\":\"0123456789abcdeg\"}",
        "{\"end\":true,\"count\":1,\"xxh3\":\"0123456789abcdef\",\"key\":\"a\"}",
        "{\"key\":\"\xff\",\"value\":\"\"}",
        "{\"end\":true,\"count\":1,\"xxh3\":\"0123456789abcdef\",\"rev\":-1}",
        "{\"end\":true,\"count\":1,\"xxh3\":\"0123456789abcdef\",\"rev\":1,\"x\":1}",
        "{\"key\":\"a\",\"value\":\"\",\"expires_at\":\"tomorrow\"}",
        "{\"key\":\"a\",\"value\":\"\",\"expires_at\":1700000000123}",
        "{\"key\":\"a\",\"value\":\"\",\"expires_at\":\"1970-01-01T00:00:00Z\"}",
        "{\"key\":\"a\",\"value\":\"\",\"expires_at\":\"2026-11-22T12:00:00Z\",\"expires_ms\":1}",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct dump_line line OWNED_DUMP_LINE = {0};
        struct quern_error err;

        if (dump_line_parse(QUERN_STR(bad[i]), &line, &err) != QUERN_INVALID) {
            tap_fail(__FILE__, __LINE__, "accepted: %s", bad[i]);
            return;
        }
    }
}

TEST(cli_an_expiry_may_be_written_as_a_date)
{
    struct dump_line line OWNED_DUMP_LINE = {0};
    struct quern_error err;

    CHECK_OK(dump_line_parse(QUERN_STR("{\"key\":\"a\",\"value\":\"\",\"expires_at\":"
                                       "\"2026-11-22T12:34:56.789Z\"}"),
                             &line, &err),
             &err);
    CHECK_EQ(line.expires_ms, UINT64_C(1795350896789));
}

TEST(cli_a_progress_line_fits_its_width_at_any_size)
{
    static const uint64_t sizes[] = {0, 1, 1023, 1 << 20, UINT64_C(5) << 40, UINT64_MAX};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            char line[80];

            progress_line(line, 79, "compact", PROGRESS_BYTES, sizes[i], sizes[k], 1 + i);
            CHECK(strlen(line) <= 79);
            progress_line(line, 79, "load", PROGRESS_ENTRIES, sizes[i], sizes[k], i);
            CHECK(strlen(line) <= 79);
        }
    }
}
