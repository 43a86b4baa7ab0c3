/* dump_priv.h - from a store to the lines of a dump. */
#ifndef CLI_DUMP_PRIV_H
#define CLI_DUMP_PRIV_H

#include "cli/cli_priv.h"

struct dump_source {
    struct quern_iter *its[QUERN_DATABASES]; /* NULL: nothing of that database */
    uint64_t total;                          /* for the progress bar; 0: unknown */
};

/* Write every entry of `from` and the end line to the file that args name, or to standard output. */
MUST_USE enum cli_exit dump_run(const struct cli_args *args, const struct dump_source *from);

#endif
