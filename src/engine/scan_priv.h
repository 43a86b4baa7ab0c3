/* scan_priv.h - the inside of a user's iterator, for count.c too. */
#ifndef ENGINE_SCAN_PRIV_H
#define ENGINE_SCAN_PRIV_H

#include "engine/engine_priv.h"

struct quern_iter {
    struct quern *db;
    struct view *view;       /* referenced; renewed by moves when the store has a newer one */
    struct pin pin;          /* keeps what its number and time see across renewals */
    struct iter *in;         /* all versions of all keys in the view */
    struct buf lower, upper; /* inclusive, exclusive; both within one database */
    uint64_t upper_head;     /* a key with a head below is below `upper` */
    bool bulk;
    bool has_active; /* `in` has the view's MemDB that takes writes */
    bool valid;
    bool backward;      /* `in` stands before the entry, which is `shown` */
    struct entry shown; /* backward: borrowed from where `in` was one step ago, or from `copy` */
    struct buf copy;
    struct buf key;  /* of a seek, where it would not last; where a long walk over nothing began */
    struct buf jump; /* where a known span ends or begins */
    uint64_t passed; /* see engine_passed(); not yet handed in */
    struct quern_error err;
};

#endif
