/* work_fill.c - how fast does it take writes? In order, at random, over old ones, synced, and
 * deletes.
 *
 * `fillrandom` puts every key once in shuffled order, so that all engines end with the same entries
 * and a scan can be counted; `overwrite` does so again in another order, with other values. */
#include "work.h"

static void put_slot(struct worker *w, uint64_t slot, uint64_t generation, bool sync)
{
    const struct data *d = &w->bench->data;
    uint8_t key[KEY_BYTES];

    key_make(d, slot, key);
    value_make(d, slot, generation, w->value);
    w->call->put(w->session, bytes_of(key, KEY_BYTES), bytes_of(w->value, d->value_bytes), sync);
}

static void fill_in_order(struct worker *w, uint64_t i)
{
    put_slot(w, 2 * i, 0, false);
}

static void fill_shuffled(struct worker *w, uint64_t i)
{
    put_slot(w, 2 * shuffled(i, w->bench->data.num, w->bench->seed), 0, false);
}

static void overwrite(struct worker *w, uint64_t i)
{
    uint64_t num = w->bench->data.num, pass = i / num + 1;

    put_slot(w, 2 * shuffled(i % num, num, w->bench->seed + pass), pass, false);
}

static void fill_synced(struct worker *w, uint64_t i)
{
    uint64_t num = w->bench->data.num, n = (i * w->of + w->no) % num;

    put_slot(w, 2 * shuffled(n, num, w->bench->seed), 0, true);
}

static void overwrite_any(struct worker *w, uint64_t i)
{
    put_slot(w, 2 * random_below(&w->random, w->bench->data.num), i, false);
}

static void delete_shuffled(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint8_t key[KEY_BYTES];

    key_make(d, 2 * shuffled(i, d->num, w->bench->seed + 1000), key);
    w->call->del(w->session, bytes_of(key, KEY_BYTES));
}

/* Threads share 0 .. ops - 1 in stretches. */
static void share(struct job *jobs, unsigned threads, uint64_t ops)
{
    for (unsigned i = 0; i < threads; i++) {
        jobs[i].from = ops * i / threads;
        jobs[i].to = ops * (i + 1) / threads;
    }
}

void fill_jobs(const struct bench *b, enum workload workload, struct job *jobs, unsigned threads)
{
    const struct config *c = b->config;
    struct job job = {
        .from = 0, .to = NO_END, .seconds = c->seconds, .sample_every = SAMPLE_EVERY, .units = 1};
    uint64_t ops = 0; /* 0: bounded by time */

    switch (workload) {
    case W_FILLSEQ:
        job.op = fill_in_order;
        ops = c->num;
        break;
    case W_FILLRANDOM:
        job.op = fill_shuffled;
        ops = c->num;
        break;
    case W_OVERWRITE:
        job.op = overwrite;
        ops = c->num * c->overwrites;
        break;
    case W_DELETERANDOM:
        job.op = delete_shuffled;
        ops = c->num / 2;
        break;
    case W_WRITER:
        job.op = overwrite_any;
        break;
    default: /* W_FILLSYNC, W_FILLSYNC_MANY */
        job.op = fill_synced;
        job.sample_every = 1;
        break;
    }
    /* The load has no bound in time: all reads rest on it. */
    if (ops > 0)
        job.seconds = workload == W_FILLRANDOM ? 1e9 : c->write_seconds;
    for (unsigned i = 0; i < threads; i++)
        jobs[i] = job;
    if (ops > 0)
        share(jobs, threads, ops);
}
