/* fuzz_form.c - the parameters of the routes, from a query or a form body, and whose request it is.
 *
 *     byte 0   which parameters the route takes
 *     rest     a query; the part before its first newline, if any, is a Host value */
#include "fuzz.h"

#include "base/attr.h"
#include "server/net/hosts.h"
#include "server/rest/params.h"

#include <stdio.h>

/* `name` = the bytes, everything as %XX. */
static size_t put_parameter(char *to, const char *name, const struct buf *bytes)
{
    size_t at = (size_t)sprintf(to, "%s=", name);

    for (size_t i = 0; i < bytes->len; i++)
        at += (size_t)sprintf(to + at, "%%%02x", bytes->data[i]);
    return at;
}

/* What was read means the same when written in the plainest way and read again. */
static void check_again(const struct params *p, const struct buf *key, const struct buf *value,
                        unsigned taken)
{
    char *text = malloc(3 * (key->len + value->len) + 64);
    struct buf key_again OWNED_BUF = {0}, value_again OWNED_BUF = {0};
    struct params q;
    struct http_bad bad;
    size_t len = 0;

    must(text != NULL);
    if (p->each[PARAM_KEY].given)
        len += put_parameter(text + len, "&key", key);
    if (p->each[PARAM_VALUE].given)
        len += put_parameter(text + len, "&value", value);
    if (p->each[PARAM_SYNC].given)
        len += (size_t)sprintf(text + len, "&sync=1");
    must(params_read((struct quern_slice){text, len}, text, taken, &q, &bad));
    must(q.each[PARAM_KEY].given == p->each[PARAM_KEY].given &&
         q.each[PARAM_VALUE].given == p->each[PARAM_VALUE].given &&
         q.each[PARAM_SYNC].given == p->each[PARAM_SYNC].given);
    must(params_decode(text, q.each[PARAM_KEY], &key_again, &bad) && key_again.len == key->len);
    must(params_decode(text, q.each[PARAM_VALUE], &value_again, &bad) &&
         value_again.len == value->len);
    must(key->len == 0 || memcmp(key->data, key_again.data, key->len) == 0);
    must(value->len == 0 || memcmp(value->data, value_again.data, value->len) == 0);
    free(text);
}

static void check_query(const uint8_t *query, size_t len, unsigned taken)
{
    struct buf key OWNED_BUF = {0}, value OWNED_BUF = {0};
    struct params p;
    struct http_bad bad = {0, NULL, NULL};

    if (!params_read((struct quern_slice){query, len}, query, taken, &p, &bad)) {
        must(bad.status == 400 && bad.code != NULL && bad.detail != NULL);
        return;
    }
    must(p.each[PARAM_KEY].at + p.each[PARAM_KEY].len <= len &&
         p.each[PARAM_VALUE].at + p.each[PARAM_VALUE].len <= len);
    must((taken & PARAM_BIT(PARAM_KEY) || !p.each[PARAM_KEY].given) &&
         (taken & PARAM_BIT(PARAM_VALUE) || !p.each[PARAM_VALUE].given) &&
         (taken & PARAM_BIT(PARAM_SYNC) || !p.each[PARAM_SYNC].given));
    if (params_decode(query, p.each[PARAM_KEY], &key, &bad) &&
        params_decode(query, p.each[PARAM_VALUE], &value, &bad)) {
        must(key.len <= p.each[PARAM_KEY].len && value.len <= p.each[PARAM_VALUE].len);
        check_again(&p, &key, &value, taken);
    } else {
        must(bad.status == 400 && strcmp(bad.code, "bad_percent_encoding") == 0);
    }
}

/* A name is known only if it is one of ours to the letter, whatever stands behind its colon. */
static void check_host(const uint8_t *host, size_t len)
{
    static const char *const ours[] = {"localhost",     "127.0.0.1", "[::1]",
                                       "quern.example", "192.0.2.7", "[192.0.2.7]"};
    struct server_options options = {.listen = {{"192.0.2.7"}, 1}, .hosts = {{"quern.example"}, 1}};
    struct hosts h;
    bool known, begins = false;

    hosts_init(&h, &options);
    known = hosts_known(&h, (struct quern_slice){host, len});
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        size_t n = strlen(ours[i]);

        begins |= len >= n && strncasecmp((const char *)host, ours[i], n) == 0 &&
                  (len == n || host[n] == ':');
    }
    must(!known || begins);
    options.listen.each[0] = "::";
    hosts_init(&h, &options);
    if (hosts_known(&h, (struct quern_slice){host, len}) && !known) /* then it is a number */
        must(len > 0 && memchr("[0123456789", host[0], 11) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline;
    size_t host_len;
    uint8_t *host, *query;

    if (size == 0 || size > 1 << 16)
        return 0;
    newline = memchr(data + 1, '\n', size - 1);
    host_len = newline == NULL ? 0 : (size_t)(newline - data - 1);
    host = exact(data + 1, host_len);
    check_host(host, host_len);
    free(host);
    if (newline != NULL)
        host_len++;
    query = exact(data + 1 + host_len, size - 1 - host_len);
    check_query(query, size - 1 - host_len, data[0] % 8);
    free(query);
    return 0;
}
