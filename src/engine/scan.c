/* scan.c - iterators and snapshots as users know them: one version of each living key.
 *
 * Below is one merged cursor over all versions (keys rise, newest first). Going forward it stands
 * on the entry that is shown: next() remembers the key and skips what is left of it. Going backward
 * the versions of a key come oldest first, so the whole group is walked and the newest visible one
 * copied; `in` then stands before the group. A value too large to copy is found again from the
 * front instead, which turns the cursor forward.
 *
 *            seek, first, next                     last, seek_back, prev
 *   FORWARD <------------------- turns: seek -------------------> BACKWARD
 *
 * The view is pinned by a reference, the number by a pin that compaction respects. Seeks change to
 * the present view when there is a newer one, so an iterator that is used does not hold dead files.
 */
#include "engine/scan_priv.h"

#define COPY_BYTES_MAX 4096

/* A seek in a run costs as much as so many entries passed over, or gets in vain. */
#define SEEK_PASSES 8
#define HAND_IN 4096 /* passes gathered before the shared counter is told */

/* ---- pins ---- */

void pin_add_locked(struct quern *db, struct pin *p, quern_seq seq)
{
    mutex_assert_held(&db->mu);
    p->seq = seq;
    p->next = &db->pins;
    p->prev = db->pins.prev;
    p->prev->next = p;
    p->next->prev = p;
}

void pin_remove_locked(struct pin *p)
{
    p->prev->next = p->next;
    p->next->prev = p->prev;
}

enum quern_code quern_snapshot_new(struct quern *db, struct quern_snapshot **out,
                                   struct quern_error *err)
{
    struct quern_error local;
    struct quern_snapshot *s;

    err = ERR_OR(err, local);
    if (engine_check(db, err))
        return err->code;
    s = NEW(struct quern_snapshot);
    if (s == NULL)
        return err_memory(err, "a snapshot");
    s->db = db;
    mutex_lock(&db->mu);
    pin_add_locked(db, &s->pin, atomic_load_explicit(&db->visible_seq, memory_order_acquire));
    db->snapshot_count++;
    mutex_unlock(&db->mu);
    *out = s;
    return QUERN_OK;
}

void quern_snapshot_free(struct quern_snapshot *s)
{
    if (s == NULL)
        return;
    mutex_lock(&s->db->mu);
    pin_remove_locked(&s->pin);
    s->db->snapshot_count--;
    mutex_unlock(&s->db->mu);
    alloc_free(s);
}

quern_seq quern_snapshot_seq(const struct quern_snapshot *s)
{
    return s->pin.seq;
}

/* ---- building ---- */

/* A MemDB that is empty now holds nothing that the iterator's number can see, and never will. */
static enum quern_code add_mem(struct mem *mem, struct iter **inputs, size_t *count,
                               struct quern_error *err)
{
    struct mem_info info;

    mem_info(mem, &info);
    if (info.entry_count == 0)
        return QUERN_OK;
    if (mem_iter(mem, &inputs[*count], err))
        return err->code;
    (*count)++;
    return QUERN_OK;
}

/* One cursor for every MemDB and run of the view, newest first. */
static enum quern_code collect_inputs(const struct quern_iter *it, struct iter **inputs,
                                      size_t *count, struct quern_error *err)
{
    const struct view *view = it->view;

    if (view->mem != NULL && add_mem(view->mem, inputs, count, err))
        return err->code;
    for (size_t i = view->sealed_count; i-- > 0;)
        if (add_mem(view->sealed[i], inputs, count, err))
            return err->code;
    for (size_t r = 0; r < view->version->run_count; r++, (*count)++)
        if (run_iter(&view->version->runs[r], it->bulk ? SST_BULK : SST_CACHED, &inputs[*count],
                     err))
            return err->code;
    return QUERN_OK;
}

static enum quern_code build(struct quern_iter *it, struct quern_error *err)
{
    size_t count = 0, most = 2 + it->view->sealed_count + it->view->version->run_count;
    struct iter **inputs = alloc_array(most, sizeof(struct iter *));
    enum quern_code code;

    if (inputs == NULL)
        return err_memory(err, "an iterator");
    code = collect_inputs(it, inputs, &count, err);
    if (code != QUERN_OK) {
        while (count-- > 0)
            iter_free(inputs[count]);
    } else if (count == 0) {
        code = iter_empty(&it->in, err);
    } else {
        code = iter_merge(inputs, count, &it->in, err); /* takes or frees the inputs */
    }
    alloc_free(inputs);
    return code;
}

/* Where a prefix ends: the shortest key above all that begin with it; empty when there is none. */
static enum quern_code prefix_end(struct quern_slice prefix, struct buf *out,
                                  struct quern_error *err)
{
    const uint8_t *bytes = prefix.data;
    size_t len = prefix.len;

    while (len != 0 && bytes[len - 1] == 0xff)
        len--;
    if (buf_append(out, bytes, len, err))
        return err->code;
    if (len != 0)
        out->data[len - 1]++;
    return QUERN_OK;
}

static enum quern_code set_bounds(struct quern_iter *it, const struct quern_iter_opts *opts,
                                  struct quern_error *err)
{
    struct buf after OWNED_BUF = {0};
    struct quern_slice lower = opts->range.start, upper = opts->range.end;

    if (opts->prefix.len != 0) {
        if (prefix_end(opts->prefix, &after, err))
            return err->code;
        if (key_compare(opts->prefix, lower) > 0)
            lower = opts->prefix;
        if (after.len != 0 && (upper.len == 0 || key_compare(buf_slice(&after), upper) < 0))
            upper = buf_slice(&after);
    }
    if (buf_append(&it->lower, lower.data, lower.len, err))
        return err->code;
    return buf_append(&it->upper, upper.data, upper.len, err);
}

enum quern_code quern_iter_new(struct quern *db, const struct quern_iter_opts *opts,
                               struct quern_iter **out, struct quern_error *err)
{
    static const struct quern_iter_opts none;
    struct quern_error local;
    struct quern_iter *it;

    err = ERR_OR(err, local);
    if (engine_check(db, err))
        return err->code;
    opts = opts != NULL ? opts : &none;
    it = NEW(struct quern_iter);
    if (it == NULL)
        return err_memory(err, "an iterator");
    it->db = db;
    it->bulk = opts->bulk;
    mutex_lock(&db->mu);
    pin_add_locked(db, &it->pin,
                   opts->snapshot != NULL
                       ? opts->snapshot->pin.seq
                       : atomic_load_explicit(&db->visible_seq, memory_order_acquire));
    db->iterator_count++;
    mutex_unlock(&db->mu);
    it->view = engine_view(db);
    if (set_bounds(it, opts, err) || build(it, err)) {
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
    buf_done(&it->value);
    alloc_free(it);
}

/* Before a seek: change to the present view if there is a newer one. On failure the old one serves
 * on. */
static void renew(struct quern_iter *it)
{
    struct view *now, *before = it->view;
    struct iter *in = it->in;
    struct quern_error err;

    if (before->version->run_count > 1) /* one there must be */
        it->passed += SEEK_PASSES * (before->version->run_count - 1);
    if (it->passed >= HAND_IN)
        hand_in(it);
    if (LIKELY(atomic_load_explicit(&it->db->view, memory_order_relaxed) == before))
        return;
    now = engine_view(it->db);
    it->view = now;
    it->in = NULL;
    if (build(it, &err)) {
        it->view = before;
        it->in = in;
        view_unref(now);
        return;
    }
    iter_free(in);
    view_unref(before);
}

/* ---- moving ---- */

static bool stop(struct quern_iter *it, const struct quern_error *why)
{
    it->valid = false;
    if (why != NULL && why->code != QUERN_OK) {
        it->err = *why;
        engine_note_damage(it->db, why);
    }
    return false;
}

static bool remember_key(struct quern_iter *it, struct quern_slice key)
{
    return buf_assign(&it->key, key, &it->err) == QUERN_OK;
}

/* From where `in` stands to the first entry that is shown; with `skip`, past all of it->key first.
 */
static bool find_forward(struct quern_iter *it, bool skip)
{
    struct iter *in = it->in;

    it->backward = false;
    for (; in->valid; iter_next(in), it->passed++) {
        if (it->upper.len != 0 && key_compare(in->at.key, buf_slice(&it->upper)) >= 0)
            return stop(it, NULL);
        if (in->at.seq > it->pin.seq || (skip && key_equal(in->at.key, buf_slice(&it->key))))
            continue;
        if (LIKELY(in->at.kind == ENTRY_PUT))
            return it->valid = true;
        if (!remember_key(it, in->at.key))
            return stop(it, NULL);
        skip = true; /* a tombstone hides what is older */
    }
    return stop(it, &in->err);
}

/* The group of versions that `in` stands at the (backward) beginning of: keep the newest visible.
 * Leaves `in` before the group. True: an entry is shown. */
static bool take_group(struct quern_iter *it)
{
    struct iter *in = it->in;
    bool found = false, copied = false;

    if (!remember_key(it, in->at.key))
        return false;
    for (; in->valid && key_equal(in->at.key, buf_slice(&it->key)); iter_prev(in)) {
        if (in->at.seq > it->pin.seq)
            continue;
        found = in->at.kind == ENTRY_PUT;
        it->seq = in->at.seq;
        copied = in->at.value.len <= COPY_BYTES_MAX;
        if (found && copied && buf_assign(&it->value, in->at.value, &it->err))
            return false;
    }
    if (!found || copied || in->err.code != QUERN_OK)
        return found && in->err.code == QUERN_OK;
    iter_seek(in, buf_slice(&it->key)); /* a large value: stand on it */
    while (in->valid && in->at.seq != it->seq)
        iter_next(in);
    it->backward = false;
    return in->valid;
}

static bool find_backward(struct quern_iter *it)
{
    struct iter *in = it->in;

    while (in->valid) {
        if (it->lower.len != 0 && key_compare(in->at.key, buf_slice(&it->lower)) < 0)
            return stop(it, NULL);
        it->backward = true;
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
    renew(it);
    err_clear(&it->err);
    if (it->lower.len != 0)
        iter_seek(it->in, buf_slice(&it->lower));
    else
        iter_first(it->in);
    return find_forward(it, false);
}

bool quern_iter_last(struct quern_iter *it)
{
    renew(it);
    err_clear(&it->err);
    if (it->upper.len != 0)
        iter_seek_below(it->in, buf_slice(&it->upper));
    else
        iter_last(it->in);
    return find_backward(it);
}

/* A seek's key may be borrowed from the entry that the seek leaves: keep a copy. */
static bool own_key(struct quern_iter *it, struct quern_slice *key)
{
    if (it->key.data == NULL || key->data != it->key.data) {
        if (!remember_key(it, *key))
            return false;
    } else {
        it->key.len = key->len;
    }
    *key = buf_slice(&it->key);
    return true;
}

bool quern_iter_seek(struct quern_iter *it, struct quern_slice key)
{
    err_clear(&it->err);
    if (!own_key(it, &key))
        return stop(it, NULL);
    renew(it);
    if (it->lower.len != 0 && key_compare(key, buf_slice(&it->lower)) < 0)
        key = buf_slice(&it->lower);
    if (key.len == 0)
        iter_first(it->in);
    else
        iter_seek(it->in, key);
    return find_forward(it, false);
}

bool quern_iter_seek_back(struct quern_iter *it, struct quern_slice key)
{
    if (it->upper.len != 0 && key_compare(key, buf_slice(&it->upper)) >= 0)
        return quern_iter_last(it);
    err_clear(&it->err);
    if (!own_key(it, &key) || buf_append(&it->key, "", 1, &it->err)) /* the key right after `key` */
        return stop(it, NULL);
    renew(it);
    iter_seek_below(it->in, buf_slice(&it->key));
    return find_backward(it);
}

bool quern_iter_next(struct quern_iter *it)
{
    if (it->backward) {
        iter_seek(it->in, buf_slice(&it->key));
        return find_forward(it, true);
    }
    if (UNLIKELY(!remember_key(it, it->in->at.key)))
        return stop(it, NULL);
    iter_next(it->in);
    return find_forward(it, true);
}

bool quern_iter_prev(struct quern_iter *it)
{
    if (!it->backward) {
        if (!remember_key(it, it->in->at.key))
            return stop(it, NULL);
        iter_seek_below(it->in, buf_slice(&it->key));
    }
    return find_backward(it);
}

bool quern_iter_valid(const struct quern_iter *it)
{
    return it->valid;
}

struct quern_slice quern_iter_key(const struct quern_iter *it)
{
    return it->backward ? buf_slice(&it->key) : it->in->at.key;
}

struct quern_slice quern_iter_value(const struct quern_iter *it)
{
    return it->backward ? buf_slice(&it->value) : it->in->at.value;
}

quern_seq quern_iter_seq(const struct quern_iter *it)
{
    return it->backward ? it->seq : it->in->at.seq;
}

enum quern_code quern_iter_error(const struct quern_iter *it, struct quern_error *err)
{
    if (it->err.code != QUERN_OK && err != NULL)
        *err = it->err;
    return it->err.code;
}
