/* data.c - entries out of numbers.
 *
 *     key, decimal   "0000000000001234"                      the slot, zero-padded
 *     key, random    u64be mix(slot) | u64be mix(mix(slot))  no two slots share one
 *     value          u64 tag(slot) | bytes of the pool | u64 ~tag(slot)
 *
 * The pool is made of 100-byte pieces, each 40 random bytes repeated until it is full; values begin
 * at a piece. With the tags, a value of 100 bytes holds about 50 bytes of information. Pieces come
 * again after a megabyte, too far for the windows of the compressors that are measured. */
#include "data.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES 100u
#define PIECE_RANDOM_BYTES 40u
#define POOL_BYTES (PIECE_BYTES * 10000u)

void data_init(struct data *d, uint64_t num, uint32_t value_bytes, bool random_keys)
{
    uint64_t state = 301;

    *d = (struct data){.num = num, .value_bytes = value_bytes, .random_keys = random_keys};
    d->pool_steps = POOL_BYTES / PIECE_BYTES;
    d->pool = must_alloc(POOL_BYTES + (size_t)value_bytes + PIECE_BYTES);
    for (size_t at = 0; at < POOL_BYTES + (size_t)value_bytes; at += PIECE_BYTES) {
        uint8_t *piece = d->pool + at;

        for (unsigned i = 0; i < PIECE_RANDOM_BYTES; i++)
            piece[i] = (uint8_t)random_next(&state);
        for (unsigned i = PIECE_RANDOM_BYTES; i < PIECE_BYTES; i++)
            piece[i] = piece[i - PIECE_RANDOM_BYTES];
    }
}

void data_done(struct data *d)
{
    free(d->pool);
    d->pool = NULL;
}

/* A few steps that can each be undone, on exactly as many bits as n needs; a result outside is put
 * through again, at most once more on average. */
uint64_t shuffled(uint64_t i, uint64_t n, uint64_t seed)
{
    unsigned bits = n > 2 ? 64u - (unsigned)__builtin_clzll(n - 1) : 1;
    uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    unsigned half = (bits + 1) / 2;
    uint64_t a = mix64(seed) | 1, b = mix64(seed + 1) | 1, c = mix64(seed + 2);
    uint64_t x = i;

    do {
        x = (x * a + c) & mask;
        x ^= x >> half;
        x = (x * b) & mask;
        x ^= x >> half;
        x = (x * a) & mask;
        x ^= x >> half;
    } while (x >= n);
    return x;
}

static void put_digits(uint64_t number, uint8_t key[KEY_BYTES])
{
    for (unsigned at = KEY_BYTES; at-- > 0;) {
        key[at] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
}

void key_make(const struct data *d, uint64_t slot, uint8_t key[KEY_BYTES])
{
    if (d->random_keys) {
        uint64_t first = mix64(slot);
        uint64_t words[2] = {htobe64(first), htobe64(mix64(first))};

        memcpy(key, words, sizeof(words));
    } else {
        put_digits(slot, key);
    }
}

static uint64_t tag_of(uint64_t slot)
{
    return mix64(slot ^ UINT64_C(0x7175657261));
}

void value_make(const struct data *d, uint64_t slot, uint64_t generation, uint8_t *value)
{
    uint64_t tag = tag_of(slot), end_tag = ~tag;
    uint64_t piece = mix64(tag + generation) % d->pool_steps;

    memcpy(value, d->pool + piece * PIECE_BYTES, d->value_bytes);
    memcpy(value, &tag, sizeof(tag));
    memcpy(value + d->value_bytes - sizeof(tag), &end_tag, sizeof(tag));
}

bool value_is_whole(const struct data *d, struct bytes value)
{
    uint64_t tag, end_tag;

    if (value.data == NULL || value.len != d->value_bytes)
        return false;
    memcpy(&tag, value.data, sizeof(tag));
    memcpy(&end_tag, (const uint8_t *)value.data + value.len - sizeof(tag), sizeof(tag));
    return tag == ~end_tag;
}

bool value_is_of(const struct data *d, uint64_t slot, struct bytes value)
{
    uint64_t tag;

    if (!value_is_whole(d, value))
        return false;
    memcpy(&tag, value.data, sizeof(tag));
    return tag == tag_of(slot);
}
