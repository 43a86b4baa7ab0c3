/* test_engine.c - the store as a whole, on a sound disk: limits, asynchronous writes, budgets,
 * periods, and a directory that holds more than it should. Faults: test_engine_faults.c. */
#include "engine_world.h"

#include "base/alloc.h"

#include <pthread.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct quern_error err;

static void nap_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

#define TRIES_MAX 3000 /* of 5 ms: a slow machine needs some, a wrong one all of them */
#define BRIEF 5        /* so many tries of 1 ms for one */

/* ---- limits ---- */

TEST(keys_and_values_may_have_every_length_up_to_the_limits)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_value value = {0};
    struct quern *db;
    char *key = malloc(QUERN_KEY_BYTES_MAX + 1);

    memset(key, 'k', QUERN_KEY_BYTES_MAX + 1);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (int round = 0; round < 2; round++) {
        struct quern_slice longest = {key, QUERN_KEY_BYTES_MAX};

        CHECK_OK(quern_put(db, longest, QUERN_STR("long"), NULL, &err), &err);
        CHECK_OK(
            quern_put(db, (struct quern_slice){"\0", 1}, (struct quern_slice){NULL, 0}, NULL, &err),
            &err);
        if (round == 1)
            CHECK_OK(quern_flush(db, &err), &err);
        CHECK_OK(quern_get(db, longest, NULL, &value, &err), &err);
        CHECK_EQ(value.len, 4);
        CHECK_OK(quern_get(db, (struct quern_slice){"\0", 1}, NULL, &value, &err), &err);
        CHECK_EQ(value.len, 0);
    }
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_get(db, (struct quern_slice){key, QUERN_KEY_BYTES_MAX}, NULL, &value, &err),
             &err);
    quern_value_done(&value);
    CHECK_OK(quern_close(db, &err), &err);
    free(key);
}

TEST(what_is_over_a_limit_is_invalid_and_changes_nothing)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_slice one = QUERN_STR("k"), none = {"", 0};
    struct quern_slice wide = {"never read", QUERN_KEY_BYTES_MAX + 1};
    struct quern_slice huge = {"never read", (size_t)QUERN_VALUE_BYTES_MAX + 1};
    struct quern_value value = {0};
    struct quern_stats stats;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(quern_put(db, none, one, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_put(db, wide, one, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_put(db, one, huge, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_delete(db, none, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_delete(db, wide, NULL, &err), QUERN_INVALID);
    CHECK_CODE(quern_get(db, none, NULL, &value, &err), QUERN_INVALID);
    CHECK_CODE(quern_get(db, wide, NULL, &value, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_put(batch, none, one, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_put(batch, wide, one, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_put(batch, one, huge, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_delete(batch, wide, &err), QUERN_INVALID);
    CHECK_EQ(quern_batch_count(batch), 0);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    quern_stats(db, &stats);
    CHECK_EQ(stats.visible_seq, 0);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(options_out_of_shape_are_refused)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options bad[] = {
        {.memory_bytes = 1000},
        {.tier_runs = 1},
        {.tier_runs = 17},
        {.log_segment_bytes = 1000},
        {.compression = 99},
        {.must_exist = true, .must_create = true},
        {.recover = (enum quern_recover)7},
    };
    struct quern *db = NULL;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_CODE(world_open(sim, &bad[i], &db, &err), QUERN_INVALID);
    CHECK(strstr(err.text, "recover is 7") != NULL); /* of the last, as an example */
    CHECK(db == NULL);
    CHECK_CODE(quern_open("", NULL, &db, &err), QUERN_INVALID);
    CHECK_CODE(quern_open(NULL, NULL, &db, &err), QUERN_INVALID);
    CHECK_CODE(world_open(sim, &(struct quern_options){.must_exist = true}, &db, &err),
               QUERN_NO_STORE);
    CHECK_OK(world_open(sim, &(struct quern_options){.must_create = true}, &db, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_CODE(world_open(sim, &(struct quern_options){.must_create = true}, &db, &err),
               QUERN_EXISTS);
}

/* 64 MiB, far over the MemDB, the cache and a log segment: on a real disk. */
TEST(a_large_value_comes_back_from_memory_log_and_table)
{
    enum { BYTES = 64 << 20 };
    struct quern_options options = {.memory_bytes = 64 << 20, .log_segment_bytes = 1 << 20};
    struct quern_value value = {0};
    uint8_t *bytes = malloc(BYTES);
    struct quern *db;
    const char *path = tap_dir();

    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    CHECK_OK(quern_open(path, &options, &db, &err), &err);
    CHECK_OK(quern_put(db, QUERN_STR("small"), QUERN_STR("1"), NULL, &err), &err);
    CHECK_OK(quern_put(db, QUERN_STR("large"), (struct quern_slice){bytes, BYTES}, NULL, &err),
             &err);
    CHECK_OK(quern_put(db, QUERN_STR("small"), QUERN_STR("2"), NULL, &err), &err);
    for (int round = 0; round < 3; round++) {
        CHECK_OK(quern_get(db, QUERN_STR("large"), NULL, &value, &err), &err);
        CHECK_EQ(value.len, BYTES);
        CHECK(memcmp(value.data, bytes, BYTES) == 0);
        CHECK_OK(quern_get(db, QUERN_STR("small"), NULL, &value, &err), &err);
        CHECK_BYTES(((struct quern_slice){value.data, value.len}), "2");
        if (round == 0) {
            CHECK_OK(quern_flush(db, &err), &err);
        } else if (round == 1) {
            CHECK_OK(quern_close(db, &err), &err);
            CHECK_OK(quern_open(path, &options, &db, &err), &err);
        }
    }
    quern_value_done(&value);
    CHECK_OK(quern_close(db, &err), &err);
    free(bytes);
}

/* ---- one store, one owner ---- */

TEST(a_second_open_is_locked_out)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db, *other = NULL;
    const char *path = tap_dir();

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(world_open(sim, NULL, &other, &err), QUERN_LOCKED);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(quern_open(path, NULL, &db, &err), &err);
    CHECK_CODE(quern_open(path, NULL, &other, &err), QUERN_LOCKED);
    CHECK(other == NULL);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_child_process_cannot_use_the_handle_of_its_parent)
{
    struct quern *db;
    int status = 0;
    pid_t child;

    CHECK_OK(quern_open(tap_dir(), NULL, &db, &err), &err);
    CHECK_OK(world_put(db, 1, 1, false, &err), &err);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        struct quern_value value = {0};
        struct quern_iter *it;
        int wrong = 0;

        wrong |= quern_get(db, world_key(1), NULL, &value, &err) != QUERN_INVALID;
        wrong |= (world_put(db, 2, 1, true, &err) != QUERN_INVALID) << 1;
        wrong |= (quern_iter_new(db, NULL, &it, &err) != QUERN_INVALID) << 2;
        wrong |= (quern_flush(db, &err) != QUERN_INVALID) << 3;
        wrong |= (quern_close(db, &err) != QUERN_INVALID) << 4;
        _exit(wrong);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_OK(world_get(db, 1, 1, &err), &err);
    CHECK_OK(world_put(db, 2, 1, true, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- read-only ---- */

TEST(a_store_opened_read_only_shows_all_and_writes_nothing)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *left OWNED(sim_free) = NULL;
    struct quern_options options = world_options();
    static struct world_files before, after;
    struct quern_batch *batch = quern_batch_new();
    struct quern_completion done = {0};
    struct quern_stats stats;
    struct quern *db;
    uint64_t changes, count = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 300, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(world_fill(db, 200, 400, 2, &err), &err);
    left = sim_crash(sim, 1, SIM_KEEP_ALL); /* so that there is a log to replay */
    CHECK_OK(quern_close(db, &err), &err);
    CHECK(world_write(left, "000999.sst", "an orphan", 9));
    world_list(left, &before);
    changes = sim_op_count_of(left, SIM_CHANGES);
    options.read_only = true;
    CHECK_OK(world_open(left, &options, &db, &err), &err);
    CHECK_OK(world_check(db, 0, 200, 1, &err), &err);
    CHECK_OK(world_check(db, 200, 400, 2, &err), &err);
    CHECK_OK(quern_count(db, NULL, NULL, &count, &err), &err);
    CHECK_EQ(count, 400);
    CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
    CHECK_CODE(world_put(db, 1, 3, false, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_delete(db, world_key(1), NULL, &err), QUERN_READ_ONLY);
    CHECK_OK(quern_batch_put(batch, world_key(1), world_value(1, 3), &err), &err);
    CHECK_CODE(quern_write(db, batch, NULL, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_write_async(db, batch, NULL, &done, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_flush(db, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_compact(db, NULL, &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_checkpoint(db, "/elsewhere", &err), QUERN_READ_ONLY);
    CHECK_CODE(quern_sync(db, &err), QUERN_READ_ONLY);
    quern_stats(db, &stats);
    CHECK(stats.read_only);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_EQ(sim_op_count_of(left, SIM_CHANGES), changes);
    world_list(left, &after);
    CHECK_EQ(after.count, before.count);
    for (size_t i = 0; i < after.count; i++) {
        CHECK(strcmp(after.file[i].name, before.file[i].name) == 0);
        CHECK(after.file[i].hash == before.file[i].hash);
    }
    quern_batch_free(batch);
    CHECK_CODE(engine_open(sim_os(left), "/nowhere", &options, &db, &err), QUERN_NO_STORE);
}

/* ---- a directory with more in it ---- */

TEST(a_store_keeps_its_number_and_a_checkpoint_has_another)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *other OWNED(sim_free) = sim_new(2);
    struct quern_options options = world_options();
    struct quern *db;
    uint64_t id;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    id = quern_store_id(db);
    CHECK(id != 0);
    CHECK_OK(world_put(db, 1, 1, true, &err), &err);
    CHECK_OK(quern_checkpoint(db, "/copy", &err), &err);
    CHECK_EQ(quern_store_id(db), id);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_EQ(quern_store_id(db), id);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_open(sim_os(sim), "/copy", &options, &db, &err), &err);
    CHECK(quern_store_id(db) != id);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(other, NULL, &db, &err), &err);
    CHECK(quern_store_id(db) != id);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(foreign_files_stay_and_orphans_go)
{
    static const char *const foreign[] = {"notes.txt",       "1.sst",       "holiday.wal",
                                          "MANIFEST.backup", "CURRENT.old", "12.wal.tmp"};
    static const char *const orphans[] = {"000900.sst",    "000901.sst.tmp",      "000900.wal",
                                          "CURRENT.tmp",   "MANIFEST-000900.tmp", "MANIFEST-000901",
                                          "000902.wal.tmp"};
    struct sim *sim OWNED(sim_free) = sim_new(1);
    static struct world_files files;
    struct quern *db;

    CHECK(world_write(sim, foreign[0], "mine", 4)); /* beside a store that is only just made */
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 50, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        CHECK(world_write(sim, foreign[i], "mine", 4));
    for (size_t i = 0; i < ARRAY_LEN(orphans); i++)
        CHECK(world_write(sim, orphans[i], "left by a crash", 15));
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, 50, 1, &err), &err);
    CHECK_OK(world_fill(db, 0, 50, 2, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    world_list(sim, &files);
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        if (world_find(&files, foreign[i], 0) == files.count)
            tap_fail(__FILE__, __LINE__, "%s is gone", foreign[i]);
    for (size_t i = 0; i < ARRAY_LEN(orphans); i++)
        if (world_find(&files, orphans[i], 0) != files.count)
            tap_fail(__FILE__, __LINE__, "%s is still there", orphans[i]);
}

/* ---- asynchronous writes ---- */

#define ASYNC_THREADS 4
#define ASYNC_EACH 250

struct async_write {
    struct quern_completion c;
    struct quern_batch *batch;
    struct async_thread *thread;
    unsigned n;
};
struct async_thread {
    struct quern *db;
    unsigned base, told;
    bool disorder;
    int event_fd;
    pthread_t id;
    struct async_write write[ASYNC_EACH];
};

/* Completions of one thread come in the order of its calls. */
static void async_done(void *arg, struct quern_completion *c)
{
    struct async_write *w = arg;
    unsigned at = __atomic_fetch_add(&w->thread->told, 1, __ATOMIC_RELAXED);

    if (at != w->n || c->code != QUERN_OK || !quern_completion_ready(c))
        w->thread->disorder = true;
}

static void *async_body(void *arg)
{
    struct async_thread *t = arg;
    struct quern_error bad;
    uint64_t told = 0, more;

    for (unsigned i = 0; i < ASYNC_EACH; i++) {
        struct async_write *w = &t->write[i];
        struct quern_write_opts opts = {.sync = i % 10 == 9};

        w->thread = t;
        w->n = i;
        w->batch = quern_batch_new();
        w->c = (struct quern_completion){.done = async_done, .arg = w, .event_fd = t->event_fd};
        if (quern_batch_put(w->batch, world_key(t->base + i), world_value(t->base + i, 1), &bad) ||
            quern_write_async(t->db, w->batch, &opts, &w->c, &bad))
            t->disorder = true;
    }
    while (told < ASYNC_EACH && read(t->event_fd, &more, sizeof(more)) == sizeof(more))
        told += more;
    return NULL;
}

TEST(asynchronous_writes_complete_in_order_and_are_durable)
{
    static struct async_thread threads[ASYNC_THREADS];
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *left OWNED(sim_free) = NULL;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned t = 0; t < ASYNC_THREADS; t++) {
        threads[t] = (struct async_thread){.db = db, .base = t * ASYNC_EACH};
        threads[t].event_fd = eventfd(0, EFD_CLOEXEC);
        CHECK_EQ(pthread_create(&threads[t].id, NULL, async_body, &threads[t]), 0);
    }
    for (unsigned t = 0; t < ASYNC_THREADS; t++)
        CHECK_EQ(pthread_join(threads[t].id, NULL), 0);
    left = sim_crash(sim, 1, SIM_DROP_ALL); /* the last write of each thread was synced */
    for (unsigned t = 0; t < ASYNC_THREADS; t++) {
        for (unsigned i = 0; i < ASYNC_EACH; i++) {
            const struct quern_completion *c = &threads[t].write[i].c;

            CHECK(quern_completion_ready(c) && c->code == QUERN_OK);
            CHECK(i == 0 || c->seq > threads[t].write[i - 1].c.seq);
            quern_batch_free(threads[t].write[i].batch);
        }
        CHECK(!threads[t].disorder);
        (void)close(threads[t].event_fd);
    }
    CHECK_OK(world_check(db, 0, ASYNC_THREADS * ASYNC_EACH, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(left, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, ASYNC_THREADS * ASYNC_EACH, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

enum { HAND_WRITES = 600 };
struct hand_write {
    struct quern_completion c;
    struct quern_batch *batch;
    struct handing *of;
    unsigned n;
};
struct handing {
    _Atomic unsigned told, last_ones;
    _Atomic bool disorder, elsewhere;
    pthread_t by;
    struct hand_write write[HAND_WRITES];
};

static void hand_done(void *arg, struct quern_completion *c)
{
    struct hand_write *w = arg;
    struct handing *h = w->of;

    if (atomic_fetch_add(&h->told, 1) != w->n || c->code != QUERN_OK)
        h->disorder = true;
    if (!c->more)
        atomic_fetch_add(&h->last_ones, 1);
    if (!pthread_equal(h->by, pthread_self()))
        h->elsewhere = true;
}

static void hand_over(struct quern *db, struct handing *h, unsigned base, bool sync)
{
    struct quern_hand hand = {0};

    h->told = h->last_ones = 0;
    h->by = pthread_self();
    for (unsigned i = 0; i < HAND_WRITES; i++) {
        struct quern_write_opts opts = {.sync = sync && i + 1 == HAND_WRITES, .hand = &hand};
        struct hand_write *w = &h->write[i];

        w->of = h;
        w->n = i;
        w->c = (struct quern_completion){.done = hand_done, .arg = w};
        w->batch = w->batch != NULL ? w->batch : quern_batch_new();
        quern_batch_clear(w->batch);
        CHECK_OK(quern_batch_put(w->batch, world_key(base + i), world_value(base + i, 1), &err),
                 &err);
        CHECK_OK(quern_write_async(db, w->batch, &opts, &w->c, &err), &err);
    }
    CHECK_EQ(h->told, 0); /* nothing happens before */
    quern_hand_over(db, &hand);
    CHECK(hand.first_ == NULL && hand.count_ == 0);
}

TEST(writes_handed_over_together_are_complete_at_return_if_nothing_has_to_wait)
{
    static struct handing h;
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim *left OWNED(sim_free) = NULL;
    struct quern_options options = world_options();
    struct quern *db;

    options.memory_bytes = 64 << 20;
    options.memdb_bytes = options.log_segment_bytes = 4 << 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 1, 1, &err), &err); /* the log begins */
    do { /* the worker leads now and then: the next time it is not there */
        h.elsewhere = false;
        hand_over(db, &h, 0, false);
        while (h.told < HAND_WRITES)
            nap_ms(1);
        CHECK(!h.disorder);
    } while (h.elsewhere);
    CHECK_EQ(h.last_ones, (HAND_WRITES + 255) / 256); /* one in each commit group */
    CHECK_OK(world_check(db, 0, HAND_WRITES, 1, &err), &err);

    hand_over(db, &h, HAND_WRITES, true); /* somebody must wait for the sync: not this thread */
    while (h.told < HAND_WRITES)
        nap_ms(1);
    CHECK(!h.disorder && h.elsewhere);
    left = sim_crash(sim, 1, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(left, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, 2 * HAND_WRITES, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    for (unsigned i = 0; i < HAND_WRITES; i++)
        quern_batch_free(h.write[i].batch);
}

struct intruder {
    struct quern *db;
    struct quern_completion first, update;
    pthread_t by;
};

static enum quern_code note_who(void *arg, struct quern_update *u, struct quern_error *e)
{
    (void)u, (void)e;
    ((struct intruder *)arg)->by = pthread_self();
    return QUERN_OK;
}

static void intrude(void *arg, struct quern_completion *c)
{
    struct intruder *i = arg;

    (void)c;
    CHECK_OK(quern_update_async(i->db, note_who, i, NULL, &i->update, &err), &err);
}

/* Between the groups of a hand others may have joined the queue, whose writes need to wait. */
TEST(who_hands_writes_over_does_not_carry_out_what_others_ask_for_meanwhile)
{
    static struct quern_completion done[HAND_WRITES];
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_batch *batch = quern_batch_new();
    struct quern_hand hand = {0};
    struct quern_write_opts opts = {.hand = &hand};
    struct intruder i = {.by = pthread_self()};

    options.memory_bytes = 64 << 20;
    options.memdb_bytes = options.log_segment_bytes = 4 << 20;
    CHECK_OK(world_open(sim, &options, &i.db, &err), &err);
    CHECK_OK(world_fill(i.db, 0, 1, 1, &err), &err); /* the log begins */
    CHECK_OK(quern_batch_put(batch, world_key(1), world_value(1, 1), &err), &err);
    i.first = (struct quern_completion){.done = intrude, .arg = &i};
    CHECK_OK(quern_write_async(i.db, batch, &opts, &i.first, &err), &err);
    for (unsigned n = 0; n < HAND_WRITES; n++)
        CHECK_OK(quern_write_async(i.db, batch, &opts, &done[n], &err), &err);
    quern_hand_over(i.db, &hand);
    while (!quern_completion_ready(&i.first) || !quern_completion_ready(&done[HAND_WRITES - 1]) ||
           !quern_completion_ready(&i.update))
        nap_ms(1);
    CHECK(!pthread_equal(i.by, pthread_self()));
    for (unsigned n = 0; n < HAND_WRITES; n++)
        CHECK_CODE(done[n].code, QUERN_OK);
    CHECK_CODE(i.update.code, QUERN_OK);
    CHECK_OK(quern_close(i.db, &err), &err);
    quern_batch_free(batch);
}

TEST(writes_handed_over_to_a_sick_disk_hear_so)
{
    struct quern_hand hand = {0};
    struct quern_write_opts opts = {.hand = &hand};
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim_fault fault = {.ops = SIM_CHANGES, .always = true, .sys_errno = EIO};
    struct quern_batch *batch = quern_batch_new();
    struct quern_completion c = {.code = QUERN_OK};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_batch_put(batch, world_key(1), world_value(1, 1), &err), &err);
    CHECK_OK(quern_write_async(db, batch, &opts, &c, &err), &err);
    sim_fail(sim, &fault);
    quern_hand_over(db, &hand);
    while (!quern_completion_ready(&c))
        nap_ms(1);
    CHECK(c.code != QUERN_OK && c.error.code == c.code && !c.more);
    sim_fail_never(sim);
    IGNORE(quern_close(db, &err));
    quern_batch_free(batch);
}

/* ---- budgets and periods ---- */

/* Wait until `fine` says so, at most half a minute. */
static bool settles(struct quern *db, bool (*fine)(const struct quern_stats *),
                    struct quern_stats *stats)
{
    for (int i = 0; i < 1500; i++) {
        quern_stats(db, stats);
        if (fine(stats))
            return true;
        nap_ms(20);
    }
    return false;
}

static bool within_budget(const struct quern_stats *s)
{
    return s->memdb_bytes + s->cache_bytes <= s->memory_budget;
}

/* Evicted blocks count until no reader can have them any more, so the sum may overshoot for some
 * milliseconds; it comes back by itself. */
TEST(memdbs_and_cache_stay_within_the_budget)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    uint64_t random = tap_seed(), most = 0;
    struct quern_stats stats;
    struct quern_value value = {0};
    struct quern *db;

    options.memory_bytes = 8 << 20;
    options.memdb_bytes = 512 << 10;
    options.tier_runs = 4;
    options.table_bytes = 1 << 20;
    options.block_bytes = 1024;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 100000, 1, &err), &err);
    for (unsigned i = 0; i < 60000; i++) {
        unsigned n = (unsigned)(tap_random(&random) % 100000);

        if (i % 4 == 0)
            CHECK_OK(world_put(db, n, 1, false, &err), &err);
        else
            CHECK_OK(quern_get(db, world_key(n), NULL, &value, &err), &err);
        if (i % 50 == 0) {
            quern_stats(db, &stats);
            if (stats.memdb_bytes + stats.cache_bytes > most)
                most = stats.memdb_bytes + stats.cache_bytes;
        }
    }
    CHECK(settles(db, within_budget, &stats));
    tap_note("at most %llu of %llu bytes; %llu evictions", (unsigned long long)most,
             (unsigned long long)options.memory_bytes, (unsigned long long)stats.cache_evictions);
    CHECK(most <= options.memory_bytes * 3 / 2);
    CHECK(stats.cache_evictions != 0); /* else the budget was never felt */
    quern_value_done(&value);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Neither a flush nor a merge sends those to the disk who found all in memory before. */
TEST(reads_go_on_from_the_cache_when_what_they_read_moves_to_new_tables)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_stats before, after;
    struct quern *db;

    options.memory_bytes = 64 << 20;
    options.memdb_bytes = 4 << 20;
    options.table_bytes = 32 << 10;
    options.block_bytes = 1024;
    options.tier_runs = 4;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 5000, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err); /* nobody has read anything yet */
    quern_stats(db, &before);
    CHECK_EQ(before.cache_bytes, 0);
    CHECK_OK(world_check(db, 0, 5000, 1, &err), &err);
    for (unsigned v = 2; v < 9; v++) {
        CHECK_OK(world_fill(db, 1000, 2000, v, &err), &err);
        CHECK_OK(world_check(db, 0, 1000, 1, &err), &err);
        quern_stats(db, &before);
        CHECK_OK(v == 8 ? quern_compact(db, NULL, &err) : quern_flush(db, &err), &err);
        CHECK_OK(world_check(db, 1000, 2000, v, &err), &err);
        CHECK_OK(world_check(db, 0, 1000, 1, &err), &err);
        CHECK_OK(world_check(db, 2000, 5000, 1, &err), &err);
        quern_stats(db, &after);
        CHECK_EQ(after.cache_misses, before.cache_misses);
    }
    CHECK(after.compactions != 0);
    CHECK_OK(quern_close(db, &err), &err);
}

enum { CACHED_KEYS = 500 };

/* How many of the keys a read says it cannot tell without the disk; -1: an answer was wrong. */
static int read_cached(struct quern *db)
{
    static struct quern_value values[CACHED_KEYS];
    static struct quern_slice keys[CACHED_KEYS];
    static enum quern_code codes[CACHED_KEYS];
    static char text[CACHED_KEYS][24];
    struct quern_read_opts opts = {.cached = true};
    struct quern_value value = {0};
    int busy = 0;

    for (unsigned i = 0; i < CACHED_KEYS; i++) {
        enum quern_code code = quern_get(db, world_key(i), &opts, &value, &err);

        if (code != QUERN_BUSY && (code != QUERN_OK || value.len != world_value(i, 1).len))
            return -1;
        busy += code == QUERN_BUSY;
        codes[i] = code;
    }
    quern_value_done(&value);
    for (unsigned i = 0; i < CACHED_KEYS; i++) { /* world_key() keeps few at a time */
        (void)snprintf(text[i], sizeof(text[i]), "%s", (const char *)world_key(i).data);
        keys[i] = QUERN_STR(text[i]);
    }
    IGNORE(quern_multi_get(db, keys, CACHED_KEYS, &opts, values, codes, &err));
    for (unsigned i = 0; i < CACHED_KEYS; i++) {
        if (codes[i] != QUERN_BUSY && codes[i] != QUERN_OK)
            return -1;
        busy += codes[i] == QUERN_BUSY;
        quern_value_done(&values[i]);
    }
    return busy;
}

/* Of a value of exactly bytes_max and one that is longer, how many a read judges rightly. */
static int read_short(struct quern *db)
{
    struct quern_slice keys[2] = {world_key(0), {"longer", 6}};
    struct quern_value values[2] = {{0}, {0}};
    struct quern_slice value = world_value(0, 1);
    struct quern_read_opts opts = {.cached = true, .bytes_max = value.len};
    enum quern_code codes[2];
    char longer[4096] = {0};
    int right;

    if (quern_put(db, keys[1], (struct quern_slice){longer, value.len + 1}, NULL, &err))
        return -1;
    IGNORE(quern_multi_get(db, keys, 2, &opts, values, codes, &err));
    right = (codes[0] == QUERN_OK && values[0].len == opts.bytes_max) +
            (codes[1] == QUERN_BUSY && values[1].len == 0);
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    return right;
}

TEST(a_cached_read_never_reads_the_disk_and_says_when_it_would_have_to)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_stats before, after;
    struct quern *db;
    uint64_t reads;
    int busy;

    options.memory_bytes = 64 << 20;
    options.memdb_bytes = options.table_bytes = 4 << 20; /* one table, and so nothing to merge */
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, CACHED_KEYS, 1, &err), &err);
    CHECK_EQ(read_cached(db), 0); /* all are in the MemDB */
    CHECK_EQ(read_short(db), 2);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    quern_stats(db, &before);
    reads = sim_op_count_of(sim, SIM_READ);
    CHECK_EQ(read_cached(db), 2 * CACHED_KEYS);
    CHECK_EQ(sim_op_count_of(sim, SIM_READ), reads);
    quern_stats(db, &after);
    CHECK_EQ(after.gets, before.gets); /* nothing was told, so nothing is counted */
    /* Index, filter and one block are there, of the other blocks none. */
    CHECK_OK(world_get(db, 0, 1, &err), &err);
    reads = sim_op_count_of(sim, SIM_READ);
    busy = read_cached(db);
    CHECK(busy > 0 && busy < 2 * CACHED_KEYS);
    CHECK_EQ(sim_op_count_of(sim, SIM_READ), reads);
    CHECK_OK(world_check(db, 0, CACHED_KEYS, 1, &err), &err);
    reads = sim_op_count_of(sim, SIM_READ);
    CHECK_EQ(read_cached(db), 0);
    CHECK_EQ(sim_op_count_of(sim, SIM_READ), reads);
    CHECK_OK(quern_close(db, &err), &err);
}

enum { SPREAD_KEYS = 16 };

/* Keys that lie in blocks of their own, as far as there are as many. */
static void spread_keys(char text[SPREAD_KEYS][24], struct quern_slice *keys)
{
    for (unsigned i = 0; i < SPREAD_KEYS; i++) { /* world_key() keeps few at a time */
        (void)snprintf(text[i], 24, "%s",
                       (const char *)world_key(i * (CACHED_KEYS / SPREAD_KEYS)).data);
        keys[i] = QUERN_STR(text[i]);
    }
}

/* A store in one table, of which nothing is in memory but the table's index. */
static enum quern_code open_cold(struct sim *sim, struct quern **db)
{
    struct quern_options options = world_options();

    options.memory_bytes = 4 << 20;
    options.memdb_bytes = options.table_bytes = 1 << 20;
    if (world_open(sim, &options, db, &err) || world_fill(*db, 0, CACHED_KEYS, 1, &err) ||
        quern_close(*db, &err) || world_open(sim, &options, db, &err))
        return err.code;
    return world_get(*db, CACHED_KEYS - 1, 1, &err);
}

TEST(a_multi_get_begins_all_its_reads_before_it_waits_for_one)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_value values[SPREAD_KEYS] = {{0}};
    struct quern_slice keys[SPREAD_KEYS];
    enum quern_code codes[SPREAD_KEYS];
    char text[SPREAD_KEYS][24];
    struct quern *db;
    uint64_t reads;
    unsigned most;

    CHECK_OK(open_cold(sim, &db), &err);
    CHECK_EQ(sim_reads_begun(sim, &most), 0);
    CHECK_EQ(most, 0); /* a get waits for what it reads: it begins nothing */
    spread_keys(text, keys);
    reads = sim_op_count_of(sim, SIM_READ);
    CHECK_OK(quern_multi_get(db, keys, SPREAD_KEYS, NULL, values, codes, &err), &err);
    reads = sim_op_count_of(sim, SIM_READ) - reads;
    CHECK(reads > SPREAD_KEYS / 2);
    CHECK_EQ(sim_reads_begun(sim, &most), 0); /* nothing is begun that is not read */
    CHECK_EQ(most, reads);
    for (unsigned i = 0; i < SPREAD_KEYS; i++) {
        CHECK_EQ(codes[i], QUERN_OK);
        quern_value_done(&values[i]);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_prefetch_begins_the_reads_that_gets_will_make_and_makes_none)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_read_opts elsewhere = {.database = 3};
    struct quern_slice keys[SPREAD_KEYS];
    char text[SPREAD_KEYS][24];
    struct quern *db;
    uint64_t reads;
    unsigned most, begun;

    CHECK_OK(open_cold(sim, &db), &err);
    spread_keys(text, keys);
    reads = sim_op_count_of(sim, SIM_READ);
    quern_prefetch(db, keys, SPREAD_KEYS, &elsewhere);
    CHECK_EQ(sim_reads_begun(sim, &most), 0);
    quern_prefetch(db, keys, SPREAD_KEYS, NULL);
    CHECK_EQ(sim_op_count_of(sim, SIM_READ), reads);
    begun = sim_reads_begun(sim, &most);
    CHECK(begun > SPREAD_KEYS / 2);
    for (unsigned i = 0; i < SPREAD_KEYS; i++)
        CHECK_OK(world_get(db, i * (CACHED_KEYS / SPREAD_KEYS), 1, &err), &err);
    CHECK_EQ(sim_op_count_of(sim, SIM_READ), reads + begun);
    CHECK_EQ(sim_reads_begun(sim, &most), 0);
    quern_prefetch(db, keys, SPREAD_KEYS, NULL); /* all of it is in memory */
    keys[0] = QUERN_STR("");
    keys[1].len = QUERN_KEY_BYTES_MAX + 1;
    quern_prefetch(db, keys, 2, NULL); /* no keys */
    quern_prefetch(NULL, keys, SPREAD_KEYS, NULL);
    CHECK_EQ(sim_reads_begun(sim, &most), 0);
    CHECK_OK(quern_close(db, &err), &err);
}

/* What was begun may still fail, and then says so as any read does. */
TEST(a_read_that_fails_fails_the_same_after_a_prefetch)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct sim_fault fault = {.ops = SIM_READ, .name = "*.sst", .always = true, .sys_errno = EIO};
    struct quern_value values[SPREAD_KEYS] = {{0}};
    struct quern_slice keys[SPREAD_KEYS];
    enum quern_code codes[SPREAD_KEYS];
    char text[SPREAD_KEYS][24];
    struct quern *db;

    CHECK_OK(open_cold(sim, &db), &err);
    spread_keys(text, keys);
    quern_prefetch(db, keys, SPREAD_KEYS, NULL);
    sim_fail(sim, &fault);
    CHECK_CODE(quern_multi_get(db, keys, SPREAD_KEYS, NULL, values, codes, &err), QUERN_IO);
    for (unsigned i = 1; i + 1 < SPREAD_KEYS; i++)
        CHECK_EQ(codes[i], QUERN_IO);
    sim_fail_never(sim);
    CHECK_OK(quern_multi_get(db, keys, SPREAD_KEYS, NULL, values, codes, &err), &err);
    for (unsigned i = 0; i < SPREAD_KEYS; i++)
        quern_value_done(&values[i]);
    CHECK_OK(quern_close(db, &err), &err);
}

static bool all_flushed(const struct quern_stats *s)
{
    return s->memdb_entries == 0 && s->flushes != 0;
}

static bool one_run(const struct quern_stats *s)
{
    uint32_t runs = 0;

    for (uint32_t t = 0; t < s->tiers; t++)
        runs += s->tier[t].runs;
    return s->memdb_entries == 0 && runs == 1;
}

TEST(an_old_memdb_is_flushed_by_itself)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_stats stats;
    struct quern *db;

    options.flush_interval_ms = 20;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_put(db, 1, 1, false, &err), &err);
    CHECK(settles(db, all_flushed, &stats));
    CHECK_EQ(stats.flush_interval_ms, 20);
    CHECK(stats.last_flush_ms_ago != UINT64_MAX);
    CHECK_OK(world_get(db, 1, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(when_writes_stop_runs_tables_and_space_settle)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_stats busy, calm;
    struct quern *db;

    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned v = 1; v <= 8; v++) {
        CHECK_OK(world_fill(db, 0, 200, v, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    quern_stats(db, &busy);
    CHECK(busy.tier[0].runs == 8);
    CHECK_OK(quern_close(db, &err), &err);
    options.flush_interval_ms = 20;
    options.compact_interval_ms = 10;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK(settles(db, one_run, &calm));
    CHECK_EQ(calm.table_entries, 200);
    CHECK(calm.tables < busy.tables && calm.table_bytes < busy.table_bytes / 4);
    CHECK_OK(world_check(db, 0, 200, 8, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

static void count_log(void *arg, const char *path, uint64_t bytes)
{
    unsigned *count = arg;

    (void)bytes;
    *count += strstr(path, ".wal") != NULL;
}

TEST(a_closed_store_has_no_log)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;
    unsigned segments = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 5000, 1, &err), &err); /* several segments, and spares */
    sim_each_file(sim, count_log, &segments);
    CHECK(segments > 2);
    CHECK_OK(quern_close(db, &err), &err);
    segments = 0;
    sim_each_file(sim, count_log, &segments);
    CHECK_EQ(segments, 0);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, 5000, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- space and bytes while a store is overwritten ---- */

#define LIVE 120000u
#define LIVE_BYTES (LIVE * UINT64_C(110))

struct space {
    struct quern *db;
    uint64_t tables; /* bytes, when last looked at */
    _Atomic uint64_t most;
};

/* After each flush and each slice of a merge: what there was just before its edit, the tables that
 * it wrote beside those that it replaces. Files that a reader still holds are the reader's. */
static void look_at_space(void *arg, const struct quern_event *event)
{
    struct space *space = arg;
    struct quern_stats stats;
    uint64_t bytes;

    if (event->kind != QUERN_EVENT_FLUSHED && event->kind != QUERN_EVENT_COMPACTED)
        return;
    quern_stats(space->db, &stats);
    bytes = space->tables + event->bytes_out + stats.log_bytes;
    if (bytes > atomic_load(&space->most))
        atomic_store(&space->most, bytes);
    space->tables = stats.table_bytes;
}

static uint64_t above_the_bottom(const struct quern_stats *stats)
{
    uint64_t bytes = 0;

    for (uint32_t t = 0; t + 1 < stats->tiers; t++)
        bytes += stats->tier[t].bytes;
    return bytes;
}

/* Tables, what a merge has not let go of yet, log. Fifty MemDBs are live, without compression. The
 * writer is no faster than the worker, as pressure.c sees to where
 * time counts. */
TEST(a_store_that_is_overwritten_takes_1_6_times_what_lives_and_writes_each_byte_seven_times)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct space space = {0};
    struct quern_stats before, stats;
    uint64_t random = tap_seed(), put;
    struct quern *db;

    options.memory_bytes = 16 << 20;
    options.memdb_bytes = 384 * 1024;
    options.log_segment_bytes = 96 * 1024;
    options.table_bytes = 192 * 1024;
    options.block_bytes = 4096;
    options.tier_runs = 4;
    options.compression = QUERN_COMPRESS_NONE;
    options.on_event = look_at_space;
    options.on_event_arg = &space;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    space.db = db;
    CHECK_OK(world_fill(db, 0, LIVE, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    quern_stats(db, &before);
    atomic_store(&space.most, 0);
    for (unsigned n = 0; n < 3 * LIVE; n++) {
        CHECK_OK(world_put(db, (unsigned)(tap_random(&random) % LIVE), 2 + n / LIVE, false, &err),
                 &err);
        for (unsigned tries = 0; n % 500 == 0; tries++) {
            quern_stats(db, &stats);
            if (stats.memdb_sealed == 0 &&
                above_the_bottom(&stats) <= LIVE_BYTES / 4 + 2 * options.memdb_bytes)
                break;
            CHECK(tries < BRIEF * TRIES_MAX);
            nap_ms(1);
        }
    }
    quern_stats(db, &stats);
    put = stats.user_bytes - before.user_bytes;
    tap_note("%u %% of what lives; per byte put %u %% log, %u %% flush, %u %% merge",
             (unsigned)(atomic_load(&space.most) * 100 / LIVE_BYTES),
             (unsigned)((stats.log_bytes_written - before.log_bytes_written) * 100 / put),
             (unsigned)((stats.flush_bytes - before.flush_bytes) * 100 / put),
             (unsigned)((stats.compact_write_bytes - before.compact_write_bytes) * 100 / put));
    CHECK(atomic_load(&space.most) <= LIVE_BYTES * 16 / 10);
    CHECK(stats.log_bytes_written + stats.flush_bytes + stats.compact_write_bytes -
              before.log_bytes_written - before.flush_bytes - before.compact_write_bytes <=
          put * 75 / 10);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Lets the worker go on from one flush to the next when it is told. */
struct gate {
    struct quern *db;
    _Atomic unsigned flushed, allowed;
};

static void wait_at_gate(void *arg, const struct quern_event *event)
{
    struct gate *gate = arg;
    unsigned no;

    if (event->kind != QUERN_EVENT_FLUSHED)
        return;
    atomic_store(&gate->db->flush_rate, 0); /* writers are not slowed, of which they would tell */
    no = atomic_fetch_add(&gate->flushed, 1) + 1;
    while (atomic_load(&gate->allowed) < no)
        nap_ms(1);
}

static bool flushes_reach(struct gate *gate, unsigned no)
{
    for (int tries = 0; tries < TRIES_MAX && atomic_load(&gate->flushed) < no; tries++)
        nap_ms(5);
    return atomic_load(&gate->flushed) >= no;
}

/* Writers are ahead of the worker: a MemDB is flushed, and its memory waits for the next one, while
 * another is sealed still. */
TEST(the_cache_leaves_room_for_memory_that_waits_while_a_memdb_is_sealed)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct gate gate = {0};
    struct sst_cache_stats cache;
    struct quern_stats stats = {0};
    bool reached = true, held = false, waits;
    unsigned n = 0;

    options.memory_bytes = 4 << 20;
    options.memdb_bytes = 256 << 10;
    options.on_event = wait_at_gate;
    options.on_event_arg = &gate;
    CHECK_OK(world_open(sim, &options, &gate.db, &err), &err);
    for (; n < 20000 && (stats.memdb_sealed < 2 || !held); n += 10) {
        CHECK_OK(world_fill(gate.db, n, n + 10, 1, &err), &err);
        held = atomic_load(&gate.flushed) != 0; /* first: what is sealed then stays so */
        quern_stats(gate.db, &stats);
    }
    for (unsigned no = 1; no < 3; no++) {
        atomic_store(&gate.allowed, no);
        reached = reached && flushes_reach(&gate, no + 1);
    }
    rcu_drain();
    waits = gate.db->spare.base != NULL;
    sst_cache_stats(gate.db->cache, &cache); /* told before the last flush: one was sealed */
    atomic_store(&gate.allowed, UINT32_MAX);
    CHECK_OK(quern_close(gate.db, &err), &err);
    CHECK(n < 20000 && reached && waits);
    CHECK(cache.capacity_bytes + 3 * options.memdb_bytes + options.memory_bytes / 8 <=
          options.memory_bytes);
}

/* ---- views ---- */

TEST(a_snapshot_outlives_flush_compaction_and_the_files_it_came_from)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_read_opts opts = {0};
    struct quern_snapshot *snapshot;
    struct quern_iter_opts walk = {0};
    struct quern_value value = {0};
    struct quern_iter *it;
    struct quern *db;
    unsigned n = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 300, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &snapshot, &err), &err);
    opts.snapshot = walk.snapshot = snapshot;
    CHECK_OK(quern_iter_new(db, &walk, &it, &err), &err);
    CHECK(quern_iter_first(it));
    for (unsigned v = 2; v < 5; v++) {
        CHECK_OK(world_fill(db, 0, 300, v, &err), &err);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
    }
    for (bool more = true; more; more = quern_iter_next(it), n++) {
        struct quern_slice got = quern_iter_value(it), want = world_value(n, 1);

        CHECK(got.len == want.len && memcmp(got.data, want.data, want.len) == 0);
    }
    CHECK_EQ(n, 300);
    CHECK_OK(quern_get(db, world_key(7), &opts, &value, &err), &err);
    CHECK(memcmp(value.data, world_value(7, 1).data, value.len) == 0);
    quern_value_done(&value);
    quern_iter_free(it);
    quern_snapshot_free(snapshot);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(world_check(db, 0, 300, 4, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- when the worker merges by itself ---- */

static struct quern_stats stats_of(struct quern *db)
{
    struct quern_stats stats;

    quern_stats(db, &stats);
    return stats;
}

static uint32_t upper_runs(struct quern *db)
{
    struct quern_stats stats = stats_of(db);
    uint32_t runs = 0;

    for (uint32_t t = 0; t + 1 < stats.tiers; t++)
        runs += stats.tier[t].runs;
    return runs;
}

/* Never idle, hardly any bytes, and no period that could settle it. */
TEST(many_deletions_are_merged_away_while_the_store_is_written_elsewhere)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern *db;
    unsigned tries = 0;

    options.tier_runs = 4;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 1000, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    for (unsigned n = 200; n < 700; n++)
        CHECK_OK(quern_delete(db, world_key(n), NULL, &err), &err);
    for (unsigned flush = 0; flush < 4; flush++) {
        CHECK_OK(world_put(db, 5000 + flush, 1, false, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    while (stats_of(db).table_entries != 504 && tries++ < TRIES_MAX)
        nap_ms(5);
    CHECK_EQ(stats_of(db).table_entries, 504);
    CHECK_OK(world_check(db, 0, 200, 1, &err), &err);
    CHECK_OK(world_check(db, 700, 1000, 1, &err), &err);
    CHECK_CODE(world_get(db, 300, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(quern_close(db, &err), &err);
}

static unsigned count_by_scan(struct quern *db)
{
    struct quern_iter *it = NULL;
    unsigned n = 0;

    if (!EXPECT(quern_iter_new(db, NULL, &it, &err) == QUERN_OK))
        return 0;
    for (bool ok = quern_iter_first(it); ok; ok = quern_iter_next(it))
        n++;
    quern_iter_free(it);
    return n;
}

/* Nobody reads, and no MemDB is full or old. */
TEST(many_deletions_in_a_memdb_are_flushed_and_merged_away)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    const unsigned many = 80000, left = 1000;
    struct quern *db;
    unsigned tries = 0;

    options.memory_bytes = 64 << 20;
    options.memdb_bytes = 32 << 20;
    options.log_segment_bytes = 1 << 20;
    options.table_bytes = 4 << 20;
    options.block_bytes = 4096;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, many, 1, &err), &err);
    for (unsigned n = 0; n < many - left; n++) /* what they hide is in the MemDB itself */
        CHECK_OK(quern_delete(db, world_key(many + n), NULL, &err), &err);
    CHECK_EQ(stats_of(db).tables, 0);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_entries, many);
    for (unsigned n = 0; n < many - left; n++)
        CHECK_OK(quern_delete(db, world_key(n), NULL, &err), &err);
    while (stats_of(db).table_entries > many / 4 && tries++ < TRIES_MAX)
        nap_ms(5);
    CHECK(tries < TRIES_MAX);
    CHECK(stats_of(db).memdb_entries < many / 4);
    CHECK_EQ(count_by_scan(db), left);
    CHECK_OK(quern_close(db, &err), &err);
}

/* No MemDB is full or old, and no stretch is empty: every scan walks over every deletion, until the
 * walks have paid for taking them away. */
TEST(deletions_that_scans_walk_over_are_flushed_and_merged_away)
{
    for (int held = 0; held < 2; held++) {
        struct sim *sim OWNED(sim_free) = sim_new(1);
        struct quern_options options = world_options();
        struct quern_snapshot *snapshot = NULL;
        struct quern *db;
        unsigned scans = 0;

        options.memdb_bytes = 256 * 1024;
        options.compact_interval_ms = 20;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 1000, 1, &err), &err);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
        if (held)
            CHECK_OK(quern_snapshot_new(db, &snapshot, &err), &err);
        for (unsigned n = 0; n < 1000; n += 2)
            CHECK_OK(quern_delete(db, world_key(n), NULL, &err), &err);
        nap_ms(100); /* many looks, and nobody has read */
        CHECK_EQ(stats_of(db).memdb_entries, 500);
        for (; stats_of(db).table_entries != 500 && scans < (held ? 100 : BRIEF * TRIES_MAX);
             scans++) {
            CHECK_EQ(count_by_scan(db), 500);
            nap_ms(1);
        }
        CHECK_EQ(stats_of(db).memdb_entries, held ? 500 : 0); /* they are needed, or gone */
        CHECK(held || stats_of(db).table_tombstones == 0);
        quern_snapshot_free(snapshot);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

TEST(a_held_snapshot_makes_no_merge_go_round_and_once_it_is_free_dead_entries_go)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    struct quern_snapshot *snapshot;
    struct quern *db;
    uint64_t merges;
    unsigned tries = 0;

    options.compact_interval_ms = 1;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 500, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &snapshot, &err), &err);
    for (unsigned n = 0; n < 500; n++)
        CHECK_OK(n % 2 ? world_put(db, n, 2, false, &err)
                       : quern_delete(db, world_key(n), NULL, &err),
                 &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_EQ(stats_of(db).table_tombstones, 250);
    merges = stats_of(db).compactions;
    for (unsigned look = 0; look < 100; look++) {
        CHECK_OK(world_put(db, 9000, look, false, &err), &err);
        nap_ms(2);
    }
    CHECK_EQ(stats_of(db).compactions, merges);
    quern_snapshot_free(snapshot);
    while (stats_of(db).table_entries > 250 && tries++ < TRIES_MAX)
        nap_ms(5);
    CHECK(tries < TRIES_MAX);
    CHECK_EQ(stats_of(db).table_tombstones, 0);
    nap_ms(100); /* the last merge is seen before it is counted */
    merges = stats_of(db).compactions;
    nap_ms(100); /* many looks */
    CHECK_EQ(stats_of(db).compactions, merges);
    for (unsigned n = 1; n < 500; n += 2)
        CHECK_OK(world_get(db, n, 2, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}

/* On the worker's own thread, as the end of merging after damage. */
static void merge_no_more(void *arg, const struct quern_event *event)
{
    struct quern **db = arg;

    if (event->kind == QUERN_EVENT_FLUSHED)
        (*db)->merge_again_ns = MERGE_NEVER;
}

/* A read begins its searches of RUNS_AT_ONCE runs together, and of the others after these. Run r has
 * key r alone, between keys that are in all. */
TEST(a_key_is_found_in_whichever_of_very_many_runs_it_is)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    const unsigned runs = RUNS_AT_ONCE + 3;
    struct quern_iter *it;
    struct quern *db;

    options.on_event = merge_no_more;
    options.on_event_arg = &db;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned run = 1; run <= runs; run++) {
        CHECK_OK(world_put(db, 0, run, false, &err), &err);
        CHECK_OK(world_put(db, run, 1, false, &err), &err);
        CHECK_OK(world_put(db, 900, run, false, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    CHECK_EQ(upper_runs(db), runs);
    CHECK_OK(world_get(db, 0, runs, &err), &err);
    CHECK_OK(world_check(db, 1, runs + 1, 1, &err), &err);
    CHECK_OK(world_get(db, 900, runs, &err), &err);
    CHECK_EQ(world_get(db, 899, 1, &err), QUERN_NOT_FOUND);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    for (unsigned n = 1; n <= runs; n++) {
        CHECK(quern_iter_seek(it, world_key(n)));
        CHECK(key_equal(quern_iter_key(it), world_key(n)));
        CHECK(quern_iter_seek_back(it, world_key(n)));
        CHECK(key_equal(quern_iter_key(it), world_key(n)));
    }
    quern_iter_free(it);
    CHECK_OK(quern_close(db, &err), &err);
}

/* Gets, batched gets and scans: each pays for the merge that spares it the runs. The store is
 * written all the while, so that it is not merged for being idle. */
TEST(reads_that_cross_many_runs_have_them_merged)
{
    for (int how = 0; how < 3; how++) {
        struct sim *sim OWNED(sim_free) = sim_new(1);
        struct quern_options options = world_options();
        struct quern_value value = {0};
        struct quern *db;
        unsigned v = 2;

        options.compact_interval_ms = 50;
        options.memory_bytes = 8 << 20; /* no flush of what keeps it from being idle */
        options.memdb_bytes = 1 << 20;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 200, 1, &err), &err);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
        for (unsigned run = 0; run < 3; run++) {
            CHECK_OK(world_put(db, run, 2, false, &err), &err);
            CHECK_OK(world_put(db, 199, 2 + run, false, &err), &err);
            CHECK_OK(quern_flush(db, &err), &err);
        }
        for (; upper_runs(db) != 0 && v < 400000; v++) {
            struct quern_slice keys[8];
            struct quern_value values[8] = {{0}};
            enum quern_code codes[8];
            struct quern_iter *it;

            if (v % 128 == 0)
                CHECK_OK(world_put(db, 9000, v, false, &err), &err);
            if (v % 1024 == 0 && v > 100000) /* they have paid: the worker must have its turn */
                nap_ms(20);
            if (how == 0) {
                CHECK_OK(quern_get(db, world_key(v % 190 + 5), NULL, &value, &err), &err);
            } else if (how == 1) {
                char names[8][16];

                for (unsigned i = 0; i < 8; i++) {
                    (void)snprintf(names[i], sizeof(names[i]), "key-%06u", (v + i) % 190 + 5);
                    keys[i] = QUERN_STR(names[i]);
                }
                CHECK_OK(quern_multi_get(db, keys, 8, NULL, values, codes, &err), &err);
                for (unsigned i = 0; i < 8; i++)
                    quern_value_done(&values[i]);
            } else {
                CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
                CHECK(quern_iter_seek(it, world_key(v % 190)));
                quern_iter_free(it);
            }
        }
        CHECK_EQ(upper_runs(db), 0);
        quern_value_done(&value);
        CHECK_OK(world_check(db, 3, 199, 1, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}
