/* dump.c - writes the lines of a dump; what they look like stands in dump/line.c.
 *
 * A dump to a file is written under FILE.tmp, synced, renamed, and the directory synced: FILE is
 * either whole or not there. What stands under the name and is no file (a device, a pipe) is
 * written to as it stands: it must not be replaced. */
#include "cli/dump_priv.h"

#include "dump/line.h"
#include "cli/progress_priv.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct dump {
    FILE *to;
    XXH3_state_t *hash;
    uint64_t entries;
    struct buf line;
    dump_source source;
    void *source_arg;
};

static enum quern_code write_line(struct dump *d, struct quern_error *err)
{
    if (fwrite(d->line.data, 1, d->line.len, d->to) != d->line.len)
        return err_sys(err, errno, "write");
    return QUERN_OK;
}

static enum quern_code write_entries(struct dump *d, const struct dump_store *from,
                                     uint8_t database, struct progress *bar,
                                     struct quern_error *err)
{
    struct quern_iter *it = from->its[database];
    enum quern_code code = QUERN_OK;

    if (it == NULL)
        return QUERN_OK;

    for (bool on = quern_iter_first(it); on && code == QUERN_OK; on = quern_iter_next(it)) {
        struct quern_slice value = quern_iter_value(it);

        buf_clear(&d->line);
        if (cli_interrupted())
            code = err_set(err, QUERN_CLOSED, "interrupted");
        else if (dump_line_entry(database, quern_iter_key(it), &value, quern_iter_expires_ms(it),
                                 &d->line, err) ||
                 write_line(d, err))
            code = err->code;
        (void)XXH3_64bits_update(d->hash, d->line.data, d->line.len);
        d->entries++;
        progress_at(bar, d->entries, from->total);
    }
    return code != QUERN_OK ? code : quern_iter_error(it, err);
}

static enum quern_code from_iterators(struct dump *d, void *arg, struct quern_error *err)
{
    const struct dump_store *from = arg;
    struct progress bar = progress_of("dump", PROGRESS_ENTRIES);
    enum quern_code code = QUERN_OK;

    for (unsigned n = 0; n < QUERN_DATABASES && code == QUERN_OK; n++)
        code = write_entries(d, from, (uint8_t)n, &bar, err);
    progress_wipe(&bar);
    if (code != QUERN_OK)
        return code;
    buf_clear(&d->line);
    if (dump_line_end(d->entries, XXH3_64bits_digest(d->hash), 0, &d->line, err))
        return err->code;
    return write_line(d, err);
}

enum quern_code dump_raw(struct dump *d, struct quern_slice line, struct quern_error *err)
{
    if (fwrite(line.data, 1, line.len, d->to) != line.len)
        return err_sys(err, errno, "write");
    return QUERN_OK;
}

static enum quern_code write_all(struct dump *d, struct quern_error *err)
{
    if (d->source(d, d->source_arg, err))
        return err->code;
    if (fflush(d->to) != 0)
        return err_sys(err, errno, "write");
    return QUERN_OK;
}

/* Give the finished file its name for good. */
static enum quern_code publish(FILE *file, const char *from, const char *to,
                               struct quern_error *err)
{
    char *copy = strdup(to);
    int dir = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    enum quern_code code = QUERN_OK;

    if (fsync(fileno(file)) != 0)
        code = err_sys(err, errno, "sync %s", from);
    else if (rename(from, to) != 0)
        code = err_sys(err, errno, "rename %s", from);
    else if (dir < 0 || fsync(dir) != 0)
        code = err_sys(err, errno, "sync the directory of %s", to);
    if (dir >= 0)
        (void)close(dir);
    free(copy);
    return code;
}

/* Write into `name`, and then call it `path`; without `path` it has its name already. */
static enum quern_code dump_into(struct dump *d, const char *name, const char *path,
                                 struct quern_error *err)
{
    enum quern_code code;

    d->to = fopen(name, "we");
    if (d->to == NULL)
        return err_sys(err, errno, "%s", name);
    code = write_all(d, err);
    if (code == QUERN_OK && path != NULL)
        code = publish(d->to, name, path, err);
    if (fclose(d->to) != 0 && code == QUERN_OK)
        code = err_sys(err, errno, "close %s", name);
    if (code != QUERN_OK && path != NULL)
        (void)unlink(name);
    return code;
}

static enum quern_code dump_to_file(struct dump *d, const char *path, struct quern_error *err)
{
    struct buf temporary OWNED_BUF = {0};
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return dump_into(d, path, NULL, err);
    if (buf_append(&temporary, path, strlen(path), err) || buf_append(&temporary, ".tmp", 5, err))
        return err->code;
    return dump_into(d, (const char *)temporary.data, path, err);
}

enum cli_exit dump_iterators(const struct cli_args *args, const struct dump_store *from)
{
    return dump_run(args, from_iterators, (void *)(uintptr_t)from);
}

enum cli_exit dump_run(const struct cli_args *args, dump_source source, void *source_arg)
{
    bool to_file = args->word_count == 1 && strcmp(args->words[0], "-") != 0;
    struct quern_error err = {0};
    XXH3_state_t *hash OWNED(alloc_free) = dump_hash_new(&err);
    struct dump d = {.to = stdout, .hash = hash, .source = source, .source_arg = source_arg};
    enum quern_code code;

    if (hash == NULL)
        return cli_fail(&err, false);
    code = to_file ? dump_to_file(&d, args->words[0], &err) : write_all(&d, &err);
    buf_done(&d.line);
    if (code == QUERN_OK)
        return EXIT_GOOD;
    if (err.sys_errno == EPIPE) /* the reader went away; it knows */
        return EXIT_REFUSED;
    (void)err_in(&err, "dump");
    return cli_fail(&err, false);
}
