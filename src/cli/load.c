/* load.c - reads a dump line by line, checks it and hands its entries on.
 *
 *     read(2) -> lines_next() -> dump_line_parse() -> sink->put() ... sink->commit()
 *                     '-> XXH3 over each line before the last
 *
 * Memory is one line. The last line seals the dump: where it is missing, or its count or hash
 * differ from what was read, the dump is damaged; what was read until then has been loaded and is
 * told. */
#include "cli/load_priv.h"

#include "cli/progress_priv.h"

#include "base/entry.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (256u << 10)
/* The longest line that dump writes: each byte of key and value as a six-letter escape. */
#define LINE_BYTES_MAX (((uint64_t)QUERN_KEY_BYTES_MAX + QUERN_VALUE_BYTES_MAX) * 6 + 128)

/* The bytes [at, buf.len) are read and not yet handed out; [at, looked) hold no newline. */
struct lines {
    int fd;
    struct buf buf;
    size_t at, looked;
    bool over; /* the file has ended */
    uint64_t bytes;
};

/* Read more behind what there is. */
static enum quern_code lines_fill(struct lines *l, struct quern_error *err)
{
    ssize_t got;

    if (l->at > 0) {
        memmove(l->buf.data, l->buf.data + l->at, l->buf.len - l->at);
        l->buf.len -= l->at;
        l->looked -= l->at;
        l->at = 0;
    }
    if (l->buf.len > LINE_BYTES_MAX)
        return err_set(err, QUERN_INVALID, "a line of more than %" PRIu64 " bytes", LINE_BYTES_MAX);
    if (buf_reserve(&l->buf, READ_BYTES, err))
        return err->code;
    do {
        if (cli_interrupted())
            return err_set(err, QUERN_CLOSED, "interrupted");
        got = read(l->fd, l->buf.data + l->buf.len, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(err, errno, "read");
    l->buf.len += (size_t)got;
    l->bytes += (uint64_t)got;
    l->over = got == 0;
    return QUERN_OK;
}

/* The next line, newline included where it has one; empty at the end.
 * Borrowed until the next call. */
static enum quern_code lines_next(struct lines *l, struct quern_slice *line,
                                  struct quern_error *err)
{
    for (;;) {
        const uint8_t *newline = NULL;
        size_t end = l->buf.len;

        if (l->looked < end)
            newline = memchr(l->buf.data + l->looked, '\n', end - l->looked);
        if (newline != NULL)
            end = (size_t)(newline + 1 - l->buf.data);
        if (newline != NULL || l->over) {
            *line = slice_of(l->buf.data + l->at, end - l->at);
            l->at = l->looked = end;
            return QUERN_OK;
        }
        l->looked = l->buf.len;
        if (lines_fill(l, err))
            return err->code;
    }
}

struct load {
    struct lines lines;
    XXH3_state_t *hash; /* of all entry lines so far */
    uint64_t line_no, entries;
    bool sealed; /* the end line was met, and it holds */
};

static enum quern_code check_end(struct load *load, const struct dump_line *line,
                                 struct quern_error *err)
{
    uint64_t hash = XXH3_64bits_digest(load->hash);
    struct quern_slice rest;

    if (line->count != load->entries)
        return err_set(err, QUERN_CORRUPT, "the end line counts %" PRIu64 " entries", line->count);
    if (line->hash != hash)
        return err_set(err, QUERN_CORRUPT,
                       "the checksum is %016" PRIx64 ", the end line says %016" PRIx64, hash,
                       line->hash);
    if (lines_next(&load->lines, &rest, err))
        return err->code;
    if (rest.len != 0)
        return err_set(err, QUERN_CORRUPT, "something follows the end line");
    load->sealed = true;
    return QUERN_OK;
}

/* One line after the other until the end line or the end of the file. */
static enum quern_code read_lines(struct load *load, struct load_sink *sink, struct progress *bar,
                                  uint64_t total_bytes, struct quern_error *err)
{
    struct dump_line line OWNED_DUMP_LINE = {0};
    struct quern_slice raw, text;

    for (;;) {
        if (cli_interrupted())
            return err_set(err, QUERN_CLOSED, "interrupted");
        if (lines_next(&load->lines, &raw, err))
            return err->code;
        if (raw.len == 0)
            return QUERN_OK;
        load->line_no++;
        text = raw;
        if (((const char *)raw.data)[raw.len - 1] == '\n')
            text.len--;
        if (dump_line_parse(text, &line, err))
            return err->code == QUERN_INVALID ? err->code = QUERN_CORRUPT : err->code;
        if (line.end)
            return check_end(load, &line, err);
        if (sink->put(sink, &line, err))
            return err->code;
        (void)XXH3_64bits_update(load->hash, raw.data, raw.len);
        load->entries++;
        progress_at(bar, total_bytes != 0 ? load->lines.bytes : load->entries, total_bytes);
    }
}

/* Commit also when reading failed: what was whole is kept. */
static enum quern_code load_all(struct load *load, struct load_sink *sink, bool no_end,
                                struct progress *bar, uint64_t total_bytes, struct quern_error *err)
{
    struct quern_error commit_err;
    enum quern_code code = read_lines(load, sink, bar, total_bytes, err);

    progress_wipe(bar);
    if (code == QUERN_OK && !load->sealed && !no_end)
        code = err_set(err, QUERN_CORRUPT,
                       "cut short: there is no end line (--no-end does without it)");
    if (code != QUERN_OK)
        (void)err_in(err, "line %" PRIu64, load->line_no);
    if (sink->commit(sink, &commit_err)) {
        *err = commit_err;
        code = commit_err.code;
    }
    return code;
}

static enum cli_exit report(const struct cli_args *args, uint64_t loaded, enum quern_code code,
                            const char *name, struct quern_error *err)
{
    if (code == QUERN_OK && args->json)
        out_text("{\"loaded\":%" PRIu64 "}\n", loaded);
    if (code == QUERN_OK)
        return EXIT_GOOD;
    (void)err_in(err, "load %s: %" PRIu64 " entries were loaded, then", name, loaded);
    return cli_fail(err, false);
}

enum cli_exit load_run(const struct cli_args *args, struct load_sink *sink)
{
    bool from_file = args->word_count == 1 && strcmp(args->words[0], "-") != 0;
    const char *name = from_file ? args->words[0] : "standard input";
    struct quern_error err = {0};
    XXH3_state_t *hash OWNED(alloc_free) = dump_hash_new(&err);
    struct load load = {.lines = {.fd = STDIN_FILENO}, .hash = hash};
    struct progress bar;
    struct stat st;
    uint64_t total_bytes = 0;
    enum quern_code code;

    if (hash == NULL)
        return cli_fail(&err, false);
    if (from_file) {
        load.lines.fd = open(name, O_RDONLY | O_CLOEXEC);
        if (load.lines.fd < 0) {
            (void)err_sys(&err, errno, "%s", name);
            (void)cli_fail(&err, false);
            return EXIT_USAGE;
        }
    }
    if (fstat(load.lines.fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        total_bytes = (uint64_t)st.st_size;
    bar = progress_of("load", total_bytes != 0 ? PROGRESS_BYTES : PROGRESS_ENTRIES);
    code = load_all(&load, sink, args->no_end, &bar, total_bytes, &err);
    if (from_file)
        (void)close(load.lines.fd);
    buf_done(&load.lines.buf);
    return report(args, sink->loaded, code, name, &err);
}
