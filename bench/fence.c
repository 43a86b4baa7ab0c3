/* fence.c - what is "not resident" on a machine with far more memory than data?
 *
 * Dropping the page cache does it for a moment: each block that is read stays in it, and a second
 * later the store is in memory again, whatever the engine's own cache is told. A memory cgroup does
 * it for good, since pages of files count for the group that read them. So a child makes itself a
 * group, fills its store there, and then gets its limit.
 *
 *     version 1   <mount>/memory/<own group>/quern-bench-PID     below the group that it is in
 *     version 2   <mount>/<parent of own group>/quern-bench-PID  beside it: a group that holds
 *                                                                processes cannot have children
 *
 * It takes a kernel with the memory controller and the right to write there, which mostly means
 * root. Without it the bench falls back to dropping, and the report says so. */
#include "fence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNT "/sys/fs/cgroup"

struct place {
    char dir[1024]; /* of all groups that this program makes */
    const char *limit_file;
};

/* Version 1 has a line "N:memory:/path", version 2 "0::/path" and, here, its files at the mount. */
static bool place_find(struct place *place)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[700];
    bool found = false;

    while (!found && file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *path = strchr(line, ':'), *names = path != NULL ? path + 1 : NULL;

        path = names != NULL ? strchr(names, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        if (strcmp(names, "memory") == 0) {
            (void)snprintf(place->dir, sizeof(place->dir), MOUNT "/memory%s", path);
            place->limit_file = "memory.limit_in_bytes";
            found = true;
        } else if (names[0] == '\0' && access(MOUNT "/cgroup.controllers", F_OK) == 0) {
            char *end = strrchr(path, '/');

            if (end != NULL)
                *end = '\0';
            (void)snprintf(place->dir, sizeof(place->dir), MOUNT "%s", path);
            place->limit_file = "memory.max";
            found = true;
        }
    }
    if (file != NULL)
        (void)fclose(file);
    return found;
}

static bool write_number(const char *path, uint64_t number)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%" PRIu64, number);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, (size_t)len) == len;

    if (fd >= 0)
        (void)close(fd);
    return good;
}

/* Set in fence_enter(), where the process has left its old group: the path is that of the new one
 * from then on. */
static char group[1100];
static const char *group_limit_file;

bool fence_enter(void)
{
    struct place place;
    char path[1200];

    if (!place_find(&place))
        return false;
    (void)snprintf(group, sizeof(group), "%s/quern-bench-%ld", place.dir, (long)getpid());
    group_limit_file = place.limit_file;
    if (mkdir(group, 0755) == 0) {
        /* Version 2 has no such file where the memory controller is not handed down. */
        (void)snprintf(path, sizeof(path), "%s/%s", group, group_limit_file);
        if (access(path, W_OK) == 0) {
            (void)snprintf(path, sizeof(path), "%s/cgroup.procs", group);
            if (write_number(path, (uint64_t)getpid()))
                return true;
        }
        (void)rmdir(group);
    }
    group[0] = '\0';
    return false;
}

bool fence_limit(uint64_t bytes)
{
    char path[1200];

    if (group[0] == '\0')
        return false;
    (void)snprintf(path, sizeof(path), "%s/%s", group, group_limit_file);
    for (unsigned tries = 0; tries < 50; tries++) { /* busy while pages are being written */
        if (write_number(path, bytes))
            return true;
        (void)usleep(100000);
    }
    return false;
}

bool fence_is_possible(void)
{
    pid_t pid = fork();
    int status = 1;

    if (pid == 0)
        _exit(fence_enter() && fence_limit(UINT64_C(1) << 30) ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid > 0)
        fence_remove(pid);
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void fence_remove(pid_t pid)
{
    struct place place;
    char path[1200];

    if (!place_find(&place))
        return;
    (void)snprintf(path, sizeof(path), "%s/quern-bench-%ld", place.dir, (long)pid);
    for (unsigned tries = 0; tries < 50; tries++) { /* its last pages may still be given back */
        if (rmdir(path) == 0 || errno == ENOENT)
            return;
        (void)usleep(20000);
    }
}
