/* flush.c - the oldest sealed MemDB becomes a run of tier 0.
 *
 * One merge of one cursor (compact/merge.c), one manifest edit, then the log segments that only
 * this MemDB needed are handed back. The pace of flushes is what pressure.c slows writers to. */
#include "engine/work_priv.h"

#include <inttypes.h>

/* Tables above the bottom are so much smaller than those in it. A merge lets go of its sources
 * table by table, and what it has not let go of lies on the disk beside what was made of it. */
#define UPPER_PARTS 4

static enum sst_codec codec_for(const struct quern *db, bool bottom)
{
    switch (db->options.compression) {
    case QUERN_COMPRESS_NONE:
        return SST_PLAIN;
    case QUERN_COMPRESS_LZ4:
        return SST_LZ4;
    case QUERN_COMPRESS_ZSTD:
        return bottom ? SST_ZSTD : SST_LZ4;
    case QUERN_COMPRESS_DEFAULT:
        break;
    }
    return bottom ? SST_LZ4 : SST_PLAIN;
}

struct compact_rules work_rules(const struct quern *db, bool bottom, bool nothing_below)
{
    return (struct compact_rules){
        .bottom = nothing_below,
        .table_bytes = bottom ? db->options.table_bytes : db->options.table_bytes / UPPER_PARTS,
        .block_bytes = db->options.block_bytes,
        .filter_bits = db->options.filter_bits == UINT32_MAX ? 0 : db->options.filter_bits,
        .codec = codec_for(db, bottom),
        .cache = db->cache,
    };
}

/* What readers would miss of the new table. A block that joins the cache costs a tenth of one that
 * a reader has to fetch, so it pays as soon as readers ask for as many as are made. */
static enum sst_warm flush_warmth(struct quern *db, uint64_t bytes)
{
    struct sst_cache_stats cache;
    uint64_t lookups;

    sst_cache_stats(db->cache, &cache);
    lookups = cache.hits + cache.misses - db->lookups_seen;
    db->lookups_seen += lookups;
    if (lookups == 0)
        return SST_COLD;
    return lookups >= bytes / db->options.block_bytes ? SST_WARM_ALL : SST_WARM_INDEX;
}

/* The edit that makes new tables one run. The metas are borrowed. */
enum quern_code work_list_tables(const struct compact_output *out, uint32_t tier, uint64_t run_no,
                                 quern_seq cut_seq, struct manifest_table **list,
                                 struct quern_error *err)
{
    *list = alloc_array(out->count + 1, sizeof(**list));
    if (*list == NULL)
        return err_memory(err, "a manifest edit");
    for (size_t i = 0; i < out->count; i++)
        (*list)[i] = (struct manifest_table){
            .tier = tier, .run_no = run_no, .cut_seq = cut_seq, .meta = out->tables[i]};
    return QUERN_OK;
}

/* These leave the manifest as it was; after any other failure it may name the new tables. */
bool work_edit_refused(enum quern_code code)
{
    return code == QUERN_NO_SPACE || code == QUERN_NO_MEMORY;
}

void work_remove_tables(struct quern *db, const struct compact_output *out)
{
    for (size_t i = 0; i < out->count; i++) {
        char name[TABLE_NAME_BYTES];
        struct quern_error ignored;

        table_name(name, out->tables[i].table_no);
        IGNORE(os_dir_remove(db->dir, name, &ignored)); /* else it goes at the next open */
    }
}

/* Does no table have keys in the range of the cursor? Then a merge will hardly read what is made of
 * it: it moves it as it is, and few large tables are better than many small ones. */
static bool lies_apart(const struct quern *db, struct iter *in, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    OWNED_BUF struct buf last = {0};

    iter_last(in);
    if (!in->valid || buf_append(&last, in->at.key.data, in->at.key.len, err))
        return false;
    iter_first(in);
    for (size_t i = 0; i < state->table_count; i++) {
        const struct table_meta *meta = &state->tables[i].meta;

        if (key_compare(buf_slice(&meta->smallest), buf_slice(&last)) <= 0 &&
            key_compare(buf_slice(&meta->largest), in->at.key) >= 0)
            return false;
    }
    return true;
}

/* What the edit says beside the tables. The cuts of the MemDB join those over the tables, unless
 * nothing is left for them to hide. *cuts is the caller's. */
static enum quern_code settle_cuts(struct quern *db, const struct memdb *memdb,
                                   struct cut_pins pins, const struct manifest_edit *edit,
                                   struct cuts **cuts, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);
    struct cuts *all OWNED(cuts_unref) = NULL;

    if (cuts_new(state->cuts, memdb->cuts->piece, memdb->cuts->count, pins, &all, err))
        return err->code;
    return compact_live_cuts(state, edit->add, edit->add_count, all, cuts, err);
}

static void say_flushed(struct quern *db, const struct mem_info *info,
                        const struct compact_output *out, uint64_t ns)
{
    uint64_t rate = info->arena_bytes * 1000 / (ns / 1000000 + 1);
    uint64_t before = atomic_load(&db->flush_rate);

    atomic_store(&db->flush_rate, before == 0 ? rate : (3 * before + rate) / 4);
    atomic_fetch_add(&db->flushes, 1);
    atomic_fetch_add(&db->flush_bytes, out->bytes_written);
    atomic_fetch_add(&db->expired_entries, out->entries_expired);
    atomic_fetch_add(&db->flush_ns, ns);
    atomic_store(&db->last_flush_ns, os_now_ns(db->os));
    engine_event(db, QUERN_EVENT_FLUSHED, info->arena_bytes, out->bytes_written, ns,
                 "flushed %" PRIu64 " entries, %" PRIu64 " bytes, in %zu tables", out->entries_out,
                 out->bytes_written, out->count);
}

enum quern_code engine_flush_mem(struct quern *db, const struct memdb *memdb, uint64_t log_first,
                                 struct quern_error *err)
{
    struct compact_rules rules = work_rules(db, false, work_version(db)->run_count == 0);
    struct iter *in OWNED(iter_free) = NULL;
    struct cuts *cuts OWNED(cuts_unref) = NULL;
    struct compact_output out;
    struct manifest_table *list = NULL;
    struct manifest_edit edit = {.set_flushed_seq = true,
                                 .flushed_seq = memdb_seq_max(memdb),
                                 .set_log_first = log_first != 0,
                                 .log_first = log_first,
                                 .set_cuts = memdb->cuts != NULL,
                                 .set_map = memdb->map_seq != 0,
                                 .map = memdb->map};
    struct mem_info info;
    quern_seq *pins = NULL;
    uint64_t began = os_now_ns(db->os), live[QUERN_DATABASES];
    enum quern_code code;

    live_flush(db, memdb);
    mem_info(memdb->mem, &info);
    if (mem_iter(memdb->mem, 0, &in, err) || engine_pins(db, &pins, &rules.snapshot_count, err))
        return err->code;
    rules.snapshots = pins;
    rules.cuts = memdb->cuts; /* newer ones may be lost with the log, and these entries not */
    rules.horizon_ms = engine_horizon_ms(db);
    if (lies_apart(db, in, err))
        rules.table_bytes = db->options.table_bytes;
    rules.warm = flush_warmth(db, info.arena_bytes);
    iter_first(in);
    code = compact_merge(db->dir, db->manifest, in, slice_of(NULL, 0), &rules, &out, err);
    if (code != QUERN_OK) {
        alloc_free(pins);
        return err_in(err, "flush");
    }
    code = work_list_tables(&out, 0, manifest_take_file_no(db->manifest), compact_cut_seq(&rules),
                            &list, err);
    edit.add = list;
    edit.add_count = out.count;
    if (code == QUERN_OK && edit.set_cuts)
        code = settle_cuts(db, memdb, (struct cut_pins){pins, rules.snapshot_count}, &edit, &cuts,
                           err);
    edit.cuts = cuts;
    edit.live = live_flush_edit(db, memdb->mem, out.expired_databases, live);
    if (code == QUERN_OK)
        code = engine_apply_edit(db, &edit, &out, true, err);
    if (work_edit_refused(code) && !atomic_load(&db->failed))
        work_remove_tables(db, &out);
    alloc_free(list);
    alloc_free(pins);
    if (code == QUERN_OK)
        say_flushed(db, &info, &out, os_now_ns(db->os) - began);
    compact_output_done(&out);
    return code == QUERN_OK ? QUERN_OK : err_in(err, "flush");
}

void work_set_no_space(struct quern *db, bool no_space, const struct quern_error *why)
{
    bool changed;

    mutex_lock(&db->mu);
    changed = db->no_space != no_space;
    db->no_space = no_space;
    cond_broadcast(&db->flushed);
    mutex_unlock(&db->mu);
    if (changed && no_space)
        engine_event(db, QUERN_EVENT_NO_SPACE, 0, 0, 0, "waiting for disk space: %s", why->text);
    else if (changed)
        engine_event(db, QUERN_EVENT_RESUMED, 0, 0, 0, "disk space is back; writing goes on");
}

/* Others may free some, so it is tried again; who waits for the flush is told meanwhile. */
static void set_no_memory(struct quern *db, bool no_memory)
{
    mutex_lock(&db->mu);
    db->no_memory = no_memory;
    cond_broadcast(&db->flushed);
    mutex_unlock(&db->mu);
}

/* Flush the oldest sealed MemDB, if any. */
enum quern_code work_flush_oldest(struct quern *db, struct quern_error *err)
{
    struct memdb oldest;
    uint64_t log_first;
    enum quern_code code;

    mutex_lock(&db->mu);
    if (db->sealed_count == 0) {
        mutex_unlock(&db->mu);
        return QUERN_OK;
    }
    oldest = db->sealed[0];
    log_first = db->sealed_count > 1 ? db->sealed[1].log_first : db->active.log_first;
    mem_ref(oldest.mem);
    (void)cuts_ref(oldest.cuts);
    mutex_unlock(&db->mu);
    code = engine_flush_mem(db, &oldest, log_first, err);
    if (code == QUERN_NO_SPACE && ballast_give_up(db))
        code = engine_flush_mem(db, &oldest, log_first, err);
    memdb_done(&oldest);
    if (code == QUERN_OK) {
        wal_release(engine_wal(db), log_first);
        engine_share_memory(db);
        work_set_no_space(db, false, NULL);
        set_no_memory(db, false);
    } else if (code == QUERN_NO_SPACE) {
        work_set_no_space(db, true, err);
    } else if (code == QUERN_NO_MEMORY && !atomic_load(&db->failed)) {
        engine_event(db, QUERN_EVENT_SLOWED, 0, 0, 0, "will be tried again: %s", err->text);
        set_no_memory(db, true);
        thread_sleep_ns(UINT64_C(100000000)); /* nothing was done */
    } else {
        engine_fail(db, err);
    }
    return code;
}
