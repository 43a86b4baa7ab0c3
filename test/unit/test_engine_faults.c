/* test_engine_faults.c - the store on a disk that fails, fills up, forgets and lies; and without
 * memory. Each fault has its own clear error, stops the harm, and loses nothing acknowledged. */
#include "engine_world.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

static struct quern_error err;

static void nap_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

static bool says(const char *text)
{
    if (strstr(err.text, text) != NULL)
        return true;
    tap_fail(__FILE__, __LINE__, "the error does not say '%s': %s", text, err.text);
    return false;
}

/* "000007.sst" is "table 000007" in messages. */
static bool says_table(const char *name)
{
    char text[OS_NAME_BYTES_MAX + 8];

    (void)snprintf(text, sizeof(text), "table %.*s", (int)strcspn(name, "."), name);
    return says(text);
}

/* What a power cut leaves now, opened. */
static enum quern_code after_crash(struct sim *sim, enum sim_crash_mode mode, struct sim **left,
                                   struct quern **db)
{
    *left = sim_crash(sim, 7, mode);
    return world_open(*left, NULL, db, &err);
}

/* ---- the log fails ---- */

static void check_failed_sync(struct sim *sim, const struct sim_fault *fault)
{
    struct sim *left OWNED(sim_free) = NULL;
    struct quern_stats stats;
    struct quern *db;
    enum quern_code code;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 20, 1, &err), &err);
    CHECK_OK(world_put(db, 20, 1, true, &err), &err);
    sim_fail(sim, fault);
    CHECK_CODE(world_put(db, 21, 1, true, &err), QUERN_UNKNOWN);
    sim_fail_never(sim);
    CHECK_CODE(world_put(db, 22, 1, false, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_sync(db, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_flush(db, &err), QUERN_READ_ONLY);
    quern_stats(db, &stats);
    CHECK(stats.read_only && stats.failure[0] != '\0');
    CHECK_OK(world_check(db, 0, 21, 1, &err), &err);
    CHECK_CODE(world_get(db, 21, 1, &err), QUERN_NOT_FOUND); /* durable before it is seen */
    CHECK(quern_close(db, &err) != QUERN_OK);
    CHECK_OK(after_crash(sim, SIM_DROP_ALL, &left, &db), &err);
    CHECK_OK(world_check(db, 0, 21, 1, &err), &err);
    code = world_get(db, 21, 1, &err);
    CHECK(code == QUERN_OK || code == QUERN_NOT_FOUND);
    CHECK_CODE(world_get(db, 22, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_put(db, 22, 1, true, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_failed_log_sync_leaves_that_write_unknown_and_refuses_later_ones)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);

    sim_set_direct(sim, false);
    check_failed_sync(sim,
                      &(struct sim_fault){
                          .ops = SIM_SYNC, .name = "*.wal", .sys_errno = EIO, .drop_dirty = true});
}

TEST(a_log_sync_that_fails_for_want_of_space_is_no_different)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);

    sim_set_direct(sim, false);
    check_failed_sync(
        sim, &(struct sim_fault){
                 .ops = SIM_SYNC, .name = "*.wal", .sys_errno = ENOSPC, .drop_dirty = true});
}

/* A refused direct write may have reached the disk or not. */
TEST(a_failed_direct_write_of_the_log_loses_nothing_acknowledged)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    struct sim_fault fault = {.ops = SIM_WRITE, .name = "*.wal", .sys_errno = EIO};
    struct quern *db;
    unsigned acked = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (; acked < 10; acked++)
        CHECK_OK(world_put(db, acked, 1, true, &err), &err);
    fault.part_bytes = 512;
    sim_fail(sim, &fault);
    CHECK(world_put(db, acked, 1, true, &err) != QUERN_OK);
    sim_fail_never(sim);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    if (world_put(db, acked, 1, true, &err) == QUERN_OK)
        acked++;
    (void)quern_close(db, &err);
    CHECK_OK(after_crash(sim, SIM_DROP_ALL, &left, &db), &err);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- the disk is full ---- */

TEST(a_full_disk_refuses_writes_and_serves_reads)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_stats stats;
    struct quern *db;
    unsigned acked = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    sim_free_space(sim, 256 * 1024);
    while (world_put(db, acked, 1, false, &err) == QUERN_OK) {
        acked++;
        CHECK(acked < 100000);
    }
    CHECK_CODE(err.code, QUERN_NO_SPACE);
    CHECK(acked > 100);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    CHECK_CODE(world_get(db, acked, 1, &err), QUERN_NOT_FOUND);
    quern_stats(db, &stats);
    CHECK(!stats.read_only);
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK(quern_close(db, &err) != QUERN_OK);
}

static sem_t go_on;

static void hold_the_lead(void *arg, struct quern_completion *c)
{
    (void)arg;
    (void)c;
    (void)sem_wait(&go_on);
}

static void wait_for(const struct quern_completion *c)
{
    while (!quern_completion_ready(c))
        thread_sleep_ns(1000000);
}

/* A sync needs no space: it does not share the fate of a write that it queued behind. */
TEST(a_sync_beside_a_write_that_finds_no_space_succeeds)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_write_opts sync = {.sync = true};
    struct quern_completion first = {.done = hold_the_lead}, refused = {0}, synced = {0};
    struct quern_batch *small = quern_batch_new(), *large = quern_batch_new();
    struct quern_batch *nothing = quern_batch_new();
    static char value[300000];
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_batch_put(small, QUERN_STR("a"), QUERN_STR("1"), &err), &err);
    CHECK_OK(
        quern_batch_put(large, QUERN_STR("b"), (struct quern_slice){value, sizeof(value)}, &err),
        &err);
    CHECK(sem_init(&go_on, 0, 0) == 0);
    CHECK_OK(quern_write_async(db, small, NULL, &first, &err), &err);
    wait_for(&first); /* the commit thread is in the callback now, and the next group gathers */
    sim_free_space(sim, 0);
    CHECK_OK(quern_write_async(db, large, &sync, &refused, &err), &err);
    CHECK_OK(quern_write_async(db, nothing, &sync, &synced, &err), &err);
    CHECK(sem_post(&go_on) == 0);
    wait_for(&refused);
    wait_for(&synced);
    CHECK_EQ(refused.code, QUERN_NO_SPACE);
    CHECK_EQ(synced.code, QUERN_OK);
    sim_free_space(sim, UINT64_MAX);
    quern_batch_free(small);
    quern_batch_free(large);
    quern_batch_free(nothing);
    /* A flush that began before there was room may be the one that answers. */
    for (unsigned tries = 0; tries < 100 && quern_flush(db, &err) == QUERN_NO_SPACE; tries++)
        thread_sleep_ns(UINT64_C(10000000));
    CHECK_OK(quern_close(db, &err), &err);
}

/* A store that was written until its disk was full, and killed then; the disk has no room left. */
static struct sim *killed_on_a_full_disk(unsigned *acked)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left;
    struct quern *db;

    *acked = 0;
    if (!EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK))
        return NULL;
    sim_free_space(sim, 256 * 1024);
    while (world_put(db, *acked, 1, false, &err) == QUERN_OK)
        ++*acked;
    left = sim_crash(sim, 7, SIM_KEEP_ALL);
    (void)quern_close(db, &err);
    sim_free_space(left, 0);
    return left;
}

static bool wait_for_space(struct quern *db, unsigned n)
{
    for (unsigned tries = 0; world_put(db, n, 1, false, &err); tries++) {
        if (!EXPECT(err.code == QUERN_NO_SPACE) || !EXPECT(tries < 1000))
            return false;
        nap_ms(20);
    }
    return true;
}

TEST(a_store_killed_on_a_full_disk_opens_serves_reads_and_goes_on_when_there_is_room)
{
    unsigned acked;
    struct sim *left OWNED(sim_free) = killed_on_a_full_disk(&acked);
    struct quern_options options = world_options();
    struct quern_write_opts sync = {.sync = true};
    struct quern_stats stats;
    struct quern *db, *other;
    struct sim *cut;

    for (int read_only = 1; read_only >= 0; read_only--) {
        options.read_only = read_only;
        CHECK_OK(world_open(left, &options, &db, &err), &err);
        CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
        CHECK_CODE(world_get(db, acked, 1, &err), QUERN_NOT_FOUND);
        CHECK_CODE(world_put(db, acked, 1, false, &err),
                   read_only ? QUERN_READ_ONLY : QUERN_NO_SPACE);
        quern_stats(db, &stats);
        CHECK_EQ(stats.no_space, !read_only);
        CHECK_EQ(stats.read_only, read_only);
        if (read_only) {
            CHECK_OK(quern_close(db, &err), &err);
            continue;
        }
        CHECK_OK(quern_sync(db, &err), &err);
        cut = sim_crash(left, 7, SIM_DROP_ALL); /* the old log was synced: all is there */
        CHECK_OK(world_open(cut, NULL, &other, &err), &err);
        CHECK_OK(world_check(other, 0, acked, 1, &err), &err);
        (void)quern_close(other, &err);
        sim_free(cut);
        CHECK_CODE(quern_flush(db, &err), QUERN_NO_SPACE);
        CHECK_CODE(quern_checkpoint(db, "/copy", &err), QUERN_NO_SPACE);
        CHECK_CODE(quern_close(db, &err), QUERN_NO_SPACE);
    }
    CHECK_OK(world_open(left, NULL, &db, &err), &err);
    sim_free_space(left, UINT64_MAX);
    CHECK(wait_for_space(db, acked));
    CHECK_OK(world_check(db, 0, acked + 1, 1, &err), &err);
    CHECK_OK(quern_put(db, QUERN_STR("zz"), QUERN_STR("1"), &sync, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    quern_stats(db, &stats);
    CHECK(!stats.no_space && stats.memdb_sealed == 0);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(left, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, acked + 1, 1, &err), &err);
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Room comes little by little: some MemDBs are tables, then the edit is made, then the log begins.
 * The power goes at each change; what was there before is there afterwards. */
TEST(a_crash_while_a_store_waits_for_space_loses_nothing)
{
    bool full = getenv("CRASH_FULL") != NULL;
    unsigned acked;
    struct sim *killed OWNED(sim_free) = killed_on_a_full_disk(&acked);
    uint64_t changes = UINT64_MAX;

    for (uint64_t cut = 0; cut <= changes; cut += cut == 0 || full ? 1 : 1 + changes / 16) {
        struct sim *sim OWNED(sim_free) = sim_crash(killed, cut, SIM_KEEP_ALL);
        struct sim *after OWNED(sim_free) = NULL;
        struct quern *db;

        sim_free_space(sim, 0);
        sim_crash_at_of(sim, SIM_CHANGES, cut);
        for (uint64_t room = 0; room < 10; room++) {
            if (world_open(sim, NULL, &db, &err) == QUERN_OK) {
                (void)!quern_flush(db, &err);
                if (cut == 0)
                    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
                (void)quern_close(db, &err);
            }
            sim_free_space(sim, room * 24 * 1024);
        }
        if (cut == 0)
            changes = sim_op_count_of(sim, SIM_CHANGES);
        after = sim_crash(sim, cut, cut % 2 == 0 ? SIM_KEEP_ALL : SIM_RANDOM);
        sim_free_space(after, UINT64_MAX);
        CHECK_OK(world_open(after, NULL, &db, &err), &err);
        if (cut % 2 == 0)
            CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
        CHECK_OK(world_put(db, acked, 1, true, &err), &err);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
    tap_note("%llu changes", (unsigned long long)changes);
}

TEST(when_space_is_back_writing_goes_on_without_a_reopen)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_stats stats;
    struct quern *db;
    unsigned acked = 0, tries = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    sim_free_space(sim, 256 * 1024);
    while (world_put(db, acked, 1, false, &err) == QUERN_OK)
        acked++;
    CHECK_CODE(err.code, QUERN_NO_SPACE);
    CHECK_CODE(quern_flush(db, &err), QUERN_NO_SPACE);
    sim_free_space(sim, UINT64_MAX);
    while (world_put(db, acked, 1, false, &err) || quern_flush(db, &err)) {
        CHECK_CODE(err.code, QUERN_NO_SPACE);
        CHECK(tries++ < 1000);
        nap_ms(20);
    }
    acked++;
    CHECK_OK(world_fill(db, acked, acked + 2000, 1, &err), &err);
    acked += 2000;
    CHECK_OK(quern_flush(db, &err), &err);
    quern_stats(db, &stats);
    CHECK(!stats.no_space && !stats.read_only);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_store_closed_on_a_full_disk_has_all_in_its_log)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;
    unsigned acked = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    sim_free_space(sim, 256 * 1024);
    while (world_put(db, acked, 1, false, &err) == QUERN_OK)
        acked++;
    CHECK_CODE(quern_close(db, &err), QUERN_NO_SPACE);
    sim_free_space(sim, UINT64_MAX);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* The worker, having met a full disk, goes on when somebody has asked for a flush: too late for the one
 * that has failed. */
struct met_full {
    struct quern *db; /* set before anything is flushed */
    atomic_bool met;
};

static bool is_asked(struct quern *db)
{
    bool asked;

    mutex_lock(&db->mu);
    asked = db->requests != NULL || db->stop;
    mutex_unlock(&db->mu);
    return asked;
}

static void wait_until_asked(void *arg, const struct quern_event *event)
{
    struct met_full *m = arg;

    if (event->kind != QUERN_EVENT_NO_SPACE)
        return;
    atomic_store(&m->met, true);
    while (!is_asked(m->db))
        nap_ms(1);
}

/* One MemDB waits, or as many as can: then the close must wait before it has closed its own. */
TEST(a_close_is_not_refused_for_a_flush_that_failed_before_there_was_room)
{
    for (unsigned all = 0; all < 2; all++) {
        struct sim *sim = sim_new(1);
        struct quern_options options = world_options();
        struct met_full m = {.db = NULL};
        unsigned acked = 0;

        options.on_event = wait_until_asked;
        options.on_event_arg = &m;
        CHECK_OK(world_open(sim, &options, &m.db, &err), &err);
        sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE, .name = "*.sst*", .sys_errno = ENOSPC});
        while (all ? world_put(m.db, acked, 1, false, &err) == QUERN_OK
                   : engine_sealed_count(m.db) == 0) {
            if (!all)
                CHECK_OK(world_put(m.db, acked, 1, false, &err), &err);
            acked++;
        }
        while (!atomic_load(&m.met))
            nap_ms(1);
        CHECK_OK(quern_close(m.db, &err), &err);
        CHECK_EQ(sim_fault_hits(sim), 1);
        CHECK_OK(world_open(sim, NULL, &m.db, &err), &err);
        CHECK_OK(world_check(m.db, 0, acked, 1, &err), &err);
        CHECK_OK(quern_close(m.db, &err), &err);
        sim_free(sim);
    }
}

/* ---- tables cannot be written ---- */

TEST(a_write_error_in_a_flush_refuses_writes_and_loses_nothing)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE, .name = "*.sst*", .sys_errno = EIO});
    /* IO, or READ_ONLY with the same story when the worker met it before it was asked */
    CHECK(quern_flush(db, &err) == QUERN_IO || err.code == QUERN_READ_ONLY);
    CHECK(says("table 0"));
    CHECK_CODE(world_put(db, 100, 1, false, &err), QUERN_READ_ONLY);
    CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
    CHECK(quern_close(db, &err) != QUERN_OK);
    CHECK_OK(after_crash(sim, SIM_KEEP_ALL, &left, &db), &err);
    CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_failed_sync_of_a_table_or_of_the_manifest_loses_nothing)
{
    static const struct sim_fault faults[] = {
        {.ops = SIM_SYNC, .name = "*.sst*", .sys_errno = EIO, .drop_dirty = true},
        {.ops = SIM_SYNC, .name = "MANIFEST*", .sys_errno = EIO, .drop_dirty = true},
        {.ops = SIM_DIR_SYNC, .sys_errno = EIO, .drop_dirty = true},
        {.ops = SIM_WRITE, .name = "MANIFEST*", .sys_errno = ENOSPC, .part_bytes = 100},
        {.ops = SIM_CREATE, .name = "*.sst*", .sys_errno = EMFILE},
    };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct sim *sim OWNED(sim_free) = sim_new(i), *left OWNED(sim_free) = NULL;
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
        CHECK_OK(quern_sync(db, &err), &err);
        sim_fail(sim, &faults[i]);
        /* When the worker met the full disk before it was asked, it may have tried again by now. */
        CHECK(quern_flush(db, &err) != QUERN_OK || faults[i].sys_errno == ENOSPC);
        CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
        (void)quern_close(db, &err);
        CHECK_EQ(sim_fault_hits(sim), 1);
        CHECK_OK(after_crash(sim, SIM_DROP_ALL, &left, &db), &err);
        CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

TEST(close_tells_when_the_disk_fails_and_a_reopen_has_all)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    sim_fail(sim,
             &(struct sim_fault){.ops = SIM_WRITE | SIM_SYNC, .always = true, .sys_errno = EIO});
    CHECK(quern_close(db, &err) != QUERN_OK);
    CHECK(says("close /db"));
    CHECK_OK(after_crash(sim, SIM_KEEP_ALL, &left, &db), &err);
    CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- bytes go bad ---- */

struct findings {
    unsigned count;
    char file[64];
    uint64_t offset;
};

static void see_damage(void *arg, const struct quern_damage *damage)
{
    struct findings *f = arg;

    f->count++;
    (void)snprintf(f->file, sizeof(f->file), "%s", damage->file);
    f->offset = damage->offset;
}

static bool count_bad(struct quern *db, unsigned keys, unsigned v, unsigned *bad)
{
    *bad = 0;
    for (unsigned n = 0; n < keys; n++) {
        enum quern_code code = world_get(db, n, v, &err);

        if (code == QUERN_CORRUPT) {
            ++*bad;
            if (!says("table 0") || !says(" at "))
                return false;
        } else if (!EXPECT(code == QUERN_OK)) {
            return false;
        }
    }
    return true;
}

TEST(a_corrupt_block_is_named_and_the_rest_is_served)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct findings found = {0};
    struct quern_verify_opts verify = {.on_damage = see_damage, .on_damage_arg = &found};
    struct quern_verify_report report;
    static struct world_files files;
    struct quern *db;
    unsigned bad, again;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 400, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    world_list(sim, &files);
    CHECK_EQ(sim_corrupt(sim, files.file[world_find(&files, ".sst", 0)].name, 700, 0x40), 1);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK(count_bad(db, 400, 1, &bad));
    CHECK(bad > 0 && bad < 20);
    CHECK_CODE(quern_verify(db, &verify, &report, &err), QUERN_CORRUPT);
    CHECK(report.damages == found.count && found.count != 0);
    CHECK(strcmp(found.file, files.file[world_find(&files, ".sst", 0)].name) == 0);
    CHECK(found.offset <= 700);
    /* what needs the damaged block is refused and changes nothing; the rest goes on */
    CHECK_OK(world_fill(db, 1000, 1100, 1, &err), &err);
    for (unsigned n = 0; n < 400; n += 3)
        CHECK_OK(quern_put(db, world_key(n), world_value(n, 1), NULL, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_CODE(quern_compact(db, NULL, &err), QUERN_CORRUPT);
    CHECK(says("table 0"));
    CHECK_OK(world_put(db, 2000, 1, true, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK(count_bad(db, 400, 1, &again));
    CHECK(again > 0 && again <= bad); /* still known to be damaged, not silently gone */
    CHECK_OK(world_check(db, 1000, 1100, 1, &err), &err);
    CHECK_OK(world_get(db, 2000, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

static void see_event(void *arg, const struct quern_event *event)
{
    char *text = arg; /* of the last that was bad news */

    if (event->kind == QUERN_EVENT_CORRUPT || event->kind == QUERN_EVENT_FAILED)
        (void)snprintf(text, 512, "%s", event->text);
}

/* A bit that flips between memory and file is found before the log lets go of the entries. */
TEST(a_flush_that_did_not_reach_its_file_refuses_writes_and_loses_nothing)
{
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct sim *sim OWNED(sim_free) = sim_new(seed), *left OWNED(sim_free) = NULL;
        struct quern_options options = world_options();
        static struct world_files files;
        char bad_news[512] = "";
        struct quern *db;

        options.on_event = see_event;
        options.on_event_arg = bad_news;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
        CHECK_OK(quern_sync(db, &err), &err);
        sim_fail(sim, &(struct sim_fault){.ops = SIM_WRITE, .name = "*.sst", .flip_bit = true});
        CHECK(quern_flush(db, &err) == QUERN_CORRUPT || err.code == QUERN_READ_ONLY);
        CHECK_EQ(sim_fault_hits(sim), 1);
        CHECK(says_table("0"));
        CHECK(strstr(bad_news, "table 0") != NULL);
        CHECK_CODE(world_put(db, 100, 1, false, &err), QUERN_READ_ONLY);
        CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
        world_list(sim, &files);
        CHECK_EQ(world_find(&files, ".sst", 0), files.count);
        CHECK(quern_close(db, &err) != QUERN_OK);
        CHECK_OK(after_crash(sim, SIM_DROP_ALL, &left, &db), &err);
        CHECK_OK(world_check(db, 0, 100, 1, &err), &err);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

static size_t count_tables(const struct world_files *files)
{
    size_t n = 0;

    for (size_t at = 0; (at = world_find(files, ".sst", at)) < files->count; at++)
        n++;
    return n;
}

TEST(a_merge_that_did_not_reach_its_file_leaves_its_inputs)
{
    static const struct sim_fault lies[] = {
        {.ops = SIM_WRITE, .name = "*.sst"},
        {.ops = SIM_WRITE, .name = "*.sst", .shift_bytes = 4096},
        {.ops = SIM_WRITE, .name = "*.sst", .flip_bit = true},
        {.ops = SIM_WRITE, .name = "*.sst", .flip_bit = true, .skip = 2},
    };

    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct sim *sim OWNED(sim_free) = sim_new(i);
        struct quern_options options = world_options();
        static struct world_files after;
        char bad_news[512] = "";
        struct quern_stats stats;
        struct quern *db;

        options.on_event = see_event;
        options.on_event_arg = bad_news;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        for (unsigned v = 1; v <= 3; v++) {
            CHECK_OK(world_fill(db, 0, 300, v, &err), &err);
            CHECK_OK(quern_flush(db, &err), &err);
        }
        sim_fail(sim, &lies[i]);
        CHECK_CODE(quern_compact(db, NULL, &err), QUERN_CORRUPT);
        CHECK_EQ(sim_fault_hits(sim), 1);
        CHECK(says_table("0"));
        CHECK(strstr(bad_news, "table 0") != NULL);
        rcu_drain();
        world_list(sim, &after);
        quern_stats(db, &stats);
        CHECK_EQ(count_tables(&after), stats.tables); /* nothing of the bad slice remains */
        CHECK_OK(world_put(db, 1000, 1, true, &err), &err);
        CHECK_OK(world_check(db, 0, 300, 3, &err), &err);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
        CHECK_OK(world_check(db, 0, 300, 3, &err), &err);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

/* Writers wait for merges that come, and for no others. */
TEST(writers_do_not_wait_for_merges_that_damage_has_ended)
{
    struct sim_fault lie = {.ops = SIM_WRITE, .name = "*.sst", .flip_bit = true};
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_stats stats;
    struct quern *db;

    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned v = 1; v <= 3; v++) {
        CHECK_OK(world_fill(db, 0, 300, v, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    sim_fail(sim, &lie);
    CHECK_CODE(quern_compact(db, NULL, &err), QUERN_CORRUPT);
    do { /* far over what writers would be slowed for */
        CHECK_OK(world_fill(db, 1000, 1500, 1, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_EQ(atomic_load(&db->over_bytes), 0);
        quern_stats(db, &stats);
    } while (stats.table_bytes < 2 * options.tier_runs * options.memdb_bytes);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Every block of an input may be sound, and still an entry be missing from what a merge sees. */
TEST(a_merge_that_does_not_see_all_of_an_input_ends)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct table_meta *meta;
    struct quern *db;

    options.table_bytes *= 4; /* one slice: a table that it cuts is not seen whole */
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned v = 1; v <= 2; v++) {
        CHECK_OK(world_fill(db, 0, 50, v, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    meta = (struct table_meta *)(uintptr_t)sst_meta(
        atomic_load(&db->view)->version->runs[1].tables[0]->sst);
    meta->entry_hash++; /* as if what is read were not what was written */
    CHECK_CODE(quern_compact(db, NULL, &err), QUERN_CORRUPT);
    CHECK(says("table 0"));
    CHECK_OK(world_check(db, 0, 50, 2, &err), &err);
    meta->entry_hash--;
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(world_check(db, 0, 50, 2, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_scan_stops_at_a_corrupt_block_and_says_why)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    struct quern_iter *it;
    struct quern *db;
    unsigned seen = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 400, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    world_list(sim, &files);
    CHECK_EQ(sim_corrupt(sim, files.file[world_find(&files, ".sst", 0)].name, 3000, 1), 1);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    for (bool more = quern_iter_first(it); more; more = quern_iter_next(it))
        seen++;
    CHECK(seen > 0 && seen < 400);
    CHECK_CODE(quern_iter_error(it, &err), QUERN_CORRUPT);
    CHECK(says("table 0"));
    quern_iter_free(it);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- files go missing, or come back from the past ---- */

/* A store of a few tables, closed. */
static bool make_store(struct sim *sim, struct world_files *files)
{
    struct quern *db;

    if (world_open(sim, NULL, &db, &err) || world_fill(db, 0, 300, 1, &err) ||
        quern_flush(db, &err) || world_fill(db, 300, 600, 1, &err) || quern_close(db, &err)) {
        tap_fail(__FILE__, __LINE__, "%s", err.text);
        return false;
    }
    world_list(sim, files);
    return true;
}

TEST(a_store_without_current_is_not_made_anew)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files before, after;
    struct quern *db = NULL;

    CHECK(make_store(sim, &before));
    CHECK(world_remove(sim, "CURRENT"));
    world_list(sim, &before);
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_CORRUPT);
    CHECK(says("CURRENT is missing"));
    world_list(sim, &after);
    CHECK_EQ(after.count, before.count);
}

TEST(a_missing_table_is_named)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    const char *name;
    struct quern *db = NULL;

    CHECK(make_store(sim, &files));
    name = files.file[world_find(&files, ".sst", 0)].name;
    CHECK(world_remove(sim, name));
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_CORRUPT);
    CHECK(says(name));
}

TEST(a_missing_manifest_is_named)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    struct quern *db = NULL;

    CHECK(make_store(sim, &files));
    for (size_t i = 0; i < files.count; i++)
        if (strncmp(files.file[i].name, "MANIFEST-", 9) == 0)
            CHECK(world_remove(sim, files.file[i].name));
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_CORRUPT);
    CHECK(says("MANIFEST-"));
}

/* A whole, sound table in the place of another: a restored backup, say. */
TEST(a_table_in_the_place_of_another_is_caught_at_open)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    struct quern *db = NULL;
    size_t first, second;
    uint64_t bytes = 0;
    uint8_t *all;

    CHECK(make_store(sim, &files));
    first = world_find(&files, ".sst", 0);
    second = world_find(&files, ".sst", first + 1);
    CHECK(second < files.count);
    all = world_read(sim, files.file[first].name, &bytes);
    CHECK(all != NULL && world_write(sim, files.file[second].name, all, bytes));
    free(all);
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_CORRUPT);
    CHECK(says_table(files.file[second].name));
}

TEST(a_cut_table_is_caught_at_open)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    struct quern *db = NULL;
    const struct world_file *f;

    CHECK(make_store(sim, &files));
    f = &files.file[world_find(&files, ".sst", 0)];
    CHECK_EQ(sim_truncate(sim, f->name, f->bytes - 1), 1);
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_CORRUPT);
    CHECK(says_table(f->name));
}

TEST(a_missing_log_segment_that_is_needed_is_named)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    static struct world_files files;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 50, 1, &err), &err);
    left = sim_crash(sim, 1, SIM_KEEP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    world_list(left, &files);
    CHECK(world_remove(left, files.file[world_find(&files, ".wal", 0)].name));
    CHECK_CODE(world_open(left, NULL, &db, &err), QUERN_CORRUPT);
    CHECK(says(".wal"));
}

/* ---- formats from the future ---- */

/* Change the version in a file and restamp the checksum over it, which is bound to `place`: a sound
 * file of a newer quern. */
static bool raise_version(struct sim *sim, const char *name, uint64_t version_at, uint64_t from,
                          uint64_t len, uint64_t place, uint64_t sum_at, uint64_t salt)
{
    uint64_t bytes = 0;
    uint8_t *all = world_read(sim, name, &bytes);
    bool fine = all != NULL && sum_at + 8 <= bytes;

    if (fine) {
        put_u32le(all + version_at, 99);
        put_u64le(all + sum_at, hash_placed(all + from, len, salt, place));
        fine = world_write(sim, name, all, bytes);
    }
    free(all);
    return EXPECT(fine);
}

TEST(a_manifest_from_the_future_is_unsupported)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    struct quern *db = NULL;

    CHECK(make_store(sim, &files));
    for (size_t i = 0; i < files.count; i++)
        if (strncmp(files.file[i].name, "MANIFEST-", 9) == 0)
            CHECK(raise_version(sim, files.file[i].name, 8, 0, 56, 0, 56, 0));
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_UNSUPPORTED);
    CHECK(says("99"));
}

TEST(a_log_from_the_future_is_unsupported)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    static struct world_files files;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 50, 1, &err), &err);
    left = sim_crash(sim, 1, SIM_KEEP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    world_list(left, &files);
    CHECK(raise_version(left, files.file[world_find(&files, ".wal", 0)].name, 16, 16, 4096 - 16, 0,
                        8, UINT64_C(0x4c41576e72657571)));
    CHECK_CODE(world_open(left, NULL, &db, &err), QUERN_UNSUPPORTED);
    CHECK(says("99"));
}

TEST(a_table_from_the_future_is_unsupported)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    const struct world_file *f;
    struct quern *db = NULL;
    uint64_t bytes = 0, at;
    uint8_t *all;

    CHECK(make_store(sim, &files));
    f = &files.file[world_find(&files, ".sst", 0)];
    at = f->bytes - 136; /* the footer */
    all = world_read(sim, f->name, &bytes);
    CHECK(all != NULL);
    CHECK(raise_version(sim, f->name, at + 104, at, 120, at, at + 120, get_u64le(all + at + 96)));
    free(all);
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_UNSUPPORTED);
    CHECK(says("99"));
}

TEST(a_current_from_the_future_is_unsupported)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    char line[200];
    static struct world_files files;
    struct quern *db = NULL;
    int n;

    CHECK(make_store(sim, &files));
    n = snprintf(line, sizeof(line), "quern 9 MANIFEST-000009 0123456789abcdef");
    n += snprintf(line + n, sizeof(line) - (size_t)n, " %016llx\n",
                  (unsigned long long)hash_bytes(line, (size_t)n, 0));
    CHECK(world_write(sim, "CURRENT", line, (size_t)n));
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_UNSUPPORTED);
}

/* ---- the end of the log ---- */

/* Keys 0..9 synced one by one, 10..19 not; then killed. *log names the segment. */
static struct sim *killed_store(char log[OS_NAME_BYTES_MAX], uint64_t *end)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left = NULL;
    static struct world_files files;
    struct quern *db;
    uint64_t bytes = 0;
    uint8_t *all;

    if (!EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK))
        return NULL;
    for (unsigned n = 0; n < 20; n++)
        EXPECT(world_put(db, n, 1, n < 10, &err) == QUERN_OK);
    left = sim_crash(sim, 1, SIM_KEEP_ALL);
    EXPECT(quern_close(db, &err) == QUERN_OK);
    world_list(left, &files);
    (void)snprintf(log, OS_NAME_BYTES_MAX, "%s", files.file[world_find(&files, ".wal", 0)].name);
    all = world_read(left, log, &bytes);
    while (bytes > 0 && all[bytes - 1] == 0)
        bytes--;
    free(all);
    *end = bytes;
    return left;
}

static unsigned torn_tails;
static char torn_text[512];

static void count_torn(void *arg, const struct quern_event *event)
{
    (void)arg;
    if (event->kind != QUERN_EVENT_TORN_TAIL)
        return;
    torn_tails++;
    (void)snprintf(torn_text, sizeof(torn_text), "%s", event->text);
}

static size_t count_kept(struct sim *sim, uint64_t *bytes)
{
    static struct world_files files;
    size_t count = 0;

    *bytes = 0;
    world_list(sim, &files);
    for (size_t i = 0; i < files.count; i++) {
        if (strncmp(files.file[i].name, "TORN-", 5) != 0)
            continue;
        count++;
        *bytes += files.file[i].bytes;
    }
    return count;
}

TEST(a_torn_tail_is_cut_and_told)
{
    char log[OS_NAME_BYTES_MAX];
    uint64_t end = 0;
    struct sim *left OWNED(sim_free) = killed_store(log, &end);
    struct quern_options options = world_options();
    struct quern_stats stats;
    struct quern *db;

    CHECK_EQ(sim_corrupt(left, log, end - 3, 0x10), 1);
    options.recover = QUERN_RECOVER_STRICT;
    CHECK_CODE(world_open(left, &options, &db, &err), QUERN_CORRUPT);
    options.recover = QUERN_RECOVER_TAIL;
    options.on_event = count_torn;
    torn_tails = 0;
    CHECK_OK(world_open(left, &options, &db, &err), &err);
    CHECK_EQ(torn_tails, 1);
    quern_stats(db, &stats);
    CHECK(stats.recovered_torn_tail);
    CHECK_OK(world_check(db, 0, 19, 1, &err), &err);
    CHECK_CODE(world_get(db, 19, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(left, &options, &db, &err), &err); /* once cut, it is gone */
    CHECK_EQ(torn_tails, 1);
    CHECK_OK(quern_close(db, &err), &err);
}

/* The page of the header, then the bytes of the log from the cut to where the last record ended. */
TEST(a_torn_tail_is_copied_aside_byte_by_byte)
{
    char log[OS_NAME_BYTES_MAX], name[OS_NAME_BYTES_MAX + 20];
    uint64_t end = 0, was_bytes = 0, bytes = 0, all, at;
    struct sim *left OWNED(sim_free) = killed_store(log, &end);
    struct quern_options options = world_options();
    struct quern *db;
    uint8_t *was, *is;

    for (int mode = QUERN_RECOVER_TAIL; mode <= QUERN_RECOVER_POINT_IN_TIME; mode += 2) {
        struct sim *sim OWNED(sim_free) = sim_crash(left, 1, SIM_KEEP_ALL);

        /* the last group, or the first: then all the others are dropped with it */
        at = mode == QUERN_RECOVER_TAIL ? end - 3 : 8192 + 50;
        CHECK_EQ(sim_corrupt(sim, log, at, 0x10), 1);
        was = world_read(sim, log, &was_bytes);
        options.recover = (enum quern_recover)mode;
        options.on_event = count_torn;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        CHECK_EQ(count_kept(sim, &all), 1);
        CHECK(strstr(torn_text, "cut at ") != NULL && strstr(torn_text, "it is in TORN-") != NULL);
        (void)snprintf(name, sizeof(name), "TORN-%.6s-%s", log, strstr(torn_text, "cut at ") + 7);
        name[strcspn(name, ",")] = '\0';
        CHECK(strstr(torn_text, name) != NULL);
        at = strtoull(name + 12, NULL, 10);
        CHECK(at % 8 == 0 && (mode == QUERN_RECOVER_TAIL ? at > 8192 && at < end : at == 8192));
        is = world_read(sim, name, &bytes);
        CHECK(is != NULL && bytes == 4096 + (end + 7) / 8 * 8 - at);
        CHECK(memcmp(is, was, 4096) == 0 && memcmp(is + 4096, was + at, bytes - 4096) == 0);
        free(was);
        free(is);
        /* it is the user's to remove, no checkpoint takes it, and it stays until then */
        CHECK_OK(quern_checkpoint(db, "/copy", &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_EQ(count_kept(sim, &all), 1);
        CHECK_OK(quern_close(db, &err), &err);
        CHECK(world_remove(sim, name));
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

TEST(a_torn_tail_that_cannot_be_copied_is_cut_and_told_all_the_same)
{
    static const struct sim_fault faults[] = {
        {.ops = SIM_CREATE, .name = "TORN-*", .sys_errno = ENOSPC},
        {.ops = SIM_WRITE, .name = "TORN-*", .sys_errno = ENOSPC, .skip = 1, .part_bytes = 10},
        {.ops = SIM_SYNC, .name = "TORN-*", .sys_errno = EIO},
    };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        char log[OS_NAME_BYTES_MAX];
        uint64_t end = 0, all;
        struct sim *left OWNED(sim_free) = killed_store(log, &end);
        struct quern_options options = world_options();
        struct quern *db;

        CHECK_EQ(sim_corrupt(left, log, end - 3, 0x10), 1);
        sim_fail(left, &faults[i]);
        options.on_event = count_torn;
        CHECK_OK(world_open(left, &options, &db, &err), &err);
        CHECK_EQ(sim_fault_hits(left), 1);
        CHECK(strstr(torn_text, "it could not be kept: ") != NULL);
        CHECK_EQ(count_kept(left, &all), 0);
        CHECK_OK(world_check(db, 0, 19, 1, &err), &err);
        CHECK_OK(world_put(db, 19, 1, true, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

TEST(copies_of_torn_tails_stay_few_and_the_newest_is_kept)
{
    struct sim *sim = sim_new(1), *left;
    static struct world_files files;
    uint64_t all;
    struct quern *db;

    for (unsigned n = 0; n < 12; n++) {
        size_t at, last;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_put(db, 2 * n, 1, true, &err), &err);
        CHECK_OK(world_put(db, 2 * n + 1, 1, false, &err), &err);
        left = sim_crash(sim, n, SIM_KEEP_ALL);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
        sim = left;
        world_list(sim, &files);
        for (last = at = world_find(&files, ".wal", 0); at < files.count;
             at = world_find(&files, ".wal", at + 1))
            last = at;
        CHECK_EQ(sim_corrupt(sim, files.file[last].name, 8192 + 4096 + 45, 1), 1);
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_CODE(world_get(db, 2 * n + 1, 1, &err), QUERN_NOT_FOUND);
        CHECK_EQ(count_kept(sim, &all), n < 8 ? n + 1 : 8);
        CHECK(all <= 16 << 20);
        (void)snprintf(torn_text, sizeof(torn_text), "TORN-%.6s-12288", files.file[last].name);
        world_list(sim, &files);
        CHECK(world_find(&files, torn_text, 0) < files.count);
        CHECK_OK(quern_close(db, &err), &err);
    }
    sim_free(sim);
}

TEST(damage_below_a_durable_mark_is_no_tail)
{
    char log[OS_NAME_BYTES_MAX];
    uint64_t end = 0;
    struct sim *left OWNED(sim_free) = killed_store(log, &end);
    struct quern_options options = world_options();
    static struct world_files before, after;
    struct quern *db;

    CHECK_EQ(sim_corrupt(left, log, 8192 + 50, 0x10), 1); /* the first group */
    world_list(left, &before);
    CHECK_CODE(world_open(left, &options, &db, &err), QUERN_CORRUPT);
    CHECK(says(log) && says("8192"));
    world_list(left, &after);
    CHECK_EQ(after.count >= before.count, 1); /* nothing of the user's is gone */
    CHECK_CODE(world_open(left, &options, &db, &err), QUERN_CORRUPT);
    options.recover = QUERN_RECOVER_POINT_IN_TIME;
    CHECK_OK(world_open(left, &options, &db, &err), &err);
    CHECK_CODE(world_get(db, 0, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_put(db, 0, 1, true, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* A store killed while its second segment was in use, whose manifest has lost the edit that named
 * it; or, without `named`, while the second was begun and not recorded yet. */
static struct sim *store_with_a_lost_edit(const struct quern_options *options, bool named,
                                          unsigned *acked)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left;
    static struct world_files files;
    char manifest[OS_NAME_BYTES_MAX] = "";
    uint64_t bytes = 0;
    struct quern *db;
    uint8_t *all;

    if (!EXPECT(world_open(sim, options, &db, &err) == QUERN_OK) ||
        !EXPECT(world_put(db, 0, 1, false, &err) == QUERN_OK))
        return NULL;
    if (!named) { /* and what was begun stays, as if the power had gone at that moment */
        sim_fail(sim, &(struct sim_fault){
                          .ops = SIM_WRITE, .name = "MANIFEST*", .sys_errno = EIO, .always = true});
        sim_fail(sim, &(struct sim_fault){
                          .ops = SIM_REMOVE, .name = "*.wal", .sys_errno = EIO, .always = true});
    }
    for (*acked = 0; *acked < 600; ++*acked) /* a segment holds some 400 */
        if (world_put(db, *acked, 1, false, &err))
            break;
    EXPECT((err.code != QUERN_OK) == !named);
    left = sim_crash(sim, 1, SIM_KEEP_ALL);
    sim_fail_never(sim);
    (void)quern_close(db, &err);
    if (!named)
        return left;
    world_list(left, &files);
    for (size_t i = 0; i < files.count; i++)
        if (strncmp(files.file[i].name, "MANIFEST-", 9) == 0)
            (void)snprintf(manifest, sizeof(manifest), "%s", files.file[i].name);
    all = world_read(left, manifest, &bytes);
    while (bytes > 0 && all[bytes - 1] == 0)
        bytes--;
    free(all);
    /* the mark that ends it is alone in its page; the edit is in the one before */
    EXPECT(bytes % 4096 != 0 && bytes % 4096 <= 40);
    EXPECT(sim_truncate(left, manifest, bytes / 4096 * 4096 - 4096) == 1);
    return left;
}

TEST(a_manifest_that_lost_the_edit_of_a_written_segment_is_noticed)
{
    struct quern_options options = world_options();
    static struct world_files before, after;
    struct sim *sim OWNED(sim_free) = NULL;
    struct quern *db;
    unsigned acked;
    uint64_t all;

    options.memdb_bytes = 256 * 1024;
    sim = store_with_a_lost_edit(&options, true, &acked);
    world_list(sim, &before);
    for (unsigned i = 0; i < 4; i++) { /* by any of these, and the second time too */
        options.recover = i % 2 == 0 ? QUERN_RECOVER_TAIL : QUERN_RECOVER_STRICT;
        options.read_only = i >= 2;
        CHECK_CODE(world_open(sim, &options, &db, &err), QUERN_CORRUPT);
        CHECK(says("000002.wal holds writes") && says("last edit"));
    }
    world_list(sim, &after);
    for (size_t i = 0; i < before.count; i++) { /* and no log is gone */
        size_t at = world_find(&after, before.file[i].name, 0);

        if (strstr(before.file[i].name, ".wal") != NULL)
            CHECK(at < after.count && before.file[i].hash == after.file[at].hash);
    }
    options.read_only = false;
    options.recover = QUERN_RECOVER_POINT_IN_TIME;
    options.on_event = count_torn;
    torn_tails = 0;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_EQ(torn_tails, 1);
    CHECK(strstr(torn_text, "TORN-000002-4096") != NULL);
    CHECK_EQ(count_kept(sim, &all), 1);
    CHECK_OK(world_get(db, 0, 1, &err), &err);
    CHECK_CODE(world_get(db, acked - 1, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_put(db, acked - 1, 1, true, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_segment_that_was_begun_and_never_recorded_is_no_loss)
{
    struct quern_options options = world_options();
    static struct world_files files;
    struct sim *sim OWNED(sim_free) = NULL;
    struct quern *db;
    unsigned acked;

    options.memdb_bytes = 256 * 1024;
    sim = store_with_a_lost_edit(&options, false, &acked);
    world_list(sim, &files);
    CHECK(world_find(&files, "000002.wal", 0) < files.count);
    options.recover = QUERN_RECOVER_STRICT;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- no memory ---- */

#define HUNGRY_WRITES 6

/* A short history; stops at the first failure. Which of the writes were acknowledged, as bits. */
static enum quern_code hungry(struct sim *sim, unsigned *acked)
{
    struct quern_error why = {0};
    struct quern_value value = {0};
    struct quern_iter *it = NULL;
    struct quern *db = NULL;
    enum quern_code code = world_open(sim, NULL, &db, &why), closed;

    for (unsigned n = 0; code == QUERN_OK && n < HUNGRY_WRITES; n++) {
        code = world_put(db, n, 1, n % 2, &why);
        if (code == QUERN_OK)
            *acked |= 1u << n;
        if (code == QUERN_OK && n % 2 == 1)
            code = quern_flush(db, &why);
    }
    if (code == QUERN_OK)
        code = quern_get(db, world_key(1), NULL, &value, &why);
    if (code == QUERN_OK)
        code = quern_iter_new(db, NULL, &it, &why);
    if (code == QUERN_OK) {
        (void)quern_iter_first(it);
        code = quern_iter_error(it, &why);
        quern_iter_free(it);
    }
    if (code == QUERN_OK)
        code = quern_compact(db, NULL, &why);
    if (code == QUERN_OK)
        code = quern_checkpoint(db, "/copy", &why);
    if (db != NULL) {
        closed = quern_close(db, &why);
        code = code != QUERN_OK ? code : closed;
    }
    quern_value_done(&value);
    return code;
}

/* Every allocation from the n-th on fails, for each n until none is missed. */
TEST(without_memory_calls_fail_and_nothing_acknowledged_is_lost)
{
    bool full = getenv("CRASH_FULL") != NULL;
    unsigned runs = 0;
    enum quern_code code = QUERN_NO_MEMORY;

    for (uint64_t n = 0; code != QUERN_OK; n += full ? 1 : 7, runs++) {
        struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
        unsigned acked = 0;
        struct quern *db = NULL;

        CHECK(n < 5000);
        alloc_fail_after(n);
        code = hungry(sim, &acked);
        alloc_fail_never();
        if (code != QUERN_OK && code != QUERN_NO_MEMORY && code != QUERN_READ_ONLY &&
            code != QUERN_UNKNOWN)
            tap_fail(__FILE__, __LINE__, "allocation %llu: code %d", (unsigned long long)n,
                     (int)code);
        left = sim_crash(sim, n, SIM_KEEP_ALL);
        if (world_open(left, NULL, &db, &err)) {
            tap_fail(__FILE__, __LINE__, "after allocation %llu: %s", (unsigned long long)n,
                     err.text);
            return;
        }
        for (unsigned i = 0; i < HUNGRY_WRITES; i++)
            if ((acked >> i & 1) && world_get(db, i, 1, &err))
                tap_fail(__FILE__, __LINE__, "allocation %llu: %s", (unsigned long long)n,
                         err.text);
        EXPECT(quern_verify(db, NULL, NULL, &err) == QUERN_OK);
        CHECK_OK(quern_close(db, &err), &err);
    }
    tap_note("%u runs", runs);
}
