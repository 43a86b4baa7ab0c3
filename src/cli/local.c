/* local.c - the verbs on a store directory, through the public interface of libquern.
 *
 *     local_run: prepare -> open -> verb -> close -> what the close has to say
 *
 * The store is opened for writing even to read, since only then do two processes keep out of each
 * other's way; --read-only, or a directory that cannot be written, opens it without a lock. */
#include "cli/cli_priv.h"
#include "cli/dump_priv.h"
#include "cli/load_priv.h"
#include "cli/progress_priv.h"

#include "base/entry.h"
#include "base/error.h"
#include "base/prefix.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

OWNER(quern_iter_free, struct quern_iter *);
OWNER(quern_batch_free, struct quern_batch *);
OWNER(quern_snapshot_free, struct quern_snapshot *);

#define VERBS_MAKE_STORE (VERB_SET | VERB_LOAD)

/* A batch of load is written when it has so many entries or bytes. */
#define LOAD_ENTRIES 1000
#define LOAD_BYTES (4u << 20)

struct local {
    const struct cli_args *args;
    struct quern *db;
    struct quern_error err;
    struct buf range_end;     /* the end of a prefix */
    struct quern_slice value; /* of set; borrows from the command line or from value_memory */
    struct buf value_memory;
};

static enum cli_exit fail(struct local *l)
{
    return cli_fail(&l->err, false);
}

/* ---- opening ---- */

/* What an operator must not miss, on standard error. */
static void on_event(void *arg, const struct quern_event *event)
{
    (void)arg;
    switch (event->kind) {
    case QUERN_EVENT_TORN_TAIL:
    case QUERN_EVENT_NO_SPACE:
    case QUERN_EVENT_CORRUPT:
    case QUERN_EVENT_FAILED:
        fprintf(stderr, "quern: %s\n", event->text);
        break;
    default:
        break;
    }
}

void say_where(void)
{
    fprintf(stderr, "quern: --db DIR or QUERN_DB says where the store is, --url URL which "
                    "server to ask; set and load make a new store\n");
}

static bool only_reads(enum cli_verb verb)
{
    return (verb & (VERB_GET | VERB_SCAN | VERB_COUNT | VERB_STATS | VERB_DUMP)) != 0;
}

/* What to do about a store that does not open. */
static void advise(const struct local *l)
{
    const struct cli_args *args = l->args;

    switch (l->err.code) {
    case QUERN_LOCKED:
        if (args->verb & VERBS_OVER_HTTP)
            fprintf(stderr, "quern: the store is open in another process (a running quernd?): use "
                            "--url http://127.0.0.1:8080\n");
        else
            fprintf(stderr,
                    "quern: the store is open in another process (a running quernd?), and %s needs "
                    "it for itself: stop that one first\n",
                    verb_name(args->verb));
        break;
    case QUERN_NO_STORE:
        if (args->verb & VERBS_MAKE_STORE)
            fprintf(stderr, "quern: %s makes a new store, but not the directory above it\n",
                    verb_name(args->verb));
        else
            say_where();
        break;
    case QUERN_NO_SPACE:
        fprintf(stderr, "quern: free some space on that disk and try again\n");
        break;
    default:
        break;
    }
}

static enum cli_exit local_open(struct local *l)
{
    const struct cli_args *args = l->args;
    bool denied = access(args->db, W_OK) != 0 && (errno == EACCES || errno == EROFS);
    struct quern_options options = {
        .must_exist = (args->verb & VERBS_MAKE_STORE) == 0,
        .read_only = args->read_only || (denied && only_reads(args->verb)),
        .on_event = on_event,
    };

    if (quern_open(args->db, &options, &l->db, &l->err) == QUERN_OK)
        return EXIT_GOOD;
    (void)cli_fail(&l->err, true);
    advise(l);
    return exit_of(l->err.code, true);
}

/* ---- one entry ---- */

static enum cli_exit local_get(struct local *l)
{
    struct quern_value value = {0};
    struct quern_slice bytes;
    const struct quern_read_opts opts = {.database = l->args->database};
    enum quern_code code = quern_get(l->db, l->args->key, &opts, &value, &l->err);

    bytes = slice_of(value.data, value.len);
    if (code == QUERN_OK && l->args->json)
        code = out_entry_json(l->args->database, l->args->key, &bytes, &l->err);
    else if (code == QUERN_OK)
        out_bytes(bytes);
    if (code == QUERN_OK && !l->args->json && isatty(STDOUT_FILENO) == 1)
        out_text("\n");
    quern_value_done(&value);
    if (code == QUERN_NOT_FOUND)
        return out_not_found(l->args);
    return code == QUERN_OK ? EXIT_GOOD : fail(l);
}

static enum cli_exit local_set(struct local *l)
{
    struct quern_write_opts synced = {.sync = true, .database = l->args->database};

    if (l->args->ttl_ms != 0)
        synced.expires_ms = quern_time_ms(l->db) + l->args->ttl_ms;
    if (quern_put(l->db, l->args->key, l->value, &synced, &l->err))
        return fail(l);
    if (l->args->json)
        out_text("{\"ok\":true,\"durability\":\"synced\"}\n");
    return EXIT_GOOD;
}

/* ---- many entries ---- */

/* The range that --start, --end and --prefix leave; borrows from args and l->range_end. */
static enum quern_code range_of(struct local *l, struct quern_range *range)
{
    *range = (struct quern_range){l->args->start, l->args->end};
    return prefix_narrow(l->args->prefix, &range->start, &range->end, &l->range_end, &l->err);
}

static bool range_is_empty(const struct quern_range *range)
{
    return range->end.len != 0 && key_compare(range->start, range->end) >= 0;
}

static enum quern_code del_key(struct local *l)
{
    const struct quern_write_opts synced = {.sync = true, .database = l->args->database};
    const struct quern_read_opts opts = {.database = l->args->database};
    struct quern_value value = {0};
    /* Nobody else writes meanwhile: this process holds the lock. */
    enum quern_code code = quern_get(l->db, l->args->key, &opts, &value, &l->err);

    quern_value_done(&value);
    return code == QUERN_OK ? quern_delete(l->db, l->args->key, &synced, &l->err) : code;
}

static enum quern_code del_range(struct local *l)
{
    const struct quern_write_opts synced = {.sync = true, .database = l->args->database};
    struct quern_range range;

    if (range_of(l, &range))
        return l->err.code;
    return quern_delete_range(l->db, &range, &synced, &l->err);
}

static enum cli_exit local_del(struct local *l)
{
    enum quern_code code = l->args->word_count != 0 ? del_key(l) : del_range(l);

    if (code == QUERN_NOT_FOUND)
        return out_not_found(l->args);
    if (code != QUERN_OK)
        return fail(l);
    if (l->args->json)
        out_text("{\"ok\":true,\"durability\":\"synced\"}\n");
    return EXIT_GOOD;
}

static enum cli_exit local_scan(struct local *l)
{
    const struct cli_args *args = l->args;
    struct quern_iter_opts opts = {
        .range = {args->start, args->end},
        .prefix = args->prefix,
        .bulk = args->limit == UINT64_MAX,
        .database = args->database,
    };
    struct quern_iter *it OWNED(quern_iter_free) = NULL;
    uint64_t left = args->limit;

    if (quern_iter_new(l->db, &opts, &it, &l->err))
        return fail(l);
    for (bool on = args->reverse ? quern_iter_last(it) : quern_iter_first(it);
         on && left > 0 && out_good() && !cli_interrupted();
         on = args->reverse ? quern_iter_prev(it) : quern_iter_next(it), left--) {
        struct quern_slice value = {NULL, 0};

        if (!args->keys_only)
            value = quern_iter_value(it);
        if (out_entry(args, quern_iter_key(it), &value, &l->err))
            return fail(l);
    }
    if (cli_interrupted())
        return EXIT_INTERRUPTED;
    return quern_iter_error(it, &l->err) == QUERN_OK ? EXIT_GOOD : fail(l);
}

static enum cli_exit local_count(struct local *l)
{
    const struct quern_read_opts opts = {.database = l->args->database};
    struct quern_range range;
    uint64_t count = 0;

    if (range_of(l, &range) ||
        (!range_is_empty(&range) && quern_count(l->db, &range, &opts, &count, &l->err)))
        return fail(l);
    out_text(l->args->json ? "{\"count\":%" PRIu64 "}\n" : "%" PRIu64 "\n", count);
    return EXIT_GOOD;
}

/* What of one database is to be dumped. The bar wants a total; without a terminal nobody looks. */
static enum quern_code dump_database(struct local *l, const struct quern_read_opts *at,
                                     const struct quern_range *range, struct dump_store *from)
{
    const struct cli_args *args = l->args;
    struct quern_iter_opts opts = {.snapshot = at->snapshot,
                                   .range = {args->start, args->end},
                                   .prefix = args->prefix,
                                   .bulk = true,
                                   .database = at->database};
    uint64_t count = 0;

    if (isatty(STDERR_FILENO) == 1 && !range_is_empty(range) &&
        quern_count(l->db, range, at, &count, &l->err))
        return l->err.code;
    from->total += count;
    return quern_iter_new(l->db, &opts, &from->its[at->database], &l->err);
}

/* All of it is of one moment. */
static enum cli_exit local_dump(struct local *l)
{
    const struct cli_args *args = l->args;
    struct quern_snapshot *now OWNED(quern_snapshot_free) = NULL;
    struct dump_store from = {.total = 0};
    struct quern_range range;
    enum cli_exit result;
    enum quern_code code = range_of(l, &range);

    if (code == QUERN_OK)
        code = quern_snapshot_new(l->db, &now, &l->err);
    for (unsigned n = 0; n < QUERN_DATABASES && code == QUERN_OK; n++) {
        struct quern_read_opts at = {.snapshot = now, .database = (uint8_t)n};

        if (!args->database_given || n == args->database)
            code = dump_database(l, &at, &range, &from);
    }
    result = code == QUERN_OK ? dump_iterators(args, &from) : fail(l);
    for (unsigned n = 0; n < QUERN_DATABASES; n++)
        quern_iter_free(from.its[n]);
    return result;
}

struct local_sink {
    struct load_sink sink; /* first: the callbacks cast back */
    struct local *l;
    struct quern_batch *batch;
};

static enum quern_code sink_write(struct local_sink *s, bool sync, struct quern_error *err)
{
    const struct quern_write_opts opts = {.sync = sync};

    if (quern_write(s->l->db, s->batch, &opts, err))
        return err->code;
    s->sink.loaded += quern_batch_count(s->batch);
    quern_batch_clear(s->batch);
    return QUERN_OK;
}

static enum quern_code sink_put(struct load_sink *sink, const struct dump_line *entry,
                                struct quern_error *err)
{
    struct local_sink *s = (struct local_sink *)sink;
    const struct cli_args *args = s->l->args;

    quern_batch_select(s->batch, args->database_given ? args->database : entry->database);
    if (quern_batch_put_until(s->batch, buf_slice(&entry->key), buf_slice(&entry->value),
                              entry->expires_ms, err))
        return err->code;
    if (quern_batch_count(s->batch) < LOAD_ENTRIES && quern_batch_bytes(s->batch) < LOAD_BYTES)
        return QUERN_OK;
    return sink_write(s, args->sync, err);
}

/* The last batch syncs, and with it all before it. */
static enum quern_code sink_commit(struct load_sink *sink, struct quern_error *err)
{
    return sink_write((struct local_sink *)sink, true, err);
}

static enum cli_exit local_load(struct local *l)
{
    struct quern_batch *batch OWNED(quern_batch_free) = quern_batch_new();
    struct local_sink sink = {.sink = {.put = sink_put, .commit = sink_commit}, .l = l};

    if (batch == NULL) {
        (void)err_memory(&l->err, "a batch");
        return fail(l);
    }
    sink.batch = batch;
    return load_run(l->args, &sink.sink);
}

/* ---- care ---- */

static enum cli_exit local_stats(struct local *l)
{
    struct quern_stats stats;
    enum quern_code code;
    char *json;

    quern_stats(l->db, &stats);
    json = quern_stats_json(&stats);
    code = json != NULL ? out_stats(QUERN_STR(json), l->args->json, &l->err)
                        : err_memory(&l->err, "statistics");
    free(json);
    return code == QUERN_OK ? EXIT_GOOD : fail(l);
}

static enum cli_exit local_compact(struct local *l)
{
    struct progress bar = progress_of("compact", PROGRESS_BYTES);
    struct quern_stats before, after;
    struct quern_range range;
    struct quern_compact_opts opts = {
        .database = l->args->database, .on_progress = progress_call, .on_progress_arg = &bar};
    enum quern_code code;

    if (range_of(l, &range) || quern_flush(l->db, &l->err))
        return fail(l);
    if (range.start.len != 0 || range.end.len != 0 || l->args->database_given)
        opts.range = &range;
    quern_stats(l->db, &before);
    code = range_is_empty(&range) ? QUERN_OK : quern_compact(l->db, &opts, &l->err);
    progress_wipe(&bar);
    if (code != QUERN_OK)
        return fail(l);
    quern_stats(l->db, &after);
    out_text(l->args->json ? "{\"table_bytes_before\":%" PRIu64 ",\"table_bytes_after\":%" PRIu64
                             "}\n"
                           : "table bytes: %" PRIu64 " before, %" PRIu64 " after\n",
             before.table_bytes, after.table_bytes);
    return EXIT_GOOD;
}

static enum cli_exit local_checkpoint(struct local *l)
{
    if (quern_checkpoint(l->db, l->args->words[0], &l->err))
        return fail(l);
    if (l->args->json)
        out_text("{\"ok\":true}\n");
    return EXIT_GOOD;
}

/* ---- the way through ---- */

static enum cli_exit run_verb(struct local *l)
{
    switch (l->args->verb) {
    case VERB_GET:
        return local_get(l);
    case VERB_SET:
        return local_set(l);
    case VERB_DEL:
        return local_del(l);
    case VERB_SCAN:
        return local_scan(l);
    case VERB_COUNT:
        return local_count(l);
    case VERB_STATS:
        return local_stats(l);
    case VERB_COMPACT:
        return local_compact(l);
    case VERB_CHECKPOINT:
        return local_checkpoint(l);
    case VERB_DUMP:
        return local_dump(l);
    case VERB_LOAD:
        return local_load(l);
    case VERB_VERIFY: /* these open no store: damage.c, token.c */
    case VERB_TOKEN:
    case VERB_REPAIR:
    case VERB_NONE:
        break;
    }
    return EXIT_USAGE;
}

/* The value of set is read before the store is opened: whoever writes it into our pipe may be
 * reading the same store, and should be done with it first. */
static enum cli_exit prepare(struct local *l)
{
    if (l->args->verb != VERB_SET)
        return EXIT_GOOD;
    if (value_from_word(l->args->words[1], &l->value_memory, &l->value, &l->err) == QUERN_OK)
        return EXIT_GOOD;
    (void)fail(l);
    return EXIT_USAGE;
}

static enum cli_exit run_open(struct local *l)
{
    enum cli_exit result = local_open(l);

    if (result != EXIT_GOOD)
        return result;
    /* These look for an interrupt between entries and then close the store in order; the others may
     * be cut off at any moment, like by kill -9. */
    cli_interruptible((l->args->verb & (VERB_SCAN | VERB_DUMP | VERB_LOAD)) != 0);
    result = run_verb(l);
    cli_interruptible(true);
    if (quern_close(l->db, &l->err) != QUERN_OK) {
        (void)fail(l);
        if (result == EXIT_GOOD)
            result = exit_of(l->err.code, false);
    }
    return result;
}

enum cli_exit local_run(const struct cli_args *args)
{
    struct local l = {.args = args};
    enum cli_exit result;

    if ((args->verb & (VERB_VERIFY | VERB_REPAIR)) != 0)
        return damage_run(args);
    result = prepare(&l);
    if (result == EXIT_GOOD)
        result = run_open(&l);
    buf_done(&l.range_end);
    buf_done(&l.value_memory);
    return result;
}
