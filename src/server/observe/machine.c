/* machine.c - reads the system's files about memory.
 *
 *     /proc/meminfo       MemTotal:  24689204 kB
 *     /proc/self/cgroup   0::/system.slice/quern.service        version 2: memory.max, and so up to
 *                                                               the root, since each bounds all below
 *                     or  9:memory:/docker/5f3...             version 1: memory.limit_in_bytes
 *
 * In a container the path is often that outside, and the group's own files lie at the root of what is
 * mounted; so that is looked at in any case. */
#include "server/observe/machine.h"

#include "base/attr.h"

#include <inttypes.h>
#include <string.h>

#define PATH_BYTES 4096

static uint64_t less(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t memory_total(FILE *(*open)(const char *path))
{
    FILE *file = open("/proc/meminfo");
    char line[256];
    uint64_t kib = 0;

    while (file != NULL && kib == 0 && fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "MemTotal: %" SCNu64, &kib);
    if (file != NULL)
        (void)fclose(file);
    return kib * 1024;
}

/* A number that stands in a file; "max", or no such file: UINT64_MAX. */
static uint64_t number_in(FILE *(*open)(const char *path), const char *path)
{
    FILE *file = open(path);
    uint64_t n = UINT64_MAX;

    if (file == NULL)
        return n;
    if (fscanf(file, "%" SCNu64, &n) != 1)
        n = UINT64_MAX;
    (void)fclose(file);
    return n;
}

/* The least that is allowed by `group` or one above it. */
static uint64_t least_of(FILE *(*open)(const char *path), const char *mount, const char *name,
                         char *group)
{
    char path[PATH_BYTES + 64];
    uint64_t least = UINT64_MAX;

    for (;;) {
        char *slash = strrchr(group, '/');

        (void)snprintf(path, sizeof(path), "%s%s/%s", mount, group, name);
        least = less(least, number_in(open, path));
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

static uint64_t group_limit(FILE *(*open)(const char *path))
{
    FILE *file = open("/proc/self/cgroup");
    char line[PATH_BYTES];
    uint64_t least = UINT64_MAX;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *kinds = strchr(line, ':'), *group = kinds != NULL ? strchr(kinds + 1, ':') : NULL;

        if (group == NULL)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        if (strcmp(kinds, ":") == 0)
            least = less(least, least_of(open, "/sys/fs/cgroup", "memory.max", group));
        else if (strcmp(kinds, ":memory") == 0)
            least = less(least,
                         least_of(open, "/sys/fs/cgroup/memory", "memory.limit_in_bytes", group));
    }
    if (file != NULL)
        (void)fclose(file);
    return least;
}

uint64_t machine_memory(FILE *(*open)(const char *path))
{
    uint64_t total = memory_total(open), limit = group_limit(open);

    return total == 0 && limit == UINT64_MAX ? 0 : less(total == 0 ? UINT64_MAX : total, limit);
}
