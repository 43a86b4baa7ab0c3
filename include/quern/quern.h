/* quern.h - the public interface of libquern, a persistent key-value store.
 *
 *     struct quern *db;
 *     struct quern_error err;
 *     struct quern_value value = {0};
 *
 *     if (quern_open("/srv/db", NULL, &db, &err))
 *         errx(1, "%s", err.text);
 *     if (quern_put(db, QUERN_STR("key1"), QUERN_STR("value1"), NULL, &err))
 *         errx(1, "%s", err.text);
 *     if (quern_get(db, QUERN_STR("key1"), NULL, &value, &err) == QUERN_OK)
 *         printf("%.*s\n", (int)value.len, (const char *)value.data);
 *     quern_value_done(&value);
 *     quern_close(db, &err);
 *
 * What holds for every function:
 *   errors   the result is an enum quern_code, QUERN_OK (0) on success; the last argument receives
 *            the story of a failure and may be NULL
 *   bytes    keys are 1 to 65536 bytes, values 0 to 1 GiB; any byte may stand in either
 *   options  NULL means the defaults, and a struct of zeros means them too
 *   threads  any number may use one handle at once, unless the function says otherwise; an
 *            iterator, a batch and a value belong to one thread at a time
 *   fork     a child must not use a handle of its parent; it gets INVALID
 *
 * Durability. A write survives the end of the process (kill -9) from the moment the call returns.
 * It survives the loss of power from the moment that a write with `sync`, or quern_sync(), that
 * began after it, has returned. What survives is always a prefix of the order in which writes were
 * acknowledged, with every batch whole or absent. docs/design/10-write-path.md.
 *
 * Expiry. A put may say when its value expires: milliseconds since 1970 by the machine's clock, 0
 * for never. From that millisecond on no read shows it, as if it had been deleted then; what it has
 * replaced stays replaced. A snapshot and an iterator judge by the time at which they were made, so
 * what they see does not change; all other reads by the present. While a store is open its clock
 * never goes back, whatever the machine's does: what has expired stays so until the next open.
 * Flushes and merges give the space back. docs/decisions/0023-entries-expire-by-the-wall-clock.md.
 *
 * Databases. A store has sixteen, 0 to 15, each with keys of its own: options say which one a call
 * means, and a batch is told (quern_batch_select()); zeros mean database 0, and whoever needs no
 * other need not know of them. A number above 15 is INVALID. They share the log, the numbers of
 * writes, snapshots and all files: a batch over several is written as a whole like any other, and a
 * snapshot is of all. Two may change places (quern_swap_databases()).
 * docs/decisions/0025-databases-are-a-byte-before-the-key.md. */
#ifndef QUERN_H
#define QUERN_H

#include <quern/types.h>

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUERN_API __attribute__((visibility("default")))
#define QUERN_CHECK __attribute__((warn_unused_result))

#define QUERN_KEY_BYTES_MAX 65536u
#define QUERN_VALUE_BYTES_MAX (UINT32_C(1) << 30)
/* All operations of one batch together. */
#define QUERN_BATCH_BYTES_MAX (UINT32_C(2) << 30)

/* Numbered from 0. */
#define QUERN_DATABASES 16u

/* A slice over a C string, without its zero. */
#define QUERN_STR(s) ((struct quern_slice){(s), strlen(s)})

/* "0.1.0" of the library in use. Constant. */
QUERN_API const char *quern_version(void);
/* A code in words: "not found", "corrupt", ... Constant. */
QUERN_API const char *quern_code_name(enum quern_code code);

/* ------------------------------------------------------------------ open and close -- */

struct quern; /* an open store */

enum quern_compression {
    QUERN_COMPRESS_DEFAULT = 0, /* LZ4 for the bottom run, none above */
    QUERN_COMPRESS_NONE,
    QUERN_COMPRESS_LZ4,  /* every table */
    QUERN_COMPRESS_ZSTD, /* zstd for the bottom run, LZ4 above */
};

/* What to do when the log does not end cleanly. */
enum quern_recover {
    QUERN_RECOVER_TAIL = 0,      /* cut what a crash left torn; refuse damage to durable writes */
    QUERN_RECOVER_STRICT,        /* refuse a torn tail as well */
    QUERN_RECOVER_POINT_IN_TIME, /* stop at the first damage; what follows is lost, knowingly */
};

enum quern_event_kind {
    QUERN_EVENT_OPENED,    /* text says what was recovered */
    QUERN_EVENT_TORN_TAIL, /* a crash left an unacknowledged tail in the log; it was cut */
    QUERN_EVENT_FLUSHED,   /* a MemDB became tables */
    QUERN_EVENT_COMPACTED, /* tables were merged or moved */
    QUERN_EVENT_SLOWED,    /* writers are slowed, or work is put off: the background is behind */
    QUERN_EVENT_NO_SPACE,  /* background work waits for disk space; writes may be refused */
    QUERN_EVENT_RESUMED,   /* it goes on */
    QUERN_EVENT_CORRUPT,   /* a damaged block was met; the rest is served */
    QUERN_EVENT_FAILED,    /* writes are refused from now on until a reopen */
    QUERN_EVENT_CLOSED,
};

/* Something an operator may want to know. Valid during the call only. */
struct quern_event {
    enum quern_event_kind kind;
    const char *text;                          /* one line, no newline */
    uint64_t bytes_in, bytes_out, duration_us; /* of a flush or compaction */
};

/* Called from background threads and from calls on the handle, one at a time. It must not call back
 * into the store. */
typedef void (*quern_event_fn)(void *arg, const struct quern_event *event);

struct quern_options {
    uint64_t memory_bytes;        /* budget of MemDBs, cache, indexes and filters; 256 MiB */
    uint64_t memdb_bytes;         /* a MemDB is flushed at this size; min(64 MiB, budget / 5) */
    uint32_t flush_interval_ms;   /* oldest unflushed write becomes a table after this; 60 000 */
    uint32_t compact_interval_ms; /* how often to look for what reads, deletions or idleness make
                                   * due; 10 000 */
    enum quern_compression compression;
    enum quern_recover recover;
    bool must_exist;  /* do not create: NO_STORE instead */
    bool must_create; /* EXISTS if there is a store already */
    bool read_only;   /* write nothing at all, not even a lock; others must not be writing */
    quern_event_fn on_event;
    void *on_event_arg;

    /* For tests and experiments; leave 0. */
    uint32_t block_bytes;       /* 4096 */
    uint32_t filter_bits;       /* per key; 10; UINT32_MAX: no filters */
    uint64_t table_bytes;       /* 32 MiB */
    uint32_t tier_runs;         /* runs of one tier that make a merge due; 4 */
    uint64_t log_segment_bytes; /* memdb_bytes / 2, 1 to 16 MiB */
};

/* Open the store in directory `path`, creating directory and store if missing. One that was closed
 * is left as it is until something is written: the first write begins the log, and waits for that.
 *   owns     on success *out is the caller's until quern_close(); on failure it is untouched
 *   errors   NO_STORE, EXISTS, LOCKED (held by another process or handle), DENIED, CORRUPT (file,
 *            offset, reason), UNSUPPORTED (a newer format, or an older one: the text says what to
 *            do), INVALID (options), IO, NO_SPACE, NO_MEMORY
 *   source   src/engine/open.c; docs/design/70-recovery.md */
QUERN_API QUERN_CHECK enum quern_code quern_open(const char *path,
                                                 const struct quern_options *options,
                                                 struct quern **out, struct quern_error *err);

/* Finish what was begun, flush the MemDB, sync, close. The handle is gone in any case; all is
 * durable when it returns OK. No other call may be running or follow; iterators and snapshots are
 * freed before.
 *   errors   IO, NO_SPACE, UNKNOWN, READ_ONLY (an earlier failure): what was acknowledged is still
 *            in the log, a reopen replays it
 *   source   src/engine/open.c */
QUERN_API enum quern_code quern_close(struct quern *db, struct quern_error *err);

/* A number of this store's own, made at random with it, never 0. A checkpoint and a repaired copy
 * have others; a copy of the files has the same. Together with a quern_seq it names one write among
 * those of all stores: except where writes that were not durable were lost with the power, or given
 * up (QUERN_RECOVER_POINT_IN_TIME), for their numbers are given again. */
QUERN_API uint64_t quern_store_id(const struct quern *db);

/* ------------------------------------------------------------------ writing -- */

struct quern_write_opts {
    bool sync;           /* survive power loss at return, this write and all before it */
    uint64_t expires_ms; /* when the value expires; 0: never. quern_put() alone looks at it */
    uint8_t database;    /* quern_put(), quern_delete() and quern_delete_range() look at it: batches
                          * have their own */
    /* NULL: at once. Else the write waits in this hand for quern_hand_over(). The asynchronous
     * calls alone look at it. */
    struct quern_hand *hand;
};

/* Store `value` under `key`, replacing any older value and when that was to expire.
 *   owns     nothing is kept: both slices are copied before return
 *   memory   a value is copied once into the log and once into the MemDB, which holds it until it
 *            is flushed; a value larger than the MemDB makes one of its own size for that time
 *   order    every read that begins after return sees it
 *   errors   INVALID (size; database; an expiry above INT64_MAX), READ_ONLY, NO_SPACE,
 *            UNKNOWN (sync failed),
 *            IO, NO_MEMORY, BUSY, CLOSED
 *   source   src/engine/write.c; docs/design/10-write-path.md */
QUERN_API QUERN_CHECK enum quern_code quern_put(struct quern *db, struct quern_slice key,
                                                struct quern_slice value,
                                                const struct quern_write_opts *opts,
                                                struct quern_error *err);

/* Remove `key`; it need not be there. As quern_put() otherwise. */
QUERN_API QUERN_CHECK enum quern_code quern_delete(struct quern *db, struct quern_slice key,
                                                   const struct quern_write_opts *opts,
                                                   struct quern_error *err);

/* The keys from `start` (inclusive; empty: from the first) up to `end` (exclusive; empty: to the
 * last), of one database. */
struct quern_range {
    struct quern_slice start, end;
};

/* Remove every key of `range`, in one step: of one size in the log whatever it removes, and visible
 * as a whole. Snapshots and iterators that are older see the keys still. Both bounds empty: every
 * key of the database, which is opts->database. A range without keys in it (start >= end) does
 * nothing. The space comes back by merges.
 *   errors   as quern_put(); INVALID: `range` is NULL, or a bound is too long
 *   source   src/engine/cuts.c; docs/decisions/0024-a-range-delete-is-a-cut.md */
QUERN_API QUERN_CHECK enum quern_code quern_delete_range(struct quern *db,
                                                         const struct quern_range *range,
                                                         const struct quern_write_opts *opts,
                                                         struct quern_error *err);

/* Databases `a` and `b` change places: what was in the one is in the other from now on. One write
 * like any other, as a whole, in its place among all, and of one size whatever the databases hold.
 *   before   writes that were handed over before it, those of asynchronous calls too, go where their
 *            database was; its checks and updates are made there
 *   keep     snapshots and iterators that are older see the databases where they were
 *   revision the values keep their numbers and expiries. So a check or a tag of a revision tells one
 *            write from another, and not, where one batch wrote the same key in both, the databases
 *   else     of one database with itself: nothing is written. Counts, verify and dumps are of the
 *            databases as users know them; a checkpoint, a repaired store and a dump have them in
 *            their places
 *   errors   as quern_put()
 *   source   src/engine/databases.c; docs/decisions/0032-databases-change-places-by-a-map.md */
QUERN_API QUERN_CHECK enum quern_code quern_swap_databases(struct quern *db, uint8_t a, uint8_t b,
                                                           const struct quern_write_opts *opts,
                                                           struct quern_error *err);

/* Several operations that happen together or not at all. Of two on one key the later wins: what is
 * put behind a range delete stays, what was put before it in the same batch is gone. */
struct quern_batch;

QUERN_API struct quern_batch *quern_batch_new(void);        /* NULL: no memory */
QUERN_API void quern_batch_free(struct quern_batch *batch); /* NULL is fine */
/* As new, in database 0; keeps memory for the next use. */
QUERN_API void quern_batch_clear(struct quern_batch *batch);
/* Operations and checks that are added from now on are of this database. */
QUERN_API void quern_batch_select(struct quern_batch *batch, uint8_t database);
/* Add an operation to the batch.
 *   owns     nothing is kept: key and value are copied
 *   errors   INVALID (size; batch over QUERN_BATCH_BYTES_MAX; the selected database is none),
 *            NO_MEMORY: then nothing was added */
QUERN_API QUERN_CHECK enum quern_code quern_batch_put(struct quern_batch *batch,
                                                      struct quern_slice key,
                                                      struct quern_slice value,
                                                      struct quern_error *err);
/* The same with an expiry, at most INT64_MAX; 0: never. */
QUERN_API QUERN_CHECK enum quern_code
quern_batch_put_until(struct quern_batch *batch, struct quern_slice key, struct quern_slice value,
                      uint64_t expires_ms, struct quern_error *err);
QUERN_API QUERN_CHECK enum quern_code
quern_batch_delete(struct quern_batch *batch, struct quern_slice key, struct quern_error *err);

QUERN_API QUERN_CHECK enum quern_code quern_batch_delete_range(struct quern_batch *batch,
                                                               const struct quern_range *range,
                                                               struct quern_error *err);

/* Operations that are added behind it find `b` in the place of `a`, and the other way round; checks do
 * not. Reads of an update do, from then on. */
QUERN_API QUERN_CHECK enum quern_code quern_batch_swap_databases(struct quern_batch *batch,
                                                                 uint8_t a, uint8_t b,
                                                                 struct quern_error *err);

enum quern_require {
    QUERN_REQUIRE_ABSENT = 1,
    QUERN_REQUIRE_PRESENT,
    QUERN_REQUIRE_REVISION, /* its value came with this write: quern_value.seq */
};
/* Add a check: the batch is written if this holds of `key` once every write before it is in place,
 * and nothing between the check and the batch. Of several all must hold. The batch's own operations
 * do not count. A key that has expired when the check is made is absent. `revision` is looked at
 * for REVISION only.
 *   errors   INVALID (key, database, or no such check), NO_MEMORY: then nothing was added */
QUERN_API QUERN_CHECK enum quern_code
quern_batch_require(struct quern_batch *batch, enum quern_require what, struct quern_slice key,
                    quern_seq revision, struct quern_error *err);

QUERN_API uint32_t quern_batch_count(const struct quern_batch *batch); /* operations, not checks */
QUERN_API size_t quern_batch_bytes(const struct quern_batch *batch);   /* of its operations */

/* Write a batch; an empty one does nothing (with `sync` it syncs), but its checks are made. `batch`
 * is not changed.
 *   errors   as quern_put(), and CONFLICT: a check did not hold, err->check says which; CORRUPT, IO
 *            where the key of a check cannot be told. Nothing was written then */
QUERN_API QUERN_CHECK enum quern_code quern_write(struct quern *db, const struct quern_batch *batch,
                                                  const struct quern_write_opts *opts,
                                                  struct quern_error *err);

/* What quern_write_async() reports to: the caller's memory, which stays until completion. Fill in
 * `done`, `arg` and `event_fd`; the rest is quern's. */
struct quern_completion {
    /* Called once, from a thread of quern's or from any thread that is inside a writing call on the
     * same handle. It must be quick, must not wait for the store, and must not take a lock that is
     * held around such a call. Completion is this call if there is one. NULL: none; then
     * completion is when quern_completion_ready() says so. */
    void (*done)(void *arg, struct quern_completion *c);
    void *arg;
    int event_fd; /* an eventfd that gets 1 added at completion; 0 or less: none */

    /* Valid in done(), or once quern_completion_ready() says so. */
    quern_seq seq;
    enum quern_code code;
    struct quern_error error;
    bool slowed; /* it was made to wait for flushes or merges: the store is behind */
    bool more;   /* done() is called for another one of the same hand next, by the same thread */

    int ready_; /* internal */
    uint64_t internal_[24];
};

/* Hand a batch over and return at once, without waiting for a lock on the disk or for a sync. At
 * completion the write is visible to all reads, and durable if `opts->sync`. Completions come in
 * the order of the calls of one thread. Bounded: BUSY when too much is under way already.
 *   owns     `batch` and `completion` are borrowed until completion
 *   errors   at once: INVALID, BUSY, CLOSED, READ_ONLY, NO_MEMORY; then there is no completion.
 *            In completion->code: those of quern_put()
 *   source   src/engine/write.c, src/engine/commit.c */
QUERN_API QUERN_CHECK enum quern_code quern_write_async(struct quern *db,
                                                        const struct quern_batch *batch,
                                                        const struct quern_write_opts *opts,
                                                        struct quern_completion *completion,
                                                        struct quern_error *err);
QUERN_API bool quern_completion_ready(const struct quern_completion *c);

/* Asynchronous writes of one thread that go to the store in one step. Begin with zeros. */
struct quern_hand {
    void *first_, *last_; /* internal */
    size_t count_;
};

/* Hand over what waits in `hand`, which is empty then: one lock and one wake-up for all, and most
 * likely one commit group. Where that needs to wait for nothing (nobody else writes, no sync is
 * asked for, nothing depends on what is there, log and MemDB have room, and writers are not
 * slowed), the calling thread carries the writes out itself, and they are complete at return. It
 * never waits for the disk. What would have been an error of quern_write_async() at once, BUSY or
 * CLOSED, is that of the completions.
 *   source   src/engine/commit.c */
QUERN_API void quern_hand_over(struct quern *db, struct quern_hand *hand);

/* How much the last writes were slowed because flushes and merges are behind: 0, not at all, to
 * 100. At 50 a byte takes as long to write as it takes to flush. Any thread; costs nothing. */
QUERN_API unsigned quern_pressure(struct quern *db);

/* Make every write that has returned durable.
 *   errors   UNKNOWN, READ_ONLY, CLOSED */
QUERN_API QUERN_CHECK enum quern_code quern_sync(struct quern *db, struct quern_error *err);

/* ------------------------------------------------------------------ reading -- */

/* The store as it was at one moment. It keeps old versions from being dropped: free it soon. */
struct quern_snapshot;
QUERN_API QUERN_CHECK enum quern_code
quern_snapshot_new(struct quern *db, struct quern_snapshot **out, struct quern_error *err);
QUERN_API void quern_snapshot_free(struct quern_snapshot *s); /* NULL is fine */
QUERN_API quern_seq quern_snapshot_seq(const struct quern_snapshot *s);

/* The number of the last write that reads see. Any thread; costs nothing. */
QUERN_API quern_seq quern_visible_seq(const struct quern *db);

/* The present by which reads judge expiries, in milliseconds since 1970: what is to live for a while
 * from now on is put until then and that while. By the machine's clock, which may have been set back,
 * it may have expired already. Any thread, and inside an update too. */
QUERN_API uint64_t quern_time_ms(struct quern *db);

/* A value that was read: the caller's, reusable. Begin with zeros; each read replaces what was
 * there and keeps the memory; quern_value_done() gives the memory back. Values of many MiB are read
 * from disk straight into it, without a further copy. */
struct quern_value {
    const void *data;
    size_t len;
    quern_seq seq;       /* number of the write it came with */
    uint64_t expires_ms; /* 0: never */
    /* Internal. */
    void *memory_;
    size_t memory_bytes_;
};
QUERN_API void quern_value_done(struct quern_value *value);

struct quern_read_opts {
    const struct quern_snapshot *snapshot; /* NULL: now */
    /* Never wait for the disk: BUSY where something would have to be read from there. */
    bool cached;
    size_t bytes_max; /* not 0: BUSY for a longer value. quern_multi_get() alone looks at it */
    uint8_t database;
};

/* Read the value of `key` into *value.
 *   returns  OK, or NOT_FOUND (then *value is empty and err untouched)
 *   errors   CORRUPT (names table and offset: this key cannot be told; others can), IO, INVALID,
 *            NO_MEMORY; BUSY with opts->cached alone: nothing is known, ask again without it
 *   source   src/engine/read.c; docs/design/00-tour.md */
QUERN_API QUERN_CHECK enum quern_code quern_get(struct quern *db, struct quern_slice key,
                                                const struct quern_read_opts *opts,
                                                struct quern_value *value, struct quern_error *err);

/* Read `n` keys as of one moment, faster than one by one: their cache misses overlap.
 *   returns  OK, or the first error. For each i codes[i] is OK, NOT_FOUND or the error that
 *            concerned this key alone; `err` has the story of the first such error
 *   source   src/engine/read.c */
QUERN_API QUERN_CHECK enum quern_code
quern_multi_get(struct quern *db, const struct quern_slice *keys, size_t n,
                const struct quern_read_opts *opts, struct quern_value *values,
                enum quern_code *codes, struct quern_error *err);

/* Gets of these keys will follow soon: begin to read from disk the blocks that they will miss in the
 * cache, all of them at once, and wait for none. Meant for a thread that has several gets to make,
 * each of which may wait: it waits for the slowest of the blocks then, not for all in turn.
 * quern_multi_get() does so by itself. What is read joins the kernel's cache of files, from where the
 * gets take it. Tells nothing, and may be left out: a hint. The call itself may have to wait a
 * moment, for memory or while the disk's queue is full.
 *   source   src/engine/read.c; docs/decisions/0033-reads-of-one-wake-up-wait-together.md */
QUERN_API void quern_prefetch(struct quern *db, const struct quern_slice *keys, size_t n,
                              const struct quern_read_opts *opts);

struct quern_iter;
struct quern_iter_opts {
    const struct quern_snapshot *snapshot; /* NULL: as of now */
    struct quern_range range;              /* the iterator never leaves it; copied */
    struct quern_slice prefix; /* if not empty: only keys that begin so; narrows `range` */
    bool bulk;                 /* a long scan: read ahead, and leave the cache to others */
    uint8_t database;          /* whose entries it shows */
};

/* An iterator over a view that does not change; it stands nowhere until moved.
 *   owns     *out is the caller's until quern_iter_free(); free it before closing the store
 *   holds    versions that only it can see, while it lives; and, until it moves again, the files
 *            and MemDBs of its last move. Kept unused, it keeps dead files on disk and up to
 *            three MemDBs in memory: move it now and then, or free it
 *   errors   NO_MEMORY, IO, CORRUPT, INVALID (database)
 *   source   src/engine/scan.c */
QUERN_API QUERN_CHECK enum quern_code quern_iter_new(struct quern *db,
                                                     const struct quern_iter_opts *opts,
                                                     struct quern_iter **out,
                                                     struct quern_error *err);
QUERN_API void quern_iter_free(struct quern_iter *it); /* NULL is fine */

/* Each moves and tells whether the iterator stands on an entry now; false: the end, or a failure
 * (quern_iter_error()). next and prev only when it stood on one. */
QUERN_API bool quern_iter_first(struct quern_iter *it);
QUERN_API bool quern_iter_last(struct quern_iter *it);
QUERN_API bool quern_iter_seek(struct quern_iter *it, struct quern_slice key); /* first >= key */
QUERN_API bool quern_iter_seek_back(struct quern_iter *it,
                                    struct quern_slice key); /* last <= key */
QUERN_API bool quern_iter_next(struct quern_iter *it);
QUERN_API bool quern_iter_prev(struct quern_iter *it);
QUERN_API bool quern_iter_valid(const struct quern_iter *it);
/* Of the entry it stands on; borrowed until the next move. */
QUERN_API struct quern_slice quern_iter_key(const struct quern_iter *it);
QUERN_API struct quern_slice quern_iter_value(const struct quern_iter *it);
QUERN_API quern_seq quern_iter_seq(const struct quern_iter *it);
QUERN_API uint64_t quern_iter_expires_ms(const struct quern_iter *it); /* 0: never */
/* OK, or why the iterator stopped. */
QUERN_API enum quern_code quern_iter_error(const struct quern_iter *it, struct quern_error *err);

/* How many keys of a database live in `range` (NULL: all), exactly. Of a whole database the number is
 * kept once somebody has asked: then what was written since is counted, and what has expired since taken
 * away, and nothing else. It is not known after a range delete; where something expires that lay too far ahead
 * (the memory for it, a 64th of memory_bytes taken off the cache, is 17 minutes at 256 MiB); and where something has
 * expired in a store that was just opened. Then, and of ranges, it uses the tables' running counts where
 * it can, and walks where it cannot.
 *   errors   CORRUPT, IO, NO_MEMORY, INVALID (database); BUSY with opts->cached alone: it is not at hand,
 *            ask again without it
 *   source   src/engine/count.c */
QUERN_API QUERN_CHECK enum quern_code quern_count(struct quern *db, const struct quern_range *range,
                                                  const struct quern_read_opts *opts,
                                                  uint64_t *count, struct quern_error *err);

/* The same of a whole database, and how many of its keys expire. Kept in memory alone: the first to ask
 * after an open walks, where any key expires.
 *   errors   as quern_count()
 *   source   src/engine/count.c */
struct quern_living {
    uint64_t keys;
    uint64_t expiring; /* those that will at some time */
    uint64_t ttl_ms;   /* how long these live on, on average; 0: there are none */
};
QUERN_API QUERN_CHECK enum quern_code quern_count_living(struct quern *db, uint8_t database,
                                                         bool cached, struct quern_living *out,
                                                         struct quern_error *err);

/* How many keys live in all databases, as far as it takes no walk; QUERN_KEYS_UNKNOWN where it would.
 *   errors   CORRUPT, IO, NO_MEMORY; BUSY with `cached` alone: more was written since somebody asked
 *            than is counted in a millisecond or two, or something would have to be read
 *   source   src/engine/live_ask.c */
#define QUERN_KEYS_UNKNOWN UINT64_MAX
QUERN_API QUERN_CHECK enum quern_code quern_live_keys(struct quern *db, bool cached,
                                                      uint64_t keys[QUERN_DATABASES],
                                                      struct quern_error *err);

/* ------------------------------------------------------------------ reading and writing -- */

/* A function that reads keys and fills a batch, while nobody else writes: what it read still holds
 * when its batch is applied. For counters, appending, moving a value, and whatever a check cannot
 * say.
 *
 *     static enum quern_code add_one(void *arg, struct quern_update *u, struct quern_error *err)
 *     {
 *         ...
 *         if (quern_update_get(u, key, &value, err) == QUERN_OK)
 *             n = number_in(&value);
 *         return quern_batch_put(quern_update_batch(u), key, text_of(n + 1), err);
 *     }
 */
struct quern_update; /* valid while the function runs */

/* Called once, or not at all when the write is refused before; from a thread of quern's or from any
 * thread that is inside a writing call on the same handle. All writers wait for it: it must be
 * quick, must not call the store but through `u`, and must not take a lock that is held around such
 * a call.
 *   returns  OK: the batch is written. Else: nothing is, and that code with *err is the result of
 *            the whole; the code may be NOT_FOUND, INVALID, CONFLICT, or what a call on `u` said */
typedef enum quern_code (*quern_update_fn)(void *arg, struct quern_update *u,
                                           struct quern_error *err);

/* As quern_get(), of the moment at which the batch will be applied, with the operations that the
 * function has put into it so far; in the database that is selected in the batch. All reads of one
 * update judge expiries by one time. A key whose block is not in the cache makes all writers wait
 * for the disk: where that may be, read it with quern_get() before the update is begun. */
QUERN_API QUERN_CHECK enum quern_code quern_update_get(struct quern_update *u,
                                                       struct quern_slice key,
                                                       struct quern_value *value,
                                                       struct quern_error *err);
/* The batch to fill, empty at first; it may be cleared and filled anew. Checks in it are not made. */
QUERN_API struct quern_batch *quern_update_batch(struct quern_update *u);

/* The number that its batch will have, unless that stays empty. One above the number of a snapshot:
 * nothing was written since. */
QUERN_API quern_seq quern_update_seq(const struct quern_update *u);
/* The number of the write by which `database` last changed places; 0: not since the store was
 * opened. Not above what quern_visible_seq() said before a read: the read was of what is there. */
QUERN_API quern_seq quern_update_moved(const struct quern_update *u, uint8_t database);

/* Run `fn` and write what it put into its batch, as one step among all writes.
 *   errors   as quern_put(), and what `fn` returned
 *   source   src/engine/update.c; docs/design/10-write-path.md */
QUERN_API QUERN_CHECK enum quern_code quern_update(struct quern *db, quern_update_fn fn, void *arg,
                                                   const struct quern_write_opts *opts,
                                                   struct quern_error *err);

/* The same without waiting, as quern_write_async(): `arg` and `completion` are borrowed until
 * completion. */
QUERN_API QUERN_CHECK enum quern_code quern_update_async(struct quern *db, quern_update_fn fn,
                                                         void *arg,
                                                         const struct quern_write_opts *opts,
                                                         struct quern_completion *completion,
                                                         struct quern_error *err);

/* ------------------------------------------------------------------ care -- */

/* Write the MemDB out as tables now. */
QUERN_API QUERN_CHECK enum quern_code quern_flush(struct quern *db, struct quern_error *err);

/* Called on quern's own thread; it must not write to the store. */
typedef void (*quern_progress_fn)(void *arg, uint64_t done_bytes, uint64_t total_bytes);

struct quern_compact_opts {
    const struct quern_range *range; /* of one database; NULL: everything, in all of them */
    uint8_t database;                /* whose range it is */
    quern_progress_fn on_progress;
    void *on_progress_arg;
};
/* Flush, and merge all that touches the range into the bottom run, dropping what is overwritten,
 * deleted or expired and not held by a snapshot. */
QUERN_API QUERN_CHECK enum quern_code
quern_compact(struct quern *db, const struct quern_compact_opts *opts, struct quern_error *err);

/* A copy of the store as of now in the new directory `path` (same file system): tables are hard
 * links, so it takes moments. Opens like any store.
 *   errors   INVALID (`path` is ""), EXISTS (it is not empty), NO_STORE (its parent is missing),
 *            DENIED, NO_SPACE, READ_ONLY (an earlier failure), UNKNOWN, CLOSED, IO, NO_MEMORY
 *   source   src/engine/work.c */
QUERN_API QUERN_CHECK enum quern_code quern_checkpoint(struct quern *db, const char *path,
                                                       struct quern_error *err);

/* One place that is damaged. Valid during the call only. */
struct quern_damage {
    const char *file;
    uint64_t offset;
    /* Keys that may be concerned, over all databases from the first to the last; empty: unknown, so
     * all of the first one's from its beginning, of the last one's to its end. Where databases have
     * changed places, more than are concerned. */
    struct quern_slice first_key, last_key;
    uint8_t first_database, last_database;
    const char *what;
    bool lost; /* entries stood there: keys of the range may be missing, or show an older value.
                * False: all entries can still be read */
};
typedef void (*quern_damage_fn)(void *arg, const struct quern_damage *damage);

struct quern_verify_opts {
    quern_damage_fn on_damage;
    void *on_damage_arg;
    quern_progress_fn on_progress;
    void *on_progress_arg;
};
struct quern_verify_report {
    uint64_t tables, bytes, entries, damages;
};
/* Read every byte of every table and check every checksum, order, count and hash; and CURRENT, the
 * manifest and the live log segments as they are on disk; and walk the databases whose number of keys
 * is kept (quern_count()). The store goes on working meanwhile.
 *   returns  OK when all is sound, CORRUPT with the first damage otherwise; *report may be NULL
 *   source   src/engine/care.c */
QUERN_API QUERN_CHECK enum quern_code quern_verify(struct quern *db,
                                                   const struct quern_verify_opts *opts,
                                                   struct quern_verify_report *report,
                                                   struct quern_error *err);

/* The same for a store that is not open, and that perhaps cannot be opened: one damage does not
 * hide the next. Writes nothing but the number of this process, into LOCK if that is there.
 *   returns  OK or CORRUPT as quern_verify()
 *   errors   NO_STORE, LOCKED (a process has it open), UNSUPPORTED (a newer format), DENIED, IO,
 *            NO_MEMORY
 *   source   src/engine/remains.c; docs/design/75-damage.md */
QUERN_API QUERN_CHECK enum quern_code quern_check(const char *path,
                                                  const struct quern_verify_opts *opts,
                                                  struct quern_verify_report *report,
                                                  struct quern_error *err);

struct quern_repair_report {
    uint64_t tables, segments; /* files that were read */
    uint64_t entries, bytes;   /* in the new store; its size on disk */
    uint64_t damages;          /* places that on_damage was told of */
    uint64_t losses;           /* those of them by which entries are lost */
};
/* Copy all that is sound of the store in directory `from` into a new store in directory `to`, which
 * must be empty or missing. `from` is only read, as by quern_check(); it need not open, and may
 * lack any of its files. Newer values win over older ones and deletions are honoured, as far as
 * they can still be read; on_damage hears of every damaged place, with the keys that may be missing
 * or old because of it. `to` opens only when it is complete.
 *   returns  OK: nothing is lost. CORRUPT: `to` is complete, and something is lost: *report and
 *            on_damage say what
 *   errors   NO_STORE, LOCKED (a process has `from` open), EXISTS (`to` is not empty), UNSUPPORTED,
 *            NO_SPACE, DENIED, IO, NO_MEMORY: then there is no store in `to`
 *   source   src/engine/repair.c; docs/design/75-damage.md */
QUERN_API QUERN_CHECK enum quern_code quern_repair(const char *from, const char *to,
                                                   const struct quern_verify_opts *opts,
                                                   struct quern_repair_report *report,
                                                   struct quern_error *err);

/* ------------------------------------------------------------------ statistics -- */

#define QUERN_TIERS_MAX 8
#define QUERN_SYNC_TIMES 20
#define QUERN_SYNC_TIME_BITS_FIRST 14

struct quern_tier_stats {
    uint32_t runs, tables;
    uint64_t bytes, entries, tombstones;
};

struct quern_stats {
    /* state */
    quern_seq visible_seq, durable_seq;
    bool read_only;    /* writes are refused */
    bool no_space;     /* background work waits for disk space */
    char failure[304]; /* why writes are refused, or "" */
    uint32_t snapshots, iterators;
    /* memory, bytes */
    uint64_t memory_budget, memdb_bytes, memdb_sealed, cache_bytes, cache_block_bytes,
        cache_index_bytes, cache_filter_bytes;
    uint64_t memdb_entries;
    uint64_t memdb_expiring; /* of them, that have an expiry */
    uint64_t cuts; /* ranges deleted of which something may be left, in pieces that do not meet */
    /* disk, bytes */
    uint64_t disk_bytes, log_bytes;
    uint64_t log_segments; /* 0 until something is written */
    uint64_t table_bytes, tables, table_entries, table_tombstones;
    uint64_t table_expiring; /* entries that have an expiry, past or to come */
    /* bytes of deletions, of versions that newer ones of the same table hide, and of tables in
     * which all has expired; what newer tables hide is not known before a merge */
    uint64_t reclaimable_bytes;
    uint32_t tiers; /* rows of `tier` in use; the last one is the bottom run */
    struct quern_tier_stats tier[QUERN_TIERS_MAX];
    /* since open */
    uint64_t puts, deletes, range_deletes, batches, gets, gets_found, seeks;
    uint64_t user_bytes; /* keys + values put */
    uint64_t log_bytes_written, log_syncs, log_sync_ns_total, log_sync_ns_max, log_groups;
    /* of the syncs: [0] those under 2^14 ns, [1] those from there to under 2^15, and so on; the last
     * has all that took longer. Not in quern_stats_json() */
    uint64_t log_sync_times[QUERN_SYNC_TIMES];
    uint64_t flushes, flush_bytes, flush_ns;
    uint64_t compactions, compact_read_bytes, compact_write_bytes, compact_ns, table_moves;
    /* what had expired and was cleared up, some time later, by flushes and merges; without what was
     * overwritten, deleted or cut away before that */
    uint64_t expired_entries;
    uint64_t slowed_writes, slowed_ns;   /* writers made to wait */
    uint64_t stalled_writes, stalled_ns; /* of them, those that waited for a MemDB to be flushed */
    /* filters of tables that gets asked; that said no; that let through what was not there. Gets of
     * one key are counted from every 64th, for all of them */
    uint64_t filter_checks, filter_useful, filter_false;
    uint64_t cache_hits, cache_misses, cache_evictions, disk_read_bytes;
    uint64_t corrupt_blocks;
    /* tables that the idle worker has read through: rounds over all of them, damages found */
    uint64_t scrub_rounds, scrub_bytes, scrub_damages;
    /* periods */
    uint32_t flush_interval_ms, compact_interval_ms;
    uint64_t last_flush_ms_ago, last_compact_ms_ago, last_scrub_ms_ago; /* UINT64_MAX: not yet */
    /* recovery at open */
    uint64_t recovered_batches, recovered_log_bytes, recovery_us;
    bool recovered_torn_tail;
};
QUERN_API void quern_stats(struct quern *db, struct quern_stats *out);

/* One table of the store. Valid during the call only. */
struct quern_table {
    const char *file; /* its name in the store's directory */
    uint32_t tier;    /* as in quern_stats */
    uint64_t run_no;  /* tables of one run do not overlap */
    uint64_t bytes, entries, tombstones, expiring;
    /* Inclusive, and of which databases. Where those have changed places it may be more than there
     * is; empty: from the first key of the one, to the last of the other. */
    struct quern_slice first_key, last_key;
    uint8_t first_database, last_database;
};
typedef void (*quern_table_fn)(void *arg, const struct quern_table *table);
/* Tell of every table, as of one moment: the newest run first, each in the order of its keys.
 *   errors   INVALID, NO_MEMORY
 *   source   src/engine/stats.c */
QUERN_API QUERN_CHECK enum quern_code quern_tables(struct quern *db, quern_table_fn fn, void *arg,
                                                   struct quern_error *err);

/* quern_stats() as one JSON object, every field under its name.
 *   owns     the string is the caller's: free()
 *   returns  NULL when there is no memory */
QUERN_API char *quern_stats_json(const struct quern_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
