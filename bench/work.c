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

#include <pthread.h>
#include <stdlib.h>

static pthread_barrier_t gate;

static void work_loop(struct worker *w)
{
    const struct job *job = w->job;
    uint64_t i = job->from, before = clock_ns(), after;
    uint64_t deadline = before + (uint64_t)(job->seconds * 1e9);
    uint64_t longest = 0;

    w->begun_ns = before;
    while (i < job->to) {
        uint64_t stop;

        job->op(w, i++);
        after = clock_ns();
        hist_add(&w->hist, after - before);
        before = after;
        if (job->sample_every > 1) {
            stop = job->to - i < job->sample_every - 1 ? job->to : i + job->sample_every - 1;
            while (i < stop)
                job->op(w, i++);
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
    (void)pthread_barrier_wait(&gate);
    work_loop(w);
    if (w->job->finish != NULL)
        w->job->finish(w);
    w->call->session_free(w->session);
    return NULL;
}

struct worker *work_run(const struct bench *b, const struct job *jobs, unsigned count)
{
    struct worker *workers = must_alloc(count * sizeof(*workers));
    pthread_t *threads = must_alloc(count * sizeof(*threads));

    if (pthread_barrier_init(&gate, NULL, count) != 0)
        die("cannot make a barrier");
    for (unsigned i = 0; i < count; i++) {
        workers[i].bench = b;
        workers[i].job = &jobs[i];
        workers[i].call = b->engine->adapter;
        workers[i].no = i;
        workers[i].of = count;
        workers[i].random = mix64(b->seed + i);
        workers[i].value = must_alloc(b->config->value_bytes);
        if (pthread_create(&threads[i], NULL, work_thread, &workers[i]) != 0)
            die("cannot start a thread");
    }
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
        free(workers[i].value);
        workers[i].value = NULL;
    }
    (void)pthread_barrier_destroy(&gate);
    free(threads);
    return workers;
}

void work_sum(const struct worker *workers, unsigned count, struct row *row)
{
    struct hist *all = must_alloc(sizeof(*all));
    uint64_t begun = UINT64_MAX, ended = 0;

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
