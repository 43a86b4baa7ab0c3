/* work.h - what would hold a loop for long is done by a few threads beside the loops.
 *
 *     loop: work_submit() -> queue -> a worker: run() -> letter -> loop: letter.open()
 *
 * Whoever submits bounds how much he has under way. */
#ifndef SERVER_WORK_H
#define SERVER_WORK_H

#include "server/loop.h"

/* Something to do; it stands inside what it is about. */
struct work {
    struct letter letter; /* first; its `open` is called on `loop` when run() has returned */
    struct work *next;
    struct loop *loop;
    void (*run)(struct work *w); /* on a worker */
};

struct workers;

/* Errors: NO_MEMORY. On success *out is the caller's until workers_free(). */
MUST_USE enum quern_code workers_new(struct workers **out, struct quern_error *err);
void workers_free(struct workers *ws); /* ends the threads once the queue is empty; NULL is fine */

/* Until the letter is opened, `server->work` counts it: the store is not closed before. */
void work_submit(struct work *w);

#endif
