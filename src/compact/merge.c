/* merge.c - cursors in, tables out: which versions live on, and where one table ends.
 *
 *   versions of one key, newest first:   90   75   60   42   10
 *   snapshots:                               80        50      20
 *   seen by              now: 90  | 80: 75 | 50: 42 | 20: 10
 *   so 60 can be seen by nobody and goes.
 *
 * A stratum is what lies between two neighbouring snapshots; of each key the newest version in
 * every stratum is kept. What has expired for everybody goes on as a tombstone of its number: it
 * must hide what is older, as it did. A tombstone in the lowest stratum hides only what the same
 * merge drops, if nothing older lies below the output; then it goes too. A cut over the key is like
 * a newer version: what is older than the cut in its stratum goes, and the cut stays where it is
 * kept. All versions of a key land in one table, so a point read looks into one table per run. The
 * files are synced, and their names too, before the caller hears of them.
 *
 * What goes in must come out: each entry that is kept is hashed where the cursor shows it, or was
 * by the table's cursor that read it (iter_hash()), and what the finished file holds is held against
 * the sum (docs/design/50-compaction.md). */
#include "compact/compact.h"

#include "base/alloc.h"

#include <inttypes.h>

#define YIELD_BYTES (UINT64_C(1) << 20)

struct merge {
    struct os_dir *dir;
    struct manifest *numbers;
    const struct compact_rules *rules;
    struct compact_output *out;
    size_t capacity; /* of out->tables */
    struct sst_writer *writer;
    uint64_t count, sum; /* of the open table: entries it was given, and their hashes */
    struct buf key;      /* user key of the last entry seen */
    bool key_known;
    size_t stratum; /* of the last entry kept of that key */
    size_t cut;     /* in rules->cuts, the first piece that ends after the last key seen */
    uint64_t since_yield;
};

/* Which stratum a number lies in: how many snapshots are below it. */
static size_t stratum_of(const struct compact_rules *rules, quern_seq seq)
{
    size_t low = 0, high = rules->snapshot_count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (rules->snapshots[mid] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Room for one more. */
static enum quern_code grow_output(struct merge *m, struct quern_error *err)
{
    size_t capacity = m->capacity ? 2 * m->capacity : 8;
    struct table_meta *more;
    struct sst **open;

    if (m->out->count < m->capacity)
        return QUERN_OK;
    more = alloc_resize(m->out->tables, capacity * sizeof(*more));
    if (more == NULL)
        return err_memory(err, "the list of new tables");
    m->out->tables = more;
    open = alloc_resize(m->out->open, capacity * sizeof(*open));
    if (open == NULL)
        return err_memory(err, "the list of new tables");
    m->out->open = open;
    m->capacity = capacity;
    return QUERN_OK;
}

static enum quern_code finish_table(struct merge *m, struct quern_error *err)
{
    struct table_meta meta = {0};
    struct sst *open = NULL;

    if (grow_output(m, err) || sst_writer_finish(GIVE(m->writer), m->rules->cache, &meta,
                                                 m->rules->warm != SST_COLD ? &open : NULL, err))
        return err->code;
    m->out->open[m->out->count] = open;
    m->out->tables[m->out->count++] = meta;
    m->out->bytes_written += meta.file_bytes;
    if (meta.entry_count != m->count || meta.entry_hash != m->sum)
        return err_set(err, QUERN_CORRUPT,
                       "table %06" PRIu64 ": %" PRIu64 " entries were to be written and %" PRIu64
                       " were, and they differ",
                       meta.table_no, m->count, meta.entry_count);
    return QUERN_OK;
}

static enum quern_code open_table(struct merge *m, struct quern_error *err)
{
    struct sst_write_config config = {
        .table_no = manifest_take_file_no(m->numbers),
        .block_bytes = m->rules->block_bytes,
        .filter_bits = m->rules->filter_bits,
        .codec = m->rules->codec,
        .warm = m->rules->warm,
        .created_ms = os_wall_ms(os_of(m->dir)),
    };

    m->count = m->sum = 0;
    return sst_writer_open(m->dir, &config, &m->writer, err);
}

static struct entry tombstone_for(const struct entry *e)
{
    return (struct entry){
        .key = e->key, .value = slice_of(e->value.data, 0), .seq = e->seq, .kind = ENTRY_DELETE};
}

/* Does a cut hide it from all who see it? Keys rise, and so do the pieces. */
static bool is_cut(struct merge *m, const struct entry *e, size_t stratum)
{
    const struct cuts *cuts = m->rules->cuts;
    const struct cut *p;

    while (m->cut < cuts->count && !cut_ends_after(&cuts->piece[m->cut], e->key))
        m->cut++;
    for (size_t i = m->cut; i < cuts->count; i++) {
        p = &cuts->piece[i];
        if (key_compare(p->start, e->key) > 0)
            return false;
        if (p->seq > e->seq && stratum_of(m->rules, p->seq) == stratum)
            return true;
    }
    return false;
}

/* Keep one entry of the input or drop it. */
static enum quern_code merge_entry(struct merge *m, const struct iter *in, struct quern_error *err)
{
    const struct entry *e = &in->at;
    struct entry gone;
    size_t stratum = stratum_of(m->rules, e->seq);
    uint64_t hash;
    bool new_key = !m->key_known || !key_equal(buf_slice(&m->key), e->key);

    m->out->entries_in++;
    if (!new_key && stratum == m->stratum)
        return QUERN_OK; /* hidden by a newer version for everyone */
    if (m->rules->cuts != NULL && is_cut(m, e, stratum))
        return QUERN_OK;
    if (new_key) {
        if (buf_assign(&m->key, e->key, err))
            return err->code;
        m->key_known = true;
    }
    m->stratum = stratum;
    if (e->kind == ENTRY_PUT && !entry_lives(e, m->rules->horizon_ms)) {
        gone = tombstone_for(e);
        e = &gone;
        m->out->entries_expired++;
        m->out->expired_databases |= UINT32_C(1) << (*(const uint8_t *)e->key.data % 32);
    }
    if (e->kind == ENTRY_DELETE && m->rules->bottom && stratum == 0)
        return QUERN_OK;
    if (new_key && m->writer != NULL && sst_writer_bytes(m->writer) >= m->rules->table_bytes &&
        finish_table(m, err))
        return err->code;
    if (m->writer == NULL && open_table(m, err))
        return err->code;
    if (e == &gone || !iter_hash(in, &hash))
        hash = sst_entry_hash(e);
    m->count++;
    m->sum += hash;
    m->out->entries_out++;
    return sst_writer_add(m->writer, e, hash, err);
}

static enum quern_code merge_all(struct merge *m, struct iter *in, struct quern_slice end,
                                 struct quern_error *err)
{
    for (; in->valid; iter_next(in)) {
        if (end.len != 0 && key_compare(in->at.key, end) >= 0)
            break;
        m->since_yield += in->at.key.len + in->at.value.len;
        if (m->since_yield >= YIELD_BYTES && m->rules->yield != NULL) {
            m->since_yield = 0;
            if (m->rules->yield(m->rules->yield_arg, err))
                return err->code;
        }
        if (merge_entry(m, in, err))
            return err->code;
    }
    if (in->err.code != QUERN_OK) {
        *err = in->err;
        return err->code;
    }
    if (m->writer != NULL && finish_table(m, err))
        return err->code;
    return m->out->count != 0 ? os_dir_sync(m->dir, err) : QUERN_OK;
}

void compact_output_done(struct compact_output *o)
{
    for (size_t i = 0; i < o->count; i++) {
        table_meta_done(&o->tables[i]);
        sst_unref(o->open[i]);
    }
    alloc_free(o->tables);
    alloc_free(o->open);
    *o = (struct compact_output){0};
}

static void remove_files(struct os_dir *dir, const struct compact_output *o)
{
    for (size_t i = 0; i < o->count; i++) {
        char name[TABLE_NAME_BYTES];
        struct quern_error ignored;

        table_name(name, o->tables[i].table_no);
        IGNORE(os_dir_remove(dir, name, &ignored)); /* else it goes at the next open */
    }
}

enum quern_code compact_merge(struct os_dir *dir, struct manifest *numbers, struct iter *in,
                              struct quern_slice end, const struct compact_rules *rules,
                              struct compact_output *out, struct quern_error *err)
{
    struct merge m = {.dir = dir, .numbers = numbers, .rules = rules, .out = out};
    enum quern_code code;

    *out = (struct compact_output){0};
    code = merge_all(&m, in, end, err);
    buf_done(&m.key);
    sst_writer_drop(m.writer);
    if (code != QUERN_OK) {
        remove_files(dir, out);
        compact_output_done(out);
    }
    return code;
}

/* Where somebody sees what a cut hides, that has stayed. */
quern_seq compact_cut_seq(const struct compact_rules *rules)
{
    quern_seq seq = rules->cuts != NULL ? rules->cuts->seq_max : 0;

    return rules->snapshot_count != 0 && rules->snapshots[0] < seq ? rules->snapshots[0] : seq;
}
