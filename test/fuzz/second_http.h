/* second_http.h - what another parser of HTTP makes of a request. Servers are robbed where two of
 * them disagree on where a request ends. */
#ifndef TEST_SECOND_HTTP_H
#define TEST_SECOND_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct second_http {
    bool head, whole;  /* it took the head; the body as well */
    bool refused;      /* it refused what it read; `why` in its words */
    bool form_refused; /* it refused the head for a target or method that it does not know */
    bool upgrade;      /* it would leave HTTP behind the head */
    bool keep_alive, chunked, has_length;
    unsigned minor;
    uint64_t content_length;
    size_t taken, body_bytes;
    uint64_t body_sum; /* of the content, as fuzz_http.c adds it up */
    const char *why;
};

void second_http_read(const uint8_t *data, size_t len, struct second_http *out);

#endif
