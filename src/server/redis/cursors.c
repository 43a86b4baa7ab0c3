/* cursors.c - the cursors of SCAN: a number that stands for the key a scan has come to.
 *
 * Clients expect a cursor to be a number, and 0 to be the end. The number is drawn at random, so that
 * nobody meets the cursor of another by counting; its low 16 bits say which place of the table it
 * stands in. One that is not known any more is an error: to begin anew instead, as some servers do,
 * sends a client round and round.
 *
 * A cursor is forgotten when it was not used for ten minutes; when the scan has come two steps
 * further (one step back is kept: the client may not have heard the reply); or, the least recently
 * used first, when there are 65536 of them or their keys take 64 MiB. */
#include "server/redis/redis.h"

#include "base/alloc.h"
#include "base/error.h"

#include <uv.h>

#define PLACES 65536u
#define BYTES_MAX (UINT64_C(64) << 20)
#define IDLE_MS_MAX 600000u

struct place {
    uint64_t id, parent; /* id 0: free */
    uint64_t used_ms;
    uint32_t older, newer; /* in order of use; for a free place: newer is the next free one */
    uint8_t database;
    size_t len;
    uint8_t *key;
};

#define NONE UINT32_MAX

struct cursors {
    struct mutex mu;
    struct place *places; /* guarded by mu, as is all that follows; NULL until there is one */
    uint32_t oldest, newest, free, fresh; /* fresh: those from here on were never used */
    uint64_t bytes;
};

struct cursors *cursors_new(void)
{
    struct cursors *c = NEW(struct cursors);

    if (c == NULL)
        return NULL;
    mutex_init(&c->mu);
    c->oldest = c->newest = c->free = NONE;
    return c;
}

void cursors_free(struct cursors *c)
{
    if (c == NULL)
        return;
    for (uint32_t at = c->oldest; at != NONE; at = c->places[at].newer)
        alloc_free(c->places[at].key);
    alloc_free(c->places);
    mutex_done(&c->mu);
    alloc_free(c);
}

static void take_out(struct cursors *c, uint32_t at)
{
    struct place *p = &c->places[at];

    if (p->older != NONE)
        c->places[p->older].newer = p->newer;
    else
        c->oldest = p->newer;
    if (p->newer != NONE)
        c->places[p->newer].older = p->older;
    else
        c->newest = p->older;
}

static void put_newest(struct cursors *c, uint32_t at)
{
    struct place *p = &c->places[at];

    p->older = c->newest;
    p->newer = NONE;
    if (c->newest != NONE)
        c->places[c->newest].newer = at;
    else
        c->oldest = at;
    c->newest = at;
    p->used_ms = uv_hrtime() / 1000000;
}

static void forget(struct cursors *c, uint32_t at)
{
    struct place *p = &c->places[at];

    take_out(c, at);
    c->bytes -= p->len;
    alloc_free(p->key);
    *p = (struct place){.newer = c->free};
    c->free = at;
}

static uint32_t place_of(const struct cursors *c, uint64_t id)
{
    uint32_t at = (uint32_t)(id % PLACES);

    return id != 0 && c->places != NULL && at < c->fresh && c->places[at].id == id ? at : NONE;
}

static void forget_old(struct cursors *c, size_t room)
{
    uint64_t now = uv_hrtime() / 1000000;

    while (c->oldest != NONE &&
           (c->bytes + room > BYTES_MAX || now - c->places[c->oldest].used_ms > IDLE_MS_MAX ||
            (room > 0 && c->free == NONE && c->fresh == PLACES)))
        forget(c, c->oldest);
}

static uint64_t add_locked(struct cursors *c, uint8_t database, uint8_t *key, size_t len,
                           uint64_t parent)
{
    struct place *p;
    uint64_t random = 0;
    uint32_t at;

    forget_old(c, len);
    if (c->places == NULL)
        c->places = alloc_array(PLACES, sizeof(*c->places));
    if (c->places == NULL)
        return 0;
    at = c->free;
    if (at != NONE)
        c->free = c->places[at].newer;
    else
        at = c->fresh++;
    (void)uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
    p = &c->places[at];
    *p = (struct place){.parent = parent, .database = database, .len = len, .key = key};
    p->id = (random >> 1 | UINT64_C(1) << 62) / PLACES * PLACES + at;
    c->bytes += len;
    put_newest(c, at);
    return p->id;
}

uint64_t cursors_add(struct cursors *c, uint8_t database, struct quern_slice last_key,
                     uint64_t parent)
{
    uint8_t *key = alloc_bytes(last_key.len + 1);
    uint64_t id;

    if (key == NULL)
        return 0;
    memcpy(key, last_key.data, last_key.len);
    mutex_lock(&c->mu);
    id = add_locked(c, database, key, last_key.len, parent);
    mutex_unlock(&c->mu);
    if (id == 0)
        alloc_free(key);
    return id;
}

bool cursors_find(struct cursors *c, uint8_t database, uint64_t id, struct buf *to)
{
    struct quern_error err;
    bool found = false;
    uint32_t at, before;

    mutex_lock(&c->mu);
    forget_old(c, 0);
    at = place_of(c, id);
    if (at != NONE && c->places[at].database == database) {
        struct place *p = &c->places[at];

        found = buf_append(to, p->key, p->len, &err) == QUERN_OK;
        take_out(c, at);
        put_newest(c, at);
        before = place_of(c, p->parent); /* the client has heard the reply to that one */
        p->parent = 0;
        if (before != NONE)
            forget(c, before);
    }
    mutex_unlock(&c->mu);
    return found;
}
