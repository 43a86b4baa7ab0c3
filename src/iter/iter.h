/* iter.h - one cursor shape for everything that is sorted: MemDBs, tables, runs, merges.
 *
 * A cursor stands on an entry (`valid`) or nowhere. It walks *all* versions: keys rise, and of
 * one key the newest comes first (entry_compare()). `at` is borrowed until the next move; but where
 * next follows next, or prev follows prev, the bytes of the key and value that were left stay
 * readable until the move after that, so that neighbours can be compared without a copy.
 * When `valid` is false after a move, look at `err.code`: OK means the end was reached.
 *
 * Threads: one at a time per cursor. */
#ifndef ITER_ITER_H
#define ITER_ITER_H

#include "base/entry.h"
#include "base/error.h"

struct iter;

struct iter_ops {
    void (*first)(struct iter *it);
    void (*last)(struct iter *it);
    /* To the first entry (newest version) with key >= `key`. */
    void (*seek)(struct iter *it, struct quern_slice key);
    /* To the last entry (oldest version) with key < `key`. */
    void (*seek_below)(struct iter *it, struct quern_slice key);
    void (*next)(struct iter *it); /* only when valid */
    void (*prev)(struct iter *it); /* only when valid */
    void (*free)(struct iter *it);
    /* See iter_hash(). NULL: never. */
    bool (*hash)(const struct iter *it, uint64_t *hash);
    /* See iter_pass(). NULL: never. */
    bool (*pass)(struct iter *it, quern_seq seq, struct quern_slice to, bool backward);
};

struct iter {
    const struct iter_ops *ops;
    bool valid;
    uint64_t head; /* key_head(at.key, 0): merges compare this first */
    struct entry at;
    struct quern_error err;
};

static inline void iter_first(struct iter *it)
{
    it->ops->first(it);
}

static inline void iter_last(struct iter *it)
{
    it->ops->last(it);
}

static inline void iter_seek(struct iter *it, struct quern_slice key)
{
    it->ops->seek(it, key);
}

static inline void iter_seek_below(struct iter *it, struct quern_slice key)
{
    it->ops->seek_below(it, key);
}

static inline void iter_next(struct iter *it)
{
    it->ops->next(it);
}

static inline void iter_prev(struct iter *it)
{
    it->ops->prev(it);
}

/* Nobody wants entries that are older than `seq` and lie between where it stands and `to` (forward:
 * keys below; backward: keys from it on; empty: no bound). Go past such as can be passed over together,
 * in the direction of the last move. True: it has left its entry, and nothing of that is readable any
 * more; it stands on the next, or nowhere. */
static inline bool iter_pass(struct iter *it, quern_seq seq, struct quern_slice to, bool backward)
{
    return it->ops->pass != NULL && it->ops->pass(it, seq, to, backward);
}

/* The hash of the entry it stands on, if that was taken already where the entry was read: whoever
 * needs it then does not go over the bytes again, and is held to what was read. */
static inline bool iter_hash(const struct iter *it, uint64_t *hash)
{
    return it->ops->hash != NULL && it->ops->hash(it, hash);
}

static inline void iter_free(struct iter *it)
{
    if (it != NULL)
        it->ops->free(it);
}
OWNER(iter_free, struct iter *);

/* Merge `n` cursors into one. Takes them all: on success they go with the merge, on failure they
 * are freed too. Equal (key, seq) pairs come in the order of the inputs: put newer ones first.
 * With n == 1 the input itself is returned. Errors: NO_MEMORY. */
MUST_USE enum quern_code iter_merge(struct iter **inputs, size_t n, struct iter **out,
                                    struct quern_error *err);

/* A cursor over nothing. */
MUST_USE enum quern_code iter_empty(struct iter **out, struct quern_error *err);

#endif
