/* aside.h - a few threads that may wait for the disk, so that no loop does.
 *
 * An op whose next step would read from disk is given here. `work` runs on one of these threads and
 * touches nothing of the connection but what the op itself holds; then `then` runs on the op's loop.
 * Until that, nothing joins the op on its connection but what is read aside too. What waits is
 * bounded by what connections may have under way. Locks itself. */
#ifndef SERVER_ASIDE_H
#define SERVER_ASIDE_H

#include "base/thread.h"

#include <quern/quern.h>

#define ASIDE_THREADS_MAX 32u /* as many reads as a disk does well at a time */

struct letter;
struct loop;
struct write_op;

struct aside {
    struct mutex mu;
    struct cond wake;
    struct letter *first, **last; /* ops that wait, oldest first */
    unsigned threads, idle;
    bool stopping;
    pthread_t thread[ASIDE_THREADS_MAX];
};

void aside_init(struct aside *aside);
void aside_stop(struct aside *aside); /* nothing waits any more: end the threads */

/* Carry `work` out elsewhere, then `then` here. A thread is started when none is idle; without any,
 * the loop has to do it itself. */
void aside_submit(struct write_op *op, void (*work)(struct write_op *op),
                  void (*then)(struct write_op *op));
/* The same, with a work that reads the value of `key`, which the op holds, into op->value; its code
 * and error are those of op->completion. */
void aside_read(struct write_op *op, struct quern_slice key, void (*then)(struct write_op *op));

/* A read of the loop's own: what is not in memory is BUSY. Into loop->value. */
enum quern_code read_in_memory(struct loop *loop, struct quern_slice key, struct quern_error *err);

#endif
