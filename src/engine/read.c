/* read.c - point reads: newest first, from the MemDB down to the bottom run.
 *
 *   rcu_enter
 *     view, then the number to read at        (version.h says why in this order, and that the
 *                                              view must be the present one still)
 *     where the database lies by these, and with that the key inside; its hash, once
 *     prefetch the filter lines of the MemDBs
 *     MemDB, sealed MemDBs newest first
 *     prefetch the filter lines of the runs, and the place in the bottom one's index
 *     runs newest first                       (the first version found decides)
 *     copy the value out                      (or take over the block of a large one)
 *   rcu_leave
 *
 * No lock, no count, no shared line is written on the way. A read that misses the cache does its
 * pread inside the section; that only delays the freeing of what was retired meanwhile. A
 * *cached* read gives up there instead, with BUSY: it is for threads that must not wait for a disk.
 *
 * An entry that a cut hides (cuts.c) is absent, and so is all that is older under its key. Where there
 * is no cut at all, as a rule, that is one look at a count in the view.
 *
 * Expiries. A read of the present asks for the time when it meets the first entry that has one, so
 * later than for view and number. An entry that lives by then lived at the moment of the view as
 * well. One that has expired by then is absent if view and number are the present ones still; else
 * it may have been replaced in time, so that the key was there at every moment: such a read is
 * *torn*, and made once more, with a pin for its number and time. The number alone does not tell:
 * it may count a write into a MemDB that the view does not have. */
#include "engine/engine_priv.h"

#include "base/hash.h"

#define LOOKUPS_MAX SST_LOOKUPS_MAX

/* A value that is shorter is copied out of a block that is the reader's own: the rest of the block
 * would stay as long as the value does. */
#define TAKE_BYTES_MIN (64u << 10)

/* One get in so many is asked how many runs it passed in vain. */
#define SAMPLE_GETS 64

/* ---- values ---- */

void quern_value_done(struct quern_value *value)
{
    alloc_free(value->memory_);
    *value = (struct quern_value){0};
}

enum quern_code engine_value_copy(struct quern_value *value, const struct entry *e,
                                  struct quern_error *err)
{
    if (UNLIKELY(value->memory_bytes_ < e->value.len || value->memory_ == NULL)) {
        size_t bytes = e->value.len < 64 ? 64 : e->value.len;
        void *memory = alloc_bytes(bytes);

        if (memory == NULL)
            return err_memory(err, "a value");
        alloc_free(value->memory_);
        value->memory_ = memory;
        value->memory_bytes_ = bytes;
    }
    if (e->value.len != 0)
        memcpy(value->memory_, e->value.data, e->value.len);
    value->data = value->memory_;
    value->len = e->value.len;
    value->seq = e->seq;
    value->expires_ms = e->expires_ms;
    return QUERN_OK;
}

/* The value lies in a block of its own: take the block instead of copying. */
static void value_take(struct quern_value *value, struct sst_lookup *l)
{
    alloc_free(value->memory_);
    value->memory_ = GIVE(l->owned);
    value->memory_bytes_ = 0; /* its size is not known here: the next read allocates anew */
    value->data = l->entry.value.data;
    value->len = l->entry.value.len;
    value->seq = l->entry.seq;
    value->expires_ms = l->entry.expires_ms;
}

void engine_value_clear(struct quern_value *value)
{
    value->data = NULL;
    value->len = 0;
    value->seq = 0;
    value->expires_ms = 0;
}

/* ---- the moment that a read is of ---- */

struct moment {
    const struct view *view;
    quern_seq seq;
    db_map map;
    uint64_t time_ms; /* 0: not asked for yet */
    bool held;        /* by a pin: else the time is later than the number */
    bool torn;
};

static uint8_t database_of(const struct quern_read_opts *opts)
{
    return opts != NULL ? opts->database : 0;
}

static const struct pin *pin_of(const struct quern_read_opts *opts)
{
    return opts != NULL && opts->snapshot != NULL ? &opts->snapshot->pin : NULL;
}

static bool is_cached(const struct quern_read_opts *opts)
{
    return opts != NULL && opts->cached;
}

/* Under RCU. */
__attribute__((always_inline)) static inline struct moment moment_of(struct quern *db,
                                                                     const struct pin *at)
{
    struct moment m = {.view = atomic_load_explicit(&db->view, memory_order_acquire),
                       .held = at != NULL};

    m.seq = at != NULL ? at->seq : atomic_load_explicit(&db->visible_seq, memory_order_acquire);
    m.time_ms = at != NULL ? at->time_ms : 0;
    if (at == NULL) /* a cut may have come between, and the number count it */
        while (UNLIKELY(atomic_load_explicit(&db->view, memory_order_relaxed) != m.view)) {
            m.view = atomic_load_explicit(&db->view, memory_order_acquire);
            m.seq = atomic_load_explicit(&db->visible_seq, memory_order_acquire);
        }
    m.map = at != NULL ? at->map : view_db_map(m.view, m.seq);
    return m;
}

static bool is_present(struct quern *db, const struct moment *m)
{
    return atomic_load(&db->visible_seq) == m->seq && atomic_load(&db->view) == m->view;
}

static bool lives_yet(struct quern *db, struct moment *m, const struct entry *e)
{
    if (m->time_ms == 0)
        m->time_ms = engine_time_ms(db);
    if (entry_lives(e, m->time_ms))
        return true;
    m->torn |= !m->held && !is_present(db, m);
    return false;
}

static inline bool lives(struct quern *db, struct moment *m, const struct entry *e)
{
    if (LIKELY(e->expires_ms == 0))
        return e->kind == ENTRY_PUT;
    return lives_yet(db, m, e);
}

/* ---- one key ---- */

static void prefetch_mems(const struct view *view, uint64_t hash)
{
    if (view->mem != NULL)
        mem_prefetch(view->mem, hash);
    for (size_t i = 0; i < view->sealed_count; i++)
        mem_prefetch(view->sealed[i], hash);
}

static bool search_mems(const struct view *view, struct sst_lookup *l)
{
    if (view->mem != NULL && mem_get(view->mem, l->key, l->hash, l->seq, &l->entry))
        return true;
    for (size_t i = view->sealed_count; i-- > 0;)
        if (mem_get(view->sealed[i], l->key, l->hash, l->seq, &l->entry))
            return true;
    return false;
}

/* The tables of runs[0, n) that may hold the key, NULL where a run has none. What the searches
 * will need first is on its way then, for all of them at once. */
static void expect_runs(const struct run *runs, size_t n, const struct sst_lookup *l,
                        struct table **tables)
{
    for (size_t r = 0; r < n; r++) {
        tables[r] = run_find(&runs[r], l->key);
        if (tables[r] == NULL)
            continue;
        sst_prefetch_filter(tables[r]->sst, l->hash);
        if (runs[r].tier == TIER_BOTTOM) /* where most keys are */
            sst_prefetch_index(tables[r]->sst, l->key);
    }
}

/* *passed: runs above the bottom that were searched in vain. */
static enum quern_code search_tables(const struct version *version, struct sst_lookup *l,
                                     uint64_t *passed, struct quern_error *err)
{
    struct table *tables[RUNS_AT_ONCE];

    for (size_t r = 0; r < version->run_count && !l->found; r++) {
        size_t k = r % RUNS_AT_ONCE, left = version->run_count - r;

        if (k == 0)
            expect_runs(&version->runs[r], left < RUNS_AT_ONCE ? left : RUNS_AT_ONCE, l, tables);
        if (tables[k] == NULL)
            continue;
        l->last = left == 1;
        if (sst_get(tables[k]->sst, l, err))
            return err->code;
        *passed += !l->found && version->runs[r].tier != TIER_BOTTOM;
    }
    return QUERN_OK;
}

/* Turn what a lookup found into the caller's value. */
static inline enum quern_code deliver(struct quern *db, struct moment *m, struct sst_lookup *l,
                                      struct quern_value *value, struct quern_error *err)
{
    enum quern_code code = QUERN_NOT_FOUND;

    if (l->found && !view_cuts(m->view, &l->entry, l->key, m->seq) && lives(db, m, &l->entry)) {
        if (l->owned != NULL && l->entry.value.len >= TAKE_BYTES_MIN) {
            value_take(value, l);
            return QUERN_OK;
        }
        code = engine_value_copy(value, &l->entry, err);
    } else {
        engine_value_clear(value);
    }
    alloc_free(GIVE(l->owned));
    return code;
}

enum quern_code engine_revision(struct quern *db, uint8_t database, struct quern_slice key,
                                const struct pin *at, quern_seq *seq, struct quern_error *err)
{
    struct sst_lookup l = {.cached = false};
    const struct view *view;
    enum quern_code code = QUERN_OK;
    struct inner_key inner;
    uint64_t passed = 0;

    if (inner_key_init(&inner, db_map_get(at->map, database), key, err))
        return err->code;
    l.key = inner.key;
    l.hash = hash_key(l.key);
    rcu_enter();
    view = atomic_load_explicit(&db->view, memory_order_acquire);
    l.seq = at->seq;
    l.found = search_mems(view, &l);
    if (!l.found)
        code = search_tables(view->version, &l, &passed, err);
    if (code == QUERN_OK && !(l.found && entry_lives(&l.entry, at->time_ms) &&
                              !view_cuts(view, &l.entry, l.key, at->seq)))
        code = QUERN_NOT_FOUND;
    *seq = l.entry.seq;
    alloc_free(GIVE(l.owned));
    rcu_leave();
    inner_key_done(&inner);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        engine_note_damage(db, err);
    return code;
}

/* What the filters of tables said during a lookup, for so many like it. */
static void count_filters(struct counters *counters, const struct sst_lookup *l, uint64_t times)
{
    uint64_t in_vain = l->let_through - (l->found && l->by_filter);

    if (l->denied != 0)
        atomic_fetch_add_explicit(&counters->filter_denied, l->denied * times,
                                  memory_order_relaxed);
    if (l->let_through != 0)
        atomic_fetch_add_explicit(&counters->filter_let_through, l->let_through * times,
                                  memory_order_relaxed);
    if (in_vain != 0)
        atomic_fetch_add_explicit(&counters->filter_false, in_vain * times, memory_order_relaxed);
}

/* quern_get() as `at` sees it. NULL: the present; then, if *torn is set, no answer was found that
 * was true at one moment, and it is to be asked again with a pin. */
__attribute__((always_inline)) static inline enum quern_code
get_at(struct quern *db, uint8_t database, struct inner_key *key, const struct pin *at, bool cached,
       struct quern_value *value, bool *torn, struct quern_error *err)
{
    struct sst_lookup l = {.key = key->key, .cached = cached};
    struct counters *counters;
    struct moment moment;
    enum quern_code code = QUERN_OK;
    uint64_t passed = 0;

    rcu_enter();
    moment = moment_of(db, at);
    inner_key_choose(key, db_map_get(moment.map, database));
    l.hash = hash_key(l.key);
    l.seq = moment.seq;
    prefetch_mems(moment.view, l.hash);
    l.found = search_mems(moment.view, &l);
    if (!l.found)
        code = search_tables(moment.view->version, &l, &passed, err);
    if (LIKELY(code == QUERN_OK))
        code = deliver(db, &moment, &l, value, err);
    rcu_leave();
    *torn = moment.torn;
    if (UNLIKELY(*torn || code == QUERN_BUSY))
        return code;
    counters = engine_counters(db);
    if (atomic_fetch_add_explicit(&counters->gets, 1, memory_order_relaxed) % SAMPLE_GETS == 0) {
        atomic_fetch_add_explicit(&counters->passed, passed * SAMPLE_GETS, memory_order_relaxed);
        count_filters(counters, &l, SAMPLE_GETS);
    }
    if (LIKELY(code == QUERN_OK))
        return code;
    atomic_fetch_add_explicit(&counters->gets_missed, 1, memory_order_relaxed);
    if (code != QUERN_NOT_FOUND) {
        engine_value_clear(value);
        engine_note_damage(db, err);
    }
    return code;
}

enum quern_code engine_get(struct quern *db, uint8_t database, struct inner_key *key,
                           const struct pin *at, struct quern_value *value, struct quern_error *err)
{
    bool torn;

    return get_at(db, database, key, at, false, value, &torn, err);
}

COLD static enum quern_code get_held(struct quern *db, uint8_t database, struct inner_key *key,
                                     bool cached, struct quern_value *value,
                                     struct quern_error *err)
{
    enum quern_code code;
    struct pin pin;
    bool torn;

    pin_add(db, &pin);
    code = get_at(db, database, key, &pin, cached, value, &torn, err);
    pin_remove(db, &pin);
    return code;
}

enum quern_code quern_get(struct quern *db, struct quern_slice key,
                          const struct quern_read_opts *opts, struct quern_value *value,
                          struct quern_error *err)
{
    uint8_t database = database_of(opts);
    struct inner_key inner;
    struct quern_error local;
    enum quern_code code;
    bool torn;

    err = ERR_OR(err, local);
    if (engine_check(db, err) || check_key(database, key, err) ||
        inner_key_init(&inner, database, key, err))
        return err->code;
    code = get_at(db, database, &inner, pin_of(opts), is_cached(opts), value, &torn, err);
    if (UNLIKELY(torn))
        code = get_held(db, database, &inner, is_cached(opts), value, err);
    inner_key_done(&inner);
    return code;
}

/* ---- many keys ---- */

struct many {
    struct inner_key key[LOOKUPS_MAX];
    struct sst_lookup lookup[LOOKUPS_MAX];
    enum quern_code code[LOOKUPS_MAX];   /* of the search so far */
    struct quern_error err[LOOKUPS_MAX]; /* meaningful where code is not OK */
};

/* One run: every key that is still open goes to the table that may hold it, all together. Returns
 * how many were searched for in vain. */
static uint64_t search_run(const struct run *run, bool last, struct many *m, size_t n)
{
    struct sst_lookup *open[LOOKUPS_MAX];
    struct quern_error errs[LOOKUPS_MAX];
    enum quern_code codes[LOOKUPS_MAX];
    size_t at[LOOKUPS_MAX], count = 0;
    uint64_t passed = 0;

    for (size_t i = 0; i < n; i++) {
        struct table *t;

        if (m->lookup[i].found || m->code[i] != QUERN_OK)
            continue;
        t = run_find(run, m->lookup[i].key);
        if (t == NULL)
            continue;
        m->lookup[i].table = t->sst;
        m->lookup[i].last = last;
        at[count] = i;
        open[count++] = &m->lookup[i];
    }
    if (count == 0)
        return 0;
    sst_get_many(open, count, codes, errs);
    for (size_t i = 0; i < count; i++) {
        m->code[at[i]] = codes[i];
        if (codes[i] != QUERN_OK)
            m->err[at[i]] = errs[i];
        passed += !open[i]->found;
    }
    return passed;
}

/* Up to LOOKUPS_MAX keys as of one moment, at the number and in the manner of `like`. Returns how often
 * a run above the bottom was searched in vain. */
static uint64_t get_some(const struct moment *moment, uint8_t database,
                         const struct quern_slice *keys, size_t n, const struct sst_lookup *like,
                         struct many *m)
{
    const struct view *view = moment->view;
    uint8_t inside = database < QUERN_DATABASES ? db_map_get(moment->map, database) : 0;
    uint64_t passed = 0;

    for (size_t i = 0; i < n; i++) {
        struct sst_lookup *l = &m->lookup[i];

        l->seq = like->seq; /* one by one: most of a lookup is what will be found */
        l->cached = like->cached;
        l->prefetch = like->prefetch;
        l->found = false;
        l->by_filter = false;
        l->denied = l->let_through = 0;
        l->owned = NULL;
        m->code[i] = check_key(database, keys[i], &m->err[i]);
        if (m->code[i] == QUERN_OK)
            m->code[i] = inner_key_init(&m->key[i], inside, keys[i], &m->err[i]);
        if (m->code[i] != QUERN_OK) {
            m->key[i].large = NULL;
            continue;
        }
        l->key = m->key[i].key;
        l->hash = hash_key_parts(inside, keys[i]);
        prefetch_mems(view, l->hash);
    }
    for (size_t i = 0; i < n; i++)
        if (m->code[i] == QUERN_OK)
            m->lookup[i].found = search_mems(view, &m->lookup[i]);
    for (size_t r = 0, runs = view->version->run_count; r < runs; r++) {
        uint64_t in_vain = search_run(&view->version->runs[r], r + 1 == runs, m, n);

        passed += view->version->runs[r].tier != TIER_BOTTOM ? in_vain : 0;
    }
    return passed;
}

static bool is_too_long(const struct quern_read_opts *opts, const struct sst_lookup *l)
{
    return opts != NULL && opts->bytes_max != 0 && l->found && l->entry.value.len > opts->bytes_max;
}

/* As `at` sees them, as get_at(). *err: the first that concerned one key; OK: none. */
static void get_many(struct quern *db, uint8_t database, const struct quern_slice *keys, size_t n,
                     const struct pin *at, const struct quern_read_opts *opts,
                     struct quern_value *values, enum quern_code *codes, bool *torn,
                     struct quern_error *err)
{
    struct sst_lookup like = {.cached = is_cached(opts)};
    struct counters *counters = engine_counters(db);
    struct moment moment;
    uint64_t found = 0, told = 0, passed = 0;

    err_clear(err);
    rcu_enter();
    moment = moment_of(db, at);
    like.seq = moment.seq;
    for (size_t done = 0; done < n; done += LOOKUPS_MAX) {
        struct many m;
        size_t some = n - done < LOOKUPS_MAX ? n - done : LOOKUPS_MAX;

        passed += get_some(&moment, database, keys + done, some, &like, &m);
        for (size_t i = 0; i < some; i++) {
            enum quern_code code = m.code[i];

            if (code == QUERN_OK && is_too_long(opts, &m.lookup[i])) {
                code = err_set(&m.err[i], QUERN_BUSY, "the value is longer than was asked for");
                alloc_free(GIVE(m.lookup[i].owned));
            }
            if (code == QUERN_OK)
                code = deliver(db, &moment, &m.lookup[i], &values[done + i], &m.err[i]);
            inner_key_done(&m.key[i]);
            if (code != QUERN_OK)
                engine_value_clear(&values[done + i]);
            codes[done + i] = code;
            found += code == QUERN_OK;
            count_filters(counters, &m.lookup[i], 1);
            told += code != QUERN_BUSY;
            if (code != QUERN_OK && code != QUERN_NOT_FOUND && err->code == QUERN_OK)
                *err = m.err[i];
        }
    }
    rcu_leave();
    *torn = moment.torn;
    if (UNLIKELY(*torn))
        return;
    atomic_fetch_add_explicit(&counters->gets, told, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->gets_missed, told - found, memory_order_relaxed);
    if (passed != 0)
        atomic_fetch_add_explicit(&counters->passed, passed, memory_order_relaxed);
    if (err->code != QUERN_OK)
        engine_note_damage(db, err);
}

enum quern_code quern_multi_get(struct quern *db, const struct quern_slice *keys, size_t n,
                                const struct quern_read_opts *opts, struct quern_value *values,
                                enum quern_code *codes, struct quern_error *err)
{
    uint8_t database = database_of(opts);
    struct quern_error local;
    struct pin pin;
    bool torn;

    err = ERR_OR(err, local);
    if (engine_check(db, err))
        return err->code;
    get_many(db, database, keys, n, pin_of(opts), opts, values, codes, &torn, err);
    if (UNLIKELY(torn)) {
        pin_add(db, &pin);
        get_many(db, database, keys, n, &pin, opts, values, codes, &torn, err);
        pin_remove(db, &pin);
    }
    return err->code;
}

void quern_prefetch(struct quern *db, const struct quern_slice *keys, size_t n,
                    const struct quern_read_opts *opts)
{
    struct sst_lookup like = {.cached = true, .prefetch = true};
    struct quern_error ignored;
    struct moment moment;

    if (engine_check(db, &ignored))
        return;
    rcu_enter();
    moment = moment_of(db, pin_of(opts));
    like.seq = moment.seq;
    for (size_t done = 0; done < n; done += LOOKUPS_MAX) {
        struct many m;
        size_t some = n - done < LOOKUPS_MAX ? n - done : LOOKUPS_MAX;

        (void)get_some(&moment, database_of(opts), keys + done, some, &like, &m);
        for (size_t i = 0; i < some; i++)
            inner_key_done(&m.key[i]);
    }
    rcu_leave();
}
