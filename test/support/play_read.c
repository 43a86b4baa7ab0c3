/* play_read.c - the reads of a history: gets, counts, cursors both ways, snapshots. */
#include "play_priv.h"

#include <string.h>

static bool value_right(struct play *p, size_t n, const struct model *m, enum quern_code code,
                        struct quern_slice got, uint64_t expires_ms, const char *what)
{
    struct model_cell want = model_at(m, n);
    bool right = want.stamp == 0 ? code == QUERN_NOT_FOUND
                                 : code == QUERN_OK && model_value_is(want, got) &&
                                       expires_ms == want.expires_ms;

    if (!right)
        play_wrong(p,
                   "%s: key %zu: code %d, %zu bytes, expires %llu; want stamp %llu, %u bytes, "
                   "expires %llu; it is %llu",
                   what, n, (int)code, got.len, (unsigned long long)expires_ms,
                   (unsigned long long)m->cell[n].stamp, m->cell[n].len,
                   (unsigned long long)m->cell[n].expires_ms, (unsigned long long)m->time_ms);
    return right;
}

static bool can_read(struct play *p, enum quern_code code, const struct quern_error *err,
                     const char *what)
{
    return (code == QUERN_NOT_FOUND || play_ok(p, code, err, what)) && !sim_is_off(p->sim);
}

/* A snapshot with what it must show, or the present. */
static const struct model *draw_view(struct play *p, const struct quern_snapshot **snapshot)
{
    size_t which = play_pick(p, 2 * SNAPSHOTS_MAX);

    *snapshot = NULL;
    if (which >= SNAPSHOTS_MAX || p->snapshot[which] == NULL)
        return &p->real;
    *snapshot = p->snapshot[which];
    return &p->seen[which];
}

/* One that has keys: [*from, *to). */
static uint8_t draw_database(struct play *p, size_t *from, size_t *to)
{
    uint8_t database = model_database(play_pick(p, MODEL_KEYS));

    model_span(database, from, to);
    return database;
}

static void answer_value(struct play *p, enum quern_code code, struct quern_slice value)
{
    play_answer(p, &code, sizeof(code));
    if (code == QUERN_OK)
        play_answer(p, value.data, value.len);
}

/* A read that must not wait for the disk says the same, or that it cannot tell. What it says hangs
 * on what the cache happens to hold, so it is no part of the answer. */
static void look_in_memory(struct play *p, size_t n, const struct model *want,
                           const struct quern_snapshot *snapshot)
{
    struct quern_read_opts opts = {
        .snapshot = snapshot, .cached = true, .database = model_database(n)};
    struct quern_error err = {0};
    enum quern_code code = quern_get(p->db, model_key(n), &opts, &p->value, &err);

    if (code != QUERN_BUSY && can_read(p, code, &err, "cached get"))
        (void)value_right(p, n, want, code, (struct quern_slice){p->value.data, p->value.len},
                          p->value.expires_ms, "cached get");
}

void play_get(struct play *p)
{
    size_t n = play_pick(p, MODEL_KEYS);
    struct quern_read_opts opts = {.database = model_database(n)};
    const struct model *want = draw_view(p, &opts.snapshot);
    struct quern_error err = {0};
    struct quern_slice got;
    enum quern_code code;

    look_in_memory(p, n, want, opts.snapshot);
    code = quern_get(p->db, model_key(n), &opts, &p->value, &err);
    got = (struct quern_slice){p->value.data, p->value.len};

    if (can_read(p, code, &err, "get") &&
        value_right(p, n, want, code, got, p->value.expires_ms, "get"))
        answer_value(p, code, got);
}

void play_get_many(struct play *p)
{
    enum { MOST = 100 };
    static struct quern_value values[MOST]; /* kept for their memory */
    struct quern_read_opts opts = {0};
    const struct model *want = draw_view(p, &opts.snapshot);
    struct quern_slice keys[MOST];
    size_t at[MOST], count = 1 + play_pick(p, MOST), from, to;
    enum quern_code codes[MOST];
    struct quern_error err = {0};

    opts.database = draw_database(p, &from, &to);
    for (size_t i = 0; i < count; i++) {
        at[i] = from + play_pick(p, to - from);
        keys[i] = model_key(at[i]);
        codes[i] = QUERN_CLOSED; /* each must be told */
    }
    (void)play_ok(p, quern_multi_get(p->db, keys, count, &opts, values, codes, &err), &err,
                  "multi get");
    for (size_t i = 0; i < count && !p->result->failed; i++) {
        struct quern_slice got = {values[i].data, values[i].len};

        if (can_read(p, codes[i], &err, "multi get of a key") &&
            value_right(p, at[i], want, codes[i], got, values[i].expires_ms, "multi get"))
            answer_value(p, codes[i], got);
    }
    for (size_t i = 0; i < MOST; i++)
        quern_value_done(&values[i]);
}

void play_count(struct play *p)
{
    struct quern_read_opts opts = {0};
    const struct model *want = draw_view(p, &opts.snapshot);
    struct quern_range range = {{NULL, 0}, {NULL, 0}};
    struct quern_error err = {0};
    uint64_t got = 0, count;
    size_t from, to;

    opts.database = draw_database(p, &from, &to);
    if (play_pick(p, 3))
        range = (struct quern_range){model_key(from + play_pick(p, to - from)),
                                     model_key(from + play_pick(p, to - from))};
    if (!can_read(p, quern_count(p->db, &range, &opts, &got, &err), &err, "count"))
        return;
    count = model_count(want, opts.database, range.start, range.end);
    if (got != count)
        play_wrong(p, "count is %llu, not %llu", (unsigned long long)got,
                   (unsigned long long)count);
    play_answer(p, &got, sizeof(got));
}

/* The number of keys of each database, after each step, but in every fourth stretch of steps nobody asks.
 * Now and then without waiting, which may not be possible. */
void play_counts(struct play *p)
{
    struct quern_slice none = {NULL, 0};

    if (p->result->step / 64 % 4 == 3)
        return;
    for (unsigned d = 0; d < QUERN_DATABASES && !p->result->failed; d++) {
        struct quern_read_opts opts = {.database = (uint8_t)d, .cached = p->result->step % 3 == 0};
        struct quern_error err = {0};
        uint64_t got = 0, want = model_count(&p->real, opts.database, none, none);
        enum quern_code code = quern_count(p->db, NULL, &opts, &got, &err);

        if ((opts.cached && code == QUERN_BUSY) || !can_read(p, code, &err, "count of all"))
            continue;
        if (got != want)
            play_wrong(p, "database %u has %llu keys, not %llu", d, (unsigned long long)got,
                       (unsigned long long)want);
    }
}

/* ---- cursors ---- */

static size_t next_living(const struct walk *w, size_t n)
{
    while (n < w->to && model_at(&w->want, n).stamp == 0)
        n++;
    return n < w->to ? n : MODEL_KEYS;
}

/* The living key before `n`, or MODEL_KEYS. */
static size_t previous_living(const struct walk *w, size_t n)
{
    while (n-- > w->from)
        if (model_at(&w->want, n).stamp != 0)
            return n;
    return MODEL_KEYS;
}

/* The cursor was moved, and said `on`. False: it failed, and stands nowhere. */
static bool stands(struct play *p, struct walk *w, bool on, const char *what)
{
    struct quern_error err = {0};
    enum quern_code code = quern_iter_error(w->it, &err);
    struct quern_slice key;

    if (!play_ok(p, code, &err, what) || sim_is_off(p->sim))
        return false;
    if (on != quern_iter_valid(w->it)) {
        play_wrong(p, "%s: the move and quern_iter_valid() disagree", what);
        return false;
    }
    if (on != (w->at != MODEL_KEYS)) {
        play_wrong(p, "%s: on key %zu; want %zu of %d", what,
                   on ? model_lower(w->database, quern_iter_key(w->it)) : MODEL_KEYS, w->at,
                   MODEL_KEYS);
        return false;
    }
    play_answer(p, &w->at, sizeof(w->at));
    if (!on)
        return true;
    key = quern_iter_key(w->it);
    if (key.len != model_key(w->at).len || memcmp(key.data, model_key(w->at).data, key.len) != 0) {
        play_wrong(p, "%s: on key %zu; want %zu", what, model_lower(w->database, key), w->at);
        return false;
    }
    answer_value(p, QUERN_OK, quern_iter_value(w->it));
    return value_right(p, w->at, &w->want, QUERN_OK, quern_iter_value(w->it),
                       quern_iter_expires_ms(w->it), what);
}

/* A random move and where the model says it leads. */
static bool move(struct play *p, struct walk *w)
{
    size_t from, to, n;

    model_span(w->database, &from, &to);
    n = from + play_pick(p, to - from);
    switch (play_pick(p, 8)) {
    case 0:
        w->at = next_living(w, w->from);
        return stands(p, w, quern_iter_first(w->it), "first");
    case 1:
        w->at = previous_living(w, w->to);
        return stands(p, w, quern_iter_last(w->it), "last");
    case 2:
        w->at = next_living(w, n > w->from ? n : w->from);
        return stands(p, w, quern_iter_seek(w->it, model_key(n)), "seek");
    case 3:
        w->at = previous_living(w, n + 1 < w->to ? n + 1 : w->to);
        return stands(p, w, quern_iter_seek_back(w->it, model_key(n)), "seek back");
    case 4:
    case 5:
        if (w->at == MODEL_KEYS)
            return true;
        w->at = previous_living(w, w->at);
        return stands(p, w, quern_iter_prev(w->it), "prev");
    default:
        if (w->at == MODEL_KEYS)
            return true;
        w->at = next_living(w, w->at + 1);
        return stands(p, w, quern_iter_next(w->it), "next");
    }
}

static bool begins_with(size_t n, struct quern_slice prefix)
{
    return model_key(n).len >= prefix.len &&
           memcmp(model_key(n).data, prefix.data, prefix.len) == 0;
}

static bool begin_walk(struct play *p, struct walk *w)
{
    struct quern_iter_opts opts = {.bulk = play_pick(p, 2)};
    const struct model *want = draw_view(p, &opts.snapshot);
    struct quern_error err = {0};
    uint64_t bounds = play_pick(p, 4);
    size_t n;

    *w = (struct walk){.want = *want, .at = MODEL_KEYS};
    w->database = opts.database = draw_database(p, &w->from, &w->to);
    n = w->from + play_pick(p, w->to - w->from);
    if (bounds & 1) {
        w->from += play_pick(p, w->to - w->from);
        w->to = w->from + play_pick(p, w->to - w->from);
        opts.range = (struct quern_range){model_key(w->from), model_key(w->to)};
    }
    if (bounds & 2) {
        opts.prefix = model_key(n);
        opts.prefix.len = 1 + play_pick(p, opts.prefix.len < 4 ? opts.prefix.len : 4);
        while (w->from < w->to && !begins_with(w->from, opts.prefix))
            w->from++;
        for (n = w->from; n < w->to && begins_with(n, opts.prefix); n++)
            continue;
        w->to = n;
    }
    return play_ok(p, quern_iter_new(p->db, &opts, &w->it, &err), &err, "iterator");
}

static void end_walk(struct walk *w)
{
    quern_iter_free(w->it);
    w->it = NULL;
}

static bool walk_all(struct play *p, struct walk *w)
{
    bool fine;

    w->at = next_living(w, w->from);
    fine = stands(p, w, quern_iter_first(w->it), "walk");
    while (fine && w->at != MODEL_KEYS) {
        w->at = next_living(w, w->at + 1);
        fine = stands(p, w, quern_iter_next(w->it), "walk");
    }
    if (!fine)
        return false;
    w->at = previous_living(w, w->to);
    fine = stands(p, w, quern_iter_last(w->it), "walk back");
    while (fine && w->at != MODEL_KEYS) {
        w->at = previous_living(w, w->at);
        fine = stands(p, w, quern_iter_prev(w->it), "walk back");
    }
    return fine;
}

/* A cursor that is kept sees what it saw when it began, across flushes, merges and deletions. */
void play_iterate(struct play *p)
{
    size_t which = play_pick(p, 2 * CURSORS_MAX), moves = play_pick(p, 50);
    struct walk once = {0}, *w = which < CURSORS_MAX ? &p->cursor[which] : &once;
    bool all = play_pick(p, 4) == 0, keep = w != &once && play_pick(p, 8) != 0, fine = true;

    if (w->it == NULL && !begin_walk(p, w))
        return;
    while (fine && moves-- > 0)
        fine = move(p, w);
    if (fine && all)
        fine = walk_all(p, w);
    if (!fine || !keep)
        end_walk(w);
}

/* ---- snapshots ---- */

void play_snapshot(struct play *p)
{
    size_t which = play_pick(p, SNAPSHOTS_MAX);
    struct quern_error err = {0};

    if (p->snapshot[which] != NULL) {
        quern_snapshot_free(p->snapshot[which]);
        p->snapshot[which] = NULL;
        return;
    }
    p->seen[which] = p->real;
    (void)play_ok(p, quern_snapshot_new(p->db, &p->snapshot[which], &err), &err, "snapshot");
}

void play_let_go(struct play *p)
{
    for (size_t i = 0; i < CURSORS_MAX; i++)
        end_walk(&p->cursor[i]);
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        quern_snapshot_free(p->snapshot[i]);
        p->snapshot[i] = NULL;
    }
}

static bool shows_database(struct play *p, struct quern *db, uint8_t database,
                           const struct model *want, const char *what)
{
    struct quern_iter_opts opts = {.database = database};
    struct walk w = {.want = *want, .database = database};
    struct quern_error err = {0};
    bool fine;

    model_span(database, &w.from, &w.to);
    fine = play_ok(p, quern_iter_new(db, &opts, &w.it, &err), &err, what) && walk_all(p, &w);
    end_walk(&w);
    return fine;
}

bool play_shows(struct play *p, struct quern *db, const struct model *want, const char *what)
{
    uint64_t answers = p->result->answers; /* who is asked, and when, depends on the options */
    bool fine = true;

    for (uint8_t database = 0; fine && database < QUERN_DATABASES; database++)
        fine = shows_database(p, db, database, want, what);
    p->result->answers = answers;
    if (!fine)
        play_wrong(p, "%s: it does not show what it must", what);
    return fine;
}
