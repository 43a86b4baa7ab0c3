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

static void after_load(const volatile void *object)
{
    if (meanwhile.db == NULL || object != &meanwhile.db->view || meanwhile.times == 0)
        return;
    meanwhile.times--;
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
