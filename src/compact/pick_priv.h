/* pick_priv.h - what pick.c and slice.c ask of tables and jobs. */
#ifndef COMPACT_PICK_PRIV_H
#define COMPACT_PICK_PRIV_H

#include "compact/compact.h"

static inline struct quern_slice low_of(const struct manifest_table *t)
{
    return buf_slice(&t->meta.smallest);
}

static inline struct quern_slice high_of(const struct manifest_table *t)
{
    return buf_slice(&t->meta.largest);
}

/* Empty bounds are open. */
static inline bool touches(const struct manifest_table *t, struct quern_slice start,
                           struct quern_slice end)
{
    return (start.len == 0 || key_compare(high_of(t), start) >= 0) &&
           (end.len == 0 || key_compare(low_of(t), end) < 0);
}

static inline bool job_has_run(const struct compact_job *job, uint64_t run_no)
{
    for (size_t i = 0; i < job->run_count; i++)
        if (job->run_no[i] == run_no)
            return true;
    return false;
}

/* May there be something in it that a cut hides, and that nobody sees who is at `oldest_pin` or
 * later? In compact/cut.c. */
bool is_cut_in(const struct manifest_table *t, const struct cuts *cuts, quern_seq oldest_pin);

/* How many entries have expired, if they do so evenly from the first to the last. Where that is too
 * many, a rewrite takes at least the first, and the next of the same table is due only when a good
 * part of what was left of the time has passed. */
static inline uint64_t expired_in(const struct manifest_table *t, uint64_t horizon_ms)
{
    const struct table_meta *m = &t->meta;
    double passed;

    if (m->expiring_count == 0 || horizon_ms < m->expires_min_ms)
        return 0;
    if (horizon_ms >= m->expires_max_ms)
        return m->expiring_count;
    passed =
        (double)(horizon_ms - m->expires_min_ms) / (double)(m->expires_max_ms - m->expires_min_ms);
    return 1 + (uint64_t)((double)(m->expiring_count - 1) * passed);
}

#endif
