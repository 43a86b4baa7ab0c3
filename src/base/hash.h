/* hash.h - XXH3 under two names: checksums bound to a place, and hashes of keys.
 *
 * Short inputs are hashed where they are asked for; of long ones a call costs nothing, and behind
 * it is the widest code that this processor can run (hash_long.c). The numbers are the same. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <quern/types.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HASH_SHORT_BYTES_MAX 512u

uint64_t hash_long(const void *data, size_t len, uint64_t seed);
/* Of all pieces, one behind the other. */
uint64_t hash_pieces(const struct quern_slice *pieces, size_t n, uint64_t seed);

static inline uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    return len <= HASH_SHORT_BYTES_MAX ? XXH3_64bits_withSeed(data, len, seed)
                                       : hash_long(data, len, seed);
}

/* The seed of hash_placed(), for those who hash in pieces. */
static inline uint64_t hash_place(uint64_t file_id, uint64_t offset)
{
    return file_id ^ (offset * UINT64_C(0x9E3779B97F4A7C15));
}

/* The checksum of `len` bytes that belong at `offset` of the file whose salt (or unique id)
 * is `file_id`: the same bytes anywhere else fail the check. */
static inline uint64_t hash_placed(const void *data, size_t len, uint64_t file_id, uint64_t offset)
{
    return hash_bytes(data, len, hash_place(file_id, offset));
}

/* The hash of a key, for filters: on disk, do not change. `first` is its first byte, `rest` what
 * follows. The first byte, a database's number, is folded in afterwards: keys of 16 bytes, which are
 * common, would be just too long for the short way through XXH3 with it. */
static inline uint64_t hash_key_parts(uint8_t first, struct quern_slice rest)
{
    return XXH3_64bits(rest.data, rest.len) ^ (first * UINT64_C(0x9E3779B97F4A7C15));
}

/* A key is not empty. */
static inline uint64_t hash_key(struct quern_slice key)
{
    const uint8_t *bytes = key.data;

    return hash_key_parts(*bytes, (struct quern_slice){bytes + 1, key.len - 1});
}

#endif
