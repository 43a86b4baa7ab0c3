/* play_disk.c - writes, and what the disk makes of them.
 *
 *     base                  what a power cut leaves at least: all up to the last sync that returned
 *     log [0, acked)        what the end of the process leaves besides
 *     log [acked, count)    what may have been done besides, in this order: UNKNOWN, or under way
 *                           when the power went
 *
 * After a window the store must show base and a prefix of the log, with every write whole. Which
 * prefix is looked for; then it is the base, and what `goal` has besides is written again. */
#include "play_priv.h"

#include "base/alloc.h"
#include "engine/remains_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what was written ---- */

static size_t end_of(const struct change *c)
{
    return c->end != 0 ? c->end : c->key + 1;
}

static void apply(struct model *m, const struct change *c)
{
    if (c->swap)
        model_swap(m);
    for (size_t n = c->key; !c->swap && n < end_of(c); n++)
        m->cell[n] = c->cell;
}

/* All that was acknowledged is durable. */
void play_made_durable(struct play *p)
{
    if (sim_is_off(p->sim))
        return; /* perhaps the power went first */
    for (size_t i = 0; i < p->acked; i++)
        apply(&p->base, &p->log[i]);
    memmove(p->log, p->log + p->acked, (p->log_count - p->acked) * sizeof(p->log[0]));
    p->log_count -= p->acked;
    p->acked = 0;
}

/* Refused, and surely not done; with any other code it may have been, if the power went. */
static bool is_refusal(enum quern_code code)
{
    return code == QUERN_NO_SPACE || code == QUERN_NO_MEMORY || code == QUERN_READ_ONLY ||
           code == QUERN_BUSY || code == QUERN_INVALID;
}

void play_note_write(struct play *p, const struct draft *d, enum quern_code code,
                     const struct quern_error *err, const char *what)
{
    bool off = sim_is_off(p->sim), maybe = off || code == QUERN_UNKNOWN;

    if (!play_ok(p, code, err, what) && (!maybe || is_refusal(code)))
        return;
    if (!maybe && p->acked != p->log_count) {
        play_wrong(p, "%s: accepted after one whose outcome is unknown", what);
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        ensure(p->log_count < CHANGES_MAX);
        p->log[p->log_count++] = d->change[i];
        if (!maybe)
            apply(&p->real, &d->change[i]);
    }
    if (!maybe)
        p->acked = p->log_count;
}

#define STAMPS_A_STEP 64 /* more than a step draws changes */

/* ---- writes: what they want is noted in any case, even if there is no store to ask ---- */

void play_draw_change(struct play *p, struct draft *d)
{
    static const uint32_t sizes[] = {0, 1, 8, 30, 100, 100, 300, 2000, 5000, VALUE_MAX};
    uint64_t which = play_pick(p, 200);
    struct change *c = &d->change[d->count++];

    *c = (struct change){.key = play_pick(p, MODEL_KEYS), .last = true};
    if (d->count > 1)
        c[-1].last = false;
    p->drawn++;
    if (play_pick(p, 60) == 0) {
        c->swap = true;
        model_swap_span(&c->key, &c->end);
    } else if (play_pick(p, 16) == 0) { /* of a few neighbours as a rule */
        size_t most = play_pick(p, 16) == 0 ? MODEL_KEYS : 12, from, to;

        model_span(model_database(c->key), &from, &to);
        c->end = c->key + 1 + play_pick(p, most);
        c->end = c->end < to ? c->end : to;
    } else if (play_pick(p, 3) != 0) {
        c->cell.stamp = (uint64_t)p->result->step * STAMPS_A_STEP + p->drawn;
        c->cell.len = sizes[which < 191 ? which % 8 : which < 199 ? 8 : 9];
        if (play_pick(p, 4) == 0) /* soon, or by now */
            c->cell.expires_ms = p->goal.time_ms + play_pick(p, 40);
    }
    apply(&p->goal, c);
}

/* Open where it has the first key of its database, or the last. */
static struct quern_range range_of(const struct change *c)
{
    struct quern_range range = {{NULL, 0}, {NULL, 0}};
    size_t from, to;

    model_span(model_database(c->key), &from, &to);
    if (c->key != from)
        range.start = model_key(c->key);
    if (c->end < to)
        range.end = model_key(c->end);
    return range;
}

/* At once, or in a ring over one that is empty. */
static enum quern_code fill_swap(struct quern_batch *batch, bool ring, struct quern_error *err)
{
    if (!ring)
        return quern_batch_swap_databases(batch, 15, 1, err);
    if (quern_batch_swap_databases(batch, 1, 7, err) ||
        quern_batch_swap_databases(batch, 7, 15, err))
        return err->code;
    return quern_batch_swap_databases(batch, 1, 7, err);
}

enum quern_code play_fill_batch(struct play *p, const struct draft *d, struct quern_batch *batch,
                                struct quern_error *err)
{
    enum quern_code code = QUERN_OK;

    for (size_t i = 0; code == QUERN_OK && i < d->count; i++) {
        const struct change *c = &d->change[i];
        struct quern_range range = range_of(c);

        quern_batch_select(batch, model_database(c->key));
        code = c->swap       ? fill_swap(batch, i % 2 != 0, err)
               : c->end != 0 ? quern_batch_delete_range(batch, &range, err)
               : c->cell.stamp == 0
                   ? quern_batch_delete(batch, model_key(c->key), err)
                   : quern_batch_put_until(batch, model_key(c->key), model_value(c->cell, p->room),
                                           c->cell.expires_ms, err);
    }
    return code;
}

/* NULL: no memory; then nothing is written. */
static struct quern_batch *batch_of(struct play *p, const struct draft *d, struct quern_error *err)
{
    struct quern_batch *batch = quern_batch_new();
    enum quern_code code =
        batch != NULL ? play_fill_batch(p, d, batch, err) : err_memory(err, "a batch");

    if (code == QUERN_OK)
        return batch;
    (void)play_ok(p, code, err, "a batch");
    quern_batch_free(batch);
    return NULL;
}

static enum quern_code write_single(struct play *p, const struct change *c,
                                    const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_write_opts until = {
        .sync = opts->sync, .expires_ms = c->cell.expires_ms, .database = model_database(c->key)};
    struct quern_range range = range_of(c);

    if (c->swap)
        return quern_swap_databases(p->db, 1, 15, opts, err);
    if (c->end != 0)
        return quern_delete_range(p->db, &range, &until, err);
    if (c->cell.stamp == 0)
        return quern_delete(p->db, model_key(c->key), &until, err);
    return quern_put(p->db, model_key(c->key), model_value(c->cell, p->room), &until, err);
}

void play_make_room_in_log(struct play *p)
{
    if (p->log_count + DRAFT_MAX * 8 > CHANGES_MAX)
        play_sync(p);
}

void play_write_draft(struct play *p, const struct draft *d, const struct quern_write_opts *opts)
{
    struct quern_error err = {0};
    enum quern_code code;

    if (p->db == NULL)
        return;
    play_make_room_in_log(p);
    if (d->count == 1) {
        code = write_single(p, &d->change[0], opts, &err);
    } else {
        struct quern_batch *batch = batch_of(p, d, &err);

        if (batch == NULL)
            return;
        code = quern_write(p->db, batch, opts, &err);
        quern_batch_free(batch);
    }
    play_note_write(p, d, code, &err, d->count == 1 ? "put or delete" : "batch");
    if (code == QUERN_OK && opts->sync)
        play_made_durable(p);
}

void play_write(struct play *p)
{
    struct quern_write_opts opts = {.sync = play_pick(p, 20) == 0};
    size_t count = play_pick(p, 5) == 0 ? 1 + play_pick(p, 20) : 1;
    struct draft d = {.count = 0};

    while (d.count < count)
        play_draw_change(p, &d);
    play_write_draft(p, &d, &opts);
}

/* Several under way at once. While the disk fails and loses power in one window, one at a time:
 * else nobody could say which of them a fault refused and which the cut took. */
void play_write_async(struct play *p)
{
    enum { MOST = 8 };
    struct quern_completion done[MOST] = {0};
    struct quern_batch *batch[MOST] = {0};
    static struct draft d[MOST];
    size_t count = 1 + play_pick(p, MOST), sent = 0;
    struct quern_write_opts opts = {.sync = play_pick(p, 4) == 0};
    struct quern_error err = {0};

    for (size_t i = 0; i < count; i++) {
        d[i].count = 0;
        for (size_t ops = 1 + play_pick(p, 6); ops > 0; ops--)
            play_draw_change(p, &d[i]);
    }
    if (p->window.cut && p->window.fault)
        count = 1;
    if (p->db == NULL)
        return;
    play_make_room_in_log(p);
    for (size_t i = 0; i < count; i++) {
        batch[i] = batch_of(p, &d[i], &err);
        if (batch[i] == NULL ||
            !play_ok(p, quern_write_async(p->db, batch[i], &opts, &done[i], &err), &err, "async"))
            break;
        sent = i + 1;
    }
    for (size_t i = 0; i < sent; i++)
        while (!quern_completion_ready(&done[i]))
            thread_sleep_ns(20000);
    for (size_t i = 0; i < sent; i++) {
        play_note_write(p, &d[i], done[i].code, &done[i].error, "async batch");
        if (done[i].code == QUERN_OK && opts.sync)
            play_made_durable(p);
    }
    for (size_t i = 0; i < count; i++)
        quern_batch_free(batch[i]);
}

void play_sync(struct play *p)
{
    struct quern_error err;

    if (play_ok(p, quern_sync(p->db, &err), &err, "sync"))
        play_made_durable(p);
}

void play_flush(struct play *p)
{
    struct quern_error err;

    if (play_ok(p, quern_flush(p->db, &err), &err, "flush"))
        play_made_durable(p);
}

/* ---- open, and find what is there ---- */

/* All that a store shows. */
struct contents {
    bool there[MODEL_KEYS];
    struct quern_value value[MODEL_KEYS];
};

static bool contents_read(struct play *p, struct contents *c, const char *what)
{
    struct quern_error err = {0};
    bool fine = true;

    for (size_t n = 0; fine && n < MODEL_KEYS; n++) {
        struct quern_read_opts opts = {.database = model_database(n)};
        enum quern_code code = quern_get(p->db, model_key(n), &opts, &c->value[n], &err);

        c->there[n] = code == QUERN_OK;
        fine = code == QUERN_NOT_FOUND || play_ok(p, code, &err, what);
    }
    return fine;
}

static bool differs(const struct contents *c, size_t n, struct model_cell want)
{
    struct quern_slice got = {c->value[n].data, c->value[n].len};

    return c->there[n] != (want.stamp != 0) ||
           (c->there[n] &&
            (!model_value_is(want, got) || c->value[n].expires_ms != want.expires_ms));
}

/* Which prefix of the log is it, `low` changes or more? Then that is the state and the base. */
static bool find_prefix(struct play *p, const struct contents *c, size_t low, const char *what)
{
    struct model m = p->base;
    size_t wrong = 0;

    for (size_t n = 0; n < MODEL_KEYS; n++)
        wrong += differs(c, n, model_at(&m, n));
    for (size_t i = 0;; i++) {
        if (i >= low && wrong == 0 && (i == 0 || p->log[i - 1].last)) {
            p->real = p->base = m;
            p->log_count = p->acked = 0;
            return true;
        }
        if (i == p->log_count)
            break;
        for (size_t n = p->log[i].key; n < end_of(&p->log[i]); n++)
            wrong -= differs(c, n, model_at(&m, n));
        apply(&m, &p->log[i]);
        for (size_t n = p->log[i].key; n < end_of(&p->log[i]); n++)
            wrong += differs(c, n, model_at(&m, n));
    }
    play_wrong(p,
               "%s: the contents are none that may be left: %zu keys of the newest state differ, "
               "%zu changes of %zu were certain",
               what, wrong, low, p->log_count);
    return false;
}

static bool find_what_is_left(struct play *p, size_t low, const char *what)
{
    static struct contents c; /* large; its memory goes at the end */
    bool fine = contents_read(p, &c, what) && find_prefix(p, &c, low, what);

    for (size_t n = 0; n < MODEL_KEYS; n++)
        quern_value_done(&c.value[n]);
    /* The cursors' way and the gets' way must agree. */
    return fine && play_shows(p, p->db, &p->real, what);
}

static enum quern_code try_open(struct play *p, struct quern_error *err)
{
    p->result->opens++;
    if (p->result->opens % 2 == 0)
        play_options(p);
    return engine_open(sim_os(p->sim), PLAY_PATH, &p->options, &p->db, err);
}

static bool must_open(struct play *p, const char *what)
{
    struct quern_error err = {0};

    return play_ok(p, try_open(p, &err), &err, what);
}

bool play_open(struct play *p)
{
    p->sim = sim_new(p->config->seed);
    sim_set_mapping(p->sim, p->config->set != 9 && p->config->set % 16 != 13);
    sim_set_direct(p->sim, p->config->set != 9 && p->config->set != 10);
    play_options(p);
    play_pass_time(p, 1000);
    return must_open(p, "open");
}

/* ---- the end of a window ---- */

/* Write again what the window refused or lost. */
static void converge(struct play *p)
{
    struct quern_batch *batch = quern_batch_new();
    struct quern_write_opts sync = {.sync = true};
    struct quern_error err = {0};
    bool fine = batch != NULL;

    for (size_t n = 0; fine && n < MODEL_KEYS; n++) {
        struct model_cell want = p->goal.cell[n], is = p->real.cell[n];

        if (want.stamp == is.stamp)
            continue;
        quern_batch_select(batch, model_database(n));
        fine = play_ok(p,
                       want.stamp == 0
                           ? quern_batch_delete(batch, model_key(n), &err)
                           : quern_batch_put_until(batch, model_key(n), model_value(want, p->room),
                                                   want.expires_ms, &err),
                       &err, "a batch");
    }
    fine = fine &&
           play_ok(p, quern_write(p->db, batch, &sync, &err), &err, "writing after the window");
    quern_batch_free(batch);
    if (fine)
        p->real = p->base = p->goal;
}

/* The power goes now, or the process ends, unless the cut has come already. */
static size_t crash(struct play *p, size_t low)
{
    enum sim_crash_mode mode = (enum sim_crash_mode)play_pick(p, 3);
    struct sim *after = sim_crash(p->sim, p->random, mode);
    struct quern_error err;

    p->result->crashes++;
    play_let_go(p);
    sim_fail_never(p->sim);
    if (p->db != NULL)
        (void)quern_close(p->db, &err);
    p->db = NULL;
    sim_free(p->sim);
    p->sim = after;
    return mode == SIM_KEEP_ALL ? low : 0;
}

/* Open after a crash; the power may go again during that, or space may be wanting. */
static void recover(struct play *p, size_t low)
{
    struct quern_error err = {0};
    enum quern_code code;

    if (play_pick(p, 4) == 0) { /* no room: it opens all the same, or says so */
        sim_free_space(p->sim, play_pick(p, 16) * 8192);
        code = try_open(p, &err);
        if (code == QUERN_OK)
            (void)quern_close(p->db, &err);
        else if (code != QUERN_NO_SPACE)
            (void)play_ok(p, code, &err, "open on a full disk");
        p->db = NULL;
    }
    for (uint64_t cuts = play_pick(p, 3); cuts > 0; cuts--) {
        sim_crash_at_of(p->sim, SIM_CHANGES,
                        sim_op_count_of(p->sim, SIM_CHANGES) + 1 + play_pick(p, 60));
        code = try_open(p, &err);
        sim_crash_at(p->sim, 0);
        if (!sim_is_off(p->sim)) { /* what a recovery has shown stays */
            if (!play_ok(p, code, &err, "open after a crash") ||
                !find_what_is_left(p, low, "after a crash"))
                return;
            low = 0;
        }
        low = crash(p, low);
    }
    sim_free_space(p->sim, UINT64_MAX);
    if (!p->result->failed && must_open(p, "open after a crash") &&
        find_what_is_left(p, low, "after a crash"))
        converge(p);
}

/* The disk is well again. A store that gave up is opened anew. */
static void mend(struct play *p)
{
    struct quern_error err = {0};
    enum quern_code code = QUERN_OK;

    sim_free_space(p->sim, UINT64_MAX);
    play_let_go(p);
    if (p->db != NULL)
        code = quern_close(p->db, &err);
    if (p->db != NULL && code == QUERN_OK)
        play_made_durable(p);
    p->db = NULL;
    if (must_open(p, "open after a fault") && find_what_is_left(p, p->acked, "after a fault"))
        converge(p);
}

static void lift(struct play *p)
{
    sim_fail_never(p->sim);
    sim_set_sync_us(p->sim, 0);
    alloc_fail_never();
}

void play_settle(struct play *p)
{
    unsigned until = p->window.until;
    bool over = p->result->step >= until, off = sim_is_off(p->sim), cut = p->window.cut;

    if (until == 0 || (!off && !over))
        return;
    lift(p);
    p->window.until = 0;
    p->window.cut = p->window.fault = false;
    p->random += p->config->set;
    if (off || cut)
        recover(p, crash(p, p->acked));
    else
        mend(p);
    /* What follows is calm here, and not under options for which the power has not gone yet. */
    if (!over)
        p->window.until = until;
}

/* ---- the beginning of a window ---- */

static const struct sim_fault faults[] = {
    {.ops = SIM_ANY, .sys_errno = EIO},
    {.ops = SIM_ANY, .sys_errno = EIO, .always = true},
    {.ops = SIM_CHANGES, .sys_errno = ENOSPC},
    {.ops = SIM_CHANGES, .sys_errno = ENOSPC, .always = true},
    {.ops = SIM_WRITE, .sys_errno = EIO, .part_bytes = 700},
    {.ops = SIM_WRITE, .sys_errno = ENOSPC, .part_bytes = 700},
    {.ops = SIM_SYNC | SIM_DIR_SYNC, .sys_errno = EIO, .drop_dirty = true},
};

static void plant(struct play *p)
{
    uint64_t which = play_pick(p, ARRAY_LEN(faults) + 3), skip = play_pick(p, 60);

    p->result->faults++;
    if (which < ARRAY_LEN(faults)) {
        struct sim_fault fault = faults[which];

        fault.skip = skip;
        sim_fail(p->sim, &fault);
    } else if (which == ARRAY_LEN(faults)) {
        alloc_fail_once_after(skip);
    } else {
        sim_free_space(p->sim, skip * 4096);
    }
}

void play_window(struct play *p)
{
    uint64_t kind = play_pick(p, 4), at = 1 + play_pick(p, 80);

    if (p->window.until != 0)
        return;
    if (p->log_count > CHANGES_MAX / 2) /* no sync may be had inside */
        play_sync(p);
    p->window.until = p->result->step + 1 + (unsigned)play_pick(p, 40);
    p->window.fault = kind >= 2;
    p->window.cut = kind != 2;
    if (p->window.fault)
        plant(p);
    if (p->window.cut)
        sim_crash_at_of(p->sim, SIM_CHANGES, sim_op_count_of(p->sim, SIM_CHANGES) + at);
}

/* ---- reopen and copies ---- */

static enum quern_code remove_one(void *dir, const char *name, struct quern_error *err)
{
    return os_dir_remove(dir, name, err);
}

static void remove_store(struct play *p, const char *path)
{
    struct os_dir *dir OWNED(os_dir_close) = NULL;
    struct quern_error err = {0};
    enum quern_code code = os_dir_open(sim_os(p->sim), path, false, &dir, &err);

    if (code == QUERN_OK)
        code = os_dir_list(dir, remove_one, dir, &err);
    if (code == QUERN_OK)
        code = os_dir_sync(dir, &err);
    (void)play_ok(p, code, &err, "remove a store");
}

/* A copy that quern_repair() makes of a sound store is the store. */
static void repair(struct play *p)
{
    struct quern_repair_report report;
    struct quern_error err = {0};
    struct quern *db = NULL;
    char path[40];

    (void)snprintf(path, sizeof(path), "/repaired-%u", p->copies++);
    if (!play_ok(p, engine_check_files(sim_os(p->sim), PLAY_PATH, NULL, NULL, &err), &err,
                 "check of a closed store") ||
        !play_ok(p, engine_repair(sim_os(p->sim), PLAY_PATH, path, NULL, &report, &err), &err,
                 "repair of a sound store") ||
        !play_ok(p, engine_open(sim_os(p->sim), path, &p->options, &db, &err), &err,
                 "open what was repaired"))
        return;
    (void)play_shows(p, db, &p->real, "what was repaired");
    (void)play_ok(p, quern_close(db, &err), &err, "close what was repaired");
    remove_store(p, path);
}

void play_reopen(struct play *p)
{
    bool repairs = play_pick(p, 4) == 0;
    struct quern_error err = {0};
    enum quern_code code;

    play_let_go(p);
    code = quern_close(p->db, &err);
    p->db = NULL;
    if (play_ok(p, code, &err, "close"))
        play_made_durable(p);
    if (repairs && p->window.until == 0)
        repair(p);
    /* What is unknown shows when the window is over: a read might fail now. */
    if (!sim_is_off(p->sim) && p->log_count == p->acked)
        (void)must_open(p, "reopen");
}

/* A checkpoint shows what it showed, after whatever happened to its origin,
 * its own snapshots too. */
static void look_at_copy(struct play *p, size_t which)
{
    struct quern_snapshot *snapshot = NULL;
    struct quern *db = NULL;
    struct quern_error err = {0};
    char path[40];

    (void)snprintf(path, sizeof(path), "/copy-%u", p->copy[which].no);
    p->copy[which].no = 0;
    if (!play_ok(p, engine_open(sim_os(p->sim), path, &p->options, &db, &err), &err,
                 "open a checkpoint"))
        return;
    p->copy[which].shows.time_ms = p->real.time_ms;
    (void)play_shows(p, db, &p->copy[which].shows, "a checkpoint");
    (void)play_ok(p, quern_snapshot_new(db, &snapshot, &err), &err, "snapshot of a checkpoint");
    (void)play_ok(p, quern_verify(db, NULL, NULL, &err), &err, "verify a checkpoint");
    quern_snapshot_free(snapshot);
    (void)play_ok(p, quern_close(db, &err), &err, "close a checkpoint");
    remove_store(p, path);
}

void play_copy(struct play *p)
{
    size_t which = play_pick(p, COPIES_MAX);
    struct quern_error err = {0};
    char path[40];

    if (p->copy[which].no != 0) {
        if (p->window.until == 0)
            look_at_copy(p, which);
        return;
    }
    (void)snprintf(path, sizeof(path), "/copy-%u", ++p->copies);
    if (!play_ok(p, quern_checkpoint(p->db, path, &err), &err, "checkpoint") || sim_is_off(p->sim))
        return;
    play_made_durable(p);
    p->copy[which].no = p->copies;
    p->copy[which].shows = p->real;
}

void play_close(struct play *p)
{
    struct quern_error err = {0};

    play_let_go(p);
    lift(p);
    if (p->db != NULL) {
        enum quern_code code = quern_close(p->db, &err);

        if (!p->result->failed)
            (void)play_ok(p, code, &err, "close");
    }
    quern_value_done(&p->value);
    sim_free(p->sim);
}
