/* thread.h - locks that know their holder, conditions with a deadline, and threads. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include "base/attr.h"

#include <quern/types.h>

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

struct mutex {
    pthread_mutex_t os;
    pthread_t holder; /* meaningful while held; guarded by os */
    bool held;
};

struct cond {
    pthread_cond_t os; /* waits on the monotonic clock */
};

void mutex_init(struct mutex *m);
void mutex_done(struct mutex *m);
void cond_init(struct cond *c);
void cond_done(struct cond *c);

static inline void mutex_lock(struct mutex *m)
{
    (void)pthread_mutex_lock(&m->os);
#ifndef NDEBUG
    m->holder = pthread_self();
    m->held = true;
#endif
}

/* Take it if nobody has it. */
static inline bool mutex_try(struct mutex *m)
{
    if (pthread_mutex_trylock(&m->os) != 0)
        return false;
#ifndef NDEBUG
    m->holder = pthread_self();
    m->held = true;
#endif
    return true;
}

static inline void mutex_unlock(struct mutex *m)
{
#ifndef NDEBUG
    m->held = false;
#endif
    (void)pthread_mutex_unlock(&m->os);
}

static inline void mutex_assert_held(const struct mutex *m)
{
    assert(m->held && pthread_equal(m->holder, pthread_self()));
    (void)m;
}

void cond_wait(struct cond *c, struct mutex *m);
/* True when woken, false when `ms` went by first. Both may come without cause: look again. */
bool cond_wait_ms(struct cond *c, struct mutex *m, uint64_t ms);

static inline void cond_signal(struct cond *c)
{
    (void)pthread_cond_signal(&c->os);
}

static inline void cond_broadcast(struct cond *c)
{
    (void)pthread_cond_broadcast(&c->os);
}

/* Where one thread sleeps until another tells it a word that is not 0. It needs no lock, so whoever
 * is woken has nothing to queue for. Zeroed is ready for use; once told, it is used up. */
struct parking {
    _Atomic uint32_t word;
};

/* Sleep until told. What the teller wrote before is seen after. */
uint32_t parking_wait(struct parking *p);
/* The memory of `p` may be gone as soon as the other thread has seen the word. */
void parking_tell(struct parking *p, uint32_t word);

/* Start a thread with every signal blocked. `name` has at most 15 letters. Errors: NO_MEMORY. */
MUST_USE enum quern_code thread_start(pthread_t *out, const char *name, void *(*body)(void *),
                                      void *arg, struct quern_error *err);

void thread_sleep_ns(uint64_t ns); /* signals do not cut it short */

#endif
