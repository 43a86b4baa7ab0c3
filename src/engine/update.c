/* update.c - writes that depend on what is there: the checks of a batch, and functions that read and
 * write as one step.
 *
 *     group:     A put x      B if x is at 7: put y      C update x      D delete z
 *                   |              |                         |
 *                   '---- before --+-------- before ---------'         the store at visible_seq
 *
 * The leader judges its group in order, before any of it is logged: nobody else writes, so what a
 * check or a function sees still holds when its batch is applied. It sees the store, and over that
 * the operations of the group so far (`before`), and of its own batch (`own`). Who does not depend
 * on anything costs nothing here, unless somebody behind it does.
 *
 * All of a group judges expiries by one time, that of a pin: so what one read shows is not gone in
 * the next, and a merge takes away nothing meanwhile that lives by it.
 *
 * Should the group fail as a whole, its failure is the result of the refused ones too: what they were
 * judged by may not have happened. */
#include "engine/engine_priv.h"

#include "base/hash.h"

#include <inttypes.h>

#define PLACES_MIN 64
#define PLACES_KEPT_MAX 4096      /* more are given back after each group */
#define KEPT_BYTES_MAX (4u << 10) /* memory that the batch of an update keeps for the next one */

/* ---- the newest operation on each key of some batches ---- */

/* By hash, open addressing; no batch is taken out again. */
struct place {
    uint64_t hash;
    const struct batch_ref *batch; /* NULL: free */
    size_t at;                     /* where its operation begins */
    quern_seq seq;
    uint64_t order; /* how many operations were added before it */
};

struct places {
    struct place *place;
    size_t capacity, count;
    uint64_t added;  /* operations */
    struct buf cuts; /* struct place ...: the range deletes */
};

struct updates {
    struct places before, own;
    const struct pin *at;                       /* as who the group sees the store */
    struct quern_batch *batch[GROUP_COUNT_MAX]; /* what updates fill; kept for the next group */
    size_t used;
};

struct quern_update {
    struct quern *db;
    struct updates *shared;
    struct quern_batch *batch;
    struct batch_ref ops; /* of the batch */
    size_t known;         /* bytes of them that `own` has */
    uint64_t clears;      /* of the batch, when that was so */
    quern_seq seq;        /* that it will have */
};

static void entry_at(const struct place *p, struct entry *e)
{
    struct op_cursor c = op_cursor_of(p->batch);

    c.at += p->at;
    ensure(op_next(&c, e));
    e->seq = p->seq;
}

static struct place *place_of(const struct places *places, struct quern_slice key, uint64_t hash,
                              struct entry *e)
{
    size_t i = (size_t)hash & (places->capacity - 1);

    for (; places->place[i].batch != NULL; i = (i + 1) & (places->capacity - 1)) {
        if (places->place[i].hash != hash)
            continue;
        entry_at(&places->place[i], e);
        if (key_equal(e->key, key))
            break;
    }
    return &places->place[i];
}

/* The order of the newest range delete over `key`, counted from 1; 0: there is none. */
static uint64_t newest_cut(const struct places *places, struct quern_slice key)
{
    const struct place *list = (const struct place *)(const void *)places->cuts.data;

    for (size_t i = places->cuts.len / sizeof(*list); i-- > 0;) {
        struct entry e;
        struct cut cut;

        entry_at(&list[i], &e);
        cut = (struct cut){e.key, e.value, e.seq};
        if (cut_covers(&cut, key))
            return list[i].order + 1;
    }
    return 0;
}

/* The newest operation on `key`; one that removed a range with it is a deletion of the key. */
static bool places_find(const struct places *places, struct quern_slice key, struct entry *e)
{
    const struct place *p = places->count != 0 ? place_of(places, key, hash_key(key), e) : NULL;
    uint64_t cut = newest_cut(places, key);

    if (p != NULL && p->batch != NULL && p->order >= cut)
        return true;
    if (cut == 0)
        return false;
    *e = (struct entry){.key = key, .kind = ENTRY_DELETE};
    return true;
}

static enum quern_code places_grow(struct places *places, struct quern_error *err)
{
    struct places more = {.capacity = places->capacity ? 2 * places->capacity : PLACES_MIN};

    if (2 * (places->count + 1) <= places->capacity)
        return QUERN_OK;
    more.place = alloc_array(more.capacity, sizeof(*more.place));
    if (more.place == NULL)
        return err_memory(err, "the operations of a group");
    for (size_t i = 0; i < places->capacity; i++) {
        struct entry e;

        if (places->place[i].batch == NULL)
            continue;
        entry_at(&places->place[i], &e);
        *place_of(&more, e.key, places->place[i].hash, &e) = places->place[i];
    }
    alloc_free(places->place);
    places->place = more.place;
    places->capacity = more.capacity;
    return QUERN_OK;
}

/* The operations of `batch` from byte `from` on are the newest on their keys. */
static enum quern_code places_add(struct places *places, const struct batch_ref *batch, size_t from,
                                  quern_seq seq, struct quern_error *err)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry e, known;

    if (from == batch->ops.len)
        return QUERN_OK;
    for (c.at += from;; places->added++) {
        size_t at = (size_t)(c.at - (const uint8_t *)batch->ops.data);
        struct place fresh = {0, batch, at, seq, places->added}, *p;

        if (!op_next(&c, &e))
            return QUERN_OK;
        if (e.kind == ENTRY_DATABASES)
            continue;
        if (e.kind == ENTRY_RANGE_DELETE) {
            if (buf_append(&places->cuts, &fresh, sizeof(fresh), err))
                return err->code;
            continue;
        }
        if (places_grow(places, err))
            return err->code;
        fresh.hash = hash_key(e.key);
        p = place_of(places, e.key, fresh.hash, &known);
        places->count += p->batch == NULL;
        *p = fresh;
    }
}

static void places_clear(struct places *places)
{
    if (places->capacity > PLACES_KEPT_MAX) {
        alloc_free(GIVE(places->place));
        places->capacity = places->count = 0;
    }
    if (places->count != 0)
        memset(places->place, 0, places->capacity * sizeof(*places->place));
    places->count = 0;
    places->added = 0;
    buf_done(&places->cuts); /* seldom any */
}

static void places_done(struct places *places)
{
    alloc_free(places->place);
    buf_done(&places->cuts);
}

/* ---- checks ---- */

static enum quern_code revision_of(struct quern *db, const struct updates *u,
                                   struct quern_slice key, quern_seq *seq, struct quern_error *err)
{
    struct entry e;

    if (!places_find(&u->before, key, &e))
        return engine_revision(db, inner_database(key), inner_user_key(key), u->at, seq, err);
    *seq = e.seq;
    return entry_lives(&e, u->at->time_ms) ? QUERN_OK : QUERN_NOT_FOUND;
}

static enum quern_code make_checks(struct quern *db, const struct updates *u,
                                   struct quern_slice checks, struct quern_error *err)
{
    struct batch_check c;

    for (uint32_t no = 0; batch_check_next(&checks, &c); no++) {
        quern_seq seq = 0;
        enum quern_code code = revision_of(db, u, c.key, &seq, err);
        bool there = code == QUERN_OK;

        if (!there && code != QUERN_NOT_FOUND)
            return err_in(err, "check %" PRIu32, no);
        if (c.what == QUERN_REQUIRE_ABSENT
                ? !there
                : there && (c.what == QUERN_REQUIRE_PRESENT || seq == c.revision))
            continue;
        if (there)
            code = err_set(err, QUERN_CONFLICT,
                           "check %" PRIu32 " does not hold: the key is at revision %" PRIu64, no,
                           seq);
        else
            code = err_set(err, QUERN_CONFLICT, "check %" PRIu32 " does not hold: no such key", no);
        err->check = no;
        return code;
    }
    return QUERN_OK;
}

/* ---- updates ---- */

/* What the function has added to its batch since the last look; all, if it began anew. */
static enum quern_code note_own(struct quern_update *u, struct quern_error *err)
{
    if (u->clears != u->batch->clears) {
        places_clear(&u->shared->own);
        u->known = 0;
        u->clears = u->batch->clears;
    }
    u->ops = (struct batch_ref){buf_slice(&u->batch->ops), {NULL, 0}, u->batch->count};
    if (places_add(&u->shared->own, &u->ops, u->known, u->seq, err))
        return err->code;
    u->known = u->ops.ops.len;
    return QUERN_OK;
}

/* Of the group nothing is in inside numbers yet: they are those of before it, and of this batch. */
static enum quern_code update_get(struct quern_update *u, uint8_t database, struct inner_key *key,
                                  struct quern_value *value, struct quern_error *err)
{
    const struct pin *at = u->shared->at;
    struct entry e;

    if (!places_find(&u->shared->own, key->key, &e) &&
        !places_find(&u->shared->before, key->key, &e))
        return engine_get(u->db, database, key, at, value, err);
    if (entry_lives(&e, at->time_ms))
        return engine_value_copy(value, &e, err);
    engine_value_clear(value);
    return QUERN_NOT_FOUND;
}

enum quern_code quern_update_get(struct quern_update *u, struct quern_slice key,
                                 struct quern_value *value, struct quern_error *err)
{
    struct quern_error local;
    struct inner_key inner;
    enum quern_code code;
    uint8_t database;

    err = ERR_OR(err, local);
    if (check_key(u->batch->database, key, err) || note_own(u, err))
        return err->code;
    database = db_map_get(u->batch->map, u->batch->database);
    if (inner_key_init(&inner, database, key, err))
        return err->code;
    code = update_get(u, database, &inner, value, err);
    inner_key_done(&inner);
    return code;
}

quern_seq quern_update_seq(const struct quern_update *u)
{
    return u->seq;
}

quern_seq quern_update_moved(const struct quern_update *u, uint8_t database)
{
    return database < QUERN_DATABASES ? u->db->moved_seq[database] : 0;
}

struct quern_batch *quern_update_batch(struct quern_update *u)
{
    return u->batch;
}

static struct quern_batch *next_batch(struct updates *u)
{
    struct quern_batch **batch = &u->batch[u->used];

    if (*batch == NULL && (*batch = quern_batch_new()) == NULL)
        return NULL;
    u->used++;
    return *batch;
}

static enum quern_code run_update(struct quern *db, struct updates *shared, struct waiter *w,
                                  quern_seq seq, struct quern_error *err)
{
    struct quern_update u = {.db = db, .shared = shared, .seq = seq};
    enum quern_code code;

    u.batch = next_batch(shared);
    if (u.batch == NULL)
        return err_memory(err, "a batch");
    u.clears = u.batch->clears;
    err_clear(err);
    code = w->update(w->update_arg, &u, err);
    places_clear(&shared->own);
    if (code == QUERN_OK)
        waiter_take_batch(w, u.batch);
    w->checks = slice_of(NULL, 0);
    if (code != QUERN_OK && err->code != code)
        (void)err_set(err, code, "the update was given up");
    return code;
}

/* ---- a group ---- */

static struct updates *need_updates(struct quern *db)
{
    if (db->updates == NULL)
        db->updates = NEW(struct updates);
    return db->updates;
}

static void refuse(struct waiter *w, const struct quern_error *why)
{
    w->batch = (struct batch_ref){.op_count = 0};
    w->puts = w->cuts = w->swaps = 0;
    w->user_bytes = 0;
    w->code = why->code;
    *(w->async != NULL ? &w->async->error : w->err) = *why;
}

/* Judge one; those from *seen up to it, which were accepted, stand before it. */
static void judge(struct quern *db, const struct pin *at, struct waiter *w, struct waiter **seen,
                  quern_seq seq)
{
    struct updates *u = need_updates(db);
    struct quern_error err;
    enum quern_code code = QUERN_OK;

    if (u == NULL)
        code = err_memory(&err, "updates");
    else
        u->at = at;
    for (; code == QUERN_OK && *seen != w; *seen = (*seen)->next)
        code = places_add(&u->before, &(*seen)->batch, 0, (*seen)->seq, &err);
    if (code == QUERN_OK)
        code = w->update != NULL ? run_update(db, u, w, seq, &err)
                                 : make_checks(db, u, w->checks, &err);
    if (code != QUERN_OK)
        refuse(w, &err);
}

void engine_judge_group(struct quern *db, struct waiter *first, struct waiter **rest)
{
    struct waiter *seen = first;
    quern_seq seq = db->last_seq;
    uint64_t bytes = 0;
    struct pin pin;

    *rest = NULL;
    pin_add(db, &pin);
    for (struct waiter *w = first; w != NULL; w = w->next) {
        if (waiter_depends(w))
            judge(db, &pin, w, &seen, seq + 1);
        seq += w->batch.op_count != 0;
        w->seq = seq;
        bytes += batch_bytes(&w->batch);
        if (w->update != NULL && (bytes > GROUP_BYTES_MAX || w->swaps != 0) && w->next != NULL) {
            *rest = w->next; /* what it would write was not known when the group was made */
            w->next = NULL;
        }
    }
    pin_remove(db, &pin);
}

void engine_judged_done(struct quern *db)
{
    struct updates *u = db->updates;

    if (u == NULL)
        return; /* there was no memory for it */
    places_clear(&u->before);
    for (size_t i = 0; i < u->used; i++) {
        struct quern_batch *batch = u->batch[i];

        quern_batch_clear(batch);
        if (batch->ops.capacity > KEPT_BYTES_MAX)
            buf_done(&batch->ops);
        if (batch->checks.capacity > KEPT_BYTES_MAX)
            buf_done(&batch->checks);
    }
    u->used = 0;
}

void engine_updates_done(struct quern *db)
{
    struct updates *u = GIVE(db->updates);

    if (u == NULL)
        return;
    for (size_t i = 0; i < GROUP_COUNT_MAX; i++)
        quern_batch_free(u->batch[i]);
    places_done(&u->before);
    places_done(&u->own);
    alloc_free(u);
}

/* ---- the doors ---- */

enum quern_code quern_update(struct quern *db, quern_update_fn fn, void *arg,
                             const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_error local;
    struct waiter w = {.sync = opts != NULL && opts->sync,
                       .update = fn,
                       .update_arg = arg,
                       .err = ERR_OR(err, local)};

    if (engine_check(db, w.err))
        return w.err->code;
    return engine_commit(db, &w);
}
