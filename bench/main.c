/* main.c - the command line of quern-bench. */
#include "bench.h"

#include "data.h"
#include "limits.h"
#include "sets.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHILD_OUT_FD 3

static const char help[] =
    "quern-bench [options]        measure the engines in turns; tables on standard output\n"
    "quern-bench big [options]    load, scan, count and reopen a large store with quern alone\n"
    "quern-bench list             engines, sets and workloads\n"
    "quern-bench selftest         test the bench itself (TAP)\n"
    "\n"
    "  --quick              fewer sets, a quarter of the entries, half of the time, 1 round\n"
    "  --sets A,B           see list (all)\n"
    "  --only A,B           workloads; see list (all of a set)\n"
    "  --engines A,B        see list\n"
    "  --rounds N           (5)\n"
    "  --limit-seconds S    begin no round that would end later (3540; with --quick 290)\n"
    "\n"
    "what the sets say, unless it is given:\n"
    "  --num N              entries of the set `small`, 1M; the other sets' in proportion; big: "
    "50M;\n"
    "                       k, M and G may follow\n"
    "  --threads N          of the rows whose name does not say\n"
    "  --seconds S          of each row bounded by time\n"
    "  --write-seconds S    at most, of each row bounded by count\n"
    "  --ops N              at most, of each thread of a row bounded by time\n"
    "  --cache BYTES        block cache\n"
    "  --write-buffer BYTES one memtable\n"
    "\n"
    "  --child-seconds S    an engine's turn may take no longer (300)\n"
    "  --dir DIR            stores are made below it and removed (/var/tmp); a real disk, not "
    "tmpfs\n"
    "  --json FILE          JSON lines: each row of each engine in each round, and medians\n"
    "  --limits FILE        what quern-limits wrote: each row's distance from its floor\n"
    "  --commit TEXT        what the JSON lines call the version measured\n"
    "  --seed N             of the shuffles (1)\n"
    "big also:\n"
    "  --value-bytes N      16 to 1048576 (100)\n"
    "  --memory BYTES       quern's budget (256M)\n"
    "  --order random|seq   of the load (random)\n";

/* ------------------------------------------------------------------ options -- */

enum option_name {
    OPT_HELP = 1,
    OPT_QUICK,
    OPT_SETS,
    OPT_NUM,
    OPT_VALUE_BYTES,
    OPT_THREADS,
    OPT_SECONDS,
    OPT_WRITE_SECONDS,
    OPT_OPS,
    OPT_ROUNDS,
    OPT_LIMIT_SECONDS,
    OPT_CHILD_SECONDS,
    OPT_ENGINES,
    OPT_ONLY,
    OPT_CACHE,
    OPT_WRITE_BUFFER,
    OPT_DIR,
    OPT_JSON,
    OPT_LIMITS,
    OPT_COMMIT,
    OPT_SEED,
    OPT_MEMORY,
    OPT_ORDER,
    OPT_CHILD,
    OPT_CHILD_SET,
    OPT_CHILD_DIR,
    OPT_CHILD_ROUND,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPT_HELP},
    {"quick", no_argument, NULL, OPT_QUICK},
    {"sets", required_argument, NULL, OPT_SETS},
    {"num", required_argument, NULL, OPT_NUM},
    {"value-bytes", required_argument, NULL, OPT_VALUE_BYTES},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"write-seconds", required_argument, NULL, OPT_WRITE_SECONDS},
    {"ops", required_argument, NULL, OPT_OPS},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"limit-seconds", required_argument, NULL, OPT_LIMIT_SECONDS},
    {"child-seconds", required_argument, NULL, OPT_CHILD_SECONDS},
    {"engines", required_argument, NULL, OPT_ENGINES},
    {"only", required_argument, NULL, OPT_ONLY},
    {"cache", required_argument, NULL, OPT_CACHE},
    {"write-buffer", required_argument, NULL, OPT_WRITE_BUFFER},
    {"dir", required_argument, NULL, OPT_DIR},
    {"json", required_argument, NULL, OPT_JSON},
    {"limits", required_argument, NULL, OPT_LIMITS},
    {"commit", required_argument, NULL, OPT_COMMIT},
    {"seed", required_argument, NULL, OPT_SEED},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"order", required_argument, NULL, OPT_ORDER},
    {"child", required_argument, NULL, OPT_CHILD},
    {"child-set", required_argument, NULL, OPT_CHILD_SET},
    {"child-dir", required_argument, NULL, OPT_CHILD_DIR},
    {"child-round", required_argument, NULL, OPT_CHILD_ROUND},
    {NULL, 0, NULL, 0},
};

/* Digits and perhaps one of k, M, G, each `step` times the one before. */
static uint64_t parse_number(const char *text, uint64_t step, uint64_t min, uint64_t max)
{
    uint64_t n = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && n < UINT64_C(1) << 58; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    switch (*at) {
    case 'g':
    case 'G':
        n = n > max / step ? max + 1 : n * step;
        __attribute__((fallthrough));
    case 'm':
    case 'M':
        n = n > max / step ? max + 1 : n * step;
        __attribute__((fallthrough));
    case 'k':
    case 'K':
        n = n > max / step ? max + 1 : n * step;
        at++;
        break;
    default:
        break;
    }
    if (at == text || *at != '\0' || n < min || n > max)
        die("'%s' is not a number from %" PRIu64 " to %" PRIu64, text, min, max);
    return n;
}

static uint64_t parse_count(const char *text, uint64_t min, uint64_t max)
{
    return parse_number(text, 1000, min, max);
}

static uint64_t parse_bytes(const char *text)
{
    return parse_number(text, 1024, UINT64_C(1) << 20, UINT64_C(1) << 44);
}

static double parse_seconds(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds > 0) || seconds > 1e6)
        die("'%s' is not a number of seconds", text);
    return seconds;
}

static void parse_engines(struct config *c, const char *list)
{
    char *copy = strdup(list), *rest = copy;

    c->engine_count = 0;
    for (char *name = strtok_r(rest, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        const struct engine *engine = engine_by_name(name);

        if (engine == NULL)
            die("no engine '%s': see quern-bench list", name);
        if (c->engine_count == ENGINES_MAX)
            die("too many engines");
        for (unsigned e = 0; e < c->engine_count; e++)
            if (c->engine[e] == engine)
                die("engine '%s' is named twice", name);
        c->engine[c->engine_count++] = engine;
    }
    if (c->engine_count == 0)
        die("--engines names none");
    free(copy);
}

/* Set chosen[i] for each name of `list`; `name_of` knows names 0 .. count - 1. */
static void parse_names(const char *list, const char *(*name_of)(unsigned i), unsigned count,
                        bool *chosen)
{
    char *copy = strdup(list), *rest = copy;

    memset(chosen, 0, count * sizeof(*chosen));
    for (char *name = strtok_r(rest, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        unsigned i = 0;

        while (i < count && strcmp(name_of(i), name) != 0)
            i++;
        if (i == count)
            die("there is no '%s': see quern-bench list", name);
        chosen[i] = true;
    }
    free(copy);
}

/* Rows that are measured together. */
static void complete_only(bool only[W_COUNT])
{
    only[W_BESIDE] = only[W_BESIDE_WRITER] = only[W_BESIDE] || only[W_BESIDE_WRITER];
    only[W_BESIDE_4] = only[W_BESIDE_4_WRITER] = only[W_BESIDE_4] || only[W_BESIDE_4_WRITER];
    if (only[W_LOAD] && !only[W_FILLRANDOM] && !only[W_OVERWRITE])
        only[W_FILLRANDOM] = only[W_OVERWRITE] = true;
    only[W_LOAD] = only[W_FILLRANDOM] || only[W_OVERWRITE];
}

static const char *workload_name(unsigned i)
{
    return workloads[i].name;
}

static const char *set_name(unsigned i)
{
    return sets[i].name;
}

static void set_defaults(struct config *c)
{
    *c = (struct config){
        .rounds = 5,
        .limit_seconds = 3540,
        .child_seconds = 300,
        .seed = 1,
        .dir = "/var/tmp",
        .commit = "unknown",
    };
    for (unsigned w = 0; w < W_COUNT; w++)
        c->only[w] = true;
    for (unsigned i = 0; i < set_count; i++)
        c->set[i] = !sets[i].by_name;
    for (unsigned e = 0; e < engine_count; e++)
        if (engines[e].in_bench)
            c->engine[c->engine_count++] = &engines[e];
}

static void set_quick(struct config *c)
{
    c->quick = true;
    c->rounds = 1;
    c->limit_seconds = 290;
    for (unsigned i = 0; i < set_count; i++)
        c->set[i] = sets[i].in_quick;
    c->engine_count = 0;
    for (unsigned e = 0; e < engine_count; e++)
        if (engines[e].in_quick)
            c->engine[c->engine_count++] = &engines[e];
}

struct child_args {
    const struct engine *engine;
    unsigned set_no;
    const char *dir;
    unsigned round;
};

static const struct limits *read_limits(const char *path)
{
    static struct limits limits;
    FILE *f = fopen(path, "r");

    if (f == NULL)
        die("%s: %s", path, strerror(errno));
    if (!limits_read(f, &limits))
        die("%s has no limits in it: it is to be what quern-limits --json wrote", path);
    (void)fclose(f);
    return &limits;
}

static void set_option(struct config *c, struct big_config *big, struct child_args *child,
                       int option, const char *arg)
{
    switch (option) {
    case OPT_HELP:
        (void)fputs(help, stdout);
        exit(0);
    case OPT_QUICK:
        set_quick(c);
        break;
    case OPT_SETS:
        parse_names(arg, set_name, set_count, c->set);
        break;
    case OPT_NUM:
        c->num = big->num = parse_count(arg, 1000, UINT64_C(100000000000));
        break;
    case OPT_VALUE_BYTES:
        big->value_bytes = (uint32_t)parse_count(arg, VALUE_BYTES_MIN, 1048576);
        break;
    case OPT_THREADS:
        c->threads = (unsigned)parse_count(arg, 1, 256);
        break;
    case OPT_SECONDS:
        c->seconds = parse_seconds(arg);
        break;
    case OPT_WRITE_SECONDS:
        c->write_seconds = parse_seconds(arg);
        break;
    case OPT_OPS:
        c->ops = parse_count(arg, 1, UINT64_C(1000000000000));
        break;
    case OPT_ROUNDS:
        c->rounds = (unsigned)parse_count(arg, 1, ROUNDS_MAX);
        break;
    case OPT_LIMIT_SECONDS:
        c->limit_seconds = parse_seconds(arg);
        break;
    case OPT_CHILD_SECONDS:
        c->child_seconds = parse_seconds(arg);
        break;
    case OPT_ENGINES:
        parse_engines(c, arg);
        break;
    case OPT_ONLY:
        parse_names(arg, workload_name, W_COUNT, c->only);
        complete_only(c->only);
        break;
    case OPT_CACHE:
        c->cache_bytes = parse_bytes(arg);
        break;
    case OPT_WRITE_BUFFER:
        c->write_buffer_bytes = parse_bytes(arg);
        break;
    case OPT_DIR:
        c->dir = big->dir = arg;
        break;
    case OPT_JSON:
        c->json_path = big->json_path = arg;
        break;
    case OPT_LIMITS:
        c->limits = read_limits(arg);
        break;
    case OPT_COMMIT:
        c->commit = big->commit = arg;
        break;
    case OPT_SEED:
        c->seed = parse_count(arg, 0, UINT64_C(1) << 60);
        break;
    case OPT_MEMORY:
        big->memory_bytes = parse_bytes(arg);
        break;
    case OPT_ORDER:
        if (strcmp(arg, "seq") != 0 && strcmp(arg, "random") != 0)
            die("--order is random or seq");
        big->in_order = strcmp(arg, "seq") == 0;
        break;
    case OPT_CHILD:
        child->engine = engine_by_name(arg);
        break;
    case OPT_CHILD_SET:
        child->set_no = (unsigned)parse_count(arg, 0, set_count - 1);
        break;
    case OPT_CHILD_DIR:
        child->dir = arg;
        break;
    case OPT_CHILD_ROUND:
        child->round = (unsigned)parse_count(arg, 0, ROUNDS_MAX);
        break;
    default:
        (void)fputs("see quern-bench --help\n", stderr);
        exit(2);
    }
}

static int list(const struct config *c)
{
    for (unsigned e = 0; e < engine_count; e++)
        (void)printf("%-17s %s %-16s %s\n", engines[e].name,
                     engines[e].in_quick   ? "*+"
                     : engines[e].in_bench ? "* "
                                           : "  ",
                     engines[e].adapter->version(), engines[e].what);
    (void)printf("(* measured by default, + also with --quick)\n\n");
    for (unsigned i = 0; i < set_count; i++)
        (void)printf("%-17s %s %4.0f s a turn; %s\n", sets[i].name,
                     sets[i].in_quick  ? "+"
                     : sets[i].by_name ? "-"
                                       : " ",
                     set_turn_seconds(&sets[i]), sets[i].what);
    (void)printf("(- only by --sets; rounds x engines x turns are planned for %.0f minutes)\n\n",
                 plan_seconds(c) / 60);
    for (unsigned w = 0; w < W_COUNT; w++)
        (void)printf("%-27s%s\n", workloads[w].name, workloads[w].what);
    return 0;
}

int main(int argc, char **argv)
{
    struct config config;
    struct big_config big = {.num = 50000000,
                             .value_bytes = 100,
                             .memory_bytes = UINT64_C(256) << 20,
                             .dir = "/var/tmp",
                             .commit = "unknown"};
    struct child_args child = {0};
    const char *mode;
    int option;

    set_defaults(&config);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(&config, &big, &child, option, optarg);
    mode = optind < argc ? argv[optind] : "bench";
    if (optind + 1 < argc)
        die("'%s' is one word too many", argv[optind + 1]);
    if (child.engine != NULL && child.dir != NULL) {
        child_run(&config, child.set_no, child.engine, child.dir, child.round, CHILD_OUT_FD);
        return 0;
    }
    if (strcmp(mode, "bench") == 0)
        return rounds_run(&config, argc, argv);
    if (strcmp(mode, "big") == 0)
        return big_run(&big);
    if (strcmp(mode, "list") == 0)
        return list(&config);
    if (strcmp(mode, "selftest") == 0)
        return selftest_run();
    die("'%s' is not bench, big, list or selftest", mode);
}
