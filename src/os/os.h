/* os.h - everything quern asks of an operating system about files, as one small interface.
 *
 * A `struct os` is a world: os_local() is this machine; the tests have a simulated disk that
 * forgets what was not synced (test/support/). Nothing above this floor makes a system call on
 * a file. Every call dispatches through `struct os_ops`, so a world is a table of functions.
 *
 * What a crash keeps (a power cut, not kill -9): a file's bytes up to its last os_file_sync();
 * a name (create, rename, link, remove) up to the last os_dir_sync() of its directory. After
 * a failed sync nothing may be assumed, and it is never tried again on the same file.
 *
 * Names are plain file names inside the directory, never paths. Threads: handles may be shared;
 * reads and writes of one file may run at once; closing is the owner's alone. */
#ifndef OS_OS_H
#define OS_OS_H

#include "base/attr.h"
#include "base/thread.h"

#include <quern/types.h>

#include <sys/uio.h>

struct os;
struct os_dir;
struct os_file;
struct os_lock;

#define OS_NAME_BYTES_MAX 64 /* the names quern makes are all shorter */

/* The local machine. Constant, never freed. */
struct os *os_local(void);

/* ---- directories ---- */

/* Open the directory at `path`. With `create`, it is made (mode 0700) if missing and its parent
 * synced. On success *out is the caller's until os_dir_close().
 * Errors: NO_STORE (no such directory), DENIED, IO, NO_MEMORY. */
MUST_USE enum quern_code os_dir_open(struct os *os, const char *path, bool create,
                                     struct os_dir **out, struct quern_error *err);
void os_dir_close(struct os_dir *dir);
OWNER(os_dir_close, struct os_dir *);

struct os *os_of(const struct os_dir *dir);
const char *os_dir_path(const struct os_dir *dir); /* for messages */

/* Make all names of the directory durable. Once this has failed, no later call on the handle
 * succeeds: the names that were pending, other callers' too, may be lost though the system then
 * says OK. */
MUST_USE enum quern_code os_dir_sync(struct os_dir *dir, struct quern_error *err);

/* Call `see` with each plain file's name in no order; stops when it returns non-OK and
 * returns that. Subdirectories are passed over. */
typedef enum quern_code (*os_see_fn)(void *arg, const char *name, struct quern_error *err);
MUST_USE enum quern_code os_dir_list(struct os_dir *dir, os_see_fn see, void *arg,
                                     struct quern_error *err);

/* Size of a file. Errors: NO_STORE when there is none of this name. */
MUST_USE enum quern_code os_dir_stat(struct os_dir *dir, const char *name, uint64_t *bytes,
                                     struct quern_error *err);
MUST_USE enum quern_code os_dir_remove(struct os_dir *dir, const char *name,
                                       struct quern_error *err);
MUST_USE enum quern_code os_dir_rename(struct os_dir *dir, const char *from, const char *to,
                                       struct quern_error *err);
/* One more name, in another directory of the same file system, for the same file. */
MUST_USE enum quern_code os_dir_link(struct os_dir *dir, const char *name, struct os_dir *to_dir,
                                     const char *to_name, struct quern_error *err);
/* Bytes an ordinary user may still write to this file system. */
MUST_USE enum quern_code os_dir_free_bytes(struct os_dir *dir, uint64_t *bytes,
                                           struct quern_error *err);
/* May this process make files here? Errors: DENIED, also where the file system takes no writes. */
MUST_USE enum quern_code os_dir_may_write(struct os_dir *dir, struct quern_error *err);

/* Hold the file `name` (made if missing) against every other holder, in this process or another,
 * until os_unlock() or the end of the process. Errors: LOCKED, DENIED, IO, NO_MEMORY. */
MUST_USE enum quern_code os_dir_lock(struct os_dir *dir, const char *name, struct os_lock **out,
                                     struct quern_error *err);
void os_unlock(struct os_lock *lock); /* NULL is fine; the file stays */

/* Replace `name` by these bytes, all or nothing, durable at return: write a temporary file, sync
 * it, rename it, sync the directory. */
MUST_USE enum quern_code os_publish(struct os_dir *dir, const char *name, struct quern_slice bytes,
                                    struct quern_error *err);

/* ---- files ---- */

enum os_open {
    OS_READ = 1,       /* read an existing file */
    OS_WRITE = 2,      /* read and write an existing file */
    OS_CREATE = 4,     /* with OS_WRITE: the file must not exist, and is made, mode 0600 */
    OS_DIRECT_SYNC = 8 /* with OS_WRITE: each write is durable at return and skips the cache;
                        * offset, length and memory in whole OS_DIRECT_BYTES. UNSUPPORTED where
                        * the file system cannot */
};
#define OS_DIRECT_BYTES 4096u

MUST_USE enum quern_code os_file_open(struct os_dir *dir, const char *name, unsigned how,
                                      struct os_file **out, struct quern_error *err);
/* Closing reports: an error here after writing is as bad as a failed sync. NULL is fine. */
enum quern_code os_file_close(struct os_file *file, struct quern_error *err);
void os_file_drop(struct os_file *file); /* close without asking: for readers and failures */
OWNER(os_file_drop, struct os_file *);

/* Exactly `len` bytes from `at`. A file that ends sooner is CORRUPT ("ends at N, wanted ..."). */
MUST_USE enum quern_code os_file_read(struct os_file *file, void *to, size_t len, uint64_t at,
                                      struct quern_error *err);
/* All of the `n` pieces, one after the other, at `at`: short writes and EINTR are carried on.
 * On failure an unknown part may have been written. Errors: NO_SPACE, IO, UNSUPPORTED (a file
 * opened with OS_DIRECT_SYNC whose file system takes no direct writes after all). */
MUST_USE enum quern_code os_file_write(struct os_file *file, const struct iovec *pieces, int n,
                                       uint64_t at, struct quern_error *err);
/* Bytes and size durable at return (fdatasync). */
MUST_USE enum quern_code os_file_sync(struct os_file *file, struct quern_error *err);
MUST_USE enum quern_code os_file_truncate(struct os_file *file, uint64_t bytes,
                                          struct quern_error *err);
MUST_USE enum quern_code os_file_size(struct os_file *file, uint64_t *bytes,
                                      struct quern_error *err);
/* Ask for write-back of [at, at+len) to begin now, so that a later sync has less to do. A hint: it
 * cannot fail. */
void os_file_start_writeback(struct os_file *file, uint64_t at, uint64_t len);
/* The bytes [at, at+len) will be read soon: begin to read them, and do not wait until they are there.
 * So that several reads are under way at once, begin all of them before the first is waited for. A
 * hint: it cannot fail, and a read that was not begun is only slower. */
void os_file_start_read(struct os_file *file, uint64_t at, uint64_t len);

/* Map the first `len` bytes for reading and writing. Only bytes that were written before (so that
 * their blocks are allocated) may be touched. The mapping may reach past the end of the file.
 * UNSUPPORTED where the world has no mappings. Unmap before closing. */
MUST_USE enum quern_code os_file_map(struct os_file *file, size_t len, void **out,
                                     struct quern_error *err);
void os_file_unmap(struct os_file *file, void *map, size_t len);

/* ---- time and chance ---- */

uint64_t os_now_ns(struct os *os);  /* monotonic */
uint64_t os_wall_ms(struct os *os); /* milliseconds since 1970; may jump */
void os_random(struct os *os, void *to, size_t len);
static inline uint64_t os_random_u64(struct os *os)
{
    uint64_t v;

    os_random(os, &v, sizeof(v));
    return v;
}

/* ---- a world as a table: one row per call above, same contracts ---- */

struct os_ops {
    enum quern_code (*dir_open)(struct os *, const char *, bool, struct os_dir **,
                                struct quern_error *);
    void (*dir_close)(struct os_dir *);
    enum quern_code (*dir_sync)(struct os_dir *, struct quern_error *);
    enum quern_code (*dir_list)(struct os_dir *, os_see_fn, void *, struct quern_error *);
    enum quern_code (*dir_stat)(struct os_dir *, const char *, uint64_t *, struct quern_error *);
    enum quern_code (*dir_remove)(struct os_dir *, const char *, struct quern_error *);
    enum quern_code (*dir_rename)(struct os_dir *, const char *, const char *,
                                  struct quern_error *);
    enum quern_code (*dir_link)(struct os_dir *, const char *, struct os_dir *, const char *,
                                struct quern_error *);
    enum quern_code (*dir_free_bytes)(struct os_dir *, uint64_t *, struct quern_error *);
    enum quern_code (*dir_may_write)(struct os_dir *, struct quern_error *);
    enum quern_code (*dir_lock)(struct os_dir *, const char *, struct os_lock **,
                                struct quern_error *);
    void (*unlock)(struct os_lock *);
    enum quern_code (*file_open)(struct os_dir *, const char *, unsigned, struct os_file **,
                                 struct quern_error *);
    enum quern_code (*file_close)(struct os_file *, struct quern_error *);
    enum quern_code (*file_read)(struct os_file *, void *, size_t, uint64_t, struct quern_error *);
    enum quern_code (*file_write)(struct os_file *, const struct iovec *, int, uint64_t,
                                  struct quern_error *);
    enum quern_code (*file_sync)(struct os_file *, struct quern_error *);
    enum quern_code (*file_truncate)(struct os_file *, uint64_t, struct quern_error *);
    enum quern_code (*file_size)(struct os_file *, uint64_t *, struct quern_error *);
    void (*file_start_writeback)(struct os_file *, uint64_t, uint64_t);
    void (*file_start_read)(struct os_file *, uint64_t, uint64_t);
    enum quern_code (*file_map)(struct os_file *, size_t, void **, struct quern_error *);
    void (*file_unmap)(struct os_file *, void *, size_t);
    uint64_t (*now_ns)(struct os *);
    uint64_t (*wall_ms)(struct os *);
    void (*random)(struct os *, void *, size_t);
};

/* What every world's handles begin with; the rest of each is the world's own. */
struct os {
    const struct os_ops *ops;
};
struct os_dir {
    struct os *os;
    char *path; /* owned by the world that made it */
    struct mutex sync_mu;
    bool sync_failed; /* guarded by sync_mu, which is held through a sync */
};
struct os_file {
    struct os *os;
    char name[OS_NAME_BYTES_MAX];
};
struct os_lock {
    struct os *os;
};

#endif
