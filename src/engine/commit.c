/* commit.c - the commit queue: writers line up, one leads.
 *
 *      put, write            write_async
 *          |                      |
 *          v                      v
 *   +--> [ queue of waiters, oldest first ] --- nobody leads and the head is asynchronous:
 *   |      |                                      the commit thread leads
 *   |      | gather        a moment, for the writers of the group before
 *   |      | leader takes a group (collect)
 *   |      v
 *   |    engine_write_group (write.c): logged, applied, visible
 *   |      |
 *   |      v
 *   '--- pass the lead on, tell the group
 *
 * A writer that finds the queue empty and nobody leading leads at once: no hand-over, no system
 * call. So does quern_hand_over(), for whose writes nobody waits, if they need to wait for nothing:
 * the thread that calls it has a hundred other things to do, and so has the commit thread's core.
 * While a leader waits in a sync the next group gathers behind it. A group without a sync never
 * takes in a writer that wants one, so nobody waits for a sync in vain.
 *
 * Gathering: N threads that write and sync in turn would fall into two halves, each writing while
 * the other waits, for the half that was just told is a moment too late for the next group. A
 * leader whose group syncs therefore lets others run until as many have come as were about when the
 * last sync ended, for a quarter of a sync's time at most. Where they do not come it is tried less
 * often. */
#include "engine/engine_priv.h"

#include <sched.h>
#include <unistd.h>

#define ASYNC_PENDING_MAX 65536
#define GATHER_DIV 4u       /* wait for others at most this part of what a sync takes */
#define GATHER_SKIP_MAX 64u /* syncs without an attempt, where attempts are in vain */

/* ---- a group ---- */

/* Take the next group off the queue, of *count waiters. The head is there. */
static struct waiter *collect_locked(struct quern *db, size_t *count)
{
    struct waiter *first = db->queue_head, *last = first;
    uint64_t bytes = batch_bytes(&first->batch);
    bool sync = first->sync;

    for (*count = 1; last->next != NULL && *count < GROUP_COUNT_MAX; ++*count) {
        const struct waiter *next = last->next;

        bytes += batch_bytes(&next->batch);
        if (bytes > GROUP_BYTES_MAX || (next->sync && !sync))
            break;
        if (last->swaps != 0)
            break; /* behind it the databases are in other places */
        if (first->seal || next->seal)
            break; /* closing a MemDB may fail where the writes around it do not */
        if (waiter_writes(next) != waiter_writes(first))
            break; /* a write may find no space where a sync does not; behind it, a sync is free */
        last = last->next;
    }
    db->queue_head = last->next;
    if (db->queue_head == NULL)
        db->queue_tail = NULL;
    last->next = NULL;
    return first;
}

/* Those at the end of a group that it had no room for: they come first again. Returns how many. */
static size_t put_back_locked(struct quern *db, struct waiter *rest)
{
    struct waiter *last = rest;
    size_t count = 1;

    for (; last->next != NULL; count++)
        last = last->next;
    last->next = db->queue_head;
    db->queue_head = rest;
    if (db->queue_tail == NULL)
        db->queue_tail = last;
    return count;
}

/* ---- gathering ---- */

static size_t queue_length_locked(const struct quern *db, size_t at_most)
{
    size_t n = 0;

    for (const struct waiter *w = db->queue_head; w != NULL && n < at_most; w = w->next)
        n++;
    return n;
}

/* Let those come who were about when the last sync ended. */
static void gather_locked(struct quern *db)
{
    struct gather *g = &db->gather;
    uint64_t until;
    bool came;

    if (!db->queue_head->sync || g->expected <= 1 || g->sync_ns == 0)
        return;
    if (g->skip > 0) {
        g->skip--;
        return;
    }
    until = os_now_ns(db->os) + g->sync_ns / GATHER_DIV;
    while (!(came = queue_length_locked(db, g->expected) >= g->expected) &&
           os_now_ns(db->os) < until) {
        mutex_unlock(&db->queue_mu);
        (void)sched_yield();
        mutex_lock(&db->queue_mu);
    }
    g->in_vain = came ? 0 : g->in_vain * 2 + 1;
    if (g->in_vain > GATHER_SKIP_MAX)
        g->in_vain = GATHER_SKIP_MAX;
    g->skip = g->in_vain / 2;
}

/* A group that synced is through: how long it took, and how many writers are about. */
static void learn_locked(struct quern *db, size_t count, uint64_t ns)
{
    struct gather *g = &db->gather;

    g->expected = count + queue_length_locked(db, GROUP_COUNT_MAX - count);
    g->sync_ns = g->sync_ns == 0 ? ns : (7 * g->sync_ns + ns) / 8;
}

/* ---- telling ---- */

/* Tell asynchronous writers. The memory behind `c` may be gone as soon as it is told. Of a group
 * that was written, those that were refused have their own error already. */
static void complete_async(struct waiter *w, enum quern_code code, const struct quern_error *err)
{
    struct quern_completion *c = w->async;
    void (*done)(void *, struct quern_completion *) = c->done;
    void *arg = c->arg;
    int event_fd = c->event_fd;

    c->more = w->hand != NULL && w->next != NULL && w->next->hand == w->hand;
    c->seq = w->seq;
    c->slowed = w->slowed;
    c->code = code != QUERN_OK ? code : w->code;
    if (code != QUERN_OK)
        c->error = *err;
    __atomic_store_n(&c->ready_, 1, __ATOMIC_RELEASE);
    if (event_fd > 0) {
        uint64_t one = 1;

        IGNORE(write(event_fd, &one, sizeof(one))); /* a full counter is readable already */
    }
    if (done != NULL)
        done(arg, c);
}

/* Hand out the result. Asynchronous ones first, in order, while nobody else can lead. Returns how
 * many they were. */
static size_t tell_async(struct waiter **first, enum quern_code code, const struct quern_error *err)
{
    struct waiter **link = first;
    size_t count = 0;

    while (*link != NULL) {
        struct waiter *w = *link;

        if (w->async == NULL) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        complete_async(w, code, err);
        count++;
    }
    return count;
}

/* What came of it, for the blocking ones. Is `self` among them? */
static bool note_results(struct waiter *first, const struct waiter *self, enum quern_code code,
                         const struct quern_error *err)
{
    bool found = false;

    for (struct waiter *w = first; w != NULL; w = w->next) {
        if (code != QUERN_OK) {
            w->code = code;
            *w->err = *err;
        }
        found |= w == self;
    }
    return found;
}

/* Whoever is told may be gone at once, and its memory with it. */
static void tell_blocking(struct waiter *first, const struct waiter *self)
{
    while (first != NULL) {
        struct waiter *next = first->next;

        if (first != self)
            parking_tell(&first->told, WAITER_DONE);
        first = next;
    }
}

/* ---- leading ---- */

/* Stop leading. Returns who leads now and must be told, if it is a blocking writer: then `leading`
 * stays set, so that nobody slips in between. */
static struct waiter *pass_lead_locked(struct quern *db)
{
    if (db->queue_head != NULL && db->queue_head->async == NULL)
        return db->queue_head;
    db->leading = false;
    if (db->queue_head != NULL)
        cond_signal(&db->commit_work);
    else if (db->closing)
        cond_broadcast(&db->queue_idle);
    return NULL;
}

/* Lead: groups from the queue until the own waiter is done or, without one, until so many
 * asynchronous ones are, or the next group would have to wait for something. The lock is released
 * on return. The next leader is told first: its sync need not wait until all of this group have
 * been woken. */
static void lead_and_unlock(struct quern *db, struct waiter *self, size_t async_count)
{
    size_t async_told = 0;
    bool done;

    do {
        struct waiter *first, *rest, *next = NULL;
        struct quern_error err;
        enum quern_code code;
        size_t count, told;
        bool synced;

        gather_locked(db);
        first = collect_locked(db, &count);
        mutex_unlock(&db->queue_mu);
        synced = first->sync;
        code = engine_write_group(db, first, &rest, &err);
        told = tell_async(&first, code, &err);
        async_told += told;
        done = note_results(first, self, code, &err) || (self == NULL && async_told >= async_count);
        mutex_lock(&db->queue_mu);
        if (rest != NULL)
            count -= put_back_locked(db, rest);
        if (synced && code == QUERN_OK)
            learn_locked(db, count, db->log_sync_ns);
        db->async_pending -= told;
        if (!done && self == NULL) /* others have joined the queue meanwhile */
            done = !engine_can_write_now(db, db->queue_head);
        if (done) {
            next = pass_lead_locked(db);
            mutex_unlock(&db->queue_mu);
        }
        if (next != NULL)
            parking_tell(&next->told, WAITER_LEADS);
        tell_blocking(first, self);
    } while (!done);
}

static void enqueue_locked(struct quern *db, struct waiter *w)
{
    w->next = NULL;
    if (db->queue_tail != NULL)
        db->queue_tail->next = w;
    else
        db->queue_head = w;
    db->queue_tail = w;
}

enum quern_code engine_commit(struct quern *db, struct waiter *w)
{
    mutex_lock(&db->queue_mu);
    if (UNLIKELY(db->closing)) {
        mutex_unlock(&db->queue_mu);
        return err_set(w->err, QUERN_CLOSED, "the store is being closed");
    }
    enqueue_locked(db, w);
    if (db->leading) {
        mutex_unlock(&db->queue_mu);
        if (parking_wait(&w->told) == WAITER_DONE)
            return w->code;
        mutex_lock(&db->queue_mu);
    }
    db->leading = true;
    lead_and_unlock(db, w, 0);
    return w->code;
}

bool engine_try_lead(struct quern *db)
{
    bool mine;

    mutex_lock(&db->queue_mu);
    mine = !db->leading && db->queue_head == NULL && !db->closing;
    if (mine)
        db->leading = true;
    mutex_unlock(&db->queue_mu);
    return mine;
}

void engine_stop_leading(struct quern *db)
{
    struct waiter *next;

    mutex_lock(&db->queue_mu);
    next = pass_lead_locked(db);
    mutex_unlock(&db->queue_mu);
    if (next != NULL)
        parking_tell(&next->told, WAITER_LEADS);
}

/* ---- asynchronous writers, and the commit thread that leads for them ---- */

static void *commit_thread(void *arg)
{
    struct quern *db = arg;

    mutex_lock(&db->queue_mu);
    for (;;) {
        if (!db->leading && db->queue_head != NULL) {
            db->leading = true;
            lead_and_unlock(db, NULL, 0); /* one group */
            mutex_lock(&db->queue_mu);
        } else if (db->closing && db->queue_head == NULL) {
            break;
        } else {
            cond_wait(&db->commit_work, &db->queue_mu);
        }
    }
    mutex_unlock(&db->queue_mu);
    return NULL;
}

static enum quern_code need_commit_thread_locked(struct quern *db, struct quern_error *err)
{
    if (LIKELY(db->commit_thread_runs))
        return QUERN_OK;
    if (thread_start(&db->commit_thread, "quern-commit", commit_thread, db, err))
        return err->code;
    db->commit_thread_runs = true;
    return QUERN_OK;
}

void engine_writes_end(struct quern *db)
{
    bool join;

    mutex_lock(&db->queue_mu);
    db->closing = true;
    while (db->leading || db->queue_head != NULL || db->async_pending != 0)
        cond_wait(&db->queue_idle, &db->queue_mu);
    join = db->commit_thread_runs;
    db->commit_thread_runs = false;
    cond_broadcast(&db->commit_work);
    mutex_unlock(&db->queue_mu);
    if (join)
        (void)pthread_join(db->commit_thread, NULL);
}

/* May another asynchronous write join the queue? */
static enum quern_code admit_locked(struct quern *db, struct quern_error *err)
{
    if (db->closing)
        return err_set(err, QUERN_CLOSED, "the store is being closed");
    if (db->async_pending >= ASYNC_PENDING_MAX)
        return err_set(err, QUERN_BUSY, "%d writes are under way already; try again a little later",
                       ASYNC_PENDING_MAX);
    err_clear(err);
    return need_commit_thread_locked(db, err);
}

enum quern_code engine_commit_async(struct quern *db, struct waiter *w, struct quern_error *err)
{
    bool wake;

    mutex_lock(&db->queue_mu);
    if (admit_locked(db, err)) {
        mutex_unlock(&db->queue_mu);
        return err->code;
    }
    enqueue_locked(db, w);
    db->async_pending++;
    wake = !db->leading;
    mutex_unlock(&db->queue_mu);
    if (wake)
        cond_signal(&db->commit_work); /* woken with the lock held it would wait for the lock */
    return QUERN_OK;
}

/* Put a hand at the end of the queue, as far as it is admitted. Returns those that are not; *count
 * is how many were. */
static struct waiter *enqueue_hand_locked(struct quern *db, struct waiter *first, size_t *count,
                                          struct quern_error *err)
{
    struct waiter *w = first;

    for (*count = 0; w != NULL && admit_locked(db, err) == QUERN_OK; ++*count) {
        struct waiter *next = w->next;

        enqueue_locked(db, w);
        db->async_pending++;
        w = next;
    }
    return w;
}

void quern_hand_over(struct quern *db, struct quern_hand *hand)
{
    struct waiter *first = hand->first_, *refused;
    struct quern_error err;
    size_t count;
    bool alone;

    if (first == NULL)
        return;
    *hand = (struct quern_hand){0};
    mutex_lock(&db->queue_mu);
    alone = !db->leading && db->queue_head == NULL;
    refused = enqueue_hand_locked(db, first, &count, &err);
    if (alone && count != 0 && engine_can_write_now(db, first)) {
        db->leading = true;
        lead_and_unlock(db, NULL, count);
    } else {
        bool wake = !db->leading && count != 0;

        mutex_unlock(&db->queue_mu);
        if (wake)
            cond_signal(&db->commit_work);
    }
    if (refused != NULL)
        (void)tell_async(&refused, err.code, &err);
}
