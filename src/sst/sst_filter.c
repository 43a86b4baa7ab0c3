/* sst_filter.c - builds the cache-line blocked Bloom filter; see filter_priv.h.
 *
 * One line of 512 bits serves the whole question, so a miss costs one cache miss. Lines fill
 * unevenly, which costs about a third more false positives than a plain Bloom filter of the same
 * size: at 10 bits a key and 6 probes, about one in a hundred. */
#include "sst/filter_priv.h"

/* 0.69 bits per key is the best number of probes for a plain filter; uneven lines ask for less. */
static uint32_t probes_for(uint32_t bits_per_key)
{
    uint32_t probes = bits_per_key * 6 / 10;

    if (probes < 1)
        return 1;
    return probes < FILTER_PROBES_MAX ? probes : FILTER_PROBES_MAX;
}

size_t filter_bytes(uint64_t keys, uint32_t bits_per_key, uint32_t *line_count)
{
    uint64_t lines = (keys * bits_per_key + 511) / 512;

    if (lines == 0)
        lines = 1;
    if (lines > UINT32_MAX / FILTER_LINE_BYTES)
        lines = UINT32_MAX / FILTER_LINE_BYTES; /* 4 GiB: fuller lines rather than more */
    *line_count = (uint32_t)lines;
    return (size_t)lines * FILTER_LINE_BYTES + FILTER_TAIL_BYTES;
}

void filter_build(uint8_t *to, uint32_t line_count, uint32_t bits_per_key, const uint64_t *hashes,
                  uint64_t keys)
{
    size_t lines_bytes = (size_t)line_count * FILTER_LINE_BYTES;
    struct filter f = {to, line_count, probes_for(bits_per_key)};

    memset(to, 0, lines_bytes);
    for (uint64_t k = 0; k < keys; k++) {
        uint8_t *line = to + (filter_line(&f, hashes[k]) - to);
        uint64_t bits = filter_remix(hashes[k]);

        for (uint32_t i = 0; i < f.probes; i++) {
            uint32_t at = (uint32_t)(bits >> 55);
            uint8_t *word = line + 4 * (size_t)(at >> 5);

            put_u32le(word, get_u32le(word) | UINT32_C(1) << (at & 31));
            bits <<= 9;
        }
    }
    put_u32le(to + lines_bytes, f.probes);
    put_u32le(to + lines_bytes + 4, 0);
}

bool filter_view(struct filter *f, const uint8_t *bytes, size_t len)
{
    size_t lines_bytes;

    if (len < FILTER_LINE_BYTES + FILTER_TAIL_BYTES ||
        (len - FILTER_TAIL_BYTES) % FILTER_LINE_BYTES != 0 || len > UINT32_MAX)
        return false;
    lines_bytes = len - FILTER_TAIL_BYTES;
    f->lines = bytes;
    f->line_count = (uint32_t)(lines_bytes / FILTER_LINE_BYTES);
    f->probes = get_u32le(bytes + lines_bytes);
    return f->probes >= 1 && f->probes <= FILTER_PROBES_MAX &&
           get_u32le(bytes + lines_bytes + 4) == 0;
}
