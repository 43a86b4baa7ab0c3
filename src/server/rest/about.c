/* about.c - what the server says of itself: alive, ready, which version, which routes, how it fares. */
#include "server/loop.h"
#include "server/rest/live.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/net/tls.h"

#include "base/error.h"

#include "server/openapi.inc" /* docs/openapi.json as bytes; meson makes it */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char plain[] = "text/plain; charset=utf-8";
static const char no_store[] = "Cache-Control: no-store\r\n";

/* What a program, or somebody with curl, finds at the door. */
void about_index(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct buf *out = &c->loop->text;
    struct quern_error err;
    char text[192];
    int n = snprintf(text, sizeof(text),
                     "{\n  \"name\": \"quernd\",\n  \"version\": \"%s\",\n"
                     "  \"api\": \"/v1/openapi.json\",\n  \"routes\": {",
                     quern_version());

    (void)body;
    buf_clear(out);
    if (buf_append(out, text, (size_t)n, &err) || routes_text(out, &err) ||
        buf_append(out, "\n  }\n}\n", 7, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(out),
                   "Cache-Control: no-cache\r\n");
}

void about_check_health(struct conn *c)
{
    bool verbose;

    if (!params_flag(conn_request_bytes(c), c->params.each[PARAM_VERBOSE], &verbose))
        refuse(c, 400, "bad_parameter", "verbose must be 1 or 0");
}

void about_health(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct quern_stats stats;
    char detail[sizeof(stats.failure) + 64];
    struct http_bad bad = {503, "read_only", detail};
    const char *text = "ok\n";
    bool verbose;

    (void)body;
    (void)params_flag(conn_request_bytes(c), c->params.each[PARAM_VERBOSE], &verbose);
    quern_stats(c->loop->server->db, &stats);
    if (stats.read_only) {
        (void)snprintf(detail, sizeof(detail),
                       "the store takes no writes until it is restarted: %s", stats.failure);
        reply_error(c, manner, &bad, NULL);
        return;
    }
    if (verbose) /* a full disk is not our end: it goes on by itself */
        text = stats.no_space ? "[+]store ok\n[!]space: waiting for disk space\nok\n"
                              : "[+]store ok\n[+]space ok\nok\n";
    reply_with(c, manner, 200, plain, QUERN_STR(text), no_store);
}

void about_life(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    reply_with(c, manner, 200, plain, QUERN_STR("ok\n"), no_store);
}

void about_version(struct conn *c, struct manner manner, struct quern_slice body)
{
    char text[96];
    int n = snprintf(text, sizeof(text),
                     "{\"name\":\"quernd\",\"version\":\"%s\",\"api\":\"v1\"}\n", quern_version());

    (void)body;
    reply_with(c, manner, 200, "application/json", (struct quern_slice){text, (size_t)n},
               "Cache-Control: no-cache\r\n");
}

void about_api(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    reply_with(c, manner, 200, "application/json",
               (struct quern_slice){openapi_json, sizeof(openapi_json)},
               "Cache-Control: no-cache\r\n");
}

/* How often the loops have taken memory; not while they serve, once they are warm. */
static uint64_t loop_allocations(const struct server *server)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < server->loop_count; i++)
        sum += atomic_load_explicit(&server->loops[i]->allocations, memory_order_relaxed);
    return sum;
}

/* {"0":17,"3":1}: what takes a walk to find out stays out. */
static enum quern_code add_live_keys(struct buf *out, const uint64_t keys[QUERN_DATABASES],
                                     struct quern_error *err)
{
    const char *between = "{";
    char text[48];

    for (unsigned d = 0; d < QUERN_DATABASES; d++) {
        if (keys[d] == QUERN_KEYS_UNKNOWN)
            continue;
        if (buf_append(
                out, text,
                (size_t)snprintf(text, sizeof(text), "%s\"%u\":%" PRIu64, between, d, keys[d]),
                err))
            return err->code;
        between = ",";
    }
    return *between == '{' ? buf_append(out, "{}", 2, err) : buf_append(out, "}", 1, err);
}

static void write_stats(struct conn *c, struct manner manner, unsigned form,
                        const uint64_t keys[QUERN_DATABASES])
{
    struct server *server = c->loop->server;
    struct counters *n = &server->counters;
    struct quern_error err;
    struct quern_stats now;
    char text[1536];
    char *store;
    int len;

    (void)form;
    quern_stats(server->db, &now);
    store = quern_stats_json(&now);
    len = snprintf(
        text, sizeof(text),
        "{\"server\":{\"version\":\"%s\",\"uptime_ms\":%" PRIu64 ",\"loops\":%u,"
        "\"connections\":%" PRIu32 ",\"connections_max\":%" PRIu32 ",\"connections_total\":%" PRIu64
        ",\"connections_refused\":%" PRIu64 ",\"timeouts\":%" PRIu64 ",\"requests\":%" PRIu64
        ",\"sets\":%" PRIu64 ",\"set_bytes\":%" PRIu64 ",\"gets\":%" PRIu64
        ",\"gets_found\":%" PRIu64 ",\"read_batches\":%" PRIu64 ",\"reads_in_batches\":%" PRIu64
        ",\"deletes\":%" PRIu64 ",\"deletes_found\":%" PRIu64 ",\"writes_in_flight\":%" PRIu64
        ",\"snapshots\":%u"
        ",\"replies_2xx\":%" PRIu64 ",\"replies_4xx\":%" PRIu64 ",\"replies_5xx\":%" PRIu64
        ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"loop_allocations\":%" PRIu64
        "},\"live_keys\":",
        quern_version(), uv_hrtime() / 1000000 - server->started_ms, server->loop_count,
        server->connections, server->options->connections_max, n->connections_total,
        n->connections_refused, n->timeouts, n->requests, n->sets, n->set_bytes, n->gets,
        n->gets_found, n->read_batches, n->reads_in_batches, n->deletes, n->deletes_found,
        server->writes, snapshots_count(&server->snapshots), n->replies_ok, n->replies_refused,
        n->replies_failed, n->bytes_in, n->bytes_out, loop_allocations(server));
    buf_clear(&c->loop->text);
    if (store == NULL || buf_append(&c->loop->text, text, (size_t)len, &err) ||
        add_live_keys(&c->loop->text, keys, &err) ||
        buf_append(&c->loop->text, ",\"store\":", 9, &err) ||
        buf_append(&c->loop->text, store, strlen(store), &err) ||
        buf_append(&c->loop->text, "}\n", 2, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(&c->loop->text),
                   "Cache-Control: no-store\r\n");
    free(store);
}

void about_stats(struct conn *c, struct manner manner, struct quern_slice body)
{
    (void)body;
    live_reply(c, manner, 0, write_stats);
}

void about_tls(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct tls_keys *keys = c->loop->server->tls;
    struct buf *text = &c->loop->text;
    struct quern_error err;

    (void)body;
    buf_clear(text);
    if ((keys != NULL ? tls_keys_text(keys, text, &err)
                      : buf_append(text, "{\"enabled\":false}", 17, &err)) ||
        buf_append(text, "\n", 1, &err))
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(text), no_store);
}

/* ------------------------------------------------------------------ the slow log -- */

static enum quern_code PRINTF_LIKE(3, 4)
    add(struct buf *out, struct quern_error *err, const char *format, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return buf_append(out, text, (size_t)n, err);
}

static enum quern_code add_slow(struct buf *out, const struct slow *s, struct quern_error *err)
{
    char name[KIND_NAME_BYTES], at[32];
    time_t then = (time_t)s->at;
    struct tm tm;

    (void)gmtime_r(&then, &tm);
    (void)strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (add(out, err,
            "{\"id\":%" PRIu64 ",\"at\":\"%s\",\"op\":\"%s\",\"proto\":\"%s\",\"took_us\":%" PRIu64
            ",\"waited_us\":%" PRIu64 ",\"reason\":\"%s\",\"bytes_in\":%" PRIu64
            ",\"bytes_out\":%" PRIu64 ",\"peer\":\"%s\",\"args\":[",
            s->id, at, measure_kind_name(s->kind, name),
            measure_kind_is_command(s->kind) ? "resp" : "http", s->took_us, s->waited_us,
            waited_for_name(s->waited_for), s->bytes_in, s->bytes_out, s->peer))
        return err->code;
    for (size_t i = 0; i < s->argc; i++) {
        if (buf_append(out, i == 0 ? "\"" : ",\"", i == 0 ? 1 : 2, err) ||
            http_json_escape(out, s->args[i], err) || buf_append(out, "\"", 1, err))
            return err->code;
    }
    return buf_append(out, "]}", 2, err);
}

void about_slowlog(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct slowlog *log = &c->loop->server->slowlog;
    struct buf *text = &c->loop->text;
    struct quern_error err;
    enum quern_code code;

    (void)body;
    buf_clear(text);
    mutex_lock(&log->mu);
    code = add(text, &err,
               "{\"slower_than_us\":%" PRId64 ",\"length_max\":%" PRIu64 ",\"total\":%" PRIu64
               ",\"entries\":[",
               atomic_load(&log->slower_than_us), atomic_load(&log->length_max),
               atomic_load(&log->total));
    for (const struct slow *s = log->newest; s != NULL && code == QUERN_OK; s = s->older) {
        code = add_slow(text, s, &err);
        if (code == QUERN_OK && s->older != NULL)
            code = buf_append(text, ",", 1, &err);
    }
    mutex_unlock(&log->mu);
    if (code != QUERN_OK || buf_append(text, "]}\n", 3, &err) != QUERN_OK)
        conn_cut(c);
    else
        reply_with(c, manner, 200, "application/json", buf_slice(text), no_store);
}
