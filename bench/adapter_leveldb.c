/* adapter_leveldb.c - LevelDB through its C interface.
 *
 * Bloom filter of 10 bits, the run's write buffer and cache, enough open files that no table is
 * opened twice. It has no multi-get: keys are got one after the other. */
#include "bench.h"

#include <leveldb/c.h>

#include <stdio.h>
#include <stdlib.h>

#define FILTER_BITS 10
#define MULTI_MAX 256

struct db {
    leveldb_t *level;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
};

struct session {
    struct db *db;
    leveldb_writeoptions_t *write, *write_sync;
    leveldb_readoptions_t *read;
    leveldb_writebatch_t *batch;
    char *got[MULTI_MAX];
    size_t got_count;
    leveldb_iterator_t *scan;
};

static void check(char *error, const char *doing)
{
    if (error != NULL)
        die("leveldb: %s: %s", doing, error);
}

static const char *level_version(void)
{
    static char text[32];

    (void)snprintf(text, sizeof(text), "LevelDB %d.%d", leveldb_major_version(),
                   leveldb_minor_version());
    return text;
}

static void *level_open(const char *dir, const struct setup *setup)
{
    struct db *db = must_alloc(sizeof(*db));
    char *error = NULL;

    db->options = leveldb_options_create();
    db->cache = leveldb_cache_create_lru(setup->cache_bytes);
    db->filter = leveldb_filterpolicy_create_bloom(FILTER_BITS);
    leveldb_options_set_create_if_missing(db->options, 1);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_write_buffer_size(db->options, setup->write_buffer_bytes);
    leveldb_options_set_max_open_files(db->options, 100000);
    leveldb_options_set_compression(db->options, setup->variant);
    db->level = leveldb_open(db->options, dir, &error);
    check(error, "open");
    return db;
}

static void level_close(void *handle)
{
    struct db *db = handle;

    leveldb_close(db->level);
    leveldb_options_destroy(db->options);
    leveldb_cache_destroy(db->cache);
    leveldb_filterpolicy_destroy(db->filter);
    free(db);
}

static void level_settle(void *handle)
{
    struct db *db = handle;

    leveldb_compact_range(db->level, NULL, 0, NULL, 0);
}

static void *level_session_new(void *handle)
{
    struct session *s = must_alloc(sizeof(*s));

    s->db = handle;
    s->read = leveldb_readoptions_create();
    s->write = leveldb_writeoptions_create();
    s->write_sync = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(s->write_sync, 1);
    s->batch = leveldb_writebatch_create();
    return s;
}

static void let_go(struct session *s)
{
    for (size_t i = 0; i < s->got_count; i++)
        leveldb_free(s->got[i]);
    s->got_count = 0;
}

static void level_session_free(void *session)
{
    struct session *s = session;

    let_go(s);
    leveldb_readoptions_destroy(s->read);
    leveldb_writeoptions_destroy(s->write);
    leveldb_writeoptions_destroy(s->write_sync);
    leveldb_writebatch_destroy(s->batch);
    free(s);
}

static void level_put(void *session, struct bytes key, struct bytes value, bool sync)
{
    struct session *s = session;
    char *error = NULL;

    leveldb_put(s->db->level, sync ? s->write_sync : s->write, key.data, key.len, value.data,
                value.len, &error);
    check(error, "put");
}

static void level_del(void *session, struct bytes key)
{
    struct session *s = session;
    char *error = NULL;

    leveldb_delete(s->db->level, s->write, key.data, key.len, &error);
    check(error, "delete");
}

static void level_batch(void *session, const struct pair *pairs, size_t n)
{
    struct session *s = session;
    char *error = NULL;

    leveldb_writebatch_clear(s->batch);
    for (size_t i = 0; i < n; i++) {
        const struct pair *p = &pairs[i];

        if (p->value.data == NULL)
            leveldb_writebatch_delete(s->batch, p->key.data, p->key.len);
        else
            leveldb_writebatch_put(s->batch, p->key.data, p->key.len, p->value.data, p->value.len);
    }
    leveldb_write(s->db->level, s->write, s->batch, &error);
    check(error, "write");
}

static struct bytes get_one(struct session *s, struct bytes key)
{
    char *error = NULL;
    struct bytes value = {NULL, 0};

    s->got[s->got_count] =
        leveldb_get(s->db->level, s->read, key.data, key.len, &value.len, &error);
    check(error, "get");
    value.data = s->got[s->got_count++];
    return value;
}

static struct bytes level_get(void *session, struct bytes key)
{
    struct session *s = session;

    let_go(s);
    return get_one(s, key);
}

static void level_multi_get(void *session, const struct bytes *keys, size_t n, struct bytes *values)
{
    struct session *s = session;

    if (n > MULTI_MAX)
        die("leveldb: multi-get of %zu keys", n);
    let_go(s);
    for (size_t i = 0; i < n; i++)
        values[i] = get_one(s, keys[i]);
}

/* ------------------------------------------------------------------ scans -- */

static void level_scan_begin(void *session)
{
    struct session *s = session;

    s->scan = leveldb_create_iterator(s->db->level, s->read);
}

static bool scan_at(struct session *s, struct pair *out)
{
    char *error = NULL;

    if (!leveldb_iter_valid(s->scan)) {
        leveldb_iter_get_error(s->scan, &error);
        check(error, "scan");
        return false;
    }
    out->key.data = leveldb_iter_key(s->scan, &out->key.len);
    out->value.data = leveldb_iter_value(s->scan, &out->value.len);
    return true;
}

static bool level_scan_first(void *session, struct pair *out)
{
    struct session *s = session;

    leveldb_iter_seek_to_first(s->scan);
    return scan_at(s, out);
}

static bool level_scan_last(void *session, struct pair *out)
{
    struct session *s = session;

    leveldb_iter_seek_to_last(s->scan);
    return scan_at(s, out);
}

static bool level_scan_seek(void *session, struct bytes key, struct pair *out)
{
    struct session *s = session;

    leveldb_iter_seek(s->scan, key.data, key.len);
    return scan_at(s, out);
}

static bool level_scan_next(void *session, struct pair *out)
{
    struct session *s = session;

    leveldb_iter_next(s->scan);
    return scan_at(s, out);
}

static bool level_scan_prev(void *session, struct pair *out)
{
    struct session *s = session;

    leveldb_iter_prev(s->scan);
    return scan_at(s, out);
}

static void level_scan_end(void *session)
{
    struct session *s = session;

    leveldb_iter_destroy(s->scan);
    s->scan = NULL;
}

const struct adapter adapter_leveldb = {
    .version = level_version,
    .open = level_open,
    .close = level_close,
    .settle = level_settle,
    .session_new = level_session_new,
    .session_free = level_session_free,
    .put = level_put,
    .del = level_del,
    .get = level_get,
    .multi_get = level_multi_get,
    .batch = level_batch,
    .scan_begin = level_scan_begin,
    .scan_first = level_scan_first,
    .scan_last = level_scan_last,
    .scan_seek = level_scan_seek,
    .scan_next = level_scan_next,
    .scan_prev = level_scan_prev,
    .scan_end = level_scan_end,
};
