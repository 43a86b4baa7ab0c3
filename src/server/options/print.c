/* print.c - the options, told: --help, the page of docs/operations.md, --print-config, and
 * /v1/admin/config. */
#include "server/options/options_priv.h"

#include "base/attr.h"
#include "base/error.h"
#include "http/http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const group_titles[OPTION_GROUPS] = {"the store", "the door", "access", "logs",
                                                        "quernd itself"};

static const char help_begins[] =
    "quernd - serve a quern store over HTTP and the Redis protocol\n"
    "\n"
    "usage: quernd [OPTION]...\n"
    "\n"
    "  quernd                          serve ./data on http://localhost:8080\n"
    "  quernd --data /srv/q --port 9000\n"
    "  curl -X POST 'http://localhost:8080/set?key=key1&value=value1'\n"
    "  curl 'http://localhost:8080/get?key=key1'\n"
    "  curl http://localhost:8080/shutdown\n";

static const char help_ends[] =
    "SIZE is a number with K, M or G (powers of 1024); TIME a number with ms, s or m. What may be\n"
    "repeated may also be one list with commas. --max-value 1M is max-value = 1M in the file and\n"
    "QUERN_MAX_VALUE=1M in the environment; the command line goes before the environment, that\n"
    "before the file, and a list replaces one of less weight.\n"
    "\n"
    "signals\n"
    "  SIGTERM, SIGINT  as /shutdown: drain, flush, sync and close; a second one skips the drain\n"
    "  SIGHUP           read the file, tokens and certificates again, begin new log files\n"
    "  SIGUSR1          tell on stderr how it fares\n"
    "\n"
    "exit status\n"
    "  0  shut down, all data is safe on disk\n"
    "  1  the configuration file is wrong, or the options are not safe or contradict one another\n"
    "  2  usage: an unknown option, or a value out of shape\n"
    "  3  cannot listen: the port is in use, or the address is not of this machine\n"
    "  4  another process has the store open\n"
    "  5  the store is damaged; nothing was changed\n"
    "  6  no space on the disk to open the store\n"
    "  7  the store cannot be opened for another reason\n"
    "  8  shut down, but not all could be made safe on disk; the message says why. What was\n"
    "     acknowledged is recovered from the log at the next start as far as it reached the disk\n";

/* The help of a row with its default put in; each further line begins with `indent`. */
static void print_text(const struct option_row *row, const char *indent)
{
    for (const char *c = row->help; *c != '\0'; c++) {
        if (c[0] == '{' && c[1] == '}') {
            (void)fputs(row->initial, stdout);
            c++;
        } else {
            (void)putchar(*c);
        }
        if (*c == '\n')
            (void)fputs(indent, stdout);
    }
}

void options_print_help(void)
{
    (void)fputs(help_begins, stdout);
    for (unsigned i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        char head[OPTION_NAME_BYTES];

        if (i == 0 || row->group != row[-1].group)
            (void)printf("\n%s\n", group_titles[row->group]);
        (void)snprintf(head, sizeof(head), "--%s%s%s", row->name, row->value != NULL ? " " : "",
                       row->value != NULL ? row->value : "");
        (void)printf("  %-23s ", head);
        print_text(row, "                          ");
        (void)putchar('\n');
    }
    (void)printf("\n%s", help_ends);
}

/* A line of a help, with the default put in. */
static void print_line(const struct option_row *row, const char *c, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (c[i] == '{') {
            (void)fputs(row->initial, stdout);
            i++;
        } else {
            (void)putchar(c[i]);
        }
    }
}

/* The help of a row as the cell of a table. Lines that are set in begin with a word that they explain,
 * and stand each for itself; what is set in further goes on with the line before. */
static void print_cell(const struct option_row *row)
{
    bool listed = false;

    for (const char *line = row->help; *line != '\0';) {
        size_t len = strcspn(line, "\n"), in = strspn(line, " ");
        bool word = in == 2, begins = word || (listed && in == 0);

        if (line != row->help)
            (void)fputs(begins ? "<br>" : " ", stdout);
        listed = word || (listed && in > 0);
        if (word) {
            size_t end = in + strcspn(line + in, " ");

            (void)printf("`%.*s`: ", (int)(end - in), line + in);
            in = end + strspn(line + end, " ");
        }
        print_line(row, line + in, len - in);
        line += len + (line[len] == '\n');
    }
}

void options_print_table(void)
{
    char name[OPTION_NAME_BYTES];

    (void)printf("| flag, and key of the file | environment | default | what it does |\n"
                 "|---|---|---|---|\n");
    for (unsigned i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];

        (void)printf("| `--%s%s%s` | ", row->name, row->value != NULL ? " " : "",
                     row->value != NULL ? row->value : "");
        if (row->kind == OPTION_ACTION)
            (void)printf("flag only");
        else
            (void)printf("`%s`", option_environment_name(row, name));
        if (row->initial != NULL)
            (void)printf(" | `%s` | ", row->initial);
        else
            (void)printf(" | | ");
        print_cell(row);
        (void)printf("%s |\n", row->changes ? "<br>changeable while it runs" : "");
    }
}

static void write_source(const struct server_options *o, const struct option_row *row, char *to,
                         size_t room)
{
    const struct option_given *given = &o->given[row - option_rows];
    char name[OPTION_NAME_BYTES];

    if (given->source == FROM_FILE)
        (void)snprintf(to, room, "%s:%u", o->config, given->line);
    else if (given->source == FROM_ENVIRONMENT)
        (void)snprintf(to, room, "environment %s", option_environment_name(row, name));
    else if (given->source == FROM_CHANGE)
        (void)snprintf(to, room, "changed while it ran");
    else
        (void)snprintf(to, room, given->source == FROM_FLAG ? "flag --%s" : "default", row->name);
}

/* What a share came to: "1507M", or nothing. */
#define RESOLVED_BYTES 24
static const char *resolved(const struct server_options *o, const struct option_row *row,
                            char to[RESOLVED_BYTES])
{
    const char *text = o->given[row - option_rows].text;

    *to = '\0';
    if (row->is_share && strchr(text, '%') != NULL)
        (void)snprintf(to, RESOLVED_BYTES, "%" PRIu64 "M",
                       *(const _Atomic uint64_t *)(const void *)((const char *)o + row->at) >> 20);
    return to;
}

void options_print_config(const struct server_options *o)
{
    char source[512], size[RESOLVED_BYTES];

    for (unsigned i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];

        if (row->kind == OPTION_ACTION)
            continue;
        write_source(o, row, source, sizeof(source));
        if (o->given[i].text == NULL)
            (void)printf("# %s: not set\n", row->name);
        else
            (void)printf("%s%s = %s  ; %s%s%s\n", row->not_in_the_file ? "# " : "", row->name,
                         o->given[i].text, source, *resolved(o, row, size) != '\0' ? ": " : "",
                         size);
    }
}

MUST_USE static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

static enum quern_code row_json(const struct server_options *o, const struct option_row *row,
                                struct buf *out, struct quern_error *err)
{
    const char *text = o->given[row - option_rows].text;
    char source[512], size[RESOLVED_BYTES];

    write_source(o, row, source, sizeof(source));
    if (add(out, "{\"name\":\"", err) || add(out, row->name, err) || add(out, "\",\"value\":", err))
        return err->code;
    if (text == NULL) {
        if (add(out, "null", err))
            return err->code;
    } else if (add(out, "\"", err) || http_json_escape(out, QUERN_STR(text), err) ||
               add(out, "\"", err)) {
        return err->code;
    }
    if (text != NULL && *resolved(o, row, size) != '\0' &&
        (add(out, ",\"resolved\":\"", err) || add(out, size, err) || add(out, "\"", err)))
        return err->code;
    if (add(out, ",\"source\":\"", err) || http_json_escape(out, QUERN_STR(source), err))
        return err->code;
    return add(out, row->changes ? "\",\"changeable\":true}" : "\",\"changeable\":false}", err);
}

enum quern_code options_json(const struct server_options *o, struct buf *out,
                             struct quern_error *err)
{
    const char *between = "{\"options\":[";

    for (unsigned i = 0; i < option_row_count; i++) {
        if (option_rows[i].kind == OPTION_ACTION)
            continue;
        if (add(out, between, err) || row_json(o, &option_rows[i], out, err))
            return err->code;
        between = ",";
    }
    return add(out, "]}\n", err);
}
