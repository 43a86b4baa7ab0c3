/* repair_sources.c - what goes into a repair, as cursors: tables of which some blocks are damaged,
 * with what must not be seen in them left out.
 *
 *      named      the manifest names it: seen, above its trim
 *      unknown    the manifest is damaged and does not speak of it: seen
 *      orphan     a whole manifest does not name it, or an edit removed it: what it holds has moved
 *                 on, and may have been deleted since. Seen inside of holes only
 *
 * A hole is a range of keys of which some entries are lost. What an orphan holds there may be old,
 * but it is the best there is; the range is reported in any case.
 *
 * Tables whose key ranges do not meet share a lane, a cursor that opens one after the other. So
 * there are about as many lanes as the store had runs, and memory is a block for each, however many
 * tables there are. */
#include "engine/repair_priv.h"

#include "base/alloc.h"

#include <stdlib.h>

/* ---- holes ---- */

static const struct hole *hole_at(const struct repair *r, size_t i)
{
    return (const struct hole *)(const void *)r->holes.data + i;
}

static size_t hole_count(const struct repair *r)
{
    return r->holes.len / sizeof(struct hole);
}

static int by_first(const void *x, const void *y)
{
    const struct hole *a = x, *b = y;

    return key_compare(buf_slice(&a->first), buf_slice(&b->first));
}

enum quern_code hole_add(struct repair *r, struct quern_slice first, bool above,
                         struct quern_slice last, struct quern_error *err)
{
    struct hole h = {.to_the_end = last.len == 0};

    if (buf_append(&h.first, first.data, first.len, err) ||
        (above && first.len != 0 && buf_append(&h.first, "", 1, err)) ||
        buf_append(&h.last, last.data, last.len, err) ||
        buf_append(&r->holes, &h, sizeof(h), err)) {
        buf_done(&h.first);
        buf_done(&h.last);
        return err->code;
    }
    return QUERN_OK;
}

/* Does hole b, which begins at or behind a's beginning, touch a? */
static bool touches(const struct hole *a, const struct hole *b)
{
    return a->to_the_end || key_compare(buf_slice(&b->first), buf_slice(&a->last)) <= 0;
}

/* Sort them and make one of those that meet. */
void holes_settle(struct repair *r)
{
    struct hole *all = (struct hole *)(void *)r->holes.data;
    size_t n = hole_count(r), kept = 0;

    if (n == 0)
        return;
    qsort(all, n, sizeof(*all), by_first);
    for (size_t i = 1; i < n; i++) {
        struct hole *a = &all[kept], *b = &all[i];

        if (!touches(a, b)) {
            all[++kept] = *b;
            continue;
        }
        if (b->to_the_end ||
            (!a->to_the_end && key_compare(buf_slice(&b->last), buf_slice(&a->last)) > 0)) {
            struct buf last = a->last;

            a->last = b->last;
            b->last = last;
            a->to_the_end = b->to_the_end;
        }
        buf_done(&b->first);
        buf_done(&b->last);
    }
    r->holes.len = (kept + 1) * sizeof(*all);
}

void holes_done(struct repair *r)
{
    struct hole *all = (struct hole *)(void *)r->holes.data;

    for (size_t i = 0; i < hole_count(r); i++) {
        buf_done(&all[i].first);
        buf_done(&all[i].last);
    }
    buf_done(&r->holes);
}

bool in_hole(const struct repair *r, struct quern_slice key)
{
    size_t low = 0, high = hole_count(r); /* the last hole that begins at or before the key */

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (key_compare(buf_slice(&hole_at(r, mid)->first), key) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low != 0 && (hole_at(r, low - 1)->to_the_end ||
                        key_compare(key, buf_slice(&hole_at(r, low - 1)->last)) <= 0);
}

/* ---- range deletes ---- */

enum quern_code cuts_take(struct repair *r, const struct batch_ref *batch, quern_seq seq,
                          struct quern_error *err)
{
    struct buf list OWNED_BUF = {0};
    struct cuts *all;

    if (cuts_gather(&list, batch, seq, err))
        return err->code;
    if (list.len == 0)
        return QUERN_OK;
    if (cuts_new(r->cuts, (const struct cut *)(const void *)list.data,
                 list.len / sizeof(struct cut), (struct cut_pins){NULL, 0}, &all, err))
        return err->code;
    cuts_unref(r->cuts);
    r->cuts = all;
    return QUERN_OK;
}

/* ---- lanes ---- */

struct lane {
    struct iter base; /* first: cast to it and back */
    struct repair *repair;
    struct source **sources; /* in key order, disjoint */
    size_t count, capacity, next;
    struct iter *in;
    const struct source *source; /* of `in` */
};

static struct lane *of(struct iter *it)
{
    return (struct lane *)(void *)it;
}

static bool is_hidden(const struct lane *l, struct quern_slice key)
{
    const struct source *s = l->source;

    return (s->orphan && !in_hole(l->repair, key)) ||
           (s->trim.len != 0 && key_compare(key, s->trim) < 0);
}

/* Show what `in` stands on, or what follows in it or in the sources behind. */
static void settle(struct lane *l)
{
    for (;;) {
        while (l->in != NULL && l->in->valid && is_hidden(l, l->in->at.key))
            iter_next(l->in);
        if (l->in != NULL && (l->in->valid || l->in->err.code != QUERN_OK))
            break;
        iter_free(l->in);
        l->in = NULL;
        if (l->next == l->count) {
            l->base.valid = false;
            return;
        }
        l->source = l->sources[l->next++];
        /* What is damaged was told when the tables were looked through. */
        if (sst_salvage(l->source->dir, l->source->file_no, l->source->unique_id, NULL, NULL,
                        &l->in, &l->base.err)) {
            l->base.valid = false;
            return;
        }
        iter_first(l->in);
    }
    l->base.valid = l->in->valid;
    l->base.at = l->in->at;
    l->base.head = l->in->head;
    l->base.err = l->in->err;
}

static void lane_first(struct iter *it)
{
    settle(of(it));
}

static void lane_next(struct iter *it)
{
    iter_next(of(it)->in);
    settle(of(it));
}

static void lane_free(struct iter *it)
{
    struct lane *l = of(it);

    iter_free(l->in);
    alloc_free(l->sources);
    alloc_free(l);
}

static const struct iter_ops lane_ops = {.first = lane_first, .next = lane_next, .free = lane_free};

static bool has_room_for(const struct lane *l, const struct source *s)
{
    return key_compare(buf_slice(&l->sources[l->count - 1]->largest), buf_slice(&s->smallest)) < 0;
}

static enum quern_code lane_add(struct lane *l, struct source *s, struct quern_error *err)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity != 0 ? 2 * l->capacity : 8;
        struct source **more = alloc_resize(l->sources, capacity * sizeof(struct source *));

        if (more == NULL)
            return err_memory(err, "repair");
        l->sources = more;
        l->capacity = capacity;
    }
    l->sources[l->count++] = s;
    return QUERN_OK;
}

static enum quern_code lane_new(struct repair *r, struct buf *lanes, struct lane **out,
                                struct quern_error *err)
{
    struct lane *l = NEW(struct lane);

    if (l == NULL)
        return err_memory(err, "repair");
    l->base.ops = &lane_ops;
    l->repair = r;
    if (buf_append(lanes, &l, sizeof(l), err)) {
        alloc_free(l);
        return err->code;
    }
    *out = l;
    return QUERN_OK;
}

static int by_smallest(const void *x, const void *y)
{
    const struct source *a = x, *b = y;

    return key_compare(buf_slice(&a->smallest), buf_slice(&b->smallest));
}

/* Put every source into the first lane that has room. `lanes` gets struct lane * ... */
static enum quern_code make_lanes(struct repair *r, struct buf *lanes, struct quern_error *err)
{
    struct source *all = (struct source *)(void *)r->sources.data;
    size_t n = r->sources.len / sizeof(*all);

    if (n != 0)
        qsort(all, n, sizeof(*all), by_smallest);
    for (size_t i = 0; i < n; i++) {
        struct lane **list = (struct lane **)(void *)lanes->data, *l = NULL;

        for (size_t k = 0; l == NULL && k < lanes->len / sizeof(l); k++)
            if (has_room_for(list[k], &all[i]))
                l = list[k];
        if ((l == NULL && lane_new(r, lanes, &l, err)) || lane_add(l, &all[i], err))
            return err->code;
    }
    return QUERN_OK;
}

enum quern_code sources_merge(struct repair *r, struct iter **out, struct quern_error *err)
{
    struct buf lanes OWNED_BUF = {0};
    struct iter **list;

    if (make_lanes(r, &lanes, err)) {
        list = (struct iter **)(void *)lanes.data;
        for (size_t i = 0; i < lanes.len / sizeof(*list); i++)
            iter_free(list[i]);
        return err->code;
    }
    if (lanes.len == 0)
        return iter_empty(out, err);
    list = (struct iter **)(void *)lanes.data; /* a lane begins with its iter */
    return iter_merge(list, lanes.len / sizeof(*list), out, err);
}

void sources_done(struct repair *r)
{
    struct source *all = (struct source *)(void *)r->sources.data;

    for (size_t i = 0; i < r->sources.len / sizeof(*all); i++) {
        buf_done(&all[i].smallest);
        buf_done(&all[i].largest);
    }
    buf_done(&r->sources);
}
