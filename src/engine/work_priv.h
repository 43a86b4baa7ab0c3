/* work_priv.h - what the worker's parts share: edit.c, flush.c, slices.c, work.c. All of it is the
 * worker's alone, or open's before there is a worker. */
#ifndef ENGINE_WORK_PRIV_H
#define ENGINE_WORK_PRIV_H

#include "engine/engine_priv.h"

/* ---- edit.c ---- */
struct version *work_version(struct quern *db); /* the present one; borrowed */

/* ---- flush.c ---- */
struct compact_rules work_rules(const struct quern *db, bool bottom, bool nothing_below);
/* The rows of an edit that make new tables part of one run. The metas are borrowed; *list is the
 * caller's. */
MUST_USE enum quern_code work_list_tables(const struct compact_output *out, uint32_t tier,
                                          uint64_t run_no, struct manifest_table **list,
                                          struct quern_error *err);
bool work_edit_refused(enum quern_code code);
void work_remove_tables(struct quern *db, const struct compact_output *out);
/* Flush the oldest sealed MemDB, if any; deals with failure (no_space, engine_fail). */
MUST_USE enum quern_code work_flush_oldest(struct quern *db, struct quern_error *err);

/* ---- ballast.c ---- */
void ballast_keep(struct quern *db);    /* see that it is there, if the disk has plenty of space */
bool ballast_give_up(struct quern *db); /* true: there was some, and its space is free now */

/* ---- scrub.c ---- */
void scrub_step(struct quern *db); /* in an idle moment: read a table through, if one is due */

/* ---- slices.c ---- */
/* One slice of a job; ends the job after its last. *bytes: what the slice read. */
MUST_USE enum quern_code work_job_step(struct quern *db, struct compact_job *job, uint64_t *bytes,
                                       struct quern_error *err);
/* A step failed: say so, and see to it that the next does not run into the same wall at once. */
void work_job_failed(struct quern *db, struct compact_job *job, const struct quern_error *err);
/* One step of the most urgent merge. False: there is nothing to merge now. */
bool work_merge_step(struct quern *db, enum compact_urge urge);

#endif
