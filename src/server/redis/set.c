/* set.c - SET and its kin: values as a whole, and when they expire.
 *
 *     SET k v [NX|XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
 *     GETEX k [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
 *
 * A value that is put expires when its command says so, and else never. A time that has passed
 * deletes. SET without conditions reads nothing, and is written blindly. */
#include "server/redis/handlers.h"

#include "base/error.h"

#include <string.h>

enum expiry {
    EXPIRY_NONE,
    EXPIRY_KEEP,    /* KEEPTTL */
    EXPIRY_PERSIST, /* PERSIST */
    EXPIRY_AT,      /* the argument says */
};

static const struct time_word {
    const char *word;
    int64_t unit_ms;
    bool from_now;
} time_words[] = {
    {"EX", 1000, true},
    {"PX", 1, true},
    {"EXAT", 1000, false},
    {"PXAT", 1, false},
};

struct set_options {
    bool if_absent, if_present, get;
    enum expiry expiry;
    const struct time_word *word; /* with AT; its argument stands at: */
    size_t arg;
};

static const struct time_word *time_word_of(const struct call *k, size_t arg)
{
    for (unsigned i = 0; i < ARRAY_LEN(time_words); i++) {
        if (call_arg_is(k, arg, time_words[i].word))
            return &time_words[i];
    }
    return NULL;
}

/* EX to PXAT with its number, KEEPTTL, PERSIST: one of them. */
static bool take_expiry(const struct call *k, size_t *arg, bool is_set, struct set_options *o)
{
    const struct time_word *word = time_word_of(k, *arg);
    enum expiry expiry = EXPIRY_NONE;

    if (word != NULL && *arg + 1 < k->argc)
        expiry = EXPIRY_AT;
    else if (call_arg_is(k, *arg, "KEEPTTL") && is_set)
        expiry = EXPIRY_KEEP;
    else if (call_arg_is(k, *arg, "PERSIST") && !is_set)
        expiry = EXPIRY_PERSIST;
    if (expiry == EXPIRY_NONE || (o->expiry != EXPIRY_NONE && o->expiry != expiry) ||
        (o->word != NULL && o->word != word))
        return false;
    o->expiry = expiry;
    o->word = word;
    if (word != NULL)
        o->arg = ++*arg; /* said twice, the last one counts */
    return true;
}

static bool read_options(struct call *k, size_t from, bool is_set, struct set_options *o)
{
    *o = (struct set_options){.expiry = EXPIRY_NONE};
    for (size_t i = from; i < k->argc; i++) {
        if (is_set && call_arg_is(k, i, "NX") && !o->if_present) {
            o->if_absent = true;
        } else if (is_set && call_arg_is(k, i, "XX") && !o->if_absent) {
            o->if_present = true;
        } else if (is_set && call_arg_is(k, i, "GET")) {
            o->get = true;
        } else if (!take_expiry(k, &i, is_set, o)) {
            (void)call_syntax_error(k);
            return false;
        }
    }
    return true;
}

/* The time that an argument says, in milliseconds since 1970; false: replied that it is none. */
static bool read_time(struct call *k, size_t arg, int64_t unit_ms, bool from_now, uint64_t *out)
{
    int64_t ms;

    if (!call_integer(k, arg, &ms))
        return false;
    if (ms <= 0 || __builtin_mul_overflow(ms, unit_ms, &ms) ||
        (from_now && __builtin_add_overflow(ms, call_now_ms(k), &ms))) {
        (void)call_expire_error(k);
        return false;
    }
    *out = (uint64_t)ms;
    return true;
}

bool set_is_blind(const struct call *k)
{
    return k->argc == 3 || (k->argc == 5 && time_word_of(k, 3) != NULL);
}

enum quern_code cmd_set(struct call *k)
{
    struct set_options o;
    uint64_t expires_ms = 0;
    enum quern_code code;
    bool there, may;

    if (!read_options(k, 3, true, &o) ||
        (o.word != NULL && !read_time(k, o.arg, o.word->unit_ms, o.word->from_now, &expires_ms)))
        return QUERN_OK;
    if (set_is_blind(k)) {
        code = call_put_until(k, k->args[1], k->args[2], expires_ms);
        return code != QUERN_OK ? code : call_ok(k);
    }
    code = call_get(k, k->args[1]);
    if (code != QUERN_OK && code != QUERN_NOT_FOUND)
        return code;
    there = code == QUERN_OK;
    may = !(o.if_absent && there) && !(o.if_present && !there);
    if (o.expiry == EXPIRY_KEEP)
        expires_ms = k->value->expires_ms;
    if (o.get)
        (void)reply_found(k, code);
    else if (!may)
        (void)call_null(k);
    else
        (void)call_ok(k);
    return may ? call_put_until(k, k->args[1], k->args[2], expires_ms) : QUERN_OK;
}

static enum quern_code set_for(struct call *k, int64_t unit_ms)
{
    uint64_t expires_ms;
    enum quern_code code;

    if (!read_time(k, 2, unit_ms, true, &expires_ms))
        return QUERN_OK;
    code = call_put_until(k, k->args[1], k->args[3], expires_ms);
    return code != QUERN_OK ? code : call_ok(k);
}

enum quern_code cmd_setex(struct call *k)
{
    return set_for(k, 1000);
}

enum quern_code cmd_psetex(struct call *k)
{
    return set_for(k, 1);
}

enum quern_code cmd_setnx(struct call *k)
{
    enum quern_code code = call_get(k, k->args[1]);

    if (code == QUERN_OK)
        return call_int(k, 0);
    if (code != QUERN_NOT_FOUND)
        return code;
    (void)call_int(k, 1);
    return call_put(k, k->args[1], k->args[2]);
}

enum quern_code cmd_getset(struct call *k)
{
    enum quern_code code = reply_found(k, call_get(k, k->args[1]));

    return code != QUERN_OK ? code : call_put(k, k->args[1], k->args[2]);
}

enum quern_code cmd_getdel(struct call *k)
{
    enum quern_code found = call_get(k, k->args[1]), code = reply_found(k, found);

    return found != QUERN_OK || code != QUERN_OK ? code : call_delete(k, k->args[1]);
}

enum quern_code cmd_getex(struct call *k)
{
    struct set_options o;
    uint64_t expires_ms = 0;
    enum quern_code found, code;

    if (!read_options(k, 2, false, &o))
        return QUERN_OK;
    found = call_get(k, k->args[1]);
    if (found == QUERN_OK && o.word != NULL &&
        !read_time(k, o.arg, o.word->unit_ms, o.word->from_now, &expires_ms))
        return QUERN_OK;
    code = reply_found(k, found);
    if (found != QUERN_OK || code != QUERN_OK || o.expiry == EXPIRY_NONE ||
        (o.expiry == EXPIRY_PERSIST && k->value->expires_ms == 0))
        return code;
    return call_put_until(k, k->args[1], call_value(k), expires_ms);
}

static enum quern_code put_pairs(struct call *k)
{
    for (size_t i = 1; i + 1 < k->argc; i += 2) {
        enum quern_code code = call_put(k, k->args[i], k->args[i + 1]);

        if (code != QUERN_OK)
            return code;
    }
    return QUERN_OK;
}

enum quern_code cmd_mset(struct call *k)
{
    enum quern_code code;

    if (k->argc % 2 == 0)
        return call_wrong_arity(k);
    code = put_pairs(k);
    return code != QUERN_OK ? code : call_ok(k);
}

enum quern_code cmd_msetnx(struct call *k)
{
    if (k->argc % 2 == 0)
        return call_wrong_arity(k);
    for (size_t i = 1; i < k->argc; i += 2) {
        enum quern_code code = call_get(k, k->args[i]);

        if (code == QUERN_OK)
            return call_int(k, 0);
        if (code != QUERN_NOT_FOUND)
            return code;
    }
    (void)call_int(k, 1);
    return put_pairs(k);
}
