/* intake.c - see intake.h. */
#include "server/intake.h"

#include "server/redis/redis.h"
#include "server/rest/import.h"

#define FREE_BYTES 65536u
#define BYTES_MIN (UINT64_C(32) << 20)
#define HELD_PER_MOVED 8u /* of what it holds a client sends such a part in --header-timeout */

static uint64_t more(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A quarter of the budget; but two values of the largest size have room. */
uint64_t intake_bytes_max(const struct server *server)
{
    const struct server_options *o = server->options;

    return more(o->memory_bytes / 4, more(2 * o->value_bytes_max, BYTES_MIN));
}

static uint64_t held_bytes(const struct conn *c)
{
    uint64_t bytes = conn_arrived(c) + c->body.len;

    if (c->import != NULL)
        bytes += import_bytes(c->import);
    if (c->resp != NULL)
        bytes += c->resp->transaction.bytes;
    return bytes > FREE_BYTES ? bytes : 0;
}

static void set(struct conn *c, uint64_t bytes)
{
    if (LIKELY(bytes == c->intake))
        return;
    /* Unsigned: a difference below 0 wraps, and the sum wraps back. */
    atomic_fetch_add_explicit(&c->loop->server->intake, bytes - c->intake, memory_order_relaxed);
    c->intake = bytes;
}

void intake_count(struct conn *c)
{
    set(c, held_bytes(c));
}

void intake_forget(struct conn *c)
{
    set(c, 0);
}

static uint64_t taken(const struct server *server)
{
    return atomic_load_explicit(&server->intake, memory_order_relaxed);
}

static bool is_refused(const struct conn *c, uint64_t all)
{
    struct server *server = c->loop->server;

    if (all <= intake_bytes_max(server))
        return false;
    count(&server->intake_refusals, 1);
    return true;
}

bool intake_is_too_much(const struct conn *c)
{
    uint64_t all;

    if (LIKELY(c->intake == 0))
        return false;
    all = taken(c->loop->server);
    return all > c->intake && is_refused(c, all);
}

bool intake_would_be_too_much(const struct conn *c, uint64_t length)
{
    uint64_t all;

    if (LIKELY(length <= FREE_BYTES))
        return false;
    all = taken(c->loop->server) - c->intake;
    return all > 0 && is_refused(c, all + length);
}

bool intake_is_hoarded(struct conn *c, bool by_client)
{
    const struct server *server = c->loop->server;
    uint64_t refusals = atomic_load_explicit(&server->intake_refusals, memory_order_relaxed);
    uint64_t now = c->loop->clock_ms, came = c->heard.bytes - c->held.bytes;
    bool hoarded = false;

    if (by_client && c->intake > 0) {
        if (now - c->held.since <= server->options->header_ms)
            return false;
        hoarded = refusals != c->held.refusals && came < c->intake / HELD_PER_MOVED;
    }
    c->held = (struct held){now, c->heard.bytes, refusals};
    return hoarded;
}

unsigned intake_pressure(const struct server *server)
{
    uint64_t all = taken(server), most = intake_bytes_max(server);

    return all >= most ? 100 : (unsigned)(100 * all / most);
}
