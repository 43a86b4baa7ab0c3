/* scrub.c - in idle moments the worker reads tables through, so that a damaged block is told of
 * before somebody needs it.
 *
 *     tick, idle --> enough time has passed for the bytes read? --> next table: sst_verify
 *
 * One table at a time, in the order of their numbers, and round again. The pace follows from the
 * size of the store: all of it in PERIOD, but no faster than BYTES_A_SECOND, so a large store takes
 * longer. After each table the worker waits for as long as that table is due, and a table that was
 * found sound in this round is not read again in it. What is found is counted, told as an event
 * once per table and round, and otherwise left alone: reads of the damaged block fail as they would
 * have, and quern_verify or quern_repair say more.
 *
 * Nothing of it is remembered over a reopen; a store that lives shorter than a round relies on
 * quern_verify. Reads pass by the cache. */
#include "engine/work_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define PERIOD_NS (UINT64_C(7) * 24 * 3600 * 1000000000)
#define BYTES_A_SECOND (UINT64_C(8) << 20)
#define PAUSE_NS_MAX (UINT64_C(3600) * 1000000000)

struct found {
    struct quern *db;
    uint64_t damages;
    char text[200];
};

static void on_damage(void *arg, uint64_t table_no, uint64_t offset, struct quern_slice first_key,
                      struct quern_slice last_key, const char *what)
{
    struct found *f = arg;

    (void)first_key;
    (void)last_key;
    if (f->damages++ == 0)
        (void)snprintf(f->text, sizeof(f->text), "scrub: table %06" PRIu64 ": at %" PRIu64 ": %s",
                       table_no, offset, what);
}

/* The table with the lowest number above `after`; NULL: none. *bytes: of all tables. */
static struct sst *next_table(const struct version *version, uint64_t after, uint64_t *bytes)
{
    struct sst *best = NULL;

    *bytes = 0;
    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++) {
            struct sst *t = version->runs[r].tables[i]->sst;
            uint64_t no = sst_meta(t)->table_no;

            *bytes += sst_meta(t)->file_bytes;
            if (no > after && (best == NULL || no < sst_meta(best)->table_no))
                best = t;
        }
    return best;
}

/* How long the worker may rest after so many bytes of a store of `total`. */
static uint64_t pause_ns(uint64_t bytes, uint64_t total)
{
    uint64_t share = total != 0 ? PERIOD_NS / (total / (bytes + 1) + 1) : 0;
    uint64_t least = bytes * 1000 / BYTES_A_SECOND * 1000000;

    if (share > PAUSE_NS_MAX)
        share = PAUSE_NS_MAX; /* a small store: a few tables, each within the hour */
    return share > least ? share : least;
}

static void end_round(struct quern *db)
{
    db->scrub_after = 0;
    if (!db->scrub_began)
        return;
    db->scrub_began = false;
    atomic_fetch_add(&db->scrub_rounds, 1);
    atomic_store(&db->last_scrub_ns, os_now_ns(db->os));
}

void scrub_step(struct quern *db)
{
    struct view *view OWNED(view_unref) = NULL;
    struct found found = {.db = db};
    struct quern_error err;
    uint64_t now = os_now_ns(db->os), total, bytes = 0;
    struct sst *t;

    if (now < db->scrub_again_ns)
        return;
    view = engine_view(db);
    t = next_table(view->version, db->scrub_after, &total);
    if (t == NULL) {
        end_round(db);
        db->scrub_again_ns = now + pause_ns(0, total);
        return;
    }
    db->scrub_began = true;
    db->scrub_after = sst_meta(t)->table_no;
    /* What the disk cannot read is damage as well. Out of memory: in the next round. */
    if (sst_verify(t, on_damage, &found, &bytes, &err) == QUERN_IO && found.damages++ == 0)
        (void)snprintf(found.text, sizeof(found.text), "scrub: %.190s", err.text);
    db->scrub_again_ns = os_now_ns(db->os) + pause_ns(bytes, total);
    atomic_fetch_add(&db->scrub_bytes, bytes);
    if (found.damages == 0)
        return;
    atomic_fetch_add(&db->scrub_damages, found.damages);
    engine_event(db, QUERN_EVENT_CORRUPT, 0, 0, 0, "%s", found.text);
}
