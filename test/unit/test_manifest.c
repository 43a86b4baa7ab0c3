/* test_manifest.c - promises of src/manifest/, on the simulated disk.
 *
 * The model is a plain array of tables and three numbers. A state is compared with it by a
 * fingerprint that does not depend on order; the order and disjointness of the state are checked
 * apart. */
#include "manifest/manifest_priv.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "sim.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- the model ---- */

#define MODEL_TABLES_MAX 400
#define MODEL_EDIT_MAX 64

struct model_table {
    uint64_t table_no, run_no;
    uint32_t tier;
    uint32_t smallest, largest; /* the keys are these as eight digits */
};

struct model {
    struct model_table tables[MODEL_TABLES_MAX];
    size_t count;
    uint64_t log_first, log_last;
    quern_seq flushed_seq;
};

/* An edit and the memory its pointers go to. */
struct draft {
    struct manifest_edit edit;
    uint64_t remove[MODEL_TABLES_MAX];
    struct manifest_table add[MODEL_EDIT_MAX];
    struct manifest_trim trim[1];
    char keys[MODEL_EDIT_MAX * 2 + 1][9];
    size_t key_count;
};

static struct quern_slice draft_key(struct draft *d, uint32_t number)
{
    char *key = d->keys[d->key_count++];

    (void)snprintf(key, 9, "%08u", number % 100000000u);
    return (struct quern_slice){key, 8};
}

static void draft_add(struct draft *d, const struct model_table *t)
{
    struct manifest_table *to = &d->add[d->edit.add_count++];
    struct quern_slice smallest = draft_key(d, t->smallest), largest = draft_key(d, t->largest);

    memset(to, 0, sizeof(*to));
    to->tier = t->tier;
    to->run_no = t->run_no;
    to->meta.table_no = t->table_no;
    to->meta.unique_id = t->table_no * UINT64_C(0x9E3779B97F4A7C15);
    to->meta.file_bytes = 1000 + t->table_no;
    to->meta.file_hash = ~t->table_no;
    to->meta.entry_count = 100;
    to->meta.tombstone_count = 7;
    to->meta.duplicate_count = 3;
    to->meta.raw_bytes = UINT64_C(1) << 40;
    to->meta.entry_hash = t->table_no << 60 | 5;
    to->meta.seq_min = t->table_no;
    to->meta.seq_max = t->table_no * 2;
    if (t->table_no % 2 == 0) { /* of the others nothing expires */
        to->meta.expiring_count = 9;
        to->meta.expires_min_ms = 11;
        to->meta.expires_max_ms = t->table_no << 40;
    }
    to->meta.created_ms = 12;
    to->meta.smallest = (struct buf){(uint8_t *)(uintptr_t)smallest.data, smallest.len, 0};
    to->meta.largest = (struct buf){(uint8_t *)(uintptr_t)largest.data, largest.len, 0};
    d->edit.add = d->add;
}

static void draft_begin(struct draft *d)
{
    memset(&d->edit, 0, sizeof(d->edit));
    d->key_count = 0;
}

static void model_remove(struct model *m, struct draft *d, size_t at)
{
    d->remove[d->edit.remove_count++] = m->tables[at].table_no;
    d->edit.remove = d->remove;
    m->tables[at] = m->tables[--m->count];
}

static void model_add(struct model *m, struct draft *d, struct model_table t)
{
    m->tables[m->count++] = t;
    draft_add(d, &t);
}

/* A run of 1 to 4 tables. */
static void model_add_run(struct model *m, struct draft *d, struct manifest *manifest,
                          uint32_t tier, uint64_t *seed)
{
    uint64_t run_no = manifest_take_file_no(manifest);
    uint32_t n = (uint32_t)(tap_random(seed) % 4) + 1, key = (uint32_t)(tap_random(seed) % 5000);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t span = (uint32_t)(tap_random(seed) % 1000);

        model_add(
            m, d,
            (struct model_table){manifest_take_file_no(manifest), run_no, tier, key, key + span});
        key += span + 1 + (uint32_t)(tap_random(seed) % 3);
    }
}

static void model_remove_run(struct model *m, struct draft *d, uint32_t tier, uint64_t run_no)
{
    for (size_t i = m->count; i-- > 0;)
        if (m->tables[i].tier == tier && m->tables[i].run_no == run_no)
            model_remove(m, d, i);
}

static void model_flush(struct model *m, struct draft *d, struct manifest *manifest, uint64_t *seed)
{
    model_add_run(m, d, manifest, 0, seed);
    m->flushed_seq += tap_random(seed) % 1000;
    m->log_last += 1 + tap_random(seed) % 2;
    m->log_first = m->log_last;
    d->edit.set_flushed_seq = d->edit.set_log_first = d->edit.set_log_last = true;
    d->edit.flushed_seq = m->flushed_seq;
    d->edit.log_first = m->log_first;
    d->edit.log_last = m->log_last;
}

/* Turn the model into what it is after the next edit, which is written to `d`. */
static void model_step(struct model *m, struct draft *d, struct manifest *manifest, uint64_t *seed)
{
    size_t at = m->count == 0 ? 0 : tap_random(seed) % m->count;
    struct model_table t = m->tables[at];
    uint64_t dice = tap_random(seed) % 10;

    draft_begin(d);
    if (m->count == 0 || dice < 4) {
        model_flush(m, d, manifest, seed);
    } else if (dice < 6 && t.smallest < t.largest) {
        m->tables[at].smallest += 1 + (t.largest - t.smallest) / 2;
        d->trim[0] = (struct manifest_trim){t.table_no, draft_key(d, m->tables[at].smallest)};
        d->edit.trim = d->trim;
        d->edit.trim_count = 1;
    } else if (dice < 7) { /* a move: the table's file stays */
        model_remove(m, d, at);
        t.tier = t.tier % 3 + 1;
        t.run_no = manifest_take_file_no(manifest);
        model_add(m, d, t);
    } else if (dice < 9) {
        model_remove_run(m, d, t.tier, t.run_no);
        model_add_run(m, d, manifest, t.tier % 4 + 1, seed);
    } else { /* all into one bottom run */
        while (m->count != 0)
            model_remove(m, d, m->count - 1);
        model_add_run(m, d, manifest, TIER_BOTTOM, seed);
    }
}

/* ---- fingerprints ---- */

static uint64_t table_print(uint32_t tier, uint64_t run_no, uint64_t table_no,
                            struct quern_slice smallest, struct quern_slice largest)
{
    uint64_t numbers[3] = {tier, run_no, table_no};
    uint64_t print = hash_bytes(numbers, sizeof(numbers), 1);

    print = hash_bytes(smallest.data, smallest.len, print);
    return hash_bytes(largest.data, largest.len, print);
}

static uint64_t model_print(const struct model *m)
{
    uint64_t print = m->log_first + m->log_last * 1000003 + m->flushed_seq * 1000000007;

    for (size_t i = 0; i < m->count; i++) {
        const struct model_table *t = &m->tables[i];
        char smallest[9], largest[9];

        (void)snprintf(smallest, 9, "%08u", t->smallest % 100000000u);
        (void)snprintf(largest, 9, "%08u", t->largest % 100000000u);
        print += table_print(t->tier, t->run_no, t->table_no, (struct quern_slice){smallest, 8},
                             (struct quern_slice){largest, 8});
    }
    return print;
}

static bool in_order(const struct manifest_table *a, const struct manifest_table *b)
{
    if (a->tier != b->tier)
        return a->tier < b->tier;
    if (a->run_no != b->run_no)
        return a->run_no > b->run_no && a->tier != TIER_BOTTOM;
    return key_compare(buf_slice(&a->meta.largest), buf_slice(&b->meta.smallest)) < 0;
}

/* Of a state that is in order, with the figures draft_add() gave; else 0. */
static uint64_t state_print(const struct manifest_state *s)
{
    uint64_t print = s->log_first + s->log_last * 1000003 + s->flushed_seq * 1000000007;

    for (size_t i = 0; i < s->table_count; i++) {
        const struct manifest_table *t = &s->tables[i];
        const struct table_meta *meta = &t->meta;
        bool expires = meta->table_no % 2 == 0;

        if (i > 0 && !in_order(t - 1, t))
            return 0;
        if (meta->unique_id != meta->table_no * UINT64_C(0x9E3779B97F4A7C15) ||
            meta->file_hash != ~meta->table_no || meta->file_bytes != 1000 + meta->table_no ||
            meta->seq_max != meta->table_no * 2 || meta->seq_min != meta->table_no ||
            meta->entry_hash != (meta->table_no << 60 | 5) || meta->entry_count != 100 ||
            meta->tombstone_count != 7 || meta->duplicate_count != 3 ||
            meta->raw_bytes != UINT64_C(1) << 40 || meta->created_ms != 12 ||
            meta->expiring_count != (expires ? 9 : 0) ||
            meta->expires_min_ms != (expires ? 11 : 0) ||
            meta->expires_max_ms != (expires ? meta->table_no << 40 : 0))
            return 0;
        print += table_print(t->tier, t->run_no, meta->table_no, buf_slice(&meta->smallest),
                             buf_slice(&meta->largest));
    }
    return print;
}

/* ---- a store on a simulated disk ---- */

struct store {
    struct sim *sim;
    struct os_dir *dir;
    struct manifest *m;
    struct model model;
    struct draft draft;
    uint64_t seed;
};

static void store_done(struct store *s)
{
    manifest_close(s->m);
    os_dir_close(s->dir);
    sim_free(s->sim);
    s->m = NULL;
    s->dir = NULL;
    s->sim = NULL;
}
#define OWNED_STORE __attribute__((cleanup(store_done)))

static enum quern_code store_dir(struct store *s, struct quern_error *err)
{
    return os_dir_open(sim_os(s->sim), "db", true, &s->dir, err);
}

static enum quern_code store_create(struct store *s, struct quern_error *err)
{
    memset(s, 0, sizeof(*s));
    s->seed = tap_seed();
    s->sim = sim_new(s->seed);
    s->model.log_first = 1;
    if (store_dir(s, err))
        return err->code;
    return manifest_create(s->dir, &s->m, err);
}

/* One more random edit; the model follows if it was taken. */
static enum quern_code store_step(struct store *s, struct quern_error *err)
{
    struct model next = s->model;

    model_step(&next, &s->draft, s->m, &s->seed);
    if (manifest_apply(s->m, &s->draft.edit, err))
        return err->code;
    s->model = next;
    return QUERN_OK;
}

static enum quern_code store_steps(struct store *s, int n, struct quern_error *err)
{
    for (int i = 0; i < n; i++)
        if (store_step(s, err))
            return err->code;
    return QUERN_OK;
}

/* Take the mark that ends the file: then it is not known to be durable, as after a crash. */
static bool store_unmark(struct store *s)
{
    uint64_t end = manifest_bytes(s->m);

    return end % RECORD_PAGE_BYTES == RECORD_HEAD_BYTES &&
           sim_truncate(s->sim, "MANIFEST-*", end - RECORD_HEAD_BYTES) == 1;
}

static enum quern_code store_reopen(struct store *s, bool read_only, struct quern_error *err)
{
    manifest_close(GIVE(s->m));
    return manifest_open(s->dir, read_only, &s->m, err);
}

/* Go on with what the disk holds after a crash. */
static enum quern_code store_crash(struct store *s, enum sim_crash_mode mode,
                                   struct quern_error *err)
{
    struct sim *after = sim_crash(s->sim, tap_random(&s->seed), mode);

    store_done(s);
    s->sim = after;
    if (store_dir(s, err))
        return err->code;
    return manifest_open(s->dir, false, &s->m, err);
}

static uint64_t store_print(const struct store *s)
{
    return state_print(manifest_state(s->m));
}

/* What a fresh read of the directory says: its code, and the fingerprint of the state. */
static enum quern_code read_print(struct os_dir *dir, uint64_t *print, struct quern_error *err)
{
    struct manifest *m OWNED(manifest_close) = NULL;

    if (manifest_open(dir, true, &m, err))
        return err->code;
    *print = state_print(manifest_state(m));
    return QUERN_OK;
}

static void count_file(void *arg, const char *path, uint64_t bytes)
{
    (void)path;
    (void)bytes;
    ++*(int *)arg;
}

static int file_count(struct store *s)
{
    int n = 0;

    sim_each_file(s->sim, count_file, &n);
    return n;
}

/* ---- round trips ---- */

TEST(manifest_of_a_new_store_is_empty_and_reopens)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t store_id;
    bool found;

    CHECK_OK(store_create(&s, &err), &err);
    store_id = manifest_state(s.m)->store_id;
    CHECK(store_id != 0 && manifest_state(s.m)->created_ms != 0);
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(manifest_state(s.m)->store_id == store_id);
    CHECK_EQ(manifest_state(s.m)->table_count, 0);
    CHECK(manifest_state(s.m)->log_first > manifest_state(s.m)->log_last);
    CHECK_OK(manifest_find(s.dir, &found, &err), &err);
    CHECK(found);
    CHECK_CODE(manifest_create(s.dir, &s.m, &err), QUERN_EXISTS);
    CHECK_EQ(file_count(&s), 2);
}

TEST(manifest_keeps_every_acknowledged_edit_across_crashes)
{
    struct store s OWNED_STORE;
    struct quern_error err;

    CHECK_OK(store_create(&s, &err), &err);
    for (int i = 0; i < 2000; i++) {
        CHECK_OK(store_step(&s, &err), &err);
        CHECK(store_print(&s) == model_print(&s.model));
        if (tap_random(&s.seed) % 20 != 0)
            continue;
        CHECK_OK(store_crash(&s, (enum sim_crash_mode)(tap_random(&s.seed) % 3), &err), &err);
        CHECK(store_print(&s) == model_print(&s.model));
    }
    CHECK_EQ(file_count(&s), 2);
}

TEST(manifest_gives_numbers_above_all_it_has_seen)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t highest = 0;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_EQ(manifest_take_file_no(s.m), 1);
    CHECK_EQ(manifest_take_file_no(s.m), 2);
    CHECK_OK(store_steps(&s, 50, &err), &err);
    for (size_t i = 0; i < s.model.count; i++) {
        uint64_t a = s.model.tables[i].table_no, b = s.model.tables[i].run_no;

        highest = a > highest ? a : highest;
        highest = b > highest ? b : highest;
    }
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(manifest_take_file_no(s.m) > highest);
    manifest_skip_file_no(s.m, 5000);
    CHECK_EQ(manifest_take_file_no(s.m), 5000);
    manifest_skip_file_no(s.m, 10);
    CHECK_EQ(manifest_take_file_no(s.m), 5001);
    manifest_skip_file_no(s.m, UINT64_MAX); /* a stray file with such a name is no reason to wrap */
    CHECK_EQ(manifest_take_file_no(s.m), 5002);
    CHECK_OK(store_step(&s, &err), &err);
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(manifest_take_file_no(s.m) >= 5003);
}

TEST(manifest_of_a_checkpoint_has_the_same_tables_and_another_id)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct os_dir *copy OWNED(os_dir_close) = NULL;
    struct manifest *m OWNED(manifest_close) = NULL;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_OK(store_steps(&s, 30, &err), &err);
    CHECK_OK(os_dir_open(sim_os(s.sim), "copy", true, &copy, &err), &err);
    CHECK_OK(manifest_create_from(copy, manifest_state(s.m), &m, &err), &err);
    CHECK(state_print(manifest_state(m)) == model_print(&s.model));
    CHECK(manifest_state(m)->store_id != manifest_state(s.m)->store_id);
    manifest_close(GIVE(m));
    CHECK_CODE(manifest_create_from(copy, manifest_state(s.m), &m, &err), QUERN_EXISTS);
    CHECK_OK(manifest_open(copy, false, &m, &err), &err);
    CHECK(state_print(manifest_state(m)) == model_print(&s.model));
    for (size_t i = 0; i < s.model.count; i++)
        CHECK(manifest_take_file_no(m) != s.model.tables[i].table_no);
}

TEST(manifest_opened_read_only_changes_nothing)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct manifest_edit nothing = {0};
    uint64_t changes;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_OK(store_steps(&s, 5, &err), &err);
    changes = sim_op_count_of(s.sim, SIM_CHANGES);
    CHECK_OK(store_reopen(&s, true, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
    CHECK_CODE(manifest_apply(s.m, &nothing, &err), QUERN_READ_ONLY);
    CHECK_EQ(sim_op_count_of(s.sim, SIM_CHANGES), changes);
}

TEST(manifest_written_anew_keeps_the_state_and_removes_the_old_file)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t before = 0;
    bool shrank = false;

    CHECK_OK(store_create(&s, &err), &err);
    for (int i = 0; i < 400; i++) {
        CHECK_OK(store_step(&s, &err), &err);
        shrank = shrank || manifest_bytes(s.m) < before;
        before = manifest_bytes(s.m);
        CHECK(before <= (UINT64_C(1) << 20) + 65536);
    }
    CHECK(shrank);
    CHECK_EQ(file_count(&s), 2);
    CHECK(manifest_owns_name(s.m, "CURRENT"));
    CHECK(manifest_owns_name(s.m, "MANIFEST-000002"));
    CHECK(!manifest_owns_name(s.m, "MANIFEST-000001"));
    CHECK(!manifest_owns_name(s.m, "MANIFEST-2"));
    CHECK(!manifest_owns_name(s.m, "000002.sst"));
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

TEST(manifest_open_removes_manifests_that_nothing_names)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct os_file *stray = NULL;

    for (unsigned anew = 0; anew < 2; anew++) {
        CHECK_OK(store_create(&s, &err), &err);
        CHECK(!anew || store_unmark(&s));
        CHECK_OK(os_file_open(s.dir, "MANIFEST-000009", OS_WRITE | OS_CREATE, &stray, &err), &err);
        os_file_drop(stray);
        CHECK_OK(store_reopen(&s, false, &err), &err);
        CHECK(manifest_owns_name(s.m, anew ? "MANIFEST-000010" : "MANIFEST-000001"));
        CHECK_EQ(file_count(&s), 2);
        if (!anew)
            store_done(&s);
    }
}

/* ---- edits that do not fit ---- */

/* Tier 1: run 5 with tables 1 [10,19] and 2 [20,29]; bottom: run 3 with table 4 [0,99]. */
static enum quern_code store_three(struct store *s, struct quern_error *err)
{
    if (store_create(s, err))
        return err->code;
    draft_begin(&s->draft);
    model_add(&s->model, &s->draft, (struct model_table){1, 5, 1, 10, 19});
    model_add(&s->model, &s->draft, (struct model_table){2, 5, 1, 20, 29});
    model_add(&s->model, &s->draft, (struct model_table){4, 3, TIER_BOTTOM, 0, 99});
    s->model.log_first = s->model.log_last = 3;
    s->model.flushed_seq = 100;
    s->draft.edit.set_log_first = s->draft.edit.set_log_last = s->draft.edit.set_flushed_seq = true;
    s->draft.edit.log_first = s->draft.edit.log_last = 3;
    s->draft.edit.flushed_seq = 100;
    return manifest_apply(s->m, &s->draft.edit, err);
}

static void refuses(struct store *s, const char *why)
{
    struct quern_error err;
    uint64_t changes = sim_op_count_of(s->sim, SIM_CHANGES);

    CHECK_CODE(manifest_apply(s->m, &s->draft.edit, &err), QUERN_INVALID);
    if (strstr(err.text, why) == NULL)
        tap_fail(__FILE__, __LINE__, "'%s' does not say '%s'", err.text, why);
    CHECK_EQ(sim_op_count_of(s->sim, SIM_CHANGES), changes);
    CHECK(store_print(s) == model_print(&s->model));
    draft_begin(&s->draft);
}

static void refuses_add(struct store *s, struct model_table t, const char *why)
{
    draft_begin(&s->draft);
    draft_add(&s->draft, &t);
    refuses(s, why);
}

static void refuses_trim(struct store *s, uint64_t table_no, uint32_t smallest, const char *why)
{
    draft_begin(&s->draft);
    s->draft.trim[0] = (struct manifest_trim){table_no, draft_key(&s->draft, smallest)};
    s->draft.edit.trim = s->draft.trim;
    s->draft.edit.trim_count = 1;
    refuses(s, why);
}

TEST(manifest_refuses_edits_that_do_not_fit_and_writes_nothing)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t missing[2] = {77, 77};

    CHECK_OK(store_three(&s, &err), &err);
    refuses_add(&s, (struct model_table){1, 9, 2, 10, 19}, "there already");
    refuses_add(&s, (struct model_table){9, 5, 1, 15, 16}, "overlap");
    refuses_add(&s, (struct model_table){9, 5, 1, 0, 10}, "overlap");
    refuses_add(&s, (struct model_table){9, 5, 1, 29, 40}, "overlap");
    refuses_add(&s, (struct model_table){9, 5, 1, 10, 19}, "overlap");
    refuses_add(&s, (struct model_table){9, 3, TIER_BOTTOM, 50, 60}, "overlap");
    refuses_add(&s, (struct model_table){9, 2, TIER_BOTTOM, 500, 600}, "bottom");
    refuses_add(&s, (struct model_table){9, 8, TIER_BOTTOM, 500, 600}, "bottom");
    refuses_add(&s, (struct model_table){9, 9, TIER_COUNT_MAX, 500, 600}, "tier");
    refuses_add(&s, (struct model_table){0, 9, 2, 500, 600}, "out of range");
    refuses_add(&s, (struct model_table){UINT64_MAX, 9, 2, 500, 600}, "out of range");
    refuses_add(&s, (struct model_table){9, UINT64_MAX, 2, 500, 600}, "out of range");
    refuses_add(&s, (struct model_table){9, 9, 2, 600, 500}, "range");
    refuses_trim(&s, 1, 9, "raise");
    refuses_trim(&s, 1, 20, "raise");
    refuses_trim(&s, 77, 20, "trimmed but is not there");
    s.draft.edit.remove = missing;
    s.draft.edit.remove_count = 1;
    refuses(&s, "removed but is not there");
    s.draft.edit.remove = missing;
    s.draft.edit.remove_count = 2;
    refuses(&s, "twice");
    draft_add(&s.draft, &(struct model_table){8, 9, 2, 1, 2});
    draft_add(&s.draft, &(struct model_table){8, 9, 2, 3, 4});
    refuses(&s, "twice");
    draft_add(&s.draft, &(struct model_table){8, 9, 2, 1, 5});
    draft_add(&s.draft, &(struct model_table){9, 9, 2, 3, 7});
    refuses(&s, "overlap");
    s.draft.edit.set_log_first = true;
    s.draft.edit.log_first = 2;
    refuses(&s, "never fall");
    s.draft.edit.set_log_last = true;
    s.draft.edit.log_last = 2;
    refuses(&s, "never fall");
    s.draft.edit.set_log_first = s.draft.edit.set_log_last = true;
    s.draft.edit.log_first = 6;
    s.draft.edit.log_last = 5;
    refuses(&s, "below the first");
    s.draft.edit.set_flushed_seq = true;
    s.draft.edit.flushed_seq = 99;
    refuses(&s, "never falls");
}

TEST(manifest_trims_and_fills_the_space_in_one_edit)
{
    struct store s OWNED_STORE;
    struct quern_error err;

    CHECK_OK(store_three(&s, &err), &err);
    draft_begin(&s.draft);
    s.model.tables[2].smallest = 60;
    s.draft.trim[0] = (struct manifest_trim){4, draft_key(&s.draft, 60)};
    s.draft.edit.trim = s.draft.trim;
    s.draft.edit.trim_count = 1;
    model_add(&s.model, &s.draft, (struct model_table){9, 3, TIER_BOTTOM, 0, 59});
    CHECK_OK(manifest_apply(s.m, &s.draft.edit, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

/* ---- torn tails and damage ---- */

#define SMALL_EDITS 4

/* A store with a few edits, and where their records stand in its file. */
struct small {
    struct store s;
    uint64_t edit_at[SMALL_EDITS + 1]; /* of edits 1..; the last one was just written */
    uint64_t print_before;             /* of the model before the last edit */
    uint64_t bytes;
};

static void small_done(struct small *x)
{
    store_done(&x->s);
}
#define OWNED_SMALL __attribute__((cleanup(small_done)))

static enum quern_code small_make(struct small *x, struct quern_error *err)
{
    if (store_three(&x->s, err))
        return err->code;
    /* The first file has edit 1 (empty) and edit 2; start one that has a snapshot of weight. */
    if (!EXPECT(store_unmark(&x->s)) || store_reopen(&x->s, false, err))
        return err->code;
    x->edit_at[0] = MANIFEST_HEADER_BYTES;
    for (int i = 1; i <= SMALL_EDITS; i++) {
        x->edit_at[i] = manifest_bytes(x->s.m);
        x->print_before = model_print(&x->s.model);
        draft_begin(&x->s.draft);
        model_flush(&x->s.model, &x->s.draft, x->s.m, &x->s.seed);
        if (manifest_apply(x->s.m, &x->s.draft.edit, err))
            return err->code;
    }
    x->bytes = manifest_bytes(x->s.m);
    return QUERN_OK;
}

static uint64_t record_length_at(struct small *x, uint64_t at)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    struct quern_error err;
    uint8_t length[4];

    if (os_file_open(x->s.dir, "MANIFEST-000002", OS_READ, &file, &err) ||
        os_file_read(file, length, 4, at + 8, &err))
        return 0;
    return RECORD_HEAD_BYTES + get_u32le(length);
}

TEST(manifest_cut_anywhere_in_its_last_edit_opens_without_it)
{
    struct small x OWNED_SMALL;
    struct store *s = &x.s;
    struct quern_error err;
    uint64_t last, whole, print = 0;

    CHECK_OK(small_make(&x, &err), &err);
    last = x.edit_at[SMALL_EDITS];
    whole = last + round_up(record_length_at(&x, last), 8);
    CHECK(whole > last + RECORD_HEAD_BYTES);
    for (uint64_t cut = x.bytes; cut-- > last - RECORD_HEAD_BYTES;) {
        CHECK_EQ(sim_truncate(s->sim, "MANIFEST-000002", cut), 1);
        CHECK_OK(read_print(s->dir, &print, &err), &err);
        CHECK(print == (cut >= whole ? model_print(&s->model) : x.print_before));
    }
    CHECK_OK(store_reopen(s, false, &err), &err);
    CHECK(store_print(s) == x.print_before);
}

/* Is this byte under a checksum whose failure must refuse the file? The last mark is not: nothing
 * depends on it. */
static bool byte_counts(struct small *x, const uint64_t *lengths, uint64_t at)
{
    if (at < MANIFEST_HEADER_BYTES)
        return true;
    for (int i = 0; i <= SMALL_EDITS; i++) {
        uint64_t edit = x->edit_at[i];

        if (at >= edit && at < edit + lengths[i])
            return true;
        if (i >= 1 && at >= edit - RECORD_HEAD_BYTES && at < edit)
            return true;
    }
    return false;
}

TEST(manifest_notices_every_flipped_byte_of_its_edits)
{
    struct small x OWNED_SMALL;
    struct store *s = &x.s;
    struct quern_error err;
    uint64_t lengths[SMALL_EDITS + 1], print;
    int noticed = 0;

    CHECK_OK(small_make(&x, &err), &err);
    for (int i = 0; i <= SMALL_EDITS; i++)
        lengths[i] = record_length_at(&x, x.edit_at[i]);
    for (uint64_t at = 0; at < x.bytes; at++) {
        uint8_t flip = (uint8_t)(1u << tap_random(&s->seed) % 8);
        enum quern_code code;

        CHECK_EQ(sim_corrupt(s->sim, "MANIFEST-000002", at, flip), 1);
        code = read_print(s->dir, &print, &err);
        if (byte_counts(&x, lengths, at)) {
            CHECK_CODE(code, QUERN_CORRUPT);
            CHECK(strstr(err.text, "MANIFEST-000002") != NULL);
            noticed++;
        } else { /* padding, or the last mark: the state is the same */
            CHECK_OK(code, &err);
            CHECK(print == model_print(&s->model));
        }
        CHECK_EQ(sim_corrupt(s->sim, "MANIFEST-000002", at, flip), 1);
    }
    CHECK(noticed > 1000);
}

TEST(manifest_without_its_last_mark_takes_a_damaged_last_edit_for_a_torn_one)
{
    struct small x OWNED_SMALL;
    struct store *s = &x.s;
    struct quern_error err;
    uint64_t print = 0;

    CHECK_OK(small_make(&x, &err), &err);
    CHECK_EQ(sim_corrupt(s->sim, "MANIFEST-000002", x.edit_at[SMALL_EDITS] + 50, 1), 1);
    CHECK_CODE(read_print(s->dir, &print, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "proves") != NULL);
    CHECK_EQ(sim_truncate(s->sim, "MANIFEST-000002", x.bytes - RECORD_HEAD_BYTES), 1);
    CHECK_OK(read_print(s->dir, &print, &err), &err);
    CHECK(print == x.print_before);
}

TEST(manifest_cut_inside_what_current_promises_is_corrupt)
{
    struct small x OWNED_SMALL;
    struct store *s = &x.s;
    struct quern_error err;
    uint64_t snapshot, print;

    CHECK_OK(small_make(&x, &err), &err);
    snapshot = MANIFEST_HEADER_BYTES + round_up(record_length_at(&x, MANIFEST_HEADER_BYTES), 8);
    CHECK_EQ(sim_truncate(s->sim, "MANIFEST-000002", snapshot), 1);
    CHECK_OK(read_print(s->dir, &print, &err), &err);
    for (uint64_t cut = snapshot; cut-- > 0;) {
        CHECK_EQ(sim_truncate(s->sim, "MANIFEST-000002", cut), 1);
        CHECK_CODE(read_print(s->dir, &print, &err), QUERN_CORRUPT);
    }
}

/* ---- going on with a file ---- */

TEST(manifest_that_ends_with_a_mark_is_opened_without_a_write_and_appended_to)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t changes, syncs;

    CHECK_OK(store_create(&s, &err), &err);
    for (unsigned round = 0; round < 20; round++) {
        changes = sim_op_count_of(s.sim, SIM_CHANGES);
        CHECK_OK(store_reopen(&s, false, &err), &err);
        CHECK_EQ(sim_op_count_of(s.sim, SIM_CHANGES), changes);
        CHECK(store_print(&s) == model_print(&s.model));
        CHECK(manifest_owns_name(s.m, "MANIFEST-000001"));
        syncs = sim_op_count_of(s.sim, SIM_SYNC | SIM_DIR_SYNC);
        CHECK_OK(store_step(&s, &err), &err);
        CHECK_EQ(sim_op_count_of(s.sim, SIM_SYNC | SIM_DIR_SYNC), syncs + 1);
        if (round % 4 == 3) /* and so does what a power cut leaves */
            CHECK_OK(store_crash(&s, SIM_KEEP_ALL, &err), &err);
    }
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

/* An edit whose sync failed looks well in the kernel's memory, and may be gone from the disk. */
TEST(manifest_that_does_not_end_with_a_mark_is_never_appended_to)
{
    static const struct sim_fault faults[] = {
        {.ops = SIM_SYNC, .name = "MANIFEST*", .sys_errno = EIO, .drop_dirty = true},
        {.ops = SIM_SYNC, .name = "MANIFEST*", .sys_errno = EIO},
        {.ops = SIM_WRITE, .name = "MANIFEST*", .skip = 1, .sys_errno = EIO}, /* the mark */
        {.ops = SIM_WRITE, .name = "MANIFEST*", .skip = 1, .sys_errno = EIO, .part_bytes = 20},
    };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct store s OWNED_STORE;
        struct quern_error err;
        uint64_t shown;

        CHECK_OK(store_three(&s, &err), &err);
        sim_fail(s.sim, &faults[i]);
        CHECK_CODE(store_step(&s, &err), i < 2 ? QUERN_UNKNOWN : QUERN_OK);
        CHECK_EQ(sim_fault_hits(s.sim), 1);
        CHECK_OK(store_reopen(&s, false, &err), &err);
        CHECK(manifest_owns_name(s.m, "MANIFEST-000002"));
        shown = store_print(&s);
        CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
        CHECK(store_print(&s) == shown);
    }
}

/* CURRENT's move to a new file may be in the kernel's memory alone: no mark says that it is not. */
TEST(manifest_named_by_a_current_that_was_not_synced_is_not_gone_on_with)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct sim_fault fault = {.ops = SIM_DIR_SYNC, .skip = 1, .sys_errno = EIO};

    CHECK_OK(store_three(&s, &err), &err);
    CHECK(store_unmark(&s));
    manifest_close(GIVE(s.m));
    sim_fail(s.sim, &fault);
    CHECK_CODE(manifest_open(s.dir, false, &s.m, &err), QUERN_IO);
    CHECK_OK(store_crash(&s, SIM_KEEP_ALL, &err), &err); /* another process */
    CHECK(manifest_owns_name(s.m, "MANIFEST-000003"));
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

/* ---- CURRENT ---- */

TEST(manifest_find_tells_an_empty_directory_from_the_remains_of_a_store)
{
    static const char *const remains[] = {"000001.sst", "123456789.wal", "MANIFEST-000007"};
    static const char *const foreign[] = {"LOCK",           "README",      "1.sst",
                                          "000001.sst.bak", "0000001.wal", "MANIFEST-x",
                                          "CURRENT.tmp",    ".sst"};
    struct store s OWNED_STORE;
    struct quern_error err;
    struct os_file *file = NULL;
    bool found = true;

    memset(&s, 0, sizeof(s));
    s.sim = sim_new(1);
    CHECK_OK(store_dir(&s, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        CHECK_OK(os_file_open(s.dir, foreign[i], OS_WRITE | OS_CREATE, &file, &err), &err);
        os_file_drop(GIVE(file));
    }
    CHECK_OK(manifest_find(s.dir, &found, &err), &err);
    CHECK(!found);
    CHECK_CODE(manifest_open(s.dir, false, &s.m, &err), QUERN_NO_STORE);
    for (size_t i = 0; i < ARRAY_LEN(remains); i++) {
        CHECK_OK(os_file_open(s.dir, remains[i], OS_WRITE | OS_CREATE, &file, &err), &err);
        os_file_drop(GIVE(file));
        CHECK_CODE(manifest_find(s.dir, &found, &err), QUERN_CORRUPT);
        CHECK(strstr(err.text, "CURRENT is missing") != NULL);
        CHECK(strstr(err.text, remains[i]) != NULL);
        CHECK_CODE(manifest_open(s.dir, false, &s.m, &err), QUERN_CORRUPT);
        CHECK_CODE(manifest_create(s.dir, &s.m, &err), QUERN_CORRUPT);
        CHECK_OK(os_dir_remove(s.dir, remains[i], &err), &err);
    }
    CHECK_OK(manifest_create(s.dir, &s.m, &err), &err);
}

TEST(manifest_current_lost_damaged_or_pointing_nowhere_is_corrupt)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t bytes, print;
    bool found;

    CHECK_OK(store_three(&s, &err), &err);
    CHECK_OK(os_dir_stat(s.dir, "CURRENT", &bytes, &err), &err);
    for (uint64_t at = 0; at < bytes; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            CHECK_EQ(sim_corrupt(s.sim, "CURRENT", at, (uint8_t)(1u << bit)), 1);
            CHECK_CODE(manifest_find(s.dir, &found, &err), QUERN_CORRUPT);
            CHECK_CODE(read_print(s.dir, &print, &err), QUERN_CORRUPT);
            CHECK(strstr(err.text, "CURRENT") != NULL && strstr(err.text, "backup") != NULL);
            CHECK_EQ(sim_corrupt(s.sim, "CURRENT", at, (uint8_t)(1u << bit)), 1);
        }
    }
    CHECK_OK(os_dir_rename(s.dir, "MANIFEST-000001", "aside", &err), &err);
    CHECK_CODE(store_reopen(&s, false, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "MANIFEST-000001: named by CURRENT, is missing") != NULL);
    CHECK_OK(os_dir_rename(s.dir, "aside", "MANIFEST-000001", &err), &err);
    CHECK_OK(os_dir_remove(s.dir, "CURRENT", &err), &err);
    CHECK_CODE(store_reopen(&s, false, &err), QUERN_CORRUPT);
    CHECK_EQ(sim_truncate(s.sim, "CURRENT", 0), 0);
}

TEST(manifest_current_cut_short_or_grown_is_corrupt)
{
    struct manifest_current in = {UINT64_C(123456789), UINT64_C(0xfedcba9876543210)}, out = {0, 0};
    char line[2 * CURRENT_BYTES_MAX] = "";
    struct quern_error err;
    size_t len = current_format(line, &in);

    CHECK_OK(current_parse((struct quern_slice){line, len}, &out, &err), &err);
    CHECK(out.manifest_no == in.manifest_no && out.store_id == in.store_id);
    for (size_t n = 0; n < sizeof(line); n++)
        if (n != len)
            CHECK_CODE(current_parse((struct quern_slice){line, n}, &out, &err), QUERN_CORRUPT);
}

TEST(manifest_current_of_a_newer_quern_is_unsupported)
{
    struct manifest_current out;
    struct quern_error err;
    char line[CURRENT_BYTES_MAX];
    const char *text = "quern 12 something else";
    int n = snprintf(line, sizeof(line), "%s %016" PRIx64 "\n", text,
                     hash_bytes(text, strlen(text), 0));

    CHECK_CODE(current_parse((struct quern_slice){line, (size_t)n}, &out, &err), QUERN_UNSUPPORTED);
    CHECK(strstr(err.text, "quern 12") != NULL);
}

TEST(manifest_of_another_store_or_number_is_corrupt)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct os_dir *other OWNED(os_dir_close) = NULL;
    struct manifest *m = NULL;
    uint64_t print = 0;

    CHECK_OK(store_three(&s, &err), &err);
    CHECK_OK(os_dir_open(sim_os(s.sim), "other", true, &other, &err), &err);
    CHECK_OK(manifest_create(other, &m, &err), &err);
    manifest_close(GIVE(m));
    CHECK_OK(os_dir_remove(s.dir, "MANIFEST-000001", &err), &err);
    CHECK_OK(os_dir_link(other, "MANIFEST-000001", s.dir, "MANIFEST-000001", &err), &err);
    CHECK_CODE(read_print(s.dir, &print, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "of store") != NULL);

    CHECK_EQ(sim_truncate(s.sim, "other/MANIFEST-000001", RECORD_PAGE_BYTES), 1); /* no mark */
    CHECK_OK(manifest_open(other, false, &m, &err), &err);
    manifest_close(GIVE(m));
    CHECK_OK(os_dir_remove(other, "MANIFEST-000002", &err), &err);
    CHECK_OK(os_dir_link(s.dir, "MANIFEST-000001", other, "MANIFEST-000002", &err), &err);
    CHECK_CODE(read_print(other, &print, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "says that it is manifest 1 ") != NULL);
}

/* ---- formats from the future ---- */

/* A whole file of one snapshot, with `fields` after the usual ones. */
struct crafted {
    uint8_t bytes[1024];
    size_t len;
};

static void craft(struct crafted *c, const void *fields, size_t fields_len)
{
    struct manifest_header h = {0, 42, 1, 7};
    struct buf payload OWNED_BUF = {0};
    struct edit_frame frame = {.snapshot = true, .created_ms = 5, .next_file_no = 3};
    struct manifest_edit nothing = {0};
    struct record rec = {RECORD_EDIT, 1, 1, 0, {NULL, 0}};
    struct quern_error err;
    uint8_t *at = c->bytes + MANIFEST_HEADER_BYTES;

    frame.chain = manifest_header_put(c->bytes, &h);
    if (edit_encode(&payload, &frame, &nothing, &err) ||
        buf_append(&payload, fields, fields_len, &err))
        return;
    memcpy(at + RECORD_HEAD_BYTES, payload.data, payload.len);
    rec.payload.len = payload.len;
    record_seal(at, &rec, h.salt, MANIFEST_HEADER_BYTES);
    c->len = MANIFEST_HEADER_BYTES + record_bytes(payload.len);
}

static enum quern_code craft_read(const struct crafted *c, struct quern_error *err)
{
    struct manifest_image image;

    if (manifest_replay((struct quern_slice){c->bytes, c->len}, &image, err))
        return err->code;
    state_done(&image.state);
    return QUERN_OK;
}

TEST(manifest_skips_unknown_fields_that_may_be_skipped_and_refuses_the_others)
{
    struct crafted c;
    struct quern_error err;

    craft(&c, "", 0);
    CHECK_OK(craft_read(&c, &err), &err);
    craft(&c, "\x64\x03xyz", 5); /* tag 100 */
    CHECK_OK(craft_read(&c, &err), &err);
    craft(&c, "\x65\x03xyz", 5); /* tag 101 */
    CHECK_CODE(craft_read(&c, &err), QUERN_UNSUPPORTED);
    CHECK(strstr(err.text, "newer") != NULL);
    craft(&c, "\x65\x04xyz", 5); /* longer than what there is */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x03\x01\x80", 3); /* a number cut short */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x01\x01\x05", 3); /* a second snapshot */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x03\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
          12); /* a number that would wrap */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x07\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
          12); /* a last log segment that leaves no number for the next */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x05\x01\x01\x07\x08\xff\xff\xff\xff\xff\xff\xff\x01",
          13); /* more segments than can be */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x09\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
          12); /* flushed up to the last number that there is */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x0d\x03\x01\x01\x05", 5); /* a table that says nothing but its number */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    craft(&c, "\x0b\x01\x05", 3); /* removes what is not there */
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
}

/* ---- range deletes ---- */

static bool same_cuts(const struct cuts *c, const struct cut *want, size_t count)
{
    if (c == NULL || c->count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!key_equal(c->piece[i].start, want[i].start) ||
            !key_equal(c->piece[i].end, want[i].end) || c->piece[i].seq != want[i].seq)
            return false;
    return true;
}

TEST(manifest_keeps_range_deletes_until_an_edit_says_otherwise)
{
    struct store s OWNED_STORE;
    struct cut cut[] = {{slice_of("", 0), slice_of("b", 1), 7},
                        {slice_of("c", 1), slice_of("dd", 2), 300},
                        {slice_of("x", 1), slice_of("", 0), 9}};
    struct manifest_edit edit = {.set_cuts = true}, other = {.set_flushed_seq = true};
    struct cuts *all OWNED(cuts_unref) = NULL;
    struct quern_error err;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_OK(cuts_new(NULL, cut, 3, (struct cut_pins){NULL, 0}, &all, &err), &err);
    edit.cuts = all;
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    other.flushed_seq = manifest_state(s.m)->flushed_seq + 1;
    CHECK_OK(manifest_apply(s.m, &other, &err), &err); /* speaks of something else */
    CHECK(same_cuts(manifest_state(s.m)->cuts, cut, 3));
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(same_cuts(manifest_state(s.m)->cuts, cut, 3));
    CHECK(store_unmark(&s)); /* so that it is written anew */
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(same_cuts(manifest_state(s.m)->cuts, cut, 3));
    edit.cuts = NULL;
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    CHECK(manifest_state(s.m)->cuts == NULL);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(manifest_state(s.m)->cuts == NULL);
}

TEST(manifest_keeps_where_databases_are_until_an_edit_says_otherwise)
{
    struct store s OWNED_STORE;
    db_map map = db_map_swap(db_map_swap(0, 3, 15), 0, 3);
    struct manifest_edit edit = {.set_map = true, .map = map}, other = {.set_flushed_seq = true};
    struct quern_error err;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_EQ(manifest_state(s.m)->map, 0);
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    other.flushed_seq = manifest_state(s.m)->flushed_seq + 1;
    CHECK_OK(manifest_apply(s.m, &other, &err), &err); /* speaks of something else */
    CHECK_EQ(manifest_state(s.m)->map, map);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK_EQ(manifest_state(s.m)->map, map);
    CHECK(store_unmark(&s)); /* so that it is written anew */
    for (int n = 0; n < 2; n++) {
        CHECK_OK(store_reopen(&s, false, &err), &err);
        CHECK_EQ(manifest_state(s.m)->map, map);
    }
    edit.map = 1; /* 0 would be where 1 is */
    CHECK_CODE(manifest_apply(s.m, &edit, &err), QUERN_INVALID);
    CHECK_EQ(manifest_state(s.m)->map, map);
    edit.map = 0;
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK_EQ(manifest_state(s.m)->map, 0);
}

TEST(manifest_with_range_deletes_that_do_not_parse_is_corrupt)
{
    static const struct {
        const char *bytes;
        size_t len;
    } good[] = {{"\x11\x00", 2},                     /* none any more */
                {"\x11\x05\x07\x01\x01\x61\x62", 7}, /* number 7, from a to b */
                {"\x11\x0a\x07\x01\x01\x61\x62\x05\x01\x01\x61\x62",
                 12},                                 /* one range, two numbers */
                {"\x11\x03\x07\x00\x00", 5}},         /* all keys */
        bad[] = {{"\x11\x05\x07\x01\x02\x61\x62", 7}, /* a key cut short */
                 {"\x11\x05\x07\x01\x01\x62\x61", 7}, /* empty */
                 {"\x11\x05\x00\x01\x01\x61\x62", 7}, /* number 0 */
                 {"\x11\x0a\x07\x01\x01\x62\x63\x05\x01\x01\x61\x62", 12}, /* out of order */
                 {"\x11\x0a\x05\x01\x01\x61\x62\x07\x01\x01\x61\x62", 12}, /* the newer one last */
                 {"\x11\x08\x07\x00\x00\x05\x01\x01\x61\x62", 10},         /* they meet */
                 {"\x11\x00\x11\x00", 4}};                                 /* twice */
    struct crafted c;
    struct quern_error err;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        craft(&c, good[i].bytes, good[i].len);
        CHECK_OK(craft_read(&c, &err), &err);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        craft(&c, bad[i].bytes, bad[i].len);
        CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    }
}

TEST(manifest_keeps_numbers_of_keys_until_more_is_flushed_without_them)
{
    struct store s OWNED_STORE;
    uint64_t live[QUERN_DATABASES] = {1, 300, [QUERN_DATABASES - 1] = UINT64_MAX},
             none[QUERN_DATABASES] = {0};
    struct manifest_edit edit = {.live = live, .set_flushed_seq = true},
                         other = {.set_log_last = true};
    struct quern_error err;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK(memcmp(manifest_state(s.m)->live, none, sizeof(none)) == 0);
    edit.flushed_seq = manifest_state(s.m)->flushed_seq + 1;
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    other.log_last = manifest_state(s.m)->log_last + 1;
    CHECK_OK(manifest_apply(s.m, &other, &err), &err); /* speaks of something else */
    CHECK(memcmp(manifest_state(s.m)->live, live, sizeof(live)) == 0);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(memcmp(manifest_state(s.m)->live, live, sizeof(live)) == 0);
    CHECK(store_unmark(&s)); /* so that it is written anew */
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(memcmp(manifest_state(s.m)->live, live, sizeof(live)) == 0);
    edit.live = NULL;
    edit.flushed_seq++;
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    CHECK(memcmp(manifest_state(s.m)->live, none, sizeof(none)) == 0);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(memcmp(manifest_state(s.m)->live, none, sizeof(none)) == 0);
}

TEST(manifest_with_numbers_of_keys_that_do_not_parse_is_corrupt)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\x15\x00", 2},                                    /* none */
               {"\x15\x0f\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1", 17},     /* one too few */
               {"\x15\x11\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1", 19}, /* one too many */
               {"\x15\x10\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\x80", 18}, /* cut short */
               {"\x15\x10\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\x15\x10"
                "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1",
                36}}; /* twice */
    struct crafted c;
    struct quern_error err;

    craft(&c, bad[4].bytes, 18);
    CHECK_OK(craft_read(&c, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        craft(&c, bad[i].bytes, bad[i].len);
        CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    }
}

TEST(manifest_edit_that_does_not_follow_the_one_before_it_is_corrupt)
{
    struct quern_error err;
    struct crafted c;
    struct record rec;
    uint8_t *at = c.bytes + MANIFEST_HEADER_BYTES;

    craft(&c, "", 0);
    CHECK(record_read(at, c.len - MANIFEST_HEADER_BYTES, 7, MANIFEST_HEADER_BYTES, &rec));
    at[RECORD_HEAD_BYTES] ^= 1; /* the chain; the record's own checksum is made right again */
    record_seal(at, &rec, 7, MANIFEST_HEADER_BYTES);
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT);
    CHECK(strstr(err.text, "does not follow") != NULL);
}

TEST(manifest_with_a_newer_version_or_unknown_feature_is_unsupported)
{
    struct crafted c;
    struct quern_error err;
    struct manifest_header h = {UINT64_C(1) << 40, 42, 1, 7};

    craft(&c, "", 0);
    (void)manifest_header_put(c.bytes, &h);
    CHECK_CODE(craft_read(&c, &err), QUERN_UNSUPPORTED);
    CHECK(strstr(err.text, "0x10000000000") != NULL);
    craft(&c, "", 0);
    put_u32le(c.bytes + 8, MANIFEST_VERSION + 1);
    CHECK_CODE(craft_read(&c, &err), QUERN_CORRUPT); /* a flipped bit, as its checksum says */
    put_u64le(c.bytes + 56, hash_placed(c.bytes, 56, 0, 0));
    CHECK_CODE(craft_read(&c, &err), QUERN_UNSUPPORTED);
    CHECK(strstr(err.text, "version 2") != NULL);
}

/* ---- failures of the disk ---- */

TEST(manifest_full_disk_refuses_an_edit_and_takes_it_later)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct model next;

    CHECK_OK(store_three(&s, &err), &err);
    CHECK_OK(store_step(&s, &err), &err);
    sim_free_space(s.sim, 0);
    CHECK_OK(store_step(&s, &err), &err); /* its page is there: the mark before it took it */
    next = s.model;
    model_step(&next, &s.draft, s.m, &s.seed);
    for (int i = 0; i < 3; i++) {
        CHECK_CODE(manifest_apply(s.m, &s.draft.edit, &err), QUERN_NO_SPACE);
        CHECK(store_print(&s) == model_print(&s.model));
    }
    sim_free_space(s.sim, UINT64_MAX);
    CHECK_OK(manifest_apply(s.m, &s.draft.edit, &err), &err);
    s.model = next;
    CHECK_OK(store_steps(&s, 10, &err), &err);
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

TEST(manifest_opens_on_a_full_disk_and_owes_the_new_file)
{
    struct store s OWNED_STORE;
    struct quern_error err;

    CHECK_OK(store_three(&s, &err), &err);
    CHECK(store_unmark(&s));
    sim_free_space(s.sim, 0);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
    CHECK_CODE(store_step(&s, &err), QUERN_NO_SPACE);
    sim_free_space(s.sim, UINT64_MAX);
    CHECK_OK(store_step(&s, &err), &err);
    CHECK(!manifest_owns_name(s.m, "MANIFEST-000001"));
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
    CHECK_EQ(file_count(&s), 2);
}

/* The process that wrote the edit ended before its sync: it is in the kernel's memory alone. */
TEST(manifest_opened_on_a_full_disk_shows_nothing_that_a_power_cut_takes)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t shown;

    CHECK_OK(store_three(&s, &err), &err);
    sim_fail(s.sim, &(struct sim_fault){.ops = SIM_SYNC, .name = "MANIFEST*", .sys_errno = EIO});
    CHECK_CODE(store_step(&s, &err), QUERN_UNKNOWN);
    sim_free_space(s.sim, 0);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    shown = store_print(&s);
    CHECK_OK(store_crash(&s, SIM_DROP_ALL, &err), &err);
    CHECK(store_print(&s) == shown);
}

TEST(manifest_failed_sync_poisons_and_a_reopen_finds_the_edit_whole_or_absent)
{
    for (int drop = 0; drop < 2; drop++) {
        struct store s OWNED_STORE;
        struct quern_error err;
        struct sim_fault fault = {.ops = SIM_SYNC, .sys_errno = ENOSPC, .drop_dirty = drop != 0};
        struct model next;

        CHECK_OK(store_three(&s, &err), &err);
        next = s.model;
        model_step(&next, &s.draft, s.m, &s.seed);
        sim_fail(s.sim, &fault);
        CHECK_CODE(manifest_apply(s.m, &s.draft.edit, &err), QUERN_UNKNOWN);
        CHECK(store_print(&s) == model_print(&s.model));
        for (int i = 0; i < 2; i++) {
            CHECK_CODE(manifest_apply(s.m, &s.draft.edit, &err), QUERN_READ_ONLY);
            CHECK(strstr(err.text, "sync an edit") != NULL);
        }
        CHECK_EQ(sim_fault_hits(s.sim), 1);
        CHECK_OK(store_crash(&s, SIM_RANDOM, &err), &err);
        CHECK(store_print(&s) == model_print(&s.model) || store_print(&s) == model_print(&next));
    }
}

TEST(manifest_write_that_cannot_be_cut_off_poisons)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct sim_fault write = {.ops = SIM_WRITE, .sys_errno = EIO, .part_bytes = 48};
    struct sim_fault truncate = {.ops = SIM_TRUNCATE, .sys_errno = EIO};

    CHECK_OK(store_three(&s, &err), &err);
    sim_fail(s.sim, &write);
    CHECK_CODE(store_step(&s, &err), QUERN_IO);
    CHECK_OK(store_step(&s, &err), &err);
    sim_fail(s.sim, &write);
    sim_fail(s.sim, &truncate);
    CHECK_CODE(store_step(&s, &err), QUERN_UNKNOWN);
    CHECK_CODE(store_step(&s, &err), QUERN_READ_ONLY);
    CHECK_OK(store_crash(&s, SIM_KEEP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

/* A failed mark does not fail its edit, and is cut off before the next. */
TEST(manifest_mark_that_fails_harms_nothing)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    struct sim_fault write = {.ops = SIM_WRITE, .skip = 1, .sys_errno = ENOSPC, .part_bytes = 20};
    struct sim_fault truncate = {.ops = SIM_TRUNCATE, .sys_errno = EIO};

    CHECK_OK(store_three(&s, &err), &err);
    sim_fail(s.sim, &write);
    CHECK_OK(store_step(&s, &err), &err);
    CHECK_EQ(sim_fault_hits(s.sim), 1);
    sim_fail(s.sim, &truncate);
    CHECK_CODE(store_step(&s, &err), QUERN_IO);
    CHECK_OK(store_steps(&s, 2, &err), &err);
    CHECK_OK(store_crash(&s, SIM_KEEP_ALL, &err), &err);
    CHECK(store_print(&s) == model_print(&s.model));
}

/* Create, edit, write anew, reopen, edit: stops at the first failure. The model holds what was
 * acknowledged, *next what was under way when it failed. */
static enum quern_code run_script(struct store *s, struct model *next, struct quern_error *err)
{
    s->model = (struct model){.log_first = 1};
    *next = s->model;
    if (store_dir(s, err) || manifest_create(s->dir, &s->m, err))
        return err->code;
    for (int i = 0; i < 16; i++) {
        *next = s->model;
        if (i == 7)
            (void)store_unmark(s); /* and the manifest is written anew */
        if (i % 4 == 3 && store_reopen(s, false, err))
            return err->code;
        model_step(next, &s->draft, s->m, &s->seed);
        if (manifest_apply(s->m, &s->draft.edit, err))
            return err->code;
        s->model = *next;
    }
    return QUERN_OK;
}

TEST(manifest_survives_a_power_cut_at_every_call)
{
    uint64_t seed = tap_seed();
    int points = 0;

    for (uint64_t k = 1;; k++) {
        struct store s OWNED_STORE = {0};
        struct model next;
        struct quern_error err;
        enum quern_code code;

        s.seed = seed;
        s.sim = sim_new(seed + k);
        sim_crash_at_of(s.sim, SIM_CHANGES, k);
        code = run_script(&s, &next, &err);
        if (code == QUERN_OK)
            break;
        for (int again = 0; again < 6; again++) {
            struct store t OWNED_STORE = {0};
            bool found = false;

            t.sim =
                sim_crash(s.sim, seed + k * 6 + (uint64_t)again, (enum sim_crash_mode)(again % 3));
            CHECK_OK(store_dir(&t, &err), &err);
            CHECK_OK(manifest_find(t.dir, &found, &err), &err);
            points++;
            if (!found) { /* only a creation that did not return leaves no store */
                CHECK(s.m == NULL && s.model.count == 0 && s.model.log_last == 0);
                CHECK_OK(manifest_create(t.dir, &t.m, &err), &err);
                continue;
            }
            CHECK_OK(manifest_open(t.dir, again > 2, &t.m, &err), &err);
            CHECK(store_print(&t) == model_print(&s.model) ||
                  store_print(&t) == model_print(&next));
        }
    }
    tap_note("%d crash points", points);
    CHECK(points > 300);
}

/* Fail the k-th change of the disk once; go on as a program would. */
TEST(manifest_keeps_its_word_when_any_one_call_fails)
{
    static const int errnos[] = {EIO, ENOSPC};
    uint64_t seed = tap_seed();

    for (size_t e = 0; e < ARRAY_LEN(errnos); e++) {
        for (uint64_t k = 0;; k++) {
            struct store s OWNED_STORE = {0};
            struct sim_fault fault = {.ops =
                                          SIM_CHANGES | SIM_OPEN | SIM_READ | SIM_STAT | SIM_LIST,
                                      .skip = k,
                                      .sys_errno = errnos[e],
                                      .part_bytes = 30,
                                      .drop_dirty = k % 2 == 0};
            struct model next;
            struct quern_error err;
            enum quern_code code;

            s.seed = seed;
            s.sim = sim_new(seed + k);
            sim_fail(s.sim, &fault);
            code = run_script(&s, &next, &err);
            if (sim_fault_hits(s.sim) == 0) {
                CHECK_OK(code, &err);
                break;
            }
            if (s.dir == NULL)
                continue;
            sim_fail_never(s.sim);
            CHECK(code == QUERN_OK || err.text[0] != '\0');
            if (code == QUERN_NO_SPACE && s.m != NULL) /* refused, so it may be tried again */
                CHECK_OK(store_step(&s, &err), &err);
            if (s.model.count == 0 && s.m == NULL)
                continue;
            CHECK_OK(store_crash(&s, SIM_RANDOM, &err), &err);
            CHECK(store_print(&s) == model_print(&s.model) ||
                  (code != QUERN_NO_SPACE && store_print(&s) == model_print(&next)));
        }
    }
}

TEST(manifest_without_memory_fails_cleanly_at_every_allocation)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    uint64_t n = 0;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_OK(store_steps(&s, 20, &err), &err);
    for (bool done = false; !done; n++) {
        struct model next = s.model;
        enum quern_code code;

        model_step(&next, &s.draft, s.m, &s.seed);
        alloc_fail_after(n);
        code = manifest_apply(s.m, &s.draft.edit, &err);
        alloc_fail_never();
        done = code == QUERN_OK;
        CHECK(done || code == QUERN_NO_MEMORY);
        if (done)
            s.model = next;
        CHECK(store_print(&s) == model_print(&s.model));
    }
    CHECK(n > 3);
    for (uint64_t k = 0;; k++) {
        enum quern_code code;

        alloc_fail_after(k);
        code = store_reopen(&s, false, &err);
        alloc_fail_never();
        if (code == QUERN_OK)
            break;
        CHECK_CODE(code, QUERN_NO_MEMORY);
    }
    CHECK(store_print(&s) == model_print(&s.model));
    CHECK_EQ(file_count(&s), 2);
}

/* ---- size, and threads ---- */

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct manifest_table *many_tables(size_t n, char (*keys)[2][9])
{
    struct manifest_table *tables = alloc_array(n, sizeof(*tables));

    for (size_t i = 0; i < n; i++) {
        (void)snprintf(keys[i][0], 9, "%08u", (unsigned)i * 10);
        (void)snprintf(keys[i][1], 9, "%08u", (unsigned)i * 10 + 9);
        tables[i].tier = TIER_BOTTOM;
        tables[i].run_no = 1;
        tables[i].meta.table_no = i + 2;
        tables[i].meta.unique_id = i * UINT64_C(0x9E3779B97F4A7C15);
        tables[i].meta.smallest = (struct buf){(uint8_t *)keys[i][0], 8, 0};
        tables[i].meta.largest = (struct buf){(uint8_t *)keys[i][1], 8, 0};
    }
    return tables;
}

TEST(manifest_of_ten_thousand_tables_stays_quick)
{
    enum { COUNT = 10000, EDITS = 200 };
    struct store s OWNED_STORE;
    struct quern_error err;
    static char keys[COUNT][2][9];
    struct manifest_table *tables OWNED(alloc_free) = many_tables(COUNT, keys);
    struct manifest_edit edit = {.add = tables, .add_count = COUNT};
    double start;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    start = now_ms();
    for (size_t i = 0; i < EDITS; i++) { /* replace one table by one with a new number */
        size_t at = (i * 7919) % COUNT;
        uint64_t remove = tables[at].meta.table_no;

        tables[at].meta.table_no = manifest_take_file_no(s.m);
        edit = (struct manifest_edit){
            .remove = &remove, .remove_count = 1, .add = &tables[at], .add_count = 1};
        CHECK_OK(manifest_apply(s.m, &edit, &err), &err);
    }
    tap_note("an edit of %d tables: %.3f ms, the simulated disk included", COUNT,
             (now_ms() - start) / EDITS);
    start = now_ms();
    CHECK_OK(store_reopen(&s, false, &err), &err);
    tap_note("open: %.1f ms", now_ms() - start);
    CHECK_EQ(manifest_state(s.m)->table_count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        CHECK(manifest_state(s.m)->tables[i].meta.table_no == tables[i].meta.table_no);
}

static void *begin_segments(void *arg)
{
    struct store *s = arg;
    struct quern_error err;

    for (uint64_t i = 1; i <= 200; i++) {
        struct manifest_edit edit = {.set_log_last = true, .log_last = i};

        if (manifest_apply(s->m, &edit, &err))
            return s;
        (void)manifest_take_file_no(s->m);
        (void)manifest_bytes(s->m);
    }
    return NULL;
}

TEST(manifest_takes_log_edits_beside_table_edits)
{
    struct store s OWNED_STORE;
    struct quern_error err;
    pthread_t log;
    void *failed = NULL;
    size_t tables = 0;

    CHECK_OK(store_create(&s, &err), &err);
    CHECK_EQ(pthread_create(&log, NULL, begin_segments, &s), 0);
    for (uint32_t i = 0; i < 200; i++) {
        draft_begin(&s.draft);
        draft_add(&s.draft, &(struct model_table){manifest_take_file_no(s.m),
                                                  manifest_take_file_no(s.m), 0, 1, 2});
        EXPECT(manifest_apply(s.m, &s.draft.edit, &err) == QUERN_OK);
        tables = manifest_state(s.m)->table_count; /* another thread's log edits leave it alone */
        EXPECT(tables == i + 1);
    }
    CHECK_EQ(pthread_join(log, &failed), 0);
    CHECK(failed == NULL);
    CHECK_OK(store_reopen(&s, false, &err), &err);
    CHECK_EQ(manifest_state(s.m)->table_count, 200);
    CHECK_EQ(manifest_state(s.m)->log_last, 200);
}
