/* report_json.c - results as JSON lines, for plots and for other programs. Every line stands by
 * itself: set, row, engine, round or null, figures with their units in their names, the shape of
 * the data, settings, commit and machine. A figure that does not apply is left out. */
#include "json.h"
#include "report.h"

#include <inttypes.h>
#include <string.h>

/* The doubles of a row. */
static const struct {
    const char *name;
    size_t field;
    int decimals;
} figures[] = {
    {"ops_per_s", offsetof(struct row, ops_per_s), 1},
    {"seconds", offsetof(struct row, seconds), 3},
    {"p50_us", offsetof(struct row, p50_us), 3},
    {"p99_us", offsetof(struct row, p99_us), 3},
    {"p999_us", offsetof(struct row, p999_us), 3},
    {"max_us", offsetof(struct row, max_us), 3},
    {"cpu_us_per_op", offsetof(struct row, cpu_us_per_op), 4},
    {"bytes_written_per_byte_put", offsetof(struct row, bytes_written_per_byte_put), 3},
    {"settle_seconds", offsetof(struct row, settle_seconds), 3},
    {"disk_bytes", offsetof(struct row, disk_bytes), 0},
    {"peak_disk_bytes", offsetof(struct row, peak_disk_bytes), 0},
    {"peak_rss_bytes", offsetof(struct row, peak_rss_bytes), 0},
    {"peak_anon_bytes", offsetof(struct row, peak_anon_bytes), 0},
    {"log_bytes", offsetof(struct row, log_bytes), 0},
};
#define FIGURE_COUNT (sizeof(figures) / sizeof(figures[0]))

static void json_number(FILE *f, const char *name, double value, int decimals)
{
    if (value >= 0)
        (void)fprintf(f, ",\"%s\":%.*f", name, decimals, value);
}

static void line_head(FILE *f, const struct results *r, unsigned e, unsigned w)
{
    const struct engine *engine = r->config->engine[e];

    (void)fprintf(f, "{\"set\":\"%s\",\"workload\":\"%s\",\"engine\":\"%s\",\"version\":\"%s\"",
                  r->set.name, workloads[w].name, engine->name, engine->adapter->version());
}

static void line_tail(FILE *f, const struct results *r, unsigned e, unsigned w, unsigned threads,
                      bool cut)
{
    const struct set *s = &r->set;
    const struct apart apart = apart_in(r->config->engine[e], s, w);

    (void)fprintf(f, ",\"cut\":%s,\"num\":%" PRIu64 ",\"key_bytes\":%u,\"value_bytes\":%u",
                  cut ? "true" : "false", s->num, s->key_bytes, s->value_bytes);
    (void)fprintf(f, ",\"keys\":\"%s\",\"threads\":%u,\"cold\":%s,\"fenced\":%s",
                  s->key_bytes == 16 ? "decimal" : "prefixed", threads, s->cold ? "true" : "false",
                  r->fenced && s->cold ? "true" : "false");
    (void)fprintf(f, ",\"cache_bytes\":%" PRIu64 ",\"write_buffer_bytes\":%" PRIu64, s->cache_bytes,
                  s->write_buffer_bytes);
    if (apart.why != NULL) {
        (void)fprintf(f, ",\"weaker\":%s,\"apart\":", apart.weaker ? "true" : "false");
        json_string(f, apart.why);
    }
    (void)fprintf(f, ",\"commit\":");
    json_string(f, r->config->commit);
    (void)fprintf(f, ",\"machine\":");
    json_string(f, r->machine);
    (void)fprintf(f, "}\n");
}

static void round_line(FILE *f, const struct results *r, unsigned e, unsigned w, unsigned round)
{
    const struct row *row = &r->row[round][e][w];

    line_head(f, r, e, w);
    (void)fprintf(f, ",\"round\":%u,\"ops\":%" PRIu64, round + 1, row->ops);
    for (unsigned i = 0; i < FIGURE_COUNT; i++) {
        double value;

        memcpy(&value, (const uint8_t *)row + figures[i].field, sizeof(value));
        json_number(f, figures[i].name, value, figures[i].decimals);
    }
    line_tail(f, r, e, w, row->threads, row->cut);
}

static void json_ratios(FILE *f, const struct results *r, unsigned engine, unsigned workload)
{
    bool first = true;

    if (!r->config->engine[engine]->ours)
        return;
    (void)fprintf(f, ",\"ratio_to\":{");
    for (unsigned e = 0; e < r->config->engine_count; e++) {
        struct spread s = spread_ratio(r, engine, workload, e, workload);

        if (r->config->engine[e]->ours || s.count == 0)
            continue;
        (void)fprintf(f, "%s\"%s\":{\"median\":%.4f,\"min\":%.4f,\"max\":%.4f}", first ? "" : ",",
                      r->config->engine[e]->name, s.median, s.min, s.max);
        first = false;
    }
    (void)fprintf(f, "}");
}

static void median_line(FILE *f, const struct results *r, unsigned e, unsigned w)
{
    struct spread rate = SPREAD(r, e, w, ops_per_s);
    unsigned threads = 1;

    for (unsigned round = 0; round < r->rounds; round++)
        if (r->have[round][e][w])
            threads = r->row[round][e][w].threads;
    line_head(f, r, e, w);
    (void)fprintf(f, ",\"round\":null,\"rounds\":%u", rate.count);
    json_number(f, "ops_per_s_min", rate.min, 1);
    json_number(f, "ops_per_s_max", rate.max, 1);
    for (unsigned i = 0; i < FIGURE_COUNT; i++)
        json_number(f, figures[i].name, spread_field(r, e, w, figures[i].field).median,
                    figures[i].decimals);
    json_ratios(f, r, e, w);
    line_tail(f, r, e, w, threads, any_cut(r, e, w));
}

void report_json(FILE *json, const struct results *r)
{
    if (json == NULL)
        return;
    for (unsigned w = 0; w < W_COUNT; w++)
        for (unsigned e = 0; e < r->config->engine_count; e++) {
            if (SPREAD(r, e, w, ops_per_s).count == 0)
                continue;
            for (unsigned round = 0; round < r->rounds; round++)
                if (r->have[round][e][w])
                    round_line(json, r, e, w, round);
            median_line(json, r, e, w);
        }
    (void)fflush(json);
}
