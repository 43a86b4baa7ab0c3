/* main.c - the command line of quern-bench. */
#include "bench.h"

#include "data.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHILD_OUT_FD 3

static const char help[] =
    "quern-bench [options]        measure the engines in turns; a table on standard output\n"
    "quern-bench big [options]    load, scan, count and reopen a large store with quern alone\n"
    "quern-bench list             engines and workloads\n"
    "quern-bench selftest         test the bench itself (TAP)\n"
    "\n"
    "  --quick              200 k entries, 1 s, 1 round, fewer engines: about two minutes\n"
    "  --num N              entries (1M; big: 50M); k, M and G may follow\n"
    "  --value-bytes N      16 to 1048576 (100)\n"
    "  --random-keys        16 random bytes instead of 16 digits\n"
    "  --threads N          of all rows but fillsync, fillsync-16 and the writer (1)\n"
    "  --seconds S          of each row bounded by time (3)\n"
    "  --write-seconds S    at most, of fillseq, overwrite and deleterandom (60)\n"
    "  --overwrites N       passes of overwrite over all keys (1)\n"
    "  --rounds N           (3)\n"
    "  --limit-seconds S    begin no round that would end later (1700)\n"
    "  --child-seconds S    an engine's turn may take no longer (600)\n"
    "  --engines A,B        see list\n"
    "  --only A,B           workloads; see list\n"
    "  --cache BYTES        block cache (256M)\n"
    "  --write-buffer BYTES one memtable (64M)\n"
    "  --dir DIR            stores are made below it and removed (/var/tmp); a real disk, not "
    "tmpfs\n"
    "  --json FILE          one JSON line for each workload and engine\n"
    "  --commit TEXT        what the JSON lines call the version measured\n"
    "  --seed N             of the shuffles (1)\n"
    "big also:\n"
    "  --memory BYTES       quern's budget (256M)\n"
    "  --order random|seq   of the load (random)\n";

_Noreturn void die(const char *format, ...)
{
    va_list args;

    (void)fflush(stdout);
    (void)fputs("quern-bench: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    /* Threads of an engine may be running: no destructors. */
    _exit(1);
}

void *must_alloc(size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);

    if (p == NULL)
        die("no memory for %zu bytes", bytes);
    return p;
}

/* ------------------------------------------------------------------ options -- */

enum option_name {
    OPT_HELP = 1,
    OPT_QUICK,
    OPT_NUM,
    OPT_VALUE_BYTES,
    OPT_RANDOM_KEYS,
    OPT_THREADS,
    OPT_SECONDS,
    OPT_WRITE_SECONDS,
    OPT_OVERWRITES,
    OPT_ROUNDS,
    OPT_LIMIT_SECONDS,
    OPT_CHILD_SECONDS,
    OPT_ENGINES,
    OPT_ONLY,
    OPT_CACHE,
    OPT_WRITE_BUFFER,
    OPT_DIR,
    OPT_JSON,
    OPT_COMMIT,
    OPT_SEED,
    OPT_MEMORY,
    OPT_ORDER,
    OPT_CHILD,
    OPT_CHILD_DIR,
    OPT_CHILD_ROUND,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPT_HELP},
    {"quick", no_argument, NULL, OPT_QUICK},
    {"num", required_argument, NULL, OPT_NUM},
    {"value-bytes", required_argument, NULL, OPT_VALUE_BYTES},
    {"random-keys", no_argument, NULL, OPT_RANDOM_KEYS},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"write-seconds", required_argument, NULL, OPT_WRITE_SECONDS},
    {"overwrites", required_argument, NULL, OPT_OVERWRITES},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"limit-seconds", required_argument, NULL, OPT_LIMIT_SECONDS},
    {"child-seconds", required_argument, NULL, OPT_CHILD_SECONDS},
    {"engines", required_argument, NULL, OPT_ENGINES},
    {"only", required_argument, NULL, OPT_ONLY},
    {"cache", required_argument, NULL, OPT_CACHE},
    {"write-buffer", required_argument, NULL, OPT_WRITE_BUFFER},
    {"dir", required_argument, NULL, OPT_DIR},
    {"json", required_argument, NULL, OPT_JSON},
    {"commit", required_argument, NULL, OPT_COMMIT},
    {"seed", required_argument, NULL, OPT_SEED},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"order", required_argument, NULL, OPT_ORDER},
    {"child", required_argument, NULL, OPT_CHILD},
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

static void parse_only(struct config *c, const char *list)
{
    char *copy = strdup(list), *rest = copy;

    memset(c->only, 0, sizeof(c->only));
    for (char *name = strtok_r(rest, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        unsigned w = 0;

        while (w < W_COUNT && strcmp(workload_names[w], name) != 0)
            w++;
        if (w == W_COUNT)
            die("no workload '%s': see quern-bench list", name);
        c->only[w] = true;
    }
    /* They are measured together. */
    if (c->only[W_READWHILEWRITING] || c->only[W_WRITER])
        c->only[W_READWHILEWRITING] = c->only[W_WRITER] = true;
    if (c->only[W_FILLRANDOM] || c->only[W_OVERWRITE])
        c->only[W_LOAD] = true;
    free(copy);
}

static void set_defaults(struct config *c)
{
    *c = (struct config){
        .num = 1000000,
        .value_bytes = 100,
        .threads = 1,
        .overwrites = 1,
        .rounds = 3,
        .seconds = 3,
        .write_seconds = 60,
        .limit_seconds = 1700,
        .child_seconds = 600,
        .cache_bytes = UINT64_C(256) << 20,
        .write_buffer_bytes = UINT64_C(64) << 20,
        .seed = 1,
        .dir = "/var/tmp",
        .commit = "unknown",
    };
    for (unsigned w = 0; w < W_COUNT; w++)
        c->only[w] = true;
    for (unsigned e = 0; e < engine_count; e++)
        if (engines[e].in_bench)
            c->engine[c->engine_count++] = &engines[e];
}

static void set_quick(struct config *c)
{
    c->num = 200000;
    c->seconds = 1;
    c->rounds = 1;
    c->child_seconds = 100;
    c->engine_count = 0;
    for (unsigned e = 0; e < engine_count; e++)
        if (engines[e].in_quick)
            c->engine[c->engine_count++] = &engines[e];
}

struct child_args {
    const struct engine *engine;
    const char *dir;
    unsigned round;
};

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
    case OPT_NUM:
        c->num = big->num = parse_count(arg, 1000, UINT64_C(100000000000));
        break;
    case OPT_VALUE_BYTES:
        c->value_bytes = big->value_bytes = (uint32_t)parse_count(arg, VALUE_BYTES_MIN, 1048576);
        break;
    case OPT_RANDOM_KEYS:
        c->random_keys = true;
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
    case OPT_OVERWRITES:
        c->overwrites = (unsigned)parse_count(arg, 1, 1000);
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
        parse_only(c, arg);
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

static int list(void)
{
    for (unsigned e = 0; e < engine_count; e++)
        (void)printf("%-17s %s %-16s %s\n", engines[e].name,
                     engines[e].in_quick   ? "*+"
                     : engines[e].in_bench ? "* "
                                           : "  ",
                     engines[e].adapter->version(), engines[e].what);
    (void)printf("(* measured by default, + also with --quick)\n\n");
    for (unsigned w = 0; w < W_COUNT; w++)
        (void)printf("%s\n", workload_names[w]);
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
    struct child_args child = {NULL, NULL, 0};
    const char *mode;
    int option;

    set_defaults(&config);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(&config, &big, &child, option, optarg);
    mode = optind < argc ? argv[optind] : "bench";
    if (optind + 1 < argc)
        die("'%s' is one word too many", argv[optind + 1]);
    if (child.engine != NULL && child.dir != NULL) {
        child_run(&config, child.engine, child.dir, child.round, CHILD_OUT_FD);
        return 0;
    }
    if (strcmp(mode, "bench") == 0)
        return rounds_run(&config, argc, argv);
    if (strcmp(mode, "big") == 0)
        return big_run(&big);
    if (strcmp(mode, "list") == 0)
        return list();
    if (strcmp(mode, "selftest") == 0)
        return selftest_run();
    die("'%s' is not bench, big, list or selftest", mode);
}
