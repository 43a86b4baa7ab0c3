/* hash_long.c - long inputs: the processor is asked what it has, and the widest code is taken.
 *
 * A program for any x86-64 may use SSE2 alone, 12 GB a second. With AVX2 it is twice that for bytes
 * that are in a near cache, as they are wherever a block was just read or is about to be written;
 * each byte of a table is hashed six times on its way there (docs/decisions/0019). */
#include "base/hash_priv.h"

#if defined(__x86_64__)

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

uint64_t hash_long(const void *data, size_t len, uint64_t seed)
{
    return has_avx2() ? hash_long_avx2(data, len, seed) : XXH3_64bits_withSeed(data, len, seed);
}

uint64_t hash_pieces(const struct quern_slice *pieces, size_t n, uint64_t seed)
{
    return has_avx2() ? hash_pieces_avx2(pieces, n, seed) : hash_pieces_here(pieces, n, seed);
}

#else

uint64_t hash_long(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t hash_pieces(const struct quern_slice *pieces, size_t n, uint64_t seed)
{
    return hash_pieces_here(pieces, n, seed);
}

#endif
