/* living.h - how many keys live by the clock: a number from which what expires goes by itself.
 *
 * It is of one moment of writing, and goes on with what is written then: keys come and go by
 * living_add(), each with the time at which it expires, and living_pass() takes away those of which the
 * time has come. What expires soon is noted to the millisecond, in a ring; beyond its reach it is only
 * known that there is something, and when the first of it is due.
 *
 * Threads: as the caller's lock says. */
#ifndef ENGINE_LIVING_H
#define ENGINE_LIVING_H

#include <stdbool.h>
#include <stdint.h>

struct living {
    int64_t keys, expiring; /* of them, those that expire at some time */
    uint64_t expires_sum;   /* of their times, modulo 2^64; living_ttl_ms() takes the present off */
    uint64_t now_ms;        /* what expires up to here is not among them */
    uint64_t until_ms;      /* of what expires up to here it is noted when */
    uint64_t last_ms;       /* nothing is noted beyond, so a leap passes over no empty places */
    uint32_t reach_ms;      /* a power of two */
    int32_t *due; /* what expires at t has its place at t modulo reach_ms; NULL: nothing yet */
};

/* So many, and none of them expires. `reach_ms` becomes a power of two: four bytes each. */
void living_begin(struct living *l, int64_t keys, uint64_t now_ms, uint64_t reach_ms);
void living_done(struct living *l); /* zeros are fine */
/* One more (1) or less (-1) that expires then; 0: never. What has expired already is passed over. */
void living_add(struct living *l, uint64_t expires_ms, int by);
/* It is as late as that now. False: something has come due of which it is not known when. */
bool living_pass(struct living *l, uint64_t now_ms);
/* How long those that expire live on, on average; 0: none does. */
uint64_t living_ttl_ms(const struct living *l);
/* Add what `more` has, of the same time and reach: one as of a moment, the other what came since. */
void living_join(struct living *l, const struct living *more);

uint64_t living_bytes(const struct living *l); /* that it may take */

#endif
