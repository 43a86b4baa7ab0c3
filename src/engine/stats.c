/* stats.c - what the store is doing, in numbers; and the same as JSON. */
#include "engine/engine_priv.h"

#include <inttypes.h>
#include <stdio.h>

/* What a merge would free of this table, as far as the table knows by itself. */
static uint64_t reclaimable(const struct table_meta *meta, uint64_t time_ms)
{
    uint64_t dead = meta->tombstone_count + meta->duplicate_count;

    if (meta->expiring_count == meta->entry_count && meta->expires_max_ms <= time_ms)
        dead = meta->entry_count;
    if (dead >= meta->entry_count)
        return meta->file_bytes;
    return (uint64_t)((double)meta->file_bytes * (double)dead / (double)meta->entry_count);
}

static void tier_stats(const struct version *version, uint64_t time_ms, struct quern_stats *out)
{
    for (size_t r = 0; r < version->run_count; r++) {
        const struct run *run = &version->runs[r];
        struct quern_tier_stats *tier = &out->tier[run->tier];

        tier->runs++;
        for (size_t i = 0; i < run->count; i++) {
            const struct table_meta *meta = sst_meta(run->tables[i]->sst);

            tier->tables++;
            tier->bytes += meta->file_bytes;
            tier->entries += meta->entry_count;
            tier->tombstones += meta->tombstone_count;
            out->table_expiring += meta->expiring_count;
            out->reclaimable_bytes += reclaimable(meta, time_ms);
        }
    }
    out->tiers = QUERN_TIERS_MAX;
    for (size_t t = 0; t < QUERN_TIERS_MAX; t++) {
        out->tables += out->tier[t].tables;
        out->table_bytes += out->tier[t].bytes;
        out->table_entries += out->tier[t].entries;
        out->table_tombstones += out->tier[t].tombstones;
    }
}

static void memory_stats(struct quern *db, const struct view *view, struct quern_stats *out)
{
    struct sst_cache_stats cache;
    struct mem_info info;

    sst_cache_stats(db->cache, &cache);
    out->memory_budget = db->options.memory_bytes;
    out->cache_bytes = cache.used_bytes;
    out->cache_block_bytes = cache.block_bytes;
    out->cache_index_bytes = cache.index_bytes;
    out->cache_filter_bytes = cache.filter_bytes;
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->cache_evictions = cache.evictions;
    out->disk_read_bytes = cache.read_bytes;
    if (view->mem != NULL) {
        mem_info(view->mem, &info);
        out->memdb_bytes = info.arena_bytes;
        out->memdb_entries = info.entry_count;
        out->memdb_expiring = info.expiring_count;
    }
    for (size_t i = 0; i < view->sealed_count; i++) {
        mem_info(view->sealed[i], &info);
        out->memdb_sealed++;
        out->memdb_bytes += info.arena_bytes;
        out->memdb_entries += info.entry_count;
        out->memdb_expiring += info.expiring_count;
    }
    for (size_t i = 0; i < view->cuts_count; i++)
        out->cuts += view->cuts[i]->count;
}

static void log_stats(struct quern *db, struct quern_stats *out)
{
    struct wal *log = engine_wal(db);
    struct wal_stats wal;

    if (log == NULL) {
        out->durable_seq = db->log_kept ? out->visible_seq : 0;
        return;
    }
    wal_stats(log, &wal);
    out->durable_seq = wal_durable_seq(log);
    out->log_bytes = wal.bytes_on_disk;
    out->log_segments = wal.segments_live + wal.segments_spare;
    out->log_bytes_written = wal.bytes_appended + wal.bytes_padded;
    out->log_syncs = wal.syncs;
    out->log_sync_ns_total = wal.sync_ns_total;
    out->log_sync_ns_max = wal.sync_ns_max;
    out->log_groups = wal.groups;
    _Static_assert(sizeof(out->log_sync_times) == sizeof(wal.sync_times) &&
                       QUERN_SYNC_TIME_BITS_FIRST == WAL_SYNC_TIME_BITS_FIRST,
                   "the same times inside and outside");
    memcpy(out->log_sync_times, wal.sync_times, sizeof(wal.sync_times));
}

static uint64_t ms_ago(struct quern *db, uint64_t then_ns)
{
    return then_ns == 0 ? UINT64_MAX : (os_now_ns(db->os) - then_ns) / 1000000;
}

static void count_stats(struct quern *db, struct quern_stats *out)
{
    for (size_t i = 0; i < COUNTER_STRIPES; i++) {
        uint64_t missed = atomic_load(&db->counters[i].gets_missed); /* before those it is among */
        uint64_t gets = atomic_load(&db->counters[i].gets);

        out->gets += gets;
        out->gets_found += gets - missed;
        out->seeks += atomic_load(&db->counters[i].seeks);
        out->filter_false += atomic_load(&db->counters[i].filter_false);
        out->filter_useful += atomic_load(&db->counters[i].filter_denied);
        out->filter_checks += atomic_load(&db->counters[i].filter_let_through);
    }
    out->filter_checks += out->filter_useful;
    out->puts = atomic_load(&db->puts);
    out->deletes = atomic_load(&db->deletes);
    out->range_deletes = atomic_load(&db->range_deletes);
    out->batches = atomic_load(&db->batches);
    out->user_bytes = atomic_load(&db->user_bytes);
    out->flushes = atomic_load(&db->flushes);
    out->flush_bytes = atomic_load(&db->flush_bytes);
    out->flush_ns = atomic_load(&db->flush_ns);
    out->compactions = atomic_load(&db->compactions);
    out->compact_read_bytes = atomic_load(&db->compact_read_bytes);
    out->compact_write_bytes = atomic_load(&db->compact_write_bytes);
    out->compact_ns = atomic_load(&db->compact_ns);
    out->table_moves = atomic_load(&db->table_moves);
    out->expired_entries = atomic_load(&db->expired_entries);
    out->slowed_writes = atomic_load(&db->slowed_writes);
    out->slowed_ns = atomic_load(&db->slowed_ns);
    out->stalled_writes = atomic_load(&db->stalled_writes);
    out->stalled_ns = atomic_load(&db->stalled_ns);
    out->corrupt_blocks = atomic_load(&db->corrupt_blocks);
    out->last_flush_ms_ago = ms_ago(db, atomic_load(&db->last_flush_ns));
    out->last_compact_ms_ago = ms_ago(db, atomic_load(&db->last_compact_ns));
    out->scrub_rounds = atomic_load(&db->scrub_rounds);
    out->scrub_bytes = atomic_load(&db->scrub_bytes);
    out->scrub_damages = atomic_load(&db->scrub_damages);
    out->last_scrub_ms_ago = ms_ago(db, atomic_load(&db->last_scrub_ns));
}

void quern_stats(struct quern *db, struct quern_stats *out)
{
    struct view *view OWNED(view_unref) = NULL;
    struct quern_error err;

    *out = (struct quern_stats){0};
    if (engine_check(db, &err))
        return;
    view = engine_view(db);
    mutex_lock(&db->mu);
    out->read_only = db->failure.code != QUERN_OK;
    (void)snprintf(out->failure, sizeof(out->failure), "%s",
                   out->read_only ? db->failure.text : "");
    out->no_space = db->no_space;
    out->snapshots = db->snapshot_count;
    out->iterators = db->iterator_count;
    mutex_unlock(&db->mu);
    out->visible_seq = atomic_load(&db->visible_seq);
    memory_stats(db, view, out);
    tier_stats(view->version, engine_time_ms(db), out);
    log_stats(db, out);
    count_stats(db, out);
    out->disk_bytes = out->table_bytes + out->log_bytes + manifest_bytes(db->manifest);
    out->flush_interval_ms = db->options.flush_interval_ms;
    out->compact_interval_ms = db->options.compact_interval_ms;
    out->recovered_batches = db->recovery.batches;
    out->recovered_log_bytes = db->recovery.bytes;
    out->recovery_us = db->recovery_us;
    out->recovered_torn_tail = db->recovery.torn;
}

static void tell_table(const struct run *run, const struct table *t, db_map map, quern_table_fn fn,
                       void *arg)
{
    struct inner_span keys = inner_span_of(map, buf_slice(&t->smallest), buf_slice(&t->largest));
    const struct table_meta *meta = sst_meta(t->sst);
    char name[TABLE_NAME_BYTES];
    struct quern_table told = {
        .file = name,
        .tier = run->tier,
        .run_no = run->run_no,
        .bytes = meta->file_bytes,
        .entries = meta->entry_count,
        .tombstones = meta->tombstone_count,
        .expiring = meta->expiring_count,
        .first_key = keys.first_key,
        .last_key = keys.last_key,
        .first_database = keys.first_database,
        .last_database = keys.last_database,
    };

    table_name(name, meta->table_no);
    fn(arg, &told);
}

enum quern_code quern_tables(struct quern *db, quern_table_fn fn, void *arg,
                             struct quern_error *err)
{
    struct view *view OWNED(view_unref) = NULL;
    struct quern_error local;

    err = ERR_OR(err, local);
    if (engine_check(db, err))
        return err->code;
    if (fn == NULL)
        return err_set(err, QUERN_INVALID, "there is nobody to tell of the tables");
    view = engine_view(db);
    for (size_t r = 0; r < view->version->run_count; r++) {
        const struct run *run = &view->version->runs[r];

        for (size_t i = 0; i < run->count; i++)
            tell_table(run, run->tables[i], view->places.now, fn, arg);
    }
    return QUERN_OK;
}

/* ---- JSON ---- */

/* Appends to `b`; after a failure it does nothing more. */
struct json {
    struct buf b;
    bool failed;
};

static void add_text(struct json *j, const char *text)
{
    struct quern_error err;

    if (!j->failed && buf_append(&j->b, text, strlen(text), &err))
        j->failed = true;
}

static void add_key(struct json *j, const char *key)
{
    if (j->b.len != 0 && j->b.data[j->b.len - 1] != '{')
        add_text(j, ",");
    add_text(j, "\"");
    add_text(j, key);
    add_text(j, "\":");
}

static void add_number(struct json *j, const char *key, uint64_t v)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, v);
    add_key(j, key);
    add_text(j, text);
}

static void add_bool(struct json *j, const char *key, bool v)
{
    add_key(j, key);
    add_text(j, v ? "true" : "false");
}

static void add_string(struct json *j, const char *key, const char *text)
{
    add_key(j, key);
    add_text(j, "\"");
    for (; *text != '\0'; text++) {
        char escaped[8];
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            (void)snprintf(escaped, sizeof(escaped), "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            (void)snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        else
            (void)snprintf(escaped, sizeof(escaped), "%c", c);
        add_text(j, escaped);
    }
    add_text(j, "\"");
}

/* A time that has not come yet is null. */
static void add_ago(struct json *j, const char *key, uint64_t ms)
{
    if (ms != UINT64_MAX) {
        add_number(j, key, ms);
        return;
    }
    add_key(j, key);
    add_text(j, "null");
}

#define NUMBER(field) add_number(&j, #field, s->field)

static void add_tiers(struct json *j, const struct quern_stats *s)
{
    add_key(j, "tier");
    add_text(j, "[");
    for (uint32_t t = 0; t < s->tiers; t++) {
        add_text(j, t == 0 ? "{" : ",{");
        add_number(j, "tier", t);
        add_number(j, "runs", s->tier[t].runs);
        add_number(j, "tables", s->tier[t].tables);
        add_number(j, "bytes", s->tier[t].bytes);
        add_number(j, "entries", s->tier[t].entries);
        add_number(j, "tombstones", s->tier[t].tombstones);
        add_text(j, "}");
    }
    add_text(j, "]");
}

char *quern_stats_json(const struct quern_stats *s)
{
    struct json j = {0};

    add_text(&j, "{");
    NUMBER(visible_seq), NUMBER(durable_seq);
    add_bool(&j, "read_only", s->read_only);
    add_bool(&j, "no_space", s->no_space);
    add_string(&j, "failure", s->failure);
    NUMBER(snapshots), NUMBER(iterators);
    NUMBER(memory_budget), NUMBER(memdb_bytes), NUMBER(memdb_sealed), NUMBER(memdb_entries),
        NUMBER(memdb_expiring);
    NUMBER(cuts);
    NUMBER(cache_bytes), NUMBER(cache_block_bytes), NUMBER(cache_index_bytes);
    NUMBER(cache_filter_bytes);
    NUMBER(disk_bytes), NUMBER(log_bytes), NUMBER(log_segments);
    NUMBER(table_bytes), NUMBER(tables), NUMBER(table_entries), NUMBER(table_tombstones);
    NUMBER(table_expiring), NUMBER(reclaimable_bytes);
    add_tiers(&j, s);
    NUMBER(puts), NUMBER(deletes), NUMBER(range_deletes), NUMBER(batches);
    NUMBER(gets), NUMBER(gets_found), NUMBER(seeks), NUMBER(user_bytes);
    NUMBER(log_bytes_written), NUMBER(log_syncs), NUMBER(log_sync_ns_total);
    NUMBER(log_sync_ns_max), NUMBER(log_groups);
    NUMBER(flushes), NUMBER(flush_bytes), NUMBER(flush_ns);
    NUMBER(compactions), NUMBER(compact_read_bytes), NUMBER(compact_write_bytes);
    NUMBER(compact_ns), NUMBER(table_moves), NUMBER(expired_entries);
    NUMBER(slowed_writes), NUMBER(slowed_ns), NUMBER(stalled_writes), NUMBER(stalled_ns);
    NUMBER(filter_checks), NUMBER(filter_useful), NUMBER(filter_false);
    NUMBER(cache_hits), NUMBER(cache_misses), NUMBER(cache_evictions), NUMBER(disk_read_bytes);
    NUMBER(corrupt_blocks), NUMBER(scrub_rounds), NUMBER(scrub_bytes), NUMBER(scrub_damages);
    NUMBER(flush_interval_ms), NUMBER(compact_interval_ms);
    add_ago(&j, "last_flush_ms_ago", s->last_flush_ms_ago);
    add_ago(&j, "last_compact_ms_ago", s->last_compact_ms_ago);
    add_ago(&j, "last_scrub_ms_ago", s->last_scrub_ms_ago);
    NUMBER(recovered_batches), NUMBER(recovered_log_bytes), NUMBER(recovery_us);
    add_bool(&j, "recovered_torn_tail", s->recovered_torn_tail);
    add_text(&j, "}");
    if (!j.failed) {
        struct quern_error err;

        j.failed = buf_append(&j.b, "", 1, &err) != QUERN_OK;
    }
    if (j.failed)
        buf_done(&j.b);
    return (char *)j.b.data; /* malloc memory: base/alloc.h */
}
