/* play_depend.c - the writes of a history that depend on what is there: checks and updates.
 *
 * Whether a check holds follows from the goal alone, so that the same history under other options
 * wants the same. Inside a window the store may show something else than the goal: then what
 * would have been written is written without a check. */
#include "play_priv.h"

#include <string.h>

struct depend {
    struct play *p;
    struct draft d;
    size_t key;
    struct model_cell was; /* of that key, before */
    enum quern_require what;
    bool right; /* of a revision: the present one */
    bool holds;
};

static struct depend draw(struct play *p)
{
    struct depend x = {.p = p, .key = play_pick(p, MODEL_KEYS)};

    x.was = model_at(&p->goal, x.key);
    x.what = (enum quern_require)(QUERN_REQUIRE_ABSENT + play_pick(p, 3));
    x.right = play_pick(p, 2);
    x.holds = x.what == QUERN_REQUIRE_ABSENT    ? x.was.stamp == 0
              : x.what == QUERN_REQUIRE_PRESENT ? x.was.stamp != 0
                                                : x.was.stamp != 0 && x.right;
    for (size_t count = 1 + play_pick(p, 4); x.holds && count > 0; count--)
        play_draw_change(p, &x.d);
    return x;
}

static bool shows(const struct model_cell *want, enum quern_code code,
                  const struct quern_value *value)
{
    return want->stamp == 0
               ? code == QUERN_NOT_FOUND
               : code == QUERN_OK &&
                     model_value_is(*want, (struct quern_slice){value->data, value->len});
}

/* Without a change of its own where the check does not hold: one that would be seen. */
static enum quern_code with_check(struct depend *x, const struct quern_write_opts *opts,
                                  struct quern_error *err)
{
    struct play *p = x->p;
    struct quern_batch *batch = quern_batch_new();
    struct quern_read_opts there = {.database = model_database(x->key)};
    enum quern_code code = quern_get(p->db, model_key(x->key), &there, &p->value, err);

    ensure(batch != NULL);
    quern_batch_select(batch, there.database);
    if (!shows(&x->was, code, &p->value))
        play_wrong(p, "before a check: key %zu is not what the model has", x->key);
    code = quern_batch_require(batch, x->what, model_key(x->key), p->value.seq + !x->right, err);
    if (code == QUERN_OK && !x->holds)
        code = quern_batch_put(batch, model_key(x->key), QUERN_STR("refused"), err);
    if (code == QUERN_OK)
        code = play_fill_batch(p, &x->d, batch, err);
    if (code == QUERN_OK)
        code = quern_write(p->db, batch, opts, err);
    quern_batch_free(batch);
    return code;
}

/* Reads what is there, writes, and reads what it wrote. */
static enum quern_code as_update(void *arg, struct quern_update *u, struct quern_error *err)
{
    struct depend *x = arg;
    struct play *p = x->p;
    enum quern_code code;

    quern_batch_select(quern_update_batch(u), model_database(x->key));
    code = quern_update_get(u, model_key(x->key), &p->value, err);
    if (!shows(&x->was, code, &p->value)) {
        play_wrong(p, "update: key %zu is not what the model has", x->key);
        return err_set(err, QUERN_INVALID, "a wrong value");
    }
    if (!x->holds) {
        code = quern_batch_put(quern_update_batch(u), model_key(x->key), QUERN_STR("refused"), err);
        return code != QUERN_OK ? code : err_set(err, QUERN_CONFLICT, "as it was to be");
    }
    code = play_fill_batch(p, &x->d, quern_update_batch(u), err);
    for (size_t i = 0; code == QUERN_OK && i < x->d.count; i++) {
        const struct change *c = &x->d.change[i];
        struct model_cell want = model_at(&p->goal, c->key);
        enum quern_code got;

        quern_batch_select(quern_update_batch(u), model_database(c->key));
        got = quern_update_get(u, model_key(c->key), &p->value, err);

        if (!shows(&want, got, &p->value))
            play_wrong(p, "update: key %zu is not what it wrote itself", c->key);
    }
    return code;
}

void play_depend(struct play *p)
{
    struct quern_write_opts opts = {.sync = play_pick(p, 20) == 0};
    bool update = play_pick(p, 2);
    struct depend x = draw(p);
    struct quern_error err = {0};
    enum quern_code code;

    if (p->window.until != 0) {
        if (x.holds)
            play_write_draft(p, &x.d, &opts);
        return;
    }
    if (p->db == NULL)
        return;
    play_make_room_in_log(p);
    code = update ? quern_update(p->db, as_update, &x, &opts, &err) : with_check(&x, &opts, &err);
    if (!x.holds) {
        if (code != QUERN_CONFLICT)
            play_wrong(p, "a write whose check does not hold: %s", err_code_name(code));
        return;
    }
    play_note_write(p, &x.d, code, &err, update ? "update" : "batch with a check");
    if (code == QUERN_OK && opts.sync)
        play_made_durable(p);
}
