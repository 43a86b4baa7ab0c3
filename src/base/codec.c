/* codec.c - varints; see codec.h. */
#include "base/codec.h"

uint8_t *put_varint(uint8_t *to, uint64_t v)
{
    while (v >= 0x80) {
        *to++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *to++ = (uint8_t)v;
    return to;
}

const uint8_t *get_varint(const uint8_t *from, const uint8_t *end, uint64_t *v)
{
    uint64_t got = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte;

        if (from >= end)
            return NULL;
        byte = *from++;
        if (shift == 63 && byte > 1)
            return NULL;
        got |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *v = got;
            return from;
        }
    }
    return NULL;
}
