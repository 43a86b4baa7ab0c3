/* own.c - QUERN.*: what an ordered store can do and Redis has no word for. A range is all keys from
 * `start` on and before `end`, in byte order; an empty word leaves it open on that side. */
#include "server/redis/handlers.h"

#include "base/error.h"

#include <stdlib.h>

#define LIMIT_DEFAULT 1000

static bool read_range_options(struct call *k, int64_t *limit, bool *reverse)
{
    *limit = LIMIT_DEFAULT;
    *reverse = false;
    for (size_t i = 3; i < k->argc; i++) {
        if (call_arg_is(k, i, "REV")) {
            *reverse = true;
        } else if (call_arg_is(k, i, "LIMIT") && i + 1 < k->argc) {
            if (!call_integer(k, ++i, limit))
                return false;
            if (*limit < 0) {
                (void)call_error(k, "ERR LIMIT can't be negative");
                return false;
            }
        } else {
            (void)call_syntax_error(k);
            return false;
        }
    }
    return true;
}

enum quern_code cmd_quern_range(struct call *k)
{
    struct quern_iter_opts opts = {.range = {k->args[1], k->args[2]},
                                   .database = k->reads.database};
    struct buf found OWNED_BUF = {0};
    struct resp_out list = {&found, k->out.proto, false};
    struct quern_iter *it = NULL;
    enum quern_code code;
    int64_t limit, n = 0;
    bool reverse, on;

    if (!read_range_options(k, &limit, &reverse))
        return QUERN_OK;
    opts.bulk = limit > LIMIT_DEFAULT;
    code = quern_iter_new(k->server->db, &opts, &it, k->err);
    if (code != QUERN_OK)
        return code;
    on = limit > 0 && (reverse ? quern_iter_last(it) : quern_iter_first(it));
    while (on && !list.failed && found.len <= REPLY_BYTES_MAX) {
        resp_put_array(&list, 2);
        resp_put_bulk(&list, quern_iter_key(it));
        resp_put_bulk(&list, quern_iter_value(it));
        on = ++n < limit && (reverse ? quern_iter_prev(it) : quern_iter_next(it));
    }
    code = quern_iter_error(it, k->err);
    quern_iter_free(it);
    if (code == QUERN_OK && found.len > REPLY_BYTES_MAX)
        code = err_set(k->err, QUERN_INVALID, "the reply is over 256 MiB; ask with a LIMIT");
    if (code != QUERN_OK)
        return code;
    resp_put_array(&k->out, (size_t)n);
    resp_put_raw(&k->out, found.data, found.len);
    k->out.failed |= list.failed;
    return QUERN_OK;
}

enum quern_code cmd_quern_count(struct call *k)
{
    struct quern_range range = {k->args[1], k->args[2]};
    uint64_t n;
    enum quern_code code = quern_count(k->server->db, &range, &k->reads, &n, k->err);

    return code != QUERN_OK ? code : call_int(k, (int64_t)n);
}

/* How many they were nobody looks. */
enum quern_code cmd_quern_delrange(struct call *k)
{
    struct quern_range range = {k->args[1], k->args[2]};
    enum quern_code code = call_delete_range(k, &range);

    return code != QUERN_OK ? code : call_ok(k);
}

enum quern_code cmd_quern_stats(struct call *k)
{
    struct quern_stats stats;
    char *json;

    quern_stats(k->server->db, &stats);
    json = quern_stats_json(&stats);
    if (json == NULL)
        return err_memory(k->err, "the figures");
    resp_put_text(&k->out, json);
    free(json);
    return QUERN_OK;
}
