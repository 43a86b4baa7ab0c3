/* export.c - GET /v1/export: the entries of one moment as the lines of a dump (dump/line.h).
 *
 * It is what `quern dump` writes and `quern load` reads; the last line proves the whole, and one that
 * does not come tells that there is more. `all` asks for every database, one after the other. */
#include "server/rest/outflow.h"
#include "server/rest/reach.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "dump/line.h"

#include <inttypes.h>
#include <stdio.h>

struct export
{
    struct outflow flow; /* first */
    struct reach reach;
    struct quern_snapshot *own; /* unless the client named one */
    struct quern_iter *it;
    uint8_t database, last; /* at hand; the last to come */
    bool begun, on;
    uint64_t count;
    XXH3_state_t *hash; /* of all pages so far */
};

static void export_free(struct outflow *o)
{
    struct export *e = (struct export *)o;

    quern_iter_free(e->it);
    quern_snapshot_free(e->own);
    reach_done(&e->reach);
    buf_done(&o->page);
    alloc_free(e->hash);
    alloc_free(e);
}

/* The first entry of the database at hand. */
static enum quern_code begin(struct export *e, const struct quern_snapshot *view,
                             struct quern_error *err)
{
    struct quern_iter_opts opts = {.snapshot = view,
                                   .range = {buf_slice(&e->reach.start), buf_slice(&e->reach.end)},
                                   .prefix = buf_slice(&e->reach.prefix),
                                   .bulk = true,
                                   .database = e->database};

    e->begun = true;
    quern_iter_free(e->it);
    e->it = NULL;
    if (quern_iter_new(e->reach.server->db, &opts, &e->it, err))
        return err->code;
    e->on = quern_iter_first(e->it);
    return QUERN_OK;
}

static enum quern_code fill(struct outflow *o, struct quern_error *err)
{
    struct export *e = (struct export *)o;
    const struct quern_snapshot *view = e->own != NULL ? e->own : e->reach.held->snapshot;

    if (!e->begun && begin(e, view, err))
        return err->code;
    while (!e->on && e->database < e->last) {
        if (quern_iter_error(e->it, err))
            return err->code;
        e->database++;
        if (begin(e, view, err))
            return err->code;
    }
    for (; e->on && o->page.len < OUTFLOW_PAGE_BYTES; e->on = quern_iter_next(e->it), e->count++) {
        struct quern_slice value = quern_iter_value(e->it);

        if (dump_line_entry(e->database, quern_iter_key(e->it), &value,
                            quern_iter_expires_ms(e->it), &o->page, err))
            return err->code;
    }
    (void)XXH3_64bits_update(e->hash, o->page.data, o->page.len);
    if (e->on || (e->database < e->last && quern_iter_error(e->it, err) == QUERN_OK))
        return QUERN_OK;
    o->over = true;
    if (quern_iter_error(e->it, err))
        return err->code;
    return dump_line_end(e->count, XXH3_64bits_digest(e->hash), quern_snapshot_seq(view), &o->page,
                         err);
}

static bool read_all(struct conn *c, bool *all)
{
    if (!params_flag(conn_request_bytes(c), c->params.each[PARAM_ALL], all))
        refuse(c, 400, "bad_parameter", "all must be 1 or 0");
    else if (*all && params_given(&c->params, PARAM_DB))
        refuse(c, 400, "bad_parameter", "all is every database, and db is one");
    return c->refusal.bad.status == 0;
}

void export_check(struct conn *c)
{
    struct reach reach = {0};
    bool all;

    if (read_all(c, &all))
        IGNORE(reach_of(c, &reach));
    reach_done(&reach);
}

void export_get(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct export *e;
    struct quern_error err;
    char extra[96];
    bool all;

    (void)body;
    if (!outflow_may_begin(c))
        return;
    e = alloc_zeroed(sizeof(*e));
    if (e == NULL) {
        outflow_give_up(c);
        conn_cut(c);
        return;
    }
    e->flow.fill = fill;
    e->flow.free = export_free;
    if (!read_all(c, &all) || !reach_of(c, &e->reach) || (e->hash = dump_hash_new(&err)) == NULL ||
        (e->reach.held == NULL && quern_snapshot_new(c->loop->server->db, &e->own, &err))) {
        if (c->refusal.bad.status == 0)
            reply_store_error(c, manner, err.code, &err);
        outflow_give_up(c);
        export_free(&e->flow);
        return;
    }
    e->database = all ? 0 : e->reach.database;
    e->last = all ? QUERN_DATABASES - 1 : e->database;
    (void)snprintf(extra, sizeof(extra), "Quern-Rev: %" PRIu64 "\r\nCache-Control: no-store\r\n",
                   quern_snapshot_seq(e->own != NULL ? e->own : e->reach.held->snapshot));
    outflow_begin(c, manner, "application/x-ndjson", extra, &e->flow);
}
