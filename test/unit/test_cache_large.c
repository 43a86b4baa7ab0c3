/* test_cache_large.c - what the cache promises of blocks with large values: they are read once where
 * there is room, drive out nothing for a single reader, and stay within the budget. */
#include "base/rcu.h"
#include "base/thread.h"
#include "sst/cache_priv.h"
#include "sst_model.h"

#define MIB (1u << 20)
#define VALUES 60
#define VALUE_BYTES 900000u

struct rig {
    struct os_dir *dir;
    struct sst_cache *cache;
    struct model m;
    struct table_meta meta;
    struct sst *t;
};

/* One table with a block for each value: 52 MiB. */
static enum quern_code rig_make(struct rig *r, uint64_t capacity, enum sst_codec codec,
                                struct quern_error *err)
{
    struct sst_write_config config = {
        .table_no = 1, .block_bytes = 4096, .filter_bits = 10, .codec = codec};
    char room[24];

    *r = (struct rig){0};
    for (uint64_t i = 0; i < VALUES; i++)
        model_add(&r->m, decimal_key(room, i), i, ENTRY_PUT, 0, VALUE_BYTES);
    if (os_dir_open(os_local(), tap_dir(), false, &r->dir, err) ||
        sst_cache_new(capacity, &r->cache, err) ||
        model_write(&r->m, r->dir, &config, r->cache, &r->meta, err))
        return err->code;
    return sst_open(r->dir, &r->meta, r->cache, &r->t, err);
}

static void rig_done(struct rig *r)
{
    sst_unref(r->t);
    table_meta_done(&r->meta);
    sst_cache_free(r->cache);
    os_dir_close(r->dir);
    model_done(&r->m);
}
#define OWNED_RIG __attribute__((cleanup(rig_done)))

enum way { WRONG, FROM_CACHE, APART };

/* Where did the right value come from? */
static enum way get(struct rig *r, size_t i)
{
    const struct entry *want = &r->m.entries[i];
    struct sst_lookup l = {.key = want->key, .hash = hash_key(want->key), .seq = UINT64_MAX};
    enum way way = WRONG;
    struct quern_error err;

    rcu_enter();
    if (EXPECT(sst_get(r->t, &l, &err) == QUERN_OK) && EXPECT(l.found) &&
        EXPECT(entry_same(&l.entry, want)))
        way = l.owned == NULL ? FROM_CACHE : APART;
    rcu_leave();
    alloc_free(l.owned);
    return way;
}

static struct sst_cache_stats stats_of(struct rig *r)
{
    struct sst_cache_stats stats;

    sst_cache_stats(r->cache, &stats);
    return stats;
}

static uint64_t cached_count(struct rig *r)
{
    uint64_t blocks, cached;

    sst_count_cached(r->t, &blocks, &cached);
    return cached;
}

TEST(cache_reads_a_large_value_once_where_there_is_room)
{
    for (int codec = SST_PLAIN; codec <= SST_LZ4; codec++) {
        struct rig r OWNED_RIG;
        struct quern_error err;
        struct sst_cache_stats first;

        CHECK_OK(rig_make(&r, 64 * MIB, (enum sst_codec)codec, &err), &err);
        for (size_t i = 0; i < VALUES; i++)
            CHECK_EQ(get(&r, i), FROM_CACHE);
        first = stats_of(&r);
        CHECK(first.block_bytes >= (uint64_t)VALUES * VALUE_BYTES);
        for (size_t i = 0; i < VALUES; i++)
            CHECK_EQ(get(&r, i), FROM_CACHE);
        CHECK_EQ(stats_of(&r).misses, first.misses);
        CHECK_EQ(stats_of(&r).read_bytes, first.read_bytes);
        CHECK_EQ(cached_count(&r), VALUES);
    }
}

TEST(cache_hands_over_a_value_that_is_no_small_part_of_it)
{
    struct rig r OWNED_RIG;
    struct quern_error err;

    CHECK_OK(rig_make(&r, 24 * MIB, SST_PLAIN, &err), &err);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < 3; i++)
            CHECK_EQ(get(&r, i), APART);
    CHECK_EQ(stats_of(&r).block_bytes, 0);
}

TEST(cache_drives_nothing_out_for_a_large_value_asked_for_once)
{
    struct rig r OWNED_RIG;
    struct quern_error err;
    uint64_t full;
    size_t last = VALUES - 1;

    CHECK_OK(rig_make(&r, 32 * MIB, SST_PLAIN, &err), &err);
    for (size_t i = 0; i < VALUES; i++)
        CHECK(get(&r, i) != WRONG);
    full = cached_count(&r);
    CHECK(full >= 30 && full < VALUES);
    CHECK_EQ(stats_of(&r).evictions, 0);
    for (size_t i = 0; i < full; i++)
        CHECK_EQ(get(&r, i), FROM_CACHE);
    CHECK_EQ(get(&r, last), FROM_CACHE); /* asked for again: others go for it */
    rcu_drain();
    CHECK(stats_of(&r).evictions > 0);
    CHECK(stats_of(&r).used_bytes <= 32 * MIB);
}

TEST(cache_is_left_as_it_is_by_bulk_walks_over_large_values)
{
    struct rig r OWNED_RIG;
    struct quern_error err;

    CHECK_OK(rig_make(&r, 64 * MIB, SST_PLAIN, &err), &err);
    CHECK_EQ(get(&r, 7), FROM_CACHE);
    for (int walk = SST_CACHED; walk <= SST_WHOLE; walk++) {
        struct iter *it OWNED(iter_free) = NULL;
        size_t i = 0;

        if (walk == SST_CACHED)
            continue;
        CHECK_OK(sst_iter(r.t, (enum sst_walk)walk, &it, &err), &err);
        for (iter_first(it); it->valid; iter_next(it))
            CHECK(entry_same(&it->at, &r.m.entries[i++]));
        CHECK_OK(it->err.code, &it->err);
        CHECK_EQ(i, VALUES);
        CHECK_EQ(cached_count(&r), 1);
    }
}

TEST(cache_cursor_reads_large_values_from_the_cache_and_keeps_them)
{
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct iter *it OWNED(iter_free) = NULL;

    CHECK_OK(rig_make(&r, 64 * MIB, SST_PLAIN, &err), &err);
    CHECK_OK(sst_iter(r.t, SST_CACHED, &it, &err), &err);
    for (int round = 0; round < 2; round++) {
        size_t i = 0;

        for (iter_first(it); it->valid; iter_next(it))
            CHECK(entry_same(&it->at, &r.m.entries[i++]));
        CHECK_EQ(i, VALUES);
    }
    CHECK_EQ(stats_of(&r).misses, VALUES);
    iter_seek(it, r.m.entries[20].key);
    sst_cache_set_capacity(r.cache, 0);
    rcu_drain();
    CHECK(it->valid && entry_same(&it->at, &r.m.entries[20]));
}

enum { CAPACITY = 64 * MIB, LEN = MIB, MANY = 100 };

/* NULL: not even when it is asked for a second time, so that alone is no reason. */
static struct frame *admit(struct sst_cache *c, const _Atomic(struct frame *) *slot, size_t len)
{
    struct quern_error err;
    struct frame *f = NULL;

    if (!EXPECT(frame_admit(c, slot, len, &f, &err) == QUERN_OK))
        return NULL;
    if (f == NULL)
        EXPECT(frame_admit(c, slot, len, &f, &err) == QUERN_OK);
    return f;
}

/* Readers that each bring a large block at the same moment. */
TEST(cache_counts_large_blocks_on_their_way)
{
    static _Atomic(struct frame *) slots[MANY];
    struct frame *frames[MANY], *f;
    struct sst_cache_stats stats;
    struct sst_cache *c;
    struct quern_error err;
    size_t n = 0;

    CHECK_OK(sst_cache_new(CAPACITY, &c, &err), &err);
    for (size_t i = 0; i < MANY; i++)
        if ((f = admit(c, &slots[i], LEN)) != NULL) {
            frames[n++] = f;
            sst_cache_stats(c, &stats);
            CHECK(stats.used_bytes <= CAPACITY);
        }
    CHECK(n >= 60 && n < MANY);
    f = admit(c, &slots[n], LARGE_BLOCK_BYTES); /* as always */
    CHECK(f != NULL);
    frame_drop(f);
    while (n > 0)
        frame_drop(frames[--n]);
    f = admit(c, &slots[MANY - 1], LEN);
    CHECK(f != NULL);
    frame_drop(f);
    sst_cache_free(c);
}

/* The linker leads the library's calls here: --wrap in meson.build. To make the pages of a large block
 * takes a while; here it is long enough for all others to come. */
static _Atomic bool slow;

int __real_madvise(void *p, size_t bytes, int advice);
int __wrap_madvise(void *p, size_t bytes, int advice);

int __wrap_madvise(void *p, size_t bytes, int advice)
{
    if (atomic_load(&slow))
        thread_sleep_ns(1000000);
    return __real_madvise(p, bytes, advice);
}

#define CROWD 24
#define EACH 6

struct crowd {
    struct sst_cache *cache;
    pthread_barrier_t all_came;
    _Atomic uint64_t held; /* bytes, by all readers together */
};

static void *bring_blocks(void *arg)
{
    struct crowd *crowd = arg;
    _Atomic(struct frame *) slots[EACH] = {NULL};
    struct frame *frames[EACH];

    for (size_t i = 0; i < EACH; i++) {
        frames[i] = admit(crowd->cache, &slots[i], LEN);
        if (frames[i] != NULL)
            atomic_fetch_add(&crowd->held, frames[i]->charge);
    }
    (void)pthread_barrier_wait(&crowd->all_came);
    for (size_t i = 0; i < EACH; i++)
        frame_drop(frames[i]);
    return NULL;
}

/* They would bring twice the budget. */
TEST(cache_lets_no_two_large_blocks_enter_on_the_same_room)
{
    struct crowd crowd = {0};
    pthread_t threads[CROWD];
    struct quern_error err;

    CHECK_OK(sst_cache_new(CAPACITY, &crowd.cache, &err), &err);
    CHECK_EQ(pthread_barrier_init(&crowd.all_came, NULL, CROWD), 0);
    atomic_store(&slow, true);
    for (size_t i = 0; i < CROWD; i++)
        CHECK_OK(thread_start(&threads[i], "reader", bring_blocks, &crowd, &err), &err);
    for (size_t i = 0; i < CROWD; i++)
        (void)pthread_join(threads[i], NULL);
    atomic_store(&slow, false);
    tap_note("%llu of %u bytes", (unsigned long long)crowd.held, CAPACITY);
    CHECK(crowd.held > CAPACITY / 2 && crowd.held <= CAPACITY);
    (void)pthread_barrier_destroy(&crowd.all_came);
    sst_cache_free(crowd.cache);
}
