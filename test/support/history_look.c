/* history_look.c - histories in words, see history.h: what a store shows of them, and many side by
 * side. */
#include "history_priv.h"

#include "base/error.h"
#include "child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PART HISTORY_PART

/* ---- looking at it ---- */

static bool value_is_whole(struct quern_slice value, unsigned key, quern_seq seq,
                           uint64_t expires_ms, struct cell *out)
{
    static uint8_t room[HISTORY_VALUE_MAX];
    char digits[12];

    if (value.len < 11 || value.len > HISTORY_VALUE_MAX)
        return false;
    memcpy(digits, value.data, 11);
    digits[11] = '\0';
    out->n = (unsigned)strtoul(digits, NULL, 10);
    out->len = value.len;
    out->until = expires_ms != 0 ? (unsigned)(expires_ms - HISTORY_BEGAN_MS) : 0;
    out->seq = seq;
    return memcmp(history_value(room, out->n, key, value.len).data, value.data, value.len) == 0;
}

static bool is_key(unsigned k, struct quern_slice key)
{
    return history_key(k).len == key.len && memcmp(history_key(k).data, key.data, key.len) == 0;
}

static bool agrees(const struct quern_iter *it, unsigned k, const struct cell *want)
{
    struct cell seen = {0};

    if (!value_is_whole(quern_iter_value(it), k, quern_iter_seq(it), quern_iter_expires_ms(it),
                        &seen))
        return false;
    return want->n == HISTORY_UNREADABLE || history_same_cell(&seen, want);
}

/* The scan must show the keys that point reads show, in order, the unreadable ones apart. */
static enum quern_code compare_scan(struct quern *db, unsigned part, const struct cell cell[PART],
                                    char wrong[200])
{
    struct quern_iter_opts opts = {.database = history_database(part * PART)};
    struct quern_iter *it = NULL;
    struct quern_error err = {0};
    unsigned k = 0;
    bool more;

    if (quern_iter_new(db, &opts, &it, &err))
        return err.code;
    for (more = quern_iter_first(it); more; more = quern_iter_next(it), k++) {
        struct quern_slice key = quern_iter_key(it);

        while (k < PART && !is_key(k, key))
            if (cell[k++].n != 0)
                break; /* shown by a point read and passed over here */
        if (k == PART || !is_key(k, key) || !agrees(it, k, &cell[k])) {
            (void)snprintf(wrong, 200,
                           "a scan of database %u does not agree with point reads at %.*s",
                           opts.database, (int)key.len, (const char *)key.data);
            break;
        }
    }
    (void)quern_iter_error(it, &err);
    for (; err.code == QUERN_OK && wrong[0] == '\0' && k < PART; k++)
        if (cell[k].n != 0 && cell[k].n != HISTORY_UNREADABLE)
            (void)snprintf(wrong, 200,
                           "a scan of database %u ended before key %u, which a point read shows",
                           opts.database, k);
    quern_iter_free(it);
    return err.code;
}

/* The number of keys that is kept, where it is known, and what a count says. */
static enum quern_code compare_count(struct quern *db, const struct contents *c, char wrong[200])
{
    uint64_t keys[QUERN_DATABASES], want[HISTORY_PARTS] = {0}, count = 0;
    struct quern_error err = {0};

    for (unsigned k = 0; k < HISTORY_KEYS; k++) {
        if (c->cell[k].n == HISTORY_UNREADABLE)
            return QUERN_OK;
        want[k / PART] += c->cell[k].n != 0;
    }
    if (quern_live_keys(db, false, keys, &err))
        return err.code;
    for (unsigned part = 0; part < HISTORY_PARTS; part++) {
        struct quern_read_opts opts = {.database = history_database(part * PART)};
        uint64_t kept = keys[opts.database];

        if (quern_count(db, NULL, &opts, &count, &err))
            return err.code;
        if (count != want[part] || (kept != QUERN_KEYS_UNKNOWN && kept != want[part]))
            (void)snprintf(wrong, 200,
                           "of database %u %llu keys are counted and %lld kept; there are %llu",
                           opts.database, (unsigned long long)count, (long long)kept,
                           (unsigned long long)want[part]);
    }
    return QUERN_OK;
}

/* By point reads. */
static enum quern_code read_keys(struct quern *db, struct contents *seen, char wrong[200])
{
    struct quern_value value = {0};
    struct quern_error err = {0};
    enum quern_code first = QUERN_OK;

    for (unsigned k = 0; k < HISTORY_KEYS && wrong[0] == '\0'; k++) {
        struct quern_read_opts opts = {.database = history_database(k)};
        enum quern_code code = quern_get(db, history_key(k), &opts, &value, &err);

        if (code == QUERN_OK && !value_is_whole((struct quern_slice){value.data, value.len}, k,
                                                value.seq, value.expires_ms, &seen->cell[k]))
            (void)snprintf(wrong, 200, "key %u has wrong bytes", k);
        if (code == QUERN_OK || code == QUERN_NOT_FOUND)
            continue;
        seen->cell[k].n = HISTORY_UNREADABLE;
        first = first != QUERN_OK ? first : code;
    }
    quern_value_done(&value);
    return first;
}

enum quern_code history_read(struct quern *db, struct contents *seen, char wrong[200])
{
    enum quern_code first, code = QUERN_OK;

    wrong[0] = '\0';
    *seen = (struct contents){.seq = quern_visible_seq(db)};
    first = read_keys(db, seen, wrong);
    for (unsigned part = 0; code == QUERN_OK && wrong[0] == '\0' && part < HISTORY_PARTS; part++)
        code = compare_scan(db, part, seen->cell + (size_t)part * PART, wrong);
    if (code == QUERN_OK && wrong[0] == '\0')
        code = compare_count(db, seen, wrong);
    if (wrong[0] != '\0')
        return QUERN_OK;
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

enum quern_code history_clears_up(struct quern *db, struct quern_error *err)
{
    struct quern_stats stats;

    if (quern_compact(db, NULL, err))
        return err->code;
    quern_stats(db, &stats);
    if (stats.memdb_expiring != 0 || stats.table_expiring != 0)
        return err_set(err, QUERN_INVALID, "%llu entries that have expired are left",
                       (unsigned long long)(stats.memdb_expiring + stats.table_expiring));
    return QUERN_OK;
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
