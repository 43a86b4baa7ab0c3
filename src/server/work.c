/* work.c - a queue and its threads. */
#include "server/work.h"

#include "base/alloc.h"
#include "base/error.h"

#define WORKERS 4u

struct workers {
    struct mutex mu;
    struct cond more;
    struct work *first, **last_next; /* guarded by mu */
    bool ending;                     /* guarded by mu */
    pthread_t threads[WORKERS];
    unsigned count;
};

static struct work *take(struct workers *ws)
{
    struct work *w;

    mutex_lock(&ws->mu);
    while (ws->first == NULL && !ws->ending)
        cond_wait(&ws->more, &ws->mu);
    w = ws->first;
    if (w != NULL) {
        ws->first = w->next;
        if (ws->first == NULL)
            ws->last_next = &ws->first;
    }
    mutex_unlock(&ws->mu);
    return w;
}

static void *worker_main(void *arg)
{
    struct workers *ws = arg;
    struct work *w;

    while ((w = take(ws)) != NULL) {
        w->run(w);
        loop_post(w->loop, &w->letter);
    }
    return NULL;
}

enum quern_code workers_new(struct workers **out, struct quern_error *err)
{
    struct workers *ws = NEW(struct workers);

    if (ws == NULL)
        return err_memory(err, "workers");
    mutex_init(&ws->mu);
    cond_init(&ws->more);
    ws->last_next = &ws->first;
    for (; ws->count < WORKERS; ws->count++) {
        if (thread_start(&ws->threads[ws->count], "quernd-work", worker_main, ws, err)) {
            workers_free(ws);
            return err->code;
        }
    }
    *out = ws;
    return QUERN_OK;
}

void workers_free(struct workers *ws)
{
    if (ws == NULL)
        return;
    mutex_lock(&ws->mu);
    ws->ending = true;
    cond_broadcast(&ws->more);
    mutex_unlock(&ws->mu);
    for (unsigned i = 0; i < ws->count; i++)
        (void)pthread_join(ws->threads[i], NULL);
    cond_done(&ws->more);
    mutex_done(&ws->mu);
    alloc_free(ws);
}

void work_submit(struct work *w)
{
    struct workers *ws = w->loop->server->workers;

    atomic_fetch_add(&w->loop->server->work, 1);
    w->next = NULL;
    mutex_lock(&ws->mu);
    *ws->last_next = w;
    ws->last_next = &w->next;
    cond_signal(&ws->more);
    mutex_unlock(&ws->mu);
}
