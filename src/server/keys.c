/* keys.c - GET /v1/keys: the keys of a range, page by page.
 *
 *     place the iterator -> entry: has it the delimiter after the prefix? -> a group: skip all of it
 *           ^                      '-> an item
 *           '--- until the range ends (complete), or limit, 1 MiB, or max_scan_ms is reached: then
 *                the cursor is the key of the entry to go on with
 *
 * A page is made aside from the loops (aside.h), in no more than max_scan_ms, and is as of one
 * moment; between two pages the store may change. The cursor names a key and no state of the server's, so it has no lifetime:
 * every key that is there all the while is listed once. */
#include "server/item.h"
#include "server/reply.h"
#include "server/route.h"
#include "server/verb.h"
#include "server/writes.h"

#include "base/base64.h"
#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 10000
#define SCAN_MS_DEFAULT 50
#define SCAN_MS_MAX 1000
#define PAGE_BYTES_MAX (1u << 20)
#define LOOKS_AT_CLOCK 32u /* entries from one to the next */

struct listing {
    struct buf prefix, start, end, delimiter, cursor; /* decoded; the cursor is where to go on */
    int64_t limit, scan_ms;
    bool reverse, values, counting, lines;

    struct quern_iter *it;
    struct buf out, groups; /* groups: of the delimiter, apart from the items unless in lines */
    uint64_t entries;       /* items and groups so far */
    bool complete;
    struct quern_error err;
};

static void listing_done(struct listing *l)
{
    buf_done(&l->prefix);
    buf_done(&l->start);
    buf_done(&l->end);
    buf_done(&l->delimiter);
    buf_done(&l->cursor);
    buf_done(&l->out);
    buf_done(&l->groups);
    quern_iter_free(l->it);
}

/* ------------------------------------------------------------------ what is asked -- */

static bool read_number(struct conn *c, enum param_kind kind, int64_t most, const char *detail,
                        int64_t *out)
{
    struct param p = c->params.each[kind];
    char word[PARAM_WORD_BYTES];

    if (!p.given || (params_word(conn_request_bytes(c), p, word) &&
                     integer_read(QUERN_STR(word), out) && *out >= 1 && *out <= most))
        return true;
    refuse(c, 400, "bad_parameter", detail);
    return false;
}

static bool read_flag(struct conn *c, enum param_kind kind, const char *detail, bool *out)
{
    if (params_flag(conn_request_bytes(c), c->params.each[kind], out))
        return true;
    refuse(c, 400, "bad_parameter", detail);
    return false;
}

static bool read_bytes(struct conn *c, enum param_kind kind, struct buf *out)
{
    struct param p = c->params.each[kind];

    return !p.given || params_decode(conn_request_bytes(c), p, out, &c->refusal.bad);
}

/* base64url of the direction, 'f' or 'b', and a key. */
static bool read_cursor(struct conn *c, struct listing *l)
{
    struct buf *cursor = &l->cursor;
    size_t n;

    if (!params_given(&c->params, PARAM_CURSOR))
        return true;
    if (!read_bytes(c, PARAM_CURSOR, cursor))
        return false;
    n = base64_decode(buf_slice(cursor), BASE64_EITHER, cursor->data);
    if (n == SIZE_MAX || n < 2 || n > QUERN_KEY_BYTES_MAX + 1u ||
        cursor->data[0] != (l->reverse ? 'b' : 'f')) {
        refuse(c, 400, "bad_cursor",
               "that is no cursor of this listing; send what the page before gave");
        return false;
    }
    memmove(cursor->data, cursor->data + 1, n - 1);
    cursor->len = n - 1;
    return true;
}

static bool read_all(struct conn *c, struct listing *l)
{
    const struct http_request *r = &c->request;

    l->limit = LIMIT_DEFAULT;
    l->scan_ms = SCAN_MS_DEFAULT;
    if (http_has(r, HTTP_ACCEPT))
        l->lines = http_prefers(http_bytes(conn_request_bytes(c), r->field[HTTP_ACCEPT]),
                                "application/x-ndjson", "");
    return read_number(c, PARAM_LIMIT, LIMIT_MAX, "limit must be 1 to 10000", &l->limit) &&
           read_number(c, PARAM_MAX_SCAN_MS, SCAN_MS_MAX, "max_scan_ms must be 1 to 1000",
                       &l->scan_ms) &&
           read_flag(c, PARAM_REVERSE, "reverse must be 1 or 0", &l->reverse) &&
           read_flag(c, PARAM_VALUES, "values must be 1 or 0", &l->values) &&
           read_flag(c, PARAM_COUNT, "count must be 1 or 0", &l->counting) &&
           read_bytes(c, PARAM_PREFIX, &l->prefix) && read_bytes(c, PARAM_START, &l->start) &&
           read_bytes(c, PARAM_END, &l->end) && read_bytes(c, PARAM_DELIMITER, &l->delimiter) &&
           read_cursor(c, l) &&
           guard_range(c, buf_slice(&l->prefix), buf_slice(&l->start), buf_slice(&l->end));
}

void keys_check(struct conn *c)
{
    struct listing l = {0};

    (void)read_all(c, &l);
    listing_done(&l);
}

/* ------------------------------------------------------------------ walking -- */

static bool place(struct listing *l)
{
    struct quern_slice from = buf_slice(&l->cursor);

    if (from.len == 0)
        return l->reverse ? quern_iter_last(l->it) : quern_iter_first(l->it);
    return l->reverse ? quern_iter_seek_back(l->it, from) : quern_iter_seek(l->it, from);
}

static bool step(struct listing *l)
{
    return l->reverse ? quern_iter_prev(l->it) : quern_iter_next(l->it);
}

/* How much of the key is its group: up to and with the first delimiter behind the prefix. 0: none. */
static size_t group_length(const struct listing *l, struct quern_slice key)
{
    const uint8_t *s = key.data, *found;

    if (l->delimiter.len == 0)
        return 0;
    found = memmem(s + l->prefix.len, key.len - l->prefix.len, l->delimiter.data, l->delimiter.len);
    return found == NULL ? 0 : (size_t)(found - s) + l->delimiter.len;
}

/* To the first entry that is not of the group, which is in `cursor`. */
static bool pass_group(struct listing *l)
{
    struct buf *group = &l->cursor;

    if (l->reverse) {
        if (!quern_iter_seek_back(l->it, buf_slice(group)))
            return false;
        return quern_iter_key(l->it).len == group->len &&
                       memcmp(quern_iter_key(l->it).data, group->data, group->len) == 0
                   ? quern_iter_prev(l->it)
                   : true;
    }
    while (group->len > 0 && group->data[group->len - 1] == 0xff)
        group->len--;
    if (group->len == 0)
        return false;
    group->data[group->len - 1]++;
    return quern_iter_seek(l->it, buf_slice(group));
}

static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

static enum quern_code add_group(struct listing *l, struct quern_slice group)
{
    struct buf *out = l->lines ? &l->out : &l->groups;

    if ((!l->lines && out->len > 0 && add(out, ",", &l->err)) || add(out, "{", &l->err) ||
        http_json_bytes(out, "prefix", group, &l->err))
        return l->err.code;
    return add(out, l->lines ? "}\n" : "}", &l->err);
}

static enum quern_code add_item(struct listing *l, bool first)
{
    struct item item = {quern_iter_key(l->it), quern_iter_value(l->it), quern_iter_seq(l->it),
                        quern_iter_expires_ms(l->it)};

    if ((!l->lines && !first && add(&l->out, ",", &l->err)) ||
        item_text(&l->out, &item, l->values, &l->err))
        return l->err.code;
    return l->lines ? add(&l->out, "\n", &l->err) : QUERN_OK;
}

static bool is_enough(const struct listing *l, uint64_t deadline)
{
    if (!l->counting &&
        (l->entries == (uint64_t)l->limit || l->out.len + l->groups.len >= PAGE_BYTES_MAX))
        return true;
    return l->entries % LOOKS_AT_CLOCK == LOOKS_AT_CLOCK - 1 && uv_hrtime() > deadline;
}

static enum quern_code walk(struct listing *l)
{
    uint64_t deadline = uv_hrtime() + (uint64_t)l->scan_ms * 1000000;
    bool on = place(l), first = true;

    for (; on && !is_enough(l, deadline); l->entries++) {
        struct quern_slice key = quern_iter_key(l->it);
        size_t group = group_length(l, key);

        if (group > 0) {
            if (buf_assign(&l->cursor, (struct quern_slice){key.data, group}, &l->err) ||
                (!l->counting && add_group(l, buf_slice(&l->cursor))))
                return l->err.code;
            on = pass_group(l);
            continue;
        }
        if (!l->counting && add_item(l, first))
            return l->err.code;
        first = false;
        on = step(l);
    }
    l->complete = !on;
    return on ? QUERN_OK : quern_iter_error(l->it, &l->err);
}

/* ------------------------------------------------------------------ the reply -- */

/* `"complete":false,"cursor":"..."` */
static enum quern_code add_end(struct listing *l)
{
    uint8_t direction = l->reverse ? 'b' : 'f';

    if (l->complete)
        return add(&l->out, "\"complete\":true}\n", &l->err);
    l->cursor.len = 0;
    if (buf_append(&l->cursor, &direction, 1, &l->err) ||
        buf_append(&l->cursor, quern_iter_key(l->it).data, quern_iter_key(l->it).len, &l->err) ||
        add(&l->out, "\"complete\":false,\"cursor\":\"", &l->err) ||
        base64_append(&l->out, buf_slice(&l->cursor), BASE64_URL, &l->err))
        return l->err.code;
    return add(&l->out, "\"}\n", &l->err);
}

static enum quern_code write_page(struct listing *l)
{
    char text[48];

    (void)snprintf(text, sizeof(text), "{\"count\":%" PRIu64 ",", l->entries);
    if (l->counting) {
        l->out.len = 0;
        if (add(&l->out, text, &l->err))
            return l->err.code;
    } else if (l->lines) {
        if (add(&l->out, "{\"end\":true,", &l->err))
            return l->err.code;
    } else if (add(&l->out, "],", &l->err) ||
               (l->delimiter.len > 0 &&
                (add(&l->out, "\"prefixes\":[", &l->err) ||
                 buf_append(&l->out, l->groups.data, l->groups.len, &l->err) ||
                 add(&l->out, "],", &l->err)))) {
        return l->err.code;
    }
    return add_end(l);
}

static enum quern_code list(struct listing *l, struct quern *db)
{
    struct quern_iter_opts opts = {.range = {buf_slice(&l->start), buf_slice(&l->end)},
                                   .prefix = buf_slice(&l->prefix)};

    buf_clear(&l->out);
    if (quern_iter_new(db, &opts, &l->it, &l->err) ||
        (!l->lines && add(&l->out, "{\"items\":[", &l->err)) || walk(l))
        return l->err.code;
    return write_page(l);
}

static void work_list(struct write_op *op)
{
    op->completion.code = list(op->listing, op->conn->loop->server->db);
}

static void then_finish(struct write_op *op)
{
    write_finish(op, op->completion.code);
}

void keys_completed(struct write_op *op)
{
    struct listing *l = op->listing;
    struct conn *c = op->conn;

    op->listing = NULL;
    if (!c->closing && op->completion.code == QUERN_OK)
        reply_with(c, op->manner, 200, l->lines ? "application/x-ndjson" : "application/json",
                   buf_slice(&l->out), "Cache-Control: no-store\r\n");
    else if (!c->closing)
        reply_store_error(c, op->manner, op->completion.code, &l->err);
    listing_done(l);
    alloc_free(l);
}

void keys_list(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct listing *l = NEW(struct listing);
    struct write_op *op;

    (void)body;
    if (l == NULL) {
        conn_cut(c);
        return;
    }
    op = read_all(c, l) ? write_new(c, manner, 0, false) : NULL;
    if (op == NULL) {
        if (c->refusal.bad.status == 0)
            conn_cut(c);
        listing_done(l);
        alloc_free(l);
        return;
    }
    op->is_read = true;
    op->listing = l;
    aside_submit(op, work_list, then_finish);
}
