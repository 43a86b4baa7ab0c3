/* rcu.h - read sides without a lock: what a reader has found inside rcu_enter()..rcu_leave()
 * stays until it leaves.
 *
 * liburcu's "bulletproof" flavour: any thread may read, without registering. A reader may block
 * on I/O inside; that only delays the freeing of what others have retired. Sections nest.
 * Writers publish with a release store, then either rcu_wait() (never inside a section) or
 * rcu_retire().
 *
 * ThreadSanitizer does not see through liburcu's barriers, so under it the two ends of a grace
 * period are told to it by hand. */
#ifndef BASE_RCU_H
#define BASE_RCU_H

#include "base/attr.h"

#include <quern/types.h>

#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu-bp.h>

#if defined(__SANITIZE_THREAD__)
#define RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_TSAN 1
#endif
#endif

#ifdef RCU_TSAN
extern char rcu_tsan_period;
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define RCU_TSAN_RELEASE() __tsan_release(&rcu_tsan_period)
#define RCU_TSAN_ACQUIRE() __tsan_acquire(&rcu_tsan_period)
#else
#define RCU_TSAN_RELEASE() ((void)0)
#define RCU_TSAN_ACQUIRE() ((void)0)
#endif

static inline void rcu_enter(void)
{
    urcu_bp_read_lock();
}

static inline void rcu_leave(void)
{
    RCU_TSAN_RELEASE();
    urcu_bp_read_unlock();
}

/* Wait until every reader that was inside has left. */
void rcu_wait(void);

/* Have the thread that frees what is retired; without it all waits for rcu_drain(). Errors:
 * NO_MEMORY. */
MUST_USE enum quern_code rcu_start(struct quern_error *err);

/* Call retire(node) once every reader that is inside now has left, some milliseconds later, on a
 * thread of its own or in somebody's rcu_drain(). `node` stands first in, or inside, what is to be
 * freed. Never blocks. */
struct rcu_node {
    struct rcu_node *next;
    void (*retire)(struct rcu_node *node);
};
void rcu_retire(struct rcu_node *node, void (*retire)(struct rcu_node *node));

/* Call everything handed to rcu_retire() so far, and what these calls retire; never inside a
 * section. */
void rcu_drain(void);

#endif
