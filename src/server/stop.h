/* stop.h - how the server ends: who asked first, and the words that are said about it as they
 * happen.
 *
 * The words go to stdout and to every client that asked for the shutdown. They are kept in one
 * growing text; a client remembers how far it was told. Threads: any. */
#ifndef SERVER_STOP_H
#define SERVER_STOP_H

#include "base/buf.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdbool.h>

struct server;

struct stop {
    struct mutex mu;
    struct buf text;         /* guarded by mu; lines, each with its newline */
    bool over;               /* guarded by mu; the last line was said */
    char asked_by[128];      /* guarded by mu; "" until somebody asks */
    void (*wake)(void *arg); /* constant; tells the main thread that somebody asked */
    void *wake_arg;
    _Atomic unsigned signals; /* SIGTERM and SIGINT so far: the second skips the drain */
};

void stop_init(struct stop *s, void (*wake)(void *arg), void *wake_arg);
void stop_done(struct stop *s);

/* Ask for the shutdown. True for the first who asks. `by` is text of ours: "127.0.0.1:5123 (GET
 * /shutdown)". */
bool stop_ask(struct stop *s, const char *by);
bool stop_asked(struct stop *s);

/* Append to `out`, as a chunk or bare, what was said from *told on, and move *told. Returns whether
 * all is said. Errors (no memory) leave *told where it was. */
bool stop_words(struct stop *s, size_t *told, bool chunked, struct buf *out);

/* The way down, on the main thread, once somebody asked and the listeners are closed: drain, flush,
 * close. `turn` lets the main thread's own events happen for a moment. Returns the exit status. */
int stop_run(struct server *server, void (*turn)(void *arg), void *arg);

#endif
