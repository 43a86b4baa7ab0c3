/* test_engine_moment.c - what is written between the two loads that a read begins with.
 *
 *     view          the read's first load
 *       <- here writes come by, as often as the test likes
 *     number        its second
 *     view again    is it the present one still?
 *
 * No other thread meets two neighbouring loads but by luck. So read.c stands in this program once more,
 * and whatever it loads passes through the test, which writes right there, in the reader's own thread:
 * nothing that a write does waits for readers. All other sources are those of the library. */
#include "engine_world.h"

#include "base/hash.h"

static void after_load(const volatile void *object);

/* As the compiler's own, but for the order, which is the strictest here. */
#undef atomic_load_explicit
#define atomic_load_explicit(object, order)                                                        \
    __extension__({                                                                                \
        __typeof__((void)0, *(object)) loaded_ = *(object);                                        \
                                                                                                   \
        after_load(object);                                                                        \
        loaded_;                                                                                   \
    })
#include "engine/read.c"

#define SLOTS 4

static struct quern_error err;

static struct {
    struct quern *db; /* whose view is watched; NULL: nobody's */
    unsigned times;   /* so many of its next loads are followed by a write */
    unsigned round;
    bool apart; /* the range delete and the put are two writes */
    bool swap;  /* databases change places, instead */
} meanwhile;

/* Of all keys one is left: in each round another one. */
static void leave_one(struct quern *db, unsigned round, bool apart)
{
    struct quern_range all = {{0}, {0}};
    struct quern_batch *batch = quern_batch_new();

    if (!EXPECT(batch != NULL && quern_batch_delete_range(batch, &all, &err) == QUERN_OK))
        return;
    if (apart) {
        EXPECT(quern_write(db, batch, NULL, &err) == QUERN_OK);
        quern_batch_clear(batch);
    }
    EXPECT(quern_batch_put(batch, world_key(round % SLOTS), world_value(1, round), &err) ==
               QUERN_OK &&
           quern_write(db, batch, NULL, &err) == QUERN_OK);
    quern_batch_free(batch);
}

/* Databases 1 and 2 change places, and both note the round. */
static void swap(struct quern *db, unsigned round)
{
    struct quern_batch *batch = quern_batch_new();
    struct quern_slice note = slice_of(&round, sizeof(round));

    if (!EXPECT(batch != NULL))
        return;
    quern_batch_select(batch, 1);
    EXPECT(quern_batch_put(batch, QUERN_STR("round"), note, &err) == QUERN_OK &&
           quern_batch_swap_databases(batch, 1, 2, &err) == QUERN_OK &&
           quern_batch_put(batch, QUERN_STR("round"), note, &err) == QUERN_OK &&
           quern_write(db, batch, NULL, &err) == QUERN_OK);
    quern_batch_free(batch);
}

static void after_load(const volatile void *object)
{
    if (meanwhile.db == NULL || object != &meanwhile.db->view || meanwhile.times == 0)
        return;
    meanwhile.times--;
    if (meanwhile.swap)
        swap(meanwhile.db, ++meanwhile.round);
    else
        leave_one(meanwhile.db, ++meanwhile.round, meanwhile.apart);
}

static unsigned count_at_once(struct quern *db)
{
    struct quern_slice keys[SLOTS];
    char text[SLOTS][24];
    struct quern_value values[SLOTS] = {{0}};
    enum quern_code codes[SLOTS];
    unsigned there = 0;

    for (unsigned n = 0; n < SLOTS; n++) {
        (void)snprintf(text[n], sizeof(text[n]), "key-%06u", n);
        keys[n] = QUERN_STR(text[n]);
    }
    EXPECT(quern_multi_get(db, keys, SLOTS, NULL, values, codes, &err) == QUERN_OK);
    for (unsigned n = 0; n < SLOTS; n++) {
        there += codes[n] == QUERN_OK;
        quern_value_done(&values[n]);
    }
    return there;
}

/* One key is there at every moment: a read that has a view without the range delete, and a number
 * that counts what came after it, shows two. */
static void look_while_it_is_written(bool apart)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned times = 0; times < 8; times++) {
        leave_one(db, meanwhile.round, false);
        meanwhile.db = db;
        meanwhile.times = times;
        meanwhile.apart = apart;
        CHECK_EQ(count_at_once(db), 1);
        meanwhile.db = NULL;
        CHECK_EQ(meanwhile.times, 0);
        CHECK_EQ(count_at_once(db), 1);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_read_sees_a_batch_that_came_between_its_loads_as_a_whole)
{
    look_while_it_is_written(false);
}

/* The two writes: between them no key is there. */
TEST(a_read_that_sees_a_write_sees_the_range_delete_before_it)
{
    look_while_it_is_written(true);
}

/* Which of them was 1 in the beginning stands in both: in an even round that is 1. */
static bool side_fits(struct quern *db, uint8_t database)
{
    struct quern_slice keys[] = {QUERN_STR("side"), QUERN_STR("round")};
    struct quern_read_opts opts = {.database = database};
    struct quern_value values[2] = {{0}};
    enum quern_code codes[2];
    unsigned round = 0;
    bool fits = quern_multi_get(db, keys, 2, &opts, values, codes, &err) == QUERN_OK &&
                values[0].len == 1 && values[1].len == sizeof(round);

    if (fits) {
        memcpy(&round, values[1].data, sizeof(round));
        fits = (*(const uint8_t *)values[0].data == database) == (round % 2 == 0);
    }
    quern_value_done(&values[0]);
    quern_value_done(&values[1]);
    return fits;
}

TEST(a_read_between_whose_loads_databases_change_places_is_before_or_behind)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    meanwhile.round = 0;
    for (uint8_t n = 1; n <= 2; n++) {
        struct quern_write_opts opts = {.database = n};

        CHECK_OK(quern_put(db, QUERN_STR("side"), slice_of(&n, 1), &opts, &err), &err);
        CHECK_OK(quern_put(db, QUERN_STR("round"), slice_of(&meanwhile.round, sizeof(unsigned)),
                           &opts, &err),
                 &err);
    }
    meanwhile.swap = true;
    for (unsigned times = 0; times < 8; times++)
        for (uint8_t n = 1; n <= 2; n++) {
            meanwhile.db = db;
            meanwhile.times = times;
            CHECK(side_fits(db, n));
            meanwhile.db = NULL;
            CHECK_EQ(meanwhile.times, 0);
            CHECK(side_fits(db, n));
        }
    meanwhile.swap = false;
    CHECK_OK(quern_close(db, &err), &err);
}
