/* access.h - who may do what: tokens, their scopes, and the keys they reach.
 *
 * A token is a long random word that its holder shows, over HTTP as `Authorization: Bearer TOKEN`, in
 * the Redis protocol as the password of the user of its name. The server knows only hashes, from a
 * file with one line a token:
 *
 *     NAME sha256:HEX SCOPES [prefixes=P,P] [expires=2027-01-01T00:00:00Z] [off]
 *
 * SCOPES are read, write and admin, with commas; none includes another. Prefixes are written as in a
 * URL path (%XX, so a comma is %2C); without them the token reaches all keys. A line that begins with #
 * is a comment. docs/security.md says why a plain hash is enough. Shared by the server and the
 * command. Threads: a list never changes once it was read; any number may look into it. */
#ifndef ACCESS_ACCESS_H
#define ACCESS_ACCESS_H

#include "base/buf.h"

#include <quern/quern.h>

#define ACCESS_NAME_BYTES_MAX 64
#define ACCESS_TOKENS_MAX 1024
#define ACCESS_PREFIXES_MAX 16
#define ACCESS_HASH_BYTES 32
#define ACCESS_TOKEN_BYTES 49 /* "quern_" and 43 letters: 256 random bits */

/* Bits. */
enum access_scope {
    ACCESS_READ = 1,
    ACCESS_WRITE = 2,
    ACCESS_ADMIN = 4,
};
#define ACCESS_SCOPES 3

struct access_user {
    char name[ACCESS_NAME_BYTES_MAX + 1];
    uint8_t hash[ACCESS_HASH_BYTES]; /* of the token */
    unsigned scopes;
    bool off;
    int64_t expires_at;  /* unix seconds; INT64_MAX: never */
    size_t prefix_count; /* 0: all keys */
    struct quern_slice prefixes[ACCESS_PREFIXES_MAX];
};

/* ---- a list of tokens: access.c ---- */

struct access;

/* Understand the text of a token file. Errors: INVALID ("line 3: ..."), NO_MEMORY. */
MUST_USE enum quern_code access_read(struct quern_slice text, struct access **out,
                                     struct quern_error *err);
struct access *access_ref(struct access *a); /* NULL is fine, here and below */
void access_unref(struct access *a);
OWNER(access_unref, struct access *);

size_t access_count(const struct access *a);
const struct access_user *access_at(const struct access *a, size_t i);
/* NULL: there is none of that name. */
const struct access_user *access_named(const struct access *a, struct quern_slice name);

/* Whose token is this? NULL: nobody's, or it does not count at `now`. Takes the same time for every
 * token of its length. */
const struct access_user *access_of_token(const struct access *a, struct quern_slice token,
                                          int64_t now);
/* Does the user's token count at `now`? */
static inline bool access_counts(const struct access_user *u, int64_t now)
{
    return !u->off && now < u->expires_at;
}

/* ---- the keys that a user reaches ---- */

bool access_reaches(const struct access_user *u, struct quern_slice key);
/* All that begins so. */
bool access_reaches_prefix(const struct access_user *u, struct quern_slice prefix);
/* All of start <= key < end; an empty end: to the last key. */
bool access_reaches_range(const struct access_user *u, struct quern_slice start,
                          struct quern_slice end);
static inline bool access_reaches_all(const struct access_user *u)
{
    return u->prefix_count == 0;
}

/* ---- making tokens and lines: access_make.c ---- */

void access_hash(struct quern_slice token, uint8_t to[ACCESS_HASH_BYTES]);
/* A new token, as a string. Errors: IO (no random bytes). */
MUST_USE enum quern_code access_make_token(char to[ACCESS_TOKEN_BYTES + 1],
                                           struct quern_error *err);
/* The line of a user, newline included, behind what `out` has. */
MUST_USE enum quern_code access_line(const struct access_user *u, struct buf *out,
                                     struct quern_error *err);
bool access_name_is_well(struct quern_slice name);
/* "read,write"; false: another word, or none. */
bool access_scopes_read(struct quern_slice text, unsigned *out);
/* "read,write", at most 17 bytes with the zero; `to` is returned. */
#define ACCESS_SCOPES_BYTES 17
const char *access_scopes_name(unsigned scopes, char to[ACCESS_SCOPES_BYTES]);
/* "2027-01-01" or "2027-01-01T12:00:00Z" in unix seconds. */
bool access_time_read(struct quern_slice text, int64_t *out);

/* ---- the file: access_file.c ---- */

#define ACCESS_FILE_BYTES_MAX (1u << 20)

/* What tells that a file is another one by now. */
struct access_stamp {
    int64_t changed_ns;
    uint64_t number, size;
};

/* All of a file that holds secrets: a regular file of ours or root's, that nobody else may read and
 * only its owner change (a group may read). *stamp as of before it was read; may be NULL. Errors:
 * NO_STORE (it is not there), DENIED, INVALID, IO, NO_MEMORY. */
MUST_USE enum quern_code access_load(const char *path, struct buf *out, struct access_stamp *stamp,
                                     struct quern_error *err);
/* The stamp of the file that is there now; false: there is none. */
bool access_stamp_now(const char *path, struct access_stamp *out);
/* Put `text` in the file's place, whole or not at all, on disk at return. A new file is for its owner
 * alone. */
MUST_USE enum quern_code access_store(const char *path, struct quern_slice text,
                                      struct quern_error *err);
/* Hold others off that would change the file; closed by close(). -1: *err says why. */
int access_lock(const char *path, struct quern_error *err);

#endif
