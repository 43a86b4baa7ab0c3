/* count_world.h - the number of keys of a database, by every way there is to it. */
#ifndef TEST_COUNT_WORLD_H
#define TEST_COUNT_WORLD_H

#include "engine_world.h"

static struct quern_error err;

#define NOT_KEPT UINT64_MAX

/* As the number is kept: nothing is walked, and no block read. */
static inline uint64_t kept(struct quern *db, unsigned database)
{
    struct quern_read_opts opts = {.cached = true, .database = (uint8_t)database};
    uint64_t n = 0;
    enum quern_code code = quern_count(db, NULL, &opts, &n, &err);

    if (code != QUERN_OK && code != QUERN_BUSY)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return code == QUERN_OK ? n : NOT_KEPT;
}

static inline uint64_t asked(struct quern *db, unsigned database)
{
    struct quern_read_opts opts = {.database = (uint8_t)database};
    uint64_t n = 0;

    if (quern_count(db, NULL, &opts, &n, &err) != QUERN_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return n;
}

static inline uint64_t walked(struct quern *db, unsigned database)
{
    struct quern_iter_opts how = {.database = (uint8_t)database};
    struct quern_iter *it = NULL;
    uint64_t n = 0;

    if (quern_iter_new(db, &how, &it, &err) != QUERN_OK)
        return NOT_KEPT - 1;
    for (bool on = quern_iter_first(it); on; on = quern_iter_next(it))
        n++;
    quern_iter_free(it);
    return n;
}

/* Of those that a walk finds, so many expire, in so long on average. */
static inline bool expiring_fit(struct quern *db, unsigned database)
{
    struct quern_iter_opts how = {.database = (uint8_t)database};
    struct quern_living living = {0};
    struct quern_iter *it = NULL;
    uint64_t now = engine_time_ms(db), n = 0, ttl = 0;

    if (quern_count_living(db, (uint8_t)database, false, &living, &err) != QUERN_OK ||
        quern_iter_new(db, &how, &it, &err) != QUERN_OK)
        return false;
    for (bool on = quern_iter_first(it); on; on = quern_iter_next(it))
        if (quern_iter_expires_ms(it) != 0) {
            n++;
            ttl += quern_iter_expires_ms(it) - now;
        }
    quern_iter_free(it);
    return living.expiring == n && living.ttl_ms == (n != 0 ? ttl / n : 0);
}

/* By every way; what is kept last, since all is counted by then. */
static inline bool is(struct quern *db, unsigned database, uint64_t n)
{
    uint64_t one = walked(db, database), two = asked(db, database), three = kept(db, database);

    if (one != n || two != n || three != n)
        tap_note("database %u: %lld walked, %lld asked for, %lld kept", database, (long long)one,
                 (long long)two, (long long)three);
    return one == n && two == n && three == n;
}

static inline enum quern_code drop_range(struct quern *db, unsigned database,
                                         struct quern_slice start, struct quern_slice end)
{
    struct quern_write_opts opts = {.database = (uint8_t)database};
    struct quern_range range = {start, end};

    return quern_delete_range(db, &range, &opts, &err);
}

static inline enum quern_code drop_all(struct quern *db, unsigned database)
{
    return drop_range(db, database, slice_of(NULL, 0), slice_of(NULL, 0));
}

static inline enum quern_code put_until(struct quern *db, unsigned database, unsigned n,
                                        uint64_t expires)
{
    struct quern_write_opts opts = {.expires_ms = expires, .database = (uint8_t)database};

    return quern_put(db, world_key(n), world_value(n, 1), &opts, &err);
}

/* A store that has been asked already: the number is kept from now on. */
static inline struct quern *asked_store(struct sim *sim)
{
    struct quern *db = NULL;

    if (world_open(sim, NULL, &db, &err) != QUERN_OK || kept(db, 0) != 0)
        tap_fail(__FILE__, __LINE__, "a new store is not known to be empty: %s", err.text);
    return db;
}

#endif
