/* os_local.c - the local disk: files, time and chance; directories are in os_local_dir.c.
 *
 * Each call is one system call, made whole: EINTR and short counts are carried on here and
 * nowhere above. Two calls are never repeated, whatever they say: fdatasync, because the kernel
 * reports a lost page once and then calls it clean, and close, because the descriptor is gone
 * even when it fails.
 *
 * Writing past RLIMIT_FSIZE raises SIGXFSZ. A library must not change its host's signals, so
 * that is left to the host (quernd ignores it); where it is ignored the write reports EFBIG, which
 * is NO_SPACE like any other full disk. */
#include "os/os_local_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct local_file *local_file(struct os_file *file)
{
    return (struct local_file *)file;
}

/* ---- open and close ---- */

static enum quern_code local_file_open(struct os_dir *dir, const char *name, unsigned how,
                                       struct os_file **out, struct quern_error *err)
{
    struct local_file *file OWNED(alloc_free) = NEW(struct local_file);
    int flags = how & OS_WRITE ? O_RDWR : O_RDONLY;
    const char *purpose = how & OS_CREATE ? "creating" : how & OS_WRITE ? "writing" : "reading";

    if (file == NULL)
        return err_memory(err, "a file handle");
    if (how & OS_CREATE)
        flags |= O_CREAT | O_EXCL;
    if (how & OS_DIRECT_SYNC)
        flags |= O_DIRECT | O_DSYNC;
    file->fd = local_open_plain(local_dir(dir), name, flags, purpose, err);
    if (file->fd < 0) {
        if ((how & OS_DIRECT_SYNC) && err->sys_errno == EINVAL) {
            /* Some kernels make the file before they find that they cannot open it so. */
            if (how & OS_CREATE)
                (void)unlinkat(local_dir(dir)->fd, name, 0);
            return err_set(err, QUERN_UNSUPPORTED,
                           "open %s for %s: the file system has no direct writes", name, purpose);
        }
        return err->code;
    }
    file->base.os = dir->os;
    file->direct = (how & OS_DIRECT_SYNC) != 0;
    (void)snprintf(file->base.name, sizeof(file->base.name), "%s", name);
    *out = &GIVE(file)->base;
    return QUERN_OK;
}

static enum quern_code local_file_close(struct os_file *base, struct quern_error *err)
{
    struct local_file *file OWNED(alloc_free) = local_file(base);

    if (close(file->fd) != 0)
        return err_sys(err, errno, "close %s", base->name);
    return QUERN_OK;
}

/* ---- bytes ---- */

static enum quern_code ends_early(struct local_file *file, size_t len, uint64_t at,
                                  struct quern_error *err)
{
    struct stat st;

    if (fstat(file->fd, &st) != 0)
        return err_sys(err, errno, "size of %s", file->base.name);
    return err_set(err, QUERN_CORRUPT, "%s ends at %" PRIu64 ", wanted %zu bytes at %" PRIu64,
                   file->base.name, (uint64_t)st.st_size, len, at);
}

static enum quern_code local_file_read(struct os_file *base, void *to, size_t len, uint64_t at,
                                       struct quern_error *err)
{
    struct local_file *file = local_file(base);
    size_t done = 0;

    /* An offset that no file can have comes from a damaged length: the file ends before it. */
    if (at > INT64_MAX - (uint64_t)SSIZE_MAX / 2 || len > (size_t)SSIZE_MAX / 2)
        return ends_early(file, len, at, err);
    while (done < len) {
        ssize_t n = pread(file->fd, (uint8_t *)to + done, len - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s at %" PRIu64, base->name, at + done);
        if (n == 0)
            return ends_early(file, len, at, err);
        done += (size_t)n;
    }
    return QUERN_OK;
}

static enum quern_code write_failed(struct local_file *file, uint64_t at, struct quern_error *err)
{
    /* Some file systems take O_DIRECT at open and find out only here that they cannot. */
    if (errno == EINVAL && file->direct)
        return err_set(err, QUERN_UNSUPPORTED, "write %s at %" PRIu64 ": no direct writes here",
                       file->base.name, at);
    return err_sys(err, errno, "write %s at %" PRIu64, file->base.name, at);
}

/* Between two calls, `pieces` begins at the first piece of which nothing is written, except for
 * its first `part` bytes. A piece cut by a short write is finished alone, so the caller's array
 * is never copied or changed. */
static enum quern_code local_file_write(struct os_file *base, const struct iovec *pieces, int n,
                                        uint64_t at, struct quern_error *err)
{
    struct local_file *file = local_file(base);
    size_t part = 0;

    while (n > 0) {
        ssize_t put;

        if (pieces->iov_len == part) {
            pieces++, n--;
            part = 0;
            continue;
        }
        if (part != 0)
            put = pwrite(file->fd, (const uint8_t *)pieces->iov_base + part, pieces->iov_len - part,
                         (off_t)at);
        else
            put = pwritev(file->fd, pieces, n < IOV_MAX ? n : IOV_MAX, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            if (put == 0)
                errno = EIO; /* no progress and no reason: do not spin */
            return write_failed(file, at, err);
        }
        at += (uint64_t)put;
        part += (size_t)put;
        while (n > 0 && part >= pieces->iov_len) {
            part -= pieces->iov_len;
            pieces++, n--;
        }
    }
    return QUERN_OK;
}

static enum quern_code local_file_sync(struct os_file *file, struct quern_error *err)
{
    if (fdatasync(local_file(file)->fd) != 0)
        return err_sys(err, errno, "sync %s", file->name);
    return QUERN_OK;
}

static enum quern_code local_file_truncate(struct os_file *file, uint64_t bytes,
                                           struct quern_error *err)
{
    int rc;

    do
        rc = ftruncate(local_file(file)->fd, (off_t)bytes);
    while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return err_sys(err, errno, "truncate %s to %" PRIu64, file->name, bytes);
    return QUERN_OK;
}

static enum quern_code local_file_size(struct os_file *file, uint64_t *bytes,
                                       struct quern_error *err)
{
    struct stat st;

    if (fstat(local_file(file)->fd, &st) != 0)
        return err_sys(err, errno, "size of %s", file->name);
    *bytes = (uint64_t)st.st_size;
    return QUERN_OK;
}

/* ---- hints ---- */

static void local_file_start_writeback(struct os_file *file, uint64_t at, uint64_t len)
{
    /* A length of 0 means "to the end" to the kernel. */
    if (len != 0)
        (void)sync_file_range(local_file(file)->fd, (off_t)at, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

/* The pages join the kernel's cache, from which the read that follows copies them. That asks for no
 * right that a container may lack, as io_uring does, and costs no more here (docs/decisions/0033). */
static void local_file_start_read(struct os_file *file, uint64_t at, uint64_t len)
{
    if (len != 0)
        (void)posix_fadvise(local_file(file)->fd, (off_t)at, (off_t)len, POSIX_FADV_WILLNEED);
}

/* ---- mappings ---- */

/* File systems that put what is written again at a new place: there a block that exists does not
 * promise space, and a full disk would be a SIGBUS. The numbers are those of statfs(2). */
static bool copies_on_write(int fd)
{
    static const uint32_t kinds[] = {
        0x9123683E, /* btrfs */
        0xCA451A4E, /* bcachefs */
        0x2FC12FC1, /* ZFS */
        0xF2F52010, /* F2FS */
        0x00003434, /* NILFS */
    };
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if ((uint32_t)fs.f_type == kinds[i])
            return true;
    return false;
}

static enum quern_code local_file_map(struct os_file *file, size_t len, void **out,
                                      struct quern_error *err)
{
    void *map;

    if (copies_on_write(local_file(file)->fd))
        return err_set(err, QUERN_UNSUPPORTED, "map %s: the file system copies on write",
                       file->name);
    map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, local_file(file)->fd, 0);

    if (map == MAP_FAILED) {
        if (errno == ENODEV || errno == EOPNOTSUPP || errno == EINVAL)
            return err_set(err, QUERN_UNSUPPORTED, "map %s: the file system has no mappings",
                           file->name);
        return err_sys(err, errno, "map %s", file->name);
    }
    /* Logs are written front to back: pages that fell out of the cache come back ahead of time. */
    (void)madvise(map, len, MADV_SEQUENTIAL);
    *out = map;
    return QUERN_OK;
}

static void local_file_unmap(struct os_file *file, void *map, size_t len)
{
    (void)file;
    (void)munmap(map, len);
}

/* ---- time and chance ---- */

static uint64_t local_now_ns(struct os *os)
{
    struct timespec now;

    (void)os;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t local_wall_ms(struct os *os)
{
    struct timespec now;

    (void)os;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void local_random(struct os *os, void *to, size_t len)
{
    uint8_t *at = to;

    (void)os;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        /* Salts that repeat would let stale bytes pass for new ones. */
        ensure(n >= 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static const struct os_ops local_ops = {
    .dir_open = local_dir_open,
    .dir_close = local_dir_close,
    .dir_sync = local_dir_sync,
    .dir_list = local_dir_list,
    .dir_stat = local_dir_stat,
    .dir_remove = local_dir_remove,
    .dir_rename = local_dir_rename,
    .dir_link = local_dir_link,
    .dir_free_bytes = local_dir_free_bytes,
    .dir_may_write = local_dir_may_write,
    .dir_lock = local_dir_lock,
    .unlock = local_unlock,
    .file_open = local_file_open,
    .file_close = local_file_close,
    .file_read = local_file_read,
    .file_write = local_file_write,
    .file_sync = local_file_sync,
    .file_truncate = local_file_truncate,
    .file_size = local_file_size,
    .file_start_writeback = local_file_start_writeback,
    .file_start_read = local_file_start_read,
    .file_map = local_file_map,
    .file_unmap = local_file_unmap,
    .now_ns = local_now_ns,
    .wall_ms = local_wall_ms,
    .random = local_random,
};

struct os *os_local(void)
{
    static struct os local = {.ops = &local_ops};

    return &local;
}
