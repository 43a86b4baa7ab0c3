/* scratch.h - the files that are measured on: below one directory, gone at the end, however it
 * comes, short of a kill -9. */
#ifndef LIMITS_SCRATCH_H
#define LIMITS_SCRATCH_H

#include <stdint.h>

/* Make a directory of the run's own in `dir`. From here on SIGINT, SIGTERM and SIGHUP remove it and
 * end the program. Once. */
void scratch_begin(const char *dir);
/* Also where it was never begun. Safe in a signal handler. */
void scratch_remove(void);
const char *scratch_dir(void);

/* Open file `name`, made if missing, for reading and writing, with these flags more. At most 16
 * names in all. Returns the descriptor; -1 where the file system has no O_DIRECT. */
int scratch_open(const char *name, int flags);
void scratch_close(int fd);

/* Write zeros into [0, bytes) and sync. */
void scratch_fill(int fd, uint64_t bytes);
void scratch_write(int fd, const void *from, uint64_t bytes, uint64_t at); /* all of it */
void scratch_read(int fd, void *to, uint64_t bytes, uint64_t at);
void scratch_truncate(int fd, uint64_t bytes);
void scratch_sync(int fd); /* fdatasync */

#endif
