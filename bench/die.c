/* die.c - how both programs end when a figure would be worth nothing. */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void (*before_death)(void);

_Noreturn void die(const char *format, ...)
{
    va_list args;

    if (before_death != NULL)
        before_death();
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    /* Threads of an engine may be running: no destructors. */
    _exit(1);
}

void *must_alloc(size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);

    if (p == NULL)
        die("no memory for %zu bytes", bytes);
    return p;
}
