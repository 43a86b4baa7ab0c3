/* cut.c - the process ends inside a call of the system: before it, after it, or with half of a
 * write done. A kill from outside seldom comes in the few microseconds that matter; this one always
 * does.
 *
 * The library's calls that change a file come here, because a program's own functions go before
 * those of libc. */
#include "stress.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic uint64_t left;
static unsigned way; /* 0: before the call, 1: in the middle of a write, 2: after it */

void cut_at(uint64_t change, uint64_t seed)
{
    way = (unsigned)(seed % 3);
    atomic_store(&left, change);
}

static _Noreturn void end(void)
{
    for (;;)
        (void)kill(getpid(), SIGKILL);
}

/* Is this the one? */
static bool now(void)
{
    bool yes =
        atomic_load_explicit(&left, memory_order_relaxed) != 0 && atomic_fetch_sub(&left, 1) == 1;

    if (yes && way == 0)
        end();
    return yes;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    bool last = now();
    ssize_t put = syscall(SYS_pwrite64, fd, bytes, last && way == 1 ? len / 2 : len, at);

    if (last)
        end();
    return put;
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at)
{
    bool last = now();
    long put =
        syscall(SYS_pwritev, fd, pieces, last && way == 1 ? (count + 1) / 2 : count, (long)at, 0L);

    if (last)
        end();
    return put;
}

/* A call that is done or not. */
static int whole(bool last, long result)
{
    if (last)
        end();
    return (int)result;
}

int fdatasync(int fd)
{
    bool last = now();

    return whole(last, syscall(SYS_fdatasync, fd));
}

int fsync(int fd)
{
    bool last = now();

    return whole(last, syscall(SYS_fsync, fd));
}

int ftruncate(int fd, off_t len)
{
    bool last = now();

    return whole(last, syscall(SYS_ftruncate, fd, len));
}

int unlinkat(int dir, const char *name, int flags)
{
    bool last = now();

    return whole(last, syscall(SYS_unlinkat, dir, name, flags));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    bool last = now();

    return whole(last, syscall(SYS_renameat2, from_dir, from, to_dir, to, 0));
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    bool last = now();

    return whole(last, syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}
