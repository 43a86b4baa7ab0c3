/* cuts.c - lists of cuts: made and searched; see cuts.h.
 *
 * A list is made in one sweep over all bounds, rising. Those cuts that have begun stand in `open`,
 * newest first. Pins divide numbers into strata; within a stratum only the newest cut counts, so
 * one that a newer cut outlasts is taken out, and of a stratum those that are left end the sooner
 * the newer they are. The one that counts now is the first of them that has not ended. So a list of
 * n cuts takes n log n steps, whatever their shape, but for what is moved in memory. */
#include "base/cuts.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>

/* ---- references ---- */

struct cuts *cuts_ref(struct cuts *c)
{
    if (c != NULL)
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void cuts_unref(struct cuts *c)
{
    if (c != NULL && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        alloc_free(c);
}

/* ---- the sweep ---- */

struct sweep {
    struct cut_pins pins;
    struct cut *all; /* by start */
    size_t all_count, next;
    uint32_t *open; /* indexes of `all`, the newest last: it comes last, as a rule */
    size_t open_count;
    struct buf pieces;   /* struct cut ... */
    size_t group, begun; /* where the pieces of the last two ranges begin */
};

/* No bound at all is behind every other. */
static int end_compare(struct quern_slice a, struct quern_slice b)
{
    if (a.len == 0 || b.len == 0)
        return (a.len == 0) - (b.len == 0);
    return key_compare(a, b);
}

static int by_start(const void *x, const void *y)
{
    const struct cut *a = x, *b = y;

    return key_compare(a->start, b->start);
}

/* How many pins do not see a cut of this number. */
static size_t stratum_of(struct cut_pins pins, quern_seq seq)
{
    size_t low = 0, high = pins.count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (pins.seqs[mid] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The i-th open cut, the newest first. */
static const struct cut *open_at(const struct sweep *s, size_t i)
{
    return &s->all[s->open[s->open_count - 1 - i]];
}

static bool same_stratum(const struct sweep *s, const struct cut *a, const struct cut *b)
{
    return stratum_of(s->pins, a->seq) == stratum_of(s->pins, b->seq);
}

/* A cut begins: it stands behind those that are as new or newer. */
static void open_one(struct sweep *s, uint32_t index)
{
    const struct cut *fresh = &s->all[index];
    size_t low = 0, high = s->open_count, gone, kept;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (open_at(s, mid)->seq >= fresh->seq)
            low = mid + 1;
        else
            high = mid;
    }
    if (low != 0 && same_stratum(s, open_at(s, low - 1), fresh) &&
        end_compare(open_at(s, low - 1)->end, fresh->end) >= 0)
        return;
    for (gone = low; gone < s->open_count && same_stratum(s, open_at(s, gone), fresh) &&
                     end_compare(open_at(s, gone)->end, fresh->end) <= 0;)
        gone++;
    kept = s->open_count - gone;
    memmove(s->open + kept + 1, s->open + s->open_count - low, low * sizeof(*s->open));
    s->open[kept] = index;
    s->open_count = kept + 1 + low;
}

/* The first open cut from `i` on of another stratum; with `at`, or one of i's that ends after it. */
static size_t pass(const struct sweep *s, size_t i, const struct quern_slice *at)
{
    const struct cut *first = open_at(s, i);
    size_t low = i, high = s->open_count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct cut *o = open_at(s, mid);

        if (same_stratum(s, o, first) && (at == NULL || !cut_ends_after(o, *at)))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Are the pieces of the last range those of the one before, which it follows? Then they are one. */
static bool goes_on(const struct sweep *s)
{
    const struct cut *list = (const struct cut *)(const void *)s->pieces.data;
    size_t count = s->pieces.len / sizeof(*list), n = count - s->begun;

    if (n != s->begun - s->group || n == 0 ||
        end_compare(list[s->group].end, list[s->begun].start) != 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (list[s->group + i].seq != list[s->begun + i].seq)
            return false;
    return true;
}

/* The pieces of the range from `from` up to `to`, where no cut begins or ends within. */
static enum quern_code add_pieces(struct sweep *s, struct quern_slice from, struct quern_slice to,
                                  struct quern_error *err)
{
    size_t at = s->pieces.len / sizeof(struct cut);

    for (size_t i = 0; i < s->open_count;) {
        size_t first = pass(s, i, &from);

        if (first < s->open_count && same_stratum(s, open_at(s, first), open_at(s, i))) {
            struct cut piece = {from, to, open_at(s, first)->seq};

            if (buf_append(&s->pieces, &piece, sizeof(piece), err))
                return err->code;
        }
        i = pass(s, i, NULL);
    }
    if (s->pieces.len == at * sizeof(struct cut))
        return QUERN_OK;
    s->begun = at;
    if (goes_on(s)) {
        struct cut *list = (struct cut *)(void *)s->pieces.data;

        for (size_t i = s->group; i < s->begun; i++)
            list[i].end = to;
        s->pieces.len = s->begun * sizeof(*list);
    } else {
        s->group = s->begun;
    }
    return QUERN_OK;
}

static enum quern_code sweep_bounds(struct sweep *s, struct quern_slice *bounds, size_t count,
                                    struct quern_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct quern_slice from = bounds[i], to = {NULL, 0};

        while (i + 1 < count && key_equal(bounds[i + 1], from))
            i++;
        if (i + 1 < count)
            to = bounds[i + 1];
        while (s->next < s->all_count && key_compare(s->all[s->next].start, from) <= 0)
            open_one(s, (uint32_t)s->next++);
        if (add_pieces(s, from, to, err))
            return err->code;
    }
    return QUERN_OK;
}

/* Every start, and every end but the last of all. */
static size_t list_bounds(const struct sweep *s, struct quern_slice *bounds)
{
    size_t n = 0;

    for (size_t i = 0; i < s->all_count; i++) {
        bounds[n++] = s->all[i].start;
        if (s->all[i].end.len != 0)
            bounds[n++] = s->all[i].end;
    }
    return n;
}

static int by_key(const void *x, const void *y)
{
    return key_compare(*(const struct quern_slice *)x, *(const struct quern_slice *)y);
}

/* ---- the list ---- */

static bool same_bytes(struct quern_slice a, struct quern_slice b)
{
    return a.data == b.data && a.len == b.len;
}

/* Neighbours share bounds: those of the piece before are not copied again. */
static struct quern_slice keep(uint8_t **at, struct quern_slice key)
{
    uint8_t *to = *at;

    if (key.len != 0)
        memcpy(to, key.data, key.len);
    *at += key.len;
    return slice_of(to, key.len);
}

static enum quern_code list_of(const struct buf *pieces, struct cuts **out, struct quern_error *err)
{
    const struct cut *list = (const struct cut *)(const void *)pieces->data;
    size_t count = pieces->len / sizeof(*list), bytes = 0;
    struct cuts *c;
    uint8_t *at;

    *out = NULL;
    if (count == 0)
        return QUERN_OK;
    for (size_t i = 0; i < count; i++)
        bytes += list[i].start.len + list[i].end.len;
    c = alloc_bytes(sizeof(*c) + pieces->len + bytes);
    if (c == NULL)
        return err_memory(err, "a list of range deletes");
    atomic_init(&c->refs, 1);
    c->count = count;
    c->seq_min = UINT64_MAX;
    c->seq_max = 0;
    at = (uint8_t *)(c->piece + count);
    for (size_t i = 0; i < count; i++) {
        struct cut *to = &c->piece[i];
        bool again = i != 0 && same_bytes(list[i].start, list[i - 1].start);

        to->seq = list[i].seq;
        to->start = again ? to[-1].start : keep(&at, list[i].start);
        to->end = again ? to[-1].end : keep(&at, list[i].end);
        if (to->seq < c->seq_min)
            c->seq_min = to->seq;
        if (to->seq > c->seq_max)
            c->seq_max = to->seq;
    }
    *out = c;
    return QUERN_OK;
}

static enum quern_code sweep_all(struct sweep *s, struct cuts **out, struct quern_error *err)
{
    struct quern_slice *bounds OWNED(alloc_free) = alloc_array(2 * s->all_count, sizeof(*bounds));
    size_t count;

    if (bounds == NULL)
        return err_memory(err, "a list of range deletes");
    qsort(s->all, s->all_count, sizeof(*s->all), by_start);
    count = list_bounds(s, bounds);
    qsort(bounds, count, sizeof(*bounds), by_key);
    if (sweep_bounds(s, bounds, count, err))
        return err->code;
    return list_of(&s->pieces, out, err);
}

enum quern_code cuts_new(const struct cuts *old, const struct cut *more, size_t count,
                         struct cut_pins pins, struct cuts **out, struct quern_error *err)
{
    size_t most = (old != NULL ? old->count : 0) + count;
    struct sweep s = {.pins = pins};
    enum quern_code code;

    *out = NULL;
    if (most == 0)
        return QUERN_OK;
    if (most > UINT32_MAX)
        return err_memory(err, "a list of range deletes");
    s.all = alloc_array(most, sizeof(*s.all));
    s.open = alloc_array(most, sizeof(*s.open));
    if (s.all == NULL || s.open == NULL) {
        code = err_memory(err, "a list of range deletes");
    } else {
        for (size_t i = 0; old != NULL && i < old->count; i++)
            s.all[s.all_count++] = old->piece[i];
        for (size_t i = 0; i < count; i++)
            if (!cut_is_empty(&more[i]))
                s.all[s.all_count++] = more[i];
        code = sweep_all(&s, out, err);
    }
    alloc_free(s.all);
    alloc_free(s.open);
    buf_done(&s.pieces);
    return code;
}

enum quern_code cuts_pick(const struct cuts *c, const bool *wanted, struct cuts **out,
                          struct quern_error *err)
{
    struct buf pieces OWNED_BUF = {0};

    *out = NULL;
    for (size_t i = 0; i < c->count; i++)
        if (wanted[i] && buf_append(&pieces, &c->piece[i], sizeof(c->piece[i]), err))
            return err->code;
    return list_of(&pieces, out, err);
}

/* ---- from batches ---- */

enum quern_code cuts_gather(struct buf *list, const struct batch_ref *batch, quern_seq seq,
                            struct quern_error *err)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry e;

    while (op_next(&c, &e)) {
        struct cut cut = {e.key, e.value, seq};

        if (e.kind == ENTRY_RANGE_DELETE && buf_append(list, &cut, sizeof(cut), err))
            return err->code;
    }
    return QUERN_OK;
}

enum quern_code cuts_own(const struct batch_ref *batch, struct cuts **out, struct quern_error *err)
{
    struct buf list OWNED_BUF = {0};
    struct op_cursor c = op_cursor_of(batch);
    struct entry e;

    for (uint64_t place = 1; op_next(&c, &e); place++) {
        struct cut cut = {e.key, e.value, place};

        if (e.kind == ENTRY_RANGE_DELETE && buf_append(&list, &cut, sizeof(cut), err))
            return err->code;
    }
    return cuts_new(NULL, (const struct cut *)(const void *)list.data,
                    list.len / sizeof(struct cut), (struct cut_pins){NULL, 0}, out, err);
}

/* ---- searching ---- */

size_t cuts_lower(const struct cuts *c, struct quern_slice key)
{
    size_t low = 0, high = c->count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (cut_ends_after(&c->piece[mid], key))
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* The newest number up to `seq` among the pieces of the range that begins at `at`. */
static quern_seq newest_from(const struct cuts *c, size_t at, quern_seq seq)
{
    const struct cut *first = &c->piece[at];

    for (; at < c->count && same_bytes(c->piece[at].start, first->start); at++)
        if (c->piece[at].seq <= seq)
            return c->piece[at].seq;
    return 0;
}

quern_seq cuts_newest(const struct cuts *c, struct quern_slice key, quern_seq seq)
{
    size_t at = cuts_lower(c, key);

    if (at == c->count || key_compare(c->piece[at].start, key) > 0)
        return 0;
    return newest_from(c, at, seq);
}

void cuts_narrow(const struct cuts *c, struct quern_slice key, quern_seq seq, struct cut_span *span)
{
    size_t at = cuts_lower(c, key);
    struct quern_slice from = {NULL, 0}, to = {NULL, 0};

    if (at < c->count && key_compare(c->piece[at].start, key) <= 0) {
        quern_seq newest = newest_from(c, at, seq);

        from = c->piece[at].start;
        to = c->piece[at].end;
        if (newest > span->seq)
            span->seq = newest;
    } else {
        from = at != 0 ? c->piece[at - 1].end : from;
        to = at < c->count ? c->piece[at].start : to;
    }
    if (key_compare(from, span->from) > 0)
        span->from = from;
    if (end_compare(to, span->to) < 0)
        span->to = to;
}
