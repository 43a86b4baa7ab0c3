/* test_engine_expiry.c - entries that expire: invisible from their millisecond on, to every read,
 * wherever they lie; seen by older views all the same; and reclaimed. The clock is the simulated
 * one. */
#include "engine_world.h"

#include "engine/remains_priv.h"

#include <pthread.h>
#include <unistd.h>

#define AT 2000 /* when things expire here; the clock begins at 1000 */

static struct quern_error err;

static struct sim *sim_at(uint64_t time_ms)
{
    struct sim *sim = sim_new(1);

    sim_set_wall_ms(sim, time_ms);
    return sim;
}

static enum quern_code put_until(struct quern *db, unsigned n, unsigned v, uint64_t expires_ms)
{
    struct quern_write_opts opts = {.expires_ms = expires_ms};

    return quern_put(db, world_key(n), world_value(n, v), &opts, &err);
}

static enum quern_code fill_until(struct quern *db, unsigned from, unsigned to, uint64_t expires_ms)
{
    enum quern_code code = QUERN_OK;

    for (; code == QUERN_OK && from < to; from++)
        code = put_until(db, from, 1, expires_ms);
    return code;
}

static struct quern_stats stats_of(struct quern *db)
{
    struct quern_stats stats;

    quern_stats(db, &stats);
    return stats;
}

/* Is key n there in version v, with this expiry? By every way there is to read it; -1: they
 * disagree, or show something else. */
static int seen(struct quern *db, const struct quern_snapshot *s, unsigned n, unsigned v,
                uint64_t expires_ms)
{
    enum { WAYS = 6 };
    struct quern_read_opts opts = {.snapshot = s};
    struct quern_iter_opts how = {.snapshot = s};
    struct quern_range range = {world_key(n), world_key(n + 1)};
    struct quern_slice keys[2] = {world_key(n), world_key(999999)}, want = world_value(n, v);
    struct quern_value value = {0}, values[2] = {{0}};
    enum quern_code codes[2];
    struct quern_iter *it = NULL;
    uint64_t count = 99;
    int yes = 0;

    yes += quern_get(db, keys[0], &opts, &value, &err) == QUERN_OK &&
           value.expires_ms == expires_ms && key_equal(slice_of(value.data, value.len), want);
    if (quern_multi_get(db, keys, 2, &opts, values, codes, &err) != QUERN_OK)
        return -1;
    yes += codes[0] == QUERN_OK && values[0].expires_ms == expires_ms;
    how.range = range;
    if (quern_count(db, &range, &opts, &count, &err) != QUERN_OK || count > 1 ||
        quern_iter_new(db, &how, &it, &err) != QUERN_OK)
        return -1;
    yes += (int)count;
    yes += quern_iter_first(it) && quern_iter_expires_ms(it) == expires_ms &&
           key_equal(quern_iter_value(it), want);
    yes += quern_iter_last(it) && quern_iter_expires_ms(it) == expires_ms &&
           key_equal(quern_iter_value(it), want);
    yes += quern_iter_seek(it, world_key(n)) && key_equal(quern_iter_key(it), world_key(n));
    quern_iter_free(it);
    quern_value_done(&value);
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    if (yes != 0 && yes != WAYS)
        tap_note("%d of %d ways show key %u", yes, WAYS, n);
    return yes == 0 ? 0 : yes == WAYS ? 1 : -1;
}

/* ---- reads ---- */

TEST(an_entry_is_seen_until_the_millisecond_before_its_expiry_and_not_from_then_on)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct sim *sim = sim_at(1000);
        struct quern_batch *batch = quern_batch_new();
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_put(db, 1, 1, false, &err), &err); /* what it replaces stays replaced */
        CHECK_OK(put_until(db, 1, 2, AT), &err);
        CHECK_OK(quern_batch_put_until(batch, world_key(2), world_value(2, 2), AT + 1, &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(3), world_value(3, 2), &err), &err);
        CHECK_OK(quern_write(db, batch, NULL, &err), &err);
        CHECK_OK(put_until(db, 4, 1, AT), &err);
        CHECK_OK(world_put(db, 4, 2, false, &err), &err); /* nor does its expiry last */
        CHECK_OK(put_until(db, 5, 2, 900), &err);         /* late already */
        quern_batch_free(batch);
        CHECK(world_bring_to(&sim, &db, place));
        for (uint64_t now = AT - 1; now <= AT + 1; now++) {
            sim_set_wall_ms(sim, now);
            CHECK_EQ(seen(db, NULL, 1, 2, AT), now < AT);
            CHECK_EQ(seen(db, NULL, 2, 2, AT + 1), now < AT + 1);
            CHECK_EQ(seen(db, NULL, 3, 2, 0), 1);
            CHECK_EQ(seen(db, NULL, 4, 2, 0), 1);
            CHECK_EQ(seen(db, NULL, 5, 2, 900), 0);
        }
        for (enum place next = FLUSHED; next < REOPENED; next++) {
            CHECK(world_bring_to(&sim, &db, next));
            CHECK_EQ(seen(db, NULL, 1, 2, AT), 0);
            CHECK_EQ(seen(db, NULL, 2, 2, AT + 1), 0);
            CHECK_EQ(seen(db, NULL, 3, 2, 0), 1);
        }
        CHECK_EQ(stats_of(db).table_entries, 2);
        CHECK_EQ(stats_of(db).table_expiring, 0);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(a_snapshot_and_an_iterator_go_on_seeing_what_expires_after_them)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_snapshot *early, *late;
    struct quern_iter *it, *old;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 1, 1, false, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &early, &err), &err);
    CHECK_OK(put_until(db, 1, 2, AT), &err);
    CHECK_OK(put_until(db, 2, 2, AT), &err);
    sim_set_wall_ms(sim, AT - 1);
    CHECK_OK(quern_snapshot_new(db, &late, &err), &err);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    sim_set_wall_ms(sim, AT);
    for (enum place place = IN_MEMDB; place < REOPENED; place++) {
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_EQ(seen(db, early, 1, 1, 0), 1);
        CHECK_EQ(seen(db, early, 2, 2, AT), 0);
        CHECK_EQ(seen(db, late, 1, 2, AT), 1);
        CHECK_EQ(seen(db, late, 2, 2, AT), 1);
        CHECK(quern_iter_first(it) && quern_iter_next(it) && !quern_iter_next(it));
        CHECK(quern_iter_last(it) && quern_iter_prev(it) && !quern_iter_prev(it));
        CHECK_EQ(seen(db, NULL, 1, 2, AT), 0);
        CHECK_EQ(seen(db, NULL, 2, 2, AT), 0);
    }
    CHECK_OK(quern_iter_new(db, &(struct quern_iter_opts){.snapshot = late}, &old, &err), &err);
    quern_snapshot_free(early);
    quern_snapshot_free(late);
    quern_iter_free(it); /* the one that was made of the snapshot sees on */
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK(quern_iter_first(old) && quern_iter_next(old) && !quern_iter_next(old));
    quern_iter_free(old);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_entries, 0);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_clock_that_jumps_back_brings_nothing_back)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_snapshot *s;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put_until(db, 1, 1, AT), &err);
    sim_set_wall_ms(sim, AT);
    CHECK_EQ(seen(db, NULL, 1, 1, AT), 0);
    sim_set_wall_ms(sim, 1000);
    CHECK_EQ(seen(db, NULL, 1, 1, AT), 0);
    CHECK_EQ(quern_time_ms(db), AT);
    CHECK_OK(put_until(db, 2, 1, AT), &err); /* late, by the store's clock */
    CHECK_EQ(seen(db, NULL, 2, 1, AT), 0);
    CHECK_OK(put_until(db, 3, 1, AT + 1), &err);
    CHECK_EQ(seen(db, NULL, 3, 1, AT + 1), 1);
    CHECK_OK(quern_snapshot_new(db, &s, &err), &err);
    CHECK_EQ(seen(db, s, 1, 1, AT), 0);
    quern_snapshot_free(s);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_entries, 1);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Opened read-only there is no worker, which would ask by itself. */
TEST(a_get_asks_for_the_time_only_if_it_meets_an_expiry)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_options options = world_options();
    struct quern_slice keys[2] = {world_key(1), world_key(7)};
    struct quern_value values[2] = {{0}};
    enum quern_code codes[2];
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 1, 1, false, &err), &err);
    CHECK_OK(put_until(db, 2, 1, AT), &err);
    CHECK_OK(quern_close(db, &err), &err);
    options.read_only = true;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    sim_set_wall_ms(sim, 1500);
    CHECK_OK(world_get(db, 1, 1, &err), &err);
    CHECK_CODE(world_get(db, 7, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(quern_multi_get(db, keys, 2, NULL, values, codes, &err), &err);
    CHECK(atomic_load(&db->time_ms) < 1500);
    CHECK_OK(world_get(db, 2, 1, &err), &err);
    CHECK_EQ(atomic_load(&db->time_ms), 1500);
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(an_expiry_that_a_dump_could_not_say_is_refused)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_batch *batch = quern_batch_new();
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(put_until(db, 1, 1, (uint64_t)INT64_MAX + 1), QUERN_INVALID);
    CHECK_OK(put_until(db, 1, 1, INT64_MAX), &err);
    CHECK_EQ(seen(db, NULL, 1, 1, INT64_MAX), 1);
    CHECK_CODE(quern_batch_put_until(batch, world_key(1), world_key(1), UINT64_MAX, &err),
               QUERN_INVALID);
    CHECK_EQ(quern_batch_count(batch), 0);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- reads beside writers ---- */

#define RENEWALS 20000

struct renewal {
    struct sim *sim;
    struct quern *db;
    _Atomic bool over, missed;
    bool many;
};

static void *look_for_it(void *arg)
{
    struct renewal *r = arg;
    struct quern_slice keys[2] = {world_key(1), world_key(1)};
    struct quern_value values[2] = {{0}};
    enum quern_code codes[2] = {QUERN_OK, QUERN_OK};
    struct quern_error e;

    while (!atomic_load(&r->over)) {
        if (r->many)
            IGNORE(quern_multi_get(r->db, keys, 2, NULL, values, codes, &e));
        else
            codes[0] = quern_get(r->db, keys[0], NULL, &values[0], &e);
        if (codes[0] != QUERN_OK || codes[1] != QUERN_OK)
            atomic_store(&r->missed, true);
    }
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    return NULL;
}

/* The key lives at every moment: it is put anew before the time comes at which it would expire, and
 * often into another MemDB. */
TEST(a_key_that_is_renewed_in_time_is_never_missed)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct renewal one = {.sim = sim}, many = {.sim = sim, .many = true};
    struct quern_options options = world_options();
    pthread_t threads[2];

    options.memdb_bytes = 4096;
    CHECK_OK(world_open(sim, &options, &one.db, &err), &err);
    many.db = one.db;
    CHECK_OK(put_until(one.db, 1, 1, 1001), &err);
    CHECK(pthread_create(&threads[0], NULL, look_for_it, &one) == 0);
    CHECK(pthread_create(&threads[1], NULL, look_for_it, &many) == 0);
    for (uint64_t now = 1001; now < 1001 + RENEWALS; now++) {
        CHECK_OK(put_until(one.db, 1, 1, now + 1), &err);
        sim_set_wall_ms(sim, now);
    }
    atomic_store(&one.over, true);
    atomic_store(&many.over, true);
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    CHECK(!atomic_load(&one.missed));
    CHECK(!atomic_load(&many.missed));
    CHECK_OK(quern_close(one.db, &err), &err);
}

/* What is known to be empty at one time was not so before. */
TEST(a_walk_over_what_has_expired_is_remembered_for_later_views_alone)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct buf to OWNED_BUF = {0};
    struct quern_snapshot *before;
    struct quern_iter *it;
    struct quern *db;
    uint64_t count = 0;
    int slot;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(fill_until(db, 0, 3000, AT), &err);
    CHECK_OK(world_put(db, 3000, 1, false, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &before, &err), &err);
    sim_set_wall_ms(sim, AT);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    CHECK(quern_iter_first(it) && key_equal(quern_iter_key(it), world_key(3000)));
    CHECK_EQ(atomic_load(&db->spans.count), 1);
    CHECK(!spans_resume(&db->spans, world_inner_key(100), UINT64_MAX, AT - 1, &to, &slot));
    CHECK(spans_resume(&db->spans, world_inner_key(100), UINT64_MAX, AT, &to, &slot));
    spans_keep(&db->spans, slot, buf_slice(&to));
    CHECK(quern_iter_last(it) && !quern_iter_prev(it));
    quern_iter_free(it);
    CHECK_OK(quern_iter_new(db, &(struct quern_iter_opts){.snapshot = before}, &it, &err), &err);
    for (bool on = quern_iter_first(it); on; on = quern_iter_next(it))
        count++;
    CHECK_EQ(count, 3001);
    for (bool on = quern_iter_last(it); on; on = quern_iter_prev(it))
        count--;
    CHECK_EQ(count, 0);
    quern_iter_free(it);
    quern_snapshot_free(before);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- writes that depend on it ---- */

static enum quern_code put_if(struct quern *db, enum quern_require what, quern_seq revision)
{
    struct quern_batch *batch = quern_batch_new();
    enum quern_code code = quern_batch_require(batch, what, world_key(1), revision, &err);

    if (code == QUERN_OK)
        code = quern_batch_put(batch, world_key(9), world_value(9, 1), &err);
    if (code == QUERN_OK)
        code = quern_write(db, batch, NULL, &err);
    quern_batch_free(batch);
    return code;
}

TEST(a_check_finds_what_has_expired_absent)
{
    for (enum place place = IN_MEMDB; place < REOPENED; place++) {
        struct sim *sim = sim_at(1000);
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(put_until(db, 1, 1, AT), &err);
        CHECK(world_bring_to(&sim, &db, place));
        sim_set_wall_ms(sim, AT - 1);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_ABSENT, 0), QUERN_CONFLICT);
        CHECK_OK(put_if(db, QUERN_REQUIRE_REVISION, 1), &err);
        sim_set_wall_ms(sim, AT);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_PRESENT, 0), QUERN_CONFLICT);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_REVISION, 1), QUERN_CONFLICT);
        CHECK_OK(put_if(db, QUERN_REQUIRE_ABSENT, 0), &err);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

struct step {
    struct sim *sim;
    struct quern *db;
    _Atomic bool waits, go;
    enum quern_code first, own, again;
};

/* Time passes, and a merge, while the function runs: it goes on seeing what it saw. */
static enum quern_code reads_twice(void *arg, struct quern_update *u, struct quern_error *e)
{
    struct step *s = arg;
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_value value = {0};

    s->first = quern_update_get(u, world_key(1), &value, e);
    atomic_store(&s->waits, true);
    while (!atomic_load(&s->go))
        (void)sched_yield();
    s->again = quern_update_get(u, world_key(1), &value, e);
    if (quern_batch_put_until(batch, world_key(1), world_value(1, 2), 1000, e))
        return e->code;
    s->own = quern_update_get(u, world_key(1), &value, e);
    quern_value_done(&value);
    return QUERN_OK;
}

TEST(an_update_sees_one_time_and_its_own_that_is_late_already_not_at_all)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_completion done = {0}, behind = {0};
    struct quern_batch *batch = quern_batch_new();
    struct step s = {.sim = sim};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put_until(db, 1, 1, AT), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_update_async(db, reads_twice, &s, NULL, &done, &err), &err);
    while (!atomic_load(&s.waits))
        (void)sched_yield();
    sim_set_wall_ms(sim, AT);
    CHECK_CODE(world_get(db, 1, 1, &err), QUERN_NOT_FOUND);
    CHECK_EQ(engine_horizon_ms(db), 1000);
    CHECK_OK(quern_batch_require(batch, QUERN_REQUIRE_ABSENT, world_key(1), 0, &err), &err);
    CHECK_OK(quern_write_async(db, batch, NULL, &behind, &err), &err);
    atomic_store(&s.go, true);
    while (!quern_completion_ready(&done) || !quern_completion_ready(&behind))
        (void)sched_yield();
    CHECK_EQ(done.code, QUERN_OK);
    CHECK_EQ(s.first, QUERN_OK);
    CHECK_EQ(s.again, QUERN_OK);
    CHECK_EQ(s.own, QUERN_NOT_FOUND);
    CHECK_EQ(behind.code, QUERN_OK);
    CHECK_EQ(engine_horizon_ms(db), AT);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- space ---- */

TEST(what_has_expired_goes_on_hiding_what_it_replaced_until_that_is_gone_too)
{
    for (unsigned flushed_late = 0; flushed_late < 2; flushed_late++) {
        struct sim *sim OWNED(sim_free) = sim_at(1000);
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 200, 1, &err), &err);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
        CHECK_OK(put_until(db, 1, 2, AT), &err);
        if (!flushed_late)
            CHECK_OK(quern_flush(db, &err), &err);
        CHECK_EQ(stats_of(db).table_expiring, !flushed_late);
        sim_set_wall_ms(sim, AT);
        CHECK_OK(world_put(db, 2, 2, false, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_EQ(stats_of(db).table_tombstones, flushed_late);
        CHECK_EQ(stats_of(db).expired_entries, flushed_late);
        CHECK_EQ(seen(db, NULL, 1, 2, AT), 0);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
        CHECK_EQ(seen(db, NULL, 1, 2, AT), 0);
        CHECK_EQ(stats_of(db).table_entries, 199);
        CHECK_EQ(stats_of(db).expired_entries, 1); /* once, and what it replaced not at all */
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

/* Reopened, so that none of them was looked into. */
TEST(bottom_tables_of_which_all_has_expired_go_without_a_read)
{
    const unsigned reads = SIM_READ | SIM_OPEN;
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_options options = world_options();
    struct quern_snapshot *s;
    struct quern *db;
    uint64_t before;

    options.compression = QUERN_COMPRESS_NONE;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(fill_until(db, 0, 1000, AT), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK(stats_of(db).tables > 3);
    CHECK_EQ(stats_of(db).table_expiring, 1000);
    CHECK_OK(quern_snapshot_new(db, &s, &err), &err);
    sim_set_wall_ms(sim, AT);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_entries, 1000); /* the snapshot sees them */
    quern_snapshot_free(s);
    before = sim_op_count_of(sim, reads);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).tables, 0);
    CHECK_EQ(stats_of(db).expired_entries, 1000);
    CHECK_EQ(sim_op_count_of(sim, reads), before);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(an_idle_store_gives_back_what_has_expired)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_options options = world_options();
    struct quern *db;
    unsigned tries = 0;

    options.flush_interval_ms = options.compact_interval_ms = 2;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned n = 0; n < 1000; n++)
        CHECK_OK(put_until(db, n, 1, n % 2 != 0 ? AT : AT + 1000), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    sim_set_wall_ms(sim, AT + 500);
    /* It is counted a moment after it has gone. */
    while ((stats_of(db).table_entries > 500 || stats_of(db).expired_entries < 500) &&
           tries++ < 2000)
        (void)usleep(5000);
    CHECK_EQ(stats_of(db).table_entries, 500);
    CHECK_EQ(stats_of(db).expired_entries, 500);
    CHECK_OK(world_get(db, 500, 1, &err), &err);
    sim_set_wall_ms(sim, AT + 1000);
    for (tries = 0; stats_of(db).tables != 0 && tries < 2000; tries++)
        (void)usleep(5000);
    CHECK_EQ(stats_of(db).tables, 0);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_repaired_store_has_every_expiry)
{
    struct sim *sim OWNED(sim_free) = sim_at(1000);
    struct quern_options options = world_options();
    struct sim *after OWNED(sim_free) = NULL;
    struct quern_repair_report report;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put_until(db, 1, 1, AT), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(put_until(db, 2, 1, AT), &err);
    CHECK_OK(quern_sync(db, &err), &err);
    after = sim_crash(sim, 7, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_repair(sim_os(after), WORLD_PATH, "/new", NULL, &report, &err), &err);
    CHECK_OK(engine_open(sim_os(after), "/new", &options, &db, &err), &err);
    for (uint64_t now = AT - 1; now <= AT; now++) {
        sim_set_wall_ms(after, now);
        CHECK_EQ(seen(db, NULL, 1, 1, AT), now < AT);
        CHECK_EQ(seen(db, NULL, 2, 1, AT), now < AT);
    }
    CHECK_OK(quern_close(db, &err), &err);
}
