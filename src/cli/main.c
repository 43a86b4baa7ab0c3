/* main.c - the command `quern`: one verb on a store, then an exit code that tells how it went.
 *
 *     argv -> args_parse() -> local_run()   a directory, through libquern
 *                         '-> remote_run()  a running quernd, over HTTP
 *                                  -> out_finish() -> exit code
 *
 * A store survives this process like any other: an interrupt that comes while the library works
 * ends it at once, and one that comes between entries closes the store in order. */
#include "cli/cli_priv.h"

#include "base/process.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Written by the signal handler; read by the one thread that works. */
static volatile sig_atomic_t interrupted, interruptible = 1;

static void on_signal(int number)
{
    (void)number;
    if (!interruptible || interrupted)
        _exit(EXIT_INTERRUPTED);
    interrupted = 1;
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

void cli_interruptible(bool yes)
{
    interruptible = yes;
    if (!yes && interrupted)
        _exit(EXIT_INTERRUPTED);
}

enum cli_exit exit_of(enum quern_code code, bool opening)
{
    switch (code) {
    case QUERN_OK:
        return EXIT_GOOD;
    case QUERN_NOT_FOUND:
        return EXIT_NOT_FOUND;
    case QUERN_INVALID:
        return EXIT_USAGE;
    case QUERN_CORRUPT:
        return EXIT_CORRUPT;
    case QUERN_CLOSED: /* how the verbs say that they were interrupted */
        return EXIT_INTERRUPTED;
    default:
        return opening ? EXIT_NO_STORE : EXIT_REFUSED;
    }
}

enum cli_exit cli_fail(const struct quern_error *err, bool opening)
{
    fprintf(stderr, "quern: %s\n", err->text);
    return exit_of(err->code, opening);
}

/* Without SA_RESTART, so that a read from a silent pipe ends as well. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static enum cli_exit run(const struct cli_args *args)
{
    if (args->help) {
        help_print(args->verb, stdout);
        return EXIT_GOOD;
    }
    if (args->version) {
        out_text("quern %s\n", quern_version());
        return EXIT_GOOD;
    }
    if (args->verb == VERB_TOKEN)
        return token_run(args);
    return args->url != NULL ? remote_run(args) : local_run(args);
}

int main(int argc, char **argv)
{
    struct cli_environment environment = {getenv("QUERN_DB"), getenv("QUERN_URL"),
                                          getenv("QUERN_TOKEN")};
    struct quern_error err = {0};
    struct cli_args args;
    enum cli_exit result;

    process_prepare();
    catch_signals();
    if (args_parse(argc, argv, &environment, &args, &err))
        result = run(&args);
    else
        result = cli_fail(&err, false);
    args_done(&args);
    return (int)out_finish(result);
}
