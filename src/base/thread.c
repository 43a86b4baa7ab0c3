/* thread.c - locks, conditions, threads; see thread.h. */
#include "base/thread.h"

#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void mutex_init(struct mutex *m)
{
    (void)pthread_mutex_init(&m->os, NULL);
    m->held = false;
}

void mutex_done(struct mutex *m)
{
    (void)pthread_mutex_destroy(&m->os);
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->os, &attr);
    (void)pthread_condattr_destroy(&attr);
}

void cond_done(struct cond *c)
{
    (void)pthread_cond_destroy(&c->os);
}

static void holder_leaves(struct mutex *m)
{
    mutex_assert_held(m);
    m->held = false;
}

static void holder_returns(struct mutex *m)
{
    m->holder = pthread_self();
    m->held = true;
}

void cond_wait(struct cond *c, struct mutex *m)
{
    holder_leaves(m);
    (void)pthread_cond_wait(&c->os, &m->os);
    holder_returns(m);
}

bool cond_wait_ms(struct cond *c, struct mutex *m, uint64_t ms)
{
    struct timespec until;
    int rc;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    holder_leaves(m);
    rc = pthread_cond_timedwait(&c->os, &m->os, &until);
    holder_returns(m);
    return rc != ETIMEDOUT;
}

uint32_t parking_wait(struct parking *p)
{
    uint32_t word;

    while ((word = atomic_load_explicit(&p->word, memory_order_acquire)) == 0)
        (void)syscall(SYS_futex, &p->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return word;
}

/* A wake at an address that something else uses by now wakes nobody, or one who looks again. */
void parking_tell(struct parking *p, uint32_t word)
{
    atomic_store_explicit(&p->word, word, memory_order_release);
    (void)syscall(SYS_futex, &p->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* What a new thread begins with; its own to free. */
struct beginning {
    const char *name;
    void *(*body)(void *);
    void *arg;
};

/* The name is given from inside: from outside it is a file below /proc to be opened. */
static void *begin(void *arg)
{
    struct beginning b = *(struct beginning *)arg;

    alloc_free(arg);
    (void)pthread_setname_np(pthread_self(), b.name);
    return b.body(b.arg);
}

enum quern_code thread_start(pthread_t *out, const char *name, void *(*body)(void *), void *arg,
                             struct quern_error *err)
{
    struct beginning *b = NEW(struct beginning);
    sigset_t all, before;
    int rc;

    if (b == NULL)
        return err_memory(err, "a thread");
    *b = (struct beginning){name, body, arg};
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(out, NULL, begin, b);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        alloc_free(b);
        /* which says EAGAIN where there is no memory, and where there are too many */
        return err_sys(err, rc == EAGAIN ? ENOMEM : rc, "start thread %s", name);
    }
    return QUERN_OK;
}

void thread_sleep_ns(uint64_t ns)
{
    struct timespec left = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        continue;
}
