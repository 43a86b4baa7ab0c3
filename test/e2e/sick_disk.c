/* sick_disk.c - a disk that waits or fails when told to; the tests preload it into quernd.
 *
 * The directory $QUERN_SICK_DISK holds the orders, each an empty file that comes and goes while
 * the server runs:
 *     hold   whatever syncs waits for this file to go
 *     eio    whatever syncs fails with EIO, and has written nothing
 *     hold-reads  whatever reads a table waits for this file to go
 *     full   whatever is written, but zeros, fails with ENOSPC, and has written nothing
 *     no-loop     an event loop that reads a table ends the server
 *     back   no disk, but near it: the machine's clock is an hour behind
 * Each read of a table that is begun ahead of time adds a byte to the file `begun`.
 * Writes to a descriptor that syncs by itself (O_DSYNC) are syncs too. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

static bool ordered(const char *what)
{
    const char *dir = getenv("QUERN_SICK_DISK");
    char path[4096];

    if (dir == NULL)
        return false;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, what);
    return access(path, F_OK) == 0;
}

static bool fails(void)
{
    while (ordered("hold"))
        (void)usleep(2000);
    if (!ordered("eio"))
        return false;
    errno = EIO;
    return true;
}

static bool syncs_by_itself(int fd)
{
    int error = errno, flags = fcntl(fd, F_GETFL);

    errno = error;
    return flags >= 0 && (flags & O_DSYNC) != 0;
}

static bool is_table(int fd)
{
    char link[64], name[4096];
    ssize_t n;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, name, sizeof(name));
    return n > 4 && memcmp(name + n - 4, ".sst", 4) == 0;
}

static bool is_loop(void)
{
    char name[16] = "";

    return prctl(PR_GET_NAME, name) == 0 && strcmp(name, "quernd-loop") == 0;
}

SHOWN ssize_t pread64(int fd, void *to, size_t len, off64_t at)
{
    ssize_t (*real)(int, void *, size_t, off64_t) =
        (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");

    if (is_loop() && is_table(fd) && ordered("no-loop"))
        abort();
    while (ordered("hold-reads") && is_table(fd))
        (void)usleep(2000);
    return real(fd, to, len, at);
}

SHOWN int posix_fadvise64(int fd, off64_t at, off64_t len, int advice)
{
    int (*real)(int, off64_t, off64_t, int) =
        (int (*)(int, off64_t, off64_t, int))dlsym(RTLD_NEXT, "posix_fadvise64");
    const char *dir = getenv("QUERN_SICK_DISK");
    char path[4096];
    int to;

    if (dir != NULL && advice == POSIX_FADV_WILLNEED && is_table(fd)) {
        (void)snprintf(path, sizeof(path), "%s/begun", dir);
        to = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (to >= 0) {
            if (write(to, "+", 1) != 1)
                abort();
            (void)close(to);
        }
    }
    return real(fd, at, len, advice);
}

SHOWN int clock_gettime(clockid_t which, struct timespec *to)
{
    int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(which, to);

    if ((which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) && ordered("back"))
        to->tv_sec -= 3600;
    return rc;
}

SHOWN int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    return fails() ? -1 : real(fd);
}

SHOWN int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

    return fails() ? -1 : real(fd);
}

/* Zeros take no space, as on a file system that copies on write and packs. */
static bool is_full_for(const struct iovec *pieces, int n)
{
    bool zeros = true;

    for (int i = 0; i < n; i++) {
        for (size_t at = 0; zeros && at < pieces[i].iov_len; at++)
            zeros = ((const char *)pieces[i].iov_base)[at] == 0;
    }
    if (zeros || !ordered("full"))
        return false;
    errno = ENOSPC;
    return true;
}

SHOWN ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");

    struct iovec piece = {(void *)(uintptr_t)from, len};

    return is_full_for(&piece, 1) ? -1 : real(fd, from, len, at);
}

SHOWN ssize_t pwritev(int fd, const struct iovec *pieces, int n, off_t at)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t) =
        (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev");

    return is_full_for(pieces, n) || (syncs_by_itself(fd) && fails()) ? -1
                                                                      : real(fd, pieces, n, at);
}
