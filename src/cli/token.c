/* token.c - quern token: makes, lists and revokes the tokens of a file that quernd reads
 * (--token-file; access/access.h has its lines).
 *
 * The file is edited as text, so comments and what was written by hand stay; it is replaced whole,
 * under a lock, and only if a server would take it. A token is printed once and kept nowhere. */
#include "cli/cli_priv.h"

#include "access/access.h"
#include "base/error.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

struct token_file {
    const char *path;
    struct buf text;
    struct access *list;
    int lock;
};

static void token_file_done(struct token_file *f)
{
    buf_done(&f->text);
    access_unref(f->list);
    if (f->lock >= 0)
        (void)close(f->lock);
}

/* Read it; one that is not there has no tokens. */
static enum quern_code token_file_read(struct token_file *f, bool to_change,
                                       struct quern_error *err)
{
    enum quern_code code;

    if (to_change) {
        f->lock = access_lock(f->path, err);
        if (f->lock < 0)
            return err->code;
    }
    code = access_load(f->path, &f->text, NULL, err);
    if (code != QUERN_OK && !(to_change && code == QUERN_NO_STORE))
        return code;
    if (access_read(buf_slice(&f->text), &f->list, err))
        return err_in(err, "%s", f->path);
    return QUERN_OK;
}

/* Only what a server would take is written. */
static enum quern_code token_file_write(const struct token_file *f, const struct buf *text,
                                        struct quern_error *err)
{
    struct access *list OWNED(access_unref) = NULL;

    if (access_read(buf_slice(text), &list, err))
        return err_in(err, "%s would not be well", f->path);
    return access_store(f->path, buf_slice(text), err);
}

/* "90d", "12h", or a date. */
static bool read_expiry(const char *text, int64_t *out)
{
    uint64_t n = 0;
    size_t at = 0;

    for (; text[at] >= '0' && text[at] <= '9' && at < 7; at++)
        n = n * 10 + (uint64_t)(text[at] - '0');
    if (at > 0 && (strcmp(text + at, "d") == 0 || strcmp(text + at, "h") == 0)) {
        *out = time(NULL) + (int64_t)n * (text[at] == 'd' ? 86400 : 3600);
        return true;
    }
    return access_time_read(QUERN_STR(text), out);
}

/* The line that the command line asks for, but for the hash. */
static enum quern_code user_of(const struct cli_args *args, struct access_user *u,
                               struct quern_error *err)
{
    struct quern_slice name = QUERN_STR(args->words[2]);

    *u = (struct access_user){.scopes = ACCESS_READ, .expires_at = INT64_MAX};
    if (!access_name_is_well(name))
        return err_set(err, QUERN_INVALID, "a name has 1 to 64 letters, digits or . _ -");
    memcpy(u->name, name.data, name.len);
    if (args->scopes != NULL && !access_scopes_read(QUERN_STR(args->scopes), &u->scopes))
        return err_set(err, QUERN_INVALID, "--scopes wants read, write and admin, with commas");
    if (args->expires != NULL && !read_expiry(args->expires, &u->expires_at))
        return err_set(err, QUERN_INVALID, "--expires wants 90d, 12h, or a date as 2027-01-31");
    if (args->prefix.len > 0) {
        u->prefixes[0] = args->prefix;
        u->prefix_count = 1;
    }
    return QUERN_OK;
}

static enum quern_code create(struct token_file *f, const struct cli_args *args,
                              struct quern_error *err)
{
    char token[ACCESS_TOKEN_BYTES + 1];
    struct access_user u;

    if (user_of(args, &u, err) || token_file_read(f, true, err))
        return err->code;
    if (access_named(f->list, QUERN_STR(u.name)) != NULL)
        return err_set(err, QUERN_EXISTS, "%s has a token %s already; revoke it first", f->path,
                       u.name);
    if (access_make_token(token, err))
        return err->code;
    access_hash(QUERN_STR(token), u.hash);
    if (f->text.len > 0 && f->text.data[f->text.len - 1] != '\n' &&
        buf_append(&f->text, "\n", 1, err))
        return err->code;
    if (access_line(&u, &f->text, err) || token_file_write(f, &f->text, err))
        return err->code;
    if (args->json)
        out_text("{\"name\":\"%s\",\"token\":\"%s\"}\n", u.name, token);
    else
        out_text("%s\n", token);
    return QUERN_OK;
}

static void list_one(const struct access_user *u, bool json)
{
    char scopes[ACCESS_SCOPES_BYTES], when[32] = "never";
    const char *state = access_counts(u, time(NULL)) ? "" : u->off ? "off" : "expired";
    time_t at = (time_t)u->expires_at;
    struct tm tm;

    if (u->expires_at != INT64_MAX && gmtime_r(&at, &tm) != NULL)
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)access_scopes_name(u->scopes, scopes);
    if (json) {
        out_text("{\"name\":\"%s\",\"scopes\":\"%s\",\"expires\":\"%s\",\"counts\":%s}\n", u->name,
                 scopes, when, *state == '\0' ? "true" : "false");
        return;
    }
    out_text("%s\t%s\texpires %s\t", u->name, scopes, when);
    if (u->prefix_count == 0)
        out_text("all keys");
    for (size_t i = 0; i < u->prefix_count; i++) {
        if (i > 0)
            out_text(" ");
        out_escaped(u->prefixes[i]);
    }
    out_text(*state != '\0' ? "\t%s\n" : "%s\n", state);
}

static enum quern_code list(struct token_file *f, const struct cli_args *args,
                            struct quern_error *err)
{
    if (token_file_read(f, false, err))
        return err->code;
    for (size_t i = 0; i < access_count(f->list); i++)
        list_one(access_at(f->list, i), args->json);
    return QUERN_OK;
}

/* Is the line that of the name? Comments and all else stay. */
static bool is_of(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name), from = 0;

    while (from < len && (line[from] == ' ' || line[from] == '\t'))
        from++;
    return len - from > n && memcmp(line + from, name, n) == 0 &&
           (line[from + n] == ' ' || line[from + n] == '\t');
}

static enum quern_code take_out(struct token_file *f, const struct cli_args *args,
                                struct quern_error *err)
{
    struct buf left OWNED_BUF = {0};
    const char *s;

    if (token_file_read(f, true, err))
        return err->code;
    if (access_named(f->list, QUERN_STR(args->words[2])) == NULL)
        return err_set(err, QUERN_NOT_FOUND, "%s has no token %s", f->path, args->words[2]);
    s = (const char *)f->text.data;
    for (size_t at = 0; at < f->text.len;) {
        const char *end = memchr(s + at, '\n', f->text.len - at);
        size_t len = end != NULL ? (size_t)(end - s) + 1 - at : f->text.len - at;

        if (!is_of(s + at, len, args->words[2]) && buf_append(&left, s + at, len, err))
            return err->code;
        at += len;
    }
    return token_file_write(f, &left, err);
}

enum cli_exit token_run(const struct cli_args *args)
{
    static const struct {
        const char *word;
        size_t words;
        enum quern_code (*run)(struct token_file *f, const struct cli_args *args,
                               struct quern_error *err);
    } actions[] = {{"create", 3, create}, {"list", 2, list}, {"revoke", 3, take_out}};
    struct token_file f = {.path = args->words[1], .lock = -1};
    struct quern_error err = {0};
    enum quern_code code = QUERN_OK;

    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (strcmp(args->words[0], actions[i].word) != 0 || args->word_count != actions[i].words)
            continue;
        code = actions[i].run(&f, args, &err);
        token_file_done(&f);
        return code == QUERN_OK ? EXIT_GOOD : cli_fail(&err, false);
    }
    (void)err_set(&err, QUERN_INVALID,
                  "token is followed by create FILE NAME, list FILE, or revoke FILE NAME");
    return cli_fail(&err, false);
}
