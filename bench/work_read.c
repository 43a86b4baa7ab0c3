/* work_read.c - how fast does it answer for single keys? One at a time, several at a time, some
 * keys more often than others, and keys that are not there. Every value is checked to be the one of
 * its key. */
#include "work.h"

#include <inttypes.h>

#define MULTIGET_MAX 128

static void wrong(const struct worker *w, uint64_t slot, struct bytes value)
{
    die("%s: wrong answer for key %" PRIu64 ": %s", w->bench->engine->name, slot,
        value.data == NULL ? "it is missing" : "another value");
}

void read_slot(struct worker *w, uint64_t slot)
{
    const struct data *d = &w->bench->data;
    uint8_t key[KEY_BYTES_MAX];
    struct bytes value;

    key_make(d, slot, key);
    value = w->call->get(w->session, key_of(w, key));
    if (!value_is_of(d, slot, value))
        wrong(w, slot, value);
}

void read_one(struct worker *w, uint64_t i)
{
    (void)i;
    read_slot(w, 2 * random_below(&w->random, w->bench->data.num));
}

void read_hot(struct worker *w, uint64_t i)
{
    (void)i;
    read_slot(w, 2 * hot_entry(w, hot_rank(w)));
}

void read_missing(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint64_t slot = 2 * random_below(&w->random, d->num) + 1;
    uint8_t key[KEY_BYTES_MAX];

    (void)i;
    key_make(d, slot, key);
    if (w->call->get(w->session, key_of(w, key)).data != NULL)
        die("%s: found key %" PRIu64 ", which was never put", w->bench->engine->name, slot);
}

void read_many(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    const unsigned n = w->job->what->arg;
    uint64_t slots[MULTIGET_MAX];
    uint8_t room[MULTIGET_MAX][KEY_BYTES_MAX];
    struct bytes keys[MULTIGET_MAX] = {0}, values[MULTIGET_MAX];

    (void)i;
    for (unsigned k = 0; k < n; k++) {
        slots[k] = 2 * random_below(&w->random, d->num);
        key_make(d, slots[k], room[k]);
        keys[k] = key_of(w, room[k]);
    }
    w->call->multi_get(w->session, keys, n, values);
    for (unsigned k = 0; k < n; k++)
        if (!value_is_of(d, slots[k], values[k]))
            wrong(w, slots[k], values[k]);
}
