/* sink.c - two buffers: one is filled by whoever has lines, the other is being written. When the
 * second is empty they change places. */
#include "server/observe/sink.h"

#include "server/observe/say.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define CLOSE_MS_MAX 3000u
#define TURN_MS 100 /* how often a stuck writer looks whether it is to end */

struct sink {
    const char *name;
    struct sink_place place; /* the writer's, after the start */
    pthread_t thread;
    struct mutex mu;
    struct cond news;      /* to the writer */
    struct cond ended;     /* from it */
    struct buf filling;    /* guarded by mu; never above SINK_BYTES_MAX */
    bool reopen, stopping; /* guarded by mu */
    bool moving; /* guarded by mu: to `next`, with what `filling` has from `moved_at` on */
    struct sink_place next;
    size_t moved_at;
    bool has_ended;       /* guarded by mu */
    _Atomic bool give_up; /* what is being written is not waited for any more */
    struct buf writing;   /* the writer's */
    bool failing;         /* the writer's; it has been said */
    uint64_t told;        /* the writer's: of `dropped` */
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
static bool write_some(struct sink *s, size_t *at, size_t end)
{
    struct pollfd ready = {.fd = s->place.fd, .events = POLLOUT};
    size_t most = s->place.path != NULL ? SINK_BYTES_MAX : PIPE_BUF, len = end - *at;
    ssize_t n;

    if (poll(&ready, 1, TURN_MS) == 0)
        return true;
    n = write(s->place.fd, s->writing.data + *at, len < most ? len : most);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    *at += (size_t)n;
    return true;
}

/* To where the sink is now. */
static void write_part(struct sink *s, size_t at, size_t end)
{
    if (s->place.fd < 0)
        return;
    while (at < end && !atomic_load(&s->give_up)) {
        if (write_some(s, &at, end))
            continue;
        if (!s->failing)
            say_event(SAY_ERROR, "log", "the %s cannot be written: %s", s->name, strerror(errno));
        s->failing = true;
        atomic_fetch_add(&s->dropped, lines_of(s->writing.data + at, end - at));
        s->told = atomic_load(&s->dropped);
        return;
    }
    s->failing = false;
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
    struct sink_place *place = &s->place;
    int fd = place->path != NULL ? open_file(place->path) : -1;

    if (place->path == NULL)
        return;
    if (fd < 0) {
        say_event(SAY_ERROR, "log", "the %s stays where it was: cannot open %s: %s", s->name,
                  place->path, strerror(errno));
        return;
    }
    (void)close(place->fd);
    place->fd = fd;
    say_event(SAY_INFO, "log", "the %s goes on in %s", s->name, place->path);
}

static void move(struct sink *s, struct sink_place next)
{
    sink_place_close(&s->place);
    s->place = next;
    s->failing = false;
}

static void *writer(void *arg)
{
    struct sink *s = arg;

    mutex_lock(&s->mu);
    for (;;) {
        struct buf full = s->filling;
        struct sink_place next = s->next;
        bool reopen = s->reopen, moving = s->moving;
        size_t here = moving ? s->moved_at : full.len;

        if (full.len == 0 && !reopen && !moving) {
            if (s->stopping)
                break;
            cond_wait(&s->news, &s->mu);
            continue;
        }
        s->filling = s->writing;
        s->writing = full;
        s->reopen = s->moving = false;
        mutex_unlock(&s->mu);
        write_part(s, 0, here);
        if (moving) {
            move(s, next);
            write_part(s, here, full.len);
        } else if (reopen) {
            open_anew(s);
        }
        buf_clear(&s->writing);
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
    sink_place_close(&s->place);
    if (s->moving)
        sink_place_close(&s->next);
    buf_done(&s->filling);
    buf_done(&s->writing);
    cond_done(&s->news);
    cond_done(&s->ended);
    mutex_done(&s->mu);
    alloc_free(s);
}

enum quern_code sink_place_open(const char *text, int standard, struct sink_place *out,
                                struct quern_error *err)
{
    size_t bytes = strlen(text) + 1;

    *out = (struct sink_place){strcmp(text, "-") == 0 ? standard : -1, NULL};
    if (out->fd >= 0 || strcmp(text, "off") == 0)
        return QUERN_OK;
    out->path = alloc_bytes(bytes);
    if (out->path == NULL)
        return err_memory(err, "a log");
    memcpy(out->path, text, bytes);
    out->fd = open_file(text);
    if (out->fd >= 0)
        return QUERN_OK;
    IGNORE(err_sys(err, errno, "open %s", text));
    sink_place_close(out);
    return err->code;
}

void sink_place_close(struct sink_place *place)
{
    if (place->path != NULL && place->fd >= 0)
        (void)close(place->fd);
    alloc_free(place->path);
    *place = (struct sink_place){-1, NULL};
}

void sink_move(struct sink *s, struct sink_place place)
{
    mutex_lock(&s->mu);
    if (s->moving)
        sink_place_close(&s->next);
    else
        s->moved_at = s->filling.len;
    s->next = place;
    s->moving = true;
    cond_signal(&s->news);
    mutex_unlock(&s->mu);
}

enum quern_code sink_open(struct sink_place place, const char *name, struct sink **out,
                          struct quern_error *err)
{
    struct sink *s = NEW(struct sink);

    if (s == NULL) {
        sink_place_close(&place);
        return err_memory(err, "a log");
    }
    s->name = name;
    s->place = place;
    mutex_init(&s->mu);
    cond_init(&s->news);
    cond_init(&s->ended);
    if (buf_reserve(&s->filling, SINK_BYTES_MAX, err) == QUERN_OK &&
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
