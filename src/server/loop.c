/* loop.c - the turn of a loop.
 *
 *     sleep in epoll -> sockets are read into their connections' buffers, which become dirty
 *                    -> letters (completed writes, granted deletes) make theirs dirty
 *                    -> settle: each dirty connection runs: requests are parsed and carried out,
 *                       reads gathered in a batch (reads.h), writes in a hand
 *                       the batch is one get, and answers those who asked
 *                       the hand goes to the store: one step for the writes of all connections,
 *                       which share a commit group and a sync; where nothing needs to wait, they
 *                       are done there and then (quern_hand_over())
 *                       connections whose writes are done run again; all that is ready leaves in
 *                       one write for each
 *                       what would wait for the disk goes to the threads beside the loops, in one
 *                       step too (aside.c)
 *                    -> sleep
 *
 * So everything that one waking brings is answered together.
 *
 * The inbox is a stack that any thread pushes to and the loop takes whole. Of the writes that
 * complete together in a thread of the store's, the last one wakes the loop. Settling happens after
 * polling and again before it, so that nothing that became dirty in a timer sleeps through. */
#include "server/loop.h"

#include "server/compress.h"
#include "server/conn.h"
#include "server/observe/observe.h"
#include "server/pool.h"
#include "server/reads.h"
#include "server/redis/redis.h"
#include "server/observe/say.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 100

static _Thread_local struct loop *loop_here;

bool loop_is_here(const struct loop *loop)
{
    return loop_here == loop;
}

void loop_mark(struct loop *loop, struct conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->dirty_next = NULL;
    *loop->dirty_last = conn;
    loop->dirty_last = &conn->dirty_next;
}

void loop_mark_later(struct loop *loop, struct conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->dirty_next = NULL;
    *loop->later_last = conn;
    loop->later_last = &conn->dirty_next;
}

/* Hand over the writes of this turn; then those who wait for that have theirs. True when there were
 * any. */
static bool hand_over(struct loop *loop)
{
    reads_run(loop); /* what they show is older than the writes */
    if (loop->hand.count_ == 0 && loop->later == NULL)
        return false;
    quern_hand_over(loop->server->db, &loop->hand);
    if (loop->later != NULL) {
        *loop->dirty_last = loop->later;
        loop->dirty_last = loop->later_last;
        loop->later = NULL;
        loop->later_last = &loop->later;
    }
    return true;
}

void loop_post_quietly(struct loop *loop, struct letter *letter)
{
    struct letter *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);

    do {
        letter->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, letter,
                                                    memory_order_release, memory_order_relaxed));
}

void loop_post(struct loop *loop, struct letter *letter)
{
    loop_post_quietly(loop, letter);
    if (!loop_is_here(loop))
        (void)uv_async_send(&loop->wake); /* no system call while one is under way */
}

void loop_signal(struct loop *loop, unsigned bits)
{
    atomic_fetch_or(&loop->signals, bits);
    (void)uv_async_send(&loop->wake);
}

/* True when there was anything. */
static bool open_letters(struct loop *loop)
{
    struct letter *taken = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    struct letter *ordered = NULL;

    if (taken == NULL)
        return false;
    loop->measure.now = ticks_now();
    while (taken != NULL) {
        struct letter *next = taken->next;

        taken->next = ordered;
        ordered = taken;
        taken = next;
    }
    while (ordered != NULL) {
        struct letter *next = ordered->next;

        ordered->open(ordered);
        ordered = next;
    }
    return true;
}

static void close_handles(struct loop *loop)
{
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->tick, NULL);
    uv_close((uv_handle_t *)&loop->before, NULL);
    uv_close((uv_handle_t *)&loop->after, NULL);
}

static void heed_signals(struct loop *loop)
{
    unsigned bits = atomic_exchange(&loop->signals, 0);

    if (bits == 0)
        return;
    for (struct conn *c = loop->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (bits & LOOP_CUT && !c->watching) {
            /* One that was idle ends as it would have in the drain: nobody misses a reply. */
            count(&loop->server->counters.connections_cut, conn_is_busy(c));
            conn_cut(c);
        } else if (bits & LOOP_QUIT) {
            conn_cut(c);
        } else {
            resp_heed(c);
            loop_mark(loop, c);
        }
    }
    if (bits & LOOP_QUIT && !loop->quitting) {
        loop->quitting = true;
        close_handles(loop);
    }
}

static void keep_date(struct loop *loop)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != loop->date_at) {
        loop->date_at = now.tv_sec;
        http_date(now.tv_sec, loop->date);
    }
}

static void settle(struct loop *loop)
{
    bool again;

    keep_date(loop);
    guard_keep(loop);
    heed_signals(loop);
    do {
        again = open_letters(loop);
        while (loop->dirty != NULL) {
            struct conn *c = loop->dirty;

            loop->dirty = c->dirty_next;
            if (loop->dirty == NULL)
                loop->dirty_last = &loop->dirty;
            c->dirty = false;
            conn_run(c);
            measure_handed(&loop->measure);
            again = true;
        }
        again |= hand_over(loop);
        if (!again)
            again = aside_hand_over(loop);
    } while (again);
    observe_flush(loop);
    atomic_store_explicit(&loop->allocations, alloc_calls_here(), memory_order_relaxed);
}

static void on_before(uv_prepare_t *handle)
{
    settle(handle->data);
}

static void on_after(uv_check_t *handle)
{
    settle(handle->data);
}

static void on_wake(uv_async_t *handle)
{
    (void)handle; /* waking was all; on_after() settles */
}

static void on_tick(uv_timer_t *handle)
{
    struct loop *loop = handle->data;

    loop->clock_ms += TICK_MS;
    if (loop->number == 0)
        snapshots_sweep(&loop->server->snapshots);
    for (struct conn *c = loop->conns, *next; c != NULL; c = next) {
        next = c->next;
        conn_check_time(c);
    }
}

static void *loop_main(void *arg)
{
    struct loop *loop = arg;

    loop_here = loop;
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

static void loop_free(struct loop *loop)
{
    pool_free(loop);
    access_unref(loop->access);
    quern_value_done(&loop->value);
    reads_free(loop->reads);
    for (unsigned i = 0; i < LOOP_VALUES; i++)
        quern_value_done(&loop->many[i]);
    buf_done(&loop->key);
    buf_done(&loop->text);
    buf_done(&loop->lines);
    buf_done(&loop->records);
    compressor_free(loop->compressor);
    buf_done(&loop->sealed);
    measure_free(&loop->measure);
    alloc_free(loop);
}

enum quern_code loop_start(struct server *server, unsigned number, struct loop **out,
                           struct quern_error *err)
{
    struct loop *loop = NEW(struct loop);
    int rc;

    if (loop == NULL)
        return err_memory(err, "an event loop");
    loop->server = server;
    loop->number = number;
    loop->id_bytes =
        (size_t)snprintf(loop->id_begins, sizeof(loop->id_begins), "%s%u-", server->run, number);
    loop->dirty_last = &loop->dirty;
    loop->later_last = &loop->later;
    aside_init_loop(loop);
    loop->reads = reads_new();
    if (loop->reads == NULL || !measure_init(&loop->measure)) {
        reads_free(loop->reads);
        alloc_free(loop);
        return err_memory(err, "an event loop");
    }
    rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        loop_free(loop);
        return err_sys(err, -rc, "start an event loop");
    }
    loop->wake.data = loop->tick.data = loop->before.data = loop->after.data = loop;
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (rc != 0) {
        (void)uv_loop_close(&loop->uv);
        loop_free(loop);
        return err_sys(err, -rc, "start an event loop");
    }
    /* These cannot fail (libuv's documentation). */
    (void)uv_timer_init(&loop->uv, &loop->tick);
    (void)uv_timer_start(&loop->tick, on_tick, TICK_MS, TICK_MS);
    (void)uv_prepare_init(&loop->uv, &loop->before);
    (void)uv_prepare_start(&loop->before, on_before);
    (void)uv_check_init(&loop->uv, &loop->after);
    (void)uv_check_start(&loop->after, on_after);
    if (thread_start(&loop->thread, "quernd-loop", loop_main, loop, err) != QUERN_OK) {
        close_handles(loop);
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
        (void)uv_loop_close(&loop->uv);
        loop_free(loop);
        return err->code;
    }
    *out = loop;
    return QUERN_OK;
}

void loop_join(struct loop *loop)
{
    (void)pthread_join(loop->thread, NULL);
    /* What was posted while the loop went down. */
    loop_here = loop;
    (void)open_letters(loop);
    loop_here = NULL;
    (void)uv_loop_close(&loop->uv);
    loop_free(loop);
}

struct arrival {
    struct letter letter;
    struct loop *loop;
    int fd;
    enum door door;
    bool tls;
};

static void open_arrival(struct letter *letter)
{
    struct arrival *a = (struct arrival *)letter;

    if (a->loop->quitting || !conn_open(a->loop, a->fd, a->door, a->tls)) {
        (void)close(a->fd);
        atomic_fetch_sub(&a->loop->server->connections, 1);
    }
    alloc_free(a);
}

void loop_adopt(struct loop *loop, int fd, enum door door, bool tls)
{
    struct arrival *a = NEW(struct arrival);

    if (a == NULL) {
        (void)close(fd);
        return;
    }
    *a = (struct arrival){{NULL, open_arrival}, loop, fd, door, tls};
    atomic_fetch_add(&loop->server->connections, 1);
    loop_post(loop, &a->letter);
}
