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
    bool cuts;       /* the view has some */
    bool cut_known;  /* `cut` says what it says */
    struct cut_span cut; /* of the view, around the last key asked for */
    unsigned cut_row;    /* entries in a row that it hides */
    uint64_t passed;     /* see engine_passed(); not yet handed in */
    struct quern_error err;
};

/* ---- scan_build.c ---- */
/* it->in, new, over the view as it is now; stands nowhere. Errors: NO_MEMORY. */
MUST_USE enum quern_code iter_build(struct quern_iter *it, struct quern_error *err);
MUST_USE enum quern_code iter_set_bounds(struct quern_iter *it, const struct quern_iter_opts *opts,
                                         struct quern_error *err);
/* It ends before `upper` from now on; a seek follows. */
MUST_USE enum quern_code iter_bound(struct quern_iter *it, struct quern_slice upper,
                                    struct quern_error *err);

/* ---- count.c ---- */
/* Keys of a database as a look sees them, without what is kept of their number; and look->walked. */
MUST_USE enum quern_code count_walk(struct quern *db, struct live_look *look, uint64_t *count,
                                    struct quern_error *err);

#endif
