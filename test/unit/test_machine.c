/* Promises of server/observe/machine.h: how much memory there is, as the system's files say it. */
#include "server/observe/machine.h"

#include "tap.h"

#include <errno.h>
#include <string.h>

/* The system's files: path, text, path, text, ... NULL. */
static const char *const *files;

static FILE *open_told(const char *path)
{
    for (const char *const *f = files; *f != NULL; f += 2) {
        if (strcmp(f[0], path) == 0)
            return fmemopen((void *)(uintptr_t)f[1], strlen(f[1]), "r");
    }
    errno = ENOENT;
    return NULL;
}

#define MEMINFO "/proc/meminfo", "MemTotal:        8000000 kB\nMemFree:         1 kB\n"
#define TOTAL (UINT64_C(8000000) * 1024)

static uint64_t memory(const char *const *told)
{
    files = told;
    return machine_memory(open_told);
}

TEST(machine_without_groups_has_what_it_has)
{
    static const char *const plain[] = {MEMINFO, NULL},
                             *const unbounded[] = {MEMINFO,
                                                   "/proc/self/cgroup",
                                                   "0::/user.slice/a.scope\n",
                                                   "/sys/fs/cgroup/user.slice/a.scope/memory.max",
                                                   "max\n",
                                                   NULL},
                             *const nothing[] = {NULL};

    CHECK_EQ(memory(plain), TOTAL);
    CHECK_EQ(memory(unbounded), TOTAL);
    CHECK_EQ(memory(nothing), 0);
}

TEST(machine_group_of_version_2_bounds_and_so_do_those_above)
{
    static const char *const own[] = {MEMINFO,        "/proc/self/cgroup",
                                      "0::/a/b\n",    "/sys/fs/cgroup/a/b/memory.max",
                                      "1073741824\n", NULL},
                             *const above[] = {MEMINFO,        "/proc/self/cgroup",
                                               "0::/a/b\n",    "/sys/fs/cgroup/a/b/memory.max",
                                               "1073741824\n", "/sys/fs/cgroup/a/memory.max",
                                               "536870912\n",  NULL},
                             *const contained[] = {MEMINFO,       "/proc/self/cgroup",
                                                   "0::/\n",      "/sys/fs/cgroup/memory.max",
                                                   "268435456\n", NULL};

    CHECK_EQ(memory(own), UINT64_C(1) << 30);
    CHECK_EQ(memory(above), UINT64_C(1) << 29);
    CHECK_EQ(memory(contained), UINT64_C(1) << 28);
}

TEST(machine_group_of_version_1_bounds_too)
{
    static const char *const own[] = {MEMINFO,
                                      "/proc/self/cgroup",
                                      "12:cpu,cpuacct:/x\n9:memory:/docker/5f\n0::/\n",
                                      "/sys/fs/cgroup/memory/docker/5f/memory.limit_in_bytes",
                                      "1073741824\n",
                                      NULL},
                             *const contained[] = {MEMINFO,
                                                   "/proc/self/cgroup",
                                                   "9:memory:/docker/5f\n",
                                                   "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                                   "536870912\n",
                                                   NULL},
                             *const huge[] = {MEMINFO,
                                              "/proc/self/cgroup",
                                              "9:memory:/\n",
                                              "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                              "9223372036854771712\n",
                                              NULL};

    CHECK_EQ(memory(own), UINT64_C(1) << 30);
    CHECK_EQ(memory(contained), UINT64_C(1) << 29);
    CHECK_EQ(memory(huge), TOTAL);
}
