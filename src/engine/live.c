/* live.c - how many keys live, counted from what was written; see live.h.
 *
 *     manifest   flushed        part            part
 *        N  -->  N      -->     N       -->     N          what is asked for
 *     flushed_seq        sealed MemDB    active MemDB
 *
 * Each MemDB that somebody asked about has a part, which begins with the numbers of the one before and
 * goes on from the entry where it stopped. An entry adds a key if it is a put, and takes one away if what
 * it stands before is: the version before in its MemDB, to which it has a link, or else the newest one
 * below, in older MemDBs and tables. What lies below a MemDB never gets newer, so who counts does not
 * care when he does. A flush ends its MemDB's part before its edit, and the numbers of that part are
 * those of the new flushed_seq.
 *
 *     known      put, delete      one more, one less, the same
 *                cut: whole       0, and known, wherever it comes from
 *                cut: other       not known
 *                expired put gone not known (compact/merge.c makes it a tombstone; of which keys it was
 *                                 the newest version nobody asks)
 *     not known  a walk           known, if nothing of this happened meanwhile
 *
 * An entry of a database of which the number is not known is passed over, unless a walk is on its way
 * (`walkers`), whose result has to be carried from the walk's moment to the present.
 *
 * The clock of a database (living.h) is told the same of each entry, and when what comes and goes expires.
 * There is one, at the last entry that is counted: entries are counted in the order in which they were
 * written, whoever does it. That a merge makes tombstones of what has expired is nothing to it. A put on
 * such a key does not find it below, and so does not take it away; its time does, which has come before
 * anybody asks: the horizon of a merge is not later than the time of who sees what it made. */
#include "engine/live_priv.h"

#include "base/hash.h"

/* A flush reads a block for so many entries at most to count them: beyond, the number is given up. */
#define FLUSH_ENTRIES_PER_READ 32
#define FLUSH_READS_MIN 1024
#define SECTION_ENTRIES 64
#define CLOCK_PART 64 /* a clock may have such a part of the store's memory */

/* ---- life ---- */

void live_init(struct live *l)
{
    mutex_init(&l->mu);
}

void live_done(struct live *l)
{
    alloc_free(l->parts);
    for (size_t d = 0; d < QUERN_DATABASES; d++)
        living_done(&l->clock[d].at);
    mutex_done(&l->mu);
}

void live_open(struct quern *db)
{
    const struct manifest_state *state = manifest_state(db->manifest);

    for (size_t d = 0; d < QUERN_DATABASES; d++)
        db->live.flushed[d] =
            (struct live_count){(int64_t)state->live[d] - 1, 0, state->live[d] != 0};
    db->live.reach_ms = db->options.memory_bytes / CLOCK_PART / sizeof(int32_t);
}

/* ---- numbers ---- */

void live_forget(struct live *l, struct live_count *n)
{
    *n = (struct live_count){0, ++l->epochs, false};
}

bool live_is_known(const struct live_count *n)
{
    return n->known &&
           n->keys >= 0; /* less than nothing is damage: it is walked, and learnt anew */
}

void live_clock_forget(struct live_clock *clock)
{
    living_done(&clock->at);
    clock->state = CLOCK_UNKNOWN;
    clock->epoch++;
}

void live_clock_begin(const struct live *l, struct live_clock *clock, int64_t keys, uint64_t now_ms)
{
    living_done(&clock->at);
    living_begin(&clock->at, keys, now_ms, l->reach_ms);
    clock->state = CLOCK_KNOWN;
}

/* Less than nothing is damage: it is walked, and learnt anew. */
void live_clock_pass(struct live_clock *clock, uint64_t now_ms)
{
    if (clock->state == CLOCK_KNOWN && (!living_pass(&clock->at, now_ms) || clock->at.keys < 0))
        live_clock_forget(clock);
}

void live_weigh_clocks(struct live *l)
{
    uint64_t bytes = 0;

    for (size_t d = 0; d < QUERN_DATABASES; d++)
        bytes += living_bytes(&l->clock[d].at);
    atomic_store(&l->clock_bytes, bytes);
}

/* Does it matter what an entry of the database does to it? */
static bool is_wanted(const struct live *l, const struct live_count *n, size_t database)
{
    return n->known || l->walkers[database] != 0 || l->clock[database].state != CLOCK_UNKNOWN;
}

struct live_count *live_last_counts(struct live *l)
{
    return l->count != 0 ? l->parts[l->count - 1].count : l->flushed;
}

struct live_part *live_find_part(struct live *l, const struct mem *mem)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->parts[i].mem == mem)
            return &l->parts[i];
    return NULL;
}

/* Of a MemDB that could not be counted nothing is known, and it may hold anything. */
static void give_up(struct live *l, struct live_part *p)
{
    p->at = mem_written_bytes(p->mem);
    p->cuts_seq = UINT64_MAX;
    for (size_t d = 0; d < QUERN_DATABASES; d++) {
        live_forget(l, &p->count[d]);
        live_clock_forget(&l->clock[d]);
        p->seen[d] = true;
        p->expires[d] = 0;
    }
}

/* It has left the list, or is about to: what is not counted yet nobody will count. */
static void give_up_rest(struct live *l, struct live_part *p)
{
    if (p->at < mem_written_bytes(p->mem))
        give_up(l, p);
}

struct live_part *live_add_part(struct live *l, const struct mem *mem, struct quern_error *err)
{
    struct live_part *more = alloc_resize(l->parts, (l->count + 1) * sizeof(*more)), *p;
    struct live_count before[QUERN_DATABASES];

    if (more == NULL) {
        (void)err_memory(err, "the numbers of keys");
        return NULL;
    }
    l->parts = more;
    if (l->count != 0)
        give_up_rest(l, &l->parts[l->count - 1]);
    memcpy(before, live_last_counts(l), sizeof(before));
    p = &l->parts[l->count++];
    *p = (struct live_part){.mem = mem};
    memcpy(p->count, before, sizeof(before));
    memset(p->expires, 0xff, sizeof(p->expires));
    return p;
}

/* ---- what an entry stands before ---- */

/* The newest cut over `key` of those up to `seq`. */
static quern_seq newest_cut(const struct counting *c, struct quern_slice key, quern_seq seq)
{
    quern_seq newest = 0;

    for (size_t i = c->count; i-- > 0 && newest == 0;)
        if (c->mems[i].cuts != NULL)
            newest = cuts_newest(c->mems[i].cuts, key, seq);
    if (newest == 0 && c->version->cuts != NULL)
        newest = cuts_newest(c->version->cuts, key, seq);
    return newest;
}

static enum quern_code read_table(struct counting *c, struct sst *t, struct sst_lookup *l,
                                  struct quern_error *err)
{
    enum quern_code code;

    l->cached = c->reads_left != UINT64_MAX;
    code = sst_get(t, l, err);
    if (code != QUERN_BUSY || c->reads_left == 0)
        return code;
    c->reads_left--;
    l->cached = false;
    return sst_get(t, l, err);
}

/* The newest version below the MemDB that is counted. Under RCU. */
static enum quern_code look_below(struct counting *c, struct sst_lookup *l, struct quern_error *err)
{
    for (size_t i = c->count - 1; i-- > 0 && !l->found;)
        l->found = mem_get(c->mems[i].mem, l->key, l->hash, l->seq, &l->entry);
    for (size_t r = 0; r < c->version->run_count && !l->found; r++) {
        struct table *t = run_find(&c->version->runs[r], l->key);

        if (t != NULL && read_table(c, t->sst, l, err))
            return err->code;
    }
    return QUERN_OK;
}

/* What an entry stands before. */
struct before {
    bool found, put;
    quern_seq seq;
    uint64_t expires_ms;
};

/* Under RCU. */
static enum quern_code find_below(struct counting *c, const struct entry *e, struct before *out,
                                  struct quern_error *err)
{
    struct sst_lookup l = {.key = e->key, .hash = hash_key(e->key), .seq = e->seq};
    enum quern_code code = look_below(c, &l, err);

    *out = (struct before){.found = code == QUERN_OK && l.found};
    if (out->found)
        *out = (struct before){true, l.entry.kind == ENTRY_PUT, l.entry.seq, l.entry.expires_ms};
    if (l.owned != NULL)
        alloc_free(l.owned);
    return code;
}

/* ---- on through a MemDB ---- */

static enum quern_code count_entry(struct counting *c, struct live_part *p,
                                   const struct mem_written *w, struct quern_error *err)
{
    uint8_t d = inner_database(w->at.key);
    struct live_count *n = &p->count[d];
    struct before before = {w->over, w->over_kind == ENTRY_PUT, w->over_seq, w->over_expires_ms};
    bool lived;

    if (w->at.seq < p->from[d])
        return QUERN_OK;
    p->seen[d] = true;
    if (w->at.expires_ms != 0 && w->at.expires_ms < p->expires[d])
        p->expires[d] = w->at.expires_ms;
    if (!is_wanted(c->live, n, d))
        return QUERN_OK;
    if (!w->over && find_below(c, &w->at, &before, err))
        return err->code;
    lived = before.found && before.put && newest_cut(c, w->at.key, w->at.seq) <= before.seq;
    n->keys += (w->at.kind == ENTRY_PUT) - (int)lived;
    if (c->live->clock[d].state == CLOCK_UNKNOWN)
        return QUERN_OK;
    if (w->at.kind == ENTRY_PUT)
        living_add(&c->live->clock[d].at, w->at.expires_ms, 1);
    if (lived)
        living_add(&c->live->clock[d].at, before.expires_ms, -1);
    return QUERN_OK;
}

/* What the cuts of a MemDB up to `seq` leave of a database: the newest of them, 0: none, and whether it
 * is over all of it and nothing newer over a part. */
static quern_seq see_cuts(const struct cuts *cuts, uint8_t database, quern_seq seq, bool *whole)
{
    uint8_t first = database, behind = database + 1;
    struct quern_slice at = slice_of(&first, 1), end = slice_of(&behind, 1);
    const struct cut *last = NULL;
    quern_seq newest = 0;

    *whole = true;
    for (size_t i = cuts_lower(cuts, at); i < cuts->count; i++) {
        const struct cut *p = &cuts->piece[i];

        if (key_compare(p->start, end) >= 0)
            break;
        if (p->seq > seq || (last != NULL && key_equal(p->start, last->start)))
            continue; /* of one range the newest comes first */
        *whole &= key_compare(p->start, at) <= 0 && (last == NULL || p->seq == newest);
        newest = p->seq > newest ? p->seq : newest;
        at = p->end.len != 0 ? p->end : end;
        last = p;
    }
    *whole &= key_compare(at, end) >= 0;
    return newest;
}

static void apply_cuts(struct counting *c, struct live_part *p)
{
    const struct cuts *cuts = c->mems[c->count - 1].cuts;

    for (uint8_t d = 0; cuts != NULL && d < QUERN_DATABASES; d++) {
        bool whole;
        quern_seq newest = see_cuts(cuts, d, c->seq, &whole);

        if (newest <= p->cuts_seq)
            continue;
        live_forget(c->live, &p->count[d]);
        live_clock_forget(&c->live->clock[d]);
        p->count[d].known = whole;
        if (!whole)
            continue;
        live_clock_begin(c->live, &c->live->clock[d], 0, c->now_ms);
        p->from[d] = newest;
        p->seen[d] = false;
        p->expires[d] = UINT64_MAX;
    }
    p->cuts_seq = c->seq;
}

/* The next entries: as many as are worth a section of RCU. False: there is none. */
static bool count_some(struct counting *c, struct live_part *p, enum quern_code *code,
                       struct quern_error *err)
{
    struct mem_written w;
    uint64_t at = p->at;
    int left = SECTION_ENTRIES;

    rcu_enter();
    while (*code == QUERN_OK && left > 0 && mem_written(p->mem, &at, c->seq, &w)) {
        left--;
        if (c->entries_left == 0)
            *code = err_set(err, QUERN_BUSY, "more was written since the last count");
        else
            *code = count_entry(c, p, &w, err);
        if (*code == QUERN_OK) {
            c->entries_left--;
            p->at = at;
        }
    }
    rcu_leave();
    return *code == QUERN_OK && left == 0;
}

enum quern_code live_count_part(struct counting *c, struct live_part *p, struct quern_error *err)
{
    enum quern_code code = QUERN_OK;

    apply_cuts(c, p);
    while (count_some(c, p, &code, err))
        continue;
    return code;
}

/* ---- the worker ---- */

static void forget_locked(struct live *l, uint32_t databases)
{
    for (size_t d = 0; d < QUERN_DATABASES; d++) {
        if ((databases >> d & 1) == 0)
            continue;
        live_forget(l, &l->flushed[d]);
        for (size_t i = 0; i < l->count; i++)
            live_forget(l, &l->parts[i].count[d]);
    }
}

static void forget_all_locked(struct live *l)
{
    forget_locked(l, UINT32_MAX);
    for (size_t d = 0; d < QUERN_DATABASES; d++)
        live_clock_forget(&l->clock[d]);
}

static bool any_wanted(const struct live *l)
{
    bool any = l->count != 0;

    for (size_t d = 0; d < QUERN_DATABASES; d++)
        any |= is_wanted(l, &l->flushed[d], d);
    return any;
}

void live_flush(struct quern *db, const struct memdb *memdb)
{
    struct live *l = &db->live;
    struct quern_error err;
    struct mem_info info;
    enum quern_code code = QUERN_OK;
    struct live_part *p = NULL;

    mem_info(memdb->mem, &info);
    mutex_lock(&l->mu);
    for (size_t d = 0; d < QUERN_DATABASES; d++) /* nobody may have asked for long */
        live_clock_pass(&l->clock[d], engine_time_ms(db));
    if (any_wanted(l) && (p = live_find_part(l, memdb->mem)) == NULL) {
        p = live_add_part(l, memdb->mem, &err);
        if (p == NULL) /* who asks once it has left the list would go on from what is without it */
            forget_all_locked(l);
    }
    if (p != NULL) {
        struct counting c = {.live = l,
                             .version = work_version(db),
                             .mems = memdb,
                             .count = 1,
                             .seq = memdb_seq_max(memdb),
                             .now_ms = engine_time_ms(db),
                             .entries_left = UINT64_MAX,
                             .reads_left =
                                 FLUSH_READS_MIN + info.entry_count / FLUSH_ENTRIES_PER_READ};

        code = live_count_part(&c, p, &err);
        if (code != QUERN_OK)
            give_up(l, p);
    }
    live_weigh_clocks(l);
    mutex_unlock(&l->mu);
    if (code != QUERN_OK)
        engine_note_damage(db, &err);
}

static bool put_counts(const struct live_count *counts, uint64_t live[QUERN_DATABASES])
{
    bool any = false;

    for (size_t d = 0; d < QUERN_DATABASES; d++) {
        live[d] = counts != NULL && live_is_known(&counts[d]) ? (uint64_t)counts[d].keys + 1 : 0;
        any |= live[d] != 0;
    }
    return any;
}

const uint64_t *live_flush_edit(struct quern *db, const struct mem *mem, uint32_t expired,
                                uint64_t live[QUERN_DATABASES])
{
    struct live *l = &db->live;
    struct live_part *p;
    bool any;

    mutex_lock(&l->mu);
    forget_locked(l, expired);
    p = live_find_part(l, mem);
    any = put_counts(p != NULL ? p->count : NULL, live);
    mutex_unlock(&l->mu);
    return any ? live : NULL;
}

void live_flushed(struct quern *db, const struct mem *mem)
{
    struct live *l = &db->live;

    mutex_lock(&l->mu);
    if (l->count != 0 && l->parts[0].mem == mem) {
        give_up_rest(l, &l->parts[0]); /* somebody began it since live_flush(), and had to stop */
        memcpy(l->flushed, l->parts[0].count, sizeof(l->flushed));
        memmove(l->parts, l->parts + 1, --l->count * sizeof(*l->parts));
    } else { /* it has no part; one that somebody began since it left the list lacks its entries */
        forget_all_locked(l);
    }
    mutex_unlock(&l->mu);
}

const uint64_t *live_merge_edit(struct quern *db, uint32_t expired, uint64_t live[QUERN_DATABASES])
{
    if (expired == 0)
        return NULL;
    mutex_lock(&db->live.mu);
    forget_locked(&db->live, expired);
    (void)put_counts(db->live.flushed, live);
    mutex_unlock(&db->live.mu);
    return live;
}

enum quern_code live_save(struct quern *db, struct quern_error *err)
{
    uint64_t live[QUERN_DATABASES];
    struct manifest_edit edit = {.live = live};

    mutex_lock(&db->live.mu);
    (void)put_counts(db->live.flushed, live);
    mutex_unlock(&db->live.mu);
    if (memcmp(live, manifest_state(db->manifest)->live, sizeof(live)) == 0)
        return QUERN_OK;
    return manifest_apply(db->manifest, &edit, err);
}
