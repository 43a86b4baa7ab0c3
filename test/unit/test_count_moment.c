/* test_count_moment.c - what is written while a count takes the moment that it is of.
 *
 *     number        the pin's
 *       <- here a write comes by
 *     MemDBs        those that hold what the number covers
 *       <- or here
 *
 * A count has the store's lock meanwhile, and a write that finds its MemDB in use takes no such lock: it
 * may go into a MemDB that was empty a moment ago. No other thread meets that instant but by luck. So
 * live_ask.c stands in this program once more, and the calls by which it takes the two pass through
 * the test, which has a thread write right then and waits for it. All other sources are those of the library. */
#include "engine_world.h"

#include <pthread.h>

static void write_comes_by(void);

#define pin_add_locked(db, pin, as) (pin_add_locked(db, pin, as), write_comes_by())
#define memdb_is_empty(memdb) and_a_write(memdb_is_empty(memdb))
static bool and_a_write(bool empty)
{
    write_comes_by();
    return empty;
}
#include "engine/live_ask.c"

static struct quern_error err;

static struct {
    struct quern *db; /* NULL: nothing is written */
    unsigned skip; /* so many times one might come by and does not, before the only one that does */
    bool came;
} meanwhile;

static void *put_one(void *db)
{
    struct quern_error why;

    EXPECT(world_put(db, 1000, 1, false, &why) == QUERN_OK);
    return NULL;
}

static void write_comes_by(void)
{
    pthread_t writer;

    if (meanwhile.db == NULL || meanwhile.came || meanwhile.skip-- > 0)
        return;
    meanwhile.came = true;
    EXPECT(pthread_create(&writer, NULL, put_one, meanwhile.db) == 0 &&
           pthread_join(writer, NULL) == 0);
}

/* Ten keys in tables, the number known or not, and a MemDB of which the next writer has noted already
 * when its first entry came. */
static struct quern *ready(struct sim *sim, bool known)
{
    struct quern *db = NULL;
    uint64_t n = 0;

    EXPECT(world_open(sim, NULL, &db, &err) == QUERN_OK);
    if (known)
        EXPECT(quern_count(db, NULL, NULL, &n, &err) == QUERN_OK);
    EXPECT(world_fill(db, 0, 10, 1, &err) == QUERN_OK && quern_flush(db, &err) == QUERN_OK);
    mutex_lock(&db->mu);
    db->active.born_ns = os_now_ns(db->os);
    mutex_unlock(&db->mu);
    return db;
}

#define PLACES_MAX 8

TEST(a_write_that_comes_while_a_moment_is_taken_is_not_counted_twice)
{
    unsigned came = 0;

    for (unsigned skip = 0; skip < PLACES_MAX; skip++) {
        struct sim *sim = sim_new(1);
        struct quern *db = ready(sim, false);
        uint64_t n = 0;

        meanwhile.skip = skip;
        meanwhile.came = false;
        meanwhile.db = db;
        CHECK_OK(quern_count(db, NULL, NULL, &n, &err), &err); /* it walks, and learns */
        meanwhile.db = NULL;
        CHECK(n == 10 || (n == 11 && meanwhile.came));
        came += meanwhile.came;
        if (!meanwhile.came)
            CHECK_OK(world_put(db, 1000, 1, false, &err), &err);
        CHECK_OK(quern_count(db, NULL, NULL, &n, &err), &err);
        CHECK_EQ(n, 11);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
    CHECK(came >= 2); /* behind the number, and behind the look at the MemDB */
}

TEST(verify_finds_the_number_right_while_it_is_written_to)
{
    unsigned came = 0;

    for (unsigned skip = 0; skip < PLACES_MAX; skip++) {
        struct sim *sim = sim_new(1);
        struct quern *db = ready(sim, true);
        uint64_t n = 0;

        meanwhile.skip = skip;
        meanwhile.came = false;
        meanwhile.db = db;
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        meanwhile.db = NULL;
        came += meanwhile.came;
        if (!meanwhile.came)
            CHECK_OK(world_put(db, 1000, 1, false, &err), &err);
        CHECK_OK(quern_count(db, NULL, NULL, &n, &err), &err);
        CHECK_EQ(n, 11);
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
    CHECK(came >= 2);
}
