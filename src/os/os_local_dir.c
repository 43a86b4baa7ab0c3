/* os_local_dir.c - the local disk: directories, names, the lock.
 *
 * A directory is a descriptor and every name is looked up below it (openat and friends), so that
 * neither chdir() of the host nor a rename of the directory can lead a name elsewhere.
 *
 * The lock is an open-file-description lock (F_OFD_SETLK). The older fcntl locks belong to the
 * process: a second handle in the same process would pass, and any close() of the file by
 * anyone would drop them. The holder leaves its pid in the file, for the message only; who holds
 * the lock is the kernel's word alone, so a stale pid after a crash does no harm. */
#include "os/os_local_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int open_dir_fd(const char *path)
{
    int fd;

    do
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int local_open_plain(struct local_dir *dir, const char *name, int flags, const char *purpose,
                     struct quern_error *err)
{
    struct stat st;
    int fd;

    /* O_NONBLOCK means nothing to a plain file and keeps a pipe from holding us for ever. */
    do
        fd = openat(dir->fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        (void)err_sys(err, errno, "open %s for %s", name, purpose);
        return -1;
    }
    if (fstat(fd, &st) != 0)
        (void)err_sys(err, errno, "open %s for %s", name, purpose);
    else if (!S_ISREG(st.st_mode))
        (void)err_set(err, QUERN_IO, "open %s for %s: not a plain file", name, purpose);
    else
        return fd;
    (void)close(fd);
    return -1;
}

/* ---- the directory itself ---- */

/* The path of the directory that holds `path`; the caller frees it. NULL: no memory. */
static char *parent_of(const char *path)
{
    size_t len = strlen(path);
    char *parent = alloc_bytes(len + 2);

    if (parent == NULL)
        return NULL;
    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    memcpy(parent, path, len);
    parent[len] = '\0';
    if (len == 0)
        memcpy(parent, ".", 2);
    return parent;
}

/* Make the name of the directory at `path` durable. */
static enum quern_code sync_parent(const char *path, struct quern_error *err)
{
    char *parent OWNED(alloc_free) = parent_of(path);
    int fd;

    if (parent == NULL)
        return err_memory(err, "a path");
    fd = open_dir_fd(parent);
    if (fd < 0)
        return err_sys(err, errno, "open directory %s to sync it", parent);
    if (fsync(fd) != 0)
        (void)err_sys(err, errno, "sync directory %s", parent);
    else
        err_clear(err);
    (void)close(fd);
    return err->code;
}

/* The parent is synced even when the directory was there: an earlier run may have died between
 * making it and syncing. A parent that we may not read is then left alone: we did not make it. */
static enum quern_code make_dir(const char *path, struct quern_error *err)
{
    bool made = mkdir(path, 0700) == 0;

    if (!made && errno != EEXIST)
        return err_sys(err, errno, "make directory %s", path);
    if (sync_parent(path, err) == QUERN_OK)
        return QUERN_OK;
    if (made)
        (void)rmdir(path);
    else if (err->code == QUERN_DENIED)
        return QUERN_OK;
    return err->code;
}

enum quern_code local_dir_open(struct os *os, const char *path, bool create, struct os_dir **out,
                               struct quern_error *err)
{
    struct local_dir *dir OWNED(alloc_free) = NEW(struct local_dir);
    char *copy OWNED(alloc_free) = alloc_bytes(strlen(path) + 1);

    if (dir == NULL || copy == NULL)
        return err_memory(err, "a directory handle");
    memcpy(copy, path, strlen(path) + 1);
    if (create && make_dir(path, err))
        return err->code;
    dir->fd = open_dir_fd(path);
    if (dir->fd < 0)
        return err_sys(err, errno, "open directory %s", path);
    dir->base.os = os;
    dir->base.path = GIVE(copy);
    *out = &GIVE(dir)->base;
    return QUERN_OK;
}

void local_dir_close(struct os_dir *dir)
{
    (void)close(local_dir(dir)->fd); /* nothing is written through it */
    alloc_free(dir->path);
    alloc_free(dir);
}

enum quern_code local_dir_sync(struct os_dir *dir, struct quern_error *err)
{
    if (fsync(local_dir(dir)->fd) != 0)
        return err_sys(err, errno, "sync directory %s", dir->path);
    return QUERN_OK;
}

/* ---- names ---- */

static void close_stream(DIR *stream)
{
    if (stream != NULL)
        (void)closedir(stream);
}
OWNER(close_stream, DIR *);

enum quern_code local_dir_list(struct os_dir *dir, os_see_fn see, void *arg,
                               struct quern_error *err)
{
    /* An open file of its own: the position of a shared one would be shared too. */
    int fd = openat(local_dir(dir)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream OWNED(close_stream) = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *found;
    struct stat st;

    if (stream == NULL) {
        (void)err_sys(err, errno, "list directory %s", dir->path);
        if (fd >= 0)
            (void)close(fd);
        return err->code;
    }
    while (errno = 0, (found = readdir(stream)) != NULL) {
        bool plain = found->d_type == DT_REG;

        if (found->d_type == DT_UNKNOWN) { /* some file systems do not tell */
            if (fstatat(fd, found->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
                if (errno == ENOENT)
                    continue; /* removed meanwhile */
                return err_sys(err, errno, "kind of %s", found->d_name);
            }
            plain = S_ISREG(st.st_mode);
        }
        if (plain && see(arg, found->d_name, err))
            return err->code;
    }
    if (errno != 0)
        return err_sys(err, errno, "list directory %s", dir->path);
    return QUERN_OK;
}

enum quern_code local_dir_stat(struct os_dir *dir, const char *name, uint64_t *bytes,
                               struct quern_error *err)
{
    struct stat st;

    if (fstatat(local_dir(dir)->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return err_sys(err, errno, "size of %s", name);
    *bytes = (uint64_t)st.st_size;
    return QUERN_OK;
}

enum quern_code local_dir_remove(struct os_dir *dir, const char *name, struct quern_error *err)
{
    if (unlinkat(local_dir(dir)->fd, name, 0) != 0)
        return err_sys(err, errno, "remove %s", name);
    return QUERN_OK;
}

enum quern_code local_dir_rename(struct os_dir *dir, const char *from, const char *to,
                                 struct quern_error *err)
{
    int fd = local_dir(dir)->fd;

    if (renameat(fd, from, fd, to) != 0)
        return err_sys(err, errno, "rename %s to %s", from, to);
    return QUERN_OK;
}

enum quern_code local_dir_link(struct os_dir *dir, const char *name, struct os_dir *to_dir,
                               const char *to_name, struct quern_error *err)
{
    if (linkat(local_dir(dir)->fd, name, local_dir(to_dir)->fd, to_name, 0) != 0)
        return err_sys(err, errno, "link %s as %s in %s", name, to_name, to_dir->path);
    return QUERN_OK;
}

enum quern_code local_dir_free_bytes(struct os_dir *dir, uint64_t *bytes, struct quern_error *err)
{
    struct statvfs vfs;
    int rc;

    do
        rc = fstatvfs(local_dir(dir)->fd, &vfs);
    while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return err_sys(err, errno, "free space of %s", dir->path);
    *bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return QUERN_OK;
}

enum quern_code local_dir_may_write(struct os_dir *dir, struct quern_error *err)
{
    if (faccessat(local_dir(dir)->fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
        return err_sys(err, errno, "write to directory %s", dir->path);
    return QUERN_OK;
}

/* ---- the lock ---- */

/* Who holds the lock file, as far as the file itself tells; 0: it does not. */
static long holder_pid(int fd)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid = 0;

    for (ssize_t i = 0; i < n && i < 10 && text[i] >= '0' && text[i] <= '9'; i++)
        pid = pid * 10 + (text[i] - '0');
    return pid;
}

static enum quern_code locked_by(struct local_dir *dir, int fd, const char *name,
                                 struct quern_error *err)
{
    long pid = holder_pid(fd);

    if (pid == (long)getpid())
        return err_set(err, QUERN_LOCKED, "%s/%s is held by another handle in this process (%ld)",
                       dir->base.path, name, pid);
    if (pid != 0)
        return err_set(err, QUERN_LOCKED, "%s/%s is held by process %ld", dir->base.path, name,
                       pid);
    return err_set(err, QUERN_LOCKED, "%s/%s is held by another process or handle", dir->base.path,
                   name);
}

/* As long as any that came before, so that nothing need be cut off: that would wait for the file
 * system's journal. Best effort, and whether it worked is nobody's concern: on a full disk the file
 * stays empty and the message of the next one to come says less. */
static void leave_pid(int fd)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%-10ld\n", (long)getpid());
    bool left = holder_pid(fd) == (long)getpid() || pwrite(fd, text, (size_t)len, 0) == len;

    (void)left;
}

enum quern_code local_dir_lock(struct os_dir *base, const char *name, struct os_lock **out,
                               struct quern_error *err)
{
    struct local_lock *lock OWNED(alloc_free) = NEW(struct local_lock);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd;

    if (lock == NULL)
        return err_memory(err, "a lock");
    fd = local_open_plain(local_dir(base), name, O_RDWR | O_CREAT, "locking", err);
    if (fd < 0)
        return err->code;
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            (void)locked_by(local_dir(base), fd, name, err);
        else
            (void)err_sys(err, errno, "lock %s/%s", base->path, name);
        (void)close(fd);
        return err->code;
    }
    leave_pid(fd);
    lock->base.os = base->os;
    lock->fd = fd;
    *out = &GIVE(lock)->base;
    return QUERN_OK;
}

void local_unlock(struct os_lock *base)
{
    struct local_lock *lock = (struct local_lock *)base;

    (void)close(lock->fd); /* the lock goes with its open file */
    alloc_free(lock);
}
