/* table.c - every option there is. To add one: a field in struct server_options, a row here.
 *
 * The flag, the key in the configuration file, the name in the environment, --help, --print-config,
 * the page in docs/operations.md and the checks all follow from the row. Rows of a group stand
 * together, in the order of --help. */
#include "server/options/options_priv.h"

#include "http/http.h"

#include "base/near.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define AT(field) .at = offsetof(struct server_options, field)
#define TIME_WANTED "a time with its unit, as 500ms or 60s"
#define TIME_ABOVE_0_WANTED "a time of 1ms or more with its unit, as 500ms or 60s"

static bool is_origin(const char *text)
{
    return http_is_origin(QUERN_STR(text));
}

static bool is_host_name(const char *text)
{
    return http_is_host_name(QUERN_STR(text));
}

const struct option_row option_rows[] = {
    {.name = "data",
     .value = "DIR",
     .kind = OPTION_TEXT,
     .group = GROUP_STORE,
     AT(data),
     .initial = "./data",
     .wanted = "a directory",
     .help = "directory of the store; made if missing ({})"},
    {.name = "durability",
     .value = "LEVEL",
     .kind = OPTION_DURABILITY,
     .group = GROUP_STORE,
     AT(durability),
     .initial = "always",
     .wanted = "always, os, or interval:MS (1 to 3600000)",
     .help = "what a reply to a write promises ({}):\n"
             "  always       it survives the loss of power\n"
             "  interval:MS  it survives kill -9 now, the loss of power MS\n"
             "               milliseconds later\n"
             "  os           it survives kill -9; the system writes it when it likes\n"
             "a request may ask for more with &sync=1, never for less"},
    {.name = "memory",
     .value = "SIZE",
     .kind = OPTION_SIZE,
     .group = GROUP_STORE,
     AT(memory_bytes),
     .min = 1 << 20,
     .max = UINT64_C(1) << 50,
     .initial = "256M",
     .wanted = "a size from 1M, as 256M, or a share, as 25%",
     .is_share = true,
     .help = "budget of buffers and cache, e.g. 256M, 4G, or 25% of the memory\n"
             "of the machine or its control group, whichever is less ({})"},
    {.name = "flush-interval",
     .value = "TIME",
     .kind = OPTION_TIME,
     .group = GROUP_STORE,
     AT(flush_ms),
     .min = 1,
     .max = UINT32_MAX,
     .initial = "60s",
     .wanted = TIME_ABOVE_0_WANTED,
     .help = "the oldest unflushed write becomes a table after this ({})"},
    {.name = "compact-interval",
     .value = "TIME",
     .kind = OPTION_TIME,
     .group = GROUP_STORE,
     AT(compact_ms),
     .min = 1,
     .max = UINT32_MAX,
     .initial = "10s",
     .wanted = TIME_ABOVE_0_WANTED,
     .help = "how often to look for compaction work when idle ({})"},
    {.name = "recover",
     .value = "MODE",
     .kind = OPTION_CHOICE,
     .group = GROUP_STORE,
     AT(recover),
     .words = "tail|strict|point-in-time",
     .initial = "tail",
     .wanted = "tail, strict or point-in-time",
     .help = "what to do when the log does not end cleanly ({}):\n"
             "  tail           cut what a crash left torn, refuse other damage\n"
             "  strict         refuse a torn tail as well\n"
             "  point-in-time  stop at the first damage, and lose what follows"},

    {.name = "port",
     .value = "N",
     .kind = OPTION_NUMBER,
     .group = GROUP_DOOR,
     AT(port),
     .max = 65535,
     .initial = "8080",
     .wanted = "a number from 0 to 65535",
     .help = "port; 0 takes any free one and prints it ({})"},
    {.name = "listen",
     .value = "ADDR",
     .kind = OPTION_LIST,
     .group = GROUP_DOOR,
     AT(listen),
     .max = LISTEN_MAX,
     .initial = "127.0.0.1, ::1",
     .wanted = "given at most 8 times",
     .help = "numeric address to listen on, or unix:PATH; may be repeated\n"
             "({}). Others need --token-file, --tls-client-ca, or --insecure-no-auth"},
    {.name = "resp-listen",
     .value = "ADDR:PORT",
     .kind = OPTION_LIST,
     .group = GROUP_DOOR,
     AT(resp_listen),
     .max = LISTEN_MAX,
     .words = "off",
     .initial = "127.0.0.1:6380",
     .wanted = "given at most 8 times",
     .help = "where to speak the Redis protocol, or unix:PATH; may be repeated;\n"
             "off: nowhere ({})"},
    {.name = "loops",
     .value = "N",
     .kind = OPTION_NUMBER,
     .group = GROUP_DOOR,
     AT(loops),
     .min = 1,
     .max = 256,
     .wanted = "a number from 1 to 256",
     .help = "event loops, each a thread (one per core)"},
    {.name = "max-connections",
     .value = "N",
     .kind = OPTION_NUMBER,
     .group = GROUP_DOOR,
     AT(connections_max),
     .min = 1,
     .max = 1000000,
     .initial = "1024",
     .wanted = "a number from 1 to 1000000",
     .changes = true,
     .help = "more are told so and closed ({})"},
    {.name = "max-value",
     .value = "SIZE",
     .kind = OPTION_SIZE,
     .group = GROUP_DOOR,
     AT(value_bytes_max),
     .min = 1,
     .max = QUERN_VALUE_BYTES_MAX,
     .initial = "64M",
     .wanted = "a size up to 1G",
     .changes = true,
     .help = "largest value taken, up to 1G ({})"},
    {.name = "header-timeout",
     .value = "TIME",
     .kind = OPTION_TIME,
     .group = GROUP_DOOR,
     AT(header_ms),
     .min = 100,
     .max = 3600000,
     .initial = "10s",
     .wanted = "a time from 100ms to 60m",
     .changes = true,
     .help = "for a request head to arrive whole ({})"},
    {.name = "idle-timeout",
     .value = "TIME",
     .kind = OPTION_TIME,
     .group = GROUP_DOOR,
     AT(idle_ms),
     .min = 100,
     .max = 86400000,
     .initial = "60s",
     .wanted = "a time from 100ms to 1440m",
     .changes = true,
     .help = "for a connection without a request, or a client that does not\n"
             "read its reply ({})"},
    {.name = "drain-timeout",
     .value = "TIME",
     .kind = OPTION_TIME,
     .group = GROUP_DOOR,
     AT(drain_ms),
     .max = 3600000,
     .initial = "10s",
     .wanted = "a time from 0ms to 60m",
     .changes = true,
     .help = "for requests in flight at shutdown ({})"},

    {.name = "token-file",
     .value = "FILE",
     .kind = OPTION_TEXT,
     .group = GROUP_ACCESS,
     AT(token_file),
     .wanted = "a file",
     .help = "the tokens that clients must show, with what each may do; made by\n"
             "quern token, read again when it changes"},
    {.name = "insecure-no-auth",
     .kind = OPTION_SWITCH,
     .group = GROUP_ACCESS,
     AT(insecure_no_auth),
     .initial = "false",
     .wanted = "true or false",
     .help = "listen beyond this machine without --token-file, although everybody\n"
             "who reaches the port can then read, change and delete everything"},
    {.name = "allowed-host",
     .value = "NAME",
     .kind = OPTION_LIST,
     .group = GROUP_ACCESS,
     AT(hosts),
     .max = HOSTS_MAX,
     .fits = is_host_name,
     .wanted =
         "names without scheme and port, as kv.example, 192.0.2.1 or [2001:db8::1], 16 at most",
     .help = "a further name that requests may carry as Host; may be repeated\n"
             "(localhost, 127.0.0.1, [::1] and the addresses listened on)"},
    {.name = "cors-origin",
     .value = "ORIGIN",
     .kind = OPTION_LIST,
     .group = GROUP_ACCESS,
     AT(cors_origins),
     .max = HOSTS_MAX,
     .fits = is_origin,
     .wanted = "origins of pages, as https://example.org or http://localhost:3000, 16 at most",
     .help = "whose pages a browser may let use this server; may be repeated"},
    {.name = "require-preconditions",
     .value = "PREFIX",
     .kind = OPTION_LIST,
     .group = GROUP_ACCESS,
     AT(required),
     .max = HOSTS_MAX,
     .wanted = "given at most 16 times",
     .help = "over HTTP no key that begins so is replaced or removed by a request\n"
             "without If-Match or If-None-Match (428); may be repeated"},
    {.name = "tls-cert",
     .value = "FILE",
     .kind = OPTION_TEXT,
     .group = GROUP_ACCESS,
     AT(tls_cert),
     .wanted = "a file",
     .help = "speak TLS, on all ports of both doors, with this certificate and\n"
             "those above it (PEM); read again when it changes"},
    {.name = "tls-key",
     .value = "FILE",
     .kind = OPTION_TEXT,
     .group = GROUP_ACCESS,
     AT(tls_key),
     .wanted = "a file",
     .help = "the key of that certificate (PEM), not for everybody to read"},
    {.name = "tls-client-ca",
     .value = "FILE",
     .kind = OPTION_TEXT,
     .group = GROUP_ACCESS,
     AT(tls_client_ca),
     .wanted = "a file",
     .help = "take only clients that show a certificate of these CAs (PEM);\n"
             "then others than this machine's may be listened to"},

    {.name = "log-format",
     .value = "FORMAT",
     .kind = OPTION_CHOICE,
     .group = GROUP_LOGS,
     AT(log_format),
     .words = "text|logfmt|json",
     .initial = "text",
     .wanted = "text, logfmt or json",
     .help = "of all that is said on stdout and stderr: text, logfmt or json ({})"},
    {.name = "log-level",
     .value = "SEVERITY",
     .kind = OPTION_CHOICE,
     .group = GROUP_LOGS,
     AT(log_level),
     .words = "debug|info|warning|error",
     .initial = "info",
     .wanted = "debug, info, warning or error",
     .changes = true,
     .help = "events below it are not told: debug, info, warning or error ({})"},
    {.name = "access-log",
     .value = "FILE",
     .kind = OPTION_TEXT,
     .group = GROUP_LOGS,
     AT(access_log),
     .initial = "off",
     .wanted = "a file, - or off",
     .changes = true,
     .help = "a line for each request, without its key; -: on stdout; SIGHUP\n"
             "opens the file anew ({})"},
    {.name = "slow-log",
     .value = "TIME",
     .kind = OPTION_BRIEF,
     .group = GROUP_LOGS,
     AT(slow_us),
     .max = INT64_MAX,
     .initial = "10ms",
     .wanted = "a time with its unit, as 500us or 10ms, or off",
     .changes = true,
     .help = "requests that take as long are kept for /v1/admin/slowlog and\n"
             "SLOWLOG ({})"},
    {.name = "slow-log-length",
     .value = "N",
     .kind = OPTION_NUMBER,
     .group = GROUP_LOGS,
     AT(slow_count),
     .max = UINT32_MAX,
     .initial = "1024",
     .wanted = "a number up to 4294967295",
     .changes = true,
     .help = "how many of them ({})"},
    {.name = "latency-log",
     .value = "TIME",
     .kind = OPTION_TIME,
     .group = GROUP_LOGS,
     AT(latency_ms),
     .max = INT64_MAX,
     .initial = "0ms",
     .wanted = TIME_WANTED,
     .changes = true,
     .help = "commands of the Redis protocol that take as long are kept for\n"
             "LATENCY; 0ms: none ({})"},

    {.name = "config",
     .value = "FILE",
     .kind = OPTION_TEXT,
     .group = GROUP_ITSELF,
     AT(config),
     .not_in_the_file = true,
     .wanted = "a file",
     .help = "read options from there: NAME = VALUE, one a line"},
    {.name = "check-config",
     .kind = OPTION_ACTION,
     .group = GROUP_ITSELF,
     .max = ACTION_CHECK_CONFIG,
     .help = "say whether quernd could start so, and end"},
    {.name = "print-config",
     .kind = OPTION_ACTION,
     .group = GROUP_ITSELF,
     .max = ACTION_PRINT_CONFIG,
     .help = "print every option, its value and where that comes from, as a file\n"
             "for --config, and end"},
    {.name = "print-options",
     .kind = OPTION_ACTION,
     .group = GROUP_ITSELF,
     .max = ACTION_PRINT_OPTIONS,
     .help = "print what options there are as a table and end"},
    {.name = "print-commands",
     .kind = OPTION_ACTION,
     .group = GROUP_ITSELF,
     .max = ACTION_PRINT_COMMANDS,
     .help = "print the commands of the Redis protocol as a table and end"},
    {.name = "version",
     .kind = OPTION_ACTION,
     .group = GROUP_ITSELF,
     .max = ACTION_VERSION,
     .help = "print the version and end"},
    {.name = "help",
     .kind = OPTION_ACTION,
     .group = GROUP_ITSELF,
     .max = ACTION_HELP,
     .help = "print this and end"},
};

const unsigned option_row_count = ARRAY_LEN(option_rows);
_Static_assert(ARRAY_LEN(option_rows) <= OPTIONS_MAX, "server_options.given has a place for each");
_Static_assert(LISTEN_MAX <= ARRAY_LEN(((struct option_list *)NULL)->each) &&
                   HOSTS_MAX <= ARRAY_LEN(((struct option_list *)NULL)->each),
               "option_list.each has a place for each member");

const struct option_row *option_named(const char *name)
{
    for (unsigned i = 0; i < option_row_count; i++) {
        if (strcmp(option_rows[i].name, name) == 0)
            return &option_rows[i];
    }
    return NULL;
}

/* How many letters both begin with. */
static size_t shared(const char *a, const char *b)
{
    size_t n = 0;

    while (a[n] != '\0' && a[n] == b[n])
        n++;
    return n;
}

const struct option_row *option_near(const char *typed)
{
    const struct option_row *best = NULL;
    size_t best_distance = NEAR_MAX + 1, best_shared = 3;

    for (unsigned i = 0; i < option_row_count; i++) {
        size_t distance = near_distance(typed, strlen(typed), option_rows[i].name);

        if (distance < best_distance) {
            best_distance = distance;
            best = &option_rows[i];
        }
    }
    for (unsigned i = 0; best_distance > NEAR_MAX && i < option_row_count; i++) {
        size_t n = shared(typed, option_rows[i].name);

        if (n > best_shared) {
            best_shared = n;
            best = &option_rows[i];
        }
    }
    return best;
}

const char *option_environment_name(const struct option_row *row, char to[OPTION_NAME_BYTES])
{
    static const char prefix[] = "QUERN_";
    size_t n = sizeof(prefix) - 1;

    memcpy(to, prefix, n);
    for (const char *c = row->name; *c != '\0'; c++)
        to[n++] = (char)(*c == '-' ? '_' : *c - 'a' + 'A');
    to[n] = '\0';
    return to;
}
