/* metrics.c - GET /metrics: what there is to measure, in the text format of Prometheus (0.0.4), or
 * as OpenMetrics 1.0 for whoever prefers that.
 *
 * Names begin with quern_ and end in their unit: bytes, seconds, or what is counted. A family is
 * written once for all its labels, in the order of the table below; docs/operations.md lists them
 * all, and a test compares. Routes and commands appear once they have been asked for. */
#include "server/loop.h"
#include "server/intake.h"
#include "server/rest/live.h"
#include "server/rest/reply.h"
#include "server/redis/redis.h"
#include "server/rest/route.h"
#include "server/observe/say.h"
#include "server/observe/sink.h"
#include "server/net/tls.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

/* The buckets of a histogram reach from 16 us to 17 s, each twice the one before. */
#define LE_BITS_FIRST 14u /* 2^14 units of 1/1024 us */
#define LE_BITS_LAST 34u

struct page {
    struct server *server;
    struct buf *text;
    bool open_metrics, failed;
    const char *name; /* of the family at hand */
    struct quern_stats stats;
};

enum type {
    COUNTER,
    GAUGE,
    HISTOGRAM,
};

static void PRINTF_LIKE(2, 3) put(struct page *p, const char *format, ...)
{
    char line[512];
    struct quern_error ignored;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    p->failed |= n < 0 || (size_t)n >= sizeof(line) ||
                 buf_append(p->text, line, (size_t)n, &ignored) != QUERN_OK;
}

/* Begin a family. OpenMetrics names a counter without the _total of its samples. */
static void family(struct page *p, enum type type, const char *name, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *total = p->open_metrics || type != COUNTER ? "" : "_total";

    p->name = name;
    put(p, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, total, help, name, total, types[type]);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* ------------------------------------------------------------------ one number each -- */

static void counter(struct page *p, const char *name, const char *help, uint64_t n)
{
    family(p, COUNTER, name, help);
    put(p, "%s_total %" PRIu64 "\n", name, n);
}

static void counter_seconds(struct page *p, const char *name, const char *help, uint64_t ns)
{
    family(p, COUNTER, name, help);
    put(p, "%s_total %.9g\n", name, seconds(ns));
}

static void gauge(struct page *p, const char *name, const char *help, uint64_t n)
{
    family(p, GAUGE, name, help);
    put(p, "%s %" PRIu64 "\n", name, n);
}

static void gauge_real(struct page *p, const char *name, const char *help, double v)
{
    family(p, GAUGE, name, help);
    put(p, "%s %.15g\n", name, v);
}

/* ------------------------------------------------------------------ families with labels -- */

static void labelled(struct page *p, const char *label, const char *value, uint64_t n)
{
    put(p, "%s{%s=\"%s\"} %" PRIu64 "\n", p->name, label, value, n);
}

static void labelled_total(struct page *p, const char *label, const char *value, uint64_t n)
{
    put(p, "%s_total{%s=\"%s\"} %" PRIu64 "\n", p->name, label, value, n);
}

enum level_number {
    LEVEL_BYTES,
    LEVEL_FILES,
    LEVEL_RUNS,
    LEVEL_ENTRIES,
    LEVEL_TOMBSTONES,
};

static void levels(struct page *p, const char *name, const char *help, enum level_number which)
{
    family(p, GAUGE, name, help);
    for (uint32_t t = 0; t < p->stats.tiers; t++) {
        const struct quern_tier_stats *tier = &p->stats.tier[t];
        const uint64_t numbers[] = {tier->bytes, tier->tables, tier->runs, tier->entries,
                                    tier->tombstones};
        char level[12];

        (void)snprintf(level, sizeof(level), "%" PRIu32, t);
        labelled(p, "level", level, numbers[which]);
    }
}

/* ------------------------------------------------------------------ requests -- */

struct op {
    unsigned kind;
    char labels[KIND_NAME_BYTES + 32];
    struct measure_sum sum;
};

/* The next kind from `op->kind` on that was ever asked for; false: there is none. */
static bool next_op(struct page *p, struct op *op)
{
    char name[KIND_NAME_BYTES];

    for (; op->kind < measure_kinds(); op->kind++) {
        if (!measure_sum(p->server, op->kind, &op->sum))
            continue;
        (void)snprintf(op->labels, sizeof(op->labels), "op=\"%s\",proto=\"%s\"",
                       measure_kind_name(op->kind, name),
                       measure_kind_is_command(op->kind) ? "resp" : "http");
        return true;
    }
    return false;
}

static void op_histogram(struct page *p, const struct op *op)
{
    for (unsigned bits = LE_BITS_FIRST; bits <= LE_BITS_LAST; bits++)
        put(p, "%s_bucket{%s,le=\"%.9g\"} %" PRIu64 "\n", p->name, op->labels,
            (double)((uint64_t)1 << bits) / (TICK_UNITS_PER_US * 1e6),
            histogram_below(&op->sum.took, bits));
    put(p, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", p->name, op->labels, op->sum.took.total);
    put(p, "%s_sum{%s} %.9g\n", p->name, op->labels,
        (double)op->sum.took_units / (TICK_UNITS_PER_US * 1e6));
    put(p, "%s_count{%s} %" PRIu64 "\n", p->name, op->labels, op->sum.took.total);
}

static void requests(struct page *p)
{
    static struct {
        const char *name;
        unsigned of[2];
    } results[] = {{"ok", {OUTCOME_OK, OUTCOME_OK}},
                   {"refused", {OUTCOME_REJECTED, OUTCOME_REFUSED}},
                   {"failed", {OUTCOME_FAILED, OUTCOME_FAILED}}};
    struct op op;

    family(p, COUNTER, "quern_ops",
           "Requests that were answered, by route or command and by what came of them.");
    for (op.kind = 0; next_op(p, &op); op.kind++) {
        for (unsigned r = 0; r < ARRAY_LEN(results); r++) {
            uint64_t n = op.sum.outcomes[results[r].of[0]];

            if (results[r].of[1] != results[r].of[0])
                n += op.sum.outcomes[results[r].of[1]];
            put(p, "quern_ops_total{%s,result=\"%s\"} %" PRIu64 "\n", op.labels, results[r].name,
                n);
        }
    }
    family(p, HISTOGRAM, "quern_op_seconds",
           "Time from the last byte of a request to its reply being handed to the kernel.");
    for (op.kind = 0; next_op(p, &op); op.kind++)
        op_histogram(p, &op);
    family(p, COUNTER, "quern_op_wait_seconds",
           "Part of that time in which requests waited for others, the store or the client.");
    for (op.kind = 0; next_op(p, &op); op.kind++)
        put(p, "quern_op_wait_seconds_total{%s} %.9g\n", op.labels,
            (double)op.sum.waited_units / (TICK_UNITS_PER_US * 1e6));
}

/* ------------------------------------------------------------------ the server -- */

static void process(struct page *p)
{
    struct server *server = p->server;
    struct timespec now;
    struct rusage usage;
    size_t resident = 0;

    family(p, GAUGE, "quern_build_info", "1, with the version as a label.");
    labelled(p, "version", quern_version(), 1);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    gauge(p, "quern_start_time_seconds", "When the server was started, in seconds since 1970.",
          (uint64_t)now.tv_sec - (uv_hrtime() / 1000000 - server->started_ms) / 1000);
    (void)uv_resident_set_memory(&resident);
    gauge(p, "quern_resident_memory_bytes", "Memory of the process that is in RAM.", resident);
    (void)getrusage(RUSAGE_SELF, &usage);
    family(p, COUNTER, "quern_cpu_seconds", "Processor time of the process.");
    put(p, "quern_cpu_seconds_total{mode=\"user\"} %.6f\n",
        (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6);
    put(p, "quern_cpu_seconds_total{mode=\"system\"} %.6f\n",
        (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6);
    gauge(p, "quern_loops", "Event loops, each a thread.", server->loop_count);
}

static void connections(struct page *p)
{
    struct server *server = p->server;
    struct counters *n = &server->counters;
    uint32_t resp, all = atomic_load(&server->connections);

    mutex_lock(&server->resp->mu);
    resp = server->resp->client_count;
    mutex_unlock(&server->resp->mu);
    gauge(p, "quern_http_connections", "HTTP connections that are open.",
          all > resp ? all - resp : 0);
    gauge(p, "quern_resp_connections", "Connections of the Redis protocol that are open.", resp);
    gauge(p, "quern_connections_max", "How many connections of both there may be.",
          server->options->connections_max);
    counter(p, "quern_connections_accepted", "Connections that were accepted.",
            atomic_load(&n->connections_total));
    counter(p, "quern_connections_refused", "Connections beyond the limit.",
            atomic_load(&n->connections_refused));
    counter(p, "quern_connection_timeouts",
            "Connections that were ended because their client was too slow.",
            atomic_load(&n->timeouts));
    family(p, COUNTER, "quern_network_bytes", "Bytes that clients sent and were sent.");
    labelled_total(p, "dir", "in", atomic_load(&n->bytes_in));
    labelled_total(p, "dir", "out", atomic_load(&n->bytes_out));
    counter(p, "quern_slow_ops", "Requests that the slow log has kept.",
            atomic_load(&server->slowlog.total));
    family(p, COUNTER, "quern_log_dropped_lines", "Lines of logs that nobody took in time.");
    labelled_total(p, "log", "events", say_dropped());
    labelled_total(p, "log", "access",
                   server->access_log != NULL ? sink_dropped(server->access_log) : 0);
    if (server->tls != NULL)
        gauge_real(p, "quern_tls_not_after_seconds", "When the certificate ends, in Unix time.",
                   (double)tls_keys_not_after(server->tls));
    gauge(p, "quern_intake_bytes",
          "What has arrived of requests that are not whole or wait, beyond 64 KiB of each "
          "connection.",
          atomic_load(&server->intake));
    gauge(p, "quern_intake_bytes_max", "Beyond that further ones are sent away.",
          intake_bytes_max(server));
    gauge(p, "quern_writes_in_flight", "Writes that the store has and has not completed.",
          atomic_load(&server->writes));
}

/* ------------------------------------------------------------------ the store -- */

static void state(struct page *p)
{
    const struct quern_stats *s = &p->stats;

    gauge(p, "quern_read_only", "1: writes are refused until a restart.", s->read_only);
    gauge(p, "quern_no_space", "1: background work waits for space on the disk.", s->no_space);
    gauge(p, "quern_visible_sequence", "Number of the last write that reads see.", s->visible_seq);
    gauge(p, "quern_durable_sequence", "Number up to which writes survive the loss of power.",
          s->durable_seq);
    gauge(p, "quern_snapshots", "Snapshots that are held.", s->snapshots);
    gauge(p, "quern_iterators", "Iterators that are open.", s->iterators);
    counter(p, "quern_corrupt_blocks", "Blocks whose checksum was wrong when they were read.",
            s->corrupt_blocks);
    counter(p, "quern_scrub_rounds", "Rounds in which the idle worker read every table through.",
            s->scrub_rounds);
    counter(p, "quern_scrub_bytes", "Bytes that were read so.", s->scrub_bytes);
    counter(p, "quern_scrub_damages", "Damages that were found so.", s->scrub_damages);
    gauge_real(p, "quern_recovery_seconds", "Time that recovery took at the start.",
               (double)s->recovery_us / 1e6);
    gauge(p, "quern_recovered_bytes", "Bytes of log that recovery read at the start.",
          s->recovered_log_bytes);
}

static void memory(struct page *p)
{
    const struct quern_stats *s = &p->stats;

    gauge(p, "quern_memory_budget_bytes", "Memory that the store may use (--memory).",
          s->memory_budget);
    family(p, GAUGE, "quern_memory_bytes", "Memory that the store uses, by what for.");
    labelled(p, "kind", "memdb", s->memdb_bytes);
    labelled(p, "kind", "blocks", s->cache_block_bytes);
    labelled(p, "kind", "indexes", s->cache_index_bytes);
    labelled(p, "kind", "filters", s->cache_filter_bytes);
    gauge(p, "quern_memdb_entries", "Entries that are not in tables yet.", s->memdb_entries);
    gauge(p, "quern_memdb_sealed", "MemDBs that wait to be flushed.", s->memdb_sealed);
    gauge(p, "quern_cache_bytes", "Bytes of the cache in use: blocks, indexes and filters.",
          s->cache_bytes);
    counter(p, "quern_cache_hits", "Blocks that were found in the cache.", s->cache_hits);
    counter(p, "quern_cache_misses", "Blocks that were not.", s->cache_misses);
    counter(p, "quern_cache_evictions", "Blocks that left the cache for others.",
            s->cache_evictions);
    counter(p, "quern_filter_checks", "Filters of tables that gets asked (estimated).",
            s->filter_checks);
    counter(p, "quern_filter_useful", "Filters that said no, so that nothing was read.",
            s->filter_useful);
    counter(p, "quern_filter_false", "Filters that let through what was not there.",
            s->filter_false);
    counter(p, "quern_disk_read_bytes", "Bytes that reads fetched from tables.",
            s->disk_read_bytes);
}

/* What takes a walk to find out stays out. */
static void live_keys(struct page *p, const uint64_t keys[QUERN_DATABASES])
{
    family(p, GAUGE, "quern_live_keys",
           "Keys that live, by database; of those alone of which it is known without a walk; "
           "none for a token that is limited to prefixes.");
    for (unsigned d = 0; d < QUERN_DATABASES; d++) {
        char database[12];

        (void)snprintf(database, sizeof(database), "%u", d);
        if (keys[d] != QUERN_KEYS_UNKNOWN)
            labelled(p, "db", database, keys[d]);
    }
}

static void disk(struct page *p)
{
    const struct quern_stats *s = &p->stats;

    gauge(p, "quern_disk_bytes", "Bytes of all files of the store.", s->disk_bytes);
    gauge(p, "quern_wal_bytes", "Bytes of the log's segments.", s->log_bytes);
    gauge(p, "quern_wal_segments", "Segments of the log.", s->log_segments);
    levels(p, "quern_level_bytes", "Bytes of tables, by level; the last is the bottom.",
           LEVEL_BYTES);
    levels(p, "quern_level_files", "Tables, by level.", LEVEL_FILES);
    levels(p, "quern_level_runs", "Sorted runs, by level.", LEVEL_RUNS);
    levels(p, "quern_level_entries", "Entries of tables, by level.", LEVEL_ENTRIES);
    levels(p, "quern_level_tombstones", "Deletions among them, by level.", LEVEL_TOMBSTONES);
    gauge(p, "quern_reclaimable_bytes",
          "Bytes of deletions, hidden versions and tables that expired, as far as tables know.",
          s->reclaimable_bytes);
    gauge(p, "quern_expiring_entries", "Entries of tables that have an expiry.", s->table_expiring);
}

/* The buckets are added up, and not `log_syncs` taken, so that all are of one moment. */
static void sync_histogram(struct page *p)
{
    const struct quern_stats *s = &p->stats;
    uint64_t below = 0;

    family(p, HISTOGRAM, "quern_wal_sync_seconds", "Time of the log's syncs.");
    for (unsigned i = 0; i + 1 < QUERN_SYNC_TIMES; i++) {
        below += s->log_sync_times[i];
        put(p, "%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", p->name,
            seconds(UINT64_C(1) << (QUERN_SYNC_TIME_BITS_FIRST + i)), below);
    }
    below += s->log_sync_times[QUERN_SYNC_TIMES - 1];
    put(p, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", p->name,
        below, p->name, seconds(s->log_sync_ns_total), p->name, below);
}

static void work(struct page *p)
{
    const struct quern_stats *s = &p->stats;

    counter(p, "quern_store_puts", "Keys that were put, through any door.", s->puts);
    counter(p, "quern_store_deletes", "Keys that were deleted.", s->deletes);
    counter(p, "quern_store_batches", "Batches that were written.", s->batches);
    counter(p, "quern_store_gets", "Keys that were looked up.", s->gets);
    counter(p, "quern_store_gets_found", "Keys that were looked up and there.", s->gets_found);
    counter(p, "quern_store_seeks", "Places that scans began at.", s->seeks);
    counter(p, "quern_user_bytes", "Bytes of keys and values that were put.", s->user_bytes);
    counter(p, "quern_wal_written_bytes", "Bytes that were written to the log.",
            s->log_bytes_written);
    counter(p, "quern_wal_groups", "Records of the log, each of one or more batches.",
            s->log_groups);
    sync_histogram(p);
    gauge_real(p, "quern_wal_sync_max_seconds", "The longest of them since the start.",
               seconds(s->log_sync_ns_max));
    counter(p, "quern_flushes", "MemDBs that became tables.", s->flushes);
    counter(p, "quern_flush_bytes", "Bytes of tables that were written so.", s->flush_bytes);
    counter_seconds(p, "quern_flush_seconds", "Time that it took.", s->flush_ns);
    counter(p, "quern_compactions", "Merges of tables.", s->compactions);
    family(p, COUNTER, "quern_compaction_bytes", "Bytes that merges read and wrote.");
    labelled_total(p, "dir", "read", s->compact_read_bytes);
    labelled_total(p, "dir", "write", s->compact_write_bytes);
    counter_seconds(p, "quern_compaction_seconds", "Time that merges took.", s->compact_ns);
    counter(p, "quern_table_moves", "Tables that went down a level without being rewritten.",
            s->table_moves);
    counter(p, "quern_expired_entries", "Entries that had expired and were cleared up.",
            s->expired_entries);
    family(p, COUNTER, "quern_stalls", "Pauses that writers were made to take, by reason.");
    labelled_total(p, "reason", "pace", s->slowed_writes - s->stalled_writes);
    labelled_total(p, "reason", "memdb", s->stalled_writes);
    family(p, COUNTER, "quern_stall_seconds", "Time of these pauses, by reason.");
    put(p, "quern_stall_seconds_total{reason=\"pace\"} %.9g\n",
        seconds(s->slowed_ns - s->stalled_ns));
    put(p, "quern_stall_seconds_total{reason=\"memdb\"} %.9g\n", seconds(s->stalled_ns));
    gauge_real(p, "quern_write_amplification",
               "Bytes written to log and tables for each byte that was put, since the start.",
               s->user_bytes == 0
                   ? 0
                   : (double)(s->log_bytes_written + s->flush_bytes + s->compact_write_bytes) /
                         (double)s->user_bytes);
}

static void write_page(struct conn *c, struct manner manner, unsigned open_metrics,
                       const uint64_t keys[QUERN_DATABASES])
{
    struct page p = {
        .server = c->loop->server, .text = &c->loop->text, .open_metrics = open_metrics != 0};

    buf_clear(p.text);
    quern_stats(p.server->db, &p.stats);
    process(&p);
    connections(&p);
    requests(&p);
    state(&p);
    memory(&p);
    live_keys(&p, keys);
    disk(&p);
    work(&p);
    if (p.open_metrics)
        put(&p, "# EOF\n");
    if (p.failed)
        conn_cut(c);
    else
        reply_with(c, manner, 200,
                   p.open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                  : "text/plain; version=0.0.4; charset=utf-8",
                   buf_slice(p.text), "Cache-Control: no-store\r\n");
}

void metrics_get(struct conn *c, struct manner manner, struct quern_slice body)
{
    static const char open_metrics[] = "application/openmetrics-text";
    bool open = http_has(&c->request, HTTP_ACCEPT) &&
                http_prefers(http_bytes(conn_request_bytes(c), c->request.field[HTTP_ACCEPT]),
                             open_metrics, "");

    (void)body;
    live_reply(c, manner, open, write_page);
}
