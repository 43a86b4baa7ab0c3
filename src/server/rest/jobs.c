/* jobs.c - see jobs.h. */
#include "server/rest/jobs.h"

#include "server/conn.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/prefix.h"
#include "base/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DAMAGES_TOLD 100u
#define PATH_BYTES 4096

struct job {
    struct job *next;
    uint64_t id; /* constant, as are kind, what part of the store, and dir */
    enum job_kind kind;
    bool in_part;
    uint8_t database;
    struct buf prefix;
    char dir[PATH_BYTES];

    /* Guarded by jobs.mu. */
    struct jobs *jobs;
    enum job_state state;
    uint64_t queued_ms, started_ms, ended_ms; /* since 1970; 0: not yet */
    uint64_t done_bytes, total_bytes;
    struct quern_error err;
    struct write_op *waiter;

    /* What came of it: the job thread's until it has ended. */
    struct quern_verify_report report;
    uint64_t bytes_before, bytes_after;
    struct buf damages; /* JSON objects, with commas */
    unsigned damage_count;
};

static const char *const kind_names[JOB_KINDS] = {"flush", "compact", "verify", "checkpoint"};

static void job_free(struct job *job)
{
    buf_done(&job->prefix);
    buf_done(&job->damages);
    alloc_free(job);
}

static bool is_live(const struct job *job)
{
    return job->state == JOB_QUEUED || job->state == JOB_RUNNING;
}

/* ------------------------------------------------------------------ the work -- */

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct job *job = arg;

    mutex_lock(&job->jobs->mu);
    job->done_bytes = done_bytes;
    job->total_bytes = total_bytes;
    mutex_unlock(&job->jobs->mu);
}

static void on_damage(void *arg, const struct quern_damage *damage)
{
    struct job *job = arg;
    struct quern_error ignored;
    struct buf *out = &job->damages;
    size_t mark = out->len;
    char text[64];
    int n;

    if (job->damage_count++ >= DAMAGES_TOLD)
        return;
    n = snprintf(text, sizeof(text), "\",\"offset\":%" PRIu64 ",\"lost\":%s,\"what\":\"",
                 damage->offset, damage->lost ? "true" : "false");
    if (buf_append(out, &",{\"file\":\""[mark == 0], mark == 0 ? 9 : 10, &ignored) ||
        http_json_escape(out, QUERN_STR(damage->file), &ignored) ||
        buf_append(out, text, (size_t)n, &ignored) ||
        http_json_escape(out, QUERN_STR(damage->what), &ignored) ||
        buf_append(out, "\"}", 2, &ignored))
        out->len = mark; /* it is counted at least */
}

static enum quern_code compact(struct quern *db, struct job *job, struct quern_error *err)
{
    struct buf after OWNED_BUF = {0};
    struct quern_range range = {{NULL, 0}, {NULL, 0}};
    struct quern_compact_opts opts = {.range = job->in_part ? &range : NULL,
                                      .database = job->database,
                                      .on_progress = on_progress,
                                      .on_progress_arg = job};
    struct quern_stats stats;

    if (prefix_narrow(buf_slice(&job->prefix), &range.start, &range.end, &after, err) ||
        quern_flush(db, err))
        return err->code;
    quern_stats(db, &stats);
    job->bytes_before = stats.table_bytes;
    if (quern_compact(db, &opts, err))
        return err->code;
    quern_stats(db, &stats);
    job->bytes_after = stats.table_bytes;
    return QUERN_OK;
}

static enum quern_code verify(struct quern *db, struct job *job, struct quern_error *err)
{
    struct quern_verify_opts opts = {.on_damage = on_damage,
                                     .on_damage_arg = job,
                                     .on_progress = on_progress,
                                     .on_progress_arg = job};
    enum quern_code code = quern_verify(db, &opts, &job->report, err);

    return code == QUERN_CORRUPT ? QUERN_OK : code; /* it has done what it was to do */
}

static enum quern_code carry_out(struct quern *db, struct job *job, struct quern_error *err)
{
    switch (job->kind) {
    case JOB_FLUSH:
        return quern_flush(db, err);
    case JOB_COMPACT:
        return compact(db, job, err);
    case JOB_VERIFY:
        return verify(db, job, err);
    default:
        return quern_checkpoint(db, job->dir, err);
    }
}

/* ------------------------------------------------------------------ the thread -- */

static void open_waiter(struct letter *letter)
{
    write_finish((struct write_op *)letter, QUERN_OK);
}

/* The job has ended so. */
static void end_locked(struct jobs *jobs, struct job *job, enum quern_code code,
                       const struct quern_error *err)
{
    struct write_op *waiter = job->waiter;

    mutex_assert_held(&jobs->mu);
    job->state = code == QUERN_OK ? JOB_DONE : JOB_FAILED;
    job->ended_ms = when_now();
    if (code != QUERN_OK)
        job->err = *err;
    job->waiter = NULL;
    if (waiter == NULL)
        return;
    waiter->task.letter.open = open_waiter;
    loop_post(waiter->conn->loop, &waiter->task.letter);
}

/* The oldest that is queued. */
static struct job *queued_locked(struct jobs *jobs)
{
    struct job *found = NULL;

    mutex_assert_held(&jobs->mu);
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->state == JOB_QUEUED)
            found = job;
    }
    return found;
}

static void *jobs_main(void *arg)
{
    struct jobs *jobs = arg;
    struct quern_error err;
    struct job *job;

    mutex_lock(&jobs->mu);
    for (;;) {
        enum quern_code code;

        while ((job = queued_locked(jobs)) == NULL && !jobs->ending)
            cond_wait(&jobs->more, &jobs->mu);
        if (job == NULL)
            break;
        job->state = JOB_RUNNING;
        job->started_ms = when_now();
        mutex_unlock(&jobs->mu);
        err_clear(&err);
        code = carry_out(jobs->db, job, &err);
        mutex_lock(&jobs->mu);
        end_locked(jobs, job, code, &err);
    }
    mutex_unlock(&jobs->mu);
    return NULL;
}

enum quern_code jobs_start(struct jobs *jobs, struct quern *db, struct quern_error *err)
{
    memset(jobs, 0, sizeof(*jobs));
    jobs->db = db;
    mutex_init(&jobs->mu);
    cond_init(&jobs->more);
    if (thread_start(&jobs->thread, "quernd-jobs", jobs_main, jobs, err))
        return err->code;
    jobs->running = true;
    return QUERN_OK;
}

void jobs_stop(struct jobs *jobs)
{
    struct quern_error err;
    struct job *job;

    IGNORE(err_set(&err, QUERN_CLOSED, "the server is shutting down"));
    mutex_lock(&jobs->mu);
    jobs->ending = true;
    while ((job = queued_locked(jobs)) != NULL)
        end_locked(jobs, job, err.code, &err);
    cond_signal(&jobs->more);
    mutex_unlock(&jobs->mu);
}

void jobs_join(struct jobs *jobs)
{
    if (!jobs->running)
        return;
    jobs_stop(jobs);
    (void)pthread_join(jobs->thread, NULL);
    jobs->running = false;
}

void jobs_done(struct jobs *jobs)
{
    while (jobs->first != NULL) {
        struct job *job = jobs->first;

        jobs->first = job->next;
        job_free(job);
    }
    cond_done(&jobs->more);
    mutex_done(&jobs->mu);
}

const char *jobs_working(struct jobs *jobs)
{
    const char *name = NULL;

    mutex_lock(&jobs->mu);
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->state == JOB_RUNNING)
            name = kind_names[job->kind];
    }
    mutex_unlock(&jobs->mu);
    return name;
}

/* ------------------------------------------------------------------ asking -- */

/* Forget the oldest that has ended, if there are too many. */
static void forget_locked(struct jobs *jobs)
{
    struct job **oldest = NULL, *job;

    mutex_assert_held(&jobs->mu);
    if (jobs->count <= JOBS_KEPT)
        return;
    for (struct job **at = &jobs->first; *at != NULL; at = &(*at)->next) {
        if (!is_live(*at))
            oldest = at;
    }
    job = *oldest; /* there is one: of each kind at most one lives */
    *oldest = job->next;
    jobs->count--;
    job_free(job);
}

static struct job *job_new(struct jobs *jobs, const struct job_wish *wish)
{
    struct job *job = NEW(struct job);
    struct quern_error err;

    if (job == NULL)
        return NULL;
    job->jobs = jobs;
    job->kind = wish->kind;
    job->queued_ms = when_now();
    job->in_part = wish->in_part;
    job->database = wish->database;
    if (buf_append(&job->prefix, wish->prefix.data, wish->prefix.len, &err)) {
        job_free(job);
        return NULL;
    }
    if (wish->dir != NULL)
        (void)snprintf(job->dir, sizeof(job->dir), "%s", wish->dir);
    return job;
}

enum quern_code jobs_ask(struct jobs *jobs, const struct job_wish *wish, struct write_op *waiter,
                         uint64_t *id, struct quern_error *err)
{
    struct job *job = job_new(jobs, wish), *other;
    enum quern_code code = QUERN_OK;

    if (job == NULL)
        return err_memory(err, "a job");
    mutex_lock(&jobs->mu);
    for (other = jobs->first; other != NULL; other = other->next) {
        if (is_live(other) && other->kind == wish->kind)
            break;
    }
    if (jobs->ending) {
        code = err_set(err, QUERN_CLOSED, "the server is shutting down");
    } else if (other != NULL) {
        *id = other->id;
        code = err_set(err, QUERN_EXISTS, "one of its kind is at work");
    } else {
        *id = job->id = ++jobs->last_id;
        job->waiter = waiter;
        job->next = jobs->first;
        jobs->first = job;
        jobs->count++;
        forget_locked(jobs);
        cond_signal(&jobs->more);
    }
    mutex_unlock(&jobs->mu);
    if (code != QUERN_OK)
        job_free(job);
    return code;
}

/* ------------------------------------------------------------------ telling -- */

MUST_USE static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

/* `,"started_at":"..."`, or nothing for 0. */
MUST_USE static enum quern_code add_database(struct buf *out, uint8_t database,
                                             struct quern_error *err)
{
    char text[16];

    (void)snprintf(text, sizeof(text), ",\"db\":%u", database);
    return add(out, text, err);
}

MUST_USE static enum quern_code add_moment(struct buf *out, const char *name, uint64_t ms,
                                           struct quern_error *err)
{
    char moment[WHEN_BYTES + 1];

    if (ms == 0)
        return QUERN_OK;
    (void)when_write(ms, moment);
    if (add(out, ",\"", err) || add(out, name, err) || add(out, "\":\"", err) ||
        add(out, moment, err))
        return err->code;
    return add(out, "\"", err);
}

MUST_USE static enum quern_code add_result(struct buf *out, const struct job *job,
                                           struct quern_error *err)
{
    const struct quern_verify_report *r = &job->report;
    char text[256];

    switch (job->kind) {
    case JOB_COMPACT:
        (void)snprintf(text, sizeof(text),
                       ",\"result\":{\"table_bytes_before\":%" PRIu64
                       ",\"table_bytes_after\":%" PRIu64 "}",
                       job->bytes_before, job->bytes_after);
        return add(out, text, err);
    case JOB_VERIFY:
        (void)snprintf(text, sizeof(text),
                       ",\"result\":{\"sound\":%s,\"tables\":%" PRIu64 ",\"bytes\":%" PRIu64
                       ",\"entries\":%" PRIu64 ",\"damage_count\":%" PRIu64 ",\"damages\":[",
                       r->damages == 0 ? "true" : "false", r->tables, r->bytes, r->entries,
                       r->damages);
        if (add(out, text, err) || buf_append(out, job->damages.data, job->damages.len, err))
            return err->code;
        return add(out, "]}", err);
    case JOB_CHECKPOINT:
        if (add(out, ",\"result\":{", err) || http_json_bytes(out, "dir", QUERN_STR(job->dir), err))
            return err->code;
        return add(out, "}", err);
    default:
        return QUERN_OK;
    }
}

MUST_USE static enum quern_code add_failure(struct buf *out, const struct job *job,
                                            struct quern_error *err)
{
    if (add(out, ",\"error\":{\"code\":\"", err) || add(out, quern_code_name(job->err.code), err) ||
        add(out, "\",\"detail\":\"", err) || http_json_escape(out, QUERN_STR(job->err.text), err))
        return err->code;
    return add(out, "\"}", err);
}

static enum quern_code text_locked(struct jobs *jobs, const struct job *job, struct buf *out,
                                   struct quern_error *err)
{
    static const char *const states[] = {"queued", "running", "done", "failed"};
    char text[192];

    mutex_assert_held(&jobs->mu);
    (void)snprintf(text, sizeof(text),
                   "{\"id\":%" PRIu64 ",\"kind\":\"%s\",\"state\":\"%s\",\"done_bytes\":%" PRIu64
                   ",\"total_bytes\":%" PRIu64,
                   job->id, kind_names[job->kind], states[job->state], job->done_bytes,
                   job->total_bytes);
    if (add(out, text, err) || add_moment(out, "queued_at", job->queued_ms, err) ||
        add_moment(out, "started_at", job->started_ms, err) ||
        add_moment(out, "ended_at", job->ended_ms, err) ||
        (job->in_part && add_database(out, job->database, err)) ||
        (job->prefix.len > 0 &&
         (add(out, ",", err) || http_json_bytes(out, "prefix", buf_slice(&job->prefix), err))) ||
        (job->state == JOB_DONE && add_result(out, job, err)) ||
        (job->state == JOB_FAILED && add_failure(out, job, err)))
        return err->code;
    return add(out, "}", err);
}

static struct job *find_locked(struct jobs *jobs, uint64_t id)
{
    struct job *job = jobs->first;

    mutex_assert_held(&jobs->mu);
    while (job != NULL && job->id != id)
        job = job->next;
    return job;
}

bool jobs_text(struct jobs *jobs, uint64_t id, struct buf *out, enum quern_code *code,
               struct quern_error *err)
{
    struct job *job;

    mutex_lock(&jobs->mu);
    job = find_locked(jobs, id);
    *code = job != NULL ? text_locked(jobs, job, out, err) : QUERN_OK;
    mutex_unlock(&jobs->mu);
    return job != NULL;
}

enum quern_code jobs_list(struct jobs *jobs, struct buf *out, struct quern_error *err)
{
    enum quern_code code = add(out, "{\"jobs\":[", err);

    mutex_lock(&jobs->mu);
    for (struct job *job = jobs->first; job != NULL && code == QUERN_OK; job = job->next) {
        if (job != jobs->first)
            code = add(out, ",", err);
        if (code == QUERN_OK)
            code = text_locked(jobs, job, out, err);
    }
    mutex_unlock(&jobs->mu);
    return code != QUERN_OK ? code : add(out, "]}\n", err);
}

enum quern_code jobs_outcome(struct jobs *jobs, uint64_t id, struct quern_error *err)
{
    enum quern_code code = QUERN_NOT_FOUND;
    struct job *job;

    mutex_lock(&jobs->mu);
    job = find_locked(jobs, id);
    if (job != NULL) {
        *err = job->err;
        code = job->state == JOB_FAILED ? job->err.code : QUERN_OK;
    }
    mutex_unlock(&jobs->mu);
    return code;
}
