/* edit.c - one change of what the store is: the manifest on disk first, then the version that
 * readers see.
 *
 *   manifest_apply     durable, or nothing happened
 *   version_build      opens what is new, shares what stays
 *   publish            one pointer, under mu
 *   version_condemn    files of tables that went are removed when their last reader leaves
 *
 * A failure between the first step and the last leaves memory behind the disk, so it forbids
 * writing until the next open. Worker only (or open, before there is a worker). */
#include "engine/work_priv.h"

#include <string.h>

/* Tombstones of a MemDB: fewer than this are walked over in some milliseconds; and one in so many
 * of what the tables hold are few beside what is walked over anyway. */
#define DEAD_MIN 65536
#define DEAD_SHARE 8

void work_count_tables(struct quern *db, const struct version *version)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    uint64_t entries = 0;
    uint32_t runs = 0;

    for (size_t r = 0; r < version->run_count; r++)
        runs += version->runs[r].tier == 0;
    atomic_store(&db->tier0_runs, runs);
    for (size_t i = 0; i < state->table_count; i++)
        entries += state->tables[i].meta.entry_count;
    atomic_store(&db->dead_due, entries == 0                      ? UINT64_MAX
                                : entries / DEAD_SHARE > DEAD_MIN ? entries / DEAD_SHARE
                                                                  : DEAD_MIN);
    /* Where damage has ended merging there is nothing to wait for. */
    atomic_store(&db->over_bytes, db->merge_again_ns == MERGE_NEVER
                                      ? 0
                                      : compact_over_bytes(state, &db->compact_config));
}

/* The worker alone changes the version, so to the worker it stays; the view around it may be
 * replaced by a leader at any time, hence the lock. */
struct version *work_version(struct quern *db)
{
    struct version *version;

    mutex_lock(&db->mu);
    version = atomic_load_explicit(&db->view, memory_order_relaxed)->version;
    mutex_unlock(&db->mu);
    return version;
}

/* The list that has the oldest MemDB: what recovery left is older than what was sealed. */
static struct memdb *oldest_locked(struct quern *db, size_t **count)
{
    bool recovered = db->recovered_count != 0;

    mutex_assert_held(&db->mu);
    *count = recovered ? &db->recovered_count : &db->sealed_count;
    return recovered ? db->recovered : db->sealed;
}

/* Publish the version without the oldest MemDB, whose entries it has; on failure with it, since a
 * leader may still publish a view, and its readers must go on seeing it. */
static enum quern_code publish_flushed_locked(struct quern *db, struct version *version,
                                              struct memdb *done, struct quern_error *err)
{
    size_t *count;
    struct memdb *list = oldest_locked(db, &count), oldest = list[0];

    --*count;
    memmove(list, list + 1, *count * sizeof(*list));
    if (engine_publish_locked(db, version, err)) {
        memmove(list + 1, list, *count * sizeof(*list));
        list[0] = oldest;
        ++*count;
        return err->code;
    }
    *done = oldest;
    cond_broadcast(&db->flushed);
    return QUERN_OK;
}

enum quern_code engine_apply_edit(struct quern *db, const struct manifest_edit *edit,
                                  const struct compact_output *made, bool flushed,
                                  struct quern_error *err)
{
    struct open_tables open = {0};
    struct version *version OWNED(version_unref) = NULL;
    struct version *old OWNED(version_unref) = work_version(db);
    struct memdb done = {0};
    enum quern_code code;

    if (made != NULL)
        open = (struct open_tables){made->open, made->count};
    version_ref(old);
    if (manifest_apply(db->manifest, edit, err))
        return err->code;
    code =
        version_build(db->dir, db->cache, manifest_state(db->manifest), old, open, &version, err);
    if (code == QUERN_OK) {
        mutex_lock(&db->mu);
        code = flushed ? publish_flushed_locked(db, version, &done, err)
                       : engine_publish_locked(db, version, err);
        mutex_unlock(&db->mu);
    }
    if (code != QUERN_OK) { /* the disk has moved on and memory has not: only a reopen helps */
        engine_fail(db, err);
        return code;
    }
    work_count_tables(db, version);
    version_condemn(old, version);
    if (!flushed)
        spans_forget(&db->spans);
    else
        live_flushed(db, done.mem);
    memdb_done(&done);
    return QUERN_OK;
}
