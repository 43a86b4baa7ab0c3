/* args.c - the command line, understood: one table of verbs, one of options, one pass.
 *
 *     quern [OPTION | WORD]...      the first word is the verb; options may stand anywhere
 *
 * An option is known to some verbs; before the verb has been read it may be any, so options are
 * noted on the way and held against the verb at the end. "--name=value" and "--name value" are the
 * same; "--" makes everything after it a word. Pure: no printing, no environment. */
#include "cli/bytes_priv.h"
#include "cli/cli_priv.h"

#include "base/entry.h"
#include "base/error.h"
#include "base/near.h"
#include "base/when.h"

#include <string.h>

#define RANGE_VERBS (VERB_SCAN | VERB_COUNT | VERB_COMPACT | VERB_DUMP | VERB_DEL)
#define ANY_VERB (~0u)

static const struct {
    const char *name;
    enum cli_verb verb;
    size_t words_min, words_max;
    const char *words; /* for messages */
} verbs[] = {
    {"get", VERB_GET, 1, 1, "KEY"},
    {"set", VERB_SET, 2, 2, "KEY VALUE"},
    {"del", VERB_DEL, 0, 1, "KEY, or a range"},
    {"scan", VERB_SCAN, 0, 0, "no words"},
    {"count", VERB_COUNT, 0, 0, "no words"},
    {"stats", VERB_STATS, 0, 0, "no words"},
    {"verify", VERB_VERIFY, 0, 0, "no words"},
    {"compact", VERB_COMPACT, 0, 0, "no words"},
    {"repair", VERB_REPAIR, 2, 2, "FROM TO"},
    {"checkpoint", VERB_CHECKPOINT, 1, 1, "DIRECTORY"},
    {"dump", VERB_DUMP, 0, 1, "[FILE]"},
    {"load", VERB_LOAD, 0, 1, "[FILE]"},
    {"token", VERB_TOKEN, 2, 3, "create FILE NAME, list FILE, or revoke FILE NAME"},
};

enum option {
    OPT_DB,
    OPT_URL,
    OPT_DATABASE,
    OPT_CACERT,
    OPT_CERT,
    OPT_JSON,
    OPT_HELP,
    OPT_VERSION,
    OPT_READ_ONLY,
    OPT_HEX,
    OPT_NUL,
    OPT_PREFIX,
    OPT_START,
    OPT_END,
    OPT_LIMIT,
    OPT_REVERSE,
    OPT_KEYS_ONLY,
    OPT_SYNC,
    OPT_NO_END,
    OPT_ALL,
    OPT_SCOPES,
    OPT_EXPIRES,
    OPT_TTL,
    OPT_TOKEN_FILE,
    OPTION_COUNT
};

static const struct {
    const char *name;
    char letter; /* '\0': none */
    bool has_value;
    unsigned verbs;
} options[OPTION_COUNT] = {
    [OPT_DB] = {"db", '\0', true, ANY_VERB},
    [OPT_URL] = {"url", '\0', true, ANY_VERB},
    [OPT_DATABASE] = {"database", '\0', true,
                      VERB_GET | VERB_SET | VERB_DEL | VERB_SCAN | VERB_COUNT | VERB_DUMP |
                          VERB_LOAD | VERB_COMPACT},
    [OPT_CACERT] = {"cacert", '\0', true, VERBS_OVER_HTTP},
    [OPT_CERT] = {"cert", '\0', true, VERBS_OVER_HTTP},
    [OPT_JSON] = {"json", '\0', false, ANY_VERB},
    [OPT_HELP] = {"help", 'h', false, ANY_VERB},
    [OPT_VERSION] = {"version", 'V', false, ANY_VERB},
    [OPT_READ_ONLY] = {"read-only", '\0', false,
                       VERB_GET | VERB_SCAN | VERB_COUNT | VERB_STATS | VERB_VERIFY | VERB_DUMP},
    [OPT_HEX] = {"hex", '\0', false, VERB_GET | VERB_SET | VERB_TOKEN | RANGE_VERBS},
    [OPT_NUL] = {"null", '0', false, VERB_SCAN},
    [OPT_PREFIX] = {"prefix", '\0', true, VERB_TOKEN | RANGE_VERBS},
    [OPT_START] = {"start", '\0', true, RANGE_VERBS},
    [OPT_END] = {"end", '\0', true, RANGE_VERBS},
    [OPT_LIMIT] = {"limit", '\0', true, VERB_SCAN},
    [OPT_REVERSE] = {"reverse", '\0', false, VERB_SCAN},
    [OPT_KEYS_ONLY] = {"keys-only", '\0', false, VERB_SCAN},
    [OPT_SYNC] = {"sync", '\0', false, VERB_SET | VERB_DEL | VERB_LOAD},
    [OPT_NO_END] = {"no-end", '\0', false, VERB_LOAD},
    [OPT_ALL] = {"all", '\0', false, VERB_DEL},
    [OPT_SCOPES] = {"scopes", '\0', true, VERB_TOKEN},
    [OPT_EXPIRES] = {"expires", '\0', true, VERB_TOKEN},
    [OPT_TTL] = {"ttl", '\0', true, VERB_SET},
    [OPT_TOKEN_FILE] = {"token-file", '\0', true, VERBS_OVER_HTTP},
};

/* What the pass over argv has seen. */
struct seen {
    bool given[OPTION_COUNT];
    const char *value[OPTION_COUNT]; /* of options that have one */
    const char *words[4];            /* verb first */
    size_t word_count;
};

const char *verb_name(enum cli_verb verb)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (verbs[i].verb == verb)
            return verbs[i].name;
    return "quern";
}

/* Words that people bring along from other stores. */
static const char *translated(const char *word)
{
    static const char *const pairs[][2] = {
        {"put", "set"},           {"delete", "del"},  {"rm", "del"},         {"remove", "del"},
        {"keys", "scan"},         {"list", "scan"},   {"ls", "scan"},        {"info", "stats"},
        {"check", "verify"},      {"fsck", "verify"}, {"recover", "repair"}, {"salvage", "repair"},
        {"backup", "checkpoint"}, {"export", "dump"}, {"import", "load"},    {"restore", "load"},
    };

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (strcmp(pairs[i][0], word) == 0)
            return pairs[i][1];
    return NULL;
}

static bool unknown_verb(const char *word, struct quern_error *err)
{
    const char *best = translated(word);
    size_t best_distance = NEAR_MAX + 1;

    for (size_t i = 0; best == NULL && i < ARRAY_LEN(verbs); i++) {
        size_t d = near_distance(word, strlen(word), verbs[i].name);

        if (d < best_distance)
            best_distance = d;
    }
    for (size_t i = 0; best == NULL && best_distance <= NEAR_MAX && i < ARRAY_LEN(verbs); i++)
        if (near_distance(word, strlen(word), verbs[i].name) == best_distance)
            best = verbs[i].name;
    (void)(best != NULL
               ? err_set(err, QUERN_INVALID, "there is no verb \"%.40s\"; did you mean \"%s\"?",
                         word, best)
               : err_set(err, QUERN_INVALID, "there is no verb \"%.40s\"; see quern --help", word));
    return false;
}

static bool unknown_option(const char *text, size_t len, struct quern_error *err)
{
    const char *best = NULL;
    size_t best_distance = NEAR_MAX + 1;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t d = near_distance(text, len, options[i].name);

        if (d < best_distance) {
            best_distance = d;
            best = options[i].name;
        }
    }
    (void)(best != NULL
               ? err_set(err, QUERN_INVALID, "there is no option --%.*s; did you mean --%s?",
                         (int)len, text, best)
               : err_set(err, QUERN_INVALID, "there is no option --%.*s", len > 40 ? 40 : (int)len,
                         text));
    return false;
}

/* Note one option; `text` is its name and `value` what followed "=", or NULL. *taken is set when
 * the next word was used as the value. */
static bool note_option(struct seen *seen, size_t option, const char *value, const char *next,
                        bool *taken, struct quern_error *err)
{
    const char *name = options[option].name;

    if (seen->given[option] && options[option].has_value) {
        (void)err_set(err, QUERN_INVALID, "--%s was given twice", name);
        return false;
    }
    if (value != NULL && !options[option].has_value) {
        (void)err_set(err, QUERN_INVALID, "--%s takes no value", name);
        return false;
    }
    if (options[option].has_value && value == NULL) {
        if (next == NULL) {
            (void)err_set(err, QUERN_INVALID, "--%s needs a value", name);
            return false;
        }
        value = next;
        *taken = true;
    }
    seen->given[option] = true;
    seen->value[option] = value;
    return true;
}

static bool read_long_option(struct seen *seen, const char *text, const char *next, bool *taken,
                             struct quern_error *err)
{
    const char *equals = strchr(text, '=');
    size_t len = equals != NULL ? (size_t)(equals - text) : strlen(text);

    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strlen(options[i].name) == len && memcmp(options[i].name, text, len) == 0)
            return note_option(seen, i, equals != NULL ? equals + 1 : NULL, next, taken, err);
    return unknown_option(text, len, err);
}

static bool read_short_option(struct seen *seen, const char *text, struct quern_error *err)
{
    bool taken;

    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (options[i].letter != '\0' && text[0] == options[i].letter && text[1] == '\0')
            return note_option(seen, i, NULL, NULL, &taken, err);
    (void)err_set(err, QUERN_INVALID,
                  "there is no option -%.40s (a key that begins with '-' goes after \"--\")", text);
    return false;
}

static bool read_argv(int argc, char **argv, struct seen *seen, struct quern_error *err)
{
    bool only_words = false;

    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool taken = false;

        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (!only_words && strncmp(word, "--", 2) == 0) {
            if (!read_long_option(seen, word + 2, i + 1 < argc ? argv[i + 1] : NULL, &taken, err))
                return false;
            i += taken;
        } else if (!only_words && word[0] == '-' && word[1] != '\0') {
            if (!read_short_option(seen, word + 1, err))
                return false;
        } else if (seen->word_count == ARRAY_LEN(seen->words)) {
            (void)err_set(err, QUERN_INVALID, "too many words: \"%.40s\"", word);
            return false;
        } else {
            seen->words[seen->word_count++] = word;
        }
    }
    return true;
}

/* Bytes of a key on the command line: as they stand, or from hex into `memory`. */
static bool key_bytes(const char *text, bool hex, struct buf *memory, struct quern_slice *out,
                      struct quern_error *err)
{
    *out = QUERN_STR(text);
    if (!hex)
        return true;
    if (bytes_of_hex(*out, memory, err) != QUERN_OK)
        return false;
    *out = buf_slice(memory);
    return true;
}

/* What del removes is said in one way, and never by leaving something out. */
static bool check_del(const struct cli_args *args, const struct seen *seen, struct quern_error *err)
{
    bool bounds = seen->given[OPT_PREFIX] || seen->given[OPT_START] || seen->given[OPT_END];
    bool open = args->prefix.len == 0 && args->start.len == 0 && args->end.len == 0;

    if ((args->word_count != 0) + bounds + args->all > 1)
        (void)err_set(err, QUERN_INVALID, "del takes KEY, or a range, or --all");
    else if (args->word_count == 0 && !args->all && open)
        (void)err_set(err, QUERN_INVALID,
                      "that would remove every key: del takes KEY, or --prefix, --start or --end "
                      "with bytes in it; to remove all say --all");
    else
        return true;
    return false;
}

static bool take_keys(struct cli_args *args, const struct seen *seen, struct quern_error *err)
{
    struct quern_slice *const to[] = {&args->prefix, &args->start, &args->end};
    static const enum option from[] = {OPT_PREFIX, OPT_START, OPT_END};

    for (size_t i = 0; i < ARRAY_LEN(to); i++)
        if (seen->given[from[i]] &&
            !key_bytes(seen->value[from[i]], args->hex, &args->hex_bytes[i], to[i], err))
            return false;
    if (args->verb == VERB_DEL && !check_del(args, seen, err))
        return false;
    if ((args->verb & (VERB_GET | VERB_SET | VERB_DEL)) == 0 || args->word_count == 0)
        return true;
    if (!key_bytes(args->words[0], args->hex, &args->hex_bytes[3], &args->key, err))
        return false;
    if (args->key.len == 0 || args->key.len > QUERN_KEY_BYTES_MAX) {
        (void)err_set(err, QUERN_INVALID, "a key has 1 to %u bytes, not %zu", QUERN_KEY_BYTES_MAX,
                      args->key.len);
        return false;
    }
    return true;
}

/* Which database; load takes each line's own if none is named. */
static bool take_database(struct cli_args *args, const struct seen *seen, struct quern_error *err)
{
    uint64_t number;

    args->database_given = seen->given[OPT_DATABASE];
    if (!args->database_given)
        return true;
    if (!decimal_parse(seen->value[OPT_DATABASE], &number) || number >= QUERN_DATABASES) {
        (void)err_set(err, QUERN_INVALID, "--database wants a number up to %u, not \"%.40s\"",
                      QUERN_DATABASES - 1, seen->value[OPT_DATABASE]);
        return false;
    }
    args->database = (uint8_t)number;
    return true;
}

/* Where the store is: an option before the environment, a directory by default. */
static bool take_place(struct cli_args *args, const struct seen *seen,
                       const struct cli_environment *environment, struct quern_error *err)
{
    if (seen->given[OPT_DB] && seen->given[OPT_URL]) {
        (void)err_set(err, QUERN_INVALID, "--db and --url exclude each other");
        return false;
    }
    if (seen->given[OPT_URL] && seen->value[OPT_URL][0] == '\0') {
        (void)err_set(err, QUERN_INVALID, "--url wants an address, such as http://127.0.0.1:8080");
        return false;
    }
    if (seen->given[OPT_URL])
        args->url = seen->value[OPT_URL];
    else if (seen->given[OPT_DB])
        args->db = seen->value[OPT_DB];
    else if (environment->url != NULL && environment->url[0] != '\0')
        args->url = environment->url;
    else if (environment->db != NULL && environment->db[0] != '\0')
        args->db = environment->db;
    else
        args->db = "data";
    if ((seen->given[OPT_CACERT] || seen->given[OPT_CERT]) && args->url == NULL) {
        (void)err_set(err, QUERN_INVALID, "--cacert and --cert are for --url");
        return false;
    }
    args->cacert = seen->value[OPT_CACERT];
    args->cert = seen->value[OPT_CERT];
    return true;
}

static bool take_verb(struct cli_args *args, const struct seen *seen, struct quern_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, seen->words[0]) != 0)
            continue;
        args->verb = verbs[i].verb;
        if (args->help)
            return true;
        if (seen->word_count - 1 < verbs[i].words_min ||
            seen->word_count - 1 > verbs[i].words_max) {
            (void)err_set(err, QUERN_INVALID, "%s takes %s; see quern %s --help", verbs[i].name,
                          verbs[i].words, verbs[i].name);
            return false;
        }
        return true;
    }
    return unknown_verb(seen->words[0], err);
}

bool args_parse(int argc, char **argv, const struct cli_environment *environment,
                struct cli_args *args, struct quern_error *err)
{
    struct seen seen = {0};

    *args = (struct cli_args){.limit = UINT64_MAX};
    if (!read_argv(argc, argv, &seen, err))
        return false;
    args->help = seen.given[OPT_HELP];
    args->version = seen.given[OPT_VERSION];
    if (seen.word_count == 0) {
        if (args->help || args->version)
            return true;
        (void)err_set(err, QUERN_INVALID, "which verb? see quern --help");
        return false;
    }
    if (!take_verb(args, &seen, err))
        return false;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (seen.given[i] && (options[i].verbs & args->verb) == 0) {
            (void)err_set(err, QUERN_INVALID, "%s has no option --%s", verb_name(args->verb),
                          options[i].name);
            return false;
        }
    }
    args->json = seen.given[OPT_JSON];
    args->nul = seen.given[OPT_NUL];
    args->hex = seen.given[OPT_HEX];
    args->reverse = seen.given[OPT_REVERSE];
    args->keys_only = seen.given[OPT_KEYS_ONLY];
    args->sync = seen.given[OPT_SYNC];
    args->read_only = seen.given[OPT_READ_ONLY];
    args->no_end = seen.given[OPT_NO_END];
    args->all = seen.given[OPT_ALL];
    args->scopes = seen.value[OPT_SCOPES];
    args->expires = seen.value[OPT_EXPIRES];
    args->token_file = seen.value[OPT_TOKEN_FILE];
    args->token = environment->token;
    args->word_count = seen.word_count - 1;
    memcpy(args->words, seen.words + 1, args->word_count * sizeof(seen.words[0]));
    if (seen.given[OPT_LIMIT] && !decimal_parse(seen.value[OPT_LIMIT], &args->limit)) {
        (void)err_set(err, QUERN_INVALID, "--limit wants a number, not \"%.40s\"",
                      seen.value[OPT_LIMIT]);
        return false;
    }
    if (seen.given[OPT_TTL] &&
        (!span_read(QUERN_STR(seen.value[OPT_TTL]), &args->ttl_ms) || args->ttl_ms == 0)) {
        (void)err_set(err, QUERN_INVALID,
                      "--ttl wants 90, 90s, 1500ms, 15m, 12h or 30d, not \"%.40s\"",
                      seen.value[OPT_TTL]);
        return false;
    }
    if (args->help)
        return true;
    if (args->json && args->nul) {
        (void)err_set(err, QUERN_INVALID, "--json and -0 exclude each other");
        return false;
    }
    return take_place(args, &seen, environment, err) && take_database(args, &seen, err) &&
           take_keys(args, &seen, err);
}

void args_done(struct cli_args *args)
{
    for (size_t i = 0; i < ARRAY_LEN(args->hex_bytes); i++)
        buf_done(&args->hex_bytes[i]);
}
