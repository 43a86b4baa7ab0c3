/* damage_store.h - the store that test_damage.c damages: what was written and what is there after
 * each write, the files of its disk, and what its log tells, read without the room that is under
 * test. */
#ifndef TEST_DAMAGE_STORE_H
#define TEST_DAMAGE_STORE_H

#include "engine_world.h"

#include "record/record.h"

#include <unistd.h>

#define KEYS 40
#define WRITES_MAX 400
#define VALUE_MAX 3000
#define FILES_MAX 64
#define LINK_AT 4096u
#define SALT_AT 56u

/* ---- what is written ---- */

struct cell {
    unsigned n; /* the write it comes from; 0: no such key */
    size_t len;
};

struct file {
    char name[OS_NAME_BYTES_MAX];
    uint8_t *bytes;
    uint64_t len;
};

struct image { /* the files of a disk */
    struct file file[FILES_MAX];
    size_t count;
};

struct told { /* one record of the live log */
    char name[OS_NAME_BYTES_MAX];
    uint64_t at, bytes, salt, segment_no;
    quern_seq durable_seq;
};

struct store {
    struct sim *sim;
    struct quern_options options;
    unsigned writes;
    struct cell state[WRITES_MAX][KEYS]; /* after the first p writes */
    struct image now, old;               /* as it is, and some time before */
    struct told told[2 * WRITES_MAX];
    size_t told_count;
    quern_seq flushed_seq;
    uint64_t log_first, log_last;             /* of the live log; first > last: none */
    uint64_t log_begun;                       /* the last segment that the manifest ever named */
    char table[FILES_MAX][OS_NAME_BYTES_MAX]; /* of the manifest */
    size_t table_count;
};

static struct quern_slice key_of(unsigned key)
{
    static char names[KEYS][40];

    (void)snprintf(names[key], sizeof(names[key]), "key-%02u%.*s", key, (int)(key % 5) * 5,
                   "........................");
    return QUERN_STR(names[key]);
}

/* The value of write n under a key: its number, then bytes that follow from both. */
static struct quern_slice value_of(unsigned n, unsigned key, size_t len)
{
    static uint8_t room[VALUE_MAX];

    (void)snprintf((char *)room, 12, "%010u:", n);
    for (size_t i = 11; i < len; i++)
        room[i] = (uint8_t)(n * 31 + key * 7 + i * (1 + n % 3));
    return (struct quern_slice){room, len};
}

static bool write_one(struct store *s, struct quern *db, unsigned key, size_t len, bool sync)
{
    struct quern_write_opts opts = {.sync = sync};
    unsigned n = ++s->writes;
    struct quern_error err;
    enum quern_code code;

    memcpy(s->state[n], s->state[n - 1], sizeof(s->state[0]));
    s->state[n][key] = len == 0 ? (struct cell){0, 0} : (struct cell){n, len};
    code = len == 0 ? quern_delete(db, key_of(key), &opts, &err)
                    : quern_put(db, key_of(key), value_of(n, key, len), &opts, &err);
    return EXPECT(code == QUERN_OK);
}

/* Keys from, from + step, ...; every fifth is deleted when it was there. */
static bool write_some(struct store *s, struct quern *db, unsigned from, unsigned step, size_t len,
                       bool sync)
{
    bool fine = true;

    for (unsigned key = from; fine && key < KEYS; key += step)
        fine = write_one(
            s, db, key,
            s->state[s->writes][key].n != 0 && s->writes % 5 == 0 ? 0 : len + s->writes % 90, sync);
    return fine;
}

/* ---- the files of a disk ---- */

static void image_free(struct image *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->file[i].bytes);
    all->count = 0;
}

static void image_read(struct sim *sim, struct image *all)
{
    struct world_files names = {0};

    world_list(sim, &names);
    all->count = 0;
    for (size_t i = 0; i < names.count; i++) {
        struct file *f = &all->file[all->count++];

        (void)snprintf(f->name, sizeof(f->name), "%s", names.file[i].name);
        f->bytes = world_read(sim, f->name, &f->len);
    }
}

static const struct file *image_find(const struct image *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->file[i].name, name) == 0)
            return &all->file[i];
    return NULL;
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0;
}

static bool is_log(const char *name)
{
    return ends_in(name, ".wal");
}

static bool is_table(const char *name)
{
    return ends_in(name, ".sst");
}

static bool is_manifest(const char *name)
{
    return strncmp(name, "MANIFEST-", 9) == 0;
}

/* Files that hold nothing: a few places of them are enough. */
static bool is_hollow(const char *name)
{
    return strcmp(name, "BALLAST") == 0 || strcmp(name, "LOCK") == 0;
}

/* ---- what the log tells, read without the room that is under test ---- */

static uint64_t u64_at(const uint8_t *at)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | at[i];
    return v;
}

static void read_log(struct store *s)
{
    for (uint64_t no = s->log_first; no <= s->log_last; no++) {
        char name[WAL_NAME_BYTES];
        const struct file *f;
        struct record r;

        wal_name(name, no);
        f = image_find(&s->now, name);
        for (uint64_t at = LINK_AT; f != NULL && at < f->len;) {
            uint64_t salt = u64_at(f->bytes + SALT_AT);
            struct told *t = &s->told[s->told_count];

            if (!record_read(f->bytes + at, f->len - at, salt, at, &r))
                break;
            (void)snprintf(t->name, sizeof(t->name), "%s", name);
            t->at = at;
            t->bytes = record_total(&r);
            t->salt = salt;
            t->segment_no = no;
            t->durable_seq = r.durable_seq;
            s->told_count++;
            at = record_start(at + t->bytes);
        }
    }
}

/* The highest number that the records which `sim` still has whole say was durable. */
static quern_seq still_told(const struct store *s, struct sim *sim)
{
    quern_seq best = s->flushed_seq;
    uint8_t *bytes = NULL;
    uint64_t len = 0;
    const char *have = "";

    for (size_t i = 0; i < s->told_count; i++) {
        const struct told *t = &s->told[i];
        struct record r;

        if (strcmp(have, t->name) != 0) {
            free(bytes);
            bytes = world_read(sim, t->name, &len);
            have = t->name;
        }
        if (bytes != NULL && t->at < len &&
            record_read(bytes + t->at, len - t->at, t->salt, t->at, &r) && r.durable_seq > best)
            best = r.durable_seq;
    }
    free(bytes);
    return best;
}

/* ---- making the store ---- */

enum ending {
    CLOSED,  /* in order */
    MARKED,  /* killed: all is durable, and the log says so */
    SYNCED,  /* killed: all is durable, and nothing was written that says so of the last group */
    WRITTEN, /* killed: the last groups were not synced */
};

static struct quern_options store_options(void)
{
    struct quern_options o = world_options();

    o.memdb_bytes = 200 * 1024;
    o.table_bytes = 8 * 1024;
    return o;
}

static void mark(struct quern *db)
{
    struct quern_error err;

    while (!engine_try_lead(db))
        (void)usleep(1000);
    (void)EXPECT(wal_mark(db->wal, &err) == QUERN_OK);
    engine_stop_leading(db);
}

/* Tables in the bottom run and in two runs of tier 0. */
static bool fill_tables(struct store *s, struct quern *db)
{
    struct quern_error err;

    return write_some(s, db, 0, 1, 60, false) && write_some(s, db, 3, 9, 2500, false) &&
           EXPECT(quern_compact(db, NULL, &err) == QUERN_OK) &&
           write_some(s, db, 1, 3, 100, false) && EXPECT(quern_flush(db, &err) == QUERN_OK) &&
           write_some(s, db, 2, 4, 90, true) && EXPECT(quern_flush(db, &err) == QUERN_OK);
}

/* Some segments of log: groups written both ways, with pads between. */
static bool fill_log(struct store *s, struct quern *db, enum ending ending)
{
    struct quern_error err;
    bool fine = true;

    for (unsigned round = 0; fine && round < 4; round++)
        fine = write_some(s, db, round, 3, 2200, round % 2 == 1);
    fine = fine && write_some(s, db, 5, 9, 120, true);
    if (fine && ending == MARKED)
        mark(db);
    if (fine && ending == WRITTEN) {
        mark(db);
        fine = write_some(s, db, 4, 7, 150, true) && write_some(s, db, 6, 8, 130, false);
    }
    (void)err;
    return fine;
}

static void note_state(struct store *s, struct quern *db)
{
    const struct manifest_state *state = manifest_state(db->manifest);

    s->flushed_seq = state->flushed_seq;
    s->log_first = state->log_first;
    s->log_last = s->log_begun = state->log_last;
    s->table_count = state->table_count;
    for (size_t i = 0; i < state->table_count; i++)
        table_name(s->table[i], state->tables[i].meta.table_no);
}

static bool store_make(struct store *s, uint64_t seed, enum ending ending)
{
    struct sim *sim = sim_new(seed);
    struct quern *db = NULL;
    struct quern_error err;
    bool fine;

    memset(s, 0, sizeof(*s));
    s->options = store_options();
    (void)world_write(sim, "BALLAST", "nothing", 7); /* as an idle store makes it */
    /* Two lives: the first leaves spare segments to the second. */
    fine = EXPECT(world_open(sim, &s->options, &db, &err) == QUERN_OK) && fill_log(s, db, CLOSED) &&
           EXPECT(quern_close(db, &err) == QUERN_OK) &&
           EXPECT(world_open(sim, &s->options, &db, &err) == QUERN_OK) && fill_tables(s, db);
    if (fine)
        image_read(sim, &s->old);
    fine = fine && fill_log(s, db, ending);
    if (fine && ending == CLOSED) {
        uint64_t log_begun = manifest_state(db->manifest)->log_last;

        fine = EXPECT(quern_close(db, &err) == QUERN_OK);
        s->sim = sim_crash(sim, seed, SIM_KEEP_ALL);
        fine = fine && EXPECT(world_open(sim, &s->options, &db, &err) == QUERN_OK);
        if (fine)
            note_state(s, db); /* tables only: the log is another one now */
        s->log_first = 1;
        s->log_last = 0;
        s->log_begun = log_begun;
    } else if (fine) {
        note_state(s, db);
        s->sim = sim_crash(sim, seed, SIM_KEEP_ALL);
    }
    if (db != NULL)
        (void)quern_close(db, &err);
    sim_free(sim);
    if (!fine)
        return false;
    image_read(s->sim, &s->now);
    read_log(s);
    return true;
}

static void store_free(struct store *s)
{
    image_free(&s->now);
    image_free(&s->old);
    sim_free(s->sim);
}

#endif
