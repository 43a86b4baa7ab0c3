/* history.c - histories in words, see history.h: what their writes do, and doing it. */
#include "history_priv.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 6
#define PART HISTORY_PART

struct quern_options history_options(void)
{
    return (struct quern_options){
        .memory_bytes = 1 << 20,
        .memdb_bytes = 16 * 1024,
        .log_segment_bytes = 64 * 1024,
        .table_bytes = 4096,
        .block_bytes = 256,
        .tier_runs = 3,
    };
}

/* ---- what a write does ---- */

struct op {
    enum { PUT, DELETE, CUT, SWAP } what;
    unsigned key,
        end; /* a cut is of the keys from `key` on below `end`; a swap of their databases */
    size_t len;
    unsigned until;
};

struct write {
    unsigned count;
    struct op op[OPS_MAX];
    /* What it depends on: two checks, or an update that gives up where there is no such key. */
    enum { ON_NOTHING, ON_CHECKS, ON_AN_UPDATE } depends;
    enum quern_require what;
    unsigned key, other; /* the check of `other` holds, and comes first in every second write */
    bool wrong;          /* it asks for a revision that never was, or was before */
};

static unsigned mix(unsigned a, unsigned b)
{
    uint64_t x = ((uint64_t)a << 20) + b + 1;

    x *= UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned)(x >> 40);
}

bool history_is_write(char step)
{
    return strchr("pPbBdDeEiIgGoOLwW", step) != NULL;
}

bool history_is_synced(char step)
{
    return strchr("PBDEIGOW", step) != NULL;
}

static unsigned end_of_part(unsigned key)
{
    return (key / PART + 1) * PART;
}

static struct op put_of(unsigned n, unsigned i, unsigned key)
{
    return (struct op){.key = key, .len = 12 + mix(n, i) % 300};
}

/* Where the middle one of three operations is the range delete, the others are puts inside of it. */
static struct write range_delete_of(unsigned n)
{
    unsigned from = mix(n, 1) % HISTORY_KEYS, to = from + 1 + mix(n, 2) % PART;
    struct write w = {.count = n % 2 == 0 ? 1 : 3};

    to = to < end_of_part(from) ? to : end_of_part(from);
    for (unsigned i = 0; i < w.count; i++)
        w.op[i] = put_of(n, i, from + (n + i) % (to - from));
    w.op[w.count / 2] = (struct op){.what = CUT, .key = from, .end = to};
    return w;
}

/* Of three operations: all databases; or one, between two puts of one of its keys. */
static struct write emptying_of(unsigned n)
{
    unsigned key = mix(n, 1) % HISTORY_KEYS;
    struct write w = {.count = n % 3 == 0 ? 1 : 3};

    for (unsigned i = 0; i < w.count; i++) {
        unsigned any = n % 3 == 2 ? i * PART : key;

        w.op[i] = put_of(n, i, key);
        if (n % 3 == 2 || i == w.count / 2)
            w.op[i] =
                (struct op){.what = CUT, .key = end_of_part(any) - PART, .end = end_of_part(any)};
    }
    return w;
}

/* Where it is the middle one of three, both puts are under one key of one name. */
static struct write swap_of(unsigned n)
{
    unsigned a = mix(n, 3) % HISTORY_PARTS,
             b = (a + 1 + mix(n, 4) % (HISTORY_PARTS - 1)) % HISTORY_PARTS;
    struct write w = {.count = n % 2 == 0 ? 1 : 3};

    for (unsigned i = 0; i < w.count; i++)
        w.op[i] = put_of(n, i, mix(n, 1) % HISTORY_KEYS);
    w.op[w.count / 2] = (struct op){.what = SWAP, .key = a * PART, .end = b * PART};
    return w;
}

/* Mostly soon, at times at once, at the end, or never. */
static unsigned until_of(unsigned n, unsigned i)
{
    unsigned r = mix(n, i + 40) % 14;

    return r < 10 ? n + r : r < 12 ? HISTORY_ENDED - r : 0;
}

static struct write batch_of(unsigned n, unsigned count, bool expires)
{
    struct write w = {.count = count};

    for (unsigned i = 0; i < w.count; i++) {
        unsigned r = mix(n, i + 1);

        w.op[i].key = r % HISTORY_KEYS;
        w.op[i].what = w.count > 1 && r / HISTORY_KEYS % 4 == 0 ? DELETE : PUT;
        w.op[i].len = 12 + r / HISTORY_KEYS % (r % 7 == 0 ? 3000 : 300);
        w.op[i].until = expires ? until_of(n, i) : 0;
    }
    return w;
}

/* On a key of one of the writes before, which may be there, have expired, or be gone. */
static struct write depending_of(unsigned n)
{
    struct write w = batch_of(n, 2 + mix(n, 0) % (OPS_MAX - 1), true);
    unsigned kind = (n + n / 6) % 6, earlier = n - mix(n, 22) % (n < 9 ? n : 9);

    w.depends = kind < 4 ? ON_CHECKS : ON_AN_UPDATE;
    w.what = kind == 0   ? QUERN_REQUIRE_ABSENT
             : kind == 1 ? QUERN_REQUIRE_PRESENT
                         : QUERN_REQUIRE_REVISION;
    w.wrong = kind == 3;
    w.key = mix(earlier, 1) % HISTORY_KEYS;
    w.other = mix(n, 23) % HISTORY_KEYS;
    return w;
}

static struct write write_of(char step, unsigned n)
{
    struct write w;

    switch (step) {
    case 'g':
    case 'G':
        return range_delete_of(n);
    case 'o':
    case 'O':
        return emptying_of(n);
    case 'w':
    case 'W':
        return swap_of(n);
    case 'i':
    case 'I':
        return depending_of(n);
    case 'b':
    case 'B':
        return batch_of(n, 2 + mix(n, 0) % (OPS_MAX - 1), false);
    case 'e':
    case 'E':
        return batch_of(n, 1 + mix(n, 0) % OPS_MAX, true);
    default:
        w = batch_of(n, 1, false);
        if (step == 'd' || step == 'D')
            w.op[0].what = DELETE;
        if (step == 'L')
            w.op[0].len = HISTORY_VALUE_MAX;
        return w;
    }
}

/* ---- and to what ---- */

static bool lives(const struct cell *c, unsigned tick)
{
    return c->n != 0 && (c->until == 0 || tick < c->until);
}

/* Is it written, with `before` there? */
static bool holds(const struct write *w, unsigned n, const struct contents *before)
{
    bool there = lives(&before->cell[w->key], n);

    return w->depends == ON_NOTHING ||
           (w->depends == ON_CHECKS && w->what == QUERN_REQUIRE_ABSENT ? !there
                                                                       : there && !w->wrong);
}

static void swap_parts(struct contents *c, unsigned a, unsigned b)
{
    for (unsigned k = 0; k < PART; k++) {
        struct cell was = c->cell[a + k];

        c->cell[a + k] = c->cell[b + k];
        c->cell[b + k] = was;
    }
}

bool history_apply(char step, unsigned n, struct contents *c)
{
    struct write w = write_of(step, n);

    if (!holds(&w, n, c))
        return false;
    c->seq++;
    for (unsigned i = 0; i < w.count; i++) {
        const struct op *op = &w.op[i];

        if (op->what == SWAP)
            swap_parts(c, op->key, op->end);
        else if (op->what == PUT)
            c->cell[op->key] = (struct cell){n, op->len, op->until, c->seq};
        else
            for (unsigned k = op->key; k < (op->what == CUT ? op->end : op->key + 1); k++)
                c->cell[k] = (struct cell){0};
    }
    return true;
}

void history_at(const struct contents *c, unsigned tick, struct contents *out)
{
    *out = *c;
    for (unsigned k = 0; k < HISTORY_KEYS; k++)
        if (!lives(&c->cell[k], tick))
            out->cell[k] = (struct cell){0};
}

bool history_same_cell(const struct cell *a, const struct cell *b)
{
    return a->n == b->n && a->len == b->len && a->until == b->until && a->seq == b->seq;
}

bool history_same(const struct contents *a, const struct contents *b)
{
    for (unsigned k = 0; k < HISTORY_KEYS; k++)
        if (!history_same_cell(&a->cell[k], &b->cell[k]))
            return false;
    return true;
}

struct quern_slice history_key(unsigned key)
{
    static char names[PART][40];
    unsigned name = key % PART;

    (void)snprintf(names[name], sizeof(names[name]), "key-%02u%.*s", name, (int)(name % 5) * 5,
                   "........................");
    return QUERN_STR(names[name]);
}

uint8_t history_database(unsigned key)
{
    static const uint8_t database[HISTORY_PARTS] = {0, 1, QUERN_DATABASES - 1};

    return database[key / PART];
}

struct quern_slice history_value(uint8_t *room, unsigned n, unsigned key, size_t len)
{
    key %= PART;
    (void)snprintf((char *)room, 12, "%010u:", n);
    for (size_t i = 11; i < len; i++)
        room[i] = (uint8_t)(n * 31 + key * 7 + i * (1 + n % 3));
    return (struct quern_slice){room, len};
}

/* ---- doing it ---- */

static struct quern_range range_of(const struct op *op)
{
    struct quern_range range = {{NULL, 0}, {NULL, 0}};

    if (op->key % PART != 0)
        range.start = history_key(op->key);
    if (op->end % PART != 0)
        range.end = history_key(op->end);
    return range;
}

static uint64_t expires_ms(const struct op *op)
{
    return op->until != 0 ? HISTORY_BEGAN_MS + op->until : 0;
}

static enum quern_code add_op(struct quern_batch *batch, const struct op *op, unsigned n,
                              struct quern_error *err)
{
    static uint8_t room[HISTORY_VALUE_MAX];
    struct quern_range range = range_of(op);

    if (op->what == SWAP)
        return quern_batch_swap_databases(batch, history_database(op->key),
                                          history_database(op->end), err);
    quern_batch_select(batch, history_database(op->key));
    if (op->what == CUT)
        return quern_batch_delete_range(batch, &range, err);
    if (op->what == DELETE)
        return quern_batch_delete(batch, history_key(op->key), err);
    return quern_batch_put_until(batch, history_key(op->key),
                                 history_value(room, n, op->key, op->len), expires_ms(op), err);
}

static enum quern_code fill_batch(struct quern_batch *batch, const struct write *w, unsigned n,
                                  struct quern_error *err)
{
    enum quern_code code = QUERN_OK;

    for (unsigned i = 0; code == QUERN_OK && i < w->count; i++)
        code = add_op(batch, &w->op[i], n, err);
    return code;
}

/* By the call that is for one operation alone. */
static enum quern_code do_single(struct quern *db, const struct op *op, unsigned n,
                                 struct quern_write_opts *opts, struct quern_error *err)
{
    static uint8_t room[HISTORY_VALUE_MAX];
    struct quern_range range = range_of(op);

    opts->database = history_database(op->key);
    opts->expires_ms = expires_ms(op);
    switch (op->what) {
    case SWAP:
        return quern_swap_databases(db, opts->database, history_database(op->end), opts, err);
    case CUT:
        return quern_delete_range(db, &range, opts, err);
    case DELETE:
        return quern_delete(db, history_key(op->key), opts, err);
    default:
        return quern_put(db, history_key(op->key), history_value(room, n, op->key, op->len), opts,
                         err);
    }
}

/* ---- writes that depend on something ---- */

static enum quern_code add_check(struct quern_batch *batch, enum quern_require what, unsigned key,
                                 quern_seq revision, struct quern_error *err)
{
    quern_batch_select(batch, history_database(key));
    return quern_batch_require(batch, what, history_key(key), revision, err);
}

static enum quern_code add_checks(struct quern_batch *batch, const struct write *w, unsigned n,
                                  const struct contents *before, struct quern_error *err)
{
    enum quern_require there =
        lives(&before->cell[w->other], n) ? QUERN_REQUIRE_PRESENT : QUERN_REQUIRE_ABSENT;
    quern_seq revision = before->cell[w->key].seq - w->wrong;
    enum quern_code code = QUERN_OK;

    if (n % 2 == 0)
        code = add_check(batch, there, w->other, 0, err);
    if (code == QUERN_OK)
        code = add_check(batch, w->what, w->key, revision, err);
    if (code == QUERN_OK && n % 2 != 0)
        code = add_check(batch, there, w->other, 0, err);
    return code;
}

struct update {
    const struct write *w;
    unsigned n;
    const struct contents *before;
};

/* What it reads must be what is there. It gives up with a filled batch. */
static enum quern_code as_update(void *arg, struct quern_update *u, struct quern_error *err)
{
    const struct update *x = arg;
    const struct cell *want = &x->before->cell[x->w->key];
    struct quern_value value = {0};
    bool there = lives(want, x->n), right;
    enum quern_code code;

    quern_batch_select(quern_update_batch(u), history_database(x->w->key));
    code = quern_update_get(u, history_key(x->w->key), &value, err);
    right = there ? value.seq == want->seq && value.len == want->len : value.len == 0;
    quern_value_done(&value);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if ((code == QUERN_OK) != there || !right)
        return err_set(err, QUERN_INVALID, "an update reads what is not there");
    code = fill_batch(quern_update_batch(u), x->w, x->n, err);
    return code == QUERN_OK && !there ? err_set(err, QUERN_CONFLICT, "no such key") : code;
}

static enum quern_code as_expected(const struct write *w, unsigned n, const struct contents *before,
                                   enum quern_code code, struct quern_error *err)
{
    bool want = holds(w, n, before);

    if (code == QUERN_OK && !want)
        return err_set(err, QUERN_INVALID, "what does not hold was written");
    if (code == QUERN_CONFLICT && want)
        return err_set(err, QUERN_INVALID, "what holds was refused");
    if (code == QUERN_CONFLICT && w->depends == ON_CHECKS && err->check != (n % 2 == 0))
        return err_set(err, QUERN_INVALID, "the check that holds was blamed");
    return code;
}

static enum quern_code do_write(struct quern *db, char step, unsigned n,
                                const struct contents *before, struct quern_error *err)
{
    struct write w = write_of(step, n);
    struct update update = {&w, n, before};
    struct quern_write_opts opts = {.sync = history_is_synced(step)};
    struct quern_batch *batch;
    enum quern_code code;

    if (w.depends == ON_AN_UPDATE)
        return as_expected(&w, n, before, quern_update(db, as_update, &update, &opts, err), err);
    if (w.count == 1)
        return do_single(db, &w.op[0], n, &opts, err);
    batch = quern_batch_new();
    if (batch == NULL)
        return err_memory(err, "a batch");
    code = w.depends == ON_CHECKS ? add_checks(batch, &w, n, before, err) : QUERN_OK;
    if (code == QUERN_OK)
        code = fill_batch(batch, &w, n, err);
    if (code == QUERN_OK)
        code = as_expected(&w, n, before, quern_write(db, batch, &opts, err), err);
    quern_batch_free(batch);
    return code;
}

/* ---- steps ---- */

static struct quern_snapshot *held; /* one word at a time */

void history_let_go(void)
{
    quern_snapshot_free(held);
    held = NULL;
}

enum quern_code history_step(struct quern **db, struct os *os, const struct quern_options *options,
                             char step, unsigned n, const struct contents *before,
                             struct quern_error *err)
{
    enum quern_code code;

    switch (step) {
    case 's':
        return quern_sync(*db, err);
    case 'f':
        return quern_flush(*db, err);
    case 'c':
        return quern_compact(*db, NULL, err);
    case 'k':
        return quern_checkpoint(*db, HISTORY_COPY, err);
    case 'C':
        return quern_compact(
            *db,
            &(struct quern_compact_opts){
                .range = &(struct quern_range){history_key(n % HISTORY_KEYS), {NULL, 0}},
                .database = history_database(n % HISTORY_KEYS)},
            err);
    case 'x':
        history_let_go();
        return quern_snapshot_new(*db, &held, err);
    case 'X':
        history_let_go();
        return QUERN_OK;
    case 'r':
        history_let_go();
        code = quern_close(*db, err);
        *db = NULL;
        return code == QUERN_OK ? engine_open(os, HISTORY_PATH, options, db, err) : code;
    default:
        return do_write(*db, step, n, before, err);
    }
}
