/* hash_priv.h - the same few lines, compiled once for every processor and once for those with AVX2:
 * XXH3 looks at what the compiler may use (base/meson.build). */
#ifndef BASE_HASH_PRIV_H
#define BASE_HASH_PRIV_H

#include "base/hash.h"

#if defined(__x86_64__)
uint64_t hash_long_avx2(const void *data, size_t len, uint64_t seed);
uint64_t hash_pieces_avx2(const struct quern_slice *pieces, size_t n, uint64_t seed);
#endif

static inline uint64_t hash_pieces_here(const struct quern_slice *pieces, size_t n, uint64_t seed)
{
    XXH3_state_t state = {0};

    (void)XXH3_64bits_reset_withSeed(&state, seed);
    for (size_t i = 0; i < n; i++)
        (void)XXH3_64bits_update(&state, pieces[i].data, pieces[i].len);
    return XXH3_64bits_digest(&state);
}

#endif
