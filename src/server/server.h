/* server.h - what all parts of quernd share: the store, the options, the counters, the loops.
 *
 *      main thread                     loop threads, one per core
 *     +--------------------+          +-----------------------------------+
 *     | accepts, signals,  |  sockets | connections: read, parse, answer  |--- quern_get()
 *     | shutdown           |--------->| never wait for the disk to sync   |--- quern_write_async()
 *     +--------------------+          +-----------------------------------+
 *       | quern_close()                   ^ completions, from the store's threads
 *       v                                 '-- loop_post()
 *
 * struct server is set up before the loops start and constant after, but for what is atomic. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "server/aside.h"
#include "server/options/config.h"
#include "server/rest/events.h"
#include "server/guard.h"
#include "server/net/hosts.h"
#include "server/rest/jobs.h"
#include "server/options/options.h"
#include "server/observe/slowlog.h"
#include "server/rest/snapshots.h"
#include "server/stop.h"

#include <stdatomic.h>

struct loop;
struct resp_shared;
struct sink;
struct tls_keys;

/* What a connection speaks; it follows from the port it came to. */
enum door {
    DOOR_HTTP,
    DOOR_RESP,
};

/* Counted since the start; relaxed, for /stats and the words at shutdown. */
struct counters {
    _Atomic uint64_t requests, sets, gets, gets_found, deletes, deletes_found;
    _Atomic uint64_t replies_ok, replies_refused, replies_failed; /* 2xx, 4xx, 5xx */
    _Atomic uint64_t set_bytes;                                   /* keys and values stored */
    _Atomic uint64_t bytes_in, bytes_out;
    _Atomic uint64_t read_batches, reads_in_batches; /* reads.h */
    _Atomic uint64_t connections_total, connections_refused, timeouts;
    _Atomic uint64_t connections_cut; /* at shutdown, each with a request that was not answered */
};

static inline void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

struct server {
    const struct server_options *options;
    struct quern
        *db; /* not to be touched by a loop once `writes` is 0 and all requests are drained */
    struct hosts hosts;
    struct aside aside;                /* locks itself */
    struct guard guard;                /* locks itself */
    struct stop stop;                  /* locks itself */
    struct slowlog slowlog;            /* locks itself */
    struct config config;              /* locks itself */
    _Atomic(struct sink *) access_log; /* locks itself; NULL: it was never on */
    _Atomic bool access_log_on;
    struct snapshots snapshots;  /* locks itself */
    struct jobs jobs;            /* locks itself */
    struct events events;        /* locks itself */
    char checkpoints[4096 + 16]; /* the directory that they are made in, as a full path */
    struct loop **loops;
    unsigned loop_count;
    struct resp_shared *resp;      /* locks itself */
    struct tls_keys *tls;          /* locks itself; NULL: all is in the clear */
    uint16_t http_port, resp_port; /* the first of each; 0: none */
    const char *name;              /* "quern/0.1.0" */
    char etag_begins[19];          /* "\"00f1e2d3c4b5a697-": with the store's number */
    char run[18];                  /* "18b2f3c1a0d4e5f6-": of this start, for request ids */
    uint64_t started_ms;

    _Atomic uint32_t connections; /* open now */
    _Atomic uint32_t watchers;    /* of them, those that only wait for the words of a shutdown */
    _Atomic uint64_t write_bytes; /* keys and values of them */
    _Atomic uint64_t intake;      /* intake.h */
    _Atomic uint64_t intake_refusals;
    _Atomic uint64_t writes;   /* handed to the store, not completed */
    _Atomic uint64_t tasks;    /* aside, or on their way back: aside.h */
    _Atomic uint32_t outflows; /* long replies under way */
    _Atomic bool draining;     /* set once: no new request is begun */
    struct counters counters;
};

#endif
