/* store.h - the store that a child measures, in whichever condition the next row needs it. */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include "work.h"

struct child {
    struct bench bench;
    const struct config *config;
    char dir[512];
    int out_fd;
    bool open;
    bool fenced;
    enum stand stand; /* the condition it is in */

    /* What was measured between S_EMPTY and S_SETTLED, for W_LOAD. */
    struct row loaded;
    uint64_t loaded_since_written; /* usage_written_bytes() at its beginning */
};

void store_open(struct child *c, bool synced);
void store_close(struct child *c);
void store_remove(struct child *c); /* closed or not, there or not */

void store_fill(struct child *c); /* every entry once, shuffled, by batches */
void store_scan(struct child *c); /* once from end to end; all must be there */

/* Do `work` to it in a process of its own, which then ends without closing anything: its memory and
 * the engine's threads end with it. Only while the engine has no threads here yet. */
void store_apart(struct child *c, void (*work)(struct child *c));

/* Bring it to where a workload can begin. From S_FILLED to S_SETTLED sends the row W_LOAD. */
void store_stand(struct child *c, enum stand needed);

/* Close it, put its files out of memory, and open it again; not measured. */
void store_chill(struct child *c);

/* child.c */
void send_row(struct child *c, const struct row *row);

#endif
