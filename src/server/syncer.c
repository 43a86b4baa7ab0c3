/* syncer.c - syncs when something was written since the last time.
 *
 * A failure that leaves the store writable (a full disk, no memory) is told once and tried again a
 * period later: the writes that follow rely on it. One that makes the store refuse writes ends the
 * thread; every writer hears of it. */
#include "server/syncer.h"

#include "server/observe/say.h"

/* True when there is nothing more to do, ever. */
static bool sync_once(struct syncer *s, bool *failing)
{
    struct quern_error err;
    struct quern_stats stats;
    bool failed;

    quern_stats(s->db, &stats);
    if (stats.visible_seq == stats.durable_seq)
        return false;
    failed = quern_sync(s->db, &err) != QUERN_OK;
    if (failed && !*failing)
        say_event(SAY_ERROR, "sync failed", "%s", err.text);
    else if (!failed && *failing)
        say_event(SAY_INFO, "sync", "done again");
    *failing = failed;
    quern_stats(s->db, &stats);
    return stats.read_only;
}

static void *syncer_main(void *arg)
{
    struct syncer *s = arg;
    bool over = false, failing = false;

    mutex_lock(&s->mu);
    while (!s->stopping && !over) {
        if (cond_wait_ms(&s->wake, &s->mu, s->period_ms))
            continue;
        mutex_unlock(&s->mu);
        over = sync_once(s, &failing);
        mutex_lock(&s->mu);
    }
    mutex_unlock(&s->mu);
    return NULL;
}

enum quern_code syncer_start(struct syncer *s, struct quern *db, uint64_t period_ms,
                             struct quern_error *err)
{
    s->db = db;
    s->period_ms = period_ms;
    s->stopping = false;
    mutex_init(&s->mu);
    cond_init(&s->wake);
    if (thread_start(&s->thread, "quernd-sync", syncer_main, s, err) != QUERN_OK)
        return err->code;
    s->running = true;
    return QUERN_OK;
}

void syncer_stop(struct syncer *s)
{
    if (!s->running)
        return;
    mutex_lock(&s->mu);
    s->stopping = true;
    cond_signal(&s->wake);
    mutex_unlock(&s->mu);
    (void)pthread_join(s->thread, NULL);
    cond_done(&s->wake);
    mutex_done(&s->mu);
    s->running = false;
}
