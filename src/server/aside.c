/* aside.c - the threads beside the loops.
 *
 *     loop: a read is BUSY --aside_submit()--> queue --> thread: work(), waits for the disk
 *           then() <---- letter ----------------------------'
 *
 * Threads are started as they are needed, up to a number that keeps a disk busy: a store that lies
 * in memory never has one. They take the ops one by one, since what they wait for overlaps. */
#include "server/aside.h"

#include "server/conn.h"

#include "base/error.h"

void aside_init(struct aside *aside)
{
    mutex_init(&aside->mu);
    cond_init(&aside->wake);
    aside->last = &aside->first;
}

static void open_then(struct letter *letter)
{
    struct write_op *op = (struct write_op *)letter;
    struct conn *c = op->conn;

    c->asides--;
    loop_mark(c->loop, c);
    op->then(op);
}

static void carry_out(struct write_op *op)
{
    op->work(op);
    op->letter.open = open_then;
    loop_post(op->conn->loop, &op->letter);
}

static void *aside_main(void *arg)
{
    struct aside *aside = arg;

    mutex_lock(&aside->mu);
    while (!aside->stopping) {
        struct letter *letter = aside->first;

        if (letter == NULL) {
            aside->idle++;
            cond_wait(&aside->wake, &aside->mu);
            aside->idle--;
            continue;
        }
        aside->first = letter->next;
        if (aside->first == NULL)
            aside->last = &aside->first;
        mutex_unlock(&aside->mu);
        carry_out((struct write_op *)letter);
        mutex_lock(&aside->mu);
    }
    mutex_unlock(&aside->mu);
    return NULL;
}

void aside_stop(struct aside *aside)
{
    mutex_lock(&aside->mu);
    aside->stopping = true;
    cond_broadcast(&aside->wake);
    mutex_unlock(&aside->mu);
    for (unsigned i = 0; i < aside->threads; i++)
        (void)pthread_join(aside->thread[i], NULL);
    cond_done(&aside->wake);
    mutex_done(&aside->mu);
}

/* Is there a thread that will come to this op? */
static bool enqueue(struct aside *aside, struct write_op *op)
{
    struct quern_error ignored;
    bool served;

    op->letter.next = NULL;
    mutex_lock(&aside->mu);
    if (aside->idle == 0 && aside->threads < ASIDE_THREADS_MAX &&
        thread_start(&aside->thread[aside->threads], "quernd-aside", aside_main, aside, &ignored) ==
            QUERN_OK)
        aside->threads++;
    served = aside->threads > 0;
    if (served) {
        *aside->last = &op->letter;
        aside->last = &op->letter.next;
        cond_signal(&aside->wake);
    }
    mutex_unlock(&aside->mu);
    return served;
}

void aside_submit(struct write_op *op, void (*work)(struct write_op *op),
                  void (*then)(struct write_op *op))
{
    op->work = work;
    op->then = then;
    op->conn->asides++;
    if (!enqueue(&op->conn->loop->server->aside, op))
        carry_out(op);
}

static void work_read(struct write_op *op)
{
    op->completion.code = quern_get(op->conn->loop->server->db, op->aside_key, NULL, &op->value,
                                    &op->completion.error);
}

void aside_read(struct write_op *op, struct quern_slice key, void (*then)(struct write_op *op))
{
    op->aside_key = key;
    err_clear(&op->completion.error);
    aside_submit(op, work_read, then);
}

enum quern_code read_in_memory(struct loop *loop, struct quern_slice key, struct quern_error *err)
{
    static const struct quern_read_opts opts = {.cached = true};

    return quern_get(loop->server->db, key, &opts, &loop->value, err);
}
