/* acllog.c - ACL LOG: who was refused over this protocol, by its token or for want of one, newest first.
 *
 * As in Redis the same refusal of the same user within a minute is the same entry, which is counted.
 * What an entry holds is bounded, and so are the entries. What password was wrong stands nowhere. */
#include "server/redis/handlers.h"

#include "server/conn.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/when.h"

#include <stdio.h>

#define ENTRIES_MAX 128u
#define TEXT_BYTES_MAX 128u /* of an object, of a user's name */
#define SAME_MS 60000

struct text {
    size_t len;
    char bytes[TEXT_BYTES_MAX];
};

struct entry {
    struct entry *older;
    uint64_t id;
    int64_t count, created_ms, updated_ms; /* unix milliseconds */
    enum refusal_reason reason;
    bool in_transaction;
    struct text object, user;
    struct buf client; /* as CLIENT INFO tells of it */
};

struct refused {
    struct mutex mu;
    struct entry *newest; /* guarded by mu */
    unsigned length;      /* guarded by mu */
    uint64_t next_id;     /* guarded by mu */
};

struct refused *refused_new(void)
{
    struct refused *r = NEW(struct refused);

    if (r != NULL)
        mutex_init(&r->mu);
    return r;
}

static void entry_free(struct entry *e)
{
    if (e == NULL)
        return;
    buf_done(&e->client);
    alloc_free(e);
}

static void forget_all_locked(struct refused *r)
{
    while (r->newest != NULL) {
        struct entry *e = r->newest;

        r->newest = e->older;
        entry_free(e);
    }
    r->length = 0;
}

void refused_free(struct refused *r)
{
    if (r == NULL)
        return;
    mutex_lock(&r->mu);
    forget_all_locked(r);
    mutex_unlock(&r->mu);
    mutex_done(&r->mu);
    alloc_free(r);
}

static void text_set(struct text *t, struct quern_slice to)
{
    t->len = to.len < sizeof(t->bytes) ? to.len : sizeof(t->bytes);
    if (t->len > 0)
        memcpy(t->bytes, to.data, t->len);
}

static bool text_same(const struct text *a, const struct text *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* The entry that says the same already, taken out of the list; or NULL. */
static struct entry *take_same_locked(struct refused *r, const struct entry *as)
{
    for (struct entry **link = &r->newest; *link != NULL; link = &(*link)->older) {
        struct entry *e = *link;

        if (e->reason != as->reason || e->in_transaction != as->in_transaction ||
            as->created_ms - e->updated_ms > SAME_MS || !text_same(&e->object, &as->object) ||
            !text_same(&e->user, &as->user))
            continue;
        *link = e->older;
        r->length--;
        return e;
    }
    return NULL;
}

static void drop_oldest_locked(struct refused *r)
{
    struct entry **link = &r->newest;

    while ((*link)->older != NULL)
        link = &(*link)->older;
    entry_free(*link);
    *link = NULL;
    r->length--;
}

void refused_note(struct call *k, enum refusal_reason reason, struct quern_slice object,
                  struct quern_slice user)
{
    struct refused *r = k->server->resp->refused;
    struct entry *e, *same;
    struct resp_out client = {NULL, 2, false};

    if (k->conn->ops != NULL) /* it waits for those before it, and is judged again in its turn */
        return;
    e = NEW(struct entry);
    if (e == NULL)
        return; /* the refusal itself is what matters */
    e->count = 1;
    e->created_ms = e->updated_ms = (int64_t)when_now();
    e->reason = reason;
    e->in_transaction = k->conn->resp->transaction.open;
    text_set(&e->object, object);
    text_set(&e->user, user);
    client.to = &e->client;
    client_describe(k, &client);
    mutex_lock(&r->mu);
    same = take_same_locked(r, e);
    e->id = same != NULL ? same->id : r->next_id++;
    if (same != NULL) {
        e->count += same->count;
        e->created_ms = same->created_ms;
    } else if (r->length == ENTRIES_MAX) {
        drop_oldest_locked(r);
    }
    e->older = r->newest;
    r->newest = e;
    r->length++;
    mutex_unlock(&r->mu);
    entry_free(same);
}

static void put_entry(struct resp_out *out, const struct entry *e)
{
    static const char *const reasons[] = {"command", "key", "auth"};
    int64_t age_ms = (int64_t)when_now() - e->created_ms;
    char age[32];

    (void)snprintf(age, sizeof(age), "%.17g", (double)(age_ms > 0 ? age_ms : 0) / 1000);
    resp_put_map(out, 10);
    resp_put_text(out, "count");
    resp_put_int(out, e->count);
    resp_put_text(out, "reason");
    resp_put_text(out, reasons[e->reason]);
    resp_put_text(out, "context");
    resp_put_text(out, e->in_transaction ? "multi" : "toplevel");
    resp_put_text(out, "object");
    resp_put_bulk(out, (struct quern_slice){e->object.bytes, e->object.len});
    resp_put_text(out, "username");
    resp_put_bulk(out, (struct quern_slice){e->user.bytes, e->user.len});
    resp_put_text(out, "age-seconds");
    resp_put_text(out, age);
    resp_put_text(out, "client-info");
    resp_put_bulk(out, buf_slice(&e->client));
    resp_put_text(out, "entry-id");
    resp_put_int(out, (int64_t)e->id);
    resp_put_text(out, "timestamp-created");
    resp_put_int(out, e->created_ms);
    resp_put_text(out, "timestamp-last-updated");
    resp_put_int(out, e->updated_ms);
}

enum quern_code cmd_acl_log(struct call *k)
{
    struct refused *r = k->server->resp->refused;
    bool reset = k->argc == 3 && call_arg_is(k, 2, "RESET");
    const struct entry *e;
    int64_t count = 10;

    if (k->argc > 3)
        return call_sub_error(k);
    if (k->argc == 3 && !reset && !call_integer(k, 2, &count))
        return QUERN_OK;
    mutex_lock(&r->mu);
    if (reset) {
        forget_all_locked(r);
        (void)call_ok(k);
    } else {
        count = count < 0 ? 0 : count < (int64_t)r->length ? count : (int64_t)r->length;
        resp_put_array(&k->out, (size_t)count);
        for (e = r->newest; count > 0; count--) {
            put_entry(&k->out, e);
            e = e->older;
        }
    }
    mutex_unlock(&r->mu);
    return QUERN_OK;
}
