/* import.c - POST /v1/import: the lines of a dump (dump/line.h), of any number.
 *
 * A line that is wrong is told and passed over; what the store refuses ends the import. So that a
 * client may send all before it reads anything, the reply comes at the end, and of the lines that are
 * wrong it tells the first thousand. An end line is held against what came before it. */
#include "server/rest/conditions.h"
#include "server/rest/import.h"

#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "dump/line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILLING_BYTES_MAX 262144u
#define BATCH_LINES 1000u
#define BATCH_BYTES (4u << 20)
#define TOLD_MAX 1000u
#define BUSY_WAIT_NS UINT64_C(2000000)

struct import {
    struct task task;  /* first */
    struct conn *conn; /* NULL: it is gone */
    const struct server *server;
    bool sync;
    bool into_one; /* all lines go to `database`; else each to the one that it names */
    uint8_t database;
    struct buf filling; /* the loop's: what came since the thread aside was given some */
    bool ended;         /* no more will come */
    bool busy;          /* what follows is that thread's */

    size_t waiting;  /* the loop's: of `text`, when that was given last */
    struct buf text; /* what it was given, and before that the line that was not whole */
    bool last, done; /* there is no more text; all was seen to */
    bool passing;    /* to the end of a line that is too long */
    struct dump_line line;
    struct quern_batch *batch;
    uint64_t line_no, imported, wrong;
    struct buf told; /* of lines that are wrong */
    bool sealed, seal_holds, failed;
    quern_seq rev;
    struct quern_error err; /* of the store, if it failed */
    XXH3_state_t *hash;     /* of all whole lines so far */
};

static void import_free(struct import *im)
{
    buf_done(&im->filling);
    buf_done(&im->text);
    buf_done(&im->told);
    dump_line_done(&im->line);
    quern_batch_free(im->batch);
    alloc_free(im->hash);
    alloc_free(im);
}

/* ------------------------------------------------------------------ aside -- */

/* The longest line that is looked at: a value in base64, or plain with few escapes. */
static size_t line_bytes_max(const struct import *im)
{
    return (size_t)im->server->options->value_bytes_max * 2 + 1048576;
}

static const char too_long[] = "the line is longer than this server takes";

static enum quern_code tell(struct import *im, const char *code, const char *detail,
                            struct quern_error *err)
{
    char begin[64];
    int n = snprintf(begin, sizeof(begin), "{\"line\":%" PRIu64 ",\"code\":\"", im->line_no);

    if (im->wrong++ >= TOLD_MAX)
        return QUERN_OK;
    if (buf_append(&im->told, begin, (size_t)n, err) ||
        buf_append(&im->told, code, strlen(code), err) ||
        buf_append(&im->told, "\",\"detail\":\"", 12, err) ||
        http_json_escape(&im->told, QUERN_STR(detail), err))
        return err->code;
    return buf_append(&im->told, "\"}\n", 3, err);
}

static void told_done(void *arg, struct quern_completion *completion)
{
    (void)completion;
    parking_tell(arg, 1);
}

/* Write the batch and wait for it. */
static enum quern_code commit(struct import *im, struct quern_error *err)
{
    struct quern_write_opts opts = {.sync = im->sync};
    struct parking parking = {0};
    struct quern_completion completion = {.done = told_done, .arg = &parking};
    enum quern_code code;

    if (quern_batch_count(im->batch) == 0)
        return QUERN_OK;
    while ((code = quern_write_async(im->server->db, im->batch, &opts, &completion, err)) ==
           QUERN_BUSY)
        thread_sleep_ns(BUSY_WAIT_NS); /* the store sees to it that this ends */
    if (code != QUERN_OK)
        return code;
    (void)parking_wait(&parking);
    if (completion.code != QUERN_OK) {
        *err = completion.error;
        return completion.code;
    }
    im->imported += quern_batch_count(im->batch);
    im->rev = completion.seq;
    quern_batch_clear(im->batch);
    return QUERN_OK;
}

static enum quern_code put_line(struct import *im, struct quern_error *err)
{
    if (im->line.value.len > im->server->options->value_bytes_max)
        return tell(im, "value_too_large",
                    "the value is larger than this server takes (--max-value)", err);
    if (conditions_required(im->server, buf_slice(&im->line.key)))
        return tell(im, conditions_missing.code, conditions_missing.detail, err);
    quern_batch_select(im->batch, im->into_one ? im->database : im->line.database);
    if (quern_batch_put_until(im->batch, buf_slice(&im->line.key), buf_slice(&im->line.value),
                              im->line.expires_ms, err))
        return err->code == QUERN_INVALID ? tell(im, "bad_line", err->text, err) : err->code;
    if (quern_batch_count(im->batch) < BATCH_LINES && quern_batch_bytes(im->batch) < BATCH_BYTES)
        return QUERN_OK;
    return commit(im, err);
}

static enum quern_code take_line(struct import *im, struct quern_slice text,
                                 struct quern_error *err)
{
    enum quern_code code;

    im->line_no++;
    if (text.len == 0)
        return QUERN_OK; /* an empty line says nothing */
    if (im->sealed)
        return tell(im, "bad_line", "something follows the end line", err);
    if (text.len > line_bytes_max(im))
        return tell(im, "value_too_large", too_long, err);
    code = dump_line_parse(text, &im->line, err);
    if (code == QUERN_INVALID)
        return tell(im, "bad_line", err->text, err);
    if (code != QUERN_OK || !im->line.end)
        return code != QUERN_OK ? code : put_line(im, err);
    im->sealed = true;
    im->seal_holds = im->wrong == 0 && im->line.hash == XXH3_64bits_digest(im->hash) &&
                     im->line.count == im->imported + quern_batch_count(im->batch);
    return im->seal_holds ? QUERN_OK
                          : tell(im, "checksum_mismatch",
                                 "count or checksum of the end line are not those of the lines "
                                 "before it",
                                 err);
}

/* The lines of `text` that are whole, and at the end what is left of it. */
static enum quern_code take_lines(struct import *im, struct quern_error *err)
{
    const uint8_t *data = im->text.data, *newline;
    size_t at = 0;

    while (at < im->text.len) {
        newline = memchr(data + at, '\n', im->text.len - at);
        if (newline == NULL)
            break;
        if (!im->passing) {
            if (take_line(im, (struct quern_slice){data + at, (size_t)(newline - data) - at}, err))
                return err->code;
            (void)XXH3_64bits_update(im->hash, data + at, (size_t)(newline - data) + 1 - at);
        }
        im->passing = false;
        at = (size_t)(newline - data) + 1;
    }
    if (at > 0) {
        memmove(im->text.data, im->text.data + at, im->text.len - at);
        im->text.len -= at;
    }
    if (im->last && im->text.len > 0 && !im->passing)
        return take_line(im, buf_slice(&im->text), err);
    if (im->text.len > line_bytes_max(im) || im->passing) {
        buf_clear(&im->text);
        if (!im->passing) {
            im->passing = true;
            im->line_no++;
            return tell(im, "value_too_large", too_long, err);
        }
    }
    return QUERN_OK;
}

static void run(struct task *task)
{
    struct import *im = (struct import *)task;

    im->failed = take_lines(im, &im->err) != QUERN_OK || (im->last && commit(im, &im->err));
    im->done = im->failed || im->last;
}

/* ------------------------------------------------------------------ on the loop -- */

static void then(struct task *task)
{
    struct import *im = (struct import *)task;

    im->busy = false;
    im->waiting = im->text.len;
    if (im->conn == NULL)
        import_free(im);
    else
        loop_mark(im->task.loop, im->conn);
}

bool import_begin(struct conn *c)
{
    struct import *im = alloc_zeroed(sizeof(*im));
    struct quern_error err;

    if (im == NULL)
        return false;
    im->conn = c;
    im->task.loop = c->loop;
    im->task.run = run;
    im->task.then = then;
    im->task.takes_long = true;
    im->server = c->loop->server;
    im->sync = verb_sync_asked(c);
    im->into_one = params_given(&c->params, PARAM_DB);
    im->database = c->database;
    im->batch = quern_batch_new();
    im->hash = dump_hash_new(&err);
    if (im->batch == NULL || im->hash == NULL) {
        import_free(im);
        return false;
    }
    c->import = im;
    return true;
}

bool import_has_room(const struct import *im)
{
    return !im->ended && im->filling.len < FILLING_BYTES_MAX;
}

bool import_take(struct import *im, struct quern_slice piece)
{
    struct quern_error err;

    return buf_append(&im->filling, piece.data, piece.len, &err) == QUERN_OK;
}

size_t import_bytes(const struct import *im)
{
    return im->filling.len + im->waiting;
}

void import_give_up(struct import *im)
{
    if (im->busy || im->done || im->ended) /* it has all, and needs no more room */
        return;
    im->failed = im->done = true;
    IGNORE(err_set(&im->err, QUERN_BUSY, "too much is arriving already"));
}

void import_end(struct import *im)
{
    im->ended = true;
}

bool import_ended(const struct import *im)
{
    return im->ended;
}

bool import_turn(struct conn *c)
{
    struct import *im = c->import;
    struct quern_error err;

    if (im->busy)
        return false;
    if (im->done)
        return true;
    if (im->filling.len == 0 && !im->ended)
        return false;
    if (im->text.len == 0) { /* the usual way costs no copy */
        struct buf swap = im->text;

        im->text = im->filling;
        im->filling = swap;
    } else if (buf_append(&im->text, im->filling.data, im->filling.len, &err)) {
        conn_cut(c);
        return false;
    }
    buf_clear(&im->filling);
    im->last = im->ended;
    im->waiting = im->text.len;
    im->busy = true;
    aside_run(&im->task);
    return false;
}

static void answer_failure(struct conn *c, struct manner manner, const struct import *im)
{
    char members[64];

    (void)snprintf(members, sizeof(members), ",\"imported\":%" PRIu64 ",\"line\":%" PRIu64,
                   im->imported, im->line_no);
    manner.close |= !im->ended;
    manner.keep &= im->ended;
    reply_store_problem(c, manner, im->err.code, &im->err, members);
}

static void answer_well(struct conn *c, struct manner manner, struct import *im)
{
    static const struct http_bad none = {400, "bad_import",
                                         "no line could be taken; each is an object with key and "
                                         "value, as /v1/export writes it"};
    char text[192], extra[128 + PRESSURE_FIELD_BYTES], pressure[PRESSURE_FIELD_BYTES];
    struct quern_error err;
    int n;

    if (im->imported == 0 && im->wrong > 0) {
        reply_error(c, manner, &none, NULL);
        return;
    }
    n = snprintf(text, sizeof(text),
                 "{\"end\":true,\"imported\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"rev\":%" PRIu64
                 "%s}\n",
                 im->imported, im->wrong, im->rev,
                 !im->sealed      ? ""
                 : im->seal_holds ? ",\"verified\":true"
                                  : ",\"verified\":false");
    (void)pressure_field(c->loop->server, pressure);
    (void)snprintf(extra, sizeof(extra),
                   "Quern-Rev: %" PRIu64
                   "\r\nQuern-Durability: %s\r\nCache-Control: no-store\r\n%s",
                   im->rev, durability_name(im->sync), pressure);
    if (buf_append(&im->told, text, (size_t)n, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/x-ndjson", buf_slice(&im->told), extra);
}

void import_answer(struct conn *c)
{
    struct import *im = c->import;

    c->import = NULL;
    count(&c->loop->server->counters.sets, im->imported);
    count(&c->loop->server->counters.requests, 1);
    if (im->failed)
        answer_failure(c, manner_of(c), im);
    else
        answer_well(c, manner_of(c), im);
    import_free(im);
}

void import_close(struct conn *c)
{
    struct import *im = c->import;

    if (im == NULL)
        return;
    c->import = NULL;
    im->conn = NULL;
    if (!im->busy)
        import_free(im);
}

void import_check(struct conn *c)
{
    if (!kv_check_sync(c))
        return;
    if (!has_body(c))
        refuse(c, 400, "missing_parameter", "the lines are missing; send them as the request body");
}

/* A body of no length, which nobody passed on. */
void import_post(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct import *im;

    (void)body;
    if (!import_begin(c)) {
        conn_cut(c);
        return;
    }
    im = c->import;
    c->import = NULL;
    answer_well(c, manner, im);
    import_free(im);
}
