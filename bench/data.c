/* data.c - entries out of numbers.
 *
 *     key of 16   "0000000000001234"                            the slot, zero-padded
 *     key of 40   "eu-west/user/" 0000000000002 "/event/" 0000210   slot / 512 and slot % 512
 *     value       u64 tag(slot) | bytes of the pool | u64 ~tag(slot)
 *     large one   u64 tag(slot) | u64 at | bytes of the pool from `at` on | u64 ~tag(slot)
 *
 * The pool is made of 100-byte pieces, each 40 random bytes repeated until it is full; values begin
 * at a piece. With the tags, a value of 100 bytes holds about 50 bytes of information. Pieces come
 * again after a megabyte, too far for the windows of the compressors that are measured. A large
 * value is compared with the pool to its last byte, as who asks for it would read it to its last
 * byte: an engine that hands out a pointer has not read anything yet. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES 100u
#define PIECE_RANDOM_BYTES 40u
#define POOL_BYTES (PIECE_BYTES * 10000u)
#define LARGE_BYTES 4096u
#define GROUP_SLOTS 512 /* share all of a prefixed key but its last digits */

void data_init(struct data *d, uint64_t num, uint32_t key_bytes, uint32_t value_bytes)
{
    uint64_t state = 301;

    if (key_bytes != KEY_BYTES && key_bytes != PREFIXED_KEY_BYTES)
        die("there are no keys of %u bytes", key_bytes);
    *d = (struct data){.num = num, .key_bytes = key_bytes, .value_bytes = value_bytes};
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

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t len = strlen(text);

    memcpy(at, text, len);
    return at + len;
}

static uint8_t *put_digits(uint8_t *at, uint64_t number, unsigned digits)
{
    for (unsigned i = digits; i-- > 0;) {
        at[i] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    return at + digits;
}

void key_make(const struct data *d, uint64_t slot, uint8_t key[KEY_BYTES_MAX])
{
    if (d->key_bytes == KEY_BYTES) {
        (void)put_digits(key, slot, KEY_BYTES);
    } else {
        uint8_t *at = put_text(key, "eu-west/user/");

        at = put_text(put_digits(at, slot / GROUP_SLOTS, 13), "/event/");
        (void)put_digits(at, slot % GROUP_SLOTS, 7);
    }
}

static uint64_t tag_of(uint64_t slot)
{
    return mix64(slot ^ UINT64_C(0x7175657261));
}

void value_make(const struct data *d, uint64_t slot, uint64_t generation, uint8_t *value)
{
    uint64_t tag = tag_of(slot), end_tag = ~tag;
    uint64_t at = mix64(tag + generation) % d->pool_steps * PIECE_BYTES;

    memcpy(value, d->pool + at, d->value_bytes);
    memcpy(value, &tag, sizeof(tag));
    if (d->value_bytes >= LARGE_BYTES)
        memcpy(value + sizeof(tag), &at, sizeof(at));
    memcpy(value + d->value_bytes - sizeof(tag), &end_tag, sizeof(tag));
}

/* Between the tags. */
static bool large_is_whole(const struct data *d, struct bytes value)
{
    const size_t head = 2 * sizeof(uint64_t), tail = sizeof(uint64_t);
    const uint8_t *bytes = value.data;
    uint64_t at;

    memcpy(&at, bytes + sizeof(uint64_t), sizeof(at));
    return at < POOL_BYTES &&
           memcmp(bytes + head, d->pool + at + head, value.len - head - tail) == 0;
}

bool value_is_whole(const struct data *d, struct bytes value)
{
    uint64_t tag, end_tag;

    if (value.data == NULL || value.len != d->value_bytes)
        return false;
    memcpy(&tag, value.data, sizeof(tag));
    memcpy(&end_tag, (const uint8_t *)value.data + value.len - sizeof(tag), sizeof(tag));
    return tag == ~end_tag && (value.len < LARGE_BYTES || large_is_whole(d, value));
}

bool value_is_of(const struct data *d, uint64_t slot, struct bytes value)
{
    uint64_t tag;

    if (!value_is_whole(d, value))
        return false;
    memcpy(&tag, value.data, sizeof(tag));
    return tag == tag_of(slot);
}
