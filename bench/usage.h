/* usage.h - what this process costs the machine: bytes written, memory, disk, and whether its
 * background is at rest. */
#ifndef BENCH_USAGE_H
#define BENCH_USAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that this process, all its threads, has given to the block layer or made dirty in the page
 * cache: write_bytes of /proc/self/io. A file deleted before it reached the disk counts all the
 * same. */
uint64_t usage_written_bytes(void);

/* Processor time of this process, all its threads, so far. */
uint64_t usage_cpu_ns(void);

/* Peaks. That of resident memory is the kernel's, of all pages including mapped files. Anonymous
 * memory (heap, no files) and the disk below `dir` have no such peak in the kernel: a thread looks
 * ten times a second between usage_watch_start() and usage_watch_stop(). All are since the last
 * usage_peak_reset(). */
void usage_watch_start(const char *dir); /* NULL: no disk is watched */
void usage_watch_stop(void);
uint64_t usage_peak_rss_bytes(void);
uint64_t usage_peak_anon_bytes(void);
uint64_t usage_peak_disk_bytes(void);
void usage_peak_reset(void);

/* Wait until the process's other threads neither compute nor write for 0.2 s in a row, at most
 * `seconds_max`. Returns the seconds waited, less the 0.2. */
double usage_wait_quiet(double seconds_max);

/* Write out all dirty pages of the file system that holds `dir`, so that one workload does not pay
 * for the one before. */
void usage_flush_disk(const char *dir);

/* Put what files below `dir` have in the page cache out of it, as far as no one maps it. What
 * others have there stays. */
void usage_drop_cache(const char *dir);

/* Blocks taken by all files below `dir`, in bytes. */
uint64_t usage_disk_bytes(const char *dir);

void usage_remove_tree(const char *dir); /* and what is in it; missing is fine */

/* "Intel Xeon ..., 2 cores, 24105 MiB, Linux 6.18.5, ext4, load average 0.1": one line about the
 * machine, the disk below `dir`, and whether others are running. */
void usage_machine(const char *dir, char *text, unsigned text_bytes);

#endif
