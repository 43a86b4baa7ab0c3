/* test_model.c - long random histories against a reference: whatever is done to the store in
 * whatever order, with whatever options, it answers as the model does. */
#include "model.h"
#include "tap.h"

#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNAPSHOTS_MAX 4
#define VALUE_MAX 70000

struct history {
    uint64_t random;
    char path[300];
    struct quern_options options;
    struct quern *db;
    struct model now;
    uint64_t stamp;
    struct quern_snapshot *snapshot[SNAPSHOTS_MAX];
    struct model seen[SNAPSHOTS_MAX];
    unsigned steps, checkpoints;
    uint8_t room[VALUE_MAX];
    struct quern_value value;
};

static uint64_t pick(struct history *h, uint64_t below)
{
    return tap_random(&h->random) % below;
}

static struct model_cell new_cell(struct history *h)
{
    static const uint32_t sizes[] = {0, 1, 8, 30, 100, 100, 300, 2000, 5000, VALUE_MAX};
    uint64_t which = pick(h, 200);

    return (struct model_cell){++h->stamp, sizes[which < 191 ? which % 8 : which < 199 ? 8 : 9]};
}

/* Options that bring every transition close: a MemDB of few entries, tables of few blocks. */
static void draw_options(struct history *h)
{
    static const uint64_t memdb[] = {4096, 16384, 65536, 1 << 20};
    static const uint32_t block[] = {64, 256, 4096, 16384};
    static const uint64_t table[] = {1024, 8192, 1 << 20};

    h->options = (struct quern_options){
        .memory_bytes = pick(h, 2) ? 1 << 20 : 8 << 20,
        .memdb_bytes = memdb[pick(h, 4)],
        .block_bytes = block[pick(h, 4)],
        .table_bytes = table[pick(h, 3)],
        .tier_runs = 2 + (uint32_t)pick(h, 4),
        .compression = (enum quern_compression)pick(h, 4),
        .filter_bits = pick(h, 4) == 0 ? UINT32_MAX : 10,
        .flush_interval_ms = pick(h, 2) ? 5 : 60000,
        .compact_interval_ms = pick(h, 2) ? 2 : 10000,
        .log_segment_bytes = pick(h, 2) ? 64 * 1024 : 1 << 20,
    };
}

static bool ok(const struct history *h, enum quern_code code, const struct quern_error *err,
               const char *what)
{
    if (code == QUERN_OK)
        return true;
    tap_fail(__FILE__, __LINE__, "step %u: %s: %s", h->steps, what, err->text);
    return false;
}

#define OK(call, what) ok(h, (call), &err, what)

static bool open_store(struct history *h)
{
    struct quern_error err;

    return OK(quern_open(h->path, &h->options, &h->db, &err), "open");
}

static bool put_some(struct history *h)
{
    struct quern_write_opts opts = {.sync = pick(h, 20) == 0};
    size_t n = pick(h, MODEL_KEYS);
    struct quern_error err;

    if (pick(h, 4) == 0) {
        h->now.cell[n].stamp = 0;
        return OK(quern_delete(h->db, model_key(n), &opts, &err), "delete");
    }
    h->now.cell[n] = new_cell(h);
    return OK(quern_put(h->db, model_key(n), model_value(h->now.cell[n], h->room), &opts, &err),
              "put");
}

static bool write_batch(struct history *h)
{
    struct quern_batch *batch = quern_batch_new();
    size_t count = 1 + pick(h, 20);
    struct quern_error err;
    bool fine = batch != NULL;

    for (size_t i = 0; fine && i < count; i++) {
        size_t n = pick(h, MODEL_KEYS);

        if (pick(h, 3) == 0) {
            h->now.cell[n].stamp = 0;
            fine = OK(quern_batch_delete(batch, model_key(n), &err), "batch delete");
        } else {
            h->now.cell[n] = new_cell(h);
            fine =
                OK(quern_batch_put(batch, model_key(n), model_value(h->now.cell[n], h->room), &err),
                   "batch put");
        }
    }
    fine = fine && OK(quern_write(h->db, batch, NULL, &err), "write");
    quern_batch_free(batch);
    return fine;
}

static bool value_right(const struct history *h, size_t n, struct model_cell want,
                        enum quern_code code, struct quern_slice got, const char *what)
{
    bool right =
        want.stamp == 0 ? code == QUERN_NOT_FOUND : code == QUERN_OK && model_value_is(want, got);

    if (!right)
        tap_fail(__FILE__, __LINE__,
                 "step %u: %s: key %zu: code %d, %zu bytes; want stamp %llu, %u bytes", h->steps,
                 what, n, (int)code, got.len, (unsigned long long)want.stamp, want.len);
    return right;
}

/* A snapshot with what it must show, or the present. */
static const struct model *draw_view(struct history *h, const struct quern_snapshot **snapshot)
{
    size_t which = pick(h, 2 * SNAPSHOTS_MAX);

    *snapshot = NULL;
    if (which >= SNAPSHOTS_MAX || h->snapshot[which] == NULL)
        return &h->now;
    *snapshot = h->snapshot[which];
    return &h->seen[which];
}

static bool get_one(struct history *h)
{
    struct quern_read_opts opts = {0};
    const struct model *want = draw_view(h, &opts.snapshot);
    size_t n = pick(h, MODEL_KEYS);
    struct quern_error err = {0};
    enum quern_code code = quern_get(h->db, model_key(n), &opts, &h->value, &err);

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return OK(code, "get");
    return value_right(h, n, want->cell[n], code, (struct quern_slice){h->value.data, h->value.len},
                       "get");
}

static bool get_many(struct history *h)
{
    enum { MOST = 100 };
    static struct quern_value values[MOST];
    struct quern_read_opts opts = {0};
    const struct model *want = draw_view(h, &opts.snapshot);
    struct quern_slice keys[MOST];
    size_t at[MOST], count = 1 + pick(h, MOST);
    enum quern_code codes[MOST];
    struct quern_error err = {0};

    for (size_t i = 0; i < count; i++) {
        at[i] = pick(h, MODEL_KEYS);
        keys[i] = model_key(at[i]);
    }
    if (!OK(quern_multi_get(h->db, keys, count, &opts, values, codes, &err), "multi get"))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!value_right(h, at[i], want->cell[at[i]], codes[i],
                         (struct quern_slice){values[i].data, values[i].len}, "multi get"))
            return false;
    return true;
}

/* ---- iterators ---- */

struct walk {
    struct history *h;
    const struct model *want;
    struct quern_iter *it;
    size_t from, to; /* key indexes: the iterator's bounds */
};

static size_t next_living(const struct walk *w, size_t n)
{
    while (n < w->to && w->want->cell[n].stamp == 0)
        n++;
    return n < w->to ? n : MODEL_KEYS;
}

/* The living key before `n`, or MODEL_KEYS. */
static size_t previous_living(const struct walk *w, size_t n)
{
    while (n-- > w->from)
        if (w->want->cell[n].stamp != 0)
            return n;
    return MODEL_KEYS;
}

static bool stands_on(const struct walk *w, size_t n, const char *what)
{
    struct quern_slice key;

    if (n == MODEL_KEYS) {
        struct quern_error err = {0};

        if (!quern_iter_valid(w->it))
            return ok(w->h, quern_iter_error(w->it, &err), &err, what);
        tap_fail(__FILE__, __LINE__, "step %u: %s: stands on an entry; want the end", w->h->steps,
                 what);
        return false;
    }
    if (!quern_iter_valid(w->it)) {
        struct quern_error err = {0};

        (void)quern_iter_error(w->it, &err);
        tap_fail(__FILE__, __LINE__, "step %u: %s: at the end; want key %zu (%s)", w->h->steps,
                 what, n, err.text);
        return false;
    }
    key = quern_iter_key(w->it);
    if (key.len != model_key(n).len || memcmp(key.data, model_key(n).data, key.len) != 0) {
        tap_fail(__FILE__, __LINE__, "step %u: %s: on key %zu; want %zu", w->h->steps, what,
                 model_lower(key), n);
        return false;
    }
    return value_right(w->h, n, w->want->cell[n], QUERN_OK, quern_iter_value(w->it), what);
}

/* A random move and where the model says it leads. */
static bool move(struct walk *w, size_t *at)
{
    size_t n = pick(w->h, MODEL_KEYS);

    switch (pick(w->h, 8)) {
    case 0:
        (void)quern_iter_first(w->it);
        *at = next_living(w, w->from);
        return stands_on(w, *at, "first");
    case 1:
        (void)quern_iter_last(w->it);
        *at = previous_living(w, w->to);
        return stands_on(w, *at, "last");
    case 2:
        (void)quern_iter_seek(w->it, model_key(n));
        *at = next_living(w, n > w->from ? n : w->from);
        return stands_on(w, *at, "seek");
    case 3:
        (void)quern_iter_seek_back(w->it, model_key(n));
        *at = previous_living(w, n + 1 < w->to ? n + 1 : w->to);
        return stands_on(w, *at, "seek back");
    case 4:
    case 5:
        if (*at == MODEL_KEYS)
            return true;
        (void)quern_iter_prev(w->it);
        *at = previous_living(w, *at);
        return stands_on(w, *at, "prev");
    default:
        if (*at == MODEL_KEYS)
            return true;
        (void)quern_iter_next(w->it);
        *at = next_living(w, *at + 1);
        return stands_on(w, *at, "next");
    }
}

static bool iterate(struct history *h)
{
    struct quern_iter_opts opts = {.bulk = pick(h, 2)};
    struct walk w = {.h = h, .to = MODEL_KEYS};
    struct quern_error err;
    size_t at = MODEL_KEYS, moves = pick(h, 60);
    bool fine = true;

    w.want = draw_view(h, &opts.snapshot);
    if (pick(h, 2)) {
        w.from = pick(h, MODEL_KEYS);
        w.to = w.from + pick(h, MODEL_KEYS - w.from);
        opts.range = (struct quern_range){model_key(w.from), model_key(w.to)};
    }
    if (!OK(quern_iter_new(h->db, &opts, &w.it, &err), "iterator"))
        return false;
    while (fine && moves-- > 0)
        fine = move(&w, &at);
    if (fine && pick(h, 4) == 0) { /* all of it, both ways */
        (void)quern_iter_first(w.it);
        for (at = next_living(&w, w.from); fine && at != MODEL_KEYS; at = next_living(&w, at + 1)) {
            fine = stands_on(&w, at, "walk");
            (void)quern_iter_next(w.it);
        }
        (void)quern_iter_last(w.it);
        for (at = previous_living(&w, w.to); fine && at != MODEL_KEYS;
             at = previous_living(&w, at)) {
            fine = stands_on(&w, at, "walk back");
            (void)quern_iter_prev(w.it);
        }
    }
    quern_iter_free(w.it);
    return fine;
}

static bool prefix_walk(struct history *h)
{
    size_t n = pick(h, MODEL_KEYS), at = 0;
    struct quern_iter_opts opts = {.prefix = model_key(n)};
    struct quern_iter *it;
    struct quern_error err;
    bool fine = true;

    opts.prefix.len = 1 + pick(h, opts.prefix.len);
    if (!OK(quern_iter_new(h->db, &opts, &it, &err), "iterator"))
        return false;
    for (bool more = quern_iter_first(it);; more = quern_iter_next(it)) {
        while (at < MODEL_KEYS &&
               (h->now.cell[at].stamp == 0 || model_key(at).len < opts.prefix.len ||
                memcmp(model_key(at).data, opts.prefix.data, opts.prefix.len) != 0))
            at++;
        fine = EXPECT(more == (at < MODEL_KEYS)) &&
               (!more ||
                (EXPECT(model_lower(quern_iter_key(it)) == at) &&
                 value_right(h, at, h->now.cell[at], QUERN_OK, quern_iter_value(it), "prefix")));
        if (!more || !fine)
            break;
        at++;
    }
    quern_iter_free(it);
    return fine;
}

static bool count_range(struct history *h)
{
    struct quern_read_opts opts = {0};
    const struct model *want = draw_view(h, &opts.snapshot);
    size_t from = pick(h, MODEL_KEYS), to = pick(h, MODEL_KEYS);
    struct quern_range range = {{NULL, 0}, {NULL, 0}};
    struct quern_error err;
    uint64_t got = 0, count;

    if (pick(h, 3))
        range = (struct quern_range){model_key(from), model_key(to)};
    if (!OK(quern_count(h->db, &range, &opts, &got, &err), "count"))
        return false;
    count = model_count(want, range.start, range.end);
    if (got == count)
        return true;
    tap_fail(__FILE__, __LINE__, "step %u: count is %llu, not %llu", h->steps,
             (unsigned long long)got, (unsigned long long)count);
    return false;
}

/* ---- care ---- */

static bool take_snapshot(struct history *h)
{
    size_t which = pick(h, SNAPSHOTS_MAX);
    struct quern_error err;

    if (h->snapshot[which] != NULL) {
        quern_snapshot_free(h->snapshot[which]);
        h->snapshot[which] = NULL;
        return true;
    }
    h->seen[which] = h->now;
    return OK(quern_snapshot_new(h->db, &h->snapshot[which], &err), "snapshot");
}

static bool reopen(struct history *h)
{
    struct quern_options before = h->options;
    struct quern_error err;

    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        quern_snapshot_free(h->snapshot[i]);
        h->snapshot[i] = NULL;
    }
    if (!OK(quern_close(h->db, &err), "close"))
        return false;
    h->db = NULL;
    draw_options(h);
    if (pick(h, 2))
        h->options = before;
    return open_store(h);
}

/* A copy by hard links shows the same, and goes on showing it while the store changes. */
static bool checkpoint(struct history *h)
{
    struct quern *copy;
    struct quern_error err;
    char path[330];
    uint64_t got = 0;
    bool fine;

    (void)snprintf(path, sizeof(path), "%s-copy-%u", h->path, h->checkpoints++);
    if (!OK(quern_checkpoint(h->db, path, &err), "checkpoint") ||
        !OK(quern_open(path, &h->options, &copy, &err), "open the checkpoint"))
        return false;
    fine = OK(quern_count(copy, NULL, NULL, &got, &err), "count the checkpoint") &&
           EXPECT(got == model_count(&h->now, model_key(0), (struct quern_slice){NULL, 0}));
    return OK(quern_close(copy, &err), "close the checkpoint") && fine;
}

static bool compact(struct history *h)
{
    size_t from = pick(h, MODEL_KEYS), to = pick(h, MODEL_KEYS);
    struct quern_range range = {model_key(from < to ? from : to), model_key(from < to ? to : from)};
    struct quern_error err;

    return OK(quern_compact(h->db, pick(h, 2) ? &range : NULL, NULL, NULL, &err), "compact");
}

static bool step(struct history *h)
{
    struct quern_error err;
    uint64_t which = pick(h, 1000);

    h->steps++;
    if (which < 500)
        return put_some(h);
    if (which < 600)
        return write_batch(h);
    if (which < 750)
        return get_one(h);
    if (which < 800)
        return get_many(h);
    if (which < 870)
        return iterate(h);
    if (which < 880)
        return prefix_walk(h);
    if (which < 920)
        return count_range(h);
    if (which < 950)
        return take_snapshot(h);
    if (which < 975)
        return OK(quern_flush(h->db, &err), "flush");
    if (which < 985)
        return compact(h);
    if (which < 990)
        return OK(quern_verify(h->db, NULL, NULL, &err), "verify");
    if (which < 998)
        return reopen(h);
    return checkpoint(h);
}

static void run(unsigned steps)
{
    struct history *h = calloc(1, sizeof(*h));
    struct quern_error err = {0};

    h->random = tap_seed();
    (void)snprintf(h->path, sizeof(h->path), "%s/store", tap_dir());
    draw_options(h);
    if (!open_store(h)) {
        free(h);
        return;
    }
    while (h->steps < steps && step(h))
        continue;
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++)
        quern_snapshot_free(h->snapshot[i]);
    if (h->db != NULL)
        (void)ok(h, quern_close(h->db, &err), &err, "close");
    quern_value_done(&h->value);
    free(h);
}

static unsigned steps_wanted(void)
{
    const char *given = getenv("MODEL_STEPS");

    return given != NULL ? (unsigned)strtoul(given, NULL, 10) : 2500;
}

TEST(model_history_1)
{
    run(steps_wanted());
}

TEST(model_history_2)
{
    run(steps_wanted());
}

TEST(model_history_3)
{
    run(steps_wanted());
}
