/* sink.c - two buffers: one is filled by whoever has lines, the other is being written. When the
 * second is empty they change places. */
#include "server/sink.h"

#include "server/say.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#define CLOSE_MS_MAX 3000u
#define TURN_MS 100 /* how often a stuck writer looks whether it is to end */

struct sink {
    const char *path, *name; /* path NULL: the descriptor is somebody else's */
    int fd;                  /* the writer's, after the start */
    pthread_t thread;
    struct mutex mu;
    struct cond news;      /* to the writer */
    struct cond ended;     /* from it */
    struct buf filling;    /* guarded by mu; never above SINK_BYTES_MAX */
    bool reopen, stopping; /* guarded by mu */
    bool has_ended;        /* guarded by mu */
    _Atomic bool give_up;  /* what is being written is not waited for any more */
    struct buf writing;    /* the writer's */
    bool failing;          /* the writer's; it has been said */
    uint64_t told;         /* the writer's: of `dropped` */
    _Atomic uint64_t dropped;
};

static uint64_t lines_of(const uint8_t *data, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += data[i] == '\n';
    return n;
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
}

/* Write some of it, when that is possible. A descriptor of somebody else's may be one that waits: of
 * a pipe that says it is ready this much is taken at once. False: errno says why it cannot be
 * written at all. */
static bool write_some(struct sink *s, size_t *at)
{
    struct pollfd ready = {.fd = s->fd, .events = POLLOUT};
    size_t most = s->path != NULL ? SINK_BYTES_MAX : PIPE_BUF, len = s->writing.len - *at;
    ssize_t n;

    if (poll(&ready, 1, TURN_MS) == 0)
        return true;
    n = write(s->fd, s->writing.data + *at, len < most ? len : most);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    *at += (size_t)n;
    return true;
}

static void write_all(struct sink *s)
{
    size_t at = 0;

    while (at < s->writing.len && !atomic_load(&s->give_up)) {
        if (write_some(s, &at))
            continue;
        if (!s->failing)
            say_event(SAY_ERROR, "log", "the %s cannot be written: %s", s->name, strerror(errno));
        s->failing = true;
        atomic_fetch_add(&s->dropped, lines_of(s->writing.data + at, s->writing.len - at));
        s->told = atomic_load(&s->dropped);
        at = s->writing.len + 1;
    }
    if (at == s->writing.len)
        s->failing = false;
    buf_clear(&s->writing);
}

static void tell_dropped(struct sink *s)
{
    uint64_t dropped = atomic_load(&s->dropped);

    if (dropped == s->told)
        return;
    say_event(SAY_WARNING, "log",
              "%" PRIu64 " lines of the %s were dropped: it is taken too slowly", dropped - s->told,
              s->name);
    s->told = dropped;
}

static void open_anew(struct sink *s)
{
    int fd = s->path != NULL ? open_file(s->path) : -1;

    if (s->path == NULL)
        return;
    if (fd < 0) {
        say_event(SAY_ERROR, "log", "the %s stays where it was: cannot open %s: %s", s->name,
                  s->path, strerror(errno));
        return;
    }
    (void)close(s->fd);
    s->fd = fd;
    say_event(SAY_INFO, "log", "the %s goes on in %s", s->name, s->path);
}

static void *writer(void *arg)
{
    struct sink *s = arg;

    mutex_lock(&s->mu);
    for (;;) {
        struct buf full = s->filling;
        bool reopen = s->reopen;

        if (full.len == 0 && !reopen) {
            if (s->stopping)
                break;
            cond_wait(&s->news, &s->mu);
            continue;
        }
        s->filling = s->writing;
        s->writing = full;
        s->reopen = false;
        mutex_unlock(&s->mu);
        write_all(s);
        if (reopen)
            open_anew(s);
        tell_dropped(s);
        mutex_lock(&s->mu);
    }
    s->has_ended = true;
    cond_signal(&s->ended);
    mutex_unlock(&s->mu);
    return NULL;
}

static void sink_free(struct sink *s)
{
    if (s->path != NULL && s->fd >= 0)
        (void)close(s->fd);
    buf_done(&s->filling);
    buf_done(&s->writing);
    cond_done(&s->news);
    cond_done(&s->ended);
    mutex_done(&s->mu);
    alloc_free(s);
}

enum quern_code sink_open(const char *path, int fd, const char *name, struct sink **out,
                          struct quern_error *err)
{
    struct sink *s = NEW(struct sink);

    if (s == NULL)
        return err_memory(err, "a log");
    s->path = fd < 0 ? path : NULL;
    s->name = name;
    s->fd = fd < 0 ? open_file(path) : fd;
    mutex_init(&s->mu);
    cond_init(&s->news);
    cond_init(&s->ended);
    if (s->fd < 0)
        (void)err_sys(err, errno, "open %s", path);
    else if (buf_reserve(&s->filling, SINK_BYTES_MAX, err) == QUERN_OK &&
             buf_reserve(&s->writing, SINK_BYTES_MAX, err) == QUERN_OK &&
             thread_start(&s->thread, "quernd-log", writer, s, err) == QUERN_OK) {
        *out = s;
        return QUERN_OK;
    }
    sink_free(s);
    return err->code;
}

void sink_put(struct sink *s, const void *lines, size_t len)
{
    struct quern_error ignored;

    mutex_lock(&s->mu);
    if (s->filling.len + len > SINK_BYTES_MAX || s->stopping ||
        buf_append(&s->filling, lines, len, &ignored) != QUERN_OK)
        atomic_fetch_add(&s->dropped, lines_of(lines, len));
    else if (s->filling.len == len)
        cond_signal(&s->news);
    mutex_unlock(&s->mu);
}

void sink_reopen(struct sink *s)
{
    mutex_lock(&s->mu);
    s->reopen = true;
    cond_signal(&s->news);
    mutex_unlock(&s->mu);
}

uint64_t sink_dropped(const struct sink *s)
{
    return atomic_load(&s->dropped);
}

void sink_close(struct sink *s)
{
    if (s == NULL)
        return;
    mutex_lock(&s->mu);
    s->stopping = true;
    cond_signal(&s->news);
    for (unsigned ms = 0; !s->has_ended && ms < CLOSE_MS_MAX; ms += TURN_MS)
        (void)cond_wait_ms(&s->ended, &s->mu, TURN_MS);
    atomic_store(&s->give_up, !s->has_ended);
    mutex_unlock(&s->mu);
    (void)pthread_join(s->thread, NULL);
    sink_free(s);
}
