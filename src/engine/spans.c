/* spans.c - key ranges known to be empty; see spans.h.
 *
 *     spans_walk --> WALKED --spans_keep--> KNOWN --> (shortened by puts) --> FREE
 *                       '------spans_drop------------------------------------^
 *
 * Why a span is true. Its reader, at number R, registers the walk first, then takes the present
 * view, then walks. A put into the range either was applied before the leader looked at `count`
 * and found nothing, so the walk meets it (and ends there if it is newer than R); or the leader
 * finds the walk and cuts the span off at the key. The leader looks after applying and before
 * publishing the number, so whoever may see a put finds the span already cut. Deletions change
 * nothing that is empty. Readers below R do not use the span: for them a key may live; nor do those
 * who judge by an earlier time.
 *
 * A walk that begins with a known span starts at that span's beginning and jumps over what it
 * covers; kept, it takes the other's place. So the dead head of a queue is one span that grows. */
#include "engine/spans.h"

void spans_init(struct spans *s)
{
    mutex_init(&s->mu);
}

void spans_done(struct spans *s)
{
    for (size_t i = 0; i < SPANS_MAX; i++) {
        buf_done(&s->slot[i].from);
        buf_done(&s->slot[i].to);
    }
    mutex_done(&s->mu);
}

static void free_locked(struct spans *s, struct span_known *k)
{
    mutex_assert_held(&s->mu);
    k->state = SPAN_FREE;
    atomic_fetch_sub_explicit(&s->count, 1, memory_order_relaxed);
}

static bool ends_after(const struct span_known *k, struct quern_slice key)
{
    return k->to.len == 0 || key_compare(buf_slice(&k->to), key) > 0;
}

static bool covers(const struct span_known *k, struct quern_slice key)
{
    return !k->spoiled && key_compare(buf_slice(&k->from), key) <= 0 && ends_after(k, key);
}

static bool is_empty(const struct span_known *k)
{
    return !covers(k, buf_slice(&k->from));
}

/* Cut the span off at `key`. */
static void cut(struct span_known *k, struct quern_slice key)
{
    struct quern_error err;

    if (buf_assign(&k->to, key, &err))
        k->spoiled = true;
}

static struct span_known *find_locked(struct spans *s, struct quern_slice key, quern_seq seq,
                                      uint64_t time_ms)
{
    mutex_assert_held(&s->mu);
    for (size_t i = 0; i < SPANS_MAX; i++) {
        struct span_known *k = &s->slot[i];

        if (k->state == SPAN_KNOWN && k->seq <= seq && k->time_ms <= time_ms && covers(k, key)) {
            k->used = ++s->clock;
            return k;
        }
    }
    return NULL;
}

/* ---- walks ---- */

/* A free slot, else the known span that was used longest ago; NULL: all are being walked. */
static struct span_known *room_locked(struct spans *s)
{
    struct span_known *oldest = NULL;

    mutex_assert_held(&s->mu);
    for (size_t i = 0; i < SPANS_MAX; i++) {
        struct span_known *k = &s->slot[i];

        if (k->state == SPAN_FREE)
            return k;
        if (k->state == SPAN_KNOWN && (oldest == NULL || k->used < oldest->used))
            oldest = k;
    }
    if (oldest != NULL)
        free_locked(s, oldest);
    return oldest;
}

static int walk_locked(struct spans *s, struct quern_slice from, quern_seq seq, uint64_t time_ms)
{
    struct span_known *k = room_locked(s);
    struct quern_error err;

    /* The one span that could make room may be the one whose beginning this is. */
    if (k == NULL || (from.data != k->from.data && buf_assign(&k->from, from, &err)))
        return SPAN_NONE;
    buf_clear(&k->to);
    k->seq = seq;
    k->time_ms = time_ms;
    k->state = SPAN_WALKED;
    k->spoiled = false;
    atomic_fetch_add_explicit(&s->count, 1, memory_order_acq_rel);
    return (int)(k - s->slot);
}

int spans_walk(struct spans *s, struct quern_slice from, quern_seq seq, uint64_t time_ms)
{
    int slot;

    mutex_lock(&s->mu);
    slot = walk_locked(s, from, seq, time_ms);
    mutex_unlock(&s->mu);
    return slot;
}

static bool any(struct spans *s)
{
    return atomic_load_explicit(&s->count, memory_order_relaxed) != 0;
}

bool spans_resume(struct spans *s, struct quern_slice key, quern_seq seq, uint64_t time_ms,
                  struct buf *to, int *slot)
{
    struct span_known *k;
    struct quern_error err;
    bool found = false;

    if (!any(s))
        return false;
    mutex_lock(&s->mu);
    k = find_locked(s, key, seq, time_ms);
    if (k != NULL && buf_assign(to, buf_slice(&k->to), &err) == QUERN_OK) {
        *slot = walk_locked(s, buf_slice(&k->from), seq, time_ms);
        found = true;
    }
    mutex_unlock(&s->mu);
    return found;
}

bool spans_before(struct spans *s, struct quern_slice key, quern_seq seq, uint64_t time_ms,
                  struct buf *from)
{
    struct span_known *k;
    struct quern_error err;
    bool found;

    if (!any(s))
        return false;
    mutex_lock(&s->mu);
    k = find_locked(s, key, seq, time_ms);
    found = k != NULL && buf_assign(from, buf_slice(&k->from), &err) == QUERN_OK;
    mutex_unlock(&s->mu);
    return found;
}

void spans_keep(struct spans *s, int slot, struct quern_slice to)
{
    struct span_known *kept;

    if (slot == SPAN_NONE)
        return;
    kept = &s->slot[slot];
    mutex_lock(&s->mu);
    if (to.len != 0 && ends_after(kept, to))
        cut(kept, to);
    for (size_t i = 0; i < SPANS_MAX; i++) { /* those it covers wholly have no more to say */
        struct span_known *k = &s->slot[i];

        if (k->state == SPAN_KNOWN && covers(kept, buf_slice(&k->from)) &&
            (kept->to.len == 0 || (k->to.len != 0 && !ends_after(k, buf_slice(&kept->to)))))
            free_locked(s, k);
    }
    kept->state = SPAN_KNOWN;
    kept->used = ++s->clock;
    if (is_empty(kept))
        free_locked(s, kept);
    mutex_unlock(&s->mu);
}

void spans_drop(struct spans *s, int slot)
{
    if (slot == SPAN_NONE)
        return;
    mutex_lock(&s->mu);
    free_locked(s, &s->slot[slot]);
    mutex_unlock(&s->mu);
}

void spans_forget(struct spans *s)
{
    mutex_lock(&s->mu);
    for (size_t i = 0; i < SPANS_MAX; i++)
        if (s->slot[i].state == SPAN_KNOWN)
            free_locked(s, &s->slot[i]);
    mutex_unlock(&s->mu);
}

/* ---- puts ---- */

/* A walk that has nothing left keeps its slot until it ends. */
static void note_locked(struct spans *s, struct span_known *k, struct quern_slice key)
{
    if (k->state == SPAN_FREE || !covers(k, key))
        return;
    cut(k, key);
    if (k->state == SPAN_KNOWN && is_empty(k))
        free_locked(s, k);
}

void spans_note(struct spans *s, const struct batch_ref *batches, size_t count)
{
    mutex_lock(&s->mu);
    for (size_t b = 0; b < count; b++) {
        struct op_cursor ops = op_cursor_of(&batches[b]);
        struct entry e;

        while (op_next(&ops, &e)) {
            if (e.kind != ENTRY_PUT)
                continue;
            for (size_t i = 0; i < SPANS_MAX; i++)
                note_locked(s, &s->slot[i], e.key);
        }
    }
    mutex_unlock(&s->mu);
}
