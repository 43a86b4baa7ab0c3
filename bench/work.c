/* work.c - the one loop under every workload, and the threads that run it.
 *
 *     op | op op ... op | op | op op ... op | op      one sampled, 15 not, one sampled, ...
 *        ^              ^    ^              ^         the clock is read here
 *
 * Two readings of the clock for 16 operations cost about 3 ns each operation. Quantiles come from
 * the sampled ones. A stall would mostly hit one that is not sampled, so the longest gap between
 * two readings counts into the maximum too: it is an upper bound, and misses nothing. */
#include "work.h"

#include "clock.h"
#include "counts.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_barrier_t gate;

static void work_loop(struct worker *w)
{
    const struct job *job = w->job;
    void (*op)(struct worker * w, uint64_t i) = job->what->op;
    uint64_t i = job->from, before = clock_ns(), after;
    uint64_t deadline = before + (uint64_t)(job->seconds * 1e9);
    uint64_t longest = 0;

    w->begun_ns = before;
    while (i < job->to) {
        uint64_t stop;

        op(w, i++);
        after = clock_ns();
        hist_add(&w->hist, after - before);
        before = after;
        if (job->sample_every > 1) {
            stop = job->to - i < job->sample_every - 1 ? job->to : i + job->sample_every - 1;
            while (i < stop)
                op(w, i++);
            before = clock_ns();
            if (before - after > longest)
                longest = before - after;
        }
        if (before >= deadline)
            break;
    }
    w->ended_ns = before;
    w->cut = i < job->to;
    w->ops = (i - job->from) * job->units;
    if (longest > w->hist.max)
        w->hist.max = longest;
}

static void *work_thread(void *arg)
{
    struct worker *w = arg;

    w->session = w->call->session_new(w->bench->db);
    if (w->job->what->begin != NULL)
        w->job->what->begin(w);
    (void)pthread_barrier_wait(&gate);
    if (w->no == 0)
        counts_begin();
    (void)pthread_barrier_wait(&gate);
    work_loop(w);
    if (w->job->what->finish != NULL)
        w->job->what->finish(w);
    w->call->session_free(w->session);
    return NULL;
}

/* Keys and values of a batch have their places once and for all. */
static void room_new(struct worker *w)
{
    const struct data *d = &w->bench->data;
    size_t each = KEY_BYTES_MAX + d->value_bytes;

    w->value = must_alloc(d->value_bytes);
    w->batch = must_alloc(w->bench->batch * sizeof(*w->batch));
    w->batch_room = must_alloc(w->bench->batch * each);
    for (unsigned i = 0; i < w->bench->batch; i++)
        w->batch[i].key = bytes_of(w->batch_room + i * each, d->key_bytes);
}

static void room_free(struct worker *w)
{
    free(w->value);
    free(w->batch);
    free(w->batch_room);
}

void work_jobs(const struct bench *b, const struct workload *what, double seconds, struct job *jobs,
               unsigned threads)
{
    struct job job = {.what = what,
                      .from = 0,
                      .to = NO_END,
                      .seconds = seconds,
                      .sample_every = what->sample_every > 0 ? what->sample_every : SAMPLE_EVERY,
                      .units = what->units > 0 ? what->units : 1};
    uint64_t ops = 0;

    if (what->bound != BY_TIME)
        ops = set_ops(b->set, what, b->batch);
    else if (b->set->ops_max > 0)
        job.to = (b->set->ops_max + job.units - 1) / job.units;
    if (what->bound == BY_BATCHES || what->bound == BY_STRETCH)
        job.units = b->batch;
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = job;
        if (ops > 0) { /* threads share 0 .. ops - 1 in stretches */
            jobs[i].from = ops * i / threads;
            jobs[i].to = ops * (i + 1) / threads;
        }
    }
}

struct worker *work_run(const struct bench *b, const struct job *jobs, unsigned count)
{
    struct worker *workers = must_alloc(count * sizeof(*workers));
    pthread_t *threads = must_alloc(count * sizeof(*threads));

    if (pthread_barrier_init(&gate, NULL, count) != 0)
        die("cannot make a barrier");
    for (unsigned i = 0; i < count; i++) {
        struct worker *w = &workers[i];

        w->bench = b;
        w->job = &jobs[i];
        w->call = b->engine->adapter;
        w->no = i;
        w->of = count;
        w->random = mix64(b->seed + i);
        w->hot_at = (uint32_t)w->random;
        room_new(w);
        if (pthread_create(&threads[i], NULL, work_thread, w) != 0)
            die("cannot start a thread");
    }
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
        room_free(&workers[i]);
    }
    (void)pthread_barrier_destroy(&gate);
    free(threads);
    return workers;
}

void work_sum(const struct worker *workers, unsigned count, struct row *row)
{
    struct hist *all = must_alloc(sizeof(*all));
    uint64_t begun = UINT64_MAX, ended = 0;

    row->threads = count;
    row->ops = 0;
    row->cut = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct worker *w = &workers[i];

        hist_merge(all, &w->hist);
        row->ops += w->ops;
        row->cut |= w->cut && w->job->to != NO_END;
        if (w->begun_ns < begun)
            begun = w->begun_ns;
        if (w->ended_ns > ended)
            ended = w->ended_ns;
    }
    row->seconds = (double)(ended - begun) / 1e9;
    row->ops_per_s = row->seconds > 0 ? (double)row->ops / row->seconds : 0;
    row->p50_us = hist_quantile(all, 0.5) / 1e3;
    row->p99_us = hist_quantile(all, 0.99) / 1e3;
    row->p999_us = hist_quantile(all, 0.999) / 1e3;
    row->max_us = (double)all->max / 1e3;
    free(all);
}
