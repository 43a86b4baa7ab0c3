/* live.h - pages that tell how many keys live. */
#ifndef SERVER_REST_LIVE_H
#define SERVER_REST_LIVE_H

#include "server/conn.h"

#include <quern/quern.h>

/* Writes the reply; keys as of quern_live_keys(), and QUERN_KEYS_UNKNOWN where that failed. */
typedef void (*live_page_fn)(struct conn *c, struct manner manner, unsigned form,
                             const uint64_t keys[QUERN_DATABASES]);

/* Count and have `page` write the reply: at once where the numbers are at hand, else when they were
 * counted, aside from the loop. No walk is made for them. `form` is handed on. */
void live_reply(struct conn *c, struct manner manner, unsigned form, live_page_fn page);

#endif
