/* process.h - what a whole program, not a library, may settle for its process. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/* To be called first in main():
 *   - descriptors 0 to 2 are taken, by /dev/null where they are not: else a file of the store or a
 *     socket becomes the standard output of a program that was started without one
 *   - a file size limit, and a reader that went away, are errors of one write (SIGXFSZ, SIGPIPE)
 *   - each table of an open store is one open file: the soft limit of those is raised to the hard
 * A failure leaves things as they were. */
void process_prepare(void);

#endif
