/* hash.h - XXH3 under two names: checksums bound to a place, and hashes of keys. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <quern/types.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The seed of hash_placed(), for those who hash in pieces. */
static inline uint64_t hash_place(uint64_t file_id, uint64_t offset)
{
    return file_id ^ (offset * UINT64_C(0x9E3779B97F4A7C15));
}

/* The checksum of `len` bytes that belong at `offset` of the file whose salt (or unique id)
 * is `file_id`: the same bytes anywhere else fail the check. */
static inline uint64_t hash_placed(const void *data, size_t len, uint64_t file_id, uint64_t offset)
{
    return XXH3_64bits_withSeed(data, len, hash_place(file_id, offset));
}

/* The hash of a key, for filters: on disk, do not change. */
static inline uint64_t hash_key(struct quern_slice key)
{
    return XXH3_64bits(key.data, key.len);
}

static inline uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

#endif
