/* rcu.c - grace periods; see rcu.h. */
#include "base/rcu.h"

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
