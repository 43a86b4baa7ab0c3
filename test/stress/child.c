/* child.c - one life of the store: open with options of its own, look whether all is there that
 * must be, let the threads loose, close; or be killed anywhere on the way. */
#include "stress.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* From so small that each write moves something to nearly the defaults. */
static struct quern_options options_of(const struct plan *plan)
{
    uint64_t r = plan->seed;
    struct quern_options o = {
        .memory_bytes = UINT64_C(1) << (20 + draw(&r, 7)),
        .memdb_bytes = UINT64_C(1) << (14 + draw(&r, 8)),
        .log_segment_bytes = UINT64_C(1) << (16 + draw(&r, 6)),
        .table_bytes = UINT64_C(1) << (13 + draw(&r, 9)),
        .block_bytes = 1u << (7 + draw(&r, 8)),
        .tier_runs = 2 + (uint32_t)draw(&r, 5),
        .filter_bits = draw(&r, 5) == 0 ? UINT32_MAX : 4 + (uint32_t)draw(&r, 12),
        .compression = (enum quern_compression)draw(&r, 4),
        .flush_interval_ms = 1u << draw(&r, 12),
        .compact_interval_ms = 1u << draw(&r, 12),
        .read_only = plan->look_only,
        .must_exist = plan->look_only,
    };

    if (o.memdb_bytes > o.memory_bytes / 5)
        o.memdb_bytes = o.memory_bytes / 5;
    return o;
}

/* ---- files ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Checkpoints that a kill left half done. */
static void remove_copies(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[600];

    while (d != NULL && (e = readdir(d)) != NULL)
        if (strncmp(e->d_name, "copy-", 5) == 0) {
            (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
            remove_tree(path);
        }
    if (d != NULL)
        (void)closedir(d);
}

/* ---- what a kill left in the air ---- */

bool fits(struct expected *x, struct quern *db, const uint8_t place[DATABASES], uint32_t key,
          uint32_t old, uint32_t fresh, bool *is_old, bool *is_fresh)
{
    struct quern_read_opts opts = {.database = place[key / database_keys(x)]};
    struct quern_value value = {0};
    struct quern_error err = {0};
    struct moment at = {wall_ms(), 0};
    char room[16];
    enum quern_code code = quern_get(db, key_text(x, room, key), &opts, &value, &err);
    uint32_t version = 0;
    bool ok;

    at.to = wall_ms();
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return failed(x, "after a kill: %s", err.text);
    ok = shows(x, key, code == QUERN_OK ? &value : NULL, old, fresh, at, "after a kill");
    if (ok && code == QUERN_OK)
        memcpy(&version, value.data, 4);
    *is_old &= code == QUERN_OK ? version == old : lives(x, key, old, at) != LIFE_YES;
    *is_fresh &= code == QUERN_OK ? version == fresh : lives(x, key, fresh, at) != LIFE_YES;
    quern_value_done(&value);
    return ok;
}

/* The write that this thread had under way is there as a whole or not at all; if it had been
 * acknowledged it is there. From now on the expectation is exact. */
static bool settle(struct expected *x, struct quern *db, uint32_t thread,
                   const uint8_t place[DATABASES], bool look_only)
{
    struct intent *in = &x->intent[thread];
    uint32_t state = atomic_load(&in->state);
    bool old = state == INTENT_BEGUN, fresh = true;

    if (state == INTENT_NONE)
        return true;
    for (uint32_t i = 0; i < in->count; i++)
        if (!fits(x, db, place, in->key[i], in->old[i], in->version[i], &old, &fresh))
            return false;
    if (!old && !fresh)
        return failed(x,
                      state == INTENT_DONE
                          ? "after a kill: an acknowledged write of thread %" PRIu32 ", of %" PRIu32
                            " keys, is lost"
                          : "after a kill: a batch of thread %" PRIu32 ", of %" PRIu32
                            " keys, is there in part",
                      thread, in->count);
    for (uint32_t i = 0; i < in->count && !look_only; i++) {
        struct cell *c = &x->cell[in->key[i]];

        atomic_store(&c->now, fresh ? in->version[i] : in->old[i]);
        atomic_store(&c->next, fresh ? in->version[i] : in->old[i]);
    }
    if (!look_only)
        atomic_store(&in->state, INTENT_NONE);
    return true;
}

static bool recovered(struct expected *x, struct quern *db, const struct plan *plan)
{
    struct stretch all = {.count = x->keys};
    bool ok;

    all.low = calloc(x->keys, sizeof(*all.low));
    all.high = calloc(x->keys, sizeof(*all.high));
    ok = all.low != NULL && all.high != NULL && whole_settle(x, db, all.place, plan->look_only);
    for (uint32_t t = 0; ok && t < x->threads; t++)
        ok = settle(x, db, t, all.place, plan->look_only);
    for (uint32_t k = 0; ok && k < x->keys; k++) {
        all.low[k] = lowest(x, k);
        all.high[k] = highest(x, k);
    }
    /* Point reads and cursors go different ways, so one of each. */
    ok = ok && verify_all(x, db, plan->seed & 0x11, &all) &&
         verify_all(x, db, (plan->seed & 1) | 2, &all);
    free(all.low);
    free(all.high);
    return ok;
}

/* ---- threads ---- */

static void wait_ms(const struct expected *x, unsigned ms)
{
    struct timespec one = {0, 1000000};

    for (; ms > 0 && !atomic_load(&x->failed); ms--)
        (void)nanosleep(&one, NULL);
}

static void run_threads(struct expected *x, struct quern *db, const char *dir,
                        const struct plan *plan)
{
    struct worker w[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    _Atomic bool stop = false;

    for (uint32_t i = 0; i < x->threads; i++) {
        w[i] = (struct worker){x, db, dir, plan, i, mix(plan->seed, i), &stop};
        if (pthread_create(&thread[i], NULL, worker_run, &w[i]) != 0)
            abort();
    }
    wait_ms(x, plan->run_ms);
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < x->threads; i++)
        (void)pthread_join(thread[i], NULL);
}

int child_run(struct expected *x, const char *dir, const struct plan *plan)
{
    struct quern_options options = options_of(plan);
    struct quern_error err = {0};
    struct quern *db = NULL;
    char path[600];

    if (!plan->look_only)
        remove_copies(dir);
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    if (plan->seed >> 7 & 1) /* else not while it opens and looks */
        cut_at(plan->cut_at, plan->seed >> 8);
    if (quern_open(path, &options, &db, &err) != QUERN_OK) {
        (void)failed(x, "%s", err.text);
        return 1;
    }
    atomic_fetch_add(&x->tally.opens, 1);
    if (recovered(x, db, plan) && !plan->look_only) {
        cut_at(plan->cut_at, plan->seed >> 8);
        run_threads(x, db, dir, plan);
        if (!atomic_load(&x->failed))
            (void)recovered(x, db, plan);
    }
    if (atomic_load(&x->failed))
        return 1; /* no close: the store is kept as it was found */
    return quern_close(db, &err) == QUERN_OK || failed(x, "%s", err.text) ? 0 : 1;
}
