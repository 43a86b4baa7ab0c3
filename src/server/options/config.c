/* config.c - changes options while the server runs.
 *
 *     wishes -> of each: is it an option, changeable, a value for it? -> one is not: none is done
 *            -> the access log at its new place is open               -> it cannot be: so too
 *            -> under the lock: all are taken, and told to those who keep a copy
 *
 * Most of them are numbers, which whoever needs one reads from the options each time. */
#include "server/options/config.h"

#include "server/options/options_priv.h"
#include "server/observe/say.h"
#include "server/server.h"
#include "server/observe/sink.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char log_name[] = "access-log";

static void keep_log_name(struct config *config, const struct server_options *o)
{
    mutex_lock(&config->mu);
    (void)snprintf(config->log_named, sizeof(config->log_named), "%s", o->access_log);
    mutex_unlock(&config->mu);
}

void config_init(struct config *config, struct server_options *options, int argc, char **argv)
{
    config->options = options;
    config->argc = argc;
    config->argv = argv;
    config->connections_most = options->connections_max;
    mutex_init(&config->mu);
    keep_log_name(config, options);
}

void config_done(struct config *config)
{
    mutex_done(&config->mu);
}

PRINTF_LIKE(3, 4)
static enum config_answer refuse(struct config_trouble *trouble, enum config_answer why,
                                 const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(trouble->detail, sizeof(trouble->detail), format, args);
    va_end(args);
    return why;
}

/* ------------------------------------------------------------------ the access log -- */

/* Takes the place. The log is made when it is on for the first time, and stays. */
static enum quern_code turn_log_locked(struct server *server, struct sink_place place,
                                       struct quern_error *err)
{
    struct sink *sink = server->access_log;
    bool on = place.fd >= 0;

    if (sink != NULL) {
        sink_move(sink, place);
    } else if (on) {
        if (sink_open(place, "access log", &sink, err))
            return err->code;
        server->access_log = sink;
    }
    server->access_log_on = on;
    return QUERN_OK;
}

enum quern_code config_open_log(struct server *server, struct quern_error *err)
{
    struct config *config = &server->config;
    struct sink_place place;

    if (sink_place_open(config->options->access_log, STDOUT_FILENO, &place, err))
        return err->code;
    mutex_lock(&config->mu);
    IGNORE(turn_log_locked(server, place, err));
    mutex_unlock(&config->mu);
    return err->code;
}

/* A file is named by the sources alone: whoever may change options is not to write where he likes. */
static bool may_be_log(struct config *config, const struct config_wish *wish)
{
    bool named;

    mutex_lock(&config->mu);
    named = strcmp(wish->text, config->log_named) == 0;
    mutex_unlock(&config->mu);
    return named || wish->source != FROM_CHANGE || strcmp(wish->text, "off") == 0 ||
           strcmp(wish->text, "-") == 0;
}

/* ------------------------------------------------------------------ one change -- */

/* `scratch` tries the value out. */
static enum config_answer judge(const struct config *config, const struct config_wish *wish,
                                struct server_options *scratch, struct config_trouble *trouble)
{
    const struct option_row *row = option_named(wish->name);
    const char *wanted;

    if (row == NULL || row->kind == OPTION_ACTION) {
        row = option_near(wish->name);
        return refuse(trouble, CONFIG_UNKNOWN, "there is no such option%s%s",
                      row != NULL ? "; did you mean " : "", row != NULL ? row->name : "");
    }
    if (!row->changes)
        return refuse(trouble, CONFIG_FIXED, "%s changes with a restart only", row->name);
    wanted = wish->bare && row->kind == OPTION_TEXT
                 ? row->wanted /* {"access-log":false} means no file of that name */
                 : option_take(scratch, row, wish->text, wish->source, wish->line);
    if (wanted != NULL)
        return refuse(trouble, CONFIG_WRONG, "%s must be %s", row->name, wanted);
    if (scratch->connections_max > config->connections_most)
        return refuse(trouble, CONFIG_WRONG,
                      "%s must be at most %" PRIu32 ", which the server was started for", row->name,
                      config->connections_most);
    return CONFIG_DONE;
}

static enum config_answer judge_all(const struct config *config, const struct config_wish *wishes,
                                    size_t n, struct config_trouble *trouble)
{
    struct server_options scratch = {.world = config->options->world};
    enum config_answer answer = CONFIG_DONE;

    for (size_t i = 0; i < n && answer == CONFIG_DONE; i++) {
        trouble->which = i;
        answer = judge(config, &wishes[i], &scratch, trouble);
    }
    options_done(&scratch);
    return answer;
}

/* Tell those who keep a copy. */
static void apply(struct server *server)
{
    const struct server_options *o = server->options;

    say_from((enum say_level)o->log_level);
    slowlog_set_slower_than(&server->slowlog, o->slow_us);
    slowlog_set_length(&server->slowlog, o->slow_count);
    slowlog_set_latency(&server->slowlog, o->latency_ms);
}

static enum config_answer take_locked(struct server *server, const struct config_wish *wishes,
                                      size_t n, struct config_trouble *trouble)
{
    struct server_options *o = server->config.options;

    for (size_t i = 0; i < n; i++) {
        const struct option_row *row = option_named(wishes[i].name);
        const char *wrong = option_take(o, row, wishes[i].text, wishes[i].source, wishes[i].line);

        trouble->which = i;
        if (wrong != NULL) /* it was well a moment ago */
            return refuse(trouble, CONFIG_WRONG, "%s must be %s", row->name, wrong);
    }
    apply(server);
    for (size_t i = 0; i < n; i++)
        say_event(SAY_INFO, "config", "%s is now %s", wishes[i].name, wishes[i].text);
    return CONFIG_DONE;
}

enum config_answer config_change(struct server *server, const struct config_wish *wishes, size_t n,
                                 struct config_trouble *trouble)
{
    struct config *config = &server->config;
    const struct config_wish *log = NULL;
    struct sink_place place = {-1, NULL};
    struct quern_error err;
    enum config_answer answer = judge_all(config, wishes, n, trouble);

    for (size_t i = 0; i < n && answer == CONFIG_DONE; i++) {
        if (strcmp(wishes[i].name, log_name) == 0)
            log = &wishes[i];
    }
    err_clear(&err);
    if (log != NULL && !may_be_log(config, log)) {
        trouble->which = (size_t)(log - wishes);
        answer =
            refuse(trouble, CONFIG_WRONG,
                   "%s must be off, - or the file that the server's own sources name", log_name);
    } else if (log != NULL && sink_place_open(log->text, STDOUT_FILENO, &place, &err)) {
        answer = CONFIG_WRONG;
    }
    mutex_lock(&config->mu);
    if (answer == CONFIG_DONE && log != NULL && turn_log_locked(server, place, &err))
        answer = CONFIG_WRONG;
    if (answer == CONFIG_DONE)
        answer = take_locked(server, wishes, n, trouble);
    else if (err.code != QUERN_OK)
        trouble->which = (size_t)(log - wishes);
    if (err.code != QUERN_OK)
        (void)refuse(trouble, answer, "%s: %s", log_name, err.text);
    mutex_unlock(&config->mu);
    return answer;
}

enum quern_code config_text(struct server *server, struct buf *out, struct quern_error *err)
{
    enum quern_code code;

    mutex_lock(&server->config.mu);
    code = options_json(server->options, out, err);
    mutex_unlock(&server->config.mu);
    return code;
}

/* ------------------------------------------------------------------ SIGHUP -- */

static bool differs(struct config *config, const struct server_options *fresh, unsigned row)
{
    const char *now = fresh->given[row].text, *was;
    bool different;

    mutex_lock(&config->mu);
    was = config->options->given[row].text;
    different = now == NULL || was == NULL ? now != was : strcmp(now, was) != 0;
    mutex_unlock(&config->mu);
    return different;
}

void config_reload(struct server *server)
{
    struct config *config = &server->config;
    struct server_options fresh;
    struct config_trouble trouble;
    int status;
    bool well;

    complain_by_events(true);
    well = options_parse(config->argc, config->argv, config->options->world, &fresh, &status);
    complain_by_events(false);
    if (!well) {
        say_event(SAY_ERROR, "config", "the options stay as they were");
        options_done(&fresh);
        return;
    }
    keep_log_name(config, &fresh);
    for (unsigned i = 0; i < option_row_count; i++) {
        const struct option_given *given = &fresh.given[i];
        struct config_wish wish = {option_rows[i].name, given->text, given->source, given->line,
                                   false};

        if (!differs(config, &fresh, i))
            continue;
        if (!option_rows[i].changes)
            say_event(SAY_WARNING, "config", "%s is another now, which takes a restart", wish.name);
        else if (config_change(server, &wish, 1, &trouble) != CONFIG_DONE)
            say_event(SAY_ERROR, "config", "%s", trouble.detail);
    }
    options_done(&fresh);
}
