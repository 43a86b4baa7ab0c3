/* test_repair.c - what is salvaged of a damaged store, what is told to be lost, and what never
 * comes back. test/crash/test_damage.c damages every byte; here each kind of damage is looked
 * at. */
#include "engine_world.h"

#include "engine/remains_priv.h"
#include "engine/work_priv.h"

#include <errno.h>

#define NEW_PATH "/new"

/* ---- the world: keys 0..199 in tables and a log ---- */

struct told {
    unsigned damages, losses;
    char file[40]; /* of the last loss */
    uint64_t offset;
    char first[40], last[40], what[200];
};

static void on_damage(void *arg, const struct quern_damage *d)
{
    struct told *t = arg;

    t->damages++;
    if (!d->lost)
        return;
    t->losses++;
    t->offset = d->offset;
    (void)snprintf(t->file, sizeof(t->file), "%s", d->file);
    (void)snprintf(t->first, sizeof(t->first), "%.*s", (int)d->first_key.len,
                   d->first_key.len != 0 ? (const char *)d->first_key.data : "");
    (void)snprintf(t->last, sizeof(t->last), "%.*s", (int)d->last_key.len,
                   d->last_key.len != 0 ? (const char *)d->last_key.data : "");
    (void)snprintf(t->what, sizeof(t->what), "%s", d->what);
}

static enum quern_code repair(struct sim *sim, struct told *told,
                              struct quern_repair_report *report, struct quern_error *err)
{
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = told};

    *told = (struct told){0};
    return engine_repair(sim_os(sim), WORLD_PATH, NEW_PATH, &opts, report, err);
}

static enum quern_code check(struct sim *sim, struct told *told, struct quern_error *err)
{
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = told};

    *told = (struct told){0};
    return engine_check_files(sim_os(sim), WORLD_PATH, &opts, NULL, err);
}

static enum quern_code open_new(struct sim *sim, struct quern **db, struct quern_error *err)
{
    struct quern_options options = world_options();

    return engine_open(sim_os(sim), NEW_PATH, &options, db, err);
}

static enum quern_code delete_key(struct quern *db, unsigned n, struct quern_error *err)
{
    return quern_delete(db, world_key(n), NULL, err);
}

/* 200 keys in the bottom run, the first 50 newer in tier 0 */
static bool fill(struct quern *db)
{
    struct quern_error err;

    return EXPECT(world_fill(db, 0, 200, 1, &err) == QUERN_OK) &&
           EXPECT(quern_compact(db, NULL, &err) == QUERN_OK) &&
           EXPECT(world_fill(db, 0, 50, 2, &err) == QUERN_OK) &&
           EXPECT(quern_flush(db, &err) == QUERN_OK);
}

static struct sim *closed_store(void)
{
    struct sim *sim = sim_new(tap_seed());
    struct quern *db = NULL;
    struct quern_error err;

    if (EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK)) {
        (void)fill(db);
        (void)EXPECT(quern_close(db, &err) == QUERN_OK);
    }
    return sim;
}

/* The same, and keys 200..299 in the log alone, synced by fours; killed. (Each sync takes a page,
 * and a log four times as long as its MemDB would make a flush.) */
static struct sim *killed_store(void)
{
    struct sim *sim = sim_new(tap_seed()), *after;
    struct quern *db = NULL;
    struct quern_error err;

    if (EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK)) {
        (void)fill(db);
        rcu_drain(); /* files of tables that were merged away are gone */
        for (unsigned n = 200; n < 300; n++)
            (void)EXPECT(world_put(db, n, 1, n % 4 == 3, &err) == QUERN_OK);
    }
    after = sim_crash(sim, 1, SIM_KEEP_ALL);
    (void)quern_close(db, &err);
    sim_free(sim);
    return after;
}

/* The i-th file whose name ends so. */
static const char *file_named(struct sim *sim, const char *end, size_t i)
{
    static struct world_files all;
    size_t at = 0;

    world_list(sim, &all);
    for (at = world_find(&all, end, 0); i > 0 && at < all.count; i--)
        at = world_find(&all, end, at + 1);
    return at < all.count ? all.file[at].name : "";
}

static uint64_t bytes_of(struct sim *sim, const char *name)
{
    uint64_t bytes = 0;

    free(world_read(sim, name, &bytes));
    return bytes;
}

static void check_new(struct sim *sim, unsigned upto)
{
    struct quern *db = NULL;
    struct quern_error err;

    CHECK_OK(open_new(sim, &db, &err), &err);
    EXPECT(world_check(db, 0, 50, 2, &err) == QUERN_OK);
    EXPECT(world_check(db, 50, upto, 1, &err) == QUERN_OK);
    EXPECT(quern_verify(db, NULL, NULL, &err) == QUERN_OK);
    EXPECT(world_put(db, 1, 9, true, &err) == QUERN_OK); /* its numbers go on above the old ones */
    EXPECT(world_get(db, 1, 9, &err) == QUERN_OK);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- nothing lost ---- */

TEST(repair_of_a_sound_store_copies_all_and_touches_nothing)
{
    struct sim *sim OWNED(sim_free) = killed_store();
    struct world_files before, after;
    struct quern_repair_report report;
    struct quern_error err;
    struct told told;

    world_list(sim, &before);
    CHECK_OK(repair(sim, &told, &report, &err), &err);
    CHECK_EQ(told.damages, 0);
    CHECK_EQ(report.entries, 300);
    check_new(sim, 300);
    world_list(sim, &after);
    CHECK_EQ(after.count, before.count);
    for (size_t i = 0; i < before.count; i++)
        CHECK(strcmp(before.file[i].name, after.file[i].name) == 0 &&
              before.file[i].hash == after.file[i].hash);
}

TEST(repair_needs_neither_current_nor_manifest)
{
    for (int lost = 0; lost < 2; lost++) {
        struct sim *sim OWNED(sim_free) = killed_store();
        struct quern_repair_report report;
        struct quern_error err;
        struct told told;

        CHECK(world_remove(sim, "CURRENT"));
        if (lost == 1)
            CHECK(world_remove(sim, file_named(sim, "MANIFEST-000001", 0)));
        CHECK_CODE(repair(sim, &told, &report, &err), lost == 1 ? QUERN_CORRUPT : QUERN_OK);
        CHECK_EQ(told.damages, 1 + lost);
        CHECK_EQ(told.losses, lost);
        check_new(sim, 300);
    }
}

TEST(repair_takes_edits_of_a_damaged_manifest_one_by_one)
{
    struct sim *sim OWNED(sim_free) = killed_store();
    struct quern_repair_report report;
    struct quern_error err;
    struct told told;

    CHECK_EQ(sim_corrupt(sim, "MANIFEST-000001", 4096 + 20, 0x40), 1);
    CHECK_CODE(check(sim, &told, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "MANIFEST-000001: edit at 4096") != NULL);
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
    CHECK_EQ(told.losses, 1);
    check_new(sim, 300);
}

/* Blocks are found without an index, plain ones (tier 0) and compressed ones (the bottom). */
TEST(repair_finds_blocks_without_index_and_footer)
{
    for (size_t table = 0; table < 3; table++)
        for (uint64_t back = 20; back < 900; back += 60) {
            struct sim *sim OWNED(sim_free) = closed_store();
            struct quern_repair_report report;
            struct quern_error err;
            const char *name = file_named(sim, ".sst", table);
            struct told told;

            CHECK_EQ(sim_corrupt(sim, name, bytes_of(sim, name) - back, 0x04), 1);
            CHECK_OK(repair(sim, &told, &report, &err), &err);
            CHECK_EQ(told.losses, 0);
            CHECK(told.damages != 0);
            check_new(sim, 200);
        }
}

/* Neither a manifest nor the footer tells which table it is. */
TEST(repair_finds_blocks_of_a_table_whose_id_nobody_tells)
{
    for (int id_too = 0; id_too < 2; id_too++) {
        struct sim *sim OWNED(sim_free) = closed_store();
        struct quern_repair_report report;
        struct quern_error err;
        struct told told;

        CHECK(world_remove(sim, "CURRENT"));
        CHECK(world_remove(sim, file_named(sim, "MANIFEST-000001", 0)));
        for (size_t table = 0; table < 3; table++) {
            const char *name = file_named(sim, ".sst", table);

            CHECK_EQ(sim_corrupt(sim, name, bytes_of(sim, name) - (id_too ? 40 : 20), 0x04), 1);
        }
        CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
        check_new(sim, 200);
    }
}

TEST(repair_finds_a_table_under_another_name)
{
    struct sim *sim OWNED(sim_free) = closed_store();
    struct quern_repair_report report;
    struct quern_error err;
    struct told told;
    uint64_t len;
    const char *name = file_named(sim, ".sst", 1);
    uint8_t *bytes = world_read(sim, name, &len);

    CHECK(world_write(sim, "000777.sst", bytes, len));
    free(bytes);
    CHECK(world_remove(sim, name));
    CHECK_OK(repair(sim, &told, &report, &err), &err);
    CHECK_EQ(told.damages, 1);
    check_new(sim, 200);
}

/* ---- something lost ---- */

/* Also when the cut goes between two blocks, so that all that is left is sound. */
TEST(repair_tells_of_a_cut_table_wherever_it_was_cut)
{
    struct sim *whole OWNED(sim_free) = closed_store();
    const char *name = file_named(whole, ".sst", 0);

    for (uint64_t cut = 1; cut < 1000; cut++) { /* some blocks of 256 bytes and more */
        struct sim *sim OWNED(sim_free) = sim_crash(whole, 1, SIM_KEEP_ALL);
        struct quern_repair_report report;
        struct quern_error err;
        struct told told;

        CHECK_EQ(sim_truncate(sim, name, cut), 1);
        CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
        CHECK(told.losses != 0);
    }
}

/* The keys of the damaged block are told; every other key is there, and in the range an older value
 * may show. */
TEST(repair_loses_a_damaged_block_and_no_more)
{
    for (size_t table = 0; table < 3; table++)
        for (uint64_t at = 100; at < 900; at += 200) {
            struct sim *sim OWNED(sim_free) = closed_store();
            struct quern_repair_report report;
            struct quern *db = NULL;
            struct quern_error err;
            const char *name = file_named(sim, ".sst", table);
            unsigned lost = 0;
            struct told told;

            CHECK_EQ(sim_corrupt(sim, name, at, 0x04), 1);
            CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
            CHECK_EQ(told.losses, 1);
            CHECK(strcmp(told.file, name) == 0 && told.offset <= at);
            CHECK_OK(open_new(sim, &db, &err), &err);
            for (unsigned n = 0; n < 200; n++) {
                bool in = (told.first[0] == '\0' || strcmp(told.first, world_key(n).data) < 0) &&
                          strcmp(world_key(n).data, told.last) <= 0;
                bool there = world_get(db, n, n < 50 ? 2 : 1, &err) == QUERN_OK;

                EXPECT(there || in);
                EXPECT(there || err.code == QUERN_NOT_FOUND ||
                       world_get(db, n, 1, &err) == QUERN_OK);
                lost += !there;
            }
            EXPECT(lost < 20);
            CHECK_OK(quern_close(db, &err), &err);
        }
}

TEST(repair_goes_on_behind_damage_in_the_log)
{
    struct sim *sim OWNED(sim_free) = killed_store();
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err;
    struct told told;
    unsigned lost = 0;
    const char *name = file_named(sim, ".wal", 0);

    /* keys 200.. are alone on pages: each was synced */
    for (size_t i = 0; bytes_of(sim, file_named(sim, ".wal", i)) != 0; i++)
        name = file_named(sim, ".wal", i);
    CHECK_EQ(sim_corrupt(sim, name, 8192 + 4096 * 3 + 50, 0x01), 1);
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
    CHECK_EQ(told.losses, 1);
    CHECK_OK(open_new(sim, &db, &err), &err);
    for (unsigned n = 50; n < 300; n++)
        lost += world_get(db, n, 1, &err) != QUERN_OK;
    EXPECT(lost == 1);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(repair_tells_of_a_missing_table_which_keys_it_had)
{
    struct sim *sim OWNED(sim_free) = closed_store();
    struct quern_repair_report report;
    struct quern_error err;
    struct told told;
    char name[40];

    (void)snprintf(name, sizeof(name), "%s", file_named(sim, ".sst", 0));
    CHECK(world_remove(sim, name));
    CHECK_CODE(check(sim, &told, &err), QUERN_CORRUPT);
    CHECK(strcmp(told.file, name) == 0 && told.first[0] == 'k' && told.last[0] == 'k');
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
    CHECK(strcmp(told.file, name) == 0 && told.first[0] == 'k' && told.last[0] == 'k');
}

/* Nothing is left of it, and all others are taken. */
TEST(repair_goes_on_behind_a_table_whose_only_block_is_damaged)
{
    struct sim *sim OWNED(sim_free) = sim_new(tap_seed());
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err;
    struct told told;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned n = 0; n < 3; n++) {
        CHECK_OK(world_put(db, n, 1, false, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_EQ(sim_corrupt(sim, file_named(sim, ".sst", 1), 40, 0x01), 1);
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
    CHECK_EQ(told.losses, 2); /* the block, and then the table */
    CHECK(strcmp(told.first, world_key(1).data) == 0 && strcmp(told.last, told.first) == 0);
    CHECK_OK(open_new(sim, &db, &err), &err);
    CHECK_OK(world_get(db, 0, 1, &err), &err);
    CHECK_CODE(world_get(db, 1, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_get(db, 2, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- nothing old comes back ---- */

TEST(repair_honours_deletions)
{
    struct sim *sim OWNED(sim_free) = sim_new(tap_seed());
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err;
    struct told told;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK(fill(db));
    for (unsigned n = 10; n < 100; n += 7)
        CHECK_OK(delete_key(db, n, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK(world_remove(sim, "CURRENT"));
    CHECK_OK(repair(sim, &told, &report, &err), &err);
    CHECK_OK(open_new(sim, &db, &err), &err);
    for (unsigned n = 10; n < 100; n += 7)
        EXPECT(world_get(db, n, n < 50 ? 2 : 1, &err) == QUERN_NOT_FOUND);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Tables that were merged away and are still there, as after a crash, do not count where the
 * manifest knows better. */
TEST(repair_leaves_orphans_alone)
{
    struct sim *sim OWNED(sim_free) = sim_new(tap_seed());
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err;
    struct told told;
    char name[40];
    uint64_t len;
    uint8_t *old;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK(fill(db));
    CHECK_OK(quern_close(db, &err), &err); /* nothing is merged away meanwhile */
    (void)snprintf(name, sizeof(name), "%s", file_named(sim, ".sst", 0));
    CHECK((old = world_read(sim, name, &len)) != NULL);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned n = 0; n < 40; n++)
        CHECK_OK(delete_key(db, n, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK(world_write(sim, name, old, len));
    free(old);
    CHECK_OK(repair(sim, &told, &report, &err), &err);
    CHECK_EQ(report.entries, 160);
}

/* ---- refusals, and crashes ---- */

TEST(repair_refuses_a_store_that_is_open_and_a_place_that_is_not_empty)
{
    struct sim *sim OWNED(sim_free) = closed_store();
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err;
    struct told told;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_LOCKED);
    CHECK_CODE(check(sim, &told, &err), QUERN_LOCKED);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(repair(sim, &told, &report, &err), &err);
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_EXISTS);
    CHECK_CODE(engine_repair(sim_os(sim), "/nowhere", "/new2", NULL, NULL, &err), QUERN_NO_STORE);
}

TEST(a_repair_that_is_cut_short_leaves_no_store)
{
    for (uint64_t cut = 1;; cut++) {
        struct sim *sim OWNED(sim_free) = killed_store();
        struct sim *after OWNED(sim_free) = NULL;
        struct quern_repair_report report;
        struct quern *db = NULL;
        struct quern_error err;
        struct told told;
        enum quern_code code;

        sim_crash_at_of(sim, SIM_CHANGES, cut);
        code = repair(sim, &told, &report, &err);
        after = sim_crash(sim, cut, SIM_RANDOM);
        if (open_new(after, &db, &err) == QUERN_OK) {
            struct quern_stats stats;

            quern_stats(db, &stats);
            EXPECT(stats.tables == 0 || world_check(db, 50, 300, 1, &err) == QUERN_OK);
            CHECK_OK(quern_close(db, &err), &err);
        } else {
            EXPECT(err.code == QUERN_CORRUPT && code != QUERN_OK);
        }
        if (!sim_is_off(sim))
            break;
        CHECK(cut < 1000);
    }
}

TEST(repair_without_memory_fails_and_can_be_tried_again)
{
    struct sim *sim OWNED(sim_free) = killed_store();
    struct quern_repair_report report;
    struct quern_error err;
    struct told told;
    enum quern_code code = QUERN_NO_MEMORY;

    for (uint64_t calls = 0; code == QUERN_NO_MEMORY; calls += 1 + calls / 16) {
        alloc_fail_after(calls);
        code = repair(sim, &told, &report, &err);
        alloc_fail_never();
    }
    CHECK_OK(code, &err);
    check_new(sim, 300);
}

/* ---- verify of an open store ---- */

TEST(verify_of_an_open_store_reads_its_log_and_manifest)
{
    static const char *const files[] = {"CURRENT", "MANIFEST-000001", "000001.wal"};
    static const uint64_t at[] = {10, 80, 8192 + 60};

    for (size_t i = 0; i < 3; i++) {
        struct sim *sim OWNED(sim_free) = sim_new(tap_seed());
        struct quern *db = NULL;
        struct quern_error err;
        struct told told = {0};
        struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = &told};

        sim_set_mapping(sim, false);
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 20, 1, &err), &err);
        CHECK_OK(quern_verify(db, &opts, NULL, &err), &err);
        CHECK_EQ(sim_corrupt(sim, files[i], at[i], 0x10), 1);
        EXPECT(quern_verify(db, &opts, NULL, &err) == QUERN_CORRUPT);
        EXPECT(told.damages != 0);
        (void)quern_close(db, &err);
    }
}

TEST(check_tells_of_every_damage_not_just_the_first)
{
    struct sim *sim OWNED(sim_free) = killed_store();
    struct quern_error err;
    struct told told;

    CHECK_EQ(sim_corrupt(sim, "CURRENT", 3, 0x10), 1);
    CHECK_EQ(sim_corrupt(sim, file_named(sim, ".sst", 0), 100, 0x10), 1);
    CHECK_EQ(sim_corrupt(sim, file_named(sim, ".sst", 1), 100, 0x10), 1);
    CHECK_CODE(check(sim, &told, &err), QUERN_CORRUPT);
    CHECK_EQ(told.damages, 3);
}

/* ---- the scrub ---- */

static void on_event(void *arg, const struct quern_event *event)
{
    _Atomic unsigned *told = arg;

    if (event->kind == QUERN_EVENT_CORRUPT && strncmp(event->text, "scrub: table", 12) == 0)
        atomic_fetch_add(told, 1);
}

/* Nobody reads; the worker finds it in an idle moment, and says so in statistics as well. */
TEST(an_idle_store_finds_damage_by_itself)
{
    struct sim *sim OWNED(sim_free) = closed_store();
    _Atomic unsigned told = 0;
    struct quern_options options = world_options();
    struct quern_stats stats = {0};
    struct quern *db = NULL;
    struct quern_error err;

    options.compact_interval_ms = 1;
    options.on_event = on_event;
    options.on_event_arg = &told;
    CHECK_EQ(sim_corrupt(sim, file_named(sim, ".sst", 0), 300, 0x02), 1);
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (int i = 0; i < 1000 && atomic_load(&told) == 0; i++)
        thread_sleep_ns(10000000);
    quern_stats(db, &stats);
    EXPECT(atomic_load(&told) == 1);
    EXPECT(stats.scrub_damages == 1 && stats.scrub_bytes != 0);
    CHECK_OK(quern_close(db, &err), &err);
}

/* A sector that the disk cannot read any more is what a scrub is for. */
TEST(a_scrub_tells_of_what_the_disk_cannot_read)
{
    struct sim *sim OWNED(sim_free) = closed_store();
    struct sim_fault fault = {.ops = SIM_READ, .name = "*.sst", .always = true, .sys_errno = EIO};
    _Atomic unsigned told = 0;
    struct quern_options options = world_options();
    struct quern_stats stats = {0};
    struct quern *db = NULL;
    struct quern_error err;

    options.on_event = on_event;
    options.on_event_arg = &told;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    sim_fail(sim, &fault);
    scrub_step(db); /* the worker would in an hour */
    quern_stats(db, &stats);
    EXPECT(atomic_load(&told) == 1 && stats.scrub_damages == 1);
    sim_fail_never(sim);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- verify beside writers ---- */

struct writer {
    struct quern *db;
    _Atomic bool stop, failed;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    struct quern_error err;

    for (unsigned n = 0; !atomic_load(&w->stop); n++)
        if (world_put(w->db, n % 500, n / 500, n % 50 == 0, &err))
            atomic_store(&w->failed, true);
    return NULL;
}

TEST(verify_beside_a_writer_finds_nothing_that_is_not_there)
{
    struct sim *sim OWNED(sim_free) = sim_new(tap_seed());
    struct writer w = {0};
    struct quern_error err;
    struct told told = {0};
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = &told};
    pthread_t thread;

    CHECK_OK(world_open(sim, NULL, &w.db, &err), &err);
    CHECK_OK(thread_start(&thread, "writer", write_on, &w, &err), &err);
    for (int i = 0; i < 100; i++)
        if (!EXPECT(quern_verify(w.db, &opts, NULL, &err) == QUERN_OK)) {
            tap_note("%s", err.text);
            break;
        }
    atomic_store(&w.stop, true);
    (void)pthread_join(thread, NULL);
    EXPECT(!atomic_load(&w.failed));
    CHECK_OK(quern_close(w.db, &err), &err);
}

/* Zeros look like trailers of blocks, and there are two million of them. */
TEST(repair_finds_its_way_through_a_large_damaged_value)
{
    enum { BYTES = 2 << 20 };
    struct sim *sim OWNED(sim_free) = sim_new(tap_seed());
    struct quern_options options = world_options();
    char *zeros OWNED(alloc_free) = alloc_zeroed(BYTES);
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err;
    struct told told;

    options.compression = QUERN_COMPRESS_NONE;
    options.table_bytes = 64 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 200, 1, &err), &err);
    CHECK_OK(
        quern_put(db, QUERN_STR("key-000100+"), (struct quern_slice){zeros, BYTES}, NULL, &err),
        &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_EQ(sim_corrupt(sim, file_named(sim, ".sst", 0), 1 << 20, 1), 1);
    CHECK_EQ(sim_corrupt(sim, file_named(sim, ".sst", 0),
                         bytes_of(sim, file_named(sim, ".sst", 0)) - 20, 1),
             1);
    CHECK_CODE(repair(sim, &told, &report, &err), QUERN_CORRUPT);
    CHECK_EQ(told.losses, 1);
    CHECK_OK(open_new(sim, &db, &err), &err);
    EXPECT(world_check(db, 0, 200, 1, &err) == QUERN_OK);
    CHECK_OK(quern_close(db, &err), &err);
}
