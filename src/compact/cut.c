/* cut.c - what range deletes have left to do: tables that go unread, tables that a merge must read,
 * and cuts that may go. Pure: looks at the shape, does no I/O.
 *
 *     cuts       |------ 90 ------|            |-- 95 --|
 *     tables   [a   ][b  ][c  ][d    ][e     ][f         ]
 *                    '-b and c-' go unread; a, d and f are read by the next merge that has them, and
 *                                what that makes bears the number up to which cuts were applied
 *
 * A cut goes when each table that touches it bears its number, or has nothing that is older. MemDBs
 * need not be asked: a cut is in the manifest when all that is older is in tables. */
#include "compact/pick_priv.h"

#include "base/alloc.h"

/* Is there something in the table that is older than the cut and may be in its range still? */
static bool is_left(const struct manifest_table *t, const struct cut *c)
{
    return c->seq > t->cut_seq && c->seq > t->meta.seq_min;
}

bool is_cut_in(const struct manifest_table *t, const struct cuts *cuts, quern_seq oldest_pin)
{
    if (cuts == NULL)
        return false;
    for (size_t i = cuts_lower(cuts, low_of(t)); i < cuts->count; i++) {
        const struct cut *c = &cuts->piece[i];

        if (key_compare(c->start, high_of(t)) > 0)
            return false;
        if (c->seq <= oldest_pin && is_left(t, c))
            return true;
    }
    return false;
}

/* Is there somebody who sees a table's oldest entry, and not the cut? */
static bool is_told_apart(const struct manifest_table *t, const struct cut *c, struct cut_pins pins)
{
    for (size_t i = 0; i < pins.count; i++)
        if (pins.seqs[i] >= t->meta.seq_min && pins.seqs[i] < c->seq)
            return true;
    return false;
}

bool compact_is_cut(const struct manifest_table *t, const struct cuts *cuts, struct cut_pins pins)
{
    struct quern_slice at = low_of(t);

    if (cuts == NULL)
        return false;
    for (size_t i = cuts_lower(cuts, at); i < cuts->count; i++) {
        const struct cut *c = &cuts->piece[i];

        if (key_compare(c->start, at) > 0)
            return false; /* `at` is in none that hides the table */
        if (c->seq <= t->meta.seq_max || is_told_apart(t, c, pins))
            continue;
        if (cut_ends_after(c, high_of(t)))
            return true;
        at = c->end;
    }
    return false;
}

static void mark(const struct manifest_table *t, const struct cuts *cuts, bool *lives)
{
    for (size_t i = cuts_lower(cuts, low_of(t)); i < cuts->count; i++) {
        if (key_compare(cuts->piece[i].start, high_of(t)) > 0)
            break;
        lives[i] |= is_left(t, &cuts->piece[i]);
    }
}

enum quern_code compact_live_cuts(const struct manifest_state *state,
                                  const struct manifest_table *add, size_t add_count,
                                  const struct cuts *cuts, struct cuts **out,
                                  struct quern_error *err)
{
    bool *lives OWNED(alloc_free) = NULL;

    *out = NULL;
    if (cuts == NULL)
        return QUERN_OK;
    lives = alloc_array(cuts->count, sizeof(*lives));
    if (lives == NULL)
        return err_memory(err, "a list of range deletes");
    for (size_t i = 0; i < state->table_count; i++)
        mark(&state->tables[i], cuts, lives);
    for (size_t i = 0; i < add_count; i++)
        mark(&add[i], cuts, lives);
    return cuts_pick(cuts, lives, out, err);
}
