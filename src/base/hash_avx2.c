/* hash_avx2.c - long inputs where the processor has AVX2; nothing else may be compiled like this. */
#include "base/hash_priv.h"

uint64_t hash_long_avx2(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t hash_pieces_avx2(const struct quern_slice *pieces, size_t n, uint64_t seed)
{
    return hash_pieces_here(pieces, n, seed);
}
