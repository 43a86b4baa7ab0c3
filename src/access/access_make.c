/* access_make.c - tokens, hashes, and the words of a line of the token file. */
#include "access/access.h"

#include "base/error.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static const char *const scope_names[ACCESS_SCOPES] = {"read", "write", "admin"};

void access_hash(struct quern_slice token, uint8_t to[ACCESS_HASH_BYTES])
{
    (void)SHA256(token.data, token.len, to);
}

enum quern_code access_make_token(char to[ACCESS_TOKEN_BYTES + 1], struct quern_error *err)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[32];
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 6;

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return err_sys(err, errno, "random bytes for a token");
    memcpy(to, "quern_", n);
    for (size_t i = 0; i < sizeof(random); i++) {
        bits = bits << 8 | random[i];
        for (have += 8; have >= 6; have -= 6)
            to[n++] = letters[bits >> (have - 6) & 63];
    }
    to[n++] = letters[bits << (6 - have) & 63];
    to[n] = '\0';
    return QUERN_OK;
}

bool access_name_is_well(struct quern_slice name)
{
    const char *s = name.data;

    for (size_t i = 0; i < name.len; i++) {
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
              (s[i] >= '0' && s[i] <= '9') || s[i] == '.' || s[i] == '_' || s[i] == '-'))
            return false;
    }
    return name.len >= 1 && name.len <= ACCESS_NAME_BYTES_MAX;
}

bool access_scopes_read(struct quern_slice text, unsigned *out)
{
    const char *s = text.data;

    *out = 0;
    for (size_t at = 0; at <= text.len;) {
        size_t end = at;
        unsigned bit = 0;

        while (end < text.len && s[end] != ',')
            end++;
        for (unsigned i = 0; i < ACCESS_SCOPES; i++) {
            if (strlen(scope_names[i]) == end - at && memcmp(s + at, scope_names[i], end - at) == 0)
                bit = 1u << i;
        }
        if (bit == 0)
            return false;
        *out |= bit;
        at = end + 1;
    }
    return true;
}

const char *access_scopes_name(unsigned scopes, char to[ACCESS_SCOPES_BYTES])
{
    char *at = to;

    for (unsigned i = 0; i < ACCESS_SCOPES; i++) {
        if (scopes >> i & 1u)
            at += sprintf(at, "%s%s", at > to ? "," : "", scope_names[i]);
    }
    *at = '\0';
    return to;
}

bool access_time_read(struct quern_slice text, int64_t *out)
{
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"};
    char copy[32];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++) {
        struct tm tm = {0};
        const char *end = strptime(copy, formats[i], &tm);

        if (end != NULL && *end == '\0' && (size_t)(end - copy) == text.len) {
            *out = timegm(&tm);
            return true;
        }
    }
    return false;
}

MUST_USE static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

/* Bytes that are no plain letters of a path as %XX. */
static enum quern_code add_prefix(struct buf *out, struct quern_slice prefix,
                                  struct quern_error *err)
{
    const uint8_t *s = prefix.data;
    char hex[4];

    for (size_t i = 0; i < prefix.len; i++) {
        bool plain = s[i] > ' ' && s[i] < 0x7f && s[i] != '%' && s[i] != ',';

        (void)snprintf(hex, sizeof(hex), plain ? "%c" : "%%%02X", s[i]);
        if (add(out, hex, err))
            return err->code;
    }
    return QUERN_OK;
}

enum quern_code access_line(const struct access_user *u, struct buf *out, struct quern_error *err)
{
    char hex[2 * ACCESS_HASH_BYTES + 1], scopes[ACCESS_SCOPES_BYTES], when[32];
    struct tm tm;
    time_t at = (time_t)u->expires_at;

    for (size_t i = 0; i < ACCESS_HASH_BYTES; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", u->hash[i]);
    if (add(out, u->name, err) || add(out, " sha256:", err) || add(out, hex, err) ||
        add(out, " ", err) || add(out, access_scopes_name(u->scopes, scopes), err))
        return err->code;
    for (size_t i = 0; i < u->prefix_count; i++) {
        if (add(out, i == 0 ? " prefixes=" : ",", err) || add_prefix(out, u->prefixes[i], err))
            return err->code;
    }
    if (u->expires_at != INT64_MAX && gmtime_r(&at, &tm) != NULL) {
        (void)strftime(when, sizeof(when), " expires=%Y-%m-%dT%H:%M:%SZ", &tm);
        if (add(out, when, err))
            return err->code;
    }
    return add(out, u->off ? " off\n" : "\n", err);
}
