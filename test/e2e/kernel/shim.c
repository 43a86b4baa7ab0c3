/* shim.c - a kernel with other habits, loaded before libc (LD_PRELOAD) by test_kernel.py.
 *
 *     SHIM_SHORT=1     reads and writes do half of what they are asked, and every third is
 *                      interrupted first: both allowed by POSIX, both rare on Linux
 *     SHIM_CLOCK=FILE  the wall clock is off by so many seconds as the text of FILE says, now */
#undef _FORTIFY_SOURCE /* it defines some of these calls inline, and they are to be ours */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static bool is_short(void)
{
    static int on = -1;

    if (on < 0)
        on = getenv("SHIM_SHORT") != NULL;
    return on == 1;
}

static bool interrupted(void)
{
    static unsigned calls;

    if (!is_short() || __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) % 3 != 0)
        return false;
    errno = EINTR;
    return true;
}

/* Direct writes must stay whole sectors. */
static size_t half(size_t len)
{
    if (!is_short() || len < 2)
        return len;
    return len >= 8192 ? len / 2 / 4096 * 4096 : len % 4096 == 0 ? len : len / 2;
}

EXPORT ssize_t pwrite64(int fd, const void *from, size_t len, off_t at);
EXPORT ssize_t pwrite64(int fd, const void *from, size_t len, off_t at)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");

    return interrupted() ? -1 : real(fd, from, half(len), at);
}

EXPORT ssize_t pread64(int fd, void *to, size_t len, off_t at);
EXPORT ssize_t pread64(int fd, void *to, size_t len, off_t at)
{
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread64");

    return interrupted() ? -1 : real(fd, to, half(len), at);
}

/* Of several pieces the first alone, and of that a half. */
EXPORT ssize_t pwritev64(int fd, const struct iovec *pieces, int n, off_t at);
EXPORT ssize_t pwritev64(int fd, const struct iovec *pieces, int n, off_t at)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, "pwritev64");

    if (interrupted())
        return -1;
    if (is_short() && n > 0 && pieces->iov_len > 0) {
        struct iovec first = {pieces->iov_base, half(pieces->iov_len)};

        return real(fd, &first, 1, at);
    }
    return real(fd, pieces, n, at);
}

static time_t wall_offset(void)
{
    const char *name = getenv("SHIM_CLOCK");
    char text[32] = {0};
    int fd = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        (void)close(fd);
    return got > 0 ? (time_t)atol(text) : 0;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *to)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, to);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        to->tv_sec += wall_offset();
    return result;
}
