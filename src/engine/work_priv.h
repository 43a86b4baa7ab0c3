/* work_priv.h - what the worker's parts share: edit.c, flush.c, slices.c, work.c. All of it is the
 * worker's alone, or open's before there is a worker. */
#ifndef ENGINE_WORK_PRIV_H
#define ENGINE_WORK_PRIV_H

#include "engine/engine_priv.h"

/* What a pass (engine_passed()) is worth. Measured, all in memory: a search of a run in vain takes
 * 70 to 90 ns, in which a core merges some 25 bytes. Less, since a merge has the disk write as much
 * as it reads. */
#define PASS_BYTES 16

/* ---- edit.c ---- */
struct version *work_version(struct quern *db); /* the present one; borrowed */
/* What writers go by: runs, bytes and entries of the tables. */
void work_count_tables(struct quern *db, const struct version *version);

/* ---- flush.c ---- */
struct compact_rules work_rules(const struct quern *db, bool bottom, bool nothing_below);
/* The rows of an edit that make new tables part of one run. The metas are borrowed; *list is the
 * caller's. */
MUST_USE enum quern_code work_list_tables(const struct compact_output *out, uint32_t tier,
                                          uint64_t run_no, quern_seq cut_seq,
                                          struct manifest_table **list, struct quern_error *err);
bool work_edit_refused(enum quern_code code);
void work_remove_tables(struct quern *db, const struct compact_output *out);
/* Flush the oldest sealed MemDB, if any; deals with failure (no_space, engine_fail). */
MUST_USE enum quern_code work_flush_oldest(struct quern *db, struct quern_error *err);
void work_set_no_space(struct quern *db, bool no_space, const struct quern_error *why);

/* ---- files.c ---- */
struct store_files {
    struct quern *db;
    char (*names)[OS_NAME_BYTES_MAX]; /* orphans */
    size_t count, capacity;
    uint64_t file_no_max;      /* among tables and manifests */
    uint64_t log_min, log_max; /* among log segments; log_min is UINT64_MAX without any */
};
/* Look through the directory. *files is the caller's (files_done) in any case. */
MUST_USE enum quern_code files_look(struct quern *db, struct store_files *files,
                                    struct quern_error *err);
/* CORRUPT if an orphan holds acknowledged writes; in recovery to a point in time it is noted. */
MUST_USE enum quern_code files_check_lost(struct quern *db, struct store_files *files,
                                          struct quern_error *err);
/* Remove the orphans. */
MUST_USE enum quern_code files_clean(struct quern *db, struct store_files *files,
                                     struct quern_error *err);
void files_done(struct store_files *files);

/* ---- recover.c ---- */
/* Read the log into MemDBs and publish them. Errors: as wal_replay(). */
MUST_USE enum quern_code recover_replay(struct quern *db, struct quern_error *err);
/* Make them tables, remove the orphans, begin a new log. After NO_SPACE it may be called again. */
MUST_USE enum quern_code recover_finish(struct quern *db, struct store_files *files,
                                        struct quern_error *err);
/* recover_finish() must wait: make the old log durable,
 * so that a quern_sync() has nothing to do. */
MUST_USE enum quern_code recover_keep_log(struct quern *db, struct quern_error *err);
/* The worker, while db->unfinished: the same, and deals with failure. */
MUST_USE enum quern_code recover_resume(struct quern *db, struct quern_error *err);

/* ---- torn.c ---- */
/* Copy aside what recovery is about to drop: this piece and all of the segments after it up to
 * `last_segment`. Failures are told in kept->text, which goes on from the story of the cut. */
void torn_keep(struct quern *db, const struct wal_piece *first, uint64_t last_segment,
               struct torn_kept *kept);
/* ---- scrub.c ---- */
void scrub_step(struct quern *db); /* in an idle moment: read a table through, if one is due */

/* ---- slices.c ---- */
/* One slice of a job; ends the job after its last. *bytes: what the slice read. */
MUST_USE enum quern_code work_job_step(struct quern *db, struct compact_job *job, uint64_t *bytes,
                                       struct quern_error *err);
/* Let go of the tables of the bottom of which all has expired, and of those of which cuts hide all. */
MUST_USE enum quern_code work_drop_dead(struct quern *db, uint64_t horizon_ms, size_t *dropped,
                                        struct quern_error *err);
/* Let go of the cuts that have nothing left to hide. */
MUST_USE enum quern_code work_drop_cuts(struct quern *db, struct quern_error *err);
/* A step failed: say so, and see to it that the next does not run into the same wall at once. */
void work_merge_failed(struct quern *db, const struct quern_error *err);
void work_job_failed(struct quern *db, struct compact_job *job, const struct quern_error *err);
/* One step of the most urgent merge. False: there is nothing to merge now. */
bool work_merge_step(struct quern *db, enum compact_urge urge);

#endif
