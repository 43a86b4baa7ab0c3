/* test_count.c - the number of living keys that is kept: exact after each kind of write, wherever what
 * was written lies; there without a walk, and known again after what made it unknown. */
#include "count_world.h"

#include "engine/remains_priv.h"
#include "engine/scan_priv.h"

#include <errno.h>

TEST(each_kind_of_write_is_counted_wherever_the_one_before_it_lies)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct sim *sim = sim_new(1);
        struct quern *db = asked_store(sim);
        struct quern_batch *batch = quern_batch_new();

        CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
        CHECK(is(db, 0, 10));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(is(db, 0, 10));
        CHECK_OK(world_put(db, 3, 2, false, &err), &err); /* is there */
        CHECK_OK(world_put(db, 3, 3, false, &err), &err);
        CHECK(is(db, 0, 10));
        CHECK_OK(quern_delete(db, world_key(99), NULL, &err), &err); /* never was */
        CHECK_OK(quern_delete(db, world_key(4), NULL, &err), &err);
        CHECK_OK(quern_delete(db, world_key(4), NULL, &err), &err);
        CHECK(is(db, 0, 9));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_OK(world_put(db, 4, 2, false, &err), &err); /* over a tombstone */
        CHECK_OK(world_put(db, 99, 2, false, &err), &err);
        CHECK(is(db, 0, 11));
        CHECK_OK(quern_batch_put(batch, world_key(50), world_value(50, 1), &err), &err);
        CHECK_OK(quern_batch_delete(batch, world_key(50), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(51), world_value(51, 1), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(51), world_value(51, 2), &err), &err);
        CHECK_OK(quern_batch_delete(batch, world_key(5), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(5), world_value(5, 2), &err), &err);
        CHECK_OK(quern_batch_delete(batch, world_key(6), &err), &err);
        CHECK_OK(quern_write(db, batch, NULL, &err), &err);
        CHECK(is(db, 0, 11));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(is(db, 0, 11));
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        quern_batch_free(batch);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(keys_that_are_overwritten_over_many_flushes_and_merges_stay_counted)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db = asked_store(sim);

    for (unsigned round = 0; round < 30; round++) {
        CHECK_OK(world_fill(db, 30 * round, 30 * round + 500, round, &err), &err);
        if (round % 3 == 0)
            CHECK_OK(quern_flush(db, &err), &err);
        if (round % 10 == 9)
            CHECK_OK(quern_compact(db, NULL, &err), &err);
        if (round % 4 == 1) /* in between nobody asks */
            CHECK(is(db, 0, 30 * round + 500));
    }
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 30 * 29 + 500);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_number_that_a_walk_found_is_kept_across_a_close_and_a_crash)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 300, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_EQ(kept(db, 0), NOT_KEPT); /* nobody has asked */
    CHECK_EQ(asked(db, 0), 300);
    CHECK_OK(quern_close(db, &err), &err); /* without a write */
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 300);
    CHECK_OK(quern_delete(db, world_key(7), NULL, &err), &err);
    CHECK_OK(world_fill(db, 299, 320, 2, &err), &err);
    CHECK_OK(quern_sync(db, &err), &err);
    left = sim_crash(sim, 7, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(left, NULL, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 319); /* recovery has counted what the log had */
    CHECK(is(db, 0, 319));
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(nobody_who_writes_pays_while_nobody_asks)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_OK(world_fill(db, 0, 100, round, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_EQ(db->live.count, 0);
        CHECK(db->live.parts == NULL);
        for (unsigned d = 0; d < QUERN_DATABASES; d++)
            CHECK_EQ(manifest_state(db->manifest)->live[d], 0);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(each_database_has_a_number_of_its_own)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db = asked_store(sim);
    struct quern_batch *batch = quern_batch_new();

    for (unsigned d = 0; d < QUERN_DATABASES; d++) {
        quern_batch_select(batch, (uint8_t)d);
        for (unsigned n = 0; n <= d; n++)
            CHECK_OK(quern_batch_put(batch, world_key(n), world_value(n, 1), &err), &err);
        if (d > 0)
            CHECK_OK(quern_batch_delete(batch, world_key(0), &err), &err);
    }
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    quern_batch_free(batch);
    for (int flushed = 0; flushed < 2; flushed++) {
        for (unsigned d = 0; d < QUERN_DATABASES; d++)
            CHECK(is(db, d, d == 0 ? 1 : d));
        CHECK_OK(quern_flush(db, &err), &err);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_database_that_is_emptied_has_no_keys_and_others_keep_theirs)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct sim *sim = sim_new(1);
        struct quern *db;
        struct quern_batch *batch = quern_batch_new();

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        for (unsigned d = 0; d < 3; d++)
            for (unsigned n = 0; n < 20; n++)
                CHECK_OK(put_until(db, d, n, 0), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_OK(world_fill(db, 10, 30, 2, &err), &err);
        CHECK_EQ(asked(db, 2), 20);
        CHECK_OK(drop_all(db, 0), &err); /* of which nothing was known */
        CHECK_OK(drop_all(db, 1), &err);
        CHECK_EQ(kept(db, 0), 0);
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(is(db, 0, 0));
        CHECK(is(db, 1, 0));
        CHECK(is(db, 2, 20));
        CHECK_OK(world_fill(db, 5, 15, 3, &err), &err);
        CHECK(is(db, 0, 10));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_OK(quern_batch_put(batch, world_key(1), world_value(1, 1), &err), &err);
        CHECK_OK(quern_batch_delete_range(batch, &(struct quern_range){{NULL, 0}, {NULL, 0}}, &err),
                 &err);
        CHECK_OK(quern_batch_put(batch, world_key(2), world_value(2, 1), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(5), world_value(5, 1), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(5), world_value(5, 2), &err), &err);
        CHECK_OK(quern_write(db, batch, NULL, &err), &err);
        CHECK(is(db, 0, 2));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(is(db, 0, 2));
        CHECK_OK(world_put(db, 40, 1, false, &err),
                 &err); /* and all of this before anybody looks */
        CHECK_OK(drop_range(db, 0, world_key(5), world_key(6)), &err);
        CHECK_OK(world_put(db, 41, 1, false, &err), &err);
        CHECK_OK(drop_all(db, 0), &err);
        CHECK_OK(world_put(db, 42, 1, false, &err), &err);
        CHECK(is(db, 0, 1));
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        quern_batch_free(batch);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(a_range_delete_makes_the_number_unknown_until_a_walk)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct sim *sim = sim_new(1);
        struct quern *db = asked_store(sim);

        CHECK_OK(put_until(db, 1, 1, 0), &err);
        CHECK_OK(world_fill(db, 0, 50, 1, &err), &err);
        CHECK(is(db, 0, 50));
        CHECK(is(db, 1, 1));
        CHECK_OK(drop_range(db, 0, world_key(10), world_key(20)), &err);
        CHECK_OK(world_put(db, 12, 1, false, &err), &err);
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_EQ(kept(db, 0), NOT_KEPT);
        if (place < KILLED)           /* later nobody knows what no edit has said */
            CHECK_EQ(kept(db, 1), 1); /* of the others nothing is lost */
        CHECK(is(db, 0, 41));
        CHECK_OK(world_fill(db, 15, 25, 2, &err), &err); /* some of them over what was cut */
        CHECK(is(db, 0, 46));
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(is(db, 0, 46));
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(what_is_written_while_a_walk_goes_on_is_counted_onto_its_result)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct live_look look, other;
    struct quern *db;
    uint64_t n, m;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 50, 150, 2, &err), &err);
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &look, &err), &err);
    CHECK(!look.known && look.walks);
    CHECK_OK(world_fill(db, 140, 170, 3, &err), &err);
    CHECK_OK(quern_delete(db, world_key(1), NULL, &err), &err);
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &other, &err), &err); /* another one, later */
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 169, 180, 3, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(world_fill(db, 179, 190, 3, &err), &err);
    CHECK_OK(count_walk(db, &look, &n, &err), &err);
    CHECK_OK(count_walk(db, &other, &m, &err), &err);
    CHECK_EQ(n, 150);
    CHECK_EQ(m, 169);
    CHECK(live_learn(db, &look, n));
    CHECK(!live_learn(db, &other, m)); /* it is known by now */
    live_end(db, &look);
    live_end(db, &other);
    CHECK(is(db, 0, 189));
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &look, &err), &err);
    CHECK(look.known && !look.walks);
    live_end(db, &look);
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_walk_that_a_range_delete_overtakes_is_not_learnt_from)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct live_look look;
    struct quern *db;
    uint64_t n;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(live_look(db, 0, LIVE_WHOLLY, &look, &err), &err);
    CHECK_OK(count_walk(db, &look, &n, &err), &err);
    CHECK_OK(drop_range(db, 0, world_key(10), world_key(20)), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK(!live_learn(db, &look, n));
    live_end(db, &look);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    CHECK(is(db, 0, 90));
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- copies ---- */

TEST(a_checkpoint_takes_the_number_along)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern *db, *copy;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(asked(db, 0), 100); /* after the flush: no edit has said it yet */
    CHECK_OK(quern_checkpoint(db, "/copy", &err), &err);
    CHECK_OK(world_fill(db, 90, 120, 2, &err), &err);
    CHECK_OK(engine_open(sim_os(sim), "/copy", &options, &copy, &err), &err);
    CHECK_EQ(kept(copy, 0), 100);
    CHECK(is(copy, 0, 100));
    CHECK(is(db, 0, 120));
    CHECK_OK(quern_close(copy, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_repaired_store_knows_no_number_and_finds_it_anew)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_repair_report report;
    struct quern *db = asked_store(sim);

    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_repair(sim_os(sim), WORLD_PATH, "/mended", NULL, &report, &err), &err);
    CHECK_OK(engine_open(sim_os(sim), "/mended", &options, &db, &err), &err);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    CHECK(is(db, 0, 100));
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_store_that_is_opened_read_only_counts_what_its_log_holds)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    struct quern_options options = world_options();
    struct quern *db = asked_store(sim);

    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 90, 110, 1, &err), &err);
    CHECK_OK(quern_sync(db, &err), &err);
    left = sim_crash(sim, 7, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    options.read_only = true;
    CHECK_OK(world_open(left, &options, &db, &err), &err);
    CHECK(is(db, 0, 110));
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- what is wrong ---- */

TEST(verify_reports_a_wrong_number_and_makes_it_new)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_verify_report report;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(put_until(db, 0, 1000, 2000), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    mutex_lock(&db->live.mu);
    db->live.flushed[0].keys += 3;
    mutex_unlock(&db->live.mu);
    sim_set_wall_ms(sim, 3000); /* what has expired since is part of what is kept */
    CHECK_CODE(quern_verify(db, NULL, &report, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text,
                 "MANIFEST: at 0: the number of keys kept of database 0 is 104; there are 101"));
    CHECK_EQ(report.damages, 1);
    CHECK_OK(quern_verify(db, NULL, &report, &err), &err);
    CHECK_EQ(asked(db, 0), 100);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_EQ(asked(db, 0), 100);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_check_of_a_closed_store_reports_a_wrong_number)
{
    static const char *texts[] = {
        "MANIFEST: at 0: the number of keys kept of database 9 is 4; there are 1",
        "MANIFEST: at 0: the number of keys kept of database 0 is 123; there are 120",
    };
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_verify_report report;
    struct quern *db;

    sim_set_wall_ms(sim, 1000);
    db = asked_store(sim);
    CHECK(is(db, 3, 0));
    CHECK(is(db, 4, 0));
    CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
    CHECK_OK(put_until(db, 0, 1000, 2000), &err);
    CHECK_OK(put_until(db, 3, 1, 0), &err);
    CHECK_OK(put_until(db, 4, 1, 0), &err);
    CHECK_OK(quern_swap_databases(db, 3, 9, NULL, &err),
             &err); /* by its number as the user knows it */
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 50, 120, 2, &err), &err); /* more than one run, and some of all kinds */
    CHECK_OK(drop_all(db, 4), &err);
    CHECK_OK(quern_delete(db, world_key(60), NULL, &err), &err);
    sim_set_wall_ms(sim, 3000);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_check_files(sim_os(sim), WORLD_PATH, NULL, &report, &err), &err);
    for (unsigned wrong = 0; wrong < 2; wrong++) {
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        mutex_lock(&db->live.mu);
        db->live.flushed[wrong == 0 ? 3 : 0].keys += 3;
        mutex_unlock(&db->live.mu);
        CHECK_OK(quern_close(db, &err), &err);
        CHECK_CODE(engine_check_files(sim_os(sim), WORLD_PATH, NULL, &report, &err), QUERN_CORRUPT);
        CHECK_EQ(report.damages, wrong + 1);
        CHECK(strstr(err.text, texts[wrong]));
    }
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(quern_verify(db, NULL, &report, &err), QUERN_CORRUPT); /* and is mended */
    CHECK_EQ(report.damages, 2);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_check_files(sim_os(sim), WORLD_PATH, NULL, &report, &err), &err);
}

/* The name of the only table, cold: the store is opened anew. */
static bool one_cold_table(struct sim *sim, struct quern **db, char name[OS_NAME_BYTES_MAX])
{
    static struct world_files files;
    size_t at;

    if (quern_close(*db, &err) != QUERN_OK || world_open(sim, NULL, db, &err) != QUERN_OK)
        return false;
    world_list(sim, &files);
    at = world_find(&files, ".sst", 0);
    if (at == files.count || world_find(&files, ".sst", at + 1) != files.count)
        return false;
    (void)snprintf(name, OS_NAME_BYTES_MAX, "%s", files.file[at].name);
    return true;
}

TEST(a_flush_that_cannot_read_what_it_counts_goes_on_without_the_number)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db = asked_store(sim);
    char name[OS_NAME_BYTES_MAX];
    struct sim_fault fault = {
        .ops = SIM_READ, .name = name, .sys_errno = EIO, .always = true, .skip = 3};

    CHECK_OK(world_fill(db, 0, 60, 1, &err), &err);
    CHECK(one_cold_table(sim, &db, name));
    CHECK_EQ(kept(db, 0), 60);
    CHECK_OK(put_until(db, 1, 1, 0), &err);
    CHECK_OK(world_fill(db, 40, 80, 2, &err), &err);
    sim_fail(sim, &fault);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK(sim_fault_hits(sim) > 0);
    sim_fail_never(sim);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    CHECK(is(db, 0, 80));
    CHECK(is(db, 1, 1));
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(who_asks_and_cannot_read_is_told_and_the_next_one_goes_on_from_there)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db = asked_store(sim);
    char name[OS_NAME_BYTES_MAX];
    struct sim_fault fault = {
        .ops = SIM_READ, .name = name, .sys_errno = EIO, .always = true, .skip = 3};
    uint64_t n;

    CHECK_OK(world_fill(db, 0, 60, 1, &err), &err);
    CHECK(one_cold_table(sim, &db, name));
    CHECK_OK(world_fill(db, 40, 80, 2, &err), &err);
    CHECK_EQ(kept(db, 0), NOT_KEPT); /* it would have to read */
    sim_fail(sim, &fault);
    CHECK_CODE(quern_count(db, NULL, NULL, &n, &err), QUERN_IO);
    sim_fail_never(sim);
    CHECK(is(db, 0, 80));
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_flush_gives_up_a_number_that_would_cost_more_reads_than_it_is_worth)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern *db;

    options.memdb_bytes = 2 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 0);
    CHECK_OK(world_fill(db, 0, 8000, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 8000);
    for (unsigned n = 0; n < 8000; n++) /* each in another block than the one before */
        CHECK_OK(world_put(db, n * 37 % 8000, 2, false, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(kept(db, 0), NOT_KEPT);
    CHECK(is(db, 0, 8000));
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_count_that_must_not_wait_does_no_more_than_a_little_at_a_time)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern *db;
    unsigned busy = 0;
    uint64_t n;

    options.memdb_bytes = 4 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_EQ(kept(db, 0), 0);
    CHECK_OK(world_fill(db, 0, 10000, 1, &err), &err);
    while ((n = kept(db, 0)) == NOT_KEPT && busy < 100)
        busy++;
    CHECK_EQ(n, 10000);
    CHECK_EQ(busy, 2); /* what was done the times before is not done again */
    CHECK_OK(quern_close(db, &err), &err);
}
