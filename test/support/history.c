/* history.c - histories in words; see history.h. */
#include "history.h"

#include "base/error.h"
#include "child.h"
#include "engine/engine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPS_MAX 6
#define VALUE_MAX 40000
#define HALF (HISTORY_KEYS / 2)

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

struct write {
    unsigned count;
    struct {
        unsigned key, end; /* with an end: all keys from `key` on below it are gone */
        bool gone, swap;
        size_t len;
    } op[OPS_MAX];
};

static unsigned mix(unsigned a, unsigned b)
{
    uint64_t x = ((uint64_t)a << 20) + b + 1;

    x *= UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned)(x >> 40);
}

bool history_is_write(char step)
{
    return strchr("pPbBdDgGLwW", step) != NULL;
}

bool history_is_synced(char step)
{
    return strchr("PBDGW", step) != NULL;
}

/* Where the middle one of three operations is the range delete, the others are puts inside of it. */
static struct write range_delete_of(unsigned n)
{
    unsigned from = mix(n, 1) % HISTORY_KEYS, to = from + 1 + mix(n, 2) % 8;
    unsigned last = from < HALF ? HALF : HISTORY_KEYS;
    struct write w = {.count = n % 2 == 0 ? 1 : 3};

    to = to < last ? to : last;
    for (unsigned i = 0; i < w.count; i++) {
        w.op[i].key = from + (n + i) % (to - from);
        w.op[i].len = 12 + mix(n, i) % 300;
    }
    w.op[w.count / 2].key = from;
    w.op[w.count / 2].end = to;
    w.op[w.count / 2].gone = true;
    return w;
}

/* Where it is the middle one of three, both puts are under one key of one name. */
static struct write swap_of(unsigned n)
{
    struct write w = {.count = n % 2 == 0 ? 1 : 3};

    for (unsigned i = 0; i < w.count; i++) {
        w.op[i].key = mix(n, 1) % HISTORY_KEYS;
        w.op[i].len = 12 + mix(n, i) % 300;
    }
    w.op[w.count / 2].swap = true;
    return w;
}

static struct write write_of(char step, unsigned n)
{
    struct write w = {.count = step == 'b' || step == 'B' ? 2 + mix(n, 0) % (OPS_MAX - 1) : 1};

    if (step == 'g' || step == 'G')
        return range_delete_of(n);
    if (step == 'w' || step == 'W')
        return swap_of(n);
    for (unsigned i = 0; i < w.count; i++) {
        unsigned r = mix(n, i + 1);

        w.op[i].key = r % HISTORY_KEYS;
        w.op[i].gone = step == 'd' || step == 'D' || (w.count > 1 && r / HISTORY_KEYS % 4 == 0);
        w.op[i].len = step == 'L' ? VALUE_MAX : 12 + r / HISTORY_KEYS % (r % 7 == 0 ? 3000 : 300);
    }
    return w;
}

static void swap_halves(struct cell state[HISTORY_KEYS])
{
    for (unsigned k = 0; k < HALF; k++) {
        struct cell was = state[k];

        state[k] = state[HALF + k];
        state[HALF + k] = was;
    }
}

void history_apply(char step, unsigned n, struct cell state[HISTORY_KEYS])
{
    struct write w = write_of(step, n);

    for (unsigned i = 0; i < w.count; i++) {
        if (w.op[i].swap) {
            swap_halves(state);
            continue;
        }
        state[w.op[i].key] = w.op[i].gone ? (struct cell){0, 0} : (struct cell){n, w.op[i].len};
        for (unsigned k = w.op[i].key; k < w.op[i].end; k++)
            state[k] = (struct cell){0, 0};
    }
}

bool history_same(const struct cell a[HISTORY_KEYS], const struct cell b[HISTORY_KEYS])
{
    for (unsigned k = 0; k < HISTORY_KEYS; k++)
        if (a[k].n != b[k].n || a[k].len != b[k].len)
            return false;
    return true;
}

static struct quern_slice key_of(unsigned key)
{
    static char names[HALF][40];
    unsigned name = key % HALF;

    (void)snprintf(names[name], sizeof(names[name]), "key-%02u%.*s", name, (int)(name % 5) * 5,
                   "........................");
    return QUERN_STR(names[name]);
}

static uint8_t database_of(unsigned key)
{
    return key < HALF ? 0 : 1;
}

/* The value of write n under a key: its number, then bytes that follow from both. */
static struct quern_slice value_of(uint8_t *room, unsigned n, unsigned key, size_t len)
{
    key %= HALF;
    (void)snprintf((char *)room, 12, "%010u:", n);
    for (size_t i = 11; i < len; i++)
        room[i] = (uint8_t)(n * 31 + key * 7 + i * (1 + n % 3));
    return (struct quern_slice){room, len};
}

/* ---- doing it ---- */

static struct quern_range range_of(unsigned from, unsigned to)
{
    struct quern_range range = {key_of(from), {NULL, 0}};

    if (to % HALF != 0)
        range.end = key_of(to);
    return range;
}

static enum quern_code do_write(struct quern *db, char step, unsigned n, struct quern_error *err)
{
    static uint8_t room[VALUE_MAX];
    struct write w = write_of(step, n);
    struct quern_write_opts opts = {.sync = history_is_synced(step),
                                    .database = database_of(w.op[0].key)};
    struct quern_batch *batch;
    enum quern_code code = QUERN_OK;

    if (w.count == 1 && w.op[0].swap)
        return quern_swap_databases(db, 0, 1, &opts, err);
    if (w.count == 1 && w.op[0].end != 0) {
        struct quern_range range = range_of(w.op[0].key, w.op[0].end);

        return quern_delete_range(db, &range, &opts, err);
    }
    if (w.count == 1 && w.op[0].gone)
        return quern_delete(db, key_of(w.op[0].key), &opts, err);
    if (w.count == 1)
        return quern_put(db, key_of(w.op[0].key), value_of(room, n, w.op[0].key, w.op[0].len),
                         &opts, err);
    batch = quern_batch_new();
    if (batch == NULL)
        return err_memory(err, "a batch");
    for (unsigned i = 0; code == QUERN_OK && i < w.count; i++) {
        struct quern_range range = range_of(w.op[i].key, w.op[i].end);

        quern_batch_select(batch, database_of(w.op[i].key));
        code = w.op[i].swap       ? quern_batch_swap_databases(batch, 0, 1, err)
               : w.op[i].end != 0 ? quern_batch_delete_range(batch, &range, err)
               : w.op[i].gone     ? quern_batch_delete(batch, key_of(w.op[i].key), err)
                                  : quern_batch_put(batch, key_of(w.op[i].key),
                                                    value_of(room, n, w.op[i].key, w.op[i].len), err);
    }
    if (code == QUERN_OK)
        code = quern_write(db, batch, &opts, err);
    quern_batch_free(batch);
    return code;
}

static struct quern_snapshot *held; /* one word at a time */

void history_let_go(void)
{
    quern_snapshot_free(held);
    held = NULL;
}

enum quern_code history_step(struct quern **db, struct os *os, const struct quern_options *options,
                             char step, unsigned n, struct quern_error *err)
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
                .range = &(struct quern_range){key_of(n % HISTORY_KEYS), {NULL, 0}},
                .database = database_of(n % HISTORY_KEYS)},
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
        return do_write(*db, step, n, err);
    }
}

/* ---- looking at it ---- */

static bool value_is_whole(struct quern_slice value, unsigned key, struct cell *out)
{
    static uint8_t room[VALUE_MAX];
    char digits[12];

    if (value.len < 11 || value.len > VALUE_MAX)
        return false;
    memcpy(digits, value.data, 11);
    digits[11] = '\0';
    out->n = (unsigned)strtoul(digits, NULL, 10);
    out->len = value.len;
    return memcmp(value_of(room, out->n, key, value.len).data, value.data, value.len) == 0;
}

/* The scan must show the keys that point reads show, in order, the unreadable ones apart. */
static enum quern_code compare_scan(struct quern *db, uint8_t database,
                                    const struct cell state[HALF], char wrong[200])
{
    struct quern_iter_opts opts = {.database = database};
    struct quern_iter *it = NULL;
    struct quern_error err = {0};
    unsigned k = 0;
    bool more;

    if (quern_iter_new(db, &opts, &it, &err))
        return err.code;
    for (more = quern_iter_first(it); more; more = quern_iter_next(it), k++) {
        struct quern_slice key = quern_iter_key(it);
        struct cell seen = {0};

        while (k < HALF &&
               (key_of(k).len != key.len || memcmp(key_of(k).data, key.data, key.len) != 0))
            if (state[k++].n != 0)
                break; /* shown by a point read and passed over here */
        if (k == HALF || key_of(k).len != key.len ||
            memcmp(key_of(k).data, key.data, key.len) != 0 ||
            !value_is_whole(quern_iter_value(it), k, &seen) ||
            (state[k].n != HISTORY_UNREADABLE &&
             (seen.n != state[k].n || seen.len != state[k].len))) {
            (void)snprintf(wrong, 200, "a scan does not agree with point reads at %.*s",
                           (int)key.len, (const char *)key.data);
            break;
        }
    }
    (void)quern_iter_error(it, &err);
    for (; err.code == QUERN_OK && wrong[0] == '\0' && k < HALF; k++)
        if (state[k].n != 0 && state[k].n != HISTORY_UNREADABLE)
            (void)snprintf(wrong, 200, "a scan ended before key %u, which a point read shows", k);
    quern_iter_free(it);
    return err.code;
}

/* The number of keys that is kept, where it is known, and what a count says. */
static enum quern_code compare_count(struct quern *db, const struct cell state[HISTORY_KEYS],
                                     char wrong[200])
{
    uint64_t keys[QUERN_DATABASES], want[2] = {0}, count = 0;
    struct quern_error err = {0};

    for (unsigned k = 0; k < HISTORY_KEYS; k++) {
        if (state[k].n == HISTORY_UNREADABLE)
            return QUERN_OK;
        want[database_of(k)] += state[k].n != 0;
    }
    if (quern_live_keys(db, false, keys, &err))
        return err.code;
    for (uint8_t d = 0; d < 2; d++) {
        struct quern_read_opts opts = {.database = d};

        if (quern_count(db, NULL, &opts, &count, &err))
            return err.code;
        if (count != want[d] || (keys[d] != QUERN_KEYS_UNKNOWN && keys[d] != want[d]))
            (void)snprintf(
                wrong, 200, "of database %u %llu keys are counted and %lld kept; there are %llu", d,
                (unsigned long long)count, (long long)keys[d], (unsigned long long)want[d]);
    }
    return QUERN_OK;
}

enum quern_code history_read(struct quern *db, struct cell state[HISTORY_KEYS], char wrong[200])
{
    struct quern_value value = {0};
    struct quern_error err = {0};
    enum quern_code first = QUERN_OK, code;

    wrong[0] = '\0';
    memset(state, 0, HISTORY_KEYS * sizeof(*state));
    for (unsigned k = 0; k < HISTORY_KEYS && wrong[0] == '\0'; k++) {
        struct quern_read_opts opts = {.database = database_of(k)};

        code = quern_get(db, key_of(k), &opts, &value, &err);
        if (code == QUERN_OK &&
            !value_is_whole((struct quern_slice){value.data, value.len}, k, &state[k]))
            (void)snprintf(wrong, 200, "key %u has wrong bytes", k);
        if (code == QUERN_OK || code == QUERN_NOT_FOUND)
            continue;
        state[k].n = HISTORY_UNREADABLE;
        first = first != QUERN_OK ? first : code;
    }
    quern_value_done(&value);
    if (wrong[0] != '\0')
        return QUERN_OK;
    code = compare_scan(db, 0, state, wrong);
    if (code == QUERN_OK && wrong[0] == '\0')
        code = compare_scan(db, 1, state + HALF, wrong);
    if (code == QUERN_OK && wrong[0] == '\0')
        code = compare_count(db, state, wrong);
    return first != QUERN_OK ? first : code;
}

enum quern_code history_goes_on(struct quern *db, struct quern_error *err)
{
    struct quern_write_opts sync = {.sync = true};
    enum quern_code code = quern_verify(db, NULL, NULL, err);

    if (code == QUERN_OK)
        code = quern_put(db, QUERN_STR("zz-after"), QUERN_STR("1"), NULL, err);
    if (code == QUERN_OK)
        code = quern_delete(db, QUERN_STR("zz-after"), &sync, err);
    return code == QUERN_OK ? quern_flush(db, err) : code;
}

/* ---- side by side ---- */

static uint64_t *tried; /* in memory that all share; made before the first fork */

static uint64_t *tried_at(void)
{
    if (tried == NULL)
        tried =
            mmap(NULL, sizeof(*tried), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tried == MAP_FAILED)
        abort();
    return tried;
}

void history_tried(void)
{
    __atomic_fetch_add(tried_at(), 1, __ATOMIC_RELAXED);
}

uint64_t history_count(void)
{
    return __atomic_load_n(tried_at(), __ATOMIC_RELAXED);
}

bool history_in_shares(bool (*body)(void *arg, unsigned share), void *arg)
{
    pid_t child[HISTORY_SHARES];
    bool fine = true;

    (void)tried_at();
    (void)fflush(stdout);
    for (unsigned i = 0; i < HISTORY_SHARES; i++) {
        child[i] = fork();
        if (child[i] == 0)
            child_leaves(body(arg, i));
        fine = fine && child[i] > 0;
    }
    for (unsigned i = 0; i < HISTORY_SHARES; i++) {
        int status = 0;

        fine = child[i] > 0 && waitpid(child[i], &status, 0) == child[i] && status == 0 && fine;
    }
    return fine;
}

uint64_t history_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}
