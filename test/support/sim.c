/* sim.c - the simulated world: the table of calls, and what may go wrong with each.
 *
 * Every counted call passes one gate, sim_begin(), which takes the mutex and says how the call
 * will go:
 *
 *     call -> begin -+-> GO    done as asked; sim_end() gives the mutex back
 *                    +-> FAIL  a fault: done in part or not at all, then the fault's errno
 *                    +-> LIE   a fault without errno: not done, and OK (flip_bit, shift_bytes,
 *                              stale: GO, and done wrong; delay_us: GO, and late)
 *                    +-> CUT   the power goes during this call: done in part or not, nothing of
 *                    |         it durable; then the disk is frozen
 *                    '-> OFF   the power is gone already
 *
 * Each call asks `how` what to do, changes the disk, and ends with sim_end(), which freezes the
 * disk on CUT and words the error. */
#include "sim.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/error.h"
#include "base/thread.h"
#include "sim_priv.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP_KINDS 17

struct planned {
    struct planned *next;
    struct sim_fault fault;
    char *name;
    uint64_t seen;
};

#define BEGUN_MAX 4096u

struct sim {
    struct os os; /* first: the world's handle is the sim */
    struct mutex mu;
    /* Guarded by mu, all that follows. */
    struct disk disk;
    uint64_t counts[OP_KINDS];
    unsigned cut_kinds;
    uint64_t cut_at; /* 0: never */
    bool off;
    struct planned *faults;
    uint64_t hits;
    bool mapping, direct;
    _Atomic unsigned sync_us;
    uint64_t wall_ms;
    unsigned handles;
    struct begun {
        const struct inode *inode;
        uint64_t at;
    } begun[BEGUN_MAX]; /* reads that were begun and not made yet */
    unsigned begun_count, begun_most;
};

struct sim_dir {
    struct os_dir base;
    struct node *node;
};

struct sim_file {
    struct os_file base;
    struct inode *inode;
    bool writes, direct;
};

struct sim_lock {
    struct os_lock base;
    struct inode *inode;
};

static const struct os_ops sim_ops;

static struct sim *sim_of(struct os *os)
{
    return (struct sim *)os;
}

static struct node *node_of(struct os_dir *dir)
{
    return ((struct sim_dir *)dir)->node;
}

static struct sim_file *file_of(struct os_file *file)
{
    return (struct sim_file *)file;
}

/* ---- the gate ---- */

enum way { GO, FAIL, LIE, CUT, OFF };

struct how {
    struct sim *sim;
    enum way way;
    int sys_errno;
    uint64_t part_bytes;
    bool flip_bit;
    uint64_t shift_bytes;
    bool stale, drop_dirty;
    unsigned delay_us;
};

/* A call that goes its way or is cut off half-way through it: the disk changes. */
static bool how_changes(const struct how *how)
{
    return how->way == GO || (how->way == CUT && (disk_random(&how->sim->disk) & 1));
}

static uint64_t count_of(const struct sim *s, unsigned kinds)
{
    uint64_t n = 0;

    for (unsigned k = 0; k < OP_KINDS; k++)
        if (kinds >> k & 1)
            n += s->counts[k];
    return n;
}

static void meet_faults(struct sim *s, enum sim_op op, const char *name, struct how *how)
{
    for (struct planned *p = s->faults; p != NULL; p = p->next) {
        const struct sim_fault *f = &p->fault;
        uint64_t nth;

        if (!((f->ops ? f->ops : SIM_ANY) & (unsigned)op) ||
            (p->name != NULL && fnmatch(p->name, name, 0) != 0))
            continue;
        nth = p->seen++;
        if (how->way != GO || nth < f->skip || (nth > f->skip && !f->always))
            continue;
        s->hits++;
        if (f->sys_errno != 0)
            how->way = FAIL;
        else if (!f->flip_bit && f->shift_bytes == 0 && !f->stale && f->delay_us == 0)
            how->way = LIE;
        how->flip_bit = f->flip_bit;
        how->shift_bytes = f->shift_bytes;
        how->sys_errno = f->sys_errno;
        how->part_bytes = f->part_bytes;
        how->stale = f->stale;
        how->drop_dirty = f->drop_dirty;
        how->delay_us = f->delay_us;
    }
}

static struct how sim_begin(struct os *os, enum sim_op op, const char *name)
{
    struct sim *s = sim_of(os);
    struct how how = {.sim = s, .way = GO};

    mutex_lock(&s->mu);
    s->counts[__builtin_ctz((unsigned)op)]++;
    if (s->off)
        how.way = OFF;
    else if (s->cut_at != 0 && ((unsigned)op & s->cut_kinds) &&
             count_of(s, s->cut_kinds) >= s->cut_at)
        how.way = CUT;
    else
        meet_faults(s, op, name, &how);
    return how;
}

/* Leave the gate; `deed` is "sync 000012.wal" or the like. */
static enum quern_code sim_end(struct how *how, struct quern_error *err, const char *deed,
                               const char *name)
{
    struct sim *s = how->sim;

    if (how->way == CUT) {
        disk_freeze(&s->disk);
        s->off = true;
    }
    mutex_unlock(&s->mu);
    if (how->delay_us != 0) /* outside: others go on meanwhile */
        thread_sleep_ns(how->delay_us * UINT64_C(1000));
    if (how->way == GO || how->way == LIE)
        return QUERN_OK;
    if (how->way == FAIL)
        return err_sys(err, how->sys_errno, "%s %s", deed, name);
    return err_set(err, QUERN_IO, "%s %s: the power is gone", deed, name);
}

/* The call itself cannot be done: as a real disk would answer. */
static void how_fail(struct how *how, int sys_errno)
{
    how->way = FAIL;
    how->sys_errno = sys_errno;
}

static enum quern_code unsupported(struct how *how, struct quern_error *err, const char *what,
                                   const char *name)
{
    mutex_unlock(&how->sim->mu);
    return err_set(err, QUERN_UNSUPPORTED, "%s %s: this disk cannot", what, name);
}

/* ---- directories ---- */

/* "./data//" is "data": the same directory by any spelling, links and ".." apart. */
static char *plain_path(const char *path)
{
    char *plain = must(malloc(strlen(path) + 2));
    size_t n = 0;

    if (*path == '/')
        plain[n++] = '/';
    while (*path != '\0') {
        size_t part;

        path += strspn(path, "/");
        part = strcspn(path, "/");
        if (part == 0 || (part == 1 && *path == '.')) {
            path += part;
            continue;
        }
        if (n > 0 && plain[n - 1] != '/')
            plain[n++] = '/';
        memcpy(plain + n, path, part);
        n += part;
        path += part;
    }
    plain[n] = '\0';
    return plain;
}

/* The root and the working directory always exist. */
static bool parent_exists(struct disk *d, const char *plain)
{
    const char *slash = strrchr(plain, '/');
    char *parent;
    bool found;

    if (slash == NULL || slash == plain)
        return true;
    parent = must(strndup(plain, (size_t)(slash - plain)));
    found = disk_node(d, parent) != NULL;
    free(parent);
    return found;
}

static struct node *open_node(struct how *how, const char *plain, bool create)
{
    struct disk *d = &how->sim->disk;
    struct node *n = disk_node(d, plain);

    if (n != NULL)
        return n;
    if (plain[0] != '\0' && strcmp(plain, "/") != 0 && (!create || !parent_exists(d, plain))) {
        how_fail(how, ENOENT);
        return NULL;
    }
    return disk_make_node(d, plain);
}

static enum quern_code sim_dir_open(struct os *os, const char *path, bool create,
                                    struct os_dir **out, struct quern_error *err)
{
    struct sim_dir *dir OWNED(alloc_free) = NEW(struct sim_dir);
    char *copy OWNED(alloc_free) = alloc_bytes(strlen(path) + 1);
    char *plain = plain_path(path);
    struct how how;

    if (dir == NULL || copy == NULL) {
        free(plain);
        return err_memory(err, "a directory handle");
    }
    memcpy(copy, path, strlen(path) + 1);
    how = sim_begin(os, SIM_DIR_OPEN, plain);
    ensure(how.way != LIE);
    if (how.way == GO)
        dir->node =
            path[0] == '\0' ? (how_fail(&how, ENOENT), NULL) : open_node(&how, plain, create);
    if (how.way == GO)
        how.sim->handles++;
    free(plain);
    if (sim_end(&how, err, "open directory", path))
        return err->code;
    dir->base.os = os;
    dir->base.path = GIVE(copy);
    *out = &GIVE(dir)->base;
    return QUERN_OK;
}

static void sim_dir_close(struct os_dir *dir)
{
    struct sim *s = sim_of(dir->os);

    mutex_lock(&s->mu);
    s->handles--;
    mutex_unlock(&s->mu);
    alloc_free(dir->path);
    alloc_free(dir);
}

static enum quern_code sim_dir_sync(struct os_dir *dir, struct quern_error *err)
{
    struct how how = sim_begin(dir->os, SIM_DIR_SYNC, dir->path);

    if (how.way == GO)
        node_sync(&how.sim->disk, node_of(dir));
    if (how.drop_dirty)
        node_drop_pending(&how.sim->disk, node_of(dir));
    return sim_end(&how, err, "sync directory", dir->path);
}

/* The names are copied first: `see` may well remove what it sees. */
static enum quern_code sim_dir_list(struct os_dir *dir, os_see_fn see, void *arg,
                                    struct quern_error *err)
{
    struct how how = sim_begin(dir->os, SIM_LIST, dir->path);
    size_t count = node_of(dir)->live.count;
    struct name *names = must(calloc(count + 1, sizeof(*names)));
    enum quern_code code;

    ensure(how.way != LIE);
    for (size_t k = 0; k < count; k++)
        names[k] = node_of(dir)->live.at[k];
    code = sim_end(&how, err, "list directory", dir->path);
    for (size_t k = 0; k < count && code == QUERN_OK; k++)
        code = see(arg, names[k].name, err);
    free(names);
    return code;
}

/* The file of this name; none fails the call. */
static struct inode *wanted(struct how *how, struct os_dir *dir, const char *name)
{
    struct inode *i = node_inode(node_of(dir), name);

    if (i == NULL && how->way == GO)
        how_fail(how, ENOENT);
    return i;
}

static enum quern_code sim_dir_stat(struct os_dir *dir, const char *name, uint64_t *bytes,
                                    struct quern_error *err)
{
    struct how how = sim_begin(dir->os, SIM_STAT, name);
    struct inode *i = wanted(&how, dir, name);

    ensure(how.way != LIE);
    if (how.way == GO)
        *bytes = i->size;
    return sim_end(&how, err, "size of", name);
}

static enum quern_code sim_dir_remove(struct os_dir *dir, const char *name, struct quern_error *err)
{
    struct how how = sim_begin(dir->os, SIM_REMOVE, name);
    struct inode *i = wanted(&how, dir, name);

    if (i != NULL && how_changes(&how))
        node_change(&how.sim->disk, node_of(dir), name, "", NULL);
    return sim_end(&how, err, "remove", name);
}

static enum quern_code sim_dir_rename(struct os_dir *dir, const char *from, const char *to,
                                      struct quern_error *err)
{
    char deed[OS_NAME_BYTES_MAX + 16];
    struct how how = sim_begin(dir->os, SIM_RENAME, to);
    struct inode *i = wanted(&how, dir, from);

    if (i != NULL && how_changes(&how) && node_inode(node_of(dir), to) != i)
        node_change(&how.sim->disk, node_of(dir), from, to, i);
    (void)snprintf(deed, sizeof(deed), "rename %s to", from);
    return sim_end(&how, err, deed, to);
}

static enum quern_code sim_dir_link(struct os_dir *dir, const char *name, struct os_dir *to_dir,
                                    const char *to_name, struct quern_error *err)
{
    char deed[OS_NAME_BYTES_MAX + 16];
    struct how how = sim_begin(dir->os, SIM_LINK, name);
    struct inode *i = wanted(&how, dir, name);

    if (how.way == GO && node_inode(node_of(to_dir), to_name) != NULL)
        how_fail(&how, EEXIST);
    if (i != NULL && how_changes(&how) && node_inode(node_of(to_dir), to_name) == NULL)
        node_change(&how.sim->disk, node_of(to_dir), "", to_name, i);
    (void)snprintf(deed, sizeof(deed), "link %s as", name);
    return sim_end(&how, err, deed, to_name);
}

static enum quern_code sim_dir_free_bytes(struct os_dir *dir, uint64_t *bytes,
                                          struct quern_error *err)
{
    struct how how = sim_begin(dir->os, SIM_FREE_BYTES, dir->path);

    ensure(how.way != LIE);
    if (how.way == GO)
        *bytes = disk_free_bytes(&how.sim->disk);
    return sim_end(&how, err, "free space of", dir->path);
}

static enum quern_code sim_dir_may_write(struct os_dir *dir, struct quern_error *err)
{
    struct how how = sim_begin(dir->os, SIM_STAT, dir->path);

    ensure(how.way != LIE);
    return sim_end(&how, err, "write to", dir->path);
}

/* ---- the lock ---- */

static struct inode *create(struct how *how, struct os_dir *dir, const char *name)
{
    struct inode *i = inode_new(&how->sim->disk);

    node_change(&how->sim->disk, node_of(dir), "", name, i);
    return i;
}

static enum quern_code sim_dir_lock(struct os_dir *dir, const char *name, struct os_lock **out,
                                    struct quern_error *err)
{
    struct sim_lock *lock OWNED(alloc_free) = NEW(struct sim_lock);
    struct how how;
    struct inode *i;

    if (lock == NULL)
        return err_memory(err, "a lock");
    how = sim_begin(dir->os, SIM_LOCK, name);
    ensure(how.way != LIE);
    i = node_inode(node_of(dir), name);
    if (i == NULL && how_changes(&how))
        i = create(&how, dir, name);
    if (how.way == GO && i->locked) {
        mutex_unlock(&how.sim->mu);
        return err_set(err, QUERN_LOCKED, "%s/%s is held by another handle", dir->path, name);
    }
    if (how.way == GO) {
        i->locked = true;
        inode_use(i);
        how.sim->handles++;
        lock->inode = i;
    }
    if (sim_end(&how, err, "lock", name))
        return err->code;
    lock->base.os = dir->os;
    *out = &GIVE(lock)->base;
    return QUERN_OK;
}

static void sim_unlock(struct os_lock *base)
{
    struct sim_lock *lock = (struct sim_lock *)base;
    struct sim *s = sim_of(base->os);

    mutex_lock(&s->mu);
    lock->inode->locked = false;
    inode_unuse(&s->disk, lock->inode);
    s->handles--;
    mutex_unlock(&s->mu);
    alloc_free(lock);
}

/* ---- files ---- */

static enum quern_code sim_file_open(struct os_dir *dir, const char *name, unsigned kind,
                                     struct os_file **out, struct quern_error *err)
{
    struct sim_file *file OWNED(alloc_free) = NEW(struct sim_file);
    struct how how;
    struct inode *i;

    if (file == NULL)
        return err_memory(err, "a file handle");
    how = sim_begin(dir->os, kind & OS_CREATE ? SIM_CREATE : SIM_OPEN, name);
    ensure(how.way != LIE);
    if (how.way == GO && (kind & OS_DIRECT_SYNC) && !how.sim->direct)
        return unsupported(&how, err, "open", name);
    i = node_inode(node_of(dir), name);
    if (how.way == GO && (i != NULL) == ((kind & OS_CREATE) != 0))
        how_fail(&how, i != NULL ? EEXIST : ENOENT);
    if ((kind & OS_CREATE) && i == NULL && how_changes(&how))
        i = create(&how, dir, name);
    if (how.way == GO) {
        inode_use(i);
        how.sim->handles++;
        file->inode = i;
    }
    if (sim_end(&how, err, kind & OS_CREATE ? "create" : "open", name))
        return err->code;
    file->base.os = dir->os;
    (void)snprintf(file->base.name, sizeof(file->base.name), "%s", name);
    file->writes = (kind & OS_WRITE) != 0;
    file->direct = (kind & OS_DIRECT_SYNC) != 0;
    *out = &GIVE(file)->base;
    return QUERN_OK;
}

/* The handle goes in any case. */
static enum quern_code sim_file_close(struct os_file *base, struct quern_error *err)
{
    struct sim_file *file OWNED(alloc_free) = file_of(base);
    struct how how = sim_begin(base->os, SIM_CLOSE, base->name);

    inode_unuse(&how.sim->disk, file->inode);
    how.sim->handles--;
    return sim_end(&how, err, "close", base->name);
}

static void read_somehow(struct how *how, const struct inode *i, void *to, size_t len, uint64_t at)
{
    uint64_t chance;

    if (how->shift_bytes != 0)
        at = (at + how->shift_bytes) % (i->size - len + 1);
    if (how->stale)
        inode_read_disk(i, to, len, at);
    else
        inode_read(i, to, len, at);
    if (!how->flip_bit)
        return;
    chance = disk_random(&how->sim->disk);
    ((uint8_t *)to)[chance / 8 % len] ^= (uint8_t)(1u << chance % 8);
}

/* Where it stands among the reads that were begun; begun_count: it does not. */
static unsigned find_begun(const struct sim *s, const struct inode *i, uint64_t at)
{
    unsigned k = 0;

    while (k < s->begun_count && (s->begun[k].inode != i || s->begun[k].at != at))
        k++;
    return k;
}

static void end_begun(struct sim *s, const struct inode *i, uint64_t at)
{
    unsigned k = find_begun(s, i, at);

    if (k < s->begun_count)
        s->begun[k] = s->begun[--s->begun_count];
}

static void sim_file_start_read(struct os_file *file, uint64_t at, uint64_t len)
{
    struct sim *s = sim_of(file->os);
    const struct inode *i = file_of(file)->inode;

    mutex_lock(&s->mu);
    ensure(len > 0);
    if (find_begun(s, i, at) == s->begun_count && s->begun_count < BEGUN_MAX)
        s->begun[s->begun_count++] = (struct begun){i, at};
    if (s->begun_count > s->begun_most)
        s->begun_most = s->begun_count;
    mutex_unlock(&s->mu);
}

static enum quern_code sim_file_read(struct os_file *file, void *to, size_t len, uint64_t at,
                                     struct quern_error *err)
{
    struct how how = sim_begin(file->os, SIM_READ, file->name);
    const struct inode *i = file_of(file)->inode;
    uint64_t size = i->size;

    end_begun(how.sim, i, at);

    ensure(how.way != LIE);
    if (how.way == GO && len != 0 && (at > size || len > size - at)) {
        mutex_unlock(&how.sim->mu);
        return err_set(err, QUERN_CORRUPT, "%s ends at %" PRIu64 ", wanted %zu bytes at %" PRIu64,
                       file->name, size, len, at);
    }
    if (how.way == GO && len != 0)
        read_somehow(&how, i, to, len, at);
    else if (how.way == FAIL && how.part_bytes < len && at <= size && how.part_bytes < size - at)
        inode_read(i, to, (size_t)how.part_bytes, at);
    return sim_end(&how, err, "read", file->name);
}

static void check_direct(const struct iovec *pieces, int n, uint64_t at)
{
    ensure(at % OS_DIRECT_BYTES == 0);
    for (int k = 0; k < n; k++) {
        ensure((uintptr_t)pieces[k].iov_base % OS_DIRECT_BYTES == 0);
        ensure(pieces[k].iov_len % OS_DIRECT_BYTES == 0);
    }
}

/* The first `limit` bytes of the pieces. */
static void write_pieces(struct how *how, struct inode *i, const struct iovec *pieces, int n,
                         uint64_t at, uint64_t limit)
{
    for (int k = 0; k < n && limit > 0; k++) {
        size_t len = pieces[k].iov_len < limit ? pieces[k].iov_len : (size_t)limit;

        inode_write(&how->sim->disk, i, pieces[k].iov_base, len, at);
        at += len;
        limit -= len;
    }
}

/* One bit of what was just written to [at, at + len). */
static void flip_bit(struct how *how, struct inode *i, uint64_t at, uint64_t len)
{
    uint64_t chance = disk_random(&how->sim->disk);
    uint8_t byte;

    at += chance / 8 % len;
    inode_read(i, &byte, 1, at);
    byte ^= (uint8_t)(1u << chance % 8);
    inode_write(&how->sim->disk, i, &byte, 1, at);
}

/* A disk takes its time. Others go on meanwhile, so this comes before the gate. */
static void take_time(const struct os_file *file)
{
    unsigned us = atomic_load(&sim_of(file->os)->sync_us);

    if (us != 0)
        thread_sleep_ns(us * UINT64_C(1000));
}

static enum quern_code sim_file_write(struct os_file *file, const struct iovec *pieces, int n,
                                      uint64_t at, struct quern_error *err)
{
    struct inode *i = file_of(file)->inode;
    uint64_t len = 0, fits;
    struct how how;

    if (file_of(file)->direct) {
        check_direct(pieces, n, at);
        take_time(file);
    }
    how = sim_begin(file->os, SIM_WRITE, file->name);
    for (int k = 0; k < n; k++)
        len += pieces[k].iov_len;
    ensure(at <= INT64_MAX && len <= INT64_MAX - at);
    at += how.shift_bytes;
    if (how.way == GO && !file_of(file)->writes)
        how_fail(&how, EBADF);
    fits = inode_fits(&how.sim->disk, i, at, len);
    if (how.way == GO && fits < len) {
        how_fail(&how, ENOSPC);
        how.part_bytes = fits;
    }
    if (how.way == GO)
        how.part_bytes = len;
    else if (how.way == CUT && how_changes(&how))
        how.part_bytes = disk_random(&how.sim->disk) % (len + 1);
    if (how.part_bytes > fits)
        how.part_bytes = fits;
    write_pieces(&how, i, pieces, n, at, how.part_bytes < len ? how.part_bytes : len);
    if (how.way == GO && how.flip_bit && len != 0)
        flip_bit(&how, i, at, len);
    if (how.way == GO && file_of(file)->direct && len != 0)
        inode_make_durable(i, at, len);
    if (how.way == FAIL && how.sys_errno == EINVAL && file_of(file)->direct)
        return unsupported(&how, err, "write directly to", file->name);
    return sim_end(&how, err, "write", file->name);
}

static enum quern_code sim_file_sync(struct os_file *file, struct quern_error *err)
{
    struct how how;

    take_time(file);
    how = sim_begin(file->os, SIM_SYNC, file->name);
    if (how.way == GO)
        inode_sync(file_of(file)->inode);
    if (how.drop_dirty)
        inode_give_up(file_of(file)->inode);
    return sim_end(&how, err, "sync", file->name);
}

static enum quern_code sim_file_truncate(struct os_file *file, uint64_t bytes,
                                         struct quern_error *err)
{
    struct how how = sim_begin(file->os, SIM_TRUNCATE, file->name);

    if (how.way == GO && !file_of(file)->writes)
        how_fail(&how, EINVAL);
    if (how_changes(&how))
        inode_truncate(file_of(file)->inode, bytes);
    return sim_end(&how, err, "truncate", file->name);
}

static enum quern_code sim_file_size(struct os_file *file, uint64_t *bytes, struct quern_error *err)
{
    struct how how = sim_begin(file->os, SIM_STAT, file->name);

    ensure(how.way != LIE);
    if (how.way == GO)
        *bytes = file_of(file)->inode->size;
    return sim_end(&how, err, "size of", file->name);
}

static void sim_file_hint(struct os_file *file, uint64_t at, uint64_t len)
{
    (void)file;
    (void)at;
    (void)len;
}

static enum quern_code sim_file_map(struct os_file *file, size_t len, void **out,
                                    struct quern_error *err)
{
    struct how how = sim_begin(file->os, SIM_MAP, file->name);
    void *map = NULL;

    ensure(how.way != LIE);
    if (how.way == GO && !how.sim->mapping)
        return unsupported(&how, err, "map", file->name);
    if (how.way == GO && !file_of(file)->writes)
        how_fail(&how, EACCES);
    if (how.way == GO && (map = inode_map(file_of(file)->inode, len)) == NULL)
        how_fail(&how, ENOMEM);
    if (how.way == GO)
        how.sim->handles++;
    if (sim_end(&how, err, "map", file->name))
        return err->code;
    *out = map;
    return QUERN_OK;
}

static void sim_file_unmap(struct os_file *file, void *map, size_t len)
{
    struct sim *s = sim_of(file->os);

    (void)map;
    (void)len;
    mutex_lock(&s->mu);
    inode_unmap(file_of(file)->inode);
    s->handles--;
    mutex_unlock(&s->mu);
}

/* ---- time and chance ---- */

static uint64_t sim_now_ns(struct os *os)
{
    (void)os;
    return os_now_ns(os_local());
}

static uint64_t sim_wall_ms(struct os *os)
{
    struct sim *s = sim_of(os);
    uint64_t ms;

    mutex_lock(&s->mu);
    ms = s->wall_ms;
    mutex_unlock(&s->mu);
    return ms != 0 ? ms : os_wall_ms(os_local());
}

static void sim_random(struct os *os, void *to, size_t len)
{
    struct sim *s = sim_of(os);
    uint8_t *at = to;

    mutex_lock(&s->mu);
    for (size_t k = 0; k < len; k++)
        at[k] = (uint8_t)(disk_random(&s->disk) >> 32);
    mutex_unlock(&s->mu);
}

static const struct os_ops sim_ops = {
    .dir_open = sim_dir_open,
    .dir_close = sim_dir_close,
    .dir_sync = sim_dir_sync,
    .dir_list = sim_dir_list,
    .dir_stat = sim_dir_stat,
    .dir_remove = sim_dir_remove,
    .dir_rename = sim_dir_rename,
    .dir_link = sim_dir_link,
    .dir_free_bytes = sim_dir_free_bytes,
    .dir_may_write = sim_dir_may_write,
    .dir_lock = sim_dir_lock,
    .unlock = sim_unlock,
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_sync = sim_file_sync,
    .file_truncate = sim_file_truncate,
    .file_size = sim_file_size,
    .file_start_writeback = sim_file_hint,
    .file_start_read = sim_file_start_read,
    .file_map = sim_file_map,
    .file_unmap = sim_file_unmap,
    .now_ns = sim_now_ns,
    .wall_ms = sim_wall_ms,
    .random = sim_random,
};

/* ---- the tester's side ---- */

struct sim *sim_new(uint64_t seed)
{
    struct sim *s = must(calloc(1, sizeof(*s)));

    s->os.ops = &sim_ops;
    mutex_init(&s->mu);
    s->disk.random = seed;
    s->disk.space_total = UINT64_MAX;
    s->mapping = s->direct = true;
    return s;
}

void sim_free(struct sim *s)
{
    if (s == NULL)
        return;
    if (s->handles != 0) {
        (void)fprintf(stderr, "sim: %u handles are still open\n", s->handles);
        abort();
    }
    sim_fail_never(s);
    disk_done(&s->disk);
    mutex_done(&s->mu);
    free(s);
}

struct os *sim_os(struct sim *s)
{
    return &s->os;
}

struct sim *sim_crash(struct sim *s, uint64_t seed, enum sim_crash_mode mode)
{
    struct sim *after = sim_new(seed);

    mutex_lock(&s->mu);
    disk_crash(&after->disk, &s->disk, mode);
    after->mapping = s->mapping;
    after->direct = s->direct;
    after->wall_ms = s->wall_ms;
    atomic_store(&after->sync_us, atomic_load(&s->sync_us));
    mutex_unlock(&s->mu);
    return after;
}

uint64_t sim_op_count_of(struct sim *s, unsigned kinds)
{
    uint64_t n;

    mutex_lock(&s->mu);
    n = count_of(s, kinds);
    mutex_unlock(&s->mu);
    return n;
}

unsigned sim_reads_begun(struct sim *s, unsigned *most)
{
    unsigned n;

    mutex_lock(&s->mu);
    n = s->begun_count;
    *most = s->begun_most;
    mutex_unlock(&s->mu);
    return n;
}

uint64_t sim_op_count(struct sim *s)
{
    return sim_op_count_of(s, SIM_ANY);
}

void sim_crash_at_of(struct sim *s, unsigned kinds, uint64_t k)
{
    mutex_lock(&s->mu);
    s->cut_kinds = kinds;
    s->cut_at = k;
    mutex_unlock(&s->mu);
}

void sim_crash_at(struct sim *s, uint64_t k)
{
    sim_crash_at_of(s, SIM_ANY, k);
}

bool sim_is_off(struct sim *s)
{
    bool off;

    mutex_lock(&s->mu);
    off = s->off;
    mutex_unlock(&s->mu);
    return off;
}

void sim_fail(struct sim *s, const struct sim_fault *fault)
{
    struct planned *p = must(calloc(1, sizeof(*p)));

    p->fault = *fault;
    if (fault->name != NULL)
        p->name = must(strdup(fault->name));
    mutex_lock(&s->mu);
    p->next = s->faults;
    s->faults = p;
    mutex_unlock(&s->mu);
}

void sim_fail_never(struct sim *s)
{
    mutex_lock(&s->mu);
    for (struct planned *p = s->faults, *next; p != NULL; p = next) {
        next = p->next;
        free(p->name);
        free(p);
    }
    s->faults = NULL;
    mutex_unlock(&s->mu);
}

uint64_t sim_fault_hits(struct sim *s)
{
    uint64_t hits;

    mutex_lock(&s->mu);
    hits = s->hits;
    mutex_unlock(&s->mu);
    return hits;
}

void sim_set_mapping(struct sim *s, bool can)
{
    mutex_lock(&s->mu);
    s->mapping = can;
    mutex_unlock(&s->mu);
}

void sim_set_direct(struct sim *s, bool can)
{
    mutex_lock(&s->mu);
    s->direct = can;
    mutex_unlock(&s->mu);
}

void sim_set_sync_us(struct sim *s, unsigned us)
{
    atomic_store(&s->sync_us, us);
}

void sim_set_wall_ms(struct sim *s, uint64_t wall_ms)
{
    mutex_lock(&s->mu);
    s->wall_ms = wall_ms;
    mutex_unlock(&s->mu);
}

void sim_free_space(struct sim *s, uint64_t bytes)
{
    mutex_lock(&s->mu);
    s->disk.space_total = UINT64_MAX - 1;
    if (bytes != UINT64_MAX)
        s->disk.space_total = bytes + (UINT64_MAX - 1 - disk_free_bytes(&s->disk));
    else
        s->disk.space_total = UINT64_MAX;
    mutex_unlock(&s->mu);
}

/* Visits each name, live; `visit` gets the path and the file. Holds the mutex. */
static size_t each_match(struct sim *s, const char *pattern,
                         bool (*visit)(struct inode *, const char *path, void *arg), void *arg)
{
    size_t hit = 0;

    mutex_lock(&s->mu);
    for (struct node *n = s->disk.nodes; n != NULL; n = n->next) {
        for (size_t k = 0; k < n->live.count; k++) {
            const struct name *name = &n->live.at[k];
            char *path = must(malloc(strlen(n->path) + OS_NAME_BYTES_MAX + 2));

            (void)sprintf(path, "%s%s%s", n->path, n->path[0] == '\0' ? "" : "/", name->name);
            if (pattern == NULL || fnmatch(pattern, path, 0) == 0 ||
                fnmatch(pattern, name->name, 0) == 0)
                hit += visit(name->inode, path, arg);
            free(path);
        }
    }
    mutex_unlock(&s->mu);
    return hit;
}

struct seer {
    sim_see_fn see;
    void *arg;
};

static bool visit_see(struct inode *i, const char *path, void *arg)
{
    struct seer *seer = arg;

    seer->see(seer->arg, path, i->size);
    return true;
}

void sim_each_file(struct sim *s, sim_see_fn see, void *arg)
{
    struct seer seer = {see, arg};

    (void)each_match(s, NULL, visit_see, &seer);
}

struct damage {
    uint64_t at;
    uint8_t flip;
};

static bool visit_corrupt(struct inode *i, const char *path, void *arg)
{
    const struct damage *damage = arg;

    (void)path;
    if (damage->at >= i->size)
        return false;
    inode_damage(i, damage->at, damage->flip);
    return true;
}

size_t sim_corrupt(struct sim *s, const char *pattern, uint64_t offset, uint8_t flip)
{
    struct damage damage = {offset, flip};

    return each_match(s, pattern, visit_corrupt, &damage);
}

static bool visit_truncate(struct inode *i, const char *path, void *arg)
{
    (void)path;
    inode_cut(i, *(const uint64_t *)arg);
    return true;
}

size_t sim_truncate(struct sim *s, const char *pattern, uint64_t bytes)
{
    return each_match(s, pattern, visit_truncate, &bytes);
}
