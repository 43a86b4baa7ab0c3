/* fence.h - a limit on all memory of one child process, the page cache of its files included. */
#ifndef BENCH_FENCE_H
#define BENCH_FENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Make a memory cgroup for the calling process and enter it, without a limit. False: that is not
 * possible here; nothing is changed. */
bool fence_enter(void);

/* After fence_enter(): from now on no more than `bytes`; what is over them is taken out of the page
 * cache. */
bool fence_limit(uint64_t bytes);

/* Can a process do all that here? Tried out. */
bool fence_is_possible(void);

/* Remove the group of process `pid`, which has ended; none is fine. */
void fence_remove(pid_t pid);

#endif
