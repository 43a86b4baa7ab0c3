/* ahead.c - the thread that prepares the log ahead of the leader (wal/wal_ahead.c).
 *
 * It is no part of the worker. A synced write takes a fifth of a millisecond, so an extent of the
 * log lasts some fifty; the worker syncs tables of 32 MiB and is away for longer, and just when
 * most is written. This thread waits for the disk nearly all the time and takes no share of the
 * processors worth counting. It starts when the log first asks for it: a store that hardly writes
 * has none. Without it, or when it is late, the leader does the same work itself. */
#include "engine/engine_priv.h"

static void *ahead(void *arg)
{
    struct quern *db = arg;

    mutex_lock(&db->ahead_mu);
    while (!db->ahead_stop) {
        if (!db->ahead_wanted) {
            cond_wait(&db->ahead_work, &db->ahead_mu);
            continue;
        }
        db->ahead_wanted = false;
        mutex_unlock(&db->ahead_mu);
        wal_prepare_ahead(engine_wal(db));
        mutex_lock(&db->ahead_mu);
    }
    mutex_unlock(&db->ahead_mu);
    return NULL;
}

void engine_ahead_call(void *arg)
{
    struct quern *db = arg;
    struct quern_error ignored;

    mutex_lock(&db->ahead_mu);
    db->ahead_wanted = true;
    if (!db->ahead_runs && !db->ahead_stop)
        db->ahead_runs =
            thread_start(&db->ahead_thread, "quern-log", ahead, db, &ignored) == QUERN_OK;
    mutex_unlock(&db->ahead_mu);
    cond_signal(&db->ahead_work); /* once the lock is free: or it wakes only to wait for the lock */
}

void engine_ahead_stop(struct quern *db)
{
    bool join;

    mutex_lock(&db->ahead_mu);
    db->ahead_stop = true;
    join = db->ahead_runs;
    db->ahead_runs = false;
    cond_signal(&db->ahead_work);
    mutex_unlock(&db->ahead_mu);
    if (join)
        (void)pthread_join(db->ahead_thread, NULL);
}
