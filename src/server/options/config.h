/* config.h - the options that change while the server runs.
 *
 * Which they are says their row in table.c. Whatever asks for a change, PATCH
 * /v1/admin/config, CONFIG SET of the Redis protocol or SIGHUP, asks config_change(). What is changed
 * lasts as long as the process, or until SIGHUP, which makes it what the sources say. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "server/options/options.h"

#include "base/thread.h"

struct server;

struct config {
    struct server_options *options; /* texts and sources guarded by mu */
    int argc;
    char **argv;
    uint32_t connections_most; /* of those that files may be open for */
    char log_named[4096];      /* the access log of the sources, guarded by mu */
    struct mutex mu;           /* held from the look at a change to its end */
};

struct config_wish {
    const char *name, *text;
    enum option_source source;
    unsigned line; /* in the file */
    bool bare;     /* a number or a truth value, where text could stand too */
};

enum config_answer {
    CONFIG_DONE,
    CONFIG_UNKNOWN, /* there is no such option */
    CONFIG_FIXED,   /* it takes a restart */
    CONFIG_WRONG,   /* not such a value */
};

struct config_trouble {
    size_t which; /* of the wishes */
    char detail[256];
};

/* `options` are those that server->options shows, and the command line that they came from; all
 * outlive it. Then config_open_log(). */
void config_init(struct config *config, struct server_options *options, int argc, char **argv);
void config_done(struct config *config);
/* Begin the access log, if there is to be one. Errors: NO_MEMORY, IO. */
MUST_USE enum quern_code config_open_log(struct server *server, struct quern_error *err);

/* Any thread; it may open a file. All of them are done, or none, and *trouble says why. */
enum config_answer config_change(struct server *server, const struct config_wish *wishes, size_t n,
                                 struct config_trouble *trouble);
/* Main thread: read all sources again, and do what differs. What cannot be is told. */
void config_reload(struct server *server);
/* options_json() of how they are now. */
MUST_USE enum quern_code config_text(struct server *server, struct buf *out,
                                     struct quern_error *err);

#endif
