/* test_count_clock.c - how many keys live by the clock: exact at each millisecond without a walk, as far
 * as what expires lies within the clock's reach; and after one walk, where it did not. */
#include "count_world.h"

#include "base/alloc.h"
#include "engine/live_priv.h"
#include "engine/remains_priv.h"
#include "engine/scan_priv.h"

/* ---- the number by itself ---- */

#define ENTRIES 600
#define REACH 4096

struct model {
    uint64_t expires[ENTRIES]; /* of those that are there; 0: never, UINT64_MAX: it is not there */
};

static uint64_t draw(uint64_t *random, uint64_t below)
{
    return tap_random(random) % below;
}

static int64_t model_count(const struct model *m, uint64_t now)
{
    int64_t n = 0;

    for (unsigned i = 0; i < ENTRIES; i++)
        n += m->expires[i] != UINT64_MAX && (m->expires[i] == 0 || m->expires[i] > now);
    return n;
}

static void change(struct model *m, struct living *l, uint64_t *random, uint64_t now,
                   uint64_t spread)
{
    uint64_t *e = &m->expires[draw(random, ENTRIES)];
    uint64_t kind = draw(random, 8);

    if (*e != UINT64_MAX)
        living_add(l, *e, -1);
    *e = kind == 0 ? UINT64_MAX : kind == 1 ? 0 : now + draw(random, spread);
    if (*e != UINT64_MAX)
        living_add(l, *e, 1);
}

/* Lifetimes within reach are never out of sight; others may be, and then it says so. */
TEST(what_expires_goes_from_the_number_at_its_millisecond)
{
    static const uint64_t spreads[] = {50, REACH, 3 * REACH};

    for (size_t s = 0; s < ARRAY_LEN(spreads); s++) {
        struct model m;
        struct living l;
        uint64_t random = tap_seed() + s, now = 1000, lost = 0;

        memset(m.expires, 0xff, sizeof(m.expires));
        living_begin(&l, 0, now, REACH);
        for (unsigned n = 0; n < 20000; n++) {
            change(&m, &l, &random, now, spreads[s]);
            if (draw(&random, 4) != 0)
                continue;
            now += draw(&random, draw(&random, 50) == 0 ? 2 * REACH : 20);
            if (!living_pass(&l, now)) { /* a walk */
                lost++;
                living_done(&l);
                living_begin(&l, 0, now, REACH);
                for (unsigned i = 0; i < ENTRIES; i++)
                    if (m.expires[i] != UINT64_MAX)
                        living_add(&l, m.expires[i], 1);
            }
            CHECK_EQ(l.keys, model_count(&m, now));
        }
        CHECK((lost != 0) == (spreads[s] > REACH));
        living_done(&l);
    }
}

/* A walk's result, and what came while it was made: of things that the walk has, and of others. */
TEST(what_a_walk_found_and_what_came_meanwhile_are_one_number)
{
    for (uint64_t spread = 100; spread <= 3 * REACH; spread += 500) {
        struct model m;
        struct living walked, since;
        uint64_t random = tap_seed() + spread, now = 1000;

        living_begin(&walked, 0, now, REACH);
        living_begin(&since, 0, now, REACH);
        for (unsigned i = 0; i < ENTRIES; i++) {
            m.expires[i] = draw(&random, 3) == 0 ? 0 : now + draw(&random, spread);
            living_add(&walked, m.expires[i], 1);
        }
        for (unsigned n = 0; n < 200; n++)
            change(&m, &since, &random, now, spread);
        living_join(&since, &walked);
        living_done(&walked);
        for (; now < 4 * REACH && living_pass(&since, now); now += 37)
            CHECK_EQ(since.keys, model_count(&m, now));
        CHECK(now > REACH / 2 || spread > REACH);
        living_done(&since);
    }
}

TEST(more_than_a_place_can_hold_is_as_if_it_lay_beyond_reach)
{
    struct living l, more;

    living_begin(&l, 0, 1000, REACH);
    living_begin(&more, 0, 1000, REACH);
    living_add(&l, 2000, INT32_MAX);
    living_add(&more, 2000, 1);
    living_add(&more, 3000, 1);
    living_join(&l, &more);
    CHECK(living_pass(&l, 1999));
    CHECK_EQ(l.keys, INT64_C(1) + INT32_MAX + 1);
    CHECK(!living_pass(&l, 2000));
    living_done(&l);
    living_add(&more, 2000, INT32_MAX);
    CHECK(living_pass(&more, 1999));
    CHECK(!living_pass(&more, 2000));
    living_done(&more);
}

/* ---- the number of a database ---- */

TEST(what_has_expired_is_never_counted_and_what_is_known_of_others_stays)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct sim *sim = sim_new(1);
        struct quern *db;

        sim_set_wall_ms(sim, 1000);
        db = asked_store(sim);
        for (unsigned n = 0; n < 10; n++)
            CHECK_OK(put_until(db, 0, n, n < 4 ? 2000 + n : 0), &err);
        CHECK_OK(put_until(db, 1, 1, 0), &err);
        CHECK(is(db, 0, 10));
        CHECK(is(db, 1, 1));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(is(db, 0, 10));
        sim_set_wall_ms(sim, 2001);
        /* The clock is in memory alone; where the number was too, a walk has told both. */
        CHECK_EQ(kept(db, 0), place == REOPENED ? NOT_KEPT : 8);
        CHECK(is(db, 0, 8));
        if (place != FLUSHED && place != REOPENED) /* their table may have keys of both */
            CHECK_EQ(asked(db, 1), 1);
        sim_set_wall_ms(sim, 5000);
        CHECK_EQ(kept(db, 0), 6);
        CHECK_OK(put_until(db, 0, 2, 0), &err); /* in the place of one that has expired */
        CHECK(is(db, 0, 7));
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_compact(db, NULL, &err),
                 &err); /* they go, and so does what is kept on disk */
        CHECK(is(db, 0, 7));
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(what_had_expired_when_its_database_was_emptied_is_in_nobodys_way)
{
    for (enum place place = IN_MEMDB; place <= REOPENED; place++) {
        struct sim *sim = sim_new(1);
        struct quern *db;

        sim_set_wall_ms(sim, 1000);
        db = asked_store(sim);
        CHECK_OK(put_until(db, 0, 1, 2000), &err);
        CHECK_OK(put_until(db, 0, 2, 0), &err);
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_OK(put_until(db, 0, 3, 2000), &err);
        sim_set_wall_ms(sim, 3000);
        CHECK_EQ(kept(db, 0), place < REOPENED ? 1 : NOT_KEPT);
        CHECK_OK(drop_all(db, 0), &err);
        CHECK_OK(put_until(db, 0, 4, 0), &err);
        CHECK(is(db, 0, 1));
        CHECK_OK(put_until(db, 0, 5, 4000), &err);
        CHECK(is(db, 0, 2));
        sim_set_wall_ms(sim, 5000);
        CHECK_EQ(kept(db, 0), 1);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(a_table_that_expires_as_a_whole_takes_the_number_with_it)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK_OK(world_fill(db, 1000, 1010, 1, &err), &err);
    for (unsigned n = 0; n < 10; n++)
        CHECK_OK(put_until(db, 0, n, 2000), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK(is(db, 0, 20));
    sim_set_wall_ms(sim, 5000);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK(is(db, 0, 10));
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Without a walk, but with what reads it takes. */
static uint64_t told(struct quern *db)
{
    struct live_look look;
    uint64_t n;

    if (live_look(db, 0, LIVE_WHOLLY, &look, &err) != QUERN_OK) {
        tap_fail(__FILE__, __LINE__, "%s", err.text);
        return NOT_KEPT;
    }
    n = look.told ? look.living : NOT_KEPT;
    live_end(db, &look);
    return n;
}

/* Overwritten, deleted, prolonged, and cleared up by merges. */
TEST(no_walk_is_needed_however_much_expires)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    uint64_t now = 1000000, expires[40] = {0};
    struct quern *db;

    sim_set_wall_ms(sim, now);
    db = asked_store(sim);
    for (unsigned n = 0; n < 2000; n++) {
        unsigned key = n * 7 % 40, there = 0;

        if (n % 5 == 0) {
            CHECK_OK(quern_delete(db, world_key(key), NULL, &err), &err);
            expires[key] = 0;
        } else {
            expires[key] = now + 1 + n * 13 % 97;
            CHECK_OK(put_until(db, 0, key, expires[key]), &err);
        }
        sim_set_wall_ms(sim, now += n % 4);
        if (n % 50 == 49)
            CHECK_OK(quern_flush(db, &err), &err);
        if (n % 300 == 299)
            CHECK_OK(quern_compact(db, NULL, &err), &err);
        for (unsigned i = 0; i < 40; i++)
            there += expires[i] > now;
        CHECK_EQ(told(db), there);
        if (n % 10 == 0)
            CHECK(expiring_fit(db, 0));
    }
    CHECK_EQ(walked(db, 0), kept(db, 0));
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* A store that was opened, and one of which keys expire beyond the reach: one walk, and it goes on. */
TEST(after_one_walk_none_is_needed)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    for (unsigned n = 0; n < 100; n++)
        CHECK_OK(put_until(db, 0, n, 2000 + n), &err);
    CHECK_OK(put_until(db, 0, 100, 1000 + 2 * REACH), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    sim_set_wall_ms(sim, 2010);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    CHECK_EQ(asked(db, 0), 90);
    CHECK(expiring_fit(db, 0));
    for (unsigned n = 11; n < 99; n++) {
        sim_set_wall_ms(sim, 2000 + n);
        CHECK_EQ(kept(db, 0), 100 - n);
    }
    CHECK_OK(put_until(db, 0, 100, 0), &err);
    CHECK_OK(put_until(db, 0, 101, 1000 + 3 * REACH), &err);
    sim_set_wall_ms(sim, 1000 + 2 * REACH);
    CHECK_EQ(kept(db, 0),
             NOT_KEPT); /* it was not noted when 100 expires, nor that it does not any more */
    CHECK(is(db, 0, 2));
    CHECK(expiring_fit(db, 0));
    CHECK(is(db, 0, 2));
    CHECK_OK(quern_close(db, &err), &err);
}

/* The number of keys is known from the disk, how many of them expire is not. */
TEST(who_asks_how_many_expire_walks_once)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_living living;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
    CHECK_OK(put_until(db, 0, 20, 2000), &err);
    CHECK_OK(put_until(db, 0, 21, 3000), &err);
    CHECK_OK(quern_count_living(db, 0, true, &living, &err), &err);
    CHECK(living.keys == 12 && living.expiring == 2 && living.ttl_ms == 1500);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 12);
    CHECK_CODE(quern_count_living(db, 0, true, &living, &err), QUERN_BUSY);
    CHECK_OK(quern_count_living(db, 0, false, &living, &err), &err);
    CHECK(living.keys == 12 && living.expiring == 2 && living.ttl_ms == 1500);
    sim_set_wall_ms(sim, 2000);
    CHECK_OK(quern_count_living(db, 0, true, &living, &err), &err);
    CHECK(living.keys == 11 && living.expiring == 1 && living.ttl_ms == 1000);
    CHECK_OK(quern_count_living(db, 5, true, &living, &err), &err);
    CHECK(living.keys == 0 && living.expiring == 0 && living.ttl_ms == 0);
    CHECK_CODE(quern_count_living(db, QUERN_DATABASES, true, &living, &err), QUERN_INVALID);
    CHECK_OK(quern_close(db, &err), &err);
}

/* The number on disk is unknown since a merge has cleared something up. */
TEST(when_all_that_had_expired_is_gone_the_number_is_kept_on_disk_again)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
    CHECK_OK(put_until(db, 0, 20, 2000), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    sim_set_wall_ms(sim, 3000);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(kept(db, 0), 10);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 10);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_check_files(sim_os(sim), WORLD_PATH, NULL, NULL, &err), &err);
}

TEST(what_is_written_while_a_walk_goes_on_is_counted_by_the_clock)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct live_look look, other;
    struct quern *db;
    uint64_t n, m;

    sim_set_wall_ms(sim, 1000);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(put_until(db, 0, i, 1500 + i), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    sim_set_wall_ms(sim, 1510);
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &look, &err), &err);
    CHECK(!look.told && look.leads);
    CHECK_OK(put_until(db, 0, 0, 1700), &err);  /* that had expired */
    CHECK_OK(put_until(db, 0, 50, 1700), &err); /* that would have at 1550 */
    CHECK_OK(put_until(db, 0, 60, 0), &err);
    CHECK_OK(quern_delete(db, world_key(70), NULL, &err), &err);
    CHECK_OK(put_until(db, 0, 200, 0), &err);
    sim_set_wall_ms(sim, 1520);
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &other, &err), &err); /* another one, later */
    CHECK(!other.told && !other.leads);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(count_walk(db, &other, &m, &err), &err);
    CHECK_OK(count_walk(db, &look, &n, &err), &err);
    CHECK_EQ(n, 89);
    CHECK_EQ(m, 80);
    CHECK(!live_learn(db, &other, m));
    live_end(db, &other);
    CHECK(live_learn(db, &look, n));
    live_end(db, &look);
    CHECK_EQ(kept(db, 0), 80);
    sim_set_wall_ms(sim, 1550);
    CHECK(is(db, 0, 51));
    sim_set_wall_ms(sim, 1699);
    CHECK(is(db, 0, 4));
    sim_set_wall_ms(sim, 1700);
    CHECK(is(db, 0, 2));
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_walk_that_fails_leaves_nothing_to_go_on_from)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct live_look look;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put_until(db, 0, 1, 1500), &err);
    CHECK_OK(put_until(db, 0, 2, 1600), &err);
    sim_set_wall_ms(sim, 1510);
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &look, &err), &err);
    CHECK_OK(put_until(db, 0, 3, 0), &err);
    live_end(db, &look);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    CHECK(is(db, 0, 2));
    CHECK_OK(quern_close(db, &err), &err);
}

static struct memdb active_of(struct quern *db)
{
    struct memdb active;

    mutex_lock(&db->mu);
    active = db->active;
    mutex_unlock(&db->mu);
    return active;
}

static bool is_known(struct quern *db, unsigned inside)
{
    bool known;

    mutex_lock(&db->live.mu);
    known = live_is_known(&db->live.flushed[inside]) || db->live.clock[inside].state == CLOCK_KNOWN;
    mutex_unlock(&db->live.mu);
    return known;
}

/* The cut makes the number known, of which nobody had asked when the flush began. */
TEST(what_somebody_began_to_count_during_a_flush_and_did_not_finish_is_not_known)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct memdb active;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    options.memdb_bytes = 1 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(drop_all(db, 0), &err);
    CHECK_OK(world_fill(db, 0, 5000, 1, &err), &err); /* more than who must not wait counts */
    active = active_of(db);
    live_flush(db, &active);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    live_flushed(db, active.mem);
    CHECK(!is_known(db, 0));
    CHECK(is(db, 0, 5000));
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_flush_that_has_no_memory_to_count_leaves_nothing_to_go_on_from)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct memdb active;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK(is_known(db, 0));
    CHECK_OK(put_until(db, 0, 1, 2000), &err);
    active = active_of(db);
    alloc_fail_once_after(0);
    live_flush(db, &active);
    alloc_fail_never();
    CHECK(!is_known(db, 0));
    CHECK(is(db, 0, 1));
    CHECK_OK(quern_close(db, &err), &err);
}

static uint64_t cache_capacity(struct quern *db)
{
    struct sst_cache_stats cache;

    sst_cache_stats(db->cache, &cache);
    return cache.capacity_bytes;
}

TEST(what_the_clocks_take_is_taken_off_the_cache)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    uint64_t capacity, of_one;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    of_one = db->options.memory_bytes / 64;
    CHECK_OK(put_until(db, 0, 1, 2000), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    capacity = cache_capacity(db);
    CHECK_OK(put_until(db, 1, 1, 2000), &err);
    CHECK(is(db, 1, 1));
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(cache_capacity(db), capacity - of_one);
    CHECK_OK(drop_all(db, 0), &err);
    CHECK(is(db, 0, 0));
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(cache_capacity(db), capacity);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    sim_set_wall_ms(sim, 1500);
    CHECK_OK(put_until(db, 2, 1, 1400), &err);
    capacity = cache_capacity(db);
    CHECK_OK(put_until(db, 2, 2, 2000), &err);
    CHECK_EQ(asked(db, 2), 1); /* a walk, in a store at rest */
    CHECK_EQ(cache_capacity(db), capacity - of_one);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(verify_reports_a_number_that_the_clock_has_wrong_and_makes_it_new)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_verify_report report;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
    CHECK_OK(put_until(db, 0, 20, 2000), &err);
    sim_set_wall_ms(sim, 2000);
    CHECK_EQ(kept(db, 0), 10);
    mutex_lock(&db->live.mu);
    db->live.clock[0].at.keys++;
    mutex_unlock(&db->live.mu);
    CHECK_CODE(quern_verify(db, NULL, &report, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "the number of keys kept of database 0 is 11; there are 10"));
    CHECK_EQ(report.damages, 1);
    CHECK_OK(quern_verify(db, NULL, &report, &err), &err);
    CHECK(is(db, 0, 10));
    CHECK_OK(quern_close(db, &err), &err);
}
