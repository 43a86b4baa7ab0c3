/* cli_priv.h - what the files of the command share: its arguments, its exit codes, its output.
 *
 * One process does one verb on one thread, so what is global here (the interrupt flag) is so
 * because a signal handler sets it. */
#ifndef CLI_CLI_PRIV_H
#define CLI_CLI_PRIV_H

#include "base/buf.h"

#include <quern/quern.h>

#include <stdio.h>

/* Exit codes, documented in --help: do not renumber. */
enum cli_exit {
    EXIT_GOOD = 0,
    EXIT_NOT_FOUND = 1, /* no such key: an answer, for `if quern get k` */
    EXIT_USAGE = 2,
    EXIT_NO_STORE = 3, /* cannot connect, or cannot open the store */
    EXIT_REFUSED = 4,  /* a write was refused, the server or the disk failed */
    EXIT_CORRUPT = 6,  /* damage was found, in the store or in a dump */
    EXIT_INTERRUPTED = 130,
};

/* One bit each: options and help name sets of verbs. */
enum cli_verb {
    VERB_NONE = 0,
    VERB_GET = 1 << 0,
    VERB_SET = 1 << 1,
    VERB_DEL = 1 << 2,
    VERB_SCAN = 1 << 3,
    VERB_COUNT = 1 << 4,
    VERB_STATS = 1 << 5,
    VERB_VERIFY = 1 << 6,
    VERB_COMPACT = 1 << 7,
    VERB_CHECKPOINT = 1 << 8,
    VERB_DUMP = 1 << 9,
    VERB_LOAD = 1 << 10,
    VERB_REPAIR = 1 << 11,
    VERB_TOKEN = 1 << 12,
};
/* What a server has a route for. */
#define VERBS_OVER_HTTP                                                                            \
    (VERB_GET | VERB_SET | VERB_DEL | VERB_STATS | VERB_LOAD | VERB_SCAN | VERB_COUNT |            \
     VERB_DUMP | VERB_COMPACT | VERB_VERIFY)

/* The command line, understood. Slices and strings borrow from argv or the environment, except the
 * bytes of hex keys, which lie in `hex_bytes`. */
struct cli_args {
    enum cli_verb verb;
    const char *db;       /* directory; NULL when `url` is set */
    const char *url;      /* NULL when `db` is set */
    const char *cacert;   /* with `url`: a file in PEM form with the CA to trust; or NULL */
    const char *cert;     /* so too: with the certificate to show and its key; or NULL */
    const char *words[3]; /* what follows the verb and is no option */
    size_t word_count;
    struct quern_slice
        key; /* the first word of get, set and del, from hex if asked; del: empty for a range */
    struct quern_slice prefix, start, end;
    uint64_t limit;               /* UINT64_MAX: none */
    uint64_t ttl_ms;              /* of set: how long the value lives; 0: for ever */
    const char *scopes, *expires; /* of token create; NULL: not given */
    const char *token_file;       /* for a server; NULL: */
    const char *token;            /* this, of the environment; NULL: none */
    uint8_t database;             /* --database, or 0 */
    bool database_given;          /* dump and load: that one alone */
    bool help, version;
    bool json, nul, hex, reverse, keys_only, sync, read_only, no_end, all;
    struct buf hex_bytes[4];
};

/* What environment variables say, so that parsing is a pure function. NULL: not set. */
struct cli_environment {
    const char *db, *url, *token;
};

/* Understand argv[1..argc). False: `err` says what is wrong, with a hint for a likely typo. The
 * caller frees with args_done() in both cases. */
MUST_USE bool args_parse(int argc, char **argv, const struct cli_environment *environment,
                         struct cli_args *args, struct quern_error *err);
void args_done(struct cli_args *args);

/* Print the help of a verb, or of the whole command for VERB_NONE. */
void help_print(enum cli_verb verb, FILE *to);
const char *verb_name(enum cli_verb verb);

/* The exit code that tells of `code`; `opening` when it came of opening the store. */
enum cli_exit exit_of(enum quern_code code, bool opening);

/* Print "quern: <story>" on standard error and return the exit code that tells of it. */
enum cli_exit cli_fail(const struct quern_error *err, bool opening);

/* Set by SIGINT or SIGTERM while cli_interruptible(true) holds; otherwise the signal ends the
 * process at once, which the store survives like any kill. */
bool cli_interrupted(void);
void cli_interruptible(bool yes);

/* Do the verb on a directory, or on a server. */
enum cli_exit local_run(const struct cli_args *args);
enum cli_exit remote_run(const struct cli_args *args);
/* After a directory turned out to hold no store: say where quern looks for one. */
void say_where(void);
/* token, which is about a file. */
enum cli_exit token_run(const struct cli_args *args);
/* verify and repair, which open no store. */
enum cli_exit damage_run(const struct cli_args *args);

/* The value of `set`: a word of the command line, "-" for standard input, "@file" for a file.
 * *value borrows from the word or from `memory`. */
MUST_USE enum quern_code value_from_word(const char *word, struct buf *memory,
                                         struct quern_slice *value, struct quern_error *err);

/* ---- standard output; a failed write is told once, by out_finish() ---- */

void out_bytes(struct quern_slice s);
void out_text(const char *format, ...) PRINTF_LIKE(1, 2);
/* A key or value for eyes: UTF-8 stands as it is, other bytes, controls and backslashes become
 * \xNN. */
void out_escaped(struct quern_slice s);
/* {"key":...} or {"key_b64":...} with the value likewise, the database if it is not 0, and a newline;
 * `value` may be NULL. */
MUST_USE enum quern_code out_entry_json(uint8_t database, struct quern_slice key,
                                        const struct quern_slice *value, struct quern_error *err);
/* An entry of a scan, as the command line wants it: without its value for --keys-only. */
MUST_USE enum quern_code out_entry(const struct cli_args *args, struct quern_slice key,
                                   const struct quern_slice *value, struct quern_error *err);
/* Flatten a JSON document into "name  value" lines. Errors: CORRUPT (not JSON). */
MUST_USE enum quern_code out_stats(struct quern_slice json_text, bool as_json,
                                   struct quern_error *err);
/* Say that there is no such key; returns EXIT_NOT_FOUND. */
enum cli_exit out_not_found(const struct cli_args *args);
/* False: nobody reads any more, or the disk is full. */
bool out_good(void);
/* Flush; returns `so_far`, or EXIT_REFUSED when output was lost. */
enum cli_exit out_finish(enum cli_exit so_far);

#endif
