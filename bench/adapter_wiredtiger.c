/* adapter_wiredtiger.c - WiredTiger: one row-store B-tree, its log on, cursors kept from call to
 * call.
 *
 * Its cache holds dirty pages as well as clean ones, so like quern it gets cache and two write
 * buffers as one budget, and dirty pages may fill as much of it as the two write buffers would: its
 * default of a fifth made puts take twice the processor time. Log files are as long as a write
 * buffer, like the others'. A thread of its own takes a checkpoint each minute, as in MongoDB; at
 * most two threads evict. Leaf pages of 16 KiB: those of 8 KiB wrote more, and its default of
 * 32 KiB was no better at anything but scans.
 *
 * By default a commit stays in a buffer of the process. Here each one waits until its log record is
 * with the kernel (method=none) or on disk (method=dsync, into a log file filled with zeros
 * beforehand: with fdatasync 16 synced writers were half as fast): what the others promise too.
 *
 * A cursor that stands in a page pins it, and its session's view, until its next call; so gets need
 * no renewing, while scans and multi-get open a transaction to have one view from end to end. It
 * has no multi-get: keys are got in turn, and copied, since a cursor keeps one value only. */
#include "bench.h"

#include <wiredtiger.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE "table:kv"
/* The compressor is linked in, and found by name: it is there before a log is replayed. */
#define SNAPPY_EXTENSION ",extensions=[local={entry=snappy_extension_init}]"

enum variant { PLAIN, SNAPPY };

struct session {
    WT_SESSION *wt;
    WT_CURSOR *point, *scan; /* gets and writes; scans */
    uint8_t *copies;         /* what multi-get found */
    size_t copies_bytes;
};

static void check(int code, const char *doing)
{
    if (code != 0)
        die("wiredtiger: %s: %s", doing, wiredtiger_strerror(code));
}

static const char *wt_version(void)
{
    static char text[32];
    int major, minor, patch;

    (void)wiredtiger_version(&major, &minor, &patch);
    (void)snprintf(text, sizeof(text), "WiredTiger %d.%d.%d", major, minor, patch);
    return text;
}

static WT_SESSION *session_open(WT_CONNECTION *connection)
{
    WT_SESSION *session;

    check(connection->open_session(connection, NULL, "isolation=snapshot", &session), "session");
    return session;
}

static void *wt_open(const char *dir, const struct setup *setup)
{
    WT_CONNECTION *connection;
    WT_SESSION *session;
    uint64_t buffer = setup->write_buffer_bytes;
    char config[512], table[256];

    (void)snprintf(config, sizeof(config),
                   "create,config_base=false,use_environment=false,cache_size=%" PRIu64
                   ",eviction_dirty_target=%" PRIu64 ",eviction_dirty_trigger=%" PRIu64
                   ",eviction=(threads_min=1,threads_max=2),checkpoint=(wait=60,log_size=2GB)"
                   ",log=(enabled=true,file_max=%" PRIu64
                   ",zero_fill=%s),transaction_sync=(enabled=true,method=%s)%s",
                   setup->cache_bytes + 2 * buffer, buffer, 2 * buffer, buffer,
                   setup->durable ? "true" : "false", setup->durable ? "dsync" : "none",
                   setup->variant == SNAPPY ? SNAPPY_EXTENSION : "");
    (void)snprintf(table, sizeof(table),
                   "key_format=u,value_format=u,leaf_page_max=16KB,checksum=on%s",
                   setup->variant == SNAPPY ? ",block_compressor=snappy" : "");
    check(wiredtiger_open(dir, NULL, config, &connection), "open");
    session = session_open(connection);
    check(session->create(session, TABLE, table), "create table");
    check(session->close(session, NULL), "close session");
    return connection;
}

static void wt_close(void *handle)
{
    WT_CONNECTION *connection = handle;

    check(connection->close(connection, "leak_memory=false"), "close");
}

static void wt_settle(void *handle)
{
    WT_SESSION *session = session_open(handle);

    check(session->checkpoint(session, NULL), "checkpoint");
    check(session->compact(session, TABLE, "timeout=0"), "compact");
    check(session->close(session, NULL), "close session");
}

static void *wt_session_new(void *handle)
{
    struct session *s = must_alloc(sizeof(*s));

    s->wt = session_open(handle);
    check(s->wt->open_cursor(s->wt, TABLE, NULL, NULL, &s->point), "cursor");
    check(s->wt->open_cursor(s->wt, TABLE, NULL, NULL, &s->scan), "cursor");
    return s;
}

static void wt_session_free(void *session)
{
    struct session *s = session;

    check(s->wt->close(s->wt, NULL), "close session");
    free(s->copies);
    free(s);
}

static WT_ITEM item(struct bytes b)
{
    return (WT_ITEM){.data = b.data, .size = b.len};
}

static struct bytes found(const WT_ITEM *value)
{
    return (struct bytes){value->data != NULL ? value->data : "", value->size};
}

static void wt_put(void *session, struct bytes key, struct bytes value, bool sync)
{
    struct session *s = session;
    WT_ITEM k = item(key), v = item(value);

    (void)sync; /* the store was opened for it: see `durable` */
    s->point->set_key(s->point, &k);
    s->point->set_value(s->point, &v);
    check(s->point->insert(s->point), "put");
}

static void wt_del(void *session, struct bytes key)
{
    struct session *s = session;
    WT_ITEM k = item(key);

    s->point->set_key(s->point, &k);
    check(s->point->remove(s->point), "delete");
}

/* One transaction; it begins anew when it meets another thread's write, as a put by itself does
 * inside WiredTiger. */
static void wt_batch(void *session, const struct pair *pairs, size_t n)
{
    struct session *s = session;
    int code;

    do {
        check(s->wt->begin_transaction(s->wt, NULL), "begin");
        code = 0;
        for (size_t i = 0; i < n && code == 0; i++) {
            WT_ITEM k = item(pairs[i].key), v = item(pairs[i].value);

            s->point->set_key(s->point, &k);
            if (pairs[i].value.data == NULL) {
                code = s->point->remove(s->point);
            } else {
                s->point->set_value(s->point, &v);
                code = s->point->insert(s->point);
            }
        }
        if (code == 0)
            code = s->wt->commit_transaction(s->wt, NULL);
        else
            (void)s->wt->rollback_transaction(s->wt, NULL);
    } while (code == WT_ROLLBACK);
    check(code, "batch");
}

static struct bytes wt_get(void *session, struct bytes key)
{
    struct session *s = session;
    WT_ITEM k = item(key), v;
    int code;

    s->point->set_key(s->point, &k);
    code = s->point->search(s->point);
    if (code == WT_NOTFOUND)
        return (struct bytes){NULL, 0};
    check(code, "get");
    check(s->point->get_value(s->point, &v), "get");
    return found(&v);
}

/* Keep `value` at `at` in the session's copies; they may move. */
static size_t copy(struct session *s, size_t at, struct bytes value)
{
    if (s->copies_bytes - at < value.len) {
        s->copies_bytes = 2 * (at + value.len);
        s->copies = realloc(s->copies, s->copies_bytes);
        if (s->copies == NULL)
            die("no memory for %zu bytes", s->copies_bytes);
    }
    memcpy(s->copies + at, value.data, value.len);
    return at + value.len;
}

static void wt_multi_get(void *session, const struct bytes *keys, size_t n, struct bytes *values)
{
    struct session *s = session;
    size_t at = 0;

    check(s->wt->begin_transaction(s->wt, NULL), "begin to read");
    for (size_t i = 0; i < n; i++) {
        values[i] = wt_get(s, keys[i]);
        if (values[i].data != NULL)
            at = copy(s, at, values[i]);
    }
    check(s->wt->rollback_transaction(s->wt, NULL), "end reading");
    at = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i].data != NULL) {
            values[i].data = s->copies + at;
            at += values[i].len;
        }
}

/* ------------------------------------------------------------------ scans -- */

static void wt_scan_begin(void *session)
{
    struct session *s = session;

    check(s->wt->begin_transaction(s->wt, NULL), "begin to scan");
}

static bool scan_at(struct session *s, int code, struct pair *out)
{
    WT_ITEM k, v;

    if (code == WT_NOTFOUND)
        return false;
    check(code, "scan");
    check(s->scan->get_key(s->scan, &k), "scan");
    check(s->scan->get_value(s->scan, &v), "scan");
    out->key = found(&k);
    out->value = found(&v);
    return true;
}

static bool wt_scan_next(void *session, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, s->scan->next(s->scan), out);
}

static bool wt_scan_prev(void *session, struct pair *out)
{
    struct session *s = session;

    return scan_at(s, s->scan->prev(s->scan), out);
}

/* From a cursor that stands nowhere, next is the first entry and prev the last. */
static bool wt_scan_first(void *session, struct pair *out)
{
    struct session *s = session;

    check(s->scan->reset(s->scan), "scan");
    return wt_scan_next(session, out);
}

static bool wt_scan_last(void *session, struct pair *out)
{
    struct session *s = session;

    check(s->scan->reset(s->scan), "scan");
    return wt_scan_prev(session, out);
}

static bool wt_scan_seek(void *session, struct bytes key, struct pair *out)
{
    struct session *s = session;
    WT_ITEM k = item(key);
    int side, code;

    s->scan->set_key(s->scan, &k);
    code = s->scan->search_near(s->scan, &side);
    if (code == 0 && side < 0)
        code = s->scan->next(s->scan);
    return scan_at(s, code, out);
}

static void wt_scan_end(void *session)
{
    struct session *s = session;

    check(s->wt->rollback_transaction(s->wt, NULL), "end of scan"); /* resets the cursor */
}

const struct adapter adapter_wiredtiger = {
    .version = wt_version,
    .open = wt_open,
    .close = wt_close,
    .settle = wt_settle,
    .session_new = wt_session_new,
    .session_free = wt_session_free,
    .put = wt_put,
    .del = wt_del,
    .get = wt_get,
    .multi_get = wt_multi_get,
    .batch = wt_batch,
    .scan_begin = wt_scan_begin,
    .scan_first = wt_scan_first,
    .scan_last = wt_scan_last,
    .scan_seek = wt_scan_seek,
    .scan_next = wt_scan_next,
    .scan_prev = wt_scan_prev,
    .scan_end = wt_scan_end,
};
