/* mem.h - the MemDB: what was written and is not in a table yet, sorted, in memory.
 *
 * A B+tree in one arena: nodes of a few cache lines whose slots are an 8-byte key head (the bytes
 * after the node's common prefix) and an arena reference; entries never move or change; the
 * newest version of a key comes first and points at the older ones. Page:
 * docs/design/30-memtable.md.
 *
 * Threads: one writer at a time (mem_apply()); any number of readers at once, without locks:
 * a reader checks the versions of the nodes it passed and starts over when one has changed.
 * A reader sees every batch that was applied before it was told of the batch's number; of
 * batches still being applied it may see part, so readers filter by sequence number. */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "base/batch.h"
#include "base/cuts.h"
#include "base/thread.h"
#include "iter/iter.h"

struct mem; /* opaque */

/* Where MemDBs follow one another, the memory of one that is gone waits here for the next: the
 * kernel need not take it back, and clear as much anew. One at most. Any thread. */
struct mem_spare {
    struct mutex mu;
    uint64_t wanted; /* guarded by mu, as is all: bytes of the arenas kept; 0: none is */
    void *base;      /* NULL: none waits */
    uint64_t arenas; /* bytes of all there are, in MemDBs or waiting */
};
void mem_spare_init(struct mem_spare *s);
void mem_spare_done(struct mem_spare *s); /* the MemDBs made with it are gone */
/* Keep arenas of MemDBs made for this many bytes from now on; 0: give back what waits. */
void mem_spare_want(struct mem_spare *s, uint64_t arena_bytes_max);
/* How much there is, or may soon be, for the next MemDB beside MemDBs of `in_use` bytes that are
 * known of: those that somebody still reads will wait here, or go. */
uint64_t mem_spare_bytes(struct mem_spare *s, uint64_t in_use);

/* A MemDB with room for at least `arena_bytes_max` bytes of entries and nodes; address space is
 * taken at once, memory as it fills. `spare` may be NULL, else it outlives the MemDB. *out has one
 * reference. Errors: NO_MEMORY. */
MUST_USE enum quern_code mem_new(uint64_t arena_bytes_max, struct mem_spare *spare,
                                 struct mem **out, struct quern_error *err);
void mem_ref(struct mem *m);
void mem_unref(struct mem *m); /* the last one frees; NULL is fine */
OWNER(mem_unref, struct mem *);

/* Arena bytes that applying this batch takes at the very most: what mem_new() must have for it to
 * fit an empty MemDB is this much. */
uint64_t mem_bytes_needed(const struct batch_ref *batch);

/* Will a further `needed` bytes (a sum of mem_bytes_needed()) surely fit? */
bool mem_fits(const struct mem *m, uint64_t needed);

/* Insert all operations of a batch under number `seq`, which is above all before. Cannot fail: the
 * caller has asked mem_fits(). The ops must parse (they come from our own encoder or were
 * checked by replay). Of two operations on one key in one batch the later wins. */
void mem_apply(struct mem *m, const struct batch_ref *batch, quern_seq seq);
/* The same for a batch with range deletes, which are no entries. `own` has them, each under its
 * place among the operations, from 1 on: operations before one that covers their key are left out. */
void mem_apply_cut(struct mem *m, const struct batch_ref *batch, quern_seq seq,
                   const struct cuts *own);

/* The newest version of `key` with a number <= `seq`: true, and *out borrows from the arena while
 * the caller holds a reference (or an RCU section that keeps it). Tombstones are found too.
 * `hash` is hash_key(key). */
bool mem_get(const struct mem *m, struct quern_slice key, uint64_t hash, quern_seq seq,
             struct entry *out);

/* Touch what a mem_get() of this key will need first, without waiting for it. */
void mem_prefetch(const struct mem *m, uint64_t hash);

/* A cursor that holds a reference. It sees at least what was applied before it was made; use it with
 * a snapshot number. Within one (key, seq) only the last written is shown. It may leave out what
 * nobody sees who reads as of `as_of`: versions older than another one at or below it. 0: it shows all.
 * Errors: NO_MEMORY. */
MUST_USE enum quern_code mem_iter(struct mem *m, quern_seq as_of, struct iter **out,
                                  struct quern_error *err);

/* What was written, in the order in which it was: the entry, and what it stands before. */
struct mem_written {
    struct entry at;
    bool over; /* there was a version of the key here already, with these: */
    quern_seq over_seq;
    uint64_t over_expires_ms;
    enum entry_kind over_kind;
};
/* The entry at `*at` (0: the first), which moves on to the next; false: there is none of a number up to
 * `seq`, which is one that the caller was told of. Any thread that keeps the MemDB. */
bool mem_written(const struct mem *m, uint64_t *at, quern_seq seq, struct mem_written *out);
uint64_t mem_written_bytes(const struct mem *m); /* where `*at` will end, as far as is known now */

struct mem_info {
    uint64_t entry_count; /* operations applied */
    uint64_t tombstone_count, expiring_count;
    uint64_t arena_bytes;       /* used */
    quern_seq seq_min, seq_max; /* 0 when empty */
};
void mem_info(const struct mem *m, struct mem_info *out); /* any thread; counters may lag */

#endif
