/* selftest.c - can the models and the bookkeeping be trusted? Speaks TAP. The limits here are made
 * up, of about the size that machines have. */
#include "floors.h"
#include "scratch.h"

#include "bench.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int test_no, failures;

static void tell(bool good, const char *promise)
{
    (void)printf("%sok %d - %s\n", good ? "" : "not ", ++test_no, promise);
    failures += !good;
}

static const struct floor_shape usual = {1000000, 16, 100};

static const struct floor_shape shapes[] = {
    {1000, 16, 100},       {1000000, 16, 100},   {1000000, 16, 1000},   {1000000, 40, 400},
    {1000000000, 16, 100}, {1000000, 16, 30000}, {1000000, 16, 100000}, {1000, 1, 0},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static struct limits made_up(void)
{
    static const double memory[MEMORY_LIMITS][WORKING_SETS] = {
        {0.02, 0.04, 0.06, 0.07}, {0.03, 0.08, 0.12, 0.15}, {5, 25, 120, 200},
        {1.5, 5, 20, 30},         {1.2, 4, 15, 20},         {1, 3, 10, 15}};
    struct limits l;

    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        l.ns[i] = 10;
    for (unsigned what = 0; what < MEMORY_LIMITS; what++)
        for (unsigned set = 0; set < WORKING_SETS; set++) {
            l.ns[limit_memory(what, PAGES_SMALL, set)] = 1.5 * memory[what][set];
            l.ns[limit_memory(what, PAGES_HUGE, set)] = memory[what][set];
        }
    for (unsigned i = LIMIT_SYNC_APPEND; i <= LIMIT_SYNC_DIRECT_64K; i++)
        l.ns[i] = 100000 + 1000.0 * i;
    for (unsigned i = LIMIT_DISK_RANDOM_4K; i <= LIMIT_DISK_RANDOM_64K_8; i++)
        l.ns[i] = i % 2 == LIMIT_DISK_RANDOM_4K % 2 ? 80000 : 15000;
    for (unsigned i = LIMIT_DISK_ROW_4K; i <= LIMIT_DISK_WRITE_CACHED; i++)
        l.ns[i] = 0.7;
    l.ns[LIMIT_XXH3_16] = 3;
    l.ns[LIMIT_XXH3_132] = 12;
    l.ns[LIMIT_XXH3_4K] = 200;
    l.ns[LIMIT_WAKE_FUTEX] = 5000;
    return l;
}

static double floor_of(const struct limits *l, const char *row)
{
    return floor_ns(l, row, &usual);
}

/* ------------------------------------------------------------------ models -- */

static void test_positive(void)
{
    struct limits l = made_up();
    bool good = floor_row_count > 0;

    for (unsigned r = 0; r < floor_row_count; r++)
        for (unsigned i = 0; i < SHAPES; i++) {
            double ns = floor_ns(&l, floor_rows[r].name, &shapes[i]);

            good = good && isfinite(ns) && ns > 0;
        }
    tell(good, "every floor is a positive time, whatever the shape");
}

static void test_more_is_not_less(void)
{
    struct limits l = made_up();
    bool good = true;

    for (unsigned r = 0; r < floor_row_count; r++)
        for (unsigned i = 0; i < SHAPES; i++) {
            struct floor_shape more = shapes[i], larger = shapes[i];
            double ns = floor_ns(&l, floor_rows[r].name, &shapes[i]) * (1 - 1e-9);

            more.num *= 3;
            larger.value_bytes = 3 * larger.value_bytes + 1;
            good = good && floor_ns(&l, floor_rows[r].name, &more) >= ns &&
                   floor_ns(&l, floor_rows[r].name, &larger) >= ns;
        }
    tell(good, "more entries or larger values never take less time");
}

static void test_slower_is_not_faster(void)
{
    struct limits l = made_up(), slower = l;
    bool good = true;

    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        slower.ns[i] *= 2;
        for (unsigned r = 0; r < floor_row_count; r++)
            good = good && floor_of(&slower, floor_rows[r].name) >=
                               floor_of(&l, floor_rows[r].name) * (1 - 1e-9);
        slower.ns[i] /= 2;
    }
    tell(good, "a slower machine has no faster floor");
}

static void test_unknown(void)
{
    struct limits nothing, no_disk = made_up();
    bool good = true;

    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        nothing.ns[i] = NAN;
    for (unsigned i = LIMIT_DISK_RANDOM_4K; i <= LIMIT_DISK_WRITE_CACHED; i++)
        no_disk.ns[i] = NAN;
    for (unsigned r = 0; r < floor_row_count; r++) {
        const char *name = floor_rows[r].name;
        bool on_disk = strstr(name, "-cold") != NULL || strcmp(name, "load") == 0 ||
                       strcmp(name, "recover") == 0;

        good =
            good && isnan(floor_of(&nothing, name)) && isnan(floor_of(&no_disk, name)) == on_disk;
    }
    tell(good, "where a limit was not measured, the rows that need it have no floor");
}

static void test_order_of_rows(void)
{
    static const char *const rising[][2] = {
        {"multiget-128", "multiget-8"},
        {"multiget-32", "multiget-8"},
        {"multiget-8", "readrandom"},
        {"readhot", "readrandom"},
        {"readmissing", "readrandom"},
        {"readrandom", "seekrandom-10"},
        {"seekrandom-10", "seekrandom-100"},
        {"readseq", "readrandom"},
        {"readrandom", "readwhilewriting"},
        {"readrandom", "readrandom-cold"},
        {"multiget-32", "multiget-32-cold"},
        {"multiget-32-cold", "readrandom-cold"},
        {"readseq", "readseq-cold"},
        {"fillseq", "fillbatch"},
        {"fillbatch", "fillrandom"},
        {"fillrandom", "load"},
        {"deleterandom", "fillrandom"},
        {"fillsync-16", "fillsync-4"},
        {"fillsync-4", "fillsync"},
        {"fillrandom", "fill-64K"},
        {"fill-64K", "fill-1M"},
        {"read-64K", "read-1M"},
        {"ycsb-b", "ycsb-e"},
    };
    struct limits l = made_up();
    bool good = true;

    for (unsigned i = 0; i < sizeof(rising) / sizeof(rising[0]); i++)
        good = good && floor_of(&l, rising[i][0]) <= floor_of(&l, rising[i][1]);
    tell(good, "what does more has the higher floor");
}

static void test_by_hand(void)
{
    struct limits l = made_up();
    struct floor_shape s = {32 << 20, 8, 0}; /* heads and data of 256 MiB each */
    double found = floor_ns(&l, "readrandom", &s), one, four;

    s.num = 64 << 20; /* half way between 256 MiB and 1 GiB, on the logarithm */
    tell(fabs(found - 2 * 120) < 1e-6 &&
             fabs(floor_ns(&l, "readrandom", &s) - 2 * (120 + 200) / 2.0) < 1e-6,
         "readrandom is two loads: those measured, and those between");
    s = usual;
    one = floor_ns(&l, "fillsync", &s);
    four = floor_ns(&l, "fillsync-4", &s);
    tell(one == fmin(l.ns[LIMIT_SYNC_DIRECT_4K],
                     fmin(l.ns[LIMIT_SYNC_APPEND], l.ns[LIMIT_SYNC_WRITTEN])) &&
             four * 4 > one,
         "fillsync is the fastest sync, and a group shares one");
    tell(isnan(floor_of(&l, "readrandum")), "a row that does not exist has no floor");
}

/* ------------------------------------------------------------------ bookkeeping -- */

static void test_names(void)
{
    bool good = true;

    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        for (unsigned j = 0; j < i; j++) {
            char a[LIMIT_NAME_BYTES], b[LIMIT_NAME_BYTES];

            limit_name((enum limit)i, a);
            limit_name((enum limit)j, b);
            good = good && strcmp(a, b) != 0 && a[0] != '\0';
        }
    for (unsigned i = 0; i < floor_row_count; i++)
        for (unsigned j = 0; j < i; j++)
            good = good && strcmp(floor_rows[i].name, floor_rows[j].name) != 0;
    tell(good, "every limit and every row has a name of its own");
}

static void test_medians_and_json(void)
{
    struct samples *s = must_alloc(sizeof(*s));
    struct limits l, again;
    FILE *f = tmpfile();
    bool good = f != NULL;

    for (unsigned i = 0; i < LIMIT_COUNT; i += 2) /* the others were not measured */
        for (unsigned round = 0; round < 5; round++)
            samples_add(s, (enum limit)i, (i + 1) * 1000 * (1 + (round * 3 + i) % 5), 1000);
    limits_of(s, &l);
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        good = good && (i % 2 == 0 ? l.ns[i] == 3 * (i + 1) : isnan(l.ns[i]));
    tell(good, "a limit is the median of its rounds");
    if (f != NULL) {
        hist_add(samples_hist(s, LIMIT_MEMORY_FIRST), 5);
        limits_json(f, s);
        rewind(f);
        good = limits_read(f, &again);
        (void)fclose(f);
    }
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        good = good && (i % 2 == 0 ? again.ns[i] == l.ns[i] : isnan(again.ns[i]));
    tell(good, "limits read back from JSON lines are those that were written");
    samples_done(s);
    free(s);
}

/* In a child that signals itself; its directory is told through a pipe. */
static void test_scratch(void)
{
    const char *dir = getenv("TMPDIR");
    char base[600] = "";
    int ends[2], status = 0;
    struct stat st;
    ssize_t got;
    pid_t child;

    if (pipe(ends) != 0)
        die("cannot make a pipe");
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        scratch_begin(dir != NULL ? dir : "/tmp");
        scratch_close(scratch_open("a", 0));
        scratch_close(scratch_open("b", 0));
        got = write(ends[1], scratch_dir(), strlen(scratch_dir()));
        (void)raise(SIGINT);
        _exit(got < 0);
    }
    (void)close(ends[1]);
    got = read(ends[0], base, sizeof(base) - 1);
    (void)close(ends[0]);
    (void)waitpid(child, &status, 0);
    tell(got > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGINT && stat(base, &st) != 0,
         "an interrupt ends the run and leaves no file");
}

int limits_selftest(void)
{
    test_positive();
    test_more_is_not_less();
    test_slower_is_not_faster();
    test_unknown();
    test_order_of_rows();
    test_by_hand();
    test_names();
    test_medians_and_json();
    test_scratch();
    (void)printf("1..%d\n", test_no);
    return failures == 0 ? 0 : 1;
}
