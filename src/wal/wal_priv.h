/* wal_priv.h - what the files of this room share: the format, the writer's fields, the reader.
 *
 *     wal.c         append, sync, mark: the one writer
 *     wal_files.c   segments come and go: create, recycle, release
 *     wal_ahead.c   what another thread prepares, so that the writer need not
 *     wal_format.c  header, link, names: bytes
 *     wal_read.c    one segment as a reader sees it: records, and the search for stray ones
 *     wal_aside.c   segments that are not replayed: what they hold, and a copy of it
 *     wal_replay.c  the whole row in order, and the judgement on its end */
#ifndef WAL_WAL_PRIV_H
#define WAL_WAL_PRIV_H

#include "wal/wal.h"

#include "base/error.h"
#include "base/thread.h"
#include "record/record.h"

#include <stdatomic.h>

/* ---- format (wal_format.c) ---- */

/* Page 0 is the header, page 1 holds the LINK alone; groups begin behind them. */
#define WAL_LINK_AT ((uint64_t)RECORD_PAGE_BYTES)
#define WAL_START (UINT64_C(2) * RECORD_PAGE_BYTES)
#define WAL_BATCH_HEAD_BYTES 8u /* u32 bytes | u32 op count */

struct wal_header {
    uint64_t store_id;
    uint64_t segment_no;
    uint64_t segment_bytes;
    uint64_t salt;
};

struct wal_link {
    uint64_t prev_segment;   /* 0: this is the first of the log */
    uint64_t prev_end;       /* where its next record would have begun */
    uint64_t prev_checksum;  /* of its last record */
    quern_seq prev_last_seq; /* the last number given before this segment */
};

void wal_header_write(uint8_t page[RECORD_PAGE_BYTES], const struct wal_header *h);
/* Errors: CORRUPT, UNSUPPORTED. */
MUST_USE enum quern_code wal_header_read(const uint8_t page[RECORD_PAGE_BYTES],
                                         struct wal_header *h, struct quern_error *err);

/* The LINK and the PAD that fills its page, as they stand at WAL_LINK_AT. Returns the checksum of
 * the PAD, the last record so far. */
uint64_t wal_link_write(uint8_t page[RECORD_PAGE_BYTES], const struct wal_link *link,
                        quern_seq durable_seq, uint64_t salt);
MUST_USE bool wal_link_read(const struct record *r, struct wal_link *link);

/* Fill the page of `offset` from `offset` on with a PAD at `at`; returns its checksum. `offset` is
 * a multiple of 8 with room for a head. */
uint64_t wal_pad_write(uint8_t *at, uint64_t offset, quern_seq last_seq, quern_seq durable_seq,
                       uint64_t salt);
/* Whether a PAD is what stands between `end` and the end of its page: neither nothing, nor less
 * than a head. */
static inline bool wal_wants_pad(uint64_t end)
{
    return record_start(end) % RECORD_PAGE_BYTES != 0;
}

/* ---- the writer ---- */

/* The segment that takes appends; all zero before the first one. */
struct segment {
    uint64_t no;
    uint64_t bytes;            /* planned size, whole pages */
    _Atomic uint64_t prepared; /* bytes written once at least, whole pages: may be mapped. Of the
                                * current segment: raised under prepare_mu, by two threads */
    uint64_t file_bytes;       /* of the file it was made of: an adopted one is longer than that */
    uint64_t extent_bytes;     /* how much the next preparation adds */
    uint64_t salt;
    uint64_t end;           /* where the last record ends */
    uint64_t last_checksum; /* of that record */
    bool unsynced;          /* something in it was written and not synced since */
    struct os_file *file;
    struct os_file *direct; /* NULL: not opened yet, or not possible */
    bool direct_tried;
    uint8_t *map; /* NULL: this world has no mappings */
};

static inline uint64_t segment_prepared(const struct segment *s)
{
    return atomic_load_explicit(&s->prepared, memory_order_acquire);
}

static inline void segment_set_prepared(struct segment *s, uint64_t upto)
{
    ensure(upto % RECORD_PAGE_BYTES == 0); /* a sync fills the page that it ends in */
    atomic_store_explicit(&s->prepared, upto, memory_order_release);
}

/* Bytes that its file takes. */
static inline uint64_t segment_on_disk(uint64_t prepared, uint64_t file_bytes)
{
    return prepared > file_bytes ? prepared : file_bytes;
}

/* A file of the log that takes no appends: full, or a spare. */
struct wal_file {
    uint64_t no;              /* 0: prepared ahead, under the name WAL_NEXT_NAME */
    uint64_t bytes;           /* on disk */
    uint64_t prepared;        /* known to be written, not holes */
    bool recyclable;          /* of the usual size */
    struct os_file *unsynced; /* open because a sync is still owed; else NULL */
    struct wal_file *next;
};

#define WAL_EXTENT_BYTES_MIN (UINT64_C(1) << 20)
#define WAL_SPARES_MAX 3u /* about what a MemDB needs: their zeros are written once */
/* The file that is being prepared ahead; open removes it like every other begun file. */
#define WAL_NEXT_NAME "000000.wal.tmp"
#define WAL_STAGING_BYTES (256u << 10)

/* Written by the one writer, read by any thread: relaxed, and no locked instruction. */
typedef _Atomic uint64_t wal_counter;

static inline void counter_add(wal_counter *c, uint64_t more)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static inline void counter_set(wal_counter *c, uint64_t v)
{
    atomic_store_explicit(c, v, memory_order_relaxed);
}

static inline uint64_t counter_get(const wal_counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

struct wal {
    /* Set in wal_open(), constant after. */
    struct os_dir *dir;
    uint64_t store_id;
    uint64_t segment_bytes, first_no;
    wal_begin_fn on_begin;
    void *on_begin_arg;
    wal_low_fn on_low;
    void *on_low_arg;

    /* The writer's alone; but wal_prepare_ahead() reads cur's file and sizes under prepare_mu,
     * which the writer takes to replace it or to raise cur.prepared. */
    struct segment cur;
    uint64_t low_at; /* when cur.end gets there, on_low is called */
    quern_seq last_seq;
    quern_seq said_durable;    /* the highest durable_seq in the log */
    uint8_t *staging;          /* WAL_STAGING_BYTES, page-aligned */
    struct quern_error failed; /* why it is poisoned */

    /* Written by the writer. */
    wal_counter durable_seq;
    wal_counter cur_no; /* before the first segment: its number */
    wal_counter cur_bytes, cur_file_bytes;
    wal_counter cur_used;   /* cur.end when on_low was last called */
    wal_counter next_bytes; /* written by wal_prepare_ahead() */
    wal_counter groups, batches, bytes_appended, bytes_padded, syncs, sync_ns_total, sync_ns_max,
        groups_direct, groups_mapped;
    wal_counter sync_times[WAL_SYNC_TIMES];
    atomic_bool poisoned;

    /* Held while zeros are written into the current segment (a MiB at most), and while it is
     * replaced. Before mu. */
    struct mutex prepare_mu;

    /* wal_prepare_ahead()'s own. */
    struct os_file *next; /* NULL: none begun */
    uint64_t next_prepared;
    uint64_t syncs_seen;    /* w->syncs when the last one was ready */
    uint64_t direct_seen;   /* w->groups_direct then */
    uint64_t ahead_gave_up; /* the segment in which it failed: not again before the next */

    struct mutex mu; /* held for list work, never across I/O */
    /* Guarded by mu. */
    bool next_waits;                 /* a file named WAL_NEXT_NAME is a spare, or is being begun */
    bool trimmed;                    /* wal_prepare_ahead() is to drop what it has begun */
    uint64_t trimmed_no, trimmed_at; /* the place in the log where that was */
    struct wal_file *full;           /* older segments, newest first */
    struct wal_file *spares;         /* to be written again */
    uint64_t full_count, spare_count, files_bytes; /* files_bytes: of both lists */
};

/* Make the next segment, large enough for a record of `record_bytes_min`, durable in name and header,
 * told to on_begin and ready for appends; it becomes w->cur and what was cur joins w->full. On
 * failure w->cur stands as before. Errors: NO_SPACE, IO, NO_MEMORY, ...; a failed directory sync
 * poisons. */
MUST_USE enum quern_code wal_begin_segment(struct wal *w, uint64_t record_bytes_min,
                                           struct quern_error *err);
/* Zeros into [from, upto) of a file. Errors: NO_SPACE, IO. */
MUST_USE enum quern_code wal_write_zeros(struct os_file *file, uint64_t from, uint64_t upto,
                                         struct quern_error *err);
/* Have at least the first `upto` bytes of the segment written, so that they may be mapped. With
 * `sync` they are durable at return, so that a direct write need not push zeros out first. Errors:
 * NO_SPACE, IO. */
MUST_USE enum quern_code segment_prepare(struct segment *s, uint64_t upto, bool sync,
                                         struct quern_error *err);
/* Sync every full segment that is owed one. Errors: IO, NO_SPACE: poison. */
MUST_USE enum quern_code wal_sync_full(struct wal *w, struct quern_error *err);
void segment_drop(struct segment *s);
/* Is there a spare whose blocks are all there? */
bool wal_has_whole_spare_locked(struct wal *w);
bool wal_has_whole_spare(struct wal *w);
/* The files of segments first..last become spares of a log that begins. */
void wal_adopt(struct wal *w, uint64_t first_segment, uint64_t last_segment);
void wal_files_done(
    struct wal *w); /* forget both lists; the files stay, but not one prepared ahead */
void wal_add_next(struct wal *w, struct wal_file *f); /* a spare more, filled; `f` is given away */
void wal_remove_name(struct wal *w,
                     const char *name); /* failures: the next open clears the directory */
/* ---- what is prepared ahead (wal_ahead.c) ---- */
void wal_tell_low(struct wal *w); /* the writer, when it has passed low_at */
void wal_low_next(struct wal *w); /* the writer: this is how far it is; low_at rises */
void wal_next_drop(struct wal *w);
/* Refuse all from now on; the story becomes UNKNOWN when `unknown`. Returns its code. */
enum quern_code wal_poison(struct wal *w, bool unknown, struct quern_error *err);

/* ---- the reader (wal_read.c) ---- */

struct wal_reader {
    struct os_file *file;
    char name[WAL_NAME_BYTES];
    uint64_t bytes; /* of the file, at most the header's segment_bytes */
    struct wal_header header;
    struct wal_link link;
    quern_seq link_durable_seq;
    uint64_t link_checksum; /* of the PAD behind the LINK */
    /* A window on the file. */
    uint8_t *window;
    uint64_t window_capacity, window_at, window_bytes;
};

/* The batches of a GROUP, one after the other; false behind the last, or where none parses. */
struct wal_batches {
    const uint8_t *at, *end;
    bool brief; /* one batch, without its head */
};
struct wal_batches wal_batches_of(const struct record *r);
MUST_USE bool wal_next_batch(struct wal_batches *left, struct batch_ref *batch);
/* Why the group that is read behind number `last_seq` cannot be what was written, although its
 * checksum is right; NULL: it can. */
const char *wal_group_flaw(const struct record *r, quern_seq last_seq);

/* Open segment `no` and check header and LINK. *r need not be initialised; wal_reader_done() in any
 * case. Errors: CORRUPT (missing, damaged, of another store), UNSUPPORTED, IO, NO_MEMORY. */
MUST_USE enum quern_code wal_reader_open(struct wal_reader *r, struct os_dir *dir, uint64_t no,
                                         uint64_t store_id, struct quern_error *err);
void wal_reader_done(struct wal_reader *r);

/* The record at `at`, valid until the next call. *found is false when there is none. Errors: IO,
 * NO_MEMORY. */
MUST_USE enum quern_code wal_reader_record(struct wal_reader *r, uint64_t at, struct record *out,
                                           uint64_t *checksum, bool *found,
                                           struct quern_error *err);

/* What stands at and behind a place where the chain of records broke. */
struct wal_stray {
    uint64_t records;      /* valid ones of this life of the segment */
    uint64_t groups;       /* of these */
    uint64_t first;        /* where the first of them stands */
    uint64_t end;          /* of the last of them */
    quern_seq durable_seq; /* the highest that any of them tells */
};
/* Search [from, end of file), or until `records_max` were found. Records of this life that stand
 * behind one with last number `seq_min` tell no lower number, which passes over the stale ones
 * cheaply. Errors: IO, NO_MEMORY. */
MUST_USE enum quern_code wal_reader_search(struct wal_reader *r, uint64_t from, quern_seq seq_min,
                                           uint64_t records_max, struct wal_stray *out,
                                           struct quern_error *err);
/* Bytes that the head at `at` claims, when it can only be one of this life: its number is above
 * `last_seq`, as no older life's can be. 0: no such head. Errors: IO, NO_MEMORY. */
MUST_USE enum quern_code wal_reader_torn_head(struct wal_reader *r, uint64_t at, quern_seq last_seq,
                                              uint64_t *claimed, struct quern_error *err);

#endif
