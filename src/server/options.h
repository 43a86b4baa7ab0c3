/* options.h - what quernd was asked to do: the command line, checked. */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <quern/quern.h>

/* How the process ends. In --help; scripts and supervisors rely on it: do not renumber. */
enum exit_status {
    EXIT_CLEAN = 0,
    EXIT_CONFIG = 1,    /* the options contradict one another or are not safe */
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
#define RESP_LISTEN_DEFAULT "127.0.0.1:6380"

struct server_options {
    const char *data;
    const char *listen[LISTEN_MAX]; /* numeric addresses */
    unsigned listen_count;          /* 0: 127.0.0.1 and ::1 */
    const char *hosts[HOSTS_MAX];   /* further names that Host may carry */
    unsigned host_count;
    const char
        *cors_origins[HOSTS_MAX]; /* whose pages may use this server: "https://example.org" */
    unsigned cors_count;
    uint16_t port;
    const char *resp_listen[LISTEN_MAX]; /* "127.0.0.1:6380", "[::1]:6380" */
    unsigned resp_count;                 /* 0, unless resp_off: RESP_LISTEN_DEFAULT */
    bool resp_off;
    bool print_commands; /* and end */
    bool insecure_no_auth;
    const char *tls_cert, *tls_key; /* both or neither: files in PEM form */
    const char *tls_client_ca; /* clients show a certificate that this file vouches for; or NULL */
    enum durability durability;
    uint64_t sync_ms;
    uint64_t memory_bytes;
    uint32_t flush_ms, compact_ms; /* 0: the library's default */
    uint32_t connections_max;
    uint64_t value_bytes_max;
    unsigned loops; /* 0: one per core */
    enum quern_recover recover;
    uint64_t header_ms, idle_ms, drain_ms;
};

/* Read the command line. True: go on with *out, whose strings point into argv. False: end the
 * process with *status; what the user needs to know was printed (--help and --version end so too,
 * with 0). */
bool options_parse(int argc, char **argv, struct server_options *out, int *status);

#endif
