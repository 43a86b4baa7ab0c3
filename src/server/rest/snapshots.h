/* snapshots.h - snapshots that clients hold, by name and for a while.
 *
 * A snapshot keeps old versions of what is overwritten on disk, so there are few, and each ends by
 * itself. One that is in use when it ends is freed by the last who uses it. */
#ifndef SERVER_SNAPSHOTS_H
#define SERVER_SNAPSHOTS_H

#include "base/thread.h"

#include <quern/quern.h>

#define SNAPSHOTS_MAX 16u
#define SNAPSHOT_TTL_MS_DEFAULT 60000u
#define SNAPSHOT_TTL_MS_MAX 3600000u
#define SNAPSHOT_ID_BYTES 40

struct held_snapshot {
    struct held_snapshot *next;
    char id[SNAPSHOT_ID_BYTES]; /* constant, as are the next three */
    struct quern_snapshot *snapshot;
    uint64_t expires_ms; /* since 1970, to be told */
    uint64_t ends_at_ms; /* by a clock that is not set */
    unsigned users;      /* guarded by snapshots.mu */
    bool ended;          /* guarded by snapshots.mu: nobody finds it any more */
};

struct snapshots {
    struct mutex mu;
    struct held_snapshot *first; /* guarded by mu, as are the next three */
    unsigned count;
    uint64_t made;
};

void snapshots_init(struct snapshots *s);
void snapshots_done(struct snapshots *s);  /* it is empty */
void snapshots_clear(struct snapshots *s); /* nobody uses one any more: free those left */

/* Make one that lives for `ttl_ms`; `run` makes its name one that no other start of the server
 * gives. *out is what snapshots_take() would give. Errors: BUSY (there are too many), NO_MEMORY, and
 * what quern_snapshot_new() says. */
MUST_USE enum quern_code snapshots_make(struct snapshots *s, struct quern *db, const char *run,
                                        uint64_t ttl_ms, struct held_snapshot **out,
                                        struct quern_error *err);
/* The one of this name, to be given back; NULL: there is none, or no more. */
struct held_snapshot *snapshots_take(struct snapshots *s, struct quern_slice id);
void snapshots_give(struct snapshots *s, struct held_snapshot *held); /* NULL is fine */
/* End it now. False: there is none. */
bool snapshots_end(struct snapshots *s, struct quern_slice id);
void snapshots_sweep(struct snapshots *s); /* end those whose time has come */
unsigned snapshots_count(struct snapshots *s);

#endif
