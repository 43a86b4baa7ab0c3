/* dump_priv.h - from a store to the lines of a dump. */
#ifndef CLI_DUMP_PRIV_H
#define CLI_DUMP_PRIV_H

#include "cli/cli_priv.h"

struct dump;
/* Writes the lines of a dump, the end line too. */
typedef enum quern_code (*dump_source)(struct dump *d, void *arg, struct quern_error *err);
/* For a source: write a line as it stands. */
MUST_USE enum quern_code dump_raw(struct dump *d, struct quern_slice line, struct quern_error *err);

/* Write what `source` says to the file that args name, or to standard output. */
MUST_USE enum cli_exit dump_run(const struct cli_args *args, dump_source source, void *source_arg);

struct dump_store {
    struct quern_iter *its[QUERN_DATABASES]; /* NULL: nothing of that database */
    uint64_t total;                          /* for the progress bar; 0: unknown */
};
/* The same of every entry of `from`. */
MUST_USE enum cli_exit dump_iterators(const struct cli_args *args, const struct dump_store *from);

#endif
