/* scan_priv.h - the inside of a user's iterator, for count.c too. */
#ifndef ENGINE_SCAN_PRIV_H
#define ENGINE_SCAN_PRIV_H

#include "engine/engine_priv.h"

struct quern_iter {
    struct quern *db;
    struct view *view;       /* referenced; renewed by seeks when the store has a newer one */
    struct pin pin;          /* keeps what this number sees across renewals */
    struct iter *in;         /* all versions of all keys in the view */
    struct buf lower, upper; /* inclusive, exclusive; empty: open */
    bool bulk;
    bool valid;
    bool backward;  /* `in` stands before the entry, whose key and value were copied */
    struct buf key; /* forward: the key to skip; backward: the entry's key */
    struct buf value;
    quern_seq seq;   /* backward: of the entry */
    uint64_t passed; /* see engine_passed(); not yet handed in */
    struct quern_error err;
};

#endif
