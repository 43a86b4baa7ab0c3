/* test_engine_log.c - how long the log is kept: until the tables that hold its writes are named.
 *
 * The flush is held where it matters by a disk that refuses one kind of file, and the process ends
 * there. */
#include "engine_world.h"

#include <errno.h>
#include <time.h>

static struct quern_error err;

/* A MemDB takes several log segments. */
static struct quern_options options_here(void)
{
    struct quern_options options = world_options();

    options.memory_bytes = 8 << 20;
    options.memdb_bytes = 256 * 1024;
    return options;
}

/* Write keys from n on until the MemDBs that wait for the worker are as many as may be; returns the
 * first that was refused. */
static unsigned fill_all(struct quern *db, unsigned n)
{
    while (world_put(db, n, 1, false, &err) == QUERN_OK)
        n++;
    return n;
}

static void check_left_by_a_kill(struct sim *sim, unsigned acked)
{
    struct quern_options options = options_here();
    struct sim *left OWNED(sim_free) = sim_crash(sim, 7, SIM_KEEP_ALL);
    struct quern *db;

    CHECK_OK(world_open(left, &options, &db, &err), &err);
    CHECK_OK(world_check(db, 0, acked, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* True once the store has flushed, or has tried to in vain. */
static bool wait_for_flush(struct sim *sim, struct quern *db)
{
    struct timespec nap = {0, 10000000};
    struct quern_stats stats;

    for (unsigned i = 0; i < 2000; i++) {
        quern_stats(db, &stats);
        if (stats.flushes != 0 || (sim != NULL && sim_fault_hits(sim) != 0))
            return true;
        (void)nanosleep(&nap, NULL);
    }
    return false;
}

/* The writer waits for the beginning of each: with large values that is a good part of its time. */
TEST(a_memdb_takes_two_log_segments_or_three)
{
    struct sim_fault no_tables = {
        .ops = SIM_WRITE, .name = "*.sst*", .always = true, .sys_errno = ENOSPC};
    struct quern_options options = options_here();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_stats stats = {0};
    static uint8_t value[64 * 1024];
    struct quern *db;

    options.memory_bytes = 32 << 20;
    options.memdb_bytes = 4 << 20;
    options.log_segment_bytes = 0; /* what it is by itself */
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    sim_fail(sim, &no_tables);
    for (unsigned n = 0; stats.memdb_sealed == 0; n++, quern_stats(db, &stats))
        CHECK_OK(
            quern_put(db, world_key(n), (struct quern_slice){value, sizeof(value)}, NULL, &err),
            &err);
    CHECK(wal_segment_no(engine_wal(db)) >= 2 && wal_segment_no(engine_wal(db)) <= 3);
    CHECK_CODE(quern_close(db, &err), QUERN_NO_SPACE);
}

TEST(the_log_of_a_memdb_is_kept_while_its_table_cannot_be_written)
{
    struct sim_fault no_tables = {
        .ops = SIM_WRITE, .name = "*.sst*", .always = true, .sys_errno = ENOSPC};
    struct quern_options options = options_here();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_stats stats = {0};
    struct quern *db;
    unsigned acked = 0;

    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    sim_fail(sim, &no_tables);
    for (; stats.memdb_sealed == 0; quern_stats(db, &stats))
        CHECK_OK(world_put(db, acked++, 1, false, &err), &err);
    CHECK(wait_for_flush(sim, db));
    acked = fill_all(db, acked); /* new segments begin, after the flush has failed */
    CHECK_EQ(err.code, QUERN_NO_SPACE);
    check_left_by_a_kill(sim, acked);
    CHECK_CODE(quern_close(db, &err), QUERN_NO_SPACE);
    check_left_by_a_kill(sim, acked);
}

TEST(the_log_of_a_memdb_outlives_the_flush_of_the_one_before_it)
{
    struct sim_fault no_tables = {
        .ops = SIM_WRITE, .name = "*.sst*", .always = true, .sys_errno = ENOSPC};
    /* One edit and the mark behind it pass. */
    struct sim_fault one_edit = {
        .ops = SIM_WRITE, .name = "MANIFEST-*", .skip = 2, .always = true, .sys_errno = ENOSPC};
    struct quern_options options = options_here();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;
    unsigned acked;

    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    sim_fail(sim, &no_tables);
    acked = fill_all(db, 0);
    CHECK_EQ(err.code, QUERN_NO_SPACE);
    sim_fail_never(sim);
    sim_fail(sim, &one_edit);
    CHECK(wait_for_flush(NULL, db));
    check_left_by_a_kill(sim, acked);
    CHECK_CODE(quern_close(db, &err), QUERN_NO_SPACE);
}

/* Each synced write takes a page of the log: a MemDB that is far from full goes with its log. */
TEST(the_log_of_small_synced_writes_does_not_outgrow_its_memdb)
{
    struct quern_options options = options_here();
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_stats stats;
    struct quern *db;

    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned n = 0; n < 600; n++) /* 60 KB in 2.4 MB of log */
        CHECK_OK(world_put(db, n, 1, true, &err), &err);
    CHECK(wait_for_flush(NULL, db));
    quern_stats(db, &stats);
    CHECK(stats.memdb_bytes < options.memdb_bytes / 2);
    CHECK_OK(world_check(db, 0, 600, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* What a leader takes for a sync, and waits a part of, is the sync alone: a writer that was slowed
 * before makes it no longer. */
TEST(a_writer_that_was_slowed_is_not_taken_for_a_slow_sync)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_stats stats;
    uint64_t began_ns, ns;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    atomic_store(&db->flush_rate, 1);
    atomic_store(&db->over_bytes, UINT64_C(1) << 30);
    began_ns = os_now_ns(db->os);
    CHECK_OK(world_put(db, 1, 1, true, &err), &err);
    ns = os_now_ns(db->os) - began_ns;
    quern_stats(db, &stats);
    CHECK(stats.slowed_ns != 0);
    mutex_lock(&db->queue_mu);
    CHECK(db->gather.sync_ns != 0 && db->gather.sync_ns <= ns - stats.slowed_ns);
    mutex_unlock(&db->queue_mu);
    CHECK_OK(quern_close(db, &err), &err);
}
