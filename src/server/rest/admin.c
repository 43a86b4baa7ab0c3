/* admin.c - /v1/admin: what an operator asks for, and what he may look at.
 *
 *     POST flush compact verify    a job (jobs.h): 202 and where it is told of; with ?wait, 200 at
 *                                  its end
 *     POST checkpoint?dir=NAME     a job too, always waited for; beside the store, in DATA.checkpoints
 *     GET  jobs jobs/N levels files events clients limits
 *
 * None of it holds a loop: jobs have their thread, and the rest is short. */
#include "server/intake.h"
#include "server/rest/bounds.h"
#include "server/rest/outflow.h"
#include "server/pool.h"
#include "server/rest/reach.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char json_type[] = "application/json";
static const char no_store[] = "Cache-Control: no-store\r\n";

MUST_USE static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

/* The text in the loop's scratch, or what kept it from being made. */
static void reply_text(struct conn *c, struct manner manner, enum quern_code code,
                       const struct quern_error *err)
{
    if (code == QUERN_OK)
        reply_with(c, manner, 200, json_type, buf_slice(&c->loop->text), no_store);
    else
        reply_store_error(c, manner, code, err);
    pool_give_back(&c->loop->text);
}

/* ------------------------------------------------------------------ jobs -- */

#define CHECKPOINT_NAME_BYTES_MAX 64u
#define LOCATION_BYTES 64

static enum job_kind kind_of(const struct conn *c)
{
    static const char *const last[JOB_KINDS] = {"/flush", "/compact", "/verify", "/checkpoint"};
    struct quern_slice path = http_bytes(conn_request_bytes(c), c->request.path);

    for (int kind = 0; kind < JOB_KINDS; kind++) {
        size_t n = strlen(last[kind]);

        if (path.len > n && memcmp((const char *)path.data + path.len - n, last[kind], n) == 0)
            return (enum job_kind)kind;
    }
    return JOB_KINDS; /* no route leads here */
}

/* A name and no path: what it names lies where the server puts checkpoints. */
static bool is_name(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return s[0] != '.' && s[0] != '-' && n > 0 && s[n] == '\0';
}

static bool read_wait(struct conn *c, bool *wait)
{
    if (params_flag(conn_request_bytes(c), c->params.each[PARAM_WAIT], wait))
        return true;
    refuse(c, 400, "bad_parameter", "wait must be 1 or 0");
    return false;
}

static bool read_name(struct conn *c, struct buf *name)
{
    struct param dir = c->params.each[PARAM_DIR];
    struct quern_error err;

    if (!dir.given) {
        refuse(c, 400, "missing_parameter", "the name is missing; write ?dir=NAME");
        return false;
    }
    if (!params_decode(conn_request_bytes(c), dir, name, &c->refusal.bad))
        return false;
    if (name->len <= CHECKPOINT_NAME_BYTES_MAX && memchr(name->data, '\0', name->len) == NULL &&
        buf_append(name, "", 1, &err) == QUERN_OK && is_name((const char *)name->data))
        return true;
    refuse(c, 400, "bad_parameter",
           "dir is a name of up to 64 letters, digits, dots, dashes and underscores, and no path");
    return false;
}

void admin_check_job(struct conn *c)
{
    struct reach reach = {0};
    bool wait;

    if (kind_of(c) == JOB_CHECKPOINT ? read_name(c, &c->loop->key) : read_wait(c, &wait))
        IGNORE(reach_of(c, &reach));
    reach_done(&reach);
}

static void name_location(char to[LOCATION_BYTES], uint64_t id)
{
    (void)snprintf(to, LOCATION_BYTES, "Location: /v1/admin/jobs/%" PRIu64 "\r\n", id);
}

/* How a job stands, or as what it ended. */
static void answer_job(struct conn *c, struct manner manner, uint64_t id, int status)
{
    struct buf *text = &c->loop->text;
    char extra[LOCATION_BYTES + sizeof(no_store)];
    struct quern_error err;
    enum quern_code code;

    name_location(extra, id);
    (void)strcat(extra, no_store);
    buf_clear(text);
    if (!jobs_text(&c->loop->server->jobs, id, text, &code, &err) || code != QUERN_OK ||
        buf_append(text, "\n", 1, &err))
        conn_cut(c); /* no memory */
    else
        reply_with(c, manner, status, json_type, buf_slice(text), extra);
    pool_give_back(text);
}

/* One that was waited for has ended. */
static void answer_waited(struct write_op *op)
{
    static const struct http_bad exists = {409, "checkpoint_exists",
                                           "there is a checkpoint of this name"};
    struct conn *c = op->conn;
    struct quern_error err;
    enum quern_code code;

    if (c->closing)
        return;
    code = jobs_outcome(&c->loop->server->jobs, op->job, &err);
    if (code == QUERN_EXISTS)
        reply_error(c, op->manner, &exists, NULL);
    else if (code != QUERN_OK)
        reply_store_error(c, op->manner, code, &err);
    else
        answer_job(c, op->manner, op->job, op->created ? 201 : 200);
}

static void refuse_job(struct conn *c, struct manner manner, uint64_t id,
                       const struct quern_error *err)
{
    static const struct http_bad busy = {409, "job_running",
                                         "a job of this kind is queued or running: see Location"};
    char extra[LOCATION_BYTES];

    if (err->code == QUERN_EXISTS) {
        name_location(extra, id);
        reply_error(c, manner, &busy, extra);
    } else {
        reply_store_error(c, manner, err->code, err);
    }
}

/* An op that stands in the connection's queue until the job has ended. */
static void ask_and_wait(struct conn *c, struct manner manner, const struct job_wish *wish)
{
    struct write_op *op = write_new(c, manner, 0, false);
    struct quern_error err;
    uint64_t id = 0;

    if (op == NULL) {
        conn_cut(c);
        return;
    }
    op->alone = true;
    op->created = wish->kind == JOB_CHECKPOINT;
    op->answer = answer_waited;
    if (jobs_ask(&c->loop->server->jobs, wish, op, &op->job, &err) == QUERN_OK)
        return;
    id = op->job;
    pool_put_op(c); /* it is the only one: nothing else was under way */
    refuse_job(c, manner, id, &err);
}

void admin_job(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct reach reach;
    struct job_wish wish = {.kind = kind_of(c)};
    struct quern_error err;
    uint64_t id = 0;
    bool wait;

    (void)body;
    if (!read_wait(c, &wait) || !reach_of(c, &reach))
        return;
    wish.prefix = buf_slice(&reach.prefix);
    wish.database = reach.database;
    wish.in_part = wish.prefix.len != 0 || params_given(&c->params, PARAM_DB);
    if (wait)
        ask_and_wait(c, manner, &wish);
    else if (jobs_ask(&c->loop->server->jobs, &wish, NULL, &id, &err) == QUERN_OK)
        answer_job(c, manner, id, 202);
    else
        refuse_job(c, manner, id, &err);
    reach_done(&reach);
}

void admin_checkpoint(struct conn *c, struct manner manner, struct quern_slice body)
{
    const char *place = c->loop->server->checkpoints;
    struct job_wish wish = {.kind = JOB_CHECKPOINT};
    struct quern_error err;
    char path[4096];

    (void)body;
    if (!read_name(c, &c->loop->key))
        return;
    if (mkdir(place, 0777) != 0 && errno != EEXIST) {
        IGNORE(err_sys(&err, errno, "make %s", place));
        reply_store_error(c, manner, err.code, &err);
        return;
    }
    if (snprintf(path, sizeof(path), "%s/%s", place, (const char *)c->loop->key.data) >=
        (int)sizeof(path)) {
        refuse(c, 400, "bad_parameter", "the path of the checkpoint would be too long");
        return;
    }
    wish.dir = path;
    ask_and_wait(c, manner, &wish);
}

void admin_jobs(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct quern_error err;

    (void)body;
    buf_clear(&c->loop->text);
    reply_text(c, manner, jobs_list(&c->loop->server->jobs, &c->loop->text, &err), &err);
}

void admin_job_get(struct conn *c, struct manner manner, struct quern_slice body)
{
    static const char begin[] = "/v1/admin/jobs/";
    struct quern_slice path = http_bytes(conn_request_bytes(c), c->request.path);
    struct quern_slice number = {(const char *)path.data + sizeof(begin) - 1,
                                 path.len - (sizeof(begin) - 1)};
    struct buf *text = &c->loop->text;
    struct quern_error err;
    enum quern_code code;
    int64_t id;

    (void)body;
    buf_clear(text);
    if (!integer_read(number, &id) || id < 1 ||
        !jobs_text(&c->loop->server->jobs, (uint64_t)id, text, &code, &err)) {
        refuse(c, 404, "no_such_job", "there is no job of this number, or no more");
        return;
    }
    if (code == QUERN_OK)
        code = add(text, "\n", &err);
    reply_text(c, manner, code, &err);
}

/* ------------------------------------------------------------------ the store -- */

void admin_levels(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct buf *out = &c->loop->text;
    struct quern_stats stats;
    struct quern_error err;
    enum quern_code code;
    char text[320];

    (void)body;
    quern_stats(c->loop->server->db, &stats);
    buf_clear(out);
    (void)snprintf(text, sizeof(text),
                   "{\"memdb\":{\"bytes\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"sealed\":%" PRIu64
                   "},\"log\":{\"bytes\":%" PRIu64 ",\"segments\":%" PRIu64 "},\"levels\":[",
                   stats.memdb_bytes, stats.memdb_entries, stats.memdb_sealed, stats.log_bytes,
                   stats.log_segments);
    code = add(out, text, &err);
    for (unsigned i = 0; i < stats.tiers && code == QUERN_OK; i++) {
        const struct quern_tier_stats *tier = &stats.tier[i];

        (void)snprintf(text, sizeof(text),
                       "%s{\"level\":%u,\"runs\":%u,\"tables\":%u,\"bytes\":%" PRIu64
                       ",\"entries\":%" PRIu64 ",\"tombstones\":%" PRIu64 "}",
                       i > 0 ? "," : "", i, tier->runs, tier->tables, tier->bytes, tier->entries,
                       tier->tombstones);
        code = add(out, text, &err);
    }
    if (code == QUERN_OK)
        code = add(out, "]}\n", &err);
    reply_text(c, manner, code, &err);
}

struct files {
    struct buf *out;
    enum quern_code code;
    struct quern_error err;
    bool any;
};

static void add_file(void *arg, const struct quern_table *t)
{
    struct files *f = arg;
    char text[320];

    if (f->code != QUERN_OK)
        return;
    (void)snprintf(text, sizeof(text),
                   "%s{\"file\":\"%s\",\"level\":%u,\"run\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"entries\":%" PRIu64 ",\"tombstones\":%" PRIu64 ",\"expiring\":%" PRIu64
                   ",\"first_database\":%u,\"last_database\":%u,",
                   f->any ? "," : "", t->file, t->tier, t->run_no, t->bytes, t->entries,
                   t->tombstones, t->expiring, t->first_database, t->last_database);
    f->any = true;
    if (add(f->out, text, &f->err) || http_json_bytes(f->out, "first_key", t->first_key, &f->err) ||
        add(f->out, ",", &f->err) || http_json_bytes(f->out, "last_key", t->last_key, &f->err) ||
        add(f->out, "}", &f->err))
        f->code = f->err.code;
}

void admin_files(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct files f = {.out = &c->loop->text};

    (void)body;
    buf_clear(f.out);
    f.code = add(f.out, "{\"tables\":[", &f.err);
    if (f.code == QUERN_OK && quern_tables(c->loop->server->db, add_file, &f, &f.err))
        f.code = f.err.code;
    if (f.code == QUERN_OK)
        f.code = add(f.out, "]}\n", &f.err);
    reply_text(c, manner, f.code, &f.err);
}

void admin_events(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct quern_error err;

    (void)body;
    buf_clear(&c->loop->text);
    reply_text(c, manner, events_text(&c->loop->server->events, &c->loop->text, &err), &err);
}

/* ------------------------------------------------------------------ clients -- */

/* A letter that goes from loop to loop, since each alone knows its connections, and comes back. */
struct round {
    struct letter letter; /* first */
    struct write_op *op;
    unsigned next; /* the loop to go to */
    struct buf text;
    struct quern_error err;
    enum quern_code code;
};

static void add_client(struct round *r, struct conn *c)
{
    char peer[64], text[320];

    (void)conn_peer(c, peer, sizeof(peer));
    (void)snprintf(text, sizeof(text),
                   "%s{\"peer\":\"%s\",\"protocol\":\"%s\",\"loop\":%u,\"age_ms\":%" PRIu64
                   ",\"writes\":%u,\"input_bytes\":%zu,\"output_bytes\":%zu,\"streaming\":%s}",
                   r->text.data[r->text.len - 1] == '}' ? "," : "", peer,
                   c->resp != NULL ? "resp" : "http", c->loop->number,
                   c->loop->clock_ms - c->opened_at, c->op_count, conn_arrived(c),
                   c->out.len + (c->writing ? c->sending.len : 0) + c->big.len,
                   c->outflow != NULL || c->import != NULL ? "true" : "false");
    r->code = add(&r->text, text, &r->err);
}

static void open_round(struct letter *letter)
{
    struct round *r = (struct round *)letter;
    struct conn *asking = r->op->conn;
    struct server *server = asking->loop->server;

    if (r->next > server->loop_count) { /* back where it began */
        write_finish(r->op, QUERN_OK);
        return;
    }
    for (struct conn *c = server->loops[r->next - 1]->conns; c != NULL && r->code == QUERN_OK;
         c = c->next) {
        if (!c->closing)
            add_client(r, c);
    }
    r->next++;
    loop_post(r->next > server->loop_count ? asking->loop : server->loops[r->next - 1], &r->letter);
}

static void answer_round(struct write_op *op)
{
    struct round *r = op->about;
    struct conn *c = op->conn;

    if (r->code == QUERN_OK)
        r->code = add(&r->text, "]}\n", &r->err);
    if (!c->closing && r->code == QUERN_OK)
        reply_with(c, op->manner, 200, json_type, buf_slice(&r->text), no_store);
    else if (!c->closing)
        reply_store_error(c, op->manner, r->code, &r->err);
    buf_done(&r->text);
    alloc_free(r);
}

void admin_clients(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct round *r = NEW(struct round);
    struct write_op *op = r != NULL ? write_new(c, manner, 0, false) : NULL;

    (void)body;
    if (op == NULL) {
        alloc_free(r);
        conn_cut(c);
        return;
    }
    op->alone = true;
    op->about = r;
    op->answer = answer_round;
    r->op = op;
    r->next = 1;
    r->letter.open = open_round;
    r->code = add(&r->text, "{\"clients\":[", &r->err);
    if (r->code != QUERN_OK) {
        write_finish(op, QUERN_OK);
        return;
    }
    loop_post(c->loop->server->loops[0], &r->letter);
}

/* ------------------------------------------------------------------ limits -- */

void admin_limits(struct conn *c, struct manner manner, struct quern_slice body)
{
    const struct server_options *o = c->loop->server->options;
    char text[1024];
    int n = snprintf(
        text, sizeof(text),
        "{\"key_bytes_max\":%u,\"value_bytes_max\":%" PRIu64
        ",\"request_line_bytes_max\":%u,\"header_bytes_max\":%u,\"header_fields_max\":%u"
        ",\"batch_ops_max\":%u,\"batch_bytes_max\":%u,\"batch_result_bytes_max\":%u"
        ",\"page_entries_max\":%d,\"page_bytes_max\":%u,\"scan_ms_max\":%d"
        ",\"header_timeout_ms\":%" PRIu64 ",\"idle_timeout_ms\":%" PRIu64
        ",\"drain_timeout_ms\":%" PRIu64 ",\"body_bytes_per_s_min\":%u,\"connections_max\":%" PRIu32
        ",\"requests_bytes_max\":%" PRIu64
        ",\"streams_max\":%u,\"snapshots_max\":%u,\"snapshot_ttl_ms_max\":%u,\"jobs_kept\":%u}\n",
        QUERN_KEY_BYTES_MAX, o->value_bytes_max, HTTP_LINE_BYTES_MAX, HTTP_FIELDS_BYTES_MAX,
        HTTP_FIELDS_MAX, BATCH_STEPS_MAX, BATCH_BODY_BYTES_MAX, BATCH_RESULT_BYTES_MAX,
        PAGE_ENTRIES_MAX, PAGE_BYTES_MAX, SCAN_MS_MAX, o->header_ms, o->idle_ms, o->drain_ms,
        BODY_RATE_BYTES_PER_S, o->connections_max, intake_bytes_max(c->loop->server), OUTFLOWS_MAX,
        SNAPSHOTS_MAX, SNAPSHOT_TTL_MS_MAX, JOBS_KEPT);

    (void)body;
    reply_with(c, manner, 200, json_type, (struct quern_slice){text, (size_t)n}, no_store);
}
