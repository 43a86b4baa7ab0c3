/* test_wal.c - promises of src/wal/. What a batch holds follows from its number and a size, so
 * the model of a log is one array of sizes. */
#include "wal/wal.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "record/record.h"
#include "sim.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE_ID UINT64_C(0x5107e1d)
#define SMALL (UINT64_C(64) << 10)
#define BATCHES_MAX 20000
#define PAGE RECORD_PAGE_BYTES

/* ---- the model ---- */

struct model {
    uint32_t value_bytes[BATCHES_MAX];
    quern_seq last;                       /* appended */
    quern_seq synced;                     /* acknowledged as durable */
    uint64_t first_segment, last_segment; /* what a manifest would know */
    /* Of a replay. */
    quern_seq read_first, read_last;
    uint64_t wrong;
};

static struct model model; /* of the running test */

static unsigned begin_failures; /* so many next beginnings are refused */

static enum quern_code begin(void *arg, uint64_t segment_no, struct quern_error *err)
{
    (void)arg;
    if (begin_failures > 0 && begin_failures-- > 0)
        return err_set(err, QUERN_IO, "the manifest takes no edit now");
    if (model.first_segment == 0)
        model.first_segment = segment_no;
    model.last_segment = segment_no;
    return QUERN_OK;
}

static void fill(uint8_t *to, size_t len, quern_seq seq)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(seq * 31 + i * 7);
}

/* Batch `seq`: one put of an 8-byte key, and one delete;
 * the value of an odd one lies in the tail. */
static bool make_batch(quern_seq seq, size_t value_bytes, struct buf *ops, struct buf *value,
                       struct batch_ref *out)
{
    struct quern_error err;
    uint8_t key[8], head[OP_HEAD_BYTES_MAX];
    size_t head_bytes;

    put_u64le(key, seq);
    if (buf_reserve(value, value_bytes + 1, &err) ||
        op_append(ops, ENTRY_DELETE, slice_of("gone", 4), slice_of(NULL, 0), 0, &err))
        return false;
    fill(value->data, value_bytes, seq);
    head_bytes = (size_t)(op_put_head(head, ENTRY_PUT, sizeof(key), value_bytes, 0) - head);
    if (buf_append(ops, head, head_bytes, &err) || buf_append(ops, key, sizeof(key), &err))
        return false;
    out->tail = slice_of(value->data, value_bytes);
    if (seq % 2 == 0) {
        if (buf_append(ops, value->data, value_bytes, &err))
            return false;
        out->tail = slice_of(NULL, 0);
    }
    out->ops = buf_slice(ops);
    out->op_count = 2;
    model.value_bytes[seq % BATCHES_MAX] = (uint32_t)value_bytes;
    return true;
}

#define GROUP_MAX 4

static enum quern_code append(struct wal *w, size_t n, size_t value_bytes, bool sync,
                              struct quern_error *err)
{
    struct buf ops[GROUP_MAX] = {{0}}, values[GROUP_MAX] = {{0}};
    struct batch_ref refs[GROUP_MAX] = {{{0}, {0}, 0}};
    enum quern_code code;

    for (size_t i = 0; i < n; i++)
        EXPECT(make_batch(model.last + 1 + i, value_bytes, &ops[i], &values[i], &refs[i]));
    code = wal_append(w, refs, n, model.last + 1, sync, err);
    if (code == QUERN_OK) {
        model.last += n;
        if (sync)
            model.synced = model.last;
    }
    for (size_t i = 0; i < n; i++) {
        buf_done(&ops[i]);
        buf_done(&values[i]);
    }
    return code;
}

static enum quern_code see(void *arg, const struct batch_ref *batch, quern_seq seq,
                           uint64_t segment_no, struct quern_error *err)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry gone, put;
    bool right;

    (void)arg;
    (void)segment_no;
    (void)err;
    right = op_next(&c, &gone) && op_next(&c, &put) && gone.kind == ENTRY_DELETE &&
            put.kind == ENTRY_PUT && put.key.len == 8 && get_u64le(put.key.data) == seq &&
            put.value.len == model.value_bytes[seq % BATCHES_MAX];
    for (size_t i = 0; right && i < put.value.len; i++)
        right = ((const uint8_t *)put.value.data)[i] == (uint8_t)(seq * 31 + i * 7);
    if (model.read_last != 0 && seq != model.read_last + 1)
        right = false;
    if (model.read_first == 0)
        model.read_first = seq;
    model.read_last = seq;
    model.wrong += !right;
    return QUERN_OK;
}

static enum quern_code replay(struct os_dir *dir, enum wal_recover mode, struct wal_replay *out,
                              struct quern_error *err)
{
    model.read_first = model.read_last = 0;
    model.wrong = 0;
    return wal_replay(dir, STORE_ID, model.first_segment, model.last_segment, 0, mode, see, NULL,
                      out, err);
}

static enum quern_code start(struct os_dir *dir, uint64_t segment_bytes, struct wal **out,
                             struct quern_error *err)
{
    struct wal_config config = {.store_id = STORE_ID,
                                .segment_bytes = segment_bytes,
                                .first_segment = 1,
                                .on_begin = begin};

    memset(&model, 0, sizeof(model));
    return wal_open(dir, &config, out, err);
}

static struct os_dir *real_dir(void)
{
    struct quern_error err;
    struct os_dir *dir = NULL;

    EXPECT(os_dir_open(os_local(), tap_dir(), false, &dir, &err) == QUERN_OK);
    return dir;
}

static struct os_dir *sim_dir(struct sim *disk)
{
    struct quern_error err;
    struct os_dir *dir = NULL;

    EXPECT(os_dir_open(sim_os(disk), "log", true, &dir, &err) == QUERN_OK);
    return dir;
}

/* Change bytes of a segment behind the log's back. */
static void scribble(struct os_dir *dir, uint64_t no, uint64_t at, const void *bytes, size_t len)
{
    struct quern_error err;
    struct os_file *file OWNED(os_file_drop) = NULL;
    char name[WAL_NAME_BYTES];
    struct iovec piece = {(void *)(uintptr_t)bytes, len};

    wal_name(name, no);
    EXPECT(os_file_open(dir, name, OS_WRITE, &file, &err) == QUERN_OK &&
           os_file_write(file, &piece, 1, at, &err) == QUERN_OK);
}

static void peek(struct os_dir *dir, uint64_t no, uint64_t at, void *to, size_t len)
{
    struct quern_error err;
    struct os_file *file OWNED(os_file_drop) = NULL;
    char name[WAL_NAME_BYTES];

    wal_name(name, no);
    EXPECT(os_file_open(dir, name, OS_READ, &file, &err) == QUERN_OK &&
           os_file_read(file, to, len, at, &err) == QUERN_OK);
}

static void flip(struct os_dir *dir, uint64_t no, uint64_t at)
{
    uint8_t byte;

    peek(dir, no, at, &byte, 1);
    byte ^= 0x10;
    scribble(dir, no, at, &byte, 1);
}

/* Where record number `index` (of groups, from 0) of a segment starts, and its size. */
static uint64_t group_at(struct os_dir *dir, uint64_t no, size_t index, uint64_t *bytes)
{
    static uint8_t file[SMALL];
    struct record r;
    uint64_t salt, at = PAGE;

    peek(dir, no, 0, file, sizeof(file));
    salt = get_u64le(file + 56);
    while (record_read(file + at, sizeof(file) - at, salt, at, &r)) {
        *bytes = record_total(&r);
        if (record_is_group(&r) && index-- == 0)
            return at;
        at = record_start(at + *bytes);
    }
    tap_fail(__FILE__, __LINE__, "no group %zu in segment %" PRIu64, index, no);
    return 0;
}

/* What its head says of a group. */
static struct record record_at(struct os_dir *dir, uint64_t no, size_t index)
{
    static uint8_t bytes[SMALL];
    struct record r = {0};
    uint64_t len, at = group_at(dir, no, index, &len);

    peek(dir, no, 0, bytes, sizeof(bytes));
    EXPECT(record_read(bytes + at, len, get_u64le(bytes + 56), at, &r));
    return r;
}

/* ---- round trips ---- */

/* One batch, as nearly all groups of one writer have, costs 24 bytes beside its operations. What it
 * does not say of durable_seq was said before it in the same segment. */
TEST(wal_says_a_single_batch_briefly_and_a_new_durable_number_in_full)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct batch_ref batch = {slice_of("\1\1\1kv", 5), {0}, 1}, two[2] = {batch, batch};
    quern_seq far = 5 + ((quern_seq)RECORD_LAG_UNTOLD << 8);
    struct quern_error err = {0};
    struct wal_stats before, stats;
    struct record r;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    wal_stats(w, &before);
    CHECK_OK(wal_append(w, &batch, 1, 1, false, &err), &err);
    wal_stats(w, &stats);
    CHECK_EQ(stats.bytes_appended - before.bytes_appended, 24 + 8);
    CHECK_OK(wal_append(w, two, 2, 2, false, &err), &err);
    CHECK_OK(wal_append(w, &batch, 1, 4, false, &err), &err);
    CHECK_OK(wal_sync(w, &err), &err);
    CHECK_OK(wal_append(w, &batch, 1, far, false, &err), &err);     /* nobody said 4 yet */
    CHECK_OK(wal_append(w, &batch, 1, far + 1, false, &err), &err); /* now somebody has */
    CHECK_OK(wal_sync(w, &err), &err);
    CHECK_OK(wal_append(w, &batch, 1, far + 3, false, &err), &err);
    wal_drop(w);
    r = record_at(dir, 1, 0);
    CHECK(r.type == RECORD_BRIEF && r.first_seq == 1 && r.count == 1 && r.durable_seq == 0);
    r = record_at(dir, 1, 1);
    CHECK(r.type == RECORD_GROUP && r.count == 2);
    r = record_at(dir, 1, 2);
    CHECK(r.type == RECORD_BRIEF && r.durable_seq == 0);
    r = record_at(dir, 1, 3);
    CHECK(r.type == RECORD_GROUP && r.first_seq == far && r.durable_seq == 4);
    r = record_at(dir, 1, 4);
    CHECK(r.type == RECORD_BRIEF && r.first_seq == far + 1 && r.durable_seq == 0);
    r = record_at(dir, 1, 5);
    CHECK(r.type == RECORD_BRIEF && r.first_seq == far + 3 && r.durable_seq == far + 1);
}

TEST(wal_replays_what_was_appended_by_either_way)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal_stats stats;
    struct wal *w;

    CHECK_OK(start(dir, SMALL * 4, &w, &err), &err);
    for (unsigned i = 0; i < 60; i++)
        CHECK_OK(append(w, 1 + i % 3, i * 17, i % 4 == 3, &err), &err);
    CHECK_OK(append(w, 1, 10, true, &err), &err);
    CHECK_OK(append(w, 1, 10, true, &err), &err);
    CHECK_EQ(wal_durable_seq(w), model.last);
    wal_stats(w, &stats);
    CHECK_EQ(stats.groups, 62);
    CHECK_EQ(stats.batches, model.last);
    CHECK_EQ(stats.groups_direct + stats.groups_mapped, 62);
    CHECK_OK(wal_close(w, &err), &err);

    CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
    CHECK_EQ(model.read_first, 1);
    CHECK_EQ(model.read_last, model.last);
    CHECK_EQ(model.wrong, 0);
    CHECK_EQ(out.last_seq, model.last);
    CHECK_EQ(out.groups, 62);
    CHECK_EQ(out.batches, model.last);
    CHECK_EQ(out.next_segment, 2);
    CHECK(!out.torn);
}

TEST(wal_replay_skips_what_tables_hold_already)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    for (unsigned i = 0; i < 10; i++)
        CHECK_OK(append(w, 2, 10, false, &err), &err);
    CHECK_OK(wal_close(w, &err), &err);
    CHECK_OK(wal_replay(dir, STORE_ID, 1, 1, 7, WAL_TAIL, see, NULL, &out, &err), &err);
    CHECK_EQ(model.read_first, 8); /* in the middle of a group */
    CHECK_EQ(out.last_seq, 20);
    CHECK_OK(wal_replay(dir, STORE_ID, 1, 1, 50, WAL_TAIL, see, NULL, &out, &err), &err);
    CHECK_EQ(out.last_seq, 50);
}

TEST(wal_survives_the_process_without_a_close)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    for (unsigned i = 0; i < 500; i++)
        CHECK_OK(append(w, 1, 300, false, &err), &err);
    wal_drop(w);
    CHECK(model.last_segment > 1);
    CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
    CHECK_EQ(model.read_last, 500);
    CHECK_EQ(model.wrong, 0);
}

/* ---- segments ---- */

/* Also where too little is left of the last page for a PAD. */
TEST(wal_segments_link_wherever_the_last_record_ends)
{
    for (int sync = 0; sync < 2; sync++) {
        struct os_dir *dir OWNED(os_dir_close) = real_dir();
        struct quern_error err = {0};
        struct wal_replay out;
        struct wal *w;

        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        for (size_t value = 53900; value < 54100; value += 4) {
            CHECK_OK(append(w, 1, value, sync, &err), &err);
            if (value % 200 == 0)
                wal_release(w, model.first_segment = wal_segment_no(w));
        }
        wal_drop(w);
        CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
        CHECK_EQ(model.read_last, model.last);
        CHECK_EQ(model.wrong, 0);
    }
}

TEST(wal_recycles_released_segments_and_their_stale_bytes_never_come_back)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal_stats stats;
    struct wal *w;
    uint64_t bytes;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    while (wal_segment_no(w) < 7)
        CHECK_OK(append(w, 1, 400, false, &err), &err);
    wal_release(w, 7);
    wal_stats(w, &stats);
    CHECK_EQ(stats.segments_live, 1);
    CHECK_EQ(stats.segments_spare, 3);
    while (wal_segment_no(w) < 8) /* recycled, and hardly written */
        CHECK_OK(append(w, 1, 400, false, &err), &err);
    wal_release(w, 8);
    wal_stats(w, &stats);
    CHECK_EQ(stats.segments_spare, 3);
    CHECK(os_dir_stat(dir, "000004.wal", &bytes, &err) == QUERN_NO_STORE); /* a fourth spare */
    CHECK(os_dir_stat(dir, "000003.wal", &bytes, &err) == QUERN_NO_STORE); /* it is 8 now */
    wal_drop(w);

    model.first_segment = 8;
    CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
    CHECK_EQ(out.groups, 1);
    CHECK_EQ(model.read_first, model.last);
    CHECK_EQ(model.wrong, 0);
    CHECK(!out.torn);
}

/* The file of a beginning that was refused must not be taken for a spare when the next one has its
 * name. */
TEST(wal_beginning_that_is_refused_leaves_no_spare_under_a_live_name)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    struct wal *w = NULL;
    struct wal_replay out;
    struct quern_error err;
    uint64_t last;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    while (wal_segment_no(w) < 3)
        CHECK_OK(append(w, 1, 3000, false, &err), &err);
    wal_release(w, 2);
    begin_failures = 1;
    while (begin_failures != 0)
        (void)append(w, 1, 3000, false, &err);
    CHECK_EQ(wal_segment_no(w), 3);
    wal_release(w, 3); /* one more spare, in front of whatever the refused beginning left */
    model.first_segment = 3;
    last = model.last;
    while (wal_segment_no(w) < 7)
        CHECK_OK(append(w, 1, 3000, true, &err), &err);
    CHECK_OK(wal_close(w, &err), &err);
    CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
    CHECK_EQ(model.wrong, 0);
    CHECK(model.read_first <= last);
    CHECK_EQ(model.read_last, model.last);
    CHECK(!out.torn);
}

TEST(wal_gives_a_group_larger_than_a_segment_one_of_its_own)
{
    for (int sync = 0; sync < 2; sync++) {
        struct os_dir *dir OWNED(os_dir_close) = real_dir();
        struct quern_error err = {0};
        struct wal_replay out;
        struct wal_stats stats;
        struct wal *w;
        uint64_t bytes;

        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        CHECK_OK(append(w, 1, 10, sync, &err), &err);
        CHECK_OK(append(w, 3, 1500000, sync, &err), &err);
        CHECK_OK(append(w, 1, 5000, sync, &err), &err);
        CHECK_EQ(wal_segment_no(w), 3);
        wal_stats(w, &stats);
        CHECK(stats.bytes_on_disk >= 3 * 1500000);
        CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
        CHECK_EQ(model.read_last, 5);
        CHECK_EQ(model.wrong, 0);
        wal_release(w, 3);
        wal_stats(w, &stats);
        CHECK_EQ(stats.segments_spare, 1); /* not the large one */
        CHECK(os_dir_stat(dir, "000002.wal", &bytes, &err) == QUERN_NO_STORE);
        CHECK_OK(wal_close(w, &err), &err);
    }
}

TEST(wal_adopts_the_segments_of_the_log_before)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_config config = {.store_id = STORE_ID, .segment_bytes = SMALL, .on_begin = begin};
    struct wal_replay out;
    struct wal_stats stats;
    struct wal *w;
    uint64_t bytes;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    while (wal_segment_no(w) < 5)
        CHECK_OK(append(w, 1, 400, false, &err), &err);
    wal_drop(w);
    CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
    CHECK_EQ(out.next_segment, 6);
    config.first_segment = out.next_segment;
    config.last_seq = out.last_seq;
    config.spare_first = 1;
    config.spare_last = 5;
    CHECK_OK(wal_open(dir, &config, &w, &err), &err);
    wal_stats(w, &stats);
    CHECK_EQ(stats.segments_spare, 3); /* three were kept */
    CHECK(os_dir_stat(dir, "000005.wal", &bytes, &err) == QUERN_NO_STORE);
    model.first_segment = 6;
    CHECK_OK(append(w, 1, 400, true, &err), &err);
    wal_stats(w, &stats);
    CHECK_EQ(stats.segments_spare, 2); /* and one is the first segment now */
    while (wal_segment_no(w) < 9)
        CHECK_OK(append(w, 1, 400, true, &err), &err);
    wal_stats(w, &stats);
    CHECK_EQ(stats.segments_spare, 0);
    CHECK_OK(wal_close(w, &err), &err);
    CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
    CHECK_EQ(model.read_first, config.last_seq + 1);
    CHECK_EQ(model.read_last, model.last);
    CHECK_EQ(model.wrong, 0);
}

TEST(wal_names_are_six_digits_or_more_and_nothing_else)
{
    static const char *const others[] = {"",
                                         "12.wal",
                                         "000012.wal.tmp",
                                         "000000.wal",
                                         "000012.sst",
                                         "0000012.wal",
                                         "-00012.wal",
                                         "000012.wal ",
                                         "99999999999999999999.wal",
                                         "18446744073709551615.wal",
                                         "9223372036854775808.wal"};
    char name[WAL_NAME_BYTES];
    uint64_t no;

    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(!wal_name_parse(others[i], &no));
    wal_name(name, 12);
    CHECK(strcmp(name, "000012.wal") == 0);
    CHECK(wal_name_parse(name, &no) && no == 12);
    wal_name(name, UINT64_C(12345678));
    CHECK(wal_name_parse(name, &no) && no == 12345678);
}

TEST(wal_random_steps_agree_with_the_model)
{
    uint64_t random = tap_seed();

    for (int round = 0; round < 3; round++) {
        struct os_dir *dir OWNED(os_dir_close) = real_dir();
        struct quern_error err = {0};
        struct wal_replay out;
        struct wal *w;

        CHECK_OK(start(dir, SMALL << round % 3, &w, &err), &err);
        for (int step = 0; step < 300; step++) {
            uint64_t dice = tap_random(&random) % 100;
            size_t value = tap_random(&random) % (dice < 3 ? 90000 : dice < 20 ? 5000 : 200);

            if (dice < 92)
                CHECK_OK(append(w, 1 + tap_random(&random) % GROUP_MAX, value,
                                tap_random(&random) % 2 == 0, &err),
                         &err);
            else if (dice < 95)
                CHECK_OK(wal_sync(w, &err), &err);
            else if (dice < 98)
                CHECK_OK(wal_mark(w, &err), &err);
            else if (wal_segment_no(w) > model.first_segment + 3)
                wal_release(w, model.first_segment = wal_segment_no(w) - 2);
            CHECK(wal_durable_seq(w) >= model.synced);
        }
        wal_drop(w);
        CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
        CHECK_EQ(model.read_last, model.last);
        CHECK_EQ(model.wrong, 0);
        CHECK_EQ(out.segments, model.last_segment - model.first_segment + 1);
    }
}

/* ---- the end of the log ---- */

TEST(wal_replay_keeps_what_precedes_a_torn_tail)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct os_file *file OWNED(os_file_drop) = NULL;
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;
    uint64_t at, bytes;
    static const uint8_t zeros[1024];

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    for (unsigned i = 0; i < 3; i++)
        CHECK_OK(append(w, 2, 60, false, &err), &err);
    wal_drop(w);
    at = group_at(dir, 1, 2, &bytes);
    CHECK(bytes < sizeof(zeros));
    for (uint64_t cut = bytes; cut-- > 0;) { /* sectors that never reached the disk */
        scribble(dir, 1, at + cut, zeros, 1);
        if (cut >= bytes - 7)
            continue; /* the padding is zero anyway */
        CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
        CHECK_EQ(model.read_last, 4);
        CHECK_EQ(model.wrong, 0);
        CHECK_EQ(out.torn, cut > 16); /* number 5 still stands in the head */
        if (out.torn) {
            CHECK_EQ(out.torn_offset, at);
            CHECK_EQ(out.torn_segment, 1);
            CHECK_EQ(out.torn_bytes, bytes);
            CHECK_CODE(replay(dir, WAL_STRICT, &out, &err), QUERN_CORRUPT);
        }
    }
    CHECK_OK(os_file_open(dir, "000001.wal", OS_WRITE, &file, &err), &err);
    for (uint64_t cut = bytes; cut-- > 0;) { /* a file cut short */
        CHECK_OK(os_file_truncate(file, at + cut, &err), &err);
        CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
        CHECK_EQ(model.read_last, 4);
    }
}

TEST(wal_replay_drops_valid_records_behind_a_torn_one)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;
    uint64_t at, last_at, bytes;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 60, true, &err), &err);
    for (unsigned i = 0; i < 250; i++) /* into a second and third segment */
        CHECK_OK(append(w, 1, 500, false, &err), &err);
    wal_drop(w);
    CHECK_EQ(model.last_segment, 3);
    at = group_at(dir, 1, 4, &bytes);
    last_at = group_at(dir, 3, 2, &bytes);
    flip(dir, 3, last_at + 50);
    CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
    CHECK(out.torn);
    CHECK_EQ(out.torn_segment, 3);
    flip(dir, 1, at + 50);
    CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
    CHECK_EQ(model.read_last, 4);
    CHECK(out.torn);
    CHECK_EQ(out.torn_segment, 1);
    CHECK_EQ(out.torn_offset, at);
    CHECK_EQ(out.next_segment, 4);
    CHECK_CODE(replay(dir, WAL_STRICT, &out, &err), QUERN_CORRUPT);
}

TEST(wal_damage_below_a_durable_mark_is_corruption_and_above_a_tail)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;
    uint64_t bytes;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    for (unsigned i = 0; i < 8; i++)
        CHECK_OK(append(w, 1, 60, i < 6, &err), &err); /* 1-6 durable, 7 and 8 not */
    wal_drop(w);
    for (size_t i = 0; i < 8; i++) {
        uint64_t at = group_at(dir, 1, i, &bytes);

        for (uint64_t byte = 0; byte < bytes - 7; byte += 5) {
            flip(dir, 1, at + byte);
            if (i < 6) {
                CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
                CHECK(strstr(err.text, "000001.wal") != NULL);
                CHECK(strstr(err.text, "writes up to 6 were durable") != NULL);
                CHECK_OK(replay(dir, WAL_POINT_IN_TIME, &out, &err), &err);
                CHECK(out.torn);
            } else {
                CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
            }
            CHECK_EQ(model.read_last, i);
            CHECK_EQ(model.wrong, 0);
            flip(dir, 1, at + byte);
        }
    }
}

TEST(wal_damage_to_what_tables_hold_is_no_loss)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;
    uint64_t bytes;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    for (unsigned i = 0; i < 4; i++)
        CHECK_OK(append(w, 1, 60, true, &err), &err);
    wal_drop(w);
    flip(dir, 1, group_at(dir, 1, 1, &bytes) + 40);
    CHECK_CODE(wal_replay(dir, STORE_ID, 1, 1, 2, WAL_TAIL, see, NULL, &out, &err), QUERN_CORRUPT);
    CHECK_OK(wal_replay(dir, STORE_ID, 1, 1, 3, WAL_TAIL, see, NULL, &out, &err), &err);
    CHECK_EQ(out.last_seq, 3);
}

TEST(wal_mark_covers_the_last_group)
{
    for (int marked = 0; marked < 2; marked++) {
        struct os_dir *dir OWNED(os_dir_close) = real_dir();
        struct quern_error err = {0};
        struct wal_replay out;
        struct wal_stats before, after;
        struct wal *w;
        uint64_t bytes;

        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        for (unsigned i = 0; i < 3; i++)
            CHECK_OK(append(w, 1, 60, true, &err), &err);
        if (marked) {
            CHECK_OK(wal_mark(w, &err), &err);
            wal_stats(w, &before);
            CHECK_OK(wal_mark(w, &err), &err); /* said already */
            CHECK_OK(wal_sync(w, &err), &err); /* nothing that matters */
            wal_stats(w, &after);
            CHECK_EQ(after.bytes_appended, before.bytes_appended);
            CHECK_EQ(after.syncs, before.syncs);
        }
        wal_drop(w);
        flip(dir, 1, group_at(dir, 1, 2, &bytes) + 45);
        if (marked)
            CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
        else
            CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
        CHECK_EQ(model.read_last, 2);
    }
}

/* ---- files that should not be, or should ---- */

static void copy_segment(struct os_dir *dir, uint64_t from, uint64_t to)
{
    static uint8_t bytes[SMALL];
    struct quern_error err;
    struct os_file *file OWNED(os_file_drop) = NULL;
    char name[WAL_NAME_BYTES];

    wal_name(name, to);
    peek(dir, from, 0, bytes, sizeof(bytes));
    EXPECT(os_file_open(dir, name, OS_WRITE, &file, &err) == QUERN_OK);
    scribble(dir, to, 0, bytes, sizeof(bytes));
}

TEST(wal_replay_notices_missing_foreign_and_swapped_segments)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    while (wal_segment_no(w) < 4)
        CHECK_OK(append(w, 1, 400, false, &err), &err);
    wal_drop(w);
    CHECK_CODE(wal_replay(dir, STORE_ID + 1, 1, 4, 0, WAL_TAIL, see, NULL, &out, &err),
               QUERN_CORRUPT);
    CHECK(strstr(err.text, "another store") != NULL);
    CHECK_CODE(wal_replay(dir, STORE_ID, 1, 5, 0, WAL_TAIL, see, NULL, &out, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "log segment 000005.wal is missing") != NULL);

    copy_segment(dir, 2, 3);
    CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "000003.wal: holds segment 000002") != NULL);
    CHECK_OK(os_dir_remove(dir, "000003.wal", &err), &err);
    CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "log segment 000003.wal is missing") != NULL);
    CHECK_EQ(model.read_last, 0); /* told before anything is handed out */
    CHECK_OK(replay(dir, WAL_POINT_IN_TIME, &out, &err), &err);
    CHECK_EQ(model.wrong, 0);
    CHECK_EQ(out.segments, 2);
    scribble(dir, 1, 0, "something else", 14);
    CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "000001.wal: header at 0: not a log segment") != NULL);
    CHECK_OK(replay(dir, WAL_POINT_IN_TIME, &out, &err), &err);
    CHECK_EQ(model.read_last, 0);
    CHECK(out.torn);
}

TEST(wal_replay_ignores_a_segment_that_was_never_recorded)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    while (wal_segment_no(w) < 3)
        CHECK_OK(append(w, 1, 400, false, &err), &err);
    wal_drop(w);
    CHECK_OK(wal_replay(dir, STORE_ID, 1, 2, 0, WAL_STRICT, see, NULL, &out, &err), &err);
    CHECK_EQ(out.last_seq, model.last - 1);
    CHECK_EQ(out.next_segment, 4);
}

TEST(wal_first_pages_are_guarded_byte_by_byte)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 40, false, &err), &err);
    wal_drop(w);
    for (uint64_t at = 0; at < 2 * PAGE; at += at < 100 ? 1 : 61) {
        flip(dir, 1, at);
        CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
        flip(dir, 1, at);
    }
    CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
}

/* Seal the header anew after a change: the checksum as docs/design/20-wal.md has it. */
static void reseal_header(uint8_t *page)
{
    put_u64le(page + 8, hash_placed(page + 16, PAGE - 16, get_u64le("quernWAL"), 0));
}

/* Newer, or older: before version 3 keys had no database; in it they could not change places. */
TEST(wal_format_of_another_time_is_refused)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;
    uint8_t page[PAGE], changed[PAGE];
    static const enum wal_recover modes[] = {WAL_TAIL, WAL_POINT_IN_TIME};

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 10, false, &err), &err);
    wal_drop(w);
    peek(dir, 1, 0, page, PAGE);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        for (uint32_t version = 1; version <= 5; version++) {
            memcpy(changed, page, PAGE);
            put_u32le(changed + 16, version);
            reseal_header(changed);
            scribble(dir, 1, 0, changed, PAGE);
            if (version == 3 || version == 4)
                CHECK_OK(replay(dir, modes[i], &out, &err), &err);
            else
                CHECK_CODE(replay(dir, modes[i], &out, &err), QUERN_UNSUPPORTED);
        }
        memcpy(changed, page, PAGE);
        changed[31] = 0x80;
        reseal_header(changed);
        scribble(dir, 1, 0, changed, PAGE);
        CHECK_CODE(replay(dir, modes[i], &out, &err), QUERN_UNSUPPORTED);
    }
}

TEST(wal_group_that_does_not_parse_is_corruption_though_its_checksum_is_right)
{
    static const char *const payloads[] = {"short",
                                           "\x09\0\0\0\1\0\0\0\1\1\1kv",
                                           "\x05\0\0\0\2\0\0\0\1\1\1kv",
                                           "\x05\0\0\0\1\0\0\0\7\1\1kv",
                                           "",
                                           "short",
                                           "\1\1\1k",
                                           "\1\1\1kv\7\1\1kv"};
    static const size_t lengths[] = {5, 13, 13, 13, 0, 5, 4, 10};
    static const size_t brief = 4; /* from here on */
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w;
    uint8_t page[PAGE], bytes[128];

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 1, false, &err), &err); /* what is written over it is longer */
    wal_drop(w);
    peek(dir, 1, 0, page, PAGE);
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        struct record r = {
            i < brief ? RECORD_GROUP : RECORD_BRIEF, 1, 1, 0, {payloads[i], lengths[i]}};

        memcpy(bytes + (i < brief ? RECORD_HEAD_BYTES : RECORD_BRIEF_HEAD_BYTES), payloads[i],
               lengths[i]);
        record_seal(bytes, &r, get_u64le(page + 56), 2 * PAGE);
        scribble(dir, 1, 2 * PAGE, bytes, record_total(&r));
        CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
        CHECK(strstr(err.text, "record at 8192: its operations do not parse") != NULL);
        CHECK_EQ(model.read_last, 0);
        CHECK_OK(replay(dir, WAL_POINT_IN_TIME, &out, &err), &err);
        CHECK_EQ(model.read_last, 0);
    }
}

TEST(wal_group_whose_number_leaves_none_for_the_next_is_corruption)
{
    struct record r = {RECORD_BRIEF, ENTRY_SEQ_MAX, 1, 0, {"\1\1\1kv", 5}};
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    uint8_t page[PAGE], bytes[64];
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 1, false, &err), &err);
    wal_drop(w);
    peek(dir, 1, 0, page, PAGE);
    memcpy(bytes + RECORD_BRIEF_HEAD_BYTES, r.payload.data, r.payload.len);
    record_seal(bytes, &r, get_u64le(page + 56), 2 * PAGE);
    scribble(dir, 1, 2 * PAGE, bytes, record_total(&r));
    CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "its numbers do not follow") != NULL);
}

TEST(wal_open_refuses_a_number_that_is_taken)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 10, false, &err), &err);
    wal_drop(w);
    CHECK_CODE(start(dir, SMALL, &w, &err), QUERN_EXISTS);
}

/* ---- failures, on the simulated disk ---- */

static void set_ways(struct sim *disk, unsigned ways)
{
    sim_set_mapping(disk, ways & 1);
    sim_set_direct(disk, ways & 2);
}

TEST(wal_failed_sync_poisons_and_says_unknown)
{
    for (unsigned ways = 0; ways < 4; ways++) {
        struct sim *disk OWNED(sim_free) = sim_new(1);
        struct os_dir *dir OWNED(os_dir_close) = NULL;
        struct quern_error err = {0};
        struct sim_fault fault = {.ops = SIM_SYNC, .sys_errno = EIO};
        struct wal_stats stats;
        struct wal *w;

        set_ways(disk, ways);
        dir = sim_dir(disk);
        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        CHECK_OK(append(w, 1, 60, true, &err), &err);
        CHECK_OK(append(w, 1, 60, false, &err), &err);
        sim_fail(disk, &fault);
        CHECK_CODE(append(w, 1, 60, true, &err), QUERN_UNKNOWN);
        CHECK_EQ(wal_durable_seq(w), 1);
        model.last++;
        CHECK_CODE(append(w, 1, 60, false, &err), QUERN_READ_ONLY);
        CHECK(strstr(err.text, "the log failed earlier: ") != NULL);
        CHECK_CODE(wal_sync(w, &err), QUERN_READ_ONLY);
        CHECK_CODE(wal_mark(w, &err), QUERN_READ_ONLY);
        wal_stats(w, &stats);
        CHECK(stats.poisoned);
        CHECK_CODE(wal_close(w, &err), QUERN_READ_ONLY);
    }
}

TEST(wal_failed_direct_write_poisons)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    struct quern_error err = {0};
    struct sim_fault fault = {.ops = SIM_WRITE, .sys_errno = EIO, .part_bytes = 512};
    struct wal_replay out;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_OK(append(w, 1, 60, true, &err), &err);
    sim_fail(disk, &fault);
    CHECK_CODE(append(w, 1, 60, true, &err), QUERN_UNKNOWN);
    CHECK_CODE(append(w, 1, 60, true, &err), QUERN_READ_ONLY);
    wal_drop(w);
    CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
    CHECK(model.read_last >= 1);
}

/* A half-written file that can be neither filled nor removed is the disk's story, not a name's. */
TEST(wal_beginning_that_meets_its_own_remains_tells_what_the_disk_says)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    struct quern_error err = {0};
    struct sim_fault write = {
        .ops = SIM_WRITE, .name = "000002.wal.tmp", .always = true, .sys_errno = ENOSPC};
    struct sim_fault remove = {
        .ops = SIM_REMOVE, .name = "000002.wal.tmp", .skip = 1, .always = true, .sys_errno = EIO};
    enum quern_code code = QUERN_OK;
    struct wal *w;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    sim_fail(disk, &write);
    sim_fail(disk, &remove);
    while (code == QUERN_OK)
        code = append(w, 1, 900, false, &err);
    CHECK_CODE(code, QUERN_NO_SPACE);
    CHECK_CODE(append(w, 1, 900, false, &err), QUERN_IO);
    sim_fail_never(disk);
    CHECK_OK(append(w, 1, 900, false, &err), &err);
    CHECK_EQ(wal_segment_no(w), 2);
    CHECK_OK(wal_close(w, &err), &err);
}

/* Some file systems open a file for direct writes and refuse the writes. */
TEST(wal_direct_write_that_is_refused_is_made_the_other_way)
{
    for (unsigned ways = 2; ways < 4; ways++) {
        for (uint64_t part = 0; part <= PAGE; part += 512) {
            struct sim *disk OWNED(sim_free) = sim_new(1);
            struct os_dir *dir OWNED(os_dir_close) = NULL;
            struct quern_error err = {0};
            struct sim_fault fault = {
                .ops = SIM_WRITE, .skip = 1, .sys_errno = EINVAL, .part_bytes = part};
            struct wal_replay out;
            struct wal_stats stats;
            struct wal *w;

            set_ways(disk, ways);
            dir = sim_dir(disk);
            CHECK_OK(start(dir, SMALL, &w, &err), &err);
            CHECK_OK(append(w, 1, 900, true, &err), &err); /* and the segment begins */
            sim_fail(disk, &fault);
            for (unsigned i = 0; i < 5; i++)
                CHECK_OK(append(w, 1, 900, true, &err), &err);
            CHECK_EQ(sim_fault_hits(disk), 1);
            wal_stats(w, &stats);
            CHECK(!stats.poisoned);
            CHECK_EQ(stats.groups_direct, 2);
            CHECK_EQ(wal_durable_seq(w), 6);
            CHECK_OK(wal_close(w, &err), &err);
            CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
            CHECK_EQ(model.read_last, 6);
            CHECK_EQ(model.wrong, 0);
        }
    }
}

/* With every way to write, and the space gone at every point: what was refused is not replayed,
 * what was accepted is, and the log goes on once there is space. */
TEST(wal_full_disk_leaves_the_log_as_it_was)
{
    for (unsigned ways = 0; ways < 4; ways++) {
        for (uint64_t pages = 0; pages < 24; pages++) {
            struct sim *disk OWNED(sim_free) = sim_new(pages);
            struct os_dir *dir OWNED(os_dir_close) = NULL;
            struct quern_error err = {0};
            struct wal_replay out;
            struct wal_stats stats;
            struct wal *w;
            unsigned refused = 0;

            set_ways(disk, ways);
            dir = sim_dir(disk);
            CHECK_OK(start(dir, SMALL, &w, &err), &err);
            sim_free_space(disk, pages * PAGE);
            for (unsigned i = 0; i < 80 && refused < 3; i++) {
                enum quern_code code = append(w, 1, 900, i % 5 == 4, &err);

                CHECK(code == QUERN_OK || code == QUERN_NO_SPACE);
                refused += code != QUERN_OK;
            }
            wal_stats(w, &stats);
            CHECK(!stats.poisoned);
            CHECK_EQ(refused, pages < 16 ? 3 : refused);
            CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
            CHECK_EQ(model.read_last, model.last);
            sim_free_space(disk, UINT64_MAX);
            for (unsigned i = 0; i < 100; i++)
                CHECK_OK(append(w, 1, 900, i % 5 == 4, &err), &err);
            CHECK_OK(wal_close(w, &err), &err);
            CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
            CHECK_EQ(model.read_last, model.last);
            CHECK_EQ(model.wrong, 0);
        }
    }
}

/* A failing write that is not the disk being full, at every write, with nothing to map. */
TEST(wal_refused_plain_write_is_not_replayed)
{
    for (uint64_t skip = 0; skip < 30; skip++) {
        struct sim *disk OWNED(sim_free) = sim_new(skip);
        struct os_dir *dir OWNED(os_dir_close) = NULL;
        struct quern_error err = {0};
        struct sim_fault fault = {
            .ops = SIM_WRITE, .skip = skip, .sys_errno = EIO, .part_bytes = 1u << 20};
        struct wal_replay out;
        struct wal *w;

        set_ways(disk, 0);
        dir = sim_dir(disk);
        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        sim_fail(disk, &fault);
        for (unsigned i = 0; i < 40; i++) {
            enum quern_code code = append(w, 1, 200, false, &err);

            CHECK(code == QUERN_OK || code == QUERN_IO);
            if (code != QUERN_OK) {
                CHECK_OK(replay(dir, WAL_TAIL, &out, &err), &err);
                CHECK_EQ(out.last_seq, model.last);
            }
        }
        CHECK_OK(wal_close(w, &err), &err);
        CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
        CHECK_EQ(model.read_last, model.last);
        CHECK_EQ(sim_fault_hits(disk), 1);
    }
}

/* What was refused is not there, so it has told nothing. */
TEST(wal_mark_tells_what_a_refused_group_would_have_told)
{
    for (unsigned ways = 0; ways < 4; ways++) {
        struct sim *disk OWNED(sim_free) = sim_new(ways);
        struct os_dir *dir OWNED(os_dir_close) = NULL;
        struct sim_fault fault = {.ops = SIM_WRITE, .sys_errno = ENOSPC};
        struct quern_error err = {0};
        struct wal_replay out;
        enum quern_code code;
        struct wal *w;
        uint64_t bytes;

        set_ways(disk, ways);
        dir = sim_dir(disk);
        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        for (unsigned i = 0; i < 3; i++)
            CHECK_OK(append(w, 1, 60, true, &err), &err);
        sim_fail(disk, &fault);
        code = append(w, 1, 60, true, &err);
        CHECK_EQ(sim_fault_hits(disk), code != QUERN_OK); /* none where the group is mapped */
        if (code == QUERN_OK)
            CHECK_OK(append(w, 1, 60, false, &err), &err);
        else
            CHECK_CODE(code, QUERN_NO_SPACE);
        sim_fail_never(disk);
        CHECK_OK(wal_mark(w, &err), &err);
        wal_drop(w);
        flip(dir, 1, group_at(dir, 1, 2, &bytes) + 45);
        CHECK_CODE(replay(dir, WAL_TAIL, &out, &err), QUERN_CORRUPT);
    }
}

TEST(wal_without_memory_leaves_the_log_as_it_was)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_replay out;
    struct wal *w = NULL;

    for (uint64_t calls = 0; w == NULL && calls < 100; calls++) {
        enum quern_code code;

        alloc_fail_after(calls);
        code = start(dir, SMALL, &w, &err);
        alloc_fail_never();
        CHECK(code == QUERN_OK || code == QUERN_NO_MEMORY);
        if (code != QUERN_OK && model.last_segment == 0)
            (void)!os_dir_remove(dir, "000001.wal", &err);
    }
    CHECK(w != NULL);
    CHECK_OK(append(w, 1, 5000, false, &err), &err);
    CHECK_OK(wal_close(w, &err), &err);
    CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
}

/* ---- the first segment ---- */

TEST(wal_that_nothing_is_appended_to_writes_nothing)
{
    struct sim *disk OWNED(sim_free) = sim_new(1);
    struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
    struct quern_error err = {0};
    struct wal_stats stats;
    struct wal *w;
    uint64_t changes = sim_op_count_of(disk, SIM_CHANGES);

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    CHECK_EQ(wal_segment_no(w), 1); /* what opens now needs segments from this one on */
    CHECK_OK(wal_mark(w, &err), &err);
    CHECK_OK(wal_sync(w, &err), &err);
    wal_trim(w);
    wal_prepare_ahead(w);
    wal_stats(w, &stats);
    CHECK_EQ(stats.segments_live, 0);
    CHECK_EQ(stats.bytes_on_disk, 0);
    CHECK_OK(wal_close(w, &err), &err);
    CHECK_EQ(sim_op_count_of(disk, SIM_CHANGES), changes);
    CHECK_EQ(model.last_segment, 0); /* and nothing was told to the manifest */
}

/* Whatever the first append fails at, nothing of it is replayed, and the next begins the segment
 * anew; but a log that cannot know whether its names are durable refuses. */
TEST(wal_first_segment_that_cannot_begin_is_begun_by_the_next_append)
{
    static const int errors[] = {ENOSPC, EIO};
    unsigned refused = 0, failures = 0;

    for (unsigned n = 0, hits = 1; hits != 0; n++) {
        struct sim *disk OWNED(sim_free) = sim_new(1);
        struct os_dir *dir OWNED(os_dir_close) = sim_dir(disk);
        struct quern_error err = {0};
        struct sim_fault fault = {
            .ops = SIM_CHANGES, .skip = n / 2, .sys_errno = errors[n % 2], .part_bytes = 100};
        struct wal_replay out;
        struct wal_stats stats;
        enum quern_code code;
        struct wal *w;

        CHECK_OK(start(dir, SMALL, &w, &err), &err);
        sim_fail(disk, &fault);
        code = append(w, 2, 900, n % 4 < 2, &err);
        hits = (unsigned)sim_fault_hits(disk);
        sim_fail_never(disk);
        CHECK(hits != 0 || code == QUERN_OK);
        wal_stats(w, &stats);
        CHECK(stats.poisoned || code != QUERN_OK || stats.segments_live == 1);
        if (stats.poisoned) {
            CHECK_CODE(append(w, 1, 900, false, &err), QUERN_READ_ONLY);
            wal_drop(w);
            refused++;
            continue;
        }
        failures += code != QUERN_OK;
        CHECK_OK(append(w, 1, 900, true, &err), &err);
        CHECK_EQ(wal_segment_no(w), 1);
        CHECK_OK(wal_close(w, &err), &err);
        CHECK_OK(replay(dir, WAL_STRICT, &out, &err), &err);
        CHECK_EQ(model.read_last, model.last);
        CHECK_EQ(model.wrong, 0);
    }
    CHECK(refused > 0 && failures > 2);
}

/* ---- crashes, on the simulated disk ---- */

/* A life of a log: every kind of step, with rotation and recycling. Stops at the first failure. */
static void live(struct os_dir *dir, uint64_t seed)
{
    struct quern_error err = {0};
    struct wal *w;
    uint64_t random = seed * 2 + 1;

    for (int i = 0; i < 10; i++)
        (void)tap_random(&random);
    if (start(dir, UINT64_C(16) << 10, &w, &err))
        return;
    for (int step = 0; step < 60; step++) {
        uint64_t dice = tap_random(&random) % 100;
        size_t value = tap_random(&random) % (dice < 3 ? 20000 : dice < 30 ? 3000 : 100);
        enum quern_code code;

        if (dice < 85)
            code = append(w, 1 + tap_random(&random) % GROUP_MAX, value,
                          tap_random(&random) % 2 == 0, &err);
        else if (dice < 90)
            code = wal_sync(w, &err);
        else
            code = dice < 95 ? wal_mark(w, &err) : QUERN_OK;
        if (code != QUERN_OK)
            break;
        model.synced = wal_durable_seq(w) > model.synced ? wal_durable_seq(w) : model.synced;
        if (dice >= 95 && model.last_segment > model.first_segment + 1) {
            /* As if a flush had put into tables what the older segments hold. */
            if (wal_sync(w, &err))
                break;
            model.synced = model.last;
            model.first_segment = model.last_segment;
            wal_release(w, model.first_segment);
        }
    }
    wal_drop(w);
}

/* After a crash at any call: what was acknowledged is there, what is there is a prefix, and the
 * judgement is never "corrupt". */
TEST(wal_crash_at_any_call_keeps_what_was_durable)
{
    static const enum sim_crash_mode modes[] = {SIM_DROP_ALL, SIM_KEEP_ALL, SIM_RANDOM, SIM_RANDOM};
    uint64_t seed = tap_seed(), crashes = 0;

    for (unsigned life = 0; life < 4; life++) {
        for (uint64_t k = 2;; k++) {
            struct sim *disk OWNED(sim_free) = sim_new(seed + k);
            struct os_dir *dir = NULL;
            struct quern_error err = {0};

            set_ways(disk, life);
            dir = sim_dir(disk);
            sim_crash_at_of(disk, SIM_CHANGES, k);
            live(dir, seed + life);
            os_dir_close(dir);
            if (!sim_is_off(disk))
                break;
            for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
                struct sim *after OWNED(sim_free) = sim_crash(disk, seed + k * 4 + m, modes[m]);
                struct os_dir *left OWNED(os_dir_close) = sim_dir(after);
                struct wal_replay out;
                enum quern_code code;

                if (model.last_segment == 0)
                    continue;
                code = replay(left, WAL_TAIL, &out, &err);
                crashes++;
                if (code != QUERN_OK || model.wrong != 0 ||
                    (out.last_seq < model.synced && out.last_seq != 0) ||
                    (out.batches == 0 && model.first_segment == 1 && model.synced != 0)) {
                    tap_fail(__FILE__, __LINE__,
                             "seed %" PRIu64 " life %u call %" PRIu64 " mode %zu: code %d (%s), "
                             "read to %" PRIu64 ", durable to %" PRIu64 ", %" PRIu64 " wrong",
                             seed, life, k, m, (int)code, code ? err.text : "", out.last_seq,
                             model.synced, model.wrong);
                    return;
                }
            }
        }
    }
    tap_note("%" PRIu64 " crashes", crashes);
    CHECK(crashes > 500);
}

/* ---- threads ---- */

static atomic_bool threads_stop;

static void *watch(void *arg)
{
    struct wal *w = arg;
    struct wal_stats stats;
    quern_seq before = 0;

    while (!atomic_load(&threads_stop)) {
        quern_seq now = wal_durable_seq(w);

        EXPECT(now >= before);
        before = now;
        wal_stats(w, &stats);
        if (stats.segments_live > 3)
            wal_release(w, wal_segment_no(w) - 1);
    }
    return NULL;
}

TEST(wal_release_and_stats_run_beside_the_writer)
{
    struct os_dir *dir OWNED(os_dir_close) = real_dir();
    struct quern_error err = {0};
    struct wal_stats stats;
    struct wal *w;
    pthread_t thread;

    CHECK_OK(start(dir, SMALL, &w, &err), &err);
    atomic_store(&threads_stop, false);
    CHECK(pthread_create(&thread, NULL, watch, w) == 0);
    for (unsigned i = 0; i < 3000; i++) {
        if (append(w, 1, 700, i % 64 == 0, &err) != QUERN_OK)
            tap_fail(__FILE__, __LINE__, "%s", err.text);
    }
    atomic_store(&threads_stop, true);
    pthread_join(thread, NULL);
    wal_stats(w, &stats);
    CHECK_EQ(stats.batches, 3000);
    CHECK_OK(wal_close(w, &err), &err);
}
