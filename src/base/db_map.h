/* db_map.h - which database of a user's is which inside: sixteen numbers in one word.
 *
 *     inside = user ^ nibble `user` of the map          0: each is itself
 *
 * Databases change places by a new map, and no key is touched. */
#ifndef BASE_DB_MAP_H
#define BASE_DB_MAP_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t db_map;

#define DB_MAP_COUNT 16u

static inline uint8_t db_map_get(db_map map, uint8_t user)
{
    return (uint8_t)(user ^ (map >> (4 * user) & 15));
}

static inline db_map db_map_set(db_map map, uint8_t user, uint8_t inside)
{
    unsigned shift = 4u * user;

    return (map & ~(UINT64_C(15) << shift)) | (uint64_t)(user ^ inside) << shift;
}

static inline db_map db_map_swap(db_map map, uint8_t a, uint8_t b)
{
    uint8_t was = db_map_get(map, a);

    return db_map_set(db_map_set(map, a, db_map_get(map, b)), b, was);
}

/* One map after the other: database n is where `first` has what `second` calls n. */
static inline db_map db_map_then(db_map first, db_map second)
{
    db_map both = 0;

    for (uint8_t n = 0; n < DB_MAP_COUNT; n++)
        both = db_map_set(both, n, db_map_get(first, db_map_get(second, n)));
    return both;
}

/* The way back: from inside to the user's. */
static inline db_map db_map_back(db_map map)
{
    db_map back = 0;

    for (uint8_t n = 0; n < DB_MAP_COUNT; n++)
        back = db_map_set(back, db_map_get(map, n), n);
    return back;
}

/* Is every database somewhere? Bytes from disk are asked. */
static inline bool db_map_is_valid(db_map map)
{
    uint32_t seen = 0;

    for (uint8_t n = 0; n < DB_MAP_COUNT; n++)
        seen |= 1u << db_map_get(map, n);
    return seen == 0xffff;
}

#endif
