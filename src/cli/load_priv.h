/* load_priv.h - from the lines of a dump to a store, wherever the store is. */
#ifndef CLI_LOAD_PRIV_H
#define CLI_LOAD_PRIV_H

#include "cli/cli_priv.h"
#include "dump/line.h"

/* Where entries go; it stands first in whatever else the receiver needs. `put` may gather, `commit`
 * writes what was gathered; both add to `loaded` what the store has acknowledged. */
struct load_sink {
    enum quern_code (*put)(struct load_sink *sink, const struct dump_line *entry,
                           struct quern_error *err);
    enum quern_code (*commit)(struct load_sink *sink, struct quern_error *err);
    uint64_t loaded;
};

/* Read the file that args name (or standard input) into the sink, check count and checksum, and
 * print what came of it. Each entry before the first damage is committed. */
MUST_USE enum cli_exit load_run(const struct cli_args *args, struct load_sink *sink);

#endif
