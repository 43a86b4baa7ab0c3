/* cache_priv.h - frames: pieces of memory that hold a block, an index or a filter, under one
 * budget.
 *
 * A frame hangs in a slot, an atomic pointer that belongs to its table. Whoever finds it there
 * inside an RCU section may use it until rcu_leave(); who wants it longer pins it there. See
 * sst_cache.c. */
#ifndef SST_CACHE_PRIV_H
#define SST_CACHE_PRIV_H

#include "base/rcu.h"
#include "sst/sst.h"

#include <stdatomic.h>

enum frame_kind { FRAME_BLOCK, FRAME_INDEX, FRAME_FILTER, FRAME_KINDS };

struct frame {
    struct rcu_node node;
    struct frame *next, *prev;     /* the clock; NULL: not in it; guarded by cache->mu */
    _Atomic(struct frame *) *slot; /* where it hangs; NULL until published, then constant */
    struct sst_cache *cache;
    size_t charge; /* bytes it counts for */
    size_t len;    /* bytes of content */
    enum frame_kind kind;
    bool celled;              /* lies in a cell, not on the heap */
    _Atomic uint32_t pins;    /* the cache's own, while it hangs, and the cursors' */
    _Atomic uint32_t chances; /* rounds of the clock it is spared; written on a hit only if clear */
};

/* The content lies behind the frame: for a block so that `chances`, the block's head and a short
 * prefix share one cache line; for the others at the start of a line. */
#define FRAME_BLOCK_AT 96u
#define FRAME_LINES_AT 128u
_Static_assert(sizeof(struct frame) <= FRAME_BLOCK_AT, "the content comes behind");

static inline uint8_t *frame_block(struct frame *f)
{
    return (uint8_t *)f + FRAME_BLOCK_AT;
}

static inline uint8_t *frame_lines(struct frame *f)
{
    return (uint8_t *)f + FRAME_LINES_AT;
}

/* How many rounds a frame that was used is spared: an index serves hundreds of blocks. */
#define CHANCES_BLOCK 1u
#define CHANCES_LINES 7u

static inline void frame_touch(struct frame *f, uint32_t chances)
{
    if (UNLIKELY(atomic_load_explicit(&f->chances, memory_order_relaxed) < chances))
        atomic_store_explicit(&f->chances, chances, memory_order_relaxed);
}

/* A frame with room for `len` bytes of content, not yet in the cache, but counted, before there is
 * memory for it. Errors: NO_MEMORY. */
MUST_USE enum quern_code frame_new(struct sst_cache *c, enum frame_kind kind, size_t len,
                                   struct frame **out, struct quern_error *err);
void frame_drop(struct frame *f); /* one that was not published; NULL is fine */
OWNER(frame_drop, struct frame *);

/* Hang `f` into the empty slot and return it; when another thread was first, drop `f` and return
 * that one's. Evicts what is too much. Inside an RCU section. */
struct frame *frame_publish(_Atomic(struct frame *) *slot, struct frame *f);

/* A block whose plain form is larger is written from where its value stands, is not left behind by
 * who wrote it or walks in bulk, and has to be worth its place in the cache. */
#define LARGE_BLOCK_BYTES (UINT32_C(256) << 10)

/* A frame for a block of `len` bytes, read for the empty `slot`, if it should enter; *out is NULL if
 * not. It should not while far more is evicted than has been freed yet. A large one should only when
 * it is a small part of the budget, and where others would have to go for it, only when it was asked
 * for before; it is counted in the step that finds room for it, so no two enter on the same room.
 * Errors: NO_MEMORY. */
MUST_USE enum quern_code frame_admit(struct sst_cache *c, const _Atomic(struct frame *) *slot,
                                     size_t len, struct frame **out, struct quern_error *err);

/* Pin a frame found in its slot inside an RCU section that has not ended; unpin at any time. */
static inline void frame_pin(struct frame *f)
{
    (void)atomic_fetch_add_explicit(&f->pins, 1, memory_order_relaxed);
}
void frame_unpin(struct frame *f); /* NULL is fine */

/* The table closes: empty these slots. No reader comes any more. */
void cache_forget(struct sst_cache *c, _Atomic(struct frame *) *slots, size_t n);

/* Count memory that hangs on no slot, or give it back (negative), as `kind`. */
void cache_charge(struct sst_cache *c, enum frame_kind kind, int64_t bytes);

void cache_count_hits(struct sst_cache *c, uint32_t hits);
void cache_count_miss(struct sst_cache *c);
void cache_count_read(struct sst_cache *c, uint64_t bytes);

#endif
