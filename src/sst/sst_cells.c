/* sst_cells.c - memory of one size in huge pages.
 *
 *      chunk, 2 MiB, at a multiple of 2 MiB     | head | cell | cell | ... | cell |
 *
 *      open:  chunk <-> chunk <-> ...           those with a free cell; full ones are on no list
 *
 * A point read touches a block in three to five places. From the heap, each block lies in pages of
 * its own, and finding these through the page tables costs about as much as the lines themselves;
 * besides, each block that enters the cache meets a page that has to be made. A cell that was given
 * back is taken again as it is.
 *
 * The first chunk is in small pages until some blocks are in it: to clear a huge page takes longer
 * than all else that a look-up does in a store that was just opened.
 *
 * Cells are given back in any order, so chunks end up half empty. When that is too much, the cache
 * empties the emptiest one (cells_leave()): frames can move, since readers find them by their slot.
 */
#include "sst/cells_priv.h"

#include "base/alloc.h"

#include <assert.h>

#define HEAD_BYTES 128u
#define CELLS ((CHUNK_BYTES - HEAD_BYTES) / CELL_BYTES)
#define MAP_WORDS ((CELLS + 63) / 64)
#define FEW_CELLS 32u

struct chunk {
    struct chunk *next, *prev;
    uint32_t used;
    bool small;              /* not in a huge page yet */
    _Atomic bool leaving;    /* changed under mu */
    uint64_t map[MAP_WORDS]; /* a bit for each cell in use */
};
_Static_assert(sizeof(struct chunk) <= HEAD_BYTES, "the head has room");
_Static_assert(CHUNK_BYTES == HUGE_PAGE_BYTES, "a chunk is one huge page");
_Static_assert(HEAD_BYTES % 64 == 0 && CELL_BYTES % 64 == 0, "cells begin on cache lines");

void cells_init(struct cells *c)
{
    mutex_init(&c->mu);
    c->open = NULL;
    c->begun = false;
    atomic_init(&c->idle_bytes, 0);
}

void cells_done(struct cells *c)
{
    while (c->open != NULL) {
        struct chunk *k = c->open;

        assert(k->used == 0);
        c->open = k->next;
        alloc_pages_free(k, CHUNK_BYTES);
    }
    mutex_done(&c->mu);
}

static struct chunk *chunk_of(const void *cell)
{
    return (struct chunk *)((uintptr_t)cell & ~(uintptr_t)(CHUNK_BYTES - 1));
}

bool cell_leaves(const void *cell)
{
    return atomic_load_explicit(&chunk_of(cell)->leaving, memory_order_relaxed);
}

static void *cell_at(struct chunk *k, uint32_t i)
{
    return (uint8_t *)k + HEAD_BYTES + (size_t)i * CELL_BYTES;
}

static void add_idle(struct cells *c, int64_t count)
{
    (void)atomic_fetch_add_explicit(&c->idle_bytes, (uint64_t)(count * CELL_BYTES),
                                    memory_order_relaxed);
}

static void open_locked(struct cells *c, struct chunk *k)
{
    mutex_assert_held(&c->mu);
    k->prev = NULL;
    k->next = c->open;
    if (k->next != NULL)
        k->next->prev = k;
    c->open = k;
}

static void unopen_locked(struct cells *c, struct chunk *k)
{
    mutex_assert_held(&c->mu);
    if (k->prev != NULL)
        k->prev->next = k->next;
    else
        c->open = k->next;
    if (k->next != NULL)
        k->next->prev = k->prev;
}

static bool grow_locked(struct cells *c)
{
    struct chunk *k = alloc_pages(CHUNK_BYTES);

    if (k == NULL)
        return false;
    assert(chunk_of(k) == k); /* alloc_pages() begins so */
    if (!c->begun)
        alloc_pages_small(k, CHUNK_BYTES);
    k->small = !c->begun;
    c->begun = true;
    for (uint32_t i = CELLS; i < MAP_WORDS * 64; i++)
        k->map[i / 64] |= UINT64_C(1) << (i % 64);
    open_locked(c, k);
    add_idle(c, CELLS);
    return true;
}

static uint32_t first_free(const struct chunk *k)
{
    uint32_t w = 0;

    while (k->map[w] == UINT64_MAX)
        w++;
    return 64 * w + (uint32_t)__builtin_ctzll(~k->map[w]);
}

void *cells_take(struct cells *c, size_t clear, bool may_grow)
{
    void *cell = NULL;

    mutex_lock(&c->mu);
    if (c->open != NULL || (may_grow && grow_locked(c))) {
        struct chunk *k = c->open;
        uint32_t i = first_free(k);

        k->map[i / 64] |= UINT64_C(1) << (i % 64);
        if (++k->used == CELLS)
            unopen_locked(c, k);
        if (k->small && k->used > FEW_CELLS) {
            alloc_pages_huge(k, CHUNK_BYTES);
            k->small = false;
        }
        add_idle(c, -1);
        cell = memset(cell_at(k, i), 0, clear);
    }
    mutex_unlock(&c->mu);
    return cell;
}

void cells_give(struct cells *c, void *cell)
{
    struct chunk *k = chunk_of(cell), *gone = NULL;
    uint32_t i = (uint32_t)((size_t)((uint8_t *)cell - (uint8_t *)k - HEAD_BYTES) / CELL_BYTES);

    mutex_lock(&c->mu);
    k->map[i / 64] &= ~(UINT64_C(1) << (i % 64));
    if (cell_leaves(cell)) {
        gone = --k->used == 0 ? k : NULL;
    } else {
        if (k->used-- == CELLS)
            open_locked(c, k);
        add_idle(c, 1);
        if (k->used == 0 && (k->next != NULL || k->prev != NULL)) { /* not the last one */
            unopen_locked(c, k);
            add_idle(c, -(int64_t)CELLS);
            gone = k;
        }
    }
    mutex_unlock(&c->mu);
    if (gone != NULL)
        alloc_pages_free(gone, CHUNK_BYTES);
}

struct chunk *cells_leave(struct cells *c)
{
    struct chunk *least = NULL;

    mutex_lock(&c->mu);
    for (struct chunk *k = c->open; k != NULL; k = k->next)
        if (least == NULL || k->used < least->used)
            least = k;
    if (least != NULL) {
        uint64_t idle = atomic_load_explicit(&c->idle_bytes, memory_order_relaxed) / CELL_BYTES;

        if (idle - (CELLS - least->used) < least->used) {
            least = NULL;
        } else {
            unopen_locked(c, least);
            add_idle(c, -(int64_t)(CELLS - least->used));
            atomic_store_explicit(&least->leaving, true, memory_order_relaxed);
            least->used++; /* the caller's, so that it stays until chunk_left() */
        }
    }
    mutex_unlock(&c->mu);
    return least;
}

void *chunk_next(struct cells *c, struct chunk *k, uint32_t *at)
{
    void *cell = NULL;

    mutex_lock(&c->mu);
    for (; cell == NULL && *at < CELLS; ++*at)
        if (k->map[*at / 64] >> (*at % 64) & 1)
            cell = cell_at(k, *at);
    mutex_unlock(&c->mu);
    return cell;
}

void chunk_left(struct cells *c, struct chunk *k)
{
    bool gone;

    mutex_lock(&c->mu);
    gone = --k->used == 0;
    mutex_unlock(&c->mu);
    if (gone)
        alloc_pages_free(k, CHUNK_BYTES);
}
