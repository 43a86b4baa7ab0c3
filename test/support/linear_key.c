/* linear_key.c - one key: the search of Wing and Gong, with Lowe's memory.
 *
 * Beginnings and ends of calls stand in one list, by time. The next call in the order that is
 * sought must have begun before the first end in the list: take one that fits the state, strike out
 * its beginning and end, go on from the front. At an end nothing fitted: take the last one back and
 * try what stands behind it. A set of calls that were taken and the state they led to are met many
 * times; the second time is of no use, and is not followed.
 *
 * Values are unique, so the search hardly ever goes back; STEPS_MAX is there for the day it
 * does. */
#include "linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 50000000u

struct event {
    struct linear_op *op;
    struct event *end; /* of a beginning: its end, or NULL */
    struct event *prev, *next;
    uint64_t time;
    size_t no; /* of the call */
};

struct memory { /* an open hash table of (taken, state) */
    uint64_t *rows;
    size_t words, count, size; /* words of a row: 1 (state + 1; 0: free), then the set */
};

struct search {
    struct event head, *events;
    struct event **taken;
    uint32_t *before; /* the state before each that was taken */
    uint64_t *set;
    size_t words, depth, open; /* open: ends still in the list */
    size_t durable_left;
    uint32_t state;
    struct memory memory;
};

static void *array(size_t count, size_t bytes)
{
    void *p = calloc(count + 1, bytes);

    if (p == NULL)
        abort();
    return p;
}

static uint64_t *find_row(struct memory *m, const uint64_t *row)
{
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i < m->words; i++)
        hash = (hash ^ row[i] ^ row[i] >> 29) * UINT64_C(0x9E3779B97F4A7C15);
    for (size_t at = hash >> 20;; at++) {
        uint64_t *there = &m->rows[at % m->size * m->words];

        if (there[0] == 0 || memcmp(there, row, m->words * sizeof(*row)) == 0)
            return there;
    }
}

static void grow(struct memory *m)
{
    struct memory more = {NULL, m->words, m->count, m->size * 2 + 64};

    more.rows = array(more.size * more.words, sizeof(uint64_t));
    for (size_t i = 0; i < m->size; i++)
        if (m->rows[i * m->words] != 0)
            memcpy(find_row(&more, &m->rows[i * m->words]), &m->rows[i * m->words],
                   m->words * sizeof(uint64_t));
    free(m->rows);
    *m = more;
}

/* Is (set, state) new? Then it is noted. */
static bool is_new(struct search *s, uint32_t state)
{
    struct memory *m = &s->memory;
    uint64_t *there;

    if (m->count * 2 >= m->size)
        grow(m);
    s->set[-1] = (uint64_t)state + 1;
    there = find_row(m, s->set - 1);
    if (there[0] != 0)
        return false;
    memcpy(there, s->set - 1, m->words * sizeof(uint64_t));
    m->count++;
    return true;
}

static void cut(struct event *e)
{
    e->prev->next = e->next;
    if (e->next != NULL)
        e->next->prev = e->prev;
}

static void put_back(struct event *e)
{
    e->prev->next = e;
    if (e->next != NULL)
        e->next->prev = e;
}

/* Take a call whose beginning is `e`, if it fits and leads somewhere new. */
static bool take(struct search *s, struct event *e)
{
    const struct linear_op *op = e->op;
    uint32_t state = op->kind == LINEAR_PUT ? op->id : s->state;

    if (op->kind != LINEAR_PUT && op->id != s->state)
        return false;
    if (op->kind == LINEAR_FOUND && s->durable_left != 0)
        return false;
    s->set[e->no / 64] ^= UINT64_C(1) << e->no % 64;
    if (!is_new(s, state)) {
        s->set[e->no / 64] ^= UINT64_C(1) << e->no % 64;
        return false;
    }
    cut(e);
    if (e->end != NULL)
        cut(e->end), s->open--;
    s->durable_left -= op->durable;
    s->before[s->depth] = s->state;
    s->taken[s->depth++] = e;
    s->state = state;
    return true;
}

static struct event *take_back(struct search *s)
{
    struct event *e = s->taken[--s->depth];

    s->state = s->before[s->depth];
    s->durable_left += e->op->durable;
    if (e->end != NULL)
        put_back(e->end), s->open++;
    put_back(e);
    s->set[e->no / 64] ^= UINT64_C(1) << e->no % 64;
    return e;
}

static bool run(struct search *s, char *why)
{
    struct event *e = s->head.next, *far = NULL;
    size_t deepest = 0;

    for (unsigned steps = 0; s->open > 0; steps++) {
        if (steps == STEPS_MAX) {
            (void)snprintf(why, LINEAR_WHY_BYTES, "not decided in %u steps", STEPS_MAX);
            return false;
        }
        if (e->end != NULL || e->op->ended == LINEAR_NEVER) { /* a beginning */
            e = take(s, e) ? s->head.next : e->next;
            continue;
        }
        if (s->depth >= deepest) {
            deepest = s->depth;
            far = e;
        }
        if (s->depth == 0) {
            static const char *const names[] = {"put", "get", "found"};

            (void)snprintf(
                why, LINEAR_WHY_BYTES,
                "no order of the calls explains them; after %zu calls: %s %u from %llu to %llu",
                deepest, names[far->op->kind], far->op->id, (unsigned long long)far->op->began,
                (unsigned long long)far->op->ended);
            return false;
        }
        e = take_back(s)->next;
    }
    return true;
}

static int by_time(const void *a, const void *b)
{
    const struct event *x = a, *y = b;

    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return (x->end == NULL) - (y->end == NULL); /* at one time beginnings come first */
}

static int by_begin(const void *a, const void *b)
{
    const struct linear_op *x = a, *y = b;

    return (x->began > y->began) - (x->began < y->began);
}

bool linear_check_key(struct linear_op *ops, size_t count, uint32_t start,
                      char why[LINEAR_WHY_BYTES])
{
    struct search s = {.state = start, .words = count / 64 + 1};
    struct event **begin = array(count, sizeof(struct event *));
    size_t n = 0;
    bool fine;

    qsort(ops, count, sizeof(ops[0]), by_begin);
    s.events = array(2 * count, sizeof(struct event));
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind != LINEAR_PUT && ops[i].ended == LINEAR_NEVER)
            continue; /* a read without an answer says nothing */
        /* `end` is set below, once the events have their places; not NULL means "a beginning". */
        s.events[n++] = (struct event){&ops[i], &s.head, NULL, NULL, ops[i].began, i};
        if (ops[i].ended != LINEAR_NEVER) {
            s.events[n++] = (struct event){&ops[i], NULL, NULL, NULL, ops[i].ended, i};
            s.open++;
        }
        s.durable_left += ops[i].durable;
    }
    qsort(s.events, n, sizeof(struct event), by_time);
    for (size_t i = 0; i < n; i++) {
        struct event *e = &s.events[i];

        e->prev = i == 0 ? &s.head : e - 1;
        e->next = i + 1 == n ? NULL : e + 1;
        if (e->end != NULL)
            begin[e->no] = e, e->end = NULL;
        else
            begin[e->no]->end = e;
    }
    s.head.next = n == 0 ? NULL : s.events;
    s.taken = array(count, sizeof(struct event *));
    s.before = array(count, sizeof(uint32_t));
    s.set = (uint64_t *)array(s.words + 1, sizeof(uint64_t)) + 1;
    s.memory.words = s.words + 1;
    fine = run(&s, why);
    free(s.memory.rows);
    free(s.set - 1);
    free(s.before);
    free(s.taken);
    free(s.events);
    free(begin);
    return fine;
}
