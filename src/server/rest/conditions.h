/* conditions.h - entity tags, and whether a request is to be carried out in view of what is stored.
 *
 * A tag is `"<store>-<revision>"`: the store's own number (quern_store_id), so that a tag of another
 * store, or of this one before it was restored from a copy, never fits by chance. */
#ifndef SERVER_CONDITIONS_H
#define SERVER_CONDITIONS_H

#include "http/http.h"
#include "server/server.h"

#define ETAG_BYTES 40
/* Write the tag of a value, with its quotes and a zero. Returns its length. */
size_t etag_write(const struct server *server, quern_seq revision, char to[ETAG_BYTES]);

/* If-Match and If-None-Match of a request; their bytes are somebody else's. */
struct conditions {
    struct quern_slice match, none_match;
    bool has_match, has_none_match;
};

/* False: one of them is malformed, which is this refusal. */
extern const struct http_bad conditions_malformed;
bool conditions_read(const struct http_request *r, const void *data, struct conditions *out);

/* Does --require-preconditions say so of that key, or of one in that range? */
bool conditions_required(const struct server *server, struct quern_slice key);
bool conditions_required_in(const struct server *server, const struct quern_range *range);
extern const struct http_bad conditions_missing; /* 428 */

enum judgement {
    CONDITIONS_HOLD,
    CONDITIONS_MATCH_FAILS,      /* If-Match: 412 */
    CONDITIONS_NONE_MATCH_FAILS, /* If-None-Match: 304 for a read, 412 for a write */
};
/* In view of a value of this revision, or of none. */
enum judgement conditions_judge(const struct conditions *conditions, const struct server *server,
                                bool there, quern_seq revision);

#endif
