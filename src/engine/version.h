/* version.h - which tables make up the store, open and searchable; and with the MemDBs before them:
 * the view that a reader sees.
 *
 *     view --> mem            takes writes
 *         '--> sealed[n-1..0] being flushed, newest last
 *         '--> version        runs, newest first; immutable, shared by views
 *         '--> cuts           what was deleted by ranges: a list of each of those that has any
 *
 * One pointer, engine->view, is published by RCU. A point read loads it inside
 * rcu_enter()..rcu_leave() and needs neither lock nor count. Who stays longer (a cursor, a verify)
 * takes a reference inside the section.
 *
 * Order that keeps reads right: load the view first, the visible number second. Everything
 * acknowledged before the read began is in that view; what the view lacks is newer than all it
 * has. A cut is in a view before its number is visible, and stays until nothing that it hides is in
 * any. But a view that lacks it may have what came with it, in the MemDB that takes writes: so who has
 * loaded both looks whether the view is the present one still, and else begins anew. A pin has
 * its number before the view is loaded, and need not. */
#ifndef ENGINE_VERSION_H
#define ENGINE_VERSION_H

#include "base/cuts.h"
#include "base/db_map.h"
#include "base/rcu.h"
#include "manifest/manifest.h"
#include "mem/mem.h"
#include "sst/sst.h"

#include <stdatomic.h>

/* One table of a version: the open file, and the key range that may be seen in it. */
struct table {
    _Atomic uint32_t refs;
    struct sst *sst;
    struct buf smallest, largest; /* inclusive; smallest may be above the file's own (a trim) */
    bool trimmed;
};

struct run {
    uint32_t tier;
    uint64_t run_no;
    size_t count;
    struct table **tables; /* key order, disjoint */
    uint64_t *heads;       /* of each table's largest key, after `skip` bytes */
    size_t skip;           /* bytes that every key between the run's first and last one shares */
};

struct version {
    _Atomic uint32_t refs;
    struct cuts *cuts; /* over what is in tables; NULL: none */
    size_t run_count;
    struct run runs[]; /* newest first */
};

/* Tables that were opened already; some may be NULL. */
struct open_tables {
    struct sst *const *tables;
    size_t count;
};

/* Open what `state` names: tables that `old` (may be NULL) has are shared with it, and `made` has
 * some that are new. *out has one reference. Errors: CORRUPT, IO, NO_MEMORY. */
MUST_USE enum quern_code version_build(struct os_dir *dir, struct sst_cache *cache,
                                       const struct manifest_state *state,
                                       const struct version *old, struct open_tables made,
                                       struct version **out, struct quern_error *err);
void version_ref(struct version *v);
void version_unref(struct version *v); /* NULL is fine */
OWNER(version_unref, struct version *);
/* Tables of `old` that `now` has not: their files go when the last reader does. */
void version_condemn(const struct version *old, const struct version *now);
/* Reads begin the searches of so many runs together. More there are seldom. */
#define RUNS_AT_ONCE 16
/* The table of a run that may hold `key`, or NULL. */
struct table *run_find(const struct run *run, struct quern_slice key);
/* Index of the first table whose largest key is >= `key`; run->count if none. */
size_t run_lower(const struct run *run, struct quern_slice key);

/* A cursor over a whole run, trims respected; the caller keeps the version alive while it lives.
 * Errors: NO_MEMORY. */
MUST_USE enum quern_code run_iter(const struct run *run, enum sst_walk walk, struct iter **out,
                                  struct quern_error *err);
/* The same over some tables, disjoint and in key order; takes no references of its own. */
MUST_USE enum quern_code tables_iter(struct table *const *tables, size_t count, enum sst_walk walk,
                                     struct iter **out, struct quern_error *err);

/* Which databases lie where (base/db_map.h). A view may be seen before the group that changed places
 * in it is: so it knows where they were until then. */
struct db_places {
    db_map now, before;
    quern_seq since; /* readers from this number on see `now` */
};

struct view {
    struct rcu_node retire; /* first */
    _Atomic uint32_t refs;
    struct mem *mem; /* NULL in a store opened read-only */
    struct version *version;
    struct db_places places;
    size_t cuts_count; /* most often 0, and reads look no further */
    struct cuts **cuts;
    size_t sealed_count;
    struct mem *sealed[]; /* oldest first */
};

/* A view with one reference and nothing in it, with room for so many sealed MemDBs and their cuts.
 * What it is given then, it takes references on. Errors: NO_MEMORY. */
MUST_USE enum quern_code view_new(size_t sealed_max, struct view **out, struct quern_error *err);
void view_set_active(struct view *v, struct mem *mem, struct cuts *cuts); /* NULL: none */
void view_add_sealed(struct view *v, struct mem *mem, struct cuts *cuts); /* oldest first */
void view_set_version(struct view *v, struct version *version);
void view_ref(struct view *v);
void view_unref(struct view *v); /* NULL is fine */
OWNER(view_unref, struct view *);

/* Where the databases are for a reader at `seq`, who has loaded it after the view. */
static inline db_map view_db_map(const struct view *v, quern_seq seq)
{
    return LIKELY(seq >= v->places.since) ? v->places.now : v->places.before;
}

/* The newest cut over `key` of those up to `seq`; 0: there is none. */
quern_seq view_newest_cut(const struct view *v, struct quern_slice key, quern_seq seq);
/* Is the newest entry that a reader at `seq` finds under its key deleted by a cut? */
static inline bool view_cuts(const struct view *v, const struct entry *e, struct quern_slice key,
                             quern_seq seq)
{
    return UNLIKELY(v->cuts_count != 0) && view_newest_cut(v, key, seq) > e->seq;
}
/* What holds around `key` for a reader at `seq`; borrowed from the view. */
void view_cut_span(const struct view *v, struct quern_slice key, quern_seq seq,
                   struct cut_span *span);

#endif
