/* manifest_current.c - CURRENT, the names of quern's files, and whether a directory holds a store.
 *
 *     quern 1 MANIFEST-000007 4be1c09d2f7a6635 93a0fb6e51d8c274\n
 *           |        |               |                `- checksum of all before the last space
 *           |        |               `- store id: a manifest of another store is refused
 *           |        `- the manifest that counts
 *           `- version of this line
 *
 * A directory without CURRENT is fresh only if no table, no log segment and no manifest is in it:
 * making a new store over the remains of one would hide their loss. One exception: a
 * creation cut short by a crash leaves MANIFEST-000001 of one page, alone. An edit after the first
 * begins on the second page, so such a file never named a table or a segment. */
#include "manifest/manifest_priv.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_DIGITS_MIN 6
#define HEX_DIGITS 16
#define WORD "quern "

/* ---- numbers in names ---- */

/* The decimal number that is exactly the first `len` bytes of `text`, written the way "%06" writes
 * it. Numbers that counting up cannot reach are not ours: see MANIFEST_NO_MAX. */
static bool parse_number(const char *text, size_t len, uint64_t *number)
{
    uint64_t v = 0;

    if (len < NAME_DIGITS_MIN || (len > NAME_DIGITS_MIN && text[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
            return false;
    }
    *number = v;
    return v <= MANIFEST_NO_MAX;
}

void manifest_name(char name[MANIFEST_NAME_BYTES], uint64_t manifest_no)
{
    (void)snprintf(name, MANIFEST_NAME_BYTES, "MANIFEST-%06" PRIu64, manifest_no);
}

bool manifest_name_parse(const char *name, uint64_t *manifest_no)
{
    static const char before[] = "MANIFEST-";
    size_t skip = sizeof(before) - 1;

    return strncmp(name, before, skip) == 0 &&
           parse_number(name + skip, strlen(name + skip), manifest_no);
}

/* A table or a log segment: NNNNNN.sst, NNNNNN.wal. */
static bool is_data_name(const char *name)
{
    size_t len = strlen(name);
    uint64_t number;

    return len > 4 &&
           (strcmp(name + len - 4, ".sst") == 0 || strcmp(name + len - 4, ".wal") == 0) &&
           parse_number(name, len - 4, &number);
}

/* ---- the line ---- */

static uint64_t line_checksum(const char *line, size_t len)
{
    return hash_bytes(line, len, 0);
}

size_t current_format(char line[CURRENT_BYTES_MAX], const struct manifest_current *c)
{
    char name[MANIFEST_NAME_BYTES];
    int n;

    manifest_name(name, c->manifest_no);
    n = snprintf(line, CURRENT_BYTES_MAX, WORD "1 %s %016" PRIx64, name, c->store_id);
    ensure(n > 0 && n + HEX_DIGITS + 2 < CURRENT_BYTES_MAX);
    (void)snprintf(line + n, CURRENT_BYTES_MAX - (size_t)n, " %016" PRIx64 "\n",
                   line_checksum(line, (size_t)n));
    return (size_t)n + 1 + HEX_DIGITS + 1;
}

static bool parse_hex(const char *text, uint64_t *v)
{
    *v = 0;
    for (size_t i = 0; i < HEX_DIGITS; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            *v = *v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *v = *v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

static enum quern_code current_bad(struct quern_error *err, const char *what)
{
    return err_set(err, QUERN_CORRUPT,
                   CURRENT_NAME
                   ": %s; it names the manifest, so the store cannot be read without it: "
                   "put the directory back from a checkpoint or backup, or see what "
                   "quern repair can save (nothing was changed here)",
                   what);
}

/* Between the words: name and store id, of a line whose checksum is right. */
static bool parse_words(const char *at, size_t len, struct manifest_current *c)
{
    char name[MANIFEST_NAME_BYTES];
    size_t name_len;

    if (len < 1 + HEX_DIGITS || at[len - HEX_DIGITS - 1] != ' ')
        return false;
    name_len = len - HEX_DIGITS - 1;
    if (name_len >= sizeof(name))
        return false;
    memcpy(name, at, name_len);
    name[name_len] = '\0';
    return strlen(name) == name_len && manifest_name_parse(name, &c->manifest_no) &&
           parse_hex(at + name_len + 1, &c->store_id);
}

enum quern_code current_parse(struct quern_slice bytes, struct manifest_current *c,
                              struct quern_error *err)
{
    const char *line = bytes.data;
    size_t end = sizeof(WORD) - 1; /* of the version */
    size_t checked;
    uint64_t checksum;

    if (bytes.len < sizeof(WORD) + HEX_DIGITS + 2 || bytes.len >= CURRENT_BYTES_MAX)
        return current_bad(err, "not the line it should be");
    checked = bytes.len - HEX_DIGITS - 2;
    if (line[bytes.len - 1] != '\n' || line[checked] != ' ' ||
        !parse_hex(line + checked + 1, &checksum) || checksum != line_checksum(line, checked) ||
        memcmp(line, WORD, sizeof(WORD) - 1) != 0)
        return current_bad(err, "bad checksum");
    while (end < checked && line[end] != ' ')
        end++;
    if (end != sizeof(WORD) || line[end - 1] != '1')
        return err_set(err, QUERN_UNSUPPORTED, CURRENT_NAME ": written by a newer quern: %.*s",
                       (int)(end < 40 ? end : 40), line);
    if (end >= checked || !parse_words(line + end + 1, checked - end - 1, c))
        return current_bad(err, "its words do not parse");
    return QUERN_OK;
}

enum quern_code current_read(struct os_dir *dir, struct manifest_current *c,
                             struct quern_error *err)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    uint8_t line[CURRENT_BYTES_MAX];
    uint64_t bytes;

    if (os_file_open(dir, CURRENT_NAME, OS_READ, &file, err) || os_file_size(file, &bytes, err))
        return err->code;
    if (bytes >= sizeof(line))
        return current_bad(err, "not the line it should be");
    if (os_file_read(file, line, bytes, 0, err))
        return err->code;
    return current_parse(slice_of(line, bytes), c, err);
}

/* ---- is there a store? ---- */

struct sight {
    struct os_dir *dir;
    char other[OS_NAME_BYTES_MAX]; /* a file of quern's that is no unfinished creation, or "" */
};

static enum quern_code see_name(void *arg, const char *name, struct quern_error *err)
{
    struct sight *s = arg;
    uint64_t manifest_no = 0, bytes;
    bool ours = manifest_name_parse(name, &manifest_no);

    if (ours && manifest_no == 1) {
        if (os_dir_stat(s->dir, name, &bytes, err))
            return err->code;
        ours = bytes > RECORD_PAGE_BYTES;
    }
    if (ours || is_data_name(name))
        (void)snprintf(s->other, sizeof(s->other), "%s", name);
    return QUERN_OK;
}

enum quern_code manifest_find(struct os_dir *dir, bool *found, struct quern_error *err)
{
    struct sight s = {.dir = dir};
    struct manifest_current current;
    enum quern_code code = current_read(dir, &current, err);

    *found = code == QUERN_OK;
    if (code != QUERN_NO_STORE)
        return code;
    err_clear(err);
    if (os_dir_list(dir, see_name, &s, err))
        return err->code;
    if (s.other[0] != '\0')
        return err_set(err, QUERN_CORRUPT,
                       CURRENT_NAME
                       " is missing beside %s: this is what remains of a store, or a "
                       "checkpoint that was not finished, and no new store is made "
                       "over it; put CURRENT back from a copy, or use another directory",
                       s.other);
    return QUERN_OK;
}
