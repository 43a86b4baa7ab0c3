/* machine.h - how much memory there is. */
#ifndef SERVER_MACHINE_H
#define SERVER_MACHINE_H

#include <stdint.h>
#include <stdio.h>

/* That of the machine, or what the control groups of this process leave it, if that is less; 0: it
 * cannot be told. `open` is how the system's files are read. */
uint64_t machine_memory(FILE *(*open)(const char *path));

#endif
