/* limits.h - what quern-limits measures: the floors of this machine, each in nanoseconds.
 *
 * A limit is one number: how long the machine takes, at the least, for one step of the kind that a
 * store is made of, a load from memory or a synced write. All are nanoseconds for one step or for
 * one byte, so less is always better, and floors.c may add them up. Each is taken anew in every
 * round; the median over the rounds is its value.
 *
 * The probes (one file each) know how to measure, limits.c what they measure is called. */
#ifndef LIMITS_LIMITS_H
#define LIMITS_LIMITS_H

#include "hist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* ------------------------------------------------------------------ what there is -- */

enum memory_limit {
    MEMORY_READ,      /* a byte, one after the other */
    MEMORY_COPY,      /* a byte, to the other half of the working set */
    MEMORY_DEPENDENT, /* a load whose address needs the load before */
    MEMORY_FLIGHT_8,  /* a load among 8 under way at any time */
    MEMORY_FLIGHT_16,
    MEMORY_FLIGHT_32,
    MEMORY_LIMITS
};

enum page_kind { PAGES_SMALL, PAGES_HUGE, PAGE_KINDS };

#define WORKING_SETS 4u
extern const uint64_t working_set_bytes[WORKING_SETS]; /* rising */

enum limit {
    LIMIT_MEMORY_FIRST, /* and its like: limit_memory() */
    LIMIT_MEMORY_LAST = (int)(MEMORY_LIMITS * WORKING_SETS * PAGE_KINDS) - 1,
    LIMIT_LOG_MAPPED,
    LIMIT_LOG_MAPPED_SYNCED,
    LIMIT_LOG_MAPPED_ANEW,
    LIMIT_LOG_HOLES,
    LIMIT_LOG_WRITE,
    LIMIT_SYNC_APPEND, /* these three: 1, 4, 16 records a sync */
    LIMIT_SYNC_APPEND_4,
    LIMIT_SYNC_APPEND_16,
    LIMIT_SYNC_WRITTEN,
    LIMIT_SYNC_WRITTEN_4,
    LIMIT_SYNC_WRITTEN_16,
    LIMIT_SYNC_DIRECT_4K,
    LIMIT_SYNC_DIRECT_16K,
    LIMIT_SYNC_DIRECT_64K,
    LIMIT_DISK_RANDOM_4K,
    LIMIT_DISK_RANDOM_4K_8,
    LIMIT_DISK_RANDOM_64K,
    LIMIT_DISK_RANDOM_64K_8,
    LIMIT_DISK_ROW_4K,
    LIMIT_DISK_ROW_4K_8,
    LIMIT_DISK_ROW_64K,
    LIMIT_DISK_ROW_64K_8,
    LIMIT_DISK_WRITE,
    LIMIT_DISK_WRITE_AGAIN,
    LIMIT_DISK_WRITE_CACHED,
    LIMIT_XXH3_16,
    LIMIT_XXH3_132,
    LIMIT_XXH3_4K,
    LIMIT_LZ4_4K,
    LIMIT_ZSTD_4K,
    LIMIT_WAKE_FUTEX,
    LIMIT_WAKE_SPIN,
    LIMIT_LOOKUP,
    LIMIT_LOOKUP_32,
    LIMIT_SCAN,
    LIMIT_SCAN_BACK,
    LIMIT_INSERT,
    LIMIT_COUNT
};

static inline enum limit limit_memory(enum memory_limit what, enum page_kind pages, unsigned set)
{
    return (enum limit)(
        LIMIT_MEMORY_FIRST +
        (int)(((unsigned)what * PAGE_KINDS + (unsigned)pages) * WORKING_SETS + set));
}

#define LIMIT_NAME_BYTES 40
void limit_name(enum limit limit, char name[LIMIT_NAME_BYTES]);

/* The record that is logged everywhere here: a put of 16 and 100 bytes, and 16 for a head. Records
 * begin at multiples of 8. */
#define RECORD_BYTES 132u
#define RECORD_STRIDE 136u

/* ------------------------------------------------------------------ what was measured -- */

#define ROUNDS_AT_MOST 32u

struct samples {
    unsigned count[LIMIT_COUNT];
    double ns[LIMIT_COUNT][ROUNDS_AT_MOST];
    struct hist *hist[LIMIT_COUNT]; /* of each single step, all rounds; NULL: not kept */
};

/* One figure of this round: `steps` of them took `ns`. */
void samples_add(struct samples *s, enum limit limit, uint64_t ns, double steps);
struct hist *samples_hist(struct samples *s, enum limit limit); /* made when first asked for */
void samples_done(struct samples *s);

/* The medians; NAN where nothing was measured. */
struct limits {
    double ns[LIMIT_COUNT];
};
void limits_of(const struct samples *s, struct limits *out);

void limits_table(const struct samples *s); /* to standard output */
/* One line for each limit measured. `file` is a FILE. */
void limits_json(void *file, const struct samples *s);
/* The medians of such lines, others are passed over. False: none was found. */
bool limits_read(void *file, struct limits *out);

/* ------------------------------------------------------------------ how to measure -- */

struct probe {
    const char *name;
    void (*setup)(void);
    void (*round)(struct samples *s);
};

extern const struct probe probe_memory, probe_log, probe_sync, probe_disk, probe_block,
    probe_thread, probe_store;

int limits_selftest(void); /* selftest.c, in TAP; returns the exit status */

/* The processor time of this thread. Where nothing waits, it is taken in place of the clock's: what
 * other programs take of the processor is no limit of the machine. Reading it takes about
 * 200 ns. */
static inline uint64_t thread_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

#define SLICE_NS UINT64_C(12000000) /* of a measurement that is done many times a round */

/* Memory, written once, with pages of this kind; never freed. Zeroed, at a multiple of 2 MiB. */
void *memory_new(uint64_t bytes, enum page_kind pages);

/* Keep the compiler from leaving out what made `value`. */
static inline void keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

#endif
