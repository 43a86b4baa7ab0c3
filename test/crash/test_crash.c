/* test_crash.c - the power goes at every change a short history makes to the disk; what is there
 * afterwards must be what was promised.
 *
 * A history is a word of history.h; the store after its first p writes is known for every p. After
 * a crash the contents must be those of some p:
 *
 *     durable <= p <= issued     power cut: all that a returned sync, flush or close covers
 *     acked   <= p <= issued     kill -9: all that was acknowledged
 *
 * Being exactly one of those states means: nothing lost, no hole, every batch whole, every value with
 * its revision and its expiry. The clock goes on while the store is down and while it is looked at:
 * what has expired by then is gone, and the rest is there. Then the store must verify, take writes,
 * and bear a second crash at any point of its recovery; and once all has expired that ever does, a
 * compaction must leave nothing of it. The worker thread makes the number of operations vary
 * between runs; a crash point that is never reached is a run without a crash, and the checks hold for
 * it as well.
 *
 *     CRASH_FULL=1     every point instead of a sample
 *     CRASH_POINTS=n   the size of the sample, for each history
 *     TEST_SEED=n      the same sample and the same half-written sectors again */
#include "history.h"
#include "sim.h"
#include "tap.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MANIFEST_EDITS 260
#define SAMPLE_POINTS 56 /* of one history, when not all are wanted */

/* ---- the states a history goes through ---- */

struct history {
    const char *steps;
    unsigned writes;
    struct contents state[HISTORY_WRITES_MAX + 1]; /* after the first p writes */
    bool expires;
    struct quern_options options;
    bool mapping, direct;
    uint64_t first_cut, last_cut; /* only these changes are cut; 0: all */
};

static void history_init(struct history *h, const char *steps)
{
    memset(h, 0, sizeof(*h));
    h->steps = steps;
    h->mapping = h->direct = true;
    h->options = history_options();
    for (const char *s = steps; *s != '\0'; s++) {
        h->expires |= strchr("eEiI", *s) != NULL;
        if (!history_is_write(*s))
            continue;
        h->writes++;
        h->state[h->writes] = h->state[h->writes - 1];
        (void)history_apply(*s, h->writes, &h->state[h->writes]);
    }
}

/* ---- running it ---- */

struct trial {
    const struct history *h;
    struct sim *sim;
    struct quern *db;
    uint64_t seed, cut; /* for messages */
    unsigned tick;      /* where the clock stands */
    const char *mode;
    unsigned issued, acked, durable; /* numbers of writes */
    unsigned copied;                 /* what the checkpoint shows; 0: none was finished */
    bool failed;                     /* and it has been said how */
};

static void fail(struct trial *r, const char *what, const char *why)
{
    r->failed = true;
    tap_fail(
        __FILE__, __LINE__,
        "%s: %s\n#   history %.100s, power cut at change %llu, %s; issued %u, acknowledged %u, "
        "durable %u; at tick %u",
        what, why, r->h->steps, (unsigned long long)r->cut, r->mode, r->issued, r->acked,
        r->durable, r->tick);
}

static void set_clock(struct trial *r, struct sim *sim, unsigned tick)
{
    r->tick = tick;
    sim_set_wall_ms(sim, HISTORY_BEGAN_MS + tick);
}

/* A step that is a write has the next number and its moment. CONFLICT: refused as it had to be. */
static enum quern_code do_step(struct trial *r, char step, struct quern_error *err)
{
    if (history_is_write(step))
        set_clock(r, r->sim, ++r->issued);
    return history_step(&r->db, sim_os(r->sim), &r->h->options, step, r->issued,
                        &r->h->state[r->acked], err);
}

/* Run the history until it ends or the power goes. What returned before the power went counts. */
static void run_history(struct trial *r)
{
    struct quern_error err = {0};
    uint64_t keys[QUERN_DATABASES];
    enum quern_code code;

    set_clock(r, r->sim, 0);
    code = engine_open(sim_os(r->sim), HISTORY_PATH, &r->h->options, &r->db, &err);
    if (code == QUERN_OK) /* from now on the number of keys is kept */
        IGNORE(quern_live_keys(r->db, false, keys, &err));
    for (const char *s = r->h->steps; code == QUERN_OK && *s != '\0'; s++) {
        code = do_step(r, *s, &err);
        if (sim_is_off(r->sim) || (code != QUERN_OK && code != QUERN_CONFLICT))
            break;
        if (history_is_write(*s))
            r->acked = r->issued;
        if (code == QUERN_CONFLICT) { /* and synced nothing */
            code = QUERN_OK;
            continue;
        }
        if ((!history_is_write(*s) && strchr("xX", *s) == NULL) || history_is_synced(*s))
            r->durable = r->acked;
        if (*s == 'k')
            r->copied = r->acked;
    }
    if (code != QUERN_OK && !sim_is_off(r->sim))
        fail(r, "a step failed without cause", err.text);
    history_let_go();
    if (r->db != NULL) {
        code = quern_close(r->db, &err);
        if (!sim_is_off(r->sim)) {
            if (code != QUERN_OK)
                fail(r, "close failed without cause", err.text);
            r->durable = r->acked;
        }
    }
    r->db = NULL;
}

/* ---- looking at what is left ---- */

/* The contents are those after p writes, low <= p <= high, and `more` that left nothing behind: then
 * *p tells which. */
static bool is_prefix(struct trial *r, struct quern *db, unsigned low, unsigned high, unsigned more,
                      unsigned *p)
{
    struct contents seen, want;
    char text[200];
    int at;

    if (history_read(db, &seen, text) != QUERN_OK || text[0] != '\0') {
        fail(r, "the store cannot be read", text);
        return false;
    }
    for (*p = low; *p <= high; (*p)++) {
        history_at(&r->h->state[*p], r->tick, &want);
        if (seen.seq == want.seq + more && history_same(&seen, &want))
            return true;
    }
    at = snprintf(text, sizeof(text), " %u of %u;", (unsigned)seen.seq, (unsigned)want.seq + more);
    for (unsigned k = 0; k < HISTORY_KEYS; k++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, " %u", seen.cell[k].n);
    fail(r,
         "the contents are no prefix of what was written; last number, and writes by key:", text);
    return false;
}

static bool open_after(struct trial *r, struct sim *sim, const char *path, struct quern **db)
{
    struct quern_error err = {0};

    if (engine_open(sim_os(sim), path, &r->h->options, db, &err) == QUERN_OK)
        return true;
    fail(r, "cannot open after the crash", err.text);
    return false;
}

static bool close_after(struct trial *r, struct quern *db)
{
    struct quern_error err = {0};

    if (quern_close(db, &err) == QUERN_OK)
        return true;
    fail(r, "cannot close after the crash", err.text);
    return false;
}

static bool goes_on(struct trial *r, struct quern *db)
{
    struct quern_error err = {0};

    if (history_goes_on(db, &err) == QUERN_OK)
        return true;
    fail(r, "the recovered store does not work", err.text);
    return false;
}

/* New runs come on top of what an interrupted merge left, until the next merge is due: it must put
 * no older value before a newer one. */
static bool merges_on(struct trial *r, struct quern *db, unsigned p)
{
    return goes_on(r, db) && goes_on(r, db) && goes_on(r, db) && is_prefix(r, db, p, p, 6, &p);
}

/* Some of what is there expires before the eyes of the open store, and then all that ever does. */
static bool expires_on(struct trial *r, struct sim *sim, struct quern *db, unsigned p)
{
    struct quern_error err = {0};

    set_clock(r, sim, r->tick + 3);
    if (!is_prefix(r, db, p, p, 6, &p))
        return false;
    set_clock(r, sim, HISTORY_ENDED);
    if (!is_prefix(r, db, p, p, 6, &p))
        return false;
    if (history_clears_up(db, &err) == QUERN_OK)
        return is_prefix(r, db, p, p, 6, &p);
    fail(r, "what has expired is not cleared up", err.text);
    return false;
}

/* A finished checkpoint holds what it held, whatever became of its origin. */
static bool check_copy(struct trial *r, struct sim *sim)
{
    struct quern *db = NULL;
    unsigned p;
    bool fine;

    if (r->copied == 0)
        return true;
    if (!open_after(r, sim, HISTORY_COPY, &db))
        return false;
    fine = is_prefix(r, db, r->copied, r->copied, 0, &p);
    return close_after(r, db) && fine;
}

/* The recovery of `disk` is cut short at its k-th change; the next one finds no less. When the
 * first had finished and shown p writes, the next shows the same. One in three finds the disk
 * nearly full besides: it gives up the ballast, opens with recovery unfinished, or says
 * NO_SPACE. */
static bool check_second_crash(struct trial *r, struct sim *disk, uint64_t k,
                               enum sim_crash_mode mode, unsigned low)
{
    struct sim *first OWNED(sim_free) = sim_crash(disk, r->seed + k, SIM_KEEP_ALL);
    struct sim *second OWNED(sim_free) = NULL;
    struct quern *db = NULL;
    struct quern_error err;
    unsigned high = r->issued, p;
    bool fine = true;

    history_tried();
    set_clock(r, first, r->issued + (unsigned)(k % 4));
    if (k % 3 == 0)
        sim_free_space(first, k % 5 * 8192);
    sim_crash_at_of(first, SIM_CHANGES, k);
    if (engine_open(sim_os(first), HISTORY_PATH, &r->h->options, &db, &err) == QUERN_OK) {
        sim_crash_at(first, 0); /* not while we read */
        if (!sim_is_off(first)) {
            fine = is_prefix(r, db, low, high, 0, &p);
            low = high = p;
        }
        (void)quern_close(db, &err);
    } else if (!sim_is_off(first) && !(k % 3 == 0 && err.code == QUERN_NO_SPACE)) {
        fail(r, "cannot open after the crash", err.text);
        fine = false;
    }
    if (!fine)
        return false;
    second = sim_crash(first, r->seed + k, mode);
    sim_free_space(second, UINT64_MAX);
    set_clock(r, second, r->tick + (unsigned)(k % 3));
    if (!open_after(r, second, HISTORY_PATH, &db))
        return false;
    fine = is_prefix(r, db, low, high, 0, &p) && goes_on(r, db);
    return close_after(r, db) && fine;
}

/* What a crash in this mode leaves of the run. */
static bool check_crash(struct trial *r, enum sim_crash_mode mode, uint64_t random, bool full)
{
    static const char *const names[] = {"all unsynced lost", "all kept", "unsynced at random"};
    struct sim *disk OWNED(sim_free) = NULL;
    struct quern *db = NULL;
    unsigned low = mode == SIM_KEEP_ALL ? r->acked : r->durable, p;
    uint64_t changes, step;
    bool fine;

    r->mode = names[mode];
    history_tried();
    disk = sim_crash(r->sim, r->seed + r->cut, mode);
    { /* one undisturbed recovery, on a copy, so that the disk stays as the crash left it */
        struct sim *calm OWNED(sim_free) = sim_crash(disk, r->seed, SIM_KEEP_ALL);

        set_clock(r, calm, r->issued + (unsigned)(random % 4));
        if (!open_after(r, calm, HISTORY_PATH, &db))
            return false;
        changes = sim_op_count_of(calm, SIM_CHANGES);
        fine = is_prefix(r, db, low, r->issued, 0, &p) && merges_on(r, db, p) &&
               (!r->h->expires || expires_on(r, calm, db, p));
        fine = close_after(r, db) && fine && check_copy(r, calm);
        if (!fine)
            return false;
    }
    step = full ? 1 : changes;
    for (uint64_t k = full ? 1 : 1 + random % changes; k <= changes; k += step)
        if (!check_second_crash(r, disk, k, mode == SIM_KEEP_ALL ? SIM_DROP_ALL : mode,
                                mode == SIM_KEEP_ALL ? r->durable : low))
            return false;
    return true;
}

/* ---- enumeration ---- */

/* Run with the power cut at change `cut` (0: never); true while all promises hold. */
static bool run_cut(const struct history *h, uint64_t seed, uint64_t cut, bool full, bool *ended,
                    uint64_t *changes)
{
    struct sim *sim OWNED(sim_free) = sim_new(seed + cut);
    struct trial r = {.h = h, .sim = sim, .seed = seed, .cut = cut, .mode = "no crash yet"};
    bool fine;

    sim_set_mapping(sim, h->mapping);
    sim_set_direct(sim, h->direct);
    sim_crash_at_of(sim, SIM_CHANGES, cut);
    run_history(&r);
    *ended = !sim_is_off(sim);
    *changes = sim_op_count_of(sim, SIM_CHANGES);
    fine = !r.failed;
    for (int mode = SIM_DROP_ALL; fine && mode <= SIM_RANDOM; mode++)
        fine = check_crash(&r, (enum sim_crash_mode)mode,
                           (seed ^ cut * UINT64_C(0x9E3779B97F4A7C15)) >> 20, full);
    if (fine && full) {
        r.seed++;
        fine = check_crash(&r, SIM_RANDOM, seed, false);
    }
    return fine;
}

/* One child's share of the crash points; true while all promises hold. */
static bool enumerate_share(void *arg, unsigned share)
{
    const struct history *h = arg;
    bool full = history_env("CRASH_FULL", 0) != 0, ended;
    uint64_t points = history_env("CRASH_POINTS", SAMPLE_POINTS), seed = tap_seed();
    uint64_t changes, unused, stride, from = 0;

    if (!run_cut(h, seed + share, 0, false, &ended, &changes))
        return false;
    if (h->last_cut != 0) {
        from = h->first_cut;
        changes = h->last_cut < changes ? h->last_cut : changes;
    }
    stride = full || changes - from < points ? 1 : (changes - from) / points;
    for (uint64_t cut = from + 1 + seed % stride + share * stride; cut <= changes;
         cut += HISTORY_SHARES * stride)
        if (!run_cut(h, seed, cut, full, &ended, &unused))
            return false;
    return true;
}

static void enumerate(struct history *h)
{
    uint64_t before = history_count();

    (void)tap_seed(); /* drawn before the fork, so that all shares have the same */
    EXPECT(history_in_shares(enumerate_share, h));
    tap_note("stress: crash points %" PRIu64, history_count() - before);
}

static void enumerate_word(const char *steps)
{
    static struct history h;

    history_init(&h, steps);
    enumerate(&h);
}

TEST(a_crash_keeps_what_was_synced_and_leaves_a_prefix)
{
    enumerate_word(HISTORY_SYNCS);
}

TEST(a_crash_around_flushes_loses_nothing)
{
    enumerate_word(HISTORY_FLUSHES);
}

TEST(a_crash_around_compactions_loses_nothing)
{
    enumerate_word(HISTORY_MERGES);
}

TEST(a_crash_around_reopens_loses_nothing)
{
    enumerate_word(HISTORY_REOPENS);
}

TEST(a_crash_while_segments_and_memdbs_change_loses_nothing)
{
    enumerate_word(HISTORY_SEGMENTS);
}

TEST(a_crash_around_a_checkpoint_spares_both_stores)
{
    enumerate_word(HISTORY_CHECKPOINT);
}

TEST(a_crash_around_compactions_of_a_range_loses_nothing)
{
    enumerate_word(HISTORY_RANGES);
}

TEST(a_crash_around_range_deletes_loses_nothing_and_brings_nothing_back)
{
    enumerate_word(HISTORY_CUTS);
}

TEST(a_crash_around_databases_that_change_places_or_are_emptied_leaves_all_or_nothing)
{
    enumerate_word(HISTORY_DATABASES);
}

TEST(a_crash_among_entries_that_expire_keeps_each_until_its_time_and_not_longer)
{
    enumerate_word(HISTORY_EXPIRIES);
}

TEST(a_crash_around_writes_that_depend_on_what_is_there_leaves_them_whole_or_absent)
{
    enumerate_word(HISTORY_CONDITIONS);
}

/* Snapshots make merges keep dead entries; when they are gone an idle store rewrites the tables. */
TEST(a_crash_while_dead_entries_are_cleaned_away_loses_nothing)
{
    static struct history h;

    history_init(&h, HISTORY_PINNED);
    h.options.compact_interval_ms = 1;
    h.options.tier_runs = 2;
    enumerate(&h);
}

/* At which change an undisturbed run writes its manifest anew; 0: it does not. */
static uint64_t when_the_manifest_is_new(const struct history *h)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db = NULL;
    struct quern_error err = {0};
    uint64_t at = 0;
    unsigned n = 0;

    sim_set_wall_ms(sim, HISTORY_BEGAN_MS);
    if (!EXPECT(engine_open(sim_os(sim), HISTORY_PATH, &h->options, &db, &err) == QUERN_OK))
        return 0;
    sim_fail(sim, &(struct sim_fault){.ops = SIM_CREATE, .name = "MANIFEST-*", .delay_us = 1});
    for (const char *s = h->steps; *s != '\0' && at == 0; s++) {
        n += history_is_write(*s);
        if (!EXPECT(history_step(&db, sim_os(sim), &h->options, *s, n, h->state, &err) == QUERN_OK))
            break;
        at = sim_fault_hits(sim) != 0 ? sim_op_count_of(sim, SIM_CHANGES) : 0;
    }
    (void)quern_close(db, &err);
    return at;
}

/* The same in a process that ends: the store's threads would be lost in later forks. */
static bool look_for_new_manifest(void *arg, unsigned share)
{
    const struct history *h = arg;

    for (uint64_t at = share == 0 ? when_the_manifest_is_new(h) : 0; at > 0; at--)
        history_tried();
    return true;
}

static uint64_t manifest_change(struct history *h)
{
    uint64_t before = history_count();

    EXPECT(history_in_shares(look_for_new_manifest, h));
    return history_count() - before;
}

/* An edit takes a page, and a manifest of 1 MiB is written anew: that comes near the end. */
TEST(a_crash_while_the_manifest_is_written_anew_loses_nothing)
{
    static char word[2 * MANIFEST_EDITS + 1];
    static struct history h;
    uint64_t at;

    for (size_t i = 0; i < MANIFEST_EDITS; i++)
        memcpy(word + 2 * i, "pf", 2);
    history_init(&h, word);
    h.options.tier_runs = 16;
    at = manifest_change(&h);
    CHECK(at > 40);
    h.first_cut = at - 40;
    h.last_cut = at + 20;
    enumerate(&h);
}

TEST(a_long_mixed_history_survives_crashes)
{
    enumerate_word(HISTORY_LONG);
}

/* The worker settles all the time beside the writer. */
TEST(a_crash_while_the_store_settles_by_itself_loses_nothing)
{
    static struct history h;

    history_init(&h, "bbfbPbfbbfbdfbBbfbbfbDfbbfpsf");
    h.options.compact_interval_ms = 1;
    h.options.flush_interval_ms = 4;
    h.options.tier_runs = 2;
    enumerate(&h);
}

TEST(a_disk_without_mappings_and_direct_writes_is_as_safe)
{
    static struct history h;

    history_init(&h, "pPbfLpBsdLPrpcbb");
    h.mapping = h.direct = false;
    enumerate(&h);
}

TEST(a_disk_without_direct_writes_is_as_safe)
{
    static struct history h;

    history_init(&h, "pPbfLpBsdLPrpcbb");
    h.direct = false;
    enumerate(&h);
}
