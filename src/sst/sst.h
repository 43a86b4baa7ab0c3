/* sst.h - sorted string tables: written once front to back, immutable, every block under a
 * checksum bound to its file and offset; and the cache through which they are read.
 * Bytes on disk: docs/design/40-sstable.md.
 *
 *     data block ... | filter | range-delete block (empty so far) | index | properties | footer
 *
 * A table's index and filter are held by the cache too, read on first use and evictable, so that
 * opening a store of any size is quick and one budget covers all. A table is at most a few tens
 * of MiB (unless one value is larger), which makes each table one partition of the index.
 *
 * Threads: a writer belongs to one thread. Tables may be read by any number of threads at once.
 * Point reads must run inside an RCU section (base/rcu.h): slices they return stay valid until
 * rcu_leave(). Cursors hold references on their blocks and need no section. */
#ifndef SST_SST_H
#define SST_SST_H

#include "base/table_meta.h"
#include "iter/iter.h"
#include "os/os.h"

/* ---- cache: blocks, indexes and filters under one budget; CLOCK ---- */

struct sst_cache;

MUST_USE enum quern_code sst_cache_new(uint64_t capacity_bytes, struct sst_cache **out,
                                       struct quern_error *err);
void sst_cache_free(struct sst_cache *c); /* all tables are closed; NULL is fine */
OWNER(sst_cache_free, struct sst_cache *);
/* Any thread; shrinking evicts at once. */
void sst_cache_set_capacity(struct sst_cache *c, uint64_t capacity_bytes);

struct sst_cache_stats {
    uint64_t capacity_bytes, used_bytes;             /* frames waiting to be freed included */
    uint64_t block_bytes, index_bytes, filter_bytes; /* used_bytes by kind */
    uint64_t hits, misses, evictions;                /* of data blocks; sampled counters may lag */
    uint64_t read_bytes;                             /* from disk */
};
void sst_cache_stats(struct sst_cache *c, struct sst_cache_stats *out);

/* ---- writing ---- */

/* On disk, do not renumber. */
enum sst_codec { SST_PLAIN = 0, SST_LZ4 = 1, SST_ZSTD = 2 };

/* What of a new table joins the cache when it is read again, so that its first readers find it. */
enum sst_warm { SST_COLD, SST_WARM_INDEX /* and filter */, SST_WARM_ALL };

struct sst_write_config {
    uint64_t table_no;
    uint32_t block_bytes; /* target of a data block before compression; 4096 by default */
    uint32_t filter_bits; /* per key; 0: no filter */
    enum sst_codec codec; /* a block that does not shrink by an eighth is stored plain */
    enum sst_warm warm;
    uint64_t created_ms;
};

struct sst;
struct sst_writer;

/* Create NNNNNN.sst, which must not exist. `dir` is borrowed. */
MUST_USE enum quern_code sst_writer_open(struct os_dir *dir, const struct sst_write_config *config,
                                         struct sst_writer **out, struct quern_error *err);
/* The hash of one entry. A table's meta.entry_hash is their wrapping sum, so that what goes into a
 * merge can be held against what comes out. Quick when the value follows its key in memory, as it
 * does in entries read from a MemDB or a table. */
uint64_t sst_entry_hash(const struct entry *e);
/* Add the next entry: entry_compare() rises strictly (ensured). Nothing is kept of `e`. `hash` is
 * its sst_entry_hash(), which the caller took where the entry came from: what the file turns out to
 * hold is compared with the sum of these. */
MUST_USE enum quern_code sst_writer_add(struct sst_writer *w, const struct entry *e, uint64_t hash,
                                        struct quern_error *err);
/* File bytes so far, the open block included. */
uint64_t sst_writer_bytes(const struct sst_writer *w);
/* Write what remains, read the whole file again as its readers will and check it (sst_verify()),
 * and sync it; the caller syncs the directory before naming the table in the manifest. *meta is the
 * caller's (table_meta_done()); so is the open table *out, as sst_open() would give it, with what
 * config.warm asks for in the cache as far as there was memory. NULL: close it. `w` is gone in any
 * case; on failure the file is removed. At least one entry was added. Errors: CORRUPT (what was
 * read is not what was added), NO_SPACE, IO, NO_MEMORY. */
MUST_USE enum quern_code sst_writer_finish(struct sst_writer *w, struct sst_cache *cache,
                                           struct table_meta *meta, struct sst **out,
                                           struct quern_error *err);
void sst_writer_drop(struct sst_writer *w); /* abandon and remove the file; NULL is fine */
OWNER(sst_writer_drop, struct sst_writer *);

/* ---- reading ---- */

/* Open the table that `meta` describes: reads the footer and properties and compares them with
 * `meta` (size, unique id, content hash, counts), so that a missing, cut, swapped or older file is
 * caught here. meta->smallest may be above the file's own first key (a trim); sst_meta() then tells
 * the file's own, and what lies below the trim is for the caller to hide. `dir` and `cache` are
 * borrowed and outlive it. *out has one reference. Errors: CORRUPT, IO, NO_MEMORY, UNSUPPORTED. */
MUST_USE enum quern_code sst_open(struct os_dir *dir, const struct table_meta *meta,
                                  struct sst_cache *cache, struct sst **out,
                                  struct quern_error *err);
void sst_ref(struct sst *t);
void sst_unref(struct sst *t); /* the last one closes the file; NULL is fine */
OWNER(sst_unref, struct sst *);
/* The file is not part of the store any more: remove it when the last reference goes. */
void sst_condemn(struct sst *t);
const struct table_meta *sst_meta(const struct sst *t);
/* How many data blocks it has, and how many of them the cache holds now. */
void sst_count_cached(struct sst *t, uint64_t *blocks, uint64_t *cached);

/* A point read of one key in one table. The caller fills the first part. */
struct sst_lookup {
    struct sst *table; /* for sst_get_many(); sst_get() takes it as an argument */
    struct quern_slice key;
    uint64_t hash; /* hash_key(key) */
    quern_seq seq; /* versions above it are not seen */
    bool last;     /* no table is asked after this one, so the key is most likely here: a filter
                    * that is not loaded yet is not read, unless such a read was in vain before */
    bool cached;   /* nothing is read from disk: BUSY where that would be needed */
    bool prefetch; /* in sst_get_many(), with `cached`: the block that is not there begins to be
                    * read, for a lookup soon after (os_file_start_read()) */

    /* Added to by each table that is asked: filters that said no, and that did not. */
    uint32_t denied, let_through;
    bool by_filter; /* out: the last table's filter was asked, and let it through */

    bool found;         /* out: `entry` holds the newest version <= seq, a tombstone perhaps */
    struct entry entry; /* out: borrows from the cache until rcu_leave(), or from `owned` */
    void *owned;        /* out: a block that the cache had no room for, which the caller frees with
                         * alloc_free(); else NULL */
};

/* Errors: CORRUPT (names table, offset and reason), IO, NO_MEMORY; BUSY (only with l->cached). */
MUST_USE enum quern_code sst_get(struct sst *t, struct sst_lookup *l, struct quern_error *err);

/* Touch what a search for this key will need, without waiting for it: in a get the filter's line;
 * in a search of the index the place that it will lead to; then the block, which waits for the
 * index. What the cache does not hold is passed over. Inside an RCU section, as sst_get(). */
void sst_prefetch_filter(struct sst *t, uint64_t hash);
void sst_prefetch_index(struct sst *t, struct quern_slice key);
void sst_prefetch_block(struct sst *t, struct quern_slice key);

/* sst_get() for `n` lookups, each in its own l->table (often the same, often neighbours of one run),
 * in stages with prefetches between, so that the cache misses of all of them overlap. A failure
 * concerns one lookup: codes[i] is set for each, errs[i] where codes[i] is not OK. `n` is at most
 * SST_LOOKUPS_MAX. */
#define SST_LOOKUPS_MAX 64
void sst_get_many(struct sst_lookup **lookups, size_t n, enum quern_code *codes,
                  struct quern_error *errs);

enum sst_walk {
    SST_CACHED, /* blocks come from the cache and enter it */
    SST_BULK,   /* blocks that are not there are read ahead in large pieces and do not enter it */
    SST_WHOLE,  /* the same, and a walk by iter_next() from iter_first() to the end fails with
                 * CORRUPT there if it did not meet the very entries that were written */
};
/* A cursor over all entries with smallest <= key <= largest of `t`. Holds a reference. Errors:
 * NO_MEMORY, IO, CORRUPT. */
MUST_USE enum quern_code sst_iter(struct sst *t, enum sst_walk walk, struct iter **out,
                                  struct quern_error *err);

/* How many entries (all kinds, all versions) have a key < `key`: from the index's running counts
 * and one block. */
MUST_USE enum quern_code sst_rank(struct sst *t, struct quern_slice key, uint64_t *rank,
                                  struct quern_error *err);

/* Read every byte and check all that can be checked: each block's checksum and its copy in the
 * index, order, counts, key range, entry hash, content hash, filter (no false negative). `damage`
 * is called for each finding, with the offset and the keys it may concern; reading goes on. Returns
 * OK when the table is sound, else CORRUPT with the first finding (or IO, NO_MEMORY). */
typedef void (*sst_damage_fn)(void *arg, uint64_t table_no, uint64_t offset,
                              struct quern_slice first_key, struct quern_slice last_key,
                              const char *what);
MUST_USE enum quern_code sst_verify(struct sst *t, sst_damage_fn damage, void *arg,
                                    uint64_t *bytes_read, struct quern_error *err);

/* ---- salvage ---- */

/* A damaged place, with the keys that it may concern: above `first`, up to `last`; empty: not
 * known. `lost`: entries stood there; else all can still be read. Valid during the call only. */
typedef void (*sst_loss_fn)(void *arg, uint64_t offset, struct quern_slice first,
                            struct quern_slice last, const char *what, bool lost);

/* A cursor over all that is sound in the file of table `table_no`, whatever is damaged around it;
 * only first and next. `unique_id` is what the manifest says, 0: not known. `loss` (NULL: nobody)
 * hears of each damaged place, here or as the cursor passes it. `dir` is borrowed. Errors: CORRUPT
 * (nothing is left, or it is another table), UNSUPPORTED (a newer format), NO_STORE (no such
 * file), IO, NO_MEMORY. */
MUST_USE enum quern_code sst_salvage(struct os_dir *dir, uint64_t table_no, uint64_t unique_id,
                                     sst_loss_fn loss, void *arg, struct iter **out,
                                     struct quern_error *err);

#endif
