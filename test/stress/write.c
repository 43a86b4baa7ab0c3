/* write.c - what a thread writes: keys of its own, whose versions it knows exactly. So it knows, too,
 * whether a write holds that depends on them: what does not must be refused, and leave nothing. */
#include "stress.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define HOUR_MS UINT64_C(3600000)

uint32_t own_block(struct worker *w)
{
    uint32_t blocks = w->x->keys / BLOCK_KEYS / w->x->threads;

    return ((uint32_t)draw(&w->random, blocks) * w->x->threads + w->no) * BLOCK_KEYS;
}

/* At once, soon, or not while anybody looks. */
static uint64_t draw_until(struct worker *w)
{
    uint64_t r = draw(&w->random, 4);

    return wall_ms() + (r == 0 ? draw(&w->random, 20) : r == 1 ? draw(&w->random, 2000) : HOUR_MS);
}

static void intend(struct worker *w, struct intent *in, uint32_t key, uint32_t version)
{
    in->key[in->count] = key;
    in->old[in->count] = highest(w->x, key);
    in->version[in->count] = version;
    in->until[in->count] = may_expire(key, version) ? draw_until(w) : 0;
    in->count++;
}

/* 1 to BATCH_MAX keys of the thread's own, each once, half of the time neighbours. */
static void choose(struct worker *w, struct intent *in)
{
    uint32_t n = draw(&w->random, 2) == 0 ? 1 : 1 + (uint32_t)draw(&w->random, BATCH_MAX);
    uint32_t block = own_block(w);
    bool near = draw(&w->random, 2) == 0;

    in->count = 0;
    while (in->count < n) {
        uint32_t key = (near ? block : own_block(w)) + (uint32_t)draw(&w->random, BLOCK_KEYS),
                 i = 0;

        while (i < in->count && in->key[i] != key)
            i++;
        if (i == in->count)
            intend(w, in, key, highest(w->x, key) + 1);
    }
}

static struct quern_write_opts draw_opts(struct worker *w)
{
    return (struct quern_write_opts){.sync = w->plan->sync_one_in != 0 &&
                                             draw(&w->random, w->plan->sync_one_in) == 0};
}

/* ---- one key or a batch ---- */

static enum quern_code add_op(struct worker *w, struct quern_batch *batch, const struct intent *in,
                              uint32_t i, struct quern_error *err)
{
    uint8_t value[VALUE_BYTES_MAX];
    char room[16];

    quern_batch_select(batch, place_of(w->x, in->key[i]));
    if (is_gone(in->key[i], in->version[i]))
        return quern_batch_delete(batch, key_text(w->x, room, in->key[i]), err);
    return quern_batch_put_until(batch, key_text(w->x, room, in->key[i]),
                                 value_of(value, in->key[i], in->version[i]), in->until[i], err);
}

static enum quern_code add_ops(struct worker *w, struct quern_batch *batch, const struct intent *in,
                               struct quern_error *err)
{
    enum quern_code code = QUERN_OK;

    for (uint32_t i = 0; i < in->count && code == QUERN_OK; i++)
        code = add_op(w, batch, in, i, err);
    return code;
}

/* One time in four without waiting. */
static enum quern_code hand_in(struct worker *w, const struct quern_batch *batch,
                               const struct quern_write_opts *opts, struct quern_error *err)
{
    struct quern_completion done = {0};
    enum quern_code code;

    if (draw(&w->random, 4) != 0)
        return quern_write(w->db, batch, opts, err);
    code = quern_write_async(w->db, batch, opts, &done, err);
    while (code == QUERN_OK && !quern_completion_ready(&done))
        (void)sched_yield();
    if (code == QUERN_OK && done.code != QUERN_OK) {
        code = done.code;
        *err = done.error;
    }
    return code;
}

static enum quern_code write_plainly(struct worker *w, const struct intent *in,
                                     struct quern_error *err)
{
    struct quern_write_opts opts = draw_opts(w);
    struct quern_batch *batch;
    uint8_t value[VALUE_BYTES_MAX];
    enum quern_code code;
    char room[16];

    opts.database = place_of(w->x, in->key[0]);
    opts.expires_ms = in->until[0];
    if (in->count == 1 && draw(&w->random, 4) != 0)
        return is_gone(in->key[0], in->version[0])
                   ? quern_delete(w->db, key_text(w->x, room, in->key[0]), &opts, err)
                   : quern_put(w->db, key_text(w->x, room, in->key[0]),
                               value_of(value, in->key[0], in->version[0]), &opts, err);
    batch = quern_batch_new();
    code = add_ops(w, batch, in, err);
    if (code == QUERN_OK)
        code = hand_in(w, batch, &opts, err);
    quern_batch_free(batch);
    return code;
}

/* ---- writes that depend on what is there ---- */

struct condition {
    struct worker *w;
    const struct intent *in;
    uint32_t key; /* an own one, that lives or does not */
    bool there, holds, update;
    enum quern_require what;
    quern_seq revision;
};

/* The value of the key, as expected. */
static bool is_expected(const struct condition *c, const struct quern_value *value)
{
    uint32_t version = lowest(c->w->x, c->key); /* this write may be of it */
    struct moment any = {0, UINT64_MAX};

    return (value != NULL) == c->there &&
           (value == NULL || shows(c->w->x, c->key, value, version, version, any, "an update"));
}

/* False: whether the key lives hangs on the moment. Else *c is what to ask for. */
static bool draw_condition(struct worker *w, const struct intent *in, struct condition *c)
{
    uint64_t now = wall_ms();
    uint32_t key = draw(&w->random, 2) == 0 ? in->key[0]
                                            : own_block(w) + (uint32_t)draw(&w->random, BLOCK_KEYS);
    enum life life = lives(w->x, key, highest(w->x, key), (struct moment){now, now + HOUR_MS / 2});

    *c = (struct condition){.w = w, .in = in, .key = key, .there = life == LIFE_YES};
    c->what = (enum quern_require)(QUERN_REQUIRE_ABSENT + draw(&w->random, 3));
    c->update = draw(&w->random, 3) == 0;
    c->holds = c->what == QUERN_REQUIRE_ABSENT && !c->update ? !c->there : c->there;
    return life != LIFE_UNKNOWN;
}

/* The revision of the key; or of the write before. */
static enum quern_code learn_revision(struct condition *c, struct quern_error *err)
{
    struct quern_read_opts opts = {.database = place_of(c->w->x, c->key)};
    struct quern_value value = {0};
    char room[16];
    enum quern_code code = quern_get(c->w->db, key_text(c->w->x, room, c->key), &opts, &value, err);
    bool wrong = draw(&c->w->random, 3) == 0;

    c->revision = value.seq - wrong;
    c->holds = c->holds && !wrong;
    quern_value_done(&value);
    return code == QUERN_NOT_FOUND ? QUERN_OK : code;
}

static enum quern_code with_check(struct condition *c, struct quern_error *err)
{
    struct quern_write_opts opts = draw_opts(c->w);
    struct quern_batch *batch = quern_batch_new();
    enum quern_code code;
    char room[16];

    quern_batch_select(batch, place_of(c->w->x, c->key));
    code = quern_batch_require(batch, c->what, key_text(c->w->x, room, c->key), c->revision, err);
    if (code == QUERN_OK)
        code = add_ops(c->w, batch, c->in, err);
    if (code == QUERN_OK)
        code = hand_in(c->w, batch, &opts, err);
    quern_batch_free(batch);
    return code;
}

/* Where the key is not there, it gives up with a filled batch. */
static enum quern_code as_update(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct condition *c = arg;
    struct quern_batch *batch = quern_update_batch(u);
    struct quern_value value = {0};
    char room[16];
    enum quern_code code;
    bool right;

    quern_batch_select(batch, place_of(c->w->x, c->key));
    code = quern_update_get(u, key_text(c->w->x, room, c->key), &value, err);
    right = is_expected(c, code == QUERN_OK ? &value : NULL);
    quern_value_done(&value);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    if (!right) {
        (void)snprintf(err->text, sizeof(err->text), "an update reads what is not there");
        return QUERN_INVALID;
    }
    code = add_ops(c->w, batch, c->in, err);
    return code == QUERN_OK && !c->holds ? QUERN_CONFLICT : code;
}

static enum quern_code write_under(struct condition *c, struct quern_error *err)
{
    struct quern_write_opts opts = draw_opts(c->w);

    return c->update ? quern_update(c->w->db, as_update, c, &opts, err) : with_check(c, err);
}

static bool is_refused(struct condition *c)
{
    struct quern_error err = {0};
    enum quern_code code = write_under(c, &err);

    atomic_fetch_add_explicit(&c->w->x->tally.refused, 1, memory_order_relaxed);
    return code == QUERN_CONFLICT || failed(c->w->x, "a write that does not hold: %s",
                                            code == QUERN_OK ? "it was written" : err.text);
}

static bool write_chosen(struct worker *w)
{
    struct intent *in = &w->x->intent[w->no];
    struct quern_error err = {0};
    struct condition c;
    bool depends;

    choose(w, in);
    depends = draw(&w->random, 4) == 0 && draw_condition(w, in, &c);
    if (depends && c.what == QUERN_REQUIRE_REVISION && !c.update &&
        !fine(w->x, learn_revision(&c, &err), &err, "a get"))
        return false;
    if (depends && !c.holds)
        return is_refused(&c);
    intent_begin(w->x, w->no);
    if (!fine(w->x, depends ? write_under(&c, &err) : write_plainly(w, in, &err), &err, "a write"))
        return false;
    intent_done(w->x, w->no);
    return true;
}

bool do_write(struct worker *w)
{
    bool ok;

    whole_stay();
    ok = write_chosen(w);
    whole_leave();
    return ok;
}

/* ---- range deletes ---- */

/* In a batch some keys are put again behind it. */
static enum quern_code cut(struct worker *w, const struct intent *in, bool alone,
                           struct quern_error *err)
{
    struct stretch s = {.from = in->key[0], .count = in->count};
    struct quern_write_opts opts = draw_opts(w);
    struct quern_batch *batch;
    char from[16], to[16];
    struct quern_range range = range_of(w->x, &s, from, to);
    enum quern_code code;

    opts.database = place_of(w->x, s.from);
    if (alone)
        return quern_delete_range(w->db, &range, &opts, err);
    batch = quern_batch_new();
    quern_batch_select(batch, opts.database);
    code = quern_batch_delete_range(batch, &range, err);
    for (uint32_t i = 0; i < in->count && code == QUERN_OK; i++)
        if (!is_gone(in->key[i], in->version[i]))
            code = add_op(w, batch, in, i, err);
    if (code == QUERN_OK)
        code = hand_in(w, batch, &opts, err);
    quern_batch_free(batch);
    return code;
}

bool do_range_delete(struct worker *w)
{
    struct intent *in = &w->x->intent[w->no];
    uint32_t block = own_block(w), n = 1 + (uint32_t)draw(&w->random, BLOCK_KEYS);
    uint32_t from = block + (uint32_t)draw(&w->random, BLOCK_KEYS + 1 - n);
    bool alone = draw(&w->random, 2) == 0, ok;
    struct quern_error err = {0};

    whole_stay();
    in->count = 0;
    for (uint32_t key = from; key < from + n; key++) {
        uint32_t now = highest(w->x, key);
        bool again = !alone && draw(&w->random, 4) == 0;

        intend(w, in, key, again ? now + 1 : next_gone(key, now));
    }
    intent_begin(w->x, w->no);
    ok = fine(w->x, cut(w, in, alone, &err), &err, "a range delete");
    if (ok)
        intent_done(w->x, w->no);
    whole_leave();
    return ok;
}
