/* second_http.h - what another parser of HTTP makes of a request. Servers are robbed where two of
 * them disagree on where a request ends. */
#ifndef TEST_SECOND_HTTP_H
#define TEST_SECOND_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct second_http {
    bool head, whole;  /* it took the head; the body as well */
    bool form_refused; /* it refused the head for a target or method that it finds odd */
    bool upgrade;      /* it would leave HTTP behind the head */
    bool keep_alive, chunked;
    unsigned minor;
    uint64_t content_length; /* UINT64_MAX: none */
    size_t head_bytes, taken, body_bytes;
    uint64_t body_sum; /* of the content, as fuzz_http.c adds it up */
};

void second_http_read(const uint8_t *data, size_t len, struct second_http *out);

#endif
