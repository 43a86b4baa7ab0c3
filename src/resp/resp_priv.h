/* resp_priv.h - what the files of this room share. */
#ifndef RESP_RESP_PRIV_H
#define RESP_RESP_PRIV_H

#include "resp/resp.h"

/* Note an argument of the request: `len` bytes at `at`. False: no memory. */
MUST_USE bool request_push(struct resp_request *r, size_t at, size_t len);

/* Split a line into arguments, unquoted into r->text. DONE, BAD or NO_MEMORY. */
MUST_USE enum resp_verdict inline_split(struct resp_request *r, struct quern_slice line);

uint64_t resp_crc64(struct quern_slice s);

enum resp_verdict request_bad(struct resp_request *r, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
