/* version.c - versions and views: built, searched, counted; see version.h. */
#include "engine/version.h"

#include "base/alloc.h"

#include <stdlib.h>

/* ---- tables ---- */

static void table_unref(struct table *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    sst_unref(t->sst);
    buf_done(&t->smallest);
    buf_done(&t->largest);
    alloc_free(t);
}
OWNER(table_unref, struct table *);

/* `sst` is referenced, not taken. */
static enum quern_code table_new(struct sst *sst, const struct table_meta *meta, struct table **out,
                                 struct quern_error *err)
{
    struct table *t OWNED(table_unref) = NEW(struct table);

    if (t == NULL)
        return err_memory(err, "a table of the version");
    atomic_init(&t->refs, 1);
    if (buf_append(&t->smallest, meta->smallest.data, meta->smallest.len, err) ||
        buf_append(&t->largest, meta->largest.data, meta->largest.len, err))
        return err->code;
    t->trimmed = !key_equal(buf_slice(&t->smallest), buf_slice(&sst_meta(sst)->smallest));
    sst_ref(sst);
    t->sst = sst;
    *out = GIVE(t);
    return QUERN_OK;
}

/* ---- versions ---- */

void version_ref(struct version *v)
{
    atomic_fetch_add(&v->refs, 1);
}

void version_unref(struct version *v)
{
    if (v == NULL || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    for (size_t r = 0; r < v->run_count; r++) {
        struct run *run = &v->runs[r];

        for (size_t i = 0; i < run->count; i++)
            table_unref(run->tables[i]);
        alloc_free(run->tables);
        alloc_free(run->heads);
    }
    cuts_unref(v->cuts);
    alloc_free(v);
}

/* The tables of a version by number, so that building one from another is not quadratic. */
struct by_number {
    struct table **tables;
    size_t count;
};

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = sst_meta((*(struct table *const *)a)->sst)->table_no;
    uint64_t y = sst_meta((*(struct table *const *)b)->sst)->table_no;

    return (x > y) - (x < y);
}

static enum quern_code sort_by_number(const struct version *v, struct by_number *out,
                                      struct quern_error *err)
{
    size_t count = 0;

    for (size_t r = 0; v != NULL && r < v->run_count; r++)
        count += v->runs[r].count;
    out->tables = alloc_array(count + 1, sizeof(struct table *));
    if (out->tables == NULL)
        return err_memory(err, "a list of tables");
    for (size_t r = 0; v != NULL && r < v->run_count; r++)
        for (size_t i = 0; i < v->runs[r].count; i++)
            out->tables[out->count++] = v->runs[r].tables[i];
    qsort(out->tables, out->count, sizeof(struct table *), compare_numbers);
    return QUERN_OK;
}

static struct table *search_number(const struct by_number *list, uint64_t table_no)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        uint64_t got = sst_meta(list->tables[mid]->sst)->table_no;

        if (got == table_no)
            return list->tables[mid];
        if (got < table_no)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static struct sst *search_made(struct open_tables made, uint64_t table_no)
{
    for (size_t i = 0; i < made.count; i++)
        if (made.tables[i] != NULL && sst_meta(made.tables[i])->table_no == table_no)
            return made.tables[i];
    return NULL;
}

/* Where tables come from. */
struct sources {
    struct os_dir *dir;
    struct sst_cache *cache;
    struct by_number old;
    struct open_tables made;
};

static enum quern_code take_table(const struct sources *from, const struct table_meta *meta,
                                  struct table **out, struct quern_error *err)
{
    struct table *before = search_number(&from->old, meta->table_no);
    struct sst *sst OWNED(sst_unref) = NULL;

    if (before != NULL && key_equal(buf_slice(&before->smallest), buf_slice(&meta->smallest))) {
        atomic_fetch_add(&before->refs, 1);
        *out = before;
        return QUERN_OK;
    }
    sst = before != NULL ? before->sst : search_made(from->made, meta->table_no);
    if (sst != NULL)
        sst_ref(sst);
    else if (sst_open(from->dir, meta, from->cache, &sst, err))
        return err->code;
    return table_new(sst, meta, out, err);
}

static enum quern_code run_heads(struct run *run, struct quern_error *err)
{
    run->heads = alloc_array(run->count, sizeof(uint64_t));
    if (run->heads == NULL)
        return err_memory(err, "a run");
    run->skip = key_common_prefix(buf_slice(&run->tables[0]->smallest),
                                  buf_slice(&run->tables[run->count - 1]->largest));
    for (size_t i = 0; i < run->count; i++)
        run->heads[i] = key_head(buf_slice(&run->tables[i]->largest), run->skip);
    return QUERN_OK;
}

static enum quern_code fill_runs(struct version *v, const struct manifest_state *state,
                                 const struct sources *from, struct quern_error *err)
{
    for (size_t at = 0; at < state->table_count;) {
        const struct manifest_table *first = &state->tables[at];
        struct run *run = &v->runs[v->run_count];
        size_t end = at;

        while (end < state->table_count && state->tables[end].tier == first->tier &&
               state->tables[end].run_no == first->run_no)
            end++;
        run->tier = first->tier;
        run->run_no = first->run_no;
        run->tables = alloc_array(end - at, sizeof(struct table *));
        if (run->tables == NULL)
            return err_memory(err, "a run");
        v->run_count++;
        for (; at < end; at++, run->count++)
            if (take_table(from, &state->tables[at].meta, &run->tables[run->count], err))
                return err->code;
        if (run_heads(run, err))
            return err->code;
    }
    return QUERN_OK;
}

/* The bottom run is the oldest; above it a higher number is newer, whatever the tier. */
static int newest_first(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    if ((x->tier == TIER_BOTTOM) != (y->tier == TIER_BOTTOM))
        return x->tier == TIER_BOTTOM ? 1 : -1;
    return (x->run_no < y->run_no) - (x->run_no > y->run_no);
}

enum quern_code version_build(struct os_dir *dir, struct sst_cache *cache,
                              const struct manifest_state *state, const struct version *old,
                              struct open_tables made, struct version **out,
                              struct quern_error *err)
{
    struct version *v OWNED(version_unref) = NULL;
    struct sources from = {.dir = dir, .cache = cache, .made = made};
    enum quern_code code;

    /* no more runs than tables */
    v = alloc_zeroed(sizeof(*v) + (state->table_count + 1) * sizeof(struct run));
    if (v == NULL)
        return err_memory(err, "a version");
    atomic_init(&v->refs, 1);
    v->cuts = cuts_ref(state->cuts);
    code = sort_by_number(old, &from.old, err);
    if (code == QUERN_OK)
        code = fill_runs(v, state, &from, err);
    alloc_free(from.old.tables);
    qsort(v->runs, v->run_count, sizeof(v->runs[0]), newest_first);
    if (code == QUERN_OK)
        *out = GIVE(v);
    return code;
}

void version_condemn(const struct version *old, const struct version *now)
{
    struct by_number known = {0};
    struct quern_error err;

    if (old == NULL || sort_by_number(now, &known, &err))
        return; /* no memory: the files become orphans, which the next open removes */
    for (size_t r = 0; r < old->run_count; r++)
        for (size_t i = 0; i < old->runs[r].count; i++) {
            struct sst *sst = old->runs[r].tables[i]->sst;

            if (search_number(&known, sst_meta(sst)->table_no) == NULL)
                sst_condemn(sst);
        }
    alloc_free(known.tables);
}

/* ---- searching a run ---- */

size_t run_lower(const struct run *run, struct quern_slice key)
{
    struct quern_slice shared = slice_of(run->tables[0]->largest.data, run->skip);
    size_t low = 0, high = run->count;
    uint64_t head;

    if (UNLIKELY(!key_begins(key, shared.data, shared.len)))
        return key_compare(key, shared) < 0 ? 0 : run->count;
    head = key_head(key, run->skip);
    while (low < high) {
        size_t mid = (low + high) / 2;
        bool below = run->heads[mid] < head;

        if (run->heads[mid] == head)
            below = key_compare(buf_slice(&run->tables[mid]->largest), key) < 0;
        if (below)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct table *run_find(const struct run *run, struct quern_slice key)
{
    size_t at = run_lower(run, key);

    if (at == run->count || key_compare(buf_slice(&run->tables[at]->smallest), key) > 0)
        return NULL;
    return run->tables[at];
}

/* ---- views ---- */

void view_ref(struct view *v)
{
    atomic_fetch_add(&v->refs, 1);
}

void view_unref(struct view *v)
{
    if (v == NULL || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    mem_unref(v->mem);
    for (size_t i = 0; i < v->sealed_count; i++)
        mem_unref(v->sealed[i]);
    for (size_t i = 0; i < v->cuts_count; i++)
        cuts_unref(v->cuts[i]);
    version_unref(v->version);
    alloc_free(v);
}

/* Cuts lie behind the MemDBs: of each of those, and of the version. */
enum quern_code view_new(size_t sealed_max, struct view **out, struct quern_error *err)
{
    struct view *v = alloc_zeroed(sizeof(*v) + sealed_max * sizeof(struct mem *) +
                                  (sealed_max + 2) * sizeof(struct cuts *));

    if (v == NULL)
        return err_memory(err, "a view");
    atomic_init(&v->refs, 1);
    v->cuts = (struct cuts **)(void *)(v->sealed + sealed_max);
    *out = v;
    return QUERN_OK;
}

static void add_cuts(struct view *v, struct cuts *cuts)
{
    if (cuts != NULL)
        v->cuts[v->cuts_count++] = cuts_ref(cuts);
}

void view_set_active(struct view *v, struct mem *mem, struct cuts *cuts)
{
    if (mem != NULL)
        mem_ref(mem);
    v->mem = mem;
    add_cuts(v, cuts);
}

void view_add_sealed(struct view *v, struct mem *mem, struct cuts *cuts)
{
    mem_ref(mem);
    v->sealed[v->sealed_count++] = mem;
    add_cuts(v, cuts);
}

void view_set_version(struct view *v, struct version *version)
{
    version_ref(version);
    v->version = version;
    add_cuts(v, version->cuts);
}

/* ---- cuts ---- */

quern_seq view_newest_cut(const struct view *v, struct quern_slice key, quern_seq seq)
{
    quern_seq newest = 0;

    for (size_t i = 0; i < v->cuts_count; i++) {
        quern_seq of = v->cuts[i]->seq_min <= seq ? cuts_newest(v->cuts[i], key, seq) : 0;

        newest = of > newest ? of : newest;
    }
    return newest;
}

void view_cut_span(const struct view *v, struct quern_slice key, quern_seq seq,
                   struct cut_span *span)
{
    *span = (struct cut_span){.seq = 0};
    for (size_t i = 0; i < v->cuts_count; i++)
        if (v->cuts[i]->seq_min <= seq)
            cuts_narrow(v->cuts[i], key, seq, span);
}
