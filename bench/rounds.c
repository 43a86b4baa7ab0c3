/* rounds.c - set by set, the engines in turns: each in a child process with a directory of its own.
 *
 *     round 1   quern  rocksdb  leveldb  lmdb
 *     round 2   rocksdb  leveldb  lmdb  quern       the first one rotates
 *     round 3   leveldb  lmdb  quern  rocksdb
 *
 * A set has all its rounds before the next one begins, so the turns that make one ratio lie no
 * further apart than one round of one set. A child sends its rows through a pipe. One that dies or
 * takes too long loses its round for that engine, and the run ends with status 1. Whatever happens
 * the directory is removed, on SIGINT and SIGTERM too.
 *
 * Time is bounded. Each set may have that part of the time left which the plan gives it among the
 * sets left; it begins no round that would end later if it took as long as its longest. */
#include "bench.h"

#include "clock.h"
#include "fence.h"
#include "report.h"
#include "sets.h"
#include "usage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_OUT_FD 3
#define CHILD_ARGS 8

static volatile sig_atomic_t told_to_stop;

/* What stays the same from the first turn to the last. */
struct run {
    const struct config *config;
    int argc; /* to start the children with */
    char **argv;
    uint64_t begun_ns;
    char base[400]; /* the run's own directory */
    char machine[256];
    bool fenced;
    FILE *json;
};

static void on_signal(int signal_no)
{
    (void)signal_no;
    told_to_stop = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: poll() wakes */

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* Start this program again as the child that measures `engine` with one set; *rows_fd is the pipe's
 * reading end. */
static pid_t child_start(const struct run *run, const struct engine *engine, unsigned set_no,
                         const char *dir, unsigned round, int *rows_fd)
{
    char round_text[16], set_text[16];
    char **args = must_alloc(((size_t)run->argc + CHILD_ARGS + 1) * sizeof(*args));
    char *more[CHILD_ARGS] = {
        "--child",     (char *)(uintptr_t)engine->name, "--child-set",   set_text,
        "--child-dir", (char *)(uintptr_t)dir,          "--child-round", round_text};
    int fds[2];
    pid_t pid;

    (void)snprintf(round_text, sizeof(round_text), "%u", round);
    (void)snprintf(set_text, sizeof(set_text), "%u", set_no);
    memcpy(args, run->argv, (size_t)run->argc * sizeof(*args));
    memcpy(args + run->argc, more, sizeof(more));
    if (pipe2(fds, O_CLOEXEC) != 0)
        die("pipe: %s", strerror(errno));
    (void)fflush(NULL);
    pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (fds[1] == CHILD_OUT_FD)
            (void)fcntl(CHILD_OUT_FD, F_SETFD, 0);
        else
            (void)dup2(fds[1], CHILD_OUT_FD);
        (void)execv("/proc/self/exe", args);
        _exit(127);
    }
    (void)close(fds[1]);
    free(args);
    *rows_fd = fds[0];
    return pid;
}

/* One row, whole. False: the child has no more to say, or its time is over, or a signal came. */
static bool next_row(int fd, uint64_t deadline_ns, struct row *row)
{
    size_t have = 0;

    while (have < sizeof(*row)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_ns();
        ssize_t got;

        if (told_to_stop || now >= deadline_ns)
            return false;
        if (poll(&p, 1, (int)((deadline_ns - now) / 1000000) + 1) <= 0)
            continue;
        got = read(fd, (uint8_t *)row + have, sizeof(*row) - have);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return row->workload < W_COUNT;
}

static bool child_reap(pid_t pid, uint64_t deadline_ns, const char *name)
{
    int status = 0;

    /* The pipe is at its end, so the child is about to exit, or overdue. */
    if (told_to_stop || clock_ns() >= deadline_ns) {
        if (!told_to_stop)
            (void)fprintf(stderr, "quern-bench: %s took too long and was ended\n", name);
        (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        if (told_to_stop)
            (void)kill(pid, SIGKILL);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !told_to_stop)
        (void)fprintf(stderr, " (killed: out of memory?)");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* One engine's turn. False: it failed, and has no rows in this round. */
static bool turn(const struct run *run, struct results *r, unsigned round, unsigned e)
{
    const struct config *c = run->config;
    const struct engine *engine = c->engine[e];
    uint64_t deadline = clock_ns() + (uint64_t)(c->child_seconds * 1e9);
    char dir[512];
    struct row row;
    pid_t pid;
    int fd;
    bool good;

    (void)snprintf(dir, sizeof(dir), "%s/%s", run->base, engine->name);
    if (mkdir(dir, 0755) != 0)
        die("%s: %s", dir, strerror(errno));
    (void)fprintf(stderr, "%s, round %u, %s:", r->set.name, round + 1, engine->name);
    pid = child_start(run, engine, r->set_no, dir, round, &fd);
    while (next_row(fd, deadline, &row)) {
        r->row[round][e][row.workload] = row;
        r->have[round][e][row.workload] = true;
        (void)fprintf(stderr, " %s %.1fk", workloads[row.workload].name, row.ops_per_s / 1e3);
    }
    good = child_reap(pid, deadline, engine->name);
    (void)fprintf(stderr, "%s\n", good ? "" : " FAILED");
    if (!good)
        memset(r->have[round][e], 0, sizeof(r->have[round][e]));
    (void)close(fd);
    fence_remove(pid);
    usage_remove_tree(dir);
    return good;
}

/* All rounds of one set. False: an engine failed in one of them. */
static bool set_rounds(const struct run *run, struct results *r, double seconds_max)
{
    const struct config *c = r->config;
    uint64_t begun = clock_ns(), longest = 0;
    bool good = true;

    while (r->rounds < c->rounds && !told_to_stop) {
        uint64_t round_begun = clock_ns(), took;

        if (r->rounds > 0 && (double)(round_begun - begun + longest) / 1e9 > seconds_max) {
            (void)fprintf(stderr, "quern-bench: %s: no time for another round\n", r->set.name);
            break;
        }
        for (unsigned i = 0; i < c->engine_count && !told_to_stop; i++)
            good = turn(run, r, r->rounds, (i + r->rounds) % c->engine_count) && good;
        took = clock_ns() - round_begun;
        longest = took > longest ? took : longest;
        r->rounds++;
    }
    r->seconds = (double)(clock_ns() - begun) / 1e9;
    return good;
}

static double planned_from(const struct config *c, unsigned set_no)
{
    double sum = 0;

    for (unsigned i = set_no; i < set_count; i++) {
        struct set s = set_for(c, i);

        if (c->set[i])
            sum += set_turn_seconds(&s);
    }
    return sum;
}

static FILE *json_open(const char *path)
{
    FILE *f = path != NULL ? fopen(path, "we") : NULL;

    if (path != NULL && f == NULL)
        die("%s: %s", path, strerror(errno));
    return f;
}

static bool json_close(FILE *f, const char *path)
{
    bool written = f == NULL || ferror(f) == 0;

    if (f != NULL)
        written = fclose(f) == 0 && written;
    if (!written)
        (void)fprintf(stderr, "quern-bench: %s: not all could be written\n", path);
    return written;
}

/* One set from its first turn to its tables. False: something failed. */
static bool set_run(const struct run *run, unsigned set_no)
{
    const struct config *c = run->config;
    struct results *r = must_alloc(sizeof(*r));
    double left = c->limit_seconds - (double)(clock_ns() - run->begun_ns) / 1e9;
    bool good = true;

    r->config = c;
    r->machine = run->machine;
    r->fenced = run->fenced;
    r->set_no = set_no;
    r->set = set_for(c, set_no);
    if (r->set.steps[0].seconds > 0) {
        good = set_rounds(run, r, left * set_turn_seconds(&r->set) / planned_from(c, set_no));
        if (!told_to_stop) {
            report_set(r);
            report_json(run->json, r);
        }
    }
    free(r);
    return good;
}

int rounds_run(const struct config *config, int argc, char **argv)
{
    struct run run = {.config = config, .argc = argc, .argv = argv, .begun_ns = clock_ns()};
    bool good = true;

    run.json = json_open(config->json_path);
    run.fenced = fence_is_possible();
    if (snprintf(run.base, sizeof(run.base), "%s/quern-bench-XXXXXX", config->dir) >=
        (int)sizeof(run.base))
        die("--dir is too long");
    if (mkdtemp(run.base) == NULL)
        die("%s: %s", run.base, strerror(errno));
    catch_signals();
    usage_machine(run.base, run.machine, sizeof(run.machine));
    report_head(config, run.machine);
    for (unsigned i = 0; i < set_count && !told_to_stop; i++)
        if (config->set[i])
            good = set_run(&run, i) && good;
    usage_remove_tree(run.base);
    good = json_close(run.json, config->json_path) && good;
    if (told_to_stop)
        return 130;
    (void)printf("%.0f seconds in all\n", (double)(clock_ns() - run.begun_ns) / 1e9);
    return good ? 0 : 1;
}
