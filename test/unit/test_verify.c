/* test_verify.c - what sst_verify() finds in a table whose checksums are all right: what was written
 * makes no sense, as if the writer had been wrong. */
#include "sst/block_priv.h"
#include "sst/filter_priv.h"
#include "sst/format_priv.h"
#include "sst/sst.h"

#include "sst_model.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define KEYS 60u

/* A table of one block, in memory, and where its parts are. */
struct forged {
    uint8_t bytes[16384];
    struct table_meta meta;
    struct footer footer;
    size_t block_bytes; /* sealed */
    struct block block;
};

static const struct sst_write_config config = {
    .table_no = 7, .block_bytes = 12288, .filter_bits = 10, .codec = SST_PLAIN, .created_ms = 99};

static void file_access(const char *path, struct forged *f, bool writes)
{
    int fd = open(path, (writes ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    size_t len = f->meta.file_bytes;
    ssize_t done = fd < 0   ? -1
                   : writes ? pwrite(fd, f->bytes, len, 0)
                            : pread(fd, f->bytes, len, 0);

    if (done != (ssize_t)len)
        abort();
    (void)close(fd);
}

static uint64_t seal_again(struct forged *f, const struct span *span)
{
    uint8_t *at = f->bytes + span->at;

    (void)seal(at, at, (size_t)span->bytes - TRAILER_BYTES, SST_PLAIN, f->meta.unique_id, span->at);
    return get_u64le(at + span->bytes - 8);
}

/* All checksums follow from what the parts hold now. */
static void stamp(struct forged *f)
{
    struct span block = {.bytes = f->block_bytes};
    size_t footer_at = (size_t)f->meta.file_bytes - FOOTER_BYTES;

    f->footer.filter.checksum = seal_again(f, &f->footer.filter);
    put_u64le(f->bytes + f->footer.index.at + 16, seal_again(f, &block)); /* in its only row */
    f->footer.index.checksum = seal_again(f, &f->footer.index);
    footer_put(f->bytes + footer_at, &f->footer, footer_at);
    f->meta.file_hash = f->footer.checksum;
}

static uint8_t *at_entry(struct forged *f, uint32_t i)
{
    return f->bytes + block_offset(&f->block, i);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = a[i];

        a[i] = b[i];
        b[i] = byte;
    }
}

/* ---- what can be wrong ---- */

static void nothing(struct forged *f)
{
    (void)f;
}

static void head_of_no_key(struct forged *f)
{
    uint8_t *head = (uint8_t *)(uintptr_t)f->block.heads + 8 * 30u;

    put_u64le(head, get_u64le(head) + 1);
}

/* The heads rise as before. */
static void key_without_prefix(struct forged *f)
{
    at_entry(f, 30)[0]++;
}

static void last_key_without_prefix(struct forged *f)
{
    at_entry(f, KEYS)[0]++; /* behind two versions of one key there are KEYS + 1 entries */
}

static void neighbours_swapped(struct forged *f)
{
    uint8_t *heads = (uint8_t *)(uintptr_t)f->block.heads;
    size_t len = block_offset(&f->block, 31) - block_offset(&f->block, 30);

    swap_bytes(heads + 8 * 30u, heads + 8 * 31u, 8);
    swap_bytes(at_entry(f, 30), at_entry(f, 31), len);
}

/* Entries 10 and 11 are versions of one key: the older one comes first then. */
static void versions_swapped(struct forged *f)
{
    uint8_t *deltas = (uint8_t *)(uintptr_t)f->block.deltas;

    swap_bytes(deltas + 4 * 10u, deltas + 4 * 11u, 4);
}

static void another_value(struct forged *f)
{
    at_entry(f, 31)[-1]++;
}

static void another_number(struct forged *f)
{
    ((uint8_t *)(uintptr_t)f->block.deltas)[4 * 30u]++;
}

static void empty_filter(struct forged *f)
{
    memset(f->bytes + f->footer.filter.at, 0,
           (size_t)f->footer.filter.bytes - TRAILER_BYTES - FILTER_TAIL_BYTES);
}

static const struct {
    void (*lie)(struct forged *f);
    const char *found;
} lies[] = {{nothing, NULL},
            {head_of_no_key, "head does not match its key"},
            {key_without_prefix, "key without its block's prefix"},
            {last_key_without_prefix, "key outside of the table's range"},
            {neighbours_swapped, "entries out of order"},
            {versions_swapped, "entries out of order"},
            {another_value, "entries are not those that were written"},
            {another_number, "entries are not those that were written"},
            {empty_filter, "filter denies a key that is there"}};

/* ---- the table ---- */

static enum quern_code table_make(struct os_dir *dir, const char *path, struct sst_cache *cache,
                                  struct forged *f, struct quern_error *err)
{
    struct model m OWNED_MODEL = {0};
    char room[24];

    for (uint64_t i = 0; i < KEYS; i++) {
        if (i == 10)
            model_add(&m, decimal_key(room, i), 500, ENTRY_PUT, 0, 40);
        model_add(&m, decimal_key(room, i), i + 1, ENTRY_PUT, 0, 40);
    }
    if (model_write(&m, dir, &config, cache, &f->meta, err))
        return err->code;
    ensure(f->meta.file_bytes <= sizeof(f->bytes));
    file_access(path, f, false);
    if (footer_get(f->bytes + f->meta.file_bytes - FOOTER_BYTES, f->meta.file_bytes - FOOTER_BYTES,
                   &f->footer, err))
        return err->code;
    f->block_bytes = (size_t)f->footer.filter.at;
    block_view(&f->block, f->bytes);
    return EXPECT(f->block.count == KEYS + 1) && EXPECT(f->block.prefix_len != 0) &&
                   EXPECT((f->block.flags & BLOCK_SEQ_DELTA) != 0)
               ? QUERN_OK
               : err_set(err, QUERN_IO, "not the table that was meant");
}

TEST(verify_finds_what_makes_no_sense_under_good_checksums)
{
    static struct forged whole, f;
    struct sst_cache *cache OWNED(sst_cache_free) = NULL;
    const char *place = tap_dir();
    struct os_dir *dir = NULL;
    struct quern_error err;
    char path[320];

    (void)snprintf(path, sizeof(path), "%s/000007.sst", place);
    CHECK_OK(os_dir_open(os_local(), place, false, &dir, &err), &err);
    CHECK_OK(sst_cache_new(1 << 20, &cache, &err), &err);
    CHECK_OK(table_make(dir, path, cache, &whole, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct sst *t OWNED(sst_unref) = NULL;

        f = whole;
        block_view(&f.block, f.bytes);
        lies[i].lie(&f);
        stamp(&f);
        file_access(path, &f, true);
        CHECK_OK(sst_open(dir, &f.meta, cache, &t, &err), &err);
        if (lies[i].found == NULL) {
            CHECK_OK(sst_verify(t, NULL, NULL, NULL, &err), &err);
            continue;
        }
        CHECK_CODE(sst_verify(t, NULL, NULL, NULL, &err), QUERN_CORRUPT);
        tap_note("%s", err.text);
        CHECK(strstr(err.text, lies[i].found) != NULL);
    }
    table_meta_done(&whole.meta);
    os_dir_close(dir);
}
