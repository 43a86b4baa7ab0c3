/* test_faults.c - each call to the disk fails in turn, once and for ever, and so does each
 * allocation; what was acknowledged stays, and no answer is wrong.
 *
 * The words are those of history.h. A step that fails must say so with a code that fits, and the
 * history goes on with the next; a write that does not hold did not fail, but was refused. What then
 * must hold, `state` being all writes that returned OK:
 *
 *     at once      every read shows `state`, or fails; it never shows anything else
 *     UNKNOWN      a write whose sync failed may be there after a reopen, whole; it is the last,
 *                  since later ones are refused
 *     afterwards   with the fault gone a reopen works, shows `state` (or the UNKNOWN write on top
 *                  of it), verifies, takes writes; all files and all memory were given back
 *     power cut    what was synced is there even if the disk forgets the rest
 *
 * A fault that comes once leaves a store that either takes the next write or says that it is
 * read-only, and why.
 *
 *     FAULT_POINTS=n   the size of the sample, for each history and kind of fault
 *     CRASH_FULL=1     every call instead of a sample
 *     TEST_SEED=n      the same sample again */
#include "history.h"
#include "sim.h"
#include "tap.h"

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE_POINTS 14

/* ---- kinds of faults ---- */

struct kind {
    const char *name;
    struct sim_fault fault; /* ops 0: it hits allocations */
};

/* The disk says OK and does wrong: in tables, which are read again before anything rests on them,
 * and in the manifest, whose next open finds it. A lie in the last record of the log cannot be told
 * from a record that was never written. */
#define TABLES "*.sst*"
#define MANIFEST "MANIFEST-*"

static bool lies(const struct sim_fault *f)
{
    return f->ops != 0 && f->sys_errno == 0 && f->delay_us == 0;
}

/* What is on the disk is wrong, and nobody was told yet. */
static bool may_be_corrupt(const struct sim_fault *f)
{
    return lies(f) && f->ops == SIM_WRITE && strcmp(f->name, MANIFEST) == 0;
}

static const struct kind kinds[] = {
    {"EIO once", {.ops = SIM_ANY, .sys_errno = EIO}},
    {"EIO for ever", {.ops = SIM_ANY, .sys_errno = EIO, .always = true}},
    {"ENOSPC once", {.ops = SIM_CHANGES, .sys_errno = ENOSPC}},
    {"ENOSPC for ever", {.ops = SIM_CHANGES, .sys_errno = ENOSPC, .always = true}},
    {"a write that breaks off", {.ops = SIM_WRITE, .sys_errno = EIO, .part_bytes = 700}},
    {"a write that breaks off on a full disk",
     {.ops = SIM_WRITE, .sys_errno = ENOSPC, .part_bytes = 700}},
    {"a sync that loses what it was to sync",
     {.ops = SIM_SYNC | SIM_DIR_SYNC, .sys_errno = EIO, .drop_dirty = true}},
    {"no memory once", {.ops = 0}},
    {"no memory for ever", {.ops = 0, .always = true}},
    {"a read that breaks off", {.ops = SIM_READ, .sys_errno = EIO, .part_bytes = 100}},
    {"a bit of a table that is read wrongly", {.ops = SIM_READ, .name = TABLES, .flip_bit = true}},
    {"tables that are read wrongly",
     {.ops = SIM_READ, .name = TABLES, .flip_bit = true, .always = true}},
    {"a read of another place of a table", {.ops = SIM_READ, .name = TABLES, .shift_bytes = 512}},
    {"a read of what the disk had before", {.ops = SIM_READ, .name = TABLES, .stale = true}},
    {"a write of a table that is lost", {.ops = SIM_WRITE, .name = TABLES}},
    {"a bit of a table that is written wrongly",
     {.ops = SIM_WRITE, .name = TABLES, .flip_bit = true}},
    {"a write to another place of a table", {.ops = SIM_WRITE, .name = TABLES, .shift_bytes = 512}},
    {"a write of the manifest that is lost", {.ops = SIM_WRITE, .name = MANIFEST}},
    {"a bit of the manifest that is written wrongly",
     {.ops = SIM_WRITE, .name = MANIFEST, .flip_bit = true}},
    {"slow calls", {.ops = SIM_WRITE | SIM_SYNC | SIM_READ, .delay_us = 3000}},
};

static void plant(struct sim *sim, const struct kind *kind, uint64_t nth)
{
    struct sim_fault fault = kind->fault;

    fault.skip = nth;
    if (fault.ops != 0)
        sim_fail(sim, &fault);
    else
        (fault.always ? alloc_fail_after : alloc_fail_once_after)(nth);
}

static void lift(struct sim *sim)
{
    sim_fail_never(sim);
    alloc_fail_never();
}

/* A failure must be one that this fault can cause. */
static bool fits(const struct kind *kind, enum quern_code code)
{
    if (code == QUERN_READ_ONLY)
        return true; /* of an earlier failure */
    if (lies(&kind->fault) && code == QUERN_CORRUPT)
        return true;
    if (kind->fault.ops == 0)
        return code == QUERN_NO_MEMORY || code == QUERN_UNKNOWN;
    if (kind->fault.sys_errno == ENOSPC && code == QUERN_NO_SPACE)
        return true; /* or IO: after a failed sync of the directory nothing rests on it any more */
    return code == QUERN_IO || code == QUERN_UNKNOWN;
}

/* ---- one run ---- */

struct trial {
    const char *word;
    const struct kind *kind;
    struct quern_options options;
    struct sim *sim;
    struct quern *db;
    uint64_t nth, seed;
    unsigned at; /* steps done */
    unsigned issued, accepted, durable;
    struct contents state[HISTORY_WRITES_MAX + 1]; /* after so many accepted writes */
    bool unknown;                                  /* one more write may be there: */
    struct contents unknown_state;
};

static void fail(const struct trial *t, const char *what, const char *why)
{
    tap_fail(__FILE__, __LINE__,
             "%s: %s\n#   history %s, step %u, %s at call %llu; accepted %u of %u, durable %u%s",
             what, why, t->word, t->at, t->kind->name, (unsigned long long)t->nth, t->accepted,
             t->issued, t->durable, t->unknown ? ", one unknown" : "");
}

static void note_write(struct trial *t, char step, enum quern_code code)
{
    struct contents next = t->state[t->accepted];

    if (t->db != NULL) /* some that were refused may have had numbers */
        next.seq = quern_visible_seq(t->db) - (code == QUERN_OK);
    (void)history_apply(step, t->issued, &next);
    if (code == QUERN_OK) {
        t->state[++t->accepted] = next;
    } else if (code == QUERN_UNKNOWN) {
        t->unknown = true;
        t->unknown_state = next;
    }
}

/* Whatever can be read is right. */
static bool reads_are_right(struct trial *t)
{
    struct contents seen, want;
    char wrong[200];

    (void)history_read(t->db, &seen, wrong);
    history_at(&t->state[t->accepted], t->issued, &want);
    for (unsigned k = 0; k < HISTORY_KEYS && wrong[0] == '\0'; k++)
        if (seen.cell[k].n != HISTORY_UNREADABLE &&
            !history_same_cell(&seen.cell[k], &want.cell[k]))
            (void)snprintf(wrong, sizeof(wrong), "key %u is of write %u, not %u", k, seen.cell[k].n,
                           want.cell[k].n);
    if (wrong[0] != '\0')
        fail(t, "a wrong answer", wrong);
    return wrong[0] == '\0';
}

/* After a reopen an UNKNOWN write is there or not: from now on it is known. */
static bool settle_unknown(struct trial *t)
{
    struct contents seen, want;
    char wrong[200];

    if (!t->unknown)
        return true;
    if (history_read(t->db, &seen, wrong) != QUERN_OK || wrong[0] != '\0')
        return true; /* reads fail now: looked at again later */
    t->unknown = false;
    history_at(&t->unknown_state, t->issued, &want);
    if (history_same(&seen, &want))
        t->state[++t->accepted] = t->unknown_state;
    return true;
}

/* All steps, as far as there is a store. False: a promise was broken. */
static bool run_steps(struct trial *t)
{
    struct quern_error err = {0};
    enum quern_code code;

    sim_set_wall_ms(t->sim, HISTORY_BEGAN_MS);
    code = engine_open(sim_os(t->sim), HISTORY_PATH, &t->options, &t->db, &err);
    if (code != QUERN_OK && !fits(t->kind, code)) {
        fail(t, "open fails with a code that does not fit", err.text);
        return false;
    }
    for (const char *s = t->word; *s != '\0' && t->db != NULL; s++) {
        bool write = history_is_write(*s), looks = *s == 'x' || *s == 'X'; /* at a snapshot */

        t->at++;
        t->issued += write;
        sim_set_wall_ms(t->sim, HISTORY_BEGAN_MS + t->issued);
        code = history_step(&t->db, sim_os(t->sim), &t->options, *s, t->issued,
                            &t->state[t->accepted], &err);
        if (write)
            note_write(t, *s, code);
        if (code == QUERN_OK && !looks && (!write || history_is_synced(*s)))
            t->durable = t->accepted;
        if (*s == 'r' && code == QUERN_OK)
            (void)settle_unknown(t);
        if (code == QUERN_OK || code == QUERN_CONFLICT)
            continue;
        if (!fits(t->kind, code) && !(*s == 'k' && code == QUERN_EXISTS)) {
            fail(t, "a step fails with a code that does not fit", err.text);
            return false;
        }
        if (t->db != NULL && !reads_are_right(t))
            return false;
    }
    return true;
}

static enum quern_code put_and_delete(struct quern *db, struct quern_error *err)
{
    enum quern_code code = quern_put(db, QUERN_STR("zz-still"), QUERN_STR("1"), NULL, err);

    return code == QUERN_OK ? quern_delete(db, QUERN_STR("zz-still"), NULL, err) : code;
}

/* The fault has come and gone: the store takes a write, or says why not. What a merge met may be
 * told to the first write that rests on the same thing: then the next one is refused. */
static bool usable_or_says_why(struct trial *t)
{
    struct quern_error err = {0};
    struct quern_stats stats;
    enum quern_code code = QUERN_OK;

    if (t->db == NULL || t->kind->fault.always)
        return true;
    for (int tries = 0; tries < 1000;
         tries++) { /* what failed for want of something is tried again */
        code = put_and_delete(t->db, &err);
        if (code != QUERN_NO_SPACE && code != QUERN_NO_MEMORY)
            break;
        thread_sleep_ns(UINT64_C(20000000));
    }
    if (code == QUERN_IO)
        code = put_and_delete(t->db, &err);
    quern_stats(t->db, &stats);
    if (code == QUERN_OK || (code == QUERN_READ_ONLY && stats.failure[0] != '\0'))
        return true;
    fail(t, "neither usable nor read-only", err.text);
    return false;
}

/* ---- afterwards ---- */

static bool shows(struct trial *t, struct quern *db, unsigned low, unsigned tick, const char *when)
{
    struct contents seen, want;
    char wrong[200];

    if (history_read(db, &seen, wrong) != QUERN_OK && wrong[0] == '\0')
        (void)snprintf(wrong, sizeof(wrong), "a key cannot be read");
    if (wrong[0] != '\0') {
        fail(t, when, wrong);
        return false;
    }
    history_at(&t->unknown_state, tick, &want);
    if (t->unknown && history_same(&seen, &want))
        return true;
    for (unsigned p = low; p <= t->accepted; p++) {
        history_at(&t->state[p], tick, &want);
        if (history_same(&seen, &want))
            return true;
    }
    fail(t, when, "the contents are none that were written");
    return false;
}

static bool works(struct trial *t, struct quern *db)
{
    struct quern_error err = {0};

    if (history_goes_on(db, &err) == QUERN_OK)
        return true;
    fail(t, "the store does not work afterwards", err.text);
    return false;
}

/* On a disk without faults. */
static bool reopen(struct trial *t, struct sim *disk, unsigned low, const char *when)
{
    struct quern *db = NULL;
    struct quern_error err = {0};
    unsigned tick = t->issued + (unsigned)((t->seed + t->nth) % 4);
    bool fine;

    sim_set_wall_ms(disk, HISTORY_BEGAN_MS + tick);
    if (engine_open(sim_os(disk), HISTORY_PATH, &t->options, &db, &err)) {
        if (err.code == QUERN_CORRUPT && may_be_corrupt(&t->kind->fault))
            return true;
        fail(t, when, err.text);
        return false;
    }
    fine = shows(t, db, low, tick, when) && works(t, db);
    if (quern_close(db, &err) != QUERN_OK && fine) {
        fail(t, when, err.text);
        fine = false;
    }
    return fine;
}

static bool run(struct trial *t)
{
    struct sim *cut OWNED(sim_free) = NULL, *killed OWNED(sim_free) = NULL;
    struct quern_error err = {0};
    enum quern_code closed = QUERN_OK;
    bool open, fine;

    plant(t->sim, t->kind, t->nth);
    fine = run_steps(t);
    if (fine && t->db != NULL && !t->kind->fault.always)
        lift(t->sim); /* if it has not come yet, it does not come any more */
    fine = fine && usable_or_says_why(t);
    open = t->db != NULL;
    history_let_go();
    if (open)
        closed = quern_close(GIVE(t->db), &err);
    lift(t->sim);
    if (fine && closed != QUERN_OK && !fits(t->kind, closed)) {
        fail(t, "close fails with a code that does not fit", err.text);
        fine = false;
    }
    if (open && closed == QUERN_OK)
        t->durable = t->accepted;
    if (fine) {
        cut = sim_crash(t->sim, t->seed, SIM_DROP_ALL);
        killed = sim_crash(t->sim, t->seed, SIM_KEEP_ALL);
        fine = reopen(t, cut, t->durable, "after a power cut") &&
               reopen(t, killed, t->accepted, "after a reopen");
    }
    return fine;
}

/* ---- enumeration ---- */

struct job {
    const char *word;
    const struct kind *kind;
};

static bool try_point(const struct job *job, uint64_t nth, uint64_t seed)
{
    static struct trial t;
    struct sim *sim OWNED(sim_free) = sim_new(seed);

    memset(&t, 0, sizeof(t));
    t.word = job->word;
    t.kind = job->kind;
    t.options = history_options();
    t.sim = sim;
    t.nth = nth;
    t.seed = seed;
    history_tried();
    return run(&t);
}

/* How many calls of this kind an undisturbed run makes. */
static uint64_t calls_of(const struct job *job)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_options options = history_options();
    struct quern *db = NULL;
    struct quern_error err;
    struct contents now = {0};
    unsigned n = 0;

    if (job->kind->fault.ops == 0)
        return 600; /* allocations are not counted; about so many */
    /* counts those that match, and does no harm */
    sim_fail(sim, &(struct sim_fault){.ops = job->kind->fault.ops,
                                      .name = job->kind->fault.name,
                                      .always = true,
                                      .delay_us = 1});
    sim_set_wall_ms(sim, HISTORY_BEGAN_MS);
    if (engine_open(sim_os(sim), HISTORY_PATH, &options, &db, &err))
        return 0;
    for (const char *s = job->word; *s != '\0' && db != NULL; s++) {
        n += history_is_write(*s);
        sim_set_wall_ms(sim, HISTORY_BEGAN_MS + n);
        (void)history_step(&db, sim_os(sim), &options, *s, n, &now, &err);
        if (history_is_write(*s))
            (void)history_apply(*s, n, &now);
    }
    (void)quern_close(db, &err);
    return sim_fault_hits(sim);
}

static bool try_kind(const struct job *job)
{
    uint64_t points = history_env("FAULT_POINTS", SAMPLE_POINTS), seed = tap_seed();
    uint64_t calls = calls_of(job), stride;

    stride = history_env("CRASH_FULL", 0) != 0 || calls < points ? 1 : calls / points;
    for (uint64_t nth = seed % stride; nth < calls; nth += stride)
        if (!try_point(job, nth, seed))
            return false;
    return true;
}

/* Every HISTORY_SHARES-th kind, whole: so the calls of each are counted once. */
static bool try_share(void *arg, unsigned share)
{
    bool fine = true;

    for (size_t i = share; i < ARRAY_LEN(kinds); i += HISTORY_SHARES)
        fine = try_kind(&(struct job){arg, &kinds[i]}) && fine;
    return fine;
}

static void enumerate(const char *word)
{
    uint64_t before = history_count();

    (void)tap_seed(); /* drawn before the fork, so that all shares have the same */
    EXPECT(history_in_shares(try_share, (void *)(uintptr_t)word));
    tap_note("stress: faults %" PRIu64, history_count() - before);
}

TEST(a_fault_among_synced_and_plain_writes_loses_nothing)
{
    enumerate(HISTORY_SYNCS);
}

TEST(a_fault_around_flushes_loses_nothing)
{
    enumerate(HISTORY_FLUSHES);
}

TEST(a_fault_around_merges_loses_nothing)
{
    enumerate(HISTORY_MERGES);
}

TEST(a_fault_around_reopens_loses_nothing)
{
    enumerate(HISTORY_REOPENS);
}

TEST(a_fault_while_segments_and_memdbs_change_loses_nothing)
{
    enumerate(HISTORY_SEGMENTS);
}

TEST(a_fault_around_a_checkpoint_loses_nothing)
{
    enumerate(HISTORY_CHECKPOINT);
}

TEST(a_fault_around_range_deletes_loses_nothing_and_brings_nothing_back)
{
    enumerate(HISTORY_CUTS);
}

TEST(a_fault_around_databases_that_change_places_or_are_emptied_leaves_all_or_nothing)
{
    enumerate(HISTORY_DATABASES);
}

TEST(a_fault_among_entries_that_expire_keeps_each_until_its_time_and_not_longer)
{
    enumerate(HISTORY_EXPIRIES);
}

TEST(a_fault_around_writes_that_depend_on_what_is_there_leaves_them_whole_or_absent)
{
    enumerate(HISTORY_CONDITIONS);
}

TEST(a_fault_in_a_long_mixed_history_loses_nothing)
{
    enumerate(HISTORY_LONG);
}
