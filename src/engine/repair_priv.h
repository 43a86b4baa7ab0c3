/* repair_priv.h - what the two files of a repair share. */
#ifndef ENGINE_REPAIR_PRIV_H
#define ENGINE_REPAIR_PRIV_H

#include "compact/compact.h"
#include "engine/remains_priv.h"
#include "sst/sst.h"
#include "wal/wal.h"

/* A table that takes part; see repair_sources.c. */
struct source {
    struct os_dir *dir; /* borrowed */
    uint64_t file_no, unique_id;
    bool orphan;
    struct quern_slice trim; /* keys below are not seen; borrowed from the manifest's remains */
    struct buf smallest, largest; /* of the entries that can be read */
};

struct hole {
    struct buf first, last; /* inclusive */
    bool to_the_end;
};

struct repair {
    struct remains from;
    struct os_dir *to;
    struct sst_cache *cache; /* new tables are read again through it */
    struct findings findings;
    struct quern_repair_report *report;
    struct manifest *numbers; /* of files in `to` */
    struct buf sources;       /* struct source ... */
    struct buf holes;         /* struct hole ... */
    struct cuts *cuts;        /* of the manifest and the log; NULL: none */
    db_map map;               /* where the databases are: of the same */
    quern_seq seq_max;
    uint64_t bytes_done, bytes_total;
};

/* Keys from `first` (`above`: behind it; empty: from the first) up to `last` (empty: to the
 * last). */
MUST_USE enum quern_code hole_add(struct repair *r, struct quern_slice first, bool above,
                                  struct quern_slice last, struct quern_error *err);
void holes_settle(struct repair *r); /* once, before in_hole() */
bool in_hole(const struct repair *r, struct quern_slice key);
void holes_done(struct repair *r);

/* The range deletes of a batch of number `seq`: the merge of all has them do their work. */
MUST_USE enum quern_code cuts_take(struct repair *r, const struct batch_ref *batch, quern_seq seq,
                                   struct quern_error *err);

/* One cursor over all sources, first and next only. They stay until it is freed. */
MUST_USE enum quern_code sources_merge(struct repair *r, struct iter **out,
                                       struct quern_error *err);
void sources_done(struct repair *r);

#endif
