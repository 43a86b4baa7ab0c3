/* info.c - INFO: what there is to say, under the names that tools look for.
 *
 * A field stands here only if something is behind it. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

struct page {
    struct call *k;
    struct resp_out to;
    struct quern_stats stats;
};

static void PRINTF_LIKE(2, 3) line(struct page *p, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    resp_put_raw(&p->to, text, strlen(text));
    resp_put_raw(&p->to, "\r\n", 2);
}

static void section_server(struct page *p)
{
    const struct server *server = p->k->server;
    uint64_t up = uv_hrtime() / 1000000 - server->started_ms;
    char path[400];
    size_t len = sizeof(path);

    if (uv_exepath(path, &len) != 0)
        path[0] = '\0';
    line(p, "redis_version:7.2.4");
    line(p, "quern_version:%s", quern_version());
    line(p, "redis_mode:standalone");
    line(p, "os:Linux");
    line(p, "arch_bits:%zu", 8 * sizeof(void *));
    line(p, "process_id:%ld", (long)getpid());
    line(p, "run_id:%s", server->resp->run_id);
    line(p, "tcp_port:%u", server->resp_port);
    line(p, "http_port:%u", server->http_port);
    line(p, "uptime_in_seconds:%" PRIu64, up / 1000);
    line(p, "uptime_in_days:%" PRIu64, up / 86400000);
    line(p, "executable:%s", path);
    line(p, "config_file:%s", server->options->config != NULL ? server->options->config : "");
}

static void section_clients(struct page *p)
{
    struct server *server = p->k->server;
    uint32_t here;

    mutex_lock(&server->resp->mu);
    here = server->resp->client_count;
    mutex_unlock(&server->resp->mu);
    line(p, "connected_clients:%" PRIu32, here);
    line(p, "maxclients:%" PRIu32, server->options->connections_max);
    line(p, "blocked_clients:%" PRIu32, atomic_load(&server->resp->paused_count));
}

static void section_memory(struct page *p)
{
    uint64_t used = p->stats.memdb_bytes + p->stats.cache_bytes;
    size_t resident = 0;

    (void)uv_resident_set_memory(&resident);
    line(p, "used_memory:%" PRIu64, used);
    line(p, "used_memory_human:%.2fM", (double)used / (1 << 20));
    line(p, "used_memory_rss:%zu", resident);
    line(p, "maxmemory:0");
    line(p, "maxmemory_policy:noeviction");
    line(p, "quern_memory_budget:%" PRIu64, p->stats.memory_budget);
}

static void section_persistence(struct page *p)
{
    line(p, "loading:0");
    line(p, "rdb_last_save_time:%" PRId64, atomic_load(&p->k->server->resp->saved_at));
    line(p, "aof_enabled:1");
    line(p, "quern_flush_in_progress:%d", p->stats.memdb_sealed > 0);
    line(p, "quern_wal_bytes:%" PRIu64, p->stats.log_bytes);
    line(p, "quern_visible_seq:%" PRIu64, p->stats.visible_seq);
    line(p, "quern_durable_seq:%" PRIu64, p->stats.durable_seq);
    line(p, "quern_read_only:%d", p->stats.read_only);
    line(p, "quern_no_space:%d", p->stats.no_space);
}

/* Commands a second since somebody asked last, if that is a second ago. */
static uint64_t take_rate(struct resp_shared *shared)
{
    uint64_t now = uv_hrtime() / 1000000, count = shared->counters.commands, rate;

    mutex_lock(&shared->mu);
    if (now - shared->asked_ms >= 1000) {
        shared->per_second = count < shared->asked_count
                                 ? 0 /* CONFIG RESETSTAT */
                                 : (count - shared->asked_count) * 1000 / (now - shared->asked_ms);
        shared->asked_ms = now;
        shared->asked_count = count;
    }
    rate = shared->per_second;
    mutex_unlock(&shared->mu);
    return rate;
}

static void section_stats(struct page *p)
{
    const struct server *server = p->k->server;
    const struct resp_counters *n = &server->resp->counters;
    uint64_t before = atomic_load(&server->resp->expired_before);

    line(p, "total_connections_received:%" PRIu64, n->connections);
    line(p, "total_commands_processed:%" PRIu64, n->commands);
    line(p, "instantaneous_ops_per_sec:%" PRIu64, take_rate(p->k->server->resp));
    line(p, "rejected_connections:%" PRIu64, server->counters.connections_refused);
    line(p, "total_net_input_bytes:%" PRIu64, server->counters.bytes_in);
    line(p, "total_net_output_bytes:%" PRIu64, server->counters.bytes_out);
    line(p, "keyspace_hits:%" PRIu64, n->hits);
    line(p, "keyspace_misses:%" PRIu64, n->misses);
    line(p, "expired_keys:%" PRIu64,
         p->stats.expired_entries > before ? p->stats.expired_entries - before : 0);
    line(p, "evicted_keys:0");
    line(p, "total_error_replies:%" PRIu64, n->errors);
}

static void section_replication(struct page *p)
{
    line(p, "role:master");
    line(p, "connected_slaves:0");
    line(p, "master_repl_offset:0");
}

static void section_cpu(struct page *p)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return;
    line(p, "used_cpu_sys:%ld.%06ld", (long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec);
    line(p, "used_cpu_user:%ld.%06ld", (long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec);
}

static void section_modules(struct page *p)
{
    (void)p; /* there are none */
}

static void section_cluster(struct page *p)
{
    line(p, "cluster_enabled:0");
}

static void section_keyspace(struct page *p)
{
    struct quern_error ignored;
    struct key_count n;

    if (!p->k->sees_all)
        return; /* how many there are of all is not his to know */
    for (uint8_t db = 0; db < DATABASES; db++) {
        if (resp_count_keys(p->k->server, db, &n, &ignored) == QUERN_OK && n.keys > 0)
            line(p, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRIu64, db, n.keys,
                 n.expires, n.ttl_ms);
    }
}

static void section_quern(struct page *p)
{
    const struct quern_stats *s = &p->stats;

    line(p, "disk_bytes:%" PRIu64, s->disk_bytes);
    line(p, "tables:%" PRIu64, s->tables);
    line(p, "table_bytes:%" PRIu64, s->table_bytes);
    line(p, "memdb_entries:%" PRIu64, s->memdb_entries);
    line(p, "flushes:%" PRIu64, s->flushes);
    line(p, "compactions:%" PRIu64, s->compactions);
    line(p, "slowed_writes:%" PRIu64, s->slowed_writes);
    line(p, "corrupt_blocks:%" PRIu64, s->corrupt_blocks);
}

/* What the server worked at a command; its waits are not in it. */
static void section_commandstats(struct page *p)
{
    struct measure_sum sum;

    for (unsigned i = 0; i < command_numbers(); i++) {
        uint64_t us, calls;
        char name[COMMAND_NAME_BYTES];

        if (!resp_command_sum(p->k->server, i, &sum))
            continue;
        us = (sum.took_units - sum.waited_units) / TICK_UNITS_PER_US;
        calls = sum.took.total;
        line(p,
             "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
             ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64,
             command_full_name(command_numbered(i), name), calls, us,
             calls == 0 ? 0 : (double)us / (double)calls, sum.outcomes[OUTCOME_REJECTED],
             sum.outcomes[OUTCOME_REFUSED] + sum.outcomes[OUTCOME_FAILED]);
    }
}

static void section_errorstats(struct page *p)
{
    struct error_word errors[ERROR_WORDS];
    unsigned n = resp_error_sums(p->k->server, errors);

    for (unsigned i = 0; i < n; i++) {
        if (errors[i].count > 0)
            line(p, "errorstat_%s:count=%" PRIu64, errors[i].word, errors[i].count);
    }
}

/* From the last byte of a command to its reply being handed to the kernel. */
static void section_latencystats(struct page *p)
{
    struct measure_sum sum;

    for (unsigned i = 0; i < command_numbers(); i++) {
        char name[COMMAND_NAME_BYTES];

        if (!resp_command_sum(p->k->server, i, &sum))
            continue;
        line(p, "latency_percentiles_usec_%s:p50=%.3f,p99=%.3f,p99.9=%.3f",
             command_full_name(command_numbered(i), name),
             (double)histogram_quantile(&sum.took, 0.5) / TICK_UNITS_PER_US,
             (double)histogram_quantile(&sum.took, 0.99) / TICK_UNITS_PER_US,
             (double)histogram_quantile(&sum.took, 0.999) / TICK_UNITS_PER_US);
    }
}

static const struct section {
    const char *title;
    void (*write)(struct page *p);
    bool on_demand; /* not unless it is asked for, or all */
} sections[] = {
    {"Server", section_server, false},
    {"Clients", section_clients, false},
    {"Memory", section_memory, false},
    {"Persistence", section_persistence, false},
    {"Stats", section_stats, false},
    {"Replication", section_replication, false},
    {"CPU", section_cpu, false},
    {"Modules", section_modules, false},
    {"Commandstats", section_commandstats, true},
    {"Errorstats", section_errorstats, false},
    {"Latencystats", section_latencystats, true},
    {"Cluster", section_cluster, false},
    {"Keyspace", section_keyspace, false},
    {"Quern", section_quern, false},
};

static bool is_asked_for(const struct call *k, const struct section *section)
{
    for (size_t i = 1; i < k->argc; i++) {
        if (call_arg_is(k, i, section->title) || call_arg_is(k, i, "all") ||
            call_arg_is(k, i, "everything") ||
            (call_arg_is(k, i, "default") && !section->on_demand))
            return true;
    }
    return k->argc == 1 && !section->on_demand;
}

enum quern_code cmd_info(struct call *k)
{
    struct buf text OWNED_BUF = {0};
    struct page p = {.k = k, .to = {&text, 2, false}};

    quern_stats(k->server->db, &p.stats);
    for (unsigned i = 0; i < ARRAY_LEN(sections); i++) {
        if (!is_asked_for(k, &sections[i]))
            continue;
        if (text.len > 0)
            line(&p, "%s", "");
        line(&p, "# %s", sections[i].title);
        sections[i].write(&p);
    }
    resp_put_verbatim(&k->out, buf_slice(&text));
    k->out.failed |= p.to.failed;
    return QUERN_OK;
}
