/* block.c - what must be computed over bytes that come from the disk or go to the log: checksums,
 * and a block of 4 KiB decompressed. The blocks hold entries as quern-bench makes them, and there
 * are as many as fit a second-level cache, so that none is learnt by heart. */
#include "limits.h"

#include "bench.h"
#include "data.h"

#include <lz4.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <string.h>
#include <zstd.h>

#define BLOCK_BYTES 4096u
#define BLOCKS 32u
#define ZSTD_LEVEL 3
#define HASHES 4096u

struct packed {
    uint8_t bytes[2 * BLOCK_BYTES];
    size_t len;
};

static uint8_t blocks[BLOCKS][BLOCK_BYTES], plain[BLOCK_BYTES];
static struct packed lz4_packed[BLOCKS], zstd_packed[BLOCKS];

static void fill_block(const struct data *d, unsigned no)
{
    uint8_t entry[KEY_BYTES + 100];

    for (size_t at = 0; at < BLOCK_BYTES; at += sizeof(entry)) {
        uint64_t slot = no * 1000 + at;
        size_t room = BLOCK_BYTES - at;

        key_make(d, slot, entry);
        value_make(d, slot, 0, entry + KEY_BYTES);
        memcpy(blocks[no] + at, entry, room < sizeof(entry) ? room : sizeof(entry));
    }
}

static void pack(unsigned no)
{
    int lz4 = LZ4_compress_default((const char *)blocks[no], (char *)lz4_packed[no].bytes,
                                   BLOCK_BYTES, (int)sizeof(lz4_packed[no].bytes));

    zstd_packed[no].len = ZSTD_compress(zstd_packed[no].bytes, sizeof(zstd_packed[no].bytes),
                                        blocks[no], BLOCK_BYTES, ZSTD_LEVEL);
    if (lz4 <= 0 || ZSTD_isError(zstd_packed[no].len))
        die("a block cannot be compressed");
    lz4_packed[no].len = (size_t)lz4;
}

static void setup(void)
{
    struct data d;

    data_init(&d, 1000000, KEY_BYTES, 100);
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill_block(&d, i);
        pack(i);
    }
    data_done(&d);
}

/* `bytes` from the blocks, one piece after the other. */
static uint64_t hash_pieces(size_t bytes)
{
    const uint8_t *all = blocks[0];
    size_t at = 0;
    uint64_t sum = 0;

    for (unsigned i = 0; i < HASHES; i++) {
        sum += XXH3_64bits_withSeed(all + at, bytes, i);
        at = at + 2 * bytes <= sizeof(blocks) ? at + bytes : 0;
    }
    return sum;
}

static void time_hash(struct samples *s, enum limit limit, size_t bytes)
{
    uint64_t begun = thread_ns(), now = begun, hashes = 0;

    while (now - begun < SLICE_NS) {
        keep(hash_pieces(bytes));
        hashes += HASHES;
        now = thread_ns();
    }
    samples_add(s, limit, now - begun, (double)hashes);
}

static bool unpack_lz4(unsigned no)
{
    return LZ4_decompress_safe((const char *)lz4_packed[no].bytes, (char *)plain,
                               (int)lz4_packed[no].len, BLOCK_BYTES) == (int)BLOCK_BYTES;
}

static bool unpack_zstd(unsigned no)
{
    static ZSTD_DCtx *context;

    if (context == NULL)
        context = ZSTD_createDCtx();
    return ZSTD_decompressDCtx(context, plain, BLOCK_BYTES, zstd_packed[no].bytes,
                               zstd_packed[no].len) == BLOCK_BYTES;
}

static void time_unpack(struct samples *s, enum limit limit, bool (*unpack)(unsigned no))
{
    uint64_t begun = thread_ns(), now = begun, done = 0;

    while (now - begun < SLICE_NS) {
        for (unsigned i = 0; i < BLOCKS; i++)
            if (!unpack(i))
                die("a block cannot be decompressed");
        done += BLOCKS;
        now = thread_ns();
    }
    samples_add(s, limit, now - begun, (double)done);
}

static void round_once(struct samples *s)
{
    time_hash(s, LIMIT_XXH3_16, 16);
    time_hash(s, LIMIT_XXH3_132, RECORD_BYTES);
    time_hash(s, LIMIT_XXH3_4K, BLOCK_BYTES);
    time_unpack(s, LIMIT_LZ4_4K, unpack_lz4);
    time_unpack(s, LIMIT_ZSTD_4K, unpack_zstd);
}

const struct probe probe_block = {"block", setup, round_once};
