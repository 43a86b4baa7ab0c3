/* alloc.h - the one door to the heap: sizes multiply with a check, NULL means no memory,
 * and a test can make the n-th call fail.
 *
 * Every function returns NULL when memory ran out; the caller turns that into
 * err_memory(). alloc_free(NULL) is fine. Threads: any. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

MUST_USE void *alloc_bytes(size_t bytes);                     /* contents undefined */
MUST_USE void *alloc_zeroed(size_t bytes);                    /* all zero */
MUST_USE void *alloc_array(size_t count, size_t each);        /* zeroed; overflow is NULL */
MUST_USE void *alloc_resize(void *old, size_t bytes);         /* on NULL `old` still stands */
MUST_USE void *alloc_aligned(size_t alignment, size_t bytes); /* alloc_free() frees it */
void alloc_free(void *p);
/* By hand instead of OWNER, so that a local of any pointer type can be OWNED(alloc_free). */
static inline void alloc_free_owned(void *local)
{
    void *p;

    memcpy(&p, local, sizeof(p));
    alloc_free(p);
}

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* Whole pages straight from the kernel, zeroed, huge pages where the kernel has them; from
 * HUGE_PAGE_BYTES on at a multiple of that.
 * Address space is taken at once, memory only as pages are touched. */
MUST_USE void *alloc_pages(size_t bytes);
void alloc_pages_free(void *p, size_t bytes);
/* All of [p, p + bytes) will be written now: have its memory made in one go, not page by page. */
void alloc_pages_fill(void *p, size_t bytes);
/* Not in huge pages, for what will perhaps hold little: clearing one takes as long as hundreds of
 * small ones; and from now on in them after all, what is there included. */
void alloc_pages_small(void *p, size_t bytes);
void alloc_pages_huge(void *p, size_t bytes);

/* Tests: let `calls` more allocations succeed, then fail every one until alloc_fail_never(); or
 * just one. */
void alloc_fail_after(uint64_t calls);
void alloc_fail_once_after(uint64_t calls);
void alloc_fail_never(void);

/* How often this thread has asked for memory. */
uint64_t alloc_calls_here(void);

#define NEW(type) ((type *)alloc_zeroed(sizeof(type)))

#endif
