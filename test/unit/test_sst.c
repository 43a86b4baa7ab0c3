/* test_sst.c - what a table promises: it gives back what was put, and never a wrong byte. */
#include "sst/format_priv.h"
#include "sst/sst.h"
#include "sst/table_priv.h"

#include "base/rcu.h"
#include "sst_model.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct rig {
    struct os_dir *dir;
    struct sst_cache *cache;
    struct table_meta meta;
    struct sst *t;
    char path[320];
};

static void rig_done(struct rig *r)
{
    sst_unref(r->t);
    sst_cache_free(r->cache);
    table_meta_done(&r->meta);
    os_dir_close(r->dir);
}
#define OWNED_RIG __attribute__((cleanup(rig_done)))

static enum quern_code rig_make(struct rig *r, const struct model *m,
                                const struct sst_write_config *config, uint64_t cache_bytes,
                                struct quern_error *err)
{
    const char *path = tap_dir();

    *r = (struct rig){0};
    (void)snprintf(r->path, sizeof(r->path), "%s/%06" PRIu64 ".sst", path, config->table_no);
    if (os_dir_open(os_local(), path, false, &r->dir, err) ||
        sst_cache_new(cache_bytes, &r->cache, err) ||
        model_write(m, r->dir, config, r->cache, &r->meta, err))
        return err->code;
    return sst_open(r->dir, &r->meta, r->cache, &r->t, err);
}

static const struct sst_write_config plain = {
    .table_no = 7, .block_bytes = 4096, .filter_bits = 10, .codec = SST_PLAIN, .created_ms = 99};

/* ---- comparing with the model ---- */

static bool bytes_are(struct quern_slice left, struct quern_slice want)
{
    return left.len == want.len && (left.len == 0 || memcmp(left.data, want.data, left.len) == 0);
}

/* Every entry in order, both ways; and the key and value that a step left are readable after it. */
static bool walk_agrees(struct sst *t, const struct model *m, enum sst_walk walk)
{
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_error err;
    struct entry left;
    uint64_t hash;
    size_t i = 0;

    if (!EXPECT(sst_iter(t, walk, &it, &err) == QUERN_OK))
        return false;
    iter_first(it);
    while (it->valid && i < m->n) {
        if (!EXPECT(entry_same(&it->at, &m->entries[i])) ||
            !EXPECT(it->head == key_head(it->at.key, 0)) ||
            !EXPECT(iter_hash(it, &hash) == (walk == SST_WHOLE)) ||
            !EXPECT(walk != SST_WHOLE || hash == sst_entry_hash(&m->entries[i])))
            return false;
        left = it->at;
        iter_next(it);
        if (!EXPECT(bytes_are(left.key, m->entries[i].key)) ||
            !EXPECT(bytes_are(left.value, m->entries[i].value)))
            return false;
        i++;
    }
    if (!EXPECT(!it->valid && it->err.code == QUERN_OK && i == m->n))
        return false;
    iter_last(it);
    while (it->valid && i > 0) {
        if (!EXPECT(entry_same(&it->at, &m->entries[--i])))
            return false;
        left = it->at;
        iter_prev(it);
        if (!EXPECT(bytes_are(left.key, m->entries[i].key)) ||
            !EXPECT(bytes_are(left.value, m->entries[i].value)))
            return false;
    }
    return EXPECT(!it->valid && it->err.code == QUERN_OK && i == 0);
}

/* A key near one of the model's: the key itself, cut, longer, or a little off. */
static struct quern_slice near_key(const struct model *m, uint64_t *seed, uint8_t *room)
{
    struct quern_slice key = m->entries[tap_random(seed) % m->n].key;
    size_t len = key.len < 80 ? key.len : tap_random(seed) % 2 ? key.len : 80;

    memcpy(room, key.data, len);
    switch (tap_random(seed) % 5) {
    case 0:
        room[tap_random(seed) % len] ^= (uint8_t)(1 + tap_random(seed) % 255);
        break;
    case 1:
        room[len++] = 0;
        break;
    case 2:
        len = 1 + tap_random(seed) % len;
        break;
    default:
        break;
    }
    return slice_of(room, len);
}

static bool one_seek_agrees(struct iter *it, const struct model *m, struct quern_slice key)
{
    size_t i = model_search(m, key, UINT64_MAX);

    iter_seek(it, key);
    if (!EXPECT(it->valid == (i < m->n)) ||
        (it->valid && !EXPECT(entry_same(&it->at, &m->entries[i]))))
        return false;
    if (it->valid) {
        iter_prev(it);
        if (!EXPECT(it->valid == (i > 0)) ||
            (it->valid && !EXPECT(entry_same(&it->at, &m->entries[i - 1]))))
            return false;
    }
    iter_seek_below(it, key);
    if (!EXPECT(it->valid == (i > 0)))
        return false;
    if (i == 0)
        return true;
    if (!EXPECT(entry_same(&it->at, &m->entries[i - 1])))
        return false;
    iter_next(it);
    return EXPECT(it->valid == (i < m->n)) &&
           (!it->valid || EXPECT(entry_same(&it->at, &m->entries[i])));
}

static bool seeks_agree(struct sst *t, const struct model *m, enum sst_walk walk, uint64_t *seed,
                        int tries)
{
    static uint8_t room[ENTRY_KEY_BYTES_MAX + 1];
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_error err;
    uint64_t rank;

    if (!EXPECT(sst_iter(t, walk, &it, &err) == QUERN_OK))
        return false;
    while (tries-- > 0) {
        struct quern_slice key = near_key(m, seed, room);

        if (!one_seek_agrees(it, m, key) || !EXPECT(sst_rank(t, key, &rank, &err) == QUERN_OK) ||
            !EXPECT(rank == model_search(m, key, UINT64_MAX)))
            return false;
    }
    return true;
}

static bool answer_agrees(const struct sst_lookup *l, const struct model *m)
{
    const struct entry *want = model_get(m, l->key, l->seq);

    return EXPECT(l->found == (want != NULL)) &&
           (want == NULL || EXPECT(entry_same(&l->entry, want)));
}

static bool gets_agree(struct sst *t, const struct model *m, uint64_t *seed, int rounds)
{
    static uint8_t rooms[SST_LOOKUPS_MAX][ENTRY_KEY_BYTES_MAX + 1];
    struct sst_lookup ls[SST_LOOKUPS_MAX], *ptrs[SST_LOOKUPS_MAX];
    enum quern_code codes[SST_LOOKUPS_MAX];
    static struct quern_error errs[SST_LOOKUPS_MAX];
    bool good = true;

    while (rounds-- > 0 && good) {
        size_t n = 1 + tap_random(seed) % SST_LOOKUPS_MAX;

        for (size_t k = 0; k < n; k++) {
            struct quern_slice key = near_key(m, seed, rooms[k]);

            ls[k] = (struct sst_lookup){.table = t, .key = key, .hash = hash_key(key)};
            ls[k].seq = tap_random(seed) % 2 ? UINT64_MAX : m->entries[tap_random(seed) % m->n].seq;
            ptrs[k] = &ls[k];
        }
        rcu_enter();
        for (size_t k = 0; k < n && good; k++) {
            good = EXPECT(sst_get(t, &ls[k], &errs[0]) == QUERN_OK) && answer_agrees(&ls[k], m);
            alloc_free(ls[k].owned);
        }
        sst_get_many(ptrs, n, codes, errs);
        for (size_t k = 0; k < n; k++) {
            good = good && EXPECT(codes[k] == QUERN_OK) && answer_agrees(&ls[k], m);
            alloc_free(ls[k].owned);
        }
        rcu_leave();
    }
    return good;
}

static bool all_agrees(struct rig *r, const struct model *m, uint64_t *seed, int tries)
{
    struct quern_error err = {0};
    uint64_t bytes = 0;

    if (!EXPECT(sst_verify(r->t, NULL, NULL, &bytes, &err) == QUERN_OK)) {
        tap_note("%s", err.text);
        return false;
    }
    return EXPECT(bytes >= r->meta.file_bytes) && walk_agrees(r->t, m, SST_WHOLE) &&
           walk_agrees(r->t, m, SST_CACHED) && walk_agrees(r->t, m, SST_BULK) &&
           gets_agree(r->t, m, seed, tries) && seeks_agree(r->t, m, SST_CACHED, seed, tries * 4) &&
           seeks_agree(r->t, m, SST_WHOLE, seed, tries);
}

static bool meta_agrees(const struct table_meta *meta, const struct model *m)
{
    struct table_meta sum = {.seq_min = UINT64_MAX};

    for (size_t i = 0; i < m->n; i++) {
        const struct entry *e = &m->entries[i];

        sum.entry_hash += sst_entry_hash(e);
        sum.raw_bytes += e->key.len + e->value.len;
        sum.tombstone_count += e->kind != ENTRY_PUT;
        sum.duplicate_count += i > 0 && key_equal(e->key, m->entries[i - 1].key);
        sum.seq_min = e->seq < sum.seq_min ? e->seq : sum.seq_min;
        sum.seq_max = e->seq > sum.seq_max ? e->seq : sum.seq_max;
        if (e->expires_ms != 0 && (sum.expires_min_ms == 0 || e->expires_ms < sum.expires_min_ms))
            sum.expires_min_ms = e->expires_ms;
        if (e->expires_ms > sum.expires_max_ms)
            sum.expires_max_ms = e->expires_ms;
        sum.expiring_count += e->expires_ms != 0;
    }
    return EXPECT(meta->entry_count == m->n) && EXPECT(meta->entry_hash == sum.entry_hash) &&
           EXPECT(meta->raw_bytes == sum.raw_bytes) && EXPECT(meta->seq_min == sum.seq_min) &&
           EXPECT(meta->seq_max == sum.seq_max) &&
           EXPECT(meta->tombstone_count == sum.tombstone_count) &&
           EXPECT(meta->duplicate_count == sum.duplicate_count) &&
           EXPECT(meta->expires_min_ms == sum.expires_min_ms) &&
           EXPECT(meta->expires_max_ms == sum.expires_max_ms) &&
           EXPECT(meta->expiring_count == sum.expiring_count) &&
           EXPECT(key_equal(buf_slice(&meta->smallest), m->entries[0].key)) &&
           EXPECT(key_equal(buf_slice(&meta->largest), m->entries[m->n - 1].key));
}

/* ---- round trips ---- */

/* Entries of every shape: short and long keys, shared prefixes, zeros, many versions of some. */
static void wild_model(struct model *m, uint64_t *seed, int n)
{
    static uint8_t key[65536];

    for (int i = 0; i < n; i++) {
        uint64_t dice = tap_random(seed);
        size_t len = 1 + tap_random(seed) % 24;
        int versions = dice % 16 == 0 ? (int)(dice / 16 % 90) : 1;
        quern_seq seq = 1 + tap_random(seed) % (dice % 3 ? 5000 : UINT64_C(1) << 40);

        if (dice % 97 == 0)
            len = 1 + tap_random(seed) % sizeof(key);
        memset(key, 'p', len);
        for (size_t k = 0; k < 4 && k < len; k++)
            key[len - 1 - k] = (uint8_t)(tap_random(seed) % (dice % 5 ? 4 : 256));
        while (versions-- > 0)
            model_add(m, slice_of(key, len), seq + (quern_seq)versions,
                      dice % 7 ? ENTRY_PUT : ENTRY_DELETE, dice % 11 ? 0 : dice % 100000,
                      dice % 7 == 0 ? 0 : tap_random(seed) % (dice % 29 ? 120 : 9000));
    }
    model_settle(m);
}

TEST(sst_gives_back_every_shape_of_entry_with_every_codec)
{
    uint64_t seed = tap_seed();

    for (int codec = SST_PLAIN; codec <= SST_ZSTD; codec++)
        for (int round = 0; round < 3; round++) {
            struct sst_write_config config = plain;
            struct model m OWNED_MODEL = {0};
            struct rig r OWNED_RIG;
            struct quern_error err;

            config.codec = (enum sst_codec)codec;
            config.block_bytes = round == 0 ? 256 : round == 1 ? 4096 : 100000;
            config.filter_bits = round == 2 ? 0 : 10;
            wild_model(&m, &seed, 600);
            CHECK_OK(rig_make(&r, &m, &config, round == 0 ? 20000 : 8 << 20, &err), &err);
            CHECK(meta_agrees(&r.meta, &m));
            /* The small cache does not hold the index, which is read for each. */
            CHECK(all_agrees(&r, &m, &seed, round == 0 ? 15 : 60));
        }
}

TEST(sst_of_one_entry_works)
{
    uint64_t seed = tap_seed();
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct quern_error err;

    model_add(&m, QUERN_STR("k"), 5, ENTRY_PUT, 0, 0);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    CHECK(all_agrees(&r, &m, &seed, 20));
}

TEST(sst_large_values_come_back_whole_and_stay_out_of_a_small_cache)
{
    static const size_t sizes[] = {262143, 262144, 300000, 2 << 20, 100, 262120};
    uint64_t seed = tap_seed();

    for (int codec = SST_PLAIN; codec <= SST_ZSTD; codec++) {
        struct sst_write_config config = plain;
        struct sst_cache_stats stats;
        struct model m OWNED_MODEL = {0};
        struct rig r OWNED_RIG;
        struct quern_error err;
        char room[24];

        config.codec = (enum sst_codec)codec;
        for (size_t i = 0; i < 12; i++)
            model_add(&m, decimal_key(room, i / 2), 100 - i, ENTRY_PUT, 0,
                      sizes[i % ARRAY_LEN(sizes)]);
        CHECK_OK(rig_make(&r, &m, &config, 8 << 20, &err), &err);
        CHECK(all_agrees(&r, &m, &seed, 2));
        sst_cache_stats(r.cache, &stats);
        CHECK(stats.block_bytes <= 5 * 300000);
    }
}

TEST(sst_many_versions_cross_blocks)
{
    uint64_t seed = tap_seed();
    struct sst_write_config config = plain;
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct quern_error err;

    config.block_bytes = 300;
    for (quern_seq s = 1; s <= 500; s++) {
        model_add(&m, QUERN_STR("hot"), s * 3, s % 10 ? ENTRY_PUT : ENTRY_DELETE, 0, s % 40);
        model_add(&m, QUERN_STR("hotter"), s * 2, ENTRY_PUT, s, s % 40);
    }
    model_add(&m, QUERN_STR("cold"), 9, ENTRY_PUT, 0, 10);
    model_add(&m, QUERN_STR("i"), 9, ENTRY_PUT, 0, 10);
    model_settle(&m);
    CHECK_OK(rig_make(&r, &m, &config, 8 << 20, &err), &err);
    CHECK(all_agrees(&r, &m, &seed, 100));
}

TEST(sst_filter_passes_about_one_absent_key_in_a_hundred)
{
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct sst_cache_stats before, after;
    char room[24];
    int passed;

    for (uint64_t i = 0; i < 20000; i++)
        model_add(&m, decimal_key(room, i * 2), 1, ENTRY_PUT, 0, 1);
    CHECK_OK(rig_make(&r, &m, &plain, 0, &err), &err); /* no cache: each pass reads a block */
    sst_cache_stats(r.cache, &before);
    for (uint64_t i = 0; i < 20000; i++) {
        struct quern_slice key = decimal_key(room, i * 2 + 1);
        struct sst_lookup l = {.key = key, .hash = hash_key(key), .seq = 9};

        rcu_enter();
        CHECK_OK(sst_get(r.t, &l, &err), &err);
        rcu_leave();
        CHECK(!l.found);
    }
    sst_cache_stats(r.cache, &after);
    passed = (int)(after.misses - before.misses);
    tap_note("%d of 20000 absent keys passed the filter", passed);
    CHECK(passed < 20000 * 2 / 100);
}

/* ---- damage ---- */

static void patch(const char *path, uint64_t at, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || pwrite(fd, bytes, len, (off_t)at) != (ssize_t)len)
        abort();
    (void)close(fd);
}

static uint8_t byte_at(const char *path, uint64_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || pread(fd, &byte, 1, (off_t)at) != 1)
        abort();
    (void)close(fd);
    return byte;
}

/* As the last table that is asked for it; one by one or in step. */
static enum quern_code get_last(struct sst *t, struct quern_slice key, bool many, bool *found,
                                struct quern_error *err)
{
    struct sst_lookup l = {.table = t, .key = key, .hash = hash_key(key), .seq = 9, .last = true};
    struct sst_lookup *lookups = &l;
    enum quern_code code;

    rcu_enter();
    if (many)
        sst_get_many(&lookups, 1, &code, err);
    else
        code = sst_get(t, &l, err);
    rcu_leave();
    *found = code == QUERN_OK && l.found;
    return code;
}

static uint64_t filter_bytes_in(struct rig *r)
{
    struct sst_cache_stats stats;

    sst_cache_stats(r->cache, &stats);
    return stats.filter_bytes;
}

/* Nor does its damage matter to those who do not ask it. */
TEST(sst_filter_of_the_last_table_is_read_when_a_search_was_in_vain)
{
    for (int round = 0; round < 4; round++) {
        bool many = round % 2 != 0, damaged = round / 2 != 0, found;
        struct model m OWNED_MODEL = {0};
        struct rig r OWNED_RIG;
        struct quern_error err;
        uint64_t at;
        uint8_t bad;
        char room[24];

        for (uint64_t i = 0; i < 2000; i++)
            model_add(&m, decimal_key(room, i * 2), 1, ENTRY_PUT, 0, 10);
        CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
        at = r.t->footer.filter.at;
        bad = byte_at(r.path, at) ^ 1;
        if (damaged)
            patch(r.path, at, &bad, 1);
        for (uint64_t i = 0; i < 2000; i++) {
            CHECK_OK(get_last(r.t, decimal_key(room, i * 2), many, &found, &err), &err);
            CHECK(found);
        }
        CHECK_EQ(filter_bytes_in(&r), 0);
        CHECK_OK(get_last(r.t, decimal_key(room, 1), many, &found, &err), &err);
        CHECK(!found);
        CHECK_EQ(filter_bytes_in(&r), 0);
        if (damaged) {
            CHECK_CODE(get_last(r.t, decimal_key(room, 3), many, &found, &err), QUERN_CORRUPT);
            CHECK(strstr(err.text, "table 000007") != NULL);
            continue;
        }
        CHECK_OK(get_last(r.t, decimal_key(room, 3), many, &found, &err), &err);
        CHECK(!found && filter_bytes_in(&r) > 0);
    }
}

/* Read everything in every way. False: some read failed. Wrong answers fail the test. */
static bool reads_all(struct sst *t, const struct model *m)
{
    bool whole = true;
    struct quern_error err;
    size_t i = 0;

    rcu_enter();
    for (size_t k = 0; k < m->n; k++) {
        const struct entry *e = &m->entries[k];
        struct sst_lookup l = {.key = e->key, .hash = hash_key(e->key), .seq = e->seq};

        if (sst_get(t, &l, &err) != QUERN_OK) {
            whole = false;
            (void)(EXPECT(err.code == QUERN_CORRUPT) && EXPECT(strstr(err.text, "table 000007")));
        } else {
            (void)(EXPECT(l.found) && EXPECT(entry_same(&l.entry, e)));
            alloc_free(l.owned);
        }
    }
    rcu_leave();
    for (enum sst_walk walk = SST_CACHED; walk <= SST_WHOLE; walk++) {
        struct iter *it OWNED(iter_free) = NULL;

        if (sst_iter(t, walk, &it, &err) != QUERN_OK)
            return false;
        for (i = 0, iter_first(it); it->valid; iter_next(it), i++)
            (void)(EXPECT(i < m->n) && EXPECT(entry_same(&it->at, &m->entries[i])));
        if (it->err.code == QUERN_OK)
            (void)EXPECT(i == m->n);
        else
            whole = false;
    }
    return whole;
}

static void count_findings(void *arg, uint64_t table_no, uint64_t offset, struct quern_slice first,
                           struct quern_slice last, const char *what)
{
    (void)table_no, (void)offset, (void)first, (void)last, (void)what;
    ++*(int *)arg;
}

TEST(sst_every_flipped_byte_is_detected_and_never_a_wrong_answer)
{
    uint64_t seed = tap_seed();

    for (int codec = SST_PLAIN; codec <= SST_ZSTD; codec++) {
        struct sst_write_config config = plain;
        struct model m OWNED_MODEL = {0};
        struct rig r OWNED_RIG;
        struct quern_error err;
        char room[24];

        config.codec = (enum sst_codec)codec;
        config.block_bytes = 250;
        for (uint64_t i = 0; i < 12; i++)
            model_add(&m, decimal_key(room, i), i, ENTRY_PUT, i % 3, 20);
        CHECK_OK(rig_make(&r, &m, &config, 1 << 20, &err), &err);
        for (uint64_t at = 0; at < r.meta.file_bytes; at++) {
            uint8_t good = byte_at(r.path, at);
            uint8_t bad = good ^ (uint8_t)(1u << tap_random(&seed) % 8);
            struct sst *t OWNED(sst_unref) = NULL;
            int findings = 0;

            patch(r.path, at, &bad, 1);
            if (sst_open(r.dir, &r.meta, r.cache, &t, &err) == QUERN_OK) {
                CHECK(!reads_all(t, &m));
                CHECK_CODE(sst_verify(t, count_findings, &findings, NULL, &err), QUERN_CORRUPT);
                CHECK(findings > 0);
            } else {
                CHECK_EQ(err.code, QUERN_CORRUPT);
            }
            patch(r.path, at, &good, 1);
        }
        CHECK(reads_all(r.t, &m));
    }
}

TEST(sst_cut_at_any_length_does_not_open)
{
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct quern_error err;
    char room[24];

    for (uint64_t i = 0; i < 8; i++)
        model_add(&m, decimal_key(room, i), i, ENTRY_PUT, 0, 20);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    for (uint64_t len = r.meta.file_bytes; len-- > 0;) {
        struct sst *t OWNED(sst_unref) = NULL;
        struct table_meta liar = r.meta;

        CHECK_EQ(truncate(r.path, (off_t)len), 0);
        CHECK_CODE(sst_open(r.dir, &r.meta, r.cache, &t, &err), QUERN_CORRUPT);
        liar.file_bytes = len; /* even if the manifest were cut too */
        CHECK_CODE(sst_open(r.dir, &liar, r.cache, &t, &err), QUERN_CORRUPT);
    }
    CHECK_EQ(unlink(r.path), 0);
    {
        struct sst *t OWNED(sst_unref) = NULL;

        CHECK_CODE(sst_open(r.dir, &r.meta, r.cache, &t, &err), QUERN_CORRUPT);
    }
}

TEST(sst_swapped_file_is_caught_at_open)
{
    struct sst_write_config other = plain;
    struct table_meta meta = {0};
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct sst *t OWNED(sst_unref) = NULL; /* after `r`: it goes first */
    struct quern_error err;
    char path[340], room[24];

    for (uint64_t i = 0; i < 24; i++)
        model_add(&m, decimal_key(room, i), i, ENTRY_PUT, 0, 40);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    other.table_no = 8;
    CHECK_OK(model_write(&m, r.dir, &other, r.cache, &meta, &err), &err);
    table_meta_done(&meta);
    (void)snprintf(path, sizeof(path), "%.*s/000008.sst", (int)(strrchr(r.path, '/') - r.path),
                   r.path);
    CHECK_EQ(rename(path, r.path), 0);
    CHECK_CODE(sst_open(r.dir, &r.meta, r.cache, &t, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "other content") != NULL);
}

/* Change the footer and stamp it anew, as a newer quern would have. */
static void restamp(struct rig *r, size_t field, uint32_t v)
{
    uint8_t footer[FOOTER_BYTES];
    uint64_t at = r->meta.file_bytes - FOOTER_BYTES;

    for (size_t i = 0; i < FOOTER_BYTES; i++)
        footer[i] = byte_at(r->path, at + i);
    put_u32le(footer + field, v);
    put_u64le(footer + 120, hash_placed(footer, 120, r->meta.unique_id, at));
    patch(r->path, at, footer, FOOTER_BYTES);
}

TEST(sst_from_the_future_is_unsupported_not_corrupt)
{
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct sst *t OWNED(sst_unref) = NULL; /* after `r`: it goes first */
    struct quern_error err;

    model_add(&m, QUERN_STR("k"), 1, ENTRY_PUT, 0, 40);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    restamp(&r, 104, FORMAT_VERSION + 1);
    CHECK_CODE(sst_open(r.dir, &r.meta, r.cache, &t, &err), QUERN_UNSUPPORTED);
    restamp(&r, 104, FORMAT_VERSION);
    restamp(&r, 112, 4); /* a feature bit */
    CHECK_CODE(sst_open(r.dir, &r.meta, r.cache, &t, &err), QUERN_UNSUPPORTED);
    restamp(&r, 112, 0);
    CHECK_OK(sst_open(r.dir, &r.meta, r.cache, &t, &err), &err);
}

/* ---- lifetimes and memory ---- */

TEST(sst_condemned_table_goes_with_its_last_reference)
{
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct iter *it = NULL;
    struct quern_error err;

    model_add(&m, QUERN_STR("k"), 1, ENTRY_PUT, 0, 40);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    CHECK_OK(sst_iter(r.t, SST_CACHED, &it, &err), &err);
    iter_first(it);
    sst_condemn(r.t);
    sst_unref(r.t);
    r.t = NULL;
    CHECK(access(r.path, F_OK) == 0 && it->valid && entry_same(&it->at, &m.entries[0]));
    iter_free(it);
    CHECK(access(r.path, F_OK) != 0);
}

/* The sum comes from where the entries came from; what the file holds must match it. */
TEST(sst_table_with_another_value_than_was_given_is_not_finished)
{
    struct sst_writer *w = NULL;
    struct table_meta meta;
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct sst_write_config other = plain;
    struct quern_error err;
    struct sst_cache_stats stats;
    struct sst *made = NULL;
    struct entry swapped;
    uint64_t bytes;

    model_add(&m, QUERN_STR("j"), 1, ENTRY_PUT, 0, 40);
    model_add(&m, QUERN_STR("k"), 1, ENTRY_PUT, 0, 40);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    other.table_no = 8;
    other.warm = SST_WARM_ALL;
    CHECK_OK(sst_writer_open(r.dir, &other, &w, &err), &err);
    swapped = m.entries[0];
    swapped.value = m.entries[1].value;
    CHECK(!key_equal(swapped.value, m.entries[0].value));
    CHECK_OK(sst_writer_add(w, &swapped, sst_entry_hash(&m.entries[0]), &err), &err);
    CHECK_OK(sst_writer_add(w, &m.entries[1], sst_entry_hash(&m.entries[1]), &err), &err);
    CHECK_CODE(sst_writer_finish(w, r.cache, &meta, &made, &err), QUERN_CORRUPT);
    CHECK(made == NULL);
    rcu_drain();
    sst_cache_stats(r.cache, &stats);
    CHECK_EQ(stats.used_bytes, 0); /* nobody will ever see what was in it */
    CHECK(strstr(err.text, "table 000008") != NULL);
    CHECK_CODE(os_dir_stat(r.dir, "000008.sst", &bytes, &err), QUERN_NO_STORE);
}

/* A merge must not go on without an entry that a table lost on the way to it. */
TEST(sst_whole_walk_fails_when_it_did_not_meet_what_was_written)
{
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct quern_error err;
    struct table_meta *meta;
    char room[24];

    for (uint64_t i = 0; i < 500; i++)
        model_add(&m, decimal_key(room, i), i + 1, ENTRY_PUT, 0, 40);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    meta = (struct table_meta *)(uintptr_t)sst_meta(r.t);
    for (int lie = 0; lie < 2; lie++) {
        uint64_t *about = lie == 0 ? &meta->entry_hash : &meta->entry_count;

        CHECK(walk_agrees(r.t, &m, SST_WHOLE));
        ++*about; /* as if one more, or another, had been written */
        CHECK(walk_agrees(r.t, &m, SST_BULK));
        for (int again = 0; again < 2; again++) {
            struct iter *it OWNED(iter_free) = NULL;
            size_t n = 0;

            CHECK_OK(sst_iter(r.t, SST_WHOLE, &it, &err), &err);
            iter_seek(it, m.entries[0].key); /* not from the first: nothing is promised */
            while (it->valid)
                iter_next(it);
            CHECK_CODE(it->err.code, QUERN_OK);
            for (iter_first(it); it->valid; iter_next(it))
                n++;
            CHECK_EQ(n, m.n);
            CHECK_CODE(it->err.code, QUERN_CORRUPT);
            CHECK(strstr(it->err.text, "table 000007") != NULL);
        }
        --*about;
    }
}

TEST(sst_dropped_writer_leaves_no_file)
{
    struct sst_writer *w = NULL;
    struct model m OWNED_MODEL = {0};
    struct rig r OWNED_RIG;
    struct sst_write_config other = plain;
    struct quern_error err;
    uint64_t bytes;

    model_add(&m, QUERN_STR("k"), 1, ENTRY_PUT, 0, 40);
    CHECK_OK(rig_make(&r, &m, &plain, 1 << 20, &err), &err);
    CHECK_CODE(sst_writer_open(r.dir, &plain, &w, &err), QUERN_EXISTS);
    CHECK(access(r.path, F_OK) == 0);
    other.table_no = 8;
    CHECK_OK(sst_writer_open(r.dir, &other, &w, &err), &err);
    CHECK_OK(sst_writer_add(w, &m.entries[0], sst_entry_hash(&m.entries[0]), &err), &err);
    sst_writer_drop(w);
    CHECK_CODE(os_dir_stat(r.dir, "000008.sst", &bytes, &err), QUERN_NO_STORE);
}

static enum quern_code whole_life(struct os_dir *dir, const struct model *m,
                                  const struct sst_write_config *config, struct quern_error *err)
{
    struct sst_cache *cache OWNED(sst_cache_free) = NULL;
    struct table_meta meta = {0};
    struct sst *t OWNED(sst_unref) = NULL;
    struct iter *it OWNED(iter_free) = NULL;
    struct sst_lookup l = {
        .key = m->entries[0].key, .hash = hash_key(m->entries[0].key), .seq = 99};
    enum quern_code code;

    if (sst_cache_new(1 << 20, &cache, err) || model_write(m, dir, config, cache, &meta, err))
        return err->code;
    code = sst_open(dir, &meta, cache, &t, err);
    table_meta_done(&meta);
    if (code != QUERN_OK)
        return code;
    sst_condemn(t);
    rcu_enter();
    code = sst_get(t, &l, err);
    alloc_free(l.owned);
    rcu_leave();
    if (code != QUERN_OK || sst_iter(t, SST_WHOLE, &it, err))
        return err->code;
    for (iter_first(it); it->valid; iter_next(it))
        continue;
    if (it->err.code != QUERN_OK) {
        *err = it->err;
        return err->code;
    }
    return sst_verify(t, NULL, NULL, NULL, err);
}

TEST(sst_survives_a_lack_of_memory_at_every_allocation)
{
    for (int codec = SST_PLAIN; codec <= SST_LZ4; codec++) {
        struct os_dir *dir OWNED(os_dir_close) = NULL;
        struct sst_write_config config = plain;
        struct model m OWNED_MODEL = {0};
        struct quern_error err = {0};
        enum quern_code code = QUERN_NO_MEMORY;
        uint64_t n = 0, bytes;
        char room[24];

        config.codec = (enum sst_codec)codec;
        config.block_bytes = 500;
        for (uint64_t i = 0; i < 20; i++)
            model_add(&m, decimal_key(room, i), i, ENTRY_PUT, 0, i == 10 ? 300000 : 40);
        CHECK_OK(os_dir_open(os_local(), tap_dir(), false, &dir, &err), &err);
        for (; code != QUERN_OK && n < 10000; n++) {
            alloc_fail_after(n);
            code = whole_life(dir, &m, &config, &err);
            alloc_fail_never();
            CHECK(code == QUERN_OK || code == QUERN_NO_MEMORY);
            if (os_dir_stat(dir, "000007.sst", &bytes, &err) == QUERN_OK)
                CHECK_OK(os_dir_remove(dir, "000007.sst", &err), &err); /* written, not opened */
        }
        CHECK(code == QUERN_OK && n > 20);
    }
}
