/* live_ask.c - how many keys live, for somebody who asks now.
 *
 * Who asks takes the store at one moment: the tables, the MemDBs, and the number up to which they count.
 * Up to there each MemDB is counted (live.c), and the last one's numbers are those of the moment. Where
 * they are not known the moment is held, a walk finds out, and what it finds is put in the place of what
 * stands there of the same epoch: by then that may be further on, or flushed. */
#include "engine/live_priv.h"

/* What a loop that must not wait may count: a millisecond or two. */
#define CACHED_ENTRIES 4096

/* The store at one moment: a pin, and what it is of. */
struct moment {
    struct view *view;  /* referenced */
    struct memdb *mems; /* oldest first; borrowed from the view */
    size_t count;
};

static enum quern_code list_mems_locked(struct quern *db, struct moment *m, struct quern_error *err)
{
    m->mems = alloc_array(db->recovered_count + db->sealed_count + 1, sizeof(*m->mems));
    if (m->mems == NULL)
        return err_memory(err, "a count");
    for (size_t i = 0; i < db->recovered_count; i++)
        m->mems[m->count++] = db->recovered[i];
    for (size_t i = 0; i < db->sealed_count; i++)
        m->mems[m->count++] = db->sealed[i];
    if (db->active.mem != NULL &&
        !memdb_is_empty(&db->active)) /* an empty one may yet be replaced */
        m->mems[m->count++] = db->active;
    return QUERN_OK;
}

/* Under one lock, under which all of it is published but the number: that comes first, since what is
 * written after it may make a MemDB one that is not empty. */
static enum quern_code moment_of(struct quern *db, struct live_look *look, bool all,
                                 struct moment *m, struct quern_error *err)
{
    struct pin *pin = &look->at.pin;
    enum quern_code code;

    mutex_lock(&db->mu);
    pin_add_locked(db, pin, NULL);
    look->now_ms = pin->time_ms;
    if (all)
        pin->time_ms = 0;
    code = list_mems_locked(db, m, err);
    if (code == QUERN_OK) {
        m->view = atomic_load_explicit(&db->view, memory_order_relaxed);
        view_ref(m->view);
    } else {
        pin_remove_locked(pin);
    }
    mutex_unlock(&db->mu);
    return code;
}

static void moment_done(struct moment *m)
{
    view_unref(m->view);
    alloc_free(m->mems);
}

static enum quern_code count_all(struct quern *db, const struct moment *m, quern_seq seq,
                                 uint64_t now_ms, bool cached, struct quern_error *err)
{
    struct counting c = {.live = &db->live,
                         .version = m->view->version,
                         .mems = m->mems,
                         .seq = seq,
                         .now_ms = now_ms,
                         .entries_left = cached ? CACHED_ENTRIES : UINT64_MAX,
                         .reads_left = cached ? 0 : UINT64_MAX};

    for (c.count = 1; c.count <= m->count; c.count++) {
        const struct mem *mem = m->mems[c.count - 1].mem;
        struct live_part *p = live_find_part(&db->live, mem);

        if (p == NULL)
            p = live_add_part(&db->live, mem, err);
        if (p == NULL || live_count_part(&c, p, err))
            return err->code;
    }
    return QUERN_OK;
}

/* Tables of the run that may have keys of the database: those in [*from, *to). */
static void tables_of(const struct run *run, uint8_t database, size_t *from, size_t *to)
{
    uint8_t first = database, behind = database + 1;

    *from = *to = run_lower(run, slice_of(&first, 1));
    while (*to < run->count &&
           key_compare(buf_slice(&run->tables[*to]->smallest), slice_of(&behind, 1)) < 0)
        ++*to;
}

/* Is there nothing, and when does the first expire? */
static void look_around(const struct live *l, const struct moment *m, struct live_look *look,
                        bool *nothing)
{
    const struct version *version = m->view->version;
    size_t from, to;

    *nothing = true;
    look->expires_ms = UINT64_MAX;
    for (size_t i = l->count; i-- > 0;) {
        *nothing &= !l->parts[i].seen[look->inside];
        if (l->parts[i].expires[look->inside] < look->expires_ms)
            look->expires_ms = l->parts[i].expires[look->inside];
        if (l->parts[i].from[look->inside] != 0)
            return; /* what is older is gone */
    }
    for (size_t r = 0; r < version->run_count; r++)
        for (tables_of(&version->runs[r], look->inside, &from, &to); from < to; from++) {
            uint64_t expires = sst_meta(version->runs[r].tables[from]->sst)->expires_min_ms;

            *nothing = false;
            if (expires != 0 && expires < look->expires_ms)
                look->expires_ms = expires;
        }
}

/* What follows from what is known. */
static void conclude(struct live *l, struct live_count *n, const struct live_look *look,
                     bool nothing)
{
    struct live_clock *clock = &l->clock[look->inside];

    if (nothing && !live_is_known(n)) {
        live_forget(l, n);
        n->known = true;
    }
    if (clock->state == CLOCK_UNKNOWN && live_is_known(n) && look->expires_ms == UINT64_MAX)
        live_clock_begin(l, clock, n->keys, look->now_ms);
    if (clock->state == CLOCK_KNOWN && !live_is_known(n) && look->expires_ms > look->now_ms) {
        live_forget(l, n); /* nothing is left that the clock does not count */
        n->keys = clock->at.keys;
        n->known = true;
    }
}

/* What the walk passes over is not to be learnt from; what is written meanwhile is. */
static void begin_walk(struct live *l, struct live_count *n, struct live_look *look)
{
    struct live_clock *clock = &l->clock[look->inside];

    if (!live_is_known(n) && l->walkers[look->inside] == 0)
        live_forget(l, n);
    l->walkers[look->inside]++;
    if (look->leads) {
        live_clock_begin(l, clock, 0, look->now_ms);
        clock->state = CLOCK_LEARNS;
    }
}

/* With LIVE_CACHED no walk will follow. */
static void look_closer(struct live *l, const struct moment *m, enum live_how how,
                        struct live_look *look)
{
    struct live_count *n = &live_last_counts(l)[look->inside];
    struct live_clock *clock = &l->clock[look->inside];
    bool nothing;

    look_around(l, m, look, &nothing);
    live_clock_pass(clock, look->now_ms);
    if (how != LIVE_ALL) /* who verifies changes nothing */
        conclude(l, n, look, nothing);
    look->by_clock = clock->state == CLOCK_KNOWN;
    look->told = look->by_clock || (live_is_known(n) && look->expires_ms > look->now_ms);
    look->living = (uint64_t)(look->by_clock ? clock->at.keys : n->keys);
    look->expiring = (uint64_t)clock->at.expiring;
    look->ttl_ms = look->by_clock ? living_ttl_ms(&clock->at) : 0;
    look->whole = how == LIVE_ALL || look->expires_ms > look->now_ms;
    look->walks = how == LIVE_ALL || (how == LIVE_WHOLLY && !look->told) ||
                  (how == LIVE_BY_CLOCK && !look->by_clock);
    look->leads = look->walks && how != LIVE_ALL && clock->state == CLOCK_UNKNOWN;
    if (look->walks)
        begin_walk(l, n, look);
    look->known = live_is_known(n);
    look->keys = n->keys;
    look->epoch = n->epoch;
    look->clock_epoch = clock->epoch;
}

/* All is counted up to the moment; its pin is the caller's if OK. Holds l->mu then. */
static enum quern_code begin(struct quern *db, enum live_how how, struct live_look *look,
                             struct moment *m, struct quern_error *err)
{
    enum quern_code code;

    *m = (struct moment){.count = 0};
    if (how != LIVE_CACHED)
        mutex_lock(&db->live.mu);
    else if (!mutex_try(&db->live.mu))
        return err_set(err, QUERN_BUSY, "somebody else is counting");
    code = moment_of(db, look, how == LIVE_ALL, m, err);
    if (code == QUERN_OK &&
        count_all(db, m, look->at.pin.seq, look->now_ms, how == LIVE_CACHED, err)) {
        code = err->code;
        pin_remove(db, &look->at.pin);
    }
    if (code != QUERN_OK) {
        mutex_unlock(&db->live.mu);
        moment_done(m);
        engine_note_damage(db, err);
    }
    return code;
}

enum quern_code live_look(struct quern *db, uint8_t database, enum live_how how,
                          struct live_look *look, struct quern_error *err)
{
    struct moment m;

    *look = (struct live_look){.at.db = db, .database = database};
    if (begin(db, how, look, &m, err))
        return err->code;
    look->inside = db_map_get(look->at.pin.map, database);
    look_closer(&db->live, &m, how, look);
    mutex_unlock(&db->live.mu);
    moment_done(&m);
    return QUERN_OK;
}

enum quern_code quern_live_keys(struct quern *db, bool cached, uint64_t keys[QUERN_DATABASES],
                                struct quern_error *err)
{
    struct live_look look = {.at.db = db};
    struct quern_error local;
    struct moment m;

    err = ERR_OR(err, local);
    if (engine_check(db, err) || begin(db, cached ? LIVE_CACHED : LIVE_WHOLLY, &look, &m, err))
        return err->code;
    for (uint8_t d = 0; d < QUERN_DATABASES; d++) {
        look.inside = db_map_get(look.at.pin.map, d);
        look_closer(&db->live, &m, LIVE_CACHED, &look);
        keys[d] = look.told ? look.living : QUERN_KEYS_UNKNOWN;
    }
    mutex_unlock(&db->live.mu);
    moment_done(&m);
    pin_remove(db, &look.at.pin);
    return QUERN_OK;
}

static bool learn(struct live_count *n, const struct live_look *look, uint64_t keys)
{
    if (n->epoch != look->epoch || n->known != look->known)
        return false;
    n->keys += (int64_t)keys - look->keys;
    n->known = true;
    return true;
}

/* The clock has what came since the walk's moment, or stands where it stood then. */
static bool learn_by_clock(struct live_clock *clock, const struct live_look *look)
{
    if (clock->epoch != look->clock_epoch)
        return false;
    if (look->leads) {
        living_join(&clock->at, &look->walked);
        clock->state = CLOCK_KNOWN;
        return true;
    }
    if (!look->by_clock || (uint64_t)look->walked.keys == look->living)
        return false;
    live_clock_forget(clock);
    return true;
}

bool live_learn(struct quern *db, const struct live_look *look, uint64_t keys)
{
    struct live *l = &db->live;
    bool learnt;

    mutex_lock(&l->mu);
    learnt = learn_by_clock(&l->clock[look->inside], look);
    if (look->whole && !(look->known && (uint64_t)look->keys == keys)) {
        learnt |= learn(&l->flushed[look->inside], look, keys);
        for (size_t i = 0; i < l->count; i++)
            learnt |= learn(&l->parts[i].count[look->inside], look, keys);
    }
    live_weigh_clocks(l);
    mutex_unlock(&l->mu);
    engine_share_memory(db);
    return learnt;
}

void live_end(struct quern *db, struct live_look *look)
{
    struct live_clock *clock = &db->live.clock[look->inside];

    if (look->walks) {
        mutex_lock(&db->live.mu);
        db->live.walkers[look->inside]--;
        if (look->leads && clock->state == CLOCK_LEARNS && clock->epoch == look->clock_epoch)
            live_clock_forget(clock);
        mutex_unlock(&db->live.mu);
    }
    living_done(&look->walked);
    pin_remove(db, &look->at.pin);
}
