/* codec.h - integers to bytes and back: little-endian, any alignment; and varints.
 *
 * Bytes reach disk through these and never as a struct. */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/attr.h"

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void put_u16le(void *to, uint16_t v)
{
    v = htole16(v);
    memcpy(to, &v, sizeof(v));
}

static inline void put_u32le(void *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof(v));
}

static inline void put_u64le(void *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof(v));
}

static inline uint16_t get_u16le(const void *from)
{
    uint16_t v;

    memcpy(&v, from, sizeof(v));
    return le16toh(v);
}

static inline uint32_t get_u32le(const void *from)
{
    uint32_t v;

    memcpy(&v, from, sizeof(v));
    return le32toh(v);
}

static inline uint64_t get_u64le(const void *from)
{
    uint64_t v;

    memcpy(&v, from, sizeof(v));
    return le64toh(v);
}

static inline uint64_t get_u64be(const void *from)
{
    uint64_t v;

    memcpy(&v, from, sizeof(v));
    return be64toh(v);
}

/* Seven bits a byte, lowest first, the high bit says "more": 1 to 10 bytes. */
#define VARINT_BYTES_MAX 10

/* Writes at most VARINT_BYTES_MAX bytes at `to`; returns the byte after the last. */
uint8_t *put_varint(uint8_t *to, uint64_t v);

/* Reads one varint from [from, end) into *v; returns the byte after it, or NULL when it is
 * cut short, longer than needed for 64 bits, or overflows: lengths are hostile. */
MUST_USE const uint8_t *get_varint(const uint8_t *from, const uint8_t *end, uint64_t *v);

static inline size_t varint_bytes(uint64_t v)
{
    return (size_t)(70 - __builtin_clzll(v | 1)) / 7;
}

static inline uint64_t round_up(uint64_t v, uint64_t power_of_two)
{
    return (v + power_of_two - 1) & ~(power_of_two - 1);
}

#endif
