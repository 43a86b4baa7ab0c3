/* golden.c - drives a store in words and compares what it says with what the script expects.
 *
 *     golden FILE...              TAP: one test a script
 *     golden --accept FILE...     writes the answers the store gives now into the scripts
 *
 * A script is lines: a command, its expected answer on lines that begin with "> ", "# remarks",
 * and empty lines. Every script starts with an empty store on a disk in memory.
 *
 *     put KEY VALUE [UNTIL] | del KEY | get KEY | get@NAME KEY         "" is empty; \xNN is a byte
 *     cut FROM TO                                              deletes a range; "" is no bound
 *     batch ... end                                            puts, dels and cuts between: one batch
 *     scan [FROM [TO]] | back [FROM [TO]] | prefix KEY | count [FROM [TO]]
 *     snapshot NAME | drop NAME | scan@NAME [FROM [TO]] | count@NAME [FROM [TO]]
 *     time MS                                                  UNTIL and this: the wall clock
 *     db N                                                     the database of what follows
 *     swap N M                                                 they change places
 *     flush | compact [FROM TO] | reopen | crash | verify | shape
 *     many PREFIX FIRST LAST VALUE                             puts PREFIX0001.. and so on
 *
 * The background keeps quiet: long periods, and no merge before 16 runs, so that `shape` depends on
 * the script alone. */
#include "sim.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 6
#define WORD_BYTES_MAX 256
#define SNAPSHOTS_MAX 8
#define BEGIN_MS 1000 /* on the wall clock, which stands still */

struct word {
    char bytes[WORD_BYTES_MAX];
    size_t len;
};

struct script {
    struct sim *sim;
    struct quern *db;
    struct quern_batch *batch; /* open, or NULL */
    uint8_t database;
    struct {
        char name[WORD_BYTES_MAX];
        struct quern_snapshot *held;
    } snapshot[SNAPSHOTS_MAX];
    struct word word[WORDS_MAX];
    size_t words;
    struct buf answer; /* lines, each "> ...\n" */
};

/* ---- answers ---- */

static void say(struct script *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct script *s, const char *format, ...)
{
    struct quern_error err;
    char line[1024];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (buf_append(&s->answer, "> ", 2, &err) || buf_append(&s->answer, line, (size_t)n, &err) ||
        buf_append(&s->answer, "\n", 1, &err))
        abort();
}

static void say_failure(struct script *s, const struct quern_error *err)
{
    say(s, "%s: %s", quern_code_name(err->code), err->text);
}

/* Bytes so that a reader sees them. */
static const char *shown(struct quern_slice bytes, char room[4 * WORD_BYTES_MAX])
{
    const uint8_t *from = bytes.data;
    char *to = room;

    if (bytes.len == 0)
        return "\"\"";
    if (bytes.len > 64) {
        (void)snprintf(room, 64, "(%zu bytes)", bytes.len);
        return room;
    }
    for (size_t i = 0; i < bytes.len; i++)
        if (isgraph(from[i]) && from[i] != '\\')
            *to++ = (char)from[i];
        else
            to += sprintf(to, "\\x%02x", from[i]);
    *to = '\0';
    return room;
}

/* ---- words ---- */

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

static void split(struct script *s, const char *line)
{
    s->words = 0;
    while (s->words < WORDS_MAX) {
        struct word *w = &s->word[s->words];

        line += strspn(line, " \t\n");
        if (*line == '\0')
            return;
        for (w->len = 0; *line != '\0' && strchr(" \t\n", *line) == NULL;) {
            if (w->len + 1 >= WORD_BYTES_MAX)
                abort();
            if (line[0] == '\\' && line[1] == 'x' && isxdigit((unsigned char)line[2]) &&
                isxdigit((unsigned char)line[3])) {
                w->bytes[w->len++] = (char)(hex(line[2]) << 4 | hex(line[3]));
                line += 4;
            } else {
                w->bytes[w->len++] = *line++;
            }
        }
        w->bytes[w->len] = '\0';
        if (strcmp(w->bytes, "\"\"") == 0)
            w->len = 0;
        s->words++;
    }
}

/* Word `i`; empty when the line has none. */
static struct quern_slice word(const struct script *s, size_t i)
{
    return i < s->words ? slice_of(s->word[i].bytes, s->word[i].len) : slice_of("", 0);
}

static const char *text(const struct script *s, size_t i)
{
    return i < s->words ? s->word[i].bytes : "";
}

/* ---- commands ---- */

static bool open_store(struct script *s)
{
    struct quern_options options = {
        .memory_bytes = 1 << 20,
        .memdb_bytes = 256 << 10,
        .log_segment_bytes = 64 << 10,
        .table_bytes = 4096,
        .block_bytes = 512,
        .flush_interval_ms = 3600 * 1000,
        .compact_interval_ms = 3600 * 1000,
        .tier_runs = 16,
        .compression = QUERN_COMPRESS_NONE,
    };
    struct quern_error err;

    if (engine_open(sim_os(s->sim), "/golden", &options, &s->db, &err) == QUERN_OK)
        return true;
    say_failure(s, &err);
    return false;
}

static void drop_snapshots(struct script *s)
{
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        quern_snapshot_free(s->snapshot[i].held);
        s->snapshot[i].held = NULL;
    }
}

static void reopen(struct script *s, bool crash)
{
    struct sim *after = NULL;
    struct quern_error err;

    drop_snapshots(s);
    if (crash)
        after = sim_crash(s->sim, 1, SIM_KEEP_ALL); /* kill -9 */
    if (quern_close(s->db, &err))
        say_failure(s, &err);
    s->db = NULL;
    if (crash) {
        sim_free(s->sim);
        s->sim = after;
    }
    if (open_store(s) && crash) {
        struct quern_stats stats;

        quern_stats(s->db, &stats);
        say(s, "recovered %" PRIu64 " batches", stats.recovered_batches);
    }
}

static const struct quern_snapshot *find_snapshot(struct script *s, const char *command)
{
    const char *name = strchr(command, '@');

    for (size_t i = 0; name != NULL && i < SNAPSHOTS_MAX; i++)
        if (s->snapshot[i].held != NULL && strcmp(s->snapshot[i].name, name + 1) == 0)
            return s->snapshot[i].held;
    if (name != NULL)
        say(s, "there is no snapshot %s", name + 1);
    return NULL;
}

static void take_snapshot(struct script *s, const char *name)
{
    struct quern_error err;

    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        if (s->snapshot[i].held != NULL)
            continue;
        (void)snprintf(s->snapshot[i].name, WORD_BYTES_MAX, "%s", name);
        if (quern_snapshot_new(s->db, &s->snapshot[i].held, &err))
            say_failure(s, &err);
        return;
    }
    say(s, "too many snapshots");
}

static void drop_snapshot(struct script *s, const char *name)
{
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++)
        if (s->snapshot[i].held != NULL && strcmp(s->snapshot[i].name, name) == 0) {
            quern_snapshot_free(s->snapshot[i].held);
            s->snapshot[i].held = NULL;
            return;
        }
    say(s, "there is no snapshot %s", name);
}

static void get(struct script *s)
{
    struct quern_read_opts opts = {.snapshot = find_snapshot(s, text(s, 0)),
                                   .database = s->database};
    struct quern_value value = {0};
    char room[4 * WORD_BYTES_MAX];
    struct quern_error err;
    enum quern_code code = quern_get(s->db, word(s, 1), &opts, &value, &err);

    if (code == QUERN_OK)
        say(s, "%s", shown(slice_of(value.data, value.len), room));
    else if (code == QUERN_NOT_FOUND)
        say(s, "not found");
    else
        say_failure(s, &err);
    quern_value_done(&value);
}

static void scan(struct script *s, bool back, bool prefix)
{
    struct quern_iter_opts opts = {.snapshot = find_snapshot(s, text(s, 0)),
                                   .database = s->database};
    struct quern_iter *it;
    struct quern_error err;
    bool more;

    if (prefix)
        opts.prefix = word(s, 1);
    else
        opts.range = (struct quern_range){word(s, 1), word(s, 2)};
    if (quern_iter_new(s->db, &opts, &it, &err)) {
        say_failure(s, &err);
        return;
    }
    more = back ? quern_iter_last(it) : quern_iter_first(it);
    if (!more)
        say(s, "nothing");
    for (; more; more = back ? quern_iter_prev(it) : quern_iter_next(it)) {
        char key[4 * WORD_BYTES_MAX], value[4 * WORD_BYTES_MAX];

        say(s, "%s %s", shown(quern_iter_key(it), key), shown(quern_iter_value(it), value));
    }
    if (quern_iter_error(it, &err))
        say_failure(s, &err);
    quern_iter_free(it);
}

static void count(struct script *s)
{
    struct quern_read_opts opts = {.snapshot = find_snapshot(s, text(s, 0)),
                                   .database = s->database};
    struct quern_range range = {word(s, 1), word(s, 2)};
    struct quern_error err;
    uint64_t n = 0;

    if (quern_count(s->db, &range, &opts, &n, &err))
        say_failure(s, &err);
    else
        say(s, "%" PRIu64, n);
}

static void change(struct script *s, bool put)
{
    struct quern_write_opts opts = {.expires_ms = strtoull(text(s, 3), NULL, 10),
                                    .database = s->database};
    struct quern_error err;
    enum quern_code code;

    if (s->batch != NULL)
        quern_batch_select(s->batch, s->database);
    if (s->batch != NULL)
        code = put ? quern_batch_put_until(s->batch, word(s, 1), word(s, 2), opts.expires_ms, &err)
                   : quern_batch_delete(s->batch, word(s, 1), &err);
    else
        code = put ? quern_put(s->db, word(s, 1), word(s, 2), &opts, &err)
                   : quern_delete(s->db, word(s, 1), &opts, &err);
    if (code != QUERN_OK)
        say_failure(s, &err);
}

static void cut(struct script *s)
{
    struct quern_range range = {word(s, 1), word(s, 2)};
    struct quern_write_opts opts = {.database = s->database};
    struct quern_error err;

    if (s->batch != NULL)
        quern_batch_select(s->batch, s->database);
    if (s->batch != NULL ? quern_batch_delete_range(s->batch, &range, &err)
                         : quern_delete_range(s->db, &range, &opts, &err))
        say_failure(s, &err);
}

static void swap(struct script *s)
{
    uint8_t a = (uint8_t)strtoul(text(s, 1), NULL, 10), b = (uint8_t)strtoul(text(s, 2), NULL, 10);
    struct quern_error err;

    if (s->batch != NULL ? quern_batch_swap_databases(s->batch, a, b, &err)
                         : quern_swap_databases(s->db, a, b, NULL, &err))
        say_failure(s, &err);
}

static void many(struct script *s)
{
    unsigned long first = strtoul(text(s, 2), NULL, 10), last = strtoul(text(s, 3), NULL, 10);
    struct quern_write_opts opts = {.database = s->database};
    struct quern_error err;

    for (; first <= last; first++) {
        char key[WORD_BYTES_MAX + 24];

        (void)snprintf(key, sizeof(key), "%s%04lu", text(s, 1), first);
        if (quern_put(s->db, QUERN_STR(key), word(s, 4), &opts, &err)) {
            say_failure(s, &err);
            return;
        }
    }
}

static void end_batch(struct script *s)
{
    struct quern_error err;

    if (s->batch == NULL)
        say(s, "no batch is open");
    else if (quern_write(s->db, s->batch, NULL, &err))
        say_failure(s, &err);
    quern_batch_free(s->batch);
    s->batch = NULL;
}

static void shape(struct script *s)
{
    struct quern_stats stats;

    quern_stats(s->db, &stats);
    if (stats.memdb_entries != 0)
        say(s, "memory: %" PRIu64 " entries", stats.memdb_entries);
    for (uint32_t t = 0; t < stats.tiers; t++) {
        const struct quern_tier_stats *tier = &stats.tier[t];
        char name[16] = "bottom";

        if (tier->runs == 0)
            continue;
        if (t + 1 < stats.tiers)
            (void)snprintf(name, sizeof(name), "tier %u", t);
        say(s, "%s: %u runs, %u tables, %" PRIu64 " entries, %" PRIu64 " tombstones", name,
            tier->runs, tier->tables, tier->entries, tier->tombstones);
    }
    if (stats.cuts != 0)
        say(s, "%" PRIu64 " cuts", stats.cuts);
    if (stats.memdb_entries == 0 && stats.tables == 0 && stats.cuts == 0)
        say(s, "empty");
}

static void verify(struct script *s)
{
    struct quern_verify_report report;
    struct quern_error err;

    if (quern_verify(s->db, NULL, &report, &err))
        say_failure(s, &err);
    else
        say(s, "sound: %" PRIu64 " tables, %" PRIu64 " entries", report.tables, report.entries);
}

static void compact(struct script *s)
{
    struct quern_range range = {word(s, 1), word(s, 2)};
    struct quern_compact_opts opts = {.range = s->words > 1 ? &range : NULL,
                                      .database = s->database};
    struct quern_error err;

    if (quern_compact(s->db, &opts, &err))
        say_failure(s, &err);
}

static void command(struct script *s)
{
    char name[WORD_BYTES_MAX];
    struct quern_error err;

    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(text(s, 0), "@"), text(s, 0));
#define IS(word) (strcmp(name, word) == 0)
    if (IS("put") || IS("del"))
        change(s, IS("put"));
    else if (IS("cut"))
        cut(s);
    else if (IS("swap"))
        swap(s);
    else if (IS("get"))
        get(s);
    else if (IS("scan") || IS("back") || IS("prefix"))
        scan(s, IS("back"), IS("prefix"));
    else if (IS("count"))
        count(s);
    else if (IS("many"))
        many(s);
    else if (IS("db"))
        s->database = (uint8_t)strtoul(text(s, 1), NULL, 10);
    else if (IS("time"))
        sim_set_wall_ms(s->sim, strtoull(text(s, 1), NULL, 10));
    else if (IS("batch"))
        s->batch = quern_batch_new();
    else if (IS("end"))
        end_batch(s);
    else if (IS("snapshot"))
        take_snapshot(s, text(s, 1));
    else if (IS("drop"))
        drop_snapshot(s, text(s, 1));
    else if (IS("reopen") || IS("crash"))
        reopen(s, IS("crash"));
    else if (IS("verify"))
        verify(s);
    else if (IS("shape"))
        shape(s);
    else if (IS("compact"))
        compact(s);
    else if (!IS("flush"))
        say(s, "what is '%s'?", name);
    else if (quern_flush(s->db, &err))
        say_failure(s, &err);
#undef IS
}

/* ---- scripts ---- */

/* A test fails at its first answer that is not the expected one. */
struct check {
    const char *path;
    int line; /* of the command */
    char *command;
    struct buf expected;
    bool failed;
};

static void compare(struct check *c, struct script *s)
{
    if (!c->failed && !key_equal(buf_slice(&c->expected), buf_slice(&s->answer))) {
        c->failed = true;
        printf("# %s:%d: %s# expected:\n%.*s# got:\n%.*s", c->path, c->line, c->command,
               (int)c->expected.len, (const char *)c->expected.data, (int)s->answer.len,
               (const char *)s->answer.data);
    }
    buf_clear(&c->expected);
    buf_clear(&s->answer);
}

/* Every line of `in` through the store; `out` gets the script with the answers as they are. */
static bool play(struct check *c, FILE *in, struct buf *out)
{
    struct script s = {.sim = sim_new(1)};
    struct quern_error err;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    bool fine;

    sim_set_wall_ms(s.sim, BEGIN_MS);
    fine = open_store(&s);

    for (int number = 1; fine && (len = getline(&line, &room, in)) >= 0; number++) {
        if (line[0] == '>') {
            fine = buf_append(&c->expected, line, (size_t)len, &err) == QUERN_OK;
            continue;
        }
        compare(c, &s);
        fine = buf_append(out, line, (size_t)len, &err) == QUERN_OK;
        if (line[strspn(line, " \t\n")] == '\0' || line[0] == '#')
            continue;
        c->line = number;
        free(c->command);
        c->command = strdup(line);
        split(&s, line);
        command(&s);
        fine =
            fine && s.db != NULL && buf_append(out, s.answer.data, s.answer.len, &err) == QUERN_OK;
    }
    compare(c, &s);
    free(line);
    free(c->command);
    buf_done(&c->expected);
    buf_done(&s.answer);
    quern_batch_free(s.batch);
    drop_snapshots(&s);
    fine = fine && quern_close(s.db, &err) == QUERN_OK;
    sim_free(s.sim);
    return fine && !c->failed;
}

static bool run(const char *path, bool accept)
{
    struct check c = {.path = path};
    struct buf out OWNED_BUF = {0};
    FILE *file = fopen(path, "r");
    bool fine;

    if (file == NULL) {
        printf("# %s cannot be read\n", path);
        return false;
    }
    fine = play(&c, file, &out);
    (void)fclose(file);
    if (!accept)
        return fine;
    file = fopen(path, "w");
    fine = file != NULL && fwrite(out.data, 1, out.len, file) == out.len;
    return file != NULL && fclose(file) == 0 && fine;
}

int main(int argc, char **argv)
{
    bool accept = argc > 1 && strcmp(argv[1], "--accept") == 0;
    int count_tests = 0, bad = 0;

    for (int i = 1 + accept; i < argc; i++) {
        const char *name = strrchr(argv[i], '/');
        bool fine = run(argv[i], accept);

        printf("%s %d - golden %s\n", fine ? "ok" : "not ok", ++count_tests,
               name != NULL ? name + 1 : argv[i]);
        bad += !fine;
    }
    printf("1..%d\n", count_tests);
    return bad != 0;
}
