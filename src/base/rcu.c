/* rcu.c - grace periods; see rcu.h. */
#include "base/rcu.h"

#include <urcu-call-rcu.h>

#ifdef RCU_TSAN
char rcu_tsan_period;
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
