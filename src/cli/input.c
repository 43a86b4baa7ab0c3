/* input.c - where the value of `set` comes from: the word itself, standard input, or a file. */
#include "cli/cli_priv.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (256u << 10)

/* Read `fd` to its end. One byte more than a value may have is enough to know that it is too
 * long. */
static enum quern_code read_all(int fd, struct buf *memory, struct quern_error *err)
{
    for (;;) {
        ssize_t got;

        if (buf_reserve(memory, READ_BYTES, err))
            return err->code;
        got = read(fd, memory->data + memory->len, READ_BYTES);
        if (got == 0)
            return QUERN_OK;
        if (got < 0 && errno == EINTR && !cli_interrupted())
            continue;
        if (got < 0)
            return err_sys(err, errno, "read");
        memory->len += (size_t)got;
        if (memory->len > QUERN_VALUE_BYTES_MAX)
            return err_set(err, QUERN_INVALID, "a value has at most %u bytes",
                           QUERN_VALUE_BYTES_MAX);
    }
}

enum quern_code value_from_word(const char *word, struct buf *memory, struct quern_slice *value,
                                struct quern_error *err)
{
    enum quern_code code;
    int fd;

    if (strcmp(word, "-") != 0 && word[0] != '@') {
        *value = QUERN_STR(word);
        return QUERN_OK;
    }
    if (word[0] == '@') {
        fd = open(word + 1, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return err_sys(err, errno, "%s", word + 1);
        code = read_all(fd, memory, err);
        (void)close(fd);
    } else {
        code = read_all(STDIN_FILENO, memory, err);
    }
    if (code != QUERN_OK)
        return err_in(err, "%s", word[0] == '@' ? word + 1 : "standard input");
    *value = buf_slice(memory);
    return QUERN_OK;
}
