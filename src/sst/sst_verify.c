/* sst_verify.c - reads a table as if nothing about it were known to be good.
 *
 * Everything comes from the file, never from the cache: footer and properties anew, index, filter,
 * each data block. Beyond the checksums, which tell whether the bytes are those that were written,
 * it checks that what was written makes sense: order inside blocks and across, heads, prefixes,
 * separators, counts, the key range, the entry hash, and that the filter denies no key that is
 * there. A finding is reported with the place and the keys it may concern, and reading goes on.
 *
 * Of a new table what was read and found sound can stay in the cache. Without that the first reader
 * of each block would read it a second time. */
#include "sst/table_priv.h"

#include "base/hash.h"

#include <inttypes.h>

#define PIECE_BYTES (UINT32_C(1) << 20) /* data blocks are read in pieces of at least this */

struct verify {
    struct sst *t;
    enum sst_warm warm;
    sst_damage_fn damage;
    void *arg;
    uint64_t bytes_read;
    struct quern_error first; /* the first finding */
    bool found;
    bool missing; /* some block could not be read: sums cannot be compared */

    struct buf piece;  /* of the file, */
    uint64_t piece_at; /* from here on */
    struct buf plain;  /* a block, expanded */

    struct filter filter;
    bool has_filter;
    struct buf last_key; /* of the block before */
    quern_seq last_seq;
    struct table_meta sum; /* what the entries add up to; keys unused */
};

static void finding(struct verify *v, uint64_t at, struct quern_slice first,
                    struct quern_slice last, const char *what)
{
    if (!v->found)
        (void)err_set(&v->first, QUERN_CORRUPT, "table %06" PRIu64 ": at %" PRIu64 ": %s",
                      v->t->meta.table_no, at, what);
    v->found = true;
    if (v->damage != NULL)
        v->damage(v->arg, v->t->meta.table_no, at, first, last, what);
}

/* A failure of the disk or of memory ends the whole; anything else is a finding. */
static bool is_damage(enum quern_code code)
{
    return code == QUERN_CORRUPT || code == QUERN_UNSUPPORTED;
}

static struct quern_slice smallest(const struct verify *v)
{
    return buf_slice(&v->t->meta.smallest);
}

static struct quern_slice largest(const struct verify *v)
{
    return buf_slice(&v->t->meta.largest);
}

/* Read the sealed bytes of `span` into *out, the caller's, and check them. */
static enum quern_code read_sealed(struct verify *v, const struct span *span, uint8_t **out,
                                   size_t *raw_len, struct quern_error *err)
{
    uint8_t *bytes OWNED(alloc_free) = alloc_bytes((size_t)span->bytes);

    if (bytes == NULL)
        return err_memory(err, "verifying");
    if (os_file_read(v->t->file, bytes, (size_t)span->bytes, span->at, err))
        return err->code;
    v->bytes_read += span->bytes;
    if (unseal_plain(bytes, (size_t)span->bytes, span->checksum, v->t->footer.unique_id, span->at,
                     raw_len, err))
        return err->code;
    *out = GIVE(bytes);
    return QUERN_OK;
}

/* ---- entries ---- */

/* The first or last key of a block; what lies between follows from the order. */
static const char *check_end(const struct verify *v, struct quern_slice key)
{
    if (key_compare(key, smallest(v)) < 0 || key_compare(key, largest(v)) > 0)
        return "key outside of the table's range";
    return NULL;
}

/* `order`: how the key of the entry before compares with this one's. */
static const char *check_entry(const struct verify *v, const struct block *b, uint64_t head,
                               const struct entry *e, int order)
{
    if (order > 0 || (order == 0 && e->seq >= v->last_seq))
        return "entries out of order";
    if (head != key_head(e->key, b->prefix_len))
        return "head does not match its key";
    if (!key_begins(e->key, b->bytes + BLOCK_HEAD_BYTES, b->prefix_len))
        return "key without its block's prefix";
    if (v->has_filter && order != 0 && !filter_may_hold(&v->filter, hash_key(e->key)))
        return "filter denies a key that is there";
    return NULL;
}

/* Check a block that passed block_check(). NULL: sound. Errors: NO_MEMORY. Where heads rise keys
 * do, as long as each has the prefix and its head is its own; else the keys are compared. */
static enum quern_code check_entries(struct verify *v, const struct block *b,
                                     const struct index_row *row, const char **what,
                                     struct quern_error *err)
{
    struct quern_slice before = buf_slice(&v->last_key);
    uint64_t head, head_before = UINT64_MAX;
    struct entry e = {0};

    *what = check_end(v, block_key(b, 0));
    if (*what == NULL)
        *what = check_end(v, block_key(b, b->count - 1));
    if (*what == NULL && row->first_head != key_head(block_key(b, 0), 0))
        *what = "index has another first key";
    for (uint32_t i = 0; i < b->count; i++) {
        int order = -1;

        block_entry(b, i, &e);
        head = block_head(b, i);
        if (head <= head_before && before.len != 0)
            order = key_compare(before, e.key);
        if (LIKELY(*what == NULL))
            *what = check_entry(v, b, head, &e, order);
        meta_add_entry(&v->sum, &e, sst_entry_hash(&e), order != 0);
        before = e.key;
        head_before = head;
        v->last_seq = e.seq;
    }
    if (*what == NULL && key_compare(e.key, row->separator) > 0)
        *what = "last key is above its separator";
    return buf_assign(&v->last_key, e.key, err);
}

/* ---- blocks ---- */

/* The sealed bytes of a block, in the piece of the file at hand; checked. */
static enum quern_code piece_block(struct verify *v, const struct span *span,
                                   const uint8_t **sealed, struct unsealed *u,
                                   struct quern_error *err)
{
    uint64_t end = v->t->footer.filter.at, bytes = PIECE_BYTES;

    if (span->at + span->bytes > v->piece_at + v->piece.len) {
        bytes = bytes > span->bytes ? bytes : span->bytes;
        bytes = bytes < end - span->at ? bytes : end - span->at;
        buf_clear(&v->piece);
        if (buf_reserve(&v->piece, (size_t)bytes, err) ||
            os_file_read(v->t->file, v->piece.data, (size_t)bytes, span->at, err))
            return err->code;
        v->piece_at = span->at;
        v->piece.len = (size_t)bytes;
    }
    *sealed = v->piece.data + (span->at - v->piece_at);
    v->bytes_read += span->bytes;
    return unseal_check(*sealed, (size_t)span->bytes, span->checksum, v->t->footer.unique_id,
                        span->at, u, err);
}

static enum quern_code verify_block(struct verify *v, uint32_t no, const struct span *span,
                                    const struct index_row *row, struct quern_slice before,
                                    struct quern_error *err)
{
    const uint8_t *bytes = NULL;
    const char *what;
    struct unsealed u;
    struct block b;

    if (piece_block(v, span, &bytes, &u, err))
        return err->code;
    if (u.codec != SST_PLAIN) {
        buf_clear(&v->plain);
        if (buf_reserve(&v->plain, u.raw_len, err) || unseal_expand(bytes, &u, v->plain.data, err))
            return err->code;
        bytes = v->plain.data;
    }
    what = block_check(bytes, u.raw_len);
    if (what == NULL && get_u32le(bytes) != row->entries)
        what = "another number of entries than the index says";
    if (what != NULL)
        return err_set(err, QUERN_CORRUPT, "%s", what);
    block_view(&b, bytes);
    if (before.len != 0 && key_compare(block_key(&b, 0), before) <= 0 &&
        !key_equal(block_key(&b, 0), before))
        finding(v, span->at, before, row->separator, "first key is below the separator before");
    if (check_entries(v, &b, row, &what, err))
        return err->code;
    if (what != NULL)
        finding(v, span->at, before, row->separator, what);
    else if (v->warm == SST_WARM_ALL && u.raw_len <= LARGE_BLOCK_BYTES &&
             !table_keep_block(v->t, no, bytes, u.raw_len))
        v->warm = SST_COLD;
    return QUERN_OK;
}

static enum quern_code verify_blocks(struct verify *v, const uint8_t *index, size_t len,
                                     struct quern_error *err)
{
    const uint8_t *at = index + INDEX_HEAD_BYTES;
    struct span span = {0};
    struct quern_slice before = {0};
    struct index_row row = {0};

    for (uint32_t no = 0; at != index + len; no++) {
        at = index_row_get(at, index + len, &row);
        ensure(at != NULL); /* index_check() saw it */
        span.bytes = row.bytes;
        span.checksum = row.checksum;
        if (verify_block(v, no, &span, &row, before, err)) {
            if (!is_damage(err->code))
                return err->code;
            v->missing = true;
            finding(v, span.at, before.len != 0 ? before : smallest(v), row.separator, err->text);
        }
        span.at += row.bytes;
        before = row.separator;
    }
    return QUERN_OK;
}

/* ---- the rest ---- */

static enum quern_code verify_footer(struct verify *v, struct quern_error *err)
{
    uint8_t bytes[FOOTER_BYTES], *raw OWNED(alloc_free) = NULL;
    uint64_t file_bytes = 0, at = v->t->meta.file_bytes - FOOTER_BYTES;
    struct properties p;
    struct footer f;
    size_t raw_len;

    if (os_file_size(v->t->file, &file_bytes, err))
        return err->code;
    if (file_bytes != v->t->meta.file_bytes)
        return err_set(err, QUERN_CORRUPT, "file has another size than was recorded");
    if (os_file_read(v->t->file, bytes, FOOTER_BYTES, at, err))
        return err->code;
    v->bytes_read += FOOTER_BYTES;
    if (footer_get(bytes, at, &f, err))
        return err->code;
    if (f.checksum != v->t->meta.file_hash)
        return err_set(err, QUERN_CORRUPT, "file holds other content than was recorded");
    if (read_sealed(v, &f.properties, &raw, &raw_len, err) || properties_get(raw, raw_len, &p, err))
        return err->code;
    table_meta_done(&p.meta);
    return QUERN_OK;
}

static enum quern_code verify_filter(struct verify *v, uint8_t **bytes, struct quern_error *err)
{
    size_t raw_len;

    if (!table_has_filter(v->t))
        return QUERN_OK;
    if (read_sealed(v, &v->t->footer.filter, bytes, &raw_len, err))
        return err->code;
    v->has_filter = filter_view(&v->filter, *bytes, raw_len);
    if (v->has_filter && v->warm != SST_COLD && !table_keep_filter(v->t, *bytes))
        v->warm = SST_COLD;
    return v->has_filter ? QUERN_OK : err_set(err, QUERN_CORRUPT, "filter out of shape");
}

static enum quern_code verify_index(struct verify *v, uint8_t **bytes, size_t *len,
                                    struct quern_error *err)
{
    struct index_size size;

    if (read_sealed(v, &v->t->footer.index, bytes, len, err))
        return err->code;
    if (index_check(*bytes, *len, v->t->block_count, v->t->footer.filter.at, v->t->meta.entry_count,
                    &size, err))
        return err->code;
    if (v->warm != SST_COLD && !table_keep_index(v->t, *bytes, *len, &size))
        v->warm = SST_COLD;
    return QUERN_OK;
}

static void compare_sums(struct verify *v)
{
    const struct table_meta *want = &v->t->meta, *got = &v->sum;

    if (v->missing)
        return;
    if (got->entry_hash != want->entry_hash)
        finding(v, 0, smallest(v), largest(v), "entries are not those that were written");
    if (got->entry_count != want->entry_count || got->tombstone_count != want->tombstone_count ||
        got->duplicate_count != want->duplicate_count || got->raw_bytes != want->raw_bytes ||
        got->seq_min != want->seq_min || got->seq_max != want->seq_max ||
        got->expires_min_ms != want->expires_min_ms ||
        got->expiring_count != want->expiring_count || got->expires_max_ms != want->expires_max_ms)
        finding(v, 0, smallest(v), largest(v), "entries do not add up to the properties");
    if (!key_equal(buf_slice(&v->last_key), largest(v)))
        finding(v, 0, smallest(v), largest(v), "last key is not the largest");
}

/* Run one part; a finding there concerns every key. Returns true when the part is sound. */
static bool part(struct verify *v, enum quern_code code, uint64_t at, struct quern_error *err)
{
    if (code != QUERN_OK && is_damage(code))
        finding(v, at, smallest(v), largest(v), err->text);
    return code == QUERN_OK;
}

static enum quern_code verify_all(struct verify *v, struct quern_error *err)
{
    const struct footer *f = &v->t->footer;
    uint8_t *filter OWNED(alloc_free) = NULL;
    uint8_t *index OWNED(alloc_free) = NULL;
    size_t index_len = 0;

    if (!part(v, verify_footer(v, err), v->t->meta.file_bytes - FOOTER_BYTES, err) &&
        !is_damage(err->code))
        return err->code;
    if (!part(v, verify_filter(v, &filter, err), f->filter.at, err) && !is_damage(err->code))
        return err->code;
    if (!part(v, verify_index(v, &index, &index_len, err), f->index.at, err))
        return is_damage(err->code) ? QUERN_OK : err->code;
    if (verify_blocks(v, index, index_len, err))
        return err->code;
    compare_sums(v);
    return QUERN_OK;
}

static enum quern_code run(struct verify *v, struct quern_error *err)
{
    enum quern_code code = verify_all(v, err);

    buf_done(&v->piece);
    buf_done(&v->plain);
    buf_done(&v->last_key);
    if (code != QUERN_OK)
        return table_error(v->t, err);
    if (v->found) {
        *err = v->first;
        return err->code;
    }
    return QUERN_OK;
}

enum quern_code sst_verify(struct sst *t, sst_damage_fn damage, void *arg, uint64_t *bytes_read,
                           struct quern_error *err)
{
    struct verify v = {.t = t, .damage = damage, .arg = arg};
    enum quern_code code = run(&v, err);

    if (bytes_read != NULL)
        *bytes_read = v.bytes_read;
    return code;
}

enum quern_code table_verify_new(struct sst *t, enum sst_warm warm, struct quern_error *err)
{
    struct verify v = {.t = t, .warm = warm};

    return run(&v, err);
}
