/* remote_many.c - scan, count, dump, compact and verify over HTTP. What is long comes as lines, each
 * handed on as it arrives; the last one tells that all have come. */
#include "cli/dump_priv.h"
#include "cli/remote_priv.h"

#include "cli/bytes_priv.h"

#include "base/alloc.h"
#include "base/base64.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/hash.h"
#include "dump/line.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

static void json_free(json_t *json)
{
    json_decref(json);
}
OWNER(json_free, json_t *);

static enum quern_code add(struct remote *r, const char *text)
{
    return buf_append(&r->url, text, strlen(text), &r->err);
}

static enum quern_code add_bytes(struct remote *r, const char *name, struct quern_slice bytes)
{
    if (bytes.len == 0)
        return QUERN_OK;
    if (add(r, name) || bytes_to_percent(bytes, &r->url, &r->err))
        return r->err.code;
    return QUERN_OK;
}

enum quern_code remote_range(struct remote *r, const char *route, const char *query)
{
    const struct cli_args *args = r->args;
    char limit[40] = "";

    if (args->limit != UINT64_MAX)
        (void)snprintf(limit, sizeof(limit), "&limit=%" PRIu64, args->limit);
    if (remote_url(r, route, slice_of(NULL, 0)) || add(r, query) ||
        add_bytes(r, "&prefix=", args->prefix) || add_bytes(r, "&start=", args->start) ||
        add_bytes(r, "&end=", args->end) || add(r, limit) || remote_add_database(r))
        return r->err.code;
    return QUERN_OK;
}

/* Send, and hand each line to `on_line`; the last one must set r->ended. */
static enum cli_exit receive(struct remote *r, remote_line_fn on_line)
{
    struct curl_slist *lines = curl_slist_append(NULL, "Accept: application/x-ndjson");
    enum cli_exit result;

    r->on_line = on_line;
    r->ended = false;
    (void)curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, lines);
    result = remote_exchange(r, "GET", NULL);
    (void)curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
    curl_slist_free_all(lines);
    r->on_line = NULL;
    if (result == EXIT_NOT_FOUND)
        return remote_no_quernd(r);
    if (result == EXIT_GOOD && !r->ended) {
        (void)err_set(&r->err, QUERN_IO, "%s: the answer is cut short", r->args->url);
        return cli_fail(&r->err, false);
    }
    return result;
}

/* ------------------------------------------------------------------ scan and count -- */

/* Bytes of a member, from base64 if its name says so. */
static enum quern_code member(const json_t *json, const char *plain, const char *base64,
                              struct buf *out, bool *found, struct quern_error *err)
{
    const json_t *text = json_object_get(json, plain), *coded = json_object_get(json, base64);
    size_t n;

    buf_clear(out);
    *found = text != NULL || coded != NULL;
    if (!*found)
        return QUERN_OK;
    if (!json_is_string(text != NULL ? text : coded))
        return err_set(err, QUERN_IO, "an answer that is not a quernd's");
    if (text != NULL)
        return buf_append(out, json_string_value(text), json_string_length(text), err);
    if (buf_append(out, json_string_value(coded), json_string_length(coded), err))
        return err->code;
    n = base64_decode(buf_slice(out), BASE64_STANDARD, out->data);
    if (n == SIZE_MAX)
        return err_set(err, QUERN_IO, "an answer that is not a quernd's");
    out->len = n;
    return QUERN_OK;
}

/* A value too long for a listing. */
static enum quern_code fetch(struct remote *r, struct quern_slice key, struct buf *value,
                             struct quern_error *err)
{
    struct remote one;
    enum cli_exit result = EXIT_REFUSED;

    if (remote_init(&one, r->args) == QUERN_OK && remote_url(&one, "/get", key) == QUERN_OK)
        result = remote_exchange(&one, "GET", NULL);
    if (result == EXIT_GOOD && buf_append(value, one.body.data, one.body.len, err) == QUERN_OK)
        result = EXIT_GOOD;
    remote_done(&one);
    return result == EXIT_GOOD ? QUERN_OK : err_set(err, QUERN_IO, "a value could not be read");
}

static enum quern_code on_entry(struct remote *r, struct quern_slice line, struct quern_error *err)
{
    struct buf key OWNED_BUF = {0}, value OWNED_BUF = {0};
    json_t *json OWNED(json_free) = NULL;
    struct quern_slice bytes;
    bool has_key, has_value;

    json = json_loadb(line.data, line.len, JSON_ALLOW_NUL, NULL);
    if (json_is_true(json_object_get(json, "end"))) {
        r->ended = true;
        r->count = (uint64_t)json_integer_value(json_object_get(json, "count"));
        return QUERN_OK;
    }
    if (json_object_get(json, "error") != NULL)
        return err_set(err, QUERN_IO, "the server broke off: %.*s", (int)line.len - 1,
                       (const char *)line.data);
    if (member(json, "key", "key_b64", &key, &has_key, err) ||
        member(json, "value", "value_b64", &value, &has_value, err))
        return err->code;
    if (!has_key)
        return err_set(err, QUERN_IO, "an answer that is not a quernd's");
    if (!has_value && !r->args->keys_only && fetch(r, buf_slice(&key), &value, err))
        return err->code;
    bytes = buf_slice(&value);
    return out_entry(r->args, buf_slice(&key), &bytes, err);
}

enum cli_exit remote_scan(struct remote *r)
{
    if (r->args->limit == 0)
        return EXIT_GOOD;
    if (remote_range(r, "/v1/keys", r->args->keys_only ? "?values=0" : "?values=1") ||
        (r->args->reverse && add(r, "&reverse=1")))
        return cli_fail(&r->err, false);
    return receive(r, on_entry);
}

enum cli_exit remote_count(struct remote *r)
{
    enum cli_exit result;

    if (remote_range(r, "/v1/keys", "?count=1"))
        return cli_fail(&r->err, false);
    result = receive(r, on_entry);
    if (result == EXIT_GOOD)
        out_text(r->args->json ? "{\"count\":%" PRIu64 "}\n" : "%" PRIu64 "\n", r->count);
    return result;
}

/* ------------------------------------------------------------------ dump -- */

struct remote_dump {
    struct remote *remote;
    struct dump *dump;
    struct dump_line line;
    XXH3_state_t *hash;
    enum cli_exit result;
};

/* Each line is written as it is; the last one must be true of those before it. */
static enum quern_code on_dump_line(struct remote *r, struct quern_slice line,
                                    struct quern_error *err)
{
    struct remote_dump *d = r->about;

    if (dump_line_parse(slice_of(line.data, line.len - 1), &d->line, err))
        return err_in(err, "the server broke off, or is no quernd");
    if (d->line.end) {
        r->ended = d->line.count == r->count && d->line.hash == XXH3_64bits_digest(d->hash);
        if (!r->ended)
            return err_set(err, QUERN_CORRUPT, "what arrived is not what the server sent");
    }
    (void)XXH3_64bits_update(d->hash, line.data, line.len);
    r->count++;
    return dump_raw(d->dump, line, err);
}

static enum quern_code from_server(struct dump *dump, void *arg, struct quern_error *err)
{
    struct remote_dump *d = arg;

    d->dump = dump;
    d->remote->count = 0;
    d->result = receive(d->remote, on_dump_line);
    *err = d->remote->err;
    return d->result == EXIT_GOOD ? QUERN_OK : err_set(err, QUERN_CLOSED, "told already");
}

enum cli_exit remote_dump(struct remote *r)
{
    XXH3_state_t *hash OWNED(alloc_free) = dump_hash_new(&r->err);
    struct remote_dump d = {.remote = r, .hash = hash};
    enum cli_exit result;

    if (hash == NULL)
        return cli_fail(&r->err, false);
    if (remote_range(r, "/v1/export", r->args->database_given ? "?" : "?all=1"))
        return cli_fail(&r->err, false);
    r->about = &d;
    result = dump_run(r->args, from_server, &d);
    dump_line_done(&d.line);
    return d.result != EXIT_GOOD ? d.result : result;
}

/* ------------------------------------------------------------------ jobs -- */

enum cli_exit remote_job(struct remote *r, const char *route)
{
    json_t *json OWNED(json_free) = NULL;
    const json_t *told;
    enum cli_exit result;

    if (remote_range(r, route, "?wait=1"))
        return cli_fail(&r->err, false);
    result = remote_exchange(r, "POST", NULL);
    if (result == EXIT_NOT_FOUND)
        return remote_no_quernd(r);
    if (result != EXIT_GOOD)
        return result;
    json = json_loadb((const char *)r->body.data, r->body.len, 0, NULL);
    told = json_object_get(json, "result");
    if (r->args->json)
        out_bytes(buf_slice(&r->body));
    else if (r->args->verb == VERB_COMPACT)
        out_text("table bytes: %" JSON_INTEGER_FORMAT " before, %" JSON_INTEGER_FORMAT " after\n",
                 json_integer_value(json_object_get(told, "table_bytes_before")),
                 json_integer_value(json_object_get(told, "table_bytes_after")));
    else
        out_text("%s: %" JSON_INTEGER_FORMAT " tables, %" JSON_INTEGER_FORMAT
                 " entries, %" JSON_INTEGER_FORMAT " damages\n",
                 json_is_true(json_object_get(told, "sound")) ? "sound" : "DAMAGED",
                 json_integer_value(json_object_get(told, "tables")),
                 json_integer_value(json_object_get(told, "entries")),
                 json_integer_value(json_object_get(told, "damage_count")));
    return r->args->verb == VERB_VERIFY && !json_is_true(json_object_get(told, "sound"))
               ? EXIT_CORRUPT
               : EXIT_GOOD;
}
