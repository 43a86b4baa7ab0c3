/* aside.h - a few threads that may wait for the disk, so that no loop does.
 *
 * A task whose next step would take long or read from disk is given here: run() is called on one of
 * these threads, then then() on the task's loop. Mostly the task is an op, whose `work` touches
 * nothing of the connection but what the op itself holds, and until `then` nothing joins the op on
 * its connection but what is read aside too. What waits is bounded by what connections may have
 * under way. Locks itself. */
#ifndef SERVER_ASIDE_H
#define SERVER_ASIDE_H

#include "base/thread.h"

#include <quern/quern.h>

#define ASIDE_THREADS_MAX 32u /* as many reads as a disk does well at a time */
#define ASIDE_LONG_MAX 16u    /* of them, at most so many have tasks that take long */

struct held_snapshot;
struct letter;
struct loop;
struct task;
struct write_op;

struct task_queue {
    struct letter *first, **last; /* oldest first */
    unsigned count, reads;        /* reads: of them, those that said what they will read */
};

/* What a task will read: as a rule all of it, and first. The slices are the task's until it is over. */
struct reads_ahead {
    const struct quern_slice *keys;
    size_t count; /* 0: nothing is known */
    uint8_t database;
};

struct aside {
    struct mutex mu;
    struct cond wake;
    struct task_queue brief, slow; /* those that wait */
    unsigned threads, idle, slow_running;
    bool stopping;
    pthread_t thread[ASIDE_THREADS_MAX];
};

void aside_init(struct aside *aside);
void aside_stop(struct aside *aside); /* nothing waits any more: end the threads */

/* On the task's loop, with all set but the letter: it goes with aside_hand_over(). Until then() has been
 * called `server->tasks` counts it: the store is not closed before. */
void aside_run(struct task *task);
/* The end of a loop's turn: what was given to aside_run() goes to the threads. They are started as
 * they are needed; without any, the loop has to do it itself, and this is true: there are letters. */
MUST_USE bool aside_hand_over(struct loop *loop);
void aside_init_loop(struct loop *loop);

/* Before the next one: `work` will read these keys, which are the op's. It is then carried out together with
 * others of which that is known, whose reads wait for the disk at the same time; not if there are many. */
void aside_expect(struct write_op *op, const struct quern_slice *keys, size_t n, uint8_t database);
/* aside_run() for an op: carry `work` out elsewhere, then `then` here. */
void aside_submit(struct write_op *op, void (*work)(struct write_op *op),
                  void (*then)(struct write_op *op));
/* The same, with a work that reads the value of `key`, which the op holds, as of op->held into
 * op->value; its code and error are those of op->completion. */
void aside_read(struct write_op *op, struct quern_slice key, void (*then)(struct write_op *op));

/* A read of the loop's own, as of `held` (NULL: now): what is not in memory is BUSY. Into
 * loop->value. */
enum quern_code read_in_memory(struct loop *loop, uint8_t database, struct quern_slice key,
                               const struct held_snapshot *held, struct quern_error *err);

#endif
