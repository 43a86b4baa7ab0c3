/* live_priv.h - what live.c (counting, and the worker's part) and live_ask.c share. */
#ifndef ENGINE_LIVE_PRIV_H
#define ENGINE_LIVE_PRIV_H

#include "engine/work_priv.h"

/* A count on its way: through the last of `mems`, up to `seq`, over what lies in the others and in
 * tables. */
struct counting {
    struct live *live;
    const struct version *version;
    const struct memdb *mems; /* oldest first */
    size_t count;
    quern_seq seq;
    uint64_t now_ms;
    uint64_t entries_left, reads_left; /* more is BUSY; UINT64_MAX: no matter how many */
};

void live_forget(struct live *l, struct live_count *n);
bool live_is_known(const struct live_count *n);
void live_clock_forget(struct live_clock *clock);
void live_clock_pass(struct live_clock *clock, uint64_t now_ms);
/* So many live now, and none of them expires. */
void live_clock_begin(const struct live *l, struct live_clock *clock, int64_t keys,
                      uint64_t now_ms);
/* Note what memory they take, of which engine_share_memory() knows. */
void live_weigh_clocks(struct live *l);
struct live_count *live_last_counts(struct live *l);
struct live_part *live_find_part(struct live *l, const struct mem *mem); /* NULL: there is none */
/* After all there are. NULL: no memory. */
struct live_part *live_add_part(struct live *l, const struct mem *mem, struct quern_error *err);
/* What was counted stays so if it fails. Errors: BUSY, IO, CORRUPT, NO_MEMORY. */
MUST_USE enum quern_code live_count_part(struct counting *c, struct live_part *p,
                                         struct quern_error *err);

#endif
