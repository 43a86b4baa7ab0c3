/* jolt.c - linked into a test with jolt_wraps: its threads are held up at random wherever they take
 * or leave a lock. What goes wrong only when a thread is put off in a bad moment, as on a busy
 * machine, then goes wrong here within seconds. The moments follow no seed. */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define ONE_IN 64
#define SHORT_US 300
#define LONG_US 3000 /* one in sixteen */

int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);

static void jolt(void)
{
    static __thread uint64_t random;
    struct timespec pause = {0, 0};

    if (random == 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &pause);
        random = ((uint64_t)pause.tv_nsec << 20 ^ (uintptr_t)&random) | 1;
    }
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    if ((random >> 20) % ONE_IN != 0)
        return;
    pause.tv_sec = 0;
    pause.tv_nsec = 1000 * ((random >> 40) % 16 == 0 ? LONG_US : (long)((random >> 44) % SHORT_US));
    (void)nanosleep(&pause, NULL);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    jolt();
    return __real_pthread_mutex_lock(m);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    int rc = __real_pthread_mutex_unlock(m);

    jolt();
    return rc;
}
