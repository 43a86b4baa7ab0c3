/* fuzz_options.c - the command line of quernd, one word a line: sizes, times, numbers, modes. What
 * is taken is inside what --help says. */
#include "fuzz.h"

#include "server/options.h"
#include "server/say.h"

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
    must(o->listen_count <= LISTEN_MAX && o->host_count <= HOSTS_MAX && o->loops <= 256);
    must(o->resp_count <= LISTEN_MAX && !(o->resp_off && o->resp_count > 0));
    must(o->memory_bytes >= 1 << 20 && o->memory_bytes <= UINT64_C(1) << 50);
    must(o->value_bytes_max >= 1 && o->value_bytes_max <= QUERN_VALUE_BYTES_MAX);
    must(o->connections_max >= 1 && o->connections_max <= 1000000);
    must(o->durability == DURABLE_ALWAYS || o->durability == DURABLE_OS ||
         (o->durability == DURABLE_INTERVAL && o->sync_ms >= 1 && o->sync_ms <= 3600000));
    must(o->header_ms >= 100 && o->header_ms <= 3600000 && o->idle_ms >= 100 &&
         o->idle_ms <= 86400000 && o->drain_ms <= 3600000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    FILE *out = stdout;
    struct server_options o;
    char quernd[] = "quernd", *argv[WORDS_MAX + 1] = {quernd}, *text, *rest;
    int argc = 1, status = -1;

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
    while (argc < WORDS_MAX && rest != NULL)
        argv[argc++] = strsep(&rest, "\n");
    optind = 0;       /* glibc: begin anew */
    stdout = nowhere; /* where --help goes */
    if (options_parse(argc, argv, &o, &status))
        check(&o);
    else
        must(status == EXIT_CLEAN || status == EXIT_USAGE || status == EXIT_CONFIG);
    stdout = out;
    free(text);
    return 0;
}
