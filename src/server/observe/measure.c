/* measure.c - counting what requests took, and adding it up. */
#include "server/observe/measure.h"

#include "server/loop.h"
#include "server/redis/call.h"
#include "server/rest/route.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

/* Memory of kinds that are never asked for is never touched, so the kernel does not give it. */
bool measure_init(struct measure *m)
{
    m->now = ticks_now();
    m->tallies = alloc_array(measure_kinds(), sizeof(*m->tallies));
    return m->tallies != NULL;
}

void measure_free(struct measure *m)
{
    alloc_free(m->tallies);
}

void measure_resume(const struct measure *m, struct asked *a, enum waited_for what)
{
    uint64_t waited = ticks_between(a->begun, m->now);

    if (waited > a->waited)
        a->waited_for = (uint8_t)what;
    a->waited += waited;
    a->begun = m->now;
}

void measure_handed(struct measure *m)
{
    if (m->handed_count == 0)
        return;
    m->now = ticks_now();
    for (unsigned i = 0; i < m->handed_count; i++) {
        const struct handed *h = &m->handed[i];
        struct tally *t = &m->tallies[h->kind];
        uint64_t took = ticks_between(h->arrived, m->now);

        count_own(&t->outcomes[h->outcome], 1);
        if (h->outcome == OUTCOME_REJECTED)
            continue; /* it was not begun: there is nothing to measure */
        histogram_add(&t->took, ticks_units(took));
        count_own(&t->took_ticks, took);
        count_own(&t->waited_ticks, h->waited);
    }
    m->handed_count = 0;
}

void measure_error(struct measure *m, struct quern_slice word)
{
    unsigned known = atomic_load_explicit(&m->error_words, memory_order_relaxed), i = 0;

    if (word.len >= ERROR_WORD_BYTES)
        word.len = ERROR_WORD_BYTES - 1;
    while (i < known && (memcmp(m->errors[i].word, word.data, word.len) != 0 ||
                         m->errors[i].word[word.len] != '\0'))
        i++;
    if (i == ERROR_WORDS)
        return; /* we have not so many */
    if (i == known) {
        memcpy(m->errors[i].word, word.data, word.len);
        count_own(&m->errors[i].count, 1);
        atomic_store_explicit(&m->error_words, known + 1, memory_order_release);
        return;
    }
    count_own(&m->errors[i].count, 1);
}

/* ------------------------------------------------------------------ kinds -- */

unsigned measure_kind_of_no_route(void)
{
    return route_count();
}

unsigned measure_kind_of_command(unsigned number)
{
    return route_count() + 1 + number;
}

unsigned measure_kinds(void)
{
    return measure_kind_of_command(command_numbers()) + 1;
}

bool measure_kind_is_command(unsigned kind)
{
    return kind > measure_kind_of_no_route();
}

const char *measure_kind_name(unsigned kind, char to[KIND_NAME_BYTES])
{
    char name[COMMAND_NAME_BYTES];

    if (!measure_kind_is_command(kind)) {
        route_name(kind, to, KIND_NAME_BYTES);
        return to;
    }
    kind -= measure_kind_of_command(0);
    (void)snprintf(to, KIND_NAME_BYTES, "%s",
                   kind == command_numbers() ? "unknown"
                                             : command_full_name(command_numbered(kind), name));
    return to;
}

/* ------------------------------------------------------------------ sums -- */

bool measure_sum(struct server *server, unsigned kind, struct measure_sum *out)
{
    uint64_t took = 0, waited = 0, all = 0;

    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < server->loop_count; i++) {
        const struct tally *t = &server->loops[i]->measure.tallies[kind];

        for (unsigned o = 0; o < OUTCOMES; o++) {
            uint64_t n = atomic_load_explicit(&t->outcomes[o], memory_order_relaxed);

            out->outcomes[o] += n;
            all += n;
        }
        if (all == 0)
            continue;
        histogram_merge(&out->took, &t->took);
        took += atomic_load_explicit(&t->took_ticks, memory_order_relaxed);
        waited += atomic_load_explicit(&t->waited_ticks, memory_order_relaxed);
    }
    out->took_units = ticks_units(took);
    out->waited_units = ticks_units(waited < took ? waited : took);
    return all > 0;
}

unsigned measure_errors(struct server *server, struct error_word out[ERROR_WORDS])
{
    unsigned n = 0;

    for (unsigned i = 0; i < server->loop_count; i++) {
        const struct measure *m = &server->loops[i]->measure;
        unsigned known = atomic_load_explicit(&m->error_words, memory_order_acquire);

        for (unsigned w = 0; w < known; w++) {
            uint64_t times = atomic_load_explicit(&m->errors[w].count, memory_order_relaxed);
            unsigned at = 0;

            while (at < n && strcmp(out[at].word, m->errors[w].word) != 0)
                at++;
            if (at == ERROR_WORDS)
                continue;
            if (at == n) {
                (void)strcpy(out[at].word, m->errors[w].word);
                atomic_init(&out[at].count, 0);
                n++;
            }
            count_own(&out[at].count, times);
        }
    }
    return n;
}

const char *waited_for_name(enum waited_for what)
{
    static const char *const names[WAITED_KINDS] = {"work",   "others", "client",    "disk",
                                                    "commit", "sync",   "background"};

    return names[what];
}
