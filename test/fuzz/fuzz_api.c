/* fuzz_api.c - any sequence of calls on a store whose disk fails, fills up and loses power, held
 * against a list of what was written.
 *
 *     byte 0   what the disk can do, and options of the store
 *     rest     steps: u8 what | u8 argument | (a fault:) u8 argument
 *
 * A write that was acknowledged is there. One that was refused as NO_SPACE, NO_MEMORY, READ_ONLY or
 * BUSY is not. One that ended as UNKNOWN or IO may be there, whole. After a power cut the store
 * holds all that was durable and a prefix of what followed; after a kill, all. Reads may fail while
 * the disk does; they never answer wrongly. The clock stands still between steps, and what has
 * expired by it is nowhere to be seen. A batch whose check does not hold, and an update that gives
 * up, leave nothing. */
#include "fuzz.h"

#include "../support/sim.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#include <errno.h>
#include <sched.h>

#define PATH "/db"
#define KEYS 11u
#define WRITTEN 10u /* of them: to the last one a value comes by a change of places */
#define VALUE_MAX 3000u
#define OPS_MAX 4u
#define WRITES_MAX 200u
#define MAYBES_MAX 4u
#define STEPS_MAX 120
#define BEGAN_MS UINT64_C(1700000000000)

struct cell {
    uint32_t number, len; /* of the write it came with; 0: no value */
    uint64_t expires_ms;  /* 0: never */
};
struct state {
    struct cell cell[KEYS];
};
struct write {
    unsigned count;
    bool maybe; /* nobody knows whether it was done */
    struct {
        uint8_t key, end; /* with an end: all keys from `key` on below it are deleted */
        bool swap;        /* databases 14 and 15 change places */
        struct cell cell;
    } op[OPS_MAX];
};

struct world {
    const uint8_t *at, *end; /* what is left of the input */
    struct sim *sim;
    struct quern_options options;
    struct quern *db;
    struct state base; /* durable, whatever happens */
    struct write writes[WRITES_MAX];
    unsigned count, durable; /* writes since base; those of them that survive a power cut */
    uint32_t number;
    uint64_t now_ms;
    bool faults; /* the disk may fail right now */
    struct quern_snapshot *snapshot;
    struct state seen; /* what the snapshot shows */
    bool done;         /* out of room to remember */
};

static uint8_t take(struct world *w)
{
    return w->at < w->end ? *w->at++ : 0;
}

static struct quern_slice key_of(unsigned k)
{
    static const char *const keys[KEYS] = {"a",
                                           "aa",
                                           "aaaaaaaaaaaaaaaa",
                                           "aaaaaaaaaaaaaaab",
                                           "aa",
                                           "key-1",
                                           "key-1",
                                           "key-2",
                                           "\xff",
                                           "\xff",
                                           "\xff"};

    return QUERN_STR(keys[k]);
}

static uint8_t database_of(unsigned k)
{
    static const uint8_t databases[KEYS] = {0, 0, 0, 0, 1, 0, 1, 0, 0, 15, 14};

    return databases[k];
}

static uint8_t byte_of(struct cell c, unsigned key, uint32_t i)
{
    return (uint8_t)(c.number * 31 + (key < WRITTEN ? key : WRITTEN - 1) * 7 + i / 3);
}

static struct quern_slice value_of(uint8_t room[VALUE_MAX], struct cell c, unsigned key)
{
    for (uint32_t i = 0; i < c.len; i++)
        room[i] = byte_of(c, key, i);
    return (struct quern_slice){room, c.len};
}

static bool value_is(struct cell c, unsigned key, bool there, struct quern_slice got)
{
    if (c.number == 0 || !there)
        return (c.number != 0) == there;
    if (got.len != c.len)
        return false;
    for (uint32_t i = 0; i < c.len; i++)
        if (((const uint8_t *)got.data)[i] != byte_of(c, key, i))
            return false;
    return true;
}

/* Of one database with `first`, and from its key up to that of `end`; KEYS: to the last. */
static bool is_between(unsigned key, unsigned first, unsigned end)
{
    const char *name = key_of(key).data;

    return database_of(key) == database_of(first) && strcmp(name, key_of(first).data) >= 0 &&
           (end == KEYS || strcmp(name, key_of(end).data) < 0);
}

/* ---- what may be there ---- */

/* The state after the first `n` writes, those in doubt chosen by the bits of `mask`. */
static struct state state_after(const struct world *w, unsigned n, unsigned mask)
{
    struct state s = w->base;

    for (unsigned i = 0; i < n; i++) {
        const struct write *one = &w->writes[i];
        bool there = !one->maybe || (mask & 1);

        if (one->maybe)
            mask >>= 1;
        for (unsigned k = 0; there && k < one->count; k++) {
            if (one->op[k].swap) {
                struct cell was = s.cell[WRITTEN - 1];

                s.cell[WRITTEN - 1] = s.cell[WRITTEN];
                s.cell[WRITTEN] = was;
                continue;
            }
            if (one->op[k].end == 0)
                s.cell[one->op[k].key] = one->op[k].cell;
            for (unsigned key = 0; key < KEYS && one->op[k].end > one->op[k].key; key++)
                if (is_between(key, one->op[k].key, one->op[k].end))
                    s.cell[key] = (struct cell){.number = 0};
        }
    }
    return s;
}

/* What of it can be seen at that time. */
static struct state at_time(struct state s, uint64_t now_ms)
{
    for (unsigned k = 0; k < KEYS; k++)
        if (s.cell[k].expires_ms != 0 && s.cell[k].expires_ms <= now_ms)
            s.cell[k] = (struct cell){.number = 0};
    return s;
}

static unsigned maybes(const struct world *w, unsigned n)
{
    unsigned count = 0;

    for (unsigned i = 0; i < n; i++)
        count += w->writes[i].maybe;
    return count;
}

struct found {
    bool there[KEYS];
    struct quern_value value[KEYS];
};

static void found_done(struct found *f)
{
    for (unsigned k = 0; k < KEYS; k++)
        quern_value_done(&f->value[k]);
}

static bool found_is(const struct found *f, const struct state *s)
{
    for (unsigned k = 0; k < KEYS; k++)
        if (!value_is(s->cell[k], k, f->there[k],
                      (struct quern_slice){f->value[k].data, f->value[k].len}) ||
            (f->there[k] && f->value[k].expires_ms != s->cell[k].expires_ms))
            return false;
    return true;
}

/* All keys by point reads. False: the disk failed, which it may only while faults are set. */
static bool find_all(struct world *w, struct quern *db, const struct quern_snapshot *snapshot,
                     struct found *f)
{
    struct quern_error err = {0};

    memset(f, 0, sizeof(*f));
    for (unsigned k = 0; k < KEYS; k++) {
        struct quern_read_opts opts = {.snapshot = snapshot, .database = database_of(k)};
        enum quern_code code = quern_get(db, key_of(k), &opts, &f->value[k], &err);

        f->there[k] = code == QUERN_OK;
        if (code != QUERN_OK && code != QUERN_NOT_FOUND) {
            must(w->faults);
            found_done(f);
            return false;
        }
    }
    return true;
}

/* What is found is what can be seen of the state after n writes, from..to; that of the smallest such
 * n, or it is wrong. */
static struct state must_match(const struct world *w, const struct found *f, unsigned from,
                               unsigned to)
{
    for (unsigned n = from; n <= to; n++) {
        for (unsigned mask = 0; mask < 1u << maybes(w, n); mask++) {
            struct state s = state_after(w, n, mask), seen = at_time(s, w->now_ms);

            if (found_is(f, &seen))
                return s;
        }
    }
    abort();
}

/* ---- steps ---- */

static void remember(struct world *w, struct write *one, enum quern_code code, bool synced)
{
    if (code != QUERN_OK && code != QUERN_UNKNOWN && code != QUERN_IO) {
        must(code == QUERN_NO_SPACE || code == QUERN_NO_MEMORY || code == QUERN_READ_ONLY ||
             code == QUERN_BUSY ||
             (code == QUERN_EXISTS && w->faults)); /* half a log file that cannot be removed */
        return;
    }
    must(code == QUERN_OK || w->faults);
    one->maybe = code != QUERN_OK;
    w->writes[w->count++] = *one;
    if (code == QUERN_OK && synced)
        w->durable = w->count;
    w->done = w->count == WRITES_MAX || maybes(w, w->count) > MAYBES_MAX;
}

static struct cell new_cell(struct world *w, uint8_t arg)
{
    static const uint32_t sizes[] = {0, 1, 7, 20, 100, 300, 1000, VALUE_MAX};

    return (struct cell){++w->number, sizes[arg >> 5], 0};
}

/* From the present, in which it has come already, to a quarter of a second. */
static uint64_t take_expiry(struct world *w)
{
    return w->now_ms + take(w);
}

/* What of the store can be seen now. False: that is not known. */
static bool see(const struct world *w, struct state *s)
{
    if (maybes(w, w->count) != 0)
        return false;
    *s = at_time(state_after(w, w->count, 0), w->now_ms);
    return true;
}

/* arg: bits 0-3 key, bit 4 sync, bits 5-7 size */
static void put(struct world *w, uint8_t arg, bool expires)
{
    static uint8_t room[VALUE_MAX];
    unsigned key = (arg & 15) % WRITTEN;
    struct quern_write_opts opts = {.sync = arg & 16, .database = database_of(key)};
    struct write one = {.count = 1};
    struct quern_error err;

    one.op[0].key = (uint8_t)key;
    one.op[0].cell = new_cell(w, arg);
    if (expires)
        one.op[0].cell.expires_ms = opts.expires_ms = take_expiry(w);
    remember(w, &one,
             quern_put(w->db, key_of(key), value_of(room, one.op[0].cell, key), &opts, &err),
             opts.sync);
}

static void delete (struct world *w, uint8_t arg)
{
    struct quern_write_opts opts = {.sync = arg & 16};
    struct write one = {.count = 1};
    struct quern_error err;

    one.op[0].key = (uint8_t)((arg & 15) % WRITTEN);
    opts.database = database_of(one.op[0].key);
    remember(w, &one, quern_delete(w->db, key_of(one.op[0].key), &opts, &err), opts.sync);
}

/* The keys stand in order, and above the last there is none. */
static struct quern_range range_of(unsigned from, unsigned to)
{
    struct quern_range range = {key_of(from), {NULL, 0}};

    if (to < WRITTEN)
        range.end = key_of(to);
    return range;
}

/* arg: bits 0-3 the first key, bit 4 sync, bits 5-7 how many more */
static void delete_range(struct world *w, uint8_t arg)
{
    struct quern_write_opts opts = {.sync = arg & 16};
    struct write one = {.count = 1};
    struct quern_range range;
    struct quern_error err;

    one.op[0].key = (uint8_t)((arg & 15) % WRITTEN);
    one.op[0].end = (uint8_t)(one.op[0].key + 1 + (arg >> 5));
    one.op[0].end = one.op[0].end < WRITTEN ? one.op[0].end : KEYS;
    opts.database = database_of(one.op[0].key);
    range = range_of(one.op[0].key, one.op[0].end);
    remember(w, &one, quern_delete_range(w->db, &range, &opts, &err), opts.sync);
}

static enum quern_code write_later(struct quern *db, const struct quern_batch *batch,
                                   const struct quern_write_opts *opts)
{
    struct quern_completion c = {0};
    struct quern_error err;
    enum quern_code code = quern_write_async(db, batch, opts, &c, &err);

    while (code == QUERN_OK && !quern_completion_ready(&c))
        (void)sched_yield();
    return code == QUERN_OK ? c.code : code;
}

/* Add a check of which it is known whether it holds. False: there is none to be had now.
 * One byte: bits 0-3 key, bits 4-5 what it asks for: absent, present, the revision, another one */
static bool add_check(struct world *w, struct quern_batch *b, bool *holds)
{
    uint8_t arg = take(w);
    unsigned key = (arg & 15) % WRITTEN, kind = arg >> 4 & 3;
    struct quern_read_opts opts = {.database = database_of(key)};
    struct quern_value value = {0};
    struct quern_error err;
    struct state now;
    quern_seq revision = 0;
    bool there;

    if (!see(w, &now))
        return false;
    there = now.cell[key].number != 0;
    *holds = (kind == 0) != there;
    if (kind >= 2) {
        if (!there || quern_get(w->db, key_of(key), &opts, &value, &err) != QUERN_OK)
            return false;
        revision = value.seq + (kind - 2);
        *holds = kind == 2;
        quern_value_done(&value);
    }
    quern_batch_select(b, database_of(key));
    must(quern_batch_require(b,
                             kind == 0   ? QUERN_REQUIRE_ABSENT
                             : kind == 1 ? QUERN_REQUIRE_PRESENT
                                         : QUERN_REQUIRE_REVISION,
                             key_of(key), revision, &err) == QUERN_OK);
    return true;
}

/* arg: bits 0-1 how many, bit 2 asynchronously, bit 3 what is put expires, bit 4 sync; then one byte
 * each: as put(), bit 4 a delete, with bit 7 of up to four keys. Of two on one key the later wins, as
 * in state_after(). */
static void batch(struct world *w, uint8_t arg, bool checked)
{
    static uint8_t room[VALUE_MAX];
    struct quern_write_opts opts = {.sync = arg & 16};
    struct quern_batch *b = quern_batch_new();
    struct write one = {.count = 1 + (arg & 3)};
    uint64_t expires_ms = arg & 8 ? take_expiry(w) : 0;
    struct quern_error err;
    enum quern_code code;
    bool holds = true;

    must(b != NULL);
    if (checked && !add_check(w, b, &holds))
        holds = true;
    for (unsigned i = 0; i < one.count; i++) {
        uint8_t each = take(w);
        unsigned key = (each & 15) % WRITTEN;

        one.op[i].key = (uint8_t)key;
        quern_batch_select(b, database_of(key));
        if ((each & 0x90) == 0x90) {
            unsigned end = key + 1 + (each >> 5 & 3);
            struct quern_range range = range_of(key, end);

            one.op[i].end = (uint8_t)(end < WRITTEN ? end : KEYS);
            must(quern_batch_delete_range(b, &range, &err) == QUERN_OK);
        } else if (each & 16) {
            must(quern_batch_delete(b, key_of(key), &err) == QUERN_OK);
        } else {
            one.op[i].cell = new_cell(w, each);
            one.op[i].cell.expires_ms = expires_ms;
            must(quern_batch_put_until(b, key_of(key), value_of(room, one.op[i].cell, key),
                                       expires_ms, &err) == QUERN_OK);
        }
    }
    code = arg & 4 ? write_later(w->db, b, &opts) : quern_write(w->db, b, &opts, &err);
    quern_batch_free(b);
    must(code == QUERN_CONFLICT ? !holds : code != QUERN_OK || holds);
    if (code != QUERN_CONFLICT)
        remember(w, &one, code, opts.sync);
}

struct change {
    struct world *w;
    unsigned key;
    struct cell cell;
    bool gives_up; /* when it has filled its batch */
};

static enum quern_code change_one(void *arg, struct quern_update *u, struct quern_error *err)
{
    static uint8_t room[VALUE_MAX];
    const struct change *c = arg;
    struct quern_value value = {0};
    enum quern_code code;
    struct state now;

    quern_batch_select(quern_update_batch(u), database_of(c->key));
    code = quern_update_get(u, key_of(c->key), &value, err);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (see(c->w, &now))
        must(value_is(now.cell[c->key], c->key, code == QUERN_OK,
                      (struct quern_slice){value.data, value.len}));
    quern_value_done(&value);
    if (quern_batch_put_until(quern_update_batch(u), key_of(c->key),
                              value_of(room, c->cell, c->key), c->cell.expires_ms, err))
        return err->code;
    return c->gives_up ? err_set(err, QUERN_CONFLICT, "given up") : QUERN_OK;
}

/* arg: bits 0-3 key, bit 4 sync, bits 5-7 size; then one byte: bit 0 gives up, bit 1 expires */
static void update(struct world *w, uint8_t arg)
{
    struct quern_write_opts opts = {.sync = arg & 16};
    struct change c = {.w = w, .key = (arg & 15) % WRITTEN, .cell = new_cell(w, arg)};
    struct write one = {.count = 1};
    uint8_t how = take(w);
    struct quern_error err;
    enum quern_code code;

    c.gives_up = how & 1;
    c.cell.expires_ms = how & 2 ? take_expiry(w) : 0;
    one.op[0].key = (uint8_t)c.key;
    one.op[0].cell = c.cell;
    code = quern_update(w->db, change_one, &c, &opts, &err);
    must(code == QUERN_CONFLICT ? c.gives_up : code != QUERN_OK || !c.gives_up);
    if (code != QUERN_CONFLICT)
        remember(w, &one, code, opts.sync);
}

/* arg: bit 0 behind a put of the same batch, bit 4 sync, bits 5-7 size */
static void swap(struct world *w, uint8_t arg)
{
    static uint8_t room[VALUE_MAX];
    struct quern_write_opts opts = {.sync = arg & 16};
    struct write one = {.count = 1 + (arg & 1)};
    struct quern_batch *b = quern_batch_new();
    struct quern_error err;

    must(b != NULL);
    if (arg & 1) {
        one.op[0].key = WRITTEN - 1;
        one.op[0].cell = new_cell(w, arg);
        quern_batch_select(b, database_of(WRITTEN - 1));
        must(quern_batch_put(b, key_of(WRITTEN - 1), value_of(room, one.op[0].cell, WRITTEN - 1),
                             &err) == QUERN_OK);
    }
    one.op[arg & 1].swap = true;
    must(quern_batch_swap_databases(b, 14, 15, &err) == QUERN_OK);
    remember(w, &one, quern_write(w->db, b, &opts, &err), opts.sync);
    quern_batch_free(b);
}

static uint64_t found_in(const struct found *f, uint8_t database)
{
    uint64_t there = 0;

    for (unsigned k = 0; k < KEYS; k++)
        there += f->there[k] && database_of(k) == database;
    return there;
}

/* A cursor sees what point reads see, both ways. */
static void scan_database(struct world *w, uint8_t database, const struct found *f,
                          const struct quern_snapshot *snapshot, bool back)
{
    struct quern_iter_opts opts = {.snapshot = snapshot, .database = database};
    struct quern_iter *it;
    struct quern_error err;
    uint64_t seen = 0;

    if (quern_iter_new(w->db, &opts, &it, &err)) {
        must(w->faults);
        return;
    }
    for (bool more = back ? quern_iter_last(it) : quern_iter_first(it); more;
         more = back ? quern_iter_prev(it) : quern_iter_next(it)) {
        struct quern_slice key = quern_iter_key(it), value = quern_iter_value(it);
        unsigned k = 0;

        while (k < KEYS && (database_of(k) != database || key.len != key_of(k).len ||
                            memcmp(key.data, key_of(k).data, key.len)))
            k++;
        must(k < KEYS && f->there[k] && f->value[k].len == value.len);
        must(value.len == 0 || memcmp(f->value[k].data, value.data, value.len) == 0);
        seen++;
    }
    must(quern_iter_error(it, &err) == QUERN_OK ? seen == found_in(f, database) : w->faults);
    quern_iter_free(it);
}

static void scan(struct world *w, const struct found *f, const struct quern_snapshot *snapshot,
                 bool back)
{
    for (uint8_t database = 0; database < QUERN_DATABASES; database++)
        scan_database(w, database, f, snapshot, back);
}

static void look(struct world *w, uint8_t arg)
{
    struct quern_read_opts opts = {.snapshot = arg & 1 ? w->snapshot : NULL};
    struct quern_error err;
    struct found f;
    uint64_t count;

    if (!find_all(w, w->db, opts.snapshot, &f))
        return;
    if (opts.snapshot != NULL)
        must(found_is(&f, &w->seen));
    else
        (void)must_match(w, &f, w->count, w->count);
    scan(w, &f, opts.snapshot, arg & 2);
    for (opts.database = 0; opts.database < QUERN_DATABASES; opts.database++)
        must(quern_count(w->db, NULL, &opts, &count, &err) == QUERN_OK
                 ? count == found_in(&f, opts.database)
                 : w->faults);
    found_done(&f);
}

static void snapshot(struct world *w)
{
    struct quern_error err;

    quern_snapshot_free(w->snapshot);
    w->snapshot = NULL;
    if (see(w, &w->seen))
        must(quern_snapshot_new(w->db, &w->snapshot, &err) == QUERN_OK);
}

/* What succeeds here makes all that was acknowledged durable. */
static void settle(struct world *w, enum quern_code code)
{
    /* The worker may have begun while the disk was still ill. */
    must(code == QUERN_OK || w->faults || code == QUERN_READ_ONLY || code == QUERN_NO_SPACE ||
         code == QUERN_NO_MEMORY);
    if (code == QUERN_OK)
        w->durable = w->count;
}

static void fault(struct world *w, uint8_t arg)
{
    static const unsigned kinds[] = {SIM_WRITE,    SIM_SYNC,   SIM_CREATE,   SIM_OPEN,
                                     SIM_READ,     SIM_RENAME, SIM_DIR_SYNC, SIM_REMOVE,
                                     SIM_TRUNCATE, SIM_MAP,    SIM_STAT,     SIM_LIST,
                                     SIM_LINK,     SIM_CLOSE,  SIM_ANY,      SIM_FREE_BYTES};
    static const int errnos[] = {EIO, ENOSPC, EMFILE, EDQUOT};
    uint8_t more = take(w);
    struct sim_fault f = {.ops = kinds[arg & 15],
                          .skip = more & 15,
                          .always = more & 16,
                          .sys_errno = errnos[arg >> 4 & 3],
                          .part_bytes = more & 32 ? 700 : 0,
                          .drop_dirty = more & 64};

    sim_fail(w->sim, &f);
    w->faults = true;
}

static void space(struct world *w, uint8_t arg)
{
    sim_free_space(w->sim, arg & 1 ? (uint64_t)(arg >> 1) << 12 : UINT64_MAX);
    w->faults |= arg & 1;
}

static void pass_time(struct world *w, uint64_t ms)
{
    w->now_ms += ms;
    sim_set_wall_ms(w->sim, w->now_ms);
}

static void heal(struct world *w)
{
    sim_fail_never(w->sim);
    sim_free_space(w->sim, UINT64_MAX);
    w->faults = false;
}

/* The disk is well again: the store opens, and shows at least the first `from` writes. */
static void open_again(struct world *w, unsigned from)
{
    struct quern_error err;
    struct found f;

    heal(w);
    must(engine_open(sim_os(w->sim), PATH, &w->options, &w->db, &err) == QUERN_OK);
    must(find_all(w, w->db, NULL, &f));
    w->base = must_match(w, &f, from, w->count);
    scan(w, &f, NULL, false);
    found_done(&f);
    w->count = w->durable = 0;
}

static void close_store(struct world *w)
{
    struct quern_error err;
    enum quern_code code;

    quern_snapshot_free(w->snapshot);
    w->snapshot = NULL;
    if (w->db == NULL)
        return;
    code = quern_close(w->db, &err);
    must(code == QUERN_OK || w->faults || code == QUERN_READ_ONLY || code == QUERN_NO_SPACE ||
         code == QUERN_NO_MEMORY);
    w->db = NULL;
}

/* arg: bit 0: first try with the disk as it is */
static void reopen(struct world *w, uint8_t arg)
{
    struct quern_error err;

    close_store(w);
    if (arg & 1 && engine_open(sim_os(w->sim), PATH, &w->options, &w->db, &err) == QUERN_OK)
        close_store(w);
    open_again(w, w->count);
}

static void crash(struct world *w, uint8_t arg)
{
    enum sim_crash_mode mode = (enum sim_crash_mode)(arg % 3);
    struct sim *after = sim_crash(w->sim, arg, mode);

    w->faults = true; /* of no interest any more: whatever close says will do */
    close_store(w);
    sim_free(w->sim);
    w->sim = after;
    pass_time(w, arg >> 4);
    open_again(w, mode == SIM_KEEP_ALL ? w->count : w->durable);
}

static void step(struct world *w)
{
    uint8_t what = take(w), arg = take(w);
    struct quern_error err;

    switch (what % 16) {
    case 0:
    case 1:
        put(w, arg, what & 128);
        break;
    case 2: /* the upper half, so that histories found before mean the same */
        if (what & 128)
            delete_range(w, arg);
        else
            put(w, arg, false);
        break;
    case 3:
        if (what & 128)
            swap(w, arg);
        else
            delete (w, arg);
        break;
    case 4:
    case 5:
        batch(w, arg, what & 128);
        break;
    case 6:
        look(w, arg);
        break;
    case 7:
        settle(w, quern_flush(w->db, &err));
        break;
    case 8:
        settle(w, quern_compact(w->db, NULL, &err));
        break;
    case 9:
        settle(w, quern_sync(w->db, &err));
        break;
    case 10:
        if (what & 128)
            update(w, arg);
        else
            snapshot(w);
        break;
    case 11:
        reopen(w, arg);
        break;
    case 12:
        crash(w, arg);
        break;
    case 13:
        fault(w, arg);
        break;
    case 14:
        space(w, arg);
        break;
    default:
        if (what & 128)
            pass_time(w, arg);
        else
            heal(w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    uint8_t how;

    if (size < 2 || size > 1024)
        return 0;
    memset(&w, 0, sizeof(w));
    w.at = data;
    w.end = data + size;
    how = take(&w);
    w.sim = sim_new(1);
    pass_time(&w, BEGAN_MS);
    sim_set_mapping(w.sim, !(how & 1));
    sim_set_direct(w.sim, !(how & 2));
    w.options = (struct quern_options){
        .memory_bytes = 1 << 20,
        .memdb_bytes = how & 4 ? 4096 : 16384,
        .log_segment_bytes = 64 * 1024,
        .table_bytes = 4096,
        .block_bytes = 256,
        .tier_runs = how & 8 ? 2 : 4,
        .flush_interval_ms = how & 16 ? 1 : 60000,
        .compact_interval_ms = how & 32 ? 1 : 10000,
        .compression = (enum quern_compression)(how >> 6),
    };
    open_again(&w, 0);
    for (int steps = 0; steps < STEPS_MAX && w.at < w.end && !w.done; steps++)
        step(&w);
    close_store(&w);
    sim_free(w.sim);
    return 0;
}
