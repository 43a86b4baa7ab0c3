/* conditions.c - the checks of conditions.h. */
#include "server/rest/conditions.h"

#include "base/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct http_bad conditions_malformed = {
    400, "bad_etag", "If-Match and If-None-Match take tags in quotes, parted by commas, or *"};

const struct http_bad conditions_missing = {
    428, "precondition_required",
    "this key is only written on a condition (--require-preconditions): send If-Match with the tag "
    "that you have seen, or If-None-Match: *; in a batch, a check right before it"};

size_t etag_write(const struct server *server, quern_seq revision, char to[ETAG_BYTES])
{
    size_t n = sizeof(server->etag_begins) - 1;

    memcpy(to, server->etag_begins, n);
    n += http_decimal(to + n, revision);
    to[n++] = '"';
    to[n] = '\0';
    return n;
}

bool conditions_required(const struct server *server, struct quern_slice key)
{
    const struct option_list *required = &server->options->required;

    for (unsigned i = 0; i < required->count; i++) {
        if (key_begins(key, required->each[i], strlen(required->each[i])))
            return true;
    }
    return false;
}

bool conditions_required_in(const struct server *server, const struct quern_range *range)
{
    const struct option_list *required = &server->options->required;

    for (unsigned i = 0; i < required->count; i++) {
        struct quern_slice prefix = QUERN_STR(required->each[i]);

        if ((range->end.len == 0 || key_compare(prefix, range->end) < 0) &&
            (key_compare(range->start, prefix) <= 0 ||
             key_begins(range->start, prefix.data, prefix.len)))
            return true;
    }
    return false;
}

bool conditions_read(const struct http_request *r, const void *data, struct conditions *out)
{
    struct quern_slice none = {"", 0};

    *out = (struct conditions){
        .has_match = http_has(r, HTTP_IF_MATCH),
        .has_none_match = http_has(r, HTTP_IF_NONE_MATCH),
    };
    if (out->has_match)
        out->match = http_bytes(data, r->field[HTTP_IF_MATCH]);
    if (out->has_none_match)
        out->none_match = http_bytes(data, r->field[HTTP_IF_NONE_MATCH]);
    return (!out->has_match || http_etag_listed(out->match, none, false) != HTTP_LIST_BAD) &&
           (!out->has_none_match || http_etag_listed(out->none_match, none, true) != HTTP_LIST_BAD);
}

enum judgement conditions_judge(const struct conditions *conditions, const struct server *server,
                                bool there, quern_seq revision)
{
    char text[ETAG_BYTES];
    struct quern_slice etag = {text, 0};

    if (!conditions->has_match && !conditions->has_none_match)
        return CONDITIONS_HOLD;
    etag.len = etag_write(server, revision, text);
    if (conditions->has_match &&
        (!there || http_etag_listed(conditions->match, etag, false) < HTTP_LISTED))
        return CONDITIONS_MATCH_FAILS;
    if (conditions->has_none_match && there &&
        http_etag_listed(conditions->none_match, etag, true) >= HTTP_LISTED)
        return CONDITIONS_NONE_MATCH_FAILS;
    return CONDITIONS_HOLD;
}
