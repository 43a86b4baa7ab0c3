/* syntax.c - the arguments of commands, as people write them down; COMMAND DOCS tells them to
 * redis-cli, which makes its hints of them, and docs/resp.md shows them.
 *
 *     SET  key value [NX|XX] [GET] [EX seconds|PX milliseconds|KEEPTTL]
 *
 *     word           an argument        WORD           a word that stands as it is
 *     WORD word      an argument behind that word
 *     [ ... ]        may be left out    ( ... )        belongs together
 *     a|b            one of them        ...            and so on
 *
 * Each is judged by the code of its command alone; what stands here is for readers. */
#include "server/redis/handlers.h"

#include "base/error.h"

#include <ctype.h>
#include <string.h>

static const struct {
    const char *name, *syntax;
} syntaxes[] = {
    {"acl|cat", "[category]"},
    {"acl|deluser", "username ..."},
    {"acl|dryrun", "username command [arg ...]"},
    {"acl|genpass", "[bits]"},
    {"acl|getuser", "username"},
    {"acl|log", "[count|RESET]"},
    {"acl|setuser", "username [rule ...]"},
    {"append", "key value"},
    {"auth", "[username] password"},
    {"bgsave", "[SCHEDULE]"},
    {"client|kill", "(ip:port|([ID client-id] [TYPE type] [USER username] [ADDR ip:port] "
                    "[LADDR ip:port] [SKIPME yes/no]))"},
    {"client|list", "[TYPE type] [ID client-id ...]"},
    {"client|no-evict", "(ON|OFF)"},
    {"client|no-touch", "(ON|OFF)"},
    {"client|pause", "timeout [WRITE|ALL]"},
    {"client|reply", "(ON|OFF|SKIP)"},
    {"client|setinfo", "(LIB-NAME libname|LIB-VER libver)"},
    {"client|setname", "connection-name"},
    {"client|tracking", "(ON|OFF) [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] "
                        "[OPTOUT] [NOLOOP]"},
    {"command|docs", "[command-name ...]"},
    {"command|getkeys", "command [arg ...]"},
    {"command|info", "[command-name ...]"},
    {"command|list", "[FILTERBY (MODULE module-name|PATTERN pattern)]"},
    {"config|get", "parameter ..."},
    {"config|set", "(parameter value) ..."},
    {"copy", "key destination [DB destination-db] [REPLACE]"},
    {"decr", "key"},
    {"decrby", "key decrement"},
    {"del", "key ..."},
    {"dump", "key"},
    {"echo", "message"},
    {"exists", "key ..."},
    {"expire", "key seconds [NX|XX|GT|LT]"},
    {"expireat", "key unix-time-seconds [NX|XX|GT|LT]"},
    {"expiretime", "key"},
    {"flushall", "[ASYNC|SYNC]"},
    {"flushdb", "[ASYNC|SYNC]"},
    {"function|flush", "[ASYNC|SYNC]"},
    {"function|list", "[LIBRARYNAME pattern] [WITHCODE]"},
    {"get", "key"},
    {"getdel", "key"},
    {"getex", "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|"
              "PXAT unix-time-milliseconds|PERSIST]"},
    {"getrange", "key start end"},
    {"getset", "key value"},
    {"hello", "[protover [AUTH (username password)] [SETNAME clientname]]"},
    {"incr", "key"},
    {"incrby", "key increment"},
    {"incrbyfloat", "key increment"},
    {"info", "[section ...]"},
    {"keys", "pattern"},
    {"latency|graph", "event"},
    {"latency|histogram", "[command ...]"},
    {"latency|history", "event"},
    {"latency|reset", "[event ...]"},
    {"lcs", "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]"},
    {"memory|usage", "key [SAMPLES count]"},
    {"mget", "key ..."},
    {"move", "key db"},
    {"mset", "(key value) ..."},
    {"msetnx", "(key value) ..."},
    {"object|encoding", "key"},
    {"object|freq", "key"},
    {"object|idletime", "key"},
    {"object|refcount", "key"},
    {"persist", "key"},
    {"pexpire", "key milliseconds [NX|XX|GT|LT]"},
    {"pexpireat", "key unix-time-milliseconds [NX|XX|GT|LT]"},
    {"pexpiretime", "key"},
    {"ping", "[message]"},
    {"psetex", "key milliseconds value"},
    {"pttl", "key"},
    {"quern.count", "start end"},
    {"quern.delrange", "start end"},
    {"quern.range", "start end [LIMIT count] [REV]"},
    {"rename", "key newkey"},
    {"renamenx", "key newkey"},
    {"restore", "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"},
    {"scan", "cursor [MATCH pattern] [COUNT count] [TYPE type]"},
    {"select", "index"},
    {"set", "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|"
            "PXAT unix-time-milliseconds|KEEPTTL]"},
    {"setex", "key seconds value"},
    {"setnx", "key value"},
    {"setrange", "key offset value"},
    {"shutdown", "[NOSAVE|SAVE] [NOW] [FORCE] [ABORT]"},
    {"slowlog|get", "[count]"},
    {"strlen", "key"},
    {"substr", "key start end"},
    {"swapdb", "index1 index2"},
    {"touch", "key ..."},
    {"ttl", "key"},
    {"type", "key"},
    {"unlink", "key ..."},
    {"wait", "numreplicas timeout"},
    {"watch", "key ..."},
};

const char *command_syntax(const struct command *command)
{
    char name[COMMAND_NAME_BYTES];
    unsigned low = 0, high = ARRAY_LEN(syntaxes);

    (void)command_full_name(command, name);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = strcmp(name, syntaxes[middle].name);

        if (order == 0)
            return syntaxes[middle].syntax;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return "";
}

/* ------------------------------------------------------------------ for COMMAND DOCS -- */

/* A piece of a syntax, and what may be said of it. */
struct piece {
    struct quern_slice words; /* inside its brackets */
    struct quern_slice token; /* before it; empty: none */
    bool bracketed, optional, many;
};

static bool is_token(struct quern_slice word)
{
    const char *letters = word.data;

    for (size_t i = 0; i < word.len; i++) {
        if (islower((unsigned char)letters[i]) != 0)
            return false;
    }
    return word.len > 0;
}

/* Up to the first of `ends` that stands in no brackets, or all. */
static size_t reach(struct quern_slice s, const char *ends)
{
    const char *letters = s.data;
    int depth = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (depth == 0 && strchr(ends, letters[i]) != NULL)
            return i;
        depth += letters[i] == '[' || letters[i] == '(';
        depth -= letters[i] == ']' || letters[i] == ')';
    }
    return s.len;
}

static struct quern_slice rest(struct quern_slice s, size_t from)
{
    return (struct quern_slice){(const char *)s.data + from, s.len - from};
}

/* The next word or bracket. */
static struct quern_slice take_word(struct quern_slice *s)
{
    struct quern_slice word = {s->data, reach(*s, " ")};

    *s = rest(*s, word.len < s->len ? word.len + 1 : word.len);
    return word;
}

static bool begins_with(struct quern_slice s, const char *text)
{
    return s.len >= strlen(text) && memcmp(s.data, text, strlen(text)) == 0;
}

static struct piece take_piece(struct quern_slice *s)
{
    struct piece p = {.words = take_word(s)};

    if (is_token(p.words) && s->len > 0 && !begins_with(*s, "[") && !begins_with(*s, "...")) {
        p.token = p.words;
        p.words = take_word(s);
    }
    p.optional = begins_with(p.words, "[");
    p.bracketed = p.optional || begins_with(p.words, "(");
    if (p.bracketed)
        p.words = (struct quern_slice){(const char *)p.words.data + 1, p.words.len - 2};
    if (begins_with(*s, "...")) {
        p.many = true;
        (void)take_word(s);
    }
    return p;
}

static void put_sequence(struct resp_out *out, struct quern_slice words);

static void put_flags(struct resp_out *out, const struct piece *p)
{
    resp_put_text(out, "flags");
    resp_put_array(out, (size_t)p->optional + p->many);
    if (p->optional)
        resp_put_simple(out, "optional");
    if (p->many)
        resp_put_simple(out, "multiple");
}

static const char *type_of(struct quern_slice name)
{
    static const char *const numbers[] = {"seconds", "milliseconds", "count",     "offset",
                                          "start",   "end",          "decrement", "index",
                                          "timeout", "numreplicas",  "cursor",    "ttl"};

    if (begins_with(name, "key") || begins_with(name, "newkey") ||
        (begins_with(name, "destination") && name.len == strlen("destination")))
        return "key";
    if (begins_with(name, "unix-time"))
        return "unix-time";
    if (begins_with(name, "pattern"))
        return "pattern";
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
        if (resp_same_word(name, numbers[i]))
            return "integer";
    }
    return is_token(name) ? "pure-token" : "string";
}

/* One argument: {name, type, [token], [flags], [arguments]}. */
static void put_piece(struct resp_out *out, const struct piece *p)
{
    bool choice = reach(p->words, "|") < p->words.len;
    bool block = !choice && reach(p->words, " ") < p->words.len;
    bool token = p->token.len > 0 || (!choice && !block && is_token(p->words));
    bool flags = p->optional || p->many;

    resp_put_map(out, 2 + (size_t)token + flags + (choice || block));
    resp_put_text(out, "name");
    if (choice || block)
        resp_put_text(out, choice ? "choice" : "block");
    else
        resp_put_bulk(out, p->words);
    resp_put_text(out, "type");
    resp_put_text(out, choice ? "oneof" : block ? "block" : type_of(p->words));
    if (token) {
        resp_put_text(out, "token");
        resp_put_bulk(out, p->token.len > 0 ? p->token : p->words);
    }
    if (flags)
        put_flags(out, p);
    if (choice || block) {
        resp_put_text(out, "arguments");
        put_sequence(out, p->words);
    }
}

/* Of brackets that hold a single piece it is that piece which may be left out. */
static struct piece simplest(struct piece p)
{
    struct quern_slice left = p.words;
    struct piece inner;

    if (!p.bracketed || p.token.len > 0 || reach(p.words, "|") < p.words.len)
        return p;
    inner = take_piece(&left);
    if (left.len > 0)
        return p;
    inner.optional |= p.optional;
    inner.many |= p.many;
    return inner;
}

/* The alternatives, or the pieces one after the other, as an array. */
static void put_sequence(struct resp_out *out, struct quern_slice words)
{
    bool choice = reach(words, "|") < words.len;
    struct buf text OWNED_BUF = {0};
    struct resp_out list = {&text, out->proto, false};
    size_t n = 0;

    for (; words.len > 0; n++) {
        struct piece p;

        if (choice) {
            size_t len = reach(words, "|");

            p = (struct piece){.words = {words.data, len}, .bracketed = true};
            words = rest(words, len < words.len ? len + 1 : len);
        } else {
            p = take_piece(&words);
        }
        p = simplest(p);
        put_piece(&list, &p);
    }
    resp_put_array(out, n);
    resp_put_raw(out, text.data, text.len);
    out->failed |= list.failed;
}

void command_put_arguments(struct resp_out *out, const struct command *command)
{
    const char *syntax = command_syntax(command);

    put_sequence(out, (struct quern_slice){syntax, strlen(syntax)});
}
