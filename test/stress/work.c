/* work.c - what a thread does to the store: it writes keys of its own and reads those of all.
 *
 * Of its own keys a thread knows the version. Of another's it knows two bounds: what was surely
 * there before the read began, and what could be there when it had ended (for cursors, snapshots
 * and checkpoints: when they had been made). */
#include "stress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reads ---- */

static bool do_get(struct worker *w)
{
    uint32_t n = draw(&w->random, 3) == 0 ? 1 + (uint32_t)draw(&w->random, MANY_MAX) : 1;
    uint32_t database = (uint32_t)draw(&w->random, DATABASES) * database_keys(w->x);
    uint32_t key[MANY_MAX], low[MANY_MAX];
    struct quern_read_opts opts = {.database = place_of(w->x, database)};
    struct moment at = {wall_ms(), 0};
    struct quern_value values[MANY_MAX] = {{0}};
    enum quern_code codes[MANY_MAX], code;
    struct quern_slice keys[MANY_MAX];
    struct quern_error err = {0};
    char room[MANY_MAX][16];
    bool ok;

    for (uint32_t i = 0; i < n; i++) {
        key[i] = database + (uint32_t)draw(&w->random, database_keys(w->x));
        keys[i] = key_text(w->x, room[i], key[i]);
        low[i] = lowest(w->x, key[i]);
    }
    if (n == 1)
        code = codes[0] = quern_get(w->db, keys[0], &opts, &values[0], &err);
    else
        code = quern_multi_get(w->db, keys, n, &opts, values, codes, &err);
    at.to = wall_ms();
    ok = code == QUERN_NOT_FOUND || fine(w->x, code, &err, "a get");
    for (uint32_t i = 0; i < n; i++) {
        ok = ok && shows(w->x, key[i], codes[i] == QUERN_OK ? &values[i] : NULL, low[i],
                         highest(w->x, key[i]), at, n == 1 ? "a get" : "a batched get");
        quern_value_done(&values[i]);
    }
    return ok;
}

static struct stretch some_keys(struct worker *w, uint32_t room[2][RANGE_MAX])
{
    uint32_t n = 1 + (uint32_t)draw(&w->random, RANGE_MAX);

    return (struct stretch){.from = (uint32_t)draw(&w->random, w->x->keys - n),
                            .count = n,
                            .low = room[0],
                            .high = room[1]};
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
    struct stretch s = {.from = own_block(w), .count = BLOCK_KEYS, .low = room, .high = room};

    bounds_before(w->x, &s);
    return count(w->x, w->db, NULL, &s);
}

/* What a snapshot shows stays, whatever is written after it. */
static bool do_snapshot(struct worker *w)
{
    uint32_t room[2][RANGE_MAX], own[RANGE_MAX];
    struct stretch any = some_keys(w, room);
    struct stretch mine = {.from = own_block(w), .count = BLOCK_KEYS, .low = own, .high = own};
    struct quern_snapshot *snapshot = NULL;
    struct quern_error err = {0};
    bool ok;

    whole_stay();
    bounds_before(w->x, &any);
    bounds_before(w->x, &mine);
    ok = fine(w->x, quern_snapshot_new(w->db, &snapshot, &err), &err, "a snapshot");
    bounds_after(w->x, &any);
    mine.at.to = any.at.to;
    whole_leave();
    for (uint64_t n = draw(&w->random, 20); ok && n > 0; n--)
        ok = do_write(w);
    ok = ok && scan(w->x, w->db, snapshot, &any, draw(&w->random, 8)) &&
         scan(w->x, w->db, snapshot, &mine, draw(&w->random, 8)) &&
         count(w->x, w->db, snapshot, &mine);
    quern_snapshot_free(snapshot);
    return ok;
}

/* ---- care ---- */

static bool look_at_copy(struct worker *w, const char *path, struct stretch *all)
{
    struct quern_error err = {0};
    struct quern *copy = NULL;
    struct quern_options options = {.memory_bytes = 2 << 20, .must_exist = true};
    bool ok = fine(w->x, quern_open(path, &options, &copy, &err), &err, "a checkpoint");

    ok = ok && verify_all(w->x, copy, w->random, all);
    return (copy == NULL || fine(w->x, quern_close(copy, &err), &err, "a checkpoint")) && ok;
}

static bool do_checkpoint(struct worker *w)
{
    static _Atomic bool busy;
    struct stretch all = {.count = w->x->keys};
    struct quern_error err = {0};
    char path[600];
    bool ok;

    if (atomic_exchange(&busy, true))
        return true;
    all.low = calloc(all.count, sizeof(uint32_t));
    all.high = calloc(all.count, sizeof(uint32_t));
    (void)snprintf(path, sizeof(path), "%s/copy-%016" PRIx64, w->dir, w->random);
    whole_stay();
    bounds_before(w->x, &all);
    ok = fine(w->x, quern_checkpoint(w->db, path, &err), &err, "a checkpoint");
    bounds_after(w->x, &all);
    whole_leave();
    ok = ok && look_at_copy(w, path, &all);
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
    struct stretch s = {.from = own_block(w), .count = BLOCK_KEYS};
    struct quern_error err = {0};
    struct quern_stats stats;
    char a[16], b[16];
    struct quern_range range = range_of(w->x, &s, a, b);
    struct quern_compact_opts compact = {.range = &range, .database = place_of(w->x, s.from)};

    switch (draw(&w->random, 12)) {
    case 0:
        return do_checkpoint(w);
    case 1:
        return fine(w->x, quern_compact(w->db, NULL, &err), &err, "compact");
    case 2:
    case 3:
        return fine(w->x, quern_compact(w->db, &compact, &err), &err, "compact");
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

/* With the databases where they are. */
static bool stay_and(struct worker *w, bool (*what)(struct worker *w))
{
    bool ok;

    whole_stay();
    ok = what(w);
    whole_leave();
    return ok;
}

void *worker_run(void *arg)
{
    struct worker *w = arg;
    bool ok = true;

    while (ok && !atomic_load(w->stop) && !atomic_load(&w->x->failed)) {
        uint64_t what = draw(&w->random, 1000);

        ok = what < 530   ? do_write(w)
             : what < 544 ? do_range_delete(w)
             : what < 550 ? do_whole(w)
             : what < 850 ? stay_and(w, do_get)
             : what < 910 ? stay_and(w, do_scan)
             : what < 950 ? stay_and(w, do_count)
             : what < 990 ? do_snapshot(w)
                          : do_care(w);
        atomic_fetch_add_explicit(&w->x->tally.operations, 1, memory_order_relaxed);
    }
    return NULL;
}
