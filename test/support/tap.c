/* tap.c - the small harness; see tap.h. Holds main(). */
#include "tap.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DIRS_MAX 16

static struct tap_test *tests;
static bool failed;
static uint64_t seed;
static char dirs[DIRS_MAX][256];
static int dir_count;

void tap_register(struct tap_test *t)
{
    struct tap_test **at = &tests;

    while (*at != NULL)
        at = &(*at)->next;
    *at = t;
}

void tap_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    failed = true;
    printf("# %s:%d: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    if (seed != 0)
        printf("# repeat with TEST_SEED=%" PRIu64 "\n", seed);
    (void)fflush(stdout);
}

void tap_note(const char *format, ...)
{
    va_list args;

    printf("# ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    (void)fflush(stdout);
}

uint64_t tap_seed(void)
{
    const char *given = getenv("TEST_SEED");

    if (given != NULL)
        seed = strtoull(given, NULL, 10);
    while (seed == 0) {
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        seed = ((uint64_t)now.tv_nsec << 20) ^ (uint64_t)now.tv_sec ^ ((uint64_t)getpid() << 40);
    }
    return seed;
}

const char *tap_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *at = dirs[dir_count];

    if (dir_count == DIRS_MAX)
        abort();
    (void)snprintf(at, sizeof(dirs[0]), "%s/quern-test-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(at) == NULL) {
        perror(at);
        abort();
    }
    dir_count++;
    return at;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_dirs(void)
{
    while (dir_count > 0)
        (void)nftw(dirs[--dir_count], remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool tap_bytes_are(struct quern_slice s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.data, text, s.len) == 0);
}

static bool wanted(const char *name, int argc, char **argv)
{
    if (argc < 2)
        return true;
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    int count = 0, bad = 0;

    if (argc == 2 && strcmp(argv[1], "-l") == 0) {
        for (struct tap_test *t = tests; t != NULL; t = t->next)
            printf("%s\n", t->name);
        return 0;
    }
    for (struct tap_test *t = tests; t != NULL; t = t->next) {
        if (!wanted(t->name, argc, argv))
            continue;
        failed = false;
        seed = 0;
        t->body();
        remove_dirs();
        printf("%s %d - %s\n", failed ? "not ok" : "ok", ++count, t->name);
        (void)fflush(stdout);
        bad += failed;
    }
    printf("1..%d\n", count);
    return bad != 0;
}
