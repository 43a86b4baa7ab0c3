/* sst_write.c - lays one table down, front to back, in a single pass.
 *
 *      add -> block builder --full--> sealed into `out` --1 MiB--> file, write-back begun
 *                                  '-> a row for the index, once the next key is known
 *      finish -> last block | filter | index | properties | footer -> read again -> sync
 *
 *  (1) entries rise strictly by entry_compare(), ensured;
 *  (2) memory is one block, the index, eight bytes per key for the filter, and `out`;
 *  (3) a value that fills a block goes past the builder into `out`, in one copy; a large one from
 *      the caller's memory straight into the file: it is hashed where it stands and written as a
 *      piece of its own;
 *  (4) a table is whole only when the footer is: a reader finds the magic at the very end;
 *  (5) the sum of the entries' hashes comes from the caller, who took them where the entries came
 *      from. Before the sync the file is read again and held against it, so an entry lost or
 *      changed on the way, or a byte between memory and file, ends here. */
#include "sst/table_priv.h"

#include "base/hash.h"

#include <inttypes.h>

#define OUT_BYTES (UINT32_C(1) << 20)
#define HASH_BRIEF_BYTES_MAX 128u /* what XXH3 does of so few bytes is a straight line */

struct sst_writer {
    /* Set in sst_writer_open(), constant after. */
    struct os_dir *dir;
    struct os_file *file;
    struct sst_write_config config;
    char name[TABLE_NAME_BYTES];

    struct block_builder block;
    size_t open_bytes;    /* that it will take in the file */
    struct buf plain;     /* a block's plain form, before it is compressed */
    struct buf out;       /* sealed bytes not yet in the file */
    uint64_t out_at;      /* where `out` will be in the file */
    struct buf index;     /* rows of the blocks so far */
    struct index_row row; /* of the last block, if row_waits: its separator needs the next key */
    bool row_waits;
    uint64_t block_count;
    uint64_t *hashes; /* one per user key, for the filter */
    size_t hash_count, hash_capacity;
    struct buf last_key; /* of the last block; within one the builder knows it */
    quern_seq last_seq;
    struct table_meta meta; /* grows with each entry */
    bool failed;
};

/* Of a long entry, or of one whose value does not follow its key. */
__attribute__((noinline)) static uint64_t hash_apart(const struct entry *e)
{
    struct quern_slice pieces[] = {e->key, e->value};

    if (e->value.len == 0 || e->value.data == (const uint8_t *)e->key.data + e->key.len)
        return hash_bytes(e->key.data, e->key.len + e->value.len, 0);
    return hash_pieces(pieces, ARRAY_LEN(pieces), 0);
}

uint64_t sst_entry_hash(const struct entry *e)
{
    const uint8_t *behind_key = (const uint8_t *)e->key.data + e->key.len;
    uint64_t bytes, about;

    if (LIKELY(e->key.len + e->value.len <= HASH_BRIEF_BYTES_MAX &&
               (e->value.data == behind_key || e->value.len == 0)))
        bytes = XXH3_64bits_withSeed(e->key.data, e->key.len + e->value.len, 0);
    else
        bytes = hash_apart(e);
    about = e->seq * UINT64_C(0x9E3779B97F4A7C15) ^ e->expires_ms * UINT64_C(0xC2B2AE3D27D4EB4F) ^
            (uint64_t)e->key.len << 8 ^ (uint64_t)e->kind;
    bytes = (bytes ^ (about >> 31) ^ about) * UINT64_C(0xBF58476D1CE4E5B9);
    return bytes ^ (bytes >> 29);
}

enum quern_code sst_writer_open(struct os_dir *dir, const struct sst_write_config *config,
                                struct sst_writer **out, struct quern_error *err)
{
    struct sst_writer *w = NEW(struct sst_writer);

    if (w == NULL)
        return err_memory(err, "a table writer");
    w->dir = dir;
    w->config = *config;
    w->meta.table_no = config->table_no;
    w->meta.created_ms = config->created_ms;
    w->meta.unique_id = os_random_u64(os_of(dir));
    table_name(w->name, config->table_no);
    if (os_file_open(dir, w->name, OS_WRITE | OS_CREATE, &w->file, err)) {
        alloc_free(w); /* not sst_writer_drop(): a file of this name is not ours */
        return err_in(err, "create table %06" PRIu64, config->table_no);
    }
    if (buf_reserve(&w->out, OUT_BYTES + OUT_BYTES / 8, err)) {
        sst_writer_drop(w);
        return err->code;
    }
    *out = w;
    return QUERN_OK;
}

static void writer_free(struct sst_writer *w)
{
    block_builder_done(&w->block);
    buf_done(&w->plain);
    buf_done(&w->out);
    buf_done(&w->index);
    buf_done(&w->last_key);
    alloc_free(w->hashes);
    table_meta_done(&w->meta);
    alloc_free(w);
}

void sst_writer_drop(struct sst_writer *w)
{
    struct quern_error err;

    if (w == NULL)
        return;
    os_file_drop(w->file);
    IGNORE(os_dir_remove(w->dir, w->name, &err)); /* else an orphan, removed at the next open */
    writer_free(w);
}

uint64_t sst_writer_bytes(const struct sst_writer *w)
{
    return w->out_at + w->out.len + w->open_bytes;
}

/* ---- bytes to the file ---- */

static enum quern_code write_pieces(struct sst_writer *w, const struct iovec *pieces, int n,
                                    struct quern_error *err)
{
    uint64_t bytes = 0;

    for (int i = 0; i < n; i++)
        bytes += pieces[i].iov_len;
    if (bytes == 0)
        return QUERN_OK;
    if (os_file_write(w->file, pieces, n, w->out_at, err))
        return err->code;
    os_file_start_writeback(w->file, w->out_at, bytes);
    w->out_at += bytes;
    buf_clear(&w->out);
    return QUERN_OK;
}

static enum quern_code write_out(struct sst_writer *w, struct quern_error *err)
{
    struct iovec piece = {w->out.data, w->out.len};

    return write_pieces(w, &piece, 1, err);
}

/* Where the next sealed block will lie. */
static uint64_t next_at(const struct sst_writer *w)
{
    return w->out_at + w->out.len;
}

/* Seal what stands at the end of `out` (room for the trailer is there) and count it in. */
static struct span seal_in_place(struct sst_writer *w, size_t raw_len)
{
    uint8_t *at = w->out.data + w->out.len;
    struct span span = {.at = next_at(w)};

    span.bytes = seal(at, at, raw_len, SST_PLAIN, w->meta.unique_id, span.at);
    span.checksum = get_u64le(at + span.bytes - 8);
    w->out.len += (size_t)span.bytes;
    return span;
}

/* ---- data blocks ---- */

/* The separator of the last block is known now that the next key is (empty: there is none). */
static enum quern_code settle_row(struct sst_writer *w, struct quern_slice next_key,
                                  struct quern_error *err)
{
    uint8_t *room OWNED(alloc_free) = NULL;
    struct quern_slice last = buf_slice(&w->last_key);

    if (!w->row_waits)
        return QUERN_OK;
    w->row.separator = last;
    if (next_key.len != 0) {
        room = alloc_bytes(last.len);
        if (room == NULL)
            return err_memory(err, "a table's index");
        w->row.separator = index_separator(last, next_key, room);
    }
    w->row_waits = false;
    return index_row_put(&w->index, &w->row, err);
}

/* The block in the builder is sealed. */
static enum quern_code note_row(struct sst_writer *w, uint64_t sealed, uint64_t checksum,
                                struct quern_error *err)
{
    ensure(sealed <= UINT32_MAX && w->block_count < UINT32_MAX - INDEX_FAN);
    w->row = (struct index_row){.bytes = (uint32_t)sealed,
                                .entries = w->block.count,
                                .checksum = checksum,
                                .first_head = block_builder_first_head(&w->block)};
    w->row_waits = true;
    w->block_count++;
    w->open_bytes = 0;
    return buf_assign(&w->last_key, block_builder_last_key(&w->block), err);
}

static enum quern_code close_block(struct sst_writer *w, struct quern_error *err)
{
    size_t room = block_builder_bytes(&w->block, NULL) + BLOCK_PREFIX_MAX;
    struct span span = {.at = next_at(w)};
    size_t raw_len;
    uint8_t *at;

    if (w->block.count == 0)
        return QUERN_OK;
    if (buf_reserve(&w->out, room + TRAILER_BYTES, err))
        return err->code;
    at = w->out.data + w->out.len;
    if (w->config.codec == SST_PLAIN) {
        span = seal_in_place(w, block_build(&w->block, at));
    } else {
        if (buf_reserve(&w->plain, room, err))
            return err->code;
        raw_len = block_build(&w->block, w->plain.data);
        span.bytes = seal(at, w->plain.data, raw_len, w->config.codec, w->meta.unique_id, span.at);
        span.checksum = get_u64le(at + span.bytes - 8);
        w->out.len += (size_t)span.bytes;
    }
    if (note_row(w, span.bytes, span.checksum, err))
        return err->code;
    block_builder_clear(&w->block);
    if (w->block.data.capacity > OUT_BYTES) { /* one large entry should not hold memory for ever */
        block_builder_done(&w->block);
        buf_done(&w->plain);
    }
    return w->out.len >= OUT_BYTES ? write_out(w, err) : QUERN_OK;
}

/* The value of a block's only entry goes from where it stands straight into the file, behind what is
 * in `out`, which ends with the rest of the block. */
static enum quern_code write_value(struct sst_writer *w, struct quern_slice value, size_t head_len,
                                   struct span *span, struct quern_error *err)
{
    uint8_t trailer[TRAILER_BYTES];
    struct quern_slice head = slice_of(w->out.data + w->out.len, head_len);

    seal_pieces(trailer, head, value, w->meta.unique_id, span->at);
    w->out.len += head_len;
    span->bytes = head_len + value.len + TRAILER_BYTES;
    span->checksum = get_u64le(trailer + 8);
    {
        struct iovec pieces[] = {{w->out.data, w->out.len},
                                 {(void *)(uintptr_t)value.data, value.len},
                                 {trailer, TRAILER_BYTES}};

        return write_pieces(w, pieces, 3, err);
    }
}

/* A block of one entry, whose value the builder does not see. The builder is empty. */
static enum quern_code write_alone(struct sst_writer *w, const struct entry *e,
                                   struct quern_error *err)
{
    bool large = e->value.len >= LARGE_BLOCK_BYTES;
    struct span span = {.at = next_at(w)};
    size_t head_len, room = large ? 0 : e->value.len + TRAILER_BYTES;

    if (block_builder_add(&w->block, e, true, err) ||
        buf_reserve(&w->out, block_builder_bytes(&w->block, NULL) + BLOCK_PREFIX_MAX + room, err))
        return err->code;
    head_len = block_build(&w->block, w->out.data + w->out.len);
    if (large) {
        if (write_value(w, e->value, head_len, &span, err))
            return err->code;
    } else {
        memcpy(w->out.data + w->out.len + head_len, e->value.data, e->value.len);
        span = seal_in_place(w, head_len + e->value.len);
    }
    if (note_row(w, span.bytes, span.checksum, err))
        return err->code;
    block_builder_clear(&w->block);
    return w->out.len >= OUT_BYTES ? write_out(w, err) : QUERN_OK;
}

/* Does this entry get a block of its own for its size alone, which is not compressed? */
static bool stands_alone(const struct sst_writer *w, const struct entry *e)
{
    if (w->config.codec != SST_PLAIN)
        return e->value.len > COMPRESS_BYTES_MAX / 2;
    return e->value.len >= w->config.block_bytes || e->value.len >= LARGE_BLOCK_BYTES;
}

/* ---- entries ---- */

static enum quern_code note_hash(struct sst_writer *w, struct quern_slice key,
                                 struct quern_error *err)
{
    if (w->hash_count == w->hash_capacity) {
        size_t capacity = w->hash_capacity == 0 ? 4096 : w->hash_capacity * 2;
        uint64_t *hashes = alloc_resize(w->hashes, capacity * sizeof(*hashes));

        if (hashes == NULL)
            return err_memory(err, "a table's filter");
        w->hashes = hashes;
        w->hash_capacity = capacity;
    }
    w->hashes[w->hash_count++] = hash_key(key);
    return QUERN_OK;
}

static struct quern_slice last_key(const struct sst_writer *w)
{
    return w->block.count != 0 ? block_builder_last_key(&w->block) : buf_slice(&w->last_key);
}

static enum quern_code add_entry(struct sst_writer *w, const struct entry *e, uint64_t hash,
                                 struct quern_error *err)
{
    int order = w->meta.entry_count == 0 ? -1 : key_compare(last_key(w), e->key);
    bool alone = stands_alone(w, e);
    size_t bytes = block_builder_bytes(&w->block, e);

    ensure(order < 0 || (order == 0 && e->seq < w->last_seq));
    ensure(e->key.len != 0 && e->key.len <= ENTRY_KEY_BYTES_MAX &&
           e->value.len <= ENTRY_VALUE_BYTES_MAX);
    if (w->block.count != 0 && (alone || bytes > w->config.block_bytes)) {
        if (close_block(w, err))
            return err->code;
        bytes = block_builder_bytes(&w->block, e);
    }
    if (settle_row(w, e->key, err))
        return err->code;
    if (order < 0 && w->config.filter_bits != 0 && note_hash(w, e->key, err))
        return err->code;
    if (alone ? write_alone(w, e, err) : block_builder_add(&w->block, e, false, err))
        return err->code;
    w->open_bytes = alone ? 0 : bytes + TRAILER_BYTES;
    if (w->meta.entry_count == 0 && buf_append(&w->meta.smallest, e->key.data, e->key.len, err))
        return err->code;
    meta_add_entry(&w->meta, e, hash, order < 0);
    w->last_seq = e->seq;
    return QUERN_OK;
}

enum quern_code sst_writer_add(struct sst_writer *w, const struct entry *e, uint64_t hash,
                               struct quern_error *err)
{
    if (LIKELY(!w->failed && add_entry(w, e, hash, err) == QUERN_OK))
        return QUERN_OK;
    if (w->failed)
        return err_set(err, QUERN_IO, "write table %06" PRIu64 ": it failed before",
                       w->config.table_no);
    w->failed = true;
    return err_in(err, "write table %06" PRIu64, w->config.table_no);
}

/* ---- the end ---- */

static enum quern_code write_filter(struct sst_writer *w, struct span *span,
                                    struct quern_error *err)
{
    uint32_t line_count;
    size_t bytes = filter_bytes(w->hash_count, w->config.filter_bits, &line_count);

    *span = (struct span){.at = next_at(w)};
    if (w->config.filter_bits == 0)
        return QUERN_OK;
    if (buf_reserve(&w->out, bytes + TRAILER_BYTES, err))
        return err->code;
    filter_build(w->out.data + w->out.len, line_count, w->config.filter_bits, w->hashes,
                 w->hash_count);
    *span = seal_in_place(w, bytes);
    return QUERN_OK;
}

static enum quern_code write_sealed(struct sst_writer *w, const struct buf *raw, struct span *span,
                                    struct quern_error *err)
{
    ensure(raw->len <= UINT32_MAX - TRAILER_BYTES);
    if (buf_reserve(&w->out, raw->len + TRAILER_BYTES, err))
        return err->code;
    memcpy(w->out.data + w->out.len, raw->data, raw->len);
    *span = seal_in_place(w, raw->len);
    return QUERN_OK;
}

static enum quern_code write_properties(struct sst_writer *w, struct span *span,
                                        struct quern_error *err)
{
    struct buf raw OWNED_BUF = {0};
    struct properties p = {.meta = w->meta,
                           .block_count = w->block_count,
                           .block_bytes = w->config.block_bytes,
                           .codec = w->config.codec,
                           .filter_bits = w->config.filter_bits};

    if (properties_put(&raw, &p, err))
        return err->code;
    return write_sealed(w, &raw, span, err);
}

/* The file as its readers will see it: is it what was added? Before the sync, so that write-back
 * goes on meanwhile. */
static enum quern_code read_back(struct sst_writer *w, struct sst_cache *cache, struct sst **out,
                                 struct quern_error *err)
{
    if (sst_open(w->dir, &w->meta, cache, out, err) || table_verify_new(*out, w->config.warm, err))
        return err_in(err, "read again");
    return QUERN_OK;
}

static enum quern_code write_end(struct sst_writer *w, struct sst_cache *cache, struct sst **out,
                                 struct quern_error *err)
{
    struct footer f = {.unique_id = w->meta.unique_id};
    struct buf index OWNED_BUF = {0};
    uint8_t head[INDEX_HEAD_BYTES] = {0};

    if (close_block(w, err) || settle_row(w, slice_of(NULL, 0), err) ||
        buf_append(&w->meta.largest, w->last_key.data, w->last_key.len, err))
        return err->code;
    put_u32le(head, (uint32_t)w->block_count);
    if (buf_reserve(&index, sizeof(head) + w->index.len, err) ||
        buf_append(&index, head, sizeof(head), err) ||
        buf_append(&index, w->index.data, w->index.len, err))
        return err->code;
    if (write_filter(w, &f.filter, err))
        return err->code;
    f.range_deletes.at = f.filter.at + f.filter.bytes;
    if (write_sealed(w, &index, &f.index, err) || write_properties(w, &f.properties, err) ||
        buf_reserve(&w->out, FOOTER_BYTES, err))
        return err->code;
    footer_put(w->out.data + w->out.len, &f, next_at(w));
    w->out.len += FOOTER_BYTES;
    w->meta.file_hash = f.checksum;
    if (write_out(w, err))
        return err->code;
    w->meta.file_bytes = w->out_at;
    if (read_back(w, cache, out, err) || os_file_sync(w->file, err))
        return err->code;
    return os_file_close(GIVE(w->file), err);
}

enum quern_code sst_writer_finish(struct sst_writer *w, struct sst_cache *cache,
                                  struct table_meta *meta, struct sst **out,
                                  struct quern_error *err)
{
    struct sst *t OWNED(sst_unref) = NULL;
    enum quern_code code;

    ensure(w->failed || w->meta.entry_count != 0);
    code =
        w->failed ? err_set(err, QUERN_IO, "a write failed before") : write_end(w, cache, &t, err);
    if (code != QUERN_OK) {
        (void)err_in(err, "write table %06" PRIu64, w->config.table_no);
        sst_writer_drop(w);
        return code;
    }
    if (out != NULL)
        *out = GIVE(t);
    *meta = w->meta;
    w->meta.smallest = (struct buf){0};
    w->meta.largest = (struct buf){0};
    writer_free(w);
    return QUERN_OK;
}
