/* main.c - rounds: a child opens the store, verifies it and works on it until it is killed, from
 * outside at a random moment or by itself inside a call (cut.c), or until it has closed the store.
 *
 *     quern-stress [--seconds N | --rounds N] [--seed S] [--dir DIR] [--keys N] [--threads N]
 *                  [--tap]
 *     quern-stress --verify DIR    compare a store that was kept with what it should hold
 *
 * DIR holds `store` and `expected`. The seed decides options, operations and the moments of the
 * kills; how threads take turns it cannot. On a failure DIR is kept and the command that repeats it
 * is printed; the exit status is 1. The last line says how much was done. */
#include "stress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STUCK_MS 600000u /* not a speed that is asked for: nothing takes so long but a deadlock */

struct run {
    uint64_t seed, rounds;
    unsigned seconds;
    uint32_t keys, threads;
    const char *dir, *verify;
    bool tap, own_dir;
    uint64_t killed, cut; /* from outside; by itself inside a call */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- a round ---- */

/* `kill_ms`: when to kill it from outside; 0: never. */
static struct plan plan_of(const struct run *r, uint64_t round, unsigned *kill_ms)
{
    static const unsigned sync_one_in[] = {0, 1, 3, 30, 1000};
    uint64_t x = mix(r->seed, round);
    struct plan p = {.seed = draw(&x, UINT64_MAX)};

    p.sync_one_in = sync_one_in[draw(&x, 5)];
    p.run_ms = 20 + (unsigned)draw(&x, 1u << (5 + draw(&x, 6)));
    *kill_ms = 0;
    switch (draw(&x, 5)) {
    case 0: /* ends by itself */
        break;
    case 1:
    case 2: /* whole lives are short: some kills come while it opens, some while it closes */
        *kill_ms = 1 + (unsigned)draw(&x, 1u << (3 + draw(&x, 8)));
        p.run_ms = 2000;
        break;
    default:
        p.cut_at = 1 + draw(&x, UINT64_C(1) << draw(&x, 12));
        p.run_ms = 1000;
    }
    return p;
}

/* The wait status; the child is killed when its time has come. */
static int await(pid_t child, unsigned kill_ms, bool *stuck)
{
    uint64_t began = now_ms();
    struct timespec nap = {0, 500000};
    int status = 0;

    *stuck = false;
    while (waitpid(child, &status, WNOHANG) == 0) {
        uint64_t gone = now_ms() - began;

        *stuck = gone >= STUCK_MS;
        if (*stuck || (kill_ms != 0 && gone >= kill_ms))
            (void)kill(child, *stuck ? SIGABRT : SIGKILL);
        (void)nanosleep(&nap, NULL);
    }
    return status;
}

/* False: something is wrong, and has been said. */
static bool run_round(struct run *r, struct expected *x, uint64_t round)
{
    unsigned kill_ms;
    struct plan plan = plan_of(r, round, &kill_ms);
    bool stuck;
    pid_t child;
    int status;

    (void)fflush(stdout);
    child = fork(); /* the parent never opens a store, so nothing is lost in a fork */
    if (child == 0) {
        int code = child_run(x, r->dir, &plan);

        (void)fflush(stdout);
        if (code != 0)
            _exit(code); /* the store is still open */
        exit(0);         /* leaks are looked for */
    }
    if (child < 0)
        return failed(x, "fork");
    status = await(child, kill_ms, &stuck);
    if (stuck)
        return failed(x, "round %" PRIu64 " stands still", round);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        r->cut += plan.cut_at != 0;
        r->killed += plan.cut_at == 0;
        return true;
    }
    if (WIFSIGNALED(status))
        return failed(x, "round %" PRIu64 " ended by signal %d", round, WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ||
           failed(x, "round %" PRIu64 " ended with status %d", round, WEXITSTATUS(status));
}

/* ---- all of them ---- */

static void say_how_to_repeat(const struct run *r, const char *program, uint64_t rounds)
{
    (void)printf("# repeat: %s --seed %" PRIu64 " --rounds %" PRIu64 " --keys %" PRIu32
                 " --threads %" PRIu32 "\n# look at what was kept: %s --verify %s\n",
                 program, r->seed, rounds, r->keys, r->threads, program, r->dir);
}

static int run_all(struct run *r, const char *program)
{
    char path[600];
    struct expected *x;
    uint64_t end = now_ms() + r->seconds * UINT64_C(1000), round = 0;
    bool fine = true;

    (void)snprintf(path, sizeof(path), "%s/expected", r->dir);
    x = expected_open(path, r->keys, r->threads);
    if (x == NULL)
        return 1;
    while (fine && (r->rounds != 0 ? round < r->rounds : now_ms() < end))
        fine = run_round(r, x, round++);
    if (!fine)
        say_how_to_repeat(r, program, round);
    (void)printf("# stress: lives %" PRIu64 ", operations %" PRIu64 ", kills %" PRIu64
                 ", crash points %" PRIu64 ", restarts %" PRIu64 ", keys verified %" PRIu64
                 ", checkpoints %" PRIu64 ", writes refused %" PRIu64
                 ", databases moved or emptied %" PRIu64 "\n",
                 round, atomic_load(&x->tally.operations), r->killed, r->cut,
                 atomic_load(&x->tally.opens), atomic_load(&x->tally.verified),
                 atomic_load(&x->tally.checkpoints), atomic_load(&x->tally.refused),
                 atomic_load(&x->tally.whole));
    if (r->tap)
        (void)printf("%s 1 - what was acknowledged is there after each kill\n1..1\n",
                     fine ? "ok" : "not ok");
    expected_close(x);
    if (fine && r->own_dir)
        remove_tree(r->dir);
    return fine ? 0 : 1;
}

static int verify(const char *dir)
{
    struct plan plan = {.seed = 0x10, .look_only = true}; /* tables are verified too */
    struct expected *x;
    char path[600];
    int code;

    (void)snprintf(path, sizeof(path), "%s/expected", dir);
    if (access(path, R_OK) != 0) {
        perror(path);
        return 1;
    }
    x = expected_open(path, 0, 0);
    if (x == NULL)
        return 1;
    atomic_store(&x->failed, false);
    code = child_run(x, dir, &plan);
    (void)printf("%s: %s\n", dir, code == 0 ? "as expected" : "not as expected");
    expected_close(x);
    return code;
}

static int usage(void)
{
    (void)fputs("usage: quern-stress [--seconds N | --rounds N] [--seed S] [--dir DIR] [--keys N] "
                "[--threads N] [--tap]\n       quern-stress --verify DIR\n",
                stderr);
    return 2;
}

static bool parse(struct run *r, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(name, "--tap") == 0) {
            r->tap = true;
            continue;
        }
        if (value == NULL)
            return false;
        i++;
        if (strcmp(name, "--seconds") == 0)
            r->seconds = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--rounds") == 0)
            r->rounds = strtoull(value, NULL, 10);
        else if (strcmp(name, "--seed") == 0)
            r->seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--keys") == 0)
            r->keys = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(name, "--threads") == 0)
            r->threads = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(name, "--dir") == 0)
            r->dir = value;
        else if (strcmp(name, "--verify") == 0)
            r->verify = value;
        else
            return false;
    }
    return r->threads > 0 && r->threads <= THREADS_MAX && r->keys >= 1024;
}

int main(int argc, char **argv)
{
    struct run r = {.seconds = 10,
                    .keys = 4096,
                    .threads = 4,
                    .seed = now_ms() * 1000003u + (uint64_t)getpid()};
    char own[300];
    uint32_t unit;

    if (!parse(&r, argc, argv))
        return usage();
    if (r.verify != NULL)
        return verify(r.verify);
    unit = BLOCK_KEYS * r.threads * DATABASES;
    r.keys = (r.keys + unit - 1) / unit * unit; /* whole blocks for each thread in each */
    if (r.dir == NULL) {
        (void)snprintf(own, sizeof(own), "%s/quern-stress-XXXXXX",
                       getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
        r.dir = mkdtemp(own);
        r.own_dir = true;
        if (r.dir == NULL) {
            perror(own);
            return 1;
        }
    }
    return run_all(&r, argv[0]);
}
