/* child.h - how a forked child of a test ends.
 *
 * It leaves by _exit(), since what the parent registered for its own end is not the child's to do;
 * but that looks for no leaks and writes no counts of coverage, so both are done here where the
 * build has them. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
void __gcov_dump(void) __attribute__((weak));

/* With status 0 when `fine` and nothing has leaked, else 1. */
static inline _Noreturn void child_leaves(bool fine)
{
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0)
        fine = false;
    (void)fflush(stdout);
    if (__gcov_dump != NULL)
        __gcov_dump();
    _exit(fine ? 0 : 1);
}

#endif
