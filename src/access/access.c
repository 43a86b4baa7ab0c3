/* access.c - a list of tokens: read from its text, searched by token, asked about keys.
 *
 * A token is found by its hash, which is held against that of every line, to the last one and the last
 * byte: how long it takes tells neither which line it was nor how much of it was right. (Whoever
 * measured more would learn of a hash, and no token follows from one.) */
#include "access/access.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdatomic.h>

struct access {
    _Atomic unsigned refs;
    size_t count;
    struct access_user *users;
    uint8_t *bytes; /* of the prefixes */
    size_t byte_count;
};

struct access *access_ref(struct access *a)
{
    if (a != NULL)
        atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void access_unref(struct access *a)
{
    if (a == NULL || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
        return;
    alloc_free(a->users);
    alloc_free(a->bytes);
    alloc_free(a);
}

size_t access_count(const struct access *a)
{
    return a == NULL ? 0 : a->count;
}

const struct access_user *access_at(const struct access *a, size_t i)
{
    return &a->users[i];
}

static bool same(struct quern_slice a, struct quern_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

const struct access_user *access_named(const struct access *a, struct quern_slice name)
{
    for (size_t i = 0; i < access_count(a); i++) {
        if (same(name, QUERN_STR(a->users[i].name)))
            return &a->users[i];
    }
    return NULL;
}

/* In the same steps whatever they hold: the compiler is told that each may change what is known so
 * far, so it cannot end early. */
static bool is_same_hash(const uint8_t *a, const uint8_t *b)
{
    uint64_t differ = 0;

    for (size_t i = 0; i < ACCESS_HASH_BYTES; i += sizeof(uint64_t)) {
        uint64_t x, y;

        memcpy(&x, a + i, sizeof(x));
        memcpy(&y, b + i, sizeof(y));
        differ |= x ^ y;
        __asm__ volatile("" : "+r"(differ));
    }
    return differ == 0;
}

const struct access_user *access_of_token(const struct access *a, struct quern_slice token,
                                          int64_t now)
{
    const struct access_user *found = NULL;
    uint8_t hash[ACCESS_HASH_BYTES];

    access_hash(token, hash);
    for (size_t i = 0; i < access_count(a); i++) {
        if (is_same_hash(hash, a->users[i].hash))
            found = &a->users[i];
    }
    return found != NULL && access_counts(found, now) ? found : NULL;
}

/* ------------------------------------------------------------------ keys -- */

static bool begins(struct quern_slice s, struct quern_slice with)
{
    return s.len >= with.len && memcmp(s.data, with.data, with.len) == 0;
}

bool access_reaches(const struct access_user *u, struct quern_slice key)
{
    for (size_t i = 0; i < u->prefix_count; i++) {
        if (begins(key, u->prefixes[i]))
            return true;
    }
    return u->prefix_count == 0;
}

bool access_reaches_prefix(const struct access_user *u, struct quern_slice prefix)
{
    return access_reaches(u, prefix);
}

/* Is `end` no greater than the first key behind all that begin with `prefix`? */
static bool ends_within(struct quern_slice end, struct quern_slice prefix)
{
    const uint8_t *p = prefix.data, *e = end.data;
    size_t n = prefix.len;

    if (begins(end, prefix))
        return true;
    while (n > 0 && p[n - 1] == 0xff)
        n--;
    /* The first key behind: the prefix up to its last byte that is not 0xff, and that plus one. */
    return n > 0 && end.len == n && memcmp(e, p, n - 1) == 0 && e[n - 1] == p[n - 1] + 1;
}

bool access_reaches_range(const struct access_user *u, struct quern_slice start,
                          struct quern_slice end)
{
    for (size_t i = 0; i < u->prefix_count; i++) {
        if (begins(start, u->prefixes[i]) && end.len > 0 && ends_within(end, u->prefixes[i]))
            return true;
    }
    return u->prefix_count == 0;
}

/* ------------------------------------------------------------------ reading the text -- */

/* The next word of a line; empty at its end. */
static struct quern_slice next_word(struct quern_slice *line)
{
    const char *s = line->data;
    size_t from = 0, to;

    while (from < line->len && (s[from] == ' ' || s[from] == '\t' || s[from] == '\r'))
        from++;
    for (to = from; to < line->len && s[to] != ' ' && s[to] != '\t' && s[to] != '\r';)
        to++;
    *line = (struct quern_slice){s + to, line->len - to};
    return (struct quern_slice){s + from, to - from};
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hash(struct quern_slice word, uint8_t to[ACCESS_HASH_BYTES])
{
    static const char begin[] = "sha256:";
    const char *s = word.data;
    size_t n = sizeof(begin) - 1;

    if (word.len != n + 2 * ACCESS_HASH_BYTES || memcmp(s, begin, n) != 0)
        return false;
    for (size_t i = 0; i < ACCESS_HASH_BYTES; i++) {
        int high = digit_of(s[n + 2 * i]), low = digit_of(s[n + 2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* One prefix, decoded to `to`; 0: it is empty or has a bad escape. */
static size_t read_prefix(const char *s, size_t len, uint8_t *to)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] != '%') {
            to[n++] = (uint8_t)s[i];
            continue;
        }
        if (len - i < 3 || digit_of(s[i + 1]) < 0 || digit_of(s[i + 2]) < 0)
            return 0;
        to[n++] = (uint8_t)(digit_of(s[i + 1]) << 4 | digit_of(s[i + 2]));
        i += 2;
    }
    return n;
}

static const char *read_prefixes(struct access *a, struct access_user *u, struct quern_slice list)
{
    const char *s = list.data;

    for (size_t at = 0; at <= list.len;) {
        size_t end = at, n;

        while (end < list.len && s[end] != ',')
            end++;
        if (u->prefix_count == ACCESS_PREFIXES_MAX)
            return "at most 16 prefixes";
        n = read_prefix(s + at, end - at, a->bytes + a->byte_count);
        if (n == 0 || n > QUERN_KEY_BYTES_MAX)
            return "a prefix is not empty, and a % in it is followed by two hexadecimal digits";
        u->prefixes[u->prefix_count++] = (struct quern_slice){a->bytes + a->byte_count, n};
        a->byte_count += n;
        at = end + 1;
    }
    return NULL;
}

static const char *read_more(struct access *a, struct access_user *u, struct quern_slice word)
{
    static const char prefixes[] = "prefixes=", expires[] = "expires=";
    size_t p = sizeof(prefixes) - 1, e = sizeof(expires) - 1;
    const char *s = word.data;

    if (word.len == 3 && memcmp(s, "off", 3) == 0) {
        u->off = true;
        return NULL;
    }
    if (word.len >= p && memcmp(s, prefixes, p) == 0) {
        if (u->prefix_count > 0)
            return "prefixes= stands there twice";
        return read_prefixes(a, u, (struct quern_slice){s + p, word.len - p});
    }
    if (word.len >= e && memcmp(s, expires, e) == 0) {
        if (u->expires_at != INT64_MAX)
            return "expires= stands there twice";
        return access_time_read((struct quern_slice){s + e, word.len - e}, &u->expires_at)
                   ? NULL
                   : "expires= is a time as 2027-01-31 or 2027-01-31T12:00:00Z";
    }
    return "behind the scopes may stand prefixes=, expires= and off";
}

/* What is wrong with the line, or NULL. */
static const char *read_line(struct access *a, struct quern_slice line)
{
    struct access_user u = {.expires_at = INT64_MAX};
    struct quern_slice name = next_word(&line), word;
    const char *wrong = NULL;

    if (name.len == 0 || *(const char *)name.data == '#')
        return NULL;
    if (!access_name_is_well(name))
        return "a name has 1 to 64 letters, digits or . _ -";
    if (access_named(a, name) != NULL)
        return "that name stands there twice";
    if (a->count == ACCESS_TOKENS_MAX)
        return "at most 1024 tokens";
    memcpy(u.name, name.data, name.len);
    if (!read_hash(next_word(&line), u.hash))
        return "behind the name stands sha256: and 64 hexadecimal digits";
    if (!access_scopes_read(next_word(&line), &u.scopes))
        return "behind the hash stand scopes: read, write and admin, with commas";
    for (word = next_word(&line); word.len > 0 && wrong == NULL; word = next_word(&line))
        wrong = read_more(a, &u, word);
    for (size_t i = 0; i < a->count && wrong == NULL; i++) {
        if (memcmp(a->users[i].hash, u.hash, sizeof(u.hash)) == 0)
            wrong = "another name has the same token";
    }
    if (wrong == NULL)
        a->users[a->count++] = u;
    return wrong;
}

enum quern_code access_read(struct quern_slice text, struct access **out, struct quern_error *err)
{
    struct access *a OWNED(access_unref) = NEW(struct access);
    const char *s = text.data;
    unsigned number = 0;
    size_t lines = 1;

    if (a == NULL)
        return err_memory(err, "the tokens");
    a->refs = 1;
    for (size_t i = 0; i < text.len; i++)
        lines += s[i] == '\n';
    a->users =
        alloc_array(lines < ACCESS_TOKENS_MAX ? lines : ACCESS_TOKENS_MAX, sizeof(*a->users));
    a->bytes = alloc_bytes(text.len + 1);
    if (a->users == NULL || a->bytes == NULL)
        return err_memory(err, "the tokens");
    for (size_t at = 0; at < text.len;) {
        size_t end = at;
        const char *wrong;

        while (end < text.len && s[end] != '\n')
            end++;
        number++;
        wrong = read_line(a, (struct quern_slice){s + at, end - at});
        if (wrong != NULL)
            return err_set(err, QUERN_INVALID, "line %u: %s", number, wrong);
        at = end + 1;
    }
    *out = GIVE(a);
    return QUERN_OK;
}
