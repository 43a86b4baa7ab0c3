/* test_engine_update.c - writes that depend on what is there: checks of batches, and updates. What they
 * see must be what their own write follows, whoever writes beside them, in whatever group. */
#include "engine_world.h"

#include "base/alloc.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>

static struct quern_error err;

static enum quern_code put_if(struct quern *db, enum quern_require what, unsigned key,
                              quern_seq revision, unsigned v)
{
    struct quern_batch *batch = quern_batch_new();
    enum quern_code code;

    if (batch == NULL)
        return err_memory(&err, "a batch");
    code = quern_batch_require(batch, what, world_key(key), revision, &err);
    if (code == QUERN_OK)
        code = quern_batch_put(batch, world_key(key), world_value(key, v), &err);
    if (code == QUERN_OK)
        code = quern_write(db, batch, NULL, &err);
    quern_batch_free(batch);
    return code;
}

static quern_seq revision_of(struct quern *db, unsigned key)
{
    struct quern_value value = {0};
    quern_seq seq = quern_get(db, world_key(key), NULL, &value, &err) == QUERN_OK ? value.seq : 0;

    quern_value_done(&value);
    return seq;
}

/* ---- checks ---- */

/* In the MemDB, in a table, and in a table below a tombstone. */
TEST(a_batch_is_written_only_if_its_check_holds)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned place = 0; place < 3; place++) {
        unsigned k = place;
        quern_seq seq;

        CHECK_CODE(put_if(db, QUERN_REQUIRE_PRESENT, k, 0, 1), QUERN_CONFLICT);
        CHECK(strstr(err.text, "no such key") != NULL);
        CHECK_CODE(world_get(db, k, 1, &err), QUERN_NOT_FOUND);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_REVISION, k, 1, 1), QUERN_CONFLICT);
        CHECK_OK(put_if(db, QUERN_REQUIRE_ABSENT, k, 0, 1), &err);
        if (place > 0)
            CHECK_OK(quern_flush(db, &err), &err);
        seq = revision_of(db, k);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_ABSENT, k, 0, 2), QUERN_CONFLICT);
        CHECK(strstr(err.text, "revision") != NULL);
        CHECK_OK(world_get(db, k, 1, &err), &err);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_REVISION, k, seq + 1, 2), QUERN_CONFLICT);
        CHECK_OK(put_if(db, QUERN_REQUIRE_REVISION, k, seq, 2), &err);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_REVISION, k, seq, 3), QUERN_CONFLICT);
        CHECK_OK(put_if(db, QUERN_REQUIRE_PRESENT, k, 0, 3), &err);
        CHECK_OK(world_get(db, k, 3, &err), &err);
        CHECK_OK(quern_delete(db, world_key(k), NULL, &err), &err);
        if (place == 2)
            CHECK_OK(quern_flush(db, &err), &err);
        CHECK_CODE(put_if(db, QUERN_REQUIRE_PRESENT, k, 0, 4), QUERN_CONFLICT);
        CHECK_OK(put_if(db, QUERN_REQUIRE_ABSENT, k, 0, 5), &err);
        CHECK_OK(world_get(db, k, 5, &err), &err);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(of_several_checks_all_must_hold_and_the_error_names_the_first_that_does_not)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_stats stats;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 3, 1, &err), &err);
    for (uint32_t bad = 0; bad < 4; bad++) {
        quern_batch_clear(batch);
        for (uint32_t no = 0; no < 3; no++)
            CHECK_OK(quern_batch_require(batch,
                                         no == bad ? QUERN_REQUIRE_ABSENT : QUERN_REQUIRE_PRESENT,
                                         world_key(no), 0, &err),
                     &err);
        /* The batch's own operations do not count for its checks. */
        CHECK_OK(quern_batch_delete(batch, world_key(0), &err), &err);
        CHECK_OK(quern_batch_put(batch, world_key(7), world_value(7, bad), &err), &err);
        CHECK_EQ(quern_batch_count(batch), 2);
        if (bad == 3) {
            CHECK_OK(quern_write(db, batch, NULL, &err), &err);
            break;
        }
        CHECK_CODE(quern_write(db, batch, NULL, &err), QUERN_CONFLICT);
        CHECK_EQ(err.check, bad);
        CHECK_OK(world_get(db, 0, 1, &err), &err);
        CHECK_CODE(world_get(db, 7, bad, &err), QUERN_NOT_FOUND);
    }
    CHECK_CODE(world_get(db, 0, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_get(db, 7, 3, &err), &err);
    quern_stats(db, &stats);
    CHECK_EQ(stats.batches, 4); /* what was refused is not counted, and took no number */
    CHECK_EQ(stats.visible_seq, 4);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(checks_alone_say_whether_they_hold)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(quern_batch_require(batch, QUERN_REQUIRE_ABSENT, slice_of("", 0), 0, &err),
               QUERN_INVALID);
    CHECK_CODE(quern_batch_require(batch, (enum quern_require)9, world_key(1), 0, &err),
               QUERN_INVALID);
    CHECK_OK(quern_batch_require(batch, QUERN_REQUIRE_ABSENT, world_key(1), 0, &err), &err);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK_OK(world_put(db, 1, 1, false, &err), &err);
    CHECK_CODE(quern_write(db, batch, NULL, &err), QUERN_CONFLICT);
    CHECK_CODE(quern_write(db, batch, &(struct quern_write_opts){.sync = true}, &err),
               QUERN_CONFLICT);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- groups ---- */

#define SENT 40

/* An update that waits until it is told; what is sent meanwhile becomes one group. */
struct sent {
    _Atomic bool waits, go;
    struct quern_batch *batch[SENT];
    struct quern_completion done[SENT];
};

static enum quern_code wait_until_told(void *arg, struct quern_update *u, struct quern_error *e)
{
    struct sent *s = arg;

    (void)u;
    (void)e;
    atomic_store(&s->waits, true);
    while (!atomic_load(&s->go))
        (void)sched_yield();
    return QUERN_OK;
}

static void send_begin(struct sent *s, struct quern *db)
{
    memset(s, 0, sizeof(*s));
    if (quern_update_async(db, wait_until_told, s, NULL, &s->done[0], &err))
        abort();
    while (!atomic_load(&s->waits))
        (void)sched_yield();
}

static void send_end(struct sent *s, size_t count)
{
    atomic_store(&s->go, true);
    for (size_t i = 0; i < count; i++) {
        while (!quern_completion_ready(&s->done[i]))
            (void)sched_yield();
        quern_batch_free(s->batch[i]);
    }
}

/* Each takes the key that is absent or at the revision of the one before it in the group: the first
 * of three wins, and the others see that it did. */
TEST(a_check_sees_what_stands_before_it_in_its_group)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct sent s;
    struct quern_stats stats;
    uint64_t groups;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 99, 1, false, &err), &err);
    quern_stats(db, &stats);
    groups = stats.log_groups;
    send_begin(&s, db);
    for (unsigned i = 1; i < SENT; i++) {
        s.batch[i] = quern_batch_new();
        CHECK_OK(quern_batch_require(s.batch[i],
                                     i % 3 == 1   ? QUERN_REQUIRE_ABSENT
                                     : i % 3 == 2 ? QUERN_REQUIRE_ABSENT
                                                  : QUERN_REQUIRE_PRESENT,
                                     world_key((i - 1) / 3), 0, &err),
                 &err);
        if (i % 3 == 0)
            CHECK_OK(quern_batch_delete(s.batch[i], world_key((i - 1) / 3), &err), &err);
        else
            CHECK_OK(quern_batch_put(s.batch[i], world_key((i - 1) / 3), world_value(0, i), &err),
                     &err);
        CHECK_OK(quern_write_async(db, s.batch[i], NULL, &s.done[i], &err), &err);
    }
    send_end(&s, SENT);
    quern_stats(db, &stats);
    CHECK_EQ(stats.log_groups - groups, 1); /* else this tested less than it says */
    for (unsigned i = 1; i < SENT; i++) {
        CHECK_EQ(s.done[i].code, i % 3 == 2 ? QUERN_CONFLICT : QUERN_OK);
        if (i % 3 == 2)
            CHECK(strstr(s.done[i].error.text, "revision") != NULL);
    }
    for (unsigned k = 0; k < SENT / 3; k++)
        CHECK_EQ(revision_of(db, k), 0);
    CHECK_EQ(stats.visible_seq, 1 + 2 * (SENT / 3));
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- updates ---- */

struct sum {
    unsigned key;
    uint64_t by;
    bool twice; /* in two steps, so that it must see its own */
    enum quern_code result;
    size_t pad; /* the value is so much longer */
    unsigned runs;
};

static enum quern_code add_to(struct quern_update *u, const struct sum *s, struct quern_error *e)
{
    struct quern_value value = {0};
    enum quern_code code = quern_update_get(u, world_key(s->key), &value, e);
    uint64_t n = 0;
    uint8_t *bytes;

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (code == QUERN_OK)
        memcpy(&n, value.data, sizeof(n));
    quern_value_done(&value);
    n += s->by;
    bytes = calloc(1, sizeof(n) + s->pad);
    memcpy(bytes, &n, sizeof(n));
    code = quern_batch_put(quern_update_batch(u), world_key(s->key),
                           slice_of(bytes, sizeof(n) + s->pad), e);
    free(bytes);
    return code;
}

static enum quern_code add(void *arg, struct quern_update *u, struct quern_error *e)
{
    struct sum *s = arg;
    enum quern_code code = add_to(u, s, e);

    s->runs++;
    if (code == QUERN_OK && s->twice)
        code = add_to(u, s, e);
    if (code == QUERN_OK && s->result != QUERN_OK)
        return err_set(e, s->result, "as it was told");
    return code;
}

static uint64_t sum_of(struct quern *db, unsigned key)
{
    struct quern_value value = {0};
    uint64_t n = 0;

    if (quern_get(db, world_key(key), NULL, &value, &err) == QUERN_OK)
        memcpy(&n, value.data, sizeof(n));
    quern_value_done(&value);
    return n;
}

TEST(an_update_reads_and_writes_as_one_step_and_sees_its_own_operations)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
    struct sum once = {.by = 5}, twice = {.by = 100, .twice = true},
               fails = {.by = 1000, .result = QUERN_INVALID};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_update(db, add, &once, NULL, &err), &err);
    CHECK_EQ(sum_of(db, 0), 5);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_update(db, add, &twice, NULL, &err), &err);
    CHECK_EQ(sum_of(db, 0), 205);
    CHECK_CODE(quern_update(db, add, &fails, NULL, &err), QUERN_INVALID);
    CHECK(strcmp(err.text, "as it was told") == 0);
    CHECK_EQ(sum_of(db, 0), 205);
    CHECK_EQ(fails.runs, 1);
    CHECK_OK(quern_update(db, add, &once, &(struct quern_write_opts){.sync = true}, &err), &err);
    left = sim_crash(sim, 1, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(left, NULL, &db, &err), &err);
    CHECK_EQ(sum_of(db, 0), 210);
    CHECK_OK(quern_close(db, &err), &err);
}

static bool sees(struct quern_update *u, unsigned key, unsigned v, bool there)
{
    struct quern_value value = {0};
    struct quern_error e;
    enum quern_code code = quern_update_get(u, world_key(key), &value, &e);
    struct quern_slice want = world_value(key, v);
    bool same =
        code == QUERN_OK && value.len == want.len && memcmp(value.data, want.data, want.len) == 0;

    quern_value_done(&value);
    return there ? same : code == QUERN_NOT_FOUND;
}

/* Clears its batch twice: what it puts in then is less than there was, and more. */
static enum quern_code begin_anew(void *arg, struct quern_update *u, struct quern_error *e)
{
    struct quern_batch *batch = quern_update_batch(u);
    bool *right = arg;
    enum quern_code code = QUERN_OK;

    *right = true;
    for (unsigned round = 0; round < 3; round++) {
        quern_batch_clear(batch);
        for (unsigned k = 1; k < 8; k++)
            *right &= sees(u, k, 0, false);
        *right &= sees(u, 0, 1, true);
        for (unsigned k = round; code == QUERN_OK && k < (round == 1 ? 3 : 8); k++) {
            code = quern_batch_put(batch, world_key(k), world_value(k, 5 + round), e);
            *right &= sees(u, k, 5 + round, true);
        }
    }
    return code;
}

TEST(an_update_may_clear_its_batch_and_begin_anew)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    bool right = false;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 0, 1, false, &err), &err);
    CHECK_OK(quern_update(db, begin_anew, &right, NULL, &err), &err);
    CHECK(right);
    CHECK_OK(world_get(db, 0, 1, &err), &err);
    CHECK_CODE(world_get(db, 1, 6, &err), QUERN_NOT_FOUND);
    CHECK_OK(world_check(db, 2, 8, 7, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 heap = mallinfo2();

    return heap.uordblks + heap.hblkhd;
}

/* On the local disk, since the simulated one lies in the heap. */
TEST(an_update_gives_back_the_memory_of_what_it_wrote)
{
    struct quern_options options = {.memory_bytes = 64 << 20, .memdb_bytes = 16 << 20};
    struct sum large = {.by = 1, .pad = 4 << 20}, fails = large;
    char path[320];
    struct quern *db;
    size_t before;

    (void)snprintf(path, sizeof(path), "%s/db", tap_dir());
    CHECK_OK(quern_open(path, &options, &db, &err), &err);
    CHECK_OK(quern_update(db, add, &(struct sum){.by = 1, .key = 1}, NULL, &err), &err);
    fails.result = QUERN_INVALID;
    before = heap_bytes();
    CHECK_OK(quern_update(db, add, &large, NULL, &err), &err);
    CHECK_CODE(quern_update(db, add, &fails, NULL, &err), QUERN_INVALID);
    CHECK(heap_bytes() < before + (1 << 20));
    CHECK_EQ(sum_of(db, 0), 1);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Sums, and puts and deletes of other keys, and one that fails: all in one group. */
TEST(an_update_sees_what_stands_before_it_in_its_group_but_not_what_was_refused)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct sent s;
    static struct sum sums[SENT];
    uint64_t want = 0;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 99, 1, false, &err), &err);
    send_begin(&s, db);
    for (unsigned i = 1; i < SENT; i++) {
        s.batch[i] = quern_batch_new();
        sums[i] = (struct sum){.by = i, .twice = i % 2, .key = 3};
        if (i % 4 == 0)
            sums[i].result = QUERN_NOT_FOUND;
        if (i % 10 == 0) {
            CHECK_OK(quern_batch_delete(s.batch[i], world_key(3), &err), &err);
            CHECK_OK(quern_write_async(db, s.batch[i], NULL, &s.done[i], &err), &err);
            want = 0;
            continue;
        }
        CHECK_OK(quern_update_async(db, add, &sums[i], NULL, &s.done[i], &err), &err);
        if (i % 4 != 0)
            want += i * (1 + i % 2);
    }
    send_end(&s, SENT);
    for (unsigned i = 1; i < SENT; i++)
        CHECK_EQ(s.done[i].code, i % 10 != 0 && i % 4 == 0 ? QUERN_NOT_FOUND : QUERN_OK);
    CHECK_EQ(sum_of(db, 3), want);
    CHECK_OK(quern_close(db, &err), &err);
}

/* How long an update's batch will be is not known when the group is made. */
TEST(updates_that_write_much_are_spread_over_groups)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    static struct sent s;
    static struct sum sums[SENT];
    struct quern_stats stats;
    uint64_t groups;
    struct quern *db;

    options.memory_bytes = 64 << 20;
    options.memdb_bytes = 8 << 20;
    options.log_segment_bytes = 16 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_put(db, 99, 1, false, &err), &err);
    quern_stats(db, &stats);
    groups = stats.log_groups;
    send_begin(&s, db);
    for (unsigned i = 1; i < SENT; i++) {
        s.batch[i] = quern_batch_new();
        sums[i] = (struct sum){.by = i, .key = 3, .pad = 400000};
        CHECK_OK(quern_update_async(db, add, &sums[i], NULL, &s.done[i], &err), &err);
    }
    send_end(&s, SENT);
    for (unsigned i = 1; i < SENT; i++) {
        CHECK_EQ(s.done[i].code, QUERN_OK);
        CHECK_EQ(sums[i].runs, 1);
        CHECK(i == 1 || s.done[i].seq == s.done[i - 1].seq + 1);
    }
    CHECK_EQ(sum_of(db, 3), SENT * (SENT - 1) / 2);
    quern_stats(db, &stats);
    CHECK(stats.log_groups - groups >= SENT / 3);
    CHECK_OK(quern_close(db, &err), &err);
}

/* What they were judged by has not happened. */
TEST(when_a_group_fails_those_it_refused_hear_of_the_failure_too)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct sent s;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 99, 1, false, &err), &err);
    send_begin(&s, db);
    for (unsigned i = 1; i < 3; i++) {
        s.batch[i] = quern_batch_new();
        CHECK_OK(quern_batch_require(s.batch[i], QUERN_REQUIRE_ABSENT, world_key(1), 0, &err),
                 &err);
        CHECK_OK(quern_batch_put(s.batch[i], world_key(1), world_value(1, i), &err), &err);
        CHECK_OK(quern_write_async(db, s.batch[i], &(struct quern_write_opts){.sync = true},
                                   &s.done[i], &err),
                 &err);
    }
    sim_fail(sim,
             &(struct sim_fault){.ops = SIM_SYNC | SIM_WRITE, .always = true, .sys_errno = EIO});
    send_end(&s, 3);
    CHECK(s.done[1].code != QUERN_OK && s.done[1].code != QUERN_CONFLICT);
    CHECK_EQ(s.done[2].code, s.done[1].code);
    sim_fail_never(sim);
    (void)quern_close(db, &err);
}

/* ---- beside others ---- */

#define THREADS 4
#define TURNS 2000

struct party {
    struct quern *db;
    unsigned no;
    uint64_t won;
    bool wrong;
    pthread_t thread;
};

/* By updates, and by checks that are tried again: the same counter, and each counts once. */
static void *count_up(void *arg)
{
    struct party *p = arg;
    struct quern_batch *batch = quern_batch_new();
    struct quern_value value = {0};
    struct quern_error e;

    for (unsigned i = 0; i < TURNS; i++) {
        struct sum s = {.by = 1, .key = 1};
        uint64_t n = 0;
        enum quern_code code;

        if (p->no % 2 == 0) {
            p->wrong |= quern_update(p->db, add, &s, NULL, &e) != QUERN_OK;
            p->won++;
            continue;
        }
        code = quern_get(p->db, world_key(1), NULL, &value, &e);
        quern_batch_clear(batch);
        if (code == QUERN_OK)
            memcpy(&n, value.data, sizeof(n));
        n++;
        p->wrong |= quern_batch_require(
                        batch, code == QUERN_OK ? QUERN_REQUIRE_REVISION : QUERN_REQUIRE_ABSENT,
                        world_key(1), value.seq, &e) != QUERN_OK ||
                    quern_batch_put(batch, world_key(1), slice_of(&n, sizeof(n)), &e) != QUERN_OK;
        code = quern_write(p->db, batch, NULL, &e);
        p->won += code == QUERN_OK;
        p->wrong |= code != QUERN_OK && code != QUERN_CONFLICT;
    }
    quern_value_done(&value);
    quern_batch_free(batch);
    return NULL;
}

TEST(threads_that_count_by_updates_and_by_checks_lose_no_count)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct party party[THREADS] = {0};
    uint64_t won = 0;
    bool wrong = false;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned t = 0; t < THREADS; t++) {
        party[t] = (struct party){.db = db, .no = t};
        if (pthread_create(&party[t].thread, NULL, count_up, &party[t]) != 0)
            abort();
    }
    for (unsigned t = 0; t < THREADS; t++) {
        (void)pthread_join(party[t].thread, NULL);
        won += party[t].won;
        wrong |= party[t].wrong;
    }
    CHECK(!wrong);
    CHECK_EQ(sum_of(db, 1), won);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- what fails ---- */

TEST(a_key_that_cannot_be_read_refuses_the_write_that_depends_on_it)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sum s = {.by = 1};
    unsigned bad = 0;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 50, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK(sim_corrupt(sim, "*.sst", 700, 1) == 1);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    while (bad < 50 && world_get(db, bad, 1, &err) == QUERN_OK)
        bad++;
    CHECK(bad < 50);
    s.key = bad;
    CHECK_CODE(put_if(db, QUERN_REQUIRE_PRESENT, bad, 0, 2), QUERN_CORRUPT);
    CHECK(strstr(err.text, "check 0") != NULL);
    CHECK_CODE(quern_update(db, add, &s, NULL, &err), QUERN_CORRUPT);
    CHECK_OK(world_put(db, bad, 3, false, &err), &err);
    CHECK_OK(put_if(db, QUERN_REQUIRE_PRESENT, bad, 0, 4), &err);
    CHECK_OK(world_get(db, bad, 4, &err), &err);
    (void)quern_close(db, &err);
}

TEST(without_memory_a_dependent_write_is_refused_and_can_be_tried_again)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    unsigned refused = 0;
    struct quern *db;
    uint64_t sum = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 5, 1, false, &err), &err);
    for (uint64_t n = 0; n < 20; n++) {
        struct sum s = {.by = 1, .key = 1, .twice = true};
        enum quern_code code;

        alloc_fail_once_after(n);
        code = quern_update(db, add, &s, NULL, &err);
        alloc_fail_never();
        CHECK(code == QUERN_OK || code == QUERN_NO_MEMORY);
        sum += code == QUERN_OK ? 2 : 0;
        refused += code != QUERN_OK;
        CHECK_EQ(sum_of(db, 1), sum);
        alloc_fail_once_after(n);
        code = put_if(db, QUERN_REQUIRE_PRESENT, 5, 0, 2);
        alloc_fail_never();
        CHECK(code == QUERN_OK || code == QUERN_NO_MEMORY);
    }
    CHECK(refused != 0);
    CHECK_OK(world_get(db, 5, 2, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}
