/* cuts.h - range deletes that stand: *cuts*, as a list that is searched.
 *
 *     keys      a        f     k         t
 *     cuts      |--------------9---------|        deleted by write 9
 *                        |--7--|                  by write 7, which a snapshot tells from 9
 *     pieces    |---9----|--9--|----9----|
 *                        |--7--|
 *
 * A cut hides what is older than it and has a key in its range, from all who see the cut. In the list
 * it stands in pieces, so that two pieces have the same range or do not meet: a search finds one
 * range, and there the newest number that the reader sees. A list does not change once it is made.
 *
 * Threads: any. */
#ifndef BASE_CUTS_H
#define BASE_CUTS_H

#include "base/batch.h"

#include <stdatomic.h>

struct cut {
    struct quern_slice start, end; /* inclusive, exclusive; `end` empty: to the last key */
    quern_seq seq;
};

struct cuts {
    _Atomic uint32_t refs;
    size_t count;
    quern_seq seq_min, seq_max;
    struct cut piece[]; /* by start; of one range the newest first */
};

/* Numbers at which somebody reads, rising. */
struct cut_pins {
    const quern_seq *seqs;
    size_t count;
};

/* The pieces of `old` (NULL: none) and of `more`. Of cuts over one key the newest stays, and for each
 * pin the newest that it sees. *out has one reference; it is NULL where there is none. Keys are
 * copied. Errors: NO_MEMORY. */
MUST_USE enum quern_code cuts_new(const struct cuts *old, const struct cut *more, size_t count,
                                  struct cut_pins pins, struct cuts **out, struct quern_error *err);
/* Those pieces for which `wanted` says so. As cuts_new() otherwise. */
MUST_USE enum quern_code cuts_pick(const struct cuts *c, const bool *wanted, struct cuts **out,
                                   struct quern_error *err);
/* The range deletes of a batch as cuts of number `seq`, added to `list` (struct cut ...): borrowed
 * from the batch. */
MUST_USE enum quern_code cuts_gather(struct buf *list, const struct batch_ref *batch, quern_seq seq,
                                     struct quern_error *err);
/* The same, each under its place among the operations, from 1 on. *out as of cuts_new(). */
MUST_USE enum quern_code cuts_own(const struct batch_ref *batch, struct cuts **out,
                                  struct quern_error *err);
struct cuts *cuts_ref(struct cuts *c); /* the same one; NULL is fine */
void cuts_unref(struct cuts *c);       /* NULL is fine */
OWNER(cuts_unref, struct cuts *);

static inline bool cut_ends_after(const struct cut *c, struct quern_slice key)
{
    return c->end.len == 0 || key_compare(c->end, key) > 0;
}

static inline bool cut_covers(const struct cut *c, struct quern_slice key)
{
    return key_compare(c->start, key) <= 0 && cut_ends_after(c, key);
}

/* Is there no key in it? */
static inline bool cut_is_empty(const struct cut *c)
{
    return c->end.len != 0 && key_compare(c->start, c->end) >= 0;
}

/* Index of the first piece that ends after `key`; count if none does. */
size_t cuts_lower(const struct cuts *c, struct quern_slice key);

/* The newest cut over `key` of those up to `seq`; 0: there is none. */
quern_seq cuts_newest(const struct cuts *c, struct quern_slice key, quern_seq seq);

/* What holds of all keys of a range: the newest cut over them that a reader sees. */
struct cut_span {
    struct quern_slice from, to; /* inclusive, exclusive; `to` empty: to the last key */
    quern_seq seq;               /* 0: there is none */
};
/* Narrow *span, which has `key`, to where `c` says the same as of `key`; its cut is the newer one. */
void cuts_narrow(const struct cuts *c, struct quern_slice key, quern_seq seq,
                 struct cut_span *span);

static inline bool cut_span_has(const struct cut_span *s, struct quern_slice key)
{
    return key_compare(s->from, key) <= 0 && (s->to.len == 0 || key_compare(key, s->to) < 0);
}

#endif
