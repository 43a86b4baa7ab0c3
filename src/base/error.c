/* error.c - result codes with a story in them; see error.h. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum quern_code err_set(struct quern_error *err, enum quern_code code, const char *format, ...)
{
    va_list args;

    err->code = code;
    err->sys_errno = 0;
    err->check = 0;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return code;
}

static enum quern_code code_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return QUERN_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return QUERN_DENIED;
    case ENOMEM:
        return QUERN_NO_MEMORY;
    case ENOENT:
    case ENOTDIR:
        return QUERN_NO_STORE;
    case EEXIST:
        return QUERN_EXISTS;
    default:
        return QUERN_IO;
    }
}

enum quern_code err_sys(struct quern_error *err, int sys_errno, const char *format, ...)
{
    char reason[96];
    size_t used;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof(err->text) - used, ": %s%s",
                   strerror_r(sys_errno, reason, sizeof(reason)),
                   sys_errno == EMFILE ? "; raise the limit (ulimit -n)" : "");
    err->code = code_of_errno(sys_errno);
    err->sys_errno = sys_errno;
    err->check = 0;
    return err->code;
}

enum quern_code err_in(struct quern_error *err, const char *format, ...)
{
    char story[sizeof(err->text)];
    size_t used;
    va_list args;

    memcpy(story, err->text, sizeof(story));
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof(err->text) - used, ": %s", story);
    return err->code;
}

enum quern_code err_memory(struct quern_error *err, const char *what)
{
    return err_set(err, QUERN_NO_MEMORY, "no memory for %s", what);
}

void err_clear(struct quern_error *err)
{
    err->code = QUERN_OK;
    err->sys_errno = 0;
    err->check = 0;
    err->text[0] = '\0';
}

const char *err_code_name(enum quern_code code)
{
    switch (code) {
    case QUERN_OK:
        return "ok";
    case QUERN_NOT_FOUND:
        return "not found";
    case QUERN_INVALID:
        return "invalid argument";
    case QUERN_NO_STORE:
        return "no store";
    case QUERN_EXISTS:
        return "exists already";
    case QUERN_LOCKED:
        return "locked";
    case QUERN_DENIED:
        return "access denied";
    case QUERN_IO:
        return "input/output error";
    case QUERN_NO_SPACE:
        return "no space";
    case QUERN_NO_MEMORY:
        return "no memory";
    case QUERN_CORRUPT:
        return "corrupt";
    case QUERN_UNSUPPORTED:
        return "unsupported";
    case QUERN_READ_ONLY:
        return "read only";
    case QUERN_UNKNOWN:
        return "outcome unknown";
    case QUERN_BUSY:
        return "busy";
    case QUERN_CLOSED:
        return "closed";
    case QUERN_CONFLICT:
        return "conflict";
    }
    return "unknown code";
}

void err_ensure_failed(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "quern: %s:%d: ensure failed: %s\n", file, line, cond);
    abort();
}
