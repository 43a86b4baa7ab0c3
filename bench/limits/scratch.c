/* scratch.c - files with names, since a sync of a file without one may be cheaper (btrfs skips it).
 *
 * The names are kept in static memory, complete before the file they name exists, so that the
 * handler of a signal can remove all with unlink() and rmdir() alone. */
#include "scratch.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 16u
#define PATH_BYTES 512u

static char base[PATH_BYTES];
static char paths[FILES_MAX][PATH_BYTES + 32];
static volatile sig_atomic_t path_count;
static volatile sig_atomic_t begun;

void scratch_remove(void)
{
    if (!begun)
        return;
    for (int i = 0; i < path_count; i++)
        (void)unlink(paths[i]);
    (void)rmdir(base);
}

static void leave(int signal_no)
{
    scratch_remove();
    (void)signal(signal_no, SIG_DFL);
    (void)raise(signal_no);
}

void scratch_begin(const char *dir)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = leave, .sa_flags = (int)SA_NODEFER};
    sigset_t all, before;

    if (snprintf(base, sizeof(base), "%s/quern-limits-XXXXXX", dir) >= (int)sizeof(base))
        die("--dir is too long");
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &action, NULL);
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &before); /* no signal between the name and the note of it */
    if (mkdtemp(base) == NULL)
        die("%s: %s", base, strerror(errno));
    begun = 1;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
}

const char *scratch_dir(void)
{
    return base;
}

static const char *path_of(const char *name)
{
    char path[sizeof(paths[0])];

    (void)snprintf(path, sizeof(path), "%s/%s", base, name);
    for (int i = 0; i < path_count; i++)
        if (strcmp(paths[i], path) == 0)
            return paths[i];
    if (path_count == (int)FILES_MAX)
        die("too many files");
    memcpy(paths[path_count], path, sizeof(path));
    path_count = path_count + 1;
    return paths[path_count - 1];
}

int scratch_open(const char *name, int flags)
{
    const char *path = path_of(name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);

    if (fd < 0 && !(errno == EINVAL && (flags & O_DIRECT) != 0))
        die("%s: %s", path, strerror(errno));
    return fd;
}

void scratch_close(int fd)
{
    if (close(fd) != 0)
        die("close below %s: %s", base, strerror(errno));
}

void scratch_write(int fd, const void *from, uint64_t bytes, uint64_t at)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pwrite(fd, (const uint8_t *)from + done, bytes - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("write below %s: %s", base, n == 0 ? "nothing written" : strerror(errno));
        done += (uint64_t)n;
    }
}

void scratch_read(int fd, void *to, uint64_t bytes, uint64_t at)
{
    ssize_t n;

    do
        n = pread(fd, to, bytes, (off_t)at);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)bytes)
        die("read below %s: %s", base, n < 0 ? strerror(errno) : "short");
}

void scratch_fill(int fd, uint64_t bytes)
{
    uint64_t step = UINT64_C(1) << 20;
    void *zeros = must_alloc(step);

    for (uint64_t at = 0; at < bytes; at += step)
        scratch_write(fd, zeros, bytes - at < step ? bytes - at : step, at);
    free(zeros);
    scratch_sync(fd);
}

void scratch_truncate(int fd, uint64_t bytes)
{
    if (ftruncate(fd, (off_t)bytes) != 0)
        die("truncate below %s: %s", base, strerror(errno));
}

void scratch_sync(int fd)
{
    if (fdatasync(fd) != 0)
        die("sync below %s: %s", base, strerror(errno));
}
