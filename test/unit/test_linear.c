/* test_linear.c - the checkers of test/support/linear.h on histories made by hand: each kind of
 * violation is caught, and what only looks like one is not. */
#include "linear.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define KEY(k) (UINT32_C(1) << (k))
#define MOST 16

/* A small history; times are small numbers. */
struct tale {
    struct linear_history h;
    struct linear_write writes[MOST];
    struct linear_read reads[MOST];
    uint64_t kept[MOST];
    char why[LINEAR_WHY_BYTES];
};

static void tell(struct tale *t)
{
    memset(t, 0, sizeof(*t));
    t->h.writes = t->writes;
    t->h.reads = t->reads;
    t->h.first_id = 101;
}

/* Returns the id. */
static uint32_t wrote(struct tale *t, uint64_t began, uint64_t ended, uint64_t seq, uint32_t puts)
{
    t->writes[t->h.write_count++] =
        (struct linear_write){.began = began, .ended = ended, .seq = seq, .puts = puts};
    return 100 + (uint32_t)t->h.write_count;
}

static struct linear_read *reads(struct tale *t, uint64_t began, uint64_t ended)
{
    struct linear_read *r = &t->reads[t->h.read_count++];

    *r = (struct linear_read){.began = began, .ended = ended, .count = LINEAR_NO_COUNT};
    return r;
}

static void saw(struct linear_read *r, unsigned key, uint32_t id, uint64_t seq)
{
    r->keys |= KEY(key);
    r->id[key] = id;
    r->id_seq[key] = seq;
}

static bool says(struct tale *t, bool fine, const char *words)
{
    if (!fine && words != NULL && strstr(t->why, words) == NULL)
        tap_note("it says: %s", t->why);
    return words == NULL ? fine : !fine && strstr(t->why, words) != NULL;
}

static bool check(struct tale *t, const char *words)
{
    return says(t, linear_check(&t->h, t->why), words);
}

TEST(a_history_with_overlaps_is_accepted)
{
    struct tale t;
    uint32_t a, b, c;

    tell(&t);
    a = wrote(&t, 1, 10, 5, KEY(0) | KEY(1));
    b = wrote(&t, 2, 9, 7, KEY(1) | KEY(2));
    c = wrote(&t, 11, 20, 8, KEY(0));
    saw(reads(&t, 1, 3), 0, 0, 0);
    saw(reads(&t, 3, 6), 1, a, 5);
    saw(reads(&t, 7, 8), 1, b, 7);
    saw(reads(&t, 12, 13), 0, c, 8);
    saw(reads(&t, 1, 13), 0, a, 5);
    CHECK(check(&t, NULL));
}

TEST(a_number_against_the_order_of_time_is_caught)
{
    struct tale t;

    tell(&t);
    (void)wrote(&t, 1, 2, 6, KEY(0));
    (void)wrote(&t, 3, 4, 5, KEY(1));
    CHECK(check(&t, "lower than one that ended before"));
}

TEST(a_number_given_twice_is_caught)
{
    struct tale t;

    tell(&t);
    (void)wrote(&t, 1, 5, 6, KEY(0));
    (void)wrote(&t, 2, 4, 6, KEY(1));
    CHECK(check(&t, "given out before"));
    tell(&t);
    t.h.start_seq = 6;
    (void)wrote(&t, 1, 5, 6, KEY(0));
    CHECK(check(&t, "given out before"));
}

TEST(a_number_that_differs_from_the_one_read_is_caught)
{
    struct tale t;

    tell(&t);
    saw(reads(&t, 3, 4), 0, wrote(&t, 1, 2, 6, KEY(0)), 7);
    CHECK(check(&t, "has the number"));
}

TEST(an_old_value_after_a_write_returned_is_caught)
{
    struct tale t;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, 2, 1, KEY(0));
    (void)wrote(&t, 3, 4, 2, KEY(0));
    saw(reads(&t, 5, 6), 0, a, 1);
    CHECK(check(&t, "fits no point"));
}

TEST(a_value_from_the_future_is_caught)
{
    struct tale t;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 5, 6, 1, KEY(0));
    saw(reads(&t, 1, 2), 0, a, 1);
    CHECK(check(&t, "before it was written"));
}

TEST(a_value_that_nobody_wrote_there_is_caught)
{
    struct tale t;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, 2, 1, KEY(0));
    saw(reads(&t, 3, 4), 1, a, 1);
    CHECK(check(&t, "nobody wrote"));
}

TEST(a_missing_key_after_its_write_returned_is_caught)
{
    struct tale t;

    tell(&t);
    (void)wrote(&t, 1, 2, 1, KEY(0));
    saw(reads(&t, 3, 4), 0, 0, 0);
    CHECK(check(&t, "fits no point"));
}

TEST(a_deleted_key_that_comes_back_is_caught)
{
    struct tale t;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, 2, 1, KEY(0));
    (void)wrote(&t, 3, 4, 2, 0);
    t.writes[1].deletes = KEY(0);
    saw(reads(&t, 5, 6), 0, a, 1);
    CHECK(check(&t, "fits no point"));
}

TEST(half_of_a_batch_is_caught)
{
    struct tale t;
    struct linear_read *r;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, 9, 1, KEY(0) | KEY(1));
    r = reads(&t, 2, 3);
    saw(r, 0, a, 1);
    saw(r, 1, 0, 0);
    CHECK(check(&t, "fits no point"));
}

/* Each key by itself shows values in order, but at no moment were both so. */
TEST(a_read_of_two_moments_is_caught)
{
    struct tale t;
    struct linear_read *r;
    uint32_t a, b;

    tell(&t);
    a = wrote(&t, 1, 2, 1, KEY(0));
    (void)wrote(&t, 3, 20, 2, KEY(0));
    b = wrote(&t, 4, 20, 3, KEY(1));
    r = reads(&t, 3, 19);
    saw(r, 0, a, 1);
    saw(r, 1, b, 3);
    CHECK(check(&t, "fits no point"));
}

TEST(time_that_runs_backwards_between_reads_is_caught)
{
    struct tale t;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, 20, 1, KEY(0));
    saw(reads(&t, 2, 3), 0, a, 1);
    saw(reads(&t, 4, 5), 0, 0, 0);
    CHECK(check(&t, "fits no point"));
    tell(&t); /* on two keys, by two readers */
    a = wrote(&t, 1, 20, 1, KEY(0));
    (void)wrote(&t, 2, 21, 2, KEY(1));
    saw(reads(&t, 3, 4), 1, 102, 2);
    saw(reads(&t, 5, 6), 0, 0, 0);
    CHECK(check(&t, "fits no point"));
}

TEST(a_snapshot_that_is_not_its_number_is_caught)
{
    struct tale t;
    struct linear_read *r;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, 9, 3, KEY(0));
    r = reads(&t, 2, 8);
    r->seq = 2;
    saw(r, 0, a, 3);
    CHECK(check(&t, "fits no point"));
    r->seq = 3;
    CHECK(check(&t, NULL));
    tell(&t); /* its number is older than what had returned */
    (void)wrote(&t, 1, 2, 3, KEY(0));
    r = reads(&t, 3, 8);
    r->seq = 2;
    CHECK(check(&t, "is not in"));
}

TEST(a_wrong_count_is_caught)
{
    struct tale t;

    tell(&t);
    t.h.start_count = 10;
    (void)wrote(&t, 1, 2, 3, KEY(0));
    (void)wrote(&t, 3, 9, 4, KEY(0));
    reads(&t, 4, 5)->count = 10;
    CHECK(check(&t, "count 10"));
    t.reads[0].count = 13;
    CHECK(check(&t, "count 13"));
    for (unsigned count = 11; count <= 12; count++) {
        t.reads[0].count = count;
        CHECK(check(&t, NULL));
    }
}

TEST(an_acknowledged_write_without_a_number_is_caught)
{
    struct tale t;

    tell(&t);
    (void)wrote(&t, 1, 2, 0, KEY(0));
    CHECK(check(&t, "no number"));
}

TEST(a_write_without_an_answer_may_be_seen_or_not)
{
    struct tale t;
    uint32_t a;

    tell(&t);
    a = wrote(&t, 1, LINEAR_NEVER, 0, KEY(0));
    saw(reads(&t, 3, 4), 0, 0, 0);
    CHECK(check(&t, NULL));
    saw(reads(&t, 5, 6), 0, a, 9);
    CHECK(check(&t, NULL));
    saw(reads(&t, 7, 8), 0, 0, 0);
    CHECK(check(&t, "fits no point"));
}

/* ---- crashes ---- */

static bool check_kept(struct tale *t, bool power, const char *words)
{
    return says(t, linear_check_kept(&t->h, t->kept, power, t->why), words);
}

static void three_writes(struct tale *t)
{
    tell(t);
    (void)wrote(t, 1, 2, 1, KEY(0));
    (void)wrote(t, 3, 4, 2, KEY(0));
    (void)wrote(t, 5, LINEAR_NEVER, 0, KEY(0));
    t->kept[0] = 1;
    t->kept[1] = 2;
    t->kept[2] = 3;
}

TEST(an_acknowledged_write_lost_by_a_kill_is_caught)
{
    struct tale t;

    three_writes(&t);
    CHECK(check_kept(&t, false, NULL));
    three_writes(&t);
    t.kept[2] = 0;
    CHECK(check_kept(&t, false, NULL));
    t.kept[1] = 0;
    CHECK(check_kept(&t, false, "acknowledged and is lost"));
    CHECK(check_kept(&t, true, NULL));
}

TEST(a_hole_after_a_power_cut_is_caught)
{
    struct tale t;

    three_writes(&t);
    t.kept[1] = 0;
    CHECK(check_kept(&t, true, "is lost, and 3 is there"));
}

TEST(a_durable_write_lost_by_a_power_cut_is_caught)
{
    struct tale t;

    three_writes(&t);
    t.kept[1] = t.kept[2] = 0;
    t.writes[1].sync = true;
    CHECK(check_kept(&t, true, "was durable and is lost"));
    t.writes[1].sync = false;
    CHECK(check_kept(&t, true, NULL));
    t.h.synced = 5;
    CHECK(check_kept(&t, true, "was durable and is lost"));
}

TEST(a_synced_write_that_was_seen_before_it_was_durable_is_caught)
{
    struct tale t;

    three_writes(&t);
    t.kept[2] = 0;
    saw(reads(&t, 6, 7), 0, 103, 3);
    CHECK(check_kept(&t, true, NULL));
    t.writes[2].sync = true;
    CHECK(check_kept(&t, true, "was seen, and is lost"));
}

TEST(a_write_that_comes_back_with_another_number_is_caught)
{
    struct tale t;

    three_writes(&t);
    t.kept[1] = 3;
    CHECK(check_kept(&t, true, "came back with 3"));
}

TEST(what_is_there_and_nobody_wrote_is_caught)
{
    struct tale t;

    three_writes(&t);
    t.writes[2].began = 0;
    CHECK(check_kept(&t, false, "nobody made it"));
}

TEST(the_state_after_a_crash_is_that_of_what_was_kept)
{
    struct tale t;
    uint32_t state[LINEAR_KEYS];
    uint64_t seq, count;

    three_writes(&t);
    t.h.start[1] = 55;
    t.h.start_count = 7;
    t.writes[1].deletes = KEY(1);
    t.kept[2] = 0;
    linear_state_kept(&t.h, t.kept, state, &seq, &count);
    CHECK_EQ(state[0], 102);
    CHECK_EQ(state[1], 0);
    CHECK_EQ(seq, 2);
    CHECK_EQ(count, 9);
}

/* ---- one key ---- */

#define PUT(id, from, to) ((struct linear_op){LINEAR_PUT, from, to, id, false})
#define SYNCED(id, from, to) ((struct linear_op){LINEAR_PUT, from, to, id, true})
#define GET(id, from, to) ((struct linear_op){LINEAR_GET, from, to, id, false})
#define FOUND(id, from, to) ((struct linear_op){LINEAR_FOUND, from, to, id, false})
#define NEVER LINEAR_NEVER

static bool key_is_fine(size_t count, const struct linear_op *ops)
{
    struct linear_op copy[MOST];
    char why[LINEAR_WHY_BYTES];

    memcpy(copy, ops, count * sizeof(*ops));
    return linear_check_key(copy, count, 0, why);
}
#define FINE(...)                                                                                  \
    key_is_fine(sizeof((struct linear_op[]){__VA_ARGS__}) / sizeof(struct linear_op),              \
                (struct linear_op[]){__VA_ARGS__})

TEST(one_key_overlapping_calls_may_take_any_order)
{
    CHECK(FINE(PUT(1, 1, 10), PUT(2, 2, 9), GET(2, 3, 4), GET(1, 5, 6)));
    CHECK(FINE(PUT(1, 1, 10), PUT(2, 2, 9), GET(1, 3, 4), GET(2, 5, 6)));
    CHECK(FINE(PUT(1, 1, 2), PUT(0, 3, 10), GET(1, 4, 5), GET(0, 4, 6)));
    CHECK(FINE(PUT(1, 1, 4), GET(1, 4, 5)));
    CHECK(FINE(GET(0, 1, 2)));
}

TEST(one_key_violations_are_caught)
{
    CHECK(!FINE(PUT(1, 1, 2), GET(0, 3, 4)));                /* not seen */
    CHECK(!FINE(PUT(1, 1, 2), PUT(2, 3, 4), GET(1, 5, 6)));  /* an old value */
    CHECK(!FINE(GET(1, 1, 2), PUT(1, 3, 4)));                /* the future */
    CHECK(!FINE(PUT(1, 1, 10), GET(1, 2, 3), GET(0, 4, 5))); /* seen, then not */
    CHECK(!FINE(PUT(1, 1, 10), PUT(2, 1, 10), GET(1, 2, 3), GET(2, 4, 5), GET(1, 6, 7)));
    CHECK(!FINE(PUT(1, 1, 2), PUT(0, 3, 4), GET(1, 5, 6))); /* back from the dead */
    CHECK(!FINE(PUT(1, 1, 2), GET(7, 3, 4)));               /* nobody wrote it */
    /* two readers disagree about the order of two writes */
    CHECK(!FINE(PUT(1, 1, 20), PUT(2, 1, 20), GET(1, 2, 5), GET(2, 2, 5), GET(1, 6, 7),
                GET(2, 8, 9), GET(1, 8, 10), GET(1, 11, 12)));
}

TEST(one_key_without_an_answer_happened_or_not)
{
    CHECK(FINE(PUT(1, 1, NEVER), GET(0, 2, 3)));
    CHECK(FINE(PUT(1, 1, NEVER), GET(0, 2, 3), GET(1, 4, 5)));
    CHECK(!FINE(PUT(1, 1, NEVER), GET(1, 2, 3), GET(0, 4, 5)));
}

TEST(one_key_recovery_finds_what_was_durable_or_newer)
{
    /* A power cut: what was found may be from any time since the last sync began. */
    CHECK(FINE(PUT(1, 1, 2), PUT(2, 3, 4), FOUND(0, 1, 9)));
    CHECK(FINE(PUT(1, 1, 2), PUT(2, 3, 4), FOUND(1, 1, 9)));
    CHECK(FINE(SYNCED(1, 1, 2), PUT(2, 3, 4), FOUND(1, 1, 9)));
    CHECK(!FINE(SYNCED(1, 1, 2), PUT(2, 3, 4), FOUND(0, 1, 9)));
    CHECK(!FINE(PUT(1, 1, 2), SYNCED(2, 3, 4), FOUND(1, 1, 9)));
    CHECK(FINE(PUT(1, 1, 9), SYNCED(2, 3, 4), FOUND(1, 3, 10)));
    CHECK(!FINE(PUT(1, 1, 9), SYNCED(2, 3, 4), GET(1, 5, 6), GET(2, 7, 8), FOUND(1, 3, 10)));
    /* A kill: it comes after all that was answered. */
    CHECK(!FINE(PUT(1, 1, 2), PUT(2, 3, 4), FOUND(1, 5, 9)));
    CHECK(FINE(PUT(1, 1, 2), PUT(2, 3, NEVER), FOUND(1, 5, 9)));
    CHECK(FINE(PUT(1, 1, 2), PUT(2, 3, NEVER), FOUND(2, 5, 9)));
    CHECK(!FINE(PUT(1, 1, 2), PUT(2, 3, NEVER), GET(2, 4, 5), FOUND(1, 6, 9)));
}

/* All orders of the calls, tried one by one: the search must agree. */
static bool brute(const struct linear_op *ops, size_t count, uint32_t taken, uint32_t state)
{
    bool open = false, durable = false;

    for (size_t i = 0; i < count; i++) {
        open |= (taken >> i & 1) == 0 && ops[i].ended != NEVER;
        durable |= (taken >> i & 1) == 0 && ops[i].durable;
    }
    if (!open)
        return true;
    for (size_t i = 0; i < count; i++) {
        bool next = (taken >> i & 1) == 0;

        for (size_t j = 0; j < count; j++)
            next &= (taken >> j & 1) != 0 || j == i || ops[j].ended >= ops[i].began;
        if (next && (ops[i].kind == LINEAR_PUT || ops[i].id == state) &&
            !(ops[i].kind == LINEAR_FOUND && durable) &&
            brute(ops, count, taken | UINT32_C(1) << i,
                  ops[i].kind == LINEAR_PUT ? ops[i].id : state))
            return true;
    }
    return false;
}

TEST(one_key_the_search_agrees_with_trying_all_orders)
{
    uint64_t random = tap_seed();
    unsigned yes = 0, no = 0;

    for (unsigned round = 0; round < 20000; round++) {
        struct linear_op ops[7];
        size_t count = 1 + tap_random(&random) % 7;
        bool want;

        for (size_t i = 0; i < count; i++) {
            uint64_t began = 1 + tap_random(&random) % 12, r = tap_random(&random) % 16;

            ops[i] = (struct linear_op){LINEAR_PUT, began, began + tap_random(&random) % 8,
                                        (uint32_t)i + 1, false};
            if (r < 7)
                ops[i].kind = LINEAR_GET;
            if (r < 7 || r == 15)
                ops[i].id = (uint32_t)(tap_random(&random) % (count + 1));
            if (r == 14)
                ops[i].ended = NEVER;
            if (r == 13)
                ops[i].durable = true;
            if (r == 6)
                ops[i].kind = LINEAR_FOUND;
        }
        want = brute(ops, count, 0, 0);
        CHECK_EQ(key_is_fine(count, ops), want);
        yes += want;
        no += !want;
    }
    CHECK(yes > 1000 && no > 1000);
}
