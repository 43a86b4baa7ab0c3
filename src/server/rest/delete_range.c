/* delete_range.c - DELETE /v1/keys: all keys of a range at once.
 *
 *     aside: snapshot at S -> how many are there? -> update: is the store still at S? cut them
 *                 ^                                     |
 *                 '----- no: somebody wrote meanwhile --'
 *
 * Counting may take long and the cut does not, so the count comes first and the update sees whether
 * it still holds. A store that is written to all the while is cut in the end without that, and the
 * reply says so ("exact":false). Which keys are meant must be said in so many words: a client that
 * lost its prefix on the way deletes nothing. */
#include "server/rest/conditions.h"
#include "server/rest/lifetime.h"
#include "server/pool.h"
#include "server/rest/reach.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/entry.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>

#define ATTEMPTS 8u

struct deletion {
    struct reach reach;
    struct buf after, tags;
    struct quern_range range;
    struct conditions conditions;
    bool dry_run, last_attempt;

    /* What came of it. */
    quern_seq seen; /* as of which it was counted */
    uint64_t count;
    bool exact, refused; /* refused: by If-Match */
    quern_seq revision;  /* of the store: then, or after the deletion */
    enum quern_code code;
    struct quern_error err;
};

static void deletion_free(struct deletion *d)
{
    reach_done(&d->reach);
    buf_done(&d->after);
    buf_done(&d->tags);
    alloc_free(d);
}

/* ------------------------------------------------------------------ aside -- */

static enum quern_code count_keys(struct deletion *d, struct quern *db, struct quern_error *err)
{
    struct quern_snapshot *snapshot;
    struct quern_read_opts opts = {.database = d->reach.database};

    if (quern_snapshot_new(db, &snapshot, err))
        return err->code;
    opts.snapshot = snapshot;
    d->seen = d->revision = quern_snapshot_seq(snapshot);
    d->count = 0;
    if (d->range.end.len == 0 || key_compare(d->range.start, d->range.end) < 0)
        IGNORE(quern_count(db, &d->range, &opts, &d->count, err));
    quern_snapshot_free(snapshot);
    return err->code;
}

static bool holds(struct deletion *d, quern_seq revision)
{
    d->refused =
        conditions_judge(&d->conditions, d->reach.server, true, revision) != CONDITIONS_HOLD;
    d->revision = revision;
    return !d->refused;
}

static enum quern_code cut(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct deletion *d = arg;
    quern_seq mine = quern_update_seq(u);

    d->exact = mine == d->seen + 1;
    if (!holds(d, mine - 1) || (!d->exact && !d->last_attempt))
        return err_set(err, QUERN_CONFLICT, "the store has changed");
    d->revision = mine;
    quern_batch_select(quern_update_batch(u), d->reach.database);
    return quern_batch_delete_range(quern_update_batch(u), &d->range, err);
}

static void work(struct write_op *op)
{
    struct deletion *d = op->about;
    struct quern *db = d->reach.server->db;
    struct quern_write_opts opts = {.sync = op->synced};

    for (unsigned i = 1; i <= ATTEMPTS; i++) {
        err_clear(&d->err);
        d->code = count_keys(d, db, &d->err);
        d->exact = true;
        if (d->code != QUERN_OK || !holds(d, d->seen) || d->dry_run || d->count == 0)
            return;
        d->last_attempt = i == ATTEMPTS;
        d->code = quern_update(db, cut, d, &opts, &d->err);
        if (d->code != QUERN_CONFLICT || d->refused)
            return;
    }
}

/* ------------------------------------------------------------------ on the loop -- */

static void then_finish(struct write_op *op)
{
    write_finish(op, QUERN_OK);
}

static void answer_well(struct conn *c, const struct write_op *op, const struct deletion *d)
{
    char text[128], extra[160 + PRESSURE_FIELD_BYTES], etag[ETAG_BYTES];
    char pressure[PRESSURE_FIELD_BYTES] = "";
    bool wrote = !d->dry_run && d->count > 0;
    int n = snprintf(
        text, sizeof(text), "{\"deleted\":%" PRIu64 ",\"exact\":%s,\"rev\":%" PRIu64 "%s}\n",
        d->count, d->exact ? "true" : "false", d->revision, d->dry_run ? ",\"dry_run\":true" : "");

    (void)etag_write(d->reach.server, d->revision, etag);
    (void)pressure_field(d->reach.server, pressure);
    (void)snprintf(extra, sizeof(extra), "Quern-Rev: %" PRIu64 "\r\nETag: %s\r\n%s%s%s%s",
                   d->revision, etag, wrote ? "Quern-Durability: " : "",
                   wrote ? durability_name(op->synced) : "", wrote ? "\r\n" : "", pressure);
    reply_with(c, op->manner, 200, "application/json", (struct quern_slice){text, (size_t)n},
               extra);
}

static void answer(struct write_op *op)
{
    struct deletion *d = op->about;
    struct conn *c = op->conn;

    if (d->code == QUERN_OK && !d->refused && !d->dry_run) {
        count(&c->loop->server->counters.deletes, d->count);
        count(&c->loop->server->counters.deletes_found, d->count);
    }
    if (!c->closing) {
        if (d->refused)
            reply_precondition_failed(c, op->manner, true, d->revision);
        else if (d->code != QUERN_OK)
            reply_store_error(c, op->manner, d->code, &d->err);
        else
            answer_well(c, op, d);
    }
    deletion_free(d);
}

static bool read_flag(struct conn *c, enum param_kind kind, const char *detail, bool *out)
{
    if (params_flag(conn_request_bytes(c), c->params.each[kind], out))
        return true;
    refuse(c, 400, "bad_parameter", detail);
    return false;
}

/* False: refused. */
static bool read_all(struct conn *c, struct deletion *d)
{
    struct quern_error err;
    bool all;

    if (!reach_of(c, &d->reach) ||
        !read_flag(c, PARAM_DRY_RUN, "dry_run must be 1 or 0", &d->dry_run) ||
        !read_flag(c, PARAM_ALL, "all must be 1 or 0", &all) || !kv_check_sync(c))
        return false;
    if (!conditions_read(&c->request, conn_request_bytes(c), &d->conditions)) {
        c->refusal.bad = conditions_malformed;
        return false;
    }
    if (!all && d->reach.prefix.len == 0 && (d->reach.start.len == 0 || d->reach.end.len == 0)) {
        refuse(c, 400, "missing_parameter",
               "say which keys: prefix, or start and end; every key there is with all=true");
        return false;
    }
    if (buf_append(&d->tags, d->conditions.match.data, d->conditions.match.len, &err) ||
        buf_append(&d->tags, d->conditions.none_match.data, d->conditions.none_match.len, &err) ||
        reach_range(&d->reach, &d->after, &d->range, &err)) {
        refuse(c, 500, "no_memory", "memory ran out; nothing was done");
        return false;
    }
    if (!d->conditions.has_match && conditions_required_in(c->loop->server, &d->range)) {
        c->refusal.bad = conditions_missing;
        return false;
    }
    d->conditions.match.data = d->tags.data;
    if (d->conditions.has_none_match)
        d->conditions.none_match.data = d->tags.data + d->conditions.match.len;
    return true;
}

void delete_range_check(struct conn *c)
{
    struct deletion d = {0};

    if (lifetime_given(c))
        refuse(c, 400, "bad_ttl", "a lifetime is for PUT, op=touch and op=getset");
    else
        IGNORE(read_all(c, &d));
    reach_done(&d.reach);
    buf_done(&d.after);
    buf_done(&d.tags);
}

void delete_range(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct deletion *d = NEW(struct deletion);
    struct write_op *op;

    (void)body;
    if (d == NULL) {
        conn_cut(c);
        return;
    }
    if (!read_all(c, d)) {
        deletion_free(d);
        return;
    }
    op = write_new(c, manner, 0, verb_sync_asked(c));
    if (op == NULL) {
        deletion_free(d);
        conn_cut(c);
        return;
    }
    op->alone = true;
    op->about = d;
    op->answer = answer;
    op->task.takes_long = true;
    aside_submit(op, work, then_finish);
}
