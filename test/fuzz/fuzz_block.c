/* fuzz_block.c - a data block of any bytes: what block_check() lets pass is walked and searched. */
#include "fuzz.h"

#include "sst/block_priv.h"

#include <stdlib.h>

static volatile uint8_t sink; /* so that reads are not optimised away */

static void touch(struct quern_slice s)
{
    if (s.len != 0)
        sink = (uint8_t)(((const uint8_t *)s.data)[0] + ((const uint8_t *)s.data)[s.len - 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;
    struct block b;
    struct entry e;

    if (block_check(data, size) != NULL)
        return 0;
    bytes = malloc(size); /* exactly as large, for the sanitizer to see an overrun */
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    block_view(&b, bytes);
    for (uint32_t i = 0; i < b.count && i < 4096; i++) {
        block_entry(&b, i, &e);
        touch(e.key);
        touch(e.value);
        if (block_search(&b, e.key, e.seq) > b.count)
            abort();
    }
    free(bytes);
    return 0;
}
