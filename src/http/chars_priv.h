/* chars_priv.h - which bytes may stand where in HTTP/1.1, as one table of bits. */
#ifndef HTTP_CHARS_PRIV_H
#define HTTP_CHARS_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#define CHAR_TOKEN 1u  /* methods and field names: RFC 9110 section 5.6.2 */
#define CHAR_VALUE 2u  /* field values: visible, space, tab, 0x80 and up */
#define CHAR_TARGET 4u /* request targets: visible ASCII but '#' */
#define CHAR_HOST 8u   /* host, port, brackets of IPv6 */

extern const uint8_t http_chars[256];

static inline bool char_is(uint8_t c, unsigned kind)
{
    return (http_chars[c] & kind) != 0;
}

/* 0 to 15, or -1. */
static inline int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

#endif
