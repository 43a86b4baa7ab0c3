/* fuzz_options.c - what quernd is told: its command line, its environment and its file, each word or
 * line as it comes. What is taken is inside what --help says.
 *
 *     words of argv, one a line | 0 | NAME=VALUE of the environment, one a line | 0 | the file */
#include "fuzz.h"

#include "server/options/options.h"
#include "server/observe/say.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#define WORDS_MAX 24

/* Stands in for say.c: nobody reads a million complaints. */
void complain(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    must(vsnprintf(text, sizeof(text), format, args) > 0);
    va_end(args);
}

static void check(const struct server_options *o)
{
    must(o->data != NULL && o->data[0] != '\0');
    must(o->listen.count >= 1 && o->listen.count <= LISTEN_MAX);
    must(o->hosts.count <= HOSTS_MAX && o->resp_listen.count <= LISTEN_MAX);
    must(o->loops <= 256 && o->port <= 65535 && o->recover <= 2);
    must(o->memory_bytes >= 1 << 20 && o->memory_bytes <= UINT64_C(1) << 50);
    must(o->value_bytes_max >= 1 && o->value_bytes_max <= QUERN_VALUE_BYTES_MAX);
    must(o->connections_max >= 1 && o->connections_max <= 1000000);
    must(o->durability == DURABLE_ALWAYS || o->durability == DURABLE_OS ||
         (o->durability == DURABLE_INTERVAL && o->sync_ms >= 1 && o->sync_ms <= 3600000));
    must(o->header_ms >= 100 && o->header_ms <= 3600000 && o->idle_ms >= 100 &&
         o->idle_ms <= 86400000 && o->drain_ms <= 3600000);
}

/* The file of the input, whatever its name. */
static struct {
    uint8_t *data;
    size_t size;
} file;

static FILE *open_file(const char *path)
{
    (void)path;
    if (file.size != 0)
        return fmemopen(file.data, file.size, "r");
    errno = ENOENT;
    return NULL;
}

/* The next part of the input, up to a zero byte, as lines; their count. */
static int lines_of(char **text, const char *end, char **lines, int max)
{
    char *rest = *text;
    int n = 0;

    *text += strlen(rest) + (*text + strlen(rest) < end);
    while (n < max && rest != NULL)
        lines[n++] = strsep(&rest, "\n");
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    FILE *out = stdout;
    struct server_options o;
    char quernd[] = "quernd", *argv[WORDS_MAX + 2] = {quernd}, *environment[WORDS_MAX + 1];
    struct options_world world = {environment, open_file};
    char *text, *rest, *end;
    int argc = 1, status = -1;
    struct buf json OWNED_BUF = {0};
    struct quern_error err;

    if (size > 4096)
        return 0;
    if (nowhere == NULL)
        nowhere = fopen("/dev/null", "we");
    must(nowhere != NULL);
    text = malloc(size + 1);
    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    rest = text;
    end = text + size;
    argc += lines_of(&rest, end, argv + 1, WORDS_MAX);
    argv[argc] = NULL;
    environment[lines_of(&rest, end, environment, WORDS_MAX)] = NULL;
    file.data = (uint8_t *)rest;
    file.size = (size_t)(end - rest);
    optind = 0;       /* glibc: begin anew */
    stdout = nowhere; /* where --help goes */
    if (options_parse(argc, argv, &world, &o, &status)) {
        if (o.action != ACTION_PRINT_COMMANDS) {
            check(&o);
            must(options_json(&o, &json, &err) == QUERN_OK);
        }
    } else {
        must(status == EXIT_CLEAN || status == EXIT_USAGE || status == EXIT_CONFIG);
    }
    options_done(&o);
    stdout = out;
    free(text);
    return 0;
}
