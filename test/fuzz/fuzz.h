/* fuzz.h - what the targets share. Each is one source: with libFuzzer or AFL++ it is driven by the
 * fuzzer, with replay.c it is a plain test over its kept inputs. */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property of the code under test, whatever the build: never compiled out. */
static inline void must(bool holds)
{
    if (!holds)
        abort();
}

/* A copy of exactly this size, so that a sanitizer sees a byte read too far; free(). Zeroed, for
 * gcc to believe that a copy of nothing is well. */
static inline uint8_t *exact(const void *data, size_t size)
{
    uint8_t *copy = calloc(1, size + (size == 0));

    must(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

#endif
