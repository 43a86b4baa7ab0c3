/* big.c - does a store far larger than memory's budget stay within it, in order, whole, and quick
 * to open again?
 *
 *     load -> settle -> scan, checking order and values -> count -> close -> reopen -> count, gets
 *
 * With quern alone. Each promise is printed with "ok" or "FAILED", and one that failed makes the
 * exit status 1. The budget is held against the peak of anonymous memory, where MemDBs, cache,
 * indexes and filters live. The peak of all resident pages is printed beside it: it has the mapped
 * log segments on top, which are page cache, and the program itself. */
#include "bench.h"

#include "clock.h"
#include "data.h"
#include "hist.h"
#include "json.h"
#include "usage.h"

#include <quern/quern.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QUIET_SECONDS_MAX 600.0
#define REOPEN_SECONDS_MAX 1.0
#define GETS 200000
#define PROGRESS_EVERY 4096 /* puts between looks at the clock for the progress line */
#define MIB 1048576.0

struct big {
    const struct big_config *config;
    struct data data;
    char dir[512];
    struct quern *db;
    bool good;
    /* What came of it. */
    double load_s, settle_s, scan_s, count_s, close_s, open_s, get_us;
    double put_p999_us, put_max_us, written_per_put;
    uint64_t disk_bytes, peak_rss_bytes, peak_anon_bytes;
};

static void check(enum quern_code code, const struct quern_error *err, const char *doing)
{
    if (code != QUERN_OK)
        die("quern: %s: %s", doing, err->text);
}

static void promise(struct big *b, bool kept, const char *what)
{
    (void)printf("  %-6s %s\n", kept ? "ok" : "FAILED", what);
    (void)fflush(stdout);
    b->good = b->good && kept;
}

/* The peaks are kept over the whole run; reading them now and then costs nothing. */
static void note_peaks(struct big *b)
{
    b->peak_rss_bytes = usage_peak_rss_bytes();
    b->peak_anon_bytes = usage_peak_anon_bytes();
}

static void store_open(struct big *b)
{
    struct quern_options options = {.memory_bytes = b->config->memory_bytes};
    struct quern_error err;
    uint64_t begun = clock_ns();

    check(quern_open(b->dir, &options, &b->db, &err), &err, "open");
    b->open_s = (double)(clock_ns() - begun) / 1e9;
}

static void progress(const struct big *b, uint64_t done, uint64_t begun)
{
    double seconds = (double)(clock_ns() - begun) / 1e9;

    (void)fprintf(stderr, "  %5.1f %%  %.0f k puts a second, RSS peak %.0f MiB\n",
                  100.0 * (double)done / (double)b->config->num, (double)done / seconds / 1e3,
                  (double)usage_peak_rss_bytes() / MIB);
}

static void load(struct big *b)
{
    uint64_t num = b->config->num, begun = clock_ns(), said = begun, before = begun;
    uint64_t written = usage_written_bytes();
    uint8_t key[KEY_BYTES_MAX], *value = must_alloc(b->config->value_bytes);
    struct hist *hist = must_alloc(sizeof(*hist));
    struct quern_error err;

    for (uint64_t i = 0; i < num; i++) {
        uint64_t slot = 2 * (b->config->in_order ? i : shuffled(i, num, 42)), now;

        key_make(&b->data, slot, key);
        value_make(&b->data, slot, 0, value);
        check(quern_put(b->db, (struct quern_slice){key, KEY_BYTES},
                        (struct quern_slice){value, b->config->value_bytes}, NULL, &err),
              &err, "put");
        now = clock_ns();
        hist_add(hist, now - before);
        before = now;
        if (i % PROGRESS_EVERY == 0 && now - said > UINT64_C(10000000000)) {
            progress(b, i, begun);
            before = said = clock_ns();
        }
    }
    b->load_s = (double)(clock_ns() - begun) / 1e9;
    b->put_p999_us = hist_quantile(hist, 0.999) / 1e3;
    b->put_max_us = (double)hist->max / 1e3;
    b->settle_s = usage_wait_quiet(QUIET_SECONDS_MAX);
    usage_flush_disk(b->dir);
    b->written_per_put = (double)(usage_written_bytes() - written) /
                         ((double)num * (KEY_BYTES + b->config->value_bytes));
    note_peaks(b);
    (void)printf(
        "load     %.1f s, %.0f k puts a second; p99.9 %.1f us, longest %.1f ms; background "
        "quiet %.1f s later\n",
        b->load_s, (double)num / b->load_s / 1e3, b->put_p999_us, b->put_max_us / 1e3, b->settle_s);
    (void)printf("         %.2f bytes written a byte put\n", b->written_per_put);
    (void)fflush(stdout);
    free(hist);
    free(value);
}

static void scan(struct big *b)
{
    struct quern_iter_opts opts = {.bulk = true};
    struct quern_iter *it = NULL;
    struct quern_error err;
    uint64_t begun = clock_ns(), seen = 0, wrong = 0;
    uint8_t last[KEY_BYTES] = {0};

    check(quern_iter_new(b->db, &opts, &it, &err), &err, "iterator");
    for (bool stands = quern_iter_first(it); stands; stands = quern_iter_next(it)) {
        struct quern_slice key = quern_iter_key(it), value = quern_iter_value(it);
        uint8_t expected[KEY_BYTES_MAX];

        /* Decimal keys: entry n in order has slot 2n, so key and value are known exactly. */
        key_make(&b->data, 2 * seen, expected);
        wrong += key.len != KEY_BYTES || memcmp(key.data, expected, KEY_BYTES) != 0 ||
                 (seen > 0 && memcmp(key.data, last, KEY_BYTES) <= 0) ||
                 !value_is_of(&b->data, 2 * seen, (struct bytes){value.data, value.len});
        memcpy(last, expected, KEY_BYTES);
        seen++;
    }
    check(quern_iter_error(it, &err), &err, "scan");
    quern_iter_free(it);
    b->scan_s = (double)(clock_ns() - begun) / 1e9;
    note_peaks(b);
    (void)printf("scan     %.1f s, %.2f M entries a second\n", b->scan_s,
                 (double)seen / b->scan_s / 1e6);
    promise(b, seen == b->config->num && wrong == 0,
            "every entry met once, in order, with its value");
}

static void count(struct big *b, const char *when)
{
    struct quern_error err;
    uint64_t begun = clock_ns(), counted = 0;
    char text[80];

    check(quern_count(b->db, NULL, NULL, &counted, &err), &err, "count");
    b->count_s = (double)(clock_ns() - begun) / 1e9;
    note_peaks(b);
    (void)printf("count    %.3f s, %" PRIu64 " keys\n", b->count_s, counted);
    (void)snprintf(text, sizeof(text), "the count is exact %s", when);
    promise(b, counted == b->config->num, text);
}

static void close_and_reopen(struct big *b)
{
    struct quern_error err;
    uint64_t begun = clock_ns();

    check(quern_close(b->db, &err), &err, "close");
    b->close_s = (double)(clock_ns() - begun) / 1e9;
    b->disk_bytes = usage_disk_bytes(b->dir);
    (void)printf("close    %.2f s; %.0f MiB on disk, %.2f of the bytes put\n", b->close_s,
                 (double)b->disk_bytes / MIB,
                 (double)b->disk_bytes /
                     ((double)b->config->num * (KEY_BYTES + b->config->value_bytes)));
    store_open(b);
    note_peaks(b);
    (void)printf("reopen   %.3f s\n", b->open_s);
    promise(b, b->open_s < REOPEN_SECONDS_MAX, "it reopens in less than a second");
}

static void get_some(struct big *b)
{
    struct quern_value value = {0};
    struct quern_error err;
    uint64_t random = 9, begun = clock_ns(), wrong = 0;
    uint8_t key[KEY_BYTES_MAX];

    for (unsigned i = 0; i < GETS; i++) {
        uint64_t slot = 2 * random_below(&random, b->config->num);
        enum quern_code code;

        key_make(&b->data, slot, key);
        code = quern_get(b->db, (struct quern_slice){key, KEY_BYTES}, NULL, &value, &err);
        if (code != QUERN_NOT_FOUND)
            check(code, &err, "get");
        wrong +=
            code != QUERN_OK || !value_is_of(&b->data, slot, (struct bytes){value.data, value.len});
    }
    b->get_us = (double)(clock_ns() - begun) / GETS / 1e3;
    quern_value_done(&value);
    note_peaks(b);
    (void)printf("get      %.1f us each, %u random keys\n", b->get_us, GETS);
    promise(b, wrong == 0, "each had its value");
}

static void say_stats(struct big *b)
{
    struct quern_stats stats;

    quern_stats(b->db, &stats);
    (void)printf("shape   ");
    for (uint32_t t = 0; t < stats.tiers && t < QUERN_TIERS_MAX; t++)
        (void)printf(" tier %u: %u runs, %u tables, %.0f MiB;", t, stats.tier[t].runs,
                     stats.tier[t].tables, (double)stats.tier[t].bytes / MIB);
    (void)printf(
        "\nmemory   budget %.0f MiB; quern says MemDBs %.0f, cache %.0f, of it blocks %.0f, "
        "indexes %.0f, filters %.0f MiB\n",
        (double)stats.memory_budget / MIB, (double)(stats.memdb_bytes + stats.memdb_sealed) / MIB,
        (double)stats.cache_bytes / MIB, (double)stats.cache_block_bytes / MIB,
        (double)stats.cache_index_bytes / MIB, (double)stats.cache_filter_bytes / MIB);
}

static void say_memory(struct big *b)
{
    uint64_t budget = b->config->memory_bytes, over = 0;

    if (b->peak_rss_bytes > budget)
        over = b->peak_rss_bytes - budget;
    (void)printf(
        "         peak of the heap %.0f MiB; of all resident pages, with the program and mapped "
        "log segments, %.0f MiB",
        (double)b->peak_anon_bytes / MIB, (double)b->peak_rss_bytes / MIB);
    (void)printf(", %.0f MiB over the budget\n", (double)over / MIB);
    promise(b, b->peak_anon_bytes <= budget,
            "the heap, the bench's own included, stayed within the budget");
}

static void write_json(const struct big *b, const char *machine)
{
    const struct big_config *c = b->config;
    FILE *f = fopen(c->json_path, "w");

    if (f == NULL)
        die("%s: %s", c->json_path, strerror(errno));
    (void)fprintf(
        f,
        "{\"workload\":\"big\",\"engine\":\"quern\",\"version\":\"quern %s\",\"num\":%" PRIu64
        ",\"key_bytes\":%u,\"value_bytes\":%u,\"order\":\"%s\",\"memory_bytes\":%" PRIu64,
        quern_version(), c->num, KEY_BYTES, c->value_bytes, c->in_order ? "sequential" : "random",
        c->memory_bytes);
    (void)fprintf(f,
                  ",\"load_seconds\":%.3f,\"load_ops_per_s\":%.1f,\"put_p999_us\":%.3f,"
                  "\"put_max_us\":%.3f,\"settle_seconds\":%.3f,\"bytes_written_per_byte_put\":%.3f",
                  b->load_s, (double)c->num / b->load_s, b->put_p999_us, b->put_max_us, b->settle_s,
                  b->written_per_put);
    (void)fprintf(f,
                  ",\"scan_seconds\":%.3f,\"count_seconds\":%.6f,\"close_seconds\":%.3f,"
                  "\"reopen_seconds\":%.4f,\"get_us\":%.3f,\"disk_bytes\":%" PRIu64
                  ",\"peak_rss_bytes\":%" PRIu64 ",\"peak_anon_bytes\":%" PRIu64,
                  b->scan_s, b->count_s, b->close_s, b->open_s, b->get_us, b->disk_bytes,
                  b->peak_rss_bytes, b->peak_anon_bytes);
    (void)fprintf(f, ",\"good\":%s,\"commit\":", b->good ? "true" : "false");
    json_string(f, c->commit);
    (void)fprintf(f, ",\"machine\":");
    json_string(f, machine);
    (void)fprintf(f, "}\n");
    if (fclose(f) != 0)
        die("%s: %s", c->json_path, strerror(errno));
}

int big_run(const struct big_config *config)
{
    struct big b = {.config = config, .good = true};
    struct quern_error err;
    char base[400], machine[256];

    if (snprintf(base, sizeof(base), "%s/quern-big-XXXXXX", config->dir) >= (int)sizeof(base))
        die("--dir is too long");
    if (mkdtemp(base) == NULL)
        die("%s: %s", base, strerror(errno));
    (void)snprintf(b.dir, sizeof(b.dir), "%s/store", base);
    usage_machine(base, machine, sizeof(machine));
    (void)printf("%s\ncommit %s, quern %s\n%" PRIu64
                 " entries in %s order, keys of %u bytes, values "
                 "of %u bytes (%.0f MiB), budget %.0f MiB\n",
                 machine, config->commit, quern_version(), config->num,
                 config->in_order ? "rising" : "shuffled", KEY_BYTES, config->value_bytes,
                 (double)config->num * (KEY_BYTES + config->value_bytes) / MIB,
                 (double)config->memory_bytes / MIB);
    (void)fflush(stdout);
    data_init(&b.data, config->num, KEY_BYTES, config->value_bytes);
    usage_peak_reset();
    usage_watch_start(NULL);

    store_open(&b);
    load(&b);
    scan(&b);
    count(&b, "after the load");
    close_and_reopen(&b);
    count(&b, "after the reopen");
    get_some(&b);
    say_stats(&b);
    check(quern_close(b.db, &err), &err, "close");
    note_peaks(&b);
    say_memory(&b);

    usage_watch_stop();
    if (config->json_path != NULL)
        write_json(&b, machine);
    data_done(&b.data);
    usage_remove_tree(base);
    return b.good ? 0 : 1;
}
