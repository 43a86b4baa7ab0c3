/* guard.h - what a request may do, by the token it shows: the server's side of access/access.h.
 *
 *     token file --main thread--> guard.now --guard_keep(), once a turn--> loop.access
 *                                                        |  guard_request(), at the head
 *                                                        '--> conn.access, conn.user
 *
 * Without --token-file none of it is there: loop.access is NULL, and a request costs one look at it.
 * With it every request is refused that no rule lets through: a route or command that nobody thought
 * of is for tokens with all scopes and all keys. A list of tokens lives as long as a loop or a
 * connection looks into it. */
#ifndef SERVER_GUARD_H
#define SERVER_GUARD_H

#include "access/access.h"
#include "base/thread.h"

#include <stdatomic.h>

struct call;
struct command;
struct conn;
struct loop;

struct guard {
    const char *path;      /* constant; NULL: there are no tokens, and nobody is asked for one */
    struct mutex changing; /* held from reading the list to publishing another; before mu */
    struct mutex mu;
    struct access *now;          /* guarded by mu */
    _Atomic unsigned generation; /* of `now`; 0: no tokens */
    struct access_stamp stamp;   /* main thread: of the file that was read last, well or not */
    bool missing;                /* main thread: there was no file when last looked */
};

/* Read the tokens; `path` may be NULL. Errors: those of access_load(), INVALID. */
MUST_USE enum quern_code guard_open(struct guard *g, const char *path, struct quern_error *err);
void guard_close(struct guard *g);
/* Main thread. Read the tokens again, at once or if the file has changed. What is wrong with it is
 * said, and the old ones stay. */
void guard_reload(struct guard *g);
void guard_look(struct guard *g);
/* Any thread. The same, once more than the main thread may find necessary; what is wrong is for the
 * caller to say. */
MUST_USE enum quern_code guard_load(struct guard *g, struct quern_error *err);

/* A list in the place of the one that counts; `a` is the guard's from now on. Any thread. */
void guard_publish(struct guard *g, struct access *a);
/* The list that counts, to be unref'd. Any thread. */
struct access *guard_now(struct guard *g);

/* ---- on a loop ---- */

/* At the start of a turn: look into the list that counts now. */
void guard_keep(struct loop *loop);
void guard_forget(struct conn *c); /* it is nobody's any more */

/* HTTP: a request whose route is known. False: refused. */
bool guard_request(struct conn *c);
/* ... for what a request turns out to want. Each false: refused, nothing is done. */
bool guard_scope(struct conn *c, enum access_scope scope);
bool guard_key(struct conn *c, struct quern_slice key);
bool guard_range(struct conn *c, struct quern_slice prefix, struct quern_slice start,
                 struct quern_slice end);

/* The Redis protocol: a command that exists, with arguments that fit. False: replied. */
bool guard_command(struct call *k);
enum guard_verdict {
    GUARD_ALLOWS,
    GUARD_NO_COMMAND,
    GUARD_NO_KEY,
};
/* May `u` carry it out? NO_KEY: not the one in argument *key. */
enum guard_verdict guard_judge(struct call *k, const struct access_user *u, size_t *key);
bool guard_is_for_admins(const struct command *command);
/* Has the connection no valid token, though it needs one? */
bool guard_is_stranger(struct conn *c);
/* Take the connection for that user, if the token is his; `name` without bytes: whosever it is. False:
 * it stays whose it was. */
bool guard_enter(struct conn *c, struct quern_slice name, struct quern_slice token);
/* May it do what is for admins, now? */
bool guard_is_admin(struct conn *c);
/* May the connection see all keys? */
bool guard_sees_all(const struct conn *c);

#endif
