/* work_mix.c - how fast is it when operations come mixed? The six mixes of YCSB, and a queue.
 *
 *     A   50 reads, 50 updates                 hot entries, scattered
 *     B   95 reads, 5 updates
 *     C   100 reads
 *     D   95 reads, 5 insertions               the latest entries are the hot ones
 *     E   95 scans of 1 to 100, 5 insertions
 *     F   50 reads, 50 reads each followed by an update of the same entry
 *
 * An insertion takes a slot that was never put: the odd slots in shuffled order, so that new
 * entries lie between the old ones, as YCSB's hashed keys do. Threads take turns in that order, and
 * a worker reads of the inserted entries only its own, which it knows to be there.
 *
 * The queue is one of fixed length: each turn adds an entry at the tail, seeks the first one, which
 * must be the oldest, and deletes it. The seek passes over whatever the deletions have left. */
#include "work.h"

#include <inttypes.h>
#include <string.h>

struct portions { /* of a hundred; what is left are reads followed by updates */
    unsigned reads, updates, inserts, scans;
    bool latest;
};

static const struct portions mixes[] = {
    {.reads = 50, .updates = 50},
    {.reads = 95, .updates = 5},
    {.reads = 100},
    {.reads = 95, .inserts = 5, .latest = true},
    {.scans = 95, .inserts = 5},
    {.reads = 50},
};

#define SCAN_STEPS_MAX 100

/* ------------------------------------------------------------------ YCSB -- */

static uint64_t inserted_slot(const struct worker *w, uint64_t n)
{
    const struct bench *b = w->bench;
    uint64_t of_all = b->inserted + n * w->of + w->no;

    return 2 * shuffled(of_all % b->data.num, b->data.num, b->seed + 77) + 1;
}

/* Rank 0 is the entry inserted last. Before this worker's first come those of the load, of which
 * the last are the latest. */
static uint64_t latest_slot(const struct worker *w, uint64_t rank)
{
    uint64_t num = w->bench->data.num;

    if (rank < w->inserted)
        return inserted_slot(w, w->inserted - 1 - rank);
    return 2 * shuffled(num - 1 - (rank - w->inserted), num, w->bench->seed);
}

void mix(struct worker *w, uint64_t i)
{
    const struct portions *p = &mixes[w->job->what->arg - 'a'];
    unsigned pick = (unsigned)random_below(&w->random, 100);
    uint64_t rank = hot_rank(w), slot = p->latest ? latest_slot(w, rank) : 2 * hot_entry(w, rank);

    if (pick < p->reads) {
        read_slot(w, slot);
    } else if (pick < p->reads + p->updates) {
        put_slot(w, slot, i, false);
    } else if (pick < p->reads + p->updates + p->inserts) {
        put_slot(w, inserted_slot(w, w->inserted), 0, false);
        w->inserted++;
    } else if (pick < p->reads + p->updates + p->inserts + p->scans) {
        seek_slot(w, slot, (unsigned)random_below(&w->random, SCAN_STEPS_MAX), true);
    } else {
        read_slot(w, slot);
        put_slot(w, slot, i, false);
    }
}

/* ------------------------------------------------------------------ a queue -- */

static uint64_t queue_length(const struct worker *w)
{
    return w->bench->data.num / 100 + 1;
}

void queue_begin(struct worker *w)
{
    w->head = 0;
    for (w->tail = 0; w->tail < queue_length(w); w->tail++)
        put_slot(w, w->tail, 0, false);
}

void queue_turn(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint8_t head[KEY_BYTES_MAX];
    struct pair p;

    (void)i;
    put_slot(w, w->tail++, 0, false);
    key_make(d, w->head, head);
    w->call->scan_begin(w->session);
    if (!w->call->scan_first(w->session, &p) || p.key.len != d->key_bytes ||
        memcmp(p.key.data, head, d->key_bytes) != 0 || !value_is_of(d, w->head, p.value))
        die("%s: the head of the queue is not entry %" PRIu64, w->bench->engine->name, w->head);
    w->call->scan_end(w->session);
    w->call->del(w->session, key_of(w, head));
    w->head++;
}
