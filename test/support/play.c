/* play.c - what the steps of a history are; see play.h. */
#include "play_priv.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 of a number: every step has chance of its own. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t play_pick(struct play *p, uint64_t below)
{
    return mix(p->random += UINT64_C(0x9E3779B97F4A7C15)) % below;
}

/* Options that bring every transition close. The named sets go to one end each; of the others, and
 * of what a set leaves open, chance decides. It is not the steps' chance: that must not depend on
 * the options. */
void play_options(struct play *p)
{
    static const uint64_t memdb[] = {4096, 16384, 65536, 1 << 20};
    static const uint32_t block[] = {64, 256, 4096, 16384};
    static const uint64_t table[] = {1024, 8192, 1 << 20};
    uint64_t steps_chance = p->random;
    struct quern_options *o = &p->options;

    p->random = mix(p->config->seed + p->result->opens * 977u + p->config->set);
    *o = (struct quern_options){
        .memory_bytes = play_pick(p, 2) ? 1 << 20 : 8 << 20,
        .memdb_bytes = memdb[play_pick(p, 4)],
        .block_bytes = block[play_pick(p, 4)],
        .table_bytes = table[play_pick(p, 3)],
        .tier_runs = 2 + (uint32_t)play_pick(p, 4),
        .compression = (enum quern_compression)play_pick(p, 4),
        .filter_bits = play_pick(p, 4) == 0 ? UINT32_MAX : 10,
        .flush_interval_ms = play_pick(p, 2) ? 5 : 60000,
        .compact_interval_ms = play_pick(p, 2) ? 2 : 10000,
        .log_segment_bytes = play_pick(p, 2) ? 64 * 1024 : 1 << 20,
    };
    p->random = steps_chance;
    switch (p->config->set) {
    case 0: /* the tiniest of all */
        o->memdb_bytes = 4096, o->block_bytes = 64, o->table_bytes = 1024;
        break;
    case 1: /* all in one MemDB and one run */
        o->memdb_bytes = 4 << 20, o->memory_bytes = 32 << 20, o->table_bytes = 32 << 20;
        break;
    case 2: /* no cache to speak of */
        o->memory_bytes = 1 << 20, o->memdb_bytes = 4096, o->block_bytes = 16384;
        break;
    case 3: /* nothing happens by itself, and runs pile up */
        o->flush_interval_ms = o->compact_interval_ms = 3600 * 1000, o->tier_runs = 16;
        break;
    case 4: /* everything happens by itself, at once */
        o->flush_interval_ms = o->compact_interval_ms = 1, o->tier_runs = 2;
        break;
    case 5:
        o->compression = QUERN_COMPRESS_ZSTD, o->block_bytes = 65536;
        break;
    case 6:
        o->compression = QUERN_COMPRESS_NONE, o->filter_bits = UINT32_MAX;
        break;
    case 7:
        o->filter_bits = 1, o->tier_runs = 2, o->table_bytes = 1024;
        break;
    case 8:
        o->log_segment_bytes = 64 * 1024, o->memdb_bytes = 4096;
        break;
    default: /* 9 and 10 are about the disk: play_open() */
        break;
    }
}

void play_wrong(struct play *p, const char *format, ...)
{
    va_list args;

    if (p->result->failed)
        return; /* the first tells most */
    p->result->failed = true;
    va_start(args, format);
    (void)vsnprintf(p->result->why, sizeof(p->result->why), format, args);
    va_end(args);
}

bool play_ok(struct play *p, enum quern_code code, const struct quern_error *err, const char *what)
{
    if (code == QUERN_OK)
        return true;
    if (sim_is_off(p->sim) || (p->window.until != 0 && code != QUERN_INVALID &&
                               code != QUERN_CLOSED && code != QUERN_LOCKED))
        return false;
    play_wrong(p, "%s: %s (%s)", what, err->text, err_code_name(code));
    return false;
}

void play_answer(struct play *p, const void *bytes, size_t len)
{
    if (p->window.until == 0)
        p->result->answers = hash_bytes(bytes, len, p->result->answers);
}

/* ---- the steps ---- */

static void compact(struct play *p)
{
    static const uint8_t databases[] = {0, 1, 15};
    size_t first, end, from, to;
    struct quern_range range;
    struct quern_compact_opts opts = {.range = play_pick(p, 2) ? &range : NULL,
                                      .database = databases[play_pick(p, 3)]};
    struct quern_error err;

    model_span(opts.database, &first, &end);
    from = first + play_pick(p, end - first);
    to = from + play_pick(p, end - from);
    range = (struct quern_range){model_key(from), model_key(to)};
    (void)play_ok(p, quern_compact(p->db, &opts, &err), &err, "compact");
}

static void verify(struct play *p)
{
    struct quern_error err;

    (void)play_ok(p, quern_verify(p->db, NULL, NULL, &err), &err, "verify");
}

void play_pass_time(struct play *p, uint64_t ms)
{
    p->goal.time_ms += ms;
    p->real.time_ms = p->base.time_ms = p->goal.time_ms;
    sim_set_wall_ms(p->sim, p->goal.time_ms);
}

static void pass_time(struct play *p)
{
    play_pass_time(p, play_pick(p, 12));
}

static const struct {
    unsigned share;
    void (*play)(struct play *p);
    bool anyway; /* even if there is no store: it has to do with what the history wants */
} kinds[] = {
    {380, play_write, true},  {40, play_write_async, true}, {140, play_get, false},
    {60, play_depend, true},  {40, play_get_many, false},   {120, play_iterate, false},
    {40, play_count, false},  {40, play_snapshot, false},   {30, play_sync, false},
    {30, play_flush, false},  {12, compact, false},         {6, verify, false},
    {10, play_reopen, false}, {12, play_copy, false},       {12, play_window, true},
    {60, pass_time, true},
};

static void step(struct play *p)
{
    uint64_t which, all = 0;
    size_t k = 0;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        all += kinds[i].share;
    p->random = mix(p->config->seed + p->result->step * UINT64_C(0x9E3779B97F4A7C15));
    p->drawn = 0;
    for (which = play_pick(p, all); which >= kinds[k].share; k++)
        which -= kinds[k].share;
    if (p->db != NULL || kinds[k].anyway)
        kinds[k].play(p);
}

void play(const struct play_config *config, struct play_result *result)
{
    struct play *p = calloc(1, sizeof(*p));

    *result = (struct play_result){.answers = 1};
    ensure(p != NULL);
    p->config = config;
    p->result = result;
    p->random = mix(config->seed);
    if (play_open(p)) {
        while (!result->failed && result->step < config->steps) {
            result->step++;
            if (config->dropped == NULL || !config->dropped[result->step])
                step(p);
            if (!result->failed)
                play_settle(p);
            if (!result->failed && p->db != NULL)
                play_counts(p);
        }
    }
    play_close(p);
    free(p);
}

/* ---- fewer steps ---- */

unsigned play_shrink(const struct play_config *config, bool *dropped, unsigned plays,
                     struct play_result *result)
{
    struct play_config fewer = *config;
    struct play_result r;
    unsigned left = 0;
    bool *best = calloc(config->steps + 1, sizeof(*best));

    ensure(best != NULL);
    fewer.dropped = dropped;
    memset(dropped, 0, config->steps + 1);
    for (unsigned part = (config->steps + 1) / 2; part != 0 && plays != 0; part /= 2) {
        for (unsigned from = 1; from <= fewer.steps && plays != 0; from += part, plays--) {
            for (unsigned n = from; n < from + part && n <= fewer.steps; n++)
                dropped[n] = true;
            play(&fewer, &r);
            if (r.failed) {
                *result = r;
                fewer.steps = r.step; /* what followed is not needed */
                memcpy(best, dropped, config->steps + 1);
            } else {
                memcpy(dropped, best, config->steps + 1);
            }
        }
    }
    for (unsigned n = 1; n <= config->steps; n++) {
        dropped[n] = dropped[n] || n > fewer.steps;
        left += !dropped[n];
    }
    free(best);
    return left;
}
