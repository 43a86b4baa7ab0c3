/* syncer.c - syncs when something was written since the last time. The first failure is told and
 * ends the thread: the store refuses writes from then on, and every writer hears it. */
#include "server/syncer.h"

#include "server/say.h"

static void *syncer_main(void *arg)
{
    struct syncer *s = arg;
    struct quern_error err;
    struct quern_stats stats;

    mutex_lock(&s->mu);
    while (!s->stopping) {
        if (cond_wait_ms(&s->wake, &s->mu, s->period_ms))
            continue;
        mutex_unlock(&s->mu);
        quern_stats(s->db, &stats);
        if (stats.visible_seq > stats.durable_seq && quern_sync(s->db, &err) != QUERN_OK) {
            say_event("sync failed: %s", err.text);
            return NULL;
        }
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
