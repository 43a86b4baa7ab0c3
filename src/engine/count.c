/* count.c - how many keys live in a range, exactly.
 *
 * Of a whole database the number is kept (live.c). Of a range, and where that number is not known: if a
 * single run holds all there is in the range, and its tables have one living version of each key, none
 * of which has expired, the difference of two ranks is the answer, for the index knows running counts.
 * That goes for what lies between cuts too, and for what came after them. Otherwise
 * the range is walked, without looking at values. */
#include "engine/scan_priv.h"

static enum quern_code mem_touches(struct mem *mem, const struct quern_iter *it, bool *touches,
                                   struct quern_error *err)
{
    struct iter *in OWNED(iter_free) = NULL;

    if (*touches || mem == NULL)
        return QUERN_OK;
    if (mem_iter(mem, it->pin.seq, &in, err))
        return err->code;
    iter_seek(in, buf_slice(&it->lower));
    *touches = in->valid && key_compare(in->at.key, buf_slice(&it->upper)) < 0;
    return QUERN_OK;
}

static bool table_touches(const struct table *t, const struct quern_iter *it)
{
    return key_compare(buf_slice(&t->largest), buf_slice(&it->lower)) >= 0 &&
           key_compare(buf_slice(&t->smallest), buf_slice(&it->upper)) < 0;
}

/* `cut`: the newest cut over the range, which may hide what is older. */
static bool table_is_plain(const struct table *t, const struct pin *at, quern_seq cut)
{
    const struct table_meta *meta = sst_meta(t->sst);

    return meta->seq_min >= cut && meta->tombstone_count == 0 && meta->duplicate_count == 0 &&
           meta->seq_max <= at->seq &&
           (meta->expires_min_ms == 0 || meta->expires_min_ms > at->time_ms);
}

/* The only run with tables in the range. *only is NULL when there is none; false: ranks cannot
 * answer. */
static bool only_run(const struct quern_iter *it, quern_seq cut, const struct run **only)
{
    const struct version *version = it->view->version;

    *only = NULL;
    for (size_t r = 0; r < version->run_count; r++) {
        const struct run *run = &version->runs[r];

        for (size_t i = 0; i < run->count; i++) {
            if (!table_touches(run->tables[i], it))
                continue;
            if (!table_is_plain(run->tables[i], &it->pin, cut) || (*only != NULL && *only != run))
                return false;
            *only = run;
        }
    }
    return true;
}

/* Entries of `t` that may be seen and lie in the range. */
static enum quern_code count_table(const struct table *t, const struct quern_iter *it,
                                   uint64_t *count, struct quern_error *err)
{
    struct quern_slice from = buf_slice(&t->smallest), lower = buf_slice(&it->lower);
    uint64_t below = 0, above = sst_meta(t->sst)->entry_count;
    bool cut = t->trimmed;

    if (key_compare(lower, from) > 0) {
        from = lower;
        cut = true;
    }
    if (cut && sst_rank(t->sst, from, &below, err))
        return err->code;
    if (key_compare(buf_slice(&t->largest), buf_slice(&it->upper)) >= 0 &&
        sst_rank(t->sst, buf_slice(&it->upper), &above, err))
        return err->code;
    *count += above - below;
    return QUERN_OK;
}

static enum quern_code count_by_rank(const struct quern_iter *it, quern_seq cut, bool *answered,
                                     uint64_t *count, struct quern_error *err)
{
    const struct view *view = it->view;
    const struct run *run = NULL;
    bool touches = false;

    *answered = false;
    if (mem_touches(view->mem, it, &touches, err))
        return err->code;
    for (size_t i = 0; i < view->sealed_count; i++)
        if (mem_touches(view->sealed[i], it, &touches, err))
            return err->code;
    if (touches || !only_run(it, cut, &run))
        return QUERN_OK;
    *answered = true;
    for (size_t i = 0; run != NULL && i < run->count; i++)
        if (table_touches(run->tables[i], it) && count_table(run->tables[i], it, count, err))
            return err->code;
    return QUERN_OK;
}

/* The range of the iterator, over which this cut lies, or none. */
static enum quern_code count_range(struct quern_iter *it, quern_seq cut, uint64_t *count,
                                   struct quern_error *err)
{
    bool answered;

    if (count_by_rank(it, cut, &answered, count, err))
        return err->code;
    if (answered)
        return QUERN_OK;
    for (bool more = quern_iter_first(it); more; more = quern_iter_next(it))
        ++*count;
    return quern_iter_error(it, err);
}

/* Cuts part the range: what lies beside them is counted as ever. */
static enum quern_code count_pieces(struct quern_iter *it, uint64_t *count, struct quern_error *err)
{
    struct buf end OWNED_BUF = {0};
    struct cut_span span;

    if (buf_append(&end, it->upper.data, it->upper.len, err))
        return err->code;
    for (;;) {
        view_cut_span(it->view, buf_slice(&it->lower), it->pin.seq, &span);
        if (span.to.len == 0 || (end.len != 0 && key_compare(span.to, buf_slice(&end)) >= 0))
            span.to = buf_slice(&end);
        if (iter_bound(it, span.to, err) || count_range(it, span.seq, count, err))
            return err->code;
        if (key_equal(buf_slice(&it->upper), buf_slice(&end)))
            return QUERN_OK;
        if (buf_assign(&it->lower, buf_slice(&it->upper), err))
            return err->code;
    }
}

OWNER(quern_iter_free, struct quern_iter *);

static enum quern_code count_between(struct quern *db, const struct quern_iter_opts *how,
                                     uint64_t *count, struct quern_error *err)
{
    struct quern_iter *it OWNED(quern_iter_free) = NULL;

    if (quern_iter_new(db, how, &it, err))
        return err->code;
    *count = 0;
    if (key_compare(buf_slice(&it->lower), buf_slice(&it->upper)) >= 0)
        return QUERN_OK;
    if (it->view->cuts_count != 0)
        return count_pieces(it, count, err);
    return count_range(it, 0, count, err);
}

/* Key by key, since each says when it expires. */
static enum quern_code walk_by_clock(struct quern *db, const struct quern_iter_opts *how,
                                     struct living *living, uint64_t *count,
                                     struct quern_error *err)
{
    struct quern_iter *it OWNED(quern_iter_free) = NULL;

    if (quern_iter_new(db, how, &it, err))
        return err->code;
    *count = 0;
    for (bool more = quern_iter_first(it); more; more = quern_iter_next(it)) {
        ++*count;
        living_add(living, quern_iter_expires_ms(it), 1);
    }
    return quern_iter_error(it, err);
}

enum quern_code count_walk(struct quern *db, struct live_look *look, uint64_t *count,
                           struct quern_error *err)
{
    const struct quern_iter_opts how = {
        .snapshot = &look->at, .bulk = true, .database = look->database};

    living_done(&look->walked);
    living_begin(&look->walked, 0, look->now_ms, db->live.reach_ms);
    if (!look->leads) /* the number is all that is asked of it */
        look->walked.until_ms = look->now_ms;
    if (look->expires_ms != UINT64_MAX)
        return walk_by_clock(db, &how, &look->walked, count, err);
    if (count_between(db, &how, count, err))
        return err->code;
    look->walked.keys = (int64_t)*count;
    return QUERN_OK;
}

static enum quern_code count_database(struct quern *db, const struct quern_read_opts *opts,
                                      uint64_t *count, struct quern_error *err)
{
    struct live_look look;
    enum quern_code code = QUERN_OK;

    if (live_look(db, opts->database, opts->cached ? LIVE_CACHED : LIVE_WHOLLY, &look, err))
        return err->code;
    if (look.told)
        *count = look.living;
    else if (opts->cached)
        code = err_set(err, QUERN_BUSY, "the number of keys is not known without a walk");
    else
        code = count_walk(db, &look, count, err);
    if (code == QUERN_OK && look.walks)
        (void)live_learn(db, &look, *count);
    live_end(db, &look);
    return code;
}

enum quern_code quern_count_living(struct quern *db, uint8_t database, bool cached,
                                   struct quern_living *out, struct quern_error *err)
{
    struct quern_error local;
    struct live_look look;
    enum quern_code code = QUERN_OK;

    err = ERR_OR(err, local);
    if (engine_check(db, err) || check_database(database, err) ||
        live_look(db, database, cached ? LIVE_CACHED : LIVE_BY_CLOCK, &look, err))
        return err->code;
    *out = (struct quern_living){look.living, look.expiring, look.ttl_ms};
    if (look.walks) {
        code = count_walk(db, &look, &out->keys, err);
        out->expiring = (uint64_t)look.walked.expiring;
        out->ttl_ms = living_ttl_ms(&look.walked);
    } else if (!look.by_clock) {
        code = err_set(err, QUERN_BUSY, "the number of keys is not known without a walk");
    }
    if (code == QUERN_OK && look.walks)
        (void)live_learn(db, &look, out->keys);
    live_end(db, &look);
    return code;
}

enum quern_code quern_count(struct quern *db, const struct quern_range *range,
                            const struct quern_read_opts *opts, uint64_t *count,
                            struct quern_error *err)
{
    static const struct quern_read_opts none;
    struct quern_iter_opts how = {.bulk = true};
    struct quern_error local;

    err = ERR_OR(err, local);
    opts = opts != NULL ? opts : &none;
    if (engine_check(db, err) || check_database(opts->database, err))
        return err->code;
    if (range != NULL)
        how.range = *range;
    how.snapshot = opts->snapshot;
    how.database = opts->database;
    if (how.snapshot == NULL && how.range.start.len == 0 && how.range.end.len == 0)
        return count_database(db, opts, count, err);
    if (opts->cached)
        return err_set(err, QUERN_BUSY, "a range is counted by reading");
    return count_between(db, &how, count, err);
}
