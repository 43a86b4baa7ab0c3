/* test_threads.c - many threads on one store: batches are seen whole, a writer reads what it wrote,
 * completions come in order, and nothing is lost when flushes, merges, snapshots and cursors go on
 * at once. Runs under TSan too. */
#include "engine/engine_priv.h"
#include "sim.h"
#include "tap.h"

#include <quern/quern.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WRITERS 3
#define PAIRS 40
#define ROUNDS 60

struct shared {
    struct quern *db;
    char path[300];
    _Atomic bool stop, failed;
    _Atomic unsigned stamp[WRITERS][PAIRS]; /* last one acknowledged */
};

struct worker {
    struct shared *s;
    unsigned no;
    uint64_t random;
};

static bool good(struct shared *s, bool cond, const char *what)
{
    if (!cond && !atomic_exchange(&s->failed, true))
        tap_note("%s", what);
    return cond;
}

static bool fine(struct shared *s, enum quern_code code, const struct quern_error *err)
{
    return good(s, code == QUERN_OK, err->text);
}

static struct quern_slice key_of(char *room, unsigned writer, unsigned pair, char half)
{
    return (struct quern_slice){room, (size_t)sprintf(room, "%u/%04u/%c", writer, pair, half)};
}

static unsigned stamp_of(struct quern_slice value)
{
    unsigned stamp = 0;

    if (value.len >= sizeof(stamp))
        memcpy(&stamp, value.data, sizeof(stamp));
    return stamp;
}

/* Both halves of a pair in one batch, with a value long enough to fill MemDBs soon. */
static bool fill_pair(struct shared *s, struct quern_batch *batch, unsigned writer, unsigned pair,
                      unsigned stamp)
{
    char a[32], b[32], value[200] = {0};
    struct quern_slice v = {value, sizeof(value)};
    struct quern_error err;

    memcpy(value, &stamp, sizeof(stamp));
    quern_batch_clear(batch);
    return fine(s, quern_batch_put(batch, key_of(a, writer, pair, 'a'), v, &err), &err) &&
           fine(s, quern_batch_put(batch, key_of(b, writer, pair, 'b'), v, &err), &err);
}

static bool read_pair(struct shared *s, unsigned writer, unsigned pair, unsigned at_least,
                      struct quern_value *values)
{
    char room[2][32];
    struct quern_slice keys[2] = {key_of(room[0], writer, pair, 'a'),
                                  key_of(room[1], writer, pair, 'b')};
    enum quern_code codes[2];
    struct quern_error err = {0};
    unsigned a, b;

    if (!fine(s, quern_multi_get(s->db, keys, 2, NULL, values, codes, &err), &err) ||
        !good(s, codes[0] == codes[1], "one half of a batch was seen"))
        return false;
    if (codes[0] == QUERN_NOT_FOUND)
        return good(s, at_least == 0, "an acknowledged batch was not seen");
    a = stamp_of((struct quern_slice){values[0].data, values[0].len});
    b = stamp_of((struct quern_slice){values[1].data, values[1].len});
    return good(s, a == b, "the halves of a batch differ") &&
           good(s, a >= at_least, "an older value came back");
}

static void *write_pairs(void *arg)
{
    struct worker *w = arg;
    struct shared *s = w->s;
    struct quern_batch *batch = quern_batch_new();
    struct quern_value values[2] = {{0}, {0}};
    struct quern_error err;

    for (unsigned round = 1; round <= ROUNDS && !atomic_load(&s->failed); round++)
        for (unsigned pair = 0; pair < PAIRS; pair++) {
            struct quern_write_opts opts = {.sync = tap_random(&w->random) % 500 == 0};

            if (!fill_pair(s, batch, w->no, pair, round) ||
                !fine(s, quern_write(s->db, batch, &opts, &err), &err))
                break;
            atomic_store(&s->stamp[w->no][pair], round);
            if (pair % 8 == 0 && !read_pair(s, w->no, pair, round, values))
                break;
        }
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    quern_batch_free(batch);
    return NULL;
}

static bool scan_pairs(struct shared *s, bool back)
{
    struct quern_iter *it;
    struct quern_error err;
    unsigned previous = 0, count = 0;
    bool ok = fine(s, quern_iter_new(s->db, NULL, &it, &err), &err);

    if (!ok)
        return false;
    for (bool more = back ? quern_iter_last(it) : quern_iter_first(it); more && ok;
         more = back ? quern_iter_prev(it) : quern_iter_next(it)) {
        unsigned stamp = stamp_of(quern_iter_value(it));

        ok = count++ % 2 == 0 || good(s, stamp == previous, "a scan saw half of a batch");
        previous = stamp;
    }
    ok = ok && fine(s, quern_iter_error(it, &err), &err) &&
         good(s, count % 2 == 0, "a scan ended within a pair");
    quern_iter_free(it);
    return ok;
}

static void *read_pairs(void *arg)
{
    struct worker *w = arg;
    struct shared *s = w->s;
    struct quern_value values[2] = {{0}, {0}};
    unsigned turns = 0;

    while (!atomic_load(&s->stop) && !atomic_load(&s->failed)) {
        unsigned writer = (unsigned)(tap_random(&w->random) % WRITERS);
        unsigned pair = (unsigned)(tap_random(&w->random) % PAIRS);

        if (!read_pair(s, writer, pair, atomic_load(&s->stamp[writer][pair]), values))
            break;
        if (++turns % 50 == 0 && !scan_pairs(s, turns % 100 == 0))
            break;
    }
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    return NULL;
}

/* Snapshots, flushes, compactions and statistics while all the rest goes on. */
static void *take_care(void *arg)
{
    struct worker *w = arg;
    struct shared *s = w->s;
    struct quern_error err;
    uint64_t keys[QUERN_DATABASES], before = 0;

    while (!atomic_load(&s->stop) && !atomic_load(&s->failed)) {
        struct quern_snapshot *snapshot;
        struct quern_stats stats;
        uint64_t one, two;
        struct quern_read_opts opts = {.cached = false};
        bool ok = fine(s, quern_snapshot_new(s->db, &snapshot, &err), &err);

        if (!ok)
            break;
        opts.snapshot = snapshot;
        ok = fine(s, quern_count(s->db, NULL, &opts, &one, &err), &err) &&
             fine(s, quern_count(s->db, NULL, NULL, &two, &err), &err) &&
             fine(s, quern_live_keys(s->db, false, keys, &err), &err) &&
             good(s, two >= one && two >= before && keys[0] >= two && keys[0] % 2 == 0,
                  "keys were lost, or half a batch was counted");
        before = ok ? keys[0] : 0;
        switch (tap_random(&w->random) % 4) {
        case 0:
            ok = ok && fine(s, quern_flush(s->db, &err), &err);
            break;
        case 1:
            ok = ok && fine(s, quern_compact(s->db, NULL, &err), &err);
            break;
        default:
            quern_stats(s->db, &stats);
        }
        ok = ok && fine(s, quern_count(s->db, NULL, &opts, &two, &err), &err) &&
             good(s, one == two, "a snapshot changed");
        quern_snapshot_free(snapshot);
        if (!ok)
            break;
    }
    return NULL;
}

static bool open_small(struct shared *s)
{
    struct quern_options options = {.memory_bytes = 1 << 20,
                                    .memdb_bytes = 64 << 10,
                                    .table_bytes = 32 << 10,
                                    .block_bytes = 512,
                                    .log_segment_bytes = 64 << 10,
                                    .tier_runs = 2,
                                    .compact_interval_ms = 20,
                                    .flush_interval_ms = 50};
    struct quern_error err;

    return fine(s, quern_open(s->path, &options, &s->db, &err), &err);
}

TEST(threads_see_batches_whole_and_lose_nothing)
{
    static struct shared s;
    struct worker w[WRITERS + 3];
    pthread_t thread[WRITERS + 3];
    struct quern_value values[2] = {{0}, {0}};
    struct quern_error err = {0};
    uint64_t seed = tap_seed(), count = 0;

    memset(&s, 0, sizeof(s));
    (void)snprintf(s.path, sizeof(s.path), "%s/store", tap_dir());
    CHECK(open_small(&s));
    for (unsigned i = 0; i < WRITERS + 3; i++) {
        w[i] = (struct worker){&s, i, seed + i * 977 + 1};
        CHECK(pthread_create(&thread[i], NULL,
                             i < WRITERS       ? write_pairs
                             : i < WRITERS + 2 ? read_pairs
                                               : take_care,
                             &w[i]) == 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_join(thread[i], NULL);
    atomic_store(&s.stop, true);
    for (unsigned i = WRITERS; i < WRITERS + 3; i++)
        (void)pthread_join(thread[i], NULL);
    CHECK(!atomic_load(&s.failed));
    CHECK_OK(quern_close(s.db, &err), &err);
    CHECK(open_small(&s));
    CHECK_OK(quern_count(s.db, NULL, NULL, &count, &err), &err);
    CHECK_EQ(count, WRITERS * PAIRS * 2);
    for (unsigned writer = 0; writer < WRITERS; writer++)
        for (unsigned pair = 0; pair < PAIRS; pair++)
            CHECK(read_pair(&s, writer, pair, ROUNDS, values));
    CHECK_OK(quern_verify(s.db, NULL, NULL, &err), &err);
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    CHECK_OK(quern_close(s.db, &err), &err);
}

/* ---- asynchronous writes ---- */

#define ASYNC_WRITES 300

struct order {
    struct quern_completion c;
    struct quern_batch *batch;
    _Atomic unsigned *next; /* of this thread's completions */
    _Atomic bool *wrong;
    unsigned no;
};

static void completed(void *arg, struct quern_completion *c)
{
    struct order *o = arg;

    if (c->code != QUERN_OK || atomic_fetch_add(o->next, 1) != o->no)
        atomic_store(o->wrong, true);
}

struct async_worker {
    struct shared *s;
    unsigned no;
    _Atomic unsigned next;
    _Atomic bool wrong;
};

static void *write_async(void *arg)
{
    struct async_worker *w = arg;
    struct order *o = calloc(ASYNC_WRITES, sizeof(*o));
    struct quern_error err;

    for (unsigned i = 0; i < ASYNC_WRITES; i++) {
        struct quern_write_opts opts = {.sync = i % 50 == 49};

        o[i] = (struct order){.c = {.done = completed, .arg = &o[i]},
                              .batch = quern_batch_new(),
                              .next = &w->next,
                              .wrong = &w->wrong,
                              .no = i};
        if (!fill_pair(w->s, o[i].batch, w->no, i % PAIRS, i + 1) ||
            !fine(w->s, quern_write_async(w->s->db, o[i].batch, &opts, &o[i].c, &err), &err))
            break;
    }
    while (atomic_load(&w->next) < ASYNC_WRITES && !atomic_load(&w->s->failed) &&
           !atomic_load(&w->wrong))
        (void)usleep(1000);
    for (unsigned i = 0; i < ASYNC_WRITES; i++)
        quern_batch_free(o[i].batch);
    free(o);
    return NULL;
}

TEST(threads_asynchronous_writes_complete_in_order_and_are_visible_then)
{
    static struct shared s;
    static struct async_worker w[WRITERS];
    pthread_t thread[WRITERS];
    struct quern_value values[2] = {{0}, {0}};
    struct quern_error err = {0};

    memset(&s, 0, sizeof(s));
    memset(w, 0, sizeof(w));
    (void)snprintf(s.path, sizeof(s.path), "%s/store", tap_dir());
    CHECK(open_small(&s));
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i].s = &s;
        w[i].no = i;
        CHECK(pthread_create(&thread[i], NULL, write_async, &w[i]) == 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        CHECK(!atomic_load(&w[i].wrong));
        CHECK_EQ(atomic_load(&w[i].next), ASYNC_WRITES);
        for (unsigned pair = 0; pair < PAIRS; pair++)
            CHECK(read_pair(&s, i, pair, ASYNC_WRITES - PAIRS + 1, values));
    }
    CHECK(!atomic_load(&s.failed));
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    CHECK_OK(quern_close(s.db, &err), &err);
}

/* ---- syncs are shared ---- */

#define SYNCERS 8
#define SYNCED_PUTS 40

struct syncer {
    struct quern *db;
    unsigned no;
    bool failed;
};

static void *sync_all_the_time(void *arg)
{
    struct syncer *s = arg;
    struct quern_write_opts opts = {.sync = true};
    struct quern_error err;
    char key[32];

    for (unsigned i = 0; i < SYNCED_PUTS; i++) {
        (void)snprintf(key, sizeof(key), "%u-%u", s->no, i);
        s->failed |= quern_put(s->db, QUERN_STR(key), QUERN_STR("v"), &opts, &err) != QUERN_OK;
    }
    return NULL;
}

/* One group after the other would be SYNCERS * SYNCED_PUTS syncs. */
TEST(threads_that_sync_share_syncs)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct syncer syncers[SYNCERS];
    pthread_t threads[SYNCERS];
    struct quern_stats stats;
    struct quern_error err;
    struct quern *db;

    CHECK_OK(engine_open(sim_os(sim), "/db", NULL, &db, &err), &err);
    sim_set_sync_us(sim, 10000); /* far longer than a thread waits for a processor */
    for (unsigned i = 0; i < SYNCERS; i++) {
        syncers[i] = (struct syncer){db, i, false};
        CHECK_EQ(pthread_create(&threads[i], NULL, sync_all_the_time, &syncers[i]), 0);
    }
    for (unsigned i = 0; i < SYNCERS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK(!syncers[i].failed);
    }
    sim_set_sync_us(sim, 0);
    quern_stats(db, &stats);
    tap_note("%u synced puts, %llu syncs", SYNCERS * SYNCED_PUTS,
             (unsigned long long)stats.log_syncs);
    CHECK(stats.log_syncs < SYNCERS * SYNCED_PUTS / 2);
    CHECK_OK(quern_close(db, &err), &err);
}

#define FLUSHES 400

/* The worker wakes up by itself all the time: a flush may meet it between any two of its steps. */
TEST(threads_a_flush_that_returned_has_put_everything_into_tables)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = {.memory_bytes = 1 << 20, .compact_interval_ms = 1};
    struct quern_stats stats;
    struct quern_error err = {0};
    struct quern *db = NULL;

    CHECK(engine_open(sim_os(sim), "/db", &options, &db, &err) == QUERN_OK);
    for (unsigned i = 0; i < FLUSHES; i++) {
        if (!EXPECT(quern_put(db, QUERN_STR("key"), QUERN_STR("1"), NULL, &err) == QUERN_OK) ||
            !EXPECT(quern_flush(db, &err) == QUERN_OK))
            break;
        quern_stats(db, &stats);
        if (!EXPECT(stats.memdb_sealed == 0))
            break;
    }
    EXPECT(quern_close(db, &err) == QUERN_OK);
}
