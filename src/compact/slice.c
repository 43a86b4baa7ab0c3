/* slice.c - the next slice of a merge. Pure, as pick.c: looks at the shape, does no I/O.
 *
 * A job empties runs into a target run from the lowest key up. A slice ends where a table of the
 * target begins, so that no table of the target is cut; source tables that reach further are
 * trimmed: their lower bound rises in the manifest, their file stays until its last slice. */
#include "compact/pick_priv.h"

#include "base/alloc.h"

#include <stdlib.h>

/* The tables a job still has to do with, in key order; indexes into state->tables. */
struct plan {
    const struct manifest_state *state;
    const struct compact_job *job;
    size_t *source, source_count; /* by smallest */
    size_t *target, target_count; /* by smallest */
};

static int by_smallest(const void *a, const void *b, void *arg)
{
    const struct manifest_state *state = arg;

    return key_compare(low_of(&state->tables[*(const size_t *)a]),
                       low_of(&state->tables[*(const size_t *)b]));
}

static bool is_dirty(const struct plan *p, const struct manifest_table *t)
{
    return t->meta.tombstone_count != 0 || t->meta.duplicate_count != 0 ||
           expired_in(t, p->job->horizon_ms) != 0 ||
           is_cut_in(t, p->state->cuts, p->job->oldest_pin);
}

static enum quern_code plan_make(struct plan *p, struct quern_error *err)
{
    struct quern_slice position = buf_slice(&p->job->position), end = buf_slice(&p->job->end);

    p->source = alloc_array(p->state->table_count + 1, sizeof(*p->source));
    p->target = alloc_array(p->state->table_count + 1, sizeof(*p->target));
    if (p->source == NULL || p->target == NULL)
        return err_memory(err, "a compaction plan");
    for (size_t i = 0; i < p->state->table_count; i++) {
        const struct manifest_table *t = &p->state->tables[i];

        if (!touches(t, position, end))
            continue;
        if (t->tier == p->job->target_tier && t->run_no == p->job->target_run)
            p->target[p->target_count++] = i;
        else if (t->tier < p->job->target_tier && job_has_run(p->job, t->run_no))
            p->source[p->source_count++] = i;
    }
    qsort_r(p->source, p->source_count, sizeof(*p->source), by_smallest, (void *)p->state);
    return QUERN_OK;
}

/* The first target table that ends at or after `key`. */
static size_t target_at(const struct plan *p, struct quern_slice key)
{
    size_t i = 0;

    while (i < p->target_count && key_compare(high_of(&p->state->tables[p->target[i]]), key) < 0)
        i++;
    return i;
}

/* The first key that the job has to touch: of a source, or of a table to rewrite. */
static bool first_key(const struct plan *p, struct quern_slice *key)
{
    bool found = p->source_count != 0;

    if (found)
        *key = low_of(&p->state->tables[p->source[0]]);
    for (size_t i = 0; p->job->rewrite && i < p->target_count; i++) {
        const struct manifest_table *t = &p->state->tables[p->target[i]];

        if (is_dirty(p, t) && (!found || key_compare(low_of(t), *key) < 0)) {
            *key = low_of(t);
            return true;
        }
    }
    return found;
}

/* How many source tables, from the first on, can go to the target run unread. */
static size_t movable(const struct plan *p, const struct compact_config *config)
{
    size_t n = 0;

    for (size_t i = 0; p->job->rewrite && i < p->target_count; i++)
        if (is_dirty(p, &p->state->tables[p->target[i]]))
            return 0; /* moving past it would leave it as it is */
    for (; n < p->source_count; n++) {
        const struct manifest_table *t = &p->state->tables[p->source[n]];
        size_t at = target_at(p, low_of(t));

        if (p->job->target_tier == TIER_BOTTOM &&
            (is_dirty(p, t) || (config->compress_moved && t->meta.file_bytes >= t->meta.raw_bytes)))
            break;
        if (n + 1 < p->source_count &&
            key_compare(low_of(&p->state->tables[p->source[n + 1]]), high_of(t)) <= 0)
            break;
        if (at < p->target_count &&
            key_compare(low_of(&p->state->tables[p->target[at]]), high_of(t)) <= 0)
            break;
    }
    return n;
}

static uint64_t bytes_below(const struct plan *p, struct quern_slice start, struct quern_slice key)
{
    uint64_t bytes = 0;

    for (int side = 0; side < 2; side++) {
        const size_t *list = side ? p->target : p->source;
        size_t count = side ? p->target_count : p->source_count;

        for (size_t i = 0; i < count; i++) {
            const struct manifest_table *t = &p->state->tables[list[i]];

            if (key_compare(low_of(t), key) >= 0)
                break;
            if (key_compare(high_of(t), start) < 0)
                continue;
            bytes += key_compare(high_of(t), key) < 0 ? t->meta.file_bytes : t->meta.file_bytes / 2;
        }
    }
    return bytes;
}

/* Where the slice that begins at `start` ends: the first boundary with enough bytes before it. */
static struct quern_slice slice_end(const struct plan *p, struct quern_slice start,
                                    struct quern_slice first, uint64_t bytes_wanted)
{
    size_t s = 0, t = 0;

    for (;;) { /* the boundaries of both lists, merged, rising */
        struct quern_slice key;
        size_t inside;

        if (t < p->target_count &&
            (s == p->source_count || key_compare(low_of(&p->state->tables[p->target[t]]),
                                                 low_of(&p->state->tables[p->source[s]])) <= 0))
            key = low_of(&p->state->tables[p->target[t++]]);
        else if (s < p->source_count)
            key = low_of(&p->state->tables[p->source[s++]]);
        else
            return buf_slice(&p->job->end);
        if (key_compare(key, first) <= 0)
            continue;
        inside = target_at(p, key);
        if (inside < p->target_count &&
            key_compare(low_of(&p->state->tables[p->target[inside]]), key) < 0)
            continue; /* would cut a table of the target */
        if (bytes_below(p, start, key) >= bytes_wanted)
            return key;
    }
}

static enum quern_code plan_slice(struct plan *p, const struct compact_config *config,
                                  struct compact_slice *out, struct quern_error *err)
{
    struct quern_slice first, end;
    size_t at, moves;

    if (!first_key(p, &first)) {
        out->done = true;
        return QUERN_OK;
    }
    out->table = alloc_array(p->source_count + p->target_count, sizeof(*out->table));
    if (out->table == NULL)
        return err_memory(err, "a compaction slice");
    moves = movable(p, config);
    if (moves != 0) {
        out->move = true;
        for (size_t i = 0; i < moves; i++)
            out->table[out->table_count++] = p->source[i];
        if (moves == p->source_count)
            return buf_append(&out->end, p->job->end.data, p->job->end.len, err);
        end = low_of(&p->state->tables[p->source[moves]]);
        return buf_append(&out->end, end.data, end.len, err);
    }
    at = target_at(p, first);
    out->start = first;
    if (at < p->target_count && key_compare(low_of(&p->state->tables[p->target[at]]), first) < 0)
        out->start = low_of(&p->state->tables[p->target[at]]);
    end = slice_end(p, out->start, first, 2 * config->table_bytes);
    for (int side = 0; side < 2; side++) {
        const size_t *list = side ? p->target : p->source;
        size_t count = side ? p->target_count : p->source_count;

        for (size_t i = 0; i < count; i++) {
            if (!touches(&p->state->tables[list[i]], out->start, end))
                continue;
            out->table[out->table_count++] = list[i];
            out->bytes_in += p->state->tables[list[i]].meta.file_bytes;
        }
    }
    return buf_append(&out->end, end.data, end.len, err);
}

enum quern_code compact_next_slice(const struct manifest_state *state,
                                   const struct compact_job *job,
                                   const struct compact_config *config, struct compact_slice *out,
                                   struct quern_error *err)
{
    struct plan p = {.state = state, .job = job};
    enum quern_code code;

    *out = (struct compact_slice){0};
    code = plan_make(&p, err);
    if (code == QUERN_OK)
        code = plan_slice(&p, config, out, err);
    alloc_free(p.source);
    alloc_free(p.target);
    if (code != QUERN_OK)
        compact_slice_done(out);
    return code;
}

void compact_slice_done(struct compact_slice *s)
{
    alloc_free(s->table);
    buf_done(&s->end);
    *s = (struct compact_slice){0};
}
