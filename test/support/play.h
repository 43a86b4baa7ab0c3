/* play.h - one long random history of a store on the simulated disk, beside the reference model.
 *
 * What step n does follows from the seed and n alone, not from what came before or from the
 * options. So a history can be played under other options, from a part of its steps, and again.
 *
 * Beside reads, writes and care there are windows: some steps during which the disk fails, fills
 * up, reads wrongly, or loses power, or the process is killed; recovery meets the same. What a
 * window may have refused or taken is looked at when it is over, and must be among the right
 * states; then what is missing is written again, so that each history goes on from the same
 * contents under all options. Answers inside windows are checked, and not counted in `answers`. */
#ifndef TEST_PLAY_H
#define TEST_PLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAY_SETS 12 /* of options that have a name; further numbers are drawn at random */

struct play_config {
    uint64_t seed;
    unsigned set;        /* of options */
    unsigned steps;      /* 1..steps are played */
    const bool *dropped; /* [steps + 1]: these are left out; NULL: none */
};

struct play_result {
    bool failed;
    unsigned step;    /* the last one played */
    char why[400];    /* if it failed */
    uint64_t answers; /* hash of all answers given, calm steps only */
    unsigned crashes, faults, opens;
};

void play(const struct play_config *config, struct play_result *result);

/* Drop steps from a history that fails, as long as it does; sets dropped[1..steps]. Returns how
 * many are left. At most `plays` histories are played for it. */
unsigned play_shrink(const struct play_config *config, bool *dropped, unsigned plays,
                     struct play_result *result);

#endif
