/* output.c - what the command prints: raw bytes, lines for eyes, JSON. A write to standard output
 * that fails is remembered and told once, at the end. */
#include "cli/bytes_priv.h"
#include "cli/cli_priv.h"
#include "dump/line.h"

#include "base/attr.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

static int out_errno; /* of the first write that failed; 0: none */

static void json_free(json_t *json)
{
    json_decref(json);
}
OWNER(json_free, json_t *);

bool out_good(void)
{
    return out_errno == 0;
}

void out_bytes(struct quern_slice s)
{
    if (out_errno == 0 && s.len != 0 && fwrite(s.data, 1, s.len, stdout) != s.len)
        out_errno = errno != 0 ? errno : EIO;
}

void out_text(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (out_errno == 0 && vprintf(format, args) < 0)
        out_errno = errno != 0 ? errno : EIO;
    va_end(args);
}

void out_escaped(struct quern_slice s)
{
    struct buf text OWNED_BUF = {0};
    struct quern_error err;

    if (bytes_to_escaped(s, &text, &err) == QUERN_OK)
        out_bytes(buf_slice(&text));
    else if (out_errno == 0)
        out_errno = ENOMEM;
}

enum quern_code out_entry_json(uint8_t database, struct quern_slice key,
                               const struct quern_slice *value, struct quern_error *err)
{
    struct buf line OWNED_BUF = {0};

    if (dump_line_entry(database, key, value, 0, &line, err))
        return err->code;
    out_bytes(buf_slice(&line));
    return QUERN_OK;
}

enum cli_exit out_not_found(const struct cli_args *args)
{
    if (args->json)
        out_text("{\"found\":false}\n");
    else
        fprintf(stderr, "quern: key not found\n");
    return EXIT_NOT_FOUND;
}

enum cli_exit out_finish(enum cli_exit so_far)
{
    if (fflush(stdout) != 0 && out_errno == 0)
        out_errno = errno;
    if (out_errno == 0)
        return so_far;
    /* Whoever read has read enough: head(1) goes away, and that is no mishap to speak of. */
    if (out_errno != EPIPE)
        fprintf(stderr, "quern: standard output: %s\n", strerror(out_errno));
    return so_far == EXIT_GOOD ? EXIT_REFUSED : so_far;
}

/* Print `json` as lines "path value"; `path` holds the names down to here. */
static enum quern_code print_flat(const json_t *json, const char *path, struct quern_error *err)
{
    char name[160], number[64];
    const char *key;
    json_t *member;
    size_t index, len;

    if (json_is_object(json)) {
        json_object_foreach((json_t *)(uintptr_t)json, key, member)
        {
            (void)snprintf(name, sizeof(name), "%s%s%s", path, path[0] != '\0' ? "." : "", key);
            if (strlen(path) + 1 < sizeof(name) && print_flat(member, name, err))
                return err->code;
        }
        return QUERN_OK;
    }
    if (json_is_array(json)) {
        json_array_foreach(json, index, member)
        {
            (void)snprintf(name, sizeof(name), "%s.%zu", path, index);
            if (strlen(path) + 1 < sizeof(name) && print_flat(member, name, err))
                return err->code;
        }
        return QUERN_OK;
    }
    out_text("%-28s ", path);
    if (json_is_string(json)) {
        out_escaped(QUERN_STR(json_string_value(json)));
    } else {
        len = json_dumpb(json, number, sizeof(number), JSON_ENCODE_ANY);
        if (len == 0 || len > sizeof(number))
            return err_memory(err, "statistics");
        out_bytes((struct quern_slice){number, len});
    }
    out_text("\n");
    return QUERN_OK;
}

enum quern_code out_stats(struct quern_slice json_text, bool as_json, struct quern_error *err)
{
    json_t *json OWNED(json_free) = NULL;
    json_error_t why;

    json = json_loadb(json_text.len != 0 ? json_text.data : "", json_text.len, 0, &why);
    if (json == NULL)
        return err_set(err, QUERN_IO, "the statistics are not JSON: %s", why.text);
    if (!as_json)
        return print_flat(json, "", err);
    out_bytes(json_text);
    if (json_text.len == 0 || ((const char *)json_text.data)[json_text.len - 1] != '\n')
        out_text("\n");
    return QUERN_OK;
}

enum quern_code out_entry(const struct cli_args *args, struct quern_slice key,
                          const struct quern_slice *value, struct quern_error *err)
{
    struct quern_slice zero = {"", 1};

    if (args->json)
        return out_entry_json(args->database, key, args->keys_only ? NULL : value, err);
    if (args->nul) {
        out_bytes(key);
        out_bytes(zero);
        if (args->keys_only)
            return QUERN_OK;
        out_bytes(*value);
        out_bytes(zero);
        return QUERN_OK;
    }
    out_escaped(key);
    if (!args->keys_only) {
        out_text("\t");
        out_escaped(*value);
    }
    out_text("\n");
    return QUERN_OK;
}
