/* remote_priv.h - requests to a quernd. What an answer means: 200 is done, 404 is "no such key",
 * anything else is a refusal whose body says why. */
#ifndef CLI_REMOTE_PRIV_H
#define CLI_REMOTE_PRIV_H

#include "cli/cli_priv.h"

#include <curl/curl.h>

struct remote;
/* Takes one line of an answer, its newline included. A failure ends the exchange and is told. */
typedef enum quern_code (*remote_line_fn)(struct remote *r, struct quern_slice line,
                                          struct quern_error *err);

/* One connection and the request on it. */
struct remote {
    const struct cli_args *args;
    const char *base; /* what routes stand behind */
    uint8_t database; /* that requests mean */
    CURL *easy;
    struct curl_slist *headers;
    struct buf url, body; /* of the request; of the answer */
    char durability[24];  /* what the answer says was done */
    struct quern_error err;

    /* Of an answer that is taken line by line; else NULL, and `body` has it whole. */
    remote_line_fn on_line;
    bool line_failed, ended; /* ended: the last line has come */
    uint64_t count;
    void *about;
};

/* remote_done() is due in both cases. Errors, here and below in r->err: NO_MEMORY. */
MUST_USE enum quern_code remote_init(struct remote *r, const struct cli_args *args);
void remote_done(struct remote *r);

/* Set the URL to the server's, `route` and, unless the key is empty, "?key=", the key and its
 * database. */
MUST_USE enum quern_code remote_url(struct remote *r, const char *route, struct quern_slice key);
/* Make the request ready; `body` NULL: none. Its bytes must stay until the answer. */
MUST_USE enum quern_code remote_prepare(struct remote *r, const char *method,
                                        const struct quern_slice *body);
/* Into r->database; `expires_ms` 0: never. */
MUST_USE enum quern_code remote_prepare_put(struct remote *r, struct quern_slice key,
                                            struct quern_slice value, uint64_t expires_ms);
/* Add "&db=N" to the URL, unless it is 0. */
MUST_USE enum quern_code remote_add_database(struct remote *r);
/* What came of a request that ended with `code`; a failure is printed. */
MUST_USE enum cli_exit remote_judge(struct remote *r, CURLcode code);
/* All three: prepare, send and wait, judge. */
MUST_USE enum cli_exit remote_exchange(struct remote *r, const char *method,
                                       const struct quern_slice *body);
/* Say that a 404 came where no key is asked for; returns the exit code for it. */
enum cli_exit remote_no_quernd(struct remote *r);

/* remote_many.c */
/* Set the URL to the server's, `route`, `query` ("?...") and the range of the command line. */
MUST_USE enum quern_code remote_range(struct remote *r, const char *route, const char *query);
MUST_USE enum cli_exit remote_scan(struct remote *r);
MUST_USE enum cli_exit remote_count(struct remote *r);
MUST_USE enum cli_exit remote_dump(struct remote *r);
MUST_USE enum cli_exit remote_job(struct remote *r, const char *route); /* and wait for its end */

MUST_USE enum cli_exit remote_load(const struct cli_args *args);

#endif
