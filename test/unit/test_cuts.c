/* test_cuts.c - lists of range deletes say of every key what the range deletes themselves say, to
 * whoever may look. */
#include "tap.h"

#include "base/alloc.h"
#include "base/cuts.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 40
#define CUTS_MOST 30
#define SEQ_MOST 60

static struct quern_error err;

/* Key 0 is the empty one: a bound that stands for none. */
static struct quern_slice key_of(unsigned n)
{
    static char text[KEYS + 1][8];

    if (n == 0)
        return slice_of("", 0);
    snprintf(text[n], sizeof(text[n]), n % 3 == 0 ? "%03u" : "%03ux", n);
    return slice_of(text[n], strlen(text[n]));
}

struct world {
    uint64_t random;
    struct cut cut[CUTS_MOST];
    size_t count;
    quern_seq pins[8];
    size_t pin_count;
};

static unsigned draw(struct world *w, unsigned below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(w->random >> 33) % below;
}

static void add_cut(struct world *w)
{
    unsigned from = draw(w, KEYS), to = draw(w, 4) == 0 ? 0 : draw(w, KEYS + 1);

    w->cut[w->count++] = (struct cut){key_of(from), key_of(to), 1 + draw(w, SEQ_MOST)};
}

static quern_seq newest_of(const struct world *w, struct quern_slice key, quern_seq seq)
{
    quern_seq newest = 0;

    for (size_t i = 0; i < w->count; i++)
        if (cut_covers(&w->cut[i], key) && w->cut[i].seq <= seq && w->cut[i].seq > newest)
            newest = w->cut[i].seq;
    return newest;
}

static bool in_order(const struct cuts *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct cut *a = &c->piece[i], *b = a + 1;

        if (cut_is_empty(a))
            return false;
        if (i + 1 == c->count)
            continue;
        if (key_equal(a->start, b->start) ? !key_equal(a->end, b->end) || a->seq <= b->seq
                                          : a->end.len == 0 || key_compare(a->end, b->start) > 0)
            return false;
    }
    return true;
}

/* Does the list say the same of every key, to those at `seq`? */
static bool says(const struct world *w, const struct cuts *c, quern_seq seq)
{
    for (unsigned n = 0; n < KEYS; n++) {
        struct quern_slice key = key_of(n);
        quern_seq want = newest_of(w, key, seq);
        struct cut_span span = {.seq = 0};

        if ((c != NULL ? cuts_newest(c, key, seq) : 0) != want)
            return false;
        if (c == NULL)
            continue;
        cuts_narrow(c, key, seq, &span);
        if (span.seq != want || !cut_span_has(&span, key))
            return false;
        for (unsigned k = 0; k < KEYS; k++)
            if (cut_span_has(&span, key_of(k)) && newest_of(w, key_of(k), seq) != want)
                return false;
    }
    return true;
}

static void put_u32be(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void draw_world(struct world *w, uint64_t seed)
{
    *w = (struct world){.random = seed};
    for (unsigned n = 1 + draw(w, CUTS_MOST - 1); n > 0; n--)
        add_cut(w);
    for (quern_seq seq = 1; seq < SEQ_MOST && w->pin_count < 8; seq++)
        if (draw(w, 12) == 0)
            w->pins[w->pin_count++] = seq;
}

TEST(a_list_hides_from_everybody_what_the_range_deletes_hide)
{
    for (uint64_t round = 0; round < 400; round++) {
        struct cuts *all, *some, *again;
        struct cut_pins pins;
        struct world w;
        size_t half;

        draw_world(&w, tap_seed() + round);
        pins = (struct cut_pins){w.pins, w.pin_count};
        half = draw(&w, (unsigned)w.count + 1);
        CHECK_OK(cuts_new(NULL, w.cut, w.count, pins, &all, &err), &err);
        CHECK_OK(cuts_new(NULL, w.cut, half, pins, &some, &err), &err);
        CHECK_OK(cuts_new(some, w.cut + half, w.count - half, pins, &again, &err), &err);
        CHECK(says(&w, all, UINT64_MAX));
        CHECK(says(&w, again, UINT64_MAX));
        CHECK(all == NULL || (in_order(all) && in_order(again)));
        CHECK(all == NULL || again->count == all->count);
        for (size_t i = 0; i < w.pin_count; i++)
            CHECK(says(&w, all, w.pins[i]) && says(&w, again, w.pins[i]));
        cuts_unref(all);
        cuts_unref(some);
        cuts_unref(again);
    }
}

TEST(what_nobody_tells_apart_is_one_piece)
{
    struct cut cut[] = {{key_of(3), key_of(9), 5}, {key_of(9), key_of(12), 5},
                        {key_of(1), key_of(0), 4}, {key_of(4), key_of(5), 2},
                        {key_of(7), key_of(7), 9}, {key_of(8), key_of(7), 9}};
    quern_seq pin = 4;
    struct cuts *c;

    CHECK_OK(cuts_new(NULL, cut, ARRAY_LEN(cut), (struct cut_pins){NULL, 0}, &c, &err), &err);
    CHECK_EQ(c->count, 3); /* up to 3, up to 12, and the rest */
    CHECK_EQ(c->seq_min, 4);
    CHECK_EQ(c->seq_max, 5);
    cuts_unref(c);
    CHECK_OK(cuts_new(NULL, cut, ARRAY_LEN(cut), (struct cut_pins){&pin, 1}, &c, &err), &err);
    CHECK_EQ(c->count, 4); /* who is at 4 sees that one in the middle too */
    cuts_unref(c);
    CHECK_OK(cuts_new(NULL, cut + 4, 2, (struct cut_pins){NULL, 0}, &c, &err), &err);
    CHECK(c == NULL);
}

/* One inside the other, newer ones inside or outside: a list of each shape takes little time. */
TEST(a_hundred_thousand_nested_range_deletes_make_a_list)
{
    enum { MANY = 100000 };
    struct cut *cut = calloc(MANY, sizeof(*cut));
    uint8_t(*keys)[4] = calloc(2 * MANY, sizeof(*keys));

    CHECK(cut != NULL && keys != NULL);
    for (unsigned i = 0; i < 2 * MANY; i++)
        put_u32be(keys[i], i + 1);
    for (int inner_is_newer = 0; inner_is_newer < 2; inner_is_newer++) {
        struct cuts *c;

        for (unsigned i = 0; i < MANY; i++)
            cut[i] = (struct cut){slice_of(keys[i], 4), slice_of(keys[2 * MANY - 1 - i], 4),
                                  inner_is_newer ? i + 1 : MANY - i};
        CHECK_OK(cuts_new(NULL, cut, MANY, (struct cut_pins){NULL, 0}, &c, &err), &err);
        CHECK_EQ(c->count, inner_is_newer ? 2 * MANY - 1 : 1);
        CHECK_EQ(cuts_newest(c, slice_of(keys[MANY - 1], 4), UINT64_MAX), MANY);
        cuts_unref(c);
    }
    free(cut);
    free(keys);
}

TEST(pieces_are_picked_and_memory_may_run_out)
{
    bool wanted[] = {true, false, true};
    struct cut cut[] = {
        {key_of(1), key_of(3), 1}, {key_of(5), key_of(7), 2}, {key_of(9), key_of(0), 3}};
    struct cuts *c, *picked;
    enum quern_code code;

    CHECK_OK(cuts_new(NULL, cut, 3, (struct cut_pins){NULL, 0}, &c, &err), &err);
    CHECK_OK(cuts_pick(c, wanted, &picked, &err), &err);
    CHECK_EQ(picked->count, 2);
    CHECK_EQ(cuts_newest(picked, key_of(5), UINT64_MAX), 0);
    CHECK_EQ(cuts_newest(picked, key_of(2), UINT64_MAX), 1);
    CHECK_EQ(cuts_newest(picked, key_of(20), UINT64_MAX), 3);
    cuts_unref(picked);
    for (unsigned calls = 0;; calls++) {
        alloc_fail_after(calls);
        code = cuts_new(c, cut, 3, (struct cut_pins){NULL, 0}, &picked, &err);
        alloc_fail_never();
        if (code == QUERN_OK)
            break;
        CHECK_CODE(code, QUERN_NO_MEMORY);
        CHECK(picked == NULL);
    }
    cuts_unref(picked);
    cuts_unref(c);
}
