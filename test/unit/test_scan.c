/* test_scan.c - iterators of users: they walk both ways over versions they may not see, let files
 * go as they walk, and remember what is empty without ever missing what was put there since. */
#include "engine_world.h"

#include "base/alloc.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static struct quern_error err;

/* ---- both ways ---- */

#define VERSIONS 8

/* Newer versions than the snapshot's hide an entry from a walk backward for many steps, of which
 * each takes the block before away: read ahead, and expanded for the iterator alone. */
TEST(a_walk_backward_shows_entries_under_newer_versions_whole)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_snapshot *snapshot[VERSIONS];
    struct quern_options options = world_options();
    struct quern_iter_opts opts = {.bulk = true};
    struct quern_iter *it;
    struct quern *db;
    unsigned n = 50;

    options.compression = QUERN_COMPRESS_LZ4;
    CHECK_OK(world_open(sim, &options, &db, &err), &err);
    for (unsigned v = 0; v < VERSIONS; v++) {
        CHECK_OK(world_fill(db, 0, 50, v, &err), &err);
        CHECK_OK(quern_snapshot_new(db, &snapshot[v], &err), &err);
    }
    CHECK_OK(quern_flush(db, &err), &err);
    opts.snapshot = snapshot[0];
    CHECK_OK(quern_iter_new(db, &opts, &it, &err), &err);
    for (bool more = quern_iter_last(it); more; more = quern_iter_prev(it)) {
        struct quern_slice key = quern_iter_key(it), value = quern_iter_value(it);

        CHECK(n-- > 0 && key.len == 10 && memcmp(key.data, world_key(n).data, 10) == 0);
        CHECK(value.len == 100 && memcmp(value.data, world_value(n, 0).data, 100) == 0);
        if (n % 7 == 3) { /* turn round and back */
            CHECK(quern_iter_next(it) && quern_iter_prev(it));
            CHECK(memcmp(quern_iter_key(it).data, world_key(n).data, 10) == 0);
        }
    }
    CHECK_EQ(n, 0);
    quern_iter_free(it);
    for (unsigned v = 0; v < VERSIONS; v++)
        quern_snapshot_free(snapshot[v]);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- what cannot be had ---- */

/* How many entries a walk shows; with *code, why it ended. */
static unsigned walked(struct quern *db, bool bulk, bool back, enum quern_code *code)
{
    struct quern_iter_opts opts = {.bulk = bulk, .range = {world_key(10), world_key(290)}};
    struct quern_iter *it;
    unsigned count = 0;

    if ((*code = quern_iter_new(db, &opts, &it, &err)) != QUERN_OK)
        return 0;
    for (bool more = back ? quern_iter_last(it) : quern_iter_first(it); more;
         more = back ? quern_iter_prev(it) : quern_iter_next(it))
        count++;
    *code = quern_iter_error(it, &err);
    quern_iter_free(it);
    return count;
}

/* Each allocation fails once, and then all from it on; tables are compressed, so blocks need
 * memory. */
TEST(a_walk_without_memory_ends_with_an_error_and_never_in_silence)
{
    for (int how = 0; how < 8; how++) {
        struct sim *sim OWNED(sim_free) = sim_new(1);
        struct quern_options options = world_options();
        bool bulk = how & 1, back = how & 2, once = how & 4;
        enum quern_code code = QUERN_NO_MEMORY;
        unsigned failed = 0;
        struct quern *db;

        options.compression = QUERN_COMPRESS_LZ4;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        for (unsigned v = 1; v <= 3; v++) {
            CHECK_OK(world_fill(db, 0, 300, v, &err), &err);
            CHECK_OK(quern_flush(db, &err), &err);
        }
        CHECK_OK(world_fill(db, 0, 20, 4, &err), &err);
        for (uint64_t n = 0; failed < 400 && code != QUERN_OK; n++) {
            unsigned count;

            if (once)
                alloc_fail_once_after(n);
            else
                alloc_fail_after(n);
            count = walked(db, bulk, back, &code);
            alloc_fail_never();
            CHECK(code == QUERN_OK ? count == 280 : code == QUERN_NO_MEMORY && count <= 280);
            failed += code != QUERN_OK;
        }
        CHECK(failed > 3);
        CHECK_EQ(walked(db, bulk, back, &code), 280);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

TEST(a_count_that_meets_a_corrupt_block_says_so)
{
    for (int overlap = 0; overlap < 2; overlap++) { /* counted by rank; by a walk */
        struct quern_range range;
        struct sim *sim OWNED(sim_free) = sim_new(1);
        static struct world_files files;
        struct quern *db;
        uint64_t count;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 100, 1, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        if (overlap)
            CHECK_OK(world_fill(db, 0, 100, 2, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
        world_list(sim, &files);
        for (uint64_t at = 0; at < 6000; at += 100)
            CHECK_EQ(sim_corrupt(sim, files.file[world_find(&files, ".sst", 0)].name, at, 1), 1);
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        range = (struct quern_range){world_key(20), world_key(25)};
        CHECK_CODE(quern_count(db, &range, NULL, &count, &err), QUERN_CORRUPT);
        CHECK(strstr(err.text, "table 0") != NULL);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

/* ---- files ---- */

static size_t table_files(struct sim *sim)
{
    static struct world_files files;
    size_t count = 0;

    world_list(sim, &files);
    for (size_t at = world_find(&files, ".sst", 0); at < files.count;
         at = world_find(&files, ".sst", at + 1))
        count++;
    return count;
}

TEST(one_step_of_an_old_iterator_lets_the_files_of_its_view_go)
{
    for (int back = 0; back < 2; back++) {
        struct sim *sim OWNED(sim_free) = sim_new(1);
        struct quern_options options = world_options();
        struct quern_stats stats;
        struct quern_iter *it;
        struct quern *db;
        unsigned n = 0;

        options.table_bytes = 1 << 20;
        CHECK_OK(world_open(sim, &options, &db, &err), &err);
        CHECK_OK(world_fill(db, 0, 300, 1, &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
        CHECK(back ? quern_iter_last(it) : quern_iter_first(it));
        for (unsigned v = 2; v < 5; v++) {
            CHECK_OK(world_fill(db, 0, 300, v, &err), &err);
            CHECK_OK(quern_compact(db, NULL, &err), &err);
        }
        rcu_drain();
        quern_stats(db, &stats);
        CHECK(table_files(sim) > stats.tables); /* what the iterator stands in */
        for (bool more = true; more; n++) {
            unsigned k = back ? 299 - n : n;

            CHECK(memcmp(quern_iter_key(it).data, world_key(k).data, 10) == 0);
            CHECK(memcmp(quern_iter_value(it).data, world_value(k, 1).data, 100) == 0);
            more = back ? quern_iter_prev(it) : quern_iter_next(it);
            if (n == 0) {
                rcu_drain();
                CHECK_EQ(table_files(sim), stats.tables);
            }
        }
        CHECK_EQ(n, 300);
        quern_iter_free(it);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

/* ---- what is known to be empty ---- */

#define KEYS 3000
#define SNAPSHOTS 3

struct history {
    struct quern *db;
    uint64_t random;
    unsigned now[KEYS]; /* version; 0: absent */
    unsigned seen[SNAPSHOTS][KEYS];
    struct quern_snapshot *snapshot[SNAPSHOTS];
    unsigned version;
};

static unsigned draw(struct history *h, unsigned below)
{
    return (unsigned)(tap_random(&h->random) % below);
}

static unsigned key_number(struct quern_iter *it)
{
    struct quern_slice key = quern_iter_key(it);
    char text[24] = "";

    memcpy(text, key.data, key.len < sizeof(text) ? key.len : sizeof(text) - 1);
    return (unsigned)atoi(text + 4);
}

/* From a random key both ways a little, then compare. */
static bool scan_agrees(struct history *h, const unsigned *want, struct quern_snapshot *snapshot)
{
    struct quern_iter_opts opts = {.snapshot = snapshot};
    unsigned from = draw(h, KEYS), upper = from + draw(h, KEYS);
    struct quern_iter *it;
    bool good = true, more;
    unsigned k = from;

    if (draw(h, 2))
        opts.range.end = world_key(upper);
    else
        upper = KEYS;
    if (quern_iter_new(h->db, &opts, &it, &err))
        return false;
    more = quern_iter_seek(it, world_key(from));
    for (int steps = 0; steps < 8 && good; steps++) {
        while (k < KEYS && k < upper && want[k] == 0)
            k++;
        if (k >= KEYS || k >= upper) {
            good = !more;
            break;
        }
        good = more && key_number(it) == k &&
               memcmp(quern_iter_value(it).data, world_value(k, want[k]).data, 100) == 0;
        more = good && quern_iter_next(it);
        k++;
    }
    k = from + 1 < upper ? from + 1 : upper;
    more = good && quern_iter_seek_back(it, world_key(from));
    for (int steps = 0; steps < 4 && good; steps++) {
        while (k > 0 && (k > KEYS || want[k - 1] == 0))
            k--;
        if (k == 0) {
            good = !more;
            break;
        }
        good = more && key_number(it) == k - 1 &&
               memcmp(quern_iter_value(it).data, world_value(k - 1, want[k - 1]).data, 100) == 0;
        more = good && quern_iter_prev(it);
        k--;
    }
    quern_iter_free(it);
    return good;
}

static enum quern_code change(struct history *h)
{
    unsigned k = draw(h, KEYS), n = 200 + draw(h, 1500);
    enum quern_code code = QUERN_OK;

    switch (draw(h, 12)) {
    case 0: /* a wide region dies */
        for (; n-- > 0 && k < KEYS && code == QUERN_OK; k++) {
            code = quern_delete(h->db, world_key(k), NULL, &err);
            h->now[k] = 0;
        }
        return code;
    case 1: /* and sometimes lives again */
        n = draw(h, 4) == 0 ? n : 3;
        for (h->version++; n-- > 0 && k < KEYS && code == QUERN_OK; k++) {
            code = world_put(h->db, k, h->version, false, &err);
            h->now[k] = h->version;
        }
        return code;
    case 2:
        return draw(h, 8) ? QUERN_OK : quern_flush(h->db, &err);
    case 3:
        return draw(h, 40) ? QUERN_OK : quern_compact(h->db, NULL, &err);
    case 4: {
        unsigned s = draw(h, SNAPSHOTS);

        quern_snapshot_free(h->snapshot[s]);
        h->snapshot[s] = NULL;
        if (draw(h, 3) == 0)
            return QUERN_OK;
        memcpy(h->seen[s], h->now, sizeof(h->now));
        return quern_snapshot_new(h->db, &h->snapshot[s], &err);
    }
    default:
        h->now[k] = ++h->version;
        return world_put(h->db, k, h->version, false, &err);
    }
}

TEST(a_range_known_to_be_empty_shows_what_was_put_into_it_since)
{
    static struct history h;
    struct sim *sim OWNED(sim_free) = sim_new(1);
    unsigned known = 0;

    memset(&h, 0, sizeof(h));
    h.random = tap_seed();
    CHECK_OK(world_open(sim, NULL, &h.db, &err), &err);
    CHECK_OK(world_fill(h.db, 0, KEYS, 1, &err), &err);
    for (unsigned k = 0; k < KEYS; k++)
        h.now[k] = 1;
    h.version = 1;
    for (int i = 0; i < 800; i++) {
        unsigned s = draw(&h, SNAPSHOTS);

        CHECK_OK(change(&h), &err);
        CHECK(scan_agrees(&h, h.now, NULL));
        if (h.snapshot[s] != NULL)
            CHECK(scan_agrees(&h, h.seen[s], h.snapshot[s]));
        known += atomic_load(&h.db->spans.count) != 0;
    }
    CHECK(known > 80); /* else nothing was tried */
    for (unsigned s = 0; s < SNAPSHOTS; s++)
        quern_snapshot_free(h.snapshot[s]);
    CHECK_OK(quern_close(h.db, &err), &err);
}

/* The second walk over a region of deletions begins where the first has ended. */
TEST(a_walk_over_deletions_is_remembered_and_grows_with_the_next)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_snapshot *held; /* or else a merge takes the deletions away */
    struct buf to OWNED_BUF = {0};
    struct quern_iter *it;
    struct quern *db;
    int slot;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &held, &err), &err);
    CHECK_OK(world_fill(db, 0, 3000, 1, &err), &err);
    for (unsigned dead = 0; dead < 2500;) {
        for (unsigned end = dead + 500; dead < end; dead++)
            CHECK_OK(quern_delete(db, world_key(dead), NULL, &err), &err);
        CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
        CHECK(quern_iter_first(it) && key_number(it) == dead);
        CHECK_EQ(atomic_load(&db->spans.count), 1);
        CHECK(spans_resume(&db->spans, world_inner_key(100), UINT64_MAX, UINT64_MAX, &to, &slot));
        CHECK(key_equal(buf_slice(&to), world_inner_key(dead)));
        spans_keep(&db->spans, slot, buf_slice(&to));
        quern_iter_free(it);
    }
    CHECK(!spans_resume(&db->spans, world_inner_key(100), 2900, UINT64_MAX, &to,
                        &slot)); /* who sees a key there */
    CHECK_OK(world_put(db, 1000, 2, false, &err), &err);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    CHECK(quern_iter_first(it) && key_number(it) == 1000);
    CHECK(quern_iter_next(it) && key_number(it) == 2500);
    quern_iter_free(it);
    quern_snapshot_free(held);
    CHECK_OK(quern_close(db, &err), &err);
}

/* A cursor that was built over an empty MemDB does not know what came into it since, and tells
 * nothing about it to those who come later. */
TEST(a_walk_of_an_iterator_from_before_the_put_does_not_hide_it)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_iter *before, *after;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 1000, 1, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    for (unsigned k = 0; k < 1000; k++)
        CHECK_OK(quern_delete(db, world_key(k), NULL, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(quern_iter_new(db, NULL, &before, &err), &err);
    CHECK_OK(world_put(db, 900, 2, false, &err), &err);
    CHECK(!quern_iter_first(before));
    CHECK_OK(quern_iter_new(db, NULL, &after, &err), &err);
    CHECK(quern_iter_first(after) && key_number(after) == 900);
    CHECK(quern_iter_last(after) && key_number(after) == 900);
    quern_iter_free(after);
    quern_iter_free(before);
    CHECK_OK(quern_close(db, &err), &err);
}

/* A key that is written over and over is shown once, however many versions there are to pass. */
TEST(a_key_of_many_versions_is_shown_once)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_iter *it;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned k = 0; k < 3; k++)
        for (unsigned v = 0; v < 100 + 100 * k; v++)
            CHECK_OK(quern_put(db, world_key(k), QUERN_STR("v"), NULL, &err), &err);
    CHECK_OK(quern_put(db, world_key(3), QUERN_STR("v"), NULL, &err), &err);
    CHECK_OK(quern_iter_new(db, NULL, &it, &err), &err);
    CHECK(quern_iter_first(it));
    for (unsigned k = 0; k < 4; k++) {
        CHECK(quern_iter_valid(it) && key_number(it) == k);
        CHECK(quern_iter_next(it) == (k != 3));
    }
    quern_iter_free(it);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- beside a writer ---- */

#define QUEUE_ROUNDS 3000

struct queue {
    struct quern *db;
    _Atomic unsigned put, taken; /* acknowledged */
    _Atomic bool failed, stop;
};

/* At least WAITING entries are in the queue at any time; what is taken leaves a dead head. Now and
 * then an entry comes back far inside it and goes again. */
#define WAITING 20

static void *serve_queue(void *arg)
{
    struct queue *q = arg;
    struct quern_error e;
    bool good = true;

    for (unsigned n = 0; n < QUEUE_ROUNDS && good; n++) {
        good = world_put(q->db, 1000 + n, 1, false, &e) == QUERN_OK;
        atomic_store(&q->put, n + 1);
        if (n < WAITING)
            continue;
        atomic_store(&q->taken, n - WAITING + 1); /* about to be */
        good = good && quern_delete(q->db, world_key(1000 + n - WAITING), NULL, &e) == QUERN_OK;
    }
    if (!good)
        atomic_store(&q->failed, true);
    atomic_store(&q->stop, true);
    return NULL;
}

/* The first entry is one that was not taken before we looked, and not after what was there. */
static void *look_at_queue(void *arg)
{
    struct queue *q = arg;

    while (!atomic_load(&q->stop) && !atomic_load(&q->failed)) {
        struct quern_iter_opts opts = {.range.start = world_key(1000)};
        unsigned taken_before, taken_after, first;
        struct quern_iter *it;
        struct quern_error e;

        if (atomic_load(&q->put) <= WAITING)
            continue;
        taken_before = atomic_load(&q->taken);
        if (quern_iter_new(q->db, &opts, &it, &e) != QUERN_OK)
            atomic_store(&q->failed, true);
        taken_after = atomic_load(&q->taken);
        first = quern_iter_first(it) ? key_number(it) - 1000 : UINT32_MAX;
        if (first + 1 < taken_before || first > taken_after) {
            tap_note("first %u, taken %u to %u", first, taken_before, taken_after);
            atomic_store(&q->failed, true);
        }
        quern_iter_free(it);
    }
    return NULL;
}

/* A key that was put is there for who looks after that, however dead the place was. */
static void *put_into_the_dead(void *arg)
{
    struct queue *q = arg;
    uint64_t random = 7;

    while (atomic_load(&q->put) <= WAITING && !atomic_load(&q->stop))
        (void)sched_yield();
    while (!atomic_load(&q->stop) && !atomic_load(&q->failed)) {
        unsigned k = (unsigned)(tap_random(&random) % 900);
        struct quern_iter *it;
        struct quern_error e;
        unsigned first = 0, second = 0;

        if (world_put(q->db, k, 1, false, &e) != QUERN_OK ||
            quern_iter_new(q->db, NULL, &it, &e) != QUERN_OK) {
            atomic_store(&q->failed, true);
            break;
        }
        first = quern_iter_first(it) ? key_number(it) : UINT32_MAX;
        second = quern_iter_valid(it) && quern_iter_next(it) ? key_number(it) : UINT32_MAX;
        quern_iter_free(it);
        if (first != k || second < 1000 || second == UINT32_MAX) {
            tap_note("put %u: first %u, second %u", k, first, second);
            atomic_store(&q->failed, true);
        }
        if (quern_delete(q->db, world_key(k), NULL, &e) != QUERN_OK)
            atomic_store(&q->failed, true);
    }
    return NULL;
}

TEST(threads_see_the_head_of_a_queue_and_what_is_put_before_it)
{
    static struct queue q;
    void *(*bodies[])(void *) = {serve_queue, look_at_queue, put_into_the_dead};
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = world_options();
    pthread_t thread[3];

    memset(&q, 0, sizeof(q));
    options.tier_runs = 4;
    options.compact_interval_ms = 10;
    CHECK_OK(world_open(sim, &options, &q.db, &err), &err);
    CHECK_OK(world_fill(q.db, 0, 900, 1, &err), &err);
    for (unsigned k = 0; k < 900; k++)
        CHECK_OK(quern_delete(q.db, world_key(k), NULL, &err), &err);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&thread[i], NULL, bodies[i], &q) == 0);
    for (int i = 0; i < 3; i++)
        (void)pthread_join(thread[i], NULL);
    CHECK(!atomic_load(&q.failed));
    CHECK_OK(quern_close(q.db, &err), &err);
}
