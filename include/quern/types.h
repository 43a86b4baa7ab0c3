/* types.h - the few types that every part of quern shares: slices, result codes, errors.
 *
 * A program includes <quern/quern.h>, which includes this page. */
#ifndef QUERN_TYPES_H
#define QUERN_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that belong to somebody else. `data` may be NULL when `len` is 0. */
struct quern_slice {
    const void *data;
    size_t len;
};

/* The number of a committed batch. It rises by one with each batch; 0 means "none". */
typedef uint64_t quern_seq;

/* What came of a call. The numbers are part of the ABI: do not renumber. */
enum quern_code {
    QUERN_OK = 0,
    QUERN_NOT_FOUND = 1,    /* no value under this key: an answer, not a failure */
    QUERN_INVALID = 2,      /* the caller's argument is out of shape; nothing was done */
    QUERN_NO_STORE = 3,     /* there is no store in this directory and none was to be made */
    QUERN_EXISTS = 4,       /* something is there already that was to be new */
    QUERN_LOCKED = 5,       /* another process, or another handle, has the store open */
    QUERN_DENIED = 6,       /* the operating system refuses access to a file or directory */
    QUERN_IO = 7,           /* the operating system failed a read or write */
    QUERN_NO_SPACE = 8,     /* the disk is full; nothing was done, and it may be tried again */
    QUERN_NO_MEMORY = 9,    /* memory ran out; nothing was done */
    QUERN_CORRUPT = 10,     /* bytes on disk are not those that were written */
    QUERN_UNSUPPORTED = 11, /* made by a newer quern, or not possible on this system */
    QUERN_READ_ONLY = 12,   /* an earlier failure, or the way it was opened, forbids writing */
    QUERN_UNKNOWN = 13,     /* a sync failed: the write may or may not survive a restart */
    QUERN_BUSY = 14,        /* a bounded queue is full; try again a little later */
    QUERN_CLOSED = 15,      /* the store is being closed */
    QUERN_CONFLICT = 16,    /* what a write was to depend on does not hold; nothing was written */
};

/* The story of a failure, the outermost place first:
 *     "open /srv/db: table 000042: block at 81920: bad checksum"
 * It belongs to the caller and holds nothing to free. Every function that may fail
 * takes one as its last argument; NULL is allowed there by the public functions. */
struct quern_error {
    enum quern_code code;
    int sys_errno;  /* errno of the system call behind it, or 0 */
    uint32_t check; /* with CONFLICT: which check of the batch did not hold, counted from 0 */
    char text[304];
};

#ifdef __cplusplus
}
#endif
#endif
