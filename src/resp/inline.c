/* inline.c - a request as a person types it: words, with quotes where they are needed.
 *
 *     SET "a key" 'it''s' plain\n        quotes may begin inside a word, and must end at its end
 *     "\x00\n\r\t\b\a\"\\"               escapes, in double quotes only; \' in single ones
 *
 * A NUL byte ends the line, as it does for Redis. */
#include "resp/resp_priv.h"

#include <ctype.h>

struct reader {
    const uint8_t *at, *end;
    struct resp_request *r;
    bool no_memory;
};

static int letter(const struct reader *p, size_t ahead)
{
    return (size_t)(p->end - p->at) > ahead ? p->at[ahead] : 0;
}

static bool is_space(int c)
{
    return c != 0 && isspace(c) != 0;
}

static void take(struct reader *p, int c, size_t letters)
{
    uint8_t byte = (uint8_t)c;
    struct quern_error err;

    if (buf_append(&p->r->text, &byte, 1, &err) != QUERN_OK)
        p->no_memory = true;
    p->at += letters;
}

static int hex(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c - 'A' + 10;
}

static void take_escape(struct reader *p)
{
    static const char names[] = "nrtba", bytes[] = "\n\r\t\b\a";
    int c = letter(p, 1);
    const char *name;

    if (c == 'x' && isxdigit(letter(p, 2)) != 0 && isxdigit(letter(p, 3)) != 0) {
        take(p, 16 * hex(letter(p, 2)) + hex(letter(p, 3)), 4);
        return;
    }
    name = strchr(names, c);
    take(p, name != NULL ? bytes[name - names] : c, 2);
}

/* From behind the opening quote to behind the closing one; false: it does not close, or something
 * follows it at once. */
static bool take_quoted(struct reader *p, int quote)
{
    for (;;) {
        int c = letter(p, 0);

        if (c == 0)
            return false;
        if (c == quote) {
            p->at++;
            return letter(p, 0) == 0 || is_space(letter(p, 0));
        }
        if (c == '\\' && letter(p, 1) != 0 && quote == '"')
            take_escape(p);
        else if (c == '\\' && letter(p, 1) == '\'' && quote == '\'')
            take(p, '\'', 2);
        else
            take(p, c, 1);
    }
}

static bool take_word(struct reader *p)
{
    for (;;) {
        int c = letter(p, 0);

        if (c == 0 || is_space(c))
            return true;
        if (c == '"' || c == '\'') {
            p->at++;
            return take_quoted(p, c);
        }
        take(p, c, 1);
    }
}

enum resp_verdict inline_split(struct resp_request *r, struct quern_slice line)
{
    struct reader p = {line.data, (const uint8_t *)line.data + line.len, r, false};

    for (;;) {
        size_t from = r->text.len;

        while (is_space(letter(&p, 0)))
            p.at++;
        if (letter(&p, 0) == 0)
            return RESP_DONE;
        if (!take_word(&p))
            return request_bad(r, "Protocol error: unbalanced quotes in request");
        if (p.no_memory || !request_push(r, from, r->text.len - from))
            return RESP_NO_MEMORY;
    }
}
