/* embed.c - a small program that embeds the library, for test_kernel.py: it says on stdout, a line
 * at a time and at once, what the store acknowledged, so that a test can hold it to that
 * afterwards.
 *
 *     embed DIR put FROM TO BYTES [sync]     stops at the first refusal
 *     embed DIR insist FROM TO BYTES         waits out a full disk
 *     embed DIR check FROM TO BYTES          which keys are there, and are they whole?
 *     embed DIR flush FROM TO BYTES          as put, a flush after each hundred
 *     embed DIR churn SECONDS                overwrite for a while
 *     embed DIR fork                         what a child gets to hear
 *     embed DIR checkpoint TO                a copy beside
 *
 * Values tell their key and are BYTES long, or of any length when BYTES is 0. Exit: 0 done, 1
 * refused (the last line says why), 2 something was wrong. */
#include <quern/quern.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VALUE_MAX 65536u
#define PATIENCE_S 60

static struct quern *db;

static int refused(const char *what, const struct quern_error *err)
{
    printf("refused %s %s: %s\n", what, quern_code_name(err->code), err->text);
    return 1;
}

static struct quern_slice key_of(unsigned n)
{
    static char text[24];

    (void)snprintf(text, sizeof(text), "key-%08u", n);
    return QUERN_STR(text);
}

static struct quern_slice value_of(unsigned n, unsigned version, size_t len)
{
    static char text[VALUE_MAX];
    size_t at = (size_t)snprintf(text, sizeof(text), "%08u %08u ", n, version);

    for (; at < len; at++)
        text[at] = (char)('a' + (n + version + at / 7) % 26);
    return (struct quern_slice){text, len};
}

/* Any whole value of this key; 0 for a length that may be any. */
static bool is_whole(unsigned n, size_t len, const struct quern_value *got)
{
    unsigned key, version;
    char head[19] = {0};

    if (got->len < 18 || (len != 0 && got->len != len))
        return false;
    memcpy(head, got->data, 18);
    return sscanf(head, "%8u %8u ", &key, &version) == 2 && key == n &&
           memcmp(value_of(n, version, got->len).data, got->data, got->len) == 0;
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

static int put_all(unsigned from, unsigned to, size_t len, bool sync, bool insist, bool flush)
{
    struct quern_write_opts opts = {.sync = sync};
    struct quern_error err;
    bool full = false;

    for (unsigned n = from, waited = 0; n < to;) {
        if (quern_put(db, key_of(n), value_of(n, 1, len), &opts, &err) == QUERN_OK) {
            if (full)
                printf("resumed\n");
            full = false;
            printf("ok %u\n", n++);
            if (flush && n % 100 == 0 && quern_flush(db, &err))
                return refused("flush", &err);
        } else if (insist && err.code == QUERN_NO_SPACE && waited < PATIENCE_S * 100) {
            struct quern_value value = {0};

            if (!full)
                printf("full %s\n", err.text);
            full = true;
            if (n > from && quern_get(db, key_of(from), NULL, &value, &err))
                return refused("get", &err);
            quern_value_done(&value);
            pause_ms(10);
            waited++;
        } else {
            return refused("put", &err);
        }
    }
    return 0;
}

static int check_all(unsigned from, unsigned to, size_t len)
{
    struct quern_value value = {0};
    struct quern_error err;
    int result = 0;

    for (unsigned n = from; n < to; n++) {
        enum quern_code code = quern_get(db, key_of(n), NULL, &value, &err);

        if (code == QUERN_OK && is_whole(n, len, &value))
            printf("has %u\n", n);
        else if (code == QUERN_OK)
            printf("WRONG %u\n", n), result = 2;
        else if (code != QUERN_NOT_FOUND)
            result = refused("get", &err);
    }
    quern_value_done(&value);
    if (quern_verify(db, NULL, NULL, &err))
        return refused("verify", &err);
    return result;
}

static int churn(unsigned seconds)
{
    time_t end = time(NULL) + (time_t)seconds;
    struct quern_error err;

    for (unsigned version = 1; time(NULL) < end; version++) {
        for (unsigned n = 0; n < 500; n++) {
            struct quern_write_opts opts = {.sync = n % 50 == 0};

            if (quern_put(db, key_of(n), value_of(n, version, 100 + n), &opts, &err))
                return refused("put", &err);
        }
        printf("round %u\n", version);
    }
    return 0;
}

/* A child's every call is refused, and the parent does not notice that there was one. */
static int fork_once(void)
{
    struct quern_value value = {0};
    struct quern_error err;
    int status = 0;
    pid_t child;

    if (quern_put(db, key_of(1), value_of(1, 1, 50), NULL, &err))
        return refused("put", &err);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (quern_put(db, key_of(2), value_of(2, 1, 50), NULL, &err) != QUERN_INVALID ||
            quern_get(db, key_of(1), NULL, &value, &err) != QUERN_INVALID ||
            quern_close(db, &err) == QUERN_OK)
            _exit(9);
        printf("child %s\n", err.text);
        (void)fflush(stdout);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        printf("WRONG child: status %d\n", status);
        return 2;
    }
    if (quern_put(db, key_of(3), value_of(3, 1, 50), NULL, &err))
        return refused("put", &err);
    return 0;
}

static unsigned number(char **argv, int argc, int at)
{
    return at < argc ? (unsigned)strtoul(argv[at], NULL, 10) : 0;
}

static int run(int argc, char **argv)
{
    const char *verb = argv[2];
    unsigned from = number(argv, argc, 3), to = number(argv, argc, 4);
    size_t len = number(argv, argc, 5) % VALUE_MAX;
    bool sync = argc > 6 && strcmp(argv[6], "sync") == 0;
    struct quern_error err;

    if (strcmp(verb, "put") == 0 || strcmp(verb, "flush") == 0)
        return put_all(from, to, len, sync, false, verb[0] == 'f');
    if (strcmp(verb, "insist") == 0)
        return put_all(from, to, len, sync, true, false);
    if (strcmp(verb, "check") == 0)
        return check_all(from, to, len);
    if (strcmp(verb, "churn") == 0)
        return churn(from);
    if (strcmp(verb, "fork") == 0)
        return fork_once();
    if (strcmp(verb, "checkpoint") == 0 && argc > 3)
        return quern_checkpoint(db, argv[3], &err) ? refused("checkpoint", &err) : 0;
    return 2;
}

int main(int argc, char **argv)
{
    /* Small, so that log segments, flushes and merges come within a few hundred writes. */
    struct quern_options options = {.memory_bytes = 4 << 20,
                                    .memdb_bytes = 128 << 10,
                                    .log_segment_bytes = 1 << 20,
                                    .table_bytes = 32 << 10,
                                    .tier_runs = 3,
                                    .compact_interval_ms = 50};
    struct quern_error err;
    int result;

    if (argc < 3)
        return 2;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    options.must_exist = strcmp(argv[2], "check") == 0;
    printf("begin\n");
    if (quern_open(argv[1], &options, &db, &err))
        return refused("open", &err);
    result = run(argc, argv);
    if (quern_close(db, &err) && result == 0)
        return refused("close", &err);
    printf("end\n");
    return result;
}
