/* keys.c - commands on keys, whatever their values. */
#include "server/redis/handlers.h"

#include "base/error.h"

#include <string.h>

/* How many of the keys are there; with `remove` they go. A key named twice is there twice, but can
 * be removed once: the update sees its own batch. */
static enum quern_code count_keys(struct call *k, bool remove)
{
    int64_t found = 0;

    for (size_t i = 1; i < k->argc; i++) {
        enum quern_code code = call_get(k, k->args[i]);

        found += code == QUERN_OK;
        if (code == QUERN_OK && remove)
            code = call_delete(k, k->args[i]);
        if (code != QUERN_OK && code != QUERN_NOT_FOUND)
            return code;
    }
    return call_int(k, found);
}

enum quern_code cmd_del(struct call *k)
{
    return count_keys(k, true);
}

enum quern_code cmd_exists(struct call *k)
{
    return count_keys(k, false);
}

enum quern_code cmd_type(struct call *k)
{
    enum quern_code code = call_get(k, k->args[1]);

    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    resp_put_simple(&k->out, code == QUERN_OK ? "string" : "none");
    return QUERN_OK;
}

static bool same_key(struct quern_slice a, struct quern_slice b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* The value that was read, under another name; it expires when it would have. */
static enum quern_code put_under(struct call *k, uint8_t database, struct quern_slice key)
{
    uint8_t mine = k->reads.database;
    enum quern_code code;

    call_select(k, database);
    code = call_put_until(k, key, call_value(k), k->value->expires_ms);
    call_select(k, mine);
    return code;
}

/* Is there a value, in that database? It is looked for with memory of its own: k->value stays. */
static enum quern_code is_taken(struct call *k, uint8_t database, struct quern_slice key)
{
    struct quern_value *kept = k->value, other = {0};
    uint8_t mine = k->reads.database;
    enum quern_code code;

    k->value = &other;
    call_select(k, database);
    code = call_get(k, key);
    call_select(k, mine);
    k->value = kept;
    quern_value_done(&other);
    return code;
}

static enum quern_code rename_key(struct call *k, bool only_if_free)
{
    enum quern_code code = call_get(k, k->args[1]);

    if (code == QUERN_NOT_FOUND)
        return call_error(k, "ERR no such key");
    if (code != QUERN_OK)
        return code;
    if (same_key(k->args[1], k->args[2]))
        return only_if_free ? call_int(k, 0) : call_ok(k);
    if (only_if_free) {
        code = is_taken(k, k->reads.database, k->args[2]);
        if (code == QUERN_OK)
            return call_int(k, 0);
        if (code != QUERN_NOT_FOUND)
            return code;
    }
    code = put_under(k, k->reads.database, k->args[2]);
    if (code == QUERN_OK)
        code = call_delete(k, k->args[1]);
    if (code != QUERN_OK)
        return code;
    return only_if_free ? call_int(k, 1) : call_ok(k);
}

enum quern_code cmd_rename(struct call *k)
{
    return rename_key(k, false);
}

enum quern_code cmd_renamenx(struct call *k)
{
    return rename_key(k, true);
}

enum quern_code cmd_copy(struct call *k)
{
    uint8_t to = k->reads.database;
    bool replace = false;
    enum quern_code code;

    for (size_t i = 3; i < k->argc; i++) {
        if (call_arg_is(k, i, "REPLACE")) {
            replace = true;
        } else if (call_arg_is(k, i, "DB") && i + 1 < k->argc) {
            if (!call_database(k, ++i, &to))
                return QUERN_OK;
        } else {
            return call_syntax_error(k);
        }
    }
    if (to == k->reads.database && same_key(k->args[1], k->args[2]))
        return call_error(k, "ERR source and destination objects are the same");
    code = call_get(k, k->args[1]);
    if (code == QUERN_NOT_FOUND)
        return call_int(k, 0);
    if (code == QUERN_OK && !replace) {
        enum quern_code taken = is_taken(k, to, k->args[2]);

        if (taken == QUERN_OK)
            return call_int(k, 0);
        code = taken == QUERN_NOT_FOUND ? QUERN_OK : taken;
    }
    if (code == QUERN_OK)
        code = put_under(k, to, k->args[2]);
    return code != QUERN_OK ? code : call_int(k, 1);
}

/* ------------------------------------------------------------------ databases -- */

enum quern_code cmd_move(struct call *k)
{
    enum quern_code code, taken;
    uint8_t to;

    if (!call_database(k, 2, &to))
        return QUERN_OK;
    if (to == k->reads.database)
        return call_error(k, "ERR source and destination objects are the same");
    code = call_get(k, k->args[1]);
    if (code == QUERN_NOT_FOUND)
        return call_int(k, 0);
    if (code != QUERN_OK)
        return code;
    taken = is_taken(k, to, k->args[1]);
    if (taken == QUERN_OK)
        return call_int(k, 0);
    if (taken != QUERN_NOT_FOUND)
        return taken;
    code = put_under(k, to, k->args[1]);
    if (code == QUERN_OK)
        code = call_delete(k, k->args[1]);
    return code != QUERN_OK ? code : call_int(k, 1);
}

/* From one database to another, the first one included. ASYNC and SYNC say how Redis frees memory: here
 * merges do, later. */
static enum quern_code flush(struct call *k, uint8_t from, uint8_t to)
{
    const struct quern_range all = {{NULL, 0}, {NULL, 0}};
    uint8_t mine = k->reads.database;

    if (k->argc > 2 || (k->argc == 2 && !call_arg_is(k, 1, "SYNC") && !call_arg_is(k, 1, "ASYNC")))
        return call_syntax_error(k);
    for (unsigned db = from; db <= to; db++) {
        enum quern_code code;

        call_select(k, (uint8_t)db);
        code = call_delete_range(k, &all);
        if (code != QUERN_OK)
            return code;
    }
    call_select(k, mine);
    return call_ok(k);
}

enum quern_code cmd_flushall(struct call *k)
{
    return flush(k, 0, DATABASES - 1);
}

enum quern_code cmd_flushdb(struct call *k)
{
    return flush(k, k->reads.database, k->reads.database);
}

/* What is no number at all is told before what is none of a database. */
enum quern_code cmd_swapdb(struct call *k)
{
    static const char *const invalid[] = {"ERR invalid first DB index",
                                          "ERR invalid second DB index"};
    uint8_t db[2];

    for (size_t i = 0; i < 2; i++) {
        int64_t n;

        if (!resp_integer(k->args[1 + i], &n) || n < INT32_MIN || n > INT32_MAX)
            return call_error(k, invalid[i]);
    }
    if (!database_of(k->args[1], &db[0]) || !database_of(k->args[2], &db[1]))
        return call_error(k, "ERR DB index is out of range");
    if (quern_batch_swap_databases(k->batch, db[0], db[1], k->err))
        return k->err->code;
    return call_ok(k);
}

/* ------------------------------------------------------------------ OBJECT, MEMORY -- */

#define EMBSTR_BYTES_MAX 44u /* how Redis keeps values of that length */

enum quern_code cmd_object_encoding(struct call *k)
{
    enum quern_code code = call_get(k, k->args[2]);
    int64_t ignored;

    if (code == QUERN_NOT_FOUND)
        return call_null(k);
    if (code != QUERN_OK)
        return code;
    resp_put_text(&k->out, resp_integer(call_value(k), &ignored) ? "int"
                           : k->value->len <= EMBSTR_BYTES_MAX   ? "embstr"
                                                                 : "raw");
    return QUERN_OK;
}

static enum quern_code number_if_there(struct call *k, int64_t v)
{
    enum quern_code code = call_get(k, k->args[2]);

    if (code == QUERN_NOT_FOUND)
        return call_null(k);
    return code != QUERN_OK ? code : call_int(k, v);
}

enum quern_code cmd_object_refcount(struct call *k)
{
    return number_if_there(k, 1);
}

enum quern_code cmd_object_idletime(struct call *k)
{
    return number_if_there(k, 0); /* nobody keeps when a key was read */
}

enum quern_code cmd_object_freq(struct call *k)
{
    enum quern_code code = call_get(k, k->args[2]);

    if (code == QUERN_NOT_FOUND)
        return call_null(k);
    if (code != QUERN_OK)
        return code;
    return call_error(k, "ERR An LFU maxmemory policy is not selected, access frequency not "
                         "tracked. Please note that when switching between policies at runtime "
                         "LRU and LFU data will take some time to adjust.");
}

enum quern_code cmd_memory_usage(struct call *k)
{
    enum quern_code code;
    int64_t samples;

    for (size_t i = 3; i < k->argc; i += 2) {
        if (!call_arg_is(k, i, "SAMPLES") || i + 1 == k->argc)
            return call_syntax_error(k);
        if (!call_integer(k, i + 1, &samples))
            return QUERN_OK;
        if (samples < 0)
            return call_syntax_error(k);
    }
    code = call_get(k, k->args[2]);
    if (code == QUERN_NOT_FOUND)
        return call_null(k);
    return code != QUERN_OK ? code : call_int(k, (int64_t)(k->args[2].len + k->value->len));
}
