/* engine_world.h - a store on the simulated disk, small enough that every transition is near, with
 * numbered keys and values that tell where they belong. */
#ifndef TEST_ENGINE_WORLD_H
#define TEST_ENGINE_WORLD_H

#include "sim.h"
#include "tap.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_PATH "/db"

/* No background work of its own: flushes and merges come when asked, or when a MemDB is full. */
static inline struct quern_options world_options(void)
{
    return (struct quern_options){
        .memory_bytes = 1 << 20,
        .memdb_bytes = 64 * 1024,
        .log_segment_bytes = 64 * 1024,
        .table_bytes = 16 * 1024,
        .block_bytes = 256,
        .flush_interval_ms = 3600 * 1000,
        .compact_interval_ms = 3600 * 1000,
        .tier_runs = 16,
    };
}

static inline enum quern_code world_open(struct sim *sim, const struct quern_options *options,
                                         struct quern **db, struct quern_error *err)
{
    struct quern_options usual = world_options();

    return engine_open(sim_os(sim), WORLD_PATH, options != NULL ? options : &usual, db, err);
}

static inline struct quern_slice world_key(unsigned n)
{
    static __thread char text[4][24];
    static __thread unsigned at;

    at = (at + 1) % 4;
    (void)snprintf(text[at], sizeof(text[at]), "key-%06u", n);
    return QUERN_STR(text[at]);
}

/* The same as it is inside, in database 0. */
static inline struct quern_slice world_inner_key(unsigned n)
{
    static __thread char text[24];
    struct quern_slice key = world_key(n);

    return slice_of(text, (size_t)(inner_put((uint8_t *)text, 0, key) - (uint8_t *)text));
}

/* The value of key n in its v-th version: 100 bytes. */
static inline struct quern_slice world_value(unsigned n, unsigned v)
{
    static __thread char text[101];

    memset(text, 'a' + (char)((n + v) % 26), 100);
    text[snprintf(text, 40, "value %u of key %u", v, n)] = '.';
    return (struct quern_slice){text, 100};
}

static inline enum quern_code world_put(struct quern *db, unsigned n, unsigned v, bool sync,
                                        struct quern_error *err)
{
    struct quern_write_opts opts = {.sync = sync};

    return quern_put(db, world_key(n), world_value(n, v), &opts, err);
}

/* Keys from..to-1 in version v. */
static inline enum quern_code world_fill(struct quern *db, unsigned from, unsigned to, unsigned v,
                                         struct quern_error *err)
{
    enum quern_code code = QUERN_OK;

    for (; code == QUERN_OK && from < to; from++)
        code = world_put(db, from, v, false, err);
    return code;
}

/* What a get says; wrong bytes are CORRUPT with a story of their own. */
static inline enum quern_code world_get(struct quern *db, unsigned n, unsigned v,
                                        struct quern_error *err)
{
    struct quern_value value = {0};
    enum quern_code code = quern_get(db, world_key(n), NULL, &value, err);
    struct quern_slice want = world_value(n, v);

    if (code == QUERN_OK && (value.len != want.len || memcmp(value.data, want.data, want.len) != 0))
        code = err_set(err, QUERN_CORRUPT, "key %u has wrong bytes", n);
    else if (code == QUERN_NOT_FOUND)
        code = err_set(err, QUERN_NOT_FOUND, "key %u is not there", n);
    quern_value_done(&value);
    return code;
}

/* Are keys from..to-1 all there in version v? */
static inline enum quern_code world_check(struct quern *db, unsigned from, unsigned to, unsigned v,
                                          struct quern_error *err)
{
    enum quern_code code = QUERN_OK;

    for (; code == QUERN_OK && from < to; from++)
        code = world_get(db, from, v, err);
    return code;
}

/* ---- files of the disk by hand ---- */

struct world_file {
    char name[OS_NAME_BYTES_MAX];
    uint64_t bytes;
    uint64_t hash;
};
struct world_files {
    struct world_file file[64];
    size_t count;
};

static inline enum quern_code world_see(void *arg, const char *name, struct quern_error *err)
{
    struct world_files *all = arg;

    (void)err;
    if (all->count < 64) {
        struct world_file *f = &all->file[all->count++];

        (void)snprintf(f->name, sizeof(f->name), "%s", name);
    }
    return QUERN_OK;
}

static inline int world_by_name(const void *a, const void *b)
{
    return strcmp(((const struct world_file *)a)->name, ((const struct world_file *)b)->name);
}

/* All of a file; free(). */
static inline uint8_t *world_read(struct sim *sim, const char *name, uint64_t *bytes)
{
    struct os_dir *dir = NULL;
    struct os_file *file = NULL;
    struct quern_error err;
    uint8_t *all = NULL;

    if (os_dir_open(sim_os(sim), WORLD_PATH, false, &dir, &err) == QUERN_OK &&
        os_file_open(dir, name, OS_READ, &file, &err) == QUERN_OK &&
        os_file_size(file, bytes, &err) == QUERN_OK && (all = malloc(*bytes + 1)) != NULL &&
        os_file_read(file, all, *bytes, 0, &err) != QUERN_OK) {
        free(all);
        all = NULL;
    }
    os_file_drop(file);
    os_dir_close(dir);
    return all;
}

/* The directory as it is: names in order, sizes, contents. */
static inline void world_list(struct sim *sim, struct world_files *out)
{
    struct os_dir *dir = NULL;
    struct quern_error err;

    out->count = 0;
    if (os_dir_open(sim_os(sim), WORLD_PATH, false, &dir, &err) == QUERN_OK)
        (void)!os_dir_list(dir, world_see, out, &err);
    os_dir_close(dir);
    qsort(out->file, out->count, sizeof(out->file[0]), world_by_name);
    for (size_t i = 0; i < out->count; i++) {
        uint64_t bytes = 0;
        uint8_t *all = world_read(sim, out->file[i].name, &bytes);

        out->file[i].bytes = bytes;
        out->file[i].hash = 14695981039346656037u;
        for (uint64_t b = 0; all != NULL && b < bytes; b++)
            out->file[i].hash = (out->file[i].hash ^ all[b]) * 1099511628211u;
        free(all);
    }
}

/* The index of a name that ends so, from `at` on; count when there is none. */
static inline size_t world_find(const struct world_files *all, const char *end, size_t at)
{
    for (; at < all->count; at++) {
        size_t n = strlen(all->file[at].name), m = strlen(end);

        if (n >= m && strcmp(all->file[at].name + n - m, end) == 0)
            break;
    }
    return at;
}

static inline bool world_remove(struct sim *sim, const char *name)
{
    struct os_dir *dir = NULL;
    struct quern_error err;
    bool fine = os_dir_open(sim_os(sim), WORLD_PATH, false, &dir, &err) == QUERN_OK &&
                os_dir_remove(dir, name, &err) == QUERN_OK && os_dir_sync(dir, &err) == QUERN_OK;

    os_dir_close(dir);
    return fine;
}

/* Make a file, or put other bytes in its place. */
static inline bool world_write(struct sim *sim, const char *name, const void *bytes, size_t len)
{
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    struct os_dir *dir = NULL;
    struct os_file *file = NULL;
    struct quern_error err;
    uint64_t old;
    bool fine = os_dir_open(sim_os(sim), WORLD_PATH, true, &dir, &err) == QUERN_OK;

    if (fine && os_dir_stat(dir, name, &old, &err) == QUERN_OK)
        fine = os_dir_remove(dir, name, &err) == QUERN_OK;
    fine = fine && os_file_open(dir, name, OS_WRITE | OS_CREATE, &file, &err) == QUERN_OK &&
           os_file_write(file, &piece, 1, 0, &err) == QUERN_OK &&
           os_file_sync(file, &err) == QUERN_OK && os_dir_sync(dir, &err) == QUERN_OK;
    os_file_drop(file);
    os_dir_close(dir);
    return fine;
}

/* Where what was written lies. */
enum place { IN_MEMDB, FLUSHED, MERGED, REOPENED, KILLED, POWER_CUT, PLACES };

/* Bring what was written there; behind KILLED and POWER_CUT the disk is another one. */
static inline bool world_bring_to(struct sim **sim, struct quern **db, enum place place)
{
    struct quern_error err;
    struct sim *after;

    switch (place) {
    case IN_MEMDB:
        return true;
    case FLUSHED:
        return quern_flush(*db, &err) == QUERN_OK;
    case MERGED:
        return quern_compact(*db, NULL, &err) == QUERN_OK;
    case REOPENED:
        return quern_close(*db, &err) == QUERN_OK && world_open(*sim, NULL, db, &err) == QUERN_OK;
    default:
        if (quern_sync(*db, &err) != QUERN_OK)
            return false;
        after = sim_crash(*sim, 7, place == KILLED ? SIM_KEEP_ALL : SIM_DROP_ALL);
        IGNORE(quern_close(*db, &err));
        sim_free(*sim);
        *sim = after;
        return world_open(*sim, NULL, db, &err) == QUERN_OK;
    }
}

#endif
