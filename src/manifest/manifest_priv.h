/* manifest_priv.h - what the files of this room share: the bytes of a manifest file, edits as
 * bytes, changes of the state, the writer, and CURRENT. */
#ifndef MANIFEST_MANIFEST_PRIV_H
#define MANIFEST_MANIFEST_PRIV_H

#include "manifest/manifest.h"

#include "base/entry.h"
#include "base/thread.h"
#include "record/record.h"

#include <stdatomic.h>

/* ---- the file: header, first edit, and every further edit on pages of its own ---- */

#define MANIFEST_HEADER_BYTES 64u
#define MANIFEST_VERSION 2u /* in 1, keys had no database */
#define MANIFEST_FEATURES_KNOWN UINT64_C(0)
/* The largest payload of one edit, hence of the snapshot: about ten million tables with keys of a
 * common size. */
#define MANIFEST_PAYLOAD_BYTES_MAX (UINT32_C(1) << 31)
/* Numbers of tables, runs, manifests and segments stop here, so that "one more" never wraps, whatever a
 * damaged or hostile file says. */
#define MANIFEST_NO_MAX (UINT64_MAX / 2)
/* Segments that a log has at a time: each is looked for, so a row that cannot be true ends here. */
#define LOG_SEGMENTS_MAX (UINT64_C(1) << 24)

struct manifest_header {
    uint64_t features; /* MANIFEST_FEATURES_KNOWN or a newer quern's */
    uint64_t store_id, manifest_no, salt;
};

/* Writes the header; returns its checksum, with which the chain of edits begins. */
uint64_t manifest_header_put(uint8_t to[MANIFEST_HEADER_BYTES], const struct manifest_header *h);
/* Errors: CORRUPT, UNSUPPORTED (a newer version or an unknown feature). */
MUST_USE enum quern_code manifest_header_get(struct quern_slice file, struct manifest_header *h,
                                             uint64_t *checksum, struct quern_error *err);

/* ---- an edit as tagged fields ---- */

/* On disk, do not renumber. A reader that does not know a tag skips it when it is even and refuses
 * the store (UNSUPPORTED) when it is odd. */
enum edit_tag {
    EDIT_SNAPSHOT = 1,     /* number: created_ms. First field of the first edit, and only there */
    EDIT_NEXT_FILE_NO = 3, /* number; in every edit */
    EDIT_LOG_FIRST = 5,    /* number */
    EDIT_LOG_LAST = 7,     /* number */
    EDIT_FLUSHED_SEQ = 9,  /* number */
    EDIT_REMOVE = 11,      /* number: table_no */
    EDIT_ADD = 13,         /* fields of enum table_tag */
    EDIT_TRIM = 15,        /* varint table_no, then the key to the end of the field */
    EDIT_CUTS = 17,        /* all there are from now on: see cuts_decode() */
    EDIT_DATABASES = 19,   /* number: a db_map */
    EDIT_LIVE = 21,        /* a varint for each database: see manifest_edit.live */
};

/* On disk, do not renumber. All but the last three stand in every EDIT_ADD; none twice. */
enum table_tag {
    TABLE_NO = 1,
    TABLE_TIER = 3,
    TABLE_RUN_NO = 5,
    TABLE_UNIQUE_ID = 7,
    TABLE_FILE_BYTES = 9,
    TABLE_FILE_HASH = 11,
    TABLE_ENTRY_COUNT = 13,
    TABLE_TOMBSTONE_COUNT = 15,
    TABLE_DUPLICATE_COUNT = 17,
    TABLE_RAW_BYTES = 19,
    TABLE_ENTRY_HASH = 21,
    TABLE_SEQ_MIN = 23,
    TABLE_SEQ_MAX = 25,
    TABLE_EXPIRES_MIN_MS = 27,
    TABLE_CREATED_MS = 29,
    TABLE_SMALLEST = 31, /* bytes */
    TABLE_LARGEST = 33,  /* bytes */
    /* Where something expires: what does not know of expiries must not open such a store. */
    TABLE_EXPIRING_COUNT = 35,
    TABLE_EXPIRES_MAX_MS = 37,
    TABLE_CUT_SEQ = 38, /* if not 0; what does not know of cuts may skip it */
};

/* What an edit says beside the caller's part. */
struct edit_frame {
    uint64_t chain; /* checksum of the edit before; of the header for the first */
    bool snapshot;
    uint64_t created_ms; /* of a snapshot */
    uint64_t next_file_no;
};

/* Append the payload of a record to `out`. Errors: NO_MEMORY, INVALID (too large). */
MUST_USE enum quern_code edit_encode(struct buf *out, const struct edit_frame *frame,
                                     const struct manifest_edit *edit, struct quern_error *err);

/* Walk tagged fields. */
struct field {
    uint64_t tag;
    struct quern_slice body;
};
struct field_cursor {
    const uint8_t *at, *end;
    bool bad; /* set when the bytes do not parse */
};
bool field_next(struct field_cursor *c, struct field *f);
/* The number that fills `body` exactly; false: it does not. */
MUST_USE bool field_number(struct quern_slice body, uint64_t *number);
/* What to do about a tag that is not known: OK to skip it, or UNSUPPORTED. */
MUST_USE enum quern_code field_unknown(uint64_t tag, struct quern_error *err);

/* Read the body of an EDIT_ADD. The keys of *t point into `body`: never table_meta_done() it.
 * Errors: CORRUPT, UNSUPPORTED. */
MUST_USE enum quern_code table_decode(struct quern_slice body, struct manifest_table *t,
                                      struct quern_error *err);

/* Read the body of an EDIT_CUTS. *out as of cuts_new(). Errors: CORRUPT, NO_MEMORY. */
MUST_USE enum quern_code cuts_decode(struct quern_slice body, struct cuts **out,
                                     struct quern_error *err);

/* Read the body of an EDIT_LIVE. Errors: CORRUPT. */
MUST_USE enum quern_code live_decode(struct quern_slice body, uint64_t live[QUERN_DATABASES],
                                     struct quern_error *err);

/* ---- the state, and changes of it ---- */

/* A change that has been checked and for which all memory is at hand. */
struct state_change {
    struct manifest_table *tables; /* the array to come; NULL: the tables stay as they are */
    size_t table_count;
    struct manifest_table *fresh; /* deep copies of what is added, in order */
    size_t fresh_count;
    struct state_touch *touches; /* by table_no */
    size_t touch_count;
    struct buf *trimmed; /* the new lower bounds, by index of edit->trim */
    size_t trimmed_count;
    uint64_t log_first, log_last;
    quern_seq flushed_seq;
    bool set_cuts;
    struct cuts *cuts;
    db_map map;
    uint64_t live[QUERN_DATABASES];
};

/* Check `edit` against `now` and make it ready. Nothing of `edit` is kept. On failure nothing is
 * held. Errors: INVALID, NO_MEMORY. */
MUST_USE enum quern_code state_prepare(const struct manifest_state *now,
                                       const struct manifest_edit *edit, struct state_change *out,
                                       struct quern_error *err);
/* Make it so; cannot fail. `change` is empty afterwards. */
void state_commit(struct manifest_state *state, struct state_change *change);
void state_change_done(struct state_change *change); /* abandon; empty is fine */
void state_done(struct manifest_state *state);

/* ---- the writer (manifest.c) ---- */

struct manifest {
    /* Set at open, constant after. */
    struct os_dir *dir;
    bool read_only;

    /* Written under mu, read by anyone. */
    _Atomic uint64_t manifest_no;  /* of the file that CURRENT names */
    _Atomic uint64_t bytes;        /* its size */
    _Atomic uint64_t next_file_no; /* taken without mu: no flush waits for another's sync here */

    /* Guarded by mu, which is held while an edit is written and synced: edits are a row. */
    struct mutex mu;
    struct os_file *file; /* NULL: read only, or a new file is owed before the first edit */
    uint64_t salt, chain, edit_no, end;
    uint64_t rewrite_bytes;      /* write anew when `end` has passed it */
    uint64_t manifest_no_last;   /* the highest that was ever tried */
    bool tail_dirty;             /* something may stand at `end` that must be cut first */
    struct quern_error failed;   /* code != OK: poisoned, and why */
    struct manifest_state state; /* its tables change only in edits that touch tables */
};

MUST_USE enum quern_code manifest_new(struct os_dir *dir, struct manifest **out,
                                      struct quern_error *err);
/* Replace the file by a new one, of number manifest_no_last + 1. Errors: as of writing a file, then
 * nothing has changed; or, when CURRENT may or may not have moved for good, `failed` is set. */
MUST_USE enum quern_code manifest_rewrite(struct manifest *m, struct quern_error *err);
/* How long a file may grow whose snapshot is so long. */
uint64_t manifest_rewrite_bytes(uint64_t snapshot_bytes);
/* A file that nothing names any more. If it stays, the next open removes it. */
void manifest_remove(struct os_dir *dir, uint64_t manifest_no);

/* ---- reading a whole file ---- */

struct manifest_image {
    struct manifest_header header;
    struct manifest_state state; /* owned: state_done() */
    uint64_t next_file_no;       /* above every table and run that was ever named */
    uint64_t edit_count, chain;  /* the last edit's number and checksum */
    uint64_t snapshot_bytes;     /* up to the end of the first edit */
    uint64_t bytes; /* up to the end of the last whole edit or mark: what follows is a tail */
    bool settled;   /* it ends with a mark, and nothing follows */
};

/* Read the bytes of a manifest. On failure *out is untouched. Errors: CORRUPT (offset and reason),
 * UNSUPPORTED, NO_MEMORY. */
MUST_USE enum quern_code manifest_replay(struct quern_slice file, struct manifest_image *out,
                                         struct quern_error *err);

/* ---- CURRENT and names ---- */

#define MANIFEST_NAME_BYTES 32
#define CURRENT_NAME "CURRENT"
#define CURRENT_BYTES_MAX 128

struct manifest_current {
    uint64_t manifest_no, store_id;
};

void manifest_name(char name[MANIFEST_NAME_BYTES], uint64_t manifest_no); /* "MANIFEST-000007" */
/* False: not the name of a manifest. */
bool manifest_name_parse(const char *name, uint64_t *manifest_no);

/* The one line of CURRENT, its newline included; returns its length. */
size_t current_format(char line[CURRENT_BYTES_MAX], const struct manifest_current *c);
/* Errors: CORRUPT, UNSUPPORTED. */
MUST_USE enum quern_code current_parse(struct quern_slice bytes, struct manifest_current *c,
                                       struct quern_error *err);
/* Read CURRENT. Errors: NO_STORE (no such file), CORRUPT, UNSUPPORTED, IO, ... */
MUST_USE enum quern_code current_read(struct os_dir *dir, struct manifest_current *c,
                                      struct quern_error *err);

#endif
