/* syncer.h - the thread behind --durability interval:MS: a quern_sync() every so often. */
#ifndef SERVER_SYNCER_H
#define SERVER_SYNCER_H

#include "base/thread.h"

#include <quern/quern.h>

struct syncer {
    struct quern *db;
    uint64_t period_ms;
    pthread_t thread;
    struct mutex mu;
    struct cond wake;
    bool stopping, running; /* stopping: guarded by mu; running: the starter's */
};

MUST_USE enum quern_code syncer_start(struct syncer *s, struct quern *db, uint64_t period_ms,
                                      struct quern_error *err);
void syncer_stop(struct syncer *s); /* fine when it was never started */

#endif
