/* gate.h - lets one delete of a key through at a time, so that of two racing ones exactly one finds
 * it.
 *
 * A delete asks whether the key is there, then deletes it. Between the two another delete of the
 * same key must not ask. Sets need no gate: a set that falls between leaves something to delete all
 * the same. Keys are told apart by a 64-bit hash; two that share one merely wait for each other.
 * Threads: any. */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include "base/thread.h"

#include <stdbool.h>
#include <stdint.h>

/* Stands inside the delete that passes; the gate's from gate_enter() to gate_leave(). */
struct gate_pass {
    uint64_t hash;
    struct gate_pass *next;
};

#define GATE_STRIPES 64u
struct gate {
    struct gate_stripe {
        struct mutex mu;
        struct gate_pass *first, **last_next; /* guarded by mu; in order of arrival */
    } stripes[GATE_STRIPES];
};

void gate_init(struct gate *g);
void gate_done(struct gate *g);

/* True: go ahead. False: wait, and the gate_leave() of the one before will name this pass. */
bool gate_enter(struct gate *g, struct gate_pass *pass, uint64_t hash);

/* Give the key up. Returns the pass whose turn it is now, or NULL: the caller wakes its owner. */
struct gate_pass *gate_leave(struct gate *g, struct gate_pass *pass);

#endif
