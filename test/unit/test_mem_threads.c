/* test_mem_threads.c - promises of src/mem/ while one thread writes and others read. Made for
 * ThreadSanitizer as much as for the checks themselves. */
#include "mem/mem.h"
#include "base/hash.h"
#include "base/thread.h"
#include "tap.h"

#include <stdatomic.h>
#include <stdio.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(SANITIZED) || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define BATCHES 5000u
#else
#define BATCHES 60000u
#endif
#define READERS 3
#define KEY_BYTES 16
/* Every key is written twice, this many batches apart. */
#define REWRITE_AFTER 1000u

/* Batch `seq` writes key number `seq`, and writes the key of batch seq - REWRITE_AFTER again; so
 * what the store holds at any number is known without a model. */
struct shared {
    struct mem *mem;
    bool rising;
    _Atomic uint64_t applied; /* every batch up to this one */
    _Atomic uint32_t bad;
};

struct reader {
    struct shared *shared;
    uint64_t random;
    uint64_t checks;
};

static struct quern_slice key_of(const struct shared *s, uint64_t number, uint8_t *at)
{
    /* Scattered by a multiplication that can be undone; long enough a common prefix to
     * exercise shortening and lengthening. */
    uint64_t v = s->rising ? number : (number * 7919) % 1000003;

    (void)snprintf((char *)at, KEY_BYTES + 1, "%016llu", (unsigned long long)v);
    return slice_of(at, KEY_BYTES);
}

static void apply(struct shared *s, uint64_t seq)
{
    uint8_t ops[128], key[KEY_BYTES + 1], *at = ops;
    struct batch_ref batch = {.op_count = 1};

    for (uint64_t number = seq;; number -= REWRITE_AFTER) {
        at = op_put_head(at, ENTRY_PUT, KEY_BYTES, 16, 0);
        memcpy(at, key_of(s, number, key).data, KEY_BYTES);
        put_u64le(at + KEY_BYTES, number);
        put_u64le(at + KEY_BYTES + 8, seq);
        at += KEY_BYTES + 16;
        if (batch.op_count == 2 || number <= REWRITE_AFTER)
            break;
        batch.op_count++;
    }
    batch.ops = slice_of(ops, (size_t)(at - ops));
    mem_apply(s->mem, &batch, seq);
    atomic_store_explicit(&s->applied, seq, memory_order_release);
}

static void check(struct reader *r, bool good)
{
    r->checks++;
    if (!good)
        atomic_fetch_add(&r->shared->bad, 1);
}

/* What must be seen of key `number` as of `seq`. */
static uint64_t newest_of(uint64_t number, uint64_t seq)
{
    return number + REWRITE_AFTER <= seq ? number + REWRITE_AFTER : number;
}

static bool value_is(const struct entry *e, uint64_t number, uint64_t seq)
{
    return e->seq == seq && e->value.len == 16 && get_u64le(e->value.data) == number &&
           get_u64le((const uint8_t *)e->value.data + 8) == seq;
}

static void read_one(struct reader *r, uint64_t seq)
{
    uint8_t bytes[KEY_BYTES + 1];
    uint64_t number = tap_random(&r->random) % seq + 1;
    struct quern_slice key = key_of(r->shared, number, bytes);
    struct entry e;

    mem_prefetch(r->shared->mem, hash_key(key));
    check(r, mem_get(r->shared->mem, key, hash_key(key), seq, &e) &&
                 value_is(&e, number, newest_of(number, seq)));
    key = key_of(r->shared, 999999, bytes); /* never written: 999999 is no number's key */
    check(r, !mem_get(r->shared->mem, key, hash_key(key), seq, &e));
}

/* Every version that was there at `seq` comes by, in order, whatever the writer does meanwhile. */
static void walk(struct reader *r, uint64_t seq, bool back)
{
    struct iter *it = NULL;
    struct quern_error err;
    uint64_t versions = 0, want = seq > REWRITE_AFTER ? 2 * seq - REWRITE_AFTER : seq;
    struct entry last = {.seq = 0};

    if (mem_iter(r->shared->mem, 0, &it, &err)) {
        check(r, false);
        return;
    }
    for (back ? iter_last(it) : iter_first(it); it->valid; back ? iter_prev(it) : iter_next(it)) {
        if (last.seq != 0) {
            int order = entry_compare(&last, &it->at);

            check(r, back ? order > 0 : order < 0);
        }
        last = it->at;
        versions += it->at.seq <= seq;
    }
    check(r, it->err.code == QUERN_OK && versions == want);
    iter_free(it);
}

static void seek_some(struct reader *r, uint64_t seq)
{
    struct iter *it = NULL;
    struct quern_error err;

    if (mem_iter(r->shared->mem, 0, &it, &err)) {
        check(r, false);
        return;
    }
    for (int i = 0; i < 20; i++) {
        uint8_t bytes[KEY_BYTES + 1];
        uint64_t number = tap_random(&r->random) % seq + 1;
        struct quern_slice key = key_of(r->shared, number, bytes);

        iter_seek(it, key);
        check(r, it->valid && key_equal(it->at.key, key));
        iter_seek_below(it, key);
        check(r, !it->valid || key_compare(it->at.key, key) < 0);
        if (!it->valid) /* the smallest key so far */
            iter_first(it);
        while (it->valid && key_compare(it->at.key, key) < 0)
            iter_next(it);
        check(r, it->valid && key_equal(it->at.key, key));
    }
    iter_free(it);
}

/* What was written up to `seq` comes by in the order in which it was, each with what was there before,
 * and no more; `*from` is where the last one who came stopped, having seen all up to *from_seq. */
static void follow_written(struct reader *r, uint64_t seq, uint64_t *from, uint64_t *from_seq)
{
    struct mem_written w;
    uint64_t next = *from_seq + 1;

    while (next <= seq) {
        bool twice = next > REWRITE_AFTER;

        check(r,
              mem_written(r->shared->mem, from, seq, &w) && !w.over && value_is(&w.at, next, next));
        check(r, !twice || (mem_written(r->shared->mem, from, seq, &w) && w.over &&
                            w.over_seq == next - REWRITE_AFTER && w.over_kind == ENTRY_PUT &&
                            value_is(&w.at, next - REWRITE_AFTER, next)));
        next++;
    }
    check(r, !mem_written(r->shared->mem, from, seq, &w));
    *from_seq = seq;
}

static void *reader_body(void *arg)
{
    struct reader *r = arg;
    uint64_t seq, followed = 0, followed_seq = 0;

    do {
        seq = atomic_load_explicit(&r->shared->applied, memory_order_acquire);
        if (seq == 0)
            continue;
        for (int i = 0; i < 200; i++)
            read_one(r, seq);
        seek_some(r, seq);
        follow_written(r, seq, &followed, &followed_seq);
        if (tap_random(&r->random) % 4 == 0)
            walk(r, seq, tap_random(&r->random) % 2 == 0);
    } while (seq < BATCHES);
    walk(r, seq, false);
    walk(r, seq, true);
    return NULL;
}

static void write_while_others_read(bool rising)
{
    struct shared s = {.rising = rising};
    struct reader readers[READERS];
    pthread_t threads[READERS];
    struct quern_error err;
    uint64_t rnd = tap_seed();

    CHECK_OK(mem_new(BATCHES * 400u, NULL, &s.mem, &err), &err);
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){&s, tap_random(&rnd), 0};
        CHECK_OK(thread_start(&threads[i], "reader", reader_body, &readers[i], &err), &err);
    }
    for (uint64_t seq = 1; seq <= BATCHES; seq++)
        apply(&s, seq);
    for (int i = 0; i < READERS; i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK(readers[i].checks > 0);
    }
    CHECK_EQ(atomic_load(&s.bad), 0);
    mem_unref(s.mem);
}

TEST(mem_readers_find_every_acknowledged_write_while_scattered_keys_come)
{
    write_while_others_read(false);
}

TEST(mem_readers_find_every_acknowledged_write_while_rising_keys_come)
{
    write_while_others_read(true);
}
