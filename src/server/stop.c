/* stop.c - the way down, told as it goes.
 *
 *     asked -> listeners closed -> drain: each connection ends after the reply it waits for
 *           -> (limit or second signal: connections are cut) -> writes handed over have completed
 *           -> flush (no space? sync the log) -> close -> "all data is safe on disk" -> bye
 *
 * A drain can be cut short, since it only concerns replies. The wait for writes that the store
 * already has cannot: their memory is in use until they complete. Nor can the sync be skipped. */
#include "server/stop.h"

#include "server/loop.h"
#include "server/observe/say.h"
#include "server/server.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

void stop_init(struct stop *s, void (*wake)(void *arg), void *wake_arg)
{
    memset(s, 0, sizeof(*s));
    mutex_init(&s->mu);
    s->wake = wake;
    s->wake_arg = wake_arg;
}

void stop_done(struct stop *s)
{
    buf_done(&s->text);
    mutex_done(&s->mu);
}

bool stop_ask(struct stop *s, const char *by)
{
    bool first;

    mutex_lock(&s->mu);
    first = s->asked_by[0] == '\0';
    if (first)
        (void)snprintf(s->asked_by, sizeof(s->asked_by), "%s", by);
    mutex_unlock(&s->mu);
    if (first)
        s->wake(s->wake_arg);
    return first;
}

bool stop_asked(struct stop *s)
{
    bool asked;

    mutex_lock(&s->mu);
    asked = s->asked_by[0] != '\0';
    mutex_unlock(&s->mu);
    return asked;
}

bool stop_words(struct stop *s, size_t *told, bool chunked, struct buf *out)
{
    struct quern_error ignored;
    struct quern_slice news;
    bool over;

    mutex_lock(&s->mu);
    news = (struct quern_slice){s->text.data + *told, s->text.len - *told};
    if (news.len > 0 && (chunked ? http_reply_chunk(out, news, false, &ignored)
                                 : buf_append(out, news.data, news.len, &ignored)) == QUERN_OK)
        *told = s->text.len;
    over = s->over;
    mutex_unlock(&s->mu);
    return over;
}

/* Say a line here and to all who asked. Without memory it is said here alone. */
static void PRINTF_LIKE(3, 4) tell(struct server *server, bool last, const char *format, ...)
{
    struct stop *s = &server->stop;
    struct quern_error ignored;
    char line[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    say("%s", line);
    (void)strcat(line, "\n");
    mutex_lock(&s->mu);
    if (buf_append(&s->text, line, strlen(line), &ignored) == QUERN_OK || last)
        s->over |= last;
    mutex_unlock(&s->mu);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_signal(server->loops[i], LOOP_WORDS);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static bool drained(struct server *server)
{
    return atomic_load(&server->connections) <= atomic_load(&server->watchers);
}

static void drain(struct server *server, void (*turn)(void *arg), void *arg)
{
    uint64_t began = now_ms(), served = atomic_load(&server->counters.requests);
    uint64_t limit = server->options->drain_ms;
    const char *job;

    tell(server, false,
         "listeners closed; %" PRIu32 " connections open, drain limit %" PRIu64 " ms",
         atomic_load(&server->connections) - atomic_load(&server->watchers), limit);
    atomic_store(&server->draining, true);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_signal(server->loops[i], LOOP_DRAIN);
    jobs_stop(&server->jobs);
    while (!drained(server) && now_ms() - began < limit && atomic_load(&server->stop.signals) < 2)
        turn(arg);
    if (!drained(server)) {
        tell(server, false, "drain %s",
             atomic_load(&server->stop.signals) < 2 ? "limit reached"
                                                    : "skipped by a second signal");
        for (unsigned i = 0; i < server->loop_count; i++)
            loop_signal(server->loops[i], LOOP_CUT);
    }
    job = jobs_working(&server->jobs);
    if (job != NULL) /* it cannot be called off */
        tell(server, false, "waiting for the %s job that is running", job);
    while (!drained(server) || atomic_load(&server->writes) > 0 || jobs_working(&server->jobs) ||
           atomic_load(&server->tasks) > 0)
        turn(arg);
    served = atomic_load(&server->counters.requests) - served;
    tell(server, false,
         "drained in %" PRIu64 " ms (%" PRIu64 " more requests answered, %" PRIu64
         " connections cut)",
         now_ms() - began, served, atomic_load(&server->counters.connections_cut));
}

static void tell_served(struct server *server)
{
    struct counters *c = &server->counters;
    char a[SAID_BYTES], b[SAID_BYTES], d[SAID_BYTES], e[SAID_BYTES];

    tell(server, false, "requests served: %s (%s keys read, %s keys deleted)",
         said_count(c->requests, a), said_count(c->gets_found, b), said_count(c->deletes_found, d));
    tell(server, false, "keys written: %s, %s of keys and values", said_count(c->sets, a),
         said_bytes(c->set_bytes, e));
}

/* Flush, and say what it came to. *logged: instead, all that is not in tables was synced in the
 * log. Returns the sequence number of the last write. */
static quern_seq flush(struct server *server, bool *logged)
{
    struct quern_stats before, after;
    struct quern_error err;
    char a[SAID_BYTES], b[SAID_BYTES], c[SAID_BYTES];
    uint64_t levels = 0, runs = 0;

    quern_stats(server->db, &before);
    if (quern_flush(server->db, &err) != QUERN_OK) {
        tell(server, false, "MemDB not flushed: %s; its writes stay in the log", err.text);
        *logged = quern_sync(server->db, &err) == QUERN_OK;
        quern_stats(server->db, &after);
    } else {
        quern_stats(server->db, &after);
        tell(server, false, "MemDB flushed: %s entries, %s written to tables",
             said_count(before.memdb_entries, a),
             said_bytes(after.flush_bytes - before.flush_bytes, b));
    }
    for (unsigned i = 0; i < after.tiers && i < QUERN_TIERS_MAX; i++) {
        levels += after.tier[i].runs > 0;
        runs += after.tier[i].runs;
    }
    tell(server, false, "tables: %s in %" PRIu64 " levels (%" PRIu64 " runs), %s, %s entries",
         said_count(after.tables, a), levels, runs, said_bytes(after.table_bytes, b),
         said_count(after.table_entries, c));
    return after.visible_seq;
}

int stop_run(struct server *server, void (*turn)(void *arg), void *arg)
{
    struct quern_error err;
    char number[SAID_BYTES];
    uint64_t began;
    quern_seq last;
    bool logged = false;
    int status = EXIT_CLEAN;

    tell(server, false, "shutdown requested by %s", server->stop.asked_by);
    drain(server, turn, arg);
    tell_served(server);
    jobs_join(&server->jobs);
    snapshots_clear(&server->snapshots);
    last = flush(server, &logged);
    if (quern_close(server->db, &err) == QUERN_OK) {
        tell(server, false, "log: synced and closed at sequence %s", said_count(last, number));
        tell(server, false, "all data is safe on disk");
    } else if (err.code == QUERN_NO_SPACE && logged) {
        tell(server, false,
             "log: synced at sequence %s; the next start recovers from it, and wants "
             "some free space for that",
             said_count(last, number));
        tell(server, false, "all data is safe on disk");
    } else {
        status = EXIT_UNSAFE;
        tell(server, false, "NOT all data is safe on disk: %s", err.text);
        tell(server, false, "start quernd again to recover what was acknowledged from the log");
        complain("shutdown: %s", err.text);
    }
    server->db = NULL;
    tell(server, true, "bye");
    began = now_ms();
    while (atomic_load(&server->connections) > 0 && now_ms() - began < 3000)
        turn(arg);
    return status;
}
