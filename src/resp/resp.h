/* resp.h - the Redis protocol (RESP2 and RESP3) as pure functions over bytes: requests, replies,
 * and the small languages inside them: integers and globs.
 *
 * Nothing here knows a socket, a clock, a command or the store. The parser takes what has arrived
 * so far and says MORE, DONE or BAD; how the bytes were cut into pieces on their way never changes
 * the answer (the fuzzer holds it to that). Texts of errors are those of Redis 7, since clients
 * compare them. docs/resp.md. Threads: any, one object at a time. */
#ifndef RESP_RESP_H
#define RESP_RESP_H

#include "base/buf.h"

#include <quern/types.h>

#define RESP_LINE_BYTES_MAX 65536u        /* an inline request, or a line that holds a length */
#define RESP_ARGS_MAX (UINT32_C(1) << 20) /* of one request */
#define RESP_STRANGER_ARGS_MAX 10
#define RESP_STRANGER_BULK_BYTES_MAX 16384u
#define RESP_BAD_BYTES 96

enum resp_verdict {
    RESP_MORE, /* all right so far, the end has not arrived */
    RESP_DONE,
    RESP_BAD,       /* never going to be right; `bad` says why */
    RESP_NO_MEMORY, /* nothing is wrong with the request */
};

/* ------------------------------------------------------------------ requests -- */

struct resp_limits {
    uint64_t bulk_bytes_max;    /* one argument */
    uint64_t request_bytes_max; /* all of a request, framing included */
    bool stranger;              /* who must say who he is first: 10 arguments of 16 KiB */
};

struct resp_span {
    size_t at, len;
};

/* One request being read. All zeros is the start. */
struct resp_request {
    /* Valid after DONE. No arguments: an empty line or `*0`, to be passed over. */
    struct quern_slice *args; /* in `data` or in `text`; resp_request_place() after `data` moved */
    size_t count;
    bool is_inline;
    size_t bytes;             /* from the start of `data` to the first byte of the next request */
    char bad[RESP_BAD_BYTES]; /* valid after BAD: "Protocol error: ..." */

    /* How far reading has come. */
    int state;
    size_t at, scanned; /* the line or bulk at hand; bytes of the line that were looked at */
    uint64_t left, bulk_bytes;
    struct resp_span *spans;
    size_t capacity; /* of args and spans */
    struct buf text; /* of an inline request, unquoted */
};

/* Go on reading the request that begins at `data`; `len` is all that has arrived of it, never less
 * than at the call before. Bytes behind the request are not looked at. After DONE begin the next
 * with resp_request_next(); after BAD nobody knows where it would begin. */
MUST_USE enum resp_verdict resp_request_read(struct resp_request *r,
                                             const struct resp_limits *limits, const void *data,
                                             size_t len);
/* After DONE: the arguments, now that the same bytes stand at `data`. */
void resp_request_place(struct resp_request *r, const void *data);
void resp_request_next(struct resp_request *r); /* keeps memory, unless that is large */
void resp_request_done(struct resp_request *r);

/* ------------------------------------------------------------------ numbers, words, globs -- */

/* Exactly how Redis would write the number: no plus, no spaces, no leading zeros. */
MUST_USE bool resp_integer(struct quern_slice s, int64_t *out);

/* Same letters, whatever their case. */
bool resp_same_word(struct quern_slice s, const char *word);

/* Does `pattern` (* ? [a-c] [^x] \x) describe all of `s`? Takes at most their lengths multiplied. */
bool resp_glob_matches(struct quern_slice pattern, struct quern_slice s);

/* The bytes that every match begins with, appended to `out`. Errors: NO_MEMORY. */
MUST_USE enum quern_code resp_glob_prefix(struct quern_slice pattern, struct buf *out,
                                          struct quern_error *err);

/* ------------------------------------------------------------------ DUMP and RESTORE -- */

/* The value as RESTORE takes it, here and in Redis, appended to `out`, which is empty. Errors:
 * NO_MEMORY. */
MUST_USE enum quern_code resp_dump_write(struct quern_slice value, struct buf *out,
                                         struct quern_error *err);

enum resp_dump {
    RESP_DUMP_WELL,
    RESP_DUMP_SUM,    /* of another version, or not as it was written */
    RESP_DUMP_FORMAT, /* no string, or one of more than `bytes_max` bytes */
    RESP_DUMP_NO_MEMORY,
};

/* The value, appended to `out`. Memory grows with the payload, not with what that announces. */
MUST_USE enum resp_dump resp_dump_read(struct quern_slice payload, uint64_t bytes_max,
                                       struct buf *out);

/* ------------------------------------------------------------------ replies -- */

/* Where a reply goes. Memory that ran out is remembered, so that it need be asked for only once. */
struct resp_out {
    struct buf *to;
    int proto; /* 2 or 3: what the client asked for with HELLO */
    bool failed;
};

void resp_put_raw(struct resp_out *o, const void *data, size_t len);
void resp_put_simple(struct resp_out *o, const char *text); /* "OK" */
/* "ERR syntax error": the first word is for programs. Line ends in it become spaces. */
void resp_put_error(struct resp_out *o, const char *format, ...) PRINTF_LIKE(2, 3);
void resp_put_int(struct resp_out *o, int64_t v);
void resp_put_bulk(struct resp_out *o, struct quern_slice s);
void resp_put_bulk_head(struct resp_out *o, size_t len);  /* its bytes and CRLF are to follow */
void resp_put_text(struct resp_out *o, const char *text); /* a bulk */
void resp_put_verbatim(struct resp_out *o, struct quern_slice s); /* text for people */
void resp_put_null(struct resp_out *o);
void resp_put_null_array(struct resp_out *o);
void resp_put_array(struct resp_out *o, size_t count); /* so many replies are to follow */
void resp_put_set(struct resp_out *o, size_t count);
void resp_put_map(struct resp_out *o, size_t pairs); /* twice as many */

#endif
