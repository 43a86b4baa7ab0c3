/* fuzz_load.c - a whole dump of any bytes, through quern's own reader of lines.
 *
 *     byte 0   bit 0: an end line that counts and seals what stands before it is added
 *              bit 1: --no-end
 *     rest     lines of JSON
 *
 * The end line is what lets the fuzzer get past the checksum. Entries come out in their order; what
 * was loaded, dumped again, loads the same. */
#include "fuzz.h"

#include "base/error.h"
#include "base/hash.h"
#include "dump/line.h"
#include "cli/load_priv.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- stands in for main.c and output.c: one thread, no signals, nobody reads ---- */

bool cli_interrupted(void)
{
    return false;
}

void out_text(const char *format, ...)
{
    (void)format;
}

static struct quern_error last_error;

enum cli_exit cli_fail(const struct quern_error *err, bool opening)
{
    (void)opening;
    must(err->code != QUERN_OK && err->text[0] != '\0');
    last_error = *err;
    return err->code == QUERN_CORRUPT ? EXIT_CORRUPT : EXIT_REFUSED;
}

/* ---- a store that only remembers ---- */

struct sink {
    struct load_sink base;
    uint64_t count, sum, committed;
    struct buf dump; /* the same entries as lines of ours */
};

static enum quern_code sink_put(struct load_sink *base, const struct dump_line *entry,
                                struct quern_error *err)
{
    struct sink *s = (struct sink *)base;
    struct quern_slice key = buf_slice(&entry->key), value = buf_slice(&entry->value);

    s->count++;
    s->sum = (s->sum + entry->expires_ms + entry->database) * 31 +
             XXH3_64bits(key.data, key.len) * 7 + XXH3_64bits(value.data, value.len);
    return dump_line_entry(entry->database, key, &value, entry->expires_ms, &s->dump, err);
}

static enum quern_code sink_commit(struct load_sink *base, struct quern_error *err)
{
    (void)err;
    ((struct sink *)base)->committed++;
    base->loaded = ((struct sink *)base)->count;
    return QUERN_OK;
}

static enum cli_exit load(struct quern_slice dump, bool no_end, struct sink *s)
{
    struct cli_args args = {.verb = VERB_LOAD, .word_count = 1, .no_end = no_end};
    int fd = memfd_create("dump", MFD_CLOEXEC);
    enum cli_exit result;
    char name[32];

    s->base = (struct load_sink){sink_put, sink_commit, 0};
    must(fd >= 0 && write(fd, dump.data, dump.len) == (ssize_t)dump.len);
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    args.words[0] = name;
    result = load_run(&args, &s->base);
    (void)close(fd);
    must(s->committed == 1);
    return result;
}

/* The end line of these lines, behind them. */
static void seal_dump(struct buf *dump)
{
    struct quern_error err;
    uint64_t lines = 0;

    if (dump->len > 0 && dump->data[dump->len - 1] != '\n')
        must(buf_append(dump, "\n", 1, &err) == QUERN_OK);
    for (size_t i = 0; i < dump->len; i++)
        lines += dump->data[i] == '\n';
    must(dump_line_end(lines, XXH3_64bits(dump->data, dump->len), 0, dump, &err) == QUERN_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf dump OWNED_BUF = {0};
    struct sink once = {0}, again = {0};
    struct quern_error err;
    bool seal, no_end;

    if (size == 0 || size > 1 << 16)
        return 0;
    seal = data[0] & 1;
    no_end = data[0] & 2;
    must(buf_append(&dump, data + 1, size - 1, &err) == QUERN_OK);
    if (seal)
        seal_dump(&dump);
    if (load(buf_slice(&dump), no_end, &once) == EXIT_GOOD) {
        seal_dump(&once.dump);
        must(load(buf_slice(&once.dump), false, &again) == EXIT_GOOD);
        must(again.count == once.count && again.sum == once.sum);
    } else {
        must(last_error.code == QUERN_CORRUPT || last_error.code == QUERN_NO_MEMORY);
    }
    buf_done(&once.dump);
    buf_done(&again.dump);
    return 0;
}
