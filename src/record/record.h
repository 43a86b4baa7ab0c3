/* record.h - the checksummed framing that the WAL and the manifest share.
 *
 *     0  u64 checksum     XXH3 of bytes [8, 40 + length), seeded by the file's salt and the
 *                         record's offset: stale, moved or torn bytes fail by themselves
 *     8  u32 length       bytes of payload
 *    12  u8  type         enum record_type
 *    13  u8  zero[3]
 *    16  u64 first_seq    WAL: number of the first batch; manifest: number of the edit
 *    24  u32 count        WAL: how many batches; manifest: 1
 *    28  u32 zero
 *    32  u64 durable_seq  every number up to this one was known durable when this was written
 *    40  payload, then zeros up to a multiple of 8
 *
 * A group of one batch, which most are, may be *brief*: what a reader can tell without is left out.
 *
 *     0  u64 checksum, u32 length, u8 type as above
 *    13  u24 lag          first_seq - 1 - durable_seq; RECORD_LAG_UNTOLD: durable_seq is not told
 *    16  u64 first_seq    of the one batch
 *    24  payload: its operations alone, then zeros up to a multiple of 8
 *
 * A record begins at a multiple of 8, and never in the last RECORD_HEAD_BYTES - 1 bytes of
 * a 4096-byte page: fewer bytes than a head left there are skipped by writer and reader alike
 * (record_start()). So a RECORD_PAD can always fill the rest of a page. */
#ifndef RECORD_RECORD_H
#define RECORD_RECORD_H

#include "base/attr.h"

#include <quern/types.h>

#define RECORD_HEAD_BYTES 40u
#define RECORD_BRIEF_HEAD_BYTES 24u
#define RECORD_LAG_UNTOLD 0xffffffu
#define RECORD_PAGE_BYTES 4096u

/* On disk, do not renumber. */
enum record_type {
    RECORD_GROUP = 1, /* WAL: batches, each: u32 bytes | u32 op count | ops (base/batch.h) */
    RECORD_PAD = 2,   /* nothing; the next record starts right after it */
    RECORD_MARK = 3,  /* WAL: nothing but durable_seq */
    RECORD_LINK = 4,  /* WAL: first of a segment: where the one before ended */
    RECORD_EDIT = 5,  /* manifest: one edit */
    RECORD_BRIEF = 6, /* WAL: a group of one batch, said in fewer bytes: ops */
};

struct record {
    enum record_type type;
    quern_seq first_seq;
    uint32_t count;
    quern_seq durable_seq;
    struct quern_slice payload; /* borrowed from the bytes it was read from */
};

/* Where the next record starts, given where the last one ended. */
uint64_t record_start(uint64_t offset);

/* Bytes that a record with this payload takes, head and padding included. */
static inline uint64_t record_bytes(uint64_t payload_len)
{
    return (RECORD_HEAD_BYTES + payload_len + 7) & ~UINT64_C(7);
}

static inline uint64_t record_brief_bytes(uint64_t payload_len)
{
    return (RECORD_BRIEF_HEAD_BYTES + payload_len + 7) & ~UINT64_C(7);
}

static inline bool record_is_group(const struct record *r)
{
    return r->type == RECORD_GROUP || r->type == RECORD_BRIEF;
}

/* Bytes that this record takes. */
static inline uint64_t record_total(const struct record *r)
{
    return r->type == RECORD_BRIEF ? record_brief_bytes(r->payload.len)
                                   : record_bytes(r->payload.len);
}

/* The same of a head that was read, whether or not it is one. */
uint64_t record_claims(const uint8_t head[RECORD_BRIEF_HEAD_BYTES]);

/* Seal the record at `at`: the payload (r->payload.len bytes) stands behind the head already, at
 * at + 40 or, of a brief one, at + 24. Writes head, trailing zeros and checksum. `offset` is where
 * `at` will be in the file. */
void record_seal(uint8_t *at, const struct record *r, uint64_t salt, uint64_t offset);

/* Read the record at `at`, of which `avail` bytes exist. True: *r is filled. False: these bytes
 * are no record that was written here: torn, stale, damaged, or the end; which of them is for
 * the caller to judge. Never looks outside [at, at + avail). */
MUST_USE bool record_read(const uint8_t *at, uint64_t avail, uint64_t salt, uint64_t offset,
                          struct record *r);

#endif
