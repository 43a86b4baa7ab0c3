/* filter_priv.h - a Bloom filter whose probes for one key all fall in one cache line.
 *
 *     64 bytes x lines | u32 probes | u32 zero
 *
 * The line of a hash is its high half scaled to the number of lines; the bits inside are nine bits
 * each of a remix of the whole hash. On disk, do not change. */
#ifndef SST_FILTER_PRIV_H
#define SST_FILTER_PRIV_H

#include "base/codec.h"

#define FILTER_LINE_BYTES 64u
#define FILTER_TAIL_BYTES 8u
#define FILTER_PROBES_MAX 7u /* nine bits each of one 64-bit number */

struct filter {
    const uint8_t *lines;
    uint32_t line_count, probes;
};

static inline const uint8_t *filter_line(const struct filter *f, uint64_t hash)
{
    return f->lines + FILTER_LINE_BYTES * (size_t)(((hash >> 32) * f->line_count) >> 32);
}

static inline uint64_t filter_remix(uint64_t hash)
{
    return (hash ^ (hash >> 29)) * UINT64_C(0xD6E8FEB86659FD93);
}

/* The same of the line where the bits of this hash would be. */
static inline bool filter_line_may_hold(const uint8_t *line, uint32_t probes, uint64_t hash)
{
    uint64_t bits = filter_remix(hash);
    uint32_t all = 1;

    for (uint32_t i = 0; i < probes; i++) {
        uint32_t at = (uint32_t)(bits >> 55);

        all &= get_u32le(line + 4 * (size_t)(at >> 5)) >> (at & 31);
        bits <<= 9;
    }
    return all != 0;
}

/* False: no key with this hash was added. */
static inline bool filter_may_hold(const struct filter *f, uint64_t hash)
{
    return filter_line_may_hold(filter_line(f, hash), f->probes, hash);
}

/* Bytes of a filter for so many keys; line_count out. */
size_t filter_bytes(uint64_t keys, uint32_t bits_per_key, uint32_t *line_count);
/* Build it at `to`, which has filter_bytes() of room. */
void filter_build(uint8_t *to, uint32_t line_count, uint32_t bits_per_key, const uint64_t *hashes,
                  uint64_t keys);
/* Check and view. False: these bytes are no filter. */
MUST_USE bool filter_view(struct filter *f, const uint8_t *bytes, size_t len);

#endif
