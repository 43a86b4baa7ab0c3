/* fuzz_parts.c - the parts of a table one by one and in memory, where fuzz_table has them in a file
 * and all at once: more tries a second, and a plain answer beside each.
 *
 *     byte 0   what the rest is: a sealed block, a footer, properties, a filter or an index
 *     byte 1   how: bit 0 stamps the checksum anew where there is one
 *
 * What a reader lets pass it must understand as the writer meant it: written again it is the same,
 * and a search finds what a walk from the start finds. */
#include "fuzz.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "sst/filter_priv.h"
#include "sst/format_priv.h"
#include "sst/index_priv.h"

#define UNIQUE_ID 42
#define OFFSET 4096

/* ---- a sealed block ---- */

/* Bytes that a decompressor has to refuse or expand to exactly what the trailer says. */
static void check_unseal(uint8_t *sealed, size_t len, bool stamp)
{
    struct quern_error err;
    struct unsealed u;
    uint8_t *plain, *again;

    if (len < TRAILER_BYTES)
        return;
    if (stamp) {
        put_u32le(sealed + len - 16, get_u32le(sealed + len - 16) & 0xffff);
        put_u32le(sealed + len - 12, get_u32le(sealed + len - 12) % 4);
        put_u64le(sealed + len - 8, hash_placed(sealed, len - 8, UNIQUE_ID, OFFSET));
    }
    if (unseal_check(sealed, len, get_u64le(sealed + len - 8), UNIQUE_ID, OFFSET, &u, &err))
        return;
    plain = malloc(u.raw_len + 1);
    must(plain != NULL);
    if (unseal_expand(sealed, &u, plain, &err) == QUERN_OK) {
        again = malloc(u.raw_len + TRAILER_BYTES);
        must(again != NULL);
        len = seal(again, plain, u.raw_len, u.codec, UNIQUE_ID, OFFSET);
        must(unseal_check(again, len, get_u64le(again + len - 8), UNIQUE_ID, OFFSET, &u, &err) ==
             QUERN_OK);
        sealed = exact(plain, u.raw_len);
        must(unseal_expand(again, &u, plain, &err) == QUERN_OK);
        must(memcmp(plain, sealed, u.raw_len) == 0);
        free(sealed);
        free(again);
    }
    free(plain);
}

/* ---- footer ---- */

static void check_footer(uint8_t *bytes, size_t len, bool stamp)
{
    uint8_t again[FOOTER_BYTES];
    struct quern_error err;
    struct footer f;
    uint64_t at;

    if (len < FOOTER_BYTES)
        return;
    at = get_u64le(bytes) + get_u64le(bytes + 8) + get_u64le(bytes + 32) + get_u64le(bytes + 56) +
         get_u64le(bytes + 80); /* where it would stand if its spans follow one another */
    if (stamp)
        put_u64le(bytes + 120, hash_placed(bytes, 120, get_u64le(bytes + 96), at));
    if (footer_get(bytes, at, &f, &err)) {
        must(err.code == QUERN_CORRUPT || err.code == QUERN_UNSUPPORTED);
        return;
    }
    must(f.filter.at <= at && f.index.at <= at && f.properties.at + f.properties.bytes == at);
    must(f.index.bytes <= at - f.index.at && f.filter.bytes <= at - f.filter.at);
    footer_put(again, &f, at);
    must(memcmp(again, bytes, FOOTER_BYTES) == 0);
}

/* ---- properties ---- */

static void check_properties(const uint8_t *bytes, size_t len)
{
    struct properties p, q;
    struct buf to OWNED_BUF = {0};
    struct quern_error err;

    if (properties_get(bytes, len, &p, &err)) {
        must(err.code == QUERN_CORRUPT);
        return;
    }
    must(properties_put(&to, &p, &err) == QUERN_OK);
    must(properties_get(to.data, to.len, &q, &err) == QUERN_OK);
    must(p.block_count == q.block_count && p.codec == q.codec && p.filter_bits == q.filter_bits);
    must(memcmp(&p.meta, &q.meta, offsetof(struct table_meta, smallest)) == 0);
    must(key_equal(buf_slice(&p.meta.smallest), buf_slice(&q.meta.smallest)));
    must(key_equal(buf_slice(&p.meta.largest), buf_slice(&q.meta.largest)));
    table_meta_done(&p.meta);
    table_meta_done(&q.meta);
}

/* ---- filter ---- */

static volatile bool sink; /* so that answers are not optimised away */

/* Of any bytes: answers and stays inside. Built from the bytes as hashes: no false "not here". */
static void check_filter(const uint8_t *bytes, size_t len)
{
    uint64_t hashes[64];
    size_t keys = len / 8 < ARRAY_LEN(hashes) ? len / 8 : ARRAY_LEN(hashes), built_len;
    uint32_t lines, bits = len == 0 ? 0 : bytes[0] % 30u + 1;
    struct filter f;
    uint8_t *built;

    for (size_t i = 0; i < keys; i++)
        hashes[i] = get_u64le(bytes + 8 * i);
    if (filter_view(&f, bytes, len)) {
        for (size_t i = 0; i < keys; i++)
            sink = filter_may_hold(&f, hashes[i]);
        sink = filter_may_hold(&f, UINT64_MAX);
    }
    if (keys == 0)
        return;
    built_len = filter_bytes(keys, bits, &lines);
    built = malloc(built_len);
    must(built != NULL);
    filter_build(built, lines, bits, hashes, keys);
    must(filter_view(&f, built, built_len));
    for (size_t i = 0; i < keys; i++)
        must(filter_may_hold(&f, hashes[i]));
    free(built);
}

/* ---- index ---- */

static void check_search(const struct index *x, struct quern_slice key)
{
    uint32_t plain = 0;

    while (plain < x->count && key_compare(index_separator_of(x, plain), key) < 0)
        plain++;
    must(index_search(x, key) == plain);
}

/* Add up what the rows say, so that the sums are right whenever the rows are in shape. */
static void check_index(uint8_t *raw, size_t len, bool stamp)
{
    const uint8_t *at = raw + INDEX_HEAD_BYTES, *end = raw + len;
    uint64_t data_bytes = 0, entries = 0, rows = 0;
    uint8_t longer[300];
    struct index_row row;
    struct quern_error err;
    struct index *x;
    uint8_t *to;
    struct index_size size;

    if (len < INDEX_HEAD_BYTES)
        return;
    while (at != NULL && at != end && (at = index_row_get(at, end, &row)) != NULL) {
        data_bytes += row.bytes;
        entries += row.entries;
        rows++;
    }
    if (stamp)
        put_u64le(raw, rows & UINT32_MAX);
    if (index_check(raw, len, rows, data_bytes, entries, &size, &err)) {
        must(err.code == QUERN_CORRUPT);
        return;
    }
    must(size.memory_bytes % 64 == 0);
    to = alloc_aligned(64, size.memory_bytes);
    must(to != NULL);
    x = index_build(to, raw, len, &size);
    must(x->count == rows && x->at[rows] == data_bytes && x->before[rows] == entries);
    for (uint32_t i = 0; i < x->count && i < 64; i++) {
        struct quern_slice key = index_separator_of(x, i);
        size_t cut = key.len < sizeof(longer) ? key.len : sizeof(longer) - 1;

        check_search(x, key);
        check_search(x, slice_of(key.data, key.len / 2));
        memcpy(longer, key.data, cut);
        longer[cut] = 0;
        check_search(x, slice_of(longer, cut + 1));
    }
    alloc_free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;
    bool stamp;

    if (size < 2 || size > 65536)
        return 0;
    stamp = data[1] & 1;
    bytes = exact(data + 2, size - 2);
    switch (data[0] % 5) {
    case 0:
        check_unseal(bytes, size - 2, stamp);
        break;
    case 1:
        check_footer(bytes, size - 2, stamp);
        break;
    case 2:
        check_properties(bytes, size - 2);
        break;
    case 3:
        check_filter(bytes, size - 2);
        break;
    default:
        check_index(bytes, size - 2, stamp);
    }
    free(bytes);
    return 0;
}
