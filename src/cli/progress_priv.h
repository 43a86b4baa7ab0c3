/* progress_priv.h - a bar on standard error for long work, shown when that is a terminal. */
#ifndef CLI_PROGRESS_PRIV_H
#define CLI_PROGRESS_PRIV_H

#include <stdbool.h>
#include <stdint.h>

enum progress_unit { PROGRESS_BYTES, PROGRESS_ENTRIES };

struct progress {
    const char *what; /* "verify" */
    enum progress_unit unit;
    bool shown; /* standard error is a terminal */
    bool drawn; /* there is a line to wipe */
    uint64_t began_ms, drawn_ms;
};

struct progress progress_of(const char *what, enum progress_unit unit);
/* Draw, at most ten times a second. `total` 0: unknown. */
void progress_at(struct progress *p, uint64_t done, uint64_t total);
void progress_wipe(struct progress *p); /* leave the line empty, for what is printed next */

/* A quern_progress_fn; `arg` is the struct progress. */
void progress_call(void *arg, uint64_t done, uint64_t total);

/* The line itself, without a terminal: `width` columns at most. Pure. */
void progress_line(char *to, int width, const char *what, enum progress_unit unit, uint64_t done,
                   uint64_t total, uint64_t ms);

#endif
