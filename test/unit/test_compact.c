/* test_compact.c - which tables are merged (pick.c), on a store that is only a drawing; and the
 * merge itself (merge.c), on small tables. */
#include "compact/compact.h"
#include "sim.h"
#include "tap.h"

#include "base/rcu.h"

#include <quern/quern.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct quern_error err;

/* ---- a store as a drawing: tables without files, each key one digit pair with a number ---- */

#define KEYS 60
#define TABLES_MAX 4000
#define TABLE_KEYS 8 /* at most, of a table that a merge makes */

struct cell {
    quern_seq seq; /* 0: the table has no such key */
    bool gone;     /* a tombstone */
};

struct drawing {
    struct sim *sim;
    struct os_dir *dir;
    struct manifest *manifest;
    struct compact_jobs jobs;
    struct compact_config config;
    struct compact_need need;
    uint64_t entry_bytes;
    struct cell table[TABLES_MAX][KEYS]; /* by number */
    struct cell now[KEYS];               /* what a reader must see */
    quern_seq seq;
    uint64_t random;
    unsigned moves, merges;
    unsigned bottom_weight; /* bytes of the bottom run are so many times more; 0: once */
};

static struct quern_slice name_of(char room[4], unsigned key)
{
    room[0] = (char)('0' + key / 10);
    room[1] = (char)('0' + key % 10);
    return slice_of(room, 2);
}

static unsigned key_of(struct quern_slice name)
{
    const char *digits = name.data;

    return (unsigned)(digits[0] - '0') * 10 + (unsigned)(digits[1] - '0');
}

/* Keys below this number are below `end`, which may be "nn" or "nn" and a zero byte. */
static unsigned bound_of(struct quern_slice end)
{
    return end.len == 0 ? KEYS : key_of(end) + (end.len > 2);
}

static unsigned draw(struct drawing *d, unsigned below)
{
    return (unsigned)(tap_random(&d->random) % below);
}

static struct drawing *drawing_new(void)
{
    struct drawing *d = calloc(1, sizeof(*d));

    d->random = tap_seed();
    d->sim = sim_new(1);
    d->config = (struct compact_config){.tier_runs = 4, .table_bytes = 800, .memdb_bytes = 6000};
    d->need.oldest_pin = UINT64_MAX;
    d->entry_bytes = 100;
    EXPECT(os_dir_open(sim_os(d->sim), "/db", true, &d->dir, &err) == QUERN_OK);
    EXPECT(manifest_create(d->dir, &d->manifest, &err) == QUERN_OK);
    return d;
}

static void drawing_free(struct drawing *d)
{
    compact_jobs_done(&d->jobs);
    manifest_close(d->manifest);
    os_dir_close(d->dir);
    sim_free(d->sim);
    free(d);
}
OWNER(drawing_free, struct drawing *);

static const struct manifest_state *state_of(const struct drawing *d)
{
    return manifest_state(d->manifest);
}

/* A table of the keys from..to-1 of `cells`; the smallest and largest that are there bound it. */
static bool describe(struct drawing *d, const struct cell *cells, unsigned from, unsigned to,
                     struct manifest_table *out, uint32_t tier, uint64_t run_no)
{
    uint64_t no = manifest_take_file_no(d->manifest);
    unsigned first = KEYS, last = 0;
    char name[4];

    if (!EXPECT(no < TABLES_MAX))
        return false;
    *out = (struct manifest_table){.tier = tier, .run_no = run_no};
    out->meta = (struct table_meta){.table_no = no, .unique_id = no, .seq_min = UINT64_MAX};
    for (unsigned k = from; k < to; k++) {
        d->table[no][k] = cells[k];
        if (cells[k].seq == 0)
            continue;
        if (first == KEYS)
            first = k;
        last = k;
        out->meta.entry_count++;
        out->meta.tombstone_count += cells[k].gone;
        out->meta.file_bytes += d->entry_bytes;
        out->meta.raw_bytes += d->entry_bytes;
        if (cells[k].seq > out->meta.seq_max)
            out->meta.seq_max = cells[k].seq;
        if (cells[k].seq < out->meta.seq_min)
            out->meta.seq_min = cells[k].seq;
    }
    if (tier == TIER_BOTTOM && d->bottom_weight != 0)
        out->meta.file_bytes *= d->bottom_weight;
    return buf_append(&out->meta.smallest, name_of(name, first).data, 2, &err) == QUERN_OK &&
           buf_append(&out->meta.largest, name_of(name, last).data, 2, &err) == QUERN_OK;
}

/* Tables of at most TABLE_KEYS keys each out of `cells`; returns how many. */
static size_t cut(struct drawing *d, const struct cell *cells, struct manifest_table *list,
                  uint32_t tier, uint64_t run_no)
{
    size_t count = 0;
    unsigned from = 0, held = 0;

    for (unsigned k = 0; k < KEYS; k++) {
        held += cells[k].seq != 0;
        if (held == 0 || (held < TABLE_KEYS && k + 1 < KEYS))
            continue;
        if (!describe(d, cells, from, k + 1, &list[count], tier, run_no))
            return count;
        count++;
        from = k + 1;
        held = 0;
    }
    return count;
}

static void free_list(struct manifest_table *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        table_meta_done(&list[i].meta);
}

/* A run of tier 0 with these entries. */
static bool add_run(struct drawing *d, const struct cell *cells)
{
    struct manifest_table list[KEYS];
    struct manifest_edit edit = {.add = list};
    enum quern_code code;

    edit.add_count = cut(d, cells, list, 0, manifest_take_file_no(d->manifest));
    code = manifest_apply(d->manifest, &edit, &err);
    free_list(list, edit.add_count);
    return EXPECT(code == QUERN_OK);
}

/* A flush: some keys of a stretch, overwritten or deleted. */
static bool flush(struct drawing *d)
{
    struct cell cells[KEYS] = {{0, false}};
    unsigned from = draw(d, KEYS), len = 1 + draw(d, KEYS - from);

    for (unsigned n = 1 + draw(d, 20); n > 0; n--) {
        unsigned k = from + draw(d, len);

        cells[k] = d->now[k] = (struct cell){++d->seq, draw(d, 4) == 0};
    }
    return add_run(d, cells);
}

/* A flush of the keys from..to-1, all put or all deleted. */
static bool flush_range(struct drawing *d, unsigned from, unsigned to, bool gone)
{
    struct cell cells[KEYS] = {{0, false}};

    for (unsigned k = from; k < to; k++)
        cells[k] = d->now[k] = (struct cell){++d->seq, gone};
    return add_run(d, cells);
}

/* The newer of two tables by the rules of manifest.h. */
static bool newer(const struct manifest_table *a, const struct manifest_table *b)
{
    if ((a->tier == TIER_BOTTOM) != (b->tier == TIER_BOTTOM))
        return b->tier == TIER_BOTTOM;
    return a->run_no > b->run_no;
}

static bool may_show(const struct manifest_table *t, unsigned key)
{
    return key >= key_of(buf_slice(&t->meta.smallest)) &&
           key <= key_of(buf_slice(&t->meta.largest));
}

/* What the tables in `list` (all when NULL) hold for a key: the newest run that has it decides. */
static struct cell look_up(const struct drawing *d, const size_t *list, size_t count, unsigned key)
{
    const struct manifest_state *state = state_of(d);
    const struct manifest_table *best = NULL;

    for (size_t i = 0; i < (list != NULL ? count : state->table_count); i++) {
        const struct manifest_table *t = &state->tables[list != NULL ? list[i] : i];

        if (may_show(t, key) && d->table[t->meta.table_no][key].seq != 0 &&
            (best == NULL || newer(t, best)))
            best = t;
    }
    return best != NULL ? d->table[best->meta.table_no][key] : (struct cell){0, true};
}

/* A reader sees what was written last. */
static bool reads_right(const struct drawing *d, const char *when)
{
    for (unsigned k = 0; k < KEYS; k++) {
        struct cell got = look_up(d, NULL, 0, k), want = d->now[k];
        bool absent = want.seq == 0 || want.gone;

        if (absent ? got.gone : got.seq == want.seq && !got.gone)
            continue;
        tap_fail(__FILE__, __LINE__, "%s: key %u shows write %llu, not %llu", when, k,
                 (unsigned long long)got.seq, (unsigned long long)want.seq);
        return false;
    }
    return true;
}

/* Carry out a slice as the engine does: one edit. */
static bool merge(struct drawing *d, const struct compact_job *job,
                  const struct compact_slice *slice)
{
    const struct manifest_state *state = state_of(d);
    struct quern_slice end = buf_slice(&slice->end);
    struct cell cells[KEYS] = {{0, false}};
    struct manifest_table list[KEYS];
    struct manifest_trim trim[KEYS * 4];
    uint64_t remove[KEYS * 4];
    struct manifest_edit edit = {.remove = remove, .add = list, .trim = trim};
    enum quern_code code;

    for (unsigned k = key_of(slice->start); k < bound_of(end); k++) {
        cells[k] = look_up(d, slice->table, slice->table_count, k);
        if (cells[k].gone && job->target_tier == TIER_BOTTOM && cells[k].seq <= d->need.oldest_pin)
            cells[k].seq = 0;
    }
    for (size_t i = 0; i < slice->table_count; i++) {
        const struct table_meta *meta = &state->tables[slice->table[i]].meta;

        if (end.len != 0 && key_compare(buf_slice(&meta->largest), end) >= 0)
            trim[edit.trim_count++] = (struct manifest_trim){meta->table_no, end};
        else
            remove[edit.remove_count++] = meta->table_no;
    }
    edit.add_count = cut(d, cells, list, job->target_tier, job->target_run);
    code = manifest_apply(d->manifest, &edit, &err);
    free_list(list, edit.add_count);
    d->merges++;
    if (code != QUERN_OK)
        tap_fail(__FILE__, __LINE__, "merge: %s", err.text);
    return code == QUERN_OK;
}

static bool move(struct drawing *d, const struct compact_job *job,
                 const struct compact_slice *slice)
{
    const struct manifest_state *state = state_of(d);
    struct manifest_table list[KEYS * 4];
    uint64_t remove[KEYS * 4];
    struct manifest_edit edit = {.remove = remove,
                                 .remove_count = slice->table_count,
                                 .add = list,
                                 .add_count = slice->table_count};

    for (size_t i = 0; i < slice->table_count; i++) {
        list[i] = state->tables[slice->table[i]];
        list[i].tier = job->target_tier;
        list[i].run_no = job->target_run;
        remove[i] = list[i].meta.table_no;
    }
    d->moves++;
    if (manifest_apply(d->manifest, &edit, &err) == QUERN_OK)
        return true;
    tap_fail(__FILE__, __LINE__, "move: %s", err.text);
    return false;
}

/* One slice of a job. */
static bool step(struct drawing *d, struct compact_job *job)
{
    struct compact_slice slice;
    bool fine;

    if (!EXPECT(compact_next_slice(state_of(d), job, &d->config, &slice, &err) == QUERN_OK))
        return false;
    if (slice.done) {
        job->active = false;
        compact_slice_done(&slice);
        return true;
    }
    fine = EXPECT(slice.table_count != 0) &&
           (slice.move ? move(d, job, &slice) : merge(d, job, &slice));
    buf_clear(&job->position);
    if (slice.end.len == 0)
        job->active = false;
    else
        fine = fine && buf_append(&job->position, slice.end.data, slice.end.len, &err) == QUERN_OK;
    compact_slice_done(&slice);
    return fine && reads_right(d, "after a slice");
}

static struct compact_job *pick(struct drawing *d, enum compact_urge urge)
{
    d->need.urge = urge;
    return compact_pick(state_of(d), &d->jobs, &d->config, &d->need, d->manifest);
}

static size_t count_runs(const struct drawing *d, uint32_t tier)
{
    const struct manifest_state *state = state_of(d);
    size_t runs = 0;

    for (size_t i = 0; i < state->table_count; i++)
        runs += state->tables[i].tier == tier &&
                (i == 0 || state->tables[i - 1].tier != tier ||
                 state->tables[i - 1].run_no != state->tables[i].run_no);
    return runs;
}

/* Every job ends: far fewer steps than this are needed for so few tables. */
static bool work(struct drawing *d, enum compact_urge urge)
{
    struct compact_job *job;

    for (int i = 0; (job = pick(d, urge)) != NULL; i++)
        if (!EXPECT(i < 500) || !step(d, job))
            return false;
    return true;
}

/* Adds what was merged and moved to these. */
static void any_order(uint64_t seed, unsigned *merges, unsigned *moves)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    d->random = seed;
    for (int i = 0; i < 300; i++) {
        struct compact_job *job;

        CHECK(flush(d));
        CHECK(reads_right(d, "after a flush"));
        d->need.oldest_pin = draw(d, 3) == 0 ? d->seq / 2 : UINT64_MAX;
        d->need.read_bytes = draw(d, 2 * KEYS) * d->entry_bytes;
        for (unsigned n = draw(d, 4); n > 0; n--) {
            job = pick(d, draw(d, 2) ? COMPACT_NORMAL : COMPACT_LOOK);
            if (job != NULL)
                CHECK(step(d, job));
        }
        if (draw(d, 20) == 0) { /* a restart forgets the jobs, or an error ends one */
            compact_jobs_done(&d->jobs);
            memset(&d->jobs, 0, sizeof(d->jobs));
        }
        if (draw(d, 30) == 0)
            CHECK(work(d, COMPACT_IDLE));
    }
    CHECK(work(d, COMPACT_IDLE));
    for (uint32_t tier = 0; tier < TIER_BOTTOM; tier++)
        CHECK(count_runs(d, tier) < d->config.tier_runs);
    *merges += d->merges;
    *moves += d->moves;
}

/* Many a store has nothing to move: several stores. */
TEST(whatever_order_flushes_and_slices_come_in_a_reader_sees_the_newest)
{
    uint64_t seed = tap_seed();
    unsigned merges = 0, moves = 0;

    for (uint64_t i = 0; i < 8; i++)
        any_order(seed + i * 7919, &merges, &moves);
    tap_note("%u merges, %u moves", merges, moves);
    CHECK(merges != 0 && moves != 0); /* else this tested less than it says */
}

/* What is left of a job that a restart forgot is half in its target run and half in its sources.
 * With a large bottom run, so that upper tiers are merged among themselves. */
static void restart_in_jobs(uint64_t seed)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    d->random = seed;
    d->config.tier_runs = 2;
    d->config.table_bytes = 200;
    d->bottom_weight = 100;
    for (int i = 0; i < 20; i++)
        CHECK(flush(d));
    CHECK(work(d, COMPACT_IDLE));
    for (int i = 0; i < 250; i++) {
        struct compact_job *job;

        CHECK(flush(d));
        for (unsigned n = draw(d, 8); n > 0 && (job = pick(d, COMPACT_NORMAL)) != NULL; n--)
            CHECK(step(d, job));
        if (draw(d, 3) == 0) {
            compact_jobs_done(&d->jobs);
            memset(&d->jobs, 0, sizeof(d->jobs));
        }
    }
    CHECK(work(d, COMPACT_IDLE));
    for (uint32_t tier = 0; tier < TIER_BOTTOM; tier++)
        CHECK(count_runs(d, tier) < d->config.tier_runs);
}

/* The order that goes wrong needs luck: several stores. */
TEST(a_restart_in_the_middle_of_a_job_shows_no_older_value)
{
    uint64_t seed = tap_seed();

    for (uint64_t i = 0; i < 30; i++)
        restart_in_jobs(seed + i * 7919);
}

TEST(an_idle_small_store_settles_into_one_run_without_tombstones)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    for (int i = 0; i < 30; i++)
        CHECK(flush(d));
    CHECK(work(d, COMPACT_IDLE));
    for (uint32_t tier = 0; tier < TIER_BOTTOM; tier++)
        CHECK_EQ(count_runs(d, tier), 0);
    CHECK(count_runs(d, TIER_BOTTOM) <= 1);
    for (size_t i = 0; i < state_of(d)->table_count; i++)
        CHECK_EQ(state_of(d)->tables[i].meta.tombstone_count, 0);
    CHECK(pick(d, COMPACT_IDLE) == NULL);
}

TEST(fewer_runs_than_a_tier_may_have_are_left_alone)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    CHECK(pick(d, COMPACT_NORMAL) == NULL);
    CHECK(pick(d, COMPACT_IDLE) == NULL);
    for (uint32_t i = 1; i < d->config.tier_runs; i++) {
        CHECK(flush_range(d, 3 * i, 4 * i, false));
        CHECK(pick(d, COMPACT_NORMAL) == NULL);
    }
    CHECK(flush_range(d, 0, 5, false));
    CHECK(pick(d, COMPACT_NORMAL) != NULL);
}

/* Bytes and runs say little here: what deletes is small and few, what it deletes is not. */
TEST(when_a_quarter_of_the_entries_delete_others_they_are_merged_into_the_bottom_at_once)
{
    for (int held = 0; held < 3; held++) {
        struct drawing *d OWNED(drawing_free) = drawing_new();
        unsigned most = held == 2 ? 19 : 20; /* of 80 entries */
        struct compact_job *job;

        CHECK(flush_range(d, 0, KEYS, false));
        CHECK(work(d, COMPACT_IDLE));
        CHECK_EQ(count_runs(d, TIER_BOTTOM), 1);
        for (unsigned run = 0; run < 2; run++) {
            CHECK(pick(d, COMPACT_LOOK) == NULL);
            CHECK(flush_range(d, 10 * run, run < 1 ? 10 * run + 10 : most, true));
        }
        if (held == 1) /* they may not go: then nothing is gained */
            d->need.oldest_pin = d->seq - 20;
        job = pick(d, COMPACT_NORMAL);
        CHECK((job != NULL) == (held == 0));
        if (job != NULL)
            CHECK_EQ(job->target_tier, TIER_BOTTOM);
        CHECK(work(d, COMPACT_NORMAL));
        CHECK(reads_right(d, "after the merges"));
        if (held == 0)
            for (size_t i = 0; i < state_of(d)->table_count; i++)
                CHECK_EQ(state_of(d)->tables[i].meta.tombstone_count, 0);
    }
}

TEST(dead_entries_of_the_bottom_go_once_no_snapshot_holds_them_and_not_before)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();
    struct compact_job *job;
    bool wait;
    unsigned merges;

    CHECK(flush_range(d, 0, KEYS, false));
    d->need.oldest_pin = d->seq;
    CHECK(flush_range(d, 10, 40, true));
    job = compact_pick_range(state_of(d), &d->jobs, &d->need, slice_of("", 0), slice_of("", 0),
                             d->manifest, &wait);
    while (job->active)
        CHECK(step(d, job));
    merges = d->merges;
    CHECK(pick(d, COMPACT_LOOK) == NULL);
    CHECK(pick(d, COMPACT_IDLE) == NULL);
    d->need.oldest_pin = UINT64_MAX;
    CHECK(pick(d, COMPACT_NORMAL) == NULL); /* it can wait until the next look */
    CHECK(work(d, COMPACT_LOOK));
    CHECK(d->merges > merges);
    CHECK_EQ(count_runs(d, TIER_BOTTOM), 1);
    for (size_t i = 0; i < state_of(d)->table_count; i++) {
        const struct table_meta *meta = &state_of(d)->tables[i].meta;

        CHECK(meta->tombstone_count * 4 < meta->entry_count);
    }
    CHECK(pick(d, COMPACT_LOOK) == NULL);
}

static uint64_t upper_bytes(const struct drawing *d)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < state_of(d)->table_count; i++)
        if (state_of(d)->tables[i].tier != TIER_BOTTOM)
            bytes += state_of(d)->tables[i].meta.file_bytes;
    return bytes;
}

/* Some keys of the whole range again. */
static bool overwrite(struct drawing *d, unsigned keys)
{
    struct cell cells[KEYS] = {{0, false}};

    while (keys > 0) {
        unsigned k = draw(d, KEYS);

        keys -= cells[k].seq == 0;
        cells[k] = d->now[k] = (struct cell){++d->seq, false};
    }
    return add_run(d, cells);
}

/* A store that is overwritten holds its live entries once and a bounded share of dead ones, and no
 * entry is written more often for that than the share allows. */
TEST(the_bottom_is_rewritten_when_the_store_would_outgrow_what_lives_and_not_sooner)
{
    static const unsigned beside[] = {0, 21, 30, 60}, due[] = {30, 15, 15, 15};

    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        struct drawing *d OWNED(drawing_free) = drawing_new();
        struct compact_job *job;

        d->config.tier_runs = 2;
        d->config.beside_bytes = beside[i] * d->entry_bytes; /* 60 of 96 are the bottom's */
        CHECK(flush_range(d, 0, KEYS, false));
        CHECK(work(d, COMPACT_IDLE));
        for (unsigned flushes = 0; flushes < 40; flushes++) {
            job = pick(d, COMPACT_NORMAL);
            CHECK_EQ(job != NULL, upper_bytes(d) >= due[i] * d->entry_bytes);
            if (job != NULL) {
                CHECK_EQ(job->target_tier, TIER_BOTTOM);
                CHECK(work(d, COMPACT_NORMAL));
                CHECK_EQ(upper_bytes(d), 0);
            }
            CHECK(overwrite(d, 8));
        }
    }
}

/* With so many runs in sight that reads would suffer, they are merged among themselves first. */
TEST(runs_wait_for_the_bottom_only_while_they_are_few)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    d->bottom_weight = 4;
    CHECK(flush_range(d, 0, KEYS, false));
    CHECK(flush_range(d, 0, KEYS, false)); /* two, so that they are merged and not moved */
    CHECK(work(d, COMPACT_IDLE));          /* a quarter of it would be twelve runs of 5 */
    for (unsigned flushes = 1; flushes <= 4; flushes++) {
        CHECK(pick(d, COMPACT_NORMAL) == NULL);
        CHECK(overwrite(d, 5));
    }
    CHECK(pick(d, COMPACT_NORMAL) != NULL);
    CHECK_EQ(pick(d, COMPACT_NORMAL)->target_tier, 1);
}

TEST(writers_are_slowed_by_what_the_worker_left_above_the_bottom_and_by_nothing_less)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    d->config.memdb_bytes = 6 * d->entry_bytes;
    CHECK_EQ(compact_over_bytes(state_of(d), &d->config), 0);
    for (unsigned flushes = 1; flushes <= 8; flushes++) { /* no bottom yet: a MemDB for each run */
        unsigned bytes = 5 * flushes, fine = 4 * 6;

        CHECK(overwrite(d, 5));
        CHECK_EQ(compact_over_bytes(state_of(d), &d->config),
                 bytes > fine ? (bytes - fine) * d->entry_bytes : 0);
    }
    CHECK(flush_range(d, 0, KEYS, false));
    CHECK(work(d, COMPACT_IDLE));
    for (unsigned flushes = 1; flushes <= 8; flushes++) { /* half of the bottom is more */
        unsigned bytes = 5 * flushes, fine = 30;

        CHECK(overwrite(d, 5));
        CHECK_EQ(compact_over_bytes(state_of(d), &d->config),
                 bytes > fine ? (bytes - fine) * d->entry_bytes : 0);
    }
}

/* One large batch makes a run as large as many MemDBs: nothing else may have to be written before
 * the worker begins with what writers wait for. */
TEST(what_slows_writers_is_merged_however_few_the_runs)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    d->config.memdb_bytes = 6 * d->entry_bytes;
    for (unsigned large = 0; large < 3; large++) {
        CHECK(flush_range(d, 0, KEYS, false));
        CHECK(compact_over_bytes(state_of(d), &d->config) != 0);
        CHECK(pick(d, COMPACT_NORMAL) != NULL);
        CHECK(work(d, COMPACT_NORMAL));
        CHECK_EQ(compact_over_bytes(state_of(d), &d->config), 0);
        CHECK(overwrite(d, 5));
        CHECK(pick(d, COMPACT_NORMAL) == NULL); /* what slows nobody waits for more */
        CHECK(work(d, COMPACT_IDLE));
    }
}

/* As soon as crossing runs has cost as much as merging them will, and no sooner. */
TEST(reads_pay_for_the_merge_that_spares_them_runs)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();
    struct compact_job *job;

    d->entry_bytes = 1 << 20; /* so that this is not a small store */
    CHECK(flush_range(d, 0, KEYS, false));
    CHECK(work(d, COMPACT_IDLE));
    d->need.read_bytes = UINT64_MAX;
    CHECK(pick(d, COMPACT_LOOK) == NULL); /* one run, nothing to spare */
    CHECK(flush_range(d, 0, 2, false));
    d->need.read_bytes = 62 * d->entry_bytes - 1;
    CHECK(pick(d, COMPACT_LOOK) == NULL);
    CHECK(flush_range(d, 1, 3, false));
    d->need.read_bytes = 4 * d->entry_bytes - 1;
    CHECK(pick(d, COMPACT_LOOK) == NULL);
    d->need.read_bytes++;
    CHECK(pick(d, COMPACT_NORMAL) == NULL);
    job = pick(d, COMPACT_LOOK);
    CHECK(job != NULL);
    CHECK_EQ(job->target_tier, 1); /* the bottom is much larger: together above it */
    d->need.read_bytes = 0;
    CHECK(work(d, COMPACT_LOOK));
    CHECK_EQ(count_runs(d, 0), 0);
    CHECK_EQ(count_runs(d, 1), 1);
    d->need.read_bytes = 63 * d->entry_bytes; /* enough for that too */
    job = pick(d, COMPACT_LOOK);
    CHECK(job != NULL);
    CHECK_EQ(job->target_tier, TIER_BOTTOM);
    d->need.read_bytes = 0;
    CHECK(work(d, COMPACT_LOOK));
    CHECK_EQ(count_runs(d, 1), 0);
}

TEST(a_users_range_ends_in_the_bottom_run_and_the_rest_reads_as_before)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();

    for (int i = 0; i < 60; i++) {
        char a[4], b[4];
        unsigned from = draw(d, KEYS), to = from + draw(d, KEYS - from);
        struct quern_slice start = name_of(a, from), end = name_of(b, to);
        struct compact_job *job;
        bool wait = false, open = draw(d, 4) == 0;

        for (unsigned n = draw(d, 4); n > 0; n--)
            CHECK(flush(d));
        if (open)
            start.len = end.len = 0;
        if (draw(d, 2) && (job = pick(d, COMPACT_NORMAL)) != NULL)
            CHECK(step(d, job));
        while ((job = compact_pick_range(state_of(d), &d->jobs, &d->need, start, end, d->manifest,
                                         &wait)),
               wait)
            CHECK(step(d, compact_active(&d->jobs)));
        while (job != NULL && job->active)
            CHECK(step(d, job));
        for (size_t t = 0; t < state_of(d)->table_count; t++) {
            const struct manifest_table *table = &state_of(d)->tables[t];
            bool touched = open || (to > from && key_of(buf_slice(&table->meta.largest)) >= from &&
                                    key_of(buf_slice(&table->meta.smallest)) < to);

            if (touched)
                CHECK(table->tier == TIER_BOTTOM && table->meta.tombstone_count == 0);
        }
        CHECK(reads_right(d, "after a range"));
    }
}

/* ---- what expires ---- */

/* One table of the bottom that has the keys 0..7, of which `count` expire from `first` to `last`. */
static bool add_expiring(struct drawing *d, uint64_t count, uint64_t first, uint64_t last)
{
    struct cell cells[KEYS] = {{0, false}};
    struct manifest_table t;
    struct manifest_edit edit = {.add = &t, .add_count = 1};
    bool fine;

    for (unsigned k = 0; k < TABLE_KEYS; k++)
        cells[k] = d->now[k] = (struct cell){++d->seq, false};
    fine = describe(d, cells, 0, TABLE_KEYS, &t, TIER_BOTTOM, 1);
    t.meta.expiring_count = count;
    t.meta.expires_min_ms = first;
    t.meta.expires_max_ms = last;
    fine = fine && manifest_apply(d->manifest, &edit, &err) == QUERN_OK;
    table_meta_done(&t.meta);
    return EXPECT(fine);
}

TEST(a_bottom_table_is_rewritten_when_a_quarter_of_it_has_expired_by_estimate)
{
    for (unsigned idle = 0; idle < 2; idle++) {
        struct drawing *d OWNED(drawing_free) = drawing_new();
        enum compact_urge urge = idle ? COMPACT_IDLE : COMPACT_LOOK;
        struct compact_slice slice;
        struct compact_job *job;

        CHECK(add_expiring(d, TABLE_KEYS, 1000, 2000));
        d->need.horizon_ms = 999;
        CHECK(pick(d, urge) == NULL);
        d->need.horizon_ms = 1000 + 140; /* 1 + 7 * 0.14: not two of eight yet */
        CHECK(pick(d, urge) == NULL);
        d->need.horizon_ms = 1000 + 143;
        CHECK(pick(d, COMPACT_NORMAL) == NULL); /* it can wait until the next look */
        d->need.oldest_pin = 3;
        CHECK(pick(d, urge) == NULL); /* a tombstone would be left for the pin's sake */
        d->need.oldest_pin = UINT64_MAX;
        job = pick(d, urge);
        CHECK(job != NULL && job->rewrite);
        CHECK_OK(compact_next_slice(state_of(d), job, &d->config, &slice, &err), &err);
        CHECK(!slice.done && !slice.move && slice.table_count == 1);
        compact_slice_done(&slice);
    }
}

TEST(only_a_bottom_table_of_which_all_has_expired_may_go_unread)
{
    struct manifest_table t = {.tier = TIER_BOTTOM};

    t.meta.entry_count = t.meta.expiring_count = 8;
    t.meta.expires_min_ms = 1000;
    t.meta.expires_max_ms = 2000;
    CHECK(!compact_is_expired(&t, 1999));
    CHECK(compact_is_expired(&t, 2000));
    t.tier = TIER_BOTTOM - 1; /* it hides what lies below */
    CHECK(!compact_is_expired(&t, 2000));
    t.tier = TIER_BOTTOM;
    t.meta.expiring_count = 7;
    CHECK(!compact_is_expired(&t, 2000));
}

/* ---- what is cut ---- */

/* A table of keys `from` up to `last`, with numbers 10 to 20. */
static struct manifest_table table_of(char names[2][4], unsigned from, unsigned last)
{
    struct manifest_table t = {.tier = 2};
    struct quern_slice low = name_of(names[0], from), high = name_of(names[1], last);

    t.meta.seq_min = 10;
    t.meta.seq_max = 20;
    t.meta.smallest = (struct buf){.data = (uint8_t *)names[0], .len = low.len};
    t.meta.largest = (struct buf){.data = (uint8_t *)names[1], .len = high.len};
    return t;
}

static struct cuts *cut_of(unsigned from, unsigned to, quern_seq seq, const struct cuts *old)
{
    char names[2][4];
    struct cut one = {name_of(names[0], from), name_of(names[1], to), seq};
    quern_seq all[64];
    struct cuts *c = NULL;

    for (size_t i = 0; i < 64; i++)
        all[i] = i; /* everything is told apart */
    if (cuts_new(old, &one, 1, (struct cut_pins){all, 64}, &c, &err))
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return c;
}

TEST(a_table_goes_unread_that_lies_in_newer_cuts_and_is_seen_by_nobody_without_them)
{
    struct cuts *one OWNED(cuts_unref) = cut_of(5, 20, 30, NULL);
    struct cuts *two OWNED(cuts_unref) = cut_of(20, 30, 25, one);
    struct cuts *old OWNED(cuts_unref) = cut_of(5, 30, 20, NULL);
    struct cut_pins none = {NULL, 0};
    quern_seq pin;
    struct cut_pins pinned = {&pin, 1};
    char names[2][4];
    struct manifest_table t = table_of(names, 5, 19);

    CHECK(!compact_is_cut(&t, NULL, none));
    CHECK(compact_is_cut(&t, one, none));
    CHECK(!compact_is_cut(&t, old, none)); /* not newer than all it has */
    for (pin = 5; pin < 35; pin++) /* one below sees nothing of it, one at 30 sees the cut */
        CHECK_EQ(compact_is_cut(&t, one, pinned), pin < 10 || pin >= 30);
    t = table_of(names, 5, 20);
    CHECK(!compact_is_cut(&t, one, none));
    CHECK(compact_is_cut(&t, two, none)); /* in two that meet */
    t = table_of(names, 4, 19);
    CHECK(!compact_is_cut(&t, two, none));
    t = table_of(names, 10, 30);
    CHECK(!compact_is_cut(&t, two, none));
}

TEST(a_cut_lives_while_something_older_may_be_in_its_range)
{
    struct cuts *one OWNED(cuts_unref) = cut_of(5, 20, 15, NULL), *left = NULL;
    struct manifest_state state = {.table_count = 0};
    char names[2][4];
    struct manifest_table t = table_of(names, 0, 5);

    CHECK_OK(compact_live_cuts(&state, NULL, 0, one, &left, &err), &err);
    CHECK(left == NULL);
    CHECK_OK(compact_live_cuts(&state, &t, 1, one, &left, &err), &err);
    CHECK(left != NULL && left->count == 1);
    cuts_unref(left);
    t.cut_seq = 14; /* applied up to the one before */
    CHECK_OK(compact_live_cuts(&state, &t, 1, one, &left, &err), &err);
    CHECK(left != NULL);
    cuts_unref(left);
    t.cut_seq = 15;
    CHECK_OK(compact_live_cuts(&state, &t, 1, one, &left, &err), &err);
    CHECK(left == NULL);
    t.cut_seq = 0;
    t.meta.seq_min = 15; /* all of it is newer */
    CHECK_OK(compact_live_cuts(&state, &t, 1, one, &left, &err), &err);
    CHECK(left == NULL);
    t = table_of(names, 20, 30); /* beside it */
    CHECK_OK(compact_live_cuts(&state, &t, 1, one, &left, &err), &err);
    CHECK(left == NULL);
}

/* What lies in a cut in part is read when the store is idle, or at a look when there are many cuts. */
TEST(what_cuts_hide_is_cleared_up_once_nobody_sees_it)
{
    struct drawing *d OWNED(drawing_free) = drawing_new();
    struct manifest_edit edit = {.set_cuts = true};
    struct cuts *one OWNED(cuts_unref) = NULL;
    struct compact_slice slice;
    struct compact_job *job;

    CHECK(add_expiring(d, 0, 0, 0));
    one = cut_of(3, 30, ++d->seq, NULL);
    edit.cuts = one;
    CHECK_OK(manifest_apply(d->manifest, &edit, &err), &err);
    d->need.oldest_pin = d->seq - 1;
    CHECK(pick(d, COMPACT_IDLE) == NULL);
    d->need.oldest_pin = d->seq;
    CHECK(pick(d, COMPACT_NORMAL) == NULL);
    CHECK(pick(d, COMPACT_LOOK) == NULL);
    job = pick(d, COMPACT_IDLE);
    CHECK(job != NULL && job->rewrite);
    CHECK_OK(compact_next_slice(state_of(d), job, &d->config, &slice, &err), &err);
    CHECK(!slice.done && !slice.move && slice.table_count == 1);
    compact_slice_done(&slice);
}

/* ---- the merge ---- */

#define VERSIONS_MAX 200
#define MERGE_KEYS 12
#define LATEST_MS 40 /* expiries are not later */

struct list_iter {
    struct iter base;
    const struct entry *entries;
    size_t count, at;
    size_t fail_at; /* an error instead of this entry */
    bool lies;      /* of the last entry's hash, if that is asked for */
};

static void list_show(struct list_iter *l)
{
    l->base.valid = l->at < l->count && l->at != l->fail_at;
    if (l->at == l->fail_at)
        (void)err_set(&l->base.err, QUERN_CORRUPT, "a bad block");
    if (l->base.valid)
        l->base.at = l->entries[l->at];
}

static void list_next(struct iter *it)
{
    struct list_iter *l = (struct list_iter *)it;

    l->at++;
    list_show(l);
}

static const struct iter_ops list_ops = {.next = list_next};

struct versions {
    struct entry entry[VERSIONS_MAX];
    size_t count;
    char name[MERGE_KEYS][4];
    char value[VERSIONS_MAX][32];
    uint64_t random;
};

/* Some versions of some keys, in order. */
static void versions_draw(struct versions *v)
{
    v->count = 0;
    for (unsigned k = 0; k < MERGE_KEYS; k++) {
        quern_seq seq = 60;

        for (unsigned n = (unsigned)(tap_random(&v->random) % 8); n > 0 && seq > 12; n--) {
            struct entry *e = &v->entry[v->count];

            seq -= 1 + tap_random(&v->random) % 12;
            *e = (struct entry){.key = name_of(v->name[k], k), .seq = seq, .kind = ENTRY_PUT};
            if (tap_random(&v->random) % 3 == 0) {
                e->kind = ENTRY_DELETE;
            } else {
                (void)snprintf(v->value[v->count], 32, "%u-%llu", k, (unsigned long long)seq);
                e->value = QUERN_STR(v->value[v->count]);
                if (tap_random(&v->random) % 3 == 0)
                    e->expires_ms = 1 + tap_random(&v->random) % LATEST_MS;
            }
            v->count++;
        }
    }
}

struct bench {
    struct sim *sim;
    struct os_dir *dir;
    struct manifest *numbers;
    struct sst_cache *cache;
};

static void bench_open(struct bench *b)
{
    b->sim = sim_new(1);
    EXPECT(os_dir_open(sim_os(b->sim), "/db", true, &b->dir, &err) == QUERN_OK);
    EXPECT(manifest_create(b->dir, &b->numbers, &err) == QUERN_OK);
    EXPECT(sst_cache_new(1 << 20, &b->cache, &err) == QUERN_OK);
}

static void bench_close(struct bench *b)
{
    rcu_drain();
    sst_cache_free(b->cache);
    manifest_close(b->numbers);
    os_dir_close(b->dir);
    sim_free(b->sim);
}

static struct compact_rules small_rules(const struct bench *b)
{
    return (struct compact_rules){.table_bytes = 300,
                                  .block_bytes = 64,
                                  .filter_bits = 10,
                                  .codec = SST_PLAIN,
                                  .cache = b->cache};
}

static enum quern_code run_merge(struct bench *b, const struct versions *v, size_t fail_at,
                                 struct quern_slice end, const struct compact_rules *rules,
                                 struct compact_output *out)
{
    struct list_iter in = {
        .base.ops = &list_ops, .entries = v->entry, .count = v->count, .fail_at = fail_at};

    list_show(&in);
    return compact_merge(b->dir, b->numbers, &in.base, end, rules, out, &err);
}

/* All entries of the output, in order; false when they are not in order or a key is in two
 * tables. */
static bool read_output(struct bench *b, const struct compact_output *out, struct versions *got)
{
    got->count = 0;
    for (size_t t = 0; t < out->count; t++) {
        struct sst *sst OWNED(sst_unref) = NULL;
        struct iter *it OWNED(iter_free) = NULL;

        if (t != 0 && !EXPECT(key_compare(buf_slice(&out->tables[t - 1].largest),
                                          buf_slice(&out->tables[t].smallest)) < 0))
            return false;
        if (!EXPECT(sst_open(b->dir, &out->tables[t], b->cache, &sst, &err) == QUERN_OK) ||
            !EXPECT(sst_iter(sst, SST_WHOLE, &it, &err) == QUERN_OK))
            return false;
        for (iter_first(it); it->valid; iter_next(it)) {
            struct entry *e = &got->entry[got->count];

            *e = it->at;
            e->key = name_of(got->name[key_of(it->at.key)], key_of(it->at.key));
            memcpy(got->value[got->count], it->at.value.data, it->at.value.len);
            e->value.data = got->value[got->count];
            if (got->count != 0 && !EXPECT(entry_compare(e - 1, e) < 0))
                return false;
            got->count++;
        }
        if (!EXPECT(it->err.code == QUERN_OK))
            return false;
    }
    return EXPECT(got->count == out->entries_out);
}

/* The newest version of a key at or below a number; NULL: none, a tombstone, or expired. */
static const struct entry *seen(const struct versions *v, unsigned key, quern_seq at,
                                uint64_t time_ms)
{
    for (size_t i = 0; i < v->count; i++)
        if (key_of(v->entry[i].key) == key && v->entry[i].seq <= at)
            return entry_lives(&v->entry[i], time_ms) ? &v->entry[i] : NULL;
    return NULL;
}

/* At the horizon and at each time after it. */
static bool sees_the_same(const struct versions *a, const struct versions *b, quern_seq at,
                          uint64_t horizon_ms)
{
    for (uint64_t time_ms = horizon_ms; time_ms <= LATEST_MS; time_ms++)
        for (unsigned k = 0; k < MERGE_KEYS; k++) {
            const struct entry *want = seen(a, k, at, time_ms), *have = seen(b, k, at, time_ms);

            if (!EXPECT((want == NULL) == (have == NULL)) ||
                (want != NULL &&
                 !EXPECT(want->seq == have->seq && want->expires_ms == have->expires_ms &&
                         key_equal(want->value, have->value))))
                return false;
        }
    return true;
}

TEST(a_merge_keeps_what_now_and_every_snapshot_see_and_no_more)
{
    static struct versions in, got;
    struct bench b;

    bench_open(&b);
    in.random = tap_seed();
    for (int round = 0; round < 200; round++) {
        quern_seq points[5];
        size_t snapshots = tap_random(&in.random) % 4, most = 0;
        struct compact_rules rules = small_rules(&b);
        struct compact_output out;

        versions_draw(&in);
        for (size_t i = 0; i < snapshots; i++)
            points[i] = (i ? points[i - 1] : 0) + 1 + tap_random(&in.random) % 20;
        rules.snapshots = points;
        rules.snapshot_count = snapshots;
        rules.bottom = tap_random(&in.random) % 2;
        rules.horizon_ms = tap_random(&in.random) % (LATEST_MS + 1);
        CHECK_OK(run_merge(&b, &in, SIZE_MAX, slice_of("", 0), &rules, &out), &err);
        CHECK_EQ(out.entries_in, in.count);
        CHECK(read_output(&b, &out, &got));
        points[snapshots] = UINT64_MAX; /* now */
        for (size_t i = 0; i <= snapshots; i++)
            CHECK(sees_the_same(&in, &got, points[i], rules.horizon_ms));
        for (size_t i = 0; i < got.count; i++)
            CHECK(got.entry[i].kind != ENTRY_PUT || entry_lives(&got.entry[i], rules.horizon_ms));
        for (unsigned k = 0; k < MERGE_KEYS; k++) {
            size_t versions = 0;
            const struct entry *oldest = NULL;

            for (size_t i = 0; i < got.count; i++)
                if (key_of(got.entry[i].key) == k) {
                    oldest = &got.entry[i];
                    versions++;
                }
            most = versions > most ? versions : most;
            if (rules.bottom && oldest != NULL && snapshots == 0)
                CHECK(oldest->kind == ENTRY_PUT); /* a tombstone has nothing left to hide */
        }
        CHECK(most <= snapshots + 1);
        compact_output_done(&out);
    }
    bench_close(&b);
}

TEST(a_merge_stops_before_its_end_key)
{
    static struct versions in, got;
    struct compact_rules rules;
    struct compact_output out;
    struct bench b;

    bench_open(&b);
    rules = small_rules(&b);
    in.random = tap_seed();
    do
        versions_draw(&in);
    while (in.count == 0 || key_of(in.entry[0].key) >= 5);
    CHECK_OK(run_merge(&b, &in, SIZE_MAX, slice_of("05", 2), &rules, &out), &err);
    CHECK(read_output(&b, &out, &got));
    CHECK(got.count != 0);
    for (size_t i = 0; i < got.count; i++)
        CHECK(key_of(got.entry[i].key) < 5);
    compact_output_done(&out);
    CHECK_OK(run_merge(&b, &in, SIZE_MAX, slice_of("00", 2), &rules, &out), &err);
    CHECK_EQ(out.count, 0);
    compact_output_done(&out);
    bench_close(&b);
}

static enum quern_code see_table(void *arg, const char *name, struct quern_error *e)
{
    (void)e;
    *(unsigned *)arg += strstr(name, ".sst") != NULL;
    return QUERN_OK;
}

static unsigned table_files(struct bench *b)
{
    unsigned files = 0;

    EXPECT(os_dir_list(b->dir, see_table, &files, &err) == QUERN_OK);
    return files;
}

static enum quern_code stop_now(void *arg, struct quern_error *e)
{
    (void)arg;
    return err_set(e, QUERN_CLOSED, "enough");
}

/* Whatever ends a merge, no file of it remains. */
TEST(a_failed_merge_leaves_no_file)
{
    static struct versions in;
    static char large[1 << 20];
    struct compact_rules rules;
    struct compact_output out;
    struct bench b;
    size_t last;

    bench_open(&b);
    rules = small_rules(&b);
    in.random = tap_seed();
    do
        versions_draw(&in);
    while (in.count < 20);
    rules.table_bytes = 1; /* a table a key */
    last = in.count - 1;
    CHECK_CODE(run_merge(&b, &in, last, slice_of("", 0), &rules, &out), QUERN_CORRUPT);
    CHECK_EQ(table_files(&b), 0);
    sim_fail(b.sim,
             &(struct sim_fault){.ops = SIM_SYNC, .name = "*.sst*", .skip = 2, .sys_errno = EIO});
    CHECK(run_merge(&b, &in, SIZE_MAX, slice_of("", 0), &rules, &out) != QUERN_OK);
    CHECK_EQ(table_files(&b), 0);
    sim_fail_never(b.sim);
    in.entry[last].value = slice_of(large, sizeof(large)); /* so that it yields */
    in.entry[last].kind = ENTRY_PUT;
    rules.yield = stop_now;
    CHECK_CODE(run_merge(&b, &in, SIZE_MAX, slice_of("", 0), &rules, &out), QUERN_CLOSED);
    CHECK_EQ(table_files(&b), 0);
    rules.yield = NULL;
    CHECK_OK(run_merge(&b, &in, SIZE_MAX, slice_of("", 0), &rules, &out), &err);
    CHECK_EQ(table_files(&b), out.count);
    compact_output_done(&out);
    bench_close(&b);
}

static bool list_hash(const struct iter *it, uint64_t *hash)
{
    const struct list_iter *l = (const struct list_iter *)(const void *)it;

    *hash = sst_entry_hash(&it->at) ^ (l->lies && l->at + 1 == l->count);
    return true;
}

/* Where an entry was hashed as it was read, other bytes than those do not get into a table. */
TEST(a_merge_is_held_to_what_its_cursors_read)
{
    static const struct iter_ops hashed_ops = {.next = list_next, .hash = list_hash};
    static struct versions in, got;
    struct compact_rules rules;
    struct bench b;

    bench_open(&b);
    rules = small_rules(&b);
    in.random = tap_seed();
    do /* the last entry is kept */
        versions_draw(&in);
    while (in.count < 20 || key_equal(in.entry[in.count - 1].key, in.entry[in.count - 2].key));
    for (int lies = 1; lies >= 0; lies--) {
        struct list_iter list = {.base.ops = &hashed_ops,
                                 .entries = in.entry,
                                 .count = in.count,
                                 .fail_at = SIZE_MAX,
                                 .lies = lies};
        struct compact_output out;

        list_show(&list);
        CHECK_CODE(compact_merge(b.dir, b.numbers, &list.base, slice_of("", 0), &rules, &out, &err),
                   lies ? QUERN_CORRUPT : QUERN_OK);
        if (lies) {
            CHECK(strstr(err.text, "entries are not those that were written") != NULL);
            CHECK_EQ(table_files(&b), 0);
        } else {
            CHECK(read_output(&b, &out, &got));
            compact_output_done(&out);
        }
    }
    bench_close(&b);
}

/* A disk that says OK and did not write, wrote elsewhere, or wrote something else: wherever in the
 * file it happens, the table is not handed out. */
TEST(a_table_that_did_not_reach_its_file_as_it_was_made_fails_the_merge)
{
    static const struct sim_fault lies[] = {
        {.ops = SIM_WRITE, .name = "*.sst"},
        {.ops = SIM_WRITE, .name = "*.sst", .shift_bytes = 512},
        {.ops = SIM_WRITE, .name = "*.sst", .flip_bit = true},
    };
    static struct versions in;
    struct bench b;

    bench_open(&b);
    in.random = tap_seed();
    for (unsigned round = 0; round < 600; round++) {
        struct compact_rules rules = small_rules(&b);
        struct sim_fault lie = lies[round % 3];
        struct compact_output out;

        do
            versions_draw(&in);
        while (in.count < 20);
        rules.table_bytes = 1; /* a table a key */
        rules.codec = round % 2 ? SST_LZ4 : SST_PLAIN;
        lie.skip = round % 5 == 0; /* not always the first */
        sim_fail(b.sim, &lie);
        CHECK_CODE(run_merge(&b, &in, SIZE_MAX, slice_of("", 0), &rules, &out), QUERN_CORRUPT);
        CHECK(strstr(err.text, "table 0") != NULL);
        CHECK_EQ(table_files(&b), 0);
        CHECK_EQ(sim_fault_hits(b.sim), round + 1);
        sim_fail_never(b.sim);
    }
    bench_close(&b);
}
