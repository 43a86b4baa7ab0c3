/* model.h - the simplest store that could be right: a small sorted table of keys, copied for
 * snapshots.
 *
 * Keys come from a fixed set (model_key()), some of them in other databases than 0, so a history
 * soon overwrites, deletes and meets prefixes. A value is told by its number and length alone
 * (model_value()), so a copy of the model is small. */
#ifndef TEST_MODEL_H
#define TEST_MODEL_H

#include <quern/types.h>

#include <stdbool.h>
#include <stdint.h>

#define MODEL_KEYS 304

struct model_cell {
    uint64_t stamp; /* 0: absent */
    uint32_t len;
    uint64_t expires_ms; /* 0: never */
};
struct model {
    uint64_t time_ms;
    struct model_cell cell[MODEL_KEYS]; /* by database, in key order; expired or not */
};

/* The n-th key, in byte order within a database, and where it is. Constant for the process; the
 * same for every seed. */
struct quern_slice model_key(size_t n);
uint8_t model_database(size_t n);
/* The keys of a database are [*from, *to). */
void model_span(uint8_t database, size_t *from, size_t *to);
/* Databases 1 and 15, which have the same keys, change places. Theirs are [*from, *to). */
void model_swap(struct model *m);
void model_swap_span(size_t *from, size_t *to);
/* The bytes of a value: `len` bytes that depend on the stamp. `room` holds at least `len`. */
struct quern_slice model_value(struct model_cell cell, uint8_t *room);
bool model_value_is(struct model_cell cell, struct quern_slice got);
/* What a reader sees at the model's time: all zeros where that is nothing. */
struct model_cell model_at(const struct model *m, size_t n);
/* Index of the first key of the database that is >= `key`; where it ends if none. */
size_t model_lower(uint8_t database, struct quern_slice key);
/* Living keys of the database with start <= key < end (empty: open). */
uint64_t model_count(const struct model *m, uint8_t database, struct quern_slice start,
                     struct quern_slice end);

#endif
