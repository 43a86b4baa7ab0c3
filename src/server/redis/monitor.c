/* monitor.c - MONITOR: every command that is carried out, told to those who asked for it.
 *
 *     a command, on any loop        one line is made, and added to each monitor's `waiting`, under
 *        |                          the lock that they share; a letter to its loop, unless one is
 *        v                          on its way
 *     the monitor's loop            takes what waits into the connection's output
 *
 * Nobody waits for a monitor. One for whom more than MONITOR_BYTES_MAX wait, since it does not read or
 * its loop is busy, is cut. A line has at most LINE_BYTES_MAX: what is longer ends with how much is
 * missing. Commands of administrators are not told, nor are passwords, as in Redis. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/alloc.h"
#include "base/error.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define MONITOR_BYTES_MAX (4u << 20)
#define LINE_BYTES_MAX 65536u
#define LETTER_BYTES_MAX 4u /* "\x00" */

/* The loop's thread alone frees it: when its connection has ended and no letter is on its way. */
struct monitor {
    struct letter letter;
    struct loop *loop;           /* constant */
    struct conn *conn;           /* the loop's thread alone; NULL: it has ended */
    struct monitor *prev, *next; /* guarded by monitor_mu, as is all that follows */
    struct buf waiting;
    bool posted, too_much;
};

/* ------------------------------------------------------------------ to the monitor -- */

static void monitor_free(struct monitor *m)
{
    buf_done(&m->waiting);
    alloc_free(m);
}

static void open_feed(struct letter *letter)
{
    struct monitor *m = (struct monitor *)letter;
    struct resp_shared *shared = m->loop->server->resp;
    struct buf taken OWNED_BUF = {0};
    struct conn *c = m->conn;
    struct quern_error err;
    bool too_much;

    mutex_lock(&shared->monitor_mu);
    taken = m->waiting;
    m->waiting = (struct buf){0};
    m->posted = false;
    too_much = m->too_much;
    mutex_unlock(&shared->monitor_mu);
    if (c == NULL) {
        monitor_free(m);
        return;
    }
    if (c->closing)
        return;
    /* Who is no admin any more, by another AUTH or another token file, hears no more. */
    if (too_much || !guard_is_admin(c) ||
        c->out.len + (c->writing ? c->sending.len : 0) > MONITOR_BYTES_MAX ||
        buf_append(&c->out, taken.data, taken.len, &err) != QUERN_OK)
        conn_cut(c);
    else
        loop_mark(m->loop, c);
}

void monitor_end(struct conn *c)
{
    struct resp_shared *shared = c->loop->server->resp;
    struct monitor *m = c->resp->monitor;
    bool posted;

    if (m == NULL)
        return;
    c->resp->monitor = NULL;
    atomic_store_explicit(&c->resp->client.monitors, false, memory_order_relaxed);
    mutex_lock(&shared->monitor_mu);
    if (m->prev != NULL)
        m->prev->next = m->next;
    else
        shared->monitors = m->next;
    if (m->next != NULL)
        m->next->prev = m->prev;
    posted = m->posted;
    mutex_unlock(&shared->monitor_mu);
    atomic_fetch_sub(&shared->monitor_count, 1);
    m->conn = NULL;
    if (!posted)
        monitor_free(m);
}

enum quern_code cmd_monitor(struct call *k)
{
    struct resp_shared *shared = k->server->resp;
    struct conn *c = k->conn;
    struct monitor *m;

    if (c->resp->monitor != NULL)
        return QUERN_OK; /* no reply, as in Redis */
    m = NEW(struct monitor);
    if (m == NULL)
        return err_memory(k->err, "a monitor");
    m->letter.open = open_feed;
    m->loop = c->loop;
    m->conn = c;
    c->resp->monitor = m;
    atomic_store_explicit(&c->resp->client.monitors, true, memory_order_relaxed);
    mutex_lock(&shared->monitor_mu);
    m->next = shared->monitors;
    if (m->next != NULL)
        m->next->prev = m;
    shared->monitors = m;
    mutex_unlock(&shared->monitor_mu);
    atomic_fetch_add(&shared->monitor_count, 1);
    return call_ok(k);
}

/* ------------------------------------------------------------------ from a command -- */

static size_t put_letter(char *to, uint8_t letter)
{
    static const char plain[] = "\n\r\t\a\b\\\"", named[] = "nrtab\\\"";
    const char *found = letter != '\0' ? strchr(plain, letter) : NULL;

    if (found != NULL) {
        to[0] = '\\';
        to[1] = named[found - plain];
        return 2;
    }
    if (isprint(letter) != 0) {
        to[0] = (char)letter;
        return 1;
    }
    return (size_t)snprintf(to, LETTER_BYTES_MAX + 1, "\\x%02x", letter);
}

/* An argument in quotes, or as much of it as there is room for. */
static void put_argument(struct resp_out *line, struct quern_slice arg)
{
    const uint8_t *letters = arg.data;
    size_t i = 0;

    resp_put_raw(line, " \"", 2);
    for (; i < arg.len && line->to->len < LINE_BYTES_MAX; i++) {
        char text[LETTER_BYTES_MAX + 1];

        resp_put_raw(line, text, put_letter(text, letters[i]));
    }
    if (i < arg.len) {
        char text[64];
        int len = snprintf(text, sizeof(text), "... (%zu more bytes)", arg.len - i);

        resp_put_raw(line, text, (size_t)len);
    }
    resp_put_raw(line, "\"", 1);
}

static void write_line(const struct call *k, struct resp_out *line)
{
    static const struct quern_slice hidden = {"(redacted)", 10};
    size_t secret = command_secret_from(k->command, k->args, k->argc);
    struct timespec now;
    char text[128];
    int len;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    len = snprintf(text, sizeof(text), "+%" PRId64 ".%06ld [%u %s]", (int64_t)now.tv_sec,
                   now.tv_nsec / 1000, k->reads.database, k->conn->resp->client.peer);
    resp_put_raw(line, text, (size_t)len);
    for (size_t i = 0; i < k->argc; i++) {
        if (line->to->len >= LINE_BYTES_MAX) {
            len = snprintf(text, sizeof(text), " \"... (%zu more arguments)\"", k->argc - i);
            resp_put_raw(line, text, (size_t)len);
            break;
        }
        put_argument(line, secret > 0 && i >= secret ? hidden : k->args[i]);
    }
    resp_put_raw(line, "\r\n", 2);
}

static void add_locked(struct monitor *m, struct quern_slice line)
{
    struct quern_error err;

    if (m->too_much)
        return;
    if (m->waiting.len + line.len > MONITOR_BYTES_MAX ||
        buf_append(&m->waiting, line.data, line.len, &err) != QUERN_OK) {
        m->too_much = true;
        buf_done(&m->waiting);
    }
    if (!m->posted) {
        m->posted = true;
        loop_post(m->loop, &m->letter);
    }
}

void monitors_tell(const struct call *k)
{
    struct resp_shared *shared = k->server->resp;
    struct buf text OWNED_BUF = {0};
    struct resp_out line = {&text, 2, false};

    if (k->command->flags & CMD_ADMIN)
        return;
    write_line(k, &line);
    if (line.failed)
        return;
    mutex_lock(&shared->monitor_mu);
    for (struct monitor *m = shared->monitors; m != NULL; m = m->next)
        add_locked(m, buf_slice(&text));
    mutex_unlock(&shared->monitor_mu);
}
