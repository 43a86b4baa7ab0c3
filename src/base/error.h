/* error.h - how a failure tells its story: each floor adds the one thing it knows.
 *
 *     return err_set(err, QUERN_CORRUPT, "block at %" PRIu64 ": bad checksum", at);
 *     return err_in(err, "table %06" PRIu64, table_no);
 *     -> "table 000042: block at 81920: bad checksum"
 *
 * All return the code, so a failure is one line. `err` is never NULL inside the
 * library (the public functions put their own in its place). */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/attr.h"

#include <quern/types.h>

/* Start a story. */
enum quern_code err_set(struct quern_error *err, enum quern_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Start a story with what the operating system said: "<text>: No space left on device".
 * The code follows from the errno: NO_SPACE, DENIED, NO_MEMORY, NO_STORE (ENOENT), EXISTS,
 * else IO. */
enum quern_code err_sys(struct quern_error *err, int sys_errno, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Put "<text>: " before the story so far; returns the story's code. */
enum quern_code err_in(struct quern_error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* No memory for `what`, e.g. err_memory(err, "block cache"). */
enum quern_code err_memory(struct quern_error *err, const char *what);

/* What a file of a store says whose keys are not those of today, after the number of its format. */
#define ERR_OLD_FORMAT                                                                             \
    "made by an earlier release: write the store out with that one (quern dump FILE), and read "   \
    "it "                                                                                          \
    "into a new one (quern load FILE)"

void err_clear(struct quern_error *err);

/* "no space", "corrupt", ...: the code in words, for messages. */
const char *err_code_name(enum quern_code code);

/* Believed of our own code even in release builds: where being wrong would put wrong
 * bytes on disk, stopping is the lesser harm. */
#define ensure(cond)                                                                               \
    do {                                                                                           \
        if (UNLIKELY(!(cond)))                                                                     \
            err_ensure_failed(#cond, __FILE__, __LINE__);                                          \
    } while (0)
_Noreturn void err_ensure_failed(const char *cond, const char *file, int line);

#endif
