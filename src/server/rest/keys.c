/* keys.c - GET /v1/keys: the keys of a range, page by page.
 *
 *     place the iterator -> entry: has it the delimiter after the prefix? -> a group: skip all of it
 *           ^                      '-> an item
 *           '--- until the range ends (complete), or limit, 1 MiB, or max_scan_ms is reached: then
 *                the cursor is the key of the entry to go on with
 *
 * A page is made aside from the loops (aside.h), in no more than max_scan_ms, and is as of one
 * moment; between two pages the store may change. The cursor names a key and no state of the server's,
 * so it has no lifetime: every key that is there all the while is listed once.
 *
 * As lines (Accept: application/x-ndjson) the listing is a long reply (outflow.h), walked as the client
 * reads; it is of one moment however long it is, and only ends early where limit or max_scan_ms are
 * given. */
#include "server/rest/item.h"
#include "server/rest/bounds.h"
#include "server/rest/outflow.h"
#include "server/rest/reach.h"
#include "server/rest/reply.h"
#include "server/rest/route.h"
#include "server/rest/verb.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/base64.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SCAN_MS_LINES_MAX 3600000
#define SLICE_NS UINT64_C(100000000)
#define LOOKS_AT_CLOCK 32u /* entries from one to the next */

struct listing {
    struct reach reach;
    struct buf delimiter, cursor; /* decoded; the cursor is where to go on */
    int64_t limit, scan_ms;       /* 0: no bound */
    bool reverse, values, counting, lines;

    struct quern_iter *it;
    struct buf out, groups; /* groups: of the delimiter, apart from the items unless in lines */
    uint64_t entries;       /* items and groups so far */
    uint64_t deadline;      /* of uv_hrtime(); 0: none */
    uint64_t slice_ends;    /* of lines: when a thread has walked for long enough */
    bool placed, on, complete;
    struct quern_error err;
};

static void listing_done(struct listing *l)
{
    reach_done(&l->reach);
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

    if (http_has(r, HTTP_ACCEPT))
        l->lines = http_prefers(http_bytes(conn_request_bytes(c), r->field[HTTP_ACCEPT]),
                                "application/x-ndjson", "");
    l->limit = l->lines ? 0 : PAGE_ENTRIES_DEFAULT;
    l->scan_ms = l->lines ? 0 : SCAN_MS_DEFAULT;
    return read_number(c, PARAM_LIMIT, l->lines ? INT64_MAX : PAGE_ENTRIES_MAX,
                       "limit must be 1 to 10000, or anything from 1 up in lines", &l->limit) &&
           read_number(c, PARAM_MAX_SCAN_MS, l->lines ? SCAN_MS_LINES_MAX : SCAN_MS_MAX,
                       "max_scan_ms must be 1 to 1000, or to an hour in lines", &l->scan_ms) &&
           read_flag(c, PARAM_REVERSE, "reverse must be 1 or 0", &l->reverse) &&
           read_flag(c, PARAM_VALUES, "values must be 1 or 0", &l->values) &&
           read_flag(c, PARAM_COUNT, "count must be 1 or 0", &l->counting) &&
           read_bytes(c, PARAM_DELIMITER, &l->delimiter) && read_cursor(c, l) &&
           reach_of(c, &l->reach);
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
    found = memmem(s + l->reach.prefix.len, key.len - l->reach.prefix.len, l->delimiter.data,
                   l->delimiter.len);
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

/* Does the listing end here, though there is more? */
static bool is_enough(const struct listing *l)
{
    if (!l->counting && ((l->limit != 0 && l->entries == (uint64_t)l->limit) ||
                         (!l->lines && l->out.len + l->groups.len >= PAGE_BYTES_MAX)))
        return true;
    return l->deadline != 0 && l->entries % LOOKS_AT_CLOCK == LOOKS_AT_CLOCK - 1 &&
           uv_hrtime() > l->deadline;
}

static enum quern_code begin(struct listing *l)
{
    struct quern_iter_opts opts = {.snapshot = reach_view(l->reach.held),
                                   .range = {buf_slice(&l->reach.start), buf_slice(&l->reach.end)},
                                   .prefix = buf_slice(&l->reach.prefix),
                                   .bulk = l->lines,
                                   .database = l->reach.database};

    if (l->scan_ms != 0)
        l->deadline = uv_hrtime() + (uint64_t)l->scan_ms * 1000000;
    return quern_iter_new(l->reach.server->db, &opts, &l->it, &l->err);
}

/* Of lines: is it time to pass on what there is, be it nothing, and to see whether somebody still
 * waits for it? */
static bool is_page(const struct listing *l)
{
    return l->lines && (l->out.len >= OUTFLOW_PAGE_BYTES ||
                        (l->entries % LOOKS_AT_CLOCK == 0 && uv_hrtime() > l->slice_ends));
}

static enum quern_code walk(struct listing *l)
{
    bool first = true;

    if (!l->placed)
        l->on = place(l);
    l->placed = true;
    for (; l->on && !is_enough(l) && !is_page(l); l->entries++) {
        struct quern_slice key = quern_iter_key(l->it);
        size_t group = group_length(l, key);

        if (group > 0) {
            if (buf_assign(&l->cursor, (struct quern_slice){key.data, group}, &l->err) ||
                (!l->counting && add_group(l, buf_slice(&l->cursor))))
                return l->err.code;
            l->on = pass_group(l);
            continue;
        }
        if (!l->counting && add_item(l, first))
            return l->err.code;
        first = false;
        l->on = step(l);
    }
    l->complete = !l->on;
    return l->on ? QUERN_OK : quern_iter_error(l->it, &l->err);
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

    (void)snprintf(text, sizeof(text), "\"count\":%" PRIu64 ",", l->entries);
    if (l->lines && add(&l->out, "{\"end\":true,", &l->err))
        return l->err.code;
    if (l->counting) {
        l->out.len = l->lines ? l->out.len : 0;
        if ((!l->lines && add(&l->out, "{", &l->err)) || add(&l->out, text, &l->err))
            return l->err.code;
    } else if (!l->lines && (add(&l->out, "],", &l->err) ||
                             (l->delimiter.len > 0 &&
                              (add(&l->out, "\"prefixes\":[", &l->err) ||
                               buf_append(&l->out, l->groups.data, l->groups.len, &l->err) ||
                               add(&l->out, "],", &l->err))))) {
        return l->err.code;
    }
    return add_end(l);
}

static enum quern_code list(struct listing *l)
{
    if (begin(l) || add(&l->out, "{\"items\":[", &l->err) || walk(l))
        return l->err.code;
    return write_page(l);
}

/* ------------------------------------------------------------------ as a page -- */

static void work_list(struct write_op *op)
{
    op->completion.code = list(op->about);
}

static void then_finish(struct write_op *op)
{
    write_finish(op, op->completion.code);
}

static void answer_page(struct write_op *op)
{
    struct listing *l = op->about;
    struct conn *c = op->conn;

    if (!c->closing && op->completion.code == QUERN_OK)
        reply_with(c, op->manner, 200, "application/json", buf_slice(&l->out),
                   "Cache-Control: no-store\r\n");
    else if (!c->closing)
        reply_store_error(c, op->manner, op->completion.code, &l->err);
    listing_done(l);
    alloc_free(l);
}

/* The listing is the op's now. */
static void reply_page(struct conn *c, struct manner manner, struct listing *l)
{
    struct listing *own = NEW(struct listing);
    struct write_op *op = own != NULL ? write_new(c, manner, 0, false) : NULL;

    if (op == NULL) {
        conn_cut(c);
        listing_done(l);
        alloc_free(own);
        return;
    }
    *own = *l;
    op->is_read = true;
    op->about = own;
    op->answer = answer_page;
    aside_submit(op, work_list, then_finish);
}

/* ------------------------------------------------------------------ as lines -- */

struct lines {
    struct outflow flow; /* first */
    struct listing listing;
};

static void lines_free(struct outflow *o)
{
    struct lines *lines = (struct lines *)o;

    listing_done(&lines->listing);
    buf_done(&o->page);
    alloc_free(lines);
}

static void swap_page(struct outflow *o, struct listing *l)
{
    struct buf page = o->page;

    o->page = l->out;
    l->out = page;
}

static enum quern_code fill(struct outflow *o, struct quern_error *err)
{
    struct listing *l = &((struct lines *)o)->listing;
    enum quern_code code;

    swap_page(o, l);
    l->slice_ends = uv_hrtime() + SLICE_NS;
    code = walk(l);
    if (code == QUERN_OK && (!l->on || is_enough(l))) {
        o->over = true;
        code = write_page(l);
    }
    swap_page(o, l);
    *err = l->err;
    return code;
}

/* The listing is the reply's now. */
static void reply_lines(struct conn *c, struct manner manner, struct listing *l)
{
    struct lines *lines;

    if (!outflow_may_begin(c)) {
        listing_done(l);
        return;
    }
    lines = NEW(struct lines);
    if (lines == NULL || begin(l)) { /* the moment is now */
        outflow_give_up(c);
        if (lines == NULL)
            conn_cut(c);
        else
            reply_store_error(c, manner, l->err.code, &l->err);
        listing_done(l);
        alloc_free(lines);
        return;
    }
    lines->listing = *l;
    lines->flow.fill = fill;
    lines->flow.free = lines_free;
    outflow_begin(c, manner, "application/x-ndjson", "Cache-Control: no-store\r\n", &lines->flow);
}

void keys_list(struct conn *c, struct manner manner, struct quern_slice body)
{
    struct listing l = {0};

    (void)body;
    if (!read_all(c, &l))
        listing_done(&l);
    else if (l.lines)
        reply_lines(c, manner, &l);
    else
        reply_page(c, manner, &l);
}
