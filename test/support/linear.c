/* linear.c - the check by witness: writes in the order of their numbers, reads between them.
 *
 *     writes by number     w1   w2   w3   w4   w5
 *     points             0    1    2    3    4    5      point p: after the first p writes
 *     a read                  [---- low .. high ---]     low: all that ended before it began, and
 *                                                        no earlier than reads that ended before it
 *                                                        high: none that began after it ended
 *
 * Reads are placed in the order in which they began, each at the lowest point that shows what it
 * saw. That is the best choice for those that follow, as nothing but `low` depends on it; so when a
 * read finds no place there is none, whatever the others do. */
#include "linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change {
    size_t point; /* the first at which it shows */
    uint32_t id;  /* 0: removed */
};

struct moment { /* of a write or a read: a time, and a point */
    uint64_t time;
    size_t point;
};

struct checker {
    struct linear_history *h;
    char *why;
    struct linear_write **by_seq; /* those that happened */
    size_t count;
    struct change *changes[LINEAR_KEYS];
    size_t change_count[LINEAR_KEYS];
    struct moment *ends;   /* of writes, by time; point: the highest so far */
    struct moment *begins; /* of writes, by time; point: the lowest from here on */
};

static void *array(size_t count, size_t bytes)
{
    void *p = calloc(count + 1, bytes);

    if (p == NULL)
        abort();
    return p;
}

#define NO(c, ...) ((void)snprintf((c)->why, LINEAR_WHY_BYTES, __VA_ARGS__), false)

static uint32_t id_of(const struct checker *c, const struct linear_write *w)
{
    return c->h->first_id + (uint32_t)(w - c->h->writes);
}

/* NULL: none of this history, or of this key. */
static struct linear_write *writer(const struct checker *c, uint32_t id, unsigned key)
{
    size_t i = id - c->h->first_id;

    if (id < c->h->first_id || i >= c->h->write_count || c->h->writes[i].began == 0 ||
        (c->h->writes[i].puts >> key & 1) == 0)
        return NULL;
    return &c->h->writes[i];
}

/* What reads tell of numbers must agree with what is known, and adds to it. */
static bool learn(struct checker *c)
{
    for (size_t r = 0; r < c->h->read_count; r++) {
        const struct linear_read *read = &c->h->reads[r];

        for (unsigned k = 0; k < LINEAR_KEYS; k++) {
            struct linear_write *w;

            if ((read->keys >> k & 1) == 0 || read->id[k] == 0 || read->id[k] == c->h->start[k])
                continue;
            w = writer(c, read->id[k], k);
            if (w == NULL)
                return NO(c, "key %u shows %" PRIu32 ", which nobody wrote there now", k,
                          read->id[k]);
            if (w->began > read->ended)
                return NO(c, "key %u shows %" PRIu32 " before it was written", k, read->id[k]);
            if (w->seq == 0)
                w->seq = read->id_seq[k];
            if (w->seq != read->id_seq[k])
                return NO(c,
                          "write %" PRIu32 " has the number %" PRIu64 ", and %" PRIu64 " on key %u",
                          read->id[k], w->seq, read->id_seq[k], k);
        }
    }
    return true;
}

static int by_number(const void *a, const void *b)
{
    const struct linear_write *x = *(struct linear_write *const *)a;
    const struct linear_write *y = *(struct linear_write *const *)b;

    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;

    return (x->time > y->time) - (x->time < y->time);
}

static bool order_writes(struct checker *c)
{
    for (size_t i = 0; i < c->h->write_count; i++)
        if (c->h->writes[i].began != 0 && c->h->writes[i].seq != 0)
            c->by_seq[c->count++] = &c->h->writes[i];
        else if (c->h->writes[i].began != 0 && c->h->writes[i].ended != LINEAR_NEVER)
            return NO(c, "write %" PRIu32 " was acknowledged and has no number",
                      id_of(c, &c->h->writes[i]));
    qsort(c->by_seq, c->count, sizeof(struct linear_write *), by_number);
    for (size_t i = 0; i < c->count; i++) {
        const struct linear_write *w = c->by_seq[i];
        uint64_t before = i == 0 ? c->h->start_seq : c->by_seq[i - 1]->seq;

        if (w->seq <= before)
            return NO(c, "write %" PRIu32 " has the number %" PRIu64 ", which was given out before",
                      id_of(c, w), w->seq);
        c->ends[i] = (struct moment){w->ended, i + 1};
        c->begins[i] = (struct moment){w->began, i + 1};
        for (unsigned k = 0; k < LINEAR_KEYS; k++)
            if ((w->puts | w->deletes) >> k & 1)
                c->changes[k][c->change_count[k]++] =
                    (struct change){i + 1, w->puts >> k & 1 ? id_of(c, w) : 0};
    }
    qsort(c->ends, c->count, sizeof(struct moment), by_time);
    qsort(c->begins, c->count, sizeof(struct moment), by_time);
    for (size_t i = 1; i < c->count; i++)
        if (c->ends[i].point < c->ends[i - 1].point)
            c->ends[i].point = c->ends[i - 1].point;
    for (size_t i = c->count; i-- > 1;)
        if (c->begins[i - 1].point > c->begins[i].point)
            c->begins[i - 1].point = c->begins[i].point;
    return true;
}

/* How many of the moments lie before `time`; with `same`, those at that time too. */
static size_t before(const struct moment *m, size_t count, uint64_t time, bool same)
{
    size_t low = 0;

    while (low < count) {
        size_t mid = low + (count - low) / 2;

        if (m[mid].time < time || (same && m[mid].time == time))
            low = mid + 1;
        else
            count = mid;
    }
    return low;
}

/* The point of all writes that ended before `time`. */
static size_t lowest(const struct checker *c, uint64_t time)
{
    size_t n = before(c->ends, c->count, time, false);

    return n == 0 ? 0 : c->ends[n - 1].point;
}

/* The point before all writes that began after `time`. */
static size_t highest(const struct checker *c, uint64_t time)
{
    size_t n = before(c->begins, c->count, time, true);

    return n == c->count ? c->count : c->begins[n].point - 1;
}

static bool check_writes(struct checker *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (lowest(c, c->by_seq[i]->began) > i)
            return NO(c,
                      "write %" PRIu32 " has the number %" PRIu64
                      ", lower than one that ended before it began",
                      id_of(c, c->by_seq[i]), c->by_seq[i]->seq);
    return true;
}

/* Which change of a key shows at a point: its index + 1, 0: the start. */
static size_t shown(const struct checker *c, unsigned key, size_t point)
{
    size_t low = 0, high = c->change_count[key];

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->changes[key][mid].point <= point)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The lowest point from `low` on that shows what was read; above `high` when there is none. */
static size_t place(const struct checker *c, const struct linear_read *r, size_t low, size_t high)
{
    unsigned agreed = 0;

    if (r->count != LINEAR_NO_COUNT) {
        if (r->count < c->h->start_count + low || r->count > c->h->start_count + high)
            return high + 1;
        low = high = (size_t)(r->count - c->h->start_count);
    }
    for (unsigned k = 0; agreed < LINEAR_KEYS; k = (k + 1) % LINEAR_KEYS) {
        size_t at = shown(c, k, low);
        uint32_t id = at == 0 ? c->h->start[k] : c->changes[k][at - 1].id;

        if ((r->keys >> k & 1) == 0 || id == r->id[k]) {
            agreed++;
            continue;
        }
        if (at == c->change_count[k] || c->changes[k][at].point > high)
            return high + 1;
        low = c->changes[k][at].point;
        agreed = 0;
    }
    return low;
}

static bool describe(const struct checker *c, const struct linear_read *r, size_t low, size_t high)
{
    size_t n = (size_t)snprintf(
        c->why, LINEAR_WHY_BYTES,
        "a read from %" PRIu64 " to %" PRIu64 "%s fits no point of %zu..%zu:", r->began, r->ended,
        r->seq != 0 ? " at its number" : "", low, high);

    for (unsigned k = 0; k < LINEAR_KEYS && n < LINEAR_WHY_BYTES; k++)
        if (r->keys >> k & 1) {
            size_t at = shown(c, k, low);

            n += (size_t)snprintf(c->why + n, LINEAR_WHY_BYTES - n,
                                  " key %u %" PRIu32 " (%" PRIu32 ")", k, r->id[k],
                                  at == 0 ? c->h->start[k] : c->changes[k][at - 1].id);
        }
    if (r->count != LINEAR_NO_COUNT && n < LINEAR_WHY_BYTES)
        (void)snprintf(c->why + n, LINEAR_WHY_BYTES - n, " count %" PRIu64 " from %" PRIu64,
                       r->count, c->h->start_count);
    return false;
}

static int by_begin(const void *a, const void *b)
{
    const struct linear_read *x = a, *y = b;

    return (x->began > y->began) - (x->began < y->began);
}

static size_t points_upto(const struct checker *c, uint64_t seq)
{
    size_t n = 0, high = c->count;

    while (n < high) {
        size_t mid = n + (high - n) / 2;

        if (c->by_seq[mid]->seq <= seq)
            n = mid + 1;
        else
            high = mid;
    }
    return n;
}

/* Reads in the order in which they began; the highest point of those that ended is kept in a heap's
 * stead by a second order, of ends. */
static bool check_reads(struct checker *c)
{
    struct linear_history *h = c->h;
    struct moment *done = array(h->read_count, sizeof(*done)); /* a heap: the earliest end on top */
    size_t heap = 0, passed = 0;
    bool fine = true;

    qsort(h->reads, h->read_count, sizeof(h->reads[0]), by_begin);
    for (size_t i = 0; fine && i < h->read_count; i++) {
        const struct linear_read *r = &h->reads[i];
        size_t low = lowest(c, r->began), high = highest(c, r->ended), point, at;

        while (heap > 0 && done[0].time < r->began) { /* ended before this one began */
            struct moment last = done[--heap];

            if (done[0].point > passed)
                passed = done[0].point;
            for (at = 0; 2 * at + 1 < heap;) {
                size_t child = 2 * at + 1;

                child += child + 1 < heap && done[child + 1].time < done[child].time;
                if (last.time <= done[child].time)
                    break;
                done[at] = done[child];
                at = child;
            }
            done[at] = last;
        }
        if (low < passed)
            low = passed;
        if (r->seq != 0) {
            size_t exact = points_upto(c, r->seq);

            if (exact < low || exact > high)
                fine = NO(c, "a read at number %" PRIu64 ": point %zu is not in %zu..%zu", r->seq,
                          exact, low, high);
            low = high = exact;
        }
        point = fine ? place(c, r, low, high) : 0;
        if (fine && point > high)
            fine = describe(c, r, low, high);
        for (at = heap++; at > 0 && done[(at - 1) / 2].time > r->ended; at = (at - 1) / 2)
            done[at] = done[(at - 1) / 2];
        done[at] = (struct moment){r->ended, point};
    }
    free(done);
    return fine;
}

bool linear_check(struct linear_history *h, char why[LINEAR_WHY_BYTES])
{
    struct checker c = {.h = h, .why = why};
    bool fine;

    c.by_seq = array(h->write_count, sizeof(struct linear_write *));
    c.ends = array(h->write_count, sizeof(struct moment));
    c.begins = array(h->write_count, sizeof(struct moment));
    for (unsigned k = 0; k < LINEAR_KEYS; k++)
        c.changes[k] = array(h->write_count, sizeof(struct change));
    fine = learn(&c) && order_writes(&c) && check_writes(&c) && check_reads(&c);
    for (unsigned k = 0; k < LINEAR_KEYS; k++)
        free(c.changes[k]);
    free(c.by_seq);
    free(c.ends);
    free(c.begins);
    return fine;
}

/* ---- after a crash ---- */

/* What wants to be synced is durable before it is visible. */
static bool seen_is_kept(struct checker *c, const uint64_t *kept)
{
    for (size_t r = 0; r < c->h->read_count; r++)
        for (unsigned k = 0; k < LINEAR_KEYS; k++) {
            uint32_t id = c->h->reads[r].id[k];
            struct linear_write *w =
                c->h->reads[r].keys >> k & 1 && id != 0 ? writer(c, id, k) : NULL;

            if (w != NULL && w->sync && kept[w - c->h->writes] == 0)
                return NO(c, "write %" PRIu32 " was to be synced, was seen, and is lost", id);
        }
    return true;
}

bool linear_check_kept(struct linear_history *h, const uint64_t *kept, bool power,
                       char why[LINEAR_WHY_BYTES])
{
    struct checker c = {.h = h, .why = why};
    uint64_t last = h->start_seq;

    if (!learn(&c))
        return false;
    for (size_t i = 0; i < h->write_count; i++)
        if (kept[i] > last)
            last = kept[i];
    for (size_t i = 0; i < h->write_count; i++) {
        struct linear_write *w = &h->writes[i];
        bool answered = w->ended != LINEAR_NEVER;
        uint32_t id = id_of(&c, w);

        if (w->began == 0 && kept[i] != 0)
            return NO(&c, "write %" PRIu32 " is there, and nobody made it", id);
        if (w->began == 0)
            continue;
        if (kept[i] != 0 && w->seq != 0 && w->seq != kept[i])
            return NO(&c,
                      "write %" PRIu32 " had the number %" PRIu64 " and came back with %" PRIu64,
                      id, w->seq, kept[i]);
        if (kept[i] != 0) {
            w->seq = kept[i];
            continue;
        }
        if (answered && !power)
            return NO(&c, "write %" PRIu32 " was acknowledged and is lost", id);
        if (answered && (w->sync || w->ended < h->synced))
            return NO(&c, "write %" PRIu32 " was durable and is lost", id);
        if (w->seq != 0 && w->seq <= last)
            return NO(&c,
                      "write %" PRIu32 " (number %" PRIu64 ") is lost, and %" PRIu64 " is there",
                      id, w->seq, last);
    }
    return seen_is_kept(&c, kept);
}

void linear_state_kept(const struct linear_history *h, const uint64_t *kept,
                       uint32_t state[LINEAR_KEYS], uint64_t *seq, uint64_t *count)
{
    uint64_t newest[LINEAR_KEYS] = {0};

    memmove(state, h->start, LINEAR_KEYS * sizeof(state[0]));
    *seq = h->start_seq;
    *count = h->start_count;
    for (size_t i = 0; i < h->write_count; i++) {
        if (kept[i] == 0)
            continue;
        (*count)++;
        if (kept[i] > *seq)
            *seq = kept[i];
        for (unsigned k = 0; k < LINEAR_KEYS; k++)
            if (((h->writes[i].puts | h->writes[i].deletes) >> k & 1) && kept[i] > newest[k]) {
                newest[k] = kept[i];
                state[k] = h->writes[i].puts >> k & 1 ? h->first_id + (uint32_t)i : 0;
            }
    }
}
