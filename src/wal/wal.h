/* wal.h - the write-ahead log: a batch is in the log before it is visible, and durable before it
 * is acknowledged if that was asked for. Bytes on disk: docs/design/20-wal.md.
 *
 * The log is a row of segments NNNNNN.wal, numbered without gaps. Exactly one is open for
 * writing; those whose entries have all reached tables are handed back by wal_release() and
 * written again under a new number ("recycled"): their blocks are allocated, so appending needs
 * no journal commit and cannot meet a full disk.
 *
 * Two ways to write, one format, chosen per group:
 *   mapped   memcpy into a mapping of the segment; if a sync is wanted, fdatasync. For streams
 *            that do not sync: no system call at all.
 *   direct   one O_DIRECT|O_DSYNC write of the group in whole pages, taken when a sync is wanted
 *            and nothing before it is unsynced: no acknowledged page is ever written again.
 * Where the file system has no mapping or no direct writes, plain writes and fdatasync.
 *
 * Threads: one caller at a time for everything that takes a `struct wal *`, except
 * wal_release(), wal_trim() and wal_stats(), which any thread may call at any time, and
 * wal_prepare_ahead(), which one other thread may. The engine's commit queue sees to it. A failed
 * sync poisons the log: every later append is refused (READ_ONLY). */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "base/batch.h"
#include "os/os.h"

struct wal; /* opaque: the fields live in wal_priv.h */

#define WAL_SEGMENT_BYTES_DEFAULT (UINT64_C(16) << 20)

/* Tell the manifest that segment `segment_no` begins, before anything is written into it, so
 * that a lost file is noticed. Called from wal_append() and wal_mark(). */
typedef enum quern_code (*wal_begin_fn)(void *arg, uint64_t segment_no, struct quern_error *err);

/* So much was written that wal_prepare_ahead() has something to do. Called by the writer, which
 * must not wait, and by wal_trim(). */
typedef void (*wal_low_fn)(void *arg);

struct wal_config {
    uint64_t store_id;
    uint64_t segment_bytes; /* a group that does not fit gets a segment of its own size */
    uint64_t first_segment; /* number of the first segment; none of it or above may exist */
    uint64_t spare_first, spare_last; /* segments below it that nobody needs any more: their files
                                       * are used again. Durably so, in the manifest. 0: none */
    quern_seq last_seq; /* numbers given so far, all durable in tables: what was replayed is
                         * flushed before a new log begins. The first append is above it */
    wal_begin_fn on_begin;
    void *on_begin_arg;
    wal_low_fn on_low; /* NULL: nobody prepares ahead, and the writer does it all itself */
    void *on_low_arg;
};

/* Start a log. It writes nothing: the first append begins segment `first_segment`, so who only reads
 * leaves the directory as it was. `dir` is borrowed and must outlive it. On failure *out is
 * untouched. Errors: EXISTS, IO, NO_MEMORY. */
MUST_USE enum quern_code wal_open(struct os_dir *dir, const struct wal_config *config,
                                  struct wal **out, struct quern_error *err);

/* Append 1 or more batches as one group with numbers first_seq, first_seq + 1, ...: after a crash
 * all batches of the group are there or none. On return the group survives the process; with
 * `sync` it, and all before it, survives the machine too.
 * On failure nothing of the group will be replayed and the log stands as before, except
 * UNKNOWN (the sync failed: it may be replayed or not; the log is poisoned).
 * Errors: NO_SPACE, IO, DENIED, READ_ONLY (poisoned earlier), NO_MEMORY, UNKNOWN, and what on_begin
 * returns. */
MUST_USE enum quern_code wal_append(struct wal *w, const struct batch_ref *batches, size_t n,
                                    quern_seq first_seq, bool sync, struct quern_error *err);

/* Would an append of `n` batches with so many bytes, without a sync, only copy memory? The writer. */
bool wal_has_room(const struct wal *w, size_t n, uint64_t bytes);

/* Make all appended so far durable.
 * Errors: UNKNOWN (poisoned now), READ_ONLY (poisoned earlier). */
MUST_USE enum quern_code wal_sync(struct wal *w, struct quern_error *err);

/* When everything is durable and the log does not say so yet: append a small unsynced record
 * that does, so that damage to the last group can be told from a torn tail. */
MUST_USE enum quern_code wal_mark(struct wal *w, struct quern_error *err);

/* The segment that the next append may go to, or a later one: a MemDB that opens now needs
 * segments from this one on. */
uint64_t wal_segment_no(const struct wal *w);
quern_seq wal_durable_seq(const struct wal *w); /* any thread */

/* No segment below `segment_no` is needed any more: recycle or remove them. The manifest says so
 * durably already. Any thread. Failures are kept to themselves: the files go at the next open. */
void wal_release(struct wal *w, uint64_t segment_no);

/* Give the disk space of spares back: nothing has been written for a while. Any thread. */
void wal_trim(struct wal *w);

/* Do beforehand, beside the writer, what it would have to wait for: fill the current segment a
 * little ahead of it, and a file for the next one. How much follows from what was written since the
 * log was opened or trimmed; on a nearly full disk it is nothing. Failures are kept to themselves:
 * the writer then does it when it gets there. One thread at a time, until wal_close(). */
void wal_prepare_ahead(struct wal *w);

/* Syncs are told apart by their length: under 2^14 ns, under 2^15, ... and the rest. */
#define WAL_SYNC_TIMES 20u
#define WAL_SYNC_TIME_BITS_FIRST 14u

struct wal_stats {
    uint64_t segments_live; /* 0: none was begun yet */
    uint64_t segments_spare, bytes_on_disk;
    uint64_t groups, batches, bytes_appended; /* payload and heads */
    uint64_t bytes_padded;                    /* to whole pages, for direct writes */
    uint64_t syncs, sync_ns_total, sync_ns_max;
    uint64_t sync_times[WAL_SYNC_TIMES];
    uint64_t groups_direct, groups_mapped;
    bool poisoned;
};
void wal_stats(struct wal *w, struct wal_stats *out);

/* Sync and close. The segments stay. Errors: as wal_sync(). `w` is gone in any case. */
enum quern_code wal_close(struct wal *w, struct quern_error *err);
void wal_drop(struct wal *w); /* close without a sync, for failures; NULL is fine */
OWNER(wal_drop, struct wal *);

/* ---- replay ---- */

/* What to do about a log that does not end cleanly. */
enum wal_recover {
    WAL_TAIL = 0,      /* default: cut a torn tail; refuse anything that was proven durable */
    WAL_STRICT,        /* refuse a torn tail too */
    WAL_POINT_IN_TIME, /* stop at the first bad record, whatever it was */
};

struct wal_replay {
    uint64_t segments, groups, batches, bytes;
    quern_seq last_seq;    /* the last number replayed, or config's after_seq */
    uint64_t next_segment; /* the first number that no file of the directory has */
    bool torn;             /* a tail was cut: */
    uint64_t torn_segment, torn_offset, torn_bytes; /* where; how much of it looked like records */
    char torn_text[200];                            /* one line for the log */
};

/* Called once per batch in order; a non-OK return ends the replay with it. `segment_no` holds
 * the batch. */
typedef enum quern_code (*wal_batch_fn)(void *arg, const struct batch_ref *batch, quern_seq seq,
                                        uint64_t segment_no, struct quern_error *err);

/* Read segments `first_segment`..`last_segment` (those the manifest says must exist) in order and
 * hand every batch above `after_seq` to `see`. Writes nothing. Errors: CORRUPT (file, offset and
 * reason), IO, NO_MEMORY, UNSUPPORTED (a newer format), and what `see` returns. */
MUST_USE enum quern_code wal_replay(struct os_dir *dir, uint64_t store_id, uint64_t first_segment,
                                    uint64_t last_segment, quern_seq after_seq,
                                    enum wal_recover mode, wal_batch_fn see, void *arg,
                                    struct wal_replay *out, struct quern_error *err);

/* Does a segment that replay does not read hold groups of its own life? False also for a file that
 * is no segment of this store. Errors: IO, NO_MEMORY, UNSUPPORTED (a newer format). */
MUST_USE enum quern_code wal_holds_groups(struct os_dir *dir, uint64_t store_id,
                                          uint64_t segment_no, bool *holds,
                                          struct quern_error *err);

#define WAL_FIRST_RECORD_AT UINT64_C(4096) /* the LINK; before it is the header alone */

/* Bytes of a segment. */
struct wal_piece {
    uint64_t segment_no, offset;
    uint64_t bytes; /* 0: to the last valid record; with offset 0, or in a segment whose first pages
                     * are damaged, to the end of the file */
};

/* Copy a piece, `bytes_max` of it at most, into the file `name`, with the segment's first page
 * before it. *copied is 0, and there is no file, when the piece is empty or the segment missing.
 * The caller syncs the directory. Errors: NO_SPACE, IO, NO_MEMORY, UNSUPPORTED; then there is no
 * file. */
MUST_USE enum quern_code wal_copy_aside(struct os_dir *dir, uint64_t store_id,
                                        const struct wal_piece *piece, uint64_t bytes_max,
                                        const char *name, uint64_t *copied,
                                        struct quern_error *err);

/* ---- salvage ---- */

/* A damaged place of a segment: groups with numbers above `before` and below `behind` (0: not
 * known) may be missing there. Valid during the call only. */
typedef void (*wal_damage_fn)(void *arg, uint64_t offset, quern_seq before, quern_seq behind,
                              const char *what);

struct wal_remains {
    uint64_t store_id; /* 0: the header is damaged */
    bool linked;       /* the LINK is sound: */
    uint64_t prev_segment;
    quern_seq prev_last_seq;
    quern_seq last_seq, durable_seq; /* of what was read; the highest that was told */
    uint64_t groups, bytes;
};

/* Hand every batch of segment `segment_no` that is sound to `see` (NULL: nobody), in order, behind
 * damage too, and tell `damage` (NULL: nobody) of each place where something is missing. Whether a
 * crash or damage made such a place is for wal_replay() to judge. `store_id` 0: any. Errors:
 * NO_STORE (no such file), UNSUPPORTED, IO, NO_MEMORY, and what `see` returns. */
MUST_USE enum quern_code wal_salvage(struct os_dir *dir, uint64_t store_id, uint64_t segment_no,
                                     wal_batch_fn see, void *arg, wal_damage_fn damage,
                                     void *damage_arg, struct wal_remains *out,
                                     struct quern_error *err);

/* Make durable what the files of segments first..last hold, without a writer: their log was
 * replayed after a kill and stays what counts for a while. Errors: IO; then nothing is known of
 * them. */
MUST_USE enum quern_code wal_sync_left(struct os_dir *dir, uint64_t first_segment,
                                       uint64_t last_segment, struct quern_error *err);

/* Counting up does not reach it, and one more can still be named. */
#define WAL_NO_MAX (UINT64_MAX / 2)
#define WAL_NAME_BYTES 32
void wal_name(char name[WAL_NAME_BYTES], uint64_t segment_no);
/* The number in a name like "000012.wal"; false for any other name. */
bool wal_name_parse(const char *name, uint64_t *segment_no);

#endif
