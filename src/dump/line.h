/* line.h - one line of a dump as bytes: pure functions, fuzzed. The format stands in
 * line.c. */
#ifndef DUMP_LINE_H
#define DUMP_LINE_H

#include "base/buf.h"
#include "base/hash.h"

/* A line, understood. Zero-initialised is empty; reuse keeps the memory. */
struct dump_line {
    bool end;              /* the last line: `count` and `hash` hold */
    uint64_t count;        /* entries before it */
    uint64_t hash;         /* XXH3 of all bytes before it, newlines included */
    quern_seq rev;         /* of the store that was dumped; 0: not said */
    struct buf key, value; /* otherwise: the entry */
    uint64_t expires_ms;   /* of it; 0: never */
    uint8_t database;      /* where it is */
};

/* Read a line (without its newline). Errors: INVALID (what is wrong with it), NO_MEMORY. */
MUST_USE enum quern_code dump_line_parse(struct quern_slice text, struct dump_line *line,
                                         struct quern_error *err);
void dump_line_done(struct dump_line *line);
#define OWNED_DUMP_LINE __attribute__((cleanup(dump_line_done)))

/* Append the line of an entry, newline included; `value` NULL: without one; expires_ms 0: never. */
MUST_USE enum quern_code dump_line_entry(uint8_t database, struct quern_slice key,
                                         const struct quern_slice *value, uint64_t expires_ms,
                                         struct buf *out, struct quern_error *err);
/* For the hash of all lines before the last: add to it by XXH3_64bits_update(). NULL: NO_MEMORY; to be
 * given to alloc_free(). */
MUST_USE XXH3_state_t *dump_hash_new(struct quern_error *err);
/* `rev` 0: without. */
MUST_USE enum quern_code dump_line_end(uint64_t count, uint64_t hash, quern_seq rev,
                                       struct buf *out, struct quern_error *err);

#endif
