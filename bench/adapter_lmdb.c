/* adapter_lmdb.c - LMDB: one transaction for each put, a read transaction renewed for each get.
 *
 * It has no log. Where the others write a log without syncing it, LMDB runs with MDB_NOSYNC: that
 * survives the end of the process, but after a loss of power the whole file may be broken, where a
 * log loses its end only. So its fill figures buy less. Synced writes are full commits.
 * MDB_NORDAHEAD is on, as its manual advises for random reads. The variant WRITEMAP writes through
 * the map: it copies less, and a stray pointer of the program can then damage the store. It keeps
 * its data in the page cache and not in a cache of the given size. */
#include "bench.h"

#include <lmdb.h>

#include <stdio.h>
#include <stdlib.h>

#define MAP_BYTES_MIN (UINT64_C(4) << 30)
#define MAP_FACTOR 6 /* pages half full after random inserts, old ones still held by readers */

struct db {
    MDB_env *env;
    MDB_dbi dbi;
};

struct session {
    struct db *db;
    MDB_txn *read; /* NULL until the first read; it holds a view from each read to the next */
    MDB_cursor *cursor;
};

static void check(int code, const char *doing)
{
    if (code != 0)
        die("lmdb: %s: %s", doing, mdb_strerror(code));
}

static const char *lm_version(void)
{
    static char text[32];
    int major, minor, patch;

    (void)mdb_version(&major, &minor, &patch);
    (void)snprintf(text, sizeof(text), "LMDB %d.%d.%d", major, minor, patch);
    return text;
}

static void *lm_open(const char *dir, const struct setup *setup)
{
    struct db *db = must_alloc(sizeof(*db));
    uint64_t map_bytes = setup->data_bytes * MAP_FACTOR + MAP_BYTES_MIN;
    unsigned flags = MDB_NORDAHEAD | (unsigned)setup->variant;
    MDB_txn *txn;

    if (!setup->durable)
        flags |= MDB_NOSYNC;
    check(mdb_env_create(&db->env), "create");
    check(mdb_env_set_mapsize(db->env, map_bytes), "map size");
    check(mdb_env_open(db->env, dir, flags, 0644), "open");
    check(mdb_txn_begin(db->env, NULL, 0, &txn), "begin");
    check(mdb_dbi_open(txn, NULL, 0, &db->dbi), "open table");
    check(mdb_txn_commit(txn), "commit");
    return db;
}

static void lm_close(void *handle)
{
    struct db *db = handle;

    mdb_env_close(db->env);
    free(db);
}

static void lm_settle(void *handle)
{
    struct db *db = handle;

    check(mdb_env_sync(db->env, 1), "sync"); /* nothing to compact: a B+tree is always settled */
}

static void *lm_session_new(void *handle)
{
    struct session *s = must_alloc(sizeof(*s));

    s->db = handle;
    return s;
}

static void lm_session_free(void *session)
{
    struct session *s = session;

    if (s->cursor != NULL)
        mdb_cursor_close(s->cursor);
    if (s->read != NULL)
        mdb_txn_abort(s->read);
    free(s);
}

static MDB_val val_of(struct bytes b)
{
    return (MDB_val){.mv_size = b.len, .mv_data = (void *)(uintptr_t)b.data};
}

static void lm_put(void *session, struct bytes key, struct bytes value, bool sync)
{
    struct session *s = session;
    MDB_val k = val_of(key), v = val_of(value);
    MDB_txn *txn;

    (void)sync; /* the store was opened for it: see `durable` */
    check(mdb_txn_begin(s->db->env, NULL, 0, &txn), "begin");
    check(mdb_put(txn, s->db->dbi, &k, &v, 0), "put");
    check(mdb_txn_commit(txn), "commit");
}

static void lm_del(void *session, struct bytes key)
{
    struct session *s = session;
    MDB_val k = val_of(key);
    MDB_txn *txn;

    check(mdb_txn_begin(s->db->env, NULL, 0, &txn), "begin");
    check(mdb_del(txn, s->db->dbi, &k, NULL), "delete");
    check(mdb_txn_commit(txn), "commit");
}

static void lm_batch(void *session, const struct pair *pairs, size_t n)
{
    struct session *s = session;
    MDB_txn *txn;

    check(mdb_txn_begin(s->db->env, NULL, 0, &txn), "begin");
    for (size_t i = 0; i < n; i++) {
        MDB_val k = val_of(pairs[i].key), v = val_of(pairs[i].value);

        if (pairs[i].value.data == NULL)
            check(mdb_del(txn, s->db->dbi, &k, NULL), "delete");
        else
            check(mdb_put(txn, s->db->dbi, &k, &v, 0), "put");
    }
    check(mdb_txn_commit(txn), "commit");
}

/* The session's read transaction, on the state as of now. */
static MDB_txn *view_now(struct session *s)
{
    if (s->read == NULL) {
        check(mdb_txn_begin(s->db->env, NULL, MDB_RDONLY, &s->read), "begin to read");
    } else {
        mdb_txn_reset(s->read);
        check(mdb_txn_renew(s->read), "renew");
    }
    return s->read;
}

static struct bytes get_in(struct session *s, MDB_txn *txn, struct bytes key)
{
    MDB_val k = val_of(key), v;
    int code = mdb_get(txn, s->db->dbi, &k, &v);

    if (code == MDB_NOTFOUND)
        return (struct bytes){NULL, 0};
    check(code, "get");
    return (struct bytes){v.mv_data, v.mv_size};
}

static struct bytes lm_get(void *session, struct bytes key)
{
    struct session *s = session;

    return get_in(s, view_now(s), key);
}

static void lm_multi_get(void *session, const struct bytes *keys, size_t n, struct bytes *values)
{
    struct session *s = session;
    MDB_txn *txn = view_now(s);

    for (size_t i = 0; i < n; i++)
        values[i] = get_in(s, txn, keys[i]);
}

/* ------------------------------------------------------------------ scans -- */

static void lm_scan_begin(void *session)
{
    struct session *s = session;
    MDB_txn *txn = view_now(s);

    if (s->cursor == NULL)
        check(mdb_cursor_open(txn, s->db->dbi, &s->cursor), "cursor");
    else
        check(mdb_cursor_renew(txn, s->cursor), "renew cursor");
}

static bool move(struct session *s, MDB_val *k, MDB_cursor_op how, struct pair *out)
{
    MDB_val v;
    int code = mdb_cursor_get(s->cursor, k, &v, how);

    if (code == MDB_NOTFOUND)
        return false;
    check(code, "scan");
    out->key = (struct bytes){k->mv_data, k->mv_size};
    out->value = (struct bytes){v.mv_data, v.mv_size};
    return true;
}

static bool lm_scan_first(void *session, struct pair *out)
{
    MDB_val k;

    return move(session, &k, MDB_FIRST, out);
}

static bool lm_scan_last(void *session, struct pair *out)
{
    MDB_val k;

    return move(session, &k, MDB_LAST, out);
}

static bool lm_scan_seek(void *session, struct bytes key, struct pair *out)
{
    MDB_val k = val_of(key);

    return move(session, &k, MDB_SET_RANGE, out);
}

static bool lm_scan_next(void *session, struct pair *out)
{
    MDB_val k;

    return move(session, &k, MDB_NEXT, out);
}

static bool lm_scan_prev(void *session, struct pair *out)
{
    MDB_val k;

    return move(session, &k, MDB_PREV, out);
}

static void lm_scan_end(void *session)
{
    struct session *s = session;

    mdb_txn_reset(s->read); /* the cursor stays for the next begin */
}

const struct adapter adapter_lmdb = {
    .version = lm_version,
    .open = lm_open,
    .close = lm_close,
    .settle = lm_settle,
    .session_new = lm_session_new,
    .session_free = lm_session_free,
    .put = lm_put,
    .del = lm_del,
    .get = lm_get,
    .multi_get = lm_multi_get,
    .batch = lm_batch,
    .scan_begin = lm_scan_begin,
    .scan_first = lm_scan_first,
    .scan_last = lm_scan_last,
    .scan_seek = lm_scan_seek,
    .scan_next = lm_scan_next,
    .scan_prev = lm_scan_prev,
    .scan_end = lm_scan_end,
};
