/* adapter_rocksdb.c - RocksDB through its C interface, tuned after its own guide.
 *
 * Bloom filter of 10 bits, two background jobs, dynamic level sizes, the newest table format; data
 * blocks of 4 KiB with a hash index, since the reads are point reads from memory; filters and
 * indexes outside the cache, hence beyond its size. Log files are recycled, which spares synced
 * writes a change of file size. Concurrent writing to the memtable is off: neither one writer nor
 * 16 synced ones took more processor time without it, and mostly they took less. Reads are pinned
 * rather than copied, multi-get is the batched one. */
#include "bench.h"

#include <rocksdb/c.h>

#include <stdlib.h>
#include <string.h>

#define FILTER_BITS 10
#define MULTI_MAX 256

struct db {
    rocksdb_t *rocks;
    rocksdb_column_family_handle_t *family;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
};

struct session {
    struct db *db;
    rocksdb_writeoptions_t *write, *write_sync;
    rocksdb_readoptions_t *read;
    rocksdb_writebatch_t *batch;
    /* What multi-get takes apart; the keys are borrowed during the call. */
    const char *key_data[MULTI_MAX];
    size_t key_bytes[MULTI_MAX];
    char *errors[MULTI_MAX];
    rocksdb_pinnableslice_t *pinned[MULTI_MAX];
    size_t pinned_count;
    rocksdb_iterator_t *scan;
};

static void check(char *error, const char *doing)
{
    if (error != NULL)
        die("rocksdb: %s: %s", doing, error);
}

static const char *rocks_version(void)
{
    return "RocksDB " ROCKSDB_VERSION;
}

static void *rocks_open(const char *dir, const struct setup *setup)
{
    struct db *db = must_alloc(sizeof(*db));
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    const char *names[1] = {"default"};
    const rocksdb_options_t *options[1] = {o};
    char *error = NULL;

    db->options = o;
    db->table = t;
    db->cache = rocksdb_cache_create_lru(setup->cache_bytes);

    rocksdb_block_based_options_set_block_cache(t, db->cache);
    rocksdb_block_based_options_set_filter_policy(
        t, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS));
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_data_block_index_type(
        t, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_data_block_hash_ratio(t, 0.75);

    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_options_set_write_buffer_size(o, setup->write_buffer_bytes);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_bytes_per_sync(o, UINT64_C(1) << 20);
    rocksdb_options_set_recycle_log_file_num(o, 2);
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    rocksdb_options_set_compression(o, setup->variant);

    db->rocks = rocksdb_open_column_families(o, dir, 1, names, options, &db->family, &error);
    check(error, "open");
    return db;
}

static void rocks_close(void *handle)
{
    struct db *db = handle;

    rocksdb_column_family_handle_destroy(db->family);
    rocksdb_close(db->rocks);
    rocksdb_options_destroy(db->options);
    rocksdb_block_based_options_destroy(db->table);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void rocks_settle(void *handle)
{
    struct db *db = handle;

    rocksdb_compact_range(db->rocks, NULL, 0, NULL, 0);
}

static void *rocks_session_new(void *handle)
{
    struct session *s = must_alloc(sizeof(*s));

    s->db = handle;
    s->read = rocksdb_readoptions_create();
    s->write = rocksdb_writeoptions_create();
    s->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write_sync, 1);
    s->batch = rocksdb_writebatch_create();
    return s;
}

static void unpin(struct session *s)
{
    for (size_t i = 0; i < s->pinned_count; i++)
        if (s->pinned[i] != NULL)
            rocksdb_pinnableslice_destroy(s->pinned[i]);
    s->pinned_count = 0;
}

static void rocks_session_free(void *session)
{
    struct session *s = session;

    unpin(s);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_writeoptions_destroy(s->write);
    rocksdb_writeoptions_destroy(s->write_sync);
    rocksdb_writebatch_destroy(s->batch);
    free(s);
}

static void rocks_put(void *session, struct bytes key, struct bytes value, bool sync)
{
    struct session *s = session;
    char *error = NULL;

    rocksdb_put(s->db->rocks, sync ? s->write_sync : s->write, key.data, key.len, value.data,
                value.len, &error);
    check(error, "put");
}

static void rocks_del(void *session, struct bytes key)
{
    struct session *s = session;
    char *error = NULL;

    rocksdb_delete(s->db->rocks, s->write, key.data, key.len, &error);
    check(error, "delete");
}

static void rocks_batch(void *session, const struct pair *pairs, size_t n)
{
    struct session *s = session;
    char *error = NULL;

    rocksdb_writebatch_clear(s->batch);
    for (size_t i = 0; i < n; i++) {
        const struct pair *p = &pairs[i];

        if (p->value.data == NULL)
            rocksdb_writebatch_delete(s->batch, p->key.data, p->key.len);
        else
            rocksdb_writebatch_put(s->batch, p->key.data, p->key.len, p->value.data, p->value.len);
    }
    rocksdb_write(s->db->rocks, s->write, s->batch, &error);
    check(error, "write");
}

static struct bytes pinned_bytes(const rocksdb_pinnableslice_t *slice)
{
    struct bytes value = {NULL, 0};

    if (slice != NULL)
        value.data = rocksdb_pinnableslice_value(slice, &value.len);
    return value;
}

static struct bytes rocks_get(void *session, struct bytes key)
{
    struct session *s = session;
    char *error = NULL;

    unpin(s);
    s->pinned[0] = rocksdb_get_pinned(s->db->rocks, s->read, key.data, key.len, &error);
    s->pinned_count = 1;
    check(error, "get");
    return pinned_bytes(s->pinned[0]);
}

static void rocks_multi_get(void *session, const struct bytes *keys, size_t n, struct bytes *values)
{
    struct session *s = session;

    if (n > MULTI_MAX)
        die("rocksdb: multi-get of %zu keys", n);
    unpin(s);
    for (size_t i = 0; i < n; i++) {
        s->key_data[i] = keys[i].data;
        s->key_bytes[i] = keys[i].len;
    }
    rocksdb_batched_multi_get_cf(s->db->rocks, s->read, s->db->family, n, s->key_data, s->key_bytes,
                                 s->pinned, s->errors, false);
    s->pinned_count = n;
    for (size_t i = 0; i < n; i++) {
        check(s->errors[i], "multi-get");
        values[i] = pinned_bytes(s->pinned[i]);
    }
}

/* ------------------------------------------------------------------ scans -- */

static void rocks_scan_begin(void *session)
{
    struct session *s = session;

    s->scan = rocksdb_create_iterator(s->db->rocks, s->read);
}

static bool scan_at(struct session *s, struct pair *out)
{
    char *error = NULL;

    if (!rocksdb_iter_valid(s->scan)) {
        rocksdb_iter_get_error(s->scan, &error);
        check(error, "scan");
        return false;
    }
    out->key.data = rocksdb_iter_key(s->scan, &out->key.len);
    out->value.data = rocksdb_iter_value(s->scan, &out->value.len);
    return true;
}

static bool rocks_scan_first(void *session, struct pair *out)
{
    struct session *s = session;

    rocksdb_iter_seek_to_first(s->scan);
    return scan_at(s, out);
}

static bool rocks_scan_last(void *session, struct pair *out)
{
    struct session *s = session;

    rocksdb_iter_seek_to_last(s->scan);
    return scan_at(s, out);
}

static bool rocks_scan_seek(void *session, struct bytes key, struct pair *out)
{
    struct session *s = session;

    rocksdb_iter_seek(s->scan, key.data, key.len);
    return scan_at(s, out);
}

static bool rocks_scan_next(void *session, struct pair *out)
{
    struct session *s = session;

    rocksdb_iter_next(s->scan);
    return scan_at(s, out);
}

static bool rocks_scan_prev(void *session, struct pair *out)
{
    struct session *s = session;

    rocksdb_iter_prev(s->scan);
    return scan_at(s, out);
}

static void rocks_scan_end(void *session)
{
    struct session *s = session;

    rocksdb_iter_destroy(s->scan);
    s->scan = NULL;
}

const struct adapter adapter_rocksdb = {
    .version = rocks_version,
    .open = rocks_open,
    .close = rocks_close,
    .settle = rocks_settle,
    .session_new = rocks_session_new,
    .session_free = rocks_session_free,
    .put = rocks_put,
    .del = rocks_del,
    .get = rocks_get,
    .multi_get = rocks_multi_get,
    .batch = rocks_batch,
    .scan_begin = rocks_scan_begin,
    .scan_first = rocks_scan_first,
    .scan_last = rocks_scan_last,
    .scan_seek = rocks_scan_seek,
    .scan_next = rocks_scan_next,
    .scan_prev = rocks_scan_prev,
    .scan_end = rocks_scan_end,
};
