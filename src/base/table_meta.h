/* table_meta.h - what is known of one sorted table without opening it: made by sst/ when the
 * table is whole, kept by manifest/, read by compact/ and engine/. */
#ifndef BASE_TABLE_META_H
#define BASE_TABLE_META_H

#include "base/buf.h"

#include <quern/types.h>

struct table_meta {
    uint64_t table_no;  /* the file is named NNNNNN.sst after it */
    uint64_t unique_id; /* random; seeds every checksum in the file */
    uint64_t file_bytes;
    uint64_t file_hash;   /* of the block checksums in order: names the whole content */
    uint64_t entry_count; /* all kinds, all versions */
    uint64_t tombstone_count;
    uint64_t duplicate_count; /* entries that are not the newest of their key in this table */
    uint64_t raw_bytes;       /* keys and values before block overhead and compression */
    uint64_t entry_hash;      /* order-free: sum of the entries' hashes, wrapping */
    quern_seq seq_min, seq_max;
    uint64_t expiring_count;      /* entries that have an expiry */
    uint64_t expires_min_ms;      /* the earliest; 0: nothing in it expires */
    uint64_t expires_max_ms;      /* the latest */
    uint64_t created_ms;          /* wall clock */
    struct buf smallest, largest; /* user keys, inclusive; owned */
};

/* Copy, keys included. On failure *to is untouched. Errors: NO_MEMORY. */
MUST_USE enum quern_code table_meta_copy(struct table_meta *to, const struct table_meta *from,
                                         struct quern_error *err);
void table_meta_done(struct table_meta *m); /* frees the keys */

#define TABLE_NAME_BYTES 32
void table_name(char name[TABLE_NAME_BYTES], uint64_t table_no); /* "000042.sst" */

#endif
