/* process.h - what a whole program, not a library, may settle for its process. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/* Each table of an open store is one open file: raise the soft limit of open files to the hard one.
 * A failure leaves it as it was. */
void process_raise_file_limit(void);

#endif
