/* file.c - the configuration file: NAME = VALUE, one a line, comments behind # or ;
 *
 * libinih reads it. It takes a line that is too long for its buffer for two, so the lines are dealt
 * to it by a reader of ours, which counts them as well. All that is wrong is said, not just the
 * first. */
#include "server/options/options_priv.h"

#include "server/observe/say.h"

#include <errno.h>
#include <ini.h>
#include <string.h>

#define FILE_BYTES_MAX 1048576u

struct file_reader {
    struct server_options *options;
    FILE *file;
    unsigned line;
    size_t bytes;
    bool wrong;
};

/* The rest of a line that did not fit; false: the file is too large. */
static bool skip_line(struct file_reader *r)
{
    for (int c = 0; c != '\n' && c != EOF; c = fgetc(r->file)) {
        if (++r->bytes > FILE_BYTES_MAX)
            return false;
    }
    return true;
}

/* As fgets(): what libinih calls for a line. */
static char *next_line(char *to, int room, void *arg)
{
    struct file_reader *r = arg;
    size_t len;

    if (fgets(to, room, r->file) == NULL)
        return NULL;
    r->line++;
    len = strlen(to);
    r->bytes += len;
    if (len > 0 && (to[len - 1] == '\n' || feof(r->file)))
        return to;
    r->wrong = true;
    *to = '\0';
    if (!skip_line(r)) {
        complain("%s: not a configuration file, it is over 1 MiB", r->options->config);
        return NULL;
    }
    complain(
        "%s:%u: the line has a zero byte or is over %d bytes; a list may be written as several "
        "lines",
        r->options->config, r->line, room - 3);
    return to;
}

static void say_unknown(const struct file_reader *r, const char *name)
{
    const struct option_row *near = option_near(name);

    complain("%s:%u: there is no option %s%s%s%s", r->options->config, r->line, name,
             near != NULL ? "; did you mean " : "; quernd --help lists all options",
             near != NULL ? near->name : "", near != NULL ? "?" : "");
}

/* One NAME = VALUE. What is wrong is said here, so libinih is told that all is well. */
static int take_line(void *arg, const char *section, const char *name, const char *value)
{
    struct file_reader *r = arg;
    const struct option_row *row = option_named(name);
    const struct option_given *given;
    const char *wanted;

    if (section[0] != '\0') {
        complain("%s:%u: there are no sections; write %s = VALUE without [%s] above it",
                 r->options->config, r->line, name, section);
    } else if (row == NULL) {
        say_unknown(r, name);
    } else if (row->kind == OPTION_ACTION || row->not_in_the_file) {
        complain("%s:%u: %s is not for the file, only for the command line", r->options->config,
                 r->line, name);
    } else {
        given = &r->options->given[row - option_rows];
        if (row->kind != OPTION_LIST && given->source == FROM_FILE) {
            complain("%s:%u: %s was given in line %u already", r->options->config, r->line, name,
                     given->line);
        } else {
            wanted = option_take(r->options, row, value, FROM_FILE, r->line);
            if (wanted == NULL)
                return 1;
            complain("%s:%u: %s = %s: must be %s", r->options->config, r->line, name, value,
                     wanted);
        }
    }
    r->wrong = true;
    return 1;
}

bool options_read_file(struct server_options *o, const struct options_world *world)
{
    struct file_reader r = {.options = o, .file = world->open(o->config)};
    int bad_line;

    if (r.file == NULL) {
        complain("cannot read --config %s: %s", o->config, strerror(errno));
        return false;
    }
    bad_line = ini_parse_stream(next_line, &r, take_line, &r);
    if (bad_line > 0)
        complain("%s:%d: write NAME = VALUE; a comment begins with #", o->config, bad_line);
    if (ferror(r.file) != 0)
        complain("cannot read --config %s: %s", o->config, strerror(errno));
    r.wrong |= bad_line != 0 || ferror(r.file) != 0;
    (void)fclose(r.file);
    return !r.wrong;
}
