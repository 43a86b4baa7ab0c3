/* pins.c - which old numbers somebody still looks at.
 *
 * A snapshot is a pin and nothing more; an iterator has one too. What a pin sees, flushes and
 * merges keep (compact/merge.c). The list is under mu, and short. */
#include "engine/engine_priv.h"

#include <stdlib.h>

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

/* ---- what flushes and merges ask ---- */

static int compare_seqs(const void *a, const void *b)
{
    quern_seq x = *(const quern_seq *)a, y = *(const quern_seq *)b;

    return (x > y) - (x < y);
}

enum quern_code engine_pins(struct quern *db, quern_seq **out, size_t *count,
                            struct quern_error *err)
{
    quern_seq *list;
    size_t n = 0, unique = 0;

    mutex_lock(&db->mu);
    list = alloc_array((size_t)db->snapshot_count + db->iterator_count + 1, sizeof(*list));
    if (list != NULL)
        for (struct pin *p = db->pins.next; p != &db->pins; p = p->next)
            list[n++] = p->seq;
    mutex_unlock(&db->mu);
    if (list == NULL)
        return err_memory(err, "a list of snapshots");
    qsort(list, n, sizeof(*list), compare_seqs);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || list[unique - 1] != list[i])
            list[unique++] = list[i];
    *out = list;
    *count = unique;
    return QUERN_OK;
}

quern_seq engine_oldest_pin(struct quern *db)
{
    quern_seq oldest = UINT64_MAX;

    mutex_lock(&db->mu);
    for (struct pin *p = db->pins.next; p != &db->pins; p = p->next)
        oldest = p->seq < oldest ? p->seq : oldest;
    mutex_unlock(&db->mu);
    return oldest;
}
