/* linear_hand.c - the calls of one thread, each with its times and its result.
 *
 * What a call is and which keys it takes follows from the thread's random numbers. After a power
 * cut the simulated disk fails every call, but mapped writes still succeed, in memory: an answer
 * that comes when the power is off counts as none. */
#include "linear_hand.h"
#include "tap.h"

#include "engine/engine_priv.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASYNC_MOST 3

uint64_t hand_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned pick(struct hand *t, unsigned n)
{
    return (unsigned)(tap_random(&t->random) >> 20) % n;
}

bool hand_wrong(struct world *w, const char *what)
{
    if (!atomic_exchange(&w->failed, true))
        tap_fail(__FILE__, __LINE__, "%s", what);
    return false;
}

/* A call has returned. Does the answer count? Not when the power is off: then it is as if it had
 * never come. */
static bool answered(struct hand *t, enum quern_code code, const struct quern_error *err,
                     uint64_t *ended)
{
    *ended = hand_now();
    if (t->w->sim != NULL && sim_is_off(t->w->sim)) {
        t->off = true;
        *ended = LINEAR_NEVER;
        return false;
    }
    return code == QUERN_OK || code == QUERN_NOT_FOUND || hand_wrong(t->w, err->text);
}

/* ---- keys and values ---- */

static struct quern_slice key_of(char *room, char family, unsigned n)
{
    return (struct quern_slice){room, (size_t)sprintf(room, "%c/%06u", family, n)};
}

/* Its id and key, then bytes that follow from both; now and then larger than what cursors copy. */
static struct quern_slice value_of(uint8_t *room, uint32_t id, char family, unsigned key)
{
    uint32_t mixed = (id * 16 + key) * 2654435761u;
    size_t len = mixed % 40 == 0 ? 4200 : 8 + (mixed >> 8) % 300;

    memcpy(room, &id, sizeof(id));
    memset(room + 4, (int)(mixed >> 16), len - 4);
    room[4] = (uint8_t)family;
    room[5] = (uint8_t)key;
    return (struct quern_slice){room, len};
}

/* The id in a value that is as it was written; 0 and a failure otherwise. */
static uint32_t id_of(struct world *w, struct quern_slice value, char family, unsigned key)
{
    uint8_t room[5000];
    uint32_t id = 0;

    if (value.len >= sizeof(id))
        memcpy(&id, value.data, sizeof(id));
    if (id == 0 || value_of(room, id, family, key).len != value.len ||
        memcmp(room, value.data, value.len) != 0) {
        (void)hand_wrong(w, "a value has other bytes than were written under this key");
        return 0;
    }
    return id;
}

/* ---- batches ---- */

static uint32_t new_id(struct hand *t)
{
    return t->w->first_id + t->no * IDS + t->used++;
}

static bool build_batch(struct hand *t, struct quern_batch *batch, uint32_t id,
                        struct linear_write *w)
{
    uint8_t room[5000];
    char name[24];
    enum quern_code code = QUERN_OK;

    for (unsigned n = 1 + pick(t, 4); n > 0 && code == QUERN_OK; n--) {
        unsigned k = pick(t, LINEAR_KEYS);
        uint32_t bit = UINT32_C(1) << k;

        if (pick(t, 8) == 0) {
            unsigned end = k + 1 + pick(t, LINEAR_KEYS - k);
            char name_end[24];
            struct quern_range range = {key_of(name, 'b', k), key_of(name_end, 'b', end)};

            code = quern_batch_delete_range(batch, &range, NULL);
            bit = (UINT32_C(1) << end) - bit;
            w->deletes |= bit;
            w->puts &= ~bit;
        } else if (pick(t, 5) == 0) { /* of two operations on a key the later one counts */
            code = quern_batch_delete(batch, key_of(name, 'b', k), NULL);
            w->deletes |= bit;
            w->puts &= ~bit;
        } else {
            code = quern_batch_put(batch, key_of(name, 'b', k), value_of(room, id, 'b', k), NULL);
            w->puts |= bit;
            w->deletes &= ~bit;
        }
    }
    if (code == QUERN_OK)
        code = quern_batch_put(batch, key_of(name, 'j', id), (struct quern_slice){"", 0}, NULL);
    return code == QUERN_OK || hand_wrong(t->w, "no memory for a batch");
}

/* quern_write(), with the number that it gave: after a power cut nothing else tells the number of
 * what is lost. */
static enum quern_code write_numbered(struct quern *db, const struct quern_batch *batch, bool sync,
                                      quern_seq *seq, struct quern_error *err)
{
    struct waiter w = {.sync = sync, .err = err};
    enum quern_code code;

    waiter_take_batch(&w, batch);
    code = engine_commit(db, &w);
    *seq = w.seq;
    return code;
}

static void note_write(struct hand *t, struct linear_write *w, enum quern_code code, quern_seq seq,
                       const struct quern_error *err)
{
    if (code == QUERN_OK)
        w->seq = seq; /* others may have seen it before the power went, if we did not */
    if (!answered(t, code, err, &w->ended))
        return;
    if (w->sync && w->began > t->synced)
        t->synced = w->began;
}

/* Up to ASYNC_MOST batches under way at once. */
static void do_async(struct hand *t, bool sync)
{
    struct quern_completion c[ASYNC_MOST] = {{0}};
    struct quern_batch *batch[ASYNC_MOST] = {NULL};
    struct linear_write *w[ASYNC_MOST];
    struct quern_write_opts opts = {.sync = sync};
    struct quern_error err = {0};
    unsigned n = 1 + pick(t, ASYNC_MOST), sent = 0, i;

    for (; sent < n && !t->off && t->used < IDS; sent++) {
        uint32_t id = new_id(t);

        batch[sent] = quern_batch_new();
        w[sent] = &t->w->h.writes[id - t->w->first_id];
        w[sent]->sync = sync;
        if (!build_batch(t, batch[sent], id, w[sent]))
            break;
        w[sent]->began = hand_now();
        w[sent]->ended = LINEAR_NEVER;
        if (quern_write_async(t->w->db, batch[sent], &opts, &c[sent], &err) != QUERN_OK) {
            uint64_t ended;

            (void)answered(t, err.code, &err, &ended);
            break;
        }
    }
    for (i = 0; i < sent; i++) {
        while (!quern_completion_ready(&c[i]))
            (void)sched_yield();
        note_write(t, w[i], c[i].code, c[i].seq, &c[i].error);
    }
    for (i = 0; i < ASYNC_MOST; i++)
        quern_batch_free(batch[i]);
}

static void do_batch(struct hand *t, bool sync)
{
    struct quern_batch *batch = quern_batch_new();
    struct quern_write_opts opts = {.sync = sync};
    struct quern_error err = {0};
    uint32_t id = new_id(t);
    struct linear_write *w = &t->w->h.writes[id - t->w->first_id];
    quern_seq seq = 0; /* the journal tells it */
    enum quern_code code;

    w->sync = sync;
    if (build_batch(t, batch, id, w)) {
        w->began = hand_now();
        w->ended = LINEAR_NEVER;
        code = t->w->sim == NULL ? quern_write(t->w->db, batch, &opts, &err)
                                 : write_numbered(t->w->db, batch, sync, &seq, &err);
        note_write(t, w, code, seq, &err);
    }
    quern_batch_free(batch);
}

/* ---- reads of the b/ keys ---- */

static struct linear_read new_read(void)
{
    return (struct linear_read){.count = LINEAR_NO_COUNT};
}

static void keep_read(struct hand *t, const struct linear_read *r)
{
    if (!t->off && !atomic_load(&t->w->failed))
        t->reads[t->read_count++] = *r;
}

static void saw(struct hand *t, struct linear_read *r, unsigned k, struct quern_slice value,
                quern_seq seq)
{
    r->id[k] = id_of(t->w, value, 'b', k);
    r->id_seq[k] = seq;
}

/* Some of the keys, at one moment, by a batched get or, of one key, by a plain one. */
static void get_keys(struct hand *t, struct linear_read *r, const struct quern_read_opts *opts)
{
    struct quern_value values[LINEAR_KEYS] = {{0}};
    enum quern_code codes[LINEAR_KEYS], code;
    struct quern_slice keys[LINEAR_KEYS];
    struct quern_error err = {0};
    char room[LINEAR_KEYS][24];
    unsigned n = 1 + pick(t, LINEAR_KEYS), which[LINEAR_KEYS], first = pick(t, LINEAR_KEYS);
    uint64_t began = hand_now(), ended;

    for (unsigned i = 0; i < n; i++) {
        which[i] = (first + i * 3) % LINEAR_KEYS;
        keys[i] = key_of(room[i], 'b', which[i]);
        r->keys |= UINT32_C(1) << which[i];
    }
    if (n == 1)
        code = codes[0] = quern_get(t->w->db, keys[0], opts, &values[0], &err);
    else
        code = quern_multi_get(t->w->db, keys, n, opts, values, codes, &err);
    if (answered(t, code, &err, &ended))
        for (unsigned i = 0; i < n; i++)
            if (codes[i] == QUERN_OK)
                saw(t, r, which[i], (struct quern_slice){values[i].data, values[i].len},
                    values[i].seq);
    if (opts == NULL) {
        r->began = began;
        r->ended = ended;
    }
    for (unsigned i = 0; i < n; i++)
        quern_value_done(&values[i]);
}

/* One way through all b/ keys. */
static void scan_once(struct hand *t, struct quern_iter *it, bool back, struct linear_read *r)
{
    struct quern_error err = {0};
    uint64_t ended;

    r->keys = (UINT32_C(1) << LINEAR_KEYS) - 1;
    for (bool more = back ? quern_iter_last(it) : quern_iter_first(it); more;
         more = back ? quern_iter_prev(it) : quern_iter_next(it)) {
        struct quern_slice key = quern_iter_key(it);
        unsigned k = (unsigned)((const char *)key.data)[key.len - 1] - '0';

        if (k >= LINEAR_KEYS) {
            (void)hand_wrong(t->w, "a cursor left its prefix");
            return;
        }
        saw(t, r, k, quern_iter_value(it), quern_iter_seq(it));
        if (pick(t, 4) == 0)
            (void)sched_yield();
    }
    (void)answered(t, quern_iter_error(it, &err), &err, &ended);
}

void hand_scan(struct hand *t, struct linear_read *r, const struct quern_snapshot *snapshot)
{
    struct quern_iter_opts opts = {
        .snapshot = snapshot, .prefix = QUERN_STR("b/"), .bulk = pick(t, 4) == 0};
    struct linear_read again = new_read();
    struct quern_iter *it = NULL;
    struct quern_error err = {0};
    bool back = pick(t, 2) == 0;
    uint64_t began = hand_now(), ended;

    if (!answered(t, quern_iter_new(t->w->db, &opts, &it, &err), &err, &ended)) {
        quern_iter_free(it); /* there may be one, made when the power was off */
        return;
    }
    if (snapshot == NULL) { /* the view is that of the beginning, however long the scan takes */
        r->began = began;
        r->ended = ended;
    }
    scan_once(t, it, back, r);
    if (pick(t, 2) == 0 && !t->off) {
        scan_once(t, it, !back, &again);
        if (!t->off && memcmp(r->id, again.id, sizeof(r->id)) != 0)
            (void)hand_wrong(t->w, "a cursor shows other things on the way back");
    }
    quern_iter_free(it);
}

/* A batch by a function that reads some keys first. */
struct update {
    struct hand *t;
    struct linear_write *w;
    uint32_t id;
    struct linear_read seen;
};

static enum quern_code look_and_write(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct update *x = arg;
    struct quern_value value = {0};
    enum quern_code code = QUERN_OK;
    char name[24];

    for (unsigned n = 1 + pick(x->t, 3); n > 0; n--) {
        unsigned k = pick(x->t, LINEAR_KEYS);

        code = quern_update_get(u, key_of(name, 'b', k), &value, err);
        if (code == QUERN_OK)
            saw(x->t, &x->seen, k, (struct quern_slice){value.data, value.len}, value.seq);
        else if (code != QUERN_NOT_FOUND)
            break;
        x->seen.keys |= UINT32_C(1) << k;
    }
    quern_value_done(&value);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    (void)build_batch(x->t, quern_update_batch(u), x->id, x->w);
    return QUERN_OK;
}

/* It has seen the store as it was right before its own write, whoever was about. */
static void do_update(struct hand *t, bool sync)
{
    struct update x = {.t = t, .id = new_id(t), .seen = new_read()};
    struct quern_write_opts opts = {.sync = sync};
    struct quern_completion c = {0};
    struct quern_error err = {0};
    uint64_t ended;

    x.w = &t->w->h.writes[x.id - t->w->first_id];
    x.w->sync = sync;
    x.w->began = x.seen.began = hand_now();
    x.w->ended = LINEAR_NEVER;
    if (quern_update_async(t->w->db, look_and_write, &x, &opts, &c, &err) != QUERN_OK) {
        (void)answered(t, err.code, &err, &ended);
        return;
    }
    while (!quern_completion_ready(&c))
        (void)sched_yield();
    note_write(t, x.w, c.code, c.seq, &c.error);
    if (c.code != QUERN_OK)
        return;
    x.seen.ended = hand_now();
    x.seen.seq = c.seq - 1;
    keep_read(t, &x.seen);
}

static void count_journal(struct hand *t, struct linear_read *r, const struct quern_read_opts *opts)
{
    struct quern_range range = {QUERN_STR("j/"), QUERN_STR("j0")};
    struct quern_error err = {0};
    uint64_t began = hand_now(), ended;

    (void)answered(t, quern_count(t->w->db, &range, opts, &r->count, &err), &err, &ended);
    if (opts == NULL) {
        r->began = began;
        r->ended = ended;
    }
}

static void do_read(struct hand *t)
{
    struct linear_read r = new_read();

    switch (pick(t, 6)) {
    case 0:
        hand_scan(t, &r, NULL);
        break;
    case 1:
        count_journal(t, &r, NULL);
        break;
    default:
        get_keys(t, &r, NULL);
    }
    keep_read(t, &r);
}

static void do_step(struct hand *t, bool in_snapshot);

/* All that is read through a snapshot is as of its number, whatever happens meanwhile. */
static void do_snapshot(struct hand *t)
{
    struct quern_snapshot *snapshot = NULL;
    struct quern_error err = {0};
    uint64_t began = hand_now(), ended;
    enum quern_code code = quern_snapshot_new(t->w->db, &snapshot, &err);
    struct quern_read_opts opts = {.snapshot = snapshot};

    if (answered(t, code, &err, &ended)) {
        for (unsigned n = 1 + pick(t, 3); n > 0 && !t->off; n--) {
            struct linear_read r = new_read();

            r.began = began;
            r.ended = ended;
            r.seq = quern_snapshot_seq(snapshot);
            if (pick(t, 2) == 0)
                get_keys(t, &r, &opts);
            else
                hand_scan(t, &r, snapshot);
            if (pick(t, 3) == 0 && !t->off)
                count_journal(t, &r, &opts);
            keep_read(t, &r);
            if (pick(t, 2) == 0 && !t->off)
                do_step(t, true);
        }
    }
    quern_snapshot_free(snapshot);
}

/* ---- single keys ---- */

static void do_single_write(struct hand *t, bool sync)
{
    unsigned k = pick(t, SINGLES);
    struct linear_op *op = &t->ops[k][t->op_count[k]++];
    struct quern_write_opts opts = {.sync = sync};
    struct quern_error err = {0};
    uint8_t room[5000];
    char name[24];
    enum quern_code code;

    *op = (struct linear_op){LINEAR_PUT, hand_now(), LINEAR_NEVER, 0, false};
    if (pick(t, 4) == 0) {
        code = quern_delete(t->w->db, key_of(name, 's', k), &opts, &err);
    } else {
        op->id = new_id(t);
        code =
            quern_put(t->w->db, key_of(name, 's', k), value_of(room, op->id, 's', k), &opts, &err);
    }
    if (!answered(t, code, &err, &op->ended) || !sync)
        return;
    op->durable = true;
    if (op->began > t->synced)
        t->synced = op->began;
}

uint32_t hand_get_single(struct hand *t, unsigned k, uint64_t *ended)
{
    struct quern_value value = {0};
    struct quern_error err = {0};
    char name[24];
    enum quern_code code = quern_get(t->w->db, key_of(name, 's', k), NULL, &value, &err);
    uint32_t id = 0;

    if (answered(t, code, &err, ended) && code == QUERN_OK)
        id = id_of(t->w, (struct quern_slice){value.data, value.len}, 's', k);
    quern_value_done(&value);
    return id;
}

static void do_single_get(struct hand *t)
{
    unsigned k = pick(t, SINGLES);
    struct linear_op op = {LINEAR_GET, hand_now(), 0, 0, false};

    op.id = hand_get_single(t, k, &op.ended);
    if (!t->off)
        t->ops[k][t->op_count[k]++] = op;
}

/* ---- threads ---- */

static void do_care(struct hand *t)
{
    struct quern_error err = {0};
    uint64_t began = hand_now(), ended;
    unsigned what = pick(t, 8);
    enum quern_code code = what < 4   ? quern_sync(t->w->db, &err)
                           : what < 7 ? quern_flush(t->w->db, &err)
                                      : quern_compact(t->w->db, NULL, &err);

    if (answered(t, code, &err, &ended) && began > t->synced)
        t->synced = began;
}

static void do_step(struct hand *t, bool in_snapshot)
{
    bool sync = pick(t, t->w->sync_one_in) == 0;
    unsigned what = pick(t, 100);

    if (what < 17)
        do_batch(t, sync);
    else if (what < 25)
        do_update(t, sync);
    else if (what < 32)
        do_async(t, sync);
    else if (what < 48)
        do_single_write(t, sync);
    else if (what < 66)
        do_single_get(t);
    else if (what < 90)
        do_read(t);
    else if (what < 99 && !in_snapshot)
        do_snapshot(t);
    else if (what == 99)
        do_care(t);
}

void *hand_run(void *arg)
{
    struct hand *t = arg;

    (void)pthread_barrier_wait(&t->w->start);
    for (unsigned i = 0; i < t->w->steps && !t->off && t->used + 8 < IDS; i++) {
        if (atomic_load_explicit(&t->w->failed, memory_order_relaxed))
            break;
        do_step(t, false);
    }
    return NULL;
}

void hand_init(struct hand *t, struct world *w, unsigned no)
{
    *t = (struct hand){.w = w, .no = no, .random = tap_random(&w->random) | 1};
    t->reads = calloc(w->steps * 6 + 64, sizeof(*t->reads));
    for (unsigned k = 0; k < SINGLES; k++)
        t->ops[k] = calloc(w->steps * 6 + 64, sizeof(struct linear_op));
}

void hand_done(struct hand *t)
{
    free(t->reads);
    for (unsigned k = 0; k < SINGLES; k++)
        free(t->ops[k]);
}
