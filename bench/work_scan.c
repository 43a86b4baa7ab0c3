/* work_scan.c - how fast does it walk? Through everything in both directions, a few steps from a
 * random key, with a view of its own for each such walk, as a service that answers ranges has; over
 * what was deleted; and how fast does it count?
 *
 * Keys must rise (or fall), values must be whole, and a walk from end to end must meet every
 * entry. */
#include "work.h"

#include <inttypes.h>
#include <string.h>

#define COUNT_ENTRIES 10000u

static void check_pair(const struct worker *w, const struct pair *p)
{
    if (p->key.len != w->bench->data.key_bytes || !value_is_whole(&w->bench->data, p->value))
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
            int order = memcmp(p.key.data, w->scan_key, w->bench->data.key_bytes);

            if (forward ? order <= 0 : order >= 0)
                die("%s: a scan met keys out of order", w->bench->engine->name);
        } else {
            if (w->scan_seen != w->bench->live)
                die("%s: a scan met %" PRIu64 " entries of %" PRIu64, w->bench->engine->name,
                    w->scan_seen, w->bench->live);
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
    memcpy(w->scan_key, p.key.data, w->bench->data.key_bytes);
    w->scan_seen++;
}

void step_forward(struct worker *w, uint64_t i)
{
    (void)i;
    step(w, true);
}

void step_back(struct worker *w, uint64_t i)
{
    (void)i;
    step(w, false);
}

void step_finish(struct worker *w)
{
    if (w->scanning)
        w->call->scan_end(w->session);
    w->scanning = false;
}

/* Seek to the key of `slot`; the scan must then stand on that of `found`. */
static void seek_to(struct worker *w, uint64_t slot, uint64_t found, struct pair *p)
{
    const struct data *d = &w->bench->data;
    uint8_t key[KEY_BYTES_MAX], expected[KEY_BYTES_MAX];

    key_make(d, slot, key);
    key_make(d, found, expected);
    if (!w->call->scan_seek(w->session, key_of(w, key), p) || p->key.len != d->key_bytes ||
        memcmp(p->key.data, expected, d->key_bytes) != 0 || !value_is_of(d, found, p->value))
        die("%s: seek to %" PRIu64 " did not find %" PRIu64, w->bench->engine->name, slot, found);
}

void seek_slot(struct worker *w, uint64_t slot, unsigned steps, bool forward)
{
    const struct adapter *call = w->call;
    struct pair p;

    call->scan_begin(w->session);
    seek_to(w, slot, slot, &p);
    for (unsigned k = 0; k < steps; k++) {
        if (!(forward ? call->scan_next(w->session, &p) : call->scan_prev(w->session, &p)))
            break;
        check_pair(w, &p);
    }
    call->scan_end(w->session);
}

void seek_and_walk(struct worker *w, uint64_t i)
{
    (void)i;
    seek_slot(w, 2 * random_below(&w->random, w->bench->data.num), w->job->what->arg, true);
}

void seek_and_walk_back(struct worker *w, uint64_t i)
{
    (void)i;
    seek_slot(w, 2 * random_below(&w->random, w->bench->data.num), w->job->what->arg, false);
}

/* To a key inside the stretch that was deleted, from where the next one living is far away. */
void seek_deleted(struct worker *w, uint64_t i)
{
    uint64_t num = w->bench->data.num, first = stretch_first(num), count = stretch_count(num);
    struct pair p;

    (void)i;
    w->call->scan_begin(w->session);
    seek_to(w, 2 * (first + random_below(&w->random, count)), 2 * (first + count), &p);
    w->call->scan_end(w->session);
}

/* ------------------------------------------------------------------ counting -- */

static uint64_t count_by_walking(struct worker *w, uint64_t from, struct bytes to)
{
    uint64_t seen = 0;
    struct pair p;

    w->call->scan_begin(w->session);
    seek_to(w, from, from, &p);
    while (memcmp(p.key.data, to.data, to.len) < 0) {
        seen++;
        if (!w->call->scan_next(w->session, &p))
            break;
    }
    w->call->scan_end(w->session);
    return seen;
}

void count_range(struct worker *w, uint64_t i)
{
    const struct data *d = &w->bench->data;
    uint64_t wanted = COUNT_ENTRIES < d->num / 2 ? COUNT_ENTRIES : d->num / 2, counted;
    uint64_t from = 2 * random_below(&w->random, d->num - wanted);
    uint8_t from_key[KEY_BYTES_MAX], to_key[KEY_BYTES_MAX];

    (void)i;
    key_make(d, from, from_key);
    key_make(d, from + 2 * wanted, to_key);
    if (w->call->count != NULL)
        counted = w->call->count(w->session, key_of(w, from_key), key_of(w, to_key));
    else
        counted = count_by_walking(w, from, key_of(w, to_key));
    if (counted != wanted)
        die("%s: counted %" PRIu64 " keys of %" PRIu64, w->bench->engine->name, counted, wanted);
}
