/* sst_salvage.c - what can still be read of a table of which nothing is known to be good.
 *
 *      footer sound, index sound      the index says where blocks are and which keys each may hold
 *      else                           blocks are looked for:
 *
 *          | block | block | ##### damage ##### | block | block | filter ...
 *          ^ the file's begin                   ^ behind bytes that look like a block's trailer
 *
 * A block is taken when its checksum, which is bound to file and offset, is right, and its plain
 * form passes block_check(): nothing is guessed. The checksum needs the table's unique id. It is
 * known from the manifest, or from the footer, or stands among the properties, which can be found
 * by their shape; when all of these are gone nothing of the file can be told from noise, and it is
 * lost.
 *
 * The end of a plain block follows from its columns. That of a compressed one is where a trailer
 * fits and the checksum of all before it is right; one running hash serves all candidates. Behind
 * damage any trailer may be the last damaged one, so a block is tried behind each. What that may
 * cost is bounded by a multiple of the file.
 *
 * Blocks are read twice at most, and a file without an index is held in memory while it is
 * searched. */
#include "sst/table_priv.h"

#include "base/hash.h"

#include <inttypes.h>

/* How far the end of a compressed block is looked for behind damage, and how much may be hashed in
 * vain, in times the file. */
#define REACH_BYTES (UINT64_C(256) << 10)
#define WASTE_FACTOR 16u

struct place { /* a block, or a gap in which there is none */
    uint64_t at, bytes, checksum;
    bool gap;
    struct quern_slice separator; /* with an index: no key of the block is above it */
};

struct salvage {
    struct iter base; /* first: cast to it and back */
    struct os_file *file;
    uint64_t file_bytes, unique_id;
    sst_loss_fn loss;
    void *loss_arg;

    bool has_footer;
    struct footer footer;
    uint8_t *index;    /* raw, where separators point; NULL: blocks were looked for */
    struct buf places; /* struct place ... */

    size_t next_place;
    uint8_t *bytes; /* of the block it stands in, plain */
    struct block block;
    uint32_t i;
    struct buf last_key; /* of the last entry shown */
    quern_seq last_seq;
    bool in_gap; /* a gap was passed, and the key behind it is not known yet */
    uint64_t gap_at;
};

static struct salvage *of(struct iter *it)
{
    return (struct salvage *)(void *)it;
}

static void tell(struct salvage *s, uint64_t at, struct quern_slice first, struct quern_slice last,
                 const char *what, bool lost)
{
    if (s->loss != NULL)
        s->loss(s->loss_arg, at, first, last, what, lost);
}

static bool is_damage(enum quern_code code)
{
    return code == QUERN_CORRUPT || code == QUERN_UNSUPPORTED;
}

static enum quern_code add_place(struct salvage *s, const struct place *p, struct quern_error *err)
{
    return buf_append(&s->places, p, sizeof(*p), err);
}

/* ---- with footer and index ---- */

/* A sealed block that the footer names, checked; *out is the caller's. */
static enum quern_code read_span(struct salvage *s, const struct span *span, uint8_t **out,
                                 size_t *raw_len, struct quern_error *err)
{
    uint8_t *bytes OWNED(alloc_free) = alloc_bytes((size_t)span->bytes);

    if (bytes == NULL)
        return err_memory(err, "salvage");
    if (os_file_read(s->file, bytes, (size_t)span->bytes, span->at, err) ||
        unseal_plain(bytes, (size_t)span->bytes, span->checksum, s->unique_id, span->at, raw_len,
                     err))
        return err->code;
    *out = GIVE(bytes);
    return QUERN_OK;
}

/* The footer, and with it the table's id. Errors: CORRUPT, UNSUPPORTED (a newer format), IO. */
static enum quern_code read_footer(struct salvage *s, struct quern_error *err)
{
    uint8_t bytes[FOOTER_BYTES];
    uint64_t at = s->file_bytes - FOOTER_BYTES;

    if (s->file_bytes < FOOTER_BYTES)
        return err_set(err, QUERN_CORRUPT, "has %" PRIu64 " bytes, less than a footer",
                       s->file_bytes);
    if (os_file_read(s->file, bytes, FOOTER_BYTES, at, err) ||
        footer_get(bytes, at, &s->footer, err))
        return err->code;
    s->has_footer = true;
    return QUERN_OK;
}

static enum quern_code read_places(struct salvage *s, struct quern_error *err)
{
    const uint8_t *at, *end;
    struct index_row row;
    size_t raw_len;
    struct place p = {0};

    if (read_span(s, &s->footer.index, &s->index, &raw_len, err))
        return err->code;
    at = s->index + INDEX_HEAD_BYTES;
    end = s->index + raw_len;
    while (at < end && (at = index_row_get(at, end, &row)) != NULL &&
           row.bytes <= s->footer.filter.at - p.at) {
        p.bytes = row.bytes;
        p.checksum = row.checksum;
        p.separator = row.separator;
        if (add_place(s, &p, err))
            return err->code;
        p.at += row.bytes;
    }
    if (at == end && p.at == s->footer.filter.at)
        return QUERN_OK;
    buf_clear(&s->places);
    alloc_free(s->index);
    s->index = NULL;
    return err_set(err, QUERN_CORRUPT, "index does not parse");
}

/* Parts without which all entries can still be read. */
static enum quern_code look_at_rest(struct salvage *s, struct quern_error *err)
{
    const struct span *spans[] = {&s->footer.filter, &s->footer.properties};

    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        uint8_t *bytes OWNED(alloc_free) = NULL;
        size_t raw_len;

        if (spans[i]->bytes == 0 || read_span(s, spans[i], &bytes, &raw_len, err) == QUERN_OK)
            continue;
        if (!is_damage(err->code))
            return err->code;
        tell(s, spans[i]->at, (struct quern_slice){0}, (struct quern_slice){0}, err->text, false);
    }
    return QUERN_OK;
}

/* ---- without: the search ---- */

struct search {
    const uint8_t *bytes;
    uint64_t len; /* of the file, or of its data when the footer tells */
    uint64_t unique_id;
    uint64_t waste_left;
};

/* Do the 16 bytes before `end` look like the trailer of a block that begins at `start`? */
static bool is_trailer(const struct search *f, uint64_t start, uint64_t end)
{
    const uint8_t *trailer = f->bytes + end - TRAILER_BYTES;
    uint64_t raw_len = get_u32le(trailer), payload_len = end - TRAILER_BYTES - start;
    uint32_t codec = get_u32le(trailer + 4);

    if (codec > SST_ZSTD)
        return false;
    return codec == SST_PLAIN ? raw_len == payload_len
                              : raw_len > payload_len && raw_len <= COMPRESS_BYTES_MAX;
}

/* Where the columns of the plain block at `start` say that it ends; 0: they cannot be columns. */
static uint64_t plain_end(const struct search *f, uint64_t start)
{
    const uint8_t *bytes = f->bytes + start;
    uint64_t left = f->len - start, len;
    struct block b;

    if (left < BLOCK_HEAD_BYTES + TRAILER_BYTES || get_u32le(bytes) == 0 ||
        get_u32le(bytes) > left / 8 || (bytes[4] & ~BLOCK_FLAGS) != 0 ||
        bytes[5] > BLOCK_PREFIX_MAX)
        return 0;
    block_view(&b, bytes); /* pointers; nothing is read through them yet */
    if ((uintptr_t)b.data - (uintptr_t)bytes > left)
        return 0;
    len = block_offset(&b, b.count);
    return len <= left - TRAILER_BYTES ? start + len + TRAILER_BYTES : 0;
}

/* The end of the sealed block at `start`, 0 if there is none within `reach`. */
static uint64_t sealed_end(struct search *f, uint64_t start, uint64_t reach)
{
    uint64_t end = plain_end(f, start), done = start, last = f->len;
    XXH3_state_t state = {0};

    if (end != 0 && is_trailer(f, start, end) && end - start <= f->waste_left) {
        if (hash_placed(f->bytes + start, (size_t)(end - 8 - start), f->unique_id, start) ==
            get_u64le(f->bytes + end - 8))
            return end;
        f->waste_left -= end - start;
    }
    if (reach < last - start)
        last = start + reach;
    (void)XXH3_64bits_reset_withSeed(&state, hash_place(f->unique_id, start));
    for (end = start + TRAILER_BYTES + 1; end <= last; end++) {
        if (!is_trailer(f, start, end))
            continue;
        if (end - 8 - done > f->waste_left)
            return 0;
        f->waste_left -= end - 8 - done;
        (void)XXH3_64bits_update(&state, f->bytes + done, (size_t)(end - 8 - done));
        done = end - 8;
        if (XXH3_64bits_digest(&state) == get_u64le(f->bytes + end - 8)) {
            f->waste_left += end - 8 - start; /* not in vain */
            return end;
        }
    }
    f->waste_left -=
        last - start < f->waste_left ? last - start : f->waste_left; /* looking counts */
    return 0;
}

/* Do the 16 bytes before `at` look like the trailer of a block, any block behind `from`? */
static bool is_any_trailer(const struct search *f, uint64_t from, uint64_t at)
{
    const uint8_t *trailer = f->bytes + at - TRAILER_BYTES;
    uint64_t raw_len = get_u32le(trailer), room = at - TRAILER_BYTES - from;
    uint32_t codec = get_u32le(trailer + 4);

    if (codec > SST_ZSTD || raw_len < BLOCK_HEAD_BYTES)
        return false;
    return codec == SST_PLAIN ? raw_len <= room : raw_len <= COMPRESS_BYTES_MAX;
}

/* The next place behind `from` where a block begins; f->len: none. */
static uint64_t next_start(struct search *f, uint64_t from, uint64_t *end)
{
    for (uint64_t at = from + TRAILER_BYTES; at < f->len; at++) {
        if (!is_any_trailer(f, from, at))
            continue;
        *end = sealed_end(f, at, REACH_BYTES);
        if (*end != 0)
            return at;
        if (f->waste_left == 0)
            break;
    }
    return f->len;
}

/* Is the sound sealed block a data block? Filter, index and properties are sealed alike. */
static bool is_data(const struct search *f, uint64_t at, uint64_t end, bool *known,
                    struct quern_error *err)
{
    uint8_t *plain OWNED(alloc_free) = NULL;
    struct unsealed u;

    *known = false;
    if (unseal_check(f->bytes + at, (size_t)(end - at), get_u64le(f->bytes + end - 8), f->unique_id,
                     at, &u, err))
        return false;
    plain = alloc_bytes(u.raw_len);
    if (plain == NULL) {
        (void)err_memory(err, "salvage");
        return false;
    }
    if (unseal_expand(f->bytes + at, &u, plain, err))
        return false;
    *known = true;
    return block_check(plain, u.raw_len) == NULL;
}

static enum quern_code search_blocks(struct salvage *s, struct search *f, struct quern_error *err)
{
    struct place cut;
    uint64_t at = 0;

    while (at < f->len) {
        uint64_t end = sealed_end(f, at, f->len), start = at;
        struct place p = {0};
        bool known, data;

        if (end == 0) {
            start = next_start(f, at, &end);
            p = (struct place){.at = at, .bytes = start - at, .gap = true};
            if (add_place(s, &p, err))
                return err->code;
            if (start == f->len)
                break;
        }
        data = is_data(f, start, end, &known, err);
        if (!known && !is_damage(err->code))
            return err->code;
        if (!data && known)
            return QUERN_OK; /* what stands behind the data: there is no more of that */
        p = (struct place){
            .at = start, .bytes = end - start, .checksum = get_u64le(f->bytes + end - 8)};
        if (add_place(s, &p, err))
            return err->code;
        at = end;
    }
    if (s->has_footer)
        return QUERN_OK;
    /* The file was cut, perhaps just behind a block: how much is missing nobody can tell. */
    cut = (struct place){.at = f->len, .gap = true};
    return add_place(s, &cut, err);
}

static bool has_blocks(const struct salvage *s)
{
    const struct place *p = (const struct place *)(const void *)s->places.data;

    for (size_t i = 0; i < s->places.len / sizeof(*p); i++)
        if (!p[i].gap)
            return true;
    return false;
}

/* Every id that might be the table's is tried: that of the footer, whatever its checksum says, then
 * what looks like the first two properties. */
static enum quern_code search_with_unknown_id(struct salvage *s, struct search *f,
                                              struct quern_error *err)
{
    static const uint8_t first[] = {1, 0, 1, 0, 8, 0, 0, 0}, second[] = {2, 0, 1, 0, 8, 0, 0, 0};
    uint64_t ids[8], count = 0, len = s->file_bytes;

    if (len >= FOOTER_BYTES)
        ids[count++] = get_u64le(f->bytes + len - FOOTER_BYTES + 96);
    for (uint64_t at = 0; len >= 32 && at <= len - 32 && count < ARRAY_LEN(ids); at++)
        if (f->bytes[at] == 1 && memcmp(f->bytes + at, first, 8) == 0 &&
            memcmp(f->bytes + at + 16, second, 8) == 0)
            ids[count++] = get_u64le(f->bytes + at + 24);
    for (uint64_t i = 0; i < count; i++) {
        f->unique_id = ids[i];
        f->waste_left = WASTE_FACTOR * len;
        buf_clear(&s->places);
        if (search_blocks(s, f, err))
            return err->code;
        s->unique_id = ids[i];
        if (has_blocks(s))
            return QUERN_OK;
    }
    return err_set(err, QUERN_CORRUPT, "nothing in it can be told from noise");
}

static enum quern_code search_file(struct salvage *s, struct quern_error *err)
{
    uint8_t *bytes OWNED(alloc_free) = alloc_bytes((size_t)s->file_bytes);
    struct search f = {.bytes = bytes,
                       .len = s->has_footer ? s->footer.filter.at : s->file_bytes,
                       .unique_id = s->unique_id,
                       .waste_left = WASTE_FACTOR * s->file_bytes};

    if (bytes == NULL)
        return err_memory(err, "salvage");
    if (os_file_read(s->file, bytes, (size_t)s->file_bytes, 0, err))
        return err->code;
    if (s->unique_id == 0)
        return search_with_unknown_id(s, &f, err);
    return search_blocks(s, &f, err);
}

/* ---- the cursor ---- */

static void drop_block(struct salvage *s)
{
    alloc_free(s->bytes);
    s->bytes = NULL;
}

/* Do its entries rise, and follow what was shown? The writer of tables relies on it. */
static bool is_in_order(const struct salvage *s)
{
    struct entry before = {.key = buf_slice(&s->last_key), .seq = s->last_seq}, e = {0};

    for (uint32_t i = 0; i < s->block.count; i++, before = e) {
        block_entry(&s->block, i, &e);
        if (before.key.len != 0 && entry_compare(&before, &e) >= 0)
            return false;
    }
    return true;
}

static enum quern_code load(struct salvage *s, const struct place *p, struct quern_error *err)
{
    uint8_t *sealed OWNED(alloc_free) = alloc_bytes((size_t)p->bytes);
    uint8_t *plain OWNED(alloc_free) = NULL;
    struct unsealed u;
    const char *why;

    if (sealed == NULL)
        return err_memory(err, "salvage");
    if (os_file_read(s->file, sealed, (size_t)p->bytes, p->at, err) ||
        unseal_check(sealed, (size_t)p->bytes, p->checksum, s->unique_id, p->at, &u, err))
        return err->code;
    plain = alloc_bytes(u.raw_len);
    if (plain == NULL)
        return err_memory(err, "salvage");
    if (unseal_expand(sealed, &u, plain, err))
        return err->code;
    why = block_check(plain, u.raw_len);
    if (why == NULL) {
        block_view(&s->block, plain);
        why = is_in_order(s) ? NULL : "entries out of order";
    }
    if (why != NULL)
        return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": %s", p->at, why);
    s->bytes = GIVE(plain);
    return QUERN_OK;
}

static void show(struct salvage *s)
{
    block_entry(&s->block, s->i, &s->base.at);
    s->base.head = key_head(s->base.at.key, 0);
    s->base.valid = true;
}

static void close_gap(struct salvage *s, struct quern_slice behind)
{
    if (s->in_gap)
        tell(s, s->gap_at, buf_slice(&s->last_key), behind, "no sound block could be found", true);
    s->in_gap = false;
}

/* Go on in the next block that is sound. */
static void next_block(struct salvage *s)
{
    const struct place *all = (const struct place *)(const void *)s->places.data, *p;
    struct quern_slice below = {0};

    s->base.valid = false;
    for (; s->next_place < s->places.len / sizeof(*p); s->next_place++) {
        p = &all[s->next_place];
        below = s->next_place > 0 ? p[-1].separator : (struct quern_slice){0};
        drop_block(s);
        if (p->gap) {
            s->gap_at = s->in_gap ? s->gap_at : p->at;
            s->in_gap = true;
            continue;
        }
        if (load(s, p, &s->base.err) == QUERN_OK) {
            s->next_place++;
            s->i = 0;
            close_gap(s, block_key(&s->block, 0));
            show(s);
            return;
        }
        if (!is_damage(s->base.err.code))
            return;
        tell(s, p->at, s->index != NULL ? below : buf_slice(&s->last_key), p->separator,
             s->base.err.text, true);
        err_clear(&s->base.err);
    }
    drop_block(s);
    close_gap(s, (struct quern_slice){0});
}

static void salvage_first(struct iter *it)
{
    struct salvage *s = of(it);

    s->next_place = 0;
    s->last_key.len = 0;
    s->in_gap = false;
    err_clear(&s->base.err);
    next_block(s);
}

static void salvage_next(struct iter *it)
{
    struct salvage *s = of(it);

    if (s->i + 1 < s->block.count) {
        s->i++;
        show(s);
        return;
    }
    s->last_seq = s->base.at.seq;
    if (buf_assign(&s->last_key, s->base.at.key, &s->base.err))
        s->base.valid = false;
    else
        next_block(s);
}

static void salvage_free(struct iter *it)
{
    struct salvage *s = of(it);

    drop_block(s);
    os_file_drop(s->file);
    alloc_free(s->index);
    buf_done(&s->places);
    buf_done(&s->last_key);
    alloc_free(s);
}

static const struct iter_ops salvage_ops = {
    .first = salvage_first, .next = salvage_next, .free = salvage_free};

/* Find where blocks are. */
static enum quern_code locate(struct salvage *s, uint64_t unique_id, struct quern_error *err)
{
    struct quern_slice none = {0};
    uint64_t at;

    if (read_footer(s, err) == QUERN_OK) {
        if (unique_id != 0 && s->footer.unique_id != unique_id)
            return err_set(err, QUERN_CORRUPT, "holds another table than was recorded");
        s->unique_id = s->footer.unique_id;
        if (s->loss != NULL && look_at_rest(s, err))
            return err->code;
        if (read_places(s, err) == QUERN_OK)
            return QUERN_OK;
    } else {
        s->unique_id = unique_id;
    }
    if (err->code != QUERN_CORRUPT)
        return err->code;
    at = s->has_footer                   ? s->footer.index.at
         : s->file_bytes >= FOOTER_BYTES ? s->file_bytes - FOOTER_BYTES
                                         : 0;
    tell(s, at, none, none, err->text, false);
    if (search_file(s, err))
        return err->code;
    return has_blocks(s) ? QUERN_OK : err_set(err, QUERN_CORRUPT, "no sound block could be found");
}

enum quern_code sst_salvage(struct os_dir *dir, uint64_t table_no, uint64_t unique_id,
                            sst_loss_fn loss, void *arg, struct iter **out, struct quern_error *err)
{
    struct iter *it OWNED(iter_free) = NULL;
    struct salvage *s = NEW(struct salvage);
    char name[TABLE_NAME_BYTES];

    if (s == NULL)
        return err_memory(err, "salvage");
    it = &s->base;
    it->ops = &salvage_ops;
    s->loss = loss;
    s->loss_arg = arg;
    table_name(name, table_no);
    if (os_file_open(dir, name, OS_READ, &s->file, err) ||
        os_file_size(s->file, &s->file_bytes, err) || locate(s, unique_id, err))
        return err->code;
    *out = GIVE(it);
    return QUERN_OK;
}
