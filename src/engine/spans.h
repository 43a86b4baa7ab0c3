/* spans.h - key ranges known to be empty, so that a scan walks over a million deletions once.
 *
 * A span says: at number `seq` and time `time_ms` nothing lives in [from, to), and nothing has been
 * put there since. That is about what the store holds, not about where: flushes and merges do not
 * touch it. It holds for every reader whose number is `seq` or more and whose time is `time_ms` or
 * later: what has expired stays so.
 *
 * Threads: any; `mu` is held for a few comparisons, and taken last. */
#ifndef ENGINE_SPANS_H
#define ENGINE_SPANS_H

#include "base/batch.h"
#include "base/buf.h"
#include "base/thread.h"

#include <stdatomic.h>

#define SPANS_MAX 8
#define SPAN_NONE (-1)

struct span_known {
    struct buf from, to; /* inclusive, exclusive; `to` empty: to the last key there can be */
    quern_seq seq;
    uint64_t time_ms;
    uint64_t used; /* when, by spans.clock; the span used longest ago makes room */
    enum { SPAN_FREE, SPAN_WALKED, SPAN_KNOWN } state;
    bool spoiled; /* there was no memory to cut it: it says nothing any more */
};

struct spans {
    _Atomic uint32_t count; /* slots in use; changed under mu */
    struct mutex mu;
    /* Guarded by mu. */
    struct span_known slot[SPANS_MAX];
    uint64_t clock;
};

void spans_init(struct spans *s);
void spans_done(struct spans *s);

/* A reader at `seq` and `time_ms` begins to walk at `from`: from now on puts behind it are noted.
 * After this call it takes the store's present view, and walks from `from` on. Returns the slot of
 * the walk, or SPAN_NONE: nothing will be remembered. Every walk ends with spans_keep() or
 * spans_drop(). */
int spans_walk(struct spans *s, struct quern_slice from, quern_seq seq, uint64_t time_ms);
/* The same at `key`, which lies in a known span: the walk begins where the span does, and may jump
 * to *to (empty: to the end). False: no span is known there, and no walk has begun. */
MUST_USE bool spans_resume(struct spans *s, struct quern_slice key, quern_seq seq, uint64_t time_ms,
                           struct buf *to, int *slot);
/* The beginning of the known span around `key`, for such a reader that goes backward. */
MUST_USE bool spans_before(struct spans *s, struct quern_slice key, quern_seq seq, uint64_t time_ms,
                           struct buf *from);
/* The walk came to `to` (empty: to the end) and met no living key before it, and no put that is
 * newer than its number. */
void spans_keep(struct spans *s, int slot, struct quern_slice to);
void spans_drop(struct spans *s, int slot); /* SPAN_NONE is fine */

/* The worker has merged, so the deletions are gone as a rule: known spans are not worth what they
 * cost every put. */
void spans_forget(struct spans *s);

/* Leader: these were applied to the MemDB and are not visible yet. */
void spans_note(struct spans *s, const struct batch_ref *batches, size_t count);
static inline void spans_applied(struct spans *s, const struct batch_ref *batches, size_t count)
{
    /* An exchange of the same word as in spans_walk(): either this sees the walk, or the walk sees
     * what was applied. */
    if (UNLIKELY(atomic_fetch_add_explicit(&s->count, 0, memory_order_acq_rel) != 0))
        spans_note(s, batches, count);
}

#endif
