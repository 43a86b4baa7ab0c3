/* call.c - what handlers of commands have in common; see redis/call.h. */
#include "server/redis/call.h"

#include "server/reads.h"
#include "server/redis/redis.h"

#include "base/error.h"

#include <stdio.h>

struct quern_slice call_value(const struct call *k)
{
    return (struct quern_slice){k->value->data, k->value->len};
}

void call_select(struct call *k, uint8_t database)
{
    k->reads.database = database;
    if (k->batch != NULL)
        quern_batch_select(k->batch, database);
}

/* Handlers ask in the order of their keys, most of them once. */
static enum quern_code take_fetched(struct call *k, struct quern_slice key)
{
    size_t n = k->fetched->count, at = k->fetched_at < n ? k->fetched_at : 0;

    for (size_t tried = 0; tried < n; tried++) {
        size_t i = at + tried < n ? at + tried : at + tried - n;

        if (k->fetched->keys[i].data == key.data) {
            k->fetched_at = i + 1;
            k->value = &k->fetched->values[i];
            return k->fetched->codes[i];
        }
    }
    return err_set(k->err, QUERN_INVALID, "a key that is no argument");
}

enum quern_code call_get(struct call *k, struct quern_slice key)
{
    struct resp_counters *n = &k->server->resp->counters;
    enum quern_code code = QUERN_NOT_FOUND;

    if (k->fetched != NULL)
        code = take_fetched(k, key);
    else if (key.len >= 1 && key.len <= QUERN_KEY_BYTES_MAX)
        code = k->update != NULL ? quern_update_get(k->update, key, k->value, k->err)
                                 : quern_get(k->server->db, key, &k->reads, k->value, k->err);
    if (k->command->flags & CMD_READONLY)
        count(code == QUERN_OK ? &n->hits : &n->misses,
              code == QUERN_OK || code == QUERN_NOT_FOUND);
    return code;
}

int64_t call_now_ms(const struct call *k)
{
    return (int64_t)quern_time_ms(k->server->db);
}

enum quern_code call_put_until(struct call *k, struct quern_slice key, struct quern_slice value,
                               uint64_t expires_ms)
{
    if (expires_ms != 0 && expires_ms <= (uint64_t)call_now_ms(k))
        return call_delete(k, key);
    k->puts++;
    k->put_bytes += key.len + value.len;
    return quern_batch_put_until(k->batch, key, value, expires_ms, k->err);
}

enum quern_code call_put(struct call *k, struct quern_slice key, struct quern_slice value)
{
    return call_put_until(k, key, value, 0);
}

enum quern_code call_delete(struct call *k, struct quern_slice key)
{
    k->deletes++;
    return quern_batch_delete(k->batch, key, k->err);
}

enum quern_code call_delete_range(struct call *k, const struct quern_range *range)
{
    k->deletes++;
    return quern_batch_delete_range(k->batch, range, k->err);
}

bool call_integer(struct call *k, size_t arg, int64_t *out)
{
    if (resp_integer(k->args[arg], out))
        return true;
    resp_put_error(&k->out, "ERR value is not an integer or out of range");
    return false;
}

bool database_of(struct quern_slice s, uint8_t *out)
{
    int64_t n;

    if (!resp_integer(s, &n) || n < 0 || n >= (int64_t)DATABASES)
        return false;
    *out = (uint8_t)n;
    return true;
}

bool call_database(struct call *k, size_t arg, uint8_t *out)
{
    int64_t n;

    if (database_of(k->args[arg], out))
        return true;
    if (!call_integer(k, arg, &n))
        return false;
    if (n < INT32_MIN || n > INT32_MAX)
        resp_put_error(&k->out, "ERR value is out of range, value must between %d and %d",
                       INT32_MIN, INT32_MAX);
    else
        resp_put_error(&k->out, "ERR DB index is out of range");
    return false;
}

bool call_arg_is(const struct call *k, size_t arg, const char *word)
{
    return resp_same_word(k->args[arg], word);
}

const char *upper_case(struct quern_slice name, char to[COMMAND_NAME_BYTES])
{
    size_t i = 0;

    for (; i < name.len && i + 1 < COMMAND_NAME_BYTES; i++) {
        char letter = ((const char *)name.data)[i];

        to[i] = (char)(letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter);
    }
    to[i] = '\0';
    return to;
}

enum quern_code call_ok(struct call *k)
{
    resp_put_simple(&k->out, "OK");
    return QUERN_OK;
}

enum quern_code call_int(struct call *k, int64_t v)
{
    resp_put_int(&k->out, v);
    return QUERN_OK;
}

enum quern_code call_null(struct call *k)
{
    resp_put_null(&k->out);
    return QUERN_OK;
}

enum quern_code call_error(struct call *k, const char *text)
{
    resp_put_error(&k->out, "%s", text);
    return QUERN_OK;
}

enum quern_code call_about(struct call *k, const char *before, struct quern_slice what,
                           const char *after)
{
    resp_put_error(&k->out, "%s%.*s%s", before, (int)(what.len < 128 ? what.len : 128),
                   (const char *)what.data, after);
    return QUERN_OK;
}

enum quern_code call_syntax_error(struct call *k)
{
    return call_error(k, "ERR syntax error");
}

enum quern_code call_wrong_arity(struct call *k)
{
    char name[COMMAND_NAME_BYTES];

    resp_put_error(&k->out, "ERR wrong number of arguments for '%s' command",
                   command_full_name(k->command, name));
    return QUERN_OK;
}

enum quern_code call_sub_error(struct call *k)
{
    char name[COMMAND_NAME_BYTES];

    resp_put_error(&k->out,
                   "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                   (int)(k->args[1].len < 128 ? k->args[1].len : 128),
                   (const char *)k->args[1].data, upper_case(k->args[0], name));
    return QUERN_OK;
}

enum quern_code call_expire_error(struct call *k)
{
    char name[COMMAND_NAME_BYTES];

    resp_put_error(&k->out, "ERR invalid expire time in '%s' command",
                   command_full_name(k->command, name));
    return QUERN_OK;
}

void reply_failure(struct resp_out *out, enum quern_code code, const struct quern_error *err)
{
    const char *story = err->text[0] != '\0' ? err->text : "no details";

    switch (code) {
    case QUERN_NO_SPACE:
        resp_put_error(out,
                       "NOSPACE the disk is full, nothing was written; free some space and "
                       "try again: %s",
                       story);
        break;
    case QUERN_READ_ONLY:
        resp_put_error(out, "MISCONF the store takes no writes until it is restarted: %s", story);
        break;
    case QUERN_BUSY:
        resp_put_error(out, "TRYAGAIN the store is stalled, retry in 1000 ms");
        break;
    case QUERN_CLOSED:
        resp_put_error(out, "ERR the server is shutting down");
        break;
    case QUERN_UNKNOWN:
        resp_put_error(out,
                       "UNKNOWN the write may or may not survive; read it back after a "
                       "restart: %s",
                       story);
        break;
    case QUERN_CORRUPT:
        resp_put_error(out, "CORRUPT this value is damaged on disk; run quern verify: %s", story);
        break;
    case QUERN_INVALID: /* the story says it all */
        resp_put_error(out, "ERR %s", story);
        break;
    default:
        resp_put_error(out, "ERR %s: %s", quern_code_name(code), story);
    }
}
