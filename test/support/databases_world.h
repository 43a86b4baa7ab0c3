/* databases_world.h - engine_world.h with words for its sixteen databases. */
#ifndef TEST_DATABASES_WORLD_H
#define TEST_DATABASES_WORLD_H

#include "engine_world.h"

#define LAST (QUERN_DATABASES - 1)

static inline struct quern_write_opts into(unsigned database)
{
    return (struct quern_write_opts){.database = (uint8_t)database};
}

static inline struct quern_read_opts from(unsigned database)
{
    return (struct quern_read_opts){.database = (uint8_t)database};
}

static inline enum quern_code put(struct quern *db, unsigned database, struct quern_slice key,
                                  const char *value, struct quern_error *err)
{
    struct quern_write_opts opts = into(database);

    return quern_put(db, key, QUERN_STR(value), &opts, err);
}

/* NULL: it is not there. */
static inline bool has(struct quern *db, unsigned database, struct quern_slice key,
                       const char *want)
{
    struct quern_read_opts opts = from(database);
    struct quern_value value = {0};
    struct quern_error err = {0};
    enum quern_code code = quern_get(db, key, &opts, &value, &err);
    bool right = want == NULL ? code == QUERN_NOT_FOUND
                              : code == QUERN_OK && value.len == strlen(want) &&
                                    memcmp(value.data, want, value.len) == 0;

    quern_value_done(&value);
    return right;
}

static inline uint64_t count(struct quern *db, unsigned database)
{
    struct quern_read_opts opts = from(database);
    struct quern_error err;
    uint64_t n = 0;

    return quern_count(db, NULL, &opts, &n, &err) == QUERN_OK ? n : UINT64_MAX;
}

#endif
