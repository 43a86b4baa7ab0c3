/* access_file.c - a file that holds secrets, read with care and replaced whole. It is no file of a
 * store, so it does not go through os/. */
#include "access/access.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static struct access_stamp stamp_of(const struct stat *st)
{
    return (struct access_stamp){(int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
                                 (uint64_t)st->st_ino, (uint64_t)st->st_size};
}

bool access_stamp_now(const char *path, struct access_stamp *out)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return false;
    *out = stamp_of(&st);
    return true;
}

static enum quern_code judge(const char *path, const struct stat *st, struct quern_error *err)
{
    if (!S_ISREG(st->st_mode))
        return err_set(err, QUERN_INVALID, "%s is not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return err_set(err, QUERN_DENIED, "%s belongs to another user", path);
    if ((st->st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return err_set(err, QUERN_DENIED,
                       "%s can be read by everybody or changed by its group (mode %04o); do: "
                       "chmod g-w,o= %s",
                       path, st->st_mode & 07777u, path);
    if (st->st_size > (off_t)ACCESS_FILE_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "%s is over 1 MiB", path);
    return QUERN_OK;
}

static enum quern_code read_all(int fd, const char *path, struct buf *out, struct quern_error *err)
{
    char piece[4096];
    ssize_t n;

    buf_clear(out);
    while ((n = read(fd, piece, sizeof(piece))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s", path);
        if (out->len > ACCESS_FILE_BYTES_MAX)
            return err_set(err, QUERN_INVALID, "%s is over 1 MiB", path);
        if (buf_append(out, piece, (size_t)n, err))
            return err->code;
    }
    return QUERN_OK;
}

enum quern_code access_load(const char *path, struct buf *out, struct access_stamp *stamp,
                            struct quern_error *err)
{
    /* NONBLOCK: a FIFO of that name must not hold us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    enum quern_code code;
    struct stat st;

    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (fstat(fd, &st) != 0)
        code = err_sys(err, errno, "stat %s", path);
    else
        code = judge(path, &st, err);
    if (code == QUERN_OK && stamp != NULL)
        *stamp = stamp_of(&st);
    if (code == QUERN_OK)
        code = read_all(fd, path, out, err);
    (void)close(fd);
    return code;
}

/* The directory of a path, in `to`. */
static enum quern_code directory_of(const char *path, char to[4096], struct quern_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    if (len >= 4096)
        return err_set(err, QUERN_INVALID, "the path is too long");
    memcpy(to, path, len);
    to[len] = '\0';
    if (len == 0)
        (void)strcpy(to, ".");
    return QUERN_OK;
}

int access_lock(const char *path, struct quern_error *err)
{
    char directory[4096];
    int fd;

    if (directory_of(path, directory, err) != QUERN_OK)
        return -1;
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        (void)err_sys(err, errno, fd < 0 ? "open %s" : "lock %s", directory);
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    return fd;
}

static bool write_all(int fd, struct quern_slice text)
{
    const char *s = text.data;

    for (size_t at = 0; at < text.len;) {
        ssize_t n = write(fd, s + at, text.len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

enum quern_code access_store(const char *path, struct quern_slice text, struct quern_error *err)
{
    char directory[4096], temporary[4096];
    struct stat st;
    int fd, dir, error = 0;

    if (directory_of(path, directory, err) != QUERN_OK)
        return err->code;
    if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
        return err_set(err, QUERN_INVALID, "the path is too long");
    fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return err_sys(err, errno, "write %s", path);
    /* Who could read the old one, a server of another user perhaps, can read the new one. */
    if (stat(path, &st) == 0 && (fchown(fd, st.st_uid, st.st_gid) != 0 ||
                                 fchmod(fd, st.st_mode & (S_IRWXU | S_IRGRP)) != 0))
        error = errno;
    if (error == 0 && (!write_all(fd, text) || fsync(fd) != 0))
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename(temporary, path) != 0)
        error = errno;
    if (error != 0) {
        (void)unlink(temporary);
        return err_sys(err, error, "write %s", path);
    }
    dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) != 0)
        (void)err_sys(err, errno, "sync %s", directory);
    else
        error = -1;
    if (dir >= 0)
        (void)close(dir);
    return error == -1 ? QUERN_OK : err->code;
}
