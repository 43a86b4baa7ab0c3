/* cuts.c - range deletes on their way: from a batch to the view that readers see.
 *
 *     batch --cuts_gather--> list --cuts_new--> active.cuts --> view      before the number is visible
 *                                               sealed.cuts --> view
 *                                    flush ---> manifest's  --> version   what is in tables
 *                                    worker: gone when nothing older is left in its range
 *
 * A cut is no entry of a MemDB. It stands in a list of the MemDB in whose time it came, and goes where
 * that goes. A group that has any is made ready before it is logged: the new list, and the view to
 * publish it in (write.c), are at hand then, and what follows the log cannot fail. Readers that have the new view
 * and an older number do not see the cut: it is newer than their number.
 *
 * Of the cuts of one MemDB that lie over one key, the newest counts, and for each number that somebody
 * reads at the newest up to it. So the present number is a pin, too: who has loaded the new view
 * may load the number before the group raises it. */
#include "engine/engine_priv.h"

#define CUTS_MAX 256 /* pieces that the list of one MemDB may have */

/* ---- MemDBs with their cuts ---- */

bool memdb_is_empty(const struct memdb *m)
{
    struct mem_info info;

    mem_info(m->mem, &info);
    return info.entry_count == 0 && m->cuts == NULL && m->map_seq == 0;
}

quern_seq memdb_seq_max(const struct memdb *m)
{
    struct mem_info info;
    quern_seq last;

    mem_info(m->mem, &info);
    last = info.seq_max > m->map_seq ? info.seq_max : m->map_seq;
    return m->cuts != NULL && m->cuts->seq_max > last ? m->cuts->seq_max : last;
}

bool memdb_has_many_cuts(const struct memdb *m)
{
    return m->cuts != NULL && m->cuts->count >= CUTS_MAX;
}

void memdb_done(struct memdb *m)
{
    mem_unref(m->mem);
    cuts_unref(m->cuts);
    *m = (struct memdb){.mem = NULL};
}

/* ---- a group ---- */

static enum quern_code make_list(struct quern *db, const struct batch_ref *batches, size_t count,
                                 struct cut_group *g, struct quern_error *err)
{
    struct buf list OWNED_BUF = {0};
    quern_seq *pins OWNED(alloc_free) = NULL;
    struct cut_pins all = {NULL, 0};

    for (size_t i = 0; i < count; i++)
        if (cuts_own(&batches[i], &g->own[i], err) ||
            cuts_gather(&list, &batches[i], db->last_seq + 1 + i, err))
            return err->code;
    if (engine_pins(db, &pins, &all.count, err))
        return err->code;
    if (all.count == 0 || pins[all.count - 1] != db->last_seq)
        pins[all.count++] = db->last_seq; /* there is room for one more */
    all.seqs = pins;
    return cuts_new(db->active.cuts, (const struct cut *)(const void *)list.data,
                    list.len / sizeof(struct cut), all, &g->cuts, err);
}

enum quern_code cut_group_make(struct quern *db, const struct batch_ref *batches, size_t count,
                               struct cut_group *out, struct quern_error *err)
{
    struct cut_group g = {.count = count};

    g.own = alloc_array(count, sizeof(struct cuts *));
    if (g.own == NULL)
        return err_memory(err, "a range delete");
    if (make_list(db, batches, count, &g, err)) {
        cut_group_done(&g);
        return err->code;
    }
    *out = g;
    return QUERN_OK;
}

void cut_group_take_locked(struct quern *db, struct cut_group *g)
{
    mutex_assert_held(&db->mu);
    cuts_unref(db->active.cuts); /* the present view has it, too */
    db->active.cuts = GIVE(g->cuts);
}

void cut_group_done(struct cut_group *g)
{
    for (size_t i = 0; g->own != NULL && i < g->count; i++)
        cuts_unref(g->own[i]);
    alloc_free(g->own);
    cuts_unref(g->cuts);
}
