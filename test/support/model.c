/* model.c - the reference that histories are checked against; see model.h. */
#include "model.h"

#include "base/entry.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key {
    uint8_t database;
    uint8_t bytes[80];
    size_t len;
};

static struct key keys[MODEL_KEYS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int compare(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    if (x->database != y->database)
        return x->database < y->database ? -1 : 1;
    return key_compare(slice_of(x->bytes, x->len), slice_of(y->bytes, y->len));
}

/* Decimals, short binary keys with zeros, prefixes of one another, and long shared prefixes. A
 * quarter are in database 1 and another in 15, the same keys as some of database 0. */
static void make_keys(void)
{
    static const uint8_t database[] = {0, 0, 1, 15};

    for (unsigned n = 0; n < MODEL_KEYS; n++) {
        struct key *k = &keys[n];
        unsigned block = n / 4 % 4, i = block > 1 ? n - 4 * (block - 1) : n;

        k->database = database[block];
        switch (i % 4) {
        case 0:
            k->len = (size_t)snprintf((char *)k->bytes, sizeof(k->bytes), "%016u", i * 7919);
            break;
        case 1:
            k->bytes[0] = (uint8_t)(i & 3);
            k->bytes[1] = (uint8_t)(i >> 2);
            k->bytes[2] = 0;
            k->len = 2 + (i & 1);
            break;
        case 2:
            memset(k->bytes, 'a', sizeof(k->bytes));
            k->len = 1 + i / 4;
            break;
        default:
            k->len = (size_t)snprintf((char *)k->bytes, sizeof(k->bytes),
                                      "a-long-prefix-that-fills-more-than-a-node/%05u/x", i);
        }
    }
    qsort(keys, MODEL_KEYS, sizeof(keys[0]), compare);
}

struct quern_slice model_key(size_t n)
{
    (void)pthread_once(&once, make_keys);
    return slice_of(keys[n].bytes, keys[n].len);
}

uint8_t model_database(size_t n)
{
    (void)pthread_once(&once, make_keys);
    return keys[n].database;
}

void model_span(uint8_t database, size_t *from, size_t *to)
{
    *from = 0;
    while (*from < MODEL_KEYS && model_database(*from) < database)
        ++*from;
    *to = *from;
    while (*to < MODEL_KEYS && model_database(*to) == database)
        ++*to;
}

void model_swap_span(size_t *from, size_t *to)
{
    size_t between;

    model_span(1, from, &between);
    model_span(15, &between, to);
}

void model_swap(struct model *m)
{
    size_t from, to, half;

    model_swap_span(&from, &to);
    half = (to - from) / 2;
    for (size_t n = from; n < from + half; n++) {
        struct model_cell was = m->cell[n];

        m->cell[n] = m->cell[n + half];
        m->cell[n + half] = was;
    }
}

static uint8_t byte_of(uint64_t stamp, uint32_t at)
{
    return (uint8_t)(stamp * 31 + at / 5);
}

struct quern_slice model_value(struct model_cell cell, uint8_t *room)
{
    for (uint32_t i = 0; i < cell.len; i++)
        room[i] = byte_of(cell.stamp, i);
    return slice_of(room, cell.len);
}

bool model_value_is(struct model_cell cell, struct quern_slice got)
{
    const uint8_t *bytes = got.data;

    if (got.len != cell.len)
        return false;
    for (uint32_t i = 0; i < cell.len; i++)
        if (bytes[i] != byte_of(cell.stamp, i))
            return false;
    return true;
}

struct model_cell model_at(const struct model *m, size_t n)
{
    struct model_cell cell = m->cell[n];

    if (cell.expires_ms != 0 && cell.expires_ms <= m->time_ms)
        return (struct model_cell){.stamp = 0};
    return cell;
}

size_t model_lower(uint8_t database, struct quern_slice key)
{
    size_t n, to;

    model_span(database, &n, &to);
    while (n < to && key_compare(model_key(n), key) < 0)
        n++;
    return n;
}

uint64_t model_count(const struct model *m, uint8_t database, struct quern_slice start,
                     struct quern_slice end)
{
    uint64_t count = 0;
    size_t n, to;

    for (model_span(database, &n, &to); n < to; n++)
        count += model_at(m, n).stamp != 0 && key_compare(model_key(n), start) >= 0 &&
                 (end.len == 0 || key_compare(model_key(n), end) < 0);
    return count;
}
