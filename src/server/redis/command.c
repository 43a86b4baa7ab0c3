/* command.c - COMMAND: the table, told to clients; and to readers of docs/resp.md. */
#include "server/redis/handlers.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static const char *const flag_names[] = {
    "write", "readonly", "denyoom", "admin",    "noscript",   "loading",
    "stale", "fast",     "no_auth", "no_multi", "allow_busy",
};

static void put_flags(struct resp_out *out, const struct command *command)
{
    size_t n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(flag_names); i++)
        n += command->flags >> i & 1;
    resp_put_set(out, n);
    for (unsigned i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (command->flags >> i & 1)
            resp_put_simple(out, flag_names[i]);
    }
}

static void put_info(struct resp_out *out, const struct command *command)
{
    char name[COMMAND_NAME_BYTES];

    resp_put_array(out, 10);
    resp_put_text(out, command_full_name(command, name));
    resp_put_int(out, command->arity);
    put_flags(out, command);
    resp_put_int(out, command->first_key);
    resp_put_int(out, command->last_key);
    resp_put_int(out, command->key_step);
    resp_put_set(out, 0);   /* categories of access control: there is none */
    resp_put_array(out, 0); /* hints for proxies */
    resp_put_array(out, 0); /* how to find keys: the three numbers above say it */
    resp_put_array(out, command->sub_count);
    for (unsigned i = 0; i < command->sub_count; i++)
        put_info(out, &command->subs[i]);
}

enum quern_code cmd_command(struct call *k)
{
    resp_put_array(&k->out, command_count);
    for (unsigned i = 0; i < command_count; i++)
        put_info(&k->out, &commands[i]);
    return QUERN_OK;
}

enum quern_code cmd_command_count(struct call *k)
{
    return call_int(k, command_count);
}

/* "get", "CLIENT|LIST". */
static const struct command *by_full_name(struct quern_slice name)
{
    const char *bar = memchr(name.data, '|', name.len);
    const struct command *command;

    if (bar == NULL)
        return command_named(name, commands, command_count);
    command =
        command_named((struct quern_slice){name.data, (size_t)(bar - (const char *)name.data)},
                      commands, command_count);
    if (command == NULL || command->subs == NULL)
        return NULL;
    return command_named(
        (struct quern_slice){bar + 1, name.len - 1 - (size_t)(bar - (const char *)name.data)},
        command->subs, command->sub_count);
}

enum quern_code cmd_command_info(struct call *k)
{
    if (k->argc == 2)
        return cmd_command(k);
    resp_put_array(&k->out, k->argc - 2);
    for (size_t i = 2; i < k->argc; i++) {
        const struct command *command = by_full_name(k->args[i]);

        if (command != NULL)
            put_info(&k->out, command);
        else
            resp_put_null_array(&k->out);
    }
    return QUERN_OK;
}

static void put_docs(struct resp_out *out, const struct command *command)
{
    char name[COMMAND_NAME_BYTES];
    bool has_arguments = *command_syntax(command) != '\0';

    resp_put_text(out, command_full_name(command, name));
    resp_put_map(out, 3 + (size_t)(command->sub_count > 0) + has_arguments);
    resp_put_text(out, "summary");
    resp_put_text(out, command->summary);
    resp_put_text(out, "since");
    resp_put_text(out, command->since);
    resp_put_text(out, "group");
    resp_put_text(out, command_group_name(command->group));
    if (has_arguments) {
        resp_put_text(out, "arguments");
        command_put_arguments(out, command);
    }
    if (command->sub_count == 0)
        return;
    resp_put_text(out, "subcommands");
    resp_put_map(out, command->sub_count);
    for (unsigned i = 0; i < command->sub_count; i++)
        put_docs(out, &command->subs[i]);
}

enum quern_code cmd_command_docs(struct call *k)
{
    size_t known = 0;

    if (k->argc == 2) {
        resp_put_map(&k->out, command_count);
        for (unsigned i = 0; i < command_count; i++)
            put_docs(&k->out, &commands[i]);
        return QUERN_OK;
    }
    for (size_t i = 2; i < k->argc; i++)
        known += by_full_name(k->args[i]) != NULL;
    resp_put_map(&k->out, known);
    for (size_t i = 2; i < k->argc; i++) {
        const struct command *command = by_full_name(k->args[i]);

        if (command != NULL)
            put_docs(&k->out, command);
    }
    return QUERN_OK;
}

static bool is_listed(const struct call *k, const char *name)
{
    if (k->argc == 2)
        return true;
    return call_arg_is(k, 3, "PATTERN") && resp_glob_matches(k->args[4], QUERN_STR(name));
}

enum quern_code cmd_command_list(struct call *k)
{
    struct buf names OWNED_BUF = {0};
    struct resp_out to = {&names, k->out.proto, false};
    size_t n = 0;

    if (k->argc != 2 && (k->argc != 5 || !call_arg_is(k, 2, "FILTERBY") ||
                         (!call_arg_is(k, 3, "PATTERN") && !call_arg_is(k, 3, "MODULE"))))
        return call_syntax_error(k);
    for (unsigned i = 0; i < command_numbers(); i++) {
        char name[COMMAND_NAME_BYTES];

        if (!is_listed(k, command_full_name(command_numbered(i), name)))
            continue;
        resp_put_text(&to, name);
        n++;
    }
    resp_put_array(&k->out, n);
    resp_put_raw(&k->out, names.data, names.len);
    k->out.failed |= to.failed;
    return QUERN_OK;
}

enum quern_code cmd_command_getkeys(struct call *k)
{
    bool unknown_sub;
    const struct quern_slice *args = k->args + 2;
    const struct command *command = command_find(args, k->argc - 2, &unknown_sub);
    size_t last, step, first;

    if (command == NULL)
        return call_error(k, "ERR Invalid command specified");
    if (command->key_step == 0)
        return call_error(k, "ERR The command has no key arguments");
    if (!command_arity_fits(command, k->argc - 2))
        return call_error(k, "ERR Invalid number of arguments specified for command");
    last = command_last_key(command, k->argc - 2);
    step = (size_t)command->key_step;
    first = (size_t)command->first_key;
    resp_put_array(&k->out, (last - first) / step + 1);
    for (size_t i = first; i <= last; i += step)
        resp_put_bulk(&k->out, args[i]);
    return QUERN_OK;
}

/* HELP of any container. */
enum quern_code cmd_help(struct call *k)
{
    const struct command *container = command_named(k->args[0], commands, command_count);
    char text[160], name[COMMAND_NAME_BYTES];

    resp_put_array(&k->out, 1 + (size_t)container->sub_count);
    (void)snprintf(text, sizeof(text),
                   "%s <subcommand> [<arg> [value] [opt] ...]. "
                   "Subcommands are:",
                   upper_case(k->args[0], name));
    resp_put_simple(&k->out, text);
    for (unsigned i = 0; i < container->sub_count; i++) {
        (void)snprintf(text, sizeof(text), "%s: %s", container->subs[i].name,
                       container->subs[i].summary);
        resp_put_simple(&k->out, text);
    }
    return QUERN_OK;
}

/* ------------------------------------------------------------------ for docs/resp.md -- */

static void print_row(const struct command *command)
{
    const struct command *c = command;
    const char *syntax = command_syntax(c);

    (void)printf("| `%s%s%s%s", c->parent != NULL ? c->parent : "", c->parent != NULL ? " " : "",
                 c->name, *syntax != '\0' ? " " : "");
    for (; *syntax != '\0'; syntax++)
        (void)printf(*syntax == '|' ? "\\|" : "%c", *syntax);
    (void)printf("` | %d | %s | %s |\n", c->arity, command_group_name(c->group), c->summary);
}

void resp_print_commands(void)
{
    (void)printf("| command | arity | group | what it does here |\n|---|---|---|---|\n");
    for (unsigned i = 0; i < command_count; i++) {
        if (commands[i].run != NULL)
            print_row(&commands[i]);
        for (unsigned s = 0; s < commands[i].sub_count; s++)
            print_row(&commands[i].subs[s]);
    }
}
