/* glob.c - patterns over names: * ? [a-c] [^x] and \ before a letter that is meant as it stands.
 *
 * Only the last star seen is ever gone back to: what an earlier one could take, the later one can
 * take too. So a pattern of many stars costs the two lengths multiplied, and never more. */
#include "resp/resp.h"

struct pattern {
    const uint8_t *at, *end;
};

/* The class behind '['; goes behind its ']'. One that is not closed ends with the pattern. */
static bool class_has(struct pattern *p, uint8_t c)
{
    bool inverted = p->at < p->end && *p->at == '^', found = false;

    p->at += inverted;
    for (; p->at < p->end && *p->at != ']'; p->at++) {
        if (*p->at == '\\' && p->end - p->at >= 2) {
            p->at++;
            found |= *p->at == c;
        } else if (p->end - p->at >= 3 && p->at[1] == '-') {
            uint8_t low = p->at[0], high = p->at[2];

            found |= low <= high ? c >= low && c <= high : c >= high && c <= low;
            p->at += 2;
        } else {
            found |= *p->at == c;
        }
    }
    p->at += p->at < p->end;
    return found != inverted;
}

/* Does the next piece of the pattern, which is no star, describe `c`? Goes behind it. */
static bool piece_matches(struct pattern *p, uint8_t c)
{
    uint8_t piece = *p->at++;

    if (piece == '?')
        return true;
    if (piece == '[')
        return class_has(p, c);
    if (piece == '\\' && p->at < p->end)
        piece = *p->at++;
    return piece == c;
}

bool resp_glob_matches(struct quern_slice pattern, struct quern_slice s)
{
    struct pattern p = {pattern.data, (const uint8_t *)pattern.data + pattern.len};
    struct pattern star = {NULL, p.end}; /* behind the last star; NULL: none yet */
    const uint8_t *at = s.data, *end = at + s.len, *retry = NULL;

    while (at < end) {
        if (p.at < p.end && *p.at == '*') {
            star.at = ++p.at;
            retry = at;
        } else if (p.at < p.end && piece_matches(&p, *at)) {
            at++;
        } else if (star.at != NULL) {
            p.at = star.at;
            at = ++retry;
        } else {
            return false;
        }
    }
    while (p.at < p.end && *p.at == '*')
        p.at++;
    return p.at == p.end;
}

enum quern_code resp_glob_prefix(struct quern_slice pattern, struct buf *out,
                                 struct quern_error *err)
{
    const uint8_t *at = pattern.data, *end = at + pattern.len;

    for (; at < end && *at != '*' && *at != '?' && *at != '['; at++) {
        if (*at == '\\' && at + 1 < end)
            at++;
        if (buf_append(out, at, 1, err) != QUERN_OK)
            return err->code;
    }
    return QUERN_OK;
}
