/* adapter_quern.c - quern through its public header, with its defaults.
 *
 * The others hold a cache of the given size plus up to two write buffers, with indexes and filters
 * on top. quern's one budget covers all of that, so it gets cache plus two write buffers and must
 * fit its indexes and filters into them. */
#include "bench.h"

#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>

#define MULTI_MAX 256

struct session {
    struct quern *db;
    struct quern_slice keys[MULTI_MAX];
    struct quern_value values[MULTI_MAX];
    enum quern_code codes[MULTI_MAX];
    struct quern_batch *batch;
    struct quern_iter *scan;
};

static void check(enum quern_code code, const struct quern_error *err, const char *doing)
{
    if (code != QUERN_OK)
        die("quern: %s: %s", doing, err->text);
}

static struct quern_slice slice(struct bytes b)
{
    return (struct quern_slice){b.data, b.len};
}

static const char *qn_version(void)
{
    static char text[32];

    (void)snprintf(text, sizeof(text), "quern %s", quern_version());
    return text;
}

static void *qn_open(const char *dir, const struct setup *setup)
{
    struct quern_options options = {
        .memory_bytes = setup->cache_bytes + 2 * setup->write_buffer_bytes,
        .memdb_bytes = setup->write_buffer_bytes,
        .compression = (enum quern_compression)setup->variant,
    };
    struct quern_error err;
    struct quern *db = NULL;

    check(quern_open(dir, &options, &db, &err), &err, "open");
    return db;
}

static void qn_close(void *handle)
{
    struct quern_error err;

    check(quern_close(handle, &err), &err, "close");
}

static void qn_settle(void *handle)
{
    struct quern_error err;

    check(quern_compact(handle, NULL, &err), &err, "compact");
}

static void *qn_session_new(void *handle)
{
    struct session *s = must_alloc(sizeof(*s));

    s->db = handle;
    s->batch = quern_batch_new();
    if (s->batch == NULL)
        die("quern: no memory for a batch");
    return s;
}

static void qn_session_free(void *session)
{
    struct session *s = session;

    for (unsigned i = 0; i < MULTI_MAX; i++)
        quern_value_done(&s->values[i]);
    quern_batch_free(s->batch);
    free(s);
}

static void qn_put(void *session, struct bytes key, struct bytes value, bool sync)
{
    struct session *s = session;
    struct quern_write_opts opts = {.sync = sync};
    struct quern_error err;

    check(quern_put(s->db, slice(key), slice(value), &opts, &err), &err, "put");
}

static void qn_del(void *session, struct bytes key)
{
    struct session *s = session;
    struct quern_error err;

    check(quern_delete(s->db, slice(key), NULL, &err), &err, "delete");
}

static void qn_batch(void *session, const struct pair *pairs, size_t n)
{
    struct session *s = session;
    struct quern_error err;

    quern_batch_clear(s->batch);
    for (size_t i = 0; i < n; i++) {
        struct quern_slice key = slice(pairs[i].key);

        check(pairs[i].value.data == NULL
                  ? quern_batch_delete(s->batch, key, &err)
                  : quern_batch_put(s->batch, key, slice(pairs[i].value), &err),
              &err, "batch");
    }
    check(quern_write(s->db, s->batch, NULL, &err), &err, "write");
}

static uint64_t qn_count(void *session, struct bytes from, struct bytes to)
{
    struct session *s = session;
    struct quern_range range = {slice(from), slice(to)};
    struct quern_error err;
    uint64_t count = 0;

    check(quern_count(s->db, &range, NULL, &count, &err), &err, "count");
    return count;
}

/* An empty value is not a missing one: its data may be NULL for quern, but not for the bench. */
static struct bytes found(const struct quern_value *v)
{
    return (struct bytes){v->data != NULL ? v->data : "", v->len};
}

static struct bytes qn_get(void *session, struct bytes key)
{
    struct session *s = session;
    struct quern_error err;
    enum quern_code code = quern_get(s->db, slice(key), NULL, &s->values[0], &err);

    if (code == QUERN_NOT_FOUND)
        return (struct bytes){NULL, 0};
    check(code, &err, "get");
    return found(&s->values[0]);
}

static void qn_multi_get(void *session, const struct bytes *keys, size_t n, struct bytes *values)
{
    struct session *s = session;
    struct quern_error err;

    if (n > MULTI_MAX)
        die("quern: multi-get of %zu keys", n);
    for (size_t i = 0; i < n; i++)
        s->keys[i] = slice(keys[i]);
    check(quern_multi_get(s->db, s->keys, n, NULL, s->values, s->codes, &err), &err, "multi-get");
    for (size_t i = 0; i < n; i++)
        values[i] = s->codes[i] == QUERN_OK ? found(&s->values[i]) : (struct bytes){NULL, 0};
}

/* ------------------------------------------------------------------ scans -- */

static void qn_scan_begin(void *session)
{
    struct session *s = session;
    struct quern_error err;

    check(quern_iter_new(s->db, NULL, &s->scan, &err), &err, "iterator");
}

static bool scan_at(struct session *s, bool stands, struct pair *out)
{
    struct quern_slice key, value;
    struct quern_error err;

    if (!stands) {
        check(quern_iter_error(s->scan, &err), &err, "scan");
        return false;
    }
    key = quern_iter_key(s->scan);
    value = quern_iter_value(s->scan);
    out->key = (struct bytes){key.data, key.len};
    out->value = (struct bytes){value.data, value.len};
    return true;
}

static bool qn_scan_first(void *session, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, quern_iter_first(s->scan), out);
}

static bool qn_scan_last(void *session, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, quern_iter_last(s->scan), out);
}

static bool qn_scan_seek(void *session, struct bytes key, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, quern_iter_seek(s->scan, slice(key)), out);
}

static bool qn_scan_next(void *session, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, quern_iter_next(s->scan), out);
}

static bool qn_scan_prev(void *session, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, quern_iter_prev(s->scan), out);
}

static void qn_scan_end(void *session)
{
    struct session *s = session;

    quern_iter_free(s->scan);
    s->scan = NULL;
}

const struct adapter adapter_quern = {
    .version = qn_version,
    .open = qn_open,
    .close = qn_close,
    .settle = qn_settle,
    .session_new = qn_session_new,
    .session_free = qn_session_free,
    .put = qn_put,
    .del = qn_del,
    .get = qn_get,
    .multi_get = qn_multi_get,
    .batch = qn_batch,
    .count = qn_count,
    .scan_begin = qn_scan_begin,
    .scan_first = qn_scan_first,
    .scan_last = qn_scan_last,
    .scan_seek = qn_scan_seek,
    .scan_next = qn_scan_next,
    .scan_prev = qn_scan_prev,
    .scan_end = qn_scan_end,
};
