/* jobs.h - long work that an operator asks for: it runs on a thread of its own, one job at a time,
 * and is remembered for a while.
 *
 *     jobs_ask() -> queued -> running -> done | failed
 *                     |                     '-> ops that wait for it are told
 *                     '-- jobs_stop() ------> failed
 *
 * Of each kind one is queued or running at a time: that bounds the queue, and a second compaction
 * would only do again what the first is about to do. */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include "base/buf.h"
#include "base/thread.h"

#include <quern/quern.h>

#define JOBS_KEPT 64u

enum job_kind {
    JOB_FLUSH,
    JOB_COMPACT,
    JOB_VERIFY,
    JOB_CHECKPOINT,
    JOB_KINDS,
};

enum job_state {
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_DONE,
    JOB_FAILED,
};

struct write_op;
struct job;

struct jobs {
    struct quern *db; /* constant */
    struct mutex mu;  /* held for assignments, never while a job works */
    struct cond more;
    struct job *first; /* guarded by mu, as is the rest; newest first */
    unsigned count;
    uint64_t last_id;
    bool ending;
    pthread_t thread;
    bool running; /* the thread; the main thread's */
};

MUST_USE enum quern_code jobs_start(struct jobs *jobs, struct quern *db, struct quern_error *err);
/* What is queued fails, and nothing more is taken; what is running goes on. */
void jobs_stop(struct jobs *jobs);
/* Wait for what is running, and end the thread; the jobs are still told of. */
void jobs_join(struct jobs *jobs);
void jobs_done(struct jobs *jobs);
/* "compact" of a job that is running now, or NULL. */
const char *jobs_working(struct jobs *jobs);

/* What to do. */
struct job_wish {
    enum job_kind kind;
    bool in_part;              /* of COMPACT: of one database only, */
    uint8_t database;          /* this one, */
    struct quern_slice prefix; /* and of keys that begin so; copied */
    const char *dir;           /* of CHECKPOINT: where, a path; copied */
};
/* Queue it; *id is its number. `waiter`, if not NULL, is finished (write_finish) when it has ended,
 * by a letter to its loop. Errors: EXISTS (one of its kind is queued or running: *id), CLOSED,
 * NO_MEMORY. */
MUST_USE enum quern_code jobs_ask(struct jobs *jobs, const struct job_wish *wish,
                                  struct write_op *waiter, uint64_t *id, struct quern_error *err);

/* Append a job as JSON. False: there is none of this number, or no more. */
bool jobs_text(struct jobs *jobs, uint64_t id, struct buf *out, enum quern_code *code,
               struct quern_error *err);
/* Append {"jobs":[...]}, the newest first. */
MUST_USE enum quern_code jobs_list(struct jobs *jobs, struct buf *out, struct quern_error *err);

/* How one ended: OK for done, else its failure, in *err. NOT_FOUND: it is forgotten. */
enum quern_code jobs_outcome(struct jobs *jobs, uint64_t id, struct quern_error *err);

#endif
