/* pick.c - which merge is due. Pure: looks at the shape, does no I/O.
 *
 *   tier 0   [a......z] [b.....y] [a....x] [c......z]     one run a flush: K of them are due
 *   tier 1   [a..g][h..m][n..z]                           one run of several tables
 *   bottom   [a.c][d.f][g.i][j.l][m.o][p.r][s.u][v.z]     one run, most of the data
 *
 * It becomes a job, which slice.c cuts into slices. */
#include "compact/pick_priv.h"

#include <string.h>

/* A store this small settles into one run whenever it is idle. */
#define SMALL_STORE_BYTES (UINT64_C(16) << 20)

/* Dead entries (tombstones, versions that are not the newest, what has expired) are too many when
 * they are one in this many: then a merge throws away a quarter of what it reads, and what they hide
 * besides. */
#define DEAD_SHARE 4

/* So many pieces of cuts, and one or eight for each table, make a merge due that takes them away:
 * at the next look, and at once. It reads every table that they touch, so a large store waits for
 * more. */
#define CUTS_LOOK 64
#define CUTS_MANY 4096

/* ---- runs ---- */

struct run_shape {
    uint32_t tier;
    uint64_t run_no, bytes;
};

/* The next run at or after table *at; moves *at behind it. False when there is none. */
static bool next_run(const struct manifest_state *state, size_t *at, struct run_shape *run)
{
    if (*at == state->table_count)
        return false;
    *run = (struct run_shape){state->tables[*at].tier, state->tables[*at].run_no, 0};
    for (; *at < state->table_count && state->tables[*at].tier == run->tier &&
           state->tables[*at].run_no == run->run_no;
         (*at)++)
        run->bytes += state->tables[*at].meta.file_bytes;
    return true;
}

static bool run_is_taken(const struct compact_jobs *jobs, uint64_t run_no)
{
    for (size_t i = 0; i < ARRAY_LEN(jobs->job); i++) {
        const struct compact_job *job = &jobs->job[i];

        if (job->active && (job->target_run == run_no || job_has_run(job, run_no)))
            return true;
    }
    return false;
}

struct shape {
    uint64_t bottom_run, bottom_bytes, upper_bytes;
    uint64_t due_bytes;        /* so much above the bottom makes the merge into it due */
    uint64_t free_bytes;       /* above the bottom and not part of a job */
    uint64_t entries, deletes; /* of all tables; above the bottom what deletes, and may go */
    size_t upper_runs;
    size_t free_runs[TIER_COUNT_MAX]; /* of a tier, not part of a job */
    uint32_t deepest;                 /* upper tier that is not empty */
};

/* What the whole store may take on the disk while it is overwritten: 1.6 times the bottom's keys
 * and values. What lies beside the tables is given; what is left for the runs above the bottom
 * decides how often the bottom is rewritten. A quarter of it at least, else it is written too
 * often; half of it at most, since more saves little and makes reads slow. */
static uint64_t due_bytes(uint64_t bottom_bytes, uint64_t bottom_raw, uint64_t beside_bytes)
{
    uint64_t may = bottom_raw / 5 * 8, is = bottom_bytes + beside_bytes;
    uint64_t due = may > is ? may - is : 0;

    if (due < bottom_bytes / 4)
        due = bottom_bytes / 4;
    return due < bottom_bytes / 2 ? due : bottom_bytes / 2;
}

/* No live snapshot or cursor is older than anything in the table. So a merge into the bottom leaves
 * one version of each key, and no tombstone: whoever merges it for that reason does so once. */
static bool is_unpinned(const struct manifest_table *t, quern_seq oldest_pin)
{
    return t->meta.seq_max <= oldest_pin;
}

bool compact_is_expired(const struct manifest_table *t, uint64_t horizon_ms)
{
    return t->tier == TIER_BOTTOM && t->meta.expiring_count == t->meta.entry_count &&
           t->meta.expires_max_ms <= horizon_ms;
}

static struct shape measure(const struct manifest_state *state, const struct compact_jobs *jobs,
                            const struct compact_config *config, const struct compact_need *need)
{
    struct shape s = {0};
    struct run_shape run;
    uint64_t bottom_raw = 0;

    for (size_t i = 0; i < state->table_count; i++) {
        const struct manifest_table *t = &state->tables[i];

        s.entries += t->meta.entry_count;
        if (t->tier == TIER_BOTTOM)
            bottom_raw += t->meta.raw_bytes;
        else if (is_unpinned(t, need->oldest_pin))
            s.deletes += t->meta.tombstone_count + expired_in(t, need->horizon_ms);
    }

    for (size_t at = 0; next_run(state, &at, &run);) {
        if (run.tier == TIER_BOTTOM) {
            s.bottom_run = run.run_no;
            s.bottom_bytes = run.bytes;
            continue;
        }
        s.upper_bytes += run.bytes;
        s.upper_runs++;
        s.deepest = run.tier;
        if (run_is_taken(jobs, run.run_no))
            continue;
        s.free_runs[run.tier]++;
        s.free_bytes += run.bytes;
    }
    s.due_bytes = due_bytes(s.bottom_bytes, bottom_raw, config->beside_bytes);
    return s;
}

static uint64_t over_bytes(const struct shape *s, const struct compact_config *config)
{
    uint64_t fine = config->tier_runs * config->memdb_bytes;

    if (fine < s->due_bytes)
        fine = s->due_bytes;
    return s->upper_bytes > fine ? s->upper_bytes - fine : 0;
}

uint64_t compact_over_bytes(const struct manifest_state *state, const struct compact_config *config)
{
    static const struct compact_jobs none;
    static const struct compact_need nothing;
    struct shape s = measure(state, &none, config, &nothing);

    return over_bytes(&s, config);
}

/* ---- beginning a job ---- */

/* Take the oldest free runs of tiers from..to as sources:
 * newest first in the end, as many as fit. */
static void take_sources(struct compact_job *job, const struct manifest_state *state,
                         const struct compact_jobs *jobs, uint32_t from, uint32_t to)
{
    struct run_shape run;

    job->run_count = 0;
    for (size_t at = 0; next_run(state, &at, &run);) {
        size_t place = 0;

        if (run.tier < from || run.tier > to || run_is_taken(jobs, run.run_no))
            continue;
        while (place < job->run_count && job->run_no[place] > run.run_no)
            place++;
        if (job->run_count == JOB_RUNS_MAX) { /* the newest of them waits for the next job */
            if (place == 0)
                continue;
            memmove(job->run_no, job->run_no + 1, --place * sizeof(job->run_no[0]));
        } else {
            memmove(job->run_no + place + 1, job->run_no + place,
                    (job->run_count++ - place) * sizeof(job->run_no[0]));
        }
        job->run_no[place] = run.run_no;
    }
}

/* Is this run merged by the job: a source, or what its target run has already? */
static bool takes_part(const struct compact_job *job, const struct run_shape *run)
{
    if (run->tier == job->target_tier)
        return run->run_no == job->run_no[0];
    return run->tier < job->target_tier && job_has_run(job, run->run_no);
}

/* The target is as old as the newest source, so no run that stays may be newer than one source and
 * not older than all: the older one would come before it. A job that a restart or an error cut
 * short leaves such runs: its target beside the rest of its sources, under one number, and those
 * beside what was merged meanwhile. The newer sources wait, until a merge of the older ones has
 * brought them past it. */
static void leave_no_gap(struct compact_job *job, const struct manifest_state *state)
{
    struct run_shape run;

    for (size_t at = 0; next_run(state, &at, &run);) {
        size_t newer = 0; /* or of the same number: they share no keys with it */

        if (run.tier == TIER_BOTTOM || takes_part(job, &run))
            continue;
        while (newer < job->run_count && job->run_no[newer] >= run.run_no)
            newer++;
        if (newer == job->run_count)
            continue; /* older than all others */
        job->run_count -= newer;
        memmove(job->run_no, job->run_no + newer, job->run_count * sizeof(job->run_no[0]));
    }
}

static struct compact_job *begin(struct compact_jobs *jobs, const struct manifest_state *state,
                                 const struct compact_need *need, uint32_t from, uint32_t to,
                                 uint32_t target_tier, uint64_t bottom_run,
                                 struct manifest *numbers)
{
    struct compact_job *job = &jobs->job[target_tier == TIER_BOTTOM ? TIER_BOTTOM : to];

    job->target_tier = target_tier;
    take_sources(job, state, jobs, from, to);
    leave_no_gap(job, state);
    job->active = true;
    job->rewrite = false;
    job->horizon_ms = need->horizon_ms;
    job->oldest_pin = need->oldest_pin;
    if (target_tier != TIER_BOTTOM)
        job->target_run = job->run_no[0]; /* as old as the newest of its sources */
    else
        job->target_run = bottom_run != 0 ? bottom_run : manifest_take_file_no(numbers);
    buf_clear(&job->position);
    buf_clear(&job->end);
    return job;
}

/* Bring all upper runs together, into the bottom unless that is much larger, when the store is idle
 * or reads have paid for it. */
static struct compact_job *settle(const struct manifest_state *state, const struct shape *s,
                                  struct compact_jobs *jobs, const struct compact_need *need,
                                  struct manifest *numbers)
{
    bool idle = need->urge == COMPACT_IDLE;
    bool bottom = s->upper_bytes >= s->bottom_bytes / 8 ||
                  s->upper_bytes + s->bottom_bytes < SMALL_STORE_BYTES;

    if (s->upper_runs == 0)
        return NULL;
    if (s->upper_runs == 1 || s->deepest + 1 == TIER_BOTTOM) { /* no other way to have fewer */
        if (!idle)
            bottom = true;
        else if (!bottom)
            return NULL;
    }
    if (!idle && need->read_bytes < s->upper_bytes + (bottom ? s->bottom_bytes : 0))
        return NULL;
    if (bottom)
        return begin(jobs, state, need, 0, TIER_BOTTOM - 1, TIER_BOTTOM, s->bottom_run, numbers);
    return begin(jobs, state, need, 0, s->deepest, s->deepest + 1, 0, numbers);
}

/* What cuts hide goes when the store is idle, or when there are so many of them that lists grow
 * long: by a merge of all that they touch, if nobody sees what they hide. What lies wholly in them
 * has gone unread before that. */
static struct compact_job *clear_cuts(const struct manifest_state *state, const struct shape *s,
                                      struct compact_jobs *jobs, const struct compact_need *need,
                                      struct manifest *numbers)
{
    size_t count = state->cuts != NULL ? state->cuts->count : 0;
    size_t due = need->urge == COMPACT_IDLE   ? 1
                 : need->urge == COMPACT_LOOK ? CUTS_LOOK + state->table_count
                                              : CUTS_MANY + 8 * state->table_count;
    struct compact_job *job;

    if (count < due)
        return NULL;
    for (size_t i = 0; i < state->table_count; i++) {
        if (!is_cut_in(&state->tables[i], state->cuts, need->oldest_pin))
            continue;
        job = begin(jobs, state, need, 0, TIER_BOTTOM - 1, TIER_BOTTOM, s->bottom_run, numbers);
        job->rewrite = true;
        return job;
    }
    return NULL;
}

static bool has_many_dead(const struct manifest_table *t, uint64_t horizon_ms)
{
    uint64_t dead = t->meta.tombstone_count + t->meta.duplicate_count + expired_in(t, horizon_ms);

    return dead * DEAD_SHARE >= t->meta.entry_count;
}

/* A table of the bottom that kept dead entries for snapshots which are gone, or of which much has
 * expired: rewrite it alone. */
static struct compact_job *clean(const struct manifest_state *state, const struct shape *s,
                                 struct compact_jobs *jobs, const struct compact_need *need)
{
    struct compact_job *job = &jobs->job[TIER_BOTTOM];
    struct quern_error err;

    for (size_t i = 0; i < state->table_count; i++) {
        const struct manifest_table *t = &state->tables[i];

        if (t->tier != TIER_BOTTOM || !has_many_dead(t, need->horizon_ms) ||
            !is_unpinned(t, need->oldest_pin))
            continue;
        buf_clear(&job->position);
        buf_clear(&job->end);
        if (buf_append(&job->position, low_of(t).data, low_of(t).len, &err) ||
            buf_append(&job->end, high_of(t).data, high_of(t).len, &err) ||
            buf_append(&job->end, "", 1, &err))
            return NULL; /* no memory: at the next look */
        job->active = job->rewrite = true;
        job->horizon_ms = need->horizon_ms;
        job->oldest_pin = need->oldest_pin;
        job->target_tier = TIER_BOTTOM;
        job->target_run = s->bottom_run;
        job->run_count = 0;
        return job;
    }
    return NULL;
}

/* Will the merge into the bottom be due before this tier has more runs than reads bear? Then its
 * runs wait for that: to merge them among themselves first would write them once more. */
static bool can_wait(const struct manifest_state *state, const struct shape *s,
                     const struct compact_jobs *jobs, const struct compact_config *config,
                     uint32_t tier)
{
    uint64_t bytes = 0, left = s->due_bytes > s->free_bytes ? s->due_bytes - s->free_bytes : 0;
    struct run_shape run;

    for (size_t at = 0; next_run(state, &at, &run);)
        if (run.tier == tier && !run_is_taken(jobs, run.run_no))
            bytes += run.bytes;
    return s->bottom_bytes != 0 && s->free_runs[tier] <= 2 * config->tier_runs &&
           left / (bytes / s->free_runs[tier] + 1) <= 2 * config->tier_runs - s->free_runs[tier];
}

struct compact_job *compact_pick(const struct manifest_state *state, struct compact_jobs *jobs,
                                 const struct compact_config *config,
                                 const struct compact_need *need, struct manifest *numbers)
{
    struct shape s = measure(state, jobs, config, need);
    struct compact_job *job;
    bool busy = compact_active(jobs) != NULL;
    /* Few runs may be much too: one batch may be larger than many MemDBs. */
    bool much = s.upper_bytes >= s.due_bytes &&
                (s.upper_runs >= config->tier_runs || over_bytes(&s, config) != 0);
    bool many_dead = s.deletes != 0 && s.deletes * DEAD_SHARE >= s.entries;
    bool bottom_is_due = !jobs->job[TIER_BOTTOM].active && (much || many_dead);

    if (!busy && bottom_is_due)
        return begin(jobs, state, need, 0, TIER_BOTTOM - 1, TIER_BOTTOM, s.bottom_run, numbers);
    for (uint32_t tier = 0; tier < TIER_BOTTOM; tier++) {
        if (jobs->job[tier].active)
            return &jobs->job[tier];
        if (s.free_runs[tier] < config->tier_runs)
            continue;
        if (!busy && tier + 1 == TIER_BOTTOM)
            return begin(jobs, state, need, 0, TIER_BOTTOM - 1, TIER_BOTTOM, s.bottom_run, numbers);
        if (bottom_is_due && s.free_runs[tier] < 3 * config->tier_runs)
            continue; /* what is under way ends first, and nothing else begins meanwhile */
        if (tier + 1 < TIER_BOTTOM && !can_wait(state, &s, jobs, config, tier))
            return begin(jobs, state, need, tier, tier, tier + 1, 0, numbers);
    }
    if (jobs->job[TIER_BOTTOM].active)
        return &jobs->job[TIER_BOTTOM];
    job = busy ? NULL : clear_cuts(state, &s, jobs, need, numbers);
    if (job != NULL || need->urge == COMPACT_NORMAL || busy)
        return job;
    job = settle(state, &s, jobs, need, numbers);
    return job != NULL ? job : clean(state, &s, jobs, need);
}

struct compact_job *compact_active(struct compact_jobs *jobs)
{
    for (size_t i = 0; i < ARRAY_LEN(jobs->job); i++)
        if (jobs->job[i].active)
            return &jobs->job[i];
    return NULL;
}

/* ---- the user's range ---- */

/* Widen [start, last] until no table is cut by it. Empty `start` and `last_open` stand for no
 * bound. */
static void widen(const struct manifest_state *state, struct quern_slice *start,
                  struct quern_slice *end, struct quern_slice *last)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < state->table_count; i++) {
            const struct manifest_table *t = &state->tables[i];
            bool in = last->len == 0 ? touches(t, *start, *end)
                                     : (start->len == 0 || key_compare(high_of(t), *start) >= 0) &&
                                           key_compare(low_of(t), *last) <= 0;

            if (!in)
                continue;
            if (start->len != 0 && key_compare(low_of(t), *start) < 0) {
                *start = low_of(t);
                again = true;
            }
            if (end->len != 0 && (last->len == 0 ? key_compare(high_of(t), *end) >= 0
                                                 : key_compare(high_of(t), *last) > 0)) {
                *last = high_of(t);
                again = true;
            }
        }
    }
}

struct compact_job *compact_pick_range(const struct manifest_state *state,
                                       struct compact_jobs *jobs, const struct compact_need *need,
                                       struct quern_slice start, struct quern_slice end,
                                       struct manifest *numbers, bool *wait)
{
    struct quern_slice last = {NULL, 0};
    uint64_t bottom_run = 0;
    struct compact_job *job;
    struct quern_error err;

    *wait = compact_active(jobs) != NULL;
    if (*wait || state->table_count == 0)
        return NULL;
    widen(state, &start, &end, &last);
    for (size_t i = 0; i < state->table_count; i++)
        if (state->tables[i].tier == TIER_BOTTOM)
            bottom_run = state->tables[i].run_no;
    job = begin(jobs, state, need, 0, TIER_BOTTOM - 1, TIER_BOTTOM, bottom_run, numbers);
    job->rewrite = true;
    if (buf_append(&job->position, start.data, start.len, &err))
        return job;      /* no memory for a bound: the whole store is compacted instead */
    if (last.len != 0) { /* exclusive: the key right after the last one */
        if (buf_append(&job->end, last.data, last.len, &err) || buf_append(&job->end, "", 1, &err))
            buf_clear(&job->end);
    } else if (end.len != 0 && buf_append(&job->end, end.data, end.len, &err)) {
        buf_clear(&job->end);
    }
    return job;
}

void compact_jobs_done(struct compact_jobs *jobs)
{
    for (size_t i = 0; i < ARRAY_LEN(jobs->job); i++) {
        buf_done(&jobs->job[i].position);
        buf_done(&jobs->job[i].end);
    }
}
