/* wal_replay.c - the whole row of segments in order, and the judgement on how it ends.
 *
 *     segment k                               segment k+1
 *     |hdr|LINK|rec|rec|rec|.. stale ..|      |hdr|LINK|rec|rec| X |rec| .. zeros ..|
 *                          ^                       |         ^   ^   ^
 *                          '---- ends here --------'    last good  stray
 *
 * A segment that is followed by another is whole when its records lead exactly to where the LINK of
 * the next says. Anywhere else the chain stops at the first bytes that are no record (X), and the
 * question is whether a crash or damage made them. A crash can only take what was not yet durable.
 * So:
 *
 *     proof   some valid record, before X, behind it in the same segment, or in a later segment,
 *             says "durable up to D", and D is above the last number that could be read (or is
 *             in tables): durable bytes are gone. CORRUPT.
 *     torn    no proof, but a whole record of this life of the segment stands behind X, or X looks
 *             like a head of this life, or a later segment exists: a crash cut the tail. What
 *             follows X, later segments included, is dropped: what is left is a prefix.
 *     clean   none of it: the log was not written further.
 *
 * A valid record behind X proves nothing by itself: a disk may write later sectors first. */
#include "wal/wal_priv.h"

#include "base/codec.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>

struct replay {
    struct os_dir *dir;
    uint64_t store_id;
    uint64_t first_segment, last_segment;
    quern_seq after_seq;
    enum wal_recover mode;
    wal_batch_fn see;
    void *arg;
    struct wal_replay *out;
    quern_seq last_seq; /* the last number given before the place reached, per the log */
    quern_seq told_durable;
};

/* Where the chain of a segment's records ended. */
struct chain_end {
    uint64_t at; /* where the next record would begin */
    uint64_t checksum;
    const char
        *bad; /* why the next is not taken although its checksum is right; NULL: it is none */
};

/* ---- one group ---- */

static enum quern_code give_group(struct replay *p, const struct record *r, uint64_t segment_no,
                                  struct quern_error *err)
{
    struct wal_batches left = wal_batches_of(r);
    struct batch_ref batch;
    quern_seq seq = r->first_seq;

    for (; wal_next_batch(&left, &batch); seq++) {
        if (seq <= p->after_seq)
            continue;
        if (p->see(p->arg, &batch, seq, segment_no, err))
            return err->code;
        p->out->last_seq = seq;
        p->out->batches++;
    }
    p->last_seq = r->first_seq + r->count - 1;
    p->out->groups++;
    return QUERN_OK;
}

/* ---- one segment ---- */

/* Follow the records up to `known_end` (0: not known) or the first that is none. */
static enum quern_code follow_chain(struct replay *p, struct wal_reader *r, uint64_t known_end,
                                    struct chain_end *end, struct quern_error *err)
{
    *end = (struct chain_end){.at = WAL_START, .checksum = r->link_checksum};
    while (end->at != known_end) {
        uint64_t checksum = 0;
        struct record record;
        bool found;

        if (wal_reader_record(r, end->at, &record, &checksum, &found, err))
            return err->code;
        if (!found)
            return QUERN_OK;
        if (record.type == RECORD_LINK || record.type == RECORD_EDIT)
            end->bad = "a record of this type has no place here";
        else if (record_is_group(&record))
            end->bad = wal_group_flaw(&record, p->last_seq);
        if (end->bad != NULL)
            return QUERN_OK;
        if (record.durable_seq > p->told_durable)
            p->told_durable = record.durable_seq;
        if (record_is_group(&record) && give_group(p, &record, r->header.segment_no, err))
            return err->code;
        end->checksum = checksum;
        end->at = record_start(end->at + record_total(&record));
        p->out->bytes += record_total(&record);
    }
    return QUERN_OK;
}

/* ---- the judgement ---- */

/* The highest durable number told by anything in the segments after `no`. */
static enum quern_code search_later(struct replay *p, uint64_t no, quern_seq *told,
                                    struct quern_error *err)
{
    for (uint64_t later = no + 1; later <= p->last_segment; later++) {
        struct wal_reader r;
        struct wal_stray stray = {0};
        enum quern_code code = wal_reader_open(&r, p->dir, later, p->store_id, err);

        if (code == QUERN_OK)
            code = wal_reader_search(&r, WAL_LINK_AT, p->last_seq, UINT64_MAX, &stray, err);
        wal_reader_done(&r);
        if (code != QUERN_OK)
            return code;
        if (stray.durable_seq > *told)
            *told = stray.durable_seq;
    }
    return QUERN_OK;
}

static void tell_torn(struct replay *p, const struct wal_reader *r, uint64_t at, uint64_t bytes)
{
    struct wal_replay *out = p->out;

    out->torn = true;
    out->torn_segment = r->header.segment_no;
    out->torn_offset = at;
    out->torn_bytes = bytes;
    snprintf(out->torn_text, sizeof(out->torn_text),
             "log segment %s: cut at %" PRIu64 ", %" PRIu64
             " bytes behind it dropped; the log reads to %" PRIu64,
             r->name, at, bytes, p->last_seq);
}

/* The chain of `r` stopped at `end`, before its time or at the end of the log. */
static enum quern_code judge_stop(struct replay *p, struct wal_reader *r,
                                  const struct chain_end *end, struct quern_error *err)
{
    bool last = r->header.segment_no == p->last_segment;
    quern_seq safe = p->last_seq > p->after_seq ? p->last_seq : p->after_seq;
    quern_seq told = p->told_durable;
    uint64_t at = end->at, bytes;
    struct wal_stray stray;

    if (end->bad != NULL && p->mode != WAL_POINT_IN_TIME)
        return err_set(err, QUERN_CORRUPT, "log segment %s: record at %" PRIu64 ": %s", r->name, at,
                       end->bad);
    if (wal_reader_search(r, at, p->last_seq, UINT64_MAX, &stray, err) ||
        wal_reader_torn_head(r, at, p->last_seq, &bytes, err))
        return err->code;
    if (stray.records != 0)
        bytes = stray.end - at;
    if (p->mode != WAL_POINT_IN_TIME) {
        if (stray.durable_seq > told)
            told = stray.durable_seq;
        if (search_later(p, r->header.segment_no, &told, err))
            return err->code;
        if (told > safe)
            return err_set(err, QUERN_CORRUPT,
                           "log segment %s: damaged at %" PRIu64 ": writes up to %" PRIu64
                           " were durable, the log reads only to %" PRIu64
                           "; recovery to a point in time would lose the rest",
                           r->name, at, told, safe);
    }
    if (bytes == 0 && last)
        return QUERN_OK;
    if (p->mode == WAL_STRICT)
        return err_set(err, QUERN_CORRUPT,
                       "log segment %s: torn at %" PRIu64
                       ": a crash cut writes that were not durable; strict recovery refuses",
                       r->name, at);
    tell_torn(p, r, at, bytes);
    return QUERN_OK;
}

/* ---- the row ---- */

/* Each segment must be there, whole in its first pages and of this store, before anything is
 * handed out: a hole is then told as a hole. */
static enum quern_code check_row(struct replay *p, struct quern_error *err)
{
    for (uint64_t no = p->first_segment; no <= p->last_segment; no++) {
        struct wal_reader r;
        enum quern_code code = wal_reader_open(&r, p->dir, no, p->store_id, err);

        wal_reader_done(&r);
        if (code != QUERN_OK)
            return code;
    }
    return QUERN_OK;
}

/* Whether the segment ended just as the LINK of the next one says. */
static bool ends_as_linked(const struct replay *p, const struct chain_end *end,
                           const struct wal_reader *next)
{
    return end->bad == NULL && end->at == next->link.prev_end &&
           end->checksum == next->link.prev_checksum && p->last_seq == next->link.prev_last_seq;
}

/* Segment `r`, which is followed by `next` (NULL: it is the last). *on tells whether replay goes
 * on. */
static enum quern_code replay_segment(struct replay *p, struct wal_reader *r,
                                      const struct wal_reader *next, bool *on,
                                      struct quern_error *err)
{
    uint64_t no = r->header.segment_no, known_end = 0;
    struct chain_end end;

    *on = false;
    if (no == p->first_segment)
        p->last_seq = r->link.prev_last_seq;
    if (r->link_durable_seq > p->told_durable)
        p->told_durable = r->link_durable_seq;
    p->out->segments++;
    if (next != NULL) {
        if (next->link.prev_segment != no && p->mode != WAL_POINT_IN_TIME)
            return err_set(err, QUERN_CORRUPT, "log segment %s does not follow %s", next->name,
                           r->name);
        known_end = next->link.prev_segment == no ? next->link.prev_end : 0;
    }
    if (follow_chain(p, r, known_end, &end, err))
        return err->code;
    if (next != NULL && end.at == known_end) {
        *on = ends_as_linked(p, &end, next);
        if (!*on && p->mode != WAL_POINT_IN_TIME)
            return err_set(err, QUERN_CORRUPT, "log segment %s: link does not fit the end of %s",
                           next->name, r->name);
        if (*on)
            return QUERN_OK;
    }
    return judge_stop(p, r, &end, err);
}

/* Open the segment after `no`, if there is one. With WAL_POINT_IN_TIME one that cannot be read is
 * where the log ends; only one of a newer format or another fault of the system still fails. */
static enum quern_code open_next(struct replay *p, uint64_t no, struct wal_reader *next, bool *have,
                                 struct quern_error *err)
{
    *have = false;
    if (no >= p->last_segment)
        return QUERN_OK;
    if (wal_reader_open(next, p->dir, no + 1, p->store_id, err) == QUERN_OK) {
        *have = true;
        return QUERN_OK;
    }
    wal_reader_done(next);
    if (p->mode != WAL_POINT_IN_TIME || err->code != QUERN_CORRUPT)
        return err->code;
    err_clear(err);
    return QUERN_OK;
}

static enum quern_code replay_row(struct replay *p, struct quern_error *err)
{
    struct wal_reader readers[2] = {{0}, {0}};
    struct wal_reader *r = &readers[0], *next = &readers[1], *swap;
    enum quern_code code;
    bool on, have_next;

    code = open_next(p, p->first_segment - 1, r, &on, err);
    if (code == QUERN_OK && !on) { /* WAL_POINT_IN_TIME, and nothing can be read */
        p->out->torn = true;
        p->out->torn_segment = p->first_segment;
        snprintf(p->out->torn_text, sizeof(p->out->torn_text),
                 "log segment %06" PRIu64 ": missing or damaged; the log was dropped",
                 p->first_segment);
    }
    while (code == QUERN_OK && on) {
        code = open_next(p, r->header.segment_no, next, &have_next, err);
        if (code == QUERN_OK)
            code = replay_segment(p, r, have_next ? next : NULL, &on, err);
        wal_reader_done(r);
        swap = r;
        r = next;
        next = swap;
        *next = (struct wal_reader){0};
    }
    wal_reader_done(r);
    return code;
}

static enum quern_code see_name(void *arg, const char *name, struct quern_error *err)
{
    struct wal_replay *out = arg;
    uint64_t no;

    (void)err;
    if (wal_name_parse(name, &no) && no >= out->next_segment)
        out->next_segment = no + 1;
    return QUERN_OK;
}

enum quern_code wal_replay(struct os_dir *dir, uint64_t store_id, uint64_t first_segment,
                           uint64_t last_segment, quern_seq after_seq, enum wal_recover mode,
                           wal_batch_fn see, void *arg, struct wal_replay *out,
                           struct quern_error *err)
{
    struct replay p = {.dir = dir,
                       .store_id = store_id,
                       .first_segment = first_segment,
                       .last_segment = last_segment,
                       .after_seq = after_seq,
                       .mode = mode,
                       .see = see,
                       .arg = arg,
                       .out = out};

    *out = (struct wal_replay){.last_seq = after_seq, .next_segment = last_segment + 1};
    if (os_dir_list(dir, see_name, out, err))
        return err->code;
    if (first_segment == 0 || first_segment > last_segment)
        return QUERN_OK; /* no log yet */
    if (mode != WAL_POINT_IN_TIME && check_row(&p, err))
        return err->code;
    return replay_row(&p, err);
}
