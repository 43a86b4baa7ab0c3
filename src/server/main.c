/* main.c - quernd from its first line to its exit status.
 *
 *     options -> bind -> open the store -> loops -> banner -> serve until asked to stop
 *             -> close listeners -> stop_run(): drain, flush, close -> end the loops -> exit
 *
 * Binding comes before opening, so that a second server on the same port never touches a store; the
 * store's own lock covers two ports on one directory. */
#include "server/net/listen.h"
#include "server/loop.h"
#include "server/redis/redis.h"
#include "server/observe/say.h"
#include "server/server.h"
#include "server/observe/sink.h"
#include "server/syncer.h"
#include "server/net/tls.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/process.h"
#include "base/ticks.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000

/* What the main thread has; its loop accepts, and hears signals and the call to stop. */
struct house {
    struct server server;
    struct listeners listeners;
    struct syncer syncer;
    uv_loop_t uv;
    uv_async_t stop_asked;
    uv_signal_t term, interrupt, hangup, usr1;
    uv_timer_t look; /* at the files of TLS and of tokens */
    uv_timer_t turn; /* keeps uv_run() from sleeping long during the way down */
};

static void on_event(void *arg, const struct quern_event *event)
{
    struct server *server = arg;
    static const struct {
        const char *name;
        enum say_level level;
    } kinds[] = {
        {"opened", SAY_INFO},    {"torn tail", SAY_WARNING}, {"flushed", SAY_INFO},
        {"compacted", SAY_INFO}, {"slowed", SAY_WARNING},    {"no space", SAY_WARNING},
        {"resumed", SAY_INFO},   {"corrupt", SAY_ERROR},     {"failed", SAY_ERROR},
        {"closed", SAY_INFO},
    };
    unsigned kind = (unsigned)event->kind;

    events_note(&server->events, event);
    if (kind < ARRAY_LEN(kinds))
        say_event(kinds[kind].level, kinds[kind].name, "%s", event->text);
    else
        say_event(SAY_INFO, "event", "%s", event->text);
}

static int open_store(struct server *server)
{
    const struct server_options *o = server->options;
    struct quern_options options = {
        .memory_bytes = o->memory_bytes,
        .flush_interval_ms = (uint32_t)o->flush_ms,
        .compact_interval_ms = (uint32_t)o->compact_ms,
        .recover = (enum quern_recover)o->recover,
        .on_event = on_event,
        .on_event_arg = server,
    };
    struct quern_error err;

    switch (quern_open(o->data, &options, &server->db, &err)) {
    case QUERN_OK:
        return EXIT_CLEAN;
    case QUERN_LOCKED:
        complain("%s; is another quernd serving %s? choose another with --data DIR", err.text,
                 o->data);
        return EXIT_LOCKED;
    case QUERN_CORRUPT:
        complain("%s", err.text);
        complain("nothing was changed; quern verify tells more, quern repair copies what is sound, "
                 "and --recover point-in-time opens the store if only the log is damaged, and "
                 "loses what follows");
        return EXIT_CORRUPT;
    case QUERN_DENIED:
        complain("%s; choose another directory with --data DIR, or run as its owner", err.text);
        return EXIT_OPEN;
    case QUERN_NO_STORE: /* a missing store is made; so it is the directory above, or a file */
        complain("%s; %schoose another with --data DIR", err.text,
                 err.sys_errno == ENOENT ? "make the directory above it first, or " : "");
        return EXIT_OPEN;
    case QUERN_NO_SPACE:
        complain("%s; free some space on that disk and start again", err.text);
        return EXIT_DISK_FULL;
    default:
        complain("%s", err.text);
        return EXIT_OPEN;
    }
}

static void say_access(const struct house *h)
{
    const struct server_options *o = h->server.options;

    if (o->tls_client_ca != NULL)
        say("access: at ports with a certificate of a CA in %s", o->tls_client_ca);
    if (o->token_file != NULL)
        say("access: with a token, of the %zu in %s", access_count(h->server.guard.now),
            o->token_file);
    else if (o->insecure_no_auth && o->tls_client_ca == NULL)
        say("WARNING: no access control: whoever reaches the addresses below can do everything");
    else if (o->tls_client_ca == NULL)
        say("access: without a token, for whoever is on this machine");
}

static void banner(struct house *h)
{
    const struct server_options *o = h->server.options;
    struct quern_stats stats;
    char path[4096], a[SAID_BYTES], b[SAID_BYTES], c[SAID_BYTES];

    quern_stats(h->server.db, &stats);
    if (realpath(o->data, path) == NULL)
        (void)snprintf(path, sizeof(path), "%s", o->data);
    say("quernd %s", quern_version());
    say("data: %s (%s entries in %s tables, %s on disk)", path, said_count(stats.table_entries, a),
        said_count(stats.tables, b), said_bytes(stats.disk_bytes, c));
    say("recovered: %s batches from %s of log in %" PRIu64 " ms%s",
        said_count(stats.recovered_batches, a), said_bytes(stats.recovered_log_bytes, b),
        stats.recovery_us / 1000,
        stats.recovered_torn_tail ? "; a torn tail, never acknowledged, was cut" : "");
    if (o->durability == DURABLE_ALWAYS)
        say("durability: always (a reply means that the write survives the loss of power)");
    else if (o->durability == DURABLE_INTERVAL)
        say("durability: interval, synced every %" PRIu64
            " ms (a reply means that the write survives kill -9)",
            o->sync_ms);
    else
        say("durability: os (a reply means that the write survives kill -9, not the loss of "
            "power)");
    say_access(h);
    for (unsigned i = 0; i < h->listeners.count; i++)
        say("listening: %s", h->listeners.each[i].url);
    /* Where curl would need a token or certificates, a signal does the same. */
    if (o->token_file != NULL || o->tls_cert != NULL ||
        !listeners_say_how_to_stop(&h->listeners, path, sizeof(path)))
        (void)snprintf(path, sizeof(path), "kill %d", (int)getpid());
    say("ready; stop with: %s", path);
}

/* SIGUSR1: how it fares, for who has a shell and no client. */
static void say_stats(struct server *server)
{
    struct counters *n = &server->counters;
    struct quern_stats s;
    char a[SAID_BYTES], b[SAID_BYTES], c[SAID_BYTES];

    quern_stats(server->db, &s);
    say_event(SAY_INFO, "stats",
              "up %" PRIu64 " s; %" PRIu32 " connections, %s requests, %s refused, %s failed; "
              "%" PRIu64 " writes under way",
              (uv_hrtime() / 1000000 - server->started_ms) / 1000, server->connections,
              said_count(n->requests, a), said_count(n->replies_refused, b),
              said_count(n->replies_failed, c), server->writes);
    say_event(SAY_INFO, "stats", "%s entries in %s tables, %s on disk",
              said_count(s.table_entries, a), said_count(s.tables, b), said_bytes(s.disk_bytes, c));
    say_event(SAY_INFO, "stats", "memory %s of writes, %s of cache, budget %s",
              said_bytes(s.memdb_bytes, a), said_bytes(s.cache_bytes, b),
              said_bytes(s.memory_budget, c));
    say_event(SAY_INFO, "stats", "log %s, flushes %s, merges %s; slowed writes %" PRIu64 "%s%s",
              said_bytes(s.log_bytes, a), said_count(s.flushes, b), said_count(s.compactions, c),
              s.slowed_writes, s.read_only ? "; READ ONLY" : "", s.no_space ? "; NO SPACE" : "");
}

/* From any thread. */
static void wake_main(void *arg)
{
    struct house *h = arg;

    (void)uv_async_send(&h->stop_asked);
}

static void on_stop_asked(uv_async_t *handle)
{
    uv_stop(handle->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct house *h = handle->data;

    atomic_fetch_add(&h->server.stop.signals, 1);
    (void)stop_ask(&h->server.stop, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* SIGHUP: what can be read again is, and logs that were moved away are begun anew. */
static void on_hangup(uv_signal_t *handle, int number)
{
    struct house *h = handle->data;

    (void)number;
    say_event(
        SAY_INFO, "reload",
        "SIGHUP: the configuration is read again, and logs, tokens and certificates are opened");
    if (h->server.access_log != NULL)
        sink_reopen(h->server.access_log);
    config_reload(&h->server);
    guard_reload(&h->server.guard);
    if (h->server.tls != NULL)
        tls_keys_look(h->server.tls, true);
}

static void on_usr1(uv_signal_t *handle, int number)
{
    struct house *h = handle->data;

    (void)number;
    say_stats(&h->server);
}

static void on_look(uv_timer_t *handle)
{
    struct house *h = handle->data;

    guard_look(&h->server.guard);
    if (h->server.tls != NULL)
        tls_keys_look(h->server.tls, false);
}

static void on_turn(uv_timer_t *handle)
{
    (void)handle;
}

static void turn(void *arg)
{
    struct house *h = arg;

    (void)uv_run(&h->uv, UV_RUN_ONCE);
}

static void start_main_loop(struct house *h)
{
    if (uv_loop_init(&h->uv) != 0 || uv_async_init(&h->uv, &h->stop_asked, on_stop_asked) != 0 ||
        uv_signal_init(&h->uv, &h->term) != 0 || uv_signal_init(&h->uv, &h->interrupt) != 0 ||
        uv_signal_init(&h->uv, &h->hangup) != 0 || uv_signal_init(&h->uv, &h->usr1) != 0 ||
        uv_signal_start(&h->usr1, on_usr1, SIGUSR1) != 0 ||
        uv_signal_start(&h->term, on_signal, SIGTERM) != 0 ||
        uv_signal_start(&h->interrupt, on_signal, SIGINT) != 0 ||
        uv_signal_start(&h->hangup, on_hangup, SIGHUP) != 0) {
        complain("cannot start: no memory, or too many open files");
        exit(EXIT_OPEN);
    }
    h->term.data = h->interrupt.data = h->hangup.data = h->usr1.data = h->look.data = h;
    (void)uv_timer_init(&h->uv, &h->turn);
    (void)uv_timer_init(&h->uv, &h->look);
}

/* All is closed and in a moment the process ends with its status: a signal that still comes must not
 * end it with another. No other thread takes signals. */
static void end_main_loop(struct house *h)
{
    sigset_t all;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    uv_close((uv_handle_t *)&h->stop_asked, NULL);
    uv_close((uv_handle_t *)&h->term, NULL);
    uv_close((uv_handle_t *)&h->interrupt, NULL);
    uv_close((uv_handle_t *)&h->hangup, NULL);
    uv_close((uv_handle_t *)&h->usr1, NULL);
    uv_close((uv_handle_t *)&h->look, NULL);
    uv_close((uv_handle_t *)&h->turn, NULL);
    (void)uv_run(&h->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&h->uv);
}

static enum quern_code start_loops(struct server *server, struct quern_error *err)
{
    unsigned wanted = server->options->loops;

    if (wanted == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        wanted = cores < 1 ? 1 : cores > 64 ? 64 : (unsigned)cores;
    }
    server->loops = alloc_array(wanted, sizeof(*server->loops));
    if (server->loops == NULL)
        return err_memory(err, "event loops");
    while (server->loop_count < wanted) {
        if (loop_start(server, server->loop_count, &server->loops[server->loop_count], err))
            return err->code;
        server->loop_count++;
    }
    return QUERN_OK;
}

static void end_loops(struct server *server)
{
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_signal(server->loops[i], LOOP_QUIT);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_join(server->loops[i]);
    alloc_free(server->loops);
}

/* What entity tags and request ids begin with. */
static void name_store_and_run(struct server *server)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)snprintf(server->etag_begins, sizeof(server->etag_begins), "\"%016" PRIx64 "-",
                   quern_store_id(server->db));
    (void)snprintf(server->run, sizeof(server->run), "%016" PRIx64 "-",
                   (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
}

/* Beside the store, so on its file system, and not in it. */
static void name_checkpoints(struct server *server)
{
    char path[4096];

    if (realpath(server->options->data, path) == NULL)
        (void)snprintf(path, sizeof(path), "%s", server->options->data);
    (void)snprintf(server->checkpoints, sizeof(server->checkpoints), "%s.checkpoints", path);
}

/* Everything from an open store to a closed one. */
static int serve(struct house *h)
{
    struct server *server = &h->server;
    struct quern_error err;
    int status = EXIT_OPEN;

    name_store_and_run(server);
    snapshots_init(&server->snapshots);
    name_checkpoints(server);
    if (jobs_start(&server->jobs, server->db, &err) || resp_shared_new(&server->resp, &err) ||
        start_loops(server, &err) ||
        (server->options->durability == DURABLE_INTERVAL &&
         syncer_start(&h->syncer, server->db, server->options->sync_ms, &err))) {
        complain("%s", err.text);
        jobs_join(&server->jobs);
        (void)quern_close(server->db, &err);
        end_loops(server);
        resp_shared_free(server->resp);
        return status;
    }
    banner(h);
    (void)uv_timer_start(&h->look, on_look, LOOK_MS, LOOK_MS);
    listeners_start(&h->listeners, server, &h->uv);
    while (!stop_asked(&server->stop))
        (void)uv_run(&h->uv, UV_RUN_DEFAULT);
    listeners_close(&h->listeners);
    (void)uv_timer_start(&h->turn, on_turn, 2, 2);
    syncer_stop(&h->syncer);
    status = stop_run(server, turn, h);
    end_loops(server);
    snapshots_done(&server->snapshots);
    jobs_done(&server->jobs);
    resp_shared_free(server->resp);
    return status;
}

/* The certificate and its key, if there shall be any. */
static int read_keys(struct server *server, const struct server_options *o)
{
    struct quern_error err;

    if (o->tls_cert == NULL && o->tls_key == NULL && o->tls_client_ca == NULL)
        return EXIT_CLEAN;
    if (o->tls_cert == NULL || o->tls_key == NULL) {
        complain("TLS needs both, --tls-cert FILE and --tls-key FILE");
        return EXIT_CONFIG;
    }
    if (tls_keys_new(o, &server->tls, &err) != QUERN_OK) {
        complain("%s", err.text);
        return EXIT_CONFIG;
    }
    return EXIT_CLEAN;
}

static FILE *open_config(const char *path)
{
    return fopen(path, "re");
}

static int open_guard(struct guard *guard, const struct server_options *options)
{
    struct quern_error err;

    if (guard_open(guard, options->token_file, &err) == QUERN_OK)
        return EXIT_CLEAN;
    complain("--token-file: %s", err.text);
    return EXIT_CONFIG;
}

static int check_config(struct guard *guard, const struct server_options *options)
{
    int status = open_guard(guard, options);

    guard_close(guard);
    if (status == EXIT_CLEAN)
        say("the configuration is well");
    return status;
}

/* With options that are well, up to the exit status. */
static int open_logs(struct server *server)
{
    struct quern_error err;

    if (say_begin(&err) != QUERN_OK) {
        complain("%s", err.text);
        return EXIT_OPEN;
    }
    err_clear(&err);
    if (config_open_log(server, &err) != QUERN_OK) {
        complain("--access-log %s: %s", server->options->access_log, err.text);
        return EXIT_CONFIG;
    }
    return EXIT_CLEAN;
}

static int run(struct house *h, struct server_options *options, int argc, char **argv)
{
    struct server *server = &h->server;
    char name[32];
    int status;

    ticks_init();
    server->options = options;
    config_init(&server->config, options, argc, argv);
    server->started_ms = uv_hrtime() / 1000000;
    (void)snprintf(name, sizeof(name), "quern/%s", quern_version());
    server->name = name;
    hosts_init(&server->hosts, options);
    events_init(&server->events);
    aside_init(&server->aside);
    stop_init(&server->stop, wake_main, h);

    slowlog_init(&server->slowlog, options->slow_us, options->slow_count);
    slowlog_set_latency(&server->slowlog, options->latency_ms);
    status = open_logs(server);
    if (status == EXIT_CLEAN)
        status = open_guard(&server->guard, options);
    if (status == EXIT_CLEAN)
        status = listeners_bind(&h->listeners);
    server->http_port = listeners_port(&h->listeners, DOOR_HTTP);
    server->resp_port = listeners_port(&h->listeners, DOOR_RESP);
    if (status == EXIT_CLEAN) {
        start_main_loop(h);
        status = open_store(server);
        if (status == EXIT_CLEAN)
            status = serve(h);
        end_main_loop(h);
    }
    listeners_close(&h->listeners);
    stop_done(&server->stop);
    aside_stop(&server->aside);
    events_done(&server->events);
    guard_close(&server->guard);
    slowlog_done(&server->slowlog);
    sink_close(server->access_log);
    config_done(&server->config);
    say_end();
    return status;
}

int main(int argc, char **argv)
{
    static struct house house;
    struct options_world world = {environ, open_config};
    struct server_options options;
    int status;

    process_prepare();
    if (!options_parse(argc, argv, &world, &options, &status)) {
        options_done(&options);
        return status;
    }
    say_as((enum log_format)options.log_format, (enum say_level)options.log_level);
    if (options.action == ACTION_PRINT_COMMANDS) {
        resp_print_commands();
        status = EXIT_CLEAN;
    } else {
        status = listeners_plan(&house.listeners, &options);
        if (status == EXIT_CLEAN)
            status = read_keys(&house.server, &options);
        if (status == EXIT_CLEAN && options.action == ACTION_CHECK_CONFIG)
            status = check_config(&house.server.guard, &options);
        else if (status == EXIT_CLEAN)
            status = run(&house, &options, argc, argv);
        tls_keys_free(house.server.tls);
    }
    options_done(&options);
    return status;
}
