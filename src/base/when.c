/* when.c - moments as RFC 3339 and back, by counting days. */
#include "base/when.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_MS UINT64_C(86400000)

uint64_t when_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_in(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year) ? 1u : 0u);
}

/* Days from the first of January 1970 to that of `year`, which is not before. */
static unsigned days_before(unsigned year)
{
    unsigned y = year - 1;

    return (year - 1970) * 365 + (y / 4 - 492) - (y / 100 - 19) + (y / 400 - 4);
}

size_t when_write(uint64_t ms, char to[WHEN_BYTES + 1])
{
    unsigned year, month = 1, day, of_day;

    if (ms > WHEN_MS_MAX)
        ms = WHEN_MS_MAX;
    day = (unsigned)(ms / DAY_MS);
    of_day = (unsigned)(ms % DAY_MS);
    year = 1970 + day / 366; /* never too late */
    while (days_before(year + 1) <= day)
        year++;
    day -= days_before(year);
    for (; day >= days_in(year, month); month++)
        day -= days_in(year, month);
    return (size_t)snprintf(to, WHEN_BYTES + 1, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000,
                            month % 100, (day + 1) % 100, of_day / 3600000 % 24,
                            of_day / 60000 % 60, of_day / 1000 % 60, of_day % 1000);
}

struct reader {
    const char *at, *end;
    bool good;
};

/* Exactly `digits` of them. */
static unsigned take_number(struct reader *r, int digits)
{
    unsigned v = 0;

    for (; digits > 0 && r->good; digits--) {
        r->good = r->at < r->end && *r->at >= '0' && *r->at <= '9';
        if (r->good)
            v = v * 10 + (unsigned)(*r->at++ - '0');
    }
    return v;
}

/* One of the letters of `any`. */
static char take_letter(struct reader *r, const char *any)
{
    r->good = r->good && r->at < r->end && *r->at != '\0' && strchr(any, *r->at) != NULL;
    return r->good ? *r->at++ : '\0';
}

/* ".5" is 500: what follows a third decimal is dropped. */
static unsigned take_decimals(struct reader *r)
{
    unsigned ms = 0, unit = 100;

    if (r->at == r->end || *r->at != '.')
        return 0;
    r->at++;
    ms = take_number(r, 1) * unit;
    while (r->good && r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        unit /= 10;
        ms += (unsigned)(*r->at++ - '0') * unit;
    }
    return ms;
}

/* Minutes east of Greenwich. */
static int take_offset(struct reader *r)
{
    char sign = take_letter(r, "Zz+-");
    unsigned hours, minutes;

    if (!r->good || sign == 'Z' || sign == 'z')
        return 0;
    hours = take_number(r, 2);
    (void)take_letter(r, ":");
    minutes = take_number(r, 2);
    r->good = r->good && hours < 24 && minutes < 60;
    return (sign == '-' ? -1 : 1) * (int)(hours * 60 + minutes);
}

bool when_read(struct quern_slice text, uint64_t *ms)
{
    struct reader r = {text.data, (const char *)text.data + text.len, text.len > 0};
    unsigned year = take_number(&r, 4), month, day, hour, minute, second, decimals, days;
    int64_t at;

    (void)take_letter(&r, "-");
    month = take_number(&r, 2);
    (void)take_letter(&r, "-");
    day = take_number(&r, 2);
    (void)take_letter(&r, "Tt ");
    hour = take_number(&r, 2);
    (void)take_letter(&r, ":");
    minute = take_number(&r, 2);
    (void)take_letter(&r, ":");
    second = take_number(&r, 2);
    if (!r.good || year < 1970 || month < 1 || month > 12 || day < 1 ||
        day > days_in(year, month) || hour > 23 || minute > 59 || second > 59)
        return false;
    decimals = take_decimals(&r);
    days = days_before(year) + day - 1;
    for (unsigned m = 1; m < month; m++)
        days += days_in(year, m);
    at = (int64_t)(days * DAY_MS + hour * UINT64_C(3600000) + minute * UINT64_C(60000) +
                   second * UINT64_C(1000) + decimals);
    at -= (int64_t)take_offset(&r) * 60000;
    if (!r.good || r.at != r.end || at < 0 || at > (int64_t)WHEN_MS_MAX)
        return false;
    *ms = (uint64_t)at;
    return true;
}

bool span_read(struct quern_slice text, uint64_t *ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}, {"d", DAY_MS}};
    const char *at = text.data;
    size_t digits = 0;
    uint64_t v = 0;

    for (; digits < text.len && at[digits] >= '0' && at[digits] <= '9'; digits++) {
        if (v > WHEN_MS_MAX)
            return false;
        v = v * 10 + (uint64_t)(at[digits] - '0');
    }
    if (digits == 0)
        return false;
    for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strlen(units[i].name) != text.len - digits ||
            memcmp(units[i].name, at + digits, text.len - digits) != 0)
            continue;
        *ms = v * units[i].ms;
        return v <= WHEN_MS_MAX / units[i].ms;
    }
    return false;
}
