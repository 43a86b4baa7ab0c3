/* look.c - what is read against what is expected. A stretch of keys may reach over several databases:
 * it is read one by one. */
#include "stress.h"

#include <string.h>

void bounds_before(const struct expected *x, struct stretch *s)
{
    s->at.from = wall_ms();
    for (unsigned d = 0; d < DATABASES; d++)
        s->place[d] = place_of(x, d * database_keys(x));
    for (uint32_t i = 0; i < s->count; i++)
        s->low[i] = lowest(x, s->from + i);
}

void bounds_after(const struct expected *x, struct stretch *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        s->high[i] = highest(x, s->from + i);
    s->at.to = wall_ms();
}

bool fine(struct expected *x, enum quern_code code, const struct quern_error *err, const char *how)
{
    return code == QUERN_OK || failed(x, "%s: %s", how, err->text);
}

static bool shows_at(struct expected *x, const struct stretch *s, uint32_t key,
                     const struct quern_value *value, const char *how)
{
    return shows(x, key, value, s->low[key - s->from], s->high[key - s->from], s->at, how);
}

/* The first keys of the stretch that are in one database. */
static struct stretch first_part(const struct expected *x, const struct stretch *s)
{
    struct stretch part = *s;
    uint32_t left = database_keys(x) - s->from % database_keys(x);

    part.count = s->count < left ? s->count : left;
    return part;
}

/* And those behind. */
static void step_over(struct stretch *s, uint32_t n)
{
    s->from += n;
    s->count -= n;
    s->low += n;
    s->high += n;
}

static uint8_t database_of(const struct expected *x, const struct stretch *s)
{
    return s->place[s->from / database_keys(x)];
}

/* Walk the cursor over the stretch, either way: each key that should be there is, and no other. */
static bool walk(struct expected *x, struct quern_iter *it, const struct stretch *s, bool back)
{
    const char *how = back ? "a cursor going back" : "a cursor";
    struct quern_error err = {0};
    uint32_t seen = 0, key; /* seen: keys of the stretch that are behind us */

    for (bool more = back ? quern_iter_last(it) : quern_iter_first(it); more;
         more = back ? quern_iter_prev(it) : quern_iter_next(it)) {
        struct quern_slice bytes = quern_iter_value(it);
        struct quern_value value = {
            .data = bytes.data, .len = bytes.len, .expires_ms = quern_iter_expires_ms(it)};
        uint32_t at;

        if (!key_number(x, quern_iter_key(it), s->from, &key) || key < s->from ||
            key - s->from >= s->count)
            return failed(x, "%s shows a key that is not in its range", how);
        at = back ? s->count - 1 - (key - s->from) : key - s->from;
        if (at < seen)
            return failed(x, "%s shows key %" PRIu32 " out of order", how, key);
        for (; seen < at; seen++)
            if (!shows_at(x, s, s->from + (back ? s->count - 1 - seen : seen), NULL, how))
                return false;
        if (!shows_at(x, s, key, &value, how))
            return false;
        seen++;
    }
    for (; seen < s->count; seen++)
        if (!shows_at(x, s, s->from + (back ? s->count - 1 - seen : seen), NULL, how))
            return false;
    return fine(x, quern_iter_error(it, &err), &err, how);
}

/* To the end of the database, where the stretch goes so far. */
struct quern_range range_of(const struct expected *x, const struct stretch *s, char from[16],
                            char to[16])
{
    struct quern_range range = {key_text(x, from, s->from), {NULL, 0}};

    if ((s->from + s->count) % database_keys(x) != 0)
        range.end = key_text(x, to, s->from + s->count);
    return range;
}

static bool scan_part(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
                      struct stretch *s, uint64_t how)
{
    char from[16], to[16];
    struct quern_iter_opts opts = {.snapshot = snapshot,
                                   .range = range_of(x, s, from, to),
                                   .bulk = how & 2,
                                   .database = database_of(x, s)};
    struct quern_error err = {0};
    struct quern_iter *it = NULL;
    bool ok = fine(x, quern_iter_new(db, &opts, &it, &err), &err, "a cursor");

    if (ok && snapshot == NULL)
        bounds_after(x, s);
    ok = ok && walk(x, it, s, how & 1);
    if (how & 4)
        ok = ok && walk(x, it, s, !(how & 1));
    quern_iter_free(it);
    return ok;
}

bool scan(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
          struct stretch *s, uint64_t how)
{
    struct stretch left = *s;

    while (left.count != 0) {
        struct stretch part = first_part(x, &left);

        if (!scan_part(x, db, snapshot, &part, how))
            return false;
        step_over(&left, part.count);
    }
    return true;
}

static bool count_part(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
                       const struct stretch *s)
{
    struct quern_read_opts opts = {.snapshot = snapshot, .database = database_of(x, s)};
    struct quern_error err = {0};
    char from[16], to[16];
    struct quern_range range = range_of(x, s, from, to);
    uint64_t got = 0, least = 0, most = 0;
    struct moment at = s->at;

    if (!fine(x, quern_count(db, &range, &opts, &got, &err), &err, "a count"))
        return false;
    if (snapshot == NULL)
        at.to = wall_ms();
    for (uint32_t i = 0; i < s->count; i++) {
        enum life life = lives(x, s->from + i, s->low[i], at);

        least += life == LIFE_YES;
        most += life != LIFE_NO;
    }
    return (got >= least && got <= most) ||
           failed(x,
                  "a count of keys %" PRIu32 " to %" PRIu32 " is %" PRIu64 ", not %" PRIu64
                  " to %" PRIu64,
                  s->from, s->from + s->count - 1, got, least, most);
}

bool count(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
           const struct stretch *s)
{
    struct stretch left = *s;

    while (left.count != 0) {
        struct stretch part = first_part(x, &left);

        if (!count_part(x, db, snapshot, &part))
            return false;
        step_over(&left, part.count);
    }
    return true;
}

/* ---- everything ---- */

/* Some neighbours of one database, as of now. */
static bool get_some(struct expected *x, struct quern *db, struct stretch *s,
                     struct quern_value values[MANY_MAX])
{
    struct quern_read_opts opts = {.database = database_of(x, s)};
    const char *how = s->count == 1 ? "a get" : "a batched get";
    enum quern_code codes[MANY_MAX], code;
    struct quern_slice keys[MANY_MAX];
    struct quern_error err = {0};
    char room[MANY_MAX][16];
    bool ok;

    for (uint32_t i = 0; i < s->count; i++)
        keys[i] = key_text(x, room[i], s->from + i);
    s->at.from = wall_ms();
    if (s->count == 1)
        code = codes[0] = quern_get(db, keys[0], &opts, &values[0], &err);
    else
        code = quern_multi_get(db, keys, s->count, &opts, values, codes, &err);
    s->at.to = wall_ms();
    ok = (s->count == 1 && code == QUERN_NOT_FOUND) || fine(x, code, &err, how);
    for (uint32_t i = 0; ok && i < s->count; i++)
        ok = shows_at(x, s, s->from + i, codes[i] == QUERN_OK ? &values[i] : NULL, how);
    return ok;
}

static bool get_all(struct expected *x, struct quern *db, const struct stretch *s, uint32_t at_once)
{
    struct quern_value values[MANY_MAX] = {{0}};
    struct stretch left = *s;
    bool ok = true;

    while (ok && left.count != 0) {
        struct stretch part = first_part(x, &left);

        part.count = part.count < at_once ? part.count : at_once;
        ok = get_some(x, db, &part, values);
        step_over(&left, part.count);
    }
    for (uint32_t i = 0; i < MANY_MAX; i++)
        quern_value_done(&values[i]);
    return ok;
}

bool verify_all(struct expected *x, struct quern *db, uint64_t way, struct stretch *all)
{
    struct quern_snapshot *snapshot = NULL;
    struct quern_error err = {0};
    bool exact = memcmp(all->low, all->high, all->count * sizeof(*all->low)) == 0, ok;

    all->at.from = wall_ms();
    ok = fine(x, quern_snapshot_new(db, &snapshot, &err), &err, "a snapshot");
    all->at.to = wall_ms();
    switch (way % 4) {
    case 0:
        ok = ok && get_all(x, db, all, MANY_MAX);
        break;
    case 1:
        ok = ok && get_all(x, db, all, 1);
        break;
    default: /* through a snapshot, so that the bounds stay those that were given */
        ok = ok && scan(x, db, snapshot, all, way % 4 == 2);
    }
    if (exact)
        ok = ok && count(x, db, snapshot, all);
    quern_snapshot_free(snapshot);
    if (way & 0x10)
        ok = ok && fine(x, quern_verify(db, NULL, NULL, &err), &err, "verify");
    atomic_fetch_add(&x->tally.verified, x->keys);
    return ok;
}
