/* decimal.h - a number as decimal digits, written where they are to stand. */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_BYTES_MAX 20u

static inline size_t decimal_digits(uint64_t v)
{
    size_t n = 1;

    for (; v >= 1000; v /= 1000)
        n += 3;
    return n + (v >= 10) + (v >= 100);
}

/* Writes up to DECIMAL_BYTES_MAX letters, without a zero at the end; returns how many. */
static inline size_t decimal_write(char *to, uint64_t v)
{
    size_t n = decimal_digits(v), at = n;

    while (v >= 10) {
        to[--at] = (char)('0' + v % 10);
        v /= 10;
    }
    to[0] = (char)('0' + v);
    return n;
}

#endif
