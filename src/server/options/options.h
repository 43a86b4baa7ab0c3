/* options.h - what quernd was asked to do, by its command line, its environment and a file.
 *
 *     default  <  configuration file  <  environment  <  command line
 *
 * One table (table.c) makes all of them: the flag --max-value is `max-value` in the file and
 * QUERN_MAX_VALUE in the environment, with one text, one default and one check. A list of a later
 * source replaces that of an earlier one as a whole. No option is a secret, so that none is ever
 * seen in a list of processes; what is one stands in a file that an option names.
 *
 * What the table calls changeable may change while the server runs (config.h); the others are as
 * they were at the start. */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include "base/buf.h"

#include <quern/quern.h>

#include <stdatomic.h>
#include <stdio.h>

/* How the process ends. In --help; scripts and supervisors rely on it: do not renumber. */
enum exit_status {
    EXIT_CLEAN = 0,
    EXIT_CONFIG = 1,    /* the configuration file is wrong, or the options contradict one another or
                         * are not safe */
    EXIT_USAGE = 2,     /* an option that does not exist, or a value out of shape */
    EXIT_BIND = 3,      /* an address or port cannot be had */
    EXIT_LOCKED = 4,    /* another process has the store open */
    EXIT_CORRUPT = 5,   /* the store is damaged: an operator must look */
    EXIT_DISK_FULL = 6, /* no space to open the store */
    EXIT_OPEN = 7,      /* the store cannot be opened for another reason */
    EXIT_UNSAFE = 8, /* shut down, but not all could be made safe on disk: the message says what */
};

enum durability {
    DURABLE_ALWAYS,   /* a reply means: survives the loss of power */
    DURABLE_INTERVAL, /* survives kill -9 at the reply, the loss of power sync_ms later */
    DURABLE_OS,       /* survives kill -9; power: whenever the system writes it */
};

#define LISTEN_MAX 8
#define HOSTS_MAX 16

struct option_list {
    const char *each[16];
    unsigned count;
};

enum option_action {
    ACTION_SERVE,
    ACTION_CHECK_CONFIG,
    ACTION_PRINT_CONFIG,
    ACTION_PRINT_OPTIONS,
    ACTION_PRINT_COMMANDS,
    ACTION_VERSION,
    ACTION_HELP,
};

enum option_source {
    FROM_DEFAULT,
    FROM_FILE,
    FROM_ENVIRONMENT,
    FROM_FLAG,
    FROM_CHANGE, /* while it ran */
};

/* What one option was given, by whom. */
struct option_given {
    const char *text; /* NULL: it has no value */
    enum option_source source;
    unsigned line; /* in the file */
};

#define OPTIONS_MAX 64

/* Numbers are atomic: any thread may read them while config.c changes one. Texts are not: whoever
 * uses one that is changeable has its own copy. */
struct server_options {
    enum option_action action;
    const struct options_world *world; /* what they were read from */
    const char *config;                /* the file; NULL: none */
    const char *data;
    struct option_list listen;       /* numeric addresses */
    struct option_list resp_listen;  /* "127.0.0.1:6380", "[::1]:6380"; none: the door is shut */
    struct option_list hosts;        /* further names that Host may carry */
    struct option_list cors_origins; /* whose pages may use this server: "https://example.org" */
    struct option_list required; /* prefixes of keys that no write without a condition changes */
    _Atomic uint32_t port;
    bool insecure_no_auth;
    const char *token_file;         /* NULL: nobody is asked for a token */
    const char *tls_cert, *tls_key; /* both or neither: files in PEM form */
    const char *tls_client_ca; /* clients show a certificate that this file vouches for; or NULL */
    enum durability durability;
    uint64_t sync_ms;
    _Atomic uint64_t memory_bytes;
    _Atomic uint64_t flush_ms, compact_ms;
    _Atomic uint32_t connections_max;
    _Atomic uint64_t value_bytes_max;
    _Atomic uint32_t loops;   /* 0: one per core */
    _Atomic uint32_t recover; /* enum quern_recover */
    _Atomic uint64_t header_ms, idle_ms, drain_ms;
    _Atomic uint32_t log_format, log_level; /* enum log_format, enum say_level */
    const char *access_log;                 /* a file, "-" or "off" */
    _Atomic int64_t slow_us;                /* negative: nothing is slow */
    _Atomic uint32_t slow_count;
    _Atomic uint64_t latency_ms; /* 0: off */

    struct option_given given[OPTIONS_MAX]; /* by the rows of the table */
    struct option_text *texts;              /* memory of what stands above */
};

/* What is around the process, so that a test can be it. */
struct options_world {
    char **environment;
    FILE *(*open)(const char *path); /* NULL: errno says why */
};

/* Read all sources. True: go on with *out, as out->action says. False: end the process with *status;
 * what the user needs to know was printed (--help and such end so too, with 0). options_done() is
 * due in both cases. */
bool options_parse(int argc, char **argv, const struct options_world *world,
                   struct server_options *out, int *status);
void options_done(struct server_options *o);

/* Did anybody give the option, or is it at its default? */
bool options_given(const struct server_options *o, const char *name);

/* All options with their values and sources, as JSON. */
MUST_USE enum quern_code options_json(const struct server_options *o, struct buf *out,
                                      struct quern_error *err);

#endif
