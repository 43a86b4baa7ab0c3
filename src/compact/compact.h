/* compact.h - moves entries down, no more: which tables to merge next (a pure function over the
 * shape of the store), and the merge itself (cursors in, tables out). Page:
 * docs/design/50-compaction.md.
 *
 * The shape: every flush makes a run in tier 0. K runs of a tier merge into one run of the next;
 * when the runs above the bottom hold half as much as the bottom, or what they delete is much of
 * the store, all of them merge into it; so they do when reads that crossed them have cost as much
 * as the merge will. Tables of the bottom whose dead entries no snapshot holds any more are
 * rewritten; those of which all has expired go unread. Every merge is a *job* that goes through the
 * key space slice by slice; each slice is one manifest edit, so that temporary space stays small
 * and a crash costs one slice.
 *
 * Threads: none of its own; one caller at a time per object. */
#ifndef COMPACT_COMPACT_H
#define COMPACT_COMPACT_H

#include "base/table_meta.h"
#include "iter/iter.h"
#include "manifest/manifest.h"
#include "sst/sst.h"

/* ---- which tables: jobs and slices ---- */

struct compact_config {
    uint32_t tier_runs;   /* K */
    uint64_t table_bytes; /* target size of one table */
    uint64_t memdb_bytes;
    uint64_t beside_bytes; /* what the store has on the disk beside its tables, as a rule */
    bool compress_moved; /* tables that look uncompressed are rewritten on the way to the bottom */
};

/* A merge under way: every run in `run_no[]` goes into run `target_run` of `target_tier`. The
 * sources are consecutive in age and older than every run that is not part of it; the part of them
 * below `position` has gone there already. Kept in memory only: after a restart the shape is as
 * good a start as any. */
#define JOB_RUNS_MAX 64
struct compact_job {
    bool active;
    bool rewrite; /* bottom tables with dead entries are rewritten even if nothing overlaps */
    uint64_t horizon_ms;  /* compact_need's, when it began */
    quern_seq oldest_pin; /* the same */
    uint32_t target_tier;
    uint64_t target_run;
    uint64_t run_no[JOB_RUNS_MAX]; /* sources, without the target */
    size_t run_count;
    struct buf position; /* keys below are done; empty: none */
    struct buf end;      /* exclusive; empty: to the last key */
};

/* Up to one job for each source tier; [TIER_BOTTOM] is the job into the bottom run. */
struct compact_jobs {
    struct compact_job job[TIER_COUNT_MAX];
};
void compact_jobs_done(struct compact_jobs *jobs);

enum compact_urge {
    COMPACT_NORMAL, /* only what the runs of a tier demand */
    COMPACT_LOOK,   /* now and then: what reads and dead entries demand, too */
    COMPACT_IDLE,   /* nothing was written for a while: settle */
};

/* What the shape does not show. */
struct compact_need {
    enum compact_urge urge;
    quern_seq oldest_pin; /* of the live snapshots and cursors; UINT64_MAX: there is none */
    uint64_t horizon_ms;  /* what has expired by then is dead for everybody */
    /* What could have been merged in the time that reads have spent on runs that did not have what
     * they looked for, since all upper runs were last merged. */
    uint64_t read_bytes;
};

/* Look at the shape and, if a merge is due that has not begun, begin it (fills a job in `jobs`; no
 * I/O). Returns the job to work on next, the most urgent one under way, or NULL when all is
 * well. */
struct compact_job *compact_pick(const struct manifest_state *state, struct compact_jobs *jobs,
                                 const struct compact_config *config,
                                 const struct compact_need *need, struct manifest *numbers);

/* By how much the runs above the bottom have outgrown what the worker should leave there: a MemDB
 * for each run that a tier may have, or what makes the merge into the bottom due, if that is more.
 * Writers are slowed by it. */
uint64_t compact_over_bytes(const struct manifest_state *state,
                            const struct compact_config *config);

/* The most urgent job under way, without beginning another; NULL when there is none. */
struct compact_job *compact_active(struct compact_jobs *jobs);

/* Begin the user's compaction: everything that touches [start, end) (empty: open) goes to the
 * bottom; tables that are cut by the range widen it. NULL when there is nothing to do, or a job is
 * under way that must end first (*wait is set then). */
struct compact_job *compact_pick_range(const struct manifest_state *state,
                                       struct compact_jobs *jobs, const struct compact_need *need,
                                       struct quern_slice start, struct quern_slice end,
                                       struct manifest *numbers, bool *wait);

/* Nothing of the table will be seen by anybody, and nothing lies below it that it hides: it may go
 * unread. */
bool compact_is_expired(const struct manifest_table *t, uint64_t horizon_ms);

/* The same by cuts: all of its range lies in them, they are newer than all it has, and whoever sees it
 * sees them. What it hides they hide as well, so it may stand in any tier. `cuts` may be NULL. */
bool compact_is_cut(const struct manifest_table *t, const struct cuts *cuts, struct cut_pins pins);

/* Those of `cuts` that may have something left to hide, in the tables of `state` and in `add`, which
 * join them. *out as of cuts_new(). Errors: NO_MEMORY. */
MUST_USE enum quern_code compact_live_cuts(const struct manifest_state *state,
                                           const struct manifest_table *add, size_t add_count,
                                           const struct cuts *cuts, struct cuts **out,
                                           struct quern_error *err);

/* The next slice of a job. */
struct compact_slice {
    bool done;      /* nothing is left: the job is over */
    bool move;      /* the source tables go to the target run as they are, unread */
    struct buf end; /* exclusive; empty: to the last key. The job's position after the slice */
    struct quern_slice start; /* inclusive; borrowed from `state` */
    /* Tables with entries in the slice, as indexes into state->tables: sources, and tables of the
     * target run that must be merged with them. */
    size_t *table;
    size_t table_count;
    uint64_t bytes_in; /* estimate */
};
MUST_USE enum quern_code compact_next_slice(const struct manifest_state *state,
                                            const struct compact_job *job,
                                            const struct compact_config *config,
                                            struct compact_slice *out, struct quern_error *err);
void compact_slice_done(struct compact_slice *s);

/* ---- the merge ---- */

struct compact_output {
    struct table_meta *tables; /* owned, in key order */
    struct sst **open; /* the same, open, each with a reference; NULL where rules are cold */
    size_t count;
    uint64_t bytes_written;
    uint64_t entries_in, entries_out;
    uint64_t entries_expired; /* of them, what had expired and went, or goes on as a tombstone */
    uint32_t
        expired_databases; /* bit i: of keys whose first byte is i modulo 32, a put went as expired */
};
void compact_output_done(struct compact_output *o); /* frees all of it; the files stay */

struct compact_rules {
    const quern_seq
        *snapshots; /* live, rising: for each the newest version at or below it is kept */
    size_t snapshot_count;
    uint64_t
        horizon_ms; /* what has expired by then is dead for everybody: a tombstone stands for it */
    const struct cuts *cuts; /* what they hide from all who see it goes; NULL: there are none */
    bool bottom;             /* nothing older lies below the output: tombstones may go */
    uint64_t table_bytes;
    uint32_t block_bytes, filter_bits;
    enum sst_codec codec;
    struct sst_cache *cache; /* new tables are read again through it; borrowed */
    enum sst_warm warm;      /* and what of them stays in it; unless SST_COLD they stay open */
    /* Called about every MiB of input, to let more urgent work go first. Non-OK ends the merge. */
    enum quern_code (*yield)(void *arg, struct quern_error *err);
    void *yield_arg;
};

/* manifest_table.cut_seq of what these rules make: cuts that come later have higher numbers. */
quern_seq compact_cut_seq(const struct compact_rules *rules);

/* Write what the rules keep of the entries of `in`, from where it stands up to keys < `end` (empty:
 * to its end), as tables in `dir`. The caller positions `in` and keeps it. Tables are synced, the
 * directory is too. Each table was read again and holds the very entries that the cursor showed and
 * the rules keep, else the merge fails with CORRUPT. On failure no file remains. Output may be
 * empty. Errors: those of the cursor, CORRUPT, NO_SPACE, IO, NO_MEMORY. */
MUST_USE enum quern_code compact_merge(struct os_dir *dir, struct manifest *numbers,
                                       struct iter *in, struct quern_slice end,
                                       const struct compact_rules *rules,
                                       struct compact_output *out, struct quern_error *err);

#endif
