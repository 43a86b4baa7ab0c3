/* work_fill.c - how fast does it take writes? In order, at random, in batches, over old ones,
 * synced, and deletes.
 *
 * `fillrandom` puts every key once in shuffled order, so that all engines end with the same entries
 * and a scan can be counted; `overwrite` does so again and again, each time in another order and
 * with other values. */
#include "work.h"

void put_slot(struct worker *w, uint64_t slot, uint64_t generation, bool sync)
{
    const struct data *d = &w->bench->data;
    uint8_t key[KEY_BYTES_MAX];

    key_make(d, slot, key);
    value_make(d, slot, generation, w->value);
    w->call->put(w->session, key_of(w, key), bytes_of(w->value, d->value_bytes), sync);
}

static void delete_slot(struct worker *w, uint64_t slot)
{
    uint8_t key[KEY_BYTES_MAX];

    key_make(&w->bench->data, slot, key);
    w->call->del(w->session, key_of(w, key));
}

/* ------------------------------------------------------------------ batches -- */

/* The room of a batch is the worker's own; the pairs only lend it to the engine. */
static uint8_t *key_room(const struct worker *w, size_t at)
{
    return w->batch_room + at * (KEY_BYTES_MAX + w->bench->data.value_bytes);
}

void batch_put(struct worker *w, size_t at, uint64_t slot, uint64_t generation)
{
    const struct data *d = &w->bench->data;
    uint8_t *value = key_room(w, at) + KEY_BYTES_MAX;

    key_make(d, slot, key_room(w, at));
    value_make(d, slot, generation, value);
    w->batch[at].value = bytes_of(value, d->value_bytes);
}

static void batch_delete(struct worker *w, size_t at, uint64_t slot)
{
    key_make(&w->bench->data, slot, key_room(w, at));
    w->batch[at].value = bytes_of(NULL, 0);
}

void batch_write(struct worker *w, size_t n)
{
    if (w->call->batch != NULL) {
        w->call->batch(w->session, w->batch, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (w->batch[i].value.data != NULL)
            w->call->put(w->session, w->batch[i].key, w->batch[i].value, false);
        else
            w->call->del(w->session, w->batch[i].key);
}

/* How many entries batch `i` of `num` has: the last one may be short. */
static size_t batch_size(const struct worker *w, uint64_t i, uint64_t num)
{
    uint64_t rest = num - i * w->bench->batch;

    return rest < w->bench->batch ? rest : w->bench->batch;
}

void fill_batch(struct worker *w, uint64_t i)
{
    const struct bench *b = w->bench;
    size_t n = batch_size(w, i, b->data.num);

    for (size_t k = 0; k < n; k++)
        batch_put(w, k, 2 * shuffled(i * b->batch + k, b->data.num, b->seed), 0);
    batch_write(w, n);
}

void delete_stretch(struct worker *w, uint64_t i)
{
    const struct bench *b = w->bench;
    uint64_t first = stretch_first(b->data.num);
    size_t n = batch_size(w, i, stretch_count(b->data.num));

    for (size_t k = 0; k < n; k++)
        batch_delete(w, k, 2 * (first + i * b->batch + k));
    batch_write(w, n);
}

/* ------------------------------------------------------------------ one by one -- */

void fill_in_order(struct worker *w, uint64_t i)
{
    put_slot(w, 2 * i, 0, false);
}

void fill_shuffled(struct worker *w, uint64_t i)
{
    put_slot(w, 2 * shuffled(i, w->bench->data.num, w->bench->seed), 0, false);
}

void overwrite(struct worker *w, uint64_t i)
{
    uint64_t num = w->bench->data.num, pass = i / num + 1;

    put_slot(w, 2 * shuffled(i % num, num, w->bench->seed + pass), pass, false);
}

void fill_synced(struct worker *w, uint64_t i)
{
    uint64_t num = w->bench->data.num, n = (i * w->of + w->no) % num;

    put_slot(w, 2 * shuffled(n, num, w->bench->seed), 0, true);
}

void overwrite_any(struct worker *w, uint64_t i)
{
    put_slot(w, 2 * random_below(&w->random, w->bench->data.num), i, false);
}

void delete_shuffled(struct worker *w, uint64_t i)
{
    delete_slot(w, 2 * shuffled(i, w->bench->data.num, w->bench->seed + 1000));
}
