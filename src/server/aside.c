/* aside.c - the threads beside the loops.
 *
 *     loop: a read is BUSY --aside_run()--> asides of the loop
 *           the end of its turn --aside_hand_over()--> queue --> thread: some of them: prefetch all,
 *                                                                        run() each, as they come
 *           then() of each <---- letters, one waking for them all -----------------'
 *
 * Threads are started as they are needed, up to a number that keeps a disk busy: a store that lies
 * in memory never has one. The misses of one turn are handed over in one step, and a thread takes a
 * bundle of those that said what they will read: their blocks are all begun before it waits for the
 * first, so a bundle waits about as long as one of its reads, and being woken, the queue's lock and the
 * way back are paid for once (docs/decisions/0033). What did not say so is taken alone. Those that take long
 * wait behind the others, and half of the threads never have one: no number of exports and imports
 * keeps a get from its block. */
#include "server/aside.h"

#include "server/conn.h"
#include "server/loop.h"
#include "server/rest/reach.h"

#include "base/error.h"

#define BUNDLE_MAX 16u /* tasks that a thread takes at a time: so many reads it has under way */
#define KEYS_MAX 64u   /* that are begun in one step */

static void queue_init(struct task_queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
    queue->count = queue->reads = 0;
}

static void queue_add(struct task_queue *queue, struct task *task)
{
    task->letter.next = NULL;
    *queue->last = &task->letter;
    queue->last = &task->letter.next;
    queue->count++;
    queue->reads += task->reads.count > 0;
}

static struct task *queue_take(struct task_queue *queue)
{
    struct task *task = (struct task *)queue->first;

    queue->first = task->letter.next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    queue->count--;
    queue->reads -= task->reads.count > 0;
    return task;
}

void aside_init_loop(struct loop *loop)
{
    queue_init(&loop->asides);
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

/* What they will read begins to be read. */
static void prefetch(struct task *const *some, unsigned n)
{
    struct quern *db = some[0]->loop->server->db;
    struct quern_read_opts opts = {.database = some[0]->reads.database};
    struct quern_slice keys[KEYS_MAX];
    size_t count = 0;

    for (unsigned i = 0; i < n; i++)
        for (size_t k = 0; k < some[i]->reads.count; k++) {
            if (count == KEYS_MAX || some[i]->reads.database != opts.database) {
                quern_prefetch(db, keys, count, &opts);
                opts.database = some[i]->reads.database;
                count = 0;
            }
            keys[count++] = some[i]->reads.keys[k];
        }
    quern_prefetch(db, keys, count, &opts);
}

/* All of one loop, which is woken for the last. */
static void carry_out(struct task *const *some, unsigned n)
{
    if (n > 1) /* one alone would wait for it next */
        prefetch(some, n);
    for (unsigned i = 0; i < n; i++) {
        struct task *task = some[i];

        task->run(task);
        task->letter.open = open_then;
        if (i + 1 < n)
            loop_post_quietly(task->loop, &task->letter);
        else
            loop_post(task->loop, &task->letter);
    }
}

static bool fits_in(const struct letter *next, const struct task *first)
{
    const struct task *task = (const struct task *)next;

    return task != NULL && task->loop == first->loop && task->reads.count > 0;
}

/* What a thread may begin next, at most BUNDLE_MAX; 0: nothing. */
static unsigned take_some(struct aside *aside, struct task **some)
{
    unsigned n = 0;

    if (aside->brief.count > 0) {
        some[n++] = queue_take(&aside->brief);
        while (some[0]->reads.count > 0 && n < BUNDLE_MAX && fits_in(aside->brief.first, some[0]))
            some[n++] = queue_take(&aside->brief);
    } else if (aside->slow.count > 0 && aside->slow_running < ASIDE_LONG_MAX) {
        some[n++] = queue_take(&aside->slow);
    }
    return n;
}

static void *aside_main(void *arg)
{
    struct aside *aside = arg;
    struct task *some[BUNDLE_MAX];

    mutex_lock(&aside->mu);
    while (!aside->stopping) {
        unsigned n = take_some(aside, some);
        bool takes_long;

        if (n == 0) {
            aside->idle++;
            cond_wait(&aside->wake, &aside->mu);
            aside->idle--;
            continue;
        }
        takes_long = some[0]->takes_long;
        aside->slow_running += takes_long;
        mutex_unlock(&aside->mu);
        carry_out(some, n);
        mutex_lock(&aside->mu);
        aside->slow_running -= takes_long;
        if (takes_long && aside->slow.count > 0)
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

void aside_run(struct task *task)
{
    atomic_fetch_add(&task->loop->server->tasks, 1);
    queue_add(&task->loop->asides, task);
}

/* So many threads have something to do. */
static unsigned wanted_locked(const struct aside *aside)
{
    const struct task_queue *brief = &aside->brief, *slow = &aside->slow;
    unsigned slow_left = ASIDE_LONG_MAX - aside->slow_running;

    mutex_assert_held(&aside->mu);
    return (brief->reads + BUNDLE_MAX - 1) / BUNDLE_MAX + (brief->count - brief->reads) +
           (slow->count < slow_left ? slow->count : slow_left);
}

static void start_threads_locked(struct aside *aside, unsigned wanted)
{
    struct quern_error ignored;

    mutex_assert_held(&aside->mu);
    for (unsigned n = aside->idle; n < wanted && aside->threads < ASIDE_THREADS_MAX; n++) {
        if (thread_start(&aside->thread[aside->threads], "quernd-aside", aside_main, aside,
                         &ignored) != QUERN_OK)
            break;
        aside->threads++;
    }
}

static void move_all(struct task_queue *from, struct task_queue *to)
{
    while (from->count > 0)
        queue_add(to, queue_take(from));
}

/* Queue what waits in the loop; where there is no thread, it comes back. Returns how many are to be
 * woken for it. */
static unsigned enqueue(struct aside *aside, struct task_queue *of_loop)
{
    unsigned wanted, idle;

    mutex_lock(&aside->mu);
    while (of_loop->count > 0) {
        struct task *task = queue_take(of_loop);

        queue_add(task->takes_long ? &aside->slow : &aside->brief, task);
    }
    wanted = wanted_locked(aside);
    start_threads_locked(aside, wanted);
    if (aside->threads == 0) {
        move_all(&aside->brief, of_loop);
        move_all(&aside->slow, of_loop);
    }
    idle = aside->idle;
    mutex_unlock(&aside->mu);
    return wanted < idle ? wanted : idle;
}

bool aside_hand_over(struct loop *loop)
{
    struct aside *aside = &loop->server->aside;
    unsigned asleep;
    bool none;

    if (loop->asides.count == 0)
        return false;
    asleep = enqueue(aside, &loop->asides);
    while (asleep-- > 0) /* without the lock, which they would meet */
        cond_signal(&aside->wake);
    none = loop->asides.count > 0;
    while (loop->asides.count > 0) {
        struct task *task = queue_take(&loop->asides);

        carry_out(&task, 1);
    }
    return none;
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
    op->task.reads.count = 0; /* what it said holds for one step */
    loop_mark(c->loop, c);
    op->then(op);
}

void aside_expect(struct write_op *op, const struct quern_slice *keys, size_t n, uint8_t database)
{
    if (n <= KEYS_MAX) /* else others of its bundle would wait for it */
        op->task.reads = (struct reads_ahead){keys, n, database};
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
    aside_expect(op, &op->aside_key, 1, op->database);
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
