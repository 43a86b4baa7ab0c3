/* admin.c - commands about the server: its settings, what it has saved, its end. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------------ what all share -- */

enum quern_code resp_shared_new(struct resp_shared **out, struct quern_error *err)
{
    struct resp_shared *shared = NEW(struct resp_shared);
    uint8_t random[20] = {0};

    if (shared == NULL)
        return err_memory(err, "the Redis protocol's door");
    shared->cursors = cursors_new();
    shared->refused = refused_new();
    if (shared->cursors == NULL || shared->refused == NULL) {
        cursors_free(shared->cursors);
        refused_free(shared->refused);
        alloc_free(shared);
        return err_memory(err, "the Redis protocol's door");
    }
    mutex_init(&shared->mu);
    mutex_init(&shared->monitor_mu);
    (void)uv_random(NULL, NULL, random, sizeof(random), 0, NULL);
    for (size_t i = 0; i < sizeof(random); i++)
        (void)snprintf(shared->run_id + 2 * i, 3, "%02x", random[i]);
    shared->saved_at = time(NULL);
    shared->asked_ms = uv_hrtime() / 1000000;
    *out = shared;
    return QUERN_OK;
}

void resp_shared_free(struct resp_shared *shared)
{
    if (shared == NULL)
        return;
    cursors_free(shared->cursors);
    refused_free(shared->refused);
    command_base_free(shared->base);
    mutex_done(&shared->mu);
    mutex_done(&shared->monitor_mu);
    alloc_free(shared);
}

/* ------------------------------------------------------------------ CONFIG -- */

#define CONFIG_TEXT_BYTES 4096
#define OPTION_TEXT_BYTES 32

struct setting {
    const char *name;
    /* The value, as text at `to`. */
    void (*write)(const struct server *server, char *to);
    /* The option that it is, and the unit that a number gets there; NULL: it stays as it is while the
     * server runs. */
    const char *option, *unit;
    int64_t least; /* of what is taken */
    int64_t (*most)(const struct server *server);
};

static void put_number(char *to, uint64_t n)
{
    (void)snprintf(to, CONFIG_TEXT_BYTES, "%" PRIu64, n);
}

static void put_empty(const struct server *server, char *to)
{
    (void)server;
    *to = '\0';
}

static void put_zero(const struct server *server, char *to)
{
    (void)server;
    put_number(to, 0);
}

static void put_databases(const struct server *server, char *to)
{
    (void)server;
    put_number(to, DATABASES);
}

static void put_yes(const struct server *server, char *to)
{
    (void)server;
    (void)strcpy(to, "yes");
}

static void put_noeviction(const struct server *server, char *to)
{
    (void)server;
    (void)strcpy(to, "noeviction");
}

static void put_fsync(const struct server *server, char *to)
{
    static const char *const names[] = {"always", "everysec", "no"};

    (void)strcpy(to, names[server->options->durability]);
}

static void put_max_bulk(const struct server *server, char *to)
{
    put_number(to, server->options->value_bytes_max);
}

static void put_max_clients(const struct server *server, char *to)
{
    put_number(to, server->options->connections_max);
}

static void put_port(const struct server *server, char *to)
{
    put_number(to, server->resp_port);
}

static void put_dir(const struct server *server, char *to)
{
    (void)snprintf(to, CONFIG_TEXT_BYTES, "%s", server->options->data);
}

static void put_slower_than(const struct server *server, char *to)
{
    (void)snprintf(to, CONFIG_TEXT_BYTES, "%" PRId64, atomic_load(&server->slowlog.slower_than_us));
}

static void put_slow_length(const struct server *server, char *to)
{
    put_number(to, atomic_load(&server->slowlog.length_max));
}

static void put_latency(const struct server *server, char *to)
{
    put_number(to, atomic_load(&server->slowlog.latency_ms));
}

/* What files may be open was seen to at the start, for so many. */
static int64_t most_clients(const struct server *server)
{
    return server->config.connections_most;
}

static int64_t most(const struct server *server)
{
    (void)server;
    return INT64_MAX;
}

/* What tools ask for; each value is so. */
static const struct setting settings[] = {
    {"appendfsync", put_fsync, NULL, NULL, 0, NULL},
    {"appendonly", put_yes, NULL, NULL, 0, NULL},
    {"databases", put_databases, NULL, NULL, 0, NULL},
    {"dir", put_dir, NULL, NULL, 0, NULL},
    {"latency-monitor-threshold", put_latency, "latency-log", "ms", 0, most},
    {"maxclients", put_max_clients, "max-connections", "", 1, most_clients},
    {"maxmemory", put_zero, NULL, NULL, 0, NULL},
    {"maxmemory-policy", put_noeviction, NULL, NULL, 0, NULL},
    {"notify-keyspace-events", put_empty, NULL, NULL, 0, NULL},
    {"port", put_port, NULL, NULL, 0, NULL},
    {"proto-max-bulk-len", put_max_bulk, NULL, NULL, 0, NULL},
    {"requirepass", put_empty, NULL, NULL, 0, NULL},
    {"save", put_empty, NULL, NULL, 0, NULL},
    {"slowlog-log-slower-than", put_slower_than, "slow-log", "us", -1, most},
    {"slowlog-max-len", put_slow_length, "slow-log-length", "", 0, most},
    {"timeout", put_zero, NULL, NULL, 0, NULL},
};

static bool is_asked_for(const struct call *k, const struct setting *setting)
{
    struct quern_slice name = {setting->name, strlen(setting->name)};

    for (size_t i = 2; i < k->argc; i++) {
        char lower[64];
        size_t len = k->args[i].len < sizeof(lower) ? k->args[i].len : sizeof(lower);

        for (size_t at = 0; at < len; at++) {
            char letter = ((const char *)k->args[i].data)[at];

            lower[at] = (char)(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
        }
        if (resp_glob_matches((struct quern_slice){lower, len}, name))
            return true;
    }
    return false;
}

enum quern_code cmd_config_get(struct call *k)
{
    char text[CONFIG_TEXT_BYTES];
    size_t n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(settings); i++)
        n += is_asked_for(k, &settings[i]);
    resp_put_map(&k->out, n);
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++) {
        if (!is_asked_for(k, &settings[i]))
            continue;
        settings[i].write(k->server, text);
        resp_put_text(&k->out, settings[i].name);
        resp_put_text(&k->out, text);
    }
    return QUERN_OK;
}

static const struct setting *setting_named(const struct call *k, size_t arg)
{
    for (unsigned i = 0; i < ARRAY_LEN(settings); i++) {
        if (call_arg_is(k, arg, settings[i].name))
            return &settings[i];
    }
    return NULL;
}

static bool refuse_setting(struct call *k, size_t arg, const char *why)
{
    resp_put_error(&k->out, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
                   (int)(k->args[arg].len < 128 ? k->args[arg].len : 128),
                   (const char *)k->args[arg].data, why);
    return false;
}

/* May the setting get that value? To set what is so already is well: tools do, to be sure of it. */
static bool may_set(struct call *k, size_t arg, const struct setting *setting, int64_t *n)
{
    char text[CONFIG_TEXT_BYTES];

    for (size_t i = 2; i < arg; i += 2) {
        if (setting_named(k, i) == setting)
            return refuse_setting(k, arg, "duplicate parameter");
    }
    setting->write(k->server, text);
    if (setting->option == NULL)
        return call_arg_is(k, arg + 1, text) ||
               refuse_setting(k, arg, "can't set immutable config");
    if (!resp_integer(k->args[arg + 1], n))
        return refuse_setting(k, arg, "argument couldn't be parsed into an integer");
    if (*n < setting->least || *n > setting->most(k->server)) {
        (void)snprintf(text, sizeof(text),
                       "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                       setting->least, setting->most(k->server));
        return refuse_setting(k, arg, text);
    }
    return true;
}

/* As the option says it: what is above its bound is as good as none there. */
static void option_text(const struct setting *setting, int64_t n, char to[OPTION_TEXT_BYTES])
{
    if (n < 0)
        (void)strcpy(to, "off");
    else
        (void)snprintf(to, OPTION_TEXT_BYTES, "%" PRId64 "%s",
                       *setting->unit == '\0' && n > UINT32_MAX ? UINT32_MAX : n, setting->unit);
}

/* Settings that are well; each is there once. */
static bool change(struct call *k)
{
    struct config_wish wishes[ARRAY_LEN(settings)];
    char texts[ARRAY_LEN(settings)][OPTION_TEXT_BYTES];
    struct config_trouble trouble;
    size_t count = 0;
    int64_t n;

    for (size_t i = 2; i < k->argc; i += 2) {
        const struct setting *setting = setting_named(k, i);

        if (setting->option == NULL || !resp_integer(k->args[i + 1], &n))
            continue;
        option_text(setting, n, texts[count]);
        wishes[count] = (struct config_wish){
            .name = setting->option, .text = texts[count], .source = FROM_CHANGE};
        count++;
    }
    return config_change(k->server, wishes, count, &trouble) == CONFIG_DONE ||
           refuse_setting(k, 2, trouble.detail);
}

/* All of them, or none. */
enum quern_code cmd_config_set(struct call *k)
{
    int64_t n;

    if (k->argc % 2 != 0)
        return call_wrong_arity(k);
    for (size_t i = 2; i < k->argc; i += 2) {
        const struct setting *setting = setting_named(k, i);

        if (setting == NULL) {
            resp_put_error(
                &k->out, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                (int)(k->args[i].len < 128 ? k->args[i].len : 128), (const char *)k->args[i].data);
            return QUERN_OK;
        }
        if (!may_set(k, i, setting, &n))
            return QUERN_OK;
    }
    return change(k) ? call_ok(k) : QUERN_OK;
}

/* The file is the operator's: what CONFIG SET changes lasts as long as the process. */
enum quern_code cmd_config_rewrite(struct call *k)
{
    if (k->server->options->config == NULL)
        return call_error(k, "ERR The server is running without a config file");
    return call_error(k, "ERR Rewriting config file: this server never changes its config file; "
                         "write there what is to last");
}

enum quern_code cmd_config_resetstat(struct call *k)
{
    struct resp_counters *n = &k->server->resp->counters;
    struct quern_stats stats;

    quern_stats(k->server->db, &stats);
    atomic_store(&k->server->resp->expired_before, stats.expired_entries);
    atomic_store(&n->commands, 0);
    atomic_store(&n->errors, 0);
    atomic_store(&n->connections, 0);
    atomic_store(&n->hits, 0);
    atomic_store(&n->misses, 0);
    if (!resp_reset_sums(k->server))
        k->out.failed = true;
    return call_ok(k);
}

/* ------------------------------------------------------------------ saving, ending -- */

enum quern_code cmd_save(struct call *k)
{
    if (!resp_begin_save(k, false))
        k->out.failed = true;
    return QUERN_OK;
}

enum quern_code cmd_bgsave(struct call *k)
{
    if (k->argc > 2 || (k->argc == 2 && !call_arg_is(k, 1, "SCHEDULE")))
        return call_syntax_error(k);
    resp_put_simple(&k->out, "Background saving started");
    if (!resp_begin_save(k, true))
        k->out.failed = true;
    return QUERN_OK;
}

enum quern_code cmd_lastsave(struct call *k)
{
    return call_int(k, atomic_load(&k->server->resp->saved_at));
}

/* The connection ends when all is safe on disk, which is when Redis' would. */
enum quern_code cmd_shutdown(struct call *k)
{
    struct conn *c = k->conn;
    char peer[64], by[128];

    for (size_t i = 1; i < k->argc; i++) {
        if (call_arg_is(k, i, "ABORT"))
            return k->argc == 2 ? call_error(k, "ERR No shutdown in progress.")
                                : call_syntax_error(k);
        if (!call_arg_is(k, i, "SAVE") && !call_arg_is(k, i, "NOSAVE") &&
            !call_arg_is(k, i, "NOW") && !call_arg_is(k, i, "FORCE"))
            return call_syntax_error(k);
    }
    /* Where there are tokens, one with scope admin was shown. */
    if (!conn_peer(c, peer, sizeof(peer)) && c->user == NULL)
        return call_error(k, "NOPERM only a client on the same machine may shut the server down");
    (void)snprintf(by, sizeof(by), "%s (SHUTDOWN)", c->resp->client.peer);
    c->watching = true;
    atomic_fetch_add(&k->server->watchers, 1);
    (void)stop_ask(&k->server->stop, by);
    return QUERN_OK;
}

/* ------------------------------------------------------------------ small answers -- */

enum quern_code cmd_time(struct call *k)
{
    struct timespec now;
    char text[24];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    resp_put_array(&k->out, 2);
    (void)snprintf(text, sizeof(text), "%" PRId64, (int64_t)now.tv_sec);
    resp_put_text(&k->out, text);
    (void)snprintf(text, sizeof(text), "%ld", now.tv_nsec / 1000);
    resp_put_text(&k->out, text);
    return QUERN_OK;
}

enum quern_code cmd_role(struct call *k)
{
    resp_put_array(&k->out, 3);
    resp_put_text(&k->out, "master");
    resp_put_int(&k->out, 0);
    resp_put_array(&k->out, 0);
    return QUERN_OK;
}

/* There are no replicas to wait for. */
enum quern_code cmd_wait(struct call *k)
{
    int64_t ignored;

    if (!call_integer(k, 1, &ignored))
        return QUERN_OK;
    if (!resp_integer(k->args[2], &ignored))
        return call_error(k, "ERR timeout is not an integer or out of range");
    if (ignored < 0)
        return call_error(k, "ERR timeout is negative");
    return call_int(k, 0);
}

enum quern_code cmd_memory_doctor(struct call *k)
{
    static const char text[] = "quern keeps to its budget (--memory); see GET /stats.";

    resp_put_verbatim(&k->out, (struct quern_slice){text, sizeof(text) - 1});
    return QUERN_OK;
}

/* Tests of client libraries begin with it. */
enum quern_code cmd_function_flush(struct call *k)
{
    if (k->argc > 3)
        return call_sub_error(k);
    if (k->argc == 3 && !call_arg_is(k, 2, "SYNC") && !call_arg_is(k, 2, "ASYNC"))
        return call_error(k, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    return call_ok(k);
}

enum quern_code cmd_function_list(struct call *k)
{
    bool with_code = false, named = false;

    for (size_t i = 2; i < k->argc; i++) {
        if (!with_code && call_arg_is(k, i, "WITHCODE")) {
            with_code = true;
        } else if (!named && call_arg_is(k, i, "LIBRARYNAME")) {
            named = true;
            if (++i == k->argc)
                return call_error(k, "ERR library name argument was not given");
        } else {
            return call_about(k, "ERR Unknown argument ", k->args[i], "");
        }
    }
    return cmd_empty_list(k);
}

enum quern_code cmd_empty_list(struct call *k)
{
    resp_put_array(&k->out, 0);
    return QUERN_OK;
}
