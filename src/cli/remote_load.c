/* remote_load.c - load over HTTP, over several connections at once: the server syncs many writes
 * together, so that a load waits for the disk less often.
 *
 *     sink_put() -> a free lane ------------------> curl_multi
 *                   none free, or the key is under   |
 *                   way on one: wait_some() <--------' answers
 *
 * Two writes of one key are never under way together, so the later line wins, as in a directory. */
#include "cli/load_priv.h"
#include "cli/remote_priv.h"

#include "base/alloc.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/when.h"

#define LANES 16
#define WAIT_MS 1000

/* One connection and the entry on its way. */
struct lane {
    struct remote remote;
    struct buf key, value;
    bool busy;
};

struct remote_sink {
    struct load_sink sink; /* first: the callbacks cast back */
    CURLM *multi;
    struct lane lanes[LANES];
    enum cli_exit failed; /* how the first request ended that was not taken; told already */
};

/* Count an answer, and tell of it if it is the first that is no success. */
static void take_answer(struct remote_sink *s, struct remote *r, CURLcode code)
{
    enum cli_exit result;
    long status = 0;

    (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status == 200) {
        s->sink.loaded++;
        return;
    }
    if (s->failed != EXIT_GOOD)
        return;
    result = remote_judge(r, code);
    s->failed = result == EXIT_NOT_FOUND ? remote_no_quernd(r) : result;
}

/* Send and receive; returns after an answer or a while. */
static enum quern_code wait_some(struct remote_sink *s, struct quern_error *err)
{
    struct CURLMsg *message;
    int running, left;

    if (curl_multi_perform(s->multi, &running) != CURLM_OK ||
        curl_multi_poll(s->multi, NULL, 0, running > 0 ? WAIT_MS : 0, NULL) != CURLM_OK ||
        curl_multi_perform(s->multi, &running) != CURLM_OK)
        return err_set(err, QUERN_IO, "the HTTP client failed");
    while ((message = curl_multi_info_read(s->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        struct lane *lane = s->lanes;

        while (lane->remote.easy != message->easy_handle)
            lane++;
        (void)curl_multi_remove_handle(s->multi, lane->remote.easy);
        lane->busy = false;
        take_answer(s, &lane->remote, code);
    }
    return QUERN_OK;
}

static enum quern_code refusal(const struct remote_sink *s, struct quern_error *err)
{
    if (s->failed == EXIT_INTERRUPTED)
        return err_set(err, QUERN_CLOSED, "interrupted");
    if (s->failed != EXIT_GOOD)
        return err_set(err, QUERN_IO, "the server did not take an entry");
    return QUERN_OK;
}

/* A lane for `key`, or NULL when one must come free first. */
static struct lane *free_lane(struct remote_sink *s, struct quern_slice key)
{
    struct lane *found = NULL;

    for (size_t i = 0; i < LANES; i++) {
        if (!s->lanes[i].busy)
            found = &s->lanes[i];
        else if (key_equal(buf_slice(&s->lanes[i].key), key))
            return NULL;
    }
    return found;
}

static enum quern_code sink_put(struct load_sink *sink, const struct dump_line *entry,
                                struct quern_error *err)
{
    struct remote_sink *s = (struct remote_sink *)sink;
    struct quern_slice key = buf_slice(&entry->key), value = buf_slice(&entry->value);
    struct lane *lane;
    int running;

    if (entry->expires_ms != 0 && entry->expires_ms <= when_now())
        return QUERN_OK; /* nobody could read it any more */
    while ((lane = free_lane(s, key)) == NULL)
        if (wait_some(s, err) || refusal(s, err))
            return err->code;
    buf_clear(&lane->key);
    buf_clear(&lane->value);
    if (buf_append(&lane->key, key.data, key.len, err) ||
        buf_append(&lane->value, value.data, value.len, err))
        return err->code;
    if (!lane->remote.args->database_given)
        lane->remote.database = entry->database;
    if (remote_prepare_put(&lane->remote, buf_slice(&lane->key), buf_slice(&lane->value),
                           entry->expires_ms)) {
        *err = lane->remote.err;
        return err->code;
    }
    if (curl_multi_add_handle(s->multi, lane->remote.easy) != CURLM_OK ||
        curl_multi_perform(s->multi, &running) != CURLM_OK)
        return err_set(err, QUERN_IO, "the HTTP client failed");
    lane->busy = true;
    return QUERN_OK;
}

/* Wait for every answer that is still to come, after a refusal too:
 * what is under way may be taken. */
static enum quern_code sink_commit(struct load_sink *sink, struct quern_error *err)
{
    struct remote_sink *s = (struct remote_sink *)sink;

    for (size_t i = 0; i < LANES; i++)
        while (s->lanes[i].busy)
            if (wait_some(s, err))
                return err->code;
    return refusal(s, err);
}

enum cli_exit remote_load(const struct cli_args *args)
{
    struct remote_sink *s = NEW(struct remote_sink);
    struct quern_error err = {0};
    enum quern_code code = QUERN_OK;
    enum cli_exit result;

    if (s == NULL) {
        (void)err_memory(&err, "an HTTP client");
        return cli_fail(&err, false);
    }
    s->sink = (struct load_sink){.put = sink_put, .commit = sink_commit};
    s->multi = curl_multi_init();
    for (size_t i = 0; i < LANES; i++)
        if (remote_init(&s->lanes[i].remote, args))
            code = s->lanes[i].remote.err.code;
    if (s->multi == NULL || code != QUERN_OK) {
        (void)err_memory(&err, "an HTTP client");
        result = cli_fail(&err, false);
    } else {
        result = load_run(args, &s->sink);
    }
    if (s->failed != EXIT_GOOD)
        result = s->failed;
    for (size_t i = 0; i < LANES; i++) {
        if (s->lanes[i].busy)
            (void)curl_multi_remove_handle(s->multi, s->lanes[i].remote.easy);
        remote_done(&s->lanes[i].remote);
        buf_done(&s->lanes[i].key);
        buf_done(&s->lanes[i].value);
    }
    (void)curl_multi_cleanup(s->multi);
    alloc_free(s);
    return result;
}
