/* work_read.c - how fast does it answer for single keys? One at a time, 32 at a time, and for keys
 * that are not there. Every value is checked to be the one of its key. */
#include "work.h"

#include <inttypes.h>

static void wrong(const struct worker *w, uint64_t slot, struct bytes value)
{
    die("%s: wrong answer for key %" PRIu64 ": %s", w->bench->engine->name, slot,
        value.data == NULL ? "it is missing" : "another value");
}

static void read_one(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint64_t slot = 2 * random_below(&w->random, d->num);
    uint8_t key[KEY_BYTES];
    struct bytes value;

    (void)i;
    key_make(d, slot, key);
    value = w->call->get(w->session, bytes_of(key, KEY_BYTES));
    if (!value_is_of(d, slot, value))
        wrong(w, slot, value);
}

static void read_missing(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint64_t slot = 2 * random_below(&w->random, d->num) + 1;
    uint8_t key[KEY_BYTES];

    (void)i;
    key_make(d, slot, key);
    if (w->call->get(w->session, bytes_of(key, KEY_BYTES)).data != NULL)
        die("%s: found key %" PRIu64 ", which was never put", w->bench->engine->name, slot);
}

static void read_many(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint64_t slots[MULTIGET_KEYS];
    uint8_t room[MULTIGET_KEYS][KEY_BYTES];
    struct bytes keys[MULTIGET_KEYS], values[MULTIGET_KEYS];

    (void)i;
    for (unsigned k = 0; k < MULTIGET_KEYS; k++) {
        slots[k] = 2 * random_below(&w->random, d->num);
        key_make(d, slots[k], room[k]);
        keys[k] = bytes_of(room[k], KEY_BYTES);
    }
    w->call->multi_get(w->session, keys, MULTIGET_KEYS, values);
    for (unsigned k = 0; k < MULTIGET_KEYS; k++)
        if (!value_is_of(d, slots[k], values[k]))
            wrong(w, slots[k], values[k]);
}

void read_jobs(const struct bench *b, enum workload workload, struct job *jobs, unsigned threads)
{
    struct job job = {.op = read_one,
                      .from = 0,
                      .to = NO_END,
                      .seconds = b->config->seconds,
                      .sample_every = SAMPLE_EVERY,
                      .units = 1};

    if (workload == W_READMISSING)
        job.op = read_missing;
    if (workload == W_MULTIGET) {
        job.op = read_many;
        job.units = MULTIGET_KEYS;
        job.sample_every = 1;
    }
    for (unsigned i = 0; i < threads; i++)
        jobs[i] = job;
}
