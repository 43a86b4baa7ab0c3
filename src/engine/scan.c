/* scan.c - iterators as users know them: one version of each living key.
 *
 * Below is one merged cursor over all versions (keys rise, newest first). Going forward it stands
 * on the entry that is shown, and next() skips what is left of its key. Going backward the versions
 * of a key come oldest first, so the whole group is walked and the newest visible one shown; `in`
 * then stands before the group. Nothing is copied for that: what a step leaves stays readable for
 * one step more (iter.h), and that is as long as a key, or the last version of a group, is needed.
 * Only where newer versions that the number does not see follow, the entry is copied.
 *
 *            seek, first, next                     last, seek_back, prev
 *   FORWARD <------------------- turns: seek -------------------> BACKWARD
 *
 * The view is pinned by a reference, number and time by a pin that compaction respects. Every move
 * changes to the present view when there is a newer one, and finds its place there by the key; so
 * an iterator that is used does not hold dead files, however long it walks.
 *
 * What a cut hides is not shown. Where there is much of it, those MemDBs and tables that are older than
 * the cut as a whole are left for where it ends (iter_pass); only what is newer too is walked.
 *
 * A walk that meets nothing for long asks spans.c whether more of it is known, and else goes on so
 * that it will be known next time. */
#include "engine/scan_priv.h"

/* So many entries in a row that are not shown: look whether more of them are known; and walk them
 * so that they will be. */
#define WALK_LOOK 16
#define WALK_REMEMBER 256
/* So many in a row that a cut hides: see whether all it hides can be passed over. */
#define CUT_LOOK 4

#define NO_KEY ((struct quern_slice){NULL, 0})

/* A seek in a run costs as much as so many entries passed over, or gets in vain. */
#define SEEK_PASSES 8
#define HAND_IN 4096 /* passes gathered before the shared counter is told */

/* ---- life ---- */

enum quern_code quern_iter_new(struct quern *db, const struct quern_iter_opts *opts,
                               struct quern_iter **out, struct quern_error *err)
{
    static const struct quern_iter_opts none;
    struct quern_error local;
    struct quern_iter *it;

    err = ERR_OR(err, local);
    opts = opts != NULL ? opts : &none;
    if (engine_check(db, err) || check_database(opts->database, err))
        return err->code;
    it = NEW(struct quern_iter);
    if (it == NULL)
        return err_memory(err, "an iterator");
    it->db = db;
    it->bulk = opts->bulk;
    mutex_lock(&db->mu);
    pin_add_locked(db, &it->pin, opts->snapshot != NULL ? &opts->snapshot->pin : NULL);
    db->iterator_count++;
    mutex_unlock(&db->mu);
    it->view = engine_view(db);
    if (iter_set_bounds(it, opts, err) || iter_build(it, err)) {
        quern_iter_free(it);
        return err->code;
    }
    atomic_fetch_add_explicit(&engine_counters(db)->seeks, 1, memory_order_relaxed);
    *out = it;
    return QUERN_OK;
}

static void hand_in(struct quern_iter *it)
{
    atomic_fetch_add_explicit(&engine_counters(it->db)->passed, it->passed, memory_order_relaxed);
    it->passed = 0;
}

void quern_iter_free(struct quern_iter *it)
{
    if (it == NULL)
        return;
    hand_in(it);
    iter_free(it->in);
    view_unref(it->view);
    mutex_lock(&it->db->mu);
    pin_remove_locked(&it->pin);
    it->db->iterator_count--;
    mutex_unlock(&it->db->mu);
    buf_done(&it->lower);
    buf_done(&it->upper);
    buf_done(&it->key);
    buf_done(&it->copy);
    buf_done(&it->jump);
    alloc_free(it);
}

static bool is_present(const struct quern_iter *it)
{
    return atomic_load_explicit(&it->db->view, memory_order_relaxed) == it->view;
}

/* Change to the present view as it is now; `in` stands nowhere then, so a seek follows. On failure
 * the old one serves on. */
static bool rebuild(struct quern_iter *it)
{
    struct view *now = engine_view(it->db), *before = it->view;
    bool had_active = it->has_active;
    struct iter *in = it->in;
    struct quern_error err;

    it->view = now;
    it->in = NULL;
    if (iter_build(it, &err)) {
        it->view = before;
        it->in = in;
        it->has_active = had_active;
        view_unref(now);
        return false;
    }
    iter_free(in);
    view_unref(before);
    return true;
}

static void renew(struct quern_iter *it)
{
    if (UNLIKELY(!is_present(it)))
        IGNORE(rebuild(it));
}

/* Before a seek: note what it costs that there are several runs, and take the present view. */
static void prepare_seek(struct quern_iter *it)
{
    size_t runs = it->view->version->run_count;

    if (runs > 1) /* one there must be */
        it->passed += SEEK_PASSES * (runs - 1);
    if (it->passed >= HAND_IN)
        hand_in(it);
    renew(it);
}

/* Several runs are searched one after the other: have what the searches will need on its way for
 * all of them at once, first in the indexes, then in the blocks that these name. */
static void expect_seek(const struct quern_iter *it, struct quern_slice key)
{
    const struct version *version = it->view->version;
    struct table *tables[RUNS_AT_ONCE];
    size_t n = version->run_count < RUNS_AT_ONCE ? version->run_count : RUNS_AT_ONCE;

    if (n < 2)
        return;
    rcu_enter();
    for (size_t r = 0; r < n; r++) {
        tables[r] = run_find(&version->runs[r], key);
        if (tables[r] != NULL)
            sst_prefetch_index(tables[r]->sst, key);
    }
    for (size_t r = 0; r < n; r++)
        if (tables[r] != NULL)
            sst_prefetch_block(tables[r]->sst, key);
    rcu_leave();
}

/* ---- moving ---- */

static uint8_t database(const struct quern_iter *it)
{
    return inner_database(buf_slice(&it->lower));
}

static bool stop(struct quern_iter *it, const struct quern_error *why)
{
    it->valid = false;
    if (why != NULL && why->code != QUERN_OK) {
        it->err = *why;
        engine_note_damage(it->db, why);
    }
    return false;
}

/* The newest cut over `key` that the iterator sees; 0: there is none. */
static quern_seq cut_over(struct quern_iter *it, struct quern_slice key)
{
    if (!it->cut_known || !cut_span_has(&it->cut, key))
        view_cut_span(it->view, key, it->pin.seq, &it->cut);
    it->cut_known = true;
    return it->cut.seq;
}

/* Is it deleted by a range? As a rule the view has no cut, and that is one look. */
static inline bool is_cut(struct quern_iter *it, const struct entry *e)
{
    return UNLIKELY(it->cuts) && cut_over(it, e->key) > e->seq;
}

enum sight { SHOWN, PASSED, CUT, BEYOND };

/* What the entry that a forward walk stands on is to it. `skip` is the key, if any, whose versions
 * are passed over; it is readable for one step of `in`. */
static inline enum sight look(struct quern_iter *it, const struct entry *e,
                              struct quern_slice *skip)
{
    if (skip->len != 0 && key_equal(e->key, *skip)) {
        *skip = e->key; /* the same bytes, where they last for the next step */
        return PASSED;
    }
    if (UNLIKELY(it->in->head >= it->upper_head) && key_compare(e->key, buf_slice(&it->upper)) >= 0)
        return BEYOND;
    skip->len = 0;
    if (e->seq > it->pin.seq)
        return PASSED;
    if (is_cut(it, e))
        return CUT; /* and so are older versions of the key */
    if (LIKELY(entry_lives(e, it->pin.time_ms)))
        return SHOWN;
    *skip = e->key; /* a tombstone, or what has expired, hides what is older */
    return PASSED;
}

/* On from an entry that is not shown. Where many in a row are cut, past all that can be passed over
 * together: nothing in it is of a key that is to be skipped, since the entry here is not. */
static inline void go_on(struct quern_iter *it, enum sight sight)
{
    it->passed++;
    it->cut_row = UNLIKELY(sight == CUT) ? it->cut_row + 1 : 0;
    if (UNLIKELY(it->cut_row == CUT_LOOK)) {
        it->cut_row = 0;
        if (iter_pass(it->in, it->cut.seq, it->cut.to, false))
            return;
    }
    iter_next(it->in);
}

/* Walk on to the next entry shown and, if that is a walk of `slot`, remember what was empty. */
static bool walk_forward(struct quern_iter *it, int slot)
{
    struct quern_slice skip = NO_KEY;
    enum sight sight;

    for (struct iter *in = it->in; in->valid; go_on(it, sight)) {
        const struct entry *e = &in->at;

        sight = look(it, e, &skip);
        if (sight == BEYOND) {
            spans_keep(&it->db->spans, slot, buf_slice(&it->upper));
            return stop(it, NULL);
        }
        if (sight == SHOWN || (slot != SPAN_NONE && e->seq > it->pin.seq && e->kind == ENTRY_PUT)) {
            spans_keep(&it->db->spans, slot, e->key);
            slot = SPAN_NONE;
        }
        if (sight == SHOWN)
            return it->valid = true;
    }
    if (it->in->err.code == QUERN_OK)
        spans_keep(&it->db->spans, slot, NO_KEY);
    else
        spans_drop(&it->db->spans, slot);
    return stop(it, &it->in->err);
}

/* A walk of `slot` has to meet all that was put before it was registered, newer than its number or
 * not: so it is in the present view, with the MemDB that takes writes unless that is empty still;
 * else it is none. */
static int enter_walk(struct quern_iter *it, int slot)
{
    if (LIKELY((is_present(it) && it->has_active) || rebuild(it)))
        return slot;
    spans_drop(&it->db->spans, slot);
    return SPAN_NONE;
}

/* What lies before `jump` is known to be empty: on from there. */
static bool jump_forward(struct quern_iter *it, int slot)
{
    struct quern_slice to = buf_slice(&it->jump);

    if (to.len == 0 || key_compare(to, buf_slice(&it->upper)) >= 0) {
        spans_drop(&it->db->spans, slot);
        return stop(it, NULL);
    }
    slot = enter_walk(it, slot);
    iter_seek(it->in, to);
    return walk_forward(it, slot);
}

/* A walk over nothing has become long. `skip` is the key that `in` stands on, or empty. What is
 * watched begins behind it: it may be a living key of many versions, that was shown. */
static bool find_far(struct quern_iter *it, struct quern_slice skip)
{
    struct spans *spans = &it->db->spans;
    struct iter *in = it->in;
    enum sight sight;
    int slot;

    if (buf_assign(&it->key, in->at.key, &it->err) ||
        (skip.len != 0 && buf_append(&it->key, "", 1, &it->err)))
        return stop(it, NULL);
    if (spans_resume(spans, buf_slice(&it->key), it->pin.seq, it->pin.time_ms, &it->jump, &slot))
        return jump_forward(it, slot);
    for (int passed = 0; in->valid; go_on(it, sight), passed++) {
        sight = look(it, &in->at, &skip);
        if (sight == SHOWN || sight == BEYOND)
            return sight == SHOWN ? (it->valid = true) : stop(it, NULL);
        if (passed == WALK_REMEMBER) { /* once more, and this time watched */
            slot = enter_walk(it,
                              spans_walk(spans, buf_slice(&it->key), it->pin.seq, it->pin.time_ms));
            iter_seek(it->in, buf_slice(&it->key));
            return walk_forward(it, slot);
        }
    }
    return stop(it, &in->err);
}

/* From where `in` stands to the first entry that is shown, past all versions of the key `skip`
 * first, if it is not empty. */
static bool find_forward(struct quern_iter *it, struct quern_slice skip)
{
    struct iter *in = it->in;
    enum sight sight;

    it->backward = false;
    for (int passed = 0; in->valid; go_on(it, sight), passed++) {
        sight = look(it, &in->at, &skip);
        if (LIKELY(sight == SHOWN))
            return it->valid = true;
        if (sight == BEYOND)
            return stop(it, NULL);
        if (passed == WALK_LOOK)
            return find_far(it, skip);
    }
    return stop(it, &in->err);
}

static bool keep_shown(struct quern_iter *it)
{
    struct entry *e = &it->shown;

    buf_clear(&it->copy);
    if (buf_append(&it->copy, e->key.data, e->key.len, &it->err) ||
        buf_append(&it->copy, e->value.data, e->value.len, &it->err))
        return false;
    e->key.data = it->copy.data;
    e->value.data = it->copy.data + e->key.len;
    return true;
}

/* The group of versions that `in` stands at the (backward) beginning of: find the newest visible.
 * Leaves `in` before the group. True: an entry is shown. */
static bool take_group(struct quern_iter *it)
{
    struct iter *in = it->in;
    bool found = false, lasts = true;
    struct quern_slice key;

    do {
        if (in->at.seq <= it->pin.seq) {
            it->shown = in->at;
            found = entry_lives(&in->at, it->pin.time_ms) && !is_cut(it, &in->at);
            lasts = false;
        } else if (found && !lasts) { /* a second step would take it away */
            if (!keep_shown(it))
                return false;
            lasts = true;
        }
        key = in->at.key;
        iter_prev(in);
    } while (in->valid && key_equal(in->at.key, key));
    return found && in->err.code == QUERN_OK;
}

static bool find_backward(struct quern_iter *it)
{
    struct iter *in = it->in;

    it->backward = true;
    for (int passed = 0; in->valid; passed++) {
        if (key_compare(in->at.key, buf_slice(&it->lower)) < 0)
            return stop(it, NULL);
        if (passed == WALK_LOOK) {
            passed = 0;
            if (it->cuts && cut_over(it, in->at.key) != 0 &&
                iter_pass(in, it->cut.seq, it->cut.from, true))
                continue;
            if (spans_before(&it->db->spans, in->at.key, it->pin.seq, it->pin.time_ms, &it->jump)) {
                iter_seek_below(in, buf_slice(&it->jump));
                continue;
            }
        }
        if (take_group(it))
            return it->valid = true;
        if (it->err.code != QUERN_OK)
            return stop(it, NULL);
        it->passed++;
    }
    return stop(it, &in->err);
}

bool quern_iter_first(struct quern_iter *it)
{
    prepare_seek(it);
    err_clear(&it->err);
    iter_seek(it->in, buf_slice(&it->lower));
    return find_forward(it, NO_KEY);
}

bool quern_iter_last(struct quern_iter *it)
{
    prepare_seek(it);
    err_clear(&it->err);
    iter_seek_below(it->in, buf_slice(&it->upper));
    return find_backward(it);
}

/* The copy of the key is needed in any case: it may be borrowed from the entry that the seek
 * leaves. */
bool quern_iter_seek(struct quern_iter *it, struct quern_slice key)
{
    err_clear(&it->err);
    if (inner_assign(&it->key, database(it), key, &it->err))
        return stop(it, NULL);
    key = buf_slice(&it->key);
    prepare_seek(it);
    if (it->lower.len > 1 && key_compare(key, buf_slice(&it->lower)) < 0)
        key = buf_slice(&it->lower);
    expect_seek(it, key);
    iter_seek(it->in, key);
    return find_forward(it, NO_KEY);
}

bool quern_iter_seek_back(struct quern_iter *it, struct quern_slice key)
{
    err_clear(&it->err);
    if (inner_assign(&it->key, database(it), key, &it->err) ||
        buf_append(&it->key, "", 1, &it->err)) /* the key right after `key` */
        return stop(it, NULL);
    if (key_compare(buf_slice(&it->key), buf_slice(&it->upper)) > 0)
        return quern_iter_last(it);
    prepare_seek(it);
    expect_seek(it, buf_slice(&it->key));
    iter_seek_below(it->in, buf_slice(&it->key));
    return find_backward(it);
}

static const struct entry *entry_shown(const struct quern_iter *it)
{
    return it->backward ? &it->shown : &it->in->at;
}

/* Find the place anew: the cursor goes the other way, or the view is not the present one. */
COLD static bool next_anew(struct quern_iter *it)
{
    if (buf_assign(&it->key, entry_shown(it)->key, &it->err))
        return stop(it, NULL);
    prepare_seek(it);
    iter_seek(it->in, buf_slice(&it->key));
    return find_forward(it, buf_slice(&it->key));
}

/* look() in short, for what a step as a rule comes to: another key, which is shown. False: it takes
 * a closer look. */
static inline bool shows_at_once(struct quern_iter *it, struct quern_slice left)
{
    const struct entry *e = &it->in->at;

    return !key_ends_equal(e->key, left) && it->in->head < it->upper_head &&
           e->seq <= it->pin.seq && entry_lives(e, it->pin.time_ms) && !is_cut(it, e);
}

bool quern_iter_next(struct quern_iter *it)
{
    struct iter *in = it->in;
    struct quern_slice key;

    if (UNLIKELY(it->backward || !is_present(it)))
        return next_anew(it);
    key = in->at.key;
    iter_next(in);
    if (LIKELY(in->valid && shows_at_once(it, key)))
        return it->valid = true;
    return find_forward(it, key);
}

COLD static bool prev_anew(struct quern_iter *it)
{
    if (buf_assign(&it->key, entry_shown(it)->key, &it->err))
        return stop(it, NULL);
    prepare_seek(it);
    iter_seek_below(it->in, buf_slice(&it->key));
    return find_backward(it);
}

bool quern_iter_prev(struct quern_iter *it)
{
    if (UNLIKELY(!it->backward || !is_present(it)))
        return prev_anew(it);
    return find_backward(it);
}

bool quern_iter_valid(const struct quern_iter *it)
{
    return it->valid;
}

struct quern_slice quern_iter_key(const struct quern_iter *it)
{
    return inner_user_key(entry_shown(it)->key);
}

struct quern_slice quern_iter_value(const struct quern_iter *it)
{
    return entry_shown(it)->value;
}

quern_seq quern_iter_seq(const struct quern_iter *it)
{
    return entry_shown(it)->seq;
}

uint64_t quern_iter_expires_ms(const struct quern_iter *it)
{
    return entry_shown(it)->expires_ms;
}

enum quern_code quern_iter_error(const struct quern_iter *it, struct quern_error *err)
{
    if (it->err.code != QUERN_OK && err != NULL)
        *err = it->err;
    return it->err.code;
}
