/* routes.c - the table of routes: which paths there are, with which methods, for whom.
 *
 *     /set  /get  /del             plain.c
 *     /v1/kv  /v1/keys  /v1/batch  kv.c keys.c delete_range.c batch.c
 *     /v1/export  /v1/import       export.c import.c
 *     /v1/snapshots  /v1/admin     snapshot.c admin.c config.c
 *     /  /healthz  /stats          about.c
 *     /metrics                     metrics.c
 *     /shutdown                    shutdown.c
 *
 * A row says what serve.c has to know before it calls the route; docs/openapi.json describes the same
 * routes, and test_contract compares the two. */
#include "server/loop.h"
#include "server/rest/reach.h"
#include "server/rest/route.h"

#include "base/error.h"

#include <stdio.h>

#define SET_PARAMS (FORM_PARAMS | PARAM_BIT(PARAM_DB))
#define READS "Allow: GET, HEAD, OPTIONS\r\n"
#define KV "Allow: GET, HEAD, PUT, DELETE, POST, OPTIONS\r\n"
#define KV_READS                                                                                   \
    (PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_ENC) | PARAM_BIT(PARAM_META) |                         \
     PARAM_BIT(PARAM_SNAPSHOT) | PARAM_BIT(PARAM_DB))
#define KV_WRITES                                                                                  \
    (PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_ENC) | PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB))
#define KV_LIVES (PARAM_BIT(PARAM_TTL) | PARAM_BIT(PARAM_EXPIRES_AT) | PARAM_BIT(PARAM_KEEPTTL))
#define KEYS                                                                                       \
    (REACH_PARAMS | PARAM_BIT(PARAM_SNAPSHOT) | PARAM_BIT(PARAM_LIMIT) | PARAM_BIT(PARAM_CURSOR) | \
     PARAM_BIT(PARAM_REVERSE) | PARAM_BIT(PARAM_DELIMITER) | PARAM_BIT(PARAM_VALUES) |             \
     PARAM_BIT(PARAM_COUNT) | PARAM_BIT(PARAM_MAX_SCAN_MS) | PARAM_BIT(PARAM_DB))
#define CONFIG "Allow: GET, HEAD, PATCH, OPTIONS\r\n"
#define JOB "Allow: POST, OPTIONS\r\n", PARAM_BIT(PARAM_WAIT)
#define KV_READ_TRAITS (ROUTE_READS | ROUTE_JUDGES_KEYS)
#define KV_WRITE_TRAITS (ROUTE_WRITES | ROUTE_JUDGES_KEYS)
#define KV_ROUTES(path, below)                                                                     \
    {path, HTTP_GET | HTTP_HEAD, KV, KV_READS, kv_get, kv_check, (below) | KV_READ_TRAITS},        \
        {path,                                                                                     \
         HTTP_PUT,                                                                                 \
         KV,                                                                                       \
         KV_WRITES | KV_LIVES,                                                                     \
         kv_put,                                                                                   \
         kv_check,                                                                                 \
         (below) | ROUTE_TAKES_VALUE | KV_WRITE_TRAITS},                                           \
        {path,                                                                                     \
         HTTP_DELETE,                                                                              \
         KV,                                                                                       \
         KV_WRITES | PARAM_BIT(PARAM_RETURN),                                                      \
         kv_delete,                                                                                \
         kv_check,                                                                                 \
         (below) | KV_WRITE_TRAITS},                                                               \
    {                                                                                              \
        path, HTTP_POST, KV, KV_WRITES | KV_LIVES | PARAM_BIT(PARAM_OP) | PARAM_BIT(PARAM_BY),     \
            kv_post, kv_check, (below) | ROUTE_TAKES_VALUE | KV_READ_TRAITS | KV_WRITE_TRAITS      \
    }

static const struct route routes[] = {
    {"/", HTTP_GET | HTTP_HEAD, READS, 0, about_index, NULL, ROUTE_OPEN},
    {"/set", HTTP_POST, "Allow: POST, OPTIONS\r\n", SET_PARAMS, plain_set, plain_check,
     ROUTE_TAKES_VALUE | ROUTE_JOINS | ROUTE_WRITES | ROUTE_JUDGES_KEYS},
    {"/get", HTTP_GET | HTTP_HEAD, READS, PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_DB), plain_get,
     plain_check, ROUTE_READS | ROUTE_JUDGES_KEYS},
    {"/del", HTTP_DELETE, "Allow: DELETE, OPTIONS\r\n",
     PARAM_BIT(PARAM_KEY) | PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB), plain_del, plain_check,
     ROUTE_WRITES | ROUTE_JUDGES_KEYS},
    KV_ROUTES("/v1/kv", 0),
    KV_ROUTES("/v1/kv/", ROUTE_BELOW),
    {"/v1/keys", HTTP_GET | HTTP_HEAD, "Allow: GET, HEAD, DELETE, OPTIONS\r\n", KEYS, keys_list,
     keys_check, ROUTE_READS | ROUTE_JUDGES_KEYS},
    {"/v1/keys", HTTP_DELETE, "Allow: GET, HEAD, DELETE, OPTIONS\r\n",
     REACH_PARAMS | PARAM_BIT(PARAM_ALL) | PARAM_BIT(PARAM_DRY_RUN) | PARAM_BIT(PARAM_SYNC) |
         PARAM_BIT(PARAM_DB),
     delete_range, delete_range_check, ROUTE_WRITES | ROUTE_JUDGES_KEYS},
    {"/v1/batch", HTTP_POST, "Allow: POST, OPTIONS\r\n",
     PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB), batch_post, batch_check,
     ROUTE_TAKES_VALUE | ROUTE_EITHER | ROUTE_JUDGES_KEYS},
    {"/v1/export", HTTP_GET | HTTP_HEAD, READS,
     REACH_PARAMS | PARAM_BIT(PARAM_SNAPSHOT) | PARAM_BIT(PARAM_DB) | PARAM_BIT(PARAM_ALL),
     export_get, export_check, ROUTE_READS | ROUTE_JUDGES_KEYS},
    {"/v1/import", HTTP_POST, "Allow: POST, OPTIONS\r\n",
     PARAM_BIT(PARAM_SYNC) | PARAM_BIT(PARAM_DB), import_post, import_check,
     ROUTE_PASSES_BODY | ROUTE_WRITES},
    {"/v1/snapshots", HTTP_POST, "Allow: POST, OPTIONS\r\n", PARAM_BIT(PARAM_TTL), snapshot_make,
     snapshot_check, ROUTE_READS | ROUTE_NO_KEYS},
    {"/v1/snapshots/", HTTP_DELETE, "Allow: DELETE, OPTIONS\r\n", 0, snapshot_end, NULL,
     ROUTE_BELOW | ROUTE_READS | ROUTE_NO_KEYS},
    {"/v1/admin/flush", HTTP_POST, JOB, admin_job, admin_check_job, 0},
    {"/v1/admin/compact", HTTP_POST, JOB | PARAM_BIT(PARAM_PREFIX) | PARAM_BIT(PARAM_DB), admin_job,
     admin_check_job, 0},
    {"/v1/admin/verify", HTTP_POST, JOB, admin_job, admin_check_job, 0},
    {"/v1/admin/checkpoint", HTTP_POST, "Allow: POST, OPTIONS\r\n", PARAM_BIT(PARAM_DIR),
     admin_checkpoint, admin_check_job, 0},
    {"/v1/admin/jobs", HTTP_GET | HTTP_HEAD, READS, 0, admin_jobs, NULL, 0},
    {"/v1/admin/jobs/", HTTP_GET | HTTP_HEAD, READS, 0, admin_job_get, NULL, ROUTE_BELOW},
    {"/v1/admin/levels", HTTP_GET | HTTP_HEAD, READS, 0, admin_levels, NULL, 0},
    {"/v1/admin/files", HTTP_GET | HTTP_HEAD, READS, 0, admin_files, NULL, 0},
    {"/v1/admin/events", HTTP_GET | HTTP_HEAD, READS, 0, admin_events, NULL, 0},
    {"/v1/admin/clients", HTTP_GET | HTTP_HEAD, READS, 0, admin_clients, NULL, 0},
    {"/v1/admin/limits", HTTP_GET | HTTP_HEAD, READS, 0, admin_limits, NULL, 0},
    {"/v1/admin/stats", HTTP_GET | HTTP_HEAD, READS, 0, about_stats, NULL, 0},
    {"/v1/admin/slowlog", HTTP_GET | HTTP_HEAD, READS, 0, about_slowlog, NULL, 0},
    {"/v1/admin/config", HTTP_GET | HTTP_HEAD, CONFIG, 0, config_get, NULL, 0},
    {"/v1/admin/config", HTTP_PATCH, CONFIG, 0, config_patch, NULL, 0},
    {"/v1/admin/tls", HTTP_GET | HTTP_HEAD, READS, 0, about_tls, NULL, 0},
    {"/v1/openapi.json", HTTP_GET | HTTP_HEAD, READS, 0, about_api, NULL, ROUTE_OPEN},
    {"/healthz", HTTP_GET | HTTP_HEAD, READS, PARAM_BIT(PARAM_VERBOSE), about_health,
     about_check_health, ROUTE_OPEN},
    {"/readyz", HTTP_GET | HTTP_HEAD, READS, PARAM_BIT(PARAM_VERBOSE), about_health,
     about_check_health, ROUTE_OPEN},
    {"/livez", HTTP_GET | HTTP_HEAD, READS, 0, about_life, NULL, ROUTE_ANY_TIME | ROUTE_OPEN},
    {"/version", HTTP_GET | HTTP_HEAD, READS, 0, about_version, NULL, ROUTE_READS | ROUTE_NO_KEYS},
    {"/stats", HTTP_GET | HTTP_HEAD, READS, 0, about_stats, NULL, ROUTE_READS | ROUTE_NO_KEYS},
    {"/metrics", HTTP_GET | HTTP_HEAD, READS, 0, metrics_get, NULL, ROUTE_READS | ROUTE_NO_KEYS},
    {"/shutdown", HTTP_GET | HTTP_POST, "Allow: GET, POST, OPTIONS\r\n", 0, shutdown_ask, NULL,
     ROUTE_ANY_TIME | ROUTE_NEEDS_ASKING},
};

/* What stands for the rest of a path. */
static const char *below(const struct route *route)
{
    return (route->traits & ROUTE_BELOW) == 0 ? "" : route->check == kv_check ? "{key}" : "{id}";
}

/* `"/v1/keys":["GET","HEAD"]` for each path; routes of one path stand together. */
enum quern_code routes_text(struct buf *out, struct quern_error *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        bool same = i > 0 && strcmp(routes[i - 1].path, r->path) == 0;
        bool goes_on = i + 1 < ARRAY_LEN(routes) && strcmp(routes[i + 1].path, r->path) == 0;
        char text[160];
        int n = same ? 0
                     : snprintf(text, sizeof(text), "%s\n    \"%s%s\": [", i > 0 ? "," : "",
                                r->path, below(r));

        for (unsigned bit = HTTP_GET, any = same; bit <= HTTP_PATCH; bit <<= 1) {
            if ((r->methods & bit) == 0)
                continue;
            n += snprintf(text + n, sizeof(text) - (size_t)n, "%s\"%s\"", any ? ", " : "",
                          http_method_name((enum http_method)bit));
            any = true;
        }
        if (buf_append(out, text, (size_t)n, err) || (!goes_on && buf_append(out, "]", 1, err)))
            return err->code;
    }
    return QUERN_OK;
}

unsigned route_count(void)
{
    return ARRAY_LEN(routes);
}

void route_name(unsigned number, char *to, size_t room)
{
    const struct route *route = &routes[number];

    if (number >= ARRAY_LEN(routes))
        (void)snprintf(to, room, "other");
    else
        (void)snprintf(to, room, "%s %s%s",
                       http_method_name(route->methods & HTTP_GET ? HTTP_GET : route->methods),
                       route->path, below(route));
}

unsigned route_kind(const struct conn *c)
{
    if (c->route == NULL || (c->route->methods & c->request.method) == 0)
        return measure_kind_of_no_route();
    return (unsigned)(c->route - routes);
}

const struct route *route_of(struct quern_slice path, enum http_method method)
{
    const struct route *other = NULL;

    for (unsigned i = 0; i < ARRAY_LEN(routes); i++) {
        if (!route_is_at(&routes[i], path))
            continue;
        if (routes[i].methods & method)
            return &routes[i];
        other = &routes[i];
    }
    return other;
}
