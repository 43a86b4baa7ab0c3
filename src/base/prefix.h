/* prefix.h - the keys that begin with some bytes, as a range. */
#ifndef BASE_PREFIX_H
#define BASE_PREFIX_H

#include "base/buf.h"

/* Append where a prefix ends: the shortest key above all that begin so; nothing when there is none,
 * since it is all 0xff. */
MUST_USE enum quern_code prefix_end(struct quern_slice prefix, struct buf *out,
                                    struct quern_error *err);

/* Narrow the range [*start, *end), whose end is empty if there is none, to keys that begin with
 * `prefix`, which may be empty. *end may borrow from `after`, which is empty before. */
MUST_USE enum quern_code prefix_narrow(struct quern_slice prefix, struct quern_slice *start,
                                       struct quern_slice *end, struct buf *after,
                                       struct quern_error *err);

#endif
