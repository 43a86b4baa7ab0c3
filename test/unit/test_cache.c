/* test_cache.c - what the cache promises: a budget that is kept, frames that stay while somebody
 * uses them, and all memory back at the end. */
#include "base/alloc.h"
#include "base/rcu.h"
#include "base/thread.h"
#include "sst/cache_priv.h"
#include "sst/cells_priv.h"
#include "sst_model.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define TABLES 6
#define ENTRIES 2000

struct rig {
    struct os_dir *dir;
    struct sst_cache *cache;
    struct model m; /* every table holds the same */
    struct table_meta meta[TABLES];
    struct sst *t[TABLES];
};

static enum quern_code rig_make_of(struct rig *r, uint64_t capacity, size_t value_bytes,
                                   uint32_t block_bytes, struct quern_error *err)
{
    char room[24];

    *r = (struct rig){0};
    for (uint64_t i = 0; i < ENTRIES; i++)
        model_add(&r->m, decimal_key(room, i), i, ENTRY_PUT, 0, value_bytes);
    if (os_dir_open(os_local(), tap_dir(), false, &r->dir, err) ||
        sst_cache_new(capacity, &r->cache, err))
        return err->code;
    for (uint64_t i = 0; i < TABLES; i++) {
        struct sst_write_config config = {.table_no = i + 1,
                                          .block_bytes = block_bytes,
                                          .filter_bits = 10,
                                          .codec = i % 2 ? SST_LZ4 : SST_PLAIN};

        if (model_write(&r->m, r->dir, &config, r->cache, &r->meta[i], err) ||
            sst_open(r->dir, &r->meta[i], r->cache, &r->t[i], err))
            return err->code;
    }
    return QUERN_OK;
}

static enum quern_code rig_make(struct rig *r, uint64_t capacity, struct quern_error *err)
{
    return rig_make_of(r, capacity, 100, 1024, err);
}

/* Blocks of the usual size, one for each entry: 47 MiB in all. */
static enum quern_code rig_make_usual(struct rig *r, uint64_t capacity, struct quern_error *err)
{
    return rig_make_of(r, capacity, 3900, 4096, err);
}

static void rig_done(struct rig *r)
{
    for (int i = 0; i < TABLES; i++) {
        sst_unref(r->t[i]);
        table_meta_done(&r->meta[i]);
    }
    sst_cache_free(r->cache);
    os_dir_close(r->dir);
    model_done(&r->m);
}
#define OWNED_RIG __attribute__((cleanup(rig_done)))

static bool get_is_right(struct rig *r, int table, size_t i)
{
    const struct entry *want = &r->m.entries[i];
    struct sst_lookup l = {.key = want->key, .hash = hash_key(want->key), .seq = UINT64_MAX};
    struct quern_error err;
    bool good;

    rcu_enter();
    good = EXPECT(sst_get(r->t[table], &l, &err) == QUERN_OK) && EXPECT(l.found) &&
           EXPECT(entry_same(&l.entry, want));
    rcu_leave();
    alloc_free(l.owned);
    return good;
}

TEST(cache_second_read_does_not_touch_the_disk)
{
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct sst_cache_stats first, second;

    CHECK_OK(rig_make(&r, 64 << 20, &err), &err);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK(get_is_right(&r, 0, i) && get_is_right(&r, 1, i));
    sst_cache_stats(r.cache, &first);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK(get_is_right(&r, 0, i) && get_is_right(&r, 1, i));
    sst_cache_stats(r.cache, &second);
    CHECK_EQ(second.misses, first.misses);
    CHECK_EQ(second.read_bytes, first.read_bytes);
    CHECK(second.hits >= first.hits + 2 * ENTRIES - 64);
    CHECK(second.filter_bytes > 0 && second.index_bytes > 0 &&
          second.block_bytes > 2 * ENTRIES * 100);
}

TEST(cache_budget_is_kept_and_given_back)
{
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct sst_cache_stats stats;
    uint64_t seed = tap_seed();

    CHECK_OK(rig_make(&r, 256 << 10, &err), &err);
    for (int k = 0; k < 6000; k++) {
        CHECK(get_is_right(&r, (int)(tap_random(&seed) % TABLES), tap_random(&seed) % ENTRIES));
        sst_cache_stats(r.cache, &stats);
        /* Whether memory comes back or a slow reader holds it up; an index or filter always enters.
         */
        CHECK(stats.used_bytes <= (256 << 10) * 17 / 16 + (32 << 10));
        if (k == 3000)
            rcu_enter();
        if (k == 3500)
            rcu_leave();
    }
    CHECK(stats.evictions > 0);
    sst_cache_set_capacity(r.cache, 0);
    rcu_drain();
    sst_cache_stats(r.cache, &stats);
    CHECK_EQ(stats.block_bytes, 0);
    for (int i = 0; i < TABLES; i++) {
        sst_unref(r.t[i]);
        r.t[i] = NULL;
    }
    rcu_drain();
    sst_cache_stats(r.cache, &stats);
    CHECK_EQ(stats.used_bytes, 0);
}

/* What was evicted counts until it is freed; that must not make the clock evict still more. */
TEST(cache_full_of_blocks_stays_full)
{
    enum { CAPACITY = 1 << 20 };
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct sst_cache_stats stats;
    uint64_t seed = tap_seed(), least = CAPACITY;

    CHECK_OK(rig_make(&r, CAPACITY, &err), &err);
    for (int k = 0; k < 20000; k++) {
        CHECK(get_is_right(&r, (int)(tap_random(&seed) % TABLES), tap_random(&seed) % ENTRIES));
        if (k % 20 == 0)
            rcu_drain();
        sst_cache_stats(r.cache, &stats);
        if (k > 10000 && stats.used_bytes < least)
            least = stats.used_bytes;
        CHECK(stats.used_bytes <= CAPACITY + CAPACITY / 8);
    }
    tap_note("never below %" PRIu64 " of %d bytes, %" PRIu64 " evictions", least, CAPACITY,
             stats.evictions);
    CHECK(stats.evictions > 100);
    CHECK(least > CAPACITY * 7 / 8);
}

/* Write the rig's entries once more, as table `no`; *out is open. */
static enum quern_code write_warm(struct rig *r, uint64_t no, enum sst_codec codec,
                                  enum sst_warm warm, struct sst **out, struct quern_error *err)
{
    struct sst_write_config config = {
        .table_no = no, .block_bytes = 1024, .filter_bits = 10, .codec = codec, .warm = warm};
    struct table_meta meta = {0};
    struct sst_writer *w = NULL;

    if (sst_writer_open(r->dir, &config, &w, err))
        return err->code;
    for (size_t i = 0; i < r->m.n; i++)
        if (sst_writer_add(w, &r->m.entries[i], sst_entry_hash(&r->m.entries[i]), err)) {
            sst_writer_drop(w);
            return err->code;
        }
    if (sst_writer_finish(w, r->cache, &meta, out, err) == QUERN_OK)
        table_meta_done(&meta);
    return err->code;
}

TEST(cache_has_what_a_new_table_was_to_leave_there)
{
    struct rig r OWNED_RIG;
    struct quern_error err = {0};

    CHECK_OK(rig_make(&r, 64 << 20, &err), &err);
    for (int k = 0; k < 6; k++) {
        enum sst_warm warm = (enum sst_warm)(k % 3);
        struct sst_cache_stats before, after;
        uint64_t blocks, cached;

        sst_unref(r.t[0]);
        r.t[0] = NULL;
        rcu_drain();
        sst_cache_stats(r.cache, &before);
        CHECK_EQ(before.used_bytes, 0);
        CHECK_OK(
            write_warm(&r, 100 + (uint64_t)k, k < 3 ? SST_PLAIN : SST_LZ4, warm, &r.t[0], &err),
            &err);
        sst_count_cached(r.t[0], &blocks, &cached);
        CHECK(blocks > 100 && cached == (warm == SST_WARM_ALL ? blocks : 0));
        sst_cache_stats(r.cache, &before);
        CHECK((before.index_bytes != 0 && before.filter_bytes != 0) == (warm != SST_COLD));
        for (size_t i = 0; i < ENTRIES; i++)
            CHECK(get_is_right(&r, 0, i));
        sst_cache_stats(r.cache, &after);
        CHECK_EQ(after.misses - before.misses, warm == SST_WARM_ALL ? 0 : blocks);
        CHECK((after.read_bytes == before.read_bytes) == (warm == SST_WARM_ALL));
        CHECK_EQ(after.index_bytes + after.filter_bytes == before.index_bytes + before.filter_bytes,
                 warm != SST_COLD);
    }
}

TEST(cache_keeps_its_budget_while_a_new_table_joins)
{
    enum { CAPACITY = 64 << 10 };
    struct rig r OWNED_RIG;
    struct quern_error err = {0};
    struct sst_cache_stats stats;

    CHECK_OK(rig_make(&r, CAPACITY, &err), &err);
    sst_unref(r.t[0]);
    r.t[0] = NULL;
    CHECK_OK(write_warm(&r, 100, SST_PLAIN, SST_WARM_ALL, &r.t[0], &err), &err);
    rcu_drain();
    sst_cache_stats(r.cache, &stats);
    CHECK(stats.used_bytes <= CAPACITY + CAPACITY / 8 && stats.evictions != 0);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK(get_is_right(&r, 0, i));
}

TEST(cache_cursor_keeps_its_block_when_everything_is_evicted)
{
    struct rig r OWNED_RIG;
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_error err;

    CHECK_OK(rig_make(&r, 64 << 20, &err), &err);
    CHECK_OK(sst_iter(r.t[1], SST_CACHED, &it, &err), &err);
    iter_seek(it, r.m.entries[700].key);
    sst_cache_set_capacity(r.cache, 0);
    rcu_drain();
    CHECK(it->valid && entry_same(&it->at, &r.m.entries[700]));
    iter_next(it);
    CHECK(it->valid && entry_same(&it->at, &r.m.entries[701]));
}

/* What a cursor holds does not come back however long the cache waits: it must not keep others
 * out. */
TEST(cache_takes_blocks_while_cursors_hold_what_was_evicted)
{
    enum { CAPACITY = 256 << 10 };
    struct rig r OWNED_RIG;
    struct iter *its[TABLES] = {NULL};
    struct quern_error err;
    struct sst_cache_stats first, second;

    CHECK_OK(rig_make(&r, CAPACITY, &err), &err);
    for (int t = 0; t < TABLES; t++) {
        CHECK_OK(sst_iter(r.t[t], SST_CACHED, &its[t], &err), &err);
        iter_seek(its[t], r.m.entries[700].key);
    }
    sst_cache_set_capacity(r.cache, 0);
    rcu_drain();
    sst_cache_stats(r.cache, &first);
    CHECK(first.used_bytes > CAPACITY / 16);
    sst_cache_set_capacity(r.cache, CAPACITY);
    CHECK(get_is_right(&r, 0, 5));
    sst_cache_stats(r.cache, &first);
    CHECK(get_is_right(&r, 0, 5));
    sst_cache_stats(r.cache, &second);
    for (int t = 0; t < TABLES; t++)
        iter_free(its[t]);
    CHECK_EQ(second.misses, first.misses);
}

/* Blocks move together when the budget shrinks: what was held stays where there is room for it, and
 * the memory goes back. */
TEST(cache_gives_memory_of_usual_blocks_back_when_it_shrinks)
{
    enum { MIB = 1 << 20 };
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct sst_cache_stats stats;
    uint64_t misses;

    CHECK_OK(rig_make_usual(&r, 64 * MIB, &err), &err);
    for (int t = 0; t < TABLES; t++)
        for (size_t i = 0; i < ENTRIES; i++)
            CHECK(get_is_right(&r, t, i));
    sst_cache_stats(r.cache, &stats);
    CHECK_EQ(stats.misses, TABLES * ENTRIES);
    CHECK(stats.used_bytes > 46 * MIB && stats.used_bytes <= 64 * MIB);
    for (uint64_t capacity = 40 * MIB; capacity >= 20 * MIB; capacity -= 10 * MIB) {
        sst_cache_set_capacity(r.cache, capacity);
        rcu_drain();
        sst_cache_stats(r.cache, &stats);
        CHECK(stats.used_bytes <= capacity + capacity / 16 + 2 * MIB);
        CHECK(stats.used_bytes >= capacity * 7 / 8);
        misses = stats.misses;
        for (int t = 0; t < TABLES; t++)
            for (size_t i = 0; i < ENTRIES; i++) {
                uint64_t blocks, before, after;

                sst_count_cached(r.t[t], &blocks, &before);
                CHECK(get_is_right(&r, t, i));
                sst_count_cached(r.t[t], &blocks, &after);
                if (after < before)
                    rcu_drain();
            }
        sst_cache_stats(r.cache, &stats);
        tap_note("%" PRIu64 " MiB: %" PRIu64 " misses", capacity / MIB, stats.misses - misses);
    }
    sst_cache_set_capacity(r.cache, 0);
    rcu_drain();
    sst_cache_stats(r.cache, &stats);
    CHECK(stats.block_bytes <= 2 * MIB);
}

/* A budget that shrinks to what is used has nothing to evict, but cells that nobody uses. */
TEST(cache_gives_idle_memory_back_when_it_shrinks_and_evicts_nothing)
{
    enum { MIB = 1 << 20 };
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct sst_cache_stats stats;

    CHECK_OK(rig_make_usual(&r, 256 * MIB, &err), &err);
    for (size_t i = 0; i < ENTRIES; i++) /* every chunk has blocks of every table */
        for (int t = 0; t < TABLES; t++)
            CHECK(get_is_right(&r, t, i));
    for (int t = TABLES - 2; t < TABLES; t++) {
        sst_unref(r.t[t]);
        r.t[t] = NULL;
    }
    rcu_drain();
    sst_cache_set_capacity(r.cache, 36 * MIB);
    rcu_drain();
    sst_cache_stats(r.cache, &stats);
    CHECK_EQ(stats.evictions, 0);
    CHECK(stats.used_bytes <= 36 * MIB + 36 * MIB / 16 + 2 * MIB);
}

static bool is_mapped(const void *chunk)
{
    unsigned char vec[CHUNK_BYTES / 4096];

    return mincore((void *)(uintptr_t)chunk, CHUNK_BYTES, vec) == 0 || errno != ENOMEM;
}

/* A block that is still being loaded when the others of its chunk move follows them when it comes:
 * else one that is read often would hold two MiB for as long as it lives. */
/* A huge page is cleared as a whole: a store that was opened for one look-up would wait for that. */
TEST(cache_of_a_few_blocks_takes_a_few_pages_and_keeps_them_when_they_become_a_huge_one)
{
    enum { MANY = 100 };
    unsigned char there[CHUNK_BYTES / 4096];
    uint8_t *cell[MANY], *chunk;
    struct cells c;
    size_t pages = 0;

    cells_init(&c);
    for (unsigned i = 0; i < MANY; i++) {
        cell[i] = cells_take(&c, 64, true);
        CHECK(cell[i] != NULL);
        memset(cell[i], (int)i, CELL_BYTES);
        if (i > 3)
            continue;
        chunk = (uint8_t *)((uintptr_t)cell[0] & ~(uintptr_t)(CHUNK_BYTES - 1));
        CHECK_EQ(mincore(chunk, CHUNK_BYTES, there), 0);
        pages = 0;
        for (size_t p = 0; p < ARRAY_LEN(there); p++)
            pages += there[p] & 1;
        CHECK(pages <= 2 * (i + 1) + 1);
    }
    for (unsigned i = 0; i < MANY; i++) {
        for (size_t b = 0; b < CELL_BYTES; b++)
            CHECK_EQ(cell[i][b], i);
        cells_give(&c, cell[i]);
    }
    cells_done(&c);
}

TEST(cache_block_that_comes_late_does_not_hold_its_chunk)
{
    enum { CELLS = 496, FRAMES = 3 * CELLS, LAST = FRAMES - 1 };
    struct sst_cache *c;
    static _Atomic(struct frame *) slots[FRAMES];
    struct frame *frames[FRAMES];
    struct quern_error err;
    uintptr_t chunk;

    CHECK_OK(sst_cache_new(UINT64_C(16) << 20, &c, &err), &err);
    for (int i = 0; i < FRAMES; i++) {
        CHECK_OK(frame_new(c, FRAME_BLOCK, 4096, &frames[i], &err), &err);
        CHECK(frames[i]->celled);
        memset(frame_block(frames[i]), i % 251, 4096);
    }
    rcu_enter();
    for (int i = 0; i < LAST; i++)
        CHECK(frame_publish(&slots[i], frames[i]) == frames[i]);
    rcu_leave();
    chunk = (uintptr_t)frames[LAST] & ~(uintptr_t)(CHUNK_BYTES - 1);
    cache_forget(c, slots + 2 * CELLS, CELLS - 16); /* the last chunk is the emptiest ... */
    cache_forget(c, slots, CELLS / 2);              /* ... and there is room in the others */
    cache_forget(c, slots + CELLS, CELLS / 2);
    rcu_drain();
    rcu_drain();
    CHECK(is_mapped((void *)chunk)); /* it waits for the last block */
    rcu_enter();
    CHECK_EQ(*frame_block(frame_publish(&slots[LAST], frames[LAST])), LAST % 251);
    rcu_leave();
    rcu_drain();
    CHECK(!is_mapped((void *)chunk));
    rcu_enter();
    CHECK(slots[LAST] != NULL && frame_block(slots[LAST])[4095] == LAST % 251);
    rcu_leave();
    cache_forget(c, slots, FRAMES);
    sst_cache_free(c);
}

/* ---- threads ---- */

struct crowd {
    struct rig *r;
    uint64_t seed;
    _Atomic bool *stop;
    _Atomic uint64_t *wrong;
};

static void read_one_by_one(struct crowd *c)
{
    const struct entry *want = &c->r->m.entries[tap_random(&c->seed) % ENTRIES];
    struct sst_lookup l = {.key = want->key, .hash = hash_key(want->key), .seq = UINT64_MAX};
    struct quern_error err;

    rcu_enter();
    if (sst_get(c->r->t[tap_random(&c->seed) % TABLES], &l, &err) || !l.found ||
        !entry_same(&l.entry, want))
        atomic_fetch_add(c->wrong, 1);
    rcu_leave();
    alloc_free(l.owned);
}

static void read_many(struct crowd *c)
{
    struct sst_lookup ls[16], *ptrs[16];
    const struct entry *want[16];
    enum quern_code codes[16];
    struct quern_error errs[16];

    for (size_t k = 0; k < 16; k++) {
        want[k] = &c->r->m.entries[tap_random(&c->seed) % ENTRIES];
        ls[k] = (struct sst_lookup){.table = c->r->t[tap_random(&c->seed) % TABLES],
                                    .key = want[k]->key,
                                    .hash = hash_key(want[k]->key),
                                    .seq = UINT64_MAX};
        ptrs[k] = &ls[k];
    }
    rcu_enter();
    sst_get_many(ptrs, 16, codes, errs);
    for (size_t k = 0; k < 16; k++)
        if (codes[k] != QUERN_OK || !ls[k].found || !entry_same(&ls[k].entry, want[k]))
            atomic_fetch_add(c->wrong, 1);
    rcu_leave();
    for (size_t k = 0; k < 16; k++)
        alloc_free(ls[k].owned);
}

static void walk_some(struct crowd *c)
{
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_error err;
    size_t i = tap_random(&c->seed) % ENTRIES;
    enum sst_walk walk = tap_random(&c->seed) % 2 ? SST_BULK : SST_CACHED;

    if (sst_iter(c->r->t[tap_random(&c->seed) % TABLES], walk, &it, &err)) {
        atomic_fetch_add(c->wrong, 1);
        return;
    }
    iter_seek(it, c->r->m.entries[i].key);
    for (int k = 0; k < 60 && it->valid; k++, i++) {
        if (!entry_same(&it->at, &c->r->m.entries[i]))
            atomic_fetch_add(c->wrong, 1);
        iter_next(it);
    }
    if (it->err.code != QUERN_OK)
        atomic_fetch_add(c->wrong, 1);
}

static void *crowd_body(void *arg)
{
    struct crowd *c = arg;

    while (!atomic_load(c->stop)) {
        switch (tap_random(&c->seed) % 3) {
        case 0:
            read_one_by_one(c);
            break;
        case 1:
            read_many(c);
            break;
        default:
            walk_some(c);
        }
    }
    return NULL;
}

/* Readers at work while the budget changes: `unit` times 1, 2, 4 and 0. */
static void crowd_run(struct rig *rig, uint64_t unit)
{
    struct quern_error err;
    struct crowd crowd[4];
    pthread_t threads[4];
    _Atomic bool stop = false;
    _Atomic uint64_t wrong = 0;
    struct sst_cache_stats stats;
    uint64_t seed = tap_seed();

    CHECK_OK(rcu_start(&err), &err);
    for (int i = 0; i < 4; i++) {
        crowd[i] = (struct crowd){rig, seed + (uint64_t)i * 7919, &stop, &wrong};
        CHECK_OK(thread_start(&threads[i], "reader", crowd_body, &crowd[i], &err), &err);
    }
    for (int k = 0; k < 40; k++) {
        thread_sleep_ns(20000000);
        sst_cache_set_capacity(rig->cache, k % 4 == 3 ? 0 : unit << (k % 4));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(atomic_load(&wrong), 0);
    sst_cache_set_capacity(rig->cache, 0);
    rcu_drain();
    sst_cache_stats(rig->cache, &stats);
    tap_note("%" PRIu64 " misses, %" PRIu64 " evictions", stats.misses, stats.evictions);
    CHECK(stats.evictions > 100);
    CHECK(stats.block_bytes == 0 || stats.block_bytes == 496 * 4224); /* one chunk is kept */
}

TEST(cache_readers_see_right_bytes_while_frames_come_and_go)
{
    struct rig r OWNED_RIG;
    struct quern_error err;

    CHECK_OK(rig_make(&r, 256 << 10, &err), &err);
    crowd_run(&r, 256 << 10);
}

TEST(cache_readers_see_right_bytes_while_frames_move)
{
    struct rig r OWNED_RIG;
    struct quern_error err;

    CHECK_OK(rig_make_usual(&r, 16 << 20, &err), &err);
    crowd_run(&r, 16 << 20);
}
