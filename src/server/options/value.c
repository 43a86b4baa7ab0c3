/* value.c - the value of an option, from text to its field. */
#include "server/options/options_priv.h"

#include "server/observe/machine.h"

#include "base/alloc.h"
#include "base/attr.h"

#include <string.h>
#include <strings.h>

/* Texts that options point to; they live as long as the options. */
struct option_text {
    struct option_text *next;
    char bytes[];
};

/* Room for `len` bytes and a zero; it holds the empty text. */
static char *room_for(struct server_options *o, size_t len)
{
    struct option_text *t = alloc_bytes(sizeof(*t) + len + 1);

    if (t == NULL)
        return NULL;
    t->bytes[0] = '\0';
    t->next = o->texts;
    o->texts = t;
    return t->bytes;
}

static char *keep(struct server_options *o, const char *bytes, size_t len)
{
    char *to = room_for(o, len);

    if (to != NULL) {
        memcpy(to, bytes, len);
        to[len] = '\0';
    }
    return to;
}

/* Give up a text that nothing points to any more. */
static void forget(struct server_options *o, const char *bytes)
{
    struct option_text **at = &o->texts, *gone;

    while (*at != NULL && (*at)->bytes != bytes)
        at = &(*at)->next;
    gone = *at;
    if (gone == NULL)
        return;
    *at = gone->next;
    alloc_free(gone);
}

void options_done(struct server_options *o)
{
    while (o->texts != NULL) {
        struct option_text *t = o->texts;

        o->texts = t->next;
        alloc_free(t);
    }
}

/* Digits up to `max`, then whatever follows at *end. Our own, since strtoull() takes signs and
 * spaces. */
static bool number(const char *s, uint64_t max, uint64_t *out, const char **end)
{
    uint64_t v = 0;
    const char *c = s;

    for (; *c >= '0' && *c <= '9'; c++) {
        unsigned digit = (unsigned)(*c - '0');

        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    *end = c;
    return c != s;
}

static bool count_of(const char *s, uint64_t min, uint64_t max, _Atomic uint32_t *out)
{
    const char *end;
    uint64_t n;

    if (!number(s, max, &n, &end) || *end != '\0' || n < min)
        return false;
    *out = (uint32_t)n;
    return true;
}

/* "25%" of the machine's memory. */
static bool share_of(const struct server_options *o, const char *s, uint64_t *out)
{
    const char *end;
    uint64_t percent;

    if (!number(s, 100, &percent, &end) || strcmp(end, "%") != 0)
        return false;
    *out = machine_memory(o->world->open) / 100 * percent;
    return true;
}

static bool size_of(const char *s, uint64_t *out)
{
    static const char *const units[] = {"", "K", "M", "G"};
    const char *end;

    if (!number(s, UINT64_MAX >> 30, out, &end))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(units); i++) {
        if (strcasecmp(end, units[i]) == 0) {
            *out <<= 10 * i;
            return true;
        }
    }
    return false;
}

/* "500us", "500ms", "10s", "5m" in parts of so many microseconds, none of which may be left over. */
static bool time_of(const char *s, uint64_t part_us, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}};
    const char *end;

    if (!number(s, INT64_MAX, out, &end))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].name) == 0)
            return units[i].us >= part_us &&
                   !__builtin_mul_overflow(*out, units[i].us / part_us, out) && *out <= INT64_MAX;
    }
    return false;
}

/* The numbers of which a row bounds the value. */
static bool amount_of(const struct server_options *o, const struct option_row *row, const char *s,
                      uint64_t *out)
{
    bool read = row->kind == OPTION_SIZE ? size_of(s, out) || (row->is_share && share_of(o, s, out))
                                         : time_of(s, row->kind == OPTION_TIME ? 1000 : 1, out);

    return read && *out >= row->min && *out <= row->max;
}

static bool switch_of(const char *s, bool *out)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};

    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        for (unsigned yes = 0; yes < 2; yes++) {
            if (strcmp(s, words[i][yes]) == 0) {
                *out = yes == 1;
                return true;
            }
        }
    }
    return false;
}

static bool choice_of(const char *s, const char *words, _Atomic uint32_t *out)
{
    for (uint32_t i = 0;; i++) {
        size_t len = strcspn(words, "|");

        if (strlen(s) == len && memcmp(s, words, len) == 0) {
            *out = i;
            return true;
        }
        if (words[len] == '\0')
            return false;
        words += len + 1;
    }
}

static bool durability_of(const char *s, struct server_options *o)
{
    const char *end;

    if (strcmp(s, "always") == 0) {
        o->durability = DURABLE_ALWAYS;
    } else if (strcmp(s, "os") == 0) {
        o->durability = DURABLE_OS;
    } else if (strncmp(s, "interval:", 9) == 0) {
        o->durability = DURABLE_INTERVAL;
        return number(s + 9, 3600000, &o->sync_ms, &end) && o->sync_ms > 0 &&
               (*end == '\0' || strcmp(end, "ms") == 0);
    } else {
        return false;
    }
    return true;
}

/* The members of a list, behind those that the same source gave before. */
static const char *take_list(struct server_options *o, struct option_list *list,
                             const struct option_row *row, const char *text, bool anew)
{
    if (anew)
        list->count = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ","), from = strspn(at, " \t"), to = len;
        const char *member;

        while (to > from && (at[to - 1] == ' ' || at[to - 1] == '\t'))
            to--;
        if (from >= to)
            return "without an empty member";
        if (row->words != NULL && to - from == strlen(row->words) &&
            memcmp(at + from, row->words, to - from) == 0) {
            list->count = 0; /* off */
        } else {
            if (list->count == row->max)
                return row->wanted;
            member = keep(o, at + from, to - from);
            if (member == NULL)
                return "shorter: memory ran out";
            if (row->fits != NULL && !row->fits(member))
                return row->wanted;
            list->each[list->count++] = member;
        }
        at += len;
        if (*at == '\0')
            return NULL;
    }
}

static bool is_well(struct server_options *o, const struct option_row *row, const char *text)
{
    void *field = (char *)o + row->at;
    uint64_t amount;

    switch (row->kind) {
    case OPTION_TEXT:
        *(const char **)field = text;
        return *text != '\0';
    case OPTION_SWITCH:
        return switch_of(text, field);
    case OPTION_NUMBER:
        return count_of(text, row->min, row->max, field);
    case OPTION_SIZE:
    case OPTION_TIME:
        if (!amount_of(o, row, text, &amount))
            return false;
        atomic_store((_Atomic uint64_t *)field, amount);
        return true;
    case OPTION_BRIEF:
        if (strcmp(text, "off") == 0)
            amount = UINT64_MAX;
        else if (!amount_of(o, row, text, &amount))
            return false;
        atomic_store((_Atomic int64_t *)field, (int64_t)amount);
        return true;
    case OPTION_CHOICE:
        return choice_of(text, row->words, field);
    case OPTION_DURABILITY:
        return durability_of(text, o);
    default: /* OPTION_LIST has its own way; an action has no value */
        return false;
    }
}

/* What --print-config shows: a list that was given in several pieces is one. */
static const char *told(struct server_options *o, const struct option_row *row, const char *text)
{
    const struct option_list *list = (const void *)((const char *)o + row->at);
    size_t len = 0;
    char *to;

    if (row->kind != OPTION_LIST)
        return text;
    if (list->count == 0)
        return row->words;
    for (unsigned i = 0; i < list->count; i++)
        len += strlen(list->each[i]) + 2;
    to = room_for(o, len);
    for (unsigned i = 0; to != NULL && i < list->count; i++) {
        if (i > 0)
            (void)strcat(to, ", ");
        (void)strcat(to, list->each[i]);
    }
    return to;
}

const char *option_take(struct server_options *o, const struct option_row *row, const char *text,
                        enum option_source source, unsigned line)
{
    struct option_given *given = &o->given[row - option_rows];
    const char *wrong = NULL, *kept = keep(o, text, strlen(text));

    if (kept == NULL)
        return "shorter: memory ran out";
    if (row->kind == OPTION_LIST)
        wrong = take_list(o, (void *)((char *)o + row->at), row, kept, given->source != source);
    else if (!is_well(o, row, kept))
        wrong = row->wanted;
    if (wrong != NULL)
        return wrong;
    if (row->kind != OPTION_LIST) /* of a list, its members may stand there still */
        forget(o, given->text);
    *given = (struct option_given){told(o, row, kept), source, line};
    return NULL;
}
