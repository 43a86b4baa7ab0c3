/* say.c - lines for people. Each is written with one call, so that lines of several threads never
 * mix. */
#include "server/say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_BYTES_MAX 1024

/* A line of ours may quote a path or the system's words; no byte of it may move the terminal. */
static void defuse(char *line)
{
    for (; *line != '\0'; line++) {
        if ((unsigned char)*line < 0x20 || *line == 0x7f)
            *line = '?';
    }
}

void say(const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    defuse(line);
    (void)printf("%s\n", line);
    (void)fflush(stdout);
}

void complain(const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    defuse(line);
    (void)fprintf(stderr, "quernd: %s\n", line);
}

void say_event(const char *format, ...)
{
    char line[LINE_BYTES_MAX], when[32];
    struct timespec now;
    struct tm tm;
    va_list args;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    defuse(line);
    (void)fprintf(stderr, "%s.%03ldZ %s\n", when, now.tv_nsec / 1000000, line);
}

const char *said_count(uint64_t n, char to[SAID_BYTES])
{
    char plain[24];
    int len = snprintf(plain, sizeof(plain), "%" PRIu64, n);
    char *out = to;

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *out++ = ',';
        *out++ = plain[i];
    }
    *out = '\0';
    return to;
}

const char *said_bytes(uint64_t n, char to[SAID_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n / 1024;
    unsigned unit = 0;

    if (n < 1024) {
        (void)snprintf(to, SAID_BYTES, "%" PRIu64 " B", n);
        return to;
    }
    while (v >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(to, SAID_BYTES, "%.1f %s", v, units[unit]);
    return to;
}
