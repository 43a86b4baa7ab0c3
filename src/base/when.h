/* when.h - moments and spans of time as text; moments are milliseconds since 1970. */
#ifndef BASE_WHEN_H
#define BASE_WHEN_H

#include "base/attr.h"

#include <quern/types.h>

#define WHEN_MS_MAX UINT64_C(253402300799999) /* the last one of the year 9999 */
#define WHEN_BYTES 24                         /* "2026-11-22T12:00:00.000Z" */

/* RFC 3339 in UTC, with a zero behind; a moment after the year 9999 is written as the last one that
 * can be. Returns the length. */
size_t when_write(uint64_t ms, char to[WHEN_BYTES + 1]);

/* RFC 3339 with any offset and any number of decimals, of which three are heeded. False: not that,
 * or before 1970 or after WHEN_MS_MAX. */
MUST_USE bool when_read(struct quern_slice text, uint64_t *ms);

/* "90" and "90s" are seconds; "1500ms", "15m", "12h", "30d". One number, one unit. False: not that,
 * or more than WHEN_MS_MAX. */
MUST_USE bool span_read(struct quern_slice text, uint64_t *ms);

/* By the machine's clock. */
uint64_t when_now(void);

#endif
