/* sim.h - a disk in memory that forgets what was not synced: the second world behind os/os.h.
 *
 *     struct sim *disk = sim_new(seed);
 *     ... run the code under test on sim_os(disk), stop it (or cut the power with sim_crash_at) ...
 *     struct sim *after = sim_crash(disk, seed, SIM_RANDOM);     what the disk holds afterwards
 *     ... run recovery on sim_os(after), compare ...
 *     sim_free(after), sim_free(disk);
 *
 * Bytes are tracked by sectors of 512: a sector is never torn, everything else is. Names are
 * tracked per directory until it is synced. Mappings are real memory; what was stored through
 * them counts as unsynced until the next sync of the file.
 *
 * A store through a mapping to a page that was never written (where a full disk would be a
 * SIGBUS), or past the end of the file, ends the program with a message: such code is wrong.
 *
 * Threads: any, on one sim; one mutex makes every call atomic. Running out of memory inside the
 * disk itself ends the program; handles come from base/alloc.h and so can fail. */
#ifndef TEST_SIM_H
#define TEST_SIM_H

#include "os/os.h"

#define SIM_SECTOR_BYTES 512u

struct sim;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim); /* NULL is fine; every handle must be closed */
OWNER(sim_free, struct sim *);
struct os *sim_os(struct sim *sim);

/* ---- crashes ---- */

enum sim_crash_mode {
    SIM_DROP_ALL, /* power cut: only what was synced */
    SIM_KEEP_ALL, /* kill -9: everything written is there, and what was unsynced still is unsynced,
                   * so a power cut of the new disk may still take it */
    SIM_RANDOM,   /* power cut: each unsynced sector old, new or anything between; each unsynced
                   * size change and name change made or not */
};

/* The disk after the crash, as a new world without handles, locks, faults or a planned crash. The
 * old one is as it was: its handles still want closing. */
struct sim *sim_crash(struct sim *sim, uint64_t seed, enum sim_crash_mode mode);

/* The kinds of calls, as a set. Closing a directory, unlocking, unmapping, hints and the clock
 * are not counted. */
enum sim_op {
    SIM_DIR_OPEN = 1 << 0,
    SIM_DIR_SYNC = 1 << 1,
    SIM_LIST = 1 << 2,
    SIM_STAT = 1 << 3, /* of a name, and the size of an open file */
    SIM_REMOVE = 1 << 4,
    SIM_RENAME = 1 << 5,
    SIM_LINK = 1 << 6,
    SIM_FREE_BYTES = 1 << 7,
    SIM_LOCK = 1 << 8,
    SIM_OPEN = 1 << 9, /* of a file that exists */
    SIM_CREATE = 1 << 10,
    SIM_CLOSE = 1 << 11,
    SIM_READ = 1 << 12,
    SIM_WRITE = 1 << 13,
    SIM_SYNC = 1 << 14,
    SIM_TRUNCATE = 1 << 15,
    SIM_MAP = 1 << 16,
};
#define SIM_ANY 0x1ffffu
/* Those after which a crash can leave something that a crash before them cannot. */
#define SIM_CHANGES                                                                                \
    ((unsigned)(SIM_DIR_SYNC | SIM_REMOVE | SIM_RENAME | SIM_LINK | SIM_LOCK | SIM_CREATE |        \
                SIM_WRITE | SIM_SYNC | SIM_TRUNCATE))

uint64_t sim_op_count(struct sim *sim);                    /* of all kinds, since sim_new() */
uint64_t sim_op_count_of(struct sim *sim, unsigned kinds); /* of these kinds */

/* Reads that were begun (os_file_start_read()) and have not been made yet; *most: so many were at some
 * time since sim_new(). */
unsigned sim_reads_begun(struct sim *sim, unsigned *most);

/* Cut the power at the k-th call (from 1) counted since sim_new(): that call and all later ones
 * fail with IO, "the power is gone". The call itself may have been done in part, as if unsynced.
 * Stores to mappings made afterwards are not part of the disk any more. 0: no cut. */
void sim_crash_at(struct sim *sim, uint64_t k);
void sim_crash_at_of(struct sim *sim, unsigned kinds, uint64_t k);
bool sim_is_off(struct sim *sim); /* the planned cut has come */

/* ---- faults ---- */

struct sim_fault {
    unsigned ops;     /* which kinds of calls; 0 means SIM_ANY */
    const char *name; /* fnmatch(3) pattern for the file's name (a directory's path); NULL: any */
    uint64_t skip;    /* let so many matching calls pass first */
    bool always;      /* fail every later matching call too, not just one */
    int sys_errno;    /* what the call fails with; 0: it does nothing and says OK (a lost write;
                       * only for calls that change something and return nothing) */
    uint64_t part_bytes; /* for SIM_WRITE and SIM_READ: so many bytes are done before it fails */
    /* These say OK, for SIM_WRITE and SIM_READ: */
    bool flip_bit;        /* one bit, by chance, is not as it was given, or not as it is */
    uint64_t shift_bytes; /* it wrote, or read, so far behind where it should (reads: as it fits) */
    bool stale;           /* for SIM_READ: what the disk holds, not what was written since */
    unsigned delay_us;    /* it takes so long, and is right unless one of the others is set */
    bool drop_dirty; /* for SIM_SYNC and SIM_DIR_SYNC: what was unsynced is given up: reads show
                      * it, the disk never gets it, and later syncs say OK */
};
void sim_fail(struct sim *sim, const struct sim_fault *fault); /* copied; `name` too */
void sim_fail_never(struct sim *sim);                          /* forget all faults */
uint64_t sim_fault_hits(struct sim *sim); /* calls failed by faults since sim_new() */

/* ---- what the disk can do ---- */

void sim_set_mapping(struct sim *sim, bool can); /* else os_file_map() is UNSUPPORTED */
void sim_set_direct(struct sim *sim, bool can);  /* else OS_DIRECT_SYNC is UNSUPPORTED */
/* From now on `bytes` more may be written, in pages of 4096; then NO_SPACE. Removing and
 * truncating files gives theirs back. UINT64_MAX: no limit. */
void sim_free_space(struct sim *sim, uint64_t bytes);
void sim_set_sync_us(struct sim *sim, unsigned us); /* syncs and direct writes take so long; 0 */
void sim_set_wall_ms(struct sim *sim, uint64_t wall_ms); /* stands still from then on; 0: real */

/* ---- the files behind the code's back ---- */

/* Calls `see` for each file with its path ("dir/name") and size; it must not call the disk. */
typedef void (*sim_see_fn)(void *arg, const char *path, uint64_t bytes);
void sim_each_file(struct sim *sim, sim_see_fn see, void *arg);

/* Damage each file whose path, or name alone, matches the fnmatch(3) pattern: xor one byte, or cut
 * the file, on the disk and in the cache. Return how many files were hit (a file that is too
 * short for `offset` is not). */
size_t sim_corrupt(struct sim *sim, const char *pattern, uint64_t offset, uint8_t flip);
size_t sim_truncate(struct sim *sim, const char *pattern, uint64_t bytes);

#endif
