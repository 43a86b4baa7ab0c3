/* os_local_priv.h - what the two halves of the local world share: handles around descriptors. */
#ifndef OS_LOCAL_PRIV_H
#define OS_LOCAL_PRIV_H

#include "os/os.h"

struct local_dir {
    struct os_dir base;
    int fd;
};

struct local_file {
    struct os_file base;
    int fd;
    bool direct; /* opened with OS_DIRECT_SYNC */
};

struct local_lock {
    struct os_lock base;
    int fd; /* the lock belongs to this open file, not to the process */
};

static inline struct local_dir *local_dir(struct os_dir *dir)
{
    return (struct local_dir *)dir;
}

/* os_local_dir.c: the rows of the table that take a directory. */
enum quern_code local_dir_open(struct os *os, const char *path, bool create, struct os_dir **out,
                               struct quern_error *err);
void local_dir_close(struct os_dir *dir);
enum quern_code local_dir_sync(struct os_dir *dir, struct quern_error *err);
enum quern_code local_dir_list(struct os_dir *dir, os_see_fn see, void *arg,
                               struct quern_error *err);
enum quern_code local_dir_stat(struct os_dir *dir, const char *name, uint64_t *bytes,
                               struct quern_error *err);
enum quern_code local_dir_remove(struct os_dir *dir, const char *name, struct quern_error *err);
enum quern_code local_dir_rename(struct os_dir *dir, const char *from, const char *to,
                                 struct quern_error *err);
enum quern_code local_dir_link(struct os_dir *dir, const char *name, struct os_dir *to_dir,
                               const char *to_name, struct quern_error *err);
enum quern_code local_dir_free_bytes(struct os_dir *dir, uint64_t *bytes, struct quern_error *err);
enum quern_code local_dir_may_write(struct os_dir *dir, struct quern_error *err);
enum quern_code local_dir_lock(struct os_dir *dir, const char *name, struct os_lock **out,
                               struct quern_error *err);
void local_unlock(struct os_lock *lock);

/* open(2) below `dir`, close-on-exec, EINTR carried on, plain files only: a pipe, a device or a
 * symbolic link of the right name must not hang or surprise us. Returns the descriptor, or -1 with
 * *err set ("open NAME for <purpose>: reason"). */
int local_open_plain(struct local_dir *dir, const char *name, int flags, const char *purpose,
                     struct quern_error *err);

#endif
