/* manifest_state.c - the state in memory, and how an edit changes it: checked as a whole first,
 * then made so by steps that cannot fail.
 *
 *     state_prepare()  looks for every number the edit touches, copies what it adds, lays out the
 *                      array to come and checks it; may run out of memory, may say INVALID
 *        |   the edit is written and synced in between
 *     state_commit()   swaps the arrays and frees what is gone
 *
 * What holds of the array, always:
 *   (1) it rises by (tier, run_no falling, smallest);
 *   (2) within a run (one tier and run_no) ranges are disjoint: largest < next smallest;
 *   (3) no table_no stands twice;
 *   (4) TIER_BOTTOM holds at most one run.
 * An edit keeps them if they held before and hold around each table it adds, because what stays
 * keeps its order, and a trim only narrows. So the check costs a few comparisons per added table;
 * the copy of the array, a table's worth of bytes for each table of the store, is what an edit
 * costs. */
#include "manifest/manifest_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdlib.h>

/* On one number, in this order: a move is a remove and an add. */
enum touch_kind { TOUCH_REMOVE, TOUCH_ADD, TOUCH_TRIM };

/* Something that the edit does to one table number. */
struct state_touch {
    uint64_t table_no;
    enum touch_kind kind;
    size_t index; /* in the edit's array of this kind */
    size_t at;    /* in the old array, once found */
    bool found;
};

static struct quern_slice smallest_of(const struct manifest_table *t)
{
    return buf_slice(&t->meta.smallest);
}

static struct quern_slice largest_of(const struct manifest_table *t)
{
    return buf_slice(&t->meta.largest);
}

static int run_compare(const struct manifest_table *a, const struct manifest_table *b)
{
    if (a->tier != b->tier)
        return a->tier < b->tier ? -1 : 1;
    return (a->run_no < b->run_no) - (a->run_no > b->run_no);
}

static int table_compare(const void *x, const void *y)
{
    const struct manifest_table *a = x, *b = y;
    int order = run_compare(a, b);

    return order != 0 ? order : key_compare(smallest_of(a), smallest_of(b));
}

static int touch_compare(const void *x, const void *y)
{
    const struct state_touch *a = x, *b = y;

    if (a->table_no != b->table_no)
        return a->table_no < b->table_no ? -1 : 1;
    return (a->kind > b->kind) - (a->kind < b->kind);
}

/* ---- what the edit touches ---- */

static enum quern_code touches_check(const struct state_change *c, struct quern_error *err)
{
    for (size_t i = 1; i < c->touch_count; i++) {
        const struct state_touch *a = &c->touches[i - 1], *b = &c->touches[i];

        if (a->table_no != b->table_no || (a->kind == TOUCH_REMOVE && b->kind == TOUCH_ADD))
            continue;
        return err_set(err, QUERN_INVALID, "table %06" PRIu64 " stands twice in one edit",
                       a->table_no);
    }
    return QUERN_OK;
}

static enum quern_code touches_list(struct state_change *c, const struct manifest_edit *e,
                                    struct quern_error *err)
{
    size_t n = 0;

    c->touch_count = e->remove_count + e->add_count + e->trim_count;
    c->touches = alloc_array(c->touch_count, sizeof(*c->touches));
    if (c->touches == NULL)
        return err_memory(err, "an edit");
    for (size_t i = 0; i < e->remove_count; i++)
        c->touches[n++] = (struct state_touch){e->remove[i], TOUCH_REMOVE, i, 0, false};
    for (size_t i = 0; i < e->add_count; i++)
        c->touches[n++] = (struct state_touch){e->add[i].meta.table_no, TOUCH_ADD, i, 0, false};
    for (size_t i = 0; i < e->trim_count; i++)
        c->touches[n++] = (struct state_touch){e->trim[i].table_no, TOUCH_TRIM, i, 0, false};
    qsort(c->touches, c->touch_count, sizeof(*c->touches), touch_compare);
    return touches_check(c, err);
}

/* The first touch of this number, or NULL. */
static struct state_touch *touch_find(const struct state_change *c, uint64_t table_no)
{
    size_t low = 0, high = c->touch_count;

    /* Most tables of a large store are outside the span of numbers that an edit touches. */
    if (high == 0 || table_no < c->touches[0].table_no || table_no > c->touches[high - 1].table_no)
        return NULL;
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->touches[mid].table_no < table_no)
            low = mid + 1;
        else
            high = mid;
    }
    return c->touches[low].table_no == table_no ? &c->touches[low] : NULL;
}

/* ---- copies of what is added ---- */

static enum quern_code table_check(const struct manifest_table *t, struct quern_error *err)
{
    uint64_t no = t->meta.table_no;
    size_t smallest = t->meta.smallest.len, largest = t->meta.largest.len;

    if (no == 0 || no > MANIFEST_NO_MAX || t->run_no > MANIFEST_NO_MAX)
        return err_set(err, QUERN_INVALID,
                       "table number %" PRIu64 " and run number %" PRIu64 " are out of range", no,
                       t->run_no);
    if (t->tier >= TIER_COUNT_MAX)
        return err_set(err, QUERN_INVALID, "table %06" PRIu64 ": there is no tier %" PRIu32, no,
                       t->tier);
    if (smallest == 0 || smallest > ENTRY_KEY_BYTES_MAX || largest > ENTRY_KEY_BYTES_MAX ||
        key_compare(smallest_of(t), largest_of(t)) > 0)
        return err_set(err, QUERN_INVALID,
                       "table %06" PRIu64 ": its key range is empty or too long", no);
    return QUERN_OK;
}

static enum quern_code fresh_copy(struct state_change *c, const struct manifest_edit *e,
                                  struct quern_error *err)
{
    c->fresh = alloc_array(e->add_count, sizeof(*c->fresh));
    if (c->fresh == NULL)
        return err_memory(err, "an edit");
    for (size_t i = 0; i < e->add_count; i++) {
        struct manifest_table *to = &c->fresh[i];

        if (table_check(&e->add[i], err) || table_meta_copy(&to->meta, &e->add[i].meta, err))
            return err->code;
        to->tier = e->add[i].tier;
        to->run_no = e->add[i].run_no;
        to->cut_seq = e->add[i].cut_seq;
        c->fresh_count++;
    }
    qsort(c->fresh, c->fresh_count, sizeof(*c->fresh), table_compare);
    return QUERN_OK;
}

static enum quern_code trims_copy(struct state_change *c, const struct manifest_edit *e,
                                  struct quern_error *err)
{
    c->trimmed = alloc_array(e->trim_count, sizeof(*c->trimmed));
    if (c->trimmed == NULL)
        return err_memory(err, "an edit");
    c->trimmed_count = e->trim_count;
    for (size_t i = 0; i < e->trim_count; i++)
        if (buf_append(&c->trimmed[i], e->trim[i].smallest.data, e->trim[i].smallest.len, err))
            return err->code;
    return QUERN_OK;
}

/* ---- laying out the array to come ---- */

/* The lower bound of an old table as it will be. */
static struct quern_slice smallest_to_come(const struct state_change *c,
                                           const struct manifest_table *t)
{
    const struct state_touch *touch = touch_find(c, t->meta.table_no);

    if (touch != NULL && touch->kind == TOUCH_TRIM)
        return buf_slice(&c->trimmed[touch->index]);
    return smallest_of(t);
}

/* How many tables of `now` stand before `fresh`. */
static size_t position_of(const struct state_change *c, const struct manifest_state *now,
                          const struct manifest_table *fresh)
{
    size_t low = 0, high = now->table_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct manifest_table *t = &now->tables[mid];
        int order = run_compare(t, fresh);

        if (order == 0)
            order = key_compare(smallest_to_come(c, t), smallest_of(fresh));
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static enum quern_code trim_check(const struct state_change *c, const struct state_touch *touch,
                                  const struct manifest_table *t, struct quern_error *err)
{
    struct quern_slice smallest = buf_slice(&c->trimmed[touch->index]);

    if (key_compare(smallest, smallest_of(t)) < 0 || key_compare(smallest, largest_of(t)) > 0)
        return err_set(err, QUERN_INVALID,
                       "table %06" PRIu64 ": a trim must raise the lower bound inside the range",
                       touch->table_no);
    return QUERN_OK;
}

/* Carry old table `at` over, unless it is removed. */
static enum quern_code carry(struct state_change *c, const struct manifest_state *now, size_t at,
                             struct quern_error *err)
{
    const struct manifest_table *t = &now->tables[at];
    struct state_touch *touch = touch_find(c, t->meta.table_no);

    if (touch == NULL) {
        c->tables[c->table_count++] = *t;
        return QUERN_OK;
    }
    if (touch->kind == TOUCH_ADD)
        return err_set(err, QUERN_INVALID, "table %06" PRIu64 " is added but is there already",
                       touch->table_no);
    touch->found = true;
    touch->at = at;
    if (touch->kind == TOUCH_TRIM) {
        if (trim_check(c, touch, t, err))
            return err->code;
        c->tables[c->table_count] = *t;
        c->tables[c->table_count++].meta.smallest = c->trimmed[touch->index];
    }
    return QUERN_OK;
}

/* May `b` stand right after `a`? */
static enum quern_code neighbours_check(const struct manifest_table *a,
                                        const struct manifest_table *b, struct quern_error *err)
{
    if (run_compare(a, b) == 0) {
        if (key_compare(largest_of(a), smallest_of(b)) < 0)
            return QUERN_OK;
        return err_set(err, QUERN_INVALID,
                       "tables %06" PRIu64 " and %06" PRIu64 " of run %" PRIu64 " overlap",
                       a->meta.table_no, b->meta.table_no, a->run_no);
    }
    if (a->tier == TIER_BOTTOM && b->tier == TIER_BOTTOM)
        return err_set(err, QUERN_INVALID,
                       "runs %" PRIu64 " and %" PRIu64 " in the bottom tier, which has one",
                       a->run_no, b->run_no);
    return QUERN_OK;
}

static enum quern_code lay_out(struct state_change *c, const struct manifest_state *now,
                               struct quern_error *err)
{
    size_t old = 0;
    bool after_fresh = false;

    for (size_t i = 0; i <= c->fresh_count; i++) {
        size_t until = i < c->fresh_count ? position_of(c, now, &c->fresh[i]) : now->table_count;

        for (; old < until; old++) {
            size_t before = c->table_count;

            if (carry(c, now, old, err))
                return err->code;
            if (c->table_count == before || !after_fresh)
                continue;
            after_fresh = false;
            if (neighbours_check(&c->tables[before - 1], &c->tables[before], err))
                return err->code;
        }
        if (i == c->fresh_count)
            break;
        if (c->table_count > 0 &&
            neighbours_check(&c->tables[c->table_count - 1], &c->fresh[i], err))
            return err->code;
        c->tables[c->table_count++] = c->fresh[i];
        after_fresh = true;
    }
    return QUERN_OK;
}

static enum quern_code all_found(const struct state_change *c, struct quern_error *err)
{
    for (size_t i = 0; i < c->touch_count; i++)
        if (!c->touches[i].found && c->touches[i].kind != TOUCH_ADD)
            return err_set(err, QUERN_INVALID, "table %06" PRIu64 " is to be %s but is not there",
                           c->touches[i].table_no,
                           c->touches[i].kind == TOUCH_REMOVE ? "removed" : "trimmed");
    return QUERN_OK;
}

/* ---- log segments and sequence numbers: they only rise ---- */

static enum quern_code numbers_check(const struct manifest_state *now,
                                     const struct manifest_edit *e, struct state_change *c,
                                     struct quern_error *err)
{
    c->log_first = e->set_log_first ? e->log_first : now->log_first;
    c->log_last = e->set_log_last ? e->log_last : now->log_last;
    c->flushed_seq = e->set_flushed_seq ? e->flushed_seq : now->flushed_seq;
    if (c->log_first < now->log_first || c->log_last < now->log_last)
        return err_set(err, QUERN_INVALID,
                       "log segments %" PRIu64 "..%" PRIu64 " after %" PRIu64 "..%" PRIu64
                       ": their numbers never fall",
                       c->log_first, c->log_last, now->log_first, now->log_last);
    if (c->log_first > MANIFEST_NO_MAX || c->log_last > MANIFEST_NO_MAX ||
        (c->log_last > c->log_first && c->log_last - c->log_first >= LOG_SEGMENTS_MAX))
        return err_set(err, QUERN_INVALID, "log segments %" PRIu64 "..%" PRIu64 " are out of range",
                       c->log_first, c->log_last);
    if (c->flushed_seq > ENTRY_SEQ_MAX)
        return err_set(err, QUERN_INVALID, "flushed up to %" PRIu64 " is out of range",
                       c->flushed_seq);
    if (c->flushed_seq < now->flushed_seq)
        return err_set(err, QUERN_INVALID,
                       "flushed up to %" PRIu64 " after %" PRIu64 ": it never falls",
                       c->flushed_seq, now->flushed_seq);
    return QUERN_OK;
}

/* A number of keys is as of flushed_seq: a new one that comes alone leaves none. */
static void take_live(const struct manifest_state *now, const struct manifest_edit *e,
                      struct state_change *c)
{
    if (e->live != NULL)
        memcpy(c->live, e->live, sizeof(c->live));
    else if (!e->set_flushed_seq)
        memcpy(c->live, now->live, sizeof(c->live));
}

/* ---- the three steps ---- */

static enum quern_code prepare(const struct manifest_state *now, const struct manifest_edit *e,
                               struct state_change *c, struct quern_error *err)
{
    if (numbers_check(now, e, c, err))
        return err->code;
    c->map = e->set_map ? e->map : now->map;
    if (!db_map_is_valid(c->map))
        return err_set(err, QUERN_INVALID, "%#" PRIx64 " is no map of databases", c->map);
    take_live(now, e, c);
    c->set_cuts = e->set_cuts;
    c->cuts = cuts_ref(e->cuts);
    if (e->remove_count + e->add_count + e->trim_count == 0)
        return QUERN_OK; /* readers keep the array: the log's edits come from another thread */
    if (touches_list(c, e, err) || fresh_copy(c, e, err) || trims_copy(c, e, err))
        return err->code;
    c->tables = alloc_bytes((now->table_count + e->add_count) * sizeof(*c->tables));
    if (c->tables == NULL)
        return err_memory(err, "the list of tables");
    if (lay_out(c, now, err))
        return err->code;
    return all_found(c, err);
}

enum quern_code state_prepare(const struct manifest_state *now, const struct manifest_edit *edit,
                              struct state_change *out, struct quern_error *err)
{
    struct state_change c = {0};

    if (prepare(now, edit, &c, err)) {
        state_change_done(&c);
        return err->code;
    }
    *out = c;
    return QUERN_OK;
}

/* What stays is not written: an edit of the log's comes from another thread while the worker, whose the
 * rest is, reads it without a lock. */
static void put_if_new(uint64_t *to, uint64_t value)
{
    if (*to != value)
        *to = value;
}

void state_commit(struct manifest_state *state, struct state_change *c)
{
    put_if_new(&state->log_first, c->log_first);
    put_if_new(&state->log_last, c->log_last);
    put_if_new(&state->flushed_seq, c->flushed_seq);
    put_if_new(&state->map, c->map);
    for (size_t d = 0; d < QUERN_DATABASES; d++)
        put_if_new(&state->live[d], c->live[d]);
    if (c->set_cuts) {
        cuts_unref(state->cuts);
        state->cuts = GIVE(c->cuts);
    }
    if (c->tables != NULL) {
        for (size_t i = 0; i < c->touch_count; i++) {
            const struct state_touch *touch = &c->touches[i];

            if (touch->kind == TOUCH_REMOVE)
                table_meta_done(&state->tables[touch->at].meta);
            else if (touch->kind == TOUCH_TRIM)
                buf_done(&state->tables[touch->at].meta.smallest);
        }
        alloc_free(state->tables);
        state->tables = GIVE(c->tables);
        state->table_count = c->table_count;
        c->fresh_count = 0; /* the keys of these are the state's now */
        c->trimmed_count = 0;
    }
    state_change_done(c);
}

void state_change_done(struct state_change *c)
{
    for (size_t i = 0; i < c->fresh_count; i++)
        table_meta_done(&c->fresh[i].meta);
    for (size_t i = 0; i < c->trimmed_count; i++)
        buf_done(&c->trimmed[i]);
    alloc_free(c->fresh);
    alloc_free(c->trimmed);
    alloc_free(c->touches);
    alloc_free(c->tables);
    cuts_unref(c->cuts);
    *c = (struct state_change){0};
}

void state_done(struct manifest_state *state)
{
    for (size_t i = 0; i < state->table_count; i++)
        table_meta_done(&state->tables[i].meta);
    alloc_free(state->tables);
    state->tables = NULL;
    state->table_count = 0;
    cuts_unref(GIVE(state->cuts));
}
