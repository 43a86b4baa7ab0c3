/* store.c - the smallest store there could be: what a lookup, a scan and an insert cost with
 * everything else left out. A million entries of a 16-byte key and a 100-byte value.
 *
 *     heads     u64 x 1M, sorted: the first 8 bytes of each key                       8 MB
 *     above     the first head of each 8, of each 64, ... up to one line              1 MB
 *     entries   key | value, key | value, ... in the same order                     116 MB
 *
 * No versions, no deletions, no second run, no concurrency, no disk: a real store does more, and is
 * near its floor when it is near this. A search reads one line a level; halving all the heads would
 * read more of them. All is in huge pages. */
#include "limits.h"

#include "bench.h"
#include "clock.h"
#include "data.h"
#include "scratch.h"

#include <string.h>
#include <sys/mman.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define ENTRIES UINT64_C(1000000)
#define FANOUT 8u
#define LEVELS 7u /* 8^7 entries */
#define KEY_LEN 16u
#define VALUE_LEN 100u
#define ENTRY_BYTES (KEY_LEN + VALUE_LEN)
#define BATCH 32u
#define LOG_BYTES (UINT64_C(16) << 20)
#define ARENA_BYTES (LOG_BYTES / RECORD_STRIDE * ENTRY_BYTES)

static uint64_t *heads[LEVELS]; /* [0]: of all; each padded to whole lines */
static uint8_t *entries, *arena, *log_map;

/* Evenly spread, with a part that looks random, rising. */
static uint64_t head_of(uint64_t i)
{
    return (i << 44) | (mix64(i) >> 20);
}

static void make_entries(void)
{
    heads[0] = memory_new((ENTRIES + FANOUT) * sizeof(uint64_t), PAGES_HUGE);
    entries = memory_new(ENTRIES * ENTRY_BYTES, PAGES_HUGE);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        uint64_t key[2] = {head_of(i), mix64(i)};
        uint8_t *entry = entries + i * ENTRY_BYTES;

        heads[0][i] = key[0];
        memcpy(entry, key, sizeof(key));
        memset(entry + KEY_LEN, (int)i, VALUE_LEN);
    }
}

static void make_levels(void)
{
    uint64_t n = ENTRIES;

    for (unsigned level = 0; level < LEVELS; level++) {
        for (uint64_t i = n; i % FANOUT != 0; i++)
            heads[level][i] = UINT64_MAX;
        n = (n + FANOUT - 1) / FANOUT;
        if (level + 1 == LEVELS)
            break;
        heads[level + 1] = memory_new((n + FANOUT) * sizeof(uint64_t), PAGES_HUGE);
        for (uint64_t i = 0; i < n; i++)
            heads[level + 1][i] = heads[level][i * FANOUT];
    }
}

static void setup(void)
{
    int fd = scratch_open("store-log", 0);

    make_entries();
    make_levels();
    arena = memory_new(ARENA_BYTES, PAGES_HUGE);
    scratch_fill(fd, LOG_BYTES);
    log_map = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (log_map == MAP_FAILED)
        die("cannot map a file below %s", scratch_dir());
}

/* ------------------------------------------------------------------ lookup -- */

/* Of the 8 heads from `place` on, the last that is not above `head`. */
static uint64_t step_down(unsigned level, uint64_t place, uint64_t head)
{
    const uint64_t *group = heads[level] + place;
    uint64_t below = 0;

    for (unsigned i = 1; i < FANOUT; i++)
        below += group[i] <= head;
    return place + below;
}

/* Is the key there? Then its value is copied out. */
static uint64_t take(uint64_t place, const uint64_t key[2], uint8_t value[VALUE_LEN])
{
    const uint8_t *entry = entries + place * ENTRY_BYTES;

    if (memcmp(entry, key, KEY_LEN) != 0)
        return 0;
    memcpy(value, entry + KEY_LEN, VALUE_LEN);
    return 1;
}

static void random_key(uint64_t *random, uint64_t key[2])
{
    uint64_t i = random_below(random, ENTRIES);

    key[0] = head_of(i);
    key[1] = mix64(i);
}

static uint64_t look_up(uint64_t *random, uint8_t value[VALUE_LEN])
{
    uint64_t key[2], place = 0;

    random_key(random, key);
    for (unsigned level = LEVELS; level-- > 0;)
        place = step_down(level, place * FANOUT, key[0]);
    return take(place, key, value);
}

/* The same for 32 keys: one level of all before the next, so that their misses overlap. */
static uint64_t look_up_batch(uint64_t *random, uint8_t value[VALUE_LEN])
{
    uint64_t key[BATCH][2], place[BATCH] = {0}, found = 0;

    for (unsigned k = 0; k < BATCH; k++)
        random_key(random, key[k]);
    for (unsigned level = LEVELS; level-- > 1;)
        for (unsigned k = 0; k < BATCH; k++) {
            place[k] = step_down(level, place[k] * FANOUT, key[k][0]);
            __builtin_prefetch(heads[level - 1] + place[k] * FANOUT);
        }
    for (unsigned k = 0; k < BATCH; k++) {
        place[k] = step_down(0, place[k] * FANOUT, key[k][0]);
        __builtin_prefetch(entries + place[k] * ENTRY_BYTES);
        __builtin_prefetch(entries + place[k] * ENTRY_BYTES + ENTRY_BYTES - 1);
    }
    for (unsigned k = 0; k < BATCH; k++)
        found += take(place[k], key[k], value);
    return found;
}

static void time_lookups(struct samples *s, enum limit limit, unsigned keys,
                         uint64_t (*look)(uint64_t *random, uint8_t value[VALUE_LEN]))
{
    uint64_t random = clock_ns(), done = 0, found = 0, begun = thread_ns(), now = begun;
    uint8_t value[VALUE_LEN] = {0};

    while (now - begun < 2 * SLICE_NS) {
        for (unsigned i = 0; i < 1024; i += keys) {
            found += look(&random, value);
            keep(value[0]);
        }
        done += 1024;
        now = thread_ns();
    }
    if (found != done)
        die("the smallest store lost a key");
    samples_add(s, limit, now - begun, (double)done);
}

/* ------------------------------------------------------------------ scan -- */

/* As quern-bench looks at an entry: the key's order, and both ends of the value. */
static uint64_t look_at(const uint8_t *entry)
{
    uint64_t head, first, last;

    memcpy(&head, entry, sizeof(head));
    memcpy(&first, entry + KEY_LEN, sizeof(first));
    memcpy(&last, entry + ENTRY_BYTES - sizeof(last), sizeof(last));
    keep(head);
    return first ^ last;
}

static uint64_t scan(void)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < ENTRIES; i++)
        sum += look_at(entries + i * ENTRY_BYTES);
    return sum;
}

static uint64_t scan_back(void)
{
    uint64_t sum = 0;

    for (uint64_t i = ENTRIES; i-- > 0;)
        sum += look_at(entries + i * ENTRY_BYTES);
    return sum;
}

static void time_scan(struct samples *s, enum limit limit, uint64_t (*walk)(void))
{
    uint64_t begun = thread_ns();

    keep(walk());
    samples_add(s, limit, thread_ns() - begun, (double)ENTRIES);
}

/* ------------------------------------------------------------------ insert -- */

/* An entry at the end of the arena and a record with its checksum in a mapped log: no order. */
static void insert_all(void)
{
    uint64_t arena_at = 0;
    uint8_t entry[ENTRY_BYTES];

    memset(entry, 0x5a, sizeof(entry));
    for (uint64_t i = 0; i < LOG_BYTES / RECORD_STRIDE; i++) {
        uint8_t *record = log_map + i * RECORD_STRIDE;
        uint64_t head[2] = {0, i};

        memcpy(entry, &i, sizeof(i));
        memcpy(arena + arena_at, entry, ENTRY_BYTES);
        memcpy(record + sizeof(head), entry, ENTRY_BYTES);
        head[0] = XXH3_64bits_withSeed(record + sizeof(head), ENTRY_BYTES, i);
        memcpy(record, head, sizeof(head));
        arena_at += ENTRY_BYTES;
        keep(0);
    }
}

static void time_inserts(struct samples *s)
{
    uint64_t begun;

    insert_all(); /* all pages of the log are dirty */
    begun = thread_ns();
    insert_all();
    samples_add(s, LIMIT_INSERT, thread_ns() - begun, (double)(LOG_BYTES / RECORD_STRIDE));
}

static void round_once(struct samples *s)
{
    time_lookups(s, LIMIT_LOOKUP, 1, look_up);
    time_lookups(s, LIMIT_LOOKUP_32, BATCH, look_up_batch);
    time_scan(s, LIMIT_SCAN, scan);
    time_scan(s, LIMIT_SCAN_BACK, scan_back);
    time_inserts(s);
}

const struct probe probe_store = {"store", setup, round_once};
