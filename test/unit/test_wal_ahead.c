/* test_wal_ahead.c - promises of src/wal/wal_ahead.c: what is prepared beside the writer saves it
 * work and never costs it a record, a failure, or space that was not there. */
#include "wal/wal.h"

#include "base/error.h"
#include "sim.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define STORE_ID UINT64_C(0x5107e1d)
#define SEGMENT (UINT64_C(8) << 20)
#define VALUE_BYTES 8000
#define NEXT_NAME "000000.wal.tmp"

static struct quern_error err;

/* A log, what its manifest would know, and what was asked of it. */
struct log {
    struct os_dir *dir;
    struct wal *w;
    uint64_t first_segment, last_segment;
    quern_seq last, read;
    quern_seq synced, flushed;
    atomic_uint calls; /* of on_low */
    atomic_bool stop;
};

static enum quern_code begin(void *arg, uint64_t segment_no, struct quern_error *e)
{
    struct log *log = arg;

    (void)e;
    if (log->first_segment == 0)
        log->first_segment = segment_no;
    log->last_segment = segment_no;
    return QUERN_OK;
}

static void low(void *arg)
{
    struct log *log = arg;

    atomic_fetch_add(&log->calls, 1);
}

static enum quern_code start_with(struct log *log, struct os_dir *dir, uint64_t segment_bytes)
{
    struct wal_config config = {.store_id = STORE_ID,
                                .segment_bytes = segment_bytes,
                                .first_segment = 1,
                                .on_begin = begin,
                                .on_begin_arg = log,
                                .on_low = low,
                                .on_low_arg = log};

    *log = (struct log){.dir = dir};
    return wal_open(dir, &config, &log->w, &err);
}

static bool start(struct log *log, struct os_dir *dir)
{
    return EXPECT(start_with(log, dir, SEGMENT) == QUERN_OK);
}

static struct os_dir *sim_dir(struct sim *disk)
{
    struct os_dir *dir = NULL;

    EXPECT(os_dir_open(sim_os(disk), "log", true, &dir, &err) == QUERN_OK);
    return dir;
}

/* One put whose value tells its number. */
static enum quern_code append(struct log *log, bool sync)
{
    static uint8_t value[VALUE_BYTES];
    uint8_t ops[OP_HEAD_BYTES_MAX + 8], *at;
    struct batch_ref batch;
    enum quern_code code;

    memset(value, (int)(log->last + 1) % 251, sizeof(value));
    at = op_put_head(ops, ENTRY_PUT, 8, sizeof(value), 0);
    put_u64le(at, log->last + 1);
    batch = (struct batch_ref){slice_of(ops, (size_t)(at - ops) + 8),
                               slice_of(value, sizeof(value)), 1};
    code = wal_append(log->w, &batch, 1, log->last + 1, sync, &err);
    log->last += code == QUERN_OK;
    return code;
}

static enum quern_code see(void *arg, const struct batch_ref *batch, quern_seq seq,
                           uint64_t segment_no, struct quern_error *e)
{
    struct op_cursor c = op_cursor_of(batch);
    struct log *log = arg;
    struct entry put;

    (void)segment_no;
    if (seq != ++log->read || !op_next(&c, &put) || put.value.len != VALUE_BYTES)
        return err_set(e, QUERN_CORRUPT, "batch %llu is not what was written",
                       (unsigned long long)seq);
    for (size_t i = 0; i < VALUE_BYTES; i++)
        if (((const uint8_t *)put.value.data)[i] != seq % 251)
            return err_set(e, QUERN_CORRUPT, "batch %llu has other bytes", (unsigned long long)seq);
    return QUERN_OK;
}

static bool reads_back(struct log *log)
{
    struct wal_replay out;

    log->read = 0;
    return EXPECT(wal_replay(log->dir, STORE_ID, log->first_segment, log->last_segment, 0,
                             WAL_STRICT, see, log, &out, &err) == QUERN_OK) &&
           EXPECT(log->read == log->last);
}

static uint64_t on_disk(struct log *log)
{
    struct wal_stats stats;

    wal_stats(log->w, &stats);
    return stats.bytes_on_disk;
}

static void add_bytes(void *arg, const char *path, uint64_t bytes)
{
    uint64_t *sum = arg;

    (void)path;
    *sum += bytes;
}

/* The same as the disk tells it. */
static uint64_t file_bytes(struct sim *disk)
{
    uint64_t sum = 0;

    sim_each_file(disk, add_bytes, &sum);
    return sum;
}

static uint64_t spares(struct log *log)
{
    struct wal_stats stats;

    wal_stats(log->w, &stats);
    return stats.segments_spare;
}

/* Append `bytes` more; the preparing thread gets its turn whenever it is called, if `prepared`. */
static bool write_on(struct log *log, uint64_t bytes, unsigned sync_every, bool prepared)
{
    unsigned n = 0;

    for (uint64_t done = 0; done < bytes; done += VALUE_BYTES) {
        unsigned calls = atomic_load(&log->calls);

        if (!EXPECT(append(log, sync_every != 0 && n++ % sync_every == 0) == QUERN_OK))
            return false;
        if (prepared && atomic_load(&log->calls) != calls)
            wal_prepare_ahead(log->w);
    }
    return true;
}

TEST(wal_writer_neither_makes_nor_fills_a_file_when_another_thread_came_first)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    uint64_t creates, writes, groups = 0;
    struct log log;

    CHECK(start(&log, dir));
    CHECK(write_on(&log, SEGMENT * 7 / 8, 0, true));
    CHECK_EQ(wal_segment_no(log.w), 1);
    CHECK_EQ(spares(&log), 1);
    creates = sim_op_count_of(disk, SIM_CREATE);
    writes = sim_op_count_of(disk, SIM_WRITE);
    while (wal_segment_no(log.w) == 1) {
        CHECK_OK(append(&log, false), &err);
        groups++;
    }
    /* and none to the end of what was filled, though nothing is prepared any more */
    for (; groups < SEGMENT / VALUE_BYTES * 7 / 16; groups++)
        CHECK_OK(append(&log, false), &err);
    CHECK_EQ(wal_segment_no(log.w), 2);
    CHECK_EQ(sim_op_count_of(disk, SIM_CREATE), creates);
    CHECK_EQ(sim_op_count_of(disk, SIM_WRITE) - writes, 1); /* the first pages */
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}

/* A file that has grown makes the next direct write wait for the journal. So the first segment is left
 * as soon as another one is whole, and none grows any more. */
TEST(wal_writer_that_syncs_goes_on_in_files_that_do_not_grow)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    uint64_t bytes;
    struct log log;

    CHECK(start(&log, dir));
    CHECK_OK(append(&log, true), &err);
    for (unsigned i = 1; wal_segment_no(log.w) < 4; i++) {
        uint64_t writes = sim_op_count_of(disk, SIM_WRITE), no = wal_segment_no(log.w);
        unsigned calls = atomic_load(&log.calls);

        CHECK_OK(append(&log, true), &err);
        CHECK_EQ(sim_op_count_of(disk, SIM_WRITE) - writes,
                 wal_segment_no(log.w) != no ? 2 : 1); /* itself, and first pages */
        if (atomic_load(&log.calls) != calls)
            wal_prepare_ahead(log.w);
        CHECK(wal_segment_no(log.w) > 1 || i * VALUE_BYTES < 1 << 20);
    }
    CHECK_OK(os_dir_stat(dir, "000001.wal", &bytes, &err), &err);
    CHECK(bytes <= (1 << 20) + 8192); /* as it was begun */
    CHECK_OK(os_dir_stat(dir, "000002.wal", &bytes, &err), &err);
    CHECK_EQ(bytes, SEGMENT);
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}

/* The files of a log that was killed are spares whose blocks nobody has looked at. They do not keep
 * out those that are whole: else each segment would be filled with zeros before it is written. */
TEST(wal_prefers_spares_that_are_whole)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    struct wal_config config = {.store_id = STORE_ID,
                                .segment_bytes = SEGMENT,
                                .spare_first = 1,
                                .on_begin = begin,
                                .on_low = low};
    struct log log;
    uint64_t creates;

    CHECK(start(&log, dir));
    CHECK(write_on(&log, 4 * SEGMENT, 0, true));
    wal_drop(log.w);
    config.spare_last = log.last_segment;
    config.first_segment = log.last_segment + 1;
    config.last_seq = log.last;
    config.on_begin_arg = config.on_low_arg = &log;
    CHECK_OK(wal_open(dir, &config, &log.w, &err), &err);
    CHECK_EQ(on_disk(&log), file_bytes(disk));
    CHECK(write_on(&log, 4 * SEGMENT, 1, true));
    CHECK_EQ(on_disk(&log), file_bytes(disk)); /* whoever reads the statistics may trust them */
    wal_release(log.w, wal_segment_no(log.w));
    CHECK_EQ(spares(&log), 3);
    creates = sim_op_count_of(disk, SIM_CREATE);
    CHECK(write_on(&log, 2 * SEGMENT, 1, true));
    CHECK_EQ(sim_op_count_of(disk, SIM_CREATE), creates);
    CHECK_OK(wal_close(log.w, &err), &err);
}

/* A log that goes on in the next segment before the current one is full, and in files of all kinds:
 * as begun, prepared ahead, released whole and released short. */
static void live(struct log *log, struct os_dir *dir, uint64_t *random)
{
    if (start_with(log, dir, UINT64_C(2) << 20))
        return;
    for (unsigned step = 0; step < 1300; step++) {
        unsigned calls = atomic_load(&log->calls), dice = (unsigned)(tap_random(random) % 200);
        bool sync = step / 120 % 2 == 0 || dice < 10; /* in turns */

        if (append(log, sync))
            break;
        log->synced = wal_durable_seq(log->w);
        if (atomic_load(&log->calls) != calls && dice % 4 != 0)
            wal_prepare_ahead(log->w);
        if (dice == 199)
            wal_trim(log->w);
        if (log->last_segment < log->first_segment + 3)
            continue;
        if (wal_sync(log->w, &err)) /* as if a flush had put the rest into tables */
            break;
        log->synced = log->last;
        log->first_segment = log->last_segment;
        log->flushed = log->last;
        wal_release(log->w, log->first_segment);
    }
    wal_drop(log->w);
}

TEST(wal_crash_keeps_what_was_durable_in_segments_that_end_early)
{
    static const enum sim_crash_mode modes[] = {SIM_DROP_ALL, SIM_KEEP_ALL, SIM_RANDOM};
    uint64_t seed = tap_seed();

    for (uint64_t k = 2;; k += 1 + k % 97) {
        struct sim *disk OWNED(sim_free) = sim_new(seed + k);
        struct os_dir *dir = sim_dir(disk);
        uint64_t random = seed;
        struct log log;

        sim_crash_at_of(disk, SIM_CHANGES, k);
        live(&log, dir, &random);
        os_dir_close(dir);
        for (size_t m = 0; m < ARRAY_LEN(modes) && log.last_segment != 0; m++) {
            struct sim *after OWNED(sim_free) = sim_crash(disk, seed + k, modes[m]);
            struct os_dir *left OWNED(os_dir_close) = sim_dir(after);
            struct wal_replay out;

            log.read = log.flushed;
            CHECK_OK(wal_replay(left, STORE_ID, log.first_segment, log.last_segment, log.flushed,
                                WAL_TAIL, see, &log, &out, &err),
                     &err);
            CHECK(log.read >= log.synced);
        }
        if (!sim_is_off(disk)) {
            CHECK(log.flushed != 0);
            break;
        }
    }
}

/* From the first byte of a log on, and in every segment: who prepares is called early enough. No
 * more is filled than that takes: zeros may reach the disk before the records do. */
TEST(wal_writer_that_is_followed_never_fills_its_segment)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    uint64_t mib = 1 << 20, used = 0;
    struct log log;

    CHECK(start(&log, dir));
    CHECK_OK(append(&log, false), &err);
    for (unsigned i = 1; i < SEGMENT / VALUE_BYTES * 23 / 8; i++) {
        uint64_t writes = sim_op_count_of(disk, SIM_WRITE), no = wal_segment_no(log.w);
        unsigned calls = atomic_load(&log.calls);

        CHECK_OK(append(&log, false), &err); /* into the mapping */
        used += VALUE_BYTES;
        /* or the first pages of a segment */
        CHECK_EQ(sim_op_count_of(disk, SIM_WRITE) - writes, wal_segment_no(log.w) != no);
        if (atomic_load(&log.calls) != calls)
            wal_prepare_ahead(log.w);
        CHECK(on_disk(&log) <= used + used / 100 + (4 + 4 + 1) * mib);
    }
    CHECK_EQ(wal_segment_no(log.w), 3);
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}

/* What is prepared ends with a page, wherever the writer stood: the page that a sync fills up is
 * there as a whole, when the other thread then comes late too. */
TEST(wal_writer_that_was_followed_and_is_alone_now_has_whole_pages)
{
    for (unsigned places = 0; places < 4; places++) {
        struct sim *disk OWNED(sim_free) = sim_new(places);
        struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
        uint64_t bytes;
        struct log log;

        CHECK(start(&log, dir));
        CHECK(write_on(&log, SEGMENT / 8, 0, true));
        CHECK_OK(os_dir_stat(dir, "000001.wal", &bytes, &err), &err);
        CHECK_EQ(bytes % 4096, 0);
        CHECK(write_on(&log, (uint64_t)places * VALUE_BYTES, 0, false));
        while (wal_segment_no(log.w) == 1)
            CHECK_OK(append(&log, log.last * (2 * places + 1) % 11 < 4), &err);
        CHECK_OK(wal_close(log.w, &err), &err);
        CHECK(reads_back(&log));
    }
}

TEST(wal_that_is_hardly_written_takes_hardly_any_space_ahead)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    uint64_t mib = 1 << 20, used = 0, bytes;
    struct log log;

    CHECK(start(&log, dir));
    CHECK(on_disk(&log) <= mib + 8192);
    while (used < SEGMENT / 4 - 2 * VALUE_BYTES) {
        CHECK(write_on(&log, VALUE_BYTES, 0, true));
        used += VALUE_BYTES;
        /* what was used, a MiB or as much again ahead of it, and the rest of a step */
        CHECK(on_disk(&log) <= used + (used > mib ? used : mib) + mib + 8192);
    }
    CHECK(os_dir_stat(dir, NEXT_NAME, &bytes, &err) == QUERN_NO_STORE);
    /* Half used: half of the next. A pause: nothing of it, and half as much again for the next. */
    CHECK(write_on(&log, SEGMENT / 4 + SEGMENT / 8, 0, true));
    CHECK_OK(os_dir_stat(dir, NEXT_NAME, &bytes, &err), &err);
    CHECK(bytes != 0 && bytes < SEGMENT);
    wal_trim(log.w);
    wal_prepare_ahead(log.w);
    CHECK(os_dir_stat(dir, NEXT_NAME, &bytes, &err) == QUERN_NO_STORE);
    CHECK(write_on(&log, SEGMENT / 5, 0, true));
    CHECK(os_dir_stat(dir, NEXT_NAME, &bytes, &err) == QUERN_NO_STORE);
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}

/* A little is synced now and then: a segment that is whole has room for many such times, so that no
 * other one is filled for each of them. */
TEST(wal_that_syncs_a_little_now_and_then_fills_no_file_each_time)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    uint64_t creates;
    struct log log;

    CHECK(start(&log, dir));
    while (wal_segment_no(log.w) == 1) /* into the first whole one */
        CHECK(write_on(&log, VALUE_BYTES, 1, true));
    CHECK(write_on(&log, 1 << 20, 1, true));
    creates = sim_op_count_of(disk, SIM_CREATE);
    for (unsigned times = 0; times < 4; times++) {
        wal_trim(log.w);
        wal_prepare_ahead(log.w);
        CHECK(write_on(&log, 1 << 20, 1, true));
    }
    CHECK_EQ(wal_segment_no(log.w), 2);
    CHECK_EQ(sim_op_count_of(disk, SIM_CREATE), creates);
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}

TEST(wal_leaves_nothing_prepared_behind)
{
    for (unsigned eighths = 4; eighths <= 7; eighths += 3) {
        struct sim *disk OWNED(sim_free) = sim_new(1);
        struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
        uint64_t bytes;
        struct log log;

        CHECK(start(&log, dir));
        CHECK(write_on(&log, SEGMENT * eighths / 8, 0, true));
        CHECK_OK(os_dir_stat(dir, NEXT_NAME, &bytes, &err), &err);
        CHECK_OK(wal_close(log.w, &err), &err);
        CHECK(os_dir_stat(dir, NEXT_NAME, &bytes, &err) == QUERN_NO_STORE);
        CHECK(reads_back(&log));
    }
}

TEST(wal_prepares_nothing_on_a_nearly_full_disk)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    uint64_t bytes, before;
    struct log log;

    CHECK(start(&log, dir));
    sim_free_space(disk, 3 * SEGMENT);
    while (wal_segment_no(log.w) == 1) {
        before = on_disk(&log);
        wal_prepare_ahead(log.w);
        CHECK_EQ(on_disk(&log), before);
        CHECK_OK(append(&log, false), &err);
    }
    CHECK(os_dir_stat(dir, NEXT_NAME, &bytes, &err) == QUERN_NO_STORE);
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}

TEST(wal_goes_on_when_preparing_fails)
{
    static const struct sim_fault faults[] = {
        {.ops = SIM_CREATE, .name = NEXT_NAME, .always = true, .sys_errno = ENOSPC},
        {.ops = SIM_WRITE, .name = NEXT_NAME, .skip = 1, .always = true, .sys_errno = EIO},
        {.ops = SIM_SYNC, .name = NEXT_NAME, .always = true, .sys_errno = EIO, .drop_dirty = true},
        {.ops = SIM_CLOSE, .name = NEXT_NAME, .always = true, .sys_errno = EIO},
        {.ops = SIM_WRITE, .name = "000001.wal", .part_bytes = 5000, .sys_errno = ENOSPC},
        {.ops = SIM_FREE_BYTES, .always = true, .sys_errno = EIO},
    };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct sim *disk OWNED(sim_free) = sim_new(i);
        struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
        uint64_t bytes;
        struct log log;

        CHECK(start(&log, dir));
        sim_set_direct(disk, false); /* so that the first write to a segment is one of zeros */
        sim_fail(disk, &faults[i]);
        CHECK(write_on(&log, SEGMENT / 2 + SEGMENT / 3, 40, true));
        CHECK(sim_fault_hits(disk) != 0);
        CHECK(os_dir_stat(dir, NEXT_NAME, &bytes, &err) == QUERN_NO_STORE);
        CHECK(write_on(&log, SEGMENT, 40, true));
        CHECK_EQ(wal_segment_no(log.w), 2);
        CHECK_OK(wal_close(log.w, &err), &err);
        sim_fail_never(disk);
        CHECK(reads_back(&log));
    }
}

/* ---- beside the writer ---- */

static void *prepare(void *arg)
{
    struct log *log = arg;

    for (unsigned n = 0; !atomic_load(&log->stop); n++) {
        wal_prepare_ahead(log->w);
        if (n % 512 == 511)
            wal_trim(log->w);
    }
    return NULL;
}

/* The zeros of one thread never meet the records of the other. */
TEST(wal_keeps_every_record_while_another_thread_prepares)
{
    struct os_dir *dir OWNED(os_dir_close) = NULL;
    pthread_t thread;
    struct log log;

    CHECK_OK(os_dir_open(os_local(), tap_dir(), false, &dir, &err), &err);
    CHECK(start(&log, dir));
    CHECK(pthread_create(&thread, NULL, prepare, &log) == 0);
    for (unsigned i = 0; i < 6000; i++) {
        if (append(&log, i % 32 < 4) != QUERN_OK)
            tap_fail(__FILE__, __LINE__, "%s", err.text);
    }
    atomic_store(&log.stop, true);
    pthread_join(thread, NULL);
    CHECK_OK(wal_close(log.w, &err), &err);
    CHECK(reads_back(&log));
}
