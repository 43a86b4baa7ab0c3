/* rcu.c - grace periods; see rcu.h.
 *
 *     rcu_retire --> [ retired, newest first ] --> reap: take all, wait one grace period, call each
 *                                                    ^               ^
 *                        the reaper's thread, a millisecond later    rcu_drain, at once
 *
 * liburcu's call_rcu would do it too, but it looks only every ten milliseconds, so closing a store
 * took some thirty and an evicted block counted as long; and it ends the process where it cannot
 * have its thread. */
#include "base/rcu.h"

#include "base/thread.h"

#include <semaphore.h>
#include <stdatomic.h>

/* How long to let retired things gather, so that a stream of them shares grace periods. */
#define GATHER_NS UINT64_C(1000000)

#ifdef RCU_TSAN
char rcu_tsan_period;
#endif

static _Atomic(struct rcu_node *) retired;
static pthread_mutex_t reap_mu = PTHREAD_MUTEX_INITIALIZER; /* from the taking to the last call */
static pthread_mutex_t start_mu = PTHREAD_MUTEX_INITIALIZER;
static bool started;          /* guarded by start_mu */
static atomic_bool listening; /* the reaper is to be told; what came before it looks for itself */
static sem_t work;            /* posted when something is retired while nothing else is */

void rcu_wait(void)
{
    urcu_bp_synchronize_rcu();
    RCU_TSAN_ACQUIRE();
}

static struct rcu_node *oldest_first(struct rcu_node *list)
{
    struct rcu_node *turned = NULL;

    while (list != NULL) {
        struct rcu_node *next = list->next;

        list->next = turned;
        turned = list;
        list = next;
    }
    return turned;
}

static void reap(void)
{
    struct rcu_node *list;

    (void)pthread_mutex_lock(&reap_mu);
    list = oldest_first(atomic_exchange(&retired, NULL));
    if (list != NULL)
        rcu_wait();
    while (list != NULL) {
        struct rcu_node *next = list->next;

        list->retire(list);
        list = next;
    }
    (void)pthread_mutex_unlock(&reap_mu);
}

static void *reaper(void *arg)
{
    atomic_store(&listening, true);
    reap();
    for (;;) {
        if (sem_wait(&work) == 0) {
            thread_sleep_ns(GATHER_NS);
            reap();
        }
    }
    return arg;
}

/* A child has no reaper, and what waited for the parent's stays unfreed in it. */
static void forget_parent(void)
{
    urcu_bp_after_fork_child();
    atomic_store(&retired, NULL);
    (void)pthread_mutex_init(&reap_mu, NULL);
    (void)pthread_mutex_init(&start_mu, NULL);
    started = false;
    atomic_store(&listening, false);
}

static void watch_forks(void)
{
    (void)pthread_atfork(urcu_bp_before_fork, urcu_bp_after_fork_parent, forget_parent);
}

enum quern_code rcu_start(struct quern_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    enum quern_code code = QUERN_OK;
    pthread_t thread;

    (void)pthread_once(&once, watch_forks);
    (void)pthread_mutex_lock(&start_mu);
    if (!started) {
        (void)sem_init(&work, 0, 0);
        code = thread_start(&thread, "quern-reaper", reaper, NULL, err);
        if (code == QUERN_OK)
            (void)pthread_detach(thread);
        started = code == QUERN_OK;
    }
    (void)pthread_mutex_unlock(&start_mu);
    return code;
}

void rcu_retire(struct rcu_node *node, void (*retire)(struct rcu_node *node))
{
    struct rcu_node *before = atomic_load_explicit(&retired, memory_order_relaxed);

    node->retire = retire;
    RCU_TSAN_RELEASE();
    do
        node->next = before;
    while (!atomic_compare_exchange_weak(&retired, &before, node));
    if (before == NULL && atomic_load(&listening))
        (void)sem_post(&work);
}

void rcu_drain(void)
{
    do /* what is freed may retire more */
        reap();
    while (atomic_load_explicit(&retired, memory_order_relaxed) != NULL);
}
