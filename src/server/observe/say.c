/* say.c - lines for people, or for programs that read logs. Each is written with one call, so that
 * lines of several threads never mix. */
#include "server/observe/say.h"

#include "server/observe/sink.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORDS_BYTES_MAX 1024

static struct {
    enum log_format format;
    _Atomic unsigned level; /* enum say_level */
    struct sink *events;
    bool complains_by_events; /* the main thread's */
} how = {LOG_TEXT, SAY_INFO, NULL, false};

void say_as(enum log_format format, enum say_level level)
{
    how.format = format;
    how.level = level;
}

void say_from(enum say_level level)
{
    how.level = level;
}

void complain_by_events(bool yes)
{
    how.complains_by_events = yes;
}

enum quern_code say_begin(struct quern_error *err)
{
    return sink_open((struct sink_place){STDERR_FILENO, NULL}, "log", &how.events, err);
}

void say_end(void)
{
    struct sink *events = how.events;

    how.events = NULL;
    sink_close(events);
}

uint64_t say_dropped(void)
{
    return how.events != NULL ? sink_dropped(how.events) : 0;
}

/* A line of ours may quote a path or the system's words; no byte of it may move the terminal. */
static void defuse(char *line)
{
    for (; *line != '\0'; line++) {
        if ((unsigned char)*line < 0x20 || *line == 0x7f)
            *line = '?';
    }
}

/* Returns the length of what is at `to`. */
static struct quern_slice fields(struct logline *to, enum say_level level, const char *event,
                                 const char *words)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};

    logline_begin(to, how.format);
    logline_text(to, "level", QUERN_STR(levels[level]));
    logline_text(to, "event", QUERN_STR(event));
    logline_text(to, "msg", QUERN_STR(words));
    return logline_end(to);
}

static void write_line(FILE *to, enum say_level level, const char *prefix, const char *format,
                       va_list args)
{
    char words[WORDS_BYTES_MAX];
    struct logline line;

    (void)vsnprintf(words, sizeof(words), format, args);
    if (how.format == LOG_TEXT) {
        defuse(words);
        (void)fprintf(to, "%s%s\n", prefix, words);
    } else {
        struct quern_slice all = fields(&line, level, "quernd", words);

        (void)fwrite(all.data, 1, all.len, to);
    }
    (void)fflush(to);
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(stdout, SAY_INFO, "", format, args);
    va_end(args);
}

void say_event(enum say_level level, const char *event, const char *format, ...)
{
    char words[WORDS_BYTES_MAX], when[LOG_TIME_BYTES];
    struct logline line;
    struct quern_slice all;
    va_list args;

    if ((unsigned)level < how.level)
        return;
    va_start(args, format);
    (void)vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    if (how.format == LOG_TEXT) {
        defuse(words);
        all.data = line.text;
        all.len = (size_t)snprintf(line.text, sizeof(line.text), "%s %s: %s\n", log_time(when),
                                   event, words);
    } else {
        all = fields(&line, level, event, words);
    }
    if (how.events != NULL)
        sink_put(how.events, all.data, all.len);
    else
        (void)fwrite(all.data, 1, all.len, stderr);
}

void complain(const char *format, ...)
{
    char words[WORDS_BYTES_MAX];
    va_list args;

    va_start(args, format);
    if (!how.complains_by_events) {
        write_line(stderr, SAY_ERROR, "quernd: ", format, args);
    } else {
        (void)vsnprintf(words, sizeof(words), format, args);
        say_event(SAY_ERROR, "quernd", "%s", words);
    }
    va_end(args);
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
