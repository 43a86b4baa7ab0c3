/* fuzz_table.c - a whole table of any bytes: open, read, verify and salvage never do more than fail.
 *
 * Checksums, and a footer in which one number is off, would end nearly every run at the door. So
 * the input is taken as a table that was damaged and then made to look whole: the spans of the
 * footer are laid end to end, and every checksum on the way is stamped anew, with what the manifest
 * would know: data blocks and their rows in the index, filter, index, properties, footer. In every
 * second input counts and sums are made right as well. The bytes between are the fuzzer's. */
#include "fuzz.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/rcu.h"
#include "sst/format_priv.h"
#include "sst/index_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TABLE_NO 1
#define UNIQUE_ID 42

/* Where the footer keeps the place of a block. */
enum { FILTER = 0, RANGE_DELETES = 24, INDEX = 48, PROPERTIES = 72 };

static uint64_t stamp(uint8_t *file, uint64_t from, uint64_t len)
{
    uint8_t *trailer = file + from + len - TRAILER_BYTES;

    if (get_u32le(trailer + 4) == SST_PLAIN)
        put_u32le(trailer, (uint32_t)(len - TRAILER_BYTES));
    put_u64le(trailer + 8, hash_placed(file + from, (size_t)len - 8, UNIQUE_ID, from));
    return get_u64le(trailer + 8);
}

struct sums {
    uint64_t rows, entries;
};

/* Of the index at [from, from + len): each row's checksum, and what the rows add up to. The data
 * blocks fill [0, data_bytes); with `right` the last row is made to end there. */
static struct sums stamp_rows(uint8_t *file, uint64_t from, uint64_t len, uint64_t data_bytes,
                              bool right)
{
    uint8_t *at = file + from + INDEX_HEAD_BYTES, *end = file + from + len - TRAILER_BYTES;
    struct index_row row;
    struct sums sums = {0, 0};
    uint64_t block_at = 0;

    for (uint8_t *next; (next = (uint8_t *)(uintptr_t)index_row_get(at, end, &row)) != NULL;
         at = next) {
        uint64_t bytes = row.bytes;

        if (right && next == end)
            put_u32le(at, (uint32_t)(bytes = data_bytes - block_at));
        if (bytes < TRAILER_BYTES || bytes > data_bytes - block_at)
            break;
        put_u64le(at + 8, stamp(file, block_at, bytes));
        block_at += bytes;
        sums.entries += row.entries;
        sums.rows++;
    }
    if (right)
        put_u32le(file + from, (uint32_t)sums.rows);
    return sums;
}

static void stamp_properties(uint8_t *at, const uint8_t *end, const struct sums *sums, bool right)
{
    while (end - at >= 8 && get_u32le(at + 4) <= (uint64_t)(end - at) - 8) {
        unsigned id = get_u16le(at);
        uint64_t len = get_u32le(at + 4);

        if (len == 8 && id == 1)
            put_u64le(at + 8, TABLE_NO);
        if (len == 8 && id == 2)
            put_u64le(at + 8, UNIQUE_ID);
        if (len == 8 && right && (id == 3 || id == 14))
            put_u64le(at + 8, id == 3 ? sums->entries : sums->rows);
        at += 8 + len;
    }
}

/* Lay the spans end to end before the footer; the data blocks get what is left. */
static void lay_spans(uint8_t *footer, uint64_t footer_at)
{
    static const unsigned last_first[] = {PROPERTIES, INDEX, RANGE_DELETES, FILTER};
    uint64_t at = footer_at;

    for (size_t i = 0; i < ARRAY_LEN(last_first); i++) {
        uint8_t *span = footer + last_first[i];
        uint64_t bytes = get_u64le(span + 8);

        if (last_first[i] == RANGE_DELETES || bytes < TRAILER_BYTES)
            bytes = 0;
        if (bytes > at)
            bytes = at;
        at -= bytes;
        put_u64le(span, at);
        put_u64le(span + 8, bytes);
    }
}

/* Make it look whole; fill in what a manifest would know. */
static void stamp_all(uint8_t *file, uint64_t size, struct table_meta *meta)
{
    uint64_t footer_at = size - FOOTER_BYTES;
    uint8_t *footer = file + footer_at;
    bool right = footer[96] & 1;
    struct sums sums = {0, 0};
    struct properties p;
    struct quern_error err;

    lay_spans(footer, footer_at);
    put_u64le(footer + 96, UNIQUE_ID);
    put_u64le(footer + 104, FORMAT_VERSION);
    put_u64le(footer + 112, 0);
    memcpy(footer + 128, "QERNSST1", 8);
    for (unsigned span = FILTER; span <= PROPERTIES; span += 24) {
        uint64_t from = get_u64le(footer + span), len = get_u64le(footer + span + 8);

        if (len < INDEX_HEAD_BYTES + TRAILER_BYTES)
            continue;
        if (span == INDEX)
            sums = stamp_rows(file, from, len, get_u64le(footer + FILTER), right);
        if (span == PROPERTIES)
            stamp_properties(file + from, file + from + len - TRAILER_BYTES, &sums, right);
        put_u64le(footer + span + 16, stamp(file, from, len));
        if (span == PROPERTIES &&
            properties_get(file + from, (size_t)len - TRAILER_BYTES, &p, &err) == QUERN_OK)
            *meta = p.meta;
    }
    put_u64le(footer + 120, hash_placed(footer, 120, UNIQUE_ID, footer_at));
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

#define MANY 16 /* lookups at once */

static void look_up(struct sst *t, struct sst_lookup *lookups, size_t n)
{
    struct sst_lookup *many[MANY];
    enum quern_code codes[MANY];
    struct quern_error errs[MANY];
    uint64_t rank;

    rcu_enter();
    for (size_t i = 0; i < n; i++) {
        many[i] = &lookups[n - 1 - i];
        if (sst_get(t, &lookups[i], &errs[i]) == QUERN_OK && lookups[i].found)
            touch(&lookups[i].entry);
        alloc_free(lookups[i].owned);
        lookups[i].owned = NULL;
    }
    sst_get_many(many, n, codes, errs);
    for (size_t i = 0; i < n; i++) {
        if (codes[n - 1 - i] == QUERN_OK && lookups[i].found)
            touch(&lookups[i].entry);
        alloc_free(lookups[i].owned);
        IGNORE(sst_rank(t, lookups[i].key, &rank, &errs[0]));
    }
    rcu_leave();
}

/* Any answer will do, inside the bounds. */
static void read_table(struct sst *t, enum sst_walk walk)
{
    struct sst_lookup lookups[MANY];
    struct buf keys[MANY] = {{0}};
    struct quern_error err;
    struct iter *it OWNED(iter_free) = NULL;
    size_t n = 0;
    int steps = 0;

    IGNORE(sst_verify(t, NULL, NULL, NULL, &err));
    if (sst_iter(t, walk, &it, &err))
        return;
    for (iter_last(it); it->valid && steps < 300; iter_prev(it), steps++)
        touch(&it->at);
    for (iter_first(it), steps = 0; it->valid && steps < 300; iter_next(it), steps++) {
        touch(&it->at);
        if (n < MANY && steps % 3 == 0 && buf_assign(&keys[n], it->at.key, &err) == QUERN_OK) {
            lookups[n] = (struct sst_lookup){.table = t, .seq = it->at.seq};
            lookups[n].key = buf_slice(&keys[n]);
            lookups[n].hash = hash_key(lookups[n].key);
            n++;
        }
    }
    look_up(t, lookups, n);
    for (size_t i = 0; i < n; i++) {
        iter_seek(it, lookups[i].key);
        if (it->valid)
            touch(&it->at);
        iter_seek_below(it, lookups[i].key);
        if (it->valid)
            touch(&it->at);
        buf_done(&keys[i]);
    }
}

/* Whatever is damaged, what is left is read, from the table's own footer or without one. */
static void salvage_table(struct os_dir *dir, uint64_t unique_id)
{
    struct quern_error err;
    struct iter *it OWNED(iter_free) = NULL;

    if (sst_salvage(dir, TABLE_NO, unique_id, NULL, NULL, &it, &err))
        return;
    for (iter_first(it); it->valid; iter_next(it))
        touch(&it->at);
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
    salvage_table(dir, size % 4 < 2 ? UNIQUE_ID : 0);
    if (sst_open(dir, &meta, cache, &t, &err) == QUERN_OK) {
        read_table(t, size % 2 == 0 ? SST_WHOLE : SST_CACHED);
        sst_condemn(t);
    } else if (os_dir_remove(dir, "000001.sst", &err)) {
        abort();
    }
    table_meta_done(&meta);
    return 0;
}
