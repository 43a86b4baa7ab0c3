/* pins.h - a number and a time that somebody looks at; see pins.c. */
#ifndef ENGINE_PINS_H
#define ENGINE_PINS_H

#include "base/db_map.h"

#include <quern/quern.h>

/* Something that holds a number and a time: a snapshot, a cursor, a read that must not be torn. */
struct pin {
    quern_seq seq;
    uint64_t time_ms; /* expiries are judged by it */
    db_map map;       /* where the databases are at its number */
    struct pin *prev, *next;
};

struct quern_snapshot {
    struct quern *db;
    struct pin pin;
};

#endif
