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
/* The same of every entry of `it`. `total` is for the progress bar; 0: unknown. */
MUST_USE enum cli_exit dump_iterator(const struct cli_args *args, struct quern_iter *it,
                                     uint64_t total);

#endif
