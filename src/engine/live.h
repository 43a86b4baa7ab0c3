/* live.h - how many keys of each database live: kept, and brought up to date when somebody asks.
 *
 * Counted are keys whose newest version is a put, expired or not: only writes change that. The number as
 * of flushed_seq is in the manifest; what came after is counted from the MemDBs, each of which has its
 * entries in the order in which they were written. Where something has expired, the answer is another
 * number, in memory alone, of those that live by the clock (living.h): at the last entry counted. Counts go by
 * the databases inside, which keep theirs when a user's change places. docs/decisions/0031 has the why.
 *
 * Threads: any; it locks itself. `mu` is taken before the store's, and held across the reads that counting
 * needs, so nobody who leads takes it. */
#ifndef ENGINE_LIVE_H
#define ENGINE_LIVE_H

#include "base/thread.h"
#include "engine/living.h"
#include "engine/pins.h"
#include "mem/mem.h"

struct memdb;

/* Of one database at one moment. What is not known may still be counted on: moments of one epoch differ
 * by as much as their `keys` do, so that who learns one knows the others. */
struct live_count {
    int64_t keys;
    uint64_t epoch;
    bool known;
};

/* A MemDB and how far it is counted. Nothing is held by it: it goes when its MemDB is flushed. */
struct live_part {
    const struct mem *mem; /* to be compared with those that somebody holds */
    uint64_t at;           /* its entries up to here are counted */
    quern_seq cuts_seq;    /* and its cuts up to this number */
    struct live_count count[QUERN_DATABASES];
    /* Of what is left by the newest cut over a whole database: */
    quern_seq from[QUERN_DATABASES];   /* a cut left nothing of what was written before this */
    uint64_t expires[QUERN_DATABASES]; /* the earliest expiry among its entries; UINT64_MAX: none */
    bool seen[QUERN_DATABASES];        /* it has entries of the database */
};

/* Of one database, by the clock. */
struct live_clock {
    enum {
        CLOCK_UNKNOWN,
        CLOCK_LEARNS, /* a walk is on its way, and `at` has what came since its moment */
        CLOCK_KNOWN,
    } state;
    uint64_t epoch; /* another one each time that it becomes unknown */
    struct living at;
};

struct live {
    struct mutex mu;
    struct live_count flushed[QUERN_DATABASES]; /* as of flushed_seq */
    struct live_part *parts;                    /* what came after; oldest first */
    size_t count;
    uint64_t epochs; /* the last one given */
    unsigned walkers[QUERN_DATABASES];
    struct live_clock clock[QUERN_DATABASES];
    uint64_t reach_ms;            /* of each clock */
    _Atomic uint64_t clock_bytes; /* of all of them, as of the last flush or walk */
};

void live_init(struct live *l);
void live_done(struct live *l);
void live_open(struct quern *db); /* take what the manifest says */

/* What is known of a database at a moment, and that moment held for a walk. */
struct live_look {
    struct quern_snapshot at;
    uint8_t database; /* the user's */
    uint8_t inside;   /* at that moment */
    uint64_t now_ms;
    uint64_t expires_ms; /* nothing does before; UINT64_MAX: nothing does */
    bool known;          /* `keys` live, but for those that have expired */
    int64_t keys;
    uint64_t epoch;
    bool told; /* `living` do, by now_ms */
    uint64_t living;
    bool by_clock; /* since the clock says so; then too: */
    uint64_t expiring, ttl_ms;
    uint64_t clock_epoch; /* of a walk that is to tell it: `leads` */
    bool leads;
    bool walks; /* a walk is to follow: what is written meanwhile is counted on */
    bool whole; /* it sees what has expired as well */
    struct living walked;
};
enum live_how {
    LIVE_CACHED, /* no reads, and no more work than a few ms: else BUSY */
    LIVE_WHOLLY,
    LIVE_BY_CLOCK, /* the same, and a walk follows where the clock does not say it */
    LIVE_ALL,      /* the same, and nothing is taken for expired */
};
/* Bring the number up to date. *look is live_end()'s if OK. Errors: BUSY (LIVE_CACHED alone), IO,
 * CORRUPT, NO_MEMORY. */
MUST_USE enum quern_code live_look(struct quern *db, uint8_t database, enum live_how how,
                                   struct live_look *look, struct quern_error *err);
/* A walk has found so many (count_walk()). False: that says nothing new of what is kept. */
bool live_learn(struct quern *db, const struct live_look *look, uint64_t keys);
void live_end(struct quern *db, struct live_look *look);

/* ---- the worker ---- */

/* Before the oldest MemDB is flushed: count it to its end, or give up what would cost too much. */
void live_flush(struct quern *db, const struct memdb *memdb);
/* What the edit says that brings it into tables, or NULL: nothing. `expired`: of these databases puts
 * went as expired (compact_output). */
const uint64_t *live_flush_edit(struct quern *db, const struct mem *mem, uint32_t expired,
                                uint64_t live[QUERN_DATABASES]);
void live_flushed(struct quern *db, const struct mem *mem); /* and it has */
/* The same of an edit by which such puts go that were in tables. */
const uint64_t *live_merge_edit(struct quern *db, uint32_t expired, uint64_t live[QUERN_DATABASES]);
/* Tell the manifest what has become known since its last edit. */
MUST_USE enum quern_code live_save(struct quern *db, struct quern_error *err);

#endif
