/* Numbered databases: sixteen orders of keys in one store, which share everything but their keys. */
#include "databases_world.h"

#include "base/hash.h"
#include "engine/remains_priv.h"

/* Keys of every length that a short or long way through the doors is taken for. */
static struct quern_slice long_key(size_t len, char *room)
{
    memset(room, 'k', len);
    return slice_of(room, len);
}

TEST(a_key_is_in_its_database_alone_whatever_its_length)
{
    static const size_t lens[] = {1,  2,  7,  8,  9,   15,  16,    17,    23, 24,
                                  25, 62, 63, 64, 500, 511, 65535, 65536, 0};
    struct sim *sim OWNED(sim_free) = sim_new(1);
    char *room = malloc(QUERN_KEY_BYTES_MAX);
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; round == 0 && lens[i] != 0; i++)
            for (unsigned d = 0; d <= LAST; d += 5) {
                char value[40];

                (void)snprintf(value, sizeof(value), "%zu of %u", lens[i], d);
                CHECK_OK(put(db, d, long_key(lens[i], room), value, &err), &err);
            }
        for (size_t i = 0; lens[i] != 0; i++)
            for (unsigned d = 0; d <= LAST; d++) {
                char value[40];

                (void)snprintf(value, sizeof(value), "%zu of %u", lens[i], d);
                CHECK(has(db, d, long_key(lens[i], room), d % 5 == 0 ? value : NULL));
            }
        if (round == 0)
            CHECK_OK(quern_compact(db, NULL, &err), &err);
        if (round == 1) {
            CHECK_OK(quern_close(db, &err), &err);
            CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        }
    }
    CHECK_OK(quern_close(db, &err), &err);
    free(room);
}

TEST(many_keys_are_read_from_one_database)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_error err = {0};
    struct quern_value values[4] = {0};
    struct quern_read_opts opts = from(7);
    enum quern_code codes[4];
    struct quern *db;
    char room[100];
    struct quern_slice keys[4] = {QUERN_STR("a"), QUERN_STR("b"), long_key(100, room), {"", 0}};

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 7, keys[0], "seven", &err), &err);
    CHECK_OK(put(db, 6, keys[1], "six", &err), &err);
    CHECK_OK(put(db, 7, keys[2], "long", &err), &err);
    CHECK_CODE(quern_multi_get(db, keys, 4, &opts, values, codes, &err), QUERN_INVALID);
    CHECK(codes[0] == QUERN_OK && memcmp(values[0].data, "seven", 5) == 0);
    CHECK_EQ(codes[1], QUERN_NOT_FOUND);
    CHECK(codes[2] == QUERN_OK && memcmp(values[2].data, "long", 4) == 0);
    CHECK_EQ(codes[3], QUERN_INVALID); /* an empty key */
    for (size_t i = 0; i < 4; i++)
        quern_value_done(&values[i]);
    CHECK_OK(quern_close(db, &err), &err);
}

/* On the very edges of its neighbours, which hold the least and the greatest keys there are. */
TEST(an_iterator_never_leaves_its_database)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_iter_opts opts = {.database = 4};
    struct quern_error err = {0};
    struct quern_iter *it;
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned d = 3; d <= 5; d++) {
        CHECK_OK(put(db, d, slice_of("\0", 1), "least", &err), &err);
        CHECK_OK(put(db, d, slice_of("\xff\xff\xff", 3), "greatest", &err), &err);
    }
    for (int round = 0; round < 2; round++) {
        CHECK_OK(quern_iter_new(db, &opts, &it, &err), &err);
        CHECK(quern_iter_first(it) && key_equal(quern_iter_key(it), slice_of("\0", 1)));
        CHECK(quern_iter_next(it) && key_equal(quern_iter_key(it), slice_of("\xff\xff\xff", 3)));
        CHECK(!quern_iter_next(it));
        CHECK(quern_iter_last(it) && quern_iter_prev(it) && !quern_iter_prev(it));
        CHECK(!quern_iter_seek(it, slice_of("\xff\xff\xff\xff", 4)));
        CHECK(quern_iter_seek_back(it, slice_of("\xff\xff\xff\xff", 4)));
        CHECK(key_equal(quern_iter_key(it), slice_of("\xff\xff\xff", 3)));
        CHECK(quern_iter_seek(it, slice_of("", 0)) &&
              key_equal(quern_iter_key(it), slice_of("\0", 1)));
        CHECK(!quern_iter_seek_back(it, slice_of("", 0)));
        quern_iter_free(it);
        opts.prefix = slice_of("\xff\xff", 2);
        CHECK_OK(quern_iter_new(db, &opts, &it, &err), &err);
        CHECK(quern_iter_first(it) && !quern_iter_next(it));
        CHECK(quern_iter_last(it) && !quern_iter_prev(it));
        quern_iter_free(it);
        opts.prefix.len = 0;
        CHECK_EQ(count(db, 4), 2);
        CHECK_EQ(count(db, 6), 0);
        CHECK_OK(quern_compact(db, NULL, &err), &err);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

TEST(a_number_above_15_is_refused_everywhere)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_write_opts write = into(LAST + 1);
    struct quern_read_opts read = from(LAST + 1);
    struct quern_iter_opts iterate = {.database = 255};
    struct quern_slice key = QUERN_STR("key");
    struct quern_value value = {0};
    struct quern_error err = {0};
    enum quern_code code;
    struct quern_iter *it;
    struct quern *db;
    uint64_t n;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(quern_put(db, key, key, &write, &err), QUERN_INVALID);
    CHECK_CODE(quern_delete(db, key, &write, &err), QUERN_INVALID);
    CHECK_CODE(quern_get(db, key, &read, &value, &err), QUERN_INVALID);
    CHECK_CODE(quern_multi_get(db, &key, 1, &read, &value, &code, &err), QUERN_INVALID);
    CHECK_EQ(code, QUERN_INVALID);
    CHECK_CODE(quern_iter_new(db, &iterate, &it, &err), QUERN_INVALID);
    CHECK_CODE(quern_count(db, NULL, &read, &n, &err), QUERN_INVALID);
    quern_batch_select(batch, LAST + 1);
    CHECK_CODE(quern_batch_put(batch, key, key, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_delete(batch, key, &err), QUERN_INVALID);
    CHECK_CODE(quern_batch_require(batch, QUERN_REQUIRE_ABSENT, key, 0, &err), QUERN_INVALID);
    CHECK_EQ(quern_batch_count(batch), 0);
    quern_batch_clear(batch); /* back in database 0 */
    CHECK_OK(quern_batch_put(batch, key, QUERN_STR("0"), &err), &err);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK(has(db, 0, key, "0"));
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

/* The same key in two databases: each check is of its own. */
TEST(a_batch_writes_and_checks_in_several_databases)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_batch *batch = quern_batch_new();
    struct quern_slice key = QUERN_STR("key");
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(put(db, 1, key, "one", &err), &err);
    CHECK_OK(quern_batch_require(batch, QUERN_REQUIRE_ABSENT, key, 0, &err), &err);
    quern_batch_select(batch, 1);
    CHECK_OK(quern_batch_require(batch, QUERN_REQUIRE_PRESENT, key, 0, &err), &err);
    CHECK_OK(quern_batch_delete(batch, key, &err), &err);
    quern_batch_select(batch, 2);
    CHECK_OK(quern_batch_put(batch, key, QUERN_STR("two"), &err), &err);
    CHECK_OK(quern_write(db, batch, NULL, &err), &err);
    CHECK(has(db, 0, key, NULL) && has(db, 1, key, NULL) && has(db, 2, key, "two"));
    CHECK_CODE(quern_write(db, batch, NULL, &err), QUERN_CONFLICT);
    CHECK_EQ(err.check, 1);
    quern_batch_free(batch);
    CHECK_OK(quern_close(db, &err), &err);
}

/* As MOVE does: if it is there, and not there yet. */
static enum quern_code move_key(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_value value = {0}, there = {0};
    struct quern_slice key = QUERN_STR("key");
    enum quern_code code;

    (void)arg;
    quern_batch_select(batch, 1);
    code = quern_update_get(u, key, &value, err);
    if (code == QUERN_OK)
        code = quern_batch_delete(batch, key, err);
    if (code == QUERN_OK && quern_update_get(u, key, &there, err) != QUERN_NOT_FOUND)
        code = err_set(err, QUERN_INVALID, "what was deleted is there");
    quern_batch_select(batch, 9);
    if (code == QUERN_OK && quern_update_get(u, key, &there, err) == QUERN_OK)
        code = err_set(err, QUERN_CONFLICT, "it is there already");
    if (code == QUERN_OK)
        code = quern_batch_put(batch, key, slice_of(value.data, value.len), err);
    quern_value_done(&value);
    quern_value_done(&there);
    return code;
}

TEST(an_update_moves_a_key_from_one_database_to_another)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_slice key = QUERN_STR("key");
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_CODE(quern_update(db, move_key, NULL, NULL, &err), QUERN_NOT_FOUND);
    CHECK_OK(put(db, 1, key, "moves", &err), &err);
    CHECK_OK(put(db, 0, key, "stays", &err), &err);
    CHECK_OK(quern_update(db, move_key, NULL, NULL, &err), &err);
    CHECK(has(db, 0, key, "stays") && has(db, 1, key, NULL) && has(db, 9, key, "moves"));
    CHECK_OK(put(db, 1, key, "again", &err), &err);
    CHECK_CODE(quern_update(db, move_key, NULL, NULL, &err), QUERN_CONFLICT);
    CHECK(has(db, 1, key, "again"));
    CHECK_OK(quern_close(db, &err), &err);
}

/* Enough in each for tables and MemDB nodes of one and of several databases. */
TEST(databases_keep_their_keys_through_flush_merge_and_reopen)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_error err = {0};
    struct quern *db;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    for (unsigned n = 0; n < 4000; n++) {
        struct quern_write_opts opts = into(n * 7 % QUERN_DATABASES);

        CHECK_OK(quern_put(db, world_key(n), world_value(n, 1), &opts, &err), &err);
    }
    for (int round = 0; round < 3; round++) {
        for (unsigned d = 0; d <= LAST; d++)
            CHECK_EQ(count(db, d), 250);
        for (unsigned n = 0; n < 4000; n += 37) {
            struct quern_read_opts right = from(n * 7 % QUERN_DATABASES);
            struct quern_read_opts wrong = from((n * 7 + 1) % QUERN_DATABASES);
            struct quern_value value = {0};

            CHECK_OK(quern_get(db, world_key(n), &right, &value, &err), &err);
            CHECK(memcmp(value.data, world_value(n, 1).data, 100) == 0);
            CHECK_EQ(quern_get(db, world_key(n), &wrong, &value, &err), QUERN_NOT_FOUND);
            quern_value_done(&value);
        }
        if (round == 0)
            CHECK_OK(quern_compact(db, NULL, &err), &err);
        CHECK_OK(quern_verify(db, NULL, NULL, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    }
    CHECK_OK(quern_close(db, &err), &err);
}

/* The tables' own counts say it. */
TEST(a_count_of_a_settled_database_reads_nothing)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_error err = {0};
    struct quern *db;
    uint64_t reads;

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 5000, 1, &err), &err);
    CHECK_OK(quern_compact(db, NULL, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    reads = sim_op_count_of(sim, SIM_READ);
    CHECK_EQ(count(db, 0), 5000);
    CHECK_EQ(sim_op_count_of(sim, SIM_READ), reads);
    CHECK_OK(quern_close(db, &err), &err);
}

/* ---- damage ---- */

struct told {
    struct quern_damage damage;
    char first[64], last[64];
};

static void on_damage(void *arg, const struct quern_damage *damage)
{
    struct told *told = arg;

    told->damage = *damage;
    (void)snprintf(told->first, sizeof(told->first), "%.*s", (int)damage->first_key.len,
                   (const char *)damage->first_key.data);
    (void)snprintf(told->last, sizeof(told->last), "%.*s", (int)damage->last_key.len,
                   (const char *)damage->last_key.data);
}

TEST(damage_is_told_with_users_keys_and_their_databases)
{
    struct told told = {.damage = {.file = NULL}};
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = &told};
    struct findings f = {.opts = &opts};
    struct quern_slice unknown = {NULL, 0};

    findings_add(&f, "file", 0, slice_of("\0apple", 6), slice_of("\3fig", 4), "a test", true);
    CHECK(told.damage.first_database == 0 && strcmp(told.first, "apple") == 0);
    CHECK(told.damage.last_database == 3 && strcmp(told.last, "fig") == 0);
    findings_add(&f, "file", 0, unknown, unknown, "a test", true);
    CHECK(told.damage.first_database == 0 && told.damage.first_key.len == 0);
    CHECK(told.damage.last_database == LAST && told.damage.last_key.len == 0);
    findings_add(&f, "file", 0, slice_of("\2", 1), slice_of("\5", 1), "bounds alone", true);
    CHECK(told.damage.first_database == 2 && told.damage.first_key.len == 0);
    CHECK(told.damage.last_database == 4 && told.damage.last_key.len == 0);
    findings_add(&f, "file", 0,
                 slice_of("\x10"
                          "a",
                          2),
                 slice_of("\xffz", 2), "no database", true);
    CHECK(told.damage.first_database == LAST && told.damage.last_database == LAST);
    CHECK_EQ(f.damages, 4);
}

/* ---- a log that says what nobody wrote ---- */

/* A write to `database`, numbered behind all others, past the door that knows databases. */
static void log_write(struct quern *db, uint8_t database)
{
    struct quern_error err = {0};
    struct buf ops OWNED_BUF = {0};
    struct batch_ref batch = {.op_count = 1};
    const uint8_t key[] = {database, 'k'};

    CHECK_OK(op_append(&ops, ENTRY_PUT, slice_of(key, sizeof(key)), QUERN_STR("v"), 0, &err), &err);
    batch.ops = buf_slice(&ops);
    CHECK_OK(wal_append(engine_wal(db), &batch, 1, db->last_seq + 1, false, &err), &err);
}

TEST(a_log_that_writes_to_a_database_that_there_is_not_is_damaged)
{
    static const uint8_t databases[] = {LAST, LAST + 1, UINT8_MAX};

    for (size_t i = 0; i < ARRAY_LEN(databases); i++) {
        struct quern_error err = {0};
        struct quern_verify_report report;
        struct quern_repair_report repaired;
        struct sim *sim OWNED(sim_free) = sim_new(1), *left OWNED(sim_free) = NULL;
        bool there = databases[i] == LAST;
        struct quern *db;

        CHECK_OK(world_open(sim, NULL, &db, &err), &err);
        CHECK_OK(world_put(db, 1, 1, false, &err), &err);
        log_write(db, databases[i]);
        left = sim_crash(sim, 1, SIM_KEEP_ALL);
        CHECK_OK(quern_close(db, &err), &err);
        CHECK_CODE(engine_check_files(sim_os(left), WORLD_PATH, NULL, &report, &err),
                   there ? QUERN_OK : QUERN_CORRUPT);
        CHECK_CODE(engine_repair(sim_os(left), WORLD_PATH, "/new", NULL, &repaired, &err),
                   there ? QUERN_OK : QUERN_CORRUPT); /* of what was lost */
        CHECK_EQ(repaired.losses, !there);
        CHECK_CODE(world_open(left, NULL, &db, &err), there ? QUERN_OK : QUERN_CORRUPT);
        if (there)
            CHECK_OK(quern_close(db, &err), &err);
        else
            CHECK(strstr(err.text, "write 2 is to a database that there is not") != NULL);
        CHECK_OK(engine_open(sim_os(left), "/new", NULL, &db, &err), &err);
        CHECK_OK(world_check(db, 1, 2, 1, &err), &err);
        CHECK_OK(quern_close(db, &err), &err);
    }
}

/* ---- the format before ---- */

/* The manifest's header as docs/design/60-manifest.md has it, of another version. */
static void set_version(struct sim *sim, const char *name, uint32_t version)
{
    struct quern_error err = {0};
    struct os_dir *dir OWNED(os_dir_close) = NULL;
    struct os_file *file OWNED(os_file_drop) = NULL;
    uint8_t header[64];
    struct iovec piece = {header, sizeof(header)};

    CHECK_OK(os_dir_open(sim_os(sim), WORLD_PATH, false, &dir, &err), &err);
    CHECK_OK(os_file_open(dir, name, OS_WRITE, &file, &err), &err);
    CHECK_OK(os_file_read(file, header, sizeof(header), 0, &err), &err);
    put_u32le(header + 8, version);
    put_u64le(header + 56, hash_placed(header, 56, 0, 0));
    CHECK_OK(os_file_write(file, &piece, 1, 0, &err), &err);
}

TEST(a_store_of_the_format_before_is_refused_and_told_what_to_do)
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct quern_verify_report report;
    struct quern_repair_report repaired;
    struct quern_error err = {0};
    struct quern *db;
    char name[40];

    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_fill(db, 0, 10, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
    (void)snprintf(name, sizeof(name), "MANIFEST-%06u", 1u);
    set_version(sim, name, 1);
    CHECK_CODE(world_open(sim, NULL, &db, &err), QUERN_UNSUPPORTED);
    CHECK(strstr(err.text, "quern dump") != NULL);
    CHECK_CODE(engine_check_files(sim_os(sim), WORLD_PATH, NULL, &report, &err), QUERN_UNSUPPORTED);
    CHECK_CODE(engine_repair(sim_os(sim), WORLD_PATH, "/new", NULL, &repaired, &err),
               QUERN_UNSUPPORTED);
    set_version(sim, name, 2);
    CHECK_OK(world_open(sim, NULL, &db, &err), &err);
    CHECK_OK(world_check(db, 0, 10, 1, &err), &err);
    CHECK_OK(quern_close(db, &err), &err);
}
