/* test_engine_open.c - what an open costs and changes: nothing, until something is written.
 *
 * The first write after an open does what the open does not: it begins the log. So the power goes
 * there, and calls fail there, at every change of the disk. */
#include "engine_world.h"

#include "base/thread.h"

#include <errno.h>
#include <sys/stat.h>

#define KEYS 300u
#define CHANGES (SIM_CHANGES & ~(unsigned)SIM_LOCK)

static struct quern_error err;

/* A store with some tables that was closed, its first `keys` keys in version 1. */
static struct sim *settled_store(void)
{
    struct sim *sim = sim_new(1);
    struct quern *db;

    if (EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK)) {
        EXPECT(world_fill(db, 0, KEYS, 1, &err) == QUERN_OK);
        EXPECT(quern_compact(db, NULL, &err) == QUERN_OK);
        EXPECT(quern_close(db, &err) == QUERN_OK);
    }
    return sim;
}

static unsigned count_iterator(struct quern *db)
{
    struct quern_iter *it = NULL;
    unsigned n = 0;

    if (!EXPECT(quern_iter_new(db, NULL, &it, &err) == QUERN_OK))
        return 0;
    for (quern_iter_first(it); quern_iter_valid(it); quern_iter_next(it))
        n++;
    quern_iter_free(it);
    return n;
}

TEST(a_settled_store_that_is_only_read_is_left_as_it_is)
{
    struct sim *sim OWNED(sim_free) = settled_store();
    struct quern_options options = world_options();
    static struct world_files before, after;
    struct quern_stats stats;
    struct quern *db;
    uint64_t changes;

    options.flush_interval_ms = 4; /* the worker looks every millisecond */
    world_list(sim, &before);
    changes = sim_op_count_of(sim, CHANGES);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        CHECK_OK(world_check(db, 0, KEYS, 1, &err), &err);
        CHECK_EQ(count_iterator(db), KEYS);
        thread_sleep_ns(UINT64_C(20000000));
        quern_stats(db, &stats);
        CHECK_EQ(stats.log_segments, 0);
        CHECK_EQ(stats.durable_seq, stats.visible_seq);
        CHECK_OK(quern_sync(db, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
    CHECK_EQ(sim_op_count_of(sim, CHANGES), changes);
    world_list(sim, &after);
    CHECK_EQ(after.count, before.count);
    for (size_t i = 0; i < before.count; i++)
        CHECK(strcmp(before.file[i].name, after.file[i].name) == 0 &&
              before.file[i].hash == after.file[i].hash);
}

static uint64_t filter_bytes_in(struct quern *db)
{
    struct quern_stats stats;

    quern_stats(db, &stats);
    return stats.cache_filter_bytes;
}

/* All keys with `behind` behind them, in batches: how many are there. */
static unsigned get_together(struct quern *db, const char *behind)
{
    struct quern_value values[8] = {0};
    struct quern_slice keys[8];
    enum quern_code codes[8];
    char text[8][24];
    unsigned found = 0;

    for (unsigned n = 0; n < KEYS; n += 8) {
        unsigned some = KEYS - n < 8 ? KEYS - n : 8;

        for (unsigned i = 0; i < some; i++) {
            (void)snprintf(text[i], sizeof(text[i]), "key-%06u%s", n + i, behind);
            keys[i] = QUERN_STR(text[i]);
        }
        EXPECT(quern_multi_get(db, keys, some, NULL, values, codes, &err) == QUERN_OK);
        for (unsigned i = 0; i < some; i++)
            found += codes[i] == QUERN_OK;
    }
    for (unsigned i = 0; i < 8; i++)
        quern_value_done(&values[i]);
    return found;
}

/* A filter saves a search in vain, and the last run is searched in vain for missing keys alone. */
TEST(filters_are_read_where_they_can_save_a_search)
{
    struct sim *sim OWNED(sim_free) = settled_store();
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, KEYS, 1, &err), &err);
    CHECK_EQ(get_together(db, ""), KEYS);
    CHECK_EQ(filter_bytes_in(db), 0);
    CHECK_EQ(get_together(db, "-"), 0);
    CHECK(filter_bytes_in(db) > 0);
    CHECK_OK(world_put(db, 0, 2, false, &err), &err);
    CHECK_OK(world_put(db, KEYS - 1, 2, false, &err), &err);
    CHECK_OK(quern_close(db, &err), &err); /* a run above, over the same keys */

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, 1, 2, &err), &err);
    CHECK(filter_bytes_in(db) > 0);
    CHECK_OK(quern_close(db, &err), &err);
}

/* The linker leads the library's calls here: --wrap in meson.build. */
static _Atomic unsigned syncs, syncs_of_parent;
static ino_t parent;

static void note(int fd)
{
    struct stat st = {0};

    if (fstat(fd, &st) != 0)
        abort();
    syncs++;
    syncs_of_parent += st.st_ino == parent;
}

int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fsync(int fd)
{
    note(fd);
    return __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    note(fd);
    return __real_fdatasync(fd);
}

static bool local_open(const char *path, struct quern **db)
{
    struct quern_options options = world_options();

    return EXPECT(engine_open(os_local(), path, &options, db, &err) == QUERN_OK);
}

TEST(a_settled_store_on_the_local_disk_is_opened_and_closed_without_a_sync)
{
    const char *above = tap_dir();
    struct quern *db;
    struct stat st;
    char path[320];

    CHECK_EQ(stat(above, &st), 0);
    parent = st.st_ino;
    (void)snprintf(path, sizeof(path), "%s/db", above);
    CHECK_EQ(mkdir(path, 0700), 0); /* by one that died before it could sync the name */
    CHECK(local_open(path, &db));
    CHECK(syncs_of_parent > 0);
    CHECK_OK(world_fill(db, 0, KEYS, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    syncs = 0;
    for (unsigned i = 0; i < 3; i++) {
        CHECK(local_open(path, &db));
        CHECK_OK(world_check(db, 0, KEYS, 1, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
    CHECK_EQ(syncs, 0);
    CHECK(local_open(path, &db));
    CHECK_OK(world_put(db, KEYS, 1, true, &err), &err);
    CHECK(syncs > 0);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Open, and write keys KEYS and KEYS + 1; returns how many were acknowledged. */
static unsigned two_writes(struct sim *sim, bool sync, struct quern **db)
{
    unsigned acked = 0;

    if (world_open(sim, NULL, db, &err) == QUERN_OK)
        while (acked < 2 && world_put(*db, KEYS + acked, 1, sync, &err) == QUERN_OK &&
               !sim_is_off(sim)) /* into the mapping it goes on */
            acked++;
    return acked;
}

/* All of the settled store is there; of the two writes the first `low` at least. */
static void check_after(struct sim *sim, unsigned low)
{
    struct quern *db;
    bool first, second;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, KEYS + low, 1, &err), &err);
    first = world_get(db, KEYS, 1, &err) == QUERN_OK;
    CHECK(first || err.code == QUERN_NOT_FOUND);
    second = world_get(db, KEYS + 1, 1, &err) == QUERN_OK;
    CHECK(second ? first : err.code == QUERN_NOT_FOUND);
    CHECK_OK(world_put(db, KEYS, 1, true, &err), &err); /* and it takes writes */
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_power_cut_at_any_change_of_the_first_writes_after_an_open_loses_nothing)
{
    unsigned cuts = 0;

    for (unsigned sync = 0; sync < 2; sync++)
        for (uint64_t k = 1;; k++) {
            struct sim *sim OWNED(sim_free) = settled_store();
            struct quern *db = NULL;
            unsigned acked;
            bool off;

            sim_crash_at_of(sim, CHANGES, sim_op_count_of(sim, CHANGES) + k);
            acked = two_writes(sim, sync, &db);
            off = sim_is_off(sim);
            for (unsigned mode = 0; mode < 6; mode++) {
                struct sim *left OWNED(sim_free) =
                    sim_crash(sim, k * 6 + mode, (enum sim_crash_mode)(mode % 3));

                check_after(left, sync || mode % 3 == SIM_KEEP_ALL ? acked : 0);
                cuts++;
            }
            IGNORE(quern_close(db, &err));
            if (!off)
                break;
        }
    tap_note("%u crashes", cuts);
    CHECK(cuts > 60);
}

TEST(a_call_that_fails_in_the_first_write_after_an_open_fails_that_write_alone_or_all_later_ones)
{
    static const int errors[] = {EIO, ENOSPC};
    unsigned went_on = 0, refused = 0;
    bool hit = true;

    for (unsigned n = 0; hit; n++) {
        struct sim *sim OWNED(sim_free) = settled_store();
        struct sim_fault fault = {.ops = CHANGES | SIM_OPEN | SIM_STAT | SIM_READ,
                                  .skip = n / 4,
                                  .sys_errno = errors[n % 2],
                                  .drop_dirty = true};
        bool sync = n % 4 / 2 == 0;
        enum quern_code code;
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        sim_fail(sim, &fault);
        code = world_put(db, KEYS, 1, sync, &err);
        hit = sim_fault_hits(sim) != 0;
        sim_fail_never(sim);
        CHECK(hit || code == QUERN_OK);
        if (code == QUERN_NO_SPACE || code == QUERN_IO)
            CHECK_CODE(world_get(db, KEYS, 1, &err), QUERN_NOT_FOUND);
        code = world_put(db, KEYS + 1, 1, true, &err);
        if (code == QUERN_OK) {
            went_on++;
            CHECK_OK(quern_close(db, &err), &err);
            CHECK_OK(world_open(sim, NULL, &db, &err), &err);
            CHECK_OK(world_get(db, KEYS + 1, 1, &err), &err);
        } else {
            refused++;
            CHECK_CODE(code, QUERN_READ_ONLY);
        }
        CHECK_OK(world_check(db, 0, KEYS, 1, &err), &err);
        IGNORE(quern_close(db, &err));
        {
            struct sim *left OWNED(sim_free) = sim_crash(sim, n, SIM_RANDOM);

            CHECK_OK(world_open(left, NULL, &db, &err), &err);
            CHECK_OK(world_check(db, 0, KEYS, 1, &err), &err);
            if (code == QUERN_OK)
                CHECK_OK(world_get(db, KEYS + 1, 1, &err), &err);
            CHECK_OK(quern_close(db, &err), &err);
        }
    }
    tap_note("%u went on, %u refused", went_on, refused);
    CHECK(went_on > 8 && refused > 2);
}

TEST(the_first_write_on_a_full_disk_is_refused_and_takes_the_ballast_where_there_is_one)
{
    for (unsigned ballast = 0; ballast < 2; ballast++) {
        struct sim *sim OWNED(sim_free) = settled_store();
        struct quern *db;

        if (ballast)
            CHECK(world_write(sim, "BALLAST", (char[256 * 1024]){0}, 256 * 1024));
        sim_free_space(sim, 0);
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_check(db, 0, KEYS, 1, &err), &err);
        CHECK_CODE(world_put(db, KEYS, 1, true, &err), ballast ? QUERN_OK : QUERN_NO_SPACE);
        CHECK_CODE(world_get(db, KEYS, 1, &err), ballast ? QUERN_OK : QUERN_NOT_FOUND);
        sim_free_space(sim, UINT64_MAX);
        CHECK_OK(world_put(db, KEYS + 1, 1, true, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

/* ---- what an open shows ---- */

static void history(struct sim *sim)
{
    struct quern *db = NULL;

    for (unsigned round = 0; round < 3; round++) {
        if (world_open(sim, NULL, &db, &err))
            return;
        if (world_fill(db, round * 10, round * 10 + 8, 1, &err) || quern_flush(db, &err) ||
            world_fill(db, round * 10 + 8, round * 10 + 10, 1, &err) ||
            (round == 1 && quern_compact(db, NULL, &err))) {
            IGNORE(quern_close(db, &err));
            return;
        }
        if (quern_close(db, &err))
            return;
    }
}

static uint64_t keys_there(struct sim *sim, bool sync)
{
    struct quern *db;
    uint64_t keys = 0;

    if (!EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK))
        return 0;
    for (unsigned n = 0; n < 30; n++)
        keys |= (uint64_t)(world_get(db, n, 1, &err) == QUERN_OK) << n;
    EXPECT(!sync || quern_sync(db, &err) == QUERN_OK);
    EXPECT(world_put(db, 40, 1, false, &err) == QUERN_OK); /* takes what is there for its own */
    sim_crash_at(sim, sim_op_count(sim) + 1);
    IGNORE(quern_close(db, &err));
    return keys;
}

/* The process is killed anywhere; the next one opens the store, shows what it has and syncs; then
 * the power goes. An open that believes what the kernel shows and the disk lacks is found here. */
TEST(what_an_open_after_a_kill_has_shown_and_synced_outlives_a_power_cut)
{
    unsigned kills = 0;

    for (uint64_t k = 1;; k++) {
        struct sim *sim OWNED(sim_free) = sim_new(1);
        struct sim *killed OWNED(sim_free) = NULL;
        struct sim *left OWNED(sim_free) = NULL;
        uint64_t shown;
        bool off;

        sim_crash_at_of(sim, SIM_CHANGES, k);
        history(sim);
        off = sim_is_off(sim);
        killed = sim_crash(sim, k, SIM_KEEP_ALL);
        shown = keys_there(killed, true);
        left = sim_crash(killed, k, k % 2 == 0 ? SIM_DROP_ALL : SIM_RANDOM);
        CHECK_EQ(keys_there(left, false) & shown, shown);
        kills++;
        if (!off)
            break;
    }
    CHECK(kills > 100);
}
