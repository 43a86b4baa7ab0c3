/* rcu.c - grace periods; see rcu.h. */
#include "base/rcu.h"

#include "base/error.h"
#include "base/thread.h"

#include <urcu-call-rcu.h>

#ifdef RCU_TSAN
char rcu_tsan_period;

/* liburcu frees on its own thread what urcu_bp_barrier() allocated on ours, ordered by barriers
 * that the sanitizer does not see. Only calls made by the library itself are passed over. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:liburcu-bp.so\n";
}
#endif

static void *do_nothing(void *arg)
{
    return arg;
}

/* A thread that is made and joined tells whether there is room for one, and leaves its stack for
 * the next. liburcu's own is made at once, while the answer holds. */
enum quern_code rcu_start(struct quern_error *err)
{
    pthread_t thread;

    if (thread_start(&thread, "quern-probe", do_nothing, NULL, err))
        return err->code;
    (void)pthread_join(thread, NULL);
    (void)urcu_bp_get_default_call_rcu_data();
    return QUERN_OK;
}

void rcu_wait(void)
{
    urcu_bp_synchronize_rcu();
    RCU_TSAN_ACQUIRE();
}

static void call_retire(struct rcu_head *head)
{
    struct rcu_node *node = caa_container_of(head, struct rcu_node, os);

    RCU_TSAN_ACQUIRE();
    node->retire(node);
    RCU_TSAN_RELEASE(); /* for rcu_drain() */
}

void rcu_retire(struct rcu_node *node, void (*retire)(struct rcu_node *node))
{
    node->retire = retire;
    RCU_TSAN_RELEASE();
    urcu_bp_call_rcu(&node->os, call_retire);
}

void rcu_drain(void)
{
    urcu_bp_barrier();
    RCU_TSAN_ACQUIRE();
}
