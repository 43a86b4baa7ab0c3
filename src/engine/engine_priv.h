/* engine_priv.h - the store as a whole: what its parts share, and who guards what.
 *
 *   commit.c    commit queue: one leader at a time, for a group of writers
 *   write.c     the group: encoded, logged, applied, published
 *   update.c    writes that depend on what is there
 *   read.c      point reads        scan.c, scan_build.c  cursors for users   count.c  key ranges
 *   inner.h     keys as they are inside: a database's number before the user's
 *   cuts.c      range deletes, which are no entries
 *   databases.c databases that change places    live.c, live_ask.c  how many keys live, kept
 *   living.c    the same by the clock
 *   spans.c     ranges known to be empty, for scans
 *   pins.c      snapshots, and which old numbers are still looked at
 *   open.c      open, close    files.c  what is in the directory    recover.c  the log's content
 *   torn.c      what recovery drops, copied aside
 *   ahead.c     the thread that prepares log segments before the leader needs them
 *   work.c      the worker thread: flush, compaction, periods; alone changes the version
 *   care.c      what a user may ask of the worker: flush, compact, checkpoint, verify
 *   pressure.c  how writers are slowed when the worker is behind
 *   scrub.c     tables read through in idle moments
 *   remains.c, remains_count.c   verify a store that is not open
 *   repair.c    copies what is sound of it into a new one
 *
 * Locks, in the order in which they may be taken: queue_mu, then mu. Neither is held across I/O; that of
 * live.h is, and is taken before mu, and by nobody who leads;
 * the manifest's own lock is, and is taken without them; ahead_mu is taken alone. Leading the
 * commit queue is a role, not a lock: it may do I/O. */
#ifndef ENGINE_ENGINE_PRIV_H
#define ENGINE_ENGINE_PRIV_H

#include "base/alloc.h"
#include "base/thread.h"
#include "compact/compact.h"
#include "engine/inner.h"
#include "engine/live.h"
#include "engine/pins.h"
#include "engine/spans.h"
#include "engine/version.h"
#include "wal/wal.h"

#include <quern/quern.h>

#include <stdatomic.h>

/* MemDBs that may wait to be flushed; when all wait, writers do too. */
#define SEALED_MAX 2
#define COUNTER_STRIPES 16

/* A MemDB and the log segments that hold it. */
struct memdb {
    struct mem *mem;
    struct cuts *cuts;  /* those that came in its time; NULL: none */
    db_map map;         /* the last that came in its time */
    quern_seq map_seq;  /* with this number; 0: none came */
    uint64_t log_first; /* its first entry is in this segment or a later one */
    uint64_t capacity;  /* bytes it was made for */
    uint64_t born_ns;   /* when its first entry came; 0: none yet */
};

enum { WAITER_LEADS = 1, WAITER_DONE }; /* what a waiter is told */

/* One write on its way through the commit queue. Lives on the stack of the caller, or in a
 * quern_completion's shadow for asynchronous ones. */
struct waiter {
    struct batch_ref batch; /* of an update: empty until it has run */
    struct quern_slice checks;
    quern_update_fn update;
    void *update_arg;
    uint64_t user_bytes;        /* of keys and values, for the statistics */
    uint32_t puts, cuts, swaps; /* among the operations; the others are deletions */
    bool sync;
    bool seal;   /* close the MemDB after this, if it holds anything */
    bool slowed; /* it was made to wait for the background */
    quern_seq seq;
    enum quern_code code;    /* of its own refusal (update.c); when it is told, of the whole */
    struct quern_error *err; /* the caller's; NULL for asynchronous writes */
    struct quern_completion *async;
    const void *hand;    /* it came in this hand; only compared. NULL: alone */
    struct parking told; /* WAITER_LEADS or WAITER_DONE */
    struct waiter *next;
};

/* What the leaders have learnt about writers that sync, to let them come together. */
struct gather {
    size_t expected;  /* writers that were about when the last sync ended */
    uint64_t sync_ns; /* a mean; 0: none yet */
    unsigned in_vain, skip;
};

/* Counted by readers without sharing lines: each thread has a stripe. */
struct counters {
    _Alignas(64) _Atomic uint64_t gets;
    _Atomic uint64_t gets_missed, seeks; /* missed: whatever did not find its key */
    _Atomic uint64_t passed;             /* see engine_passed() */
    /* Of tables' filters: said no; let through what was not there. Single gets are sampled. */
    _Atomic uint64_t filter_denied, filter_let_through, filter_false;
};

/* Work that a user waits for; done by the worker. */
struct request {
    enum { REQUEST_FLUSH, REQUEST_COMPACT, REQUEST_CHECKPOINT } kind;
    struct quern_range range; /* of inside keys */
    const char *path;
    quern_progress_fn progress;
    void *progress_arg;
    bool done;
    enum quern_code code;
    struct quern_error *err;
    struct request *next;
};

/* What of a torn tail was copied aside (torn.c). */
struct torn_kept {
    uint32_t files;
    uint64_t bytes;
    bool cut; /* there was more */
    char first[OS_NAME_BYTES_MAX];
    char text[360]; /* how the story of the cut goes on */
};

struct quern {
    /* Set in open, constant after. */
    struct os *os;
    struct os_dir *dir;
    struct os_lock *lock;
    struct quern_options options; /* with every default filled in */
    struct manifest *manifest;    /* locks itself; table edits are the worker's alone */
    struct sst_cache *cache;
    struct compact_config compact_config;
    uint32_t fork_generation;
    uint64_t opened_ns;
    bool log_kept; /* recovery waits for space, and what was replayed is durable in the old log */
    bool shared;   /* open is done: others than it read the views from now on */

    /* Each on a line of its own: the first is read by all and seldom changes, the second changes
     * with each write, and what follows is the writers' business, which readers should not fetch.
     */
    _Alignas(64) _Atomic(struct view *) view;   /* published under mu, read under RCU */
    _Alignas(64) _Atomic quern_seq visible_seq; /* the leader releases, readers acquire */
    _Alignas(64) _Atomic uint64_t time_ms;      /* the latest that engine_time_ms() has said */

    /* ---- the commit queue ---- */
    _Alignas(64) struct mutex queue_mu;
    struct waiter *queue_head, *queue_tail;
    struct gather gather;
    bool leading;            /* somebody leads */
    size_t async_pending;    /* asynchronous writes not completed */
    bool closing;            /* no new writes */
    struct cond commit_work; /* the commit thread has something to lead, or must end */
    struct cond queue_idle;  /* the queue ran empty */
    pthread_t commit_thread;
    bool commit_thread_runs;

    /* NULL in a store opened read-only, and until recovery is finished; then it stays. The leader
     * appends. */
    _Atomic(struct wal *) wal;

    /* ---- the leader's own, from the time on that there is a log ---- */
    quern_seq last_seq;
    uint64_t looked_at_no;   /* the segment of which log_is_long() has judged */
    uint64_t log_sync_ns;    /* what the last group that synced waited for the log */
    double slow_debt_ns;     /* delay owed and not yet slept */
    bool was_slowed;         /* the group at hand waited for the background */
    uint64_t slow_said_ns;   /* when writers were last said to be slowed */
    struct updates *updates; /* of update.c; NULL: there was no such write yet */
    /* Of each database of a user's, when it last changed places; 0: not since the open. */
    quern_seq moved_seq[QUERN_DATABASES];

    /* ---- guarded by mu ---- */
    struct mutex mu;
    struct memdb active;             /* takes writes; changed by the leader */
    struct memdb sealed[SEALED_MAX]; /* oldest first; added by the leader, removed by the worker */
    size_t sealed_count;
    /* What replay found, oldest first, until it is in tables; in a store opened read-only, until
     * the close. Added by open, removed by the worker. No MemDB is sealed meanwhile. */
    struct memdb *recovered;
    size_t recovered_count;
    struct db_places places; /* changed by the leader, and by open */
    struct pin pins;         /* list head: snapshots, cursors, and reads that hold one */
    uint32_t snapshot_count, iterator_count;
    struct request *requests;
    bool stop;           /* the worker is to end */
    bool no_space;       /* background work waits for space */
    bool no_memory;      /* the last flush failed for want of memory; it is tried again */
    struct cond work;    /* something for the worker */
    struct cond flushed; /* a sealed MemDB is gone, a request is done, or failed/no_space is set */
    struct quern_error failure; /* first failure that forbids writing; QUERN_OK: none */
    _Atomic bool failed;        /* failure.code != OK, for a look without the lock */
    _Atomic bool seal_wanted;   /* the next leader closes the MemDB */

    /* ---- the worker's own ---- */
    pthread_t worker;
    bool worker_runs;
    struct compact_jobs jobs;
    bool unfinished; /* recovery waits for space: recover_resume() */
#define MERGE_NEVER UINT64_MAX
    uint64_t merge_again_ns; /* no merge before this time: the last one met a full disk or damage */
    uint64_t last_tick_seq;  /* visible_seq at the last idle check */
    uint64_t passed_paid;    /* engine_passed() when all upper runs were last merged */
    uint64_t passed_dead;    /* the same when the active MemDB had few tombstones yet */
    uint64_t lookups_seen;   /* of blocks in the cache, until the last flush */

    struct live live;   /* locks itself; taken before mu */
    struct spans spans; /* locks itself; taken last */
    /* Memory of the last MemDB for the next one, while they fill. Locks itself; taken last. */
    struct mem_spare spare;
    /* ---- the thread that prepares the log ahead (ahead.c); guarded by ahead_mu ---- */
    struct mutex ahead_mu;
    struct cond ahead_work;
    pthread_t ahead_thread;
    bool ahead_runs, ahead_wanted, ahead_stop;
    uint64_t scrub_after;    /* tables up to this number were scrubbed in this round */
    uint64_t scrub_again_ns; /* none before this time */
    bool scrub_began;        /* the round has read something */

    /* ---- statistics: relaxed ---- */
    struct counters counters[COUNTER_STRIPES];
    _Atomic uint64_t puts, deletes, range_deletes, batches,
        user_bytes; /* raised by the leader alone */
    _Atomic uint64_t flushes, flush_bytes, flush_ns;
    _Atomic uint64_t compactions, compact_read_bytes, compact_write_bytes, compact_ns, table_moves;
    _Atomic uint64_t expired_entries;
    _Atomic uint64_t slowed_writes, slowed_ns, corrupt_blocks;
    _Atomic uint64_t stalled_writes, stalled_ns; /* of slowed_*: waits for a place for a MemDB */
    _Atomic uint64_t
        flush_rate; /* bytes of MemDB a second that the last flushes managed; 0: unknown */
    _Atomic uint64_t last_flush_ns, last_compact_ns, last_scrub_ns; /* when; 0: not yet */
    _Atomic uint64_t scrub_rounds, scrub_bytes, scrub_damages;
    _Atomic uint32_t tier0_runs;
    _Atomic uint32_t pressure;   /* quern_pressure(); the leader's */
    _Atomic uint64_t over_bytes; /* compact_over_bytes(), while merges come */
    _Atomic uint64_t dead_due;   /* so many tombstones make a MemDB go to the worker */
    struct wal_replay recovery;
    struct torn_kept torn_kept;
    uint64_t lost_first, lost_last; /* segments that recovery to a point in time goes on without */
    uint64_t recovery_us;
    size_t tables_at_open;
    struct mutex event_mu; /* one event at a time; taken last */
};

static inline struct wal *engine_wal(const struct quern *db)
{
    return atomic_load_explicit(&db->wal, memory_order_acquire);
}

/* ---- engine.c: small things all share ---- */
/* The error to write into when the caller gave none. */
#define ERR_OR(err, local) ((err) != NULL ? (err) : &(local))
/* A handle is used in the process that opened it, and is not NULL. */
MUST_USE enum quern_code engine_check(const struct quern *db, struct quern_error *err);
MUST_USE enum quern_code check_database(uint8_t database, struct quern_error *err);
COLD enum quern_code key_refused(uint8_t database, struct quern_slice key, struct quern_error *err);
MUST_USE static inline enum quern_code check_key(uint8_t database, struct quern_slice key,
                                                 struct quern_error *err)
{
    if (LIKELY(database < QUERN_DATABASES && key.len - 1 < QUERN_KEY_BYTES_MAX))
        return QUERN_OK;
    return key_refused(database, key, err);
}
MUST_USE enum quern_code check_expiry(uint64_t expires_ms, struct quern_error *err);
void engine_event(struct quern *db, enum quern_event_kind kind, uint64_t bytes_in,
                  uint64_t bytes_out, uint64_t duration_ns, const char *format, ...)
    PRINTF_LIKE(6, 7);
/* A read met damage (other codes are passed over): count it and tell. */
void engine_note_damage(struct quern *db, const struct quern_error *err);
/* The first failure stays; later writes are refused with it. */
void engine_fail(struct quern *db, const struct quern_error *why);
/* Why writes are refused, into `err`; QUERN_OK when they are not. */
MUST_USE enum quern_code engine_refusal(struct quern *db, struct quern_error *err);
struct counters *engine_counters(struct quern *db);
/* How often reads have looked into a run above the bottom in vain, or passed over an entry that is
 * not shown: estimated from samples. A merge would have spared them that. */
uint64_t engine_passed(struct quern *db);
/* The wall clock, but it never goes back: what has expired stays so. */
uint64_t engine_time_ms(struct quern *db);
void engine_forks_watch(void); /* pthread_atfork, once */
uint32_t engine_fork_generation(void);

/* ---- views ---- */
/* Make the view of what mu guards, with this version (NULL: the present one), and publish it. */
MUST_USE enum quern_code engine_publish_locked(struct quern *db, struct version *version,
                                               struct quern_error *err);
/* The same with a view at hand, empty and with room: cannot fail. */
void engine_publish_in_locked(struct quern *db, struct version *version, struct view *now);
/* The present view with a reference. */
struct view *engine_view(struct quern *db);
size_t engine_sealed_count(struct quern *db); /* MemDBs that wait to be flushed; no lock */
/* Cache capacity is what MemDBs leave of the budget. */
void engine_share_memory(struct quern *db);

/* ---- open.c ---- */
/* quern_open() in any world: the tests have a disk of their own. */
MUST_USE enum quern_code engine_open(struct os *os, const char *path,
                                     const struct quern_options *options, struct quern **out,
                                     struct quern_error *err);

/* ---- commit.c ---- */
#define GROUP_COUNT_MAX 256 /* waiters in a group */
/* Pass through the commit queue; fills seq and code. */
enum quern_code engine_commit(struct quern *db, struct waiter *w);
/* Join the queue and return; w->async is told. Errors: CLOSED, BUSY, NO_MEMORY. */
MUST_USE enum quern_code engine_commit_async(struct quern *db, struct waiter *w,
                                             struct quern_error *err);
/* Lead if nobody does and nothing waits: the worker's way to seal and to mark without waiting. */
bool engine_try_lead(struct quern *db);
void engine_stop_leading(struct quern *db);
void engine_writes_end(struct quern *db); /* close: no more writes, all completed, thread gone */

/* ---- write.c ---- */
/* Everything from the queue to visible, for the waiters from `first` on; fills their seq, and the
 * code of those that are refused for themselves. *rest: those at the end that must wait for another
 * group. Leader. */
MUST_USE enum quern_code engine_write_group(struct quern *db, struct waiter *first,
                                            struct waiter **rest, struct quern_error *err);
/* Leader, or who could lead at once: would these writes wait for nothing? */
bool engine_can_write_now(struct quern *db, const struct waiter *first);
void waiter_take_batch(struct waiter *w, const struct quern_batch *batch); /* borrowed */
static inline bool waiter_depends(const struct waiter *w)
{
    return w->checks.len != 0 || w->update != NULL;
}
static inline bool waiter_writes(const struct waiter *w)
{
    return w->batch.op_count != 0 || w->update != NULL;
}

/* ---- update.c ---- */
#define GROUP_BYTES_MAX (UINT64_C(1) << 20) /* more only if one write alone has more */
/* Make the checks and run the updates of a group in its order. Refused waiters lose their batch and
 * get a code. *rest: as for engine_write_group(). Leader. */
void engine_judge_group(struct quern *db, struct waiter *first, struct waiter **rest);
/* That group is over: give back what its updates wrote. */
void engine_judged_done(struct quern *db);
void engine_updates_done(struct quern *db);

/* ---- read.c ---- */
/* The number of the write that the value of `key` came with, as `at` sees it. Returns OK or
 * NOT_FOUND. */
MUST_USE enum quern_code engine_revision(struct quern *db, uint8_t database, struct quern_slice key,
                                         const struct pin *at, quern_seq *seq,
                                         struct quern_error *err);
/* quern_get() as `at` sees it; it chooses the database inside for the key. */
MUST_USE enum quern_code engine_get(struct quern *db, uint8_t database, struct inner_key *key,
                                    const struct pin *at, struct quern_value *value,
                                    struct quern_error *err);
MUST_USE enum quern_code engine_value_copy(struct quern_value *value, const struct entry *e,
                                           struct quern_error *err);
void engine_value_clear(struct quern_value *value);
/* Leader: close the active MemDB and open another of at least `bytes`. Waits for a place among the
 * sealed if `wait`, else BUSY. */
MUST_USE enum quern_code engine_seal(struct quern *db, uint64_t bytes, bool wait,
                                     struct quern_error *err);
/* Leader, after a call on the log failed with `err`: if the log takes no more, neither does the
 * store. */
void engine_check_log(struct quern *db, const struct quern_error *err);

/* ---- work.c ---- */
MUST_USE enum quern_code engine_worker_start(struct quern *db, struct quern_error *err);
void engine_worker_stop(struct quern *db);
/* Hand a request to the worker and wait for it. */
enum quern_code engine_ask(struct quern *db, struct request *r);
/* Write the oldest MemDB out as a run of tier 0 and drop it from the recovered or the sealed. With
 * log_first, segments below it are not needed any more. Worker; or open, before there is one. */
MUST_USE enum quern_code engine_flush_mem(struct quern *db, const struct memdb *memdb,
                                          uint64_t log_first, struct quern_error *err);
/* Apply an edit and publish the version that follows. Worker. `made` (may be NULL) is what a merge
 * made of the tables that it adds. `flushed`: the oldest MemDB that waits goes with it. */
MUST_USE enum quern_code engine_apply_edit(struct quern *db, const struct manifest_edit *edit,
                                           const struct compact_output *made, bool flushed,
                                           struct quern_error *err);
/* Live snapshots and cursors, rising, each number once. The list is the caller's (alloc_free). */
MUST_USE enum quern_code engine_pins(struct quern *db, quern_seq **out, size_t *count,
                                     struct quern_error *err);
quern_seq engine_oldest_pin(struct quern *db); /* UINT64_MAX: there is none */
/* What is dead for everybody: the oldest time that a pin judges by, or the present. */
uint64_t engine_horizon_ms(struct quern *db);
void pin_add_locked(struct quern *db, struct pin *p, const struct pin *as); /* NULL: the present */
void pin_remove_locked(struct pin *p);
void pin_add(struct quern *db, struct pin *p); /* of the present */
void pin_remove(struct quern *db, struct pin *p);

/* ---- ballast.c ---- */
void ballast_keep(struct quern *db);    /* see that it is there, if the disk has plenty of space */
bool ballast_give_up(struct quern *db); /* true: there was some, and its space is free now */

/* ---- ahead.c ---- */
void engine_ahead_call(void *db); /* the log's on_low */
void engine_ahead_stop(struct quern *db);

/* ---- cuts.c ---- */
bool memdb_is_empty(const struct memdb *m);
quern_seq memdb_seq_max(const struct memdb *m);
/* A list of cuts is made anew for each that comes: so its MemDB goes before it is long. */
bool memdb_has_many_cuts(const struct memdb *m);
void memdb_done(struct memdb *m);
/* The range deletes of a group, made ready before it is logged, so that nothing can fail after. */
struct cut_group {
    struct cuts *cuts; /* those of the active MemDB with the group's */
    struct cuts **own; /* of each batch */
    size_t count;
};
MUST_USE enum quern_code cut_group_make(struct quern *db, const struct batch_ref *batches,
                                        size_t count, struct cut_group *out,
                                        struct quern_error *err);
void cut_group_take_locked(struct quern *db, struct cut_group *g); /* the active MemDB has them */
void cut_group_done(struct cut_group *g);                          /* zeros are fine */

/* ---- databases.c ---- */
/* Put the batches of a group into inside numbers: copies of their operations. Leader. */
MUST_USE enum quern_code databases_settle(struct quern *db, struct waiter *first,
                                          struct buf *copies, struct quern_error *err);
/* Write `seq` has brought this map: the next view has it. Leader. */
void databases_take_locked(struct quern *db, db_map map, quern_seq seq);

/* ---- pressure.c ---- */
/* Would a group be made to wait? */
bool pressure_is_on(struct quern *db);
/* Leader: wait as long as a group of `bytes` should, so that writers match what the worker
 * manages. */
void pressure_wait(struct quern *db, uint64_t bytes);

/* ---- batch.c ---- */
struct quern_batch {
    struct buf ops, checks;
    uint8_t database; /* of what is added next; perhaps none that there is */
    db_map map;       /* of its own changes: what is added has the numbers from before them */
    uint32_t count, puts, cuts, swaps;
    uint64_t user_bytes;
    uint64_t clears; /* how often it was cleared: who knows its operations knows them no more */
};

/* One check, out of the bytes of several: false when there is none left. */
struct batch_check {
    enum quern_require what;
    quern_seq revision;
    struct quern_slice key;
};
bool batch_check_next(struct quern_slice *checks, struct batch_check *c);

#endif
