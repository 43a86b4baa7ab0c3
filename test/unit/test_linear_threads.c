/* test_linear_threads.c - what many threads do to one store at once is recorded and checked: is it
 * something that a store which does one thing at a time could have done? Across crashes too.
 *
 * Two families of keys live in one store:
 *
 *     b/0 .. b/7    written by batches over several of them, each with a key j/ID of its own in a
 *                   journal; read by gets, batched gets, cursors, snapshots and counts of the
 *                   journal
 *                   -> linear_check(), with the store's own numbers as the witness
 *     s/0 .. s/3    written by single puts and deletes, read by gets -> linear_check_key()
 *
 * A life of the store ends with a close, with the end of the process (all that was written is
 * there) or with a power cut (unsynced sectors are lost, some or all) at some change to the disk.
 * The journal then tells which batches are left; linear_check_kept() whether they may be. What is
 * found is where the next life begins, so that a history runs through all crashes.
 *
 * Threads meet nowhere but in the store, and take times from the clock, not from a shared counter:
 * such a counter would order their calls for TSan and hide races. The seed repeats options, calls
 * and the place of the cut, not the schedule of the threads. */
#include "linear_hand.h"
#include "tap.h"

#include "engine/engine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a life: from open to its end ---- */

static void run_threads(struct world *w, struct hand *t)
{
    pthread_t thread[THREADS];

    w->h.first_id = w->first_id;
    w->h.write_count = THREADS * IDS;
    w->h.writes = calloc(w->h.write_count, sizeof(struct linear_write));
    (void)pthread_barrier_init(&w->start, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        hand_init(&t[i], w, i);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, hand_run, &t[i]) != 0)
            abort();
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(thread[i], NULL);
    (void)pthread_barrier_destroy(&w->start);
}

/* All reads into one array; how many operations there were. */
static void gather(struct world *w, struct hand *t)
{
    size_t count = 0;

    for (unsigned i = 0; i < THREADS; i++)
        count += t[i].read_count;
    w->h.reads = calloc(count + 1, sizeof(struct linear_read));
    w->h.read_count = 0;
    w->h.synced = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        memcpy(w->h.reads + w->h.read_count, t[i].reads,
               t[i].read_count * sizeof(struct linear_read));
        w->h.read_count += t[i].read_count;
        w->operations += t[i].read_count + t[i].used;
        for (unsigned k = 0; k < SINGLES; k++)
            w->operations += t[i].op_count[k];
        if (t[i].synced > w->h.synced)
            w->h.synced = t[i].synced;
    }
}

static bool open_world(struct world *w)
{
    struct quern_error err = {0};
    enum quern_code code = w->sim != NULL
                               ? engine_open(sim_os(w->sim), w->path, &w->options, &w->db, &err)
                               : quern_open(w->path, &w->options, &w->db, &err);

    return code == QUERN_OK || hand_wrong(w, err.text);
}

/* What the journal says is there: of this life into `kept`;
 * of lives before it must be as it was. */
static bool read_journal(struct world *w, uint64_t *kept)
{
    struct quern_iter_opts opts = {.prefix = QUERN_STR("j/"), .bulk = true};
    struct quern_iter *it = NULL;
    struct quern_error err = {0};
    uint64_t old = 0;
    bool fine = quern_iter_new(w->db, &opts, &it, &err) == QUERN_OK || hand_wrong(w, err.text);

    for (bool more = fine && quern_iter_first(it); more && fine; more = quern_iter_next(it)) {
        char digits[8] = {0};
        uint32_t id;

        memcpy(digits, (const char *)quern_iter_key(it).data + 2, 6);
        id = (uint32_t)strtoul(digits, NULL, 10);
        if (id >= w->first_id + w->h.write_count)
            fine = hand_wrong(w, "the journal has a key that nobody wrote");
        else if (id >= w->first_id)
            kept[id - w->first_id] = quern_iter_seq(it);
        else if (w->journal[id] != quern_iter_seq(it))
            fine = hand_wrong(w, "a batch that was lost is there, or has another number");
        else
            old++;
    }
    fine = fine && (quern_iter_error(it, &err) == QUERN_OK || hand_wrong(w, err.text)) &&
           (old == w->h.start_count || hand_wrong(w, "a batch of a life before is lost"));
    quern_iter_free(it);
    return fine;
}

/* The b/ keys are just what the batches that are left make of them. */
static bool check_contents(struct world *w, const uint32_t *state)
{
    struct hand t = {.w = w, .random = 1};
    struct linear_read r = {.count = LINEAR_NO_COUNT};

    hand_scan(&t, &r, NULL);
    return !atomic_load(&w->failed) &&
           (memcmp(r.id, state, sizeof(r.id)) == 0 ||
            hand_wrong(w, "the contents are not those of the batches left"));
}

static bool check_singles(struct world *w, struct hand *t, uint64_t found_from, char *why)
{
    struct hand looker = {.w = w};
    bool fine = true;

    for (unsigned k = 0; k < SINGLES && fine; k++) {
        struct linear_op found = {LINEAR_FOUND, found_from, 0, 0, false}, *all;
        size_t count = 0, most = 1;

        for (unsigned i = 0; i < THREADS; i++)
            most += t[i].op_count[k];
        all = calloc(most, sizeof(*all));
        for (unsigned i = 0; i < THREADS; i++) {
            memcpy(all + count, t[i].ops[k], t[i].op_count[k] * sizeof(*all));
            count += t[i].op_count[k];
        }
        found.id = hand_get_single(&looker, k, &found.ended);
        all[count++] = found;
        fine = linear_check_key(all, count, w->single[k], why);
        w->single[k] = found.id;
        w->histories++;
        free(all);
    }
    return fine;
}

/* The store is open again. Was all that happened in order, and is the right thing left? */
static bool check_life(struct world *w, struct hand *t, bool power, uint64_t began, uint64_t ended)
{
    uint64_t *kept = calloc(w->h.write_count + 1, sizeof(*kept)), seq, count;
    uint32_t state[LINEAR_KEYS];
    char why[LINEAR_WHY_BYTES] = "";
    bool fine = read_journal(w, kept);

    if (fine && !(linear_check_kept(&w->h, kept, power, why) && linear_check(&w->h, why) &&
                  check_singles(w, t,
                                !power            ? ended
                                : w->h.synced > 0 ? w->h.synced
                                                  : began,
                                why)))
        fine = hand_wrong(w, why);
    linear_state_kept(&w->h, kept, state, &seq, &count);
    fine = fine && check_contents(w, state) && !atomic_load(&w->failed);
    memcpy(w->h.start, state, sizeof(state));
    w->h.start_seq = seq;
    w->h.start_count = count;
    w->journal = realloc(w->journal, (w->first_id + w->h.write_count) * sizeof(uint64_t));
    memcpy(w->journal + w->first_id, kept, w->h.write_count * sizeof(uint64_t));
    w->first_id += (uint32_t)w->h.write_count;
    w->histories++;
    free(kept);
    return fine;
}

/* End the life, by `mode` on the simulated disk and by a close on the real one; open again. */
static bool end_life(struct world *w, enum sim_crash_mode mode)
{
    struct sim *after = w->sim != NULL ? sim_crash(w->sim, tap_random(&w->random), mode) : NULL;
    struct quern_error err = {0};
    enum quern_code code = quern_close(w->db, &err);

    w->db = NULL;
    if (code != QUERN_OK && (w->sim == NULL || !sim_is_off(w->sim)))
        return hand_wrong(w, err.text);
    if (w->sim != NULL) {
        sim_free(w->sim);
        w->sim = after;
    }
    return open_world(w);
}

/* A cut somewhere in the next life; more often than not before its threads are done. */
static void plan_cut(struct world *w)
{
    uint64_t changes = sim_op_count_of(w->sim, SIM_CHANGES);
    unsigned span = 60u << tap_random(&w->random) % 6;

    sim_crash_at_of(w->sim, SIM_CHANGES, changes + 1 + tap_random(&w->random) % span);
}

static bool live(struct world *w, bool cut, enum sim_crash_mode mode)
{
    struct hand t[THREADS];
    uint64_t began = hand_now(), ended;
    bool fine;

    if (cut)
        plan_cut(w);
    run_threads(w, t);
    ended = hand_now();
    gather(w, t);
    fine = !atomic_load(&w->failed) && end_life(w, mode) &&
           check_life(w, t, w->sim != NULL && mode != SIM_KEEP_ALL, began, ended);
    for (unsigned i = 0; i < THREADS; i++)
        hand_done(&t[i]);
    free(w->h.reads);
    free(w->h.writes);
    return fine;
}

/* ---- worlds ---- */

/* Everything small, so that MemDBs are sealed, flushed and merged all the time. */
static void world_init(struct world *w, uint64_t seed, unsigned sync_one_in)
{
    memset(w, 0, sizeof(*w));
    w->random = seed;
    w->first_id = 1;
    w->steps = 800;
    w->sync_one_in = sync_one_in;
    w->journal = calloc(1, sizeof(uint64_t));
    w->path = "/db";
    w->options = (struct quern_options){
        .memory_bytes = 1 << 20,
        .memdb_bytes = 16384u << tap_random(&w->random) % 3,
        .log_segment_bytes = 64 * 1024,
        .table_bytes = 4096u << tap_random(&w->random) % 3,
        .block_bytes = 256u << tap_random(&w->random) % 3,
        .tier_runs = 2 + (unsigned)(tap_random(&w->random) % 3),
        .flush_interval_ms = 5 + (unsigned)(tap_random(&w->random) % 50),
        .compact_interval_ms = 1 + (unsigned)(tap_random(&w->random) % 20),
        .compression = (enum quern_compression)(tap_random(&w->random) % 4),
    };
}

static void world_done(struct world *w)
{
    struct quern_error err = {0};

    if (w->db != NULL && !atomic_load(&w->failed) &&
        quern_verify(w->db, NULL, NULL, &err) != QUERN_OK)
        (void)hand_wrong(w, err.text);
    if (w->db != NULL && quern_close(w->db, &err) != QUERN_OK && !atomic_load(&w->failed))
        (void)hand_wrong(w, err.text);
    sim_free(w->sim);
    free(w->journal);
}

static void on_this_machine(unsigned sync_one_in, unsigned lives)
{
    char path[300];
    struct world w;

    world_init(&w, tap_seed(), sync_one_in);
    (void)snprintf(path, sizeof(path), "%s/store", tap_dir());
    w.path = path;
    if (open_world(&w))
        for (unsigned i = 0; i < lives && live(&w, false, SIM_KEEP_ALL); i++)
            ;
    world_done(&w);
    tap_note("stress: operations %llu, histories %llu", (unsigned long long)w.operations,
             (unsigned long long)w.histories);
}

TEST(linear_threads_without_syncs)
{
    on_this_machine(1000, 3);
}

TEST(linear_threads_with_syncs)
{
    on_this_machine(5, 2);
}

/* Several stores, each through several lives. `power`: else only the process ends. */
static void on_the_simulated_disk(unsigned sync_one_in, bool power)
{
    uint64_t seed = tap_seed(), operations = 0, histories = 0;
    unsigned cuts = 0;
    bool fine = true;

    for (unsigned round = 0; round < 4 && fine; round++) {
        struct world w;

        world_init(&w, seed + round * 7919, sync_one_in);
        w.sim = sim_new(seed + round);
        sim_set_mapping(w.sim, tap_random(&w.random) % 4 != 0);
        sim_set_direct(w.sim, tap_random(&w.random) % 4 != 0);
        sim_set_sync_us(w.sim, (unsigned)(tap_random(&w.random) % 2 * 100));
        fine = open_world(&w);
        for (unsigned i = 0; i < 6 && fine; i++, cuts++) {
            enum sim_crash_mode mode = !power                           ? SIM_KEEP_ALL
                                       : tap_random(&w.random) % 2 == 0 ? SIM_DROP_ALL
                                                                        : SIM_RANDOM;

            fine = live(&w, true, mode);
            if (!fine)
                tap_note("store %u, life %u, mode %d", round, i, (int)mode);
        }
        world_done(&w);
        operations += w.operations;
        histories += w.histories;
    }
    tap_note("stress: operations %llu, histories %llu, crash points %u",
             (unsigned long long)operations, (unsigned long long)histories, cuts);
}

TEST(linear_threads_when_the_process_ends)
{
    on_the_simulated_disk(50, false);
}

TEST(linear_threads_when_the_power_goes)
{
    on_the_simulated_disk(50, true);
}

TEST(linear_threads_when_the_power_goes_between_syncs)
{
    on_the_simulated_disk(2, true);
}
