/* memory.c - how fast is memory? One byte after the other, and one cache line here and there.
 *
 * All of it is zero, and nobody but us knows: a load's result is added to the address of the next
 * one, which makes them dependent without a chain of pointers to lay down first. The place itself
 * comes from a generator of random numbers that runs ahead beside the loads:
 *
 *     state' = state * A + C                    off the path: needs no load
 *     zero'  = words[state' >> shift + zero]    on the path: the load, and one addition
 *
 * With k such chains taken in turns there are k loads under way and no more. */
#include "limits.h"

#include "bench.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)
#define LINE_WORDS 8u
#define COPY_ASIDE (UINT64_C(36) << 10)
#define CHAINS_MAX 32u
#define STEPS 1024u /* between looks at the clock */

static uint64_t *areas[PAGE_KINDS];
static unsigned set_count; /* as many working sets as memory has room for */

void *memory_new(uint64_t bytes, enum page_kind pages)
{
    uint64_t room = bytes + HUGE_PAGE_BYTES;
    uint8_t *at = mmap(NULL, room, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        die("no memory for %" PRIu64 " bytes", room);
    at += (HUGE_PAGE_BYTES - (uintptr_t)at % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    /* Refused where the kernel has no huge pages: then these are small ones too. */
    (void)madvise(at, bytes, pages == PAGES_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memset(at, 0, bytes);
    return at;
}

static uint64_t huge_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    unsigned long long kib = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "AnonHugePages: %llu", &kib) == 1)
            break;
    if (file != NULL)
        (void)fclose(file);
    return kib * 1024;
}

static void setup(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t huge, bytes;

    while (set_count < WORKING_SETS && working_set_bytes[set_count] <= memory / 8)
        set_count++;
    if (set_count == 0)
        die("too little memory to measure");
    bytes = working_set_bytes[set_count - 1];
    huge = huge_bytes();
    for (unsigned pages = 0; pages < PAGE_KINDS; pages++)
        areas[pages] = memory_new(bytes, (enum page_kind)pages);
    huge = huge_bytes() - huge;
    if (huge < bytes / 10 * 9)
        (void)printf("note: huge pages hold %" PRIu64 " %% of the memory that asked for them\n",
                     huge * 100 / bytes);
}

static inline __attribute__((always_inline)) uint64_t walk(const uint64_t *words, unsigned shift,
                                                           unsigned chains, uint64_t *state)
{
    uint64_t zero[CHAINS_MAX] = {0}, sum = 0;

    for (unsigned step = 0; step < STEPS; step++)
        for (unsigned c = 0; c < chains; c++) {
            state[c] = state[c] * UINT64_C(0x5851F42D4C957F2D) + UINT64_C(0x14057B7EF767814F);
            zero[c] = words[(state[c] >> shift) * LINE_WORDS + zero[c]];
        }
    for (unsigned c = 0; c < chains; c++)
        sum += zero[c];
    return sum;
}

/* With the number of chains known to the compiler. */
static uint64_t walk_of(unsigned chains, const uint64_t *words, unsigned shift, uint64_t *state)
{
    switch (chains) {
    case 8:
        return walk(words, shift, 8, state);
    case 16:
        return walk(words, shift, 16, state);
    case 32:
        return walk(words, shift, 32, state);
    default:
        return walk(words, shift, 1, state);
    }
}

static void time_loads(struct samples *s, enum limit limit, const uint64_t *words, uint64_t bytes,
                       unsigned chains)
{
    unsigned shift = (unsigned)__builtin_clzll(bytes / (LINE_WORDS * sizeof(*words))) + 1;
    uint64_t state[CHAINS_MAX], loads = 0, begun, now;

    for (unsigned c = 0; c < CHAINS_MAX; c++)
        state[c] = (c + 1) * UINT64_C(0x9E3779B97F4A7C15) + clock_ns();
    begun = now = thread_ns();
    while (now - begun < SLICE_NS) {
        keep(walk_of(chains, words, shift, state));
        loads += (uint64_t)chains * STEPS;
        now = thread_ns();
    }
    samples_add(s, limit, now - begun, (double)loads);
}

/* Of 16 bytes: the compiler keeps larger ones on the stack where the processor's base has none. */
typedef uint64_t two_words __attribute__((vector_size(16)));

static uint64_t sum_up(const uint64_t *words, uint64_t bytes)
{
    const two_words *at = (const two_words *)(const void *)words, *end = at + bytes / sizeof(*at);
    two_words a = {0}, b = {0}, c = {0}, d = {0};

    for (; at < end; at += 4) {
        a += at[0];
        b += at[1];
        c += at[2];
        d += at[3];
    }
    a += b + c + d;
    return a[0] + a[1];
}

static void time_read(struct samples *s, enum limit limit, const uint64_t *words, uint64_t bytes)
{
    uint64_t begun = thread_ns(), now = begun, done = 0;

    while (now - begun < SLICE_NS) {
        keep(sum_up(words, bytes));
        done += bytes;
        now = thread_ns();
    }
    samples_add(s, limit, now - begun, (double)done);
}

/* The copy lies half the working set away and a little more: at a power of two from each other,
 * both would be in the same bank of the memory at any time. */
static void time_copy(struct samples *s, enum limit limit, uint64_t *words, uint64_t bytes)
{
    uint64_t away = bytes / 2 + COPY_ASIDE, len = bytes - away;
    uint64_t begun = thread_ns(), now = begun, done = 0;

    while (now - begun < SLICE_NS) {
        memcpy((uint8_t *)words + away, words, len);
        keep(words[0]);
        done += len;
        now = thread_ns();
    }
    samples_add(s, limit, now - begun, (double)done);
}

static void round_once(struct samples *s)
{
    static const struct {
        enum memory_limit what;
        unsigned chains;
    } loads[] = {{MEMORY_DEPENDENT, 1},
                 {MEMORY_FLIGHT_8, 8},
                 {MEMORY_FLIGHT_16, 16},
                 {MEMORY_FLIGHT_32, 32}};

    for (unsigned pages = 0; pages < PAGE_KINDS; pages++)
        for (unsigned set = 0; set < set_count; set++) {
            enum page_kind kind = (enum page_kind)pages;
            uint64_t bytes = working_set_bytes[set], *words = areas[pages];

            time_copy(s, limit_memory(MEMORY_COPY, kind, set), words, bytes);
            time_read(s, limit_memory(MEMORY_READ, kind, set), words, bytes);
            for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
                time_loads(s, limit_memory(loads[i].what, kind, set), words, bytes,
                           loads[i].chains);
        }
}

const struct probe probe_memory = {"memory", setup, round_once};
