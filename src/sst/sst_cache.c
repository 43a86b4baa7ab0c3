/* sst_cache.c - one byte budget for blocks, indexes and filters; CLOCK decides what goes.
 *
 *      table's slots   [ * ][ 0 ][ * ] ...      one atomic pointer per block, index, filter
 *                        |         |
 *                        v         v
 *                      frame <-> frame <-> frame      the clock, a ring; the hand points at one
 *
 *      frame_new -> frame_publish -> (hits) -> unlinked -> grace period -> last unpin -> freed
 *                      |  CAS lost                by the hand or by cache_forget
 *                      '-> frame_drop
 *
 * A hit is one load of the slot and, only when its chance was used up, one store: no lock, no
 * count, no hash table. Who found a frame in a slot is inside an RCU section, so the frame stays
 * until that ends; the cache's own pin is given back after the grace period, and cursors that took
 * a pin of their own inside the section keep the frame longer.
 *
 * Bytes count from before frame_new() takes the memory until it is freed, so what waits for a grace
 * period counts. The clock overlooks it: it was evicted already, and comes back within a millisecond
 * or two. A sixteenth of the budget is kept free for it. Where it does not come back, since a reader
 * is slow, no block enters the cache while that much waits (frame_admit()): readers keep what they load
 * for themselves. What a cursor still pins after the grace period waits no more: a cursor may stand
 * still for ever, and the clock makes room for what it holds. The clock never empties the cache
 * below half the budget, whatever else counts.
 *
 * A large block takes the place of hundreds of others, and many readers that bring one each would
 * be over the budget by all of them. So it enters only where it is a small part of the budget and
 * what counts, those on their way included, stays within it; and where something has to go for it,
 * only if it is asked for again while its slot is still noted in `asked`. A walk over large values,
 * or reads spread over more of them than fit, leave the cache as it is. */
#include "sst/cache_priv.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/thread.h"
#include "sst/cells_priv.h"

#include <assert.h>

/* A large block is at most this part of the budget. What is evicted for one is then half of what
 * may wait for its grace period. */
#define LARGE_PART 32
#define ASKED 256u

struct sst_cache {
    _Atomic uint64_t capacity;
    _Atomic uint64_t used[FRAME_KINDS];
    _Atomic uint64_t waiting; /* of those, bytes whose grace period is not over */
    _Atomic uint64_t hits, misses, evictions, read_bytes;
    _Atomic uintptr_t asked[ASKED]; /* slots of large blocks that were missed last */
    struct cells cells;             /* locks itself; taken after mu */
    struct mutex mu;
    /* Guarded by mu. */
    struct frame *hand;    /* NULL: the ring is empty */
    uint64_t linked_bytes; /* of the frames in the ring */
    uint64_t linked_count;
};

enum quern_code sst_cache_new(uint64_t capacity_bytes, struct sst_cache **out,
                              struct quern_error *err)
{
    struct sst_cache *c = NEW(struct sst_cache);

    if (c == NULL)
        return err_memory(err, "the block cache");
    atomic_init(&c->capacity, capacity_bytes);
    mutex_init(&c->mu);
    cells_init(&c->cells);
    *out = c;
    return QUERN_OK;
}

static uint64_t used_bytes(struct sst_cache *c)
{
    uint64_t sum = 0;

    for (int k = 0; k < FRAME_KINDS; k++)
        sum += atomic_load_explicit(&c->used[k], memory_order_relaxed);
    return sum;
}

void sst_cache_free(struct sst_cache *c)
{
    if (c == NULL)
        return;
    rcu_drain(); /* frames on their way out still count here */
    assert(c->hand == NULL && used_bytes(c) == 0);
    cells_done(&c->cells);
    mutex_done(&c->mu);
    alloc_free(c);
}

void cache_charge(struct sst_cache *c, enum frame_kind kind, int64_t bytes)
{
    (void)atomic_fetch_add_explicit(&c->used[kind], (uint64_t)bytes, memory_order_relaxed);
}

/* ---- frames ---- */

/* Blocks of the usual size lie in cells (sst_cells.c). Other sizes are rounded so that what one
 * frame leaves fits the next, and what is counted is what is taken. Indexes and filters come in
 * whole pages, which go back to the system when they are evicted. */
#define FRAME_STEP 256u
#define PAGES_FROM (64u * 1024)
#define PAGE_BYTES 4096u

/* Chunks of cells are too coarse for a smaller cache. */
#define CELLS_CAPACITY_MIN (UINT64_C(16) << 20)

static bool is_usual(enum frame_kind kind, size_t bytes)
{
    return kind == FRAME_BLOCK && bytes <= CELL_BYTES && bytes > CELL_BYTES / 4 * 3;
}

static uint64_t idle_bytes(struct sst_cache *c)
{
    return atomic_load_explicit(&c->cells.idle_bytes, memory_order_relaxed);
}

/* A cell, if there is one or the budget has room for more of them; else it is the heap's turn. */
static struct frame *frame_cell(struct sst_cache *c)
{
    uint64_t capacity = atomic_load_explicit(&c->capacity, memory_order_relaxed);
    bool may_grow = used_bytes(c) + idle_bytes(c) + CHUNK_BYTES <= capacity;

    if (capacity < CELLS_CAPACITY_MIN)
        return NULL;
    return cells_take(&c->cells, sizeof(struct frame), may_grow);
}

/* It was counted before. */
static void frame_init(struct frame *f, struct sst_cache *c, enum frame_kind kind, size_t len,
                       size_t charge)
{
    f->cache = c;
    f->charge = charge;
    f->len = len;
    f->kind = kind;
    atomic_init(&f->pins, 1);
    atomic_init(&f->chances, kind == FRAME_BLOCK ? 0 : CHANCES_LINES);
}

static size_t frame_bytes(enum frame_kind kind, size_t len)
{
    return (kind == FRAME_BLOCK ? FRAME_BLOCK_AT : FRAME_LINES_AT) + len;
}

static size_t charge_of(size_t bytes)
{
    return round_up(bytes, bytes < PAGES_FROM ? FRAME_STEP : PAGE_BYTES);
}

/* One that is counted, and counts no more where there is no memory for it. Making the pages of a
 * large one takes a while, in which others must know of it. */
static enum quern_code frame_make(struct sst_cache *c, enum frame_kind kind, size_t len,
                                  size_t charge, struct frame **out, struct quern_error *err)
{
    struct frame *f = charge < PAGES_FROM ? alloc_aligned(64, charge) : alloc_pages(charge);

    if (f == NULL) {
        cache_charge(c, kind, -(int64_t)charge);
        return err_memory(err, "the block cache");
    }
    if (charge >= PAGES_FROM)
        alloc_pages_fill(f, charge);
    memset(f, 0, sizeof(*f));
    frame_init(f, c, kind, len, charge);
    *out = f;
    return QUERN_OK;
}

enum quern_code frame_new(struct sst_cache *c, enum frame_kind kind, size_t len, struct frame **out,
                          struct quern_error *err)
{
    size_t bytes = frame_bytes(kind, len), charge = charge_of(bytes);
    struct frame *f = is_usual(kind, bytes) ? frame_cell(c) : NULL;

    if (f == NULL) {
        cache_charge(c, kind, (int64_t)charge);
        return frame_make(c, kind, len, charge, out, err);
    }
    cache_charge(c, kind, CELL_BYTES);
    f->celled = true;
    frame_init(f, c, kind, len, CELL_BYTES);
    *out = f;
    return QUERN_OK;
}

void frame_drop(struct frame *f)
{
    if (f == NULL)
        return;
    cache_charge(f->cache, f->kind, -(int64_t)f->charge);
    if (f->celled)
        cells_give(&f->cache->cells, f);
    else if (f->charge < PAGES_FROM)
        alloc_free(f);
    else
        alloc_pages_free(f, f->charge);
}

void frame_unpin(struct frame *f)
{
    if (f != NULL && atomic_fetch_sub_explicit(&f->pins, 1, memory_order_acq_rel) == 1)
        frame_drop(f);
}

static void move_locked(struct sst_cache *c, struct frame *f);
static void tidy(struct sst_cache *c);

static void frame_grace_is_over(struct rcu_node *node)
{
    struct frame *f = (struct frame *)(void *)((char *)node - offsetof(struct frame, node));
    struct sst_cache *c = f->cache;

    (void)atomic_fetch_sub_explicit(&c->waiting, f->charge, memory_order_relaxed);
    frame_unpin(f);
    tidy(c);
}

/* ---- the clock ---- */

static void link_locked(struct sst_cache *c, struct frame *f)
{
    mutex_assert_held(&c->mu);
    if (c->hand == NULL) {
        f->next = f->prev = f;
        c->hand = f;
    } else { /* behind the hand: it comes here last */
        f->next = c->hand;
        f->prev = c->hand->prev;
        f->prev->next = f;
        f->next->prev = f;
    }
    c->linked_bytes += f->charge;
    c->linked_count++;
}

/* Nobody finds `f` any more; readers that have it keep it until they leave. */
static void retire_locked(struct sst_cache *c, struct frame *f)
{
    mutex_assert_held(&c->mu);
    f->next = f->prev = NULL;
    (void)atomic_fetch_add_explicit(&c->waiting, f->charge, memory_order_relaxed);
    rcu_retire(&f->node, frame_grace_is_over);
}

/* Take `f` off the ring and its slot. */
static void unlink_locked(struct sst_cache *c, struct frame *f)
{
    mutex_assert_held(&c->mu);
    if (f->next == f) {
        c->hand = NULL;
    } else {
        f->prev->next = f->next;
        f->next->prev = f->prev;
        if (c->hand == f)
            c->hand = f->next;
    }
    c->linked_bytes -= f->charge;
    c->linked_count--;
    atomic_store_explicit(f->slot, NULL, memory_order_release);
    retire_locked(c, f);
}

static uint64_t waiting_max(uint64_t capacity)
{
    return capacity / 16;
}

static bool is_over(struct sst_cache *c, uint64_t capacity)
{
    uint64_t waiting = atomic_load_explicit(&c->waiting, memory_order_relaxed);

    return used_bytes(c) > capacity - waiting_max(capacity) + waiting;
}

/* Was the large block of this slot asked for not long ago? If not, from now on it was. */
static bool asked_before(struct sst_cache *c, const _Atomic(struct frame *) *slot)
{
    uintptr_t me = (uintptr_t)slot;
    uint32_t place = (uint32_t)((uint64_t)me * UINT64_C(0x9E3779B97F4A7C15) >> 56);
    bool was = atomic_load_explicit(&c->asked[place], memory_order_relaxed) == me;

    atomic_store_explicit(&c->asked[place], was ? 0 : me, memory_order_relaxed);
    return was;
}

/* Count a large block in, if it should enter: in one step, or all readers that look at the same room
 * before one of them takes it would enter. */
static bool count_large(struct sst_cache *c, const _Atomic(struct frame *) *slot, size_t charge,
                        uint64_t capacity, uint64_t waiting)
{
    uint64_t blocks = atomic_load_explicit(&c->used[FRAME_BLOCK], memory_order_relaxed);
    uint64_t lines = atomic_load_explicit(&c->used[FRAME_INDEX], memory_order_relaxed) +
                     atomic_load_explicit(&c->used[FRAME_FILTER], memory_order_relaxed);
    bool asked = false;

    do {
        uint64_t with_it = blocks + lines + charge;

        if (with_it > capacity + waiting)
            return false;
        if (with_it > capacity - waiting_max(capacity) + waiting && !asked &&
            !(asked = asked_before(c, slot)))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&c->used[FRAME_BLOCK], &blocks, blocks + charge,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

enum quern_code frame_admit(struct sst_cache *c, const _Atomic(struct frame *) *slot, size_t len,
                            struct frame **out, struct quern_error *err)
{
    uint64_t capacity = atomic_load_explicit(&c->capacity, memory_order_relaxed);
    uint64_t waiting = atomic_load_explicit(&c->waiting, memory_order_relaxed);
    size_t charge = charge_of(frame_bytes(FRAME_BLOCK, len));

    *out = NULL;
    if (waiting > waiting_max(capacity))
        return QUERN_OK;
    if (len <= LARGE_BLOCK_BYTES)
        return frame_new(c, FRAME_BLOCK, len, out, err);
    if (len > capacity / LARGE_PART || !count_large(c, slot, charge, capacity, waiting))
        return QUERN_OK;
    return frame_make(c, FRAME_BLOCK, len, charge, out, err);
}

static void evict_locked(struct sst_cache *c)
{
    uint64_t capacity = atomic_load_explicit(&c->capacity, memory_order_relaxed);
    /* Readers may set chances as fast as they are taken: do not run after them for ever. */
    uint64_t steps = (CHANCES_LINES + 1) * c->linked_count;

    mutex_assert_held(&c->mu);
    while (c->hand != NULL && steps-- > 0 && c->linked_bytes > capacity / 2 &&
           is_over(c, capacity)) {
        struct frame *f = c->hand;
        uint32_t chances = atomic_load_explicit(&f->chances, memory_order_relaxed);

        if (chances > 0) {
            atomic_store_explicit(&f->chances, chances - 1, memory_order_relaxed);
            c->hand = f->next;
        } else {
            if (f->kind == FRAME_BLOCK)
                (void)atomic_fetch_add_explicit(&c->evictions, 1, memory_order_relaxed);
            unlink_locked(c, f);
        }
    }
}

struct frame *frame_publish(_Atomic(struct frame *) *slot, struct frame *f)
{
    struct sst_cache *c = f->cache;
    struct frame *there = NULL;

    mutex_lock(&c->mu);
    /* Under the lock, so that the hand never meets a frame that hangs but is not in the ring. */
    if (!atomic_compare_exchange_strong_explicit(slot, &there, f, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        mutex_unlock(&c->mu);
        frame_drop(f);
        return there;
    }
    f->slot = slot;
    link_locked(c, f);
    if (f->celled && cell_leaves(f)) /* others have left it already, perhaps */
        move_locked(c, f);
    evict_locked(c);
    mutex_unlock(&c->mu);
    return f;
}

void cache_forget(struct sst_cache *c, _Atomic(struct frame *) *slots, size_t n)
{
    mutex_lock(&c->mu);
    for (size_t i = 0; i < n; i++) {
        struct frame *f = atomic_load_explicit(&slots[i], memory_order_relaxed);

        if (f != NULL)
            unlink_locked(c, f);
    }
    mutex_unlock(&c->mu);
}

void sst_cache_set_capacity(struct sst_cache *c, uint64_t capacity_bytes)
{
    atomic_store_explicit(&c->capacity, capacity_bytes, memory_order_relaxed);
    mutex_lock(&c->mu);
    evict_locked(c);
    mutex_unlock(&c->mu);
    tidy(c);
}

/* ---- cells that nobody uses ---- */

/* Put a copy of `f` in its place. */
static void move_locked(struct sst_cache *c, struct frame *f)
{
    struct frame *to = cells_take(&c->cells, sizeof(*to), false);

    if (to == NULL) { /* others were quicker */
        unlink_locked(c, f);
        return;
    }
    to->celled = true;
    cache_charge(c, f->kind, (int64_t)f->charge);
    frame_init(to, c, f->kind, f->len, f->charge);
    atomic_store_explicit(&to->chances, atomic_load_explicit(&f->chances, memory_order_relaxed),
                          memory_order_relaxed);
    memcpy(frame_block(to), frame_block(f), f->len);
    to->slot = f->slot;
    to->next = f->next == f ? to : f->next;
    to->prev = f->prev == f ? to : f->prev;
    to->next->prev = to->prev->next = to;
    if (c->hand == f)
        c->hand = to;
    atomic_store_explicit(f->slot, to, memory_order_release);
    retire_locked(c, f);
}

/* Cells that were given back wait for the next blocks; but a sixteenth of the budget is enough,
 * and after it has shrunk they are what it shrank by. */
static void tidy(struct sst_cache *c)
{
    uint64_t capacity = atomic_load_explicit(&c->capacity, memory_order_relaxed);
    struct chunk *k;

    while (idle_bytes(c) > CHUNK_BYTES + capacity / 16 && (k = cells_leave(&c->cells)) != NULL) {
        struct frame *f;
        uint32_t at = 0;

        mutex_lock(&c->mu);
        while ((f = chunk_next(&c->cells, k, &at)) != NULL)
            if (f->next != NULL) /* else it waits, or does not hang yet */
                move_locked(c, f);
        mutex_unlock(&c->mu);
        chunk_left(&c->cells, k);
    }
}

/* ---- counting ---- */

/* Hits are the hot path: gathered per thread, handed in by the lot. */
void cache_count_hits(struct sst_cache *c, uint32_t hits)
{
    static _Thread_local uint32_t gathered;

    gathered += hits;
    if (UNLIKELY(gathered >= 64)) {
        (void)atomic_fetch_add_explicit(&c->hits, gathered, memory_order_relaxed);
        gathered = 0;
    }
}

void cache_count_miss(struct sst_cache *c)
{
    (void)atomic_fetch_add_explicit(&c->misses, 1, memory_order_relaxed);
}

void cache_count_read(struct sst_cache *c, uint64_t bytes)
{
    (void)atomic_fetch_add_explicit(&c->read_bytes, bytes, memory_order_relaxed);
}

void sst_cache_stats(struct sst_cache *c, struct sst_cache_stats *out)
{
    *out = (struct sst_cache_stats){
        .capacity_bytes = atomic_load(&c->capacity),
        .block_bytes = atomic_load(&c->used[FRAME_BLOCK]) + idle_bytes(c),
        .index_bytes = atomic_load(&c->used[FRAME_INDEX]),
        .filter_bytes = atomic_load(&c->used[FRAME_FILTER]),
        .hits = atomic_load(&c->hits),
        .misses = atomic_load(&c->misses),
        .evictions = atomic_load(&c->evictions),
        .read_bytes = atomic_load(&c->read_bytes),
    };
    out->used_bytes = out->block_bytes + out->index_bytes + out->filter_bytes;
}
