/* line.c - the lines of a dump: JSON, one entry each, and a last line that proves it whole.
 *
 *     {"key":"fruit","value":"apple"}
 *     {"key_b64":"/wA=","value":""}                   bytes that are no UTF-8, in base64
 *     {"key":"a","value":"b","expires_ms":17000000}   milliseconds since 1970; without: never.
 *                                                     "expires_at" in RFC 3339 is read as well
 *     {"key":"a","value":"b","database":3}            1 to 15; without: 0
 *     {"end":true,"count":2,"xxh3":"0123456789abcdef"}
 *
 * A server that writes one adds to the last line its "rev". The hash is XXH3 (64 bits, seed 0) over
 * every byte before the last line. A line holds each name once and no name that is not listed here:
 * a member that a later version adds must not be dropped in silence. */
#include "dump/line.h"

#include "base/alloc.h"
#include "base/base64.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/utf8.h"
#include "base/when.h"

#include <quern/quern.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void json_free(json_t *json)
{
    json_decref(json);
}
OWNER(json_free, json_t *);

void dump_line_done(struct dump_line *line)
{
    buf_done(&line->key);
    buf_done(&line->value);
}

/* Copy the string member `json` into `out`, from base64 if it is that. */
static enum quern_code take_bytes(const json_t *json, bool base64, size_t bytes_max,
                                  struct buf *out, struct quern_error *err)
{
    struct quern_slice text;
    size_t n;

    if (!json_is_string(json))
        return err_set(err, QUERN_INVALID, "not a string");
    text = slice_of(json_string_value(json), json_string_length(json));
    if (buf_append(out, text.data, text.len, err))
        return err->code;
    if (base64) {
        n = base64_decode(buf_slice(out), BASE64_STANDARD, out->data);
        if (n == SIZE_MAX)
            return err_set(err, QUERN_INVALID, "not base64");
        out->len = n;
    }
    if (out->len > bytes_max)
        return err_set(err, QUERN_INVALID, "%zu bytes, at most %zu fit", out->len, bytes_max);
    return QUERN_OK;
}

/* Sixteen hexadecimal digits. */
static enum quern_code take_hash(const json_t *json, uint64_t *hash, struct quern_error *err)
{
    const char *text = json_string_value(json);
    char *end = NULL;

    if (text == NULL || json_string_length(json) != 16 ||
        strspn(text, "0123456789abcdefABCDEF") != 16)
        return err_set(err, QUERN_INVALID, "not 16 hex digits");
    *hash = strtoull(text, &end, 16);
    return QUERN_OK;
}

static enum quern_code take_expiry(const json_t *json, bool text, uint64_t *ms,
                                   struct quern_error *err)
{
    if (text) {
        if (!json_is_string(json) ||
            !when_read(slice_of(json_string_value(json), json_string_length(json)), ms) || *ms == 0)
            return err_set(err, QUERN_INVALID, "expires_at: not like 2026-11-22T12:00:00Z");
        return QUERN_OK;
    }
    if (!json_is_integer(json) || json_integer_value(json) <= 0)
        return err_set(err, QUERN_INVALID, "expires_ms: not a number above 0");
    *ms = (uint64_t)json_integer_value(json);
    return QUERN_OK;
}

static enum quern_code parse_entry(json_t *json, struct dump_line *line, struct quern_error *err)
{
    const char *name;
    json_t *member;
    bool key = false, value = false, expires = false;

    json_object_foreach(json, name, member)
    {
        bool base64 = strcmp(name, "key_b64") == 0 || strcmp(name, "value_b64") == 0;

        if (!key && (strcmp(name, "key") == 0 || strcmp(name, "key_b64") == 0)) {
            key = true;
            if (take_bytes(member, base64, QUERN_KEY_BYTES_MAX, &line->key, err))
                return err_in(err, "%s", name);
        } else if (!value && (strcmp(name, "value") == 0 || strcmp(name, "value_b64") == 0)) {
            value = true;
            if (take_bytes(member, base64, QUERN_VALUE_BYTES_MAX, &line->value, err))
                return err_in(err, "%s", name);
        } else if (!expires &&
                   (strcmp(name, "expires_ms") == 0 || strcmp(name, "expires_at") == 0)) {
            expires = true;
            if (take_expiry(member, name[sizeof("expires_") - 1] == 'a', &line->expires_ms, err))
                return err->code;
        } else if (line->database == 0 && strcmp(name, "database") == 0) {
            if (!json_is_integer(member) || json_integer_value(member) <= 0 ||
                json_integer_value(member) >= QUERN_DATABASES)
                return err_set(err, QUERN_INVALID, "database: not a number from 1 to %u",
                               QUERN_DATABASES - 1);
            line->database = (uint8_t)json_integer_value(member);
        } else {
            return err_set(err, QUERN_INVALID, "member \"%.40s\" is not expected here", name);
        }
    }
    if (!key || !value)
        return err_set(err, QUERN_INVALID, "there is no \"%s\"", key ? "value" : "key");
    if (line->key.len == 0)
        return err_set(err, QUERN_INVALID, "an empty key");
    return QUERN_OK;
}

static enum quern_code parse_end(json_t *json, struct dump_line *line, struct quern_error *err)
{
    const json_t *count = json_object_get(json, "count"), *rev = json_object_get(json, "rev");

    if (json_object_size(json) != (rev != NULL ? 4 : 3) ||
        !json_is_true(json_object_get(json, "end")))
        return err_set(err, QUERN_INVALID, "an end line has \"end\":true, \"count\" and \"xxh3\"");
    if (!json_is_integer(count) || json_integer_value(count) < 0)
        return err_set(err, QUERN_INVALID, "count: not a number");
    if (rev != NULL && (!json_is_integer(rev) || json_integer_value(rev) < 0))
        return err_set(err, QUERN_INVALID, "rev: not a number");
    line->end = true;
    line->count = (uint64_t)json_integer_value(count);
    line->rev = (quern_seq)json_integer_value(rev); /* 0 of NULL */
    if (take_hash(json_object_get(json, "xxh3"), &line->hash, err))
        return err_in(err, "xxh3");
    return QUERN_OK;
}

enum quern_code dump_line_parse(struct quern_slice text, struct dump_line *line,
                                struct quern_error *err)
{
    json_t *json OWNED(json_free) = NULL;
    json_error_t why;

    line->end = false;
    line->expires_ms = 0;
    line->database = 0;
    buf_clear(&line->key);
    buf_clear(&line->value);
    json = json_loadb(text.len != 0 ? text.data : "", text.len,
                      JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (json == NULL && json_error_code(&why) == json_error_out_of_memory)
        return err_memory(err, "a line of JSON");
    if (json == NULL)
        return err_set(err, QUERN_INVALID, "not JSON: %s", why.text);
    if (!json_is_object(json))
        return err_set(err, QUERN_INVALID, "not a JSON object");
    if (json_object_get(json, "end") != NULL)
        return parse_end(json, line, err);
    return parse_entry(json, line, err);
}

/* How many bytes `c`, of ASCII, takes in a JSON string. */
static size_t escaped_bytes(uint8_t c)
{
    return c < 0x20 ? 6 : c == '"' || c == '\\' ? 2 : 1;
}

/* The bytes that `s` takes in a JSON string; false when it is no UTF-8. */
static bool escaped_length(struct quern_slice s, size_t *length)
{
    const uint8_t *at = s.data;
    size_t total = 0;

    for (size_t i = 0, step; i < s.len; i += step) {
        step = utf8_length(at + i, at + s.len);
        if (step == 0)
            return false;
        total += step == 1 ? escaped_bytes(at[i]) : step;
    }
    *length = total;
    return true;
}

static uint8_t *put_escaped(uint8_t *to, struct quern_slice s)
{
    const uint8_t *at = s.data;

    for (size_t i = 0; i < s.len; i++) {
        size_t bytes = at[i] < 0x80 ? escaped_bytes(at[i]) : 1;

        if (bytes == 6) {
            memcpy(to, "\\u00", 4);
            to[4] = (uint8_t)('0' + (at[i] >> 4));
            to[5] = (uint8_t) "0123456789abcdef"[at[i] & 15];
        } else {
            to[0] = '\\';
            to[bytes - 1] = at[i];
        }
        to += bytes;
    }
    return to;
}

/* Append  "name":"bytes"  or, when they are no UTF-8,  "name_b64":"base64".  Written by hand, since
 * a dump is as fast as this. */
static enum quern_code append_member(struct buf *out, const char *name, struct quern_slice bytes,
                                     struct quern_error *err)
{
    size_t length;
    bool text = escaped_length(bytes, &length);

    if (buf_append(out, "\"", 1, err) || buf_append(out, name, strlen(name), err) ||
        buf_append(out, text ? "\":\"" : "_b64\":\"", text ? 3 : 7, err))
        return err->code;
    if (text) {
        if (buf_reserve(out, length, err))
            return err->code;
        out->len = (size_t)(put_escaped(out->data + out->len, bytes) - out->data);
    } else if (base64_append(out, bytes, BASE64_STANDARD, err)) {
        return err->code;
    }
    return buf_append(out, "\"", 1, err);
}

enum quern_code dump_line_entry(uint8_t database, struct quern_slice key,
                                const struct quern_slice *value, uint64_t expires_ms,
                                struct buf *out, struct quern_error *err)
{
    char expires[48], number[24];
    int len = snprintf(expires, sizeof(expires), ",\"expires_ms\":%" PRIu64, expires_ms);
    int number_len = snprintf(number, sizeof(number), ",\"database\":%u", database);

    if (buf_append(out, "{", 1, err) || append_member(out, "key", key, err))
        return err->code;
    if (value != NULL && (buf_append(out, ",", 1, err) || append_member(out, "value", *value, err)))
        return err->code;
    if (expires_ms != 0 && buf_append(out, expires, (size_t)len, err))
        return err->code;
    if (database != 0 && buf_append(out, number, (size_t)number_len, err))
        return err->code;
    return buf_append(out, "}\n", 2, err);
}

enum quern_code dump_line_end(uint64_t count, uint64_t hash, quern_seq rev, struct buf *out,
                              struct quern_error *err)
{
    char line[128], told[32] = "";
    int len;

    if (rev != 0)
        (void)snprintf(told, sizeof(told), "\"rev\":%" PRIu64 ",", rev);
    len = snprintf(line, sizeof(line),
                   "{\"end\":true,%s\"count\":%" PRIu64 ",\"xxh3\":\"%016" PRIx64 "\"}\n", told,
                   count, hash);
    return buf_append(out, line, (size_t)len, err);
}

XXH3_state_t *dump_hash_new(struct quern_error *err)
{
    XXH3_state_t *hash = alloc_aligned(64, sizeof(*hash)); /* as it wants to lie */

    if (hash == NULL) {
        (void)err_memory(err, "a checksum");
        return NULL;
    }
    XXH3_INITSTATE(hash);
    (void)XXH3_64bits_reset(hash);
    return hash;
}
