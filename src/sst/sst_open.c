/* sst_open.c - opens and closes a table, and brings its parts from disk into the cache.
 *
 *      sst_open          footer, properties: is this the file that the manifest means?
 *      first lookup      filter -> frame; index -> frame, and a slot for every block
 *      any lookup        block  -> frame, or, when the cache does not admit it, memory that the
 *                                  reader owns
 *
 * Every block is checked in the same order: its checksum against the copy in the index (or footer),
 * the bytes against it, then what the trailer says, then, once expanded, its own offsets and
 * lengths. After that nothing in it is checked again. */
#include "sst/table_priv.h"

#include "base/alloc.h"

#include <inttypes.h>

/* ---- open and close ---- */

static enum quern_code check_meta(const struct table_meta *want, const struct table_meta *got,
                                  struct quern_error *err)
{
    if (want->table_no != got->table_no || want->unique_id != got->unique_id)
        return err_set(err, QUERN_CORRUPT, "holds another table, %06" PRIu64, got->table_no);
    if (want->entry_count != got->entry_count || want->tombstone_count != got->tombstone_count ||
        want->duplicate_count != got->duplicate_count || want->raw_bytes != got->raw_bytes ||
        want->entry_hash != got->entry_hash || want->seq_min != got->seq_min ||
        want->seq_max != got->seq_max || want->expires_min_ms != got->expires_min_ms ||
        want->expiring_count != got->expiring_count ||
        want->expires_max_ms != got->expires_max_ms || want->created_ms != got->created_ms ||
        /* a trim may have raised the bound below which the table's entries are not seen */
        key_compare(buf_slice(&want->smallest), buf_slice(&got->smallest)) < 0 ||
        key_compare(buf_slice(&want->smallest), buf_slice(&got->largest)) > 0 ||
        !key_equal(buf_slice(&want->largest), buf_slice(&got->largest)))
        return err_set(err, QUERN_CORRUPT, "properties are not those that were recorded");
    return QUERN_OK;
}

/* Read a sealed block that the footer names to `bytes`, and check it. */
static enum quern_code read_span(struct sst *t, const struct span *span, uint8_t *bytes,
                                 size_t *raw_len, struct quern_error *err)
{
    if (os_file_read(t->file, bytes, (size_t)span->bytes, span->at, err) ||
        unseal_plain(bytes, (size_t)span->bytes, span->checksum, t->footer.unique_id, span->at,
                     raw_len, err))
        return err->code;
    cache_count_read(t->cache, span->bytes);
    return QUERN_OK;
}

static enum quern_code read_footer(struct sst *t, const struct table_meta *meta,
                                   struct quern_error *err)
{
    uint8_t bytes[FOOTER_BYTES];
    uint64_t file_bytes;

    if (os_file_size(t->file, &file_bytes, err))
        return err->code;
    if (file_bytes != meta->file_bytes || file_bytes < FOOTER_BYTES)
        return err_set(err, QUERN_CORRUPT, "has %" PRIu64 " bytes, not %" PRIu64, file_bytes,
                       meta->file_bytes);
    if (os_file_read(t->file, bytes, FOOTER_BYTES, file_bytes - FOOTER_BYTES, err) ||
        footer_get(bytes, file_bytes - FOOTER_BYTES, &t->footer, err))
        return err->code;
    if (t->footer.unique_id != meta->unique_id || t->footer.checksum != meta->file_hash)
        return err_set(err, QUERN_CORRUPT, "holds other content than was recorded");
    return QUERN_OK;
}

static enum quern_code read_properties(struct sst *t, const struct table_meta *meta,
                                       struct quern_error *err)
{
    uint8_t *bytes OWNED(alloc_free) = alloc_bytes((size_t)t->footer.properties.bytes);
    struct properties p;
    size_t raw_len;
    enum quern_code code;

    if (bytes == NULL)
        return err_memory(err, "a table's properties");
    if (read_span(t, &t->footer.properties, bytes, &raw_len, err) ||
        properties_get(bytes, raw_len, &p, err))
        return err->code;
    code = check_meta(meta, &p.meta, err);
    if (code == QUERN_OK && p.codec > SST_ZSTD)
        code = err_set(err, QUERN_UNSUPPORTED, "codec %" PRIu64, p.codec);
    /* A row of the index per block: a count that cannot be true would size the slots. */
    if (code == QUERN_OK &&
        (p.block_count == 0 || p.block_count > t->footer.index.bytes / INDEX_ROW_BYTES))
        code = err_set(err, QUERN_CORRUPT, "%" PRIu64 " blocks cannot be", p.block_count);
    if (code == QUERN_OK) { /* the file's own first key, whatever was trimmed */
        struct buf trimmed = t->meta.smallest;

        t->meta.smallest = p.meta.smallest;
        p.meta.smallest = trimmed;
    }
    table_meta_done(&p.meta);
    if (code != QUERN_OK)
        return code;
    t->codec = (enum sst_codec)p.codec;
    t->block_count = p.block_count;
    return QUERN_OK;
}

enum quern_code table_error(const struct sst *t, struct quern_error *err)
{
    if (err->code == QUERN_BUSY)
        return QUERN_BUSY; /* nothing is wrong with the table */
    return err_in(err, "table %06" PRIu64, t->meta.table_no);
}

enum quern_code table_not_cached(struct quern_error *err)
{
    /* Ready to be copied: a server hears it several times for each read that goes to the disk. */
    static const struct quern_error busy = {.code = QUERN_BUSY,
                                            .text = "what is asked for is not in the cache"};

    *err = busy;
    return QUERN_BUSY;
}

enum quern_code sst_open(struct os_dir *dir, const struct table_meta *meta, struct sst_cache *cache,
                         struct sst **out, struct quern_error *err)
{
    struct sst *t OWNED(sst_unref) = NEW(struct sst);
    char name[TABLE_NAME_BYTES];

    if (t == NULL)
        return err_memory(err, "a table");
    table_name(name, meta->table_no);
    t->dir = dir;
    t->cache = cache;
    atomic_init(&t->refs, 1);
    if (table_meta_copy(&t->meta, meta, err))
        return err->code;
    if (os_file_open(dir, name, OS_READ, &t->file, err))
        /* The manifest names it, so its absence is damage, not an empty place. */
        return err->code == QUERN_NO_STORE ? (err->code = QUERN_CORRUPT, table_error(t, err))
                                           : table_error(t, err);
    if (read_footer(t, meta, err) || read_properties(t, meta, err))
        return table_error(t, err);
    *out = GIVE(t);
    return QUERN_OK;
}

void sst_ref(struct sst *t)
{
    (void)atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void sst_unref(struct sst *t)
{
    frame_slot *blocks;
    struct quern_error err;
    char name[TABLE_NAME_BYTES];

    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    cache_forget(t->cache, &t->index, 1);
    cache_forget(t->cache, &t->filter, 1);
    blocks = atomic_load_explicit(&t->blocks, memory_order_acquire);
    if (blocks != NULL) {
        cache_forget(t->cache, blocks, t->block_count);
        cache_charge(t->cache, FRAME_INDEX, -(int64_t)(t->block_count * sizeof(frame_slot)));
        alloc_free(blocks);
    }
    os_file_drop(t->file);
    if (atomic_load_explicit(&t->condemned, memory_order_acquire)) {
        table_name(name, t->meta.table_no);
        /* A file that stays is an orphan, which the next open of the store removes. */
        IGNORE(os_dir_remove(t->dir, name, &err));
    }
    table_meta_done(&t->meta);
    alloc_free(t);
}

void sst_condemn(struct sst *t)
{
    atomic_store_explicit(&t->condemned, true, memory_order_release);
}

const struct table_meta *sst_meta(const struct sst *t)
{
    return &t->meta;
}

void sst_count_cached(struct sst *t, uint64_t *blocks, uint64_t *cached)
{
    frame_slot *slots = atomic_load_explicit(&t->blocks, memory_order_acquire);

    *blocks = t->block_count;
    *cached = 0;
    for (uint64_t b = 0; slots != NULL && b < t->block_count; b++)
        *cached += atomic_load_explicit(&slots[b], memory_order_relaxed) != NULL;
}

/* ---- index and filter ---- */

static enum quern_code need_slots(struct sst *t, struct quern_error *err)
{
    frame_slot *mine, *there = atomic_load_explicit(&t->blocks, memory_order_acquire);

    if (there != NULL)
        return QUERN_OK;
    mine = alloc_array(t->block_count, sizeof(*mine));
    if (mine == NULL)
        return err_memory(err, "a table's index");
    if (atomic_compare_exchange_strong_explicit(&t->blocks, &there, mine, memory_order_acq_rel,
                                                memory_order_acquire))
        cache_charge(t->cache, FRAME_INDEX, (int64_t)(t->block_count * sizeof(*mine)));
    else
        alloc_free(mine);
    return QUERN_OK;
}

/* `raw` has room for what lies in the file. */
static enum quern_code load_index(struct sst *t, uint8_t *raw, struct frame **out,
                                  struct quern_error *err)
{
    struct frame *f;
    size_t raw_len;
    struct index_size size;

    if (read_span(t, &t->footer.index, raw, &raw_len, err) ||
        index_check(raw, raw_len, t->block_count, t->footer.filter.at, t->meta.entry_count, &size,
                    err) ||
        frame_new(t->cache, FRAME_INDEX, size.memory_bytes, &f, err))
        return err->code;
    (void)index_build(frame_lines(f), raw, raw_len, &size);
    *out = frame_publish(&t->index, f);
    return QUERN_OK;
}

enum quern_code table_load_index(struct sst *t, struct frame **out, struct quern_error *err)
{
    size_t len = (size_t)t->footer.index.bytes;
    enum quern_code code;
    uint8_t *raw;

    if (need_slots(t, err))
        return err->code;
    raw = alloc_pages(len);
    if (raw == NULL)
        return err_memory(err, "a table's index");
    alloc_pages_fill(raw, len);
    code = load_index(t, raw, out, err);
    alloc_pages_free(raw, len);
    return code;
}

/* Nobody else looks at it yet, but frame_publish() may evict it again. */
static void keep(frame_slot *slot, struct frame *f)
{
    rcu_enter();
    (void)frame_publish(slot, f);
    rcu_leave();
}

bool table_keep_index(struct sst *t, const uint8_t *raw, size_t len, const struct index_size *size)
{
    struct quern_error ignored;
    struct frame *f;

    if (need_slots(t, &ignored) ||
        frame_new(t->cache, FRAME_INDEX, size->memory_bytes, &f, &ignored))
        return false;
    (void)index_build(frame_lines(f), raw, len, size);
    keep(&t->index, f);
    return true;
}

bool table_keep_filter(struct sst *t, const uint8_t *sealed)
{
    size_t len = (size_t)t->footer.filter.bytes;
    struct quern_error ignored;
    struct frame *f;

    if (frame_new(t->cache, FRAME_FILTER, len, &f, &ignored))
        return false;
    memcpy(frame_lines(f), sealed, len);
    keep(&t->filter, f);
    return true;
}

bool table_keep_block(struct sst *t, uint32_t b, const uint8_t *plain, size_t len)
{
    struct quern_error ignored;
    struct frame *f;

    if (frame_admit(t->cache, table_slot(t, b), len, &f, &ignored))
        return false;
    if (f == NULL)
        return true; /* perhaps the next */
    memcpy(frame_block(f), plain, len);
    keep(table_slot(t, b), f);
    return true;
}

enum quern_code table_load_filter(struct sst *t, struct frame **out, struct quern_error *err)
{
    const struct span *span = &t->footer.filter;
    struct frame *f OWNED(frame_drop) = NULL;
    struct filter filter;
    size_t raw_len;

    if (frame_new(t->cache, FRAME_FILTER, (size_t)span->bytes, &f, err) ||
        read_span(t, span, frame_lines(f), &raw_len, err))
        return err->code;
    if (!filter_view(&filter, frame_lines(f), raw_len))
        return err_set(err, QUERN_CORRUPT, "filter at %" PRIu64 ": out of shape", span->at);
    *out = frame_publish(&t->filter, GIVE(f));
    return QUERN_OK;
}

/* ---- data blocks ---- */

enum quern_code table_check_sealed(struct sst *t, const struct index *x, uint32_t b,
                                   const uint8_t *sealed, struct unsealed *u,
                                   struct quern_error *err)
{
    return unseal_check(sealed, (size_t)(x->at[b + 1] - x->at[b]), x->checksums[b],
                        t->footer.unique_id, x->at[b], u, err);
}

enum quern_code table_check_plain(const struct index *x, uint32_t b, const uint8_t *bytes,
                                  size_t len, struct quern_error *err)
{
    const char *why = block_check(bytes, len);

    if (why == NULL && get_u32le(bytes) != x->before[b + 1] - x->before[b])
        why = "another number of entries than the index says";
    if (why != NULL)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": %s", x->at[b], why);
    return QUERN_OK;
}

/* Of a table without compression: straight from the file to where it stays. */
static enum quern_code load_plain(struct sst *t, const struct index *x, uint32_t b,
                                  struct held_block *out, struct quern_error *err)
{
    size_t len = (size_t)(x->at[b + 1] - x->at[b]);
    struct frame *f OWNED(frame_drop) = NULL;
    void *apart OWNED(alloc_free) = NULL;
    uint8_t *bytes;
    struct unsealed u;

    if (frame_admit(t->cache, table_slot(t, b), len, &f, err))
        return err->code;
    if (f == NULL && (apart = alloc_bytes(len)) == NULL)
        return err_memory(err, "a block");
    bytes = f != NULL ? frame_block(f) : apart;
    if (os_file_read(t->file, bytes, len, x->at[b], err) ||
        table_check_sealed(t, x, b, bytes, &u, err))
        return err->code;
    if (u.codec != SST_PLAIN)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": compressed in a plain table",
                       x->at[b]);
    if (table_check_plain(x, b, bytes, u.raw_len, err))
        return err->code;
    cache_count_read(t->cache, len);
    if (f != NULL)
        f = frame_publish(table_slot(t, b), f);
    *out = (struct held_block){f != NULL ? frame_block(f) : bytes, GIVE(f), GIVE(apart)};
    return QUERN_OK;
}

static enum quern_code load_expanded(struct sst *t, const struct index *x, uint32_t b,
                                     struct held_block *out, struct quern_error *err)
{
    size_t len = (size_t)(x->at[b + 1] - x->at[b]);
    uint8_t *sealed OWNED(alloc_free) = alloc_bytes(len);
    struct frame *f OWNED(frame_drop) = NULL;
    void *apart OWNED(alloc_free) = NULL;
    uint8_t *bytes;
    struct unsealed u;

    if (sealed == NULL)
        return err_memory(err, "a block");
    if (os_file_read(t->file, sealed, len, x->at[b], err) ||
        table_check_sealed(t, x, b, sealed, &u, err))
        return err->code;
    cache_count_read(t->cache, len);
    if (frame_admit(t->cache, table_slot(t, b), u.raw_len, &f, err))
        return err->code;
    if (f == NULL && u.codec == SST_PLAIN) {
        if (table_check_plain(x, b, sealed, u.raw_len, err))
            return err->code;
        *out = (struct held_block){sealed, NULL, sealed};
        sealed = NULL;
        return QUERN_OK;
    }
    if (f == NULL && (apart = alloc_bytes(u.raw_len)) == NULL)
        return err_memory(err, "a block");
    bytes = f != NULL ? frame_block(f) : apart;
    if (unseal_expand(sealed, &u, bytes, err))
        return err_in(err, "block at %" PRIu64, x->at[b]);
    if (table_check_plain(x, b, bytes, u.raw_len, err))
        return err->code;
    if (f != NULL)
        f = frame_publish(table_slot(t, b), f);
    *out = (struct held_block){f != NULL ? frame_block(f) : bytes, GIVE(f), GIVE(apart)};
    return QUERN_OK;
}

enum quern_code table_load_block(struct sst *t, const struct index *x, uint32_t b,
                                 struct held_block *out, struct quern_error *err)
{
    cache_count_miss(t->cache);
    return t->codec == SST_PLAIN ? load_plain(t, x, b, out, err) : load_expanded(t, x, b, out, err);
}
