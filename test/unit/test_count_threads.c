/* test_count_threads.c - the numbers of keys that are kept, while threads write whatever changes them and
 * databases change places, under a worker that flushes and merges all the time, a clock that moves,
 * and crashes in between.
 *
 * Two oracles need no model. A number that is known as of a moment, and of which nothing has expired,
 * is what a walk of that moment finds, whatever is written meanwhile. And each of some databases has
 * one owner, a key that changes places with it and is never alone: as of one moment all owners are there,
 * each once.
 *
 *     COUNT_SECONDS=n    so long instead of some rounds
 *     TEST_SEED=n        the same draws again; threads interleave as they like */
#include "engine_world.h"

#include "engine/live_priv.h"
#include "engine/scan_priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define WRITERS 3
#define ASKERS 2
#define OWNED_DATABASES 3 /* 0, 1, 2 have owners */
#define ALL_DATABASES 5
#define KEYS 60
#define ROUNDS 12
#define ROUND_STEPS 250
#define OWNER_KEY QUERN_STR("owner")

static const uint8_t numbers[ALL_DATABASES] = {0, 1, 15, 5, 6};

struct shared {
    struct sim *sim;
    struct quern *db;
    _Atomic uint64_t time_ms;
    atomic_bool writing; /* the askers go on as long as it is so */
    _Atomic unsigned compared, known;
};
struct worker {
    struct shared *s;
    uint64_t random;
    pthread_t id;
};

static uint64_t draw(struct worker *w, uint64_t below)
{
    uint64_t z = w->random += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static atomic_bool failed;

static void must(enum quern_code code, const struct quern_error *err, const char *what)
{
    if (code == QUERN_OK)
        return;
    tap_fail(__FILE__, __LINE__, "%s: %s", what, err->text);
    atomic_store(&failed, true);
}

static uint8_t any_database(struct worker *w)
{
    return numbers[draw(w, ALL_DATABASES)];
}

static uint64_t any_expiry(struct worker *w)
{
    if (draw(w, 6) != 0)
        return 0;
    /* Most of them soon; some beyond a clock's reach. */
    return atomic_load(&w->s->time_ms) + 1 + draw(w, draw(w, 16) == 0 ? 8000 : 400);
}

/* ---- writers ---- */

static void add_some(struct worker *w, struct quern_batch *batch)
{
    struct quern_error err;
    unsigned n = (unsigned)draw(w, KEYS), m = n + (unsigned)draw(w, KEYS / 4);
    struct quern_range some = {world_key(n), world_key(m)};
    struct quern_range all = {{NULL, 0}, {NULL, 0}};

    switch (draw(w, 40)) {
    case 0:
        must(quern_batch_delete_range(batch, &some, &err), &err, "range");
        break;
    case 1: /* of those without owners */
        quern_batch_select(batch, numbers[OWNED_DATABASES + draw(w, 2)]);
        must(quern_batch_delete_range(batch, &all, &err), &err, "range");
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
    case 10:
        must(quern_batch_delete(batch, world_key(n), &err), &err, "delete");
        break;
    default:
        must(quern_batch_put_until(batch, world_key(n), world_value(n, 1), any_expiry(w), &err),
             &err, "put");
    }
}

static void add_swap(struct worker *w, struct quern_batch *batch)
{
    struct quern_error err;
    size_t from = draw(w, 2) ? 0 : OWNED_DATABASES;
    size_t count = from == 0 ? OWNED_DATABASES : ALL_DATABASES - OWNED_DATABASES;

    must(quern_batch_swap_databases(batch, numbers[from + draw(w, count)],
                                    numbers[from + draw(w, count)], &err),
         &err, "swap");
}

/* Nothing but its owner is left of a database. */
static enum quern_code empty_but_owner(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct worker *w = arg;
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_value value = {0};
    struct quern_range all = {{NULL, 0}, {NULL, 0}};
    enum quern_code code;

    if (draw(w, 3) == 0)
        add_swap(w, batch);
    quern_batch_select(batch, numbers[draw(w, OWNED_DATABASES)]);
    code = quern_update_get(u, OWNER_KEY, &value, err);
    if (code == QUERN_OK)
        code = quern_batch_delete_range(batch, &all, err);
    if (code == QUERN_OK)
        code = quern_batch_put(batch, OWNER_KEY, slice_of(value.data, value.len), err);
    if (draw(w, 3) == 0)
        add_swap(w, batch);
    quern_value_done(&value);
    return code;
}

static void write_batch(struct worker *w, struct quern_batch *batch)
{
    struct quern_write_opts opts = {.sync = draw(w, 10) == 0};
    struct quern_error err;

    quern_batch_clear(batch);
    for (uint64_t n = 1 + draw(w, 8); n > 0; n--) {
        if (draw(w, 30) == 0)
            add_swap(w, batch);
        quern_batch_select(batch, any_database(w));
        add_some(w, batch);
    }
    must(quern_write(w->s->db, batch, &opts, &err), &err, "write");
}

static void *write_things(void *arg)
{
    struct worker *w = arg;
    struct quern_batch *batch = quern_batch_new();
    struct quern_error err;

    for (unsigned n = 0; n < ROUND_STEPS; n++) {
        uint64_t kind = draw(w, 40);

        if (kind == 0)
            must(quern_update(w->s->db, empty_but_owner, w, NULL, &err), &err, "update");
        else if (kind == 1 && draw(w, 2) == 0)
            must(quern_flush(w->s->db, &err), &err, "flush");
        else if (kind == 2 && draw(w, 4) == 0)
            must(quern_compact(w->s->db, NULL, &err), &err, "compact");
        else if (kind < 6)
            sim_set_wall_ms(w->s->sim, atomic_fetch_add(&w->s->time_ms, draw(w, 6)));
        else
            write_batch(w, batch);
    }
    quern_batch_free(batch);
    return NULL;
}

/* ---- askers ---- */

/* What is known is what is there. */
static void compare(struct worker *w, uint8_t database, enum live_how how)
{
    struct shared *s = w->s;
    struct quern_error err;
    struct live_look look;
    uint64_t keys;
    enum quern_code code = live_look(s->db, database, how, &look, &err);

    if (code == QUERN_BUSY && how == LIVE_CACHED)
        return;
    must(code, &err, "look");
    if (code != QUERN_OK)
        return;
    atomic_fetch_add(&s->compared, 1);
    code = count_walk(s->db, &look, &keys, &err);
    must(code, &err, "walk");
    if (look.told) {
        atomic_fetch_add(&s->known, 1);
        if (keys != look.living && !atomic_exchange(&failed, true))
            tap_fail(__FILE__, __LINE__, "database %u: %" PRIu64 " are kept, %" PRIu64 " walked",
                     database, look.living, keys);
    } else if (how == LIVE_WHOLLY) {
        (void)live_learn(s->db, &look, keys);
    }
    live_end(s->db, &look);
}

static void owners_are_there(struct worker *w)
{
    struct quern_snapshot *snapshot;
    struct quern_error err;
    unsigned seen = 0;

    must(quern_snapshot_new(w->s->db, &snapshot, &err), &err, "snapshot");
    for (unsigned d = 0; d < OWNED_DATABASES; d++) {
        struct quern_read_opts opts = {.snapshot = snapshot, .database = numbers[d]};
        struct quern_value value = {0};

        must(quern_get(w->s->db, OWNER_KEY, &opts, &value, &err), &err, "owner");
        if (value.len == 1)
            seen |= 1u << *(const uint8_t *)value.data;
        quern_value_done(&value);
    }
    if (seen != (1u << OWNED_DATABASES) - 1 && !atomic_exchange(&failed, true))
        tap_fail(__FILE__, __LINE__, "the owners that are there are %x", seen);
    quern_snapshot_free(snapshot);
}

static void *ask_things(void *arg)
{
    struct worker *w = arg;
    struct quern_error err;

    while (atomic_load(&w->s->writing)) {
        switch (draw(w, 16)) {
        case 0:
            must(quern_verify(w->s->db, NULL, NULL, &err), &err, "verify");
            break;
        case 1:
        case 2:
            owners_are_there(w);
            break;
        case 3:
        case 4:
            compare(w, any_database(w), LIVE_CACHED);
            break;
        default:
            compare(w, any_database(w), LIVE_WHOLLY);
        }
    }
    return NULL;
}

/* ---- rounds ---- */

static void fill_owners(struct quern *db)
{
    struct quern_error err;

    for (uint8_t d = 0; d < OWNED_DATABASES; d++) {
        struct quern_write_opts opts = {.sync = true, .database = numbers[d]};

        must(quern_put(db, OWNER_KEY, slice_of(&d, 1), &opts, &err), &err, "owner");
    }
}

static struct quern_options small_options(struct worker *w)
{
    struct quern_options o = world_options();

    o.memdb_bytes = draw(w, 2) ? 4096 : 32 * 1024;
    o.table_bytes = 2048;
    o.tier_runs = 2 + (uint32_t)draw(w, 3);
    o.flush_interval_ms = draw(w, 2) ? 2 : 60000;
    o.compact_interval_ms = 1 + (uint32_t)draw(w, 2);
    return o;
}

/* The worker goes on meanwhile. */
static void no_number_is_negative(struct live *live)
{
    mutex_lock(&live->mu);
    for (uint8_t d = 0; d < QUERN_DATABASES; d++) {
        const struct live_count *n = &live_last_counts(live)[d];

        if (n->known && n->keys < 0 && !atomic_exchange(&failed, true))
            tap_fail(__FILE__, __LINE__, "%u inside: less than nothing", d);
    }
    mutex_unlock(&live->mu);
}

static void play_round(struct shared *s, struct worker *own)
{
    struct worker all[WRITERS + ASKERS];
    struct quern_error err;

    atomic_store(&s->writing, true);
    for (unsigned i = 0; i < WRITERS + ASKERS; i++) {
        all[i] = (struct worker){.s = s, .random = draw(own, UINT64_MAX)};
        if (pthread_create(&all[i].id, NULL, i < WRITERS ? write_things : ask_things, &all[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < WRITERS + ASKERS; i++) {
        if (i == WRITERS)
            atomic_store(&s->writing, false);
        (void)pthread_join(all[i].id, NULL);
    }
    owners_are_there(own);
    for (unsigned i = 0; i < ALL_DATABASES; i++)
        compare(own, numbers[i], LIVE_WHOLLY);
    no_number_is_negative(&s->db->live);
    must(quern_verify(s->db, NULL, NULL, &err), &err, "verify");
}

/* Closed, or crashed. */
static void go_on(struct shared *s, struct worker *own)
{
    struct quern_options options = small_options(own);
    struct quern_error err;
    struct sim *left = NULL;
    uint64_t how = draw(own, 4);

    if (how < 2)
        left = sim_crash(s->sim, own->random, how == 0 ? SIM_RANDOM : SIM_KEEP_ALL);
    must(quern_close(s->db, &err), &err, "close");
    if (left != NULL) {
        sim_free(s->sim);
        s->sim = left;
        sim_set_wall_ms(s->sim, atomic_load(&s->time_ms));
    }
    must(world_open(s->sim, &options, &s->db, &err), &err, "open");
    owners_are_there(own);
    for (unsigned i = 0; i < ALL_DATABASES && draw(own, 3) != 0; i++)
        compare(own, numbers[i], LIVE_WHOLLY);
    must(quern_verify(s->db, NULL, NULL, &err), &err, "verify");
}

TEST(what_is_known_is_what_a_walk_finds_while_threads_write_and_databases_change_places)
{
    const char *seconds = getenv("COUNT_SECONDS");
    time_t end = time(NULL) + (seconds != NULL ? atol(seconds) : 0);
    struct shared s = {.sim = sim_new(1), .time_ms = 1000000};
    struct worker own = {.s = &s, .random = tap_seed()};
    struct quern_options options = small_options(&own);
    struct quern_error err;

    sim_set_wall_ms(s.sim, s.time_ms);
    CHECK_OK(world_open(s.sim, &options, &s.db, &err), &err);
    fill_owners(s.db);
    for (unsigned n = 0; !failed && (n < ROUNDS || time(NULL) < end); n++) {
        play_round(&s, &own);
        go_on(&s, &own);
    }
    tap_note("%u compared, %u of them known", s.compared, s.known);
    CHECK(s.known > 0);
    CHECK_OK(quern_close(s.db, &err), &err);
    sim_free(s.sim);
}
