/* scan.c - commands that walk over keys. Keys are in order, so a pattern that begins with plain
 * letters only costs the keys that begin so.
 *
 * DBSIZE walks only where the number of keys is not kept (quern_count()).
 * A walk in a transaction holds its loop; SCAN bounds that by COUNT, at most 65536 keys looked at or 1 MiB of reply. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <time.h>

#define SCAN_COUNT_DEFAULT 10
#define SCAN_COUNT_MAX 65536
#define SCAN_REPLY_BYTES_MAX (1u << 20)
#define COUNT_SHORT_US 5000 /* counting that takes less is done anew each time */
#define COUNT_SHARE 50      /* else the answer may be so many times older than it took */

/* An iterator over the keys that may match. */
static enum quern_code walk_of(struct call *k, struct quern_slice pattern, struct quern_iter **out)
{
    struct quern_iter_opts opts = {.bulk = true, .database = k->reads.database};
    struct buf prefix OWNED_BUF = {0};

    if (resp_glob_prefix(pattern, &prefix, k->err))
        return k->err->code;
    opts.prefix = buf_slice(&prefix);
    return quern_iter_new(k->server->db, &opts, out, k->err);
}

enum quern_code cmd_keys(struct call *k)
{
    struct buf found OWNED_BUF = {0};
    struct resp_out list = {&found, k->out.proto, false};
    struct quern_slice pattern = k->args[1];
    struct quern_iter *it = NULL;
    enum quern_code code = walk_of(k, pattern, &it);
    size_t n = 0;

    if (code != QUERN_OK)
        return code;
    for (bool on = quern_iter_first(it); on && !list.failed && found.len <= REPLY_BYTES_MAX;
         on = quern_iter_next(it)) {
        if (!resp_glob_matches(pattern, quern_iter_key(it)))
            continue;
        resp_put_bulk(&list, quern_iter_key(it));
        n++;
    }
    code = quern_iter_error(it, k->err);
    quern_iter_free(it);
    if (code == QUERN_OK && found.len > REPLY_BYTES_MAX)
        code = err_set(k->err, QUERN_INVALID, "the reply is over 256 MiB; SCAN takes any number");
    if (code != QUERN_OK)
        return code;
    resp_put_array(&k->out, n);
    resp_put_raw(&k->out, found.data, found.len);
    k->out.failed |= list.failed;
    return QUERN_OK;
}

/* ------------------------------------------------------------------ SCAN -- */

struct scan {
    struct quern_slice pattern;
    int64_t count;
    bool strings; /* the type asked for is one that there is */
    uint64_t cursor;
};

/* Decimal, as strtoul() would take it, but without spaces and signs. */
static bool read_cursor(struct quern_slice s, uint64_t *out)
{
    const uint8_t *at = s.data;
    uint64_t v = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (at[i] < '0' || at[i] > '9' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, at[i] - (uint64_t)'0', &v))
            return false;
    }
    *out = v;
    return s.len > 0;
}

static bool read_scan(struct call *k, struct scan *s)
{
    *s = (struct scan){{"*", 1}, SCAN_COUNT_DEFAULT, true, 0};
    if (!read_cursor(k->args[1], &s->cursor)) {
        (void)call_error(k, "ERR invalid cursor");
        return false;
    }
    for (size_t i = 2; i < k->argc; i += 2) {
        if (i + 1 == k->argc) {
            (void)call_syntax_error(k);
            return false;
        }
        if (call_arg_is(k, i, "COUNT")) {
            if (!call_integer(k, i + 1, &s->count))
                return false;
            if (s->count < 1) {
                (void)call_syntax_error(k);
                return false;
            }
        } else if (call_arg_is(k, i, "MATCH")) {
            s->pattern = k->args[i + 1];
        } else if (call_arg_is(k, i, "TYPE")) {
            s->strings = call_arg_is(k, i + 1, "string");
        } else {
            (void)call_syntax_error(k);
            return false;
        }
    }
    if (s->count > SCAN_COUNT_MAX)
        s->count = SCAN_COUNT_MAX;
    return true;
}

/* Look at the next keys. *last holds the key to go on behind, and then the last one looked at; *more:
 * there are further ones. */
static enum quern_code scan_some(struct call *k, const struct scan *s, struct buf *last,
                                 struct resp_out *list, size_t *found, bool *more)
{
    struct quern_iter *it = NULL;
    enum quern_code code = walk_of(k, s->pattern, &it);
    int64_t seen = 0;
    bool on;

    if (code != QUERN_OK)
        return code;
    if (s->cursor == 0) {
        on = quern_iter_first(it);
    } else {
        on = quern_iter_seek(it, buf_slice(last));
        if (on && quern_iter_key(it).len == last->len &&
            memcmp(quern_iter_key(it).data, last->data, last->len) == 0)
            on = quern_iter_next(it);
    }
    while (on && code == QUERN_OK && seen < s->count && list->to->len < SCAN_REPLY_BYTES_MAX) {
        if (resp_glob_matches(s->pattern, quern_iter_key(it))) {
            resp_put_bulk(list, quern_iter_key(it));
            ++*found;
        }
        code = buf_assign(last, quern_iter_key(it), k->err);
        seen++;
        on = quern_iter_next(it);
    }
    *more = on;
    if (code == QUERN_OK)
        code = quern_iter_error(it, k->err);
    quern_iter_free(it);
    return code;
}

static void put_scan(struct call *k, uint64_t cursor, const struct buf *list, size_t found)
{
    char text[24];
    size_t len = 0, at = sizeof(text);

    do
        text[--at] = (char)('0' + cursor % 10);
    while ((cursor /= 10) != 0);
    len = sizeof(text) - at;
    resp_put_array(&k->out, 2);
    resp_put_bulk(&k->out, (struct quern_slice){text + at, len});
    resp_put_array(&k->out, found);
    resp_put_raw(&k->out, list->data, list->len);
}

enum quern_code cmd_scan(struct call *k)
{
    struct buf last OWNED_BUF = {0}, text OWNED_BUF = {0};
    struct resp_out list = {&text, k->out.proto, false};
    struct scan s;
    size_t found = 0;
    bool more = false;
    uint64_t next = 0;
    enum quern_code code;

    if (!read_scan(k, &s))
        return QUERN_OK;
    if (s.cursor != 0 &&
        !cursors_find(k->server->resp->cursors, k->reads.database, s.cursor, &last))
        return call_error(k, "ERR invalid cursor");
    if (s.strings) {
        code = scan_some(k, &s, &last, &list, &found, &more);
        if (code != QUERN_OK)
            return code;
    }
    if (more) {
        next = cursors_add(k->server->resp->cursors, k->reads.database, buf_slice(&last), s.cursor);
        list.failed |= next == 0;
    }
    put_scan(k, next, &text, found);
    k->out.failed |= list.failed;
    return QUERN_OK;
}

/* ------------------------------------------------------------------ DBSIZE, RANDOMKEY -- */

static int64_t now_us(void)
{
    return (int64_t)(uv_hrtime() / 1000);
}

static enum quern_code count_all(struct server *server, uint8_t database, bool expiries,
                                 struct key_count *out, struct quern_error *err)
{
    struct quern_read_opts opts = {.database = database};
    struct quern_living living = {0};
    enum quern_code code;

    *out = (struct key_count){0};
    if (!expiries)
        return quern_count(server->db, NULL, &opts, &out->keys, err);
    code = quern_count_living(server->db, database, false, &living, err);
    out->keys = living.keys;
    out->expires = living.expiring;
    out->ttl_ms = living.ttl_ms;
    return code;
}

/* Counted now unless counting takes long and was done lately. */
static enum quern_code count_lately(struct server *server, uint8_t database, bool expiries,
                                    int64_t age_max, struct key_count *out, struct quern_error *err)
{
    struct resp_shared *shared = server->resp;
    int64_t began = now_us();
    bool known;
    enum quern_code code;

    mutex_lock(&shared->mu);
    *out = shared->counted[expiries][database];
    mutex_unlock(&shared->mu);
    if (out->took_us > COUNT_SHORT_US && COUNT_SHARE * out->took_us > age_max)
        age_max = COUNT_SHARE * out->took_us;
    known = out->at_us != 0 && began - out->at_us < age_max;
    if (known)
        return QUERN_OK;
    code = count_all(server, database, expiries, out, err);
    if (code != QUERN_OK)
        return code;
    out->at_us = now_us();
    out->took_us = out->at_us - began;
    mutex_lock(&shared->mu);
    shared->counted[expiries][database] = *out;
    mutex_unlock(&shared->mu);
    return QUERN_OK;
}

enum quern_code resp_count_keys(struct server *server, uint8_t database, struct key_count *out,
                                struct quern_error *err)
{
    return count_lately(server, database, true, 1000000, out, err);
}

/* On the loop what is at hand is said, or BUSY; elsewhere a walk is the last thing to do. */
enum quern_code cmd_dbsize(struct call *k)
{
    uint64_t keys[DATABASES];
    struct key_count n;
    enum quern_code code;

    if (k->reads.cached) {
        code = quern_count(k->server->db, NULL, &k->reads, &n.keys, k->err);
    } else {
        code = quern_live_keys(k->server->db, false, keys, k->err);
        n.keys = keys[k->reads.database];
        if (code == QUERN_OK && n.keys == QUERN_KEYS_UNKNOWN)
            code = count_lately(k->server, k->reads.database, false, 0, &n, k->err);
    }
    return code != QUERN_OK ? code : call_int(k, (int64_t)n.keys);
}

/* A key that lies between the first and the last: four bytes behind what both begin with are drawn. */
static void draw_between(struct quern_slice first, struct quern_slice last, uint8_t *to,
                         size_t *len)
{
    const uint8_t *a = first.data, *b = last.data;
    uint32_t low = 0, high = 0, random = 0;
    size_t shared = 0;

    while (shared < first.len && shared < last.len && a[shared] == b[shared])
        shared++;
    for (size_t i = 0; i < 4; i++) {
        low = low << 8 | (shared + i < first.len ? a[shared + i] : 0);
        high = high << 8 | (shared + i < last.len ? b[shared + i] : 0);
    }
    (void)uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
    low += (uint32_t)(((uint64_t)high - low + 1) * random >> 32);
    memcpy(to, a, shared);
    for (size_t i = 0; i < 4; i++)
        to[shared + i] = (uint8_t)(low >> (24 - 8 * i));
    *len = shared + 4;
}

enum quern_code cmd_randomkey(struct call *k)
{
    struct buf first OWNED_BUF = {0}, drawn OWNED_BUF = {0};
    struct quern_iter_opts opts = {.database = k->reads.database};
    struct quern_iter *it = NULL;
    enum quern_code code = quern_iter_new(k->server->db, &opts, &it, k->err);
    bool on;

    if (code != QUERN_OK)
        return code;
    on = quern_iter_first(it);
    if (on && (buf_assign(&first, quern_iter_key(it), k->err) ||
               buf_reserve(&drawn, first.len + 4, k->err))) {
        quern_iter_free(it);
        return k->err->code;
    }
    if (on && quern_iter_last(it)) {
        draw_between(buf_slice(&first), quern_iter_key(it), drawn.data, &drawn.len);
        on = quern_iter_seek(it, buf_slice(&drawn)) || quern_iter_last(it);
    }
    code = quern_iter_error(it, k->err);
    if (code == QUERN_OK && on)
        resp_put_bulk(&k->out, quern_iter_key(it));
    else if (code == QUERN_OK)
        resp_put_null(&k->out);
    quern_iter_free(it);
    return code;
}
