/* data.h - the keys and values that every engine is given, made on the fly from a number.
 *
 * Slots are numbers; entry i of a store has slot 2i, and slot 2i + 1 lies between two entries and
 * is never put: that is how misses are asked for inside the range of what is there. */
#ifndef BENCH_DATA_H
#define BENCH_DATA_H

#include "bench.h"

#define KEY_BYTES 16          /* decimal digits */
#define PREFIXED_KEY_BYTES 40 /* a long prefix, shared by all or by 512 in a row, and digits */
#define KEY_BYTES_MAX 40
#define VALUE_BYTES_MIN 16

struct data {
    uint64_t num;
    uint32_t key_bytes; /* KEY_BYTES or PREFIXED_KEY_BYTES */
    uint32_t value_bytes;
    uint8_t *pool; /* what values are cut from: half of it compresses away */
    uint64_t pool_steps;
};

void data_init(struct data *d, uint64_t num, uint32_t key_bytes, uint32_t value_bytes);
void data_done(struct data *d);

static inline uint64_t mix64(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* The next of a stream of numbers that look random. */
static inline uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    return mix64(*state);
}

/* One of 0 .. n - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random_next(state) * n) >> 64);
}

/* Element `i` of a shuffle of 0 .. n - 1 chosen by `seed`: every element once, no table. */
uint64_t shuffled(uint64_t i, uint64_t n, uint64_t seed);

/* Keys rise with their slots. */
void key_make(const struct data *d, uint64_t slot, uint8_t key[KEY_BYTES_MAX]);

/* The value of `slot` in its `generation`, value_bytes long. It begins and ends with a tag made
 * from the slot, so that a reader can tell the right value from any other. */
void value_make(const struct data *d, uint64_t slot, uint64_t generation, uint8_t *value);

/* Is it some generation of the value of `slot`? */
bool value_is_of(const struct data *d, uint64_t slot, struct bytes value);

/* Is it whole, whosoever's it is? Cheaper, for scans. Of values below 4 KiB only the ends are
 * looked at, of larger ones every byte. */
bool value_is_whole(const struct data *d, struct bytes value);

#endif
