/* aside.c - the threads beside the loops.
 *
 *     loop: a read is BUSY --aside_run()--> queue --> thread: run(), waits for the disk
 *           then() <---- letter -------------------------'
 *
 * Threads are started as they are needed, up to a number that keeps a disk busy: a store that lies
 * in memory never has one. They take the tasks one by one, since what they wait for overlaps. Those
 * that take long wait behind the others, and half of the threads never have one: no number of
 * exports and imports keeps a get from its block. */
#include "server/aside.h"

#include "server/conn.h"
#include "server/rest/reach.h"

#include "base/error.h"

static void queue_init(struct task_queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_add(struct task_queue *queue, struct letter *letter)
{
    letter->next = NULL;
    *queue->last = letter;
    queue->last = &letter->next;
}

static struct task *queue_take(struct task_queue *queue)
{
    struct letter *letter = queue->first;

    queue->first = letter->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return (struct task *)letter;
}

void aside_init(struct aside *aside)
{
    mutex_init(&aside->mu);
    cond_init(&aside->wake);
    queue_init(&aside->brief);
    queue_init(&aside->slow);
}

static void open_then(struct letter *letter)
{
    struct task *task = (struct task *)letter;
    struct server *server = task->loop->server;

    task->then(task);
    atomic_fetch_sub(&server->tasks, 1);
}

static void carry_out(struct task *task)
{
    task->run(task);
    task->letter.open = open_then;
    loop_post(task->loop, &task->letter);
}

/* The next that a thread may begin, or NULL. */
static struct task *next_task(struct aside *aside)
{
    if (aside->brief.first != NULL)
        return queue_take(&aside->brief);
    if (aside->slow.first != NULL && aside->slow_running < ASIDE_LONG_MAX)
        return queue_take(&aside->slow);
    return NULL;
}

static void *aside_main(void *arg)
{
    struct aside *aside = arg;

    mutex_lock(&aside->mu);
    while (!aside->stopping) {
        struct task *task = next_task(aside);
        bool takes_long;

        if (task == NULL) {
            aside->idle++;
            cond_wait(&aside->wake, &aside->mu);
            aside->idle--;
            continue;
        }
        takes_long = task->takes_long;
        aside->slow_running += takes_long;
        mutex_unlock(&aside->mu);
        carry_out(task);
        mutex_lock(&aside->mu);
        aside->slow_running -= takes_long;
        if (takes_long && aside->slow.first != NULL)
            cond_signal(&aside->wake); /* this thread may have something brief to do first */
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

/* Is there a thread that will come to this task? */
static bool enqueue(struct aside *aside, struct task *task)
{
    struct quern_error ignored;
    bool served;

    mutex_lock(&aside->mu);
    if (aside->idle == 0 && aside->threads < ASIDE_THREADS_MAX &&
        thread_start(&aside->thread[aside->threads], "quernd-aside", aside_main, aside, &ignored) ==
            QUERN_OK)
        aside->threads++;
    served = aside->threads > 0;
    if (served) {
        queue_add(task->takes_long ? &aside->slow : &aside->brief, &task->letter);
        cond_signal(&aside->wake);
    }
    mutex_unlock(&aside->mu);
    return served;
}

void aside_run(struct task *task)
{
    struct server *server = task->loop->server;

    atomic_fetch_add(&server->tasks, 1);
    if (!enqueue(&server->aside, task))
        carry_out(task);
}

/* ------------------------------------------------------------------ ops -- */

static void run_op(struct task *task)
{
    struct write_op *op = (struct write_op *)task;

    op->work(op);
}

static void then_op(struct task *task)
{
    struct write_op *op = (struct write_op *)task;
    struct conn *c = op->conn;

    c->asides--;
    loop_mark(c->loop, c);
    op->then(op);
}

void aside_submit(struct write_op *op, void (*work)(struct write_op *op),
                  void (*then)(struct write_op *op))
{
    op->work = work;
    op->then = then;
    op->task.loop = op->conn->loop;
    op->task.run = run_op;
    op->task.then = then_op;
    op->conn->asides++;
    aside_run(&op->task);
}

static void work_read(struct write_op *op)
{
    struct quern_read_opts opts = {.snapshot = reach_view(op->held), .database = op->database};

    op->completion.code = quern_get(op->conn->loop->server->db, op->aside_key, &opts, &op->value,
                                    &op->completion.error);
}

void aside_read(struct write_op *op, struct quern_slice key, void (*then)(struct write_op *op))
{
    op->aside_key = key;
    err_clear(&op->completion.error);
    aside_submit(op, work_read, then);
}

enum quern_code read_in_memory(struct loop *loop, uint8_t database, struct quern_slice key,
                               const struct held_snapshot *held, struct quern_error *err)
{
    struct quern_read_opts opts = {
        .snapshot = reach_view(held), .cached = true, .database = database};

    return quern_get(loop->server->db, key, &opts, &loop->value, err);
}
