/* format_priv.h - what is around the blocks of a table: the trailer each one ends in, the
 * properties and the footer. Bytes: docs/design/40-sstable.md. */
#ifndef SST_FORMAT_PRIV_H
#define SST_FORMAT_PRIV_H

#include "sst/sst.h"

#define FORMAT_VERSION 2u /* in 1, keys had no database */

/* ---- the trailer: payload | u32 raw_len | u8 codec | u8 zero[3] | u64 checksum ---- */

#define TRAILER_BYTES 16u
/* A block whose plain form is larger than this is never compressed. */
#define COMPRESS_BYTES_MAX (UINT32_C(64) << 20)

/* Compress raw[0, raw_len) into `to`, which has room for raw_len + TRAILER_BYTES, if that saves an
 * eighth, else copy it there (raw == to: it stands there already; only with SST_PLAIN); add the
 * trailer. `offset` is where `to` will be in the file. Returns the sealed size; the checksum is its
 * last 8 bytes. */
size_t seal(uint8_t *to, const uint8_t *raw, size_t raw_len, enum sst_codec codec,
            uint64_t unique_id, uint64_t offset);

/* The trailer of a plain block that is written in pieces: `head` then `tail`. */
void seal_pieces(uint8_t trailer[TRAILER_BYTES], struct quern_slice head, struct quern_slice tail,
                 uint64_t unique_id, uint64_t offset);

struct unsealed {
    enum sst_codec codec;
    size_t payload_len, raw_len;
};
/* Check a sealed block against the checksum its index entry or the footer carries, then against
 * its own content, and only then look at what its trailer says. Errors: CORRUPT. */
MUST_USE enum quern_code unseal_check(const uint8_t *sealed, size_t len, uint64_t checksum,
                                      uint64_t unique_id, uint64_t offset, struct unsealed *u,
                                      struct quern_error *err);
/* The same of a block that is never compressed (all but data blocks): its *raw_len bytes begin at
 * `sealed`. Errors: as above; CORRUPT too when it says that it is compressed. */
MUST_USE enum quern_code unseal_plain(const uint8_t *sealed, size_t len, uint64_t checksum,
                                      uint64_t unique_id, uint64_t offset, size_t *raw_len,
                                      struct quern_error *err);
/* Plain form of a checked block into `to`, which has u->raw_len bytes of room. Errors: CORRUPT,
 * NO_MEMORY. */
MUST_USE enum quern_code unseal_expand(const uint8_t *sealed, const struct unsealed *u, uint8_t *to,
                                       struct quern_error *err);

/* ---- footer ---- */

#define FOOTER_BYTES 136u

struct span { /* one sealed block */
    uint64_t at, bytes, checksum;
};
struct footer {
    struct span filter, range_deletes, index, properties; /* bytes 0: not there */
    uint64_t unique_id;
    uint64_t checksum; /* out: of the footer; names the table's whole content */
};
void footer_put(uint8_t to[FOOTER_BYTES], struct footer *f, uint64_t footer_at);
/* Errors: CORRUPT, UNSUPPORTED. */
MUST_USE enum quern_code footer_get(const uint8_t from[FOOTER_BYTES], uint64_t footer_at,
                                    struct footer *f, struct quern_error *err);

/* ---- properties ---- */

struct properties {
    struct table_meta meta; /* file_bytes and file_hash are not stored: the footer settles them */
    uint64_t block_count, block_bytes, codec, filter_bits;
};
/* Count one more entry in the sums that the properties hold. `hash` is sst_entry_hash(e). */
static inline void meta_add_entry(struct table_meta *m, const struct entry *e, uint64_t hash,
                                  bool new_key)
{
    if (m->entry_count == 0 || e->seq < m->seq_min)
        m->seq_min = e->seq;
    if (m->entry_count == 0 || e->seq > m->seq_max)
        m->seq_max = e->seq;
    if (e->expires_ms != 0) {
        if (m->expiring_count == 0 || e->expires_ms < m->expires_min_ms)
            m->expires_min_ms = e->expires_ms;
        if (e->expires_ms > m->expires_max_ms)
            m->expires_max_ms = e->expires_ms;
        m->expiring_count++;
    }
    m->entry_count++;
    m->tombstone_count += e->kind != ENTRY_PUT;
    m->duplicate_count += !new_key;
    m->raw_bytes += e->key.len + e->value.len;
    m->entry_hash += hash;
}

MUST_USE enum quern_code properties_put(struct buf *to, const struct properties *p,
                                        struct quern_error *err);
/* On success p->meta's keys are owned: table_meta_done(). Errors: CORRUPT, NO_MEMORY. */
MUST_USE enum quern_code properties_get(const uint8_t *from, size_t len, struct properties *p,
                                        struct quern_error *err);

#endif
