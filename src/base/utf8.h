/* utf8.h - what is a character and what only looks like one. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/attr.h"

#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 sequence that begins at `at`, or 0 when none does (cut short, overlong,
 * a surrogate, above U+10FFFF). */
size_t utf8_length(const uint8_t *at, const uint8_t *end);

#endif
