/* table_priv.h - an open table, as its readers see it: index, filter and blocks, in the cache or
 * read on demand.
 *
 * All of table_index(), table_filter() and table_block() are called inside an RCU section, and what
 * they yield is good until it ends. */
#ifndef SST_TABLE_PRIV_H
#define SST_TABLE_PRIV_H

#include "base/alloc.h"
#include "sst/block_priv.h"
#include "sst/cache_priv.h"
#include "sst/filter_priv.h"
#include "sst/format_priv.h"
#include "sst/index_priv.h"

typedef _Atomic(struct frame *) frame_slot;

struct sst {
    /* Set in sst_open(), constant after. */
    struct os_dir *dir;
    struct os_file *file;
    struct sst_cache *cache;
    struct table_meta meta;
    struct footer footer;
    uint64_t block_count;
    enum sst_codec codec; /* SST_PLAIN: no block of it is compressed */

    frame_slot index, filter;
    _Atomic bool filter_wanted; /* a last lookup went without it, in vain: table_asks_filter() */
    /* One slot per block. Allocated before the index is first published, so whoever has the index
     * has them; then constant. They stay when the index is evicted. */
    _Atomic(frame_slot *) blocks;
    _Atomic uint32_t refs;
    _Atomic bool condemned;
};

/* One block in the hand of a reader. */
struct held_block {
    const uint8_t *bytes;
    struct frame *frame; /* in the cache; or NULL, and then */
    void *owned;         /* the reader's: alloc_free() */
};

/* Errors: CORRUPT, IO, NO_MEMORY. They do not name the table: the room's public functions do. */
MUST_USE enum quern_code table_load_index(struct sst *t, struct frame **out,
                                          struct quern_error *err);
MUST_USE enum quern_code table_load_filter(struct sst *t, struct frame **out,
                                           struct quern_error *err);
MUST_USE enum quern_code table_load_block(struct sst *t, const struct index *x, uint32_t b,
                                          struct held_block *out, struct quern_error *err);

/* For who has read and checked a part already: a copy of it enters the cache. False: there was no
 * memory, and the first reader reads it. Of an index `raw` is the plain form, for which
 * index_check() said `size`; of a filter all that lies in the file; of a block, which must
 * not be larger than LARGE_BLOCK_BYTES, the plain form. Index before blocks. */
bool table_keep_index(struct sst *t, const uint8_t *raw, size_t len, const struct index_size *size);
bool table_keep_filter(struct sst *t, const uint8_t *sealed);
bool table_keep_block(struct sst *t, uint32_t b, const uint8_t *plain, size_t len);

/* sst_verify() of a table that nobody reads yet, which leaves behind what `warm` asks for. */
MUST_USE enum quern_code table_verify_new(struct sst *t, enum sst_warm warm,
                                          struct quern_error *err);

/* Check `len` sealed bytes read from where block b lies, and view what they say of themselves. */
MUST_USE enum quern_code table_check_sealed(struct sst *t, const struct index *x, uint32_t b,
                                            const uint8_t *sealed, struct unsealed *u,
                                            struct quern_error *err);
/* Check the plain form of block b. */
MUST_USE enum quern_code table_check_plain(const struct index *x, uint32_t b, const uint8_t *bytes,
                                           size_t len, struct quern_error *err);
/* Put the table's name before the story. */
enum quern_code table_error(const struct sst *t, struct quern_error *err);

static inline struct frame *slot_get(frame_slot *slot)
{
    return atomic_load_explicit(slot, memory_order_acquire);
}

static inline frame_slot *table_slot(struct sst *t, uint32_t b)
{
    return atomic_load_explicit(&t->blocks, memory_order_acquire) + b;
}

static inline const struct index *frame_index(struct frame *f)
{
    return (const struct index *)(const void *)frame_lines(f);
}

/* What is asked for is not in memory, and whoever asks does not wait for the disk. */
enum quern_code table_not_cached(struct quern_error *err);

/* `cached`, here and below: what is not in memory is not loaded, but BUSY. */
MUST_USE static inline enum quern_code table_index(struct sst *t, bool cached, struct frame **out,
                                                   struct quern_error *err)
{
    *out = slot_get(&t->index);
    if (UNLIKELY(*out == NULL))
        return cached ? table_not_cached(err) : table_load_index(t, out, err);
    frame_touch(*out, CHANCES_LINES);
    return QUERN_OK;
}

static inline bool table_has_filter(const struct sst *t)
{
    return t->footer.filter.bytes != 0;
}

/* The view of a filter that stands in a frame; it was checked when it was loaded. */
static inline struct filter frame_filter(struct frame *f)
{
    size_t lines_bytes = f->len - TRAILER_BYTES - FILTER_TAIL_BYTES;

    return (struct filter){frame_lines(f), (uint32_t)(lines_bytes / FILTER_LINE_BYTES),
                           get_u32le(frame_lines(f) + lines_bytes)};
}

/* The filter of the last table that is asked saves a search only where the key is nowhere. Until
 * that happens once, it is not worth reading: it is larger than all else that a first look-up
 * reads. */
static inline bool table_asks_filter(struct sst *t, bool last)
{
    return table_has_filter(t) && (!last || slot_get(&t->filter) != NULL ||
                                   atomic_load_explicit(&t->filter_wanted, memory_order_relaxed));
}

/* A lookup was in vain. */
static inline void table_want_filter(struct sst *t)
{
    if (UNLIKELY(!atomic_load_explicit(&t->filter_wanted, memory_order_relaxed)))
        atomic_store_explicit(&t->filter_wanted, true, memory_order_relaxed);
}

/* Only where table_has_filter(). */
MUST_USE static inline enum quern_code table_filter(struct sst *t, bool cached, struct frame **out,
                                                    struct quern_error *err)
{
    *out = slot_get(&t->filter);
    if (UNLIKELY(*out == NULL))
        return cached ? table_not_cached(err) : table_load_filter(t, out, err);
    frame_touch(*out, CHANCES_LINES);
    return QUERN_OK;
}

/* Fetch the lines of a block that a search touches first, in one go rather than one after the
 * other: its head and, in a block of the usual size, the head column and what follows it. */
static inline void frame_prefetch(const struct frame *f)
{
    for (size_t line = 1; line <= 5; line++)
        __builtin_prefetch((const uint8_t *)f + 64 * line);
}

/* The same for a cursor or a get, which will look at the columns behind the heads next. */
static inline void frame_prefetch_columns(const struct frame *f)
{
    for (size_t line = 1; line <= 10; line++)
        __builtin_prefetch((const uint8_t *)f + 64 * line);
}

MUST_USE static inline enum quern_code table_block(struct sst *t, const struct index *x, uint32_t b,
                                                   bool cached, struct held_block *out,
                                                   struct quern_error *err)
{
    struct frame *f = slot_get(table_slot(t, b));

    if (UNLIKELY(f == NULL))
        return cached ? table_not_cached(err) : table_load_block(t, x, b, out, err);
    frame_touch(f, CHANCES_BLOCK);
    *out = (struct held_block){frame_block(f), f, NULL};
    return QUERN_OK;
}

/* Finish a lookup in block b, where block_search() said i: look at the entry, and go on to the
 * next blocks while the versions of the key do. `held` is taken over. */
MUST_USE enum quern_code table_settle(struct sst *t, const struct index *x, uint32_t b,
                                      struct held_block *held, uint32_t i, struct sst_lookup *l,
                                      struct quern_error *err);

#endif
