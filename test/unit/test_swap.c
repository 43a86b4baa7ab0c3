/* Databases that change places: what was in the one is in the other, at once and for all. */
#include "databases_world.h"

#include "engine/remains_priv.h"

#include <pthread.h>

#define KEY QUERN_STR("key")

static enum quern_code swap(struct quern *db, unsigned a, unsigned b, struct quern_error *err)
{
    return quern_swap_databases(db, (uint8_t)a, (uint8_t)b, NULL, err);
}

static quern_seq visible(struct quern *db)
{
    return quern_visible_seq(db);
}

static bool gone(struct quern *db, unsigned database, struct quern_slice start,
                 struct quern_slice end)
{
    struct quern_write_opts opts = into(database);
    struct quern_range range = {start, end};
    struct quern_error err;

    return quern_delete_range(db, &range, &opts, &err) == QUERN_OK;
}

static bool deleted(struct quern *db, unsigned database, struct quern_slice key)
{
    struct quern_write_opts opts = into(database);
    struct quern_error err;

    return quern_delete(db, key, &opts, &err) == QUERN_OK;
}

/* ---- what a change of places is ---- */

TEST(two_databases_change_places_and_no_other_does)
{
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        struct sim *sim = sim_new(1);
        struct quern_error err = {0};
        struct quern *db;
        char value[20];

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        for (unsigned d = 0; d <= LAST; d++) {
            (void)snprintf(value, sizeof(value), "of %u", d);
            CHECK_OK(put(db, d, KEY, value, &err), &err);
        }
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_OK(swap(db, 3, 11, &err), &err);
        CHECK_OK(swap(db, 0, LAST, &err), &err);
        for (enum place then = IN_MEMDB; then < PLACES; then++) {
            CHECK(world_bring_to(&sim, &db, then));
            for (unsigned d = 0; d <= LAST; d++) {
                unsigned from_d = d == 3 ? 11 : d == 11 ? 3 : d == 0 ? LAST : d == LAST ? 0 : d;

                (void)snprintf(value, sizeof(value), "of %u", from_d);
                CHECK(has(db, d, KEY, value));
                CHECK_EQ(count(db, d), 1);
            }
        }
        CHECK_OK(quern_close(db, &err), &err);
        sim_free(sim);
    }
}

TEST(it_is_one_write_and_its_databases_exist)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_error err = {0};
    struct quern *db;
    quern_seq before;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    before = visible(db);
    CHECK_OK(swap(db, 1, 2, &err), &err);
    CHECK_EQ(visible(db), before + 1);
    CHECK_OK(swap(db, 5, 5, &err), &err);
    CHECK_EQ(visible(db), before + 1); /* nothing was written */
    CHECK_CODE(swap(db, 0, LAST + 1, &err), QUERN_INVALID);
    CHECK_CODE(swap(db, 255, 0, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_swap_databases(batch, LAST + 1, 1, &err), QUERN_INVALID);
    CHECK_EQ(quern_batch_count(batch), 0);
    CHECK_EQ(visible(db), before + 1);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_CODE(quern_swap_databases(NULL, 0, 1, NULL, &err), QUERN_INVALID);
}

/* Writes of every kind behind it are of the databases as they are then: 4 has neighbours on both
 * sides, under both names. */
TEST(what_is_written_behind_it_finds_the_databases_in_their_places)
{
    struct sim *sim = sim_new(1);
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned d = 3; d <= 10; d++) {
        CHECK_OK(put(db, d, slice_of("\0", 1), "least", &err), &err);
        CHECK_OK(put(db, d, QUERN_STR("m"), "middle", &err), &err);
        CHECK_OK(put(db, d, slice_of("\xff\xff", 2), "greatest", &err), &err);
    }
    CHECK_OK(swap(db, 4, 9, &err), &err);
    CHECK_OK(put(db, 4, KEY, "four", &err), &err);
    CHECK_OK(put(db, 9, KEY, "nine", &err), &err);
    CHECK(has(db, 4, KEY, "four") && has(db, 9, KEY, "nine"));
    CHECK(gone(db, 4, QUERN_STR("n"), slice_of(NULL, 0)));
    CHECK(gone(db, 9, slice_of(NULL, 0), QUERN_STR("l")));
    CHECK(deleted(db, 9, QUERN_STR("m")));
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        CHECK(world_bring_to(&sim, &db, place));
        CHECK_EQ(count(db, 4), 3); /* least, key, middle */
        CHECK_EQ(count(db, 9), 1); /* greatest */
        CHECK(has(db, 4, KEY, "four") && has(db, 9, slice_of("\xff\xff", 2), "greatest"));
        for (unsigned d = 3; d <= 10; d++)
            CHECK(d == 4 || d == 9 || count(db, d) == 3);
    }
    CHECK(gone(db, 9, slice_of(NULL, 0), slice_of(NULL, 0)));
    CHECK_EQ(count(db, 9), 0);
    CHECK_EQ(count(db, 4), 3);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
}

/* ---- in a batch ---- */

TEST(a_batch_goes_on_where_its_databases_have_changed_places)
{
    struct sim *sim = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(swap(db, 2, 7, &err), &err); /* the map is none that keeps all as it is */
    CHECK_OK(put(db, 1, KEY, "one", &err), &err);
    CHECK_OK(put(db, 2, KEY, "two", &err), &err);
    CHECK_OK(put(db, 3, KEY, "three", &err), &err);
    quern_batch_select(batch, 1);
    CHECK_OK(quern_batch_put(batch, QUERN_STR("a"), QUERN_STR("before"), &err), &err);
    CHECK_OK(quern_batch_swap_databases(batch, 1, 2, &err), &err);
    CHECK_OK(quern_batch_put(batch, QUERN_STR("b"), QUERN_STR("between"), &err), &err);
    CHECK_OK(quern_batch_swap_databases(batch, 2, 3, &err), &err);
    CHECK_OK(quern_batch_put(batch, QUERN_STR("c"), QUERN_STR("behind"), &err), &err);
    CHECK_EQ(quern_batch_count(batch), 5);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(has(db, 1, KEY, "two") && has(db, 2, KEY, "three") && has(db, 3, KEY, "one"));
        CHECK(has(db, 3, QUERN_STR("a"), "before"));
        CHECK(has(db, 1, QUERN_STR("b"), "between") && has(db, 1, QUERN_STR("c"), "behind"));
        CHECK_EQ(count(db, 1) + count(db, 2) + count(db, 3), 6);
        CHECK_EQ(count(db, 7), 0);
    }
    quern_batch_clear(batch);
    CHECK_OK(quern_batch_put(batch, QUERN_STR("d"), QUERN_STR("cleared"), &err), &err);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK(has(db, 0, QUERN_STR("d"), "cleared"));
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
}

/* The batch belongs to the caller, whatever the leader makes of it. */
TEST(a_batch_that_is_written_again_goes_where_its_databases_are_by_then)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    quern_batch_select(batch, 6);
    CHECK_OK(quern_batch_put(batch, KEY, QUERN_STR("six"), &err), &err);
    CHECK_OK(swap(db, 6, 8, &err), &err);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK(has(db, 6, KEY, "six") && has(db, 8, KEY, NULL));
    CHECK_OK(swap(db, 6, 9, &err), &err);
    CHECK(has(db, 9, KEY, "six") && has(db, 6, KEY, NULL));
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK(has(db, 6, KEY, "six") && has(db, 8, KEY, NULL));
    CHECK_OK(quern_batch_swap_databases(batch, 6, 8, &err), &err);
    for (int n = 0; n < 3; n++) { /* each time what 6 had goes to 8 */
        CHECK_OK(quern_write(db, batch, NULL, &err), &err);
        CHECK(has(db, 8, KEY, "six") && has(db, 6, KEY, n == 0 ? NULL : "six"));
        CHECK_EQ(count(db, 6) + count(db, 8) + count(db, 9), n == 0 ? 2 : 3);
    }
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

static enum quern_code swap_and_look(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_value value = {0};
    bool right = true;

    (void)arg;
    quern_batch_select(batch, 1);
    right &= quern_batch_put(batch, QUERN_STR("own"), QUERN_STR("1"), err) == QUERN_OK;
    right &= quern_batch_swap_databases(batch, 1, 2, err) == QUERN_OK;
    right &= quern_update_get(u, KEY, &value, err) == QUERN_OK && memcmp(value.data, "two", 3) == 0;
    right &= quern_update_get(u, QUERN_STR("own"), &value, err) == QUERN_NOT_FOUND;
    quern_batch_select(batch, 2);
    right &= quern_update_get(u, KEY, &value, err) == QUERN_OK && memcmp(value.data, "one", 3) == 0;
    right &= quern_update_get(u, QUERN_STR("own"), &value, err) == QUERN_OK;
    right &= quern_batch_put(batch, KEY, QUERN_STR("new"), err) == QUERN_OK;
    right &= quern_update_get(u, KEY, &value, err) == QUERN_OK && memcmp(value.data, "new", 3) == 0;
    quern_value_done(&value);
    return right ? QUERN_OK : err_set(err, QUERN_INVALID, "a wrong value");
}

TEST(an_update_reads_behind_its_own_change_of_places)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 1, KEY, "one", &err), &err);
    CHECK_OK(swap(db, 2, 9, &err), &err);
    CHECK_OK(put(db, 2, KEY, "two", &err), &err);
    CHECK_OK(quern_update(db, swap_and_look, NULL, NULL, &err), &err);
    CHECK(has(db, 1, KEY, "two") && has(db, 2, KEY, "new") && has(db, 2, QUERN_STR("own"), "1"));
    CHECK_EQ(count(db, 1) + count(db, 2), 3);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- among other writes ---- */

static enum quern_code in_an_update(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_value value = {0};
    enum quern_code code;

    quern_batch_select(batch, 1);
    code = quern_update_get(u, KEY, &value, err);
    if (code == QUERN_OK)
        code = quern_batch_put(batch, QUERN_STR("copy"), slice_of(value.data, value.len), err);
    if (code == QUERN_OK && *(bool *)arg)
        code = quern_batch_swap_databases(batch, 1, 2, err);
    quern_value_done(&value);
    return code;
}

/* All of them reach the store in one step. `handed` at most. */
struct row {
    struct quern_hand hand;
    struct quern_batch *batch[8];
    struct quern_completion done[8];
    size_t count;
};

static struct quern_batch *row_add(struct row *row)
{
    row->batch[row->count] = quern_batch_new();
    return row->batch[row->count];
}

static void row_submit(struct row *row, struct quern *db)
{
    struct quern_write_opts opts = {.hand = &row->hand};
    struct quern_error err;

    CHECK_OK(quern_write_async(db, row->batch[row->count], &opts, &row->done[row->count], &err),
             &err);
    row->count++;
}

static void row_update(struct row *row, struct quern *db, bool *swaps)
{
    struct quern_write_opts opts = {.hand = &row->hand};
    struct quern_error err;

    CHECK_OK(quern_update_async(db, in_an_update, swaps, &opts, &row->done[row->count], &err),
             &err);
    row->count++;
}

static void row_finish(struct row *row, struct quern *db)
{
    quern_hand_over(db, &row->hand);
    for (size_t i = 0; i < row->count; i++) {
        while (!quern_completion_ready(&row->done[i]))
            sched_yield();
        CHECK_OK(row->done[i].code, &row->done[i].error);
        quern_batch_free(row->batch[i]);
    }
}

TEST(each_write_of_a_hand_goes_where_its_database_is_at_its_place)
{
    struct sim *sim = sim_new(1);
    struct row row = {.count = 0};
    struct quern_error err = {0};
    bool swaps = true, stays = false;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 1, KEY, "one", &err), &err);
    CHECK_OK(put(db, 2, KEY, "two", &err), &err);

    quern_batch_select(row_add(&row), 1);
    CHECK_OK(quern_batch_put(row.batch[0], QUERN_STR("a"), QUERN_STR("before"), &err), &err);
    row_submit(&row, db);
    CHECK_OK(quern_batch_swap_databases(row_add(&row), 1, 2, &err), &err);
    row_submit(&row, db);
    quern_batch_select(row_add(&row), 1);
    CHECK_OK(quern_batch_put(row.batch[2], QUERN_STR("b"), QUERN_STR("between"), &err), &err);
    CHECK_OK(quern_batch_require(row.batch[2], QUERN_REQUIRE_ABSENT, QUERN_STR("a"), 0, &err),
             &err);
    row_submit(&row, db);
    row_update(&row, db, &swaps); /* copies "two" in 1, and puts it back to 2 */
    row_update(&row, db, &stays); /* copies "one" in 1 */
    quern_batch_select(row_add(&row), 2);
    CHECK_OK(quern_batch_require(row.batch[5], QUERN_REQUIRE_PRESENT, QUERN_STR("b"), 0, &err),
             &err);
    CHECK_OK(quern_batch_put(row.batch[5], QUERN_STR("c"), QUERN_STR("behind"), &err), &err);
    row_submit(&row, db);
    row_finish(&row, db);

    for (enum place place = IN_MEMDB; place < PLACES; place++) {
        CHECK(world_bring_to(&sim, &db, place));
        CHECK(has(db, 1, KEY, "one") && has(db, 2, KEY, "two"));
        CHECK(has(db, 1, QUERN_STR("a"), "before") && has(db, 2, QUERN_STR("b"), "between"));
        CHECK(has(db, 2, QUERN_STR("copy"), "two") && has(db, 1, QUERN_STR("copy"), "one"));
        CHECK(has(db, 2, QUERN_STR("c"), "behind"));
        CHECK_EQ(count(db, 1), 3);
        CHECK_EQ(count(db, 2), 4);
    }
    CHECK_OK(quern_close(db, &err), &err);
    sim_free(sim);
}

static enum quern_code when_moved(void *arg, struct quern_update *u, struct quern_error *err)
{
    quern_seq *moved = arg;

    (void)err;
    for (uint8_t d = 0; d <= LAST + 1; d++)
        moved[d] = quern_update_moved(u, d);
    return QUERN_OK;
}

TEST(an_update_knows_when_a_database_last_changed_places)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    quern_seq moved[LAST + 2];
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 1, KEY, "one", &err), &err);
    CHECK_OK(swap(db, 1, 2, &err), &err);
    CHECK_OK(swap(db, 2, 3, &err), &err);
    CHECK_OK(quern_update(db, when_moved, moved, NULL, &err), &err);
    CHECK_EQ(moved[0], 0);
    CHECK_EQ(moved[1], 2);
    CHECK_EQ(moved[2], 3);
    CHECK_EQ(moved[3], 3);
    CHECK_EQ(moved[LAST + 1], 0);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- who has looked before ---- */

TEST(snapshots_and_iterators_see_the_databases_where_they_were)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_iter_opts iterate = {.database = 5};
    struct quern_read_opts old = from(5);
    struct quern_snapshot *before, *between;
    struct quern_value value = {0};
    struct quern_error err = {0};
    struct quern_iter *it;
    struct quern *db;
    uint64_t n;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned k = 0; k < 20; k++)
        CHECK_OK(put(db, 5, world_key(k), "five", &err), &err);
    CHECK_OK(put(db, 6, world_key(0), "six", &err), &err);
    CHECK_OK(quern_snapshot_new(db, &before, &err), &err);
    CHECK_OK(quern_iter_new(db, &iterate, &it, &err), &err);
    CHECK(quern_iter_first(it));
    CHECK_OK(swap(db, 5, 6, &err), &err);
    CHECK_OK(quern_snapshot_new(db, &between, &err), &err);
    CHECK_OK(swap(db, 5, 7, &err), &err);
    CHECK(has(db, 5, world_key(0), NULL) && has(db, 6, world_key(0), "five"));
    CHECK(has(db, 7, world_key(0), "six"));
    for (int round = 0; round < 2; round++) {
        old.snapshot = before;
        CHECK_OK(quern_get(db, world_key(0), &old, &value, &err), &err);
        CHECK(value.len == 4 && memcmp(value.data, "five", 4) == 0);
        CHECK_OK(quern_count(db, NULL, &old, &n, &err), &err);
        CHECK_EQ(n, 20);
        old.snapshot = between;
        CHECK_OK(quern_get(db, world_key(0), &old, &value, &err), &err);
        CHECK(value.len == 3 && memcmp(value.data, "six", 3) == 0);
        CHECK_OK(quern_count(db, NULL, &old, &n, &err), &err);
        CHECK_EQ(n, 1);
        for (n = 1; quern_iter_next(it); n++)
            CHECK(memcmp(quern_iter_value(it).data, "five", 4) == 0);
        CHECK_EQ(n, 20);
        CHECK(quern_iter_seek(it, world_key(7)) && key_equal(quern_iter_key(it), world_key(7)));
        CHECK(quern_iter_first(it));
        CHECK_OK(quern_compact(db, NULL, &err), &err);
    }
    quern_iter_free(it);
    iterate.snapshot = between;
    CHECK_OK(quern_iter_new(db, &iterate, &it, &err), &err);
    CHECK(quern_iter_first(it) && memcmp(quern_iter_value(it).data, "six", 3) == 0);
    CHECK(!quern_iter_next(it));
    quern_iter_free(it);
    quern_snapshot_free(before);
    quern_snapshot_free(between);
    quern_value_done(&value);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- beside readers ---- */

struct turner {
    struct quern *db;
    unsigned turns;
    _Atomic bool stop, done, failed;
};

/* Each turn: 1 and 2 change places, and both note which turn it was: one before it and one behind it,
 * both under the name of 1. "side" says, and never changes, which of them had been 1 in the
 * beginning: so side and turn fit, or a read was mixed. */
static bool turn(struct quern *db, struct quern_batch *batch, unsigned n)
{
    struct quern_error err;
    char text[24];

    (void)snprintf(text, sizeof(text), "%u", n);
    quern_batch_clear(batch);
    quern_batch_select(batch, 1);
    return quern_batch_put(batch, QUERN_STR("turn"), QUERN_STR(text), &err) == QUERN_OK &&
           quern_batch_swap_databases(batch, 1, 2, &err) == QUERN_OK &&
           quern_batch_put(batch, QUERN_STR("turn"), QUERN_STR(text), &err) == QUERN_OK &&
           quern_write(db, batch, NULL, &err) == QUERN_OK;
}

static void *turn_around(void *arg)
{
    struct turner *t = arg;
    struct quern_batch *batch = quern_batch_new();

    for (unsigned n = 1; !atomic_load(&t->stop) && n <= t->turns; n++)
        if (!turn(t->db, batch, n))
            atomic_store(&t->failed, true);
    quern_batch_free(batch);
    atomic_store(&t->done, true);
    return NULL;
}

static void begin_turns(struct quern *db)
{
    struct quern_error err = {0};

    for (unsigned d = 1; d <= 2; d++) {
        CHECK_OK(put(db, d, QUERN_STR("side"), d == 1 ? "1" : "2", &err), &err);
        CHECK_OK(put(db, d, QUERN_STR("turn"), "0", &err), &err);
    }
}

static unsigned number_in(struct quern_slice value)
{
    char text[24] = "";

    memcpy(text, value.data, value.len < 23 ? value.len : 23);
    return (unsigned)strtoul(text, NULL, 10);
}

/* Which turn database `database` shows; UINT_MAX: side and turn do not fit. */
static unsigned turn_seen(struct quern *db, unsigned database,
                          const struct quern_snapshot *snapshot)
{
    struct quern_slice keys[] = {QUERN_STR("side"), QUERN_STR("turn")};
    struct quern_read_opts opts = {.snapshot = snapshot, .database = (uint8_t)database};
    struct quern_value value[2] = {0};
    enum quern_code codes[2];
    struct quern_error err;
    unsigned seen = UINT32_MAX;

    if (quern_multi_get(db, keys, 2, &opts, value, codes, &err) == QUERN_OK &&
        codes[0] == QUERN_OK && codes[1] == QUERN_OK) {
        unsigned side = number_in(slice_of(value[0].data, value[0].len));

        seen = number_in(slice_of(value[1].data, value[1].len));
        if ((side == database) != (seen % 2 == 0))
            seen = UINT32_MAX;
    }
    quern_value_done(&value[0]);
    quern_value_done(&value[1]);
    return seen;
}

static unsigned turn_walked(struct quern *db, unsigned database)
{
    struct quern_iter_opts opts = {.database = (uint8_t)database};
    unsigned side = 0, seen = UINT32_MAX;
    struct quern_iter *it = NULL;
    struct quern_error err;

    if (quern_iter_new(db, &opts, &it, &err) != QUERN_OK)
        return UINT32_MAX;
    if (quern_iter_first(it))
        side = number_in(quern_iter_value(it));
    if (quern_iter_next(it))
        seen = number_in(quern_iter_value(it));
    quern_iter_free(it);
    return seen != UINT32_MAX && (side == database) != (seen % 2 == 0) ? UINT32_MAX : seen;
}

TEST(readers_see_the_databases_before_or_behind_a_change_of_places_and_no_mixture)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct turner t = {.turns = 3000};
    struct quern_error err = {0};
    unsigned last[3] = {0}, wrong = 0;
    pthread_t thread;

    CHECK_OK(world_open(sim, NULL, &t.db, &err), &err);
    begin_turns(t.db);
    ensure(pthread_create(&thread, NULL, turn_around, &t) == 0);
    for (unsigned n = 0; !atomic_load(&t.done); n++) {
        unsigned database = 1 + n % 2, seen;
        struct quern_snapshot *held;

        seen = turn_seen(t.db, database, NULL);
        wrong += seen == UINT32_MAX || seen < last[database];
        last[database] = seen;
        seen = turn_walked(t.db, database);
        wrong += seen == UINT32_MAX || seen < last[database];
        if (quern_snapshot_new(t.db, &held, &err) != QUERN_OK)
            continue;
        wrong += turn_seen(t.db, 1, held) != turn_seen(t.db, 2, held);
        quern_snapshot_free(held);
    }
    ensure(pthread_join(thread, NULL) == 0);
    CHECK_EQ(wrong, 0);
    CHECK(!atomic_load(&t.failed));
    CHECK_EQ(turn_seen(t.db, 1, NULL), 3000);
    CHECK_EQ(turn_seen(t.db, 2, NULL), 3000);
    CHECK_OK(quern_close(t.db, &err), &err);
}

/* The leader is held between the view that it publishes and the number that it makes visible: it
 * cuts off there what scans remember as empty, and the test has the lock of that. */
TEST(a_reader_who_comes_between_view_and_number_sees_all_as_before)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct turner t = {.turns = 1};
    struct quern_snapshot *held = NULL;
    struct quern_error err = {0};
    struct view *before;
    pthread_t thread;

    CHECK_OK(world_open(sim, NULL, &t.db, &err), &err);
    begin_turns(t.db);
    CHECK(spans_walk(&t.db->spans, slice_of("\x0f", 1), 1, 1) != SPAN_NONE);
    before = engine_view(t.db);
    mutex_lock(&t.db->spans.mu);
    ensure(pthread_create(&thread, NULL, turn_around, &t) == 0);
    while (atomic_load(&t.db->view) == before)
        sched_yield();
    CHECK_EQ(turn_seen(t.db, 1, NULL), 0);
    CHECK_EQ(turn_seen(t.db, 2, NULL), 0);
    CHECK_OK(quern_snapshot_new(t.db, &held, &err), &err);
    CHECK_EQ(turn_walked(t.db, 1), 0);
    mutex_unlock(&t.db->spans.mu);
    ensure(pthread_join(thread, NULL) == 0);
    CHECK_EQ(turn_seen(t.db, 1, NULL), 1);
    CHECK_EQ(turn_seen(t.db, 1, held), 0);
    CHECK_EQ(turn_walked(t.db, 2), 1);
    quern_snapshot_free(held);
    view_unref(before);
    CHECK_OK(quern_close(t.db, &err), &err);
}

/* ---- copies, and what is left of damage ---- */

static bool opens_and_has(struct sim *sim, const char *path, bool read_only, unsigned database,
                          const char *want)
{
    struct quern_options options = world_options();
    struct quern_error err = {0};
    struct quern *db;
    bool right;

    options.read_only = read_only;
    if (engine_open(sim_os(sim), path, &options, &db, &err) != QUERN_OK)
        return false;
    right = has(db, database, KEY, want);
    return quern_close(db, &err) == QUERN_OK && right;
}

/* Once what was swapped stands in the manifest, once in the log alone. */
TEST(checkpoint_repair_and_read_only_opens_have_the_databases_in_their_places)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_repair_report report;
    struct quern_error err = {0};
    struct sim *after;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 1, KEY, "one", &err), &err);
    CHECK_OK(put(db, 2, KEY, "two", &err), &err);
    CHECK_OK(swap(db, 1, 3, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK(opens_and_has(sim, WORLD_PATH, true, 3, "one"));
    CHECK_OK(swap(db, 3, 2, &err), &err);
    CHECK_OK(quern_sync(db, &err), &err);
    after = sim_crash(sim, 7, SIM_KEEP_ALL);
    CHECK(opens_and_has(after, WORLD_PATH, true, 3, "two"));
    CHECK(opens_and_has(after, WORLD_PATH, true, 2, "one"));
    CHECK_OK(engine_repair(sim_os(after), WORLD_PATH, "/new", NULL, &report, &err), &err);
    CHECK(opens_and_has(after, "/new", false, 3, "two"));
    CHECK(opens_and_has(after, "/new", false, 2, "one"));
    CHECK(opens_and_has(after, "/new", false, 1, NULL));
    sim_free(after);
    CHECK_OK(quern_checkpoint(db, "/copy", &err), &err);
    CHECK(opens_and_has(sim, "/copy", false, 3, "two"));
    CHECK(opens_and_has(sim, "/copy", false, 2, "one"));
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(engine_repair(sim_os(sim), WORLD_PATH, "/new", NULL, &report, &err), &err);
    CHECK(opens_and_has(sim, "/new", false, 3, "two"));
    CHECK(opens_and_has(sim, "/new", false, 2, "one"));
}

struct told {
    unsigned count;
    uint8_t first, last;
    char first_key[20], last_key[20];
};

static void note(struct told *told, struct inner_span s)
{
    told->count++;
    told->first = s.first_database;
    told->last = s.last_database;
    (void)snprintf(told->first_key, sizeof(told->first_key), "%.*s", (int)s.first_key.len,
                   (const char *)s.first_key.data);
    (void)snprintf(told->last_key, sizeof(told->last_key), "%.*s", (int)s.last_key.len,
                   (const char *)s.last_key.data);
}

static void on_table(void *arg, const struct quern_table *t)
{
    note(arg, (struct inner_span){t->first_key, t->last_key, t->first_database, t->last_database});
}

static void on_damage(void *arg, const struct quern_damage *d)
{
    note(arg, (struct inner_span){d->first_key, d->last_key, d->first_database, d->last_database});
}

static bool told_is(const struct told *t, unsigned first, const char *first_key, unsigned last,
                    const char *last_key)
{
    return t->first == first && t->last == last && strcmp(t->first_key, first_key) == 0 &&
           strcmp(t->last_key, last_key) == 0;
}

TEST(tables_are_told_by_the_databases_of_their_users)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct told told = {.count = 0};
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 4, QUERN_STR("a"), "", &err), &err);
    CHECK_OK(put(db, 4, QUERN_STR("z"), "", &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(swap(db, 4, 9, &err), &err);
    CHECK_OK(quern_tables(db, on_table, &told, &err), &err);
    CHECK_EQ(told.count, 1);
    CHECK(told_is(&told, 9, "a", 9, "z"));
    CHECK_OK(quern_close(db, &err), &err);
}

/* Inside, 3 to 5 lie side by side. */
TEST(damage_over_several_databases_is_told_as_no_less_than_it_is)
{
    struct told told = {.count = 0};
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = &told};
    struct findings f = {.opts = &opts, .map = db_map_swap(0, 4, 9)};

    findings_add(&f, "file", 0, slice_of("\3m", 2), slice_of("\5n", 2), "a test", true);
    CHECK(told_is(&told, 3, "m", 9, ""));
    findings_add(&f, "file", 0, slice_of("\4m", 2), slice_of("\5n", 2), "a test", true);
    CHECK(told_is(&told, 5, "", 9, ""));
    findings_add(&f, "file", 0, slice_of("\4m", 2), slice_of("\4n", 2), "a test", true);
    CHECK(told_is(&told, 9, "m", 9, "n"));
    findings_add(&f, "file", 0, slice_of("\x9m", 2), slice_of("\xa", 1), "a test", true);
    CHECK(told_is(&told, 4, "m", 4, ""));
    CHECK_EQ(told.count, 4);
}

/* In the log alone it is, what names a table's damage. */
TEST(verify_tells_damage_of_the_database_where_its_user_has_it)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct told told = {.count = 0};
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = &told};
    struct quern_verify_report report;
    struct quern_error err = {0};
    struct sim *after OWNED(sim_free) = NULL;
    struct world_files files;
    struct quern *db;
    uint64_t bytes;
    uint8_t *table;
    size_t at;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 4, QUERN_STR("a"), "", &err), &err);
    CHECK_OK(put(db, 4, QUERN_STR("z"), "", &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(swap(db, 4, 9, &err), &err);
    CHECK_OK(quern_sync(db, &err), &err);
    after = sim_crash(sim, 7, SIM_KEEP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    world_list(after, &files);
    at = world_find(&files, ".sst", 0);
    CHECK(at < files.count);
    table = world_read(after, files.file[at].name, &bytes);
    table[3] ^= 1;
    CHECK(world_write(after, files.file[at].name, table, bytes));
    free(table);
    CHECK_CODE(engine_check_files(sim_os(after), WORLD_PATH, &opts, &report, &err), QUERN_CORRUPT);
    CHECK(told.count >= 1);
    CHECK_EQ(told.first, 9);
    CHECK_EQ(told.last, 9);
}

/* ---- compaction ---- */

TEST(a_range_of_any_database_is_merged_where_that_is)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_range all = {{NULL, 0}, {NULL, 0}};
    struct quern_compact_opts opts = {.range = &all, .database = 9};
    struct quern_error err = {0};
    struct quern_stats stats;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned d = 2; d <= 5; d += 3) { /* tables of one database each */
        for (unsigned n = 0; n < 50; n++)
            CHECK_OK(put(db, d, world_key(n), "v", &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
        for (unsigned n = 0; n < 50; n++)
            CHECK_OK(put(db, d, world_key(n), "another", &err), &err);
        CHECK_OK(quern_flush(db, &err), &err);
    }
    quern_stats(db, &stats);
    CHECK_EQ(stats.table_entries, 200);
    CHECK_OK(swap(db, 5, 9, &err), &err);
    CHECK_OK(quern_compact(db, &opts, &err), &err);
    quern_stats(db, &stats);
    CHECK_EQ(stats.table_entries, 150);
    opts.database = 5; /* has nothing */
    CHECK_OK(quern_compact(db, &opts, &err), &err);
    quern_stats(db, &stats);
    CHECK_EQ(stats.table_entries, 150);
    opts.database = 2;
    CHECK_OK(quern_compact(db, &opts, &err), &err);
    quern_stats(db, &stats);
    CHECK_EQ(stats.table_entries, 100);
    opts.database = LAST + 1;
    CHECK_CODE(quern_compact(db, &opts, &err), QUERN_INVALID);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- the log that holds it ---- */

/* Nothing else was written: the MemDB has no entry, and yet its log must not go without it. */
TEST(a_change_of_places_alone_is_flushed_and_its_log_let_go)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_error err = {0};
    struct quern_stats stats;
    struct sim *after OWNED(sim_free) = NULL;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 1, KEY, "one", &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_OK(swap(db, 1, 2, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(manifest_state(db->manifest)->map, db_map_swap(0, 1, 2));
    CHECK_EQ(manifest_state(db->manifest)->flushed_seq, visible(db));
    after = sim_crash(sim, 7, SIM_DROP_ALL);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(after, NULL, &db, &err), &err);
    quern_stats(db, &stats);
    CHECK_EQ(stats.recovered_batches, 0);
    CHECK(has(db, 2, KEY, "one") && has(db, 1, KEY, NULL));
    CHECK_OK(swap(db, 1, 2, &err), &err);
    CHECK_OK(quern_flush(db, &err), &err);
    CHECK_EQ(manifest_state(db->manifest)->map, 0);
    CHECK(has(db, 1, KEY, "one"));
    CHECK_OK(quern_close(db, &err), &err);
}

/* A MemDB is flushed with what had changed by its end, and no later change. */
TEST(a_flush_brings_the_places_of_its_own_time)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_error err = {0};
    struct quern *db;
    unsigned n = 0;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned round = 1; round <= 40; round++) {
        struct quern_write_opts opts = into(1);

        CHECK_OK(swap(db, 1, 2, &err), &err);
        for (unsigned i = 0; i < 60; i++, n++) /* as many times as a MemDB holds */
            CHECK_OK(quern_put(db, world_key(n), world_value(n, round), &opts, &err), &err);
        if (round % 8 == 0) {
            struct sim *after = sim_crash(sim, round, SIM_KEEP_ALL);

            CHECK_OK(quern_close(db, &err), &err);
            sim_free(sim);
            sim = after;
            CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        }
        CHECK_EQ(count(db, 1), (round + 1) / 2 * 60);
        CHECK_EQ(count(db, 2), round / 2 * 60);
    }
    CHECK_OK(quern_close(db, &err), &err);
}
