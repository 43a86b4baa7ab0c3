/* options.c - the sources of the options, from the least weight to the most.
 *
 *     argv --collect--> flags given
 *     defaults -> file (--config of a flag, or QUERN_CONFIG) -> environment -> flags
 *                      each through option_take(): value.c
 *
 *     table.c  what options there are       file.c   the configuration file
 *     value.c  text to value                print.c  --help and such */
#include "server/options/options_priv.h"

#include "server/observe/say.h"

#include "base/alloc.h"
#include "base/attr.h"
#include "base/error.h"
#include "base/near.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define GETOPT_FIRST 256 /* no letter: getopt_long() tells the rows by numbers from here on */

struct flag {
    const struct option_row *row;
    const char *text;
};

struct flags {
    struct flag *each;
    unsigned count;
};

static bool ends(int *status, enum exit_status how)
{
    *status = (int)how;
    return false;
}

static void hint(const char *typed)
{
    const struct option_row *near = option_near(typed + strspn(typed, "-"));

    if (near != NULL)
        complain("did you mean --%s? quernd --help lists all options", near->name);
    else
        complain("quernd --help lists all options");
}

static void make_getopt_table(struct option table[OPTIONS_MAX + 1])
{
    for (unsigned i = 0; i < option_row_count; i++) {
        enum option_kind kind = option_rows[i].kind;

        table[i] = (struct option){option_rows[i].name,
                                   kind == OPTION_ACTION   ? no_argument
                                   : kind == OPTION_SWITCH ? optional_argument
                                                           : required_argument,
                                   NULL, GETOPT_FIRST + (int)i};
    }
    table[option_row_count] = (struct option){0};
}

/* The command line, as it stands; what asks only for words is answered at once. */
static bool collect(int argc, char **argv, struct flags *flags, enum option_action *action,
                    int *status)
{
    struct option table[OPTIONS_MAX + 1];
    int option;

    make_getopt_table(table);
    opterr = 0;
    optind = 0; /* from the start: it may not be the first time */
    while ((option = getopt_long(argc, argv, ":", table, NULL)) != -1) {
        const struct option_row *row;

        if (option == ':') {
            complain("option %s needs a value; quernd --help lists all options", argv[optind - 1]);
            return ends(status, EXIT_USAGE);
        }
        if (option == '?') {
            complain("there is no option %s", argv[optind - 1]);
            hint(argv[optind - 1]);
            return ends(status, EXIT_USAGE);
        }
        row = &option_rows[option - GETOPT_FIRST];
        if (row->kind != OPTION_ACTION)
            flags->each[flags->count++] = (struct flag){row, optarg != NULL ? optarg : "true"};
        else if (*action < (enum option_action)row->max)
            *action = (enum option_action)row->max;
        if (*action == ACTION_HELP)
            return true;
    }
    if (optind < argc) {
        complain("what is %s? options begin with --; for a store in that directory: --data %s",
                 argv[optind], argv[optind]);
        return ends(status, EXIT_USAGE);
    }
    return true;
}

static bool take_defaults(struct server_options *o)
{
    for (unsigned i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        const char *wanted;

        if (row->initial == NULL)
            continue;
        wanted = option_take(o, row, row->initial, FROM_DEFAULT, 0);
        if (wanted != NULL) {
            complain("the default of --%s, %s: must be %s", row->name, row->initial, wanted);
            return false;
        }
    }
    return true;
}

/* What the environment has of an option; NULL: nothing, or nothing in it. */
static const char *in_environment(const struct options_world *world, const char *name)
{
    size_t len = strlen(name);

    for (char **at = world->environment; *at != NULL; at++) {
        if (strncmp(*at, name, len) == 0 && (*at)[len] == '=' && (*at)[len + 1] != '\0')
            return *at + len + 1;
    }
    return NULL;
}

/* A name that nobody reads, and that is nearly one of ours, was meant to be it. */
static bool look_for_typos(const struct options_world *world)
{
    for (char **at = world->environment; *at != NULL; at++) {
        size_t len = strcspn(*at, "="), best = NEAR_MAX + 1;
        char name[OPTION_NAME_BYTES], meant[OPTION_NAME_BYTES];

        if (strncmp(*at, "QUERN_", 6) != 0)
            continue;
        for (unsigned i = 0; i < option_row_count; i++) {
            size_t distance;

            if (option_rows[i].kind == OPTION_ACTION)
                continue;
            distance =
                near_distance(*at + 6, len - 6, option_environment_name(&option_rows[i], name) + 6);
            if (distance < best) {
                best = distance;
                (void)strcpy(meant, name);
            }
        }
        if (best != 0 && best <= NEAR_MAX && len < 30) {
            complain("there is no option %.*s in the environment; did you mean %s?", (int)len, *at,
                     meant);
            return false;
        }
    }
    return true;
}

static bool take_environment(struct server_options *o, const struct options_world *world)
{
    for (unsigned i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        char name[OPTION_NAME_BYTES];
        const char *text = in_environment(world, option_environment_name(row, name)), *wanted;

        if (text == NULL || row->kind == OPTION_ACTION)
            continue;
        wanted = option_take(o, row, text, FROM_ENVIRONMENT, 0);
        if (wanted != NULL) {
            complain("%s=%s: must be %s", name, text, wanted);
            return false;
        }
    }
    return look_for_typos(world);
}

static bool take_flags(struct server_options *o, const struct flags *flags)
{
    for (unsigned i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->each[i];
        const char *wanted = option_take(o, flag->row, flag->text, FROM_FLAG, 0);

        if (wanted != NULL) {
            complain("--%s %s: must be %s", flag->row->name, flag->text, wanted);
            return false;
        }
    }
    return true;
}

/* Which file, before any of it is read. */
static const char *config_of(const struct flags *flags, const struct options_world *world)
{
    const char *path = in_environment(world, "QUERN_CONFIG");

    for (unsigned i = 0; i < flags->count; i++) {
        if (flags->each[i].row == option_named("config"))
            path = flags->each[i].text;
    }
    return path;
}

/* What can be answered from the options alone; false: it was. */
static bool act(const struct server_options *o)
{
    switch (o->action) {
    case ACTION_PRINT_CONFIG:
        options_print_config(o);
        return false;
    case ACTION_PRINT_OPTIONS:
        options_print_table();
        return false;
    case ACTION_VERSION:
        (void)printf("quernd %s\n", quern_version());
        return false;
    case ACTION_HELP:
        options_print_help();
        return false;
    default:
        return true;
    }
}

bool options_parse(int argc, char **argv, const struct options_world *world,
                   struct server_options *out, int *status)
{
    struct flag *each OWNED(alloc_free) = alloc_array((size_t)argc + 1, sizeof(*each));
    struct flags flags = {each, 0};

    *out = (struct server_options){.world = world};
    if (each == NULL) {
        complain("memory ran out");
        return ends(status, EXIT_CONFIG);
    }
    if (!collect(argc, argv, &flags, &out->action, status))
        return false;
    if (out->action >= ACTION_PRINT_OPTIONS) /* whatever the other sources say */
        return act(out) || ends(status, EXIT_CLEAN);
    if (!take_defaults(out))
        return ends(status, EXIT_CONFIG);
    out->config = config_of(&flags, world);
    if (out->config != NULL && !options_read_file(out, world))
        return ends(status, EXIT_CONFIG);
    if (!take_environment(out, world) || !take_flags(out, &flags))
        return ends(status, EXIT_USAGE);
    return act(out) || ends(status, EXIT_CLEAN);
}

bool options_given(const struct server_options *o, const char *name)
{
    return o->given[option_named(name) - option_rows].source != FROM_DEFAULT;
}
