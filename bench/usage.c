/* usage.c - reads /proc about this process, and walks directories. */
#include "usage.h"

#include "bench.h"
#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#define QUIET_MS 200
#define QUIET_STEP_MS 50
#define QUIET_CPU_NS                                                                               \
    UINT64_C(4000000) /* of one step: below it a thread merely looked at its clock */

/* The number that follows `label` at the start of a line of `path`. */
static uint64_t number_in(const char *path, const char *label)
{
    FILE *file = fopen(path, "r");
    char line[256];
    unsigned long long found = 0;
    size_t label_len = strlen(label);

    if (file == NULL)
        die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, label, label_len) == 0 && sscanf(line + label_len, "%llu", &found) == 1)
            break;
    (void)fclose(file);
    return found;
}

uint64_t usage_written_bytes(void)
{
    return number_in("/proc/self/io", "write_bytes:");
}

uint64_t usage_cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t usage_peak_rss_bytes(void)
{
    return number_in("/proc/self/status", "VmHWM:") * 1024;
}

/* ------------------------------------------------------------------ what is watched -- */

static _Atomic uint64_t anon_peak, disk_peak;
static _Atomic bool watching;
static pthread_t watcher;
static const char *watched_dir; /* set before the thread starts */

static void raise_to(_Atomic uint64_t *peak, uint64_t now)
{
    if (now > atomic_load(peak))
        atomic_store(peak, now);
}

static void look(void)
{
    raise_to(&anon_peak, number_in("/proc/self/status", "RssAnon:") * 1024);
    if (watched_dir != NULL)
        raise_to(&disk_peak, usage_disk_bytes(watched_dir));
}

static void *watch(void *arg)
{
    (void)arg;
    while (atomic_load(&watching)) {
        look();
        (void)usleep(100000);
    }
    return NULL;
}

void usage_watch_start(const char *dir)
{
    watched_dir = dir;
    atomic_store(&watching, true);
    if (pthread_create(&watcher, NULL, watch, NULL) != 0)
        die("cannot start a thread");
}

void usage_watch_stop(void)
{
    atomic_store(&watching, false);
    (void)pthread_join(watcher, NULL);
}

uint64_t usage_peak_anon_bytes(void)
{
    look();
    return atomic_load(&anon_peak);
}

uint64_t usage_peak_disk_bytes(void)
{
    look();
    return atomic_load(&disk_peak);
}

void usage_peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    /* "5" resets VmHWM. Where it is refused the peak is that of the process so far. */
    if (fd >= 0) {
        ssize_t written = write(fd, "5", 1);

        (void)written;
        (void)close(fd);
    }
    atomic_store(&anon_peak, 0);
    atomic_store(&disk_peak, 0);
}

/* ------------------------------------------------------------------ rest -- */

double usage_wait_quiet(double seconds_max)
{
    uint64_t begin = clock_ns(), now = begin, quiet_since = begin;
    uint64_t cpu = usage_cpu_ns(), written = usage_written_bytes();

    while (now - quiet_since < QUIET_MS * UINT64_C(1000000) &&
           (double)(now - begin) < seconds_max * 1e9) {
        uint64_t cpu_now, written_now;

        (void)usleep(QUIET_STEP_MS * 1000);
        now = clock_ns();
        cpu_now = usage_cpu_ns();
        written_now = usage_written_bytes();
        if (cpu_now - cpu > QUIET_CPU_NS || written_now != written)
            quiet_since = now;
        cpu = cpu_now;
        written = written_now;
    }
    return (double)(quiet_since - begin) / 1e9;
}

void usage_flush_disk(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || syncfs(fd) != 0)
        die("sync %s: %s", dir, strerror(errno));
    (void)close(fd);
}

/* ------------------------------------------------------------------ trees -- */

/* Call `each` for every file below `dir`. Engines make and remove files meanwhile, so what is not
 * there any more is passed over. (nftw() has no argument to pass on, and two threads walk.) */
static void walk(const char *dir, void (*each)(const char *path, const struct stat *st, void *arg),
                 void *arg)
{
    DIR *stream = opendir(dir);
    const struct dirent *entry;

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        char path[1024];
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= (int)sizeof(path) ||
            lstat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            walk(path, each, arg);
        else if (S_ISREG(st.st_mode))
            each(path, &st, arg);
    }
    if (stream != NULL)
        (void)closedir(stream);
}

static void add_blocks(const char *path, const struct stat *st, void *arg)
{
    (void)path;
    *(uint64_t *)arg += (uint64_t)st->st_blocks * 512;
}

uint64_t usage_disk_bytes(const char *dir)
{
    uint64_t bytes = 0;

    walk(dir, add_blocks, &bytes);
    return bytes;
}

static void forget_pages(const char *path, const struct stat *st, void *arg)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    (void)st;
    (void)arg;
    if (fd < 0)
        return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
}

void usage_drop_cache(const char *dir)
{
    usage_flush_disk(dir); /* dirty pages stay */
    walk(dir, forget_pages, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void usage_remove_tree(const char *dir)
{
    if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        (void)fprintf(stderr, "quern-bench: %s is not wholly removed: %s\n", dir, strerror(errno));
}

/* ------------------------------------------------------------------ the machine -- */

static const char *file_system_name(const char *dir)
{
    struct statfs fs;

    if (statfs(dir, &fs) != 0)
        return "unknown file system";
    switch ((unsigned long)fs.f_type) {
    case 0xEF53:
        return "ext4";
    case 0x58465342:
        return "xfs";
    case 0x9123683E:
        return "btrfs";
    case 0x01021994:
        return "tmpfs: NOT A DISK";
    case 0x794C7630:
        return "overlayfs";
    case 0x2FC12FC1:
        return "zfs";
    default:
        return "other file system";
    }
}

void usage_machine(const char *dir, char *text, unsigned text_bytes)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256], model[128] = "unknown processor";
    struct utsname os = {0};
    double load[1] = {0};

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "model name : %127[^\n]", model) == 1)
            break;
    if (file != NULL)
        (void)fclose(file);
    (void)uname(&os);
    (void)getloadavg(load, 1);
    (void)snprintf(text, text_bytes, "%s, %ld cores, %llu MiB, Linux %s, %s, load average %.1f",
                   model, sysconf(_SC_NPROCESSORS_ONLN),
                   (unsigned long long)(number_in("/proc/meminfo", "MemTotal:") / 1024), os.release,
                   file_system_name(dir), load[0]);
}
