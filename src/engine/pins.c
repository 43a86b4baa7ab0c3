/* pins.c - which old numbers and times somebody still looks at.
 *
 * A snapshot is a pin and nothing more; an iterator has one too, and so has a read that met what had
 * just expired (read.c). What a pin sees, flushes and merges keep (compact/merge.c). The list is
 * under mu, and short.
 *
 * A pin's time is taken under mu, and so is the horizon, from a clock that never goes back: so a pin
 * that comes after a merge has asked for the horizon judges by no earlier time. */
#include "engine/engine_priv.h"

#include <stdlib.h>

/* The time before the number: what had expired by it and is still the newest at the number is absent
 * at the moment at which the number is taken. The other way round a value that was replaced in time
 * would seem to have expired. */
void pin_add_locked(struct quern *db, struct pin *p, const struct pin *as)
{
    mutex_assert_held(&db->mu);
    p->time_ms = as != NULL ? as->time_ms : engine_time_ms(db);
    p->seq = as != NULL ? as->seq : atomic_load_explicit(&db->visible_seq, memory_order_acquire);
    p->map = as != NULL
                 ? as->map
                 : view_db_map(atomic_load_explicit(&db->view, memory_order_relaxed), p->seq);
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

void pin_add(struct quern *db, struct pin *p)
{
    mutex_lock(&db->mu);
    pin_add_locked(db, p, NULL);
    mutex_unlock(&db->mu);
}

void pin_remove(struct quern *db, struct pin *p)
{
    mutex_lock(&db->mu);
    pin_remove_locked(p);
    mutex_unlock(&db->mu);
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
    pin_add_locked(db, &s->pin, NULL);
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
    size_t n = 1, unique = 0;

    mutex_lock(&db->mu);
    for (struct pin *p = db->pins.next; p != &db->pins; p = p->next)
        n++;
    list = alloc_array(n, sizeof(*list));
    n = 0;
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

uint64_t engine_horizon_ms(struct quern *db)
{
    uint64_t horizon;

    mutex_lock(&db->mu);
    horizon = engine_time_ms(db);
    for (struct pin *p = db->pins.next; p != &db->pins; p = p->next)
        horizon = p->time_ms < horizon ? p->time_ms : horizon;
    mutex_unlock(&db->mu);
    return horizon;
}
