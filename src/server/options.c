/* options.c - one table makes the options, their checks and the hints for a mistyped one. */
#include "server/options.h"

#include "server/say.h"

#include "http/http.h"

#include "base/attr.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char help[] =
    "quernd - serve a quern store over HTTP and the Redis protocol\n"
    "\n"
    "usage: quernd [OPTION]...\n"
    "\n"
    "  quernd                          serve ./data on http://localhost:8080\n"
    "  quernd --data /srv/q --port 9000\n"
    "  curl -X POST 'http://localhost:8080/set?key=key1&value=value1'\n"
    "  curl 'http://localhost:8080/get?key=key1'\n"
    "  curl http://localhost:8080/shutdown\n"
    "\n"
    "the store\n"
    "  --data DIR              directory of the store; made if missing (./data)\n"
    "  --durability LEVEL      what a reply to a write promises (always):\n"
    "                            always       it survives the loss of power\n"
    "                            interval:MS  it survives kill -9 now, the loss of power MS\n"
    "                                         milliseconds later\n"
    "                            os           it survives kill -9; the system writes it when it "
    "likes\n"
    "                          a request may ask for more with &sync=1, never for less\n"
    "  --memory SIZE           budget of buffers and cache, e.g. 256M, 4G (256M)\n"
    "  --flush-interval TIME   the oldest unflushed write becomes a table after this (60s)\n"
    "  --compact-interval TIME how often to look for compaction work when idle (10s)\n"
    "  --recover MODE          what to do when the log does not end cleanly (tail):\n"
    "                            tail           cut what a crash left torn, refuse other damage\n"
    "                            strict         refuse a torn tail as well\n"
    "                            point-in-time  stop at the first damage, and lose what follows\n"
    "\n"
    "the door\n"
    "  --port N                port; 0 takes any free one and prints it (8080)\n"
    "  --listen ADDR           numeric address to listen on; may be repeated\n"
    "                          (127.0.0.1 and ::1). Others need --insecure-no-auth\n"
    "  --resp-listen ADDR:PORT where to speak the Redis protocol; may be repeated; off: nowhere\n"
    "                          (127.0.0.1:6380)\n"
    "  --insecure-no-auth      listen beyond this machine although everybody who reaches the\n"
    "                          port can then read, change and delete everything\n"
    "  --allowed-host NAME     a further name that requests may carry as Host; may be repeated\n"
    "                          (localhost, 127.0.0.1, [::1] and the addresses listened on)\n"
    "  --loops N               event loops, each a thread (one per core)\n"
    "  --max-connections N     more are told so and closed (1024)\n"
    "  --max-value SIZE        largest value taken, up to 1G (64M)\n"
    "  --header-timeout TIME   for a request head to arrive whole (10s)\n"
    "  --idle-timeout TIME     for a connection without a request, or a client that does not\n"
    "                          read its reply (60s)\n"
    "  --drain-timeout TIME    for requests in flight at shutdown (10s)\n"
    "\n"
    "  --print-commands        print the commands of the Redis protocol as a table and end\n"
    "  --version               print the version and end\n"
    "  --help                  print this and end\n"
    "\n"
    "SIZE is a number with K, M or G (powers of 1024); TIME a number with ms, s or m.\n"
    "SIGTERM, SIGINT and /shutdown drain, flush, sync and close; a second signal skips the drain.\n"
    "\n"
    "exit status\n"
    "  0  shut down, all data is safe on disk\n"
    "  1  the options are not safe or contradict one another\n"
    "  2  usage: an unknown option, or a value out of shape\n"
    "  3  cannot listen: the port is in use, or the address is not of this machine\n"
    "  4  another process has the store open\n"
    "  5  the store is damaged; nothing was changed\n"
    "  6  no space on the disk to open the store\n"
    "  7  the store cannot be opened for another reason\n"
    "  8  shut down, but not all could be made safe on disk; the message says why. What was\n"
    "     acknowledged is recovered from the log at the next start as far as it reached the disk\n";

enum {
    O_DATA = 256,
    O_PORT,
    O_LISTEN,
    O_RESP_LISTEN,
    O_DURABILITY,
    O_MEMORY,
    O_FLUSH,
    O_COMPACT,
    O_CONNECTIONS,
    O_VALUE,
    O_LOOPS,
    O_RECOVER,
    O_INSECURE,
    O_HOST,
    O_HEADER,
    O_IDLE,
    O_DRAIN,
    O_CORS,
    O_TLS_CERT,
    O_TLS_KEY,
    O_TLS_CLIENT_CA,
    O_COMMANDS,
    O_VERSION,
    O_HELP,
};

static const struct option table[] = {
    {"data", required_argument, NULL, O_DATA},
    {"port", required_argument, NULL, O_PORT},
    {"listen", required_argument, NULL, O_LISTEN},
    {"resp-listen", required_argument, NULL, O_RESP_LISTEN},
    {"durability", required_argument, NULL, O_DURABILITY},
    {"memory", required_argument, NULL, O_MEMORY},
    {"flush-interval", required_argument, NULL, O_FLUSH},
    {"compact-interval", required_argument, NULL, O_COMPACT},
    {"max-connections", required_argument, NULL, O_CONNECTIONS},
    {"max-value", required_argument, NULL, O_VALUE},
    {"loops", required_argument, NULL, O_LOOPS},
    {"recover", required_argument, NULL, O_RECOVER},
    {"insecure-no-auth", no_argument, NULL, O_INSECURE},
    {"allowed-host", required_argument, NULL, O_HOST},
    {"header-timeout", required_argument, NULL, O_HEADER},
    {"idle-timeout", required_argument, NULL, O_IDLE},
    {"drain-timeout", required_argument, NULL, O_DRAIN},
    {"cors-origin", required_argument, NULL, O_CORS},
    {"tls-cert", required_argument, NULL, O_TLS_CERT},
    {"tls-key", required_argument, NULL, O_TLS_KEY},
    {"tls-client-ca", required_argument, NULL, O_TLS_CLIENT_CA},
    {"print-commands", no_argument, NULL, O_COMMANDS},
    {"version", no_argument, NULL, O_VERSION},
    {"help", no_argument, NULL, O_HELP},
    {NULL, 0, NULL, 0},
};

/* Digits up to `max`, then whatever follows at *end. Our own, since strtoull() takes signs and
 * spaces. */
static bool number(const char *s, uint64_t max, uint64_t *out, const char **end)
{
    uint64_t v = 0;
    const char *c = s;

    for (; *c >= '0' && *c <= '9'; c++) {
        unsigned digit = (unsigned)(*c - '0');

        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    *end = c;
    return c != s;
}

static bool count_of(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
    const char *end;

    return number(s, max, out, &end) && *end == '\0' && *out >= min;
}

static bool size_of(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
    static const char *const units[] = {"", "K", "M", "G"};
    const char *end;

    if (!number(s, UINT64_MAX >> 30, out, &end))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(units); i++) {
        if (strcasecmp(end, units[i]) == 0) {
            *out <<= 10 * i;
            return *out >= min && *out <= max;
        }
    }
    return false;
}

/* "500ms", "10s", "5m" in milliseconds. */
static bool time_of(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
    const char *end;
    uint64_t unit;

    if (!number(s, UINT32_MAX, out, &end))
        return false;
    if (strcmp(end, "ms") == 0)
        unit = 1;
    else if (strcmp(end, "s") == 0)
        unit = 1000;
    else if (strcmp(end, "m") == 0)
        unit = 60000;
    else
        return false;
    *out *= unit;
    return *out >= min && *out <= max;
}

static bool durability_of(const char *s, struct server_options *o)
{
    const char *end;

    if (strcmp(s, "always") == 0) {
        o->durability = DURABLE_ALWAYS;
    } else if (strcmp(s, "os") == 0) {
        o->durability = DURABLE_OS;
    } else if (strncmp(s, "interval:", 9) == 0) {
        o->durability = DURABLE_INTERVAL;
        return number(s + 9, 3600000, &o->sync_ms, &end) && o->sync_ms > 0 &&
               (*end == '\0' || strcmp(end, "ms") == 0);
    } else {
        return false;
    }
    return true;
}

static bool recover_of(const char *s, enum quern_recover *out)
{
    if (strcmp(s, "tail") == 0)
        *out = QUERN_RECOVER_TAIL;
    else if (strcmp(s, "strict") == 0)
        *out = QUERN_RECOVER_STRICT;
    else if (strcmp(s, "point-in-time") == 0)
        *out = QUERN_RECOVER_POINT_IN_TIME;
    else
        return false;
    return true;
}

/* Take one option; NULL when it is well, else what its value ought to be. */
static const char *take(struct server_options *o, int option, const char *arg)
{
    uint64_t n = 0;

    switch (option) {
    case O_DATA:
        o->data = arg;
        return *arg != '\0' ? NULL : "a directory";
    case O_PORT:
        if (!count_of(arg, 0, 65535, &n))
            return "a number from 0 to 65535";
        o->port = (uint16_t)n;
        return NULL;
    case O_LISTEN:
        if (o->listen_count == LISTEN_MAX)
            return "given at most 8 times";
        o->listen[o->listen_count++] = arg;
        return NULL;
    case O_RESP_LISTEN:
        if (strcmp(arg, "off") == 0) {
            o->resp_off = true;
            o->resp_count = 0;
            return NULL;
        }
        if (o->resp_count == LISTEN_MAX)
            return "given at most 8 times";
        o->resp_off = false;
        o->resp_listen[o->resp_count++] = arg;
        return NULL;
    case O_HOST:
        if (o->host_count == HOSTS_MAX)
            return "given at most 16 times";
        o->hosts[o->host_count++] = arg;
        return NULL;
    case O_DURABILITY:
        return durability_of(arg, o) ? NULL : "always, os, or interval:MS (1 to 3600000)";
    case O_MEMORY:
        return size_of(arg, 1 << 20, UINT64_C(1) << 50, &o->memory_bytes)
                   ? NULL
                   : "a size from 1M, as 256M";
    case O_FLUSH:
        if (!time_of(arg, 1, UINT32_MAX, &n))
            return "a time with its unit, as 500ms or 60s";
        o->flush_ms = (uint32_t)n;
        return NULL;
    case O_COMPACT:
        if (!time_of(arg, 1, UINT32_MAX, &n))
            return "a time with its unit, as 500ms or 60s";
        o->compact_ms = (uint32_t)n;
        return NULL;
    case O_CONNECTIONS:
        if (!count_of(arg, 1, 1000000, &n))
            return "a number from 1 to 1000000";
        o->connections_max = (uint32_t)n;
        return NULL;
    case O_VALUE:
        return size_of(arg, 1, QUERN_VALUE_BYTES_MAX, &o->value_bytes_max) ? NULL
                                                                           : "a size up to 1G";
    case O_LOOPS:
        if (!count_of(arg, 1, 256, &n))
            return "a number from 1 to 256";
        o->loops = (unsigned)n;
        return NULL;
    case O_RECOVER:
        return recover_of(arg, &o->recover) ? NULL : "tail, strict or point-in-time";
    case O_HEADER:
        return time_of(arg, 100, 3600000, &o->header_ms) ? NULL : "a time from 100ms to 60m";
    case O_IDLE:
        return time_of(arg, 100, 86400000, &o->idle_ms) ? NULL : "a time from 100ms to 1440m";
    case O_DRAIN:
        return time_of(arg, 0, 3600000, &o->drain_ms) ? NULL : "a time from 0ms to 60m";
    case O_CORS:
        if (!http_is_origin(QUERN_STR(arg)))
            return "the origin of pages, as https://example.org or http://localhost:3000";
        if (o->cors_count == HOSTS_MAX)
            return "given at most 16 times";
        o->cors_origins[o->cors_count++] = arg;
        return NULL;
    case O_TLS_CERT:
        o->tls_cert = arg;
        return NULL;
    case O_TLS_KEY:
        o->tls_key = arg;
        return NULL;
    case O_TLS_CLIENT_CA:
        o->tls_client_ca = arg;
        return NULL;
    case O_COMMANDS:
        o->print_commands = true;
        return NULL;
    default: /* O_INSECURE */
        o->insecure_no_auth = true;
        return NULL;
    }
}

static const char *name_of(int option)
{
    for (const struct option *o = table; o->name != NULL; o++) {
        if (o->val == option)
            return o->name;
    }
    return "?";
}

/* The option that shares the most leading letters with a mistyped one. */
static void hint(const char *typed)
{
    const char *best = NULL;
    size_t best_shared = 1;

    while (*typed == '-')
        typed++;
    for (const struct option *o = table; o->name != NULL; o++) {
        size_t shared = 0;

        while (typed[shared] != '\0' && typed[shared] == o->name[shared])
            shared++;
        if (shared > best_shared) {
            best_shared = shared;
            best = o->name;
        }
    }
    if (best != NULL)
        complain("did you mean --%s? quernd --help lists all options", best);
    else
        complain("quernd --help lists all options");
}

static bool usage_error(int *status)
{
    *status = EXIT_USAGE;
    return false;
}

bool options_parse(int argc, char **argv, struct server_options *out, int *status)
{
    int option;

    *out = (struct server_options){
        .data = "./data",
        .port = 8080,
        .memory_bytes = UINT64_C(256) << 20,
        .connections_max = 1024,
        .value_bytes_max = UINT64_C(64) << 20,
        .header_ms = 10000,
        .idle_ms = 60000,
        .drain_ms = 10000,
    };
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", table, NULL)) != -1) {
        const char *wanted;

        if (option == ':') {
            complain("option %s needs a value; quernd --help lists all options", argv[optind - 1]);
            return usage_error(status);
        }
        if (option == '?') {
            complain("there is no option %s", argv[optind - 1]);
            hint(argv[optind - 1]);
            return usage_error(status);
        }
        if (option == O_HELP || option == O_VERSION) {
            if (option == O_HELP)
                (void)fputs(help, stdout);
            else
                (void)printf("quernd %s\n", quern_version());
            *status = EXIT_CLEAN;
            return false;
        }
        wanted = take(out, option, optarg);
        if (wanted != NULL) {
            complain("--%s %s: must be %s", name_of(option), optarg, wanted);
            return usage_error(status);
        }
    }
    if (optind < argc) {
        complain("what is %s? options begin with --; for a store in that directory: --data %s",
                 argv[optind], argv[optind]);
        return usage_error(status);
    }
    return true;
}
