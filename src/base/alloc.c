/* alloc.c - the one door to the heap; see alloc.h. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Calls left before failure; negative: never fail. One relaxed load per allocation. */
static _Atomic int64_t calls_left = -1;
static _Atomic bool fail_once;

static _Thread_local uint64_t calls_here;

static bool must_fail(void)
{
    int64_t left;

    calls_here++;
    if (LIKELY(atomic_load_explicit(&calls_left, memory_order_relaxed) < 0))
        return false;
    left = atomic_fetch_sub(&calls_left, 1);
    if (left > 0)
        return false;
    atomic_store(&calls_left, atomic_load(&fail_once) ? -1 : 0);
    return left == 0 || !atomic_load(&fail_once);
}

uint64_t alloc_calls_here(void)
{
    return calls_here;
}

void alloc_fail_after(uint64_t calls)
{
    atomic_store(&fail_once, false);
    atomic_store(&calls_left, (int64_t)calls);
}

void alloc_fail_once_after(uint64_t calls)
{
    atomic_store(&fail_once, true);
    atomic_store(&calls_left, (int64_t)calls);
}

void alloc_fail_never(void)
{
    atomic_store(&calls_left, -1);
}

#define PAGE_BYTES ((size_t)4096)

void *alloc_bytes(size_t bytes)
{
    return must_fail() ? NULL : malloc(bytes ? bytes : 1);
}

/* glibc keeps small pieces per thread for malloc() and not for calloc(). */
#define CLEARED_BYTES_MAX 1024u

void *alloc_zeroed(size_t bytes)
{
    void *p;

    if (bytes > CLEARED_BYTES_MAX)
        return must_fail() ? NULL : calloc(1, bytes);
    p = alloc_bytes(bytes);
    return p != NULL ? memset(p, 0, bytes) : NULL;
}

void *alloc_array(size_t count, size_t each)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, each, &bytes))
        return NULL;
    return alloc_zeroed(bytes);
}

void *alloc_resize(void *old, size_t bytes)
{
    return must_fail() ? NULL : realloc(old, bytes ? bytes : 1);
}

void *alloc_aligned(size_t alignment, size_t bytes)
{
    void *p = NULL;

    if (must_fail() || posix_memalign(&p, alignment, bytes ? bytes : 1) != 0)
        return NULL;
    return p;
}

void alloc_free(void *p)
{
    free(p);
}

#ifndef MADV_COLLAPSE /* libc before 2.37 */
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE /* libc before 2.35 */
#define MADV_POPULATE_WRITE 23
#endif

static void *map_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* Address space for one huge page more; what is left over at the ends goes back. */
static void *map_at_huge_page(size_t bytes)
{
    size_t whole = (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1), before;
    uint8_t *p = map_pages(whole + HUGE_PAGE_BYTES);

    if (p == NULL)
        return NULL;
    before = -(uintptr_t)p & (HUGE_PAGE_BYTES - 1);
    if (before != 0)
        (void)munmap(p, before);
    (void)munmap(p + before + whole, HUGE_PAGE_BYTES - before);
    return p + before;
}

void *alloc_pages(size_t bytes)
{
    void *p;

    if (must_fail())
        return NULL;
    p = bytes < HUGE_PAGE_BYTES ? map_pages(bytes) : map_at_huge_page(bytes);
    if (p != NULL)
        (void)madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

void alloc_pages_fill(void *p, size_t bytes)
{
    (void)madvise(p, bytes, MADV_POPULATE_WRITE); /* a kernel before 5.14 makes them when touched */
}

void alloc_pages_small(void *p, size_t bytes)
{
    (void)madvise(p, bytes, MADV_NOHUGEPAGE);
}

void alloc_pages_huge(void *p, size_t bytes)
{
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    (void)madvise(p, bytes, MADV_COLLAPSE); /* a kernel before 6.1 does it some time later */
}

void alloc_pages_free(void *p, size_t bytes)
{
    if (p != NULL)
        (void)munmap(p, bytes);
}
