/* damage.c - verify and repair: what they find, as lines for eyes or as JSON. They look at files
 * and open no store, so that one which cannot be opened is told of as well. */
#include "cli/cli_priv.h"
#include "cli/progress_priv.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

struct output {
    struct progress bar;
    json_t *damages; /* an array, or NULL without --json */
};

/* Keys may be any bytes: they go into JSON as they do into lines, escaped. */
static json_t *json_of_key(struct quern_slice key)
{
    char text[4 * 64 + 4], *to = text;

    for (size_t i = 0; i < key.len && i < 64; i++) {
        unsigned char c = ((const unsigned char *)key.data)[i];

        if (c >= 0x20 && c < 0x7f && c != '\\')
            *to++ = (char)c;
        else
            to += snprintf(to, 5, "\\x%02x", c);
    }
    (void)snprintf(to, 4, "%s", key.len > 64 ? "..." : "");
    return json_string(text);
}

/* Worth telling: not just database 0, and not just any. */
static bool names_databases(const struct quern_damage *damage)
{
    return damage->first_database != 0 || (damage->last_database != 0 && damage->last_key.len != 0);
}

static void add_json(struct output *output, const struct quern_damage *damage)
{
    json_t *row = json_pack("{s:s, s:I, s:s, s:b}", "file", damage->file, "offset",
                            (json_int_t)damage->offset, "what", damage->what, "lost", damage->lost);

    if (damage->first_key.len != 0)
        (void)json_object_set_new(row, "first_key", json_of_key(damage->first_key));
    if (damage->last_key.len != 0)
        (void)json_object_set_new(row, "last_key", json_of_key(damage->last_key));
    if (names_databases(damage)) {
        (void)json_object_set_new(row, "first_database", json_integer(damage->first_database));
        (void)json_object_set_new(row, "last_database", json_integer(damage->last_database));
    }
    (void)json_array_append_new(output->damages, row);
}

static void on_damage(void *arg, const struct quern_damage *damage)
{
    struct output *output = arg;

    progress_wipe(&output->bar);
    if (output->damages != NULL) {
        add_json(output, damage);
        return;
    }
    out_text("%s: %s at %" PRIu64 ": %s", damage->lost ? "damaged" : "damaged, nothing lost",
             damage->file, damage->offset, damage->what);
    if (damage->first_key.len != 0) {
        out_text("; keys from ");
        out_escaped(damage->first_key);
    }
    if (damage->last_key.len != 0) {
        out_text(damage->first_key.len != 0 ? " to " : "; keys up to ");
        out_escaped(damage->last_key);
    }
    if (names_databases(damage))
        out_text("; databases %u to %u", damage->first_database, damage->last_database);
    out_text("\n");
}

static void print_damages(const struct output *output)
{
    char *text = json_dumps(output->damages, JSON_COMPACT);

    out_text(",\"damages\":%s}\n", text != NULL ? text : "[]");
    free(text);
}

static void print_verify(const struct output *output, bool sound,
                         const struct quern_verify_report *report)
{
    if (output->damages == NULL) {
        out_text("%s: %" PRIu64 " tables, %" PRIu64 " entries, %" PRIu64 " bytes, %" PRIu64
                 " damages\n",
                 sound ? "sound" : "DAMAGED", report->tables, report->entries, report->bytes,
                 report->damages);
        return;
    }
    out_text("{\"ok\":%s,\"tables\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"bytes\":%" PRIu64
             ",\"damage_count\":%" PRIu64,
             sound ? "true" : "false", report->tables, report->entries, report->bytes,
             report->damages);
    print_damages(output);
}

static void print_repair(const struct output *output, bool whole,
                         const struct quern_repair_report *report)
{
    if (output->damages == NULL) {
        out_text("%s: %" PRIu64 " entries, %" PRIu64 " bytes, from %" PRIu64 " tables and %" PRIu64
                 " log segments; %" PRIu64 " damages, %" PRIu64 " of them lost entries\n",
                 whole ? "whole" : "LOSSES", report->entries, report->bytes, report->tables,
                 report->segments, report->damages, report->losses);
        return;
    }
    out_text("{\"ok\":%s,\"entries\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"tables\":%" PRIu64
             ",\"segments\":%" PRIu64 ",\"damage_count\":%" PRIu64 ",\"losses\":%" PRIu64,
             whole ? "true" : "false", report->entries, report->bytes, report->tables,
             report->segments, report->damages, report->losses);
    print_damages(output);
}

enum cli_exit damage_run(const struct cli_args *args)
{
    bool repairs = args->verb == VERB_REPAIR;
    struct output output = {
        .bar = progress_of(repairs ? "repair" : "verify", PROGRESS_BYTES),
        .damages = args->json ? json_array() : NULL,
    };
    struct quern_verify_opts opts = {
        .on_damage = on_damage,
        .on_damage_arg = &output,
        .on_progress = progress_call,
        .on_progress_arg = &output.bar,
    };
    struct quern_repair_report repaired = {0};
    struct quern_verify_report verified = {0};
    struct quern_error err = {0};
    enum quern_code code =
        repairs ? quern_repair(args->words[0], args->words[1], &opts, &repaired, &err)
                : quern_check(args->db, &opts, &verified, &err);

    progress_wipe(&output.bar);
    if (code == QUERN_OK || code == QUERN_CORRUPT) {
        if (repairs)
            print_repair(&output, code == QUERN_OK, &repaired);
        else
            print_verify(&output, code == QUERN_OK, &verified);
    }
    json_decref(output.damages);
    if (code == QUERN_OK)
        return EXIT_GOOD;
    (void)cli_fail(&err, false);
    if (code == QUERN_NO_STORE && !repairs)
        say_where();
    return exit_of(code, code != QUERN_IO && code != QUERN_NO_SPACE && code != QUERN_NO_MEMORY);
}
