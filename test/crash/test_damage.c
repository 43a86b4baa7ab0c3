/* test_damage.c - a small store of every kind of file, damaged in every way a disk, a copy or a
 * hand damages files; it may refuse, it may say that it cannot tell, but it never tells what is not
 * so.
 *
 *     flip      a byte of a file, in several patterns
 *     cut       a file at a length
 *     swap      two files of a kind
 *     stale     an older version of a file
 *     lose      a file
 *     double    a file under another number
 *     foreign   a file of another store in the place of ours
 *
 * Writes are numbered 1 .. n, and the contents after the first p of them are known for every p.
 * After a damage the store opens or says CORRUPT or UNSUPPORTED. If it opens, every answer it
 * gives, by get, multi_get, scans both ways and count, is that of one and the same p; an error for
 * a key is no answer. And of a damaged table, verify names the file.
 *
 *     p == n           damage outside of the log: nothing acknowledged is missing, nothing old
 *                      shows
 *     told <= p <= n   damage in the log of a store that was killed: `told` is the highest number
 *                      that any record which is still whole says was durable. So the last durable
 *                      group, while no later record says that it was, and what a cut takes away
 *                      together with all that told of it, look like a tail that a crash tore off.
 *                      These are the limits that docs/design/20-wal.md states
 *     p <= n           a manifest that was cut, or is older, so that edits which began a log
 *                      segment are gone without a trace: docs/design/60-manifest.md. A flip never
 *                      does that
 *
 * No allocation may be larger than BYTES_MAX (lengths from disk are hostile), no open may take
 * longer than SECONDS_MAX, and nothing may crash: each share of the work is a process of its own,
 * and what it was doing when it died is told.
 *
 *     CRASH_FULL=1     every byte and every length instead of a sample
 *     DAMAGE_PART=n    of the sample an n-th, by the seed another one each time
 *     TEST_SEED=n      the same sample again */
#include "child.h"
#include "damage_store.h"

#include "engine/remains_priv.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHARES 6
#define BYTES_MAX (UINT64_C(4) << 20) /* a MemDB of a repair is mapped, not on the heap */
#define SECONDS_MAX 600               /* a hang; the machine may be busy */
#define GROUPS_AT 8192u

/* ---- the heap is watched: the linker sends these calls here ---- */

static uint64_t
    largest_alloc; /* of the trial; races only lose a maximum that another call shows too */

static void note_alloc(size_t bytes)
{
    if (bytes > __atomic_load_n(&largest_alloc, __ATOMIC_RELAXED))
        __atomic_store_n(&largest_alloc, bytes, __ATOMIC_RELAXED);
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *old, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *old, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    note_alloc(bytes);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t each)
{
    note_alloc(n * each);
    return __real_calloc(n, each);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    note_alloc(bytes);
    return __real_realloc(old, bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    note_alloc(bytes);
    return __real_posix_memalign(out, alignment, bytes);
}

/* ---- one trial ---- */

#define RANGES_MAX 64
#define REPAIR_EVERY 7 /* trials */

/* What the parent can see of a share: in memory of both. */
struct tally {
    char doing[200];
    uint64_t flips, cuts, others, refused, silent, repairs, whole;
};

struct trial {
    struct store *s;
    struct tally *tally;
    struct sim *sim;
    const char *name;  /* of the file that was damaged */
    bool in_log;       /* told <= p <= n */
    bool in_manifest;  /* cut or older: p <= n if it names fewer segments than there were */
    bool must_be_seen; /* of a table: verify names it */
    bool seen;
    bool repairs;
    unsigned low, high;  /* p is in here: narrowed by each answer */
    unsigned differ_max; /* of a repair: keys that may not be as they were, told or not */
    /* What a repair says is lost. */
    struct {
        char first[40], last[40]; /* "": from the first, to the last */
    } range[RANGES_MAX];
    size_t ranges;
    bool any_key; /* keys that are not known */
};

static void fail(struct trial *t, const char *what, const char *why)
{
    tap_fail(__FILE__, __LINE__, "%s: %s: %s", t->tally->doing, what, why);
}

/* The write that a value comes from; false: no write wrote it. */
static bool cell_of(struct quern_slice value, unsigned key, struct cell *out)
{
    char digits[12] = {0};

    if (value.len < 11 || value.len > VALUE_MAX)
        return false;
    memcpy(digits, value.data, 11);
    out->n = (unsigned)strtoul(digits, NULL, 10);
    out->len = value.len;
    return memcmp(value_of(out->n, key, value.len).data, value.data, value.len) == 0;
}

/* Which p fit all answers so far. */
struct fits {
    bool p[WRITES_MAX];
};

static void narrow(const struct trial *t, struct fits *f, unsigned key, struct cell c)
{
    for (unsigned p = t->low; p <= t->high; p++)
        if (t->s->state[p][key].n != c.n || t->s->state[p][key].len != c.len)
            f->p[p] = false;
}

static bool fits_any(const struct trial *t, const struct fits *f)
{
    for (unsigned p = t->low; p <= t->high; p++)
        if (f->p[p])
            return true;
    return false;
}

static bool take(struct trial *t, struct fits *f, unsigned key, enum quern_code code,
                 const struct quern_value *value, const struct quern_error *err)
{
    struct cell c = {0, 0};

    if (code == QUERN_CORRUPT)
        return true;
    if (code != QUERN_OK && code != QUERN_NOT_FOUND) {
        fail(t, "a read", err->text);
        return false;
    }
    if (code == QUERN_OK && !cell_of((struct quern_slice){value->data, value->len}, key, &c)) {
        fail(t, "a read", "wrong bytes");
        return false;
    }
    narrow(t, f, key, c);
    if (fits_any(t, f))
        return true;
    fail(t, "a read", code == QUERN_OK ? "an old value shows" : "a key is silently missing");
    return false;
}

static bool read_points(struct trial *t, struct quern *db, struct fits *f)
{
    struct quern_value values[KEYS] = {{0}};
    enum quern_code codes[KEYS];
    struct quern_slice keys[KEYS];
    struct quern_error err = {0};
    bool fine = true;

    for (unsigned k = 0; fine && k < KEYS; k++) {
        enum quern_code code = quern_get(db, key_of(k), NULL, &values[k], &err);

        keys[k] = key_of(k);
        fine = take(t, f, k, code, &values[k], &err);
    }
    if (fine)
        (void)!quern_multi_get(db, keys, KEYS, NULL, values, codes, &err);
    for (unsigned k = 0; fine && k < KEYS; k++)
        fine = take(t, f, k, codes[k], &values[k], &err);
    for (unsigned k = 0; k < KEYS; k++)
        quern_value_done(&values[k]);
    return fine;
}

static unsigned key_number(struct quern_slice key)
{
    for (unsigned k = 0; k < KEYS; k++)
        if (key.len == key_of(k).len && memcmp(key.data, key_of(k).data, key.len) == 0)
            return k;
    return KEYS;
}

/* Every key passed over is told to be missing, up to where the scan ends or fails. */
static bool read_scan(struct trial *t, struct quern *db, struct fits *f, bool backward)
{
    struct quern_iter *it = NULL;
    struct quern_iter_opts opts = {.bulk = backward};
    struct quern_error err = {0};
    unsigned done = 0; /* keys told of */
    bool fine = true, on;

    if (quern_iter_new(db, &opts, &it, &err))
        return err.code == QUERN_CORRUPT || (fail(t, "a cursor", err.text), false);
    on = backward ? quern_iter_last(it) : quern_iter_first(it);
    while (fine && on) {
        unsigned key = key_number(quern_iter_key(it)), at;
        struct cell c;

        fine = key < KEYS && cell_of(quern_iter_value(it), key, &c);
        if (!fine)
            fail(t, "a scan", "a key or value that nobody wrote");
        at = backward ? KEYS - 1 - key : key;
        for (; fine && done < at; done++)
            narrow(t, f, backward ? KEYS - 1 - done : done, (struct cell){0, 0});
        if (fine)
            narrow(t, f, key, c);
        done = at + 1;
        on = fine && (backward ? quern_iter_prev(it) : quern_iter_next(it));
    }
    if (fine && quern_iter_error(it, &err) == QUERN_OK)
        for (; done < KEYS; done++)
            narrow(t, f, backward ? KEYS - 1 - done : done, (struct cell){0, 0});
    else if (fine && err.code != QUERN_CORRUPT)
        fail(t, "a scan", err.text);
    quern_iter_free(it);
    if (fine && !fits_any(t, f)) {
        fail(t, backward ? "a scan back" : "a scan", "not what was written");
        fine = false;
    }
    return fine;
}

static bool read_count(struct trial *t, struct quern *db, struct fits *f)
{
    struct quern_error err = {0};
    uint64_t count = 0;
    enum quern_code code = quern_count(db, NULL, NULL, &count, &err);

    if (code == QUERN_CORRUPT)
        return true;
    for (unsigned p = t->low; code == QUERN_OK && p <= t->high; p++) {
        uint64_t live = 0;

        for (unsigned k = 0; k < KEYS; k++)
            live += t->s->state[p][k].n != 0;
        f->p[p] = f->p[p] && live == count;
    }
    if (code == QUERN_OK && fits_any(t, f))
        return true;
    fail(t, "count", code == QUERN_OK ? "a wrong number" : err.text);
    return false;
}

static void on_damage(void *arg, const struct quern_damage *damage)
{
    struct trial *t = arg;

    t->seen = t->seen || strcmp(damage->file, t->name) == 0;
}

static bool verify(struct trial *t, struct quern *db)
{
    struct quern_verify_opts opts = {.on_damage = on_damage, .on_damage_arg = t};
    struct quern_error err = {0};
    enum quern_code code = quern_verify(db, &opts, NULL, &err);

    if (code != QUERN_OK && code != QUERN_CORRUPT)
        fail(t, "verify", err.text);
    else if (t->must_be_seen && !t->seen)
        fail(t, "verify", "the damage is not found");
    else
        return true;
    return false;
}

static bool read_all(struct trial *t, struct quern *db)
{
    struct fits f;

    memset(&f, true, sizeof(f));
    return read_points(t, db, &f) && read_scan(t, db, &f, false) && read_scan(t, db, &f, true) &&
           read_count(t, db, &f) && verify(t, db);
}

/* Has the manifest forgotten that a segment of the log began? */
static bool begins_fewer(const struct trial *t)
{
    struct os_dir *dir = NULL;
    struct manifest *m = NULL;
    struct quern_error err;
    bool fewer = os_dir_open(sim_os(t->sim), WORLD_PATH, false, &dir, &err) == QUERN_OK &&
                 manifest_open(dir, true, &m, &err) == QUERN_OK &&
                 manifest_state(m)->log_last < t->s->log_begun;

    manifest_close(m);
    os_dir_close(dir);
    return fewer;
}

/* The least p that the rules allow. */
static quern_seq lowest(const struct trial *t)
{
    if (t->in_manifest && begins_fewer(t))
        return 0;
    return t->in_log ? still_told(t->s, t->sim) : t->s->writes;
}

static bool repair(struct trial *t);

/* Open the damaged disk and hold it to the rules. Takes t->sim. */
static bool judge(struct trial *t)
{
    struct quern *db = NULL;
    struct quern_error err = {0};
    enum quern_code code;
    bool fine;

    t->low = (unsigned)lowest(t);
    t->high = t->s->writes;
    (void)alarm(SECONDS_MAX);
    __atomic_store_n(&largest_alloc, 0, __ATOMIC_RELAXED);
    if (t->repairs && !repair(t)) {
        sim_free(t->sim);
        return false;
    }
    t->seen = false;
    code = world_open(t->sim, &t->s->options, &db, &err);
    if (code == QUERN_OK) {
        fine = read_all(t, db);
        code = quern_close(db, &err);
        t->tally->silent++;
        if (fine && code != QUERN_OK && code != QUERN_CORRUPT) {
            fail(t, "close", err.text);
            fine = false;
        }
    } else {
        t->tally->refused++;
        fine = code == QUERN_CORRUPT || code == QUERN_UNSUPPORTED;
        if (!fine)
            fail(t, "open", err.text);
    }
    if (fine && __atomic_load_n(&largest_alloc, __ATOMIC_RELAXED) > BYTES_MAX) {
        fail(t, "memory", "a damaged length was believed");
        fine = false;
    }
    (void)alarm(0);
    sim_free(t->sim);
    t->sim = NULL;
    return fine;
}

/* ---- check and repair, which do not need a store that opens ---- */

static void on_loss(void *arg, const struct quern_damage *damage)
{
    struct trial *t = arg;

    t->seen = t->seen || strcmp(damage->file, t->name) == 0;
    if (!damage->lost)
        return;
    if (damage->first_key.len + damage->last_key.len == 0 || t->ranges == RANGES_MAX) {
        t->any_key = true;
        return;
    }
    (void)snprintf(t->range[t->ranges].first, 40, "%.*s", (int)damage->first_key.len,
                   damage->first_key.len != 0 ? (const char *)damage->first_key.data : "");
    (void)snprintf(t->range[t->ranges].last, 40, "%.*s", (int)damage->last_key.len,
                   damage->last_key.len != 0 ? (const char *)damage->last_key.data : "");
    t->ranges++;
}

static bool is_told_lost(const struct trial *t, unsigned key)
{
    const char *name = key_of(key).data;

    for (size_t i = 0; i < t->ranges; i++)
        if (strcmp(t->range[i].first, name) <= 0 &&
            (t->range[i].last[0] == '\0' || strcmp(name, t->range[i].last) <= 0))
            return true;
    return t->any_key;
}

/* Was this ever the value of the key? */
static bool is_of_history(const struct trial *t, unsigned key, struct cell c)
{
    for (unsigned p = 0; p <= t->s->writes; p++)
        if (t->s->state[p][key].n == c.n && t->s->state[p][key].len == c.len)
            return true;
    return false;
}

/* Outside of what is told to be lost all is as it was after one p; inside nothing is invented. */
static bool judge_new(struct trial *t, struct quern *db)
{
    struct quern_value value = {0};
    unsigned differ = 0;
    struct quern_error err = {0};
    struct fits f;
    bool fine = true;

    memset(&f, true, sizeof(f));
    for (unsigned k = 0; fine && k < KEYS; k++) {
        enum quern_code code = quern_get(db, key_of(k), NULL, &value, &err);
        const struct cell *last = &t->s->state[t->s->writes][k];
        struct cell c = {0, 0};

        fine = code == QUERN_NOT_FOUND ||
               (code == QUERN_OK && cell_of((struct quern_slice){value.data, value.len}, k, &c));
        differ += c.n != last->n;
        if (!is_told_lost(t, k))
            narrow(t, &f, k, c);
        if (!fine || !is_of_history(t, k, c))
            fail(t, "repair", "a value that nobody wrote");
        else if (!fits_any(t, &f))
            fail(t, "repair", "something sound is lost, or old, and nothing says so");
        else
            continue;
        fine = false;
    }
    quern_value_done(&value);
    if (fine && differ > t->differ_max) {
        fail(t, "repair", "more is lost than was damaged");
        fine = false;
    }
    return fine && (t->ranges != 0 || t->any_key || read_scan(t, db, &f, false));
}

static bool repair(struct trial *t)
{
    struct quern_verify_opts opts = {.on_damage = on_loss, .on_damage_arg = t};
    struct quern_verify_report checked;
    struct quern_repair_report report;
    struct quern *db = NULL;
    struct quern_error err = {0};
    enum quern_code code = engine_check_files(sim_os(t->sim), WORLD_PATH, &opts, &checked, &err);
    bool fine = code == QUERN_OK || code == QUERN_CORRUPT;

    if (!fine)
        fail(t, "check", err.text);
    else if (t->must_be_seen && !t->seen) {
        fail(t, "check", "the damage is not found");
        fine = false;
    }
    t->ranges = 0;
    t->any_key = t->seen = false;
    if (!fine)
        return false;
    code = engine_repair(sim_os(t->sim), WORLD_PATH, "/new", &opts, &report, &err);
    if (code != QUERN_OK && code != QUERN_CORRUPT) {
        fail(t, "repair", err.text);
        return false;
    }
    t->tally->repairs++;
    t->tally->whole += code == QUERN_OK;
    if (engine_open(sim_os(t->sim), "/new", &t->s->options, &db, &err)) {
        fail(t, "open of what was repaired", err.text);
        return false;
    }
    fine = judge_new(t, db);
    if (quern_close(db, &err) != QUERN_OK && fine) {
        fail(t, "close of what was repaired", err.text);
        fine = false;
    }
    return fine;
}

static bool is_live_table(const struct store *s, const char *name)
{
    for (size_t i = 0; i < s->table_count; i++)
        if (strcmp(s->table[i], name) == 0)
            return true;
    return false;
}

static bool is_live_log(const struct store *s, const char *name)
{
    uint64_t no;

    return wal_name_parse(name, &no) && no >= s->log_first && no <= s->log_last;
}

static void trial_begin(struct trial *t, struct store *s, struct tally *tally, const char *name)
{
    *t = (struct trial){.s = s, .tally = tally, .name = name, .differ_max = KEYS};
    t->repairs = (tally->flips + tally->cuts + tally->others) % REPAIR_EVERY == 0;
    t->sim = sim_crash(s->sim, 1, SIM_KEEP_ALL);
    t->in_log = is_live_log(s, name);
}

static bool try_flip(struct store *s, struct tally *tally, const char *name, uint64_t at,
                     uint8_t flip)
{
    struct trial t;

    trial_begin(&t, s, tally, name);
    (void)snprintf(tally->doing, sizeof(tally->doing), "flip %s at %llu by %02x", name,
                   (unsigned long long)at, flip);
    t.must_be_seen = is_live_table(s, name);
    if (strcmp(name, "CURRENT") == 0 || is_manifest(name))
        t.differ_max = 0;
    else if (t.in_log && at >= GROUPS_AT)
        t.differ_max = 1; /* a group of one write */
    (void)sim_corrupt(t.sim, name, at, flip);
    tally->flips++;
    return judge(&t);
}

static bool try_cut(struct store *s, struct tally *tally, const char *name, uint64_t at)
{
    struct trial t;

    trial_begin(&t, s, tally, name);
    (void)snprintf(tally->doing, sizeof(tally->doing), "cut %s to %llu", name,
                   (unsigned long long)at);
    (void)sim_truncate(t.sim, name, at);
    t.in_manifest = is_manifest(name);
    tally->cuts++;
    return judge(&t);
}

/* Other bytes in the place of a file; NULL: the file is removed. */
static bool try_put(struct store *s, struct tally *tally, const char *how, const char *name,
                    const struct file *in, const char *second, const struct file *in_second)
{
    struct trial t;

    trial_begin(&t, s, tally, name);
    (void)snprintf(tally->doing, sizeof(tally->doing), "%s %s%s%s", how, name,
                   second != NULL ? " and " : "", second != NULL ? second : "");
    if (in != NULL)
        (void)world_write(t.sim, name, in->bytes, in->len);
    else
        (void)world_remove(t.sim, name);
    if (second != NULL)
        (void)world_write(t.sim, second, in_second->bytes, in_second->len);
    t.in_log = t.in_log || (second != NULL && is_live_log(s, second));
    t.in_manifest = is_manifest(name);
    tally->others++;
    return judge(&t);
}

/* ---- enumeration: the share of one process ---- */

struct share {
    struct store *s;
    struct tally *tally;
    uint64_t seed;
    unsigned index;
    uint64_t turn; /* counts what could be tried; every SHARES-th is ours, or an n-th of these */
    uint64_t part; /* n */
    bool full;
    bool *border; /* of the file that is under hand, for each byte */
};

static bool mine(struct share *h)
{
    uint64_t turn = h->turn++;

    return turn % SHARES == h->index && (turn / SHARES + h->seed) % h->part == 0;
}

/* Marks the places of a file where something begins or ends, and so every byte around is looked at. */
static void mark_borders(const struct store *s, const struct file *f, bool *border)
{
    bool is_record = is_manifest(f->name), is_sorted = is_table(f->name);

    if (f->len == 0)
        return;
    if (strcmp(f->name, "CURRENT") == 0)
        memset(border, true, f->len);
    else if (is_hollow(f->name))
        border[0] = true;
    else if (is_record || is_sorted)
        for (uint64_t at = 0; at < f->len; at++)
            border[at] = is_record ? at % RECORD_PAGE_BYTES < 4 || at + 2 > f->len
                                   : f->len - at <= 136 && at % 8 == 0;
    else
        border[0] = border[f->len - 1] = true;
    for (size_t i = 0; i < s->told_count; i++)
        if (strcmp(s->told[i].name, f->name) == 0)
            border[s->told[i].at] = border[s->told[i].at + s->told[i].bytes - 1] = true;
}

/* How far the next sampled byte is. */
static uint64_t stride_of(const struct share *h, const struct file *f)
{
    if (h->full)
        return is_hollow(f->name) ? f->len / 4 + 1 : 1;
    if (is_table(f->name)) /* once with care, else a few */
        return h->s->log_first > h->s->log_last ? 67 : 499;
    if (is_manifest(f->name))
        return 131;
    return is_live_log(h->s, f->name) ? 1999 : f->len / 8 + 1;
}

static bool share_flips(struct share *h, const struct file *f)
{
    static const uint8_t patterns[] = {0x01, 0x80, 0xff, 0x10};
    uint64_t stride = stride_of(h, f);

    for (uint64_t at = 0; at < f->len; at++) {
        if ((at + h->seed) % stride != 0 && !h->border[at])
            continue;
        for (size_t i = 0; i < (h->full ? 3 : 1); i++)
            if (mine(h) && !try_flip(h->s, h->tally, f->name, at, patterns[(at / 3 + i) % 4]))
                return false;
    }
    return true;
}

static bool share_cuts(struct share *h, const struct file *f)
{
    uint64_t stride = 3 * stride_of(h, f);

    for (uint64_t at = 0; at < f->len; at++) {
        if (!h->full && (at + h->seed) % stride != 0 && !h->border[at])
            continue;
        if (mine(h) && !try_cut(h->s, h->tally, f->name, at))
            return false;
    }
    return true;
}

/* A name of the same kind under a number that is not used. */
static bool other_name(const char *name, char to[OS_NAME_BYTES_MAX])
{
    if (is_manifest(name))
        (void)snprintf(to, OS_NAME_BYTES_MAX, "MANIFEST-000900");
    else if (is_table(name) || is_log(name))
        (void)snprintf(to, OS_NAME_BYTES_MAX, "000900%s", name + strlen(name) - 4);
    else
        return false;
    return true;
}

static bool same_kind(const char *a, const char *b)
{
    return (is_log(a) && is_log(b)) || (is_table(a) && is_table(b)) ||
           (is_manifest(a) && is_manifest(b)) || strcmp(a, b) == 0;
}

static bool share_others(struct share *h, const struct file *f, const struct image *foreign)
{
    const struct file *old = image_find(&h->s->old, f->name);
    char other[OS_NAME_BYTES_MAX];

    if (strcmp(f->name, "LOCK") == 0)
        return true;
    if (mine(h) && !try_put(h->s, h->tally, "lose", f->name, NULL, NULL, NULL))
        return false;
    if (old != NULL && mine(h) && !try_put(h->s, h->tally, "stale", f->name, old, NULL, NULL))
        return false;
    if (other_name(f->name, other) && mine(h) &&
        !try_put(h->s, h->tally, "double", other, f, NULL, NULL))
        return false;
    for (size_t i = 0; i < foreign->count; i++)
        if (same_kind(f->name, foreign->file[i].name) && mine(h) &&
            !try_put(h->s, h->tally, "foreign", f->name, &foreign->file[i], NULL, NULL))
            return false;
    for (const struct file *g = f + 1; g < h->s->now.file + h->s->now.count; g++)
        if (same_kind(f->name, g->name) && mine(h) &&
            !try_put(h->s, h->tally, "swap", f->name, g, g->name, f))
            return false;
    return true;
}

static bool run_share(struct share *h, enum ending ending)
{
    static struct store store, foreign;
    bool fine = store_make(&store, h->seed, ending) && store_make(&foreign, h->seed + 1, MARKED);

    h->s = &store;
    for (size_t i = 0; fine && i < store.now.count; i++) {
        const struct file *f = &store.now.file[i];

        h->border = calloc(f->len + 1, sizeof(bool));
        fine = EXPECT(h->border != NULL);
        if (fine)
            mark_borders(&store, f, h->border);
        fine = fine && share_flips(h, f) && share_cuts(h, f) && share_others(h, f, &foreign.now);
        free(h->border);
    }
    store_free(&foreign);
    store_free(&store);
    return fine;
}

static struct tally *shared_tallies(void)
{
    void *p = mmap(NULL, SHARES * sizeof(struct tally), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* A closing store waits for others most of the time: processes side by side. */
static void enumerate(enum ending ending)
{
    struct tally *tally = shared_tallies(), sum = {0};
    uint64_t seed = tap_seed() % 1000;
    const char *part = getenv("DAMAGE_PART");
    pid_t child[SHARES];

    CHECK(tally != NULL);
    (void)fflush(stdout);
    for (unsigned i = 0; i < SHARES; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            struct share h = {.tally = &tally[i],
                              .seed = seed,
                              .index = i,
                              .full = getenv("CRASH_FULL") != NULL,
                              .part = part != NULL && atoi(part) > 1 ? (uint64_t)atoi(part) : 1};

            child_leaves(run_share(&h, ending));
        }
        CHECK(child[i] > 0);
    }
    for (unsigned i = 0; i < SHARES; i++) {
        int status = 0;

        CHECK_EQ(waitpid(child[i], &status, 0), child[i]);
        if (WIFSIGNALED(status))
            tap_fail(__FILE__, __LINE__, "signal %d (a crash, or %d: a hang) after: %s",
                     WTERMSIG(status), SIGALRM, tally[i].doing);
        else if (status != 0)
            tap_fail(__FILE__, __LINE__, "status %d: %s", WEXITSTATUS(status), tally[i].doing);
        sum.flips += tally[i].flips;
        sum.cuts += tally[i].cuts;
        sum.others += tally[i].others;
        sum.refused += tally[i].refused;
        sum.silent += tally[i].silent;
        sum.repairs += tally[i].repairs;
        sum.whole += tally[i].whole;
    }
    (void)munmap(tally, SHARES * sizeof(struct tally));
    tap_note("%llu bytes flipped, %llu cuts, %llu files swapped, stale, lost, doubled or foreign; "
             "%llu opens refused, %llu opened; %llu repairs, %llu of them without a loss",
             (unsigned long long)sum.flips, (unsigned long long)sum.cuts,
             (unsigned long long)sum.others, (unsigned long long)sum.refused,
             (unsigned long long)sum.silent, (unsigned long long)sum.repairs,
             (unsigned long long)sum.whole);
}

TEST(damage_to_a_closed_store_is_detected_or_harmless)
{
    enumerate(CLOSED);
}

TEST(damage_to_a_killed_store_whose_log_tells_all_is_detected_or_harmless)
{
    enumerate(MARKED);
}

TEST(damage_to_a_store_killed_right_after_a_sync_is_detected_or_harmless)
{
    enumerate(SYNCED);
}

TEST(damage_to_a_store_killed_with_unsynced_writes_is_detected_or_harmless)
{
    enumerate(WRITTEN);
}
