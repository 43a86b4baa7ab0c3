/* params.h - the parameters that the routes know: key, value, sync. */
#ifndef SERVER_PARAMS_H
#define SERVER_PARAMS_H

#include "http/http.h"

/* Still encoded, by offset: the buffer they stand in may move before they are used. */
struct params {
    struct param {
        uint32_t at, len;
        bool given;
    } key, value;
    bool sync;
};

/* Which of them a route takes. */
enum {
    PARAM_KEY = 1,
    PARAM_VALUE = 2,
    PARAM_SYNC = 4,
};

/* Read `query`, whose offsets are counted from `base`. False: *bad says why not. */
bool params_read(struct quern_slice query, const void *base, unsigned taken, struct params *out,
                 struct http_bad *bad);

/* Decode one into `out`, replacing what was there. False: a bad escape, or no memory; *bad says
 * which. */
bool params_decode(const void *base, struct param p, struct buf *out, struct http_bad *bad);

#endif
