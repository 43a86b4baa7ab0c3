/* work.c - what a thread does to the store: it writes keys of its own and reads those of all.
 *
 * Of its own keys a thread knows the version. Of another's it knows two bounds: what was surely
 * there before the read began, and what could be there when it had ended (for cursors, snapshots
 * and checkpoints: when they had been made). */
#include "stress.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_MAX 200u
#define MANY_MAX 40u

/* Keys from `from` on, and the bounds of their versions; low and high begin at `from`. */
struct stretch {
    uint32_t from, count;
    uint32_t *low, *high;
};

static void bounds_before(const struct expected *x, struct stretch *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        s->low[i] = lowest(x, s->from + i);
}

static void bounds_after(const struct expected *x, struct stretch *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        s->high[i] = highest(x, s->from + i);
}

static bool fine(struct expected *x, enum quern_code code, const struct quern_error *err,
                 const char *how)
{
    return code == QUERN_OK || failed(x, "%s: %s", how, err->text);
}

static bool shows_at(struct expected *x, const struct stretch *s, uint32_t key,
                     const struct quern_slice *value, const char *how)
{
    return shows(x, key, value, s->low[key - s->from], s->high[key - s->from], how);
}

/* Walk the cursor over the stretch, either way: each key that should be there is, and no other. */
static bool walk(struct expected *x, struct quern_iter *it, const struct stretch *s, bool back)
{
    const char *how = back ? "a cursor going back" : "a cursor";
    struct quern_error err = {0};
    uint32_t seen = 0, key; /* seen: keys of the stretch that are behind us */

    for (bool more = back ? quern_iter_last(it) : quern_iter_first(it); more;
         more = back ? quern_iter_prev(it) : quern_iter_next(it)) {
        struct quern_slice value = quern_iter_value(it);
        uint32_t at;

        if (!key_number(x, quern_iter_key(it), &key) || key < s->from || key - s->from >= s->count)
            return failed(x, "%s shows a key that is not in its range", how);
        at = back ? s->count - 1 - (key - s->from) : key - s->from;
        if (at < seen)
            return failed(x, "%s shows key %" PRIu32 " out of order", how, key);
        for (; seen < at; seen++)
            if (!shows_at(x, s, s->from + (back ? s->count - 1 - seen : seen), NULL, how))
                return false;
        if (!shows_at(x, s, key, &value, how))
            return false;
        seen++;
    }
    for (; seen < s->count; seen++)
        if (!shows_at(x, s, s->from + (back ? s->count - 1 - seen : seen), NULL, how))
            return false;
    return fine(x, quern_iter_error(it, &err), &err, how);
}

static struct quern_range range_of(const struct stretch *s, char from[16], char to[16])
{
    return (struct quern_range){key_text(from, s->from), key_text(to, s->from + s->count)};
}

/* A cursor over the stretch; without a snapshot the upper bounds are taken once it is there. */
static bool scan(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
                 struct stretch *s, uint64_t how)
{
    char from[16], to[16];
    struct quern_iter_opts opts = {
        .snapshot = snapshot, .range = range_of(s, from, to), .bulk = how & 2};
    struct quern_error err = {0};
    struct quern_iter *it = NULL;
    bool ok = fine(x, quern_iter_new(db, &opts, &it, &err), &err, "a cursor");

    if (ok && snapshot == NULL)
        bounds_after(x, s);
    ok = ok && walk(x, it, s, how & 1);
    if (how & 4)
        ok = ok && walk(x, it, s, !(how & 1));
    quern_iter_free(it);
    return ok;
}

/* Exact bounds are needed. */
static bool count(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
                  const struct stretch *s)
{
    struct quern_read_opts opts = {.snapshot = snapshot};
    struct quern_error err = {0};
    char from[16], to[16];
    struct quern_range range = range_of(s, from, to);
    uint64_t got = 0, want = 0;

    for (uint32_t i = 0; i < s->count; i++)
        want += !is_gone(s->from + i, s->low[i]);
    if (!fine(x, quern_count(db, &range, &opts, &got, &err), &err, "a count"))
        return false;
    return got == want ||
           failed(x, "a count of keys %" PRIu32 " to %" PRIu32 " is %" PRIu64 ", not %" PRIu64,
                  s->from, s->from + s->count - 1, got, want);
}

/* ---- everything ---- */

static bool get_all(struct expected *x, struct quern *db, const struct stretch *s, uint32_t at_once)
{
    struct quern_value values[MANY_MAX] = {{0}};
    enum quern_code codes[MANY_MAX];
    struct quern_slice keys[MANY_MAX];
    struct quern_error err = {0};
    char room[MANY_MAX][16];
    bool ok = true;

    for (uint32_t done = 0; ok && done < s->count; done += at_once) {
        uint32_t n = s->count - done < at_once ? s->count - done : at_once;

        for (uint32_t i = 0; i < n; i++)
            keys[i] = key_text(room[i], s->from + done + i);
        if (n == 1) {
            codes[0] = quern_get(db, keys[0], NULL, &values[0], &err);
            ok = codes[0] == QUERN_NOT_FOUND || fine(x, codes[0], &err, "a get");
        } else {
            ok = fine(x, quern_multi_get(db, keys, n, NULL, values, codes, &err), &err,
                      "a batched get");
        }
        for (uint32_t i = 0; ok && i < n; i++) {
            struct quern_slice value = {values[i].data, values[i].len};

            ok = shows_at(x, s, s->from + done + i, codes[i] == QUERN_OK ? &value : NULL,
                          n == 1 ? "a get" : "a batched get");
        }
    }
    for (uint32_t i = 0; i < MANY_MAX; i++)
        quern_value_done(&values[i]);
    return ok;
}

bool verify_all(struct expected *x, struct quern *db, uint64_t way, const uint32_t *low,
                const uint32_t *high)
{
    struct stretch s = {0, x->keys, (uint32_t *)(uintptr_t)low, (uint32_t *)(uintptr_t)high};
    struct quern_snapshot *snapshot = NULL;
    struct quern_error err = {0};
    bool exact = memcmp(low, high, x->keys * sizeof(*low)) == 0;
    bool ok = fine(x, quern_snapshot_new(db, &snapshot, &err), &err, "a snapshot");

    switch (way % 4) {
    case 0:
        ok = ok && get_all(x, db, &s, MANY_MAX);
        break;
    case 1:
        ok = ok && get_all(x, db, &s, 1);
        break;
    default: /* through a snapshot, so that the bounds stay those that were given */
        ok = ok && scan(x, db, snapshot, &s, way % 4 == 2);
    }
    if (exact)
        ok = ok && count(x, db, snapshot, &s);
    quern_snapshot_free(snapshot);
    if (way & 0x10)
        ok = ok && fine(x, quern_verify(db, NULL, NULL, &err), &err, "verify");
    atomic_fetch_add(&x->tally.verified, x->keys);
    return ok;
}

/* ---- a thread's keys ---- */

static uint32_t own_block(struct worker *w)
{
    uint32_t blocks = w->x->keys / BLOCK_KEYS / w->x->threads;

    return ((uint32_t)draw(&w->random, blocks) * w->x->threads + w->no) * BLOCK_KEYS;
}

/* 1 to BATCH_MAX keys of the thread's own, each once, half of the time neighbours. */
static void choose(struct worker *w, struct intent *in)
{
    uint32_t n = draw(&w->random, 2) == 0 ? 1 : 1 + (uint32_t)draw(&w->random, BATCH_MAX);
    uint32_t block = own_block(w);
    bool near = draw(&w->random, 2) == 0;

    in->count = 0;
    while (in->count < n) {
        uint32_t key = (near ? block : own_block(w)) + (uint32_t)draw(&w->random, BLOCK_KEYS),
                 i = 0;

        while (i < in->count && in->key[i] != key)
            i++;
        if (i < in->count)
            continue;
        in->key[in->count] = key;
        in->version[in->count++] = highest(w->x, key) + 1;
    }
}

static enum quern_code write_batch(struct worker *w, const struct intent *in,
                                   const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_batch *batch = quern_batch_new();
    struct quern_completion done = {0};
    uint8_t value[VALUE_BYTES_MAX];
    enum quern_code code = QUERN_OK;
    char room[16];

    for (uint32_t i = 0; i < in->count && code == QUERN_OK; i++)
        code = is_gone(in->key[i], in->version[i])
                   ? quern_batch_delete(batch, key_text(room, in->key[i]), err)
                   : quern_batch_put(batch, key_text(room, in->key[i]),
                                     value_of(value, in->key[i], in->version[i]), err);
    if (code == QUERN_OK && draw(&w->random, 4) != 0) {
        code = quern_write(w->db, batch, opts, err);
    } else if (code == QUERN_OK) {
        code = quern_write_async(w->db, batch, opts, &done, err);
        while (code == QUERN_OK && !quern_completion_ready(&done))
            (void)sched_yield();
        if (code == QUERN_OK && done.code != QUERN_OK) {
            code = done.code;
            *err = done.error;
        }
    }
    quern_batch_free(batch);
    return code;
}

static bool do_write(struct worker *w)
{
    struct intent *in = &w->x->intent[w->no];
    struct quern_write_opts opts = {.sync = w->plan->sync_one_in != 0 &&
                                            draw(&w->random, w->plan->sync_one_in) == 0};
    struct quern_error err = {0};
    uint8_t value[VALUE_BYTES_MAX];
    enum quern_code code;
    char room[16];

    choose(w, in);
    intent_begin(w->x, w->no);
    if (in->count > 1 || draw(&w->random, 4) == 0)
        code = write_batch(w, in, &opts, &err);
    else if (is_gone(in->key[0], in->version[0]))
        code = quern_delete(w->db, key_text(room, in->key[0]), &opts, &err);
    else
        code = quern_put(w->db, key_text(room, in->key[0]),
                         value_of(value, in->key[0], in->version[0]), &opts, &err);
    if (!fine(w->x, code, &err, "a write"))
        return false;
    intent_done(w->x, w->no);
    return true;
}

/* ---- reads ---- */

static bool do_get(struct worker *w)
{
    uint32_t n = draw(&w->random, 3) == 0 ? 1 + (uint32_t)draw(&w->random, MANY_MAX) : 1;
    uint32_t key[MANY_MAX], low[MANY_MAX];
    struct quern_value values[MANY_MAX] = {{0}};
    enum quern_code codes[MANY_MAX], code;
    struct quern_slice keys[MANY_MAX];
    struct quern_error err = {0};
    char room[MANY_MAX][16];
    bool ok;

    for (uint32_t i = 0; i < n; i++) {
        key[i] = (uint32_t)draw(&w->random, w->x->keys);
        keys[i] = key_text(room[i], key[i]);
        low[i] = lowest(w->x, key[i]);
    }
    if (n == 1)
        code = codes[0] = quern_get(w->db, keys[0], NULL, &values[0], &err);
    else
        code = quern_multi_get(w->db, keys, n, NULL, values, codes, &err);
    ok = code == QUERN_NOT_FOUND || fine(w->x, code, &err, "a get");
    for (uint32_t i = 0; i < n; i++) {
        struct quern_slice value = {values[i].data, values[i].len};

        ok = ok && shows(w->x, key[i], codes[i] == QUERN_OK ? &value : NULL, low[i],
                         highest(w->x, key[i]), n == 1 ? "a get" : "a batched get");
        quern_value_done(&values[i]);
    }
    return ok;
}

static struct stretch some_keys(struct worker *w, uint32_t room[2][RANGE_MAX])
{
    uint32_t n = 1 + (uint32_t)draw(&w->random, RANGE_MAX);

    return (struct stretch){(uint32_t)draw(&w->random, w->x->keys - n), n, room[0], room[1]};
}

static bool do_scan(struct worker *w)
{
    uint32_t room[2][RANGE_MAX];
    struct stretch s = some_keys(w, room);

    bounds_before(w->x, &s);
    return scan(w->x, w->db, NULL, &s, draw(&w->random, 8));
}

static bool do_count(struct worker *w)
{
    uint32_t room[RANGE_MAX];
    struct stretch s = {own_block(w), BLOCK_KEYS, room, room};

    bounds_before(w->x, &s);
    return count(w->x, w->db, NULL, &s);
}

/* What a snapshot shows stays, whatever is written after it. */
static bool do_snapshot(struct worker *w)
{
    uint32_t room[2][RANGE_MAX], own[RANGE_MAX];
    struct stretch any = some_keys(w, room), mine = {own_block(w), BLOCK_KEYS, own, own};
    struct quern_snapshot *snapshot = NULL;
    struct quern_error err = {0};
    bool ok;

    bounds_before(w->x, &any);
    bounds_before(w->x, &mine);
    ok = fine(w->x, quern_snapshot_new(w->db, &snapshot, &err), &err, "a snapshot");
    bounds_after(w->x, &any);
    for (uint64_t n = draw(&w->random, 20); ok && n > 0; n--)
        ok = do_write(w);
    ok = ok && scan(w->x, w->db, snapshot, &any, draw(&w->random, 8)) &&
         scan(w->x, w->db, snapshot, &mine, draw(&w->random, 8)) &&
         count(w->x, w->db, snapshot, &mine);
    quern_snapshot_free(snapshot);
    return ok;
}

/* ---- care ---- */

static bool look_at_copy(struct worker *w, const char *path, const uint32_t *low,
                         const uint32_t *high)
{
    struct quern_error err = {0};
    struct quern *copy = NULL;
    struct quern_options options = {.memory_bytes = 2 << 20, .must_exist = true};
    bool ok = fine(w->x, quern_open(path, &options, &copy, &err), &err, "a checkpoint");

    ok = ok && verify_all(w->x, copy, w->random, low, high);
    return (copy == NULL || fine(w->x, quern_close(copy, &err), &err, "a checkpoint")) && ok;
}

static bool do_checkpoint(struct worker *w)
{
    static _Atomic bool busy;
    struct stretch all = {0, w->x->keys, NULL, NULL};
    struct quern_error err = {0};
    char path[600];
    bool ok;

    if (atomic_exchange(&busy, true))
        return true;
    all.low = calloc(all.count, sizeof(uint32_t));
    all.high = calloc(all.count, sizeof(uint32_t));
    (void)snprintf(path, sizeof(path), "%s/copy-%016" PRIx64, w->dir, w->random);
    bounds_before(w->x, &all);
    ok = fine(w->x, quern_checkpoint(w->db, path, &err), &err, "a checkpoint");
    bounds_after(w->x, &all);
    ok = ok && look_at_copy(w, path, all.low, all.high);
    if (ok) {
        remove_tree(path);
        atomic_fetch_add(&w->x->tally.checkpoints, 1);
    }
    free(all.low);
    free(all.high);
    atomic_store(&busy, false);
    return ok;
}

static bool do_care(struct worker *w)
{
    uint32_t from = own_block(w);
    struct stretch s = {from, BLOCK_KEYS * 4, NULL, NULL};
    struct quern_error err = {0};
    struct quern_stats stats;
    char a[16], b[16];
    struct quern_range range = range_of(&s, a, b);

    switch (draw(&w->random, 12)) {
    case 0:
        return do_checkpoint(w);
    case 1:
        return fine(w->x, quern_compact(w->db, NULL, &err), &err, "compact");
    case 2:
    case 3:
        return fine(w->x, quern_compact(w->db, &(struct quern_compact_opts){.range = &range}, &err),
                    &err, "compact");
    case 4:
        return fine(w->x, quern_verify(w->db, NULL, NULL, &err), &err, "verify");
    case 5:
        quern_stats(w->db, &stats);
        return !stats.read_only || failed(w->x, "it takes no writes: %s", stats.failure);
    case 6:
    case 7:
        return fine(w->x, quern_sync(w->db, &err), &err, "sync");
    default:
        return fine(w->x, quern_flush(w->db, &err), &err, "flush");
    }
}

void *worker_run(void *arg)
{
    struct worker *w = arg;
    bool ok = true;

    while (ok && !atomic_load(w->stop) && !atomic_load(&w->x->failed)) {
        uint64_t what = draw(&w->random, 1000);

        ok = what < 550   ? do_write(w)
             : what < 850 ? do_get(w)
             : what < 910 ? do_scan(w)
             : what < 950 ? do_count(w)
             : what < 990 ? do_snapshot(w)
                          : do_care(w);
        atomic_fetch_add_explicit(&w->x->tally.operations, 1, memory_order_relaxed);
    }
    return NULL;
}
