/* main.c - quern-limits: measure what this machine can do at best, and say what that means for the
 * rows of quern-bench.
 *
 * All probes are set up, then run in rounds until the time is over, so that each limit is taken at
 * several moments: a machine that is shared is not equally fast in all of them. */
#include "floors.h"
#include "scratch.h"

#include "bench.h"
#include "clock.h"
#include "json.h"
#include "usage.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "quern-limits [options]       measure; two tables on standard output: limits, and floors of "
    "rows\n"
    "quern-limits selftest        test the models and the bookkeeping (TAP)\n"
    "\n"
    "  --dir DIR            files of 0.4 GiB are made below it and removed (/var/tmp); not tmpfs\n"
    "  --seconds S          in all; at least one round is done (50)\n"
    "  --json FILE          one JSON line for each limit and floor\n"
    "  --from FILE          limits from an earlier --json; measure nothing\n"
    "  --num N              entries that the floors are for (1000000)\n"
    "  --commit TEXT        what the JSON lines call the version measured\n";

struct options {
    const char *dir, *json_path, *from_path, *commit;
    double seconds;
    uint64_t num;
};

static const struct probe *const probes[] = {&probe_memory, &probe_log,    &probe_sync, &probe_disk,
                                             &probe_block,  &probe_thread, &probe_store};
#define PROBES (sizeof(probes) / sizeof(probes[0]))

/* The shapes of docs/benchmarks.md. */
static const struct {
    uint32_t key_bytes, value_bytes;
} shapes[] = {{16, 100}, {16, 1000}, {40, 400}};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* ------------------------------------------------------------------ measuring -- */

/* Returns the number of rounds. */
static unsigned measure(const struct options *o, struct samples *s)
{
    uint64_t begun = clock_ns(), round_begun, longest = 0;
    unsigned rounds = 0;

    scratch_begin(o->dir);
    for (unsigned i = 0; i < PROBES; i++)
        probes[i]->setup();
    usage_flush_disk(scratch_dir());
    do {
        round_begun = clock_ns();
        for (unsigned i = 0; i < PROBES; i++)
            probes[i]->round(s);
        rounds++;
        if (clock_ns() - round_begun > longest)
            longest = clock_ns() - round_begun;
    } while (rounds < ROUNDS_AT_MOST && (double)(clock_ns() - begun + longest) < o->seconds * 1e9);
    scratch_remove();
    (void)printf("%u rounds, %.0f seconds; medians, and in brackets the least and the most\n\n",
                 rounds, (double)(clock_ns() - begun) / 1e9);
    return rounds;
}

/* ------------------------------------------------------------------ telling -- */

static void rate_cell(double ns)
{
    if (isnan(ns))
        (void)printf("  %12s", "-");
    else
        (void)printf("  %12.1f", 1e6 / ns);
}

static void floors_table(const struct limits *l, uint64_t num)
{
    (void)printf("\nfloors for %" PRIu64 " entries, thousand ops a second\n%-24s", num,
                 "key + value");
    for (unsigned i = 0; i < SHAPES; i++)
        (void)printf("  %5" PRIu32 " + %4" PRIu32, shapes[i].key_bytes, shapes[i].value_bytes);
    (void)printf("  %12s  model\n", "a program *");
    for (unsigned r = 0; r < floor_row_count; r++) {
        const struct floor_row *row = &floor_rows[r];

        (void)printf("%-24s", row->name);
        for (unsigned i = 0; i < SHAPES; i++) {
            struct floor_shape shape = {num, shapes[i].key_bytes, shapes[i].value_bytes};

            rate_cell(floor_ns(l, row->name, &shape));
        }
        if (row->program != LIMIT_COUNT)
            rate_cell(l->ns[row->program]);
        else
            (void)printf("  %12s", "");
        (void)printf("  %s\n", row->model);
    }
    (void)printf("* that does this and nothing else, measured with 1M entries of 16 + 100\n");
}

static void floors_json(FILE *f, const struct limits *l, uint64_t num)
{
    for (unsigned r = 0; r < floor_row_count; r++)
        for (unsigned i = 0; i < SHAPES; i++) {
            struct floor_shape shape = {num, shapes[i].key_bytes, shapes[i].value_bytes};
            double ns = floor_ns(l, floor_rows[r].name, &shape);

            if (!isnan(ns))
                (void)fprintf(f,
                              "{\"floor\":\"%s\",\"num\":%" PRIu64 ",\"key_bytes\":%" PRIu32
                              ",\"value_bytes\":%" PRIu32 ",\"ns\":%.6g,\"ops_per_s\":%.6g}\n",
                              floor_rows[r].name, num, shape.key_bytes, shape.value_bytes, ns,
                              1e9 / ns);
        }
}

static void write_json(const struct options *o, const struct samples *s, const struct limits *l,
                       const char *machine, unsigned rounds)
{
    FILE *f = fopen(o->json_path, "w");

    if (f == NULL)
        die("%s: %s", o->json_path, strerror(errno));
    (void)fprintf(f, "{\"run\":\"limits\",\"rounds\":%u,\"commit\":", rounds);
    json_string(f, o->commit);
    (void)fprintf(f, ",\"machine\":");
    json_string(f, machine);
    (void)fprintf(f, "}\n");
    limits_json(f, s);
    floors_json(f, l, o->num);
    if (fclose(f) != 0)
        die("%s: %s", o->json_path, strerror(errno));
}

static void run(const struct options *o)
{
    struct samples *s = must_alloc(sizeof(*s));
    struct limits limits;
    char machine[256];
    unsigned rounds;

    usage_machine(o->dir, machine, sizeof(machine));
    (void)printf("%s\ncommit %s\n", machine, o->commit);
    (void)fflush(stdout);
    rounds = measure(o, s);
    limits_of(s, &limits);
    limits_table(s);
    floors_table(&limits, o->num);
    if (o->json_path != NULL)
        write_json(o, s, &limits, machine, rounds);
    samples_done(s);
    free(s);
}

static void run_from(const struct options *o)
{
    FILE *f = fopen(o->from_path, "r");
    struct limits limits;

    if (f == NULL)
        die("%s: %s", o->from_path, strerror(errno));
    if (!limits_read(f, &limits))
        die("%s has no limits", o->from_path);
    (void)fclose(f);
    floors_table(&limits, o->num);
}

/* ------------------------------------------------------------------ options -- */

enum option_name {
    OPT_HELP = 1,
    OPT_DIR,
    OPT_SECONDS,
    OPT_JSON,
    OPT_FROM,
    OPT_NUM,
    OPT_COMMIT,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPT_HELP},
    {"dir", required_argument, NULL, OPT_DIR},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"json", required_argument, NULL, OPT_JSON},
    {"from", required_argument, NULL, OPT_FROM},
    {"num", required_argument, NULL, OPT_NUM},
    {"commit", required_argument, NULL, OPT_COMMIT},
    {NULL, 0, NULL, 0},
};

static double parse_number(const char *text, double min, double max)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || *end != '\0' || !(number >= min && number <= max))
        die("'%s' is not a number from %.0f to %.0f", text, min, max);
    return number;
}

static void set_option(struct options *o, int option, const char *arg)
{
    switch (option) {
    case OPT_HELP:
        (void)fputs(help, stdout);
        exit(0);
    case OPT_DIR:
        o->dir = arg;
        break;
    case OPT_SECONDS:
        o->seconds = parse_number(arg, 0, 3600);
        break;
    case OPT_JSON:
        o->json_path = arg;
        break;
    case OPT_FROM:
        o->from_path = arg;
        break;
    case OPT_NUM:
        o->num = (uint64_t)parse_number(arg, 1000, 1e12);
        break;
    case OPT_COMMIT:
        o->commit = arg;
        break;
    default:
        (void)fputs("see quern-limits --help\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.dir = "/var/tmp", .commit = "unknown", .seconds = 50, .num = 1000000};
    int option;

    before_death = scratch_remove;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(&o, option, optarg);
    if (optind < argc && strcmp(argv[optind], "selftest") == 0)
        return limits_selftest();
    if (optind < argc)
        die("'%s' is not selftest", argv[optind]);
    if (o.from_path != NULL)
        run_from(&o);
    else
        run(&o);
    return 0;
}
