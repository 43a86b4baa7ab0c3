/* dump_priv.h - from a store to the lines of a dump. */
#ifndef CLI_DUMP_PRIV_H
#define CLI_DUMP_PRIV_H

#include "cli/cli_priv.h"

/* Write every entry of `it` and the end line to the file that args name, or to standard output.
 * `total` is for the progress bar; 0: unknown. */
MUST_USE enum cli_exit dump_run(const struct cli_args *args, struct quern_iter *it, uint64_t total);

#endif
