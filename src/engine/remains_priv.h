/* remains_priv.h - a store as somebody sees it who does not trust it: what is in the directory,
 * what the manifest still says of it, and what was found to be damaged. For verify and repair. */
#ifndef ENGINE_REMAINS_PRIV_H
#define ENGINE_REMAINS_PRIV_H

#include "manifest/manifest.h"
#include "sst/sst.h"

#include <quern/quern.h>

/* Where findings go: the caller's function, and the counts. */
struct findings {
    const struct quern_verify_opts *opts; /* or NULL */
    db_map map;                           /* where the databases are, as far as is known */
    uint64_t damages, losses;
    struct quern_error first; /* the first damage, QUERN_OK: none */
};
/* `lost`: entries are, or may be, missing for it. The keys are inside ones; empty: unknown. */
void findings_add(struct findings *f, const char *file, uint64_t offset,
                  struct quern_slice first_key, struct quern_slice last_key, const char *what,
                  bool lost);
/* So many keys are kept of the database, the user's, and there are as many. */
void findings_add_count(struct findings *f, uint8_t database, uint64_t kept, uint64_t there);

struct remains {
    struct os_dir *dir;
    struct os_lock *lock; /* NULL: there is no LOCK, so nobody has the store open */
    struct manifest_remains manifest;
    struct buf tables, segments; /* uint64_t: numbers on disk, rising */
};
/* Look into `path`; nothing is written. Errors: NO_STORE (no file of quern's is in it), LOCKED,
 * DENIED, UNSUPPORTED, IO, NO_MEMORY. *r is remains_done()'s in any case. */
MUST_USE enum quern_code remains_open(struct os *os, const char *path, struct findings *f,
                                      struct remains *r, struct quern_error *err);
void remains_done(struct remains *r);

size_t numbers_count(const struct buf *numbers);
uint64_t numbers_at(const struct buf *numbers, size_t i);
bool numbers_have(const struct buf *numbers, uint64_t no); /* of a sorted list */
/* The table that the manifest knows under this number, or NULL. */
const struct manifest_table *remains_known(const struct remains *r, uint64_t table_no);

/* The numbers of keys that the manifest keeps, if any, against the tables that it names; in
 * remains_count.c. Errors: IO, CORRUPT, NO_MEMORY. */
MUST_USE enum quern_code remains_check_counts(const struct remains *r, struct sst_cache *cache,
                                              struct findings *f, struct quern_error *err);

/* Segments first..last of a log, as the manifest names them. */
struct log_row {
    uint64_t store_id, first, last;
    quern_seq settled; /* writes above it may be under way and prove nothing */
    /* Of an open store: is the segment still wanted? One that was released while it was read looks
     * damaged. NULL: nobody releases any. */
    bool (*is_live)(void *arg, uint64_t segment_no);
    void *arg;
};
/* Read them and report what is damaged. */
MUST_USE enum quern_code verify_segments(struct os_dir *dir, const struct log_row *row,
                                         struct findings *f, uint64_t *bytes,
                                         struct quern_error *err);

/* quern_check() and quern_repair() in any world. */
MUST_USE enum quern_code engine_check_files(struct os *os, const char *path,
                                            const struct quern_verify_opts *opts,
                                            struct quern_verify_report *report,
                                            struct quern_error *err);
MUST_USE enum quern_code engine_repair(struct os *os, const char *from, const char *to,
                                       const struct quern_verify_opts *opts,
                                       struct quern_repair_report *report, struct quern_error *err);

#endif
