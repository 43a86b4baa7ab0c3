/* test_engine_range.c - range deletes: gone as a whole for every read, wherever the entries lie; not
 * for those who began before; what came after stays; the space comes back, and then the cut goes. */
#include "engine_world.h"

#include "engine/remains_priv.h"
#include "base/alloc.h"
#include "engine/scan_priv.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static struct quern_error err;

/* It stays for a while. */
static struct quern_range range_of(unsigned from, unsigned to)
{
    static char bound[16][2][24];
    static unsigned at;

    at = (at + 1) % 16;
    (void)snprintf(bound[at][0], sizeof(bound[at][0]), "key-%06u", from);
    (void)snprintf(bound[at][1], sizeof(bound[at][1]), "key-%06u", to);
    return (struct quern_range){QUERN_STR(bound[at][0]), QUERN_STR(bound[at][1])};
}

static enum quern_code cut_sync(struct quern *db, unsigned from, unsigned to, bool sync)
{
    struct quern_range range = range_of(from, to);
    struct quern_write_opts opts = {.sync = sync};

    return quern_delete_range(db, &range, &opts, &err);
}

static enum quern_code cut(struct quern *db, unsigned from, unsigned to)
{
    return cut_sync(db, from, to, false);
}

static struct quern_stats stats_of(struct quern *db)
{
    struct quern_stats stats;

    quern_stats(db, &stats);
    return stats;
}

/* ---- what is seen, by every way there is ---- */

#define KEYS 600

/* What should be there: the version of each key, 0 for none. */
struct wanted {
    unsigned version[KEYS];
};

static void want(struct wanted *w, unsigned from, unsigned to, unsigned version)
{
    for (; from < to; from++)
        w->version[from] = version;
}

static unsigned next_there(const struct wanted *w, unsigned n)
{
    while (n < KEYS && w->version[n] == 0)
        n++;
    return n;
}

static bool stands_on(struct quern_iter *it, const struct wanted *w, unsigned n)
{
    return key_equal(quern_iter_key(it), world_key(n)) &&
           key_equal(quern_iter_value(it), world_value(n, w->version[n]));
}

static bool walks_show(struct quern *db, const struct quern_snapshot *s, const struct wanted *w)
{
    struct quern_iter_opts how = {.snapshot = s};
    struct quern_iter *it;
    unsigned n = next_there(w, 0);
    bool fine = true, on;

    if (quern_iter_new(db, &how, &it, &err) != QUERN_OK)
        return false;
    for (on = quern_iter_first(it); fine && on && n < KEYS; on = quern_iter_next(it)) {
        fine = stands_on(it, w, n);
        n = next_there(w, n + 1);
    }
    fine = fine && !on && n == KEYS;
    for (on = quern_iter_last(it), n = KEYS; fine && on; on = quern_iter_prev(it)) {
        while (n-- > 0 && w->version[n] == 0)
            continue;
        fine = n < KEYS && stands_on(it, w, n);
    }
    while (fine && n-- > 0)
        fine = w->version[n] == 0;
    for (n = 0; fine && n < KEYS; n += 7) {
        unsigned there = next_there(w, n);

        on = quern_iter_seek(it, world_key(n));
        fine = on ? there < KEYS && stands_on(it, w, there) : there == KEYS;
    }
    quern_iter_free(it);
    return fine;
}

static bool gets_show(struct quern *db, const struct quern_snapshot *s, const struct wanted *w)
{
    struct quern_read_opts opts = {.snapshot = s};
    struct quern_value value = {0}, values[2] = {{0}};
    bool fine = true;

    for (unsigned n = 0; fine && n < KEYS; n++) {
        struct quern_slice keys[2] = {world_key(n), world_key(999999)};
        enum quern_code code = quern_get(db, keys[0], &opts, &value, &err), codes[2];
        struct quern_slice right = world_value(n, w->version[n]);

        fine = w->version[n] == 0
                   ? code == QUERN_NOT_FOUND
                   : code == QUERN_OK && key_equal(slice_of(value.data, value.len), right);
        fine = fine && quern_multi_get(db, keys, 2, &opts, values, codes, &err) == QUERN_OK &&
               codes[0] == code && codes[1] == QUERN_NOT_FOUND;
        if (!fine)
            tap_note("key %u: code %d, want version %u", n, (int)code, w->version[n]);
    }
    quern_value_done(&value);
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    return fine;
}

static bool counts_show(struct quern *db, const struct quern_snapshot *s, const struct wanted *w)
{
    struct quern_read_opts opts = {.snapshot = s};

    for (unsigned from = 0; from < KEYS; from += 97)
        for (unsigned to = from; to <= KEYS; to += 101) {
            struct quern_range range = range_of(from, to);
            uint64_t count = 9999, right = 0;

            for (unsigned n = from; n < to; n++)
                right += w->version[n] != 0;
            if (quern_count(db, &range, &opts, &count, &err) != QUERN_OK || count != right)
                return EXPECT(count == right);
        }
    return true;
}

static bool shows(struct quern *db, const struct quern_snapshot *s, const struct wanted *w)
{
    return EXPECT(gets_show(db, s, w)) && EXPECT(walks_show(db, s, w)) && counts_show(db, s, w);
}

/* ---- reads ---- */

TEST(a_deleted_range_is_gone_for_every_read_wherever_it_lies)
{
    for (enum place before = IN_MEMDB; before < PLACES; before++)
        for (enum place after = IN_MEMDB; after < PLACES; after++) {
            struct sim *sim = sim_new(1);
            struct wanted w = {{0}};
            struct quern *db;

            CHECK_OK(world_open(sim, NULL, &db, &err), &err);
            CHECK_OK(world_fill(db, 0, KEYS, 1, &err), &err);
            want(&w, 0, KEYS, 1);
            CHECK(world_bring_to(&sim, &db, before));
            CHECK_OK(cut(db, 100, 400), &err);
            want(&w, 100, 400, 0);
            CHECK_OK(world_fill(db, 200, 210, 2, &err), &err); /* what comes after stays */
            want(&w, 200, 210, 2);
            CHECK_OK(cut(db, 205, 500), &err);
            want(&w, 205, 500, 0);
            CHECK_OK(quern_delete_range(db, &(struct quern_range){{0}, world_key(5)}, NULL, &err),
                     &err);
            CHECK_OK(quern_delete_range(db, &(struct quern_range){world_key(590), {0}}, NULL, &err),
                     &err);
            want(&w, 0, 5, 0);
            want(&w, 590, KEYS, 0);
            CHECK(shows(db, NULL, &w));
            CHECK(world_bring_to(&sim, &db, after));
            CHECK(shows(db, NULL, &w));
            for (enum place next = FLUSHED; next <= REOPENED; next++) {
                CHECK(world_bring_to(&sim, &db, next));
                CHECK(shows(db, NULL, &w));
            }
            CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
            CHECK_EQ(stats_of(db).cuts, 0); /* merged, so nothing is left to hide */
            CHECK_EQ(stats_of(db).table_entries, 190);
            CHECK_OK(quern_close(db, &err), &err);
            sim_free(sim);
        }
}

TEST(in_a_batch_the_later_operation_wins)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct quern_batch *batch = quern_batch_new();
        struct quern_range all = {{0}, {0}}, some = range_of(10, 20);
        struct sim *sim = sim_new(1);
        struct wanted w = {{0}};
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 40, 1, &err), &err);
        want(&w, 0, 40, 1);
        for (unsigned n = 8; n < 22; n++)
            CHECK_OK(quern_batch_put(batch, world_key(n), world_value(n, 2), &err), &err);
        CHECK_OK(quern_batch_delete_range(batch, &some, &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(12), world_value(12, 3), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(13), world_value(13, 3), &err), &err);
        CHECK_OK(quern_batch_delete(batch, world_key(13), &err), &err);
        CHECK_EQ(quern_batch_count(batch), 18);
        CHECK_OK(quern_write(db, batch, NULL, &err), &err);
        want(&w, 8, 22, 2);
        want(&w, 10, 20, 0);
        want(&w, 12, 13, 3);
        CHECK(shows(db, NULL, &w));
        quern_batch_clear(batch); /* twice, with something between */
        CHECK_OK(quern_batch_delete_range(batch, &all, &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(300), world_value(300, 4), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(400), world_value(400, 4), &err), &err);
        some = range_of(350, 450);
        CHECK_OK(quern_batch_delete_range(batch, &some, &err), &err);
        CHECK_OK(world_fill(db, 500, 510, 1, &err), &err);
        CHECK_OK(quern_write(db, batch, NULL, &err), &err);
        w = (struct wanted){{0}};
        want(&w, 300, 301, 4);
        for (enum place next = place; next <= REOPENED || next == place; next++) {
            CHECK(world_bring_to(&sim, &db, next));
            CHECK(shows(db, NULL, &w));
        }
        quern_batch_free(batch);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(a_snapshot_and_an_iterator_see_what_a_later_range_delete_removes)
{
    struct quern_snapshot *early, *middle, *late;
    struct sim *sim = sim_new(1);
    struct wanted w1 = {{0}}, w2, w3;
    struct quern_iter *it;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 300, 1, &err), &err);
    want(&w1, 0, 300, 1);
    CHECK_OK(quern_snapshot_new(db, &early, &err), &err);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    CHECK(quern_iter_seek(it, world_key(120)));
    CHECK_OK(cut(db, 100, 200), &err);
    CHECK_OK(world_fill(db, 150, 160, 2, &err), &err);
    w2 = w1;
    want(&w2, 100, 200, 0);
    want(&w2, 150, 160, 2);
    CHECK_OK(quern_snapshot_new(db, &middle, &err), &err);
    CHECK_OK(cut(db, 50, 155), &err);
    w3 = w2;
    want(&w3, 50, 155, 0);
    CHECK_OK(quern_snapshot_new(db, &late, &err), &err);
    CHECK_OK(cut(db, 0, KEYS), &err);
    for (enum place place = IN_MEMDB; place < REOPENED; place++) {
        struct wanted none = {{0}};

        CHECK(world_bring_to(&sim, &db, place));
        CHECK(shows(db, early, &w1));
        CHECK(shows(db, middle, &w2));
        CHECK(shows(db, late, &w3));
        CHECK(shows(db, NULL, &none));
        for (unsigned n = 121; n < 140; n++)
            CHECK(quern_iter_next(it) && stands_on(it, &w1, n));
        for (unsigned n = 139; n-- > 120;)
            CHECK(quern_iter_prev(it) && stands_on(it, &w1, n));
    }
    quern_iter_free(it);
    quern_snapshot_free(early);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK(shows(db, middle, &w2));
    CHECK(shows(db, late, &w3));
    quern_snapshot_free(middle);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK(shows(db, late, &w3));
    CHECK(stats_of(db).cuts != 0);
    quern_snapshot_free(late);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_entries, 0);
    CHECK_EQ(stats_of(db).cuts, 0);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
}

/* An empty range has no effect and no number; bounds and the rest are looked at. */
TEST(a_range_without_keys_does_nothing_and_a_wrong_one_is_refused)
{
    static char long_key[QUERN_KEY_BYTES_MAX + 1];
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_range wrong = {slice_of(long_key, sizeof(long_key)), {0}};
    struct quern_batch *batch = quern_batch_new();
    struct quern *db;
    quern_seq seq;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
    seq = stats_of(db).visible_seq;
    CHECK_OK(cut(db, 5, 5), &err);
    CHECK_OK(cut(db, 6, 5), &err);
    CHECK_EQ(stats_of(db).visible_seq, seq);
    CHECK_EQ(stats_of(db).range_deletes, 0);
    CHECK_CODE(quern_delete_range(db, NULL, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_delete_range(db, &wrong, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_delete_range(batch, &wrong, &err), QUERN_INVALID);
    CHECK_EQ(quern_batch_count(batch), 0);
    CHECK_OK(world_check(db, 0, 10, 1, &err), &err);
    CHECK_OK(cut(db, 0, 1), &err);
    CHECK_EQ(stats_of(db).range_deletes, 1);
    CHECK_EQ(stats_of(db).deletes, 0);
    CHECK_EQ(stats_of(db).cuts, 1);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

static uint64_t count_of(struct quern *db, uint8_t database)
{
    struct quern_read_opts opts = {.database = database};
    uint64_t count = 9999;

    IGNORE(quern_count(db, NULL, &opts, &count, &err));
    return count;
}

/* The whole of one, by a range without bounds; in a batch the one that is selected. */
TEST(a_range_delete_stays_in_its_database)
{
    struct quern_range all = {{0}, {0}}, one = {QUERN_STR("key-000003"), {0}};
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (uint8_t d = 0; d < QUERN_DATABASES; d++)
        for (unsigned n = 0; n < 10; n++)
            CHECK_OK(quern_put(db, world_key(n), world_value(n, 1),
                               &(struct quern_write_opts){.database = d}, &err),
                     &err);
    CHECK_OK(quern_delete_range(db, &all, &(struct quern_write_opts){.database = 3}, &err), &err);
    CHECK_OK(quern_delete_range(db, &one, &(struct quern_write_opts){.database = 5}, &err), &err);
    quern_batch_select(batch, 15);
    CHECK_OK(quern_batch_delete_range(batch, &all, &err), &err);
    quern_batch_select(batch, 16);
    CHECK_CODE(quern_batch_delete_range(batch, &all, &err), QUERN_INVALID);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    for (enum place place = IN_MEMDB; place <= REOPENED; place++) {
        CHECK(world_bring_to(&sim, &db, place));
        for (uint8_t d = 0; d < QUERN_DATABASES; d++)
            CHECK_EQ(count_of(db, d), d == 3 || d == 15 ? 0 : d == 5 ? 3 : 10);
    }
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- writes that depend on what is there ---- */

static enum quern_code look_and_cut(void *arg, struct quern_update *u, struct quern_error *e)
{
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_range range = range_of(10, 20);
    struct quern_value value = {0};
    int *wrong = arg;

    *wrong += quern_update_get(u, world_key(12), &value, e) != QUERN_OK;
    *wrong += quern_batch_put(batch, world_key(13), world_value(13, 2), e) != QUERN_OK;
    *wrong += quern_update_get(u, world_key(13), &value, e) != QUERN_OK;
    *wrong += quern_batch_delete_range(batch, &range, e) != QUERN_OK;
    *wrong += quern_update_get(u, world_key(12), &value, e) != QUERN_NOT_FOUND;
    *wrong += quern_update_get(u, world_key(13), &value, e) != QUERN_NOT_FOUND;
    *wrong += quern_update_get(u, world_key(20), &value, e) != QUERN_OK;
    for (unsigned n = 14; n < 500; n++) /* the batch moves as it grows */
        *wrong += quern_batch_put(batch, world_key(n), world_value(n, 3), e) != QUERN_OK;
    *wrong += quern_update_get(u, world_key(14), &value, e) != QUERN_OK;
    *wrong += quern_update_get(u, world_key(12), &value, e) != QUERN_NOT_FOUND;
    quern_value_done(&value);
    return QUERN_OK;
}

TEST(an_update_sees_its_own_range_deletes)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct wanted w = {{0}};
    struct quern *db;
    int wrong = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 40, 1, &err), &err);
    CHECK_OK(quern_update(db, look_and_cut, &wrong, NULL, &err), &err);
    CHECK_EQ(wrong, 0);
    want(&w, 0, 40, 1);
    want(&w, 10, 14, 0);
    want(&w, 14, 500, 3);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_close(db, &err), &err);
}

struct held {
    _Atomic bool in, go;
};

static enum quern_code hold(void *arg, struct quern_update *u, struct quern_error *e)
{
    struct held *h = arg;

    (void)u, (void)e;
    atomic_store(&h->in, true);
    while (!atomic_load(&h->go))
        usleep(100);
    return QUERN_OK;
}

static enum quern_code require_async(struct quern *db, struct quern_batch *batch, unsigned n,
                                     enum quern_require what, struct quern_completion *c)
{
    if (quern_batch_require(batch, what, world_key(n), 0, &err) ||
        quern_batch_put(batch, world_key(n), world_value(n, 2), &err))
        return err.code;
    return quern_write_async(db, batch, NULL, c, &err);
}

/* All of one group: a held update leads, and the others gather behind it. */
TEST(a_check_sees_the_range_deletes_before_it)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_completion done[5] = {0};
    struct quern_batch *batch[5];
    struct quern_range range = range_of(10, 20);
    struct held held = {false, false};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 40, 1, &err), &err);
    CHECK_OK(cut(db, 30, 35), &err);
    for (size_t i = 0; i < 5; i++)
        batch[i] = quern_batch_new();
    CHECK_OK(quern_update_async(db, hold, &held, NULL, &done[0], &err), &err);
    while (!atomic_load(&held.in))
        usleep(100);
    CHECK_OK(quern_batch_delete_range(batch[1], &range, &err), &err);
    CHECK_OK(quern_write_async(db, batch[1], NULL, &done[1], &err), &err);
    CHECK_OK(require_async(db, batch[2], 15, QUERN_REQUIRE_ABSENT, &done[2]), &err);
    CHECK_OK(require_async(db, batch[3], 16, QUERN_REQUIRE_PRESENT, &done[3]), &err);
    CHECK_OK(require_async(db, batch[4], 32, QUERN_REQUIRE_ABSENT, &done[4]), &err);
    atomic_store(&held.go, true);
    for (size_t i = 0; i < 5; i++) {
        while (!quern_completion_ready(&done[i]))
            usleep(100);
        CHECK_CODE(done[i].code, i == 3 ? QUERN_CONFLICT : QUERN_OK);
        quern_batch_free(batch[i]);
    }
    CHECK_OK(world_get(db, 15, 2, &err), &err);
    CHECK_CODE(world_get(db, 16, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_get(db, 32, 2, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- what it costs ---- */

#define MANY 20000

/* Entries that the walk goes over, one by one. */
static uint64_t walked(struct quern *db, bool backward, unsigned *shown)
{
    struct quern_iter *it;
    uint64_t before = engine_passed(db);

    *shown = 0;
    if (quern_iter_new(db, NULL, &it, &err) != QUERN_OK)
        return UINT64_MAX;
    for (bool on = backward ? quern_iter_last(it) : quern_iter_first(it); on;
         on = backward ? quern_iter_prev(it) : quern_iter_next(it))
        ++*shown;
    quern_iter_free(it);
    return engine_passed(db) - before;
}

TEST(a_walk_jumps_over_what_a_range_delete_has_removed)
{
    struct quern_options options = world_options();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_snapshot *s;
    unsigned shown;
    struct quern *db;

    options.memdb_bytes = 16 << 20;
    options.memory_bytes = 64 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, MANY, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(world_fill(db, 0, MANY, 2, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &s, &err), &err); /* keeps all of it */
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(cut(db, 10, MANY - 10), &err);
    CHECK_OK(world_fill(db, MANY / 2, MANY / 2 + 5, 3, &err), &err);
    for (enum place place = IN_MEMDB; place <= FLUSHED; place++) {
        CHECK(world_bring_to(NULL, &db, place));
        CHECK(walked(db, false, &shown) < 500);
        CHECK_EQ(shown, 25);
        CHECK(walked(db, true, &shown) < 500);
        CHECK_EQ(shown, 25);
    }
    quern_snapshot_free(s);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_range_that_was_deleted_and_filled_again_is_counted_without_a_walk)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_range all = {{0}, {0}};
    struct quern_snapshot *s;
    uint64_t count, before;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &s, &err), &err); /* so the cut stays */
    CHECK_OK(cut(db, 0, KEYS), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 100, 400, 2, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(stats_of(db).cuts, 1);
    before = engine_passed(db);
    CHECK_OK(quern_count(db, &all, NULL, &count, &err), &err);
    CHECK_EQ(count, 300);
    all = range_of(150, 250);
    CHECK_OK(quern_count(db, &all, NULL, &count, &err), &err);
    CHECK_EQ(count, 100);
    CHECK(engine_passed(db) - before < 50);
    quern_snapshot_free(s);
    CHECK_OK(quern_close(db, &err), &err);
}

struct told {
    char dropped[200];
    unsigned merges;
};

static void on_event(void *arg, const struct quern_event *event)
{
    struct told *told = arg;

    if (event->kind != QUERN_EVENT_COMPACTED)
        return;
    if (strncmp(event->text, "dropped", 7) == 0)
        (void)snprintf(told->dropped, sizeof(told->dropped), "%s", event->text);
    else
        told->merges++;
}

TEST(a_merge_gives_the_space_back_and_leaves_whole_tables_unread)
{
    struct quern_options options = world_options();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_range part;
    struct told told = {"", 0};
    struct quern_stats stats;
    uint64_t before, read;
    struct quern *db;

    options.on_event = on_event;
    options.on_event_arg = &told;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 6000, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_entries, 6000);
    before = stats_of(db).table_bytes;
    read = stats_of(db).compact_read_bytes;
    CHECK_OK(cut(db, 50, 5950), &err);
    part = range_of(0, 6000);
    CHECK_OK(quern_compact(db, &(struct quern_compact_opts){.range = &part}, &err), &err);
    stats = stats_of(db);
    CHECK_EQ(stats.table_entries, 100);
    CHECK_EQ(stats.cuts, 0);
    CHECK(stats.table_bytes < before / 20);
    CHECK(stats.compact_read_bytes - read < before / 10);
    CHECK(strstr(told.dropped, "unread") != NULL);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Nothing is older in its range, so there is nothing to remember, and no table is made. */
TEST(a_cut_over_nothing_is_forgotten_when_it_is_flushed)
{
    struct sim *sim = sim_new(1), *after;
    struct quern *db;
    quern_seq seq;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(cut(db, 0, 10), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(stats_of(db).cuts, 0);
    CHECK_EQ(stats_of(db).tables, 0);
    CHECK_OK(world_fill(db, 100, 200, 1, &err), &err);
    CHECK_OK(cut(db, 0, 10), &err);
    seq = stats_of(db).visible_seq;
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(stats_of(db).cuts, 0);
    CHECK_EQ(manifest_state(db->manifest)->flushed_seq, seq);
    after = sim_crash(sim, 1, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
    CHECK_OK(world_open(after, NULL, &db, &err), &err);
    CHECK_EQ(stats_of(db).visible_seq, seq);
    CHECK_EQ(stats_of(db).recovered_batches, 0);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(after);
}

/* A MemDB of nothing but cuts is no empty one. */
TEST(a_memdb_that_holds_cuts_alone_is_flushed)
{
    for (int crash = 0; crash < 2; crash++) {
        struct sim *sim = sim_new(1), *after;
        struct wanted w = {{0}};
        struct quern *db;
        quern_seq seq;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_OK(cut(db, 20, 90), &err);
        want(&w, 0, 20, 1);
        want(&w, 90, 100, 1);
        seq = stats_of(db).visible_seq;
        if (crash) {
            CHECK_OK(quern_flush(db, &err), &err);
            CHECK_EQ(manifest_state(db->manifest)->flushed_seq, seq);
            CHECK_EQ(stats_of(db).cuts, 1);
            after = sim_crash(sim, 1, SIM_DROP_ALL);
            CHECK_OK(quern_close(db, &err), &err);
        } else {
            CHECK_OK(quern_close(db, &err), &err);
            after = sim_crash(sim, 1, SIM_DROP_ALL);
        }
        sim_free(sim);
        CHECK_OK(world_open(after, NULL, &db, &err), &err);
        CHECK_EQ(stats_of(db).recovered_batches, 0);
        CHECK_EQ(stats_of(db).visible_seq, seq);
        CHECK(shows(db, NULL, &w));
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(after);
    }
}

/* The list in memory has the newer cut alone; the manifest must not, while that may be lost. */
TEST(a_durable_cut_outlives_a_newer_one_that_is_lost)
{
    struct sim *sim = sim_new(1), *after;
    struct quern_snapshot *s;
    struct wanted w = {{0}};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &s, &err), &err);
    CHECK_OK(cut(db, 20, 90), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 30, 40, 2, &err), &err);
    CHECK_OK(quern_sync(db, &err), &err);
    CHECK_OK(cut(db, 0, 100), &err); /* not synced */
    want(&w, 0, 20, 1);
    want(&w, 90, 100, 1);
    want(&w, 30, 40, 2);
    after = sim_crash(sim, 1, SIM_DROP_ALL);
    quern_snapshot_free(s);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
    CHECK_OK(world_open(after, NULL, &db, &err), &err);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(after);
}

TEST(many_small_range_deletes_are_flushed_before_their_list_is_long)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct wanted w = {{0}};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, KEYS, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    for (unsigned round = 0; round < 5; round++) {
        CHECK_OK(world_fill(db, 0, KEYS, 1, &err), &err);
        for (unsigned n = 0; n < KEYS; n += 2) {
            CHECK_OK(cut(db, n, n + 1), &err);
            CHECK(db->active.cuts == NULL || db->active.cuts->count <= 256 + 1);
        }
    }
    for (unsigned n = 1; n < KEYS; n += 2)
        want(&w, n, n + 1, 1);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK(shows(db, NULL, &w));
    CHECK(stats_of(db).cuts <= KEYS / 2); /* one for each key, not for each delete */
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).cuts, 0);
    CHECK_EQ(stats_of(db).table_entries, KEYS / 2);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Where no flush makes room for more of them, a range delete waits as for room in a MemDB. */
TEST(a_list_of_range_deletes_stays_short_when_flushes_are_behind)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim_fault full = {
        .ops = SIM_CREATE, .name = "*.sst", .always = true, .sys_errno = ENOSPC};
    enum quern_code code;
    struct quern *db;
    unsigned n = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, KEYS, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 1, 2, 1, &err), &err); /* so a flush makes a table */
    sim_fail(sim, &full);
    for (; n < 3000 && cut(db, 2 * n, 2 * n + 1) == QUERN_OK; n++)
        CHECK(db->active.cuts == NULL || db->active.cuts->count <= 256);
    CHECK(n < 3000);
    CHECK_CODE(err.code, QUERN_NO_SPACE);
    CHECK_OK(world_put(db, 1, 2, false, &err), &err); /* of these there is room for more */
    sim_fail_never(sim);
    do
        usleep(1000);
    while ((code = cut(db, 2 * n, 2 * n + 1)) == QUERN_NO_SPACE);
    CHECK_OK(code, &err);
    while ((code = quern_flush(db, &err)) == QUERN_NO_SPACE) /* one that had begun before */
        usleep(1000);
    CHECK_OK(code, &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* A log may have more of them than one list should, and each makes the list anew. */
TEST(recovery_flushes_range_deletes_before_their_list_is_long)
{
    struct sim_fault full = {
        .ops = SIM_CREATE, .name = "*.sst", .always = true, .sys_errno = ENOSPC};
    struct quern_batch *batch = quern_batch_new();
    struct sim *sim = sim_new(1), *after;
    struct wanted w = {{0}};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, KEYS, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 1, 2, 1, &err), &err); /* so a flush makes a table */
    sim_fail(sim, &full);
    for (unsigned n = 0; n < KEYS; n++) {
        struct quern_range one = range_of(2 * n, 2 * n + 1);

        CHECK_OK(quern_batch_delete_range(batch, &one, &err), &err);
        want(&w, n, n + 1, n % 2); /* the other half is gone */
    }
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK_OK(cut(db, 1, 2), &err);
    want(&w, 1, 2, 0);
    CHECK_OK(quern_sync(db, &err), &err);
    after = sim_crash(sim, 1, SIM_DROP_ALL);
    IGNORE(quern_close(db, &err));
    sim_free(sim);
    CHECK_OK(world_open(after, NULL, &db, &err), &err);
    CHECK_EQ(stats_of(db).recovered_batches, 4);
    CHECK_EQ(stats_of(db).flushes, 3);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(after);
    quern_batch_free(batch);
}

/* By itself, when nothing else is to be done. */
TEST(an_idle_store_clears_up_what_was_deleted)
{
    struct quern_options options = world_options();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    options.compact_interval_ms = 1;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 3000, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(cut(db, 50, 2950), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    for (unsigned i = 0; i < 30000 && (stats_of(db).cuts != 0 || stats_of(db).table_entries != 100);
         i++)
        usleep(1000);
    CHECK_EQ(stats_of(db).table_entries, 100);
    CHECK_EQ(stats_of(db).cuts, 0);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- copies and damage ---- */

TEST(a_checkpoint_and_a_read_only_store_have_the_cuts)
{
    struct quern_options options = world_options();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_snapshot *s;
    struct wanted w = {{0}};
    struct quern *db, *other;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &s, &err), &err);
    CHECK_OK(cut(db, 20, 90), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(cut(db, 95, 99), &err);
    want(&w, 0, 20, 1);
    want(&w, 90, 95, 1);
    want(&w, 99, 100, 1);
    options.read_only = true;
    CHECK_OK(quern_sync(db, &err), &err);
    CHECK_OK(world_open(sim, &options, &other, &err),
             &err); /* one in the manifest, one in the log */
    CHECK(shows(other, NULL, &w));
    CHECK_EQ(stats_of(other).cuts, 2);
    CHECK_OK(quern_close(other, &err), &err);
    CHECK_OK(quern_checkpoint(db, "/copy", &err), &err);
    quern_snapshot_free(s);
    CHECK_OK(quern_close(db, &err), &err);
    options = world_options();
    CHECK_OK(engine_open(sim_os(sim), "/copy", &options, &other, &err), &err);
    CHECK(shows(other, NULL, &w));
    CHECK_OK(quern_close(other, &err), &err);
}

/* A store whose cuts are in the manifest and in the log, and hide entries that are in tables. */
static bool make_cut_store(struct sim **sim, struct wanted *w)
{
    struct quern_snapshot *s;
    struct sim *after;
    struct quern *db;

    *sim = sim_new(1);
    if (world_open(*sim, NULL, &db, &err) || world_fill(db, 0, 200, 1, &err) ||
        quern_flush(db, &err) || quern_snapshot_new(db, &s, &err) || cut(db, 20, 90) ||
        quern_flush(db, &err) || world_fill(db, 50, 55, 2, &err) || cut(db, 120, 130) ||
        world_fill(db, 125, 126, 2, &err) || quern_sync(db, &err))
        return false;
    after = sim_crash(*sim, 1, SIM_DROP_ALL);
    quern_snapshot_free(s);
    IGNORE(quern_close(db, &err));
    sim_free(*sim);
    *sim = after;
    *w = (struct wanted){{0}};
    want(w, 0, 200, 1);
    want(w, 20, 90, 0);
    want(w, 50, 55, 2);
    want(w, 120, 130, 0);
    want(w, 125, 126, 2);
    return true;
}

TEST(a_repair_honours_the_cuts_of_manifest_and_log)
{
    struct sim *sim;
    struct quern_options options = world_options();
    struct quern_repair_report report;
    struct wanted w;
    struct quern *db;

    CHECK(make_cut_store(&sim, &w));
    CHECK_OK(engine_check_files(sim_os(sim), WORLD_PATH, NULL, NULL, &err), &err);
    CHECK_OK(engine_repair(sim_os(sim), WORLD_PATH, "/new", NULL, &report, &err), &err);
    CHECK_EQ(report.losses, 0);
    CHECK_OK(engine_open(sim_os(sim), "/new", &options, &db, &err), &err);
    CHECK(shows(db, NULL, &w));
    CHECK_EQ(stats_of(db).cuts, 0);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
}

/* The edits that still read say what was deleted. */
TEST(a_repair_takes_cuts_from_a_manifest_that_is_damaged)
{
    struct sim *sim;
    struct quern_options options = world_options();
    struct quern_repair_report report;
    struct world_files files;
    struct wanted w;
    struct quern *db;
    uint8_t *all;
    uint64_t bytes;
    size_t at;

    CHECK(make_cut_store(&sim, &w));
    world_list(sim, &files);
    for (at = 0; at < files.count && strncmp(files.file[at].name, "MANIFEST", 8) != 0;)
        at++;
    CHECK(at < files.count);
    all = world_read(sim, files.file[at].name, &bytes);
    CHECK(all != NULL);
    all[70] ^= 1; /* in the first edit */
    CHECK(world_write(sim, files.file[at].name, all, bytes));
    free(all);
    CHECK_CODE(engine_repair(sim_os(sim), WORLD_PATH, "/new", NULL, &report, &err), QUERN_CORRUPT);
    CHECK_OK(engine_open(sim_os(sim), "/new", &options, &db, &err), &err);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
}

/* ---- without memory ---- */

TEST(a_range_delete_without_memory_does_nothing_or_all)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct wanted w = {{0}};
    enum quern_code code;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    want(&w, 0, 100, 1);
    for (unsigned calls = 0;; calls++) {
        alloc_fail_once_after(calls);
        code = cut(db, 20, 30);
        alloc_fail_never();
        if (code == QUERN_OK)
            break;
        CHECK_CODE(code, QUERN_NO_MEMORY);
        CHECK(shows(db, NULL, &w));
        CHECK(calls < 100);
    }
    want(&w, 20, 30, 0);
    CHECK(shows(db, NULL, &w));
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- readers beside the writer ---- */

#define ROUNDS 10000
#define SLOTS 16

struct beside {
    struct quern *db;
    _Atomic bool over;
    _Atomic unsigned wrong, reads;
};

/* At every moment exactly one key is there, and no number falls back. */
static void *watch_gets(void *arg)
{
    struct beside *b = arg;
    struct quern_slice keys[SLOTS];
    char text[SLOTS][24];
    struct quern_value values[SLOTS] = {{0}};
    enum quern_code codes[SLOTS];
    quern_seq last = 0;
    struct quern_error e;

    for (unsigned n = 0; n < SLOTS; n++) {
        (void)snprintf(text[n], sizeof(text[n]), "key-%06u", n);
        keys[n] = QUERN_STR(text[n]);
    }
    while (!atomic_load(&b->over)) {
        unsigned there = 0;

        if (quern_multi_get(b->db, keys, SLOTS, NULL, values, codes, &e) != QUERN_OK)
            atomic_fetch_add(&b->wrong, 1);
        for (unsigned n = 0; n < SLOTS; n++) {
            there += codes[n] == QUERN_OK;
            if (codes[n] == QUERN_OK && values[n].seq < last)
                atomic_fetch_add(&b->wrong, 1);
            last = codes[n] == QUERN_OK ? values[n].seq : last;
        }
        atomic_fetch_add(&b->wrong, there != 1);
        atomic_fetch_add(&b->reads, 1);
    }
    for (unsigned n = 0; n < SLOTS; n++)
        quern_value_done(&values[n]);
    return NULL;
}

static void *watch_walks(void *arg)
{
    struct beside *b = arg;
    struct quern_error e;

    while (!atomic_load(&b->over)) {
        struct quern_iter *it;
        uint64_t count = 0;
        unsigned there = 0;

        if (quern_iter_new(b->db, NULL, &it, &e) == QUERN_OK) {
            for (bool on = quern_iter_first(it); on; on = quern_iter_next(it))
                there++;
            quern_iter_free(it);
        }
        if (quern_count(b->db, NULL, NULL, &count, &e) != QUERN_OK || there != 1 || count != 1)
            atomic_fetch_add(&b->wrong, 1);
        atomic_fetch_add(&b->reads, 1);
    }
    return NULL;
}

/* The one who gets is held up at any instruction, for some writes each time. */
static void hold_up(int signal)
{
    struct timespec pause = {0, 100000};

    (void)signal;
    (void)nanosleep(&pause, NULL);
}

struct jolter {
    struct beside *beside;
    pthread_t whom;
};

static void *jolt(void *arg)
{
    struct jolter *j = arg;

    while (!atomic_load(&j->beside->over)) {
        (void)pthread_kill(j->whom, SIGUSR1);
        usleep(30);
    }
    return NULL;
}

TEST(readers_beside_the_writer_see_a_batch_with_a_range_delete_as_a_whole)
{
    struct quern_options options = world_options();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_range all = {{0}, {0}};
    struct quern_batch *batch = quern_batch_new();
    struct sigaction action = {.sa_handler = hold_up, .sa_flags = SA_RESTART};
    struct beside b = {.db = NULL};
    struct jolter jolter = {.beside = &b};
    pthread_t threads[3];

    options.memdb_bytes = 8192;
    options.compact_interval_ms = 1;
    options.tier_runs = 2;
    CHECK_OK(world_open(sim, &options, &b.db, &err), &err);
    CHECK_OK(world_put(b.db, 0, 1, false, &err), &err);
    CHECK(pthread_create(&threads[0], NULL, watch_gets, &b) == 0);
    CHECK(pthread_create(&threads[1], NULL, watch_walks, &b) == 0);
    jolter.whom = threads[0];
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pthread_create(&threads[2], NULL, jolt, &jolter) == 0);
    for (unsigned round = 1; round < ROUNDS || atomic_load(&b.reads) < 200; round++) {
        quern_batch_clear(batch);
        CHECK_OK(quern_batch_put(batch, world_key((round + 5) % SLOTS), world_value(1, 1), &err),
                 &err);
        CHECK_OK(quern_batch_delete_range(batch, &all, &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(round % SLOTS), world_value(1, round), &err),
                 &err);
        CHECK_OK(quern_write(b.db, batch, NULL, &err), &err);
    }
    atomic_store(&b.over, true);
    for (size_t i = 3; i-- > 0;) /* the one who holds up first */
        (void)pthread_join(threads[i], NULL);
    CHECK_EQ(atomic_load(&b.wrong), 0);
    quern_batch_free(batch);
    CHECK_OK(quern_close(b.db, &err), &err);
}
