/* os.c - the calls of os.h, handed to the world that made the handle.
 *
 * What holds in every world is kept here once, so that no world can forget it: names are plain,
 * openings make sense, NULL handles are fine to close, and os_publish() is built from the other
 * calls in the one order that survives a crash:
 *
 *     remove NAME.tmp (left by a crash)
 *     create NAME.tmp -> write -> sync -> close     the bytes are durable under a name nobody reads
 *     rename NAME.tmp NAME                          all or nothing
 *     sync the directory                            the new name is durable
 *
 * A failure before the rename removes NAME.tmp; one after it leaves the new bytes under NAME,
 * where they may or may not survive: the caller hears of it. */
#include "os/os.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* A name goes into paths, messages and fixed arrays: it must be one plain file name. */
static enum quern_code check_name(const char *name, struct quern_error *err)
{
    size_t len = strnlen(name, OS_NAME_BYTES_MAX);

    if (len == 0 || len == OS_NAME_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "a file name must have 1 to %u bytes",
                       OS_NAME_BYTES_MAX - 1);
    if (memchr(name, '/', len) != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(err, QUERN_INVALID, "'%s' is not a plain file name", name);
    return QUERN_OK;
}

/* ---- directories ---- */

enum quern_code os_dir_open(struct os *os, const char *path, bool create, struct os_dir **out,
                            struct quern_error *err)
{
    if (os->ops->dir_open(os, path, create, out, err))
        return err->code;
    mutex_init(&(*out)->sync_mu);
    (*out)->sync_failed = false;
    return QUERN_OK;
}

void os_dir_close(struct os_dir *dir)
{
    if (dir == NULL)
        return;
    mutex_done(&dir->sync_mu);
    dir->os->ops->dir_close(dir);
}

struct os *os_of(const struct os_dir *dir)
{
    return dir->os;
}

const char *os_dir_path(const struct os_dir *dir)
{
    return dir->path;
}

enum quern_code os_dir_sync(struct os_dir *dir, struct quern_error *err)
{
    enum quern_code code;

    mutex_lock(&dir->sync_mu); /* so that none succeeds between a failure and its being known */
    if (dir->sync_failed)
        code = err_set(err, QUERN_IO, "sync directory %s: an earlier sync of it failed", dir->path);
    else
        code = dir->os->ops->dir_sync(dir, err);
    dir->sync_failed = code != QUERN_OK;
    mutex_unlock(&dir->sync_mu);
    return code;
}

enum quern_code os_dir_list(struct os_dir *dir, os_see_fn see, void *arg, struct quern_error *err)
{
    return dir->os->ops->dir_list(dir, see, arg, err);
}

enum quern_code os_dir_stat(struct os_dir *dir, const char *name, uint64_t *bytes,
                            struct quern_error *err)
{
    if (check_name(name, err))
        return err->code;
    return dir->os->ops->dir_stat(dir, name, bytes, err);
}

enum quern_code os_dir_remove(struct os_dir *dir, const char *name, struct quern_error *err)
{
    if (check_name(name, err))
        return err->code;
    return dir->os->ops->dir_remove(dir, name, err);
}

enum quern_code os_dir_rename(struct os_dir *dir, const char *from, const char *to,
                              struct quern_error *err)
{
    if (check_name(from, err) || check_name(to, err))
        return err->code;
    return dir->os->ops->dir_rename(dir, from, to, err);
}

enum quern_code os_dir_link(struct os_dir *dir, const char *name, struct os_dir *to_dir,
                            const char *to_name, struct quern_error *err)
{
    if (check_name(name, err) || check_name(to_name, err))
        return err->code;
    if (dir->os != to_dir->os)
        return err_set(err, QUERN_INVALID, "link %s: the directories lie in different worlds",
                       name);
    return dir->os->ops->dir_link(dir, name, to_dir, to_name, err);
}

enum quern_code os_dir_free_bytes(struct os_dir *dir, uint64_t *bytes, struct quern_error *err)
{
    return dir->os->ops->dir_free_bytes(dir, bytes, err);
}

enum quern_code os_dir_may_write(struct os_dir *dir, struct quern_error *err)
{
    return dir->os->ops->dir_may_write(dir, err);
}

enum quern_code os_dir_lock(struct os_dir *dir, const char *name, struct os_lock **out,
                            struct quern_error *err)
{
    if (check_name(name, err))
        return err->code;
    return dir->os->ops->dir_lock(dir, name, out, err);
}

void os_unlock(struct os_lock *lock)
{
    if (lock != NULL)
        lock->os->ops->unlock(lock);
}

/* ---- replacing a file ---- */

static enum quern_code write_whole(struct os_dir *dir, const char *name, struct quern_slice bytes,
                                   struct quern_error *err)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    /* iovec has no const; nothing writes through it. */
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.len};

    if (os_file_open(dir, name, OS_WRITE | OS_CREATE, &file, err) ||
        os_file_write(file, &piece, 1, 0, err) || os_file_sync(file, err))
        return err->code;
    return os_file_close(GIVE(file), err);
}

enum quern_code os_publish(struct os_dir *dir, const char *name, struct quern_slice bytes,
                           struct quern_error *err)
{
    char tmp[OS_NAME_BYTES_MAX + 4];
    struct quern_error ignored;

    if (check_name(name, err))
        return err->code;
    (void)snprintf(tmp, sizeof(tmp), "%s.tmp", name);
    if (os_dir_remove(dir, tmp, err) != QUERN_OK && err->code != QUERN_NO_STORE)
        return err_in(err, "publish %s", name);
    if (write_whole(dir, tmp, bytes, err) || os_dir_rename(dir, tmp, name, err)) {
        if (os_dir_remove(dir, tmp, &ignored))
            err_clear(&ignored); /* nothing more to be done: the next publish removes it */
        return err_in(err, "publish %s", name);
    }
    if (os_dir_sync(dir, err))
        return err_in(err, "publish %s", name);
    err_clear(err); /* of the NO_STORE that a missing NAME.tmp left */
    return QUERN_OK;
}

/* ---- files ---- */

enum quern_code os_file_open(struct os_dir *dir, const char *name, unsigned how,
                             struct os_file **out, struct quern_error *err)
{
    bool reads = how == OS_READ;
    bool writes = (how & OS_WRITE) && !(how & ~(unsigned)(OS_WRITE | OS_CREATE | OS_DIRECT_SYNC));

    if (check_name(name, err))
        return err->code;
    if (!reads && !writes)
        return err_set(err, QUERN_INVALID, "open %s: no such way to open: %u", name, how);
    return dir->os->ops->file_open(dir, name, how, out, err);
}

enum quern_code os_file_close(struct os_file *file, struct quern_error *err)
{
    return file == NULL ? QUERN_OK : file->os->ops->file_close(file, err);
}

void os_file_drop(struct os_file *file)
{
    struct quern_error ignored;

    (void)os_file_close(file, &ignored);
}

enum quern_code os_file_read(struct os_file *file, void *to, size_t len, uint64_t at,
                             struct quern_error *err)
{
    return file->os->ops->file_read(file, to, len, at, err);
}

enum quern_code os_file_write(struct os_file *file, const struct iovec *pieces, int n, uint64_t at,
                              struct quern_error *err)
{
    return file->os->ops->file_write(file, pieces, n, at, err);
}

enum quern_code os_file_sync(struct os_file *file, struct quern_error *err)
{
    return file->os->ops->file_sync(file, err);
}

enum quern_code os_file_truncate(struct os_file *file, uint64_t bytes, struct quern_error *err)
{
    return file->os->ops->file_truncate(file, bytes, err);
}

enum quern_code os_file_size(struct os_file *file, uint64_t *bytes, struct quern_error *err)
{
    return file->os->ops->file_size(file, bytes, err);
}

void os_file_start_writeback(struct os_file *file, uint64_t at, uint64_t len)
{
    file->os->ops->file_start_writeback(file, at, len);
}

void os_file_start_read(struct os_file *file, uint64_t at, uint64_t len)
{
    file->os->ops->file_start_read(file, at, len);
}

enum quern_code os_file_map(struct os_file *file, size_t len, void **out, struct quern_error *err)
{
    return file->os->ops->file_map(file, len, out, err);
}

void os_file_unmap(struct os_file *file, void *map, size_t len)
{
    if (map != NULL)
        file->os->ops->file_unmap(file, map, len);
}

/* ---- time and chance ---- */

uint64_t os_now_ns(struct os *os)
{
    return os->ops->now_ns(os);
}

uint64_t os_wall_ms(struct os *os)
{
    return os->ops->wall_ms(os);
}

void os_random(struct os *os, void *to, size_t len)
{
    os->ops->random(os, to, len);
}
