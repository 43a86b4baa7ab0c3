/* remote.c - the verbs over HTTP, for a store that a quernd has open: get, set, del and stats; load
 * in remote_load.c, and those of many entries in remote_many.c. */
#include "cli/remote_priv.h"

#include "base/entry.h"
#include "base/error.h"

#include <string.h>
#include <unistd.h>

static enum cli_exit remote_get(struct remote *r)
{
    struct quern_slice value;
    enum cli_exit result;

    if (remote_url(r, "/get", r->args->key))
        return cli_fail(&r->err, false);
    result = remote_exchange(r, "GET", NULL);
    if (result == EXIT_NOT_FOUND)
        return out_not_found(r->args);
    if (result != EXIT_GOOD)
        return result;
    value = buf_slice(&r->body);
    if (r->args->json)
        return out_entry_json(r->database, r->args->key, &value, &r->err) == QUERN_OK
                   ? EXIT_GOOD
                   : cli_fail(&r->err, false);
    out_bytes(value);
    if (isatty(STDOUT_FILENO) == 1)
        out_text("\n");
    return EXIT_GOOD;
}

static void print_done(const struct remote *r)
{
    if (r->args->json)
        out_text("{\"ok\":true,\"durability\":\"%s\"}\n",
                 r->durability[0] != '\0' && strpbrk(r->durability, "\"\\") == NULL ? r->durability
                                                                                    : "unknown");
}

static enum cli_exit remote_set(struct remote *r)
{
    struct buf memory OWNED_BUF = {0};
    struct quern_slice value;
    enum cli_exit result;

    if (value_from_word(r->args->words[1], &memory, &value, &r->err)) {
        (void)cli_fail(&r->err, false);
        return EXIT_USAGE;
    }
    if (remote_prepare_put(r, r->args->key, value, 0))
        return cli_fail(&r->err, false);
    result = remote_judge(r, curl_easy_perform(r->easy));
    if (result == EXIT_GOOD)
        print_done(r);
    return result == EXIT_NOT_FOUND ? remote_no_quernd(r) : result;
}

static enum cli_exit remote_del(struct remote *r)
{
    enum cli_exit result;

    if (r->args->word_count == 0
            ? remote_range(r, "/v1/keys", r->args->all ? "?sync=always&all=1" : "?sync=always")
            : remote_url(r, "/del", r->args->key) ||
                  (r->args->sync && buf_append(&r->url, "&sync=1", 7, &r->err)))
        return cli_fail(&r->err, false);
    result = remote_exchange(r, "DELETE", NULL);
    if (result == EXIT_NOT_FOUND)
        return out_not_found(r->args);
    if (result == EXIT_GOOD)
        print_done(r);
    return result;
}

static enum cli_exit remote_stats(struct remote *r)
{
    enum cli_exit result;

    if (remote_url(r, "/stats", slice_of(NULL, 0)))
        return cli_fail(&r->err, false);
    result = remote_exchange(r, "GET", NULL);
    if (result == EXIT_NOT_FOUND)
        return remote_no_quernd(r);
    if (result == EXIT_GOOD && out_stats(buf_slice(&r->body), r->args->json, &r->err))
        return cli_fail(&r->err, false);
    return result;
}

static enum cli_exit run_verb(struct remote *r)
{
    switch (r->args->verb) {
    case VERB_GET:
        return remote_get(r);
    case VERB_SET:
        return remote_set(r);
    case VERB_DEL:
        return remote_del(r);
    case VERB_STATS:
        return remote_stats(r);
    case VERB_LOAD:
        return remote_load(r->args);
    case VERB_SCAN:
        return remote_scan(r);
    case VERB_COUNT:
        return remote_count(r);
    case VERB_DUMP:
        return remote_dump(r);
    case VERB_COMPACT:
        return remote_job(r, "/v1/admin/compact");
    case VERB_VERIFY:
        return remote_job(r, "/v1/admin/verify");
    case VERB_CHECKPOINT:
        (void)err_set(
            &r->err, QUERN_INVALID,
            "checkpoint works on a directory (--db DIR) that no server has open; a server "
            "makes one itself: curl -X POST 'URL/v1/admin/checkpoint?dir=NAME'");
        return cli_fail(&r->err, false);
    default:
        (void)err_set(&r->err, QUERN_INVALID,
                      "%s works on the directories that it names: leave out --url, or QUERN_URL in "
                      "the environment",
                      verb_name(r->args->verb));
        return cli_fail(&r->err, false);
    }
}

enum cli_exit remote_run(const struct cli_args *args)
{
    struct remote r = {.args = args};
    enum cli_exit result;

    if (args->read_only) {
        (void)err_set(&r.err, QUERN_INVALID, "--read-only is for --db");
        return cli_fail(&r.err, false);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)err_memory(&r.err, "an HTTP client");
        return cli_fail(&r.err, false);
    }
    result = remote_init(&r, args) == QUERN_OK ? run_verb(&r) : cli_fail(&r.err, false);
    remote_done(&r);
    curl_global_cleanup();
    return result;
}
