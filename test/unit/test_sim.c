/* test_sim.c - what the simulated disk of the tests keeps, loses and damages. */
#include "base/alloc.h"
#include "base/error.h"
#include "sim.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR SIM_SECTOR_BYTES
#define SECTORS 32
#define BYTES (SECTORS * SECTOR)

static struct quern_error err;

static enum quern_code fill(struct os_file *f, char letter, uint64_t at, size_t len)
{
    char *bytes = alloc_bytes(len);
    struct iovec piece = {bytes, len};
    enum quern_code code;

    memset(bytes, letter, len);
    code = os_file_write(f, &piece, 1, at, &err);
    alloc_free(bytes);
    return code;
}

static struct os_dir *open_db(struct sim *sim)
{
    struct os_dir *d = NULL;

    EXPECT(os_dir_open(sim_os(sim), "db", true, &d, &err) == QUERN_OK);
    return d;
}

static struct os_file *open_file(struct os_dir *d, const char *name, unsigned how)
{
    struct os_file *f = NULL;

    return os_file_open(d, name, how, &f, &err) == QUERN_OK ? f : NULL;
}

/* A file of `len` bytes of `letter`, durable in bytes and name, still open. */
static struct os_file *durable_file(struct os_dir *d, const char *name, char letter, size_t len)
{
    struct os_file *f = open_file(d, name, OS_WRITE | OS_CREATE);

    EXPECT(fill(f, letter, 0, len) == QUERN_OK);
    EXPECT(os_file_sync(f, &err) == QUERN_OK && os_dir_sync(d, &err) == QUERN_OK);
    return f;
}

/* The file's content as text: one letter per sector, '.' for zeros, '!' for a torn sector. In a
 * static buffer; "" for an empty file, NULL for none. */
static const char *shape(struct os_dir *d, const char *name)
{
    static char letters[SECTORS * 4 + 1];
    struct os_file *f OWNED(os_file_drop) = open_file(d, name, OS_READ);
    uint64_t size = 0;
    size_t n = 0;

    if (f == NULL || os_file_size(f, &size, &err) != QUERN_OK)
        return NULL;
    for (uint64_t at = 0; at < size && n < SECTORS * 4; at += SECTOR) {
        uint64_t len = size - at < SECTOR ? size - at : SECTOR;
        char bytes[SECTOR];

        if (os_file_read(f, bytes, len, at, &err) != QUERN_OK)
            return NULL;
        letters[n] = bytes[0] != '\0' ? bytes[0] : '.';
        for (uint64_t k = 1; k < len; k++)
            if (bytes[k] != bytes[0])
                letters[n] = '!';
        n++;
    }
    letters[n] = '\0';
    return letters;
}

static const char *shape_after(struct sim *sim, uint64_t seed, enum sim_crash_mode mode,
                               const char *name)
{
    struct sim *after OWNED(sim_free) = sim_crash(sim, seed, mode);
    struct os_dir *d OWNED(os_dir_close) = open_db(after);

    return shape(d, name);
}

static bool shape_is(const char *got, const char *want)
{
    return got != NULL && strcmp(got, want) == 0;
}

TEST(sim_a_power_cut_takes_bytes_that_were_not_synced)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 2 * SECTOR);

    CHECK_OK(fill(f, 'b', SECTOR, 3 * SECTOR), &err);
    CHECK(shape_is(shape(d, "f"), "abbb"));
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "aa"));
    CHECK(shape_is(shape_after(sim, 1, SIM_KEEP_ALL, "f"), "abbb"));
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "abbb"));
}

TEST(sim_a_random_cut_keeps_any_sectors_and_tears_none)
{
    uint64_t seed = tap_seed();
    unsigned olds = 0, news = 0, mixed = 0, zeros = 0, shorter = 0;
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', BYTES);

    CHECK_OK(fill(f, 'b', 0, BYTES + 4 * SECTOR), &err);
    for (uint64_t k = 0; k < 400; k++) {
        const char *got = shape_after(sim, seed + k, SIM_RANDOM, "f");
        bool a, b;

        CHECK(got != NULL && strlen(got) >= SECTORS && strlen(got) <= SECTORS + 4);
        CHECK(strspn(got, "ab.!") == strlen(got));
        /* Only where the size falls within a sector may one be cut: the last. */
        CHECK(strchr(got, '!') == NULL || strchr(got, '!')[1] == '\0');
        CHECK(strcspn(got, ".") >= SECTORS); /* zeros only beyond what was durable */
        a = strchr(got, 'a') != NULL;
        b = strchr(got, 'b') != NULL;
        olds += a && !b;
        news += b && !a;
        mixed += a && b;
        zeros += strchr(got, '.') != NULL;
        shorter += strlen(got) < SECTORS + 4;
    }
    CHECK(olds > 0 && news > 0 && mixed > 0 && zeros > 0 && shorter > 0);
}

TEST(sim_a_random_cut_may_keep_a_content_between_old_and_new)
{
    uint64_t seed = tap_seed();
    unsigned seen[3] = {0, 0, 0};
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', SECTOR);

    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK_OK(fill(f, 'c', 0, SECTOR), &err);
    for (uint64_t k = 0; k < 200; k++) {
        const char *got = shape_after(sim, seed + k, SIM_RANDOM, "f");

        CHECK(got != NULL && got[0] >= 'a' && got[0] <= 'c' && got[1] == '\0');
        seen[got[0] - 'a']++;
    }
    CHECK(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
    CHECK_OK(os_file_sync(f, &err), &err);
    for (uint64_t k = 0; k < 50; k++)
        CHECK(shape_is(shape_after(sim, seed + k, SIM_RANDOM, "f"), "c"));
}

TEST(sim_the_same_seed_gives_the_same_disk)
{
    uint64_t seed = tap_seed();
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', BYTES);
    char first[SECTORS * 4 + 1];

    CHECK_OK(fill(f, 'b', 0, BYTES), &err);
    for (uint64_t k = 0; k < 20; k++) {
        (void)snprintf(first, sizeof(first), "%s", shape_after(sim, seed + k, SIM_RANDOM, "f"));
        CHECK(shape_is(shape_after(sim, seed + k, SIM_RANDOM, "f"), first));
    }
}

TEST(sim_a_name_is_lost_until_its_directory_is_synced)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = open_file(d, "f", OS_WRITE | OS_CREATE);

    CHECK_OK(fill(f, 'a', 0, SECTOR), &err);
    CHECK_OK(os_file_sync(f, &err), &err); /* the bytes, not the name */
    CHECK(shape_after(sim, 1, SIM_DROP_ALL, "f") == NULL);
    CHECK(shape_is(shape_after(sim, 1, SIM_KEEP_ALL, "f"), "a"));
    CHECK_OK(os_dir_sync(d, &err), &err);
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "a"));
    CHECK_OK(os_dir_remove(d, "f", &err), &err);
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "a"));
    CHECK(shape_after(sim, 1, SIM_KEEP_ALL, "f") == NULL);
    CHECK_OK(os_dir_sync(d, &err), &err);
    CHECK(shape_after(sim, 1, SIM_DROP_ALL, "f") == NULL);
}

TEST(sim_each_unsynced_name_is_kept_or_not)
{
    uint64_t seed = tap_seed();
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    unsigned seen[4] = {0, 0, 0, 0};

    os_file_drop(open_file(d, "a", OS_WRITE | OS_CREATE));
    os_file_drop(open_file(d, "b", OS_WRITE | OS_CREATE));
    for (uint64_t k = 0; k < 200; k++) {
        bool a = shape_after(sim, seed + k, SIM_RANDOM, "a") != NULL;
        bool b = shape_after(sim, seed + k, SIM_RANDOM, "b") != NULL;

        seen[(unsigned)a + 2 * (unsigned)b]++;
    }
    CHECK(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

TEST(sim_a_rename_is_whole_or_not_at_all)
{
    uint64_t seed = tap_seed();
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    unsigned done = 0;

    os_file_drop(durable_file(d, "a", 'a', SECTOR));
    os_file_drop(durable_file(d, "b", 'b', SECTOR));
    CHECK_OK(os_dir_rename(d, "b", "a", &err), &err);
    for (uint64_t k = 0; k < 100; k++) {
        bool gone = shape_after(sim, seed + k, SIM_RANDOM, "b") == NULL;

        CHECK(shape_is(shape_after(sim, seed + k, SIM_RANDOM, "a"), gone ? "b" : "a"));
        done += gone;
    }
    CHECK(done > 0 && done < 100);
}

TEST(sim_a_rename_before_the_sync_can_leave_an_empty_file)
{
    uint64_t seed = tap_seed();
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = open_file(d, "f.tmp", OS_WRITE | OS_CREATE);
    unsigned empty = 0;

    CHECK_OK(fill(f, 'a', 0, SECTOR), &err);
    CHECK_OK(os_dir_rename(d, "f.tmp", "f", &err), &err);
    for (uint64_t k = 0; k < 100; k++)
        empty += shape_is(shape_after(sim, seed + k, SIM_RANDOM, "f"), "");
    CHECK(empty > 0);
}

TEST(sim_links_in_two_directories_are_one_file)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *after OWNED(sim_free) = NULL;
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_dir *e OWNED(os_dir_close) = NULL;
    struct os_dir *g OWNED(os_dir_close) = NULL;

    os_file_drop(durable_file(d, "f", 'a', SECTOR));
    CHECK_OK(os_dir_open(sim_os(sim), "db/copy", true, &e, &err), &err);
    CHECK_OK(os_dir_link(d, "f", e, "g", &err), &err);
    CHECK_OK(os_dir_remove(d, "f", &err), &err);
    CHECK_OK(os_dir_sync(e, &err), &err);
    CHECK_OK(os_dir_sync(d, &err), &err);
    after = sim_crash(sim, 1, SIM_DROP_ALL);
    CHECK_OK(os_dir_open(sim_os(after), "db/copy/", false, &g, &err), &err);
    CHECK(shape_is(shape(g, "g"), "a"));
}

/* Its last name in the directory that is copied first goes; the name in the other one stays. */
TEST(sim_a_crash_keeps_a_file_by_its_name_in_another_directory)
{
    for (int newest = 0; newest < 2; newest++) {
        struct sim *sim OWNED(sim_free) = sim_new(1);
        struct os_dir *d OWNED(os_dir_close) = open_db(sim);
        struct os_dir *e OWNED(os_dir_close) = NULL;

        CHECK_OK(os_dir_open(sim_os(sim), "copy", true, &e, &err), &err);
        os_file_drop(durable_file(newest ? e : d, "f", 'a', SECTOR));
        CHECK_OK(os_dir_link(newest ? e : d, "f", newest ? d : e, "g", &err), &err);
        CHECK_OK(os_dir_sync(newest ? d : e, &err), &err);
        CHECK_OK(os_dir_remove(newest ? e : d, "f", &err), &err);
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct sim *after OWNED(sim_free) = sim_crash(sim, seed, SIM_RANDOM);
            struct os_dir *f OWNED(os_dir_close) = NULL;

            CHECK_OK(os_dir_open(sim_os(after), newest ? "db" : "copy", false, &f, &err), &err);
            os_file_drop(durable_file(f, "other", 'b', SECTOR)); /* where it might have been */
            CHECK(shape_is(shape(f, "g"), "a"));
        }
    }
}

/* kill -9 leaves the cache, and the cache still owes the disk what was not synced. */
TEST(sim_what_a_kill_keeps_a_later_power_cut_may_take)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *killed OWNED(sim_free) = NULL;
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_dir *e OWNED(os_dir_close) = NULL;
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', SECTOR);
    struct os_file *g OWNED(os_file_drop) = NULL;

    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    os_file_drop(open_file(d, "new", OS_WRITE | OS_CREATE));
    killed = sim_crash(sim, 1, SIM_KEEP_ALL);
    CHECK(shape_is(shape_after(killed, 1, SIM_KEEP_ALL, "f"), "b"));
    CHECK(shape_is(shape_after(killed, 1, SIM_DROP_ALL, "f"), "a"));
    CHECK(shape_is(shape_after(killed, 1, SIM_KEEP_ALL, "new"), ""));
    CHECK(shape_after(killed, 1, SIM_DROP_ALL, "new") == NULL);
    e = open_db(killed);
    g = open_file(e, "f", OS_WRITE);
    CHECK_OK(os_file_sync(g, &err), &err);
    CHECK(shape_is(shape_after(killed, 1, SIM_DROP_ALL, "f"), "b"));
}

TEST(sim_stores_to_a_mapping_are_unsynced_writes)
{
    uint64_t seed = tap_seed();
    struct sim *sim OWNED(sim_free) = sim_new(seed);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', BYTES);
    unsigned mixed = 0;
    void *map = NULL;

    CHECK_OK(os_file_map(f, BYTES, &map, &err), &err);
    memset(map, 'm', 4 * SECTOR);
    CHECK(shape_after(sim, seed, SIM_KEEP_ALL, "f")[3] == 'm');
    CHECK(shape_after(sim, seed, SIM_DROP_ALL, "f")[3] == 'a');
    for (uint64_t k = 0; k < 100; k++) {
        const char *got = shape_after(sim, seed + k, SIM_RANDOM, "f");

        CHECK(got[4] == 'a' && strchr(got, '!') == NULL);
        mixed += memchr(got, 'a', 4) != NULL && memchr(got, 'm', 4) != NULL;
    }
    CHECK(mixed > 0);
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK(shape_after(sim, seed, SIM_DROP_ALL, "f")[3] == 'm');
    memset(map, 'n', SECTOR);
    os_file_unmap(f, map, BYTES); /* does not sync */
    CHECK(shape_after(sim, seed, SIM_DROP_ALL, "f")[0] == 'm');
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK(shape_after(sim, seed, SIM_DROP_ALL, "f")[0] == 'n');
}

TEST(sim_stores_to_a_mapping_after_the_power_went_change_nothing)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 4096);
    void *map = NULL;

    CHECK_OK(os_file_map(f, 4096, &map, &err), &err);
    memset(map, 'b', SECTOR);
    sim_crash_at(sim, sim_op_count(sim) + 1);
    CHECK_CODE(os_file_sync(f, &err), QUERN_IO);
    CHECK(sim_is_off(sim));
    memset(map, 'c', 4096);
    CHECK(shape_is(shape_after(sim, 1, SIM_KEEP_ALL, "f"), "baaaaaaa"));
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "aaaaaaaa"));
    os_file_unmap(f, map, 4096);
}

TEST(sim_direct_writes_are_durable_at_return)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 4096);
    struct os_file *g OWNED(os_file_drop) = open_file(d, "f", OS_WRITE | OS_DIRECT_SYNC);
    uint8_t *page = alloc_aligned(4096, 4096);
    struct iovec piece = {page, 4096};
    struct os_file *none = NULL;

    memset(page, 'd', 4096);
    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK_OK(os_file_write(g, &piece, 1, 4096, &err), &err);
    alloc_free(page);
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "aaaaaaaadddddddd"));
    sim_set_direct(sim, false);
    sim_set_mapping(sim, false);
    CHECK_CODE(os_file_open(d, "f", OS_WRITE | OS_DIRECT_SYNC, &none, &err), QUERN_UNSUPPORTED);
    CHECK_CODE(os_file_map(f, 4096, (void **)&none, &err), QUERN_UNSUPPORTED);
}

TEST(sim_the_power_goes_at_the_call_that_was_named)
{
    uint64_t calls;
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', SECTOR);
    struct os_lock *lock = NULL;
    uint64_t bytes;

    calls = sim_op_count(sim);
    CHECK_EQ(calls, 5); /* open directory, create, write, sync, sync directory */
    CHECK_EQ(sim_op_count_of(sim, SIM_SYNC), 1);
    CHECK_EQ(sim_op_count_of(sim, SIM_CHANGES), 4);
    sim_crash_at_of(sim, SIM_WRITE, 3);
    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK(!sim_is_off(sim));
    CHECK_CODE(fill(f, 'c', 0, SECTOR), QUERN_IO);
    CHECK(strstr(err.text, "the power is gone") != NULL);
    CHECK_CODE(os_file_sync(f, &err), QUERN_IO);
    CHECK_CODE(os_dir_stat(d, "f", &bytes, &err), QUERN_IO);
    CHECK_CODE(os_dir_lock(d, "L", &lock, &err), QUERN_IO);
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "b"));
}

TEST(sim_the_call_in_flight_may_be_done_in_part)
{
    uint64_t seed = tap_seed();
    unsigned none = 0, part = 0;

    for (uint64_t k = 0; k < 60; k++) {
        struct sim *sim OWNED(sim_free) = sim_new(seed + k);
        struct os_dir *d OWNED(os_dir_close) = open_db(sim);
        struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', BYTES);
        const char *got;

        sim_crash_at(sim, sim_op_count(sim) + 1);
        CHECK_CODE(fill(f, 'b', 0, BYTES), QUERN_IO);
        CHECK(strchr(shape_after(sim, 1, SIM_DROP_ALL, "f"), 'b') == NULL);
        got = shape_after(sim, 1, SIM_KEEP_ALL, "f");
        none += strchr(got, 'b') == NULL;
        part += strchr(got, 'b') != NULL && strchr(got, 'a') != NULL;
    }
    CHECK(none > 0 && part > 0);
}

TEST(sim_a_fault_fails_the_call_it_names_once_or_always)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "1.wal", 'a', SECTOR);
    struct os_file *g OWNED(os_file_drop) = durable_file(d, "1.sst", 'a', SECTOR);

    sim_fail(sim,
             &(struct sim_fault){.ops = SIM_WRITE, .name = "*.wal", .skip = 1, .sys_errno = EIO});
    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK_OK(fill(g, 'b', 0, SECTOR), &err);
    CHECK_CODE(fill(f, 'c', 0, SECTOR), QUERN_IO);
    CHECK_EQ(err.sys_errno, EIO);
    CHECK(strstr(err.text, "write 1.wal") != NULL);
    CHECK(shape_is(shape(d, "1.wal"), "b"));
    CHECK_OK(fill(f, 'd', 0, SECTOR), &err);
    CHECK_EQ(sim_fault_hits(sim), 1);
    sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE, .always = true, .sys_errno = ENOSPC});
    for (int k = 0; k < 3; k++)
        CHECK_CODE(fill(g, 'c', 0, SECTOR), QUERN_NO_SPACE);
    CHECK_EQ(sim_fault_hits(sim), 4);
    sim_fail_never(sim);
    CHECK_OK(fill(g, 'c', 0, SECTOR), &err);
}

TEST(sim_a_short_write_leaves_its_first_part)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 4 * SECTOR);

    sim_fail(sim,
             &(struct sim_fault){.ops = SIM_WRITE, .sys_errno = EDQUOT, .part_bytes = 2 * SECTOR});
    CHECK_CODE(fill(f, 'b', 0, 4 * SECTOR), QUERN_NO_SPACE);
    CHECK(shape_is(shape(d, "f"), "bbaa"));
}

TEST(sim_a_lost_write_says_ok)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', SECTOR);

    sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE});
    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK(shape_is(shape(d, "f"), "a"));
    CHECK_EQ(sim_fault_hits(sim), 1);
}

TEST(sim_a_misdirected_write_and_one_with_a_flipped_bit_say_ok)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 3 * SECTOR);
    uint8_t bytes[SECTOR];
    unsigned flipped = 0;

    sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE, .shift_bytes = SECTOR});
    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK(shape_is(shape(d, "f"), "aba"));
    sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE, .flip_bit = true});
    CHECK_OK(fill(f, 'c', 2 * SECTOR, SECTOR), &err);
    CHECK_OK(os_file_read(f, bytes, SECTOR, 2 * SECTOR, &err), &err);
    for (size_t i = 0; i < SECTOR; i++)
        flipped += (unsigned)__builtin_popcount(bytes[i] ^ 'c');
    CHECK_EQ(flipped, 1);
    CHECK_EQ(sim_fault_hits(sim), 2);
    CHECK_OK(fill(f, 'd', 0, SECTOR), &err);
    CHECK(shape_is(shape(d, "f"), "db!"));
}

TEST(sim_a_read_can_be_short_wrong_misdirected_or_stale)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 2 * SECTOR);
    uint8_t bytes[2 * SECTOR];
    unsigned flipped = 0;

    CHECK_OK(fill(f, 'b', SECTOR, SECTOR), &err);
    memset(bytes, '-', sizeof(bytes));
    sim_fail(sim, &(struct sim_fault){.ops = SIM_READ, .sys_errno = EIO, .part_bytes = 7});
    CHECK_CODE(os_file_read(f, bytes, SECTOR, 0, &err), QUERN_IO);
    CHECK(bytes[6] == 'a' && bytes[7] == '-');
    sim_fail(sim, &(struct sim_fault){.ops = SIM_READ, .flip_bit = true});
    CHECK_OK(os_file_read(f, bytes, SECTOR, 0, &err), &err);
    for (size_t i = 0; i < SECTOR; i++)
        flipped += (unsigned)__builtin_popcount(bytes[i] ^ 'a');
    CHECK_EQ(flipped, 1);
    sim_fail(sim, &(struct sim_fault){.ops = SIM_READ, .shift_bytes = SECTOR});
    CHECK_OK(os_file_read(f, bytes, SECTOR, 0, &err), &err);
    CHECK(bytes[0] == 'b' && bytes[SECTOR - 1] == 'b');
    sim_fail(sim, &(struct sim_fault){.ops = SIM_READ, .stale = true});
    CHECK_OK(os_file_read(f, bytes, 2 * SECTOR, 0, &err), &err);
    CHECK(bytes[0] == 'a' && bytes[SECTOR] == 'a');
    CHECK_EQ(sim_fault_hits(sim), 4);
    CHECK(shape_is(shape(d, "f"), "ab")); /* the next read is right: the file was not touched */
}

TEST(sim_a_call_can_take_its_time_and_be_right)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', SECTOR);
    uint64_t began = os_now_ns(sim_os(sim));

    sim_fail(sim,
             &(struct sim_fault){.ops = SIM_WRITE | SIM_READ, .always = true, .delay_us = 2000});
    CHECK_OK(fill(f, 'b', 0, SECTOR), &err);
    CHECK(shape_is(shape(d, "f"), "b"));
    CHECK(os_now_ns(sim_os(sim)) - began >= UINT64_C(4000000));
}

TEST(sim_after_a_failed_sync_reads_show_what_the_disk_never_gets)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *killed OWNED(sim_free) = NULL;
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_dir *e OWNED(os_dir_close) = NULL;
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 2 * SECTOR);
    struct os_file *g OWNED(os_file_drop) = NULL;

    CHECK_OK(fill(f, 'b', 0, 2 * SECTOR), &err);
    sim_fail(sim, &(struct sim_fault){.ops = SIM_SYNC, .sys_errno = EIO, .drop_dirty = true});
    CHECK_CODE(os_file_sync(f, &err), QUERN_IO);
    CHECK_OK(os_file_sync(f, &err), &err); /* the lie that a retry would believe */
    CHECK(shape_is(shape(d, "f"), "bb"));
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "aa"));
    killed = sim_crash(sim, 1, SIM_KEEP_ALL); /* a restart does not mend it */
    e = open_db(killed);
    g = open_file(e, "f", OS_WRITE);
    CHECK(shape_is(shape(e, "f"), "bb"));
    CHECK_OK(os_file_sync(g, &err), &err);
    CHECK(shape_is(shape_after(killed, 1, SIM_DROP_ALL, "f"), "aa"));
    CHECK_OK(fill(f, 'c', SECTOR, SECTOR), &err); /* writing it anew does, for that sector */
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "f"), "ac"));
}

TEST(sim_a_failed_directory_sync_can_drop_its_names)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_dir *other OWNED(os_dir_close) = open_db(sim); /* the first one remembers */

    os_file_drop(open_file(d, "f", OS_WRITE | OS_CREATE));
    sim_fail(sim, &(struct sim_fault){.ops = SIM_DIR_SYNC, .sys_errno = EIO, .drop_dirty = true});
    CHECK_CODE(os_dir_sync(d, &err), QUERN_IO);
    CHECK_OK(os_dir_sync(other, &err), &err);
    CHECK(shape_is(shape(d, "f"), ""));
    CHECK(shape_after(sim, 1, SIM_DROP_ALL, "f") == NULL);
}

TEST(sim_a_full_disk_refuses_and_removal_gives_room)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_file *f OWNED(os_file_drop) = durable_file(d, "f", 'a', 4096);
    struct os_file *g OWNED(os_file_drop) = NULL;
    uint64_t bytes;

    sim_free_space(sim, 3 * 4096);
    CHECK_OK(fill(f, 'b', 0, 4096), &err); /* overwriting takes nothing */
    CHECK_CODE(fill(f, 'b', 4096, 4 * 4096), QUERN_NO_SPACE);
    CHECK_OK(os_file_size(f, &bytes, &err), &err);
    CHECK_EQ(bytes, 4 * 4096); /* as much as fits */
    CHECK_OK(os_dir_free_bytes(d, &bytes, &err), &err);
    CHECK_EQ(bytes, 0);
    CHECK_OK(os_file_truncate(f, 2 * 4096, &err), &err);
    CHECK_OK(os_dir_free_bytes(d, &bytes, &err), &err);
    CHECK_EQ(bytes, 2 * 4096);
    g = open_file(d, "g", OS_WRITE | OS_CREATE);
    CHECK_OK(fill(g, 'g', 0, 2 * 4096), &err);
    CHECK_OK(os_dir_remove(d, "g", &err), &err);
    CHECK_CODE(fill(f, 'b', 2 * 4096, 4096), QUERN_NO_SPACE); /* an open file keeps its room */
    os_file_drop(GIVE(g));
    CHECK_OK(fill(f, 'b', 2 * 4096, 4096), &err);
    sim_free_space(sim, UINT64_MAX);
    CHECK_OK(fill(f, 'b', 0, 64 * 4096), &err);
}

static void add_sizes(void *arg, const char *path, uint64_t bytes)
{
    if (strncmp(path, "db/", 3) == 0)
        *(uint64_t *)arg += bytes;
}

TEST(sim_damage_is_on_the_disk_and_in_the_cache)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    uint64_t total = 0;

    os_file_drop(durable_file(d, "1.sst", 'a', 2 * SECTOR));
    CHECK_EQ(sim_corrupt(sim, "*.wal", 0, 1), 0);
    CHECK_EQ(sim_corrupt(sim, "*.sst", 2 * SECTOR, 1), 0);
    CHECK_EQ(sim_corrupt(sim, "db/1.sst", SECTOR + 7, 1), 1);
    CHECK(shape_is(shape(d, "1.sst"), "a!"));
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "1.sst"), "a!"));
    CHECK_EQ(sim_truncate(sim, "*.sst", SECTOR), 1);
    CHECK(shape_is(shape(d, "1.sst"), "a"));
    CHECK(shape_is(shape_after(sim, 1, SIM_DROP_ALL, "1.sst"), "a"));
    sim_each_file(sim, add_sizes, &total);
    CHECK_EQ(total, SECTOR);
}

TEST(sim_a_crash_lets_go_of_locks_and_keeps_what_the_disk_can_do)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *after OWNED(sim_free) = NULL;
    struct os_dir *d OWNED(os_dir_close) = open_db(sim);
    struct os_dir *e OWNED(os_dir_close) = NULL;
    struct os_lock *lock = NULL, *again = NULL;
    struct os_file *f = NULL;

    sim_set_direct(sim, false);
    sim_set_wall_ms(sim, 12345);
    CHECK_OK(os_dir_lock(d, "LOCK", &lock, &err), &err);
    after = sim_crash(sim, 1, SIM_KEEP_ALL);
    e = open_db(after);
    CHECK_OK(os_dir_lock(e, "LOCK", &again, &err), &err);
    CHECK_EQ(os_wall_ms(sim_os(after)), 12345);
    CHECK_CODE(os_file_open(e, "LOCK", OS_WRITE | OS_DIRECT_SYNC, &f, &err), QUERN_UNSUPPORTED);
    os_unlock(lock);
    os_unlock(again);
}
