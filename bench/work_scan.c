/* work_scan.c - how fast does it walk? Through everything in both directions, and ten steps from a
 * random key, with a view of its own for each such walk, as a service that answers ranges has.
 *
 * Keys must rise (or fall), values must be whole, and a walk from end to end must meet every
 * entry. */
#include "work.h"

#include <inttypes.h>
#include <string.h>

static void check_pair(const struct worker *w, const struct pair *p)
{
    if (p->key.len != KEY_BYTES || !value_is_whole(&w->bench->data, p->value))
        die("%s: a scan met a damaged entry", w->bench->engine->name);
}

/* Take one step of an endless walk; from the far end it begins anew. */
static void step(struct worker *w, bool forward)
{
    const struct adapter *call = w->call;
    struct pair p;
    bool stands;

    if (w->scanning) {
        stands = forward ? call->scan_next(w->session, &p) : call->scan_prev(w->session, &p);
        if (stands) {
            int order = memcmp(p.key.data, w->scan_key, KEY_BYTES);

            if (forward ? order <= 0 : order >= 0)
                die("%s: a scan met keys out of order", w->bench->engine->name);
        } else {
            if (w->scan_seen != w->bench->data.num)
                die("%s: a scan met %" PRIu64 " entries of %" PRIu64, w->bench->engine->name,
                    w->scan_seen, w->bench->data.num);
            w->scan_passes++;
            w->scanning = false;
            call->scan_end(w->session);
        }
    }
    if (!w->scanning) {
        call->scan_begin(w->session);
        w->scanning = true;
        w->scan_seen = 0;
        stands = forward ? call->scan_first(w->session, &p) : call->scan_last(w->session, &p);
        if (!stands)
            die("%s: a scan met nothing", w->bench->engine->name);
    }
    check_pair(w, &p);
    memcpy(w->scan_key, p.key.data, KEY_BYTES);
    w->scan_seen++;
}

static void step_forward(struct worker *w, uint64_t i)
{
    (void)i;
    step(w, true);
}

static void step_back(struct worker *w, uint64_t i)
{
    (void)i;
    step(w, false);
}

static void leave(struct worker *w)
{
    if (w->scanning)
        w->call->scan_end(w->session);
    w->scanning = false;
}

static void seek_and_walk(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint64_t slot = 2 * random_below(&w->random, d->num);
    uint8_t key[KEY_BYTES];
    struct pair p;

    (void)i;
    key_make(d, slot, key);
    w->call->scan_begin(w->session);
    if (!w->call->scan_seek(w->session, bytes_of(key, KEY_BYTES), &p) || p.key.len != KEY_BYTES ||
        memcmp(p.key.data, key, KEY_BYTES) != 0 || !value_is_of(d, slot, p.value))
        die("%s: seek did not find key %" PRIu64, w->bench->engine->name, slot);
    for (unsigned k = 0; k < SEEK_STEPS && w->call->scan_next(w->session, &p); k++)
        check_pair(w, &p);
    w->call->scan_end(w->session);
}

void scan_jobs(const struct bench *b, enum workload workload, struct job *jobs, unsigned threads)
{
    struct job job = {.op = seek_and_walk,
                      .from = 0,
                      .to = NO_END,
                      .seconds = b->config->seconds,
                      .sample_every = SAMPLE_EVERY,
                      .units = 1};

    if (workload != W_SEEKRANDOM) {
        job.op = workload == W_READSEQ ? step_forward : step_back;
        job.finish = leave;
        job.sample_every = 64; /* a step may take less than the clock */
    }
    for (unsigned i = 0; i < threads; i++)
        jobs[i] = job;
}
