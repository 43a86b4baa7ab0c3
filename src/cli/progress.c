/* progress.c - a bar on standard error for long work:
 *
 *     verify [############            ]  50%  1.2 GiB of 2.4 GiB  410 MiB/s
 *     load   12 040 entries  30 100/s                                 (total unknown) */
#include "cli/progress_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_COLUMNS 79
#define DRAW_MS 100
#define BAR_CELLS 24

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* "1.2 GiB", "17 entries" */
static void amount(char to[32], enum progress_unit unit, double v)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;

    if (unit == PROGRESS_ENTRIES) {
        (void)snprintf(to, 32, "%.0f", v);
        return;
    }
    for (; v >= 1024 && i < 4; i++)
        v /= 1024;
    (void)snprintf(to, 32, i == 0 ? "%.0f %s" : "%.1f %s", v, units[i]);
}

void progress_line(char *to, int width, const char *what, enum progress_unit unit, uint64_t done,
                   uint64_t total, uint64_t ms)
{
    char bar[BAR_CELLS + 1], at[32], of[32], speed[32];

    amount(at, unit, (double)done);
    amount(speed, unit, ms == 0 ? 0 : (double)done * 1000 / (double)ms);
    if (total == 0) {
        (void)snprintf(to, (size_t)width + 1, "%s %s%s  %s/s", what, at,
                       unit == PROGRESS_ENTRIES ? " entries" : "", speed);
        return;
    }
    if (done > total)
        done = total;
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = (double)done / (double)total * BAR_CELLS > i + 0.5 ? '#' : ' ';
    bar[BAR_CELLS] = '\0';
    amount(of, unit, (double)total);
    (void)snprintf(to, (size_t)width + 1, "%s [%s] %3.0f%%  %s of %s  %s/s", what, bar,
                   (double)done * 100 / (double)total, at, of, speed);
}

struct progress progress_of(const char *what, enum progress_unit unit)
{
    return (struct progress){
        .what = what, .unit = unit, .shown = isatty(STDERR_FILENO) == 1, .began_ms = now_ms()};
}

void progress_at(struct progress *p, uint64_t done, uint64_t total)
{
    char line[LINE_COLUMNS + 1];
    uint64_t now;

    if (!p->shown)
        return;
    now = now_ms();
    /* Nothing for work that is over in a moment. */
    if (now - p->began_ms < 3 * DRAW_MS || now - p->drawn_ms < DRAW_MS)
        return;
    p->drawn_ms = now;
    p->drawn = true;
    progress_line(line, LINE_COLUMNS, p->what, p->unit, done, total, now - p->began_ms);
    fprintf(stderr, "\r\033[K%s", line);
}

void progress_wipe(struct progress *p)
{
    if (p->drawn)
        fprintf(stderr, "\r\033[K");
    p->drawn = false;
}

void progress_call(void *arg, uint64_t done, uint64_t total)
{
    progress_at(arg, done, total);
}
