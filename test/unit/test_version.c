/* test_version.c - what a version promises: it shows each table within the bounds that the manifest
 * says, and shares with the version before it what has not changed. */
#include "engine/version.h"

#include "sst_model.h"

#define ENTRIES 100

TEST(a_table_whose_bound_rose_is_used_with_its_new_bound)
{
    struct os_dir *dir;
    struct sst_cache *cache;
    struct model m OWNED_MODEL = {0};
    struct sst_write_config config = {.table_no = 1, .block_bytes = 1024, .filter_bits = 10};
    struct manifest_table entry = {.tier = 0, .run_no = 1};
    struct manifest_state state = {.tables = &entry, .table_count = 1};
    struct version *whole, *same, *trimmed;
    struct quern_error err;
    char room[24];

    for (uint64_t i = 0; i < ENTRIES; i++)
        model_add(&m, decimal_key(room, i), i + 1, ENTRY_PUT, 0, 10);
    CHECK_OK(os_dir_open(os_local(), tap_dir(), false, &dir, &err), &err);
    CHECK_OK(sst_cache_new(1 << 20, &cache, &err), &err);
    CHECK_OK(model_write(&m, dir, &config, cache, &entry.meta, &err), &err);

    CHECK_OK(version_build(dir, cache, &state, NULL, (struct open_tables){0}, &whole, &err), &err);
    CHECK_OK(version_build(dir, cache, &state, whole, (struct open_tables){0}, &same, &err), &err);
    CHECK(same->runs[0].tables[0] == whole->runs[0].tables[0]);
    CHECK(!same->runs[0].tables[0]->trimmed);

    buf_clear(&entry.meta.smallest);
    CHECK_OK(buf_append(&entry.meta.smallest, decimal_key(room, 50).data, 16, &err), &err);
    CHECK_OK(version_build(dir, cache, &state, same, (struct open_tables){0}, &trimmed, &err),
             &err);
    CHECK(trimmed->runs[0].tables[0]->trimmed);
    CHECK(key_equal(buf_slice(&trimmed->runs[0].tables[0]->smallest), decimal_key(room, 50)));
    CHECK(trimmed->runs[0].tables[0]->sst == whole->runs[0].tables[0]->sst);
    CHECK(!whole->runs[0].tables[0]->trimmed); /* whoever reads it still sees what it saw */

    version_unref(trimmed);
    version_unref(same);
    version_unref(whole);
    table_meta_done(&entry.meta);
    sst_cache_free(cache);
    os_dir_close(dir);
}
