/* manifest.h - which tables are the store right now: a log of edits, one per flush or compaction.
 * Bytes on disk: docs/design/60-manifest.md.
 *
 * MANIFEST-NNNNNN holds edits in the record framing (record/record.h), each numbered and chained to
 * the one before; it begins with a snapshot of the whole state. CURRENT names it, with a
 * checksum, and is replaced atomically. When the log has grown past a few times its live size a
 * new manifest is written and CURRENT moved; the one before is kept until then.
 *
 * Threads: manifest_apply() and the manifest_take_*() functions lock for themselves and may be
 * called by any thread. manifest_state() is for the one thread that applies table edits. */
#ifndef MANIFEST_MANIFEST_H
#define MANIFEST_MANIFEST_H

#include "base/cuts.h"
#include "base/db_map.h"
#include "base/table_meta.h"
#include "os/os.h"

#include <quern/quern.h>

struct manifest;

/* One sorted run: tables whose key ranges do not overlap, in key order. A run is named by tier and
 * number. Tier TIER_BOTTOM has at most one run, the oldest. Above it a higher `run_no` is newer,
 * across tiers too: a merge gives its target the number of its newest source. While it goes on,
 * source and target may both have that number, with key ranges that do not meet. */
#define TIER_COUNT_MAX 8
#define TIER_BOTTOM (TIER_COUNT_MAX - 1)

struct manifest_table {
    uint32_t tier;
    uint64_t run_no;
    struct table_meta meta; /* owned; meta.smallest may have been raised by a trim: keys below it
                             * have moved on and must not be seen in this table any more */
    quern_seq cut_seq;      /* nothing that a cut up to this number hides is in it */
};

/* A change of state, all or nothing. All pointers are borrowed. */
struct manifest_trim {
    uint64_t table_no;
    struct quern_slice smallest; /* the new, higher lower bound, inclusive */
};

struct manifest_edit {
    const uint64_t *remove; /* table numbers */
    size_t remove_count;
    const struct manifest_table *add;
    size_t add_count;
    const struct manifest_trim *trim;
    size_t trim_count;
    /* Moves a table to another run without touching its file: a remove and an add of one number. */
    bool set_log_first; /* segments below are not needed any more */
    uint64_t log_first;
    bool set_log_last; /* this segment begins */
    uint64_t log_last;
    bool set_flushed_seq; /* every batch up to this one is in tables, or its cuts are below */
    quern_seq flushed_seq;
    bool set_cuts; /* what was deleted by ranges, in the place of what it was; NULL: nothing */
    struct cuts *cuts;
    bool set_map; /* where the databases are at flushed_seq */
    db_map map;
    /* Of each database inside 1 + the number of its keys whose newest version up to flushed_seq is a put,
     * expired or not; 0: not known. NULL: as it was; but an edit that sets flushed_seq makes it unknown. */
    const uint64_t *live;
};

/* The whole state. Tables are sorted by (tier, run_no falling, smallest). */
struct manifest_state {
    uint64_t store_id;
    uint64_t created_ms;
    uint64_t log_first, log_last; /* segments that replay must find; first > last: none */
    quern_seq flushed_seq;
    struct manifest_table *tables; /* owned by the manifest */
    size_t table_count;
    struct cuts *cuts;              /* referenced; NULL: none */
    db_map map;                     /* which database of a user's is which inside; 0: itself */
    uint64_t live[QUERN_DATABASES]; /* as in an edit */
};

/* Is there a store in `dir`? A directory with any quern file but no valid CURRENT is an error,
 * never a fresh directory: CORRUPT, and says what is missing. *found is false for a directory
 * without quern files (foreign files do not matter). */
MUST_USE enum quern_code manifest_find(struct os_dir *dir, bool *found, struct quern_error *err);

/* Make the manifest of an empty store: durable at return. Errors: EXISTS, NO_SPACE, IO, ... */
MUST_USE enum quern_code manifest_create(struct os_dir *dir, struct manifest **out,
                                         struct quern_error *err);
/* The same for a copy: `state` with its tables becomes the first snapshot (for checkpoints; the
 * store gets a fresh store_id). */
MUST_USE enum quern_code manifest_create_from(struct os_dir *dir,
                                              const struct manifest_state *state,
                                              struct manifest **out, struct quern_error *err);

/* Read CURRENT and the manifest it names. Torn or damaged bytes at its end that follow the last
 * synced edit are cut (an edit is acknowledged only after its sync); damage before valid edits is
 * CORRUPT. A manifest whose last edit was acknowledged, and nothing begun after it, is gone on with,
 * and nothing is written. Else, unless `read_only`, a new one is written and published: nothing is
 * ever appended to a file that a crash has touched. On a full disk that is put off until the first
 * manifest_apply(). Errors: NO_STORE, CORRUPT, UNSUPPORTED, IO, DENIED, NO_MEMORY. */
MUST_USE enum quern_code manifest_open(struct os_dir *dir, bool read_only, struct manifest **out,
                                       struct quern_error *err);
void manifest_close(struct manifest *m); /* NULL is fine */
OWNER(manifest_close, struct manifest *);

/* Append the edit, sync, and take it into the state. Of one number an edit may say one thing, or
 * remove and add it. On failure the state is as it was:
 *   INVALID     the edit does not fit the state (removes what is not there, adds a number twice,
 *               overlaps within a run, lets a number fall, begins a segment below log_first)
 *   NO_SPACE, IO, NO_MEMORY
 *               nothing of it is left in the file; a later call may succeed
 *   UNKNOWN     a sync failed, or a failed write could not be cut off: a reopen finds the edit
 *               whole or absent; the manifest is poisoned, and later calls are READ_ONLY */
MUST_USE enum quern_code manifest_apply(struct manifest *m, const struct manifest_edit *edit,
                                        struct quern_error *err);

/* Its tables and cuts stay as they are until the next edit that touches them, which frees what it
 * removes; its other numbers may change under an edit of another thread. */
const struct manifest_state *manifest_state(const struct manifest *m);

/* A number no file, and no run, has had before; unique across crashes because files that are no
 * part of the state are removed at open and numbers start above all that the state and the
 * directory know. */
uint64_t manifest_take_file_no(struct manifest *m);
/* Files in the directory use numbers below this one: the engine tells after listing it. */
void manifest_skip_file_no(struct manifest *m, uint64_t above);

uint64_t manifest_bytes(const struct manifest *m); /* of the file now */
/* The names of this manifest's own files, so that open can tell orphans. */
bool manifest_owns_name(const struct manifest *m, const char *name);

/* ---- salvage ---- */

/* A damaged place; `lost`: something that the manifest said is not known any more. */
typedef void (*manifest_damage_fn)(void *arg, const char *file, uint64_t offset, const char *what,
                                   bool lost);

struct manifest_remains {
    bool whole;                  /* all is known: `state` is what manifest_open() would give */
    struct manifest_state state; /* else what the edits that can be read say */
    struct buf removed;          /* uint64_t: tables that such an edit has removed */
};

/* Read what is left of CURRENT and the manifest, telling `damage` (NULL: nobody) what is not.
 * Writes nothing. Errors: UNSUPPORTED (a newer format), IO, NO_MEMORY. */
MUST_USE enum quern_code manifest_salvage(struct os_dir *dir, manifest_damage_fn damage, void *arg,
                                          struct manifest_remains *out, struct quern_error *err);
void manifest_remains_done(struct manifest_remains *r);

/* A manifest that is on no disk: for the numbers of files in a directory that is no store yet. */
MUST_USE enum quern_code manifest_numbers(struct os_dir *dir, struct manifest **out,
                                          struct quern_error *err);

#endif
