/* fuzz_table.c - a whole table of any bytes: open, read and verify never do more than fail.
 *
 * Checksums would end nearly every run at the door. So the input is taken as a table whose footer
 * says where its blocks lie, and every checksum on the way is stamped anew: data blocks and their
 * rows in the index, filter, index, properties, footer. The bytes behind them are the fuzzer's. */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/rcu.h"
#include "sst/format_priv.h"
#include "sst/index_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TABLE_NO 1
#define UNIQUE_ID 42

/* A span of the footer, if it lies inside the file and can be a sealed block. */
static bool span_inside(const uint8_t *at, uint64_t size, uint64_t *from, uint64_t *len)
{
    *from = get_u64le(at);
    *len = get_u64le(at + 8);
    return *len >= TRAILER_BYTES && *len <= size && *from <= size - *len;
}

static uint64_t stamp(uint8_t *file, uint64_t from, uint64_t len)
{
    uint64_t sum = hash_placed(file + from, (size_t)len - 8, UNIQUE_ID, from);

    put_u64le(file + from + len - 8, sum);
    return sum;
}

static void stamp_rows(uint8_t *file, uint64_t size, uint64_t from, uint64_t len)
{
    uint8_t *at = file + from + INDEX_HEAD_BYTES;
    const uint8_t *end = file + from + len - TRAILER_BYTES;
    uint64_t block_at = 0;

    while (end - at >= (ptrdiff_t)INDEX_ROW_BYTES) {
        uint64_t bytes = get_u32le(at), separator = get_u32le(at + 24);

        if (bytes < TRAILER_BYTES || bytes > size || block_at > size - bytes ||
            block_at + bytes > from)
            return;
        put_u64le(at + 8, stamp(file, block_at, bytes));
        block_at += bytes;
        if (separator > (uint64_t)(end - at) - INDEX_ROW_BYTES)
            return;
        at += INDEX_ROW_BYTES + separator;
    }
}

/* Stamp every checksum; fill in what a manifest would know. */
static void stamp_all(uint8_t *file, uint64_t size, struct table_meta *meta)
{
    uint8_t *footer = file + size - FOOTER_BYTES;
    uint64_t from, len;
    struct properties p;
    struct quern_error err;

    put_u64le(footer + 96, UNIQUE_ID);
    if (span_inside(footer + 48, size - FOOTER_BYTES, &from, &len) &&
        len >= INDEX_HEAD_BYTES + TRAILER_BYTES)
        stamp_rows(file, size - FOOTER_BYTES, from, len);
    for (size_t i = 0; i < 4; i++)
        if (span_inside(footer + 24 * i, size - FOOTER_BYTES, &from, &len))
            put_u64le(footer + 24 * i + 16, stamp(file, from, len));
    if (span_inside(footer + 72, size - FOOTER_BYTES, &from, &len) &&
        properties_get(file + from, (size_t)len - TRAILER_BYTES, &p, &err) == QUERN_OK)
        *meta = p.meta;
    put_u64le(footer + 120, hash_placed(footer, 120, UNIQUE_ID, size - FOOTER_BYTES));
    meta->table_no = TABLE_NO;
    meta->file_bytes = size;
    meta->unique_id = UNIQUE_ID;
    meta->file_hash = get_u64le(footer + 120);
}

static volatile uint8_t sink;

static void touch(const struct entry *e)
{
    sink = (uint8_t)(((const uint8_t *)e->key.data)[e->key.len - 1] +
                     (e->value.len ? ((const uint8_t *)e->value.data)[e->value.len - 1] : 0));
}

static void read_table(struct sst *t, enum sst_walk walk)
{
    struct quern_error err;
    struct iter *it OWNED(iter_free) = NULL;
    uint64_t rank;
    int steps = 0;

    IGNORE(sst_verify(t, NULL, NULL, NULL, &err)); /* any answer will do, in bounds */
    if (sst_iter(t, walk, &it, &err))
        return;
    for (iter_last(it); it->valid && steps < 300; iter_prev(it), steps++)
        touch(&it->at);
    for (iter_first(it), steps = 0; it->valid && steps < 300; iter_next(it), steps++) {
        struct sst_lookup l = {.table = t, .key = it->at.key, .seq = it->at.seq};
        struct sst_lookup *many = &l;
        enum quern_code code;

        touch(&it->at);
        l.hash = hash_key(l.key);
        rcu_enter();
        if (sst_get(t, &l, &err) == QUERN_OK && l.found)
            touch(&l.entry);
        alloc_free(l.owned);
        sst_get_many(&many, 1, &code, &err);
        alloc_free(l.owned);
        rcu_leave();
        IGNORE(sst_rank(t, l.key, &rank, &err));
    }
}

static char dir_path[64];

static void remove_dir(void)
{
    (void)rmdir(dir_path);
}

/* The directory in which every input becomes table 000001. */
static struct os_dir *fuzz_dir(void)
{
    static struct os_dir *dir;
    struct quern_error err;

    if (dir == NULL) {
        (void)snprintf(dir_path, sizeof(dir_path), "/tmp/quern-fuzz-XXXXXX");
        if (mkdtemp(dir_path) == NULL || os_dir_open(os_local(), dir_path, false, &dir, &err) ||
            atexit(remove_dir) != 0)
            abort();
    }
    return dir;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sst_cache *cache;
    struct sst *t OWNED(sst_unref) = NULL;
    struct table_meta meta = {0};
    struct quern_error err;
    struct os_dir *dir = fuzz_dir();
    struct os_file *file OWNED(os_file_drop) = NULL;
    uint8_t *bytes OWNED(alloc_free) = NULL;
    struct iovec piece;

    if (size < FOOTER_BYTES || size > (1 << 20))
        return 0;
    if (cache == NULL && sst_cache_new(64 << 10, &cache, &err))
        abort();
    bytes = alloc_bytes(size);
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    stamp_all(bytes, size, &meta);
    piece = (struct iovec){bytes, size};
    if (os_file_open(dir, "000001.sst", OS_WRITE | OS_CREATE, &file, &err) ||
        os_file_write(file, &piece, 1, 0, &err))
        abort();
    if (sst_open(dir, &meta, cache, &t, &err) == QUERN_OK) {
        read_table(t, size % 2 == 0 ? SST_WHOLE : SST_CACHED);
        sst_condemn(t);
    } else if (os_dir_remove(dir, "000001.sst", &err)) {
        abort();
    }
    table_meta_done(&meta);
    return 0;
}
